import assert from "node:assert/strict";
import { test } from "node:test";
import type { Figures } from "../src/model/measure.ts";
import { cell, COLUMNS, marks, samplesCsv, sorted, tableCsv, type Row } from "../src/model/table.ts";

const NAMES = ["shortpolling", "polling", "websocket"];

function row(name: string, figures: Partial<Figures>): Row {
  const none = Object.fromEntries(COLUMNS.map(({ key }) => [key, null])) as unknown as Figures;
  return {
    name,
    settings: { rate: 5, size: 100, direction: "both", delayMs: 50, binary: false },
    shortPollMs: name === "shortpolling" ? 200 : null,
    figures: { ...none, seconds: 12.5, events: 60, late: 0, lost: 0, ...figures },
    atMs: Date.UTC(2026, 10, 23, 4, 5, 6),
    running: true,
  };
}

test("best and worst are marked, and those who are alike are alike", () => {
  const found = marks([
    row("shortpolling", { p50: 300, late: 4 }),
    row("polling", { p50: 100 }),
    row("websocket", { p50: 101 }),
    row("sse", { p50: 200 }),
  ]);
  assert.deepEqual([...found.get("p50")!], [
    ["polling", "best"],
    ["websocket", "best"],
    ["shortpolling", "worst"],
  ]);
  assert.deepEqual([...found.get("late")!], [["shortpolling", "worst"]], "to be as good as most is nothing special");
  assert.equal(found.get("lost")!.size, 0, "nobody lost anything");
  assert.equal(found.get("events")!.size, 0, "more events are no merit");
});

test("nobody is marked alone, or without a value", () => {
  assert.equal(marks([row("polling", { p50: 1 }), row("websocket", {})]).get("p50")!.size, 0);
});

test("nothing is the best of all", () => {
  const found = marks([row("polling", { requestsPerMinute: 120 }), row("websocket", { requestsPerMinute: 0 })]);
  assert.deepEqual(found.get("requestsPerMinute")!.get("websocket"), "best");
  assert.deepEqual(found.get("requestsPerMinute")!.get("polling"), "worst");
});

test("rows are sorted, and what has no value comes last", () => {
  const rows = [row("websocket", { p50: 5 }), row("polling", {}), row("shortpolling", { p50: 50 })];
  const names = (list: Row[]) => list.map((each) => each.name);
  assert.deepEqual(names(sorted(rows, "name", false, NAMES)), NAMES);
  assert.deepEqual(names(sorted(rows, "name", true, NAMES)), NAMES.toReversed());
  assert.deepEqual(names(sorted(rows, "p50", false, NAMES)), ["websocket", "shortpolling", "polling"]);
  assert.deepEqual(names(sorted(rows, "p50", true, NAMES)), ["shortpolling", "websocket", "polling"]);
  assert.deepEqual(names(rows), ["websocket", "polling", "shortpolling"], "the rows themselves stay");
});

test("the table as CSV", () => {
  const [head, first, second, ...rest] = tableCsv([row("shortpolling", { p50: 123.456789012 }), row("polling", {})]).split("\r\n");
  assert.deepEqual(rest, [""]);
  const columns = head!.split(",");
  const value = (line: string, column: string) => line.split(",")[columns.indexOf(column)];
  assert.equal(first!.split(",").length, columns.length);
  assert.equal(value(first!, "transport"), "shortpolling");
  assert.equal(value(first!, "latency_p50_ms"), "123.4568");
  assert.equal(value(first!, "measured_at"), "2026-11-23T04:05:06.000Z");
  assert.equal(value(first!, "short_poll_ms"), "200");
  assert.equal(value(first!, "binary"), "false");
  assert.equal(value(second!, "latency_p50_ms"), "");
  assert.equal(value(second!, "short_poll_ms"), "");
});

test("cells are quoted where they must be, and are never formulas", () => {
  assert.equal(cell('a "b", c'), '"a ""b"", c"');
  assert.equal(cell("=1+1"), "'=1+1");
  assert.equal(cell(-1.5), "-1.5");
  assert.equal(cell(0.1 + 0.2), "0.3");
  assert.equal(cell(null), "");
});

test("samples as CSV", () => {
  const csv = samplesCsv([
    ["polling", [{ atMs: 1_000, direction: "down", latencyMs: 12.5 }]],
    ["websocket", [{ atMs: 2_000, direction: "up", latencyMs: 3 }]],
  ]);
  assert.deepEqual(csv.split("\r\n"), [
    "transport,direction,received_at,latency_ms",
    "polling,down,1970-01-01T00:00:01.000Z,12.5",
    "websocket,up,1970-01-01T00:00:02.000Z,3",
    "",
  ]);
});
