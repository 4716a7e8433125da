"""Public types, as a program sees them: checked by mypy, never run."""

import asyncio
from datetime import datetime
from typing import Any, assert_type

from madang import (
    Ack,
    BlockingClient,
    Client,
    ClientConfig,
    ClientSocket,
    ConnectionRefused,
    Event,
    Namespace,
    RemoteSocket,
    Request,
    RequestRefused,
    ResponseHeaders,
    Server,
    Socket,
    Target,
)

io = Server(ping_interval_seconds=10)


@io.on("chat message")
async def chat_message(socket: Socket, text: str) -> dict[str, bool]:
    socket.broadcast.emit("chat message", text)
    assert_type(socket.id, str)
    assert_type(socket.rooms, frozenset[str])
    assert_type(socket.to("a").volatile, Target)
    assert_type(socket.call("x"), Ack)
    await socket.drain()
    return {"ok": True}


@io.use
def authenticate(socket: Socket) -> None:
    raise ConnectionRefused("no", {"code": 401})


class Admin(Namespace):
    def on_kick(self, socket: Socket, who: str) -> None:
        self.to(who).emit("kicked")


io.register(Admin("/admin"))
assert_type(io.of("/admin").sockets["x"], Socket)
# Decorators keep the function's own type.
authenticate(io.of("/").sockets["x"])


# What is declared is checked where it is sent.
@io.emits
def headline(title: str, at: datetime | None = None) -> None: ...


@io.of("/admin").emits(name="your name?")
def your_name(language: str) -> str:
    raise NotImplementedError


@io.emits(namespace="/admin")
def vote(options: list[str]) -> int:
    raise NotImplementedError


async def declared(socket: Socket) -> None:
    headline.emit(socket, "Courtyard opens", datetime.now())
    headline.emit(io, "Courtyard opens")
    headline.emit(io.to("news"), title="Courtyard opens")
    headline.emit(io.of("/news"), 5)  # type: ignore[arg-type]
    headline.emit(io)  # type: ignore[call-arg]
    assert_type(await vote.timeout(5).call(socket, ["yes", "no"]), int)
    assert_type(await vote.call(io.to("jury"), ["yes", "no"]), list[int])
    assert_type(await socket.call("q", returns=int), int)
    assert_type(await socket.call("q", 1, timeout=3, returns=list[str]), list[str])


# Many clients at once, namespaces by pattern, and what happens below them.
async def many() -> None:
    assert_type(await io.in_("a").fetch_sockets(), list[RemoteSocket])
    for one in await io.of("/room-{id}").fetch_sockets():
        one.join("b")
        assert_type(one.rooms, frozenset[str])
    assert_type(io.immediate, Target)
    assert_type(io.server_side_call("how many?"), Ack)


def is_open(name: str, auth: dict[str, object]) -> bool:
    return name == "/open"


assert_type(io.of(is_open), Namespace)


@io.room_event("join")
def joined(socket: Socket, room: str) -> None: ...


@io.server_side_event("how many?")
def how_many() -> int:
    return 1


@io.engine.on("headers")
def headers(headers: ResponseHeaders, request: Request) -> None:
    headers["X-Name"] = request.address


@io.engine.on("connection_error")
def refused(error: RequestRefused, request: Request) -> None:
    assert_type(error.code, int)


assert_type(how_many(), int)


async def client() -> None:
    async with Client("http://localhost", auth=lambda: {"token": "t"}, transports=["websocket"]) as client:

        @client.on("news")
        async def news(text: str) -> str:
            return text

        assert_type(client, Client)
        assert_type(await news("x"), str)
        client.emit("x", 1)
        client.volatile.emit("x")
        assert_type(client.call("x", timeout=5), asyncio.Future[Any])
        async for event in client.events("x"):
            assert_type(event, Event)
            assert_type(event.args, tuple[Any, ...])
        async with client.of("/admin") as admin:
            assert_type(admin, ClientSocket)


def script() -> None:
    with BlockingClient("http://localhost", config=ClientConfig(retries=3)) as client:
        assert_type(client, BlockingClient)
        assert_type(client.id, str | None)
        client.call("x")
        for event in client.events(timeout=1):
            assert_type(event, Event)
