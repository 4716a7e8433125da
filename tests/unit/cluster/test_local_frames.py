"""The frames between workers and their broker, and what the broker keeps."""

import pytest
from hypothesis import given, strategies

from madang.cluster.broker import GONE, HEAD, MAX_FRAME_BYTES, MESSAGE, Cutter, Keeper, Keeping, frame, parts
from madang.errors import EncodeError, RemoteProtocolError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def kept(**limits: float) -> tuple[Keeper, Clock]:
    clock = Clock()
    keeper = Keeper(clock)
    keeper.widen(Keeping(**limits))
    return keeper, clock


def said(text: str) -> bytes:
    return frame(MESSAGE, b"/", content=text.encode())


def told(frames: list[bytes] | None) -> list[tuple[int, str]] | None:
    return None if frames is None else [(parts(one)[5], parts(one)[4].decode()) for one in frames]


def test_a_frame_is_read_as_it_was_written():
    assert parts(frame(MESSAGE, b"/news", b"abc", b"content", 7, 2)) == (MESSAGE, 2, b"/news", b"abc", b"content", 7)
    assert parts(frame(GONE)) == (GONE, 0, b"", b"", b"", 0)


@given(
    contents=strategies.lists(strategies.binary(max_size=80), max_size=12),
    cuts=strategies.lists(strategies.integers(1, 90), min_size=1, max_size=20),
)
def test_frames_may_come_in_any_pieces(contents: list[bytes], cuts: list[int]):
    whole = [frame(MESSAGE, b"/", content=content) for content in contents]
    stream = b"".join(whole)
    cutter, found, at, turn = Cutter(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += cutter.cut(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == whole


@pytest.mark.parametrize("length", [0, HEAD.size - 1, MAX_FRAME_BYTES + 1], ids=["none", "short", "long"])
def test_a_length_that_makes_no_sense_is_refused(length: int):
    with pytest.raises(RemoteProtocolError, match=f"a frame of {length} bytes"):
        Cutter().cut(HEAD.pack(length, MESSAGE, 0, 0, 0, 0))


def test_names_longer_than_their_frame_are_refused():
    with pytest.raises(RemoteProtocolError, match="longer than it is"):
        parts(HEAD.pack(HEAD.size + 2, MESSAGE, 0, 1, 2, 0) + b"ab")


def test_a_name_too_long_for_a_frame_is_an_error_of_who_says_it():
    with pytest.raises(EncodeError, match="65536 bytes"):
        frame(MESSAGE, b"x" * 65_536)


def test_broadcasts_are_numbered_and_told_since_a_number():
    keeper, _ = kept()
    for text in ("one", "two", "three"):
        keeper.keep(b"/", said(text))
    keeper.keep(b"/other", said("elsewhere"))
    assert told(keeper.since(0, b"/", 10)) == [(1, "one"), (2, "two"), (3, "three")]
    assert told(keeper.since(2, b"/", 10)) == [(3, "three")]
    assert told(keeper.since(4, b"/", 10)) == []


def test_what_is_not_kept_is_not_told_in_part():
    keeper, _ = kept(events=2)
    for text in ("one", "two", "three"):
        keeper.keep(b"/", said(text))
    assert keeper.since(0, b"/", 10) is None
    assert told(keeper.since(1, b"/", 10)) == [(2, "two"), (3, "three")]
    assert keeper.since(1, b"/", 1) is None  # more than are to be looked at
    assert keeper.since(9, b"/", 10) is None  # a number that was never given


def test_what_is_kept_has_a_bound_in_bytes_and_time():
    keeper, clock = kept(bytes=3 * len(said("four")), seconds=60)
    for text in ("one4", "two4", "six4", "ten4"):
        keeper.keep(b"/", said(text))
    assert keeper.bytes == 3 * len(said("four"))
    assert keeper.since(0, b"/", 10) is None
    clock.now += 61
    keeper.sweep()
    assert keeper.bytes == 0
    assert keeper.since(4, b"/", 10) == []


def test_a_record_is_given_back_once_and_for_its_time():
    keeper, clock = kept()
    keeper.save(b"a", b"old", 10)
    keeper.save(b"a", b"new", 10)
    keeper.save(b"b", b"late", 10)
    assert keeper.take(b"a") == b"new"
    assert keeper.take(b"a") is None
    clock.now += 11
    assert keeper.take(b"b") is None


def test_records_have_a_bound_and_the_oldest_go():
    keeper, clock = kept(bytes=8)
    for pid in (b"a", b"b", b"c"):
        keeper.save(pid, b"xxx", 10)
    assert [keeper.take(pid) for pid in (b"a", b"b", b"c")] == [None, b"xxx", b"xxx"]
    keeper.save(b"d", b"x", 10)
    clock.now += 11
    keeper.sweep()
    assert keeper.take(b"d") is None
