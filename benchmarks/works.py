"""What is measured. Each work is one run of the load generator with these options."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Work:
    title: str
    kind: str  # what the load generator calls it
    operation: str  # what is counted, in the plural
    latency: str = ""  # what the latencies are of
    options: dict[str, int] = field(default_factory=dict)
    quick: dict[str, int] = field(default_factory=dict)  # what differs with --quick

    def arguments(self, *, quick: bool) -> dict[str, int]:
        return self.options | (self.quick if quick else {})


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
    ),
    "untyped-50": Work(
        "Acknowledged events with an object, untyped handler, 50 clients, 1 in flight",
        "echo",
        "acks",
        ECHO,
        {"clients": 50, "in-flight": 1, "object": 1},
    ),
    "typed-50": Work(
        "The same, typed handler: the object is checked against a class",
        "echo",
        "acks",
        ECHO,
        {"clients": 50, "in-flight": 1, "object": 2},
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
    "connect": Work(
        "Connect by WebSocket, CONNECT to the namespace, disconnect (50 at a time)",
        "connect",
        "connects",
        "from dialling to the answer to CONNECT",
        {"concurrency": 50},
    ),
    "polling-echo": Work(
        "Acknowledged events over HTTP long-polling, 50 clients, 1 in flight",
        "polling-echo",
        "acks",
        ECHO,
        {"clients": 50},
    ),
    "idle": Work(
        "Memory of idle clients (2,000; quick: 500)",
        "idle",
        "clients",
        options={"clients": 2000, "concurrency": 50},
        quick={"clients": 500},
    ),
}
