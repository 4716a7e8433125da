/** The comparison: its columns, who is best and worst, in which order, and as CSV. */

import type { Figures, Sample } from "./measure.ts";
import type { LaneSettings } from "../protocol.ts";

export interface Row {
  readonly name: string;
  readonly settings: LaneSettings;
  readonly shortPollMs: number | null;
  readonly figures: Figures;
  /** When it was last measured, milliseconds since the epoch. */
  readonly atMs: number;
  readonly running: boolean;
}

export type Column = Exclude<keyof Figures, "seconds">;

/** In the order of the table. `better`: which end is good, if one is. */
export const COLUMNS: readonly { key: Column; better: "less" | "none" }[] = [
  { key: "p50", better: "less" },
  { key: "p95", better: "less" },
  { key: "p99", better: "less" },
  { key: "requestsPerMinute", better: "less" },
  { key: "emptyShare", better: "less" },
  { key: "upPerSecond", better: "less" },
  { key: "downPerSecond", better: "less" },
  { key: "overheadPerEvent", better: "less" },
  { key: "cpuPerEvent", better: "less" },
  { key: "late", better: "less" },
  { key: "lost", better: "less" },
  { key: "events", better: "none" },
];

export type Mark = "best" | "worst" | "";

/** Marks by column, then by transport. Nobody is marked alone, nor where all are alike. */
export function marks(rows: readonly Row[]): Map<Column, Map<string, Mark>> {
  const result = new Map<Column, Map<string, Mark>>();
  for (const { key, better } of COLUMNS) {
    const found = new Map<string, Mark>();
    result.set(key, found);
    if (better === "none") continue;
    const known = rows.flatMap((row) => (row.figures[key] === null ? [] : [[row.name, row.figures[key]] as const]));
    if (known.length < 2) continue;
    const values = known.map(([, value]) => value);
    const least = Math.min(...values);
    const most = Math.max(...values);
    // Values within two per cent are alike: clocks and histograms are not finer than that.
    if (most - least <= Math.abs(most) * 0.02) continue;
    const best = known.filter(([, value]) => value <= least * 1.02);
    const worst = known.filter(([, value]) => value >= most * 0.98);
    // What most have is no distinction.
    for (const [name] of best) if (best.length * 2 <= known.length) found.set(name, "best");
    for (const [name] of worst) if (worst.length * 2 <= known.length) found.set(name, "worst");
  }
  return result;
}

/** Rows by one column; those without a value come last either way. `names`: the order without a column. */
export function sorted(
  rows: readonly Row[],
  column: Column | "name",
  downwards: boolean,
  names: readonly string[],
): Row[] {
  const place = (row: Row) => names.indexOf(row.name);
  return [...rows].sort((a, b) => {
    const turn = downwards ? -1 : 1;
    if (column === "name") return turn * (place(a) - place(b));
    const left = a.figures[column];
    const right = b.figures[column];
    if (left === null || right === null) return left === right ? place(a) - place(b) : left === null ? 1 : -1;
    return turn * (left - right) || place(a) - place(b);
  });
}

function line(values: readonly (string | number | boolean | null)[]): string {
  return values.map(cell).join(",");
}

/** RFC 4180, and no cell that a spreadsheet would take for a formula. */
export function cell(value: string | number | boolean | null): string {
  if (value === null) return "";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(7)));
  const text = String(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** The table, one row for each transport, with the settings by which it was measured. Units are in the names. */
export function tableCsv(rows: readonly Row[]): string {
  const head = [
    "transport",
    "measured_at",
    "seconds",
    "events",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "requests_per_minute",
    "empty_answers_share",
    "bytes_up_per_second",
    "bytes_down_per_second",
    "overhead_bytes_per_event",
    "server_cpu_ms_per_event",
    "late",
    "lost",
    "rate_per_second",
    "size",
    "direction",
    "delay_one_way_ms",
    "binary",
    "short_poll_ms",
  ];
  const lines = rows.map(({ name, atMs, figures: f, settings: s, shortPollMs }) =>
    line([
      name,
      new Date(atMs).toISOString(),
      f.seconds,
      f.events,
      f.p50,
      f.p95,
      f.p99,
      f.requestsPerMinute,
      f.emptyShare,
      f.upPerSecond,
      f.downPerSecond,
      f.overheadPerEvent,
      f.cpuPerEvent,
      f.late,
      f.lost,
      s.rate,
      s.size,
      s.direction,
      s.delayMs,
      s.binary,
      shortPollMs,
    ]),
  );
  return `${[line(head), ...lines].join("\r\n")}\r\n`;
}

/** Every latency that was measured. */
export function samplesCsv(lanes: Iterable<readonly [name: string, samples: readonly Sample[]]>): string {
  const lines = [line(["transport", "direction", "received_at", "latency_ms"])];
  for (const [name, samples] of lanes) {
    for (const { direction, atMs, latencyMs } of samples) {
      lines.push(line([name, direction, new Date(atMs).toISOString(), latencyMs]));
    }
  }
  return `${lines.join("\r\n")}\r\n`;
}
