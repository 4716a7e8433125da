"""Redis's sharded publish/subscribe, as `createShardedAdapter` of `@socket.io/redis-adapter` uses it.

Members in Node.js and ours understand each other. It needs Redis 7 or Valkey; what is older, or has members that use
`createAdapter`, is for `redis-classic://`.

`redis://host:6379?subscription_mode=dynamic`: with "dynamic" each room that is no client's own has a channel, which
only those servers hear that have somebody in it; with "dynamic-private" clients' own rooms have one too; with "static"
all servers hear everything. All members need the same. `socket_timeout=2.5`: after so many seconds without a word the
engine counts as gone.

Source: @socket.io/redis-adapter 8.3, `lib/sharded-adapter.ts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import UNSET
from redis.exceptions import ResponseError

from madang.cluster._redis import Link, choice, slot_of
from madang.cluster._redis_pubsub import PubSubBus
from madang.cluster.link import Outgoing
from madang.cluster.messages import (
    Broadcast,
    Message,
    decode,
    encode,
    is_response,
    sent_again,
)
from madang.config import Cluster
from madang.errors import ConfigError

__all__ = ["BUS", "RedisBus"]

#: How long an id of a socket is, by which Node.js knows one (in JavaScript's characters).
_ID_LENGTH: Final = 20


class RedisBus(PubSubBus):
    """Moves messages over sharded channels of a Redis."""

    SUBSCRIBE = "SSUBSCRIBE"
    PUBLISH = "SPUBLISH"
    COUNT = "SHARDNUMSUB"
    BY_SLOT = True
    OPTIONS = {"subscription_mode": choice("dynamic", "static", "dynamic-private")}  # noqa: RUF012  # of the base

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        self._mode: str = self.engine.options.get("subscription_mode", "dynamic")
        self.own_rooms = self._mode == "dynamic-private"
        self._slots: list[tuple[int, int, Link | None]] = []

    def _channel(self, namespace: str) -> str:
        return f"{self.settings.prefix}#{namespace}#"

    def _has_channel(self, room: str) -> bool:
        """Whether what is for one room alone goes over a channel of its own."""
        if self._mode == "dynamic":
            # JavaScript counts in UTF-16.
            length = len(room) if room.isascii() else len(room.encode("utf-16-le", "surrogatepass")) // 2
            return length != _ID_LENGTH
        return self._mode == "dynamic-private"

    # The link

    async def find(self) -> None:  # noqa: D102
        if self.engine.kind == "cluster":
            ranges, links = await self.members()
            links = await self.primaries(ranges, links)
            self._slots = [(first, last, links.get(primary)) for first, last, primary, *_ in ranges]
            asked = next(iter(links.values()))
        else:
            asked = await self.primary()
            self._slots = [(0, 1 << 14, asked)]
        try:
            await asked.call("PUBSUB", "SHARDNUMSUB")
        except ResponseError as error:
            if "unknown" not in str(error).lower():
                raise
            raise ConfigError(
                "cluster: this Redis is older than 7, which has no sharded publish/subscribe; write redis-classic:// "
                f"in place of redis:// at all members: {error}"
            ) from None

    def link_of(self, channel: str) -> Link | None:  # noqa: D102
        if len(self._slots) > 1:
            slot = slot_of(channel)
            for first, last, link in self._slots:
                if first <= slot <= last:
                    return link
            return None  # nobody has it
        return self._slots[0][2]

    # What is heard

    def channels(self, namespace: str) -> Iterable[tuple[str, str]]:  # noqa: D102
        channel = self._channel(namespace)
        ours = (self.SUBSCRIBE, f"{channel}{self.uid}#")
        return (ours,) if self.guest else ((self.SUBSCRIBE, channel), ours)

    def open_room(self, namespace: str, room: str) -> None:  # noqa: D102
        if self._has_channel(room):
            self.hear_channel(f"{self._channel(namespace)}{room}#")

    def shut_room(self, namespace: str, room: str) -> None:  # noqa: D102
        if self._has_channel(room):
            self.leave_channel(f"{self._channel(namespace)}{room}#")

    def heard(self, channel: bytes, data: bytes, pattern: bytes) -> None:  # noqa: D102
        if channel == self.box:
            self.listener.posted(data)
            return
        message = decode(data)
        if message.uid != self.uid and message.nsp in self._namespaces:
            self.listener.received(message)

    # What is said

    def publish(self, message: Message, to: str | None = None) -> None:  # noqa: D102
        channel = self._channel(message.nsp)
        if isinstance(message, Broadcast):
            rooms = message.data.opts.rooms
            if rooms and len(rooms) == 1 and message.data.requestId is UNSET and self._has_channel(str(rooms[0])):
                channel += f"{rooms[0]}#"
        elif to is not None and is_response(message):
            # Anything else on this channel would end a member in Node.js.
            channel += f"{to}#"
        again = None if message.seq is UNSET else sent_again
        self.queue(Outgoing(channel, encode(message), again))

    def counted(self, namespace: str) -> tuple[str, Iterable[Link]]:  # noqa: D102
        channel = self._channel(namespace)
        link = self.link_of(channel)
        return channel, () if link is None else (link,)


BUS = RedisBus
