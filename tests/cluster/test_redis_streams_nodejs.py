"""Redis Streams with real Node.js members: clients that either keeps for the other, several streams, version 0.2."""

import asyncio
from typing import Any

import pytest

from cluster.support.clients import Guest
from cluster.support.engines import Redis
from cluster.support.node import NodeHost, NodeMember, options_with
from cluster.support.recorder import Member, until
from madang.cluster.messages import Broadcast, pack_session, unpack_session

pytestmark = pytest.mark.node

RECOVERY = {"maxDisconnectionDuration": 60_000, "skipMiddlewares": True}


def url_of(redis: Redis, prefix: str, more: str = "") -> str:
    return f"redis-streams://{redis.host}:{redis.port}?stream_name={prefix}&session_key_prefix={prefix}:session:{more}"


async def test_lost_clients_go_from_one_to_the_other(redis_server: Redis, host: NodeHost, prefix: str) -> None:
    told: dict[str, Any] = {"options": options_with("streams", prefix), "recovery": RECOVERY, "host": host}
    with NodeMember(redis_server.url, "streams", **told) as node:
        async with Member(url_of(redis_server, prefix), "a", prefix=prefix) as ours:
            ledger = ours.bus.ledger
            assert ledger is not None
            async with Guest(node.url, "/", "room") as guest:
                ours.emit("news", 1, b"\x00", rooms=("room",))
                assert await guest.next("news") == (1, b"\x00")
                id_, pid, offset = guest.id, guest._trail.pid, guest._trail.offset
                assert id_ is not None
                assert pid is not None
                await until(lambda: offset in ours.heard.offsets)
                await node.next("connection", id=id_)
                await node.cut(id_)
                assert (await node.next("disconnect", id=id_))["reason"] == "forced close"
            ours.emit("news", 2, rooms=("room",))
            await until(lambda: len(ours.heard.events) == 2)  # two who speak at once are heard in any order
            await node.emit("news", 3, "마당", to=["room"])
            await until(lambda: len(ours.heard.events) == 3)
            # What Node.js has kept is there for us, and so is what its client has missed.
            async with asyncio.timeout(20):
                while (kept := await ledger.take(pid)) is None:
                    await asyncio.sleep(0.01)
            record = unpack_session(kept)
            assert (record.sid, record.pid, set(record.rooms), record.data) == (id_, pid, {id_, "room"}, {})
            assert pack_session(record) == kept
            missed = await ledger.since(offset, "/", 100)
            assert missed is not None
            assert [place for place, _ in missed] == ours.heard.offsets[1:]
            assert [one.data.opts.chosen for _, one in missed] == [("room",)] * 2
            # And what we keep is there for Node.js.
            record.data = {"name": "Mina"}
            ledger.save(pid, pack_session(record), 60)
            await until(lambda: ours.bus.buffered == (0, 0))
            async with Guest(node.url, auth={"pid": pid, "offset": offset}) as guest:
                assert guest.id == id_
                assert (await node.next("connection", id=id_))["recovered"] is True
                assert [await guest.next("news") for _ in range(2)] == [(2,), (3, "마당")]
                assert await guest.has_rooms() == {id_, "room"}
                [found] = (await node.fetch_sockets(local=True)).values()
                assert found["data"] == {"name": "Mina"}


async def test_namespaces_that_nodejs_does_not_read(redis_server: Redis, host: NodeHost, prefix: str) -> None:
    options = {**options_with("streams", prefix), "streamCount": 3}
    names = ("/", "/chat", "/notifications")
    with NodeMember(redis_server.url, "streams", options, host=host) as node:
        async with Member(url_of(redis_server, prefix, "&stream_count=3"), "a", *names, prefix=prefix) as ours:
            for name in names:
                await node.of(name).open()
                async with Guest(node.url, name) as guest:
                    await node.of(name).emit("theirs", name)
                    await until(lambda name=name: ["theirs", name] in ours.heard.events)
                    ours.emit("ours", name, nsp=name)
                    assert await guest.next("ours") == (name,)
                    ours.emit("end", nsp=name)
                    await guest.next("end")
                    assert [event for event, _ in guest.heard] == ["theirs"]
            await until(lambda: len(ours.heard.events) == 9)
            assert None not in ours.heard.offsets


async def test_broadcasts_of_version_0_2(redis_server: Redis, host: NodeHost, prefix: str) -> None:
    with NodeMember(redis_server.url, "streams-0.2", options_with("streams-0.2", prefix), host=host) as node:
        async with (
            Member(url_of(redis_server, prefix), "a", prefix=prefix) as ours,
            Guest(node.url, "/", "room") as guest,
        ):
            ours.emit("ours", b"\x00", rooms=("room",))
            assert await guest.next("ours") == (b"\x00",)
            await node.emit("theirs", 1, b"\xff")
            await until(lambda: ["theirs", 1, b"\xff"] in ours.heard.events)
            # It speaks of itself in the stream, which is none of our business.
            assert {type(message) for message in ours.heard.messages} == {Broadcast}
            assert ours.heard.malformations == []
