"""The fast face: requests that don't wait for the response before them, and clients that don't read any."""

import logging
from collections.abc import AsyncIterator

import pytest

import madang
from faces.support.http import Connection
from faces.support.wire import connect, turns
from madang.faces.uvicorn import serve_async
from madang.transports import Request

HOST = b"Host: x\r\n"
HANDSHAKE = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n" + HOST + b"\r\n"
UNKNOWN = b"GET /socket.io/?EIO=4&transport=%d HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
async def io() -> AsyncIterator[madang.Server]:
    io = madang.Server()
    await io.start()
    yield io
    await io.close()


async def test_one_request_for_each_turn_of_the_event_loop(io: madang.Server) -> None:
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE * 100)
    assert (wire.responses, wire.reading) == (1, False)
    for done in range(1, 100):
        assert wire.responses == done
        await turns(1)
    assert (wire.responses, wire.reading) == (100, True)
    wire.protocol.data_received(HANDSHAKE)
    assert wire.responses == 101  # and a request that comes alone waits for nothing


async def test_a_client_that_does_not_read_gets_no_more_responses(io: madang.Server) -> None:
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE * 20)
    await turns(4)
    assert wire.responses == 5
    wire.protocol.pause_writing()
    await turns(10)
    assert (wire.responses, wire.reading) == (5, False)
    wire.protocol.resume_writing()
    await turns(20)
    assert (wire.responses, wire.reading) == (20, True)


async def test_a_request_while_the_client_does_not_read_waits(io: madang.Server) -> None:
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE)
    wire.protocol.pause_writing()
    wire.protocol.data_received(HANDSHAKE)
    await turns(3)
    assert (wire.responses, wire.reading) == (1, False)
    wire.protocol.resume_writing()
    await turns(3)
    assert (wire.responses, wire.reading) == (2, True)


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with serve_async(madang.Server()) as port, Connection(port) as connection:
        connection.write((HANDSHAKE + UNKNOWN % 1) * 200)
        statuses = [(await connection.reply()).status for _ in range(400)]
        assert statuses == [200, 400] * 200
        assert (await connection.ask("GET", "/socket.io/?EIO=4&transport=polling")).status == 200


async def test_after_connection_close_nothing_is_handled(io: madang.Server) -> None:
    wire = connect(io)
    last = HANDSHAKE.replace(HOST, HOST + b"Connection: close\r\n")
    wire.protocol.data_received(last + HANDSHAKE)
    await turns(3)
    assert (wire.responses, wire.closed, len(io.engine.sessions)) == (1, True, 1)


async def test_the_head_behind_a_whole_request_is_counted_alone(io: madang.Server) -> None:
    limit = io.config.max_header_bytes
    wire = connect(io)
    body = b"x" * (limit + 1000)
    wire.protocol.data_received(HANDSHAKE)
    (sid,) = io.engine.sessions
    post = b"POST /socket.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\n" % sid.encode() + HOST
    wire.protocol.data_received(post + b"Content-Length: %d\r\n\r\n" % len(body))
    wire.protocol.data_received(body + HANDSHAKE[:-2])
    await turns(3)
    assert (wire.responses, wire.closed) == (2, False)
    wire.protocol.data_received(b"\r\n")
    assert (wire.responses, wire.closed) == (3, False)
    # and yet it is counted
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE + HANDSHAKE[:-2])
    for _ in range(limit // 1000 + 1):
        wire.protocol.data_received(b"X-Long: " + b"x" * 990 + b"\r\n")
    assert b" 431 " in wire.written


async def test_a_lost_connection_abandons_the_poll_before_pipelined_requests(io: madang.Server) -> None:
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE)
    (session,) = io.engine.sessions.values()
    poll = b"GET /socket.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\n" % session.id.encode() + HOST + b"\r\n"
    wire.protocol.data_received(poll + HANDSHAKE + HANDSHAKE)
    await turns(5)
    assert (wire.responses, len(io.engine.sessions)) == (1, 1)
    wire.close()
    wire.protocol.connection_lost(ConnectionResetError())
    await turns(5)
    assert (wire.responses, len(io.engine.sessions)) == (1, 0)


UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def test_no_upgrade_behind_a_request_without_response(io: madang.Server) -> None:
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE)
    (session,) = io.engine.sessions.values()
    await turns(1)
    poll = b"GET /socket.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\n" % session.id.encode() + HOST + b"\r\n"
    post = b"POST" + poll[3:-2] + b"Content-Length: 2\r\n\r\n40"
    wire.protocol.data_received(poll + UPGRADE + b"\r\n")
    wire.protocol.data_received(b"\x81\x80\0\0\0\0")
    assert (wire.responses, wire.closed) == (1, False)
    other = connect(io)
    other.protocol.data_received(post)  # answers the poll
    await turns(5)
    assert (wire.responses, wire.closed) == (2, True)
    assert b" 101 " not in wire.written
    assert b"Connection: close" in wire.written


async def test_no_upgrade_behind_pipelined_requests(io: madang.Server) -> None:
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE * 3 + UPGRADE + b"\r\n")
    await turns(5)
    assert (wire.responses, wire.closed) == (3, True)
    assert b" 101 " not in wire.written


async def test_malformed_extensions_are_refused() -> None:
    async with serve_async(madang.Server(websocket_compression=True)) as port, Connection(port) as connection:
        connection.write(UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate; =\r\n\r\n")
        assert (await connection.reply()).status == 400
        assert await connection.ended() == b""


async def test_a_path_can_not_write_lines_of_its_own_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    options = {"access_log": True, "log_config": None, "log_level": "info"}
    forged = "/%0d%0aforged%1b/socket.io/?EIO=4&transport=polling"
    async with serve_async(madang.Server(), **options) as port, Connection(port) as connection:
        assert (await connection.ask("GET", forged)).status == 200
        assert (await connection.ask("GET", "/socket.io/?EIO=4&transport=polling")).status == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert lines == [
        f'127.0.0.1 - "GET {target} HTTP/1.1" 200' for target in (forged, "/socket.io/?EIO=4&transport=polling")
    ]


def test_the_url_of_a_request_is_one_printable_line() -> None:
    def url(path: str, query: str = "") -> str:
        return Request("GET", path, query, []).url

    assert url("/socket.io/", "EIO=4&transport=polling&x=%0a") == "/socket.io/?EIO=4&transport=polling&x=%0a"
    assert url("/a-b_c.d~e/f:g@h/(i)") == "/a-b_c.d~e/f:g@h/(i)"
    assert url("/a\r\nforged?\x1b%", "x\ny") == "/a%0D%0Aforged%3F%1B%25?x%0Ay"


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 41\r\n", b"Transfer-Encoding: chunked\r\n"], ids=["length", "chunks"]
)
@pytest.mark.parametrize("path", [b"/", b"/socket.io/?EIO=4&transport=polling&sid=x"], ids=["elsewhere", "ours"])
@pytest.mark.parametrize("apart", [True, False], ids=["apart", "together"])
async def test_the_body_of_a_request_for_an_unknown_protocol_is_no_request(
    path: bytes, fields: bytes, apart: bool
) -> None:
    """The parser doesn't read it. A proxy that does would take the second response for that to another client."""
    io = madang.Server()
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n%b\r\n" % (path, fields)
    body = b"GET /smuggled HTTP/1.1\r\nHost: xxxxxxxx\r\n\r\n"
    async with serve_async(io, log_config=None) as port, Connection(port) as connection:
        connection.write(head if apart else head + body)
        assert (await connection.reply()).status in (400, 404)
        if apart:
            connection.write(body)
        assert await connection.ended() == b""


async def test_a_request_for_an_unknown_protocol_without_a_body_leaves_the_connection_open() -> None:
    async with serve_async(madang.Server(), log_config=None) as port, Connection(port) as connection:
        for _ in range(2):
            headers = {"Connection": "Upgrade", "Upgrade": "h2c"}
            target = "/socket.io/?EIO=4&transport=polling"
            assert (await connection.ask("GET", target, headers=headers)).status == 200


async def test_what_comes_with_a_request_for_an_unknown_protocol_is_not_half_a_request() -> None:
    """uvicorn drops it: the rest would be read from its middle on."""
    wanted = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with serve_async(madang.Server(), log_config=None) as port, Connection(port) as connection:
        connection.write(wanted + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n")
        assert (await connection.reply()).status == 404
        connection.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await connection.ended() == b""


def session_of(io: madang.Server) -> bytes:
    """The id of the only session."""
    (sid,) = io.engine.sessions
    return sid.encode()


POST_WITH_EXPECT = (
    b"POST /socket.io/?EIO=4&transport=%b&sid=%b HTTP/1.1\r\nHost: x\r\n"
    b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
)


async def test_who_expects_to_be_told_so_sends_the_body_then(io: madang.Server) -> None:
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE)
    wire.written.clear()
    wire.protocol.data_received(POST_WITH_EXPECT % (b"polling", session_of(io)))
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.written.clear()
    wire.protocol.data_received(b"40")
    await turns(1)
    assert wire.written.startswith(b"HTTP/1.1 200 ")


async def test_who_has_sent_the_body_needs_not_be_told(io: madang.Server) -> None:
    wire = connect(io)
    wire.protocol.data_received(HANDSHAKE)
    poll = b"GET /socket.io/?EIO=4&transport=polling&sid=%b HTTP/1.1\r\n\r\n" % session_of(io)
    wire.protocol.data_received(poll + POST_WITH_EXPECT % (b"polling", session_of(io)) + b"40")
    io.engine.sessions[session_of(io).decode()].close("over")
    await turns(3)
    assert b"100 Continue" not in wire.written


async def test_nobody_is_told_to_send_a_body_in_the_middle_of_another_response() -> None:
    io = madang.Server(transports=["sse"])
    async with io:
        wire = connect(io)
        wire.protocol.data_received(b"GET /socket.io/?EIO=4&transport=sse HTTP/1.1\r\n\r\n")
        assert wire.responses == 1
        wire.protocol.data_received(POST_WITH_EXPECT % (b"sse", session_of(io)))
        await turns(2)
        assert wire.responses == 1
