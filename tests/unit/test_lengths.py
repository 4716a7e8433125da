"""Packets behind their lengths: in units as JavaScript counts, and in characters as others do."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madang import lengths
from madang.errors import RemoteProtocolError
from madang.lengths import Lengths

WAYS = {"colon": Lengths("", ":"), "mark": Lengths("\ufffd", "\ufffd"), "tilde": Lengths("~m~", "~m~")}


@pytest.mark.parametrize("way", WAYS)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("1:~m\ufffd🎈"))))
def test_what_is_written_is_read(way: str, texts: list[str]) -> None:
    assert WAYS[way].cut(WAYS[way].join(texts), len(texts)) == texts


def test_the_example() -> None:
    assert doctest.testmod(lengths).failed == 0


@pytest.mark.parametrize(
    ("payload", "texts"),
    [
        ("", []),
        ("0:", [""]),
        ("3:4🎈", ["4🎈"]),
        ("2:4🎈", ["4🎈"]),  # in characters
        ("2:4🎈1:2", ["4🎈", "2"]),
        ("2:4é1:2", ["4é", "2"]),
        ("1:🎈", ["🎈"]),
        ("1:", None),
        (":", None),
        ("x", None),
        ("-1:x", None),
        ("²:xx", None),
        ("1:xy", None),
        ("9:🎈", None),
        ("99999999999:x", None),
    ],
)
def test_lengths(payload: str, texts: list[str] | None) -> None:
    assert WAYS["colon"].cut(payload, 10) == texts


def test_units_alone() -> None:
    assert WAYS["colon"].cut_units("3:4🎈", 10) == ["4🎈"]
    assert WAYS["colon"].cut_units("2:4🎈", 10) is None
    assert WAYS["colon"].cut_units("2:4é", 10) == ["4é"]


@pytest.mark.parametrize("payload", ["0:" * 4, "1:é" * 4, "2:🎈" * 4])
def test_too_many(payload: str) -> None:
    assert WAYS["colon"].cut(payload, 4) is not None
    with pytest.raises(RemoteProtocolError, match="more than 3 packets") as caught:
        WAYS["colon"].cut(payload, 3)
    assert caught.value.rule == "max_packets_per_payload"
