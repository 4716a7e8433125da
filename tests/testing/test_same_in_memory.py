"""The network in memory tells no lies: the same scenario over it and over real sockets gives the same transcript."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from worlds import WORLDS, World

from madang import ConnectError, ConnectionRefused, Cookie, Disconnected, Server, Socket

TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
    "multipart": ["multipart"],
    "sse upgrade": ["sse", "websocket"],
}
Scenario = Callable[[World, dict[str, Any]], Awaitable[None]]
SCENARIOS: dict[str, tuple[Scenario, dict[str, Any]]] = {}


def scenario(**settings: Any) -> Callable[[Scenario], Scenario]:
    def keep(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__] = function, settings
        return function

    return keep


async def told(log: list[Any], count: int) -> None:
    """Wait until so much is told."""
    async with asyncio.timeout(5):
        while len(log) < count:
            await asyncio.sleep(0.005)


def hear(world: World) -> None:
    """Let the server tell who comes and goes."""
    world.io.on("connection", lambda socket: world.log.append("came"))
    world.io.on("disconnect", lambda socket, reason: world.log.append(("left", reason)))


@scenario(max_handlers_per_client=4)
async def more_than_the_handlers_can_follow(world: World, options: dict[str, Any]) -> None:
    """The client isn't read for a while; its answers to what handlers ask come through all the same."""
    io, log = world.io, world.log
    hear(world)
    together = most = 0

    @io.on("e")
    async def e(socket: Socket, number: int) -> int:
        nonlocal together, most
        together += 1
        most = max(most, together)
        answer: int = await socket.call("twice", number, timeout=5)
        together -= 1
        return answer

    @io.on("in order", ordered=True)
    async def in_order(socket: Socket, number: int) -> None:
        await asyncio.sleep(0.001)
        log.append(number)

    async with world.client(**options) as client:
        client.on("twice", lambda number: number * 2)
        answers = [client.call("e", number) for number in range(100)]
        log.append([await answer for answer in answers])
        for number in range(20):
            client.emit("in order", number)
        await told(log, 22)
    log.append(most)
    assert most <= 4
    await told(log, 24)


@scenario()
async def events_and_answers(world: World, options: dict[str, Any]) -> None:
    io, log = world.io, world.log
    hear(world)
    go_on = asyncio.Event()

    @io.on("echo")
    def echo(socket: Socket, *args: Any) -> Any:
        log.append(("echo", args))
        socket.emit("said", *args)
        return args

    @io.on("slow")
    async def slow(socket: Socket, number: int) -> int:
        await go_on.wait()
        log.append(("slow", number))
        return number

    async with world.client(**options) as client:
        client.on("question", lambda text: log.append(("question", text)) or ("yes", b"\0"))
        for args in ((), (1,), ("마당 🎈", None, [b"\xff" * 1000, {"deep": b""}]), ({},), ("x" * 100_000,)):
            log.append(await client.call("echo", *args))
        late = client.call("slow", 1)
        log.append(await client.call("echo", "in between"))
        go_on.set()
        log.append(await late)
        [socket] = io.sockets.values()
        log.append(await socket.call("question", "really?", timeout=2))
        for number in range(200):
            client.emit("echo", number)
        log.append(await client.call("echo", "last"))
        log.append(client.received)
    while ("left", "client namespace disconnect") not in log:
        await asyncio.sleep(0.005)


@scenario()
async def rooms(world: World, options: dict[str, Any]) -> None:
    io, log = world.io, world.log

    @io.on("join")
    def join(socket: Socket, room: str) -> str:
        socket.join(room)
        socket.to(room).emit("joined", room)
        return room

    async with world.client(**options) as one, world.client(**options) as two, world.client(**options) as three:
        for client in (one, two):
            log.append(await client.call("join", "red"))
        log.append(await three.call("join", "blue"))
        io.to("red").emit("news", "for red", b"\1")
        io.except_("red").emit("news", "not for red")
        io.emit("last")
        for client in (one, two, three):
            await client.expect("last")
            log.append(client.received)


@scenario()
async def namespaces(world: World, options: dict[str, Any]) -> None:
    io, log = world.io, world.log
    io.of("/admin").on("echo", lambda socket, text: text)
    io.on("echo", lambda socket, text: text + "!")
    async with world.client(**options) as client:
        admin = client.of("/admin")
        await admin.connect()
        log.append(await asyncio.gather(client.call("echo", "a"), admin.call("echo", "b")))
        io.of("/admin").emit("for admins")
        await admin.expect("for admins")
        admin.disconnect()
        log.append(await client.call("echo", "still there"))
        log.append([client.disconnects, admin.disconnects])
        nowhere = client.of("/nowhere/at all")
        with pytest.raises(ConnectError) as caught:
            await nowhere.connect()
        log.append((str(caught.value), caught.value.refused))


@scenario()
async def refused(world: World, options: dict[str, Any]) -> None:
    @world.io.use
    async def check(socket: Socket) -> None:
        await asyncio.sleep(0)
        if socket.handshake.auth.get("token") != "right":
            raise ConnectionRefused("not you", {"code": 401})

    client = world.client("/", {"token": "wrong"}, **options)
    with pytest.raises(ConnectError) as caught:
        await client.connect()
    world.log.append((str(caught.value), caught.value.data, caught.value.refused))
    await client.close()
    async with world.client("/", {"token": "right"}, **options) as client:
        world.log.append(client.connected)


@scenario(allow_request=lambda request: "let-me-in" in request.query)
async def requests_refused(world: World, options: dict[str, Any]) -> None:
    client = world.client(**options)
    with pytest.raises(ConnectError) as caught:
        await client.connect()
    world.log.append(re.sub(r"\S+ answered", "it answered", str(caught.value)))
    await client.close()
    async with world.client(query={"let-me-in": "1"}, **options) as client:
        world.log.append(client.connected)
    client = world.client(**{**options, "path": "/elsewhere/"})
    with pytest.raises(ConnectError) as caught:
        await client.connect()
    found = re.search(r"status \d+", str(caught.value))
    world.log.append(found and found[0])
    await client.close()


@scenario(cookie=Cookie(name="where"))
async def handshakes(world: World, options: dict[str, Any]) -> None:
    io, log = world.io, world.log

    @io.on("connection")
    def came(socket: Socket) -> None:
        shake = socket.handshake
        query = {name: value for name, value in shake.query.items() if name not in ("sid", "t")}
        log.append((shake.auth, query, shake.headers["x-who"], shake.address, shake.secure))
        socket.emit("welcome", 1)

    settings = {"headers": {"X-Who": "me, myself"}, "query": {"room": "7 & 8"}, **options}
    async with world.client("/", {"token": [1, None]}, **settings) as client:
        await client.expect("welcome", 1)
        assert client.manager.connection is not None
        hello = client.manager.connection.hello
        assert hello is not None
        log.append((hello.upgrades, hello.ping_interval_seconds, hello.max_payload_bytes, len(hello.sid)))


@scenario()
async def the_server_disconnects(world: World, options: dict[str, Any]) -> None:
    io, log = world.io, world.log
    hear(world)
    for close in (False, True):
        client = world.client(**options)
        await client.connect()
        await told(log, 1)
        [socket] = io.sockets.values()
        question = socket.call("never answered", timeout=5)
        socket.emit("farewell", close)
        socket.disconnect(close=close)
        log.append(("client", await client.wait_disconnect(), client.received, client.active))
        with pytest.raises(Disconnected) as caught:
            await question
        log.append(caught.value.reason)
        async with asyncio.timeout(2):
            await client.close()


@scenario(shutdown_timeout_seconds=1)
async def the_server_ends(world: World, options: dict[str, Any]) -> None:
    log = world.log
    hear(world)
    client = world.client(reconnection=False, **options)
    await client.connect()
    world.io.emit("farewell")
    await world.io.close()
    log.append((await client.wait_disconnect(3), client.received))
    await client.close()
    client = world.client(**options)
    with pytest.raises(ConnectError):
        await client.connect()
    await client.close()


@scenario()
async def connections_break(world: World, options: dict[str, Any]) -> None:
    log = world.log
    hear(world)
    world.io.on("echo", lambda socket, text: text)
    client = world.client(reconnection_delay_seconds=0.02, randomization_factor=0, **options)
    await client.connect()
    await upgraded(world, client, options)
    if options["transports"] == ["polling"]:
        await asyncio.sleep(0.05)  # so that a poll waits
    first = client.id
    client.on("connect", lambda: client.emit("echo", "first"))
    world.way_of(client).drop()
    log.append(("client", await client.wait_disconnect()))
    client.emit("echo", "waits for the connection")
    log.append(client.connected)
    await client.wait_connect()
    log.append((await client.call("echo", "back"), client.id == first))
    await told(log, 6)
    log[:] = sorted(log, key=str)  # who notices first is chance
    await client.close()


@scenario(ping_interval_seconds=0.2, ping_timeout_seconds=0.2)
async def silence(world: World, options: dict[str, Any]) -> None:
    log = world.log
    hear(world)
    client = world.client(reconnection_delay_seconds=0.01, connect_timeout_seconds=1, **options)
    await client.connect()
    await upgraded(world, client, options)
    world.way_of(client).cut()
    log.append(("client", await client.wait_disconnect(3)))
    await told(log, 3)
    log[:] = sorted(log, key=str)
    world.way_of(client).mend()
    await client.wait_connect(5)
    await client.close()


@scenario()
async def a_pause(world: World, options: dict[str, Any]) -> None:
    io, log = world.io, world.log
    io.on("count", lambda socket, number: log.append(number))
    async with world.client(**options) as client:
        await upgraded(world, client, options)
        world.way_of(client).cut()
        for number in range(50):
            client.emit("count", number)
            io.emit("tick", number)
        await asyncio.sleep(0.05)
        log.append(("meanwhile", list(client.received)))
        world.way_of(client).mend()
        await told(log, 51)
        while len(client.received) < 50:
            await asyncio.sleep(0.005)
        log.append(client.received)
        log.append(client.disconnects)


@scenario()
async def nobody_there(world: World, options: dict[str, Any]) -> None:
    client = world.client(reconnection_attempts=2, reconnection_delay_seconds=0.01, **options)
    world.way_of(client).refusing = True
    with pytest.raises(ConnectError) as caught:
        await client.connect()
    world.log.append(caught.value.refused)
    tries: list[int] = []
    client.manager.on("reconnect_attempt", tries.append)
    failed = asyncio.Event()
    client.manager.on("reconnect_failed", failed.set)
    with pytest.raises(ConnectError):
        await client.connect(retry=True)
    await asyncio.wait_for(failed.wait(), 3)
    world.log.append(tries)
    world.way_of(client).refusing = False
    await client.connect()
    world.log.append(client.connected)
    await client.close()


@scenario(max_payload_bytes=10_000)
async def too_large(world: World, options: dict[str, Any]) -> None:
    log = world.log
    hear(world)
    client = world.client(reconnection=False, max_payload_bytes=20_000, max_packet_bytes=20_000, **options)
    await client.connect()
    await upgraded(world, client, options)
    await told(log, 1)
    world.io.emit("large", "x" * 30_000)
    log.append(("client", await client.wait_disconnect()))
    if options["transports"] != ["polling"]:  # else the server has sent its answer, and hears of nothing
        await told(log, 3)
    log[:] = sorted(log, key=str)
    await client.close()


@scenario(max_buffered_bytes=100_000, ping_interval_seconds=30)
async def who_does_not_read(world: World, options: dict[str, Any]) -> None:
    log = world.log
    hear(world)
    client = world.client(reconnection=False, **options)
    await client.connect()
    await upgraded(world, client, options)
    await told(log, 1)
    world.way_of(client).cut()
    chunk = b"x" * 50_000
    for _ in range(1000):
        world.io.emit("chunk", chunk)
        if len(log) > 1:
            break
        await asyncio.sleep(0)
    await told(log, 2)
    world.way_of(client).mend()
    await client.close()


@scenario()
async def who_sends_too_fast(world: World, options: dict[str, Any]) -> None:
    log = world.log

    @world.io.on("slow", ordered=True)
    async def slow(socket: Socket, number: int, data: bytes) -> int:
        await asyncio.sleep(0)
        log.append(number)
        return number

    async with world.client(**options) as client:
        await upgraded(world, client, options)
        for number in range(500):
            client.emit("slow", number, b"x" * 2000)
        log.append(("answer", await client.call("slow", 500, b"", timeout=10)))


@scenario()
async def the_client_leaves(world: World, options: dict[str, Any]) -> None:
    log = world.log
    hear(world)
    world.io.on("farewell", lambda socket, data: log.append(("farewell", len(data))))
    for size in (1, 300_000):
        client = world.client(**options)
        await client.connect()
        client.emit("farewell", b"x" * size)
        await client.close()
        log.append(("client", client.disconnects, client.connected))
    await told(log, 8)
    log[:] = sorted(log, key=str)


async def upgraded(world: World, client: Any, options: dict[str, Any]) -> None:
    """Wait until both sides know that the connection has moved to a WebSocket."""
    if len(options["transports"]) > 1:
        sessions = world.io.engine.sessions
        async with asyncio.timeout(5):
            while {client.manager.transport, *(one.transport.name for one in sessions.values())} != {"websocket"}:
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_the_same_transcript(name: str, transports: str) -> None:
    play, settings = SCENARIOS[name]
    logs = {}
    for kind, open_world in WORLDS.items():
        async with asyncio.timeout(20), open_world(Server(transports="all", **settings)) as world:
            await play(world, {"transports": TRANSPORTS[transports]})
            logs[kind] = world.log
    assert logs["memory"], "nothing was told"
    assert logs["memory"] == logs["real"]
