"""Servers of one process as a cluster, for tests: nothing but the process itself is between them.

All servers with the same URL belong together: `memory://name`. What they say is written and read as it would be on
its way between machines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from madang.cluster import Bus, Listener
from madang.cluster.messages import Message, decode, encode
from madang.config import Cluster

__all__ = ["BUS", "MemoryBus"]


class MemoryBus(Bus):
    """Moves messages between servers of one process, each in its own event loop."""

    _groups: ClassVar[dict[str, dict[str, MemoryBus]]] = {}

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        self._node = ""
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._namespaces: set[str] = set()

    @property
    def _group(self) -> dict[str, MemoryBus]:
        return self._groups.setdefault(self.settings.url, {})

    async def start(self, uid: str, node: str, listener: Listener) -> None:  # noqa: D102
        self._node, self._listener = node, listener
        self._loop = asyncio.get_running_loop()
        self._group[uid] = self
        listener.up()

    async def close(self) -> None:  # noqa: D102
        group = self._group
        for uid in [uid for uid, bus in list(group.items()) if bus is self]:
            del group[uid]
        if not group:
            self._groups.pop(self.settings.url, None)
        self._listener = None

    def open(self, namespace: str) -> None:  # noqa: D102
        self._namespaces.add(namespace)

    def shut(self, namespace: str) -> None:  # noqa: D102
        self._namespaces.discard(namespace)

    def publish(self, message: Message, to: str | None = None) -> None:  # noqa: D102
        # Each gets objects of its own, and bytes take the other way, as they would over a net.
        data = encode(message)
        for uid, bus in list(self._group.items()):
            meant = not bus.guest if to is None else to == uid
            if bus is not self and meant and message.nsp in bus._namespaces:
                bus._soon(bus._hear, data)

    def _hear(self, data: bytes) -> None:
        if self._listener is not None:
            self._listener.received(decode(data))

    def count(self, namespace: str, then: Callable[[int | None], None]) -> None:  # noqa: D102
        others = [bus for bus in list(self._group.values()) if bus is not self and not bus.guest]
        then(sum(namespace in bus._namespaces for bus in others))

    def post(self, node: str, data: bytes) -> None:  # noqa: D102
        for bus in list(self._group.values()):
            if bus._node == node:
                bus._soon(bus._receive, data)

    def _receive(self, data: bytes) -> None:
        if self._listener is not None:
            self._listener.posted(data)

    def _soon(self, function: Callable[..., None], *args: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(function, *args)


BUS = MemoryBus
