"""Tables, and what they ran on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .bars import Verdict, compared_metrics, places, verdicts
from .document import Document
from .figures import (
    BUSY,
    BUSY_LOAD,
    CPU,
    DISTURBED,
    GROWTH,
    LATENCIES,
    MEMORY,
    P99,
    RATE,
    STRANGERS,
    Metric,
    Results,
    Spread,
    Step,
    is_equal,
    ranged,
    ratio,
    spread,
)
from .peers import BUILDS, OURS, PEERS
from .works import WORKS

#: The columns of tables, as far as a work has such figures.
COLUMNS = (CPU, RATE, *LATENCIES, MEMORY, GROWTH, BUSY, STRANGERS)


def metrics_of(work: str, results: Iterable[Step]) -> list[Metric]:
    """The columns of a work's table."""
    if WORKS[work].kind == "idle":
        return [MEMORY]
    paced = WORKS[work].options.get("rate", 0)
    known = list(results)
    return [
        metric
        for metric in COLUMNS
        if any(metric.of(step) is not None for step in known) and not (paced and metric is RATE)
    ]


def cell(metric: Metric, results: Sequence[Step]) -> str:
    return ranged(spread(metric, results), metric.decimals)


def disturbed(work: str, results: Sequence[Step]) -> bool:
    """Other processes took so much of the server's core that its figures are not its own."""
    if WORKS[work].kind == "idle":
        return False  # memory does not depend on it
    found = spread(STRANGERS, results)
    return found is not None and found.median > DISTURBED * 100


def ratios(results: Results, ours: str = OURS) -> list[dict[str, Any]]:
    """How one build of Madang stands to each peer, in each figure that is compared."""
    rows = []
    for work, by_peer in results.items():
        if ours not in by_peer:
            continue
        for peer in (name for name in by_peer if name != ours):
            for metric in compared_metrics(work):
                found = ratio(metric, by_peer[ours], by_peer[peer])
                if found is None:
                    continue
                doubtful = disturbed(work, by_peer[ours]) or disturbed(work, by_peer[peer])
                rows.append(
                    {
                        "work": work,
                        "ours": ours,
                        "peer": peer,
                        "metric": metric.name,
                        "times_better": found.median,
                        "lowest": found.low,
                        "highest": found.high,
                        "disturbed": doubtful,
                        "told": times(found, doubtful=doubtful),
                    }
                )
    return rows


# ---------------------------------------------------------------- tables


def titles(work: str, metrics: Iterable[Metric]) -> list[str]:
    special = {
        CPU: f"CPU µs per {singular(work)}",
        RATE: f"{WORKS[work].operation}/s",
        BUSY: "busy %",
        STRANGERS: "strangers %",
    }
    return [special.get(metric, f"{metric.name} {metric.unit}") for metric in metrics]


def singular(work: str) -> str:
    return {"deliveries": "delivery"}.get(WORKS[work].operation, WORKS[work].operation.removesuffix("s"))


def times(found: Spread, *, doubtful: bool = False) -> str:
    """How many times better, with the lowest and the highest of the pairs."""
    word = "equal " if is_equal(found.median) else "worse " if found.median < 1 else ""
    return word + ranged(found, 2) + (" ?" if doubtful else "")


def summaries(results: Results) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """For each build of Madang: how it stands to all others, in one figure for each work."""
    for ours in (name for name in BUILDS if any(name in by_peer for by_peer in results.values())):
        rows = ratios(results, ours)
        others = list(dict.fromkeys(row["peer"] for row in rows))
        if not others:
            continue
        lines = []
        for work in results:
            metric = MEMORY if WORKS[work].kind == "idle" else CPU
            told = {row["peer"]: row["told"] for row in rows if (row["work"], row["metric"]) == (work, metric.name)}
            if told:
                lines.append([work, metric.name, *(told.get(peer, "-") for peer in others)])
        head = ["work", "figure", *(f"than {PEERS[peer].title}" for peer in others)]
        yield f"How many times better {PEERS[ours].title} is", head, lines


def bar_tables(results: Results) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """For each peer that Madang is to be better than: all figures that are compared, and which bars are reached."""
    known = verdicts(results)
    for peer in dict.fromkeys(verdict.peer for verdict in known):
        lines = []
        columns = [metric for metric in (CPU, RATE, P99, MEMORY) if any(v.metric == metric.name for v in known)]
        for work, by_peer in results.items():
            for ours in (name for name in BUILDS if name in by_peer and peer in by_peer):
                told = {
                    row["metric"]: row["told"]
                    for row in ratios({work: {ours: by_peer[ours], peer: by_peer[peer]}}, ours)
                }
                mine = [v for v in known if (v.work, v.peer, v.ours) == (work, peer, ours)]
                cells = [told.get(metric.name, "-") for metric in columns]
                lines.append([work, PEERS[ours].title, *cells, outcomes(mine)])
        head = ["work", "", *(metric.name for metric in columns), "bars"]
        yield f"Beside {PEERS[peer].title}: {bars_of(peer, known)}", head, lines


def bars_of(peer: str, known: Iterable[Verdict]) -> str:
    """The bars beside one peer in words."""
    least: dict[str, float] = {}
    for verdict in known:
        if verdict.peer == peer:
            least[verdict.metric] = verdict.least
    return "at least " + ", ".join(f"{value:.2g} times in {metric}" for metric, value in least.items())


def outcomes(found: Sequence[Verdict]) -> str:
    if not found:
        return "-"
    missed = [verdict for verdict in found if verdict.outcome == "missed"]
    if not missed:
        return "reached"
    return "; ".join(f"{verdict.metric} {verdict.short_by:.0%} short of {verdict.least:.2g}" for verdict in missed)


def in_short(results: Results) -> list[str]:
    """How many bars each build reaches, and where it is the last of all."""
    lines = []
    for ours in BUILDS:
        known = [verdict for verdict in verdicts(results) if verdict.ours == ours and not verdict.is_aim]
        if not known:
            continue
        counts = {word: sum(v.outcome == word for v in known) for word in ("reached", "equal", "missed")}
        last = [
            f"{work} ({metric})"
            for work, build, metric, place, of in places(results)
            if build == ours and place == of and of > 2
        ]
        lines.append(
            f"{PEERS[ours].title}: of {len(known)} bars {counts['reached']} reached, {counts['equal']} equal, "
            f"{counts['missed']} missed; the last of all peers in " + (", ".join(last) or "no work")
        )
    return lines


def tables(results: Results) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """Each table: its title, its head, its rows."""
    yield from summaries(results)
    yield from bar_tables(results)
    for work, by_peer in results.items():
        metrics = metrics_of(work, [step for steps in by_peer.values() for step in steps])
        rows = [[PEERS[peer].title, *(cell(metric, found) for metric in metrics)] for peer, found in by_peer.items()]
        note = f"; latency: {WORKS[work].latency}" if WORKS[work].latency else ""
        yield f"{WORKS[work].title} [{work}]{note}", ["", *titles(work, metrics)], rows


def as_text(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "  " + "  ".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)).rstrip()

    return "\n".join([title, line(head), *map(line, rows)])


def as_markdown(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return "\n".join([f"**{title}**", "", line(head), line(["---"] * len(head)), *map(line, rows)])


def circumstances(document: Document) -> list[str]:
    """What each run ran on, and its command; what several have in common is told once."""
    lines: list[str] = []
    for index, run in enumerate(document.runs):
        lines += one_run(run, works_of(document, index) if len(document.runs) > 1 else [])
    repetitions = {len(steps) for by_peer in document.results.values() for steps in by_peer.values()}
    often = "-".join(map(str, sorted({min(repetitions), max(repetitions)}))) if repetitions else "0"
    lines.append(
        "one run each"
        if often == "1"
        else f"medians of {often} repetitions (lowest-highest); ratios: of the medians, "
        "with the lowest and the highest of two steps that were taken one after the other"
    )
    return list(dict.fromkeys(lines))


def works_of(document: Document, run: int) -> list[str]:
    return [
        work
        for work, by_peer in document.results.items()
        if any(step["run"] == run for steps in by_peer.values() for step in steps)
    ]


def one_run(run: Mapping[str, Any], works: Sequence[str]) -> list[str]:
    host = run["machine"]
    load = " ".join(f"{value:.2f}" for value in host["load_average"])
    lines = [
        f"{run['date']}, commit {run['commit']}, source {run['source']}, load average {load}"
        + (f": {', '.join(works)}" if works else ""),
        f"{host['kernel']}, {host['system']}, {host['cores']} cores, {host['processor']}, {host['memory_gib']} GiB; "
        f"{host['python']}",
        f"command: `{run['command']}`",
    ]
    for peer, found in run["versions"].items():
        lines.append(f"{PEERS[peer].title}: " + ", ".join(f"{name} {version}" for name, version in found.items()))
    if run["quick"]:
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


def text_report(document: Document) -> str:
    parts = ["\n".join(circumstances(document)), *(as_text(*table) for table in tables(document.results))]
    return "\n\n".join([*parts, *in_short(document.results)])


def markdown_report(document: Document, plots: Sequence[str] = ()) -> str:
    """All of it. `plots` are lines of Markdown with pictures, which come after the summaries."""

    def listed(lines: Iterable[str]) -> str:
        return "\n".join(f"- {line}" for line in lines)

    heads = list(summaries(document.results))
    parts = [listed(circumstances(document))]
    if short := in_short(document.results):
        parts.append(listed(short))
    parts += [*(as_markdown(*table) for table in heads), *plots]
    parts += [as_markdown(*table) for table in list(tables(document.results))[len(heads) :]]
    if document.problems:
        parts.append(listed(document.problems))
    return "\n\n".join(parts) + "\n"
