"""How much of what comes belongs to one frame: what is one is not to be cut."""

import pytest

from madang.rfc.ws import BINARY, FrameReader, frame, frame_masked

SIZES = [0, 1, 125, 126, 65_535, 65_536, 200_000]


def ignore(*what: object) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "plain"])
@pytest.mark.parametrize("size", SIZES)
def test_the_frame_that_begins(size: int, masked: bool) -> None:
    reader = FrameReader(ignore, ignore, masked=masked, max_message_bytes=1_000_000)
    written = frame_masked(BINARY, bytes(size), key=b"1234") if masked else frame(BINARY, bytes(size))
    more = written + b"\x82" * 10
    assert reader.extent(more) == len(written)
    assert reader.extent(more[: len(written) // 2 + 10]) == len(written)


@pytest.mark.parametrize("cut", [14, 100, 70_000])
def test_the_frame_at_hand(cut: int) -> None:
    reader = FrameReader(ignore, ignore, max_message_bytes=1_000_000)
    written = frame_masked(BINARY, bytes(100_000), key=b"1234")
    reader.feed(written[:cut])
    assert reader.extent(bytes(50)) == len(written) - cut
    reader.feed(written[cut:])
    assert reader.extent(written) == len(written)


def test_a_head_that_is_not_whole_tells_nothing() -> None:
    reader = FrameReader(ignore, ignore, max_message_bytes=1_000_000)
    written = frame_masked(BINARY, bytes(100_000), key=b"1234")
    assert reader.extent(written[:9]) == 0
    reader.feed(written[:9])
    assert reader.extent(written[9:]) == 0
