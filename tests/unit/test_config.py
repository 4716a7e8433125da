"""Settings: their defaults, what is refused, and with which words."""

import dataclasses
import inspect
import math
from typing import Any

import pytest

from madang.config import Config, Cookie
from madang.errors import ConfigError

SECONDS = [field.name for field in dataclasses.fields(Config) if field.name.endswith("_seconds")]
LIMITS = [field.name for field in dataclasses.fields(Config) if field.name.startswith("max_")]


def test_defaults_of_the_protocol() -> None:
    config = Config()
    assert (config.ping_interval_seconds, config.ping_timeout_seconds) == (25, 20)
    assert config.max_payload_bytes == 1_000_000
    assert config.path == "/socket.io/"
    assert config.transports == ("polling", "websocket")
    assert config.origins == "same"
    assert config.websocket_compression is False


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().path = "/x/"  # type: ignore[misc]


def test_allow_request_must_be_a_plain_function() -> None:
    async def lets_everyone_in(request: Any) -> bool:
        return False

    with pytest.raises(ConfigError, match="plain function"):
        Config(allow_request=lets_everyone_in)


def test_keywords_only() -> None:
    with pytest.raises(TypeError):
        Config("/x/")  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    text = inspect.getdoc(Config) or ""
    for field in dataclasses.fields(Config):
        assert f"{field.name}: " in text, field.name
    for field in dataclasses.fields(Cookie):
        assert f"{field.name}: " in (inspect.getdoc(Cookie) or ""), field.name


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, math.inf, 1e9, "25", None])
def test_seconds(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    assert str(caught.value) == f"{name} must be a positive number of seconds, not {value!r}"


@pytest.mark.parametrize("name", SECONDS)
def test_seconds_may_be_fractions(name: str) -> None:
    assert getattr(Config(**{name: 0.25}), name) == 0.25
    assert getattr(Config(**{name: 3}), name) == 3


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [0, -1, 1.5, 10.0, True, "10", None])
def test_limits(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    assert str(caught.value) == f"{name} must be a whole number of at least 1, not {value!r}"


@pytest.mark.parametrize("name", [name for name in LIMITS if name not in ("max_packet_bytes", "max_payload_bytes")])
def test_limits_may_be_one(name: str) -> None:
    assert getattr(Config(**{name: 1}), name) == 1


def test_a_packet_holds_a_payload() -> None:
    assert Config(max_packet_bytes=10, max_payload_bytes=10)
    with pytest.raises(ConfigError, match="max_packet_bytes must not be smaller than max_payload_bytes"):
        Config(max_packet_bytes=9, max_payload_bytes=10)


@pytest.mark.parametrize(("given", "kept"), [("/a", "/a/"), ("/a/", "/a/"), ("/a/b", "/a/b/"), ("/ws.io/", "/ws.io/")])
def test_path(given: str, kept: str) -> None:
    assert Config(path=given).path == kept


@pytest.mark.parametrize("path", ["", "/", "a", "a/", "/a?b", "?/", None, 5])
def test_wrong_path(path: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(path=path)
    assert str(caught.value) == f'path must start with "/" and be more than that, as "/socket.io/", not {path!r}'


@pytest.mark.parametrize("name", ["transports", "generations"])
def test_lists_of_names(name: str) -> None:
    assert getattr(Config(**{name: ["a", "b"]}), name) == ("a", "b")
    for wrong in ("websocket", "", [], (), None):
        with pytest.raises(ConfigError) as caught:
            Config(**{name: wrong})
        assert str(caught.value) == f'{name} must be "all" or a list of names, not {wrong!r}'


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("same", "same"),
        ("*", "*"),
        ([], ()),
        (["https://Example.org/"], ("https://example.org",)),
        (("http://localhost:5173", "null"), ("http://localhost:5173", "null")),
    ],
)
def test_origins(given: Any, kept: Any) -> None:
    assert Config(origins=given).origins == kept


@pytest.mark.parametrize("given", ["https://example.org", "", "all"])
def test_origins_as_text(given: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(origins=given)
    assert str(caught.value) == f'origins must be "same", "*" or a list of origins, not {given!r}'


def test_origins_without_scheme() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(origins=["https://a.org", "example.org:8000"])
    assert str(caught.value) == (
        "an origin is written with its scheme, as \"https://example.org:8000\", not 'example.org:8000'"
    )


def test_credentials_for_all() -> None:
    assert Config(origins=["https://a.org"], cors_credentials=True)
    assert Config(cors_credentials=True)
    with pytest.raises(ConfigError, match="would let every page of the web act as your users"):
        Config(origins="*", cors_credentials=True)


@pytest.mark.parametrize("level", [0, 10, -1, "6"])
def test_compression_level(level: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(websocket_compression_level=level)
    assert str(caught.value) == f"websocket_compression_level must be 1 to 9, not {level!r}"
    assert Config(websocket_compression_level=1).websocket_compression_level == 1
    assert Config(websocket_compression_level=9).websocket_compression_level == 9


@pytest.mark.parametrize(
    ("cookie", "header"),
    [
        (Cookie(), "io=ID; Path=/; HttpOnly; SameSite=Lax"),
        (Cookie("sid", path="/app"), "sid=ID; Path=/app; HttpOnly; SameSite=Lax"),
        (Cookie(http_only=False, same_site=None), "io=ID; Path=/"),
        (Cookie(same_site="none", secure=True), "io=ID; Path=/; HttpOnly; Secure; SameSite=None"),
        (Cookie(same_site="strict", max_age_seconds=60), "io=ID; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"),
        (Cookie(max_age_seconds=0), "io=ID; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"),
    ],
)
def test_cookie(cookie: Cookie, header: str) -> None:
    assert cookie.header("ID") == header
