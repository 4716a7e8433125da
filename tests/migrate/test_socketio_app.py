"""`ASGIApp`: paths, files, other applications, the lifespan; and what only ours does."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio as original
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from madang import Client, RemoteProtocolError, WrongThreadError
from madang.errors import ConnectError
from madang.faces.asgi import ASGIFace
from madang.faces.uvicorn import serve_async
from madang.migrate import socketio
from madang.testing import running
from migrate.stage import OURS, Stage, plain


def over(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def hello(request: Any) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def handshakes(client: httpx.AsyncClient, path: str) -> bool:
    answer = await client.get(f"{path}?EIO=4&transport=polling")
    return answer.status_code == 200 and answer.text.startswith("0{")


# ---- paths ----


@pytest.mark.parametrize(
    ("given", "path"),
    [("socket.io", "/socket.io/"), ("/live/", "/live/"), ("/a/b", "/a/b/"), ("", "/any/"), (None, "/"), ("/", "/x")],
)
async def test_paths(given: str | None, path: str) -> None:
    app = socketio.ASGIApp(socketio.AsyncServer(), socketio_path=given)
    assert isinstance(app, ASGIFace)  # so that `madang serve` takes the fast way
    async with over(app) as client:
        assert await handshakes(client, path)
        if (given or "").strip("/"):
            assert await handshakes(client, path.rstrip("/"))
            assert (await client.get("/other")).status_code == 404


@pytest.mark.parametrize("serve", [serve_async, plain])
@pytest.mark.parametrize(
    ("mount", "given", "client_path"),
    [
        ("/", "socket.io", "socket.io"),
        ("/ws", "socket.io", "ws/socket.io"),
        ("/ws", "/ws/socket.io", "ws/socket.io"),
        ("/ws", "", "ws"),
        ("/ws/socket.io", None, "ws/socket.io"),
    ],
)
async def test_mounted_under_a_framework(serve: Any, mount: str, given: str | None, client_path: str) -> None:
    sio = socketio.AsyncServer()

    @sio.event
    async def add(sid: str, a: int, b: int) -> int:
        return a + b

    app = Starlette(routes=[Route("/hello", hello), Mount(mount, socketio.ASGIApp(sio, socketio_path=given))])
    async with serve(app) as port, httpx.AsyncClient() as http:
        assert (await http.get(f"http://127.0.0.1:{port}/hello")).text == "hello"
        client = original.AsyncClient(reconnection=False)
        await client.connect(f"http://127.0.0.1:{port}", socketio_path=client_path, transports=["websocket"])
        assert await client.call("add", (1, 2)) == 3
        await client.disconnect()
        await sio.shutdown()


# ---- files ----


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "public" / "deep").mkdir(parents=True)
    for name, text in {
        "index.html": "<p>index",
        "start.html": "<p>start",
        "style.css": "p {}",
        "app.js": "1",
        "data.unknown": "?",
        "deep/index.html": "<p>deep",
        "deep/start.html": "<p>deep start",
    }.items():
        (tmp_path / "public" / name).write_text(text)
    return tmp_path


FILES: dict[str, Any] = {
    "/": "public/index.html",
    "/static": "public",
    "/slash/": "public/",
    "/typed": {"filename": "public/data.unknown", "content_type": "text/x-own"},
    "/dict": {"filename": "public/"},
    "/missing": "public/missing.html",
}


@pytest.mark.parametrize("module", [original, socketio], ids=["python-socketio", "ours"])
@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        ("/", "<p>index", "text/html"),
        ("/static/style.css", "p {}", "text/css"),
        ("/static/app.js", "1", "javascript"),
        ("/static/deep/index.html", "<p>deep", "text/html"),
        ("/static/", "<p>index", "text/html"),
        ("/slash/style.css", "p {}", "text/css"),
        ("/slash/", "<p>index", "text/html"),
        ("/slash/deep/", "<p>deep", "text/html"),
        ("/typed", "?", "text/x-own"),
        ("/dict/style.css", "p {}", "text/css"),
        ("/static/missing.css", None, ""),
        ("/missing", None, ""),
        ("/nothing", None, ""),
        ("/static/%2e%2e/secret.txt", None, ""),
        ("/static/..%2fsecret.txt", None, ""),
    ],
)
async def test_static_files(module: Any, public: Path, path: str, text: str | None, kind: str) -> None:
    async with over(module.ASGIApp(module.AsyncServer(async_mode="asgi"), static_files=FILES)) as client:
        answer = await client.get(path)
    if text is None:
        assert (answer.status_code, answer.text) == (404, "Not Found")
    else:
        assert (answer.status_code, answer.text) == (200, text)
        assert kind in answer.headers["content-type"]


@pytest.mark.parametrize("module", [original, socketio], ids=["python-socketio", "ours"])
async def test_the_file_of_a_folder_may_have_another_name(module: Any, public: Path) -> None:
    for name in ("start.html", {"filename": "start.html", "content_type": "text/html"}):
        app = module.ASGIApp(module.AsyncServer(async_mode="asgi"), static_files={"/static": "public", "": name})
        async with over(app) as client:
            assert (await client.get("/static/")).text == "<p>start"
            assert (await client.get("/static/deep/")).text == "<p>deep start"


@pytest.mark.parametrize("path", ["/static/../secret.txt", "/static/..\\secret.txt", "/static/a\0b", "/static/deep"])
async def test_no_way_out_of_the_folder(public: Path, path: str) -> None:
    app = socketio.ASGIApp(socketio.AsyncServer(), static_files={"/static": "public"})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    await app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    assert sent[0]["status"] == 404


async def test_files_go_before_the_other_application(public: Path) -> None:
    other = Starlette(routes=[Route("/", hello), Route("/hello", hello)])
    async with over(socketio.ASGIApp(socketio.AsyncServer(), other, static_files={"/": "public/"})) as client:
        assert (await client.get("/")).text == "<p>index"
        assert (await client.get("/hello")).text == "hello"


# ---- other applications, and the lifespan ----


@pytest.mark.parametrize("stage", OURS)
async def test_websockets_of_the_other_application(stage: str) -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    async with Stage(stage) as one:
        url = await one.serve(one.server(), Starlette(routes=[WebSocketRoute("/echo", echo)]))
        from websockets.asyncio.client import connect

        async with connect(url.replace("http", "ws") + "/echo") as link:
            await link.send("hi")
            assert await link.recv() == "hi"
        with pytest.raises(Exception, match="403"):
            await connect(url.replace("http", "ws") + "/none")


class Lifespan:
    """A server's side of the lifespan."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def __aenter__(self) -> "Lifespan":
        self.task = asyncio.create_task(self.app({"type": "lifespan"}, self.messages.get, self.answers.put))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.task

    async def say(self, step: str) -> str:
        await self.messages.put({"type": f"lifespan.{step}"})
        return str((await self.answers.get())["type"])


def noting(notes: list[str]) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> Any:
        notes.append("other starts")
        yield
        notes.append("other ends")

    return Starlette(lifespan=lifespan)


async def test_the_lifespan_is_the_other_application_s() -> None:
    notes: list[str] = []
    sio = socketio.AsyncServer()
    async with Lifespan(socketio.ASGIApp(sio, noting(notes))) as life:
        assert await life.say("startup") == "lifespan.startup.complete"
        assert sio.io.started
        assert await life.say("shutdown") == "lifespan.shutdown.complete"
    assert notes == ["other starts", "other ends"]
    assert not sio.io.started


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_functions_of_the_lifespan_go_in_its_place(kind: str) -> None:
    notes: list[str] = []

    def hook(word: str) -> Any:
        async def later() -> None:
            notes.append(word)

        return later if kind == "async" else lambda: notes.append(word)

    app = socketio.ASGIApp(socketio.AsyncServer(), noting(notes), on_startup=hook("starts"), on_shutdown=hook("ends"))
    async with Lifespan(app) as life:
        assert await life.say("startup") == "lifespan.startup.complete"
        assert await life.say("shutdown") == "lifespan.shutdown.complete"
    assert notes == ["starts", "ends"]


async def test_a_lifespan_without_anything() -> None:
    async with Lifespan(socketio.ASGIApp(socketio.AsyncServer())) as life:
        assert await life.say("startup") == "lifespan.startup.complete"
        assert await life.say("shutdown") == "lifespan.shutdown.complete"


@pytest.mark.parametrize("step", ["startup", "shutdown"])
async def test_a_function_of_the_lifespan_that_fails(step: str) -> None:
    def fail() -> None:
        raise RuntimeError("deliberate")

    app = socketio.ASGIApp(socketio.AsyncServer(), **{f"on_{step}": fail})
    async with Lifespan(app) as life:
        if step == "shutdown":
            assert await life.say("startup") == "lifespan.startup.complete"
        assert await life.say(step) == f"lifespan.{step}.failed"


# ---- what only ours does ----


@pytest.mark.parametrize("stage", OURS)
async def test_our_own_api_beside_it(stage: str) -> None:
    async with Stage(stage) as one:
        sio = one.server()

        @sio.on("*")
        def rest(event: str, sid: str) -> str:
            return f"rest {event}"

        @sio.io.on("own")
        def own(socket: Any, value: int = 0) -> tuple[str, int]:
            socket.emit("direct", value)
            return "own", value

        heard: list[Any] = []
        sio.io.on("connection", lambda socket: heard.append(sio.rooms(socket.id)))
        await one.serve(sio)
        client = await one.client("one")
        assert list(await client.call("own", 5)) == ["own", 5]
        assert await client.call("other") == "rest other"
        assert await client.call("*") == "rest *"
        assert heard == [[client.get_sid()]]
        await one.quiet()
        assert ("/", "direct", 5) in one.heard["one"]


@pytest.mark.parametrize("stage", OURS)
async def test_too_few_arguments_are_the_client_s_fault_and_too_many_are_cut(stage: str, caplog: Any) -> None:
    async with Stage(stage) as one:
        sio = one.server()

        @sio.event
        def two(sid: str, a: int, b: int) -> int:
            return a + b

        class Chat(socketio.AsyncNamespace):
            async def on_two(self, sid: str, a: int, b: int) -> int:
                return a + b

        sio.register_namespace(Chat("/chat"))
        await one.serve(sio)
        client = await one.client("one", namespaces=["/", "/chat"])
        for namespace in ("/", "/chat"):
            assert await client.call("two", (1, 2, 3), namespace=namespace) == 3
            await client.emit("two", 1, namespace=namespace)
            assert await client.call("two", (1, 2), namespace=namespace) == 3
    lines = [record.getMessage() for record in caplog.records if "needs 3 arguments" in record.getMessage()]
    assert len(lines) == 2
    assert "the client sent 1" in lines[0]
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("stage", OURS)
async def test_connect_takes_as_many_arguments_as_its_function(stage: str) -> None:
    """In python-socketio a client that sends `auth` can't come in where the handler takes two arguments."""
    async with Stage(stage) as one:
        sio = one.server()
        sio.on("connect", lambda sid, environ: one.say("two"))
        sio.on("connect", lambda sid: one.say("one"), namespace="/chat")
        await one.serve(sio)
        await one.client("first", auth={"a": 1})
        await one.client("second", "/chat", auth={"a": 1})
        assert one.said == [("two",), ("one",)]


@pytest.mark.parametrize("stage", OURS)
async def test_a_connect_handler_that_fails_turns_the_client_away(stage: str, caplog: Any) -> None:
    """In python-socketio the client is never answered."""
    async with Stage(stage) as one:
        sio = one.server()

        @sio.event
        async def connect(sid: str, environ: Any) -> None:
            raise RuntimeError("deliberate")

        await one.serve(sio)
        await one.client("one")
        assert ("/", "connect_error", {"message": "Internal server error"}) in one.heard["one"]
        assert list(sio.manager.get_namespaces()) == []
        await one.quiet()
        assert sio.rooms("x") == []


@pytest.mark.parametrize("stage", OURS)
async def test_a_namespace_that_nobody_serves(stage: str) -> None:
    async with Stage(stage) as one:
        sio = one.server(namespaces=["/only"])
        await one.serve(sio)
        await one.client("main")
        assert one.heard["main"][0] == ("/", "connect_error", {"message": "Unable to connect"})
        await one.client("only", "/only")
        assert one.heard["only"] == [("/only", "connect")]
        await one.client("nowhere", "/nowhere")
        assert one.heard["nowhere"][0][:2] == ("/nowhere", "connect_error")


@pytest.mark.parametrize("stage", OURS)
async def test_call_does_not_wait_for_who_is_gone(stage: str) -> None:
    async with Stage(stage) as one:
        sio = one.server()
        await one.serve(sio)
        client = await one.client("one")

        async def leave() -> None:
            await one.quiet()
            await client.disconnect()

        gone = asyncio.create_task(leave())
        never = asyncio.Event()
        client.on("silence", never.wait)
        with pytest.raises(socketio.exceptions.TimeoutError, match="disconnect"):
            await sio.call("silence", to=client.get_sid(), timeout=30)
        await gone
        with pytest.raises(socketio.exceptions.TimeoutError, match="no client"):
            await sio.call("silence", to="unknown", timeout=30)
        never.set()


@pytest.mark.parametrize("stage", OURS)
async def test_call_to_a_room_gives_the_first_answer(stage: str) -> None:
    async with Stage(stage) as one:
        sio = one.server()
        await one.serve(sio)
        for name in ("one", "two"):
            client = await one.client(name)
            await sio.enter_room(client.get_sid(), "hall")
        assert await sio.call("question", 5, to="hall", timeout=5) == 5
        never = asyncio.Event()
        for client in one.clients.values():
            client.on("silence", never.wait)
        with pytest.raises(socketio.exceptions.TimeoutError, match=r"0\.05 s"):
            await sio.call("silence", to="hall", timeout=0.05)
        never.set()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_what_middleware_puts_into_the_scope_is_in_the_environ(transport: str) -> None:
    async with Stage("uvicorn") as one:
        sio = one.server(ping_interval=0.3, ping_timeout=0.3)
        sio.on("connect", lambda sid, environ: one.say(environ["asgi.scope"]["user"], environ["asgi.scope"]["path"]))
        inner = socketio.ASGIApp(sio)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await inner({**scope, "user": "Ada"}, receive, send)

        await one.serve_app(app)
        await one.client("one", transports=[transport])
        assert one.said == [("Ada", "/socket.io/")]


@pytest.mark.parametrize("stage", OURS)
async def test_emit_from_another_thread_is_an_error(stage: str) -> None:
    async with Stage(stage) as one:
        sio = one.server()
        await one.serve(sio)
        await one.client("one")
        with pytest.raises(WrongThreadError, match="another thread"):
            await asyncio.to_thread(asyncio.run, sio.emit("news"))


async def test_a_server_may_move_to_another_event_loop() -> None:
    sio = socketio.AsyncServer()

    @sio.event
    async def add(sid: str, a: int, b: int) -> int:
        return a + b

    app = socketio.ASGIApp(sio)

    async def once() -> int:
        async with serve_async(app) as port:
            client = original.AsyncClient(reconnection=False)
            await client.connect(f"http://127.0.0.1:{port}", transports=["websocket"])
            answer = await client.call("add", (1, 2))
            assert len(list(sio.manager.get_participants("/", None))) == 1
            await client.disconnect()
            return int(answer)

    for _ in range(2):
        assert await asyncio.to_thread(asyncio.run, once()) == 3


@pytest.mark.parametrize("stage", OURS)
async def test_sessions_and_rooms_are_there_after_a_recovery(stage: str) -> None:
    """With the setting `recovery`, which python-socketio doesn't have, and a client that can come back."""
    async with Stage(stage) as one:
        sio = one.server(recovery=True)

        @sio.event
        async def connect(sid: str, environ: Any) -> None:
            one.say("connect")
            await sio.enter_room(sid, "hall")
            await sio.save_session(sid, {"name": "Ada"})

        @sio.event
        async def name(sid: str) -> Any:
            return (await sio.get_session(sid))["name"], sorted(set(sio.rooms(sid)) - {sid})

        url = await one.serve(sio)
        async with Client(url, transports=["websocket"], reconnection_delay_seconds=0.01) as client:
            came: list[Any] = []
            client.on("news", came.append)
            await sio.emit("news", 1)
            first = client.id
            assert await client.call("name", timeout=2) == ("Ada", ["hall"])
            # Only the connection goes: the client is told nothing, and comes back by itself.
            sio.io.sockets[first].session.fail(RemoteProtocolError("cut", rule="test"), "transport close")
            await asyncio.sleep(0.05)
            await sio.emit("news", 2, room="hall")
            await asyncio.wait_for(_until(lambda: client.recovered and came == [1, 2]), 5)
            assert await client.call("name", timeout=2) == ("Ada", ["hall"])
            assert one.said == [("connect",)]
            assert sio.manager.is_connected(client.id, "/")


async def test_a_client_that_is_disconnected_before_it_is_in_does_not_come_in() -> None:
    sio = socketio.AsyncServer(async_mode="asgi")
    said: list[Any] = []

    @sio.event
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        said.append("connect")
        await sio.disconnect(sid)

    @sio.event
    async def disconnect(sid: str) -> None:
        said.append("disconnect")

    async with running(socketio.ASGIApp(sio)) as server:
        client = server.client()
        with pytest.raises(ConnectError, match="rejected"):
            await client.connect()
        await client.close()
        assert list(sio.manager.get_participants("/", None)) == []
    assert said == ["connect"]


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.01)
