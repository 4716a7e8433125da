"""What an engine refuses: one message for good, which must hold up no others, or all of them for a while."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from cluster.support.buses import Ear, meet, member
from cluster.support.engines import Redis, RedisCluster, RedisSentinel
from cluster.support.recorder import emit
from madang.cluster import open_bus
from madang.cluster.link import EngineBusy, LinkedBus, Outgoing
from madang.cluster.messages import Message, to_json, values_of
from madang.config import Cluster, Config
from madang.errors import ConfigError

SCHEMES = ["redis", "redis-classic", "redis-streams"]
MEGABYTE = 1 << 20


def settings(redis: Redis, scheme: str, prefix: str) -> Cluster:
    return Cluster(redis.url.replace("redis://", f"{scheme}://"), prefix=prefix, max_reconnect_delay_seconds=0.2)


def heard(ear: Ear) -> list[Any]:
    return [values_of(one.data.packet.data, Config()) for one in ear.messages]  # type: ignore[attr-defined]


def lost(ear: Ear) -> list[Any]:
    """The numbers of messages that were thrown away; not whether others' may have been missed."""
    return [count for _, count, _ in ear.of("lost") if count is not None]


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_what_redis_forbids_is_told_and_what_follows_arrives(scheme: str, prefix: str) -> None:
    with Redis() as redis:
        async with member(settings(redis, scheme, prefix)) as a, member(settings(redis, scheme, prefix)) as b:
            for one in (a, b):
                one.bus.open("/")
            await meet([a, b])
            redis.ask("ACL", "SETUSER", "default", "-publish", "-spublish", "-xadd")
            a.bus.publish(emit(a.uid, "refused", 1))
            a.bus.publish(emit(a.uid, "refused", 2))
            await a.until(lambda: sum(lost(a)) >= 2)  # and perhaps what it says of itself, each second
            assert "NOPERM" in a.of("lost")[-1][2]
            redis.ask("ACL", "SETUSER", "default", "+@all")
            a.bus.publish(emit(a.uid, "allowed"))
            await b.until(lambda: heard(b))
            assert heard(b) == [["allowed"]]
            assert not a.of("down")
            # Where our own broadcasts come back, those that were refused do so at once, and without an offset.
            await a.until(lambda: len(a.own) == (3 if scheme == "redis-streams" else 0))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_what_is_too_large_for_redis_is_told_and_what_follows_arrives(scheme: str, prefix: str) -> None:
    with Redis(options={"proto-max-bulk-len": str(MEGABYTE)}) as redis:
        async with member(settings(redis, scheme, prefix)) as a, member(settings(redis, scheme, prefix)) as b:
            for one in (a, b):
                one.bus.open("/")
            await meet([a, b])
            for event in ("before", "x" * 2 * MEGABYTE, "after"):
                a.bus.publish(emit(a.uid, event))
            await b.until(lambda: ["after"] in heard(b))
            assert heard(b) == [["before"], ["after"]]
            await a.until(lambda: lost(a) == [1])


async def test_a_message_at_which_the_engine_always_hangs_up_is_thrown_away(prefix: str) -> None:
    with Redis(options={"client-query-buffer-limit": str(MEGABYTE)}) as redis:
        async with member(settings(redis, "redis", prefix)) as a, member(settings(redis, "redis", prefix)) as b:
            for one in (a, b):
                one.bus.open("/")
            await meet([a, b])
            for event in ("before", "x" * 2 * MEGABYTE, "after"):
                a.bus.publish(emit(a.uid, event))
            await b.until(lambda: ["after"] in heard(b))
            assert heard(b) == [["before"], ["after"]]
            await a.until(lambda: lost(a) == [1])


async def test_a_redis_that_is_full_is_sent_all_again_until_it_is_not(prefix: str) -> None:
    with Redis() as redis:
        where = settings(redis, "redis-streams", prefix)
        async with member(where) as a, member(where) as b:
            for one in (a, b):
                one.bus.open("/")
            await meet([a, b])
            redis.ask("CONFIG", "SET", "maxmemory", "1mb")
            for number in range(3):
                a.bus.publish(emit(a.uid, number, seq=number))
            await a.until(lambda: len(a.of("down")) > 8)
            assert all("OOM" in str(error) for _, error in a.of("down"))
            redis.ask("CONFIG", "SET", "maxmemory", "0")
            await b.until(lambda: len(b.messages) == 3)
            assert heard(b) == [[0], [1], [2]]
            assert not lost(a)


class Flighty(LinkedBus):
    """A bus whose engine can always be reached, and hangs up at "poison"; or takes nothing."""

    def __init__(self, *, busy: bool = False) -> None:
        super().__init__(Cluster("flighty://"))
        self.busy = busy
        self.pauses: list[float] = []
        self.taken: list[bytes] = []
        self.batches: list[int] = []

    async def connect(self) -> None:
        pass

    async def hear(self) -> None:
        await asyncio.Event().wait()

    async def send(self, batch: list[Outgoing]) -> None:
        self.batches.append(len(batch))
        if self.busy:
            raise EngineBusy("full")
        while batch:
            if batch[0].data == b"poison":
                raise ConnectionError("it hangs up")
            self.taken.append(batch.pop(0).data)

    async def disconnect(self) -> None:
        pass

    def _pause(self, down_seconds: float) -> float:
        self.pauses.append(down_seconds)
        return 0.01

    def publish(self, message: Message, to: str | None = None) -> None:
        self.queue(Outgoing("", to_json(message)))

    open = shut = count = post = None  # type: ignore[assignment]


async def test_while_links_break_again_and_again_the_pauses_grow() -> None:
    bus = Flighty(busy=True)
    ear = Ear(bus)
    await bus.start(ear.uid, ear.node, ear)
    bus.queue(Outgoing("", b"anything"))
    await ear.until(lambda: bus.pauses and bus.pauses[-1] > 0.3)
    assert not lost(ear)
    await bus.close()


async def test_what_breaks_the_link_is_found_among_the_others() -> None:
    bus = Flighty()
    ear = Ear(bus)
    await bus.start(ear.uid, ear.node, ear)
    for data in (b"a", b"b", b"poison", b"c", b"poison", b"d"):
        bus.queue(Outgoing("", data))
    await ear.until(lambda: len(lost(ear)) == 2)
    await ear.drained()
    assert bus.taken == [b"a", b"b", b"c", b"d"]
    assert 1 in bus.batches
    assert bus.buffered == (0, 0)
    await bus.close()


@pytest.mark.parametrize("scheme", ["redis", pytest.param("redis-classic", marks=pytest.mark.exhaustive)])
async def test_a_member_of_a_redis_cluster_that_is_gone_holds_up_nothing_else(scheme: str, prefix: str) -> None:
    with RedisCluster() as cluster:
        hosts = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
        where = Cluster(f"{scheme}+cluster://{hosts}", prefix=prefix, max_reconnect_delay_seconds=0.2)
        gone = next(one for one in cluster.members if one is not cluster.owner(f"{prefix}#/#"))
        room = next(name for name in map(str, range(1000)) if cluster.owner(f"{prefix}#/#{name}#") is gone)
        async with member(where) as a, member(where) as b:
            for one in (a, b):
                one.bus.open("/")
                one.bus.open_room("/", room)
            await meet([a, b])
            gone.kill()
            await a.until(lambda: a.of("down"))
            await b.until(lambda: b.of("down"))
            for number in range(3):
                a.bus.publish(emit(a.uid, "to the room", number, rooms=(room,)))
            await a.until(lambda: len(a.of("up")) > 1)
            await b.until(lambda: len(b.of("up")) > 1)
            await a.say_until(lambda: emit(a.uid, "to all"), lambda: ["to all"] in heard(b))
            if scheme == "redis":
                assert a.bus.buffered[0] >= 3
                assert str(gone.port) in str(a.of("lost"))
            await asyncio.to_thread(gone.start)
            await b.until(lambda: ["to the room", 2] in heard(b))
            assert [one[1] for one in heard(b) if one[0] == "to the room"] == [0, 1, 2]
            await a.drained()


def fails_over(engines: RedisSentinel) -> bool:
    """Tell the sentinels to make the replica the master. They may have to hear of it once more before they can."""
    try:
        engines.sentinels[0].ask("SENTINEL", "FAILOVER", engines.name)
    except ResponseError as error:
        if "NOGOODSLAVE" not in str(error):
            raise
        return False
    return True


async def test_a_master_that_the_sentinels_have_given_up_is_left(prefix: str) -> None:
    with RedisSentinel() as engines:
        # The sentinels can't make a replica of it, as if they didn't reach it, which we do.
        engines.master.ask("ACL", "SETUSER", "default", "-client|kill")
        hosts = ",".join(f"{host}:{port}" for host, port in engines.addresses)
        where = Cluster(f"redis+sentinel://{hosts}/{engines.name}", prefix=prefix, max_reconnect_delay_seconds=0.2)
        async with member(where) as a, member(where) as b:
            for one in (a, b):
                one.bus.open("/")
            await meet([a, b])
            assert not a.of("down")
            async with asyncio.timeout(30):
                while not fails_over(engines):
                    await asyncio.sleep(0.1)
            for one in (a, b):
                await one.until(lambda one=one: one.of("down"))
                assert str(engines.replica.port) in str(one.of("down")[0][1])
            await meet([a, b])
            assert engines.master.ask("ROLE")[0] == "master"


async def test_a_database_that_redis_has_not_is_told_at_once(redis_server: Redis, prefix: str) -> None:
    bus = open_bus(Cluster(f"{redis_server.url}/99", prefix=prefix))
    ear = Ear(bus)
    with pytest.raises(ConfigError, match="has no database 99"):
        await bus.start(ear.uid, ear.node, ear)
