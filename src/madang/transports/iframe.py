"""The forever iframe: a document in a hidden frame that never ends, and whose scripts hand payloads to the page.

Any page may put any document into a frame. So what a payload is handed to is an origin, which the request names, and
which the server must allow: the browser gives it to a page of that origin only (`postMessage`).

Source: HTML standard, "cross-document messaging"; Socket.IO 0.9, transport "htmlfile".
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from madang.errors import BAD_REQUEST, RequestRefused
from madang.packet import Frame
from madang.transports import Headers, Request, StreamTransport, script_string

__all__ = ["TRANSPORT", "Iframe"]

#: Browsers look at so much of a document before they show any of it.
_PRELUDE_BYTES: Final = 2048
_INDEX: Final = re.compile(r"[0-9]{1,9}")
#: Of a page that has none ("null"), nobody could tell it from others.
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.\-_\[\]:]{1,260}")


class Iframe(StreamTransport):
    """Each payload is a script element."""

    name: ClassVar[str] = "iframe"
    pages_only: ClassVar[bool] = True

    def check(self, request: Request) -> None:  # noqa: D102
        origin = request.query.get("origin")
        if origin is not None and _ORIGIN.fullmatch(origin) is None:
            detail = f"origin is that of the page, as https://example.org, not {origin[:80]!r}"
            raise RequestRefused(*BAD_REQUEST, detail, {"name": "BAD_ORIGIN", "origin": origin[:80]})
        if _INDEX.fullmatch(request.query.get("j", "")) is None:
            raise RequestRefused(*BAD_REQUEST, "j must be a number", {"name": "BAD_CALLBACK"})

    def head(self, request: Request) -> Headers:  # noqa: D102
        origin = request.query.get("origin", "")
        # The scripts are ours, and there is nothing else to load.
        policy = "default-src 'none'; script-src 'unsafe-inline'"
        if "[" not in origin:  # the policy's grammar has no word for addresses of IPv6
            policy += f"; frame-ancestors 'self' {origin}"
        return (("Content-Type", "text/html; charset=UTF-8"), ("Content-Security-Policy", policy))

    def prelude(self, request: Request) -> bytes:  # noqa: D102
        target = script_string(request.query["origin"]) if "origin" in request.query else "location.origin"
        document = (
            '<!DOCTYPE html><html><head><meta charset="utf-8"><title>Madang</title></head><body><script>'
            "function _(payload){document.currentScript.remove();"
            f"parent.postMessage({{madang:{int(request.query['j'])},payload:payload}},{target})}}</script>"
        ).encode()
        return document + b" " * (_PRELUDE_BYTES - len(document) - 1) + b"\n"

    def chunk(self, frame: Frame) -> bytes:  # noqa: D102
        assert isinstance(frame, str)  # it is not binary  # noqa: S101
        return b"<script>_(%b)</script>\n" % script_string(frame).encode("utf-8", "replace")

    def reader(self, request: Request) -> str | None:
        """The origin that payloads are handed to; without one, it is the server's own."""
        return request.query.get("origin")


TRANSPORT: Final = Iframe()
