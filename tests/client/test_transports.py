"""The transports over HTTP: streams, short polls, the way from them to a WebSocket, and what proxies do to them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from client.conftest import QUICK, WAYS, Place, make, until
from client.support.cable import Cable
from client.support.proxies import Spoiler, streams, websockets
from client.support.scripted import JOINED, OPEN, Scripted
from madang import BlockingClient, Client, ConnectError, Disconnected, LimitError
from madang.client.dial import Reply

HTTP = ["shortpolling", "sse", "multipart"]
UPGRADES = ["shortpolling upgrade", "sse upgrade", "multipart upgrade"]
VALUES: list[Any] = [
    "마당 🙂 \u2028\u2029",
    "line\nline\r\nline\rline",
    "\ufeff --madang\r\n data: x \x1e\0",
    b"\r\n--madang\r\n",
    bytes(range(256)),
    {"deep": [b"a", {"b": b""}]},
]


@contextlib.asynccontextmanager
async def asgi_place(**settings: Any) -> AsyncIterator[Place]:
    """A server behind the portable face, under the plain uvicorn."""
    io = make(**settings)
    inner = io.asgi()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield Place(io, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await task


@pytest.fixture(params=["uvicorn", "asgi"])
def faced_place(request: pytest.FixtureRequest, place: Any) -> Any:
    return place if request.param == "uvicorn" else asgi_place


@pytest.mark.parametrize("way", HTTP)
async def test_everything_there_and_back(faced_place: Any, way: str) -> None:
    async with faced_place(max_payload_bytes=2_000_000) as here, here.client(way) as client:
        heard: list[int] = []
        client.on("number", heard.append)
        client.on("double", lambda value: value * 2)
        assert client.manager.transport == way
        assert await client.call("echo", *VALUES) == tuple(VALUES)
        assert await client.call("echo", "x" * 1_000_000, b"y" * 1_000_000) == ("x" * 1_000_000, b"y" * 1_000_000)
        assert await client.call("ask me", "double", 21) == 42
        for number in range(1000):
            here.io.emit("number", number)
        await until(lambda: len(heard) == 1000)
        assert heard == list(range(1000))
        for number in range(1000):
            client.emit("count", number)
        assert await client.call("counted") == list(range(1000))
        gone: list[str] = []
        client.on("disconnect", gone.append)
        client.emit("leave")
        await until(lambda: gone)
        assert gone == ["io server disconnect"]
    await until(lambda: not here.io.engine.sessions)


@pytest.mark.parametrize("way", HTTP)
async def test_msgpack(place: Any, way: str) -> None:
    async with place(parser="msgpack") as here, here.client(way, parser="msgpack") as client:
        assert await client.call("echo", *VALUES) == tuple(VALUES)


@pytest.mark.parametrize("way", ["sse", "multipart"])
async def test_streams_that_the_server_ends_go_on(faced_place: Any, way: str) -> None:
    async with (
        faced_place(max_stream_bytes=1000) as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=WAYS[way], **QUICK) as client,
    ):
        heard: list[Any] = []
        client.on("number", lambda *args: heard.append(args))
        for number in range(300):
            here.io.emit("number", number, b"x")
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        await until(lambda: len(heard) == 300)
        assert heard == [(number, b"x") for number in range(300)]
        assert cable.heard.count(b"GET /") > 5


@pytest.mark.parametrize("way", ["sse", "multipart"])
async def test_streams_that_last_only_so_long(place: Any, way: str) -> None:
    async with place(stream_timeout_seconds=0.05) as here, here.client(way) as client:
        for number in range(10):
            assert await client.call("echo", number) == number
            await asyncio.sleep(0.02)
        assert client.connected


@pytest.mark.parametrize("way", UPGRADES)
async def test_the_move_to_a_websocket_under_traffic(faced_place: Any, way: str) -> None:
    async with faced_place() as here:
        for _ in range(3):
            heard: list[int] = []
            client = Client(here.url, transports=WAYS[way], **QUICK)
            client.on("number", heard.append)
            before = len(here.io.sockets)
            async with client:
                assert client.manager.connection is not None
                assert client.manager.connection.opened_with == way.split()[0]
                for number in range(300):
                    here.io.emit("number", number)
                    client.emit("count", number)
                    await asyncio.sleep(0.001 if number % 7 == 0 else 0)
                await until(lambda client=client: client.manager.transport == "websocket")
                await until(lambda heard=heard: len(heard) == 300)
                assert heard == list(range(300))
                counted = await client.call("counted")
                assert counted[-300:] == list(range(300))
            await until(lambda before=before: len(here.io.sockets) == before)
        assert len(counted) == 900


@pytest.mark.parametrize("way", HTTP)
async def test_a_silent_server(place: Any, way: str) -> None:
    async with (
        place(ping_interval_seconds=0.1, ping_timeout_seconds=0.5) as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=WAYS[way], reconnection=False, **QUICK) as client,
    ):
        reasons: list[str] = []
        left: list[str] = []
        client.on("disconnect", reasons.append)
        here.io.on("disconnect", lambda socket, reason: left.append(reason))
        await asyncio.sleep(0.3)
        assert client.connected
        cable.silent = True
        await until(lambda: reasons and left)
        # The server misses the pong when the client misses the ping, and breaks off a stream: the cable passes that on.
        assert reasons == ["ping timeout"] or (way in ("sse", "multipart") and reasons == ["transport error"])
        assert left[0] in ("ping timeout", "transport close")


@pytest.mark.parametrize("way", ["sse", "multipart"])
async def test_a_client_that_vanishes(faced_place: Any, way: str) -> None:
    async with (
        faced_place() as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=WAYS[way], **QUICK) as client,
    ):
        left: list[str] = []
        reasons: list[str] = []
        client.on("disconnect", reasons.append)
        here.io.on("disconnect", lambda socket, reason: left.append(reason))
        cable.cut()
        await until(lambda: left and reasons)
        assert (left, reasons) == (["transport close"], ["transport error"])
        await until(lambda: client.connected)
        assert await client.call("echo", 1) == 1


async def test_threads(place: Any) -> None:
    async with place() as here:

        def talk() -> Any:
            with BlockingClient(here.url, transports=["sse"], proxy=None) as client:
                return client.manager.transport, client.call("echo", "hi", timeout=5)

        assert await asyncio.to_thread(talk) == ("sse", "hi")


# ---- what a server says ----


def said(*payloads: str) -> bytes:
    return "".join(f"data: {payload}\n\n" for payload in payloads).encode()


async def reason_of(dialer: Scripted) -> str:
    reasons: list[str] = []
    client = Client("http://x", dialer=dialer, transports=["sse"], reconnection=False, **QUICK)
    client.on("disconnect", reasons.append)
    async with client:
        await until(lambda: reasons)
    return reasons[0]


@pytest.mark.parametrize(
    ("streams", "reason"),
    [
        ([said(JOINED)], "transport close"),
        ([said(JOINED, "6"), b""], "transport close"),
        ([said(JOINED, "6"), said('42["a"]', "6"), said('42["a"]')], "transport close"),
        ([said("6", JOINED)], "transport close"),
        ([said(JOINED, "1"), said("6")], "transport close"),
        ([said(JOINED, "x")], "parse error"),
        ([said(JOINED, "6"), b"event: json\ndata: 1\n\n"], "parse error"),
        ([said(JOINED, "6"), Reply(400, b"no")], "transport error"),
    ],
)
async def test_the_end_of_a_stream(streams: list[bytes | Reply], reason: str) -> None:
    dialer = Scripted([said(OPEN, "6"), *streams])
    assert await reason_of(dialer) == reason
    assert all(("sid=s" in target) is bool(number) for number, target in enumerate(dialer.targets))
    # Nobody asks a server again that has said goodbye.
    assert dialer.polls.qsize() == (1 if said(JOINED, "1") in streams else 0)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "ended the stream before it had said hello"),
        (b": open\n\n", "ended the stream before it had said hello"),
        (said(JOINED), "does not speak Engine.IO"),
        (b"event: json\ndata: 1\n\n", "does not speak Engine.IO"),
        (Reply(404, b"nothing here\n" + b"x" * 1000), "status 404 nothing here"),
    ],
)
async def test_what_opens_no_stream(stream: bytes | Reply, message: str) -> None:
    with pytest.raises(ConnectError, match=message):
        async with Client("http://x", dialer=Scripted([stream]), transports=["sse"], **QUICK):
            pytest.fail("connected")


async def test_a_page_in_place_of_a_stream(place: Any) -> None:
    async with place(path="/elsewhere/") as here:
        with pytest.raises(ConnectError, match="status 404"):
            async with here.client("multipart"):
                pytest.fail("connected")


async def test_a_stream_with_more_than_one_payload_may_have(place: Any) -> None:
    for way in ("sse", "multipart"):
        async with place() as here, here.client(way, max_payload_bytes=1000, reconnection=False) as client:
            reasons: list[str] = []
            client.on("disconnect", reasons.append)
            client.emit("say", "large", "x" * 900)
            assert await client.call("echo", 1) == 1
            here.io.emit("large", "x" * 2000)
            await until(lambda reasons=reasons: reasons)
            assert reasons == ["parse error"]


async def test_short_polls_that_come_too_soon_do_no_harm(place: Any) -> None:
    async with place(min_short_poll_seconds=0.2) as here, here.client("shortpolling") as client:
        for number in range(3):
            assert await client.call("echo", number) == number
        assert client.connected


async def test_a_server_that_wants_no_polls_at_all() -> None:
    wait = b'{"code":3,"message":"Too many requests","retryAfterMs":10}'
    polls = [OPEN.encode(), JOINED.encode(), Reply(429, wait), b"6", Reply(429, b"a proxy says: slow down")]
    async with Client("http://x", dialer=Scripted(polls), transports=["shortpolling"], **QUICK) as client:
        reasons: list[str] = []
        client.on("disconnect", reasons.append)
        await until(lambda: reasons)
        assert reasons == ["transport error"]


async def test_the_interval_is_shorter_than_the_servers_patience(place: Any) -> None:
    times = {"ping_interval_seconds": 0.1, "ping_timeout_seconds": 0.4}
    async with place(**times) as here, here.client("shortpolling", short_poll_interval_seconds=60.0) as client:
        await asyncio.sleep(0.6)
        assert await client.call("echo", 1) == 1
        assert client.connected


async def test_a_server_that_does_not_read(place: Any) -> None:
    async with place() as here, here.client("sse", max_buffered_bytes=50_000) as client:
        for _ in range(45):
            client.emit("count", "x" * 1000)
        with pytest.raises(LimitError, match="reads slowly"):
            client.emit("count", "x" * 10_000)


# ---- what proxies do ----

BLOCKED = [(how, "websocket", websockets) for how in ("refuse", "swallow", "deaf", "buffer")]
BLOCKED += [(how, "sse", streams) for how in ("refuse", "swallow", "deaf", "buffer")]


@pytest.mark.parametrize(("how", "name", "spoils"), BLOCKED)
async def test_the_next_transport(place: Any, how: str, name: str, spoils: Any) -> None:
    """One that is spoiled costs what one transport may cost, and only once."""
    settings = {**QUICK, "connect_timeout_seconds": 60.0, "transport_timeout_seconds": 0.8, "try_all_transports": True}
    async with place() as here, Spoiler(here.port, spoils, how) as proxy:
        names = [name, "polling"]
        async with Client(proxy.url, transports=names, upgrade=False, **settings) as client:
            assert client.manager.transport == "polling"
            assert await client.call("echo", 1) == 1
            spoilt = proxy.spoilt
            proxy.cut()
            await until(lambda: not client.connected)
            await until(lambda: client.connected)
            assert client.manager.transport == "polling"
            assert proxy.spoilt == spoilt


async def test_the_last_transport_has_all_the_time(place: Any) -> None:
    settings = {**QUICK, "connect_timeout_seconds": 1.5, "try_all_transports": True}
    async with place() as here, Spoiler(here.port, lambda head: True, "swallow") as proxy:
        with pytest.raises(ConnectError, match=r"no connection within 1\.5 s"):
            async with Client(proxy.url, transports=["websocket", "sse", "polling"], **settings):
                pytest.fail("connected")
        assert proxy.spoilt == 3  # each has had its share of it


@pytest.mark.parametrize("how", ["refuse", "swallow", "deaf"])
@pytest.mark.parametrize("way", ["upgrade", *UPGRADES])
async def test_an_upgrade_that_fails_costs_nothing(place: Any, way: str, how: str) -> None:
    # Where the server has answered the probe, it lets go of each request until it gives up.
    settings = {**QUICK, "upgrade_timeout_seconds": 30.0 if how == "deaf" else 0.3}
    async with place() as here, Spoiler(here.port, websockets, how) as proxy:
        names = WAYS[way]
        async with Client(proxy.url, transports=names, **settings) as client:
            gone: list[str] = []
            client.on("disconnect", gone.append)
            connection = client.manager.connection
            assert connection is not None
            await until(lambda: proxy.spoilt == 1)
            if how == "deaf":
                [session] = here.io.engine.sessions.values()
                await until(lambda: session.upgrading)
            for number in range(5):
                assert await client.call("echo", number) == number
            await until(lambda: connection.probing is (how == "deaf"))
            for number in range(5):
                assert await client.call("echo", number) == number
            assert client.manager.transport == WAYS[way][0]
            assert not gone


async def test_who_waits_is_told_when_a_stream_breaks(place: Any) -> None:
    async with (
        place() as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=["sse"], reconnection=False, **QUICK) as client,
    ):
        asking = asyncio.ensure_future(client.call("slow", 0.5, timeout=30))
        await until(lambda: any(here.io.engine.sessions.values()) and b"slow" in cable.heard)
        cable.cut()
        with pytest.raises(Disconnected):
            await asking


async def test_what_the_server_does_not_allow(place: Any) -> None:
    async with place(transports=["polling", "websocket"]) as here:
        with pytest.raises(ConnectError, match=r"status 400 .*Transport unknown"):
            async with here.client("sse"):
                pytest.fail("connected")
        async with here.client(transports=["sse", "polling"], try_all_transports=True, upgrade=False) as client:
            assert client.manager.transport == "polling"
