"""The settings of python-socketio in the words of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from madang.config import Config, Cookie
from madang.errors import ConfigError
from madang.migrate.socketio.environ import environ_of
from madang.transports import Request

__all__ = ["log_of", "settings_of"]

#: Modules whose `dumps` and `loads` do what our parser does.
_JSON: Final = frozenset({"json", "orjson", "ujson", "rapidjson", "simplejson"})
_SERIALIZERS: Final = {"default": "json", "msgpack": "msgpack"}
_COOKIE: Final = {
    "name": "name",
    "path": "path",
    "httponly": "http_only",
    "samesite": "same_site",
    "secure": "secure",
    "max-age": "max_age_seconds",
}


def settings_of(options: dict[str, Any]) -> Config:
    """The settings for a `Server`, from the keywords of `AsyncServer`.

    Args:
        options: the keywords; those that python-socketio doesn't know are ours, as `max_rooms_per_socket`.

    Raises:
        ConfigError: a value makes no sense, or can't be had here; the message says what to do instead.
    """
    options = dict(options)
    _check_mode(options.pop("async_mode", None))
    _check_json(options.pop("json", None))
    settings: dict[str, Any] = {
        **_parser(options.pop("serializer", "default")),
        **_heartbeat(options.pop("ping_interval", 25), options.pop("ping_timeout", 20)),
        **_origins(options.pop("cors_allowed_origins", None), options.pop("cors_credentials", None)),
        **_compression(options.pop("http_compression", True), options.pop("compression_threshold", 1024)),
        "cookie": _cookie(options.pop("cookie", None)),
    }
    size = options.pop("max_http_buffer_size", None)
    if size is not None:
        settings["max_payload_bytes"] = size
        if isinstance(size, int):
            settings["max_packet_bytes"] = max(size, Config().max_packet_bytes)
    transports = options.pop("transports", None)
    if transports is not None:
        settings["transports"] = [transports] if isinstance(transports, str) else list(transports)
    if options.pop("monitor_clients", None) is False:
        raise ConfigError("monitor_clients=False: clients that don't answer pings are always ended; leave it out")
    try:
        return Config(**{**settings, **options})
    except TypeError as error:
        raise ConfigError(f"neither python-socketio nor Madang has such a setting: {error}") from None


def _check_mode(mode: str | None) -> None:
    if mode in ("aiohttp", "sanic", "tornado"):
        raise ConfigError(
            f'async_mode={mode!r}: it runs on ASGI only. Write async_mode="asgi" and app = socketio.ASGIApp(sio, '
            "other_asgi_app), and start it with `madang serve module:app` or another ASGI server"
        )
    if mode not in (None, "asgi"):
        raise ConfigError(f'async_mode must be "asgi", not {mode!r}')


def _check_json(module: Any) -> None:
    if module is not None and getattr(module, "__name__", None) not in _JSON:
        raise ConfigError(
            f"json={module!r}: packets are read and written by Madang's own parser, which takes dataclasses, enums, "
            "dates, UUIDs, msgspec and pydantic models too; leave it out, and turn other values into these yourself"
        )


def _parser(serializer: Any) -> dict[str, Any]:
    if serializer not in _SERIALIZERS:
        raise ConfigError(
            f"serializer must be one of {', '.join(map(repr, _SERIALIZERS))}, not {serializer!r}; a parser of your own "
            'is a class of madang.parsers.Parser, given as parser="name"'
        )
    return {"parser": _SERIALIZERS[serializer]}


def _heartbeat(interval: Any, timeout: Any) -> dict[str, Any]:
    grace = 0
    if isinstance(interval, tuple | list):
        if len(interval) != 2:
            raise ConfigError(f"ping_interval must be a number of seconds, or two with the grace, not {interval!r}")
        interval, grace = interval
    if not isinstance(timeout, int | float) or not isinstance(grace, int | float):
        raise ConfigError(f"ping_timeout and the grace must be numbers of seconds, not {timeout!r} and {grace!r}")
    return {"ping_interval_seconds": interval, "ping_timeout_seconds": timeout + grace}


def _origins(origins: Any, credentials: bool | None) -> dict[str, Any]:
    if origins is None:
        return {"origins": "same", "cors_credentials": credentials is not False}
    if callable(origins):
        return {"origins": "*", "cors_credentials": bool(credentials), "allow_request": _asking(origins)}
    origins = [origins] if isinstance(origins, str) else list(origins)
    if not origins or "*" in origins:
        # Credentials are python-socketio's default even for "*". A browser must not have both.
        return {"origins": "*", "cors_credentials": bool(credentials)}
    return {"origins": origins, "cors_credentials": credentials is not False}


def _asking(allowed: Callable[..., Any]) -> Callable[[Request], bool]:
    """Asks a program's function for the origin, with the environ if it takes one."""

    def allow_request(request: Request) -> bool:
        origin = request.header("origin")
        if origin is None:
            return True
        try:
            return bool(allowed(origin, environ_of(request)))
        except TypeError:
            return bool(allowed(origin))

    return allow_request


def _compression(wanted: bool, threshold: Any) -> dict[str, Any]:
    return {"http_compression_threshold_bytes": threshold if wanted else None}


def _cookie(cookie: Any) -> Cookie | None:
    if cookie is None or isinstance(cookie, Cookie):
        return cookie
    if isinstance(cookie, str):
        return Cookie(name=cookie)
    if not isinstance(cookie, Mapping):
        raise ConfigError(f"cookie must be a name or a dict of attributes, not {cookie!r}")
    # What isn't named isn't set, except that scripts need no session id.
    fields: dict[str, Any] = {"same_site": None}
    for attribute, value in cookie.items():
        field = _COOKIE.get(attribute.lower())
        if field is None:
            raise ConfigError(f"the cookie's attribute {attribute!r} isn't known; there are {', '.join(_COOKIE)}")
        value = value() if callable(value) else value
        if field == "same_site" and isinstance(value, str):
            value = value.lower()
        elif field == "max_age_seconds":
            value = int(value)
        fields[field] = value
    return Cookie(**fields)


def log_of(wanted: Any) -> logging.Logger:
    """Where the lines about a server go: a program's own log, or python-socketio's, shown if it is wanted."""
    if not isinstance(wanted, bool):
        log: logging.Logger = wanted
        return log
    log = logging.getLogger("socketio.server")
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO if wanted else logging.ERROR)
        if wanted and not log.hasHandlers():
            log.addHandler(logging.StreamHandler())
    return log
