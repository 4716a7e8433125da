"""Wire generations: what is said. One file or folder is one generation of the protocol.

A wire turns packets into frames, frames into packets, and packs frames into the payload of an HTTP body. It reads from
a request which transport and which session are meant, and says in what its clients differ from others. Where a
generation has forms of its own for a transport, they are here too. A wire module exports `WIRE`; third parties use
the entry-point group `madang.wire`. Outside this folder no code asks which revision it is talking to.
"""

from __future__ import annotations

import base64
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import orjson

from madang import registry
from madang.config import Config
from madang.errors import ConfigError, LocalProtocolError, RequestRefused
from madang.packet import Frame, Packet
from madang.parsers import Parser
from madang.transports import Request, Response, Transport

__all__ = [
    "Address",
    "Decoder",
    "Open",
    "TextWire",
    "Wire",
    "base64_text",
    "chosen",
    "error_body",
    "error_headers",
    "error_response",
    "load",
]


class Address(NamedTuple):
    """What a request asks for.

    Attributes:
        transport: the name by which the generation calls the transport; "" for a handshake that names none.
        sid: the id of the session; None for a new one.
        leaves: whether the client says good-bye.
    """

    transport: str
    sid: str | None = None
    leaves: bool = False


class Open(NamedTuple):
    """What a client is told at the handshake.

    Attributes:
        sid: the id of its session.
        upgrades: the transports that it may move to, by the names that its generation has for them; those that it may
            choose from, where it has not chosen one yet.
        ping_interval_seconds: how long after a pong the next ping comes.
        ping_timeout_seconds: how long it may take to answer.
        max_payload_bytes: how large a payload may be.
        poll_timeout_seconds: how long a poll waits at most.
    """

    sid: str
    upgrades: Sequence[str]
    ping_interval_seconds: float
    ping_timeout_seconds: float
    max_payload_bytes: int
    poll_timeout_seconds: float = 30.0


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

    def answers(self, send: Callable[[Packet], None]) -> None:  # noqa: B027 (most have nothing to answer)
        """Say who sends what has to be answered as soon as it is read. Called once, if at all.

        Of most generations nothing has: without this, such packets are read and not answered.
        """


class Wire(ABC):
    """One generation of the protocol. Has no state."""

    #: The name in the settings: that of the module.
    name: ClassVar[str]
    #: Which clients speak it, for people.
    clients: ClassVar[str] = ""
    #: Whether the server sends pings (else the client does).
    server_pings: ClassVar[bool]
    #: Whether it sends them to clients that poll, too; else these show by their polls that they live.
    pings_polls: ClassVar[bool] = True
    #: Whether a client whose poll has broken may ask again in its session, or say good-bye by another request; else the
    #: break is its end.
    mends_polls: ClassVar[bool] = False
    #: Whether clients know connection state recovery.
    recovers: ClassVar[bool] = False
    #: Whether bytes travel as bytes; else as base64 in a string, which the other side takes for one.
    carries_bytes: ClassVar[bool] = True
    #: Whether a client tries a better transport before it moves to it. Else it begins with a handshake that names no
    #: transport, then comes by any that it likes, and by another one when it likes, which takes the place of the first.
    probes: ClassVar[bool] = True
    #: Whether clients are in the main namespace from the beginning, without asking.
    implicit_root: ClassVar[bool] = False
    #: Whether who leaves the main namespace leaves all.
    root_is_all: ClassVar[bool] = False
    #: Whether clients don't wait to be told that they have joined a namespace: they speak in it at once, whatever the
    #: answer will be, and may ask for it twice.
    impatient: ClassVar[bool] = False
    #: Whether a message of a link is a payload of any number of frames, as a body is; else it is one frame.
    link_payloads: ClassVar[bool] = False
    #: For how long its clients bear to hear nothing over what stays open, and to have a poll wait, if nobody can tell
    #: them what the settings say. Of both times the shorter one is kept.
    max_ping_interval_seconds: ClassVar[float] = math.inf
    max_poll_seconds: ClassVar[float] = math.inf
    #: Whether browsers send cookies with requests of these clients to other origins, so that an answer has to allow it.
    credentialed: ClassVar[bool] = False
    #: Whether its clients open WebSockets in the drafts before RFC 6455.
    older_links: ClassVar[bool] = False
    #: Transports that no client of this generation knows, so that none is told to move to them. Who does all the same,
    #: may.
    untold: ClassVar[frozenset[str]] = frozenset()

    #: What a client puts into the query of each request to say that it speaks this generation; empty where our own
    #: client does not speak it.
    query: ClassVar[Mapping[str, str]] = {}

    def check(self, parser: Parser) -> None:  # noqa: B027 (most can carry all)
        """Look whether it can be spoken with a parser.

        Raises:
            ConfigError: it can't.
        """

    # Requests

    @abstractmethod
    def address(self, request: Request, below: str) -> Address | None:
        """Read from a request what it asks for.

        Args:
            request: the request.
            below: what of its path stands below the server's own, without the slashes around it.

        Returns:
            None where it is not of this generation.

        Raises:
            RequestRefused: it is, and says what makes no sense.
        """

    def owns(self, below: str) -> bool:
        """Whether requests of this generation have such a path below the server's own."""
        return not below

    def transports(self, enabled: Mapping[str, Transport]) -> Mapping[str, Transport]:
        """The transports by the names that its clients have for them, in its own forms where it has such.

        Args:
            enabled: those that the server serves, by their names.
        """
        return enabled

    def text_only(self, request: Request) -> bool:
        """Whether this client takes no bytes, over whatever it comes."""
        return False

    def socket_id(self, sid: str, namespace: str) -> str | None:
        """The id that a client gives itself in a namespace; None where the server chooses it and tells.

        Args:
            sid: the id of its session.
            namespace: the namespace.
        """
        return None

    def auth(self, request: Request) -> dict[str, Any]:
        """What a client that joins the main namespace without giving any auth has given by the request that brought it.

        Args:
            request: the one that opened its session.
        """
        return {}

    def handshake(self, request: Request, hello: Open) -> Response:
        """The answer to a handshake that names no transport.

        Raises:
            LocalProtocolError: the generation has no such handshakes.
        """
        raise LocalProtocolError(f"{self.name} has no handshake without a transport")

    def reader(self, request: Request) -> str | None:
        """The origin of the page that can read the answer to such a handshake; see `HttpTransport.reader`."""
        return None

    def refusal(self, request: Request, refusal: RequestRefused) -> Response:
        """The answer to a request that is refused."""
        return error_response(refusal)

    def link_refusal(self, refusal: RequestRefused) -> Frame | None:
        """What a client is told over its link that is refused; None: it is told by the answer to its handshake."""
        return None

    # Packets

    @abstractmethod
    def decoder(self, parser: Parser, limits: Config, request: Request | None = None) -> Decoder:
        """Make the reader for a new session.

        Args:
            parser: reads packets.
            limits: the bounds to keep.
            request: what has opened the session, where that is known: releases of one generation may differ in it.
        """

    @abstractmethod
    def encode(self, packet: Packet, parser: Parser) -> tuple[Frame, ...]:
        """Write a packet as frames: itself, then its attachments.

        Returns:
            The frames; none for a packet that the generation has no word for. For an event it always has one.

        Raises:
            EncodeError: the data holds something that can't be written.
        """

    def wrap(self, namespace: str, text: str, parser: Parser) -> tuple[Frame, ...] | None:
        """Write an event whose data is JSON already.

        Args:
            namespace: its namespace.
            text: `[event, *arguments]`.
            parser: which one the client uses.

        Returns:
            The frames; None where it has to be read and encoded: `encode` does it.
        """
        return None

    @abstractmethod
    def open(self, hello: Open) -> Frame:
        """Write the first frame of a session."""

    def greeted(self, frame: Frame) -> Open:
        """Read the first frame of a session, as a client.

        Returns:
            What it says; its `max_payload_bytes` is 0 where the server sets no bound, or doesn't tell.

        Raises:
            RemoteProtocolError: it is no such frame, or says what makes no sense.
            LocalProtocolError: our own client does not speak this generation.
        """
        raise LocalProtocolError(f"no client of ours speaks {self.name}")

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

    # Payloads

    @abstractmethod
    def join(self, frames: Sequence[Frame]) -> str:
        """Pack frames into one text payload."""

    def pack(self, frames: Sequence[Frame]) -> str | bytes:
        """Pack frames into one payload for a client that takes bytes."""
        return self.join(frames)

    @abstractmethod
    def split(self, payload: str | bytes, limits: Config) -> list[Frame]:
        """Unpack a payload.

        Raises:
            RemoteProtocolError: it is malformed, or holds too many packets.
        """

    def payload_bytes(self, frames: Sequence[Frame]) -> int:
        """How many bytes frames take in a payload, at most: text as UTF-8, bytes as base64, each with a mark."""
        size = 0
        for frame in frames:
            if isinstance(frame, str):
                size += 1 + (len(frame) if frame.isascii() else len(frame.encode("utf-8", "replace")))
            else:
                size += 2 + (len(frame) + 2) // 3 * 4
        return size

    @abstractmethod
    def as_text(self, frame: Frame) -> str:
        """Write a frame for a link that carries text only; text stays as it is."""

    @abstractmethod
    def from_text(self, text: str) -> Frame:
        """Read what `as_text` has written.

        Raises:
            RemoteProtocolError: it is malformed.
        """


class TextWire(Wire):
    """A generation before Engine.IO: it has text only, all clients are in the main namespace, and speak at once."""

    server_pings: ClassVar[bool] = True
    pings_polls: ClassVar[bool] = False
    carries_bytes: ClassVar[bool] = False
    implicit_root: ClassVar[bool] = True
    root_is_all: ClassVar[bool] = True
    impatient: ClassVar[bool] = True
    older_links: ClassVar[bool] = True

    def check(self, parser: Parser) -> None:  # noqa: D102
        if not parser.carries_packets:
            raise ConfigError(
                f"{self.name} has no messages below Socket.IO: without it (parser={parser.name!r}), leave {self.name} "
                "out of the setting `generations`"
            )

    def as_text(self, frame: Frame) -> str:  # noqa: D102
        return frame if isinstance(frame, str) else base64_text(frame)

    def from_text(self, text: str) -> Frame:  # noqa: D102
        return text


def base64_text(data: bytes) -> str:
    """Bytes as the text that stands for them where there is nothing but text."""
    return base64.b64encode(data).decode()


def error_body(refusal: RequestRefused) -> bytes:
    """What a client is told of a refusal, as JSON."""
    body: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal.retry_after_seconds is not None:
        body["retryAfterMs"] = math.ceil(refusal.retry_after_seconds * 1000)
    return orjson.dumps(body)


def error_headers(refusal: RequestRefused) -> list[tuple[str, str]]:
    """The headers of the answer to a refused request."""
    headers = [("Content-Type", "application/json")]
    if refusal.retry_after_seconds is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(refusal.retry_after_seconds)))))
    return headers


def error_response(refusal: RequestRefused) -> Response:
    """The answer to a refused request, as Engine.IO has it."""
    headers = [*error_headers(refusal), ("Cache-Control", "no-store")]
    return Response(refusal.status, headers, error_body(refusal))


def chosen(names: Literal["all"] | Sequence[str]) -> Sequence[str]:
    """The names that the setting `generations` stands for: "all" are those of this folder."""
    return registry.names("wire") if isinstance(names, str) else names


def load(name: str) -> Wire:
    """Find a generation by its name.

    Raises:
        ConfigError: there is none.
    """
    return registry.load("wire", name, "WIRE", Wire)  # type: ignore[type-abstract]
