"""A path at which load balancers ask whether a process takes clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from madang.errors import ConfigError
from madang.faces.asgi import ASGIApplication, Receive, Scope, Send
from madang.server import Server

__all__ = ["Health", "check_path"]


class Health:
    """An application with one path more.

    The answer is 200 while clients are taken, and 503 before and after; its body is JSON for people and for monitoring:
    `{"ready": true, "clients": 3, "servers": [{"path": ..., "ready": ..., "clients": ..., "cluster": ...}]}`.

    Args:
        app: the application.
        servers: all servers of ours that are in it.
        path: the path.

    Attributes:
        app: as given.
        leaving: whether the process is about to end.

    Raises:
        ConfigError: the path is none.
    """

    def __init__(self, app: ASGIApplication, servers: Sequence[Server], path: str) -> None:
        check_path(path)
        if any(path.startswith(io.config.path) for io in servers):
            raise ConfigError(f"health_path: {path!r} is under the path of a server of yours; choose another one")
        self.app = app
        self.leaving = False
        self._servers = servers
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""
        if scope["type"] == "http" and scope["path"] == scope.get("root_path", "") + self._path:
            told = self.tell()
            body = orjson.dumps(told)
            headers = [
                (b"content-type", b"application/json"),
                (b"cache-control", b"no-store"),
                (b"content-length", str(len(body)).encode()),
            ]
            status = 200 if told["ready"] else 503
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await self.app(scope, receive, send)

    def tell(self) -> dict[str, Any]:
        """What is answered."""
        servers = [
            {
                "path": io.config.path,
                "ready": io.ready and not self.leaving,
                "clients": io.engine.clients_count,
                "cluster": io.cluster.health if io.is_clustered else None,
            }
            for io in self._servers
        ]
        ready = all(one["ready"] for one in servers) and not self.leaving
        return {"ready": ready, "clients": sum(io.engine.clients_count for io in self._servers), "servers": servers}


def check_path(path: str) -> None:
    """Refuse what can't be the path.

    Raises:
        ConfigError: it is none.
    """
    if not path.startswith("/") or "?" in path:
        raise ConfigError(f'health_path must start with "/", as "/health", not {path!r}')
