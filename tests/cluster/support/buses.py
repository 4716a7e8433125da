"""Buses without servers: what each kind needs to be tested, and a listener that keeps what it is told."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from madang.cluster import Bus, Listener, open_bus
from madang.cluster.messages import Broadcast, Heartbeat, Member, Message, values_of
from madang.config import Cluster, Config

__all__ = ["KINDS", "Ear", "Kind", "Wire", "contents", "meet", "member", "members"]

#: So long may a busy machine take for anything.
PATIENCE = 30.0


@dataclass(frozen=True)
class Kind:
    """A kind of bus.

    Attributes:
        name: the scheme of its URL.
        fixture: the fixture with an engine that tests share; None: it needs none.
        url: the URL for an engine and a prefix of names.
        engine: makes an engine that a test may stop; None: there is nothing to stop.
        quick: what has to stand behind the URL so that a silent engine is noticed at once.
        keeps: whether what is said while the link is down arrives later.
        ordered: whether messages of all types go one way, and don't overtake each other.
    """

    name: str
    fixture: str | None
    url: Callable[[Any, str], str]
    engine: Callable[[], Any] | None = None
    quick: str = ""
    keeps: bool = False
    ordered: bool = True

    def __str__(self) -> str:
        return self.name

    def shared(self, request: pytest.FixtureRequest, prefix: str) -> Cluster:
        """Settings for the engine that tests share."""
        engine = request.getfixturevalue(self.fixture) if self.fixture else None
        return Cluster(self.url(engine, prefix), prefix=prefix)

    def own(self, engine: Any, prefix: str, **more: Any) -> Cluster:
        """Settings for an engine of one's own, whose silence is noticed soon."""
        more = {"max_reconnect_delay_seconds": 0.2} | more
        return Cluster(self.url(engine, prefix) + self.quick, prefix=prefix, **more)


def _redis(**settings: Any) -> Any:
    from cluster.support.engines import Redis

    return Redis(**settings)


def _postgres() -> Any:
    from cluster.support.engines import Postgres

    return Postgres()


def _nats() -> Any:
    from cluster.support.engines import Nats

    return Nats()


#: All kinds. Each new one adds itself.
KINDS = [
    Kind("memory", None, lambda engine, prefix: f"memory://{prefix}"),
    Kind("local", "local_broker", lambda engine, prefix: f"local://{engine}"),
    Kind("redis", "redis_server", lambda engine, prefix: engine.url, _redis, "?socket_timeout=0.5"),
    Kind(
        "redis-classic",
        "redis_server",
        lambda engine, prefix: engine.url.replace("redis://", "redis-classic://"),
        _redis,
        "?socket_timeout=0.5",
    ),
    Kind("postgres", "postgres_server", lambda engine, prefix: engine.url, _postgres),
    Kind("nats", "nats_server", lambda engine, prefix: engine.url, _nats),
    Kind(
        "redis-streams",
        "redis_server",
        lambda engine, prefix: f"{engine.url.replace('redis://', 'redis-streams://')}?stream_name={prefix}",
        lambda: _redis(persistent=True),
        "&socket_timeout=0.5",
        keeps=True,
        ordered=False,
    ),
]


class Ear(Listener):
    """Keeps what a bus tells.

    Attributes:
        bus: who tells it.
        messages: what has come, but for the greetings of `members`.
        own: broadcasts of its own, which come back where the bus keeps a ledger.
        posts: what was sent to it alone.
        told: "up", "down", "lost", "malformed" and "gone", with what was told of each.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.uid = secrets.token_hex(8)
        self.node = secrets.token_urlsafe(3)
        self.messages: list[Message] = []
        self.own: list[Message] = []
        self.offsets: list[str | None] = []
        self.posts: list[bytes] = []
        self.told: list[tuple[Any, ...]] = []
        self.greeted: set[str] = set()
        self._changed = asyncio.Event()

    def received(self, message: Message, offset: str | None = None) -> None:
        greeting = isinstance(message, Heartbeat) and isinstance(message.data, Member) and message.data.name == "greets"
        if greeting:
            self.greeted.add(message.uid)
        elif message.uid == self.uid and self.bus.ledger is not None and isinstance(message, Broadcast):
            self.own.append(message)
        else:
            self.messages.append(message)
            self.offsets.append(offset)
        self._changed.set()

    def posted(self, data: bytes) -> None:
        self.posts.append(data)
        self._changed.set()

    def up(self) -> None:
        self._tell("up")

    def down(self, error: BaseException) -> None:
        self._tell("down", error)

    def lost(self, count: int | None, why: str) -> None:
        self._tell("lost", count, why)

    def malformed(self, error: Exception) -> None:
        self._tell("malformed", error)

    def gone(self, uid: str) -> None:
        self._tell("gone", uid)

    def _tell(self, *what: Any) -> None:
        self.told.append(what)
        self._changed.set()

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """What was told of one kind."""
        return [told for told in self.told if told[0] == kind]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so that depends on what is told."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def say_until(self, message: Callable[[], Message], condition: Callable[[], Any]) -> None:
        """Say something again and again, until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.bus.publish(message())
                await asyncio.sleep(0.02)

    async def drained(self) -> None:
        """Wait until all is sent."""
        async with asyncio.timeout(PATIENCE):
            while self.bus.buffered != (0, 0):
                await asyncio.sleep(0.01)

    async def count(self, namespace: str) -> int | None:
        """How many others there are."""
        found: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.bus.count(namespace, found.set_result)
        return await asyncio.wait_for(found, PATIENCE)


class Wire:
    """What lies between a bus and an engine, and can be cut, while others go on to reach the engine.

    Args:
        engine: to which it goes.

    Attributes:
        url: the engine's, by way of this.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.url = ""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = self.engine.url.replace(str(self.engine.port), str(self._port))

    async def cut(self) -> None:
        """Cut it."""
        assert self._server is not None
        self._server.close()
        for end in list(self._ends):
            end.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, beyond = await asyncio.open_connection(*self.engine.address)
        await asyncio.gather(self._carry(reader, beyond), self._carry(there, writer))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self._ends.add(sink)
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        self._ends.discard(sink)
        sink.close()

    async def __aenter__(self) -> "Wire":
        await self.mend()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.cut()


@contextlib.asynccontextmanager
async def member(settings: Cluster) -> AsyncIterator[Ear]:
    """A bus that is started, and may be up or not."""
    bus = open_bus(settings)
    ear = Ear(bus)
    await bus.start(ear.uid, ear.node, ear)
    try:
        yield ear
    finally:
        await bus.close()


@contextlib.asynccontextmanager
async def members(settings: Cluster, count: int, *namespaces: str) -> AsyncIterator[list[Ear]]:
    """Buses that hear each other in namespaces; without any, in "/"."""
    async with contextlib.AsyncExitStack() as stack:
        ears = [await stack.enter_async_context(member(settings)) for _ in range(count)]
        for namespace in namespaces or ("/",):
            for ear in ears:
                await ear.until(lambda ear=ear: ear.of("up"))
                ear.bus.open(namespace)
            await meet(ears, namespace)
        yield ears


async def meet(ears: list[Ear], namespace: str = "/") -> None:
    """Wait until all hear all others."""
    for ear in ears:
        ear.greeted.clear()

    def missing(ear: Ear) -> set[str]:
        return {other.uid for other in ears if other is not ear} - ear.greeted

    async with asyncio.timeout(PATIENCE):
        while any(missing(ear) for ear in ears):
            for ear in ears:
                ear.bus.publish(Heartbeat(uid=ear.uid, nsp=namespace, data=Member("greets", ear.node, 1.0)))
            await asyncio.sleep(0.02)


def contents(message: Message) -> Any:
    """A message as values, whatever it carries them as."""

    def plain(value: Any) -> Any:
        if isinstance(value, msgspec.Raw):
            return values_of(value, Config())
        if isinstance(value, msgspec.Struct):
            fields = {name: getattr(value, name) for name in value.__struct_fields__}
            return {name: plain(field) for name, field in fields.items() if field is not msgspec.UNSET}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value

    found = plain(message)
    if isinstance(found.get("data"), dict) and isinstance(found["data"].get("packet"), dict):
        found["data"]["packet"].pop("nsp", None)  # some tell it twice
    return (type(message).__name__, found)
