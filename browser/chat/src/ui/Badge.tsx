/** Which transport carries this page, its upgrade as it happens, and how long a round trip takes: live. */

import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import * as link from "../connection.ts";
import { t } from "../i18n.ts";
import { bytes, duration, milliseconds } from "../text.ts";
import { Choice, Icon } from "./bits.tsx";

export function Badge() {
  const open = useSignal(false);
  const root = useRef<HTMLDivElement>(null);
  const words = t();
  const online = link.status.value === "online";
  const name = link.transport.value;
  const label = online ? (name === "websocket" ? "WebSocket" : "Polling") : link.status.value === "connecting" ? words.connecting : words.stateOff;
  const rtt = link.roundTrip.value;
  const shown = online && rtt !== null ? milliseconds(rtt) : "";

  useEffect(() => {
    if (!open.value) return;
    const outside = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !root.current?.contains(event.target as Node)) {
        open.value = false;
        if (event instanceof KeyboardEvent) root.current?.querySelector("button")?.focus();
      }
    };
    addEventListener("pointerdown", outside);
    addEventListener("keydown", outside);
    return () => {
      removeEventListener("pointerdown", outside);
      removeEventListener("keydown", outside);
    };
  }, [open.value]);

  return (
    <div class="badge-root" ref={root}>
      <button
        type="button"
        class={`badge ${online ? name : "off"} ${link.upgrading.value ? "upgrading" : ""}`}
        data-testid="badge"
        aria-expanded={open.value}
        aria-controls="badge-details"
        aria-label={words.badge(label, shown || words.noRoundTrip)}
        onClick={() => (open.value = !open.value)}
      >
        <Icon name={!online ? "warn" : name === "websocket" ? "bolt" : "poll"} />
        <span class="badge-name">{label}</span>
        {link.upgrading.value && <span class="badge-upgrade" aria-hidden="true"><i /><i /><i /></span>}
        {shown && <span class="badge-rtt">{shown}</span>}
      </button>
      {open.value && <Details />}
    </div>
  );
}

function Details() {
  const words = t();
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const online = link.status.value === "online";
  const trips = link.roundTrips.value;
  const sorted = [...trips].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  const name = link.transport.value === "websocket" ? words.websocket : words.polling;
  const note = link.upgrading.value
    ? words.upgrading
    : link.upgradeMs.value !== null
      ? words.upgradedAfter(link.upgradeMs.value)
      : words.notUpgraded;
  const facts: [string, string][] = [
    [words.state, online ? words.stateOn : words.stateOff],
    [words.transport, online ? name : "–"],
    [words.upgrade, online ? note : "–"],
    [
      words.roundTrip,
      median === undefined ? words.noRoundTrip : `${milliseconds(trips.at(-1)!)} · ${words.median(milliseconds(median))}`,
    ],
    [words.connectedFor, online ? duration(Math.max(0, now.value - link.connectedAt.value)) : "–"],
    [words.reconnects, String(link.reconnections.value)],
    [words.traffic, `${bytes(link.bytesIn.value)} / ${bytes(link.bytesOut.value)}`],
    [words.session, link.sid.value || "–"],
  ];
  return (
    <section id="badge-details" class="popover" aria-label={words.connection}>
      <h2>{words.connection}</h2>
      <Spark values={trips} />
      <dl>
        {facts.map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <Choice
        label={words.use}
        value={link.wantedTransports.value}
        options={[["auto", words.transportAuto], ["polling", "Polling"], ["websocket", "WebSocket"]] as const}
        onChoose={link.chooseTransports}
      />
    </section>
  );
}

function Spark({ values }: { values: number[] }) {
  const [width, height] = [280, 44];
  const top = Math.max(10, ...values) * 1.15;
  const step = width / Math.max(12, values.length - 1);
  const points = values.map((value, i) => `${(i * step).toFixed(1)},${(height - (value / top) * height).toFixed(1)}`);
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      {points.length > 1 && <polygon points={`0,${height} ${points.join(" ")} ${(values.length - 1) * step},${height}`} />}
      {points.length > 1 && <polyline points={points.join(" ")} />}
    </svg>
  );
}
