"""`ASGIApp`: the server as an application, beside static files and another application."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import FileResponse, PlainTextResponse

from madang.faces.asgi import ASGIApplication, ASGIFace
from madang.migrate.socketio.environ import SCOPE
from madang.migrate.socketio.server import AsyncServer

__all__ = ["ASGIApp"]

logger = logging.getLogger("madang")


class ASGIApp(ASGIFace):
    """A server as an ASGI application.

    Args:
        socketio_server: the server.
        other_asgi_app: the application that gets all other requests.
        static_files: files to serve before it: a dict of URL paths, or of their beginnings, and file names. A value
            may be a dict with `filename` and `content_type`. The key "" names the file of a folder, in place of
            index.html.
        socketio_path: where clients find the server; None or "": everywhere, as when a framework mounts it.
        on_startup: a function to run at the start; then `other_asgi_app` isn't told of the lifespan.
        on_shutdown: a function to run at the end; the same.

    Raises:
        ConfigError: the server has an `ASGIApp` at another path already.

    Example:
        ```python
        app = socketio.ASGIApp(sio, fastapi_app, static_files={"/": "index.html", "/static": "./public"})
        ```
    """

    def __init__(
        self,
        socketio_server: AsyncServer,
        other_asgi_app: ASGIApplication | None = None,
        static_files: Mapping[str, Any] | None = None,
        socketio_path: str | None = "socket.io",
        on_startup: Callable[[], Any] | None = None,
        on_shutdown: Callable[[], Any] | None = None,
    ) -> None:
        path = (socketio_path or "").strip("/")
        self._everywhere = not path
        self.engineio_server = socketio_server
        self.other_asgi_app = other_asgi_app
        self.static_files = dict(static_files or {})
        self.on_startup = on_startup
        self.on_shutdown = on_shutdown
        super().__init__(socketio_server.build(f"/{path}/" if path else None), self._beside)

    def owns(self, scope: Any) -> bool:
        """Whether a request is for the server."""
        if self._everywhere:
            return True
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        own = self.io.config.path
        # Frameworks that mount us differ in what they leave of the path.
        return _closed(path) == own or (root != "" and path.startswith(root) and _closed(path[len(root) :]) == own)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one request, or the lifespan."""
        token = SCOPE.set(scope)
        try:
            await super().__call__(scope, receive, send)
        finally:
            SCOPE.reset(token)

    async def _beside(self, scope: Any, receive: Any, send: Any) -> None:
        """What isn't for the server."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(scope, receive, send)
            return
        found = _file_of(scope["path"], self.static_files) if kind == "http" else None
        if found is not None:
            await FileResponse(found[0], media_type=found[1])(scope, receive, send)
        elif self.other_asgi_app is not None:
            await self.other_asgi_app(scope, receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse("Not Found", 404)(scope, receive, send)

    async def _live(self, scope: Any, receive: Any, send: Any) -> None:
        if self.other_asgi_app is not None and self.on_startup is None and self.on_shutdown is None:
            await self.other_asgi_app(scope, receive, send)
            return
        while True:
            message = await receive()
            step = message["type"].rpartition(".")[2]
            try:
                result = (hook := self.on_startup if step == "startup" else self.on_shutdown) and hook()
                if isinstance(result, Awaitable):
                    await result
            except Exception as error:
                logger.exception("on_%s failed", step)
                await send({"type": f"lifespan.{step}.failed", "message": repr(error)})
                return
            await send({"type": f"lifespan.{step}.complete"})
            if step == "shutdown":
                return


def _file_of(path: str, files: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """The file for a URL's path and its type, or None."""
    head, rest = path, ""
    entry = files.get(path)
    while entry is None and head:
        head, _, last = head.rpartition("/")
        rest = f"/{last}{rest}"
        entry = files.get(f"{head}/") if head == "" or head not in files else files[head]
    if entry is None or ".." in rest.split("/") or "\\" in rest or "\0" in rest:
        return None
    name, kind = _entry(entry)
    name += rest[1:] if name.endswith("/") and rest else rest
    if name.endswith("/"):
        index, kind_of_index = _entry(files.get("", "index.html"))
        name, kind = name + index, kind_of_index or kind
    return (name, kind) if os.path.isfile(name) else None


def _entry(entry: Any) -> tuple[str, str | None]:
    return (entry, None) if isinstance(entry, str) else (entry["filename"], entry.get("content_type"))


def _closed(path: str) -> str:
    return path if path.endswith("/") else path + "/"
