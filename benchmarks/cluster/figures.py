"""From what was counted in a window to figures that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reading:
    """All counters at one moment.

    Attributes:
        time: of the clock (seconds).
        nodes: processor time of each node (seconds).
        engine: that of the engine.
        load: that of the load generator.
        idle: for how long the cores were idle, all together (seconds).
        tally: what the engine counts: commands, bytes_in, bytes_out; empty where it counts nothing.
    """

    time: float
    nodes: tuple[float, ...]
    engine: float
    load: float
    idle: float
    tally: Mapping[str, int]


@dataclass(frozen=True)
class Window:
    """What happened between two readings."""

    seconds: float
    nodes: tuple[float, ...]
    engine: float
    load: float
    idle: float
    tally: Mapping[str, int]

    @classmethod
    def between(cls, before: Reading, after: Reading) -> Window:
        return cls(
            after.time - before.time,
            tuple(late - early for early, late in zip(before.nodes, after.nodes, strict=True)),
            after.engine - before.engine,
            after.load - before.load,
            after.idle - before.idle,
            {name: after.tally[name] - before.tally[name] for name in after.tally},
        )

    def strangers(self, cores: int) -> float:
        """The share of the machine that others took."""
        known = sum(self.nodes) + self.engine + self.load
        return max(0.0, 1.0 - (self.idle + known) / (self.seconds * cores))

    def common(self, cores: int) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "strangers_share": self.strangers(cores),
            "load_share": self.load / self.seconds,
            "engine_share": self.engine / self.seconds,
        }


def per(amount: float, count: float) -> float:
    """An amount for each of several; 0 where there are none."""
    return amount / count if count else 0.0


def publishing(window: Window, received: Sequence[int], clients_of_a_room: int, apart: bool) -> dict[str, Any]:
    """The figures of events that one node emits.

    Args:
        window: the first of its nodes is the publisher.
        received: how many events the clients of each port have received in it.
        clients_of_a_room: how many receive each event.
        apart: whether the publisher is a process of its own, without clients.
    """
    deliveries = sum(received)
    messages = deliveries / clients_of_a_room
    found: dict[str, Any] = {
        "messages": messages,
        "deliveries": deliveries,
        "messages_per_second": per(messages, window.seconds),
        "nodes_us_per_delivery": per(sum(window.nodes), deliveries) * 1e6,
        "nodes_us_per_message": per(sum(window.nodes), messages) * 1e6,
        "engine_us_per_message": per(window.engine, messages) * 1e6,
        "busiest_node_share": per(max(window.nodes), window.seconds),
    }
    if apart:
        found["publisher_us_per_message"] = per(window.nodes[0], messages) * 1e6
        found["receivers_us_per_delivery"] = per(sum(window.nodes[1:]), deliveries) * 1e6
    for name, count in window.tally.items():
        found[f"{name}_per_message"] = per(count, messages)
    return found


def fetching(window: Window, microseconds: Sequence[float]) -> dict[str, Any]:
    """The figures of several times `fetch_sockets`."""
    count = len(microseconds)
    found = {
        "fetches": count,
        "latency_us": {"p50": percentile(microseconds, 0.5), "p95": percentile(microseconds, 0.95)},
        "asker_us_per_fetch": per(window.nodes[0], count) * 1e6,
        "others_us_per_fetch": per(sum(window.nodes[1:]), count) * 1e6,
        "engine_us_per_fetch": per(window.engine, count) * 1e6,
    }
    for name, amount in window.tally.items():
        found[f"{name}_per_fetch"] = per(amount, count)
    return found


def idling(window: Window) -> dict[str, Any]:
    """What each node costs while nothing happens."""
    nodes = len(window.nodes)
    found = {
        "cpu_us_per_node_second": per(sum(window.nodes), nodes * window.seconds) * 1e6,
        "engine_us_per_node_second": per(window.engine, nodes * window.seconds) * 1e6,
    }
    for name, amount in window.tally.items():
        found[f"{name}_per_node_second"] = per(amount, nodes * window.seconds)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; 0 of no values."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]
