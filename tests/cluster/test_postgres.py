"""The bus over PostgreSQL, with real ones."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from cluster.support.clients import Guest
from cluster.support.engines import Postgres
from cluster.support.node import NodeEmitter, NodeHost, NodeMember, options_with
from cluster.support.recorder import Cable, Member, emit, until
from madang.cluster import open_bus
from madang.cluster.messages import (
    AdapterClose,
    Broadcast,
    Heartbeat,
    InitialHeartbeat,
    to_msgpack,
)
from madang.config import Cluster
from madang.errors import ConfigError, EncodeError, RemoteProtocolError

_numbers = itertools.count(1)


class Wire:
    """A plain connection: what is said on channels, and to say something."""

    def __init__(self, connection: asyncpg.Connection, table: str) -> None:
        self.connection = connection
        self.table = table
        self.heard: list[str] = []

    async def listen(self, channel: str) -> None:
        await self.connection.add_listener(channel, lambda *told: self.heard.append(told[3]))

    async def say(self, channel: str, *texts: str) -> None:
        for text in texts:
            await self.connection.execute("SELECT pg_notify($1, $2)", channel, text)

    async def keep(self, payload: bytes) -> int:
        found: int = await self.connection.fetchval(
            f"INSERT INTO {self.table} (payload) VALUES ($1) RETURNING id", payload
        )
        return found

    async def kept(self) -> int:
        found: int = await self.connection.fetchval(f"SELECT count(*) FROM {self.table}")
        return found


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    """Where the members of a test are, with a table of their own."""
    return f"{postgres_server.url}?table=kept{next(_numbers)}"


@pytest.fixture
async def wire(url: str) -> AsyncIterator[Wire]:
    dsn, _, table = url.partition("?table=")
    connection = await asyncpg.connect(dsn)
    yield Wire(connection, table)
    await connection.close()


async def test_what_node_js_says_is_heard(url: str, wire: Wire) -> None:
    async with Member(url, "a", "/", "/chat") as a:
        await wire.say(
            "socket.io#/",
            '{"type":1,"uid":"ac8a475530bff63b","nsp":"/"}',
            '{"type":2,"uid":"ac8a475530bff63b","nsp":"/","nodeId":"0123456789abcdef"}',
            '{"type":3,"data":{"packet":{"type":2,"data":["hi"]},"opts":{"rooms":["room1"],"except":[],"flags":{}}},'
            '"uid":"4e763976cac87669","nsp":"/"}',
            '{"type":13,"uid":"ac8a475530bff63b","nsp":"/"}',
        )
        # The emitter, and members before 0.4, don't tell the namespace.
        await wire.say(
            "socket.io#/chat",
            '{"type":3,"data":{"packet":{"type":2,"data":["from-emitter",1],"nsp":"/chat"},"opts":{"rooms":["room1"],'
            '"flags":{},"except":[]}},"uid":"emitter"}',
        )
        await until(lambda: len(a.heard.messages) == 5)
        first, second, hi, close, emitted = a.heard.messages
        assert isinstance(first, InitialHeartbeat)
        assert isinstance(second, Heartbeat)
        assert isinstance(hi, Broadcast)
        assert isinstance(close, AdapterClose)
        assert (hi.uid, hi.nsp, hi.data.opts.chosen) == ("4e763976cac87669", "/", ("room1",))
        assert (emitted.uid, emitted.nsp) == ("emitter", "/chat")
        assert a.heard.events == [["hi"], ["from-emitter", 1]]


@pytest.mark.parametrize("form", ['"{}"', "{}"], ids=["text", "number"])
async def test_what_node_js_keeps_is_fetched(url: str, wire: Wire, form: str) -> None:
    async with Member(url, "a") as a:
        number = await wire.keep(to_msgpack(emit("b" * 16, "photo", b"\x01\x02")))
        await wire.say("socket.io#/", '{"uid":"bbbbbbbbbbbbbbbb","type":3,"attachmentId":' + form.format(number) + "}")
        await until(lambda: bool(a.heard.messages))
        assert a.heard.events == [["photo", b"\x01\x02"]]


async def test_what_node_js_is_told(url: str, wire: Wire) -> None:
    await wire.listen("socket.io#/")
    async with Member(url, "a") as a:
        a.bus.publish(InitialHeartbeat(uid=a.uid, nsp="/"))
        a.emit("hi", rooms=("room1",))
        a.emit("photo", b"\x01", rooms=("room1",))
        a.emit("long", "x" * 8000)
        await until(lambda: len(wire.heard) == 4)
        assert wire.heard[0] == '{"type":1,"uid":"aaaaaaaaaaaaaaaa","nsp":"/"}'
        assert json.loads(wire.heard[1]) == {
            "type": 3,
            "data": {
                "packet": {"type": 2, "data": ["hi"]},
                "opts": {"rooms": ["room1"], "except": [], "flags": {}},
            },
            "uid": "aaaaaaaaaaaaaaaa",
            "nsp": "/",
        }
        assert wire.heard[2:] == [
            '{"uid":"aaaaaaaaaaaaaaaa","type":3,"attachmentId":"1"}',
            '{"uid":"aaaaaaaaaaaaaaaa","type":3,"attachmentId":"2"}',
        ]
        rows = await wire.connection.fetch(f"SELECT payload FROM {wire.table} ORDER BY id")
        photo, long = (msgspec.msgpack.decode(row["payload"]) for row in rows)
        assert photo == {
            "type": 3,
            "data": {
                "packet": {"type": 2, "data": ["photo", b"\x01"]},
                "opts": {"rooms": ["room1"], "except": [], "flags": {}},
            },
            "uid": "aaaaaaaaaaaaaaaa",
            "nsp": "/",
        }
        assert long["data"]["packet"]["data"] == ["long", "x" * 8000]
        assert a.heard.messages == []  # our own come back, and are left out


async def test_order_is_kept_when_some_have_to_be_fetched(url: str) -> None:
    async with Member(url, "a") as a, Member(url, "b") as b, Member(url, "c") as c:
        for number in range(200):
            a.emit("n", number, *([b"x" * number] if number % 7 == 0 else ["y" * 9000] if number % 11 == 0 else []))
        await until(lambda: min(len(one.heard.messages) for one in (b, c)) == 200)
        for one in (b, c):
            assert [event[1] for event in one.heard.events] == list(range(200))


async def test_equal_messages_are_as_many_as_were_sent(url: str) -> None:
    # In one transaction PostgreSQL would make one of them.
    async with Member(url, "a") as a, Member(url, "b") as b:
        for _ in range(30):
            a.emit("tick")
            a.emit("long", "x" * 7850)  # no room for more than a few blanks
            a.bus.post(b.node, b"same")
        await until(lambda: len(b.heard.messages) == 60 and len(b.heard.posts) == 30)
        assert [event[0] for event in b.heard.events] == ["tick", "long"] * 30


@pytest.mark.parametrize("size", [7860, 7990, 8100])
async def test_equal_messages_near_the_limit(url: str, size: int) -> None:
    async with Member(url, "a") as a, Member(url, "b") as b:
        for _ in range(20):
            a.emit("long", "x" * (size - 120))
        await until(lambda: len(b.heard.messages) == 20)
        assert not a.heard.losses


async def test_a_message_that_is_gone_before_it_is_fetched_is_told(url: str, wire: Wire) -> None:
    async with Member(url, "a") as a:
        await wire.say("socket.io#/", '{"uid":"bbbbbbbbbbbbbbbb","type":3,"attachmentId":"4711"}')
        await wire.say("socket.io#/", msgspec.json.encode(emit("b" * 16, "next")).decode())
        await until(lambda: bool(a.heard.messages))
        assert a.heard.losses == [
            (1, f"a message was gone from the table {wire.table} before it was fetched"),
        ]
        assert a.heard.events == [["next"]]


async def test_what_is_no_message_is_told_and_left_out(url: str, wire: Wire) -> None:
    async with Member(url, "a") as a:
        number = await wire.keep(b"\xc1nonsense")
        bad = [
            "",
            "nonsense",
            "[]",
            '{"type":99,"uid":"b","nsp":"/"}',
            '{"uid":"b","type":3,"attachmentId":"x"}',
            '{"uid":"b","type":3,"attachmentId":{}}',
            f'{{"uid":"b","type":3,"attachmentId":"{number}"}}',
        ]
        await wire.say("socket.io#/", *bad)
        await wire.say("madang#node-a", "", "x", "b1;%", "anothing", "b1;YQ==")
        await wire.say("socket.io#/", '{"type":2,"uid":"bbbbbbbbbbbbbbbb","nsp":"/"}')
        await until(lambda: bool(a.heard.messages))
        assert isinstance(a.heard.messages[0], Heartbeat)
        assert all(isinstance(error, RemoteProtocolError) for error in a.heard.malformations)
        assert len(a.heard.malformations) == len(bad) + 4
        assert a.heard.posts == [b"a"]
        assert not a.heard.downs


async def test_members_of_ours_are_posted_to(url: str, wire: Wire) -> None:
    async with Member(url, "a") as a, Member(url, "b") as b:
        sent = [b"", b"text", "마당".encode(), bytes(range(256)), b"\0", b"x" * 7990, b"\xff" * 7000, b"y" * 1_000_000]
        for data in sent:
            a.bus.post(b.node, data)
        await until(lambda: len(b.heard.posts) == len(sent))
        assert b.heard.posts == sent
        assert a.heard.posts == []


async def test_names_longer_than_those_of_channels(url: str) -> None:
    long = ["/" + "마" * 30 + end for end in ("a", "b")]
    async with Member(url, "a", *long) as a, Member(url, "b", *long) as b:
        a.emit("one", nsp=long[0])
        a.emit("two", nsp=long[1])
        await until(lambda: len(b.heard.messages) == 2)
        assert [(one.nsp, *event) for one, event in zip(b.heard.messages, b.heard.events, strict=True)] == [
            (long[0], "one"),
            (long[1], "two"),
        ]


async def test_namespaces_are_opened_and_shut(url: str) -> None:
    async with Member(url, "a") as a, Member(url, "b") as b:
        a.bus.open("/new")
        a.emit("open")  # who says something hears before that what it has opened
        await until(lambda: bool(b.heard.messages))
        b.bus.open("/new")
        b.bus.publish(InitialHeartbeat(uid=b.uid, nsp="/new"))
        await until(lambda: any(one.nsp == "/new" for one in a.heard.messages))
        a.emit("heard", nsp="/new")
        await until(lambda: len(b.heard.messages) == 2)
        b.bus.shut("/new")
        b.bus.publish(InitialHeartbeat(uid=b.uid, nsp="/"))
        await until(lambda: any(one.nsp == "/" for one in a.heard.messages))
        a.emit("never", nsp="/new")
        a.emit("last")
        await until(lambda: len(b.heard.messages) == 3)
        assert b.heard.events == [["open"], ["heard"], ["last"]]


async def test_what_was_kept_is_deleted(url: str, wire: Wire) -> None:
    async with Member(f"{url}&cleanup_interval=0.3", "a") as a, Member(f"{url}&cleanup_interval=0", "b") as b:
        a.emit("photo", b"\x01")
        await until(lambda: bool(b.heard.messages))
        while await wire.kept():
            await asyncio.sleep(0.02)


async def test_a_message_that_the_database_cannot_write_is_told(postgres_server: Postgres) -> None:
    postgres_server.psql("CREATE DATABASE latin ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    url = postgres_server.url_of("latin")
    async with Member(url, "a") as a, Member(url, "b") as b:
        for event in ("before", "마당", "é"):
            a.emit(event)
        await until(lambda: len(b.heard.messages) == 2)
        assert b.heard.events == [["before"], ["é"]]
        assert [count for count, _ in a.heard.losses] == [1]
        assert not a.heard.downs


async def test_what_can_never_work(postgres_server: Postgres) -> None:
    database = postgres_server.url
    for url, why in {
        f"{database}?table=a;b": "table must be a name",
        f"{database}?payload_threshold=many": "are numbers",
        f"{database}?payload_threshold=8001": "between 1 and 8000",
        f"{database}?cleanup_interval=-1": "must not be negative",
    }.items():
        with pytest.raises(ConfigError, match=why):
            open_bus(Cluster(url))
    with pytest.raises(ConfigError, match="30 bytes of prefix"):
        open_bus(Cluster(database, prefix="p" * 31))
    postgres_server.psql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    guest = database.replace("postgres@", "guest@")
    for url, why in {
        postgres_server.url_of("nowhere"): "does not exist",
        database.replace("postgres@", "nobody@"): "does not exist",
        f"{database}?sslmode=perhaps": "sslmode",
        f"{database}?tabel=x": "tabel",
        f"{database}?table=nowhere.attachments": "make it once by hand: CREATE UNLOGGED TABLE",
        f"{guest}?table=guests": "permission denied",
    }.items():
        member = Member(url, "a")
        with pytest.raises(ConfigError, match=why):
            await member.bus.start(member.uid, member.node, member.heard)
        await member.bus.close()


async def test_options_are_node_js_ones(postgres_server: Postgres) -> None:
    database = postgres_server.url
    url = f"{database}?table=mine&payload_threshold=100&application_name=yard"
    async with Member(url, "a", prefix="yard") as a, Member(url, "b", prefix="yard") as b:
        a.emit("long", "x" * 100)
        await until(lambda: bool(b.heard.messages))
        assert b.heard.events == [["long", "x" * 100]]
        connection = await asyncpg.connect(database)
        assert await connection.fetchval("SELECT count(*) FROM mine") == 1
        names = await connection.fetch(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        )
        assert sum(row["application_name"] == "yard" for row in names) == 5  # one of them has fetched something
        await connection.close()


async def test_an_integer_that_does_not_fit_is_refused(url: str) -> None:
    async with Member(url, "a") as a:
        with pytest.raises(EncodeError):
            a.emit("large", b"", 2**70)


async def test_a_link_that_breaks_and_comes_back(postgres_server: Postgres) -> None:
    url = postgres_server.url
    async with Cable(postgres_server.address) as cable:
        theirs = url.replace(f":{postgres_server.port}/", f":{cable.port}/")
        async with Member(theirs, "a") as a, Member(url, "b", "/", "/late") as b:
            a.emit("n", 0, seq=1)
            await until(lambda: len(b.heard.messages) == 1)
            await a.bus.drain()
            await cable.cut()
            await until(lambda: bool(a.heard.downs))
            for number in range(1, 100):
                a.emit("n", number, *([b"x"] if number % 3 == 0 else []), seq=number + 1)
            assert a.bus.buffered[0] == 99
            a.bus.post(b.node, b"posted")
            a.bus.open("/late")
            b.emit("missed")
            await cable.mend()
            await until(lambda: len(b.heard.messages) == 100 and bool(b.heard.posts))
            assert [event[1] for event in b.heard.events] == list(range(100))
            await until(lambda: a.bus.buffered == (0, 0))
            assert (a.heard.ups, [count for count, _ in a.heard.losses]) == (2, [None])
            assert (b.heard.ups, b.heard.losses) == (1, [])
            b.emit("late", nsp="/late")
            await until(lambda: a.heard.events == [["late"]])


async def test_a_server_that_is_killed_and_comes_back() -> None:
    with Postgres(password="secret", tls=True) as engine:
        url = f"{engine.url}?sslmode=verify-full&sslrootcert={engine.ca}"
        async with Member(url, "a") as a, Member(url, "b") as b:
            a.emit("n", b"kept in the table")
            await until(lambda: len(b.heard.messages) == 1)
            await asyncio.to_thread(engine.kill)
            await until(lambda: bool(a.heard.downs) and bool(b.heard.downs))
            await asyncio.to_thread(engine.start)
            await until(lambda: a.heard.ups == b.heard.ups == 2)
            for one in (a, b):
                assert [count for count, _ in one.heard.losses] == [None]
            a.emit("n", b"again")
            await until(lambda: len(b.heard.messages) == 2)


@pytest.mark.exhaustive
async def test_a_server_that_is_paused() -> None:
    with Postgres() as engine:
        async with Member(engine.url, "a") as a, Member(engine.url, "b") as b:
            await asyncio.to_thread(engine.pause)
            for number in range(1000):
                a.emit("n", number, seq=number)
            await until(lambda: bool(a.heard.downs) and bool(b.heard.downs))
            await asyncio.to_thread(engine.resume)
            await until(lambda: a.heard.ups == b.heard.ups == 2 and a.bus.buffered == (0, 0))
            a.emit("n", 1000)
            await until(lambda: bool(b.heard.messages) and b.heard.events[-1][1] == 1000)
            # Some were said before `b` was back, and that is told; what comes twice says so.
            assert [count for count, _ in b.heard.losses] == [None]
            seen: list[int] = []
            for message, (_, number) in zip(b.heard.messages, b.heard.events, strict=True):
                if number in seen:
                    assert message.again is True
                else:
                    seen.append(number)
            assert seen == sorted(seen)


@pytest.mark.node
@pytest.mark.parametrize("adapter", ["postgres", "postgres-0.4"])
async def test_node_js_understands_what_is_large_or_equal(
    postgres_server: Postgres, host: NodeHost, prefix: str, adapter: str
) -> None:
    url = postgres_server.url
    said = [("tick",), ("tick",), ("tick",), ("long", "마당" * 3000), ("bytes", b"\x00\xff" * 10_000), ("end", None)]
    with NodeMember(url, adapter, options_with(adapter, prefix), host=host) as node:
        async with Member(url, "a", prefix=prefix) as a, Guest(node.url) as guest:
            a.bus.publish(InitialHeartbeat(uid=a.uid, nsp="/"))
            await node.settled(2)
            assert any(isinstance(one, Heartbeat) for one in a.heard.messages)
            for event in said:
                a.emit(*event)
            # Node.js does not wait for what it fetches before it tells of the next one.
            assert [(name, *await guest.next(name)) for name, *_ in said] == said
            for event in said:
                await node.emit(*event)
            await until(lambda: len(a.heard.events) == len(said))
            # Nor does it send in order what goes by different connections.
            assert sorted(map(tuple, a.heard.events)) == sorted(said)
            # It is missed as soon as it says that it goes.
            a.bus.publish(AdapterClose(uid=a.uid, nsp="/"))
            await node.settled(1)
            assert (a.heard.losses, a.heard.malformations) == ([], [])


@pytest.mark.node
async def test_the_emitter_of_node_js_is_heard(postgres_server: Postgres, host: NodeHost, prefix: str) -> None:
    """Though it leaves the namespace out (socket.io-postgres-emitter 0.1.1), for which Node.js does not hear it."""
    url = postgres_server.url
    with NodeEmitter(url, "postgres", {"channelPrefix": prefix}, host=host) as emitter:
        async with Member(url, "a", "/", prefix=prefix) as a:
            await emitter.emit("from outside", b"\x01", to=["room"])
            await until(lambda: bool(a.heard.messages))
            [message] = a.heard.messages
            assert (message.uid, message.nsp) == ("emitter", "/")
            assert a.heard.events == [["from outside", b"\x01"]]
            await emitter.emit("long", "x" * 9000)
            await until(lambda: len(a.heard.messages) == 2)
