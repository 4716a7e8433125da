"""Corking: what is written to a client within one turn of the event loop is joined, and goes at the turn's end.

To many clients it goes in several turns, so that others are served between them. Nothing gets out of order by that:
what is written to a client that still waits for its turn is joined to what it waits for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Cork", "Corked"]


class Corked(Protocol):
    """Something that joins what is written to it within a turn of the event loop."""

    def uncork(self) -> None:
        """The turn is over: send it."""


C = TypeVar("C", bound=Corked)


class Cork(Generic[C]):
    """Collects what was written to in this turn of the event loop, and lets it send at the end of the turn.

    Args:
        call_soon: calls a function at the end of this turn.
        per_turn: how many are let send before others get their turn; None: all of them.
    """

    __slots__ = ("_call_soon", "_per_turn", "_written")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], per_turn: int | None = None) -> None:
        self._call_soon = call_soon
        self._per_turn = per_turn
        self._written: deque[C] = deque()

    def add(self, written: C) -> None:
        """Uncork this at the end of the turn. It may be added again before that."""
        if not self._written:
            self._call_soon(self._turn)
        self._written.append(written)

    def _turn(self) -> None:
        written = self._written
        # One may be added while these are let go, and must wait: so they are taken out first.
        if self._per_turn is None or len(written) <= self._per_turn:
            self._written = deque()
            now = iter(written)
        else:
            now = iter([written.popleft() for _ in range(self._per_turn)])
            self._call_soon(self._turn)
        try:
            self._let_go(now)
        finally:
            for one in now:  # none is left, unless one has raised: then the others are not to wait for it
                self.add(one)

    def _let_go(self, written: Iterator[C]) -> None:
        for one in written:
            one.uncork()
