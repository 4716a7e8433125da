/** The types that a program sees. */

/** A transport as the official client wants it: what may stand in `transports` and `transportImplementations`.
 *
 * The client's own type of an instance names private fields, and is another one for each kind of module. So this says no
 * more than that there is an instance; only the client ever makes one.
 */
export type TransportClass = new (options: any) => any;

/** Options of every transport here, in `transportOptions: { <name>: { ... } }`. */
export interface HttpOptions {
  /** How long the server's first packet may take, in milliseconds, before the next transport is tried; default 8000. */
  openTimeout?: number;
  /** How long a POST, or a poll that is answered at once, may take, in milliseconds; default 0: for ever. */
  requestTimeout?: number;
  /** Headers of each request, where the transport can send any. */
  extraHeaders?: Record<string, string>;
  /** Whether requests to other origins carry cookies; scripts and iframes always do. */
  withCredentials?: boolean;
}

/** Options of `ShortPolling`. */
export interface ShortPollingOptions extends HttpOptions {
  /** How long to wait after an answer before asking again, in milliseconds; default 1000. */
  interval?: number;
}

/** Options of `SSE`. */
export interface SSEOptions extends HttpOptions {
  /** Whether to read the stream with `fetch` in place of `EventSource`; by itself where `extraHeaders` ask for it. */
  fetch?: boolean;
}

/** The shape of `transportOptions` for the transports here. */
export interface TransportOptions {
  shortpolling?: ShortPollingOptions;
  jsonp?: HttpOptions;
  multipart?: HttpOptions;
  iframe?: HttpOptions;
  sse?: SSEOptions;
}
