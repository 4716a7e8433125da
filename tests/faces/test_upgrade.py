"""From polling to WebSocket, under traffic, and the ways in which it can fail."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosed

from faces.support.clients import Frame, PollingClient, WebSocketClient, dial, unpack
from support.server import ServerProcess


@pytest.fixture
async def polling(server: ServerProcess) -> AsyncIterator[PollingClient]:
    async with PollingClient(server.port) as client:
        await client.join()
        yield client


@contextlib.asynccontextmanager
async def upgraded(client: PollingClient) -> AsyncIterator[tuple[WebSocketClient, list[Frame]]]:
    """A client moved to a WebSocket, as the official client does, and what the last poll brought."""
    client.begin_poll()
    async with WebSocketClient(client.port, sid=client.sid) as better:
        better.opened = client.opened
        await better.say("2probe")
        assert await better.hear() == "3probe"
        last = unpack((await client.end_poll()).text)
        await better.say("5")
        yield better, [frame for frame in last if frame != "6"]


async def test_upgrade(server: ServerProcess, polling: PollingClient) -> None:
    assert (await polling.call("who am i"))["transport"] == "polling"
    async with upgraded(polling) as (better, late):
        assert late == []
        who = await better.call("who am i")
        assert (who["id"], who["transport"], who["first"]) == (polling.id, "websocket", "polling")
        reply = await polling.poll()
        assert (reply.status, reply.json()) == (400, {"code": 3, "message": "Bad request"})


async def test_a_waiting_poll_is_let_go(server: ServerProcess, polling: PollingClient) -> None:
    polling.begin_poll()
    async with dial(server.port, polling.target("websocket", sid=polling.sid)) as probe:
        await probe.send("2probe")
        assert await probe.recv() == "3probe"
        assert (await polling.end_poll()).text == "6"
        # until the client has decided, polls are answered at once
        assert (await polling.poll()).text == "6"


async def test_under_traffic(server: ServerProcess, polling: PollingClient) -> None:
    """Both sides talk all the while; nothing is lost, doubled or out of order."""
    total = 400
    heard: list[int] = []

    def take(frames: list[Frame]) -> None:
        for frame in frames:
            assert isinstance(frame, str)
            if frame.startswith('42["flood",'):
                heard.append(int(frame[11:-1]))

    await polling.emit("flood", total)
    for number in range(50):
        await polling.emit("count", number)
    while len(heard) < 20:
        take(unpack((await polling.poll()).text))
    async with upgraded(polling) as (better, late):
        take(late)
        for number in range(50, 100):
            await better.emit("count", number)
        while len(heard) < total:
            take([await better.hear()])
        assert heard == list(range(total))
        assert await better.call("counted") == list(range(100))


async def test_packets_that_wait_come_over_the_new_transport(server: ServerProcess, polling: PollingClient) -> None:
    probe = WebSocketClient(server.port, sid=polling.sid)
    async with probe:
        await probe.say("2probe")
        assert await probe.hear() == "3probe"
        await polling.emit("burst", 10)
        await probe.say("5")
        assert [await probe.event("burst") for _ in range(10)] == [[number] for number in range(10)]


async def test_binary_after_an_upgrade(server: ServerProcess, polling: PollingClient) -> None:
    async with upgraded(polling) as (better, _):
        head = '451-["echo back",{"_placeholder":true,"num":0}]'
        await better.say(head, b"\x00\xff")
        assert [await better.hear(), await better.hear()] == [head, b"\x00\xff"]


@pytest.mark.parametrize("first", ["2", "2prob", '42["count",1]', "nonsense", b"2probe"])
async def test_a_bad_probe_leaves_the_session_as_it_was(
    server: ServerProcess, polling: PollingClient, first: Frame
) -> None:
    async with dial(server.port, polling.target("websocket", sid=polling.sid)) as probe:
        await probe.send(first)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(probe.recv(), 5)
        assert await polling.call("echo", "still polling") == "still polling"
        async with upgraded(polling) as (better, _):
            assert await better.call("counted") == []


async def test_a_probe_that_breaks_leaves_the_session_as_it_was(server: ServerProcess, polling: PollingClient) -> None:
    probe = WebSocketClient(server.port, sid=polling.sid)
    await probe.start()
    await probe.say("2probe")
    assert await probe.hear() == "3probe"
    probe.reset()
    await probe.ws.wait_closed()
    assert await polling.call("echo", "still polling") == "still polling"


async def test_a_second_probe_meanwhile(server: ServerProcess, polling: PollingClient) -> None:
    async with dial(server.port, polling.target("websocket", sid=polling.sid)) as probe:
        await probe.send("2probe")
        assert await probe.recv() == "3probe"
        async with dial(server.port, polling.target("websocket", sid=polling.sid)) as second:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(second.recv(), 5)
            await probe.send("5")
            await probe.send('42["echo back","the first one"]')
            assert await probe.recv() == '42["echo back","the first one"]'


async def test_a_probe_that_never_decides(server: ServerProcess, polling: PollingClient) -> None:
    """`upgrade_timeout_seconds` is 1 here."""
    async with dial(server.port, polling.target("websocket", sid=polling.sid)) as probe:
        await probe.send("2probe")
        assert await probe.recv() == "3probe"
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(probe.recv(), 5)
        assert await polling.call("echo", "still polling") == "still polling"


async def test_the_session_ends_during_the_upgrade(server: ServerProcess, polling: PollingClient) -> None:
    async with dial(server.port, polling.target("websocket", sid=polling.sid)) as probe:
        await probe.send("2probe")
        assert await probe.recv() == "3probe"
        await polling.say("1")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(probe.recv(), 5)
