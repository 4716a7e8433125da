"""WebTransport over QUIC, as far as it is the same for servers and clients. Needs the extra `webtransport`.

`aioquic` speaks QUIC and HTTP/3, and knows no sockets. What it leaves to do is here: windows that only grow as fast as
what came is taken, joining what is written in a turn of the event loop, and the life of the one session and the one
stream that a connection has for us.

Source: RFC 9000; RFC 9114; RFC 9297; draft-ietf-webtrans-http3-02, the one that aioquic and browsers share.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

try:
    from aioquic._buffer import Buffer, BufferReadError
    from aioquic.buffer import encode_uint_var
    from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection, Setting
    from aioquic.h3.events import (
        DataReceived,
        H3Event,
        HeadersReceived,
        WebTransportStreamDataReceived,
    )
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import (
        CONNECTION_LIMIT_FRAME_CAPACITY,
        END_STATES,
        MAX_STREAM_DATA_FRAME_CAPACITY,
        Limit,
        QuicConnection,
    )
    from aioquic.quic.events import (
        ConnectionIdIssued,
        ConnectionIdRetired,
        ConnectionTerminated,
        HandshakeCompleted,
        ProtocolNegotiated,
        QuicEvent,
        StopSendingReceived,
        StreamDataReceived,
        StreamReset,
    )
    from aioquic.quic.packet import (
        QuicErrorCode,
        QuicFrameType,
        QuicHeader,
        QuicPacketType,
        encode_quic_retry,
        encode_quic_version_negotiation,
        pull_quic_header,
    )
    from aioquic.quic.packet_builder import QuicPacketBuilder
    from aioquic.quic.recovery import QuicPacketSpace
    from aioquic.quic.retry import QuicRetryTokenHandler
    from aioquic.quic.stream import QuicStream
except ImportError as error:
    from madang.errors import ConfigError

    raise ConfigError(
        f'WebTransport needs aioquic 1.7.2 or newer ({error}): pip install "madang[webtransport]"'
    ) from error

from madang.cork import Cork
from madang.errors import Reason, RemoteProtocolError
from madang.packet import Encoded, Frame
from madang.transports import Duplex, Receiver
from madang.transports.webtransport import FrameReader, frame

__all__ = [
    "Buffer",
    "Connection",
    "HeadersReceived",
    "Link",
    "QuicConfiguration",
    "QuicHeader",
    "QuicPacketType",
    "QuicRetryTokenHandler",
    "WebTransportStreamDataReceived",
    "configuration",
    "encode_quic_retry",
    "encode_quic_version_negotiation",
    "pull_quic_header",
]

logger = logging.getLogger("madang")

#: How many streams of each kind the peer may open in the whole life of a connection. It needs two and four.
_MAX_STREAMS: Final = 16
#: How many pieces of a stream may wait for what is missing before them, at least; in a large window, one for each of so
#: many bytes: those who lose every other datagram need half of that. aioquic looks at all of them for each new one.
_MIN_PIECES: Final = 64
_PIECE_BYTES: Final = 1024
#: How much may come in all on a stream that is not the session's: heads and settings.
_OTHER_STREAM_BYTES: Final = 32_768
#: Between these, what is written and not yet confirmed by the peer counts as full.
_HIGH_WATER: Final = 262_144
_LOW_WATER: Final = 65_536
#: How much is joined before it is handed on, so that the link can say that it is full.
_CORK_BYTES: Final = 65_536
#: How much of what came at once is taken before others get their turn.
_TURN_BYTES: Final = 32_768
#: How long the peer may take to confirm our last words, and then to end the connection, before we do.
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
#: How long what still waits for the peer may take to be confirmed before that.
_CLOSE_FLUSH_SECONDS: Final = 20.0
#: From which share of the silence that ends a connection on heartbeats are too rare to keep it: one may be lost.
_QUIET_SHARE: Final = 0.85
#: Ends that are not put off: of peers that have not read for long, and of the server, which nobody may hold.
_PROMPT: Final = (Reason.SLOW_CONSUMER, Reason.PING_TIMEOUT, Reason.SHUTTING_DOWN)
#: Source: draft-ietf-webtrans-http3, 6.
_CLOSE_SESSION: Final = 0x2843
_MAX_REASON_BYTES: Final = 1024
#: The form of a packet that all links share.
_FORM: Final = "webtransport"


def configuration(*, is_client: bool, idle_timeout_seconds: float) -> QuicConfiguration:
    """What both ends agree on."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=H3_ALPN,
        idle_timeout=idle_timeout_seconds,
        max_datagram_frame_size=65_536,  # HTTP/3 wants it of who speaks WebTransport, though nobody sends us datagrams
        max_data=2 * _OTHER_STREAM_BYTES,
        max_stream_data=_OTHER_STREAM_BYTES,
    )


class Connection(QuicConnection):
    """A connection of aioquic with windows that are moved by what was taken, so that nobody can fill our memory.

    aioquic doubles a window whenever half of it was used, whoever takes what came.

    Args:
        window_bytes: how much may come on the session's stream before it is taken.
        more: for aioquic.

    Attributes:
        stream_id: the session's stream, once there is one.
        untaken: how many bytes of it were given out by `next_event`, but not taken.
    """

    def __init__(self, *, window_bytes: int, **more: Any) -> None:
        super().__init__(**more)
        self.stream_id: int | None = None
        self.untaken = 0
        self._window = window_bytes
        self._most_pieces = max(_MIN_PIECES, window_bytes // _PIECE_BYTES)
        # Never raised: a connection has one session, which has one stream.
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            limit.value = limit.sent = _MAX_STREAMS

    @property
    def is_over(self) -> bool:
        """Whether one of the two has closed it: nothing is sent any more."""
        return self._state in END_STATES or self._close_pending

    @property
    def silence_seconds(self) -> float:
        """After how long of silence the connection is over: the shorter time of both sides (RFC 9000, 10.1)."""
        return self._idle_timeout()

    @property
    def certificate(self) -> Any:
        """The peer's certificate, once the handshake is done."""
        return self.tls._peer_certificate

    def is_writable(self, stream_id: int) -> bool:
        """Whether the peer still wants something on a stream that we have not ended."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.sender._reset_error_code is None and stream.sender._buffer_fin is None

    def unconfirmed(self, stream_id: int) -> int:
        """How many bytes of a stream were written and not yet confirmed by the peer; of a stream that is gone, 0."""
        stream = self._streams.get(stream_id)
        return stream.sender._buffer_stop - stream.sender._buffer_start if stream is not None else 0

    def is_confirmed(self, stream_id: int) -> bool:
        """Whether the peer has all of a stream that we have ended, or wants no more of it."""
        stream = self._streams.get(stream_id)
        return stream is None or bool(stream.sender.is_finished)

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """Take a datagram, and end the connection of a peer that sends its streams in crumbs with holes between.

        Each piece costs a look at all others that wait: a hundred datagrams, from who knows whom, would take seconds.
        """
        if self.is_over:
            return  # what comes before our goodbye is sent has come too late
        super().receive_datagram(data, addr, now)
        for streams, most in ((self._streams, self._most_pieces), (self._crypto_streams, _MIN_PIECES)):
            for stream in streams.values():
                if len(stream.receiver._ranges) > most:
                    self.close(error_code=QuicErrorCode.INTERNAL_ERROR, reason_phrase="a stream in too many pieces")
                    return

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        limit: Limit = self._local_max_data
        if limit.value - limit.used < self._window:
            # What has come but can't be taken yet, because something before it was lost, or nobody takes it.
            held = self.untaken + sum(
                stream.receiver.highest_offset - stream.receiver.starting_offset() for stream in self._streams.values()
            )
            value = limit.used - held + 2 * self._window
            if value - limit.value >= self._window // 2:
                limit.value = value
        if limit.value != limit.sent:
            buffer = builder.start_frame(
                limit.frame_type,
                capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                handler=self._on_connection_limit_delivery,
                handler_args=(limit,),
            )
            buffer.push_uint_var(limit.value)
            limit.sent = limit.value

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        if stream.stream_id == self.stream_id:
            value = stream.receiver.starting_offset() - self.untaken + self._window
            if value - stream.max_stream_data_local >= self._window // 2:
                stream.max_stream_data_local = value
        if stream.max_stream_data_local_sent != stream.max_stream_data_local:
            buffer = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            buffer.push_uint_var(stream.stream_id or 0)
            buffer.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local


for _name in ("_write_connection_limits", "_write_stream_limits"):
    if not hasattr(QuicConnection, _name):  # else windows would silently grow without bounds
        from madang.errors import ConfigError

        raise ConfigError(f"this version of aioquic has no {_name}: install one that madang[webtransport] allows")


class _HTTP3(H3Connection):
    """aioquic's HTTP/3 without tables that a peer fills: a few bytes that point into one could stand for megabytes."""

    def __init__(self, quic: Connection) -> None:
        super().__init__(quic, enable_webtransport=True)
        self._decoder = type(self._decoder)(0, 0)

    def _get_local_settings(self) -> dict[int, int]:
        settings: dict[int, int] = super()._get_local_settings()
        return {**settings, Setting.QPACK_MAX_TABLE_CAPACITY: 0, Setting.QPACK_BLOCKED_STREAMS: 0}


class Link(Duplex):
    """A QUIC connection with one session of WebTransport on it, which has one stream.

    Args:
        quic: the connection.
        loop: the running event loop.
        cork: collects the links that have something to send.
        send: sends a datagram to an address.
        max_payload_bytes: how large a frame may be.

    Attributes:
        session_id: the stream of the CONNECT request, which is the session's id, once there is one.
    """

    __slots__ = (
        "_buffer",
        "_buffered",
        "_capsule",
        "_closing",
        "_cork",
        "_corked",
        "_ended",
        "_farewell",
        "_full",
        "_gone",
        "_h3",
        "_keeper",
        "_loop",
        "_over",
        "_paused",
        "_quic",
        "_reader",
        "_reading_on",
        "_receiver",
        "_rest",
        "_send",
        "_stopper",
        "_stream_id",
        "_timer",
        "_timer_at",
        "session_id",
    )

    def __init__(
        self,
        quic: Connection,
        loop: asyncio.AbstractEventLoop,
        cork: Cork[Any],
        send: Callable[[bytes, Any], None],
        max_payload_bytes: int,
    ) -> None:
        self._quic = quic
        self._loop = loop
        self._cork = cork
        self._send = send
        self._h3: H3Connection | None = None
        self.session_id: int | None = None
        self._stream_id: int | None = None
        self._receiver: Receiver | None = None
        self._reader = FrameReader(_ignore, max_payload_bytes=max_payload_bytes)
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._corked = False
        self._full = False
        self._paused = False  # whether the receiver wants nothing
        self._rest = bytearray()  # what came and isn't taken yet
        self._reading_on = False
        self._ended = False  # whether the peer has ended the stream behind that
        self._over = False  # whether the peer has ended the session
        self._closing = False
        self._gone = False
        self._farewell: tuple[int, str] | None = None  # what is to be said behind all that was written
        self._capsule = bytearray()  # what came beside the stream
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._stopper: asyncio.TimerHandle | None = None
        self._keeper: asyncio.TimerHandle | None = None

    # The port

    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on."""
        self._receiver = receiver
        self._reader.on_frame = receiver.receive

    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet at the end of this turn of the event loop."""
        if self._closing:
            return
        data = encoded.form(_FORM, _framed)
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered > _CORK_BYTES:
            self.flush()
        self.wake()

    def flush(self) -> None:
        """Hand on what is corked; it is sent at the end of this turn."""
        if self._buffer and self._stream_id is not None and self._quic.is_writable(self._stream_id):
            self._quic.send_stream_data(self._stream_id, b"".join(self._buffer))
            self._buffer.clear()
            self._buffered = 0
            if not self._full and self._quic.unconfirmed(self._stream_id) > _HIGH_WATER:
                self._full = True
                if self._receiver is not None:
                    self._receiver.pause()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, end the stream, and when the peer has all of it, the session and the connection.

        A peer that broke a rule, or doesn't read, is cut even if it has not got all by then; so is any at a shutdown.
        """
        if self._closing:
            return
        self.flush()
        self._closing = True
        self._receiver = None
        self._reader.stop()
        self.resume_reading()
        if self._stream_id is None or self.session_id is None:
            self.cut()
            return
        if self._quic.is_writable(self._stream_id):
            self._quic.send_stream_data(self._stream_id, b"", end_stream=True)
        self._farewell = (code, reason)
        patient = code in (1000, 1001) and reason not in _PROMPT
        self._stop_after(_CLOSE_FLUSH_SECONDS if patient else _CLOSE_TIMEOUT_SECONDS)
        self.wake()

    def pause_reading(self) -> None:
        """Take nothing more from the peer, which may send as much as the window holds, and then has to wait."""
        self._paused = True

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            self._read_soon()
            self.wake()

    # The session

    def _open_stream(self, stream_id: int) -> None:
        """The session has its stream."""
        self._stream_id = self._quic.stream_id = stream_id

    def _data(self, data: bytes, ended: bool) -> None:
        """Something came on it."""
        self._ended = self._ended or ended
        if self._rest or self._paused or len(data) > _TURN_BYTES:
            self._rest += data
            self._quic.untaken = len(self._rest)
            self._read_soon()
            return
        if data:
            self._feed(data)
        if ended:
            self._leave(Reason.TRANSPORT_CLOSE)

    def _read_soon(self) -> None:
        if self._rest and not self._reading_on:
            self._reading_on = True
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Take what waits in parts, so that others get their turns."""
        self._reading_on = False
        if self._paused or self._gone:
            return
        part = bytes(self._rest[:_TURN_BYTES])
        del self._rest[: len(part)]
        self._quic.untaken = len(self._rest)
        self._feed(part)
        self.wake()  # the window may move
        if self._rest:
            self._read_soon()
        elif self._ended:
            self._leave(Reason.TRANSPORT_CLOSE)

    def _feed(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except RemoteProtocolError as error:
            if self._receiver is not None:
                self._receiver.fail(error, Reason.TRANSPORT_ERROR)
            self.close(error.close_code, str(error))

    def _leave(self, reason: str) -> None:
        """The peer has ended the session, or its part of it: so do we."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self, reason)
        if self._over:
            self.cut()  # nothing that we could still say would be heard
        else:
            self.close(1000)

    # The connection

    def received(self, data: bytes, address: Any) -> None:
        """A datagram came."""
        self._guard(lambda: self._quic.receive_datagram(data, address, now=self._loop.time()))

    def _guard(self, step: Callable[[], None]) -> None:
        """Let the connection do a step, and deal with what has happened."""
        if self._gone:
            return
        try:
            step()
            event = self._quic.next_event()
            while event is not None:
                self._happened(event)
                event = self._quic.next_event()
            self._look()
        except Exception:
            # What a peer can make aioquic stumble over costs that peer its connection, and nobody else anything.
            self._failed()
            return
        self.wake()

    def _failed(self) -> None:
        """An exception is being handled: tell the peer, if that still can be done, and forget the connection."""
        logger.warning("a WebTransport connection has failed, and is dropped", exc_info=True)
        try:
            self._quic.close(error_code=QuicErrorCode.INTERNAL_ERROR)
            for data, address in self._quic.datagrams_to_send(now=self._loop.time()):
                self._send(data, address)
        except Exception:
            logger.debug("nor can its peer be told", exc_info=True)
        self._end(Reason.TRANSPORT_ERROR)

    def _happened(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.stream_id == self._stream_id:
            self._data(event.data, event.end_stream)
        elif isinstance(event, StreamReset | StopSendingReceived) and event.stream_id in (
            self._stream_id,
            self.session_id,
        ):
            self._leave(Reason.TRANSPORT_CLOSE)
        elif isinstance(event, StreamDataReceived | StreamReset | StopSendingReceived):
            if self._h3 is not None:
                for happened in self._h3.handle_event(event):
                    self._told(happened)
        elif isinstance(event, ProtocolNegotiated):
            self._h3 = _HTTP3(self._quic)
        elif isinstance(event, HandshakeCompleted):
            self._shaken()
        elif isinstance(event, ConnectionIdIssued):
            self._named(event.connection_id, True)
        elif isinstance(event, ConnectionIdRetired):
            self._named(event.connection_id, False)
        elif isinstance(event, ConnectionTerminated):
            self._end(Reason.TRANSPORT_CLOSE)

    def _told(self, event: H3Event) -> None:
        """HTTP/3 says something."""
        if isinstance(event, HeadersReceived):
            self._headers(event)
        elif isinstance(event, WebTransportStreamDataReceived):
            self._stream(event)
        elif isinstance(event, DataReceived) and event.stream_id == self.session_id:
            self._beside(event.data, event.stream_ended)

    def _beside(self, data: bytes, ended: bool) -> None:
        """What comes beside the stream: only the end of the session is of interest."""
        self._capsule += data
        while self._capsule and not ended:
            buffer = Buffer(data=bytes(self._capsule[:16]))
            try:
                kind, length = buffer.pull_uint_var(), buffer.pull_uint_var()
            except BufferReadError:
                return
            if kind == _CLOSE_SESSION:
                break
            if len(self._capsule) < buffer.tell() + length:
                return  # the window of the stream bounds how much that can be
            del self._capsule[: buffer.tell() + length]
        else:
            if not ended:
                return
        self._session_ended()

    def _session_ended(self) -> None:
        """The peer has ended the session. What has come before is taken, when its receiver wants it."""
        if self._closing and self._farewell is None:
            self.cut()  # both have said goodbye
            return
        self._ended = self._over = True
        if not self._rest:
            self._leave(Reason.TRANSPORT_CLOSE)

    def _shaken(self) -> None:
        """The handshake is done, and HTTP/3 can be spoken."""

    def _named(self, connection_id: bytes, new: bool) -> None:
        """The connection has got one more name, or one less."""

    def _headers(self, event: HeadersReceived) -> None:
        """A request came, or the response to ours."""

    def _stream(self, event: WebTransportStreamDataReceived) -> None:
        """A stream was opened."""
        self._refuse_stream(event.stream_id)

    def _refuse_stream(self, stream_id: int) -> None:
        """There is nothing to be said on this stream."""
        if self._quic._stream_can_receive(stream_id) and stream_id in self._quic._streams:
            self._quic.stop_stream(stream_id, ErrorCode.H3_REQUEST_REJECTED)
        if self._quic._stream_can_send(stream_id):
            self._quic.reset_stream(stream_id, ErrorCode.H3_REQUEST_REJECTED)

    def _look(self) -> None:
        """See what has changed by what came."""
        if self._gone:
            return
        if self._quic._state in END_STATES:
            # Closed by the peer. aioquic tells only after a while in which late datagrams are awaited.
            receiver, self._receiver = self._receiver, None
            if receiver is not None:
                receiver.lost(self, Reason.TRANSPORT_CLOSE)
            self._closing = True
            self._reader.stop()
            return
        if self._stream_id is None:
            return
        if self._full and self._quic.unconfirmed(self._stream_id) < _LOW_WATER:
            self._full = False
            if self._receiver is not None:
                self._receiver.resume()
        if self._farewell is not None and self._quic.is_confirmed(self._stream_id):
            code, reason = self._farewell
            self._farewell = None
            self._end_session(code, reason)

    def _end_session(self, code: int, reason: str) -> None:
        """The peer has all that was written: the session can end, and soon the connection, if it isn't ended there."""
        assert self.session_id is not None  # its stream was confirmed  # noqa: S101
        words = reason.encode()[:_MAX_REASON_BYTES]
        body = code.to_bytes(4, "big") + words
        capsule = encode_uint_var(_CLOSE_SESSION) + encode_uint_var(len(body)) + body
        if self._h3 is not None and not self._quic.is_over and self._quic.is_writable(self.session_id):
            self._h3.send_data(self.session_id, capsule, end_stream=True)
        self._stop_after(_CLOSE_TIMEOUT_SECONDS)

    def _stop_after(self, seconds: float) -> None:
        if self._stopper is not None:
            self._stopper.cancel()
        self._stopper = self._loop.call_later(seconds, self.cut)

    def cut(self) -> None:
        """End the connection now, whatever the peer has got."""
        if self._gone:
            return
        self._closing = True
        self._farewell = None
        self._reader.stop()
        self._quic.close(error_code=ErrorCode.H3_NO_ERROR)
        self.wake()

    # Staying

    def keep(self, quiet_seconds: float) -> None:
        """Keep the connection through times in which nothing is said, where they may be longer than QUIC bears.

        Args:
            quiet_seconds: how long a session may have nothing to say: its time between heartbeats.
        """
        bearable = self._quic.silence_seconds
        if quiet_seconds > bearable * _QUIET_SHARE:
            self._keep_on(bearable / 2)

    def _keep_on(self, seconds: float) -> None:
        self._keeper = self._loop.call_later(seconds, self._nudge, seconds)

    def _nudge(self, seconds: float) -> None:
        """Send a PING of QUIC, which nobody but the peer's QUIC sees (RFC 9000, 10.1.2)."""
        self._quic.send_ping(0)
        self.wake()
        self._keep_on(seconds)

    # Sending

    def wake(self) -> None:
        """Send at the end of this turn what there is to send."""
        if not self._corked and not self._gone:
            self._corked = True
            self._cork.add(self)

    def uncork(self) -> None:
        """The turn of the event loop is over."""
        self._corked = False
        if self._gone:
            return
        try:
            self.flush()
            for data, address in self._quic.datagrams_to_send(now=self._loop.time()):
                self._send(data, address)
        except Exception:
            self._failed()
            return
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._quic.get_timer()
        if due is None or (self._timer is not None and self._timer_at <= due):
            return  # one that is early looks again
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._time)

    def _time(self) -> None:
        self._timer = None
        due = self._quic.get_timer()
        if due is None:
            return
        if due > self._timer_at and due > self._loop.time():
            self._set_timer()
        else:
            self._guard(lambda: self._quic.handle_timer(now=max(due, self._loop.time())))

    def _end(self, reason: str) -> None:
        """The connection is gone."""
        if self._gone:
            return
        self._gone = self._closing = True
        self._reader.stop()
        self._rest.clear()
        self._buffer.clear()
        for timer in (self._timer, self._stopper, self._keeper):
            if timer is not None:
                timer.cancel()
        self._timer = self._stopper = self._keeper = None
        receiver, self._receiver = self._receiver, None
        self._vanished()
        if receiver is not None:
            receiver.lost(self, reason)

    def _vanished(self) -> None:
        """Nothing of the connection is left."""


def _ignore(content: Frame) -> None:
    """What comes before and after the session means nothing."""


def _framed(encoded: Encoded) -> bytes:
    return b"".join(map(frame, encoded.frames))
