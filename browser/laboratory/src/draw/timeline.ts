/**
 * A lane's time line: the server's rail above, the client's below, time from left to right. What travels is a line from one
 * to the other, as slanted as the wire is slow. What stays open is an area between them.
 */

import { tickMs } from "../model/scale.ts";
import type { Item, Role, Span, Timeline } from "../model/trace.ts";
import { FONT, type Palette } from "./palette.ts";

export interface View {
  readonly width: number;
  readonly height: number;
  /** The times at the left and the right edge, server clock. */
  readonly from: number;
  readonly to: number;
}

export interface Words {
  readonly server: string;
  readonly client: string;
}

export interface Look {
  readonly palette: Palette;
  readonly words: Words;
  /** Seconds are written below. */
  readonly axis: boolean;
  readonly focus: Item | null;
  /** A time to draw a line through, in all lanes. */
  readonly cursor: number | null;
  /** What time the axis counts from. */
  readonly origin: number;
}

const SIDE = 15; // between the edge and a rail
const AXIS = 16;

interface Rails {
  readonly server: number;
  readonly client: number;
}

export function rails(view: View, axis: boolean): Rails {
  return { server: SIDE, client: view.height - SIDE - (axis ? AXIS : 0) };
}

interface Style {
  readonly colour: keyof Palette;
  readonly width: number;
  readonly dash: readonly number[];
  readonly head: "none" | "arrow" | "dot" | "square" | "ring" | "diamond" | "tick";
  readonly alpha: number;
}

const STYLES: Record<Exclude<Role, "open" | "close">, Style> = {
  control: { colour: "ask", width: 0.75, dash: [], head: "none", alpha: 0.5 },
  ok: { colour: "ask", width: 1, dash: [], head: "none", alpha: 0.7 },
  ask: { colour: "ask", width: 1.25, dash: [], head: "arrow", alpha: 1 },
  head: { colour: "open", width: 1.75, dash: [], head: "arrow", alpha: 1 },
  empty: { colour: "empty", width: 1.25, dash: [3, 3], head: "ring", alpha: 1 },
  beat: { colour: "beat", width: 1.5, dash: [], head: "diamond", alpha: 1 },
  up: { colour: "up", width: 1.6, dash: [], head: "square", alpha: 1 },
  down: { colour: "down", width: 1.6, dash: [], head: "dot", alpha: 1 },
};

/** From the least important to what must be on top. */
const ORDER: readonly (keyof typeof STYLES)[] = ["control", "ok", "ask", "empty", "head", "beat", "up", "down"];

export function drawTimeline(ctx: CanvasRenderingContext2D, timeline: Timeline, view: View, look: Look): void {
  const { palette } = look;
  const { server, client } = rails(view, look.axis);
  const scale = view.width / (view.to - view.from);
  const x = (ms: number) => (ms - view.from) * scale;

  ctx.clearRect(0, 0, view.width, view.height);
  ctx.lineJoin = "round";
  drawGrid(ctx, view, look, x, server, client);
  for (const span of timeline.spans) drawSpan(ctx, span, view, palette, x, server, client);

  ctx.globalAlpha = 1;
  ctx.fillStyle = palette.lineStrong;
  ctx.fillRect(0, server - 0.75, view.width, 1.5);
  ctx.fillRect(0, client - 0.75, view.width, 1.5);
  for (const span of timeline.spans) drawRailsOf(ctx, span, view, palette, x, server, client);

  const first = timeline.firstAt(view.from);
  const { items } = timeline;
  for (const role of ORDER) {
    drawRole(ctx, items, first, role, view, palette, x, server, client, look.focus);
  }
  drawConnections(ctx, items, first, view, palette, x, client);
  if (look.focus) drawFocus(ctx, look.focus, palette, x, server, client);
  if (look.cursor !== null) {
    ctx.globalAlpha = 0.5;
    ctx.fillStyle = palette.ink;
    ctx.fillRect(x(look.cursor), 2, 1, view.height - 4 - (look.axis ? AXIS : 0));
    ctx.globalAlpha = 1;
  }
  drawNames(ctx, view, look, server, client);
}

function drawGrid(
  ctx: CanvasRenderingContext2D,
  view: View,
  look: Look,
  x: (ms: number) => number,
  server: number,
  client: number,
): void {
  const step = tickMs(view.to - view.from, Math.max(3, view.width / 130));
  ctx.fillStyle = look.palette.line;
  ctx.globalAlpha = 0.8;
  const begin = look.origin + Math.ceil((view.from - look.origin) / step) * step;
  for (let ms = begin; ms <= view.to; ms += step) ctx.fillRect(Math.round(x(ms)), server, 1, client - server);
  ctx.globalAlpha = 1;
  if (!look.axis) return;
  ctx.fillStyle = look.palette.quiet;
  ctx.font = `11px ${FONT}`;
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "center";
  for (let ms = begin; ms <= view.to; ms += step) {
    const seconds = (ms - look.origin) / 1000;
    if (seconds < 0) continue;
    const text = step < 1000 ? seconds.toFixed(step < 100 ? 2 : 1) : String(Math.round(seconds));
    const place = x(ms);
    if (place > 14 && place < view.width - 14) ctx.fillText(`${text} s`, place, view.height - 5);
  }
}

/** The area of what is open: a question without its answer, a response without its end, a socket. */
function drawSpan(
  ctx: CanvasRenderingContext2D,
  span: Span,
  view: View,
  palette: Palette,
  x: (ms: number) => number,
  server: number,
  client: number,
): void {
  if (Math.min(span.from, span.clientFrom) > view.to) return;
  if (span.to !== null && Math.max(span.to, span.clientTo ?? span.to) < view.from) return;
  const from = Math.max(-40, x(span.from));
  const clientFrom = Math.max(-40, x(span.clientFrom));
  const to = Math.min(view.width + 40, x(Math.min(span.to ?? view.to, view.to + 1000)));
  const clientTo = Math.min(view.width + 40, x(Math.min(span.clientTo ?? view.to, view.to + 1000)));
  ctx.globalAlpha = span.what === "held" ? 0.2 : span.what === "stream" ? 0.17 : 0.1;
  ctx.fillStyle = span.what === "held" ? palette.held : palette.open;
  ctx.beginPath();
  ctx.moveTo(from, server);
  ctx.lineTo(to, server);
  ctx.lineTo(clientTo, client);
  ctx.lineTo(clientFrom, client);
  ctx.closePath();
  ctx.fill();
  ctx.globalAlpha = 1;
}

/** On the rails: who has something open there. */
function drawRailsOf(
  ctx: CanvasRenderingContext2D,
  span: Span,
  view: View,
  palette: Palette,
  x: (ms: number) => number,
  server: number,
  client: number,
): void {
  if (span.to !== null && Math.max(span.to, span.clientTo ?? span.to) < view.from) return;
  const from = Math.max(-10, x(span.from));
  const to = Math.min(view.width + 10, x(span.to ?? view.to));
  if (to - from < 1.5) return;
  if (span.what === "held") {
    // Hatched, so that waiting is not told by colour alone.
    ctx.fillStyle = palette.held;
    ctx.beginPath();
    ctx.roundRect(from, server - 4, to - from, 8, 4);
    ctx.fill();
    if (to - from > 14) {
      ctx.save();
      ctx.clip();
      ctx.strokeStyle = palette.paper;
      ctx.globalAlpha = 0.55;
      ctx.lineWidth = 1.5;
      ctx.beginPath();
      const step = 7;
      // The pattern belongs to the span: it moves with it, and doesn't swim.
      for (let place = from - ((from - x(span.from)) % step); place < to + 8; place += step) {
        ctx.moveTo(place - 4, server + 4);
        ctx.lineTo(place + 4, server - 4);
      }
      ctx.stroke();
      ctx.restore();
    }
    return;
  }
  ctx.fillStyle = palette.open;
  ctx.fillRect(from, server - 2, to - from, 4);
  const clientFrom = Math.max(-10, x(span.clientFrom));
  const clientTo = Math.min(view.width + 10, x(span.clientTo ?? view.to));
  // A stream is open on the server's side only; a socket on both.
  if (span.what === "socket" && clientTo > clientFrom) ctx.fillRect(clientFrom, client - 2, clientTo - clientFrom, 4);
}

function drawRole(
  ctx: CanvasRenderingContext2D,
  items: readonly Item[],
  first: number,
  role: keyof typeof STYLES,
  view: View,
  palette: Palette,
  x: (ms: number) => number,
  server: number,
  client: number,
  focus: Item | null,
): void {
  const style = STYLES[role];
  const lines = new Path2D();
  const heads = new Path2D();
  let any = false;
  let lastUp = -1e9;
  let lastDown = -1e9;
  for (let index = first; index < items.length; index += 1) {
    const item = items[index]!;
    if (item.sent > view.to) break;
    if (item.role !== role || item.arrived < view.from || item === focus) continue;
    const begin = x(item.sent);
    const end = x(item.arrived);
    // More than two in a pixel look like one.
    if (item.up) {
      if (end - lastUp < 0.5) continue;
      lastUp = end;
    } else {
      if (end - lastDown < 0.5) continue;
      lastDown = end;
    }
    any = true;
    const top = item.up ? client : server;
    const bottom = item.up ? server : client;
    const flight = item.arrived <= view.to ? 1 : (view.to - item.sent) / (item.arrived - item.sent);
    const headX = begin + (end - begin) * flight;
    const headY = top + (bottom - top) * flight;
    // Frames and datagrams are small: marks near both rails, a thin line between.
    lines.moveTo(begin, top);
    lines.lineTo(headX, headY);
    addHead(heads, style.head, headX, headY, end - begin, bottom - top);
  }
  if (!any) return;
  const colour = palette[style.colour];
  ctx.globalAlpha = style.alpha;
  ctx.strokeStyle = colour;
  ctx.lineWidth = style.width;
  ctx.setLineDash(style.dash as number[]);
  ctx.stroke(lines);
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
  if (style.head === "ring") {
    ctx.fillStyle = palette.paper;
    ctx.fill(heads);
    ctx.lineWidth = 1.5;
    ctx.stroke(heads);
  } else if (style.head === "arrow") {
    ctx.lineWidth = style.width + 0.25;
    ctx.stroke(heads);
  } else {
    ctx.fillStyle = colour;
    ctx.fill(heads);
  }
}

function addHead(path: Path2D, head: Style["head"], x: number, y: number, dx: number, dy: number): void {
  switch (head) {
    case "dot":
      path.moveTo(x + 3.4, y);
      path.arc(x, y, 3.4, 0, 2 * Math.PI);
      break;
    case "ring":
      path.moveTo(x + 3.2, y);
      path.arc(x, y, 3.2, 0, 2 * Math.PI);
      break;
    case "square":
      path.rect(x - 3, y - 3, 6, 6);
      break;
    case "diamond":
      path.moveTo(x, y - 4.6);
      path.lineTo(x + 4.6, y);
      path.lineTo(x, y + 4.6);
      path.lineTo(x - 4.6, y);
      path.closePath();
      break;
    case "arrow": {
      const angle = Math.atan2(dy, dx);
      for (const side of [-0.45, 0.45]) {
        path.moveTo(x, y);
        path.lineTo(x - 6 * Math.cos(angle + side), y - 6 * Math.sin(angle + side));
      }
      break;
    }
  }
}

function drawConnections(
  ctx: CanvasRenderingContext2D,
  items: readonly Item[],
  first: number,
  view: View,
  palette: Palette,
  x: (ms: number) => number,
  client: number,
): void {
  ctx.strokeStyle = palette.ink;
  ctx.fillStyle = palette.ink;
  ctx.lineWidth = 1.5;
  for (let index = first; index < items.length; index += 1) {
    const item = items[index]!;
    if (item.sent > view.to) break;
    if (item.sent < view.from || (item.role !== "open" && item.role !== "close")) continue;
    const place = x(item.sent);
    ctx.beginPath();
    if (item.role === "open") {
      ctx.moveTo(place - 4, client + 9.500);
      ctx.lineTo(place, client + 3);
      ctx.lineTo(place + 4, client + 9.500);
      ctx.closePath();
      ctx.fill();
    } else {
      ctx.moveTo(place - 3, client + 3.5);
      ctx.lineTo(place + 3, client + 9.500);
      ctx.moveTo(place + 3, client + 3.5);
      ctx.lineTo(place - 3, client + 9.500);
      ctx.stroke();
    }
  }
}

function drawFocus(
  ctx: CanvasRenderingContext2D,
  item: Item,
  palette: Palette,
  x: (ms: number) => number,
  server: number,
  client: number,
): void {
  const style = item.role === "open" || item.role === "close" ? STYLES.ask : STYLES[item.role];
  const [top, bottom] = item.up ? [client, server] : [server, client];
  const begin = x(item.sent);
  const end = x(item.arrived);
  ctx.lineCap = "round";
  ctx.strokeStyle = palette.paper;
  ctx.lineWidth = 8;
  ctx.beginPath();
  ctx.moveTo(begin, top);
  ctx.lineTo(end, bottom);
  ctx.stroke();
  ctx.strokeStyle = palette[style.colour];
  ctx.lineWidth = 3.5;
  ctx.stroke();
  ctx.lineCap = "butt";
  ctx.fillStyle = palette[style.colour];
  for (const [place, rail] of [
    [begin, top],
    [end, bottom],
  ] as const) {
    ctx.beginPath();
    ctx.arc(place, rail, 5, 0, 2 * Math.PI);
    ctx.fill();
  }
}

function drawNames(ctx: CanvasRenderingContext2D, view: View, look: Look, server: number, client: number): void {
  ctx.font = `600 10.5px ${FONT}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  for (const [text, y] of [
    [look.words.server, server],
    [look.words.client, client],
  ] as const) {
    const width = ctx.measureText(text).width + 12;
    ctx.fillStyle = look.palette.raised;
    ctx.strokeStyle = look.palette.line;
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.roundRect(6.5, Math.min(y, view.height - 8) - 8, width, 16, 8);
    ctx.fill();
    ctx.stroke();
    ctx.fillStyle = look.palette.quiet;
    ctx.fillText(text, 12.5, y + 0.5);
  }
}

/** What the marks mean, in one row; returns how wide it is. */
export function drawLegend(ctx: CanvasRenderingContext2D, x: number, y: number, palette: Palette, words: LegendWords): number {
  let at = x;
  ctx.font = `14px ${FONT}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  const write = (text: string) => {
    ctx.fillStyle = palette.quiet;
    ctx.fillText(text, at, y + 0.5);
    at += ctx.measureText(text).width + 26;
  };
  for (const [role, text] of [
    ["ask", words.ask],
    ["empty", words.empty],
    ["down", words.down],
    ["up", words.up],
    ["beat", words.beat],
  ] as const) {
    const style = STYLES[role];
    const [top, bottom] = role === "ask" || role === "up" ? [y + 9, y - 8] : [y - 9, y + 8];
    const heads = new Path2D();
    addHead(heads, style.head, at + 10, bottom, 6, bottom - top);
    ctx.strokeStyle = palette[style.colour];
    ctx.fillStyle = style.head === "ring" ? palette.paper : palette[style.colour];
    ctx.lineWidth = style.width;
    ctx.setLineDash(style.dash as number[]);
    ctx.beginPath();
    ctx.moveTo(at + 4, top);
    ctx.lineTo(at + 10, bottom);
    ctx.stroke();
    ctx.setLineDash([]);
    if (style.head !== "arrow") ctx.fill(heads);
    if (style.head === "arrow" || style.head === "ring") ctx.stroke(heads);
    at += 22;
    write(text);
  }
  for (const [colour, alpha, text] of [
    ["held", 0.2, words.held],
    ["open", 0.17, words.open],
  ] as const) {
    ctx.fillStyle = palette[colour];
    ctx.fillRect(at, y - 8, 28, 5);
    ctx.globalAlpha = alpha;
    ctx.fillRect(at, y - 3, 28, 12);
    ctx.globalAlpha = 1;
    at += 36;
    write(text);
  }
  return at - 26 - x;
}

export type LegendWords = Record<"ask" | "empty" | "down" | "up" | "beat" | "held" | "open", string>;

/** The thing nearest to a point, if one is near. */
export function itemAt(timeline: Timeline, view: View, axis: boolean, pointX: number, pointY: number, reach: number): Item | null {
  const { server, client } = rails(view, axis);
  const scale = view.width / (view.to - view.from);
  let best: Item | null = null;
  let nearest = reach;
  for (let index = timeline.firstAt(view.from); index < timeline.items.length; index += 1) {
    const item = timeline.items[index]!;
    if (item.sent > view.to) break;
    if (item.arrived < view.from) continue;
    const begin = (item.sent - view.from) * scale;
    const end = (item.arrived - view.from) * scale;
    let distance: number;
    if (item.role === "open" || item.role === "close") distance = Math.hypot(pointX - begin, pointY - client - 6);
    else distance = item.up ? toLine(pointX, pointY, begin, client, end, server) : toLine(pointX, pointY, begin, server, end, client);
    // What carries something is meant rather than what doesn't.
    if (item.role === "control" || item.role === "ok") distance += 3;
    if (distance < nearest) {
      nearest = distance;
      best = item;
    }
  }
  return best;
}

function toLine(x: number, y: number, x1: number, y1: number, x2: number, y2: number): number {
  const dx = x2 - x1;
  const dy = y2 - y1;
  const along = Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(x - x1 - along * dx, y - y1 - along * dy);
}
