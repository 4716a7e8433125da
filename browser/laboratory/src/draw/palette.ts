/** The colours of drawings, from the page's style sheet, so that light and dark have one home. */

const NAMES = {
  paper: "--paper",
  raised: "--raised",
  ink: "--ink",
  quiet: "--quiet",
  line: "--line",
  lineStrong: "--line-strong",
  accent: "--accent",
  down: "--down",
  up: "--up",
  beat: "--beat",
  ask: "--ask",
  empty: "--empty",
  held: "--held",
  open: "--open",
} as const;

export type Palette = Record<keyof typeof NAMES, string>;

export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(
    Object.entries(NAMES).map(([key, name]) => [key, style.getPropertyValue(name).trim()]),
  ) as Palette;
}

export const FONT = `system-ui, -apple-system, "Segoe UI", "Apple SD Gothic Neo", "Noto Sans KR", "Noto Sans CJK KR", "Malgun Gothic", sans-serif`;
