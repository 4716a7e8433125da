/** The colours in use, for everything that is drawn. */

import { signal } from "@preact/signals";
import { readPalette } from "../draw/palette.ts";
import { redraw } from "../view.ts";

export const palette = signal(readPalette());

export function refreshPalette(): void {
  palette.value = readPalette();
  redraw();
}
