"""Clients of Socket.IO 0.6 over TCP, by the very bytes of browsers of 2011."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect

from faces.support.flash import CHALLENGE, KEYS, PROOF, checked, head
from faces.support.http import DEADLINE, Connection, request
from faces.support.inside import SERVING
from madang import Server, Socket
from support.server import FACES

pytestmark = pytest.mark.skipif("uvicorn-fast" not in FACES, reason="the servers are in the tests' own event loop")

ALL = ["polling", "websocket", "flashsocket", "jsonp", "iframe", "multipart"]
SID = 20


class Program:
    """A server, and what it is told.

    Attributes:
        io: the server.
        port: where it listens.
        ends: why clients were lost.
    """

    def __init__(self, **settings: Any) -> None:
        self.io = Server(**{"generations": ["sio0"], "transports": ALL, **settings})
        self.port = 0
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self.io.on("message", lambda socket, *args: socket.emit("message", *args))
        self.io.on("leave", lambda socket: socket.disconnect())
        self.io.on("disconnect", self._gone)

    def _gone(self, socket: Socket, reason: str) -> None:
        self.ends.put_nowait(reason)

    async def end(self) -> str:
        return await asyncio.wait_for(self.ends.get(), DEADLINE)


Open = Callable[..., contextlib.AbstractAsyncContextManager[Program]]


@pytest.fixture(params=SERVING)
def opened(request: pytest.FixtureRequest) -> Open:
    @contextlib.asynccontextmanager
    async def open_(**settings: Any) -> AsyncIterator[Program]:
        program = Program(**settings)
        async with SERVING[request.param](program.io) as program.port:
            yield program

    return open_


@contextlib.asynccontextmanager
async def fast(**settings: Any) -> AsyncIterator[Program]:
    """The fast face, which alone speaks the drafts."""
    program = Program(**settings)
    async with SERVING["fast"](program.io) as program.port:
        yield program


def form(payload: str) -> bytes:
    return f"data={quote(payload, safe='')}".encode()


FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


def sid_of(payload: str) -> str:
    assert payload.startswith(f"~m~{SID}~m~")
    assert len(payload) == len(f"~m~{SID}~m~") + SID
    return payload[-SID:]


# WebSocket


async def say(connection: Connection, payload: str) -> None:
    connection.write(b"\0" + payload.encode() + b"\xff")


async def hear(connection: Connection) -> str:
    async with asyncio.timeout(DEADLINE):
        message = await connection.reader.readuntil(b"\xff")
    assert message[:1] == b"\0"
    return message[1:-1].decode()


@pytest.mark.parametrize("draft", [75, 76])
@pytest.mark.parametrize("name", ["websocket", "flashsocket"])
async def test_drafts(name: str, draft: int) -> None:
    async with fast() as program, Connection(program.port) as connection:
        connection.write(head(program.port, f"/socket.io/{name}", KEYS if draft == 76 else None))
        reply = await connection.reply(head=True)
        where = f"ws://127.0.0.1:{program.port}/socket.io/{name}"
        if draft == 76:
            checked(reply, f"http://127.0.0.1:{program.port}")
            assert reply.header("sec-websocket-location") == where
            connection.write(CHALLENGE)
            assert await connection.reader.readexactly(16) == PROOF
        else:
            assert reply.status == 101
            assert reply.header("websocket-location") == where
        sid = sid_of(await hear(connection))
        assert program.io.engine.sessions[sid].transport.name == name
        await say(connection, "~m~6~m~마당 é€!~m~10~m~~j~[1,2.5]")
        assert await hear(connection) == "~m~6~m~마당 é€!"
        assert await hear(connection) == "~m~10~m~~j~[1,2.5]"
        program.io.emit("message", "🎈")
        assert await hear(connection) == '~m~17~m~~j~"\\ud83c\\udf88"'
        connection.write(b"\xff\0")
        assert await program.end() == "transport close"


async def test_heartbeats_over_a_draft() -> None:
    async with fast(ping_interval_seconds=0.05) as program, Connection(program.port) as connection:
        connection.write(head(program.port, "/socket.io/websocket", None))
        await connection.reply(head=True)
        session = program.io.engine.sessions[sid_of(await hear(connection))]
        assert await hear(connection) == "~m~4~m~~h~1"
        assert not session.confirmed
        await say(connection, "~m~4~m~~h~1")
        assert await hear(connection) == "~m~4~m~~h~1"
        assert session.confirmed


async def test_no_drafts_where_the_generation_is_off() -> None:
    settings = {"generations": ["eio4"], "transports": ["polling", "websocket"]}
    async with fast(**settings) as program, Connection(program.port) as connection:
        connection.write(head(program.port, "/socket.io/websocket") + CHALLENGE)
        assert (await connection.reply()).status in (400, 404)


async def test_websocket_of_today(opened: Open) -> None:
    async with opened() as program:
        async with connect(f"ws://127.0.0.1:{program.port}/socket.io/websocket", open_timeout=DEADLINE) as ws:
            sid_of(str(await ws.recv()))
            await ws.send("~m~2~m~hi~m~0~m~")
            assert [await ws.recv(), await ws.recv()] == ["~m~2~m~hi", "~m~0~m~"]
            await ws.send("~m~99~m~hi")
            await asyncio.wait_for(ws.wait_closed(), DEADLINE)
            assert ws.close_code == 1002
        assert await program.end() == "parse error"


# HTTP


@pytest.mark.parametrize("name", ["xhr-polling", "jsonp-polling"])
async def test_polls(opened: Open, name: str) -> None:
    def url(sid: str, end: str) -> str:
        return f"/socket.io/{name}/{sid}/{end}"

    def text(payload: str) -> str:
        return payload if name == "xhr-polling" else f'io.JSONP[3]._("{payload}");'

    poll, post = ("1300000000000", "send") if name == "xhr-polling" else ("1300000000000/3", "1300000000000/3")
    async with opened() as program, Connection(program.port) as polls, Connection(program.port) as posts:
        first = await polls.ask("GET", url("", poll))
        assert first.status == 200
        [sid] = program.io.engine.sessions
        assert first.text == text(f"~m~20~m~{sid}")
        polls.send("GET", url(sid, poll))
        for said in ("hello", "é and <", "a+b & c=d"):
            answer = await posts.ask("POST", url(sid, post), form(f"~m~{len(said)}~m~{said}"), FORM)
            assert (answer.status, answer.text) == (200, "ok")
            assert (answer.header("content-type") or "").startswith("text/plain")
            reply = await polls.reply()
            expected = text(f"~m~{len(said)}~m~{said}")
            assert reply.text == (expected if name == "xhr-polling" else expected.replace("<", "\\u003c"))
            polls.send("GET", url(sid, poll))
        answer = await posts.ask("POST", url(sid, post), form('~m~29~m~~j~{"event":"leave","args":[]}'), FORM)
        assert answer.status == 400  # the length is wrong
        assert await program.end() == "parse error"
        assert (await polls.reply()).text == text("")
        assert (await polls.ask("GET", url(sid, poll))).status == 400


async def chunks(connection: Connection, until: bytes) -> bytes:
    """What comes of a chunked response, up to what it shall end with."""
    data = b""
    async with asyncio.timeout(DEADLINE):
        while not data.endswith(until):
            size = int(await connection.reader.readline(), 16)
            assert size, f"the response ends behind {data!r}"
            data += (await connection.reader.readexactly(size + 2))[:-2]
    return data


def part(payload: str) -> bytes:
    return f"Content-Type: text/plain; charset=UTF-8\n\n{payload}\n--socketio\n".encode()


def script(payload: str) -> bytes:
    return f"<script>parent.s._({json.dumps(payload)}, document);</script>".encode()


@pytest.mark.parametrize(
    ("name", "start", "chunk"),
    [("htmlfile//1300000000000", b"<html><body>".ljust(256), script), ("xhr-multipart/", b"--socketio\n", part)],
    ids=["htmlfile", "multipart"],
)
async def test_streams(opened: Open, name: str, start: bytes, chunk: Callable[[str], bytes]) -> None:
    async with opened(ping_interval_seconds=0.3) as program, Connection(program.port) as stream:
        stream.send("GET", f"/socket.io/{name}")
        reply = await stream.reply(head=True)
        assert reply.status == 200
        assert reply.header("x-content-type-options") == "nosniff"
        if "multipart" in name:
            assert reply.header("content-type") == 'multipart/x-mixed-replace;boundary="socketio"'
        assert await chunks(stream, start) == start
        [sid] = program.io.engine.sessions
        hello = chunk(f"~m~20~m~{sid}")
        assert await chunks(stream, hello) == hello
        where = f"/socket.io/{name.partition('/')[0]}/{sid}/send"
        answer = await request(program.port, "POST", where, form("~m~10~m~--socketio~m~2~m~hi"), FORM)
        assert answer.text == "ok"
        last = chunk("~m~2~m~hi")
        both = chunk('~m~20~m~~j~"-\\u002dsocketio"') + last
        assert (await chunks(stream, last)).endswith(both)
        ping = chunk("~m~4~m~~h~1")
        await chunks(stream, ping)
        assert (await request(program.port, "POST", where, form("~m~4~m~~h~1"), FORM)).text == "ok"
        await chunks(stream, ping)
        await stream.close()
        assert await program.end() in ("transport close", "transport error")


async def test_pages_of_others(opened: Open) -> None:
    async with opened() as program:
        for headers, path in (
            ({"Origin": "https://evil.example"}, "xhr-polling//1"),
            ({"Origin": "https://evil.example"}, "xhr-multipart/"),
            ({"Referer": "https://evil.example/page"}, "jsonp-polling//1/0"),
        ):
            assert (await request(program.port, "GET", f"/socket.io/{path}", headers=headers)).status == 403
        assert program.io.engine.sessions == {}
