"""Packets, their encodings, and attachments put back."""

import copy
import pickle
from typing import Any

import pytest

from madang import packet
from madang.errors import RemoteProtocolError
from madang.packet import ACK, CONNECT, EVENT, NOTHING, Encoded, Packet, restore_attachments


def placeholder(number: object) -> dict[str, object]:
    return {"_placeholder": True, "num": number}


def test_kinds_are_different_and_those_of_socketio_come_first() -> None:
    names = [name for name in packet.__all__ if name.isupper() and isinstance(getattr(packet, name), int)]
    kinds = [getattr(packet, name) for name in names]
    assert len(set(kinds)) == len(kinds) == 12
    assert [packet.CONNECT, packet.DISCONNECT, packet.EVENT, packet.ACK, packet.CONNECT_ERROR] == [0, 1, 2, 3, 4]
    assert all(getattr(packet, name) > 4 for name in ("OPEN", "CLOSE", "PING", "PONG", "MESSAGE", "UPGRADE", "NOOP"))


def test_defaults() -> None:
    one = Packet(EVENT)
    assert (one.data, one.namespace, one.id, one.missing) == (NOTHING, "/", None, 0)


def test_equality_is_by_what_is_said() -> None:
    assert Packet(EVENT, ["a"], "/x", 1) == Packet(EVENT, ["a"], "/x", 1, missing=3)
    for other in (
        Packet(ACK, ["a"], "/x", 1),
        Packet(EVENT, ["b"], "/x", 1),
        Packet(EVENT, ["a"], "/", 1),
        Packet(EVENT, ["a"], "/x", 2),
        Packet(EVENT, ["a"], "/x"),
        "a packet",
    ):
        assert Packet(EVENT, ["a"], "/x", 1) != other


def test_packets_have_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Packet(EVENT))


def test_repr() -> None:
    assert repr(Packet(EVENT, ["a", 1], "/x", 7)) == "Packet(kind=2, namespace='/x', id=7, data=['a', 1])"
    assert repr(Packet(CONNECT)) == "Packet(kind=0, namespace='/', id=None, data=NOTHING)"


def test_nothing_differs_from_none_and_is_one_object() -> None:
    assert Packet(EVENT) != Packet(EVENT, None)
    assert copy.deepcopy(NOTHING) is copy.copy(NOTHING) is pickle.loads(pickle.dumps(NOTHING)) is NOTHING


@pytest.mark.parametrize(
    ("frames", "size"), [(("42",), 2), ((b"1234",), 4), (("451-[{}]", b"123", b"45"), 13), (("",), 0)]
)
def test_encoded_size(frames: tuple[str | bytes, ...], size: int) -> None:
    encoded = Encoded(frames)
    assert encoded.size == size
    assert encoded.compress is True
    assert encoded.link_bytes is None


def test_encoded_without_compression() -> None:
    assert Encoded(("4",), False).compress is False


@pytest.mark.parametrize(
    ("data", "restored"),
    [
        (["e", placeholder(0)], ["e", b"zero"]),
        (["e", placeholder(1), placeholder(0), placeholder(1)], ["e", b"one", b"zero", b"one"]),
        ([{"a": [{"b": placeholder(1)}]}], [{"a": [{"b": b"one"}]}]),
        ({"a": placeholder(0), "b": 1}, {"a": b"zero", "b": 1}),
        (placeholder(1), b"one"),
        (["e", {"_placeholder": True, "num": 0, "more": 1}], ["e", b"zero"]),
        # no placeholders:
        (["e", {"_placeholder": False, "num": 0}], ["e", {"_placeholder": False, "num": 0}]),
        (["e", {"_placeholder": 1, "num": 0}], ["e", {"_placeholder": 1, "num": 0}]),
        (["e", {"_placeholder": "true"}], ["e", {"_placeholder": "true"}]),
        (["e", {"num": 0}], ["e", {"num": 0}]),
        ("text", "text"),
        (None, None),
    ],
)
def test_restore(data: Any, restored: Any) -> None:
    assert restore_attachments(data, [b"zero", b"one"]) == restored


@pytest.mark.parametrize("number", [2, -1, True, False, None, "0", 0.0, 1.5, [0], {}, 2**70])
def test_a_placeholder_of_nothing(number: object) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        restore_attachments(["e", placeholder(number)], [b"zero", b"one"])
    assert str(caught.value) == (
        f"a placeholder names attachment {number!r}, but 2 came [Socket.IO protocol 5, binary attachments]"
    )


def test_a_placeholder_without_number() -> None:
    with pytest.raises(RemoteProtocolError, match="attachment None"):
        restore_attachments([{"_placeholder": True}], [b"zero"])


def test_what_a_client_says_does_not_fill_the_log() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        restore_attachments([placeholder("x" * 1_000_000)], [])
    assert "names attachment 'xxx" in str(caught.value)
    assert len(str(caught.value)) < 250


def test_another_form_is_made_once_for_each_key() -> None:
    encoded = Encoded(("4a", b"b"))
    made: list[Encoded] = []

    def make(one: Encoded) -> tuple[int, ...]:
        made.append(one)
        return tuple(map(len, one.frames))

    first = encoded.form("sizes", make)
    assert first == (2, 1)
    assert encoded.form("sizes", make) is first
    assert made == [encoded]
    assert encoded.form("other", make) == first
    assert len(made) == 2
