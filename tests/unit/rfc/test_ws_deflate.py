"""RFC 7692: negotiating permessage-deflate, compressing, and reading compressed messages."""

import itertools
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate as TheirDeflate
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from wsproto.extensions import PerMessageDeflate as WsprotoDeflate
from wsproto.frame_protocol import FrameProtocol

from madang.errors import ConfigError, RemoteProtocolError
from madang.rfc import ws
from madang.rfc.ws import BINARY, CONTINUATION, PING, TEXT, Deflate, Deflater, FrameReader, Inflater

KEY = b"\x01\x02\x03\x04"
KEEP = Deflate(server_no_context_takeover=False, client_no_context_takeover=False)
LIMIT = 100_000

Event = str | bytes | tuple[object, ...]


def feed_all(chunks: list[bytes], inflater: Inflater | None, limit: int, masked: bool = True) -> list[Event]:
    got: list[Event] = []
    reader = FrameReader(
        got.append,
        lambda opcode, payload: got.append((opcode, payload)),
        masked=masked,
        max_message_bytes=limit,
        inflater=inflater,
    )
    for chunk in chunks:
        try:
            reader.feed(chunk)
        except RemoteProtocolError as error:
            got.append(("error", error.close_code, error.rule))
    return got


def receive(stream: bytes, *, takeover: bool = True, bits: int = 15, limit: int = LIMIT) -> list[Event]:
    """At once, byte by byte, and with a frame behind."""
    got = feed_all([stream], Inflater(bits, takeover), limit)
    pieces = [stream[i : i + 1] for i in range(len(stream))]
    assert feed_all(pieces, Inflater(bits, takeover), limit) == got
    ended = bool(got) and isinstance(got[-1], tuple) and got[-1][0] == "error"
    behind = ws.frame_masked(PING, b"behind", KEY)
    expected = got if ended else [*got, (PING, b"behind")]
    assert feed_all([stream + behind], Inflater(bits, takeover), limit) == expected
    return got


def m(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    return ws.frame_masked(opcode, payload, KEY, fin=fin, rsv1=rsv1)


def error(code: int, rule: str) -> tuple[str, int, str]:
    return ("error", code, rule)


# -------------------------------------------------------------------------------- 9.1 of RFC 6455: the header


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        ("", []),
        (" , ,", []),
        ("foo", [("foo", [])]),
        ("foo, bar; baz=2", [("foo", []), ("bar", [("baz", "2")])]),
        ("foo;a;b=1 ; c = 2,foo", [("foo", [("a", None), ("b", "1"), ("c", "2")]), ("foo", [])]),
        ('deflate; x="10"; y="a\\-b"', [("deflate", [("x", "10"), ("y", "a-b")])]),
        (",foo,,bar ,", [("foo", []), ("bar", [])]),
    ],
)
def test_header(header: str, parsed: list[ws.Extension]) -> None:
    assert ws.parse_extensions(header) == parsed


@pytest.mark.parametrize(
    "header",
    [
        "foo bar",
        ";a",
        "foo;",
        "foo;;a",
        "foo; a=",
        "foo; =1",
        'foo; a="b',
        'foo; a="b c"',
        'foo; a=""',
        "foo; a=b c",
        "é",
        "foo\r\n",
        "foo; a=1=2",
    ],
)
def test_malformed_header(header: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"RFC 6455 9\.1") as caught:
        ws.parse_extensions(header)
    assert caught.value.http_status == 400
    with pytest.raises(RemoteProtocolError):
        ws.negotiate(header, KEEP)


@given(st.text(alphabet='abz;,= "\\\t10', max_size=30))
def test_header_parses_or_is_refused(header: str) -> None:
    try:
        parsed = ws.parse_extensions(header)
    except RemoteProtocolError:
        return
    again = ", ".join(
        "; ".join([name, *(key if value is None else f'{key}="{value}"' for key, value in parameters)])
        for name, parameters in parsed
    )
    assert ws.parse_extensions(again) == parsed


# -------------------------------------------------------------------------------------------- 7.1 negotiation


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=x",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=010",
        "permessage-deflate; client_max_window_bits=+10",
    ],
)
def test_faulty_offers_are_declined(offer: str) -> None:
    assert ws.negotiate(offer, KEEP) is None
    # ... but a later one without a fault is taken
    agreed = ws.negotiate(offer + ", permessage-deflate; server_max_window_bits=11", KEEP)
    assert agreed is not None
    assert agreed[0] == "permessage-deflate; server_max_window_bits=11"


@pytest.mark.parametrize(
    ("offer", "wish", "response"),
    [
        ("permessage-deflate", KEEP, "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", KEEP, "permessage-deflate"),
        (
            "permessage-deflate",
            Deflate(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            'permessage-deflate; server_max_window_bits="10"',
            KEEP,
            "permessage-deflate; server_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_max_window_bits=15",
            KEEP,
            "permessage-deflate; server_max_window_bits=15",
        ),
        # the first one that can be taken
        (
            "foo, permessage-deflate; server_max_window_bits=9, permessage-deflate",
            KEEP,
            "permessage-deflate; server_max_window_bits=9",
        ),
        # our limit for the client can be said only if it understands
        ("permessage-deflate", Deflate(False, False, 15, 10), "permessage-deflate"),
        (
            "permessage-deflate; client_max_window_bits",
            Deflate(False, False, 15, 10),
            "permessage-deflate; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; client_max_window_bits=9",
            Deflate(False, False, 15, 10),
            "permessage-deflate; client_max_window_bits=9",
        ),
        (
            "permessage-deflate",
            Deflate(False, False, 12, 15),
            "permessage-deflate; server_max_window_bits=12",
        ),
    ],
)
def test_responses(offer: str, wish: Deflate, response: str) -> None:
    agreed = ws.negotiate(offer, wish)
    assert agreed is not None
    assert agreed[0] == response


def all_offers() -> list[str]:
    return [
        "; ".join(["permessage-deflate", *(p for p in parameters if p)])
        for parameters in itertools.product(
            ("", "server_no_context_takeover"),
            ("", "client_no_context_takeover"),
            ("", "server_max_window_bits=8", "server_max_window_bits=12"),
            ("", "client_max_window_bits", "client_max_window_bits=8", "client_max_window_bits=12"),
        )
    ]


def all_settings() -> list[Deflate]:
    return [Deflate(*values) for values in itertools.product((True, False), (True, False), (8, 10, 15), (8, 10, 15))]


def test_all_combinations_agree_and_keep_to_the_offer() -> None:
    for offer, wish in itertools.product(all_offers(), all_settings()):
        agreed = ws.negotiate(offer, wish)
        assert agreed is not None
        response, inflater, deflater = agreed
        ((name, said),) = ws.parse_extensions(response)
        asked = dict(ws.parse_extensions(offer)[0][1])
        answer = dict(said)
        assert name == "permessage-deflate"
        assert len(answer) == len(said)
        if "server_no_context_takeover" in asked:
            assert "server_no_context_takeover" in answer
        assert deflater.context_takeover == ("server_no_context_takeover" not in answer)
        assert inflater.context_takeover == ("client_no_context_takeover" not in answer)
        if "server_max_window_bits" in asked:
            assert int(answer["server_max_window_bits"] or 0) <= int(asked["server_max_window_bits"] or 0)
        assert deflater.window_bits == int(answer.get("server_max_window_bits") or 15)
        if "client_max_window_bits" not in asked:
            assert "client_max_window_bits" not in answer
        assert int(answer.get("client_max_window_bits") or 15) >= inflater.window_bits


def test_our_client_agrees_with_our_server_in_all_combinations() -> None:
    rng = random.Random(1)
    words = [bytes(rng.choice(b"abcdef") for _ in range(8)) for _ in range(40)]
    for client, server in itertools.product(all_settings(), all_settings()):
        agreed = ws.negotiate(ws.offer(client), server)
        assert agreed is not None
        response, server_in, server_out = agreed
        halves = ws.accept(response, client)
        assert halves is not None
        client_in, client_out = halves
        assert client_in.window_bits == server_out.window_bits
        assert client_out.window_bits <= server_in.window_bits
        assert client_in.context_takeover or not server_out.context_takeover
        assert server_in.context_takeover or not client_out.context_takeover
        for _ in range(3):
            message = b" ".join(rng.choice(words) for _ in range(120))
            assert client_in.decompress(server_out.compress(message), LIMIT) == message
            assert server_in.decompress(client_out.compress(message), LIMIT) == message


@pytest.mark.parametrize(
    "response",
    [
        "foo",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_max_window_bits=13; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits=11; server_no_context_takeover; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits; server_max_window_bits=12; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=12",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=12; server_no_context_takeover; x",
    ],
)
def test_client_refuses_what_it_did_not_offer(response: str) -> None:
    wish = Deflate(True, False, 12, 10)
    assert ws.offer(wish) == (
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; client_max_window_bits=10"
    )
    with pytest.raises(RemoteProtocolError) as caught:
        ws.accept(response, wish)
    assert caught.value.close_code == 1010
    assert ws.accept("", wish) is None


@pytest.mark.parametrize(
    "wrong",
    [{"server_max_window_bits": 7}, {"client_max_window_bits": 16}, {"level": 10}, {"memory_level": 0}],
)
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Deflate(**wrong)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------ 7.2.3 the examples of the RFC


@pytest.mark.parametrize(
    "stream",
    [
        "c107f248cdc9c90700",
        "c107f248cdc9c90700c107f248cdc9c90700",  # 7.2.3.2: the same twice, each on its own
        "4103f248cd 8004c9c90700",
        "c10b000500faff48656c6c6f00",
        "c108f348cdc9c9070000",
        "c10df248050000 00ffffcac9c90700",
    ],
)
def test_examples_of_7_2_3(stream: str) -> None:
    data = bytes.fromhex(stream)
    expected: list[Event] = ["Hello"] * stream.count("c107")
    expected = expected or ["Hello"]
    assert feed_all([data], Inflater(), 100, masked=False) == expected
    assert feed_all([data[i : i + 1] for i in range(len(data))], Inflater(), 100, masked=False) == expected


def test_shared_window_of_7_2_3_2() -> None:
    first, second = bytes.fromhex("f248cdc9c90700"), bytes.fromhex("f200110000")
    stream = m(TEXT, first, rsv1=True) + m(TEXT, second, rsv1=True)
    assert receive(stream) == ["Hello", "Hello"]
    assert receive(stream, takeover=False) == ["Hello", error(1007, "RFC 7692 7.2.2")]
    deflater = Deflater()
    assert [deflater.compress(b"Hello"), deflater.compress(b"Hello")] == [first, second]
    deflater = Deflater(context_takeover=False)
    assert [deflater.compress(b"Hello"), deflater.compress(b"Hello")] == [first, first]


def test_empty_message_of_7_2_3_6() -> None:
    for takeover in (True, False):
        deflater = Deflater(context_takeover=takeover)
        sent = [deflater.compress(text) for text in (b"", b"Hello", b"", b"Hello")]
        assert sent[0] == b"\x00"
        stream = b"".join(m(TEXT, data, rsv1=True) for data in sent)
        assert receive(stream, takeover=takeover) == ["", "Hello", "", "Hello"]


def test_final_blocks_of_7_2_3_4() -> None:
    final = bytes.fromhex("f348cdc9c9070000")
    assert receive(m(TEXT, final, rsv1=True) * 3) == ["Hello"] * 3
    twice = m(TEXT, final[:-1], fin=False, rsv1=True) + m(CONTINUATION, final)
    assert receive(twice) == ["HelloHello"]
    many = m(BINARY, b"\x03\x00" * 1000, rsv1=True)
    assert receive(many) == [error(1008, "RFC 7692 7.2.3.4")]


# ------------------------------------------------------------------------------------------ 6 frames and RSV1


def test_plain_and_compressed_messages_alternate() -> None:
    deflater = Deflater()
    stream = b""
    for i in range(5):
        stream += m(TEXT, deflater.compress(b"text %d" % i), rsv1=True) + m(TEXT, b"plain") + m(PING, b"")
    assert receive(stream) == [event for i in range(5) for event in (f"text {i}", "plain", (PING, b""))]


def test_compressed_fragments_with_control_frames_between() -> None:
    text = "마당 " * 400
    for takeover, step in itertools.product((True, False), (1, 3, 50)):
        deflater = Deflater(context_takeover=takeover)
        stream = b""
        for _ in range(2):
            data = deflater.compress(text.encode())
            stream += m(TEXT, b"", fin=False, rsv1=True)
            for i in range(0, len(data), step):
                stream += m(CONTINUATION, data[i : i + step], fin=False)
                if i == 0:
                    stream += m(PING, b"p")
            stream += m(CONTINUATION, b"")
        assert receive(stream, takeover=takeover) == [(PING, b"p"), text] * 2


def test_rsv1_on_continuation() -> None:
    begun = m(TEXT, Deflater().compress(b"Hello"), fin=False, rsv1=True)
    assert receive(begun + m(CONTINUATION, b"", rsv1=True)) == [error(1002, "RFC 7692 6.1")]


@pytest.mark.parametrize("opcode", [8, 9, 10])
def test_rsv1_on_control_frames(opcode: int) -> None:
    frame = bytearray(m(opcode, b""))
    frame[0] |= 0x40
    assert receive(bytes(frame)) == [error(1002, "RFC 7692 6.1")]


@pytest.mark.parametrize("rsv", [0x20, 0x10, 0x60])
def test_other_reserved_bits(rsv: int) -> None:
    assert receive(bytes((0x81 | rsv, 0x80)) + KEY) == [error(1002, "RFC 6455 5.2")]


def test_rsv1_without_agreement() -> None:
    assert feed_all([m(TEXT, b"\x00", rsv1=True)], None, 100) == [error(1002, "RFC 6455 5.2")]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x06", b"\x01\x00\x00\x01\x01", b"\xf2\x00\x11\x00\x00"])
def test_not_deflate(data: bytes) -> None:
    assert receive(m(BINARY, data, rsv1=True)) == [error(1007, "RFC 7692 7.2.2")]
    assert receive(m(BINARY, data, fin=False, rsv1=True) + m(CONTINUATION, b"")) == [error(1007, "RFC 7692 7.2.2")]


def test_inflated_text_must_be_utf8() -> None:
    data = Deflater().compress(b"good" * 10 + b"\xed\xa0\x80")
    assert receive(m(TEXT, data, rsv1=True)) == [error(1007, "RFC 6455 8.1")]
    assert receive(m(TEXT, data, fin=False, rsv1=True) + m(CONTINUATION, b"")) == [error(1007, "RFC 6455 8.1")]


# ----------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("limit", [1, 5, 100, 1000, 40_000])
@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("random_bytes", [True, False])
def test_limit_of_the_inflated_size(limit: int, level: int, random_bytes: bool) -> None:
    for size, fits in ((limit, True), (limit + 1, False)):
        payload = random.Random(1).randbytes(size) if random_bytes else b"x" * size
        data = Deflater(level=level).compress(payload)
        expected: list[Event] = [payload]
        if not fits:
            expected = [error(1009, "RFC 7692 8")]
        middle = len(data) // 2
        assert feed_all([m(BINARY, data, rsv1=True)], Inflater(), limit) == expected
        fragments = m(BINARY, data[:middle], fin=False, rsv1=True) + m(CONTINUATION, data[middle:])
        assert feed_all([fragments], Inflater(), limit) == expected


def test_decompression_bomb_is_not_inflated() -> None:
    bomb = Deflater(level=9).compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    parts = [bomb[i : i + 60] for i in range(0, len(bomb), 60)]
    fragments = b"".join(m(CONTINUATION, part, fin=False) for part in parts)
    for stream in (m(BINARY, bomb, rsv1=True), m(BINARY, b"", fin=False, rsv1=True) + fragments):
        tracemalloc.start()
        try:
            assert feed_all([stream], Inflater(), LIMIT) == [error(1009, "RFC 7692 8")]
            assert tracemalloc.get_traced_memory()[1] < 5 * LIMIT
        finally:
            tracemalloc.stop()


def test_compressed_size_is_checked_from_the_header() -> None:
    header = b"\xc2\xff" + (LIMIT * 2).to_bytes(8, "big")
    assert feed_all([header], Inflater(), LIMIT) == [error(1009, "RFC 6455 10.4")]
    # blocks that say nothing, for ever
    nothing = m(BINARY, b"", fin=False, rsv1=True) + m(CONTINUATION, b"\x00\x00\x00\xff\xff" * 1000, fin=False) * 30
    assert feed_all([nothing], Inflater(), LIMIT) == [error(1009, "RFC 6455 10.4")]


# --------------------------------------------------------------------------- round trips, two other libraries

PAYLOADS = st.lists(
    st.one_of(st.binary(max_size=200), st.text(max_size=60).map(str.encode), st.just(b"madang " * 50)),
    max_size=5,
)


@settings(max_examples=60)
@given(PAYLOADS, st.integers(8, 15), st.booleans(), st.integers(-1, 9), st.integers(1, 9), st.integers(1, 80))
def test_round_trip(payloads: list[bytes], bits: int, takeover: bool, level: int, memory: int, step: int) -> None:
    deflater = Deflater(bits, takeover, level, memory)
    stream = b""
    for payload in payloads:
        data = deflater.compress(payload)
        parts = [data[i : i + step] for i in range(0, len(data), step)]
        stream += m(BINARY, b"", fin=False, rsv1=True)
        stream += b"".join(m(CONTINUATION, part, fin=False) for part in parts) + m(CONTINUATION, b"")
    assert feed_all([stream], Inflater(bits, takeover), LIMIT) == payloads
    assert feed_all([stream[i : i + 7] for i in range(0, len(stream), 7)], Inflater(15, True), LIMIT) == payloads


@pytest.mark.parametrize("bits", range(8, 16))
def test_distances_stay_in_the_window(bits: int) -> None:
    """A receiver with just the agreed window reads everything.

    zlib refuses distances beyond its window only where they leave what it gives out in one call: so it gives little.
    """

    def inflate(data: bytes) -> bytes:
        inflated = b""
        while len(piece := stream.decompress(data, 16)) == 16:
            inflated += piece
            data = stream.unconsumed_tail
        return inflated + piece

    rng = random.Random(bits)
    block = rng.randbytes(150)
    near = block + rng.randbytes(20) + block + b"z" * 500
    far = near + rng.randbytes(1 << bits) + near
    deflater = Deflater(bits)
    stream = zlib.decompressobj(-bits)
    for _ in range(3):
        assert inflate(deflater.compress(far) + b"\x00\x00\xff\xff") == far
    if bits < 15:
        wider = Deflater(bits + 2 if bits < 13 else 15)
        with pytest.raises(zlib.error, match="too far back"):
            inflate(wider.compress(far) + b"\x00\x00\xff\xff")


@settings(max_examples=40)
@given(PAYLOADS, st.integers(9, 15), st.booleans())
def test_websockets_compresses_and_inflates_the_same(payloads: list[bytes], bits: int, takeover: bool) -> None:
    theirs = TheirDeflate(not takeover, not takeover, bits, bits)
    ours = Deflater(bits, takeover)
    stream = b""
    for payload in payloads:
        frame = theirs.decode(Frame(Opcode.BINARY, ours.compress(payload), rsv1=True))
        assert bytes(frame.data) == payload
        stream += Frame(Opcode.BINARY, payload).serialize(mask=True, extensions=[theirs])
    assert feed_all([stream], Inflater(bits, takeover), LIMIT) == payloads


@settings(max_examples=40)
@given(PAYLOADS, st.integers(9, 15), st.booleans())
def test_wsproto_compresses_and_inflates_the_same(payloads: list[bytes], bits: int, takeover: bool) -> None:
    parameters = f"permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}"
    if not takeover:
        parameters += "; server_no_context_takeover; client_no_context_takeover"
    extension = WsprotoDeflate()
    extension.finalize(parameters)
    peer = FrameProtocol(client=True, extensions=[extension])
    ours = Deflater(bits, takeover)
    stream = b""
    for payload in payloads:
        peer.receive_bytes(ws.frame(BINARY, ours.compress(payload), rsv1=True))
        assert b"".join(bytes(piece.payload) for piece in peer.received_frames()) == payload
        stream += peer.send_data(payload, fin=True)
    assert feed_all([stream], Inflater(bits, takeover), LIMIT) == payloads


def test_websockets_negotiates_the_same_windows() -> None:
    """Their server and ours, asked the same by all offers, agree on what matters."""
    for offer in all_offers():
        if "=8" in offer:
            continue
        parameters = ws.parse_extensions(offer)[0][1]
        theirs, _ = ServerPerMessageDeflateFactory(False, False).process_request_params(parameters, [])
        agreed = ws.negotiate(offer, KEEP)
        assert agreed is not None
        asked = dict(theirs)
        _, _, deflater = agreed
        assert deflater.context_takeover == ("server_no_context_takeover" not in asked)
        assert deflater.window_bits == int(asked.get("server_max_window_bits") or 15)


# ------------------------------------------------------------------------------------------------- broadcasts


def test_a_broadcast_is_compressed_once() -> None:
    message = b'42["tick",1]' * 100
    members = [
        ws.negotiate(offer, Deflate()) for offer in ["permessage-deflate", "permessage-deflate; client_max_window_bits"]
    ]
    frames = {}
    for member in members:
        assert member is not None
        _, _, deflater = member
        assert deflater.key is not None
        if deflater.key not in frames:
            frames[deflater.key] = ws.frame(TEXT, deflater.compress(message), rsv1=True)
    assert len(frames) == 1
    for frame in frames.values():
        assert feed_all([frame * 2], Inflater(context_takeover=False), LIMIT, masked=False) == [message.decode()] * 2


def test_key_tells_who_shares() -> None:
    assert Deflater(10, False, 1, 2).key == Deflater(10, False, 1, 2).key
    assert Deflater(10, False, 1, 2).key != Deflater(11, False, 1, 2).key
    assert Deflater(10, True).key is None
    assert Deflate(threshold_bytes=77).deflater(10, True).threshold_bytes == 77
