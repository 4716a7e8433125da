"""Links of the fast face: the connection's own protocol, with nothing between the socket and a session.

`Link` is what all of them share, `WebSocketLink` is one of RFC 6455, `HixieLink` one of the drafts before it.

**Cork**: joining what is written to a connection within one turn of the event loop is the largest single gain there is:
a burst of packets costs one system call instead of one for each. A `Volley` is the cork of links: for those that have
the same to send, as after several broadcasts to one room, it is joined once.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, ClassVar, Final, Protocol

from madang.core.engine import Engine
from madang.cork import Cork
from madang.errors import Reason, RemoteProtocolError
from madang.packet import Encoded
from madang.rfc import hixie, ws
from madang.transports import Duplex, Receiver, Request

try:
    from madang._many import send_many
except ImportError:  # it is in the compiled wheels only
    send_many = None  # type: ignore[assignment]

__all__ = ["HixieLink", "Link", "Volley", "WebSocketLink"]

#: How many corked bytes go to the transport before the turn of the event loop ends, so that it can say it is full.
_CORK_BYTES: Final = 65_536
#: How much of what came at once is taken before other clients get their turn: as tiny frames, some thousands.
_TURN_BYTES: Final = 32_768
#: How long we wait for the client's close frame, once all is written, before we cut the connection.
_CLOSE_TIMEOUT_SECONDS: float = 2.0
#: How long what still waits for the client may take to be written before that.
_CLOSE_FLUSH_SECONDS: float = 20.0
#: Under what a packet keeps its bytes for the drafts before RFC 6455.
_HIXIE: Final = "hixie"
#: Ends that are not put off: of clients that have not read for long, and of the server, which no client may hold.
_PROMPT: Final = (Reason.SLOW_CONSUMER, Reason.PING_TIMEOUT, Reason.SHUTTING_DOWN)


#: Sends to many sockets, as `madang._many.send_many` does.
SendMany = Callable[[list[int], list[bytes]], list[tuple[int, int]]]


class _Reader(Protocol):
    """Cuts what came into messages."""

    on_message: Callable[[str | bytes], None]

    @property
    def stopped(self) -> bool: ...
    def extent(self, data: bytes) -> int: ...
    def feed(self, data: bytes) -> None: ...
    def stop(self) -> None: ...


class Link(asyncio.Protocol, Duplex):
    """The protocol of a connection once the HTTP request is answered, and a link of the engine.

    While messages that came are handled, what is written is joined, and goes when they all are. Other writes of a turn
    of the event loop are joined and go at its end.
    """

    __slots__ = (
        "_buffered",
        "_closing",
        "_connections",
        "_descriptor",
        "_flushing",
        "_full",
        "_handling",
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
        "_volley",
        "_waiting",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        volley: Volley,
        reader: _Reader,
        connections: set[Any],
        on_shutdown: Callable[[], None],
        *,
        plain: bool,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._volley = volley
        self._handling = False  # whether what came is being handled
        # What is corked: the only one as it is, because most often there is no other; several in a list.
        self._waiting: bytes | list[bytes] | None = None
        self._buffered = 0  # the size of several
        self._descriptor: int | None = None  # of the socket, when somebody has asked for it
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
        data = encoded.link_bytes
        if data is None or not self._plain:
            data = self._bytes_of(encoded)
        size = len(data)
        waiting = self._waiting
        if waiting is None:
            if self._closing:
                return
            self._waiting = data
        elif isinstance(waiting, list):
            waiting.append(data)
            size = self._buffered = self._buffered + size
        else:
            self._waiting = [waiting, data]
            size = self._buffered = len(waiting) + size
        if size > _CORK_BYTES:
            self.flush()
        elif waiting is None and not self._handling:
            self._volley.add(self)

    def flush(self) -> None:
        """Give the transport what is corked."""
        waiting = self._waiting
        if waiting is not None:
            self._waiting = None
            self._transport.write(b"".join(waiting) if isinstance(waiting, list) else waiting)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then a close frame, and wait a little for the client's.

        A client that broke a rule, or doesn't read, is cut even if not all is written by then; so is any at a shutdown.
        """
        if self._closing:
            return
        self._say_farewell(code, reason)
        # A transport that is closing may wait as long for a client that doesn't read what was written before.
        self._await_end(code, reason)

    def _say_farewell(self, code: int, reason: str) -> None:
        self._closing = True
        self._receiver = None
        self._reader.on_message = _ignore
        self.flush()
        self.resume_reading()  # else the client's close frame would not be seen
        if not self._transport.is_closing():
            self._transport.write(self._farewell(code, reason))

    def _await_end(self, code: int, reason: str) -> None:
        """See that the connection ends."""
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

    def open(self, engine: Engine, request: Request, answer: bytes) -> None:
        """Hand the link to the engine. What the session says first goes with the answer to the handshake: as one write.

        Args:
            engine: whose link it is.
            request: the one that has asked for it.
            answer: all of the response to that.
        """
        self._handling = True
        self._waiting = answer
        try:
            engine.link(request, self)
        finally:
            self._handling = False
            self.flush()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if len(data) > _TURN_BYTES and self._reader.extent(data) < len(data):
            self._rest = data
            self._regulate()
            self._read_on()
            return
        self._handling = True
        try:
            self._reader.feed(data)
        except RemoteProtocolError as error:
            self._violated(error)
        finally:
            self._handling = False
            if self._waiting is not None:
                self.flush()

    def _read_on(self) -> None:
        """Take much data in parts, so that other clients get their turns."""
        data = self._rest
        if data is None or self._paused or self._reader.stopped or self._transport.is_closing():
            return
        part = data[: max(_TURN_BYTES, self._reader.extent(data))]  # what is one frame is taken as one
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
        self._say_farewell(code, "")
        transport = self._transport
        # With all written, nothing but the end of TLS is left that could take long.
        if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
            self._await_end(code, "")
        transport.close()
        if receiver is not None:
            receiver.lost(self, Reason.TRANSPORT_CLOSE)

    def uncork(self) -> None:
        """The turn of the event loop is over."""
        self.flush()

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
        self._waiting = None
        self._rest = None
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reader.stop()
        self._reader = _OVER  # it holds on to us: nothing is to be left for the garbage collector
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self, Reason.TRANSPORT_CLOSE)

    def shutdown(self) -> None:
        """uvicorn ends: so do all clients."""
        self._on_shutdown()
        self.close()  # one on trial was left, for a client that is on its way to it


class Volley(Cork[Link]):
    """The cork of links, which sends for many in one call where it can.

    Args:
        call_soon: calls a function at the end of this turn.
        per_turn: how many links are written to before others get their turn; None: all of them.
        send_many: sends to many sockets in one call; None: each link's transport does.
    """

    __slots__ = ("_send_many",)

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        per_turn: int | None = None,
        send_many: SendMany | None = send_many,
    ) -> None:
        super().__init__(call_soon, per_turn)
        self._send_many = send_many

    def _let_go(self, written: Iterator[Link]) -> None:
        send_many = self._send_many
        past: list[Link] = []  # what goes past the transports, to which sockets, and what it is
        sockets: list[int] = []
        buffers: list[bytes] = []
        last: list[bytes] | None = None
        joined = b""
        try:
            for link in written:
                data = link._waiting
                if data is None:  # it was flushed already
                    continue
                link._waiting = None
                if isinstance(data, list):
                    # After several broadcasts to one room, all its members have the same to send.
                    if data != last:
                        last, joined = data, b"".join(data)
                    data = joined
                transport = link._transport
                if send_many is not None:
                    descriptor = link._descriptor
                    if descriptor is None:
                        descriptor = link._descriptor = _descriptor(transport)
                    # What a transport keeps goes first. One that is closing may have thrown away a part of a frame. Its
                    # socket is open until `connection_lost`, after which nothing waits in a link: the number is of no
                    # other one.
                    if descriptor >= 0 and not transport.get_write_buffer_size() and not transport.is_closing():
                        past.append(link)
                        sockets.append(descriptor)
                        buffers.append(data)
                        continue
                transport.write(data)
        finally:
            if send_many is not None and past:
                for place, sent in send_many(sockets, buffers):
                    # The transport sends the rest when that is possible, or finds out what is wrong.
                    past[place]._transport.write(buffers[place][sent:])


def _descriptor(transport: asyncio.Transport) -> int:
    """The number of the socket on which a transport sends just what is written to it; -1: it has none."""
    connection = transport.get_extra_info("socket")
    if connection is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    number: int = connection.fileno()
    return number


class WebSocketLink(Link):
    """One WebSocket of RFC 6455.

    Args:
        transport: the connection.
        loop: the running event loop.
        volley: the cork of all links of this loop.
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
        volley: Volley,
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
        super().__init__(transport, loop, volley, reader, connections, on_shutdown, plain=compression is None)

    def _farewell(self, code: int, reason: str) -> bytes:
        return _close_frame(code, reason)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == ws.PING:
            # Who pings and doesn't read gets no pongs piled up for it.
            if not self._full and not self._closing:
                self.flush()
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
            encoded.link_bytes = data = ws.joined_frames(encoded.frames)
        return data

    def _compressed(self, encoded: Encoded, deflater: ws.Deflater) -> bytes:
        # The size of text is counted in characters, of up to four bytes each.
        if not encoded.compress or encoded.size * 4 < deflater.threshold_bytes:
            if encoded.link_bytes is None:
                encoded.link_bytes = ws.joined_frames(encoded.frames)
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
        volley: the cork of all links of this loop.
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
        volley: Volley,
        engine: Engine,
        connections: set[Any],
        on_shutdown: Callable[[], None],
    ) -> None:
        reader = hixie.FrameReader(_ignore, self._control, max_message_bytes=engine.config.max_payload_bytes)
        super().__init__(transport, loop, volley, reader, connections, on_shutdown, plain=False)

    def _farewell(self, code: int, reason: str) -> bytes:
        return hixie.CLOSE

    def _control(self) -> None:
        self._closed_by_client(1000)

    def _bytes_of(self, encoded: Encoded) -> bytes:
        return encoded.form(_HIXIE, _hixie_framed)


def _ignore(message: str | bytes) -> None:
    """What comes after the end means nothing."""


def _ignore_control(opcode: int, payload: bytes) -> None:
    """The same for a frame that is about the link."""


#: In place of the reader of a link that is gone.
_OVER: Final = ws.FrameReader(_ignore, _ignore_control, max_message_bytes=0)
_OVER.stop()


@lru_cache(maxsize=64)
def _close_frame(code: int, reason: str) -> bytes:
    return ws.frame(ws.CLOSE, ws.close_payload(code, reason))


def _hixie_framed(encoded: Encoded) -> bytes:
    # There are no others: such links carry text only.
    return b"".join([hixie.text_frame(frame) for frame in encoded.frames if isinstance(frame, str)])
