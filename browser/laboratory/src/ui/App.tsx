import { useEffect } from "preact/hooks";
import { hello, lanes, link, offers, pulse, running } from "../bench.ts";
import * as format from "../format.ts";
import { t } from "../i18n.ts";
import { density, language, theme, windowMs } from "../settings.ts";
import { clock } from "../time.ts";
import { goLive, heldAt, hold, redraw } from "../view.ts";
import { Bench } from "./Bench.tsx";
import { Choice, Icon, Logo } from "./bits.tsx";
import { Absent, LaneCard } from "./LaneCard.tsx";
import { Legend } from "./Legend.tsx";
import { Table } from "./Table.tsx";

export function App() {
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.key !== " " || target.closest("button, input, a, summary") || event.ctrlKey || event.metaKey) return;
      if (!running.peek()) return;
      event.preventDefault();
      if (heldAt.peek() === null) hold();
      else goLive();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  return (
    <>
      <header class="top">
        <Logo />
        <div class="top-title">
          <h1>
            <span>{language.value === "ko" ? "마당" : "Madang"}</span> {t().app}
          </h1>
          <p>{t().tagline}</p>
        </div>
        <Choice
          bare
          label={t().themeLabel}
          value={theme.value}
          options={[
            ["auto", <Icon name="half" />, t().themeAuto],
            ["light", <Icon name="sun" />, t().themeLight],
            ["dark", <Icon name="moon" />, t().themeDark],
          ]}
          onChoose={(value) => (theme.value = value)}
        />
        <Choice
          bare
          label={t().languageLabel}
          value={language.value}
          options={[
            ["en", "English"],
            ["ko", "한국어"],
          ]}
          onChoose={(value) => (language.value = value)}
        />
      </header>
      {link.value !== "ready" && (
        <p class="notice" role="status">
          {link.value === "lost" ? t().control.lost : t().control.connecting}
        </p>
      )}
      <div class="frame">
        <Bench />
        <main>
          <div class="tools">
            <h2>{t().timelines}</h2>
            <div class="tools-choices">
              <Choice
                bare
                label={t().window}
                value={windowMs.value}
                options={[2_000, 5_000, 15_000, 40_000].map((ms) => [ms, t().seconds(ms / 1000)] as const)}
                onChoose={(value) => {
                  windowMs.value = value;
                  redraw();
                }}
              />
              <Choice
                bare
                label={t().density}
                value={density.value}
                options={[
                  ["full", t().full],
                  ["brief", t().brief],
                ]}
                onChoose={(value) => (density.value = value)}
              />
            </div>
            <Legend />
          </div>
          <section class="lanes" aria-label={t().lanes}>
            {lanes.value.length === 0 ? (
              <p class="nothing">{t().noLanes}</p>
            ) : (
              lanes.value.map((lane) => <LaneCard key={lane.name} lane={lane} />)
            )}
          </section>
          {density.value === "full" && hello.value && (
            <section class="lanes" aria-label={t().notHere}>
              {offers.value.map(({ name, available, earlier }) => !available && !earlier && <Absent key={name} name={name} />)}
            </section>
          )}
          <Table />
          <footer class="foot quiet">
            <span>{t().pauseHint}</span>
            <Clock />
            {hello.value && <span>{t().version(hello.value.version)}</span>}
            <a href="LICENSES.txt">{t().licences}</a>
          </footer>
        </main>
      </div>
    </>
  );
}

function Clock() {
  void pulse.value;
  return Number.isFinite(clock.uncertainty) ? <span>{t().clock(format.ms(clock.uncertainty))}</span> : null;
}
