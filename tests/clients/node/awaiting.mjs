// Awaiting with a deadline, and values as they can be compared: for Node.js and for pages alike.

export const DEADLINE = 8000;

/** The promise's value, or an error that says what was awaited. */
export function within(promise, what, milliseconds = DEADLINE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not in ${milliseconds} ms: ${what}`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of the emitter's next event. */
export function next(emitter, event, milliseconds = DEADLINE) {
  const heard = new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
  return within(heard, `event ${JSON.stringify(event)}`, milliseconds);
}

/** The arguments of the next `count` events. */
export function several(emitter, event, count, milliseconds = DEADLINE) {
  const heard = [];
  const all = new Promise((resolve) => {
    emitter.on(event, function listener(...args) {
      heard.push(args);
      if (heard.length === count) {
        emitter.off(event, listener);
        resolve(heard);
      }
    });
  });
  return within(all, `${count} events ${JSON.stringify(event)}`, milliseconds).catch((error) => {
    error.message += `; ${heard.length} came`;
    throw error;
  });
}

/** Emit, and return the arguments of the acknowledgement. */
export function ask(socket, event, ...args) {
  const answered = new Promise((resolve) => socket.emit(event, ...args, (...reply) => resolve(reply)));
  return within(answered, `acknowledgement of ${JSON.stringify(event)}`);
}

/** Binary values become plain arrays of numbers, whatever class they came in; the rest stays. */
export function plain(value) {
  if (value instanceof ArrayBuffer) return { bytes: [...new Uint8Array(value)] };
  if (ArrayBuffer.isView(value)) {
    return { bytes: [...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)] };
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}
