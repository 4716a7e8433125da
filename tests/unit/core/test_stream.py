"""Streams, short polls and polls that wait too long: sessions whose responses begin and end while they live."""

import json

import pytest

from madang import Server
from madang.errors import Reason, RequestRefused
from madang.packet import Frame
from madang.testing import EngineKit, RecordingDuplex, RecordingExchange
from madang.transports import Response
from support.bodies import WAYS, multipart_frames

STREAMS = ["sse", "multipart", "iframe"]


class Streaming:
    """A client whose one response stays open."""

    def __init__(self, kit: EngineKit, name: str = "sse", *, join: bool = True, headers: dict[str, str] | None = None):
        self.kit = kit
        self.name = name
        self.pack, self.unpack = WAYS[name]
        self.query = f"EIO=4&transport={name}&j=7"
        self.headers = headers or {}
        known = set(kit.engine.sessions)
        self.response = kit.http("GET", self.query, headers=self.headers)
        [sid] = set(kit.engine.sessions) - known
        self.session = kit.engine.sessions[sid]
        self.query += f"&sid={sid}"
        self.hello = self.heard()[0]
        if join:
            self.say("40")
            assert self.heard()[0].startswith("40")

    def heard(self) -> list[Frame]:
        self.kit.turn()
        data = self.response.take()
        return self.session.wire.split(self.unpack(data), self.kit.io.config) if data else []

    def again(self) -> list[Frame]:
        self.response = self.kit.http("GET", self.query, headers=self.headers)
        return self.heard()

    def say(self, *frames: Frame) -> RecordingExchange:
        headers, body = self.pack(self.session.wire.join(frames))
        return self.kit.http("POST", self.query, body, {**self.headers, **headers})


@pytest.fixture
def kit() -> EngineKit:
    kit = EngineKit(transports="all")
    kit.io.on("echo", lambda socket, *args: args)
    return kit


def ends_of(io: Server) -> list[str]:
    reasons: list[str] = []
    io.on("disconnect", lambda socket, reason: reasons.append(reason))
    return reasons


@pytest.mark.parametrize("name", STREAMS)
def test_the_life_of_a_stream(kit: EngineKit, name: str) -> None:
    reasons = ends_of(kit.io)
    client = Streaming(kit, name)
    assert json.loads(client.hello[1:])["upgrades"] == ["websocket"]
    client.say('420["echo","\\u2028 </script> 🎈 \\"\\\\n\\n"]')
    assert client.heard() == ['430["\u2028 </script> 🎈 \\"\\\\n\\n"]']
    client.say('451-1["echo",{"_placeholder":true,"num":0}]', b"\0\xff")
    assert client.heard() == ['461-1[{"_placeholder":true,"num":0}]', b"\0\xff"]
    kit.advance(25.1)
    assert client.heard() == ["2"]
    client.say("3")
    client.say("1")
    assert client.heard() == ["6"]
    assert client.response.ended is True
    assert reasons == [Reason.TRANSPORT_CLOSE]
    assert kit.engine._parked == 0


def test_parts_of_multipart_carry_bytes_as_they_are(kit: EngineKit) -> None:
    client = Streaming(kit, "multipart")
    kit.io.emit("bytes", b"\0--madang\r\n\xff")
    assert multipart_frames(client.response.take())[1] == b"\0--madang\r\n\xff"


def test_a_broadcast_is_written_once(kit: EngineKit) -> None:
    clients = [Streaming(kit) for _ in range(3)]
    kit.io.emit("tick", 1)
    [[first], [second], [third]] = [client.response.parts for client in clients]
    assert first is second is third


def test_nobody_answers_the_ping(kit: EngineKit) -> None:
    reasons = ends_of(kit.io)
    client = Streaming(kit)
    kit.advance(46)
    assert client.heard() == ["2", "1"]
    assert client.response.ended == "cut"
    assert reasons == [Reason.PING_TIMEOUT]


def test_the_connection_breaks(kit: EngineKit) -> None:
    reasons = ends_of(kit.io)
    client = Streaming(kit)
    assert client.response.streamer is not None
    client.response.streamer.gone()
    client.response.streamer.gone()
    assert reasons == [Reason.TRANSPORT_CLOSE]
    assert (kit.engine._parked, kit.engine.sessions) == (0, {})


def test_a_second_stream_ends_the_session(kit: EngineKit) -> None:
    reasons = ends_of(kit.io)
    client = Streaming(kit)
    assert kit.http("GET", client.query).status == 400
    assert client.heard() == ["1"]
    assert reasons == [Reason.TRANSPORT_ERROR]
    assert kit.engine._parked == 0


def test_a_stream_ends_after_so_many_bytes_and_goes_on_in_another() -> None:
    kit = EngineKit(transports=["sse"], max_stream_bytes=1000)
    client = Streaming(kit)
    kit.io.emit("big", "x" * 1000)
    kit.io.emit("next", 1)
    assert client.heard() == [f'42["big","{"x" * 1000}"]', "6"]
    assert client.response.ended is True
    kit.io.emit("next", 2)
    assert client.again() == ['42["next",1]', '42["next",2]']
    assert not client.response.ended
    assert kit.engine._parked == 1


def test_each_part_of_a_full_outbox_may_end_the_stream() -> None:
    kit = EngineKit(transports=["sse"], max_stream_bytes=1000)
    client = Streaming(kit)
    for number in range(5):
        kit.io.emit("big", number, "x" * 600)
    heard = client.heard()
    while client.response.ended:
        heard += client.again()
    assert [json.loads(frame[2:])[1] for frame in heard if frame != "6"] == [0, 1, 2, 3, 4]


def test_a_stream_ends_after_its_time(kit: EngineKit) -> None:
    client = Streaming(kit)
    for _ in range(23):
        kit.advance(25.5)
        assert "2" in client.heard()
        client.say("3")
    kit.advance(20)
    assert client.heard() == ["6"]
    kit.io.emit("tick")
    assert client.again() == ['42["tick"]']


def test_volatile_packets_are_dropped_between_streams(kit: EngineKit) -> None:
    client = Streaming(kit)
    client.session._release_poll()
    client.heard()
    kit.io.volatile.emit("tick", 1)
    kit.io.emit("tick", 2)
    assert client.again() == ['42["tick",2]']


def test_who_does_not_read_is_put_aside_and_then_cut(kit: EngineKit) -> None:
    kit = EngineKit(transports=["sse"], max_buffered_bytes=10_000, max_payload_bytes=5000)
    reasons = ends_of(kit.io)
    client = Streaming(kit)
    streamer = client.response.streamer
    assert streamer is not None
    streamer.pause()
    kit.io.emit("waits", 1)
    assert client.heard() == []
    streamer.resume()
    assert client.heard() == ['42["waits",1]']
    streamer.pause()
    for _ in range(20):
        kit.io.emit("waits", "x" * 1000)
    kit.turn()
    assert reasons == [Reason.SLOW_CONSUMER]
    assert client.response.ended == "cut"


def test_too_many_streams(kit: EngineKit) -> None:
    kit = EngineKit(transports="all", max_unanswered_polls=2)
    first, second = Streaming(kit), Streaming(kit, "iframe")
    assert kit.http("GET", "EIO=4&transport=multipart").status == 503
    assert len(kit.engine.sessions) == 2
    second.say("1")
    Streaming(kit, "multipart")
    first.session._release_poll()
    assert Streaming(kit).session.state == 0
    assert kit.http("GET", first.query).status == 503, "its place is taken; it may ask again"
    assert first.session.id in kit.engine.sessions


def test_the_server_closes_between_two_streams(kit: EngineKit) -> None:
    client = Streaming(kit)
    client.session._release_poll()
    client.heard()
    kit.io.emit("last", 1)
    client.session.close(Reason.SERVER_DISCONNECT)
    assert client.again() == ['42["last",1]', "1"]
    assert client.response.ended is True
    assert kit.engine.sessions == {}
    assert kit.http("GET", client.query).status == 400


@pytest.mark.parametrize("name", [*STREAMS, "shortpolling", "jsonp"])
def test_upgrade_to_a_websocket(kit: EngineKit, name: str) -> None:
    """Nothing is lost and nothing comes twice, whatever is sent in between."""
    if name in STREAMS:
        client = Streaming(kit, name)
        link = upgrade(kit, client.session.id)
        kit.io.emit("tick", 1)
        link.say("2probe")
        kit.io.emit("tick", 2)
        assert client.heard() == ['42["tick",1]', "6"]
        assert client.response.ended is True
        assert client.again() == ['42["tick",2]', "6"]
        assert client.again() == ["6"]
    else:
        session = kit.polling(transport=name).session
        link = upgrade(kit, session.id)
        link.say("2probe")
    assert link.take() == ["3probe"]
    kit.io.emit("tick", 3)
    assert link.take() == []
    link.say("5")
    if name in STREAMS:
        assert client.session.transport.name == "websocket"
        assert kit.engine._parked == 0
        assert kit.http("GET", client.query).status == 400
        assert link.take()[-1] == '42["tick",3]'


def upgrade(kit: EngineKit, sid: str) -> RecordingDuplex:
    request = kit.request("GET", f"EIO=4&transport=websocket&sid={sid}")
    link = RecordingDuplex()
    kit.engine.admit(request)
    kit.engine.link(request, link)
    return link


def test_an_upgrade_that_fails_leaves_the_stream(kit: EngineKit) -> None:
    client = Streaming(kit)
    link = upgrade(kit, client.session.id)
    link.say("2probe")
    assert client.heard() == ["6"]
    link.lose()
    kit.io.emit("tick")
    assert client.again() == ['42["tick"]']
    assert not client.response.ended


# ---------------------------------------------------------------------------------------------- short polling


def test_short_polls_are_answered_at_once(kit: EngineKit) -> None:
    client = kit.polling(transport="shortpolling")
    client.join()
    for _ in range(3):
        kit.advance(0.1)
        assert client.heard() == ["6"]
    kit.io.emit("tick")
    kit.advance(0.1)
    assert client.heard() == ['42["tick"]']
    kit.advance(25)
    assert client.heard() == ["2"]


def test_short_polls_that_come_too_soon() -> None:
    kit = EngineKit(transports=["shortpolling"], min_short_poll_seconds=2)
    client = kit.polling(transport="shortpolling")
    assert client.poll().status == 200
    refused = client.poll()
    assert (refused.status, refused.headers["retry-after"]) == (429, "2")
    assert refused.json == {"code": 3, "message": "Too many requests", "retryAfterMs": 2000}
    kit.advance(1.5)
    assert client.poll().status == 200, "the network may bring two polls closer together than they were sent"
    assert client.poll().status == 429
    assert isinstance(kit.refusals[0], RequestRefused)
    assert "min_short_poll_seconds" in str(kit.refusals[0])
    kit.advance(3)
    assert client.poll().status == 200
    assert client.session.state == 0


# ---------------------------------------------------------------------------------------------- long polls


def test_a_poll_waits_only_so_long() -> None:
    kit = EngineKit(poll_timeout_seconds=5)
    client = kit.polling()
    client.join()
    waiting = client.poll()
    kit.advance(4.9)
    assert waiting.waits
    kit.advance(0.2)
    assert waiting.text == "6"
    again = client.poll()
    kit.advance(5.1)
    assert again.text == "6"
    for _ in range(4):
        waiting = client.poll()
        kit.advance(5.1)
    assert waiting.text == "2", "pings come when they are due"


# ---------------------------------------------------------------------------------------------- JSONP and frames


@pytest.mark.parametrize("index", ["", "alert(1)", "0];alert(1)//", "-1", "1.5", "0x1", "9" * 10, "٣"])
def test_the_number_of_a_function_is_a_number(kit: EngineKit, index: str) -> None:
    answer = kit.http("GET", f"EIO=4&transport=polling&j={index}")
    if index == "٣":
        answer = kit.http("GET", "EIO=4&transport=polling&j=%D9%A3")
    assert answer.status == 400
    assert "alert" not in answer.text
    assert kit.http("GET", f"EIO=4&transport=iframe&j={index}").status == 400
    assert kit.engine.sessions == {}


@pytest.mark.parametrize("more", ["j=x", "j=1&origin=javascript:alert(1)"])
def test_a_frame_that_asks_again_is_checked_like_the_first(more: str) -> None:
    kit = EngineKit(transports="all", origins="*")
    client = Streaming(kit, "iframe")
    client.session._release_poll()
    client.heard()
    for _ in range(3):
        assert kit.http("GET", f"EIO=4&transport=iframe&sid={client.session.id}&{more}").status == 400
    assert kit.engine._parked == 0, "what is refused takes no place"
    client.again()
    assert not client.response.ended


def test_a_script_that_asks_again_is_checked_like_the_first(kit: EngineKit) -> None:
    """What was found only when its poll is answered would go off in the middle of a broadcast."""
    kit.http("GET", "EIO=4&transport=jsonp&j=1")
    [sid] = kit.engine.sessions
    kit.http("POST", f"EIO=4&transport=jsonp&j=1&sid={sid}", b"d=40")
    other = kit.polling()
    other.join()
    assert kit.http("GET", f"EIO=4&transport=jsonp&j=1&sid={sid}").status == 200
    assert kit.http("GET", f"EIO=4&transport=jsonp&j=alert(1)&sid={sid}").status == 400
    waiting = other.poll()
    kit.io.emit("tick")
    kit.turn()
    assert waiting.text == '42["tick"]'
    assert kit.http("GET", f"EIO=4&transport=jsonp&j=2&sid={sid}").text == '___eio[2]("42[\\"tick\\"]");'


def test_one_that_fails_at_the_end_of_a_turn_holds_up_nobody(kit: EngineKit) -> None:
    class Broken(RecordingExchange):
        def respond(self, response: Response) -> None:
            raise OSError("broken")

    first, second = kit.polling(), kit.polling()
    first.join()
    second.join()
    kit.engine.begin(kit.request("GET", f"EIO=4&transport=polling&sid={first.session.id}"), Broken())
    waiting = second.poll()
    kit.io.emit("tick")
    with pytest.raises(OSError, match="broken"):
        kit.turn()
    kit.turn()
    assert waiting.text == '42["tick"]'


def test_jsonp_is_polling_with_a_number(kit: EngineKit) -> None:
    client = kit.http("GET", "EIO=4&transport=polling&j=3")
    assert client.text.startswith('___eio[3]("0{')
    assert client.headers["content-type"] == "text/javascript; charset=UTF-8"
    [session] = kit.engine.sessions.values()
    assert session.transport.name == "jsonp"
    plain = EngineKit().http("GET", "EIO=4&transport=polling&j=3")
    assert plain.text.startswith("0{"), "only where JSONP is enabled"


PAGE = "https://page.example"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Referer": "https://madang.example/chat?x=1", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Cookie": "a=b"}, 200),
        ({"Sec-Fetch-Site": "none", "Cookie": "a=b"}, 200),
        ({"Referer": f"{PAGE}/", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Referer": "https://madang.example/"}, 200),
        ({"Referer": "https://evil.example/", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Referer": "https://evil.example/"}, 403),
        ({"Referer": "https://[evil/"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Cookie": "a=b"}, 403),
        ({"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}, 403),
        ({"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Referer": f"{PAGE}/"}, 200),
        ({"User-Agent": "Python/3.13 aiohttp/3.12"}, 200),
        ({"Origin": PAGE}, 200),
        ({"Origin": "https://evil.example"}, 403),
    ],
)
def test_scripts_are_for_pages_that_are_allowed(headers: dict[str, str], status: int) -> None:
    kit = EngineKit(transports=["jsonp"], origins=[PAGE])
    answer = kit.http("GET", "EIO=4&transport=jsonp&j=0", headers={"Host": "madang.example", **headers})
    assert answer.status == status, answer.text
    kit = EngineKit(transports=["jsonp"], origins="*")
    assert kit.http("GET", "EIO=4&transport=jsonp&j=0", headers={"Host": "madang.example", **headers}).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        (PAGE, 200),
        ("https://madang.example", 200),
        ("https://evil.example", 403),
        ('https://page.example"+alert(1)+"', 403),
        ("null", 403),
        ("javascript:alert(1)", 403),
        ("", 403),
    ],
)
def test_frames_are_for_pages_that_are_allowed(origin: str | None, status: int) -> None:
    query = "EIO=4&transport=iframe&j=0" + ("" if origin is None else f"&origin={origin}")
    kit = EngineKit(transports=["iframe"], origins=[PAGE])
    answer = kit.http("GET", query, headers={"Host": "madang.example"})
    assert answer.status == status
    if status == 200:
        assert answer.response is not None
        prelude = answer.response.body.decode()
        target = f'"{origin}"' if origin else "location.origin"
        assert f"parent.postMessage({{madang:0,payload:payload}},{target})" in prelude
        assert len(prelude) >= 2048
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "origin",
    ['https://page.example"+alert(1)+"', "javascript:alert(1)", "", "https://a b", "https://a;sandbox", "null"],
)
def test_frames_with_any_origin_take_none_that_is_none(origin: str) -> None:
    kit = EngineKit(transports=["iframe"], origins="*")
    assert kit.http("GET", f"EIO=4&transport=iframe&j=0&origin={origin}").status == 400
    assert kit.engine.sessions == {}


def test_the_cookie_is_set_by_streams_too() -> None:
    from madang import Cookie

    kit = EngineKit(transports="all", cookie=Cookie("io"))
    client = Streaming(kit)
    assert client.response.headers["set-cookie"].startswith(f"io={client.session.id}")
    client.session._release_poll()
    client.heard()
    client.again()
    assert "set-cookie" not in client.response.headers
