"""What is kept of a client that was lost, in the bytes of Node.js, and messages that stay as they are."""

import base64
import datetime
from typing import Any

import msgspec
import pytest

from madang.cluster.messages import (
    Broadcast,
    BroadcastData,
    EventPacket,
    SessionRecord,
    body,
    from_msgpack,
    holds_bytes,
    pack_session,
    to_msgpack,
    unpack_session,
)
from madang.errors import EncodeError, RemoteProtocolError

#: Kept by @socket.io/redis-streams-adapter 0.3.1
NODE = (
    b"hKNzaWS0clUyYkpjMG5kTXUzbUhhNkFBQUGjcGlktHF3WElsREZOMDdtaUFRZV9BQUFCpXJvb21zkrRyVTJiSmMwbmRNdTNtSGE2QUFBQaVyb29t"
    b"MaRkYXRhgaR1c2VyonUx"
)


def test_what_nodejs_keeps_is_read_and_written_to_the_byte() -> None:
    record = unpack_session(NODE)

    assert record == SessionRecord(
        sid="rU2bJc0ndMu3mHa6AAAA",
        pid="qwXIlDFN07miAQe_AAAB",
        rooms=["rU2bJc0ndMu3mHa6AAAA", "room1"],
        data={"user": "u1"},
    )
    assert pack_session(record) == NODE


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (None, {}),
        ({"when": datetime.date(2026, 1, 2), "bytes": bytearray(b"\x00"), 7: (1, 2)},
         {"when": "2026-01-02", "bytes": b"\x00", "7": [1, 2]}),
    ],
    ids=["nothing", "types"],
)  # fmt: skip
def test_what_a_program_keeps_comes_back_in_simple_types(data: Any, read: Any) -> None:
    assert unpack_session(pack_session(SessionRecord("a", "b", ["a", 1], data))) == SessionRecord(
        "a", "b", ["a", 1], read
    )


@pytest.mark.parametrize("data", [{"x": object()}, {"x": 1 << 70}], ids=["object", "large"])
def test_what_cannot_be_kept_is_told(data: Any) -> None:
    with pytest.raises(EncodeError):
        pack_session(SessionRecord("a", "b", [], data))


def test_what_contains_itself_is_told() -> None:
    data: list[Any] = []
    data.append(data)

    with pytest.raises(EncodeError):
        pack_session(SessionRecord("a", "b", [], data))


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"*",
        b"hKNz",
        base64.b64encode(msgspec.msgpack.encode(["a"])),
        base64.b64encode(b"\x81\xa3sid\x01"),
        b"\xff",
    ],
    ids=["empty", "no base64", "cut off", "a list", "a number", "no text"],
)
def test_what_is_no_record_is_told(record: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no record of a client"):
        unpack_session(record)


def test_a_message_stays_as_it_is_when_it_is_packed() -> None:
    message = Broadcast(uid="a", nsp="/", data=BroadcastData(EventPacket(body(["hi", 1]))))

    packed = to_msgpack(message)

    assert not holds_bytes(message)
    assert bytes(message.data.packet.data) == b'["hi",1]'
    assert from_msgpack(packed) == Broadcast(uid="a", nsp="/", data=BroadcastData(EventPacket(["hi", 1])))


@pytest.mark.parametrize("moment", [b"\x7f" * 8, b"\x80" + bytes(7), b"\xff" * 8], ids=["late", "early", "1969"])
def test_dates_that_there_are_not_are_null(moment: bytes) -> None:
    values = ["at", msgspec.msgpack.Ext(0, moment)]
    packed = msgspec.msgpack.encode({"type": 3, "uid": "a", "nsp": "/", "data": {"packet": {"data": values}}})

    message = from_msgpack(packed)

    assert isinstance(message, Broadcast)
    wanted = "1969-12-31T23:59:59.999Z" if moment == b"\xff" * 8 else None
    assert message.data.packet.data == ["at", wanted]
