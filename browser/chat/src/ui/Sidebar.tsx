import { useComputed } from "@preact/signals";
import { useRef } from "preact/hooks";
import { activeId, joinedRooms, me, open, otherRooms, ready, type RoomState } from "../chat.ts";
import { t } from "../i18n.ts";
import type { Message } from "../protocol.ts";
import { brief, hue, initial } from "../text.ts";
import { Avatar, Icon, IconButton, Logo } from "./bits.tsx";
import { dialog, drawer, focusComposer, proposedName, query } from "./view.ts";

const fold = (text: string) => text.normalize("NFKC").toLocaleLowerCase();

function preview(message: Message | null): string {
  if (!message) return "";
  const what = message.file ? (message.file.width ? t().sentPicture : t().sentFile(message.file.name)) : message.text;
  return t().said(message.author.id === me.value.id ? t().you : message.author.nick, what);
}

/** How well a room fits the words searched for: 0 its name begins so, 1 a word of it, 2 it has them somewhere, 3 not. */
function rank(state: RoomState, words: string[]): number {
  const room = state.room.value;
  const name = fold(room.name);
  const all = `${name} ${fold(room.topic)} ${room.id}`;
  if (!words.every((word) => all.includes(word))) return 3;
  if (name.startsWith(words.join(" "))) return 0;
  return words.every((word) => name.split(/[\s-]+/).some((part) => part.startsWith(word))) ? 1 : 2;
}

function go(id: string): void {
  open(id);
  query.value = "";
  drawer.value = "";
  focusComposer();
}

function Row({ state, marked }: { state: RoomState; marked: boolean }) {
  const room = state.room.value;
  const current = activeId.value === room.id;
  const unread = state.joined.value ? state.unread.value : 0;
  const last = state.last.value;
  const about = preview(last) || room.topic;
  return (
    <li>
      <button
        type="button"
        class={`room-row ${marked ? "marked" : ""} ${unread ? "has-unread" : ""} ${about ? "" : "lone"}`}
        aria-current={current ? "page" : undefined}
        onClick={() => go(room.id)}
      >
        <span class="room-glyph" data-hue={hue(room.id)} aria-hidden="true">
          {initial(room.name)}
        </span>
        <span class="room-name">{room.name}</span>
        {last && <span class="room-time">{brief(last.at, t())}</span>}
        {about && <span class="room-last">{about}</span>}
        {unread > 0 ? (
          <span class="pill">
            <span aria-hidden="true">{unread > 99 ? "99+" : unread}</span>
            <span class="sr-only">{t().unread(unread)}</span>
          </span>
        ) : (
          !state.joined.value && state.count.value > 0 && (
            <span class="room-count" title={t().hereCount(state.count.value)}>
              <Icon name="people" />
              {state.count.value}
            </span>
          )
        )}
      </button>
    </li>
  );
}

export function Sidebar() {
  const lists = useRef<HTMLElement>(null);
  const wanted = query.value.trim();
  const found = useComputed(() => {
    const words = fold(query.value.trim()).split(/\s+/);
    return [...joinedRooms.value, ...otherRooms.value]
      .map((state) => ({ state, rank: rank(state, words) }))
      .filter(({ rank }) => rank < 3)
      .sort((a, b) => a.rank - b.rank)
      .map(({ state }) => state);
  });
  const all = wanted ? found.value : [...joinedRooms.value, ...otherRooms.value];
  const sections: [string, RoomState[]][] = wanted
    ? [[t().rooms, all]]
    : [
        [t().yourRooms, joinedRooms.value],
        [t().otherRooms, otherRooms.value],
      ];
  const exact = all.some((state) => fold(state.room.value.name) === fold(wanted));
  const offers = wanted && !exact ? 1 : 0;
  const create = (name: string) => {
    proposedName.value = name;
    dialog.value = "create";
    query.value = "";
  };
  const leaveSearch = () => {
    query.value = "";
    drawer.value = "";
    focusComposer();
  };
  const rows = () => [...(lists.current?.querySelectorAll<HTMLElement>(".room-row") ?? [])];
  const onSearchKey = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") rows()[0]?.focus();
    else if (event.key === "ArrowUp") rows().at(-1)?.focus();
    else if (event.key === "Enter" && wanted) rows()[0]?.click();
    else if (event.key === "Escape") leaveSearch();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  /** In the list the arrow keys go from room to room; up from the first is the search again. */
  const onListKey = (event: KeyboardEvent) => {
    const all = rows();
    const at = all.indexOf(document.activeElement as HTMLElement);
    if (event.altKey || at < 0) return;
    if (event.key === "ArrowDown") all[Math.min(at + 1, all.length - 1)]?.focus();
    else if (event.key === "ArrowUp") (at ? all[at - 1] : document.getElementById("room-search"))?.focus();
    else if (event.key === "Home") all[0]?.focus();
    else if (event.key === "End") all.at(-1)?.focus();
    else if (event.key === "Escape") leaveSearch();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <aside class="sidebar" aria-label={t().rooms}>
      <header class="sidebar-head">
        <Logo />
        <h1>{t().app}</h1>
        <IconButton icon="plus" label={t().newRoom} onClick={() => create("")} />
        <IconButton icon="close" label={t().close} class="only-narrow close-drawer" onClick={() => (drawer.value = "")} />
      </header>
      <div class="search" role="search">
        <Icon name="search" />
        <input
          id="room-search"
          type="text"
          inputMode="search"
          enterkeyhint="go"
          autocomplete="off"
          spellcheck={false}
          maxLength={40}
          aria-controls="room-lists"
          aria-keyshortcuts="Control+K Meta+K"
          aria-label={t().searchRooms}
          placeholder={t().searchRooms}
          value={query.value}
          onInput={(event) => (query.value = event.currentTarget.value)}
          onKeyDown={onSearchKey}
        />
        {query.value ? (
          <IconButton icon="close" label={t().clearSearch} onClick={() => (query.value = "")} />
        ) : (
          <kbd aria-hidden="true">{/Mac|iPhone|iPad/.test(navigator.platform) ? "⌘K" : "Ctrl K"}</kbd>
        )}
      </div>
      <nav id="room-lists" class="room-lists" ref={lists} aria-label={t().rooms} onKeyDown={onListKey}>
        {sections.map(
          ([heading, list]) =>
            list.length > 0 && (
              <section key={heading} aria-label={heading}>
                <h2>{heading}</h2>
                <ul>
                  {list.map((state, i) => (
                    <Row key={state.id} state={state} marked={Boolean(wanted) && i === 0} />
                  ))}
                </ul>
              </section>
            ),
        )}
        {wanted && !all.length && <p class="hint">{t().noRooms}</p>}
        {offers > 0 && (
          <button
            type="button"
            class={`room-row create-row ${all.length ? "" : "marked"}`}
            onClick={() => create(wanted)}
          >
            <span class="room-glyph new" aria-hidden="true">
              <Icon name="plus" />
            </span>
            <span class="room-name">{t().createNamed(wanted)}</span>
          </button>
        )}
        {!ready.value && !all.length && !wanted && <p class="hint">{t().loading}</p>}
      </nav>
      <footer class="sidebar-foot">
        <Avatar nick={me.value.nick || "?"} />
        <span class="me">{me.value.nick}</span>
        <IconButton icon="gear" label={t().settings} onClick={() => (dialog.value = "settings")} />
      </footer>
    </aside>
  );
}
