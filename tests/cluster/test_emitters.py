"""Emitters over each bus: what they say reaches the clients of all servers, and nobody counts them as one."""

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cluster.support.processes import REAPER
from madang import (
    BlockingEmitter,
    Cluster,
    ConnectError,
    Emitter,
    NotSent,
    Server,
    cli,
)
from madang.cluster.broker import Broker
from madang.testing import TestClient, connect

PATIENCE = 20.0
#: The fixture with the engine, and the URL for it.
BUSES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "memory": ("prefix", lambda prefix: f"memory://{prefix}"),
    "local": ("broker", lambda folder: f"local://{folder}"),
    "redis": ("redis_server", lambda engine: engine.url),
    "redis-classic": ("redis_server", lambda engine: engine.url.replace("redis:", "redis-classic:")),
    "redis-streams": ("streams_url", lambda url: url),
    "postgres": ("postgres_server", lambda engine: engine.url),
    "nats": ("nats_server", lambda engine: engine.url),
    "jetstream": ("jetstream_server", lambda engine: f"{engine.url}?jetstream=1&storage=memory"),
}


@pytest.fixture
async def broker() -> AsyncIterator[str]:
    folder = tempfile.mkdtemp(prefix="madang-")
    async with Broker(folder):
        yield folder
    shutil.rmtree(folder)


@pytest.fixture
def streams_url(redis_server: Any, prefix: str) -> str:
    url: str = redis_server.url.replace("redis:", "redis-streams:")
    return f"{url}?stream_name={prefix}&session_key_prefix={prefix}:session:"


@pytest.fixture(params=BUSES)
def cluster(request: pytest.FixtureRequest, prefix: str) -> Cluster:
    fixture, url = BUSES[request.param]
    return Cluster(url(request.getfixturevalue(fixture)), prefix=prefix, heartbeat_interval_seconds=0.5)


@pytest.fixture
def local(broker: str, prefix: str) -> Cluster:
    return Cluster(f"local://{broker}", prefix=prefix, max_reconnect_delay_seconds=0.05)


class House:
    """Servers of one cluster, and clients of theirs."""

    def __init__(self, cluster: Cluster, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self.servers: list[Server] = []
        self.clients: list[TestClient] = []
        self._stack = stack

    async def add(self, *rooms: str) -> TestClient:
        """One more server, with one client."""
        io = Server(cluster=self.cluster)
        number = len(self.servers)
        self.servers.append(io)
        io.on("connection", lambda socket: socket.join(*socket.handshake.auth.get("rooms", ())))
        io.of("/chat")
        io.server_side_event("who?", lambda: number)
        await io.start()
        self._stack.push_async_callback(io.close)
        client = await self._stack.enter_async_context(connect(io, "/", {"rooms": rooms}))
        self.clients.append(client)
        for one in self.servers:
            await until(lambda one=one: len(one.cluster.peers) == len(self.servers) - 1)  # type: ignore[misc]
        return client


@contextlib.asynccontextmanager
async def house_of(cluster: Cluster) -> AsyncIterator[House]:
    """Two servers: at the first is somebody in "red", at the second in "red" and "blue"."""
    async with AsyncExitStack() as stack:
        house = House(cluster, stack)
        await house.add("red")
        await house.add("red", "blue")
        yield house


async def until(done: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.002)


async def heard(client: TestClient, last: str = "flush") -> list[tuple[Any, ...]]:
    """What a client has got up to an event, but for questions."""
    await client.expect(last, timeout=PATIENCE)
    return [event for event in client.received if event[0] not in (last, "vote")]


async def test_what_an_emitter_says(cluster: Cluster) -> None:
    async with house_of(cluster) as house, Emitter(cluster) as emitter:
        first, second = house.clients
        values = [1, "마당 ☀️", {"a": [None, True, 1.5]}, b"\x00\xff"]
        emitter.emit("all", *values)
        emitter.to("red").except_("blue").emit("red only")
        emitter.in_("blue").volatile.compress(False).emit("blue")
        emitter.to("red", "blue").send("both")
        assert second.id is not None
        emitter.to(second.id).emit("you alone")
        emitter.of("/chat").emit("elsewhere")
        emitter.emit("flush")
        await emitter.drain(PATIENCE)
        assert await heard(first) == [("all", *values), ("red only",), ("message", "both")]
        assert await heard(second) == [("all", *values), ("blue",), ("message", "both"), ("you alone",)]


async def test_what_an_emitter_does_and_asks(cluster: Cluster) -> None:
    async with house_of(cluster) as house, Emitter(cluster) as emitter:
        first, second = house.clients
        first.on("vote", lambda: "yes")
        second.on("vote", lambda: b"no")
        assert sorted(map(str, await emitter.call("vote", timeout=PATIENCE))) == ["b'no'", "yes"]
        assert await emitter.to("blue").call("vote", timeout=PATIENCE) == [b"no"]
        assert await emitter.to("nobody").call("vote", timeout=PATIENCE) == []
        assert await emitter.of("/chat").call("vote", timeout=PATIENCE) == []
        assert sorted(await emitter.server_side_call("who?", timeout=PATIENCE)) == [0, 1]

        found = {socket.id: socket for socket in await emitter.fetch_sockets()}
        assert found.keys() == {first.id, second.id}
        assert found[str(first.id)].rooms == {first.id, "red"}
        assert found[str(first.id)].handshake.auth["rooms"] == ["red"]
        assert await found[str(first.id)].call("vote", timeout=PATIENCE) == "yes"
        assert [socket.id for socket in await emitter.in_("blue").fetch_sockets()] == [second.id]

        emitter.in_("blue").sockets_join("green")
        emitter.in_("green").sockets_leave("red")
        # Who has just entered a room may not hear its own channel yet, where rooms have channels; and questions may
        # overtake what else is said, where that is kept.
        async with asyncio.timeout(PATIENCE):
            rooms = {second.id, "blue", "green"}
            while [socket.rooms for socket in await emitter.in_("green").fetch_sockets()] != [rooms]:
                await asyncio.sleep(0.01)
        emitter.to("red").emit("still red")
        emitter.to("green").emit("green")
        emitter.emit("flush")
        assert await heard(first) == [("still red",)]
        assert await heard(second) == [("green",)]
        emitter.in_("green").disconnect_sockets()
        assert await second.wait_disconnect(PATIENCE) == "io server disconnect"


async def test_nobody_counts_an_emitter(cluster: Cluster) -> None:
    async with house_of(cluster) as house, Emitter(cluster) as emitter:
        await emitter.server_side_call("who?", timeout=PATIENCE)  # now it hears answers
        before = emitter.health
        assert before is not None
        one, two = house.servers
        # Each waits for all that it counts, and for nobody else.
        assert await one.server_side_call("who?", timeout=PATIENCE) == [1]
        assert len(await two.fetch_sockets()) == 2
        assert [len(io.cluster.peers) for io in house.servers] == [1, 1]
        if not one.cluster.bus.heartbeats_by_namespace:  # where it is, all hear all
            now = emitter.health
            assert now is not None
            assert now.received == before.received


async def test_servers_hear_what_is_said_to_them(cluster: Cluster) -> None:
    async with house_of(cluster) as house, Emitter(cluster) as emitter:
        told: list[tuple[Any, ...]] = []
        for number, io in enumerate(house.servers):
            io.server_side_event("reload", lambda *args, number=number: told.append((number, *args)))
        emitter.server_side_emit("reload", {"what": b"\x00"})
        await until(lambda: len(told) == 2)
        assert sorted(told, key=str) == [(0, {"what": b"\x00"}), (1, {"what": b"\x00"})]


# Without an event loop


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """What a program does that knows nothing of asyncio."""
    return await asyncio.wait_for(asyncio.to_thread(function, *args), PATIENCE)


async def test_a_blocking_emitter(cluster: Cluster) -> None:
    async with house_of(cluster) as house:
        first, second = house.clients
        for number, client in enumerate(house.clients):
            client.on("vote", lambda number=number: number)

        def work() -> None:
            emitter = BlockingEmitter(cluster)
            assert not emitter.connected
            emitter.to("red").except_("blue").volatile.compress(True).emit("red only", b"\x00")
            assert emitter.connected
            emitter.in_("blue").sockets_join("green")
            emitter.of("/chat").emit("elsewhere")
            assert sorted(emitter.call("vote", timeout=PATIENCE)) == [0, 1]
            assert emitter.timeout(PATIENCE).to("blue").call("vote", returns=int) == [1]
            assert sorted(emitter.server_side_call("who?", timeout=PATIENCE)) == [0, 1]
            while not (sockets := emitter.in_("green").fetch_sockets()):
                time.sleep(0.01)
            [found] = sockets
            assert (found.id, found.data) == (second.id, {})
            assert found.rooms == {second.id, "red", "blue", "green"}
            assert found.call("vote", timeout=PATIENCE) == 1
            emitter.to("green").send("green")
            found.leave("green")
            found.join("yellow")
            rooms = {second.id, "red", "blue", "yellow"}
            while [socket.rooms for socket in emitter.in_("blue").fetch_sockets()] != [rooms]:
                time.sleep(0.01)
            emitter.to("green").emit("nobody is there")
            emitter.to("yellow").emit("yellow")
            found.emit("flush")
            emitter.to("red").except_("yellow").emit("flush")
            emitter.drain(PATIENCE)
            health = emitter.health
            assert health is not None
            assert health.buffered_messages == 0
            emitter.close()
            assert emitter.health is None
            emitter.emit("after closing")  # it connects again
            emitter.close()

        await in_thread(work)
        assert await heard(first, "after closing") == [("red only", b"\x00"), ("flush",)]
        assert await heard(second, "after closing") == [("message", "green"), ("yellow",), ("flush",)]


async def test_threads_share_an_emitter_and_each_keeps_its_order(local: Cluster) -> None:
    async with house_of(local) as house:

        def work(emitter: BlockingEmitter, thread: int) -> None:
            for number in range(300):
                emitter.emit("tick", thread, number, b"\x00" * 20_000 if number % 100 == 0 else None)

        def open_and_close() -> None:
            with BlockingEmitter(local) as emitter:
                threads = [threading.Thread(target=work, args=(emitter, number)) for number in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

        await in_thread(open_and_close)
        client = house.clients[1]
        await until(lambda: len(client.received) == 1200)
        for thread in range(4):
            assert [args[1] for _, *args in client.received if args[0] == thread] == list(range(300))


async def test_a_fork_has_a_connection_of_its_own(local: Cluster) -> None:
    """As Celery does it: the module with the emitter is imported, and used, before processes are forked."""
    program = """
        import multiprocessing, os, sys
        from madang import BlockingEmitter, Cluster

        emitter = BlockingEmitter(Cluster(sys.argv[1], prefix=sys.argv[2]))
        red = emitter.to("red")

        def work(number):
            red.emit("from a child", number)

        if __name__ == "__main__":
            before = multiprocessing.get_context("fork").Process(target=work, args=(1,))
            before.start(); before.join()
            red.emit("from the parent", 2)
            used = multiprocessing.get_context("fork").Process(target=work, args=(3,))
            used.start(); used.join()
            pid = os.fork()
            if pid == 0:
                assert not emitter.connected
                work(4)
                assert sorted(emitter.server_side_call("who?", timeout=10)) == [0, 1]
                emitter.close()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            assert emitter.connected
            assert sorted(emitter.server_side_call("who?", timeout=10)) == [0, 1]
            red.emit("flush")
    """
    async with house_of(local) as house:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), local.url, local.prefix),
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        REAPER.watch(process.pid)
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert (process.returncode, errors.decode()) == (0, "")
        for client in house.clients:
            got = await heard(client)
            assert sorted(got, key=lambda event: event[1]) == [
                ("from a child", 1),
                ("from the parent", 2),
                ("from a child", 3),
                ("from a child", 4),
            ]


# Engines that are away


async def test_an_engine_that_cannot_be_reached(prefix: str) -> None:
    nowhere = Cluster(f"local:///nowhere/{prefix}", prefix=prefix, max_reconnect_delay_seconds=0.05)
    with pytest.raises(ConnectError, match=r"can't be reached within 0\.1 s: .*No such file"):
        async with Emitter(nowhere, connect_timeout=0.1):
            pytest.fail("it was reached")

    def work() -> None:
        emitter = BlockingEmitter(nowhere, connect_timeout=0.1)
        for _ in range(2):
            with pytest.raises(ConnectError, match="No such file"):
                emitter.emit("never")
        with pytest.raises(ConnectError):
            emitter.call("never")
        with pytest.raises(ConnectError), BlockingEmitter(nowhere, connect_timeout=0.1):
            pytest.fail("it was reached")
        emitter.close()  # nothing was queued, so nothing is missing

    await in_thread(work)


async def test_what_was_not_sent_is_told(broker_that_stops: Broker, prefix: str) -> None:
    directory = broker_that_stops.path.rpartition("/")[0]
    cluster = Cluster(f"local://{directory}", prefix=prefix, max_buffered_messages=10, max_reconnect_delay_seconds=0.05)
    downs: list[BaseException] = []
    async with Emitter(cluster) as emitter:
        emitter.on("down", downs.append)
        await broker_that_stops.close()
        await until(lambda: not emitter.connected)
        assert len(downs) == 1
        for number in range(12):
            emitter.emit("tick", number)
        with pytest.raises(NotSent, match="10 wait for the engine, 2 were thrown away") as caught:
            await emitter.drain(0.05)
        assert (caught.value.waiting, caught.value.lost) == (10, 2)
        with pytest.raises(NotSent) as caught:
            await emitter.drain(0.05)
        assert (caught.value.waiting, caught.value.lost) == (10, 0)
        await broker_that_stops.start()
        await emitter.drain(PATIENCE)

    def work() -> Callable[[], None]:
        emitter = BlockingEmitter(cluster, connect_timeout=0.1)
        emitter.emit("is sent")
        emitter.drain()

        def go_on() -> None:
            while emitter.connected:
                time.sleep(0.002)
            with pytest.raises(ConnectError):
                emitter.emit("not queued")
            with pytest.raises(ConnectError):
                emitter.connect()
            emitter.close()

        return go_on

    go_on = await in_thread(work)
    await broker_that_stops.close()
    await in_thread(go_on)


@pytest.fixture
async def broker_that_stops() -> AsyncIterator[Broker]:
    folder = tempfile.mkdtemp(prefix="madang-")
    async with Broker(folder) as made:
        yield made
    shutil.rmtree(folder)


async def test_more_than_an_emitter_may_buffer_waits_for_the_engine(redis_server: Any, prefix: str) -> None:
    cluster = Cluster(redis_server.url, prefix=prefix, max_buffered_bytes=400_000)

    def work() -> None:
        with BlockingEmitter(cluster) as emitter:
            for number in range(200):
                emitter.emit("large", number, "x" * 50_000)
            for number in range(3000):
                emitter.emit("small", number)

    async with house_of(cluster) as house:
        await in_thread(work)
        for client in house.clients:
            await until(lambda client=client: len(client.received) == 3200)  # type: ignore[misc]


# The command


async def run(*words: str, lines: str | None = None) -> Result:
    found: Result = await in_thread(lambda: CliRunner().invoke(cli.main, ["emit", *words], input=lines))
    return found


async def test_the_command(local: Cluster) -> None:
    where = (local.url, "--prefix", local.prefix)
    async with house_of(local) as house:
        first, second = house.clients
        told: list[Any] = []
        for number, (io, client) in enumerate(zip(house.servers, house.clients, strict=True)):
            io.server_side_event("reload", told.append)
            client.on("vote", lambda topic, number=number: {"topic": topic, "number": number})
        for done in (
            await run(*where, "headline", '{"a": 1}', "plain words", "--room", "red", "--room", "blue"),
            await run(*where, "red only", "--room", "red", "--except", "blue", "--volatile"),
            await run(*where, "reload", "7", "--server-side"),
            await run(*where, "line", "log", "--stdin", lines='one\n\n{"two": 2}\n'),
            await run(*where, "--stdin", "--namespace", "/chat", lines='["elsewhere"]\n'),
            await run(*where, "--stdin", lines='["whole", 1, 2]\n["flush"]\n'),
        ):
            assert (done.exit_code, done.output) == (0, "")
        common = [("headline", {"a": 1}, "plain words")]
        rest = [("line", "log", "one"), ("line", "log", {"two": 2}), ("whole", 1, 2)]
        assert sorted(await heard(first), key=str) == sorted([*common, ("red only",), *rest], key=str)
        assert sorted(await heard(second), key=str) == sorted([*common, *rest], key=str)
        assert told == [7, 7]

        asked = await run(*where, "vote", "lunch", "--ack", "--timeout", str(PATIENCE))
        assert asked.exit_code == 0
        answers = sorted(map(json.loads, asked.output.splitlines()), key=lambda answer: answer["number"])
        assert answers == [{"topic": "lunch", "number": 0}, {"topic": "lunch", "number": 1}]
        asked = await run(*where, "who?", "--ack", "--server-side")
        assert sorted(asked.output.split()) == ["0", "1"]
        second.off("vote")
        asked = await run(*where, "vote", "lunch", "--ack", "--timeout", "0.3")
        assert asked.exit_code == 1
        assert json.loads(asked.stdout) == {"topic": "lunch", "number": 0}
        assert "1 of 2 acknowledgements came within 0.3 s" in asked.stderr


async def test_what_the_command_refuses(local: Cluster, prefix: str) -> None:
    for words, why, code in (
        ((local.url,), "name the EVENT", 2),
        ((local.url, "e", "--server-side", "--room", "a"), "--server-side is for all servers", 2),
        ((local.url, "disconnect"), "is reserved", 1),
        ((local.url, "e", "--namespace", "/room-{id}"), "stands for many", 1),
        (("nonsense", "e"), "write a URL", 1),
        ((f"local:///nowhere/{prefix}", "e", "--timeout", "0.1"), "can't be reached within 0.1 s", 1),
    ):
        done = await run(*words)
        assert done.exit_code == code
        assert why in done.output
        assert "Traceback" not in done.output
    done = await run(local.url, "--stdin", lines="[1]\n")
    assert (done.exit_code, "a line must be an event" in done.output) == (1, True)
