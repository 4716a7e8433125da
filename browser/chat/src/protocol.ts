/** What goes over the wire; mirrors src/madang/apps/chat/protocol.py. */

export interface Who {
  id: string;
  nick: string;
}

export interface StoredFile {
  id: string;
  name: string;
  type: string;
  size: number;
  width: number;
  height: number;
}

export interface Message {
  id: number;
  room: string;
  key: string;
  author: Who;
  text: string;
  file: StoredFile | null;
  at: number;
}

export interface Room {
  id: string;
  name: string;
  topic: string;
}

export interface Page {
  messages: Message[];
  more: boolean;
}

export interface Mark {
  who: Who;
  upto: number;
}

export interface Visit extends Page {
  room: Room;
  last: Message | null;
  unread: number;
  upto: number;
  seen: Mark[];
  reset: boolean;
}

export interface Limits {
  text: number;
  file: number;
  chunk: number;
  nick: number;
}

export interface Welcome {
  me: Who;
  limits: Limits;
  rooms: Room[];
  counts: Record<string, number>;
  visits: Visit[];
  here: Record<string, Who[]>;
}

export interface Problem {
  code: string;
  message: string;
  retry_after?: number;
}

export interface InRoom {
  room: string;
  who: Who;
}

export type Answer<T> = T | { error: Problem };

/** Requests: the event, what it asks, what it answers. */
export interface Requests {
  hello: [ask: { rooms: Record<string, number> }, answer: Welcome];
  create: [ask: { name: string; topic: string }, answer: { visit: Visit; here: Who[] }];
  join: [ask: { room: string }, answer: { visit: Visit; here: Who[] }];
  leave: [ask: { room: string }, answer: object];
  history: [ask: { room: string; before?: number }, answer: Page];
  say: [ask: { room: string; key: string; text: string; file: string | null }, answer: { message: Message }];
  typing: [ask: { room: string; on: boolean }, answer: object];
  read: [ask: { room: string; upto: number }, answer: object];
  rename: [ask: { nick: string }, answer: { me: Who }];
  upload_start: [
    ask: { name: string; size: number; width: number; height: number },
    answer: { upload: string; chunk: number },
  ];
  upload_chunk: [
    ask: { upload: string; offset: number; data: ArrayBuffer },
    answer: { received: number; file: StoredFile | null },
  ];
}

/** Emitting goes through `ask`, which knows `Requests`; to the client library every event is alike. */
export type ToServer = Record<string, (...args: any[]) => void>;

/** What the server tells unasked. */
export interface FromServer {
  message: (message: Message) => void;
  room: (room: Room) => void;
  arrived: (news: InRoom) => void;
  departed: (news: InRoom) => void;
  renamed: (who: Who) => void;
  typing: (news: InRoom & { on: boolean }) => void;
  seen: (news: InRoom & { upto: number }) => void;
}
