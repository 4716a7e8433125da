"""Files for pages, as answers to requests. Whoever makes them says how they are read.

Source: RFC 9110, 8.8.3 (ETag), 13.1.2 (If-None-Match).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

from madang.transports import Request, Response

__all__ = ["File"]


class File:
    """A file that anyone may have.

    Args:
        content_type: what it is.
        read: gives its bytes; called once, when it is asked for first.
    """

    __slots__ = ("_body", "_content_type", "_etag", "_packed", "_read")

    def __init__(self, content_type: str, read: Callable[[], bytes]) -> None:
        self._content_type = content_type
        self._read = read
        self._body: bytes | None = None
        self._packed = b""
        self._etag = ""

    def answer(self, request: Request, *, packed: bool) -> Response:
        """The response to a GET or HEAD; `packed` says whether the client takes gzip."""
        if self._body is None:
            body = self._read()
            packer = zlib.compressobj(9, zlib.DEFLATED, 31)
            self._packed = packer.compress(body) + packer.flush()
            self._etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
            self._body = body
        # Its name stays when its content changes: a page asks each time, and mostly gets a 304.
        headers = [("ETag", f"W/{self._etag}"), ("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding, Origin")]
        known = [tag.strip().removeprefix("W/") for tag in (request.header("if-none-match") or "").split(",")]
        if self._etag in known or "*" in known:
            return Response(304, headers, b"")
        headers += [("Content-Type", self._content_type), ("X-Content-Type-Options", "nosniff")]
        body = self._body
        if packed:
            body = self._packed
            headers.append(("Content-Encoding", "gzip"))
        headers.append(("Content-Length", str(len(body))))
        return Response(200, headers, body if request.method != "HEAD" else b"")
