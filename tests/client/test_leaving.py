"""What is said, and what is left behind, when a client leaves early, late, or while the server reads nothing."""

import asyncio
import contextlib
import json
import time
from typing import Any

import pytest

from client.conftest import WAYS, until
from client.support.cable import Cable
from client.support.scripted import JOINED, OPEN, Scripted
from madang import Client, ConnectError, LimitError
from madang.rfc import ws

FAST = {"transports": ["websocket"], "connect_timeout_seconds": 1, "close_timeout_seconds": 1}


async def test_leaving_a_namespace_before_the_answer() -> None:
    """The answer comes late: the namespace is left again, and nobody hears of it."""
    dialer = Scripted(frames=[OPEN, JOINED])
    async with Client("http://server", dialer=dialer, **FAST) as client:
        other = client.of("/other")
        heard: list[Any] = []
        for event in ("connect", "disconnect", "connect_error", "early"):
            other.on(event, lambda *args, event=event: heard.append(event))
        link = dialer.links[0]
        other.disconnect()
        link.say('42/other,["early"]', '40/other,{"sid":"late"}')
        assert not other.connected
        assert heard == []
        assert link.written[-2:] == ["40/other,", "41/other,"]

        joining = asyncio.create_task(other.connect())
        await asyncio.sleep(0)
        other.disconnect()
        link.say('44/other,{"message":"too late"}')
        assert not other.connected
        assert heard == []
        with pytest.raises(ConnectError, match="disconnected by the client itself"):
            await joining


async def test_joining_again_before_the_answer() -> None:
    """The server is asked once, and one answer is enough; but one must come."""
    dialer = Scripted(frames=[OPEN, JOINED])
    async with Client("http://server", dialer=dialer, **{**FAST, "connect_timeout_seconds": 0.2}) as client:
        other = client.of("/other")
        other.disconnect()
        joining = asyncio.create_task(other.connect())
        await asyncio.sleep(0)
        dialer.links[0].say('40/other,{"sid":"x"}')
        await joining
        assert dialer.links[0].written.count("40/other,") == 1

        other.disconnect()
        other.start()
        other.disconnect()
        with pytest.raises(ConnectError, match="did not answer to joining /other"):
            await other.connect()
        assert dialer.links[0].written.count("40/other,") == 2


async def test_leaving_while_auth_is_made() -> None:
    made = asyncio.Event()

    async def auth() -> dict[str, str]:
        await made.wait()
        return {}

    dialer = Scripted(frames=[OPEN, JOINED])
    async with Client("http://server", dialer=dialer, **FAST) as client:
        other = client.of("/other", auth)
        other.disconnect()
        made.set()
        await asyncio.sleep(0.01)
        assert "40/other," not in dialer.links[0].written
        joining = asyncio.create_task(other.connect())
        await until(lambda: "40/other," in dialer.links[0].written)
        dialer.links[0].say('40/other,{"sid":"x"}')
        await joining


async def test_closing_while_auth_is_made() -> None:
    """It is not waited for."""
    ended: list[str] = []

    async def auth() -> dict[str, str]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")
        return {}

    client = Client("http://server", auth, dialer=Scripted(frames=[OPEN]), transports=["websocket"])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.connect()
    start = time.monotonic()
    await client.close()
    assert time.monotonic() - start < 4  # less than close_timeout_seconds
    assert ended == ["ended"]


async def test_leaving_when_all_is_full() -> None:
    """What waits for the server is as much as may wait: goodbye can be said nevertheless."""
    event = '42["x","' + "y" * 90 + '"]'
    dialer = Scripted(frames=[OPEN, JOINED])
    client = Client("http://server", dialer=dialer, max_buffered_bytes=len(event), **FAST)
    await client.connect()
    connection = client.manager.connection
    assert connection is not None
    connection.pause()
    client.emit("x", "y" * 90)
    with pytest.raises(LimitError):
        client.emit("x")
    client.disconnect()
    connection.resume()
    await client.close()
    assert dialer.links[0].written[-2:] == [event, "41"]


async def test_what_has_waited_is_sent_whole() -> None:
    """More waits for the connection than a slow server is given: it was accepted, so it is sent."""
    dialer = Scripted([OPEN.encode(), JOINED.encode()])
    client = Client("http://server", dialer=dialer, **{**FAST, "transports": ["polling"]}, max_buffered_bytes=500)
    for number in range(100):
        client.emit("number", number, "x" * 100)
    await client.connect()
    await client.drain()
    frames = [frame for post in dialer.posts for frame in post.decode().split("\x1e")]
    assert [json.loads(frame[2:])[1] for frame in frames if frame.startswith("42")] == list(range(100))
    await client.close()


async def test_many_that_are_too_large(caplog: pytest.LogCaptureFixture) -> None:
    """Each is given up by itself, and the next one has its turn."""
    dialer = Scripted(frames=[OPEN.replace("1000000", "100"), JOINED])
    client = Client("http://server", dialer=dialer, retries=1, **FAST)
    for _ in range(2000):
        client.emit("large", "x" * 200)
    client.emit("small")
    await client.connect()
    assert dialer.links[0].written[-1] == '420["small"]'
    assert caplog.text.count("is given up") == 2000
    dialer.links[0].say("430[]")
    await client.close()


async def test_pings_of_a_server_that_does_not_read() -> None:
    """One pong waits for it, not one for each."""
    dialer = Scripted(frames=[OPEN, JOINED])
    async with Client("http://server", dialer=dialer, **FAST) as client:
        connection, link = client.manager.connection, dialer.links[0]
        assert connection is not None
        for expected in (1, 2):
            connection.pause()
            client.emit("before")
            link.say(*["2"] * 1000)
            client.emit("after")
            connection.resume()
            assert link.written.count("3") == expected
        link.say("2", "2")
        assert link.written.count("3") == 4


async def test_websocket_pings_of_a_server_that_does_not_read() -> None:
    """What the client would have to say doesn't pile up."""
    done, over = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = head.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
        writer.write(ws.handshake_response(key) + ws.text_frame(OPEN))
        await reader.read(100)
        writer.write(ws.text_frame(JOINED))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        pings = ws.frame(ws.PING, b"x" * 125) * 1000
        with contextlib.suppress(OSError):
            for _ in range(160):
                writer.write(pings)
                await writer.drain()
            done.set()
            await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client(url, **{**FAST, "close_timeout_seconds": 0.1})
        await client.connect()
        async with asyncio.timeout(30):
            await done.wait()
        assert client.manager.connection is not None
        link: Any = client.manager.connection._link
        assert link._transport.get_write_buffer_size() < 500_000
        await client.close()
        over.set()


async def test_nothing_is_left_behind(place: Any, way: str) -> None:
    """The server has become silent: close waits as long as it may, and then no socket and no task is left."""
    async with place() as here, Cable(here.port) as cable:
        client = Client(cable.url, transports=WAYS[way], close_timeout_seconds=0.1)
        await client.connect()
        connection = client.manager.connection
        assert connection is not None
        if way == "upgrade":
            cable.silent = True  # the upgrade is on its way
        else:
            await client.call("echo", 1)
            cable.silent = True
        others = asyncio.all_tasks()
        await client.close()
        dialer: Any = client.manager._dialer
        assert all(link._transport.is_closing() and link._timer is None for link in dialer._links)
        assert connection.over
        assert asyncio.all_tasks() <= others
