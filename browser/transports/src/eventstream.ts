/** A reader of `text/event-stream`, for streams that come by `fetch`. No I/O.
 *
 * Source: HTML standard, "Interpreting an event stream".
 */

export class EventStream {
  readonly #decoder = new TextDecoder(); // drops a byte order mark, as the standard wants
  readonly #onEvent: (type: string, data: string) => void;
  /** The line that isn't whole yet, and whether the one before it ended with a \r. */
  #pieces: string[] = [];
  #return = false;
  #type = "";
  #data: string[] = [];

  constructor(onEvent: (type: string, data: string) => void) {
    this.#onEvent = onEvent;
  }

  /** Take bytes as they come, however they are cut. */
  feed(bytes: Uint8Array): void {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return;
    if (this.#return && text.startsWith("\n")) text = text.slice(1); // the other half of a line's end
    this.#return = text.endsWith("\r");
    const lines = text.split(/\r\n|\n|\r/);
    const last = lines.pop()!;
    for (const line of lines) {
      this.#pieces.push(line);
      this.#line(this.#pieces.join(""));
      this.#pieces = [];
    }
    this.#pieces.push(last);
  }

  #line(line: string): void {
    if (line === "") {
      if (this.#data.length) this.#onEvent(this.#type || "message", this.#data.join("\n"));
      this.#type = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#type = value;
  }
}
