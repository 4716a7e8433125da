"""Links that carry something else than frames: between them and the session, it is made of frames, and frames of it.

One carries text only, so that bytes are written as text. Another one carries payloads, as the body of a request does.
The wire knows how that looks; the session and the link need not know of each other's ways. What goes to many is made
once for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from madang.errors import Reason, RemoteProtocolError
from madang.packet import Encoded, Frame
from madang.transports import Duplex, Receiver

if TYPE_CHECKING:
    from madang.config import Config
    from madang.wire import Wire

__all__ = ["PayloadLink", "TextualLink"]

#: Under what a packet keeps its form for such links.
_FORM: Final = "text"
_PAYLOAD: Final = "payload"


class TextualLink(Duplex):
    """Stands before a link that carries text only.

    Args:
        duplex: the link.
        wire: the generation that its client speaks, which knows how bytes are written as text.
    """

    __slots__ = ("_duplex", "_receiver", "_wire")

    def __init__(self, duplex: Duplex, wire: Wire) -> None:
        self._duplex = duplex
        self._wire = wire
        self._receiver: Receiver | None = None

    # For the session

    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on."""
        self._receiver = receiver
        self._duplex.bind(self)

    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet, bytes as text."""
        for frame in encoded.frames:
            if not isinstance(frame, str):
                encoded = encoded.form(_FORM, self._text_of)
                break
        self._duplex.write(encoded)

    def flush(self) -> None:
        """Send now what was put off."""
        self._duplex.flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then close."""
        self._duplex.close(code, reason)

    def pause_reading(self) -> None:
        """Read nothing more from the client."""
        self._duplex.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._duplex.resume_reading()

    def _text_of(self, encoded: Encoded) -> Encoded:
        return Encoded(tuple([self._wire.as_text(frame) for frame in encoded.frames]), encoded.compress)

    # For the link

    def receive(self, frame: Frame) -> None:
        """A frame came."""
        receiver = self._receiver
        if receiver is None:
            return
        if isinstance(frame, str):
            try:
                frame = self._wire.from_text(frame)
            except RemoteProtocolError as error:
                receiver.fail(error, Reason.PARSE_ERROR)
                return
        receiver.receive(frame)

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule of the link."""
        if self._receiver is not None:
            self._receiver.fail(error, reason)

    def pause(self) -> None:
        """The link is full."""
        if self._receiver is not None:
            self._receiver.pause()

    def resume(self) -> None:
        """The link can be written to again."""
        if self._receiver is not None:
            self._receiver.resume()

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone."""
        if self._receiver is not None:
            self._receiver.lost(self, reason)


class PayloadLink(TextualLink):
    """Stands before a link whose messages are payloads.

    Args:
        duplex: the link.
        wire: the generation that its client speaks, which joins and splits payloads.
        limits: the bounds to keep.
    """

    __slots__ = ("_limits",)

    def __init__(self, duplex: Duplex, wire: Wire, limits: Config) -> None:
        super().__init__(duplex, wire)
        self._limits = limits

    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet as one payload."""
        self._duplex.write(encoded.form(_PAYLOAD, self._payload_of))

    def _payload_of(self, encoded: Encoded) -> Encoded:
        return Encoded((self._wire.join(encoded.frames),), encoded.compress)

    def receive(self, frame: Frame) -> None:
        """A payload came."""
        receiver = self._receiver
        if receiver is None:
            return
        try:
            frames = self._wire.split(frame, self._limits)
        except RemoteProtocolError as error:
            receiver.fail(error, Reason.PARSE_ERROR)
            return
        for one in frames:
            receiver.receive(one)
