"""One connection of a client: an Engine.IO session, over polling, over a WebSocket, or from the one to the other.

Who polls sends one GET after the other, each answered when the server has something to say; what is to be said goes by
POST, one at a time, with all that waits. The upgrade opens a WebSocket beside that and sends a probe through it. Only
when the probe is answered does polling end: nothing more is posted, the waiting GET comes back (the server lets go of
it), then one packet moves the session over. So a WebSocket that can't be opened, or loses the probe, costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from madang.client.config import ClientConfig
from madang.client.dial import Dialer, Reply, words_of
from madang.errors import ConnectError, Disconnected, LimitError, Reason, RemoteProtocolError
from madang.packet import CLOSE, CONNECT_ERROR, PING, PONG, UPGRADE, Encoded, Frame, Packet
from madang.parsers import Parser
from madang.transports import Duplex
from madang.wire import Decoder, Open, Wire

__all__ = ["Connection"]

logger = logging.getLogger("madang.client")

_POLLING: Final = "polling"
_WEBSOCKET: Final = "websocket"
_OPENING, _OPEN, _CLOSING, _CLOSED = range(4)


class Connection:
    """One connection to a server. Belongs to the event loop that it is opened in.

    Args:
        dialer: how requests and links are made.
        config: the settings.
        wire: the protocol generation.
        parser: how packets are written.
        query: the fields of the query of each request, without those of the protocol.
        on_packet: called with each packet of Socket.IO. What breaks the protocol it may raise.
        on_ping: called when the server has sent a ping.
        on_close: called once, with the reason and what was behind it, unless we have closed ourselves.

    Attributes:
        transport: "polling" or "websocket", now.
        hello: what the server has said at the handshake.
    """

    def __init__(
        self,
        dialer: Dialer,
        config: ClientConfig,
        wire: Wire,
        parser: Parser,
        query: Mapping[str, str],
        *,
        on_packet: Callable[[Packet], None],
        on_ping: Callable[[], None],
        on_close: Callable[[str, Exception | None], None],
    ) -> None:
        self._dialer = dialer
        self._config = config
        self._limits = config.limits()
        self._wire = wire
        self._parser = parser
        self._query = {**query, **wire.query}
        self._on_packet = on_packet
        self._on_ping = on_ping
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._state = _OPENING
        self._decoder: Decoder = wire.decoder(parser, self._limits)
        self.transport = ""
        self.hello: Open | None = None
        self._greeting: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None  # the link, which we have closed
        self._link: Duplex | None = None
        self._full = False  # the link has told us to wait
        self._moving = False  # polling comes to its end: what is written waits for the WebSocket
        self._outbox: deque[Encoded] = deque()
        self._outbox_bytes = 0
        self._posting = 0  # bytes on their way by POST
        self._pong: Encoded | None = None  # that waits
        self._drained: list[asyncio.Future[None]] = []
        self._seen = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._poller: asyncio.Task[None] | None = None
        self._poster: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # Opening

    async def open(self, transports: Sequence[str]) -> None:
        """Connect, by the first of these transports, or by the next ones if the settings say so.

        Raises:
            ConnectError: there is no connection.
        """
        names = transports if self._config.try_all_transports else transports[:1]
        for number, name in enumerate(names, 1):
            try:
                try:
                    await (self._open_link() if name == _WEBSOCKET else self._open_polling())
                except RemoteProtocolError as error:
                    raise ConnectError(f"the server does not speak Engine.IO: {error}") from error
            except ConnectError as error:
                self._close_link()
                if number == len(names):
                    self._state = _CLOSED
                    raise
                logger.info("no connection by %s (%s); the next transport is tried", name, error)
            except BaseException:
                self._state = _CLOSED
                self._close_link()
                raise
            else:
                return

    async def _open_polling(self) -> None:
        first, *frames = self._unpack(await self._dialer.get(self._target(_POLLING), self._config.headers))
        hello = self._wire.greeted(first)
        self._begin(hello, _POLLING)
        for frame in frames:
            self.receive(frame)
        self._check_open()
        self._poller = self._start(self._poll())
        if _WEBSOCKET in hello.upgrades and _WEBSOCKET in self._config.transports and self._config.upgrade:
            self._start(self._upgrade())

    async def _open_link(self) -> None:
        link = await self._dialer.open(self._target(_WEBSOCKET), self._config.headers)
        self._greeting = self._loop.create_future()
        self._link = link
        link.bind(self)
        await self._greeting
        self._check_open()

    def _check_open(self) -> None:
        if self._state != _OPEN:
            raise ConnectError("the server closed the connection at once")

    def _begin(self, hello: Open, transport: str) -> None:
        self.hello = hello
        self.transport = transport
        self._state = _OPEN
        self._seen = self._loop.time()
        self._watch()

    def _target(self, transport: str) -> str:
        query = {**self._query, "transport": transport}
        if self.hello is not None:
            query["sid"] = self.hello.sid
        if transport == _POLLING:
            query["t"] = f"{time.time_ns():x}"  # no cache between us and the server may answer in its place
        return f"{self._config.path}?{urlencode(query)}"

    # Heartbeat: the server pings; anything that comes shows that it is there

    def _watch(self) -> None:
        assert self.hello is not None  # it is open  # noqa: S101
        patience = self.hello.ping_interval_seconds + self.hello.ping_timeout_seconds
        due = self._seen + patience
        if self._loop.time() >= due:
            self._end(Reason.PING_TIMEOUT, ConnectError(f"nothing came from the server for {patience:g} s"))
        else:
            self._timer = self._loop.call_at(due, self._watch)

    # What comes: the receiver of a link, and of polls

    def receive(self, frame: Frame) -> None:
        """A frame came."""
        if self._state == _OPENING:
            self._greet(frame)
            return
        if self._state == _CLOSED:
            return
        self._seen = self._loop.time()
        try:
            packet = self._decoder.feed(frame)
            if packet is None:
                return
            kind = packet.kind
            if kind <= CONNECT_ERROR:
                self._on_packet(packet)
            elif kind == PING:
                self._answer_ping(packet)
                self._on_ping()
            elif kind == CLOSE:
                self._end(Reason.TRANSPORT_CLOSE, None)
        except RemoteProtocolError as error:
            logger.warning("the server broke the protocol, the connection is closed: %s", error)
            self._end(Reason.PARSE_ERROR, error)

    def _answer_ping(self, ping: Packet) -> None:
        """One pong waits at most, however many pings a server sends that reads nothing."""
        if self._pong is None:
            pong = Encoded(self._wire.encode(Packet(PONG, ping.data), self._parser))
            self._pong = pong
            self.push(pong)

    def _taken(self, encoded: Encoded) -> None:
        self._outbox_bytes -= encoded.size
        if encoded is self._pong:
            self._pong = None

    def _greet(self, frame: Frame) -> None:
        greeting = self._greeting
        if greeting is None or greeting.done():
            return
        try:
            self._begin(self._wire.greeted(frame), _WEBSOCKET)
        except RemoteProtocolError as error:
            greeting.set_exception(error)
        else:
            greeting.set_result(None)

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The server broke a rule of the link."""
        if self._state == _OPENING:
            self._refuse(error)
            return
        logger.warning("the server broke the protocol, the connection is closed: %s", error)
        self._end(reason, error)

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if duplex is not self._link:
            return
        if self._state == _OPENING:
            self._refuse(ConnectError("the server closed the WebSocket before it had said hello"))
            return
        # While we close, too: what is still to be said can't be, and nobody shall wait for it.
        self._end(reason, None)

    def _refuse(self, error: Exception) -> None:
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_exception(error)

    def pause(self) -> None:
        """The link is full."""
        self._full = True

    def resume(self) -> None:
        """The link can be written to again."""
        self._full = False
        self._flush()

    # Polling

    def _unpack(self, reply: Reply) -> list[Frame]:
        if reply.status != 200:
            raise ConnectError(f"the server answered with status {reply.status} {words_of(reply.body)}".rstrip())
        try:
            payload = reply.body.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("a payload is not UTF-8", rule="Engine.IO protocol 4, packet encoding") from None
        return self._wire.split(payload, self._limits)

    async def _poll(self) -> None:
        while self._state == _OPEN and not self._moving:
            try:
                frames = self._unpack(await self._dialer.get(self._target(_POLLING), self._config.headers))
            except RemoteProtocolError as error:
                self._end(Reason.PARSE_ERROR, error)
                return
            except ConnectError as error:
                self._end(Reason.TRANSPORT_ERROR, error)
                return
            for frame in frames:
                self.receive(frame)

    async def _post(self) -> None:
        while self._outbox and self._state in (_OPEN, _CLOSING) and not self._moving:
            payload, size = self._batch()
            self._posting = size
            try:
                await self._post_payload(payload)
            except ConnectError as error:
                self._end(Reason.TRANSPORT_ERROR, error)
                return
            finally:
                self._posting = 0
        self._tell_drained()

    async def _post_payload(self, payload: str) -> None:
        body = payload.encode("utf-8", "surrogatepass")
        reply = await self._dialer.post(self._target(_POLLING), self._config.headers, body)
        if reply.status != 200:
            raise ConnectError(f"the server answered with status {reply.status} {words_of(reply.body)}".rstrip())

    def _batch(self) -> tuple[str, int]:
        """As many packets as the server takes at once; at least one, with all of its attachments that fit."""
        assert self.hello is not None  # it is open  # noqa: S101
        most = min(self.hello.max_payload_bytes or self._limits.max_payload_bytes, self._limits.max_payload_bytes)
        frames: list[Frame] = []
        size = taken = 0
        while self._outbox:
            encoded = self._outbox[0]
            added = sum(map(_polled_size, encoded.frames))
            if frames and size + added > most:
                break
            if added > most and len(encoded.frames) > 1:
                # Alone it is too large for one payload, but none of its frames is: they go one by one.
                self._outbox.popleft()
                self._outbox.extendleft(Encoded((frame,)) for frame in reversed(encoded.frames))
                continue
            self._outbox.popleft()
            self._taken(encoded)
            taken += encoded.size
            frames += encoded.frames
            size += added
        return self._wire.join(frames), taken

    # The upgrade

    async def _upgrade(self) -> None:
        link: Duplex | None = None
        try:
            try:
                async with asyncio.timeout(self._config.connect_timeout_seconds):
                    link = await self._dialer.open(self._target(_WEBSOCKET), self._config.headers)
                    probe = _Probe(self._loop, self._wire, self._parser)
                    link.bind(probe)
                    link.write(Encoded(self._wire.encode(Packet(PING, "probe"), self._parser)))
                    await probe.answer
                    if self._state != _OPEN:
                        return
                    self._moving = True
                    waited = {task for task in (self._poller, self._poster) if task is not None and not task.done()}
                    if waited:
                        await asyncio.wait(waited)
            except (ConnectError, RemoteProtocolError, TimeoutError) as error:
                logger.info("no upgrade to a WebSocket: %s", error or type(error).__name__)
            else:
                if self._state in (_OPEN, _CLOSING) and not probe.gone:
                    moved, link = link, None
                    self._move(moved)
        finally:
            self._moving = False
            if link is not None:
                link.close()
            if self.transport == _POLLING:
                if self._state == _OPEN and (self._poller is None or self._poller.done()):
                    self._poller = self._start(self._poll())
                self._flush()  # who closes waits for that, too

    def _move(self, link: Duplex) -> None:
        self._link = link
        self.transport = _WEBSOCKET
        link.bind(self)
        link.write(Encoded(self._wire.encode(Packet(UPGRADE), self._parser)))
        self._moving = False
        self._flush()

    # What goes

    @property
    def is_open(self) -> bool:
        """Whether packets can be written."""
        return self._state == _OPEN

    @property
    def writable(self) -> bool:
        """Whether a packet would go at once."""
        return self._state == _OPEN and not (self._full or self._moving or self._outbox or self._posting)

    def write(self, encoded: Encoded, *, bounded: bool = True) -> None:
        """Send the frames of a packet, now or as soon as it can be.

        Args:
            encoded: the packet.
            bounded: whether it counts how much waits; not for what has waited for the connection already.

        Raises:
            LimitError: a frame is larger than the server takes, or too much waits already.
        """
        if self._state != _OPEN:
            return
        assert self.hello is not None  # it is open  # noqa: S101
        most = self.hello.max_payload_bytes
        if most and encoded.size * 4 > most:
            measure = _polled_size if self.transport == _POLLING else _size
            largest = max(map(measure, encoded.frames))
            if largest > most:
                raise LimitError(
                    f"a packet has {largest} bytes in one piece, but the server takes {most}; send it in parts, or "
                    "raise the server's max_payload_bytes (maxHttpBufferSize)"
                )
        if bounded and self._outbox and self._outbox_bytes + encoded.size > self._config.max_buffered_bytes:
            raise LimitError(
                f"more than {self._config.max_buffered_bytes} bytes wait for the server, which reads slowly; "
                "await drain() now and then, or raise max_buffered_bytes"
            )
        self.push(encoded)

    def push(self, encoded: Encoded) -> None:
        """Send the few bytes that the protocol itself wants to be said, however much waits."""
        if self._link is not None and not (self._full or self._moving or self._outbox):
            self._link.write(encoded)
            if encoded is self._pong:
                self._pong = None
            return
        self._outbox.append(encoded)
        self._outbox_bytes += encoded.size
        self._flush()

    def _flush(self) -> None:
        if self._moving or self._state not in (_OPEN, _CLOSING):
            return
        if self.transport == _POLLING:
            if not self._outbox:
                self._tell_drained()
            elif self._poster is None or self._poster.done():
                self._poster = self._start(self._post())
            return
        link = self._link
        while self._outbox and not self._full and link is not None:
            encoded = self._outbox.popleft()
            self._taken(encoded)
            link.write(encoded)
        self._tell_drained()

    def _tell_drained(self) -> None:
        if self._outbox or self._full or self._posting:
            return
        waiting, self._drained = self._drained, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def drain(self) -> None:
        """Wait until what was written has been handed on.

        Raises:
            Disconnected: the connection is over, or ends meanwhile.
        """
        if self._state == _CLOSED:
            raise Disconnected(Reason.TRANSPORT_CLOSE)
        if self._outbox or self._full or self._moving or self._posting:
            future = self._loop.create_future()
            self._drained.append(future)
            await future

    # The end

    def close(self) -> None:
        """Send what was written, say goodbye, and close. `closed` waits for it."""
        if self._state == _OPEN:
            self._state = _CLOSING
            self._start(self._farewell())
        elif self._state == _OPENING:
            self._end(Reason.IO_CLIENT_DISCONNECT, None)

    async def _farewell(self) -> None:
        try:
            async with asyncio.timeout(self._config.close_timeout_seconds):
                self._flush()
                await self.drain()  # which also waits for an upgrade that is at its last step
                if self.transport == _POLLING:
                    await self._post_payload(self._wire.join(self._wire.encode(Packet(CLOSE), self._parser)))
                elif self._link is not None:
                    self._gone = self._loop.create_future()
                    self._link.close()
                    await self._gone
        except (ConnectError, Disconnected, TimeoutError) as error:
            logger.debug("the connection was closed without a farewell: %s", error)
        self._end(Reason.IO_CLIENT_DISCONNECT, None)

    @property
    def over(self) -> bool:
        """Whether nothing of the connection is left."""
        return self._state == _CLOSED and not self._tasks

    async def closed(self) -> None:
        """Wait until nothing of the connection is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _end(self, reason: str, error: Exception | None) -> None:
        before, self._state = self._state, _CLOSED
        if before == _CLOSED:
            return
        if self._timer is not None:
            self._timer.cancel()
        current = asyncio.current_task(self._loop)
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._close_link()
        self._outbox.clear()
        self._refuse(ConnectError("the connection was closed"))
        for future in self._drained:
            if not future.done():
                future.set_exception(Disconnected(reason))
        if before == _OPEN:
            self._on_close(reason, error)

    def _close_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A dialer has raised what no dialer should: the connection ends, the client goes on.
            logger.error("the connection failed", exc_info=error)
            self._end(Reason.TRANSPORT_ERROR, error if isinstance(error, Exception) else None)


class _Probe:
    """The receiver of a link on trial: waits for the answer to the probe."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wire: Wire, parser: Parser) -> None:
        self.answer: asyncio.Future[None] = loop.create_future()
        self.gone = False
        self._expected = wire.encode(Packet(PONG, "probe"), parser)[0]

    def receive(self, frame: Frame) -> None:
        if self.answer.done():
            return
        if frame == self._expected:
            self.answer.set_result(None)
        else:
            self._fail(ConnectError(f"the probe was answered with {frame[:80]!r}"))

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        self._fail(error)

    def lost(self, duplex: Duplex, reason: str) -> None:
        self._fail(ConnectError("the WebSocket was closed while it was probed"))

    def _fail(self, error: Exception) -> None:
        self.gone = True
        if not self.answer.done():
            self.answer.set_exception(error)

    def pause(self) -> None:
        """So little is written that it does not matter."""

    def resume(self) -> None:
        """The same."""


def _size(frame: Frame) -> int:
    return len(frame.encode("utf-8", "surrogatepass")) if isinstance(frame, str) else len(frame)


def _polled_size(frame: Frame) -> int:
    """The size of a frame in a payload: with its separator, and bytes in base64."""
    return _size(frame) + 1 if isinstance(frame, str) else (len(frame) + 2) // 3 * 4 + 2
