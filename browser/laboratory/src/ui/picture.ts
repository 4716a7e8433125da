/** All lanes and the table as one picture, with the date and the settings. */

import { lanes, settings } from "../bench.ts";
import { FONT } from "../draw/palette.ts";
import { drawStrip } from "../draw/strip.ts";
import { drawLegend, drawTimeline } from "../draw/timeline.ts";
import { explanation } from "../explanations.ts";
import * as format from "../format.ts";
import { t } from "../i18n.ts";
import { COLUMNS, marks, type Row } from "../model/table.ts";
import { language } from "../settings.ts";
import { edges, timeOrigin } from "../view.ts";
import { show } from "./LaneCard.tsx";
import { palette } from "./palette.ts";

const WIDTH = 1600;
const MARGIN = 48;
const HEAD = 156;
const LANE = 132;
const ROW = 40;
const NAMES = 210;
const STRIP = 250;

export async function picture(rows: readonly Row[]): Promise<Blob> {
  const colours = palette.value;
  const shown = lanes.value;
  const height = HEAD + shown.length * (LANE + 14) + 60 + (rows.length + 1) * ROW + MARGIN;
  const canvas = document.createElement("canvas");
  const ratio = WIDTH * height * 4 > 14_000_000 ? 1.5 : 2; // phones refuse canvases that are too large
  canvas.width = WIDTH * ratio;
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext("2d")!;
  ctx.scale(ratio, ratio);
  ctx.fillStyle = colours.paper;
  ctx.fillRect(0, 0, WIDTH, height);
  const write = (text: string, x: number, y: number, font: string, colour: string, align: CanvasTextAlign = "left", room?: number) => {
    ctx.font = `${font} ${FONT}`;
    ctx.fillStyle = colour;
    ctx.textAlign = align;
    ctx.textBaseline = "alphabetic";
    ctx.fillText(text, x, y, room);
  };

  write(t().title, MARGIN, 62, "700 30px", colours.ink);
  write(t().tagline, MARGIN, 90, "17px", colours.quiet);
  const by = settings.value;
  const what = t().settingsLine(
    t().rateUnit(format.count(by.rate)),
    format.bytes(by.size),
    t()[by.direction],
    by.binary ? t().binary : t().text,
    format.ms(by.delayMs),
  );
  write(new Date().toLocaleString(language.value, { dateStyle: "long", timeStyle: "short" }), WIDTH - MARGIN, 62, "600 17px", colours.ink, "right");
  write(what, WIDTH - MARGIN, 90, "17px", colours.quiet, "right");

  drawLegend(ctx, MARGIN, 126, colours, t().legendOf);

  const window = edges();
  let y = HEAD;
  for (const lane of shown) {
    ctx.fillStyle = colours.raised;
    ctx.strokeStyle = colours.line;
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.roundRect(MARGIN - 16, y, WIDTH - 2 * MARGIN + 32, LANE, 16);
    ctx.fill();
    ctx.stroke();
    const words = explanation(lane.name);
    write(words.name, MARGIN, y + 40, "700 19px", colours.ink, "left", NAMES - 12);
    write(words.tagline, MARGIN, y + 62, "13px", colours.quiet, "left", NAMES - 12);
    write(`p50 ${show("p50", lane.figures.value)}`, MARGIN, y + 92, "600 14px", colours.ink);
    write(`p99 ${show("p99", lane.figures.value)}`, MARGIN, y + 112, "14px", colours.quiet);
    const wide = WIDTH - 2 * MARGIN - NAMES - STRIP - 30;
    layer(ctx, MARGIN + NAMES, y + 4, wide, LANE - 8, (inner) =>
      drawTimeline(inner, lane.timeline, { width: wide, height: LANE - 8, ...window }, {
        palette: colours,
        words: { server: t().server, client: t().client },
        axis: true,
        focus: null,
        cursor: null,
        origin: timeOrigin(),
      }),
    );
    layer(ctx, WIDTH - MARGIN - STRIP, y + 16, STRIP, LANE - 32, (inner) => {
      const { down, up } = lane.distributions;
      drawStrip(inner, STRIP, LANE - 32, down, up, lane.figures.value ?? { p50: null, p95: null, p99: null }, colours);
    });
    y += LANE + 14;
  }

  y += 30;
  const found = marks(rows);
  const column = (WIDTH - 2 * MARGIN - NAMES) / COLUMNS.length;
  write(t().transport, MARGIN, y + 24, "600 14px", colours.quiet);
  COLUMNS.forEach(({ key }, place) => {
    write(t().columns[key], MARGIN + NAMES + (place + 1) * column, y + 24, "600 13px", colours.quiet, "right", column - 10);
  });
  for (const row of rows) {
    y += ROW;
    ctx.fillStyle = colours.line;
    ctx.fillRect(MARGIN, y, WIDTH - 2 * MARGIN, 1);
    write(explanation(row.name).name, MARGIN, y + 26, "600 15px", colours.ink, "left", NAMES - 10);
    COLUMNS.forEach(({ key }, place) => {
      const mark = found.get(key)?.get(row.name) ?? "";
      const sign = mark === "best" ? "▲ " : mark === "worst" ? "▽ " : "";
      const colour = mark === "best" ? colours.accent : mark === "worst" ? colours.up : colours.ink;
      write(sign + show(key, row.figures), MARGIN + NAMES + (place + 1) * column, y + 26, mark ? "700 14px" : "14px", colour, "right", column - 10);
    });
  }
  return new Promise((done, failed) => {
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the browser made no picture"))), "image/png");
  });
}

/** Draw something that begins at its own zero, and don't let it out of its frame. */
function layer(
  ctx: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  draw: (inner: CanvasRenderingContext2D) => void,
): void {
  const canvas = document.createElement("canvas");
  const { a } = ctx.getTransform();
  canvas.width = Math.round(width * a);
  canvas.height = Math.round(height * a);
  const inner = canvas.getContext("2d")!;
  inner.scale(a, a);
  draw(inner);
  ctx.drawImage(canvas, x, y, width, height);
}
