/** Text for people: links, times, sizes, colours of names. */

import { language } from "./settings.ts";

type Piece = { kind: "text"; text: string } | { kind: "link"; text: string; href: string };

const LINK = /\bhttps?:\/\/[\w.:@%~+-]+(?:[/?#][^\s<>"'`]*)?/g;
const TAIL = /[.,;:!?…、。]+$/;

/** Split text into plain pieces and links; only http and https, and never markup. */
export function linkify(text: string): Piece[] {
  const pieces: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    let link = match[0].replace(TAIL, "");
    for (const [open, close] of ["()", "[]", "{}"] as const) {
      while (link.endsWith(close!) && link.split(close!).length > link.split(open!).length) link = link.slice(0, -1);
    }
    link = link.replace(TAIL, "");
    if (!isAddress(link)) continue;
    if (match.index > end) pieces.push({ kind: "text", text: text.slice(end, match.index) });
    pieces.push({ kind: "link", text: link, href: link });
    end = match.index + link.length;
  }
  if (end < text.length) pieces.push({ kind: "text", text: text.slice(end) });
  return pieces;
}

function isAddress(text: string): boolean {
  try {
    return Boolean(new URL(text).hostname);
  } catch {
    return false;
  }
}

const EMOJI_ONLY = /^(?:\p{RI}{2}|\p{Emoji_Presentation}[\p{EMod}\uFE0F]?(?:\u200D\p{Extended_Pictographic}\uFE0F?)*|\p{Extended_Pictographic}\uFE0F(?:\u200D\p{Extended_Pictographic}\uFE0F?)*|\s){1,6}$/u;

export const isJumbo = (text: string): boolean => text.length <= 24 && EMOJI_ONLY.test(text);

const locale = () => (language.value === "ko" ? "ko-KR" : navigator.language.startsWith("en") ? navigator.language : "en-GB");

export const clock = (at: number): string => new Date(at).toLocaleTimeString(locale(), { hour: "numeric", minute: "2-digit" });

export const fullTime = (at: number): string => new Date(at).toLocaleString(locale(), { dateStyle: "full", timeStyle: "short" });

export const startOfDay = (at: number): number => new Date(at).setHours(0, 0, 0, 0);

/** Days between a moment and now, by the calendar. */
function daysAgo(at: number, now = Date.now()): number {
  return Math.round((startOfDay(now) - startOfDay(at)) / 86_400_000);
}

export function dayLabel(at: number, words: { today: string; yesterday: string }): string {
  const days = daysAgo(at);
  if (days === 0) return words.today;
  if (days === 1) return words.yesterday;
  const sameYear = new Date(at).getFullYear() === new Date().getFullYear();
  const options: Intl.DateTimeFormatOptions = { weekday: "long", month: "long", day: "numeric" };
  return new Date(at).toLocaleDateString(locale(), sameYear ? options : { ...options, year: "numeric" });
}

/** A moment in as few characters as possible: the time today, the date before. */
export function brief(at: number, words: { yesterday: string }): string {
  const days = daysAgo(at);
  if (days === 0) return clock(at);
  if (days === 1) return words.yesterday;
  return new Date(at).toLocaleDateString(locale(), { month: "short", day: "numeric" });
}

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export const milliseconds = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.slice(parts[0] ? 0 : 1).map((part, i) => (i ? String(part).padStart(2, "0") : String(part))).join(":");
}

/** One of twelve hues, always the same for a name. */
export function hue(nick: string): number {
  let hash = 2166136261;
  for (const char of nick.normalize("NFC").toLowerCase()) hash = Math.imul(hash ^ char.codePointAt(0)!, 16777619);
  return ((hash ^ (hash >>> 15)) >>> 0) % 12;
}

// Without a segmenter (older Firefox) an initial of several code points shows its first.
const segmenter = "Segmenter" in Intl ? new Intl.Segmenter() : null;

export function initial(name: string): string {
  const text = name.trim();
  const [first] = segmenter ? [...segmenter.segment(text)].map(({ segment }) => segment) : [...text];
  return first?.toUpperCase() ?? "?";
}
