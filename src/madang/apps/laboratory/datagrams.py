"""The network of a lane whose packets are datagrams: the same as `Wire`, for UDP.

What travels is encrypted, so there is little to see but sizes. What is too much is dropped, as by any network.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any, Final

from madang.apps.laboratory.observer import Direction, Totals, Travel
from madang.apps.laboratory.protocol import clock_ms
from madang.apps.laboratory.wire import Watcher

__all__ = ["DatagramWire"]

MAX_PIPE_BYTES: Final = 4_000_000
MAX_CLIENTS: Final = 16
IDLE_SECONDS: Final = 60.0

#: The first bit of a QUIC packet says whether its header is long, as in a handshake (RFC 9000, 17.2).
_LONG: Final = 0x80
#: What is no larger holds no event: heads and what QUIC itself has to say leave no room for one.
_SMALL_BYTES: Final = 60
_BREADTH_MS: Final = 0.5


class DatagramWire:
    """A UDP relay to a port of this machine.

    Args:
        target: the port.
        delay_ms: how long a datagram takes, one way.
        watch: is told what travels.
        totals: where bytes are counted.
        max_clients: how many addresses are remembered at a time; of more, the one that was silent for longest goes.

    Attributes:
        delay_ms: may be set at any time; the order is kept.
        port: where it listens, once it does.
    """

    def __init__(
        self, target: int, delay_ms: float, watch: Watcher, totals: Totals, *, max_clients: int = MAX_CLIENTS
    ) -> None:
        self._max_clients = max_clients
        self.target = target
        self.delay_ms = delay_ms
        self.watch = watch
        self.totals = totals
        self.port = 0
        self._faces: list[_Face] = []
        self._sweeper: asyncio.TimerHandle | None = None
        #: By the face and the address that they came from; those that spoke last are last.
        self.clients: dict[tuple[_Face, Any], _Client] = {}
        self.count = 0

    async def start(self, sockets: list[socket.socket]) -> None:
        """Take datagrams from these sockets, which are the wire's from now on."""
        loop = asyncio.get_running_loop()
        self.port = sockets[0].getsockname()[1]
        for one in sockets:
            _, face = await loop.create_datagram_endpoint(lambda: _Face(self), sock=one)
            self._faces.append(face)
        self._sweep()

    def received(self, face: _Face, address: Any, data: bytes) -> None:
        """A client has sent something."""
        client = self.clients.pop((face, address), None)
        if client is None:
            if len(self.clients) >= self._max_clients:
                self.forget(next(iter(self.clients)))
            client = _Client(self, face, address, self.count)
            self.count += 1
        self.clients[face, address] = client
        client.heard_at = asyncio.get_running_loop().time()
        client.up.put(data)

    def forget(self, key: tuple[_Face, Any]) -> None:
        """A client was silent for too long."""
        self.clients.pop(key).close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for key, client in tuple(self.clients.items()):
            if loop.time() - client.heard_at > IDLE_SECONDS:
                self.forget(key)
        self._sweeper = loop.call_later(IDLE_SECONDS / 4, self._sweep)

    async def close(self) -> None:
        """Forget all clients, and listen no more."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for key in tuple(self.clients):
            self.forget(key)
        for face in self._faces:
            face.transport.close()
        await asyncio.gather(*(face.closed.wait() for face in self._faces))


class _Face(asyncio.DatagramProtocol):
    """A socket that clients send to."""

    transport: asyncio.DatagramTransport

    def __init__(self, wire: DatagramWire) -> None:
        self._wire = wire
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._wire.received(self, address, data)

    def error_received(self, error: Exception) -> None:
        """A client is gone. It will be forgotten."""

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()


class _Client(asyncio.DatagramProtocol):
    """A client, and the socket by which it is known to the server."""

    def __init__(self, wire: DatagramWire, face: _Face, address: Any, number: int) -> None:
        self.wire = wire
        self.number = number
        self.heard_at = 0.0
        self._face = face
        self._address = address
        self._transport: asyncio.DatagramTransport | None = None
        self._gone = False
        self.up = _Pipe(self, "up")
        self.down = _Pipe(self, "down")
        self.tell("open")
        self._dial = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_datagram_endpoint(lambda: self, remote_addr=("127.0.0.1", self.wire.target))
        except OSError:
            return  # as if the network had lost all
        self.up.deliver()

    def tell(self, kind: Any) -> None:
        """Tell of the client itself."""
        now = round(clock_ms(), 2)
        self.wire.watch([Travel(kind, "up", now, now, 0, "", self.number)])

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport
        if self._gone:
            transport.abort()

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.down.put(data)

    def error_received(self, error: Exception) -> None:
        """The server is gone; its client will see that by itself."""

    def ready(self, direction: Direction) -> bool:
        """Whether there is anybody to hand datagrams to."""
        return direction == "down" or self._transport is not None

    def hand_over(self, direction: Direction, data: bytes) -> None:
        """A datagram has arrived."""
        if direction == "down":
            self._face.transport.sendto(data, self._address)
        elif self._transport is not None:
            self._transport.sendto(data)

    def close(self) -> None:
        """Forget it."""
        self._gone = True
        self._dial.cancel()
        self.up.drop()
        self.down.drop()
        if self._transport is not None:
            self._transport.abort()
        self.tell("close")


class _Pipe:
    """One direction: the datagrams that are under way, with the times of their arrival."""

    __slots__ = ("_bytes", "_client", "_direction", "_last", "_loop", "_queue", "_timer")

    def __init__(self, client: _Client, direction: Direction) -> None:
        self._client = client
        self._direction: Direction = direction
        self._queue: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._last = 0.0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, data: bytes) -> None:
        """A datagram was sent."""
        wire, direction = self._client.wire, self._direction
        if self._bytes + len(data) > MAX_PIPE_BYTES:
            return
        sent = round(clock_ms(), 2)
        due = self._last = round(max(sent + wire.delay_ms, self._last), 2)
        if direction == "up":
            wire.totals.bytes_up += len(data)
        else:
            wire.totals.bytes_down += len(data)
        long = data[:1] >= bytes([_LONG])
        label = "handshake" if long else "data" if len(data) > _SMALL_BYTES else "small empty"
        wire.watch([Travel("datagram", direction, sent, due, len(data), label, self._client.number)])
        self._queue.append((due, data))
        self._bytes += len(data)
        self.deliver()

    def deliver(self) -> None:
        """Hand over what has arrived."""
        queue = self._queue
        if not self._client.ready(self._direction):
            return
        now = clock_ms() + _BREADTH_MS
        while queue and queue[0][0] <= now:
            data = queue.popleft()[1]
            self._bytes -= len(data)
            self._client.hand_over(self._direction, data)
        if queue and self._timer is None:
            self._timer = self._loop.call_later((queue[0][0] - now + _BREADTH_MS) / 1000, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.deliver()

    def drop(self) -> None:
        """Nobody is there to have them."""
        self._queue.clear()
        self._bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
