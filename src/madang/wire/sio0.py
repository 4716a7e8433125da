r"""Socket.IO 0.6, "protocol 0": the generation before there were events.

Its clients know messages, which are text or JSON, and nothing else. A frame is the text of a message; JSON has "~j~" in
front, a heartbeat "~h~". A payload, which messages of a WebSocket are too, has before each frame its length in UTF-16
units, between two "~m~". The first frame of a session is its id. There is no handshake before it: the path says the
transport and, once there is one, the session, `/socket.io/<transport>/<session>/...`.

Here a message is the event "message" in the main namespace, with the text or the JSON value as its one argument. Other
events, and those with other arguments, are JSON as well, an object of the event's name and its arguments:
`{"event": "said", "args": ["hello"]}`. Such an object of a client is that event, so programs of both sides can have
events; a message of just that form goes inside the event "message".

For all else there is no word. Acknowledgements are not asked for and not given, no client comes to another namespace,
and who is refused or sent away only sees that the connection ends. Bytes are strings of base64, and arrive as such.
JSON is in ASCII, whatever the setting `parser` says, and so is text that some clients would count differently.

Clients have a timeout of their own, 15 seconds, of 25 where they poll, and nobody can tell them another one. So they
get heartbeats, and ends of polls, that are early enough for them.

Source: socket.io 0.6.18 and the client in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from madang.config import Config
from madang.errors import BAD_REQUEST, RemoteProtocolError, RequestRefused
from madang.lengths import Lengths
from madang.packet import EVENT, PING, PONG, RESERVED_EVENTS, Frame, Packet
from madang.parsers import Parser, check_event, escaped
from madang.parsers.json import dump, load
from madang.transports import (
    Headers,
    HttpTransport,
    PollTransport,
    Request,
    Response,
    StreamTransport,
    Transport,
    script_string,
)
from madang.transports.jsonp import JSONP, form_limit, form_text
from madang.wire import Address, Decoder, Open, TextWire, base64_text

__all__ = ["HTMLFILE", "JSONP_POLLING", "WIRE", "XHR_MULTIPART", "XHR_POLLING", "SocketIO0"]

_RULE: Final = "Socket.IO 0.6, messages"
_PAYLOADS: Final = "Socket.IO 0.6, payloads"

_JSON: Final = "~j~"
_HEARTBEAT: Final = "~h~"
#: Clients echo its number, and one is as good as another: each answer shows that the client lives.
_PING_FRAME: Final = "~h~1"
_PONG_PACKET: Final = Packet(PONG)

#: What stands between the parts of "xhr-multipart". Nobody shall write it into a message, and so end a part.
_BOUNDARY: Final = "--socketio"
_BROKEN_BOUNDARY: Final = r"-\u002dsocketio"
_EVENT_KEYS: Final = {"event", "args"}
_EVENT_STARTS: Final = ('{"event":', '{"args":')

_LENGTHS: Final = Lengths("~m~", "~m~")
_BEYOND: Final = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")
#: What a length takes in front of its frame, at most.
_MARK_BYTES: Final = len("~m~") + 10 + len("~m~")


# Packets


class _Decoder(Decoder):
    __slots__ = ("_limits",)

    def __init__(self, limits: Config) -> None:
        self._limits = limits

    def feed(self, frame: Frame) -> Packet | None:
        if isinstance(frame, bytes):
            raise RemoteProtocolError("messages are text", rule=_RULE)
        start = frame[:3]
        if start == _HEARTBEAT:
            return _PONG_PACKET
        if start != _JSON:
            return Packet(EVENT, ["message", frame])
        value = load(frame[3:], self._limits, _RULE)
        if not _is_event(value):
            return Packet(EVENT, ["message", value])
        event = [value["event"], *value["args"]]
        check_event(event, self._limits)
        return Packet(EVENT, event)


def _is_event(value: Any) -> bool:
    """Whether a JSON value stands for an event. One that nobody may send is a message like any other."""
    return (
        type(value) is dict
        and value.keys() == _EVENT_KEYS
        and type(value["event"]) is str
        and type(value["args"]) is list
        and value["event"] not in RESERVED_EVENTS
    )


def _can_be_raw(text: str) -> bool:
    """Whether a text is taken for nothing else as it is, and counted alike by all clients."""
    return (
        text[:3] not in (_JSON, _HEARTBEAT)
        and _BOUNDARY not in text
        and (text.isascii() or _BEYOND.search(text) is None)
    )


def _written(event: Sequence[Any]) -> str:
    """A message, or an event as one."""
    if event[0] == "message" and len(event) == 2:
        value = event[1]
        if type(value) is str and _can_be_raw(value):
            return value
        text = dump(value, base64_text)
        if not text.startswith(_EVENT_STARTS) or not _is_event(json.loads(text)):
            return _JSON + _ascii(text)
    return _JSON + _ascii(dump({"event": event[0], "args": event[1:]}, base64_text))


def _ascii(text: str) -> str:
    return escaped(text).replace(_BOUNDARY, _BROKEN_BOUNDARY)


class SocketIO0(TextWire):
    """The protocol of the clients before 0.7."""

    name: ClassVar[str] = "sio0"
    clients: ClassVar[str] = "Socket.IO 0.6"
    link_payloads: ClassVar[bool] = True
    max_ping_interval_seconds: ClassVar[float] = 10.0
    max_poll_seconds: ClassVar[float] = 20.0

    # Requests

    def address(self, request: Request, below: str) -> Address | None:  # noqa: D102
        name, _, rest = below.partition("/")
        return Address(name, rest.partition("/")[0] or None) if name in _CANONICAL else None

    def owns(self, below: str) -> bool:  # noqa: D102
        return below.partition("/")[0] in _CANONICAL

    def transports(self, enabled: Mapping[str, Transport]) -> Mapping[str, Transport]:  # noqa: D102
        return {name: _FORMS.get(name, enabled[known]) for name, known in _CANONICAL.items() if known in enabled}

    # Packets

    def decoder(self, parser: Parser, limits: Config, request: Request | None = None) -> Decoder:  # noqa: D102
        return _Decoder(limits)

    def encode(self, packet: Packet, parser: Parser) -> tuple[Frame, ...]:  # noqa: D102
        if packet.kind == EVENT:
            return (_written(packet.data),)
        return (_PING_FRAME,) if packet.kind == PING else ()

    def open(self, hello: Open) -> Frame:  # noqa: D102
        return hello.sid

    # Payloads

    def join(self, frames: Sequence[Frame]) -> str:  # noqa: D102
        return _LENGTHS.join(map(self.as_text, frames))

    def split(self, payload: str | bytes, limits: Config) -> list[Frame]:  # noqa: D102
        if isinstance(payload, bytes):
            raise RemoteProtocolError("payloads are text", rule=_PAYLOADS)
        frames = _LENGTHS.cut(payload, limits.max_packets_per_payload)
        if not frames:
            raise RemoteProtocolError("the lengths in a payload are wrong", rule=_PAYLOADS)
        return list(frames)

    def payload_bytes(self, frames: Sequence[Frame]) -> int:  # noqa: D102
        return super().payload_bytes(frames) + _MARK_BYTES * len(frames)


# What HTTP carries

# "nosniff": nobody shall make a script or a document of it.
_TEXT: Final = (
    ("Content-Type", "text/plain; charset=UTF-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
)
_SCRIPT: Final = (
    ("Content-Type", "text/javascript; charset=UTF-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
)
_DOCUMENT: Final = (
    ("Content-Type", "text/html; charset=UTF-8"),
    ("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; frame-ancestors 'self'"),
)
_PARTS: Final = (("Content-Type", 'multipart/x-mixed-replace;boundary="socketio"'),)
#: Browsers look at so much of a document before they run any of it.
_PRELUDE_BYTES: Final = 256
#: The number of a function of the page, behind which nothing comes. What else stands there could be a program.
_INDEX: Final = re.compile(r"/([0-9]{1,9})/?\Z", re.ASCII)
_FIELD: Final = "data"


class _Posts(HttpTransport):
    """What the client says comes in the field of a form. It stays with the transport that it has begun with."""

    upgrades: ClassVar[tuple[str, ...]] = ()

    def body_limit(self, max_payload_bytes: int) -> int:
        return form_limit(max_payload_bytes, _FIELD)

    def unpack(self, request: Request, body: bytes) -> str:
        return form_text(body, _FIELD)

    def accepted(self, request: Request) -> Response:
        return Response(200, _TEXT, b"ok")


class _XhrPolling(_Posts, PollTransport):
    """Long-polling. A waiting poll ends with an empty body."""

    name: ClassVar[str] = "polling"

    def respond(self, request: Request, payload: str | bytes) -> Response:
        assert isinstance(payload, str)  # as all payloads of this generation  # noqa: S101
        return Response(200, _TEXT, payload.encode("utf-8", "replace"))


class _JsonpPolling(_Posts, JSONP):
    """Long-polling by script elements and forms. The number of the page's function stands last in the path."""

    variant_of: ClassVar[tuple[str, str] | None] = None

    def check(self, request: Request) -> None:
        if _INDEX.search(request.path) is None:
            context = {"name": "BAD_CALLBACK"}
            raise RequestRefused(*BAD_REQUEST, "the path ends with the number of a function", context)

    def respond(self, request: Request, payload: str | bytes) -> Response:
        assert isinstance(payload, str)  # as all payloads of this generation  # noqa: S101
        found = _INDEX.search(request.path)
        assert found is not None  # `check` has looked  # noqa: S101
        return Response(
            200, _SCRIPT, f"io.JSONP[{int(found[1])}]._({script_string(payload)});".encode("utf-8", "replace")
        )

    def unpack(self, request: Request, body: bytes) -> str:
        text = super().unpack(request, body)
        # Of each line break in a form, browsers make two characters, of which the lengths know nothing.
        if "\r\n" in text and _LENGTHS.cut_units(text, len(text)) is None:
            return text.replace("\r\n", "\n")
        return text


class _HtmlFile(_Posts, StreamTransport):
    """The forever iframe: each packet is a script that hands a payload to the parent window's object `s`.

    Only a page of our own origin can have that window: to others, the browser gives none of its members.
    """

    name: ClassVar[str] = "iframe"
    pages_only: ClassVar[bool] = True
    resumes: ClassVar[bool] = False

    def head(self, request: Request) -> Headers:
        return _DOCUMENT

    def prelude(self, request: Request) -> bytes:
        return b"<html><body>".ljust(_PRELUDE_BYTES)

    def chunk(self, frame: Frame) -> bytes:
        assert isinstance(frame, str)  # it is not binary  # noqa: S101
        return f"<script>parent.s._({script_string(frame)}, document);</script>".encode("utf-8", "replace")


class _XhrMultipart(_Posts, StreamTransport):
    """Parts that end with the boundary, and tell no length: readers look for it, so it may not stand in a payload."""

    name: ClassVar[str] = "multipart"
    resumes: ClassVar[bool] = False

    def head(self, request: Request) -> Headers:
        return _PARTS

    def prelude(self, request: Request) -> bytes:
        return b"--socketio\n"

    def chunk(self, frame: Frame) -> bytes:
        assert isinstance(frame, str)  # it is not binary  # noqa: S101
        return b"Content-Type: text/plain; charset=UTF-8\n\n%b\n--socketio\n" % frame.encode("utf-8", "replace")


XHR_POLLING: Final = _XhrPolling()
JSONP_POLLING: Final = _JsonpPolling()
HTMLFILE: Final = _HtmlFile()
XHR_MULTIPART: Final = _XhrMultipart()

#: What clients call a transport, and what we do.
_CANONICAL: Final = {
    "websocket": "websocket",
    "flashsocket": "flashsocket",
    "htmlfile": "iframe",
    "xhr-multipart": "multipart",
    "xhr-polling": "polling",
    "jsonp-polling": "jsonp",
}
_FORMS: Final[Mapping[str, HttpTransport]] = {
    "htmlfile": HTMLFILE,
    "xhr-multipart": XHR_MULTIPART,
    "xhr-polling": XHR_POLLING,
    "jsonp-polling": JSONP_POLLING,
}

WIRE: Final = SocketIO0()
