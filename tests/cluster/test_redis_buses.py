"""The buses over Redis: what they write is what @socket.io/redis-adapter 8.3 writes, and all ways to a Redis.

The bytes were recorded from the published package.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from cluster.support.buses import Ear, contents, meet, member, members
from cluster.support.engines import Redis, RedisCluster, RedisSentinel
from madang import Server
from madang.cluster import open_bus
from madang.cluster.messages import (
    EMITTER,
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
    body,
    sent_again,
)
from madang.cluster.redis import decode, encode
from madang.cluster.redis_classic import (
    broadcast_again,
    read_broadcast,
    read_request,
    read_response,
    write_broadcast,
    write_request,
    write_response,
)
from madang.config import Cluster
from madang.errors import ConfigError, RemoteProtocolError
from madang.testing import connect

SID = "tnFr4FkH35oUshTqAAAA"
ID = "0123456789abcdef"


def broadcast(*values: Any, rooms: tuple[str, ...] = (), **more: Any) -> Broadcast:
    fields = {"uid": "4e763976cac87669", "nsp": "/"} | more
    return Broadcast(data=BroadcastData(EventPacket(body(list(values))), Options(list(rooms))), **fields)


def packed(data: bytes) -> Any:
    return msgspec.msgpack.decode(data)


# Sharded

SHARDED_TEXT = (
    b'{"type":3,"data":{"packet":{"type":2,"data":["hi"]},"opts":{"rooms":["room1"],"except":[],"flags":{}}},'
    b'"uid":"4e763976cac87669","nsp":"/"}'
)
SHARDED_BYTES = bytes.fromhex(
    "84a47479706503a46461746182a67061636b657482a47479706502a46461746193a362696ec403010203d6ff39457980"
    "a46f70747383a5726f6f6d7390a665786365707490a5666c61677380a3756964b034653736333937366361633837363639a36e7370a12f"
)


def test_what_a_sharded_member_says_is_read() -> None:
    assert contents(decode(SHARDED_TEXT)) == contents(broadcast("hi", rooms=("room1",)))
    assert contents(decode(SHARDED_BYTES)) == contents(broadcast("bin", b"\1\2\3", "2000-06-13T00:00:00.000Z"))


def test_what_we_say_is_what_a_sharded_member_says() -> None:
    assert json.loads(encode(broadcast("hi", rooms=("room1",)))) == json.loads(SHARDED_TEXT)
    ours = packed(encode(broadcast("bin", b"\1\2\3", "a date")))
    theirs = packed(SHARDED_BYTES)
    assert ours["data"]["packet"].pop("data")[:2] == theirs["data"]["packet"].pop("data")[:2]
    assert ours == theirs


def test_what_is_not_known_is_left_out_and_never_null() -> None:
    said = [
        broadcast("hi"),
        broadcast("hi", b""),
        ServerSideEmit(uid="a", nsp="/", data=ServerEventData(body(["hi"]))),
        ServerSideEmitResponse(uid="a", nsp="/", data=AnswerData(ID)),
        Heartbeat(uid="a", nsp="/"),
    ]
    for message in said:
        data = encode(message)
        assert b"null" not in data
        assert b"requestId\xc0" not in data
        assert b"requestId" not in data or isinstance(message, ServerSideEmitResponse)


@pytest.mark.parametrize("data", [SHARDED_TEXT, SHARDED_BYTES])
def test_what_is_sent_again_says_so(data: bytes) -> None:
    message = decode(data)
    again = decode(sent_again(encode(message)))
    assert again.again is True
    again.again = message.again
    assert contents(again) == contents(message)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b'{"type":99,"uid":"a","nsp":"/"}',
        b'{"type":3,"uid":"a","nsp":"/"}',
        b'{"type":3,"data":null}',
        b'{"type":"3","data":{}}',
        b'{"type":3,"data":{"packet":{"data":["\xff"]}}}',
        b"\x80",
        b"\x81\xa4type\x03",
        b"\xc1",
        b"\x93\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b'{"type":3,"data":' + b"[" * 100_000,
    ],
    ids=range(17),
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    for read in (decode, read_broadcast, lambda data: read_request("/", data), lambda data: read_response("/", data)):
        try:
            read(data)
        except RemoteProtocolError:
            pass
        else:
            # Of an empty object there may be one day more to say; nobody asked, so nobody cares.
            assert read is not decode
            assert read is not read_broadcast


# Classic

CLASSIC = [
    (
        "93a6334c74734e5683a47479706502a46461746194a568656c6c6f01a13281a161c0a36e7370a12f"
        "83a5726f6f6d7390a665786365707490a5666c61677380",
        ["hello", 1, "2", {"a": None}],
        Options(),
    ),
    (
        "93a6334c74734e5683a47479706502a46461746191a26869a36e7370a12f"
        "83a5726f6f6d7391a5726f6f6d31a665786365707490a5666c61677380",
        ["hi"],
        Options(["room1"]),
    ),
    (
        "93a6334c74734e5683a47479706502a46461746191a26869a36e7370a12f"
        "83a5726f6f6d7392a5726f6f6d31a5726f6f6d32a665786365707491a27233"
        "a5666c61677382a8766f6c6174696c65c3a8636f6d7072657373c2",
        ["hi"],
        Options(["room1", "room2"], ["r3"], Flags(volatile=True, compress=False)),
    ),
    (
        "93a6334c74734e5683a47479706502a46461746193a362696ec403010203d6ff39457980a36e7370a12f"
        "83a5726f6f6d7390a665786365707490a5666c61677380",
        ["bin", b"\1\2\3", "2000-06-13T00:00:00.000Z"],
        Options(),
    ),
]


@pytest.mark.parametrize(("data", "values", "options"), CLASSIC)
def test_classic_broadcasts(data: str, values: list[Any], options: Options) -> None:
    message = Broadcast(uid="3LtsNV", nsp="/", data=BroadcastData(EventPacket(body(values)), options))
    read = read_broadcast(bytes.fromhex(data))
    assert read is not None
    assert contents(read) == contents(message)
    assert read_broadcast(bytes.fromhex(data), "3LtsNV") is None
    ours, theirs = packed(write_broadcast(message)), packed(bytes.fromhex(data))
    if "2000-06-13T00:00:00.000Z" in values:
        ours[1]["data"][2] = theirs[1]["data"][2]  # a date is text to us
    assert ours == theirs


def test_a_classic_broadcast_of_the_main_namespace_need_not_name_it() -> None:
    read = read_broadcast(msgspec.msgpack.encode(["emitter", {"type": 2, "data": ["hi"]}, {}]))
    assert read is not None
    assert (read.uid, read.nsp, contents(read)[1]["data"]["packet"]["data"]) == (EMITTER, "/", ["hi"])


def test_a_classic_broadcast_that_is_sent_again_is_one_that_node_js_can_read() -> None:
    for said in (broadcast("hi", seq=7), broadcast("hi", b"\xff", rooms=("a",), seq=7)):
        data = broadcast_again(write_broadcast(said))
        uid, packet, options = packed(data)
        assert (uid, packet["nsp"], options["again"], options["seq"]) == (said.uid, "/", True, 7)
        read = read_broadcast(data)
        assert read is not None
        assert (read.again, read.seq) == (True, 7)


def classic_requests() -> list[tuple[bytes, Message]]:
    options = {"rooms": ["room1"], "except": []}
    ask = {"a": {"uid": "3LtsNV", "nsp": "/"}}["a"]
    to = Options(["room1"])
    acks = Options(["room1"], flags=Flags(timeout=1000))
    return [
        (b'{"uid":"3LtsNV","requestId":"SRn4lQ","type":5,"opts":{"rooms":["room1"],"except":[]}}',
         FetchSockets(data=FetchData(to, "SRn4lQ"), **ask)),
        (json.dumps({"uid": "3LtsNV", "type": 2, "opts": options, "rooms": ["a"]}).encode(),
         SocketsJoin(data=RoomsData(to, ["a"]), **ask)),
        (json.dumps({"uid": "3LtsNV", "type": 4, "opts": options, "close": True}).encode(),
         DisconnectSockets(data=DisconnectData(to, True), **ask)),
        (b'{"uid":"3LtsNV","type":6,"data":["hi",{"a":1}]}',
         ServerSideEmit(data=ServerEventData(body(["hi", {"a": 1}])), **ask)),
        (b'{"uid":"3LtsNV","requestId":"SRn4lQ","type":6,"data":["hi"]}',
         ServerSideEmit(data=ServerEventData(body(["hi"]), "SRn4lQ"), **ask)),
        (bytes.fromhex(
            "85a3756964a6334c74734e56a9726571756573744964a653526e346c51a47479706507a67061636b657483a47479706502"
            "a46461746192a17101a36e7370a12fa46f70747383a5726f6f6d7391a5726f6f6d31a665786365707490a5666c616773"
            "81a774696d656f7574cd03e8"),
         Broadcast(data=BroadcastData(EventPacket(body(["q", 1])), acks, "SRn4lQ"), **ask)),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(len(classic_requests())))
def test_classic_requests(number: int) -> None:
    data, message = classic_requests()[number]
    read = read_request("/", data)
    assert read is not None
    assert contents(read) == contents(message)
    ours = write_request(message)
    assert ours is not None
    theirs = json.loads(data) if data.startswith(b"{") else packed(data)
    written = json.loads(ours)
    # We tell flags there, which Node.js doesn't look at.
    for form in (theirs, written):
        form.get("opts", {}).pop("flags", None)
    assert written == theirs
    again = read_request("/", sent_again(ours))
    assert again is not None
    assert again.again is True


def test_requests_with_bytes_are_messagepack() -> None:
    for message in (
        ServerSideEmit(uid="a", nsp="/", data=ServerEventData(body(["hi", b"\xff"]))),
        Broadcast(uid="a", nsp="/", data=BroadcastData(EventPacket(body(["hi", b"\xff"])), Options(), ID)),
    ):
        data = write_request(message)
        assert data is not None
        assert not data.startswith(b"{")
        read = read_request("/", data)
        assert read is not None
        assert contents(read) == contents(message)


def test_requests_of_old_versions() -> None:
    # Before version 6 they named one socket.
    join = read_request("/", b'{"type":2,"sid":"s","room":"r","requestId":"x"}')
    assert contents(join) == contents(SocketsJoin(nsp="/", data=RoomsData(Options(["s"]), ["r"])))  # type: ignore[arg-type]
    gone = read_request("/", b'{"type":4,"sid":"s","close":true,"requestId":"x"}')
    assert contents(gone) == contents(DisconnectSockets(nsp="/", data=DisconnectData(Options(["s"]), True)))  # type: ignore[arg-type]
    assert read_request("/", b'{"type":17}') is None
    for wrong in (b'{"type":2}', b'{"type":5}', b'{"type":6}', b'{"type":7,"requestId":"x"}', b'{"type":0}', b"{}"):
        with pytest.raises(RemoteProtocolError):
            read_request("/", wrong)


def test_mere_ids_and_all_rooms_are_answered_out_of_the_details() -> None:
    sockets = [RemoteDetails(SID, rooms=[SID, "a"]), RemoteDetails("other", rooms=["other", "a", "b"])]
    for request, answer in (
        (b'{"uid":"3LtsNV","requestId":"x","type":0,"rooms":["a"]}', {"sockets": [SID, "other"]}),
        (b'{"uid":"3LtsNV","requestId":"x","type":1}', {"rooms": [SID, "a", "other", "b"]}),
    ):
        asked = read_request("/", request)
        assert isinstance(asked, FetchSockets)
        said = write_response(FetchSocketsResponse(uid="me", nsp="/", data=SocketsData(asked.data.requestId, sockets)))
        assert said is not None
        assert json.loads(said) == {"requestId": "x", "uid": "me", **answer}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b'{"requestId":"x","sockets":[{"id":"s","handshake":{"issued":1},"rooms":["s",5],"data":{"a":1}}]}',
            FetchSocketsResponse(
                data=SocketsData("x", [RemoteDetails("s", body({"issued": 1}), ["s", 5], body({"a": 1}))])
            ),
        ),
        (b'{"requestId":"x","sockets":[]}', FetchSocketsResponse(data=SocketsData("x", []))),
        (b'{"type":6,"requestId":"x","data":[1]}', ServerSideEmitResponse(data=AnswerData("x", body([1])))),
        (b'{"type":6,"requestId":"x"}', ServerSideEmitResponse(data=AnswerData("x"))),
        (b'{"type":8,"requestId":"x","clientCount":2}', BroadcastClientCount(data=CountData("x", 2))),
        (
            bytes.fromhex("83a47479706509a9726571756573744964a178a67061636b6574a3616e73"),
            BroadcastAck(data=AnswerData("x", body("ans"))),
        ),
        (b'{"type":9,"requestId":"x","packet":null}', BroadcastAck(data=AnswerData("x", body(None)))),
    ],
)
def test_classic_responses(data: bytes, message: Message) -> None:
    read = read_response("/", data)
    assert read is not None
    message.nsp = "/"
    assert contents(read) == contents(message)
    ours = write_response(message)
    assert ours is not None
    theirs = json.loads(data) if data.startswith(b"{") else packed(data)
    written = json.loads(ours)
    assert written.pop("uid") == ""
    assert written == theirs


def test_responses_that_we_never_ask_for_are_nothing() -> None:
    for data in (
        b'{"requestId":"x"}',
        b'{"requestId":"x","rooms":["a"]}',
        b'{"requestId":"x","sockets":["a","b"]}',
        b'{"requestId":"x","type":44}',
        b"{}",
    ):
        assert read_response("/", data) is None


def test_what_is_neither_request_nor_response_is_for_ours_alone() -> None:
    for message in (Heartbeat(data=Member("a", "b", 1.0)), AdapterClose()):
        assert write_request(message) is None
        assert write_response(message) is None


# Channels


@contextlib.asynccontextmanager
async def overheard(engine: Redis, pattern: str, *sharded: str) -> AsyncIterator[list[tuple[str, bytes]]]:
    """All that is published on channels."""
    import redis.asyncio

    client = redis.asyncio.Redis(host=engine.host, port=engine.port)
    found: list[tuple[str, bytes]] = []
    ear = client.pubsub()
    await ear.psubscribe(pattern)
    if sharded:
        await ear.ssubscribe(*sharded)

    async def hear() -> None:
        async for message in ear.listen():
            if message["type"] in ("pmessage", "smessage"):
                found.append((message["channel"].decode(), message["data"]))

    task = asyncio.create_task(hear())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ear.aclose()
        await client.aclose()


async def drained(found: list[Any], count: int) -> None:
    async with asyncio.timeout(30):
        while len(found) < count:
            await asyncio.sleep(0.01)


def sayings(uid: str) -> list[tuple[Message, str | None]]:
    """Messages that go over different channels, and to whom."""
    said: list[tuple[Message, str | None]] = [
        (broadcast("hi"), None),
        (broadcast("hi", rooms=("room1",)), None),
        (broadcast("hi", rooms=("room1", "room2")), None),
        (broadcast("hi", rooms=(SID,)), None),
        (broadcast("hi", rooms=("나" * 20,)), None),
        (broadcast("hi", rooms=("🌳" * 20,)), None),
        (FetchSockets(data=FetchData(Options(["room1"]), ID)), None),
        (BroadcastAck(data=AnswerData(ID, body(1))), "3LtsNV"),
        (ServerSideEmitResponse(data=AnswerData(ID, body(1))), "3LtsNV"),
        (BroadcastAck(data=AnswerData(ID, body(1))), ID),
        (Heartbeat(data=Member("a", "b", 1.0)), "3LtsNV"),
    ]
    acks = broadcast("hi", rooms=("room1",))
    acks.data.requestId = ID
    said.append((acks, None))
    for message, _ in said:
        message.uid, message.nsp = uid, "/"
    return said


@pytest.mark.parametrize(
    ("mode", "where"),
    [
        ("", ["", "room1#", "", "", "", "🌳" * 20 + "#", "", "3LtsNV#", "3LtsNV#", f"{ID}#", "", ""]),
        (
            "?subscription_mode=dynamic-private",
            ["", "room1#", "", f"{SID}#", "나" * 20 + "#", "🌳" * 20 + "#", "", "3LtsNV#", "3LtsNV#", f"{ID}#", "", ""],
        ),
        ("?subscription_mode=static", ["", "", "", "", "", "", "", "3LtsNV#", "3LtsNV#", f"{ID}#", "", ""]),
    ],
    ids=["dynamic", "dynamic-private", "static"],
)
async def test_sharded_channels(redis_server: Redis, prefix: str, mode: str, where: list[str]) -> None:
    start = f"{prefix}#/#"
    channels = sorted({f"{start}{end}" for end in (*where, "room1#", f"{SID}#", "나" * 20 + "#", "🌳" * 20 + "#")})
    async with (
        overheard(redis_server, "nothing", *channels) as found,
        member(Cluster(redis_server.url + mode, prefix=prefix)) as ear,
    ):
        ear.bus.open("/")
        for message, to in sayings(ear.uid):
            ear.bus.publish(message, to)
        await drained(found, len(where))
        assert [channel.removeprefix(start) for channel, _ in found] == where
        wanted = {f"{start}", f"{start}{ear.uid}#"}
        if "static" not in mode:
            ear.bus.open_room("/", "room1")
            wanted.add(f"{start}room1#")
        ear.bus.open_room("/", SID)
        if "private" in mode:
            wanted.add(f"{start}{SID}#")
        await ear.count("/")
        redis_server.ask("PING")
        heard = set(redis_server.ask("PUBSUB", "SHARDCHANNELS", f"{start}*"))
        assert heard >= wanted
        assert heard - wanted <= set(channels)


@pytest.mark.parametrize("specific", [False, True], ids=["to all", "to one"])
async def test_classic_channels(redis_server: Redis, prefix: str, specific: bool) -> None:
    url = redis_server.url.replace("redis://", "redis-classic://")
    one = "3LtsNV#" if specific else ""
    where = [
        f"{prefix}#/#",
        f"{prefix}#/#room1#",
        f"{prefix}#/#",
        f"{prefix}#/#{SID}#",
        f"{prefix}#/#{'나' * 20}#",
        f"{prefix}#/#{'🌳' * 20}#",
        f"{prefix}-request#/#",
        f"{prefix}-response#/#{one}",
        f"{prefix}-response#/#",
        f"{prefix}-response#/#{ID}#",
        f"madang:{prefix}#/#",
        f"{prefix}-request#/#",
    ]
    more = "?publish_on_specific_response_channel=true" if specific else ""
    async with (
        overheard(redis_server, f"*{prefix}*") as found,
        member(Cluster(url + more, prefix=prefix)) as ear,
    ):
        ear.bus.open("/")
        for message, to in sayings(ear.uid):
            ear.bus.publish(message, to)
        await drained(found, len(where))
        assert [channel for channel, _ in found] == where


@pytest.mark.parametrize("mode", ["dynamic", "dynamic-private", "static"])
async def test_a_client_is_reached_alone_in_each_mode(redis_server: Redis, prefix: str, mode: str) -> None:
    settings = Cluster(f"{redis_server.url}?subscription_mode={mode}", prefix=prefix)
    one, two = Server(cluster=settings), Server(cluster=settings)
    two.on("connection", lambda socket: socket.join("room"))
    async with connect(two) as early, contextlib.AsyncExitStack() as stack:
        for io in (one, two):  # one client is there before its server joins the cluster
            await io.start()
            stack.push_async_callback(io.close)
        async with connect(two) as late:
            assert one.cluster is not None
            async with asyncio.timeout(30):
                while len(one.cluster.peers) < 1 or len(await one.fetch_sockets()) < 2:
                    await asyncio.sleep(0.01)
            for client in (early, late):
                assert client.id is not None
                one.to(client.id).emit("alone", client.id)
            one.to("room").emit("all")
            for client in (early, late):
                await client.expect("alone", client.id, timeout=30)
                await client.expect("all", timeout=30)
            left = f"{prefix}#/#{late.id}#"
            assert (left in redis_server.ask("PUBSUB", "SHARDCHANNELS")) == (mode == "dynamic-private")
        async with asyncio.timeout(30):
            while left in redis_server.ask("PUBSUB", "SHARDCHANNELS"):
                await asyncio.sleep(0.01)


async def test_two_rooms_whose_channels_have_one_name(redis_server: Redis, prefix: str) -> None:
    async with members(Cluster(redis_server.url, prefix=prefix), 2, "/", "/a#b") as (first, second):
        # The channel of this room is that of the other namespace.
        second.bus.open("/a")
        second.bus.open_room("/a", "b")
        second.bus.shut_room("/a", "b")
        await meet([first, second], "/a#b")
        first.bus.publish(broadcast("hi", uid=first.uid, nsp="/a#b"))
        await second.until(lambda: second.messages)


@pytest.mark.parametrize("scheme", ["redis", "redis-classic"])
async def test_whatever_others_publish_is_told_and_what_follows_is_read(
    redis_server: Redis, prefix: str, scheme: str
) -> None:
    rubbish = [b"", b"{", b"\xc1", b"[]", b'{"type":99}', b"\x93\x01\x02", b"\x91" * 50_000, b'{"type":3,"data":{}}']
    url = redis_server.url.replace("redis", scheme, 1)
    async with members(Cluster(url, prefix=prefix), 2) as (first, second):
        for data in rubbish:
            if scheme == "redis":
                redis_server.ask("SPUBLISH", f"{prefix}#/#", data)
            else:
                for channel in ("#/#", "-request#/#", "-response#/#"):
                    redis_server.ask("PUBLISH", f"{prefix}{channel}", data)
        first.bus.publish(broadcast("hi", uid=first.uid))
        await second.until(lambda: second.messages)
        assert len(second.of("malformed")) >= len(rubbish)
        assert all(isinstance(error, RemoteProtocolError) for _, error in second.of("malformed"))
        assert second.of("down") == []


@pytest.mark.parametrize("scheme", ["redis", "redis-classic"])
async def test_what_was_said_by_a_node_of_another_namespace_or_by_nobody_is_ignored(
    redis_server: Redis, prefix: str, scheme: str
) -> None:
    url = redis_server.url.replace("redis", scheme, 1)
    async with members(Cluster(url, prefix=prefix), 1) as [ear]:
        await ear.count("/")  # it is heard by now
        for nsp in ("/other", "/"):
            if scheme == "redis":
                redis_server.ask("SPUBLISH", f"{prefix}#/#", encode(broadcast("hi", nsp=nsp)))
                redis_server.ask("SPUBLISH", f"{prefix}#/#", encode(broadcast("hi", nsp="")))
            else:
                redis_server.ask("PUBLISH", f"{prefix}#/#", write_broadcast(broadcast("hi", nsp=nsp)))
        await ear.until(lambda: ear.messages)
        assert [message.nsp for message in ear.messages] == ["/"]


async def test_a_classic_broadcast_for_a_room_that_nobody_is_in_is_not_even_read(
    redis_server: Redis, prefix: str
) -> None:
    url = redis_server.url.replace("redis://", "redis-classic://")
    async with members(Cluster(url, prefix=prefix), 2) as (first, second):
        redis_server.ask("PUBLISH", f"{prefix}#/#elsewhere#", b"\xc1")
        first.bus.publish(broadcast("hi", uid=first.uid, rooms=("elsewhere",)))
        first.bus.publish(broadcast("ho", uid=first.uid, rooms=(SID,)))
        await second.until(lambda: second.messages)
        assert len(second.messages) == 1
        assert second.told == [("up",)]


# Ways to a Redis


async def talk(settings: Cluster) -> None:
    """Let two say something to each other."""
    async with members(settings, 2) as (first, second):
        second.bus.open_room("/", "room")
        await meet([first, second])
        for room in ("room", "", "another"):
            first.bus.publish(broadcast("hi", uid=first.uid, rooms=(room,) if room else ()))
        first.bus.post(second.node, b"posted")
        await second.until(lambda: len(second.messages) == 2 and second.posts)
        assert await first.count("/") == 1


async def test_by_tls_and_with_a_password(prefix: str) -> None:
    with Redis(password="s e:c/r@t", tls=True) as engine:
        place = f"{engine.host}:{engine.port}"
        options = f"ssl_ca_certs={engine.ca}"
        await talk(Cluster(f"rediss://:s%20e:c%2Fr%40t@{place}/0?{options}", prefix=prefix))
        await talk(Cluster(f"valkeys-classic://default:s%20e:c%2Fr%40t@{place}?{options}", prefix=prefix))
        for secret in ("", ":wrong@"):
            with pytest.raises(ConfigError, match="does not let us in") as caught:
                await talk(Cluster(f"rediss://{secret}{place}?{options}", prefix=prefix))
            assert "wrong@" not in str(caught.value)
        async with member(Cluster(f"rediss://:x@{place}", prefix=prefix)) as ear:
            # Nobody vouches for it; that may be mended while we try again.
            await ear.until(lambda: ear.of("down") and "CERTIFICATE" in str(ear.of("down")[0][1]))


@pytest.mark.parametrize("scheme", ["redis", "redis-classic"])
async def test_a_redis_cluster(redis_cluster: RedisCluster, prefix: str, scheme: str) -> None:
    # The last one is enough to find the others.
    host, port = redis_cluster.addresses[-1]
    settings = Cluster(f"{scheme}+cluster://{host}:1,{host}:{port}", prefix=prefix)
    namespaces = ["/", "/a", "/b", "/c", "/d"]
    async with members(settings, 3, *namespaces) as ears:
        rooms = [f"room {number}" for number in range(20)]
        first, second, _ = ears
        for room in rooms:
            second.bus.open_room("/", room)
        await meet(ears)
        for room in rooms:
            first.bus.publish(broadcast(room, uid=first.uid, rooms=(room,)))
        for ear in ears:
            first.bus.post(ear.node, b"posted")
        await second.until(lambda: len(second.messages) == 20)
        for ear in ears:
            await ear.until(lambda ear=ear: ear.posts)
            for namespace in namespaces:
                assert await ear.count(namespace) == 2


async def test_a_slot_that_moves_takes_its_channels_along(redis_cluster: RedisCluster, prefix: str) -> None:
    host, port = redis_cluster.addresses[0]
    settings = Cluster(f"redis+cluster://{host}:{port}", prefix=prefix, max_reconnect_delay_seconds=0.2)
    channel = f"{prefix}#/#"
    owner = redis_cluster.owner(channel)
    other = next(engine for engine in redis_cluster.members if engine is not owner)
    slot = owner.ask("CLUSTER", "KEYSLOT", channel)

    def move(source: Redis, to: Redis) -> None:
        ids = {engine: engine.ask("CLUSTER", "MYID") for engine in redis_cluster.members}
        # So it becomes the newest of all facts, and none of the others wins over it.
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
        for engine in dict.fromkeys((to, source, *redis_cluster.members)):
            engine.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[to])

    async with members(settings, 2) as (first, second):
        try:
            await asyncio.to_thread(move, owner, other)
            for ear in (first, second):
                await ear.until(lambda ear=ear: ear.of("down"))
                await ear.until(lambda ear=ear: ear.of("lost"))
            await first.say_until(lambda: broadcast("hi", uid=first.uid), lambda: second.messages)
            assert "ended a subscription" in str(second.of("down")[0][1])
        finally:
            await asyncio.to_thread(move, other, owner)


async def test_a_redis_that_is_no_cluster(redis_server: Redis, prefix: str) -> None:
    url = redis_server.url.replace("redis://", "redis+cluster://")
    with pytest.raises(ConfigError, match="no part of a Redis Cluster"):
        await talk(Cluster(url, prefix=prefix))


@pytest.mark.parametrize("scheme", ["redis", "redis-classic"])
async def test_a_redis_behind_sentinels(redis_sentinel: RedisSentinel, prefix: str, scheme: str) -> None:
    hosts = ",".join(f"{host}:{port}" for host, port in [("127.0.0.1", 1), *redis_sentinel.addresses])
    await talk(Cluster(f"{scheme}+sentinel://{hosts}/{redis_sentinel.name}/0", prefix=prefix))
    async with member(Cluster(f"{scheme}+sentinel://{hosts}/nobody", prefix=prefix)) as ear:
        await ear.until(lambda: ear.of("down") and "knows no 'nobody'" in str(ear.of("down")[0][1]))


async def test_when_the_master_is_gone_the_sentinels_name_another(prefix: str) -> None:
    with RedisSentinel() as engines:
        host, port = engines.addresses[0]
        settings = Cluster(
            f"redis+sentinel://{host}:{port}/{engines.name}?socket_timeout=1",
            prefix=prefix,
            max_reconnect_delay_seconds=0.2,
        )
        async with members(settings, 2) as (first, second):
            engines.master.kill()
            for ear in (first, second):
                await ear.until(lambda ear=ear: len(ear.of("up")) == 2)
            await meet([first, second])
            assert engines.current() == engines.replica.address


async def old_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a Redis 6 says."""
    answers = {b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n", b"CLIENT": b"+OK\r\n", b"PING": b"+PONG\r\n"}
    with contextlib.suppress(OSError):
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            unknown = b"-ERR Unknown subcommand or wrong number of arguments for '%b'. Try PUBSUB HELP.\r\n" % words[-1]
            writer.write(answers.get(words[0], unknown))
    writer.close()


async def ancient_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a Redis 5 says, which doesn't know how to greet."""
    with contextlib.suppress(OSError):
        while await reader.read(1000):
            writer.write(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
    writer.close()


@pytest.mark.parametrize(
    ("server", "scheme", "words"),
    [
        (old_server, "redis", "older than 7.*write redis-classic://"),
        (ancient_server, "redis", "older than Redis 6"),
        (ancient_server, "redis-classic", "older than Redis 6"),
    ],
)
async def test_a_redis_that_is_too_old(server: Any, scheme: str, words: str) -> None:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    bus = open_bus(Cluster(f"{scheme}://127.0.0.1:{port}"))
    with pytest.raises(ConfigError, match=words):
        await bus.start("a" * 16, "node", Ear(bus))
    await bus.close()
    listening.close()
    await listening.wait_closed()


async def test_a_redis_that_forbids_the_channels(prefix: str) -> None:
    with Redis() as engine:
        engine.ask("ACL", "SETUSER", "narrow", "on", ">pw", "+@all", "resetchannels", f"&{prefix}*")
        url = engine.url.replace("://", "://narrow:pw@")
        async with member(Cluster(url, prefix=prefix, max_reconnect_delay_seconds=0.2)) as ear:
            await ear.until(lambda: len(ear.of("down")) > 1)
            assert "permission" in str(ear.of("down")[0][1]).lower()
            engine.ask("ACL", "SETUSER", "narrow", "allchannels")
            await ear.until(lambda: ear.of("up"))
