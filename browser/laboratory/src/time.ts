/** The page's idea of the server's time. */

import { ClockOffset } from "./model/clock.ts";

export const clock = new ClockOffset();

/** Milliseconds since the epoch by this page's clock, which never jumps. */
export function pageNow(): number {
  return performance.timeOrigin + performance.now();
}

/** The same by the server's clock. */
export function serverNow(): number {
  return pageNow() + clock.offset;
}
