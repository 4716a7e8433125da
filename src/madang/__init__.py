"""Madang: real-time data between a server and all its clients, over one API that hides the transport.

The public names, found when they are first asked for, so that `import madang` costs nothing.

Example:
    ```python
    from madang import Server, Socket

    io = Server()


    @io.on("chat message")
    def chat_message(socket: Socket, text: str) -> str:
        socket.broadcast.emit("chat message", text)
        return "delivered"
    ```

    `madang serve module:io` runs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from madang.client.blocking import BlockingClient
    from madang.client.client import Client
    from madang.client.config import ClientConfig
    from madang.client.emitter import BlockingEmitter
    from madang.client.socket import ClientSocket, Event
    from madang.compiling import is_compiled
    from madang.config import Cluster, Config, Cookie, Recovery
    from madang.core.ack import Ack
    from madang.core.crowd import RemoteSocket
    from madang.core.events import ResponseHeaders
    from madang.core.namespace import Namespace
    from madang.core.outgoing import Outgoing
    from madang.core.socket import Handshake, Socket
    from madang.core.target import Target
    from madang.emitter import Emitter
    from madang.errors import (
        AckTimeout,
        ClusterError,
        ConfigError,
        ConnectError,
        ConnectionRefused,
        Disconnected,
        EncodeError,
        InvalidAnswer,
        InvalidArguments,
        LimitError,
        LocalProtocolError,
        MadangError,
        NotSent,
        Reason,
        RemoteProtocolError,
        RequestRefused,
        WrongThreadError,
    )
    from madang.faces.uvicorn import serve
    from madang.faces.webtransport import WebTransport
    from madang.server import Server
    from madang.threadsafe import Answer, ThreadsafeServer, ThreadsafeSocket, ThreadsafeTarget
    from madang.transports import Request

__version__ = "0.1.0"

__all__ = [
    "Ack",
    "AckTimeout",
    "Answer",
    "BlockingClient",
    "BlockingEmitter",
    "Client",
    "ClientConfig",
    "ClientSocket",
    "Cluster",
    "ClusterError",
    "Config",
    "ConfigError",
    "ConnectError",
    "ConnectionRefused",
    "Cookie",
    "Disconnected",
    "Emitter",
    "EncodeError",
    "Event",
    "Handshake",
    "InvalidAnswer",
    "InvalidArguments",
    "LimitError",
    "LocalProtocolError",
    "MadangError",
    "Namespace",
    "NotSent",
    "Outgoing",
    "Reason",
    "Recovery",
    "RemoteProtocolError",
    "RemoteSocket",
    "Request",
    "RequestRefused",
    "ResponseHeaders",
    "Server",
    "Socket",
    "Target",
    "ThreadsafeServer",
    "ThreadsafeSocket",
    "ThreadsafeTarget",
    "WebTransport",
    "WrongThreadError",
    "__version__",
    "is_compiled",
    "serve",
]

_HOMES = {
    "Ack": "core.ack",
    "Answer": "threadsafe",
    "BlockingClient": "client.blocking",
    "BlockingEmitter": "client.emitter",
    "Client": "client.client",
    "ClientConfig": "client.config",
    "ClientSocket": "client.socket",
    "Cluster": "config",
    "Config": "config",
    "Cookie": "config",
    "Emitter": "emitter",
    "Event": "client.socket",
    "Handshake": "core.socket",
    "Namespace": "core.namespace",
    "Outgoing": "core.outgoing",
    "Recovery": "config",
    "RemoteSocket": "core.crowd",
    "Request": "transports",
    "ResponseHeaders": "core.events",
    "Server": "server",
    "Socket": "core.socket",
    "Target": "core.target",
    "ThreadsafeServer": "threadsafe",
    "ThreadsafeSocket": "threadsafe",
    "ThreadsafeTarget": "threadsafe",
    "WebTransport": "faces.webtransport",
    "is_compiled": "compiling",
    "serve": "faces.uvicorn",
}


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in __all__:
        raise AttributeError(f"module 'madang' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"madang.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
