"""The chat as one ASGI application: events, JSON API and page on one Madang server."""

from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from madang import ConfigError, Server
from madang.apps.chat import protocol as p
from madang.apps.chat.api import Api, http_error
from madang.apps.chat.events import Chat, channel
from madang.apps.chat.people import People
from madang.apps.chat.store import Store
from madang.apps.chat.uploads import Uploads

STATIC = Path(__file__).with_name("static")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class AssetsMissingError(ConfigError):
    """The page was never built. Wheels carry it; a checkout has to make it."""


def create_app(data_dir: Path, *, static: Path = STATIC) -> Any:
    """Return the chat, an ASGI application which keeps its database and files in `data_dir`."""
    if not (static / "index.html").is_file():
        raise AssetsMissingError(f"The chat's page is not in {static}: run `make assets` to build it (needs Node.js).")
    io = Server()
    store = Store(data_dir / "chat.db")
    uploads = Uploads(data_dir / "files", store)
    people = People()
    chat = Chat(store, uploads, people)
    io.register(chat)
    io.use(chat.admit)
    io.on_stop(store.close)

    def tell(message: p.Message) -> None:
        io.to(channel(message.room)).emit("message", msgspec.to_builtins(message))

    api = Starlette(routes=Api(store, uploads, people, tell).routes(), exception_handlers={HTTPException: http_error})
    site = Starlette(routes=[Mount("/api", api), Mount("/", Page(directory=static, html=True))])
    return io.asgi(SafeHeaders(site))


class Page(StaticFiles):
    """The built page: hashed assets are kept for ever, everything else is asked for anew."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Add cache headers and the page's content security policy."""
        response = await super().get_response(path, scope)
        for_ever = path.startswith("assets/") and response.status_code in (200, 304)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if for_ever else "no-cache"
        response.headers["Content-Security-Policy"] = PAGE_POLICY
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
