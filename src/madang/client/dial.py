"""How a connection is made: the port behind which a client finds the network, or something that stands in for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from madang.errors import ConnectError
from madang.transports import Duplex

__all__ = ["Dialer", "Incoming", "Reply", "words_of"]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to an HTTP request.

    Attributes:
        status: the HTTP status.
        body: the whole body, unpacked.
    """

    status: int
    body: bytes


class Incoming(ABC):
    """The answer to an HTTP request that is read while it comes. What isn't read, the server has to wait with.

    Attributes:
        status: the HTTP status.
        content_type: what the server calls it, or "".
    """

    __slots__ = ("content_type", "status")

    status: int
    content_type: str

    @abstractmethod
    async def read(self) -> bytes:
        """What has come, as soon as there is something; nothing at the end.

        Raises:
            ConnectError: the connection broke, or the answer can't be read.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of it: of its connection too, unless it has ended. Does nothing the second time."""


class Dialer(ABC):
    """Port: makes requests and links to one server.

    The real one goes over the network; `madang.testing` has one that goes straight to a server in the same process.
    """

    __slots__ = ()

    @abstractmethod
    async def get(self, target: str, headers: Mapping[str, str]) -> Reply:
        """Send a GET request, and wait for the whole answer, for as long as it takes.

        Args:
            target: path and query.
            headers: what to add to the headers.

        Raises:
            ConnectError: no answer could be had, or it is too large.
        """

    @abstractmethod
    async def stream(self, target: str, headers: Mapping[str, str]) -> Incoming:
        """Send a GET request, and read the answer while it comes. Close it in the end.

        Raises:
            ConnectError: no answer could be had.
        """

    @abstractmethod
    async def post(self, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send a POST request, and wait for the whole answer.

        Raises:
            ConnectError: no answer could be had, or it is too large.
        """

    @abstractmethod
    async def open(self, target: str, headers: Mapping[str, str]) -> Duplex:
        """Open a WebSocket. What comes is kept until `bind` tells whom the link belongs to.

        Once we have closed the link, its receiver is told by `lost` when it is gone.

        Raises:
            ConnectError: the server can't be reached, or opens none.
        """

    async def knock(self, path: str, headers: Mapping[str, str]) -> Duplex:
        """Open a session of WebTransport, on which it is still to be said who comes. Otherwise as `open`.

        Args:
            path: the path, which has no query.
            headers: what to add to the headers.

        Raises:
            ConnectError: the server can't be reached, or opens none; or there is no such way.
        """
        raise ConnectError("there is no WebTransport here")

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections that are kept for the next request. The dialer may be used again."""


def words_of(body: bytes) -> str:
    """What a server says in place of an answer, fit for a message: short, in one line, without control characters.

    Example:
        >>> words_of(b"no such page" + bytes([10]))
        'no such page'
    """
    said = body[:200].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in said).strip()
