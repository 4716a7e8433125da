"""A link on which somebody knocks: its request doesn't say who comes, the first frame does.

Source: Engine.IO protocol 4, "WebTransport".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from madang.core.wheel import Timed
from madang.errors import BAD_REQUEST, RemoteProtocolError, RequestRefused
from madang.packet import Frame
from madang.transports import Duplex, LinkTransport, Request

if TYPE_CHECKING:
    from madang.core.engine import Engine

__all__ = ["Knock"]


class Knock(Timed):
    """The receiver of such a link, until the first frame has come, or `upgrade_timeout_seconds` are over."""

    __slots__ = ("_duplex", "_engine", "_request", "_transport")

    def __init__(self, engine: Engine, request: Request, transport: LinkTransport, duplex: Duplex) -> None:
        super().__init__()
        self._engine = engine
        self._request = request
        self._transport = transport
        self._duplex: Duplex | None = duplex  # None once nobody waits: the wheel keeps us until we would be due
        self.due = engine.clock() + engine.config.upgrade_timeout_seconds
        engine.wheel.add(self)
        duplex.bind(self)

    def receive(self, frame: Frame) -> None:
        """The first frame came."""
        duplex = self._end()
        if duplex is not None:
            self._engine.let_in(self._request, self._transport, duplex, frame)

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule of the link."""
        self._refuse(str(error), error.close_code)

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone."""
        self._end()

    def expire(self, now: float) -> None:
        """Nothing came in time."""
        limit = self._engine.config.upgrade_timeout_seconds
        self._refuse(f"no first packet came; upgrade_timeout_seconds is {limit:g}", 1008)

    def pause(self) -> None:
        """Nothing is written that could fill the link."""

    def resume(self) -> None:
        """Nothing waits."""

    def _refuse(self, detail: str, code: int) -> None:
        duplex = self._end()
        if duplex is not None:
            self._engine.refused(self._request, RequestRefused(*BAD_REQUEST, detail))
            duplex.close(code, BAD_REQUEST[1])

    def _end(self) -> Duplex | None:
        """Nobody waits any longer; gives the link, if somebody did."""
        duplex, self._duplex = self._duplex, None
        self.due = 0.0
        return duplex
