import { useEffect } from "preact/hooks";
import { active, step } from "../chat.ts";
import { refusal, status } from "../connection.ts";
import { t } from "../i18n.ts";
import { nick, showPeople } from "../settings.ts";
import { CreateRoom, Settings, WelcomeDialog } from "./dialogs.tsx";
import { Lightbox } from "./Lightbox.tsx";
import { People } from "./People.tsx";
import { RoomView } from "./RoomView.tsx";
import { Sidebar } from "./Sidebar.tsx";
import { dialog, drawer, focusComposer, narrow, pictures, touch } from "./view.ts";

const DRAWERS = { rooms: "sidebar", people: "people" };

export function App() {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
        event.preventDefault();
        if (dialog.peek() || pictures.peek()) return;
        if (narrow.matches) drawer.value = "rooms";
        const focusSearch = () => document.querySelector<HTMLInputElement>("#room-search")?.select();
        if (narrow.matches) setTimeout(focusSearch);
        else focusSearch();
      } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
        event.preventDefault();
        step(event.key === "ArrowUp" ? -1 : 1);
        focusComposer();
      } else if (event.key === "Escape" && drawer.peek()) {
        drawer.value = "";
        focusComposer();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  useEffect(() => {
    if (drawer.value) document.querySelector<HTMLElement>(`.${DRAWERS[drawer.value]} .close-drawer`)?.focus();
    else if (!touch.matches && !dialog.peek()) focusComposer();
  }, [drawer.value]);
  const people = showPeople.value && active.value !== null;
  return (
    <>
      <div class={`frame ${people ? "with-people" : ""}`} data-drawer={drawer.value}>
        <Sidebar />
        <RoomView />
        <People />
        <button class="scrim" tabIndex={-1} aria-hidden="true" onClick={() => (drawer.value = "")} />
      </div>
      {(!nick.value || refusal.value) && <WelcomeDialog />}
      {dialog.value === "settings" && <Settings />}
      {dialog.value === "create" && <CreateRoom />}
      {pictures.value && <Lightbox />}
      <div class="sr-only" role="status">
        {status.value === "offline" && nick.value ? t().offline : status.value === "online" ? t().stateOn : ""}
      </div>
    </>
  );
}
