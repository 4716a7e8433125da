"""The network between a client and a lane: it takes time, keeps the order, and shows all that travels to an observer.

Each direction of a connection is a pipe. What is read is looked at, stamped with the time when it arrives, and
delivered then. A reader that is slow is felt by the writer: a pipe that is full isn't read any more.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from madang.apps.laboratory.observer import Direction, Observer, Totals, Travel
from madang.apps.laboratory.protocol import LaboratoryError, clock_ms

__all__ = ["Watcher", "Wire", "listen"]

MAX_PIPE_BYTES: Final = 4_000_000
"""What may be under way in one direction of a connection."""
MAX_WIRE_BYTES: Final = 8_000_000
"""The same in all connections of a lane together."""
MAX_CONNECTIONS: Final = 64
"""Of one lane at a time."""
CONNECT_SECONDS: Final = 5.0

_HIGH_WATER: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
#: Timers fire up to this early; what is due by then goes along.
_BREADTH_MS: Final = 0.5

Watcher = Callable[[list[Travel]], None]


def listen(host: str, ports: Iterable[int], kind: socket.SocketKind = socket.SOCK_STREAM) -> list[socket.socket]:
    """Listen at the first port that is free, at all addresses of a host.

    Args:
        host: an address, or a name, which may have several.
        ports: to be tried in this order; 0 for any free one.
        kind: TCP or UDP.

    Returns:
        A socket for each address, all with the same port.

    Raises:
        LaboratoryError: none of them is free, or the host is not ours.
    """
    try:
        found = socket.getaddrinfo(host or None, 0, type=kind, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise LaboratoryError(f"can't listen at {host!r}: {error}") from None
    addresses = list(dict.fromkeys((family, address[0]) for family, _, _, _, address in found))
    if kind == socket.SOCK_DGRAM and host in ("127.0.0.1", "0.0.0.0") and _has_ipv6():  # noqa: S104
        # To "localhost" browsers try ::1 first. With QUIC, unlike with TCP, they don't try the next address then.
        addresses.append((socket.AF_INET6, "::1"))
    for port in ports:
        for _ in range(1 if port else 20):  # a port that is free at one address may be taken at another
            try:
                return _bind(addresses, port, kind)
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise LaboratoryError(f"can't listen at {host!r}: {error}") from None
    raise LaboratoryError("all ports for lanes are taken; close a lane, or give more with --lane-ports")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _bind(addresses: list[tuple[Any, Any]], port: int, kind: socket.SocketKind) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, address in addresses:
            one = socket.socket(family, kind)
            sockets.append(one)
            one.setblocking(False)
            if kind == socket.SOCK_STREAM:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address, port))
            port = one.getsockname()[1]
            if kind == socket.SOCK_STREAM:
                one.listen(128)
    except OSError:
        for one in sockets:
            one.close()
        raise
    return sockets


class Wire:
    """A TCP relay to a port of this machine.

    Args:
        target: the port.
        delay_ms: how long a byte takes, one way.
        watch: is told what travels.
        totals: where bytes and requests are counted.
        max_pipe_bytes: how much may be under way in one direction of a connection.
        max_connections: how many there may be at a time.

    Attributes:
        delay_ms: may be set at any time; the order is kept.
        port: where it listens, once it does.
        under_way: how many bytes are, in all connections together.
        full: the pipes that aren't read, since too much is under way in them.
    """

    def __init__(
        self,
        target: int,
        delay_ms: float,
        watch: Watcher,
        totals: Totals,
        *,
        max_pipe_bytes: int = MAX_PIPE_BYTES,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.max_pipe_bytes = max_pipe_bytes
        self._max_connections = max_connections
        self.target = target
        self.delay_ms = delay_ms
        self.watch = watch
        self.totals = totals
        self.port = 0
        self.under_way = 0
        self.full: set[_Pipe] = set()
        self._connections: set[_Connection] = set()
        self._count = 0
        self._servers: list[asyncio.Server] = []
        self.closing = False
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self, sockets: list[socket.socket]) -> None:
        """Take connections from these sockets, which are the wire's from now on."""
        loop = asyncio.get_running_loop()
        self.port = sockets[0].getsockname()[1]
        for one in sockets:
            self._servers.append(await loop.create_server(self._accept, sock=one))

    def _accept(self) -> asyncio.Protocol:
        if len(self._connections) >= self._max_connections:
            return _Turned()
        connection = _Connection(self, self._count)
        self._count += 1
        self._connections.add(connection)
        self._empty.clear()
        return connection.client

    def gone(self, connection: _Connection) -> None:
        """A connection is no more."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    def eased(self) -> None:
        """Something was delivered: there may be room again."""
        if self.under_way < MAX_WIRE_BYTES // 2:
            for pipe in tuple(self.full):
                pipe.read_on()

    async def close(self) -> None:
        """End all connections, and listen no more."""
        self.closing = True
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.abort()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        await self._empty.wait()


class _Turned(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.abort()


class _Connection:
    """Two ends and the two pipes between them."""

    def __init__(self, wire: Wire, number: int) -> None:
        self.wire = wire
        self.observer = Observer(wire.totals, number)
        self.client = _End(self)
        self.server = _End(self)
        self.up = _Pipe(self, "up", self.client, self.server)
        self.down = _Pipe(self, "down", self.server, self.client)
        self._dial: asyncio.Task[None] | None = None
        self._told = False

    def opened(self) -> None:
        """The client is there: connect to the server."""
        if self.wire.closing:
            self.abort()
            return
        now = round(clock_ms(), 2)
        # TCP's handshake costs a round trip before the first byte; the client's own took place on this machine.
        self.up.not_before = now + 2 * self.wire.delay_ms
        self.tell("open", "up", now)
        self._dial = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: self.server, "127.0.0.1", self.wire.target)
        except (OSError, TimeoutError):
            self.abort()
            return
        except asyncio.CancelledError:
            # uvloop tells nobody of the end of a connection that was made just before this.
            if self.server.transport is not None:
                self.server.connection_lost(None)
            raise
        if self.client.gone:
            self.abort()
            return
        self.up.deliver()

    def tell(self, kind: Any, direction: Direction, now: float) -> None:
        """Tell of the connection itself."""
        self.wire.watch([Travel(kind, direction, now, now, 0, "", self.observer.connection)])

    def closing(self, direction: Direction) -> None:
        """One of the two has no more to say."""
        if not self._told:
            self._told = True
            self.tell("close", direction, clock_ms())

    def ended(self) -> None:
        """A pipe has delivered its end: when both have, that was all."""
        if self.up.ended and self.down.ended:
            for end in (self.client, self.server):
                if end.transport is not None:
                    end.transport.close()

    def lost(self) -> None:
        """An end is gone."""
        if self.client.gone and (self.server.gone or self.server.transport is None):
            self.abort()
            self.wire.gone(self)

    def abort(self) -> None:
        """End it at once."""
        for pipe in (self.up, self.down):
            pipe.drop()
        if self._dial is not None and self._dial is not asyncio.current_task():
            self._dial.cancel()
        for end in (self.client, self.server):
            if end.transport is not None and not end.gone:
                end.transport.abort()


class _End(asyncio.Protocol):
    """One side's TCP connection."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.transport: asyncio.Transport | None = None
        self.gone = False
        self.full = False  # whether its reader is slow

    @property
    def _pipes(self) -> tuple[_Pipe, _Pipe]:
        """The one that it is read into, and the one that writes to it."""
        connection = self._connection
        both = connection.up, connection.down
        return both if self is connection.client else (both[1], both[0])

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        if self is self._connection.client:
            self._connection.opened()

    def data_received(self, data: bytes) -> None:
        self._pipes[0].put(data)

    def eof_received(self) -> bool:
        self._pipes[0].put(b"")
        return True  # what goes the other way goes on

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._pipes[1].deliver()

    def connection_lost(self, error: Exception | None) -> None:
        if self.gone:
            return
        self.gone = True
        read, written = self._pipes
        written.drop()
        if error is not None or not read.ended:
            read.put(None)
        self._connection.lost()

    def reset(self) -> None:
        """Let the other side see that the connection broke."""
        if self.transport is not None and not self.gone:
            own = self.transport.get_extra_info("socket")
            if own is not None:  # else its end is on the way already
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class _Pipe:
    """One direction: what is under way, with the time of its arrival. b"" stands for an end, None for a break."""

    __slots__ = (
        "_at",
        "_bytes",
        "_connection",
        "_direction",
        "_last",
        "_loop",
        "_queue",
        "_sink",
        "_source",
        "_timer",
        "ended",
        "not_before",
    )

    def __init__(self, connection: _Connection, direction: Direction, source: _End, sink: _End) -> None:
        self._connection = connection
        self._direction: Direction = direction
        self._source = source
        self._sink = sink
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._bytes = 0
        self._last = 0.0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.not_before = 0.0
        self.ended = False

    def put(self, data: bytes | None) -> None:
        """Something was read: look at it, and send it on its way."""
        connection = self._connection
        wire = connection.wire
        sent = round(max(clock_ms(), self.not_before), 2)
        due = self._last = round(max(sent + wire.delay_ms, self._last), 2)
        if self.ended or self._sink.gone:
            return
        if data:
            seen = connection.observer.feed(self._direction, data, sent, due)
        else:
            seen = connection.observer.end(self._direction, sent, due)
            connection.closing(self._direction)
        if seen:
            wire.watch(seen)
        size = len(data) if data else 0
        self._queue.append((due, data))
        self._bytes += size
        wire.under_way += size
        self.deliver()
        if self._bytes >= wire.max_pipe_bytes or wire.under_way >= MAX_WIRE_BYTES:
            source = self._source.transport
            if source is not None and not self._source.gone and self not in wire.full and self._queue:
                wire.full.add(self)
                source.pause_reading()

    def deliver(self) -> None:
        """Hand over what has arrived."""
        sink, queue = self._sink, self._queue
        transport = sink.transport
        if transport is None:
            return  # it is being connected to
        wire = self._connection.wire
        now = clock_ms() + _BREADTH_MS
        while queue and queue[0][0] <= now and not sink.full:
            data = queue.popleft()[1]
            if data is None:
                self.ended = True
                sink.reset()
                break
            if data:
                self._bytes -= len(data)
                wire.under_way -= len(data)
                transport.write(data)
            else:
                self.ended = True
                if not sink.gone:
                    transport.write_eof()
                self._connection.ended()
        if queue and not sink.full and self._timer is None:
            self._timer = self._loop.call_later((queue[0][0] - now + _BREADTH_MS) / 1000, self._fire)
        if wire.full:
            if self in wire.full and self._bytes < wire.max_pipe_bytes // 2:
                self.read_on()
            wire.eased()

    def _fire(self) -> None:
        self._timer = None
        self.deliver()

    def read_on(self) -> None:
        """There is room again."""
        wire = self._connection.wire
        if self._bytes < wire.max_pipe_bytes // 2 and wire.under_way < MAX_WIRE_BYTES // 2:
            wire.full.discard(self)
            self._read_source()

    def _read_source(self) -> None:
        source = self._source.transport
        if source is not None and not self._source.gone and not source.is_closing():
            source.resume_reading()

    def drop(self) -> None:
        """Nobody is there to have it."""
        wire = self._connection.wire
        wire.under_way -= self._bytes
        self._bytes = 0
        self._queue.clear()
        if self in wire.full:  # its source has to be read, or nobody would hear of its end
            wire.full.discard(self)
            self._read_source()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wire.eased()
