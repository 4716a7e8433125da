"""The drafts before RFC 6455: keys, proofs, responses, and messages in whatever pieces they come."""

import random
import re
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madang.errors import LocalProtocolError, RemoteProtocolError
from madang.rfc import hixie
from madang.rfc.hixie import CLOSE, FrameReader, Handshake, text_frame

sys.path.insert(0, str(Path(__file__).parents[2]))

from faces.support.flash import CHALLENGE, KEYS, PROOF, fresh_key

HEADERS = {
    "upgrade": "WebSocket",
    "connection": "Upgrade",
    "host": "127.0.0.1:8000",
    "origin": "http://127.0.0.1:8000",
    "cookie": "",
    "sec-websocket-key1": KEYS[0],
    "sec-websocket-key2": KEYS[1],
}

# ---- handshake ----


@pytest.mark.parametrize(
    ("keys", "challenge", "proof"),
    [
        (KEYS, CHALLENGE, PROOF),
        # The examples of the draft.
        (("4 @1  46546xW%0l 1 5", "12998 5 Y3 1  .P00"), b"^n:ds[4U", b"8jKS'y:G*Co,Wxa-"),
        (("3e6b263  4 17 80", "17  9 G`ZD9   2 2b 7X 3 /r90"), b"WjN}|M(6", b"n`9eBk9z$R8pOtVb"),
    ],
)
def test_proofs(keys: tuple[str, str], challenge: bytes, proof: bytes) -> None:
    found = hixie.check_handshake(
        "GET", "1.1", {**HEADERS, "sec-websocket-key1": keys[0], "sec-websocket-key2": keys[1]}
    )
    assert found.proof(challenge) == proof


def test_numbers_of_the_drafts_example() -> None:
    assert hixie.key_number("3e6b263  4 17 80") == 906_585_445
    assert hixie.key_number("17  9 G`ZD9   2 2b 7X 3 /r90") == 179_922_739


@given(st.randoms(use_true_random=False))
def test_keys_as_clients_make_them(rng: random.Random) -> None:
    key, number = fresh_key(rng)
    assert hixie.key_number(key) == number


@given(st.text(st.characters(max_codepoint=255)))
def test_any_key_is_a_number_or_refused(key: str) -> None:
    try:
        number = hixie.key_number(key)
    except RemoteProtocolError:
        return
    assert 0 <= number < 1 << 32
    assert number * key.count(" ") == int("".join(re.findall("[0-9]", key)))


@pytest.mark.parametrize(
    "key",
    ["", " ", "1", "12", "a b", "1 2 3 4", "4294967296 ", "²³ ", "9" * 5000 + " ", " " * 5000 + "1"],
    ids=lambda key: f"{key[:8]!r}-{len(key)}",
)
def test_keys_that_are_none(key: str) -> None:
    with pytest.raises(RemoteProtocolError, match="key"):
        hixie.key_number(key)


def test_the_greatest_number() -> None:
    assert hixie.key_number("4294967295 ") == 0xFFFFFFFF


@pytest.mark.parametrize(
    ("method", "version", "changes"),
    [
        ("POST", "1.1", {}),
        ("GET", "1.0", {}),
        ("GET", "1.1", {"upgrade": "h2c"}),
        ("GET", "1.1", {"connection": "close"}),
        ("GET", "1.1", {"host": ""}),
        ("GET", "1.1", {"origin": ""}),
        ("GET", "1.1", {"sec-websocket-key1": "12 3 5"}),
        ("GET", "1.1", {"sec-websocket-key2": None}),
        ("GET", "1.1", {"sec-websocket-key1": None}),
    ],
    ids=str,
)
def test_refused(method: str, version: str, changes: dict[str, str | None]) -> None:
    headers = {name: value for name, value in {**HEADERS, **changes}.items() if value is not None}
    with pytest.raises(RemoteProtocolError) as refused:
        hixie.check_handshake(method, version, headers)
    assert (refused.value.http_status, refused.value.rule) == (400, "hixie-76 5.2")


def test_draft_75_has_no_keys() -> None:
    headers = {name: value for name, value in HEADERS.items() if "key" not in name}
    assert hixie.speaks(headers)
    handshake = hixie.check_handshake("GET", "1.1", headers)
    assert handshake.numbers is None
    with pytest.raises(LocalProtocolError):
        handshake.proof(CHALLENGE)
    assert hixie.handshake_response(handshake, "/demo") == (
        b"HTTP/1.1 101 Web Socket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
        b"WebSocket-Origin: http://127.0.0.1:8000\r\nWebSocket-Location: ws://127.0.0.1:8000/demo\r\n\r\n"
    )


def test_who_speaks_it() -> None:
    assert hixie.speaks(HEADERS)
    assert not hixie.speaks({})
    assert not hixie.speaks({**HEADERS, "sec-websocket-version": "13"})
    assert not hixie.speaks({"upgrade": "websocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="})


def test_the_response() -> None:
    handshake = hixie.check_handshake("GET", "1.1", {**HEADERS, "sec-websocket-protocol": "chat"})
    assert handshake.subprotocol == "chat"
    assert hixie.handshake_response(
        handshake, "/socket.io/?a=b", secure=True, subprotocol="chat", headers=[("X-Seat", "7")]
    ) == (
        b"HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Origin: http://127.0.0.1:8000\r\n"
        b"Sec-WebSocket-Location: wss://127.0.0.1:8000/socket.io/?a=b\r\n"
        b"Sec-WebSocket-Protocol: chat\r\nX-Seat: 7\r\n\r\n"
    )
    with pytest.raises(LocalProtocolError):
        hixie.handshake_response(handshake, "/", headers=[("X", "a\r\nb")])


def test_eight_bytes_and_no_other_number() -> None:
    for size in (0, 7, 9):
        with pytest.raises(LocalProtocolError):
            Handshake("o", "h", (1, 2), None).proof(b"x" * size)


# ---- messages ----

Event = str | tuple[str, object]


def receive(chunks: list[bytes], limit: int = 1000) -> list[Event]:
    """Messages, and at the end perhaps the good-bye or an error."""
    got: list[Event] = []
    reader = FrameReader(got.append, lambda: got.append(("closed", None)), max_message_bytes=limit)
    for chunk in chunks:
        try:
            reader.feed(chunk)
        except RemoteProtocolError as error:
            got.append(("error", error.close_code))
            assert reader.stopped
    assert reader.extent(b"\x00abc\xff") == 0
    return got


TEXTS = st.lists(st.text(max_size=40), max_size=6)


@given(TEXTS, st.booleans(), st.data())
def test_what_is_written_is_read_in_any_pieces(texts: list[str], closes: bool, data: st.DataObject) -> None:
    stream = b"".join(map(text_frame, texts)) + (CLOSE + b"\x00ignored\xff" if closes else b"")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected: list[Event] = [*texts, ("closed", None)] if closes else [*texts]
    for way in (chunks, [stream], [stream[i : i + 1] for i in range(len(stream))]):
        assert receive(way) == expected


@given(st.binary(max_size=80))
def test_garbage_in_any_pieces(stream: bytes) -> None:
    got = receive([stream], limit=20)
    whole = [one for one in got if isinstance(one, str)]
    pieces = receive([stream[i : i + 1] for i in range(len(stream))], limit=20)
    assert pieces == got
    assert all(len(one.encode()) <= 60 for one in whole)  # a byte that is no UTF-8 becomes three


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x80\x05hello", 1003),  # binary, with its length
        (b"\xff\x05hello", 1003),
        (b"\x01text\xff", 1003),
        (b"GET / HTTP/1.1", 1003),
        (b"\x00" + b"x" * 1001, 1009),  # whether or not the end comes
        (b"\x00" + b"x" * 1001 + b"\xff", 1009),
        (b"\x00ok\xff\x7f", 1003),
    ],
    ids=["binary", "length", "type", "http", "endless", "large", "second"],
)
def test_refused_frames(stream: bytes, code: int) -> None:
    got = receive([stream, b"\x00more\xff"])
    assert got[-1] == ("error", code)
    assert got[:-1] == (["ok"] if b"ok" in stream else [])


def test_what_is_not_utf8() -> None:
    assert receive([b"\x00a\xc0\xafb\xff\x00\xed\xa0\x80\xff"]) == ["a\ufffd\ufffdb", "\ufffd\ufffd\ufffd"]


def test_a_message_may_have_zeros_and_all_of_the_limit() -> None:
    assert receive([b"\x00\x00\x00\xff\xff\x00"]) == ["\0\0", ("closed", None)]
    assert receive([b"\x00", b"x" * 600, b"x" * 400, b"\xff"]) == ["x" * 1000]


def test_nothing_after_stop() -> None:
    got: list[str | bytes] = []

    def take(message: str | bytes) -> None:
        got.append(message)
        reader.stop()

    reader = FrameReader(take, lambda: got.append("closed"), max_message_bytes=100)
    reader.feed(b"\x00one\xff\x00two\xff\xff\x00")
    assert got == ["one"]


def test_an_exception_of_a_callback_stops_it() -> None:
    def fail(message: str | bytes) -> None:
        raise KeyError(message)

    reader = FrameReader(fail, lambda: None, max_message_bytes=100)
    with pytest.raises(KeyError):
        reader.feed(b"\x00one\xff")
    assert reader.stopped
    reader.feed(b"\x00two\xff")


def test_a_lone_surrogate_cannot_be_said() -> None:
    with pytest.raises(LocalProtocolError, match="UTF-8"):
        text_frame("\ud800")


def test_memory_of_a_message_that_drips_in() -> None:
    """Byte by byte it costs what it is long, and not an object for each."""
    reader = FrameReader(lambda message: None, lambda: None, max_message_bytes=200_000)
    reader.feed(b"\x00")
    tracemalloc.start()
    try:
        for _ in range(100_000):
            reader.feed(b"x")
        assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()
