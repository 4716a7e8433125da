"""Our buses over Redis beside real members in Node.js: what each says, the other one does."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.support.buses import Ear, contents, member
from cluster.support.clients import Guest
from cluster.support.engines import Redis, RedisCluster
from cluster.support.node import DEADLINE, UNDEFINED, NodeEmitter, NodeHost, NodeMember, options_with
from madang import Server
from madang.cluster.messages import (
    AdapterClose,
    AnswerData,
    Broadcast,
    BroadcastAck,
    BroadcastClientCount,
    BroadcastData,
    CountData,
    DisconnectData,
    DisconnectSockets,
    EventPacket,
    FetchData,
    FetchSockets,
    FetchSocketsResponse,
    Flags,
    Heartbeat,
    InitialHeartbeat,
    Member,
    Message,
    Options,
    RemoteDetails,
    RoomsData,
    ServerEventData,
    ServerSideEmit,
    ServerSideEmitResponse,
    SocketsData,
    SocketsJoin,
    SocketsLeave,
    body,
)
from madang.config import Cluster
from madang.errors import EncodeError, LocalProtocolError

pytestmark = pytest.mark.node

ADAPTERS = ("sharded", "classic", "classic-7")
DATE = datetime(2000, 6, 13, tzinfo=UTC)
ISO = "2000-06-13T00:00:00.000Z"
SID = "tnFr4FkH35oUshTqAAAA"
ID = "0123456789abcdef"
HANDSHAKE = {"headers": {}, "time": "", "address": "::1", "xdomain": False, "secure": False, "issued": 1, "url": "/"}


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def ours(adapter: str, url: str, prefix: str) -> Cluster:
    return Cluster(url if adapter == "sharded" else url.replace("redis://", "redis-classic://"), prefix=prefix)


@contextlib.asynccontextmanager
async def beside(
    adapter: str, url: str, prefix: str, host: NodeHost | None, **options: Any
) -> AsyncIterator[tuple[Ear, NodeMember]]:
    """A bus of ours and a member in Node.js, which count each other in "/" and "/court"."""
    found = NodeMember(url, adapter, options_with(adapter, prefix) | options, host=host)
    with found:
        async with member(ours(adapter, url, prefix)) as ear:
            for namespace in ("/", "/court"):
                ear.bus.open(namespace)
                await found.of(namespace).open()
                await found.of(namespace).settled(2)
            async with asyncio.timeout(DEADLINE):
                while [await ear.count("/"), await ear.count("/court")] != [1, 1]:
                    await asyncio.sleep(0.02)
            yield ear, found


@pytest.fixture
async def both(redis_server: Redis, host: NodeHost, prefix: str, adapter: str) -> AsyncIterator[tuple[Ear, NodeMember]]:
    async with beside(adapter, redis_server.url, prefix, host) as found:
        yield found


def say(ear: Ear, message: Message, to: str | None = None, namespace: str = "/court") -> None:
    message.uid, message.nsp = ear.uid, namespace
    message.seq = 1
    ear.bus.publish(message, to)


def event(*said: Any, options: Options | None = None, id_: str | None = None) -> Broadcast:
    data = BroadcastData(EventPacket(body(list(said))), options or Options())
    if id_ is not None:
        data.requestId = id_
    return Broadcast(data=data)


def said(message: Message) -> Any:
    return contents(message)[1]["data"]


async def heard(ear: Ear, kind: type[Message], count: int = 1) -> list[Any]:
    """What has come of a kind, when so much is there."""
    await ear.until(lambda: sum(isinstance(one, kind) for one in ear.messages) >= count)
    assert ear.of("malformed") == []
    found = [one for one in ear.messages if isinstance(one, kind)]
    ear.messages.clear()
    return found


async def test_what_we_broadcast_reaches_their_clients(both: tuple[Ear, NodeMember]) -> None:
    ear, node = both
    async with (
        Guest(node.url, "/court", "red", "5") as anna,
        Guest(node.url, "/court", "red", "blue") as ben,
        Guest(node.url, "/") as stranger,
    ):
        assert anna.id is not None
        values = (1, -2.5, "마당 🌳\0", {"어": [None, True]}, [[]], 2**53)
        say(ear, event("text", *values))
        say(ear, event("bytes", b"\x00\xff", {"in": [b""]}, None))
        say(ear, event("date", DATE))
        say(ear, event("red", options=Options(["red"])))
        say(ear, event("5", options=Options(["5"])))
        say(ear, event("blue or 5", options=Options(["blue", "5"], flags=Flags(compress=False))))
        say(ear, event("not blue", options=Options([], ["blue"])))
        say(ear, event("anna", b"\x01", options=Options([anna.id])))
        say(ear, event("nobody", options=Options(["nobody"])))
        say(ear, event("end"))
        for guest in (anna, ben):
            assert await guest.next("text") == values
            assert await guest.next("bytes") == (b"\x00\xff", {"in": [b""]}, None)
            assert await guest.next("date") == ("2000-06-13T00:00:00+00:00",)
            await guest.next("end")
        assert [name for name, _ in anna.heard] == ["red", "5", "blue or 5", "not blue", "anna"]
        assert [name for name, _ in ben.heard] == ["red", "blue or 5"]
        assert stranger.heard == []
        for guest in (anna, ben):
            await guest.call("rooms", timeout=DEADLINE)  # all is written, so that what may be dropped need not be
        say(ear, event("volatile", options=Options([anna.id], flags=Flags(volatile=True))))
        assert await anna.next("volatile") == ()


async def test_what_they_broadcast_reaches_us(both: tuple[Ear, NodeMember], adapter: str) -> None:
    ear, node = both
    court = node.of("/court")
    ear.bus.open_room("/court", "red")
    ear.bus.open_room("/court", "5")
    await ear.count("/court")
    await court.emit("all", 1, {"어": None, "gone": UNDEFINED}, [UNDEFINED], "마당 🌳\0")
    await court.emit("bytes", b"\x00\xff", DATE, UNDEFINED)
    await court.emit("date", DATE)
    await court.emit("red", to=["red"], volatile=True, compress=False)
    await court.emit("5", to=["5"])
    await court.emit("two", to=["red", "blue"], but=["green"])
    await court.emit("private", to=[SID])
    await court.emit("near", local=True)
    await node.emit("main")
    found = await heard(ear, Broadcast, 8)
    assert [(one.nsp, said(one)["packet"]["data"]) for one in found] == [
        # Version 7 wrote what is undefined.
        ("/court", ["all", 1, {"어": None} | ({"gone": None} if adapter == "classic-7" else {}), [None], "마당 🌳\0"]),
        ("/court", ["bytes", b"\x00\xff", ISO, None]),
        ("/court", ["date", ISO]),
        *(("/court", [name]) for name in ("red", "5", "two", "private")),
        ("/", ["main"]),
    ]
    assert [(one.data.opts.chosen, one.data.opts.excluded) for one in found][3:6] == [
        (("red",), ()),
        (("5",), ()),
        (("red", "blue"), ("green",)),
    ]
    assert said(found[3])["opts"]["flags"] == {"volatile": True, "compress": False}


async def test_their_clients_are_fetched(both: tuple[Ear, NodeMember]) -> None:
    ear, node = both
    async with Guest(node.url, "/court", "red") as anna, Guest(node.url, "/court", "blue"):
        await anna.call("data", {"colour": "red"}, timeout=DEADLINE)
        say(ear, FetchSockets(data=FetchData(Options(["red"]), ID)))
        [answer] = await heard(ear, FetchSocketsResponse)
        assert answer.data.requestId == ID
        [socket] = said(answer)["sockets"]
        assert (socket["id"], set(socket["rooms"]), socket["data"]) == (anna.id, {anna.id, "red"}, {"colour": "red"})
        assert socket["handshake"]["query"]["EIO"] == "4"
        say(ear, FetchSockets(data=FetchData(Options(["nobody"]), ID)))
        [answer] = await heard(ear, FetchSocketsResponse)
        assert said(answer)["sockets"] == []


async def test_they_fetch_ours(both: tuple[Ear, NodeMember]) -> None:
    ear, node = both
    for data in ({"colour": "blue"}, {"photo": b"\xff"}, {}):
        asking = asyncio.create_task(node.of("/court").fetch_sockets(to=["blue"], but=["red"]))
        [question] = await heard(ear, FetchSockets)
        assert (question.data.opts.chosen, question.data.opts.excluded) == (("blue",), ("red",))
        details = RemoteDetails(SID, body(HANDSHAKE), [SID, "blue"], body(data))
        answer = FetchSocketsResponse(data=SocketsData(question.data.requestId, [details]))
        say(ear, answer, question.uid)
        [socket] = (await asking).values()
        assert (socket["id"], socket["rooms"], socket["data"]) == (SID, [SID, "blue"], data)
        assert socket["handshake"] == HANDSHAKE


async def test_acknowledgements_of_their_clients(both: tuple[Ear, NodeMember]) -> None:
    ear, node = both
    async with Guest(node.url, "/court", "red") as anna, Guest(node.url, "/court", "red") as ben:
        anna.on("who?", lambda *args: ["anna", *args])
        ben.on("who?", lambda *args: b"\xff")
        for more in (1, b"\x01"):
            say(ear, event("who?", more, options=Options(["red"], flags=Flags(timeout=5000)), id_=ID))
            await ear.until(lambda: len(ear.messages) == 3)
            [count] = [one for one in ear.messages if isinstance(one, BroadcastClientCount)]
            assert (count.data.requestId, count.data.clientCount) == (ID, 2)
            found = [said(one)["packet"] for one in ear.messages if isinstance(one, BroadcastAck)]
            assert sorted(found, key=str) == sorted([["anna", more], b"\xff"], key=str)
            ear.messages.clear()
        say(ear, event("who?", options=Options(["nobody"], flags=Flags(timeout=100)), id_=ID))
        [count] = await heard(ear, BroadcastClientCount)
        assert count.data.clientCount == 0


async def test_they_ask_for_acknowledgements_of_ours(both: tuple[Ear, NodeMember]) -> None:
    ear, node = both
    for more, answers in ((1, ["one", {"two": 2}, None]), (b"\x01", [b"\xff", "text"])):
        asking = asyncio.create_task(node.of("/court").emit_with_ack("who?", more))
        [question] = await heard(ear, Broadcast)
        assert said(question)["packet"]["data"] == ["who?", more]
        assert question.data.requestId
        id_ = question.data.requestId
        say(ear, BroadcastClientCount(data=CountData(id_, len(answers))), question.uid)
        for answer in answers:
            say(ear, BroadcastAck(data=AnswerData(id_, body(answer))), question.uid)
        assert await asking == answers


async def test_events_between_servers(both: tuple[Ear, NodeMember]) -> None:
    ear, node = both
    court = node.of("/court")
    await court.on("hello")
    await court.on("sum?", answer=[3, None])
    # Ours
    say(ear, ServerSideEmit(data=ServerEventData(body(["hello", "마당", {"n": 1}]))))
    assert await court.heard("hello") == ["마당", {"n": 1}]
    say(ear, ServerSideEmit(data=ServerEventData(body(["hello", b"\xff"]))))
    assert await court.heard("hello") == [b"\xff"]
    say(ear, ServerSideEmit(data=ServerEventData(body(["sum?", 1, 2]), ID)))
    [answer] = await heard(ear, ServerSideEmitResponse)
    assert said(answer) == {"requestId": ID, "packet": [3, None]}
    # Theirs
    await court.server_side_emit("hello", "마당", DATE)
    [told] = await heard(ear, ServerSideEmit)
    assert said(told) == {"packet": ["hello", "마당", ISO]}
    for answers in ([1, {"a": None}], None, "text"):
        asking = asyncio.create_task(court.server_side_emit_with_ack("who?", 1))
        [question] = await heard(ear, ServerSideEmit)
        assert said(question)["packet"] == ["who?", 1]
        response = ServerSideEmitResponse(data=AnswerData(question.data.requestId, body(answers)))
        say(ear, response, question.uid)
        assert await asking == [answers]


async def test_joining_leaving_and_sending_away(both: tuple[Ear, NodeMember]) -> None:
    ear, node = both
    court = node.of("/court")
    async with Guest(node.url, "/court", "red") as anna, Guest(node.url, "/court", "blue") as ben:
        # Ours
        say(ear, SocketsJoin(data=RoomsData(Options(["red"]), ["green", "yellow"])))
        say(ear, SocketsLeave(data=RoomsData(Options(["red"], ["blue"]), ["yellow"])))
        async with asyncio.timeout(DEADLINE):
            while await anna.has_rooms() != {anna.id, "red", "green"}:
                await asyncio.sleep(0.02)
        # Theirs, which is of effect at their own clients as before
        await court.sockets_join("pink", to=["blue"])
        await court.sockets_leave("pink", to=["red"], but=["blue"])
        await court.disconnect_sockets(True, to=["nobody"])
        await ear.until(lambda: len(ear.messages) == 3)
        join, leave, gone = ear.messages
        assert isinstance(join, SocketsJoin)
        assert (join.data.opts.chosen, join.data.rooms) == (("blue",), ["pink"])
        assert isinstance(leave, SocketsLeave)
        assert (leave.data.opts.excluded, leave.data.rooms) == (("blue",), ["pink"])
        assert isinstance(gone, DisconnectSockets)
        assert gone.data.close is True
        async with asyncio.timeout(DEADLINE):
            while await ben.has_rooms() != {ben.id, "blue", "pink"}:
                await asyncio.sleep(0.02)
        id_ = ben.id
        say(ear, DisconnectSockets(data=DisconnectData(Options(["pink"]), False)))
        assert (await node.next("disconnect", id=id_))["reason"] == "server namespace disconnect"


@pytest.mark.parametrize("adapter", ["classic", "classic-7"], indirect=True)
async def test_rooms_and_ids_of_ours_that_only_the_classic_adapter_asks_for(both: tuple[Ear, NodeMember]) -> None:
    ear, node = both
    court = node.of("/court")
    sockets = [RemoteDetails(SID, rooms=[SID, "a"]), RemoteDetails("other", rooms=["other", "a", "b"])]
    asking = asyncio.create_task(court.all_rooms())
    [question] = await heard(ear, FetchSockets)
    say(ear, FetchSocketsResponse(data=SocketsData(question.data.requestId, sockets)), question.uid)
    assert await asking == {SID, "other", "a", "b"}


@pytest.mark.parametrize("adapter", ["classic", "classic-7"], indirect=True)
@pytest.mark.parametrize("theirs", [False, True], ids=["", "theirs"])
@pytest.mark.parametrize("own", [False, True], ids=["", "own"])
async def test_answers_to_all_and_to_one(
    redis_server: Redis, host: NodeHost, prefix: str, adapter: str, theirs: bool, own: bool
) -> None:
    url = redis_server.url + ("?publish_on_specific_response_channel=yes" if own else "")
    option = {"publishOnSpecificResponseChannel": theirs}
    with NodeMember(redis_server.url, adapter, {"key": prefix} | option, host=host) as node:
        async with member(ours(adapter, url, prefix)) as ear:
            ear.bus.open("/")
            await node.settled(2)
            say(ear, FetchSockets(data=FetchData(Options(), ID)), namespace="/")
            await heard(ear, FetchSocketsResponse)
            asking = asyncio.create_task(node.fetch_sockets())
            [question] = await heard(ear, FetchSockets)
            answer = FetchSocketsResponse(data=SocketsData(question.data.requestId, []))
            say(ear, answer, question.uid, namespace="/")
            assert await asking == {}


async def test_members_over_a_redis_cluster(redis_cluster: RedisCluster, host: NodeHost, prefix: str) -> None:
    options = options_with("sharded", prefix)
    with NodeMember(redis_cluster.url, "sharded", options, client="cluster", host=host) as node:
        url = redis_cluster.url.replace("redis://", "redis+cluster://")
        async with member(Cluster(url, prefix=prefix)) as ear, Guest(node.url, "/", "red") as anna:
            ear.bus.open("/")
            ear.bus.open_room("/", "blue")
            await node.settled(2)
            assert await ear.count("/") == 1
            # The channels of rooms are subscribed to behind the join, at both.
            async with asyncio.timeout(DEADLINE):
                while not anna.heard:
                    say(ear, event("hi", 1, options=Options(["red"])), namespace="/")
                    await asyncio.sleep(0.05)
            assert await anna.next("hi") == (1,)
            await node.emit("ho", 2, to=["blue"])
            [found] = await heard(ear, Broadcast)
            assert said(found)["packet"]["data"] == ["ho", 2]


async def test_their_emitter_reaches_us(redis_server: Redis, host: NodeHost, prefix: str) -> None:
    with NodeEmitter(redis_server.url, "redis", {"key": prefix}, host=host) as emitter:
        async with member(ours("classic", redis_server.url, prefix)) as ear:
            ear.bus.open("/")
            ear.bus.open_room("/", "red")
            await ear.count("/")
            await emitter.emit("news", b"\x01", DATE, to=["red"], but=["blue"], volatile=True)
            await emitter.sockets_join("green", to=["blue"])
            await emitter.sockets_leave("green", to=["blue"])
            await emitter.disconnect_sockets(True, to=["blue"])
            await emitter.server_side_emit("hello", 3)
            await ear.until(lambda: len(ear.messages) == 5)
            assert ear.of("malformed") == []
            assert [type(one) for one in ear.messages] == [
                Broadcast, SocketsJoin, SocketsLeave, DisconnectSockets, ServerSideEmit
            ]  # fmt: skip
            assert said(ear.messages[0])["packet"]["data"] == ["news", b"\x01", ISO]


# Whatever we say, they live on


def everything(words: list[Any], rooms: list[str], id_: str, number: float) -> list[Message]:
    """All that we can say, of these words."""
    details = RemoteDetails(SID, body(HANDSHAKE), [SID, *rooms], body({"said": words}))
    options = Options(list(rooms), list(reversed(rooms)), Flags(timeout=number, expectSingleResponse=True))
    return [
        InitialHeartbeat(data=Member(id_, id_, number)),
        Heartbeat(data=Member(id_, id_, number)),
        Heartbeat(),
        event("event", *words),
        event("event", *words, options=Options(rooms[:1])),
        event("event", *words, options=Options(list(rooms), list(rooms), Flags(volatile=True, compress=False))),
        event("event", *words, options=Options(None, None, None)),
        event("event", *words, options=options, id_=id_),
        SocketsJoin(data=RoomsData(options, list(rooms))),
        SocketsLeave(data=RoomsData(Options([SID]), list(rooms))),
        DisconnectSockets(data=DisconnectData(Options([*rooms, "nobody"], list(rooms)), True)),
        FetchSockets(data=FetchData(options, id_)),
        FetchSockets(data=FetchData(Options(None, None, None), id_)),
        FetchSocketsResponse(data=SocketsData(id_, [details])),
        FetchSocketsResponse(data=SocketsData(id_, [])),
        ServerSideEmit(data=ServerEventData(body(["event", *words]))),
        ServerSideEmit(data=ServerEventData(body(["sum?", *words]), id_)),
        ServerSideEmitResponse(data=AnswerData(id_, body(words))),
        ServerSideEmitResponse(data=AnswerData(id_)),
        BroadcastClientCount(data=CountData(id_, int(number))),
        BroadcastAck(data=AnswerData(id_, body(words))),
        BroadcastAck(data=AnswerData(id_)),
        AdapterClose(),
    ]


@pytest.mark.parametrize("name", ["connect", "connection", "new_namespace", "error"])
def test_names_of_events_that_would_end_a_member_are_refused(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="reserved"):
        Server().server_side_emit(name, 1)


def deep(depth: int) -> Any:
    value: Any = b"\xff"
    for number in range(depth):
        value = [value] if number % 2 else {"": value}
    return value


TEXT = st.text(max_size=20) | st.sampled_from(["", "__proto__", "constructor", "toString", "length", "#", "*", "a#b"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | TEXT
    | st.binary(max_size=20)
    | st.sampled_from([2**53, -(2**63), math.nan, math.inf, datetime.max, datetime.min, "\ud800", 2**70])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=10
)


async def test_nothing_that_we_say_ends_a_member(redis_server: Redis, prefix: str, adapter: str) -> None:
    async with beside(adapter, redis_server.url, prefix, None) as (ear, node):
        uid = await node.of("/court").uid()
        await node.of("/court").on("sum?", answer=1)
        async with Guest(node.url, "/court", "red", max_json_depth=1000) as anna:
            refused = 0

            def speak(words: list[Any], rooms: list[str], id_: str, number: float) -> None:
                nonlocal refused
                try:
                    messages = everything(words, rooms, id_, number)
                except EncodeError:
                    refused += 1
                    return
                for message in messages:
                    for to in (None, uid):
                        try:
                            say(ear, message, to)
                        except EncodeError:
                            refused += 1

            for depth in (1, 100, 240, 300, 2000):
                speak([deep(depth)], ["red"], ID, 1)
            speak(["x" * 100_000, b"x" * 100_000], ["x" * 10_000], ID, 1)

            @settings(max_examples=25, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
            @given(st.lists(VALUES, max_size=3), st.lists(TEXT, max_size=3), TEXT, st.floats(0, 1e9))
            def fuzz(words: list[Any], rooms: list[str], id_: str, number: float) -> None:
                speak(words, rooms, id_, number)

            fuzz()
            assert refused
            say(ear, event("end"))
            await anna.next("end")
            # And it can still ask and answer.
            assert await node.of("/court").server_count() == 2
            say(ear, FetchSockets(data=FetchData(Options(), "the last one")))
            await ear.until(
                lambda: any(
                    isinstance(one, FetchSocketsResponse) and one.data.requestId == "the last one"
                    for one in ear.messages
                )
            )
        assert node.host.crash is None
