/** Numbers as people read them, in the language of the page. */

import { language } from "./settings.ts";

const formats = new Map<string, Intl.NumberFormat>();

function number(value: number, digits: number): string {
  const key = `${language.value} ${digits}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat(language.value, { maximumFractionDigits: digits, minimumFractionDigits: digits });
    formats.set(key, format);
  }
  return format.format(value);
}

/** Three figures at most, since more are noise. */
function three(value: number): string {
  const size = Math.abs(value);
  return number(value, Number.isInteger(value) || size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

export const whole = (value: number): string => number(value, 0);

export function ms(value: number): string {
  if (value >= 10_000) return `${three(value / 1000)} s`;
  if (value > 0 && value < 0.1) return `${three(value * 1000)} µs`;
  return `${three(value)} ms`;
}

export function bytes(value: number): string {
  if (value < 1000) return `${value < 10 && !Number.isInteger(value) ? number(value, 1) : whole(value)} B`;
  if (value < 1_000_000) return `${three(value / 1000)} kB`;
  return `${three(value / 1_000_000)} MB`;
}

export function duration(seconds: number): string {
  return language.value === "ko" ? `${whole(seconds)}초` : `${whole(seconds)} s`;
}

export const percent = (share: number): string => `${whole(share * 100)} %`;

export function count(value: number): string {
  return value >= 100 || Number.isInteger(value) ? whole(value) : three(value);
}
