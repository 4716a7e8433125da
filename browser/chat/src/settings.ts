/** What this browser remembers: who you are and how you like it. */

import { effect, signal } from "@preact/signals";

type Theme = "auto" | "light" | "dark";
export type Language = "en" | "ko";
export type Transports = "auto" | "polling" | "websocket";

const PREFIX = "madang:";

export function recall<T>(name: string, otherwise: T): T {
  try {
    const raw = localStorage.getItem(PREFIX + name);
    return raw === null ? otherwise : (JSON.parse(raw) as T);
  } catch {
    return otherwise; // storage is off, or holds something that isn't ours
  }
}

export function keep(name: string, value: unknown): void {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Private windows may refuse; the page works without, it only forgets.
  }
}

function kept<T>(name: string, otherwise: T) {
  const value = signal(recall(name, otherwise));
  effect(() => keep(name, value.value));
  return value;
}

/** An id that nobody can guess, from a secure context or not. */
export function freshId(bytes = 15): string {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return btoa(String.fromCharCode(...random)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}

export const token = kept("token", freshId(24)).value;
export const nick = kept("nick", "");
export const theme = kept<Theme>("theme", "auto");
export const language = kept<Language>("language", navigator.language.startsWith("ko") ? "ko" : "en");
export const notify = kept("notify", false);
export const lastRoom = kept("room", "");
export const showPeople = kept("people", true);

