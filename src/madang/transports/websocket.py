"""WebSocket: one frame is one message, text or binary.

Source: Engine.IO protocol 4, "WebSocket"; RFC 6455.
"""

from __future__ import annotations

from typing import ClassVar, Final

from madang.transports import LinkTransport

__all__ = ["TRANSPORT", "WebSocket"]


class WebSocket(LinkTransport):
    """The best there is for most clients."""

    name: ClassVar[str] = "websocket"


TRANSPORT: Final = WebSocket()
