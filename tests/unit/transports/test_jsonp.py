"""JSONP: forms, and the payloads in them."""

from urllib.parse import quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from madang.errors import RemoteProtocolError
from madang.transports import Request
from madang.transports.jsonp import TRANSPORT

REQUEST = Request("POST", "/socket.io/", "EIO=4&transport=jsonp&j=0&sid=a", [])


def posted(payload: str) -> bytes:
    """As the official client 4.x does: before the browser does its part, line breaks are written as backslash and n."""
    escaped = payload.replace("\\n", "\\\\n").replace("\n", "\\n")
    return f"d={quote_plus(escaped)}".encode()


@given(st.text(alphabet="\\n\nxu41%+&= N{}\0\x1e한🎈é\u2028") | st.text())
@example("\\x41\\u0041\\N{DIGIT ONE}\\101")
@example("\\\n")
@example("\\" * 5 + "n\n")
def test_a_payload_comes_back_as_it_was(payload: str) -> None:
    if "\\\n" in payload:  # the official escaping can't tell this from backslash, backslash, n
        payload = payload.replace("\\\n", "")
    assert TRANSPORT.unpack(REQUEST, posted(payload)) == payload


def test_bytes_that_need_no_escape_may_come_as_they_are() -> None:
    assert TRANSPORT.unpack(REQUEST, 'd=42["한 + \\x41","\\n"]&more=1'.encode()) == '42["한   \\x41","\n"]'


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "no field d"),
        (b"x=1&d=40", "no field d"),
        (b"d=%", "broken escape"),
        (b"d=%4", "broken escape"),
        (b"d=4%0", "broken escape"),
        (b"d=%zz", "broken escape"),
        (b"d=%ff", "not UTF-8"),
        (b"d=\xff", "not UTF-8"),
        (b"d=%ed%a0%80", "not UTF-8"),
    ],
)
def test_what_is_no_form(body: bytes, error: str) -> None:
    with pytest.raises(RemoteProtocolError, match=error):
        TRANSPORT.unpack(REQUEST, body)
