"""WebSockets that reach another server of the machine than their session's: the connection itself goes there."""

import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from client.conftest import until
from faces.support.flash import CHALLENGE, PROOF, checked, head
from faces.support.http import DEADLINE, Connection
from madang import Server, Socket
from madang.cluster.broker import Broker
from madang.faces.handover import Handover
from madang.faces.link import WebSocketLink
from madang.faces.uvicorn import serve_async

Test = Callable[["Two"], Coroutine[Any, Any, None]]


class Two:
    """Two servers of one cluster, of which the first has the session."""

    def __init__(
        self, folder: Path, http: httpx.AsyncClient, owner: Server, entrance: Server, ports: list[int]
    ) -> None:
        self.folder = folder
        self.http = http
        self.owner, self.entrance = owner, entrance
        self.owner_port, self.entrance_port = ports

    async def open(self) -> str:
        url = f"http://127.0.0.1:{self.owner_port}/socket.io/?EIO=4&transport=polling"
        opened = await self.http.get(url)
        sid: str = json.loads(opened.text[1:])["sid"]
        await self.http.post(f"{url}&sid={sid}", content=b"40")
        await self.http.get(f"{url}&sid={sid}")
        return sid

    def link(self, sid: str, **more: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self.entrance_port}/socket.io/?EIO=4&transport=websocket&sid={sid}", **more)

    @contextlib.asynccontextmanager
    async def upgraded(self, **more: Any) -> AsyncIterator[tuple[Socket, ClientConnection]]:
        sid = await self.open()
        async with self.link(sid, **more) as ws:
            await ws.send("2probe")
            assert await ws.recv() == "3probe"
            await ws.send("5")
            session = self.owner.engine.sessions[sid]
            await until(lambda: session.transport.name == "websocket")
            yield session.sockets["/"], ws


@contextlib.asynccontextmanager
async def two(**settings: Any) -> AsyncIterator[Two]:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="madang-")))
        await stack.enter_async_context(Broker(folder))
        servers = []
        for _ in range(2):
            io = Server(cluster=f"local://{folder}", shutdown_timeout_seconds=1, **settings)
            io.on("echo", lambda socket, *args: args)
            servers.append(io)
        owner, entrance = servers
        ports = [await stack.enter_async_context(serve_async(io)) for io in servers]
        await until(lambda: len(owner.cluster.peers) == len(entrance.cluster.peers) == 1)
        # A connection that is kept may be ended just as it is used again.
        single = httpx.Limits(max_keepalive_connections=0)
        http = await stack.enter_async_context(httpx.AsyncClient(verify=False, limits=single))
        # Who never was asked for anything listens for no connections.
        await asyncio.gather(*[http.get(f"http://127.0.0.1:{port}/socket.io/") for port in ports])
        yield Two(folder, http, owner, entrance, ports)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Runs a test in an event loop of each kind."""

    def play(test: Test, **settings: Any) -> None:
        async def run() -> None:
            async with two(**settings) as servers:
                await test(servers)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(run())

    return play


def test_the_connection_goes_to_the_owner(play: Callable[..., None]) -> None:
    async def test(servers: Two) -> None:
        async with servers.upgraded() as (socket, ws):
            assert type(socket.session.direct) is WebSocketLink
            requests = servers.entrance.cluster.requests
            assert requests is not None
            assert requests.handed_over == 0
            await ws.send('420["echo","마당"]')
            assert await ws.recv() == '430["마당"]'
            large = "x" * 500_000
            await ws.send(f'421["echo","{large}"]')
            assert await ws.recv() == f'431["{large}"]'
            await asyncio.sleep(0.05)
            assert socket.connected
            assert socket.handshake.address == "127.0.0.1"
        await until(lambda: not servers.owner.engine.sessions)

    play(test)


def test_many_at_once(play: Callable[..., None]) -> None:
    """More than the kernel lets wait."""

    async def test(servers: Two) -> None:
        async with contextlib.AsyncExitStack() as stack:
            made = [stack.enter_async_context(servers.upgraded()) for _ in range(40)]
            for socket, ws in await asyncio.gather(*made):
                assert type(socket.session.direct) is WebSocketLink
                await ws.send('420["echo",1]')
                assert await ws.recv() == "430[1]"

    play(test)


def test_a_refusal_is_the_owners(play: Callable[..., None]) -> None:
    async def test(servers: Two) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with servers.link(servers.owner.engine.node + "x" * 16):
                pass
        assert refused.value.response.status_code == 400
        assert json.loads(refused.value.response.body)["message"] == "Session ID unknown"

    play(test)


def test_an_owner_that_takes_no_connections(play: Callable[..., None]) -> None:
    async def test(servers: Two) -> None:
        (servers.folder / f"{servers.owner.engine.node}.sock").unlink()
        async with servers.upgraded() as (socket, ws):
            await ws.send('420["echo",1]')
            assert await ws.recv() == "430[1]"
            requests = servers.entrance.cluster.requests
            assert requests is not None
            assert requests.open_here == 1
            assert socket.connected

    play(test)


async def test_a_draft_whose_handshake_is_not_over_with_the_head() -> None:
    async with two(transports="all", generations="all") as servers:
        opened = await servers.http.get(f"http://127.0.0.1:{servers.owner_port}/socket.io/1/")
        target = f"/socket.io/1/websocket/{opened.text.partition(':')[0]}"
        for cut in (0, 4, 8):
            async with Connection(servers.entrance_port) as connection:
                connection.write(head(servers.entrance_port, target) + CHALLENGE[:cut])
                await asyncio.sleep(0.02)
                connection.write(CHALLENGE[cut:])
                checked(await connection.reply(head=True), f"http://127.0.0.1:{servers.entrance_port}")
                async with asyncio.timeout(DEADLINE):
                    assert await connection.reader.readexactly(16) == PROOF
        requests = servers.entrance.cluster.requests
        assert requests is not None
        assert requests.handed_over == 0


async def test_nothing_is_left_in_the_directory() -> None:
    async with two() as servers:
        sockets = list(servers.folder.glob("*.sock"))
        assert len(sockets) == 2
        async with servers.upgraded():
            pass
        await servers.entrance.close()
        assert [path.exists() for path in sockets].count(True) == 1


async def test_compression_and_what_is_said_with_the_handshake() -> None:
    async with two(websocket_compression=True) as servers, servers.upgraded() as (socket, ws):
        assert "permessage-deflate" in ws.response.headers["Sec-WebSocket-Extensions"]
        socket.emit("news", "x" * 10_000)
        assert await ws.recv() == f'42["news","{"x" * 10_000}"]'


class Hold(asyncio.Protocol):
    """Keeps the connection that it gets."""

    def __init__(self, transports: list[asyncio.Transport]) -> None:
        self.transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transports.append(transport)


@contextlib.asynccontextmanager
async def connections(count: int) -> AsyncIterator[tuple[list[asyncio.Transport], list[asyncio.StreamReader]]]:
    """Some connections: our ends, and what reads at the clients' ends, in the same order."""
    transports: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(lambda: Hold(transports), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    readers = []
    writers = []
    for number in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        readers.append(reader)
        writers.append(writer)
        await until(lambda number=number: len(transports) > number)
    try:
        yield transports, readers
    finally:
        for writer in writers:
            writer.close()
        server.close()


async def test_more_than_the_kernel_lets_wait(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    taken: list[tuple[socket.socket, bytes]] = []
    owner = Handover(str(tmp_path), "aaaa", loop, lambda connection, data: taken.append((connection, data)))
    entrance = Handover(str(tmp_path), "bbbb", loop, lambda connection, data: connection.close())
    owner.open()
    entrance.open()
    async with connections(30) as (transports, readers):
        for number, transport in enumerate(transports):
            assert entrance.give("aaaa", transport, b"%d" % number)
        await until(lambda: len(taken) == 30)
        assert [data for _, data in taken] == [b"%d" % number for number in range(30)]
        for connection, data in taken:
            connection.sendall(b"hello " + data)
            connection.close()
        for number, reader in enumerate(readers):
            assert await reader.read() == b"hello %d" % number
    owner.close()
    entrance.close()
    assert list(tmp_path.iterdir()) == []


async def test_an_owner_that_ends_while_connections_wait_for_it(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    owner = Handover(str(tmp_path), "aaaa", loop, lambda connection, data: connection.close())
    entrance = Handover(str(tmp_path), "bbbb", loop, lambda connection, data: connection.close())
    owner.open()
    entrance.open()
    async with connections(31) as (transports, readers):
        last = transports.pop()
        for transport in transports:
            assert entrance.give("aaaa", transport, b"x")
        owner.close()
        for reader in readers[:30]:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert not entrance.give("aaaa", last, b"x")
        assert not last.is_closing()
        assert not entrance.give("cccc", last, b"x")  # of whom nobody has heard
    entrance.close()


async def test_what_a_killed_server_has_left_is_removed(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(tmp_path / "dead.sock"))
    (tmp_path / "note.sock").write_text("no socket")
    made = [
        Handover(str(tmp_path), node, loop, lambda connection, data: connection.close()) for node in ("aaaa", "bbbb")
    ]
    for one in made:
        one.open()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aaaa.sock", "bbbb.sock", "note.sock"]
    for one in made:
        one.close()
