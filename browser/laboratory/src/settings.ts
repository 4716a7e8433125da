/** What this browser remembers: how the bench is set, and how you like the page. */

import { effect, signal, type Signal } from "@preact/signals";
import type { Direction } from "./protocol.ts";

export type Theme = "auto" | "light" | "dark";
export type Language = "en" | "ko";
export type Density = "full" | "brief";

const PREFIX = "madang-laboratory:";

function recall<T>(name: string, otherwise: T): T {
  try {
    const raw = localStorage.getItem(PREFIX + name);
    return raw === null ? otherwise : (JSON.parse(raw) as T);
  } catch {
    return otherwise; // storage is off, or holds something that isn't ours
  }
}

function kept<T>(name: string, otherwise: T): Signal<T> {
  const value = signal(recall(name, otherwise));
  effect(() => {
    const now = JSON.stringify(value.value);
    try {
      localStorage.setItem(PREFIX + name, now);
    } catch {
      // Private windows may refuse; the page works without, it only forgets.
    }
  });
  return value;
}

export const theme = kept<Theme>("theme", "auto");
export const language = kept<Language>("language", navigator.language.startsWith("ko") ? "ko" : "en");
export const density = kept<Density>("density", "full");
export const windowMs = kept("window", 5_000);

export const chosen = kept<string[]>("transports", ["shortpolling", "polling", "sse", "websocket"]);
export const rate = kept("rate", 1);
export const size = kept("size", 100);
export const delayMs = kept("delay", 100);
export const shortPollMs = kept("short-poll", 200);
export const direction = kept<Direction>("direction", "down");
export const binary = kept("binary", false);
