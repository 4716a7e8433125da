"""Corking: what is written to a connection within one turn of the event loop is joined, and goes at its end."""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Cork", "Corked"]


class Corked(Protocol):
    """Something that joins what is written to it within a turn of the event loop."""

    def uncork(self) -> None:
        """The turn is over."""


class Cork:
    """Collects what was written to in this turn of the event loop, and lets it send at the end of the turn."""

    __slots__ = ("_loop", "_written")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._written: list[Corked] = []

    def add(self, written: Corked) -> None:
        """Uncork this at the end of the turn."""
        if not self._written:
            self._loop.call_soon(self._uncork)
        self._written.append(written)

    def _uncork(self) -> None:
        written, self._written = self._written, []
        for one in written:
            one.uncork()
