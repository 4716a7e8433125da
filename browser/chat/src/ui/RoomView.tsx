import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { active, join, ready, totalUnread, type RoomState } from "../chat.ts";
import { connect, Refused, status, Unanswered } from "../connection.ts";
import { problem, t } from "../i18n.ts";
import { drafts, sendFile } from "../outbox.ts";
import { nick, showPeople } from "../settings.ts";
import { Badge } from "./Badge.tsx";
import { Icon, IconButton, Logo } from "./bits.tsx";
import { Composer } from "./Composer.tsx";
import { Messages } from "./Messages.tsx";
import { drawer, focusComposer } from "./view.ts";

const peopleAsDrawer = matchMedia("(max-width: 1080px)");

export function RoomView() {
  const state = active.value;
  const over = useSignal(false);
  const depth = useRef(0);
  const carriesFiles = (event: DragEvent) => Boolean(state?.joined.peek() && event.dataTransfer?.types.includes("Files"));
  return (
    <main
      class="room"
      onDragEnter={(event) => {
        if (!carriesFiles(event)) return;
        depth.current += 1;
        over.value = true;
      }}
      onDragLeave={(event) => {
        if (carriesFiles(event) && --depth.current <= 0) over.value = false;
      }}
      onDragOver={(event) => carriesFiles(event) && event.preventDefault()}
      onDrop={(event) => {
        if (!state || !carriesFiles(event)) return;
        event.preventDefault();
        depth.current = 0;
        over.value = false;
        for (const file of event.dataTransfer?.files ?? []) void sendFile(state.id, file);
      }}
    >
      <Head state={state} />
      <Banner />
      {state ? (
        <>
          <Messages key={state.id} state={state} />
          {state.joined.value ? <Composer key={`composer ${state.id}`} state={state} /> : <Outside state={state} />}
        </>
      ) : (
        <div class="empty">
          <Logo />
          <p>{nick.value && !ready.value ? t().connecting : t().tagline}</p>
        </div>
      )}
      {over.value && (
        <div class="drop" aria-hidden="true">
          <Icon name="clip" />
          {t().dropHere}
        </div>
      )}
    </main>
  );
}

function Head({ state }: { state: RoomState | null }) {
  const words = t();
  const room = state?.room.value;
  const elsewhere = totalUnread.value - (state?.joined.value ? state.unread.value : 0);
  const togglePeople = () => {
    if (peopleAsDrawer.matches) drawer.value = drawer.peek() === "people" ? "" : "people";
    else showPeople.value = !showPeople.peek();
  };
  return (
    <header class="room-head">
      <span class="only-narrow menu">
        <IconButton icon="menu" label={elsewhere ? `${words.openRooms}, ${words.unread(elsewhere)}` : words.openRooms} onClick={() => (drawer.value = "rooms")} />
        {elsewhere > 0 && <span class="dot" aria-hidden="true" />}
      </span>
      <div class="room-title">
        <h2>{room?.name ?? words.app}</h2>
        {room?.topic && <p>{room.topic}</p>}
      </div>
      {state && (
        <button
          type="button"
          class="people-button"
          aria-label={`${words.showPeople}: ${words.hereCount(state.count.value)}`}
          aria-expanded={showPeople.value}
          title={words.showPeople}
          onClick={togglePeople}
        >
          <Icon name="people" />
          <span aria-hidden="true">{state.count.value}</span>
        </button>
      )}
      <Badge />
    </header>
  );
}

function unlessOffline(error: unknown): void {
  if (!(error instanceof Unanswered || error instanceof Refused)) throw error;
}

/** Says that the connection is gone, for as long as it is. */
function Banner() {
  const words = t();
  if (!nick.value || !ready.value || status.value === "online") return null;
  const waiting = drafts.value.filter((draft) => draft.state === "queued").length;
  return (
    <div class="banner" data-testid="banner">
      <Icon name="warn" />
      <span>
        {words.offline}
        {waiting > 0 && <b> ({waiting})</b>}
      </span>
      <button type="button" class="button small" onClick={connect} disabled={status.value === "connecting"}>
        {status.value === "connecting" ? words.connecting : words.retryNow}
      </button>
    </div>
  );
}

/** In place of the composer, while somebody only looks in. */
function Outside({ state }: { state: RoomState }) {
  const failure = useSignal("");
  const enter = async () => {
    try {
      await join(state.id);
      requestAnimationFrame(focusComposer);
    } catch (error) {
      if (!(error instanceof Refused)) return unlessOffline(error);
      failure.value = problem(error.problem.code);
    }
  };
  return (
    <div class="outside">
      <p>{failure.value || t().previewHint}</p>
      <button type="button" class="button primary" disabled={status.value !== "online"} onClick={() => void enter()}>
        {t().join}
      </button>
    </div>
  );
}
