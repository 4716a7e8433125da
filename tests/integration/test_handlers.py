"""Handlers that fail, wait or block, other threads, order under load, and lives after the first."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from faces.support.clients import DEFAULTS, PollingClient, WebSocketClient, unpack
from faces.support.http import request
from faces.support.inside import SERVING
from integration.conftest import bystander
from madang import Server, WrongThreadError
from madang.faces.uvicorn import serve_async

House = Callable[..., Any]


# ---- handlers ----


async def test_handlers_that_fail(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async with house() as house, bystander(house), WebSocketClient(house.port) as client:

        @house.io.on("fail")
        def fail(socket: Any) -> None:
            raise ValueError("in def")

        @house.io.on("fail later")
        async def fail_later(socket: Any) -> None:
            await asyncio.sleep(0)
            raise ValueError("in async def")

        @house.io.on("two")
        def two(socket: Any, one: object, other: object) -> str:
            return "both"

        @house.io.on("unsendable")
        def unsendable(socket: Any) -> object:
            return object()

        await client.join()
        for event in ("fail", "fail later", "unsendable"):
            await client.say(f'421["{event}"]')
            assert await client.call("echo", "next") == "next"
            assert house.logged(f"handler of '{event}'", client.id)
        errors = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
        assert "in def" in errors
        assert "in async def" in errors

        await client.emit("two", 1)
        assert await client.call("echo", "next") == "next"
        assert house.logged("'two' of Socket", "arguments[1]: The argument is missing")
        assert await client.call("two", 1, 2) == "both"
        assert await client.call("two", 1, 2, 3) == "both"
        assert client.id not in house.reasons


async def test_a_connection_handler_that_fails(house: House) -> None:
    async with house() as house:

        @house.io.on("connection")
        def fail(socket: Any) -> None:
            raise ValueError("not today")

        async with WebSocketClient(house.port) as client:
            await client.join()
            assert await client.call("echo", "here") == "here"
        assert house.logged("handler of 'connection'")


async def test_a_disconnect_handler_that_fails(house: House) -> None:
    async with house() as house:

        @house.io.on("disconnecting")
        def fail(socket: Any, reason: str) -> None:
            raise ValueError("don't go")

        async with WebSocketClient(house.port) as client:
            await client.join()
        assert await house.reason(client.id) == "transport close"
        assert not house.io.sockets


async def test_a_handler_that_waits_for_ever(house: House) -> None:
    cancelled = asyncio.Event()
    async with house(shutdown_timeout_seconds=0.2) as house:

        @house.io.on("wait")
        async def wait(socket: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with bystander(house), WebSocketClient(house.port) as client:
            await client.join()
            await client.emit("wait")
            assert await client.call("echo", "others go on") == "others go on"
    assert cancelled.is_set()
    assert house.logged("still ran at the end and was cancelled")


async def test_a_handler_that_blocks_delays_and_loses_nothing(house: House) -> None:
    release = threading.Event()
    async with house() as house, WebSocketClient(house.port) as client, WebSocketClient(house.port) as other:

        @house.io.on("block")
        def block(socket: Any) -> bool:
            return release.wait(5)

        await client.join()
        await other.join()
        threading.Timer(0.3, release.set).start()
        await other.ws.send('427["echo","waited"]')
        assert await client.call("block") is True
        assert await other.hear() == '437["waited"]'
        assert not house.reasons


# ---- threads ----


async def test_another_thread(house: House) -> None:
    async with house() as house, WebSocketClient(house.port) as client:
        await client.join()
        socket = house.io.sockets[client.id]

        def wrong(function: Callable[..., Any], *args: Any) -> str:
            with pytest.raises(WrongThreadError) as error:
                function(*args)
            return str(error.value)

        for function, *args in (
            (house.io.emit, "tick", 1),
            (house.io.to("room").emit, "tick", 1),
            (socket.emit, "tick", 1),
            (socket.join, "room"),
            (socket.leave, "room"),
            (socket.disconnect,),
        ):
            told = await asyncio.to_thread(wrong, function, *args)
            assert "io.threadsafe.emit(event" in told
        await asyncio.to_thread(house.io.threadsafe.emit, "tick", 42)
        assert await client.event("tick") == [42]


# ---- order ----


async def test_order_over_an_upgrade_under_load(house: House) -> None:
    """5,000 events from each side while the client moves from polling to a WebSocket."""
    total = 5000
    async with house() as house, PollingClient(house.port) as client:
        counted: list[int] = []
        house.io.on("count", lambda socket, number: counted.append(number))
        await client.join()
        socket = house.io.sockets[client.id]

        async def talk() -> None:
            for number in range(total):
                socket.emit("tick", number)
                if number % 20 == 19:
                    await asyncio.sleep(0)

        heard: list[int] = []

        def take(frames: list[Any]) -> None:
            heard.extend(int(frame[10:-1]) for frame in frames if frame.startswith('42["tick",'))

        talking = asyncio.create_task(talk())
        for number in range(0, 1000, 100):
            await client.say(*(f'42["count",{number + index}]' for index in range(100)))
        while len(heard) < 100:
            take(unpack((await client.poll()).text))
        async with WebSocketClient(house.port, sid=client.sid) as better:
            client.begin_poll()
            await better.say("2probe")
            assert await better.hear() == "3probe"
            take(unpack((await client.end_poll()).text))
            await better.say("5")
            for number in range(1000, total):
                await better.ws.send(f'42["count",{number}]')
            while len(heard) < total:
                take([await better.hear()])
            assert heard == list(range(total))
            assert await better.call("echo", "end") == "end"
            assert counted == list(range(total))
            await talking


async def test_order_of_a_burst_to_many(house: House) -> None:
    async with house() as house, contextlib.AsyncExitStack() as stack:
        clients: list[Any] = []
        for kind in [*DEFAULTS.values()] * 4:
            clients.append(await stack.enter_async_context(kind(house.port)))
            await clients[-1].join()
        for number in range(1000):
            house.io.emit("tick", number)
        for client in clients:
            assert [(await client.event("tick"))[0] for _ in range(1000)] == list(range(1000))


# ---- clients that fall silent ----

SCRIPT = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], ping_interval=None, proxy=None) as ws:
    ws.recv()
    ws.send("40")
    while True:
        if ws.recv() == "2":
            ws.send("3")
"""


async def test_a_client_that_is_frozen(house: House) -> None:
    """Its connection stays open, and nothing comes."""
    joined: asyncio.Queue[str] = asyncio.Queue()
    async with house(ping_interval_seconds=0.3, ping_timeout_seconds=0.4) as house:
        house.io.on("connection", lambda socket: joined.put_nowait(socket.id))
        url = f"ws://127.0.0.1:{house.port}/socket.io/?EIO=4&transport=websocket"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT, url, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            id_ = await asyncio.wait_for(joined.get(), 10)
            with pytest.raises(TimeoutError):
                await house.reason(id_, 1.2)  # it answers
            os.kill(process.pid, signal.SIGSTOP)
            assert await house.reason(id_, 3) == "ping timeout"
        finally:
            process.kill()
            await process.wait()


# ---- lives after the first ----


async def test_a_server_that_starts_again(serving: Any) -> None:
    """In the same process: handlers stay, clients come back, and hearts beat."""
    journal: list[str] = []
    io = Server(ping_interval_seconds=0.2, ping_timeout_seconds=0.3)
    io.on_start(lambda: journal.append("start"))
    io.on_stop(lambda: journal.append("stop"))
    io.on("disconnect", lambda socket, reason: journal.append(reason))
    io.on("echo", lambda socket, *args: args)
    for _ in range(3):
        journal.clear()
        async with serving(io) as port:
            async with WebSocketClient(port) as client:
                await client.join()
                with pytest.raises(TimeoutError):
                    await client.hear(0.7)
                assert client.pings >= 2
                assert await client.call("echo", "again") == "again"
                await client.say("1")
                await client.closed()
            async with PollingClient(port) as client, WebSocketClient(port) as other:
                await client.join()
                await other.join()
                other.pongs = False
                assert await client.call("echo", "again") == "again"
                await other.closed()
        assert journal[0] == "start"
        assert journal[1] == "transport close"
        assert "ping timeout" in journal
        assert journal[-1] == "stop"


async def test_close_without_a_face(house: House) -> None:
    """`await io.close()` while the listener stays: clients go, new ones are refused, and `start` opens again."""
    async with house() as house, WebSocketClient(house.port) as client, PollingClient(house.port) as polling:
        await client.join()
        await polling.join()
        polling.begin_poll()
        assert (await polling.post('42["echo"]')).text == "ok"
        await house.io.close()
        assert await client.closed() == 1000
        assert (await polling.end_poll()).text == "1"
        assert set(house.reasons.values()) == {"server shutting down"}
        reply = await request(house.port, "GET", "/socket.io/?EIO=4&transport=polling")
        assert reply.status == 503
        with pytest.raises(InvalidStatus, match="503"):
            async with WebSocketClient(house.port):
                pass
        assert house.logged("Server is full", "shutting down")
        await house.io.start()
        async with WebSocketClient(house.port) as again:
            await again.join()


def test_a_server_in_one_event_loop_after_the_other() -> None:
    """As tests of applications do it."""
    io = Server(ping_interval_seconds=0.2, ping_timeout_seconds=5)

    async def once() -> None:
        async with serve_async(io) as port, WebSocketClient(port) as client:
            await client.join()
            with pytest.raises(TimeoutError):
                await client.hear(0.5)
            assert client.pings >= 1

    for _ in range(2):
        asyncio.run(once())


async def test_closing_from_a_handler() -> None:
    """A handler that closes the server does not wait for itself."""
    io = Server(shutdown_timeout_seconds=20)
    done = asyncio.Event()

    @io.on("stop")
    async def stop(socket: Any) -> None:
        await io.close()
        done.set()

    async with SERVING["fast"](io) as port, WebSocketClient(port) as client:
        await client.join()
        await client.emit("stop")
        await asyncio.wait_for(done.wait(), 5)
