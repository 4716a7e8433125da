"""Which web pages may connect, and what their browsers are told about it.

Source: Fetch standard (CORS).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from madang.config import Config
from madang.errors import FORBIDDEN, RequestRefused
from madang.transports import Headers, Request
from madang.wire import Wire

__all__ = ["check", "check_page", "cors", "preflight"]

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
#: How often browsers have to ask again whether they may (seconds; the Fetch standard lets them cap it).
_PREFLIGHT_MAX_AGE: Final = "600"


def check(config: Config, request: Request) -> None:
    """Refuse a request that tells an origin which isn't allowed.

    Raises:
        RequestRefused: it does.
    """
    if config.origins == "*":
        return
    origin = request.header("origin")
    if origin is not None:
        check_page(config, request, origin)


def check_page(config: Config, request: Request, origin: str) -> None:
    """Refuse a page of an origin that isn't allowed.

    Args:
        config: the settings.
        request: what the page asks for.
        origin: of the page; "" where nobody can tell.

    Raises:
        RequestRefused: it isn't.
    """
    if config.origins == "*":
        return
    if config.origins != "same" and origin.lower() in config.origins:
        return
    if _same_host(origin, (request.header("host") or "")):
        return
    raise RequestRefused(
        *FORBIDDEN,
        f"pages of {origin[:200]!r} may not connect to {request.headers.get('host', '')[:200]!r}: "
        "add it to the setting `origins`, or let the proxy pass on the Host header",
        {"name": "ORIGIN_NOT_ALLOWED", "origin": origin[:200]},
    )


def cors(config: Config, request: Request, generation: Wire | None) -> Headers:
    """The headers that let a page of another, allowed origin read the response.

    Args:
        config: the settings.
        request: what the page asks for.
        generation: what it speaks, where that is known. Pages of some can't but send cookies along, and their browser
            gives them no answer that doesn't allow this. With `origins="*"` every page may have the answer then, as it
            could have it over a WebSocket, which no browser asks about.
    """
    if config.origins == "same":
        return ()
    origin = request.header("origin")
    if origin is None:
        return ()
    credentialed = generation is not None and generation.credentialed
    if config.origins == "*":
        if not credentialed:
            return [("Access-Control-Allow-Origin", "*")]
    elif origin.lower() not in config.origins:
        return [("Vary", "Origin")]
    headers = [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
    if config.cors_credentials or credentialed:
        headers.append(("Access-Control-Allow-Credentials", "true"))
    return headers


def preflight(config: Config, request: Request, generation: Wire | None) -> Headers:
    """The headers that answer a browser's question whether a page of another origin may ask. As for `cors`."""
    headers = list(cors(config, request, generation))
    if not headers:
        return headers
    headers.append(("Access-Control-Allow-Methods", "GET, POST, OPTIONS"))
    asked = request.header("access-control-request-headers")
    if asked:
        headers.append(("Access-Control-Allow-Headers", asked))
    headers.append(("Access-Control-Max-Age", _PREFLIGHT_MAX_AGE))
    return headers


def _same_host(origin: str, host: str) -> bool:
    """Whether an origin is the host that was asked, whatever the scheme: a proxy may have taken off TLS."""
    if "://" not in origin:  # programs of Socket.IO 0.9 name no scheme; browsers do, or say "null"
        return origin not in ("", "null") and origin.lower() == host.lower()
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not host:
        return False
    return parts.netloc.removesuffix(default) == host.lower().removesuffix(default)
