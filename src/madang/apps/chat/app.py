"""The chat as one ASGI application: events, JSON API and page on one Madang server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from madang import Config, Server
from madang.apps.chat import protocol as p
from madang.apps.chat.api import Api, http_error
from madang.apps.chat.events import Chat, channel
from madang.apps.chat.people import People
from madang.apps.chat.store import Store
from madang.apps.chat.uploads import Uploads
from madang.apps.site import AssetsMissingError, Page, SafeHeaders

__all__ = ["AssetsMissingError", "create_app"]

STATIC = Path(__file__).with_name("static")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(
    data_dir: Path | str,
    *,
    generations: Literal["all"] | Sequence[str] = Config().generations,
    static: Path = STATIC,
    cluster: str | None = None,
) -> Any:
    """Return the chat, an ASGI application.

    Args:
        data_dir: where it keeps its database and files.
        generations: whose clients may come, as in the settings of a server.
        static: the folder of the built page.
        cluster: the engine that connects it with others that share the folder, as a URL; None: it is alone, or a
            worker of `madang chat --workers`, which gives it one.

    Raises:
        AssetsMissingError: the page isn't there.
        ConfigError: there is no such generation.
    """
    data_dir = Path(data_dir)
    page = Page(static, "chat", lambda host: PAGE_POLICY)
    io = Server(generations=generations, cluster=cluster)
    store = Store(data_dir / "chat.db")
    uploads = Uploads(data_dir / "files", store)
    people = People()
    chat = Chat(store, uploads, people)
    io.register(chat)
    io.use(chat.admit)
    io.on_start(lambda: chat.meet(io))
    io.on_stop(store.close)

    def tell(message: p.Message) -> None:
        io.to(channel(message.room)).emit("message", msgspec.to_builtins(message))

    api = Starlette(routes=Api(store, uploads, people, tell).routes(), exception_handlers={HTTPException: http_error})
    site = Starlette(routes=[Mount("/api", api), Mount("/", page)])
    return io.asgi(SafeHeaders(site))
