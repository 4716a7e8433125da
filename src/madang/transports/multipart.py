"""Multipart streaming: one response of many parts, each of which replaces the one before (`x-mixed-replace`).

It is the oldest way to push, from 1995. No browser of today hands a script the parts by itself, so clients read the
response as a stream. A part tells its length, and bytes are sent as they are.

Source: RFC 2046, 5.1; Socket.IO 0.6, transport "xhr-multipart".
"""

from __future__ import annotations

from typing import ClassVar, Final

from madang.packet import Frame
from madang.transports import Headers, Request, StreamTransport

__all__ = ["TRANSPORT", "Multipart"]

_HEADERS: Final = (("Content-Type", 'multipart/x-mixed-replace; boundary="madang"'),)
_BOUNDARY: Final = b"--madang\r\n"


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


TRANSPORT: Final = Multipart()
