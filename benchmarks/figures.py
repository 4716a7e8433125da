"""Single figures: what they are called, their medians, and how two servers' stand to each other."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EQUAL_WITHIN = 0.10  # neighbours closer than this are called equal
DISTURBED = 0.05  # a run in which strangers took more of the server's core than this is worth repeating
BUSY_LOAD = 0.90  # a load generator busier than this may have been the limit itself

#: What one step on one server gave: the load generator's figures, and `run` and `repetition` (see document.py).
Step = Mapping[str, Any]
Results = dict[str, dict[str, list[dict[str, Any]]]]  # work -> peer -> one step per repetition


@dataclass(frozen=True)
class Metric:
    """One figure out of a step's result."""

    name: str
    path: tuple[str, ...]
    unit: str
    scale: float = 1.0
    higher_is_better: bool = False
    decimals: int | None = None

    def of(self, result: Step) -> float | None:
        value: Any = result
        for key in self.path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return float(value) * self.scale

    def times_better(self, ours: float, theirs: float) -> float:
        """Of two figures above zero; below 1: ours is the worse one."""
        return ours / theirs if self.higher_is_better else theirs / ours


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float


def spread(metric: Metric, results: Iterable[Step]) -> Spread | None:
    values = [value for value in map(metric.of, results) if value is not None]
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def ratio(metric: Metric, ours: Sequence[Step], theirs: Sequence[Step]) -> Spread | None:
    """How many times better ours are.

    The median is that of the medians; the lowest and the highest are those of the pairs that were taken one after the
    other, in the same repetition. None: one of them has no such figure, or one that is not above zero.
    """
    a, b = spread(metric, ours), spread(metric, theirs)
    if a is None or b is None or a.low <= 0 or b.low <= 0:
        return None
    middle = metric.times_better(a.median, b.median)
    by_repetition = {step.get("repetition"): metric.of(step) for step in theirs}
    pairs = []
    for step in ours:
        mine, other = metric.of(step), by_repetition.get(step.get("repetition"))
        if mine is not None and other is not None:
            pairs.append(metric.times_better(mine, other))
    return Spread(middle, min([middle, *pairs]), max([middle, *pairs]))


def is_equal(times_better: float) -> bool:
    return 1 / (1 + EQUAL_WITHIN) <= times_better <= 1 + EQUAL_WITHIN


def verdict(metric: Metric, ours: Spread, theirs: Spread) -> tuple[float, str]:
    """How many times better we are (below 1: worse), and in words."""
    if ours.median <= 0 or theirs.median <= 0:
        return 0.0, "no ratio (a median is not above zero)"
    times = metric.times_better(ours.median, theirs.median)
    if is_equal(times):
        return times, f"equal ({times:.2f}x)"
    return times, f"{times:.2f}x BETTER" if times > 1 else f"{1 / times:.2f}x WORSE"


def number(value: float, decimals: int | None = None) -> str:
    if decimals is None:
        decimals = 2 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{decimals}f}"


def ranged(found: Spread | None, decimals: int | None = None) -> str:
    """A median with the lowest and the highest, if they differ."""
    if found is None:
        return "-"
    text = number(found.median, decimals)
    if found.low != found.high:
        text += f" ({number(found.low, decimals)}-{number(found.high, decimals)})"
    return text


CPU = Metric("CPU per operation", ("cpu_us_per_operation",), "µs")
RATE = Metric("Throughput", ("per_second",), "/s", higher_is_better=True, decimals=0)
MEMORY = Metric("Memory per client", ("bytes_per_client",), "KiB", scale=1 / 1024)
GROWTH = Metric("Memory growth", ("rss_growth",), "MiB", scale=1 / 2**20)  # in the measured window, of the whole server
P50, P95, P99, WORST = (
    Metric(name, ("latency_us", name), "ms", scale=1 / 1000) for name in ("p50", "p95", "p99", "max")
)
LATENCIES = (P50, P95, P99, WORST)
BUSY = Metric("Server busy", ("server_share",), "%", scale=100, decimals=0)
STRANGERS = Metric("Strangers", ("strangers_share",), "%", scale=100, decimals=0)
