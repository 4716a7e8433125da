"""Where a client was when its connection broke: the offset of the last event, for connection state recovery.

A server with recovery appends an offset to each event that it stores: as one more argument, a string, of events that
ask for no acknowledgement and aren't volatile. Nothing says which of them have one. The JavaScript client takes any
last string for an offset, and hands it to the program; so a volatile event that ends in a string spoils its next
recovery, and a handler finds an argument that nobody sent.

What reads as an offset of a known server is taken off: those of Socket.IO's own adapters are made of the time, which is
near now; ours begin with what tells the life of the server, as the private id does. Once one has come, the others are
of its form. Any other string at the end is left where it is; it counts as an offset, as in the JavaScript client, only
while none of a known form has come.

Source: Socket.IO 4.8, adapters of connection state recovery: in memory, Redis streams, MongoDB; `core/recovery`.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["Trail", "form_of"]

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
#: Our own: the life of the server, and a number.
_OURS: Final = re.compile(r"([0-9A-Za-z_-]{6})\.[0-9a-f]{1,16}")
#: How our private ids begin.
_LIFE: Final = re.compile(r"([0-9A-Za-z_-]{6})\.")


def form_of(text: str, now: float) -> str | None:
    """Tell what kind of offset a string is: the same text for all offsets of one server; None if it is none.

    Args:
        text: the last argument of an event.
        now: seconds since the epoch.

    Example:
        >>> form_of("Q853Hpm", 1795381070.0), form_of("1795381070123-0", 1795381070.0)
        ('memory', 'stream')
        >>> form_of("Ab3_-x.1f", 1795381070.0)
        'Ab3_-x'
        >>> form_of("welcome", 1795381070.0) is None
        True
    """
    if found := _MEMORY.fullmatch(text):
        value = 0
        for character in found[1]:
            value = value * 64 + _VALUES[character]
        form, seconds = "memory", value / 1000
    elif found := _STREAM.fullmatch(text):
        form, seconds = "stream", int(found[1]) / 1000
    elif found := _OBJECT.fullmatch(text):
        form, seconds = "object", float(int(found[1], 16))
    elif found := _OURS.fullmatch(text):
        return found[1]
    else:
        return None
    return form if abs(seconds - now) < _SKEW_SECONDS else None


class Trail:
    """What one namespace's socket has to know to be restored.

    Attributes:
        pid: the private id that the server gave, or None: it has no recovery.
        offset: of the last event that had one.

    Example:
        >>> trail = Trail()
        >>> trail.joined("pid")
        False
        >>> trail.take(["news", "Q853Hpm"], 1795381070.0)
        ['news']
        >>> trail.auth({"token": "t"})
        {'pid': 'pid', 'offset': 'Q853Hpm', 'token': 't'}
        >>> trail.joined("pid")
        True
    """

    __slots__ = ("_form", "offset", "pid")

    def __init__(self) -> None:
        self.pid: str | None = None
        self.offset: str | None = None
        self._form: str | None = None

    def joined(self, pid: str | None) -> bool:
        """The server has answered with this private id; tell whether it has restored the old state."""
        recovered = pid is not None and pid == self.pid
        if not recovered:
            # An offset of another life would only make the server look for what it can't have.
            self.pid = pid
            self.offset = None
            life = _LIFE.match(pid) if pid is not None else None
            self._form = life[1] if life is not None else None
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
        form = form_of(last, now)
        if form is not None and self._form in (None, form):
            self.offset = last
            self._form = form
            return data[:-1]
        if self._form is None:
            self.offset = last
        return data

    def auth(self, auth: dict[str, Any]) -> dict[str, Any]:
        """What to send with CONNECT: the program's own keys win."""
        if self.pid is None:
            return auth
        if self.offset is None:
            return {"pid": self.pid, **auth}
        return {"pid": self.pid, "offset": self.offset, **auth}
