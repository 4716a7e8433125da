/** From a slider's position to a value that people would choose, and back. */

const STEPS = [1, 2, 3, 5];

/** Round values from `min` to `max`: 1, 2, 3, 5, 10, 20, ... none between `min` and `smallest`; the ends are always there. */
export function roundValues(min: number, max: number, smallest = 1): number[] {
  const values = new Set<number>([min]);
  for (let power = -1; power <= 9; power += 1) {
    for (const step of STEPS) {
      const value = Number((step * 10 ** power).toPrecision(6));
      if (value > min && value >= smallest && value < max) values.add(value);
    }
  }
  values.add(max);
  return [...values];
}

/** The position of the value nearest to `value`. */
export function nearest(values: readonly number[], value: number): number {
  let best = 0;
  values.forEach((candidate, place) => {
    if (Math.abs(candidate - value) < Math.abs(values[best]! - value)) best = place;
  });
  return best;
}

/** Milliseconds between the marks of a time axis, so that about `wanted` of them fit into `spanMs`. */
export function tickMs(spanMs: number, wanted: number): number {
  const rough = spanMs / wanted;
  for (const step of [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000]) {
    if (step >= rough) return step;
  }
  return 60_000;
}
