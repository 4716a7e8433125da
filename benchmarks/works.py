"""What is measured. Each work is one run of the load generator with these options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Work:
    """One thing that all servers are asked to do.

    Attributes:
        title: for tables and plots.
        kind: what the load generator calls it.
        operation: what is counted, in the plural.
        latency: what the latencies are of.
        options: of the load generator.
        quick: those that differ with --quick.
        environment: of the server, the same for each.
        runs: "always"; "full": not with --quick; "asked": only when it is named.
    """

    title: str
    kind: str
    operation: str
    latency: str = ""
    options: dict[str, float] = field(default_factory=dict)
    quick: dict[str, float] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    runs: Literal["always", "full", "asked"] = "always"

    def arguments(self, *, quick: bool) -> dict[str, float]:
        return self.options | (self.quick if quick else {})

    def is_due(self, *, quick: bool) -> bool:
        """Whether it runs when no works are named."""
        return self.runs == "always" or (self.runs == "full" and not quick)


@dataclass(frozen=True)
class Pace:
    """How long each step takes, in seconds."""

    warmup: float
    seconds: float
    settle: float
    deadline: float


FULL = Pace(warmup=1.0, seconds=3.0, settle=1.0, deadline=60.0)
QUICK = Pace(warmup=0.4, seconds=0.5, settle=0.3, deadline=30.0)

ECHO = "from event to acknowledgement"
FANOUT = "from the publisher's event to the last recipient"
#: 16 bytes to 64 kB, what the payload of an event may be in the works size-N.
SIZES = (16, 256, 1024, 4096, 16384, 65536)

WORKS: dict[str, Work] = {
    "echo-1": Work("Acknowledged events, 1 client, 1 in flight", "echo", "acks", ECHO, {"clients": 1, "in-flight": 1}),
    "echo-50": Work(
        "Acknowledged events, 50 clients, 1 in flight", "echo", "acks", ECHO, {"clients": 50, "in-flight": 1}
    ),
    "echo-200x4": Work(
        "Acknowledged events, 200 clients, 4 in flight",
        "echo",
        "acks",
        ECHO,
        {"clients": 200, "in-flight": 4},
        runs="full",
    ),
    "untyped-50": Work(
        "Acknowledged events with an object, handler that takes it as it comes, 50 clients, 1 in flight",
        "echo",
        "acks",
        ECHO,
        {"clients": 50, "in-flight": 1, "object": 1},
        runs="full",
    ),
    "typed-50": Work(
        "The same, handler that has the object checked against a class or a schema",
        "echo",
        "acks",
        ECHO,
        {"clients": 50, "in-flight": 1, "object": 2},
        runs="full",
    ),
    "binary": Work(
        "Acknowledged events with a binary attachment of 64 kB, 8 clients, 1 in flight",
        "binary",
        "acks",
        ECHO,
        {"clients": 8, "in-flight": 1, "payload": 65536},
        runs="full",
    ),
    "fanout": Work(
        "Broadcast to a room of 1,000 clients (quick: 500), one at a time",
        "fanout",
        "deliveries",
        FANOUT,
        {"clients": 1000, "burst": 1},
        {"clients": 500},
    ),
    "fanout-burst": Work(
        "Broadcast to a room of 1,000 clients (quick: 500), 8 at once",
        "fanout",
        "deliveries",
        FANOUT,
        {"clients": 1000, "burst": 8},
        {"clients": 500},
    ),
    "fanout-10000": Work(
        "Broadcast to a room of 10,000 clients, one at a time",
        "fanout",
        "deliveries",
        FANOUT,
        {"clients": 10000, "concurrency": 200, "deadline": 120},
        runs="full",
    ),
    "rooms": Work(
        "Broadcast to 100 rooms of 10 clients in turn, 8 rooms at a time",
        "fanout",
        "deliveries",
        FANOUT,
        {"clients": 1000, "rooms": 100, "in-flight": 8},
        {"clients": 500, "rooms": 50},
        runs="full",
    ),
    "mixed": Work(
        "Broadcast to a room of 500 clients of Engine.IO 4 and 500 of Engine.IO 3 (quick: 250 and 250)",
        "fanout",
        "deliveries",
        FANOUT,
        {"clients": 1000, "eio3": 1},
        {"clients": 500},
        {"BENCH_EIO3": "1"},
        runs="full",
    ),
    "churn": Work(
        "Broadcast to a room of 1,000 clients (quick: 500); 100 more join it or leave it with each broadcast",
        "fanout",
        "deliveries",
        FANOUT,
        {"clients": 1000, "churners": 100},
        {"clients": 500},
        runs="full",
    ),
    "slow": Work(
        "50 broadcasts a second of 4 kB to a room of 200 clients, of which 20 do not read",
        "fanout",
        "deliveries",
        "from the moment when the broadcast was due to each recipient that reads",
        {"clients": 200, "slow": 20, "rate": 50, "payload": 4096},
        runs="full",
    ),
    "connect": Work(
        "Connect by WebSocket, CONNECT to the namespace, disconnect (50 at a time)",
        "connect",
        "connects",
        "from dialling to the answer to CONNECT",
        {"concurrency": 50},
    ),
    "connect-upgrade": Work(
        "Open by polling, CONNECT, upgrade to WebSocket, one acknowledged event, disconnect (200 at a time)",
        "connect-upgrade",
        "connects",
        "from dialling to the acknowledgement",
        {"concurrency": 200},
        runs="full",
    ),
    "polling-echo": Work(
        "Acknowledged events over HTTP long-polling, 50 clients, 1 in flight",
        "polling-echo",
        "acks",
        ECHO,
        {"clients": 50},
    ),
    "polling-fanout": Work(
        "Broadcast to a room of 200 clients that use HTTP long-polling, one at a time",
        "polling-fanout",
        "deliveries",
        FANOUT,
        {"clients": 200},
        runs="full",
    ),
    "idle": Work(
        "Memory of idle clients (2,000; quick: 500)",
        "idle",
        "clients",
        options={"clients": 2000, "concurrency": 50},
        quick={"clients": 500},
    ),
    "idle-10000": Work(
        "10,000 idle clients, each asked every 5 s whether it is there",
        "heartbeats",
        "client-seconds",
        options={"clients": 10000, "concurrency": 200, "seconds": 10, "deadline": 300},
        environment={"BENCH_PING_INTERVAL_MS": "5000"},
        runs="full",
    ),
    **{
        f"size-{size}": Work(
            f"Acknowledged events with {size:,} bytes, 50 clients, 1 in flight",
            "echo",
            "acks",
            ECHO,
            {"clients": 50, "in-flight": 1, "payload": size},
            runs="asked",
        )
        for size in SIZES
    },
}
