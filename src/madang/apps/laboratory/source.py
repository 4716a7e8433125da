"""The stream of events: when the next one is due, and what became of those that came. Pure: the time is given."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["LOST_AFTER_MS", "Arrivals", "Schedule", "late_after_ms", "payload"]

LOST_AFTER_MS: Final = 5_000.0
"""An event that is missing for so long is lost."""
MAX_MISSING: Final = 2_000
"""So many missing events are waited for; of more, the oldest count as lost."""
MAX_CATCH_UP_SECONDS: Final = 1.0
"""How far back a source that could not run makes up for what it has not sent."""
MAX_SAMPLES: Final = 200

_TEXT: Final = "Madang is a courtyard: what is said there, all hear. "


def late_after_ms(delay_ms: float) -> float:
    """How long an event may take before it is late, on a wire with this delay one way.

    Example:
        >>> late_after_ms(50)
        1200
    """
    return 1000 + 4 * delay_ms


def payload(size: int) -> str:
    """Text of so many characters, each of one byte.

    Example:
        >>> payload(6)
        'Madang'
    """
    return (_TEXT * (size // len(_TEXT) + 1))[:size]


class Schedule:
    """When events are due, at a rate that is exact however late each of them leaves.

    Args:
        rate: events in a second; 0 for none.
        now: the time, in seconds.

    Example:
        >>> schedule = Schedule(10, now=0.0)
        >>> schedule.due(0.35), round(schedule.next_at - 0.35, 3)
        (3, 0.05)
    """

    __slots__ = ("_rate", "_sent", "_start", "skipped")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._start = now
        self._sent = 0
        #: Events that were never sent, since the source could not run for too long.
        self.skipped = 0

    @property
    def next_at(self) -> float:
        """When the next one is due; infinity without a rate."""
        return self._start + (self._sent + 1) / self._rate if self._rate else float("inf")

    def due(self, now: float) -> int:
        """How many are due that were not told before."""
        if not self._rate:
            return 0
        # A hair's breadth, so that a timer that fires at `next_at` finds it due.
        count = int((now - self._start) * self._rate + 1e-6) - self._sent
        if count <= 0:
            return 0
        self._sent += count
        most = max(1, int(self._rate * MAX_CATCH_UP_SECONDS))
        if count > most:
            self.skipped += count - most
            return most
        return count


class Arrivals:
    """What became of a numbered stream of events: how long they took, which are late, which are lost.

    Attributes:
        received: how many came.
        late: how many came later than they should.
        lost: how many were missing for `LOST_AFTER_MS`.
    """

    __slots__ = ("_expected", "_missing", "_samples", "_step", "_turn", "late", "lost", "received")

    def __init__(self) -> None:
        self.received = 0
        self.late = 0
        self.lost = 0
        self._expected: int | None = None
        self._missing: OrderedDict[int, float] = OrderedDict()  # when it was seen that they are missing
        self._samples: list[float] = []
        self._step = 1  # one in so many is kept
        self._turn = 0

    def restart(self) -> None:
        """Another client takes over; it may count from wherever it likes."""
        self.lost += len(self._missing)
        self._missing.clear()
        self._expected = None

    def arrived(self, seq: int, sent_ms: float, now_ms: float, late_after: float) -> None:
        """An event is there.

        Args:
            seq: its number.
            sent_ms: when it was sent.
            now_ms: now.
            late_after: how many milliseconds it may take.
        """
        self.received += 1
        took = now_ms - sent_ms
        if took > late_after:
            self.late += 1
        self._turn += 1
        if self._turn >= self._step:
            self._turn = 0
            self._samples.append(took)
            if len(self._samples) >= 2 * MAX_SAMPLES:
                del self._samples[::2]
                self._step *= 2
        expected = self._expected
        if expected is None or seq < expected:
            self._missing.pop(seq, None)
        else:
            gap = seq - expected
            if gap > MAX_MISSING:  # more than anybody could wait for
                self.lost += gap - MAX_MISSING
            for number in range(max(expected, seq - MAX_MISSING), seq):
                self._missing[number] = now_ms
            while len(self._missing) > MAX_MISSING:
                self._missing.popitem(last=False)
                self.lost += 1
        self._expected = max(seq + 1, expected or 0)

    def check(self, now_ms: float) -> None:
        """Give up what is missing for too long."""
        while self._missing:
            since = next(iter(self._missing.values()))
            if now_ms - since < LOST_AFTER_MS:
                return
            self._missing.popitem(last=False)
            self.lost += 1

    def samples(self) -> list[float]:
        """How long events took since the last call, in milliseconds; of many, an even choice."""
        samples, self._samples = self._samples, []
        self._step = 1
        self._turn = 0
        return samples
