"""Engine.IO 3: what its clients send, in all the forms that their releases have, and what they are sent."""

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.packet import ACK, CLOSE, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, NOOP, PING, PONG, Frame, Packet
from madang.parsers import msgpack as msgpack_parser
from madang.parsers.json import PARSER
from madang.testing import check_wire
from madang.transports import Request
from madang.wire import Address
from madang.wire.eio3 import WIRE

LIMITS = Config()
WITH_BYTES = '451-["x",{"_placeholder":true,"num":0}]'
TEXT = '42["x","é€😀"]'


def asked(**query: str) -> Request:
    return Request("GET", "/socket.io/", urlencode(query), ())


def read(payload: str | bytes) -> list[Packet | None]:
    decoder = WIRE.decoder(PARSER, LIMITS)
    return [decoder.feed(frame) for frame in WIRE.split(payload, LIMITS)]


def old_text(packet: str) -> str:
    """What a client before 2.0 puts into a text payload: UTF-8 whose bytes are taken for characters."""
    data = packet.encode().decode("latin-1")
    return f"{len(data)}:{data}"


def test_what_each_wire_keeps() -> None:
    both = [
        Packet(EVENT, ["e"]),
        Packet(EVENT, ["e", "마당 🎈 \u2028", {"a": [1, None]}], "/room", 7),
        Packet(EVENT, ["e", b"\0\xff", {"again": b""}]),
        Packet(ACK, ["é", b"1"], "/", 3),
        Packet(ACK, [], "/카페", 3),
        Packet(DISCONNECT),
        Packet(DISCONNECT, namespace="/room"),
    ]
    check_wire(WIRE, PARSER, both)
    check_wire(WIRE, msgpack_parser.PARSER, both)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"EIO": "3", "transport": "polling"}, Address("polling")),
        ({"EIO": "3", "transport": "websocket", "sid": "a"}, Address("websocket", "a")),
        ({"EIO": "2", "transport": "polling"}, Address("polling")),
        ({"transport": "polling"}, Address("polling")),
        ({"EIO": "4", "transport": "polling"}, None),
        ({"EIO": "5", "transport": "polling"}, None),
        ({"EIO": "3"}, None),
        ({}, None),
    ],
)
def test_recognises(query: dict[str, str], expected: Address | None) -> None:
    assert WIRE.address(asked(**query), "") == expected
    assert WIRE.address(asked(**query), "1/polling") is None


def test_who_takes_text_only() -> None:
    assert not WIRE.text_only(asked(EIO="3", transport="polling"))
    assert WIRE.text_only(asked(EIO="3", transport="polling", b64="1"))
    assert not WIRE.text_only(asked(EIO="2", transport="polling"))
    assert WIRE.text_only(asked(EIO="1", transport="polling"))
    assert WIRE.text_only(asked(transport="polling"))


@pytest.mark.parametrize(
    ("packet", "frames"),
    [
        (Packet(CONNECT, {"sid": "x"}), ("40",)),
        (Packet(CONNECT, {"sid": "x"}, "/a"), ("40/a,",)),
        (Packet(CONNECT_ERROR, {"message": "no"}), ('44"no"',)),
        (Packet(CONNECT_ERROR, {"message": "no", "data": {"code": 1}}, "/a"), ('44/a,{"code":1}',)),
        (Packet(EVENT, ["x", "é€😀", "\\x41"]), (r'42["x","\u00e9\u20ac\ud83d\ude00","\\x41"]',)),
        (Packet(EVENT, ["é"], "/카페", 5), (r'42/카페,5["\u00e9"]',)),
        (Packet(EVENT, ["é"], '/\x01\\"', 5), ('42/\x01\\",5["\\u00e9"]',)),
        (Packet(EVENT, ["é", b"1"], "/카페"), (r'451-/카페,["\u00e9",{"_placeholder":true,"num":0}]', b"\x041")),
        (Packet(PONG), ("3",)),
        (Packet(PONG, "probe"), ("3probe",)),
        (Packet(NOOP), ("6",)),
        (Packet(CLOSE), ("1",)),
    ],
)
def test_what_clients_are_sent(packet: Packet, frames: tuple[Frame, ...]) -> None:
    assert WIRE.encode(packet, PARSER) == frames


@pytest.mark.parametrize(
    ("payload", "packets"),
    [
        ('12:42["x","é€"]', [Packet(EVENT, ["x", "é€"])]),
        (f"{len(TEXT) + 1}:{TEXT}", [Packet(EVENT, ["x", "é€😀"])]),  # as JavaScript counts
        (f"{len(TEXT)}:{TEXT}", [Packet(EVENT, ["x", "é€😀"])]),  # as Python counts
        (f"{len(TEXT)}:{TEXT}1:2", [Packet(EVENT, ["x", "é€😀"]), Packet(PING)]),
        (old_text(TEXT), [Packet(EVENT, ["x", "é€😀"])]),
        (old_text(TEXT) + old_text('42["é"]'), [Packet(EVENT, ["x", "é€😀"]), Packet(EVENT, ["é"])]),
        ('8:42["Ã©"]', [Packet(EVENT, ["é"])]),
        ('7:42["é"]8:42["Ã©"]', [Packet(EVENT, ["é"]), Packet(EVENT, ["Ã©"])]),  # the first shows who it is
        ('8:42["한글"]8:42["Ã©"]', [Packet(EVENT, ["한글"]), Packet(EVENT, ["Ã©"])]),
        (f"{len(TEXT)}:{TEXT}{len(TEXT)}:{TEXT}", [Packet(EVENT, ["x", "é€😀"])] * 2),
        (f"{len(TEXT) + 1}:{TEXT}0:{len(TEXT) + 1}:{TEXT}", [Packet(EVENT, ["x", "é€😀"])] * 2),
        ("0:", []),
        ("", []),
        (f"{len(WITH_BYTES)}:{WITH_BYTES}6:b4AQL/", [None, Packet(EVENT, ["x", b"\x01\x02\xff"])]),
        (b'\x00\x09\xff42["x",1]', [Packet(EVENT, ["x", 1])]),
        (b"\x00\x01\x01\xff" + '42["é€"]'.encode(), [Packet(EVENT, ["é€"])]),
        (
            b"\x00"
            + bytes(map(int, str(len(WITH_BYTES))))
            + b"\xff"
            + WITH_BYTES.encode()
            + b"\x01\x04\xff\x04\x01\x02\xff\x00\x01\xff2",
            [None, Packet(EVENT, ["x", b"\x01\x02\xff"]), Packet(PING)],
        ),
        (WIRE.pack([WITH_BYTES, "b4AQ=="]), [None, Packet(EVENT, ["x", b"\x01"])]),
        (b"", []),
    ],
)
def test_payloads_of_clients(payload: str | bytes, packets: list[Packet | None]) -> None:
    assert read(payload) == packets


def test_what_differs_between_releases_on_a_link_does_not() -> None:
    decoder = WIRE.decoder(PARSER, LIMITS)
    assert decoder.feed('42["Ã©"]') == Packet(EVENT, ["Ã©"])


@pytest.mark.parametrize(
    ("frame", "packet"),
    [
        ("40/a", Packet(CONNECT, {}, "/a")),
        ("40/a,", Packet(CONNECT, {}, "/a")),
        ("40/a?token=1%202&x=", Packet(CONNECT, {"token": "1 2", "x": ""}, "/a")),
        ("40/a?token=1,", Packet(CONNECT, {"token": "1"}, "/a")),
        ("40", Packet(CONNECT, {})),
        ("40/", Packet(CONNECT, {})),
        ("40/?x=1,", Packet(CONNECT, {"x": "1"})),
        ("41/a", Packet(DISCONNECT, namespace="/a")),
        ("41", Packet(DISCONNECT)),
    ],
)
def test_namespaces(frame: str, packet: Packet) -> None:
    assert WIRE.decoder(PARSER, LIMITS).feed(frame) == packet


def test_the_programs_own_part_of_the_query() -> None:
    assert WIRE.auth(asked(EIO="3", transport="polling", t="x", b64="1", j="0", sid="s", token="1", pid="2")) == {
        "token": "1", "pid": "2",
    }  # fmt: skip


def test_ids() -> None:
    assert (WIRE.socket_id("abc", "/"), WIRE.socket_id("abc", "/a")) == ("abc", "/a#abc")


WRONG = "the lengths in a payload are wrong"


def refused(payload: Any, limits: Config = LIMITS) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        [*map(WIRE.decoder(PARSER, limits).feed, WIRE.split(payload, limits))]
    return f"{caught.value.rule}: {caught.value}"


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("2", WRONG),
        ("x:2", WRONG),
        ("-1:2", WRONG),
        ("99999999999:2", WRONG),
        ("2:2", WRONG),
        ("9:é", WRONG),
        ("9:😀", WRONG),
        ("3:b4!", "a binary packet is not base64"),
        ("3:b4", WRONG),
        ("2:bx", "a binary packet is not base64"),
        (b"\x02\x01\xff2", "a packet without its length"),
        (b"\x00\x0a\xff2", "a packet without its length"),
        (b"\x00\x02\xff2", "a packet of 2 bytes, of which 1 came"),
        (b"\x00\x01\xff\xff", "a packet of text is not UTF-8"),
        (b"\x01\x01\xff\x05", "a packet of bytes of the type b'\\x05'"),
    ],
)
def test_what_is_no_payload(payload: str | bytes, error: str) -> None:
    assert error in refused(payload)
    assert refused(payload).startswith("Engine.IO protocol 3, ")


@pytest.mark.parametrize(
    "payload",
    ["1:2" * 4, "1:2" * 3 + "2:😀", "0:" * 4, "0:" * 3 + "2:😀", b"\0\1\xff2" * 4, b"\0\0\xff" * 4],
    ids=["text", "units", "empty", "empty units", "bytes", "empty bytes"],
)
def test_too_many_packets(payload: str | bytes) -> None:
    assert "more than 3 packets" in refused(payload, Config(max_packets_per_payload=3))


def test_a_query_without_end() -> None:
    with pytest.raises(RemoteProtocolError, match="more than 64 fields"):
        WIRE.decoder(PARSER, LIMITS).feed("40/a?" + "&".join("x" * 100))


@given(st.text() | st.binary())
def test_garbage_is_an_error_or_packets(payload: str | bytes) -> None:
    if isinstance(payload, str):
        payload = payload.encode("utf-8", "replace").decode()
    decoder = WIRE.decoder(PARSER, LIMITS)
    try:
        for frame in WIRE.split(payload, LIMITS):
            decoder.feed(frame)
    except RemoteProtocolError as error:
        assert error.rule  # noqa: PT017


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.binary(), min_size=1))
def test_both_forms_of_a_payload_read_alike(parts: list[Any]) -> None:
    frames: list[Frame] = [f"4{part}" if isinstance(part, str) else b"\x04" + part for part in parts]
    assert WIRE.split(WIRE.join(frames), LIMITS) == WIRE.split(WIRE.pack(frames), LIMITS) == frames


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_of_all_releases(text: str) -> None:
    [frame] = WIRE.encode(Packet(EVENT, ["x", text]), PARSER)
    assert isinstance(frame, str)
    assert frame.isascii()
    assert read(WIRE.join([frame])) == [Packet(EVENT, ["x", text])]
    if any(char > "\x7f" for char in text):
        assert read(old_text(f'42["x","{"".join(char for char in text if char > chr(127))}"]')) == [
            Packet(EVENT, ["x", "".join(char for char in text if char > "\x7f")])
        ]
