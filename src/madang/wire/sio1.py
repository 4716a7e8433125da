"""Socket.IO protocol 1: the generation of the clients 0.7, 0.8 and 0.9.

There is no Engine.IO below it. A frame is `<type>:<id>[+]:<endpoint>[:<data>]`, always text. A body of several frames
has each behind its length in UTF-16 units, between two U+FFFD; a body of one frame is that frame.

A client begins with a handshake that names no transport, chooses one of those in the answer, and asks for it by the
path: `/socket.io/1/<transport>/<session>`. It is in the main namespace from then on, and to leave that is to leave all.

Events are JSON here, whatever the setting `parser` says. JSON is written in ASCII: clients count characters in
different ways, and the acknowledgements of 0.9 end at U+2028. Bytes travel as strings of base64, and arrive as such.
The name of a namespace goes as it is; one with a colon can't be reached.

Source: socket.io-spec, revision 1; socket.io 0.9.19 and socket.io-client 0.7.11, 0.8.7 and 0.9.17, where they differ.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl

import orjson

from madang.config import Config
from madang.errors import (
    SERVER_FULL,
    UNKNOWN_SID,
    UNSUPPORTED_VERSION,
    RemoteProtocolError,
    RequestRefused,
)
from madang.lengths import Lengths
from madang.packet import (
    ACK,
    CLOSE,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    NOOP,
    NOTHING,
    PING,
    PONG,
    Frame,
    Packet,
)
from madang.parsers import Parser, check_event, check_packet, escaped
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
from madang.transports.jsonp import JSONP, form_text
from madang.transports.jsonp import TRANSPORT as SCRIPTS
from madang.wire import Address, Decoder, Open, TextWire, base64_text

__all__ = ["HTMLFILE", "JSONP_POLLING", "WIRE", "XHR_POLLING", "SocketIO1"]

_RULE: Final = "Socket.IO protocol 1, encoding"
_PAYLOADS: Final = "Socket.IO protocol 1, payloads"
_FRAME: Final = re.compile(r"([0-8]):([0-9]{0,15})(\+?):([^:]*)(?::(.*))?", re.ASCII | re.DOTALL)
_ACK: Final = re.compile(r"([0-9]{1,15})(?:\+(.*))?", re.ASCII | re.DOTALL)
_INDEX: Final = re.compile(r"[0-9]{1,9}", re.ASCII)

_MAX_QUERY_FIELDS: Final = 64

_JSON, _EVENT = "4", "5"
_KINDS: Final = {"0": DISCONNECT, "1": CONNECT, "6": ACK}
#: Those without an id and data.
_BARE: Final = {CONNECT: "1::", DISCONNECT: "0::"}
#: What belongs to no namespace. Who is told that his session is over shall begin a new one, as 0.9 does for this error
#: only ("client not handshaken", advice "reconnect"): `0::` would tell him to stay away.
_GONE: Final = "7:::1+0"
_PLAIN: Final = {PING: "2::", PONG: "2::", NOOP: "8::", CLOSE: _GONE}
_UNAUTHORIZED: Final = "7::{}:2"

#: What can't stand in a message as it is. Clients before 0.8.3 read it to the end of the line. Some clients count
#: characters beyond the basic plane as one, and halves of them are no text. "htmlfile" of 0.9 takes each "\\/" for
#: a "/".
_NOT_RAW: Final = re.compile("[\n\r\u2028\u2029\ud800-\udfff\U00010000-\U0010ffff]|\\\\/")

#: What clients write into the query for themselves.
_OWN_FIELDS: Final = ("t", "i", "jsonp", "disconnect")

_MARK: Final = "\ufffd"
_LENGTHS: Final = Lengths(_MARK, _MARK)

_NO_PACKET: Final = Packet(NOOP)
_PONG_PACKET: Final = Packet(PONG)


# Packets


class _Decoder(Decoder):
    __slots__ = ("_limits", "_send")

    def __init__(self, limits: Config) -> None:
        self._limits = limits
        self._send: Callable[[Packet], None] = _unsent

    def answers(self, send: Callable[[Packet], None]) -> None:
        self._send = send

    def feed(self, frame: Frame) -> Packet | None:
        if isinstance(frame, bytes):
            raise RemoteProtocolError("frames are text", rule=_RULE)
        match = _FRAME.fullmatch(frame)
        if match is None:
            if frame == "0":
                return Packet(DISCONNECT)
            raise RemoteProtocolError(f"not a frame: {frame[:80]!r}", rule=_RULE)
        kind, id_, wants_data, endpoint, data = match.groups()
        if kind == "2":
            return _PONG_PACKET
        if kind in "78":
            return _NO_PACKET
        namespace, _, query = endpoint.partition("?")
        if not namespace:
            namespace = "/"
        elif namespace[0] != "/":
            if kind == "1":  # there is no such namespace, and the answer has to have its name
                self._send(Packet(CONNECT_ERROR, namespace=namespace))
            return _NO_PACKET
        if kind in "345":
            return self._said(kind, id_, wants_data, namespace, data or "")
        packet = Packet(_KINDS[kind], NOTHING, namespace)
        if kind == "6":
            self._acknowledged(packet, data or "")
        elif kind == "1":
            packet.data = _query(query or (data or "").removeprefix("?"))
        return packet

    def _said(self, kind: str, id_: str, wants_data: str, namespace: str, data: str) -> Packet:
        """An event, in one of its three forms."""
        body: list[Any] = ["message", data]
        if kind == _JSON:
            body[1] = load(data, self._limits, _RULE)
        elif kind == _EVENT:
            body = _event(load(data, self._limits, _RULE))
            if body[0] == "disconnect":  # the name is reserved, but programs did say it, and were not heard
                return _NO_PACKET
            check_event(body, self._limits)
        packet = Packet(EVENT, body, namespace)
        if wants_data:
            if not id_:
                raise RemoteProtocolError("an acknowledgement without an id is asked for", rule=_RULE)
            packet.id = int(id_)
        elif id_:
            # The client wants to know that it has come, and nothing else.
            self._send(Packet(ACK, [], namespace, int(id_)))
        return packet

    def _acknowledged(self, packet: Packet, data: str) -> None:
        match = _ACK.fullmatch(data)
        if match is None:
            raise RemoteProtocolError(f"an acknowledgement of nothing: {data[:80]!r}", rule=_RULE)
        packet.id = int(match[1])
        packet.data = load(match[2], self._limits, _RULE) if match[2] else []
        check_packet(packet, self._limits)


def _unsent(packet: Packet) -> None:
    """Nobody wants to answer."""


def _event(said: Any) -> list[Any]:
    if type(said) is not dict:
        raise RemoteProtocolError("an event is an object with a name", rule=_RULE)
    arguments = said.get("args")
    if arguments is None:
        arguments = []
    elif type(arguments) is not list:
        raise RemoteProtocolError("the arguments of an event are a list", rule=_RULE)
    return [said.get("name"), *arguments]


def _query(text: str) -> dict[str, str]:
    """What a client says of itself as it joins a namespace, by the fields of a query."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS))
    except ValueError:
        raise RemoteProtocolError(
            f"a namespace with more than {_MAX_QUERY_FIELDS} fields in its query", rule=_RULE
        ) from None


def _dump(data: Any) -> str:
    return escaped(dump(data, base64_text))


class SocketIO1(TextWire):
    """The protocol of the clients before 1.0."""

    name: ClassVar[str] = "sio1"
    clients: ClassVar[str] = "socket.io-client 0.7, 0.8 and 0.9"
    mends_polls: ClassVar[bool] = True
    probes: ClassVar[bool] = False
    credentialed: ClassVar[bool] = True

    # Requests

    def address(self, request: Request, below: str) -> Address | None:  # noqa: D102
        version, _, rest = below.partition("/")
        if version != "1":
            if not _is_version(version):
                return None
            detail = f"protocol {version[:10]}"
            raise RequestRefused(*UNSUPPORTED_VERSION[:2], 500, detail, {"protocol": version[:10]})
        name, _, sid = rest.partition("/")
        if sid:
            return Address(name, sid, bool(request.query.get("disconnect")))
        if name and name not in _CANONICAL:
            return Address("", name, leaves=True)  # so 0.7 and 0.8 say good-bye when their page is left
        return Address("")

    def owns(self, below: str) -> bool:  # noqa: D102
        return _is_version(below.partition("/")[0])

    def transports(self, enabled: Mapping[str, Transport]) -> Mapping[str, Transport]:  # noqa: D102
        # In the order in which clients shall try them.
        return {name: _FORMS.get(name, enabled[known]) for name, known in _CANONICAL.items() if known in enabled}

    def handshake(self, request: Request, hello: Open) -> Response:  # noqa: D102
        # Where anything comes, a ping does, or the end of a poll. Each side is to wait for a whole round at least.
        heard = hello.ping_interval_seconds + hello.ping_timeout_seconds
        heartbeat, close = heard, max(heard, hello.poll_timeout_seconds + hello.ping_timeout_seconds)
        body = f"{hello.sid}:{math.ceil(heartbeat)}:{math.ceil(close)}:{','.join(hello.upgrades)}"
        index = _index(request, "jsonp")
        if index is None:
            return Response(200, _TEXT, body.encode())
        return Response(200, _SCRIPT, f"io.j[{index}]({script_string(body)});".encode())

    def auth(self, request: Request) -> dict[str, str]:
        """The query of the handshake: these clients know no other place for it."""
        return {name: value for name, value in request.query.items() if name not in _OWN_FIELDS}

    def reader(self, request: Request) -> str | None:  # noqa: D102
        return None if _index(request, "jsonp") is None else SCRIPTS.reader(request)

    def refusal(self, request: Request, refusal: RequestRefused) -> Response:  # noqa: D102
        parts = request.path.rstrip("/").rsplit("/", 3)
        if len(parts) < 3 or parts[-3] != "1":
            return _no_hands(request, refusal)
        if refusal.code != UNKNOWN_SID[0]:
            return Response(refusal.status, _TEXT, refusal.message.encode())
        if request.method == "POST":
            return XHR_POLLING.accepted(request)
        form = _FORMS.get(parts[-2])
        if form is None or request.query.get("disconnect"):
            return Response(200, _TEXT, b"")
        if isinstance(form, StreamTransport):
            return Response(200, form.head(request), form.prelude(request) + form.chunk(_GONE))
        return _script(request, _GONE) if form is JSONP_POLLING else _text(_GONE)

    def link_refusal(self, refusal: RequestRefused) -> Frame | None:  # noqa: D102
        return _GONE if refusal.code == UNKNOWN_SID[0] else None

    # Packets

    def decoder(self, parser: Parser, limits: Config, request: Request | None = None) -> Decoder:  # noqa: D102
        return _Decoder(limits)

    def encode(self, packet: Packet, parser: Parser) -> tuple[Frame, ...]:  # noqa: D102
        kind = packet.kind
        endpoint = "" if packet.namespace == "/" else packet.namespace
        if kind == EVENT:
            return (_written(packet, endpoint),)
        if kind == ACK:
            arguments = f"+{_dump(packet.data)}" if packet.data else ""
            return (f"6::{endpoint}:{packet.id}{arguments}",)
        if kind == CONNECT_ERROR:
            return (_UNAUTHORIZED.format(endpoint),)
        bare = _BARE.get(kind)
        return (_PLAIN[kind] if bare is None else bare + endpoint,)

    def open(self, hello: Open) -> Frame:  # noqa: D102
        return "1::"

    # Payloads

    def join(self, frames: Sequence[Frame]) -> str:  # noqa: D102
        texts = [self.as_text(frame) for frame in frames]
        if len(texts) == 1:
            return texts[0]
        return _LENGTHS.join(texts)

    def split(self, payload: str | bytes, limits: Config) -> list[Frame]:  # noqa: D102
        if isinstance(payload, bytes):
            raise RemoteProtocolError("payloads are text", rule=_PAYLOADS)
        if payload[:1] != _MARK:
            return [payload]
        frames = _LENGTHS.cut(payload, limits.max_packets_per_payload)
        if frames is None:
            raise RemoteProtocolError("the lengths in a payload are wrong", rule=_PAYLOADS)
        return list(frames)

    def payload_bytes(self, frames: Sequence[Frame]) -> int:  # noqa: D102
        size = 0
        for frame in frames:
            text = self.as_text(frame)
            # Each mark takes three bytes.
            size += (
                6 + len(str(2 * len(text))) + (len(text) if text.isascii() else len(text.encode("utf-8", "replace")))
            )
        return size


def _is_version(segment: str) -> bool:
    return segment.isdecimal() and segment.isascii()


def _written(packet: Packet, endpoint: str) -> str:
    data = packet.data
    id_ = "" if packet.id is None else f"{packet.id}+"
    if data[0] == "message" and len(data) == 2:
        value = data[1]
        if type(value) is not str or _NOT_RAW.search(value) is not None:
            return f"4:{id_}:{endpoint}:{_dump(value)}"
        return f"3:{id_}:{endpoint}:{value}" if value else f"3:{id_}:{endpoint}"
    event = {"name": data[0], "args": data[1:]} if len(data) > 1 else {"name": data[0]}
    return f"5:{id_}:{endpoint}:{_dump(event)}"


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
    ("X-XSS-Protection", "0"),
)
_ACCEPTED: Final = (*_TEXT, ("X-XSS-Protection", "0"))


def _index(request: Request, field: str) -> str | None:
    """The number of a function of the page. What else stands there could be a program, and is not looked at."""
    value = request.query.get(field, "")
    return str(int(value)) if _INDEX.fullmatch(value) is not None else None


def _no_hands(request: Request, refusal: RequestRefused) -> Response:
    """The answer to a handshake that is refused."""
    status = refusal.status
    if refusal.code == UNSUPPORTED_VERSION[0]:
        text = "Protocol version not supported."
    elif refusal.context.get("name") == "ORIGIN_NOT_ALLOWED":
        text = "handshake bad origin"
    elif status == 403:
        text = "handshake unauthorized"
    else:
        text = refusal.message if status == SERVER_FULL[2] else "handshake error"
    index = _index(request, "jsonp")
    if index is None:
        return Response(status, _TEXT, text.encode())
    return Response(200, _SCRIPT, f"io.j[{index}](new Error({script_string(text)}));".encode())


def _accepted() -> Response:
    return Response(200, _ACCEPTED, b"1")


def _status(payload: str) -> int:
    """The status of a poll. One that fails makes clients begin anew, as a link does that breaks.

    Who reads that his session is over says good-bye to it, and if a POST is under way, not before he has begun a new
    one, which then ends.
    """
    return 410 if payload == _GONE else 200


def _text(payload: str, status: int = 200) -> Response:
    return Response(status, _TEXT, payload.encode("utf-8", "replace"))


def _script(request: Request, payload: str, status: int = 200) -> Response:
    text = f"io.j[{_index(request, 'i') or 0}]({script_string(payload)});"
    return Response(status, _SCRIPT, text.encode("utf-8", "replace"))


class _XhrPolling(PollTransport):
    """Long-polling. A waiting poll ends with a NOOP."""

    name: ClassVar[str] = "polling"
    upgrades: ClassVar[tuple[str, ...]] = ()

    def respond(self, request: Request, payload: str | bytes) -> Response:
        assert isinstance(payload, str)  # as all payloads of this generation  # noqa: S101
        return _text(payload, _status(payload))

    def accepted(self, request: Request) -> Response:
        return _accepted()


class _JsonpPolling(JSONP):
    """Long-polling by script elements and forms."""

    upgrades: ClassVar[tuple[str, ...]] = ()
    variant_of: ClassVar[tuple[str, str] | None] = None

    def check(self, request: Request) -> None:
        """The number may be missing."""

    def respond(self, request: Request, payload: str | bytes) -> Response:
        assert isinstance(payload, str)  # as all payloads of this generation  # noqa: S101
        return _script(request, payload, _status(payload))

    def unpack(self, request: Request, body: bytes) -> str:
        text = form_text(body)
        if text[:1] != '"':  # as clients before 0.8.6 say it; browsers make two characters of a line break in a form
            return text.replace("\r\n", "\n")
        try:
            payload = orjson.loads(text)
        except orjson.JSONDecodeError:
            payload = _with_halves(text)
        if type(payload) is not str:
            raise RemoteProtocolError("a payload is no JSON string", rule=_PAYLOADS)
        return payload

    def accepted(self, request: Request) -> Response:
        return _accepted()


def _with_halves(text: str) -> str:
    """Read a JSON string in which there may be halves of characters, which are no text, but count in lengths."""
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        payload = None
    if type(payload) is not str:
        raise RemoteProtocolError("a payload is no JSON string", rule=_PAYLOADS) from None
    return payload.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _HtmlFile(StreamTransport):
    r"""The forever iframe: each packet is a script that hands a string to the parent window's object `s`.

    Only a page of our own origin can have that window: to others, the browser gives none of its members. 0.9 takes the
    backslash from each "\/" again, so in JSON, where that may be a backslash and a slash, the slash becomes an escape.
    """

    name: ClassVar[str] = "iframe"
    upgrades: ClassVar[tuple[str, ...]] = ()
    pages_only: ClassVar[bool] = True
    resumes: ClassVar[bool] = False

    def head(self, request: Request) -> Headers:
        return _DOCUMENT

    def prelude(self, request: Request) -> bytes:
        return _PRELUDE

    def chunk(self, frame: Frame) -> bytes:
        assert isinstance(frame, str)  # it is not binary  # noqa: S101
        text = json.dumps(frame.replace("\\/", "\\\\u002f")).replace("<", r"\u003c").replace("/", r"\/")
        return f"<script>_({text});</script>".encode()

    def accepted(self, request: Request) -> Response:
        return _accepted()


_DOCUMENT: Final = (
    ("Content-Type", "text/html; charset=UTF-8"),
    ("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; frame-ancestors 'self'"),
)
#: Browsers look at so much of a document before they run any of it.
_PRELUDE: Final = b"<html><body><script>function _(data){parent.s._(data,document)}</script>".ljust(256)

XHR_POLLING: Final = _XhrPolling()
JSONP_POLLING: Final = _JsonpPolling()
HTMLFILE: Final = _HtmlFile()

#: What clients call a transport, and what we do, best first.
_CANONICAL: Final = {
    "websocket": "websocket",
    "flashsocket": "flashsocket",
    "htmlfile": "iframe",
    "xhr-polling": "polling",
    "jsonp-polling": "jsonp",
}
_FORMS: Final[Mapping[str, HttpTransport]] = {
    "htmlfile": HTMLFILE,
    "xhr-polling": XHR_POLLING,
    "jsonp-polling": JSONP_POLLING,
}

WIRE: Final = SocketIO1()
