/** Desktop notifications and the number in the page's title. */

import { effect, signal } from "@preact/signals";
import { joinedRooms, onArrival, open, totalUnread } from "./chat.ts";
import { t } from "./i18n.ts";
import { notify } from "./settings.ts";

type Permission = NotificationPermission | "unsupported";

export const permission = signal<Permission>("Notification" in window ? Notification.permission : "unsupported");

/** Switch notifications; the browser asks, so this is only ever called on a click. */
export async function switchNotifications(on: boolean): Promise<void> {
  if (on && permission.peek() === "default") permission.value = await Notification.requestPermission();
  notify.value = on && permission.peek() === "granted";
}

onArrival((state, message) => {
  const wanted = notify.peek() && permission.peek() === "granted" && document.visibilityState === "hidden";
  if (!wanted || !joinedRooms.peek().includes(state)) return;
  const body = message.text || (message.file ? t().sentFile(message.file.name) : "");
  try {
    const title = `${message.author.nick} · ${state.room.peek().name}`;
    const shown = new Notification(title, { body, tag: `madang:${state.id}`, icon: "favicon.svg" });
    shown.onclick = () => {
      window.focus();
      open(state.id);
      shown.close();
    };
  } catch {
    permission.value = "unsupported"; // phones want a service worker for this
  }
});

effect(() => {
  const unread = totalUnread.value;
  document.title = `${unread ? `(${unread > 99 ? "99+" : unread}) ` : ""}${t().app}`;
});
