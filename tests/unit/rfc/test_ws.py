"""RFC 6455: frames, messages, text, close and the opening handshake. Compression is in test_ws_deflate.py.

`receive` runs each stream three ways (at once, byte by byte, with more behind): the outcome must be the same.
"""

import importlib
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from wsproto.frame_protocol import FrameProtocol

from madang.errors import LocalProtocolError, RemoteProtocolError
from madang.rfc import ws
from madang.rfc.ws import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, FrameReader

KEY = bytes.fromhex("37fa213d")
SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 1.3

Event = str | bytes | tuple[object, ...]


def feed_all(chunks: list[bytes], *, masked: bool, limit: int, max_fragments: int) -> list[Event]:
    """Messages, (opcode, payload) of control frames, and at the end perhaps ("error", close code, rule)."""
    got: list[Event] = []
    reader = FrameReader(
        got.append,
        lambda opcode, payload: got.append((opcode, payload)),
        masked=masked,
        max_message_bytes=limit,
        max_fragments=max_fragments,
    )
    for chunk in chunks:
        try:
            reader.feed(chunk)
        except RemoteProtocolError as error:
            got.append(("error", error.close_code, error.rule))
            assert reader.stopped
    return got


def receive(
    stream: bytes, *, masked: bool = True, limit: int = 100_000, max_fragments: int = 1000, whole: bool = True
) -> list[Event]:
    """Feed three ways; `whole=False`: the stream ends inside a frame, so nothing can come behind it."""

    def run(chunks: list[bytes]) -> list[Event]:
        return feed_all(chunks, masked=masked, limit=limit, max_fragments=max_fragments)

    got = run([stream])
    assert run([stream[i : i + 1] for i in range(len(stream))]) == got
    if whole:
        ended = bool(got) and isinstance(got[-1], tuple) and got[-1][0] in ("error", CLOSE)
        behind = ws.frame_masked(PING, b"behind", KEY) if masked else ws.frame(PING, b"behind")
        expected = got if ended else [*got, (PING, b"behind")]
        assert run([stream + behind]) == expected
        assert run([stream, behind]) == expected
        assert run([stream + behind[:3], behind[3:]]) == expected
    return got


def m(opcode: int, payload: bytes = b"", *, fin: bool = True, key: bytes = KEY) -> bytes:
    return ws.frame_masked(opcode, payload, key, fin=fin)


def raw(first: int, length: bytes, payload: bytes = b"") -> bytes:
    """A frame with any header, masked with zeros; the mask bit is set in `length`."""
    return bytes((first, length[0] | 0x80)) + length[1:] + bytes(4) + payload


def error(code: int, rule: str) -> tuple[str, int, str]:
    return ("error", code, rule)


# ------------------------------------------------------------------------------------------- 5.7 the examples


@pytest.mark.parametrize(
    ("stream", "masked", "expected"),
    [
        ("810548656c6c6f", False, ["Hello"]),
        ("818537fa213d7f9f4d5158", True, ["Hello"]),
        ("010348656c 80026c6f", False, ["Hello"]),
        ("890548656c6c6f", False, [(PING, b"Hello")]),
        ("8a8537fa213d7f9f4d5158", True, [(PONG, b"Hello")]),
        ("827e0100" + "ab" * 256, False, [b"\xab" * 256]),
        ("827f0000000000010000" + "ab" * 65536, False, [b"\xab" * 65536]),
    ],
)
def test_examples_of_5_7(stream: str, masked: bool, expected: list[Event]) -> None:
    assert receive(bytes.fromhex(stream), masked=masked) == expected


# --------------------------------------------------------------------------------------- 5.2 lengths, framing

LENGTHS = [0, 1, 124, 125, 126, 127, 128, 129, 255, 256, 1000, 8191, 8192, 65_535, 65_536, 65_537]


@pytest.mark.parametrize("size", LENGTHS)
def test_every_length_form(size: int) -> None:
    text = b"*" * size
    data = bytes(i & 0xFF for i in range(size))
    assert receive(m(TEXT, text) + m(BINARY, data)) == [text.decode(), data]
    assert receive(ws.text_frame(text) + ws.binary_frame(data), masked=False) == [text.decode(), data]


@pytest.mark.parametrize("masked", [True, False])
def test_several_messages_in_one_chunk(masked: bool) -> None:
    one = m(TEXT, "é".encode()) if masked else ws.text_frame("é")
    two = m(BINARY, b"\xff" * 300) if masked else ws.binary_frame(b"\xff" * 300)
    three = m(PING, b"p") if masked else ws.frame(PING, b"p")
    assert receive((one + two + three) * 4 + one, masked=masked) == ["é", b"\xff" * 300, (PING, b"p")] * 4 + ["é"]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125])
def test_length_in_two_bytes_must_need_them(opcode: int, size: int) -> None:
    stream = raw(0x80 | opcode, b"\x7e" + struct.pack(">H", size), bytes(size))
    assert receive(stream) == [error(1002, "RFC 6455 5.2")]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535])
def test_length_in_eight_bytes_must_need_them(size: int) -> None:
    stream = raw(0x82, b"\x7f" + struct.pack(">Q", size), bytes(size))
    assert receive(stream) == [error(1002, "RFC 6455 5.2")]


@pytest.mark.parametrize("size", [1 << 63, (1 << 64) - 1])
def test_highest_bit_of_length(size: int) -> None:
    assert receive(raw(0x82, b"\x7f" + struct.pack(">Q", size))) == [error(1002, "RFC 6455 5.2")]


@pytest.mark.parametrize("rsv", [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_reserved_bits(rsv: int, opcode: int) -> None:
    good = m(TEXT, b"before")
    assert receive(good + raw(0x80 | rsv | opcode, b"\x00")) == ["before", error(1002, "RFC 6455 5.2")]


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("size", [0, 1])
def test_reserved_opcodes(opcode: int, size: int) -> None:
    stream = m(TEXT, b"before") + raw(0x80 | opcode, bytes((size,)), b"x" * size)
    assert receive(stream) == ["before", error(1002, "RFC 6455 5.2")]


# ------------------------------------------------------------------------------------------- 5.1, 5.3 masking


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [0, 1, 2, 100])
def test_masked_by_role(opcode: int, size: int) -> None:
    payload = struct.pack(">H", 1000) + b"x" * (size - 2) if opcode == CLOSE else b"x" * size
    if opcode == CLOSE and size == 1:
        payload = b""
    assert receive(ws.frame(opcode, payload), masked=True) == [error(1002, "RFC 6455 5.1")]
    assert receive(m(opcode, payload), masked=False) == [error(1002, "RFC 6455 5.1")]


def test_a_masking_key_of_zeros_is_a_key() -> None:
    assert receive(m(TEXT, b"plain", key=bytes(4))) == ["plain"]


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_both_maskings_agree(data: bytes, key: bytes) -> None:
    by_hand = bytes(byte ^ key[i % 4] for i, byte in enumerate(data))
    assert ws.apply_mask_python(data, key) == by_hand
    assert ws.apply_mask_python(bytearray(data), key) == by_hand
    assert ws.apply_mask_python(memoryview(data), key) == by_hand
    assert ws.apply_mask(data, key) == by_hand


class NoSpeedups:
    """An import hook for a platform without the compiled wheel."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "websockets.speedups":
            raise ImportError(name)


@pytest.fixture
def pure() -> Iterator[object]:
    """The module as it is where `websockets.speedups` cannot be imported."""
    if not str(ws.__file__).endswith(".py"):
        pytest.skip("a compiled module cannot be imported twice")
    hook = NoSpeedups()
    kept = {name: sys.modules.pop(name, None) for name in ("websockets.speedups", "madang.rfc.ws")}
    sys.meta_path.insert(0, hook)  # type: ignore[arg-type]
    try:
        yield importlib.import_module("madang.rfc.ws")
    finally:
        sys.meta_path.remove(hook)  # type: ignore[arg-type]
        sys.modules.update({name: module for name, module in kept.items() if module is not None})
        sys.modules["madang.rfc"].ws = ws  # type: ignore[attr-defined]


def test_reads_without_the_compiled_mask(pure: object) -> None:
    assert pure is not ws
    assert pure.apply_mask is pure.apply_mask_python  # type: ignore[attr-defined]
    got: list[Event] = []
    stream = m(TEXT, "마당".encode()) + m(BINARY, b"\x01" * 9000) + m(TEXT, b"a" * 200)
    for size in (1, 7, 10_000, len(stream)):
        reader = pure.FrameReader(got.append, print, max_message_bytes=10_000)  # type: ignore[attr-defined]
        for i in range(0, len(stream), size):
            reader.feed(stream[i : i + size])
        assert got == ["마당", b"\x01" * 9000, "a" * 200]
        got.clear()


# ------------------------------------------------------------------------------------------ 5.4 fragmentation


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("parts", [[b"", b""], [b"a", b"b"], [b"", b"ab", b""], [b"a"] * 50, [b"x" * 200, b"y" * 9000]])
def test_fragments_make_one_message(opcode: int, parts: list[bytes]) -> None:
    stream = m(opcode, parts[0], fin=False)
    stream += b"".join(m(CONTINUATION, part, fin=False) for part in parts[1:-1])
    stream += m(CONTINUATION, parts[-1])
    whole = b"".join(parts)
    assert receive(stream * 2 + m(TEXT, b"next")) == [whole.decode() if opcode == TEXT else whole] * 2 + ["next"]


def test_control_frames_between_fragments() -> None:
    stream = (
        m(TEXT, b"a", fin=False) + m(PING, b"1") + m(CONTINUATION, b"b", fin=False) + m(PONG) + m(CONTINUATION, b"c")
    )
    assert receive(stream) == [(PING, b"1"), (PONG, b""), "abc"]


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("before", [b"", m(TEXT, b"x"), m(TEXT, b"x", fin=False) + m(CONTINUATION)])
def test_continuation_of_nothing(fin: bool, before: bytes) -> None:
    assert receive(before + m(CONTINUATION, b"y", fin=fin)) == ["x"] * bool(before) + [error(1002, "RFC 6455 5.4")]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("size", [3, 200])
def test_new_message_inside_a_fragmented_one(opcode: int, fin: bool, size: int) -> None:
    stream = m(TEXT, b"first", fin=False) + m(opcode, b"n" * size, fin=fin)
    assert receive(stream) == [error(1002, "RFC 6455 5.4")]


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frames_are_whole(opcode: int) -> None:
    assert receive(raw(opcode, b"\x00")) == [error(1002, "RFC 6455 5.5")]


def test_fragments_are_counted() -> None:
    begin = m(TEXT, b"", fin=False)
    more = m(CONTINUATION, b"", fin=False)
    assert receive(begin + more * 8 + m(CONTINUATION, b"x"), max_fragments=10) == ["x"]
    assert receive(begin + more * 10, max_fragments=10) == [error(1008, "max_websocket_fragments")]
    # ... in each message anew
    assert receive((begin + more * 8 + m(CONTINUATION, b"x")) * 3, max_fragments=10) == ["x"] * 3


def test_empty_fragments_cost_no_memory() -> None:
    reader = FrameReader(print, print, max_message_bytes=1000)
    reader.feed(m(BINARY, b"", fin=False))
    chunk = m(CONTINUATION, b"", fin=False) * 1000
    tracemalloc.start()
    try:
        reader.feed(chunk)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            reader.feed(chunk)
        assert tracemalloc.get_traced_memory()[0] - before < 1000
    finally:
        tracemalloc.stop()


# ----------------------------------------------------------------------------------------- 5.5 control frames


@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff\xfe\xfd", b"\xfe" * 125])
def test_ping_and_pong(opcode: int, payload: bytes) -> None:
    assert receive(m(opcode, payload) * 10) == [(opcode, payload)] * 10


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("length", [b"\x7e\x00\x7e", b"\x7e\x00\x01", b"\x7f" + bytes(7) + b"\x7e"])
def test_control_frames_are_short(opcode: int, length: bytes) -> None:
    assert receive(raw(0x80 | opcode, length, bytes(126))) == [error(1002, "RFC 6455 5.5")]


# ------------------------------------------------------------------------------------------- 5.5.1, 7.4 close

VALID_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]


@pytest.mark.parametrize("code", VALID_CODES)
def test_valid_close_codes(code: int) -> None:
    payload = struct.pack(">H", code)
    assert receive(m(CLOSE, payload)) == [(CLOSE, payload)]
    assert receive(m(CLOSE, payload + b"reason")) == [(CLOSE, payload + b"reason")]
    assert ws.parse_close(payload + "이유".encode()) == (code, "이유")
    assert ws.close_payload(code) == payload


@pytest.mark.parametrize("code", INVALID_CODES)
def test_invalid_close_codes(code: int) -> None:
    for reason in (b"", b"reason"):
        assert receive(m(CLOSE, struct.pack(">H", code) + reason)) == [error(1002, "RFC 6455 7.4")]
    with pytest.raises(LocalProtocolError):
        ws.close_payload(code)


def test_empty_close() -> None:
    assert receive(m(CLOSE)) == [(CLOSE, b"")]
    assert ws.parse_close(b"") == (1005, "")


def test_half_a_close_code() -> None:
    assert receive(m(CLOSE, b"\x03")) == [error(1002, "RFC 6455 5.5.1")]


def test_close_reason_must_be_utf8() -> None:
    assert receive(m(CLOSE, b"\x03\xe8\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80")) == [error(1007, "RFC 6455 8.1")]


def test_longest_close_reason() -> None:
    assert receive(m(CLOSE, b"\x03\xe8" + b"*" * 123)) == [(CLOSE, b"\x03\xe8" + b"*" * 123)]


@pytest.mark.parametrize("behind", [m(TEXT, b"late"), m(PING), m(CLOSE), b"\xff\xff\xff", m(TEXT, b"x", fin=False)])
def test_nothing_after_close(behind: bytes) -> None:
    assert receive(m(CLOSE, b"\x03\xe8") + behind) == [(CLOSE, b"\x03\xe8")]


def test_close_inside_a_fragmented_message() -> None:
    assert receive(m(TEXT, b"begun", fin=False) + m(CLOSE) + m(CONTINUATION, b"late")) == [(CLOSE, b"")]


def test_close_reason_is_cut_between_characters() -> None:
    assert ws.close_payload(1000, "a" * 200) == b"\x03\xe8" + b"a" * 123
    assert ws.close_payload(1000, "가" * 41) == b"\x03\xe8" + ("가" * 41).encode()  # 123 bytes
    assert ws.close_payload(1000, "a" + "가" * 41) == b"\x03\xe8a" + ("가" * 40).encode()
    assert ws.close_payload(1000, "🎈" * 31) == b"\x03\xe8" + ("🎈" * 30).encode()
    assert ws.close_payload(1000, "\ud800") == b"\x03\xe8?"


@given(st.sampled_from(VALID_CODES), st.text())
def test_close_round_trip(code: int, reason: str) -> None:
    payload = ws.close_payload(code, reason)
    assert len(payload) <= 125
    got_code, got_reason = ws.parse_close(payload)
    assert got_code == code
    assert reason.startswith(got_reason)
    assert got_reason == reason or len(payload) > 125 - 4


# -------------------------------------------------------------------------------------------------- 8.1 UTF-8

GOOD_TEXT = [
    "",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "안녕하세요 마당",
    "\x00",
    "\x7f\x80\u07ff\u0800\uffff",
    "\U00010000\U0010ffff",
    "\ud7ff\ue000\ufffd",
    "\ufdd0\ufffe\uffff\U0001fffe",  # non-characters are characters here
    "🎈" * 40,
]
BAD_TEXT = [
    "80",
    "bf",
    "c0af",  # "/" in too many bytes
    "e080af",
    "f08080af",
    "c1bf",
    "c2",
    "e1bd",
    "f09f8e",
    "cebae1bdb9cf83cebcceb5eda080656469746564",  # a surrogate
    "eda080edb080",
    "f4908080",  # beyond U+10FFFF
    "f5808080",
    "f888808080",
    "fc8480808080",
    "fe",
    "ff",
    "c328",
    "e28228",
    "f0288cbc",
]


@pytest.mark.parametrize("text", GOOD_TEXT)
def test_good_text_in_every_splitting(text: str) -> None:
    encoded = text.encode()
    assert receive(m(TEXT, encoded)) == [text]
    assert receive(ws.text_frame(text), masked=False) == [text]
    for cut in range(len(encoded) + 1):
        stream = m(TEXT, encoded[:cut], fin=False) + m(CONTINUATION, encoded[cut:])
        assert receive(stream) == [text]
    letters = b"".join(m(CONTINUATION, encoded[i : i + 1], fin=False) for i in range(len(encoded)))
    assert receive(m(TEXT, fin=False) + letters + m(CONTINUATION)) == [text]


@pytest.mark.parametrize("bad", BAD_TEXT)
@pytest.mark.parametrize("before", [b"", b"a" * 120, b"a" * 200, b"a" * 70_000])
def test_bad_text(bad: str, before: bytes) -> None:
    encoded = before + bytes.fromhex(bad)
    assert receive(m(TEXT, encoded)) == [error(1007, "RFC 6455 8.1")]
    assert receive(m(TEXT, b"good") + m(TEXT, encoded)) == ["good", error(1007, "RFC 6455 8.1")]
    assert receive(ws.text_frame(encoded), masked=False) == [error(1007, "RFC 6455 8.1")]


@pytest.mark.parametrize("bad", BAD_TEXT)
def test_bad_text_in_every_splitting(bad: str) -> None:
    encoded = bytes.fromhex(bad)
    for cut in range(len(encoded) + 1):
        stream = m(TEXT, encoded[:cut], fin=False) + m(CONTINUATION, encoded[cut:])
        assert receive(stream) == [error(1007, "RFC 6455 8.1")]


def test_bad_text_fails_with_its_fragment() -> None:
    begun = m(TEXT, "κόσμε".encode(), fin=False)
    assert receive(begun + m(CONTINUATION, b"\xf4\x90", fin=False)) == [error(1007, "RFC 6455 8.1")]
    assert receive(m(TEXT, b"\xff", fin=False)) == [error(1007, "RFC 6455 8.1")]
    assert receive(m(TEXT, b"\xf0\x9f", fin=False)) == []  # may still become a character


def test_binary_is_not_text() -> None:
    assert receive(m(BINARY, b"\xff\xfe") + m(BINARY, b"\xc0", fin=False) + m(CONTINUATION, b"\xc0")) == [
        b"\xff\xfe",
        b"\xc0\xc0",
    ]


@given(st.binary(max_size=40), st.integers(0, 40))
def test_text_is_what_python_decodes(data: bytes, cut: int) -> None:
    try:
        expected: list[Event] = [data.decode()]
    except UnicodeDecodeError:
        expected = [error(1007, "RFC 6455 8.1")]
    assert receive(m(TEXT, data)) == expected
    assert receive(m(TEXT, data[:cut], fin=False) + m(CONTINUATION, data[cut:])) == expected


# ------------------------------------------------------------------------------------------------ 10.4 limits


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("limit", [0, 1, 5, 124, 125, 126, 200, 65_535, 65_536, 70_000])
def test_limit_is_inclusive(opcode: int, limit: int) -> None:
    payload = b"x" * limit
    whole: list[Event] = [payload.decode() if opcode == TEXT else payload]
    too_big = [error(1009, "RFC 6455 10.4")]
    assert receive(m(opcode, payload), limit=limit) == whole
    assert receive(m(opcode, payload + b"x"), limit=limit) == too_big
    assert receive(m(opcode, payload, fin=False) + m(CONTINUATION), limit=limit) == whole
    assert receive(m(opcode, payload, fin=False) + m(CONTINUATION, b"x"), limit=limit) == too_big
    assert receive(m(opcode, b"x", fin=False) + m(CONTINUATION, payload), limit=limit) == too_big
    assert receive(ws.frame(opcode, payload), limit=limit, masked=False) == whole
    assert receive(ws.frame(opcode, payload + b"x"), limit=limit, masked=False) == too_big


@pytest.mark.parametrize("size", [101, 65_536, 1 << 40, (1 << 63) - 1])
def test_limit_is_checked_from_the_header(size: int) -> None:
    length = bytes((size,)) if size < 126 else b"\x7f" + struct.pack(">Q", size)
    header = bytes((0x82, length[0] | 0x80)) + length[1:]
    assert receive(header, limit=100, whole=False) == [error(1009, "RFC 6455 10.4")]


def test_limit_is_not_for_control_frames() -> None:
    stream = m(TEXT, b"abc", fin=False) + m(PING, b"x" * 125) + m(CONTINUATION, b"de")
    assert receive(stream, limit=5) == [(PING, b"x" * 125), "abcde"]


def test_announced_bytes_are_not_reserved() -> None:
    tracemalloc.start()
    try:
        reader = FrameReader(print, print, max_message_bytes=1 << 30)
        reader.feed(b"\x82\xff" + struct.pack(">Q", 1 << 30) + bytes(100))
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


# ------------------------------------------------------------------------------------------ the reader itself


def test_empty_chunks_are_nothing() -> None:
    frame = m(TEXT, b"x" * 200)
    assert feed_all(
        [b"", frame[:1], b"", frame[1:9], b"", frame[9:], b""], masked=True, limit=1000, max_fragments=1
    ) == ["x" * 200]


def test_incomplete_frames_wait() -> None:
    frame = m(TEXT, b"x" * 70_000)
    for cut in (0, 1, 2, 3, 9, 10, 13, 14, 15, 50_000, len(frame) - 1):
        assert feed_all([frame[:cut]], masked=True, limit=70_000, max_fragments=1) == []
        assert feed_all([frame[:cut], frame[cut:]], masked=True, limit=70_000, max_fragments=1) == ["x" * 70_000]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("fragmented", [True, False])
def test_stop_inside_on_message(at_once: bool, fragmented: bool) -> None:
    got: list[Event] = []

    def once(message: str | bytes) -> None:
        got.append(message)
        reader.stop()

    reader = FrameReader(once, lambda opcode, payload: got.append(opcode), max_message_bytes=100)
    first = m(TEXT, b"1", fin=False) + m(CONTINUATION) if fragmented else m(TEXT, b"1")
    stream = first + m(TEXT, b"2") + m(PING) + m(BINARY, b"3", fin=False) + m(TEXT, b"error")
    for chunk in [stream] if at_once else [stream[i : i + 1] for i in range(len(stream))]:
        reader.feed(chunk)
    assert got == ["1"]
    assert reader.stopped


def test_on_message_may_be_replaced_inside_itself() -> None:
    got: list[Event] = []

    def first(message: str | bytes) -> None:
        got.append(("first", message))
        reader.on_message = got.append

    reader = FrameReader(first, print, max_message_bytes=100)
    reader.feed(m(TEXT, b"1") + m(BINARY, b"2") + m(TEXT, b"3"))
    reader.feed(m(TEXT, b"4"))
    assert got == [("first", "1"), b"2", "3", "4"]


def test_stop_inside_on_control() -> None:
    got: list[Event] = []

    def once(opcode: int, payload: bytes) -> None:
        got.append((opcode, payload))
        reader.stop()

    reader = FrameReader(got.append, once, max_message_bytes=100)
    reader.feed(m(PING, b"1") + m(TEXT, b"2") + m(PING, b"3"))
    assert got == [(PING, b"1")]


@pytest.mark.parametrize("error_class", [UnicodeDecodeError, RuntimeError])
def test_exceptions_of_callbacks_pass_and_stop(error_class: type[Exception]) -> None:
    raised = (
        UnicodeDecodeError("utf-8", b"", 0, 1, "mine") if error_class is UnicodeDecodeError else RuntimeError("mine")
    )

    def fail(message: str | bytes) -> None:
        raise raised

    for stream in (
        m(TEXT, b"1"),
        m(BINARY, b"1"),
        m(TEXT, b"1") * 2,
        m(TEXT, b"1", fin=False) + m(CONTINUATION),
    ):
        reader = FrameReader(fail, print, max_message_bytes=100)
        with pytest.raises(error_class, match="mine"):
            reader.feed(stream)
        assert reader.stopped
        reader.feed(stream)


def test_nothing_after_an_error() -> None:
    got: list[Event] = []
    reader = FrameReader(got.append, print, max_message_bytes=100)
    with pytest.raises(RemoteProtocolError, match="masked"):
        reader.feed(ws.text_frame("unmasked"))
    reader.feed(m(TEXT, b"small"))
    reader.feed(m(TEXT, b"small") * 2)
    assert got == []


# --------------------------------------------------------------------------------------------- writing frames


def test_frames_in_bytes() -> None:
    assert ws.frame(TEXT, b"Hel", fin=False).hex() == "010348656c"
    assert ws.frame(CONTINUATION, b"lo").hex() == "80026c6f"
    assert ws.frame(BINARY, b"x", rsv1=True).hex() == "c20178"
    assert ws.frame_masked(TEXT, b"Hello", KEY).hex() == "818537fa213d7f9f4d5158"
    assert ws.frame_masked(BINARY, b"", KEY, fin=False, rsv1=True).hex() == "428037fa213d"
    assert ws.text_frame("é") == ws.text_frame("é".encode()) == b"\x81\x02\xc3\xa9"


@pytest.mark.parametrize("size", LENGTHS)
def test_short_ways_write_the_same(size: int) -> None:
    payload = b"x" * size
    assert ws.text_frame(payload) == ws.text_frame(payload.decode()) == ws.frame(TEXT, payload)
    assert ws.binary_frame(payload) == ws.frame(BINARY, payload)
    both = ws.frame(TEXT, payload) + ws.frame(BINARY, payload)
    assert ws.joined_frames([payload.decode(), payload]) == both


@pytest.mark.parametrize("opcode", [3, 7, 11, 15, 16, -1])
def test_writes_no_unknown_opcode(opcode: int) -> None:
    with pytest.raises(LocalProtocolError):
        ws.frame(opcode, b"")
    with pytest.raises(LocalProtocolError):
        ws.frame_masked(opcode, b"", KEY)


def test_writes_no_bad_control_frame() -> None:
    with pytest.raises(LocalProtocolError):
        ws.frame(PING, bytes(126))
    with pytest.raises(LocalProtocolError):
        ws.frame(PING, b"", fin=False)
    with pytest.raises(LocalProtocolError):
        ws.frame(CLOSE, b"", rsv1=True)


def test_writes_no_short_key_and_no_surrogate() -> None:
    with pytest.raises(LocalProtocolError):
        ws.frame_masked(TEXT, b"", b"123")
    with pytest.raises(LocalProtocolError):
        ws.text_frame("\ud800")


# ----------------------------------------------------------------------- round trips, and two other libraries

FRAGMENTS = st.lists(st.binary(max_size=300), min_size=1, max_size=6)
MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.just(BINARY), FRAGMENTS),
        st.tuples(st.just(TEXT), st.tuples(st.text(max_size=200), st.lists(st.integers(0, 400), max_size=4))),
        st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)),
    ),
    max_size=6,
)
CUTS = st.lists(st.integers(0, 5000), max_size=12)


def lay_out(messages: list[tuple[int, object]]) -> tuple[list[tuple[int, bytes, bool]], list[Event]]:
    """The frames (opcode, payload, fin) of some messages, and what a reader should say."""
    frames: list[tuple[int, bytes, bool]] = []
    events: list[Event] = []
    for opcode, content in messages:
        if isinstance(content, bytes):
            frames.append((opcode, content, True))
            events.append((opcode, content))
            continue
        if isinstance(content, tuple):
            text, cuts = content
            encoded = text.encode()
            edges = [0, *sorted(cuts), len(encoded)]
            parts = [encoded[start:end] for start, end in pairwise(edges)]
            events.append(text)
        else:
            assert isinstance(content, list)
            parts = content
            events.append(b"".join(parts))
        frames += [(opcode if i == 0 else 0, part, i == len(parts) - 1) for i, part in enumerate(parts)]
    return frames, events


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(MESSAGES, CUTS, st.binary(min_size=4, max_size=4), st.booleans())
def test_round_trip(messages: list[tuple[int, object]], cuts: list[int], key: bytes, masked: bool) -> None:
    frames, events = lay_out(messages)
    if masked:
        stream = b"".join(ws.frame_masked(o, payload, key, fin=fin) for o, payload, fin in frames)
    else:
        stream = b"".join(ws.frame(o, payload, fin=fin) for o, payload, fin in frames)
    assert feed_all(cut(stream, cuts), masked=masked, limit=10_000, max_fragments=100) == events


def websockets_parse(stream: bytes, mask: bool) -> list[tuple[int, bytes, bool]]:
    """Read frames with the sans-I/O parser of `websockets`."""
    position = 0

    def read_exact(count: int) -> Iterator[None]:
        nonlocal position
        position += count
        return stream[position - count : position]
        yield

    frames = []
    while position < len(stream):
        parser = Frame.parse(read_exact, mask=mask)  # type: ignore[arg-type]
        with pytest.raises(StopIteration) as done:
            next(parser)
        frame = done.value.value
        frames.append((int(frame.opcode), bytes(frame.data), frame.fin))
    return frames


@settings(max_examples=50)
@given(MESSAGES, st.booleans())
def test_websockets_reads_and_writes_the_same(messages: list[tuple[int, object]], masked: bool) -> None:
    frames, events = lay_out(messages)
    ours = b"".join(
        ws.frame_masked(o, payload, KEY, fin=fin) if masked else ws.frame(o, payload, fin=fin)
        for o, payload, fin in frames
    )
    assert websockets_parse(ours, masked) == frames
    theirs = b"".join(
        Frame(opcode=Opcode(o), data=payload, fin=fin).serialize(mask=masked) for o, payload, fin in frames
    )
    if not masked:
        assert theirs == ours
    assert feed_all([theirs], masked=masked, limit=10_000, max_fragments=100) == events


@settings(max_examples=50)
@given(MESSAGES, CUTS, st.booleans())
def test_wsproto_reads_and_writes_the_same(messages: list[tuple[int, object]], cuts: list[int], masked: bool) -> None:
    frames, events = lay_out(messages)
    ours = b"".join(
        ws.frame_masked(o, payload, KEY, fin=fin) if masked else ws.frame(o, payload, fin=fin)
        for o, payload, fin in frames
    )
    peer = FrameProtocol(client=not masked, extensions=[])
    got: list[Event] = []
    parts: list[str | bytes] = []
    for chunk in cut(ours, cuts):
        peer.receive_bytes(chunk)
        for piece in peer.received_frames():
            if piece.opcode in (PING, PONG):
                got.append((int(piece.opcode), bytes(piece.payload)))
                continue
            parts.append(piece.payload if isinstance(piece.payload, str) else bytes(piece.payload))
            if piece.message_finished:
                got.append("".join(parts) if isinstance(parts[0], str) else b"".join(parts))  # type: ignore[arg-type]
                parts = []
    assert got == events

    peer = FrameProtocol(client=masked, extensions=[])
    theirs = b""
    for opcode, content in messages:
        if isinstance(content, bytes):
            theirs += peer.ping(content) if opcode == PING else peer.pong(content)
        elif isinstance(content, tuple):
            theirs += peer.send_data(content[0], fin=True)
        else:
            assert isinstance(content, list)
            for i, part in enumerate(content):
                theirs += peer.send_data(part, fin=i == len(content) - 1)
    assert feed_all(cut(theirs, cuts), masked=masked, limit=10_000, max_fragments=100) == events


@given(st.binary(max_size=60), CUTS, st.booleans())
def test_any_bytes_give_messages_or_one_error(stream: bytes, cuts: list[int], masked: bool) -> None:
    whole = feed_all([stream], masked=masked, limit=50, max_fragments=5)
    assert feed_all(cut(stream, cuts), masked=masked, limit=50, max_fragments=5) == whole


# --------------------------------------------------------------------------------- 4.1, 4.2 opening handshake

REQUEST = {
    "host": "example.org",
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": SAMPLE_KEY,
}


def test_handshake() -> None:
    shake = ws.check_handshake("GET", "1.1", REQUEST)
    assert shake == ws.Handshake(SAMPLE_KEY, (), "")
    more = {
        **REQUEST,
        "upgrade": "h2c, WebSocket",
        "connection": "keep-alive,  UPGRADE",
        "sec-websocket-key": f" {SAMPLE_KEY} ",
        "sec-websocket-protocol": "chat, superchat",
        "sec-websocket-extensions": "permessage-deflate",
    }
    assert ws.check_handshake("GET", "1.1", more) == ws.Handshake(
        SAMPLE_KEY, ("chat", "superchat"), "permessage-deflate"
    )


@pytest.mark.parametrize(
    ("method", "version", "change", "status"),
    [
        ("POST", "1.1", {}, 400),
        ("get", "1.1", {}, 400),
        ("GET", "1.0", {}, 400),
        ("GET", "2", {}, 400),
        ("GET", "1.1", {"host": None}, 400),
        ("GET", "1.1", {"upgrade": None}, 400),
        ("GET", "1.1", {"upgrade": "h2c"}, 400),
        ("GET", "1.1", {"upgrade": "websockets"}, 400),
        ("GET", "1.1", {"connection": None}, 400),
        ("GET", "1.1", {"connection": "keep-alive"}, 400),
        ("GET", "1.1", {"connection": "no-upgrade"}, 400),
        ("GET", "1.1", {"sec-websocket-version": None}, 400),
        ("GET", "1.1", {"sec-websocket-version": "8"}, 426),
        ("GET", "1.1", {"sec-websocket-version": "13, 8"}, 426),
        ("GET", "1.1", {"sec-websocket-version": "013"}, 426),
        ("GET", "1.1", {"sec-websocket-key": None}, 400),
        ("GET", "1.1", {"sec-websocket-key": ""}, 400),
        ("GET", "1.1", {"sec-websocket-key": "c2hvcnQ="}, 400),
        ("GET", "1.1", {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZSE="}, 400),  # 17 bytes
        ("GET", "1.1", {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
        ("GET", "1.1", {"sec-websocket-key": "dGhlIHNhbXBs ZSBub25jZQ=="}, 400),
        ("GET", "1.1", {"sec-websocket-key": "é" * 24}, 400),
        ("GET", "1.1", {"sec-websocket-key": f"{SAMPLE_KEY}, {SAMPLE_KEY}"}, 400),
        ("GET", "1.1", {"sec-websocket-protocol": "a,,b"}, 400),
        ("GET", "1.1", {"sec-websocket-protocol": "a b"}, 400),
    ],
)
def test_bad_handshakes(method: str, version: str, change: dict[str, str | None], status: int) -> None:
    headers = {name: value for name, value in {**REQUEST, **change}.items() if value is not None}
    with pytest.raises(RemoteProtocolError) as caught:
        ws.check_handshake(method, version, headers)
    assert caught.value.http_status == status
    assert caught.value.rule.startswith("RFC 6455 4")


@pytest.mark.parametrize(("version", "taken"), [("7", True), (" 8 ", True), ("13", True), ("6", False), ("9", False)])
def test_drafts(version: str, taken: bool) -> None:
    headers = {**REQUEST, "sec-websocket-version": version}
    if taken:
        assert ws.check_handshake("GET", "1.1", headers, drafts=True).key == SAMPLE_KEY
        return
    with pytest.raises(RemoteProtocolError) as caught:
        ws.check_handshake("GET", "1.1", headers, drafts=True)
    assert caught.value.http_status == 426


def test_a_long_version_does_not_fill_the_log() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ws.check_handshake("GET", "1.1", {**REQUEST, "sec-websocket-version": "9" * 60_000})
    assert caught.value.http_status == 426
    assert "is 999" in str(caught.value)
    assert len(str(caught.value)) < 200


def test_accept_key_and_client_key() -> None:
    assert ws.accept_key(SAMPLE_KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert ws.client_key(b"the sample nonce") == SAMPLE_KEY
    with pytest.raises(LocalProtocolError):
        ws.client_key(b"short")


def test_response() -> None:
    assert ws.handshake_response(SAMPLE_KEY) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    response = ws.handshake_response(
        SAMPLE_KEY, subprotocol="chat", extensions="permessage-deflate", headers=[("Set-Cookie", "io=1")]
    )
    assert response.endswith(
        b"\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSet-Cookie: io=1\r\n\r\n"
    )


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\n", "\x00", "\u20ac"])
def test_forbidden_characters_in_headers(bad: str) -> None:
    with pytest.raises(LocalProtocolError):
        ws.handshake_response(SAMPLE_KEY, headers=[("X-Bad", bad)])
    with pytest.raises(LocalProtocolError):
        ws.handshake_request("example.org", f"/{bad}", SAMPLE_KEY)


def parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    return first, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def test_client_and_server_shake_hands() -> None:
    request = ws.handshake_request(
        "example.org",
        "/socket.io/?EIO=4",
        SAMPLE_KEY,
        subprotocols=["chat", "news"],
        extensions="permessage-deflate",
        headers=[("Origin", "https://example.org")],
    )
    first, headers = parse_head(request)
    assert first == "GET /socket.io/?EIO=4 HTTP/1.1"
    shake = ws.check_handshake("GET", "1.1", headers)
    assert shake == ws.Handshake(SAMPLE_KEY, ("chat", "news"), "permessage-deflate")
    _, answer = parse_head(ws.handshake_response(shake.key, subprotocol="news", extensions="permessage-deflate"))
    assert ws.check_response(101, answer, SAMPLE_KEY, subprotocols=["chat", "news"]) == (
        "news",
        "permessage-deflate",
    )
    _, answer = parse_head(ws.handshake_response(shake.key))
    assert ws.check_response(101, answer, SAMPLE_KEY) == (None, "")


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (200, {}),
        (400, {}),
        (101, {"upgrade": "h2c"}),
        (101, {"connection": "close"}),
        (101, {"sec-websocket-accept": "wrong"}),
        (101, {"sec-websocket-protocol": "unasked"}),
    ],
)
def test_bad_responses(status: int, change: dict[str, str]) -> None:
    _, answer = parse_head(ws.handshake_response(SAMPLE_KEY))
    with pytest.raises(RemoteProtocolError, match=r"RFC 6455 4\.1"):
        ws.check_response(status, {**answer, **change}, SAMPLE_KEY, subprotocols=["chat"])
