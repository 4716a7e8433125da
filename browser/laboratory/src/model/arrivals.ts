/** Which events of a numbered stream arrived, how late, and which never did. */

/** A gap in the numbers counts as lost once it is this old. */
export const LOST_AFTER_MS = 5_000;

/** Slower than this is late: a second, and what the wire itself takes for two round trips. */
export function lateAfterMs(delayMs: number): number {
  return 1_000 + 4 * delayMs;
}

/** Numbers count from 0 and may arrive in any order. */
export class Arrivals {
  received = 0;
  lost = 0;
  late = 0;
  doubled = 0;
  #next = 0;
  #missing = new Map<number, number>();

  /** Event `seq` arrived at `nowMs`, `latencyMs` after it was sent. True if it is the first of that number. */
  add(seq: number, nowMs: number, latencyMs: number, delayMs: number): boolean {
    if (seq < this.#next) {
      if (!this.#missing.delete(seq)) {
        this.doubled += 1;
        return false;
      }
    } else {
      // A gap of absurd length is a sender that began anew, not a million losses to remember.
      for (let gap = Math.max(this.#next, seq - 10_000); gap < seq; gap += 1) this.#missing.set(gap, nowMs);
      this.#next = seq + 1;
    }
    this.received += 1;
    if (latencyMs > lateAfterMs(delayMs)) this.late += 1;
    return true;
  }

  /** Count as lost what has been missing for too long. */
  sweep(nowMs: number): void {
    for (const [seq, since] of this.#missing) {
      if (nowMs - since < LOST_AFTER_MS) break; // in the order in which the gaps were seen
      this.#missing.delete(seq);
      this.lost += 1;
    }
  }
}
