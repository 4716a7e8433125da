/** How each transport is opened with the official client of today: its own, and Madang's plug-ins. */

import type { ManagerOptions } from "socket.io-client";
import { Iframe, JSONP, Multipart, SSE } from "../../transports/src/index.ts";
import { ShortPolling } from "../../transports/src/shortpolling.ts";
import type { TransportClass } from "../../transports/src/types.ts";
import { isEarlier } from "./earlier.ts";
import { shortPollMs } from "./settings.ts";

type Transports = NonNullable<ManagerOptions["transports"]>;

/** Short polling whose interval is what the slider says now, not what it said at the beginning. */
class Asking extends ShortPolling {
  constructor(options: ConstructorParameters<typeof ShortPolling>[0]) {
    super({ ...options, interval: 0 });
  }

  protected override again(atLeast: number): void {
    super.again(Math.max(atLeast, shortPollMs.peek()));
  }
}

const WAYS: Record<string, Transports> = {
  shortpolling: [Asking as unknown as TransportClass],
  polling: ["polling"],
  jsonp: [JSONP],
  multipart: [Multipart],
  iframe: [Iframe],
  sse: [SSE],
  websocket: ["websocket"],
  webtransport: ["webtransport"],
};

/** Whether this browser, and this page, can open that transport at all. */
export function possible(name: string): boolean {
  return (name in WAYS || isEarlier(name)) && (name !== "webtransport" || "WebTransport" in globalThis);
}

/** Where a lane is, and the options for the official client. */
export function way(name: string, port: number, certificateHash?: string): { url: string; options: Partial<ManagerOptions> } {
  const transports = WAYS[name];
  if (!transports) throw new Error(`no way to open ${name}`);
  const options: Partial<ManagerOptions> = { transports, upgrade: false };
  if (certificateHash) {
    const value = Uint8Array.from(atob(certificateHash), (letter) => letter.charCodeAt(0));
    options.transportOptions = { webtransport: { serverCertificateHashes: [{ algorithm: "sha-256", value }] } };
  }
  const scheme = name === "webtransport" ? "https:" : location.protocol;
  return { url: `${scheme}//${location.hostname}:${port}`, options };
}
