/**
 * What the page and the laboratory's server say to each other. Times are milliseconds since the epoch, server clock.
 * The server has written `events.ts` of its own handlers; here its types get the names that the page has for them.
 */

import type {
  ClientToServerEvents,
  Hello as Welcome,
  InvalidArguments,
  Range as Bounds,
  Refused,
  ServerToClientEvents,
  Settings,
  Stats,
  TransportInfo,
  Travel,
} from "./events.ts";

export type { Opened } from "./events.ts";

/** How a lane is to be driven. */
export type LaneSettings = Required<Settings>;
export type Direction = LaneSettings["direction"];

/** [kind, direction, sentMs, arrivedMs, bytes, label, connection] */
export type TraceEvent = Readonly<Travel>;
export type Kind = Travel[0];

/** Totals since the lane was opened. */
export type LaneStats = Stats;
export type Offer = TransportInfo;
export type Range = Readonly<Bounds>;

export interface Hello extends Omit<Welcome, "limits"> {
  limits: Record<"rate" | "size" | "delayMs" | "shortPollMs", Range>;
}

export type FromServer = ServerToClientEvents;
export type ToServer = ClientToServerEvents;

/** The connection under test says the same thing both ways: seq from 0, sentMs, payload. */
export interface Ticks {
  tick: (seq: number, sentMs: number, payload: string | ArrayBuffer | Uint8Array) => void;
}

/** Why the server has not done what was asked. */
export function reason({ error }: Refused | InvalidArguments): string {
  return typeof error === "string" ? error : error.message;
}
