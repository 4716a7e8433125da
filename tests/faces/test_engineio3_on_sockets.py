"""Engine.IO 3 over real sockets, byte by byte as clients 1.x and 2.x send it; newer clients in the same rooms."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import pytest

from faces.support.clients import PollingClient, WebSocketClient, dial
from faces.support.http import Connection
from madang.config import Config
from madang.wire.eio3 import WIRE
from support.server import DEFAULT_FACE, ServerProcess

PAGE = "https://shop.example"
LIMITS = Config()
POLLING = "/socket.io/?EIO=3&transport=polling"
WEBSOCKET = "/socket.io/?EIO=3&transport=websocket"
BYTES = {"Content-Type": "application/octet-stream"}
TEXT = "é€😀\u2028 \\n \n"
CALL = f'427["echo",{json.dumps(TEXT, ensure_ascii=False)}]'
ANSWER = f"437[{json.dumps(TEXT)}]"


@pytest.fixture(scope="module")
def mixed() -> Iterator[ServerProcess]:
    """A server for clients of all generations."""
    settings = {
        "generations": "all",
        "transports": ["polling", "websocket", "jsonp"],
        "origins": "*",
        "ping_interval_seconds": 25,
        "ping_timeout_seconds": 20,
        "max_payload_bytes": 100_000,
    }
    with ServerProcess(DEFAULT_FACE, settings, "faces.support.app:app") as server:
        yield server
        assert not server.tracebacks()


@pytest.fixture
async def connection(mixed: ServerProcess) -> AsyncIterator[Connection]:
    async with Connection(mixed.port) as connection:
        yield connection


def sid_of(frame: str | bytes) -> str:
    assert isinstance(frame, str)
    assert frame[0] == "0"
    return json.loads(frame[1:])["sid"]


async def test_bytes_as_browsers_take_and_send_them(connection: Connection) -> None:
    page = {"Origin": PAGE, "Accept-Encoding": "gzip, deflate"}
    reply = await connection.ask("GET", POLLING, headers=page)
    assert reply.header("content-type") == "application/octet-stream"
    assert reply.header("access-control-allow-origin") == PAGE
    assert reply.header("access-control-allow-credentials") == "true"
    [hello] = WIRE.split(reply.body, LIMITS)
    target = f"{POLLING}&sid={sid_of(hello)}"
    assert WIRE.split((await connection.ask("GET", target)).body, LIMITS) == ["40"]

    asked = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    reply = await connection.ask("OPTIONS", target, headers=asked)
    assert (reply.status, reply.header("access-control-allow-headers")) == (204, "content-type")
    assert reply.header("access-control-allow-credentials") == "true"

    body = WIRE.pack([CALL, '451-["echo back",{"_placeholder":true,"num":0}]', b"\x04" + bytes(3000), "2"])
    reply = await connection.ask("POST", target, body, {**page, **BYTES})
    assert (reply.status, reply.text) == (200, "ok")
    reply = await connection.ask("GET", target, headers=page)
    assert reply.header("content-encoding") == "gzip"
    assert WIRE.split(gzip.decompress(reply.body), LIMITS) == [
        ANSWER, '451-["echo back",{"_placeholder":true,"num":0}]', b"\x04" + bytes(3000), "3",
    ]  # fmt: skip


@pytest.mark.parametrize("twice", [False, True], ids=["2.x", "1.x"])
async def test_text_as_node_sends_it(connection: Connection, twice: bool) -> None:
    reply = await connection.ask("GET", f"{POLLING}&b64=1")
    assert reply.header("content-type") == "text/plain; charset=UTF-8"
    target = f"{POLLING}&b64=1&sid={sid_of(WIRE.split(reply.text, LIMITS)[0])}"
    assert (await connection.ask("GET", target)).text == "2:40"
    body = WIRE.join([CALL.encode().decode("latin-1") if twice else CALL])
    assert (await connection.ask("POST", target, body)).text == "ok"
    assert WIRE.split((await connection.ask("GET", target)).text, LIMITS) == [ANSWER]


async def test_scripts_and_forms(connection: Connection) -> None:
    """JSONP: the official client doubles a backslash before "n", then writes line breaks as these two."""
    reply = await connection.ask("GET", f"{POLLING}&j=3")
    head, foot = "___eio[3](", ");"
    assert reply.header("content-type") == "text/javascript; charset=UTF-8"
    assert reply.text.startswith(head)
    hello = json.loads(reply.text.removeprefix(head).removesuffix(foot))
    target = f"{POLLING}&j=3&sid={sid_of(WIRE.split(hello, LIMITS)[0])}"
    assert (await connection.ask("GET", target)).text == f'{head}"2:40"{foot}'
    payload = WIRE.join([CALL, '451-["echo back",{"_placeholder":true,"num":0}]', b"\x04\0\xff"])
    form = "d=" + quote(payload.replace("\\n", "\\\\n").replace("\n", "\\n"))
    reply = await connection.ask("POST", target, form, {"Content-Type": "application/x-www-form-urlencoded"})
    assert (reply.text, reply.header("content-type")) == ("ok", "text/html")
    reply = await connection.ask("GET", target)
    assert WIRE.split(json.loads(reply.text.removeprefix(head).removesuffix(foot)), LIMITS) == [
        ANSWER, '451-["echo back",{"_placeholder":true,"num":0}]', b"\x04\0\xff",
    ]  # fmt: skip


@pytest.mark.parametrize("b64", [False, True], ids=["bytes", "b64"])
async def test_links(mixed: ServerProcess, b64: bool) -> None:
    async with dial(mixed.port, WEBSOCKET + "&b64=1" * b64) as ws, asyncio.timeout(10):
        sid_of(await ws.recv())
        assert await ws.recv() == "40"
        attachment = "b4AAH/" if b64 else b"\x04\0\1\xff"
        for frame in (CALL, "2", '451-["echo back",{"_placeholder":true,"num":0}]', attachment):
            await ws.send(frame)
        assert [await ws.recv() for _ in range(4)] == [
            ANSWER, "3", '451-["echo back",{"_placeholder":true,"num":0}]', attachment,
        ]  # fmt: skip


async def test_from_polling_to_a_link(mixed: ServerProcess, connection: Connection) -> None:
    [hello] = WIRE.split((await connection.ask("GET", POLLING)).body, LIMITS)
    assert json.loads(str(hello)[1:])["upgrades"] == ["websocket"]
    target = f"{POLLING}&sid={sid_of(hello)}"
    assert WIRE.split((await connection.ask("GET", target)).body, LIMITS) == ["40"]
    connection.send("GET", target)
    async with dial(mixed.port, f"{WEBSOCKET}&sid={sid_of(hello)}") as ws, asyncio.timeout(10):
        await ws.send("2probe")
        assert await ws.recv() == "3probe"
        assert WIRE.split((await connection.reply()).body, LIMITS) == ["6"]
        await ws.send("5")
        await ws.send(CALL)
        assert await ws.recv() == ANSWER


async def test_all_in_one_room(mixed: ServerProcess, connection: Connection) -> None:
    [hello] = WIRE.split((await connection.ask("GET", POLLING)).body, LIMITS)
    target = f"{POLLING}&sid={sid_of(hello)}"
    assert WIRE.split((await connection.ask("GET", target)).body, LIMITS) == ["40"]
    connection.send("GET", target)
    async with (
        WebSocketClient(mixed.port) as new,
        PollingClient(mixed.port) as polling,
        dial(mixed.port, WEBSOCKET) as old,
        asyncio.timeout(10),
    ):
        await new.join()
        await polling.join()
        await old.recv()
        assert await old.recv() == "40"
        await new.emit("broadcast", "news", TEXT)
        assert await polling.event("news") == [TEXT]
        expected = f'42["news",{json.dumps(TEXT)}]'
        assert WIRE.split((await connection.reply()).body, LIMITS) == [expected]
        assert await old.recv() == expected


async def test_what_is_refused(connection: Connection) -> None:
    [hello] = WIRE.split((await connection.ask("GET", POLLING)).body, LIMITS)
    for target, code in (
        (f"{POLLING}&sid=nobody", 1),
        (f"{POLLING.replace('EIO=3', 'EIO=4')}&sid={sid_of(hello)}", 3),
        (WEBSOCKET, 3),
        (POLLING.replace("EIO=3", "EIO=9"), 5),
    ):
        reply = await connection.ask("GET", target, headers={"Origin": PAGE})
        assert (reply.status, reply.json()["code"]) == (400, code)
    too_large = WIRE.pack(["4" + "x" * 100_000])
    reply = await connection.ask("POST", f"{POLLING}&sid={sid_of(hello)}", too_large, BYTES)
    assert reply.status == 413
