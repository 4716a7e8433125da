/** One transport: its time line, its figures, and what there is to know about it. */

import { useSignal } from "@preact/signals";
import { explanation, type Explanation } from "../explanations.ts";
import * as format from "../format.ts";
import { t } from "../i18n.ts";
import type { Lane } from "../lane.ts";
import type { Column } from "../model/table.ts";
import type { Figures } from "../model/measure.ts";
import { chosen, density } from "../settings.ts";
import { Icon, Sketch } from "./bits.tsx";
import { Line } from "./Line.tsx";
import { Strip } from "./Strip.tsx";

const SHOW: Record<Column, (value: number) => string> = {
  p50: format.ms,
  p95: format.ms,
  p99: format.ms,
  requestsPerMinute: format.count,
  emptyShare: format.percent,
  upPerSecond: format.bytes,
  downPerSecond: format.bytes,
  overheadPerEvent: format.bytes,
  cpuPerEvent: format.ms,
  late: format.whole,
  lost: format.whole,
  events: format.whole,
};

export function show(column: Column, figures: Figures | null): string {
  const value = figures?.[column];
  return value === null || value === undefined ? "–" : SHOW[column](value);
}

const FULL: readonly Column[] = [
  "p50",
  "p95",
  "p99",
  "requestsPerMinute",
  "emptyShare",
  "overheadPerEvent",
  "upPerSecond",
  "downPerSecond",
  "cpuPerEvent",
  "late",
  "lost",
  "events",
];
const BRIEF: readonly Column[] = ["p50", "requestsPerMinute", "emptyShare", "p99", "overheadPerEvent", "cpuPerEvent"];

export function LaneCard({ lane }: { lane: Lane }) {
  const opened = useSignal<boolean | null>(null);
  const words = explanation(lane.name);
  const brief = density.value === "brief";
  const open = opened.value ?? !brief;
  const state = lane.state.value;
  const figures = lane.figures.value;
  return (
    <article class={`lane ${brief ? "brief" : "full"}`} data-lane={lane.name} data-state={state} aria-label={words.name}>
      <header class="lane-head">
        <Sketch name={lane.name} />
        <div class="lane-title">
          <h3>{words.name}</h3>
          <p>{words.tagline}</p>
        </div>
        <span class="state" data-state={state}>
          {t().stateOf[state]}
        </span>
        <button
          type="button"
          class="icon-button"
          aria-expanded={open}
          aria-label={t().explain(words.name)}
          title={t().explain(words.name)}
          onClick={() => (opened.value = !open)}
        >
          <Icon name="info" />
        </button>
        <button
          type="button"
          class="icon-button"
          aria-label={t().remove(words.name)}
          title={t().remove(words.name)}
          onClick={() => (chosen.value = chosen.value.filter((name) => name !== lane.name))}
        >
          <Icon name="close" />
        </button>
      </header>
      <Line lane={lane} axis={!brief} />
      <div class="lane-figures">
        <Strip lane={lane} />
        <dl>
          {(brief ? BRIEF : FULL).map((column) => (
            <div key={column} data-figure={column} title={t().columnHints[column]}>
              <dt>{(brief && t().shortColumns[column]) || t().columns[column]}</dt>
              <dd>{show(column, figures)}</dd>
            </div>
          ))}
        </dl>
      </div>
      {lane.problem.value && <p class="problem">{lane.problem.value}</p>}
      {open && <Words about={words} />}
    </article>
  );
}

/** A transport that can't run here: what it is, all the same. */
export function Absent({ name }: { name: string }) {
  const about = explanation(name);
  return (
    <article class="lane absent" aria-label={about.name}>
      <header class="lane-head">
        <Sketch name={name} />
        <div class="lane-title">
          <h3>{about.name}</h3>
          <p>{about.tagline}</p>
        </div>
        <span class="state">{t().notHere}</span>
      </header>
      <Words about={about} />
    </article>
  );
}

function Words({ about }: { about: Explanation }) {
  return (
    <div class="words">
      <section class="words-how">
        <h4>{t().how}</h4>
        <p>{about.how}</p>
      </section>
      <section>
        <h4>{t().costs}</h4>
        <p>{about.costs}</p>
      </section>
      <section>
        <h4>{t().choose}</h4>
        <p>{about.choose}</p>
      </section>
      <section>
        <h4>{t().proxies}</h4>
        <p>{about.proxies}</p>
      </section>
    </div>
  );
}
