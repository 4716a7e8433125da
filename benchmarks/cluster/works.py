"""What is measured, over which engines, with how many nodes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks.cluster import engines
from benchmarks.cluster.engines import Engine


@dataclass(frozen=True)
class Work:
    """One thing that is done with a cluster.

    Attributes:
        title: in words.
        clients: on each node that is not the publisher, or on all nodes together.
        rooms: how many rooms they are in, each in one; 0: as many as clients.
        burst: how many events are emitted at once.
        milliseconds: how often that is done.
    """

    title: str
    clients: int = 0
    rooms: int = 1
    burst: int = 1
    milliseconds: float = 20.0

    @property
    def publishes(self) -> bool:
        return self.clients > 0


FANOUT = "One node emits 50 events per second to a room with 100 clients on each other node"
BURST = "One node emits bursts of 40 events each 20 ms to a room with one client on each other node"
ROOMS = "The same to 100 rooms in turn for each other node; each has one client, on one node"

WORKS: dict[str, Work] = {
    "fanout": Work(FANOUT, clients=100),
    "burst": Work(BURST, clients=1, burst=40),
    "rooms": Work(ROOMS, clients=100, rooms=0, burst=40),
    "fetch": Work("One node fetches the sockets of all, 1,000 clients"),
    "idle": Work("Nodes without clients"),
    "relay": Work("Acknowledged events over long-polling, 20 clients: to the right node, and to the wrong one"),
}
#: How many clients there are in all, and how many come and go before their memory is looked at.
FETCHED = 1000
PASSING = 50
POLLING = 20
#: An idle node has something to say each second; this long (seconds) is looked at.
IDLE_SECONDS = 8.0


@dataclass(frozen=True)
class Backend:
    """One engine, as the peers name it.

    Attributes:
        title: in words.
        start: starts it, on a core.
        scheme: of Madang's URL; empty: there is none.
        adapter: what node_cluster.js calls its adapter; None: Node.js has none.
        plan: with how many nodes to do what.
        slower: by how much bursts are smaller.
    """

    title: str
    start: Callable[[int], AbstractContextManager[Engine]]
    scheme: str
    adapter: str | None
    plan: dict[int, tuple[str, ...]]
    slower: int = 1

    @property
    def is_local(self) -> bool:
        """Whether the nodes are the workers behind one port."""
        return not self.scheme


PAIR = {2: ("fanout", "burst")}
BACKENDS: dict[str, Backend] = {
    "redis": Backend(
        "Redis, sharded",
        engines.redis,
        "redis",
        "sharded",
        {
            1: ("fanout", "burst"),
            2: ("fetch", "fanout", "burst", "rooms", "relay", "idle"),
            4: ("fetch", "fanout", "burst", "rooms", "idle"),
        },
    ),
    "classic": Backend("Redis, classic", engines.redis, "redis-classic", "classic", PAIR),
    "streams": Backend("Redis Streams", engines.redis, "redis-streams", "streams", PAIR),
    "postgres": Backend("PostgreSQL", engines.postgres, "postgresql", "postgres", PAIR, slower=4),
    "nats": Backend("NATS", engines.nats, "nats", None, PAIR),
    "workers": Backend("workers of one port", engines.none, "", "workers", {2: ("fanout",), 4: ("fanout",)}),
}


@dataclass(frozen=True)
class Pace:
    """How long things take, in seconds."""

    warmup: float = 1.0
    seconds: float = 2.0
    settle: float = 0.4
    meet: float = 1.5  # until the nodes know each other
    deadline: float = 60.0


#: Node.js compiles hot code while it runs.
WARMUP_TIMES = {"madang": 1.0, "node": 3.0}
