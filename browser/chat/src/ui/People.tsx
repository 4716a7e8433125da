import { active, leave, me, type RoomState } from "../chat.ts";
import { Refused, status, Unanswered } from "../connection.ts";
import { t } from "../i18n.ts";
import { Avatar, Icon, IconButton } from "./bits.tsx";
import { drawer } from "./view.ts";

async function go(state: RoomState): Promise<void> {
  try {
    await leave(state);
    drawer.value = "";
  } catch (error) {
    if (!(error instanceof Unanswered || error instanceof Refused)) throw error;
  }
}

export function People() {
  const state = active.value;
  const here = state?.here.value ?? [];
  return (
    <aside class="people" aria-label={t().here}>
      <header class="people-head">
        <h2>
          {t().here} <span class="count">{state?.count.value ?? 0}</span>
        </h2>
        <IconButton icon="close" label={t().close} class="only-drawer close-drawer" onClick={() => (drawer.value = "")} />
      </header>
      <ul>
        {here.map((who) => (
          <li key={who.id}>
            <Avatar nick={who.nick} size="small" />
            <span class="name">{who.nick}</span>
            {who.id === me.value.id && <span class="tag">{t().you}</span>}
            {state?.typing.value.has(who.id) && <span class="dots" aria-hidden="true"><i /><i /><i /></span>}
          </li>
        ))}
      </ul>
      {state?.joined.value && (
        <footer class="people-foot">
          <button type="button" class="leave" disabled={status.value !== "online"} onClick={() => void go(state)}>
            <Icon name="leave" />
            {t().leave}
          </button>
        </footer>
      )}
    </aside>
  );
}
