/** A reader of `multipart/x-mixed-replace` whose parts say how long they are. No I/O.
 *
 * Source: RFC 2046, 5.1.1; the length makes it safe for every content.
 */

const MAX_HEAD = 8192;

/** What came is not what such a stream consists of. */
export class MalformedStream extends Error {}

export class Parts {
  readonly #boundary: string;
  readonly #onPart: (type: string, bytes: Uint8Array<ArrayBuffer>) => void;
  readonly #text = new TextDecoder();
  /** What is collected: a line while `#body` is null. */
  #line: number[] = [];
  #head = 0;
  #headers = new Map<string, string>();
  #body: Uint8Array<ArrayBuffer> | null = null;
  #filled = 0;
  #state: "boundary" | "headers" | "body" | "after" | "end" = "boundary";

  constructor(boundary: string, onPart: (type: string, bytes: Uint8Array<ArrayBuffer>) => void) {
    this.#boundary = `--${boundary}`;
    this.#onPart = onPart;
  }

  /** Whether the stream may end here: no part has begun. */
  get between(): boolean {
    return this.#state !== "body" && this.#headers.size === 0 && this.#line.length === 0;
  }

  /** Take bytes as they come, however they are cut. Throws MalformedStream. */
  feed(bytes: Uint8Array): void {
    let index = 0;
    while (index < bytes.length && this.#state !== "end") {
      if (this.#body !== null) {
        const piece = bytes.subarray(index, index + this.#body.length - this.#filled);
        this.#body.set(piece, this.#filled);
        this.#filled += piece.length;
        index += piece.length;
        this.#finishBody();
      } else {
        const byte = bytes[index++]!;
        this.#line.push(byte);
        if (++this.#head > MAX_HEAD) throw new MalformedStream("a part without end of its headers");
        if (byte === 0x0a) this.#takeLine();
      }
    }
  }

  #takeLine(): void {
    const line = this.#text.decode(new Uint8Array(this.#line)).replace(/\r?\n$/, "");
    this.#line = [];
    if (this.#state === "headers") {
      if (line === "") this.#beginBody();
      else this.#header(line);
    } else if (this.#state === "after") {
      if (line !== "") throw new MalformedStream("a part is longer than its Content-Length");
      this.#state = "boundary";
    } else if (line === this.#boundary) {
      this.#state = "headers";
      this.#head = 0;
    } else if (line === `${this.#boundary}--`) {
      this.#state = "end";
    } else {
      throw new MalformedStream(`${JSON.stringify(line.slice(0, 40))} in place of the boundary`);
    }
  }

  #header(line: string): void {
    const colon = line.indexOf(":");
    if (colon < 1) throw new MalformedStream(`${JSON.stringify(line.slice(0, 40))} is no header`);
    this.#headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }

  #beginBody(): void {
    const length = this.#headers.get("content-length") ?? "";
    if (!/^\d{1,10}$/.test(length)) throw new MalformedStream("a part without Content-Length");
    this.#body = new Uint8Array(Number(length));
    this.#filled = 0;
    this.#state = "body";
    this.#finishBody();
  }

  #finishBody(): void {
    const body = this.#body;
    if (body === null || this.#filled < body.length) return;
    const type = this.#headers.get("content-type") ?? "";
    this.#body = null;
    this.#headers = new Map();
    this.#head = 0;
    this.#state = "after";
    this.#onPart(type, body);
  }
}
