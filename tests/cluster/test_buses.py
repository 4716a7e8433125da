"""What every bus has to do: the same tests for each kind."""

import asyncio
import datetime
from typing import Any

import pytest

from cluster.support.buses import KINDS, Ear, Kind, Wire, contents, meet, member, members
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
from madang.errors import EncodeError

#: An id of a socket.
SID = "tnFr4FkH35oUshTqAAAA"
TEXT = ["words", "마당 🌳 \u0000\u2028", {"a": [1, -2.5, None, True, {"": []}]}, 2**53, ""]
DATE = [datetime.datetime(2000, 6, 13, tzinfo=datetime.UTC)]
BYTES = ["photo", b"\x00\xff\r\n", {"inner": [b"", "마당"]}, 1, None]

stoppable = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.engine], ids=str)


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def settings(kind: Kind, request: pytest.FixtureRequest, prefix: str) -> Cluster:
    return kind.shared(request, prefix)


def event(ear: Ear, *values: Any, namespace: str = "/", rooms: tuple[str, ...] = (), seq: int = 1) -> Broadcast:
    """A broadcast."""
    data = BroadcastData(EventPacket(body(list(values))), Options(list(rooms)))
    return Broadcast(uid=ear.uid, nsp=namespace, seq=seq, data=data)


def values(message: Message) -> list[Any]:
    """What a broadcast carries."""
    assert isinstance(message, Broadcast)
    found: list[Any] = contents(message)[1]["data"]["packet"]["data"]
    return found


def everything(said: list[Any]) -> list[Message]:
    """A message of each kind, with these values in it wherever there may be some."""
    options = Options(["a room", "마당"], [SID], Flags(volatile=True, compress=False))
    return [
        InitialHeartbeat(data=Member("host:1", "abcd", 1.0)),
        Heartbeat(data=Member("host:1", "abcd", 0.5)),
        Broadcast(data=BroadcastData(EventPacket(body(said)), options)),
        Broadcast(data=BroadcastData(EventPacket(body(said)))),
        Broadcast(data=BroadcastData(EventPacket(body(said)), Options([SID]))),
        Broadcast(data=BroadcastData(EventPacket(body(said)), Options(flags=Flags(timeout=1000)), "0123456789abcdef")),
        SocketsJoin(data=RoomsData(Options(["a"], ["b"]), ["c", "마당"])),
        SocketsLeave(data=RoomsData(Options([SID]), ["c"])),
        DisconnectSockets(data=DisconnectData(Options(["a"]), True)),
        DisconnectSockets(data=DisconnectData(Options([], ["a"]), False)),
        FetchSockets(data=FetchData(Options(["a"]), "0123456789abcdef")),
        ServerSideEmit(data=ServerEventData(body(said))),
        ServerSideEmit(data=ServerEventData(body(said), "0123456789abcdef")),
        AdapterClose(),
    ]


def answers(said: list[Any]) -> list[Message]:
    """The same of what is said to one member alone."""
    id_ = "0123456789abcdef"
    handshake = body({"headers": {"x": "1"}, "issued": 1, "url": "/"})
    socket = RemoteDetails(SID, handshake, [SID, "room"], body({"said": said}))
    return [
        FetchSocketsResponse(data=SocketsData(id_, [socket, RemoteDetails("other", handshake, [], body({}))])),
        FetchSocketsResponse(data=SocketsData(id_, [])),
        ServerSideEmitResponse(data=AnswerData(id_, body(said))),
        ServerSideEmitResponse(data=AnswerData(id_)),
        BroadcastClientCount(data=CountData(id_, 0)),
        BroadcastAck(data=AnswerData(id_, body(said))),
        BroadcastAck(data=AnswerData(id_, body(None))),
    ]


def ready(ear: Ear, said: list[Message]) -> list[Message]:
    for number, message in enumerate(said):
        message.uid, message.nsp, message.seq = ear.uid, "/", number
    return said


@pytest.mark.parametrize("said", [TEXT, DATE, BYTES], ids=["text", "date", "bytes"])
async def test_each_message_arrives_whole_at_the_others_and_not_at_oneself(
    kind: Kind, settings: Cluster, said: list[Any]
) -> None:
    async with members(settings, 3) as (first, *others):
        sent = ready(first, everything(said))
        for message in sent:
            first.bus.publish(message)
        for other in others:
            await other.until(lambda other=other: len(other.messages) == len(sent))
            if not kind.ordered:
                other.messages.sort(key=lambda message: message.seq)
            assert [contents(message) for message in other.messages] == [contents(message) for message in sent]
            assert other.of("malformed") == []
        assert first.messages == []


@pytest.mark.parametrize("said", [TEXT, BYTES], ids=["text", "bytes"])
async def test_what_is_said_to_one_arrives_there(settings: Cluster, said: list[Any]) -> None:
    async with members(settings, 3) as (first, second, _):
        sent = ready(first, answers(said))
        for message in sent:
            first.bus.publish(message, second.uid)
        await second.until(lambda: len(second.messages) == len(sent))
        assert [contents(message) for message in second.messages] == [contents(message) for message in sent]
        assert first.messages == []


async def test_requests_to_one_member_arrive_there(settings: Cluster) -> None:
    async with members(settings, 2) as (first, second):
        for message in ready(first, everything(TEXT)):
            first.bus.publish(message, second.uid)
        await second.until(lambda: len(second.messages) == len(everything(TEXT)))


async def test_what_is_said_is_not_changed(settings: Cluster) -> None:
    async with members(settings, 2) as (first, second):
        sent = ready(first, everything(BYTES) + answers(TEXT))
        before = [contents(message) for message in sent]
        for message in sent:
            first.bus.publish(message)
        await second.until(lambda: len(second.messages) == len(sent))
        assert [contents(message) for message in sent] == before


async def test_all_arrives_in_order(settings: Cluster) -> None:
    async with members(settings, 3) as ears:
        for number in range(500):
            for ear in ears:
                ear.bus.publish(event(ear, "tick", number, "x" * (number % 50), seq=number))
        for ear in ears:
            await ear.until(lambda ear=ear: len(ear.messages) == 1000)
            for other in ears:
                found = [values(message)[1] for message in ear.messages if message.uid == other.uid]
                assert found == ([] if other is ear else list(range(500)))


async def test_a_large_message_arrives(settings: Cluster) -> None:
    async with members(settings, 2) as (first, second):
        first.bus.publish(event(first, "text", "마당" * 100_000))
        first.bus.publish(event(first, "bytes", bytes(range(256)) * 2000))
        await second.until(lambda: len(second.messages) == 2)
        assert [values(message)[1] for message in second.messages] == ["마당" * 100_000, bytes(range(256)) * 2000]


async def test_what_cannot_be_written_is_refused_and_the_rest_goes_on(settings: Cluster) -> None:
    async with members(settings, 2) as (first, second):
        for wrong in (event(first, 2**70, b""), event(first, "hi", rooms=("\ud800", "room"))):
            with pytest.raises(EncodeError):
                first.bus.publish(wrong)
        first.bus.publish(event(first, "hi"))
        await second.until(lambda: second.messages)
        assert values(second.messages[0]) == ["hi"]


async def test_namespaces_are_heard_from_when_they_are_opened_until_they_are_shut(settings: Cluster) -> None:
    async with members(settings, 2, "/", "/마당?[x]*#") as (first, second):
        second.bus.open("/second")
        first.bus.publish(event(first, 1, namespace="/마당?[x]*#"))
        await second.until(lambda: second.messages)
        assert second.messages[0].nsp == "/마당?[x]*#"
        await first.say_until(
            lambda: event(first, 2, namespace="/second"), lambda: second.messages[-1].nsp == "/second"
        )
        second.bus.shut("/second")
        second.bus.shut("/마당?[x]*#")
        # Until what was on its way has come
        await meet([first, second])
        second.messages.clear()
        for namespace in ("/second", "/마당?[x]*#", "/third", "/"):
            first.bus.publish(event(first, 3, namespace=namespace))
        await second.until(lambda: second.messages)
        assert [message.nsp for message in second.messages] == ["/"]
        second.bus.open("/second")
        await first.say_until(
            lambda: event(first, 4, namespace="/second"), lambda: second.messages[-1].nsp == "/second"
        )


async def test_rooms_are_heard_where_they_are_opened(settings: Cluster) -> None:
    rooms = ["room", "마당 🌳", "a#b#", "5", "*", "x" * 19]
    async with members(settings, 2) as (first, second):
        for room in rooms:
            second.bus.open_room("/", room)
        await meet([first, second])
        for room in rooms:
            first.bus.publish(event(first, room, rooms=(room,)))
        first.bus.publish(event(first, "two", rooms=("room", "another")))
        first.bus.publish(event(first, "private", rooms=(SID,)))
        await second.until(lambda: len(second.messages) == len(rooms) + 2)
        assert sorted(values(message)[0] for message in second.messages) == sorted([*rooms, "two", "private"])
        assert {message.data.opts.chosen for message in second.messages if isinstance(message, Broadcast)} == {
            *((room,) for room in rooms),
            ("room", "another"),
            (SID,),
        }
        # A room may be shut and opened again; whoever hears all anyway goes on to hear.
        second.bus.shut_room("/", "room")
        second.bus.open_room("/", "room")
        second.bus.shut_room("/", "5")
        await meet([first, second])
        second.messages.clear()
        first.bus.publish(event(first, "again", rooms=("room",)))
        await second.until(lambda: second.messages)


async def test_others_are_counted_where_they_can_be(settings: Cluster) -> None:
    async with members(settings, 2) as (first, second):
        if first.bus.heartbeats_by_namespace:
            assert await first.count("/") is None
            return
        assert [await first.count("/"), await second.count("/")] == [1, 1]
        assert await first.count("/nobody") == 0
        async with members(settings, 1) as [third]:
            await meet([first, second, third])
            assert await first.count("/") == 2
            third.bus.shut("/")
            third.bus.open("/other")
            async with asyncio.timeout(30):
                while (await first.count("/"), await first.count("/other")) != (1, 1):
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while await first.count("/other"):
                await asyncio.sleep(0.01)


async def test_what_is_posted_arrives_at_one_alone(settings: Cluster) -> None:
    posts = [b"", b"\x00\xff\r\n", b'{"type":3}', bytes(range(256)) * 1000, *(b"%d" % number for number in range(500))]
    async with members(settings, 3) as (first, second, third):
        for data in posts:
            first.bus.post(second.node, data)
        first.bus.post("nobody", b"lost")
        await second.until(lambda: len(second.posts) == len(posts))
        assert second.posts == posts
        first.bus.post(first.node, b"to myself")
        await first.until(lambda: first.posts)
        assert (first.posts, third.posts) == ([b"to myself"], [])
        assert second.of("malformed") == []


async def test_whoever_has_other_names_for_channels_hears_nothing(
    kind: Kind, request: pytest.FixtureRequest, prefix: str
) -> None:
    async with (
        members(kind.shared(request, prefix), 2) as (first, second),
        members(kind.shared(request, prefix + "x"), 1) as [stranger],
    ):
        first.bus.publish(event(first, "hi"))
        await second.until(lambda: second.messages)
        stranger.bus.publish(event(stranger, "hi"))
        first.bus.publish(event(first, "ho"))
        await second.until(lambda: len(second.messages) == 2)
        assert stranger.messages == []
        assert {message.uid for message in second.messages} == {first.uid}


async def test_what_is_queued_is_sent_when_the_bus_is_closed(settings: Cluster) -> None:
    async with members(settings, 2) as (first, second):
        for number in range(1000):
            first.bus.publish(event(first, number))
        await first.bus.close()
        await second.until(lambda: len(second.messages) == 1000)
        assert first.bus.buffered == (0, 0)


async def test_a_bus_can_be_closed_and_started_again(settings: Cluster) -> None:
    async with members(settings, 2) as (first, second):
        await first.bus.close()
        second.bus.publish(event(second, "missed"))
        await first.bus.start(first.uid, first.node, first)
        first.bus.open("/")
        await meet([first, second])
        second.bus.publish(event(second, "heard"))
        await first.until(lambda: first.messages)
        assert values(first.messages[-1]) == ["heard"]
        await first.bus.close()
        await first.bus.close()


# The engine goes and comes


@stoppable
async def test_what_is_said_while_the_link_is_down_arrives_in_order(
    kind: Kind, request: pytest.FixtureRequest, prefix: str
) -> None:
    assert kind.fixture is not None
    engine = request.getfixturevalue(kind.fixture)
    async with Wire(engine) as wire, members(kind.own(engine, prefix), 1) as [second]:
        second.bus.open_room("/", "room")
        async with member(kind.own(wire, prefix)) as first:
            first.bus.open("/")
            await meet([first, second])
            first.bus.publish(event(first, "before"))
            await second.until(lambda: second.messages)
            await first.drained()
            await wire.cut()
            await first.until(lambda: first.of("down"))
            for number in range(1000):
                first.bus.publish(event(first, number, seq=number, rooms=("room",) if number % 2 else ()))
            first.bus.post(second.node, b"posted")
            assert first.bus.buffered[0] == 1001
            second.bus.publish(event(second, "missed"))
            await asyncio.sleep(0.1)
            await wire.mend()
            await second.until(lambda: len(second.messages) == 1001)
            assert [values(message)[0] for message in second.messages] == ["before", *range(1000)]
            await second.until(lambda: second.posts)
            await first.drained()
            second.bus.publish(event(second, "heard"))
            await first.until(lambda: first.messages and values(first.messages[-1]) == ["heard"])
            assert ["missed"] in [values(message) for message in first.messages] or not kind.keeps
            assert [(count, bool(why)) for _, count, why in first.of("lost")] == ([] if kind.keeps else [(None, True)])
            assert len(first.of("up")) == 2
            assert second.of("lost") == second.of("down") == []


@stoppable
async def test_after_the_engine_was_killed_all_is_heard_as_before(kind: Kind, prefix: str) -> None:
    assert kind.engine is not None
    with kind.engine() as engine:
        async with members(kind.own(engine, prefix), 2) as (first, second):
            second.bus.open_room("/", "room")
            engine.kill()
            for ear in (first, second):
                await ear.until(lambda ear=ear: ear.of("down"))
            second.bus.open("/later")
            second.bus.open_room("/", "another")
            second.bus.shut_room("/", "room")
            if not first.bus.heartbeats_by_namespace:
                assert await first.count("/") in (0, 1)  # as far as it is known
            await asyncio.to_thread(engine.start)
            for ear in (first, second):
                await ear.until(lambda ear=ear: len(ear.of("up")) == 2)
                assert len(ear.of("lost")) == (0 if kind.keeps else 1)
            await meet([first, second])
            first.bus.publish(event(first, "another", rooms=("another",)))
            first.bus.publish(event(first, "later", namespace="/later"))
            await second.until(lambda: len(second.messages) == 2)


@stoppable
async def test_an_engine_may_come_after_the_bus(kind: Kind, prefix: str) -> None:
    assert kind.engine is not None
    with kind.engine() as engine:
        engine.kill()
        async with member(kind.own(engine, prefix)) as first:
            await first.until(lambda: first.of("down"))
            first.bus.open("/")
            first.bus.publish(event(first, "early"))
            await asyncio.to_thread(engine.start)
            async with member(kind.own(engine, prefix)) as second:
                second.bus.open("/")
                await meet([first, second])
                assert first.of("up")


@stoppable
async def test_what_is_too_much_to_wait_is_told_to_be_lost(kind: Kind, prefix: str) -> None:
    assert kind.engine is not None
    with kind.engine() as engine:
        settings = kind.own(engine, prefix, max_buffered_messages=10)
        async with members(settings, 2) as (first, _):
            engine.kill()
            await first.until(lambda: first.of("down"))
            for number in range(25):
                first.bus.publish(event(first, number))
            assert sum(count for _, count, _ in first.of("lost")) == 15
            assert first.bus.buffered[0] == 10
        settings = kind.own(engine, prefix, max_buffered_bytes=10_000)
        async with member(settings) as alone:
            alone.bus.publish(event(alone, "x" * 9_000))
            alone.bus.publish(event(alone, "y" * 9_000))
            assert [count for _, count, _ in alone.of("lost")] == [1]
            assert alone.bus.buffered[0] == 1


@stoppable
async def test_an_engine_that_is_paused_is_noticed_and_stops_nobody(kind: Kind, prefix: str) -> None:
    assert kind.engine is not None
    with kind.engine() as engine:
        async with members(kind.own(engine, prefix), 2) as (first, second):
            engine.pause()
            loop = asyncio.get_running_loop()
            for number in range(2000):
                first.bus.publish(event(first, number, "x" * 1000, seq=number))
                if not number % 500:
                    await asyncio.sleep(0)
            before = loop.time()
            await asyncio.sleep(0)
            assert loop.time() - before < 10  # and not until the engine runs
            await first.until(lambda: first.of("down"))
            await second.until(lambda: second.of("down"))
            await asyncio.to_thread(engine.resume)
            for ear in (first, second):
                await ear.until(lambda ear=ear: len(ear.of("up")) > 1)
            await meet([first, second])
            await first.drained()
            # What was on its way may arrive twice, and says so.
            seen: list[int] = []
            for message in second.messages:
                number = values(message)[0]
                assert number not in seen or message.again is True
                seen.append(number)


@stoppable
async def test_a_bus_can_be_closed_while_its_engine_is_gone(kind: Kind, prefix: str) -> None:
    assert kind.engine is not None
    with kind.engine() as engine:
        async with members(kind.own(engine, prefix), 2) as (first, second):
            first.bus.publish(event(first, "hi"))
            await second.until(lambda: second.messages)
            engine.pause()
            first.bus.publish(event(first, "ho"))
            await first.bus.close()
            engine.kill()
            second.bus.publish(event(second, "ho"))
            await second.bus.close()
