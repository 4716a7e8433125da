import assert from "node:assert/strict";
import { test } from "node:test";
import { Timeline, type Role } from "../src/model/trace.ts";
import type { Kind } from "../src/protocol.ts";

/** Something of 10 ms on the way. */
function add(timeline: Timeline, kind: Kind, direction: "up" | "down", sent: number, label: string, connection = 0): Role {
  return timeline.add([kind, direction, sent, sent + 10, 100, label, connection]).role;
}

test("short polling: questions and empty answers", () => {
  const line = new Timeline();
  const roles = [
    add(line, "open", "up", 0, ""),
    add(line, "request", "up", 20, "GET handshake"),
    add(line, "response", "down", 30, "200 open empty"),
    add(line, "request", "up", 100, "GET poll"),
    add(line, "response", "down", 110, "200 noop empty"),
    add(line, "request", "up", 200, "GET poll"),
    add(line, "response", "down", 210, "200"),
    add(line, "close", "up", 300, ""),
  ];
  assert.deepEqual(roles, ["open", "ask", "ok", "ask", "empty", "ask", "down", "close"]);
  assert.deepEqual(
    line.spans.map((span) => [span.what, span.from, span.to]),
    [
      ["held", 30, 30],
      ["held", 110, 110],
      ["held", 210, 210],
    ],
  );
});

test("long polling: the question hangs until it is answered", () => {
  const line = new Timeline();
  add(line, "request", "up", 0, "GET poll");
  const [held] = line.spans;
  assert.deepEqual([held!.what, held!.from, held!.to, held!.clientFrom], ["held", 10, null, 0]);
  add(line, "request", "up", 100, "POST send", 1);
  add(line, "response", "down", 110, "200 ok empty", 1);
  assert.equal(held!.to, null, "another connection's answer");
  add(line, "response", "down", 500, "200");
  assert.deepEqual([held!.to, held!.clientTo], [500, 510]);
});

test("a question that is never answered ends with its connection", () => {
  const line = new Timeline();
  add(line, "request", "up", 0, "GET poll");
  add(line, "close", "up", 400, "");
  assert.equal(line.spans[0]!.to, 400);
});

test("a POST and its answer", () => {
  const line = new Timeline();
  assert.equal(add(line, "request", "up", 0, "POST send"), "up");
  assert.equal(add(line, "response", "down", 10, "200 ok empty"), "ok");
  assert.equal(add(line, "request", "up", 20, "POST send pong empty"), "beat");
  assert.equal(add(line, "response", "down", 30, "200 ok empty"), "ok");
  assert.equal(add(line, "request", "up", 40, "OPTIONS preflight"), "ask");
  assert.equal(add(line, "response", "down", 50, "204 empty"), "ok");
});

test("a response that goes on is a stream, and its head says so", () => {
  const line = new Timeline();
  add(line, "request", "up", 0, "GET stream");
  assert.equal(add(line, "response", "down", 10, "200"), "down");
  assert.equal(add(line, "chunk", "down", 12, "open empty"), "ok");
  assert.equal(line.items[1]!.role, "head");
  assert.equal(add(line, "chunk", "down", 100, "event"), "down");
  assert.equal(add(line, "chunk", "down", 200, "ping empty"), "beat");
  const stream = line.spans.find((span) => span.what === "stream")!;
  assert.deepEqual([stream.from, stream.to], [10, null]);
  assert.equal(add(line, "chunk", "down", 300, "end empty"), "ok");
  assert.equal(stream.to, 300);
});

test("a stream whose end was missed ends at the next question", () => {
  const line = new Timeline();
  add(line, "request", "up", 0, "GET stream");
  add(line, "response", "down", 10, "200");
  add(line, "chunk", "down", 12, "event");
  add(line, "request", "up", 500, "GET poll");
  const stream = line.spans.find((span) => span.what === "stream")!;
  assert.equal(stream.to, 510);
});

test("a socket is open from the change of protocols on, both ways", () => {
  const line = new Timeline();
  const roles = [
    add(line, "request", "up", 0, "GET upgrade"),
    add(line, "response", "down", 10, "101"),
    add(line, "frame", "down", 20, "text"),
    add(line, "frame", "up", 30, "text"),
    add(line, "frame", "down", 40, "text ping empty"),
    add(line, "frame", "up", 50, "text pong empty"),
    add(line, "frame", "up", 60, "text connect empty"),
    add(line, "frame", "down", 70, "binary"),
  ];
  assert.deepEqual(roles, ["ask", "head", "down", "up", "beat", "beat", "control", "down"]);
  const socket = line.spans.find((span) => span.what === "socket")!;
  assert.deepEqual([socket.from, socket.to], [10, null]);
  line.finish(900);
  assert.equal(socket.to, 900);
});

test("datagrams make a socket too", () => {
  const line = new Timeline();
  assert.equal(add(line, "datagram", "up", 0, "handshake"), "control");
  assert.equal(add(line, "datagram", "up", 3, "data"), "up");
  assert.equal(add(line, "datagram", "down", 5, "small empty"), "control");
  assert.deepEqual(
    line.spans.map((span) => span.what),
    ["socket"],
  );
});

test("what is reported late is put in its place", () => {
  const line = new Timeline();
  for (const sent of [100, 300, 200, 50]) add(line, "frame", "down", sent, "text");
  assert.deepEqual(
    line.items.map((item) => item.sent),
    [50, 100, 200, 300],
  );
  assert.equal(line.firstAt(10_150), 2);
  assert.equal(line.firstAt(0), 0);
});

test("old things are forgotten, open ones are not", () => {
  const line = new Timeline(1_000);
  add(line, "request", "up", 0, "GET upgrade");
  add(line, "response", "down", 10, "101");
  for (let n = 0; n < 1_000; n += 1) add(line, "frame", "down", 20 + n, "text");
  line.prune(5_000);
  assert.equal(line.items.length, 0);
  assert.deepEqual(
    line.spans.map((span) => span.what),
    ["socket"],
  );
});
