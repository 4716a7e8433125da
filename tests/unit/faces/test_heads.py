"""Heads that were seen before: what is found is what was kept, and nothing else is."""

import pytest

from madang.faces.heads import Head, Heads
from madang.rfc.ws import Handshake

PATH = "/socket.io/"
FIELDS = b"Host: x\r\nCookie: a=1; b=2\r\nX-Thing:  yes \r\n"
PAIRS = [(b"host", b"x"), (b"cookie", b"a=1; b=2"), (b"x-thing", b"yes")]
UPGRADE = [*PAIRS, (b"upgrade", b"websocket")]
HANDSHAKE = Handshake("abcd", (), "")


def get(query: bytes, fields: bytes = FIELDS, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"%b /socket.io/?%b HTTP/%b\r\n%b\r\n" % (method, query, version, fields)


def post(body: bytes, length: bytes | None = None, fields: bytes = FIELDS, name: bytes = b"Content-Length") -> bytes:
    told = b"%d" % len(body) if length is None else length
    return get(b"EIO=4", b"%b%b: %b\r\n" % (fields, name, told), b"POST") + body


def handshake(
    key: bytes, name: bytes = b"Sec-WebSocket-Key", fields: bytes = FIELDS + b"Upgrade: websocket\r\n"
) -> bytes:
    return get(b"EIO=4", b"%b%b: %b\r\n" % (fields, name, key))


def opened(name: bytes = b"Sec-WebSocket-Key") -> Heads:
    """After a handshake."""
    heads = Heads(PATH, 4096)
    heads.keep(handshake(b"abcd", name), [*UPGRADE, (b"sec-websocket-key", b"abcd")], HANDSHAKE)
    return heads


@pytest.fixture
def heads() -> Heads:
    heads = Heads(PATH, 4096)
    heads.keep(get(b"EIO=4"), PAIRS)
    heads.keep(post(b"40"), [*PAIRS, (b"content-length", b"2")])
    return heads


def test_a_get(heads: Heads) -> None:
    found = heads.find(get(b"EIO=4&t=other"))
    assert found is not None
    method, query, head, own, body = found
    assert (method, query, own, body) == ("GET", "EIO=4&t=other", None, None)
    assert head.block == b"\r\nhost:x\r\ncookie:a=1; b=2\r\nx-thing:yes\r\n"
    assert head.forwarded is None


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_a_post_of_any_length(heads: Heads, name: bytes) -> None:
    """Only the length differs, wherever it stands."""
    for change in (bytes, lambda data: data.replace(FIELDS, b"").replace(b"\r\n\r\n", b"\r\n" + FIELDS + b"\r\n")):
        heads.keep(change(post(b"40", name=name)), [*PAIRS, (b"content-length", b"2")])
        for body in (b"40", b"", b"x" * 1000):
            found = heads.find(change(post(body, name=name)))
            assert found is not None
            assert (found[0], found[3], found[4]) == ("POST", ("content-length", str(len(body))), body)
            assert b"content-length" not in found[2].block


@pytest.mark.parametrize("name", [b"Sec-WebSocket-Key", b"sec-websocket-key"])
def test_a_handshake_with_any_key(name: bytes) -> None:
    heads = opened(name)
    for key in ("dGhlIHNhbXBsZSBub25jZQ==", "anything", " ", ""):
        found = heads.find(handshake(key.encode(), name))
        assert found is not None
        assert found[:2] == ("GET", "EIO=4")
        assert found[2].handshake == HANDSHAKE
        assert found[2].block == b"\r\nhost:x\r\ncookie:a=1; b=2\r\nx-thing:yes\r\nupgrade:websocket\r\n"
        assert found[3:] == (("sec-websocket-key", key), None)


@pytest.mark.parametrize(
    "data",
    [
        handshake(b"abcd") + b"\x81",
        handshake(b"abcd", b"SEC-WEBSOCKET-KEY"),
        handshake(b"abcd", fields=FIELDS),
        handshake(b"abcd", fields=FIELDS + b"Upgrade: websocket\r\nX: 1\r\n"),
        handshake(b"abcd").replace(b"websocket", b"h2c"),
        handshake(b"abcd").replace(b"GET", b"POST"),
        handshake(b"abcd\r\nSec-WebSocket-Key: abcd"),
        get(b"EIO=4", FIELDS + b"Upgrade: websocket\r\n"),
    ],
)
def test_what_is_no_such_handshake_is_the_parsers(data: bytes) -> None:
    assert opened().find(data) is None


@pytest.mark.parametrize("more", [b"Content-Length: 0", b"Expect: 100-continue", b"Sec-WebSocket-Key: abcd"])
def test_handshakes_that_are_not_plain_are_not_kept(more: bytes) -> None:
    heads = Heads(PATH, 4096)
    data = handshake(b"abcd", fields=FIELDS + b"Upgrade: websocket\r\n" + more + b"\r\n")
    name, _, value = more.partition(b": ")
    heads.keep(data, [*UPGRADE, (name.lower(), value), (b"sec-websocket-key", b"abcd")], HANDSHAKE)
    assert heads.find(data) is None


def test_a_get_that_only_has_a_key_is_kept_as_no_handshake() -> None:
    heads = Heads(PATH, 4096)
    heads.keep(handshake(b"abcd"), [*UPGRADE, (b"sec-websocket-key", b"abcd")])
    assert heads.find(handshake(b"abcd")) is None


def test_what_is_seen_of_a_post_says_nothing_of_a_get() -> None:
    heads = Heads(PATH, 4096)
    heads.keep(post(b"40"), [*PAIRS, (b"content-length", b"2")])
    assert heads.find(post(b"40")) is not None
    assert heads.find(get(b"EIO=4")) is None
    assert heads.find(post(b"", b"")) is None
    assert heads.find(get(b"EIO=4", FIELDS + b"Content-Length: \r\n")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"GET /socket.io/?EIO=4",
        get(b"EIO=4")[:-1],
        get(b"EIO=4") + b"G",
        get(b"EIO=4", b"Host: y\r\n"),
        get(b"EIO=4", FIELDS + b"X: 1\r\n"),
        get(b"EIO=4", FIELDS + b"Content-Length: 0\r\n"),
        get(b"EIO=4", method=b"HEAD"),
        get(b"EIO=4", version=b"1.0"),
        get(b"EIO=4 x"),
        get(b"EIO=4\t"),
        get(b"EIO=4\x00"),
        get(b"EIO=4\xc3\xa9"),
        get(b"EIO=4\n"),
        get(b"EIO=4").replace(b"/socket.io/", b"/other/"),
        get(b"EIO=4", method=b"POST"),
        get(b"a" * 5000),
        post(b"40", b"1"),
        post(b"40", b"3"),
        post(b"40", b"+2"),
        post(b"40", b" 2"),
        post(b"40", b"2 "),
        post(b"40", b""),
        post(b"40", b"0000000002"),
        post(b"40", b"\xc2\xb2"),
        post(b"40", fields=FIELDS + b"Content-Length: 2\r\n"),
        post(b"40", name=b"CONTENT-LENGTH"),
        post(b"40", fields=FIELDS + b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_all_else_is_the_parsers(heads: Heads, data: bytes) -> None:
    assert heads.find(data) is None


@pytest.mark.parametrize(
    "field",
    [
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"CONTENT-LENGTH: 0",
        b"X: 1\r\n 2",
        b"X: 1\r\n\t2",
        b"X: " + b"y" * 3000,
    ],
)
def test_what_is_not_plain_is_not_kept(field: bytes) -> None:
    heads = Heads(PATH, 65_536)
    name, _, value = field.partition(b": ")
    data = get(b"EIO=4", FIELDS + field + b"\r\n")
    heads.keep(data, [*PAIRS, (name.lower(), value)])
    assert heads.find(data) is None


def test_other_line_ends_are_not_kept() -> None:
    heads = Heads(PATH, 4096)
    data = get(b"EIO=4", b"Host: x\nX: 1\r\n")
    heads.keep(data, [(b"host", b"x"), (b"x", b"1")])
    assert heads.find(data) is None


@pytest.mark.parametrize("path", ["/soc ket/", "/%73/", "/s?/", "/s#/", "/방/"])
def test_a_path_that_can_be_written_in_several_ways(path: str) -> None:
    heads = Heads(path, 4096)
    for written in (path.encode(), b"/socket.io/"):
        data = b"GET %b?EIO=4 HTTP/1.1\r\nHost: x\r\n\r\n" % written
        heads.keep(data, [(b"host", b"x")])
        assert heads.find(data) is None


def test_what_proxies_tell_is_at_hand() -> None:
    pairs = [(b"host", b"x"), (b"x-forwarded-for", b"10.0.0.1")]
    assert Head(pairs).forwarded == pairs


def test_only_so_many_are_kept_those_that_are_asked_for_longest(heads: Heads) -> None:
    def numbered(number: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        value = b"%d" % number
        return get(b"EIO=4", b"Host: x\r\nCookie: %b\r\n" % value), [(b"host", b"x"), (b"cookie", value)]

    for number in range(5000):
        heads.keep(*numbered(number))
        assert heads.find(get(b"EIO=4")) is not None
    assert all(heads.find(numbered(number)[0]) is None for number in range(5000 - 2048))
    assert heads.find(numbered(4999)[0]) is not None
