/** What this person has said and the server hasn't acknowledged yet: kept in order, sent when there is a connection.
 *
 * Every message carries a key made here. If an acknowledgement gets lost the message is sent again with the same key, and
 * the server stores it once. Texts survive a reload of the page; files, whose bytes only the page has, don't.
 */

import { computed, effect, signal } from "@preact/signals";
import { insert, limits, onStored, rooms } from "./chat.ts";
import { ask, Refused, status, Unanswered } from "./connection.ts";
import type { StoredFile } from "./protocol.ts";
import { freshId } from "./settings.ts";

export interface Draft {
  readonly key: string;
  readonly room: string;
  readonly text: string;
  readonly at: number;
  readonly state: "queued" | "sending" | "failed";
  readonly problem?: string;
  readonly file?: DraftFile;
}

interface DraftFile {
  readonly blob: File;
  readonly url: string;
  readonly picture: boolean;
  readonly width: number;
  readonly height: number;
  readonly sent: number;
  readonly stored?: StoredFile;
}

const MEMORY = "madang:outbox";
export const drafts = signal<readonly Draft[]>(remembered());
export const waiting = computed(() => drafts.value.filter((draft) => draft.state !== "failed").length);

function remembered(): Draft[] {
  try {
    const kept = JSON.parse(sessionStorage.getItem(MEMORY) ?? "[]") as Draft[];
    return kept.map((draft) => (draft.state === "sending" ? { ...draft, state: "queued" } : draft));
  } catch {
    return [];
  }
}

effect(() => {
  try {
    sessionStorage.setItem(MEMORY, JSON.stringify(drafts.value.filter((draft) => !draft.file)));
  } catch {
    // Storage is off: then a reload forgets what wasn't sent.
  }
});

export function say(room: string, text: string): void {
  add({ key: freshId(), room, text, at: Date.now(), state: "queued" });
}

export async function sendFile(room: string, blob: File): Promise<void> {
  const { width, height } = await dimensions(blob);
  const picture = width > 0;
  const file = { blob, url: picture ? URL.createObjectURL(blob) : "", picture, width, height, sent: 0 };
  const draft: Draft = { key: freshId(), room, text: "", at: Date.now(), state: "queued", file };
  if (!blob.size) add({ ...draft, state: "failed", problem: "empty_file" });
  else if (blob.size > limits.peek().file) add({ ...draft, state: "failed", problem: "file_too_large" });
  else add(draft);
}

export function retry(key: string): void {
  change(key, { state: "queued" });
  void pump();
}

export function discard(key: string): void {
  const draft = find(key);
  if (draft?.file?.url) URL.revokeObjectURL(draft.file.url);
  drafts.value = drafts.peek().filter((other) => other.key !== key);
}

function add(draft: Draft): void {
  drafts.value = [...drafts.peek(), draft];
  void pump();
}

function find(key: string): Draft | undefined {
  return drafts.peek().find((draft) => draft.key === key);
}

function change(key: string, changes: Partial<Draft>): void {
  drafts.value = drafts.peek().map((draft) => (draft.key === key ? { ...draft, ...changes } : draft));
}

function changeFile(key: string, changes: Partial<DraftFile>): void {
  const file = find(key)?.file;
  if (file) change(key, { file: { ...file, ...changes } });
}

/** Texts don't wait for files: each kind has a lane, and each lane keeps its order. */
const lanes = { texts: false, files: false };

function pump(): Promise<unknown> {
  return Promise.all([run("texts"), run("files")]);
}

async function run(lane: keyof typeof lanes): Promise<void> {
  if (lanes[lane]) return;
  lanes[lane] = true;
  try {
    for (;;) {
      const next = drafts.peek().find((draft) => draft.state === "queued" && Boolean(draft.file) === (lane === "files"));
      if (!next || status.peek() !== "online") return;
      change(next.key, { state: "sending" });
      try {
        await send(next);
      } catch (error) {
        if (error instanceof Refused && error.problem.retry_after !== undefined) {
          change(next.key, { state: "queued" });
          await pause(error.problem.retry_after * 1_000 + 50);
        } else if (error instanceof Unanswered || (error instanceof Refused && error.problem.code === "no_such_upload")) {
          change(next.key, { state: "queued" }); // an upload is forgotten when the server restarts: it begins again
          await pause(300); // a connection that answers nothing must not be asked in a tight loop
        } else if (error instanceof Refused) {
          change(next.key, { state: "failed", problem: error.problem.code });
        } else {
          change(next.key, { state: "failed", problem: "" });
          throw error;
        }
      }
    }
  } finally {
    lanes[lane] = false;
  }
}

async function send(draft: Draft): Promise<void> {
  const file = draft.file ? (draft.file.stored ?? (await upload(draft.key, draft.file))) : null;
  if (!find(draft.key)) return; // discarded meanwhile
  const { message } = await ask("say", { room: draft.room, key: draft.key, text: draft.text, file: file?.id ?? null });
  const state = rooms.peek().get(draft.room);
  if (state) insert(state, [message]);
  discard(draft.key);
}

/** Send a file's bytes chunk by chunk; the answer tells where to go on, so lost answers do no harm. */
async function upload(key: string, file: DraftFile): Promise<StoredFile> {
  const { blob, width, height } = file;
  const started = await ask("upload_start", { name: blob.name || "file", size: blob.size, width, height });
  let offset = 0;
  for (;;) {
    const data = await blob.slice(offset, offset + started.chunk).arrayBuffer();
    const answer = await chunk({ upload: started.upload, offset, data });
    if (!find(key)) throw new Refused({ code: "discarded", message: "discarded" });
    offset = answer.received;
    changeFile(key, { sent: offset, ...(answer.file ? { stored: answer.file } : {}) });
    if (answer.file) return answer.file;
  }
}

async function chunk(question: { upload: string; offset: number; data: ArrayBuffer }) {
  for (;;) {
    try {
      return await ask("upload_chunk", question);
    } catch (error) {
      if (error instanceof Unanswered) await connected();
      else if (error instanceof Refused && error.problem.retry_after !== undefined) await pause(error.problem.retry_after * 1_000);
      else throw error;
    }
  }
}

function connected(): Promise<void> {
  return new Promise((done) => {
    const stop = status.subscribe((now) => {
      if (now !== "online") return;
      queueMicrotask(() => stop());
      setTimeout(done, 200);
    });
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

async function dimensions(blob: File): Promise<{ width: number; height: number }> {
  if (!/^image\/(png|jpeg|gif|webp|avif)$/.test(blob.type)) return { width: 0, height: 0 };
  try {
    const bitmap = await createImageBitmap(blob);
    const { width, height } = bitmap;
    bitmap.close();
    return { width: Math.min(width, 65_535), height: Math.min(height, 65_535) };
  } catch {
    return { width: 0, height: 0 }; // not a picture after all: it goes as a file
  }
}

onStored((message) => {
  if (find(message.key)) discard(message.key);
});

effect(() => {
  if (status.value === "online") void pump();
});
