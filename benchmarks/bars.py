"""What Madang is to reach beside each peer, and whether it does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .figures import CPU, EQUAL_WITHIN, MEMORY, P99, RATE, Metric, Results, Spread, ratio
from .peers import BUILDS, OUR_OWN
from .works import WORKS

ECHO_AND_FANOUT = frozenset({"echo", "fanout"})


@dataclass(frozen=True)
class Bar:
    """How many times better than a peer Madang is to be.

    Attributes:
        peers: beside whom.
        metrics: in which figures.
        least: so many times better.
        kinds: of works; None: all.
        is_aim: it is told how far it is reached, but it is not a failure if it isn't.
    """

    peers: tuple[str, ...]
    metrics: tuple[Metric, ...]
    least: float
    kinds: frozenset[str] | None = None
    is_aim: bool = False


BARS = (
    Bar(("node-ws",), (CPU, RATE, MEMORY), 1.5),
    Bar(("node-uws",), (CPU, RATE), 1.0),
    Bar(("node-uws",), (MEMORY,), 2.0),
    Bar(("node-ws", "node-uws"), (P99,), 1.0),
    Bar(("python-socketio", "python-socketio-aiohttp"), (CPU, RATE), 8.0, ECHO_AND_FANOUT),
    Bar(("floor",), (CPU,), 1 / 1.3, frozenset({"fanout"})),
    Bar(("socketioxide",), (CPU,), 1 / 1.3, is_aim=True),
)


@dataclass(frozen=True)
class Verdict:
    """One bar, in one work, for one build of Madang.

    Attributes:
        times_better: the median, and the lowest and highest of the pairs.
        least: what was to be reached.
    """

    work: str
    peer: str
    ours: str
    metric: str
    least: float
    times_better: Spread
    is_aim: bool

    @property
    def outcome(self) -> str:
        """``reached``, ``equal`` (where the bar is to be no worse, and the two are that close), or ``missed``."""
        if self.times_better.median >= self.least:
            return "reached"
        if self.least == 1.0 and self.times_better.median >= 1 / (1 + EQUAL_WITHIN):
            return "equal"
        return "missed"

    @property
    def short_by(self) -> float:
        """The share of the bar that is missing; 0: none."""
        return max(0.0, 1 - self.times_better.median / self.least)

    def to_json(self) -> dict[str, Any]:
        found = self.times_better
        return {
            "work": self.work,
            "peer": self.peer,
            "ours": self.ours,
            "metric": self.metric,
            "bar": round(self.least, 4),
            "is_aim": self.is_aim,
            "times_better": found.median,
            "lowest": found.low,
            "highest": found.high,
            "outcome": self.outcome,
            "short_by": self.short_by,
        }


def compared_metrics(work: str) -> tuple[Metric, ...]:
    """The figures of a work in which servers are set against each other."""
    about = WORKS[work]
    if about.kind == "idle":
        return (MEMORY,)
    if about.kind == "heartbeats":
        return (CPU, MEMORY)
    if about.options.get("rate", 0):  # how many operations there are was not up to the server
        return (CPU, P99)
    return (CPU, RATE, P99)


def verdicts(results: Results) -> list[Verdict]:
    """All bars that these results can tell of, in the order of the works."""
    found = []
    for work, by_peer in results.items():
        for ours in (name for name in BUILDS if name in by_peer):
            for bar in BARS:
                if bar.kinds is not None and WORKS[work].kind not in bar.kinds:
                    continue
                for peer in (name for name in bar.peers if name in by_peer):
                    for metric in (metric for metric in compared_metrics(work) if metric in bar.metrics):
                        times = ratio(metric, by_peer[ours], by_peer[peer])
                        if times is not None:
                            found.append(Verdict(work, peer, ours, metric.name, bar.least, times, bar.is_aim))
    return found


def places(results: Results) -> Iterable[tuple[str, str, str, int, int]]:
    """Where each build of Madang stands: work, build, figure, its place, and of how many.

    Its own other builds and faces are no peers.
    """
    for work, by_peer in results.items():
        others = [peer for peer in by_peer if peer not in OUR_OWN]
        for ours in (name for name in BUILDS if name in by_peer):
            for metric in compared_metrics(work):
                times = [ratio(metric, by_peer[ours], by_peer[peer]) for peer in others]
                known = [found.median for found in times if found is not None]
                if known:
                    yield work, ours, metric.name, 1 + sum(value < 1 for value in known), 1 + len(known)
