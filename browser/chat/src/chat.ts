/** Rooms, messages and people as this page knows them. */

import { computed, signal, type Signal } from "@preact/signals";
import { ask, connect, Refused, socket, status, Unanswered } from "./connection.ts";
import { t } from "./i18n.ts";
import type { Limits, Mark, Message, Room, Visit, Welcome, Who } from "./protocol.ts";
import { keep, lastRoom, nick, recall } from "./settings.ts";

const TYPING_LASTS_MS = 6_000;
const KEEP_MESSAGES = 400;

/** One room, whether joined or only looked at. */
export class RoomState {
  readonly room: Signal<Room>;
  readonly joined = signal(false);
  readonly messages = signal<Message[]>([]);
  /** There are older messages than those loaded. */
  readonly more = signal(true);
  readonly loading = signal(false);
  readonly loaded = signal(false);
  readonly last = signal<Message | null>(null);
  readonly unread = signal(0);
  readonly here = signal<Who[]>([]);
  readonly count = signal(0);
  readonly seen = signal<ReadonlyMap<string, Mark>>(new Map());
  readonly typing = signal<ReadonlyMap<string, Who>>(new Map());
  /** Messages after this id were unread when the room was opened. */
  readonly divider = signal<number | null>(null);
  /** How far this person has read. */
  upto = 0;
  /** Everything up to this id is known: where to go on after a reconnection. */
  cursor = 0;
  /** Live messages follow on the cursor without a gap. */
  synced = false;

  constructor(room: Room) {
    this.room = signal(room);
  }

  get id(): string {
    return this.room.peek().id;
  }
}

export const me = signal<Who>({ id: "", nick: nick.peek() });
export const limits = signal<Limits>({ text: 4_000, file: 20_000_000, chunk: 131_072, nick: 32 });
export const rooms = signal<ReadonlyMap<string, RoomState>>(new Map());
export const activeId = signal(roomInAddress() || lastRoom.peek());
export const active = computed(() => rooms.value.get(activeId.value) ?? null);
export const ready = signal(false);
export const totalUnread = computed(() =>
  [...rooms.value.values()].reduce((sum, room) => sum + (room.joined.value ? room.unread.value : 0), 0),
);
/** Newly arrived messages, for who listens rather than looks. */
export const announcements = signal<{ key: number; text: string }[]>([]);
/** The newest message is in sight. */
export const atNewest = signal(true);

type Arrival = (state: RoomState, message: Message) => void;
const arrivals: Arrival[] = [];
/** Call this with every message of others that arrives live. */
export const onArrival = (heard: Arrival): number => arrivals.push(heard);
const stored: ((message: Message) => void)[] = [];
/** Call this with every message of this person that turns out to be stored. */
export const onStored = (heard: (message: Message) => void): number => stored.push(heard);

function roomInAddress(): string {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

function byActivity(list: RoomState[]): RoomState[] {
  return list.sort((a, b) => (b.last.value?.id ?? 0) - (a.last.value?.id ?? 0) || compare(a, b));
}

function compare(a: RoomState, b: RoomState): number {
  return a.room.value.name.localeCompare(b.room.value.name);
}

export const joinedRooms = computed(() => byActivity([...rooms.value.values()].filter((room) => room.joined.value)));
export const otherRooms = computed(() =>
  [...rooms.value.values()].filter((room) => !room.joined.value).sort((a, b) => b.count.value - a.count.value || compare(a, b)),
);

// --- what happens on the wire ---------------------------------------------------------------------------------------

async function hello(): Promise<void> {
  const known: Record<string, number> = {};
  for (const state of rooms.peek().values()) {
    if (state.joined.peek() && state.loaded.peek()) known[state.id] = state.cursor;
  }
  const welcome = await ask("hello", { rooms: known });
  applyWelcome(welcome);
  status.value = "online";
  ready.value = true;
  if (!welcome.visits.length && !recall("greeted", false)) {
    const first = welcome.rooms.find((room) => room.id === "madang") ?? welcome.rooms[0];
    if (first) await join(first.id);
  }
  keep("greeted", true);
  if (!active.peek()) open(joinedRooms.peek()[0]?.id ?? otherRooms.peek()[0]?.id ?? "");
  else void refresh();
}

function applyWelcome(welcome: Welcome): void {
  setMe(welcome.me);
  limits.value = welcome.limits;
  const next = new Map<string, RoomState>();
  for (const room of welcome.rooms) {
    const state = rooms.peek().get(room.id) ?? new RoomState(room);
    state.room.value = room;
    state.count.value = welcome.counts[room.id] ?? 0;
    next.set(room.id, state);
  }
  const visited = new Set(welcome.visits.map((visit) => visit.room.id));
  for (const state of next.values()) {
    if (!visited.has(state.id)) state.joined.value = false;
  }
  rooms.value = next;
  for (const visit of welcome.visits) applyVisit(visit, welcome.here[visit.room.id] ?? []);
}

function setMe(who: Who): void {
  me.value = who;
  nick.value = who.nick;
}

function applyVisit(visit: Visit, here: Who[]): RoomState {
  const state = roomState(visit.room);
  state.joined.value = true;
  state.upto = visit.upto;
  state.unread.value = visit.unread;
  state.last.value = visit.last;
  setHere(state, here);
  state.typing.value = new Map();
  state.seen.value = new Map(visit.seen.map((mark) => [mark.who.id, mark]));
  if (visit.reset) {
    state.messages.value = [];
    state.more.value = visit.more;
  }
  insert(state, visit.messages);
  state.cursor = Math.max(state.cursor, visit.last?.id ?? 0);
  state.synced = true;
  return state;
}

function roomState(room: Room): RoomState {
  let state = rooms.peek().get(room.id);
  if (!state) {
    state = new RoomState(room);
    rooms.value = new Map(rooms.peek()).set(room.id, state);
  }
  return state;
}

function setHere(state: RoomState, here: Who[]): void {
  state.here.value = here;
  state.count.value = here.length;
}

/** Merge messages into a room: by id, each once. */
export function insert(state: RoomState, messages: readonly Message[]): void {
  if (!messages.length) return;
  const all = new Map(state.messages.peek().map((message) => [message.id, message]));
  for (const message of messages) {
    all.set(message.id, message);
    if (message.author.id === me.peek().id) for (const heard of stored) heard(message);
  }
  state.messages.value = [...all.values()].sort((a, b) => a.id - b.id);
  const newest = state.messages.peek().at(-1);
  if (newest && newest.id >= (state.last.peek()?.id ?? 0)) state.last.value = newest;
  if (state.synced && newest) state.cursor = Math.max(state.cursor, newest.id);
}

socket.on("connect", () => {
  hello().catch((error: unknown) => {
    // Without this answer nothing can be shown: begin again, a moment later.
    if (error instanceof Unanswered || error instanceof Refused) setTimeout(() => socket.connected && connect(), 1_000);
    else throw error;
  });
});

socket.on("disconnect", () => {
  for (const state of rooms.peek().values()) state.synced = false;
});

socket.on("message", (message) => {
  const state = rooms.peek().get(message.room);
  if (!state) return;
  const isNew = message.id > (state.last.peek()?.id ?? 0);
  if (state.loaded.peek()) insert(state, [message]);
  else if (isNew) state.last.value = message;
  stopTyping(state, message.author.id);
  trim(state);
  if (message.author.id === me.peek().id || !isNew) return;
  if (!isInSight(state)) {
    if (state === active.peek() && !state.unread.peek()) state.divider.value = message.id - 1;
    state.unread.value += 1;
  }
  if (state === active.peek()) {
    const what = message.text || (message.file ? t().sentFile(message.file.name) : "");
    const news = { key: message.id, text: t().said(message.author.nick, what) };
    announcements.value = [...announcements.peek().slice(-9), news];
  }
  markSeen(state, { who: message.author, upto: message.id });
  for (const heard of arrivals) heard(state, message);
});

socket.on("room", (room) => {
  roomState(room).room.value = room;
});

socket.on("arrived", ({ room, who }) => {
  const state = rooms.peek().get(room);
  if (state) setHere(state, byNick([...state.here.peek().filter(({ id }) => id !== who.id), who]));
});

socket.on("departed", ({ room, who }) => {
  const state = rooms.peek().get(room);
  if (!state) return;
  stopTyping(state, who.id);
  setHere(state, state.here.peek().filter(({ id }) => id !== who.id));
  if (who.id === me.peek().id) state.joined.value = false; // left in another tab
});

socket.on("renamed", (who) => {
  if (who.id === me.peek().id) setMe(who);
  for (const state of rooms.peek().values()) {
    if (state.here.peek().some(({ id }) => id === who.id)) {
      state.here.value = byNick(state.here.peek().map((other) => (other.id === who.id ? who : other)));
    }
  }
});

socket.on("typing", ({ room, who, on }) => {
  const state = rooms.peek().get(room);
  if (!state || who.id === me.peek().id) return;
  if (!on) return stopTyping(state, who.id);
  state.typing.value = new Map(state.typing.peek()).set(who.id, who);
  clearTimeout(typingTimers.get(room + who.id));
  typingTimers.set(room + who.id, setTimeout(() => stopTyping(state, who.id), TYPING_LASTS_MS));
});

socket.on("seen", ({ room, who, upto }) => {
  const state = rooms.peek().get(room);
  if (!state) return;
  if (who.id !== me.peek().id) return markSeen(state, { who, upto });
  // Read in another tab of this person.
  state.upto = Math.max(state.upto, upto);
  if (upto >= (state.last.peek()?.id ?? 0)) state.unread.value = 0;
});

const typingTimers = new Map<string, ReturnType<typeof setTimeout>>();

function stopTyping(state: RoomState, person: string): void {
  if (!state.typing.peek().has(person)) return;
  const rest = new Map(state.typing.peek());
  rest.delete(person);
  state.typing.value = rest;
}

function markSeen(state: RoomState, mark: Mark): void {
  if ((state.seen.peek().get(mark.who.id)?.upto ?? -1) >= mark.upto) return;
  state.seen.value = new Map(state.seen.peek()).set(mark.who.id, mark);
}

function byNick(people: Who[]): Who[] {
  return people.sort((a, b) => a.nick.localeCompare(b.nick));
}

/** Let go of old messages while nobody looks at them. */
function trim(state: RoomState): void {
  if (state.messages.peek().length <= KEEP_MESSAGES || !(atNewest.peek() || state !== active.peek())) return;
  state.messages.value = state.messages.peek().slice(-KEEP_MESSAGES / 2);
  state.more.value = true;
}

// --- what people do -------------------------------------------------------------------------------------------------

function isInSight(state: RoomState): boolean {
  return state === active.peek() && atNewest.peek() && document.visibilityState === "visible" && document.hasFocus();
}

/** Show a room. */
export function open(id: string): void {
  const previous = active.peek();
  if (previous && previous.id !== id) previous.divider.value = null;
  activeId.value = id;
  lastRoom.value = id;
  atNewest.value = true;
  const address = `#${encodeURIComponent(id)}`;
  if (location.hash !== address) history.replaceState(null, "", address);
  void refresh();
}

/** Load the active room's newest page if it isn't there yet. */
async function refresh(): Promise<void> {
  const state = active.peek();
  if (!state) return;
  if (state.divider.peek() === null && state.unread.peek() > 0) state.divider.value = state.upto;
  if (!state.loaded.peek() || !state.joined.peek()) await load(state);
  markRead();
}

async function load(state: RoomState): Promise<void> {
  if (state.loading.peek() || !socket.connected) return;
  state.loading.value = true;
  try {
    const oldest = state.loaded.peek() && state.joined.peek() ? state.messages.peek()[0] : undefined;
    const page = await ask("history", oldest ? { room: state.id, before: oldest.id } : { room: state.id });
    state.loaded.value = true;
    state.more.value = page.more;
    insert(state, page.messages);
  } catch (error) {
    if (!(error instanceof Unanswered || error instanceof Refused)) throw error;
  } finally {
    state.loading.value = false;
  }
}

export async function loadOlder(state: RoomState): Promise<void> {
  if (state.more.peek() && state.loaded.peek()) await load(state);
}

/** Become a member of a room and show it. */
export async function join(id: string): Promise<void> {
  const { visit, here } = await ask("join", { room: id });
  enter(visit, here);
}

export async function create(name: string, topic: string): Promise<void> {
  const { visit, here } = await ask("create", { name, topic });
  enter(visit, here);
}

function enter(visit: Visit, here: Who[]): void {
  const state = roomState(visit.room);
  if (!state.joined.peek()) {
    // What was looked at from outside may have gaps: begin with a fresh page.
    state.messages.value = [];
    state.loaded.value = false;
  }
  applyVisit(visit, here);
  open(visit.room.id);
}

export async function leave(state: RoomState): Promise<void> {
  await ask("leave", { room: state.id });
  state.joined.value = false;
  state.unread.value = 0;
  setHere(state, state.here.peek().filter(({ id }) => id !== me.peek().id));
  const next = joinedRooms.peek()[0];
  if (next) open(next.id);
}

export async function rename(wanted: string): Promise<void> {
  const { me: renamed } = await ask("rename", { nick: wanted });
  setMe(renamed);
}

/** Tell the server that the active room's newest message was seen, if it was. */
export function markRead(): void {
  const state = active.peek();
  const newest = state?.last.peek();
  if (!state || !newest || !state.joined.peek() || !isInSight(state) || !state.loaded.peek()) return;
  state.unread.value = 0;
  if (newest.id <= state.upto || !socket.connected) return;
  state.upto = newest.id;
  ask("read", { room: state.id, upto: newest.id }).catch((error: unknown) => {
    if (!(error instanceof Unanswered || error instanceof Refused)) throw error;
  });
}

/** Go to the next or previous room in the list. */
export function step(by: 1 | -1): void {
  const list = joinedRooms.peek();
  const at = list.findIndex((state) => state.id === activeId.peek());
  const next = list[(at + by + list.length) % list.length];
  if (next) open(next.id);
}

addEventListener("hashchange", () => roomInAddress() && open(roomInAddress()));
addEventListener("focus", markRead);
document.addEventListener("visibilitychange", markRead);
