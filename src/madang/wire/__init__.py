"""Wire generations: what is said. One file is one generation of the protocol.

A wire turns packets into frames, frames into packets, and packs frames into the payload of an HTTP body. It knows
nothing of transports. A wire module exports `WIRE`; third parties use the entry-point group `madang.wire`.
Outside this folder no code asks which revision it is talking to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from madang import registry
from madang.config import Config
from madang.errors import LocalProtocolError
from madang.packet import Frame, Packet
from madang.parsers import Parser

__all__ = ["Decoder", "Open", "Wire", "load"]


@dataclass(frozen=True, slots=True)
class Open:
    """What a client is told at the handshake.

    Attributes:
        sid: the id of its session.
        upgrades: the transports that it may move to.
        ping_interval_seconds: how long after a pong the next ping comes.
        ping_timeout_seconds: how long it may take to answer.
        max_payload_bytes: how large a payload may be.
    """

    sid: str
    upgrades: Sequence[str]
    ping_interval_seconds: float
    ping_timeout_seconds: float
    max_payload_bytes: int


class Decoder(ABC):
    """Reads the frames of one session; keeps what is half-read."""

    __slots__ = ()

    @abstractmethod
    def feed(self, frame: Frame) -> Packet | None:
        """Read one frame.

        Returns:
            The packet that is whole with this frame, or None where more has to come.

        Raises:
            RemoteProtocolError: the frame breaks a rule or a limit.
        """


class Wire(ABC):
    """One generation of the protocol. Has no state."""

    #: The name in the settings: that of the module.
    name: ClassVar[str]
    #: Whether the server sends pings (else the client does).
    server_pings: ClassVar[bool]
    #: Whether clients know connection state recovery.
    recovers: ClassVar[bool] = False
    #: Transports that no client of this generation knows, so that none is told to move to them. Who does all the same,
    #: may.
    untold: ClassVar[frozenset[str]] = frozenset()

    #: What a client puts into the query of each request to say that it speaks this generation.
    query: ClassVar[Mapping[str, str]]

    @abstractmethod
    def recognises(self, query: Mapping[str, str]) -> bool:
        """Tell from the query of a handshake whether the client speaks this generation."""

    @abstractmethod
    def decoder(self, parser: Parser, limits: Config) -> Decoder:
        """Make the reader for a new session."""

    @abstractmethod
    def encode(self, packet: Packet, parser: Parser) -> tuple[Frame, ...]:
        """Write a packet as frames: itself, then its attachments.

        Raises:
            EncodeError: the data holds something that can't be written.
        """

    @abstractmethod
    def open(self, hello: Open) -> Frame:
        """Write the first frame of a session."""

    @abstractmethod
    def greeted(self, frame: Frame) -> Open:
        """Read the first frame of a session, as a client.

        Returns:
            What it says; its `max_payload_bytes` is 0 where the server sets no bound, or doesn't tell.

        Raises:
            RemoteProtocolError: it is no such frame, or says what makes no sense.
        """

    def knock(self, sid: str = "") -> Frame:
        """Write the first frame of a client over a link whose request doesn't say who comes.

        Args:
            sid: the session that moves to this link; without it, a new one is wanted.

        Raises:
            LocalProtocolError: the generation has no such links.
        """
        raise LocalProtocolError(f"{self.name} has no links on which clients knock")

    def knocked(self, frame: Frame) -> str | None:
        """Read what `knock` has written.

        Returns:
            The id of the session that wants to move, "" for a new one, or None where the frame is no such thing.
        """
        return None

    @abstractmethod
    def join(self, frames: Sequence[Frame]) -> str:
        """Pack frames into one text payload."""

    @abstractmethod
    def split(self, payload: str, limits: Config) -> list[Frame]:
        """Unpack a text payload.

        Raises:
            RemoteProtocolError: it is malformed, or holds too many packets.
        """

    @abstractmethod
    def as_text(self, frame: Frame) -> str:
        """Write a frame for a link that carries text only; text stays as it is."""

    @abstractmethod
    def from_text(self, text: str) -> Frame:
        """Read what `as_text` has written.

        Raises:
            RemoteProtocolError: it is malformed.
        """


def load(name: str) -> Wire:
    """Find a generation by its name.

    Raises:
        ConfigError: there is none.
    """
    return registry.load("wire", name, "WIRE", Wire)  # type: ignore[type-abstract]
