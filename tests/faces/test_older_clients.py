"""Clients before 1.0 over TCP: their requests and answers byte by byte, and the WebSockets of their time."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from faces.support.clients import RawWebSocket
from faces.support.flash import CHALLENGE, PROOF, checked, head
from faces.support.http import DEADLINE, Connection, Reply, request
from faces.support.inside import SERVING
from madang import RequestRefused, Server
from support.server import FACES

FAST = pytest.mark.skipif("uvicorn-fast" not in FACES, reason="the fast face alone speaks old drafts")
SETTINGS: dict[str, Any] = {"generations": ["eio4", "sio1"], "transports": ["polling", "websocket", "jsonp", "iframe"]}
FRIEND = "https://friend.example"
ECHO = '5:1+::{"name":"echo","args":["마당"]}'
ECHOED = '6:::1+["\\ub9c8\\ub2f9"]'


@contextlib.asynccontextmanager
async def serving(face: str = "fast", **settings: Any) -> AsyncIterator[tuple[int, list[RequestRefused]]]:
    io = Server(**{**SETTINGS, **settings})
    io.on("echo", lambda socket, *args: args)
    refused: list[RequestRefused] = []
    io.engine.on("connection_error", lambda error, request: refused.append(error))
    async with SERVING[face](io) as port:
        yield port, refused


async def handshake(port: int) -> str:
    reply = await request(port, "GET", "/socket.io/1/?t=1")
    assert reply.status == 200
    sid, heartbeat, close, names = reply.text.split(":")
    assert (heartbeat, close, names) == ("45", "50", "websocket,htmlfile,xhr-polling,jsonp-polling")
    return sid


# ---- HTTP ----


@pytest.mark.parametrize("face", sorted(SERVING))
async def test_polling(face: str) -> None:
    async with serving(face) as (port, _), Connection(port) as polls, Connection(port) as posts:
        sid = await handshake(port)
        target = f"/socket.io/1/xhr-polling/{sid}?t=1"
        reply = await polls.ask("GET", target)
        assert (reply.status, reply.text) == (200, "1::")
        assert reply.header("content-type") == "text/plain; charset=UTF-8"
        polls.send("GET", target)
        reply = await posts.ask("POST", target, ECHO)
        assert (reply.status, reply.text, reply.header("content-length")) == (200, "1", "1")
        assert (await polls.reply()).text == ECHOED
        polls.send("GET", target)
        assert (await posts.ask("GET", f"/socket.io/1//{sid}/?disconnect=1")).status == 200
        assert (await polls.reply()).text == "0::"
        assert (await polls.ask("GET", target)).text == "7:::1+0"


@pytest.mark.parametrize("face", sorted(SERVING))
async def test_scripts_and_documents(face: str) -> None:
    async with serving(face) as (port, _), Connection(port) as stream, Connection(port) as posts:
        reply = await posts.ask("GET", "/socket.io/1/?t=1&jsonp=2")
        sid = reply.text.removeprefix('io.j[2]("').partition(":")[0]
        reply = await posts.ask("GET", f"/socket.io/1/jsonp-polling/{sid}?t=1&i=2")
        assert reply.text == 'io.j[2]("1::");'
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for body in (ECHO, json.dumps(ECHO)):
            posts.send("POST", f"/socket.io/1/jsonp-polling/{sid}?i=2", f"d={quote(body)}", form)
            assert (await posts.reply()).text == "1"
            reply = await posts.ask("GET", f"/socket.io/1/jsonp-polling/{sid}?i=2")
            assert reply.text == f"io.j[2]({json.dumps(ECHOED)});"

        # The document in place of the polls.
        stream.send("GET", f"/socket.io/1/htmlfile/{sid}")
        head_ = await stream.reply(head=True)
        assert head_.header("content-type") == "text/html; charset=UTF-8"
        assert head_.header("transfer-encoding") == "chunked"
        assert len(await chunk(stream)) == 256
        assert (await posts.ask("POST", f"/socket.io/1/htmlfile/{sid}", ECHO)).text == "1"
        assert await chunk(stream) == f"<script>_({json.dumps(ECHOED)});</script>".encode()
        assert (await posts.ask("POST", f"/socket.io/1/htmlfile/{sid}", "0::")).text == "1"
        assert await chunk(stream) + await chunk(stream) == b'<script>_("0::");</script><script>_("8::");</script>'
        assert await chunk(stream) == b""


async def chunk(connection: Connection) -> bytes:
    async with asyncio.timeout(DEADLINE):
        size = int(await connection.reader.readline(), 16)
        return (await connection.reader.readexactly(size + 2))[:-2]


# ---- WebSockets ----


@pytest.mark.parametrize("face", sorted(SERVING))
async def test_websocket(face: str) -> None:
    async with serving(face) as (port, refused):
        sid = await handshake(port)
        async with Connection(port) as connection:
            assert (await upgrade(connection, f"/socket.io/1/websocket/{sid}")).status == 101
            websocket = RawWebSocket(connection)
            assert await websocket.hear() == (False, b"1::")
            websocket.say(ECHO)
            assert await websocket.hear() == (False, ECHOED.encode())
        async with Connection(port) as connection:
            assert (await upgrade(connection, "/socket.io/1/websocket/unknown")).status == 101
            assert await RawWebSocket(connection).hear() == (False, b"7:::1+0")
        async with Connection(port) as connection:
            assert (await upgrade(connection, "/socket.io/1/websocket/")).status in (400, 403)
        assert [one.message for one in refused] == ["Session ID unknown", "Transport unknown"]


async def upgrade(connection: Connection, target: str, version: str = "13", **more: str) -> Reply:
    fields = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": version,
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    connection.send("GET", target, headers=fields)
    return await connection.reply(head=True)


@FAST
@pytest.mark.parametrize("version", ["7", "8"])
async def test_drafts_with_frames_of_today(version: str) -> None:
    async with serving(origins=[FRIEND]) as (port, refused):
        sid = await handshake(port)
        target = f"/socket.io/1/websocket/{sid}"
        for origin in ({"Sec_WebSocket_Origin": "https://bad.example"}, {"Origin": "https://bad.example"}):
            async with Connection(port) as connection:
                assert (await upgrade(connection, target, version, **origin)).status == 403
        async with Connection(port) as connection:
            both = {"Origin": "https://bad.example", "Sec_WebSocket_Origin": FRIEND}
            assert (await upgrade(connection, target, version, **both)).status == 403
        async with Connection(port) as connection:
            reply = await upgrade(connection, target, version, Sec_WebSocket_Origin=FRIEND)
            assert reply.status == 101
            assert reply.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
            websocket = RawWebSocket(connection)
            assert await websocket.hear() == (False, b"1::")
            websocket.say(ECHO)
            assert await websocket.hear() == (False, ECHOED.encode())
        assert len(refused) == 3


@FAST
@pytest.mark.parametrize("version", ["7", "8", "9", "14"])
async def test_drafts_are_for_those_who_know_nothing_else(version: str) -> None:
    targets = ["/socket.io/?EIO=4&transport=websocket"]
    async with serving() as (port, _):
        if version not in ("7", "8"):
            targets.append(f"/socket.io/1/websocket/{await handshake(port)}")
        for target in targets:
            async with Connection(port) as connection:
                reply = await upgrade(connection, target, version)
                assert (reply.status, reply.header("sec-websocket-version")) == (426, "13")


@FAST
async def test_draft_76_by_its_documented_bytes() -> None:
    async with serving() as (port, _):
        target = f"/socket.io/1/websocket/{await handshake(port)}"
        async with Connection(port) as connection:
            connection.write(head(port, target) + CHALLENGE)
            reply = await connection.reply(head=True)
            checked(reply, f"http://127.0.0.1:{port}")
            assert reply.header("sec-websocket-location") == f"ws://127.0.0.1:{port}{target}"
            async with asyncio.timeout(DEADLINE):
                assert await connection.reader.readexactly(16) == PROOF
                assert await connection.reader.readuntil(b"\xff") == b"\x001::\xff"
                connection.write(b"\0" + ECHO.encode() + b"\xff")
                assert await connection.reader.readuntil(b"\xff") == b"\0" + ECHOED.encode() + b"\xff"
                connection.write(b"\0" + "3:7::마당\ufffd".encode() + b"\xff")
                assert await connection.reader.readuntil(b"\xff") == b"\x006:::7\xff"


@FAST
async def test_draft_75() -> None:
    async with serving() as (port, _):
        for name in ("websocket", "flashsocket"):
            target = f"/socket.io/1/{name}/{await handshake(port)}"
            async with Connection(port) as connection:
                connection.write(head(port, target, keys=None))
                if name == "flashsocket":  # it is not served here
                    assert (await connection.reply()).status == 400
                    continue
                assert (await connection.reply(head=True)).status == 101
                async with asyncio.timeout(DEADLINE):
                    assert await connection.reader.readuntil(b"\xff") == b"\x001::\xff"


@FAST
async def test_flashsocket() -> None:
    async with serving(transports=["websocket", "flashsocket"]) as (port, _):
        sid = (await request(port, "GET", "/socket.io/1/")).text.partition(":")[0]
        async with Connection(port) as connection:
            connection.write(head(port, f"/socket.io/1/flashsocket/{sid}") + CHALLENGE)
            checked(await connection.reply(head=True), f"http://127.0.0.1:{port}")
            async with asyncio.timeout(DEADLINE):
                assert await connection.reader.readexactly(16) == PROOF
                assert await connection.reader.readuntil(b"\xff") == b"\x001::\xff"


@FAST
async def test_drafts_of_sessions_that_there_are_not() -> None:
    async with serving() as (port, refused):
        async with Connection(port) as connection:
            connection.write(head(port, "/socket.io/1/websocket/unknown") + CHALLENGE)
            assert (await connection.reply(head=True)).status == 101
            assert await connection.ended() == PROOF + b"\x007:::1+0\xff\xff\x00"
        async with Connection(port) as connection:
            connection.write(head(port, "/socket.io/1/websocket/unknown", origin="http://bad.example") + CHALLENGE)
            assert (await connection.reply()).status == 403
        assert len(refused) == 2
