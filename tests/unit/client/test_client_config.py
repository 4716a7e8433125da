"""Settings and addresses of a client: what is taken, and what each mistake is told."""

import re
import ssl
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from madang import BlockingClient, Client, ClientConfig, ConfigError
from madang.client.config import Address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.org", ("example.org", 80, False, "/", {})),
        ("https://example.org/", ("example.org", 443, True, "/", {})),
        ("ws://example.org:81/chat", ("example.org", 81, False, "/chat", {})),
        ("wss://[::1]/a/b?x=1&y=", ("::1", 443, True, "/a/b", {"x": "1", "y": ""})),
        ("HTTPS://Example.ORG", ("example.org", 443, True, "/", {})),
    ],
)
def test_addresses(url: str, expected: tuple[Any, ...]) -> None:
    address = Address.of(url)
    assert (address.host, address.port, address.secure, address.namespace, address.query) == expected


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", "starts with http"),
        ("example.org", "starts with http"),
        ("ftp://example.org", "starts with http"),
        ("http://", "names no host"),
        ("http://:80", "names no host"),
        ("http://example.org:port", "is no URL"),
        ("http://example.org:70000", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://me:secret@example.org", "user and password"),
        ("http://example.org/a b", "visible ASCII"),
        ("http://예.org", "visible ASCII"),
        ("http://example.org/\r\n", "visible ASCII"),
        ("http://example.org?sid=1", "the protocol's own"),
        (b"http://example.org", "must be a string"),
        (None, "must be a string"),
    ],
)
def test_bad_urls(url: Any, wrong: str) -> None:
    for kind in (Client, BlockingClient):
        with pytest.raises(ConfigError, match=wrong):
            kind(url)


SECONDS = [field.name for field in fields(ClientConfig) if field.name.endswith("_seconds")]
LIMITS = [field.name for field in fields(ClientConfig) if field.name.startswith("max_")]
SWITCHES = [field.name for field in fields(ClientConfig) if isinstance(field.default, bool)]
BAD: list[tuple[str, Any, str]] = [
    *(
        (name, value, f"{name} must be a positive number of seconds")
        for name in SECONDS
        for value in (0, -1, "1", True)
    ),
    *(
        (name, value, f"{name} must be a whole number of at least 1")
        for name in LIMITS
        for value in (0, 1.5, "1", True)
    ),
    *((name, value, f"{name} must be True or False") for name in SWITCHES for value in (None, 1, "yes")),
    *(("path", value, "path must start with") for value in ("", "/", "x/", "/x?y", "/x#y", None, 5)),
    *(
        (name, value, f"{name} must be a dict of strings")
        for name in ("query", "headers")
        for value in ({"a": 1}, {1: "a"}, "a=1", None)
    ),
    *(("query", {name: "4"}, "the protocol's own") for name in ("EIO", "transport", "sid", "t", "j")),
    *(("transports", [name], "made for pages in browsers") for name in ("jsonp", "iframe")),
    *(("path", value, "path has visible ASCII") for value in ("/a b", "/소켓", "/x\r\nY: z", "/x\t")),
    *(("query", value, "half of a character") for value in ({"a": "\ud800"}, {"\udfff": "a"})),
    *(
        ("headers", {"X": value}, "can't be a header: the value of 'X'")
        for value in ("a\r\nY: b", "a\nb", "a\rb", "a\0b", "\x7f", "é", "비밀", "\ud800")
    ),
    *(("headers", {name: "a"}, "can't be a header") for name in ("é", "X Y", "X\r\nY", "(x)")),
    *(
        ("headers", {name: "a"}, "is the protocol's own")
        for name in ("Upgrade", "connection", "Sec-WebSocket-Key", "Content-Length", "Content-Type")
    ),
    ("headers", {"": "a"}, "can't be a header"),
    ("headers", {"X:": "a"}, "can't be a header"),
    ("transports", "websocket", "must be a list of names"),
    ("transports", [], "must be a list of names"),
    ("transports", 5, "must be a list of names"),
    ("transports", ["pigeon"], "there is no 'pigeon' among the transports"),
    ("transports", [5], "must be a list of names"),
    ("certificate_hashes", [b"short"], "certificate_hashes must be a list of hashes of 32 bytes"),
    ("certificate_hashes", bytes(32), "certificate_hashes must be a list of hashes of 32 bytes"),
    ("transports", ["polling", "polling"], "names one twice"),
    ("parser", "xml", "there is no 'xml' among the parsers"),
    ("parser", 5, "parser must be"),
    ("generation", "eio9", "there is no 'eio9'"),
    *(
        ("proxy", value, "the proxy must be")
        for value in ("proxy:3128", "gopher://x", "http://", "http://x:y", 5, True)
    ),
    ("proxy", "socks5://x:1080", "SOCKS proxies are not supported"),
    *(("ssl", value, "ssl must be an ssl.SSLContext") for value in (True, 5, b"x")),
    *(("certificate", value, "certificate must be") for value in (5, ["a"], ["a", 5])),
    *(("reconnection_attempts", value, "reconnection_attempts must be None or") for value in (0, -1, 1.5, "1", True)),
    *(("randomization_factor", value, "randomization_factor must be a number") for value in (-0.1, 1.1, "x", True)),
    *(("retries", value, "retries must be a whole number") for value in (-1, 1.5, None, True)),
    ("reconnection_delay_seconds", 6, "must not be smaller than reconnection_delay_seconds"),
    ("max_packet_bytes", 5, "must not be smaller than max_payload_bytes"),
    ("nonsense", 1, "there is no setting 'nonsense'"),
]


@pytest.mark.parametrize(("name", "value", "wrong"), BAD, ids=[f"{name}-{value!r}" for name, value, _ in BAD])
def test_bad_settings(name: str, value: Any, wrong: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(wrong)):
        Client("http://example.org", **{name: value})


def test_a_context_and_a_certificate() -> None:
    with pytest.raises(ConfigError, match="load the client certificate into the SSLContext"):
        ClientConfig(ssl=ssl.create_default_context(), certificate="cert.pem")


def test_good_settings() -> None:
    config = ClientConfig(
        path="/x", transports=["websocket"], query={"a": "b"}, reconnection_attempts=5, certificate=["a", Path("b")]
    )
    assert config.path == "/x/"
    assert config.transports == ("websocket",)
    assert ClientConfig.given(config, {}) is config
    limits = ClientConfig(max_payload_bytes=10, max_packet_bytes=20).limits()
    assert (limits.max_payload_bytes, limits.max_packet_bytes) == (10, 20)


def test_a_config_or_settings() -> None:
    with pytest.raises(ConfigError, match="either a ClientConfig or single settings"):
        Client("http://example.org", config=ClientConfig(), retries=1)
    with pytest.raises(ConfigError, match="config must be a ClientConfig"):
        Client("http://example.org", config={"retries": 1})


@pytest.mark.parametrize("auth", [5, "token", ["a"]])
def test_bad_auth(auth: Any) -> None:
    with pytest.raises(ConfigError, match="auth must be a dict"):
        Client("http://example.org", auth)


@pytest.mark.parametrize("name", ["admin", "", "/a,b", 5, None])
def test_bad_namespaces(name: Any) -> None:
    with pytest.raises(ConfigError, match='a namespace starts with "/"'):
        Client("http://example.org").of(name)
