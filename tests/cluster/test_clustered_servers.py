"""Three servers over each bus: whatever one of them does, it does to the clients of all."""

import asyncio
import gc
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from madang import AckTimeout, Cluster, ClusterError, EncodeError, LocalProtocolError, Server, Socket
from madang.cluster.broker import Broker
from madang.cluster.peers import Health, Peer
from madang.cluster.questions import Request
from madang.testing import TestClient, connect

BUSES = ["memory", "local", "redis", "redis-classic", "redis-streams", "postgres", "nats", "jetstream"]
PATIENCE = 30.0


@pytest.fixture(params=BUSES)
async def url(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[str]:
    """Where the servers of one test meet."""
    if request.param == "memory":
        yield f"memory://{prefix}"
    elif request.param == "local":
        folder = tempfile.mkdtemp(prefix="madang-")
        async with Broker(folder):
            yield f"local://{folder}"
        shutil.rmtree(folder)
    elif request.param == "postgres":
        yield request.getfixturevalue("database")
    elif request.param == "nats":
        yield request.getfixturevalue("nats_server").url
    elif request.param == "jetstream":
        yield request.getfixturevalue("jetstream_server").url + "?jetstream=1"
    elif request.param == "redis-streams":
        address = request.getfixturevalue("redis_server").url.replace("redis://", "redis-streams://")
        yield f"{address}?stream_name={prefix}&session_key_prefix={prefix}:session:"
    else:
        address = request.getfixturevalue("redis_server").url
        yield address.replace("redis://", f"{request.param}://")


class House:
    """Servers of one cluster, and clients of theirs."""

    def __init__(self, url: str, prefix: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.prefix = prefix
        self.servers: list[Server] = []
        self._stack = stack

    async def add(self, name: str, **settings: Any) -> Server:
        cluster = Cluster(self.url, name=name, prefix=self.prefix, **settings.pop("cluster", {}))
        io = Server(cluster=cluster, **settings)
        self.servers.append(io)
        io.on("connection", lambda socket: socket.join(*socket.handshake.auth.get("rooms", ())))
        await io.start()
        self._stack.push_async_callback(io.close)
        for one in self.servers:
            await until(lambda one=one: len(one.cluster.peers) == len(self.servers) - 1)  # type: ignore[misc]
        return io

    async def client(self, io: Server, *rooms: str, namespace: str = "/", **settings: Any) -> TestClient:
        return await self._stack.enter_async_context(connect(io, namespace, {"rooms": rooms}, **settings))


@pytest.fixture
async def house(url: str, prefix: str) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        made = House(url, prefix, stack)
        for name in ("one", "two", "three"):
            await made.add(name)
        yield made


async def until(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.002)


async def reached(clients: list[TestClient], target: Any) -> None:
    """Wait until what is emitted there reaches these clients: servers subscribe to channels behind what needs them."""
    for client in clients:
        end = time.monotonic() + PATIENCE
        while ("reached?",) not in client.received:
            assert time.monotonic() < end, "nothing reaches a client"
            target.emit("reached?")
            await asyncio.sleep(0.02)


async def flushed(house: House, clients: list[TestClient]) -> None:
    """Wait until all that was emitted before has arrived."""
    for io in house.servers:  # each has an order of its own
        io.emit("flush")
    for client in clients:
        for _ in house.servers:
            await client.expect("flush", timeout=PATIENCE)


def events(client: TestClient) -> list[tuple[Any, ...]]:
    """What a client has got, without what the tests say for themselves."""
    return [event for event in client.received if event[0] not in ("flush", "reached?")]


async def test_everyone_hears_a_broadcast_once(house: House) -> None:
    clients = [await house.client(io) for io in house.servers]
    values = [1, "마당 ☀️ \x00", {"a": [None, True, 1.5]}, b"\x00\xff", [b"deep", {"in": b"side"}]]
    house.servers[1].emit("news", *values)
    house.servers[1].emit("text", *values[:3])
    await flushed(house, clients)
    for client in clients:
        assert events(client) == [("news", *values), ("text", *values[:3])]


async def test_events_of_one_server_come_in_order(house: House) -> None:
    clients = [await house.client(io) for io in house.servers]
    for number in range(300):
        house.servers[number % 2].emit("tick", number % 2, number, *([b"\x00"] if number % 7 == 0 else []))
    await flushed(house, clients)
    await until(lambda: all(len(events(client)) == 300 for client in clients))
    for client in clients:
        for server in (0, 1):
            assert [args[1] for _, *args in events(client) if args[0] == server] == list(range(server, 300, 2))


async def test_rooms(house: House) -> None:
    one, two, three = house.servers
    a, b, c = [
        await house.client(one, "red"),
        await house.client(two, "red", "blue"),
        await house.client(three, "blue"),
    ]
    await reached([a, b], one.to("red"))
    await reached([c], one.to("blue"))
    one.to("red").emit("e", "red")
    one.to("red", "blue").emit("e", "both")
    one.to("red").except_("blue").emit("e", "red only")
    one.to("nobody is there").emit("e", "never")
    one.except_("red").emit("e", "blue only")
    assert c.id is not None
    one.to(c.id).emit("e", "private")
    await flushed(house, [a, b, c])
    assert events(a) == [("e", "red"), ("e", "both"), ("e", "red only")]
    assert events(b) == [("e", "red"), ("e", "both")]
    assert events(c) == [("e", "both"), ("e", "blue only"), ("e", "private")]


async def test_a_socket_does_not_hear_its_own_broadcast_nor_local_ones_the_others(house: House) -> None:
    one, two, _ = house.servers

    @one.on("say")
    def say(socket: Socket, text: str) -> None:
        socket.broadcast.emit("said", text)
        socket.to("red").volatile.compress(False).emit("whispered", text)
        one.local.emit("local", text)

    a, b, c = [await house.client(one, "red"), await house.client(one), await house.client(two, "red")]
    await reached([c], one.to("red"))
    a.emit("say", "hello")
    await b.expect("said", "hello")
    await flushed(house, [a, b, c])
    assert events(a) == [("local", "hello")]
    assert events(b) == [("said", "hello"), ("local", "hello")]
    assert events(c) == [("said", "hello"), ("whispered", "hello")]


async def test_namespaces_stay_apart_and_those_of_patterns_are_shared(house: House) -> None:
    for io in house.servers:
        io.of("/chat")
        io.of("/room-{id:int}").on("connection", lambda socket: None)
    chat = [await house.client(io, namespace="/chat") for io in house.servers[:2]]
    rooms = [await house.client(io, namespace="/room-7") for io in house.servers[:2]]
    main = [await house.client(io) for io in house.servers[:2]]
    await reached(chat, house.servers[2].of("/chat"))
    await reached(rooms, house.servers[0].of("/room-7"))
    house.servers[2].of("/chat").emit("e", "chat")
    house.servers[0].of("/room-7").emit("e", "room")
    house.servers[0].of("/room-{id:int}").emit("e", "all rooms")
    house.servers[0].emit("e", "main")
    for client in chat:
        await client.expect("e", "chat", timeout=PATIENCE)
    for client in rooms:
        await client.expect("e", "room", timeout=PATIENCE)
        await client.expect("e", "all rooms", timeout=PATIENCE)
    await flushed(house, main)
    assert [len(events(client)) for client in (*chat, *rooms, *main)] == [1, 1, 2, 2, 1, 1]


async def test_servers_without_a_namespace_are_not_waited_for(house: House) -> None:
    one, two, _ = house.servers
    for io in (one, two):
        io.of("/two").server_side_event("who?", lambda: 1)
    alone = one.of("/alone")
    client = await house.client(one, namespace="/alone")
    assert [socket.id for socket in await alone.fetch_sockets()] == [client.id]
    assert await alone.server_side_call("who?", timeout=PATIENCE) == []
    client.on("vote", lambda: 1)
    assert await alone.call("vote", timeout=PATIENCE) == [1]
    # The other one says when it is there.
    async with asyncio.timeout(PATIENCE):
        while len(await one.of("/two").server_side_call("who?", timeout=PATIENCE)) != 1:
            await asyncio.sleep(0.01)


async def test_acknowledgements_of_all_clients(house: House) -> None:
    clients = [await house.client(io, "jury") for io in house.servers] + [await house.client(house.servers[0])]
    for number, client in enumerate(clients):
        client.on("vote", lambda question, number=number: [number, question, b"\x01"])
    answers = await house.servers[1].to("jury").call("vote", {"q": "?"}, timeout=PATIENCE)
    assert sorted(answers) == [[number, {"q": "?"}, b"\x01"] for number in range(3)]
    assert len(await house.servers[2].call("vote", 1, timeout=PATIENCE)) == 4
    assert await house.servers[2].to("nobody").call("vote", 1, timeout=PATIENCE) == []
    with pytest.raises(AckTimeout) as late:
        await house.servers[2].to("jury").call("unheard", timeout=0.3)
    assert (late.value.received, late.value.expected, late.value.missing) == ([], 3, [])


async def test_clients_of_other_servers_are_fetched_and_managed(house: House) -> None:
    one, two, three = house.servers
    two.on("connection", lambda socket: socket.data.update(name="Mina", seen={"at": 1}))
    a, b = await house.client(one, "red"), await house.client(two, "red", "blue")
    found = {socket.id: socket for socket in await three.fetch_sockets()}
    assert set(found) == {a.id, b.id}
    assert b.id is not None
    remote = found[b.id]
    assert remote.rooms == {"red", "blue", b.id}
    assert remote.data == {"name": "Mina", "seen": {"at": 1}}
    assert remote.handshake.auth == {"rooms": ["red", "blue"]}
    assert remote.handshake.headers["host"] == "test"
    assert abs(remote.handshake.time - time.time()) < 60
    assert remote.handshake.url.startswith("/socket.io/?EIO=4&transport=websocket")

    b.on("who", lambda: "it is me")
    assert await remote.call("who", timeout=PATIENCE) == "it is me"
    remote.emit("only", "you")
    await b.expect("only", "you", timeout=PATIENCE)
    remote.join("green")
    remote.leave("blue")
    await until(lambda: two.sockets[remote.id].rooms == {"red", "green", remote.id})
    assert [socket.id for socket in await one.in_("green").fetch_sockets()] == [b.id]
    three.in_("red").sockets_join("all")
    await until(lambda: bool(one.hub.of("/").rooms.get("all") and two.hub.of("/").rooms.get("all")))
    three.in_("red").sockets_leave("all")
    await until(lambda: not (one.hub.of("/").rooms.get("all") or two.hub.of("/").rooms.get("all")))
    remote.disconnect()
    await until(lambda: b.disconnects == ["io server disconnect"])
    one.disconnect_sockets(close=True)
    await until(lambda: a.disconnects == ["io server disconnect"])
    assert events(a) == []


async def test_what_is_told_again_of_how_a_client_came_is_what_its_program_has_now(house: House) -> None:
    one, two, _ = house.servers
    client = await house.client(two, "red")
    assert client.id is not None
    auth = two.sockets[client.id].handshake.auth
    told = []
    for value in ("first", b"bytes", {"then": ["text"]}):
        auth["value"] = value
        [remote] = await one.fetch_sockets()
        assert remote.handshake.auth == {"rooms": ["red"], "value": value}
        told.append((remote.handshake.headers, remote.handshake.url, remote.handshake.query, remote.handshake.time))
    assert told[0] == told[1] == told[2]
    assert told[0][2]["EIO"] == "4"


async def test_a_client_that_is_gone_answers_at_once_that_nobody_is_there(house: House) -> None:
    client = await house.client(house.servers[1])
    [remote] = await house.servers[0].fetch_sockets()
    await client.close()
    await until(lambda: not house.servers[1].sockets)
    with pytest.raises(Exception, match="transport close"):
        await remote.call("anybody?", timeout=PATIENCE)


async def test_servers_talk(house: House) -> None:
    one, two, three = house.servers
    heard: list[tuple[Any, ...]] = []
    for number, io in enumerate(house.servers):
        io.server_side_event("hello", lambda *args, number=number: heard.append((number, *args)))
    one.server_side_emit("hello", 1, b"\x00")
    await until(lambda: len(heard) == 2)
    assert sorted(heard) == [(1, 1, b"\x00"), (2, 1, b"\x00")]
    two.server_side_event("name", lambda: {"name": "two"})

    @three.server_side_event("name")
    async def name() -> str:
        await asyncio.sleep(0.001)
        return "three"

    answers = await one.server_side_call("name", timeout=PATIENCE)
    assert sorted(answers, key=str) == ["three", {"name": "two"}]
    with pytest.raises(AckTimeout) as late:
        await three.server_side_call("name", timeout=0.3)  # one has no handler
    assert late.value.received == [{"name": "two"}]
    assert late.value.expected == 2
    assert late.value.missing == ["one"]


async def test_members_come_and_go(house: House) -> None:
    seen: list[tuple[str, str]] = []
    one = house.servers[0]
    one.cluster.on("joined", lambda peer: seen.append(("joined", peer.name)))
    one.cluster.on("left", lambda peer, why: seen.append((why, peer.name)))
    four = await house.add("four")
    assert sorted(peer.name for peer in one.cluster.peers.values()) == ["four", "three", "two"]
    house.servers.pop()
    await four.close()
    await until(lambda: len(one.cluster.peers) == 2)
    assert seen == [("joined", "four"), ("it has gone", "four")]
    health = one.cluster.health
    assert (health.connected, health.members, health.lost, health.gaps, health.malformed) == (True, 2, 0, 0, 0)
    assert health.published > 0
    assert health.received > 0


async def test_what_can_not_be_sent_is_the_callers_error_and_reaches_nobody(house: House) -> None:
    clients = [await house.client(io) for io in house.servers]
    with pytest.raises(EncodeError):
        house.servers[0].emit("news", object())
    with pytest.raises(EncodeError):
        house.servers[0].call("news", object())
    with pytest.raises(LocalProtocolError):
        house.servers[0].emit("connect")
    await flushed(house, clients)
    assert [events(client) for client in clients] == [[], [], []]


async def test_data_that_can_not_be_told_leaves_out_one_client(house: House, caplog: pytest.LogCaptureFixture) -> None:
    two = house.servers[1]
    a, b = await house.client(two), await house.client(two)
    assert a.id is not None
    two.sockets[a.id].data["lock"] = object()
    assert [socket.id for socket in await house.servers[0].fetch_sockets()] == [b.id]
    assert "can't be told to other servers" in caplog.text


async def test_a_listener_of_outgoing_events_sees_those_of_other_servers(house: House) -> None:
    seen: list[tuple[Any, ...]] = []
    two = house.servers[1]
    client = await house.client(two)
    two.on_any_outgoing(lambda *args: seen.append(args[1:]))
    house.servers[0].emit("news", {"a": 1})
    await client.expect("news", {"a": 1}, timeout=PATIENCE)
    assert seen == [("news", {"a": 1})]


async def test_clients_of_every_generation_and_parser_hear_other_servers(url: str, prefix: str) -> None:
    async with AsyncExitStack() as stack:
        house = House(url, prefix, stack)
        one = await house.add("one")
        two = await house.add("two", parser="msgpack")
        client = await house.client(two)
        one.emit("news", "마당", [1, {"b": b"\x00"}])
        one.emit("plain", "마당", 1.5)
        await client.expect("news", "마당", [1, {"b": b"\x00"}], timeout=PATIENCE)
        await client.expect("plain", "마당", 1.5, timeout=PATIENCE)


# Members that don't answer


async def test_a_member_that_has_died_is_noticed_and_named(url: str, prefix: str) -> None:
    async with AsyncExitStack() as stack:
        house = House(url, prefix, stack)
        quick = {"heartbeat_interval_seconds": 0.05, "heartbeat_timeout_seconds": 0.2}
        one = await house.add("one", cluster=quick | {"request_timeout_seconds": 0.1})
        two = await house.add("two", cluster=quick)
        three = await house.add("three", cluster=quick)
        left: list[tuple[str, str]] = []
        one.cluster.on("left", lambda peer, why: left.append((peer.name, why)))
        await house.client(three)
        # It says and hears nothing any more, as if its machine were gone, or stopped.
        two.cluster._handlers = dict.fromkeys(two.cluster._handlers, lambda message: None)
        two.cluster._heart.due = 0.0
        asked_at = time.monotonic()
        with pytest.raises(ClusterError) as failed:
            await one.fetch_sockets()
        assert failed.value.missing == ["two"]
        assert failed.value.answered == 1
        assert [socket.id for socket in failed.value.received] == list(three.sockets)
        assert "missing: two" in str(failed.value)
        await until(lambda: left == [("two", "it has been silent for too long")])
        assert time.monotonic() - asked_at < PATIENCE
        if "redis" not in url:
            assert len(await one.fetch_sockets()) == 1
            return
        with pytest.raises(ClusterError) as failed:  # Redis still counts it among those who hear
            await one.fetch_sockets()
        assert failed.value.missing == ["two"]


def test_a_server_alone_says_so() -> None:
    with pytest.raises(LocalProtocolError, match="in no cluster"):
        _ = Server().cluster
    assert not Server().is_clustered


async def test_two_clusters_of_other_names_do_not_meet(prefix: str) -> None:
    one, two = Server(cluster=f"memory://{prefix}a"), Server(cluster=f"memory://{prefix}b")
    async with one, two:
        client = connect(two)
        async with client as connected:
            one.emit("news", 1)
            await asyncio.sleep(0.05)
            assert connected.received == []
        assert one.cluster.peers == {}
        assert isinstance(one.cluster.health, Health)


async def test_a_server_that_was_never_started_says_that_it_is_alone(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    io = Server(cluster=f"memory://{prefix}")
    io.bind()
    await asyncio.sleep(0)
    assert "it was not started, so it is in no cluster" in caplog.text


async def test_to_start_twice_at_once_is_to_start(prefix: str) -> None:
    one, two = Server(cluster=f"memory://{prefix}"), Server(cluster=f"memory://{prefix}")
    async with two:
        await asyncio.gather(one.start(), one.start())
        await until(lambda: len(two.cluster.peers) == 1)
        await one.close()


async def test_a_server_whose_start_fails_is_no_member(prefix: str) -> None:
    one, two = Server(cluster=f"memory://{prefix}"), Server(cluster=f"memory://{prefix}")

    @two.on_start
    def failed() -> None:
        raise RuntimeError("not today")

    async with one:
        with pytest.raises(RuntimeError, match="not today"):
            await two.start()
        await asyncio.sleep(0.01)
        assert one.cluster.peers == {}


async def test_a_function_that_fails_harms_nothing(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    one, two = Server(cluster=f"memory://{prefix}"), Server(cluster=f"memory://{prefix}")

    @one.cluster.on("joined")
    def joined(peer: Peer) -> None:
        raise RuntimeError("not today")

    async with one, two:
        await until(lambda: len(one.cluster.peers) == 1)
    assert "the function for the cluster's 'joined' failed" in caplog.text


def test_a_cluster_is_joined_once_and_before_the_start(prefix: str) -> None:
    io = Server(cluster=f"memory://{prefix}")
    with pytest.raises(LocalProtocolError, match="already"):
        io.join_cluster("memory://other")
    linked, other = Server(), Server()
    linked.link(other)
    with pytest.raises(LocalProtocolError, match=r"instead of io\.link"):
        linked.join_cluster("memory://other")


async def test_answers_over_all_namespaces_of_a_pattern(house: House) -> None:
    one, two, _ = house.servers
    for io in house.servers:
        io.of("/room-{number}")
    await house.client(one, namespace="/room-1")
    async with connect(one, "/room-2") as near, connect(two, "/room-2") as far:
        near.on("who", lambda: "near")
        far.on("who", lambda: "far")
        assert far.id is not None
        await reached([near], two.of("/room-2"))
        assert await one.of("/room-{number}").to(far.id).timeout(PATIENCE).call("who") == ["far"]


async def test_nothing_stays_of_what_was_asked(house: House) -> None:
    one = house.servers[0]
    async with connect(one) as client:
        client.on("who", lambda: "me")
        for _ in range(20):
            assert await one.timeout(3600).call("who") == ["me"]
            assert len(await one.fetch_sockets()) == 1
        assert one.cluster._requests == {}
    gc.collect()
    assert [one for one in gc.get_objects() if issubclass(type(one), Request)] == []  # lazy objects would be woken


async def test_a_namespace_that_is_shut_is_no_member_that_has_gone(house: House) -> None:
    one, two, _ = house.servers
    left: list[Peer] = []
    one.cluster.on("left", lambda peer, why: left.append(peer))
    for io in house.servers:
        io.of("/room-{number}")
    async with connect(one, "/room-1") as client:
        async with connect(two, "/room-1") as other:
            other.on("who", lambda: "other")
            client.on("who", lambda: "client")
            await until(lambda: "/room-1" in two.hub.namespaces)
        await until(lambda: "/room-1" not in two.hub.namespaces)
        async with connect(one) as here:
            two.emit("after")  # what was said before it has come, too
            await here.expect("after", timeout=PATIENCE)
        assert [socket.id for socket in await one.of("/room-1").fetch_sockets()] == [client.id]
        assert await one.of("/room-1").timeout(PATIENCE).call("who") == ["client"]
    assert left == []


def test_a_server_that_starts_again_in_another_loop_is_heard(prefix: str) -> None:
    io = Server(cluster=Cluster(f"memory://{prefix}", heartbeat_interval_seconds=0.05, heartbeat_timeout_seconds=5))

    async def live() -> None:
        await io.start()
        begin = io.cluster.health.published
        await until(lambda: io.cluster.health.published >= begin + 3)
        await io.close()

    asyncio.run(live())
    asyncio.run(live())
