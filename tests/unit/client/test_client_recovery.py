"""Offsets: found, taken off, told to the server; and texts that are none, left alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madang.client.recovery import Trail

NOW = 1795381070.0
PID = "Ab3_-xSecretSecretSecret"
OURS = f"{PID[:6]}.1f"
MEMORY = "Q853Hpm"
STREAM = "1795381070123-0"
OBJECT = f"{int(NOW):08x}0123456789abcdef"


@pytest.mark.parametrize("offset", [OURS, MEMORY, f"{MEMORY}.0", STREAM, OBJECT])
def test_offsets_of_all_servers(offset: str) -> None:
    trail = Trail()
    assert trail.take(["x", offset], NOW) == ["x", offset]  # without a pid there is no recovery
    assert trail.auth({"a": 1}) == {"a": 1}
    assert not trail.joined(PID)
    assert trail.auth({"a": 1}) == {"pid": PID, "a": 1}
    assert trail.take(["x", "text", offset], NOW) == ["x", "text"]
    assert trail.auth({}) == {"pid": PID, "offset": offset}
    assert trail.auth({"offset": "mine"})["offset"] == "mine"
    assert trail.joined(PID)
    assert trail.offset == offset
    assert not trail.joined("another")
    assert trail.auth({}) == {"pid": "another"}
    assert not trail.joined(None)
    assert trail.auth({}) == {}


@pytest.mark.parametrize("offset", [MEMORY, STREAM, OBJECT])
def test_a_time_that_is_not_now_is_no_offset(offset: str) -> None:
    trail = Trail()
    trail.joined(PID)
    assert trail.take(["x", offset], NOW + 100_000) == ["x", offset]


def test_texts_are_left_alone() -> None:
    trail = Trail()
    trail.joined(PID)
    assert trail.take(["x", "welcome"], NOW) == ["x", "welcome"]
    assert trail.offset == "welcome"  # of a server that we don't know, it may be one
    assert trail.take(["x", MEMORY], NOW) == ["x"]
    for text in ("welcome", STREAM, OBJECT, OURS, "report.2"):
        assert trail.take(["x", text], NOW) == ["x", text]
    assert trail.offset == MEMORY
    assert trail.take(["x", f"{MEMORY}.1"], NOW) == ["x"]
    assert trail.offset == f"{MEMORY}.1"


@given(st.lists(st.none() | st.integers() | st.text() | st.binary(), min_size=1))
def test_any_event(data: list[Any]) -> None:
    trail = Trail()
    trail.joined(PID)
    taken = trail.take(["name", *data], NOW)
    assert taken in (["name", *data], ["name", *data[:-1]])
    assert trail.take(["name"], NOW) == ["name"]
