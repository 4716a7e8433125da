"""Responses that stay open, chunk by chunk, on every face."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator

import pytest

from faces.support.clients import (
    CLIENTS,
    STREAMS,
    Client,
    PollingClient,
    ShortPollingClient,
    SSEClient,
    StreamClient,
    WebSocketClient,
)
from faces.support.http import DEADLINE, Connection, request
from support.server import ServerProcess

TRICKY = "\u2028\u2029 </script><!-- 🎈 마당 \\n \n \r \"' \\"


@pytest.fixture(params=STREAMS)
def stream_class(request: pytest.FixtureRequest) -> type[StreamClient]:
    return STREAMS[request.param]


@pytest.mark.parametrize("name", CLIENTS)
async def test_all_carry_the_same(server: ServerProcess, name: str) -> None:
    async with CLIENTS[name](server.port) as client:
        await client.join()
        assert await client.call("echo", TRICKY, {"a": [1, None, 2.5]}) == (TRICKY, {"a": [1, None, 2.5]})
        await client.say('451-["echo back",{"_placeholder":true,"num":0}]', bytes(range(256)))
        assert await client.hear() == '451-["echo back",{"_placeholder":true,"num":0}]'
        assert await client.hear() == bytes(range(256))
        big = "마당" * 12_000
        assert await client.call("echo", big) == big
        await client.emit("burst", 1000)
        assert [await client.event("burst") for _ in range(1000)] == [[number] for number in range(1000)]
        await client.emit("call me", "question", 1)
        question = await client.hear()
        assert isinstance(question, str)
        number = question.removeprefix("42").partition("[")[0]
        assert question == f'42{number}["question",1]'
        await client.say(f'43{number}["answer"]')


async def test_head(server: ServerProcess, stream_class: type[StreamClient]) -> None:
    async with stream_class(server.port) as client:
        head = client.handshake
        assert head.header("cache-control") == "no-store, no-transform"
        assert head.header("x-accel-buffering") == "no"
        assert head.header("x-content-type-options") == "nosniff"
        assert head.header("content-length") is None
        assert head.header("content-encoding") is None
        assert client.opened["upgrades"] == ["websocket"]


async def test_each_packet_is_a_chunk_and_comes_at_once(
    server: ServerProcess, stream_class: type[StreamClient], watcher: WebSocketClient
) -> None:
    async with stream_class(server.port) as client:
        await client.join()
        for number in range(3):
            await watcher.emit("broadcast", "news", number)
            chunk = await asyncio.wait_for(client.chunk(), DEADLINE)
            assert client._take(chunk) == ([f'42["news",{number}]'], b"")


async def test_compression_is_not_tried(server: ServerProcess) -> None:
    async with SSEClient(server.port, headers={"Accept-Encoding": "gzip, br"}) as client:
        assert client.handshake.header("content-encoding") is None


async def test_http_1_0(server: ServerProcess) -> None:
    """As old proxies ask: the stream ends with the connection, and nothing is chunked."""
    async with Connection(server.port) as connection:
        connection.write(b"GET /socket.io/?EIO=4&transport=sse HTTP/1.0\r\nHost: x\r\n\r\n")
        head = await connection.reply(head=True)
        assert head.status == 200
        if (head.header("transfer-encoding") or "") == "chunked":
            pytest.skip("this server answers in chunks to those who don't know them")
        async with asyncio.timeout(DEADLINE):
            text = await connection.reader.readuntil(b"}\n\n")
        assert text.startswith(b": open\n\ndata: 0{")
        sid = json.loads(text.split(b"data: 0")[1])["sid"]
        reply = await request(server.port, "POST", f"/socket.io/?EIO=4&transport=sse&sid={sid}", "1")
        assert reply.text == "ok"
        assert (await connection.ended()).endswith(b"data: 6\n\n")


async def test_the_client_vanishes(
    server: ServerProcess, stream_class: type[StreamClient], watcher: WebSocketClient
) -> None:
    client = stream_class(server.port)
    await client.start()
    id_ = await client.join()
    assert await watcher.call("watch", id_) is True
    client.polls.reset()
    assert (await watcher.event("gone"))[:2] == [id_, "transport close"]
    await client.stop()


async def test_the_server_says_good_bye(server: ServerProcess, stream_class: type[StreamClient]) -> None:
    async with stream_class(server.port) as client:
        await client.join()
        await client.emit("server close")
        assert await client.hear() == "1"
        assert await client.chunk() == b""
        reply = await client.polls.ask("GET", client.target(sid=client.sid))
        assert (reply.status, reply.json()["message"]) == (400, "Session ID unknown")


async def test_a_second_stream_is_refused(server: ServerProcess, stream_class: type[StreamClient]) -> None:
    async with stream_class(server.port) as client:
        await client.join()
        reply = await request(server.port, "GET", client.target(sid=client.sid))
        assert reply.status == 400
        assert await client.hear() == "1"


async def test_the_connection_serves_on(server: ServerProcess, stream_class: type[StreamClient]) -> None:
    """A stream that has ended in good order leaves a connection for the next request."""
    async with stream_class(server.port) as client:
        await client.join()
        reply = await client.post("1")
        assert reply.text == "ok"
        with pytest.raises(AssertionError, match="status=400"):
            await client.hear()


@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "websocket"])
async def test_upgrade_under_way(server: ServerProcess, name: str) -> None:
    """To a WebSocket, while events come: none is lost, none comes twice."""
    async with CLIENTS[name](server.port) as client, WebSocketClient(server.port) as other:
        id_ = await client.join()
        await other.join()
        await client.call("join", f"room {id_}")
        sent = 0

        async def send() -> None:
            nonlocal sent
            while not done:
                await other.emit("in room", f"room {id_}", "numbered", sent)
                sent += 1
                await asyncio.sleep(0.002)

        done = False
        sender = asyncio.create_task(send())
        heard: list[int] = []
        while len(heard) < 5:
            heard.append((await client.event("numbered"))[0])
        async with WebSocketClient(server.port, sid=client.sid) as link:
            await link.say("2probe")
            assert await link.hear() == "3probe"
            # Whatever is still to come by the old way comes before the packet that ends its response.
            async for number in rest_of(client):
                heard.append(number)
            await link.say("5")
            while len(heard) < 50:
                heard.append((await link.event("numbered"))[0])
            done = True
            await sender
            while len(heard) < sent:
                heard.append((await link.event("numbered"))[0])
        assert heard == list(range(sent))


async def rest_of(client: Client) -> AsyncIterator[int]:
    """The numbers that still come by the old way, until the client may go: who polls just doesn't poll again."""
    assert isinstance(client, PollingClient)
    while client._frames or isinstance(client, StreamClient):
        while not client._frames:
            assert isinstance(client, StreamClient)
            frames, client._rest = client._take(client._rest + await client.chunk())
            client._frames.extend(frames)
        frame = client._frames.popleft()
        if frame == "6":
            return
        assert isinstance(frame, str)
        assert frame.startswith("42"), frame
        yield json.loads(frame[2:])[1]


async def test_short_polls_have_a_floor(server: ServerProcess) -> None:
    async with ShortPollingClient(server.port) as client:
        first, second = await client.poll(), await client.poll()
        assert (first.status, first.text) == (200, "6")
        assert (second.status, second.header("retry-after")) == (429, "1")
        await asyncio.sleep(0.2)
        await client.join()


async def test_who_does_not_read_is_cut(server: ServerProcess, watcher: WebSocketClient) -> None:
    """Nobody else is held up, and the memory that it takes has a bound."""
    async with SSEClient(server.port) as client:
        id_ = await client.join()
        await watcher.call("watch", id_)
        await client.call("join", "flooded")
        sock: sockets.socket = client.polls.writer.transport.get_extra_info("socket")
        sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        client.polls.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(400):
            await watcher.emit("to room", "flooded", "flood", "x" * 50_000)
        assert (await watcher.event("gone"))[:2] == [id_, "slow consumer"]
        assert await watcher.call("echo", 1) == 1
