/** The forever iframe: a document that never ends, whose scripts hand each payload to the page.
 *
 * The document posts messages to the page, so that it may be of another origin.
 */

import { attach, hiddenFrame, refuseHeaders } from "./dom.ts";
import type { Options } from "./base.ts";
import { Stream } from "./stream.ts";

/** How long to wait for the page's own load event, which an open iframe would put off for ever. */
const LOADED_MS = 5_000;
/** How long messages that were posted before the end may take to come after it. */
const STRAGGLERS_MS = 300;

export class Iframe extends Stream {
  #clear: (() => void) | undefined;

  constructor(opts: Options) {
    super(opts);
    refuseHeaders("iframe", "its stream", opts.extraHeaders);
  }

  get name(): string {
    return "iframe";
  }

  override open(): this {
    if (typeof document === "undefined" || document.readyState === "complete") return super.open();
    this.readyState = "opening";
    const begin = () => {
      this.drop();
      super.open();
    };
    // A turn later: the browser takes the load event's own turn into what it waits for.
    const loaded = () => {
      clearTimeout(timer);
      timer = setTimeout(begin);
    };
    let timer = setTimeout(begin, LOADED_MS);
    addEventListener("load", loaded);
    this.#clear = () => {
      removeEventListener("load", loaded);
      clearTimeout(timer);
    };
    return this;
  }

  protected ask(): void {
    const id = String(Math.floor(Math.random() * 1e9));
    const uri = this.uri({ j: id, origin: location.origin });
    const origin = new URL(uri).origin;
    const frame = hiddenFrame("Socket.IO");
    // It may run its scripts, and no more: no dialogs, no downloads, no leaving of the page.
    frame.setAttribute("sandbox", "allow-scripts allow-same-origin");
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ended = () => {
      const why = "the document has ended, was refused, or may not be framed (Content-Security-Policy: frame-src)";
      this.over(why, true);
    };
    const message = (event: MessageEvent<unknown>) => {
      if (event.source !== frame.contentWindow || event.origin !== origin) return;
      const data = event.data as { madang?: unknown; payload?: unknown } | null;
      if (data === null || typeof data !== "object" || String(data.madang) !== id || typeof data.payload !== "string") return;
      this.take(data.payload);
      if (timer !== undefined && this.announced) ended();
    };
    const load = () => {
      // Where the frame is another process, the two ways that lead here may overtake each other.
      if (this.announced) ended();
      else timer ??= setTimeout(ended, STRAGGLERS_MS);
    };
    this.#clear = () => {
      removeEventListener("message", message);
      frame.removeEventListener("load", load);
      clearTimeout(timer);
      frame.remove();
    };
    addEventListener("message", message);
    frame.addEventListener("load", load);
    frame.src = uri;
    attach(frame);
  }

  protected override drop(): void {
    super.drop();
    this.#clear?.();
    this.#clear = undefined;
  }
}
