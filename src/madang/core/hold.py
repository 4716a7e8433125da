"""Back-pressure: a client whose handlers can't follow it isn't read, until some of them have ended.

A client that sends faster than its handlers run must not pile up work here. Nothing of it is thrown away: its events
wait where they come from, because its link is not read and its POST is not answered. Others are not held up.

What was read already waits here. Acknowledgements and pongs pass it: handlers may be waiting for just these. And while
the client owes an answer, reading goes on, up to `max_buffered_bytes`, because the answer may stand behind events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from madang.packet import CLOSE, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, MESSAGE, Frame, Packet
from madang.wire import Decoder

if TYPE_CHECKING:
    from madang.core.session import Session

__all__ = ["Hold"]

#: How many packets are taken before other clients get their turn.
_PACKETS_PER_TURN: Final = 512
#: What a packet takes besides its text: else the smallest ones would take many times of what they count.
_BYTES_PER_PACKET: Final = 400
#: What keeps its order: all that handlers can tell, and the good-bye.
_IN_ORDER: Final = frozenset({CONNECT, DISCONNECT, EVENT, CONNECT_ERROR, MESSAGE, CLOSE})


class Hold(Decoder):
    """Stands in place of the decoder of a session that is held.

    Args:
        session: whose decoder it replaces until it ends.

    Attributes:
        decoder: that decoder.
        reading: whether the client is read all the same, for the answers that it owes.
        work: what to call once there is room: the rest of a POST.
    """

    __slots__ = ("_begun", "_packets", "_session", "_size", "decoder", "reading", "work")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.decoder: Decoder = session._decoder
        self._packets: deque[tuple[Packet, int]] = deque()
        self._size = 0  # of all that waits
        self._begun = 0  # of the packet that isn't whole yet
        self.reading = True
        self.work: Callable[[], None] | None = None

    def feed(self, frame: Frame) -> Packet | None:
        """Take a frame; gives only what may pass what waits."""
        packet = self.decoder.feed(frame)
        size = self._begun + len(frame)
        self._begun = 0 if packet is not None else size
        if packet is not None and packet.kind in _IN_ORDER:
            size += _BYTES_PER_PACKET
            self._packets.append((packet, size))
            self._size += size
            packet = None
        self.regulate()
        return packet

    def regulate(self) -> None:
        """Read the client only while it owes an answer, and not too much has come before that."""
        session = self._session
        reading = session.owes and self._size < session._engine.config.max_buffered_bytes
        if reading == self.reading:
            return
        self.reading = reading
        duplex = session._duplex
        if not reading:
            if duplex is not None:
                duplex.pause_reading()
            return
        self.go_on()
        if duplex is not None:
            duplex.resume_reading()

    def go_on(self) -> None:
        """Go on with the POST that had to wait."""
        work, self.work = self.work, None
        if work is not None:
            work()

    def catch_up(self) -> None:
        """Take what waits, as far as there is room for it; if there is for all, the hold is over."""
        session = self._session
        if session._hold is not self:
            return
        for _ in range(min(len(self._packets), _PACKETS_PER_TURN)):
            if session.overloaded:
                self.regulate()  # what was taken may have made room for an answer that is owed
                return
            packet, size = self._packets.popleft()
            self._size -= size
            session.take(packet)
            if session._hold is not self:
                return
        if self._packets:
            session._engine.call_soon(self.catch_up)
        else:
            session.end_hold()
