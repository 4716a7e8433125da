"""Clients that ask and don't read: what was written for them must not stay for ever, nor hold up the server's end."""

import asyncio
import socket as sockets
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any

import pytest
import uvloop

from faces.support.http import DEADLINE
from madang import Server
from madang.core.session import Session
from madang.errors import Reason
from madang.faces.uvicorn import serve_async
from madang.packet import Encoded

#: More than the kernel takes for a connection.
MUCH = 12_000_000
STREAM = "EIO=4&transport=sse"


class Deaf:
    """A connection whose client sends, and reads only when it is told to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = sockets.socket()
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        self.socket.setblocking(False)

    async def ask(self, *queries: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", self.port))
        for query in queries:
            head = f"GET /socket.io/?{query} HTTP/1.1\r\nHost: x\r\n\r\n"
            await loop.sock_sendall(self.socket, head.encode())

    async def read_all(self) -> bytes:
        """What comes until the connection ends."""
        data = bytearray()
        with self.socket:
            while True:
                try:
                    part = await asyncio.get_running_loop().sock_recv(self.socket, 1_000_000)
                except ConnectionError:
                    return bytes(data)
                if not part:
                    return bytes(data)
                data += part


async def session_of(io: Server) -> Session:
    async with asyncio.timeout(DEADLINE):
        while not io.engine.sessions:
            await asyncio.sleep(0.01)
    [session] = io.engine.sessions.values()
    return session


def server() -> Server:
    return Server(
        transports="all",
        ping_interval_seconds=1,
        ping_timeout_seconds=0.5,
        request_timeout_seconds=0.5,
        max_payload_bytes=2 * MUCH,
        max_packet_bytes=2 * MUCH,
        max_buffered_bytes=2 * MUCH,
        max_stream_bytes=2 * MUCH,
        http_compression_threshold_bytes=None,
    )


@pytest.mark.parametrize("kind", ["stream", "poll", "pipelined"])
async def test_what_nobody_reads_is_cut_off(kind: str) -> None:
    io = server()
    async with serve_async(io, timeout_keep_alive=1) as port:
        deaf = Deaf(port)
        if kind == "stream":
            await deaf.ask(STREAM)
            session = await session_of(io)
            session.push(Encoded(("4" + "x" * MUCH,)))
            session.close(Reason.SERVER_DISCONNECT)
        else:
            opener = Deaf(port)
            await opener.ask("EIO=4&transport=polling")
            session = await session_of(io)
            session.push(Encoded(("4" + "x" * MUCH,)))
            again = f"EIO=4&transport=polling&sid={session.id}"
            await deaf.ask(again, *(["EIO=4&transport=nonsense"] * 50 if kind == "pipelined" else []))
            opener.socket.close()
        await asyncio.sleep(4)
        async with asyncio.timeout(DEADLINE):
            data = await deaf.read_all()
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(data) < MUCH, "the server has kept it"


UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def with_uvloop(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(main)


@pytest.mark.parametrize("run", [asyncio.run, with_uvloop], ids=["asyncio", "uvloop"])
def test_a_websocket_that_is_half_closed_and_not_read_is_cut_off(run: Callable[[Any], None]) -> None:
    async def main() -> None:
        io = server()
        async with serve_async(io) as port:
            deaf = Deaf(port)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf.socket, ("127.0.0.1", port))
            await loop.sock_sendall(deaf.socket, UPGRADE)
            session = await session_of(io)
            session.push(Encoded(("4" + "x" * MUCH,)))
            await asyncio.sleep(0.1)
            deaf.socket.shutdown(sockets.SHUT_WR)
            await asyncio.sleep(6)  # the ping timeout, and how long a close may take behind it
            assert io.engine.sessions == {}
            async with asyncio.timeout(DEADLINE):
                data = await deaf.read_all()
            assert data.startswith(b"HTTP/1.1 101 ")
            assert len(data) < MUCH, "the server has kept it"

    run(main())


async def much(scope: Any, receive: Any, send: Any) -> None:
    """An application beside ours that has much to say."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % MUCH)]})
    await send({"type": "http.response.body", "body": b"x" * MUCH})


async def test_no_websocket_is_opened_behind_what_nobody_reads() -> None:
    """Its link would never be told that it is full."""
    io = server()
    async with serve_async(io.asgi(much), timeout_keep_alive=1) as port:
        deaf = Deaf(port)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf.socket, ("127.0.0.1", port))
        await loop.sock_sendall(deaf.socket, b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.5)
        await loop.sock_sendall(deaf.socket, UPGRADE)
        await asyncio.sleep(0.5)
        assert io.engine.sessions == {}
        await asyncio.sleep(4)
        async with asyncio.timeout(DEADLINE):
            data = await deaf.read_all()
        assert data.startswith(b"HTTP/1.1 200 ")
        assert b"101 Switching" not in data
        assert len(data) < MUCH, "the server has kept it"


async def test_who_reads_slowly_gets_it_all() -> None:
    io = server()
    async with serve_async(io, timeout_keep_alive=1) as port:
        deaf = Deaf(port)
        await deaf.ask(STREAM)
        session = await session_of(io)
        session.push(Encoded(("4" + "x" * MUCH,)))
        session.close(Reason.SERVER_DISCONNECT)
        loop = asyncio.get_running_loop()
        taken = 0
        for part in range(1, 7):  # in all it takes longer than a pause may
            while taken < part * 1_500_000:
                taken += len(await loop.sock_recv(deaf.socket, 65_536))
            await asyncio.sleep(0.4)
        async with asyncio.timeout(DEADLINE):
            rest = await deaf.read_all()
        assert taken + len(rest) > MUCH
        assert rest.endswith(b"data: 1\n\n\r\n0\r\n\r\n")


async def test_the_server_ends_all_the_same() -> None:
    io = server()
    async with asyncio.timeout(DEADLINE):
        async with serve_async(io) as port:
            deaf = Deaf(port)
            await deaf.ask(STREAM)
            session = await session_of(io)
            session.push(Encoded(("4" + "x" * MUCH,)))
            await asyncio.sleep(0.1)
        deaf.socket.close()
        assert io.engine.sessions == {}


@pytest.mark.parametrize("reason", [Reason.SLOW_CONSUMER, Reason.PING_TIMEOUT])
async def test_the_portable_face_holds_no_task(reason: str) -> None:
    """There the server's flow control waits for as long as the client likes."""
    io = server()
    asked = False
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.get_running_loop().create_future()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if len(message.get("body", b"")) > 10_000:
            await asyncio.get_running_loop().create_future()

    scope = {"type": "http", "method": "GET", "path": "/socket.io/", "query_string": STREAM.encode(), "headers": []}
    task = asyncio.create_task(io.asgi()(scope, receive, send))
    session = await session_of(io)
    session.push(Encoded(("4" + "x" * MUCH,)))
    session.push(Encoded(("4" + "x" * MUCH,)))
    await asyncio.sleep(0.01)
    session.close(reason, discard=True)
    await asyncio.wait_for(task, DEADLINE)
    assert [len(message.get("body", b"")) > MUCH for message in sent] == [False, False, False, True]
    assert io.engine._parked == 0


async def test_a_request_that_never_gets_whole_behind_a_stream() -> None:
    """It costs the connection, but no answer stands in the middle of the stream."""
    io = server()
    async with serve_async(io) as port:
        client = Deaf(port)
        await client.ask(STREAM)
        await session_of(io)
        await asyncio.get_running_loop().sock_sendall(client.socket, b"GET /socket.io/")
        await asyncio.get_running_loop().sock_sendall(client.socket, b" HTTP/1.1\r\nContent-Length: 5\r\n\r\n1")
        async with asyncio.timeout(DEADLINE):
            data = await client.read_all()
        assert data.count(b"HTTP/1.1") == 1
        assert b"408" not in data
