"""The application that clients of all generations meet at, written with the public API alone.

Serve it with `madang serve generations.support.meeting:app`. Settings may be given as JSON in `MADANG_TEST_CONFIG`.
"""

import asyncio
import json
import os

from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from madang import ConnectionRefused, Server, Socket

__all__ = ["app", "io"]

ROOM = "everybody"
#: For binary: some clients break down when they get any.
PICTURES = "pictures"

io = Server(**json.loads(os.environ.get("MADANG_TEST_CONFIG", "{}")))
#: How guests that have entered the room went.
reasons: dict[str, str] = {}


def whoami(socket: Socket) -> list[str]:
    return [socket.handshake.generation, socket.transport]


def query(socket: Socket, key: str) -> str | None:
    return socket.handshake.query.get(key)


def auth(socket: Socket) -> object:
    return socket.handshake.auth


def echo(socket: Socket, *args: object) -> tuple[object, ...]:
    return args


def echo_back(socket: Socket, *args: object) -> None:
    socket.emit("echo back", *args)


def message(socket: Socket, text: str) -> None:
    socket.send(text)


def count(socket: Socket, number: int, word: str) -> None:
    socket.data.setdefault("counted", []).append(number)


def counted(socket: Socket) -> list[int]:
    return socket.data["counted"]


def burst(socket: Socket, total: int) -> None:
    for number in range(total):
        socket.emit("number", number, "é😀")
    socket.emit("last")


def add(socket: Socket, a: float, b: float) -> tuple[float, str]:
    return a + b, "é"


async def question_me(socket: Socket, a: object, b: object) -> None:
    answer = await socket.call("question", a, b)
    socket.emit("answered", list(answer) if isinstance(answer, tuple) else [answer])


def where(socket: Socket) -> str:
    return socket.namespace.name


def join(socket: Socket, guest: str, pictures: bool) -> bool:
    socket.data["guest"] = guest
    socket.join(ROOM)
    if pictures:
        socket.join(PICTURES)
    return True


def say(socket: Socket, number: int, guest: str, words: str) -> None:
    io.of(socket.namespace.name).to(ROOM).emit("said", number, guest, words)


def show(socket: Socket, data: bytes) -> None:
    assert isinstance(data, bytes)
    io.of(socket.namespace.name).to(PICTURES).emit("shown", "bytes", data)


async def departed(socket: Socket, guest: str) -> str:
    while guest not in reasons:
        await asyncio.sleep(0.02)
    return reasons[guest]


def leave_me(socket: Socket) -> None:
    socket.disconnect()


def gone(socket: Socket, reason: str) -> None:
    if "guest" in socket.data:
        reasons[socket.data["guest"]] = reason
        if io.is_clustered:  # it may be asked of another server
            io.server_side_emit("departed", socket.data["guest"], reason)


@io.server_side_event("departed")
def departed_elsewhere(guest: str, reason: str) -> None:
    reasons[guest] = reason


EVENTS = {
    "whoami": whoami, "query": query, "auth": auth, "echo": echo, "echo back": echo_back, "message": message,
    "count": count, "counted": counted, "burst": burst, "sum": add, "question me": question_me, "where": where,
    "join": join, "say": say, "show": show, "departed": departed, "leave me": leave_me, "disconnect": gone,
}  # fmt: skip
for name in ("/", "/room"):
    for event, handler in EVENTS.items():
        io.on(event, handler, namespace=name)


@io.of("/closed").use
def closed(socket: Socket) -> None:
    raise ConnectionRefused("not you")


def page(request: object) -> HTMLResponse:
    return HTMLResponse("<!doctype html><title>a page</title>")


app = io.asgi(Starlette(routes=[Route("/", page)]))
