"""A packet that goes to many: encoded once for each generation and parser, whatever the number of members."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from madang.compiling import mypyc_attr
from madang.packet import Encoded, Packet
from madang.parsers import Parser
from madang.wire import Wire

if TYPE_CHECKING:
    from madang.core.session import Session
    from madang.core.socket import Socket

__all__ = ["Prepared"]


@mypyc_attr(allow_interpreted_subclasses=True)
class Prepared:
    """A packet with its memoised encodings.

    Args:
        packet: what to send.
        compress: whether compression is worth trying.

    Attributes:
        text: the data as JSON, where that is known; then it is not encoded once more.

    Example:
        ```python
        prepared = Prepared(Packet(EVENT, ["tick", 1]))
        prepared.push(namespace.sockets.values())
        ```
    """

    __slots__ = ("_compress", "_encodings", "_last", "_packet", "_parser", "_wire", "text")

    def __init__(self, packet: Packet, compress: bool = True) -> None:
        self._packet = packet
        self.text: str | None = None
        self._compress = compress
        # The last encoding stands before the table: nearly always, all members speak alike.
        self._wire: Wire | None = None
        self._parser: Parser | None = None
        self._last: Encoded | None = None
        self._encodings: dict[tuple[str, str], Encoded] = {}

    @property
    def packet(self) -> Packet:
        """What is sent; a property, because a compiled class never asks those derived from it for an attribute."""
        return self._packet

    @property
    def namespace(self) -> str:
        """The namespace that it is said in."""
        return self.packet.namespace

    def seed(self, wire: Wire, parser: Parser, encoded: Encoded) -> None:
        """Take an encoding that was made elsewhere, in place of any other."""
        self._encodings[wire.name, parser.name] = encoded
        self._wire, self._parser, self._last = wire, parser, encoded

    def encoded(self, wire: Wire, parser: Parser) -> Encoded:
        """The packet in the encoding of a client.

        Raises:
            EncodeError: the data holds something that can't be sent.
        """
        if wire is self._wire and parser is self._parser and self._last is not None:
            return self._last
        key = (wire.name, parser.name)
        encoded = self._encodings.get(key)
        if encoded is None:
            frames = wire.wrap(self.namespace, self.text, parser) if self.text is not None else None
            encoded = self._encodings[key] = Encoded(frames or wire.encode(self.packet, parser), self._compress)
        self._wire, self._parser, self._last = wire, parser, encoded
        return encoded

    def push(self, sockets: Iterable[Socket], volatile: bool = False) -> None:
        """Send it to all of these. Runs no code of the user and changes no room, so that it needs no copy of either.

        Args:
            sockets: the clients.
            volatile: drop it for those for whom it would have to wait.

        Raises:
            EncodeError: the data holds something that can't be sent.
        """
        wire = parser = encoded = None
        for socket in sockets:
            session: Session = socket.session
            if session.wire is not wire or session.parser is not parser or encoded is None:
                wire, parser = session.wire, session.parser
                encoded = self.encoded(wire, parser)
            direct = session.direct
            if direct is not None:
                direct.write(encoded)
            else:
                session.push(encoded, volatile)
