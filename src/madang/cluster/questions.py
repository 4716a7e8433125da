"""What is asked of the other members of a cluster, until they have answered or time is up.

Request      what all of them share: who has to answer, who has, who is missing
├ Question     acknowledgements of clients
├ Fetch        clients
└ ServerCall   answers of servers
Forwarding   the other side: the acknowledgements of our clients, for the one that has asked
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from madang.core.ack import Ack
from madang.core.wheel import Alarm
from madang.errors import ClusterError

if TYPE_CHECKING:
    from madang.cluster.peers import Peer
    from madang.core.crowd import RemoteSocket
    from madang.core.hub import Hub
    from madang.core.wheel import Wheel

__all__ = ["Fetch", "Forwarding", "Question", "Request", "ServerCall"]


class Request:
    """Something that was asked of the other servers.

    Attributes:
        id: its number.
        namespace: the name of the namespace that it is about.
        answered: who has answered.
        expected: how many answers there have to be; None: not known yet, or those of `waiting`.
        waiting: the members that have to answer, where they are known one by one.
        is_late: whether time was up before all had answered.
    """

    __slots__ = (
        "_deadline",
        "_known",
        "_over",
        "_silent",
        "answered",
        "expected",
        "id",
        "is_complete",
        "is_late",
        "namespace",
        "waiting",
    )

    def __init__(self, id_: str, known: dict[str, Peer], over: Callable[[Request], None]) -> None:
        self.id = id_
        self.namespace = ""
        self.is_late = False
        self.answered: set[str] = set()
        self.expected: int | None = None
        self.waiting: set[str] | None = None
        self.is_complete = False
        self._known = known  # those that live now
        self._silent: list[str] = []  # the names of those that don't seem to
        self._over = over  # is told when nothing is waited for any more
        self._deadline: Alarm | None = None

    def arm(self, wheel: Wheel, due: float) -> None:
        """Wait until then at most."""
        self._deadline = Alarm(self.expire, due)
        wheel.add(self._deadline)

    def expect(self, count: int | None, silent: list[str]) -> None:
        """It is known how many others there are.

        Args:
            count: as many; None: those whose heartbeats are heard.
            silent: the names of those that may be counted, but are not heard any more.
        """
        self._silent = silent
        if count is None:
            self.waiting = set(self._known) - self.answered
        else:
            self.expected = count
        self._check()

    def meet(self, known: dict[str, Peer]) -> None:
        """These live too."""
        self._known |= known

    def heard(self, uid: str) -> None:
        """A member has answered; those of Node.js with the classic adapter don't say who they are."""
        self.answered.add(uid or f"unnamed {len(self.answered)}")
        if self.waiting is not None:
            self.waiting.discard(uid)
        self._check()

    def left(self, uid: str) -> None:
        """A member will not answer any more."""
        if uid in self.answered or self._known.pop(uid, None) is None:
            return
        if self.waiting is not None:
            self.waiting.discard(uid)
        elif self.expected is not None:
            self.expected -= 1
        self._check()

    @property
    def total(self) -> int | None:
        """How many have to answer; None: that is not known yet."""
        return self.expected if self.waiting is None else len(self.waiting) + len(self.answered)

    def _check(self) -> None:
        total = self.total
        if total is not None and len(self.answered) >= total and not self.is_complete:
            self.is_complete = True
            self.completed()

    def completed(self) -> None:
        """All have answered."""
        self.end()

    @property
    def missing(self) -> list[str]:
        """The names of those that have not answered, as far as they are known."""
        names = [peer.name for uid, peer in self._known.items() if uid not in self.answered]
        more = (self.expected or 0) - len(self.answered) - len(names)
        if self.waiting is None and more > 0:
            silent = self._silent[:more]  # the engine still counts them
            names += silent
            if more > len(silent):
                names.append(f"{more - len(silent)} whose name is not known")
        return names

    def end(self) -> None:
        """It is over."""
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()
        self._over(self)

    def expire(self) -> None:
        """Time is up."""
        self.is_late = True
        self.end()


class Question(Request):
    """Acknowledgements of clients are asked for. It ends with them, not when all have told how many they ask."""

    __slots__ = ("ack",)

    def __init__(self, id_: str, known: dict[str, Peer], over: Callable[[Request], None], ack: Ack) -> None:
        super().__init__(id_, known, over)
        self.ack = ack
        ack.hold()
        ack.ask(self)

    def completed(self) -> None:  # noqa: D102
        self.ack.release()


class Fetch(Request):
    """The clients of the others are asked for: await it."""

    __slots__ = ("_future", "_seconds", "found")

    def __init__(
        self, id_: str, known: dict[str, Peer], over: Callable[[Request], None], hub: Hub, seconds: float
    ) -> None:
        super().__init__(id_, known, over)
        self._future = hub.new_future()
        self._seconds = seconds
        self.found: list[RemoteSocket] = []

    def end(self) -> None:  # noqa: D102
        super().end()
        if not self._future.done():
            self._future.set_result(None)

    def __await__(self) -> Generator[Any, Any, list[RemoteSocket]]:
        yield from self._future.__await__()
        if self.is_late:
            raise ClusterError("fetch_sockets", self._seconds, self.found, len(self.answered), self.missing)
        return self.found


class ServerCall(Request):
    """Answers of servers are asked for."""

    __slots__ = ("ack",)

    def __init__(self, id_: str, known: dict[str, Peer], over: Callable[[Request], None], ack: Ack) -> None:
        super().__init__(id_, known, over)
        self.ack = ack
        ack.ask(self)

    def _check(self) -> None:
        if self.total is not None:
            self.ack.expect_servers(self.total)
        super()._check()


class Forwarding(Ack):
    """The acknowledgements of our clients, which another server has asked for."""

    __slots__ = ("_send",)

    def __init__(self, hub: Hub, seconds: float, count: int, send: Callable[[Any], None]) -> None:
        super().__init__(hub, seconds, count)
        self._send = send

    def received(self, arguments: list[Any]) -> None:
        """A client has answered. Of its answer the cluster knows the first argument."""
        if not self.done:
            self._send(arguments[0] if arguments else None)
        super().received(arguments)
