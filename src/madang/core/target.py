"""Whom to talk to, and how: what `.to().except_().volatile` builds, and the broadcast that follows from it.

A broadcast encodes its packet once for each generation and parser, and hands the same bytes to every member.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, cast

from madang.core.ack import Ack
from madang.core.checks import check_event, check_rooms, check_timeout
from madang.core.crowd import Crowd
from madang.core.prepared import Prepared
from madang.core.shapes import checked
from madang.errors import LocalProtocolError
from madang.packet import EVENT, Packet

if TYPE_CHECKING:
    from madang.core.namespace import Namespace
    from madang.core.recovery import Stay
    from madang.core.relay import Peers
    from madang.core.socket import Socket

__all__ = ["Target"]


class Target(Crowd):
    """Whom to talk to, and how. Each method gives a new one, so that targets can be kept and shared.

    Example:
        ```python
        news = io.to("news").except_("muted")
        news.emit("headline", "Courtyard opens")
        news.volatile.emit("ticker", 42)
        ```
    """

    __slots__ = (
        "_compress",
        "_except",
        "_immediate",
        "_local",
        "_namespace",
        "_only",
        "_rooms",
        "_sender",
        "_single",
        "_timeout",
        "_volatile",
    )

    def __init__(self, namespace: Namespace, sender: Socket | None = None, only: Socket | None = None) -> None:
        self._namespace = namespace
        self._sender = sender  # the socket on whose behalf it is said, which does not hear it
        self._only = only  # a single recipient
        self._rooms: tuple[str, ...] = ()
        self._except: tuple[str, ...] = ()
        self._volatile = False
        self._local = False
        self._immediate = False
        self._compress = True
        self._timeout: float | None = None
        self._single = False  # whether it is one client, wherever it may be

    def _copy(self) -> Self:
        copy = type(self)(self._namespace, self._sender, self._only)
        copy._rooms = self._rooms
        copy._except = self._except
        copy._volatile = self._volatile
        copy._local = self._local
        copy._immediate = self._immediate
        copy._compress = self._compress
        copy._timeout = self._timeout
        copy._single = self._single
        return copy

    def _target(self) -> Target:
        return self

    def _widened(self) -> Target:
        """From one socket to the others: what `to`, `except_` and `broadcast` mean on a socket."""
        copy = self._copy()
        if copy._only is not None:
            copy._sender, copy._only = copy._only, None
        return copy

    def to(self, *rooms: str) -> Target:  # noqa: D102
        return self._copy()._narrowed(rooms)

    def in_(self, *rooms: str) -> Target:  # noqa: D102
        return self._copy()._narrowed(rooms)

    def _narrowed(self, rooms: tuple[str, ...]) -> Self:
        """Change this one, which is nobody else's yet, to what `to` means."""
        if not rooms:
            raise LocalProtocolError(
                "to() without a room would mean everyone; leave it out to reach everyone, or check the list of rooms"
            )
        check_rooms(rooms)
        if self._only is not None:
            self._sender, self._only = self._only, None
        self._rooms += rooms
        return self

    def except_(self, *rooms: str) -> Target:  # noqa: D102
        check_rooms(rooms)
        copy = self._widened()
        copy._except += rooms
        return copy

    @property
    def broadcast(self) -> Target:
        """Everyone but the socket itself."""
        return self._widened()

    @property
    def volatile(self) -> Target:  # noqa: D102
        copy = self._copy()
        copy._volatile = True
        return copy

    @property
    def local(self) -> Target:  # noqa: D102
        copy = self._widened()
        copy._local = True
        return copy

    @property
    def immediate(self) -> Target:  # noqa: D102
        copy = self._copy()
        copy._immediate = True
        return copy

    def compress(self, value: bool) -> Target:  # noqa: D102
        copy = self._copy()
        copy._compress = value
        return copy

    def timeout(self, seconds: float) -> Target:  # noqa: D102
        copy = self._copy()
        copy._timeout = seconds
        return copy

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to all of the target. An ordinary function: it writes or queues, and returns.

        Args:
            event: its name.
            args: its arguments: JSON, with bytes anywhere in them.

        Raises:
            EncodeError: an argument can't be sent.
            WrongThreadError: not called where the server runs.
            LocalProtocolError: the name is reserved.
        """
        self._say([event, *args], None)

    def send(self, *args: Any) -> None:
        """Send the event "message"."""
        self._say(["message", *args], None)

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack:
        """Send an event and ask for an acknowledgement, or one from each client of the target.

        Args:
            event: its name.
            args: its arguments.
            timeout: how long to wait, in seconds; without it `timeout(...)` or the setting `ack_timeout_seconds`.
            returns: the type that each answer must have; without it, answers are taken as they come.

        Returns:
            What can be awaited: for one socket its answer, for several a list of their answers.

        Raises:
            AckTimeout: when awaited: not all have answered; `received` has the answers that came.
            Disconnected: when awaited: the one client is gone.
            InvalidAnswer: when awaited: an answer is not what `returns` says.

        Example:
            ```python
            answer = await socket.call("question", "ready?", timeout=5)
            votes = await io.to("jury").timeout(10).call("vote")
            ```
        """
        seconds = timeout if timeout is not None else self._timeout
        hub = self._namespace.hub
        hub.guard()
        if seconds is None:
            seconds = hub.engine.config.ack_timeout_seconds
        check_timeout(seconds)
        members = list(self._members())
        wanted = None if returns is None else checked(returns, f'the call of "{event}"', "returns")
        ack = Ack(hub, seconds, None if self._only is not None or self._single else len(members), wanted)
        self._say([event, *args], ack)
        return ack

    @property
    def _is_shared(self) -> bool:
        """Whether the clients of other servers are meant too."""
        return not self._local and self._only is None

    def _parts(self) -> list[Target]:
        """The same for each single namespace, where several are meant."""
        children = self._namespace._children
        if children is None:
            return [self]
        parts = []
        for child in list(children.values()):
            part = self._copy()
            part._namespace = child
            parts.append(part)
        return parts

    def _elsewhere(self) -> list[tuple[Peers, Target]]:
        """Those parts with the servers whose clients are meant too; none where there are no others."""
        peers = self._namespace.hub.peers
        return [(peers, part) for part in self._parts()] if peers is not None and self._is_shared else []

    def _members(self) -> Iterable[Socket]:
        if self._only is not None:
            only = self._only._current()
            return (only,) if only.connected else ()
        sender = self._sender._current() if self._sender is not None else None
        return self._namespace._select(self._rooms, self._except, sender)

    def _absent(self) -> Iterable[Stay]:
        """Those of the target who were lost, and may come back."""
        namespace = self._namespace
        if namespace._children is not None:
            logs = [child._log for child in namespace._children.values()]
            return [stay for log in logs if log is not None for stay in log.select(self._rooms, self._except, None)]
        log = namespace._log
        if log is None or not log.absent:
            return ()
        if self._only is not None:
            stay = self._only._stay
            return (cast("Stay", stay),) if stay is not None and stay.absent else ()
        return log.select(self._rooms, self._except, self._sender.id if self._sender is not None else None)

    def _say(self, data: list[Any], ack: Ack | None, prepared: Prepared | None = None) -> None:
        namespace = self._namespace
        hub = namespace.hub
        hub.guard()
        check_event(data[0])
        if hub.peers is not None and self._is_shared:
            if ack is None:
                for part in self._parts():
                    if prepared is None or part is not self:  # a packet names its namespace
                        prepared = Prepared(Packet(EVENT, data, part._namespace.name), self._compress)
                    if not hub.peers.broadcast(part, prepared):
                        part._give(data, None, prepared)
                return
            ack.hold()  # else it would be done if the first that are asked have nobody to ask
            for part in self._parts():
                hub.peers.ask(part, Prepared(Packet(EVENT, data, part._namespace.name)), ack, ack.seconds)
            self._give(data, ack, prepared)
            ack.release()
            return
        self._give(data, ack, prepared)

    def _give(self, data: list[Any] | None, ack: Ack | None, prepared: Prepared | None) -> None:
        """Give it to the clients of this server.

        Args:
            data: the event; None: that of `prepared`, which is only read where somebody wants to see it.
            ack: who wants to know what they answer.
            prepared: the event, if it is encoded already.
        """
        namespace = self._namespace
        if ack is None:
            self._spread(namespace, data, None, self._members(), prepared)
        else:
            id_ = namespace._next_id()
            asked = list(self._members())
            self._spread(namespace, data, id_, asked)
            ack.expect(id_, asked, self._only._ended if self._only is not None else None)
        if self._immediate:
            for socket in list(self._members()):
                socket.session.write_out()
        if namespace._eavesdroppers or (namespace._children and namespace._overheard()):
            if data is None:
                assert prepared is not None  # one of both is there  # noqa: S101
                data = prepared.packet.data
            for socket in list(self._members()):
                socket._notify_outgoing(data)

    def _spread(
        self,
        namespace: Namespace,
        data: list[Any] | None,
        id_: int | None,
        members: Iterable[Socket],
        prepared: Prepared | None = None,
    ) -> None:
        if namespace._children is not None:
            # A packet names its namespace, so each child gets one of its own.
            for child in namespace._children.values():
                self._spread(child, data, id_, child._select(self._rooms, self._except, self._sender))
            return
        if prepared is None:  # else another thread has encoded it
            prepared = Prepared(Packet(EVENT, data, namespace.name, id_), self._compress)
        volatile = self._volatile
        log = namespace._log
        if log is not None and id_ is None and log.stays:
            only = self._only
            if only is None:
                log.number(prepared, self._rooms, self._except, self._sender, self._compress, volatile)
            elif (stay := cast("Stay | None", only._stay)) is not None and stay.awaited:
                log.number(prepared, stay.alone, (), None, self._compress, volatile)
        prepared.push(members, volatile)
