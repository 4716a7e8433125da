/** The messages of a room: what the server has, then what is on its way there. */

import { useSignal } from "@preact/signals";
import { memo } from "preact/compat";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { announcements, atNewest, loadOlder, markRead, me, type RoomState } from "../chat.ts";
import { status } from "../connection.ts";
import { problem, t } from "../i18n.ts";
import { discard, drafts, retry, type Draft } from "../outbox.ts";
import type { Message, StoredFile, Who } from "../protocol.ts";
import { language } from "../settings.ts";
import { bytes, clock, dayLabel, fullTime, hue, isJumbo, linkify, startOfDay } from "../text.ts";
import { Avatar, Icon, IconButton, Logo, Ticks } from "./bits.tsx";
import { pictures } from "./view.ts";

const GROUP_MS = 5 * 60_000;
const NEAR_NEWEST_PX = 80;
const NEAR_OLDEST_PX = 400;
const PICTURE_PX = 340;

export function Messages({ state }: { state: RoomState }) {
  const words = t();
  const scroller = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const follow = useRef(true);
  const anchor = useRef<{ id: number; bottom: number } | null>(null);
  const missed = useSignal(0);
  const messages = state.messages.value;
  const pending = drafts.value.filter((draft) => draft.room === state.id);
  const oldest = messages[0]?.id;
  const newest = messages.at(-1)?.id;

  const toNewest = () => {
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  };

  const onScroll = () => {
    const element = scroller.current;
    if (!element) return;
    follow.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_NEWEST_PX;
    atNewest.value = follow.current;
    if (follow.current) {
      missed.value = 0;
      markRead();
    }
    if (element.scrollTop < NEAR_OLDEST_PX) {
      remember();
      void loadOlder(state);
    }
  };

  /** Note where the oldest message ends (its beginning may change), so that it stays there when older ones come. */
  const remember = () => {
    const first = list.current?.querySelector<HTMLElement>("[data-id]");
    if (first) anchor.current = { id: Number(first.dataset["id"]), bottom: first.getBoundingClientRect().bottom };
  };

  // Older messages were added above: hold what was in view where it was.
  useLayoutEffect(() => {
    const held = anchor.current;
    const element = held && list.current?.querySelector(`[data-id="${held.id}"]`);
    if (element && !follow.current) scroller.current!.scrollTop += element.getBoundingClientRect().bottom - held.bottom;
    anchor.current = null;
  }, [oldest]);

  // Newer ones were added below: follow them, unless somebody reads further up.
  useLayoutEffect(() => {
    if (follow.current) toNewest();
  }, [newest, pending.length, state.typing.value.size > 0]);
  const previousNewest = useRef(newest ?? 0);
  useEffect(() => {
    if (newest && newest > previousNewest.current && previousNewest.current) {
      const added = messages.filter((m) => m.id > previousNewest.current && m.author.id !== me.peek().id).length;
      if (!follow.current) missed.value += added;
    }
    previousNewest.current = newest ?? 0;
    markRead();
  }, [newest]);

  // A message of one's own is always worth following.
  const lastDraft = pending.at(-1)?.key;
  useLayoutEffect(() => {
    if (lastDraft) toNewest();
  }, [lastDraft]);

  // On entering: to the first unread message, or the newest. And keep the place when the window changes its size.
  useLayoutEffect(() => {
    if (!state.loaded.value) return;
    const line = list.current?.querySelector(".new-line");
    if (line) line.scrollIntoView({ block: "center" });
    else toNewest();
    onScroll();
  }, [state.loaded.value]);
  useEffect(() => {
    const observer = new ResizeObserver(() => follow.current && toNewest());
    observer.observe(scroller.current!);
    observer.observe(list.current!);
    return () => observer.disconnect();
  }, []);

  const gallery = () => messages.flatMap((m) => (m.file?.width ? [m.file] : []));
  const show = (file: StoredFile) => {
    const all = gallery();
    pictures.value = { all, at: all.findIndex((other) => other.id === file.id) };
  };

  const seen = useMemo(() => [...state.seen.value.values()].sort((a, b) => b.upto - a.upto), [state.seen.value]);
  const empty = state.loaded.value && !messages.length && !pending.length;

  return (
    <div class="messages">
      <div class="scroller" ref={scroller} onScroll={onScroll} tabIndex={0} role="region" aria-label={words.messages} aria-busy={state.loading.value}>
        <div class="before">
          {state.loading.value && <p class="hint loading">{messages.length ? words.loadingOlder : words.loading}</p>}
          {!state.more.value && messages.length > 0 && <p class="hint">{words.beginning(state.room.value.name)}</p>}
        </div>
        {empty && (
          <div class="empty">
            <Logo />
            <p>{words.emptyRoom}</p>
            {state.joined.value && <p class="quiet">{words.emptyRoomHint}</p>}
          </div>
        )}
        <ol ref={list} data-testid="messages">
          {messages.map((message, i) => {
            const before = messages[i - 1];
            const after = messages[i + 1];
            const newDay = !before || startOfDay(before.at) !== startOfDay(message.at);
            const divider = state.divider.value;
            const firstNew = divider !== null && message.id > divider && (!before || before.id <= divider);
            return (
              <Entry
                key={message.id}
                message={message}
                mine={message.author.id === me.value.id}
                start={newDay || firstNew || !before || !together(before, message)}
                end={!after || !together(message, after)}
                day={newDay ? dayLabel(message.at, words) : ""}
                firstNew={firstNew}
                seenBy={message.author.id === me.value.id ? readers(seen, message.id) : ""}
                lang={language.value}
                onShow={show}
              />
            );
          })}
          {pending.map((draft, i) => (
            <Pending key={draft.key} draft={draft} start={i === 0 && messages.at(-1)?.author.id !== me.value.id} />
          ))}
        </ol>
      </div>
      {!atNewest.value && (
        <button type="button" class="to-newest" onClick={toNewest}>
          {missed.value > 0 && <span>{words.unread(missed.value)}</span>}
          <Icon name="down" />
          <span class="sr-only">{words.toNewest}</span>
        </button>
      )}
      <div class="sr-only" role="log" aria-live="polite" aria-label={words.newMessages}>
        {announcements.value.map(({ key, text }) => <p key={key}>{text}</p>)}
      </div>
    </div>
  );
}

function together(a: Message, b: Message): boolean {
  return a.author.id === b.author.id && a.author.nick === b.author.nick && b.at - a.at < GROUP_MS && startOfDay(a.at) === startOfDay(b.at);
}

/** Who has read at least up to a message, as text: equal text lets an entry keep its rendering. */
function readers(seen: { who: Who; upto: number }[], id: number): string {
  const names: string[] = [];
  for (const mark of seen) {
    if (mark.upto < id || names.length === 12) break;
    names.push(mark.who.nick);
  }
  return names.join(", ");
}

interface EntryProps {
  message: Message;
  mine: boolean;
  start: boolean;
  end: boolean;
  day: string;
  firstNew: boolean;
  seenBy: string;
  lang: string;
  onShow: (file: StoredFile) => void;
}

const Entry = memo(
  function Entry({ message, mine, start, end, day, firstNew, seenBy, onShow }: EntryProps) {
    const words = t();
    const { author } = message;
    const state = seenBy ? words.seenBy(seenBy) : words.stored;
    return (
      <>
        {day && (
          <li class="day">
            <span>{day}</span>
          </li>
        )}
        {firstNew && (
          <li class="new-line">
            <span>{words.unreadLine}</span>
          </li>
        )}
        <li class={`message ${mine ? "mine" : ""} ${start ? "start" : ""} ${end ? "end" : ""}`} data-id={message.id}>
          {!mine && (start ? <Avatar nick={author.nick} /> : <span class="avatar-space" />)}
          <article class="stack" aria-label={mine ? words.you : author.nick}>
            {start && !mine && (
              <header class="author" data-hue={hue(author.nick)}>
                {author.nick}
                {author.id.startsWith("api:") && <span class="tag">{words.via}</span>}
              </header>
            )}
            <div class="line">
              <Content text={message.text} file={message.file} onShow={onShow} />
              <footer class="facts">
                {mine && (
                  <span class="state" title={state} data-state={seenBy ? "seen" : "stored"}>
                    <Ticks two={Boolean(seenBy)} />
                    <span class="sr-only">{state}</span>
                  </span>
                )}
                <time dateTime={new Date(message.at).toISOString()} title={fullTime(message.at)}>
                  {clock(message.at)}
                </time>
              </footer>
            </div>
          </article>
        </li>
      </>
    );
  },
  (a, b) =>
    a.message === b.message && a.mine === b.mine && a.start === b.start && a.end === b.end && a.day === b.day &&
    a.firstNew === b.firstNew && a.seenBy === b.seenBy && a.lang === b.lang,
);

function Content({ text, file, onShow }: { text: string; file: StoredFile | null; onShow: (file: StoredFile) => void }) {
  if (file?.width) {
    const [width, height] = fit(file.width, file.height);
    return (
      <button type="button" class="picture" aria-label={t().openPicture(file.name)} onClick={() => onShow(file)}>
        <img src={`api/files/${file.id}`} alt="" width={width} height={height} loading="lazy" decoding="async" />
      </button>
    );
  }
  if (file) {
    return (
      <a class="bubble attachment" href={`api/files/${file.id}?download`} download={file.name}>
        <span class="file-icon">
          <Icon name="file" />
          <b>{extension(file.name)}</b>
        </span>
        <span class="file-name">{file.name}</span>
        <span class="file-size">{bytes(file.size)}</span>
        <Icon name="download" />
      </a>
    );
  }
  return <Text text={text} />;
}

function Text({ text }: { text: string }) {
  if (isJumbo(text)) return <p class="jumbo">{text}</p>;
  return (
    <p class="bubble" dir="auto">
      {linkify(text).map((piece, i) =>
        piece.kind === "text" ? (
          piece.text
        ) : (
          <a key={i} href={piece.href} target="_blank" rel="noopener noreferrer nofollow ugc">
            {piece.text}
          </a>
        ),
      )}
    </p>
  );
}

/** A message that the server hasn't acknowledged. */
function Pending({ draft, start }: { draft: Draft; start: boolean }) {
  const words = t();
  const { file } = draft;
  const percent = file ? Math.round((100 * file.sent) / Math.max(1, file.blob.size)) : 0;
  const failed = draft.state === "failed";
  const state = failed ? words.notSent : status.value === "online" ? words.sending : words.queued;
  return (
    <li class={`message mine end pending ${draft.state} ${start ? "start" : ""}`} data-key={draft.key}>
      <div class="stack">
        <div class="line">
          {file ? <PendingFile file={file} percent={percent} /> : <Text text={draft.text} />}
          <footer class="facts">
            {failed ? (
              <>
                <IconButton icon="retry" label={words.retry} onClick={() => retry(draft.key)} />
                <IconButton icon="close" label={words.discard} onClick={() => discard(draft.key)} />
              </>
            ) : (
              <>
                {file && <IconButton icon="close" label={words.discard} onClick={() => discard(draft.key)} />}
                <span class="state" title={state} data-state={draft.state}>
                  <Icon name="clock" />
                  <span class="sr-only">{state}</span>
                </span>
                {status.value !== "online" && <span class="queued-note">{words.queued}</span>}
              </>
            )}
          </footer>
        </div>
        {failed && (
          <p class="problem" role="alert">
            {words.notSent}. {draft.problem ? problem(draft.problem) : ""}
          </p>
        )}
      </div>
    </li>
  );
}

function PendingFile({ file, percent }: { file: NonNullable<Draft["file"]>; percent: number }) {
  const label = t().uploading(percent);
  const progress = <progress max={100} value={percent} aria-label={label} />;
  if (file.picture) {
    const [width, height] = fit(file.width, file.height);
    return (
      <div class="picture uploading">
        <img src={file.url} alt={file.blob.name} width={width} height={height} />
        <span class="upload">
          <span>{percent} %</span>
          {progress}
        </span>
      </div>
    );
  }
  return (
    <div class="bubble attachment uploading">
      <span class="file-icon">
        <Icon name="file" />
        <b>{extension(file.blob.name)}</b>
      </span>
      <span class="file-name">{file.blob.name}</span>
      <span class="file-size">{`${bytes(file.sent)} / ${bytes(file.blob.size)}`}</span>
      {progress}
    </div>
  );
}

function fit(width: number, height: number): [number, number] {
  const scale = Math.min(1, PICTURE_PX / Math.max(width, height, 1));
  return [Math.max(48, Math.round(width * scale)), Math.max(48, Math.round(height * scale))];
}

function extension(name: string): string {
  const ending = /\.([A-Za-z0-9]{1,5})$/.exec(name)?.[1];
  return ending ? ending.toUpperCase() : "";
}
