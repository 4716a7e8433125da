"""One cluster of our servers and Node.js's: what either does, reaches the clients of both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.support.clients import Guest
from cluster.support.engines import Postgres, Redis
from cluster.support.node import DEADLINE, UNDEFINED, NodeHost, NodeMember, options_with
from madang import Cluster, Server, Socket
from madang.faces.uvicorn import serve_async

pytestmark = pytest.mark.node

DATE = datetime(2000, 6, 13, tzinfo=UTC)
#: Which of our buses speaks with which adapters.
PARTNERS = {
    "sharded": "redis",
    "classic": "redis-classic",
    "classic-7": "redis-classic",
    "streams": "redis-streams",
    "postgres": "postgres",
    "postgres-0.4": "postgres",
}


class Courtyard:
    """One of our servers, and one of Node.js."""

    def __init__(self, io: Server, url: str, node: NodeMember) -> None:
        self.io = io
        self.url = url
        self.node = node
        self.heard: list[tuple[Any, ...]] = []
        io.on("join", self._join)
        io.on("data", lambda socket, data: socket.data.update(data))
        io.server_side_event("hello", lambda *args: self.heard.append(args))
        io.server_side_event("sum?", lambda a, b: a + b)

    def _join(self, socket: Socket, rooms: list[str]) -> list[str]:
        socket.join(*rooms)
        return list(socket.rooms)


def engine_url(request: pytest.FixtureRequest, adapter: str) -> str:
    engine: Redis | Postgres
    engine = request.getfixturevalue("postgres_server" if adapter.startswith("postgres") else "redis_server")
    return engine.url


@pytest.fixture(params=PARTNERS)
async def courtyard(request: pytest.FixtureRequest, host: NodeHost, prefix: str) -> AsyncIterator[Courtyard]:
    adapter = request.param
    url = engine_url(request, adapter)
    scheme, _, rest = url.partition("://")
    ours = f"{PARTNERS[adapter]}://{rest}" if scheme == "redis" else url
    if adapter == "streams":
        ours += f"?stream_name={prefix}&session_key_prefix={prefix}:session:"
    io = Server(cluster=Cluster(ours, name="ours", prefix=prefix))
    io.of("/court")
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(NodeMember(url, adapter, options_with(adapter, prefix), host=host))
        port = await stack.enter_async_context(serve_async(io))
        await node.settled(2)
        yield Courtyard(io, f"http://127.0.0.1:{port}", node)


async def test_broadcasts_reach_both(courtyard: Courtyard) -> None:
    io, node = courtyard.io, courtyard.node
    async with Guest(courtyard.url, "/", "red") as ours, Guest(node.url, "/", "red", "blue") as theirs:
        await reached(courtyard, ours, theirs)
        values = [1, "마당 ☀️", {"어": None}, b"\x00\xff", [1.5, True]]
        io.to("red").emit("news", *values)
        await node.emit("more", *values, DATE, to=["red"], but=["nobody"])
        io.to("red").except_("blue").emit("few")
        await node.emit("text", "마당", {"deep": [1, {"er": "2"}]}, compress=False)
        for guest in (ours, theirs):
            assert list(await guest.next("news")) == values
            assert list(await guest.next("more")) == [*values, "2000-06-13T00:00:00.000Z"]
            assert await guest.next("text") == ("마당", {"deep": [1, {"er": "2"}]})
        io.local.emit("near")
        await node.emit("near", local=True)
        io.emit("end")
        await node.emit("end too")
        for guest in (ours, theirs):
            assert await guest.next("end") == ()
            assert await guest.next("end too") == ()
        assert sorted(name for name, _ in ours.heard) == ["few", "near"]
        assert [name for name, _ in theirs.heard] == ["near"]
    assert io.cluster.health.malformed == 0


async def test_private_rooms_and_namespaces(courtyard: Courtyard) -> None:
    io, node = courtyard.io, courtyard.node
    court = await node.of("/court").open()
    async with Guest(courtyard.url, "/court") as ours, Guest(node.url, "/court") as theirs, Guest(node.url) as main:
        assert ours.id is not None
        assert theirs.id is not None
        io.of("/court").to(theirs.id).emit("you", 1)
        await court.emit("you", 2, to=[ours.id])
        assert await theirs.next("you") == (1,)
        assert await ours.next("you") == (2,)
        io.emit("main")
        assert await main.next("main") == ()
        assert (ours.heard, theirs.heard) == ([], [])


async def test_acknowledgements_come_from_both(courtyard: Courtyard) -> None:
    io, node = courtyard.io, courtyard.node
    async with Guest(courtyard.url) as ours, Guest(node.url) as theirs:
        ours.on("who?", lambda *args: ["ours", *args])
        theirs.on("who?", lambda *args: ["theirs", *args])
        assert sorted(await io.call("who?", "어", timeout=DEADLINE)) == [["ours", "어"], ["theirs", "어"]]
        assert sorted(await io.call("who?", b"\x01", timeout=DEADLINE)) == [["ours", b"\x01"], ["theirs", b"\x01"]]
        assert sorted(await node.of("/").emit_with_ack("who?", 1)) == [["ours", 1], ["theirs", 1]]
        assert await node.of("/").remote(ours.id, "emitWithAck", "who?", 2) == ["ours", 2]
        [remote] = [socket for socket in await io.fetch_sockets() if socket.id == theirs.id]
        assert await remote.call("who?", 3, timeout=DEADLINE) == ["theirs", 3]


async def test_clients_of_each_are_known_to_the_other(courtyard: Courtyard) -> None:
    io, node = courtyard.io, courtyard.node
    async with Guest(courtyard.url, "/", "red") as ours, Guest(node.url, "/", "red") as theirs:
        await theirs.call("data", {"name": "Mina"}, timeout=DEADLINE)
        await ours.call("data", {"name": "Jun", "n": [1]}, timeout=DEADLINE)
        assert ours.id is not None
        assert theirs.id is not None
        found = {socket.id: socket for socket in await io.in_("red").fetch_sockets()}
        assert set(found) == {ours.id, theirs.id}
        remote = found[theirs.id]
        assert (remote.data, remote.rooms) == ({"name": "Mina"}, {"red", theirs.id})
        assert remote.handshake.query["EIO"] == "4"
        assert remote.handshake.headers["host"].startswith("127.0.0.1")
        told = await node.of("/").fetch_sockets()
        assert {id_: (socket["data"], set(socket["rooms"])) for id_, socket in told.items()} == {
            ours.id: ({"name": "Jun", "n": [1]}, {"red", ours.id}),
            theirs.id: ({"name": "Mina"}, {"red", theirs.id}),
        }
        assert told[ours.id]["handshake"]["url"].startswith("/socket.io/?EIO=4")
        assert isinstance(told[ours.id]["handshake"]["issued"], int)
        # Made to enter, to leave and to go
        io.in_("red").sockets_join("green")
        await node.of("/").sockets_join("yellow", to=["red"])
        await until(lambda: io.sockets[ours.id or ""].rooms == {"red", "green", "yellow", ours.id})
        while await theirs.has_rooms() != {"red", "green", "yellow", theirs.id}:
            await asyncio.sleep(0.02)
        io.in_("red").sockets_leave("yellow")
        await node.of("/").sockets_leave("green", to=["red"])
        await until(lambda: io.sockets[ours.id or ""].rooms == {"red", ours.id})
        while await theirs.has_rooms() != {"red", theirs.id}:
            await asyncio.sleep(0.02)
        await node.of("/").disconnect_sockets(to=[ours.id])
        io.in_(theirs.id).disconnect_sockets(close=True)
        await until(lambda: not io.sockets)
        assert (await node.next("disconnect"))["reason"] == "server namespace disconnect"


async def test_servers_talk(courtyard: Courtyard) -> None:
    io, node = courtyard.io, courtyard.node
    await node.of("/").on("hello")
    await node.of("/").on("sum?", answer=[3, UNDEFINED])
    io.server_side_emit("hello", "마당", {"n": 1})
    assert await node.of("/").heard("hello") == ["마당", {"n": 1}]
    await node.of("/").server_side_emit("hello", b"\x00" if "redis-classic" not in io.config.cluster.url else "text")  # type: ignore[union-attr]
    await until(lambda: len(courtyard.heard) == 1)
    assert await io.server_side_call("sum?", 1, 2, timeout=DEADLINE) == [[3, None]]
    assert await node.of("/").server_side_emit_with_ack("sum?", 20, 22) == [42]


async def reached(courtyard: Courtyard, ours: Guest, theirs: Guest) -> None:
    """Wait until both are heard of in "red": adapters with channels for rooms subscribe to them behind the join."""
    async with asyncio.timeout(DEADLINE):
        while not (("probe", (2,)) in ours.heard and ("probe", (1,)) in theirs.heard):
            courtyard.io.to("red").emit("probe", 1)
            await courtyard.node.emit("probe", 2, to=["red"])
            await asyncio.sleep(0.02)
    courtyard.io.emit("rest")
    await courtyard.node.emit("rest too")
    for guest in (ours, theirs):
        await guest.next("rest")
        await guest.next("rest too")
    ours.heard.clear()
    theirs.heard.clear()


async def until(done: Any) -> None:
    async with asyncio.timeout(DEADLINE):
        while not done():
            await asyncio.sleep(0.005)
