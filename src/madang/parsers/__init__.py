"""Parsers: how a packet is written into the frames of a message, and read from them. One file is one parser.

A parser module exports `PARSER`. Third parties add theirs through the entry-point group `madang.parsers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from json import dumps as _as_json  # `json` is a module of this package
from typing import Any, ClassVar, Final

from madang import registry
from madang.config import Config
from madang.errors import ConfigError, RemoteProtocolError
from madang.packet import ACK, CONNECT, DISCONNECT, EVENT, NOTHING, RESERVED_EVENTS, Frame, Packet

__all__ = ["Parser", "Shape", "Shapes", "check_event", "check_packet", "escaped", "load", "namespace_of"]

_RULE: Final = "Socket.IO protocol 5, packet encoding"


class Shape:
    """What the arguments of an event must be. One object stands for one list of types.

    Attributes:
        decode: decodes the JSON of an event, `[name, *arguments]`, and checks it in the same pass. It raises an
            exception if it isn't JSON, or not of this shape; which of both, and why, is found out elsewhere.
    """

    __slots__ = ("decode",)

    def __init__(self, decode: Callable[[str], Sequence[Any]]) -> None:
        self.decode = decode


#: The shapes of events, by namespace and event, of which the table of a namespace grows and shrinks in place.
Shapes = Mapping[str, Mapping[str, Shape]]


class Parser(ABC):
    """Writes packets and reads them. Has no state, so that one object serves all clients."""

    #: The name in the settings.
    name: ClassVar[str]
    #: Whether all characters behind the namespace are part of JSON, so that they may be written with its escapes.
    escapes: ClassVar[bool] = False
    #: Whether it carries Socket.IO's packets; else there are messages only.
    carries_packets: ClassVar[bool] = True

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

    def wrap(self, namespace: str, text: str, prefix: str) -> tuple[Frame, ...] | None:
        """Write an event whose data is JSON already; None where this parser has no use for JSON.

        Args:
            namespace: its namespace.
            text: `[event, *arguments]`.
            prefix: what the wire generation puts before text frames.
        """
        return None

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

    def shaped(self, shapes: Shapes) -> Parser:
        """A parser like this one that decodes events straight into their shapes, where it can.

        What it can't decode, or what is not of its shape, it gives as plain values, and so does every parser that
        has no method of its own here: they are checked later then.
        """
        return self


def load(parser: object) -> Parser:
    """Find a parser by its name; a parser itself is taken as it is.

    Args:
        parser: the setting: a name, or a parser.

    Raises:
        ConfigError: there is none of this name, or it is no parser.
    """
    if isinstance(parser, str):
        return registry.load("parsers", parser, "PARSER", Parser)  # type: ignore[type-abstract]
    if not isinstance(parser, Parser):
        hint = "; give an object, not the class" if isinstance(parser, type) and issubclass(parser, Parser) else ""
        raise ConfigError(f"parser must be a name or an object of a subclass of Parser, not {parser!r:.80}{hint}")
    name = getattr(parser, "name", None)
    if not isinstance(name, str) or not name:
        raise ConfigError(f'the parser {parser!r:.80} has no name: give its class one, as name = "mine"')
    return parser


# What a packet may say, whatever the parser. A parser that has read one calls these.


def check_packet(packet: Packet, limits: Config) -> None:
    """Check that the body of a packet suits its kind, and put the empty body of a CONNECT in place.

    Args:
        packet: one of Socket.IO's kinds.
        limits: the bounds to keep.

    Raises:
        RemoteProtocolError: it does not, or passes a limit.

    Source: Socket.IO protocol 5, "packet types".
    """
    kind, data = packet.kind, packet.data
    if kind == EVENT:
        check_event(data, limits)
    elif kind == ACK:
        if packet.id is None or type(data) is not list:
            raise RemoteProtocolError("an acknowledgement needs an id and a list of arguments", rule=_RULE)
        if len(data) > limits.max_event_args:
            raise RemoteProtocolError(
                f"{len(data)} arguments; {limits.max_event_args} are allowed", rule="max_event_args"
            )
    elif kind == CONNECT:
        if data is NOTHING or data is None:
            packet.data = {}
        elif type(data) is not dict:
            raise RemoteProtocolError("the body of CONNECT must be an object", rule=_RULE)
    elif kind == DISCONNECT:
        if data is not NOTHING:
            raise RemoteProtocolError("DISCONNECT has no body", rule=_RULE)
    elif type(data) not in (dict, str):
        raise RemoteProtocolError("the body of CONNECT_ERROR must be an object or a string", rule=_RULE)


def check_event(data: Any, limits: Config) -> None:
    """Check the body of an event: a list of its name and its arguments.

    Raises:
        RemoteProtocolError: it is none, the name is reserved, or there are too many arguments.
    """
    if type(data) is not list or not data:
        raise RemoteProtocolError("the body of an event must be a list that starts with its name", rule=_RULE)
    name = data[0]
    if type(name) is not str and type(name) is not int:
        raise RemoteProtocolError("the name of an event must be a string", rule=_RULE)
    if name in RESERVED_EVENTS:
        raise RemoteProtocolError(f"the event name {name!r} is reserved", rule=_RULE)
    if len(data) - 1 > limits.max_event_args:
        raise RemoteProtocolError(
            f"an event with {len(data) - 1} arguments; {limits.max_event_args} are allowed", rule="max_event_args"
        )


def escaped(text: str) -> str:
    r"""JSON in ASCII: what it has beyond that in escapes, which are in UTF-16 units.

    Example:
        >>> escaped('["é","한","\U0001f600","\\\\x"]')
        '["\\u00e9","\\ud55c","\\ud83d\\ude00","\\\\x"]'
    """
    if text.isascii():
        return text
    # As a JSON string all of it gets these escapes, and quotes and backslashes a backslash more, which is taken off.
    # A backslash that stands alone is one of an escape: it is always the last in a row.
    return _as_json(text)[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def namespace_of(name: str) -> str:
    """The namespace that a packet names: old clients put their query behind it.

    Example:
        >>> namespace_of("/chat?token=1"), namespace_of("")
        ('/chat', '/')
    """
    return name.partition("?")[0] or "/"
