/** Engine.IO 4 packets as text: what POSTs and polls carry. No I/O.
 *
 * Source: Engine.IO protocol 4, "Packet encoding" and "HTTP long-polling".
 */

export type PacketType = "open" | "close" | "ping" | "pong" | "message" | "upgrade" | "noop";
export type BinaryType = "arraybuffer" | "blob" | "nodebuffer";
export type Data = string | ArrayBuffer | ArrayBufferView | Blob | undefined;

/** A packet that the engine wants to send. */
export interface Outgoing {
  readonly type: PacketType;
  readonly data?: Data;
}

/** A packet as the engine wants to get it; `error` stands for one that can't be read. */
export interface Incoming {
  readonly type: PacketType | "error";
  readonly data?: unknown;
}

const TYPES: readonly PacketType[] = ["open", "close", "ping", "pong", "message", "upgrade", "noop"];
const SEPARATOR = "\x1e";
/** Function calls take only so many arguments. */
const CHUNK = 0x2000;

const UNREADABLE: Incoming = { type: "error", data: "parser error" };

/** A packet as text. Bytes are taken at once, so that the page may reuse its buffer; a Blob's take a moment. */
export function encode({ type, data }: Outgoing): string | Promise<string> {
  if (data === undefined || data === null || typeof data === "string") return TYPES.indexOf(type) + (data ?? "");
  if (data instanceof ArrayBuffer) return base64(new Uint8Array(data));
  if (ArrayBuffer.isView(data)) return base64(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return data.arrayBuffer().then((buffer) => base64(new Uint8Array(buffer)));
}

/** All packets of a payload. */
export function decodePayload(payload: string, binaryType: BinaryType): Incoming[] {
  return payload.split(SEPARATOR).map((text) => decode(text, binaryType));
}

/** One packet. */
export function decode(text: string, binaryType: BinaryType): Incoming {
  if (text.startsWith("b")) {
    let bytes: string;
    try {
      bytes = atob(text.slice(1));
    } catch {
      return UNREADABLE; // no base64
    }
    return binary(
      Uint8Array.from(bytes, (character) => character.charCodeAt(0)),
      binaryType,
    );
  }
  const type = /^[0-6]/.test(text) ? TYPES[Number(text[0])] : undefined;
  if (type === undefined) return UNREADABLE;
  return text.length > 1 ? { type, data: text.slice(1) } : { type };
}

/** A message of bytes, in the form that the engine's user has asked for. */
export function binary(bytes: Uint8Array<ArrayBuffer>, binaryType: BinaryType): Incoming {
  if (binaryType === "blob") return { type: "message", data: new Blob([bytes]) };
  const exact = bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
  const { Buffer } = globalThis as { Buffer?: { from(buffer: ArrayBuffer): unknown } };
  return { type: "message", data: binaryType === "nodebuffer" && Buffer ? Buffer.from(exact) : exact };
}

/** Join packets to as few payloads as may be, none over `limit` bytes.
 *
 * Throws a RangeError where one packet alone is larger.
 */
export function batch(packets: readonly string[], limit: number): string[] {
  const payloads: string[] = [];
  let held: string[] = [];
  let total = 0;
  for (const packet of packets) {
    const bytes = utf8Size(packet);
    if (bytes > limit) {
      throw new RangeError(`a packet of ${bytes} bytes, and the server takes ${limit} (max_payload_bytes)`);
    }
    if (held.length && total + 1 + bytes > limit) {
      payloads.push(held.join(SEPARATOR));
      held = [];
    }
    total = held.length ? total + 1 + bytes : bytes;
    held.push(packet);
  }
  if (held.length) payloads.push(held.join(SEPARATOR));
  return payloads;
}

/** How many bytes a text has in UTF-8. */
export function utf8Size(text: string): number {
  let size = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) size += 1;
    else if (unit < 0x800) size += 2;
    else if (unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00) {
      size += 4; // a pair; a half alone is sent as U+FFFD, of three bytes
      index++;
    } else size += 3;
  }
  return size;
}

function base64(bytes: Uint8Array): string {
  let characters = "";
  for (let index = 0; index < bytes.length; index += CHUNK) {
    characters += String.fromCharCode(...bytes.subarray(index, index + CHUNK));
  }
  return "b" + btoa(characters);
}
