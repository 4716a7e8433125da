"""Engine.IO 4 with Socket.IO 5: the generation of the clients 3.x and 4.x.

Frames are text that starts with a digit, or bytes, which are always part of a message. A payload joins frames with
the record separator; bytes in it are base64 behind the letter "b".

Source: Engine.IO protocol 4, Socket.IO protocol 5.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import orjson

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
from madang.wire import Decoder, Open, Wire

__all__ = ["WIRE", "EngineIO4"]

_RULE = "Engine.IO protocol 4, packet encoding"
_SEPARATOR: Final = "\x1e"
_DIGITS: Final = {CLOSE: "1", PING: "2", PONG: "3", UPGRADE: "5", NOOP: "6"}
_KINDS: Final = {digit: kind for kind, digit in _DIGITS.items()}
# The packets without data are always the same.
_PLAIN: Final = {digit: Packet(kind) for digit, kind in _KINDS.items()}


class _Decoder(Decoder):
    __slots__ = ("_buffers", "_limits", "_packet", "_parser", "_size")

    def __init__(self, parser: Parser, limits: Config) -> None:
        self._parser = parser
        self._limits = limits
        # A packet that waits for attachments, those that came, and the bytes of all together.
        self._packet: Packet | None = None
        self._buffers: list[bytes] | None = None
        self._size = 0

    def feed(self, frame: Frame) -> Packet | None:
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


class EngineIO4(Wire):
    """The protocol of today's clients."""

    name: ClassVar[str] = "eio4"
    server_pings: ClassVar[bool] = True
    recovers: ClassVar[bool] = True

    def recognises(self, query: Mapping[str, str]) -> bool:  # noqa: D102
        return query.get("EIO") == "4"

    def decoder(self, parser: Parser, limits: Config) -> Decoder:  # noqa: D102
        return _Decoder(parser, limits)

    def encode(self, packet: Packet, parser: Parser) -> tuple[Frame, ...]:  # noqa: D102
        kind = packet.kind
        if kind <= CONNECT_ERROR or kind == MESSAGE:
            return parser.encode(packet, "4")
        digit = _DIGITS[kind]
        return (digit + packet.data if isinstance(packet.data, str) else digit,)

    def open(self, hello: Open) -> Frame:  # noqa: D102
        body = {
            "sid": hello.sid,
            "upgrades": list(hello.upgrades),
            "pingInterval": round(hello.ping_interval_seconds * 1000),
            "pingTimeout": round(hello.ping_timeout_seconds * 1000),
            "maxPayload": hello.max_payload_bytes,
        }
        return "0" + orjson.dumps(body).decode()

    def join(self, frames: Sequence[Frame]) -> str:  # noqa: D102
        return _SEPARATOR.join(
            frame if isinstance(frame, str) else "b" + base64.b64encode(frame).decode() for frame in frames
        )

    def split(self, payload: str, limits: Config) -> list[Frame]:  # noqa: D102
        count = payload.count(_SEPARATOR) + 1
        if count > limits.max_packets_per_payload:
            raise RemoteProtocolError(
                f"a payload of {count} packets; {limits.max_packets_per_payload} are allowed",
                rule="max_packets_per_payload",
            )
        return [_unbase64(part) if part[:1] == "b" else part for part in payload.split(_SEPARATOR)]


def _unbase64(part: str) -> bytes:
    try:
        return base64.b64decode(part[1:], validate=True)
    except (binascii.Error, ValueError):
        raise RemoteProtocolError("a binary packet is not base64", rule=_RULE) from None


WIRE: Final = EngineIO4()
