"""Reads what travels over a connection, without touching it: bytes and times in, what one would draw out.

Both directions of an HTTP/1.1 connection, with keep-alive, and of the WebSocket that may become of it. Nothing here
waits, asks for the time or remembers more than a head of a request. What it can't read it only counts.

Source: RFC 9112 (heads, chunks), RFC 6455 (frames); Engine.IO protocols 3 and 4, Socket.IO protocol 1 (which of them
carry an event).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

__all__ = ["Direction", "Observer", "Totals", "Travel", "TravelKind"]

Direction = Literal["up", "down"]
TravelKind = Literal["open", "close", "request", "response", "chunk", "frame", "datagram"]

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_LINE_BYTES: Final = 1024
"""Of the line before a chunk, and of one line of a trailer."""
MAX_PENDING: Final = 64
"""Requests of one connection that wait for their response."""
MAX_HELD_BYTES: Final = 64 * 1024
"""What a client may say before it knows whether there will be a WebSocket."""

#: The longest that a match of `_EVENT` can be, and more.
_TAIL_BYTES: Final = 128
_HEAD_BYTES: Final = 256

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~\x80-\xff]+) HTTP/1\.[01]")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_HEADER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*)")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?")
_TRANSPORT: Final = re.compile(rb"[?&]transport=([a-z]{1,20})")
_SID: Final = re.compile(rb"[?&]sid=")
#: In Socket.IO 1 both stand in the path; without them it is a handshake.
_PATH: Final = re.compile(rb"/1/(?:([a-z-]{0,20})/[^/?]+)?/?(?:\?|$)")

#: What stands before the packets of a payload: nothing, the last packet, what a transport wraps them into, or, in
#: Engine.IO 3, their length.
_BOUNDARY: Final = rb'(?:\x1e|\\u001e|"|data: |d=|%1[Ee]|\n|[0-9]:|\xff)'
#: A packet with an event of the application, with attachments, namespace and acknowledgement id where it has them.
_PACKET: Final = rb'4(?:2|5[0-9]{1,3}-)(?:/[^,"\x1e]{0,40},)?[0-9]{0,9}(?:\[|%5[Bb])'
#: The same in Socket.IO 1: kind, id, namespace. Its lengths stand between two U+FFFD.
_BOUNDARY_1: Final = rb'(?:\xef\xbf\xbd|\\ufffd|%EF%BF%BD|"|%22)'
_COLON: Final = rb"(?::|%3[Aa])"
_HEAD_1: Final = rb"(?:\+|%2[Bb])?" + _COLON + rb'(?:[^:"%]|%2[Ff]){0,40}'
_PACKET_1: Final = rb"[345]" + _COLON + rb"[0-9]{0,15}" + _HEAD_1 + _COLON
_EVENT: Final = re.compile(_BOUNDARY + _PACKET + rb"|" + _BOUNDARY_1 + _PACKET_1)
_FIRST_EVENT: Final = re.compile(_PACKET + rb"|" + _PACKET_1)
#: What a transport may write before the first packet of a payload.
_WRAPPING: Final = (
    rb'(?:(?:--[^\r\n]*\r\n)?(?:Content-[^\r\n]*\r\n)+\r\n|event: json\ndata: "|data: "?|(?:___eio|io\.j)\[[0-9]+\]\("'
    rb'|<script>_\("|d=(?:%22)?|[0-9]{1,10}:|[\x00\x01][\x00-\x09]{1,10}\xff|\xef\xbf\xbd[0-9]+\xef\xbf\xbd)?'
)
#: The first packet of a payload, and what begins with an attachment, whose event went before.
_FIRST: Final = re.compile(_WRAPPING + rb"([0-6])([0-6]?)")
_FIRST_1: Final = re.compile(
    _WRAPPING + rb"(?:([0-8])" + _COLON + rb"[0-9]{0,15}" + _HEAD_1 + rb"|[\w-]{1,40}(?::[0-9]*){2}:[a-z])"
)
_ATTACHMENT: Final = re.compile(
    _WRAPPING + rb"b[A-Za-z0-9+/]|Content-Type: application/octet-stream|\x01[\x00-\x09]{1,10}\xff\x04"
)
_NAMES: Final = {
    b"0": "open",
    b"1": "close",
    b"2": "ping",
    b"3": "pong",
    b"4": "message",
    b"5": "upgrade",
    b"6": "noop",
}
_NAMES_1: Final = {
    None: "open",
    b"0": "disconnect",
    b"1": "connect",
    b"2": "heartbeat",
    b"6": "ack",
    b"7": "refusal",
    b"8": "noop",
}
_MESSAGES: Final = {b"0": "connect", b"1": "disconnect", b"2": "event", b"3": "ack", b"4": "refusal", b"5": "event"}
_OPCODES: Final = {0: "more", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
#: Transports whose GET is answered with a response that goes on.
_STREAMS: Final = frozenset({b"sse", b"multipart", b"iframe", b"htmlfile"})


class Travel(NamedTuple):
    """Something that has travelled: a line or a dot in the page's time line.

    Attributes:
        kind: "open" and "close" of a connection; "request" with head and body; "response": its head, or all of it;
            "chunk": a part of a body that goes on; "frame" of a WebSocket; "datagram".
        direction: "up" from the client to the server, or "down".
        sent_ms: when its first byte was sent, in milliseconds since the epoch.
        arrived_ms: when its last byte arrives.
        bytes: all of it, as on the wire.
        label: as "GET poll", "POST send", "200", "200 noop empty", "text". What carries no event of the application
            ends in " empty", other than a GET.
        connection: which of the lane's connections, from 0.
    """

    kind: TravelKind
    direction: Direction
    sent_ms: float
    arrived_ms: float
    bytes: int
    label: str
    connection: int


@dataclass(slots=True)
class Totals:
    """What all connections of a lane have cost. Bytes are those of TCP's payload, or of UDP's.

    Attributes:
        requests: heads of requests.
        empty_responses: polls that were answered without an event.
        bytes_up: from the client, all of it.
        bytes_down: to the client.
        header_bytes_up: those of heads, and of the headers of chunks and frames.
        header_bytes_down: the same to the client.
    """

    requests: int = 0
    empty_responses: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    header_bytes_up: int = 0
    header_bytes_down: int = 0


class Observer:
    r"""One connection. Feed it what is read, in order, before it goes on its way.

    Args:
        totals: to add to.
        connection: the number to give to what is seen.

    Example:
        >>> observer = Observer(Totals())
        >>> observer.feed("up", b"GET /socket.io/?transport=polling&sid=1 HTTP/1.1\r\n\r\n", 10.0, 60.0)[0].label
        'GET poll'
    """

    __slots__ = ("_down", "_seen", "_up", "connection", "opaque", "pending", "totals")

    def __init__(self, totals: Totals, connection: int = 0) -> None:
        self.totals = totals
        self.connection = connection
        #: Whether something came that can't be read: from then on, bytes are counted and that is all.
        self.opaque = False
        #: The requests that have no response yet.
        self.pending: deque[_Asked] = deque()
        self._seen: list[Travel] = []
        self._up = _Requests(self)
        self._down = _Responses(self)

    def feed(self, direction: Direction, data: bytes, sent_ms: float, arrived_ms: float) -> list[Travel]:
        """Look at bytes.

        Args:
            direction: which way they go.
            data: the bytes.
            sent_ms: when they were sent.
            arrived_ms: when they will arrive.

        Returns:
            What got whole by them.
        """
        totals = self.totals
        if direction == "up":
            totals.bytes_up += len(data)
            self._up.feed(data, sent_ms, arrived_ms)
        else:
            totals.bytes_down += len(data)
            self._down.feed(data, sent_ms, arrived_ms)
        seen, self._seen = self._seen, []
        return seen

    def end(self, direction: Direction, sent_ms: float, arrived_ms: float) -> list[Travel]:
        """The end of one direction. A response without a length ends by it."""
        if direction == "down":
            self._down.end(sent_ms, arrived_ms)
        seen, self._seen = self._seen, []
        return seen

    # For its two readers

    def saw(self, travel: Travel) -> None:
        """Something is whole."""
        self._seen.append(travel)

    def give_up(self) -> None:
        """Something can't be read: count only, both ways."""
        self.opaque = True
        self.pending.clear()
        self._up.give_up()
        self._down.give_up()

    def switch(self) -> None:
        """The response to an upgrade says yes: frames follow, both ways."""
        self._down.expect_frames()
        self._up.decided(frames=True)

    def stay(self) -> None:
        """It says no: HTTP goes on."""
        self._up.decided(frames=False)


@dataclass(slots=True)
class _Asked:
    """A request that waits for its response."""

    method: bytes
    what: str
    upgrade: bool


class _Content:
    """Looks through a body, or a part of one, for an event of the application."""

    __slots__ = ("_head", "_tail", "event", "size")

    def __init__(self) -> None:
        self.event = False
        self.size = 0
        self._head = b""
        self._tail = b""

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        if len(self._head) < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - len(self._head)]
            if _FIRST_EVENT.match(self._head) or _ATTACHMENT.match(self._head):
                self.event = True
        if not self.event:
            around = self._tail + data
            self.event = _EVENT.search(around) is not None
            self._tail = around[-_TAIL_BYTES:]

    def name(self) -> str:
        """What its first packet is, or nothing."""
        match = _FIRST_1.match(self._head)
        if match is not None:
            return _NAMES_1.get(match[1], "event")
        match = _FIRST.match(self._head)
        if match is None:
            return "ok" if self._head == b"ok" else ""
        return _MESSAGES.get(match[2], "message") if match[1] == b"4" else _NAMES[match[1]]

    def label(self, what: str, *, confirms: bool = False) -> str:
        """What it is called, with what there is in it if that is no event. `confirms`: it answers a POST."""
        if self.event:
            return what or "event"
        name = "ok" if confirms and self._head == b"1" else self.name()
        return " ".join(word for word in (what, name, "empty") if word)


class _Reader(ABC):
    """One direction: the place where it is in what it reads.

    `_step` looks at bytes from a position on, and returns how many of them it has understood.
    """

    __slots__ = (
        "_arrived",
        "_buffer",
        "_bytes",
        "_content",
        "_first",
        "_left",
        "_need",
        "_observer",
        "_sent",
        "_step",
        "_word",
    )
    _direction: Direction

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._buffer = bytearray()  # of a head, a line, or a frame's header
        self._left = 0  # of a body, a chunk or a payload
        self._need = 2  # how long the header of a frame is, as far as one knows
        self._word = ""  # what kind of frame it is
        self._bytes = 0  # of what is being read
        self._content = _Content()
        self._first: float | None = None  # when the first byte of that was sent
        self._sent = 0.0
        self._arrived = 0.0
        self._step: Callable[[bytes, int], int] = self._head

    def feed(self, data: bytes, sent_ms: float, arrived_ms: float) -> None:
        self._sent, self._arrived = sent_ms, arrived_ms
        position = 0
        while position < len(data):
            if self._first is None:
                self._first = sent_ms
            position += self._step(data, position)

    def give_up(self) -> None:
        self._buffer.clear()
        self._content = _Content()
        self._step = self._count

    def expect_frames(self) -> None:
        self._begin()
        self._need = 2
        self._step = self._frame_header

    def _count(self, data: bytes, position: int) -> int:
        return len(data) - position

    def _begin(self) -> None:
        """What was read is whole: begin with the next."""
        self._bytes = 0
        self._first = None
        self._content = _Content()

    def _saw(self, kind: TravelKind, label: str) -> None:
        first = self._sent if self._first is None else self._first
        connection = self._observer.connection
        self._observer.saw(Travel(kind, self._direction, first, self._arrived, self._bytes, label, connection))
        self._begin()

    def _framing(self, count: int) -> None:
        """So many bytes were no content."""
        self._bytes += count
        if self._direction == "up":
            self._observer.totals.header_bytes_up += count
        else:
            self._observer.totals.header_bytes_down += count

    # Heads and bodies

    def _head(self, data: bytes, position: int) -> int:
        before = len(self._buffer)
        self._buffer += data[position : position + MAX_HEAD_BYTES + 1 - before]
        end = self._buffer.find(b"\r\n\r\n", max(0, before - 3))
        if end < 0:
            taken = len(self._buffer) - before
            if len(self._buffer) > MAX_HEAD_BYTES:
                self._observer.give_up()
            return taken
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        self._buffer.clear()
        self._framing(end + 4)
        headers: dict[bytes, bytes] = {}
        for line in lines:
            match = _HEADER.fullmatch(line)
            name = match[1].lower() if match else b""
            if match is None or (name == b"content-length" and name in headers):
                self._observer.give_up()
                break
            headers[name] = match[2].strip()
        else:
            if headers.get(b"content-length", b"0").isdigit() and len(headers.get(b"content-length", b"")) < 16:
                self._got_head(first, headers)
            else:
                self._observer.give_up()
        return end + 4 - before

    @abstractmethod
    def _got_head(self, first: bytes, headers: dict[bytes, bytes]) -> None:
        """The head is there."""

    def _body(self, data: bytes, position: int) -> int:
        part = data[position : position + self._left]
        self._bytes += len(part)
        self._left -= len(part)
        self._content.feed(part)
        if not self._left:
            self._got_whole()
        return len(part)

    @abstractmethod
    def _got_whole(self) -> None:
        """Head and body are there."""

    # Chunks

    def _line(self, data: bytes, position: int) -> tuple[int, bytes | None]:
        """Read up to the end of a line; return how much was read of it now, and the line once it is there."""
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        self._buffer += data[position : min(stop, position + MAX_LINE_BYTES + 1)]
        if len(self._buffer) > MAX_LINE_BYTES or (end >= 0 and not self._buffer.endswith(b"\r\n")):
            self._observer.give_up()
            return stop - position, None
        if end < 0:
            return stop - position, None
        line = bytes(self._buffer[:-2])
        self._framing(len(self._buffer))
        self._buffer.clear()
        return stop - position, line

    def _chunk_line(self, data: bytes, position: int) -> int:
        taken, line = self._line(data, position)
        if line is not None:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                self._observer.give_up()
                return taken
            self._left = int(match[1], 16)
            self._step = self._chunk_data if self._left else self._trailer
        return taken

    def _chunk_data(self, data: bytes, position: int) -> int:
        part = data[position : position + self._left]
        self._bytes += len(part)
        self._left -= len(part)
        self._content.feed(part)
        if not self._left:
            self._step = self._chunk_end
        return len(part)

    def _chunk_end(self, data: bytes, position: int) -> int:
        taken, line = self._line(data, position)
        if line is not None:
            if line:
                self._observer.give_up()
                return taken
            self._step = self._chunk_line
            self._got_chunk()
        return taken

    def _got_chunk(self) -> None:  # noqa: B027 (only responses tell of their chunks)
        """A chunk is whole. Those of a request are just its body."""

    def _trailer(self, data: bytes, position: int) -> int:
        taken, line = self._line(data, position)
        if line == b"":
            self._got_end()
        return taken

    def _got_end(self) -> None:
        """The last chunk was there."""
        self._got_whole()

    # Frames

    def _frame_header(self, data: bytes, position: int) -> int:
        part = data[position : position + self._need - len(self._buffer)]
        self._buffer += part
        header = self._buffer
        if len(header) >= 2:
            length = header[1] & 0x7F
            extended = 2 if length == 126 else 8 if length == 127 else 0
            self._need = 2 + extended + (4 if header[1] & 0x80 else 0)
        if len(header) < self._need:
            return len(part)
        word = _OPCODES.get(header[0] & 0x0F)
        if extended:
            length = int.from_bytes(header[2 : 2 + extended], "big")
        if word is None or length >= 1 << 63:
            self._observer.give_up()
            return len(part)
        self._framing(self._need)
        self._word = word
        self._left = length
        self._step = self._frame_payload
        if not length:
            self._got_frame()
        return len(part)

    def _frame_payload(self, data: bytes, position: int) -> int:
        part = data[position : position + self._left]
        if self._word == "text" and not self._buffer[0] & 0x40:  # what is compressed can't be read
            known = self._content.size
            if known < _TAIL_BYTES:
                part_of_it = part[: _TAIL_BYTES - known]
                self._content.feed(_unmasked(self._buffer, part_of_it, known))
        self._bytes += len(part)
        self._left -= len(part)
        if not self._left:
            self._got_frame()
        return len(part)

    def _got_frame(self) -> None:
        word = self._word
        if word == "text":
            label = word if self._buffer[0] & 0x40 or not self._buffer[0] & 0x80 else self._content.label(word)
        else:
            label = f"{word} empty" if word in ("close", "ping", "pong") else word
        self._saw("frame", label)
        self._buffer.clear()
        self._need = 2
        self._step = self._frame_header


def _unmasked(header: bytearray, data: bytes, offset: int) -> bytes:
    if not header[1] & 0x80:
        return data
    mask = header[-4:]
    return bytes([byte ^ mask[(offset + index) & 3] for index, byte in enumerate(data)])


class _Requests(_Reader):
    __slots__ = ("_asked", "_held", "_held_bytes")
    _direction = "up"

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self._asked: _Asked | None = None
        self._held: list[tuple[bytes, float, float]] = []
        self._held_bytes = 0

    def give_up(self) -> None:
        super().give_up()
        self._held.clear()

    def _got_head(self, first: bytes, headers: dict[bytes, bytes]) -> None:
        observer = self._observer
        match = _REQUEST_LINE.fullmatch(first)
        if match is None or match[1] == b"CONNECT" or len(observer.pending) >= MAX_PENDING:
            observer.give_up()
            return
        method, target = match[1], match[2]
        upgrade = headers.get(b"upgrade", b"").lower() == b"websocket" and b"sec-websocket-key" in headers
        self._asked = _Asked(method, _what(method, target, upgrade), upgrade)
        observer.pending.append(self._asked)
        observer.totals.requests += 1
        if b"transfer-encoding" in headers:
            if headers[b"transfer-encoding"].lower() != b"chunked":
                observer.give_up()
                return
            self._step = self._chunk_line
            return
        self._left = int(headers.get(b"content-length", b"0"))
        self._step = self._body
        if not self._left:
            self._got_whole()

    def _got_whole(self) -> None:
        asked = self._asked
        assert asked is not None  # noqa: S101  its head has come before
        what = f"{asked.method.decode()} {asked.what}"
        self._saw("request", self._content.label(what) if asked.method == b"POST" else what)
        self._step = self._hold if asked.upgrade else self._head

    def _hold(self, data: bytes, position: int) -> int:
        """Keep what comes before one knows what it is."""
        self._held.append((data[position:], self._sent, self._arrived))
        self._held_bytes += len(data) - position
        if self._held_bytes > MAX_HELD_BYTES:
            self._observer.give_up()
        return len(data) - position

    def decided(self, *, frames: bool) -> None:
        """The response to the upgrade is there."""
        if self._step != self._hold:
            return  # its body isn't whole, which no client does
        held, self._held, self._held_bytes = self._held, [], 0
        self._begin()
        if frames:
            self.expect_frames()
        else:
            self._step = self._head
        for data, sent_ms, arrived_ms in held:
            self.feed(data, sent_ms, arrived_ms)


class _Responses(_Reader):
    __slots__ = ("_asked", "_event", "_status")
    _direction = "down"

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)
        self._asked: _Asked | None = None
        self._event = False  # whether any chunk of it had one
        self._status = ""

    def _got_head(self, first: bytes, headers: dict[bytes, bytes]) -> None:
        observer = self._observer
        match = _STATUS_LINE.fullmatch(first)
        if match is None or not observer.pending:
            observer.give_up()
            return
        status = int(match[1])
        self._status = str(status)
        if status < 200 and status != 101:
            self._saw("response", f"{status} empty")
            return
        asked = self._asked = observer.pending.popleft()
        if status == 101:
            self._saw("response", "101")
            if asked.upgrade and not observer.pending:
                observer.switch()
            else:
                observer.give_up()
            return
        if asked.upgrade:
            observer.stay()
        if asked.method == b"HEAD" or status in (204, 304):
            self._got_whole()
        elif b"transfer-encoding" in headers:
            if headers[b"transfer-encoding"].lower() != b"chunked":
                observer.give_up()
                return
            self._event = False
            self._saw("response", self._status)
            self._step = self._chunk_line
        elif b"content-length" in headers:
            self._left = int(headers[b"content-length"])
            self._step = self._body
            if not self._left:
                self._got_whole()
        else:
            self._saw("response", self._status)
            self._step = self._endless

    def _got_whole(self) -> None:
        self._event = self._content.event
        self._tally()
        confirms = self._asked is not None and self._asked.what == "send"
        self._saw("response", self._content.label(self._status, confirms=confirms))
        self._step = self._head

    def _got_chunk(self) -> None:
        self._event = self._event or self._content.event
        self._saw("chunk", self._content.label(""))

    def _got_end(self) -> None:
        self._tally()
        self._saw("chunk", "end empty")
        self._step = self._head

    def _endless(self, data: bytes, position: int) -> int:
        """A body that ends with the connection."""
        part = data[position:]
        self._bytes += len(part)
        self._content.feed(part)
        return len(part)

    def end(self, sent_ms: float, arrived_ms: float) -> None:
        """The connection ends."""
        self._sent, self._arrived = sent_ms, arrived_ms
        if self._step == self._endless:
            self._event = self._content.event
            self._tally()
            self._saw("chunk", self._content.label(""))
            self._step = self._count

    def _tally(self) -> None:
        if self._asked is not None and self._asked.what == "poll" and not self._event:
            self._observer.totals.empty_responses += 1


def _what(method: bytes, target: bytes, upgrade: bool) -> str:
    """What a request is for."""
    if method == b"OPTIONS":
        return "preflight"
    if method == b"POST":
        return "send"
    if upgrade:
        return "upgrade"
    match = _TRANSPORT.search(target)
    if match is not None:
        sid = _SID.search(target) is not None
    else:
        match = _PATH.search(target)
        if match is None:
            return "page"
        sid = match[1] is not None
    if match[1] in _STREAMS:
        return "stream"
    return "poll" if sid else "handshake"
