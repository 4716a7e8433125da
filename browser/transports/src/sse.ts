/** Server-Sent Events: `EventSource` where it can do it, `fetch` where the request needs headers of its own. */

import type { Options } from "./base.ts";
import { EventStream } from "./eventstream.ts";
import { Stream } from "./stream.ts";
import type { SSEOptions } from "./types.ts";

export class SSE extends Stream {
  readonly #byFetch: boolean;
  #source: EventSource | undefined;

  constructor(opts: Options & SSEOptions) {
    super(opts);
    const needed = typeof EventSource === "undefined" || Object.keys(opts.extraHeaders ?? {}).length > 0;
    this.#byFetch = opts.fetch ?? needed;
    if (needed && !this.#byFetch) {
      console.error("madang-transports: EventSource can't send extraHeaders; leave out the option `fetch: false`");
    }
  }

  get name(): string {
    return "sse";
  }

  protected ask(): void {
    if (this.#byFetch) {
      void this.pull("text/event-stream", () => new EventStream((type, data) => this.#event(type, data)));
      return;
    }
    const source = new EventSource(this.uri(), { withCredentials: this.opts.withCredentials ?? false });
    this.#source = source;
    const taking = (event: MessageEvent<string>) => {
      if (this.#source === source) this.#event(event.type, event.data);
    };
    source.addEventListener("message", taking);
    source.addEventListener("json", taking);
    source.addEventListener("error", (event) => {
      // It would connect anew by itself: how the session goes on isn't its business.
      source.close();
      if (this.#source === source) this.over("the stream failed or was refused; the browser tells no more", true, event);
    });
  }

  protected override drop(): void {
    super.drop();
    this.#source?.close();
    this.#source = undefined;
  }

  #event(type: string, data: string): void {
    if (type === "message") this.take(data);
    else if (type === "json") {
      // A payload with line breaks, which a data field can't hold as they are.
      let payload: unknown;
      try {
        payload = JSON.parse(data);
      } catch (error) {
        this.fail("read", error);
        return;
      }
      this.take(String(payload));
    }
  }
}
