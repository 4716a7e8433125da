"""A client that remembers what it hears, to see what reaches it."""

import asyncio
from typing import Any

from cluster.support.node import DEADLINE
from madang import Client

__all__ = ["Guest"]


class Guest(Client):
    """Our own client, by WebSocket if nothing else is wanted.

        async with Guest(node.url, "/chat") as guest:
            await guest.join("room")
            assert await guest.next("news") == (1,)

    Args:
        url: a server's.
        namespace: where to.
        rooms: rooms to be in, before it is used.
        settings: the client's.
    """

    def __init__(self, url: str, namespace: str = "/", *rooms: str, **settings: Any) -> None:
        super().__init__(
            url + namespace.rstrip("/"), **{"transports": ["websocket"], "reconnection": False, **settings}
        )
        self.joins = rooms
        #: All events so far that `next` has not taken: name and arguments.
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self._come = asyncio.Event()
        self.on_any(self._hear)

    async def __aenter__(self) -> "Guest":
        await super().__aenter__()
        if self.joins:
            await self.join(*self.joins)
        return self

    def _hear(self, event: str, *args: Any) -> None:
        self.heard.append((event, args))
        self._come.set()

    async def next(self, event: str) -> tuple[Any, ...]:
        """The arguments of the next event of this name."""
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    for entry in self.heard:
                        if entry[0] == event:
                            self.heard.remove(entry)
                            return entry[1]
                    self._come.clear()
                    await self._come.wait()
        except TimeoutError:
            raise TimeoutError(f"no {event!r} in {DEADLINE} s, but {self.heard}") from None

    async def join(self, *rooms: str) -> list[str]:
        """Ask a `NodeMember` for rooms; the rooms that it is in."""
        joined: list[str] = await self.call("join", list(rooms), timeout=DEADLINE)
        return joined

    async def has_rooms(self) -> set[str]:
        """The rooms that a `NodeMember` has it in."""
        return set(await self.call("rooms", timeout=DEADLINE))
