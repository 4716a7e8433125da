"""Where a client was when its connection broke: the offset of the last event, for connection state recovery.

A server with recovery appends an offset to each event that it stores: as one more argument, a string, of events that
ask for no acknowledgement and aren't volatile. Nothing says which of them have one. The JavaScript client takes any
last string for an offset, and hands it to the program; so a volatile event that ends in a string spoils its next
recovery, and a handler finds an argument that nobody sent.

All known servers make their offsets of the time. So what reads as a time near now, in one of their ways of writing it,
is an offset, and is taken off. Any other string at the end is left where it is; it counts as an offset, as in the
JavaScript client, only while none of the known kind has come.

Source: Socket.IO 4.8, adapters of connection state recovery: in memory, Redis streams, MongoDB.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["Recovery", "is_offset"]

#: How far the clocks of the two sides may differ.
_SKEW_SECONDS: Final = 86_400
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
#: Milliseconds in base 64, and a counter behind a dot for events of the same millisecond.
_MEMORY: Final = re.compile(r"([0-9A-Za-z_-]{7,8})(?:\.[0-9A-Za-z_-]{1,8})?")
#: Milliseconds and a counter: the id of an entry of a stream.
_STREAM: Final = re.compile(r"([0-9]{13})-[0-9]{1,20}")
#: An object id, which begins with the seconds.
_OBJECT: Final = re.compile(r"([0-9a-f]{8})[0-9a-f]{16}")


def is_offset(text: str, now: float) -> bool:
    """Tell whether a string is an offset that a server has made about now.

    Args:
        text: the last argument of an event.
        now: seconds since the epoch.

    Example:
        >>> is_offset("Q853Hpm", 1795381070.0), is_offset("welcome", 1795381070.0)
        (True, False)
        >>> is_offset("1795381070123-0", 1795381070.0)
        True
    """
    if found := _MEMORY.fullmatch(text):
        value = 0
        for character in found[1]:
            value = value * 64 + _VALUES[character]
        seconds = value / 1000
    elif found := _STREAM.fullmatch(text):
        seconds = int(found[1]) / 1000
    elif found := _OBJECT.fullmatch(text):
        seconds = float(int(found[1], 16))
    else:
        return False
    return abs(seconds - now) < _SKEW_SECONDS


class Recovery:
    """What one namespace's socket has to know to be restored.

    Attributes:
        pid: the private id that the server gave, or None: it has no recovery.
        offset: of the last event that had one.

    Example:
        >>> recovery = Recovery()
        >>> recovery.joined("pid")
        False
        >>> recovery.take(["news", "Q853Hpm"], 1795381070.0)
        ['news']
        >>> recovery.auth({"token": "t"})
        {'pid': 'pid', 'offset': 'Q853Hpm', 'token': 't'}
        >>> recovery.joined("pid")
        True
    """

    __slots__ = ("_known", "offset", "pid")

    def __init__(self) -> None:
        self.pid: str | None = None
        self.offset: str | None = None
        self._known = False

    def joined(self, pid: str | None) -> bool:
        """The server has answered with this private id; tell whether it has restored the old state."""
        recovered = pid is not None and pid == self.pid
        if not recovered:
            # An offset of another life would only make the server look for what it can't have.
            self.pid = pid
            self.offset = None
            self._known = False
        return recovered

    def take(self, data: list[Any], now: float) -> list[Any]:
        """Note the offset of an event that came without an id, and take it off.

        Args:
            data: the event's name and arguments.
            now: seconds since the epoch.
        """
        last = data[-1]
        if self.pid is None or len(data) < 2 or type(last) is not str:
            return data
        if is_offset(last, now):
            self.offset = last
            self._known = True
            return data[:-1]
        if not self._known:
            self.offset = last
        return data

    def auth(self, auth: dict[str, Any]) -> dict[str, Any]:
        """What to send with CONNECT: the program's own keys win."""
        if self.pid is None:
            return auth
        if self.offset is None:
            return {"pid": self.pid, **auth}
        return {"pid": self.pid, "offset": self.offset, **auth}
