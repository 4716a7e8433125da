"""The framing of WebTransport: any fragmentation gives the same frames."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from madang.errors import RemoteProtocolError
from madang.packet import Frame
from madang.transports.webtransport import TRANSPORT, FrameReader, frame

LIMIT = 70_000


def read(chunks: list[bytes], limit: int = LIMIT) -> tuple[list[Frame], str | None]:
    """The frames in a stream, and the rule that it broke."""
    frames: list[Frame] = []
    reader = FrameReader(frames.append, max_payload_bytes=limit)
    broken: str | None = None
    for chunk in chunks:
        try:
            reader.feed(chunk)
        except RemoteProtocolError as error:
            assert broken is None, "raised twice"
            assert reader.stopped
            broken = str(error)
    return frames, broken


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks, start = [], 0
    for size in sizes:
        chunks.append(stream[start : start + size])
        start += size
    return [*chunks, stream[start:]]


def test_name() -> None:
    assert (TRANSPORT.name, TRANSPORT.upgrades, TRANSPORT.knocks) == ("webtransport", (), True)


@pytest.mark.parametrize(
    ("content", "head"),
    [
        ("0", "01"),
        ("40", "02"),
        (b"x", "81"),
        ("x" * 125, "7d"),
        ("x" * 126, "7e007e"),
        (b"x" * 300, "fe012c"),
        ("x" * 65_535, "7effff"),
        (b"x" * 65_536, "ff0000000000010000"),
        ("한글 🎈\u2028", "0e"),
    ],
    ids=lambda value: f"{value:.8}" if isinstance(value, str) else f"{len(value)} bytes",
)
def test_heads(content: Frame, head: str) -> None:
    payload = content.encode() if isinstance(content, str) else content
    assert frame(content) == bytes.fromhex(head) + payload
    assert read([frame(content)]) == ([content], None)


def test_half_a_surrogate_pair_does_not_keep_the_rest_from_going_out() -> None:
    assert frame("4a\ud800b") == b"\x044a?b"


contents = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200).filter(lambda text: text != "b")
    | st.binary(max_size=300)
    | st.integers(65_530, 65_540).map(bytes),
    max_size=5,
)


@given(contents, st.lists(st.integers(0, 100_000), max_size=20))
def test_any_fragmentation_gives_the_same(frames: list[Frame], sizes: list[int]) -> None:
    assert read(cut(b"".join(map(frame, frames)), sizes)) == (frames, None)


@given(st.binary(max_size=200), st.lists(st.integers(0, 20), max_size=20))
@example(bytes.fromhex("8100" + "7e0000"), [1, 1, 1])
@example(bytes.fromhex("8102"), [])
@example(bytes.fromhex("ff00000000000100ff"), [3])
@example(b"\x02\xff\xff\x01a", [2])
def test_one_byte_at_a_time_equals_all_at_once(stream: bytes, sizes: list[int]) -> None:
    whole = read([stream], limit=100)
    assert read([stream[i : i + 1] for i in range(len(stream))], limit=100) == whole
    assert read(cut(stream, sizes), limit=100) == whole


@pytest.mark.parametrize(
    ("stream", "words", "code"),
    [
        ("00", "text without content", 1002),
        ("7e0000", "text without content", 1002),
        ("7f0000000000000000", "text without content", 1002),
        ("7e0065", "101 bytes; max_payload_bytes is 100", 1009),
        ("ffffffffffffffffff", "max_payload_bytes is 100", 1009),
        ("02c328", "not UTF-8", 1007),
    ],
)
def test_rules(stream: str, words: str, code: int) -> None:
    frames: list[Frame] = []
    reader = FrameReader(frames.append, max_payload_bytes=100)
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        reader.feed(b"\x012" + bytes.fromhex(stream) + b"\x013")
    assert (frames, reader.stopped, caught.value.close_code) == (["2"], True, code)
    assert caught.value.rule == "Engine.IO protocol 4, WebTransport framing"
    reader.feed(b"\x014")
    assert frames == ["2"]


def test_empty_bytes() -> None:
    """Official clients send a head without content, but read none: to them they are base64."""
    assert frame(b"") == b"\x01b"
    assert read([b"\x80\x01b\xfe\0\0\x012"]) == ([b"", b"", b"", "2"], None)


def test_a_length_in_more_bytes_than_it_needs_is_read() -> None:
    assert read([bytes.fromhex("ff0000000000000002") + b"hi"]) == ([b"hi"], None)


def test_stopped_by_what_takes_the_frames() -> None:
    frames: list[Frame] = []
    reader = FrameReader(frames.append, max_payload_bytes=100)
    reader.on_frame = lambda content: (frames.append(content), reader.stop())[0]
    reader.feed(b"\x012\x013\x02")
    reader.feed(b"45")
    assert frames == ["2"]


def test_a_large_frame_in_small_pieces_costs_no_more_than_its_size() -> None:
    """The bytes are copied once per piece, and not all of them each time."""
    frames: list[Frame] = []
    reader = FrameReader(frames.append, max_payload_bytes=1_000_000)
    stream = frame(bytes(1_000_000))
    for start in range(0, len(stream), 10):
        reader.feed(stream[start : start + 10])
    assert frames == [bytes(1_000_000)]
