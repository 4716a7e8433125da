/** The controls: which transports, which stream of events, what wire. */

import { hello, link, offers, running, start, stop } from "../bench.ts";
import { explanation } from "../explanations.ts";
import * as format from "../format.ts";
import { t } from "../i18n.ts";
import { roundValues } from "../model/scale.ts";
import type { Hello, Offer } from "../protocol.ts";
import { binary, chosen, delayMs, direction, rate, shortPollMs, size } from "../settings.ts";
import { goLive, heldAt, hold } from "../view.ts";
import { Choice, Icon, Sketch, Slider } from "./bits.tsx";

const LIMITS = { rate: [1, 200], size: [1, 100_000], delayMs: [0, 1_000], shortPollMs: [100, 5_000] } as const;

/** Where the controls stand above the lanes, go to what is to be seen. */
function begin(): void {
  start();
  if (matchMedia("(max-width: 960px)").matches) document.querySelector("main")?.scrollIntoView({ behavior: "smooth" });
}

/** Start, stop, pause: always in reach. */
export function Dock() {
  const live = heldAt.value === null;
  const on = running.value;
  const nothing = !offers.value.some(({ name, available }) => available && chosen.value.includes(name));
  return (
    <div class="dock">
      {on ? (
        <button type="button" class="button stop" onClick={stop}>
          <Icon name="stop" />
          {t().stop}
        </button>
      ) : (
        <button type="button" class="button primary" disabled={link.value !== "ready" || nothing} onClick={begin}>
          <Icon name="play" />
          {t().start}
        </button>
      )}
      <button type="button" class="button" aria-pressed={!live} disabled={!on && live} onClick={live ? hold : goLive}>
        <Icon name={live ? "pause" : "live"} />
        {live ? t().pause : t().live}
      </button>
    </div>
  );
}

function choose(name: string, on: boolean): void {
  chosen.value = on ? [...chosen.value, name] : chosen.value.filter((each) => each !== name);
}

/** What can be chosen, and what can't, with the reason. */
function Offers({ offers, labelledby }: { offers: readonly Offer[]; labelledby: string }) {
  return (
    <ul class="transports" aria-labelledby={labelledby}>
      {offers.map(({ name, available, why }) => (
        <li key={name}>
          <label class={available ? "" : "off"} title={available ? explanation(name).tagline : why || t().notHere}>
            <input
              type="checkbox"
              value={name}
              checked={available && chosen.value.includes(name)}
              disabled={!available}
              onChange={(event) => choose(name, event.currentTarget.checked)}
            />
            <Sketch name={name} />
            <span>
              {explanation(name).name}
              {!available && hello.value && <small>{t().notHere}</small>}
            </span>
          </label>
        </li>
      ))}
    </ul>
  );
}

export function Bench() {
  const limits: Hello["limits"] = hello.value?.limits ?? LIMITS;
  const ofToday = offers.value.filter((offer) => !offer.earlier);
  const earlier = offers.value.filter((offer) => offer.earlier);
  const usable = ofToday.filter((offer) => offer.available).map((offer) => offer.name);
  const allOn = usable.length > 0 && usable.every((name) => chosen.value.includes(name));
  return (
    <aside class="bench" aria-label={t().bench}>
      <Dock />
      <section>
        <div class="bench-head">
          <h2 id="transports">{t().transports}</h2>
          <button
            type="button"
            class="button small"
            onClick={() => (chosen.value = [...chosen.value.filter((name) => !usable.includes(name)), ...(allOn ? [] : usable)])}
            disabled={usable.length === 0}
          >
            {allOn ? t().none : t().all}
          </button>
        </div>
        <Offers offers={ofToday} labelledby="transports" />
        <details class="earlier" open={earlier.some(({ name }) => chosen.peek().includes(name))}>
          <summary>
            <span id="earlier">{t().earlier}</span>
            <small>{t().earlierHint}</small>
          </summary>
          <Offers offers={earlier} labelledby="earlier" />
        </details>
      </section>
      <section>
        <h2>{t().stream}</h2>
        <Slider
          label={t().rate}
          name="rate"
          value={rate.value}
          values={roundValues(...limits.rate)}
          show={(value) => t().rateUnit(format.count(value))}
          onInput={(value) => (rate.value = value)}
        />
        <Slider
          label={t().size}
          name="size"
          value={size.value}
          values={roundValues(...limits.size)}
          show={format.bytes}
          onInput={(value) => (size.value = value)}
        />
        <Choice
          label={t().direction}
          value={direction.value}
          options={[
            ["down", t().down],
            ["up", t().up],
            ["both", t().both],
          ]}
          onChoose={(value) => (direction.value = value)}
        />
        <Choice
          label={t().payload}
          value={binary.value ? "binary" : "text"}
          options={[
            ["text", t().text],
            ["binary", t().binary],
          ]}
          onChoose={(value) => (binary.value = value === "binary")}
        />
      </section>
      <section>
        <h2>{t().wire}</h2>
        <Slider
          label={t().delay}
          name="delay"
          value={delayMs.value}
          values={roundValues(...limits.delayMs, 5)}
          show={format.ms}
          onInput={(value) => (delayMs.value = value)}
        />
        <Slider
          label={t().shortPoll}
          name="short-poll"
          value={shortPollMs.value}
          values={roundValues(...limits.shortPollMs)}
          show={format.ms}
          onInput={(value) => (shortPollMs.value = value)}
        />
      </section>
    </aside>
  );
}
