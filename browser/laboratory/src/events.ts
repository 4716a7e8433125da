// Written by `madang types`. Changes here are lost when it runs again.

/** What the server sends to clients in the main namespace. */
export interface ServerToClientEvents {
  /** A lane has ended though nobody asked for it. */
  "lane-closed": (lane: string, reason: string) => void;
  /** What a lane has cost since it was opened. */
  stats: (lane: string, stats: Stats) => void;
  /** What has travelled on a lane since the last time. `first` had travelled before; a gap was dropped. */
  trace: (lane: string, travels: Travel[], first: number) => void;
}

/** What clients send to the server in the main namespace. */
export interface ClientToServerEvents {
  /** Ask for the server's time, in milliseconds since the epoch. */
  clock: (answer: (answer: number) => void) => void;
  /** Close a lane. It is no mistake if it is closed. */
  close: (lane: string, answer: (answer: Done | InvalidArguments) => void) => void;
  /** Ask what there is. */
  hello: (answer: (answer: Hello) => void) => void;
  /** Open a lane. */
  open: (name: string, settings: Settings, answer: (answer: Opened | Refused | InvalidArguments) => void) => void;
  /** Change a lane's settings. */
  set: (lane: string, settings: Change, answer: (answer: Done | Refused | InvalidArguments) => void) => void;
}

/** It was done. */
export interface Done {
  outcome: "done";
}

/**
 * The answer to "hello".
 *
 * Attributes:
 *     version: Madang's.
 *     transports: all kinds of lanes that there are, those that can't be had too.
 *     limits: of the settings.
 */
export interface Hello {
  version: string;
  transports: TransportInfo[];
  limits: Limits;
}

/**
 * A kind of lane, whether there can be such lanes, and if not, why.
 *
 * Attributes:
 *     name: its name: of a transport in the settings of a server, or of what a client of an earlier release does.
 *     available: whether `open` takes it.
 *     why: what is missing.
 */
export interface TransportInfo {
  name: string;
  available: boolean;
  why?: string;
}

/**
 * What the settings of a lane may be, and how many lanes there may be.
 *
 * Attributes:
 *     rate: events in a second.
 *     size: characters or bytes of an event.
 *     delay_ms: one way.
 *     short_poll_ms: how often a client that polls in short may ask; a setting of the page's alone.
 *     lanes_per_viewer: how many lanes one page may have open.
 */
export interface Limits {
  rate: Range;
  size: Range;
  delayMs: Range;
  shortPollMs: Range;
  lanesPerViewer: number;
}

/** What a setting may be. */
export type Range = [number, number];

/**
 * What a lane carries.
 *
 * Attributes:
 *     rate: events in a second, in each direction that there is; 0 for none.
 *     size: how many characters or bytes each of them has.
 *     direction: "down" from the server, "up" from the page, or "both".
 *     delay_ms: how long a byte takes, one way.
 *     binary: whether the events carry bytes, not text.
 */
export interface Settings {
  rate?: number;
  size?: number;
  direction?: "both" | "down" | "up";
  delayMs?: number;
  binary?: boolean;
}

/**
 * A lane is open.
 *
 * Attributes:
 *     lane: its id; the `auth` of the client that is measured is `{lane}`, or its query where it knows no `auth`.
 *     port: where it is found, on the host of the page: TCP, or UDP for webtransport.
 *     name: its kind.
 *     certificate_hash: base64 of the SHA-256 of the certificate, for `serverCertificateHashes`.
 */
export interface Opened {
  outcome: "opened";
  lane: string;
  port: number;
  name: string;
  certificateHash?: string;
}

/**
 * It was not done.
 *
 * Attributes:
 *     error: why, for people.
 */
export interface Refused {
  outcome: "refused";
  error: string;
}

/** Some of the settings; the others stay as they are. */
export interface Change {
  rate?: number | null;
  size?: number | null;
  direction?: "both" | "down" | "up" | null;
  delayMs?: number | null;
  binary?: boolean | null;
}

/**
 * What a lane has cost since it was opened.
 *
 * Attributes:
 *     at_ms: the time of these numbers.
 *     transport: by which the client is connected now; empty while it isn't.
 *     requests: HTTP requests.
 *     empty_responses: polls that were answered without an event.
 *     bytes_up: from the page to the server, with all headers; of TCP's payload, or of UDP's.
 *     bytes_down: the same to the page.
 *     header_bytes_up: of these, heads of requests, and headers of chunks and frames.
 *     header_bytes_down: the same to the page.
 *     messages_down: events that the server has sent.
 *     messages_up: events that it has received.
 *     cpu_ms: what the lane's server has computed, the source of events included.
 *     up_latency_ms: how long the events took that came since the last statistics; of many, an even choice.
 *     up_late: how many events came later than they should.
 *     up_lost: how many never came.
 */
export interface Stats {
  atMs: number;
  transport: string;
  requests: number;
  emptyResponses: number;
  bytesUp: number;
  bytesDown: number;
  headerBytesUp: number;
  headerBytesDown: number;
  messagesDown: number;
  messagesUp: number;
  cpuMs: number;
  upLatencyMs: number[];
  upLate: number;
  upLost: number;
}

/**
 * Something that has travelled: a line or a dot in the page's time line.
 *
 * Attributes:
 *     kind: "open" and "close" of a connection; "request" with head and body; "response": its head, or all of it;
 *         "chunk": a part of a body that goes on; "frame" of a WebSocket; "datagram".
 *     direction: "up" from the client to the server, or "down".
 *     sent_ms: when its first byte was sent, in milliseconds since the epoch.
 *     arrived_ms: when its last byte arrives.
 *     bytes: all of it, as on the wire.
 *     label: as "GET poll", "POST send", "200", "200 noop empty", "text". What carries no event of the application
 *         ends in " empty", other than a GET.
 *     connection: which of the lane's connections, from 0.
 */
export type Travel = ["chunk" | "close" | "datagram" | "frame" | "open" | "request" | "response", "down" | "up", number, number, number, string, number];

/** What an event answers whose arguments are not what the server expects. */
export interface InvalidArguments {
  error: {
    code: "invalid_arguments";
    message: string;
    event: string;
    /** A path begins with the number of the argument. */
    details: { path: (string | number)[]; message: string }[];
  };
}
