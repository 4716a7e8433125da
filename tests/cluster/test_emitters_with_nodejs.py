"""Our emitters reach the clients of Node.js's servers too, and Node.js's emitters those of ours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cluster.support.clients import Guest
from cluster.support.node import DEADLINE, NodeEmitter, NodeHost, NodeMember, options_with
from madang import Cluster, Emitter, Server
from madang.testing import TestClient, connect

pytestmark = pytest.mark.node

#: Which of our buses speaks with which adapters.
PARTNERS = {
    "sharded": "redis",
    "classic": "redis-classic",
    "classic-7": "redis-classic",
    "streams": "redis-streams",
    "postgres": "postgres",
    "postgres-0.4": "postgres",
}


class Mixed:
    """Two servers in Node.js and one of ours, with a client each, all in the room "red"."""

    def __init__(self, cluster: Cluster, url: str, nodes: list[NodeMember], io: Server) -> None:
        self.cluster = cluster
        self.url = url
        self.nodes = nodes
        self.io = io
        self.clients: list[Guest | TestClient] = []


@pytest.fixture
async def mixed(request: pytest.FixtureRequest, host: NodeHost, prefix: str) -> AsyncIterator[Mixed]:
    adapter = request.param
    engine = request.getfixturevalue("postgres_server" if adapter.startswith("postgres") else "redis_server")
    _, _, rest = engine.url.partition("://")
    names = f"?stream_name={prefix}&session_key_prefix={prefix}:session:" if adapter == "streams" else ""
    cluster = Cluster(f"{PARTNERS[adapter]}://{rest}{names}", prefix=prefix)
    io = Server(cluster=cluster)
    io.on("connection", lambda socket: socket.join("red"))
    io.server_side_event("who?", lambda: "ours")
    async with AsyncExitStack() as stack:
        options = options_with(adapter, prefix)
        nodes = [NodeMember(engine.url, adapter, options, host=host) for _ in range(2)]
        for node in nodes:
            await stack.enter_async_context(node)
        await stack.enter_async_context(io)
        for node in nodes:
            await node.settled(3)
        made = Mixed(cluster, engine.url, nodes, io)
        for node in nodes:
            made.clients.append(await stack.enter_async_context(Guest(node.url, "/", "red")))
            await node.of("/").on("who?", answer="theirs")
        made.clients.append(await stack.enter_async_context(connect(io)))
        yield made


async def next_of(client: Guest | TestClient, event: str) -> tuple[Any, ...]:
    if isinstance(client, Guest):
        return await client.next(event)
    return (await client.next_event(event, timeout=DEADLINE)).args


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not done():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("mixed", PARTNERS, indirect=True)
async def test_our_emitter(mixed: Mixed) -> None:
    for number, client in enumerate(mixed.clients):
        client.on("vote", lambda *args, number=number: [number, *args])
    async with Emitter(mixed.cluster) as emitter:
        assert sorted(await emitter.call("vote", "어", timeout=DEADLINE)) == [[n, "어"] for n in range(3)]
        assert sorted(await emitter.server_side_call("who?", timeout=DEADLINE)) == ["ours", "theirs", "theirs"]
        found = {socket.id: socket for socket in await emitter.in_("red").fetch_sockets()}
        assert found.keys() == {client.id for client in mixed.clients}
        # Nobody counts it: each waits for two others, and no longer.
        for node in mixed.nodes:
            assert len(await node.of("/").fetch_sockets()) == 3
            assert sorted(await node.of("/").server_side_emit_with_ack("who?")) == ["ours", "theirs"]
        assert len(await mixed.io.fetch_sockets()) == 3

        first = mixed.clients[0]
        assert first.id is not None
        emitter.in_(first.id).sockets_join("blue")
        while await mixed.clients[0].has_rooms() != {first.id, "red", "blue"}:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        emitter.to("red").except_("blue").emit("not blue", 1)
        emitter.compress(False).emit("all", "마당", {"a": [1.5, None]}, b"\x00\xff")
        emitter.to(first.id).emit("you", 2)
        for client in mixed.clients:
            assert await next_of(client, "all") == ("마당", {"a": [1.5, None]}, b"\x00\xff")
        assert await next_of(first, "you") == (2,)
        for client in mixed.clients[1:]:
            assert await next_of(client, "not blue") == (1,)
        assert isinstance(first, Guest)
        assert first.heard == [("vote", ("어",))]
        for node in mixed.nodes:
            await node.of("/").on("hello")
        emitter.server_side_emit("hello", {"n": 1})
        for node in mixed.nodes:
            assert await node.of("/").heard("hello") == [{"n": 1}]
        emitter.in_("blue").sockets_leave("blue")
        emitter.in_(first.id).disconnect_sockets(close=True)
        assert (await mixed.nodes[0].next("disconnect"))["reason"] in ("forced close", "server namespace disconnect")


@pytest.mark.parametrize("mixed", ["classic", "postgres"], indirect=True)
async def test_nodejs_emitters(mixed: Mixed, host: NodeHost, request: pytest.FixtureRequest) -> None:
    """Of PostgreSQL's, 0.1 names no namespace, so that newer adapters in Node.js don't hear it; our servers do."""
    kind = "postgres" if mixed.cluster.url.startswith("postgres") else "redis"
    options = {"channelPrefix" if kind == "postgres" else "key": mixed.cluster.prefix}
    ours = mixed.clients[-1]
    assert isinstance(ours, TestClient)
    told: list[Any] = []
    mixed.io.server_side_event("hello", told.append)
    async with NodeEmitter(mixed.url, kind, options, host=host) as emitter:
        await emitter.emit("news", 1, "마당", to=["red"])
        await ours.expect("news", 1, "마당", timeout=DEADLINE)
        await emitter.emit("not for red", but=["red"])
        await emitter.emit("bytes", b"\x00\xff" if kind == "redis" else "x" * 9000, volatile=True)
        await ours.expect("bytes", b"\x00\xff" if kind == "redis" else "x" * 9000, timeout=DEADLINE)
        # PostgreSQL's takes several connections, and keeps no order.
        [socket] = mixed.io.sockets.values()
        await emitter.sockets_join("green", to=["red"])
        await until(lambda: "green" in socket.rooms)
        await emitter.emit("green", to=["green"])
        await ours.expect("green", timeout=DEADLINE)
        await emitter.server_side_emit("hello", {"n": 1})
        await until(lambda: told)
        assert told == [{"n": 1}]
        await emitter.sockets_leave("green", to=["red"])
        await until(lambda: "green" not in socket.rooms)
        await emitter.disconnect_sockets(to=["red"])
        assert await ours.wait_disconnect(DEADLINE) == "io server disconnect"
        assert sorted(name for name, *_ in ours.received) == ["bytes", "green", "news"]
    assert mixed.io.cluster.health.malformed == 0
