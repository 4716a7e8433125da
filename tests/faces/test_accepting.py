"""How connections are taken from listening sockets under uvloop, which `madang serve` uses where it is there."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from madang import Server
from madang.faces.connection import HttpProtocol
from madang.faces.uvicorn import UvicornServer, make_config

uvloop = pytest.importorskip("uvloop")

#: How many dial at once, and in how many turns of the event loop all of them are to be taken.
MANY = 64
TURNS = 16
DESCRIPTORS = Path("/proc/self/fd")

Dial = Callable[[], socket.socket]


@asynccontextmanager
async def running(sockets: list[socket.socket] | None = None, **options: Any) -> AsyncIterator[UvicornServer]:
    server = UvicornServer(make_config(Server(), log_level="warning", **options))
    task = asyncio.create_task(server.serve(sockets))
    try:
        while not server.started:
            assert not task.done(), task.exception()
            await asyncio.sleep(0)
        yield server
    finally:
        server.should_exit = True
        await task
        await asyncio.sleep(0)  # what was closed is given back in the turn after


def at_port(server: UvicornServer) -> Dial:
    port = server._main_port()
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=10)


def at_path(path: Path) -> Dial:
    def dial() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        try:
            made.connect(str(path))
        except OSError:
            made.close()
            raise
        return made

    return dial


async def turns_to_take(made: list[object], dial: Dial) -> int:
    """In how many turns all are taken that have dialled before the first of them."""
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(dial())
        turns = 0
        while len(made) < MANY:
            turns += 1
            assert turns < 10 * MANY
            await asyncio.sleep(0)
    return turns


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """All connections, as they come."""
    found: list[object] = []
    come = HttpProtocol.connection_made

    def noted(self: HttpProtocol, transport: Any) -> None:
        found.append(self)
        come(self, transport)

    monkeypatch.setattr(HttpProtocol, "connection_made", noted)
    return found


def test_several_are_taken_in_a_turn(made: list[object]) -> None:
    async def run() -> None:
        async with running(port=0) as server:
            assert await turns_to_take(made, at_port(server)) <= TURNS

    uvloop.run(run())


def test_several_are_taken_in_a_turn_at_the_path_of_a_file(made: list[object], tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "socket"
        async with running(uds=str(path)):
            assert await turns_to_take(made, at_path(path)) <= TURNS
        with pytest.raises(OSError, match=r"refused|No such file"):
            at_path(path)()

    uvloop.run(run())


def test_several_are_taken_in_a_turn_from_sockets_that_were_given(made: list[object]) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=MANY) as given:
            async with running([given]) as server:
                assert await turns_to_take(made, at_port(server)) <= TURNS

    uvloop.run(run())


def test_a_path_that_was_made_by_another_outlives_the_server(made: list[object], tmp_path: Path) -> None:
    """As that of workers does, and of a service manager that hands sockets over."""

    async def run() -> None:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as given:
            given.bind(str(path))
            given.listen(MANY)
            for _ in range(2):
                made.clear()
                async with running([given.dup()]):
                    assert await turns_to_take(made, at_path(path)) <= TURNS
                assert path.exists()

    uvloop.run(run())


def test_several_are_taken_in_a_turn_from_a_descriptor(made: list[object]) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=MANY) as given:
            port = given.getsockname()[1]
            async with running(fd=given.detach()):
                dial = partial(socket.create_connection, ("127.0.0.1", port), timeout=10)
                assert await turns_to_take(made, dial) <= TURNS

    uvloop.run(run())


def test_without_files_to_spare_it_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async def run() -> None:
        monkeypatch.setattr(os, "dup", no_more)
        async with running(port=0) as server:
            assert len(server.servers) == 1
            await asyncio.to_thread(_ask, server._main_port())

    uvloop.run(run())


def test_nobody_is_taken_any_more_once_it_has_ended() -> None:
    async def run() -> None:
        async with running(port=0) as server:
            dial = at_port(server)
            dial().close()
        with pytest.raises(ConnectionRefusedError):
            dial()

    uvloop.run(run())


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="the system doesn't list a process's files")
def test_its_sockets_are_given_back() -> None:
    async def run() -> list[int]:
        counts = []
        for _ in range(3):
            async with running(port=0) as server:
                at_port(server)().close()
            counts.append(len(os.listdir(DESCRIPTORS)))
        return counts

    first, *later = uvloop.run(run())
    assert later == [first, first]


def test_asyncio_needs_no_more_than_one_watcher() -> None:
    async def run() -> None:
        async with running(port=0) as server:
            assert len(server.servers) == 1

    asyncio.run(run())


def test_a_socket_that_outlives_a_server_is_heard_by_the_next() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=MANY) as lasting:
            for _ in range(2):
                async with running([lasting.dup()]) as server:
                    await asyncio.to_thread(_ask, server._main_port())
            socket.create_connection(lasting.getsockname(), timeout=10).close()

    uvloop.run(run())


def _ask(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
