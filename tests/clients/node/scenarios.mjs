// The official client's scenarios against the application in tests/support/apps.py.
//
//   node scenarios.mjs --url http://127.0.0.1:8000 --transports polling,websocket
//        [--package socket.io-client-3.1.3] [--only "name, name"] [--without restart,freeze] [--abrupt] [--brief]
//        [--parser socket.io-msgpack-parser]
//
// `--abrupt`: a server that ends can't answer the polls that wait (most ASGI servers tell the application too late).
// `--brief`: leave out the scenarios that wait for the heartbeat.
// `--parser`: with this one; its own scenarios instead of those that show what JSON makes of values.
// Prints a JSON line per scenario: {"scenario", "ok", "ms", "details"}; at the end {"finished": count}.
// A line {"request": "restart"} asks who started this for something with the server; they answer on stdin
// with a line {"done": true} or {"error": "..."}.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { readFileSync } from "node:fs";
import {
  DEADLINE, Stage, ask, connect, distant, endRequests, leave, next, perform, refused, request, same, tellOfRejections,
  several, within,
} from "./harness.mjs";

const { values: given } = parseArgs({
  options: {
    url: { type: "string" },
    transports: { type: "string", default: "polling,websocket" },
    package: { type: "string", default: "socket.io-client" },
    parser: { type: "string", default: "" },
    only: { type: "string", default: "" },
    without: { type: "string", default: "" },
    abrupt: { type: "boolean", default: false },
    brief: { type: "boolean", default: false },
  },
});
const library = await import(given.package);
const parser = given.parser ? (await import(given.parser)).default : undefined;
const manifest = new URL(`./node_modules/${given.package}/package.json`, import.meta.url);
const version = JSON.parse(readFileSync(manifest)).version;
const transports = given.transports.split(",");

const scenarios = [];
/** `needs` is what the server's starter must do; `since` the first client version that knows how; `parser` whose it is. */
function scenario(name, options, play) {
  scenarios.push({ name, ...options, play });
}

/** Someone else, who is told by the server how `socket` went. */
async function witness(stage, socket) {
  const observer = await stage.connected();
  same(await ask(observer, "watch", socket.id), [true]);
  return observer;
}

async function goodbye(observer) {
  const [id, reason, rooms] = await next(observer, "gone");
  return { id, reason, rooms };
}

const KOREAN = "마당에 어서 오세요";
const ASTRAL = "🎪👩‍👩‍👧‍👦𝕄𠮷";

// ---- connecting ----

scenario("connect", {}, async (stage) => {
  const socket = stage.client();
  await connect(socket);
  assert.match(socket.id, /^[A-Za-z0-9_-]{20}$/);
  const first = stage.transports[0];
  const [early] = await ask(socket, "who am i");
  same(early.id, socket.id);
  same(early.first, first, "the handshake's transport");
  await stage.upgraded(socket);
  const [later] = await ask(socket, "who am i");
  same(later.transport, stage.settled, "the server's view of the transport");
  same(later.connected, true);
  same(later.address, "127.0.0.1");
  assert.notEqual(socket.id, socket.io.engine.id, "the session id is not given away");
});

scenario("handshake: query, headers and auth reach the server", {}, async (stage) => {
  const socket = await stage.connected("/", {
    query: { place: "마당", odd: "a b&c=d%20+" },
    extraHeaders: { "X-Marker": "seen" },
    auth: { nested: { list: [1, null, ASTRAL] } },
  });
  const [who] = await ask(socket, "who am i");
  same(who.query.place, "마당");
  same(who.query.odd, "a b&c=d%20+");
  same(who.query.EIO, "4");
  same(who.marker, "seen");
  same(who.auth, { nested: { list: [1, null, ASTRAL] } });
});

scenario("auth is refused with message and data, then accepted on the same connection", {}, async (stage) => {
  const manager = stage.manager();
  const open = manager.socket("/");
  await connect(open);
  const socket = manager.socket("/private", { auth: { token: "wrong" } });
  for (const auth of [{ token: "wrong" }, {}, undefined]) {
    socket.auth = auth;
    const error = await refused(socket);
    assert.ok(error instanceof Error);
    same(error.message, "not authorised");
    same(error.data, { code: 401, hint: "토큰" });
    same(socket.connected, false);
  }
  const engine = manager.engine.id;
  socket.auth = (give) => give({ token: "열려라 참깨" });
  await connect(socket);
  same(manager.engine.id, engine, "one connection");
  const [who] = await ask(socket, "who am i");
  same(who.namespace, "/private");
  same(who.auth, { token: "열려라 참깨" });
  assert.notEqual(socket.id, open.id);
});

scenario("auth is refused on the only namespace", {}, async (stage) => {
  const error = await refused(stage.client("/private"));
  same(error.message, "not authorised");
  same(error.data, { code: 401, hint: "토큰" });
});

// ---- events ----

scenario("events carry every JSON type", { parser: "" }, async (stage) => {
  const socket = await stage.connected();
  const values = [
    null, true, false, 0, 1, -1, 1.5, -0.001, 1e21, 1e-7, 1.7976931348623157e308, 5e-324,
    Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 4294967296, "", "text", " ", "\"\\/\b\f\n\r\t",
    [], [[]], [null, [1, [2, [3]]]], {}, { a: { b: { c: [] } } }, { "": "empty key", "a b": 1, 한글: "글" },
    { _placeholder: false, num: 1 }, { __proto: 1, length: 3, constructor: "x" },
  ];
  for (const value of values) same(await ask(socket, "echo", value), [value], `echo of ${JSON.stringify(value)}`);
  same(await ask(socket, "echo", ...values), values, "all at once");
  const date = new Date(0);
  same(await ask(socket, "echo", [undefined, NaN, Infinity], { gone: undefined }, date), [
    [null, null, null], {}, date.toISOString(),
  ]);
});

scenario("events carry all of Unicode", {}, async (stage) => {
  const socket = await stage.connected();
  const texts = {
    korean: KOREAN,
    decomposed: KOREAN.normalize("NFD"),
    astral: ASTRAL,
    "line separators": "a\u2028b\u2029c",
    controls: String.fromCharCode(...Array(32).keys(), 0x7f),
    "record separator": "\x1e\x1e4\x1e",
    "byte order mark": "\ufeffa\ufeff",
    "not characters": "\ufffe\uffff\u{10ffff}",
    digits: "42[\"x\"]",
    long: (KOREAN + ASTRAL).repeat(2000),
  };
  for (const [name, text] of Object.entries(texts)) {
    same(await ask(socket, "echo", text, { [text]: 1 }), [text, { [text]: 1 }], name);
    const back = next(socket, "echo back");
    socket.emit("echo back", text);
    same(await back, [text], `${name}, not acknowledged`);
  }
});

scenario("events carry lone surrogates", { parser: "" }, async (stage) => {
  const socket = await stage.connected();
  for (const text of ["\ud83d", "a\ude00b", "\ude00\ud83d", "\ud83d\u2028"]) {
    same(await ask(socket, "echo", text), [text], JSON.stringify(text));
  }
  same(await ask(socket, "echo", "after"), ["after"]);
});

const MSGPACK = "socket.io-msgpack-parser";

scenario("msgpack: events carry every value", { parser: MSGPACK }, async (stage) => {
  const socket = await stage.connected();
  const values = [
    null, true, false, 0, 1, -1, 1.5, -0.001, 1e-7, 1.7976931348623157e308 / 3e300, 5e-324, NaN, Infinity, -Infinity,
    Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2 ** 63, "", "text", "\0", KOREAN, ASTRAL, "x".repeat(70_000),
    [], [[]], [null, [1, [2, [3]]]], {}, { a: { b: { c: [] } } }, { "": "empty key", "a b": 1, 한글: "글" },
    Array(70_000).fill(7), { _placeholder: true, num: 0 },
    new Date(0), new Date(-1), new Date("2026-11-22T09:30:00.123Z"), { at: [new Date(961_000_000_123)] },
    Buffer.alloc(0), Buffer.from("a"), Buffer.alloc(300, 7), { deep: [Buffer.from([0xc7, 1, 0])] },
  ];
  for (const value of values) {
    const [back] = await ask(socket, "echo", value);
    assert.deepStrictEqual(back, value, `echo of ${JSON.stringify(value)?.slice(0, 99)}`);
  }
  assert.deepStrictEqual(await ask(socket, "echo", ...values), values, "all at once");
  assert.deepStrictEqual(await ask(socket, "echo", undefined, { gone: undefined }, [undefined]), [
    null, { gone: null }, [null],
  ]);
});

scenario("msgpack: buffers of every class and size come back as bytes", { parser: MSGPACK }, async (stage) => {
  const socket = await stage.connected();
  for (const size of [0, 1, 2, 4, 8, 16, 31, 32, 255, 256, 65_536]) {
    const bytes = Uint8Array.from({ length: size }, (_, index) => index);
    same(await ask(socket, "echo", bytes, [bytes.buffer], "text", bytes), [bytes, [bytes], "text", bytes], `${size}`);
  }
  same(await ask(socket, "echo", Float64Array.of(1.5), new Date(1)), [Buffer.from("000000000000f83f", "hex"), new Date(1)]);
});

scenario("msgpack: text in its place is refused", { parser: MSGPACK }, async (stage) => {
  const socket = stage.client("/", { parser: undefined });
  const left = next(socket.io, "close");
  socket.connect(); // with the client's own parser: a text frame
  same((await left).length > 0, true);
  const other = await stage.connected();
  same(await ask(other, "echo", 1), [1]);
});

scenario("events with odd names, with no arguments and with many", {}, async (stage) => {
  const socket = await stage.connected();
  const back = next(socket, "echo back");
  socket.emit("echo back");
  same(await back, []);
  const many = [...Array(100).keys()];
  same(await ask(socket, "echo", ...many), many);
  const message = next(socket, "message");
  socket.send("a message", 2);
  same(await message, ["a message", 2]);
  for (const name of ["", "마당 😀", "with \"quotes\"", "constructor"]) {
    const room = `odd ${socket.id}`;
    await ask(socket, "join", room);
    const heard = next(socket, name);
    socket.emit("in room", room, name, 1);
    same(await heard, [1], `event ${JSON.stringify(name)}`);
  }
  socket.emit("nobody listens to this", 1);
  same(await ask(socket, "echo", 1), [1]);
});

scenario("events emitted before the connection are sent after it, in order", {}, async (stage) => {
  const socket = stage.client();
  for (let number = 0; number < 20; number++) socket.emit("count", number);
  await connect(socket);
  same(await ask(socket, "counted"), [[...Array(20).keys()]]);
});

// ---- acknowledgements ----

scenario("acknowledgements from the server: none, one and several arguments", {}, async (stage) => {
  const socket = await stage.connected();
  same(await ask(socket, "echo"), []);
  same(await ask(socket, "echo", null), [null]);
  same(await ask(socket, "echo", [1, 2]), [[1, 2]]);
  same(await ask(socket, "echo", 1, "two", { three: 3 }), [1, "two", { three: 3 }]);
  same(await ask(socket, "message"), [], "a handler that returns nothing");
});

scenario("concurrent acknowledgements from the server are matched", {}, async (stage) => {
  const socket = await stage.connected();
  const order = [];
  const asked = Array.from({ length: 100 }, async (_, number) => {
    const reply = await ask(socket, "slow echo", (number * 37) % 100, number);
    order.push(number);
    return reply[0];
  });
  same(await Promise.all(asked), [...Array(100).keys()]);
  assert.notDeepStrictEqual(order, [...Array(100).keys()], "they came back in another order");
});

scenario("acknowledgements from the client: none, one, several and binary arguments", {}, async (stage) => {
  const socket = await stage.connected();
  socket.on("none", (reply) => reply());
  socket.on("one", (value, reply) => reply(value));
  socket.on("several", (...args) => args.pop()(...args));
  same(await ask(socket, "call me", "none"), [{ one: null }]);
  same(await ask(socket, "call me", "one", KOREAN), [{ one: KOREAN }]);
  same(await ask(socket, "call me", "one", [1, 2]), [{ one: [1, 2] }]);
  same(await ask(socket, "call me", "several", 1, { two: 2 }), [{ several: [1, { two: 2 }] }]);
  const bytes = Buffer.from([0, 1, 254, 255]);
  same(await ask(socket, "call me", "one", { deep: [bytes] }), [{ one: { deep: [bytes] } }]);
  same(await ask(socket, "call me", "several", bytes, "x", bytes), [{ several: [bytes, "x", bytes] }]);
});

scenario("concurrent acknowledgements from the client are matched", {}, async (stage) => {
  const socket = await stage.connected();
  socket.on("question", (number, reply) => setTimeout(() => reply(number * 2), (number * 37) % 100));
  const asked = Array.from({ length: 50 }, (_, number) => ask(socket, "call me", "question", number));
  same((await Promise.all(asked)).map(([reply]) => reply.one), [...Array(50).keys()].map((n) => n * 2));
});

scenario("the server's call times out when the client does not answer", {}, async (stage) => {
  const socket = await stage.connected();
  let asked = 0;
  socket.on("never answered", () => { asked += 1; });
  same(await ask(socket, "call me in vain", "never answered"), ["timeout"]);
  same(asked, 1);
});

scenario("the client's timeout: no answer in time, a late answer, an answer in time", { since: "4.4.0" },
  async (stage) => {
    const socket = await stage.connected();
    const timed = (milliseconds, ...args) => within(new Promise((resolve) => {
      socket.timeout(milliseconds).emit("slow echo", ...args, (...reply) => resolve(reply));
    }), "timeout or answer");
    const [error] = await timed(100, 400, "too late");
    assert.ok(error instanceof Error);
    same(error.message, "operation has timed out");
    same(await ask(socket, "slow echo", 450, "after the late one"), ["after the late one"]);
    same(await timed(DEADLINE, 1, "in time"), [null, "in time"]);
  });

scenario("ordered handlers end one after the other", {}, async (stage) => {
  const socket = await stage.connected();
  const order = [];
  const asked = Array.from({ length: 20 }, async (_, number) => {
    const reply = await ask(socket, "in order", (number * 7) % 11, number);
    order.push(number);
    return reply[0];
  });
  same(await Promise.all(asked), [...Array(20).keys()]);
  same(order, [...Array(20).keys()]);
});

scenario("a handler in a thread sends, asks and answers", {}, async (stage) => {
  const socket = await stage.connected();
  const heard = [];
  socket.on("progress", (step) => heard.push(step));
  socket.on("question", (value, reply) => {
    heard.push("question");
    reply(value * 2);
  });
  same(await ask(socket, "in a thread", "progress", 21), [[true, 42]]);
  same(heard, [1, 2, "question"]);
});

scenario("more events at once than handlers may wait, each of which asks back", {}, async (stage) => {
  const socket = await stage.connected();
  socket.on("question", (number, reply) => reply(number * 2));
  const asked = Array.from({ length: 400 }, (_, number) => ask(socket, "ask me each time", number));
  same(await Promise.all(asked), [...Array(400).keys()].map((number) => [number * 2]));
});

scenario("emitWithAck", { since: "4.6.0" }, async (stage) => {
  const socket = await stage.connected();
  same(await socket.emitWithAck("echo", "a promise"), "a promise");
  same(await socket.timeout(DEADLINE).emitWithAck("echo", KOREAN), KOREAN);
  await assert.rejects(socket.timeout(50).emitWithAck("slow echo", 300, 1), /operation has timed out/);
});

scenario("retries: each packet is acknowledged, in order", { since: "4.6.0" }, async (stage) => {
  const socket = stage.client("/", { retries: 3, ackTimeout: DEADLINE });
  // the client reads both options from the socket's options in some versions and from the manager's in others
  Object.assign(socket._opts ?? {}, { retries: 3, ackTimeout: DEADLINE });
  await connect(socket);
  const replies = Array.from({ length: 10 }, (_, number) => within(new Promise((resolve) => {
    socket.emit("echo", number, (error, value) => resolve([error, value]));
  }), `retried packet ${number}`));
  same(await Promise.all(replies), [...Array(10).keys()].map((number) => [null, number]));
});

scenario("a failing handler sends no acknowledgement and ends no connection", {}, async (stage) => {
  const socket = await stage.connected();
  let answered = false;
  socket.emit("fail", "deliberate", () => { answered = true; });
  same(await ask(socket, "echo", "still here"), ["still here"]);
  same(answered, false);
});

// ---- binary ----

const EMPTY = Buffer.alloc(0);
const EVERY = Buffer.from([...Array(256).keys()]);

scenario("binary both ways: classes, nested, several, empty", {}, async (stage) => {
  const socket = await stage.connected();
  const shared = new Uint8Array([9, 1, 2, 3, 9]);
  const values = [
    EVERY, EMPTY, new Uint8Array([1, 2, 3]), new Uint8Array([1, 2, 3]).buffer,
    parser ? EVERY : shared.subarray(1, 4), // of a view, socket.io-msgpack-parser sends the whole buffer
    [EVERY, [EMPTY, { deep: EVERY }]], { a: EVERY, b: { c: [EMPTY] }, text: KOREAN },
    Array.from({ length: 10 }, (_, n) => Buffer.from([n])), // the official parser takes 10 and no more
  ];
  for (const value of values) {
    same(await ask(socket, "echo", value), [value]);
    const back = next(socket, "echo back");
    socket.emit("echo back", KOREAN, value);
    same(await back, [KOREAN, value]);
  }
  same(await ask(socket, "echo", ...values.slice(0, -1)), values.slice(0, -1), "all at once");
  assert.ok(Buffer.isBuffer((await ask(socket, "echo", EVERY))[0]), "bytes come as bytes");
});

scenario("binary of 500 kB both ways", {}, async (stage) => {
  const socket = await stage.connected();
  const big = Buffer.from(Array.from({ length: 500_000 }, (_, n) => (n * 31) % 256));
  const [echoed] = await ask(socket, "echo", big);
  assert.ok(big.equals(echoed));
  const back = next(socket, "echo back");
  socket.emit("echo back", { big });
  assert.ok(big.equals((await back)[0].big));
});

scenario("text and binary keep their order", {}, async (stage) => {
  const socket = await stage.connected();
  const heard = several(socket, "echo back", 200);
  for (let number = 0; number < 200; number++) {
    if (number % 3 === 0) socket.emit("echo back", number, Buffer.from([number]), [Buffer.from([1])]);
    else socket.emit("echo back", number);
  }
  same((await heard).map(([number]) => number), [...Array(200).keys()]);
});

// ---- rooms and broadcasts ----

/** Make the clients tell what they heard; `heard()` is sure to be complete after a round trip of each. */
function listen(clients, event) {
  const heard = clients.map(() => []);
  clients.forEach((client, index) => client.on(event, (...args) => heard[index].push(args.length > 1 ? args : args[0])));
  return async () => {
    await Promise.all(clients.map((client) => ask(client, "echo")));
    return heard.map((list) => list.splice(0));
  };
}

scenario("rooms and broadcasts between several clients", {}, async (stage) => {
  const clients = await Promise.all([stage.connected(), stage.connected(), stage.connected(), stage.connected()]);
  const [a, b, c, d] = clients;
  const room = `room ${a.id}`;
  const other = `other ${a.id}`;
  const event = `news ${a.id}`;
  const heard = listen(clients, event);
  same(await ask(a, "join", room), [[room]]);
  same(await ask(b, "join", room, other), [[other, room].sort()]);
  same(await ask(c, "join", other), [[other]]);

  const say = async (...args) => {
    await ask(a, ...args);
    return heard();
  };
  same(await say("to room", room, event, 1), [[], [1], [], []], "to a room: all but the sender");
  same(await say("in room", room, event, 2), [[2], [2], [], []], "in a room: the sender too");
  same(await say("except room", room, other, event, 3), [[3], [], [], []], "a room except another");
  same(await say("except room", room, a.id, event, 4), [[], [4], [], []], "a room except a client");
  same(await say("in room", d.id, event, 5), [[], [], [], [5]], "to one client by id");
  same(await say("broadcast", event, 6), [[], [6], [6], [6]], "a broadcast: all but the sender");
  same(await say("everyone", event, 7), [[7], [7], [7], [7]], "everyone");
  same(await say("in room", `empty ${a.id}`, event, 8), [[], [], [], []], "an empty room");
  const bytes = Buffer.from([1, 2]);
  same(await say("in room", room, event, KOREAN, [bytes]), [[[KOREAN, [bytes]]], [[KOREAN, [bytes]]], [], []]);

  same(await ask(b, "leave", room), [[other]]);
  same(await say("in room", room, event, 9), [[9], [], [], []], "after leaving");
  same(await ask(b, "join", room, room), [[other, room].sort()], "joining twice");
  same(await say("in room", room, event, 10), [[10], [10], [], []], "once each");

  c.disconnect();
  await leave(b);
  await connect(b);
  await ask(a, "to room", room, event, 11);
  await ask(b, "echo");
  same(await ask(b, "join"), [[]], "rooms end with the connection");
});

scenario("a room is asked: every client answers, or the deadline passes", {}, async (stage) => {
  const clients = await Promise.all([stage.connected(), stage.connected(), stage.connected()]);
  const room = `asked ${clients[0].id}`;
  for (const [index, client] of clients.entries()) {
    await ask(client, "join", room);
    client.on("question", (what, reply) => reply({ index, what }));
    client.on("half", (reply) => { if (index) reply(index); });
  }
  const [{ replies }] = await ask(clients[0], "ask room", room, "question", KOREAN);
  same(replies.sort((x, y) => x.index - y.index), clients.map((_, index) => ({ index, what: KOREAN })));
  const [{ received }] = await ask(clients[0], "ask room in vain", room, "half");
  same(received.sort(), [1, 2]);
  same(await ask(clients[0], "ask room", `nobody ${room}`, "question"), [{ replies: [] }]);
});

scenario("many are fetched, brought into rooms, taken out of them and sent away", {}, async (stage) => {
  const [asker, ...others] = await Promise.all([0, 1, 2, 3].map((number) => (
    stage.connected("/", { extraHeaders: { "X-Marker": `seat ${number}` } })
  )));
  const [room, out, more] = ["in", "out", "more"].map((name) => `${name} ${asker.id}`);
  await Promise.all(others.map((socket) => ask(socket, "join", room)));
  await ask(others[2], "join", out);
  const manage = async (...args) => (await ask(asker, "manage", room, out, ...args))[0];
  const ids = others.slice(0, 2).map((socket) => socket.id).sort();
  const fetched = await manage("nothing");
  same(fetched.map((one) => one.id).sort(), ids);
  for (const one of fetched) {
    same(one.rooms, [room]);
    same(one.marker, `seat ${others.findIndex((socket) => socket.id === one.id) + 1}`);
    same(one.kept, true);
  }
  await manage("join", more, `${more} too`);
  same((await manage("leave", `${more} too`)).map((one) => one.rooms), [[room, more], [room, more]]);
  const heard = others.slice(0, 2).map((socket) => next(socket, "hello"));
  others[2].on("hello", () => assert.fail("it is not in the room"));
  await ask(asker, "watch", asker.id);
  asker.emit("in room", more, "hello", 1);
  same(await Promise.all(heard), [[1], [1]]);
  const left = others.slice(0, 2).map((socket) => next(socket, "disconnect"));
  await manage("disconnect");
  same((await Promise.all(left)).map(([reason]) => reason), ["io server disconnect", "io server disconnect"]);
  same(others.map((socket) => socket.connected), [false, false, true]);
  same(await manage("nothing"), []);
  same((await ask(asker, "manage", out, room, "nothing"))[0], []);
  const closed = next(others[2], "disconnect");
  await ask(asker, "manage", out, "nobody", "close");
  same((await closed)[0], "io server disconnect");
});

scenario("many clients at once", {}, async (stage) => {
  const clients = await Promise.all(Array.from({ length: 40 }, () => stage.connected()));
  same(new Set(clients.map((client) => client.id)).size, 40);
  const room = `crowd ${clients[0].id}`;
  await Promise.all(clients.map((client) => ask(client, "join", room)));
  const heard = listen(clients, room);
  await ask(clients[0], "in room", room, room, KOREAN);
  same(await heard(), clients.map(() => [KOREAN]));
  const echoes = await Promise.all(clients.map((client, index) => ask(client, "echo", index, EVERY)));
  same(echoes, clients.map((_, index) => [index, EVERY]));
});

// ---- namespaces ----

scenario("namespaces share one connection", {}, async (stage) => {
  const manager = stage.manager();
  const root = manager.socket("/");
  const custom = manager.socket("/custom", { auth: { for: "custom" } });
  const welcome = next(custom, "welcome");
  await Promise.all([connect(root), connect(custom)]);
  await stage.upgraded(root);
  assert.equal(root.io.engine, custom.io.engine);
  assert.notEqual(root.id, custom.id);
  const [who] = await welcome;
  same([who.id, who.namespace, who.auth], [custom.id, "/custom", { for: "custom" }]);
  same((await ask(root, "who am i"))[0].auth, {});

  let strayed = 0;
  root.on("news", () => { strayed += 1; });
  const heard = next(custom, "news");
  custom.emit("everyone", "news", 1);
  same(await heard, [1]);
  const replies = await Promise.all([ask(root, "echo", "root"), ask(custom, "echo", "custom", EVERY)]);
  same(replies, [["root"], ["custom", EVERY]], "acknowledgements of each namespace");
  same(strayed, 0, "an event stays in its namespace");

  custom.disconnect();
  same(await ask(root, "echo", 2), [2], "leaving one namespace leaves the other");
  const again = next(custom, "welcome");
  await connect(custom);
  same((await again)[0].id, custom.id);
  assert.notEqual(custom.id, who.id);
});

scenario("the server ends one namespace of a connection, then all", {}, async (stage) => {
  const manager = stage.manager();
  const root = manager.socket("/");
  const custom = manager.socket("/custom");
  await Promise.all([connect(root), connect(custom)]);
  const observer = await witness(stage, root);
  same(await ask(observer, "watch", custom.id), [false], "no such id in the main namespace");
  let left = next(custom, "disconnect");
  let told = goodbye(observer);
  custom.emit("leave_me", false);
  same((await left)[0], "io server disconnect");
  const { reason } = await told;
  same(reason, "server namespace disconnect");
  same(await ask(root, "echo", 1), [1]);

  await connect(custom);
  same(await ask(observer, "watch", custom.id), [false]);
  const both = [next(root, "disconnect"), next(custom, "disconnect")];
  const farewells = several(observer, "gone", 2);
  custom.emit("leave_me", true);
  same((await Promise.all(both)).map(([why]) => why), ["io server disconnect", "io server disconnect"]);
  for (const [, why] of await farewells) same(why, "server namespace disconnect");
});

scenario("an unknown namespace is refused", {}, async (stage) => {
  const manager = stage.manager();
  const root = manager.socket("/");
  await connect(root);
  const error = await refused(manager.socket("/nowhere"));
  same(error.message, "Invalid namespace");
  same(error.data, undefined);
  same(await ask(root, "echo", 1), [1], "the connection goes on");
  same((await refused(stage.client("/nowhere/else"))).message, "Invalid namespace");
});

scenario("namespaces by template, with parameters and a middleware", {}, async (stage) => {
  const manager = stage.manager();
  const socket = (number, part) => manager.socket(`/house-${number}/${part}`, { auth: { key: number } });
  const [hall, yard] = [socket(7, "hall"), socket(12, "마당 & yard")];
  await connect(hall);
  await connect(yard);
  const [here] = await ask(yard, "where am i");
  same(here.name, "/house-12/마당 & yard");
  same(here.params, { number: 12, part: "마당 & yard" });
  same(here.all.filter((name) => [hall.nsp, yard.nsp].includes(name)).length, 2);
  const error = await refused(manager.socket("/house-8/hall", { auth: { key: 7 } }));
  same(error.message, "the door is locked");
  same(error.data, { number: 8 });
  for (const name of ["/house-x/hall", "/house-07/hall", "/house-7/a/b", "/house-7/", `/house-7/${"x".repeat(300)}`]) {
    same((await refused(manager.socket(name, { auth: { key: 7 } }))).message, "Invalid namespace", name);
  }
  let strayed = 0;
  yard.on("near", () => { strayed += 1; });
  const near = next(hall, "near");
  hall.emit("call out", "near", false);
  same(await near, [hall.nsp]);
  const far = [hall, yard].map((one) => next(one, "far"));
  hall.emit("call out", "far", true);
  same(await Promise.all(far), [[hall.nsp], [hall.nsp]]);
  same(strayed, 0);
  for (const one of [hall, yard]) one.on("your part?", (answer) => answer(one.nsp));
  same(await ask(hall, "ask all", "your part?"), [[hall.nsp, yard.nsp].sort()]);
  yard.disconnect();
  await within((async () => {
    while ((await ask(hall, "where am i"))[0].all.includes(yard.nsp)) await new Promise((wait) => setTimeout(wait, 5));
  })(), "the empty namespace to go");
  await connect(yard);
  same((await ask(yard, "where am i"))[0].params.number, 12);
});

scenario("a namespace by predicate", {}, async (stage) => {
  const socket = stage.client("/tenant blue", { auth: { tenant: "blue" } });
  await connect(socket);
  same(await ask(socket, "who am i"), ["blue"]);
  same((await refused(stage.client("/tenant red"))).message, "Invalid namespace");
  const other = stage.client("/tenant blue", { auth: { tenant: "red" } }); // there it is: nobody asks again
  await connect(other);
  same(await ask(other, "who am i"), ["blue"]);
});

scenario("refused requests are told to the server", {}, async (stage) => {
  const observer = await stage.connected();
  const marker = `refused ${observer.id}`;
  const origin = "https://elsewhere.example";
  const error = await refused(stage.client("/", { extraHeaders: { "X-Marker": marker, Origin: origin } }));
  assert.ok(["xhr poll error", "websocket error"].includes(error.message), error.message);
  const [[first]] = await ask(observer, "refusals", marker);
  same(first, { marker, code: 4, message: "Forbidden", context: { name: "ORIGIN_NOT_ALLOWED", origin } });
});

scenario("the server's own headers, and a cookie", { since: "4.7.0", needs: "headers" }, async (stage) => {
  const marker = "marked";
  const socket = stage.client("/", { extraHeaders: { "X-Marker": marker }, withCredentials: true });
  const joined = connect(socket);
  if (stage.transports[0] === "websocket") {
    const [response] = await next(socket.io.engine.transport.ws, "upgrade");
    same(response.headers["x-courtyard"], "open");
    same(response.headers["set-cookie"], [`seat=${marker}; Path=/; HttpOnly`]);
    await joined;
    return;
  }
  await joined;
  await stage.upgraded(socket);
  same(await ask(socket, "echo", 1), [1]);
  same(await ask(socket, "cookies"), [[`seat=${marker}`]]);
});

scenario("a namespace with a slow middleware", {}, async (stage) => {
  const socket = stage.client("/slow");
  const welcome = next(socket, "welcome");
  const echoed = ask(socket, "echo", "early");
  await connect(socket);
  same(await welcome, ["late"]);
  same(await echoed, ["early"]);
});

scenario("the connection ends while the middleware still thinks", {}, async (stage) => {
  const socket = stage.client("/slow");
  socket.connect();
  await next(socket.io, "open");
  const closed = next(socket.io.engine, "close");
  socket.io.engine.close();
  await closed;
  const other = stage.client("/slow");
  await connect(other);
  same(await ask(other, "echo", 1), [1]);
});

// ---- catch-all and volatile ----

scenario("catch-all listeners on both sides", {}, async (stage) => {
  const socket = await stage.connected();
  const heard = [];
  socket.onAny((event, ...args) => heard.push([event, ...args]));
  const back = next(socket, "echo back");
  socket.emit("echo back", 1, EVERY);
  await back;
  await ask(socket, "echo", 2);
  same(heard, [["echo back", 1, EVERY]]);
  const [seen] = await ask(socket, "any");
  same(seen, { in: ["echo back", "echo", "any"], out: ["echo back"] });
});

scenario("volatile events arrive when the client is ready", {}, async (stage) => {
  const socket = await stage.connected();
  // a volatile event may be dropped while the transport is busy: it must come through in some attempt
  const attempt = (play, what) => within(new Promise((resolve) => {
    let timer;
    const again = () => { play(() => { clearInterval(timer); resolve(); }); };
    timer = setInterval(again, 50);
    again();
  }), what);
  await attempt((done) => socket.volatile.emit("echo", 1, done), "a volatile event to the server");
  await attempt((done) => {
    socket.off("news").on("news", done);
    socket.emit("volatile to me", "news", 1);
  }, "a volatile event from the server");
});

// ---- disconnects: the reason on both sides ----

scenario("the client disconnects", {}, async (stage) => {
  const socket = await stage.connected();
  const observer = await witness(stage, socket);
  await ask(socket, "join", "a room", "b room");
  const { id } = socket;
  const told = goodbye(observer);
  const left = next(socket, "disconnect");
  const closed = leave(socket);
  same((await left)[0], "io client disconnect");
  await closed;
  same(await told, {
    id, reason: "client namespace disconnect",
    rooms: { before: ["a room", "b room"], after: [], connected: false },
  });
  await connect(socket);
  assert.notEqual(socket.id, id);
});

for (const close of [false, true]) {
  scenario(`the server disconnects${close ? " and closes" : ""}`, {}, async (stage) => {
    const socket = await stage.connected();
    const observer = await witness(stage, socket);
    const { id } = socket;
    const { engine } = socket.io;
    const told = goodbye(observer);
    const left = next(socket, "disconnect");
    const closed = next(engine, "close");
    socket.emit("disconnect me", close);
    same((await left)[0], "io server disconnect");
    const { id: gone, reason } = await told;
    same([gone, reason], [id, "server namespace disconnect"]);
    await closed;
    await connect(socket);
    same(await ask(socket, "echo", 1), [1]);
  });
}

scenario("the client closes the connection below", {}, async (stage) => {
  const socket = await stage.connected();
  const observer = await witness(stage, socket);
  const told = goodbye(observer);
  const left = next(socket, "disconnect");
  socket.io.engine.close();
  same((await left)[0], "forced close");
  same((await told).reason, "transport close");
});

scenario("the network goes away", { transports: ["websocket", "polling,websocket"] }, async (stage) => {
  const socket = await stage.connected();
  const observer = await witness(stage, socket);
  const told = goodbye(observer);
  const left = next(socket, "disconnect");
  socket.io.engine.transport.ws.terminate();
  same((await left)[0], "transport close");
  same((await told).reason, "transport close");
});

/** A client in a process of its own. */
async function lonely(stage) {
  const args = ["lonely.mjs", given.package, stage.url, JSON.stringify(stage.transports), given.parser];
  const child = spawn(process.execPath, args, { cwd: new URL(".", import.meta.url), stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await next(createInterface({ input: child.stdout }), "line");
  return { child, who: JSON.parse(line) };
}

scenario("the client's process is killed", {}, async (stage) => {
  const { child, who } = await lonely(stage);
  same(who.transport, stage.settled);
  const observer = await witness(stage, who);
  const told = goodbye(observer);
  child.kill("SIGKILL");
  const { id, reason } = await told;
  same(id, who.id);
  same(reason, stage.settled === "polling" ? "transport error" : "transport close");
});

scenario("the client's process is stopped: ping timeout", { aside: true }, async (stage) => {
  const { child, who } = await lonely(stage);
  try {
    const observer = await witness(stage, who);
    const told = next(observer, "gone", 15_000);
    child.kill("SIGSTOP");
    const [id, reason] = await told;
    same([id, reason], [who.id, "ping timeout"]);
  } finally {
    child.kill("SIGKILL");
  }
});

scenario("an idle connection lives through heartbeats", { aside: true }, async (stage) => {
  const socket = await stage.connected();
  const { id, io: { engine } } = socket;
  const pings = within(new Promise((resolve) => {
    let count = 0;
    engine.on("packet", ({ type }) => { if (type === "ping" && ++count === 3) resolve(); });
  }), "3 pings", 15_000);
  await pings;
  same(await ask(socket, "echo", 1), [1]);
  same(socket.id, id);
});

// ---- order and limits ----

/** One flood in both directions across an upgrade. Returns whether both directions were cut by it. */
async function flooded(stage, total) {
  // a WebSocket that takes a while to open leaves time for messages over polling
  const far = stage.upgrades ? await distant(stage.url, 50) : null;
  const socket = stage.client("/", {}, far?.url);
  const received = [];
  const complete = within(new Promise((resolve) => {
    socket.on("flood", (number) => {
      received.push(number);
      if (received.length === total) resolve();
    });
  }), `${total} messages of the server`, 20_000);
  const finished = new Promise((resolve) => { // as the first of all
    socket.emit("flood", total, resolve);
  });
  await connect(socket);
  const { engine } = socket.io;
  let upgradedAt = null;
  let sent = 0;
  engine.on("upgrade", () => { upgradedAt = { sent, received: received.length }; });
  const polled = engine.transport.name === "polling";
  while (sent < total) {
    for (let burst = 0; burst < 20; burst++) socket.emit("count", sent++);
    await new Promise(setImmediate);
    // keep some back, so that the upgrade falls in between
    if (stage.upgrades && polled && upgradedAt === null && sent === total - 200) await next(engine, "upgrade");
  }
  await complete.catch((error) => {
    error.message += `; ${received.length} came`;
    throw error;
  });
  same(await within(finished, "the flood's end"), total);
  const expected = [...Array(total).keys()];
  const [counted] = await ask(socket, "counted");
  same(received, expected, "from the server, in order, none lost, none twice");
  same(counted, expected, "from the client, in order, none lost, none twice");
  await stage.upgraded(socket);
  await leave(socket);
  far?.close();
  const cut = (count) => count > 0 && count < total;
  return upgradedAt !== null && cut(upgradedAt.sent) && cut(upgradedAt.received);
}

scenario("1000 messages each way stay whole and in order during the upgrade", {}, async (stage) => {
  if (!stage.upgrades) {
    await flooded(stage, 1000);
    return;
  }
  for (let attempt = 0; attempt < 5; attempt++) if (await flooded(stage, 1000)) return;
  assert.fail("in 5 attempts the upgrade never fell into the messages");
});

scenario("a large payload within the limit", {}, async (stage) => {
  const socket = await stage.connected();
  // 900,000 bytes; as binary over polling base64 makes a third more of them
  const text = "가".repeat(parser && stage.settled === "polling" ? 225_000 : 300_000);
  assert.ok((await ask(socket, "echo", text))[0] === text);
});

scenario("a payload over the limit closes the connection", {}, async (stage) => {
  const socket = await stage.connected();
  const observer = await witness(stage, socket);
  const told = goodbye(observer);
  const left = next(socket, "disconnect");
  let answered = false;
  socket.emit("echo", "x".repeat(1_000_001), () => { answered = true; });
  same((await left)[0], stage.settled === "polling" ? "transport error" : "transport close");
  const { id, reason } = await told;
  assert.match(reason, /^(transport close|transport error|parse error)$/);
  same(answered, false);
  await connect(socket);
  same(await ask(socket, "echo", 1), [1], "and may come back");
  assert.notEqual(socket.id, id);
});

// ---- the server goes and comes back ----

for (const how of ["restart", "interrupt", "kill"]) {
  scenario(`reconnects after the server's ${how}`, { needs: how }, async (stage) => {
    const socket = await stage.connected("/", {
      reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200, randomizationFactor: 0,
    });
    const { id } = socket;
    await ask(socket, "join", "a room");
    const left = next(socket, "disconnect", 20_000);
    const back = next(socket, "connect", 40_000);
    const reconnected = next(socket.io, "reconnect", 40_000);
    const asked = request(how);
    const [reason] = await left;
    // a poll may find nobody any more, where the server could not say farewell
    const abrupt = how === "kill" || (given.abrupt && stage.settled === "polling");
    assert.match(reason, abrupt ? /^transport (close|error)$/ : /^transport close$/);
    for (let number = 0; number < 5; number++) socket.emit("count", number);
    await back;
    const [attempts] = await reconnected;
    assert.ok(attempts >= 1);
    await asked;
    assert.notEqual(socket.id, id);
    same(await ask(socket, "counted"), [[0, 1, 2, 3, 4]], "what was emitted meanwhile, once and in order");
    same(await ask(socket, "join"), [[]], "rooms do not survive");
    await stage.upgraded(socket);
    const echoed = await ask(socket, "echo", KOREAN, EVERY);
    same(echoed, [KOREAN, EVERY]);
  });
}

scenario("the server falls silent: ping timeout", { needs: "freeze" }, async (stage) => {
  const socket = await stage.connected();
  const left = next(socket, "disconnect", 15_000);
  await request("freeze");
  try {
    same((await left)[0], "ping timeout");
  } finally {
    await request("thaw");
  }
  await connect(socket);
  same(await ask(socket, "echo", 1), [1]);
});

// ---- the run ----

function older(a, b) {
  const [x, y] = [a, b].map((text) => text.split(".").map(Number));
  const index = x.findIndex((part, place) => part !== y[place]);
  return index >= 0 && x[index] < y[index];
}

const run = (one) => perform(one, () => new Stage(library, given.url, transports, version, parser));
tellOfRejections();

const only = given.only ? given.only.split(",").map((part) => part.trim()) : null;
const without = given.without ? given.without.split(",") : [];
const chosen = scenarios.filter((one) => (
  (!only || only.some((part) => one.name.includes(part)))
  && !(one.since && older(version, one.since))
  && !(one.transports && !one.transports.includes(given.transports))
  && !without.includes(one.needs)
  && (one.parser === undefined || one.parser === given.parser)
  && !(given.brief && one.aside)
));
assert.ok(chosen.length > 0, "no scenario chosen");

const aside = chosen.filter((one) => one.aside).map(run); // these mostly wait
for (const one of chosen) if (!one.aside && !one.needs) await run(one);
await Promise.all(aside);
for (const one of chosen) if (one.needs) await run(one);
console.log(JSON.stringify({ finished: chosen.length, version }));
endRequests();
process.exit(0); // not waiting for the deadlines of what failed
