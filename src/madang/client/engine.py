"""One connection of a client: an Engine.IO session, over HTTP, over a link, or from the one to the other.

Over HTTP what is to be said goes by POST, one at a time, with all that waits; what the server says is brought by a
`Source`, see `receiving`. The upgrade opens a link beside that and sends a probe through it. Only when the probe
is answered does HTTP end: nothing more is posted, the waiting GET comes back (the server lets go of it), then one
packet moves the session over. So a link that can't be opened, or loses the probe, costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from madang.client.config import ClientConfig
from madang.client.dial import Dialer
from madang.client.outbox import Outbox, frame_size, polled_size
from madang.client.probe import Probe
from madang.client.receiving import Source, refusal, source_of
from madang.errors import ConnectError, Disconnected, LimitError, Reason, RemoteProtocolError
from madang.packet import CLOSE, CONNECT_ERROR, PING, PONG, UPGRADE, Encoded, Frame, Packet
from madang.parsers import Parser
from madang.transports import Duplex, HttpTransport, LinkTransport, load
from madang.wire import Decoder, Open, Wire

__all__ = ["Connection"]

logger = logging.getLogger("madang.client")

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
        transport: the name of the transport that carries it now.
        opened_with: the name of the one that it began with.
        probing: whether a better transport is being tried.
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
        self._transports = {name: load(name) for name in config.transports}
        self._wire = wire
        self._parser = parser
        self._query = {**query, **wire.query}
        self._on_packet = on_packet
        self._on_ping = on_ping
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._state = _OPENING
        self._decoder: Decoder = wire.decoder(parser, self._limits)
        self.transport = self.opened_with = ""
        self.probing = False
        self.hello: Open | None = None
        self._greeting: asyncio.Future[None] | None = None
        self._greeted_by = ""
        self._gone: asyncio.Future[None] | None = None  # the link, which we have closed
        self._link: Duplex | None = None
        self._full = False  # the link has told us to wait
        self._moving = False  # polling comes to its end: what is written waits for the WebSocket
        self._outbox = Outbox()
        self._posting = 0  # bytes on their way by POST
        self._drained: list[asyncio.Future[None]] = []
        self._seen = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._source: Source[Any] | None = None
        self._puller: asyncio.Task[None] | None = None
        self._poster: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # Opening

    async def open(self, transports: Sequence[str]) -> None:
        """Connect, by the first of these transports, or by the next ones if the settings say so.

        Raises:
            ConnectError: there is no connection.
        """
        names = transports if self._config.try_all_transports else transports[:1]
        # One that is swallowed somewhere on the way leaves time for the others.
        seconds = min(self._config.transport_timeout_seconds, self._config.connect_timeout_seconds / len(names))
        for number, name in enumerate(names, 1):
            try:
                await self._open_by(name, seconds if number < len(names) else None)
            except ConnectError as error:
                await self._give_back()
                if number == len(names):
                    self._state = _CLOSED
                    raise
                logger.info("no connection by %s (%s); the next transport is tried", name, error)
            except BaseException:
                self._state = _CLOSED
                await self._give_back()
                raise
            else:
                return

    async def _open_by(self, name: str, seconds: float | None) -> None:
        self._state = _OPENING
        self.hello = None
        transport = self._transports[name]
        try:
            async with asyncio.timeout(seconds):
                if isinstance(transport, HttpTransport):
                    await self._open_http(transport)
                else:
                    await self._open_link(name)
        except RemoteProtocolError as error:
            raise ConnectError(f"the server does not speak Engine.IO: {error}") from error
        except TimeoutError:
            raise ConnectError(f"no connection within {seconds:g} s") from None

    async def _give_back(self) -> None:
        """Let go of what a transport has opened that doesn't work."""
        if self._timer is not None:
            self._timer.cancel()
        self._close_link()
        self._outbox.clear()
        source, self._source = self._source, None
        if source is not None:
            await source.close()

    async def _open_http(self, transport: HttpTransport) -> None:
        config = self._config
        source = source_of(transport, self, self._dialer, config, self._limits, self._wire, self._parser)
        self._source = source
        first, *frames = await source.open()
        hello = self._wire.greeted(first)
        self._begin(hello, transport.name)
        for frame in frames:
            self.receive(frame)
        self._check_open()
        self._puller = self._start(self._pull(source))
        links = [name for name, one in self._transports.items() if isinstance(one, LinkTransport)]
        better = [name for name in links if name in hello.upgrades]
        if better and config.upgrade:
            self._start(self._upgrade(better))

    async def _open_link(self, name: str) -> None:
        link = await self._dial(name)
        self._greeting = self._loop.create_future()
        self._greeted_by = name
        self._link = link
        link.bind(self)
        if self._knocks(name):
            link.write(Encoded((self._wire.knock(),)))
        await self._greeting
        self._check_open()

    def _knocks(self, name: str) -> bool:
        """Whether a link is opened without saying who comes, which is said in its first frame."""
        transport = self._transports[name]
        return isinstance(transport, LinkTransport) and transport.knocks

    async def _dial(self, name: str) -> Duplex:
        if self._knocks(name):
            return await self._dialer.knock(self._config.path, self._config.headers)
        return await self._dialer.open(self.target(name), self._config.headers)

    def _check_open(self) -> None:
        if self._state != _OPEN:
            raise ConnectError("the server closed the connection at once")

    def _begin(self, hello: Open, transport: str) -> None:
        self.hello = hello
        self.transport = self.opened_with = transport
        self._state = _OPEN
        self._seen = self._loop.time()
        self._watch()

    def target(self, transport: str) -> str:
        """Path and query of a request, or of a link."""
        query = {**self._query, "transport": transport}
        if self.hello is not None:
            query["sid"] = self.hello.sid
        if isinstance(self._transports[transport], HttpTransport):
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
        if self._outbox.pong is None:
            pong = Encoded(self._wire.encode(Packet(PONG, ping.data), self._parser))
            self._outbox.pong = pong
            self.push(pong)

    def _greet(self, frame: Frame) -> None:
        greeting = self._greeting
        if greeting is None or greeting.done():
            return
        try:
            self._begin(self._wire.greeted(frame), self._greeted_by)
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
            self._refuse(ConnectError("the server closed the link before it had said hello"))
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

    # HTTP: the owner of a source

    @property
    def asking(self) -> bool:
        """Whether the source may make its next request."""
        return self._state == _OPEN and not self._moving

    @property
    def listening(self) -> bool:
        """Whether what comes still matters."""
        return self._state != _CLOSED

    @property
    def patience_seconds(self) -> float:
        """How long the server waits for the answer to its ping."""
        assert self.hello is not None  # it is open  # noqa: S101
        return self.hello.ping_timeout_seconds

    async def _pull(self, source: Source[Any]) -> None:
        try:
            await source.run()
        except RemoteProtocolError as error:
            logger.warning("the server broke the protocol, the connection is closed: %s", error)
            self._end(Reason.PARSE_ERROR, error)
        except ConnectError as error:
            self._end(Reason.TRANSPORT_ERROR, error)
        except Disconnected as error:
            self._end(error.reason, None)

    async def _post(self) -> None:
        while self._outbox and self._state in (_OPEN, _CLOSING) and not self._moving:
            assert self.hello is not None  # it is open  # noqa: S101
            most = min(self.hello.max_payload_bytes or self._limits.max_payload_bytes, self._limits.max_payload_bytes)
            frames, self._posting = self._outbox.batch(most)
            try:
                await self._post_payload(self._wire.join(frames))
            except ConnectError as error:
                self._end(Reason.TRANSPORT_ERROR, error)
                return
            finally:
                self._posting = 0
        self._tell_drained()

    async def _post_payload(self, payload: str) -> None:
        body = payload.encode("utf-8", "surrogatepass")
        reply = await self._dialer.post(self.target(self.transport), self._config.headers, body)
        if reply.status != 200:
            raise refusal(reply.status, reply.body)

    # The upgrade

    async def _upgrade(self, names: Sequence[str]) -> None:
        """Try the links, one after the other, until one works."""
        config = self._config
        for number, name in enumerate(sorted(names, key=self._knocks, reverse=True), 1):  # the newest first
            # Networks let UDP vanish without a word.
            last = number == len(names)
            await self._try_link(name, config.upgrade_timeout_seconds if last else config.transport_timeout_seconds)
            if self._link is not None or self._state != _OPEN:
                return

    async def _try_link(self, name: str, seconds: float) -> None:
        link: Duplex | None = None
        source, self.probing = self._source, True
        assert source is not None  # we come from HTTP  # noqa: S101
        try:
            try:
                async with asyncio.timeout(seconds):
                    link = await self._dial(name)
                    probe = Probe(self._loop, self._wire, self._parser)
                    link.bind(probe)
                    if self._knocks(name) and self.hello is not None:
                        link.write(Encoded((self._wire.knock(self.hello.sid),)))
                    link.write(Encoded(self._wire.encode(Packet(PING, "probe"), self._parser)))
                    await probe.answer
                    if self._state != _OPEN:
                        return
                    self._moving = True
                    source.wake()
                    waited = {task for task in (self._puller, self._poster) if task is not None and not task.done()}
                    if waited:
                        await asyncio.wait(waited)
            except (ConnectError, RemoteProtocolError, TimeoutError) as error:
                logger.info("no upgrade to %s: %s", name, error or type(error).__name__)
            else:
                if self._state in (_OPEN, _CLOSING) and not probe.gone:
                    moved, link = link, None
                    self._move(moved, name)
        finally:
            self._moving = self.probing = False
            source.wake()
            if link is not None:
                link.close()
            if self._link is None:
                if self._state == _OPEN and (self._puller is None or self._puller.done()):
                    self._puller = self._start(self._pull(source))
                self._flush()  # who closes waits for that, too

    def _move(self, link: Duplex, name: str) -> None:
        self._link = link
        self._source = None
        self.transport = name
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
            measure = polled_size if self._link is None else frame_size
            largest = max(map(measure, encoded.frames))
            if largest > most:
                raise LimitError(
                    f"a packet has {largest} bytes in one piece, but the server takes {most}; send it in parts, or "
                    "raise the server's max_payload_bytes (maxHttpBufferSize)"
                )
        if bounded and self._outbox and self._outbox.size + encoded.size > self._config.max_buffered_bytes:
            raise LimitError(
                f"more than {self._config.max_buffered_bytes} bytes wait for the server, which reads slowly; "
                "await drain() now and then, or raise max_buffered_bytes"
            )
        self.push(encoded)

    def push(self, encoded: Encoded) -> None:
        """Send the few bytes that the protocol itself wants to be said, however much waits."""
        if self._link is not None and not (self._full or self._moving or self._outbox):
            self._link.write(encoded)
            self._outbox.sent(encoded)
            return
        self._outbox.put(encoded)
        self._flush()

    def _flush(self) -> None:
        if self._moving or self._state not in (_OPEN, _CLOSING):
            return
        link = self._link
        if link is None:
            if not self._outbox:
                self._tell_drained()
            elif self._poster is None or self._poster.done():
                self._poster = self._start(self._post())
            return
        while self._outbox and not self._full:
            link.write(self._outbox.take())
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
                if self._link is None:
                    await self._post_payload(self._wire.join(self._wire.encode(Packet(CLOSE), self._parser)))
                else:
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
