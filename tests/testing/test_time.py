"""Time that passes at once, and knowing when nothing happens any more."""

import asyncio
import time

import pytest
import uvloop

from madang import AckTimeout, Server, Socket, ThreadsafeSocket
from madang.testing import FakeTime, connect, running, settle


@pytest.fixture(autouse=True)
def at_once() -> object:
    """No test of this page may take long in real time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 4


async def test_sleeping_costs_nothing_and_keeps_its_order() -> None:
    told: list[tuple[int, float]] = []
    async with FakeTime() as clock:

        async def sleeper(seconds: int) -> None:
            await asyncio.sleep(seconds)
            told.append((seconds, clock.now))

        await asyncio.gather(*map(sleeper, (50, 10, 40, 3600, 20)))
        assert told == [(seconds, seconds) for seconds in (10, 20, 40, 50, 3600)]
        assert clock.now == 3600


async def test_time_stands_still_while_something_happens() -> None:
    async with FakeTime() as clock:
        for _ in range(1000):
            await asyncio.sleep(0)
        await clock.settle()
        assert clock.now == 0


async def test_advance_stops_at_its_moment() -> None:
    told = []
    async with FakeTime() as clock:
        loop = asyncio.get_running_loop()
        loop.call_later(5, told.append, "5")
        loop.call_later(5.001, told.append, "later")
        await clock.advance(5)
        assert told == ["5"]
        assert clock.now == 5
        with pytest.raises(ValueError, match="by -1"):
            await clock.advance(-1)


async def test_heartbeats_of_a_day() -> None:
    io = Server(ping_interval_seconds=25, ping_timeout_seconds=20)
    async with FakeTime() as clock, connect(io) as client:
        pings: list[float] = []
        client.manager.on("ping", lambda: pings.append(clock.now))
        await clock.advance(25)
        assert len(pings) == 1  # due now is done now
        await clock.advance(6 * 3600)
        assert 860 <= len(pings) <= 866
        assert client.connected
        assert client.disconnects == []


async def test_a_silent_network_a_ping_timeout_and_the_way_back() -> None:
    io = Server(ping_interval_seconds=25, ping_timeout_seconds=20)
    reasons: list[tuple[str, float]] = []
    async with FakeTime() as clock, connect(io) as client:
        io.on("disconnect", lambda socket, reason: reasons.append((reason, clock.now)))
        client.network.cut()
        assert await client.wait_disconnect(timeout=100) == "ping timeout"
        assert 45 <= clock.now < 46
        await clock.advance(1)
        assert [reason for reason, _ in reasons] == ["ping timeout"]
        client.network.mend()
        await client.wait_connect(timeout=100)
        assert clock.now < 80


async def test_acknowledgements_that_never_come() -> None:
    io = Server()
    io.on("deaf", lambda socket: asyncio.sleep(60))
    async with FakeTime() as clock, connect(io, ack_timeout_seconds=30) as client:
        with pytest.raises(AckTimeout):
            await client.call("deaf")
        assert clock.now == 30
        with pytest.raises(AckTimeout):
            await client.socket.call("nobody hears", timeout=10)
        assert 40 <= clock.now < 40.1


async def test_growing_delays_of_reconnection() -> None:
    io = Server()
    settings = {"reconnection_delay_seconds": 1, "reconnection_delay_max_seconds": 5, "randomization_factor": 0}
    async with FakeTime() as clock, connect(io, **settings) as client:
        tries: list[float] = []
        client.manager.on("reconnect_attempt", lambda number: tries.append(round(clock.now, 2)))
        client.network.refusing = True
        client.network.drop()
        await clock.advance(20)
        assert tries == [1, 3, 7, 12, 17]
        client.network.refusing = False
        await client.wait_connect()
        assert clock.now == 22


async def test_a_slow_network() -> None:
    io = Server()
    io.on("echo", lambda socket, text: text)
    async with FakeTime() as clock, connect(io) as client:
        client.network.delay_seconds = 0.25
        assert await client.call("echo", "far") == "far"
        assert clock.now == 0.5
        io.emit("news")
        await settle()  # what is under way arrives, slowly
        assert client.received == [("news",)]
        assert clock.now == 0.75


async def test_threads_take_their_real_time() -> None:
    async with FakeTime() as clock:
        slow = asyncio.create_task(asyncio.to_thread(time.sleep, 0.2))
        async with asyncio.timeout(10):  # would be over at once if time jumped
            await slow
        assert 0.1 < clock.now < 2


async def test_handlers_in_threads_take_their_real_time() -> None:
    io = Server()

    @io.on("block", thread=True)
    def block(socket: ThreadsafeSocket) -> str:
        assert io.busy_threads == 1
        time.sleep(0.2)
        return "done"

    async with FakeTime() as clock, connect(io) as client:
        assert io.busy_threads == 0
        assert await client.call("block", timeout=10) == "done"
        assert 0.1 < clock.now < 2
        client.emit("block")
        await settle()
        assert io.busy_threads == 0


async def test_sockets_take_their_real_time() -> None:
    async with FakeTime() as clock:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            await asyncio.sleep(0.1)
            assert clock.now < 5
            await clock.advance(5)  # jumps all the same, because it is told to
            assert clock.now >= 5
            writer.close()


async def test_what_never_comes_ends_the_test() -> None:
    async def wait() -> None:
        async with FakeTime(), connect(Server()):
            await asyncio.get_running_loop().create_future()

    def run() -> None:
        with pytest.raises(RuntimeError, match="a day of fake time has passed"):
            asyncio.run(wait())

    await asyncio.to_thread(run)


async def test_a_server_that_ran_before() -> None:
    io = Server(ping_interval_seconds=25)
    async with connect(io) as client:
        async with FakeTime() as clock:
            await clock.advance(100)
            assert client.connected
            assert io.engine.clock() == asyncio.get_running_loop().time()
        assert io.engine.clock() == pytest.approx(time.monotonic(), abs=1)
        assert not clock.running


async def test_one_time_for_each_loop() -> None:
    async with FakeTime():
        with pytest.raises(RuntimeError, match="already"):
            FakeTime().start()


def test_without_a_loop_that_can_be_watched() -> None:
    io = Server()
    told = []

    @io.event
    async def later(socket: Socket) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        told.append("later")

    async def play() -> None:
        with pytest.raises(RuntimeError, match="not Loop"):
            FakeTime().start()
        async with connect(io) as client:
            client.emit("later")
            await settle()
            assert told == ["later"]
            client.network.delay_seconds = 0.01
            client.emit("later")
            await settle()
            assert told == ["later", "later"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


async def test_settle_waits_for_handlers_and_threads() -> None:
    io = Server()

    @io.event
    async def work(socket: Socket) -> None:
        await asyncio.to_thread(time.sleep, 0.1)
        socket.emit("done")

    async with connect(io) as client:
        client.emit("work")
        await settle()
        assert client.received == [("done",)]


async def test_settle_does_not_wait_for_timers() -> None:
    async with running(Server()):
        began = time.monotonic()
        task = asyncio.create_task(asyncio.sleep(30))
        await settle()
        assert time.monotonic() - began < 1
        task.cancel()
