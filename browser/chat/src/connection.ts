/** The connection to the server: requests with answers, and everything that the badge shows. */

import { computed, effect, signal } from "@preact/signals";
import { io, type Socket } from "socket.io-client";
import type { Answer, FromServer, Problem, Requests, ToServer } from "./protocol.ts";
import { nick, recall, keep, token, type Transports } from "./settings.ts";

const ANSWER_WITHIN_MS = 15_000;
const PING_EVERY_MS = 4_000;
const SAMPLES = 40;

type Status = "idle" | "connecting" | "online" | "offline";

export const status = signal<Status>("idle");
export const transport = signal<"polling" | "websocket" | "">("");
export const upgrading = signal(false);
export const upgradeMs = signal<number | null>(null);
export const roundTrips = signal<number[]>([]);
export const sid = signal("");
export const connectedAt = signal(0);
export const reconnections = signal(0);
export const bytesIn = signal(0);
export const bytesOut = signal(0);
export const refusal = signal<Problem | null>(null);
export const wantedTransports = signal<Transports>(recall("transports", "auto"));

export const roundTrip = computed(() => roundTrips.value.at(-1) ?? null);

/** The server said no. */
export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

/** There was no answer: the request may have arrived or not. */
export class Unanswered extends Error {}

export const socket: Socket<FromServer, ToServer> = io({
  autoConnect: false,
  auth: (give) => give({ token, nick: nick.peek() }),
  reconnectionDelay: 500,
  reconnectionDelayMax: 5_000,
  ...transportOptions(wantedTransports.peek()),
});

function transportOptions(wanted: Transports): { transports: ("polling" | "websocket")[] } {
  return { transports: wanted === "auto" ? ["polling", "websocket"] : [wanted] };
}

/** Ask the server something; rejects with `Refused` or `Unanswered`. */
export async function ask<K extends keyof Requests>(event: K, question: Requests[K][0]): Promise<Requests[K][1]> {
  if (!socket.connected) throw new Unanswered("not connected");
  let answer: Answer<Requests[K][1]>;
  try {
    answer = (await socket.timeout(ANSWER_WITHIN_MS).emitWithAck(event, question)) as typeof answer;
  } catch (error) {
    throw new Unanswered(String(error));
  }
  if ("error" in answer) throw new Refused(answer.error);
  return answer;
}

export function connect(): void {
  refusal.value = null;
  status.value = "connecting";
  if (socket.active) socket.disconnect();
  socket.connect();
}

export function chooseTransports(wanted: Transports): void {
  wantedTransports.value = wanted;
  keep("transports", wanted);
  Object.assign(socket.io.opts, transportOptions(wanted));
  connect();
}

function watchEngine(): void {
  const engine = socket.io.engine;
  const opened = performance.now();
  const name = () => (engine.transport.name === "websocket" ? "websocket" : "polling");
  transport.value = name();
  upgrading.value = false;
  upgradeMs.value = null;
  engine.on("upgrading", () => (upgrading.value = true));
  engine.on("upgradeError", () => (upgrading.value = false));
  engine.on("upgrade", () => {
    transport.value = name();
    upgrading.value = false;
    upgradeMs.value = Math.round(performance.now() - opened);
    roundTrips.value = [];
    measure();
  });
  engine.on("packet", ({ data }) => (bytesIn.value += size(data)));
  engine.on("packetCreate", ({ data }) => (bytesOut.value += size(data)));
}

function size(data: unknown): number {
  if (typeof data === "string") return data.length + 1;
  if (data instanceof ArrayBuffer || ArrayBuffer.isView(data)) return data.byteLength;
  return data instanceof Blob ? data.size : 1;
}

function measure(): void {
  if (!socket.connected) return;
  const asked = performance.now();
  socket.timeout(10_000).emit("ping", (error?: Error) => {
    if (!error) roundTrips.value = [...roundTrips.value, performance.now() - asked].slice(-SAMPLES);
  });
}

socket.io.on("open", watchEngine);
socket.io.on("reconnect_attempt", () => (status.value = "connecting"));
socket.io.on("reconnect", () => (reconnections.value += 1));
socket.io.on("error", () => (status.value = "offline"));
socket.on("connect", () => {
  sid.value = socket.io.engine.id ?? "";
  connectedAt.value = Date.now();
  refusal.value = null;
  measure();
});
socket.on("disconnect", (reason) => {
  status.value = "offline";
  upgrading.value = false;
  roundTrips.value = [];
  // The server asked this client to go: it may come back, but not at once.
  if (reason === "io server disconnect") setTimeout(() => status.peek() === "offline" && connect(), 1_000);
});
socket.on("connect_error", (error: Error & { data?: Problem }) => {
  status.value = "offline";
  if (socket.active) return; // it goes on trying by itself
  refusal.value = error.data ?? { code: "invalid", message: error.message };
});

setInterval(() => document.visibilityState === "visible" && measure(), PING_EVERY_MS);
addEventListener("online", () => status.peek() === "offline" && refusal.peek() === null && connect());
addEventListener("pagehide", () => socket.connected && socket.disconnect());
addEventListener("pageshow", (event) => event.persisted && connect());

effect(() => {
  document.documentElement.dataset["connection"] = status.value;
});
