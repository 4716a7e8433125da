"""Server-Sent Events: one response that stays open, and that browsers read natively (`EventSource`).

Source: HTML standard, "server-sent events".
"""

from __future__ import annotations

import json
from typing import ClassVar, Final

from madang.packet import Frame
from madang.transports import Headers, Request, StreamTransport

__all__ = ["SSE", "TRANSPORT"]

_HEADERS: Final = (("Content-Type", "text/event-stream; charset=UTF-8"),)


class SSE(StreamTransport):
    """Each payload is an event; one with line breaks is the event "json", and its data a JSON string."""

    name: ClassVar[str] = "sse"

    def head(self, request: Request) -> Headers:  # noqa: D102
        return _HEADERS

    def prelude(self, request: Request) -> bytes:  # noqa: D102
        return b": open\n\n"

    def chunk(self, frame: Frame) -> bytes:  # noqa: D102
        assert isinstance(frame, str)  # it is not binary  # noqa: S101
        # Line breaks end a line of the stream, and which of the three kinds it was would be lost.
        if "\n" in frame or "\r" in frame:
            return b"event: json\ndata: %b\n\n" % json.dumps(frame).encode()
        return b"data: %b\n\n" % frame.encode("utf-8", "replace")


TRANSPORT: Final = SSE()
