"""Engine.IO 3 with Socket.IO 3 and 4: the generation of the clients 1.x and 2.x. 1.0 calls it Engine.IO 2.

What differs from Engine.IO 4: the client sends the pings; clients are in the main namespace without asking, and know
their id in each namespace themselves; a message of bytes has its type in front; and a payload tells the length of each
packet before it, in one of two forms:

* text: `<length>:<packet>`, the length in UTF-16 units, bytes as base64 behind "b4";
* bytes: 0 for text or 1 for bytes, the digits of the length in bytes, 255, the packet.

No two releases of these clients agree on how text beyond ASCII travels in the text form: those before 2.0 encode it as
UTF-8 twice (1.0 over WebSockets too), and some clients of other languages count characters. So what we write is ASCII
(JSON has escapes), and what we read is taken for what it can be. Who takes bytes is answered in the form of bytes, on
which all agree.

Source: Engine.IO protocol 3, Socket.IO protocol 4; engine.io-parser 1.0 to 2.2.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final
from urllib.parse import parse_qsl

from madang.config import Config
from madang.errors import LocalProtocolError, RemoteProtocolError
from madang.lengths import Lengths
from madang.packet import CONNECT, CONNECT_ERROR, NOTHING, Frame, Packet
from madang.parsers import Parser, escaped
from madang.transports import Request
from madang.wire import Address, Decoder
from madang.wire.eio4 import EngineIO4, PacketDecoder

__all__ = ["WIRE", "EngineIO3"]

_RULE: Final = "Engine.IO protocol 3, payload encoding"
_PACKET_RULE: Final = "Engine.IO protocol 3, packet encoding"
#: What stands in queries for the protocol; all else is the program's.
_OWN_FIELDS: Final = frozenset({"EIO", "transport", "sid", "t", "j", "b64"})
_VERSIONS: Final = ("3", "2", "1", None)
_LENGTHS: Final = Lengths("", ":")
#: What a length takes in front of its packet, at most.
_MARK_BYTES: Final = 12
_MAX_QUERY_FIELDS: Final = 64
#: In the form of bytes: text or bytes, the digits of the length as numbers, and what ends them.
_BYTES_HEAD: Final = re.compile(rb"([\x00\x01])([\x00-\x09]{1,10})\xff")
_DIGITS: Final = bytes(range(48, 58)) + bytes(246)
#: The type of a message, in front of bytes.
_MESSAGE: Final = b"\x04"


class _Polled(str):
    """A packet of a text payload that has more than ASCII in it, and may be UTF-8 in characters."""

    __slots__ = ()


class _Decoder(PacketDecoder):
    __slots__ = ("_is_oldest", "_is_plain")

    def __init__(self, parser: Parser, limits: Config, is_oldest: bool) -> None:
        super().__init__(parser, limits)
        self._is_oldest = is_oldest  # whether the client is of 1.0, which encodes text twice over WebSockets too
        self._is_plain = False  # whether the client has sent what no client before 2.0 does

    def feed(self, frame: Frame) -> Packet | None:
        if isinstance(frame, str):
            if type(frame) is _Polled or (self._is_oldest and not frame.isascii()):
                frame = self._decoded(frame)
            if frame[:2] == "40" and self._packet is None and self._parser.escapes:
                return _connect(frame)
            return super().feed(frame)
        if frame[:1] != _MESSAGE:
            raise RemoteProtocolError(f"a packet of bytes of the type {frame[:1]!r}", rule=_PACKET_RULE)
        return super().feed(frame[1:])

    def _decoded(self, frame: str) -> str:
        """Undo the first of two encodings, if there were two."""
        if self._is_plain:
            return str(frame)
        try:
            return frame.encode("latin-1").decode()
        except (UnicodeEncodeError, UnicodeDecodeError):
            self._is_plain = True
            return str(frame)


def _connect(frame: str) -> Packet:
    """Read a CONNECT: `40/namespace?query,`, whose comma some leave out."""
    namespace, _, query = frame[2:].partition(",")[0].partition("?")
    if namespace and namespace[0] != "/":
        raise RemoteProtocolError("the name of a namespace starts with a slash", rule="Socket.IO protocol 4, CONNECT")
    try:
        auth = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS))
    except ValueError:
        raise RemoteProtocolError(
            f"a namespace with more than {_MAX_QUERY_FIELDS} fields in its query", rule="Socket.IO protocol 4, CONNECT"
        ) from None
    return Packet(CONNECT, auth, namespace or "/")


class EngineIO3(EngineIO4):
    """The protocol of the clients before 3.0."""

    name: ClassVar[str] = "eio3"
    clients: ClassVar[str] = "socket.io-client 1.x and 2.x"
    server_pings: ClassVar[bool] = False
    recovers: ClassVar[bool] = False
    implicit_root: ClassVar[bool] = True
    impatient: ClassVar[bool] = True
    credentialed: ClassVar[bool] = True
    untold: ClassVar[frozenset[str]] = frozenset({"webtransport"})
    query: ClassVar[Mapping[str, str]] = {}

    # Requests

    def address(self, request: Request, below: str) -> Address | None:  # noqa: D102
        query = request.query
        if below or query.get("EIO") not in _VERSIONS or "transport" not in query:
            return None
        return Address(query["transport"], query.get("sid"))

    def text_only(self, request: Request) -> bool:
        """Clients say so, and those before Engine.IO 2 know nothing else."""
        query = request.query
        return "b64" in query or query.get("EIO") not in ("2", "3")

    def socket_id(self, sid: str, namespace: str) -> str:
        """Clients make it of the id of their session. They don't keep it from others as a key should be kept."""
        return sid if namespace == "/" else f"{namespace}#{sid}"

    def auth(self, request: Request) -> dict[str, str]:
        """The query: these clients know no other place for it."""
        return {name: value for name, value in request.query.items() if name not in _OWN_FIELDS}

    # Packets

    def decoder(self, parser: Parser, limits: Config, request: Request | None = None) -> Decoder:  # noqa: D102
        # Of the whole query nothing else is wanted, and it is not to be kept for as long as the client stays.
        is_oldest = request is not None and "EIO=2" in request.query_string.split("&")
        return _Decoder(parser, limits, is_oldest)

    def encode(self, packet: Packet, parser: Parser) -> tuple[Frame, ...]:  # noqa: D102
        kind = packet.kind
        if kind == CONNECT:
            packet = Packet(CONNECT, NOTHING, packet.namespace)
        elif kind == CONNECT_ERROR and type(packet.data) is dict:
            reason = packet.data.get("data", packet.data.get("message"))
            packet = Packet(CONNECT_ERROR, reason, packet.namespace)
        frames = super().encode(packet, parser)
        first = frames[0]
        if isinstance(first, str) and len(frames) == 1 and first.isascii():
            return frames
        if isinstance(first, str) and parser.escapes:
            body = 0 if packet.namespace == "/" else first.index(",")  # a namespace knows no escapes
            frames = (first[:body] + escaped(first[body:]), *frames[1:])
        return tuple([frame if isinstance(frame, str) else _MESSAGE + frame for frame in frames])

    def wrap(self, namespace: str, text: str, parser: Parser) -> None:
        """The oldest of these clients want text in another form."""
        return

    def knock(self, sid: str = "") -> Frame:
        """There were no links of this kind yet."""
        raise LocalProtocolError(f"{self.name} has no links on which clients knock")

    def knocked(self, frame: Frame) -> str | None:
        """Nobody knocks in this generation."""
        return None

    def as_text(self, frame: Frame) -> str:  # noqa: D102
        return frame if isinstance(frame, str) else f"b{frame[0]}{base64.b64encode(frame[1:]).decode()}"

    def from_text(self, text: str) -> Frame:  # noqa: D102
        if text[:1] != "b":
            return text
        try:
            return bytes([int(text[1:2])]) + base64.b64decode(text[2:], validate=True)
        except (binascii.Error, ValueError):
            raise RemoteProtocolError("a binary packet is not base64", rule=_PACKET_RULE) from None

    # Payloads

    def join(self, frames: Sequence[Frame]) -> str:  # noqa: D102
        return _LENGTHS.join(map(self.as_text, frames))

    def pack(self, frames: Sequence[Frame]) -> bytes:  # noqa: D102
        parts: list[bytes] = []
        for frame in frames:
            if isinstance(frame, str):
                kind, data = 0, frame.encode("utf-8", "replace")
            else:
                kind, data = 1, frame
            parts += (bytes([kind, *map(int, str(len(data))), 255]), data)
        return b"".join(parts)

    def split(self, payload: str | bytes, limits: Config) -> list[Frame]:  # noqa: D102
        most = limits.max_packets_per_payload
        if isinstance(payload, bytes):
            return [part if isinstance(part, bytes) else self.from_text(part) for part in _cut_bytes(payload, most)]
        parts = _LENGTHS.cut(payload, most)
        if parts is None:
            raise RemoteProtocolError("the lengths in a payload are wrong", rule=_RULE)
        return [self.from_text(part if part.isascii() else _Polled(part)) for part in parts if part]

    def payload_bytes(self, frames: Sequence[Frame]) -> int:  # noqa: D102
        return super().payload_bytes(frames) + _MARK_BYTES * len(frames)


def _cut_bytes(payload: bytes, most: int) -> list[Frame]:
    """Cut a payload of bytes into frames."""
    frames: list[Frame] = []
    start, end, count = 0, len(payload), 0
    while start < end:
        head = _BYTES_HEAD.match(payload, start)
        if head is None:
            raise RemoteProtocolError(f"a packet without its length: {payload[start : start + 20]!r}", rule=_RULE)
        length = int(head[2].translate(_DIGITS))
        begin = head.end()
        start = begin + length
        if start > end:
            raise RemoteProtocolError(f"a packet of {length} bytes, of which {end - begin} came", rule=_RULE)
        count = _counted(count, most)
        if not length:
            continue
        data = payload[begin:start]
        if head[1] == b"\x01":
            frames.append(data)
            continue
        try:
            frames.append(data.decode())
        except UnicodeDecodeError:
            raise RemoteProtocolError("a packet of text is not UTF-8", rule=_RULE) from None
    return frames


def _counted(count: int, most: int) -> int:
    """Count one packet more. Those without anything in them count too: each is as much work as any."""
    if count >= most:
        raise RemoteProtocolError(
            f"a payload of more than {most} packets, which is how many are allowed", rule="max_packets_per_payload"
        )
    return count + 1


WIRE: Final = EngineIO3()
