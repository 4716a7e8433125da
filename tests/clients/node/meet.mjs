// Many clients of many generations in one process: the guests of `meeting.mjs` under Node.js.
//
//   node meet.mjs '{"url": "http://127.0.0.1:8000", "guests": [{"name": "...", "package": "socket.io-client-2.5.0",
//       "version": "2.5.0", "transport": "polling", "expected": {...}, "lacks": ["auth"]}, ...]}'
//
// Each line of standard input is a phase for all: {"phase": "talk", ...}. Each guest answers with a line of its own:
// {"guest": name, "phase": "talk", "steps": [...]}. It ends with its standard input.

import crypto from "node:crypto";
import { EventEmitter } from "node:events";
import http from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Guest } from "./meeting.mjs";

const require = createRequire(import.meta.url);
const { url, guests } = JSON.parse(process.argv[2]);

// 0.7 to 0.9 were written for Node.js 0.4 to 0.10: where it kept a class, its HTTP client, and hashes that took a text as bytes.
process.EventEmitter = EventEmitter;
http.createClient = (port, host) => {
  const client = new EventEmitter();
  client.request = (method, path, headers) => {
    if (typeof path === "object") [method, path, headers] = ["GET", method, path];
    const request = http.request({ port, host, method, path, headers });
    for (const event of ["upgrade", "error"]) request.on(event, (...args) => client.emit(event, ...args));
    return request;
  };
  return client;
};
const hash = Object.getPrototypeOf(crypto.createHash("md5"));
const { update } = hash;
hash.update = function (data, encoding) {
  return update.call(this, data, encoding ?? (typeof data === "string" ? "latin1" : undefined));
};

const say = (object) => console.log(JSON.stringify(object));
process.on("uncaughtException", (error) => say({ uncaught: `${error?.stack ?? error}`.slice(0, 2000) }));
process.on("unhandledRejection", (error) => say({ uncaught: `${error?.stack ?? error}`.slice(0, 2000) }));

const all = guests.map((told) => new Guest(require(told.package), { ...told, url }));
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { phase, ...given } = JSON.parse(line);
  for (const guest of all) {
    guest.play(phase, given).then((steps) => say({ guest: guest.told.name, phase, steps }));
  }
});
lines.on("close", () => process.exit(0));
