"""Threads and other processes of the same program: Flask, Django, pools, workers; and clients that send too fast."""

import asyncio
import contextlib
import json
import socket as sockets
import sys
import textwrap
import threading
import time
import types
import urllib.request
import wsgiref.simple_server
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from faces.support.clients import DEFAULTS, PollingClient, WebSocketClient
from integration.conftest import bystander
from madang import ConnectionRefused, Server, Socket, ThreadsafeSocket
from madang.faces.uvicorn import serve_async

House = Callable[..., Any]


# ---- WSGI ----


@contextlib.asynccontextmanager
async def werkzeug_server(application: Any) -> AsyncIterator[str]:
    """Flask's own development server, with a thread for each request."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


async def test_a_flask_application_beside_the_server(house: House) -> None:
    import flask

    async with house() as house:
        io = house.io
        app = flask.Flask("beside")

        @app.get("/tell/<room>/<text>")
        def tell(room: str, text: str) -> Any:
            io.threadsafe.to(room).emit("told", text)
            return {"told": text}

        @app.get("/ask/<question>")
        def ask(question: str) -> Any:
            return {"answers": io.threadsafe.call("question", question, timeout=5).result()}

        @app.get("/who")
        def who() -> Any:
            return {"ids": [one.id for one in io.threadsafe.fetch_sockets().result(5)]}

        @app.get("/wrong")
        def wrong() -> Any:
            try:
                io.emit("told", "never")
            except RuntimeError as error:
                return {"error": str(error)}

        async with werkzeug_server(app) as url, WebSocketClient(house.port) as client:
            await client.join()
            io.sockets[client.id].join("room")
            assert await asyncio.to_thread(get, f"{url}/tell/room/hello") == {"told": "hello"}
            assert await client.event("told") == ["hello"]
            asked = asyncio.ensure_future(asyncio.to_thread(get, f"{url}/ask/ready"))
            frame = await client.hear()
            assert isinstance(frame, str)
            await client.say(f'43{frame[2:].partition("[")[0]}["yes"]')
            assert await asked == {"answers": ["yes"]}
            assert await asyncio.to_thread(get, f"{url}/who") == {"ids": [client.id]}
            assert "use io.threadsafe there" in (await asyncio.to_thread(get, f"{url}/wrong"))["error"]
            # many requests at once
            numbers = range(40)
            await asyncio.gather(*(asyncio.to_thread(get, f"{url}/tell/room/{number}") for number in numbers))
            told = [(await client.event("told"))[0] for _ in numbers]
            assert sorted(map(int, told)) == list(numbers)


async def test_a_bare_wsgi_application(fast_house: House) -> None:
    async with fast_house() as house:

        def application(environ: Any, start_response: Any) -> list[bytes]:
            house.io.threadsafe.emit("visited", environ["PATH_INFO"])
            start_response("200 OK", [("Content-Type", "application/json")])
            return [b"{}"]

        class Quiet(wsgiref.simple_server.WSGIRequestHandler):
            def log_message(self, *args: Any) -> None: ...

        with wsgiref.simple_server.make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            async with WebSocketClient(house.port) as client:
                await client.join()
                await asyncio.to_thread(get, f"http://127.0.0.1:{server.server_port}/page")
                assert await client.event("visited") == ["/page"]
            await asyncio.to_thread(server.shutdown)
            thread.join()


# ---- Django ----


@pytest.mark.filterwarnings("ignore::DeprecationWarning:django", "ignore::DeprecationWarning:asgiref")
async def test_a_django_view_that_is_def() -> None:
    """Under ASGI, Django runs it in a thread."""
    from django.conf import settings
    from django.http import HttpRequest, JsonResponse
    from django.test import override_settings
    from django.urls import path

    io = Server(shutdown_timeout_seconds=1)
    seen: list[bool] = []

    def view(request: HttpRequest) -> JsonResponse:
        seen.append(threading.current_thread() is threading.main_thread())
        io.threadsafe.emit("saved", request.GET["name"])
        return JsonResponse({"clients": len(io.threadsafe.fetch_sockets().result(5))})

    urls = types.ModuleType("urls_of_this_test")
    urls.urlpatterns = [path("save", view)]  # type: ignore[attr-defined]
    if not settings.configured:
        import django

        settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50, MIDDLEWARE=[])
        django.setup(set_prefix=False)
    from django.core.asgi import get_asgi_application

    with override_settings(ROOT_URLCONF=urls):
        async with serve_async(io.asgi(get_asgi_application())) as port, WebSocketClient(port) as client:
            await client.join()
            assert await asyncio.to_thread(get, f"http://127.0.0.1:{port}/save?name=Ada") == {"clients": 1}
            assert await client.event("saved") == ["Ada"]
    assert seen == [False]


# ---- pools and workers ----


async def test_a_pool_of_workers(house: House) -> None:
    """As a task queue in the same process has it: each job tells how far it is."""
    async with house() as house, WebSocketClient(house.port) as client:
        io = house.io
        await client.join()

        def job(number: int, whom: str) -> int:
            room = io.threadsafe.to(whom)
            for step in range(50):
                room.emit("progress", number, step)
            return number

        with ThreadPoolExecutor(8) as pool:

            @io.on("start")
            async def start(socket: Socket, number: int) -> int:
                return await asyncio.get_running_loop().run_in_executor(pool, job, number, socket.id)

            for number in range(8):
                await client.emit("start", number)
            steps: dict[int, list[int]] = {number: [] for number in range(8)}
            for _ in range(8 * 50):
                number, step = await client.event("progress")
                steps[number].append(step)
            assert steps == {number: list(range(50)) for number in range(8)}


WORKER = """
import sys
from madang import BlockingClient

with BlockingClient(sys.argv[1] + "/workers", auth={"secret": sys.argv[2]}) as server:
    for number in range(20):
        server.emit("tell", "room", "done", number)
    print(server.call("clients", timeout=5))
"""


def working(io: Server, secret: str) -> None:
    """The recipe of docs/how-to/threads.md."""
    workers = io.of("/workers")

    @workers.use
    def known(socket: Socket) -> None:
        if socket.handshake.auth.get("secret") != secret:
            raise ConnectionRefused("who are you?")

    @workers.on("tell")
    def tell(socket: Socket, room: str, event: str, *args: object) -> None:
        io.to(room).emit(event, *args)

    @workers.on("clients")
    def clients(socket: Socket) -> int:
        return len(io.sockets)


async def run_worker(port: int, secret: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(WORKER),
        f"http://127.0.0.1:{port}",
        secret,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode().strip(), err.decode()


async def test_another_process_is_a_client(house: House) -> None:
    async with house() as house, WebSocketClient(house.port) as client:
        working(house.io, "a secret")
        await client.join()
        house.io.sockets[client.id].join("room")
        assert await run_worker(house.port, "a secret") == (0, "1", "")
        assert [(await client.event("done"))[0] for _ in range(20)] == list(range(20))
        code, _, err = await run_worker(house.port, "guessed")
        assert code != 0
        assert "who are you?" in err


# ---- handlers in threads ----


@pytest.mark.parametrize("kind", DEFAULTS)
async def test_handlers_that_block(house: House, kind: str) -> None:
    async with house() as house, DEFAULTS[kind](house.port) as client, bystander(house):

        @house.io.on("slow", thread=True)
        def slow(socket: ThreadsafeSocket, number: int) -> int:
            socket.emit("working", number)
            time.sleep(0.05)
            return number * 2

        await client.join()
        before = time.monotonic()
        answers = await asyncio.gather(*(client.call("slow", number) for number in range(1)))
        assert answers == [0]
        for number in range(16):
            await client.say(f'42{number}["slow",{number}]')
        told = set()
        while len(told) < 16:
            frame = await client.hear()
            if isinstance(frame, str) and frame.startswith("43"):
                told.add(frame)
        assert told == {f"43{number}[{number * 2}]" for number in range(16)}
        assert time.monotonic() - before < 16 * 0.05 + 5


# ---- back-pressure ----


async def test_a_flood_for_a_slow_handler(house: House) -> None:
    """They cost no memory but the kernel's, nobody else waits, and all are handled in the end."""
    async with house(max_handlers_per_client=64, ping_interval_seconds=0.5, ping_timeout_seconds=2.5) as house:
        go_on = asyncio.Event()
        running = most = handled = 0

        @house.io.on("slow")
        async def slow(socket: Socket, number: int, padding: str) -> None:
            nonlocal running, most, handled
            running += 1
            most = max(most, running)
            await go_on.wait()
            running -= 1
            handled += 1

        async with bystander(house), WebSocketClient(house.port) as client:
            id_ = await client.join()
            session = house.io.sockets[id_].session
            total = 15_000
            sent = 0

            async def flood() -> None:
                nonlocal sent
                for number in range(total):
                    await client.say(f'42["slow",{number},"{"x" * 1500}"]')
                    sent += 1

            flooding = asyncio.create_task(flood())
            # Until TCP makes the client wait.
            before = -1
            async with asyncio.timeout(30):
                while before != sent or sent == 0:
                    before = sent
                    await asyncio.sleep(0.5)
            assert not flooding.done(), "nobody has stopped it"
            assert running == most == 64
            hold = session._hold
            assert hold is not None
            assert len(hold._packets) < 5_000, "what was read already"
            await asyncio.sleep(3.5)  # longer than a ping may stay unanswered, and it can answer none
            assert id_ not in house.reasons
            go_on.set()
            await asyncio.wait_for(flooding, 60)
            async with asyncio.timeout(60):
                while handled < total:
                    await asyncio.sleep(0.05)
            assert most <= 64
            assert await client.call("echo", "still here") == "still here"
            assert house.logged("max_handlers_per_client is 64", session.id)


async def test_a_post_waits_for_its_handlers(house: House) -> None:
    async with house(max_handlers_per_client=8) as house, PollingClient(house.port) as client:
        go_on = asyncio.Event()
        begun: list[int] = []

        @house.io.on("slow")
        async def slow(socket: Socket, number: int) -> None:
            begun.append(number)
            await go_on.wait()

        await client.join()
        posting = asyncio.create_task(client.say(*(f'42["slow",{number}]' for number in range(100))))
        async with asyncio.timeout(10):
            while len(begun) < 8:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not posting.done()
        assert begun == list(range(8))
        go_on.set()
        await asyncio.wait_for(posting, 10)
        assert await client.call("echo", "done") == "done"
        assert begun == list(range(100))


async def test_a_client_that_breaks_while_it_is_held(house: House) -> None:
    async with house(max_handlers_per_client=2) as house, bystander(house):
        go_on = asyncio.Event()

        @house.io.on("slow")
        async def slow(socket: Socket) -> None:
            await go_on.wait()

        async with WebSocketClient(house.port) as client:
            id_ = await client.join()
            for _ in range(10):
                await client.emit("slow")
            await asyncio.sleep(0.1)
            transport = client.ws.transport
            raw = transport.get_extra_info("socket")
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            transport.abort()
        go_on.set()
        assert await house.reason(id_) in ("transport close", "transport error")
