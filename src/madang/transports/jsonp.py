"""JSONP polling: payloads come as scripts that call a function of the page, and go by the form of a hidden frame.

For browsers and pages that can do nothing else: a script may be of any origin, and needs no answer to the question
whether it may. For the same reason we ask who loads it: see `JSONP.reader`.

Source: Engine.IO protocol 3, "JSONP polling"; engine.io-client 1.x to 5.x, `polling-jsonp`.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import unquote_to_bytes, urlsplit

from madang.errors import BAD_REQUEST, RemoteProtocolError, RequestRefused
from madang.transports import PollTransport, Request, Response, script_string

__all__ = ["JSONP", "TRANSPORT"]

_RULE: Final = "Engine.IO protocol 3, JSONP polling"
# "nosniff": nobody shall make anything else than a script of it; a file to download, for instance.
_HEADERS: Final = (
    ("Content-Type", "text/javascript; charset=UTF-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
)
#: The function's number: what else stands there could be a program.
_INDEX: Final = re.compile(r"[0-9]{1,9}")
#: Clients write a line break as backslash and "n", and double the backslash where these two have stood.
_ESCAPED: Final = re.compile(r"\\{1,2}n")


class JSONP(PollTransport):
    """Long-polling by script elements and forms."""

    name: ClassVar[str] = "jsonp"
    pages_only: ClassVar[bool] = True
    # The official clients call it polling, with the function's number in the query.
    variant_of: ClassVar[tuple[str, str] | None] = ("polling", "j")
    # Forms write a byte as "%E3".
    expansion: ClassVar[int] = 3

    def respond(self, request: Request, payload: str) -> Response:  # noqa: D102
        index = request.query.get("j", "0")
        if _INDEX.fullmatch(index) is None:
            context = {"name": "BAD_CALLBACK", "j": index[:40]}
            raise RequestRefused(*BAD_REQUEST, f"j is the number of a function, not {index[:40]!r}", context)
        return Response(200, _HEADERS, f"___eio[{index}]({script_string(payload)});".encode("utf-8", "replace"))

    def unpack(self, request: Request, body: bytes) -> str:  # noqa: D102
        # The one field of a form. A payload may have a million of escapes, and a parser of forms would copy it often.
        if not body.startswith(b"d="):
            raise RemoteProtocolError("the form has no field d", rule=_RULE)
        try:
            value = unquote_to_bytes(body[2:].partition(b"&")[0].replace(b"+", b" ")).decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("a payload is not UTF-8", rule=_RULE) from None
        if "\\n" not in value:
            return value
        return _ESCAPED.sub(lambda found: "\n" if len(found[0]) == 2 else "\\n", value)

    def reader(self, request: Request) -> str | None:
        """Who loads the script: as the browser tells, or "" where one that could tell doesn't.

        Without `Origin`, `Sec-Fetch-Site` and `Referer`, only a request that has cookies is a browser's for sure; one
        without them has no more rights than any other program.
        """
        origin = request.header("origin")
        if origin is not None:
            return origin
        site = request.header("sec-fetch-site")
        if site in ("same-origin", "none"):
            return None
        referer = request.header("referer")
        if referer:
            try:
                parts = urlsplit(referer)
            except ValueError:
                return ""
            return f"{parts.scheme}://{parts.netloc}"
        return None if site is None and request.header("cookie") is None else ""


TRANSPORT: Final = JSONP()
