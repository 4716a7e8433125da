"""Socket.IO 0.6: what its clients send, what they are sent, and the forms of its transports."""

import json
import math
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madang.config import Config
from madang.errors import ConfigError, RemoteProtocolError, RequestRefused
from madang.packet import ACK, CLOSE, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, NOOP, PING, PONG, Frame, Packet
from madang.parsers import load
from madang.parsers import msgpack as msgpack_parser
from madang.parsers.json import PARSER
from madang.testing import check_wire
from madang.transports import HttpTransport, Request
from madang.transports import load as load_transport
from madang.wire import Address, Open
from madang.wire.sio0 import HTMLFILE, JSONP_POLLING, WIRE, XHR_MULTIPART, XHR_POLLING

LIMITS = Config()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
NAMES = st.text(min_size=1).filter(lambda name: name not in {"connect", "connect_error", "disconnect"})
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def asked(below: str, method: str = "GET") -> Request:
    return Request(method, f"/socket.io/{below}", "", ())


def sent(*event: Any) -> Frame:
    [frame] = WIRE.encode(Packet(EVENT, list(event)), PARSER)
    return frame


def read(frame: Frame) -> Packet | None:
    return WIRE.decoder(PARSER, LIMITS).feed(frame)


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def test_what_each_wire_keeps() -> None:
    values = ["", "é", "a\nb", {"event": "x", "args": []}, {"a": [1, None]}, [1], None, 1.5, "~h~", "~j~"]
    both = [
        *(Packet(EVENT, ["message", value]) for value in values),
        Packet(EVENT, ["message"]),
        Packet(EVENT, ["message", 1, 2]),
        Packet(EVENT, ["마당", "🎈", {"a": 1}]),
    ]
    check_wire(WIRE, PARSER, both)
    check_wire(WIRE, msgpack_parser.PARSER, both)


@given(NAMES | st.just("message"), st.lists(JSON, max_size=3))
def test_events_arrive_as_they_were(name: str, arguments: list[Any]) -> None:
    frame = sent(name, *arguments)
    assert read(frame) == Packet(EVENT, [name, *arguments])
    payload = WIRE.join([frame])
    assert WIRE.split(payload, LIMITS) == [frame]
    assert payload.count("--socketio") == 0
    assert units(payload) == len(payload), "something is counted differently by some clients"


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_payloads_of_clients(frames: list[Frame]) -> None:
    payload = "".join(f"~m~{units(str(frame))}~m~{frame}" for frame in frames)
    assert WIRE.join(frames) == payload
    assert WIRE.split(payload, LIMITS) == frames
    assert len(payload.encode()) <= WIRE.payload_bytes(frames)
    body = f"data={quote(payload, safe='')}".encode()
    for transport in (XHR_POLLING, XHR_MULTIPART, HTMLFILE, JSONP_POLLING):
        assert transport.unpack(asked("", "POST"), body) == payload
        assert len(body) <= transport.body_limit(len(payload.encode()))


@given(TEXT)
def test_line_breaks_in_forms_of_browsers(text: str) -> None:
    """A form has the text of a text area, in which all line breaks are alike, and two characters in the end."""
    text = text.replace("\r", "")
    payload = f"~m~{units(text)}~m~{text}".replace("\n", "\r\n")
    assert JSONP_POLLING.unpack(asked("", "POST"), f"data={quote(payload)}".encode()) == WIRE.join([text])


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        ("xhr-polling//1300000000000", Address("xhr-polling")),
        ("xhr-polling", Address("xhr-polling")),
        ("xhr-polling/SID/1300000000000", Address("xhr-polling", "SID")),
        ("xhr-polling/SID/send", Address("xhr-polling", "SID")),
        ("xhr-multipart", Address("xhr-multipart")),
        ("htmlfile//1300000000000", Address("htmlfile")),
        ("jsonp-polling//1300000000000/0", Address("jsonp-polling")),
        ("jsonp-polling/SID/1300000000000/0", Address("jsonp-polling", "SID")),
        ("websocket", Address("websocket")),
        ("websocket/SID", Address("websocket", "SID")),
        ("flashsocket", Address("flashsocket")),
        ("", None),
        ("1", None),
        ("1/xhr-polling/SID", None),
        ("polling", None),
        ("xhr-pollings", None),
        ("socket.io.js", None),
    ],
)
def test_recognises(below: str, expected: Address | None) -> None:
    assert WIRE.address(asked(below), below) == expected
    assert WIRE.owns(below) == (expected is not None)


@pytest.mark.parametrize(
    ("packet", "frames"),
    [
        (Packet(EVENT, ["message", "héllo"]), ("héllo",)),
        (Packet(EVENT, ["message", "😀"]), ('~j~"\\ud83d\\ude00"',)),
        (Packet(EVENT, ["message", "\ud83d"]), ('~j~"\\ud83d"',)),
        (Packet(EVENT, ["message", "~h~1"]), ('~j~"~h~1"',)),
        (Packet(EVENT, ["message", "~j~1"]), ('~j~"~j~1"',)),
        (Packet(EVENT, ["message", "a ~h~1"]), ("a ~h~1",)),
        (Packet(EVENT, ["message", "a\n--socketio\n"]), (r'~j~"a\n-\u002dsocketio\n"',)),
        (Packet(EVENT, ["message", {"--socketio": 1}]), (r'~j~{"-\u002dsocketio":1}',)),
        (Packet(EVENT, ["message", {"é": 1}]), (r'~j~{"\u00e9":1}',)),
        (Packet(EVENT, ["message", b"\0\xff"]), ('~j~"AP8="',)),
        (Packet(EVENT, ["message", {"args": [], "event": ""}]),
         ('~j~{"event":"message","args":[{"args":[],"event":""}]}',)),
        (Packet(EVENT, ["message", {"event": "x"}]), ('~j~{"event":"x"}',)),
        (Packet(EVENT, ["message", {"event": "disconnect", "args": []}]), ('~j~{"event":"disconnect","args":[]}',)),
        (Packet(EVENT, ("said", 1, b"x")), ('~j~{"event":"said","args":[1,"eA=="]}',)),
        (Packet(EVENT, ["said"], "/", 7), ('~j~{"event":"said","args":[]}',)),
        (Packet(PING), ("~h~1",)),
        (Packet(PONG), ()),
        (Packet(NOOP), ()),
        (Packet(CLOSE), ()),
        (Packet(CONNECT, {}), ()),
        (Packet(CONNECT_ERROR, {"message": "no"}), ()),
        (Packet(DISCONNECT), ()),
        (Packet(ACK, [1], "/", 1), ()),
    ],
)  # fmt: skip
def test_what_clients_are_sent(packet: Packet, frames: tuple[Frame, ...]) -> None:
    assert WIRE.encode(packet, PARSER) == frames


@pytest.mark.parametrize(
    ("frame", "packet"),
    [
        ("", Packet(EVENT, ["message", ""])),
        ("~h~", Packet(PONG)),
        ("~h~12", Packet(PONG)),
        ("~h", Packet(EVENT, ["message", "~h"])),
        ("~m~1", Packet(EVENT, ["message", "~m~1"])),
        ("~j~[1]", Packet(EVENT, ["message", [1]])),
        ('~j~"x"', Packet(EVENT, ["message", "x"])),
        ('~j~{"event":"e","args":[1]}', Packet(EVENT, ["e", 1])),
        ('~j~{"args":[],"event":"e"}', Packet(EVENT, ["e"])),
        ('~j~{"event":"e"}', Packet(EVENT, ["message", {"event": "e"}])),
        ('~j~{"event":1,"args":[]}', Packet(EVENT, ["message", {"event": 1, "args": []}])),
        ('~j~{"event":"e","args":{}}', Packet(EVENT, ["message", {"event": "e", "args": {}}])),
        ('~j~{"event":"connect","args":[]}', Packet(EVENT, ["message", {"event": "connect", "args": []}])),
        ('~j~{"event":"e","args":[],"x":1}', Packet(EVENT, ["message", {"event": "e", "args": [], "x": 1}])),
    ],
)
def test_what_clients_say(frame: str, packet: Packet) -> None:
    assert read(frame) == packet


@pytest.mark.parametrize(
    ("frame", "rule"),
    [
        ("~j~", "Socket.IO 0.6"),
        ("~j~{", "Socket.IO 0.6"),
        ("~j~NaN", "Socket.IO 0.6"),
        (b"bytes", "Socket.IO 0.6"),
        ("~j~" + "[" * 10_000, "max_json_depth"),
        (f'~j~{{"event":"e","args":{[0] * 10_000}}}', "max_event_args"),
    ],
    ids=["nothing", "half", "nan", "bytes", "deep", "many"],
)
def test_what_nobody_may_say(frame: Frame, rule: str) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        read(frame)
    assert rule in raised.value.rule


@pytest.mark.parametrize(
    ("payload", "frames"),
    [
        ("~m~2~m~😀~m~1~m~x", ["😀", "x"]),  # units
        ("~m~1~m~😀~m~1~m~x", ["😀", "x"]),  # characters
        ("~m~2~m~😀~m~", None),
        ("~m~1~m~😀", ["😀"]),
        ("~m~3~m~한국어", ["한국어"]),
        ("~m~0~m~", [""]),
        ("~m~00~m~", [""]),
        ("~m~7~m~~m~1~m~x", None),
        ("", None),
        ("hello", None),
        ("~m~5~m~four", None),
        ("~m~3~m~four", None),
        ("~m~-1~m~x", None),
        ("~m~٣~m~abc", None),
        ("~m~1 ~m~x", None),
        ("~m~~m~x", None),
        ("~m~99999999999~m~x", None),
        ("x~m~1~m~x", None),
        (b"~m~1~m~x", None),
    ],
)
def test_lengths(payload: str | bytes, frames: list[Frame] | None) -> None:
    if frames is None:
        with pytest.raises(RemoteProtocolError) as raised:
            WIRE.split(payload, LIMITS)
        assert "payloads" in raised.value.rule
    else:
        assert WIRE.split(payload, LIMITS) == frames


@pytest.mark.parametrize("one", ["~m~1~m~x", "~m~2~m~😀"])
def test_no_more_than_allowed(one: str) -> None:
    few = Config(max_packets_per_payload=3)
    assert len(WIRE.split(one * 3, few)) == 3
    with pytest.raises(RemoteProtocolError) as raised:
        WIRE.split(one * 4, few)
    assert raised.value.rule == "max_packets_per_payload"


def test_its_own_forms_of_transports() -> None:
    names = ("polling", "websocket", "jsonp", "iframe", "multipart", "flashsocket", "sse")
    enabled = {name: load_transport(name) for name in names}
    known = WIRE.transports(enabled)
    assert {name: transport.name for name, transport in known.items()} == {
        "websocket": "websocket", "flashsocket": "flashsocket", "htmlfile": "iframe", "xhr-multipart": "multipart",
        "xhr-polling": "polling", "jsonp-polling": "jsonp",
    }  # fmt: skip
    assert all(transport.upgrades == () for transport in known.values())
    assert list(WIRE.transports({"websocket": enabled["websocket"]})) == ["websocket"]
    hello = Open("SID", [], 25, 20, 1_000_000)
    assert WIRE.open(hello) == "SID"


def test_xhr_polling() -> None:
    response = XHR_POLLING.respond(asked("xhr-polling/SID/1"), "~m~1~m~é")
    assert dict(response.headers)["Content-Type"] == "text/plain; charset=UTF-8"
    assert response.body == "~m~1~m~é".encode()
    assert XHR_POLLING.accepted(asked("xhr-polling/SID/send", "POST")).body == b"ok"


@pytest.mark.parametrize("path", ["jsonp-polling//1/0", "jsonp-polling/SID/1/000", "jsonp-polling/SID/1/0/"])
def test_jsonp(path: str) -> None:
    JSONP_POLLING.check(asked(path))
    response = JSONP_POLLING.respond(asked(path), "~m~9~m~</script>")
    assert response.body == b'io.JSONP[0]._("~m~9~m~\\u003c/script>");'
    headers = dict(response.headers)
    assert headers["Content-Type"] == "text/javascript; charset=UTF-8"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["jsonp-polling//1/alert", "jsonp-polling//1/0;x", "jsonp-polling//1/-1", "jsonp-polling//1/٣",
     "jsonp-polling//1/0\n", "jsonp-polling//1300000000000", "jsonp-polling"],
)  # fmt: skip
def test_jsonp_without_a_number(path: str) -> None:
    with pytest.raises(RequestRefused):
        JSONP_POLLING.check(asked(path))


def test_who_reads_a_script() -> None:
    def reader(**headers: str) -> str | None:
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return JSONP_POLLING.reader(Request("GET", "/socket.io/jsonp-polling//1/0", "", pairs))

    assert reader(referer="https://evil.example/page") == "https://evil.example"
    assert reader(user_agent="Mozilla/5.0") == ""
    assert reader(user_agent="curl") is None


def test_htmlfile() -> None:
    request = asked("htmlfile//1")
    headers = dict(HTMLFILE.head(request))
    assert headers["Content-Type"] == "text/html; charset=UTF-8"
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    prelude = HTMLFILE.prelude(request)
    assert len(prelude) == 256
    assert prelude.strip() == b"<html><body>"
    chunk = HTMLFILE.chunk('~m~12~m~é\u2028</script>"').decode()
    assert chunk == '<script>parent.s._("~m~12~m~é\\u2028\\u003c/script>\\"", document);</script>'
    assert json.loads(chunk[chunk.index('"') : chunk.rindex('"') + 1]) == '~m~12~m~é\u2028</script>"'


def test_multipart() -> None:
    request = asked("xhr-multipart")
    assert dict(XHR_MULTIPART.head(request)) == {"Content-Type": 'multipart/x-mixed-replace;boundary="socketio"'}
    assert XHR_MULTIPART.prelude(request) == b"--socketio\n"
    expected = "Content-Type: text/plain; charset=UTF-8\n\n~m~1~m~é\n--socketio\n".encode()
    assert XHR_MULTIPART.chunk("~m~1~m~é") == expected


@pytest.mark.parametrize("transport", [XHR_POLLING, JSONP_POLLING, HTMLFILE, XHR_MULTIPART], ids=lambda one: one.name)
@pytest.mark.parametrize("body", [b"", b"d=~m~1~m~x", b"data", b"data=%", b"data=%zz", b"data=%FF", b"\xff"])
def test_what_is_no_form(transport: HttpTransport, body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        transport.unpack(asked("", "POST"), body)
    assert raised.value.rule


def test_times_that_nobody_can_tell_its_clients() -> None:
    assert WIRE.max_ping_interval_seconds < 15
    assert WIRE.max_poll_seconds < 25
    assert math.isfinite(WIRE.max_poll_seconds)


def test_not_without_socketio() -> None:
    WIRE.check(PARSER)
    with pytest.raises(ConfigError, match="generations"):
        WIRE.check(load("raw"))
