"""What sockets, namespaces, targets and the server share: everything that begins with a choice of whom to talk to.

What programs see of a client that another server may have is here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from madang.core.checks import check_rooms
from madang.errors import LimitError, LocalProtocolError

if TYPE_CHECKING:
    from madang.core.ack import Ack
    from madang.core.recovery import Stay
    from madang.core.socket import Socket
    from madang.core.target import Target

__all__ = ["Crowd", "RemoteHandshake", "RemoteSocket", "Sender"]


class Sender:
    """What sockets, namespaces and targets share: everything that begins with a choice of whom to talk to."""

    __slots__ = ()

    def _target(self) -> Target:
        raise LocalProtocolError("this object has no target")

    def to(self, *rooms: str) -> Target:
        """Everyone in at least one of the rooms (a socket's id is a room too); from a socket: but itself.

        Raises:
            LocalProtocolError: there is no room, or its name is no string.
        """
        return self._target()._narrowed(rooms)

    def in_(self, *rooms: str) -> Target:
        """The same as `to`."""
        return self._target()._narrowed(rooms)

    def except_(self, *rooms: str) -> Target:
        """Leave out who is in one of these rooms."""
        return self._target().except_(*rooms)

    @property
    def volatile(self) -> Target:
        """Drop the packet for clients that can't take it at once."""
        return self._target().volatile

    @property
    def local(self) -> Target:
        """Reach the clients of this server process only; from a socket: all of them but itself."""
        return self._target().local

    @property
    def immediate(self) -> Target:
        """Write it now, and what was written before it, not at the end of this turn of the event loop.

        For a handler that goes on to block the event loop for a while. What is written within one turn is joined
        otherwise, which costs much less. Over polling one answer goes at once, if the client waits for one. Where ASGI
        is between, nothing can go before the handler waits or ends.

        Example:
            ```python
            @io.on("render")
            def render(socket: Socket) -> None:
                socket.emit("progress", 0)
                socket.immediate.emit("status", "rendering")  # both are on their way
                render_for_half_a_second()
            ```
        """
        return self._target().immediate

    def compress(self, value: bool) -> Target:
        """Whether compression is tried, where it is switched on."""
        return self._target().compress(value)

    def timeout(self, seconds: float) -> Target:
        """How long `call` waits, in seconds."""
        return self._target().timeout(seconds)


class RemoteHandshake(Protocol):
    """How a client came, wherever it is. Every `Handshake` is one."""

    @property
    def auth(self) -> dict[str, Any]:
        """The dict that the client gave as `auth`."""

    @property
    def query(self) -> dict[str, str]:
        """The fields of the URL's query."""

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers, names in lower case."""

    @property
    def address(self) -> str:
        """The client's IP address."""

    @property
    def secure(self) -> bool:
        """Whether it used TLS."""

    @property
    def url(self) -> str:
        """Path and query of the request."""

    @property
    def time(self) -> float:
        """When it came, in seconds since the epoch."""

    @property
    def cross_domain(self) -> bool:
        """Whether a web page opened the connection."""


class RemoteSocket(Protocol):
    """What `fetch_sockets` gives: a client of this server, or of another one.

    Every `Socket` is one. What a client of another server can do as well is only this: keep to it, and a program
    needs no change once there are several.
    """

    @property
    def id(self) -> str:
        """Its id; a room of this name reaches it."""

    @property
    def handshake(self) -> RemoteHandshake:
        """How it came."""

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in; of another server's client, those that it was in when it was fetched."""

    @property
    def data(self) -> dict[str, Any]:
        """What its server keeps with it; of another server's client a copy."""

    def emit(self, event: str, *args: Any) -> None:
        """Send it an event."""

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack:
        """Ask it for an acknowledgement."""

    def join(self, *rooms: str) -> None:
        """Make it enter rooms."""

    def leave(self, *rooms: str) -> None:
        """Make it leave rooms."""

    def disconnect(self, close: bool = False) -> None:
        """Make it leave the namespace, or end its connection."""


class Crowd(Sender):
    """What servers, namespaces and targets share: what can be asked of many clients, or done to them."""

    __slots__ = ()

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """The clients themselves: their ids, rooms and data.

        Await it, because clients of other servers have to be asked for.

        Raises:
            WrongThreadError: not called where the server runs.
            ClusterError: other servers have not answered in time; `received` has the clients that are known.

        Example:
            ```python
            for socket in await io.in_("lobby").fetch_sockets():
                print(socket.id, socket.data.get("name"))
            ```
        """
        target = self._target()
        hub = target._namespace.hub
        hub.guard()
        here: list[RemoteSocket] = list(target._members())
        for peers, part in target._elsewhere():
            here += await peers.fetch(part)
        return here

    def sockets_join(self, *rooms: str) -> None:
        """Make all of them enter rooms.

        Raises:
            LimitError: some would be in more than `max_rooms_per_socket`; all others have entered.

        Example:
            ```python
            io.in_("lobby").sockets_join("game")
            ```
        """
        target = self._target()
        hub = target._namespace.hub
        hub.guard()
        check_rooms(rooms)
        for peers, part in target._elsewhere():
            peers.join(part, rooms)
        refused: LimitError | None = None
        everyone: list[Socket | Stay] = [*target._members(), *target._absent()]
        for one in everyone:
            try:
                one.join(*rooms)
            except LimitError as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def sockets_leave(self, *rooms: str) -> None:
        """Make all of them leave rooms."""
        target = self._target()
        hub = target._namespace.hub
        hub.guard()
        check_rooms(rooms)
        for peers, part in target._elsewhere():
            peers.leave(part, rooms)
        everyone: list[Socket | Stay] = [*target._members(), *target._absent()]
        for one in everyone:
            one.leave(*rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Make all of them leave the namespace. One that was lost and might come back as what it was, may not any more.

        Args:
            close: end their whole connections, with all other namespaces.

        Example:
            ```python
            io.in_("banned").disconnect_sockets(close=True)
            ```
        """
        target = self._target()
        hub = target._namespace.hub
        hub.guard()
        for peers, part in target._elsewhere():
            peers.disconnect(part, close)
        if hub.memory is not None:
            hub.memory.dismiss(target._absent(), close)
        for socket in list(target._members()):
            socket.disconnect(close)
