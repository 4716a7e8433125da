// How the tests talk with the program: orders as lines of JSON on standard input, answers and events on standard output.
//
//   {"id": 1, "do": "emit", ...}    an order
//   {"id": 1, "value": ...}         its answer; or {"id": 1, "error": "...", "responses": [...]}
//   {"event": "...", ...}           what happened by itself
//
// What JSON has no words for: {"$bytes": "base64"}, {"$date": "2000-06-13T..."}, {"$undefined": true}.

import { createInterface } from "node:readline";

/** A value as JSON can have it. */
export function plain(value) {
  if (value === undefined) return { $undefined: true };
  if (value instanceof Date) return { $date: value.toISOString() };
  if (value instanceof ArrayBuffer) return { $bytes: Buffer.from(value).toString("base64") };
  if (ArrayBuffer.isView(value)) {
    return { $bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  }
  if (value instanceof Set) return [...value].map(plain);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Error) return { message: value.message };
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

/** The value that JSON stands for. */
export function real(value) {
  if (Array.isArray(value)) return value.map(real);
  if (value !== null && typeof value === "object") {
    if ("$undefined" in value) return undefined;
    if ("$date" in value) return new Date(value.$date);
    if ("$bytes" in value) return Buffer.from(value.$bytes, "base64");
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, real(inner)]));
  }
  return value;
}

export function tell(what) {
  process.stdout.write(JSON.stringify(plain(what)) + "\n");
}

/** What nobody has caught is told, and ends the process, as it would without the tests. */
export function tellOfCrashes() {
  for (const kind of ["uncaughtException", "unhandledRejection"]) {
    process.on(kind, (error) => {
      tell({ event: "crash", kind, message: String(error?.message ?? error), stack: String(error?.stack ?? "") });
      process.exit(70);
    });
  }
}

/** Do as is told, until standard input ends; then do `atLast`. */
export function obey(act, atLast) {
  const input = createInterface({ input: process.stdin });
  input.on("line", async (line) => {
    const told = real(JSON.parse(line));
    try {
      tell({ id: told.id, value: await act(told) });
    } catch (error) {
      tell({ id: told.id, error: String(error?.message ?? error), responses: error?.responses ?? null });
    }
  });
  input.on("close", atLast);
}

/** A server, a namespace or an emitter with rooms and flags chosen. */
export function chosen(target, { to = [], except = [], flags = {} }) {
  for (const room of to) target = target.to(room);
  for (const room of except) target = target.except(room);
  if (flags.volatile) target = target.volatile;
  if (flags.local) target = target.local;
  if (flags.compress !== undefined) target = target.compress(flags.compress);
  if (flags.timeout !== undefined) target = target.timeout(flags.timeout);
  return target;
}
