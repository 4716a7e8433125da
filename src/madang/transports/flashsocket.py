"""FlashSocket: a WebSocket that a Flash film opens for a page, in the handshake and the frames of its time.

The film of `web-socket-js` speaks draft 76 of the WebSocket protocol (`madang.rfc.hixie`), newer ones of it RFC 6455.
Either way it knows text only, so bytes travel as base64.

Source: Engine.IO 1.1, "flashsocket"; Engine.IO protocol 4, "HTTP long-polling" (how bytes are written as text).
"""

from __future__ import annotations

from typing import ClassVar, Final

from madang.transports import LinkTransport

__all__ = ["TRANSPORT", "FlashSocket"]


class FlashSocket(LinkTransport):
    """A WebSocket of text messages, for pages whose browser has none of its own."""

    name: ClassVar[str] = "flashsocket"
    text_only: ClassVar[bool] = True


TRANSPORT: Final = FlashSocket()
