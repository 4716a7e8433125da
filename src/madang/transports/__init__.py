"""Transports: what carries it. One file is one transport, without state.

A transport puts a payload into an HTTP body, or a frame into a message of a link, and says how its kind of response
behaves. It knows nothing of packets. A transport module exports `TRANSPORT`; third parties use the entry-point
group `madang.transports`.

The two ports through which the world is reached are here too: `Exchange`, one live HTTP response, and `Duplex`, one
live message link. A face implements them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol
from urllib.parse import parse_qsl

from madang import registry
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
        "_headers",
        "_query",
        "_raw",
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
        raw_headers: Sequence[tuple[bytes, bytes]] | bytes,
        *,
        address: str = "",
        secure: bool = False,
        received: float = 0.0,
        root_path: str = "",
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        # Pairs, or one block of lines "name: value": the fast face keeps the block, which takes less memory.
        self._raw = raw_headers
        self.address = address
        self.secure = secure
        self.received = received
        self.root_path = root_path
        self._headers: dict[str, str] | None = None
        self._query: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """The query's fields; of one that comes twice, the first."""
        if self._query is None:
            query: dict[str, str] = {}
            for name, value in parse_qsl(self.query_string, keep_blank_values=True, max_num_fields=None):
                query.setdefault(name, value)
            self._query = query
        return self._query

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; of one that comes twice, the values joined (RFC 9110, 5.3)."""
        if self._headers is None:
            headers: dict[str, str] = {}
            for name, value in self._pairs():
                known = headers.get(name)
                if known is not None:
                    value = known + ("; " if name == "cookie" else ", ") + value
                headers[name] = value
            self._headers = headers
        return self._headers

    def _pairs(self) -> list[tuple[str, str]]:
        raw = self._raw
        if isinstance(raw, bytes):
            lines = raw.decode("latin-1").split("\r\n")
            split = (line.partition(":") for line in lines if line)
            return [(name.strip().lower(), value.strip()) for name, _, value in split]
        return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    @property
    def url(self) -> str:
        """Path and query, as the client asked for them."""
        return f"{self.path}?{self.query_string}" if self.query_string else self.path

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

    @abstractmethod
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then close. Does nothing when it is closed."""


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
