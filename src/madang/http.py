"""What transports carry over HTTP: the head of a request, and a whole response.

Faces make the one from what they have read, and write the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote_plus

__all__ = ["Headers", "Request", "Response", "header_block"]

#: How the headers that each request is asked for begin in the block.
_NEEDLES: Final = {
    name: b"\r\n%b:" % name.encode()
    for name in ("accept-encoding", "content-length", "content-type", "cookie", "host", "origin", "referer")
}

#: What may stand in a path as it is (RFC 3986, 3.3), and what is left as it is in a query, which isn't decoded.
_PATH: Final = "/:@!$&'()*+,;="
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))

Headers = Sequence[tuple[str, str]]


class Request:
    """The head of one HTTP request, as a face saw it. Not changed once it is made.

    Args:
        headers: pairs of name and value, or the `block` of another request.
        own: name and value of the one header that is not among `headers`, where those are of other requests too.
        known: what was found in the same headers before; requests that have the same may share it.

    Attributes:
        method: "GET", "POST", ...
        path: the decoded path.
        query_string: what stands behind the question mark, undecoded.
        address: the client's address, or "" where the face doesn't know it.
        secure: whether it came over TLS, at us or at the proxy before us.
        received: when, in seconds since the epoch.
        root_path: where the application is mounted, or "".
        route: where who reads a request keeps what it is for, so that it is read once.
        told: where who tells others of it keeps what is told, so that it is written once.
    """

    __slots__ = (
        "_block",
        "_known",
        "_own",
        "_query",
        "address",
        "method",
        "path",
        "query_string",
        "received",
        "root_path",
        "route",
        "secure",
        "told",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query_string: str,
        headers: Iterable[tuple[bytes, bytes]] | bytes,
        *,
        address: str = "",
        secure: bool = False,
        received: float = 0.0,
        root_path: str = "",
        own: tuple[str, str] | None = None,
        known: dict[str, str | None] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        # One block of bytes takes a fraction of the memory of a dict, for as long as the client stays, and a single
        # header is found in it faster than a dict is made.
        self._block = headers if isinstance(headers, bytes) else header_block(headers)
        self._own = own
        self._known = known
        self.address = address
        self.secure = secure
        self.received = received
        self.root_path = root_path
        self.route: Any = None
        self.told: Any = None
        self._query: dict[str, str] | None = None

    @property
    def block(self) -> bytes:
        """All headers, of which the same request can be made again, in place of `headers`."""
        own = self._own
        return self._block if own is None else b"%b%b:%b\r\n" % (self._block, own[0].encode(), own[1].encode("latin-1"))

    @property
    def length(self) -> int | None:
        """How many bytes its body has, as the client has told; None where it told nothing, or no number."""
        told = self.header("content-length") or ""
        return int(told[:15]) if told.isascii() and told.isdigit() else None

    @property
    def query(self) -> dict[str, str]:
        """The query's fields; of one that comes twice, the first."""
        query = self._query
        if query is None:
            query = {}
            text = self.query_string
            quoted = "%" in text or "+" in text
            for part in text.split("&"):
                name, _, value = part.partition("=")
                if quoted:
                    name, value = unquote_plus(name), unquote_plus(value)
                if name and name not in query:
                    query[name] = value
            self._query = query
        return query

    def header(self, name: str) -> str | None:
        """One header, by its name in lower case; of one that comes twice, the first."""
        own = self._own
        if own is not None and own[0] == name:
            return own[1]
        known = self._known
        if known is not None and name in known:
            return known[name]
        value = self._find(name)
        if known is not None:
            known[name] = value
        return value

    def _find(self, name: str) -> str | None:
        needle = _NEEDLES.get(name) or b"\r\n%b:" % name.encode("latin-1")
        block = self._block
        start = block.find(needle)
        if start < 0:
            return None
        start += len(needle)
        return block[start : block.index(b"\r\n", start)].decode("latin-1").strip()

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; of one that comes twice, the values joined (RFC 9110, 5.3)."""
        lines = [line.partition(":") for line in self.block.decode("latin-1").split("\r\n") if line]
        headers = {name: value.strip() for name, colon, value in lines if colon}
        if len(headers) < len(lines):  # one comes twice
            headers.clear()
            for name, colon, value in lines:
                if colon:
                    joint = "; " if name == "cookie" else ", "
                    headers[name] = headers[name] + joint + value.strip() if name in headers else value.strip()
        return headers

    def compact(self) -> None:
        """Let go of what can be made again, because the request is kept for as long as the client stays."""
        self._query = self.route = None

    @property
    def url(self) -> str:
        """Path and query, as the client asked for them, or could have: without spaces and control characters."""
        path = quote(self.path, safe=_PATH)
        return f"{path}?{quote(self.query_string, safe=_VISIBLE)}" if self.query_string else path

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url} from {self.address or 'unknown'})"


def header_block(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as one block of bytes, in which single ones are found."""
    return b"\r\n%b\r\n" % b"\r\n".join([name.lower() + b":" + value for name, value in pairs])


class Response:
    """What to answer to a request: status, headers and a whole body.

    Args:
        status: the status code.
        fields: the headers; a tuple, where the same are sent with many responses, so that a face may keep their bytes.
        body: the body.
        sized: whether `Content-Length` is still to be added: the length of the body.

    Attributes:
        status: as given.
        fields: as given.
        body: as given.
        sized: as given.
    """

    __slots__ = ("body", "fields", "sized", "status")

    def __init__(self, status: int, fields: Headers, body: bytes, *, sized: bool = False) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.sized = sized

    @property
    def headers(self) -> Headers:
        """All headers."""
        return [*self.fields, ("Content-Length", str(len(self.body)))] if self.sized else self.fields
