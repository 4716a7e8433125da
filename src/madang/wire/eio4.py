"""Engine.IO 4 with Socket.IO 5: the generation of the clients 3.x and 4.x.

Frames are text that starts with a digit, or bytes, which are always part of a message. A payload joins frames with
the record separator; bytes in it are base64 behind the letter "b".

Source: Engine.IO protocol 4, Socket.IO protocol 5.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final

import orjson

from madang.compiling import mypyc_attr
from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.packet import (
    CLOSE,
    CONNECT_ERROR,
    MESSAGE,
    NOOP,
    PING,
    PONG,
    UPGRADE,
    Frame,
    Packet,
    restore_attachments,
)
from madang.parsers import Parser
from madang.transports import Request
from madang.wire import Address, Decoder, Open, Wire

__all__ = ["WIRE", "EngineIO4", "PacketDecoder"]

_RULE = "Engine.IO protocol 4, packet encoding"
_HANDSHAKE: Final = "Engine.IO protocol 4, handshake"
#: Longer ids are no ids; and a year between two pings is none between them.
_MAX_SID: Final = 256
_MAX_KNOCK: Final = 4 * _MAX_SID
_MAX_MILLISECONDS: Final = 365 * 86_400_000
_SEPARATOR: Final = "\x1e"
_DIGITS: Final = {CLOSE: "1", PING: "2", PONG: "3", UPGRADE: "5", NOOP: "6"}
_KINDS: Final = {digit: kind for kind, digit in _DIGITS.items()}
# The packets without data are always the same.
_PLAIN: Final = {digit: Packet(kind) for digit, kind in _KINDS.items()}


@mypyc_attr(allow_interpreted_subclasses=True)
class PacketDecoder(Decoder):
    """Reads frames, and puts packets and their attachments together.

    Args:
        parser: reads packets.
        limits: the bounds to keep.
    """

    __slots__ = ("_buffers", "_limits", "_packet", "_parser", "_size")

    def __init__(self, parser: Parser, limits: Config) -> None:
        self._parser = parser
        self._limits = limits
        # A packet that waits for attachments, those that came, and the bytes of all together.
        self._packet: Packet | None = None
        self._buffers: list[bytes] | None = None
        self._size = 0

    def feed(self, frame: Frame) -> Packet | None:  # noqa: D102
        if isinstance(frame, str):
            if frame[:1] == "4":
                if self._packet is None:
                    packet = self._parser.decode(frame, 1, self._limits)
                    if packet.missing:
                        self._begin(packet, frame)
                        return None
                    return packet
                raise RemoteProtocolError(
                    f"{self._packet.missing} attachments were still to come",
                    rule="Socket.IO protocol 5, binary attachments",
                )
            plain = _PLAIN.get(frame)
            if plain is not None:
                return plain
            kind = _KINDS.get(frame[:1])
            if kind is None:
                raise RemoteProtocolError(f"unknown packet type {frame[:1]!r}", rule=_RULE)
            return Packet(kind, frame[1:])
        if self._packet is None:
            packet = self._parser.decode(frame, 0, self._limits)
            if packet.missing:
                self._begin(packet, frame)
                return None
            return packet
        return self._attachment(self._packet, frame)

    def _begin(self, packet: Packet, frame: Frame) -> None:
        self._packet = packet
        self._buffers = []
        self._size = len(frame)

    def _attachment(self, packet: Packet, frame: bytes) -> Packet | None:
        assert self._buffers is not None  # set together with the packet  # noqa: S101
        self._size += len(frame)
        if self._size > self._limits.max_packet_bytes:
            raise RemoteProtocolError(
                f"a packet and its attachments have more than {self._limits.max_packet_bytes} bytes",
                rule="max_packet_bytes",
                close_code=1009,
                http_status=413,
            )
        self._buffers.append(frame)
        packet.missing -= 1
        if packet.missing:
            return None
        packet.data = restore_attachments(packet.data, self._buffers)
        self._packet = self._buffers = None
        return packet


@lru_cache(maxsize=256)
def _terms(upgrades: tuple[str, ...], interval_seconds: float, timeout_seconds: float, max_payload_bytes: int) -> str:
    """What stands behind the id in an open packet: the same for nearly all clients of a server."""
    body = {
        "upgrades": upgrades,
        "pingInterval": round(interval_seconds * 1000),
        "pingTimeout": round(timeout_seconds * 1000),
        "maxPayload": max_payload_bytes,
    }
    return orjson.dumps(body).decode()[1:]


@mypyc_attr(allow_interpreted_subclasses=True)
class EngineIO4(Wire):
    """The protocol of today's clients."""

    name: ClassVar[str] = "eio4"
    server_pings: ClassVar[bool] = True
    recovers: ClassVar[bool] = True
    untold: ClassVar[frozenset[str]] = frozenset({"flashsocket"})
    query: ClassVar[Mapping[str, str]] = {"EIO": "4"}
    clients: ClassVar[str] = "socket.io-client 3.x and 4.x"

    def address(self, request: Request, below: str) -> Address | None:  # noqa: D102
        query = request.query
        if below or query.get("EIO") != "4":
            return None
        return Address(query.get("transport", ""), query.get("sid"))

    def decoder(self, parser: Parser, limits: Config, request: Request | None = None) -> Decoder:  # noqa: D102
        return PacketDecoder(parser, limits)

    def encode(self, packet: Packet, parser: Parser) -> tuple[Frame, ...]:  # noqa: D102
        kind = packet.kind
        if kind <= CONNECT_ERROR or kind == MESSAGE:
            return parser.encode(packet, "4")
        digit = _DIGITS[kind]
        return (digit + packet.data if isinstance(packet.data, str) else digit,)

    def wrap(self, namespace: str, text: str, parser: Parser) -> tuple[Frame, ...] | None:  # noqa: D102
        return parser.wrap(namespace, text, "4")

    def open(self, hello: Open) -> Frame:  # noqa: D102
        sid, upgrades, interval, timeout, most, _ = hello
        return f'0{{"sid":{orjson.dumps(sid).decode()},{_terms(tuple(upgrades), interval, timeout, most)}'

    def greeted(self, frame: Frame) -> Open:  # noqa: D102
        if not isinstance(frame, str) or frame[:1] != "0":
            raise RemoteProtocolError(f"a session starts with an open packet, not with {frame[:80]!r}", rule=_HANDSHAKE)
        try:
            body = orjson.loads(frame[1:])
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            raise RemoteProtocolError("the open packet is not JSON", rule=_HANDSHAKE) from None
        if type(body) is not dict:
            raise RemoteProtocolError("the open packet holds no object", rule=_HANDSHAKE)
        sid, upgrades = body.get("sid"), body.get("upgrades", [])
        if type(sid) is not str or not 0 < len(sid) <= _MAX_SID:
            raise RemoteProtocolError(f"the open packet has no sid: {sid!r:.80}", rule=_HANDSHAKE)
        if type(upgrades) is not list or not all(type(one) is str for one in upgrades):
            raise RemoteProtocolError("the upgrades of the open packet are no list of names", rule=_HANDSHAKE)
        times: list[Any] = [body.get("pingInterval"), body.get("pingTimeout")]
        if not all(type(one) in (int, float) and 0 < one <= _MAX_MILLISECONDS for one in times):
            raise RemoteProtocolError(f"the times of the open packet make no sense: {times!r:.80}", rule=_HANDSHAKE)
        most = body.get("maxPayload")
        return Open(sid, upgrades, times[0] / 1000, times[1] / 1000, most if type(most) is int and most > 0 else 0)

    def knock(self, sid: str = "") -> Frame:  # noqa: D102
        return "0" + orjson.dumps({"sid": sid}).decode() if sid else "0"

    def knocked(self, frame: Frame) -> str | None:  # noqa: D102
        if not isinstance(frame, str) or frame[:1] != "0" or len(frame) > _MAX_KNOCK:
            return None
        if frame == "0":
            return ""
        try:
            body = orjson.loads(frame[1:])
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            return None
        sid = body.get("sid") if type(body) is dict else None
        return sid if type(sid) is str and 0 < len(sid) <= _MAX_SID else None

    def join(self, frames: Sequence[Frame]) -> str:  # noqa: D102
        if len(frames) == 1:
            return self.as_text(frames[0])
        return _SEPARATOR.join([self.as_text(frame) for frame in frames])

    def split(self, payload: str | bytes, limits: Config) -> list[Frame]:  # noqa: D102
        if isinstance(payload, bytes):
            raise RemoteProtocolError("payloads are text", rule="Engine.IO protocol 4, HTTP long-polling")
        if _SEPARATOR not in payload:
            return [self.from_text(payload)]
        count = payload.count(_SEPARATOR) + 1
        if count > limits.max_packets_per_payload:
            raise RemoteProtocolError(
                f"a payload of {count} packets; {limits.max_packets_per_payload} are allowed",
                rule="max_packets_per_payload",
            )
        return [self.from_text(part) for part in payload.split(_SEPARATOR)]

    def as_text(self, frame: Frame) -> str:  # noqa: D102
        return frame if isinstance(frame, str) else "b" + base64.b64encode(frame).decode()

    def from_text(self, text: str) -> Frame:  # noqa: D102
        return _unbase64(text) if text[:1] == "b" else text


def _unbase64(part: str) -> bytes:
    try:
        return base64.b64decode(part[1:], validate=True)
    except (binascii.Error, ValueError):
        raise RemoteProtocolError("a binary packet is not base64", rule=_RULE) from None


WIRE: Final = EngineIO4()
