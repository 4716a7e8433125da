/** What is open on the screen. */

import { signal } from "@preact/signals";
import type { StoredFile } from "../protocol.ts";

export const drawer = signal<"" | "rooms" | "people">("");
export const dialog = signal<"" | "settings" | "create">("");
/** Name that the dialog for a new room begins with. */
export const proposedName = signal("");
export const pictures = signal<{ all: StoredFile[]; at: number } | null>(null);
export const query = signal("");

export const focusComposer = (): void => document.getElementById("composer")?.focus();

export const touch = matchMedia("(pointer: coarse)");
export const narrow = matchMedia("(max-width: 760px)");
