"""The parser of no packets at all."""

from typing import Any

import pytest

from madang.config import Config
from madang.errors import EncodeError
from madang.packet import MESSAGE, Packet
from madang.parsers.raw import PARSER


@pytest.mark.parametrize(
    ("data", "prefix", "frame"), [("hello", "4", "4hello"), ("", "4", "4"), ("x", "", "x"), (b"\0", "4", b"\0")]
)
def test_messages(data: str | bytes, prefix: str, frame: str | bytes) -> None:
    assert PARSER.encode(Packet(MESSAGE, data), prefix) == (frame,)
    start = len(prefix) if isinstance(frame, str) else 0
    assert PARSER.decode(frame, start, Config()) == Packet(MESSAGE, data)


@pytest.mark.parametrize("data", [None, 1, ["a"], {"a": 1}, bytearray(b"x")])
def test_what_is_no_message(data: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        PARSER.encode(Packet(MESSAGE, data), "4")
    assert str(caught.value) == f"a message of the parser 'raw' is text or bytes, not {data!r}"
