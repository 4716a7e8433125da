"""The ports to other servers: what one server says to the others, and to their clients, whoever carries it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from madang.errors import LocalProtocolError
from madang.packet import RESERVED_EVENTS

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from madang.core.ack import Ack
    from madang.core.crowd import RemoteSocket
    from madang.core.prepared import Prepared
    from madang.core.target import Target

__all__ = ["Peers", "Relay", "check_server_side"]

#: Names that the reference keeps for what happens to its namespaces, and one that ends a server in Node.js where nobody
#: listens to it.
_RESERVED: Final = RESERVED_EVENTS | {"connection", "new_namespace", "error"}


class Relay(ABC):
    """Port: carries events between servers. What comes from another one is given to `Hub.heard`."""

    __slots__ = ()

    @abstractmethod
    def publish(self, namespace: str, data: Sequence[Any], ack: Ack | None) -> None:
        """Say an event to all other servers, and not to this one.

        Args:
            namespace: where it belongs.
            data: its name and its arguments.
            ack: who wants their answers: `ack.expect_servers(count)` and `ack.received([answer])` tell it.

        Raises:
            EncodeError: an argument can't be sent.
        """


class Peers(Relay):
    """Port: the servers of a cluster, whose clients and rooms are as good as our own."""

    __slots__ = ()

    @property
    def own_rooms(self) -> bool:
        """Whether `open_room` and `shut_room` are also to be told of clients' own rooms, which their ids name."""
        return False

    @abstractmethod
    def broadcast(self, target: Target, prepared: Prepared) -> bool:
        """Say an event to the clients of the others.

        Args:
            target: to whom, and how; of one namespace.
            prepared: the event.

        Returns:
            Whether our own clients get it from the cluster too, in the order in which all get it. Else it is for the
            caller to give it to them, now.

        Raises:
            EncodeError: an argument can't be sent.
        """

    @abstractmethod
    def ask(self, target: Target, prepared: Prepared, ack: Ack, seconds: float) -> None:
        """Say an event to the clients of the others, and collect their acknowledgements.

        Args:
            target: to whom, and how; of one namespace.
            prepared: the event.
            ack: who wants the answers. It is held open until all servers have told how many clients they ask.
            seconds: how long the answers are waited for.
        """

    @abstractmethod
    def fetch(self, target: Target) -> Awaitable[list[RemoteSocket]]:
        """The clients of the others.

        Raises:
            ClusterError: when awaited: not all have answered in time.
        """

    @abstractmethod
    def join(self, target: Target, rooms: tuple[str, ...]) -> None:
        """Make clients of the others enter rooms."""

    @abstractmethod
    def leave(self, target: Target, rooms: tuple[str, ...]) -> None:
        """Make them leave rooms."""

    @abstractmethod
    def disconnect(self, target: Target, close: bool) -> None:
        """Make them go; with `close`, with their whole connections."""

    @abstractmethod
    def open(self, namespace: str) -> None:
        """There is a namespace here from now on."""

    @abstractmethod
    def shut(self, namespace: str) -> None:
        """There is none of this name any more."""

    @abstractmethod
    def open_room(self, namespace: str, room: str) -> None:
        """A room has its first member here."""

    @abstractmethod
    def shut_room(self, namespace: str, room: str) -> None:
        """A room has lost its last member here."""


def check_server_side(event: Any) -> None:
    """Refuse what can't be the name of an event between servers.

    Raises:
        LocalProtocolError: it is no string, or reserved.
    """
    if not isinstance(event, str):
        raise LocalProtocolError(f"an event's name must be a string, not {event!r}")
    if event in _RESERVED:
        raise LocalProtocolError(f"the event name {event!r} is reserved for the libraries; choose another one")
