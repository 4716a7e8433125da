"""The port to the sessions of other servers: a request that concerns one of them is handed over to its server."""

from __future__ import annotations

from abc import ABC, abstractmethod

from madang.packet import Frame
from madang.transports import Duplex, Exchange, Request

__all__ = ["Elsewhere"]


class Elsewhere(ABC):
    """Port: the other servers of a cluster. Which of them has a session is told by how its id begins."""

    __slots__ = ()

    @abstractmethod
    def has(self, sid: str) -> bool:
        """Whether an id is that of a session that another server may have, one that is there."""

    @abstractmethod
    def ask(self, sid: str, request: Request, exchange: Exchange, body: bytes | None = None) -> None:
        """Hand over a request. What its server answers comes out of the exchange.

        Args:
            sid: the session.
            request: the request.
            exchange: its response.
            body: the body of a POST.
        """

    @abstractmethod
    def open(self, sid: str, request: Request, duplex: Duplex, *, knocks: str = "", frame: Frame | None = None) -> None:
        """Hand over a link that is open.

        Args:
            sid: the session.
            request: what has opened it.
            duplex: the link.
            knocks: the transport, if its clients say in their first frame who they are.
            frame: that frame.
        """

    @abstractmethod
    def abandon(self, exchange: Exchange) -> None:
        """The connection of a request that was handed over broke."""

    @abstractmethod
    def abort(self, sid: str, request: Request) -> None:
        """The connection of a POST for one of these sessions broke before its body was whole."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all without a word: the event loop is gone, and the connections with it."""

    @abstractmethod
    def leave(self) -> None:
        """We are about to go: let clients of others come by another way, from now on and at once."""

    @abstractmethod
    def stay(self) -> None:
        """We don't go after all."""
