"""Parsers: how a packet is written into the frames of a message, and read from them. One file is one parser.

A parser module exports `PARSER`. Third parties add theirs through the entry-point group `madang.parsers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from madang import registry
from madang.config import Config
from madang.packet import Frame, Packet

__all__ = ["Parser", "load"]


class Parser(ABC):
    """Writes packets and reads them. Has no state, so that one object serves all clients."""

    #: The name in the settings.
    name: ClassVar[str]

    @abstractmethod
    def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:
        """Write a packet.

        Args:
            packet: what to write.
            prefix: what the wire generation puts before text frames.

        Returns:
            The frame of the packet itself, then one for each binary attachment.

        Raises:
            EncodeError: the data holds something that can't be written; the message names it.
        """

    @abstractmethod
    def decode(self, content: Frame, start: int, limits: Config) -> Packet:
        """Read a packet.

        Args:
            content: a frame.
            start: where the wire generation's own prefix ends.
            limits: the bounds to keep.

        Returns:
            The packet; its `missing` tells how many attachments still have to come.

        Raises:
            RemoteProtocolError: it isn't one, or passes a limit.
        """


def load(name: str) -> Parser:
    """Find a parser by its name.

    Raises:
        ConfigError: there is none.
    """
    return registry.load("parsers", name, "PARSER", Parser)  # type: ignore[type-abstract]
