"""The msgpack parser: what the npm package writes, golden bytes both ways, hostile bytes, and every kind of value."""

import dataclasses
import datetime
import enum
import json
import math
import struct
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import ormsgpack
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madang.config import Config
from madang.errors import EncodeError, RemoteProtocolError
from madang.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, NOTHING, RESERVED_EVENTS, Packet
from madang.parsers import json as json_parser
from madang.parsers.msgpack import PARSER

RULE = "socket.io-msgpack-parser 3"
PROTOCOL = "Socket.IO protocol 5, packet encoding"
LIMITS = Config()
SMALL = Config(max_json_depth=4, max_event_args=3)
UTC = datetime.UTC
KOREA = datetime.timezone(datetime.timedelta(hours=9))


def filled(size: int) -> bytes:
    return bytes(index % 251 for index in range(size))


def counted(size: int) -> dict[str, int]:
    return {f"k{index}": index for index in range(size)}


def event(*args: Any) -> Packet:
    return Packet(EVENT, ["e", *args])


def date(milliseconds: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(milliseconds=milliseconds)


def decode(frame: bytes, limits: Config = LIMITS) -> Packet:
    return PARSER.decode(frame, 0, limits)


def encode(packet: Packet) -> bytes:
    [frame] = PARSER.encode(packet, "4")
    assert type(frame) is bytes
    return frame


def there_and_back(*args: Any) -> list[Any]:
    data = decode(encode(event(*args))).data
    assert data[0] == "e"
    return list(data[1:])


def refused(frame: bytes, limits: Config = LIMITS) -> tuple[str, str]:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(frame, limits)
    return caught.value.args[0], caught.value.rule


# ------------------------------------------------------------------------------------- what the npm package writes

WRITTEN: dict[str, bytes] = {
    name: bytes.fromhex(digits)
    for name, digits in json.loads((Path(__file__).parent / "msgpack-golden.json").read_text()).items()
}
#: Read as this, and written the same.
SAME: dict[str, Packet] = {
    "connect with auth": Packet(CONNECT, {"token": "123"}, "/admin"),
    "connect answered": Packet(CONNECT, {"sid": "oSO0OpakMV_3jnilAAAA"}),
    "disconnect": Packet(DISCONNECT),
    "event": Packet(EVENT, ["hello", 1]),
    "event with an id": Packet(EVENT, ["hello"], id=12),
    "ack": Packet(ACK, ["ok"], id=12),
    "ack of nothing": Packet(ACK, [], "/admin", 999_999_999_999_999),
    "connect error": Packet(CONNECT_ERROR, {"message": "not authorized"}),
    "connect error with data": Packet(CONNECT_ERROR, {"message": "no", "data": {"code": 1}}),
    "simple": event(None, True, False, "", "마당 🎈", [], {}, [[[]]], {"": None, "a": {"b": [1]}}),
    "small integers": event(0, 1, 127, 128, 255, 256, 65535, 65536, 4294967295),
    "negative integers": event(-1, -32, -33, -128, -129, -32768, -32769, -2147483648),
    "texts": event(*("x" * size for size in (31, 32, 255, 256))),
    "lists": event([1] * 15, [1] * 16),
    "maps": event(counted(15), counted(16)),
    "dates": event(date(0), date(961_000_000_123), date(-1), date(253402300799999)),
    "the first date of Python": event(datetime.datetime(1, 1, 1, tzinfo=UTC)),
    "buffers": event(*map(filled, (0, 1, 8, 31, 255, 256))),
}
#: Read as this; we write it in another way, which means the same.
READ: dict[str, Packet] = {
    "connect": Packet(CONNECT, {}),
    "connect, auth undefined": Packet(CONNECT, {}),
    "connect answered by Node.js": Packet(CONNECT, {"sid": "oSO0OpakMV_3jnilAAAA", "pid": None}),
    "disconnect, data undefined": Packet(DISCONNECT, NOTHING, "/admin"),
    "event, id undefined": Packet(EVENT, ["hello"]),
    "event of a client": Packet(EVENT, ["hello"], "/방", 0),
    "undefined": event(None, {"gone": None}, [None]),
    # notepack writes positive ones of 64 bits without, negative ones with sign, as we do
    "large integers": event(4294967296, 2**53 - 1, -2147483649, 1 - 2**53),
    "half of a pair": event("\ufffd" + "x" * 40),
    "an invalid date": event(date(0)),
    "array buffers": event(*map(filled, (0, 1, 2, 4, 8, 16, 255, 256))),
    "typed arrays": event(b"\7", struct.pack("<d", 1.5), b"\0\1\2"),
    "array buffers among look-alikes": event(
        "\x01\x00\u00c7", {"c7": filled(8)}, b"\xc7\1\0\x09", [filled(1), date(1)],
        filled(300) + b"\xc7\x08\0", "x" * 40, None, filled(8),
    ),
}  # fmt: skip


def test_every_golden_packet_is_tested() -> None:
    assert {*SAME, *READ, "floats", "a far date"} == set(WRITTEN)


@pytest.mark.parametrize("name", SAME)
def test_golden_out(name: str) -> None:
    assert PARSER.encode(SAME[name], "") == (WRITTEN[name],)
    assert PARSER.encode(SAME[name], "4") == (WRITTEN[name],)


@pytest.mark.parametrize(("name", "packet"), [*SAME.items(), *READ.items()])
def test_golden_in(name: str, packet: Packet) -> None:
    read = decode(WRITTEN[name])
    assert read == packet
    assert read.missing == 0


def test_golden_floats() -> None:
    numbers = decode(WRITTEN["floats"]).data[1:]
    expected = [0.5, -1.25, 1.7976931348623157e308 / 3e300, 5e-324, math.nan, math.inf, -math.inf]
    assert list(map(repr, numbers)) == list(map(repr, expected))
    # NaN has many spellings, all others one
    assert encode(event(*expected)).replace(b"\x7f\xf8", b"") == WRITTEN["floats"].replace(b"\x7f\xf8", b"")


def test_a_date_beyond_python() -> None:
    assert refused(WRITTEN["a far date"]) == ("a date is beyond the years 1 to 9999, which Python can't hold", RULE)


# ---------------------------------------------------------------------------------------------------------- decode


def packed(**head: Any) -> bytes:
    return ormsgpack.packb(head)


def body(content: bytes) -> bytes:
    """An event whose body is these bytes."""
    return bytes.fromhex("83a47479706502a36e7370a12fa464617461") + content


def argument(content: bytes, count: int = 1) -> bytes:
    """An event whose arguments are these bytes."""
    return body(bytes((0x91 + count,)) + b"\xa1e" + content)


@pytest.mark.parametrize(
    ("frame", "packet"),
    [
        (packed(nsp="/", data=["e"], type=2), Packet(EVENT, ["e"])),  # in any order
        (packed(type=2, nsp="/", data=["e"], more={"x": [1]}), Packet(EVENT, ["e"])),
        (packed(type=2, nsp="/a?token=1", data=["e"]), Packet(EVENT, ["e"], "/a")),
        (packed(type=0, nsp="/?token=1"), Packet(CONNECT, {})),
        (packed(type=0, nsp="/", data=None), Packet(CONNECT, {})),
        (packed(type=4, nsp="/", data="no"), Packet(CONNECT_ERROR, "no")),
        (packed(type=2, nsp="/", data=[1, 2]), Packet(EVENT, [1, 2])),
        # integers and lengths in longer forms than are needed
        (bytes.fromhex("82a474797065cf0000000000000001da00036e7370d9012f"), Packet(DISCONNECT)),
        (argument(b"\xca\x3f\x80\0\0"), event(1.0)),
        (argument(b"\xd3" + b"\xff" * 8), event(-1)),
        (argument(b"\xcf" + b"\xff" * 8), event(2**64 - 1)),
        # extensions that notepack doesn't know come as the pair that it makes of them
        (argument(b"\xd4\x05x"), event([5, b"x"])),
        (argument(b"\xc7\x03\x81abc"), event([-127, b"abc"])),
        (argument(b"\xc8\x00\x01\x00x\xc7\x01\x00y", 2), event(None, b"y")),
        (argument(b"\xd4\x00\x07"), event(None)),
        # the timestamps of other libraries
        (argument(b"\xd6\xff\0\0\0\1"), event(date(1000))),
        (argument(b"\xd7\xff\0\0\0\0\0\0\0\1"), event(date(1000))),
        (argument(b"\xc7\x0c\xff\0\0\0\0" + b"\xff" * 8), event(date(-1000))),
        (argument(b"\xd5\xff\0\0"), event([-1, b"\0\0"])),
    ],
)
def test_decode(frame: bytes, packet: Packet) -> None:
    assert decode(frame) == packet


EVENTS = "the body of an event must be a list that starts with its name"
ACKS = "an acknowledgement needs an id and a list of arguments"


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (packed(type=2, nsp="/"), EVENTS),
        (packed(type=2, nsp="/", data=None), EVENTS),
        (packed(type=2, nsp="/", data=[]), EVENTS),
        (packed(type=2, nsp="/", data={}), EVENTS),
        (packed(type=2, nsp="/", data="e"), EVENTS),
        (body(b"\xd4\0\0"), EVENTS),
        (packed(type=2, nsp="/", data=[None]), "the name of an event must be a string"),
        (packed(type=2, nsp="/", data=[b"e"]), "the name of an event must be a string"),
        (packed(type=2, nsp="/", data=[True]), "the name of an event must be a string"),
        (packed(type=2, nsp="/", data=[["e"]]), "the name of an event must be a string"),
        (packed(type=3, nsp="/", data=[]), ACKS),
        (packed(type=3, nsp="/", id=1), ACKS),
        (packed(type=3, nsp="/", id=1, data={}), ACKS),
        (packed(type=0, nsp="/", data=[]), "the body of CONNECT must be an object"),
        (packed(type=0, nsp="/", data="x"), "the body of CONNECT must be an object"),
        (packed(type=1, nsp="/", data={}), "DISCONNECT has no body"),
        (packed(type=1, nsp="/", data=None), "DISCONNECT has no body"),
        (packed(type=4, nsp="/"), "the body of CONNECT_ERROR must be an object or a string"),
        (packed(type=4, nsp="/", data=[]), "the body of CONNECT_ERROR must be an object or a string"),
    ],
)
def test_bodies_that_do_not_suit(frame: bytes, message: str) -> None:
    assert refused(frame) == (message, PROTOCOL)


HEADS = "a packet's head is wrong: "


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "a packet is not MessagePack"),
        (b"\xc1", "a packet is not MessagePack"),
        (packed(type=1, nsp="/") + b"\0", "a packet is not MessagePack"),
        (packed(type=1, nsp="/") * 2, "a packet is not MessagePack"),
        (b"\x82\xa4type\1\xa3nsp\xa1\xff", "a packet is not MessagePack"),  # no UTF-8
        (argument(b"\xc1"), "a packet is not MessagePack"),
        (packed(nsp="/"), HEADS + "Object missing required field `type`"),
        (packed(type=1), HEADS + "Object missing required field `nsp`"),
        (packed(type="1", nsp="/"), HEADS + "Expected `int`, got `str` - at `$.type`"),
        (packed(type=True, nsp="/"), HEADS + "Expected `int`, got `bool` - at `$.type`"),
        (packed(type=1.5, nsp="/"), HEADS + "Expected `int`, got `float` - at `$.type`"),
        (packed(type=1, nsp=None), HEADS + "Expected `str`, got `None` - at `$.nsp`"),
        (packed(type=1, nsp=b"/"), HEADS + "Expected `str`, got `bytes` - at `$.nsp`"),
        (packed(type=3, nsp="/", data=[], id=None), HEADS + "Expected `int | ext`, got `None` - at `$.id`"),
        (packed(type=3, nsp="/", data=[], id="1"), HEADS + "Expected `int | ext`, got `str` - at `$.id`"),
        (ormsgpack.packb([1, "/"]), HEADS + "Expected `object`, got `array`"),
        (ormsgpack.packb(1), HEADS + "Expected `object`, got `int`"),
        (b'42["e"]', HEADS + "Expected `object`, got `int`"),
        (b"\x83\1\2\xa4type\1\xa3nsp\xa1/", HEADS + "Expected `str`, got `int` - at `key` in `$`"),
        (packed(type=5, nsp="/"), "unknown packet type 5"),
        (packed(type=-1, nsp="/"), "unknown packet type -1"),
        (packed(type=2**64 - 1, nsp="/"), "unknown packet type 18446744073709551615"),
        (packed(type=1, nsp=""), "a namespace starts with \"/\", not ''"),
        (packed(type=1, nsp="chat"), "a namespace starts with \"/\", not 'chat'"),
        (packed(type=3, nsp="/", data=[], id=-1), "an id is a whole number of at most 15 digits, not -1"),
        (packed(type=3, nsp="/", data=[], id=10**15), f"an id is a whole number of at most 15 digits, not {10**15}"),
        (
            packed(type=3, nsp="/", data=[], id=ormsgpack.Ext(0, b"12345678")),
            "an id is a whole number of at most 15 digits, not an extension",
        ),
        (argument(b"\xd7\0\x7f" + b"\xff" * 7), "a date is beyond the years 1 to 9999, which Python can't hold"),
        (argument(b"\xd7\xff" + b"\xff" * 8), "a date is beyond the years 1 to 9999, which Python can't hold"),
    ],
)
def test_refused(frame: bytes, message: str) -> None:
    assert refused(frame) == (message, RULE)


def test_text_that_is_no_utf8_is_refused() -> None:
    message, rule = refused(argument(b"\xa1\xff"))
    assert message.startswith("a packet's body can't be read: ")  # the rest is in the library's words
    assert rule == RULE


def test_text_is_refused() -> None:
    for text in ("", "0", '2["e"]'):
        with pytest.raises(RemoteProtocolError, match="a text frame came, where packets are MessagePack"):
            PARSER.decode(text, 0, LIMITS)


@pytest.mark.parametrize("key", [b"\1", b"\xc0", b"\xc3", b"\xc4\1k", b"\x92\1\2", b"\x80", b"\xcb" + b"\0" * 8])
def test_keys_are_text(key: bytes) -> None:
    """As all keys of JavaScript are. Others could be chosen to fall into one place of a dict's table."""
    message, rule = refused(argument(b"\x81" + key + b"\1"))
    assert message.startswith(("a packet's body can't be read: invalid type", "a packet is not MessagePack"))
    assert rule == RULE


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_reserved_names(name: str) -> None:
    assert refused(packed(type=2, nsp="/", data=[name])) == (f"the event name {name!r} is reserved", PROTOCOL)
    assert decode(packed(type=3, nsp="/", data=[name], id=1)).data == [name]


@pytest.mark.parametrize("name", [*SAME, *READ, "floats"])
def test_truncated(name: str) -> None:
    whole = WRITTEN[name]
    for size in range(min(len(whole), 2000)):
        refused(whole[:size])


@pytest.mark.parametrize("opening", [0xC6, 0xC9, 0xDB, 0xDD, 0xDF])
@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x0100_0000])
def test_lengths_that_are_not_there(opening: int, size: int) -> None:
    """Nothing is set aside for what was announced and did not come."""
    content = bytes((opening,)) + size.to_bytes(4) + b"\1" * 20
    for frame in (argument(content), body(content), content, packed(type=2, nsp="/", data=["e"])[:-1] + content):
        assert refused(frame)[1] == RULE
    assert refused(body((b"\xdd" + size.to_bytes(4)) * 60))[1] == RULE


# Limits


def test_max_event_args() -> None:
    assert decode(packed(type=2, nsp="/", data=["e", 1, 2, 3]), SMALL).data == ["e", 1, 2, 3]
    frame = packed(type=2, nsp="/", data=["e", 1, 2, 3, 4])
    assert refused(frame, SMALL) == ("an event with 4 arguments; 3 are allowed", "max_event_args")
    assert decode(packed(type=3, nsp="/", id=1, data=[1, 2, 3]), SMALL).data == [1, 2, 3]
    frame = packed(type=3, nsp="/", id=1, data=[1, 2, 3, 4])
    assert refused(frame, SMALL) == ("4 arguments; 3 are allowed", "max_event_args")


@pytest.mark.parametrize(
    "data",
    [
        ["e", [[[]]]],
        ["e", {"a": {"b": {}}}],
        ["e", [{"a": []}]],
        ["e", *([],) * 3],
        ["e", [[], [], {}, [], []]],
        ["e", b"\x91" * 100, "\u0451" * 40],
        ["e", [[[b"\x91\x92"]]]],
    ],
)
def test_depth_allowed(data: list[Any]) -> None:
    assert decode(encode(Packet(EVENT, data)), SMALL).data == data


@pytest.mark.parametrize(
    "content",
    [
        b"\x92\xa1e\x91\x91\x91\x91\1",
        b"\x92\xa1e\x91\x91\x91\x90",
        b"\x92\xa1e\x81\xa1k\x81\xa1k\x81\xa1k\x80",
        b"\x92\xa1e\x91\x91\x91\xdc\0\1\1",
        b"\x92\xa1e\x91\x91\x91\xde\0\0",
        b"\x92\xa1e" + b"\x91" * 500 + b"\1",
        b"\x92\xa1e" + b"\x91" * 3000 + b"\1",
        b"\x92\xa1e" + b"\x91" * 500_000 + b"\1",
        b"\x92\xa1e" + b"\x81\xa0" * 3000 + b"\1",
        b"\x92\xa1e" + b"\x91" * 500_000,
    ],
)
def test_too_deep(content: bytes) -> None:
    assert refused(body(content), SMALL) == ("a packet is nested deeper than 4 levels", "max_json_depth")


@given(st.recursive(st.binary(max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=20))
@settings(max_examples=150)
def test_depth_is_the_depth(value: Any) -> None:
    def depth(one: Any) -> int:
        return 1 + max(map(depth, one), default=0) if isinstance(one, list) else 0

    frame = encode(event(value))
    deep = depth(["e", value])
    assert decode(frame, Config(max_json_depth=deep)).data == ["e", value]
    if deep > 1:
        assert refused(frame, Config(max_json_depth=deep - 1))[1] == "max_json_depth"


# ---------------------------------------------------------------------------------------------------------- values


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    YES = "yes"


@dataclasses.dataclass
class Point:
    x: int
    y: Any
    _hidden: int = 0


class Struct(msgspec.Struct):
    x: int
    inner: Any = None


class Model(pydantic.BaseModel):
    x: int
    name: str


class Pair(NamedTuple):
    x: int
    y: int


LIKE_JSON: list[Any] = [
    Point(1, [2]),
    Point(1, Point(2, None)),
    Colour.RED,
    Level.HIGH,
    Word.YES,
    datetime.date(2026, 11, 22),
    datetime.time(9, 30),
    datetime.datetime(2026, 11, 22, 9, 30),
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    Struct(1),
    Struct(1, Struct(2)),
    Model(x=1, name="마당"),
    (1, (2, 3)),
    Pair(1, 2),
    OrderedDict(a=1),
    {1: 1, 1.5: 2, None: 4, Word.YES: 5, Level.HIGH: 6, Colour.RED: 7, 2**70: 8},
    {True: 3, False: 4},
    {datetime.date(2026, 11, 22): 1, uuid.UUID(int=1): 2},
]


@pytest.mark.parametrize("value", LIKE_JSON, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("beside", [(), (2**70,), ("\ud800",)], ids=["alone", "big", "surrogate"])
def test_values_mean_what_they_mean_as_json(value: Any, beside: tuple[Any, ...]) -> None:
    """However it is written, and beside whatever: the other side gets what JSON would have given it."""
    [text] = json_parser.PARSER.encode(event(value, [{"deep": value}]), "")
    assert isinstance(text, str)
    args = there_and_back(value, [{"deep": value}], *beside)
    assert args[:2] == json.loads(text[1:])[1:]


@pytest.mark.parametrize("beside", [(), (2**70,), ("\ud800",)], ids=["alone", "big", "surrogate"])
@pytest.mark.parametrize(
    "value", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aabbcc")[::2]], ids=lambda one: repr(one)[:9]
)
def test_kinds_of_bytes(value: Any, beside: tuple[Any, ...]) -> None:
    assert there_and_back(value, [{"k": (value,)}], Point(1, value), Struct(1, value), *beside)[:4] == [
        b"abc", [{"k": [b"abc"]}], {"x": 1, "y": b"abc"}, {"x": 1, "inner": b"abc"},
    ]  # fmt: skip


def test_bytes_may_stand_in_every_kind_of_packet() -> None:
    for kind in (CONNECT, CONNECT_ERROR):
        assert decode(encode(Packet(kind, {"data": b"x"}))).data == {"data": b"x"}


@pytest.mark.parametrize("beside", [(), (2**70,)], ids=["alone", "big"])
@pytest.mark.parametrize(
    ("value", "read"),
    [
        (datetime.datetime(2026, 11, 22, 9, 30, tzinfo=UTC), datetime.datetime(2026, 11, 22, 9, 30, tzinfo=UTC)),
        (datetime.datetime(2026, 11, 22, 9, 30, tzinfo=KOREA), datetime.datetime(2026, 11, 22, 0, 30, tzinfo=UTC)),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), date(-1)),
        (date(5) + datetime.timedelta(microseconds=999), date(5)),
        (datetime.datetime.max.replace(tzinfo=UTC), date(253402300799999)),
        (datetime.datetime.min.replace(tzinfo=UTC), datetime.datetime.min.replace(tzinfo=UTC)),
    ],
)  # fmt: skip
def test_moments_are_dates_of_javascript(value: Any, read: Any, beside: tuple[Any, ...]) -> None:
    args = there_and_back(value, Point(1, value), Struct(1, [value]), *beside)
    assert args[:3] == [read, {"x": 1, "y": read}, {"x": 1, "inner": [read]}]
    assert args[0].utcoffset() == datetime.timedelta(0)
    assert b"\xd7\0" in encode(event(value, *beside))


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**63, 2**53])
def test_integers_of_64_bits(number: int) -> None:
    assert there_and_back(number) == [number]
    assert type(there_and_back(number)[0]) is int


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 2**200])
def test_bigger_integers_are_what_javascript_would_make_of_them(number: int) -> None:
    assert there_and_back(number, {"k": number}) == [float(number), {"k": float(number)}]


def test_not_a_number() -> None:
    numbers = there_and_back(math.nan, math.inf, -math.inf)
    assert list(map(repr, numbers)) == ["nan", "inf", "-inf"]
    assert math.isnan(there_and_back(math.nan, 2**70)[0])


def test_halves_of_surrogate_pairs() -> None:
    assert there_and_back("\ud800a", {"\udc00": "🎈\udc00"}, Struct(1, "\ud83c\udf88")) == [
        "\ufffda", {"\ufffd": "🎈\ufffd"}, {"x": 1, "inner": "🎈"},
    ]  # fmt: skip


class Custom:
    def __repr__(self) -> str:
        return "<custom " + "x" * 100 + ">"


class Recursion:
    """A name that the words of the library for deep values begin with."""


UNSENDABLE: list[Any] = [
    Custom(), Recursion(), 1 + 2j, {(1, 2): 3}, {b"bytes": 3}, {Colour: 1}, Point, lambda: None,
]  # fmt: skip


@pytest.mark.parametrize("value", UNSENDABLE, ids=lambda one: type(one).__name__)
def test_unencodable_as_by_the_json_parser(value: Any) -> None:
    for data in (["e", value], ["e", {"deep": [value]}], ["e", 2**70, value]):
        with pytest.raises(EncodeError) as expected:
            json_parser.PARSER.encode(Packet(EVENT, data), "")
        with pytest.raises(EncodeError) as caught:
            PARSER.encode(Packet(EVENT, data), "")
        assert str(caught.value) == str(expected.value)


def test_a_number_that_no_float_can_hold() -> None:
    with pytest.raises(EncodeError, match="this value can't be sent: int too large to convert to float"):
        encode(event(10**400))


def selfish() -> list[tuple[str, Any]]:
    inlist: list[Any] = []
    inlist.append(inlist)
    indict: dict[str, Any] = {}
    indict["self"] = [indict]
    point = Point(1, None)
    point.y = point
    struct = Struct(1)
    struct.inner = struct
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    medium: Any = 1
    for _ in range(400):
        medium = [medium]
    return [("list", inlist), ("dict", indict), ("dataclass", point), ("struct", struct), ("deep", deep), ("m", medium)]


@pytest.mark.parametrize(("name", "value"), selfish())
@pytest.mark.parametrize("beside", [1, b"bytes", 2**70, "\ud800"], ids=repr)
def test_what_contains_itself(name: str, value: Any, beside: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(event(beside, value))
    assert str(caught.value) == "this value is nested too deeply to be sent, or contains itself"


def test_encoding_changes_nothing() -> None:
    inner = {"k": bytearray(b"x"), "big": 2**70}
    data = ["e", inner]
    encode(Packet(EVENT, data))
    assert data == ["e", {"k": bytearray(b"x"), "big": 2**70}]
    assert data[1] is inner


# Properties

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text() | st.binary(max_size=20)
    | st.datetimes(timezones=st.just(UTC)).map(lambda one: one.replace(microsecond=one.microsecond // 1000 * 1000)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.lists(VALUES, max_size=4), st.sampled_from(["/", "/a", "/방/b c"]), st.none() | st.integers(0, 10**15 - 1))
@settings(max_examples=150)
def test_what_is_written_is_read(args: list[Any], namespace: str, id_: int | None) -> None:
    packet = Packet(EVENT, ["event", *args], namespace, id_)
    assert decode(encode(packet)) == packet
    # The thorough way says the same.
    big = Packet(EVENT, ["event", *args, 2**70], namespace, id_)
    assert decode(encode(big)).data[:-1] == packet.data


@given(st.lists(VALUES, max_size=4), st.data())
@settings(max_examples=100)
def test_buffers_of_node_among_any_values(args: list[Any], data: st.DataObject) -> None:
    """Two buffers in the spelling of Node.js, put between any values, which stay what they are."""
    at = data.draw(st.integers(0, len(args)))
    frame = encode(event(*args[:at], b"%ONE%", *args[at:], b"%EIGHT%"))
    if frame.count(b"%ONE%") == frame.count(b"%EIGHT%") == 1:
        frame = frame.replace(b"\xc4\5%ONE%", b"\xc7\1\0x").replace(b"\xc4\7%EIGHT%", b"\xc7\x08\0\0\0\0\0\0\0\0\1")
        assert decode(frame).data == ["e", *args[:at], b"x", *args[at:], b"\0\0\0\0\0\0\0\1"]


@given(st.binary(max_size=60) | st.binary(max_size=60).map(body) | st.binary(max_size=60).map(argument))
@settings(max_examples=300)
def test_any_bytes_are_a_packet_or_an_error(frame: bytes) -> None:
    try:
        packet = decode(frame)
    except RemoteProtocolError:
        pass
    else:
        assert packet.kind in (CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR)
        assert packet.namespace.startswith("/")
        assert packet.id is None or packet.id >= 0
