"""HTTP long-polling: the response waits until there is something to say; what the client says comes by POST.

Source: Engine.IO protocol 4, "HTTP long-polling".
"""

from __future__ import annotations

from typing import ClassVar, Final

from madang.errors import RemoteProtocolError
from madang.transports import HttpTransport, Request, Response

__all__ = ["TRANSPORT", "Polling"]

# A poll's response is for this client and this moment alone.
_HEADERS: Final = (("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store"))
_ACCEPTED: Final = (("Content-Type", "text/html"), ("Cache-Control", "no-store"))


class Polling(HttpTransport):
    """Long-polling with text bodies."""

    name: ClassVar[str] = "polling"
    upgrades: ClassVar[tuple[str, ...]] = ("websocket", "webtransport")

    def respond(self, request: Request, payload: str) -> Response:  # noqa: D102
        return Response(200, _HEADERS, payload.encode("utf-8", "replace"))

    def unpack(self, request: Request, body: bytes) -> str:  # noqa: D102
        if (request.header("content-type") or "").startswith("application/octet-stream"):
            raise RemoteProtocolError("payloads are text", rule="Engine.IO protocol 4, HTTP long-polling")
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError(
                "a payload is not UTF-8", rule="Engine.IO protocol 4, HTTP long-polling"
            ) from None

    def accepted(self, request: Request) -> Response:  # noqa: D102
        return Response(200, _ACCEPTED, b"ok")


TRANSPORT: Final = Polling()
