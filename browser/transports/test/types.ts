/** What programs write has to have the right types: only `npm run check` reads this. */

import { io, WebSocket, WebTransport, XHR } from "socket.io-client";
import { Iframe, JSONP, Multipart, ShortPolling, SSE, type TransportOptions } from "../src/index.ts";

const transportOptions: TransportOptions = { shortpolling: { interval: 500 }, sse: { extraHeaders: { a: "b" } } };

export const sockets = [
  io({ transports: [SSE] }),
  io({ transports: [SSE, Multipart, XHR, WebSocket, WebTransport], tryAllTransports: true }),
  io("https://example.org", { transportImplementations: [ShortPolling, JSONP, Iframe], transportOptions }),
];
