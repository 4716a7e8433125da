/**
 * Clients of earlier releases, as they were published. Each lane has one in a frame of its own: they put a global `io`
 * wherever they run, and 0.9 keeps one list of connections for all. Their files are fetched when a lane wants one.
 */

import v0 from "socket.io-client-0.9/dist/socket.io.min.js?file";
import v1 from "socket.io-client-1.7/dist/socket.io.min.js?file";
import v2 from "socket.io-client-2.5/dist/socket.io.js?file";
import { FIRST_RETRY_MS, LAST_RETRY_MS, type Client, type Ears, type Payload } from "./client.ts";
import type { Opened } from "./protocol.ts";

/** What these clients have in common. */
interface Socket {
  on(event: string, listener: (...args: never[]) => void): void;
  emit(event: string, ...args: unknown[]): void;
  disconnect(): void;
}

type Frame = Window & typeof globalThis & { io: { connect(url: string, options: object): Socket; transports: string[] } };

interface Way {
  readonly file: string;
  readonly transports: readonly string[];
}

const WAYS: Record<string, Way> = {
  "v2-polling": { file: v2, transports: ["polling"] },
  "v2-websocket": { file: v2, transports: ["websocket"] },
  "v2-upgrade": { file: v2, transports: ["polling", "websocket"] },
  "v1-polling": { file: v1, transports: ["polling"] },
  "v1-websocket": { file: v1, transports: ["websocket"] },
  "v1-upgrade": { file: v1, transports: ["polling", "websocket"] },
  "v0-polling": { file: v0, transports: ["xhr-polling"] },
  "v0-jsonp": { file: v0, transports: ["jsonp-polling"] },
  "v0-websocket": { file: v0, transports: ["websocket"] },
};

const FAREWELL_MS = 1_000;

export function isEarlier(name: string): boolean {
  return name in WAYS;
}

/** Connect by the client that a lane is for. */
export function earlier(name: string, opened: Exclude<Opened, { error: string }>, ears: Ears): Client {
  const url = `${location.protocol}//${location.hostname}:${opened.port}/?lane=${opened.lane}`; // they know no auth
  const { file, transports } = WAYS[name]!;
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.title = name;
  document.body.append(frame);
  const page = frame.contentWindow as Frame;
  let socket: Socket | null = null;
  let connected = false;
  let ended = false;

  const script = page.document.createElement("script");
  script.onerror = () => ears.trouble(script.src);
  script.onload = () => {
    if (ended) return;
    // 0.9 takes what is in this list; given as an option, the list would be added to its own.
    page.io.transports = [...transports];
    socket = page.io.connect(url, {
      transports,
      upgrade: transports.length > 1,
      forceNew: true,
      reconnectionDelay: FIRST_RETRY_MS,
      reconnectionDelayMax: LAST_RETRY_MS,
      "force new connection": true,
      "reconnection delay": FIRST_RETRY_MS,
      "reconnection limit": LAST_RETRY_MS,
      "max reconnection attempts": Infinity,
      "sync disconnect on unload": false,
    });
    socket.on("connect", () => {
      connected = true;
      ears.connected();
    });
    socket.on("disconnect", () => {
      connected = false;
      if (!ended) ears.lost();
    });
    for (const event of ["connect_error", "connect_failed", "error"]) {
      socket.on(event, (error?: { message?: string } | string) => {
        if (!ended) ears.trouble(typeof error === "string" ? error : (error?.message ?? event));
      });
    }
    socket.on("tick", (seq: number, sentMs: number) => ears.tick(seq, sentMs));
  };
  script.src = new URL(file, import.meta.url).href;
  page.document.head.append(script);

  return {
    get connected() {
      return connected;
    },
    tick: (seq, sentMs, payload) => socket?.emit("tick", seq, sentMs, theirs(payload, page, file === v0)),
    end() {
      ended = true;
      socket?.disconnect();
      setTimeout(() => frame.remove(), FAREWELL_MS); // it says good-bye from there
    },
  };
}

/** Bytes as such a client takes them: a buffer of its own frame's; base64 for one that knows none. */
function theirs(payload: Payload, page: Frame, textOnly: boolean): unknown {
  if (typeof payload === "string") return payload;
  if (textOnly) return btoa(String.fromCharCode(...payload));
  const bytes = new page.Uint8Array(payload.length);
  bytes.set(payload);
  return bytes.buffer;
}
