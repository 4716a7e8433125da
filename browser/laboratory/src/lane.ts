/** One client under test: its connection, what travels on it, and what was measured. */

import { signal } from "@preact/signals";
import type { Client, Ears, Payload } from "./client.ts";
import { earlier, isEarlier } from "./earlier.ts";
import { Histogram } from "./model/histogram.ts";
import { Measurement, type Figures } from "./model/measure.ts";
import { Timeline } from "./model/trace.ts";
import type { LaneSettings, LaneStats, Opened, TraceEvent } from "./protocol.ts";
import { serverNow } from "./time.ts";
import { today } from "./today.ts";

export type LaneState = "idle" | "opening" | "running" | "lost" | "stopped" | "failed";

/** Sending never runs further behind than this: what a sleeping tab has missed is not made up for. */
const CATCH_UP_MS = 500;

export class Lane {
  readonly state = signal<LaneState>("idle");
  readonly problem = signal("");
  readonly figures = signal<Figures | null>(null);
  timeline = new Timeline();
  measurement: Measurement | null = null;
  /** The server's name of it while it is open. */
  id: string | null = null;
  #client: Client | null = null;
  #settings: LaneSettings | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sent = 0;
  #payload: Payload = "";

  constructor(readonly name: string) {}

  get active(): boolean {
    return this.state.value !== "idle" && this.state.value !== "stopped" && this.state.value !== "failed";
  }

  begin(settings: LaneSettings): void {
    this.timeline = new Timeline();
    this.measurement = new Measurement(settings, serverNow());
    this.figures.value = null;
    this.problem.value = "";
    this.state.value = "opening";
    this.#sent = 0;
  }

  connect(opened: Exclude<Opened, { error: string }>, settings: LaneSettings): void {
    this.id = opened.lane;
    const ears: Ears = {
      connected: () => {
        this.state.value = "running";
        this.problem.value = "";
      },
      lost: () => {
        if (this.#client === client) this.state.value = "lost";
      },
      trouble: (why) => {
        if (this.#client !== client) return;
        this.state.value = "lost";
        this.problem.value = why;
      },
      tick: (seq, sentMs) => this.measurement?.received(seq, sentMs, serverNow()),
    };
    const client = isEarlier(this.name) ? earlier(this.name, opened, ears) : today(this.name, opened, ears);
    this.#client = client;
    this.use(settings);
  }

  /** Go on by other settings; what was measured by the old ones is put aside. */
  use(settings: LaneSettings): void {
    this.#settings = settings;
    this.measurement?.restart(settings, serverNow());
    this.#payload = settings.binary
      ? new Uint8Array(settings.size).fill(77)
      : "madang ".repeat(Math.ceil(settings.size / 7)).slice(0, settings.size);
    clearTimeout(this.#timer);
    if (settings.direction !== "down" && settings.rate > 0) this.#send(performance.now());
  }

  measureAnew(): void {
    if (this.#settings) this.measurement?.restart(this.#settings, serverNow());
  }

  trace(events: readonly TraceEvent[]): void {
    for (const event of events) this.timeline.add(event);
    this.timeline.prune(serverNow());
  }

  report(stats: LaneStats): void {
    this.measurement?.report(stats);
  }

  /** Bring what is shown up to date. */
  refresh(): void {
    if (this.measurement) this.figures.value = this.measurement.figures();
  }

  fail(problem: string): void {
    this.end();
    this.state.value = "failed";
    this.problem.value = problem;
  }

  end(): void {
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = null;
    this.id = null;
    client?.end();
    if (this.state.value !== "idle") this.timeline.finish(serverNow());
    if (this.active) this.state.value = "stopped";
  }

  get distributions(): { down: Histogram; up: Histogram } {
    return this.measurement ?? NOTHING;
  }

  #send(dueMs: number): void {
    const settings = this.#settings;
    const client = this.#client;
    if (!settings || !client) return;
    const now = performance.now();
    const interval = 1000 / settings.rate;
    let due = Math.max(dueMs, now - CATCH_UP_MS);
    while (due <= now) {
      if (client.connected) client.tick(this.#sent++, serverNow(), this.#payload);
      due += interval;
    }
    this.#timer = setTimeout(() => this.#send(due), due - now);
  }
}

const NOTHING = { down: new Histogram(), up: new Histogram() };
