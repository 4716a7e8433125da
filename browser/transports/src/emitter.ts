/** What the official engine needs of an emitter, with the names and the meaning of `@socket.io/component-emitter`.
 *
 * That package's class is not exported by the client's bundles, and its fields have other names in each of them. The
 * engine never asks for the class, only for these methods.
 */

// Listeners take whatever their event brings.
export type Listener = (...args: any[]) => void;

interface Entry {
  readonly listener: Listener;
  readonly once: boolean;
}

export class Emitter {
  readonly #entries = new Map<string, Entry[]>();

  on(event: string, listener: Listener): this {
    this.#add(event, { listener, once: false });
    return this;
  }

  once(event: string, listener: Listener): this {
    this.#add(event, { listener, once: true });
    return this;
  }

  /** Without a listener: all of the event; without an event: all. */
  off(event?: string, listener?: Listener): this {
    if (event === undefined) this.#entries.clear();
    else if (listener === undefined) this.#entries.delete(event);
    else {
      const entries = this.#entries.get(event) ?? [];
      const index = entries.findIndex((entry) => entry.listener === listener);
      if (index >= 0) this.#entries.set(event, [...entries.slice(0, index), ...entries.slice(index + 1)]);
    }
    return this;
  }

  /** Listeners that come or go meanwhile change nothing of this event. */
  emit(event: string, ...args: unknown[]): this {
    for (const { listener, once } of this.#entries.get(event) ?? []) {
      if (once) this.off(event, listener);
      listener.apply(this, args);
    }
    return this;
  }

  listeners(event: string): Listener[] {
    return (this.#entries.get(event) ?? []).map((entry) => entry.listener);
  }

  hasListeners(event: string): boolean {
    return this.listeners(event).length > 0;
  }

  removeListener(event?: string, listener?: Listener): this {
    return this.off(event, listener);
  }

  removeAllListeners(event?: string): this {
    return this.off(event);
  }

  emitReserved(event: string, ...args: unknown[]): this {
    return this.emit(event, ...args);
  }

  /** A new list each time, so that the one that `emit` goes through stays as it is. */
  #add(event: string, entry: Entry): void {
    this.#entries.set(event, [...(this.#entries.get(event) ?? []), entry]);
  }
}
