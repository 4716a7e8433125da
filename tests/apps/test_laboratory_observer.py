"""What the laboratory sees of what travels: HTTP/1.1 both ways, WebSocket frames, and what can't be read."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madang.apps.laboratory.observer import MAX_HEAD_BYTES, MAX_HELD_BYTES, MAX_PENDING, Observer, Totals, Travel

Piece = tuple[str, bytes]


def get(query: str = "transport=polling&sid=1", more: bytes = b"") -> bytes:
    return f"GET /socket.io/?EIO=4&{query} HTTP/1.1\r\nHost: lane\r\n".encode() + more + b"\r\n"


def post(body: bytes, query: str = "transport=polling&sid=1") -> bytes:
    return f"POST /socket.io/?EIO=4&{query} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def frame(opcode: int, payload: bytes, *, mask: bytes = b"", fin: bool = True, rsv: int = 0) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    flag = 0x80 if mask else 0
    if size < 126:
        head += bytes([flag | size])
    elif size < 65_536:
        head += bytes([flag | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + size.to_bytes(8, "big")
    if mask:
        payload = bytes([byte ^ mask[i % 4] for i, byte in enumerate(payload)])
    return head + mask + payload


UPGRADE = get("transport=websocket", b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TICK = b'42["tick",0,1.5,"Madang"]'


def watch(*pieces: Piece) -> tuple[list[Travel], Totals, Observer]:
    totals = Totals()
    observer = Observer(totals, 7)
    seen = [travel for way, data in pieces for travel in observer.feed(way, data, 10.0, 60.0)]  # type: ignore[arg-type]
    return seen, totals, observer


def labels(*pieces: Piece) -> list[tuple[str, str, int]]:
    return [(one.kind, one.label, one.bytes) for one in watch(*pieces)[0]]


# ---- HTTP


def test_a_request_and_its_response_with_times_and_sizes() -> None:
    request, response = get(), answer(TICK)
    seen, totals, observer = watch(("up", request), ("down", response))
    assert seen == [
        Travel("request", "up", 10.0, 60.0, len(request), "GET poll", 7),
        Travel("response", "down", 10.0, 60.0, len(response), "200", 7),
    ]
    head = len(response) - len(TICK)
    assert totals == Totals(1, 0, len(request), len(response), len(request), head)
    assert not observer.opaque


def test_times_are_of_the_first_byte_sent_and_the_last_that_arrives() -> None:
    observer = Observer(Totals())
    assert observer.feed("up", get()[:10], 1.0, 51.0) == []
    assert observer.feed("up", get()[10:20], 2.0, 52.0) == []
    (one,) = observer.feed("up", get()[20:], 3.0, 90.0)
    assert (one.sent_ms, one.arrived_ms) == (1.0, 90.0)
    (next_one,) = observer.feed("up", get(), 4.0, 91.0)
    assert next_one.sent_ms == 4.0


@pytest.mark.parametrize(
    ("request_", "label"),
    [
        (get("transport=polling"), "GET handshake"),
        (get("transport=sse"), "GET stream"),
        (get("transport=iframe&sid=1"), "GET stream"),
        (get("transport=shortpolling&sid=1"), "GET poll"),
        (UPGRADE, "GET upgrade"),
        (b"GET /favicon.ico HTTP/1.1\r\n\r\n", "GET page"),
        (b"OPTIONS /socket.io/?transport=polling&sid=1 HTTP/1.1\r\n\r\n", "OPTIONS preflight"),
        (post(TICK), "POST send"),
        (post(b"3\x1e" + TICK), "POST send"),
        (post(b'450-["tick"]'), "POST send"),
        (post(b"3"), "POST send pong empty"),
        (post(b'40{"lane":"42"}'), "POST send connect empty"),
        (post(b'421["tick"]'), "POST send"),
        (post(b"42/admin,1[1]"), "POST send"),
        (post(b"d=42%5B%22tick%22%5D"), "POST send"),
        (post(b"d=3"), "POST send pong empty"),
        (post(b"bAAEC"), "POST send"),
    ],
    ids=range(17),
)
def test_what_a_request_is_called(request_: bytes, label: str) -> None:
    assert labels(("up", request_)) == [("request", label, len(request_))]


@pytest.mark.parametrize(
    ("body", "label"),
    [
        (TICK, "200"),
        (b"2\x1e" + TICK, "200"),
        (b"6", "200 noop empty"),
        (b"2", "200 ping empty"),
        (b'0{"sid":"42"}', "200 open empty"),
        (b'40{"sid":"42"}', "200 connect empty"),
        (b'430["ok"]', "200 ack empty"),
        (b"ok", "200 ok empty"),
        (b"", "200 empty"),
        (b'___eio[0]("42[\\"tick\\"]");', "200"),
        (b'___eio[0]("2\\u001e42[\\"tick\\"]");', "200"),
        (b'___eio[12]("6");', "200 noop empty"),
        (b"<html>" + b"x" * 1000 + b"</html>", "200 empty"),
    ],
    ids=range(13),
)
def test_what_a_response_is_called(body: bytes, label: str) -> None:
    assert labels(("up", get()), ("down", answer(body)))[1][1] == label


def test_only_polls_that_brought_nothing_count_as_empty() -> None:
    polls = [answer(b"6"), answer(TICK), answer(b"2"), answer(b"{}", "429 Too Many Requests")]
    pieces = [piece for one in polls for piece in (("up", get()), ("down", one))]
    others = [("up", get("transport=polling")), ("down", answer(b"0{}")), ("up", post(b"3")), ("down", answer(b"ok"))]
    _, totals, _ = watch(*pieces, *others)
    assert (totals.requests, totals.empty_responses) == (6, 3)


def test_a_chunked_poll_without_an_event_is_empty_too() -> None:
    for body, empty in ((b"6", 1), (TICK, 0)):
        _, totals, _ = watch(("up", get()), ("down", STREAM + chunk(body) + b"0\r\n\r\n"))
        assert totals.empty_responses == empty


@pytest.mark.parametrize(
    ("data", "label"),
    [
        (b"data: " + TICK + b"\n\n", "event"),
        (b'event: json\ndata: "42[\\"a\\\\n\\"]"\n\n', "event"),
        (b"data: 2\n\n", "ping empty"),
        (b'data: 0{"sid":"x"}\n\n', "open empty"),
        (b": open\n\n", "empty"),
        (b'<script>_("42[\\"tick\\"]")</script>\n', "event"),
        (b'<script>_("6")</script>\n', "noop empty"),
        (b"Content-Type: text/plain; charset=UTF-8\r\nContent-Length: 1\r\n\r\n2\r\n--madang\r\n", "ping empty"),
        (b"Content-Type: text/plain; charset=UTF-8\r\nContent-Length: 9\r\n\r\n42[1,2,3]\r\n--madang\r\n", "event"),
        (b"Content-Type: application/octet-stream\r\nContent-Length: 1\r\n\r\n\0\r\n--madang\r\n", "event"),
    ],
    ids=range(10),
)
def test_each_chunk_of_a_stream_is_seen(data: bytes, label: str) -> None:
    seen = labels(("up", get("transport=sse")), ("down", STREAM), ("down", chunk(data)), ("down", b"0\r\n\r\n"))
    assert seen[1:] == [
        ("response", "200", len(STREAM)),
        ("chunk", label, len(chunk(data))),
        ("chunk", "end empty", 5),
    ]


def test_headers_of_chunks_are_headers() -> None:
    _, totals, _ = watch(("up", get()), ("down", STREAM + chunk(b"x" * 100) + b"0;ext=1\r\nA: b\r\n\r\n"))
    assert totals.header_bytes_down == totals.bytes_down - 100


def test_requests_may_be_chunked_and_pipelined() -> None:
    head = b"POST /socket.io/?transport=polling&sid=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head + chunk(TICK[:3]) + chunk(TICK[3:]) + b"0\r\n\r\n"
    assert labels(("up", request + get() + get())) == [
        ("request", "POST send", len(request)),
        ("request", "GET poll", len(get())),
        ("request", "GET poll", len(get())),
    ]


def test_responses_belong_to_requests_in_their_order() -> None:
    head = b"HEAD /x HTTP/1.1\r\n\r\n"
    silent = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    unchanged = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"
    seen = labels(("up", head + get() + get()), ("down", silent + interim + answer(TICK) + unchanged))
    assert [label for _, label, _ in seen[3:]] == ["200 empty", "100 empty", "200", "304 empty"]


def test_a_response_without_a_length_ends_with_the_connection() -> None:
    observer = Observer(Totals())
    observer.feed("up", get(), 0, 0)
    (head,) = observer.feed("down", b"HTTP/1.0 200 OK\r\n\r\n" + TICK[:5], 0, 0)
    assert (head.kind, head.label, head.bytes) == ("response", "200", 19)
    assert observer.feed("down", TICK[5:], 0, 0) == []
    (body,) = observer.end("down", 5.0, 55.0)
    assert (body.kind, body.label, body.bytes, body.arrived_ms) == ("chunk", "event", len(TICK), 55.0)
    assert observer.end("up", 5.0, 55.0) == []


# ---- WebSocket

OPENED: list[Piece] = [("up", UPGRADE), ("down", SWITCHED)]


def test_an_upgrade_then_frames_both_ways() -> None:
    sent, got = frame(1, TICK, mask=b"abcd"), frame(1, TICK)
    seen = watch(*OPENED, ("up", sent), ("down", got), ("down", frame(9, b"")), ("up", frame(10, b"", mask=b"abcd")))
    assert [(one.kind, one.direction, one.label, one.bytes) for one in seen[0]] == [
        ("request", "up", "GET upgrade", len(UPGRADE)),
        ("response", "down", "101", len(SWITCHED)),
        ("frame", "up", "text", len(TICK) + 6),
        ("frame", "down", "text", len(TICK) + 2),
        ("frame", "down", "ping empty", 2),
        ("frame", "up", "pong empty", 6),
    ]
    assert seen[1].header_bytes_up == len(UPGRADE) + 6 + 6
    assert seen[1].header_bytes_down == len(SWITCHED) + 2 + 2


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (frame(1, b"2", mask=b"\0abc"), ["text ping empty"]),
        (frame(1, b"2probe"), ["text ping empty"]),
        (frame(1, b'40{"sid":"x"}'), ["text connect empty"]),
        (frame(1, b'451-["tick",{"_placeholder":true,"num":0}]') + frame(2, b"42"), ["text", "binary"]),
        (frame(1, TICK[:4], fin=False) + frame(9, b"") + frame(0, TICK[4:]), ["text", "ping empty", "more"]),
        (frame(1, b"compressed", rsv=0x40), ["text"]),
        (frame(1, b""), ["text empty"]),
        (frame(8, b"\x03\xe8bye"), ["close empty"]),
        (frame(1, TICK + b"x" * 200), ["text"]),
        (frame(1, TICK + b"x" * 70_000), ["text"]),
    ],
    ids=range(10),
)
def test_what_frames_are_called(data: bytes, found: list[str]) -> None:
    for way in ("up", "down"):
        seen, totals, observer = watch(*OPENED, (way, data))
        assert [one.label for one in seen[2:]] == found
        assert sum(one.bytes for one in seen[2:]) == len(data)
        assert not observer.opaque
        assert totals.requests == 1


def test_frames_that_come_before_the_response_wait_for_it() -> None:
    early = frame(1, TICK, mask=b"abcd")
    assert labels(("up", UPGRADE + early), ("down", SWITCHED)) == labels(*OPENED, ("up", early))


def test_a_refused_upgrade_goes_on_with_http() -> None:
    refusal = answer(b"no", "400 Bad Request")
    seen = labels(("up", UPGRADE + get()), ("down", refusal + answer(TICK)))
    assert [label for _, label, _ in seen] == ["GET upgrade", "GET poll", "400 empty", "200"]


# ---- What can't be read


@pytest.mark.parametrize(
    "pieces",
    [
        [("up", b"\x16\x03\x01\x02\x00hello of TLS\r\n\r\n")],
        [("up", b"GET / HTTP/2.0\r\n\r\n")],
        [("up", b"CONNECT a:1 HTTP/1.1\r\n\r\n")],
        [("up", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n")],
        [("up", b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")],
        [("up", b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n")],
        [("up", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")],
        [("up", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n")],
        [("up", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000)],
        [("up", b"GET / HTTP/1.1\r\n folded: x\r\n\r\n")],
        [("up", b"x" * (MAX_HEAD_BYTES + 1))],
        [("up", get() * (MAX_PENDING + 1))],
        [("up", UPGRADE + b"x" * (MAX_HELD_BYTES + 1))],
        [("down", answer(b"nobody asked"))],
        [("up", get()), ("down", b"ICY 200 OK\r\n\r\n")],
        [("up", get()), ("down", SWITCHED)],
        [("up", get()), ("down", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n\r\n")],
        [*OPENED, ("down", frame(5, b""))],
        [*OPENED, ("up", b"\x81\xff" + b"\xff" * 12)],
    ],
    ids=range(19),
)
def test_what_cant_be_read_is_counted(pieces: list[Piece]) -> None:
    _, totals, observer = watch(*pieces)
    assert observer.opaque
    before = totals.bytes_up, totals.bytes_down
    assert observer.feed("up", get(), 0, 0) == []
    assert observer.feed("down", answer(TICK), 0, 0) == []
    assert observer.end("down", 0, 0) == []
    assert (totals.bytes_up, totals.bytes_down) == (before[0] + len(get()), before[1] + len(answer(TICK)))


def sizes_of(observer: Observer) -> Iterator[int]:
    for reader in (observer._up, observer._down):
        yield len(reader._buffer)
        yield len(reader._content._head) + len(reader._content._tail)
    yield observer._up._held_bytes
    yield len(observer.pending)


def test_memory_stays_small_whatever_comes() -> None:
    endless = b"POST /socket.io/?transport=polling&sid=1 HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n"
    observer = Observer(Totals())
    observer.feed("up", endless, 0, 0)
    for _ in range(50):
        observer.feed("up", b"x" * 100_000, 0, 0)
    assert max(sizes_of(observer)) < 1000
    observer = Observer(Totals())
    for _ in range(50):
        observer.feed("up", b"y" * 10_000, 0, 0)
    assert max(sizes_of(observer)) == 0
    _, _, observer = watch(*OPENED)
    observer.feed("down", b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 0, 0)
    for _ in range(50):
        observer.feed("down", b"z" * 100_000, 0, 0)
    assert max(sizes_of(observer)) < 100


# ---- However it is cut into pieces

BODIES = st.sampled_from([TICK, b"6", b"", b"ok", b"2\x1e" + TICK, b"x" * 300, b'___eio[0]("42[1]");', b"bAAAA"])
EXCHANGES = st.one_of(
    st.builds(lambda body: [("up", get()), ("down", answer(body))], BODIES),
    st.builds(lambda body: [("up", post(body)), ("down", answer(b"ok"))], BODIES),
    st.builds(
        lambda bodies: [("up", get("transport=sse")), ("down", STREAM + b"".join(map(chunk, bodies)) + b"0\r\n\r\n")],
        st.lists(BODIES.filter(bool), max_size=4),
    ),
)
FRAMES = st.builds(
    lambda up, opcode, payload, fin: (
        ("up", frame(opcode, payload, mask=b"mask", fin=fin)) if up else ("down", frame(opcode, payload, fin=fin))
    ),
    st.booleans(),
    st.sampled_from([0, 1, 2, 8, 9, 10]),
    BODIES | st.binary(min_size=120, max_size=140),
    st.booleans(),
)
NOISE = st.lists(st.tuples(st.sampled_from(["up", "down"]), st.binary(max_size=50)), max_size=3)
CONVERSATIONS = st.builds(
    lambda exchanges, frames, noise: [
        *[piece for exchange in exchanges for piece in exchange],
        *([*OPENED, *frames] if frames else []),
        *noise,
    ],
    st.lists(EXCHANGES, max_size=4),
    st.lists(FRAMES, max_size=5),
    NOISE,
)


@settings(max_examples=50)
@given(CONVERSATIONS, st.randoms(use_true_random=False))
def test_one_byte_at_a_time_is_the_same_as_all_at_once(conversation: list[Piece], random: object) -> None:
    whole = watch(*conversation)
    single = watch(*[(way, data[at : at + 1]) for way, data in conversation for at in range(len(data))])
    cut: list[Piece] = []
    for way, data in conversation:
        at = 0
        while at < len(data):
            size = random.randint(1, 40)  # type: ignore[attr-defined]
            cut.append((way, data[at : at + size]))
            at += size
    for other in (single, watch(*cut)):
        assert other[0] == whole[0]
        assert other[1] == whole[1]
        assert other[2].opaque == whole[2].opaque


@given(CONVERSATIONS)
def test_no_byte_is_forgotten_or_counted_twice(conversation: list[Piece]) -> None:
    seen, totals, observer = watch(*conversation)
    sent = [sum(len(data) for way, data in conversation if way == which) for which in ("up", "down")]
    assert [totals.bytes_up, totals.bytes_down] == sent
    told = [sum(one.bytes for one in seen if one.direction == which) for which in ("up", "down")]
    assert all(one <= all_of_it for one, all_of_it in zip(told, sent, strict=True))
    assert totals.header_bytes_up <= totals.bytes_up
    assert totals.header_bytes_down <= totals.bytes_down
    assert observer.opaque or max(sizes_of(observer)) < 2000


# ---- earlier generations

EIO3 = "/socket.io/?EIO=3&transport=polling&lane=x"
SIO1 = "/socket.io/1/"
TICK_1 = b'5:::{"name":"tick","args":[0,1.5,"Madang"]}'
MARK = "\ufffd".encode()


def ask(method: str, target: str, body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: lane\r\n"
    return (head + (f"Content-Length: {len(body)}\r\n" if method == "POST" else "") + "\r\n").encode() + body


def packed(*packets: bytes, kind: int = 0) -> bytes:
    """A payload of Engine.IO 3 in the form of bytes."""
    return b"".join(bytes([kind, *map(int, str(len(one))), 255]) + one for one in packets)


def counted(*packets: bytes) -> bytes:
    """The same in the form of text."""
    return b"".join(b"%d:%b" % (len(one), one) for one in packets)


def marked(*packets: bytes) -> bytes:
    """A payload of Socket.IO 1."""
    return b"".join(MARK + str(len(one)).encode() + MARK + one for one in packets)


@pytest.mark.parametrize(
    ("request_", "response", "expected"),
    [
        (ask("GET", EIO3), packed(b'0{"sid":"1"}', b"40"), ["GET handshake", "200 open empty"]),
        (ask("GET", EIO3 + "&sid=1"), packed(TICK), ["GET poll", "200"]),
        (ask("GET", EIO3 + "&sid=1"), packed(b"3"), ["GET poll", "200 pong empty"]),
        (ask("GET", EIO3 + "&sid=1"), packed(b"\x04MMMM", kind=1), ["GET poll", "200"]),
        (ask("GET", EIO3 + "&sid=1&b64=1"), counted(b"3", TICK), ["GET poll", "200"]),
        (ask("GET", EIO3 + "&sid=1&b64=1"), counted(b"40"), ["GET poll", "200 connect empty"]),
        (ask("POST", EIO3 + "&sid=1", packed(b"2")), b"ok", ["POST send ping empty", "200 ok empty"]),
        (ask("POST", EIO3 + "&sid=1", packed(TICK)), b"ok", ["POST send", "200 ok empty"]),
        (ask("POST", EIO3 + "&sid=1&b64=1", counted(b"b4TU1N")), b"ok", ["POST send", "200 ok empty"]),
        (ask("GET", SIO1 + "?t=1&lane=x"), b"aB-_0:45:50:websocket,xhr-polling", ["GET handshake", "200 open empty"]),
        (ask("GET", SIO1 + "xhr-polling/aB-_0?t=1"), b"1::", ["GET poll", "200 connect empty"]),
        (ask("GET", SIO1 + "xhr-polling/aB-_0?t=1"), TICK_1, ["GET poll", "200"]),
        (ask("GET", SIO1 + "xhr-polling/aB-_0?t=1"), marked(b"6:::1", TICK_1), ["GET poll", "200"]),
        (ask("GET", SIO1 + "xhr-polling/aB-_0?t=1"), marked(b"6:::1", b"8::"), ["GET poll", "200 ack empty"]),
        (ask("GET", SIO1 + "xhr-polling/aB-_0?t=1"), b"8::", ["GET poll", "200 noop empty"]),
        (ask("GET", SIO1 + "xhr-polling/aB-_0?t=1"), b"3:1+:/room:hello", ["GET poll", "200"]),
        (ask("POST", SIO1 + "xhr-polling/aB-_0?t=1", TICK_1), b"1", ["POST send", "200 ok empty"]),
        (ask("POST", SIO1 + "xhr-polling/aB-_0?t=1", b"2::"), b"1", ["POST send heartbeat empty", "200 ok empty"]),
        (
            ask("GET", SIO1 + "?t=1&jsonp=0"),
            b'io.j[0]("aB-_0:45:50:jsonp-polling");',
            ["GET handshake", "200 open empty"],
        ),
        (
            ask("GET", SIO1 + "jsonp-polling/aB-_0?t=1&i=0"),
            b'io.j[0]("5:::{\\"name\\":\\"tick\\"}");',
            ["GET poll", "200"],
        ),
        (
            ask("POST", SIO1 + "jsonp-polling/aB-_0?t=1&i=0", b"d=%225%3A%3A%3A%7B%5C%22name%5C%22"),
            b"1",
            ["POST send", "200 ok empty"],
        ),
        (
            ask("POST", SIO1 + "jsonp-polling/aB-_0?t=1&i=0", b"d=%222%3A%3A%22"),
            b"1",
            ["POST send heartbeat empty", "200 ok empty"],
        ),
        (ask("GET", SIO1 + "/aB-_0/?disconnect=1"), b"", ["GET poll", "200 empty"]),
        (ask("GET", "/1/picture.png"), b"", ["GET page", "200 empty"]),
        (get(), b"1", ["GET poll", "200 close empty"]),
    ],
    ids=range(25),
)
def test_what_clients_of_earlier_releases_say_by_http(request_: bytes, response: bytes, expected: list[str]) -> None:
    assert [label for _, label, _ in labels(("up", request_), ("down", answer(response)))] == expected


@pytest.mark.parametrize(
    ("opcode", "payload", "expected"),
    [
        (1, b"2probe", "text ping empty"),
        (1, b"3", "text pong empty"),
        (1, TICK, "text"),
        (2, b"\x04MMMM", "binary"),
        (1, b"1::", "text connect empty"),
        (1, b"2::", "text heartbeat empty"),
        (1, b"6:::1+[true]", "text ack empty"),
        (1, b"7:::1+0", "text refusal empty"),
        (1, b"0::", "text disconnect empty"),
        (1, TICK_1, "text"),
        (1, b"4:2+::[1]", "text"),
    ],
    ids=range(11),
)
def test_what_clients_of_earlier_releases_say_in_frames(opcode: int, payload: bytes, expected: str) -> None:
    seen = labels(("up", UPGRADE), ("down", SWITCHED), ("down", frame(opcode, payload)))
    assert seen[-1][1] == expected
