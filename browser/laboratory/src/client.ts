/** A client under test, whatever its release: what a lane hears of it, and asks of it. */

export type Payload = string | Uint8Array;

/** What a lane hears of its client. */
export interface Ears {
  connected(): void;
  lost(): void;
  trouble(why: string): void;
  tick(seq: number, sentMs: number): void;
}

export interface Client {
  readonly connected: boolean;
  tick(seq: number, sentMs: number, payload: Payload): void;
  end(): void;
}

export const FIRST_RETRY_MS = 300;
export const LAST_RETRY_MS = 2_000;
