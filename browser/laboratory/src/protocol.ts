/** What the page and the laboratory's server say to each other. Times are milliseconds since the epoch, server clock. */

export type Direction = "down" | "up" | "both";

/** How a lane is to be driven. */
export interface LaneSettings {
  /** Events per second. */
  rate: number;
  /** Characters or bytes of payload in each event. */
  size: number;
  direction: Direction;
  /** One-way delay of the wire, in milliseconds. */
  delayMs: number;
  binary: boolean;
}

export type Kind = "open" | "close" | "request" | "response" | "chunk" | "frame" | "datagram";

/** [kind, direction, sentMs, arrivedMs, bytes, label, connection] */
export type TraceEvent = readonly [Kind, "up" | "down", number, number, number, string, number | string];

/** Totals since the lane was opened. */
export interface LaneStats {
  atMs: number;
  requests: number;
  emptyResponses: number;
  bytesUp: number;
  bytesDown: number;
  headerBytesUp: number;
  headerBytesDown: number;
  messagesDown: number;
  messagesUp: number;
  cpuMs: number;
  /** Latencies of the events that arrived since the last report, in milliseconds. */
  upLatencyMs: number[];
  upLost: number;
  transport: string;
}

export type Range = readonly [number, number];

export interface Offer {
  name: string;
  available: boolean;
  why?: string;
}

export interface Hello {
  version: string;
  transports: Offer[];
  limits: { rate: Range; size: Range; delayMs: Range; shortPollMs: Range };
}

export type Opened = { lane: string; port: number; name: string; certificateHash?: string } | { error: string };

export interface FromServer {
  trace: (lane: string, events: TraceEvent[]) => void;
  stats: (lane: string, stats: LaneStats) => void;
  "lane-closed": (lane: string, reason: string) => void;
}

export interface ToServer {
  hello: (answer: (hello: Hello) => void) => void;
  clock: (answer: (serverMs: number) => void) => void;
  open: (name: string, settings: LaneSettings, answer: (opened: Opened) => void) => void;
  set: (lane: string, settings: LaneSettings, answer: (done: { error?: string }) => void) => void;
  close: (lane: string, answer: (done: object) => void) => void;
}

/** The connection under test says the same thing both ways: seq from 0, sentMs, payload. */
export interface Ticks {
  tick: (seq: number, sentMs: number, payload: string | ArrayBuffer | Uint8Array) => void;
}
