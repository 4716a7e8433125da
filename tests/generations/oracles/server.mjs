// The application of `tests/generations/support/meeting.py` on an official server.
//
//   npm install --ignore-scripts, in this folder, and then: node server.mjs PORT socket.io-0.9|socket.io-1|socket.io-2|socket.io
//
// "socket.io" is the newest, of `tests/clients/node`; it speaks to clients of 2.x too.

import crypto from "node:crypto";
import { EventEmitter } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const [port, name] = process.argv.slice(2);
const near = createRequire(import.meta.url);
const require = name === "socket.io" ? createRequire(path.resolve("tests/clients/node/meet.mjs")) : near;

// 0.9 was written for Node.js 0.4 to 0.10
process.EventEmitter = EventEmitter;
const hash = Object.getPrototypeOf(crypto.createHash("md5"));
const { update } = hash;
hash.update = function (data, encoding) {
  return update.call(this, data, encoding ?? (typeof data === "string" ? "latin1" : undefined));
};

// and it loses what has a U+2028 in it, as its clients do
const escaped = (text) => text?.replace(/[\u2028\u2029]/g, (one) => `\\u${one.charCodeAt(0).toString(16)}`);
const { stringify } = JSON;
JSON.stringify = (...args) => escaped(stringify(...args));
if (name === "socket.io-0.9") {
  const parser = require("socket.io-0.9/lib/parser");
  const { decodePacket } = parser;
  parser.decodePacket = (text) => decodePacket(escaped(text));
}

const http = createServer((request, response) => {
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end("<!doctype html><title>an official server</title>");
});
http.prependListener("upgrade", (request, socket) => delete socket.setEncoding);
const library = require(name);
const old = name === "socket.io-0.9";
const io = old
  ? library.listen(http, {
    transports: ["websocket", "flashsocket", "htmlfile", "xhr-polling", "jsonp-polling"],
    "polling duration": 2, "heartbeat interval": 2, "heartbeat timeout": 40, "close timeout": 5, "log level": 1,
  })
  : name === "socket.io"
    ? new library.Server(http, { allowEIO3: true, pingInterval: 2000, pingTimeout: 5000, cors: { origin: true, credentials: true } })
    : library(http, { pingInterval: 2000, pingTimeout: 5000 });

const NAMES = { "xhr-polling": "polling", jsonppolling: "jsonp", xhrpolling: "polling", htmlfile: "iframe" };
const reasons = {};

function whoami(socket) {
  if (old) {
    const transport = io.transports[socket.id].name;
    return ["sio1", NAMES[transport] ?? transport];
  }
  const { conn, handshake } = socket;
  return [`eio${conn.protocol ?? 3}`, handshake.query.j === undefined ? conn.transport.name : "jsonp"];
}

function listen(where, socket) {
  const said = (...args) => (old ? where.emit(...args) : where.to("everybody").emit(...args));
  const counted = [];
  let member;
  socket.on("whoami", (answer) => answer(...[whoami(socket)]));
  socket.on("query", (key, answer) => answer((old ? socket.handshake.query : socket.handshake.query)[key]));
  socket.on("auth", (answer) => answer(socket.handshake.auth));
  socket.on("echo", (...args) => args.pop()(...args));
  socket.on("echo back", (...args) => socket.emit("echo back", ...args));
  socket.on("message", (text) => socket.send(text));
  socket.on("count", (number) => counted.push(number));
  socket.on("counted", (answer) => answer(counted));
  socket.on("burst", (total) => {
    for (let number = 0; number < total; number++) socket.emit("number", number, "é😀");
    socket.emit("last");
  });
  socket.on("sum", (a, b, answer) => answer(a + b, "é"));
  socket.on("question me", (a, b) => socket.emit("question", a, b, (c, d) => socket.emit("answered", [c, d])));
  socket.on("where", (answer) => answer(where.name || "/"));
  socket.on("join", (guest, pictures, answer) => {
    member = guest;
    if (old) answer();
    else Promise.resolve(socket.join("everybody")).then(() => answer());
  });
  socket.on("say", (round, guest, words) => said("said", round, guest, words));
  socket.on("show", (bytes) => said("shown", "bytes", bytes));
  socket.on("departed", (guest, answer) => {
    const look = () => (guest in reasons ? answer(reasons[guest]) : setTimeout(look, 20));
    look();
  });
  socket.on("leave me", () => socket.disconnect());
  socket.on("disconnect", (reason) => { if (member) reasons[member] = reason; });
}

for (const space of ["/", "/room"]) {
  const where = old && space === "/" ? io.sockets : io.of(space);
  where.on("connection", (socket) => listen(where, socket));
}
if (old) io.of("/closed").authorization((data, next) => next(null, false));
else io.of("/closed").use((socket, next) => next(new Error("not you")));
http.listen(Number(port), "127.0.0.1", () => console.log("listening"));
