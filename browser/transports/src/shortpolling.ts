/** Short polling: each GET is answered at once, and the next one follows after an interval. */

import { Base, Refusal, type Options } from "./base.ts";
import type { ShortPollingOptions } from "./types.ts";

const INTERVAL_MS = 1_000;

export class ShortPolling extends Base {
  #interval: number;
  /** When the last request began that was answered. */
  #taken = 0;

  constructor(opts: Options & ShortPollingOptions) {
    super(opts);
    this.lingers = true;
    this.#interval = opts.interval ?? INTERVAL_MS;
    if (!(this.#interval >= 0 && this.#interval < Number.POSITIVE_INFINITY)) {
      throw new RangeError(`interval must be a number of milliseconds, not ${String(opts.interval)}`);
    }
  }

  get name(): string {
    return "shortpolling";
  }

  protected ask(): void {
    void this.#poll();
  }

  protected drop(): void {
    // what is under way is aborted with all requests
  }

  async #poll(): Promise<void> {
    const opening = this.readyState === "opening";
    const now = performance.now();
    try {
      this.take(await this.text({}));
      this.#taken = now;
      if (opening) this.#checkInterval();
      this.again(this.#interval);
    } catch (error) {
      if (opening || !(error instanceof Refusal) || error.status !== 429) {
        this.fail(opening ? "open" : "read", error);
        return;
      }
      const told = error.answer["retryAfterMs"];
      const wait = typeof told === "number" ? told : error.retryAfterMs;
      // The server has said how often it lets us ask: once is enough.
      if (typeof told === "number") this.#interval = Math.max(this.#interval, now - this.#taken + told);
      this.again(Math.max(this.#interval, wait));
    }
  }

  #checkInterval(): void {
    const { pingTimeout = Number.POSITIVE_INFINITY } = this.hello;
    if (this.#interval < pingTimeout) return;
    const limit = `the server's ping timeout of ${pingTimeout} ms`;
    console.error(`madang-transports: shortpolling's interval of ${this.#interval} ms must be shorter than ${limit}`);
  }
}
