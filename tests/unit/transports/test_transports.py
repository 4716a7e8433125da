"""Requests, and the ports through which the world is reached."""

import inspect
import tracemalloc
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madang.transports import Duplex, Exchange, Request, Transport


def request(query: str = "", headers: list[tuple[bytes, bytes]] | None = None, method: str = "GET") -> Request:
    return Request(method, "/socket.io/", query, headers or [], address="10.0.0.1")


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", {}),
        ("EIO=4&transport=polling", {"EIO": "4", "transport": "polling"}),
        ("a=1&a=2&b=3", {"a": "1", "b": "3"}),
        ("a=&b", {"a": "", "b": ""}),
        ("a==b=c", {"a": "=b=c"}),
        ("&&a=1&", {"a": "1"}),
        ("=1&a=2", {"a": "2"}),
        ("a=%ED%95%9C+%2B&%61b=c", {"a": "한 +", "ab": "c"}),
        ("a=%&b=%zz", {"a": "%", "b": "%zz"}),
        ("a=%ff", {"a": "\ufffd"}),
        ("a=1;b=2", {"a": "1;b=2"}),
    ],
)
def test_query(query: str, fields: dict[str, str]) -> None:
    assert request(query).query == fields


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_any_query_that_a_client_writes(fields: dict[str, str]) -> None:
    printable = {name: value for name, value in fields.items() if name.isprintable() and value.isprintable()}
    assert request(urlencode(printable)).query == printable


HEADERS = [
    (b"Host", b"example.org"),
    (b"X-Two", b"1"),
    (b"x-two", b" 2 "),
    (b"COOKIE", b"a=1"),
    (b"cookie", b"b=2"),
    (b"Empty", b""),
    (b"Latin", "é".encode("latin-1")),
    (b"host-like", b"other: x"),
]


def test_headers() -> None:
    assert request(headers=HEADERS).headers == {
        "host": "example.org",
        "x-two": "1, 2",
        "cookie": "a=1; b=2",
        "empty": "",
        "latin": "é",
        "host-like": "other: x",
    }
    assert request().headers == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "example.org"),
        ("x-two", "1"),
        ("cookie", "a=1"),
        ("empty", ""),
        ("latin", "é"),
        ("host-like", "other: x"),
        ("ost", None),
        ("hos", None),
        ("other", None),
        ("missing", None),
        ("", None),
    ],
)
def test_one_header(name: str, value: str | None) -> None:
    assert request(headers=HEADERS).header(name) == value


def test_url() -> None:
    assert request().url == "/socket.io/"
    assert request("a=%20b").url == "/socket.io/?a=%20b"
    assert repr(request("a=1", method="POST")) == "Request(POST /socket.io/?a=1 from 10.0.0.1)"
    assert repr(Request("GET", "/", "", [])) == "Request(GET / from unknown)"


def test_defaults() -> None:
    one = Request("GET", "/", "", [])
    assert (one.address, one.secure, one.received, one.root_path) == ("", False, 0.0, "")


def test_compact_lets_go_of_what_can_be_made_again() -> None:
    one = request("a=1", HEADERS)
    first = one.query
    one.compact()
    assert one.query == first
    assert one.query is not first
    assert one.header("host") == "example.org"


def test_a_request_that_is_kept_is_small() -> None:
    """It stays for as long as its client does."""
    headers = [(f"x-header-{i}".encode(), b"v" * 40) for i in range(12)]
    requests: list[Request] = []
    tracemalloc.start()
    try:
        for _ in range(100):
            one = Request("GET", "/socket.io/", "EIO=4&transport=websocket", list(headers))
            assert one.query
            assert one.headers
            one.compact()
            requests.append(one)
        size = tracemalloc.get_traced_memory()[0] / len(requests)
    finally:
        tracemalloc.stop()
    assert size < sum(len(name) + len(value) + 3 for name, value in headers) + 400


@pytest.mark.parametrize("port", [Exchange, Duplex, Transport])
def test_ports_hold_nothing(port: type) -> None:
    if port is not Transport:
        assert port.__dict__["__slots__"] == ()
    assert inspect.getdoc(port)


@pytest.mark.parametrize("port", [Exchange, Duplex])
def test_ports_are_abstract(port: type) -> None:
    with pytest.raises(TypeError, match="abstract"):
        port()


def test_what_a_request_is_for_is_forgotten_with_what_else_can_be_made_again() -> None:
    one = request("a=1", HEADERS)
    one.route = "somewhere"
    one.compact()
    assert one.route is None
