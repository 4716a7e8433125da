"""Pings, pongs, and clients that go silent. The server `hasty` pings every 0.3 s and waits 0.4 s."""

import itertools
import time
from collections.abc import AsyncIterator

import pytest

from faces.support.clients import KINDS, Client, PollingClient, WebSocketClient, unpack
from support.server import ServerProcess


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, hasty: ServerProcess) -> AsyncIterator[Client]:
    began = time.monotonic()
    async with KINDS[request.param](hasty.port) as client:
        client.began = began
        await client.join()
        yield client


async def reason_of(server: ServerProcess, client: Client) -> str:
    """Await the reason that the handlers were given; asked of somebody who answers all pings."""
    async with WebSocketClient(server.port) as watcher:
        await watcher.join()
        if await watcher.call("watch", client.id):
            return (await watcher.event("gone"))[1]
    line = next(line for line in server.log.splitlines() if line.startswith(f"gone {client.id} "))
    return line.removeprefix(f"gone {client.id} ")


async def test_who_answers_stays(hasty: ServerProcess, client: Client) -> None:
    with pytest.raises(TimeoutError):
        await client.hear(1.3)  # nothing but pings
    assert 3 <= client.pings <= 5
    if isinstance(client, PollingClient):
        assert (await client.post('42["count",1]')).text == "ok"
    else:
        assert await client.call("echo", "alive") == "alive"


async def test_a_ping_comes_some_time_after_each_pong(hasty: ServerProcess) -> None:
    async with WebSocketClient(hasty.port) as client:
        await client.join()
        times = []
        for _ in range(3):
            assert await client.ws.recv() == "2"
            times.append(time.monotonic())
            await client.say("3")
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(gap > 0.25 for gap in gaps), gaps


async def test_who_never_answers_goes(hasty: ServerProcess, client: Client) -> None:
    """Over a WebSocket the client reads, and is silent; over polling it never comes back."""
    began = client.began
    client.pongs = False
    if isinstance(client, WebSocketClient):
        assert await client.closed() == 1000
        assert time.monotonic() - began > 1.4
    assert await reason_of(hasty, client) == "ping timeout"


async def test_polls_alone_are_no_answer(hasty: ServerProcess) -> None:
    async with PollingClient(hasty.port) as client:
        await client.join()
        assert (await client.poll()).text == "2"
        client.begin_poll()
        assert (await client.end_poll()).text == "1"
        assert await reason_of(hasty, client) == "ping timeout"


async def test_who_sends_lives(hasty: ServerProcess) -> None:
    """A pong may wait behind a large upload: whatever comes is a sign of life."""
    async with WebSocketClient(hasty.port) as client:
        await client.join()
        client.pongs = False
        began = time.monotonic()
        while time.monotonic() - began < 2:
            assert await client.call("slow echo", 50, "alive") == "alive"


async def test_who_joins_nothing_goes(hasty: ServerProcess) -> None:
    """`connect_timeout_seconds` is 1 here."""
    async with WebSocketClient(hasty.port) as client:
        assert await client.closed(10) == 1000


async def test_who_joins_nothing_goes_over_polling_too(hasty: ServerProcess) -> None:
    async with PollingClient(hasty.port) as client:
        frames = []
        while frames[-1:] != ["1"]:
            frames += unpack((await client.poll()).text)
        assert set(frames[:-1]) <= {"2"}


async def test_pings_are_the_servers_to_send(hasty: ServerProcess) -> None:
    async with WebSocketClient(hasty.port) as client:
        await client.join()
        await client.say("2")
        assert await client.closed(10) == 1002
        assert await reason_of(hasty, client) == "parse error"
