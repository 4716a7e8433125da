/** Transports for the official socket.io-client, for what its own don't reach.
 *
 *     import { io } from "socket.io-client";
 *     import { SSE } from "madang-transports";
 *
 *     const socket = io({ transports: [SSE] });
 */

import { Iframe as IframeTransport } from "./iframe.ts";
import { JSONP as JSONPTransport } from "./jsonp.ts";
import { Multipart as MultipartTransport } from "./multipart.ts";
import { ShortPolling as ShortPollingTransport } from "./shortpolling.ts";
import { SSE as SSETransport } from "./sse.ts";
import type { TransportClass } from "./types.ts";

export type { HttpOptions, ShortPollingOptions, SSEOptions, TransportClass, TransportOptions } from "./types.ts";

/** A GET now and then, each answered at once: for proxies that cut off every request that waits. */
export const ShortPolling: TransportClass = ShortPollingTransport;

/** Long-polling by scripts and forms: for pages that may do neither XHR nor fetch. */
export const JSONP: TransportClass = JSONPTransport;

/** One answer of many parts, read by fetch; bytes travel as they are. */
export const Multipart: TransportClass = MultipartTransport;

/** A document that never ends in a hidden iframe. */
export const Iframe: TransportClass = IframeTransport;

/** Server-Sent Events. */
export const SSE: TransportClass = SSETransport;
