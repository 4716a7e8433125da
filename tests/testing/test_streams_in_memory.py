"""Responses that stay open, over the network in memory: they arrive as they are written, and end as real ones do."""

from typing import Any

import pytest

from madang import ConnectError, Server, Socket
from madang.packet import EVENT, Packet
from madang.testing import FakeTime, MemoryNetwork, connect, running, settle

STREAMS = ["sse", "multipart"]
HTTP = [*STREAMS, "shortpolling"]


def make(**settings: Any) -> tuple[Server, list[str]]:
    io = Server(transports="all", **settings)
    left: list[str] = []
    io.on("echo", lambda socket, *args: args)
    io.on("disconnect", lambda socket, reason: left.append(reason))

    @io.on("say")
    def say(socket: Socket, *args: object) -> None:
        socket.emit("said", *args)

    return io, left


@pytest.mark.parametrize("name", HTTP)
async def test_what_is_said_arrives(name: str) -> None:
    io, left = make()
    async with FakeTime(), connect(io, transports=[name]) as client:
        assert client.manager.transport == name
        assert await client.call("echo", "마당\n\u2028", b"x") == ("마당\n\u2028", b"x")
        client.emit("say", 1)
        await client.expect("said", 1)
    assert left == ["client namespace disconnect"]


@pytest.mark.parametrize("name", STREAMS)
async def test_the_delay_of_each_part(name: str) -> None:
    io, _ = make()
    async with FakeTime() as clock, connect(io, transports=[name]) as client:
        client.network.delay_seconds = 2
        before = clock.now
        assert await client.call("echo", 1) == 1
        assert clock.now == before + 4


@pytest.mark.parametrize("name", STREAMS)
async def test_a_break_is_told_to_both(name: str) -> None:
    io, left = make()
    async with FakeTime(), connect(io, transports=[name]) as client:
        first = client.id
        client.network.drop()
        assert await client.wait_disconnect() == "transport error"
        await client.wait_connect()
        assert left == ["transport close"]
        assert client.id != first
        assert len(io.engine.sessions) == 1


@pytest.mark.parametrize("name", STREAMS)
async def test_a_server_that_is_no_more_is_told_nothing(name: str) -> None:
    io, left = make()
    async with FakeTime(), connect(io, transports=[name]) as client:
        client.network.lose_server()
        assert await client.wait_disconnect() == "transport error"
        await client.wait_connect()
        assert left == []
        assert len(io.engine.sessions) == 2


@pytest.mark.parametrize("name", STREAMS)
async def test_silence(name: str) -> None:
    io, left = make()
    async with FakeTime(), connect(io, transports=[name], reconnection=False) as client:
        client.network.cut()
        assert await client.wait_disconnect(timeout=120) == "ping timeout"
        client.network.mend()
        await settle()
        assert left in (["ping timeout"], ["transport close"])


@pytest.mark.parametrize("name", STREAMS)
async def test_what_was_sent_before_the_silence_ends_arrives(name: str) -> None:
    io, _ = make()
    async with FakeTime() as clock, connect(io, transports=[name]) as client:
        client.network.cut()
        io.emit("said", 1)
        await clock.advance(5)
        client.network.mend()
        await client.expect("said", 1)
        assert client.disconnects == []


@pytest.mark.parametrize("name", STREAMS)
async def test_streams_that_the_server_ends_go_on(name: str) -> None:
    io, left = make(max_stream_bytes=500, stream_timeout_seconds=10)
    async with FakeTime() as clock, connect(io, transports=[name]) as client:
        heard: list[int] = []
        client.on("number", heard.append)
        for number in range(200):
            io.emit("number", number)
            if number % 50 == 0:
                await clock.advance(11)
        await settle()
        assert heard == list(range(200))
        assert left == []


@pytest.mark.parametrize("name", HTTP)
async def test_the_move_to_a_websocket(name: str) -> None:
    io, left = make()
    async with FakeTime(), connect(io, transports=[name, "websocket"]) as client:
        heard: list[int] = []
        client.on("number", heard.append)
        for number in range(100):
            io.emit("number", number)
            await client.call("echo", number)
        assert client.manager.transport == "websocket"
        assert heard == list(range(100))
        assert left == []


async def test_who_does_not_read_is_waited_for() -> None:
    io, _ = make()
    async with running(io):
        network = MemoryNetwork(io, buffer_bytes=1000)
        stream = await network.stream("/socket.io/?EIO=4&transport=sse", {})
        assert (stream.status, stream.content_type) == (200, "text/event-stream; charset=UTF-8")
        assert b'0{"sid"' in await stream.read()
        [session] = io.engine.sessions.values()
        for number in range(10):
            session.send(_event(number))
            await settle()
        assert session.direct is None
        read = b""
        while b"number-9" not in read:
            read += await stream.read()
        assert session.direct is not None
        assert [read.find(b"number-%d" % number) > 0 for number in range(10)] == [True] * 10
        await stream.close()
        await settle()
        assert io.engine.sessions == {}
        await stream.close()


async def test_a_stream_that_is_read_as_a_whole() -> None:
    io, _ = make(stream_timeout_seconds=5)
    async with FakeTime(), running(io):
        network = MemoryNetwork(io)
        reply = await network.get("/socket.io/?EIO=4&transport=sse", {})
        assert reply.body.endswith(b"data: 6\n\n")
        network = MemoryNetwork(io, max_response_bytes=10)
        with pytest.raises(ConnectError, match="more than 10 bytes"):
            await network.get("/socket.io/?EIO=4&transport=sse", {})


async def test_an_answer_that_is_no_stream() -> None:
    io = Server()
    async with running(io):
        stream = await MemoryNetwork(io).stream("/socket.io/?EIO=4&transport=sse", {})
        assert stream.status == 400
        assert b"Transport unknown" in await stream.read()
        assert await stream.read() == b""
        await stream.close()


def _event(number: int) -> Any:
    return Packet(EVENT, ["event", f"number-{number}", "x" * 300])
