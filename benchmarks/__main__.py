"""``python -m benchmarks``: see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import report, runner
from .compile import NotBuiltError, built
from .peers import DEFAULT_PEERS, HERE, OURS, PEERS, UnavailableError
from .works import FULL, QUICK, WORKS


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, once; under a minute")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions (default 3, quick 1)")
    parser.add_argument(
        "--retry",
        type=int,
        metavar="N",
        help=f"run a step again, up to N times, when other processes took more than {report.DISTURBED:.0%}% "
        "of the server's core; the least disturbed run counts (default 2, quick 0)",
    )
    parser.add_argument("--only", type=names, metavar="WORKS", help=f"some of: {', '.join(WORKS)}")
    parser.add_argument("--peers", type=names, metavar="PEERS", help=f"some of: {', '.join(PEERS)}")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown too")
    parser.add_argument("--json", type=Path, metavar="FILE", default=HERE / "results" / "latest.json")
    options = parser.parse_args()
    for given, known in ((options.only, WORKS), (options.peers, PEERS)):
        for name in given or ():
            if name not in known:
                parser.error(f"{name!r} is none of: {', '.join(known)}")
    options.repeat = options.repeat or (1 if options.quick else 3)
    if options.retry is None:
        options.retry = 0 if options.quick else 2
    if options.repeat < 1 or options.retry < 0:
        parser.error("--repeat must be at least 1, --retry at least 0")
    return options


def usable_peers(asked: list[str] | None) -> tuple[list[str], list[str]]:
    """Those that can run, and why the others cannot."""
    usable, problems = [], []
    for name in asked or DEFAULT_PEERS:
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
        if WORKS[work].kind == "idle" or best["strangers_share"] <= report.DISTURBED:
            break
    return best


def interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(f"signal {number}")


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, interrupt)  # so that servers are stopped on the way out
    peers, problems = usable_peers(options.peers)
    works = [name for name in WORKS if options.only is None or name in options.only]
    try:
        built(runner.LOAD_SOURCE)
    except NotBuiltError as error:
        print(f"the load generator is missing: {error}", file=sys.stderr)
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    if not peers:
        return 1
    steps = [(work, peer) for work in works for peer in peers if work not in PEERS[peer].lacks]
    if not steps:
        print("nothing to run: these peers can do none of these works", file=sys.stderr)
        return 1
    if runner.cores()[0] == runner.cores()[1]:
        problems.append("only one core: server and load generator share it; the figures mean little")
    meta = report.about(peers, repeat=options.repeat, quick=options.quick)
    results: report.Results = {}
    failures: list[str] = []
    progress = Progress(options.repeat * len(steps))
    interrupted = False
    try:
        for repetition in range(1, options.repeat + 1):
            for work, peer in steps:  # A B C, A B C: a slow moment of the machine hits all alike
                label = f"{work} {peer}" + (f" #{repetition}" if options.repeat > 1 else "")
                progress.step(label)
                try:
                    result = least_disturbed(peer, work, options)
                except runner.StepFailedError as error:
                    failures.append(f"{label} FAILED: {error}")
                    progress.finished(label, f"FAILED: {error}")
                    continue
                results.setdefault(work, {}).setdefault(peer, []).append(result)
                progress.finished(label, brief(result))
    except KeyboardInterrupt:
        interrupted = True
        problems.append("INTERRUPTED: not all steps ran")

    if OURS in peers and report.fingerprint() != meta["source"]:
        problems.append("Madang's source CHANGED while this ran: its figures are a mixture")
    problems += report.warnings(results)
    if results:
        write(options, results, meta, problems + failures)
    for problem in problems + failures:
        print(f"\n{problem}")
    if interrupted:
        return 130
    wanted = options.peers or [OURS]
    return 1 if failures or any(peer not in peers for peer in wanted) else 0


def write(options: argparse.Namespace, results: report.Results, meta: dict[str, Any], problems: list[str]) -> None:
    print(report.text_report(results, meta))
    document = {"about": meta, "results": results, "ratios": report.ratios(results), "problems": problems}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    if options.markdown:
        text = report.markdown_report(results, meta)
        if problems:
            text += "\n" + "\n".join(f"- {problem}" for problem in problems) + "\n"
        options.markdown.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
