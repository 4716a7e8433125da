"""The JSON parser: golden bytes both ways, limits, and what each side may put into a packet."""

import dataclasses
import datetime
import decimal
import enum
import json
import math
import uuid
from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madang.config import Config
from madang.errors import EncodeError, RemoteProtocolError
from madang.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, NOTHING, Frame, Packet, restore_attachments
from madang.parsers.json import PARSER

PROTOCOL = "Socket.IO protocol 5, packet encoding"
LIMITS = Config()
SMALL = Config(max_json_depth=4, max_event_args=3, max_attachments=2)

GOLDEN: list[tuple[Packet, list[Frame]]] = [
    (Packet(CONNECT, {}), ["0{}"]),
    (Packet(CONNECT, {"token": "123"}), ['0{"token":"123"}']),
    (Packet(CONNECT, {}, "/admin"), ["0/admin,{}"]),
    (Packet(CONNECT, {"sid": "oSO0OpakMV_3jnilAAAA"}, "/admin"), ['0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}']),
    (Packet(CONNECT_ERROR, {"message": "Not authorized"}), ['4{"message":"Not authorized"}']),
    (Packet(CONNECT_ERROR, {"message": "Not"}, "/admin"), ['4/admin,{"message":"Not"}']),
    (Packet(DISCONNECT), ["1"]),
    (Packet(DISCONNECT, namespace="/admin"), ["1/admin,"]),
    (Packet(EVENT, ["foo"]), ['2["foo"]']),
    (Packet(EVENT, ["foo", 1, None, True]), ['2["foo",1,null,true]']),
    (Packet(EVENT, ["bar"], "/admin"), ['2/admin,["bar"]']),
    (Packet(EVENT, ["foo"], id=12), ['212["foo"]']),
    (Packet(EVENT, ["foo"], id=0), ['20["foo"]']),
    (Packet(EVENT, ["foo"], "/admin", 13), ['2/admin,13["foo"]']),
    (Packet(EVENT, ["마당", "🎈\u2028"]), ['2["마당","🎈\u2028"]']),
    (Packet(EVENT, ['q"\\\n\x1e']), ['2["q\\"\\\\\\n\\u001e"]']),
    (Packet(ACK, [], id=12), ["312[]"]),
    (Packet(ACK, ["bar"], "/admin", 13), ['3/admin,13["bar"]']),
    (Packet(EVENT, ["baz", b"\1\2"]), ['51-["baz",{"_placeholder":true,"num":0}]', b"\1\2"]),
    (
        Packet(EVENT, ["baz", b"\1\2", "x", {"k": [b"\3"]}], "/admin", 7),
        [
            '52-/admin,7["baz",{"_placeholder":true,"num":0},"x",{"k":[{"_placeholder":true,"num":1}]}]',
            b"\1\2",
            b"\3",
        ],
    ),
    (Packet(ACK, [b""], id=15), ['61-15[{"_placeholder":true,"num":0}]', b""]),
    (
        Packet(ACK, [[b"a", b"b"]], "/x", 0),
        [
            '62-/x,0[[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]]',
            b"a",
            b"b",
        ],
    ),
]


def decode(text: Frame, limits: Config = LIMITS) -> Packet:
    return PARSER.decode(text, 0, limits)


def encode(*args: Any) -> str:
    """The arguments of an event as JSON, in one frame."""
    [frame] = PARSER.encode(Packet(EVENT, ["e", *args]), "")
    assert isinstance(frame, str)
    assert frame.startswith('2["e"')
    return frame[5:-1].removeprefix(",")


def refused(text: Frame, limits: Config = LIMITS) -> tuple[str, str]:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(text, limits)
    return caught.value.args[0], caught.value.rule


@pytest.mark.parametrize(("packet", "frames"), GOLDEN, ids=lambda one: repr(one)[:60])
def test_golden_out(packet: Packet, frames: list[Frame]) -> None:
    assert PARSER.encode(packet, "") == tuple(frames)
    assert PARSER.encode(packet, "4") == (f"4{frames[0]!s}", *frames[1:])


@pytest.mark.parametrize(("packet", "frames"), GOLDEN, ids=lambda one: repr(one)[:60])
def test_golden_in(packet: Packet, frames: list[Frame]) -> None:
    for prefix in ("", "4", "456["):
        read = PARSER.decode(f"{prefix}{frames[0]!s}", len(prefix), LIMITS)
        assert read.missing == len(frames) - 1
        if read.missing:
            read.data = restore_attachments(read.data, [frame for frame in frames[1:] if isinstance(frame, bytes)])
        assert read == packet


# ------------------------------------------------------------------------------------------------------- decode


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        # CONNECT without a body is CONNECT with nothing in it
        ("0", Packet(CONNECT, {})),
        ("0null", Packet(CONNECT, {})),
        ("0/admin,", Packet(CONNECT, {}, "/admin")),
        ("0/admin", Packet(CONNECT, {}, "/admin")),
        ("1/admin", Packet(DISCONNECT, NOTHING, "/admin")),
        # a query behind the name, as old clients send it
        ('0/admin?token=1&a=b,{"x":1}', Packet(CONNECT, {"x": 1}, "/admin")),
        ("0/?token=1,", Packet(CONNECT, {}, "/")),
        ("0?,", None),
        ('2/a/b,1["e"]', Packet(EVENT, ["e"], "/a/b", 1)),
        ('2/,["e"]', Packet(EVENT, ["e"])),
        ('2/a[0]{1},["e"]', Packet(EVENT, ["e"], "/a[0]{1}")),
        ('2/한글 🎈,["e"]', Packet(EVENT, ["e"], "/한글 🎈")),
        ('4"refused"', Packet(CONNECT_ERROR, "refused")),
        ('2 ["e"]', Packet(EVENT, ["e"])),
        ('2[ "e" , 1 ] ', Packet(EVENT, ["e", 1])),
        ('2[1,"a number as the name"]', Packet(EVENT, [1, "a number as the name"])),
        ('2[""]', Packet(EVENT, [""])),
        ('50-["e",{"_placeholder":true,"num":0}]', Packet(EVENT, ["e", {"_placeholder": True, "num": 0}])),
        ('2999999999999999["e"]', Packet(EVENT, ["e"], id=999_999_999_999_999)),
        ('3/n,999999999999999["e"]', Packet(ACK, ["e"], "/n", 999_999_999_999_999)),
    ],
)
def test_decode(text: str, packet: Packet | None) -> None:
    if packet is None:
        assert refused(text)[1] == PROTOCOL
    else:
        assert decode(text) == packet


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown packet type ''"),
        ("7", "unknown packet type '7'"),
        ('9["e"]', "unknown packet type '9'"),
        ("x", "unknown packet type 'x'"),
        ("\uff12[]", "unknown packet type '\uff12'"),
        # events
        ("2", "the body of an event must be a list that starts with its name"),
        ("2{}", "the body of an event must be a list that starts with its name"),
        ("2[]", "the body of an event must be a list that starts with its name"),
        ("2null", "the body of an event must be a list that starts with its name"),
        ('2"e"', "the body of an event must be a list that starts with its name"),
        ("21", "the body of an event must be a list that starts with its name"),
        ("2/admin,", "the body of an event must be a list that starts with its name"),
        ("2[null]", "the name of an event must be a string"),
        ("2[true]", "the name of an event must be a string"),
        ("2[1.5]", "the name of an event must be a string"),
        ("2[[]]", "the name of an event must be a string"),
        ("2[{}]", "the name of an event must be a string"),
        ('51-[{"_placeholder":true,"num":0}]', "the name of an event must be a string"),
        # not JSON
        ('2["e"', "a packet's body is not JSON"),
        ('2["e"]x', "a packet's body is not JSON"),
        ("2['e']", "a packet's body is not JSON"),
        ('2["e",]', "a packet's body is not JSON"),
        ('2["e",NaN]', "a packet's body is not JSON"),
        ('2["e",Infinity]', "a packet's body is not JSON"),
        ('2["e\n"]', "a packet's body is not JSON"),
        ('2["\\x"]', "a packet's body is not JSON"),
        ('2["\\ud800", NaN]', "a packet's body is not JSON"),
        ("2[" + "[" * 20, "a packet's body is not JSON"),
        ('2\uff11["e"]', "a packet's body is not JSON"),
        ('2-1["e"]', "a packet's body is not JSON"),
        ('21.5["e"]', "a packet's body is not JSON"),
        ('21234567890123456["e"]', "a packet's body is not JSON"),
        ("0{", "a packet's body is not JSON"),
        # bodies
        ("0[]", "the body of CONNECT must be an object"),
        ('0"x"', "the body of CONNECT must be an object"),
        ("0true", "the body of CONNECT must be an object"),
        ("1{}", "DISCONNECT has no body"),
        ("1/admin,{}", "DISCONNECT has no body"),
        ("1null", "DISCONNECT has no body"),
        ("4", "the body of CONNECT_ERROR must be an object or a string"),
        ("4[]", "the body of CONNECT_ERROR must be an object or a string"),
        # acknowledgements
        ("3[]", "an acknowledgement needs an id and a list of arguments"),
        ("31", "an acknowledgement needs an id and a list of arguments"),
        ("31{}", "an acknowledgement needs an id and a list of arguments"),
        ('31"x"', "an acknowledgement needs an id and a list of arguments"),
        # attachments
        ('5["e"]', "a binary packet does not tell how many attachments it has"),
        ('5-["e"]', "a binary packet does not tell how many attachments it has"),
        ("61[]", "a binary packet does not tell how many attachments it has"),
        ('21-["e"]', "only binary packets have attachments"),
        ("01-{}", "only binary packets have attachments"),
        ("5\uff11-[]", "a binary packet does not tell how many attachments it has"),
        ('59999999999-["e"]', "a binary packet does not tell how many attachments it has"),
        (b'2["e"]', "a binary frame came where none was announced"),
        (b"", "a binary frame came where none was announced"),
    ],
)
def test_refused(text: Frame, message: str) -> None:
    got, rule = refused(text)
    if text == '21-["e"]':
        # the fast path takes "1-" for a number that is none
        assert got in (message, "a packet's body is not JSON")
    else:
        assert got == message
    assert rule == PROTOCOL


@pytest.mark.parametrize(
    "name", ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
)
def test_reserved_names(name: str) -> None:
    for text in (f'2["{name}"]', f'2/admin,1["{name}",1]', f'51-["{name}",{{"_placeholder":true,"num":0}}]'):
        assert refused(text) == (f"the event name {name!r} is reserved", PROTOCOL)
    assert decode(f'2["{name} "]').data == [f"{name} "]
    assert decode(f'31["{name}"]').data == [name]


def test_the_name_of_the_connection_event_is_free_on_the_wire() -> None:
    assert decode('2["connection"]').data == ["connection"]


# Limits


@pytest.mark.parametrize("head", ["2", "27", "2/n,", "50-", "50-/n,1"])
def test_max_event_args(head: str) -> None:
    assert decode(head + '["e",1,2,3]', SMALL).data == ["e", 1, 2, 3]
    assert refused(head + '["e",1,2,3,4]', SMALL) == ("an event with 4 arguments; 3 are allowed", "max_event_args")


@pytest.mark.parametrize("head", ["31", "3/n,1", "60-1"])
def test_max_ack_args(head: str) -> None:
    assert decode(head + "[1,2,3]", SMALL).data == [1, 2, 3]
    assert refused(head + "[1,2,3,4]", SMALL) == ("4 arguments; 3 are allowed", "max_event_args")


def test_max_attachments() -> None:
    assert decode('52-["e"]', SMALL).missing == 2
    assert refused('53-["e"]', SMALL) == ("a packet with 3 attachments; 2 are allowed", "max_attachments")
    assert refused('6999999999-1["e"]', SMALL)[1] == "max_attachments"


@pytest.mark.parametrize(
    "body",
    [
        '["e",[[[]]]]',
        '["e",{"a":{"b":{}}}]',
        '["e",[{"a":[]}]]',
        '["e",[],[],[],[],[],[],[],[],[]]',
        # brackets inside strings do not nest
        '["[[[[[[[[[[[[[[[["]',
        '["e",["\\"[[[[[[[[[["]]',
        '["e",["\\\\",["\\\\\\"[[[[[["]]]',
        '["{{{{{{{{","]]]]]]","[[[[[[[["]',
        '["e",{"[[[[[[[[":"{{{{{{{{{"}]',
        # other escapes right before the end of a string
        '["\\n","[[[[[[[["]',
        '["\\u0041","[[[[[[[[","\\\\\\n","]]{{{{{{{{{"]',
    ],
)
def test_depth_allowed(body: str) -> None:
    assert decode("2" + body, Config(max_json_depth=4)).data == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        '["e",[[[[]]]]]',
        '["e",{"a":{"b":{"c":{}}}}]',
        '["]]]]]",[[[[]]]]]',
        '["\\"",[[[[]]]]]',
        '["\\\\",[[[[1]]]]]',
        '["\\n",[[[[1]]]],"x"]',
        '["\\ud800","\\udc00x",[[[[1]]]],"x"]',
        '["\\\\\\u0000",[[[[1]]]],"x"]',
        '["e",[[[[',
        "[" * 3000,
        '["e",' + "[" * 50_000,
        '["e",' + '{"a":' * 50_000,
    ],
)
def test_too_deep(body: str) -> None:
    for head in ("2", "2/n,", "50-", "31"):
        assert refused(head + body, SMALL) == ("JSON is nested deeper than 4 levels", "max_json_depth")


@given(
    st.recursive(st.text(alphabet='[]{}"\\a\n\0', max_size=6), lambda inner: st.lists(inner, max_size=3), max_leaves=20)
)
@settings(max_examples=150)
def test_depth_is_the_depth(value: Any) -> None:
    def depth(one: Any) -> int:
        return 1 + max(map(depth, one), default=0) if isinstance(one, list) else 0

    text = "2" + json.dumps(["e", value])
    deep = depth(["e", value])
    assert decode(text, Config(max_json_depth=deep)).data == ["e", value]
    if deep > 1:
        assert refused(text, Config(max_json_depth=deep - 1))[1] == "max_json_depth"


def test_the_default_depth_restores_attachments_without_recursion_error() -> None:
    text = '51-["e",' + "[" * 62 + '{"_placeholder":true,"num":0}' + "]" * 62 + "]"
    packet = decode(text)
    assert restore_attachments(packet.data, [b"x"]) is packet.data


# Values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1e400", None),
        ("0.1", 0.1),
        ("-0", 0),
        ('"\\u0000"', "\0"),
        ('"\\ud83c\\udf88"', "🎈"),
    ],
)
def test_numbers_and_escapes_in(text: str, value: Any) -> None:
    if value is None:
        assert refused(f'2["e",{text}]')[1] == PROTOCOL
    else:
        assert decode(f'2["e",{text}]').data[1] == value


def test_big_integers_in() -> None:
    """JavaScript has no integers over 2**53: what comes is a number of about that size."""
    assert decode(f'2["e",{2**70}]').data[1] == pytest.approx(2**70)
    assert decode('2["e",1' + "0" * 300 + "]").data[1] == pytest.approx(1e300)


@pytest.mark.parametrize("escaped", ["\\ud800", "\\udc00", "a\\ud83cb", "\\udf88\\ud83c", "\\uD800\\u0041"])
def test_lone_surrogates_in(escaped: str) -> None:
    expected = json.loads(f'"{escaped}"')
    assert decode(f'2["e","{escaped}"]').data[1] == expected
    assert decode(f'2["{escaped}"]').data == [expected]
    assert decode(f'2["e",{{"{escaped}":1}}]').data[1] == {expected: 1}


def test_lone_surrogates_in_the_frame_itself() -> None:
    """No UTF-8 can bring them, but a transport that hands on text as it is might."""
    assert decode('2["e","\ud800"]').data[1] == "\ud800"


def test_lone_surrogates_out() -> None:
    text = encode("\ud800a", {"\udc00": 1})
    assert text == '"\\ud800a",{"\\udc00":1}'
    text.encode()


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 2**200])
def test_big_integers_out(number: int) -> None:
    assert encode(number) == str(number)
    frames = PARSER.encode(Packet(EVENT, ["e", number, b"x"]), "")
    assert frames == (f'51-["e",{number},{{"_placeholder":true,"num":0}}]', b"x")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_not_a_number_out(number: float) -> None:
    """JSON.stringify writes null."""
    assert encode(number) == "null"


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


class Struct(msgspec.Struct):
    x: int
    inner: Any = None


class Model(pydantic.BaseModel):
    x: int
    name: str


KOREA = datetime.timezone(datetime.timedelta(hours=9))
VALUES: list[tuple[Any, str]] = [
    (Point(1, [2]), '{"x":1,"y":[2]}'),
    (Point(1, Point(2, None)), '{"x":1,"y":{"x":2,"y":null}}'),
    (Colour.RED, '"red"'),
    (Level.HIGH, "3"),
    (Word.YES, '"yes"'),
    (datetime.datetime(2026, 11, 22, 9, 30, tzinfo=KOREA), '"2026-11-22T09:30:00+09:00"'),
    (datetime.date(2026, 11, 22), '"2026-11-22"'),
    (datetime.time(9, 30), '"09:30:00"'),
    (uuid.UUID("12345678-1234-5678-1234-567812345678"), '"12345678-1234-5678-1234-567812345678"'),
    (Struct(1), '{"x":1,"inner":null}'),
    (Struct(1, Struct(2)), '{"x":1,"inner":{"x":2,"inner":null}}'),
    (Model(x=1, name="마당"), '{"x":1,"name":"마당"}'),
    ({7}, "[7]"),
    (frozenset(), "[]"),
    (decimal.Decimal("1.50"), '"1.50"'),
    (datetime.timedelta(minutes=1, seconds=30), '"PT90S"'),
    ((1, (2, 3)), "[1,[2,3]]"),
    (OrderedDict(a=1), '{"a":1}'),
]


@pytest.mark.parametrize(("value", "text"), VALUES, ids=lambda one: type(one).__name__)
def test_values_out(value: Any, text: str) -> None:
    assert encode(value) == text
    assert encode([{"deep": value}]) == f'[{{"deep":{text}}}]'


@pytest.mark.parametrize(("value", "text"), VALUES, ids=lambda one: type(one).__name__)
def test_values_out_beside_what_the_fast_library_refuses(value: Any, text: str) -> None:
    """A client's half of an emoji must not change what else can be sent with it."""
    assert json.loads(f"[{encode(value, chr(0xD800), 2**70)}]") == [json.loads(text), "\ud800", 2**70]


@pytest.mark.parametrize("text", ["\ud800", "a\udc00b"])
def test_surrogates_inside_of_other_types(text: str) -> None:
    assert json.loads(encode(Point(1, text))) == {"x": 1, "y": text}
    assert json.loads(encode(Struct(1, text))) == {"x": 1, "inner": text}


def test_not_a_number_beside_what_the_fast_library_refuses() -> None:
    assert encode(math.nan, 2**70) == f"null,{2**70}"


@pytest.mark.parametrize(
    ("key", "text"), [(1, "1"), (1.5, "1.5"), (True, "true"), (None, "null"), (Word.YES, "yes"), (Level.HIGH, "3")]
)
def test_keys_that_are_no_strings(key: Any, text: str) -> None:
    assert encode({key: 1}) == f'{{"{text}":1}}'


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_kinds_of_bytes(kind: Any) -> None:
    frames = PARSER.encode(Packet(EVENT, ["e", kind(b"abc"), [kind(b"")]]), "4")
    assert frames == ('452-["e",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]', b"abc", b"")
    assert [type(frame) for frame in frames] == [str, bytes, bytes]


def test_bytes_inside_of_other_types() -> None:
    frames = PARSER.encode(Packet(EVENT, ["e", Point(1, b"p"), Struct(1, b"s"), {"k": (b"t",)}]), "")
    assert frames[1:] == (b"p", b"s", b"t")


def test_a_part_of_bytes() -> None:
    assert PARSER.encode(Packet(EVENT, ["e", memoryview(b"abcdef")[1:5:2]]), "")[1] == b"bd"


def test_attachments_are_copies() -> None:
    buffer = bytearray(b"abc")
    frame = PARSER.encode(Packet(EVENT, ["e", buffer]), "")[1]
    buffer[:] = b"xyz"
    assert frame == b"abc"


class Custom:
    def __repr__(self) -> str:
        return "<custom " + "x" * 100 + ">"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            Custom(),
            "this value can't be sent: Custom can't be sent (<custom " + "x" * 72 + "); "
            "turn it into a dict, list, str, number or bytes first",
        ),
        (
            1 + 2j,
            "this value can't be sent: complex can't be sent ((1+2j)); "
            "turn it into a dict, list, str, number or bytes first",
        ),
    ],
    ids=["object", "complex"],
)
def test_unencodable(value: Any, message: str) -> None:
    for data in (["e", value], ["e", {"deep": [value]}], ["e", b"attachment", value]):
        with pytest.raises(EncodeError) as caught:
            PARSER.encode(Packet(EVENT, data), "")
        assert str(caught.value) == message


def test_keys_that_cannot_be_sent() -> None:
    with pytest.raises(EncodeError, match="can't be sent"):
        encode({(1, 2): 3})
    with pytest.raises(EncodeError, match="can't be sent"):
        encode({b"bytes": 3})


class Pair(NamedTuple):
    x: int
    y: int


def test_named_tuples_are_lists() -> None:
    assert encode(Pair(1, 2)) == "[1,2]"


def test_other_keys_beside_what_the_fast_library_refuses() -> None:
    keys = {datetime.date(2026, 11, 22): 1, Colour.RED: 2, None: 3, 4: 4, True: 5, 2**70: 6}
    assert json.loads(encode(keys)) == {"2026-11-22": 1, "red": 2, "null": 3, "4": 4, "true": 5, str(2**70): 6}


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
    return [("list", inlist), ("dict", indict), ("dataclass", point), ("struct", struct), ("deep", deep)]


@pytest.mark.parametrize(("name", "value"), selfish())
@pytest.mark.parametrize("beside", [1, b"bytes", 2**70, "\ud800"], ids=repr)
def test_what_contains_itself(name: str, value: Any, beside: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        PARSER.encode(Packet(EVENT, ["e", beside, value]), "")
    assert str(caught.value) == "this value is nested too deeply to be sent, or contains itself"


@pytest.mark.parametrize("kind", [CONNECT, CONNECT_ERROR])
def test_bytes_where_none_can_be(kind: int) -> None:
    with pytest.raises(EncodeError, match="bytes can be sent with events and acknowledgements only"):
        PARSER.encode(Packet(kind, {"data": b"x"}), "")


def test_encoding_changes_nothing() -> None:
    inner = {"k": bytearray(b"x")}
    data = ["e", inner]
    PARSER.encode(Packet(EVENT, data), "")
    assert data == ["e", {"k": bytearray(b"x")}]
    assert data[1] is inner


# Properties

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
).filter(lambda value: "_placeholder" not in repr(value))  # fmt: skip


@given(st.lists(JSON, max_size=4), st.sampled_from(["/", "/a", "/방/b c"]), st.none() | st.integers(0, 10**15 - 1))
@settings(max_examples=100)
def test_what_is_written_is_read(args: list[Any], namespace: str, id_: int | None) -> None:
    packet = Packet(EVENT, ["event", *args], namespace, id_)
    text, *attachments = PARSER.encode(packet, "4")
    limits = Config(max_attachments=1000)
    read = PARSER.decode(text, 1, limits)
    assert read.missing == len(attachments)
    read.data = restore_attachments(read.data, attachments)  # type: ignore[arg-type]
    assert read == packet


@given(st.text(alphabet=st.sampled_from('0123456-/,?[]{}":\\ aeu한\ud800\x1e'), max_size=40) | st.text())
@settings(max_examples=200)
def test_any_text_is_a_packet_or_an_error(text: str) -> None:
    try:
        packet = decode(text)
    except RemoteProtocolError:
        pass
    else:
        assert packet.kind in (CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR)
        assert packet.namespace.startswith("/")
        assert packet.id is None or packet.id >= 0
