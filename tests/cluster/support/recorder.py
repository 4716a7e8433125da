"""What a bus tells, written down; and messages to send."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from madang.cluster import Bus, Listener, open_bus
from madang.cluster.messages import Broadcast, BroadcastData, EventPacket, Message, Options, body, values_of
from madang.config import Cluster, Config

__all__ = ["Cable", "Member", "Recorder", "emit", "until"]

DEADLINE_SECONDS = 60
_LIMITS = Config()


class Recorder(Listener):
    """Attributes: all that was told, in order."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.offsets: list[str | None] = []
        self.posts: list[bytes] = []
        self.malformations: list[Exception] = []
        self.losses: list[tuple[int | None, str]] = []
        self.ups = 0
        self.downs: list[BaseException] = []

    def received(self, message: Message, offset: str | None = None) -> None:
        self.messages.append(message)
        self.offsets.append(offset)

    def posted(self, data: bytes) -> None:
        self.posts.append(data)

    def malformed(self, error: Exception) -> None:
        self.malformations.append(error)

    def up(self) -> None:
        self.ups += 1

    def down(self, error: BaseException) -> None:
        self.downs.append(error)

    def lost(self, count: int | None, why: str) -> None:
        self.losses.append((count, why))

    @property
    def events(self) -> list[list[Any]]:
        """The events of the broadcasts, as `[name, *arguments]`."""
        return [values_of(one.data.packet.data, _LIMITS) for one in self.messages if isinstance(one, Broadcast)]


class Member:
    """A bus, and what it has heard.

        async with Member(url, "a") as member: ...

    Args:
        url: of the engine.
        letter: of what its names are made.
        namespaces: what it hears from the start.
        settings: more for the `Cluster`.
    """

    def __init__(self, url: str, letter: str, *namespaces: str, **settings: Any) -> None:
        self.uid = letter * 16
        self.node = f"node-{letter}"
        self.heard = Recorder()
        settings = {"max_reconnect_delay_seconds": 0.2} | settings
        self.bus: Bus = open_bus(Cluster(url, **settings))
        self._namespaces = namespaces or ("/",)

    async def __aenter__(self) -> "Member":
        for namespace in self._namespaces:
            self.bus.open(namespace)
        await self.bus.start(self.uid, self.node, self.heard)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.bus.close()

    def emit(self, *event: Any, nsp: str = "/", rooms: tuple[str, ...] = (), **more: Any) -> Message:
        """Broadcast an event."""
        message = emit(self.uid, *event, nsp=nsp, rooms=rooms, **more)
        self.bus.publish(message)
        return message


class Cable:
    """What is between one member and an engine, to be cut and mended while other members stay connected.

        async with Cable(engine.address) as cable: ... cable.port ...

    Attributes:
        port: where the member finds the engine.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> "Cable":
        await self.mend()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._ends.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._address)
        except OSError:
            writer.transport.abort()
            self._ends.discard(writer)
            return
        self._ends.add(far_writer)
        await asyncio.gather(_pour(reader, far_writer), _pour(far_reader, writer))
        self._ends -= {writer, far_writer}


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry what comes until one end breaks, and then break the other."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # it has broken
    finally:
        writer.close()


def emit(uid: str, *event: Any, nsp: str = "/", rooms: tuple[str, ...] = (), **more: Any) -> Broadcast:
    """A broadcast of an event."""
    options = Options(rooms=list(rooms))
    return Broadcast(uid=uid, nsp=nsp, data=BroadcastData(EventPacket(body(list(event))), options), **more)


async def until(condition: Callable[[], bool], what: str = "it never comes true") -> None:
    """Wait for something that others bring about."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)
