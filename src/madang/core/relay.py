"""The port to other servers: what one server says to the others, whoever carries it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from madang.errors import LocalProtocolError
from madang.packet import RESERVED_EVENTS

if TYPE_CHECKING:
    from madang.core.ack import Ack

__all__ = ["Relay", "check_server_side"]

#: Names that the reference keeps for what happens to its namespaces.
_RESERVED: Final = RESERVED_EVENTS | {"connection", "new_namespace"}


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


def check_server_side(event: Any) -> None:
    """Refuse what can't be the name of an event between servers.

    Raises:
        LocalProtocolError: it is no string, or reserved.
    """
    if not isinstance(event, str):
        raise LocalProtocolError(f"an event's name must be a string, not {event!r}")
    if event in _RESERVED:
        raise LocalProtocolError(f"the event name {event!r} is reserved for the libraries; choose another one")
