/** The comparison of what was just measured. */

import { useSignal } from "@preact/signals";
import { lanes, measureAnew, results, running, settings } from "../bench.ts";
import { explanation, LANES } from "../explanations.ts";
import * as format from "../format.ts";
import { t } from "../i18n.ts";
import { COLUMNS, marks, samplesCsv, sorted, tableCsv, type Column } from "../model/table.ts";
import { picture } from "./picture.ts";
import { Icon, Sketch } from "./bits.tsx";
import { show } from "./LaneCard.tsx";

export function Table() {
  const order = useSignal<{ by: Column | "name"; downwards: boolean }>({ by: "name", downwards: false });
  const rows = [...results.value.values()];
  const { by, downwards } = order.value;
  const found = marks(rows);
  const shown = sorted(rows, by, downwards, LANES);
  const turn = (column: Column | "name") => {
    order.value = { by: column, downwards: by === column ? !downwards : false };
  };
  const direction = (column: Column | "name") => (by === column ? (downwards ? "descending" : "ascending") : "none");
  const header = (column: Column | "name", text: string, hint: string) => (
    <th key={column} scope="col" aria-sort={direction(column)} title={hint}>
      <button type="button" onClick={() => turn(column)} aria-label={t().sortBy(text)}>
        {text.replaceAll("/", "/\u200b")}
        <span class="arrow" aria-hidden="true">
          {by === column ? (downwards ? "▾" : "▴") : ""}
        </span>
      </button>
    </th>
  );
  return (
    <section class="comparison" aria-labelledby="comparison">
      <header>
        <div>
          <h2 id="comparison">{t().comparison}</h2>
          <p class="quiet">{t().comparisonHint}</p>
        </div>
        <div class="exports" role="group" aria-label={t().exportLabel}>
          <button type="button" class="button small" disabled={!running.value} onClick={measureAnew}>
            <Icon name="retry" />
            {t().measureAnew}
          </button>
          <button type="button" class="button small" data-export="table" disabled={rows.length === 0} onClick={() => save(tableCsv(shown), "table.csv")}>
            <Icon name="download" />
            {t().exportTable}
          </button>
          <button
            type="button"
            class="button small"
            data-export="samples"
            disabled={rows.length === 0}
            onClick={() => save(samplesCsv(lanes.value.map((lane) => [lane.name, lane.measurement?.samples ?? []])), "samples.csv")}
          >
            <Icon name="download" />
            {t().exportSamples}
          </button>
          <button
            type="button"
            class="button small"
            data-export="picture"
            disabled={rows.length === 0}
            onClick={() => void picture(shown).then((blob) => save(blob, "picture.png"))}
          >
            <Icon name="download" />
            {t().exportPicture}
          </button>
        </div>
      </header>
      {rows.length === 0 ? (
        <p class="nothing">{t().comparisonEmpty}</p>
      ) : (
        <div class="table-frame" tabIndex={0} role="region" aria-labelledby="comparison">
          <table>
            <thead>
              <tr>
                {header("name", t().transport, "")}
                {COLUMNS.map(({ key }) => header(key, t().columns[key], t().columnHints[key]))}
              </tr>
            </thead>
            <tbody>
              {shown.map((row) => {
                const other = JSON.stringify(row.settings) !== JSON.stringify(settings.value);
                return (
                  <tr key={row.name} data-row={row.name} class={other ? "other" : ""}>
                    <th scope="row">
                      <Sketch name={row.name} />
                      <span>
                        {explanation(row.name).name}
                        <small>
                          {other ? t().otherSettings : t().measuredFor(format.duration(row.figures.seconds))}
                        </small>
                      </span>
                    </th>
                    {COLUMNS.map(({ key }) => {
                      const mark = found.get(key)?.get(row.name) ?? "";
                      return (
                        <td key={key} class={mark} data-column={key}>
                          <span>{show(key, row.figures)}</span>
                          {mark && <span class="sr-only"> ({mark === "best" ? t().best : t().worst})</span>}
                        </td>
                      );
                    })}
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
      {rows.length > 0 && (
        <p class="key quiet">
          <span class="best">{t().best}</span>
          <span class="worst">{t().worst}</span>
        </p>
      )}
    </section>
  );
}

function save(content: string | Blob, name: string): void {
  // Spreadsheets take a file for UTF-8 only if it says so.
  const blob = typeof content === "string" ? new Blob(["\ufeff", content], { type: "text/csv;charset=utf-8" }) : content;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `madang-laboratory-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}-${name}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
