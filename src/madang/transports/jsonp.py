"""JSONP polling: payloads come as scripts that call a function of the page, and go by the form of a hidden frame.

For browsers and pages that can do nothing else: a script may be of any origin, and needs no answer to the question
whether it may. For the same reason we ask who loads it: see `JSONP.reader`.

Source: Engine.IO protocol 3, "JSONP polling"; engine.io-client 1.x to 5.x, `polling-jsonp`.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import urlsplit

from madang.errors import BAD_REQUEST, RemoteProtocolError, RequestRefused
from madang.transports import PollTransport, Request, Response, script_string

__all__ = ["JSONP", "TRANSPORT", "form_limit", "form_text"]

_RULE: Final = "Engine.IO protocol 3, JSONP polling"
# "nosniff": nobody shall make anything else than a script of it; a file to download, for instance.
_HEADERS: Final = (
    ("Content-Type", "text/javascript; charset=UTF-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
)
#: The function's number: what else stands there could be a program.
_INDEX: Final = re.compile(r"[0-9]{1,9}")
#: Half of a character, which no decoded text has.
_NOT_TEXT: Final = "\udc00"
#: How all browsers begin to say who they are.
_BROWSERS: Final = ("Mozilla/", "Opera/")


class JSONP(PollTransport):
    """Long-polling by script elements and forms."""

    name: ClassVar[str] = "jsonp"
    pages_only: ClassVar[bool] = True
    text_only: ClassVar[bool] = True
    # The official clients call it polling, with the function's number in the query.
    variant_of: ClassVar[tuple[str, str] | None] = ("polling", "j")

    def check(self, request: Request) -> None:  # noqa: D102
        index = request.query.get("j", "0")
        if _INDEX.fullmatch(index) is None:
            context = {"name": "BAD_CALLBACK", "j": index[:40]}
            raise RequestRefused(*BAD_REQUEST, f"j is the number of a function, not {index[:40]!r}", context)

    def respond(self, request: Request, payload: str | bytes) -> Response:  # noqa: D102
        assert isinstance(payload, str)  # it is `text_only`  # noqa: S101
        index = int(request.query.get("j", "0"))
        return Response(200, _HEADERS, f"___eio[{index}]({script_string(payload)});".encode("utf-8", "replace"))

    def body_limit(self, max_payload_bytes: int) -> int:  # noqa: D102
        return form_limit(max_payload_bytes)

    def unpack(self, request: Request, body: bytes) -> str:  # noqa: D102
        text = form_text(body)
        # Clients write a line break as backslash and "n", and double the backslash where these two have stood.
        if "\\n" not in text:
            return text
        return text.replace("\\\\n", _NOT_TEXT).replace("\\n", "\n").replace(_NOT_TEXT, "\\n")

    def reader(self, request: Request) -> str | None:
        """Who loads the script: as the browser tells, or "" where one that could tell doesn't.

        A page can keep a browser from sending `Origin` and `Referer`, and `Sec-Fetch-Site` isn't sent to hosts without
        TLS. A request without all three is a browser's if it has cookies, or calls itself one; any other program may
        load what it likes.
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
        if site is None and request.header("cookie") is None:
            return "" if (request.header("user-agent") or "").startswith(_BROWSERS) else None
        return ""


def form_limit(max_payload_bytes: int, field: str = "d") -> int:
    """How many bytes a form may have whose one field holds so many: it writes a byte as "%E3"."""
    return len(field) + len("=") + len("%E3") * max_payload_bytes


def form_text(body: bytes, field: str = "d") -> str:
    """Read a field of a form, which must be its first.

    Args:
        body: the form.
        field: the name of the field, of letters and digits.

    Raises:
        RemoteProtocolError: there is none, or it is no text.

    Example:
        >>> form_text(b"d=%ED%95%9C+2")
        '한 2'
    """
    start = field.encode() + b"="
    if not body.startswith(start):
        raise RemoteProtocolError(f"the form has no field {field}", rule=_RULE)
    # A payload may have a million of escapes, of both kinds. So none is looked at by itself: "%41" is made "\\x41",
    # which Python has a decoder for.
    value = body[len(start) :].partition(b"&")[0].replace(b"\\", b"\\\\").replace(b"+", b" ").replace(b"%", b"\\x")
    try:
        return value.decode("unicode_escape").encode("latin-1").decode()
    except UnicodeDecodeError as error:
        what = "the form has a broken escape" if error.encoding == "unicodeescape" else "a payload is not UTF-8"
        raise RemoteProtocolError(what, rule=_RULE) from None


TRANSPORT: Final = JSONP()
