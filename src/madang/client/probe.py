"""A link on trial, beside the requests that carry the connection.

Source: Engine.IO protocol 4, "upgrade".
"""

from __future__ import annotations

import asyncio

from madang.errors import ConnectError, RemoteProtocolError
from madang.packet import PONG, Frame, Packet
from madang.parsers import Parser
from madang.transports import Duplex
from madang.wire import Wire

__all__ = ["Probe"]


class Probe:
    """The receiver of a link on trial: waits for the answer to the probe.

    Args:
        loop: the running loop.
        wire: the protocol generation.
        parser: how packets are written.

    Attributes:
        answer: done when the server has answered; else it tells what went wrong.
        gone: whether the link can't be used any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wire: Wire, parser: Parser) -> None:
        self.answer: asyncio.Future[None] = loop.create_future()
        self.gone = False
        self._expected = wire.encode(Packet(PONG, "probe"), parser)[0]

    def receive(self, frame: Frame) -> None:
        """A frame came: the answer, or no answer."""
        if self.answer.done():
            return
        if frame == self._expected:
            self.answer.set_result(None)
        else:
            self._fail(ConnectError(f"the probe was answered with {frame[:80]!r}"))

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The server broke a rule of the link."""
        self._fail(error)

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone."""
        self._fail(ConnectError("the link was closed while it was probed"))

    def _fail(self, error: Exception) -> None:
        self.gone = True
        if not self.answer.done():
            self.answer.set_exception(error)

    def pause(self) -> None:
        """So little is written that it does not matter."""

    def resume(self) -> None:
        """The same."""
