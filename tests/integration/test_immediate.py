"""What is emitted `immediate`ly is with the client while the handler still blocks the event loop."""

import asyncio
import http.client
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from madang import Server, Socket
from madang.faces.uvicorn import serve_async

House = Callable[..., Any]
BLOCKED = 0.6


class Heard:
    """Runs a client in a thread of its own, whose clock goes on while the event loop is blocked."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self.error: BaseException | None = None

    async def run(self, client: Callable[..., None], *args: Any) -> None:
        await asyncio.to_thread(client, self, *args)

    def note(self, payload: str) -> None:
        now = time.monotonic()
        for name in ("first", "second", "third", "done"):
            if f'["{name}"' in payload:
                self.times[name] = now

    def after(self, name: str, blocked: float) -> float:
        """How long after the handler began to block an event came."""
        return self.times[name] - blocked


def websocket(heard: Heard, port: int, tls: ssl.SSLContext | None = None) -> None:
    scheme = "wss" if tls else "ws"
    with connect(f"{scheme}://localhost:{port}/socket.io/?EIO=4&transport=websocket", ssl=tls) as link:
        link.recv(5)
        link.send("40")
        link.recv(5)
        link.send('42["go"]')
        while "done" not in heard.times:
            heard.note(str(link.recv(5)))


def polling(heard: Heard, port: int) -> None:
    target = "/socket.io/?EIO=4&transport=polling"

    def ask(method: str, body: str | None = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request(method, target, body)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    target += "&sid=" + json.loads(ask("GET")[1:])["sid"]
    ask("POST", "40")
    ask("GET")
    poll = threading.Thread(target=lambda: heard.note(ask("GET")))
    poll.start()
    time.sleep(0.2)  # until it waits
    ask("POST", '42["go"]')
    poll.join()
    while "done" not in heard.times:
        heard.note(ask("GET"))


def blocking(io: Server, speak: Callable[[Socket], None]) -> list[float]:
    blocked: list[float] = []

    @io.on("go")
    def go(socket: Socket) -> None:
        speak(socket)
        blocked.append(time.monotonic())
        time.sleep(BLOCKED)
        socket.emit("done")

    return blocked


def each(socket: Socket) -> None:
    socket.immediate.emit("first")
    socket.immediate.emit("second")


def last(socket: Socket) -> None:
    socket.emit("first")
    socket.immediate.emit("second")


def broadcast(socket: Socket) -> None:
    socket.namespace.emit("first")
    socket.namespace.to(socket.id).immediate.volatile.emit("second")


@pytest.mark.parametrize("speak", [each, last, broadcast])
async def test_over_a_websocket(fast_house: House, speak: Callable[[Socket], None]) -> None:
    async with fast_house() as house:
        blocked, heard = blocking(house.io, speak), Heard()
        await heard.run(websocket, house.port)
        assert heard.after("first", blocked[0]) < BLOCKED / 2
        assert heard.after("second", blocked[0]) < BLOCKED / 2
        assert heard.after("done", blocked[0]) >= BLOCKED


@pytest.mark.parametrize("speak", [last, broadcast])
async def test_over_polling(fast_house: House, speak: Callable[[Socket], None]) -> None:
    async with fast_house() as house:
        blocked, heard = blocking(house.io, speak), Heard()
        await heard.run(polling, house.port)
        assert heard.after("first", blocked[0]) < BLOCKED / 2
        assert heard.after("second", blocked[0]) < BLOCKED / 2
        assert heard.after("done", blocked[0]) >= BLOCKED


@pytest.mark.parametrize("client", [websocket, polling])
async def test_without_it_all_is_joined(fast_house: House, client: Callable[..., None]) -> None:
    """What makes the tests above tell something."""

    def speak(socket: Socket) -> None:
        socket.emit("first")
        socket.emit("second")

    async with fast_house() as house:
        blocked, heard = blocking(house.io, speak), Heard()
        await heard.run(client, house.port)
        assert heard.after("second", blocked[0]) >= BLOCKED


async def test_through_asgi_nothing_is_lost(house: House) -> None:
    async with house() as house:
        blocking(house.io, each)
        for client in (websocket, polling):
            heard = Heard()
            await heard.run(client, house.port)
            assert set(heard.times) == {"first", "second", "done"}


async def test_over_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    io, heard = Server(), Heard()
    blocked = blocking(io, each)
    trusting = ssl.create_default_context(cafile=certificate)
    async with serve_async(io, ssl_keyfile=str(key), ssl_certfile=str(certificate)) as port:
        await heard.run(websocket, port, trusting)
    assert heard.after("first", blocked[0]) < BLOCKED / 2
    assert heard.after("second", blocked[0]) < BLOCKED / 2
    assert heard.after("done", blocked[0]) >= BLOCKED
