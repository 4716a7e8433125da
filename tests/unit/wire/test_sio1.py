"""Socket.IO protocol 1: golden frames and payloads, requests and their answers, the forms of its transports."""

import contextlib
import datetime
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madang import Server, transports
from madang.config import Config
from madang.errors import (
    BAD_REQUEST,
    FORBIDDEN,
    SERVER_FULL,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    ConfigError,
    RemoteProtocolError,
    RequestRefused,
)
from madang.packet import (
    ACK,
    CLOSE,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    NOOP,
    PING,
    PONG,
    Packet,
)
from madang.parsers import json as json_parser
from madang.parsers import msgpack as msgpack_parser
from madang.testing import check_wire
from madang.transports import Request
from madang.wire import Address, Open
from madang.wire.sio1 import HTMLFILE, JSONP_POLLING, WIRE, XHR_POLLING

JSON = json_parser.PARSER
LIMITS = Config()
RULE = "Socket.IO protocol 1, encoding"
PAYLOADS = "Socket.IO protocol 1, payloads"
HELLO = Open("lv_VI97HAXpY6yYWAAAC", ["websocket", "xhr-polling"], 25, 20, 1_000_000)


def asked(path: str = "/socket.io/1/", query: str = "", method: str = "GET", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(method, path, query, pairs)


def read(frame: str, limits: Config = LIMITS) -> tuple[Packet | None, list[Packet]]:
    """What a frame is read as, and what is answered at once."""
    decoder = WIRE.decoder(JSON, limits)
    answers: list[Packet] = []
    decoder.answers(answers.append)
    return decoder.feed(frame), answers


def refused(frame: str | bytes, limits: Config = LIMITS) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        WIRE.decoder(JSON, limits).feed(frame)
    return caught.value


def written(packet: Packet) -> str:
    [frame] = WIRE.encode(packet, JSON)
    assert isinstance(frame, str)
    return frame


# ---- what is read ----


@pytest.mark.parametrize(
    ("frame", "packet"),
    [
        ("0", Packet(DISCONNECT)),
        ("0::", Packet(DISCONNECT)),
        ("0::/chat", Packet(DISCONNECT, namespace="/chat")),
        ("1::", Packet(CONNECT, {})),
        ("1::/chat", Packet(CONNECT, {}, "/chat")),
        ("1::/방", Packet(CONNECT, {}, "/방")),
        ("1::/chat?token=a+b&x&token=2", Packet(CONNECT, {"token": "2", "x": ""}, "/chat")),
        ("1::/chat:?token=%EB%B0%A9", Packet(CONNECT, {"token": "방"}, "/chat")),
        ("1::/chat:token=1", Packet(CONNECT, {"token": "1"}, "/chat")),
        ("2::", Packet(PONG)),
        ("2:::", Packet(PONG)),
        ("3:::hello", Packet(EVENT, ["message", "hello"])),
        ("3:::a:b::c\nd", Packet(EVENT, ["message", "a:b::c\nd"])),
        ("3:::", Packet(EVENT, ["message", ""])),
        ("3::", Packet(EVENT, ["message", ""])),
        ("3::/chat:hi", Packet(EVENT, ["message", "hi"], "/chat")),
        ("3:4+:/chat:hi", Packet(EVENT, ["message", "hi"], "/chat", 4)),
        ('4:::{"a":"b"}', Packet(EVENT, ["message", {"a": "b"}])),
        ("4:::null", Packet(EVENT, ["message", None])),
        ('5:::{"name":"e"}', Packet(EVENT, ["e"])),
        ('5:::{"name":"e","args":[]}', Packet(EVENT, ["e"])),
        ('5:::{"name":"e","args":null}', Packet(EVENT, ["e"])),
        ('5:1+::{"name":"e","args":[1,{"x":"\u2028"}]}', Packet(EVENT, ["e", 1, {"x": "\u2028"}], id=1)),
        ('5:::{"args":["\\ud800"],"name":"e"}', Packet(EVENT, ["e", "\ud800"])),
        ("6:::4", Packet(ACK, [], id=4)),
        ("6:::4+", Packet(ACK, [], id=4)),
        ('6::/chat:4+["A","B"]', Packet(ACK, ["A", "B"], "/chat", 4)),
        ("7:::1+0", Packet(NOOP)),
        ("7::/chat:2", Packet(NOOP)),
        ("8::", Packet(NOOP)),
    ],
)
def test_reads(frame: str, packet: Packet) -> None:
    assert read(frame) == (packet, [])


@pytest.mark.parametrize(
    ("frame", "data", "answer"),
    [
        ("3:1::hi", ["message", "hi"], "6:::1"),
        ("4:2:/chat:[1]", ["message", [1]], "6::/chat:2"),
        ('5:3:/방:{"name":"e","args":[1]}', ["e", 1], "6::/방:3"),
    ],
)
def test_an_id_alone_asks_whether_it_has_come(frame: str, data: list[object], answer: str) -> None:
    packet, [acknowledgement] = read(frame)
    assert packet is not None
    assert packet.data == data
    assert packet.id is None  # it is answered, and not by a handler
    assert written(acknowledgement) == answer
    assert WIRE.decoder(JSON, LIMITS).feed(frame) == packet  # nobody has to hear the answer


def test_namespaces_without_a_slash_are_unknown() -> None:
    packet, [answer] = read("1::chat")
    assert packet == Packet(NOOP)
    assert written(answer) == "7::chat:2"
    assert read("3::chat:hi") == (Packet(NOOP), [])


def test_programs_that_say_disconnect_are_not_heard() -> None:
    assert read('5:::{"name":"disconnect"}') == (Packet(NOOP), [])


@pytest.mark.parametrize(
    ("frame", "rule"),
    [
        ("", RULE),
        (" ", RULE),
        ("9::", RULE),
        ("10::", RULE),
        ("3", RULE),
        ("3:", RULE),
        ("hello", RULE),
        ("3:x::hi", RULE),
        ("3:-1::hi", RULE),
        ("3:\u0661::hi", RULE),
        (f"3:{'1' * 16}::hi", RULE),
        ("3:+::hi", RULE),
        ("5::", RULE),
        ("5:::", RULE),
        ("5:::[]", RULE),
        ('5:::{"name":"e"', RULE),
        ('5:::{"name":"e","args":{}}', RULE),
        ("5:::{}", "Socket.IO protocol 5, packet encoding"),
        ('5:::{"name":["e"]}', "Socket.IO protocol 5, packet encoding"),
        ('5:::{"name":"connect"}', "Socket.IO protocol 5, packet encoding"),
        ("4:::", RULE),
        ("4:::NaN", RULE),
        ("4:::" + "[" * 100_000, "max_json_depth"),
        ("6::", RULE),
        ("6:::", RULE),
        ("6:::x", RULE),
        ("6:::1+{}", "Socket.IO protocol 5, packet encoding"),
        ("6:::1+[", RULE),
        ("6:::1,[]", RULE),
        ("1::/chat?" + "&".join(map(str, range(65))), RULE),
        (b"3:::hi", RULE),
    ],
)
def test_refuses(frame: str | bytes, rule: str) -> None:
    assert refused(frame).rule == rule


def test_limits() -> None:
    few = Config(max_event_args=2)
    many = '5:::{"name":"e","args":[1,2,3]}'
    assert refused(many, few).rule == "max_event_args"
    assert refused("6:::1+[1,2,3]", few).rule == "max_event_args"
    assert read(many)[0] == Packet(EVENT, ["e", 1, 2, 3])


@settings(max_examples=500)
@given(
    st.text(st.sampled_from('0123456789:+/?&=[]{}",.eEnul\n\ufffd\u2028한🎈'), max_size=40)
    | st.from_regex(r"[0-8]:[0-9]{0,3}\+?:(/[a-z]{0,3})?:.*", fullmatch=True)
)
def test_garbage_is_a_protocol_error(frame: str) -> None:
    try:
        packet, answers = read(frame)
    except RemoteProtocolError:
        return
    assert packet is not None
    for answer in answers:
        assert written(answer)


@settings(max_examples=300)
@given(
    st.sampled_from(['5:1+:/a:{"name":"e","args":["x",[1,{}]]}', '6::/a:1+["x"]', "3:1:/a:x", "1::/a:?b=c"]), st.data()
)
def test_one_wrong_character_is_a_protocol_error(frame: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(frame) - 1))
    wrong = frame[:at] + data.draw(st.characters()) + frame[at + 1 :]
    with contextlib.suppress(RemoteProtocolError):
        assert read(wrong)[0] is not None


# ---- what is written ----


@pytest.mark.parametrize(
    ("packet", "frame"),
    [
        (Packet(CONNECT, {"sid": "x"}), "1::"),
        (Packet(CONNECT, {"sid": "x"}, "/chat"), "1::/chat"),
        (Packet(CONNECT_ERROR, {"message": "no"}), "7:::2"),
        (Packet(CONNECT_ERROR, {"message": "no", "data": 1}, "/chat"), "7::/chat:2"),
        (Packet(DISCONNECT), "0::"),
        (Packet(DISCONNECT, namespace="/chat"), "0::/chat"),
        (Packet(PING), "2::"),
        (Packet(PONG), "2::"),
        (Packet(NOOP), "8::"),
        (Packet(CLOSE), "7:::1+0"),
        (Packet(EVENT, ["e"]), '5:::{"name":"e"}'),
        (Packet(EVENT, ["e", 1, None]), '5:::{"name":"e","args":[1,null]}'),
        (Packet(EVENT, ["e", 1], "/chat", 7), '5:7+:/chat:{"name":"e","args":[1]}'),
        (Packet(EVENT, ["é", "\u2028😀"]), '5:::{"name":"\\u00e9","args":["\\u2028\\ud83d\\ude00"]}'),
        (Packet(EVENT, ["e", b"png", [b""]]), '5:::{"name":"e","args":["cG5n",[""]]}'),
        (Packet(EVENT, ["e", bytearray(b"png")]), '5:::{"name":"e","args":["cG5n"]}'),
        (
            Packet(EVENT, ["e", datetime.date(2026, 1, 2), {1: 2**70}]),
            '5:::{"name":"e","args":["2026-01-02",{"1":1180591620717411303424}]}',
        ),
        (Packet(EVENT, ["message"]), '5:::{"name":"message"}'),
        (Packet(EVENT, ["message", "a", "b"]), '5:::{"name":"message","args":["a","b"]}'),
        (Packet(EVENT, ["message", ""]), "3::"),
        (Packet(EVENT, ["message", "", ], "/chat", 1), "3:1+:/chat"),
        (Packet(EVENT, ["message", "a:b é한"]), "3:::a:b é한"),
        (Packet(EVENT, ["message", "hi"], "/chat", 1), "3:1+:/chat:hi"),
        (Packet(EVENT, ["message", "a\nb"]), '4:::"a\\nb"'),
        (Packet(EVENT, ["message", "a\rb"]), '4:::"a\\rb"'),
        (Packet(EVENT, ["message", "a\u2028b"]), '4:::"a\\u2028b"'),
        (Packet(EVENT, ["message", "a\u2029b"]), '4:::"a\\u2029b"'),
        (Packet(EVENT, ["message", "😀"]), '4:::"\\ud83d\\ude00"'),
        (Packet(EVENT, ["message", "\ud83d"]), '4:::"\\ud83d"'),
        (Packet(EVENT, ["message", "a\\/b"]), '4:::"a\\\\/b"'),
        (Packet(EVENT, ["message", None]), "4:::null"),
        (Packet(EVENT, ["message", {"a": b"png"}], id=1), '4:1+::{"a":"cG5n"}'),
        (Packet(EVENT, ["message", b"png"]), '4:::"cG5n"'),
        (Packet(ACK, [], id=4), "6:::4"),
        (Packet(ACK, ["\u2028", b"png"], "/chat", 4), '6::/chat:4+["\\u2028","cG5n"]'),
    ],
)  # fmt: skip
def test_writes(packet: Packet, frame: str) -> None:
    assert written(packet) == frame
    assert WIRE.encode(packet, msgpack_parser.PARSER) == (frame,)  # whatever the parser


def test_open() -> None:
    assert WIRE.open(HELLO) == "1::"


SENT = [
    Packet(DISCONNECT),
    Packet(DISCONNECT, namespace="/방"),
    Packet(CONNECT, {}, "/chat"),
    Packet(ACK, [], id=0),
    Packet(
        EVENT, ["e", None, True, 2**53, 0.5, "", '마당 🎈 \x1e \0 \\ " \u2028', [], {"key": [1, {"": None}]}], "/방", 7
    ),
    Packet(EVENT, ["message", "마당"]),
    Packet(EVENT, ["message", "마당 🎈\n"], "/방"),
    Packet(EVENT, ["message", {"a": [1]}], id=3),
]


def test_conformance() -> None:
    check_wire(WIRE, JSON, SENT)


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from(["message", "e", "마당"]),
    st.integers(0, 10**15 - 1) | st.none(),
    st.sampled_from(["/", "/chat", "/방"]),
)
def test_what_is_written_is_read(value: object, name: str, id_: int | None, namespace: str) -> None:
    packet = Packet(EVENT, [name, value], namespace, id_)
    frame = written(packet)
    assert read(frame) == (packet, [])
    [same] = WIRE.split(WIRE.join([frame]), LIMITS)
    assert same == frame
    assert WIRE.split(WIRE.join([frame, "8::", frame]), LIMITS) == [frame, "8::", frame]


# ---- payloads ----


@pytest.mark.parametrize(
    ("frames", "payload"),
    [
        (["8::"], "8::"),
        (["8::", "3:::hi"], "\ufffd3\ufffd8::\ufffd6\ufffd3:::hi"),
        (
            ['6:::1+["x","€é😀"]', "6:::7", "3:::hi"],
            '\ufffd18\ufffd6:::1+["x","€é😀"]\ufffd5\ufffd6:::7\ufffd6\ufffd3:::hi',
        ),
        (["3:::한", "3:::\ufffd5\ufffd"], "\ufffd5\ufffd3:::한\ufffd7\ufffd3:::\ufffd5\ufffd"),
        (["3:::", "3:::😀😀"], "\ufffd4\ufffd3:::\ufffd8\ufffd3:::😀😀"),
    ],
)
def test_payloads(frames: list[str], payload: str) -> None:
    assert WIRE.join(frames) == payload
    assert WIRE.split(payload, LIMITS) == frames


def test_lengths_in_characters() -> None:
    assert WIRE.split("\ufffd6\ufffd3:::😀😀\ufffd5\ufffd3:::한", LIMITS) == ["3:::😀😀", "3:::한"]
    assert WIRE.split("\ufffd5\ufffd3:::한\ufffd5\ufffd3:::😀", LIMITS) == ["3:::한", "3:::😀"]


@pytest.mark.parametrize(
    "payload",
    [
        "\ufffd",
        "\ufffd\ufffd",
        "\ufffd3",
        "\ufffd3\ufffd",
        "\ufffd3\ufffd8:",
        "\ufffd3\ufffd8:::",
        "\ufffdx\ufffd8::",
        "\ufffd-1\ufffd8::",
        "\ufffd3\ufffd8::8::",
        "\ufffd3\ufffd8::\ufffd",
        "\ufffd1000000000\ufffd8::",
        "\ufffd\u0663\ufffd8::",
        "\ufffd7\ufffd3:::😀\ufffd3\ufffd8::",
        b"8::",
    ],
)
def test_malformed_payloads(payload: str | bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        WIRE.split(payload, LIMITS)
    assert caught.value.rule == PAYLOADS


@pytest.mark.parametrize("frame", ["", "8::", "3:::😀"])
def test_too_many_packets(frame: str) -> None:
    most = Config(max_packets_per_payload=10)
    assert len(WIRE.split(WIRE.join([frame] * 10), most)) == 10
    with pytest.raises(RemoteProtocolError) as caught:
        WIRE.split(WIRE.join([frame] * 11), most)
    assert caught.value.rule == "max_packets_per_payload"


def test_hostile_payloads_take_no_long_time() -> None:
    begin = time.process_time()
    for payload in (
        "\ufffd1\ufffd3" * 8_000 + "\ufffd",
        "\ufffd2\ufffd😀" * 8_000 + "\ufffd",
        "\ufffd" * 300_000,
        "\ufffd" + "1" * 900_000,
        "\ufffd999999\ufffd" + "😀" * 240_000,
    ):
        with pytest.raises(RemoteProtocolError):
            WIRE.split(payload, LIMITS)
    for frame in (":" * 900_000, "3:" + "1" * 900_000, "5:::" + '"' * 900_000, "1::/?" + "&" * 900_000):
        with contextlib.suppress(RemoteProtocolError):
            WIRE.decoder(JSON, LIMITS).feed(frame)
    assert time.process_time() - begin < 10


@settings(max_examples=300)
@given(st.lists(st.text(st.sampled_from("8:a한😀\ufffd5"), max_size=12), min_size=2, max_size=8))
def test_what_is_joined_is_split(frames: list[str]) -> None:
    payload = WIRE.join(frames)
    assert WIRE.split(payload, LIMITS) == frames
    assert len(payload.encode("utf-8", "replace")) <= WIRE.payload_bytes(frames)


@settings(max_examples=300)
@given(st.text(st.sampled_from("\ufffd\ufffd\ufffd0123458:한😀"), max_size=40))
def test_any_payload_is_split_or_refused(payload: str) -> None:
    with contextlib.suppress(RemoteProtocolError):
        frames = WIRE.split(payload, LIMITS)
        assert len("".join(map(str, frames))) <= len(payload)


# ---- requests ----


@pytest.mark.parametrize(
    ("below", "query", "address"),
    [
        ("1", "", Address("")),
        ("1", "t=1&user=me", Address("")),
        ("1/websocket", "", Address("")),
        ("1/websocket/SID", "", Address("websocket", "SID")),
        ("1/xhr-polling/SID", "t=1", Address("xhr-polling", "SID")),
        ("1/nothing/SID", "", Address("nothing", "SID")),
        ("1/xhr-polling/a/b", "", Address("xhr-polling", "a/b")),
        ("1/xhr-polling/SID", "disconnect=1", Address("xhr-polling", "SID", True)),
        ("1//SID", "disconnect=1", Address("", "SID", True)),
        ("1//SID", "disconnect=", Address("", "SID")),
        ("1/SID", "", Address("", "SID", True)),
        ("", "", None),
        ("", "EIO=4&transport=polling", None),
        ("socket.io.js", "", None),
        ("1a", "", None),
        ("\u0661", "", None),
    ],
)
def test_addresses(below: str, query: str, address: Address | None) -> None:
    assert WIRE.address(asked(query=query), below) == address


def test_what_the_program_gives_in_the_query_is_its_auth() -> None:
    assert WIRE.auth(asked(query="t=1&jsonp=0&token=secret&nick=Kiosk")) == {"token": "secret", "nick": "Kiosk"}


@pytest.mark.parametrize("below", ["0", "2", "01", "2/websocket/SID", "1" * 5000])
def test_other_versions(below: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        WIRE.address(asked(), below)
    assert caught.value.status == 500
    assert len(str(caught.value)) < 200
    answer = WIRE.refusal(asked(f"/socket.io/{below}/"), caught.value)
    assert (answer.status, answer.body) == (500, b"Protocol version not supported.")


@pytest.mark.parametrize(
    ("below", "owned"),
    [("1", True), ("1/websocket/SID", True), ("2/x", True), ("", False), ("socket.io.js", False), ("\u0661", False)],
)
def test_owns(below: str, owned: bool) -> None:
    assert WIRE.owns(below) is owned


def test_transports() -> None:
    known = {name: transports.load(name) for name in ("jsonp", "polling", "iframe", "websocket", "flashsocket", "sse")}
    served = WIRE.transports(known)
    assert list(served) == ["websocket", "flashsocket", "htmlfile", "xhr-polling", "jsonp-polling"]
    assert served["websocket"] is known["websocket"]
    assert {name: transport.name for name, transport in served.items()} == {
        "websocket": "websocket",
        "flashsocket": "flashsocket",
        "htmlfile": "iframe",
        "xhr-polling": "polling",
        "jsonp-polling": "jsonp",
    }
    assert all(transport.upgrades == () for transport in (XHR_POLLING, JSONP_POLLING, HTMLFILE))
    assert WIRE.transports({}) == {}


@pytest.mark.parametrize(
    ("times", "heartbeat", "close"),
    [
        ((25.0, 20.0, 30.0), 45, 50),
        ((0.3, 0.4, 0.5), 1, 1),
        ((25.0, 20.0, 120.0), 45, 140),
        ((60.0, 9.5, 30.0), 70, 70),
    ],
)
def test_handshake(times: tuple[float, float, float], heartbeat: int, close: int) -> None:
    interval, timeout, poll = times
    answer = WIRE.handshake(asked(query="t=1"), Open("SID", ["websocket", "xhr-polling"], interval, timeout, 100, poll))
    assert answer.status == 200
    assert answer.body == f"SID:{heartbeat}:{close}:websocket,xhr-polling".encode()
    assert dict(answer.headers)["Content-Type"] == "text/plain; charset=UTF-8"
    assert dict(answer.headers)["X-Content-Type-Options"] == "nosniff"


def test_handshake_of_a_script() -> None:
    answer = WIRE.handshake(asked(query="t=1&jsonp=12"), HELLO)
    assert answer.body == b'io.j[12]("lv_VI97HAXpY6yYWAAAC:45:50:websocket,xhr-polling");'
    assert dict(answer.headers)["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize("index", ["", "x", "-1", "1x", "1]);alert(1)//", "\u0661", "1" * 10, "1 "])
def test_what_is_no_number_is_no_script(index: str) -> None:
    query = f"jsonp={quote(index)}&i={quote(index)}"
    assert WIRE.handshake(asked(query=query), HELLO).body.startswith(b"lv_")
    assert WIRE.reader(asked(query=query, origin="https://bad.example")) is None
    assert JSONP_POLLING.respond(asked(query=query), "8::").body == b'io.j[0]("8::");'


def test_who_reads_a_script() -> None:
    page = {"user_agent": "Mozilla/5.0"}
    assert WIRE.reader(asked(query="jsonp=0", **page)) == ""
    assert WIRE.reader(asked(query="jsonp=0", referer="https://a.example/page", **page)) == "https://a.example"
    assert WIRE.reader(asked(query="jsonp=0")) is None
    assert WIRE.reader(asked(referer="https://a.example/page", **page)) is None  # browsers protect it
    assert JSONP_POLLING.reader(asked(query="i=0", **page)) == ""
    assert HTMLFILE.reader(asked(**page)) is None
    assert XHR_POLLING.reader(asked(**page)) is None


ORIGIN = RequestRefused(*FORBIDDEN, "", {"name": "ORIGIN_NOT_ALLOWED"})


@pytest.mark.parametrize(
    ("refusal", "status", "text"),
    [
        (RequestRefused(*FORBIDDEN), 403, "handshake unauthorized"),
        (ORIGIN, 403, "handshake bad origin"),
        (RequestRefused(*SERVER_FULL), 503, "Server is full"),
        (RequestRefused(*UNKNOWN_TRANSPORT), 400, "handshake error"),
    ],
)
def test_refused_handshakes(refusal: RequestRefused, status: int, text: str) -> None:
    for path in ("/socket.io/1/", "/socket.io/1", "/socket.io/1/websocket/"):
        answer = WIRE.refusal(asked(path), refusal)
        assert (answer.status, answer.body.decode()) == (status, text)
    answer = WIRE.refusal(asked(query="jsonp=3"), refusal)
    assert (answer.status, answer.body.decode()) == (200, f'io.j[3](new Error("{text}"));')


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("GET", "/socket.io/1/xhr-polling/SID", "", b"7:::1+0"),
        ("GET", "/socket.io/1/jsonp-polling/SID/", "i=7", b'io.j[7]("7:::1+0");'),
        ("GET", "/under/socket.io/1/htmlfile/SID", "", HTMLFILE.prelude(asked()) + b'<script>_("7:::1+0");</script>'),
        ("POST", "/socket.io/1/xhr-polling/SID", "", b"1"),
        ("POST", "/socket.io/1/jsonp-polling/SID", "i=7", b"1"),
        ("GET", "/socket.io/1//SID/", "disconnect=1", b""),
        ("GET", "/socket.io/1/websocket/SID", "", b""),
    ],
)
def test_unknown_sessions(method: str, path: str, query: str, body: bytes) -> None:
    answer = WIRE.refusal(asked(path, query, method), RequestRefused(*UNKNOWN_SID))
    assert (answer.status, answer.body) == (200, body)


def test_other_refusals() -> None:
    answer = WIRE.refusal(asked("/socket.io/1/xhr-polling/SID"), RequestRefused(*BAD_REQUEST))
    assert (answer.status, answer.body) == (400, b"Bad request")
    assert WIRE.link_refusal(RequestRefused(*UNKNOWN_SID)) == "7:::1+0"
    assert WIRE.link_refusal(RequestRefused(*UNKNOWN_TRANSPORT)) is None


def test_there_is_nothing_below_socketio() -> None:
    with pytest.raises(ConfigError, match="generations"):
        Server(generations=["eio4", "sio1"], parser="raw")
    assert Server(generations=["eio4", "sio1"], parser="msgpack").config.generations == ("eio4", "sio1")


# ---- what HTTP carries ----


def test_polling() -> None:
    answer = XHR_POLLING.respond(asked(), "3:::마당")
    assert (answer.status, answer.body.decode()) == (200, "3:::마당")
    assert dict(answer.headers)["Content-Type"] == "text/plain; charset=UTF-8"
    post = asked(method="POST", content_type="text/plain;charset=UTF-8")
    assert XHR_POLLING.unpack(post, "3:::마당".encode()) == "3:::마당"
    assert XHR_POLLING.accepted(post).body == b"1"
    with pytest.raises(RemoteProtocolError):
        XHR_POLLING.unpack(post, b"\xff")


def test_scripts() -> None:
    answer = JSONP_POLLING.respond(asked(query="i=12&t=1"), '3:::</script>\u2028"마당')
    assert answer.body.decode() == 'io.j[12]("3:::\\u003c/script>\\u2028\\"마당");'
    headers = dict(answer.headers)
    assert headers["Content-Type"] == "text/javascript; charset=UTF-8"
    assert headers["X-XSS-Protection"] == "0"
    assert JSONP_POLLING.accepted(asked()).body == b"1"
    assert dict(JSONP_POLLING.accepted(asked()).headers)["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("form", "payload"),
    [
        ('"3:::마당 \\n \\" \\ud83c\\udf88"', '3:::마당 \n " 🎈'),
        ('"\\u2028\\/"', "\u2028/"),
        ('"3:::\\ud800"', "3:::\ufffd"),
        ('""', ""),
        ("3:::마당 +%", "3:::마당 +%"),
        ('5:::{"name":"e"}', '5:::{"name":"e"}'),
        ("3:::a\r\nb\nc", "3:::a\nb\nc"),
        ("\ufffd3\ufffd2::\ufffd3\ufffd8::", "\ufffd3\ufffd2::\ufffd3\ufffd8::"),
    ],
)
def test_both_forms_of_forms(form: str, payload: str) -> None:
    post = asked(method="POST", content_type="application/x-www-form-urlencoded")
    assert JSONP_POLLING.unpack(post, f"d={quote(form)}".encode()) == payload
    assert JSONP_POLLING.unpack(post, f"d={quote(form)}&x=1".encode()) == payload


@pytest.mark.parametrize("form", [b"", b"x=1", b"d=%22", b"d=%22a%22b", b"d=%zz", b"d=%ff", b'd="\\x"', b'd="\\ud800'])
def test_forms_that_are_none(form: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        JSONP_POLLING.unpack(asked(method="POST"), form)
    assert caught.value.rule


def test_documents() -> None:
    prelude = HTMLFILE.prelude(asked())
    assert len(prelude) == 256
    assert prelude.startswith(b"<html><body><script>function _(")
    assert b"parent.s._(" in prelude
    assert prelude.endswith(b"</script>" + b" " * (256 - len(prelude.rstrip())))
    headers = dict(HTMLFILE.head(asked()))
    assert headers["Content-Type"] == "text/html; charset=UTF-8"
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert HTMLFILE.chunk("1::") == b'<script>_("1::");</script>'
    assert HTMLFILE.chunk("1::/chat") == b'<script>_("1::\\/chat");</script>'
    assert HTMLFILE.resumes is False


@pytest.mark.parametrize(
    "value", ["</script>", "a/b", "\\", "\\/", "\\\\/", "\\\\\\/", "마당 🎈 \u2028", '"', "\n", "//\\//\\"]
)
@pytest.mark.parametrize("name", ["message", "e"])
def test_what_the_page_makes_of_a_document(name: str, value: str) -> None:
    """0.9 takes the backslash from each "\\/" of what it was given; the clients before it don't."""
    frame = written(Packet(EVENT, [name, value]))
    chunk = HTMLFILE.chunk(frame).decode()
    assert chunk.isascii()
    assert chunk.count("<") == 2
    literal = chunk.removeprefix("<script>_(").removesuffix(");</script>")
    given = json.loads(literal)  # as JavaScript reads it
    for taken in (given, given.replace("\\/", "/")):
        assert read(taken)[0] == Packet(EVENT, [name, value])
