import assert from "node:assert/strict";
import { test } from "node:test";
import { Arrivals, lateAfterMs } from "../src/model/arrivals.ts";
import { ClockOffset } from "../src/model/clock.ts";
import { Histogram } from "../src/model/histogram.ts";
import { Measurement, settlingMs } from "../src/model/measure.ts";
import { nearest, roundValues, tickMs } from "../src/model/scale.ts";
import type { LaneSettings, LaneStats } from "../src/protocol.ts";

const SETTINGS: LaneSettings = { rate: 10, size: 100, direction: "down", delayMs: 50, binary: false };

function about(actual: number | null, expected: number, share = 0.011): void {
  assert(actual !== null && Math.abs(actual - expected) <= expected * share, `${actual} is not about ${expected}`);
}

function stats(atMs: number, more: Partial<LaneStats> = {}): LaneStats {
  const none = { requests: 0, emptyResponses: 0, bytesUp: 0, bytesDown: 0, headerBytesUp: 0, headerBytesDown: 0 };
  return { atMs, ...none, messagesDown: 0, messagesUp: 0, cpuMs: 0, upLatencyMs: [], upLate: 0, upLost: 0, transport: "polling", ...more };
}

test("the clock goes by the quickest answer", () => {
  const clock = new ClockOffset();
  assert.equal(clock.offset, 0);
  assert.equal(clock.uncertainty, Infinity);
  clock.add(1_000, 1_400, 6_390); // slow, and slower one way than the other
  clock.add(2_000, 2_020, 7_010);
  clock.add(3_000, 3_200, 8_190);
  assert.equal(clock.offset, 5_000);
  assert.equal(clock.uncertainty, 10);
});

test("the clock forgets old answers, and doesn't take nonsense", () => {
  const clock = new ClockOffset();
  clock.add(0, 1, 1_000);
  for (let n = 1; n <= 40; n += 1) clock.add(n * 100, n * 100 + 10, n * 100 + 505);
  assert.equal(clock.offset, 500);
  clock.add(10, 5, 999_999);
  clock.add(10, 10, Number.NaN);
  assert.equal(clock.offset, 500);
});

test("quantiles are those of the sorted samples, within a hundredth", () => {
  const histogram = new Histogram();
  assert.equal(histogram.quantile(0.5), null);
  const samples = Array.from({ length: 5_000 }, (_, n) => 0.3 * 1.0017 ** n);
  for (const sample of samples.toReversed()) histogram.add(sample);
  assert.equal(histogram.count, 5_000);
  for (const q of [0.01, 0.5, 0.95, 0.99, 1]) about(histogram.quantile(q), samples[Math.ceil(q * 5_000) - 1]!);
});

test("times of no length, and of no end, have a place", () => {
  const histogram = new Histogram();
  for (const ms of [0, -3, 1e-9]) histogram.add(ms);
  assert.equal(histogram.quantile(1), 0.05);
  histogram.add(1e12);
  assert(histogram.quantile(1)! > 100_000);
});

test("bins hold every sample, and the outermost what lies outside", () => {
  const histogram = new Histogram();
  for (const ms of [0.1, 5, 5, 50, 1e6]) histogram.add(ms);
  const bins = histogram.bins(1, 100, 4);
  assert.deepEqual(bins, [1, 2, 0, 2]);
  histogram.clear();
  assert.deepEqual(histogram.bins(1, 100, 4), [0, 0, 0, 0]);
});

test("gaps are lost after five seconds, and not before", () => {
  const arrivals = new Arrivals();
  for (const seq of [0, 1, 4]) arrivals.add(seq, 1_000, 10, 0);
  arrivals.sweep(5_999);
  assert.equal(arrivals.lost, 0);
  assert.equal(arrivals.add(3, 5_999, 10, 0), true); // it came after all
  arrivals.sweep(6_000);
  assert.deepEqual([arrivals.received, arrivals.lost, arrivals.doubled], [4, 1, 0]);
});

test("what comes twice is counted once", () => {
  const arrivals = new Arrivals();
  for (const seq of [0, 1, 1, 0]) arrivals.add(seq, 0, 10, 0);
  assert.deepEqual([arrivals.received, arrivals.doubled], [2, 2]);
});

test("an absurd gap costs little", () => {
  const arrivals = new Arrivals();
  arrivals.add(1e9, 0, 10, 0);
  arrivals.sweep(5_000);
  assert.equal(arrivals.lost, 10_000);
});

test("late is slower than a second and four delays", () => {
  assert.equal(lateAfterMs(50), 1_200);
  const arrivals = new Arrivals();
  arrivals.add(0, 0, 1_200, 50);
  arrivals.add(1, 0, 1_201, 50);
  assert.equal(arrivals.late, 1);
});

test("figures come from what was reported since the settings settled", () => {
  const measured = new Measurement(SETTINGS, 0);
  const settled = settlingMs(50);
  measured.received(0, 10, 900); // still by whatever was before
  measured.report(stats(settled - 1, { requests: 50, bytesDown: 70_000, messagesDown: 90, cpuMs: 400 }));
  assert.equal(measured.figures().requestsPerMinute, null);
  const base = { requests: 100, emptyResponses: 40, bytesUp: 1_000, bytesDown: 5_000, messagesDown: 10, cpuMs: 20 };
  measured.report(stats(settled, base));
  for (let n = 1; n <= 20; n += 1) measured.received(n, settled + n * 10, settled + n * 10 + 60);
  measured.report(
    stats(settled + 2_000, { requests: 110, emptyResponses: 44, bytesUp: 3_000, bytesDown: 10_000, messagesDown: 30, cpuMs: 30 }),
  );
  const figures = measured.figures();
  assert.equal(figures.seconds, 2);
  assert.equal(figures.events, 20);
  about(figures.p50, 60);
  about(figures.p99, 60);
  assert.equal(figures.requestsPerMinute, 300);
  assert.equal(figures.emptyShare, 0.4);
  assert.equal(figures.upPerSecond, 1_000);
  assert.equal(figures.downPerSecond, 2_500);
  assert.equal(figures.overheadPerEvent, (7_000 - 20 * 100) / 20);
  assert.equal(figures.cpuPerEvent, 0.5);
  assert.deepEqual([figures.late, figures.lost], [0, 0]);
  assert.equal(measured.samples.length, 20);
});

test("events up are those that the server reports", () => {
  const measured = new Measurement({ ...SETTINGS, direction: "up" }, 0);
  const settled = settlingMs(50);
  measured.report(stats(settled, { upLost: 2, upLate: 7, upLatencyMs: [9_999] }));
  measured.report(stats(settled + 1_000, { messagesUp: 30, upLost: 3, upLate: 9, upLatencyMs: [80, 80, 1_500] }));
  const figures = measured.figures();
  assert.deepEqual([figures.events, figures.late, figures.lost], [30, 2, 1]);
  about(figures.p50, 80);
  assert.deepEqual(
    measured.samples.map((sample) => sample.direction),
    ["up", "up", "up"],
  );
});

test("other settings begin another measurement", () => {
  const measured = new Measurement(SETTINGS, 0);
  measured.report(stats(700));
  measured.received(0, 700, 2_500);
  measured.received(2, 800, 2_600);
  measured.report(stats(9_000, { messagesDown: 2 }));
  assert.deepEqual([measured.figures().events, measured.figures().late, measured.figures().lost], [2, 2, 1]);
  measured.restart({ ...SETTINGS, size: 5 }, 9_000);
  assert.deepEqual([measured.figures().events, measured.figures().late, measured.figures().lost], [0, 0, 0]);
  assert.equal(measured.figures().seconds, 0);
  assert.deepEqual(measured.samples, []);
});

test("samples are kept, but not for ever", () => {
  const measured = new Measurement(SETTINGS, -10_000);
  for (let n = 0; n < 30_000; n += 1) measured.received(n, n, n + 1);
  assert(measured.samples.length <= 25_000);
  assert.equal(measured.samples.at(-1)!.atMs, 30_000);
  assert.equal(measured.figures().events, 30_000);
});

test("sliders stop at round values", () => {
  assert.deepEqual(roundValues(0, 200), [0, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200]);
  assert.deepEqual(roundValues(0, 120, 5), [0, 5, 10, 20, 30, 50, 100, 120]);
  assert.equal(nearest([0, 1, 2, 5, 10], 6), 3);
  assert.equal(nearest([0, 1, 2, 5, 10], 1e9), 4);
});

test("the marks of a time axis are round and not too many", () => {
  assert.equal(tickMs(5_000, 5), 1_000);
  assert.equal(tickMs(40_000, 6), 10_000);
  assert.equal(tickMs(2_000, 6), 500);
  assert.equal(tickMs(1e9, 3), 60_000);
});
