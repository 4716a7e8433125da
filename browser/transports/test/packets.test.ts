import assert from "node:assert/strict";
import { test } from "node:test";
import { decodePacket, encodePacket } from "engine.io-parser";
import { batch, decode, decodePayload, encode, utf8Size } from "../src/packets.ts";

const TEXTS = ["", "a", "안녕 🎪", "\u2028\u2029\r\n\0", "\ud800", "x".repeat(70_000)];
const bytes = (length: number) => Uint8Array.from({ length }, (_, index) => index * 31);

test("a packet is written as the official parser writes it", async () => {
  for (const type of ["open", "close", "ping", "pong", "message", "upgrade", "noop"] as const) {
    for (const data of [undefined, ...TEXTS]) {
      const ours = await encode(data === undefined ? { type } : { type, data });
      const theirs = await new Promise((done) => encodePacket(data === undefined ? { type } : { type, data }, false, done));
      assert.equal(ours, theirs);
    }
  }
});

test("bytes come back, in whatever they were given", async () => {
  for (const length of [0, 1, 2, 3, 255, 8191, 8192, 8193, 100_000]) {
    const sent = bytes(length);
    const larger = bytes(length + 20);
    larger.set(sent, 7);
    const forms = [sent, sent.buffer, new Blob([sent]), new DataView(larger.buffer, 7, length), larger.subarray(7, length + 7)];
    for (const data of forms) {
      const text = await encode({ type: "message", data });
      assert.match(text, /^b[A-Za-z0-9+/]*=*$/);
      const came = decode(text, "arraybuffer");
      assert.equal(came.type, "message");
      assert.ok(came.data instanceof ArrayBuffer);
      assert.deepEqual(new Uint8Array(came.data), sent);
      assert.deepEqual(decodePacket(text, "arraybuffer").data, came.data);
    }
  }
});

test("a buffer that changes after it was sent is sent as it was", async () => {
  const buffer = new Uint8Array([1, 2, 3]);
  const encoding = encode({ type: "message", data: buffer });
  buffer.fill(0);
  assert.deepEqual(new Uint8Array(decode(await encoding, "arraybuffer").data as ArrayBuffer), new Uint8Array([1, 2, 3]));
});

test("bytes take the form that is asked for", async () => {
  const text = "bAQL/";
  const blob = decode(text, "blob").data;
  assert.ok(blob instanceof Blob);
  assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), new Uint8Array([1, 2, 255]));
  assert.deepEqual(decode(text, "nodebuffer").data, Buffer.from([1, 2, 255]));
});

test("what can't be read is an error for the engine, as the official parser has it", () => {
  for (const text of ["", "7", "x", "b***", "é", "-1", "９"]) {
    assert.deepEqual(decode(text, "arraybuffer"), { type: "error", data: "parser error" });
  }
  assert.deepEqual(decodePayload("4a\x1e2\x1e4", "arraybuffer"), [{ type: "message", data: "a" }, { type: "ping" }, { type: "message" }]);
});

test("sizes are those of UTF-8", () => {
  for (const text of [...TEXTS, "\udc00\ud800", "é€😀", "\ud83d\ud83d\ude00"]) {
    assert.equal(utf8Size(text), new TextEncoder().encode(text).length, JSON.stringify(text));
  }
});

test("packets are joined to as few payloads as the limit allows, in their order", () => {
  const packets = Array.from({ length: 200 }, (_, index) => "4" + "é".repeat((index * 7) % 40));
  for (const limit of [300, 301, 511, 4096, Number.POSITIVE_INFINITY]) {
    const payloads = batch(packets, limit);
    assert.deepEqual(payloads.join("\x1e").split("\x1e"), packets);
    for (const [index, payload] of payloads.entries()) {
      assert.ok(utf8Size(payload) <= limit);
      const next = payloads[index + 1]?.split("\x1e")[0];
      if (next !== undefined) assert.ok(utf8Size(`${payload}\x1e${next}`) > limit);
    }
  }
  assert.deepEqual(batch([], 10), []);
  assert.deepEqual(batch(["4123456789"], 10), ["4123456789"]);
  assert.throws(() => batch(["4", "41234567890"], 10), /a packet of 11 bytes, and the server takes 10/);
});
