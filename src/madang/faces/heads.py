"""Heads of requests that were seen before: a client that polls sends the same one again and again.

What a head says of the connection and the client is parsed once, by uvicorn's parser, and remembered by its bytes. Only
the plainest requests are found here: one GET without a body, one POST with all of its body, or the handshake of one
WebSocket, in one piece, at our path. All others are the parser's.

In the heads of two POSTs of a client the length of the body differs, and in two handshakes the key. So the value of
this one field is cut out, and what is remembered is the rest.

Source: RFC 9112, 2.1 to 6.3; RFC 6455, 4.1.
"""

from __future__ import annotations

from typing import Final

from madang.rfc.ws import Handshake
from madang.transports import header_block

__all__ = ["Head", "Heads", "is_forwarded"]

#: How many bytes of header fields are remembered at most, and how many such heads, twice.
_MAX_BYTES: Final = 2048
_MAX_HEADS: Final = 1024
#: How a request line ends.
_VERSION: Final = b" HTTP/1.1\r\n"
#: How the fields begin whose values differ from one request of a client to the next. Programs write them in these ways.
_LENGTH: Final = "content-length"
_LENGTHS: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
_KEY: Final = "sec-websocket-key"
_KEYS: Final = (b"\r\nSec-WebSocket-Key: ", b"\r\nsec-websocket-key: ")
#: What makes the end of a request, or of its connection, depend on more than what is looked at here.
_UNPLAIN: Final = frozenset({b"content-length", b"expect", b"sec-websocket-key", b"transfer-encoding", b"upgrade"})
#: By what proxies tell for whom they ask.
_FORWARDED: Final = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})


class Head:
    """The header fields of requests that have the same, but for one.

    Args:
        pairs: names and values, without that one.
        lacks: its name, or None: they have the same.
        handshake: what was found in them, if they are of a WebSocket's handshake; the key is that of the first one.

    Attributes:
        block: all of them, as `Request` has them.
        known: what was found in them, shared by those requests.
        forwarded: names and values, if what proxies tell is among them; else None.
        lacks: as given.
        handshake: as given.
    """

    __slots__ = ("block", "forwarded", "handshake", "known", "lacks")

    def __init__(
        self, pairs: list[tuple[bytes, bytes]], lacks: str | None = None, handshake: Handshake | None = None
    ) -> None:
        self.block = header_block(pairs)
        self.known: dict[str, str | None] = {}
        self.forwarded = pairs if is_forwarded(pairs) else None
        self.lacks = lacks
        self.handshake = handshake


class Heads:
    """Remembers the heads of the last requests of all connections.

    Args:
        path: the path that is ours, as clients write it.
        max_bytes: how large the head of a request may be.
    """

    __slots__ = ("_get", "_max_bytes", "_older", "_post", "_recent")

    def __init__(self, path: str, max_bytes: int) -> None:
        # A path that is written in several ways is compared by its meaning, elsewhere: no request begins with a space.
        plain = path.isascii() and path.isprintable() and not set(path) & set(" %?#")
        self._get = b"GET %b?" % path.encode() if plain else b" "
        self._post = b"POST %b?" % path.encode() if plain else b" "
        self._max_bytes = max_bytes
        # When the younger of two dicts is full, it becomes the older one: what is asked for again is put into the new.
        self._recent: dict[bytes, Head] = {}
        self._older: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[str, str, Head, tuple[str, str] | None, bytes | None] | None:
        """Read a request.

        Args:
            data: bytes that begin with one.

        Returns:
            Method, undecoded query, head, name and value of the field that isn't in the head, and body (None of a GET);
            or None where they are anything but one whole plain request whose head was seen before.
        """
        stop = data.find(b"\r\n\r\n")
        start = data.find(_VERSION)
        if not 0 < start < stop <= self._max_bytes:
            return None
        key = data[start:stop]
        own: tuple[str, str] | None = None
        body: bytes | None = None
        if data.startswith(self._get):
            if len(data) != stop + 4:
                return None
            method, begin = "GET", len(self._get)
            head = self._seen(key, None)
            if head is None:
                rest, value = _cut(key, _KEYS)
                if rest is None:
                    return None
                own = _KEY, value.decode("latin-1")
                head = self._seen(rest, _KEY)
        elif data.startswith(self._post):
            method, begin = "POST", len(self._post)
            rest, value = _cut(key, _LENGTHS)
            body = data[stop + 4 :]
            if rest is None or value != b"%d" % len(body):
                return None
            own = _LENGTH, value.decode()
            head = self._seen(rest, _LENGTH)
        else:
            return None
        if head is None:
            return None
        query = data[begin:start].decode("latin-1")
        if not (query.isascii() and query.isprintable()) or " " in query:
            return None
        return method, query, head, own, body

    def keep(self, data: bytes, pairs: list[tuple[bytes, bytes]], handshake: Handshake | None = None) -> None:
        """Remember a head, if it is a plain one.

        Args:
            data: bytes that begin with a request of which the parser found that the connection stays open behind it.
            pairs: the names, in lower case, and values that it has found.
            handshake: what was found in it, if it opens a WebSocket.
        """
        if not data.startswith((self._get, self._post)):
            return
        start, stop = data.find(_VERSION), data.find(b"\r\n\r\n")
        if not 0 < start < stop <= start + _MAX_BYTES:
            return
        key = data[start:stop]
        lines = key.count(b"\r\n")
        # A field in several lines, or a line with another end, may be read in more than one way.
        if not lines == len(pairs) == key.count(b"\n") == key.count(b"\r"):
            return
        if handshake is None:
            rest, _ = _cut(key, _LENGTHS)
            lacks = None if rest is None else _LENGTH
        else:
            rest, _ = _cut(key, _KEYS)
            if rest is None:
                return
            lacks = _KEY
        field = b"" if lacks is None else lacks.encode()
        others = [pair for pair in pairs if pair[0] != field]
        for name, _ in others:
            if name in _UNPLAIN and (name != b"upgrade" or handshake is None):
                return
        if len(others) == (lines if rest is None else lines - 1):
            self._add(key if rest is None else rest, Head(others, lacks, handshake))

    def _seen(self, key: bytes, lacks: str | None) -> Head | None:
        head = self._recent.get(key)
        if head is None:
            head = self._older.get(key)
            if head is None:
                return None
            self._add(key, head)
        # Without its value, a field looks like one that has none.
        return head if head.lacks == lacks else None

    def _add(self, key: bytes, head: Head) -> None:
        if len(self._recent) >= _MAX_HEADS:
            self._older, self._recent = self._recent, {}
        self._recent[key] = head


def _cut(fields: bytes, begins: tuple[bytes, bytes]) -> tuple[bytes | None, bytes]:
    """Header fields without the value of one, and that value; None where it isn't there."""
    begin = begins[0]
    at = fields.find(begin)
    if at < 0:
        begin = begins[1]
        at = fields.find(begin)
        if at < 0:
            return None, b""
    at += len(begin)
    end = fields.find(b"\r\n", at)
    return (fields[:at], fields[at:]) if end < 0 else (fields[:at] + fields[end:], fields[at:end])


def is_forwarded(pairs: list[tuple[bytes, bytes]]) -> bool:
    """Whether a proxy tells among these header fields for whom it asks."""
    return any(name in _FORWARDED for name, _ in pairs)
