"""The server API of python-socketio on our engine, so that most programs run by changing one import.

Example:
    ```python
    from madang.migrate import socketio  # was: import socketio

    sio = socketio.AsyncServer(async_mode="asgi")


    @sio.event
    async def message(sid, text):
        await sio.emit("message", text, skip_sid=sid)


    app = socketio.ASGIApp(sio)
    ```

What of python-socketio isn't here is named with what to do instead. `docs/how-to/migrate-python-socketio.md` has the
limits, and the way from here to our own API.

Source: python-socketio 5.18, its documentation.
"""

from __future__ import annotations

from typing import Any, Final

from madang.migrate.socketio import exceptions
from madang.migrate.socketio.asgi import ASGIApp
from madang.migrate.socketio.manager import AsyncManager
from madang.migrate.socketio.namespace import AsyncNamespace
from madang.migrate.socketio.server import AsyncServer

__all__ = ["ASGIApp", "AsyncManager", "AsyncNamespace", "AsyncServer", "exceptions"]

_THREADS: Final = (
    "it serves with threads, and Madang with asyncio. Use AsyncServer and ASGIApp with `async def` handlers; "
    "a WSGI application can stand beside it: docs/how-to/migrate-flask-socketio.md"
)
_CLUSTER: Final = (
    'a cluster is a setting here: write AsyncServer(cluster="redis://localhost:6379") in place of client_manager; '
    "to emit alone, use madang.Emitter"
)
_CLIENT: Final = "import it from python-socketio, whose clients work with this server, or use madang.Client"
_BLOCKING: Final = "import it from python-socketio, whose clients work with this server, or use madang.BlockingClient"
_ABSENT: Final = {
    **dict.fromkeys(("Server", "Namespace", "WSGIApp", "Middleware", "Manager"), _THREADS),
    **dict.fromkeys(
        ("AsyncRedisManager", "AsyncAioPikaManager", "AsyncPubSubManager", "PubSubManager", "RedisManager"), _CLUSTER
    ),
    **dict.fromkeys(("KombuManager", "KafkaManager", "ZmqManager"), _CLUSTER),
    **dict.fromkeys(("AsyncClient", "AsyncSimpleClient", "AsyncClientNamespace"), _CLIENT),
    **dict.fromkeys(("Client", "SimpleClient", "ClientNamespace"), _BLOCKING),
    "get_tornado_handler": "it runs on ASGI only: use ASGIApp, and `madang serve` or another ASGI server",
}


def __getattr__(name: str) -> Any:
    if name in _ABSENT:
        # No AttributeError: `from ... import name` would put words of its own in its place.
        raise ImportError(f"madang.migrate.socketio has no {name}: {_ABSENT[name]}", name=__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
