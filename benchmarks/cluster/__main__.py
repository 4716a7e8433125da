"""``python -m benchmarks.cluster``: see the README of the folder above this file."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.__main__ import Progress, interrupt, names
from benchmarks.cluster import report
from benchmarks.cluster.measure import session
from benchmarks.cluster.nodes import PEERS, cores
from benchmarks.cluster.works import BACKENDS, WARMUP_TIMES, WORKS, Pace
from benchmarks.compile import NotBuiltError, built
from benchmarks.machine import fingerprint
from benchmarks.nodejs import UnavailableError
from benchmarks.pages import put_into
from benchmarks.peers import HERE
from benchmarks.runner import LOAD_SOURCE, StepFailedError

#: A running cluster: engine, how many nodes, peer; and what is done with it.
Plan = list[tuple[str, int, str, list[str]]]


def numbers(text: str) -> list[int]:
    return [int(name) for name in names(text)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--only", type=names, metavar="WORKS", help=f"some of: {', '.join(WORKS)}")
    parser.add_argument("--engines", type=names, metavar="ENGINES", help=f"some of: {', '.join(BACKENDS)}")
    parser.add_argument("--nodes", type=numbers, metavar="N,...", help="some of: 1, 2, 4")
    parser.add_argument("--peers", type=names, metavar="PEERS", help=f"some of: {', '.join(PEERS)}")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="repetitions (default 1)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="how long each is measured (default 2)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", default=HERE / "results" / "cluster.md")
    parser.add_argument("--json", type=Path, metavar="FILE", default=HERE / "results" / "cluster.json")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the marks of this page too")
    options = parser.parse_args()
    for given, known in ((options.only, WORKS), (options.engines, BACKENDS), (options.peers, PEERS)):
        for name in given or ():
            if name not in known:
                parser.error(f"{name!r} is none of: {', '.join(known)}")
    if options.repeat < 1 or not 0.1 <= options.seconds <= 60:
        parser.error("--repeat must be at least 1, --seconds from 0.1 to 60")
    return options


def planned(options: argparse.Namespace, peers: list[str]) -> Plan:
    plan = []
    for engine, backend in BACKENDS.items():
        if options.engines and engine not in options.engines:
            continue
        for nodes, works in backend.plan.items():
            wanted = [work for work in works if not options.only or work in options.only]
            if not wanted or (options.nodes and nodes not in options.nodes):
                continue
            plan += [(engine, nodes, peer, wanted) for peer in peers if peer != "node" or backend.adapter is not None]
    return plan


def brief(work: str, result: dict[str, Any]) -> str:
    told = []
    for metric in report.COLUMNS[work]:
        value = metric.of(result)
        if value is not None and len(told) < 4:
            told.append(f"{metric.name} {value:.1f}")
    return ", ".join(told)


def usable(asked: list[str] | None) -> tuple[list[str], list[str]]:
    """Those that can run, and why the others cannot."""
    found, problems = [], []
    for name in asked or PEERS:
        try:
            PEERS[name].prepare()
            found.append(name)
        except UnavailableError as error:
            problems.append(f"{name} LEFT OUT: {error}")
    return found, problems


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, interrupt)  # so that servers are stopped on the way out
    peers, problems = usable(options.peers)
    try:
        built(LOAD_SOURCE)
    except NotBuiltError as error:
        print(f"the load generator is missing: {error}", file=sys.stderr)
        return 1
    for problem in problems:
        print(problem, file=sys.stderr)
    plan = planned(options, peers)
    if not plan:
        print("nothing to run: no engine has these works with so many nodes", file=sys.stderr)
        return 1
    if cores()[0] in cores()[1]:
        problems.append("only one core: nodes and load generator share it; the latencies mean little")
    meta = report.about(peers, repeat=options.repeat, seconds=options.seconds)
    results: report.Results = {}
    failures: list[str] = []
    pace = Pace(seconds=options.seconds, warmup=min(1.0, options.seconds))
    progress = Progress(options.repeat * sum(len(works) for *_, works in plan))
    interrupted = False
    try:
        for repetition in range(1, options.repeat + 1):
            for engine, nodes, peer, works in plan:  # A B, A B: a slow moment of the machine hits all alike
                label = f"{engine} {nodes} {peer}" + (f" #{repetition}" if options.repeat > 1 else "")
                try:
                    with session(
                        PEERS[peer],
                        BACKENDS[engine],
                        nodes,
                        pace,
                        warmup=pace.warmup * WARMUP_TIMES[peer],
                        relays=peer == report.OURS,
                    ) as running:
                        for work in works:
                            progress.step(f"{label} {work}")
                            try:
                                result = running.do(work)
                            except StepFailedError as error:
                                failures.append(f"{label} {work} FAILED: {error}")
                                progress.finished(f"{label} {work}", f"FAILED: {error}")
                                continue
                            results.setdefault((engine, nodes, work), {}).setdefault(peer, []).append(result)
                            progress.finished(f"{label} {work}", brief(work, result))
                except (UnavailableError, StepFailedError) as error:
                    failures.append(f"{label} FAILED: {error}")
                    progress.finished(label, f"FAILED: {error}")
    except KeyboardInterrupt:
        interrupted = True
        problems.append("INTERRUPTED: not all steps ran")

    if report.OURS in peers and fingerprint() != meta["source"]:
        problems.append("Madang's source CHANGED while this ran: its figures are a mixture")
    problems += report.warnings(results)
    if results:
        write(options, results, meta, problems + failures)
    for problem in problems + failures:
        print(f"\n{problem}")
    if interrupted:
        return 130
    return 1 if failures or report.OURS not in peers else 0


def write(options: argparse.Namespace, results: report.Results, meta: dict[str, Any], problems: list[str]) -> None:
    print(report.text_report(results, meta))
    steps = [
        {"engine": engine, "nodes": nodes, "work": work, "peers": by_peer}
        for (engine, nodes, work), by_peer in results.items()
    ]
    document = {"about": meta, "results": steps, "ratios": report.ratios(results), "problems": problems}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    markdown = report.markdown_report(results, meta, problems)
    options.markdown.parent.mkdir(parents=True, exist_ok=True)
    options.markdown.write_text(markdown)
    if options.write:
        put_into(options.write, "cluster", markdown)


if __name__ == "__main__":
    sys.exit(main())
