"""Multipart streaming: one response of many parts, each of which replaces the one before (`x-mixed-replace`).

It is the oldest way to push, from 1995. No browser of today hands a script the parts by itself, so clients read the
response as a stream. A part tells its length, and bytes are sent as they are.

Source: RFC 2046, 5.1; Socket.IO 0.6, transport "xhr-multipart".
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from madang.errors import RemoteProtocolError
from madang.packet import Frame
from madang.transports import Headers, Request, StreamDecoder, StreamTransport

__all__ = ["TRANSPORT", "Multipart", "PartDecoder"]

_HEADERS: Final = (("Content-Type", 'multipart/x-mixed-replace; boundary="madang"'),)
_BOUNDARY: Final = b"--madang\r\n"
_RULE: Final = "RFC 2046 5.1"
_TYPE: Final = re.compile(r'multipart/x-mixed-replace *;.*\bboundary="?([0-9A-Za-z\'()+_,\-./:=?]{1,70})"?', re.ASCII)
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
#: How large the headers of a part may be; ours have 80 bytes.
_MAX_HEAD_BYTES: Final = 4096


class Multipart(StreamTransport):
    """Each frame is a part, and the boundary stands behind it, so that no reader has to wait for the next one."""

    name: ClassVar[str] = "multipart"
    binary: ClassVar[bool] = True

    def head(self, request: Request) -> Headers:  # noqa: D102
        return _HEADERS

    def prelude(self, request: Request) -> bytes:  # noqa: D102
        return _BOUNDARY

    def chunk(self, frame: Frame) -> bytes:  # noqa: D102
        if isinstance(frame, str):
            kind, data = b"text/plain; charset=UTF-8", frame.encode("utf-8", "replace")
        else:
            kind, data = b"application/octet-stream", frame
        return b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n%b\r\n%b" % (kind, len(data), data, _BOUNDARY)

    def decoder(self, content_type: str, max_bytes: int) -> StreamDecoder:  # noqa: D102
        found = _TYPE.match(content_type.strip())
        if found is None:
            raise RemoteProtocolError(f"a response of type {content_type!r:.80} is no stream of parts", rule=_RULE)
        return PartDecoder(found[1].encode(), max_bytes)


class PartDecoder(StreamDecoder):
    """Reads a stream of parts that tell their length.

    Args:
        boundary: what stands between them, without the two dashes.
        max_bytes: how large one part may be.
    """

    __slots__ = ("_between", "_binary", "_buffer", "_first", "_most", "_viewed", "_wanted")

    def __init__(self, boundary: bytes, max_bytes: int) -> None:
        self._most = max_bytes
        self._between = b"\r\n--%b\r\n" % boundary
        self._buffer = bytearray()
        self._first = True  # no boundary was read yet
        self._viewed = 0  # so much of the buffer has no end of a head
        self._wanted = -1  # how large the part is whose head was read
        self._binary = False

    def feed(self, data: bytes) -> list[Frame]:  # noqa: D102
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        if self._first:
            opening = self._between[2:]
            if not buffer.startswith(opening):
                if opening.startswith(bytes(buffer)):
                    return frames
                raise RemoteProtocolError("a stream of parts starts with the boundary", rule=_RULE)
            self._first = False
            del buffer[: len(opening)]
        begin = 0
        while True:
            if self._wanted < 0:
                end = buffer.find(b"\r\n\r\n", begin + self._viewed)
                self._viewed = max(0, len(buffer) - begin - 3) if end < 0 else end - begin
                if self._viewed > _MAX_HEAD_BYTES:
                    error = f"the head of a part has more than {_MAX_HEAD_BYTES} bytes"
                    raise RemoteProtocolError(error, rule=_RULE)
                if end < 0:
                    break
                self._head(bytes(buffer[begin:end]))
                self._viewed = 0
                begin = end + 4
            behind = begin + self._wanted
            if len(buffer) < behind + len(self._between):
                break
            if not buffer.startswith(self._between, behind):
                raise RemoteProtocolError("a part ends where its length says, with the boundary", rule=_RULE)
            frames.append(self._frame(bytes(buffer[begin:behind])))
            begin = behind + len(self._between)
            self._wanted = -1
        del buffer[:begin]
        return frames

    def _head(self, block: bytes) -> None:
        headers = {}
        for line in block.split(b"\r\n"):
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        length = headers.get(b"content-length", b"")
        if _LENGTH.fullmatch(length) is None:
            raise RemoteProtocolError(f"a part tells its length, not {length!r:.40}", rule=_RULE)
        self._wanted = int(length)
        if self._wanted > self._most:
            raise RemoteProtocolError(
                f"a part of {self._wanted} bytes; {self._most} are allowed", rule="max_payload_bytes"
            )
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind not in (b"text/plain", b"application/octet-stream"):
            raise RemoteProtocolError(f"a part is text/plain or application/octet-stream, not {kind!r:.80}", rule=_RULE)
        self._binary = kind == b"application/octet-stream"

    def _frame(self, data: bytes) -> Frame:
        if self._binary:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("a payload is not UTF-8", rule=_RULE) from None


TRANSPORT: Final = Multipart()
