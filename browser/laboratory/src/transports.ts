/** How each transport is opened with the official client: its own, and Madang's plug-ins. */

import type { ManagerOptions } from "socket.io-client";

type Transports = NonNullable<ManagerOptions["transports"]>;

interface Way {
  readonly transports: Transports;
  readonly secure: boolean;
}

const WAYS: Record<string, Way> = {
  polling: { transports: ["polling"], secure: false },
  websocket: { transports: ["websocket"], secure: false },
  webtransport: { transports: ["webtransport"], secure: true },
};

/** Whether this browser, and this page, can open that transport at all. */
export function possible(name: string): boolean {
  return name in WAYS && (name !== "webtransport" || "WebTransport" in globalThis);
}

/** Where a lane is, and the options for the official client. */
export function way(name: string, port: number, certificateHash?: string): { url: string; options: Partial<ManagerOptions> } {
  const { transports, secure } = WAYS[name]!;
  const scheme = secure ? "https:" : location.protocol;
  const options: Partial<ManagerOptions> = { transports, upgrade: false };
  const transportOptions: Record<string, object> = {};
  if (certificateHash) {
    const value = Uint8Array.from(atob(certificateHash), (letter) => letter.charCodeAt(0));
    transportOptions["webtransport"] = { serverCertificateHashes: [{ algorithm: "sha-256", value }] };
  }
  options.transportOptions = transportOptions;
  return { url: `${scheme}//${location.hostname}:${port}`, options };
}
