"""A better transport on trial, beside the one that a session uses.

Source: Engine.IO protocol 4, "upgrade".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from madang.errors import Reason, RemoteProtocolError
from madang.packet import PING, PONG, UPGRADE, Encoded, Frame, Packet
from madang.transports import Duplex, Transport

if TYPE_CHECKING:
    from madang.core.session import Session

__all__ = ["Probe"]


class Probe:
    """A better transport on trial: takes the link's frames until the client decides to move.

    Source: Engine.IO protocol 4, "upgrade".
    """

    __slots__ = ("_decoder", "_session", "answered", "duplex", "transport")

    def __init__(self, session: Session, transport: Transport, duplex: Duplex) -> None:
        self._session = session
        self._decoder = session.wire.decoder(session.parser, session._engine.config, session.request)
        self.transport = transport
        self.duplex = duplex
        #: Whether the client's ping was answered, so that its poll should be let go.
        self.answered = False

    def receive(self, frame: Frame) -> None:
        """A frame came over the link on trial."""
        session = self._session
        if session._probe is not self:
            return
        try:
            packet = self._decoder.feed(frame)
        except RemoteProtocolError as error:
            self.fail(error, Reason.PARSE_ERROR)
            return
        if packet is not None and packet.kind == PING and packet.data == "probe":
            self.duplex.write(Encoded(session.wire.encode(Packet(PONG, "probe"), session.parser)))
            self.answered = True
            session._release_poll()
        elif packet is not None and packet.kind == UPGRADE:
            session._upgraded(self)
        else:
            session._end_probe()
            self.duplex.close(1002, "bad probe")

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule on the link on trial, which costs it the link only."""
        session = self._session
        if session._probe is self:
            session._engine.on_violation(session, error)
            session._end_probe()
            self.duplex.close(error.close_code, "bad probe")

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link on trial is gone; the session goes on as it was."""
        if self._session._probe is self:
            self._session._end_probe()

    def pause(self) -> None:
        """A probe is too small to fill a link."""

    def resume(self) -> None:
        """Nothing waits."""
