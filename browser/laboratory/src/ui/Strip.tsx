/** The distribution of a lane's latency. */

import { useEffect, useRef } from "preact/hooks";
import { effect } from "@preact/signals";
import { pulse } from "../bench.ts";
import { drawStrip } from "../draw/strip.ts";
import { explanation } from "../explanations.ts";
import { t } from "../i18n.ts";
import type { Lane } from "../lane.ts";
import { placeOf } from "./canvas.ts";
import { palette } from "./palette.ts";

export function Strip({ lane }: { lane: Lane }) {
  const ref = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const canvas = ref.current!;
    const draw = () => {
      const place = size.place();
      if (!place) return;
      const { down, up } = lane.distributions;
      const none = { p50: null, p95: null, p99: null };
      drawStrip(place.ctx, place.width, place.height, down, up, lane.figures.peek() ?? none, palette.peek());
    };
    const size = placeOf(canvas, draw);
    const stop = effect(() => {
      void pulse.value;
      void palette.value;
      void lane.figures.value;
      draw();
    });
    return () => {
      size.forget();
      stop();
    };
  }, [lane]);
  return <canvas class="strip" ref={ref} role="img" aria-label={t().latencyOf(explanation(lane.name).name)} />;
}
