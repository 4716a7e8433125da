/** A lane's time line: what travelled, what each thing was, and what stayed open meanwhile. */

import type { Kind, TraceEvent } from "../protocol.ts";

/**
 * What a thing on the wire is to the eye:
 * - ask: a request that carries no event, such as the GET of a poll
 * - up, down: it carries events
 * - empty: an answer with nothing in it
 * - ok: a confirmation: the answer to a POST, the open packet, the end of a stream
 * - head: the beginning of something that stays open
 * - beat: a heartbeat
 * - open, close: of a connection
 * - control: anything else, such as acknowledgements of QUIC
 */
export type Role = "ask" | "up" | "down" | "empty" | "ok" | "head" | "beat" | "open" | "close" | "control";

export interface Item {
  readonly kind: Kind;
  readonly up: boolean;
  readonly sent: number;
  readonly arrived: number;
  readonly bytes: number;
  readonly label: string;
  readonly connection: number | string;
  role: Role;
}

/** Something that lasts: a request that waits for its answer, a response that stays open, a socket. Null: still going on. */
export interface Span {
  readonly what: "held" | "stream" | "socket";
  readonly connection: number | string;
  /** By the server's rail. */
  from: number;
  to: number | null;
  /** By the client's rail. */
  clientFrom: number;
  clientTo: number | null;
}

interface Connection {
  pending: { item: Item; span: Span } | null;
  answer: Item | null;
  answersPost: boolean;
  channel: Span | null;
  socket: boolean;
}

/** Nothing on the wire takes longer than this, so that what is in sight can be found by its beginning. */
const LONGEST_FLIGHT_MS = 10_000;

export class Timeline {
  readonly items: Item[] = [];
  spans: Span[] = [];
  #connections = new Map<number | string, Connection>();
  #keepMs: number;

  constructor(keepMs = 180_000) {
    this.#keepMs = keepMs;
  }

  add([kind, direction, sent, arrived, bytes, label, connection]: TraceEvent): Item {
    const item: Item = { kind, up: direction === "up", sent, arrived, bytes, label, connection, role: "control" };
    const state = this.#connection(connection);
    item.role = this.#understand(item, state);
    this.#insert(item);
    return item;
  }

  /** Forget what is older than is kept. */
  prune(nowMs: number): void {
    const before = nowMs - this.#keepMs;
    let old = 0;
    while (old < this.items.length && this.items[old]!.arrived < before) old += 1;
    if (old > 256) {
      this.items.splice(0, old);
      this.spans = this.spans.filter((span) => span.clientTo === null || span.clientTo >= before);
    }
  }

  /** The lane has ended: nothing stays open any longer. */
  finish(nowMs: number): void {
    for (const span of this.spans) end(span, nowMs, nowMs);
    this.#connections.clear();
  }

  /** The first index of `items` that can touch the time `ms`. */
  firstAt(ms: number): number {
    let low = 0;
    let high = this.items.length;
    const begin = ms - LONGEST_FLIGHT_MS;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle]!.sent < begin) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #connection(id: number | string): Connection {
    let state = this.#connections.get(id);
    if (!state) {
      state = { pending: null, answer: null, answersPost: false, channel: null, socket: false };
      this.#connections.set(id, state);
    }
    return state;
  }

  #understand(item: Item, state: Connection): Role {
    const { label } = item;
    const empty = label.endsWith(" empty");
    const formal = empty && /\b(open|end)\b/.test(label);
    const beat = /\b(ping|pong|heartbeat)\b/i.test(label);
    switch (item.kind) {
      case "open":
        return "open";
      case "close":
        if (state.pending) end(state.pending.span, item.sent, item.arrived);
        if (state.channel) end(state.channel, item.sent, item.arrived);
        this.#connections.delete(item.connection);
        return "close";
      case "request": {
        if (state.channel && !state.socket) {
          // Keep-alive: the next request on a connection says that the last response is over.
          end(state.channel, item.arrived, item.sent);
          state.channel = null;
        }
        const span = this.#begin("held", item, item.arrived, item.sent);
        state.pending = { item, span };
        if (beat) return "beat";
        return empty || !/^POST\b/.test(label) ? "ask" : "up";
      }
      case "response": {
        const asked = state.pending;
        state.pending = null;
        state.answer = item;
        state.answersPost = asked !== null && !asked.item.label.startsWith("GET");
        if (asked) end(asked.span, item.sent, item.arrived);
        if (/^101\b/.test(label)) {
          state.socket = true;
          state.channel = this.#begin("socket", item, item.sent, item.arrived);
          return "head";
        }
        if (state.answersPost || formal) return "ok";
        if (beat) return "beat";
        return empty ? "empty" : "down";
      }
      case "chunk": {
        if (!state.channel && state.answer && !item.up) {
          state.answer.role = "head";
          state.channel = this.#begin("stream", item, state.answer.sent, state.answer.arrived);
        }
        if (state.channel && /\bend\b/.test(label)) {
          end(state.channel, item.sent, item.arrived);
          state.channel = null;
        }
        if (formal) return "ok";
        if (beat) return "beat";
        return empty ? "empty" : item.up ? "up" : "down";
      }
      case "frame":
      case "datagram": {
        if (!state.channel) {
          state.socket = true;
          state.channel = this.#begin("socket", item, item.sent, item.arrived);
        }
        if (beat) return "beat";
        return empty || label === "handshake" ? "control" : item.up ? "up" : "down";
      }
    }
  }

  #begin(what: Span["what"], item: Item, from: number, clientFrom: number): Span {
    const span: Span = { what, connection: item.connection, from, to: null, clientFrom, clientTo: null };
    this.spans.push(span);
    return span;
  }

  #insert(item: Item): void {
    // Reports come nearly in order; what was sent earlier is moved to its place.
    const { items } = this;
    let place = items.length;
    while (place > 0 && items[place - 1]!.sent > item.sent) place -= 1;
    if (place === items.length) items.push(item);
    else items.splice(place, 0, item);
  }
}

function end(span: Span, server: number, client: number): void {
  if (span.to === null) {
    span.to = Math.max(span.from, server);
    span.clientTo = Math.max(span.clientFrom, client);
  }
}
