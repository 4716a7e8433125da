"""The application that real clients talk to, written with the public API alone.

Each event is one thing that a scenario needs; the scenarios stand in `tests/clients` and `tests/browser`.
Settings may be given as JSON in the environment variable `MADANG_TEST_CONFIG`.

Serve it with `madang serve support.apps:app`, or `support.apps:app` under any ASGI server.
"""

import asyncio
import json
import os
import threading
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from madang import (
    AckTimeout,
    ConnectionRefused,
    Namespace,
    RequestRefused,
    ResponseHeaders,
    Server,
    Socket,
    ThreadsafeSocket,
)
from madang import Request as EngineRequest

CLIENT_BUILD = Path(__file__).parents[1] / "clients" / "node" / "node_modules" / "socket.io-client" / "dist"
SETTINGS = json.loads(os.environ.get("MADANG_TEST_CONFIG", "{}"))

io = Server(**SETTINGS)


def who(socket: Socket) -> dict[str, object]:
    """What the server knows about a client."""
    handshake = socket.handshake
    return {
        "id": socket.id,
        "namespace": socket.namespace if isinstance(socket.namespace, str) else socket.namespace.name,
        "transport": socket.transport,
        "first": handshake.query["transport"],
        "auth": handshake.auth,
        "query": dict(handshake.query),
        "marker": handshake.headers.get("x-marker"),
        "address": handshake.address,
        "secure": handshake.secure,
        "connected": socket.connected,
    }


# ---- a namespace in the class style ----


class Custom(Namespace):
    def on_connection(self, socket: Socket) -> None:
        socket.emit("welcome", who(socket))

    async def on_echo(self, socket: Socket, *args: object) -> tuple[object, ...]:
        return args

    def on_everyone(self, socket: Socket, event: str, *args: object) -> None:
        io.of("/custom").emit(event, *args)

    def on_leave_me(self, socket: Socket, close: bool) -> None:
        socket.disconnect(close)


io.register(Custom("/custom"))


# ---- the life of a connection: the room "watch:<id>" is told how the client with that id went ----


def disconnecting(socket: Socket, reason: str) -> None:
    socket.data["rooms"] = sorted(socket.rooms - {socket.id})


def gone(socket: Socket, reason: str) -> None:
    rooms = {"before": socket.data.get("rooms"), "after": sorted(socket.rooms), "connected": socket.connected}
    io.to(f"watch:{socket.id}").emit("gone", socket.id, reason, rooms)


for name in ("/", "/custom", "/private", "/slow"):
    io.on("disconnecting", disconnecting, namespace=name)
    io.on("disconnect", gone, namespace=name)


@io.on("connection")
async def connected(socket: Socket) -> None:
    seen: dict[str, list[object]] = {"in": [], "out": []}
    socket.data["any"] = seen
    socket.data["counted"] = []
    socket.on_any(lambda socket, event, *args: seen["in"].append(event))
    socket.on_any_outgoing(lambda socket, event, *args: seen["out"].append(event))


@io.on("watch")
def watch(socket: Socket, target: str) -> bool:
    socket.join(f"watch:{target}")
    return target in io.of("/").sockets


@io.on("who am i")
def who_am_i(socket: Socket) -> dict[str, object]:
    return who(socket)


@io.on("disconnect me")
async def disconnect_me(socket: Socket, close: bool) -> None:
    socket.disconnect(close)


# ---- events and acknowledgements ----


@io.event
def echo(socket: Socket, *args: object) -> tuple[object, ...]:
    return args


@io.on("echo back")
async def echo_back(socket: Socket, *args: object) -> None:
    socket.emit("echo back", *args)


@io.on("message")
def message(socket: Socket, *args: object) -> None:
    socket.send(*args)


@io.on("slow echo")
async def slow_echo(socket: Socket, milliseconds: int, value: object) -> object:
    await asyncio.sleep(milliseconds / 1000)
    return value


@io.on("call me")
async def call_me(socket: Socket, event: str, *args: object) -> dict[str, object]:
    answer = await socket.call(event, *args, timeout=10)
    if isinstance(answer, tuple):
        return {"several": list(answer)}
    return {"one": answer}


@io.on("call me in vain")
async def call_me_in_vain(socket: Socket, event: str) -> str:
    try:
        await socket.call(event, timeout=0.2)
    except AckTimeout:
        return "timeout"
    return "answered"


@io.on("in order", ordered=True)
async def in_order(socket: Socket, milliseconds: int, value: object) -> object:
    await asyncio.sleep(milliseconds / 1000)
    return value


@io.on("in a thread", thread=True)
def in_a_thread(socket: ThreadsafeSocket, event: str, value: object) -> list[object]:
    socket.emit(event, 1)
    socket.emit(event, 2)
    answer = socket.call("question", value).result(10)
    return [threading.current_thread() is not threading.main_thread(), answer]


@io.on("ask me each time")
async def ask_me_each_time(socket: Socket, number: int) -> object:
    return await socket.call("question", number, timeout=10)


@io.on("fail")
async def fail(socket: Socket, text: str) -> None:
    raise RuntimeError(text)


@io.on("volatile to me")
def volatile_to_me(socket: Socket, event: str, *args: object) -> None:
    socket.volatile.emit(event, *args)


@io.on("any")
def any_event(socket: Socket) -> dict[str, list[object]]:
    return socket.data["any"]


# ---- order ----


@io.on("count")
def count(socket: Socket, number: int) -> None:
    socket.data["counted"].append(number)


@io.on("counted")
def counted(socket: Socket) -> list[int]:
    return socket.data["counted"]


@io.on("flood")
async def flood(socket: Socket, total: int) -> int:
    for number in range(total):
        socket.emit("flood", number)
        if number % 10 == 9:
            await asyncio.sleep(0.001)
    return total


# ---- rooms and broadcasts ----


@io.event
def join(socket: Socket, *rooms: str) -> list[str]:
    socket.join(*rooms)
    return sorted(socket.rooms - {socket.id})


@io.event
def leave(socket: Socket, room: str) -> list[str]:
    socket.leave(room)
    return sorted(socket.rooms - {socket.id})


@io.on("to room")
async def to_room(socket: Socket, room: str, event: str, *args: object) -> None:
    socket.to(room).emit(event, *args)


@io.on("in room")
async def in_room(socket: Socket, room: str, event: str, *args: object) -> None:
    io.in_(room).emit(event, *args)


@io.on("except room")
def except_room(socket: Socket, room: str, without: str, event: str, *args: object) -> None:
    io.to(room).except_(without).emit(event, *args)


@io.on("broadcast")
def broadcast(socket: Socket, event: str, *args: object) -> None:
    socket.broadcast.emit(event, *args)


@io.on("everyone")
async def everyone(socket: Socket, event: str, *args: object) -> None:
    io.emit(event, *args)


@io.on("ask room")
async def ask_room(socket: Socket, room: str, event: str, *args: object) -> dict[str, object]:
    try:
        return {"replies": await io.to(room).timeout(5).call(event, *args)}
    except AckTimeout as error:
        return {"received": error.received}


@io.on("ask room in vain")
async def ask_room_in_vain(socket: Socket, room: str, event: str, *args: object) -> dict[str, object]:
    try:
        return {"replies": await io.to(room).timeout(0.3).call(event, *args)}
    except AckTimeout as error:
        return {"received": error.received}


# ---- namespaces ----


private = io.of("/private")


@private.use
async def authenticate(socket: Socket) -> None:
    await asyncio.sleep(0)
    if socket.handshake.auth.get("token") != "열려라 참깨":
        raise ConnectionRefused("not authorised", {"code": 401, "hint": "토큰"})


@private.on("who am i")
def who_am_i_in_private(socket: Socket) -> dict[str, object]:
    return who(socket)


slow = io.of("/slow")


@slow.use
async def hesitate(socket: Socket) -> None:
    await asyncio.sleep(0.05)


@slow.on("connection")
def welcome_late(socket: Socket) -> None:
    socket.emit("welcome", "late")


@slow.on("echo")
def echo_in_slow(socket: Socket, *args: object) -> tuple[object, ...]:
    return args


# ---- many at once ----


@io.on("manage")
async def manage(socket: Socket, room: str, without: str, deed: str, *args: str) -> list[dict[str, object]]:
    target = io.in_(room).except_(without)
    fetched = await target.fetch_sockets()
    if deed == "join":
        target.sockets_join(*args)
    elif deed == "leave":
        target.sockets_leave(*args)
    elif deed in ("disconnect", "close"):
        target.disconnect_sockets(close=deed == "close")
    return [
        {
            "id": one.id,
            "rooms": sorted(one.rooms - {one.id}),
            "marker": one.handshake.headers.get("x-marker"),
            "kept": "counted" in one.data,
        }
        for one in fetched
    ]


# ---- namespaces by pattern ----


houses = io.of("/house-{number:int}/{part}")


@houses.use
def keyholders(socket: Socket) -> None:
    if socket.handshake.auth.get("key") != socket.namespace.params["number"]:
        raise ConnectionRefused("the door is locked", {"number": socket.namespace.params["number"]})


@houses.on("where am i")
def where_am_i(socket: Socket) -> dict[str, object]:
    return {"name": socket.namespace.name, "params": dict(socket.namespace.params), "all": sorted(houses.children)}


@houses.on("call out")
def call_out(socket: Socket, event: str, far: bool) -> None:
    (houses if far else socket.namespace).emit(event, socket.namespace.name)


@houses.on("ask all")
async def ask_all(socket: Socket, question: str) -> list[object]:
    return sorted(await houses.call(question, timeout=5))


async def tenant(name: str, auth: dict[str, object]) -> dict[str, object] | bool:
    await asyncio.sleep(0.01)
    return {"tenant": auth["tenant"]} if name == f"/tenant {auth.get('tenant')}" else False


@io.of(tenant).on("who am i")
def which_tenant(socket: Socket) -> object:
    return socket.namespace.params["tenant"]


# ---- connections, below all namespaces ----


refusals: list[dict[str, object]] = []
cookies: dict[str, list[str]] = {}


@io.engine.on("connection_error")
def refused(error: RequestRefused, request: EngineRequest) -> None:
    marker = request.header("x-marker")
    if marker is not None:
        refusals.append({"marker": marker, "code": error.code, "message": error.message, "context": error.context})


@io.engine.on("initial_headers")
def first_headers(headers: ResponseHeaders, request: EngineRequest) -> None:
    if request.header("x-marker") is not None:
        headers.add("Set-Cookie", f"seat={request.header('x-marker')}; Path=/; HttpOnly")


@io.engine.on("headers")
def each_headers(headers: ResponseHeaders, request: EngineRequest) -> None:
    headers["X-Courtyard"] = "open"
    cookie = request.header("cookie")
    if cookie is not None:
        cookies.setdefault(request.query.get("sid", ""), []).append(cookie)


@io.on("refusals")
def tell_refusals(socket: Socket, marker: str) -> list[dict[str, object]]:
    return [one for one in refusals if one["marker"] == marker]


@io.on("cookies")
def tell_cookies(socket: Socket) -> list[str]:
    return sorted(set(cookies.get(socket.session.id, [])))


# ---- beside it: pages for browsers ----


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse("<!doctype html><meta charset=utf-8><title>Madang</title><body>Madang</body>")


pages = Starlette(routes=[Route("/", page), Mount("/client", StaticFiles(directory=CLIENT_BUILD, check_dir=False))])

app = io.asgi(pages)
