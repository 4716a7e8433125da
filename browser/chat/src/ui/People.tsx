import { active, me } from "../chat.ts";
import { t } from "../i18n.ts";
import { Avatar, IconButton } from "./bits.tsx";
import { drawer } from "./view.ts";

export function People() {
  const state = active.value;
  const here = state?.here.value ?? [];
  return (
    <aside class="people" aria-label={t().here}>
      <header class="people-head">
        <h2>
          {t().here} <span class="count">{here.length}</span>
        </h2>
        <IconButton icon="close" label={t().close} class="only-drawer" onClick={() => (drawer.value = "")} />
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
    </aside>
  );
}
