/** The time line of a lane: drawn, and asked what something on it is. */

import { useEffect, useRef } from "preact/hooks";
import { effect } from "@preact/signals";
import { drawTimeline, itemAt, type View } from "../draw/timeline.ts";
import { explanation } from "../explanations.ts";
import * as format from "../format.ts";
import { t } from "../i18n.ts";
import type { Lane } from "../lane.ts";
import type { Item } from "../model/trace.ts";
import { cursor, edges, focus, goLive, heldAt, hold, onDraw, redraw, scroll, timeOrigin } from "../view.ts";
import { Sketch } from "./bits.tsx";
import { placeOf } from "./canvas.ts";
import { palette } from "./palette.ts";

const REACH = 14;
const MOVED = 4;

export function Line({ lane, axis }: { lane: Lane; axis: boolean }) {
  const ref = useRef<HTMLCanvasElement>(null);
  const view = useRef<View | null>(null);
  const drag = useRef<{ x: number; moved: boolean } | null>(null);

  useEffect(() => {
    const canvas = ref.current!;
    let inSight = true;
    const size = placeOf(canvas, redraw);
    const draw = () => {
      if (!inSight) return;
      const place = size.place();
      if (!place) return;
      const { from, to } = edges();
      view.current = { width: place.width, height: place.height, from, to };
      drawTimeline(place.ctx, lane.timeline, view.current, {
        palette: palette.value,
        words: { server: t().server, client: t().client },
        axis,
        focus: focus.value?.lane === lane.name ? focus.value.item : null,
        cursor: cursor.value,
        origin: timeOrigin(),
      });
    };
    const forget = onDraw(draw);
    const sight = new IntersectionObserver(
      ([entry]) => {
        inSight = entry!.isIntersecting;
        redraw();
      },
      { rootMargin: "120px" },
    );
    sight.observe(canvas);
    // A wheel that turns sideways, or with Shift, goes through time; any other goes through the page.
    const wheel = (event: WheelEvent) => {
      const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
      if (!view.current || Math.abs(sideways) <= Math.abs(event.shiftKey ? 0 : event.deltaY)) return;
      event.preventDefault();
      scroll((sideways / view.current.width) * (view.current.to - view.current.from));
    };
    canvas.addEventListener("wheel", wheel, { passive: false });
    const stop = effect(() => {
      void palette.value;
      void t();
      void heldAt.value;
      void focus.value;
      void cursor.value;
      redraw();
    });
    return () => {
      forget();
      stop();
      sight.disconnect();
      size.forget();
      canvas.removeEventListener("wheel", wheel);
    };
  }, [lane, axis]);

  const look = (event: PointerEvent) => {
    const at = view.current;
    if (!at) return;
    const x = event.offsetX;
    cursor.value = heldAt.value !== null || lane.state.value === "stopped" ? at.from + (x / at.width) * (at.to - at.from) : null;
    const item = itemAt(lane.timeline, at, axis, x, event.offsetY, event.pointerType === "touch" ? REACH * 2 : REACH);
    focus.value = item ? { lane: lane.name, item } : focus.value?.lane === lane.name ? null : focus.value;
  };

  const step = (event: KeyboardEvent) => {
    const at = view.current;
    if (!at) return;
    const sideways = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
    if (event.key === "End" || event.key === "Escape") goLive();
    else if (sideways && event.shiftKey) scroll((sideways * (at.to - at.from)) / 3);
    else if (sideways) {
      hold();
      const next = neighbour(lane.timeline.items, focus.value?.lane === lane.name ? focus.value.item : null, sideways, at);
      if (next) {
        if (next.sent < at.from) scroll(next.sent - at.from - 500);
        else if (next.arrived > at.to) scroll(next.arrived - at.to + 500);
        focus.value = { lane: lane.name, item: next };
      }
    } else return;
    event.preventDefault();
  };

  const { name } = explanation(lane.name);
  const figures = lane.figures.value;
  const summary =
    figures?.p50 == null
      ? t().stateOf[lane.state.value]!
      : `p50 ${format.ms(figures.p50)}, ${t().columns.requestsPerMinute} ${format.count(figures.requestsPerMinute ?? 0)}`;
  return (
    <div class="line">
      <canvas
        ref={ref}
        role="img"
        tabIndex={0}
        aria-label={t().lineOf(name, summary)}
        onPointerDown={(event) => {
          drag.current = { x: event.clientX, moved: false };
          event.currentTarget.setPointerCapture(event.pointerId);
        }}
        onPointerMove={(event) => {
          const held = drag.current;
          if (!held || !view.current) return look(event);
          const by = event.clientX - held.x;
          if (!held.moved && Math.abs(by) < MOVED) return;
          held.moved = true;
          held.x = event.clientX;
          hold();
          scroll((-by / view.current.width) * (view.current.to - view.current.from));
        }}
        onPointerUp={(event) => {
          const moved = drag.current?.moved;
          drag.current = null;
          if (!moved) {
            hold();
            look(event);
          }
        }}
        onPointerCancel={() => (drag.current = null)}
        onPointerLeave={(event) => {
          if (event.pointerType !== "touch" && !drag.current) {
            cursor.value = null;
            focus.value = null;
          }
        }}
        onKeyDown={step}
      />
      {lane.state.value === "idle" && (
        <p class="line-empty">
          <Sketch name={lane.name} />
          {t().notStarted}
        </p>
      )}
      <Tip lane={lane} view={view} />
    </div>
  );
}

function neighbour(items: readonly Item[], from: Item | null, by: number, view: View): Item | null {
  let place = from ? items.indexOf(from) : -1;
  if (place < 0) {
    place = items.findLastIndex((item) => item.sent <= view.to);
    return items[place] ?? null;
  }
  do place += by;
  while (items[place] && (items[place]!.role === "control" || items[place]!.role === "ok"));
  return items[place] ?? null;
}

/** What the thing under the pointer is. */
function Tip({ lane, view }: { lane: Lane; view: { current: View | null } }) {
  const found = focus.value;
  if (found?.lane !== lane.name || !view.current) return <p class="sr-only" role="status" />;
  const { item } = found;
  const { from, to } = edges();
  const share = ((item.sent + item.arrived) / 2 - from) / (to - from);
  const seconds = ((item.sent - timeOrigin()) / 1000).toFixed(2);
  const point = item.role === "open" || item.role === "close";
  return (
    <div
      class={`tip ${share > 0.5 ? "left" : "right"}`}
      role="status"
      style={{ [share > 0.5 ? "right" : "left"]: `calc(${100 * (share > 0.5 ? 1 - share : share)}% + 14px)` }}
    >
      <strong class={`role-${item.role}`}>{t().roles[item.role]}</strong>
      <span class="tip-label">
        {item.up ? "↑" : "↓"} {item.label}
      </span>
      <span>{point ? "" : `${t().bytes(format.whole(item.bytes))} · ${t().flight(format.ms(item.arrived - item.sent))}`}</span>
      <span class="quiet">
        {seconds} s · {t().connectionNo(String(item.connection))}
      </span>
    </div>
  );
}
