/** What the marks on the time lines mean, drawn as they are there. */

import { t } from "../i18n.ts";

export function Legend() {
  const words = t().legendOf;
  return (
    <ul class="legend" aria-label={t().legend}>
      <li>
        <svg viewBox="1 0 16 16" aria-hidden="true">
          <path class="k-ask" d="M4 14 14 3M14 3l-1 5M14 3 9 5" />
        </svg>
        {words.ask}
      </li>
      <li>
        <svg class="wide" viewBox="0 0 30 16" aria-hidden="true">
          <path class="k-held-area" d="M3 4h24l2 11H1Z" />
          <path class="k-held" d="M4 4h22" />
          <path class="k-hatch" d="M7 6.500l4-5M13 6.500l4-5M19 6.500l4-5" />
        </svg>
        {words.held}
      </li>
      <li>
        <svg viewBox="7 0 16 16" aria-hidden="true">
          <path class="k-empty" d="M12 1l5 10" />
          <circle class="k-ring" cx="18" cy="12.500" r="2.800" />
        </svg>
        {words.empty}
      </li>
      <li>
        <svg class="wide" viewBox="0 0 30 16" aria-hidden="true">
          <path class="k-band" d="M2 3h26l2 12H4Z" />
          <path class="k-open" d="M2 3h26" />
        </svg>
        {words.open}
      </li>
      <li>
        <svg viewBox="7 0 16 16" aria-hidden="true">
          <path class="k-down" d="M12 1l5 10" />
          <circle class="f-down" cx="18" cy="12.500" r="3.200" />
        </svg>
        {words.down}
      </li>
      <li>
        <svg viewBox="9 0 16 16" aria-hidden="true">
          <path class="k-up" d="M12 15l5-10" />
          <path class="f-up" d="M15 1h6v6h-6Z" />
        </svg>
        {words.up}
      </li>
      <li>
        <svg viewBox="7 0 16 16" aria-hidden="true">
          <path class="f-beat" d="M15 3l5 5-5 5-5-5Z" />
        </svg>
        {words.beat}
      </li>
      <li>
        <svg class="wide" viewBox="0 0 30 16" aria-hidden="true">
          <path class="f-ink" d="M4 12l4-7 4 7Z" />
          <path class="k-ink" d="M18 5l7 7M25 5l-7 7" />
        </svg>
        {words.connection}
      </li>
    </ul>
  );
}
