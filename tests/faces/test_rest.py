"""A server that has nothing to do sleeps, wakes when it is to end, and leaves nothing for the garbage collector."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from faces.support.clients import PollingClient, WebSocketClient
from faces.support.http import Connection
from madang import Server
from madang.core.session import Session
from madang.faces.connection import HttpProtocol
from madang.faces.cycle import Cycle
from madang.faces.link import WebSocketLink
from madang.faces.uvicorn import UvicornServer, make_config, serve_async


class Noting(asyncio.SelectorEventLoop):
    """An event loop that notes what it is asked to do later."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[asyncio.TimerHandle] = []

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timer = super().call_at(when, callback, *args, **kwargs)
        self.timers.append(timer)
        return timer


async def started(**options: Any) -> tuple[UvicornServer, asyncio.Task[None]]:
    server = UvicornServer(make_config(Server(), port=0, log_level="warning", **options))
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done(), task.exception()
        await asyncio.sleep(0)
    return server, task


def test_a_server_without_clients_waits_for_no_time() -> None:
    async def run() -> None:
        server, task = await started()
        for _ in range(10):
            await asyncio.sleep(0)
        assert [timer for timer in loop.timers if not timer.cancelled()] == []
        server.should_exit = True
        await task

    with asyncio.Runner(loop_factory=Noting) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Noting)
        runner.run(run())


async def test_it_ends_when_another_thread_says_so() -> None:
    server, task = await started()

    def end() -> None:
        server.should_exit = True

    thread = threading.Thread(target=end)
    thread.start()
    await task
    thread.join()
    server.should_exit = True  # once more, when there is nothing left to wake
    assert server.should_exit


async def test_it_ends_when_that_was_said_before_it_waited() -> None:
    server = UvicornServer(make_config(Server(), port=0, log_level="warning"))
    server.should_exit = True
    await server.serve()
    assert server.started


@pytest.mark.parametrize("path", ["/socket.io/?EIO=4&transport=polling", "/elsewhere"])
async def test_the_date_is_that_of_the_response(path: str) -> None:
    server, task = await started(headers=[("x-house", "courtyard")])
    async with Connection(server.servers[0].sockets[0].getsockname()[1]) as connection:
        before = int(time.time())
        reply = await connection.ask("GET", path)
        assert before <= parsedate_to_datetime(str(reply.header("date"))).timestamp() <= time.time()
        assert reply.header("x-house") == "courtyard"
    server.should_exit = True
    await task


async def test_no_date_where_none_is_wanted() -> None:
    server, task = await started(date_header=False)
    async with Connection(server.servers[0].sockets[0].getsockname()[1]) as connection:
        assert (await connection.ask("GET", "/elsewhere")).header("date") is None
    server.should_exit = True
    await task


async def test_a_limit_of_requests_ends_it() -> None:
    server, task = await started(limit_max_requests=1)
    async with Connection(server.servers[0].sockets[0].getsockname()[1]) as connection:
        await connection.ask("GET", "/socket.io/?EIO=4&transport=polling")
    await task
    assert not server.should_exit


def alive() -> int:
    """How many objects there are of those that a client's connection is made of."""
    return sum(issubclass(type(one), HttpProtocol | WebSocketLink | Session | Cycle) for one in gc.get_objects())


async def test_what_clients_leave_behind_is_gone_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        others = alive()  # of other tests
        async with serve_async(io := Server(ping_interval_seconds=0.2, ping_timeout_seconds=0.2)) as port:
            async with WebSocketClient(port) as client:
                await client.join()
                assert alive() == others + 2  # a link and a session: what has answered the handshake is gone
            async with PollingClient(port) as poller:
                await poller.join()
            while io.engine.sessions:
                await asyncio.sleep(0.01)
        assert alive() == others
    finally:
        gc.enable()
