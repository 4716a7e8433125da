// The official client's connection state recovery, against tests/support/numbered.py, over a way that breaks.
//
//   node recovery.mjs --url http://127.0.0.1:8000 --transports polling,websocket [--package socket.io-client-4.6.2]
//        [--parser socket.io-msgpack-parser] [--drops 10]
//
// Prints and asks what scenarios.mjs prints and asks.

import assert from "node:assert/strict";
import { createConnection, createServer } from "node:net";
import { parseArgs } from "node:util";
import { readFileSync } from "node:fs";
import { Stage, ask, connect, endRequests, next, perform, request, same, tellOfRejections, within } from "./harness.mjs";

const { values: given } = parseArgs({
  options: {
    url: { type: "string" },
    transports: { type: "string", default: "polling,websocket" },
    package: { type: "string", default: "socket.io-client" },
    parser: { type: "string", default: "" },
    seed: { type: "string", default: "1" },
    drops: { type: "string", default: "4" },
  },
});
const library = await import(given.package);
const manifest = new URL(`./node_modules/${given.package}/package.json`, import.meta.url);
const version = JSON.parse(readFileSync(manifest)).version;
const parser = given.parser ? (await import(given.parser)).default : undefined;
const recovers = !/^(3|4\.[0-5])\./.test(version);
const transports = given.transports.split(",");
const DROPS = Number(given.drops);

const scenarios = [];
function scenario(name, options, play) {
  scenarios.push({ name, ...options, play });
}

// ---- what breaks ----

let state = Number(given.seed);
/** The same numbers in each run: below 1. */
function random() {
  state = (state * 1103515245 + 12345) % 2147483648;
  return state / 2147483648;
}
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A way to the server that can be broken. */
async function way(url) {
  const { hostname, port } = new URL(url);
  const pairs = new Set();
  const watchers = [];
  let reachable = true;
  const proxy = createServer({ noDelay: true }, (near) => {
    if (!reachable) return near.destroy();
    const far = createConnection({ port: Number(port), host: hostname, noDelay: true });
    const pair = { near, far, open: true };
    pairs.add(pair);
    const end = () => {
      if (!pair.open) return;
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const link of [near, far]) link.on("error", end).on("close", end);
    near.on("data", (data) => {
      if (!pair.open) return;
      far.write(data);
      if (/^upgrade: websocket/im.test(data.toString("latin1"))) for (const watcher of watchers.splice(0)) watcher();
    });
    far.on("data", (data) => pair.open && near.write(data));
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const dead = [];
  const drop = (how) => {
    for (const pair of [...pairs]) {
      pairs.delete(pair);
      pair.open = false;
      dead.push(pair);
      if (how === "reset") {
        pair.near.resetAndDestroy();
        pair.far.resetAndDestroy();
      } else if (how === "close") {
        pair.near.destroy();
        pair.far.destroy();
      } else if (how === "unnoticed") {
        pair.near.resetAndDestroy(); // the server's half stays, and hears nothing any more
      }
      // "silent": both halves stay, and neither hears of the other
    }
  };
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    drop,
    /** Break at the next attempt to change to a WebSocket. */
    onUpgrade: (watcher) => watchers.push(watcher),
    close() {
      reachable = false;
      proxy.close();
      for (const { near, far } of [...pairs, ...dead]) {
        near.destroy();
        far.destroy();
      }
    },
  };
}

/** A client that looks at every number. */
class Listener {
  constructor(stage, url) {
    this.socket = stage.client("/", {
      reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 60, timeout: 2000, forceNew: true,
    }, url);
    this.last = null;
    this.total = 0;
    this.wrong = [];
    this.connects = [];
    this.early = [];
    this.disconnects = [];
    this.socket.on("disconnect", (reason) => this.disconnects.push(reason));
    this.socket.on("connect", () => this.connects.push(this.socket.recovered));
    this.socket.on("n", (...args) => (this.last ? this.hear(args) : this.early.push(args)));
  }

  hear([stream, number, total]) {
    if (this.last[stream] === undefined) this.wrong.push(`${stream} is not for us`);
    else if (number <= this.begun[stream]) return; // said before
    else if (number !== this.last[stream] + 1) this.wrong.push(`${stream}: ${number} after ${this.last[stream]}`);
    if (total <= this.total) this.wrong.push(`${total} after ${this.total}, of all`);
    this.last[stream] = number;
    this.total = total;
  }

  async begin() {
    const [counts] = await ask(this.socket, "begin");
    this.begun = { ...counts };
    this.last = { ...counts };
    for (const args of this.early.splice(0)) this.hear(args);
  }

  /** After the last drop: everything has come. */
  async end() {
    await this.until(() => this.last.all > this.begun.all + 10, () => "something that was said");
    const counts = await this.ask("end");
    await this.until(() => Object.entries(counts).every(([stream, count]) => this.last[stream] >= count),
      () => `all numbers up to ${JSON.stringify(counts)}; there are ${JSON.stringify(this.last)}`);
    same(this.wrong, []);
  }

  /** Ask until there is an answer: what a client says is not recovered, and the last drop may show only now. */
  async ask(event) {
    for (let patience = 8; ; patience--) {
      try {
        return await within(new Promise((resolve) => this.socket.emit(event, resolve)), `answer to ${event}`, 1500);
      } catch (error) {
        if (patience === 0) throw error;
      }
    }
  }

  /** Break the way until it notices: between two polls there is nothing to break. Then wait until it is back. */
  async lost(path, how) {
    const { connects, disconnects } = this;
    const count = connects.length;
    const before = disconnects.length;
    const deadline = Date.now() + 15_000;
    while (disconnects.length === before) {
      if (Date.now() > deadline) throw new Error(`it never noticed that its connection was broken: ${how}`);
      path.drop(how);
      const noticed = Date.now() + (how === "silent" ? 1500 : 150);
      while (disconnects.length === before && Date.now() < noticed) await pause(2);
    }
    await this.connected(count + 1);
  }

  /** Wait until it is connected for the `count`th time. */
  async connected(count) {
    await this.until(() => this.connects.length >= count && this.socket.connected,
      () => `connection ${count}; there were ${this.connects.length}`);
  }

  async until(condition, what, milliseconds = 15_000) {
    const deadline = Date.now() + milliseconds;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`not in ${milliseconds} ms: ${what()}`);
      await pause(5);
    }
  }
}

async function broken(stage, play) {
  const path = await way(given.url);
  try {
    await play(path);
  } finally {
    stage.close();
    path.close();
  }
}

// ---- recovery ----

for (const how of ["close", "reset", "unnoticed", "silent"]) {
  scenario(`drops in a row: ${how}`, { recovers: true }, (stage) => broken(stage, async (path) => {
    const listener = new Listener(stage, path.url);
    await connect(listener.socket);
    const id = listener.socket.id;
    await listener.begin();
    for (let drop = 1; drop <= (how === "silent" ? Math.min(DROPS, 4) : DROPS); drop++) {
      await pause(random() * 150);
      await listener.lost(path, how);
    }
    await listener.end();
    same(listener.connects.slice(1).filter((recovered) => !recovered), [], "each time it was recovered");
    same(listener.socket.id, id);
    const [times] = await ask(listener.socket, "times");
    same(times >= listener.connects.length, true, "the data was kept");
  }));
}

scenario("drops while the transport is changed", { recovers: true, upgrade: true }, (stage) => broken(stage, async (path) => {
  const listener = new Listener(stage, path.url);
  await connect(listener.socket);
  await listener.begin();
  for (let drop = 1; drop <= DROPS; drop++) {
    let tried = false;
    path.onUpgrade(() => (tried = true));
    for (let patience = 20; !tried; patience--) {
      assert.ok(patience > 0, "it never tried to upgrade");
      path.drop("close"); // the client comes back with polling, and tries again
      for (let waited = 0; !tried && waited < 400; waited += 2) await pause(2);
    }
    await pause(random() * 12);
    path.drop(["close", "unnoticed"][drop % 2]);
  }
  await listener.end();
  same(listener.connects.slice(1).filter((recovered) => !recovered), []);
}));

scenario("several clients, drops of all kinds", { recovers: true }, (stage) => broken(stage, async (path) => {
  const listeners = Array.from({ length: 5 }, () => new Listener(stage, path.url));
  await Promise.all(listeners.map(({ socket }) => connect(socket)));
  await Promise.all(listeners.map((listener) => listener.begin()));
  for (let drop = 0; drop < DROPS; drop++) {
    await pause(random() * 120);
    path.drop(["close", "unnoticed", "reset"][drop % 3]);
    if (drop % 4 === 3) await Promise.all(listeners.map((listener) => listener.until(() => listener.socket.connected, () => "connection")));
  }
  await pause(50);
  await Promise.all(listeners.map((listener) => listener.until(() => listener.socket.connected, () => "connection")));
  await Promise.all(listeners.map((listener) => listener.end()));
  for (const { connects } of listeners) same(connects.slice(1).filter((recovered) => !recovered), []);
}));

scenario("a client that has got no event yet, and none in between", { recovers: true }, (stage) => broken(stage, async (path) => {
  const listener = new Listener(stage, path.url);
  await connect(listener.socket);
  for (let drop = 1; drop <= 5; drop++) {
    await listener.lost(path, drop % 2 ? "close" : "unnoticed");
  }
  same(listener.connects, [false, true, true, true, true, true]);
  const once = next(listener.socket, "once");
  listener.socket.emit("say once");
  same((await once).length, 1, "one argument more: the offset");
}));

scenario("a client that leaves is new when it comes again", { recovers: true }, async (stage) => {
  const socket = await stage.connected();
  const id = socket.id;
  const gone = next(socket, "disconnect");
  socket.disconnect();
  await gone;
  await pause(20);
  await connect(socket);
  same(socket.recovered, false);
  assert.notEqual(socket.id, id);
});

scenario("the server is killed, and another one takes its place", { recovers: true, needs: "kill" }, (stage) => broken(stage, async (path) => {
  const listener = new Listener(stage, path.url);
  const { socket } = listener;
  await connect(socket);
  await listener.begin();
  await pause(100);
  const before = socket.id;
  await request("kill");
  await listener.connected(2);
  same(listener.connects, [false, false]);
  assert.notEqual(socket.id, before);
  same(await ask(socket, "times"), [1], "nothing is left of the old session");
  // The client has the offset of the dead server, and no other until it gets an event.
  await listener.lost(path, "close");
  same(listener.connects, [false, false, true]);
  listener.last = null;
  listener.total = 0;
  listener.early = [];
  await listener.begin();
  await pause(100);
  await listener.lost(path, "unnoticed");
  await listener.end();
  same(listener.connects, [false, false, true, true]);
}));

scenario("a client that does not know recovery", { recovers: false }, (stage) => broken(stage, async (path) => {
  const socket = stage.client("/", { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 60 }, path.url);
  await connect(socket);
  const once = next(socket, "once");
  socket.emit("say once");
  same((await once).length, 1, "one argument more");
  const id = socket.id;
  const again = next(socket, "connect");
  path.drop("close");
  await again;
  assert.notEqual(socket.id, id, "a new session");
  same(await ask(socket, "times"), [1]);
}));

// ---- the run ----

const run = (one) => perform(one, () => new Stage(library, given.url, transports, version, parser));
tellOfRejections();

const chosen = scenarios.filter((one) => one.recovers === recovers && (!one.upgrade || transports.length > 1));
for (const one of chosen) await run(one);
console.log(JSON.stringify({ finished: chosen.length, version }));
endRequests();
process.exit(0);
