"""A built page, served with the headers that keep it safe: what the applications have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from madang import ConfigError

__all__ = ["AssetsMissingError", "Page", "SafeHeaders"]

_SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class AssetsMissingError(ConfigError):
    """The page was never built. Wheels carry it; a checkout has to make it."""


class Page(StaticFiles):
    """The built page: hashed assets are kept for ever, everything else is asked for anew.

    Args:
        directory: where it was built to.
        owner: whose page it is, as "chat".
        policy: gives the content security policy for the `Host` of a request.

    Raises:
        AssetsMissingError: it was not.
    """

    def __init__(self, directory: Path, owner: str, policy: Callable[[str], str]) -> None:
        if not (directory / "index.html").is_file():
            raise AssetsMissingError(
                f"The {owner}'s page is not in {directory}: run `make assets` to build it (needs Node.js)."
            )
        super().__init__(directory=directory, html=True)
        self._policy = policy

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Add cache headers and the page's content security policy."""
        response = await super().get_response(path, scope)
        for_ever = path.startswith("assets/") and response.status_code in (200, 304)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if for_ever else "no-cache"
        response.headers["Content-Security-Policy"] = self._policy(Headers(scope=scope).get("host", ""))
        return response


class SafeHeaders:
    """Headers that every answer carries.

    Args:
        app: whose answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, with the headers added to the start of a response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_SAFE]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
