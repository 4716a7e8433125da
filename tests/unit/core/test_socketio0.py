"""Clients of Socket.IO 0.6 against the whole core: no sockets, and time that is moved by hand."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from madang import Server, Socket
from madang.core.session import Session
from madang.errors import ConfigError, ConnectionRefused, Reason
from madang.testing import EngineKit, RecordingDuplex, RecordingExchange

ALL = ["polling", "websocket", "flashsocket", "jsonp", "iframe", "multipart"]


def kit_of(**settings: Any) -> EngineKit:
    kit = EngineKit(query="", **{"generations": ["sio0"], "transports": ALL, **settings})
    kit.io.on("message", lambda socket, *args: socket.emit("message", *args))
    return kit


@pytest.fixture
def kit() -> EngineKit:
    return kit_of()


def framed(*texts: str) -> str:
    return "".join(f"~m~{len(text.encode('utf-16-le')) // 2}~m~{text}" for text in texts)


def form(*texts: str) -> bytes:
    return f"data={quote(framed(*texts), safe='')}".encode()


def newest(kit: EngineKit) -> Session:
    return list(kit.engine.sessions.values())[-1]


def link(kit: EngineKit, name: str = "websocket") -> RecordingDuplex:
    duplex = RecordingDuplex()
    request = kit.request("GET", "", below=name)
    kit.engine.admit(request)
    kit.engine.link(request, duplex)
    assert duplex.take() == [framed(newest(kit).id)]
    return duplex


def written(exchange: RecordingExchange, name: str) -> str:
    """The payloads that a stream has brought since the last time."""
    payloads = []
    for part in exchange.parts:
        if name == "htmlfile":
            text = part.decode().removeprefix("<script>parent.s._(").removesuffix(", document);</script>")
            payloads.append(json.loads(text))
        else:
            head, _, rest = part.decode().partition("\n\n")
            assert head == "Content-Type: text/plain; charset=UTF-8"
            payloads.append(rest.removesuffix("\n--socketio\n"))
    exchange.take()
    return "".join(payloads)


@pytest.mark.parametrize(("name", "below"), [("htmlfile", "htmlfile//1"), ("xhr-multipart", "xhr-multipart")])
def test_streams(kit: EngineKit, name: str, below: str) -> None:
    ended: list[str] = []
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    stream = kit.http("GET", "", below=below)
    assert stream.status == 200
    session = newest(kit)
    assert session.transport.name == {"htmlfile": "iframe", "xhr-multipart": "multipart"}[name]
    assert written(stream, name) == framed(session.id)
    where = f"{name}/{session.id}/send"
    answer = kit.http("POST", "", form("마당 🎈", "two"), below=where)
    assert (answer.status, answer.text) == (200, "ok")
    assert written(stream, name) == framed('~j~"\\ub9c8\\ub2f9 \\ud83c\\udf88"', "two")

    # heartbeats, which are sent back by POST
    for _ in range(3):
        kit.advance(10)
        assert written(stream, name) == framed("~h~1")
        assert kit.http("POST", "", form("~h~1"), below=where).status == 200
    assert stream.ended is False

    # a stream is never ended to go on in another one
    kit.io.emit("message", "x" * (kit.io.config.max_stream_bytes + 1))
    assert len(written(stream, name)) > kit.io.config.max_stream_bytes
    kit.advance(1)
    assert stream.ended is False
    kit.io.disconnect_sockets()
    assert written(stream, name) == ""
    assert stream.ended is True
    assert ended == [Reason.SERVER_DISCONNECT]
    assert kit.engine.sessions == {}


def test_no_heartbeat_comes_back(kit: EngineKit) -> None:
    ended: list[str] = []
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    duplex = link(kit)
    kit.advance(10)
    assert duplex.take() == [framed("~h~1")]
    kit.advance(kit.io.config.ping_timeout_seconds)
    assert ended == [Reason.PING_TIMEOUT]


@pytest.mark.parametrize(("setting", "seconds"), [(25.0, 10.0), (4.0, 4.0)])
def test_heartbeats_come_before_the_timeout_of_clients(setting: float, seconds: float) -> None:
    kit = kit_of(ping_interval_seconds=setting)
    duplex = link(kit)
    for _ in range(2):
        kit.advance(seconds - 0.5)
        assert duplex.take() == []
        kit.advance(0.6)
        assert duplex.take() == [framed("~h~1")]
        duplex.say(framed("~h~1"))


@pytest.mark.parametrize(("setting", "seconds"), [(60.0, 20.0), (5.0, 5.0)])
def test_polls_end_before_the_timeout_of_clients(setting: float, seconds: float) -> None:
    kit = kit_of(poll_timeout_seconds=setting)
    kit.http("GET", "", below="xhr-polling//1")
    for _ in range(4):
        poll = kit.http("GET", "", below=f"xhr-polling/{newest(kit).id}/1")
        kit.advance(seconds - 0.5)
        assert poll.waits
        kit.advance(0.6)
        assert (poll.status, poll.body) == (200, b"")


def test_a_poll_that_breaks_is_the_end(kit: EngineKit) -> None:
    """Clients break it to leave, and begin anew where the network does."""
    ended: list[str] = []
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    kit.http("GET", "", below="xhr-polling//1")
    exchange = RecordingExchange()
    request = kit.request("GET", "", below=f"xhr-polling/{newest(kit).id}/2")
    kit.engine.begin(request, exchange)
    kit.engine.abandon(request, exchange)
    assert ended == [Reason.TRANSPORT_ERROR]
    assert kit.engine.sessions == {}


def test_other_generations_keep_the_times_of_the_settings() -> None:
    kit = EngineKit(generations=["sio0", "eio4"], ping_interval_seconds=25)
    client = kit.websocket()
    kit.advance(24)
    assert client.heard() == []
    kit.advance(1.1)
    assert client.heard() == ["2"]


def test_one_payload_for_all(kit: EngineKit) -> None:
    duplexes = [link(kit), link(kit), link(kit, "flashsocket")]
    kit.io.emit("message", "🎈")
    kit.turn()
    assert len({id(duplex.encoded[-1]) for duplex in duplexes}) == 1
    assert [duplex.take() for duplex in duplexes] == [[framed('~j~"\\ud83c\\udf88"')]] * 3


def test_all_generations_in_one_room() -> None:
    kit = EngineKit(generations="all", transports=ALL)
    old, new = link(kit), kit.websocket()
    new.join()
    kit.io.emit("said", "차", 1)
    assert old.take() == [framed('~j~{"event":"said","args":["\\ucc28",1]}')]
    assert new.heard()[-1] == '42["said","차",1]'


def test_many_messages_in_one(kit: EngineKit) -> None:
    duplex = link(kit)
    duplex.say(framed(*map(str, range(1000))))
    assert duplex.take() == [framed(str(number)) for number in range(1000)]


def test_what_stands_behind_the_end_is_not_taken(kit: EngineKit) -> None:
    got: list[str] = []

    @kit.io.on("last")
    def last(socket: Socket) -> None:
        socket.disconnect()

    kit.io.on("late", lambda socket: got.append("late"))
    duplex = link(kit)
    duplex.say(framed('~j~{"event":"last","args":[]}', '~j~{"event":"late","args":[]}'))
    kit.turn()
    assert got == []
    assert duplex.closed is not None


@pytest.mark.parametrize("said", ["~m~2~m~x", "hello", b"~m~1~m~x", framed("~j~{"), framed(*["x"] * 9)])
def test_broken_rules_over_a_link(said: str | bytes) -> None:
    kit = kit_of(max_packets_per_payload=8)
    duplex = link(kit)
    duplex.say(said)
    assert duplex.closed is not None
    assert len(kit.violations) == 1
    assert kit.violations[0].rule
    assert kit.engine.sessions == {}


def test_too_much() -> None:
    kit = kit_of(max_payload_bytes=1000, max_packet_bytes=1000)
    kit.http("GET", "", below="xhr-polling//1")
    where = f"xhr-polling/{newest(kit).id}/send"
    fits = framed("é" * 490)
    assert kit.http("POST", "", f"data={quote(fits, safe='')}".encode(), below=where).status == 200
    large = framed("é" * 500)
    assert kit.http("POST", "", f"data={quote(large, safe='')}".encode(), below=where).status == 413


class TestWithoutAWord:
    async def test_refused(self) -> None:
        kit = kit_of()

        @kit.io.use
        def nobody(socket: Socket) -> None:
            raise ConnectionRefused("nobody", {"code": 1})

        duplex = RecordingDuplex()
        kit.engine.link(kit.request("GET", "", below="websocket"), duplex)
        kit.turn()
        assert len(duplex.take()) == 1  # the id
        assert duplex.closed is not None
        assert kit.engine.sessions == {}

        first = kit.http("GET", "", below="xhr-polling//1")
        sid = first.text.removeprefix("~m~20~m~")
        kit.turn()
        last = kit.http("GET", "", below=f"xhr-polling/{sid}/2")
        assert (last.status, last.body) == (200, b"")
        assert kit.http("GET", "", below=f"xhr-polling/{sid}/3").status == 400

    async def test_messages_that_come_before_the_middleware_is_done(self) -> None:
        kit = kit_of()
        gate = asyncio.Event()

        @kit.io.use
        async def slow(socket: Socket) -> None:
            await gate.wait()

        duplex = link(kit)
        duplex.say(framed("early"))
        kit.turn()
        assert duplex.take() == []
        gate.set()
        async with asyncio.timeout(10):
            while not (heard := duplex.take()):
                await asyncio.sleep(0)
                kit.turn()
        assert heard == [framed("early")]

    async def test_questions_have_no_answer(self) -> None:
        kit = kit_of()
        sockets: list[Socket] = []
        kit.io.on("connection", sockets.append)
        duplex = link(kit)
        answer = sockets[0].call("question", 1, timeout=5)
        assert duplex.take() == [framed('~j~{"event":"question","args":[1]}')]
        kit.advance(5)
        with pytest.raises(TimeoutError):
            await answer

    def test_not_without_socketio(self) -> None:
        with pytest.raises(ConfigError, match="sio0"):
            Server(generations=["sio0"], parser="raw")


class TestWhoMayCome:
    @pytest.mark.parametrize("below", ["xhr-polling//1", "htmlfile//1", "xhr-multipart", "jsonp-polling//1/0"])
    def test_pages_of_others(self, kit: EngineKit, below: str) -> None:
        headers = {"Host": "example.org", "Origin": "https://evil.example"}
        assert kit.http("GET", "", headers=headers, below=below).status == 403
        assert kit.engine.sessions == {}

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Referer": "https://evil.example/"}, 403),
            ({"User-Agent": "Mozilla/5.0"}, 403),
            ({"Cookie": "a=b"}, 403),
            ({"Referer": "https://example.org/page"}, 200),
            ({"User-Agent": "curl"}, 200),
        ],
    )
    def test_scripts(self, kit: EngineKit, headers: dict[str, str], status: int) -> None:
        headers = {"Host": "example.org", **headers}
        assert kit.http("GET", "", headers=headers, below="jsonp-polling//1/0").status == status
        if status == 200:
            sid = newest(kit).id
            headers["Referer"] = "https://evil.example/"
            assert kit.http("GET", "", headers=headers, below=f"jsonp-polling/{sid}/1/0").status == 403

    def test_pages_of_those_who_are_allowed(self) -> None:
        kit = kit_of(origins=["https://shop.example"])
        headers = {"Host": "example.org", "Origin": "https://shop.example"}
        first = kit.http("GET", "", headers=headers, below="xhr-polling//1")
        assert first.headers["access-control-allow-origin"] == "https://shop.example"
        answer = kit.http("POST", "", form("x"), headers, below=f"xhr-polling/{newest(kit).id}/send")
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.text == "ok"

    def test_nobody_without_the_setting(self) -> None:
        kit = EngineKit(query="", transports=ALL)
        for below in ("xhr-polling//1", "xhr-multipart", "jsonp-polling//1/0", "websocket"):
            assert not kit.engine.routes.owns(below.strip("/"))
            assert kit.http("GET", "", below=below).status == 400

    def test_a_session_stays_with_its_transport(self, kit: EngineKit) -> None:
        kit.http("GET", "", below="xhr-polling//1")
        sid = newest(kit).id
        assert kit.http("GET", "", below=f"htmlfile/{sid}/1").status == 400
        assert kit.http("GET", "", below=f"jsonp-polling/{sid}/1/0").status == 400
        duplex = RecordingDuplex()
        kit.engine.link(kit.request("GET", "", below=f"websocket/{sid}"), duplex)
        assert duplex.closed is not None
        assert kit.http("GET", "", below=f"xhr-polling/{sid}/1").waits
