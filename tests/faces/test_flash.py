"""FlashSocket over TCP, by the very bytes of Flash films: the old handshake, its frames, the policy file."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from faces.support.clients import Client, PollingClient, WebSocketClient, unpack
from faces.support.flash import CHALLENGE, KEYS, POLICY_REQUEST, PROOF, FlashClient, checked, head, some_bytes
from faces.support.http import Connection, request
from faces.support.inside import serve_portable
from madang import Server, Socket
from madang.errors import ConfigError, RemoteProtocolError, RequestRefused
from madang.faces.uvicorn import serve_async
from support.server import DEFAULT_FACE, FACES, ServerProcess

pytestmark = pytest.mark.skipif("uvicorn-fast" not in FACES, reason="the fast face alone speaks old drafts")

ALL = ["polling", "websocket", "flashsocket"]
TARGET = "/socket.io/?EIO=4&transport=flashsocket"
LIMIT = 3_000_000


@pytest.fixture(scope="module")
def flash() -> Iterator[ServerProcess]:
    """The fast face on uvloop, as it is served by the command."""
    settings = {"transports": ALL, "max_payload_bytes": LIMIT, "header_timeout_seconds": 1, "ping_interval_seconds": 25}
    with ServerProcess(DEFAULT_FACE, settings, "faces.support.app:app", ["--flash-policy-port", "0"]) as server:
        yield server
        assert not server.tracebacks(), "\n".join(server.tracebacks())


class Seen:
    """What a server in the test's own event loop has told."""

    def __init__(self, **settings: Any) -> None:
        self.io = Server(**{"transports": ALL, **settings})
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self.broken: list[RemoteProtocolError] = []
        self.refused: list[RequestRefused] = []
        self.io.on("disconnect", self._gone)
        self.io.on("echo", lambda socket, *args: args)
        self.io.on("leave", lambda socket: socket.disconnect(True))
        self.io.engine.on("connection_error", lambda error, request: self.refused.append(error))

    def _gone(self, socket: Socket, reason: str) -> None:
        self.ends.put_nowait(reason)

    async def end(self) -> str:
        return await asyncio.wait_for(self.ends.get(), 10)


# ---- the handshake ----


async def test_the_documented_handshake(flash: ServerProcess) -> None:
    async with Connection(flash.port) as connection:
        connection.write(head(flash.port, TARGET) + CHALLENGE)
        reply = await connection.reply(head=True)
        checked(reply, f"http://127.0.0.1:{flash.port}")
        assert reply.header("sec-websocket-location") == f"ws://127.0.0.1:{flash.port}{TARGET}"
        assert await connection.reader.readexactly(16) == PROOF
        assert (await connection.reader.readexactly(3)) == b"\x000{"


async def test_split_everywhere(flash: ServerProcess) -> None:
    whole = head(flash.port, TARGET) + CHALLENGE + b"\x0040\xff"

    async def one(cut: int) -> None:
        async with Connection(flash.port) as connection:
            connection.write(whole[:cut])
            await asyncio.sleep(0.05)
            connection.write(whole[cut:])
            assert (await connection.reply(head=True)).status == 101
            assert await connection.reader.readexactly(16) == PROOF
            for start in (b"\x000{", b"\x0040{"):
                assert (await connection.reader.readuntil(b"\xff")).startswith(start)

    await asyncio.gather(*[one(cut) for cut in range(1, len(whole), 1 if len(whole) < 400 else 3)])


async def test_byte_by_byte(flash: ServerProcess) -> None:
    async with Connection(flash.port) as connection:
        for byte in head(flash.port, TARGET) + CHALLENGE + b"\x0040\xff":
            connection.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await connection.reply(head=True)).status == 101
        assert await connection.reader.readexactly(16) == PROOF
        assert (await connection.reader.readuntil(b"\xff")).startswith(b"\x000{")
        assert (await connection.reader.readuntil(b"\xff")).startswith(b"\x0040{")


async def test_the_response_begins_before_the_eight_bytes_come(flash: ServerProcess) -> None:
    """Proxies hold them back until they see it."""
    async with Connection(flash.port) as connection:
        connection.write(head(flash.port, TARGET))
        assert (await connection.reply(head=True)).status == 101
        connection.write(CHALLENGE)
        assert await connection.reader.readexactly(16) == PROOF


async def test_eight_bytes_that_never_come(flash: ServerProcess) -> None:
    async with Connection(flash.port) as connection:
        connection.write(head(flash.port, TARGET) + CHALLENGE[:7])
        assert (await connection.reply(head=True)).status == 101
        assert await connection.ended() == b""


async def test_behind_another_request(flash: ServerProcess) -> None:
    async with Connection(flash.port) as connection:
        assert (await connection.ask("GET", "/")).status == 200
        connection.write(head(flash.port, TARGET) + CHALLENGE)
        assert (await connection.reply(head=True)).status == 101
        assert await connection.reader.readexactly(16) == PROOF


async def test_pipelined_behind_another_request(flash: ServerProcess) -> None:
    """The other response comes first and whole; nothing of the handshake ends up in it."""
    first = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{flash.port}\r\n\r\n".encode()
    async with Connection(flash.port) as connection:
        connection.write(first + head(flash.port, TARGET) + CHALLENGE)
        reply = await connection.reply()
        assert reply.status == 200
        assert "Madang" in reply.text
        assert await connection.ended() == b""


KEY = KEYS[0]


@pytest.mark.parametrize(
    "bad",
    [
        head(0, TARGET, ("123456", KEYS[1])),  # no spaces
        head(0, TARGET, ("12 34567", "a b c")),  # no digits
        head(0, TARGET, ("1 2 3 4", KEYS[1])),  # not divisible
        head(0, TARGET, ("9999999999999 9", KEYS[1])),  # too great
        head(0, TARGET, ("9" * 5000 + " 9", KEYS[1])),
        head(0, TARGET).replace(b"Sec-WebSocket-Key2", b"X-Other"),
        head(0, TARGET).replace(b"Origin", b"X-Origin"),
        head(0, TARGET).replace(b"Upgrade\r\nHost", b"keep-alive, Upgrade\r\nHost"),
        head(0, TARGET).replace(b"GET ", b"POST "),
    ],
    ids=[
        "no-spaces",
        "no-digits",
        "not-divisible",
        "too-great",
        "long",
        "one-key",
        "no-origin",
        "connection",
        "method",
    ],
)
async def test_wrong_handshakes(flash: ServerProcess, bad: bytes) -> None:
    async with Connection(flash.port) as connection:
        connection.write(bad.replace(b"127.0.0.1:0", b"127.0.0.1:%d" % flash.port) + CHALLENGE)
        reply = await connection.reply()
        assert reply.status == 400
        assert reply.body


@pytest.mark.parametrize(
    ("target", "origin", "status"),
    [
        (TARGET, "http://elsewhere.example", 403),
        ("/socket.io/?EIO=4&transport=polling", "", 400),
        ("/socket.io/?EIO=4&transport=pigeon", "", 400),
        ("/socket.io/?EIO=9&transport=flashsocket", "", 400),
        (f"{TARGET}&sid=unknown", "", 400),
    ],
    ids=["origin", "polling", "unknown", "generation", "sid"],
)
async def test_refusals(flash: ServerProcess, target: str, origin: str, status: int) -> None:
    async with Connection(flash.port) as connection:
        connection.write(head(flash.port, target, origin=origin) + CHALLENGE)
        assert (await connection.reply()).status == status


async def test_draft_75_and_other_names(flash: ServerProcess) -> None:
    """Clients of that time call it "websocket"; the draft before had no keys."""
    for draft in (75, 76):
        for name in ("flashsocket", "websocket"):
            client = FlashClient(flash.port, draft=draft)
            client.transport = name
            async with client:
                await client.join()
                assert (await client.call("who am i"))["transport"] == name
                assert await client.call("echo", b"".join([b"x"]).decode()) == "x"
                assert client.location == f"ws://127.0.0.1:{flash.port}/socket.io/?EIO=4&transport={name}"


async def test_not_without_the_setting() -> None:
    seen = Seen(transports=["polling", "websocket"])
    async with serve_async(seen.io) as port:
        for name in ("flashsocket", "websocket"):
            async with Connection(port) as connection:
                connection.write(head(port, f"/socket.io/?EIO=4&transport={name}") + CHALLENGE)
                assert (await connection.reply()).status == 400
        async with Connection(port) as connection:
            connection.write(POLICY_REQUEST)
            assert b"cross-domain-policy" not in await connection.ended()


async def test_over_tls_and_behind_proxies() -> None:
    """The location has the scheme that the client has used."""
    seen = Seen()
    async with serve_async(seen.io, forwarded_allow_ips="127.0.0.1") as port, Connection(port) as connection:
        connection.write(head(port, TARGET, more="X-Forwarded-Proto: https") + CHALLENGE)
        reply = await connection.reply(head=True)
        assert reply.header("sec-websocket-location") == f"wss://127.0.0.1:{port}{TARGET}"


# ---- events ----


@contextlib.asynccontextmanager
async def joined(port: int, kind: str = "hixie") -> AsyncIterator[Client]:
    client = FlashClient(port) if kind == "hixie" else RFC6455FlashClient(port)
    async with client:
        await client.join()
        yield client


class RFC6455FlashClient(WebSocketClient):
    """A newer film: text only too, in frames of today."""

    transport = "flashsocket"

    async def say(self, *frames: Any) -> None:
        from faces.support.clients import pack

        for frame in frames:
            await self.ws.send(pack([frame]))

    async def _frame(self) -> Any:
        frame = await self.ws.recv()
        assert isinstance(frame, str), "text only"
        return unpack(frame)[0]


@pytest.mark.parametrize("kind", ["hixie", "rfc6455"])
async def test_events_both_ways(flash: ServerProcess, kind: str) -> None:
    async with joined(flash.port, kind) as client:
        who = await client.call("who am i")
        assert (who["id"], who["transport"], who["first"]) == (client.id, "flashsocket", "flashsocket")
        values = [None, True, 0, -1.5, "", "어서 오세요 🎪 \u2028\x00", [], {"a": [{}]}]
        assert await client.call("echo", *values) == tuple(values)
        await client.emit("call me", "question", 1)
        frame = await client.hear()
        assert isinstance(frame, str)
        assert frame.startswith("42")
        number = frame[2 : frame.index("[")]
        assert json.loads(frame[2 + len(number) :]) == ["question", 1]
        await client.say(f'43{number}["answer"]')


@pytest.mark.parametrize("kind", ["hixie", "rfc6455"])
@pytest.mark.parametrize("size", [0, 1, 300, 1_000_000], ids=str)
async def test_bytes_travel_as_base64(flash: ServerProcess, kind: str, size: int) -> None:
    data = some_bytes(size)
    async with joined(flash.port, kind) as client:
        await client.say('451-["echo back",{"_placeholder":true,"num":0}]', data)
        assert await client.hear() == '451-["echo back",{"_placeholder":true,"num":0}]'
        assert await client.hear() == data


async def test_a_megabyte_of_text(flash: ServerProcess) -> None:
    text = "마당 🎪 " * 80_000
    async with joined(flash.port) as client:
        assert await client.call("echo", text) == text


async def test_a_thousand_in_order(flash: ServerProcess) -> None:
    async with joined(flash.port) as client:
        await client.say(*[f'42["count",{number}]' for number in range(1000)])
        assert await client.call("counted") == list(range(1000))
        await client.emit("burst", 1000)
        assert [await client.event("burst") for _ in range(1000)] == [[number] for number in range(1000)]


async def test_a_broadcast_to_all_kinds_of_links() -> None:
    seen = Seen()
    async with serve_async(seen.io) as port, contextlib.AsyncExitStack() as stack:
        clients: list[Client] = [
            FlashClient(port),
            FlashClient(port, seed=2),
            RFC6455FlashClient(port),
            WebSocketClient(port),
            PollingClient(port),
        ]
        for client in clients:
            await stack.enter_async_context(client)
            await client.join()
        for data in ("마당", b"\x00\xff"):
            seen.io.emit("news", data)
        for client in clients:
            assert await client.event("news") == ["마당"]
            assert await client.hear() == '451-["news",{"_placeholder":true,"num":0}]'
            assert await client.hear() == b"\x00\xff"


# ---- what breaks rules, and ends ----


@pytest.mark.parametrize(
    "garbage",
    [b"\x80\x03abc", b"\x01abc\xff", b"abc", b"\xff\x01", b"\x00bnot base64\xff", b"\x00nonsense\xff"],
    ids=["length", "type", "text", "half-close", "base64", "packet"],
)
async def test_what_is_no_message(garbage: bytes) -> None:
    seen = Seen()
    async with serve_async(seen.io) as port, FlashClient(port) as client:
        await client.join()
        client.connection.write(garbage)
        assert await client.closed()
        assert await seen.end() in ("parse error", "transport error")


async def test_a_message_without_end() -> None:
    seen = Seen(max_payload_bytes=100_000)
    async with serve_async(seen.io) as port, FlashClient(port) as client:
        await client.join()
        client.connection.write(b"\x00" + b"x" * 100_000)
        await asyncio.sleep(0.05)
        assert seen.io.engine.clients_count == 1
        client.connection.write(b"x")
        assert await client.closed()
        assert await seen.end() == "transport error"


async def test_what_is_not_utf8_is_replaced(flash: ServerProcess) -> None:
    async with FlashClient(flash.port) as client:
        await client.join()
        client.connection.write(b'\x00421["echo","a\xc0\xafb"]\xff')
        assert await client.hear() == '431["a\ufffd\ufffdb"]'


async def test_the_client_closes() -> None:
    seen = Seen()
    async with serve_async(seen.io) as port, FlashClient(port) as client:
        await client.join()
        client.connection.write(b"\xff\x00\x00ignored\xff")
        assert await client.connection.ended() == b"\xff\x00"
        assert await seen.end() == "transport close"


async def test_the_server_disconnects() -> None:
    seen = Seen()
    async with serve_async(seen.io) as port, FlashClient(port) as client:
        await client.join()
        await client.emit("leave")
        assert await client.hear() == "41"
        assert await client.closed()
        assert await seen.end() == "server namespace disconnect"


async def test_the_client_vanishes() -> None:
    seen = Seen()
    async with serve_async(seen.io) as port, FlashClient(port) as client:
        await client.join()
        client.reset()
        assert await seen.end() == "transport close"
        assert seen.io.engine.clients_count == 0


async def test_heartbeats() -> None:
    seen = Seen(ping_interval_seconds=0.2, ping_timeout_seconds=0.3)
    async with serve_async(seen.io) as port, FlashClient(port) as client:
        await client.join()
        for _ in range(2):
            assert await client.text() == "2"
            await client.say("3")
        assert await client.text() == "2"
        assert await client.closed()
        assert await seen.end() == "ping timeout"


async def test_a_client_that_does_not_read() -> None:
    """What it does not take waits, up to the limit; nothing of it is lost while there is room."""
    seen = Seen(max_buffered_bytes=4_000_000)
    async with serve_async(seen.io) as port, FlashClient(port) as client:
        await client.join()
        [socket] = seen.io.of("/").sockets.values()
        part = "x" * 100_000
        for number in range(60):
            socket.emit("part", number, part)
            await asyncio.sleep(0)
            if socket.session.direct is None:
                break
        else:
            pytest.fail("the link was never full")
        sent = number
        for _ in range(10):
            sent += 1
            socket.emit("part", sent, part)
        assert [await client.event("part") for _ in range(sent + 1)] == [[number, part] for number in range(sent + 1)]
        while seen.io.engine.clients_count:
            socket.emit("part", 0, part)
            await asyncio.sleep(0)
        assert await seen.end() == "slow consumer"


async def test_a_shutdown_ends_all() -> None:
    seen = Seen()
    async with contextlib.AsyncExitStack() as stack:
        async with serve_async(seen.io) as port:
            client = await stack.enter_async_context(FlashClient(port))
            await client.join()
            half = await stack.enter_async_context(Connection(port))
            half.write(head(port, TARGET))
            assert (await half.reply(head=True)).status == 101
            asking = await stack.enter_async_context(Connection(port))
            asking.write(POLICY_REQUEST[:5])
            await asyncio.sleep(0.05)
        assert await client.closed()
        assert await half.ended() == b""
        assert await asking.ended() == b""
        assert await seen.end() == "server shutting down"


# ---- upgrades ----


@pytest.mark.parametrize("kind", [FlashClient, RFC6455FlashClient])
async def test_upgrade_from_polling(flash: ServerProcess, kind: type[Any]) -> None:
    async with PollingClient(flash.port) as polling:
        await polling.join()
        assert polling.opened["upgrades"] == ["websocket"], "no client of this generation knows it by itself"
        polling.begin_poll()
        async with kind(flash.port, sid=polling.sid) as better:
            better.opened = polling.opened
            await better.say("2probe")
            assert await better.hear() == "3probe"
            assert unpack((await polling.end_poll()).text) == ["6"]
            await better.say("5")
            who = await better.call("who am i")
            assert (who["id"], who["transport"], who["first"]) == (polling.id, "flashsocket", "polling")
            await better.say('451-["echo back",{"_placeholder":true,"num":0}]', b"\x01\x02")
            assert await better.hear() == '451-["echo back",{"_placeholder":true,"num":0}]'
            assert await better.hear() == b"\x01\x02"


async def test_what_waited_for_a_poll_is_sent_as_text() -> None:
    seen = Seen()
    async with serve_async(seen.io) as port, PollingClient(port) as polling:
        await polling.join()
        async with FlashClient(port, sid=polling.sid) as better:
            await better.say("2probe")
            assert await better.hear() == "3probe"
            seen.io.emit("news", b"\x00\xff")
            await better.say("5")
            assert await better.hear() == '451-["news",{"_placeholder":true,"num":0}]'
            assert await better.hear() == b"\x00\xff"


async def test_no_upgrade_from_a_websocket(flash: ServerProcess) -> None:
    async with WebSocketClient(flash.port) as client, FlashClient(flash.port, sid=client.sid) as late:
        assert await late.closed()


# ---- on other ASGI servers ----


async def test_newer_films_on_the_portable_face() -> None:
    seen = Seen()
    async with serve_portable(seen.io) as port, RFC6455FlashClient(port) as client:
        await client.join()
        await client.say('451-["echo",{"_placeholder":true,"num":0}]', b"\x00\xff")
        await client.emit("leave")
        assert await client.hear() == "41"


# ---- the policy file ----


def policy_port(server: ServerProcess) -> int:
    [line] = [line for line in server.log.splitlines() if "Flash policy" in line]
    return int(line.rsplit(" ", 1)[1])


def expected(port: int, *domains: str) -> bytes:
    allowed = "".join(f'<allow-access-from domain="{domain}" to-ports="{port}"/>' for domain in domains or ["*"])
    return (
        '<?xml version="1.0"?><!DOCTYPE cross-domain-policy SYSTEM '
        '"http://www.macromedia.com/xml/dtds/cross-domain-policy.dtd">'
        f"<cross-domain-policy>{allowed}</cross-domain-policy>"
    ).encode()


@pytest.mark.parametrize("own", [False, True], ids=["main-port", "own-port"])
async def test_the_policy_file(flash: ServerProcess, own: bool) -> None:
    port = policy_port(flash) if own else flash.port
    async with Connection(port) as connection:
        connection.write(POLICY_REQUEST)
        assert await connection.ended() == expected(flash.port)
    for cut in range(1, 23):
        async with Connection(port) as connection:
            connection.write(POLICY_REQUEST[:cut])
            await asyncio.sleep(0.005)
            connection.write(POLICY_REQUEST[cut:])
            assert await connection.ended() == expected(flash.port)


@pytest.mark.parametrize("own", [False, True], ids=["main-port", "own-port"])
@pytest.mark.parametrize(
    "garbage",
    [b"<policy-file-request>\0", POLICY_REQUEST + b"x", b"<" * 100, b"<policy\0"],
    ids=["slash", "more", "many", "short"],
)
async def test_what_is_no_request_for_it(flash: ServerProcess, own: bool, garbage: bytes) -> None:
    async with Connection(policy_port(flash) if own else flash.port) as connection:
        connection.write(garbage)
        assert await connection.ended() == b""


@pytest.mark.parametrize("own", [False, True], ids=["main-port", "own-port"])
async def test_a_request_for_it_that_never_gets_whole(flash: ServerProcess, own: bool) -> None:
    async with Connection(policy_port(flash) if own else flash.port) as connection:
        connection.write(POLICY_REQUEST[:-1])
        assert await connection.ended() == b""


async def test_it_is_not_for_the_middle_of_a_connection(flash: ServerProcess) -> None:
    async with Connection(flash.port) as connection:
        assert (await connection.ask("GET", "/")).status == 200
        connection.write(POLICY_REQUEST)
        assert b"cross-domain-policy" not in await connection.ended()


async def test_it_says_who_may_connect() -> None:
    origins = ["https://one.example", "http://two.example:8080", "HTTP://TWO.example", "null"]
    for setting, domains in ((origins, ["one.example", "two.example"]), ("*", ["*"]), ("same", ["*"])):
        async with serve_async(Server(transports=ALL, origins=setting)) as port, Connection(port) as connection:
            connection.write(POLICY_REQUEST)
            assert await connection.ended() == expected(port, *domains)


async def test_few_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    io = Server(transports=ALL, max_flash_policy_connections=2)
    with caplog.at_level(logging.INFO, "madang"):
        async with serve_async(io, flash_policy_port=0, log_config=None) as port, contextlib.AsyncExitStack() as stack:
            [policy] = [record.args[0] for record in caplog.records if "Flash policy" in record.msg]
            idle = []
            for _ in range(3):
                idle.append(await stack.enter_async_context(Connection(policy)))
                idle[-1].write(POLICY_REQUEST[:4])
                await asyncio.sleep(0.05)
            assert await idle[0].ended() == b"", "the oldest makes room"
            idle[2].write(POLICY_REQUEST[4:])
            assert await idle[2].ended() == expected(port)


async def test_its_port_needs_somebody_who_wants_it() -> None:
    for app in (Server(), lambda scope, receive, send: None):
        with pytest.raises(ConfigError, match="flashsocket"):
            async with serve_async(app, flash_policy_port=0):
                pass


async def test_its_port_is_taken() -> None:
    async with serve_async(Server(transports=ALL)) as port:
        with pytest.raises(OSError, match=str(port)):
            async with serve_async(Server(transports=ALL), flash_policy_port=port):
                pass


async def test_others_are_served_as_ever(flash: ServerProcess) -> None:
    assert (await request(flash.port, "GET", "/")).status == 200
    for kind in (PollingClient, WebSocketClient):
        async with kind(flash.port) as client:
            await client.join()
            assert await client.call("echo", 1) == 1
