"""Server-Sent Events: one response that stays open, and that browsers read natively (`EventSource`).

Source: HTML standard, "server-sent events".
"""

from __future__ import annotations

import json
import re
from typing import ClassVar, Final

from madang.errors import RemoteProtocolError
from madang.packet import Frame
from madang.transports import Headers, Request, StreamDecoder, StreamTransport

__all__ = ["SSE", "TRANSPORT", "EventDecoder"]

_HEADERS: Final = (("Content-Type", "text/event-stream; charset=UTF-8"),)
_RULE: Final = 'HTML standard, "server-sent events"'
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_MARK: Final = b"\xef\xbb\xbf"


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

    def decoder(self, content_type: str, max_bytes: int) -> StreamDecoder:  # noqa: D102
        if content_type.partition(";")[0].strip().lower() != "text/event-stream":
            raise RemoteProtocolError(f"a response of type {content_type!r:.80} is no stream of events", rule=_RULE)
        return EventDecoder(max_bytes)


class EventDecoder(StreamDecoder):
    """Reads a stream of events, as browsers do: comments, ids and events of other names mean nothing.

    Args:
        max_bytes: how large one event may be.
    """

    __slots__ = ("_buffer", "_data", "_event", "_most", "_skip", "_started", "_taken", "_viewed")

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes
        self._buffer = bytearray()
        self._viewed = 0  # so much of it has no end of a line
        self._skip = False  # a line has ended with CR, to which LF may belong
        self._started = False
        self._event = b""
        self._data: list[bytes] = []
        self._taken = 0  # bytes in the event so far

    def feed(self, data: bytes) -> list[Frame]:  # noqa: D102
        buffer = self._buffer
        buffer += data
        if not self._started and not self._start():
            return []
        payloads: list[Frame] = []
        begin = 0
        if self._skip and buffer:
            self._skip = False
            if buffer[0] == 0x0A:
                begin = 1
        for found in _LINE_END.finditer(buffer, max(begin, self._viewed)):
            line = bytes(buffer[begin : found.start()])
            begin = found.end()
            if line:
                self._line(line)
            else:
                self._dispatch(payloads)
        if begin and buffer[begin - 1] == 0x0D and begin == len(buffer):
            self._skip = True
        del buffer[:begin]
        self._viewed = len(buffer)
        self._check(len(buffer))
        return payloads

    def _start(self) -> bool:
        """Whether enough is there to tell that the stream begins with a byte order mark, which is taken off, or not."""
        buffer = self._buffer
        if len(buffer) < len(_MARK) and _MARK.startswith(bytes(buffer)):
            return False
        if buffer.startswith(_MARK):
            del buffer[: len(_MARK)]
        self._started = True
        return True

    def _line(self, line: bytes) -> None:
        self._check(len(line))
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
            self._taken += len(line)
        elif name == b"event":
            self._event = value

    def _check(self, more: int) -> None:
        # The name of the field doesn't count: a payload may be as large as those of other transports.
        if self._taken + more > self._most + len(b"data: "):
            raise RemoteProtocolError(f"an event has more than {self._most} bytes", rule="max_payload_bytes")

    def _dispatch(self, payloads: list[Frame]) -> None:
        event, parts = self._event, self._data
        self._event = b""
        self._data = []
        self._taken = 0
        if not parts or event not in (b"", b"message", b"json"):
            return
        try:
            text = b"\n".join(parts).decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("a payload is not UTF-8", rule=_RULE) from None
        payloads.append(_unquoted(text) if event == b"json" else text)


def _unquoted(text: str) -> str:
    try:
        payload = json.loads(text)
        if type(payload) is str:
            payload.encode()  # half of a character can't be sent in any other way
            return payload
    except (ValueError, RecursionError):
        pass
    raise RemoteProtocolError(f"the data of a json event is no JSON string: {text[:80]!r}", rule=_RULE)


TRANSPORT: Final = SSE()
