"""Transports: what carries it. One file is one transport, without state.

A transport puts a payload into an HTTP body, or a frame into a message of a link, and says how its kind of response
behaves. It knows nothing of packets. A transport module exports `TRANSPORT`; third parties use the entry-point
group `madang.transports`.

The two ports through which the world is reached are here too: `Exchange`, one live HTTP response, and `Duplex`, one
live message link. A face implements them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Protocol
from urllib.parse import quote, unquote_plus

from madang import registry
from madang.errors import RemoteProtocolError
from madang.packet import Encoded, Frame

__all__ = [
    "Duplex",
    "Exchange",
    "HttpTransport",
    "LinkTransport",
    "Receiver",
    "Request",
    "Response",
    "Transport",
    "load",
]

#: How the headers that each request is asked for begin in the block.
_NEEDLES: Final = {
    name: b"\r\n%b:" % name.encode() for name in ("accept-encoding", "content-length", "content-type", "host", "origin")
}

#: What may stand in a path as it is (RFC 3986, 3.3), and what is left as it is in a query, which isn't decoded.
_PATH: Final = "/:@!$&'()*+,;="
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))

Headers = Sequence[tuple[str, str]]


class Request:
    """The head of one HTTP request, as a face saw it. Not changed once it is made.

    Attributes:
        method: "GET", "POST", ...
        path: the decoded path.
        query_string: what stands behind the question mark, undecoded.
        address: the client's address, or "" where the face doesn't know it.
        secure: whether it came over TLS, at us or at the proxy before us.
        received: when, in seconds since the epoch.
        root_path: where the application is mounted, or "".
    """

    __slots__ = (
        "_block",
        "_query",
        "address",
        "method",
        "path",
        "query_string",
        "received",
        "root_path",
        "secure",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query_string: str,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        address: str = "",
        secure: bool = False,
        received: float = 0.0,
        root_path: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        # One block of bytes takes a fraction of the memory of a dict, for as long as the client stays, and a single
        # header is found in it faster than a dict is made.
        self._block = b"\r\n%b\r\n" % b"\r\n".join([name.lower() + b":" + value for name, value in headers])
        self.address = address
        self.secure = secure
        self.received = received
        self.root_path = root_path
        self._query: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """The query's fields; of one that comes twice, the first."""
        query = self._query
        if query is None:
            query = {}
            for part in self.query_string.split("&"):
                name, _, value = part.partition("=")
                if "%" in part or "+" in part:
                    name, value = unquote_plus(name), unquote_plus(value)
                if name:
                    query.setdefault(name, value)
            self._query = query
        return query

    def header(self, name: str) -> str | None:
        """One header, by its name in lower case; of one that comes twice, the first."""
        needle = _NEEDLES.get(name) or b"\r\n%b:" % name.encode("latin-1")
        start = self._block.find(needle)
        if start < 0:
            return None
        start += len(needle)
        return self._block[start : self._block.index(b"\r\n", start)].decode("latin-1").strip()

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; of one that comes twice, the values joined (RFC 9110, 5.3)."""
        headers: dict[str, str] = {}
        for line in self._block.decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                known = headers.get(name)
                value = value.strip()
                headers[name] = value if known is None else known + ("; " if name == "cookie" else ", ") + value
        return headers

    def compact(self) -> None:
        """Let go of what can be made again, because the request is kept for as long as the client stays."""
        self._query = None

    @property
    def url(self) -> str:
        """Path and query, as the client asked for them, or could have: without spaces and control characters."""
        path = quote(self.path, safe=_PATH)
        return f"{path}?{quote(self.query_string, safe=_VISIBLE)}" if self.query_string else path

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url} from {self.address or 'unknown'})"


class Response:
    """What to answer to a request: status, headers and a whole body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Exchange(ABC):
    """Port: one live HTTP response, implemented by a face."""

    __slots__ = ()

    @abstractmethod
    def respond(self, response: Response) -> None:
        """Send the whole response. Called at most once; does nothing when the client is gone."""


class Receiver(Protocol):
    """Whom a link belongs to: a session, or an upgrade on trial."""

    def receive(self, frame: Frame) -> None:
        """A frame came."""

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule of the link, which ends for one of the reasons in `Reason`."""

    def pause(self) -> None:
        """The link is full."""

    def resume(self) -> None:
        """The link can be written to again."""

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone, for one of the reasons in `Reason`."""


class Duplex(ABC):
    """Port: one live message link, such as a WebSocket, implemented by a face."""

    __slots__ = ()

    @abstractmethod
    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on."""

    @abstractmethod
    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet, now or at the end of this turn of the event loop."""

    def flush(self) -> None:  # noqa: B027 (most links put nothing off)
        """Send now what was put off to the end of this turn of the event loop; nothing, where that can't be."""

    @abstractmethod
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then close. Does nothing when it is closed."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Read nothing more from the client, so that it has to wait. What was read already still comes."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Read again."""


class Transport(ABC):
    """A way to carry payloads."""

    #: The name in the query: `?transport=...`.
    name: ClassVar[str]
    #: Better transports that a client may move to.
    upgrades: ClassVar[tuple[str, ...]] = ()


class LinkTransport(Transport):
    """A transport whose frames are messages of a `Duplex`."""


class HttpTransport(Transport):
    """A transport whose payloads are bodies of HTTP requests and responses."""

    @abstractmethod
    def respond(self, request: Request, payload: str) -> Response:
        """Put a payload for the client into the response to its poll."""

    @abstractmethod
    def unpack(self, request: Request, body: bytes) -> str:
        """Take the payload out of the body that a client has posted.

        Raises:
            RemoteProtocolError: it isn't one.
        """

    @abstractmethod
    def accepted(self, request: Request) -> Response:
        """The answer to a POST whose payload was taken."""


def load(name: str) -> Transport:
    """Find a transport by its name.

    Raises:
        ConfigError: there is none.
    """
    return registry.load("transports", name, "TRANSPORT", Transport)
