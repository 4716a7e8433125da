"""``python -m benchmarks``: see README.md beside this file."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import machine, plots, report, runner
from .bars import verdicts
from .compile import NotBuiltError, built
from .document import Document, merged
from .figures import DISTURBED
from .nodejs import UnavailableError
from .pages import put_into
from .peers import BUILDS, DEFAULT_PEERS, HERE, OURS, PEERS, QUICK_PEERS
from .works import FULL, QUICK, WORKS

LATEST = HERE / "results" / "latest.json"


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few works and peers, short runs, once; under a minute")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions (default 3, quick 1)")
    parser.add_argument(
        "--retry",
        type=int,
        metavar="N",
        help=f"run a step again, up to N times, when other processes took more than {DISTURBED:.0%}% "
        "of the server's core; the least disturbed run counts (default 2, quick 0)",
    )
    parser.add_argument("--works", "--only", type=names, metavar="WORKS", help=f"some of: {', '.join(WORKS)}")
    parser.add_argument("--peers", type=names, metavar="PEERS", help=f"some of: {', '.join(PEERS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", default=LATEST, help="all results (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep what that file has, and run what it lacks")
    parser.add_argument(
        "--merge",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="run nothing: put the works of these files into one report; the last one that has a work counts",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put tables and plots into this page")
    options = parser.parse_args()
    for given, known in ((options.works, WORKS), (options.peers, PEERS)):
        for name in given or ():
            if name not in known:
                parser.error(f"{name!r} is none of: {', '.join(known)}")
    options.repeat = options.repeat or (1 if options.quick else 3)
    if options.retry is None:
        options.retry = 0 if options.quick else 2
    if options.repeat < 1 or options.retry < 0:
        parser.error("--repeat must be at least 1, --retry at least 0")
    if options.write and not plots.available():
        parser.error("--write makes plots, which need matplotlib: pip install --group bench")
    return options


def usable_peers(asked: list[str]) -> tuple[list[str], list[str]]:
    """Those that can run, and why the others cannot."""
    usable, problems = [], []
    for name in asked:
        try:
            PEERS[name].prepare()
            usable.append(name)
        except UnavailableError as error:
            problems.append(f"{name} LEFT OUT: {error}")
    return usable, problems


class Progress:
    """One line per step on stderr; on a terminal with a bar that moves."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began = total, 0, time.monotonic()
        self.terminal = sys.stderr.isatty()

    def step(self, label: str) -> None:
        if self.terminal:
            filled = 24 * self.done // self.total
            bar = "#" * filled + "." * (24 - filled)
            print(f"\r\033[K[{bar}] {self.done}/{self.total} {label}", end="", file=sys.stderr, flush=True)

    def finished(self, label: str, outcome: str) -> None:
        self.done += 1
        start = "\r\033[K" if self.terminal else ""
        count = f"[{self.done:>3}/{self.total} {time.monotonic() - self.began:5.0f} s]"
        print(f"{start}{count} {label}: {outcome}", file=sys.stderr, flush=True)


def brief(result: dict[str, Any]) -> str:
    if "bytes_per_client" in result:
        return f"{result['bytes_per_client'] / 1024:.1f} KiB per client"
    text = f"{result['per_second']:,.0f}/s, {result['cpu_us_per_operation']:.2f} µs CPU each"
    if "latency_us" in result:
        p50, p99 = (result["latency_us"][name] / 1000 for name in ("p50", "p99"))
        text += f", p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    return text


def least_disturbed(peer: str, work: str, options: argparse.Namespace) -> dict[str, Any]:
    """The same rule for every peer: strangers on the server's core spoil a run, so it is run again."""
    best: dict[str, Any] = {}
    for attempt in range(1, options.retry + 2):
        result = runner.run_step(PEERS[peer], WORKS[work], QUICK if options.quick else FULL, quick=options.quick)
        if not best or result["strangers_share"] < best["strangers_share"]:
            best = result
        best["attempts"] = attempt
        if WORKS[work].kind == "idle" or best["strangers_share"] <= DISTURBED:
            break
    return best


def interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(f"signal {number}")


def started(options: argparse.Namespace, about: dict[str, Any]) -> Document:
    """The document that the run adds to: a new one, or what a run that was cut has left.

    Raises:
        ValueError: what is there is of another source of Madang, or of runs of another length.
    """
    document = Document()
    if options.resume and options.json.exists():
        document = Document.load(options.json)
        if any(run[what] != about[what] for run in document.runs for what in ("source", "quick")):
            raise ValueError(f"{options.json} is of another source, or of runs of another length; see --merge")
    document.runs.append(about)
    return document


def run(options: argparse.Namespace) -> int:
    """Runs what is asked for and not there yet. Returns the exit status."""
    wanted = options.peers or (QUICK_PEERS if options.quick else DEFAULT_PEERS)
    peers, problems = usable_peers(list(wanted))
    works = options.works or [name for name, work in WORKS.items() if work.is_due(quick=options.quick)]
    try:
        built(runner.LOAD_SOURCE)
    except NotBuiltError as error:
        print(f"the load generator is missing: {error}", file=sys.stderr)
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    if not any(work not in PEERS[peer].lacks for work in works for peer in peers):
        print("nothing to run: there are no such peers, or they can do none of these works", file=sys.stderr)
        return 1
    if runner.cores()[0] == runner.cores()[1]:
        problems.append("only one core: server and load generator share it; the figures mean little")
    about = machine.about(peers, repeat=options.repeat, quick=options.quick) | {"problems": problems}
    try:
        document = started(options, about)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    steps = [
        (repetition, work, peer)
        for repetition in range(1, options.repeat + 1)
        for work in works  # A B C, A B C: a slow moment of the machine hits all alike
        for peer in peers
        if work not in PEERS[peer].lacks and not document.has(work, peer, repetition)
    ]
    failures: list[str] = []
    interrupted = False
    progress = Progress(len(steps))
    try:
        for repetition, work, peer in steps:
            label = f"{work} {peer}" + (f" #{repetition}" if options.repeat > 1 else "")
            progress.step(label)
            try:
                result = least_disturbed(peer, work, options)
            except runner.StepFailedError as error:
                failures.append(f"{label} FAILED: {error}")
                progress.finished(label, f"FAILED: {error}")
                continue
            document.add(work, peer, repetition, result)
            document.save(options.json)
            progress.finished(label, brief(result))
    except KeyboardInterrupt:
        interrupted = True
        problems.append("INTERRUPTED: not all steps ran; --resume goes on")
    if OURS in peers and machine.fingerprint() != about["source"]:
        problems.append("Madang's source CHANGED while this ran: its figures are a mixture")
    problems += report.warnings(document.results) + failures
    write(options, document)
    if interrupted:
        return 130
    return 1 if failures or OURS not in peers or any(peer not in peers for peer in options.peers or ()) else 0


def write(options: argparse.Namespace, document: Document) -> None:
    """All forms of the report that are asked for."""
    if not any(document.results.values()):
        return
    found = {
        "ratios": [row for ours in BUILDS for row in report.ratios(document.results, ours)],
        "verdicts": [verdict.to_json() for verdict in verdicts(document.results)],
        "problems": document.problems,
    }
    document.save(options.json, found)
    if options.markdown:
        options.markdown.write_text(report.markdown_report(document))
    if options.write:
        pictures = plots.write(document.results, options.write.parent)
        put_into(options.write, "bench", report.markdown_report(document, pictures))
    print(report.text_report(document))
    for problem in document.problems:
        print(f"\n{problem}")


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, interrupt)  # so that servers are stopped on the way out
    if not options.merge:
        return run(options)
    try:
        document = merged(map(Document.load, options.merge))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    write(options, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
