"""A packet that goes to many: encoded once for each generation and parser, whatever the number of members."""

from __future__ import annotations

from madang.packet import Encoded, Packet
from madang.parsers import Parser
from madang.wire import Wire

__all__ = ["Prepared"]


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
        for session in sessions:
            session.push(prepared.encoded(session.wire, session.parser))
        ```
    """

    __slots__ = ("_compress", "_encodings", "_last", "_parser", "_wire", "packet", "text")

    def __init__(self, packet: Packet, compress: bool = True) -> None:
        self.packet = packet
        self.text: str | None = None
        self._compress = compress
        # The last encoding stands before the table: nearly always, all members speak alike.
        self._wire: Wire | None = None
        self._parser: Parser | None = None
        self._last: Encoded | None = None
        self._encodings: dict[tuple[str, str], Encoded] = {}

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
