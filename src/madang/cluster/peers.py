"""The other members of a cluster, as far as they are known, and how the cluster is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from madang.cluster.messages import Member
    from madang.config import Cluster

__all__ = ["REMEMBERED", "Health", "Peer"]

#: How many messages of a member are remembered, to know one that is sent again.
REMEMBERED: Final = 2048
#: After so much silence a member of Node.js counts as dead (its adapter's own default, in seconds).
_PATIENCE: Final = 10.0


class Peer:
    """Another member of the cluster.

    Attributes:
        uid: by which its messages are known.
        name: what people know it by.
        node: with what the ids of its sessions begin; None: it is none of ours.
        seen: when it was last heard, in seconds of the engine's clock.
        patience: after how much silence it counts as dead, in seconds.
        namespaces: where it was heard, and when it was last.
    """

    __slots__ = ("name", "namespaces", "node", "patience", "seen", "sent", "uid")

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.name = uid
        self.node: str | None = None
        self.seen = 0.0
        self.patience = _PATIENCE
        self.namespaces: dict[str, float] = {}
        self.sent: deque[int] = deque(maxlen=REMEMBERED)

    def introduce(self, about: Member, settings: Cluster) -> None:
        """It tells who it is: one of ours."""
        self.name, self.node = about.name, about.node
        misses = settings.heartbeat_timeout_seconds / settings.heartbeat_interval_seconds
        self.patience = max(settings.heartbeat_timeout_seconds, misses * about.interval)

    def prune(self, now: float) -> None:
        """Forget the namespaces in which it has been silent for too long, where it would tell that it lives."""
        for name in [name for name, seen in self.namespaces.items() if now - seen > self.patience]:
            del self.namespaces[name]

    def __repr__(self) -> str:
        return f"Peer({self.name})"


@dataclass(frozen=True, slots=True)
class Health:
    """How a cluster is, as one member sees it.

    Attributes:
        connected: whether the engine can be reached.
        buffered_messages: how many messages wait for it.
        buffered_bytes: how many bytes they have.
        members: how many other members are known to live.
        published: how many messages were said to the others.
        received: how many were heard.
        duplicates: how many came twice, and were left out.
        malformed: how many could not be read, and were left out.
        lost: how many of ours were thrown away unsent.
        gaps: how often messages of others may have been missed.
        timeouts: how often not all have answered in time.
    """

    connected: bool
    buffered_messages: int
    buffered_bytes: int
    members: int
    published: int
    received: int
    duplicates: int
    malformed: int
    lost: int
    gaps: int
    timeouts: int
