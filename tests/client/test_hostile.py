"""What a server may send that it must not: a clear error, no hang, no crash."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.conftest import until
from client.support.scripted import JOINED, OPEN, Scripted
from madang import BlockingClient, Client, ConnectError, Disconnected, Reason
from madang.client.dial import Reply
from madang.rfc import ws

FAST = {
    "connect_timeout_seconds": 0.3,
    "upgrade_timeout_seconds": 0.3,
    "close_timeout_seconds": 0.3,
    "reconnection": False,
}


def opened(**changes: Any) -> str:
    body = {"sid": "s", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000, **changes}
    return "0" + json.dumps({name: value for name, value in body.items() if value != "missing"})


BAD_OPEN = [
    ("", "starts with an open packet"),
    ("4hello", "starts with an open packet"),
    ("0", "is not JSON"),
    ("0{", "is not JSON"),
    ("0[]", "holds no object"),
    ("0null", "holds no object"),
    (opened(sid=5), "has no sid"),
    (opened(sid=""), "has no sid"),
    (opened(sid="x" * 10_000), "has no sid"),
    (opened(sid="missing"), "has no sid"),
    (opened(upgrades="websocket"), "upgrades"),
    (opened(upgrades=[1]), "upgrades"),
    (opened(pingInterval="25"), "times"),
    (opened(pingInterval=-1), "times"),
    (opened(pingInterval="missing"), "times"),
    (opened(pingTimeout=True), "times"),
    (opened(pingTimeout=1e300), "times"),
    (opened(pingTimeout=None), "times"),
]


@pytest.mark.parametrize(("first", "wrong"), BAD_OPEN, ids=[str(number) for number in range(len(BAD_OPEN))])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_bad_open_packets(transport: str, first: str, wrong: str) -> None:
    dialer = Scripted([first.encode()], [first])
    client = Client("http://server", dialer=dialer, transports=[transport], **FAST)
    with pytest.raises(ConnectError, match=f"does not speak Engine.IO: .*{wrong}"):
        await client.connect()
    assert all(link.closed for link in dialer.links)
    await client.close()


@pytest.mark.parametrize("most", ["missing", None, 0, -5, "much"])
async def test_a_limit_that_is_not_told(most: Any) -> None:
    dialer = Scripted(frames=[opened(maxPayload=most), JOINED])
    async with Client("http://server", dialer=dialer, transports=["websocket"], **FAST) as client:
        client.emit("large", "x" * 2_000_000)
        assert len(dialer.links[0].written) == 2


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        (Reply(404, b"no such page"), "answered with status 404 no such page"),
        (Reply(302, b""), "answered with status 302"),
        (Reply(200, b"\xff\xfe"), "not UTF-8"),
        (Reply(200, b"<!doctype html>"), "starts with an open packet"),
        (Reply(200, f"{OPEN}\x1e1".encode()), "closed the connection at once"),
        (Reply(200, f"{OPEN}\x1e9".encode()), "closed the connection at once"),
    ],
)
async def test_bad_answers_to_the_first_poll(reply: Reply, wrong: str) -> None:
    client = Client("http://server", dialer=Scripted([reply]), transports=["polling"], **FAST)
    with pytest.raises(ConnectError, match=wrong):
        await client.connect()


NONSENSE = [
    "",
    "9",
    "4",
    "47",
    "4x",
    "42",
    "42{}",
    '42["connect"]',
    "42[",
    "42[]",
    "42[null]",
    '43["no id"]',
    "451-",
    '45999999-["x"]',
    '4x["x"]',
    "0{}",
    b"unannounced",
    '42["x",' + "[" * 100_000,
    '42["x",' + "1," * 1000 + "1]",
    '451-["x",{"_placeholder":true,"num":5}]',
]


@pytest.mark.parametrize("frame", NONSENSE, ids=[str(number) for number in range(len(NONSENSE))])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_nonsense_ends_the_connection(transport: str, frame: str | bytes) -> None:
    """And not the program: the reason is told, and what waits is answered."""
    frames = [frame, b"attachment"] if isinstance(frame, str) and frame.startswith("451-[") else [frame]
    text = [one if isinstance(one, str) else "bYXR0YWNobWVudA==" for one in frames]
    dialer = Scripted([OPEN.encode(), JOINED.encode()], [OPEN, JOINED])
    client = Client("http://server", dialer=dialer, transports=[transport], **FAST)
    reasons: list[str] = []
    client.on("disconnect", reasons.append)
    await client.connect()
    asked = client.call("question")
    if transport == "polling":
        dialer.polls.put_nowait("\x1e".join(text).encode())
    else:
        dialer.links[0].say(*frames)
    with pytest.raises(Disconnected):
        await asked
    assert reasons == [Reason.PARSE_ERROR]
    assert not client.active
    await client.close()


@pytest.mark.parametrize(
    "frame",
    [
        "40",
        "40{}",
        '40{"sid":5}',
        '40{"sid":""}',
        '40{"sid":null,"pid":[]}',
    ],
)
async def test_a_namespace_without_an_id(frame: str) -> None:
    dialer = Scripted(frames=[OPEN])
    client = Client("http://server", dialer=dialer, transports=["websocket"], **FAST)
    joining = asyncio.create_task(client.connect())
    await until(lambda: dialer.links and dialer.links[0].written)
    dialer.links[0].say(frame)
    with pytest.raises(ConnectError, match=r"protocol of Socket\.IO 2\.x"):
        await joining


@pytest.mark.parametrize(
    ("frame", "message"), [("44{}", "refused"), ('44"old"', "old"), ('44{"message":5,"data":[1]}', "refused")]
)
async def test_odd_refusals(frame: str, message: str) -> None:
    dialer = Scripted(frames=[OPEN])
    client = Client("http://server", dialer=dialer, transports=["websocket"], **FAST)
    joining = asyncio.create_task(client.connect())
    await until(lambda: dialer.links and dialer.links[0].written)
    dialer.links[0].say(frame)
    with pytest.raises(ConnectError, match=message) as error:
        await joining
    assert error.value.refused


async def test_packets_out_of_place() -> None:
    """Of other namespaces, twice, or before their time: they mean nothing."""
    dialer = Scripted(frames=[OPEN])
    client = Client("http://server", dialer=dialer, transports=["websocket"], **FAST)
    heard: list[Any] = []
    client.on_any(lambda *args: heard.append(args))
    joining = asyncio.create_task(client.connect())
    await until(lambda: dialer.links and dialer.links[0].written)
    dialer.links[0].say(
        *("6", "3", "5", "3probe", "41", "43999[1]", '42/other,["x"]', "40/other", '42["early"]', JOINED)
    )
    await joining
    dialer.links[0].say(*(JOINED, '40{"sid":"another"}', "44{}", "430[1]", "43123456789012345[1]"))
    assert client.connected
    assert client.id == "id"
    assert heard == [("early",)]
    await client.close()


async def test_too_many_early_events() -> None:
    dialer = Scripted(frames=[OPEN])
    client = Client("http://server", dialer=dialer, transports=["websocket"], max_buffered_packets=10, **FAST)
    joining = asyncio.create_task(client.connect())
    await until(lambda: dialer.links and dialer.links[0].written)
    for _ in range(11):
        dialer.links[0].say('42["early"]')
    with pytest.raises(ConnectError, match="parse error"):
        await joining


async def test_a_server_that_never_lets_in() -> None:
    client = Client("http://server", dialer=Scripted(frames=[OPEN]), transports=["websocket"], **FAST)
    with pytest.raises(ConnectError, match=r"did not answer to joining / within 0\.3 s"):
        await client.connect()
    assert not client.manager.connected


async def test_an_upgrade_that_comes_to_nothing() -> None:
    """The WebSocket opens, and answers nonsense, or nothing, or is lost: polling goes on."""
    for frames in (["4x"], [], ["3wrong"]):
        hello = opened(upgrades=["websocket", "carrier pigeon"])
        dialer = Scripted([hello.encode(), JOINED.encode()], frames)
        async with Client("http://server", dialer=dialer, **FAST) as client:
            await until(lambda dialer=dialer: dialer.links and dialer.links[0].closed)
            assert client.manager.transport == "polling"
            client.emit("still here")
            await client.drain()
            assert dialer.posts[-1] == b'42["still here"]'


async def test_a_dialer_that_fails_in_its_own_way(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Scripted):
        async def get(self, target: str, headers: Any) -> Reply:
            raise ZeroDivisionError("a mistake of the dialer")

    client = Client("http://server", dialer=Broken(), transports=["polling"], **FAST)
    with pytest.raises(ConnectError, match="a mistake of the dialer"):
        await client.connect()
    assert "the connection failed" in caplog.text


def patience(wrong: str) -> dict[str, Any]:
    """Time to import what polling needs, on a busy machine; less where nothing else is to come than its end."""
    return {**FAST, "connect_timeout_seconds": 0.3 if wrong.endswith("no connection within") else 3.0}


async def serving(answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0].decode()
            writer.write(answer.replace(b"ACCEPT", ws.accept_key(key).encode()))
            await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # the client has gone, or the test; Python 3.11 makes an error of a handler that was cancelled
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"\x00" * 100_000, "more than 65536 bytes"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "this is no HTTP response"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "answered with status 200 hello"),
        (UPGRADE + b"wrong\r\n\r\n", "does not fit the key"),
        (UPGRADE + b"ACCEPT\r\nSec-WebSocket-Extensions: x\r\n\r\n", "not offered"),
        (UPGRADE + b"ACCEPT\r\nSec-WebSocket-Protocol: x\r\n\r\n", "not offered"),
        (UPGRADE + b"ACCEPT\r\n\r\n" + b"\x81\x85abcdhello", "frame of a server is masked"),
        (UPGRADE + b"ACCEPT\r\n\r\n" + b"\x81\x7f\x00\x00\x00\xff\x00\x00\x00\x00", "max_payload_bytes is 1000"),
        (UPGRADE + b"ACCEPT\r\n\r\n" + b"\x88\x02\x03\xe8", "closed the link before it had said hello"),
        (UPGRADE + b"ACCEPT\r\n\r\n" + b"\x81\x02\xff\xff", "not UTF-8"),
        (UPGRADE + b"ACCEPT\r\n\r\n", "no connection within"),
    ],
)
async def test_bad_websockets(answer: bytes, wrong: str) -> None:
    server = await serving(answer)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client(url, transports=["websocket"], max_payload_bytes=1000, max_packet_bytes=1000, **patience(wrong))
        with pytest.raises(ConnectError, match=wrong):
            await client.connect()
        await client.close()


def packed(coding: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"\x00" * 1000, "no answer from|no connection within"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "no connection within"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000, "has more than 1000 bytes"),
        (packed("gzip", b"oops"), "can't be unpacked"),
        (packed("gzip", gzip.compress(b"hello", mtime=0)[:-3]), "ends too early"),
        (packed("gzip", gzip.compress(bytes(1001), mtime=0)), "unpacks to more than 1000 bytes"),
        (packed("deflate", zlib.compress(bytes(1001))), "unpacks to more than 1000 bytes"),
        (packed("gzip, gzip", gzip.compress(gzip.compress(bytes(1_000_000)), mtime=0)), "packed by 'gzip, gzip'"),
        (packed("br", b"\x0b\x02\x80hello\x03"), "packed by 'br'"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno", "answered with status 500 no"),
    ],
)
async def test_bad_polls(answer: bytes, wrong: str) -> None:
    server = await serving(answer)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client(url, transports=["polling"], max_payload_bytes=1000, max_packet_bytes=1000, **patience(wrong))
        with pytest.raises(ConnectError, match=wrong):
            await client.connect()
        await client.close()


FRAMES = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.sampled_from(NONSENSE),
    st.tuples(
        st.sampled_from(["40", "41", "42", "43", "44", "45", "46", "0", "1", "2", "3", "6"]), st.text(max_size=30)
    ).map("".join),
    st.tuples(
        st.sampled_from(["40", "42", "430", "44", "421", "451-", "461-0", "0"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["sid", "pid", "message"]), inner)
            ),
            max_leaves=6,
        ),
    ).map(lambda pair: pair[0] + json.dumps(pair[1])),
)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # of long examples, when it shows one
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=FRAMES | st.just(OPEN), frames=st.lists(FRAMES, max_size=6), joined=st.booleans())
def test_any_frames_at_all(first: str | bytes, frames: list[str | bytes], joined: bool) -> None:
    """Whatever comes: the client connects or says why not, and closes in time."""

    async def play() -> None:
        before = asyncio.all_tasks()
        said = [first, *([JOINED] if joined else []), *frames]
        dialer = Scripted(frames=[said[0]])
        times = {"connect_timeout_seconds": 0.01, "close_timeout_seconds": 0.01, "reconnection": False}
        client = Client("http://server", dialer=dialer, transports=["websocket"], **times)
        client.on_any(lambda *args: None)
        joining = asyncio.create_task(client.connect())
        for _ in range(3):
            await asyncio.sleep(0)
        dialer.links[0].say(*said[1:])
        try:
            await joining
        except ConnectError:
            assert not client.connected
        else:
            assert client.connected == (client.id is not None)
            await asyncio.sleep(0)
        await client.close()
        assert not client.active
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - before
        assert not left, left

    asyncio.run(asyncio.wait_for(play(), 20))


def test_a_blocking_client_and_nonsense() -> None:
    with pytest.raises(ConnectError), BlockingClient("http://server", dialer=Scripted([b"x"]), **FAST):
        pytest.fail("connected")
