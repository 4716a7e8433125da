/** The smallest parts: icons, the sketches of the transports, choices, sliders. */

import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import { wayOf } from "../explanations.ts";
import { nearest } from "../model/scale.ts";

const PATHS = {
  play: "M8 5.500v13l10.500-6.500L8 5.500Z",
  stop: "M7 7h10v10H7z",
  pause: "M8.500 6v12M15.500 6v12",
  live: "M12 9.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5ZM6.300 6.300a8 8 0 0 0 0 11.400M17.700 6.300a8 8 0 0 1 0 11.400",
  info: "M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17ZM12 11v5.500M12 7.600v.1",
  close: "M7 7l10 10M17 7 7 17",
  download: "M12 4v11M7 10.500 12 15.500l5-5M5 20h14",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M18.700 5.300l-1.400 1.400M6.700 17.300l-1.400 1.400",
  moon: "M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10Z",
  half: "M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17Zm0 0v17",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  retry: "M19.500 12a7.500 7.500 0 1 1-2.200-5.300L19.500 9M19.500 4v5h-5",
  warn: "M12 4 2.800 19.500h18.400L12 4Zm0 6v4.500M12 17.200v.1",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** Two rails, and something on its way between them. */
export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect class="logo-ground" width="32" height="32" rx="8" />
      <path class="logo-rails" d="M6.500 9.500h19M6.500 22.500h19" />
      <path class="logo-event" d="M10 22.500 14 9.500l4 13 4-13" />
    </svg>
  );
}

/** A transport in a few strokes: what its time line looks like. */
const SKETCHES: Record<string, JSX.Element> = {
  shortpolling: (
    <>
      <path class="k-ask" d="M5 20 7.500 5M17 20l2.500-15M29 20l2.500-15M41 20l2.500-15" />
      <path class="k-empty" d="M7.500 5 10 20M31.500 5 34 20M19.500 5 22 20" />
      <path class="k-down" d="M43.500 5 46 20" />
    </>
  ),
  polling: (
    <>
      <path class="k-held" d="M7 4.500h13M29 4.500h13" />
      <path class="k-ask" d="M4 20 7 5M25 20l3.500-15" />
      <path class="k-down" d="M20.500 5l3 15M42 5l3 15" />
    </>
  ),
  jsonp: (
    <>
      <path class="k-held" d="M13 4.500h20" />
      <path class="k-ask" d="M10 20l3-15" />
      <path class="k-down" d="M33 5l3 15" />
      <path class="k-ask" d="M5.500 8c-2 3-2 6 0 9M42.500 8c2 3 2 6 0 9" />
    </>
  ),
  multipart: (
    <>
      <path class="k-open" d="M6 4.500h38" />
      <path class="k-band" d="M6 5h38l2.500 15H8.500Z" />
      <path class="k-ask" d="M3 20 6 5" />
      <path class="k-down" d="M13 5l2.500 15M24 5l2.500 15M35 5l2.500 15" />
      <path class="k-cut" d="M19 8l1.500 9M30 8l1.500 9M41 8l1.500 9" />
    </>
  ),
  iframe: (
    <>
      <path class="k-band" d="M8 4h34v16H8Z" />
      <path class="k-open" d="M42 20H8V4h34" />
      <path class="k-down" d="M15 8l2.500 8.500M23.500 8l2.500 8.500M32 8l2.500 8.500" />
    </>
  ),
  sse: (
    <>
      <path class="k-open" d="M7 4.500h38" />
      <path class="k-band" d="M7 5h38l2.500 15H9.500Z" />
      <path class="k-ask" d="M4 20 7 5" />
      <path class="k-down" d="M14 5l2.500 15M22 5l2.500 15M36 5l2.500 15" />
    </>
  ),
  upgrade: (
    <>
      <path class="k-held" d="M7 4.500h10" />
      <path class="k-ask" d="M4 20 7 5" />
      <path class="k-down" d="M17.500 5l3 15M36 5l2.500 15" />
      <path class="k-open" d="M24 4.500h22M24 20h22" />
      <path class="k-band" d="M24 5h22v15H24Z" />
      <path class="k-up" d="M28 20l2.500-15" />
    </>
  ),
  websocket: (
    <>
      <path class="k-open" d="M4 4.500h42M4 20h42" />
      <path class="k-band" d="M4 5h42v15H4Z" />
      <path class="k-down" d="M11 5l2.500 15M27 5l2.500 15M38 5l2.500 15" />
      <path class="k-up" d="M18 20l2.500-15M33 20l2.500-15" />
    </>
  ),
  flashsocket: (
    <>
      <path class="k-open" d="M4 4.500h42M4 20h42" />
      <path class="k-band" d="M4 5h42v15H4Z" />
      <path class="k-up" d="M27 6l-7 7h6l-4 6" />
    </>
  ),
  webtransport: (
    <>
      <path class="k-open k-dots" d="M4 4.500h42M4 20h42" />
      <path class="k-band" d="M4 5h42v15H4Z" />
      <path class="k-down k-dots" d="M10 5l2.500 15M19 5l2.500 15M37 5l2.500 15" />
      <path class="k-up k-dots" d="M26 20l2.500-15M31 20l2.500-15" />
    </>
  ),
};

export function Sketch({ name }: { name: string }) {
  return (
    <svg class="sketch" viewBox="0 0 50 24" aria-hidden="true">
      <path class="k-rail" d="M2 4.500h46M2 20h46" />
      {SKETCHES[wayOf(name)]}
    </svg>
  );
}

interface ChoiceProps<T extends string | number> {
  label: string;
  value: T;
  options: readonly (readonly [T, ComponentChildren, string?])[];
  onChoose: (value: T) => void;
  bare?: boolean;
}

/** A row of radio buttons that looks like one control. */
export function Choice<T extends string | number>({ label, value, options, onChoose, bare }: ChoiceProps<T>) {
  const id = useId();
  return (
    <fieldset class={`choice ${bare ? "bare" : ""}`}>
      <legend class={bare ? "sr-only" : ""}>{label}</legend>
      <div class="choice-row">
        {options.map(([option, text, spoken]) => (
          <label key={option} title={spoken}>
            <input
              type="radio"
              name={id}
              value={String(option)}
              checked={option === value}
              aria-label={spoken}
              onChange={() => onChoose(option)}
            />
            <span>{text}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface SliderProps {
  label: string;
  name: string;
  value: number;
  values: readonly number[];
  show: (value: number) => string;
  onInput: (value: number) => void;
}

/** A slider over round values. */
export function Slider({ label, name, value, values, show, onInput }: SliderProps) {
  const id = useId();
  const place = nearest(values, value);
  const share = values.length > 1 ? place / (values.length - 1) : 0;
  return (
    <div class="slider">
      <label for={id}>{label}</label>
      <output for={id}>{show(value)}</output>
      <input
        id={id}
        name={name}
        type="range"
        min={0}
        max={values.length - 1}
        step={1}
        value={place}
        aria-valuetext={show(value)}
        style={{ "--share": String(share) }}
        onInput={(event) => onInput(values[event.currentTarget.valueAsNumber]!)}
      />
    </div>
  );
}
