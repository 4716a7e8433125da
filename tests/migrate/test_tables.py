"""Every line of the migration tables does what it says: its code is run on a server with three clients.

What a line must bring about stands here under its code. A line that isn't here fails, and so does what stands here
without a line. Of python-socketio's table the left side is run too, on `madang.migrate.socketio`, and must do the same.
"""

import ast
import asyncio
import contextlib
import http.client
import inspect
import logging
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio as original
from asgiref.wsgi import WsgiToAsgi
from flask import Flask
from starlette.staticfiles import StaticFiles

import madang
from madang import BlockingEmitter, Cluster, Cookie
from madang.faces.uvicorn import serve_async
from madang.migrate import socketio
from madang.testing import connect
from madang.transports import Request
from migrate.stage import leave
from support.server import free_port

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = ("migrate-python-socketio", "migrate-flask-socketio", "migrate-nodejs")
ROW = re.compile(r"^\| (.*?) \| (.*?) \|$", re.MULTILINE)
NOT_YET = "not yet"


def code(cell: str) -> str:
    """The code of a cell: one line for each of its spans."""
    return "\n".join(span.removeprefix("`").removesuffix("`") for span in cell.split("<br>"))


def rows(page: str) -> list[tuple[str, str]]:
    table = (HOW_TO / f"{page}.md").read_text().partition("## There and here")[2]
    return [(code(left), code(right)) for left, right in ROW.findall(table)[1:]]


LINES = [(page, left, right) for page in PAGES for left, right in rows(page)]
NAMES = [f"{page.removeprefix('migrate-')}: {left[:60]}" for page, left, _ in LINES]


class World:
    """A server, ours or python-socketio's API on it, and the clients one, two and three.

    One and two are in the lobby, two and three in the hall; all are in "/" and "/chat".

    Attributes:
        scope: the names that code may use.
        done: what code has given to `done`.
        noted: what handlers have given to `note`.
        heard: what each client has heard.
    """

    def __init__(self, compatible: bool) -> None:
        self.compatible = compatible
        self.sio = socketio.AsyncServer(namespaces=["/", "/chat", "*"])
        self.io = self.sio.io if compatible else madang.Server()
        self.done: list[Any] = []
        self.noted: list[tuple[Any, ...]] = []
        self.heard: dict[str, list[Any]] = {}
        self.sids: dict[str, str] = {}
        self.clients: dict[str, original.AsyncClient] = {}
        self.port = 0
        self.scope: dict[str, Any] = {"asyncio": asyncio, "done": self.done.append, "note": self.note}

    def note(self, *values: Any) -> None:
        self.noted.append(values)

    async def open(self) -> None:
        if not self.compatible:
            self.io.of("/chat")
            self.io.on("echo", lambda socket, *args: args)
        else:
            self.sio.on("echo", lambda sid, *args: args)
        for name in ("one", "two", "three"):
            client = await self.connect(name, namespaces=["/", "/chat"], headers={"X-Mark": name})
            self.sids[name] = client.get_sid()
        for name, room in (("one", "lobby"), ("two", "lobby"), ("two", "hall"), ("three", "hall")):
            self.io.sockets[self.sids[name]].join(room)
        if self.compatible:
            self.scope |= {"sio": self.sio, "sid": self.sids["one"], "socketio": socketio}
        else:
            self.scope |= {public: getattr(madang, public) for public in madang.__all__}
            self.scope |= {"io": self.io, "socket": self.io.sockets[self.sids["one"]]}
            self.scope |= {"StaticFiles": StaticFiles, "connect": connect, "WsgiToAsgi": WsgiToAsgi}
            self.scope |= {"flask_app": flask_app, "slow_function": lambda value: value + 1, "logging": logging}
        self.scope["url"] = f"http://127.0.0.1:{self.port}"
        self.scope |= {"other_app": other_app, "started": lambda: self.note("started")}

    async def connect(self, name: str, namespaces: list[str], **options: Any) -> original.AsyncClient:
        client = original.AsyncClient(reconnection=False)
        heard = self.heard[name] = []
        self.clients[name] = client

        async def question(value: int) -> int:
            return value * 10

        async def silence() -> None:
            await asyncio.sleep(5)

        client.on("question", question)
        client.on("silence", silence)
        for namespace in namespaces:
            client.on("*", lambda *line: heard.append(line), namespace=namespace)
            client.on("connect_error", lambda data: heard.append(("connect_error", data)), namespace=namespace)
            client.on("disconnect", lambda reason: heard.append(("disconnect", reason)), namespace=namespace)
        with contextlib.suppress(original.exceptions.ConnectionError):  # it notes why
            url = f"http://127.0.0.1:{self.port}"
            await client.connect(url, namespaces=namespaces, transports=["websocket"], wait_timeout=2, **options)
        return client

    async def run(self, source: str) -> None:
        compiled = compile(source, "a line of the table", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(compiled, self.scope)
        if inspect.iscoroutine(result):
            await asyncio.wait_for(result, 10)

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 3
        while not condition():
            assert time.monotonic() < deadline, (self.heard, self.done, self.noted)
            await asyncio.sleep(0.005)

    async def flush(self) -> None:
        """Wait until each client that is there has had all that was sent to it, and the server what they sent."""
        for client in self.clients.values():
            if "/" in client.namespaces:
                await client.call("echo", timeout=2)
        await asyncio.sleep(0.02)

    def config(self) -> Any:
        server = self.scope["server"]
        return server.io.config if self.compatible else server.config

    def member(self, name: str, room: str) -> bool:
        return room in self.io.sockets[self.sids[name]].rooms


flask_app = Flask(__name__)


@flask_app.get("/page")
def a_page() -> str:
    return "a page"


async def other_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"other"})


@contextlib.asynccontextmanager
async def world(compatible: bool) -> AsyncIterator[World]:
    one = World(compatible)
    async with serve_async(socketio.ASGIApp(one.sio) if compatible else one.io) as port:
        one.port = port
        await one.open()
        try:
            yield one
        finally:
            own = one.scope.get("client")
            if isinstance(own, madang.Client):
                await own.close()
            elif isinstance(own, original.AsyncClient):
                await own.disconnect()
            for client in one.clients.values():
                await leave(client)


# ---- what lines bring about ----

Check = Callable[[World], Awaitable[None]]
CHECKS: dict[str, Check] = {}


def line(*sources: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        for source in sources:
            assert source not in CHECKS, source
            CHECKS[source] = check
        return check

    return register


def hears(source: str, *event: Any, by: str, namespace: str = "/") -> None:
    """After the line these clients have heard the event once, and no others."""

    async def check(world: World) -> None:
        await world.flush()
        for name in ("one", "two", "three"):
            assert world.heard[name].count(event) == (name in by.split()), (name, world.heard)

    line(source)(check)


def gives(source: str, expected: Callable[[World], Any]) -> None:
    """The line has given `done` a value."""

    async def check(world: World) -> None:
        await world.until(lambda: bool(world.done))
        assert world.done == [expected(world)]

    line(source)(check)


def sets(source: str, **expected: Any) -> None:
    """The line has made a server with these settings."""

    async def check(world: World) -> None:
        assert {name: getattr(world.config(), name) for name in expected} == expected

    line(source)(check)


def handles(source: str, event: str, args: tuple[Any, ...], answer: Any, namespace: str = "/") -> None:
    """After the line the event has an answer."""

    async def check(world: World) -> None:
        client = await world.connect("four", namespaces=sorted({"/", namespace}))
        if source.startswith("socket.on"):
            client = world.clients["one"]
        assert await client.call(event, args, namespace=namespace, timeout=2) == answer

    line(source)(check)


def refuses(source: str, body: dict[str, Any]) -> None:
    async def check(world: World) -> None:
        await world.connect("four", namespaces=["/"])
        assert world.heard["four"][0] == ("connect_error", body)

    line(source)(check)


def leaves(source: str, *noted: Any) -> None:
    """After the line it is noted how a client goes."""

    async def check(world: World) -> None:
        await world.clients["one"].disconnect()
        await world.until(lambda: bool(world.noted))
        ((word, what),) = world.noted
        assert word == "left"
        if "rooms" in source:
            assert set(what) == {"lobby", world.sids["one"]}
        else:
            assert what == "client namespace disconnect"

    line(source)(check)


sets("server = Server()", path="/socket.io/", ping_interval_seconds=25)
ADD = ("add", (1, 2), 3)
handles("@io.event\nasync def add(socket, a, b): return a + b", *ADD)
handles("@io.event\ndef add(socket, a, b): return a + b", *ADD)
handles('@io.on("add")\ndef add(socket, a, b): return a + b', *ADD)
handles('@io.on("add up")\ndef add_up(socket, *numbers): return sum(numbers)', "add up", (1, 2, 3), 6)
handles('socket.on("add up", lambda socket, *numbers: sum(numbers))', "add up", (1, 2, 3), 6)
handles('@io.on("slow", thread=True)\ndef slow(socket, value): return slow_function(value)', "slow", (5,), 6)
handles('@io.on("two")\ndef two(socket): return 1, 2', "two", (), (1, 2))
handles('@io.on("add", namespace="/chat")\ndef add(socket, a, b): return a + b', *ADD, namespace="/chat")
handles(
    'class Games(Namespace):\n    def on_add(self, socket, a, b): return a + b\nio.register(Games("/games"))',
    *ADD,
    namespace="/games",
)
refuses(
    '@io.use\ndef authenticate(socket): raise ConnectionRefused("no", {"code": 401})',
    {"message": "no", "data": {"code": 401}},
)
refuses('@io.use\ndef authenticate(socket): raise ConnectionRefused("no")', {"message": "no"})
refuses("@io.use\ndef authenticate(socket): raise ConnectionRefused()", {"message": "Connection refused"})
leaves('@io.on("disconnecting")\ndef disconnecting(socket, reason): note("left", list(socket.rooms))')
leaves('@io.on("disconnecting")\ndef disconnecting(socket, reason): note("left", socket.rooms)')
leaves('@io.on("disconnect")\ndef disconnect(socket, reason): note("left", reason)')

hears('io.emit("news", {"a": 1})', "news", {"a": 1}, by="one two three")
hears('io.emit("news", 1)', "news", 1, by="one two three")
hears('io.local.emit("news", 1)', "news", 1, by="one two three")
hears('io.emit("pair", 1, 2)', "pair", 1, 2, by="one two three")
hears('io.send("hello")', "message", "hello", by="one two three")
hears('socket.emit("news", 1)', "news", 1, by="one")
hears('socket.volatile.emit("news", 1)', "news", 1, by="one")
hears('socket.compress(False).emit("news", 1)', "news", 1, by="one")
hears('socket.emit("news", {"a": 1})', "news", {"a": 1}, by="one")
hears('socket.emit("pair", 1, 2)', "pair", 1, 2, by="one")
hears(r'socket.emit("photo", b"\x01\x02")', "photo", b"\x01\x02", by="one")
hears('socket.send("hello")', "message", "hello", by="one")
hears('socket.broadcast.emit("news", 1)', "news", 1, by="two three")
hears('io.to("lobby").emit("news", 1)', "news", 1, by="one two")
hears('io.to("lobby", "hall").emit("news", 1)', "news", 1, by="one two three")
hears('socket.to("lobby").emit("news", 1)', "news", 1, by="two")
hears('io.to("lobby").except_(socket.id).emit("news", 1)', "news", 1, by="two")
hears('io.in_("lobby").except_("hall").emit("news", 1)', "news", 1, by="one")
hears('io.of("/chat").emit("news", 1)', "news", 1, by="one two three")
hears('async def tick(): io.emit("news", 1)\nio.spawn(tick())', "news", 1, by="one two three")
hears('def view(): io.threadsafe.emit("news", 1)\nawait asyncio.to_thread(view)', "news", 1, by="one two three")
hears('def view(): io.threadsafe.to("lobby").emit("news", 1)\nawait asyncio.to_thread(view)', "news", 1, by="one two")
hears('io.server_side_emit("hello", 1)', "hello", 1, by="")  # this server alone is there, and clients hear nothing
gives('done(await io.server_side_call("hello"))', lambda world: [])

gives('done(await socket.call("question", 1))', lambda world: 10)
gives('done(await socket.call("question", 1, timeout=5))', lambda world: 10)
gives('done(await io.timeout(5).call("question", 1))', lambda world: [10, 10, 10])
gives('try: await socket.call("silence", timeout=0.05)\nexcept AckTimeout: done("late")', lambda world: "late")
gives('try: await socket.timeout(0.05).call("silence")\nexcept AckTimeout: done("late")', lambda world: "late")
gives("done(set(socket.rooms))", lambda world: {"lobby", world.sids["one"]})
gives("done(socket.rooms)", lambda world: {"lobby", world.sids["one"]})
gives(
    'done([one.id for one in await io.in_("lobby").fetch_sockets()])',
    lambda world: [world.sids["one"], world.sids["two"]],
)
gives('socket.data["name"] = "Ada"\ndone(socket.data["name"])', lambda world: "Ada")
gives('done(socket.handshake.headers["x-mark"])', lambda world: "one")
gives('done(socket.handshake.query["transport"])', lambda world: "websocket")
gives("done(socket.handshake.address)", lambda world: "127.0.0.1")
gives("done(socket.transport)", lambda world: "websocket")
gives("done(socket.id)", lambda world: world.sids["one"])
gives("done(socket.namespace.name)", lambda world: "/")
gives("done(len(io.engine.sessions))", lambda world: 3)
gives("done(await asyncio.to_thread(slow_function, 5))", lambda world: 6)

sets(
    'server = Server(origins=["https://example.org"], cors_credentials=True)',
    origins=("https://example.org",),
    cors_credentials=True,
)
sets('server = Server(origins="*")', origins="*")
sets(
    "server = Server(ping_interval_seconds=10, ping_timeout_seconds=5)",
    ping_interval_seconds=10,
    ping_timeout_seconds=5,
)
sets("server = Server(ping_interval_seconds=25)", ping_interval_seconds=25)
sets("server = Server(ping_timeout_seconds=5)", ping_timeout_seconds=5)
sets("server = Server(connect_timeout_seconds=10)", connect_timeout_seconds=10)
sets("server = Server(max_payload_bytes=5_000_000)", max_payload_bytes=5_000_000)
sets('server = Server(cookie=Cookie(name="io"))', cookie=Cookie(name="io"))
sets('server = Server(cookie=Cookie(name="io", same_site="strict"))', cookie=Cookie(name="io", same_site="strict"))
sets('server = Server(parser="msgpack")', parser="msgpack")
sets('server = Server(transports=["websocket"], allow_upgrades=False)', transports=("websocket",), allow_upgrades=False)
sets('server = Server(transports=["websocket"])', transports=("websocket",))
sets("server = Server(ordered_handlers=True)", ordered_handlers=True)
for address in ("redis://localhost:6379", "redis-classic://localhost:6379", "redis-streams://localhost:6379"):
    sets(f'server = Server(cluster="{address}")', cluster=Cluster(address))
sets('server = Server(cluster="postgresql://localhost/courtyard")', cluster=Cluster("postgresql://localhost/courtyard"))
sets('server = Server(path="/live/")', path="/live/")
sets("server = Server(websocket_compression=True)", websocket_compression=True)
sets("server = Server(http_compression_threshold_bytes=None)", http_compression_threshold_bytes=None)


@line("server = Server()\nserver.of(lambda name, auth: True)")
async def takes_any_namespace(world: World) -> None:
    server = world.scope["server"]
    async with serve_async(socketio.ASGIApp(server) if world.compatible else server) as port:
        world.port = port
        client = await world.connect("four", namespaces=["/whatever"])
        assert set(client.namespaces) == {"/whatever"}
        await client.disconnect()


ROOMS = 'rooms = io.of("/room-{id}")\n@rooms.on("where")\ndef where(socket): return socket.namespace.name'
handles(ROOMS, "where", (), "/room-5", namespace="/room-5")


@line(
    'rooms = io.of("/room-{id:int}")\n@rooms.on("connection")\n'
    'def connection(socket): note("came", socket.namespace.name)'
)
async def notes_who_came_into_a_room(world: World) -> None:
    await world.connect("four", namespaces=["/room-5"])
    assert world.noted == [("came", "/room-5")]


@line("server = Server(recovery=True)")
async def recovers(world: World) -> None:
    async with serve_async(world.scope["server"]) as port, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling"
        sid = (await http.get(url)).text.split('"')[3]
        await http.post(f"{url}&sid={sid}", content="40")
        assert '"pid"' in (await http.get(f"{url}&sid={sid}")).text  # by which a client comes back


@line('server = Server(allow_request=lambda request: request.header("x-key") == "secret")')
async def asks_for_the_key(world: World) -> None:
    for key, allowed in ((b"secret", True), (b"wrong", False)):
        assert world.config().allow_request(Request("GET", "/", "", [(b"x-key", key)])) is allowed


@line("app = io.asgi(other_app)", "app = io.asgi(WsgiToAsgi(flask_app))")
async def stands_beside_the_other(world: World) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(world.scope["app"]), base_url="http://127.0.0.1"
    ) as client:
        assert (await client.get("/page")).text in ("other", "a page")
        assert (await client.get("/socket.io/?EIO=4&transport=polling")).text.startswith("0{")


@line('files = io.asgi(StaticFiles(directory="public", html=True))')
async def serves_files(world: World) -> None:
    Path("public/style.css").write_text("p {}")
    Path("public/index.html").write_text("<p>")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.scope["files"]), base_url="http://x") as client:
        assert (await client.get("/style.css")).text == "p {}"
        assert (await client.get("/")).text == "<p>"


#: A line that never ends.
SERVE = "serve(app, port=8000)"


@line(SERVE)
async def serves(world: World) -> None:
    """In a process of its own, at another port."""
    port = free_port()
    program = "from madang import Server, serve\nio = Server()\napp = io.asgi()\n" + SERVE.replace("8000", str(port))
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/socket.io/?EIO=4&transport=polling")
                assert connection.getresponse().read().startswith(b"0{")
                return
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            finally:
                connection.close()
    finally:
        process.terminate()
        process.wait()


@line("io.on_start(started)\napp = io.asgi()")
async def starts(world: World) -> None:
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        assert message["type"].endswith(".complete")

    # The server runs already; so does its life begin anew.
    await world.io.close()
    await world.scope["app"]({"type": "lifespan"}, receive, send)
    assert world.noted == [("started",)]


@line('@io.on("connection")\ndef connection(socket): note("came", socket.handshake.auth)')
async def notes_who_came(world: World) -> None:
    await world.connect("four", namespaces=["/"], auth={"token": 1})
    assert world.noted == [("came", {"token": 1})]


@line(
    "@io.on_any\ndef any_event(socket, event, *args): note(event, args)",
    "socket.on_any(lambda socket, event, *args: note(event, args))",
)
async def notes_every_event(world: World) -> None:
    await world.clients["one"].emit("anything", (1, 2))
    await world.until(lambda: ("anything", (1, 2)) in world.noted)


@line("socket.use(lambda event, args: note(event))")
async def notes_events_before_their_handlers(world: World) -> None:
    assert await world.clients["one"].call("echo", 5, timeout=2) == 5
    assert world.noted == [("echo",)]


@line("socket.on_any_outgoing(lambda socket, event, *args: note(event, args))")
async def notes_what_goes(world: World) -> None:
    world.io.emit("news", 1)
    assert world.noted == [("news", (1,))]


@line('io.off("echo")')
async def has_no_handler_any_more(world: World) -> None:
    with pytest.raises(original.exceptions.TimeoutError):
        await world.clients["one"].call("echo", timeout=0.1)


@line('@io.on_error\ndef failed(error, socket, event, args): note("failed", str(error))')
async def notes_errors(world: World) -> None:
    @world.io.on("fail")
    def fail(socket: Any) -> None:
        raise RuntimeError("deliberate")

    await world.clients["one"].emit("fail")
    await world.until(lambda: ("failed", "deliberate") in world.noted)


@line('@io.room_event("join")\ndef joined(socket, room): note("joined", room)')
async def notes_rooms(world: World) -> None:
    world.scope["socket"].join("garden")
    assert world.noted == [("joined", "garden")]


@line('@io.engine.on("initial_headers")\ndef stick(headers, request): headers["x-node"] = "1"')
async def adds_headers(world: World) -> None:
    async with httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{world.port}/socket.io/?EIO=4&transport=polling"
        assert (await client.get(url)).headers["x-node"] == "1"


@line('@io.engine.on("connection_error")\ndef refused(error, request): note("refused", error.code)')
async def notes_refusals(world: World) -> None:
    async with httpx.AsyncClient() as client:
        await client.get(f"http://127.0.0.1:{world.port}/socket.io/?EIO=4&transport=nothing")
    assert world.noted == [("refused", 0)]


@line('socket.join("garden")')
async def is_in_the_garden(world: World) -> None:
    assert world.member("one", "garden")
    assert not world.member("two", "garden")


@line('io.in_("lobby").sockets_join("garden")')
async def are_in_the_garden(world: World) -> None:
    assert world.member("one", "garden")
    assert world.member("two", "garden")
    assert not world.member("three", "garden")


@line('socket.leave("lobby")')
async def has_left_the_lobby(world: World) -> None:
    assert not world.member("one", "lobby")
    assert world.member("two", "lobby")


@line('io.in_("lobby").sockets_leave("lobby")')
async def nobody_is_in_the_lobby(world: World) -> None:
    assert not world.member("one", "lobby")
    assert not world.member("two", "lobby")
    assert world.member("two", "hall")


@line('socket.data["name"] = "Ada"')
async def is_ada(world: World) -> None:
    assert world.io.sockets[world.sids["one"]].data == {"name": "Ada"}


@line("socket.disconnect()", "socket.disconnect(close=True)")
async def is_gone(world: World) -> None:
    await world.until(lambda: ("disconnect", "server disconnect") in world.heard["one"])
    assert set(world.io.sockets) == {world.sids["two"], world.sids["three"]}


@line('io.in_("lobby").disconnect_sockets(close=True)')
async def are_gone(world: World) -> None:
    await world.until(lambda: ("disconnect", "server disconnect") in world.heard["two"])
    assert set(world.io.sockets) == {world.sids["three"]}


@line("await io.close()")
async def all_are_gone(world: World) -> None:
    assert not world.io.sockets
    await world.until(lambda: any(line[0] == "disconnect" for line in world.heard["three"]))


@line("await asyncio.sleep(0.01)")
async def is_still_there(world: World) -> None:
    await world.flush()
    assert len(world.io.sockets) == 3


@line('emitter = BlockingEmitter("redis-classic://localhost:6379")')
async def an_emitter_is_made(world: World) -> None:
    emitter = world.scope["emitter"]
    assert isinstance(emitter, BlockingEmitter)
    assert not emitter.connected


@line('logging.getLogger("madang").setLevel(logging.DEBUG)')
async def logs(world: World) -> None:
    log = logging.getLogger("socketio.server" if world.compatible else "madang")
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        await world.clients["one"].emit("nobody's")
        await world.until(lambda: any("nobody's" in record.getMessage() for record in records))
    finally:
        log.removeHandler(handler)


KIT = 'async with connect(io) as client:\n    done(await client.call("add", 1, 2))'
gives(KIT, lambda world: 3)


@line('client = Client(url, auth={"token": 1})\nawait client.connect()')
async def a_client_has_come(world: World) -> None:
    assert world.scope["client"].connected
    newest = list(world.io.sockets.values())[-1]
    assert newest.handshake.auth == {"token": 1}


@line('client = Client(url, transports=["websocket"], reconnection_delay_seconds=0.5)\nawait client.connect()')
async def a_client_has_come_by_websocket(world: World) -> None:
    newest = list(world.io.sockets.values())[-1]
    assert newest.id == world.scope["client"].id
    assert newest.handshake.transport == "websocket"


NEWS = 'client = Client(url)\nclient.on("news", lambda value: note("news", value))\nawait client.connect()'


@line(NEWS)
async def a_client_notes_news(world: World) -> None:
    world.io.emit("news", 1)
    await world.until(lambda: ("news", 1) in world.noted)


ECHO = 'client:\n    done(await client.call("echo", 5))'
gives(f"async with Client(url) as {ECHO}", lambda world: 5)
BLOCKING = """\
def program():
    with BlockingClient(url) as client:
        done(client.call("echo", 5))
await asyncio.to_thread(program)"""
gives(BLOCKING, lambda world: 5)


async def check(source: str, right: str, compatible: bool) -> None:
    before = logging.getLogger("madang").level, logging.getLogger("socketio.server").level
    try:
        async with world(compatible) as one:
            if source == KIT:  # it needs a server to itself
                one.scope["io"] = server = madang.Server()
                server.on("add", lambda socket, a, b: a + b)
            if source != SERVE:
                if re.search(r"socketio\.\w*Client", source):
                    one.scope["socketio"] = original
                if compatible and "logger=True" in source:
                    logging.getLogger("socketio.server").setLevel(logging.NOTSET)
                await one.run(source)
            await CHECKS[right](one)
    finally:
        logging.getLogger("madang").setLevel(before[0])
        logging.getLogger("socketio.server").setLevel(before[1])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "public").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("page", "left", "right"), LINES, ids=NAMES)
async def test_the_right_side(page: str, left: str, right: str) -> None:
    if right == NOT_YET:
        assert left  # nothing to run: what it says is that there is nothing
        return
    assert right in CHECKS, "this line has no test"
    await check(right, right, compatible=False)


PYTHON_SOCKETIO = [(left, right) for page, left, right in LINES if page == "migrate-python-socketio"]


@pytest.mark.parametrize(("left", "right"), PYTHON_SOCKETIO, ids=[left[:60] for left, _ in PYTHON_SOCKETIO])
async def test_the_left_side_on_our_own(left: str, right: str) -> None:
    await check(left, right, compatible=True)


def test_nothing_is_tested_that_no_table_says() -> None:
    assert set(CHECKS) - {right for _, _, right in LINES} == set()
    assert len(LINES) > 120
    for page in PAGES:
        assert len([1 for name, *_ in LINES if name == page]) > 40
