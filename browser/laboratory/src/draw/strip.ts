/** The distribution of latency, on an axis that is the same in every lane: down above the line, up below. */

import type { Histogram } from "../model/histogram.ts";
import { FONT, type Palette } from "./palette.ts";

export const STRIP_FROM_MS = 0.5;
export const STRIP_TO_MS = 10_000;
const MARKS: readonly (readonly [number, string])[] = [
  [1, "1 ms"],
  [10, "10"],
  [100, "100 ms"],
  [1_000, "1 s"],
  [10_000, "10 s"],
];
/** Narrower strips have fewer words below. */
const ROOMY = 190;

export function stripX(ms: number, width: number): number {
  const share = Math.log(ms / STRIP_FROM_MS) / Math.log(STRIP_TO_MS / STRIP_FROM_MS);
  return 2 + Math.max(0, Math.min(1, share)) * (width - 4);
}

export interface Quantiles {
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

export function drawStrip(
  ctx: CanvasRenderingContext2D,
  width: number,
  height: number,
  down: Histogram,
  up: Histogram,
  { p50, p95, p99 }: Quantiles,
  palette: Palette,
): void {
  const bottom = height - 14;
  const both = down.count > 0 && up.count > 0;
  const middle = both ? Math.round(bottom / 2) : bottom;
  ctx.clearRect(0, 0, width, height);
  ctx.font = `10px ${FONT}`;
  ctx.textBaseline = "alphabetic";
  for (const [ms, text] of MARKS) {
    const place = Math.round(stripX(ms, width));
    ctx.fillStyle = palette.line;
    ctx.fillRect(place, 0, 1, bottom);
    if (width < ROOMY && (ms === 10 || ms === 1_000)) continue;
    ctx.fillStyle = palette.quiet;
    ctx.textAlign = ms === 10_000 ? "right" : "center";
    ctx.fillText(text, ms === 10_000 ? width : Math.max(12, place), height - 3);
  }
  const bins = Math.max(24, Math.floor(width / 3));
  drawShape(ctx, down, bins, width, middle, middle - 3, -1, palette.down);
  const alone = down.count === 0;
  drawShape(ctx, up, bins, width, alone ? bottom : middle, alone ? bottom - 3 : bottom - middle - 2, alone ? -1 : 1, palette.up);
  ctx.fillStyle = palette.lineStrong;
  ctx.fillRect(0, middle - 0.5, width, 1);
  if (p50 === null || p95 === null || p99 === null) return;
  const left = stripX(p50, width);
  const right = stripX(p99, width);
  ctx.globalAlpha = 0.35;
  ctx.fillStyle = palette.ink;
  ctx.fillRect(left, middle - 1.5, Math.max(1, right - left), 3);
  ctx.globalAlpha = 1;
  for (const [value, reach] of [
    [p50, bottom],
    [p95, bottom * 0.6],
    [p99, bottom * 0.35],
  ] as const) {
    ctx.fillRect(stripX(value, width) - 1, both ? middle - reach / 2 : bottom - reach, 2, reach);
  }
}

function drawShape(
  ctx: CanvasRenderingContext2D,
  histogram: Histogram,
  bins: number,
  width: number,
  base: number,
  room: number,
  side: 1 | -1,
  colour: string,
): void {
  if (histogram.count === 0) return;
  const counts = histogram.bins(STRIP_FROM_MS, STRIP_TO_MS, bins);
  const most = Math.max(...counts);
  const step = (width - 4) / bins;
  ctx.fillStyle = colour;
  ctx.globalAlpha = 0.85;
  counts.forEach((count, bin) => {
    if (count === 0) return;
    // Square roots, so that rare slow events can be seen beside thousands of quick ones.
    const tall = Math.max(1.5, Math.sqrt(count / most) * room);
    ctx.fillRect(2 + bin * step, side < 0 ? base - tall : base, Math.max(1, step - 0.6), tall);
  });
  ctx.globalAlpha = 1;
}
