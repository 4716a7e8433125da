"""A server inside the test's event loop, with the handlers that the tests of the client need."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from madang import Client, ConnectionRefused, Server, Socket
from madang.faces.uvicorn import serve_async
from support.fixtures import node

__all__ = ["node"]

#: Short delays, so that a test of reconnection need not wait.
QUICK = {
    "reconnection_delay_seconds": 0.05,
    "reconnection_delay_max_seconds": 0.2,
    "connect_timeout_seconds": 5.0,
    "short_poll_interval_seconds": 0.02,
}
WAYS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
    "shortpolling": ["shortpolling"],
    "sse": ["sse"],
    "multipart": ["multipart"],
    "sse upgrade": ["sse", "websocket"],
    "multipart upgrade": ["multipart", "websocket"],
    "shortpolling upgrade": ["shortpolling", "websocket"],
}
#: Those that all servers of Socket.IO speak.
OFFICIAL = ["polling", "websocket", "upgrade"]


def make(**settings: Any) -> Server:
    defaults = {"shutdown_timeout_seconds": 1, "transports": "all", "min_short_poll_seconds": 0.01}
    io = Server(**{**defaults, **settings})
    heard: list[Any] = []
    io.on("echo", lambda socket, *args: args)
    io.on("count", lambda socket, number: heard.append(number))
    io.on("counted", lambda socket: list(heard))
    io.on("who", lambda socket: {"auth": socket.handshake.auth, "headers": dict(socket.handshake.headers)})
    io.on("query", lambda socket: dict(socket.handshake.query))

    @io.on("ask me")
    async def ask_me(socket: Socket, event: str, *args: object) -> object:
        return await socket.call(event, *args, timeout=5)

    @io.on("slow")
    async def slow(socket: Socket, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @io.on("leave")
    def leave(socket: Socket) -> None:
        socket.disconnect()

    @io.on("say")
    def say(socket: Socket, event: str, *args: object) -> None:
        socket.emit(event, *args)

    private = io.of("/private")
    private.on("echo", lambda socket, *args: args)
    private.on("auth", lambda socket: socket.handshake.auth)

    @private.use
    async def authenticate(socket: Socket) -> None:
        if socket.handshake.auth.get("token") != "secret":
            raise ConnectionRefused("not authorised", {"code": 401})

    return io


class Place:
    """A server, its port, and clients of it that are closed at the end."""

    def __init__(self, io: Server, port: int) -> None:
        self.io = io
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @contextlib.asynccontextmanager
    async def client(self, way: str = "websocket", rest: str = "", **settings: Any) -> AsyncIterator[Client]:
        """A client; `rest` follows in the URL."""
        async with Client(self.url + rest, **{"transports": WAYS[way], **QUICK, **settings}) as client:
            yield client


@pytest.fixture
def place() -> Callable[..., Any]:
    @contextlib.asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[Place]:
        io = make(**settings)
        async with serve_async(io) as port:
            yield Place(io, port)

    return opened


@pytest.fixture(params=[*OFFICIAL, "sse", "multipart upgrade"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def until(condition: Callable[[], Any], seconds: float = 5) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
