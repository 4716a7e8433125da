"""How long to wait before the next try. No clock and no dice: entropy comes in as a function."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Delays that double, up to a bound, each moved by chance so that not all clients come back at once.

    Args:
        first: the first delay, in seconds.
        most: the longest delay, in seconds.
        jitter: by how much of itself a delay may be shorter or longer, 0 to 1.
        entropy: gives a number from 0 to 1, as `random.random`.

    Attributes:
        attempts: how many delays were given since the last success.

    Example:
        >>> backoff = Backoff(1.0, 5.0, 0.0, lambda: 0.5)
        >>> [backoff.next() for _ in range(5)]
        [1.0, 2.0, 4.0, 5.0, 5.0]
        >>> backoff.reset()
        >>> backoff.next()
        1.0

    Source: socket.io-client 4.8, `reconnectionDelay`, `reconnectionDelayMax`, `randomizationFactor`.
    """

    __slots__ = ("_entropy", "_first", "_jitter", "_most", "attempts")

    def __init__(self, first: float, most: float, jitter: float, entropy: Callable[[], float]) -> None:
        self._first = first
        self._most = most
        self._jitter = jitter
        self._entropy = entropy
        self.attempts = 0

    def next(self) -> float:
        """The next delay, in seconds."""
        seconds = min(self._first * 2.0 ** min(self.attempts, 64), self._most)
        self.attempts += 1
        return min(seconds * (1 + self._jitter * (2 * self._entropy() - 1)), self._most)

    def reset(self) -> None:
        """Start again with the first delay: it worked."""
        self.attempts = 0
