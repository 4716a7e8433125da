"""Engine.IO 3 through the whole core: clients 1.x and 2.x in all the ways in which they come, and newer ones beside."""

import asyncio
import json
from itertools import pairwise
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from madang.config import Recovery
from madang.core.session import CLOSED, OPEN_STATE, Session
from madang.core.socket import Socket
from madang.errors import ConnectionRefused, Reason, RequestRefused
from madang.packet import MESSAGE, Packet
from madang.parsers import msgpack
from madang.testing import EngineKit, LinkClient, PollingClient, RawClient, RecordingDuplex, RecordingExchange
from madang.wire import eio3

GENERATIONS = ("eio4", "eio3")
PAGE = "https://shop.example"


def open_kit(**settings: Any) -> EngineKit:
    """A server for clients of several generations, whose clients here are old ones if nothing else is said."""
    return EngineKit(
        query="EIO=3", **{"generations": GENERATIONS, "transports": ["polling", "websocket", "jsonp"], **settings}
    )


@pytest.fixture
def kit() -> EngineKit:
    return open_kit()


def echoing(kit: EngineKit) -> list[Any]:
    """Answer the event "e" with its arguments; note them."""
    came: list[Any] = []

    @kit.io.on("e")
    def e(socket: Socket, *args: Any) -> tuple[Any, ...]:
        came.append(list(args))
        return args

    return came


def arrive(kit: EngineKit, carrier: str) -> RawClient:
    """A client in each of the ways, which has heard that it is in the main namespace."""
    client: RawClient
    if carrier == "websocket":
        client = kit.websocket()
    elif carrier == "websocket b64":
        client = kit.websocket(b64="1")
    elif carrier == "polling b64":
        client = kit.polling(b64="1")
    elif carrier == "jsonp":
        client = JsonpClient(kit)
    elif carrier == "polling":
        client = BytesClient(kit)
    else:
        client = StreamClient(kit, carrier)
    assert client.heard() == ["40"]
    return client


CARRIERS = ["websocket", "websocket b64", "polling", "polling b64", "jsonp"]


class BytesClient(PollingClient):
    """A client whose payloads are bytes both ways, as those of browsers."""

    def __init__(self, kit: EngineKit, **query: str) -> None:
        opened = kit.polling(**query)
        super().__init__(kit, opened.session, opened.handshake, opened.query.partition("&sid=")[0], None)

    def post(self, *frames: Any) -> RecordingExchange:
        body = eio3.WIRE.pack(frames)
        return self.kit.http("POST", self.query, body, {"Content-Type": "application/octet-stream"})


class JsonpClient(RawClient):
    """A page that can do nothing but load scripts and send forms."""

    def __init__(self, kit: EngineKit, **query: str) -> None:
        fields = urlencode({"EIO": "3", "transport": "polling", "j": "5", **query})
        known = set(kit.engine.sessions)
        self.kit = kit
        self.handshake = kit.http("GET", fields)
        [sid] = set(kit.engine.sessions) - known
        self.query = f"{fields}&sid={sid}"
        self._poll: RecordingExchange | None = None
        super().__init__(kit, kit.engine.sessions[sid], self.unpacked(self.handshake)[0])

    def unpacked(self, exchange: RecordingExchange) -> list[Any]:
        assert exchange.headers["content-type"] == "text/javascript; charset=UTF-8"
        assert exchange.text.startswith('___eio[5]("')
        assert exchange.text.endswith('");')
        return eio3.WIRE.split(json.loads(exchange.text[len("___eio[5](") : -2]), self.kit.io.config)

    def post(self, *frames: Any) -> RecordingExchange:
        # The order of the official client: what stands as backslash and "n" is doubled, then line breaks become that.
        payload = eio3.WIRE.join(frames).replace("\\n", "\\\\n").replace("\n", "\\n")
        return self.kit.http("POST", self.query, b"d=" + quote(payload).encode())

    def say(self, *frames: Any) -> None:
        exchange = self.post(*frames)
        assert (exchange.status, exchange.text) == (200, "ok")

    def heard(self) -> list[Any]:
        poll = self._poll or self.kit.http("GET", self.query)
        self.kit.turn()
        self._poll = poll if poll.waits else None
        return [] if poll.waits else self.unpacked(poll)


class StreamClient(RawClient):
    """A client over a response that stays open."""

    def __init__(self, kit: EngineKit, transport: str) -> None:
        fields = f"EIO=3&transport={transport}"
        known = set(kit.engine.sessions)
        self.kit = kit
        self.exchange = kit.http("GET", fields)
        [sid] = set(kit.engine.sessions) - known
        self.query = f"{fields}&sid={sid}"
        self._begun: list[Any] = []
        super().__init__(kit, kit.engine.sessions[sid], "")
        self.hello, *self._begun = self.heard()

    def post(self, *frames: Any) -> RecordingExchange:
        return self.kit.http("POST", self.query, eio3.WIRE.join(frames).encode())

    def say(self, *frames: Any) -> None:
        assert self.post(*frames).status == 200

    def heard(self) -> list[Any]:
        self.kit.turn()
        begun, self._begun = self._begun, []
        text = self.exchange.take().decode()
        payloads = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        return begun + [frame for one in payloads for frame in eio3.WIRE.split(one, self.kit.io.config)]


# ------------------------------------------------------------------------------------------------ talking


@pytest.mark.parametrize("carrier", CARRIERS)
def test_text_and_bytes_both_ways(kit: EngineKit, carrier: str) -> None:
    came = echoing(kit)
    client = arrive(kit, carrier)
    text = 'é€😀\u2028\\n\nq"'
    head = f'["e",{json.dumps(text, ensure_ascii=False)},{{"_placeholder":true,"num":0}}]'
    client.say(f"451-7{head}", b"\x04\x00\xff")
    assert came == [[text, b"\x00\xff"]]
    answer, attachment = client.heard()
    if carrier == "websocket b64":
        assert attachment == "b4AP8="
    else:
        assert attachment == b"\x04\x00\xff"
    assert answer.isascii()
    assert answer[:4] == "461-"
    assert json.loads(answer[5:]) == [text, {"_placeholder": True, "num": 0}]


def test_what_browsers_are_sent_is_bytes_and_what_others_are_sent_is_text(kit: EngineKit) -> None:
    for client, kind in (
        (kit.polling(), "application/octet-stream"),
        (kit.polling(b64="1"), "text/plain; charset=UTF-8"),
    ):
        assert client.handshake.headers["content-type"] == kind
        assert client.poll().headers["content-type"] == kind


@pytest.mark.parametrize("query", ["EIO=1&transport=polling", "transport=polling"], ids=["EIO 1", "no EIO"])
def test_older_ones_know_text_only(kit: EngineKit, query: str) -> None:
    handshake = kit.http("GET", query)
    assert handshake.headers["content-type"] == "text/plain; charset=UTF-8"
    [session] = kit.engine.sessions.values()
    assert handshake.text.startswith(f'118:0{{"sid":"{session.id}"')
    assert kit.http("GET", f"{query}&sid={session.id}").text == "2:40"


def test_older_ones_over_a_link_know_text_only() -> None:
    kit = EngineKit(query="EIO=1", generations=GENERATIONS)
    client = kit.websocket()
    assert client.heard() == ["40"]
    kit.io.emit("e", b"\1\2")
    assert client.heard() == ['451-["e",{"_placeholder":true,"num":0}]', "b4AQI="]


def test_clients_of_1_0_take_bytes_and_encode_text_twice_over_a_link_too() -> None:
    kit = EngineKit(query="EIO=2", generations=GENERATIONS)
    came = echoing(kit)
    assert kit.polling().handshake.headers["content-type"] == "application/octet-stream"
    client = kit.websocket()
    client.say('42["e","é€😀"]'.encode().decode("latin-1"), '42["e","plain"]')
    kit.io.emit("e", b"\1\2")
    assert came == [["é€😀"], ["plain"]]
    assert b"\x04\1\2" in client.heard()


def test_what_is_read_as_utf8_twice_by_jsonp(kit: EngineKit) -> None:
    came = echoing(kit)
    client = JsonpClient(kit)
    packet = '42["e","é€😀"]'.encode().decode("latin-1")
    kit.http("POST", client.query, b"d=" + quote(f"{len(packet)}:{packet}").encode())
    assert came == [["é€😀"]]


@pytest.mark.parametrize("transport", ["websocket", "flashsocket"])
@pytest.mark.parametrize("b64", [{}, {"b64": "1"}], ids=["bytes", "b64"])
def test_upgrade(transport: str, b64: dict[str, str]) -> None:
    kit = open_kit(transports=["polling", "websocket", "flashsocket"])
    came = echoing(kit)
    client = kit.polling(**b64)
    assert json.loads(client.hello[1:])["upgrades"] == ["websocket", "flashsocket"]
    assert client.heard() == ["40"]
    poll = client.poll()
    link = RecordingDuplex()
    request = kit.request("GET", client.query.replace("polling", transport))
    kit.engine.admit(request)
    kit.engine.link(request, link)
    link.say("2probe")
    assert link.take() == ["3probe"]
    assert eio3.WIRE.split(poll.payload, kit.io.config) == ["6"]
    client.say("2")  # the pings of these clients come by the old way until they have moved
    assert client.heard() == ["3"]
    link.say("5")
    kit.io.emit("x", b"\1")
    textual = transport == "flashsocket" or bool(b64)
    assert link.take() == ['451-["x",{"_placeholder":true,"num":0}]', "b4AQ==" if textual else b"\x04\1"]
    link.say('451-["e",{"_placeholder":true,"num":0}]', "b4AQ==" if textual else b"\x04\1")
    assert came == [[b"\1"]]
    assert client.session.transport.name == transport


def test_who_is_told_of_flash() -> None:
    kit = open_kit(transports=["polling", "websocket", "flashsocket"])
    told = {}
    for version in ("3", "4"):
        body = kit.http("GET", f"EIO={version}&transport=polling&b64=1").text
        told[version] = json.loads(body[body.index("{") :])["upgrades"]
    assert told == {"3": ["websocket", "flashsocket"], "4": ["websocket"]}


# ------------------------------------------------------------------------------------------------ who may come


@pytest.mark.parametrize("query", ["EIO=3&transport=polling", "EIO=2&transport=polling", "transport=polling&b64=1"])
def test_a_generation_that_is_not_let_in(query: str) -> None:
    kit = EngineKit(generations=["eio4"])
    for exchange in (kit.http("GET", query), kit.http("POST", f"{query}&sid=x", b"1:2")):
        assert (exchange.status, exchange.json) == (400, {"code": 5, "message": "Unsupported protocol version"})
    with pytest.raises(RequestRefused) as caught:
        kit.engine.admit(kit.request("GET", query.replace("polling", "websocket")))
    assert caught.value.code == 5
    assert "`generations`" in str(caught.value.detail)
    assert all("`generations`" in str(one.detail) for one in kit.refusals)


def test_a_newer_generation_that_is_not_let_in() -> None:
    exchange = EngineKit(generations=["eio3"]).http("GET", "EIO=4&transport=polling")
    assert (exchange.status, exchange.json["code"]) == (400, 5)


@pytest.mark.parametrize("generations", [("eio4", "eio3"), ("eio3", "eio4"), "all"])
def test_each_client_finds_its_own(generations: Any) -> None:
    kit = EngineKit(generations=generations)
    for version, name in (("3", "eio3"), ("4", "eio4"), ("2", "eio3")):
        exchange = kit.http("GET", f"EIO={version}&transport=polling&b64=1")
        assert exchange.status == 200
        assert list(kit.engine.sessions.values())[-1].wire.name == name


@pytest.mark.parametrize(("first", "then"), [("3", "4"), ("4", "3")])
def test_a_session_keeps_its_generation(first: str, then: str) -> None:
    kit = EngineKit(query=f"EIO={first}", generations=GENERATIONS)
    client = kit.polling(b64="1")
    query = client.query.replace(f"EIO={first}", f"EIO={then}")
    for exchange in (kit.http("GET", query), kit.http("POST", query, b"1:2")):
        assert (exchange.status, exchange.json) == (400, {"code": 3, "message": "Bad request"})
    with pytest.raises(RequestRefused) as caught:
        kit.engine.admit(kit.request("GET", query.replace("polling", "websocket")))
    assert caught.value.code == 3
    assert client.session.state == OPEN_STATE
    assert kit.refusals[0].context == {"name": "GENERATION_MISMATCH"}


# ------------------------------------------------------------------------------------------------ other origins


CREDENTIALED = {
    "access-control-allow-origin": PAGE,
    "access-control-allow-credentials": "true",
    "vary": "Origin",
}


def cors_of(exchange: RecordingExchange) -> dict[str, str]:
    return {
        name: value
        for name, value in exchange.headers.items()
        if name == "vary" or (name.startswith("access-control-allow") and not name.endswith(("methods", "headers")))
    }


@pytest.mark.parametrize(
    ("origins", "old", "new"),
    [
        ("*", CREDENTIALED, {"access-control-allow-origin": "*"}),
        ([PAGE], CREDENTIALED, {"access-control-allow-origin": PAGE, "vary": "Origin"}),
    ],
    ids=["everyone", "a list"],
)
def test_browsers_of_old_clients_send_cookies(origins: Any, old: dict[str, str], new: dict[str, str]) -> None:
    kit = open_kit(origins=origins)
    headers = {"Origin": PAGE, "Host": "chat.example"}
    client = kit.polling(headers=headers)
    assert cors_of(client.handshake) == old
    assert cors_of(client.poll()) == old
    posted = kit.http("POST", client.query, b"\0\1\xff2", {**headers, "Content-Type": "application/octet-stream"})
    assert (posted.status, cors_of(posted)) == (200, old)
    refused = kit.http("GET", client.query + "x", headers=headers)
    assert (refused.status, cors_of(refused)) == (400, old)
    asked = {**headers, "Access-Control-Request-Headers": "content-type", "Access-Control-Request-Method": "POST"}
    preflight = kit.http("OPTIONS", client.query, headers=asked)
    assert (preflight.status, cors_of(preflight)) == (204, old)
    assert preflight.headers["access-control-allow-headers"] == "content-type"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert cors_of(kit.http("GET", "EIO=4&transport=polling", headers=headers)) == new


def test_pages_of_the_same_host_alone(kit: EngineKit) -> None:
    own = {"Origin": "https://chat.example", "Host": "chat.example"}
    assert cors_of(kit.polling(headers=own).handshake) == {}
    for method in ("GET", "OPTIONS"):
        refused = kit.http(method, "EIO=3&transport=polling", headers={"Origin": PAGE, "Host": "chat.example"})
        assert (refused.status, cors_of(refused)) == (403, {})
    script = kit.http("GET", "EIO=3&transport=polling&j=0", headers={"Referer": f"{PAGE}/", "Host": "chat.example"})
    assert script.status == 403


# ------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize("carrier", ["polling", "polling b64", "jsonp"])
@pytest.mark.parametrize("data", ["x", "é😀", b"\xff" * 7, "x" * 1500], ids=["short", "unicode", "bytes", "large"])
def test_payloads_are_no_larger_than_announced(carrier: str, data: object) -> None:
    kit = open_kit(max_payload_bytes=2000)
    client = arrive(kit, carrier)
    for number in range(400):
        kit.io.emit("e", number, data)
    numbers: list[int] = []
    while len(numbers) < 400:
        poll = kit.http("GET", client.query)  # type: ignore[attr-defined]
        if carrier == "jsonp":
            assert isinstance(client, JsonpClient)
            frames = client.unpacked(poll)
            size = len(json.loads(poll.text[len("___eio[5](") : -2]))
        else:
            frames, size = eio3.WIRE.split(poll.payload, kit.io.config), len(poll.body)
        assert size <= 2000
        numbers += [json.loads(one[one.index("[") :])[1] for one in frames if isinstance(one, str)]
    assert numbers == list(range(400))


@pytest.mark.parametrize("kind", ["text/plain;charset=UTF-8", "application/octet-stream"])
def test_a_post_that_is_too_large(kind: str) -> None:
    kit = open_kit(max_payload_bytes=100)
    client = kit.polling()
    came = echoing(kit)
    for length in ({"Content-Length": "101"}, {}):
        body = b"\0\1\0\0\xff" + b'42["e"]'.ljust(100) if kind.endswith("stream") else b"100:" + b'42["e"]'.ljust(100)
        exchange = kit.http("POST", client.query, body, {"Content-Type": kind, **length})
        assert exchange.status == 413
    assert came == []


@pytest.mark.parametrize("b64", [{}, {"b64": "1"}], ids=["bytes", "text"])
def test_gzip(b64: dict[str, str]) -> None:
    kit = open_kit()
    client = kit.polling(headers={"Accept-Encoding": "gzip"}, **b64)
    client.heard()
    kit.io.emit("e", "한글 " * 1000, b"\0" * 100)
    poll = client.poll()
    assert poll.headers["content-encoding"] == "gzip"
    assert poll.response is not None
    assert len(poll.response.body) < 500
    event, attachment = eio3.WIRE.split(poll.payload, kit.io.config)
    assert json.loads(str(event)[4:])[1] == "한글 " * 1000
    assert attachment == b"\x04" + b"\0" * 100


# ------------------------------------------------------------------------------------------------ heartbeat


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_client_pings(kit: EngineKit, carrier: str) -> None:
    client = arrive(kit, carrier)
    for _ in range(6):
        assert client.heard() == []
        kit.advance(25)
        client.say("2")
        assert "3" in client.heard()
    assert client.session.state == OPEN_STATE


def test_pongs_that_nobody_fetches_count_as_what_they_take() -> None:
    kit = open_kit(max_buffered_bytes=100_000, recovery=False)
    client = kit.polling(b64="1")
    client.post(*["2"] * 2000)  # as they take a hundred times of the one byte that each of them is
    kit.turn()
    assert client.session.ended == Reason.SLOW_CONSUMER
    assert [violation.rule for violation in kit.violations] == ["max_buffered_bytes"]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_silence_is_the_end(kit: EngineKit, carrier: str) -> None:
    reasons: list[str] = []
    kit.io.on("disconnect", lambda socket, reason: reasons.append(reason))
    client = arrive(kit, carrier)
    kit.advance(44)
    assert reasons == []
    kit.advance(47)
    assert reasons == [Reason.PING_TIMEOUT]
    assert client.session.state == CLOSED


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_pong_is_the_servers_to_send(kit: EngineKit, carrier: str) -> None:
    client = arrive(kit, carrier)
    if isinstance(client, LinkClient):
        client.say("3")
    else:
        assert client.post("3").status == 400  # type: ignore[attr-defined]
    assert client.session.state == CLOSED
    assert [error.rule for error in kit.violations] == ["heartbeat"]


@pytest.mark.parametrize("carrier", [*CARRIERS, "sse"])
async def test_who_is_held_back_hears_of_us_in_time(carrier: str) -> None:
    """Its pings are not read then. It gives up 20 s after a ping, unless something comes: anything."""
    kit = open_kit(max_handlers_per_client=2, transports="all")
    waiting: list[asyncio.Future[None]] = []

    @kit.io.on("slow")
    async def slow(socket: Socket) -> None:
        waiting.append(asyncio.get_running_loop().create_future())
        await waiting[-1]

    client = arrive(kit, carrier)
    if isinstance(client, LinkClient):
        client.say(*['42["slow"]'] * 4, "2")
    else:
        assert client.post(*['42["slow"]'] * 4, "2").waits  # type: ignore[attr-defined]
    assert len(waiting) == 2
    times = []
    for second in range(200):
        kit.advance(1)
        frames = client.heard()
        assert set(frames) <= {"6"}
        if frames:
            times.append(second)
    assert client.session.state == OPEN_STATE
    assert times[0] <= 1
    assert max(b - a for a, b in pairwise(times)) <= 20
    while client.session._hold is not None or len(waiting) < 4:
        for one in waiting:
            if not one.done():
                one.set_result(None)
        await asyncio.sleep(0)
        kit.turn()
    assert "3" in client.heard()
    kit.advance(44)
    assert client.session.state == OPEN_STATE
    for one in waiting:
        if not one.done():
            one.set_result(None)
    await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------ namespaces


def test_the_query_is_the_auth(kit: EngineKit) -> None:
    kit.polling(b64="1", token="한글", t="abc")
    [socket] = kit.io.sockets.values()
    assert socket.handshake.auth == {"token": "한글"}
    assert socket.handshake.query["EIO"] == "3"
    assert (socket.handshake.generation, socket.handshake.transport) == ("eio3", "polling")
    new = EngineKit(generations=GENERATIONS)
    new.websocket(token="no").join()
    [socket] = new.io.sockets.values()
    assert socket.handshake.auth == {}


def refuse(socket: Socket) -> None:
    raise ConnectionRefused("not today", {"why": "rain"} if "data" in socket.handshake.auth else None)


@pytest.mark.parametrize(
    ("query", "said"), [({}, '44"not today"'), ({"data": "1"}, '44{"why":"rain"}')], ids=["text", "data"]
)
async def test_who_is_refused_in_the_main_namespace(query: dict[str, str], said: str) -> None:
    kit = open_kit()
    kit.io.use(refuse)
    kit.io.of("/other")
    client = kit.websocket(**query)
    assert client.heard() == [said]
    assert kit.io.sockets == {}
    client.say('42["e"]')  # the client may not have heard it yet
    client.say("40/other")  # namespaces don't depend on each other
    assert client.heard() == ["40/other,"]
    kit.advance(44)
    client.say("2")
    assert client.heard() == ["3"]
    kit.advance(40)
    assert client.session.state == OPEN_STATE


async def test_who_is_refused_and_joins_nothing_goes() -> None:
    kit = open_kit()
    kit.io.use(refuse)
    client = kit.websocket()
    for _ in range(2):
        kit.advance(24)
        client.say("2")
    assert client.session.state == CLOSED


@pytest.mark.parametrize("refused", [False, True])
async def test_who_leaves_before_it_is_let_in_and_comes_again(refused: bool) -> None:
    kit = open_kit()
    chat = kit.io.of("/chat")
    told: list[Any] = []
    opened = asyncio.Event()

    @chat.use
    async def wait(socket: Socket) -> None:
        first = not opened.is_set()
        await opened.wait()
        if first and refused:
            raise ConnectionRefused("not now")

    chat.on("connection", lambda socket: told.append("connection"))
    chat.on("disconnect", lambda socket, reason: told.append(reason))
    chat.on("e", lambda socket: told.append("e"))
    client = kit.websocket()
    client.heard()
    client.say("40/chat,", "40/chat,", "41/chat,", "40/chat,", "40/chat,", '42/chat,["e"]')
    opened.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert client.heard() == ['44/chat,"not now"' if refused else "40/chat,", "40/chat,"]
    assert told == [*([] if refused else ["connection", Reason.CLIENT_DISCONNECT]), "connection", "e"]
    assert client.session.load == 0


def test_what_can_be_made_again_of_a_request_is_not_kept() -> None:
    client = open_kit().websocket(token="x")
    socket = client.session.sockets["/"]
    assert client.session.request._query is None
    assert socket.handshake.query["token"] == "x"


@pytest.mark.parametrize("carrier", ["websocket", "polling"])
async def test_who_speaks_before_it_is_let_in_is_heard_then(carrier: str) -> None:
    """Some clients of other languages don't wait for the CONNECT of the main namespace."""
    kit = open_kit()
    came = echoing(kit)
    opened = asyncio.Event()

    @kit.io.use
    async def wait(socket: Socket) -> None:
        await opened.wait()

    @kit.io.on("connection")
    def connection(socket: Socket) -> None:
        came.append("connection")

    client = kit.websocket() if carrier == "websocket" else BytesClient(kit)
    client.say('420["e",1]', '42["e",2]', "40", "430[]")
    assert client.heard() == []
    assert came == []
    opened.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert came == ["connection", [1], [2]]
    assert client.heard() == ["40", "430[1]"]
    client.say('42["e",3]')
    assert came[3:] == [[3]]
    assert client.session.load == 0


@pytest.mark.parametrize("end", ["refused", "left", "gone"])
async def test_who_speaks_and_goes(end: str) -> None:
    kit = open_kit()
    came = echoing(kit)
    decided = asyncio.Event()

    @kit.io.use
    async def decide(socket: Socket) -> None:
        await decided.wait()
        if end == "refused":
            raise ConnectionRefused("no")

    client = kit.websocket()
    client.say('42["e",1]')
    if end == "left":
        client.say("41")
    elif end == "gone":
        client.duplex.lose()
    decided.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert came == ([[1]] if end == "left" else [])  # it had said it before it left
    assert client.heard() == {"refused": ['44"no"'], "left": ["40"], "gone": []}[end]
    assert client.session.load == 0
    assert kit.io.sockets == {}


async def test_who_speaks_too_much_before_it_is_let_in_is_not_read() -> None:
    kit = open_kit(max_handlers_per_client=3)
    came = echoing(kit)
    opened = asyncio.Event()

    @kit.io.use
    async def wait(socket: Socket) -> None:
        await opened.wait()

    client = kit.websocket()
    client.say(*(f'42["e",{number}]' for number in range(10)))
    assert client.session.load == 3
    assert client.duplex.unread is not None
    assert len(client.duplex.unread) == 8
    opened.set()
    while len(came) < 10:
        await asyncio.sleep(0)
        kit.turn()
    assert came == [[number] for number in range(10)]
    await asyncio.sleep(0)
    assert client.session.load == 0
    assert client.duplex.unread is None


def test_a_handler_of_rooms_that_sends_away_who_speaks_early(kit: EngineKit) -> None:
    came = echoing(kit)
    held: list[Socket] = []
    kit.hub.admit = held.append
    client = kit.websocket()
    client.say('42["e",1]')
    kit.io.room_event("join", lambda socket, room: socket.disconnect())
    [socket] = held
    socket.join("room")
    socket.accept()
    assert client.heard() == ["40", "41"]
    assert came == []
    assert client.session.load == 0


def test_ids(kit: EngineKit) -> None:
    kit.io.of("/a")
    client = kit.websocket()
    other = kit.websocket()
    socket = client.join("/a")
    assert socket.id == f"/a#{client.session.id}"
    assert set(kit.io.sockets) == {client.session.id, other.session.id}
    kit.io.of("/a").to(socket.id).emit("e")
    assert client.heard() == ['42/a,["e"]']
    kit.io.to(client.session.id).emit("e")
    assert client.heard() == ['42["e"]']
    assert other.heard() == ["40"]


@pytest.mark.parametrize("name", ["/", "/a"])
@pytest.mark.parametrize("by", ["client", "server"])
def test_left_and_joined_again(kit: EngineKit, name: str, by: str) -> None:
    kit.io.of("/a")
    prefix = "" if name == "/" else f"{name},"
    client = kit.websocket(token="1")
    socket = client.join(name)
    if by == "client":
        client.say(f"41{prefix}")
    else:
        socket.disconnect()
        assert client.heard() == [f"41{prefix}"]
    assert name not in [one.namespace.name for one in kit.io.of(name).sockets.values()]
    client.say(f'42{prefix}["e"]', f"41{prefix}", f'43{prefix}0["late"]')  # were on their way
    client.say(f"40{name}")  # as clients of Swift write it
    assert client.heard() == [f"40{prefix}"]
    [again] = kit.io.of(name).sockets.values()
    assert again is not socket
    assert again.id == socket.id
    assert again.handshake.auth == socket.handshake.auth == ({"token": "1"} if name == "/" else {})
    assert client.session.state == OPEN_STATE


def test_asked_twice(kit: EngineKit) -> None:
    """As `io("/a")` and `.connect()` on it do, where the connection is there already."""
    kit.io.of("/a")
    connections: list[Socket] = []
    kit.io.of("/a").on("connection", connections.append)
    client = kit.websocket()
    client.say("40/a,", "40/a,", "40/a")
    assert client.heard() == ["40", "40/a,"]
    assert len(connections) == 1
    client.say("44/a,{}")  # this is no client's to send
    assert client.session.state == CLOSED


def test_a_namespace_that_nobody_has_joined(kit: EngineKit) -> None:
    client = kit.websocket()
    client.say('42/b,["e"]', "41/b,", "40/b,")
    assert client.heard() == ["40", '44/b,"Invalid namespace"']
    assert client.session.state == OPEN_STATE


@pytest.mark.parametrize("close", [False, True])
def test_sent_away(kit: EngineKit, close: bool) -> None:
    kit.io.of("/a")
    client = kit.websocket()
    client.join("/a")
    client.heard()
    [socket] = kit.io.sockets.values()
    socket.disconnect(close)
    assert client.heard() == (["41", "41/a,"] if close else ["41"])
    assert client.duplex.closed == ((1000, Reason.SERVER_DISCONNECT) if close else None)


# ------------------------------------------------------------------------------------------------ recovery


def test_recovery_is_for_those_who_know_it() -> None:
    kit = open_kit(recovery=Recovery())
    new = EngineKit(kit.io)
    old, other = kit.websocket(), new.websocket()
    [socket] = kit.io.sockets.values()
    other.join()
    memory = kit.hub.memory
    assert memory is not None
    assert len(memory.stays) == 1
    old.heard()
    kit.io.emit("e", 1)
    assert old.heard() == ['42["e",1]']
    [event] = other.heard()
    assert event.startswith(f'42["e",1,"{memory.epoch}.')
    kept = (len(memory), memory.bytes)
    socket.emit("e", 2)
    socket.to("nobody")
    assert old.heard() == ['42["e",2]']
    assert (len(memory), memory.bytes) == kept  # what goes to it alone is not kept
    old.duplex.lose()
    assert memory.absent == {}
    assert kit.io.sockets.keys().isdisjoint({socket.id})


def test_with_old_clients_alone_nothing_is_kept() -> None:
    kit = open_kit(recovery=Recovery())
    client = kit.websocket()
    for number in range(10):
        kit.io.emit("e", number)
    memory = kit.hub.memory
    assert memory is not None
    assert (len(memory), memory.bytes, memory.stays) == (0, 0, {})
    assert client.heard() == ["40", *(f'42["e",{number}]' for number in range(10))]


def test_a_query_of_the_programs_own_that_looks_like_recovery() -> None:
    kit = open_kit(recovery=Recovery())
    failed: list[str] = []
    memory = kit.hub.memory
    assert memory is not None
    memory.on_failed = lambda session, why: failed.append(why)
    kit.io.of("/a")
    client = kit.websocket(pid="77", offset="1")
    client.say("40/a?pid=78&offset=2")
    assert client.heard() == ["40", "40/a,"]
    assert [one.handshake.auth for name in ("/", "/a") for one in kit.io.of(name).sockets.values()] == [
        {"pid": "77", "offset": "1"}, {"pid": "78", "offset": "2"},
    ]  # fmt: skip
    assert (failed, memory.failed) == ([], 0)


# ------------------------------------------------------------------------------------------------ what is beside


async def test_typed_handlers() -> None:
    kit = open_kit()
    came: list[int] = []

    @kit.io.on("add")
    def add(socket: Socket, number: int, *, auth: dict[str, str]) -> int:
        came.append(number)
        return number + int(auth["more"])

    client = kit.websocket(more="5")
    client.say('420["add",1]', '421["add","é"]')
    told, answer, refused = client.heard()
    assert (told, answer) == ("40", "430[6]")
    assert json.loads(refused[3:])[0]["error"]
    assert refused.isascii()
    assert came == [1]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_msgpack(carrier: str) -> None:
    kit = open_kit(parser="msgpack")
    came = echoing(kit)
    kit.io.of("/a")
    client: RawClient = {
        "websocket": lambda: kit.websocket(),
        "websocket b64": lambda: kit.websocket(b64="1"),
        "polling": lambda: BytesClient(kit),
        "polling b64": lambda: kit.polling(b64="1"),
        "jsonp": lambda: JsonpClient(kit),
    }[carrier]()
    [hello] = client.heard()
    decoder = eio3.WIRE.decoder(msgpack.PARSER, kit.io.config)

    def read(frame: Any) -> Packet | None:
        return decoder.feed(eio3.WIRE.from_text(frame) if isinstance(frame, str) else frame)

    packet = read(hello)
    assert packet is not None
    assert (packet.kind, packet.namespace) == (0, "/")
    client.say(*eio3.WIRE.encode(Packet(2, ["e", "é😀", b"\xff"], "/", 3), msgpack.PARSER))
    assert came == [["é😀", b"\xff"]]
    [answer] = client.heard()
    assert read(answer) == Packet(3, ["é😀", b"\xff"], "/", 3)


class Echo:
    """A sink of messages, to use the engine without Socket.IO."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def opened(self, session: Session) -> None:
        session.joined()

    def received(self, session: Session, packet: Packet) -> None:
        assert packet.kind == MESSAGE
        session.send(packet)

    def closed(self, session: Session, reason: str) -> None:
        self.ends.append(reason)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_engineio_alone(carrier: str) -> None:
    kit = open_kit(parser="raw")
    sink = Echo()
    kit.engine.sink = sink
    client: RawClient = {
        "websocket": lambda: kit.websocket(),
        "websocket b64": lambda: kit.websocket(b64="1"),
        "polling": lambda: BytesClient(kit),
        "polling b64": lambda: kit.polling(b64="1"),
        "jsonp": lambda: JsonpClient(kit),
    }[carrier]()
    client.say("4hello é😀", b"\x04\x01\xff", "40", "4", "2")
    bytes_ = "b4Af8=" if carrier == "websocket b64" else b"\x04\x01\xff"
    assert client.heard() == ["4hello é😀", bytes_, "40", "4", "3"]
    client.say("1")
    assert sink.ends == [Reason.TRANSPORT_CLOSE]


def test_one_encoding_for_each_generation(kit: EngineKit) -> None:
    newer = EngineKit(kit.io)
    old = [kit.websocket(), kit.websocket(b64="1"), BytesClient(kit), kit.polling(b64="1")]
    new = [newer.websocket() for _ in range(3)]
    for client in new:
        client.join()
    for one in old:
        one.heard()
    kit.io.emit("e", "é")
    assert [one.heard() for one in old] == [[r'42["e","\u00e9"]']] * 4
    assert [one.heard() for one in new] == [['42["e","é"]']] * 3
    kit.io.emit("bye")
    links = [one.duplex for one in (*old, *new) if isinstance(one, LinkClient)]
    assert len({id(link.encoded[0]) for link in links}) == 2
