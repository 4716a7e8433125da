/** How far the server's clock is from this page's, estimated from questions and answers. */

const KEPT = 24;

interface Sample {
  readonly roundTrip: number;
  readonly offset: number;
}

/**
 * The answer of the quickest round trip is nearest to the truth: it can be wrong by half that trip at most. Samples are
 * kept for a while only, since clocks drift.
 */
export class ClockOffset {
  #samples: Sample[] = [];

  /** Add one question: when it was asked and answered by this clock, and what the server's clock said. */
  add(askedMs: number, answeredMs: number, serverMs: number): void {
    const roundTrip = answeredMs - askedMs;
    if (!(roundTrip >= 0) || !Number.isFinite(serverMs)) return;
    this.#samples.push({ roundTrip, offset: serverMs - (askedMs + answeredMs) / 2 });
    if (this.#samples.length > KEPT) this.#samples.shift();
  }

  /** Milliseconds to add to this clock to get the server's. */
  get offset(): number {
    return this.#best()?.offset ?? 0;
  }

  /** The offset can be wrong by this many milliseconds, not more. */
  get uncertainty(): number {
    const best = this.#best();
    return best ? best.roundTrip / 2 : Infinity;
  }

  #best(): Sample | undefined {
    let best: Sample | undefined;
    for (const sample of this.#samples) if (!best || sample.roundTrip < best.roundTrip) best = sample;
    return best;
  }
}
