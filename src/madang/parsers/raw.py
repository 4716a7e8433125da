"""No packets at all: each message of Engine.IO is delivered as it came. For use of the engine without Socket.IO."""

from __future__ import annotations

from typing import ClassVar, Final

from madang.config import Config
from madang.errors import EncodeError
from madang.packet import MESSAGE, Frame, Packet
from madang.parsers import Parser

__all__ = ["PARSER", "RawParser"]


class RawParser(Parser):
    """A message is a packet of the kind MESSAGE whose data is text or bytes."""

    name: ClassVar[str] = "raw"
    carries_packets: ClassVar[bool] = False

    def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:  # noqa: D102
        data = packet.data
        if isinstance(data, bytes):
            return (data,)
        if not isinstance(data, str):
            raise EncodeError(f"a message of the parser 'raw' is text or bytes, not {data!r:.80}")
        return (prefix + data,)

    def decode(self, content: Frame, start: int, limits: Config) -> Packet:  # noqa: D102
        return Packet(MESSAGE, content if isinstance(content, bytes) else content[start:])


PARSER: Final = RawParser()
