"""Long-polling: bodies and their headers."""

import pytest

from madang.errors import RemoteProtocolError
from madang.transports import Request
from madang.transports.polling import TRANSPORT


def request(content_type: str | None = None, method: str = "POST") -> Request:
    headers = [] if content_type is None else [(b"Content-Type", content_type.encode())]
    return Request(method, "/socket.io/", "EIO=4&transport=polling&sid=x", headers)


def test_name_and_upgrades() -> None:
    assert TRANSPORT.name == "polling"
    assert TRANSPORT.upgrades == ("websocket", "webtransport", "flashsocket")


@pytest.mark.parametrize("payload", ["6", "4한글 🎈\x1e2", "x" * 100_000, ""])
def test_respond(payload: str) -> None:
    response = TRANSPORT.respond(request(method="GET"), payload)
    assert response.status == 200
    assert dict(response.headers) == {"Content-Type": "text/plain; charset=UTF-8", "Cache-Control": "no-store"}
    assert response.body.decode() == payload


def test_half_a_surrogate_pair_does_not_keep_the_rest_from_going_out() -> None:
    assert TRANSPORT.respond(request(method="GET"), "4a\ud800b").body == b"4a?b"


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "text/plain;charset=UTF-8", "application/json", "multipart/form-data", "x"]
)
def test_unpack(content_type: str | None) -> None:
    assert TRANSPORT.unpack(request(content_type), "4한글\x1e2".encode()) == "4한글\x1e2"


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/octet-stream; x=y"])
def test_bytes_are_for_the_generation_to_read(content_type: str) -> None:
    assert TRANSPORT.unpack(request(content_type), b"\xff\0") == b"\xff\0"
    answer = TRANSPORT.respond(request(), b"\xff\0")
    assert (answer.body, dict(answer.headers)["Content-Type"]) == (b"\xff\0", "application/octet-stream")


@pytest.mark.parametrize("body", [b"\xff", b"4\xc3", b"\xed\xa0\x80", b"\xc0\xaf"])
def test_not_utf8(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="a payload is not UTF-8") as caught:
        TRANSPORT.unpack(request(), body)
    assert caught.value.rule == "Engine.IO protocol 4, HTTP long-polling"


def test_accepted() -> None:
    response = TRANSPORT.accepted(request())
    assert (response.status, response.body) == (200, b"ok")
    assert dict(response.headers) == {"Content-Type": "text/html", "Cache-Control": "no-store"}
