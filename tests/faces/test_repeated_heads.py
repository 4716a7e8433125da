"""The fast face: a request whose head was seen before is answered as the first one was, however its bytes come."""

import asyncio
import itertools
import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import madang
from faces.support.http import Connection
from faces.support.wire import Wire, another, connect, turns
from madang.faces.uvicorn import serve_async
from madang.rfc.ws import TEXT, accept_key, frame_masked
from madang.transports import Request

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
GET = b"GET /socket.io/?EIO=4&transport=%b HTTP/1.1\r\nHost: x\r\n%b\r\n"
POST = b"POST /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\r\nHost: x\r\n%b\r\n%b"
#: Requests that leave their connection open, and the statuses of their answers.
REQUESTS = [
    (GET % (b"polling", b""), 200),
    (GET % (b"nothing", b""), 400),
    (GET % (b"polling", b"Cookie: a=1\r\n"), 200),
    (GET % (b"polling", b"Content-Length: 3\r\n") + b"abc", 200),
    (POST % (b"Content-Length: 7\r\n", b'42["x"]'), 200),
    (POST % (b"Content-Length: 507\r\nCookie: a=1\r\n", b'42["x%b"]' % (b"y" * 500)), 200),
    (POST % (b"content-length: 1\r\n", b"6"), 200),
    (POST % (b"Transfer-Encoding: chunked\r\n", b'3\r\n42[\r\n4\r\n"x"]\r\n0\r\n\r\n'), 200),
    (b"\r\n" + GET % (b"polling", b""), 200),
    (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    (b"OPTIONS" + (GET % (b"polling", b""))[3:], 204),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 404),
]
#: Lines of heads that parsers have read in more than one way.
LINES = [
    b"Host: x",
    b"Cookie: a=1",
    b"Connection: close",
    b"Connection: keep-alive, Upgrade",
    b"Expect: 100-continue",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"transfer-encoding : chunked",
    b" folded: x",
    b"X-Forwarded-For: 10.1.2.3",
    b"X: HTTP/1.1",
    b"X: Content-Length: 3",
    b"X:",
    b": x",
    b"",
]
LENGTHS = [
    b"%b: %b%%d%b" % one
    for one in itertools.product(
        (b"Content-Length", b"content-length"), (b"", b"+", b"0", b" "), (b"", b" ", b"0", b", 6", b"\r\n ")
    )
]
#: A WebSocket's handshake, and lines that may change one.
OPENING = [
    b"Host: x",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: %b",
]
OPENING_LINES = [
    *LINES,
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 8",
    b"Sec-WebSocket-Extensions: permessage-deflate",
    b"Sec-WebSocket-Extensions: ;",
    b"Sec-WebSocket-Protocol: a, b",
    b"Origin: http://x",
    b"Origin: http://y",
    b"Content-Length: 3",
]
KEYS = [b"dGhlIHNhbXBsZSBub25jZQ=="] * 6 + [
    b"",
    b"dGhl",
    b" dGhlIHNhbXBsZSBub25jZQ==",
    b"dGhlIHNhbXBsZSBub25jZQ==\t",
    b"\xff",
]
BODIES = [b"", b"6", b'42["x"]', b'3\r\n42[\r\n4\r\n"x"]\r\n0\r\n\r\n', b"GET / HTTP/1.1\r\n\r\n"]


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A request, whose head may have been changed in one place."""
    body = draw(st.sampled_from(BODIES))
    lines = [b"Host: x", *draw(st.lists(st.sampled_from(LINES), max_size=draw(st.sampled_from([0, 0, 1, 3]))))]
    forms = st.sampled_from(draw(st.sampled_from([LENGTHS[:1], LENGTHS])))
    for form in draw(st.lists(forms, min_size=1, max_size=draw(st.sampled_from([1, 1, 2])))):
        lines.insert(draw(st.integers(0, len(lines))), form % len(body))
    head = b"HTTP/1.1\r\n" + b"".join([line + b"\r\n" for line in lines]) + b"\r\n"
    if draw(st.booleans()):
        at, more = draw(st.integers(0, len(head))), draw(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"0"]))
        head = head[:at] + more + head[at + draw(st.integers(0, 2)) :]
    method = draw(st.sampled_from([b"POST"] * 5 + [b"GET", b"GET", b"\r\nPOST", b" POST", b"OPTIONS"]))
    return method + b" /socket.io/?EIO=4&transport=polling&sid=SID " + head + body


@st.composite
def openings(draw: st.DrawFn) -> bytes:
    """A request for a WebSocket, whose head may have been changed in one place."""
    lines = [*OPENING, *draw(st.lists(st.sampled_from(OPENING_LINES), max_size=draw(st.sampled_from([0, 0, 1, 3]))))]
    lines = draw(st.permutations(lines))
    head = b"HTTP/1.1\r\n" + b"".join([line + b"\r\n" for line in lines]) + b"\r\n"
    if draw(st.booleans()):
        at, more = draw(st.integers(0, len(head))), draw(st.sampled_from([b"", b"\r", b"\n", b" ", b"0"]))
        head = head[:at] + more + head[at + draw(st.integers(0, 2)) :]
    query = draw(st.sampled_from([b"websocket"] * 4 + [b"polling", b"websocket&sid=SID", b"websocket&sid=none"]))
    return b"GET /socket.io/?EIO=4&transport=" + query + b" " + head.replace(b"%b", draw(st.sampled_from(KEYS)))


async def join(io: madang.Server, wire: Wire) -> tuple[str, list[str]]:
    """The id of a new session, and the events that it will have sent."""
    known = set(io.engine.sessions)
    wire.protocol.data_received(GET % (b"polling", b""))
    (sid,) = set(io.engine.sessions) - known
    wire.protocol.data_received(POST.replace(b"SID", sid.encode()) % (b"Content-Length: 2\r\n", b"40"))
    await turns(2)
    heard: list[str] = []
    io.engine.sessions[sid].sockets["/"].on_any(lambda _, event, *arguments: heard.append(event))
    return sid, heard


async def answers(
    io: madang.Server, requests: list[bytes], cuts: list[int] | None = None
) -> tuple[list[int], list[str]]:
    """The statuses by which a connection of its own is answered, and the events that its client's session has sent.

    Each request comes by itself, or all as one piece that is cut into several.
    """
    opening, wire = connect(io), connect(io)
    sid, heard = await join(io, opening)
    pieces = [one.replace(b"SID", sid.encode()) for one in requests]
    if cuts is not None:
        data = b"".join(pieces)
        borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        pieces = [data[start:stop] for start, stop in itertools.pairwise(borders)]
    for piece in pieces:
        wire.protocol.data_received(piece)
        await turns(1)
    for _ in range(100 * len(requests)):
        if wire.responses == len(requests):
            break
        await turns(1)
    found = [int(one) for one in re.findall(rb"HTTP/1\.1 (\d{3})", wire.written)]
    assert not wire.closed
    for one in (opening, wire):
        one.protocol.connection_lost(None)
    return found, heard


@settings(max_examples=100, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 1500), max_size=6),
)
def test_pieces_of_any_size(chosen: list[tuple[bytes, int]], cuts: list[int]) -> None:
    """One request in each piece, or others: the same answers and events, in the order of the requests."""

    async def ask() -> None:
        io = madang.Server()
        await io.start()
        requests = [data for data, _ in chosen]
        one_by_one = await answers(io, requests)
        assert one_by_one[0] == [status for _, status in chosen]
        assert await answers(io, requests, cuts) == one_by_one
        await io.close()

    asyncio.run(ask())


@settings(max_examples=200, deadline=None)
@given(data=st.one_of(heads(), openings()))
def test_a_head_that_was_seen_is_read_as_the_parser_reads_it(data: bytes) -> None:
    """Byte by byte nothing is found; in one piece, the second time, what was seen before is."""

    async def ask() -> None:
        io = madang.Server()
        await io.start()
        told: list[tuple[Any, ...]] = []

        @io.engine.on("headers")
        def look(headers: object, request: Request) -> None:
            told.append((request.method, request.headers, request.length, request.address))

        opening = connect(io)

        async def answer(*, bytewise: bool = False) -> tuple[Any, ...]:
            sid, heard = await join(io, another(opening))
            told.clear()
            wire = another(opening)
            for one in (data.replace(b"SID", sid.encode()), GET % (b"nothing", b"")):  # where the first one has ended
                for start in range(len(one)) if bytewise else [0]:
                    if not wire.closed:
                        wire.protocol.data_received(one[start : start + 1] if bytewise else one)
                await turns(3)
            written = re.sub(rb"date: .*?\r\n|\"sid\":\"[^\"]*\"", b"", bytes(wire.written))
            wire.protocol.connection_lost(None)
            io.engine.sessions.pop(sid, None)
            return written, wire.closed, heard, list(told)

        expected = await answer(bytewise=True)
        assert await answer() == expected
        assert await answer() == expected
        await io.close()

    asyncio.run(ask())


async def test_what_handlers_are_told_of_a_request_is_the_same_each_time() -> None:
    seen: list[tuple[Any, ...]] = []

    def look(request: Request) -> bool:
        fields = (request.header("cookie"), request.header("user-agent"), request.headers, request.block)
        seen.append((request.method, request.url, request.address, request.secure, request.query, *fields))
        return True

    headers = {"Cookie": "a=1", "User-Agent": "someone", "X-Forwarded-For": "10.1.2.3", "X-Forwarded-Proto": "https"}
    async with serve_async(madang.Server(allow_request=look), log_config=None) as port, Connection(port) as connection:
        for _ in range(3):
            assert (await connection.ask("GET", HANDSHAKE, headers=headers)).status == 200
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][2:4] == ("10.1.2.3", True)


async def test_what_a_listener_is_told_of_a_posts_length() -> None:
    """It is not among the headers that were remembered, and yet among those of the request."""
    lengths: list[tuple[int | None, str | None, str, str]] = []
    io = madang.Server()

    @io.engine.on("headers")
    def look(headers: object, request: Request) -> None:
        if request.method == "GET":
            assert request.header("content-length") is None
        else:
            (line,) = [line for line in request.block.decode().split("\r\n") if line.startswith("content-length")]
            told = request.headers["content-length"], line.partition(":")[2].strip()
            lengths.append((request.length, request.header("content-length"), *told))

    async with serve_async(io, log_config=None) as port, Connection(port) as connection:
        hello = await connection.ask("GET", HANDSHAKE)
        target = f"{HANDSHAKE}&sid={json.loads(hello.text[1:])['sid']}"
        for size in (2, 30, 444):
            assert (await connection.ask("POST", target, "6" * size)).status == 200
            assert (await connection.ask("GET", HANDSHAKE)).status == 200
    assert lengths == [(size, *[str(size)] * 3) for size in (2, 30, 444)]


async def test_a_body_that_is_too_large_is_refused_each_time() -> None:
    async with serve_async(madang.Server(max_payload_bytes=100), log_config=None) as port:
        async with Connection(port) as connection:
            hello = await connection.ask("GET", HANDSHAKE)
        target = f"{HANDSHAKE}&sid={json.loads(hello.text[1:])['sid']}"
        async with Connection(port) as connection:
            for body, status in (("40", 200), ("6" * 40, 200), ("4" * 101, 413)):
                assert (await connection.ask("POST", target, body)).status == status


async def test_a_connection_without_a_next_request_is_ended() -> None:
    """Whichever way it came to wait."""
    async with (
        serve_async(madang.Server(), log_config=None, timeout_keep_alive=0) as port,
        Connection(port) as connection,
    ):
        for _ in range(3):
            assert (await connection.ask("GET", HANDSHAKE)).status == 200
        assert await connection.ended() == b""


async def test_a_response_of_another_application_sets_no_end_to_a_poll_behind_it() -> None:
    """Who begins with a page, and polls on the same connection, as browsers do."""
    io = madang.Server(ping_interval_seconds=1)
    async with serve_async(io, log_config=None, timeout_keep_alive=0.5) as port:
        async with Connection(port) as connection:
            hello = await connection.ask("GET", HANDSHAKE)
        async with Connection(port) as connection:
            assert (await connection.ask("GET", "/")).status == 404
            poll = await connection.ask("GET", f"{HANDSHAKE}&sid={json.loads(hello.text[1:])['sid']}")
    assert (poll.status, poll.text) == (200, "2")


def opening_request(key: bytes, more: bytes = b"") -> bytes:
    fields = b"".join([line + b"\r\n" for line in OPENING[1:]]) % key
    return GET % (b"websocket", fields + more)


KEY_AND_ACCEPT = [  # RFC 6455 1.3, and two more
    (b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    *((key, accept_key(key.decode()).encode()) for key in (b"AAAAAAAAAAAAAAAAAAAAAA==", b"AAECAwQFBgcICQoLDA0ODw==")),
]


async def test_a_handshake_that_was_seen_opens_a_websocket_with_a_key_of_its_own() -> None:
    told: list[str] = []

    def look(request: Request) -> bool:
        assert request.headers["sec-websocket-key"] == request.header("sec-websocket-key")
        told.append(request.headers["sec-websocket-key"])
        return True

    io = madang.Server(allow_request=look)
    await io.start()
    first = connect(io)
    heads = first.protocol.ground.heads
    assert heads.find(opening_request(KEY_AND_ACCEPT[0][0])) is None
    for key, accept in KEY_AND_ACCEPT:
        wire = another(first)
        wire.protocol.data_received(opening_request(key))
        assert heads.find(opening_request(key)) is not None
        assert wire.written.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"\r\nSec-WebSocket-Accept: %b\r\n" % accept in wire.written
        wire.protocol.data_received(frame_masked(TEXT, b"40", key=b"abcd"))
        await turns(2)
        assert b'40{"sid":"' in wire.written
        wire.protocol.connection_lost(None)
    assert told == [key.decode() for key, _ in KEY_AND_ACCEPT]
    await io.close()


async def test_a_handshake_that_is_refused_is_refused_each_time() -> None:
    io = madang.Server(origins="same")
    await io.start()
    first = connect(io)
    for _ in range(3):
        wire = another(first)
        wire.protocol.data_received(opening_request(KEY_AND_ACCEPT[0][0], b"Origin: http://elsewhere\r\n"))
        assert wire.written.startswith(b"HTTP/1.1 403 ")
        assert wire.closed
        wire.protocol.connection_lost(None)
    await io.close()


async def test_a_request_before_a_handshake_is_not_taken_for_one() -> None:
    """In one piece with it, and with as many fields: nothing is remembered of either that is of the other."""
    io = madang.Server()
    await io.start()
    fields = b"X: 1\r\nY: 2\r\nZ: 3\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    before = GET % (b"polling", fields)
    wire = connect(io)
    heads = wire.protocol.ground.heads
    wire.protocol.data_received(before + opening_request(KEY_AND_ACCEPT[0][0]))
    await turns(3)
    assert wire.responses == 2
    assert heads.find(before) is None
    assert heads.find(opening_request(KEY_AND_ACCEPT[0][0])) is None
    wire.protocol.connection_lost(None)
    await io.close()
