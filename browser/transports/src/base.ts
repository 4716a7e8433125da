/** What the transports share: a receiving request that is asked again and again, POSTs one after the other, and the life
 * of it all as the official engine drives it.
 *
 * The engine calls `open`, `send`, `pause` and `close`, sets `query.sid` once it has read the open packet, and listens to
 * the events "open", "packet", "drain", "error" and "close".
 */

import { Emitter } from "./emitter.ts";
import { batch, decodePayload, encode, type BinaryType, type Incoming, type Outgoing } from "./packets.ts";

const OPEN_TIMEOUT_MS = 8_000;
/** How long our good-bye may take. */
const FAREWELL_MS = 2_000;

/** The engine's options, as a transport gets them: with those of `transportOptions` for its name. */
export interface Options {
  readonly hostname: string;
  readonly port?: string | number;
  readonly secure?: boolean;
  readonly path: string;
  readonly query?: Record<string, unknown>;
  readonly socket?: { readonly binaryType?: BinaryType };
  readonly timestampParam?: string;
  readonly timestampRequests?: boolean;
  readonly withCredentials?: boolean;
  readonly extraHeaders?: Record<string, string>;
  readonly openTimeout?: number;
  readonly requestTimeout?: number;
}

/** The form of the engine's own errors. */
export class TransportError extends Error {
  readonly type = "TransportError";

  /** `description` is the HTTP status where there is one, or what was thrown; `context` whatever else is known. */
  constructor(
    message: string,
    readonly description?: unknown,
    readonly context?: unknown,
  ) {
    super(message);
  }
}

/** An answer that is no success. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    reason: string,
    readonly answer: Readonly<Record<string, unknown>>,
    /** What the header Retry-After says, or a second; of another origin's answer it can't be read. */
    readonly retryAfterMs: number,
  ) {
    super(`HTTP ${status}${reason ? ` ${reason}` : ""}`);
  }

  /** Servers say in JSON what was wrong; proxies don't. */
  static async of(response: Response): Promise<Refusal> {
    const body = (await response.text().catch(() => "")).slice(0, 1000);
    let answer: Record<string, unknown> = { body };
    try {
      const parsed: unknown = JSON.parse(body);
      if (parsed !== null && typeof parsed === "object") answer = { ...parsed };
    } catch {
      // no JSON: the body tells as it is
    }
    const { message } = answer;
    const reason = typeof message === "string" ? message : response.statusText;
    return new Refusal(response.status, reason, answer, (Number(response.headers.get("Retry-After")) || 1) * 1000);
  }
}

type State = "" | "opening" | "open" | "pausing" | "paused" | "closed";

export abstract class Base extends Emitter {
  readonly query: Record<string, unknown>;
  writable = false;
  readonly supportsBinary = false;
  readyState: State = "";

  protected readonly opts: Options;
  /** What the open packet says of the server. */
  protected hello: { pingTimeout?: number; maxPayload?: number } = {};
  /** Whether a handshake goes on behind our back when we are closed: then the session is closed as soon as it is known. */
  protected lingers = false;

  readonly #socket: { readonly binaryType?: BinaryType };
  readonly #aborters = new Set<AbortController>();
  #receiving = false;
  #again: ReturnType<typeof setTimeout> | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #posting: Promise<void> = Promise.resolve();
  #busy = false;
  #leaving = false;
  /** Whether the server has closed the session. */
  #dismissed = false;
  #onPaused: (() => void) | undefined;

  constructor(opts: Options) {
    super();
    this.opts = opts;
    this.query = opts.query ?? {};
    this.#socket = opts.socket ?? {};
  }

  /** The name in the query and in `transportOptions`. */
  abstract get name(): string;

  /** Send one receiving request; call `take` with what it brings, `again` when it is over, or `fail`. */
  protected abstract ask(): void;

  /** Abandon the receiving request, and remove all that belongs to it. Has to be idempotent. */
  protected abstract drop(): void;

  // What the engine calls

  open(): this {
    this.readyState = "opening";
    const { sid } = this.query;
    const timeout = this.opts.openTimeout ?? OPEN_TIMEOUT_MS;
    // The engine listens only when we have returned.
    if (sid !== undefined) queueMicrotask(() => this.fail("open", "a session can't move to this transport"));
    else {
      this.#deadline = setTimeout(() => this.fail("open", `no open packet within ${timeout} ms`), timeout);
      this.#receive();
    }
    return this;
  }

  send(packets: readonly Outgoing[]): void {
    if (this.readyState !== "open") return; // the engine keeps them
    this.writable = false;
    // All now: the array is the engine's buffer, to which it goes on adding.
    this.#posting = this.#write(packets.map(encode));
  }

  /** Receive no more, and call back when nothing is under way: no request that receives, and no POST. */
  pause(onPause: () => void): void {
    this.readyState = "pausing";
    this.#onPaused = onPause;
    clearTimeout(this.#again);
    this.#settle();
  }

  close(): this {
    const state = this.readyState;
    if (state === "closed") return this;
    this.readyState = "closed";
    this.writable = false;
    if (state === "") return this;
    clearTimeout(this.#again);
    if (this.#dismissed) this.#shut();
    else if (state !== "opening") this.#farewell();
    else if (!this.lingers) this.#shut();
    this.emit("close");
    return this;
  }

  // For transports

  /** Packets came. */
  protected take(payload: string): void {
    for (const packet of decodePayload(payload, this.binaryType)) this.taken(packet);
  }

  /** One packet came. */
  protected taken(packet: Incoming): void {
    if (this.readyState === "closed") {
      this.#tooLate(packet);
      return;
    }
    if (packet.type === "close") {
      // The client looks at packets a moment after it got them; one of them may say why the server closes.
      this.#dismissed = true;
      queueMicrotask(() => this.end("transport closed by the server"));
      return;
    }
    if (packet.type === "open" && this.readyState === "opening") {
      clearTimeout(this.#deadline);
      try {
        this.#remember(packet);
      } catch (error) {
        this.fail("open", error);
        return;
      }
      this.readyState = "open";
      this.writable = true;
      this.#tell("open");
    }
    this.#tell("packet", packet);
  }

  /** The receiving request is over in good order: ask again after so many milliseconds. */
  protected again(delay: number): void {
    this.#receiving = false;
    if (this.#dismissed) return;
    if (this.readyState === "opening") {
      this.fail("open", "the server has answered without an open packet");
    } else if (this.readyState === "open") {
      this.#again = setTimeout(() => this.#receive(), delay);
    } else {
      this.#settle();
    }
  }

  /** The session is over, without an error. */
  protected end(description: string, context?: unknown): void {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    this.writable = false;
    this.#shut();
    this.emit("close", { description, context });
  }

  /** The session is over, or never was: `reason` is an Error, or says why. */
  protected fail(what: "open" | "read" | "post", reason: unknown, context?: unknown): void {
    if (this.readyState === "closed") {
      if (!this.#leaving) this.#shut();
      return;
    }
    this.readyState = "closed";
    this.writable = false;
    this.#shut();
    const refusal = reason instanceof Refusal ? reason : undefined;
    // A server that knows the session and doesn't know that it is over would keep it for a while.
    if (this.query["sid"] !== undefined && refusal === undefined && !this.#dismissed) this.#farewell();
    const why = reason instanceof Error ? reason.message : String(reason);
    const error = new TransportError(
      `${this.name} ${what} error: ${why}`,
      refusal?.status ?? reason,
      context ?? refusal?.answer,
    );
    this.emit("error", error);
  }

  protected get binaryType(): BinaryType {
    return this.#socket.binaryType ?? "arraybuffer";
  }

  protected get closed(): boolean {
    return this.readyState === "closed";
  }

  /** The address of the next request. */
  protected uri(more: Readonly<Record<string, string>> = {}): string {
    const { hostname, port, secure, path, timestampRequests, timestampParam } = this.opts;
    const query: Record<string, unknown> = { ...this.query, ...more };
    if (timestampRequests !== false) query[timestampParam ?? "t"] = stamp();
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    const portPart = port && Number(port) !== (secure ? 443 : 80) ? `:${port}` : "";
    const pairs = Object.entries(query).map((pair) => pair.map((part) => encodeURIComponent(String(part))).join("="));
    return `${secure ? "https" : "http"}://${host}${portPart}${path}?${pairs.join("&")}`;
  }

  /** Send one payload; resolves when the server has taken it. */
  protected async post(body: string): Promise<void> {
    const headers = { "Content-Type": "text/plain;charset=UTF-8" };
    // The good-bye is often the last thing that a page does.
    await this.text({ method: "POST", body, headers, keepalive: this.closed });
  }

  /** Ask for a whole answer; rejects with a Refusal for one that is no success, and with what fetch throws. */
  protected async text(init: RequestInit): Promise<string> {
    const aborter = new AbortController();
    const timeout = this.opts.requestTimeout ?? 0;
    const late = () => aborter.abort(new Error(`no answer within ${timeout} ms (requestTimeout)`));
    const timer = timeout > 0 ? setTimeout(late, timeout) : undefined;
    this.#aborters.add(aborter);
    try {
      return await (await this.fetch(init, aborter)).text();
    } finally {
      clearTimeout(timer);
      this.#aborters.delete(aborter);
    }
  }

  /** Fetch with what all our requests have; resolves with the head of an answer, and rejects as `text` does. */
  protected async fetch(init: RequestInit, aborter: AbortController): Promise<Response> {
    const headers = new Headers(this.opts.extraHeaders);
    new Headers(init.headers).forEach((value, name) => headers.set(name, value));
    const credentials = this.opts.withCredentials ? "include" : "same-origin";
    const response = await fetch(this.uri(), { cache: "no-store", ...init, credentials, headers, signal: aborter.signal });
    if (!response.ok) throw await Refusal.of(response);
    return response;
  }

  // Inside

  #receive(): void {
    this.#receiving = true;
    try {
      this.ask();
    } catch (error) {
      queueMicrotask(() => this.fail(this.readyState === "opening" ? "open" : "read", error));
    }
  }

  async #write(encoding: readonly (string | Promise<string>)[]): Promise<void> {
    this.#busy = true;
    try {
      const packets = await Promise.all(encoding);
      const limit = this.hello.maxPayload ?? Number.POSITIVE_INFINITY;
      for (const body of batch(packets, limit)) await this.post(body);
    } catch (error) {
      this.fail("post", error);
    } finally {
      this.#busy = false;
    }
    if (this.closed) return;
    this.writable = true;
    this.#tell("drain");
    this.#settle();
  }

  #settle(): void {
    if (this.readyState !== "pausing" || this.#receiving || !this.writable) return;
    this.readyState = "paused";
    const callback = this.#onPaused;
    this.#onPaused = undefined;
    callback?.();
  }

  /** Tell the engine. What a program's listener throws ends neither the session nor the packets behind this one. */
  #tell(event: string, ...args: unknown[]): void {
    try {
      this.emit(event, ...args);
    } catch (error) {
      setTimeout(() => {
        throw error;
      });
    }
  }

  #remember({ data }: Incoming): void {
    const hello: unknown = JSON.parse(String(data ?? "{}"));
    if (hello !== null && typeof hello === "object") this.hello = hello;
  }

  /** Say good-bye, then let go of everything. */
  #farewell(): void {
    this.#leaving = true;
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#shut(), FAREWELL_MS);
    const leave = async () => {
      try {
        await this.post("1");
      } catch {
        // Nobody is left to be told; a server that doesn't hear it misses the next pong.
      }
      this.#shut();
    };
    // One POST at a time; at once where nothing is under way, because the page may be about to go.
    if (this.#busy) void this.#posting.then(leave);
    else void leave();
  }

  /** A packet for a transport that was closed while it opened. */
  #tooLate(packet: Incoming): void {
    if (packet.type !== "open" || this.query["sid"] !== undefined) return;
    this.query["sid"] = (JSON.parse(String(packet.data)) as { sid?: string }).sid;
    this.#farewell();
  }

  #shut(): void {
    clearTimeout(this.#again);
    clearTimeout(this.#deadline);
    this.#receiving = false;
    this.#onPaused = undefined;
    this.drop();
    for (const aborter of this.#aborters) aborter.abort();
    this.#aborters.clear();
  }
}

let stamps = 0;

/** What no other request of this page has, nor most likely any of another one: nobody may answer from a cache. */
function stamp(): string {
  return Date.now().toString(36) + (stamps++).toString(36) + Math.random().toString(36).slice(2, 6);
}
