/** The bench: the connection to the laboratory's server, the lanes on it, and what they have shown. */

import { computed, effect, signal } from "@preact/signals";
import { io, type Socket } from "socket.io-client";
import { isEarlier } from "./earlier.ts";
import { LANES } from "./explanations.ts";
import { t } from "./i18n.ts";
import { Lane } from "./lane.ts";
import type { Row } from "./model/table.ts";
import { reason, type FromServer, type Hello, type LaneSettings, type ToServer } from "./protocol.ts";
import { binary, chosen, delayMs, direction, rate, shortPollMs, size } from "./settings.ts";
import { clock, pageNow, serverNow } from "./time.ts";
import { possible } from "./transports.ts";
import { freeze, goLive, startAt } from "./view.ts";

const REFRESH_MS = 500;
const CLOCK_EVERY_MS = 4_000;
const FIRST_QUESTIONS = 8;
const SETTLE_MS = 180; // sliders say many things while they are dragged
const FAREWELL_MS = 300;
const ENOUGH_EVENTS = 3;

export const link = signal<"connecting" | "ready" | "lost">("connecting");
export const hello = signal<Hello | null>(null);
export const running = signal(false);
export const lanes = signal<readonly Lane[]>([]);
export const results = signal<ReadonlyMap<string, Row>>(new Map());
/** Grows when the figures are new. */
export const pulse = signal(0);

export const settings = computed<LaneSettings>(() => ({
  rate: rate.value,
  size: size.value,
  direction: direction.value,
  delayMs: delayMs.value,
  binary: binary.value,
}));

/** In the order in which the page shows them, and whether they can run here. */
export const offers = computed(() =>
  LANES.map((name) => {
    const offer = hello.value?.transports.find((each) => each.name === name);
    const available = (offer?.available ?? false) && possible(name);
    return { name, available, why: offer?.why ?? "", earlier: isEarlier(name) };
  }),
);

const control: Socket<FromServer, ToServer> = io({ reconnectionDelay: 500, reconnectionDelayMax: 3_000 });

control.on("connect", () => {
  control.emit("hello", (answer) => {
    hello.value = answer;
    const within = (value: { value: number }, [least, most]: readonly [number, number]) => {
      value.value = Math.min(most, Math.max(least, value.value));
    };
    within(rate, answer.limits.rate);
    within(size, answer.limits.size);
    within(delayMs, answer.limits.delayMs);
    within(shortPollMs, answer.limits.shortPollMs);
    link.value = "ready";
  });
  for (let question = 0; question < FIRST_QUESTIONS; question += 1) setTimeout(askClock, question * 60);
});
control.on("disconnect", () => {
  link.value = "lost";
  if (running.value) freeze();
  running.value = false;
  for (const lane of lanes.value) lane.end();
});
control.on("trace", (id, events) => byId(id)?.trace(events));
control.on("stats", (id, stats) => byId(id)?.report(stats));
control.on("lane-closed", (id, reason) => byId(id)?.fail(reason));

function byId(id: string): Lane | undefined {
  return lanes.peek().find((lane) => lane.id === id);
}

function askClock(): void {
  const asked = pageNow();
  control.volatile.emit("clock", (serverMs) => clock.add(asked, pageNow(), serverMs));
}

setInterval(() => control.connected && askClock(), CLOCK_EVERY_MS);

/** The lanes are what is chosen; those that were there stay as they are. */
effect(() => {
  const wanted = LANES.filter((name) => chosen.value.includes(name));
  const usable = new Set(offers.value.filter((offer) => offer.available).map((offer) => offer.name));
  const before = lanes.peek();
  const now = wanted.filter((name) => usable.has(name));
  if (before.length === now.length && before.every((lane, place) => lane.name === now[place])) return;
  for (const lane of before) if (!now.includes(lane.name)) close(lane);
  lanes.value = now.map((name) => before.find((lane) => lane.name === name) ?? new Lane(name));
  if (running.peek()) for (const lane of lanes.peek()) if (lane.state.peek() === "idle") void open(lane);
});

export function start(): void {
  if (!control.connected || running.value) return;
  running.value = true;
  startAt(serverNow());
  goLive();
  for (const lane of lanes.value) void open(lane);
}

export function stop(): void {
  running.value = false;
  freeze();
  for (const lane of lanes.value) close(lane);
}

export function measureAnew(): void {
  for (const lane of lanes.value) lane.measureAnew();
  results.value = new Map();
}

async function open(lane: Lane): Promise<void> {
  const by = settings.peek();
  lane.begin(by);
  try {
    const opened = await control.timeout(15_000).emitWithAck("open", lane.name, by);
    if ("error" in opened) lane.fail(reason(opened));
    else if (!lane.active || !lanes.peek().includes(lane)) control.emit("close", opened.lane, () => undefined);
    else {
      lane.connect(opened, by);
      if (settings.peek() !== by) tell(lane);
    }
  } catch {
    lane.fail(t().lanePorts);
  }
}

function close(lane: Lane): void {
  const { id } = lane;
  lane.end();
  if (id === null || !control.connected) return;
  // The client's farewell is still on its way, and wants to be heard.
  setTimeout(() => control.connected && control.emit("close", id, () => undefined), FAREWELL_MS + 2 * delayMs.peek());
}

function tell(lane: Lane): void {
  const by = settings.peek();
  if (lane.id === null) return;
  lane.use(by);
  control.emit("set", lane.id, by, (done) => {
    if ("error" in done) lane.problem.value = reason(done);
  });
}

let settling: ReturnType<typeof setTimeout> | undefined;
effect(() => {
  void settings.value;
  clearTimeout(settling);
  settling = setTimeout(() => {
    for (const lane of lanes.peek()) if (lane.active) tell(lane);
  }, SETTLE_MS);
});

effect(() => {
  void shortPollMs.value;
  for (const lane of lanes.peek()) if (lane.name === "shortpolling") lane.measureAnew();
});

setInterval(() => {
  if (!running.peek()) return;
  const rows = new Map(results.peek());
  for (const lane of lanes.peek()) {
    lane.refresh();
    const figures = lane.figures.peek();
    if (!figures || !lane.measurement || figures.events < ENOUGH_EVENTS || figures.seconds === 0) continue;
    rows.set(lane.name, {
      name: lane.name,
      settings: lane.measurement.settings,
      shortPollMs: lane.name === "shortpolling" ? shortPollMs.peek() : null,
      figures,
      atMs: serverNow(),
      running: true,
    });
  }
  results.value = rows;
  pulse.value += 1;
}, REFRESH_MS);

addEventListener("pagehide", () => control.disconnect());
addEventListener("pageshow", (event) => event.persisted && control.connect());
