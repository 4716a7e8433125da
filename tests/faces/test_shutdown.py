"""Ctrl-C and SIGTERM with clients of every kind: the process ends soon, and the handlers hear why."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from faces.conftest import TARGET
from faces.support.clients import PollingClient, WebSocketClient, unpack
from faces.support.http import Connection
from support.server import ServerProcess

CALM = {"ping_interval_seconds": 25, "ping_timeout_seconds": 20}
SECONDS = 4.0
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@contextlib.asynccontextmanager
async def serving(target: str = TARGET) -> AsyncIterator[ServerProcess]:
    with ServerProcess("uvicorn-fast", CALM, target) as server:
        yield server
        assert not server.tracebacks(), server.log


async def stop(server: ServerProcess, number: signal.Signals = signal.SIGTERM) -> float:
    """End the process while this event loop goes on; returns the seconds that it took."""
    return await asyncio.to_thread(server.stop, number)


def reasons(server: ServerProcess) -> dict[str, str]:
    """What the disconnect handlers were given, by the id of the socket."""
    lines = [line.split(" ", 2) for line in server.log.splitlines() if line.startswith("gone ")]
    return {id_: reason for _, id_, reason in lines}


@pytest.mark.parametrize("number", SIGNALS)
async def test_with_clients_of_each_kind(number: signal.Signals) -> None:
    async with (
        serving() as server,
        WebSocketClient(server.port) as ws,
        PollingClient(server.port) as waiting,
        PollingClient(server.port) as between,
        Connection(server.port) as idle,
    ):
        for client in (ws, waiting, between):
            await client.join()
        waiting.begin_poll()
        assert await ws.call("echo", "the poll was sent before") is not None
        assert await stop(server, number) < SECONDS
        assert await ws.closed() == 1000
        assert unpack((await waiting.end_poll()).text) == ["1"]
        assert await idle.ended() == b""
        assert reasons(server) == dict.fromkeys([ws.id, waiting.id, between.id], "server shutting down")


@pytest.mark.parametrize("number", SIGNALS)
async def test_who_is_between_two_polls_finds_the_farewell_with_the_next(number: signal.Signals) -> None:
    async with serving() as server, PollingClient(server.port) as client, WebSocketClient(server.port) as other:
        await client.join()
        await other.join()
        ended = asyncio.create_task(stop(server, number))
        assert await other.closed() == 1000  # the server sends its clients away now
        client.begin_poll()
        assert unpack((await client.end_poll()).text) == ["1"]
        assert await ended < SECONDS


async def test_with_a_websocket_that_never_answers_the_close() -> None:
    async with serving() as server, WebSocketClient(server.port) as client:
        await client.join()
        client.ws.transport.pause_reading()
        assert await stop(server) < SECONDS
        assert reasons(server) == {client.id: "server shutting down"}


async def test_with_a_websocket_that_is_full() -> None:
    async with serving() as server, WebSocketClient(server.port) as client:
        await client.join()
        client.ws.transport.pause_reading()
        for _ in range(7):
            await client.emit("echo back", "x" * 900_000)
        async with WebSocketClient(server.port) as other:
            await other.join()
            assert await stop(server) < SECONDS
            assert reasons(server) == dict.fromkeys([client.id, other.id], "server shutting down")


async def test_with_requests_that_are_not_whole() -> None:
    async with serving() as server, Connection(server.port) as head, PollingClient(server.port) as client:
        await client.join()
        head.write(b"GET /socket.io/?EIO=4")
        client.posts.send("POST", client.target(sid=client.sid), "42", {"Content-Length": "100"})
        await client.posts.writer.drain()
        async with WebSocketClient(server.port) as other:
            await other.join()
            assert await other.call("echo", "here") == "here"
            assert await stop(server) < SECONDS


async def test_with_a_probe_under_way() -> None:
    async with serving() as server, PollingClient(server.port) as client:
        await client.join()
        async with WebSocketClient(server.port, sid=client.sid) as probe:
            await probe.say("2probe")
            assert await probe.hear() == "3probe"
            assert await stop(server) < SECONDS
            assert reasons(server) == {client.id: "server shutting down"}


async def test_with_a_server_beside_it() -> None:
    """Two servers in one process: both have clients that wait."""
    async with (
        serving("faces.support.two:app") as server,
        PollingClient(server.port) as outer,
        PollingClient(server.port, path="/second/") as inner,
        WebSocketClient(server.port, path="/second/") as ws,
    ):
        for client in (outer, inner, ws):
            await client.join()
        outer.begin_poll()
        inner.begin_poll()
        assert await ws.call("name") == "second"
        assert await stop(server) < SECONDS
        assert reasons(server) == dict.fromkeys([outer.id, inner.id, ws.id], "server shutting down")


async def test_clients_come_back_after_a_restart() -> None:
    async with serving() as server:
        async with WebSocketClient(server.port) as client:
            await client.join()
            await asyncio.to_thread(server.restart)
            assert await client.closed() == 1000
            first = client.id
        async with WebSocketClient(server.port) as client, PollingClient(server.port) as old:
            assert await client.join() != first
            old.opened["sid"] = first
            assert (await old.poll()).json() == {"code": 1, "message": "Session ID unknown"}


# ---- the command line's errors ----


def madang(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "madang", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, **options)


@pytest.fixture
def modules(tmp_path: object) -> str:
    (tmp_path / "shop.py").write_text(
        "from madang import Server\nio = Server()\nnumber = 5\ntext = 'io'\nbroken = Server()\n\n"
        "@broken.on_start\ndef fail():\n    raise RuntimeError('no stock')\n"
    )
    (tmp_path / "needs.py").write_text("import no_such_library\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        ("shop", 2, "write MODULE:APP, as in shop:io"),
        ("nothing:io", 1, "there is no module 'nothing' here"),
        ("shop.nothing:io", 1, "there is no module 'shop.nothing' here"),
        ("shop:nothing", 1, "shop has no 'nothing'"),
        ("shop:io.nothing", 1, "shop has no 'io.nothing'"),
        ("shop:number", 1, "shop:number is 5, of type int"),
        ("shop:text", 1, "shop:text is 'io', of type str"),
        ("needs:io", 1, "No module named 'no_such_library'"),
    ],
)
def test_what_can_not_be_served(modules: str, target: str, code: int, words: str) -> None:
    done = madang("serve", target, "--app-dir", modules, "--port", "0")
    assert done.returncode == code, done
    assert words in done.stderr
    assert ("Traceback" in done.stderr) == target.startswith("needs")  # whose line the author wants to see


def test_a_start_function_that_fails(modules: str) -> None:
    done = madang("serve", "shop:broken", "--app-dir", modules, "--port", "0")
    assert done.returncode not in (0, 1)
    assert "RuntimeError: no stock" in done.stderr


async def test_a_port_in_use(modules: str) -> None:
    taken = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with taken:
        port = taken.sockets[0].getsockname()[1]
        done = await asyncio.to_thread(madang, "serve", "shop:io", "--app-dir", modules, "--port", str(port))
    assert done.returncode not in (0, None)
    assert "address already in use" in done.stderr
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_log_lines_of_ours_are_shown() -> None:
    """What a limit did to a client is told at the level that was asked for."""
    with ServerProcess("uvicorn-fast", CALM, TARGET) as server:
        server.stop()
        assert "Transport unknown" in server.log  # the probe that `start` sends is refused
        lines = [line for line in server.log.splitlines() if "Transport unknown" in line]
        assert lines[0].startswith("INFO")
