"""The ports of recovery: a client over all its connections, and what one that comes back may have.

Whether what it missed is kept by this server or by the whole cluster makes no difference to its socket.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from madang.errors import Reason
from madang.packet import Encoded

if TYPE_CHECKING:
    from madang.core.socket import Socket

__all__ = ["RECOVERABLE", "Presence", "Recollecting", "Ticket"]

#: After these the client may come back; not after an end that somebody meant, or that the client has earned.
RECOVERABLE: Final = frozenset(
    (
        Reason.TRANSPORT_CLOSE,
        Reason.TRANSPORT_ERROR,
        Reason.PING_TIMEOUT,
        Reason.FORCED_CLOSE,
        Reason.FORCED_SERVER_CLOSE,
        Reason.SHUTTING_DOWN,
    )
)


class Presence(ABC):
    """Port: one client in one namespace, over all its connections.

    Attributes:
        pid: the secret id that it comes back with.
        id: the id of its sockets.
        socket: its socket while it is connected here.
        absent: whether it is gone, may come back, and is waited for by this server.
        data: what the program keeps with it, while it has no socket.
    """

    __slots__ = ()

    pid: str
    id: str
    socket: Socket | None
    absent: bool
    data: dict[str, Any] | None

    @abstractmethod
    def emit(self, data: list[Any]) -> None:
        """Send it an event, now or when it comes back, and tell those who listen to outgoing events."""

    @abstractmethod
    def enter(self, room: str) -> None:
        """Its socket enters a room."""

    @abstractmethod
    def join(self, *rooms: str) -> None:
        """Make it enter rooms while it is absent.

        Raises:
            LimitError: it would be in more than `max_rooms_per_socket`.
        """

    @abstractmethod
    def leave(self, *rooms: str) -> None:
        """It leaves rooms."""

    @abstractmethod
    def lost(self, socket: Socket, reason: str) -> None:
        """Its socket has ended."""

    @abstractmethod
    def dismiss(self, close: bool) -> None:
        """It may not come back any more; with `close`, nor into the other namespaces of its connection."""


class Recollecting(ABC):
    """Port: what a cluster keeps for the clients of all its servers that may come back, to whichever of them."""

    __slots__ = ()

    @abstractmethod
    def begin(self, socket: Socket) -> Presence | None:
        """A client is new in a namespace; None if it speaks a generation that doesn't know recovery."""

    @abstractmethod
    def claim(self, socket: Socket, pid: str, offset: Any) -> None:
        """See what a client may have that comes back: then give the socket its ticket, and let it be examined.

        Args:
            socket: its new one, which isn't in yet.
            pid: the secret id that came with the CONNECT packet.
            offset: what came as the offset of the last event that it has seen.
        """

    @abstractmethod
    def moves(self, socket: Socket, enters: str | None = None, leaves: str | None = None) -> None:
        """A client is about to enter or to leave a room, or to be sent away if neither is given.

        For what was said until now it has to be as if it had been with the clients already.
        """


class Ticket(ABC):
    """Port: what a client that comes back may have, until it is let in."""

    __slots__ = ()

    @property
    @abstractmethod
    def stay(self) -> Presence:
        """Who it is."""

    @abstractmethod
    def redeem(self, socket: Socket) -> Sequence[Encoded] | None:
        """Put a new socket in the place of the old one, whose connection ends if it was still thought alive.

        Returns:
            What the client has missed; None: it may not have it any more.
        """

    @abstractmethod
    def abandon(self, reason: str) -> None:
        """The socket was not let in, or has gone before."""
