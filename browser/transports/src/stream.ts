/** What the transports share whose answers have no end: the first answer is the handshake and the stream.
 *
 * The server may end a stream in good order: its last packet is a noop then, and we ask again. Any other end is the end of
 * the session.
 */

import { Base } from "./base.ts";
import type { Incoming } from "./packets.ts";

/** While an upgrade is decided on, every stream ends at once: ask no more often than this. */
const IDLE_MS = 100;

interface Reader {
  feed(bytes: Uint8Array): void;
  /** Whether the stream may end here. */
  readonly between?: boolean;
}

export abstract class Stream extends Base {
  #last: Incoming["type"] | undefined;
  #idle = true;
  #aborter: AbortController | undefined;

  protected override taken(packet: Incoming): void {
    this.#last = packet.type;
    if (packet.type !== "noop") this.#idle = false;
    super.taken(packet);
  }

  /** The stream has ended; `reason` says how, and `broken` whether that was an error of its own. */
  protected over(reason: unknown, broken: boolean, context?: unknown): void {
    this.drop();
    if (this.closed || this.#last === "close") return;
    const goesOn = this.#last === "noop";
    const idle = this.#idle;
    this.#last = undefined;
    this.#idle = true;
    if (goesOn) this.again(idle ? IDLE_MS : 0);
    else if (this.readyState === "opening") this.fail("open", reason, context);
    else if (broken) this.fail("read", reason, context);
    else this.end(String(reason), context);
  }

  /** Whether the stream may end now. */
  protected get announced(): boolean {
    return this.#last === "noop";
  }

  /** Read a stream by fetch; `start` gets the content type, and gives what takes the bytes. */
  protected async pull(accept: string, start: (contentType: string) => Reader): Promise<void> {
    let reader: Reader;
    const aborter = new AbortController();
    this.#aborter = aborter;
    try {
      const response = await this.fetch({ headers: { Accept: accept } }, aborter);
      const contentType = response.headers.get("Content-Type") ?? "";
      if (!contentType.startsWith(accept)) throw new Error(`the answer is ${contentType || "nothing"}, not ${accept}`);
      reader = start(contentType);
      const body = response.body?.getReader();
      for (;;) {
        const { done, value } = (await body?.read()) ?? { done: true, value: undefined };
        if (this.#aborter !== aborter) return;
        if (done) break;
        reader.feed(value);
      }
    } catch (error) {
      if (this.#aborter === aborter) this.over(error, true);
      return;
    } finally {
      aborter.abort(); // whatever is left of it
    }
    if (reader.between === false) this.over("the stream broke off within a part", true);
    else this.over("the server ended the stream", false);
  }

  protected drop(): void {
    this.#aborter?.abort();
    this.#aborter = undefined;
  }
}
