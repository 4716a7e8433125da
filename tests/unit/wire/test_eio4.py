"""Engine.IO 4 with Socket.IO 5: golden frames and payloads, attachments in frames of their own, limits."""

import base64
import contextlib
import json
from typing import ClassVar
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.packet import (
    ACK,
    CLOSE,
    CONNECT,
    DISCONNECT,
    EVENT,
    MESSAGE,
    NOOP,
    OPEN,
    PING,
    PONG,
    UPGRADE,
    Frame,
    Packet,
)
from madang.parsers import Parser
from madang.parsers import json as json_parser
from madang.parsers import raw as raw_parser
from madang.transports import Request
from madang.wire import Address, Decoder, Open
from madang.wire.eio4 import WIRE

JSON = json_parser.PARSER
RAW = raw_parser.PARSER
LIMITS = Config()
ENGINE = "Engine.IO protocol 4, packet encoding"
ATTACHMENTS = "Socket.IO protocol 5, binary attachments"


def decoder(limits: Config = LIMITS) -> Decoder:
    return WIRE.decoder(JSON, limits)


def refused(frames: list[Frame], limits: Config = LIMITS) -> RemoteProtocolError:
    """Feed frames of which the last is refused, and no other."""
    reader = decoder(limits)
    for frame in frames[:-1]:
        reader.feed(frame)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.feed(frames[-1])
    return caught.value


@pytest.mark.parametrize(
    ("query", "ours"),
    [({"EIO": "4"}, True), ({"EIO": "3"}, False), ({"EIO": "04"}, False), ({}, False), ({"eio": "4"}, False)],
)
def test_recognises(query: dict[str, str], ours: bool) -> None:
    said = Request("GET", "/socket.io/", urlencode({**query, "transport": "polling"}), ())
    assert WIRE.address(said, "") == (Address("polling") if ours else None)
    assert WIRE.address(said, "1/polling") is None


def test_whose_session() -> None:
    said = Request("POST", "/socket.io/", "EIO=4&transport=sse&sid=abc", ())
    assert WIRE.address(said, "") == Address("sse", "abc")
    assert WIRE.address(Request("POST", "/socket.io/", "EIO=4&sid=", ()), "") == Address("", "")


def test_the_server_pings() -> None:
    assert WIRE.server_pings is True


def test_open() -> None:
    frame = WIRE.open(Open("lv_VI97HAXpY6yYWAAAC", ["websocket"], 25, 20, 1_000_000))
    assert frame == (
        '0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],'
        '"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
    )


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "sid": st.text(max_size=5) | st.integers(),
            "upgrades": st.lists(st.text(max_size=5) | st.none(), max_size=2) | st.text(max_size=2),
            "pingInterval": st.floats() | st.integers() | st.text(max_size=2),
            "pingTimeout": st.floats(1, 100) | st.booleans(),
            "maxPayload": st.integers() | st.none() | st.floats(),
        },
    )
    | st.lists(st.integers())
)
def test_greetings_are_read_or_refused(body: object) -> None:
    frame = "0" + json.dumps(body)
    with contextlib.suppress(RemoteProtocolError):
        hello = WIRE.greeted(frame)
        assert hello.sid
        assert 0 < hello.ping_interval_seconds < 1e9
        assert 0 < hello.ping_timeout_seconds < 1e9
        assert hello.max_payload_bytes >= 0


@pytest.mark.parametrize("sid", ["", "lv_VI97HAXpY6yYWAAAC", "x" * 256, '"\\마당'])
def test_knocks_are_read(sid: str) -> None:
    assert WIRE.knocked(WIRE.knock(sid)) == sid
    assert WIRE.knock() == "0"


@pytest.mark.parametrize(
    "frame",
    ["", "00", "0{}", '0{"sid":""}', '0{"sid":7}', '0"x"', '0{"sid":"' + "x" * 257 + '"}', "0\ud800", "1", b"0"],
)
def test_what_is_no_knock(frame: Frame) -> None:
    assert WIRE.knocked(frame) is None


def test_open_in_whole_milliseconds() -> None:
    body = json.loads(str(WIRE.open(Open("x", (), 0.3, 0.0015, 1)))[1:])
    assert (body["pingInterval"], body["pingTimeout"], body["upgrades"]) == (300, 2, [])


@pytest.mark.parametrize(
    ("packet", "frames"),
    [
        (Packet(CLOSE), ("1",)),
        (Packet(PING), ("2",)),
        (Packet(PING, "probe"), ("2probe",)),
        (Packet(PONG), ("3",)),
        (Packet(PONG, "probe"), ("3probe",)),
        (Packet(UPGRADE), ("5",)),
        (Packet(NOOP), ("6",)),
        (Packet(CONNECT, {"sid": "x"}), ('40{"sid":"x"}',)),
        (Packet(DISCONNECT, namespace="/chat"), ("41/chat,",)),
        (Packet(EVENT, ["hello", 1], id=3), ('423["hello",1]',)),
        (Packet(ACK, ["ok"], "/chat", 3), ('43/chat,3["ok"]',)),
        (Packet(EVENT, ["e", b"\1\2\3"]), ('451-["e",{"_placeholder":true,"num":0}]', b"\1\2\3")),
    ],
)
def test_golden_frames(packet: Packet, frames: tuple[Frame, ...]) -> None:
    assert WIRE.encode(packet, JSON) == frames
    reader = decoder()
    assert [reader.feed(frame) for frame in frames] == [None] * (len(frames) - 1) + [packet]


@pytest.mark.parametrize(("data", "frame"), [("hello", "4hello"), (b"hello", b"hello"), ("", "4"), (b"", b"")])
def test_messages_without_socketio(data: Frame, frame: Frame) -> None:
    assert WIRE.encode(Packet(MESSAGE, data), RAW) == (frame,)
    assert WIRE.decoder(RAW, LIMITS).feed(frame) == Packet(MESSAGE, data)


# Decoder


@pytest.mark.parametrize("frame", ["", "0", '0{"sid":"x"}', "7", "8", "9", "x", "b", "bAQID", " 4", "\x1e", "\uff14"])
def test_unknown_types(frame: str) -> None:
    error = refused([frame])
    assert str(error) == f"unknown packet type {frame[:1]!r} [{ENGINE}]"


def test_an_open_packet_is_the_servers_to_send() -> None:
    assert OPEN not in (WIRE.decoder(JSON, LIMITS).feed(frame).kind for frame in "12356")  # type: ignore[union-attr]
    refused(["0{}"])


@pytest.mark.parametrize("frame", ["1x", "2hello", "3한글", "5 ", "6\x1e"])
def test_data_of_engine_packets(frame: str) -> None:
    packet = decoder().feed(frame)
    assert packet is not None
    assert packet.data == frame[1:]


def test_bytes_that_were_not_announced() -> None:
    assert refused([b"x"]).args == ("a binary frame came where none was announced",)
    assert refused(["2", b"x"]).args == ("a binary frame came where none was announced",)


def test_attachments_in_the_order_of_their_numbers() -> None:
    reader = decoder()
    head = '452-["e",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]'
    assert reader.feed(head) is None
    assert reader.feed(b"zero") is None
    assert reader.feed(b"one") == Packet(EVENT, ["e", b"one", [b"zero"]])
    # and it is ready for the next packet
    assert reader.feed('42["e"]') == Packet(EVENT, ["e"])
    assert refused(['451-["e"]', b"", b"x"]).args == ("a binary frame came where none was announced",)


def test_packets_of_the_engine_may_stand_between_attachments() -> None:
    reader = decoder()
    assert reader.feed('452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]') is None
    assert reader.feed("3") == Packet(PONG)
    assert reader.feed(b"a") is None
    assert reader.feed("6") == Packet(NOOP)
    assert reader.feed(b"b") == Packet(EVENT, ["e", b"a", b"b"])


@pytest.mark.parametrize("frame", ['42["e"]', "40", "41", '451-["e"]', "4"])
def test_text_where_attachments_are_still_to_come(frame: str) -> None:
    error = refused(['452-["e"]', b"x", frame])
    assert str(error) == f"1 attachments were still to come [{ATTACHMENTS}]"


@pytest.mark.parametrize("number", ["2", "-1", "true", "null", '"0"', "0.0", "0.5", "1e99", "[]"])
def test_placeholders_of_nothing(number: str) -> None:
    error = refused([f'452-["e",{{"_placeholder":true,"num":{number}}}]', b"a", b"b"])
    assert error.rule == ATTACHMENTS
    assert "but 2 came" in str(error)


def test_attachments_without_placeholders_are_dropped() -> None:
    reader = decoder()
    assert reader.feed('451-["e"]') is None
    assert reader.feed(b"x") == Packet(EVENT, ["e"])


def test_the_size_of_a_packet_with_its_attachments() -> None:
    limits = Config(max_packet_bytes=100, max_payload_bytes=100)
    head = '452-["e",{"_placeholder":true,"num":0}]'
    reader = decoder(limits)
    reader.feed(head)
    reader.feed(b"x" * 30)
    assert reader.feed(b"x" * (70 - len(head))) is not None
    assert reader.feed(head) is None  # counted anew
    error = refused([head, b"x" * 30, b"x" * (71 - len(head))], limits)
    assert str(error) == "a packet and its attachments have more than 100 bytes [max_packet_bytes]"
    assert (error.close_code, error.http_status) == (1009, 413)
    assert refused([head, b"x" * 100], limits).rule == "max_packet_bytes"


def test_limits_reach_the_parser() -> None:
    assert refused(['453-["e"]'], Config(max_attachments=2)).rule == "max_attachments"
    assert refused(['42["e",1,2]'], Config(max_event_args=1)).rule == "max_event_args"
    assert refused(['42["e",[[[]]]]'], Config(max_json_depth=2)).rule == "max_json_depth"


def test_sessions_do_not_share_what_is_half_read() -> None:
    one, two = decoder(), decoder()
    one.feed('451-["e",{"_placeholder":true,"num":0}]')
    assert two.feed('42["other"]') == Packet(EVENT, ["other"])
    assert one.feed(b"x") == Packet(EVENT, ["e", b"x"])


# Payloads


@pytest.mark.parametrize(
    ("frames", "payload"),
    [
        (["4hello"], "4hello"),
        (["4hello", "2", "4world"], "4hello\x1e2\x1e4world"),
        (["4hello", b"\1\2\3\4"], "4hello\x1ebAQIDBA=="),  # the example of the protocol
        ([b""], "b"),
        ([b"", b""], "b\x1eb"),
        ([b"\xfb\xff"], "b+/8="),
        (["4한글\u2028", "6"], "4한글\u2028\x1e6"),
    ],
)
def test_golden_payloads(frames: list[Frame], payload: str) -> None:
    assert WIRE.join(frames) == payload
    assert WIRE.split(payload, LIMITS) == frames


@pytest.mark.parametrize("part", ["bA", "bAQI", "b!!!!", "b AQID", "bAQID\n", "bAQ_-", "b한글", "b====", "bé"])
def test_wrong_base64(part: str) -> None:
    for payload in (part, f"4ok\x1e{part}", f"{part}\x1e4ok"):
        with pytest.raises(RemoteProtocolError) as caught:
            WIRE.split(payload, LIMITS)
        assert str(caught.value) == f"a binary packet is not base64 [{ENGINE}]"


def test_empty_parts_are_frames() -> None:
    """So that the decoder refuses them: they are no packets."""
    assert WIRE.split("", LIMITS) == [""]
    assert WIRE.split("2\x1e", LIMITS) == ["2", ""]
    assert WIRE.split("\x1e\x1e", LIMITS) == ["", "", ""]


def test_max_packets_per_payload() -> None:
    limits = Config(max_packets_per_payload=3)
    assert len(WIRE.split("2\x1e2\x1e2", limits)) == 3
    with pytest.raises(RemoteProtocolError) as caught:
        WIRE.split("2\x1e2\x1e2\x1e2", limits)
    assert str(caught.value) == "a payload of 4 packets; 3 are allowed [max_packets_per_payload]"


TEXTS = st.text().map(lambda text: "4" + text.replace("\x1e", ""))


@given(st.lists(TEXTS | st.binary(), min_size=1, max_size=10))
def test_what_is_joined_is_split(frames: list[Frame]) -> None:
    payload = WIRE.join(frames)
    assert WIRE.split(payload, LIMITS) == frames
    for frame, part in zip(frames, payload.split("\x1e"), strict=True):
        assert part == (frame if isinstance(frame, str) else "b" + base64.b64encode(frame).decode())


@given(st.lists(st.text(alphabet='0123456[]{}",-/eb\x1e') | st.binary(max_size=5), max_size=8))
@settings(max_examples=300)
def test_any_frames_are_packets_or_an_error(frames: list[Frame]) -> None:
    reader = decoder()
    try:
        for frame in frames:
            packet = reader.feed(frame)
            assert packet is None or packet.missing == 0
    except RemoteProtocolError:
        pass


class BinaryParser(Parser):
    """A parser whose packets are bytes, with attachments or without, as others than JSON are."""

    name: ClassVar[str] = "binary"

    def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:
        return (packet.data[0].encode(), *packet.data[1:])

    def decode(self, content: Frame, start: int, limits: Config) -> Packet:
        assert isinstance(content, bytes)
        return Packet(EVENT, [content.decode()], missing=content.count(b"+"))


def test_parsers_whose_packets_are_bytes() -> None:
    reader = WIRE.decoder(BinaryParser(), LIMITS)
    assert reader.feed(b"plain") == Packet(EVENT, ["plain"])
    assert reader.feed(b"one+") is None
    assert reader.feed(b"attachment") == Packet(EVENT, ["one+"])
    assert reader.feed(b"next") == Packet(EVENT, ["next"])
    assert WIRE.encode(Packet(EVENT, ["e", b"x"]), BinaryParser()) == (b"e", b"x")
