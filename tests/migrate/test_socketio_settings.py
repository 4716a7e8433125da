"""python-socketio's settings in our words, and a clear error for each that can't be had."""

import json
import logging
import types
from typing import Any

import pytest

from madang import ConfigError, Cookie, LocalProtocolError
from madang.migrate import socketio
from madang.migrate.socketio.environ import environ_of
from madang.transports import Request


def settings(**options: Any) -> Any:
    return socketio.AsyncServer(**options).io.config


def request(origin: str | None = None, **more: Any) -> Request:
    headers = [(b"Host", b"example.org:8443"), (b"X-Twice", b"1"), (b"X-Twice", b"2"), (b"Content-Type", b"text/plain")]
    if origin is not None:
        headers.append((b"Origin", origin.encode()))
    return Request("GET", "/socket.io/", "EIO=4&a=%20", headers, address="192.0.2.1", **more)


def test_defaults() -> None:
    config = settings()
    assert config.path == "/socket.io/"
    assert (config.ping_interval_seconds, config.ping_timeout_seconds) == (25, 20)
    assert (config.max_payload_bytes, config.origins, config.cookie) == (1_000_000, "same", None)
    assert (config.parser, config.allow_upgrades, config.transports) == ("json", True, ("polling", "websocket"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"async_mode": "asgi"}, {}),
        ({"ping_interval": 7, "ping_timeout": 5}, {"ping_interval_seconds": 7, "ping_timeout_seconds": 5}),
        ({"ping_interval": (7, 3), "ping_timeout": 5}, {"ping_interval_seconds": 7, "ping_timeout_seconds": 8}),
        ({"max_http_buffer_size": 5}, {"max_payload_bytes": 5, "max_packet_bytes": 10_000_000}),
        ({"max_http_buffer_size": 10**8}, {"max_payload_bytes": 10**8, "max_packet_bytes": 10**8}),
        ({"allow_upgrades": False}, {"allow_upgrades": False}),
        ({"http_compression": False}, {"http_compression_threshold_bytes": None}),
        ({"compression_threshold": 7}, {"http_compression_threshold_bytes": 7}),
        ({"transports": "websocket"}, {"transports": ("websocket",)}),
        ({"transports": ["polling"]}, {"transports": ("polling",)}),
        ({"serializer": "default"}, {"parser": "json"}),
        ({"serializer": "msgpack"}, {"parser": "msgpack"}),
        ({"json": json, "monitor_clients": True}, {}),
        ({"cors_allowed_origins": None}, {"origins": "same", "cors_credentials": True}),
        ({"cors_allowed_origins": "*"}, {"origins": "*", "cors_credentials": False}),
        ({"cors_allowed_origins": ["*"]}, {"origins": "*", "cors_credentials": False}),
        ({"cors_allowed_origins": []}, {"origins": "*", "cors_credentials": False}),
        ({"cors_allowed_origins": "http://a"}, {"origins": ("http://a",), "cors_credentials": True}),
        ({"cors_allowed_origins": ["http://a", "http://b"]}, {"origins": ("http://a", "http://b")}),
        ({"cors_allowed_origins": "http://a", "cors_credentials": False}, {"cors_credentials": False}),
        ({"cookie": "io"}, {"cookie": Cookie(name="io")}),
        ({"cookie": {"name": "x"}}, {"cookie": Cookie(name="x", same_site=None)}),
        (
            {"cookie": {"name": lambda: "x", "Path": "/p", "SameSite": "None", "Secure": True, "Max-Age": "5"}},
            {"cookie": Cookie(name="x", path="/p", same_site="none", secure=True, max_age_seconds=5)},
        ),
        ({"cookie": {"HttpOnly": False}}, {"cookie": Cookie(same_site=None, http_only=False)}),
        ({"max_rooms_per_socket": 5}, {"max_rooms_per_socket": 5}),
    ],
)
def test_each_setting(options: dict[str, Any], expected: dict[str, Any]) -> None:
    config = settings(**options)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"async_mode": "aiohttp"}, "runs on ASGI only.*ASGIApp.*madang serve"),
        ({"async_mode": "sanic"}, "runs on ASGI only"),
        ({"async_mode": "tornado"}, "runs on ASGI only"),
        ({"async_mode": "threading"}, 'must be "asgi"'),
        ({"json": types.SimpleNamespace()}, "parser"),
        ({"serializer": object}, "serializer must be one of 'default', 'msgpack'"),
        ({"ping_interval": (1, 2, 3)}, "ping_interval"),
        ({"ping_interval": -1}, "ping_interval_seconds must be a positive number"),
        ({"ping_timeout": None}, "ping_timeout"),
        ({"max_http_buffer_size": "1 MB"}, "max_payload_bytes must be a whole number"),
        ({"monitor_clients": False}, "monitor_clients"),
        ({"cookie": 5}, "cookie must be a name or a dict"),
        ({"cookie": {"Domain": "x"}}, "'Domain' isn't known"),
        ({"cors_allowed_origins": "example.org"}, "written with its scheme"),
        ({"cors_allowed_origins": "*", "cors_credentials": True}, "every page of the web"),
        ({"message_queue": "redis://"}, "message_queue"),
        ({"client_manager": object()}, "AsyncServer.cluster="),
    ],
)
def test_what_cannot_be_had_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        socketio.AsyncServer(**options)


def test_a_function_may_decide_over_origins() -> None:
    asked: list[Any] = []

    def with_environ(origin: str, environ: dict[str, Any]) -> bool:
        asked.append((origin, environ["PATH_INFO"]))
        return origin == "http://friend"

    for function in (with_environ, lambda origin: origin == "http://friend"):
        config = settings(cors_allowed_origins=function)
        assert config.origins == "*"
        assert [config.allow_request(request(origin)) for origin in ("http://friend", "http://enemy", None)] == [
            True,
            False,
            True,
        ]
    assert asked == [("http://friend", "/socket.io/"), ("http://enemy", "/socket.io/")]


def test_the_environ_says_what_wsgi_would() -> None:
    environ = environ_of(request("http://a", secure=True))
    expected = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/socket.io/",
        "QUERY_STRING": "EIO=4&a=%20",
        "RAW_URI": "/socket.io/?EIO=4&a=%20",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "8443",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_HOST": "example.org:8443",
        "HTTP_ORIGIN": "http://a",
        "HTTP_X_TWICE": "1, 2",
        "CONTENT_TYPE": "text/plain",
        "wsgi.url_scheme": "https",
    }
    assert {name: environ[name] for name in expected} == expected
    scope = environ["asgi.scope"]
    assert (scope["type"], scope["scheme"], scope["client"]) == ("http", "https", ("192.0.2.1", 0))
    assert (b"origin", b"http://a") in scope["headers"]
    assert scope["query_string"] == b"EIO=4&a=%20"
    plain = environ_of(Request("GET", "/socket.io/", "", [(b"upgrade", b"WebSocket"), (b"host", b"a")]))
    assert (plain["SERVER_NAME"], plain["SERVER_PORT"], plain["REMOTE_ADDR"]) == ("a", "80", "")
    assert (plain["asgi.scope"]["type"], plain["asgi.scope"]["scheme"]) == ("websocket", "ws")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Server", "AsyncServer and ASGIApp"),
        ("WSGIApp", "AsyncServer and ASGIApp"),
        ("Namespace", "AsyncServer"),
        ("AsyncRedisManager", "AsyncServer.cluster=.*madang.Emitter"),
        ("KombuManager", "AsyncServer.cluster="),
        ("AsyncClient", r"python-socketio.*madang\.Client"),
        ("SimpleClient", r"python-socketio.*madang\.BlockingClient"),
        ("get_tornado_handler", "ASGIApp"),
    ],
)
def test_names_that_are_not_here_say_what_to_use(name: str, words: str) -> None:
    with pytest.raises(ImportError, match=words):
        getattr(socketio, name)
    with pytest.raises(ImportError, match=words):
        exec(f"from madang.migrate.socketio import {name}")


def test_every_name_of_python_socketio_is_here_or_explained() -> None:
    import socketio as original

    for name in original.__all__:
        if name not in socketio.__all__:
            with pytest.raises(ImportError, match=name):
                getattr(socketio, name)


def test_other_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        socketio.nothing  # noqa: B018
    sio = socketio.AsyncServer()
    for name in ("eio", "environ", "handle_request", "packet_class"):
        with pytest.raises(AttributeError, match=r"sio\.io"):
            getattr(sio, name)
    with pytest.raises(AttributeError, match="'AsyncServer' object has no attribute 'nothing'"):
        sio.nothing  # noqa: B018


def test_what_python_socketio_can_and_this_cannot_is_said() -> None:
    sio = socketio.AsyncServer()
    with pytest.raises(LocalProtocolError, match="ASGIApp"):
        sio.attach(object())
    with pytest.raises(LocalProtocolError, match="Admin UI"):
        sio.instrument(auth=False)
    with pytest.raises(LocalProtocolError, match="belongs to no server"):
        socketio.AsyncManager().get_namespaces()
    assert sio.is_asyncio_based()
    assert socketio.AsyncNamespace().is_asyncio_based()


def test_one_server_has_one_path() -> None:
    sio = socketio.AsyncServer()
    socketio.ASGIApp(sio, socketio_path="/ws/socket.io")
    socketio.ASGIApp(sio, socketio_path="ws/socket.io/")
    assert sio.io.config.path == "/ws/socket.io/"
    with pytest.raises(ConfigError, match=r"'/ws/socket\.io/' already"):
        socketio.ASGIApp(sio)


def test_the_exceptions_are_a_tree() -> None:
    errors = socketio.exceptions
    assert issubclass(errors.ConnectionRefusedError, errors.ConnectionError)
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.SocketIOError)
    assert errors.ConnectionRefusedError("a", 1).args == ("a", 1)


def test_logger() -> None:
    own = logging.getLogger("a program's own")
    assert socketio.AsyncServer(logger=own).logger is own
    assert socketio.AsyncServer(engineio_logger=own).logger is own
    log = logging.getLogger("socketio.server")
    before = log.level, log.handlers[:]
    try:
        log.setLevel(logging.NOTSET)
        assert socketio.AsyncServer(logger=True).logger.level == logging.INFO
        log.setLevel(logging.NOTSET)
        assert socketio.AsyncServer().logger.level == logging.ERROR
    finally:
        log.level, log.handlers[:] = before


async def test_background_tasks_are_coroutines() -> None:
    sio = socketio.AsyncServer()
    with pytest.raises(TypeError, match="needs an `async def` function"):
        sio.start_background_task(print)
    assert await sio.start_background_task(sio.sleep, 0) is None
    await sio.shutdown()
