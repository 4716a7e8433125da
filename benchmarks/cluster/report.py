"""Tables of a cluster's figures, medians and ratios."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.cluster.nodes import PEERS
from benchmarks.cluster.works import BACKENDS, WORKS
from benchmarks.figures import BUSY_LOAD, DISTURBED, EQUAL_WITHIN, Metric, ranged, spread, verdict
from benchmarks.machine import commit, fingerprint, machine
from benchmarks.report import as_markdown, as_text

OURS = "madang"
#: engine -> nodes -> work -> peer -> one result per repetition
Results = dict[tuple[str, int, str], dict[str, list[dict[str, Any]]]]

MESSAGE_COST = Metric("publisher, CPU µs per message", ("publisher_us_per_message",), "µs")
DELIVERY_COST = Metric("receivers, CPU µs per delivery", ("receivers_us_per_delivery",), "µs")
NODES_COST = Metric("all nodes, CPU µs per delivery", ("nodes_us_per_delivery",), "µs")
P50 = Metric("p50 ms", ("latency_us", "p50"), "ms", scale=1 / 1000)
P95 = Metric("p95 ms", ("latency_us", "p95"), "ms", scale=1 / 1000)
P99 = Metric("p99 ms", ("latency_us", "p99"), "ms", scale=1 / 1000)
STRANGERS = Metric("strangers %", ("strangers_share",), "%", scale=100, decimals=0)
ENGINE = (
    Metric("engine, CPU µs per message", ("engine_us_per_message",), "µs"),
    Metric("commands per message", ("commands_per_message",), ""),
    Metric("bytes into the engine per message", ("bytes_in_per_message",), "", decimals=0),
    Metric("bytes out of it per message", ("bytes_out_per_message",), "", decimals=0),
)
PUBLISHING = (MESSAGE_COST, DELIVERY_COST, NODES_COST, P50, P95, P99, *ENGINE, STRANGERS)
COLUMNS: dict[str, tuple[Metric, ...]] = {
    "fanout": PUBLISHING,
    "burst": PUBLISHING,
    "rooms": PUBLISHING,
    "fetch": (
        Metric("the asker, CPU µs per fetch", ("asker_us_per_fetch",), "µs"),
        Metric("the others together, CPU µs per fetch", ("others_us_per_fetch",), "µs"),
        P50,
        P95,
        Metric("bytes into the engine per fetch", ("bytes_in_per_fetch",), "", decimals=0),
        Metric("memory of a client, KiB", ("bytes_per_client",), "KiB", scale=1 / 1024),
        STRANGERS,
    ),
    "relay": (
        Metric("to the right node, CPU µs of all nodes per ack", ("direct", "cpu_us_per_operation"), "µs"),
        Metric("to the wrong one", ("relayed", "cpu_us_per_operation"), "µs"),
        Metric("p50 ms, right", ("direct", "latency_us", "p50"), "ms", scale=1 / 1000),
        Metric("p50 ms, wrong", ("relayed", "latency_us", "p50"), "ms", scale=1 / 1000),
        STRANGERS,
    ),
    "idle": (
        Metric("a node, CPU µs per second", ("cpu_us_per_node_second",), "µs"),
        Metric("the engine, CPU µs per node and second", ("engine_us_per_node_second",), "µs"),
        Metric("commands per node and second", ("commands_per_node_second",), ""),
        Metric("bytes into the engine per node and second", ("bytes_in_per_node_second",), "", decimals=0),
        Metric("bytes out of it", ("bytes_out_per_node_second",), "", decimals=0),
        STRANGERS,
    ),
}
#: What is set against each other.
COMPARED: dict[str, tuple[Metric, ...]] = {
    "fanout": (MESSAGE_COST, DELIVERY_COST, NODES_COST, P50, P95),
    "burst": (MESSAGE_COST, DELIVERY_COST, NODES_COST),
    "rooms": (MESSAGE_COST, DELIVERY_COST, NODES_COST),
    "fetch": (*COLUMNS["fetch"][:3], COLUMNS["fetch"][5]),
    "relay": COLUMNS["relay"][:1],
    "idle": (),
}


def cell(metric: Metric, results: Sequence[Mapping[str, Any]]) -> str:
    return ranged(spread(metric, results), metric.decimals)


def disturbed(results: Sequence[Mapping[str, Any]]) -> bool:
    found = spread(STRANGERS, results)
    return found is not None and found.median > DISTURBED * 100


def ratios(results: Results) -> list[dict[str, Any]]:
    """How Madang stands to Node.js, step by step."""
    rows = []
    for (engine, nodes, work), by_peer in results.items():
        for peer in by_peer:
            if peer == OURS or OURS not in by_peer:
                continue
            for metric in COMPARED[work]:
                ours, theirs = spread(metric, by_peer[OURS]), spread(metric, by_peer[peer])
                # With two or more nodes the sum says nothing that its parts don't.
                if ours is None or theirs is None or (metric is NODES_COST and nodes > 1 and engine != "workers"):
                    continue
                ratio, words = verdict(metric, ours, theirs)
                doubtful = disturbed(by_peer[OURS]) or disturbed(by_peer[peer])
                rows.append(
                    {
                        "engine": engine,
                        "nodes": nodes,
                        "work": work,
                        "peer": peer,
                        "metric": metric.name,
                        "ours": ours.median * 1.0,
                        "theirs": theirs.median * 1.0,
                        "times_better": ratio,
                        "disturbed": doubtful,
                        "words": words + (" ?" if doubtful else ""),
                    }
                )
    return rows


def tables(results: Results) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """Each table: its title, its head, its rows."""
    for work, about in WORKS.items():
        steps = {key: by_peer for key, by_peer in results.items() if key[2] == work}
        if not steps:
            continue
        found = [one for by_peer in steps.values() for peer in by_peer.values() for one in peer]
        columns = [metric for metric in COLUMNS[work] if any(metric.of(one) is not None for one in found)]
        rows = [
            [BACKENDS[engine].title, str(nodes), PEERS[peer].title, *(cell(metric, told) for metric in columns)]
            for (engine, nodes, _), by_peer in steps.items()
            for peer, told in by_peer.items()
        ]
        yield f"{about.title} [{work}]", ["engine", "nodes", "", *(metric.name for metric in columns)], rows
    compared = ratios(results)
    if compared:
        rows = [
            [row["work"], BACKENDS[row["engine"]].title, str(row["nodes"]), row["metric"], row["words"]]
            for row in compared
        ]
        title = f"Madang is, beside Node.js (closer than {EQUAL_WITHIN:.0%}: equal; ?: disturbed, see strangers)"
        yield title, ["work", "engine", "nodes", "figure", ""], rows


def about(peers: Iterable[str], *, repeat: int, seconds: float) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": shlex.join(["python", "-m", "benchmarks.cluster", *sys.argv[1:]]),
        "commit": commit(),
        "source": fingerprint(),
        "repetitions": repeat,
        "seconds": seconds,
        "machine": machine(),
        "versions": {PEERS[peer].title: PEERS[peer].versions() for peer in peers},
    }


def circumstances(meta: Mapping[str, Any]) -> list[str]:
    host, repetitions = meta["machine"], meta["repetitions"]
    load = " ".join(f"{value:.2f}" for value in host["load_average"])
    often = f"medians of {repetitions} runs (lowest-highest)" if repetitions > 1 else "one run each"
    return [
        f"{meta['date']}, commit {meta['commit']}, source {meta['source']}, {often} of {meta['seconds']:g} s",
        f"{host['kernel']}, {host['cores']} cores, {host['processor']}, {host['memory_gib']} GiB, "
        f"load average at the start {load}",
        f"command: `{meta['command']}`",
        *(
            f"{title}: " + ", ".join(f"{name} {version}" for name, version in found.items())
            for title, found in meta["versions"].items()
        ),
    ]


def warnings(results: Results) -> list[str]:
    """What a reader must know before believing the figures; one line per kind."""
    limited, full, spoilt, disordered = [], [], [], []
    for (engine, nodes, work), by_peer in results.items():
        for peer, steps in by_peer.items():
            name = f"{work} {engine} {nodes} {peer}"
            if max(step.get("load_share", 0.0) for step in steps) > BUSY_LOAD:
                limited.append(name)
            if max(step.get("busiest_node_share", 0.0) for step in steps) > BUSY_LOAD:
                full.append(name)
            if max(step.get("disordered_share", 0.0) for step in steps) > 0:
                disordered.append(name)
            if disturbed(steps):
                spoilt.append(name)
    lines = {
        "the load generator was the limit": limited,
        "a node was at its limit, the latencies are those of a queue": full,
        "events came in another order than they were emitted in": disordered,
        f"DISTURBED: other processes took more than {DISTURBED:.0%} of the machine; repeat it on a quiet one": spoilt,
    }
    return [f"{text}: {', '.join(where)}" for text, where in lines.items() if where]


def text_report(results: Results, meta: Mapping[str, Any]) -> str:
    return "\n\n".join(["\n".join(circumstances(meta)), *(as_text(*table) for table in tables(results))])


def markdown_report(results: Results, meta: Mapping[str, Any], problems: Sequence[str]) -> str:
    lines = "\n".join(f"- {line}" for line in circumstances(meta))
    parts = [lines, *(as_markdown(*table) for table in tables(results))]
    if problems:
        parts.append("\n".join(f"- {problem}" for problem in problems))
    return "\n\n".join(parts) + "\n"
