"""Links of the fast face: the connection's own protocol, with nothing between the socket and a session.

`Link` is what all of them share, `WebSocketLink` is one of RFC 6455, `HixieLink` one of the drafts before it.

**Cork**: joining what is written to a connection within one turn of the event loop is the largest single gain there is:
a burst of packets costs one system call instead of one for each.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol

from madang.core.engine import Engine
from madang.cork import Cork
from madang.errors import Reason, RemoteProtocolError
from madang.packet import Encoded
from madang.rfc import hixie, ws
from madang.transports import Duplex, Receiver

__all__ = ["HixieLink", "Link", "WebSocketLink"]

#: How many corked bytes go to the transport before the turn of the event loop ends, so that it can say it is full.
_CORK_BYTES: Final = 65_536
#: How much of what came at once is taken before other clients get their turn: as tiny frames, some thousands.
_TURN_BYTES: Final = 32_768
#: How long we wait for the client's close frame, once all is written, before we cut the connection.
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
#: How long what still waits for the client may take to be written before that.
_CLOSE_FLUSH_SECONDS: Final = 20.0
#: Under what a packet keeps its bytes for the drafts before RFC 6455.
_HIXIE: Final = "hixie"
#: Ends that are not put off: of clients that have not read for long, and of the server, which no client may hold.
_PROMPT: Final = (Reason.SLOW_CONSUMER, Reason.PING_TIMEOUT, Reason.SHUTTING_DOWN)


class _Reader(Protocol):
    """Cuts what came into messages."""

    on_message: Callable[[str | bytes], None]

    @property
    def missing(self) -> int: ...
    @property
    def stopped(self) -> bool: ...
    def feed(self, data: bytes) -> None: ...
    def stop(self) -> None: ...


class Link(asyncio.Protocol, Duplex):
    """The protocol of a connection once the HTTP request is answered, and a link of the engine.

    While messages that came are handled, what is written is joined, and goes when they all are. Of other writes the
    first one in a turn of the event loop goes straight to the transport, and later ones are joined at its end.
    """

    __slots__ = (
        "_buffer",
        "_buffered",
        "_closing",
        "_connections",
        "_cork",
        "_corked",
        "_flushing",
        "_full",
        "_loop",
        "_on_shutdown",
        "_paused",
        "_plain",
        "_reader",
        "_reading",
        "_receiver",
        "_rest",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        cork: Cork,
        reader: _Reader,
        connections: set[Any],
        on_shutdown: Callable[[], None],
        *,
        plain: bool,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._cork = cork
        self._corked = False
        self._buffer: list[bytes] | None = None
        self._buffered = 0
        self._closing = False
        self._flushing = False
        self._full = False
        self._paused = False  # whether the session wants nothing
        self._reading = True  # whether the transport reads
        self._rest: bytes | None = None  # of much that came at once, what isn't taken yet
        self._timer: asyncio.TimerHandle | None = None
        self._receiver: Receiver | None = None
        self._plain = plain  # whether a packet's `link_bytes` are what is to be sent
        self._reader = reader
        self._connections = connections
        self._on_shutdown = on_shutdown
        connections.add(self)

    @abstractmethod
    def _bytes_of(self, encoded: Encoded) -> bytes:
        """The frames of a packet as they are sent. Where `plain` is true, the packet keeps them as `link_bytes`."""

    @abstractmethod
    def _farewell(self, code: int, reason: str) -> bytes:
        """The frame that ends the link."""

    # The port of the engine

    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on."""
        self._receiver = receiver
        self._reader.on_message = receiver.receive

    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet, now or at the end of this turn of the event loop."""
        if self._closing:
            return
        data = encoded.link_bytes
        if data is None or not self._plain:
            data = self._bytes_of(encoded)
        if self._corked:
            if self._buffer is None:
                self._buffer = [data]
                self._buffered = len(data)
            else:
                self._buffer.append(data)
                self._buffered += len(data)
            if self._buffered > _CORK_BYTES:
                self._flush()
        else:
            self._corked = True
            self._cork.add(self)
            self._transport.write(data)

    def flush(self) -> None:
        """Give the transport what is corked."""
        self._flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then a close frame, and wait a little for the client's.

        A client that broke a rule, or doesn't read, is cut even if not all is written by then; so is any at a shutdown.
        """
        if self._closing:
            return
        self._closing = True
        self._receiver = None
        self._reader.on_message = _ignore
        self._flush()
        self.resume_reading()  # else the client's close frame would not be seen
        if not self._transport.is_closing():
            self._transport.write(self._farewell(code, reason))
            seconds = _CLOSE_TIMEOUT_SECONDS
            if code in (1000, 1001) and reason not in _PROMPT and self._transport.get_write_buffer_size():
                # Megabytes may take their time. With these limits the transport says when the last byte is written.
                seconds = _CLOSE_FLUSH_SECONDS
                self._flushing = True
                self._transport.set_write_buffer_limits(high=0)
            self._timer = self._loop.call_later(seconds, self._transport.abort)

    def pause_reading(self) -> None:
        """Read nothing more from the client, so that it has to wait."""
        self._paused = True
        self._regulate()

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self._rest is not None:
                self._loop.call_soon(self._read_on)
            self._regulate()

    def _regulate(self) -> None:
        reading = not self._paused and self._rest is None
        if reading != self._reading and not self._transport.is_closing():
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # The protocol of the connection

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if len(data) > _TURN_BYTES and self._reader.missing < len(data):
            self._rest = data
            self._regulate()
            self._read_on()
            return
        corked = self._corked
        self._corked = True
        try:
            self._reader.feed(data)
        except RemoteProtocolError as error:
            self._violated(error)
        finally:
            if not corked:
                self._corked = False
                if self._buffer is not None:
                    self._flush()

    def _read_on(self) -> None:
        """Take much data in parts, so that other clients get their turns."""
        data = self._rest
        if data is None or self._paused or self._reader.stopped or self._transport.is_closing():
            return
        part = data if self._reader.missing >= len(data) else data[:_TURN_BYTES]
        self._rest = data[len(part) :] or None
        self.data_received(part)
        if self._rest is not None:
            self._loop.call_soon(self._read_on)
        else:
            self._regulate()

    def _violated(self, error: RemoteProtocolError) -> None:
        if self._receiver is not None:
            self._receiver.fail(error, Reason.TRANSPORT_ERROR)
        self.close(error.close_code, str(error))
        # The client's close frame would not be understood any more: it shall just end the connection.
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _closed_by_client(self, code: int) -> None:
        """The client's close frame came: answer it, if it isn't an answer itself, and end."""
        if self._closing:
            self._transport.close()
            return
        receiver = self._receiver
        self.close(code)
        self._transport.close()
        if receiver is not None:
            receiver.lost(self, Reason.TRANSPORT_CLOSE)

    def uncork(self) -> None:
        """The turn of the event loop is over."""
        self._corked = False
        if self._buffer is not None:
            self._flush()

    def _flush(self) -> None:
        buffer = self._buffer
        if buffer is not None:
            self._buffer = None
            self._buffered = 0
            self._transport.write(buffer[0] if len(buffer) == 1 else b"".join(buffer))

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._full = True
        if self._receiver is not None:
            self._receiver.pause()

    def resume_writing(self) -> None:
        """It is empty enough again."""
        self._full = False
        if self._receiver is not None:
            self._receiver.resume()
        elif self._flushing:
            self._flushing = False
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(_CLOSE_TIMEOUT_SECONDS, self._transport.abort)

    def eof_received(self) -> None:
        """The client has ended its half; the transport closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._closing = True
        self._rest = None
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reader.stop()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self, Reason.TRANSPORT_CLOSE)

    def shutdown(self) -> None:
        """uvicorn ends: so do all clients."""
        self._on_shutdown()


class WebSocketLink(Link):
    """One WebSocket of RFC 6455.

    Args:
        transport: the connection.
        loop: the running event loop.
        cork: of all links of this loop.
        engine: whose link it is.
        compression: what was agreed on, or None.
        connections: where links are noted, for the shutdown.
        on_shutdown: what the shutdown calls first.
    """

    __slots__ = ("_deflater",)

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        cork: Cork,
        engine: Engine,
        compression: tuple[ws.Inflater, ws.Deflater] | None,
        connections: set[Any],
        on_shutdown: Callable[[], None],
    ) -> None:
        self._deflater = compression[1] if compression is not None else None
        reader = ws.FrameReader(
            _ignore,
            self._control,
            max_message_bytes=engine.config.max_payload_bytes,
            inflater=compression[0] if compression is not None else None,
            max_fragments=engine.config.max_websocket_fragments,
        )
        super().__init__(transport, loop, cork, reader, connections, on_shutdown, plain=compression is None)

    def _farewell(self, code: int, reason: str) -> bytes:
        return ws.frame(ws.CLOSE, ws.close_payload(code, reason))

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == ws.PING:
            # Who pings and doesn't read gets no pongs piled up for it.
            if not self._full and not self._closing:
                self._flush()
                self._transport.write(ws.frame(ws.PONG, payload))
        elif opcode == ws.CLOSE:
            code, _ = ws.parse_close(payload)
            self._closed_by_client(code if code != ws.NO_STATUS else 1000)

    def _bytes_of(self, encoded: Encoded) -> bytes:
        if self._deflater is not None:
            return self._compressed(encoded, self._deflater)
        frames = encoded.frames
        if len(frames) == 1 and isinstance(frames[0], str):
            encoded.link_bytes = data = ws.text_frame(frames[0])
        else:
            encoded.link_bytes = data = _framed(encoded)
        return data

    def _compressed(self, encoded: Encoded, deflater: ws.Deflater) -> bytes:
        # The size of text is counted in characters, of up to four bytes each.
        if not encoded.compress or encoded.size * 4 < deflater.threshold_bytes:
            if encoded.link_bytes is None:
                encoded.link_bytes = _framed(encoded)
            return encoded.link_bytes
        # Our deflaters forget between messages, so one compression serves all links that agreed on the same window.
        return encoded.form(deflater.key, self._deflated)

    def _deflated(self, encoded: Encoded) -> bytes:
        deflater = self._deflater
        assert deflater is not None  # it has given the key  # noqa: S101
        parts = []
        for frame in encoded.frames:
            opcode, payload = (ws.TEXT, frame.encode()) if isinstance(frame, str) else (ws.BINARY, frame)
            if len(payload) < deflater.threshold_bytes:
                parts.append(ws.frame(opcode, payload))
            else:
                parts.append(ws.frame(opcode, deflater.compress(payload), rsv1=True))
        return b"".join(parts)


class HixieLink(Link):
    """One WebSocket of the drafts before RFC 6455: it carries text only, and its good-bye gives no reason.

    Args:
        transport: the connection.
        loop: the running event loop.
        cork: of all links of this loop.
        engine: whose link it is.
        connections: where links are noted, for the shutdown.
        on_shutdown: what the shutdown calls first.
    """

    __slots__ = ()

    text_only: ClassVar[bool] = True

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        cork: Cork,
        engine: Engine,
        connections: set[Any],
        on_shutdown: Callable[[], None],
    ) -> None:
        reader = hixie.FrameReader(_ignore, self._control, max_message_bytes=engine.config.max_payload_bytes)
        super().__init__(transport, loop, cork, reader, connections, on_shutdown, plain=False)

    def _farewell(self, code: int, reason: str) -> bytes:
        return hixie.CLOSE

    def _control(self) -> None:
        self._closed_by_client(1000)

    def _bytes_of(self, encoded: Encoded) -> bytes:
        return encoded.form(_HIXIE, _hixie_framed)


def _ignore(message: str | bytes) -> None:
    """What comes after the end means nothing."""


def _framed(encoded: Encoded) -> bytes:
    return b"".join(
        [ws.text_frame(frame) if isinstance(frame, str) else ws.binary_frame(frame) for frame in encoded.frames]
    )


def _hixie_framed(encoded: Encoded) -> bytes:
    # There are no others: such links carry text only.
    return b"".join([hixie.text_frame(frame) for frame in encoded.frames if isinstance(frame, str)])
