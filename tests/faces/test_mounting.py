"""Beside and under other applications: FastAPI, Starlette, Django, Litestar, and bare ASGI."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from faces.support.clients import DEFAULTS, PollingClient, WebSocketClient, dial
from faces.support.http import request
from faces.support.inside import SERVING
from madang import Server, Socket

pytestmark = [
    # Litestar's and Django's own, on import
    pytest.mark.filterwarnings("ignore::DeprecationWarning:litestar"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:django"),
]


@pytest.fixture(params=SERVING)
def serving(request: pytest.FixtureRequest) -> Any:
    return SERVING[request.param]


def make(journal: list[str] | None = None, **settings: Any) -> Server:
    """A server that answers "who", and writes down its life."""
    io = Server(shutdown_timeout_seconds=2, **settings)
    journal = journal if journal is not None else []

    @io.on("who")
    def who(socket: Socket) -> dict[str, object]:
        handshake = socket.handshake
        return {"address": handshake.address, "secure": handshake.secure, "url": handshake.url.partition("?")[0]}

    @io.on("disconnect")
    def gone(socket: Socket, reason: str) -> None:
        journal.append(f"gone: {reason}")

    io.on_start(lambda: journal.append("io starts"))
    io.on_stop(lambda: journal.append("io stops"))
    return io


# ---- the other applications: each has a page /hello and a WebSocket /ws that answers in capitals ----


def starlette(journal: list[str]) -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route, WebSocketRoute

    async def hello(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello from starlette")

    async def shout(ws: Any) -> None:
        await ws.accept()
        await ws.send_text((await ws.receive_text()).upper())
        await ws.close()

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        journal.append("other starts")
        yield
        journal.append("other stops")

    return Starlette(routes=[Route("/hello", hello), WebSocketRoute("/ws", shout)], lifespan=lifespan)


def fastapi(journal: list[str]) -> Any:
    from fastapi import FastAPI, WebSocket
    from fastapi.responses import PlainTextResponse

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        journal.append("other starts")
        yield
        journal.append("other stops")

    app = FastAPI(lifespan=lifespan)

    @app.get("/hello", response_class=PlainTextResponse)
    async def hello() -> str:
        return "hello from fastapi"

    async def shout(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text((await ws.receive_text()).upper())
        await ws.close()

    app.add_api_websocket_route("/ws", shout)
    return app


def litestar(journal: list[str], *more: Any) -> Any:
    from litestar import Litestar, MediaType, WebSocket, get, websocket

    @get("/hello", media_type=MediaType.TEXT)
    async def hello() -> str:
        return "hello from litestar"

    @websocket("/ws")
    async def shout(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text((await socket.receive_text()).upper())
        await socket.close()

    hello.fn.__annotations__["return"] = str
    return Litestar(
        route_handlers=[hello, shout, *more],
        on_startup=[lambda: journal.append("other starts")],
        on_shutdown=[lambda: journal.append("other stops")],
        openapi_config=None,
    )


def django(journal: list[str]) -> Any:
    """Django knows neither lifespan nor WebSockets: it raises for both."""
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    if not settings.configured:
        import types

        import django as package

        async def hello(request: Any) -> HttpResponse:
            return HttpResponse("hello from django")

        urls = types.ModuleType("urls_of_the_test")
        urls.urlpatterns = [path("hello", hello)]
        settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50, MIDDLEWARE=[])
        package.setup(set_prefix=False)
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


APPLICATIONS = {"starlette": starlette, "fastapi": fastapi, "litestar": litestar, "django": django}


async def check_clients(port: int, path: str = "/socket.io/", *, under_litestar: bool = False) -> None:
    """Both transports work, each from its handshake on, and an upgrade does."""
    for kind in DEFAULTS.values():
        async with kind(port, path=path) as client:
            await client.join()
            # Litestar takes the path off that it has found an application by
            assert (await client.call("who"))["url"].endswith(path) or under_litestar
    async with PollingClient(port, path=path) as client:
        await client.join()
        async with WebSocketClient(port, path=path, sid=client.sid) as better:
            await better.say("2probe")
            assert await better.hear() == "3probe"
            await better.say("5")
            assert (await better.call("who"))["address"]


async def check_other(port: int, name: str, prefix: str = "") -> None:
    """The other application goes on as before."""
    reply = await request(port, "GET", f"{prefix}/hello")
    assert (reply.status, reply.text) == (200, f"hello from {name}")
    assert (await request(port, "GET", f"{prefix}/nothing")).status == 404
    if name != "django":
        async with dial(port, f"{prefix}/ws") as ws:
            await ws.send("shout")
            assert await asyncio.wait_for(ws.recv(), 5) == "SHOUT"


@pytest.mark.parametrize("name", APPLICATIONS)
async def test_beside(serving: Any, name: str) -> None:
    journal: list[str] = []
    app = make(journal).asgi(APPLICATIONS[name](journal))
    async with serving(app) as port:
        await check_clients(port)
        await check_other(port, name)
        async with WebSocketClient(port) as client:
            await client.join()
            journal.clear() if name == "django" else None
        started = list(journal)
    if name == "django":
        assert journal[-1] == "io stops"
        assert journal.count("io stops") == 1
    else:
        assert started[:2] == ["io starts", "other starts"]
        assert journal[-2:] == ["io stops", "other stops"]
        assert len([line for line in journal if not line.startswith("gone")]) == 4


@pytest.mark.parametrize("name", ["starlette", "fastapi"])
async def test_under(serving: Any, name: str) -> None:
    journal: list[str] = []
    app = APPLICATIONS[name](journal)
    app.mount("/socket.io", make(journal).asgi())
    async with serving(app) as port:
        await check_clients(port)
        await check_other(port, name)
    assert [line for line in journal if line.startswith("other")] == ["other starts", "other stops"]


@pytest.mark.parametrize("name", ["starlette", "fastapi"])
async def test_under_another_path(serving: Any, name: str) -> None:
    """What is mounted decides: the setting `path` need not be repeated."""
    app = APPLICATIONS[name]([])
    app.mount("/live", make().asgi())
    async with serving(app) as port:
        await check_clients(port, "/live/socket.io/")
        await check_clients(port, "/live/")


async def test_under_litestar(serving: Any) -> None:
    from litestar import asgi
    from litestar.types import Receive, Scope, Send

    face = make().asgi()

    @asgi("/socket.io", is_mount=True, copy_scope=True)
    async def live(scope: Scope, receive: Receive, send: Send) -> None:
        await face(scope, receive, send)

    async with serving(litestar([], live)) as port:
        await check_clients(port, under_litestar=True)
        await check_other(port, "litestar")


async def test_a_life_cycle_of_its_own_when_mounted() -> None:
    """A mounted application gets no lifespan: `async with io` in that of the other one does it."""
    journal: list[str] = []
    io = make(journal)
    from starlette.applications import Starlette
    from starlette.routing import Mount

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with io:
            yield

    app = Starlette(routes=[Mount("/socket.io", io.asgi())], lifespan=lifespan)
    async with SERVING["portable"](app) as port, PollingClient(port) as client:
        await client.join()
    assert journal == ["io starts", "gone: server shutting down", "io stops"]


# ---- the lifespan of others ----


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Knows nothing of a lifespan, and returns."""


async def raising(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"


async def asking_first(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise ValueError("no lifespan here")


@pytest.mark.parametrize("other", [silent, raising, asking_first, None])
async def test_others_without_a_lifespan(serving: Any, other: Any) -> None:
    journal: list[str] = []
    async with serving(make(journal).asgi(other)) as port, PollingClient(port) as client:
        await client.join()
        assert journal == ["io starts"]
    assert journal[0] == "io starts"
    assert journal[-1] == "io stops"
    assert len(journal) == 3


async def test_the_other_one_fails_to_start() -> None:
    """Then we don't stay started either."""
    journal: list[str] = []

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    face = make(journal).asgi(failing)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    await face({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup.failed", "message": "no database"}]
    assert journal == ["io starts", "io stops"]


async def test_we_fail_to_start() -> None:
    """Whatever the other application makes of it, the server must not go on."""
    io = make()

    @io.on_start
    async def fail() -> None:
        raise RuntimeError("no stock")

    async def trusting(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    for other in (None, trusting, asking_first, silent):
        with pytest.raises(RuntimeError, match="no stock"):
            await io.asgi(other)({"type": "lifespan"}, receive, send)
        await io.close()


async def test_two_servers_beside_each_other(serving: Any) -> None:
    journal: list[str] = []
    outer, inner = make(journal), make(journal, path="/second")
    async with serving(outer.asgi(inner.asgi(starlette(journal)))) as port:
        await check_clients(port)
        await check_clients(port, "/second/")
        await check_other(port, "starlette")
        async with WebSocketClient(port) as one, WebSocketClient(port, path="/second/") as two:
            await one.join()
            await two.join()
            assert one.id in outer.sockets.keys() - inner.sockets.keys()
            assert two.id in inner.sockets.keys() - outer.sockets.keys()
    assert [line for line in journal if not line.startswith("gone")] == [
        *("io starts", "io starts", "other starts"),
        *("io stops", "io stops", "other stops"),
    ]


# ---- paths ----


@pytest.mark.parametrize("path", ["/live", "/live/", "/a/b/c/"])
async def test_another_path(serving: Any, path: str) -> None:
    async with serving(make(path=path)) as port:
        await check_clients(port, path)
        await check_clients(port, path.rstrip("/"))
        reply = await request(port, "GET", "/socket.io/?EIO=4&transport=polling")
        assert reply.status == 404
        assert f"{path.rstrip('/')}/" in reply.text
        with pytest.raises(InvalidStatus) as refused:
            async with dial(port, "/socket.io/?EIO=4&transport=websocket"):
                pass
        assert refused.value.response.status_code in (403, 404)


async def test_a_root_path_that_the_proxy_takes_off(serving: Any) -> None:
    async with serving(make().asgi(starlette([])), root_path="/api") as port:
        for kind in DEFAULTS.values():
            async with kind(port) as client:
                await client.join()
                assert (await client.call("who"))["url"] == "/api/socket.io/"
        assert (await request(port, "GET", "/hello")).status == 200


async def test_an_encoded_path(serving: Any) -> None:
    async with serving(make(path="/실시간/").asgi()) as port:
        for kind in DEFAULTS.values():
            async with kind(port, path="/%EC%8B%A4%EC%8B%9C%EA%B0%84/") as client:
                await client.join()
                assert (await client.call("who"))["url"] == "/%EC%8B%A4%EC%8B%9C%EA%B0%84/"  # as it was asked for
