"""Several servers in one process that hear each other's server-side events.

Values go the way that they would go over a net: written as JSON with attachments by the one, read by each of the
others, so that nobody holds another's objects, and what works here works between processes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from madang import parsers
from madang.config import Config
from madang.core.relay import Relay
from madang.errors import EncodeError, LocalProtocolError, RemoteProtocolError
from madang.packet import EVENT, Frame, Packet, restore_attachments

if TYPE_CHECKING:
    from madang.core.ack import Ack
    from madang.server import Server

__all__ = ["Neighbours", "link"]

logger = logging.getLogger("madang")

_PARSER: Final = parsers.load("json")


class Neighbours(Relay):
    """How one server talks to those that it was linked with.

    Args:
        io: the server.
        group: all that hear each other, itself among them; shared by all of them.
    """

    __slots__ = ("_io", "group")

    def __init__(self, io: Server, group: list[Server]) -> None:
        self._io = io
        self.group = group

    def publish(self, namespace: str, data: Sequence[Any], ack: Ack | None) -> None:
        """Say an event to the others that run."""
        frames = _written(data)
        others = [one for one in self.group if one is not self._io and one.reachable]
        if ack is not None:
            ack.expect_servers(len(others))
        for other in others:
            answer = partial(self._answer, ack, other) if ack is not None else None
            _post(other, other.hub.heard, namespace, _read(frames, self._io.config), answer)

    def _answer(self, ack: Ack, other: Server, value: Any) -> None:
        """Another server has answered, in its own event loop."""
        copy = _read(_written(["answer", value]), other.config)
        _post(self._io, ack.received, copy[1:])


def link(servers: Sequence[Server]) -> None:
    """Let servers hear each other, and all that each was linked with before.

    Raises:
        LocalProtocolError: one of them talks to others in another way.
    """
    group: dict[Server, None] = {}
    for io in servers:
        relay = io.hub.relay
        if relay is not None and not isinstance(relay, Neighbours):
            raise LocalProtocolError(f"{io!r} talks to other servers over {relay!r} already")
        group.update(dict.fromkeys(relay.group if relay is not None else [io]))
    members = list(group)
    for io in members:
        io.hub.relay = Neighbours(io, members)


def _post(io: Server, function: Callable[..., Any], *args: Any) -> None:
    """Call a function in a server's event loop, which may be that of another thread."""
    loop = io.loop
    assert loop is not None  # it is reachable  # noqa: S101
    try:
        if asyncio._get_running_loop() is loop:
            loop.call_soon(function, *args)
        else:
            loop.call_soon_threadsafe(function, *args)
    except RuntimeError:  # closed since
        logger.debug("a linked server is gone")


def _written(data: Sequence[Any]) -> tuple[Frame, ...]:
    return _PARSER.encode(Packet(EVENT, data), "")


def _read(frames: Sequence[Frame], config: Config) -> list[Any]:
    try:
        packet = _PARSER.decode(frames[0], 0, config)
    except RemoteProtocolError as error:
        raise EncodeError(f"this can't be said to other servers: {error}") from error
    attachments = [frame for frame in frames[1:] if isinstance(frame, bytes)]
    return list(restore_attachments(packet.data, attachments) if packet.missing else packet.data)
