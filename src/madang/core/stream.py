"""An open response as a link of its session: what goes out is written to it, what comes in comes by POST.

A response can't stay open for ever: browsers keep all of some, proxies end others. So it may end in good order at any
time, behind a NOOP packet, and the client asks for the next one. What happens between the two waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from madang.errors import Reason
from madang.packet import CLOSE, NOOP, Encoded, Packet
from madang.transports import Duplex, Exchange, Receiver, Request, StreamTransport

if TYPE_CHECKING:
    from madang.core.engine import Engine
    from madang.core.session import Session

__all__ = ["Stream"]

_CLOSE_PACKET: Final = Packet(CLOSE)
_NOOP_PACKET: Final = Packet(NOOP)
_NOBODY_READS: Final = (Reason.SLOW_CONSUMER, Reason.PING_TIMEOUT)


class Stream(Duplex):
    """The open response to a GET of a session.

    Args:
        engine: the engine, which counts it with the polls that wait.
        session: whose it is.
        transport: how packets become parts of it.
        exchange: the response.

    Raises:
        RequestRefused: too many responses are open in this process.
    """

    __slots__ = ("_engine", "_exchange", "_full", "_open", "_receiver", "_room", "_session", "_transport", "ends")

    def __init__(self, engine: Engine, session: Session, transport: StreamTransport, exchange: Exchange) -> None:
        self._engine = engine
        self._session = session
        self._transport = transport
        self._exchange = exchange
        self._receiver: Receiver | None = None
        self._full = False
        self._open = False
        self._room = engine.config.max_stream_bytes
        #: Whether it ends in good order, so that the client asks for the next one.
        self.ends = transport.resumes

    def open(self, request: Request, *, initial: bool = False) -> None:
        """Send the head. `initial` says whether it is the first response of the session."""
        self._engine.park()
        self._open = True
        session = self._session
        opens = session.id if initial else None
        self._engine.responses.open(request, self._exchange, self._transport, self, session.wire, opens)

    def uses(self, exchange: Exchange) -> bool:
        """Whether this is the open response."""
        return exchange is self._exchange

    # The port

    def bind(self, receiver: Receiver) -> None:  # noqa: D102
        self._receiver = receiver

    def write(self, encoded: Encoded) -> None:  # noqa: D102
        if not self._open:
            return
        data = encoded.form(self._transport, self._part)
        self._exchange.write(data)
        self._room -= len(data)
        if self._room <= 0 and self.ends:
            self._session.end_stream(self)
        elif self._full and self._receiver is not None:
            self._receiver.pause()

    def _part(self, encoded: Encoded) -> bytes:
        transport = self._transport
        if transport.binary:
            return b"".join([transport.chunk(frame) for frame in encoded.frames])
        return transport.chunk(self._session.wire.join(encoded.frames))

    def flush(self) -> None:  # noqa: D102
        self._exchange.flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say that the session is over, and end the response; or break the connection, if nobody reads it."""
        self._finish(_CLOSE_PACKET, cut=reason in _NOBODY_READS)

    def suspend(self) -> None:
        """Say that there is more to come in another response, and end this one."""
        self._finish(_NOOP_PACKET)

    def _finish(self, farewell: Packet, *, cut: bool = False) -> None:
        if not self._open:
            return
        self._receiver = None
        self._room = self._engine.config.max_stream_bytes  # no more of it ends the stream: it ends
        session = self._session
        frames = session.wire.encode(farewell, session.parser)
        if frames:
            self.write(Encoded(frames))
        self._open = False
        self._exchange.end(cut=cut)
        self._engine.unpark()

    def pause_reading(self) -> None:
        """What comes by POST is held back by not answering the POST."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    # The connection

    def pause(self) -> None:
        """The client reads too slowly."""
        self._full = True
        if self._receiver is not None:
            self._receiver.pause()

    def resume(self) -> None:
        """It has caught up."""
        self._full = False
        if self._receiver is not None:
            self._receiver.resume()

    def gone(self) -> None:
        """The connection broke: what was written last may be lost, so the session is."""
        if not self._open:
            return
        self._open = False
        self._engine.unpark()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self, Reason.TRANSPORT_CLOSE)
