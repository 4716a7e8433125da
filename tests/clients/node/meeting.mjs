// One client at a meeting of all generations: the same for every version of the official client, under Node.js and in
// pages, so without imports of Node.js.
//
// A guest goes through phases; whoever holds the meeting says when all may begin the next one:
//
//   meet     connects, tries alone what it can, and joins the room
//   talk     says a line in the room, and hears those of all others
//   comeback awaits that it is in the room again, after the server was restarted
//   part     leaves by itself, and then, after coming anew, is sent away by the server
//
// Each phase gives the list of its steps: {step, ok: true, note?}, {step, ok: false, error} or {step, lacks: true}.

import { next, plain, within } from "./awaiting.mjs";

const DEADLINE = 30_000;
// A Flash film takes long to open, and 0.7 waits for the end of the close timeout before it misses its WebSocket.
const PATIENCE = 120_000;
const MANY = 30;
const BYTES = Array.from({ length: 256 }, (_, index) => index);
// "Ã©" is what "é" looks like when it was encoded twice: it must stay what it is.
const WORDS = [
  "é", "€", "안녕 😀", "𝕄𠮷🎪", "a\u2028b\u2029c", "two\nlines\r\n", "\"quotes\" 'single' \\ back", "</script>", "Ã©", "\ufffd", "",
];
const OBJECTS = [
  null, true, 0, -1.5, 12345678901, "", [], {}, { "열쇠": ["값", { deep: [[null]] }], "": 1 }, [1, "é", [{ a: null }]],
];
const SAID = "어서 오세요, everybody é€😀\u2028\n\"Ã©\"";

function equal(actual, expected, what = "what came") {
  const [a, b] = [actual, expected].map((value) => JSON.stringify(plain(value)));
  if (a !== b) throw new Error(`${what}: ${a} instead of ${b}`);
}

function ask(socket, event, ...args) {
  const answered = new Promise((resolve) => socket.emit(event, ...args, (...reply) => resolve(reply)));
  return within(answered, `the answer to ${JSON.stringify([event, ...args]).slice(0, 100)}`, DEADLINE);
}

/** 0.7 to 0.9. */
class Old {
  static NAMES = { polling: "xhr-polling", jsonp: "jsonp-polling" };

  constructor(io, url, { transport, query, version }) {
    // an option of `connect` does not keep it from the others, and the server's order wins
    io.transports = [Old.NAMES[transport] ?? transport];
    const sturdy = version.startsWith("0.9.");
    const root = io.connect(`${url}?${query}`, {
      "force new connection": true, "try multiple transports": false, "connect timeout": PATIENCE,
      // 0.7 and 0.8 never try again when their first attempt finds nobody: `comeback` tells them when. And each attempt
      // that begins before the last one ended is one connection more.
      reconnect: sturdy, "reconnection delay": sturdy ? 50 : 2000, "reconnection limit": sturdy ? 400 : 16_000, "max reconnection attempts": 1000,
      "sync disconnect on unload": false,
    });
    this.errors = [];
    this.root = root;
    this.listening = new Set();
    for (const one of [root, root.socket]) this.listen(one);
  }

  of(name) {
    return name === "/" ? this.root : this.listen(this.root.of(name));
  }

  /** Where nobody listens to errors, they are thrown. */
  listen(emitter) {
    if (!this.listening.has(emitter)) emitter.on("error", (why) => this.errors.push(`${why}`));
    this.listening.add(emitter);
    return emitter;
  }

  /** The event of a refusal, and what it says. */
  refused(name) {
    const socket = this.of(name);
    const failed = ["error", "connect_failed"].map((event) => next(socket, event, DEADLINE).then(([why]) => why ?? event));
    return Promise.race(failed);
  }

  async settled() {}

  /** The server is there again. */
  comeback() {
    const { socket } = this.root;
    if (socket.options.reconnect) return;
    if (socket.connected) this.root.once("disconnect", () => socket.reconnect());
    else socket.reconnect();
  }

  close() {
    this.root.socket.options.reconnect = false;
    this.root.socket.disconnect();
  }
}

/** 1.0 to 4.x. */
class New {
  static WAYS = {
    polling: { transports: ["polling"] },
    base64: { transports: ["polling"], forceBase64: true },
    jsonp: { transports: ["polling"], forceJSONP: true, jsonp: true },
    websocket: { transports: ["websocket"] },
    upgrade: { transports: ["polling", "websocket"] },
  };

  constructor(library, url, { transport, query, version }) {
    this.modern = Number(version.split(".")[0]) >= 3;
    this.upgrades = transport === "upgrade";
    this.manager = new library.Manager(url, {
      ...New.WAYS[transport], query: Object.fromEntries(new URLSearchParams(query)), timeout: DEADLINE,
      reconnectionDelay: 50, reconnectionDelayMax: 400,
    });
    this.errors = [];
    this.manager.on("connect_error", (error) => this.errors.push(`${error}`));
    this.sockets = new Map();
    this.root = this.of("/");
  }

  of(name) {
    let socket = this.sockets.get(name);
    if (!socket) {
      socket = this.manager.socket(name, this.modern ? { auth: { token: "열려라" } } : undefined);
      this.sockets.set(name, socket);
    }
    return socket;
  }

  async refused(name) {
    const [why] = await next(this.of(name), this.modern ? "connect_error" : "error", DEADLINE);
    return this.modern ? why.message : why;
  }

  async settled() {
    const { engine } = this.manager;
    if (this.upgrades && engine.transport.name !== "websocket") await next(engine, "upgrade", DEADLINE);
  }

  /** It has noticed already. */
  comeback() {}

  close() {
    this.manager.reconnection(false);
    for (const socket of this.sockets.values()) socket.disconnect();
  }
}

export class Guest {
  /**
   * `told`: {name, version, transport, url, expected: {generation, transport}, lacks: [names of steps], slow}.
   * `library`: what the package exports.
   */
  constructor(library, told) {
    this.told = told;
    this.library = library;
    this.rounds = new Map();
    this.entered = 0;
    this.shown = [];
  }

  /** 0.7 and 0.8 decode the query that they are given, and send it so. */
  get token() {
    const plain = /^0\.[78]\./.test(this.told.version) || this.told.transport === "flashsocket";
    return plain ? "a-token" : "a é token";
  }

  client() {
    const { url, version, transport } = this.told;
    const Dialect = version.startsWith("0.") ? Old : New;
    return new Dialect(this.library, url, { version, transport, query: `token=${encodeURIComponent(this.token)}` });
  }

  /** Run one phase. Gives its steps; what fails is told there. */
  async play(phase, given = {}) {
    this.steps = [];
    if (this.failed) return [{ step: phase, ok: false, error: "did not get as far" }];
    try {
      await this[phase](given);
    } catch (error) {
      if (error !== this.failed) this.steps.push({ step: phase, ok: false, error: `${error?.stack ?? error}`.slice(0, 2000) });
    }
    return this.steps;
  }

  async step(step, play, vital = false) {
    if (this.told.lacks?.includes(step)) {
      this.steps.push({ step, lacks: true });
      return;
    }
    try {
      const note = await play();
      this.steps.push(note === undefined ? { step, ok: true } : { step, ok: true, note });
    } catch (error) {
      this.steps.push({ step, ok: false, error: `${error?.stack ?? error}`.slice(0, 2000) });
      if (!vital) return;
      this.failed = error;
      throw error;
    }
  }

  async meet() {
    const { told } = this;
    const client = this.client();
    const { root } = client;
    this.first = client;
    await this.step("connect", async () => {
      await next(root, "connect", PATIENCE).catch((error) => {
        error.message += `; errors: ${JSON.stringify(client.errors.slice(0, 3))}`;
        throw error;
      });
      await within(client.settled(), "the upgrade", DEADLINE);
      const [[generation, transport]] = await ask(root, "whoami");
      equal([generation, transport], [told.expected.generation, told.expected.transport], "generation and transport");
    }, true);
    await this.step("query", async () => equal(await ask(root, "query", "token"), [this.token]));
    await this.step("auth", async () => equal(await ask(root, "auth"), [{ token: "열려라" }]));
    await this.step("text", async () => {
      equal(await ask(root, "echo", "text"), ["text"]);
      const back = next(root, "echo back", DEADLINE);
      root.emit("echo back", "there and back");
      equal(await back, ["there and back"]);
    });
    await this.step("unicode", async () => {
      for (const word of WORDS) equal(await ask(root, "echo", word), [word]);
      const back = next(root, "echo back", DEADLINE);
      root.emit("echo back", ...WORDS);
      equal(await back, WORDS);
    });
    await this.step("message", async () => {
      const back = next(root, "message", DEADLINE);
      root.send("é€😀 Ã©");
      equal((await back)[0], "é€😀 Ã©");
    });
    await this.step("objects", async () => {
      equal(await ask(root, "echo", ...OBJECTS), OBJECTS);
      equal(await ask(root, "echo"), []);
      const back = next(root, "echo back", DEADLINE);
      root.emit("echo back", ...OBJECTS);
      equal(await back, OBJECTS);
    });
    await this.step("order", async () => {
      const numbers = Array.from({ length: MANY }, (_, index) => index);
      for (const number of numbers) root.emit("count", number, "é😀");
      equal(await ask(root, "counted"), [numbers], "what the server counted");
      const came = [];
      root.on("number", (number, word) => word === "é😀" && came.push(number));
      const last = next(root, "last", DEADLINE);
      root.emit("burst", MANY);
      await last;
      equal(came, numbers, "what the client counted");
    });
    await this.step("binary", async () => {
      const bytes = Uint8Array.from(BYTES).buffer;
      equal(await ask(root, "echo", bytes, "é", { two: bytes }), [bytes, "é", { two: bytes }]);
      const back = next(root, "echo back", DEADLINE);
      root.emit("echo back", { data: bytes, list: [1, bytes] });
      equal(await back, [{ data: bytes, list: [1, bytes] }]);
    });
    await this.step("ask the server", async () => equal(await ask(root, "sum", 1, 2.5), [3.5, "é"]));
    await this.step("ask the client", async () => {
      root.on("question", (a, b, answer) => answer(b, `${a} é😀\u2028`));
      const answered = next(root, "answered", DEADLINE);
      root.emit("question me", "둘", { n: 1 });
      equal(await answered, [[{ n: 1 }, "둘 é😀\u2028"]]);
    });
    await this.step("namespace", async () => {
      await this.enter();
      const back = next(this.room, "echo back", DEADLINE);
      this.room.emit("echo back", "in the room");
      equal(await back, ["in the room"]);
      equal(await ask(this.room, "where"), ["/room"]);
      equal(await ask(root, "where"), ["/"]);
    }, true);
    await this.step("refusal", async () => equal(await client.refused("/closed"), told.expected.refusal));
  }

  /** The room's namespace, joined, and joined again after each reconnection. */
  async enter() {
    const room = this.first.of("/room");
    this.room = room;
    room.on("said", (round, name, words) => {
      if (!this.rounds.has(round)) this.rounds.set(round, new Map());
      this.rounds.get(round).set(name, words);
      this.listener?.();
    });
    room.on("shown", (...args) => {
      this.shown.push(args);
      this.listener?.();
    });
    const join = () => room.emit("join", this.told.name, !this.told.lacks.includes("binary broadcast"), () => {
      this.entered++;
      this.listener?.();
    });
    if (room.connected) join();
    room.on("connect", join);
    await this.until(() => this.entered > 0, "the room");
  }

  until(holds, what, milliseconds = DEADLINE) {
    const held = new Promise((resolve) => {
      this.listener = () => holds() && resolve();
      this.listener();
    });
    return within(held, what, milliseconds).finally(() => { this.listener = undefined; });
  }

  async talk({ round, names, show }) {
    const { told } = this;
    await this.step("broadcast", async () => {
      this.room.emit("say", round, told.name, SAID);
      const missing = () => names.filter((name) => !this.rounds.get(round)?.has(name));
      try {
        await this.until(() => missing().length === 0, "what all say");
      } catch (error) {
        error.message += `; nothing came from ${missing().join(", ")}`;
        throw error;
      }
      for (const [name, words] of this.rounds.get(round) ?? []) equal(words, SAID, `what ${name} said`);
    });
    if (show === undefined) return; // the second time
    await this.step("binary broadcast", async () => {
      if (!show) return "nobody has shown any";
      if (show === told.name) this.room.emit("show", Uint8Array.from(BYTES).buffer);
      await this.until(() => this.shown.length > 0, "what is shown");
      const [[name, value]] = this.shown;
      equal(name, "bytes");
      if (plain(value)?.bytes) {
        equal(plain(value).bytes, BYTES);
        return undefined;
      }
      equal(value, btoa(String.fromCharCode(...BYTES)));
      return "as base64";
    });
  }

  async comeback() {
    await this.step("reconnect", async () => {
      this.first.comeback();
      await this.until(() => this.entered > 1, "being in the room again", PATIENCE);
      await within(this.first.settled(), "the upgrade", DEADLINE);
      equal(await ask(this.first.root, "echo", "back again é"), ["back again é"]);
    });
  }

  async part() {
    const { told } = this;
    await this.step("client disconnects", async () => {
      const left = next(this.first.root, "disconnect", DEADLINE);
      this.first.close();
      await left;
    });
    const again = this.client();
    await this.step("server disconnects", async () => {
      await next(again.root, "connect", DEADLINE);
      const [reason] = await ask(again.root, "departed", told.name);
      if (typeof reason !== "string") throw new Error("the server has not seen the client leave");
      const left = next(again.root, "disconnect", DEADLINE);
      again.root.emit("leave me");
      await left;
      return reason;
    });
    again.close();
  }
}
