"""The laboratory as one ASGI application: its page, and the server that the page asks for lanes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from madang import ConfigError
from madang.apps.laboratory.events import make_server
from madang.apps.laboratory.lanes import Lanes

__all__ = ["AssetsMissingError", "create_app", "page_policy"]

STATIC: Final = Path(__file__).with_name("static")
#: A host that a policy can name: there is no way to write an IPv6 address in one.
_HOST: Final = re.compile(r"([A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?")


class AssetsMissingError(ConfigError):
    """The page was never built. Wheels carry it; a checkout has to make it."""


def create_app(
    host: str = "127.0.0.1", *, lane_ports: Sequence[int] = (0,), max_lanes: int = 32, static: Path = STATIC
) -> Any:
    """Return the laboratory, an ASGI application.

    Args:
        host: where lanes listen; the same as the page's own server.
        lane_ports: the ports that they may use; (0,) for any free ones.
        max_lanes: how many there may be at a time.
        static: the folder of the built page.

    Raises:
        AssetsMissingError: the page isn't there.
    """
    if not (static / "index.html").is_file():
        raise AssetsMissingError(f"The laboratory's page is not in {static}: run `make assets` (needs Node.js).")
    io = make_server(Lanes(host, lane_ports, max_lanes))
    return io.asgi(SafeHeaders(Starlette(routes=[Mount("/", Page(directory=static, html=True))])))


def page_policy(host: str) -> str:
    """The content security policy of the page, which reaches lanes at other ports of its own host.

    Args:
        host: the `Host` header of the request.

    Example:
        >>> "frame-src http://192.168.0.7:*;" in page_policy("192.168.0.7:8000")
        True
    """
    match = _HOST.fullmatch(host)
    name = match[1] if match else ""
    http = f"http://{name}:*" if name else "http:"
    links = f"ws://{name}:* https://{name}:*" if name else "ws: https:"
    return (
        f"default-src 'none'; script-src 'self' {http}; style-src 'self'; img-src 'self' blob: data:; font-src 'self';"
        f" connect-src 'self' {http} {links}; frame-src {http}; form-action 'self' {http};"
        " manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


class Page(StaticFiles):
    """The built page: hashed assets are kept for ever, everything else is asked for anew."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Add cache headers and the page's content security policy."""
        response = await super().get_response(path, scope)
        for_ever = path.startswith("assets/") and response.status_code in (200, 304)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if for_ever else "no-cache"
        response.headers["Content-Security-Policy"] = page_policy(Headers(scope=scope).get("host", ""))
        return response


class SafeHeaders:
    """Headers that every answer carries."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with the headers added to the start of a response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                    (b"cross-origin-opener-policy", b"same-origin"),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
