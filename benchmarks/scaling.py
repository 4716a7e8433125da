"""``python -m benchmarks.scaling``: how costs grow with connections and with the size of messages; see README.md."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import machine, plots, report
from .__main__ import Progress, interrupt, names, usable_peers
from .compile import NotBuiltError, built
from .counters import cpu_seconds, resident_bytes
from .document import Document
from .figures import CPU, MEMORY, Metric, Results, Spread, ranged, spread
from .listeners import Listeners
from .pages import put_into
from .peers import BUILDS, HERE, PEERS, Peer
from .runner import LOAD_SOURCE, StepFailedError, descriptors, generate, running
from .works import SIZES, WORKS

CONNECTIONS = (10, 100, 1_000, 10_000, 50_000)
PEERS_COMPARED = (*BUILDS, "node-ws", "node-uws", "floor")
BUSY = 10  # so many connections have something to say
PASSING = 50  # come and go first: what a server keeps once is not a cost of each client
PING_INTERVAL_MS = 5_000  # shorter than the usual 25 s, so that some seconds have a share of it
IDLE_SECONDS = 5.0
DEADLINE = 300.0
SPARE = 200  # files that are no connections

IDLE = Metric("CPU of an idle client", ("idle_us_per_client_second",), "µs")


@dataclass(frozen=True)
class Series:
    """One thing that grows.

    Attributes:
        title: what is shown.
        across: the name of what it grows with.
        metric: the figure.
        work: the prefix of its steps' names.
    """

    title: str
    across: str
    metric: Metric
    work: str


SERIES = {
    "echo": Series(
        f"CPU µs per acknowledged event of {BUSY} clients, among so many connected", "connections", CPU, "clients"
    ),
    "idle": Series("CPU µs per second of an idle client, asked every 5 s", "connections", IDLE, "clients"),
    "memory": Series("Memory of an idle client, KiB", "connections", MEMORY, "clients"),
    "fanout": Series("CPU µs per delivery of a broadcast to a room of so many", "members", CPU, "fanout"),
    "size": Series("CPU µs per acknowledged event with so many bytes, 50 clients", "bytes", CPU, "size"),
}


def among(peer: Peer, clients: int, seconds: float) -> dict[str, Any]:
    """So many are connected, and idle; then some of them have something to say."""
    with running(peer, {"BENCH_PING_INTERVAL_MS": str(PING_INTERVAL_MS)}) as (port, pids, log):
        pace = {"warmup": seconds * peer.warmup / 2, "seconds": seconds, "deadline": DEADLINE}
        generate("echo", pace | {"clients": PASSING}, port, pids, log)
        before = resident_bytes(pids)
        idle = max(1, clients - BUSY)
        with contextlib.closing(Listeners([port], idle, 1)) as listeners:
            time.sleep(1.0)
            grown = resident_bytes(pids) - before
            began, cpu = time.monotonic(), cpu_seconds(pids)
            time.sleep(IDLE_SECONDS)
            cost = (cpu_seconds(pids) - cpu) / (time.monotonic() - began)
            found = generate("echo", pace | {"clients": min(BUSY, clients)}, port, pids, log)
            listeners.mark()  # they are still there
    # What the heartbeats of the others cost in that time is told by itself.
    alone = (found["cpu_seconds"] - cost * found["seconds"]) / found["operations"] * 1e6
    return found | {
        "cpu_us_per_operation": max(0.0, alone),
        "idle_us_per_client_second": cost * 1e6 / idle,
        "bytes_per_client": max(0, grown) / idle,
    }


def fanout(peer: Peer, clients: int, seconds: float) -> dict[str, Any]:
    with running(peer) as (port, pids, log):
        pace = {"warmup": seconds * peer.warmup / 2, "seconds": seconds, "deadline": DEADLINE}
        return generate("fanout", pace | {"clients": clients, "concurrency": 100}, port, pids, log)


def size(peer: Peer, payload: int, seconds: float) -> dict[str, Any]:
    with running(peer) as (port, pids, log):
        pace = {"warmup": seconds * peer.warmup / 2, "seconds": seconds, "deadline": DEADLINE}
        return generate("echo", pace | WORKS[f"size-{payload}"].options, port, pids, log)


#: The prefix of a step's name: what is done, and with which numbers.
STEPS: dict[str, tuple[Callable[[Peer, int, float], dict[str, Any]], tuple[int, ...]]] = {
    "clients": (among, CONNECTIONS),
    "fanout": (fanout, CONNECTIONS),
    "size": (size, SIZES),
}


# ---------------------------------------------------------------- the report


def points(results: Results, series: Series, peer: str) -> list[tuple[float, Spread]]:
    """What a peer's line consists of."""
    found = []
    for work, by_peer in results.items():
        prefix, _, number = work.partition("-")
        known = spread(series.metric, by_peer.get(peer, ())) if prefix == series.work else None
        if known is not None:
            found.append((float(number), known))
    return sorted(found, key=lambda point: point[0])


def tables(results: Results) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    for series in SERIES.values():
        lines = {peer: dict(points(results, series, peer)) for peer in PEERS}
        shown = [peer for peer, line in lines.items() if line]
        numbers = sorted({number for line in lines.values() for number in line})
        rows = [[f"{number:,.0f}", *(ranged(lines[peer].get(number)) for peer in shown)] for number in numbers]
        if rows:
            yield series.title, [series.across, *(PEERS[peer].title for peer in shown)], rows


def pictures(results: Results, docs: Path) -> list[str]:
    """Draws each series; lines of Markdown with the pictures."""
    found = []
    for name, series in SERIES.items():
        lines = {peer: [point for point in points(results, series, peer) if point[1].low > 0] for peer in PEERS}
        lines = {peer: line for peer, line in lines.items() if line}  # nothing has no place on these axes
        if lines:
            path = plots.FOLDER / f"scaling-{name}.svg"
            plots.draw_lines(docs / path, series.title, series.across, lines)
            found.append(f"![{series.title}]({path})")
    return found


def circumstances(document: Document) -> list[str]:
    return list(dict.fromkeys(line for run in document.runs for line in report.one_run(run, [])))


def markdown(document: Document, plotted: Sequence[str]) -> str:
    def listed(lines: Iterable[str]) -> str:
        return "\n".join(f"- {line}" for line in lines)

    parts = [listed(circumstances(document)), *plotted]
    parts += [report.as_markdown(*table) for table in tables(document.results)]
    if document.problems:
        parts.append(listed(document.problems))
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------- the run


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--works", type=names, metavar="WORKS", help=f"some of: {', '.join(STEPS)}")
    parser.add_argument("--peers", type=names, metavar="PEERS", help=f"some of: {', '.join(PEERS)}")
    parser.add_argument("--most", type=int, default=CONNECTIONS[-1], metavar="N", help="connections (default: 50,000)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="repetitions (default 1)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="how long each is measured (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", default=HERE / "results" / "scaling.json")
    parser.add_argument("--resume", action="store_true", help="keep what that file has, and run what it lacks")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put tables and plots into this page")
    options = parser.parse_args()
    for given, known in ((options.works, STEPS), (options.peers, PEERS)):
        for name in given or ():
            if name not in known:
                parser.error(f"{name!r} is none of: {', '.join(known)}")
    if options.repeat < 1 or not 0.1 <= options.seconds <= 60:
        parser.error("--repeat must be at least 1, --seconds from 0.1 to 60")
    if options.write and not plots.available():
        parser.error("--write makes plots, which need matplotlib: pip install --group bench")
    return options


def planned(options: argparse.Namespace, peers: Sequence[str]) -> list[tuple[int, str, int, str]]:
    """Repetition, prefix, number and peer of each step."""
    return [
        (repetition, prefix, number, peer)
        for repetition in range(1, options.repeat + 1)
        for prefix, (_, numbers) in STEPS.items()
        if not options.works or prefix in options.works
        for number in (numbers if prefix == "size" else dict.fromkeys(min(one, options.most) for one in numbers))
        for peer in peers
    ]


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, interrupt)  # so that servers are stopped on the way out
    peers, problems = usable_peers(list(options.peers or PEERS_COMPARED))
    possible = (descriptors() - SPARE) // 1_000 * 1_000
    if possible < options.most and options.works != ["size"]:
        options.most = possible
        problems.append(f"no more than {possible:,} connections: a process may have {descriptors():,} files here")
    for problem in problems:
        print(problem, file=sys.stderr)
    if not peers:
        return 1
    try:
        built(LOAD_SOURCE)
    except NotBuiltError as error:
        print(f"the load generator is missing: {error}", file=sys.stderr)
        return 1
    document = Document.load(options.json) if options.resume and options.json.exists() else Document()
    document.runs.append(
        machine.about(peers, repeat=options.repeat, module="benchmarks.scaling") | {"problems": problems}
    )
    steps = [step for step in planned(options, peers) if not document.has(f"{step[1]}-{step[2]}", step[3], step[0])]
    failures: list[str] = []
    interrupted = False
    progress = Progress(len(steps))
    try:
        for repetition, prefix, number, peer in steps:
            label = f"{prefix}-{number} {peer}" + (f" #{repetition}" if options.repeat > 1 else "")
            progress.step(label)
            try:
                found = STEPS[prefix][0](PEERS[peer], number, options.seconds)
            except StepFailedError as error:
                failures.append(f"{label} FAILED: {error}")
                progress.finished(label, f"FAILED: {error}")
                continue
            document.add(f"{prefix}-{number}", peer, repetition, found)
            document.save(options.json)
            progress.finished(label, f"{found['cpu_us_per_operation']:.2f} µs CPU each")
    except KeyboardInterrupt:
        interrupted = True
        problems.append("INTERRUPTED: not all steps ran; --resume goes on")
    problems += failures
    document.save(options.json)
    if options.write:
        plotted = pictures(document.results, options.write.parent)
        put_into(options.write, "scaling", markdown(document, plotted))
    print("\n".join(circumstances(document)))
    for table in tables(document.results):
        print(f"\n{report.as_text(*table)}")
    for problem in document.problems:
        print(f"\n{problem}")
    if interrupted:
        return 130
    return 1 if failures or any(peer not in peers for peer in options.peers or ()) else 0


if __name__ == "__main__":
    sys.exit(main())
