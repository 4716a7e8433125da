"""Recovery over a cluster: a client that was lost comes back to any server, and gets what it has missed, once."""

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cluster.support.front import Front
from madang import Client, Cluster, Recovery, Server, Socket
from madang.cluster.broker import Broker
from madang.faces.uvicorn import serve_async

LEDGERS = ["local", "jetstream", "streams"]
PATIENCE = 30.0


@pytest.fixture(params=LEDGERS)
async def url(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[str]:
    """Where the servers of one test meet, and broadcasts are kept."""
    if request.param == "local":
        folder = tempfile.mkdtemp(prefix="madang-")
        async with Broker(folder):
            yield f"local://{folder}?ledger=1"
        shutil.rmtree(folder)
    elif request.param == "jetstream":
        yield request.getfixturevalue("jetstream_server").url + "?jetstream=1"
    elif request.param == "streams":
        engine = request.getfixturevalue("redis_server")
        yield f"redis-streams://{engine.host}:{engine.port}?stream_name={prefix}"


class House:
    """Three servers behind one front, and one client that has numbered all that it hears."""

    def __init__(self, servers: list[Server], ports: list[int], front: Front) -> None:
        self.servers = servers
        self.ports = ports
        self.front = front
        self.at = 0
        self.heard: list[Any] = []
        self.states: list[tuple[int, bool]] = []

    def port(self) -> int:
        return self.ports[self.at]

    @property
    def owner(self) -> Server:
        [owner] = [io for io in self.servers if io.sockets]
        return owner

    @property
    def socket(self) -> Socket:
        [socket] = self.owner.sockets.values()
        return socket

    def client(self, **settings: Any) -> Client:
        defaults: dict[str, Any] = {"transports": ["websocket"], "reconnection_delay_seconds": 0.05}
        client = Client(self.front.url, **{**defaults, **settings})
        client.on("n", lambda number, *rest: self.heard.append(number))
        return client

    async def until_heard(self, numbers: list[Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.heard) < len(numbers):
                await asyncio.sleep(0.005)
        assert self.heard == numbers

    async def until_back(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.states) <= times:
                await asyncio.sleep(0.005)


@pytest.fixture
async def house(url: str, prefix: str, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    settings = getattr(request, "param", {"recovery": True})
    servers = [
        Server(
            cluster=Cluster(url, name=name, prefix=prefix),
            ping_interval_seconds=2,
            ping_timeout_seconds=1,
            **settings,
        )
        for name in ("one", "two", "three")
    ]
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(serve_async(io)) for io in servers]
        made = House(servers, ports, await stack.enter_async_context(Front(lambda: made.port())))
        for index, io in enumerate(servers):

            def came(socket: Socket, index: int = index) -> None:
                made.states.append((index, socket.recovered))
                if not socket.recovered:
                    socket.join("red")
                    socket.data["name"] = "Mina"

            io.on("connection", came)
        yield made


async def lose(house: House, to: int) -> Socket:
    """Break the client's connection; it comes back to another server."""
    lost = house.socket
    house.at = to
    house.front.cut()
    async with asyncio.timeout(PATIENCE):
        while lost.connected:
            await asyncio.sleep(0.005)
    return lost


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="-".join)
async def test_what_was_missed_comes_once_and_in_order(house: House, transports: list[str]) -> None:
    one, two, _ = house.servers
    async with house.client(transports=transports) as client:
        id_ = client.id
        one.emit("n", 0)
        two.to("red").emit("n", 1, b"\x00")
        async with asyncio.timeout(PATIENCE):
            while len(house.heard) < 2:
                await asyncio.sleep(0.005)
        house.heard.sort()
        for turn, to in enumerate((1, 2, 0), 1):
            before = len(house.heard)
            first = turn * 100
            house.servers[to].sockets_join("left at once")  # rooms that change are saved
            await asyncio.sleep(0.02)
            lost = await lose(house, to)
            two.emit("n", first)
            two.to("red").emit("n", first + 1)
            two.to("blue").emit("n", "not in this room")
            two.except_("red").emit("n", "left out")
            two.volatile.emit("n", "volatile")
            two.to("left at once").emit("n", first + 2, b"bytes")
            lost.emit("n", first + 3)
            await house.until_back(turn)
            two.emit("n", first + 4)
            async with asyncio.timeout(PATIENCE):
                while not {first + 3, first + 4} <= set(house.heard):
                    await asyncio.sleep(0.005)
            missed = [number for number in house.heard[before:] if number != "volatile"]
            missed.remove(first + 3)  # said by another server, so it may come at any place
            assert missed == [first, first + 1, first + 2, first + 4]
            assert house.states[turn] == (to, True)
            assert client.id == id_
            assert client.recovered
            assert house.socket.rooms == {id_, "red", "left at once"}
            assert house.socket.data == {"name": "Mina"}
        assert [io.cluster.recollection.recovered for io in house.servers if io.cluster.recollection] == [1, 1, 1]


async def test_a_client_that_has_heard_nothing_yet(house: House) -> None:
    async with house.client():
        await lose(house, 1)
        house.servers[2].emit("n", 1)
        await house.until_back(1)
        await house.until_heard([1])
        assert house.states == [(0, False), (1, True)]


async def test_all_hear_everything_in_one_order(house: House) -> None:
    heard: list[list[Any]] = [[], [], []]
    clients = []
    for index in range(3):
        house.at = index
        client = Client(house.front.url, transports=["websocket"])
        client.on("n", lambda number, *rest, index=index: heard[index].append(number))
        await client.connect()
        clients.append(client)
    for number, io in zip(range(300), itertools.cycle(house.servers), strict=False):
        io.to("red").emit("n", number)
        if number % 10 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        while any(len(one) < 300 for one in heard):
            await asyncio.sleep(0.005)
    assert heard[0] == heard[1] == heard[2]
    assert sorted(heard[0]) == list(range(300))
    for client in clients:
        await client.close()


async def test_a_socket_that_was_thought_alive_gives_way(house: House) -> None:
    async with house.client():
        old = house.socket
        house.servers[1].emit("n", 1)
        await house.until_heard([1])
        # The client loses its connection, of which its server hears nothing.
        house.at = 2
        house.front.cut()
        await house.until_back(1)
        assert house.states[1] == (2, True)
        async with asyncio.timeout(PATIENCE):
            while old.connected:
                await asyncio.sleep(0.005)
        house.servers[1].emit("n", 2)
        await house.until_heard([1, 2])


async def test_news_that_a_client_has_moved_may_be_old(house: House) -> None:
    async with house.client() as client:
        house.servers[1].emit("n", 1)
        id_ = client.id
        assert id_ is not None
        await house.until_heard([1])
        await lose(house, 1)
        await house.until_back(1)
        house.servers[2].cluster.moved("/", id_, 1)  # it has come back here for the first time, as this tells
        house.servers[2].emit("n", 2)
        await house.until_heard([1, 2])
        assert len(house.states) == 2
        house.servers[2].cluster.moved("/", id_, 2)
        await house.until_back(2)


@pytest.mark.parametrize("house", [{"recovery": Recovery(skip_middleware=False)}], indirect=True, ids=["asked"])
async def test_what_is_said_while_a_middleware_thinks_is_not_missed(house: House) -> None:
    asked = asyncio.Event()
    go_on = asyncio.Event()
    async with house.client():
        house.servers[0].emit("n", 0)
        await house.until_heard([0])

        @house.servers[1].use
        async def think(socket: Socket) -> None:
            asked.set()
            await go_on.wait()

        await lose(house, 1)
        house.servers[2].emit("n", 1)
        await asyncio.wait_for(asked.wait(), PATIENCE)
        house.servers[2].emit("n", 2)
        house.servers[2].to("red").emit("n", 3)
        house.servers[2].to("blue").emit("n", "not in this room")
        await asyncio.sleep(0.1)
        go_on.set()
        await house.until_heard([0, 1, 2, 3])
        assert house.states == [(0, False), (1, True)]


@pytest.mark.parametrize("house", [{"recovery": Recovery(max_replay_events=5)}], indirect=True, ids=["little"])
async def test_a_client_that_has_missed_too_much_begins_anew(house: House) -> None:
    async with house.client():
        house.servers[0].emit("n", 0)
        await house.until_heard([0])
        await lose(house, 1)
        for number in range(20):
            house.servers[2].emit("n", number)
        await house.until_back(1)
        assert house.states == [(0, False), (1, False)]


async def test_one_that_was_sent_away_does_not_come_back_as_what_it_was(house: House) -> None:
    async with house.client() as client:
        house.servers[0].emit("n", 0)
        await house.until_heard([0])
        house.socket.disconnect()
        await asyncio.sleep(0.1)
        house.at = 1
        await client.connect()
        await house.until_back(1)
        assert house.states == [(0, False), (1, False)]


@pytest.mark.parametrize("house", [{"recovery": Recovery(skip_middleware=False)}], indirect=True, ids=["asked"])
async def test_one_that_goes_while_a_middleware_thinks_may_come_again(house: House) -> None:
    asked: list[Socket] = []
    go_on = asyncio.Event()
    async with house.client() as client:
        house.servers[0].emit("n", 0)
        await house.until_heard([0])
        id_ = client.id

        @house.servers[1].use
        async def think(socket: Socket) -> None:
            asked.append(socket)
            await go_on.wait()

        await lose(house, 1)
        async with asyncio.timeout(PATIENCE):
            while not asked:
                await asyncio.sleep(0.005)
        house.at = 2
        house.front.cut()
        house.servers[0].emit("n", 1)
        await house.until_back(1)
        await house.until_heard([0, 1])
        assert house.states == [(0, False), (2, True)]
        assert client.id == id_
        recollection = house.servers[1].cluster.recollection
        assert recollection is not None
        assert not recollection.waiting  # nothing more is collected for it


async def test_a_client_that_is_sent_away_has_heard_what_was_said_before(house: House) -> None:
    async with house.client():
        socket = house.socket
        for number in range(3):
            socket.emit("n", number)
        house.owner.to("red").emit("n", 3)
        house.owner.to("blue").emit("n", "not in this room")
        socket.broadcast.emit("n", "not for who says it")
        socket.disconnect()
        await house.until_heard([0, 1, 2, 3])
        house.servers[1].emit("n", "too late")
        await asyncio.sleep(0.1)
        assert house.heard == [0, 1, 2, 3]


async def test_rooms_count_as_they_are_when_something_is_said(house: House) -> None:
    async with house.client():
        io = house.owner
        io.to("red").emit("n", 1)
        io.except_("green").emit("n", 2)
        io.to("blue").emit("n", "before it came into this room")
        io.sockets_leave("red")
        io.sockets_join("blue", "green")
        io.to("red").emit("n", "after it left this room")
        io.sockets_join("red")
        io.sockets_leave("blue")
        io.to("red").emit("n", 3)
        await house.until_heard([1, 2, 3])
        house.servers[1].emit("n", 4)
        await house.until_heard([1, 2, 3, 4])


@pytest.mark.parametrize("pid", ["p" * 70_000, "a.>", "", "\x00", "../a b"], ids=["long", "dot", "none", "nul", "path"])
async def test_secrets_that_are_none(house: House, pid: str) -> None:
    async with house.client(auth={"pid": pid, "offset": "0" * 70_000}):
        house.servers[0].emit("n", 1)
        await house.until_heard([1])
        assert house.states == [(0, False)]
