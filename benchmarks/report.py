"""Medians, ratios and tables."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .peers import HERE, OURS, PEERS
from .works import WORKS

EQUAL_WITHIN = 0.10  # neighbours closer than this are called equal
DISTURBED = 0.05  # a run in which strangers took more of the server's core than this is worth repeating
BUSY_LOAD = 0.90  # a load generator busier than this may have been the limit itself


@dataclass(frozen=True)
class Metric:
    """One figure out of a step's result."""

    name: str
    path: tuple[str, ...]
    unit: str
    scale: float = 1.0
    higher_is_better: bool = False
    decimals: int | None = None

    def of(self, result: Mapping[str, Any]) -> float | None:
        value: Any = result
        for key in self.path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return float(value) * self.scale


CPU = Metric("CPU per operation", ("cpu_us_per_operation",), "µs")
RATE = Metric("Throughput", ("per_second",), "/s", higher_is_better=True, decimals=0)
MEMORY = Metric("Memory per client", ("bytes_per_client",), "KiB", scale=1 / 1024)
LATENCIES = tuple(Metric(name, ("latency_us", name), "ms", scale=1 / 1000) for name in ("p50", "p95", "p99", "max"))
BUSY = Metric("Server busy", ("server_share",), "%", scale=100, decimals=0)
STRANGERS = Metric("Strangers", ("strangers_share",), "%", scale=100, decimals=0)


def metrics_of(work: str) -> tuple[Metric, ...]:
    return (MEMORY,) if WORKS[work].kind == "idle" else (CPU, RATE, *LATENCIES, BUSY, STRANGERS)


def compared_metrics(work: str) -> tuple[Metric, ...]:
    return (MEMORY,) if WORKS[work].kind == "idle" else (CPU, RATE)


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float


Results = dict[str, dict[str, list[dict[str, Any]]]]  # work -> peer -> one result per repetition


def spread(metric: Metric, results: Iterable[Mapping[str, Any]]) -> Spread | None:
    values = [value for value in map(metric.of, results) if value is not None]
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def number(value: float, decimals: int | None = None) -> str:
    if decimals is None:
        decimals = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{decimals}f}"


def cell(metric: Metric, results: Sequence[Mapping[str, Any]]) -> str:
    found = spread(metric, results)
    if found is None:
        return "-"
    text = number(found.median, metric.decimals)
    if len(results) > 1:
        text += f" ({number(found.low, metric.decimals)}-{number(found.high, metric.decimals)})"
    return text


def verdict(metric: Metric, ours: Spread, theirs: Spread) -> tuple[float, str]:
    """How many times better we are (below 1: worse), and in words."""
    if ours.median <= 0 or theirs.median <= 0:
        return 0.0, "no ratio (a median is not above zero)"
    ratio = ours.median / theirs.median if metric.higher_is_better else theirs.median / ours.median
    if 1 / (1 + EQUAL_WITHIN) <= ratio <= 1 + EQUAL_WITHIN:
        return ratio, f"equal ({ratio:.2f}x)"
    return ratio, f"{ratio:.2f}x BETTER" if ratio > 1 else f"{1 / ratio:.2f}x WORSE"


def disturbed(work: str, results: Sequence[Mapping[str, Any]]) -> bool:
    """Other processes took so much of the server's core that its figures are not its own."""
    if WORKS[work].kind == "idle":
        return False  # memory does not depend on it
    found = spread(STRANGERS, results)
    return found is not None and found.median > DISTURBED * 100


def ratios(results: Results) -> list[dict[str, Any]]:
    rows = []
    for work, by_peer in results.items():
        for peer in by_peer:
            if peer == OURS or OURS not in by_peer:
                continue
            for metric in compared_metrics(work):
                ours, theirs = spread(metric, by_peer[OURS]), spread(metric, by_peer[peer])
                if ours is None or theirs is None:
                    continue
                ratio, words = verdict(metric, ours, theirs)
                doubtful = disturbed(work, by_peer[OURS]) or disturbed(work, by_peer[peer])
                rows.append(
                    {
                        "work": work,
                        "peer": peer,
                        "metric": metric.name,
                        "times_better": ratio,
                        "disturbed": doubtful,
                        "words": words + (" ?" if doubtful else ""),
                    }
                )
    return rows


# ---------------------------------------------------------------- what it ran on


def machine() -> dict[str, Any]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "load_average": list(os.getloadavg()),
    }


def commit() -> str:
    """The commit of the working tree; with a plus sign when src/ has changes that are not committed."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(HERE.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "src") else "")


def fingerprint() -> str:
    """Of Madang's source: it must be the same at the end of a run as at its beginning."""
    digest = hashlib.sha256()
    for path in sorted((HERE.parent / "src").rglob("*.py")):
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def about(peers: Iterable[str], *, repeat: int, quick: bool) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "commit": commit(),
        "source": fingerprint(),
        "quick": quick,
        "repetitions": repeat,
        "machine": machine(),
        "versions": {peer: PEERS[peer].versions() for peer in peers},
    }


# ---------------------------------------------------------------- tables


def titles(work: str) -> list[str]:
    special = {
        CPU: f"CPU µs per {singular(work)}",
        RATE: f"{WORKS[work].operation}/s",
        BUSY: "busy %",
        STRANGERS: "strangers %",
    }
    return [special.get(metric, f"{metric.name} {metric.unit}") for metric in metrics_of(work)]


def singular(work: str) -> str:
    return {"deliveries": "delivery"}.get(WORKS[work].operation, WORKS[work].operation.removesuffix("s"))


def tables(results: Results) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """Each table: its title, its head, its rows."""
    for work, by_peer in results.items():
        rows = [
            [PEERS[peer].title, *(cell(metric, found) for metric in metrics_of(work))]
            for peer, found in by_peer.items()
        ]
        note = f"; latency: {WORKS[work].latency}" if WORKS[work].latency else ""
        yield f"{WORKS[work].title} [{work}]{note}", ["", *titles(work)], rows
    compared = ratios(results)
    if not compared:
        return
    others = list(dict.fromkeys(row["peer"] for row in compared))
    rows = []
    for work in results:
        for metric in compared_metrics(work):
            wanted = (work, metric.name)
            words = {row["peer"]: row["words"] for row in compared if (row["work"], row["metric"]) == wanted}
            if words:
                rows.append([work, metric.name, *(words.get(peer, "-") for peer in others)])
    head = ["work", "figure", *(f"than {PEERS[peer].title}" for peer in others)]
    yield f"Madang is (closer than {EQUAL_WITHIN:.0%}: equal; ?: disturbed, see strangers)", head, rows


def as_text(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "  " + "  ".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)).rstrip()

    return "\n".join([title, line(head), *map(line, rows)])


def as_markdown(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return "\n".join([f"**{title}**", "", line(head), line(["---"] * len(head)), *map(line, rows)])


def circumstances(meta: Mapping[str, Any]) -> list[str]:
    host, repetitions = meta["machine"], meta["repetitions"]
    load = " ".join(f"{value:.2f}" for value in host["load_average"])
    lines = [
        f"{meta['date']}, commit {meta['commit']}, "
        + (f"medians of {repetitions} runs (lowest-highest)" if repetitions > 1 else "one run each"),
        f"{host['kernel']}, {host['cores']} cores, {host['processor']}, {host['memory_gib']} GiB, "
        f"load average at the start {load}",
        f"command: {meta['command']}",
    ]
    for peer, found in meta["versions"].items():
        versions = ", ".join(f"{name} {version}" for name, version in found.items())
        lines.append(f"{PEERS[peer].title}: {versions}")
    if meta["quick"]:
        lines.append("QUICK: short runs; good for a look, not for a claim")
    return lines


def warnings(results: Results) -> list[str]:
    """What a reader must know before believing the figures; one line per kind."""
    limited, spoilt, spoke = [], [], []
    for work, by_peer in results.items():
        for peer, steps in by_peer.items():
            name = f"{work} {peer}"
            if max(step["load_share"] for step in steps) > BUSY_LOAD:
                limited.append(name)
            if disturbed(work, steps):
                spoilt.append(name)
            if any("server_said" in step for step in steps):
                spoke.append(name)
    lines = {
        "the load generator was the limit, throughput is a lower bound": limited,
        f"DISTURBED: other processes took more than {DISTURBED:.0%} of the server's core; "
        "repeat it on a quiet machine": spoilt,
        "the server wrote to its log (server_said in the JSON)": spoke,
    }
    return [f"{text}: {', '.join(where)}" for text, where in lines.items() if where]


def text_report(results: Results, meta: Mapping[str, Any]) -> str:
    parts = ["\n".join(circumstances(meta)), *(as_text(*table) for table in tables(results))]
    return "\n\n".join(parts)


def markdown_report(results: Results, meta: Mapping[str, Any]) -> str:
    lines = "\n".join(f"- {line}" for line in circumstances(meta))
    return "\n\n".join([lines, *(as_markdown(*table) for table in tables(results))]) + "\n"
