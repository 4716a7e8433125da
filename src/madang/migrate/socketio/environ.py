"""The `environ` that `connect` handlers receive: a request in the words of WSGI.

Source: PEP 3333; what python-socketio's ASGI driver puts into it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

from madang.transports import Request

__all__ = ["SCOPE", "environ_of"]

#: The scope of the ASGI request that is being served, if it came that way.
SCOPE: ContextVar[MutableMapping[str, Any] | None] = ContextVar("SCOPE", default=None)


def environ_of(request: Request) -> dict[str, Any]:
    """The environ of a client that opened its connection with a request.

    `REMOTE_ADDR` is the client's address, as trusted proxies tell it. `asgi.scope` is made from the request; on an
    ASGI server it also has what the middleware before us has put into the scope, as "user" or "session".
    """
    headers = request.headers
    host, _, port = headers.get("host", "").rpartition(":")
    scheme = "https" if request.secure else "http"
    websocket = headers.get("upgrade", "").lower() == "websocket"
    if not port.isdigit():
        host, port = headers.get("host", ""), "443" if request.secure else "80"
    scope = {
        **(SCOPE.get() or {}),
        "type": "websocket" if websocket else "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": request.root_path,
        "query_string": request.query_string.encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": (request.address, 0) if request.address else None,
        "scheme": ("wss" if request.secure else "ws") if websocket else scheme,
        "method": request.method,
    }
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query_string,
        "RAW_URI": request.url,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "madang",
        "REMOTE_ADDR": request.address,
        "REMOTE_PORT": "0",
        "wsgi.url_scheme": scheme,
        "wsgi.version": (1, 0),
        "wsgi.async": True,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "asgi.scope": scope,
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    return environ
