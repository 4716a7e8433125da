"""WebTransport: one stream of a QUIC connection, on which each frame has a head with its kind and length.

The first byte of a head says whether the frame is bytes (bit 7) or text, and its length, or that the length follows in
2 or 8 bytes. Nothing says who comes, neither path nor query: the first frame does.

Official clients take no frame without content. So empty bytes go as the text "b", which is base64 to them. What they
send for empty bytes themselves, a head alone, is read.

Source: Engine.IO protocol 4, "WebTransport"; engine.io-parser 5.2, packet streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from madang.errors import RemoteProtocolError
from madang.packet import Frame
from madang.transports import LinkTransport

__all__ = ["TRANSPORT", "FrameReader", "WebTransport", "frame"]

_RULE: Final = "Engine.IO protocol 4, WebTransport framing"
_BINARY: Final = 0x80
#: Lengths from here on, and from 65,536 on, stand in bytes of their own behind these marks.
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127
_EMPTY: Final = b"\x01b"
_MORE: Final = {_TWO_BYTES: 2, _EIGHT_BYTES: 8}


def frame(content: Frame) -> bytes:
    r"""Write a frame.

    Example:
        >>> frame("40")
        b'\x0240'
        >>> frame(b"\x00\xff")
        b'\x82\x00\xff'
    """
    if not content:
        return _EMPTY
    kind, payload = (0, content.encode("utf-8", "replace")) if isinstance(content, str) else (_BINARY, content)
    size = len(payload)
    if size < _TWO_BYTES:
        return bytes((kind | size,)) + payload
    if size < 65_536:
        return bytes((kind | _TWO_BYTES,)) + size.to_bytes(2, "big") + payload
    return bytes((kind | _EIGHT_BYTES,)) + size.to_bytes(8, "big") + payload


class FrameReader:
    r"""Takes frames out of the bytes of a stream, in whatever pieces they come.

    Args:
        on_frame: called with each frame. May be replaced at any time, and may call `stop`.
        max_payload_bytes: how large a frame may be.

    Attributes:
        on_frame: the function.
        max_payload_bytes: the limit.
        stopped: whether nothing more is read: `stop` was called, or the peer broke a rule.

    Example:
        >>> reader = FrameReader(print, max_payload_bytes=100)
        >>> reader.feed(b"\x024")
        >>> reader.feed(b"0\x012")
        40
        2
    """

    __slots__ = ("_buffer", "_wanted", "max_payload_bytes", "on_frame", "stopped")

    def __init__(self, on_frame: Callable[[Frame], None], *, max_payload_bytes: int) -> None:
        self.on_frame = on_frame
        self.stopped = False
        self.max_payload_bytes = max_payload_bytes
        self._buffer = bytearray()
        self._wanted = 1  # how many bytes have to be there for the next step: a head, or a whole frame

    def stop(self) -> None:
        """Read nothing more, and forget what is half-read."""
        self.stopped = True
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> None:
        """Take bytes, and hand on the frames that are whole with them.

        Raises:
            RemoteProtocolError: a frame is empty text, too large, or text that is no UTF-8. Nothing is read then.
        """
        if self.stopped:
            return
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._wanted:
                return
            data = buffer
            self._buffer = bytearray()
        position = 0
        size = len(data)
        try:
            while position < size:
                wanted = self._read(data, position, size)
                if not wanted:
                    return
                if wanted > size - position:
                    self._wanted = wanted
                    self._buffer += memoryview(data)[position:]
                    return
                position += wanted
        except RemoteProtocolError:
            self.stop()
            raise
        self._wanted = 1

    def _read(self, data: bytes | bytearray, position: int, size: int) -> int:
        """Hand on the frame that begins here, if it is whole.

        Returns:
            How many bytes it takes, as far as that is known; 0 once nothing more is to be read.
        """
        first = data[position]
        start = position + 1
        length = first & 0x7F
        more = _MORE.get(length)
        if more is not None:
            start += more
            if start > size:
                return start - position
            length = int.from_bytes(data[start - more : start], "big")
        if length > self.max_payload_bytes:
            raise RemoteProtocolError(
                f"a frame of {length} bytes; max_payload_bytes is {self.max_payload_bytes}", rule=_RULE, close_code=1009
            )
        if not length and not first & _BINARY:
            raise RemoteProtocolError("text without content", rule=_RULE)
        end = start + length
        if end <= size:
            payload = bytes(data[start:end])
            self.on_frame(payload if first & _BINARY else _text(payload))
            if self.stopped:
                return 0
        return end - position


def _text(payload: bytes) -> Frame:
    if payload == b"b":
        return b""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("text that is not UTF-8", rule=_RULE, close_code=1007) from None


class WebTransport(LinkTransport):
    """The newest of the browsers' ways: over UDP, where a lost packet holds up nobody else."""

    name: ClassVar[str] = "webtransport"
    knocks: ClassVar[bool] = True


TRANSPORT: Final = WebTransport()
