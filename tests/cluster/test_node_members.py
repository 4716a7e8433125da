"""The other half of the ground: real members that others wrote, in clusters among themselves."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.support.clients import Guest
from cluster.support.engines import Postgres, Redis, RedisCluster, RedisSentinel
from cluster.support.node import (
    ADAPTERS,
    DEADLINE,
    UNDEFINED,
    NodeEmitter,
    NodeError,
    NodeHost,
    NodeMember,
    options_with,
)

pytestmark = pytest.mark.node

DATE = datetime(2000, 6, 13, tzinfo=UTC)
RECOVERY = {"maxDisconnectionDuration": 60_000, "skipMiddlewares": True}


def engine_url(request: pytest.FixtureRequest, adapter: str) -> str:
    """The URL of the shared engine that an adapter is for."""
    engine: Redis | Postgres
    engine = request.getfixturevalue("postgres_server" if adapter.startswith("postgres") else "redis_server")
    return engine.url


@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_two_members_are_one(request: pytest.FixtureRequest, host: NodeHost, prefix: str, adapter: str) -> None:
    url = engine_url(request, adapter)
    first, second = [NodeMember(url, adapter, options_with(adapter, prefix), host=host) for _ in range(2)]
    with first:
        with second:
            await _are_one(first, second)
        await first.settled(1)


async def _are_one(first: NodeMember, second: NodeMember) -> None:
    here, there = await first.of("/court").open(), await second.of("/court").open()
    for member in (first, second, here, there):
        await member.settled(2)
    async with Guest(first.url, "/court", "red") as anna, Guest(second.url, "/court", "red", "blue") as ben:
        # Broadcasts, with values of all kinds
        await here.emit("news", 1, {"어": None}, b"\x00\xff", DATE, to=["red", "blue"])
        for guest in (anna, ben):
            assert await guest.next("news") == (1, {"어": None}, b"\x00\xff", "2000-06-13T00:00:00.000Z")
        await here.emit("only red", to=["red"], but=["blue"], compress=False)
        await here.emit("only near", local=True)
        for event in ("only red", "only near"):
            assert await anna.next(event) == ()
        # Over PostgreSQL what is emitted may overtake what was before, so what must not come is looked for at the end.
        # Answers
        for guest, name in ((anna, "anna"), (ben, "ben")):
            guest.on("who?", lambda name=name: name)
        assert sorted(await here.emit_with_ack("who?")) == ["anna", "ben"]
        assert await there.remote(anna.id, "emitWithAck", "who?") == "anna"
        # What a member knows of all
        assert await ben.call("data", {"colour": "blue"}, timeout=DEADLINE) == {"colour": "blue"}
        found = await here.fetch_sockets()
        assert {id_: (socket["data"], set(socket["rooms"])) for id_, socket in found.items()} == {
            anna.id: ({}, {anna.id, "red"}),
            ben.id: ({"colour": "blue"}, {ben.id, "red", "blue"}),
        }
        assert found[ben.id]["handshake"]["query"]["EIO"] == "4"
        await here.emit("only blue", to=["blue"])
        assert await ben.next("only blue") == ()
        # Joining, leaving
        await here.sockets_join("green", "yellow", to=["blue"])
        await _until(ben, {ben.id, "red", "blue", "green", "yellow"})
        await here.sockets_leave("yellow", to=["green"])
        await _until(ben, {ben.id, "red", "blue", "green"})
        # Between servers
        await there.on("hello")
        await there.on("sum?", answer=[3, UNDEFINED])
        await here.server_side_emit("hello", "마당", {"n": 1})
        assert await there.heard("hello") == ["마당", {"n": 1}]
        assert await here.server_side_emit_with_ack("sum?", 1, 2) == [[3, None]]
        assert await there.heard("sum?") == [1, 2]
        # The end
        id_ = ben.id
        assert (await second.next("connection", id=id_))["recovered"] is False
        await here.disconnect_sockets(to=["green"])
        assert (await second.next("disconnect", id=id_))["reason"] == "server namespace disconnect"
        assert set(await here.fetch_sockets()) == {anna.id}
        assert {name for name, _ in anna.heard + ben.heard} == {"who?"}


async def _until(guest: Guest, rooms: set[str]) -> None:
    async with asyncio.timeout(DEADLINE):
        while await guest.has_rooms() != rooms:
            await asyncio.sleep(0.02)


async def test_members_over_a_redis_cluster(redis_cluster: RedisCluster, host: NodeHost, prefix: str) -> None:
    told: dict[str, Any] = {"adapter": "sharded", "options": options_with("sharded", prefix)}
    told |= {"client": "cluster", "host": host}
    first, second = NodeMember(redis_cluster.url, **told), NodeMember(redis_cluster.url, **told)
    with first, second:
        await first.settled(2)
        await _reaches(first, second)


async def test_members_over_sentinels(redis_sentinel: RedisSentinel, host: NodeHost, prefix: str) -> None:
    found: dict[str, Any] = {
        "client": "sentinel",
        "sentinels": redis_sentinel.addresses,
        "name": redis_sentinel.name,
        "host": host,
    }
    told: dict[str, Any] = {"adapter": "classic", "options": options_with("classic", prefix), **found}
    first, second = NodeMember(**told), NodeMember(**told)
    with first, second:
        await first.settled(2)
        await _reaches(first, second)


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_members_over_tls_with_a_password(host: NodeHost, kind: str, prefix: str) -> None:
    adapter = {"redis": "sharded", "postgres": "postgres"}[kind]
    with {"redis": Redis, "postgres": Postgres}[kind](password="secret", tls=True) as engine:
        told: dict[str, Any] = {"adapter": adapter, "options": options_with(adapter, prefix), "ca": str(engine.ca)}
        told |= {"host": host}
        first, second = NodeMember(engine.url, **told), NodeMember(engine.url, **told)
        with first, second:
            await first.settled(2)
            await _reaches(first, second)


async def _reaches(first: NodeMember, second: NodeMember) -> None:
    async with Guest(second.url) as guest:
        await first.emit("news", 1)
        assert await guest.next("news") == (1,)
        assert set(await first.fetch_sockets()) == {guest.id}


async def test_an_emitter_reaches_members(redis_server: Redis, host: NodeHost, prefix: str) -> None:
    member = NodeMember(redis_server.url, "classic", {"key": prefix}, host=host)
    emitter = NodeEmitter(redis_server.url, "redis", {"key": prefix}, host=host)
    with member, emitter:
        async with Guest(member.url, "/", "red") as anna, Guest(member.url, "/chat", "blue") as ben:
            await emitter.emit("news", b"\x01", DATE, to=["red"], but=["blue"], volatile=True)
            assert await anna.next("news") == (b"\x01", "2000-06-13T00:00:00.000Z")
            chat = emitter.of("/chat")
            await chat.emit("news", 2)
            assert await ben.next("news") == (2,)
            await chat.sockets_join("green", to=["blue"])
            await _until(ben, {ben.id, "blue", "green"})
            await member.on("hello")
            await emitter.server_side_emit("hello", 3)
            assert await member.heard("hello") == [3]
            id_ = ben.id
            await chat.disconnect_sockets(True, to=["green"])
            await member.next("disconnect", id=id_)
            assert anna.heard == []


@pytest.mark.parametrize("adapter", ["postgres", "postgres-0.4"])
async def test_the_emitter_for_postgres_is_not_heard(
    postgres_server: Postgres, host: NodeHost, prefix: str, adapter: str
) -> None:
    """It leaves out the namespace that these adapters want (socket.io-postgres-emitter 0.1.1), so ours must not."""
    url = postgres_server.url
    member, other = [NodeMember(url, adapter, options_with(adapter, prefix), host=host) for _ in range(2)]
    emitter = NodeEmitter(url, "postgres", {"channelPrefix": prefix}, host=host)
    with member, other, emitter:
        await member.settled(2)
        async with Guest(member.url) as guest:
            await emitter.emit("from outside")
            await other.emit("from a member")  # notifications come in order
            assert await guest.next("from a member") == ()
            assert guest.heard == []


async def test_a_client_is_recovered_by_another_member(redis_server: Redis, host: NodeHost, prefix: str) -> None:
    told: dict[str, Any] = {"adapter": "streams", "options": options_with("streams", prefix)}
    told |= {"recovery": RECOVERY, "host": host}
    first, second = NodeMember(redis_server.url, **told), NodeMember(redis_server.url, **told)
    with first, second:
        await first.settled(2)
        async with Guest(first.url, "/", "room") as guest:
            await second.emit("news", 1, to=["room"])
            assert await guest.next("news") == (1,)
            id_, pid, offset = guest.id, guest._trail.pid, guest._trail.offset
            await first.cut(id_)
            assert (await first.next("disconnect", id=id_))["reason"] == "forced close"
            await first.emit("news", 2, to=["room"])
        async with Guest(second.url, auth={"pid": pid, "offset": offset}) as guest:
            assert guest.id == id_
            assert (await second.next("connection", id=id_))["recovered"] is True
            assert await guest.next("news") == (2,)
            assert await guest.has_rooms() == {id_, "room"}


async def test_members_outlive_their_engine(host: NodeHost, prefix: str) -> None:
    with Redis() as redis:
        told: dict[str, Any] = {"adapter": "sharded", "options": options_with("sharded", prefix), "host": host}
        first, second = NodeMember(redis.url, **told), NodeMember(redis.url, **told)
        with first, second:
            await first.settled(2)
            redis.kill()
            await first.next("engine")
            redis.start()
            await first.settled(2)
            await _reaches(first, second)


async def test_a_crash_of_a_member_is_told(redis_server: Redis, prefix: str) -> None:
    """The classic adapter catches nothing that it reads (redis-adapter 8.3.0)."""
    member = NodeMember(redis_server.url, "classic", {"key": prefix})
    await member.settled(1)
    redis_server.ask("PUBLISH", f"{prefix}#/#", "no message")
    crash = await member.host.next("crash")
    assert crash["kind"] == "uncaughtException"
    with pytest.raises(NodeError, match="ended"):
        await member.server_count()
    with pytest.raises(AssertionError, match="uncaughtException"):
        member.close()


async def test_a_member_is_paused_and_killed(redis_server: Redis, prefix: str) -> None:
    options = options_with("sharded", prefix)
    first, second = [NodeMember(redis_server.url, "sharded", options) for _ in range(2)]
    with first, second:
        await first.settled(2)
        second.pause()
        count = second.host.order("serverCount", guest=second.number, namespace="/")
        await asyncio.sleep(0.1)
        assert not count.done()
        second.resume()
        assert count.result(DEADLINE) == 2
        second.kill()
        with pytest.raises(NodeError):
            await second.server_count()
        await first.settled(1)


async def test_what_a_member_throws_is_told(host: NodeHost) -> None:
    with NodeMember(host=host) as member:
        async with Guest(member.url, "/", "room") as guest:
            told_late = asyncio.Event()
            guest.on("late?", told_late.wait)
            with pytest.raises(NodeError, match="operation has timed out") as told:
                await member.emit_with_ack("late?", timeout=50)
            assert told.value.responses == []
            told_late.set()
            with pytest.raises(NodeError, match="reserved"):
                await member.emit("connect")
            assert await member.local_rooms() == {guest.id: [guest.id], "room": [guest.id]}
            assert await member.sockets("room") == {guest.id}
