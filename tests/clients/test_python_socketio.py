"""The `python-socketio` clients, with asyncio (aiohttp) and with threads (requests, websocket-client).

Both are driven through one `Peer`, so that each scenario is written once.
"""

import asyncio
import gc
import itertools
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import requests
import socketio
from engineio.payload import Payload
from socketio.exceptions import ConnectionError as Refused
from socketio.exceptions import TimeoutError as NoAnswer

from support.matrix import matrix, some
from support.server import ServerProcess

# The client's own documented limit: with the default of 16 it hangs up on any server that puts more into one poll.
Payload.max_decode_packets = 10_000

DEADLINE = 30
KOREAN = "마당에 어서 오세요"
ASTRAL = "🎪𝕄𠮷"
EVERY = bytes(range(256))
KINDS = ["asyncio", "threads"]
TRANSPORTS = ["polling", "websocket", "polling,websocket"]
USUAL = [("asyncio", "polling"), ("threads", "websocket"), ("asyncio", "polling,websocket")]


class Peer:
    """One client of either kind, with the same awaitable methods."""

    def __init__(self, url: str, kind: str, transports: list[str], **options: Any) -> None:
        self.url = url
        self.transports = transports
        self.blocking = kind == "threads"
        # ours, because the client does not always close a session of its own
        self.http = requests.Session() if self.blocking else aiohttp.ClientSession()
        settings = {"reconnection": False, "http_session": self.http, **options}
        self.client = socketio.Client(**settings) if self.blocking else socketio.AsyncClient(**settings)
        self.loop = asyncio.get_running_loop()
        self.heard: dict[tuple[str, str], asyncio.Queue[tuple[Any, ...]]] = defaultdict(asyncio.Queue)

    async def run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.blocking:
            return await asyncio.to_thread(function, *args, **options)
        return await function(*args, **options)

    async def connect(self, *namespaces: str, **options: Any) -> None:
        names = list(namespaces or ["/"])
        for name in names:
            for event in ("connect_error", "disconnect"):
                self.listen(event, namespace=name)
        await self.run(
            self.client.connect,
            self.url,
            transports=self.transports,
            namespaces=names,
            wait_timeout=DEADLINE,
            **options,
        )

    async def disconnect(self) -> None:
        await self.run(self.client.disconnect)

    async def shutdown(self) -> None:
        """Disconnect, and stop trying to come back."""
        await self.run(self.client.shutdown)
        if self.blocking:
            await asyncio.to_thread(self.client.wait)
        await self.run(self.http.close)

    async def emit(self, event: str, *args: Any, namespace: str = "/") -> None:
        await self.run(self.client.emit, event, args, namespace=namespace)

    async def call(self, event: str, *args: Any, namespace: str = "/", timeout: float = DEADLINE) -> Any:
        return await self.run(self.client.call, event, args, namespace=namespace, timeout=timeout)

    def on(self, event: str, answer: Callable[..., Any], namespace: str = "/") -> None:
        """Answer an event; the answer of `answer` is the acknowledgement."""
        if self.blocking:
            self.client.on(event, answer, namespace=namespace)
            return

        async def handler(*args: Any) -> Any:
            return answer(*args)

        self.client.on(event, handler, namespace=namespace)

    def listen(self, event: str, namespace: str = "/") -> None:
        """Keep what comes with this event, for `next`."""
        queue = self.heard[namespace, event]

        def keep(*args: Any) -> None:
            self.loop.call_soon_threadsafe(queue.put_nowait, args)

        self.on(event, keep, namespace)

    async def next(self, event: str, namespace: str = "/") -> tuple[Any, ...]:
        """The arguments of the next event that `listen` kept."""
        async with asyncio.timeout(DEADLINE):
            return await self.heard[namespace, event].get()

    def id(self, namespace: str = "/") -> str:
        return self.client.get_sid(namespace)

    @property
    def transport(self) -> str:
        return self.client.transport()


Connect = Callable[..., Awaitable[Peer]]


@pytest.fixture(params=some(list(itertools.product(KINDS, TRANSPORTS)), usual=USUAL), ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Which of the clients, and its transports."""
    return request.param


@pytest.fixture
def kind(pair: tuple[str, str]) -> str:
    return pair[0]


@pytest.fixture
def transports(pair: tuple[str, str]) -> list[str]:
    return pair[1].split(",")


@pytest.fixture
async def peer(server: ServerProcess, kind: str, transports: list[str]) -> AsyncIterator[Callable[..., Peer]]:
    """Makes peers, and ends them."""
    made: list[Peer] = []

    def make(**options: Any) -> Peer:
        one = Peer(server.url, kind, transports, **options)
        made.append(one)
        return one

    yield make
    await asyncio.gather(*[one.shutdown() for one in made])
    made.clear()
    gc.collect()  # so that what the client leaves open shows in its own test, where it is let pass


@pytest.fixture
async def connected(peer: Callable[..., Peer]) -> Connect:
    """Makes peers that are connected to some namespaces."""

    async def connect(*namespaces: str, **options: Any) -> Peer:
        one = peer()
        await one.connect(*namespaces, **options)
        return one

    return connect


# the client with threads forgets to close its sockets when the server goes
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


async def witness(connected: Connect, target: Peer) -> Peer:
    """Another client, that is told by the server how `target` went."""
    observer = await connected()
    observer.listen("gone")
    assert await observer.call("watch", target.id()) is True
    return observer


# ---- connecting ----


async def test_connect(connected: Connect, transports: list[str]) -> None:
    one = await connected()
    assert len(one.id()) == 20
    assert one.transport == transports[-1]
    who = await one.call("who am i")
    assert who["id"] == one.id()
    assert who["first"] == transports[0]
    assert who["transport"] == transports[-1]


async def test_handshake(connected: Connect) -> None:
    one = await connected(auth={"nested": [1, None, ASTRAL]}, headers={"X-Marker": "seen"})
    who = await one.call("who am i")
    assert who["auth"] == {"nested": [1, None, ASTRAL]}
    assert who["marker"] == "seen"


async def test_auth_refused_then_accepted(peer: Callable[..., Peer]) -> None:
    one = peer()
    with pytest.raises(Refused):
        await one.connect("/private", auth={"token": "wrong"})
    (data,) = await one.next("connect_error", "/private")
    assert data == {"message": "not authorised", "data": {"code": 401, "hint": "토큰"}}

    other = peer()
    await other.connect("/private", auth={"token": "열려라 참깨"})
    who = await other.call("who am i", namespace="/private")
    assert who["namespace"] == "/private"
    assert who["id"] == other.id("/private")


async def test_unknown_namespace(peer: Callable[..., Peer]) -> None:
    one = peer()
    with pytest.raises(Refused):
        await one.connect("/", "/nowhere")
    (data,) = await one.next("connect_error", "/nowhere")
    assert data["message"] == "Invalid namespace"


# ---- events and acknowledgements ----

VALUES = [
    None, True, False, 0, -1, 1.5, 1e300, 5e-324, 2**53 - 1, "", KOREAN, ASTRAL, "\u2028\x00\x1e\x7f",
    [], {}, [None, [1, [2]]], {"": {"한글": ["글"]}}, {"_placeholder": False, "num": 0},
]  # fmt: skip


async def test_events_carry_every_type(connected: Connect) -> None:
    one = await connected()
    one.listen("echo back")
    for value in VALUES:
        assert await one.call("echo", value) == value
        await one.emit("echo back", value, [value])
        assert await one.next("echo back") == (value, [value])
    assert await one.call("echo", *VALUES) == tuple(VALUES)


async def test_lone_surrogates_end_no_connection(connected: Connect) -> None:
    one = await connected()
    assert await one.call("echo", "\ud83d a") == "\ud83d a"
    assert await one.call("echo", "after") == "after"


async def test_binary_both_ways(connected: Connect) -> None:
    one = await connected()
    one.listen("echo back")
    big = bytes(number * 31 % 256 for number in range(500_000))
    for value in (EVERY, b"", [EVERY, {"deep": [b"", EVERY]}], {"ten": [bytes([n]) for n in range(10)]}, big):
        assert await one.call("echo", value) == value
        await one.emit("echo back", KOREAN, value)
        assert await one.next("echo back") == (KOREAN, value)


async def test_acknowledgements_from_the_server(connected: Connect) -> None:
    one = await connected()
    assert await one.call("echo") is None
    assert await one.call("echo", 1) == 1
    assert await one.call("echo", 1, "two") == (1, "two")
    with pytest.raises(NoAnswer):
        await one.call("slow echo", 500, "too late", timeout=0.1)
    numbers = list(range(20))
    assert await asyncio.gather(*[one.call("slow echo", n * 37 % 50, n) for n in numbers]) == numbers


async def test_acknowledgements_from_the_client(connected: Connect) -> None:
    one = await connected()
    one.on("none", lambda: None)
    one.on("one", lambda value: value)
    one.on("several", lambda *args: args)
    assert await one.call("call me", "none") == {"one": None}
    assert await one.call("call me", "one", [KOREAN, {"deep": EVERY}]) == {"one": [KOREAN, {"deep": EVERY}]}
    assert await one.call("call me", "several", 1, b"2") == {"several": [1, b"2"]}
    answers = await asyncio.gather(*[one.call("call me", "one", number) for number in range(20)])
    assert answers == [{"one": number} for number in range(20)]


async def test_a_thousand_messages_each_way_in_order(connected: Connect, kind: str) -> None:
    one = await connected()
    one.listen("flood")
    await one.emit("flood", 1000)
    for number in range(1000):
        await one.emit("count", number)
    came = [(await one.next("flood"))[0] for _ in range(1000)]
    # The client with threads starts one for each message, so that it does not keep their order itself.
    assert (sorted(came) if kind == "threads" else came) == list(range(1000))
    assert await one.call("counted") == list(range(1000))


# ---- rooms and namespaces ----


async def test_rooms_and_broadcasts(connected: Connect) -> None:
    clients = [await connected() for _ in range(3)]
    a, b, c = clients
    room, event = f"room {a.id()}", f"news {a.id()}"
    for client in clients:
        client.listen(event)

    async def heard() -> list[list[Any]]:
        await asyncio.gather(*[client.call("echo") for client in clients])
        queues = [client.heard["/", event] for client in clients]
        return [[queue.get_nowait() for _ in range(queue.qsize())] for queue in queues]

    assert await a.call("join", room) == [room]
    assert await b.call("join", room) == [room]
    await a.call("to room", room, event, 1, EVERY)
    assert await heard() == [[], [(1, EVERY)], []]
    await a.call("in room", room, event, KOREAN)
    assert await heard() == [[(KOREAN,)], [(KOREAN,)], []]
    await a.call("except room", room, b.id(), event, 3)
    assert await heard() == [[(3,)], [], []]
    await a.call("in room", c.id(), event, 4)
    assert await heard() == [[], [], [(4,)]]
    await a.call("broadcast", event, 5)
    assert await heard() == [[], [(5,)], [(5,)]]
    await a.call("everyone", event, 6)
    assert await heard() == [[(6,)], [(6,)], [(6,)]]
    assert await b.call("leave", room) == []
    await a.call("in room", room, event, 7)
    assert await heard() == [[(7,)], [], []]

    for index, client in enumerate(clients):
        client.on("question", lambda value, index=index: [index, value])
        await client.call("join", room)
    replies = (await a.call("ask room", room, "question", KOREAN))["replies"]
    assert sorted(replies) == [[0, KOREAN], [1, KOREAN], [2, KOREAN]]


async def test_namespaces_share_one_connection(peer: Callable[..., Peer]) -> None:
    one = peer()
    one.listen("welcome", "/custom")
    one.listen("news", "/custom")
    one.listen("news", "/")
    await one.connect("/", "/custom")
    assert one.id() != one.id("/custom")
    (who,) = await one.next("welcome", "/custom")
    assert who["id"] == one.id("/custom")
    await one.emit("everyone", "news", 1, namespace="/custom")
    assert await one.next("news", "/custom") == (1,)
    replies = await asyncio.gather(one.call("echo", 1), one.call("echo", EVERY, namespace="/custom"))
    assert replies == [1, EVERY]
    assert one.heard["/", "news"].empty()
    await one.emit("leave_me", False, namespace="/custom")
    await one.next("disconnect", "/custom")
    assert await one.call("echo", 2) == 2


# ---- disconnects ----


async def test_the_client_disconnects(connected: Connect) -> None:
    one = await connected()
    observer = await witness(connected, one)
    await one.call("join", "a room")
    await one.disconnect()
    assert await one.next("disconnect") == ("client disconnect",)
    _, reason, rooms = await observer.next("gone")
    # over polling, this client may drop its farewell packet with the connection
    assert reason in {"client namespace disconnect", "transport close"}
    assert rooms == {"before": ["a room"], "after": [], "connected": False}


@pytest.mark.parametrize("close", [False, True])
async def test_the_server_disconnects(connected: Connect, close: bool) -> None:
    one = await connected()
    observer = await witness(connected, one)
    await one.emit("disconnect me", close)
    assert await one.next("disconnect") == ("server disconnect",)
    assert (await observer.next("gone"))[1] == "server namespace disconnect"


LONELY = """
import json, socketio, sys
client = socketio.Client(reconnection=False)
client.connect(sys.argv[1], transports=sys.argv[2].split(","))
print(client.get_sid(), flush=True)
client.wait()
"""


@pytest.mark.parametrize(
    ("transports", "how"),
    matrix(
        TRANSPORTS, ["killed", "stopped"], usual=lambda *each: each in [("polling", "killed"), ("websocket", "stopped")]
    ),
)
async def test_the_clients_process_goes(server: ServerProcess, transports: str, how: str) -> None:
    # Killed between two polls, it is missed at the next ping only.
    reasons = {"ping timeout"} if how == "stopped" else {"transport close", "transport error", "ping timeout"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LONELY, server.url, transports, stdout=asyncio.subprocess.PIPE
    )
    observer = Peer(server.url, "asyncio", ["websocket"])
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            target = (await process.stdout.readline()).decode().strip()
        await observer.connect()
        observer.listen("gone")
        assert await observer.call("watch", target) is True
        os.kill(process.pid, signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
        _, reason, _ = await observer.next("gone")
        assert reason in reasons
    finally:
        await observer.shutdown()
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_payload_over_the_limit_ends_the_connection(connected: Connect) -> None:
    one = await connected()
    observer = await witness(connected, one)
    assert await one.call("echo", "가" * 150_000) == "가" * 150_000  # sent as \uac00: 900,000 bytes
    await one.emit("echo", "x" * 1_000_001)
    # When a POST is refused, this client goes on listening and never answers a ping again; and it takes its
    # ping interval and more to notice that a WebSocket was closed. So what counts is the server's side.
    reasons = {"transport close", "transport error", "parse error", "ping timeout"}
    assert (await observer.next("gone"))[1] in reasons


# a server that ends well says so, as the reference does, and over polling this client then stays away
WAYS_BACK = [
    ("polling", "kill"),
    ("websocket", "restart"),
    ("polling,websocket", "restart"),
    ("polling,websocket", "kill"),
]


@pytest.mark.parametrize(
    ("pair", "how"),
    [
        pytest.param((kind, way), how, marks=() if number % 2 == usual else pytest.mark.exhaustive)
        for usual, kind in enumerate(KINDS)
        for number, (way, how) in enumerate(WAYS_BACK)
    ],
)
async def test_reconnects_after_the_servers(
    server: ServerProcess, peer: Callable[..., Peer], transports: list[str], how: str
) -> None:
    options = {"reconnection_delay": 0.1, "reconnection_delay_max": 0.2, "randomization_factor": 0}
    one = peer(reconnection=True, **options)
    one.listen("connect")
    await one.connect()
    await one.next("connect")
    before = one.id()
    if how == "kill":
        server.kill()
        await asyncio.to_thread(server.start)
    else:
        await asyncio.to_thread(server.restart)
    (reason,) = await one.next("disconnect")
    assert reason in {"transport close", "transport error", "server disconnect"}
    await one.next("connect")
    assert one.id() != before
    assert one.transport == transports[-1]
    assert await one.call("echo", EVERY) == EVERY


async def test_many_clients_at_once(peer: Callable[..., Peer]) -> None:
    clients = [peer() for _ in range(12)]
    await asyncio.gather(*[client.connect() for client in clients])
    assert len({client.id() for client in clients}) == 12
    room = f"crowd {clients[0].id()}"
    for client in clients:
        client.listen(room)
        await client.call("join", room)
    await clients[0].emit("in room", room, room, KOREAN)
    heard = await asyncio.gather(*[client.next(room) for client in clients])
    assert heard == list(itertools.repeat((KOREAN,), 12))
