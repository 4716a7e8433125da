/** What a lane has shown since the settings last changed: the numbers that people read, and the rows of the table. */

import { Arrivals } from "./arrivals.ts";
import { Histogram } from "./histogram.ts";
import type { LaneSettings, LaneStats } from "../protocol.ts";

/** What is still under way by the old settings is left out for so long. */
export function settlingMs(delayMs: number): number {
  return 400 + 4 * delayMs;
}

export interface Sample {
  readonly atMs: number;
  readonly direction: "down" | "up";
  readonly latencyMs: number;
}

export interface Figures {
  readonly seconds: number;
  /** Events that arrived, both ways. */
  readonly events: number;
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
  readonly requestsPerMinute: number | null;
  /** Share of responses with nothing in them, 0 to 1. */
  readonly emptyShare: number | null;
  readonly upPerSecond: number | null;
  readonly downPerSecond: number | null;
  /** Bytes on the wire that were not payload, both ways, for each event. */
  readonly overheadPerEvent: number | null;
  /** Milliseconds of the server's processor for each event. */
  readonly cpuPerEvent: number | null;
  readonly late: number;
  readonly lost: number;
}

const SAMPLES_KEPT = 20_000;

export class Measurement {
  readonly down = new Histogram();
  readonly up = new Histogram();
  samples: Sample[] = [];
  readonly #arrivals = new Arrivals();
  #settings: LaneSettings;
  #fromMs = 0;
  #base: LaneStats | null = null;
  #latest: LaneStats | null = null;
  #payload = 0; // bytes of payload of what the server counted
  #before = { late: 0, lost: 0 };

  constructor(settings: LaneSettings, nowMs: number) {
    this.#settings = settings;
    this.restart(settings, nowMs);
  }

  get settings(): LaneSettings {
    return this.#settings;
  }

  /** Measure anew, by other settings or from a fresh page. */
  restart(settings: LaneSettings, nowMs: number): void {
    this.#settings = settings;
    this.#fromMs = nowMs + settlingMs(settings.delayMs);
    this.#base = null;
    this.#latest = null;
    this.#payload = 0;
    this.#before = { late: this.#arrivals.late, lost: this.#arrivals.lost };
    this.down.clear();
    this.up.clear();
    this.samples = [];
  }

  /** An event came down to the page. Times by the server's clock. */
  received(seq: number, sentMs: number, nowMs: number): void {
    const latency = Math.max(0, nowMs - sentMs);
    if (!this.#arrivals.add(seq, nowMs, latency, this.#settings.delayMs) || sentMs < this.#fromMs) return;
    this.down.add(latency);
    this.#keep({ atMs: nowMs, direction: "down", latencyMs: latency });
  }

  /** The server's report. */
  report(stats: LaneStats): void {
    this.#arrivals.sweep(stats.atMs);
    if (stats.atMs < this.#fromMs) return;
    if (!this.#base) {
      this.#base = stats;
      this.#latest = stats;
      this.#before.lost = this.#arrivals.lost;
      this.#before.late = this.#arrivals.late;
      return;
    }
    const before = this.#latest ?? this.#base;
    const events = stats.messagesDown - before.messagesDown + stats.messagesUp - before.messagesUp;
    this.#payload += events * this.#settings.size;
    this.#latest = stats;
    for (const ms of stats.upLatencyMs) {
      this.up.add(ms);
      this.#keep({ atMs: stats.atMs, direction: "up", latencyMs: ms });
    }
  }

  figures(): Figures {
    const base = this.#base;
    const latest = this.#latest;
    const all = new Histogram();
    all.addAll(this.down);
    all.addAll(this.up);
    // What came up was counted by the server; of very many it tells only some latencies.
    const up = base && latest ? latest.messagesUp - base.messagesUp : 0;
    const late = this.#arrivals.late - this.#before.late + (base && latest ? latest.upLate - base.upLate : 0);
    const lost = this.#arrivals.lost - this.#before.lost + (base && latest ? latest.upLost - base.upLost : 0);
    const common = {
      events: this.down.count + up,
      p50: all.quantile(0.5),
      p95: all.quantile(0.95),
      p99: all.quantile(0.99),
      late,
      lost,
    };
    const seconds = base && latest ? (latest.atMs - base.atMs) / 1000 : 0;
    if (!base || !latest || seconds <= 0) {
      return {
        ...common,
        seconds: 0,
        requestsPerMinute: null,
        emptyShare: null,
        upPerSecond: null,
        downPerSecond: null,
        overheadPerEvent: null,
        cpuPerEvent: null,
      };
    }
    const requests = latest.requests - base.requests;
    const upBytes = latest.bytesUp - base.bytesUp;
    const downBytes = latest.bytesDown - base.bytesDown;
    const events = latest.messagesDown - base.messagesDown + latest.messagesUp - base.messagesUp;
    return {
      ...common,
      seconds,
      requestsPerMinute: (requests / seconds) * 60,
      emptyShare: requests > 0 ? Math.min(1, (latest.emptyResponses - base.emptyResponses) / requests) : null,
      upPerSecond: upBytes / seconds,
      downPerSecond: downBytes / seconds,
      overheadPerEvent: events > 0 ? Math.max(0, upBytes + downBytes - this.#payload) / events : null,
      cpuPerEvent: events > 0 ? (latest.cpuMs - base.cpuMs) / events : null,
    };
  }

  #keep(sample: Sample): void {
    this.samples.push(sample);
    if (this.samples.length > SAMPLES_KEPT * 1.25) this.samples.splice(0, this.samples.length - SAMPLES_KEPT);
  }
}
