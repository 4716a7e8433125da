"""HTTP long-polling: the response waits until there is something to say; what the client says comes by POST.

Source: Engine.IO protocol 4, "HTTP long-polling".
"""

from __future__ import annotations

from typing import ClassVar, Final

from madang.compiling import mypyc_attr
from madang.transports import PollTransport, Request, Response

__all__ = ["TRANSPORT", "Polling"]

# A poll's response is for this client and this moment alone.
_HEADERS: Final = (("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store"))
_BINARY_HEADERS: Final = (("Content-Type", "application/octet-stream"), ("Cache-Control", "no-store"))


@mypyc_attr(allow_interpreted_subclasses=True)
class Polling(PollTransport):
    """Long-polling with text bodies."""

    name: ClassVar[str] = "polling"

    def respond(self, request: Request, payload: str | bytes) -> Response:  # noqa: D102
        if isinstance(payload, bytes):
            return Response(200, _BINARY_HEADERS, payload)
        return Response(200, _HEADERS, payload.encode("utf-8", "replace"))


TRANSPORT: Final = Polling()
