/** A distribution of times in fixed memory: buckets that grow by two per cent, from a twentieth of a millisecond on. */

const SMALLEST = 0.05;
const GROWTH = Math.log(1.02);
const BUCKETS = 760; // up to 170 s

/** Quantiles of it are at most one per cent off. */
export class Histogram {
  readonly #counts = new Uint32Array(BUCKETS);
  count = 0;
  sum = 0;

  add(ms: number): void {
    const bucket = ms <= SMALLEST ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / SMALLEST) / GROWTH));
    this.#counts[bucket]! += 1;
    this.count += 1;
    this.sum += Math.max(0, ms);
  }

  clear(): void {
    this.#counts.fill(0);
    this.count = 0;
    this.sum = 0;
  }

  addAll(other: Histogram): void {
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) this.#counts[bucket]! += other.#counts[bucket]!;
    this.count += other.count;
    this.sum += other.sum;
  }

  /** The time that a share `q` (0 to 1) of all samples did not exceed; null without samples. */
  quantile(q: number): number | null {
    if (this.count === 0) return null;
    const rank = Math.max(1, Math.ceil(q * this.count));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      seen += this.#counts[bucket]!;
      if (seen >= rank) return middle(bucket);
    }
    return middle(BUCKETS - 1);
  }

  get mean(): number | null {
    return this.count === 0 ? null : this.sum / this.count;
  }

  /** Counts in `bins` bins of equal width on a logarithmic axis from `from` to `to` ms; what lies outside is in the outermost. */
  bins(from: number, to: number, bins: number): number[] {
    const result = new Array<number>(bins).fill(0);
    const scale = bins / Math.log(to / from);
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      const count = this.#counts[bucket]!;
      if (count === 0) continue;
      const bin = Math.floor(Math.log(middle(bucket) / from) * scale);
      result[Math.max(0, Math.min(bins - 1, bin))]! += count;
    }
    return result;
  }
}

function middle(bucket: number): number {
  return bucket === 0 ? SMALLEST : SMALLEST * Math.exp((bucket - 0.5) * GROWTH);
}
