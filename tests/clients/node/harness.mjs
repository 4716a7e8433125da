// What the scenarios stand on: connecting, awaiting with a deadline, comparing, and asking the
// program that started us to restart or freeze the server.

import assert from "node:assert/strict";
import { createConnection, createServer } from "node:net";
import { createInterface } from "node:readline";
import { DEADLINE, ask, next, plain, several, within } from "./awaiting.mjs";

export { DEADLINE, ask, next, plain, several, within };

export function same(actual, expected, message) {
  assert.deepStrictEqual(plain(actual), plain(expected), message);
}

/** One scenario's clients: made here, closed at its end. */
export class Stage {
  constructor(library, url, transports, version, parser) {
    this.library = library;
    this.url = url;
    this.transports = transports;
    this.version = version;
    this.common = parser ? { parser } : {};
    this.managers = [];
  }

  get upgrades() {
    return this.transports.length > 1;
  }

  /** The transport after the upgrade, if there is one. */
  get settled() {
    return this.transports.at(-1);
  }

  manager(options = {}, url = this.url) {
    const manager = new this.library.Manager(url, {
      transports: this.transports,
      reconnection: false,
      autoConnect: false,
      ...this.common,
      ...options,
    });
    this.managers.push(manager);
    return manager;
  }

  /** A client that is not connected yet, with a connection of its own. */
  client(namespace = "/", options = {}, url = this.url) {
    const { auth, ...rest } = options;
    return this.manager(rest, url).socket(namespace, auth === undefined ? {} : { auth });
  }

  /** A connected client; when an upgrade is possible, it has happened. */
  async connected(namespace = "/", options = {}) {
    const socket = this.client(namespace, options);
    await connect(socket);
    await this.upgraded(socket);
    return socket;
  }

  async upgraded(socket) {
    const engine = socket.io.engine;
    if (engine.transport.name !== this.settled) await next(engine, "upgrade");
    assert.equal(engine.transport.name, this.settled);
  }

  close() {
    for (const manager of this.managers) {
      manager.reconnection(false);
      for (const socket of Object.values(manager.nsps)) socket.disconnect();
      manager._close();
    }
  }
}

/** Connect, and await it; a refusal is an error. */
export async function connect(socket) {
  const settled = new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  socket.connect();
  await within(settled, `connection to ${socket.nsp}`);
}

/** Connect, and return the error of the refusal; a success is an error. */
export async function refused(socket) {
  const settled = new Promise((resolve, reject) => {
    socket.once("connect_error", resolve);
    socket.once("connect", () => reject(new Error(`${socket.nsp} should have refused`)));
  });
  socket.connect();
  return within(settled, `refusal by ${socket.nsp}`);
}

/** Disconnect, and await the end of the connection: clients before 4.1 can't connect again earlier. */
export async function leave(socket) {
  const closed = next(socket.io.engine, "close");
  socket.disconnect();
  await closed;
}

/** A way to the server that passes requests on at once, but a WebSocket's only after some milliseconds. */
export async function distant(url, milliseconds) {
  const { hostname, port } = new URL(url);
  const links = new Set();
  const proxy = createServer((near) => {
    near.once("data", (head) => {
      const far = createConnection(Number(port), hostname);
      for (const link of [near, far]) links.add(link.on("error", () => link.destroy()));
      near.pause();
      setTimeout(() => {
        far.write(head);
        near.pipe(far).pipe(near);
      }, /^upgrade: websocket/im.test(head.toString("latin1")) ? milliseconds : 0);
    });
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    close() {
      proxy.close();
      for (const link of links) link.destroy();
    },
  };
}

const waiting = [];
let last = Promise.resolve(); // the latest request, answered or refused
let lines;

/** Ask who started us for something that only they can do: restart, kill, stop, start, freeze, thaw. */
export function request(what) {
  if (!lines) {
    lines = createInterface({ input: process.stdin });
    lines.on("line", (line) => {
      const answer = JSON.parse(line);
      const { resolve, reject } = waiting.shift();
      if (answer.error) reject(new Error(answer.error));
      else resolve(answer);
    });
  }
  const done = new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  console.log(JSON.stringify({ request: what }));
  const answered = within(done, `the server to ${what}`, 40_000);
  last = answered.catch(() => {});
  return answered;
}

/** A scenario that failed midway leaves a request behind: the next one begins when that is done. */
export function requestsDone() {
  return last;
}

export function endRequests() {
  lines?.close();
}

// Play one scenario on a stage of its own, and print how it went.
export async function perform({ name, play }, newStage) {
  const stage = newStage();
  const began = performance.now();
  const result = { scenario: name, ok: true };
  try {
    await play(stage);
  } catch (error) {
    result.ok = false;
    result.details = `${error?.stack ?? error}`.slice(0, 4000);
  }
  stage.close();
  await requestsDone();
  result.ms = Math.round(performance.now() - began);
  console.log(JSON.stringify(result));
}

// Print what fails where nobody waits for it.
export function tellOfRejections() {
  process.on("unhandledRejection", (error) => {
    console.log(JSON.stringify({ scenario: "(nobody awaited this)", ok: false, details: `${error?.stack ?? error}` }));
  });
}
