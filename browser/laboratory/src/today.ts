/** The client of today. */

import { io, type Socket } from "socket.io-client";
import { FIRST_RETRY_MS, LAST_RETRY_MS, type Client, type Ears } from "./client.ts";
import type { Opened, Ticks } from "./protocol.ts";
import { way } from "./transports.ts";

/** Connect to a lane by the transport that it is for. */
export function today(name: string, opened: Exclude<Opened, { error: string }>, ears: Ears): Client {
  const { url, options } = way(name, opened.port, opened.certificateHash);
  const socket: Socket<Ticks, Ticks> = io(url, {
    ...options,
    forceNew: true,
    auth: { lane: opened.lane },
    reconnectionDelay: FIRST_RETRY_MS,
    reconnectionDelayMax: LAST_RETRY_MS,
  });
  socket.on("connect", () => ears.connected());
  socket.on("disconnect", () => ears.lost());
  socket.on("connect_error", (error) => ears.trouble(error.message));
  socket.on("tick", (seq, sentMs) => ears.tick(seq, sentMs));
  return {
    get connected() {
      return socket.connected;
    },
    tick: (seq, sentMs, payload) => void socket.emit("tick", seq, sentMs, payload),
    end: () => void socket.disconnect(),
  };
}
