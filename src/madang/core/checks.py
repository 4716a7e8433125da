"""What programs may name: events, rooms and times to wait."""

from __future__ import annotations

from typing import Any

from madang.errors import LimitError, LocalProtocolError
from madang.packet import RESERVED_EVENTS

__all__ = ["check_event", "check_limit", "check_rooms", "check_timeout"]


def check_event(event: Any) -> None:
    """Refuse what can't be the name of an event.

    Raises:
        LocalProtocolError: it is no string, or reserved.
    """
    if not isinstance(event, str):
        raise LocalProtocolError(f"an event's name must be a string, not {event!r}")
    if event in RESERVED_EVENTS:
        raise LocalProtocolError(f"the event name {event!r} is reserved for the libraries; choose another one")


def check_rooms(rooms: tuple[Any, ...]) -> None:
    """Refuse what can't be names of rooms.

    Raises:
        LocalProtocolError: one is no string.
    """
    for room in rooms:
        if not isinstance(room, str):
            hint = "; give rooms one by one: to(*rooms)" if isinstance(room, list | tuple | set | frozenset) else ""
            raise LocalProtocolError(f"a room's name must be a string, not {room!r:.80}{hint}")


def check_timeout(seconds: Any) -> None:
    """Refuse what is no time to wait for an answer.

    Raises:
        LocalProtocolError: it is no number, or none that ends.
    """
    if not (isinstance(seconds, int | float) and 0 < seconds < 1e9):
        raise LocalProtocolError(f"a timeout must be a positive number of seconds, not {seconds!r}")


def check_limit(id_: str, count: int, limit: int) -> None:
    """Refuse one room more for a socket that is in `count` rooms.

    Raises:
        LimitError: it is in as many as may be.
    """
    if count >= limit:
        raise LimitError(f"socket {id_} is in {count} rooms, as many as the setting max_rooms_per_socket allows")
