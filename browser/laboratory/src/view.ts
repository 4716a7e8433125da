/** What of the time lines is in sight: now, or what somebody looks back at. The same in all lanes. */

import { signal } from "@preact/signals";
import type { Item } from "./model/trace.ts";
import { windowMs } from "./settings.ts";
import { serverNow } from "./time.ts";

/** Reports of what travelled come this much later: the picture is held back by it, so that it doesn't jump. */
const BEHIND_MS = 350;
const KEPT_MS = 170_000;

/** The right edge while looking back; null: live. */
export const heldAt = signal<number | null>(null);
export const cursor = signal<number | null>(null);
export const focus = signal<{ lane: string; item: Item } | null>(null);

const still = matchMedia("(prefers-reduced-motion: reduce)");
const STILL_STEP_MS = 500;
const CHEAP_MS = 5;
const SMOOTH_MS = 30;

let origin = serverNow();
let ended: number | null = null;

export function startAt(ms: number): void {
  origin = ms;
  ended = null;
}

export function timeOrigin(): number {
  return origin;
}

function liveEdge(): number {
  if (ended !== null) return ended;
  const now = serverNow() - BEHIND_MS;
  return still.matches ? Math.floor(now / STILL_STEP_MS) * STILL_STEP_MS : now;
}

export function edges(): { from: number; to: number } {
  const to = heldAt.value ?? liveEdge();
  return { from: to - windowMs.value, to };
}

export function hold(): void {
  heldAt.value ??= liveEdge();
}

export function goLive(): void {
  heldAt.value = null;
  focus.value = null;
}

/** All has stopped: the picture stays where it is. */
export function freeze(): void {
  ended = liveEdge();
}

export function scroll(byMs: number): void {
  const now = liveEdge();
  const wanted = (heldAt.value ?? now) + byMs;
  heldAt.value = Math.max(now - KEPT_MS, Math.min(now, wanted));
}

/** Draw whenever there is something new, as often as the screen does, or every half second for who wants no motion. */
const draws = new Set<() => void>();
let last = -1;
let dirty = true;
let restUntil = 0;
let before = 0;

export function onDraw(draw: () => void): () => void {
  draws.add(draw);
  dirty = true;
  return () => draws.delete(draw);
}

export function redraw(): void {
  dirty = true;
}

function frame(): void {
  requestAnimationFrame(frame);
  const { to } = edges();
  const begun = performance.now();
  const gap = begun - before;
  before = begun;
  // Drawing shares its thread with the clients that are measured: on a slow machine it takes the smaller part of the time.
  if ((to === last && !dirty) || begun < restUntil) return;
  last = to;
  dirty = false;
  for (const draw of draws) draw();
  const cost = performance.now() - begun;
  restUntil = gap > SMOOTH_MS ? begun + gap : cost > CHEAP_MS ? begun + 4 * cost : 0;
}
requestAnimationFrame(frame);
