import assert from "node:assert/strict";
import { test } from "node:test";
import { EventStream } from "../src/eventstream.ts";
import { MalformedStream, Parts } from "../src/parts.ts";

const utf8 = new TextEncoder();

/** Feed bytes in pieces of one size after another: the cut may be anywhere. */
function* cuts(bytes: Uint8Array): Generator<Uint8Array[]> {
  for (const size of [1, 2, 3, 7, 64, bytes.length || 1]) {
    const pieces = [];
    for (let index = 0; index < bytes.length; index += size) pieces.push(bytes.subarray(index, index + size));
    yield pieces;
  }
}

function events(pieces: Uint8Array[]): [string, string][] {
  const seen: [string, string][] = [];
  const stream = new EventStream((type, data) => seen.push([type, data]));
  for (const piece of pieces) stream.feed(piece);
  return seen;
}

test("an event stream is read as the standard says, however it is cut", () => {
  const cases: [string, [string, string][]][] = [
    ["data: 4a\n\n", [["message", "4a"]]],
    ["data:4a\n\ndata: 4b\n\n", [["message", "4a"], ["message", "4b"]]],
    ["data:  two spaces\n\n", [["message", " two spaces"]]],
    ['event: json\ndata: "4a\\nb"\n\n', [["json", '"4a\\nb"']]],
    ["event: json\ndata: 1\n\ndata: 2\n\n", [["json", "1"], ["message", "2"]]],
    [": a comment\n\n:\n\ndata: x\n: between\n\n", [["message", "x"]]],
    ["data: one\ndata: two\ndata\n\n", [["message", "one\ntwo\n"]]],
    ["data: a\r\n\r\ndata: b\r\rdata: c\n\n", [["message", "a"], ["message", "b"], ["message", "c"]]],
    ["event: lonely\n\ndata: x\n\n", [["message", "x"]]],
    ["id: 7\nretry: 10\nunknown: 1\ndata: x\n\n", [["message", "x"]]],
    ["\ufeffdata: é€😀 \u2028\n\n", [["message", "é€😀 \u2028"]]],
    ["data: never whole\n", []],
    ["", []],
    [`data: ${"긴 ".repeat(5000)}\n\n`, [["message", "긴 ".repeat(5000)]]],
  ];
  for (const [text, expected] of cases) {
    for (const pieces of cuts(utf8.encode(text))) assert.deepEqual(events(pieces), expected, JSON.stringify(text.slice(0, 60)));
  }
});

type Part = [string, number[]];

function parts(pieces: Uint8Array[], boundary = "madang"): { seen: Part[]; between: boolean } {
  const seen: Part[] = [];
  const reader = new Parts(boundary, (type, bytes) => seen.push([type, [...bytes]]));
  for (const piece of pieces) reader.feed(piece);
  return { seen, between: reader.between };
}

function part(type: string, body: Uint8Array): Uint8Array[] {
  return [utf8.encode(`Content-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n`), body, utf8.encode("\r\n--madang\r\n")];
}

function joined(pieces: Uint8Array[]): Uint8Array {
  return new Uint8Array(pieces.flatMap((piece) => [...piece]));
}

test("parts are read by their length, whatever they hold and however they are cut", () => {
  const bodies: [string, Uint8Array][] = [
    ["text/plain; charset=UTF-8", utf8.encode('0{"sid":"x"}')],
    ["application/octet-stream", Uint8Array.from({ length: 256 }, (_, index) => index)],
    ["text/plain; charset=UTF-8", utf8.encode("4\r\n--madang\r\n--madang--\r\nContent-Length: 3\r\n\r\n")],
    ["application/octet-stream", new Uint8Array()],
    ["text/plain; charset=UTF-8", utf8.encode("4é€😀 \u2028")],
  ];
  const bytes = joined([utf8.encode("--madang\r\n"), ...bodies.flatMap(([type, body]) => part(type, body))]);
  for (const pieces of cuts(bytes)) {
    const { seen, between } = parts(pieces);
    assert.deepEqual(seen, bodies.map(([type, body]) => [type, [...body]]));
    assert.equal(between, true);
  }
});

test("what comes before the last byte of a part is no part, and no good end", () => {
  const head = utf8.encode("--madang\r\n");
  const bytes = joined([head, ...part("text/plain", utf8.encode("4abc"))]);
  const whole = bytes.length - "\r\n--madang\r\n".length;
  for (let length = 0; length <= bytes.length; length++) {
    const { seen, between } = parts([bytes.subarray(0, length)]);
    assert.equal(seen.length, length >= whole ? 1 : 0);
    if (length > head.length && length < whole) assert.equal(between, false, `${length}`);
    if (length === head.length || length === bytes.length) assert.equal(between, true, `${length}`);
  }
});

test("other writers' forms are read too", () => {
  const text = "--b\nContent-length:1\nX: y\n\na\n--b\r\ncontent-length: 1\r\n\r\nb\r\n--b--\r\nwhatever follows";
  for (const pieces of cuts(utf8.encode(text))) {
    assert.deepEqual(parts(pieces, "b").seen.map(([, body]) => body), [[97], [98]]);
  }
});

test("what is no such stream is refused", () => {
  const wrong = [
    "<!doctype html>\n",
    "--other\r\n",
    "--madang\r\nContent-Type: text/plain\r\n\r\n",
    "--madang\r\nContent-Length: -1\r\n\r\n",
    "--madang\r\nContent-Length: 1e3\r\n\r\n",
    "--madang\r\nContent-Length: 1\r\n\r\nab\r\n",
    "--madang\r\nno header\r\n",
    `--madang\r\nX: ${"y".repeat(9000)}`,
  ];
  for (const text of wrong) {
    for (const pieces of cuts(utf8.encode(text))) assert.throws(() => parts(pieces), MalformedStream, text.slice(0, 40));
  }
});
