"""Redis Streams: what only a bus that keeps everything can do, against a real Redis."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from cluster.support.engines import Redis, RedisCluster, RedisSentinel
from madang.cluster import Ledger, Listener, open_bus
from madang.cluster.messages import (
    Broadcast,
    BroadcastData,
    EventPacket,
    FetchData,
    FetchSockets,
    FetchSocketsResponse,
    Heartbeat,
    InitialHeartbeat,
    Member,
    Message,
    Options,
    RemoteDetails,
    RoomsData,
    ServerEventData,
    ServerSideEmit,
    SocketsData,
    SocketsJoin,
    body,
    values_of,
)
from madang.cluster.redis_streams import RedisStreamsBus, hash_code, read_entry, write_data
from madang.config import Cluster, Config
from madang.errors import ConfigError, EncodeError, RemoteProtocolError

LIMITS = Config()


class Heard(Listener):
    """Notes all that a bus tells."""

    def __init__(self) -> None:
        self.messages: list[tuple[Message, str | None]] = []
        self.posts: list[bytes] = []
        self.bad: list[Exception] = []
        self.losses: list[tuple[int | None, str]] = []
        self.links: list[str] = []
        self.errors: list[BaseException] = []

    def received(self, message: Message, offset: str | None = None) -> None:
        self.messages.append((message, offset))

    def posted(self, data: bytes) -> None:
        self.posts.append(data)

    def gone(self, uid: str) -> None:
        raise AssertionError(uid)

    def malformed(self, error: Exception) -> None:
        self.bad.append(error)

    def up(self) -> None:
        self.links.append("up")

    def down(self, error: BaseException) -> None:
        self.links.append("down")
        self.errors.append(error)

    def lost(self, count: int | None, why: str) -> None:
        self.losses.append((count, why))

    @property
    def events(self) -> list[Any]:
        return [values(one) for one, _ in self.messages if isinstance(one, Broadcast)]

    @property
    def offsets(self) -> list[str | None]:
        return [offset for one, offset in self.messages if isinstance(one, Broadcast)]


def values(message: Broadcast) -> Any:
    return values_of(message.data.packet.data, LIMITS)


class Bus:
    """A bus that speaks as one member, and numbers what it says."""

    def __init__(self, url: str, number: int, prefix: str, **settings: Any) -> None:
        made = open_bus(Cluster(url, prefix=prefix, max_reconnect_delay_seconds=0.2, **settings))
        assert isinstance(made, RedisStreamsBus)
        self.bus = made
        self.uid = f"{number:016x}"
        self.node = f"n{number}"
        self.heard = Heard()
        self.numbers = 0

    @property
    def ledger(self) -> Ledger:
        return self.bus.ledger

    def say(self, message: Message, to: str | None = None) -> None:
        self.numbers += 1
        message.uid, message.seq = self.uid, self.numbers
        self.bus.publish(message, to)

    def emit(self, *data: Any, nsp: str = "/", rooms: tuple[str, ...] = ()) -> None:
        self.say(Broadcast(nsp=nsp, data=BroadcastData(EventPacket(body(list(data))), Options(list(rooms)))))

    async def count(self, namespace: str = "/") -> int | None:
        found: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.bus.count(namespace, found.set_result)
        return await found

    async def taken(self) -> None:
        """Everything that was said is with the engine."""
        await until(lambda: self.bus.buffered == (0, 0))


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.005)


Join = Callable[..., Any]


@pytest.fixture
async def join(prefix: str) -> AsyncIterator[Join]:
    """Makes members, and ends them."""
    numbers = iter(range(1, 100))
    async with contextlib.AsyncExitStack() as stack:

        async def make(engine: Any, options: str = "", namespaces: tuple[str, ...] = ("/",), **settings: Any) -> Bus:
            url = engine if isinstance(engine, str) else streams(engine.url)
            where = f"stream_name={prefix}&session_key_prefix={prefix}:s:"
            bus = Bus(f"{url}?{where}{options}", next(numbers), prefix, **settings)
            for namespace in namespaces:
                bus.bus.open(namespace)
            await bus.bus.start(bus.uid, bus.node, bus.heard)
            stack.push_async_callback(bus.bus.close)
            return bus

        yield make
    left = [task for task in asyncio.all_tasks() if "redis" in task.get_name() or "cluster" in task.get_name()]
    assert left == []


def streams(url: str) -> str:
    scheme, rest = url.split("://")
    return f"{scheme}-streams://{rest}"


@pytest.fixture
def redis() -> Iterator[Redis]:
    """One of the test's own, that keeps what it is told."""
    with Redis(persistent=True) as engine:
        yield engine


# What stands in a stream

#: What Node.js members write, and what it says.
NODE = [
    (
        b'{"packet":{"type":2,"data":["hi"]},"opts":{"rooms":["room1"],"except":[],"flags":{}}}',
        ["hi"],
        ("room1",),
    ),
    (
        b"gqZwYWNrZXSCpHR5cGUCpGRhdGGTo2JpbsQDAQID1v85RXmApG9wdHODpXJvb21zkKZleGNlcHSQpWZsYWdzgA==",
        ["bin", b"\x01\x02\x03", "2000-06-13T00:00:00.000Z"],
        (),
    ),
]


@pytest.mark.parametrize(("data", "event", "rooms"), NODE, ids=["text", "bytes"])
def test_entries_of_nodejs_are_read_and_written_again(data: bytes, event: Any, rooms: tuple[str, ...]):
    fields = {b"uid": b"e8cd97070b2f2cf3", b"nsp": b"/", b"type": b"3", b"data": data}

    message = read_entry(fields)

    assert isinstance(message, Broadcast)
    assert (message.uid, message.nsp, values(message), message.data.opts.chosen) == (
        "e8cd97070b2f2cf3",
        "/",
        event,
        rooms,
    )
    again = read_entry(fields | {b"data": write_data(message)})
    assert again == message


@pytest.mark.parametrize("kind", [b"1", b"2", b"8", b"10", b"11", b"12", b"13", b"99", b""])
def test_heartbeats_and_answers_in_a_stream_are_left_out(kind: bytes):
    assert read_entry({b"uid": b"a", b"nsp": b"/", b"type": kind, b"data": b"{}"}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {b"data": b"{"},
        {b"data": b'{"packet":1}'},
        {b"data": b"*"},
        {b"data": b"gqZw"},
        {},
        {b"data": NODE[0][0], b"nsp": b"\xff"},
        {b"data": NODE[0][0], b"uid": b"\xff"},
        {b"data": NODE[0][0], b"seq": b"x"},
    ],
    ids=["cut off", "no packet", "no base64", "cut off msgpack", "nothing", "nsp", "uid", "seq"],
)
def test_what_is_no_entry_is_told(fields: dict[bytes, bytes]):
    with pytest.raises(RemoteProtocolError):
        read_entry({b"uid": b"a", b"nsp": b"/", b"type": b"3"} | fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [("/", 47), ("/admin", 1438238848), ("/chat", 46457863), ("/notifications", -1014064871), ("/\U0001f3e0", 1818515)],
    ids=["main", "admin", "chat", "notifications", "emoji"],
)
def test_hashes_are_those_of_nodejs(name: str, value: int):
    assert hash_code(name) == value


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis-streams://localhost?maxlen=5", "no option 'maxlen'"),
        ("redis-streams://localhost?max_len=0", "whole number greater than 0"),
        ("redis-streams://localhost?sharded_pubsub=maybe", "true or false"),
        ("redis-streams://localhost?stream_name=", "the name of a stream"),
        ("redis-streams+foo://localhost", "sentinel"),
    ],
    ids=["unknown", "zero", "boolean", "empty", "kind"],
)
def test_options_that_make_no_sense_are_told(url: str, words: str):
    with pytest.raises(ConfigError, match=words):
        open_bus(Cluster(url))


# A cluster


async def test_all_hear_all_broadcasts_in_one_order_and_their_own_too(redis_server: Redis, join: Join):
    members = [await join(redis_server) for _ in range(3)]

    for i in range(200):
        members[i % 3].emit("n", i)
    await until(lambda: all(len(one.heard.events) == 200 for one in members))

    first = members[0].heard
    assert sorted(value for _, value in first.events) == list(range(200))
    assert len(set(first.offsets)) == 200
    assert None not in first.offsets
    for one in members[1:]:
        assert (one.heard.events, one.heard.offsets) == (first.events, first.offsets)
    assert [one.heard.losses for one in members] == [[], [], []]


async def test_an_entry_is_what_nodejs_expects(redis_server: Redis, join: Join, prefix: str):
    one = await join(redis_server)

    one.emit("hi", rooms=("room1",))
    one.emit("bin", b"\x01\x02\x03")
    await one.taken()

    text, binary = [fields for _, fields in redis_server.ask("XRANGE", prefix, "-", "+")]
    assert list(text) == list(binary) == ["uid", "nsp", "type", "data", "seq"]
    assert json.loads(text.pop("data")) == json.loads(NODE[0][0])
    assert text == {"uid": one.uid, "nsp": "/", "type": "3", "seq": "1"}
    assert msgspec.msgpack.decode(base64.b64decode(binary.pop("data"))) == {
        "packet": {"type": 2, "data": ["bin", b"\x01\x02\x03"]},
        "opts": {"rooms": [], "except": [], "flags": {}},
    }
    assert binary == {"uid": one.uid, "nsp": "/", "type": "3", "seq": "2"}


async def test_what_is_not_broadcast_comes_to_the_others_alone(redis_server: Redis, join: Join):
    one, other = await join(redis_server), await join(redis_server)
    about = Member("host:1", "n1", 1.0)

    one.say(SocketsJoin(nsp="/", data=RoomsData(Options(), ["room"])))
    one.say(FetchSockets(nsp="/", data=FetchData(Options(), "r1")))
    one.say(ServerSideEmit(nsp="/", data=ServerEventData(body(["tick", b"\x00"]))))
    one.say(InitialHeartbeat(data=about))
    one.say(Broadcast(nsp="/", data=BroadcastData(EventPacket(body(["asked"])), requestId="r2")))
    await until(lambda: len(other.heard.messages) == 5)

    by_type = {type(message): (message, offset) for message, offset in other.heard.messages}
    assert {kind.__name__ for kind in by_type} == {
        "SocketsJoin",
        "FetchSockets",
        "ServerSideEmit",
        "InitialHeartbeat",
        "Broadcast",
    }
    assert {offset for _, offset in by_type.values()} == {None}
    assert by_type[InitialHeartbeat][0].data == about
    other.say(Heartbeat(data=about))
    sockets = [RemoteDetails("s1", data=body({"a": b"\x01"}))]
    other.say(FetchSocketsResponse(nsp="/", data=SocketsData("r1", sockets)), one.uid)
    await until(lambda: len(one.heard.messages) == 2)
    answer = next(message for message, _ in one.heard.messages if isinstance(message, FetchSocketsResponse))
    assert answer.data.sockets[0].data == {"a": b"\x01"}
    assert len(other.heard.messages) == 5


async def test_answers_and_posts_reach_the_one_they_are_for(redis_server: Redis, join: Join):
    one, other, third = [await join(redis_server) for _ in range(3)]

    one.say(FetchSocketsResponse(nsp="/", data=SocketsData("r1", [])), other.uid)
    one.bus.post(other.node, b"\x00\xff")
    await until(lambda: other.heard.messages and other.heard.posts)

    one.emit("end")
    await until(lambda: third.heard.events)
    assert (other.heard.posts, third.heard.posts, one.heard.posts) == ([b"\x00\xff"], [], [])
    assert len(third.heard.messages) == 1


async def test_others_are_counted_by_namespace(redis_server: Redis, join: Join):
    one = await join(redis_server, namespaces=("/", "/a"))
    assert (await one.count(), await one.count("/b")) == (0, 0)

    other = await join(redis_server)
    assert (await one.count(), await one.count("/a"), await other.count("/a")) == (1, 0, 1)
    other.bus.open("/a")
    assert await other.count("/a") == 1
    assert await one.count("/a") == 1
    other.bus.shut("/a")
    assert await other.count() == 1  # what was said on the same link before is done
    assert await one.count("/a") == 0


async def test_a_namespace_is_heard_when_it_is_opened_and_as_long(redis_server: Redis, join: Join):
    one, other = await join(redis_server), await join(redis_server)

    one.emit("early", nsp="/a")
    one.emit("mark")
    await until(lambda: other.heard.events == [["mark"]])
    other.bus.open("/a")
    one.emit("open", nsp="/a")
    await until(lambda: other.heard.events == [["mark"], ["open"]])
    other.bus.shut("/a")
    one.emit("late", nsp="/a")
    one.emit("end")
    await until(lambda: ["end"] in other.heard.events)
    assert other.heard.events == [["mark"], ["open"], ["end"]]


async def test_what_is_no_message_is_told_and_the_rest_goes_on(redis_server: Redis, join: Join, prefix: str):
    one = await join(redis_server)

    redis_server.ask("XADD", prefix, "*", "uid", "x", "nsp", "/", "type", "3", "data", "{nonsense")
    redis_server.ask("XADD", prefix, "*", "some", "thing")
    redis_server.ask("PUBLISH", f"{prefix}#/#", "\x81nonsense")
    one.emit("end")
    await until(lambda: one.heard.events == [["end"]] and len(one.heard.bad) == 2)

    assert one.heard.links == ["up"]


async def test_events_with_bytes_are_refused_where_it_is_said_that_there_are_none(redis_server: Redis, join: Join):
    one = await join(redis_server, "&only_plaintext=true")

    with pytest.raises(EncodeError, match="only_plaintext"):
        one.emit("bin", b"\x00")
    one.emit("text")
    await until(lambda: one.heard.events == [["text"]])


async def test_by_sharded_pubsub(redis_server: Redis, join: Join, prefix: str):
    one, other = [await join(redis_server, "&sharded_pubsub=true") for _ in range(2)]

    one.say(FetchSockets(nsp="/", data=FetchData(Options(), "r1")))
    one.emit("hi")
    await until(lambda: len(other.heard.messages) == 2)

    assert await one.count() == 1
    assert redis_server.ask("PUBSUB", "SHARDNUMSUB", f"{prefix}#/#") == [f"{prefix}#/#", 2]


# Namespaces over several streams


async def test_namespaces_are_spread_as_nodejs_does(redis_server: Redis, join: Join, prefix: str):
    names = ("/", "/admin", "/chat", "/notifications")
    one, other = [await join(redis_server, "&stream_count=3", namespaces=names) for _ in range(2)]

    for name in names:
        one.emit(name, nsp=name)
    await until(lambda: len(other.heard.events) == len(one.heard.events) == 4)

    where = {
        name: [fields["nsp"] for _, fields in redis_server.ask("XRANGE", f"{prefix}-{name}", "-", "+")]
        for name in ("0", "1", "2", "-1", "-2")
    }
    # Those who read no stream with a negative number get a copy.
    assert where == {
        "0": [],
        "1": ["/admin", "/chat"],
        "2": ["/", "/notifications"],
        "-1": [],
        "-2": ["/notifications"],
    }
    assert sorted(other.heard.events) == [[name] for name in sorted(names)]


async def test_a_namespace_of_a_stream_that_nobody_reads_may_come_late(redis_server: Redis, join: Join):
    one, other = [await join(redis_server, "&stream_count=3") for _ in range(2)]

    other.bus.open("/notifications")
    assert await other.count("/notifications") == 0
    other.emit("own", nsp="/notifications")
    await until(lambda: other.heard.events == [["own"]])
    one.emit("hi", nsp="/notifications")
    await until(lambda: other.heard.events == [["own"], ["hi"]])
    assert one.heard.events == []


# The ledger


async def test_what_was_missed_is_told_once_and_exactly(redis_server: Redis, join: Join):
    one, other = await join(redis_server, namespaces=("/", "/a")), await join(redis_server)
    for i in range(500):
        one.emit("n", i)
        one.emit("n", i, nsp="/a")
    await until(lambda: len(other.heard.events) == 500)

    # While the others go on talking, what comes live and what was missed meet without gap or overlap.
    for i in range(500, 1000):
        one.emit("n", i)
    missed = await other.ledger.since(other.heard.offsets[100], "/", 5000)
    known = len(other.heard.events)
    assert missed is not None
    assert [values(message)[1] for _, message in missed] == list(range(101, known))
    assert [offset for offset, _ in missed] == other.heard.offsets[101:known]
    await until(lambda: len(other.heard.events) == 1000)

    last = other.heard.offsets[-1]
    assert await other.ledger.since(last, "/", 10) == []
    assert await other.ledger.since(other.heard.offsets[-11], "/", 10) is not None
    assert await other.ledger.since(other.heard.offsets[-12], "/", 10) is None
    assert await other.ledger.since(other.heard.offsets[0], "/a", 5000) is not None


@pytest.mark.parametrize("offset", ["", "1-1", "x", "9999999999999-0", "1" * 100, f"{1 << 64}-0", "1-1\n", "(1-1", "+"])
async def test_offsets_that_are_not_there_give_nothing(redis_server: Redis, join: Join, offset: str):
    one = await join(redis_server)
    one.emit("x")
    await until(lambda: one.heard.events)

    assert await one.ledger.since(offset, "/", 100) is None
    assert one.heard.links == ["up"]


async def test_what_was_trimmed_away_gives_nothing(redis_server: Redis, join: Join, prefix: str):
    one = await join(redis_server)
    for i in range(10):
        one.emit("n", i)
    await until(lambda: len(one.heard.events) == 10)

    redis_server.ask("XTRIM", prefix, "MAXLEN", 5)

    assert await one.ledger.since(one.heard.offsets[4], "/", 100) is None
    assert len(await one.ledger.since(one.heard.offsets[5], "/", 100)) == 4


async def test_what_was_missed_behind_the_newest_entry(redis_server: Redis, join: Join):
    one = await join(redis_server, "&max_len=200")
    start = one.ledger.newest("/")
    assert start is not None
    assert await one.ledger.since(start, "/", 10) == []
    one.emit("n", 0)
    one.emit("n", 1)
    await until(lambda: len(one.heard.events) == 2)

    missed = await one.ledger.since(start, "/", 10)
    assert missed is not None
    assert [values(message) for _, message in missed] == [["n", 0], ["n", 1]]
    newest = one.ledger.newest("/")
    assert newest == one.heard.offsets[-1]
    assert await one.ledger.since(newest, "/", 10) == []
    for i in range(2, 1000):  # so many that the first are trimmed away
        one.emit("n", i)
    await until(lambda: len(one.heard.events) == 1000)
    assert await one.ledger.since(start, "/", 5000) is None


async def test_duplicates_are_left_out_of_what_was_missed(redis_server: Redis, join: Join, prefix: str):
    one = await join(redis_server)
    for i in range(4):
        one.emit("n", i)
    await one.taken()
    entries = redis_server.ask("XRANGE", prefix, "-", "+")
    for _, fields in entries[1:3]:  # they were sent again, behind what came between
        redis_server.ask("XADD", prefix, "*", *[word for pair in fields.items() for word in pair], "again", "1")
    one.emit("n", 4)
    await until(lambda: len(one.heard.events) == 7)

    assert [message.again for message, _ in one.heard.messages][4:6] == [True, True]
    for at, expected in ((0, [1, 2, 3, 4]), (1, [2, 3, 4]), (3, [4])):
        missed = await one.ledger.since(one.heard.offsets[at], "/", 100)
        assert [values(message)[1] for _, message in missed] == expected


async def test_records_are_given_back_once_by_any_member(redis_server: Redis, join: Join, prefix: str):
    one, other = await join(redis_server), await join(redis_server)

    one.ledger.save("pid", b"first", 60)
    one.ledger.save("pid", b"record", 60)
    one.ledger.save("short", b"record", 0.001)
    await one.taken()
    assert 50_000 < redis_server.ask("PTTL", f"{prefix}:s:pid") <= 60_000
    assert await other.ledger.take("pid") == b"record"
    assert await one.ledger.take("pid") is None
    await until(lambda: not redis_server.ask("EXISTS", f"{prefix}:s:short"))
    assert await one.ledger.take("short") is None
    assert await one.ledger.take("x" * 1000) is None
    redis_server.ask("RPUSH", f"{prefix}:s:list", "x")
    assert await one.ledger.take("list") is None


# Links that break


async def test_nothing_is_lost_when_redis_is_killed_and_comes_back(redis: Redis, join: Join):
    members = [await join(redis) for _ in range(2)]
    for i in range(50):
        members[i % 2].emit("n", i)
    await asyncio.gather(*(one.taken() for one in members))

    for i in range(50, 100):
        members[i % 2].emit("n", i)
        if i == 75:
            await asyncio.sleep(0)  # some are on their way
            await asyncio.to_thread(redis.kill)
    await until(lambda: all("down" in one.heard.links for one in members))
    assert await members[0].count() == 0
    assert await members[0].ledger.take("x") is None
    assert await members[0].ledger.since(members[0].heard.offsets[0], "/", 100) is None
    await asyncio.to_thread(redis.start)
    await until(lambda: all(one.heard.links[-1] == "up" and one.bus.buffered == (0, 0) for one in members))
    members[0].emit("end")
    await until(lambda: all(["end"] in one.heard.events for one in members))

    first, other = (one.heard for one in members)
    assert (first.events, first.offsets) == (other.events, other.offsets)
    assert sorted(event[1] for event in first.events[:-1]) == list(range(100))
    assert first.losses == other.losses == []


async def test_what_is_said_while_a_member_is_away_waits_for_it(redis: Redis, join: Join):
    one, other = await join(redis), await join(redis)
    one.emit("before")
    await until(lambda: other.heard.events)

    # Its connections are cut, and it can't come back, while the others go on.
    redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: all("down" in member.heard.links and member.bus.connected for member in (one, other)))
    for i in range(1000):
        one.emit("n", i)
        if i % 200 == 0:
            await one.taken()
            redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until(lambda: len(other.heard.events) == 1001 and len(one.heard.events) == 1001)

    assert other.heard.events[1:] == [["n", i] for i in range(1000)]
    assert one.heard.events == other.heard.events
    assert one.heard.losses == other.heard.losses == []


async def test_a_redis_that_comes_back_empty_is_a_loss(join: Join):
    with Redis() as redis:
        one = await join(redis)
        one.emit("n")
        await until(lambda: one.heard.events)

        await asyncio.to_thread(redis.restart)
        await until(lambda: "down" in one.heard.links and one.heard.losses)
        one.emit("m")
        await until(lambda: one.heard.events == [["n"], ["m"]])
        await one.bus.close()

    assert len(one.heard.losses) == 1
    assert one.heard.losses[0][0] is None


async def test_what_was_trimmed_before_it_was_read_is_a_loss(redis: Redis, join: Join, prefix: str):
    one = await join(redis)
    one.emit("n", 0)
    await until(lambda: one.heard.events)

    # In one step, so that it can't be read between.
    pipeline = redis.client().pipeline()
    pipeline.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    fields = {"uid": "x", "nsp": "/", "type": "3", "data": NODE[0][0]}
    for _ in range(20):
        pipeline.xadd(prefix, fields, maxlen=5, approximate=False)
    pipeline.execute()
    await until(lambda: len(one.heard.events) == 6)

    assert [(count, "trimmed" in why) for count, why in one.heard.losses] == [(None, True)]


async def test_a_reader_that_lags_behind_the_trimming_is_told(redis_server: Redis, join: Join, prefix: str):
    one = await join(redis_server, "&read_count=10")
    one.emit("n", 0)
    await until(lambda: one.heard.events)
    pipeline = redis_server.client().pipeline()
    fields = {"uid": "x", "nsp": "/", "type": "3", "data": NODE[0][0]}
    for _ in range(200):
        pipeline.xadd(prefix, fields, maxlen=50, approximate=False)

    pipeline.execute()  # in one step, while we stand still
    await until(lambda: len(one.heard.events) == 51)

    assert [(count, "trimmed" in why) for count, why in one.heard.losses] == [(None, True)]
    assert one.heard.links == ["up"]


async def test_a_redis_that_stands_still_is_noticed_and_nothing_is_lost(redis: Redis, join: Join):
    one = await join(redis, "&socket_timeout=0.5")
    other = await join(redis, "&socket_timeout=0.5")
    one.emit("n", 0)
    await until(lambda: other.heard.events)

    redis.pause()
    one.emit("n", 1)
    await until(lambda: one.heard.links[-1] == other.heard.links[-1] == "down")
    one.emit("n", 2)
    redis.resume()
    await until(lambda: len(other.heard.events) >= 3 and len(one.heard.events) >= 3)
    one.emit("end")
    await until(lambda: other.heard.events[-1] == one.heard.events[-1] == ["end"])

    # What was on its way may come twice if it is known as such.
    first = [values(message) for message, _ in other.heard.messages if message.again is not True]
    assert first == [["n", 0], ["n", 1], ["n", 2], ["end"]]
    assert one.heard.losses == other.heard.losses == []


async def test_what_has_to_be_thrown_away_is_told_and_comes_back_without_an_offset(redis: Redis, join: Join):
    one = await join(redis, max_buffered_messages=10)
    await asyncio.to_thread(redis.kill)
    await until(lambda: one.heard.links[-1] == "down")

    for i in range(15):
        one.emit("n", i)
    assert (one.heard.events, one.heard.offsets) == ([["n", i] for i in range(5)], [None] * 5)
    assert [count for count, _ in one.heard.losses] == [1] * 5
    await asyncio.to_thread(redis.start)
    await until(lambda: len(one.heard.events) == 15)

    assert one.heard.events == [["n", i] for i in range(15)]
    assert None not in one.heard.offsets[5:]


# Members that can't be together


async def test_members_that_would_crash_are_not_asked(redis_server: Redis, join: Join, prefix: str):
    classic = redis_server.client().pubsub()
    one = await join(redis_server)
    other = await join(redis_server)
    classic.subscribe(f"{prefix}-request#/a#")
    classic.psubscribe(f"{prefix}#/a#*")
    await until(lambda: redis_server.ask("PUBSUB", "NUMSUB", f"{prefix}-request#/a#")[1] == 1)

    one.say(FetchSockets(nsp="/a", data=FetchData(Options(), "r1")))
    one.emit("hi", nsp="/a")
    one.emit("hi")
    await until(lambda: other.heard.events and one.heard.losses)

    assert "classic" in one.heard.losses[0][1]
    heard = []
    while (message := classic.get_message(timeout=0.01)) is not None:
        heard.append(message["type"])
    assert heard == ["subscribe", "psubscribe"]
    with pytest.raises(ConfigError, match="classic"):
        await join(redis_server, namespaces=("/a",))
    classic.close()


async def test_a_key_that_is_no_stream_is_told(redis_server: Redis, join: Join, prefix: str):
    redis_server.ask("SET", prefix, "x")

    with pytest.raises(ConfigError, match="can't be read"):
        await join(redis_server)


# Other ways to Redis


async def test_by_tls_and_with_a_password(join: Join):
    with Redis(tls=True, password="a b") as redis:
        url = f"rediss-streams://:a%20b@localhost:{redis.port}"
        one, other = [await join(url, f"&ssl_ca_certs={redis.ca}") for _ in range(2)]
        one.emit("hi")
        await until(lambda: other.heard.events == one.heard.events == [["hi"]])
        with pytest.raises(ConfigError, match="does not let us in"):
            await join(url.replace("a%20b", "b"), f"&ssl_ca_certs={redis.ca}")
        await one.bus.close()
        await other.bus.close()


@pytest.mark.parametrize("sharded", ["false", "true"])
async def test_in_a_redis_cluster(redis_cluster: RedisCluster, join: Join, sharded: str):
    hosts = ",".join(f"{host}:{port}" for host, port in redis_cluster.addresses)
    url = f"redis-streams+cluster://{hosts}"
    names = tuple(f"/{i}" for i in range(6))
    members = [await join(url, f"&stream_count=4&sharded_pubsub={sharded}", namespaces=names) for _ in range(2)]
    one, other = members

    for name in names:
        one.emit(name, nsp=name)
        one.say(FetchSockets(nsp=name, data=FetchData(Options(), name)))
    one.bus.post(other.node, b"x")
    for i in range(20):
        one.ledger.save(f"pid{i}", b"record", 60)
    await until(lambda: len(other.heard.messages) == 12 and len(one.heard.events) == 6 and other.heard.posts)

    assert [await one.count(name) for name in names] == [1] * 6
    await one.taken()
    assert [await other.ledger.take(f"pid{i}") for i in range(20)] == [b"record"] * 20
    at = one.heard.events.index(["/3"])
    assert await other.ledger.since(one.heard.offsets[at], "/3", 10) == []


async def test_with_sentinels_and_a_failover(join: Join):
    with RedisSentinel() as engines:
        hosts = ",".join(f"{host}:{port}" for host, port in engines.addresses)
        one, other = [await join(f"redis-streams+sentinel://{hosts}/{engines.name}") for _ in range(2)]
        one.emit("before")
        await until(lambda: other.heard.events and one.heard.events)
        await until(lambda: engines.replica.ask("EXISTS", one.bus.stream_of("/")))

        engines.master.kill()
        one.emit("meanwhile")
        await until(lambda: other.heard.events == one.heard.events == [["before"], ["meanwhile"]])
        assert one.heard.losses == other.heard.losses == []
        await one.bus.close()
        await other.bus.close()
