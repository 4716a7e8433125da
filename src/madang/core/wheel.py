"""All deadlines in coarse buckets, so that ten thousand clients need one timer.

An object with a deadline derives from `Timed`. Moving its deadline later costs one assignment: it is looked at when
its old bucket comes due, and put into the right one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from heapq import heappop, heappush

from madang.compiling import mypyc_attr

__all__ = ["Alarm", "Timed", "Wheel"]


@mypyc_attr(allow_interpreted_subclasses=True)
class Timed:
    """Something that wants to be woken at a certain time.

    Attributes:
        due: when, in seconds of the clock that the wheel is driven by; 0.0 for never.
    """

    __slots__ = ("_bucket", "due")

    def __init__(self) -> None:
        self.due = 0.0
        self._bucket = -1  # where the wheel holds it; -1: nowhere

    @abstractmethod
    def expire(self, now: float) -> None:
        """Do what is due. Set `due` and call `Wheel.add` to be woken again."""


class Alarm(Timed):
    """Calls a function when its time has come. Set `due` and call `Wheel.add` to have it called again.

    Args:
        call: the function.
        due: when; 0.0 for not yet.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None], due: float = 0.0) -> None:
        super().__init__()
        self.due = due
        self._call: Callable[[], None] | None = call

    def expire(self, now: float) -> None:
        """Call the function."""
        if self._call is not None:
            self._call()

    def cancel(self) -> None:
        """Let go of the function, for good: the wheel holds on to the alarm until its time."""
        self.due = 0.0
        self._call = None


class Wheel:
    """Holds `Timed` objects by deadline.

    Args:
        tick_seconds: how wide a bucket is, that is how late a timer may call `advance`.

    Example:
        ```python
        wheel = Wheel(0.05)
        session.due = now + 25.0
        wheel.add(session)
        wheel.advance(now)        # calls session.expire(now) once the time has come
        ```
    """

    __slots__ = ("_buckets", "_heap", "_tick", "wake")

    def __init__(self, tick_seconds: float) -> None:
        self._tick = tick_seconds
        self._buckets: dict[int, list[Timed]] = {}
        self._heap: list[int] = []
        #: Slot: called with the time of the earliest bucket whenever an earlier one appears.
        self.wake: Callable[[float], None] = lambda when: None

    def add(self, item: Timed) -> None:
        """Wake an object at its deadline. Needed after its deadline became earlier, or was none."""
        bucket = int(item.due / self._tick)
        if 0 <= item._bucket <= bucket:
            return  # it will be looked at in time
        item._bucket = bucket
        items = self._buckets.get(bucket)
        if items is not None:
            items.append(item)
            return
        self._buckets[bucket] = [item]
        heappush(self._heap, bucket)
        if self._heap[0] == bucket:
            self.wake((bucket + 1) * self._tick)

    def clear(self) -> None:
        """Let go of all: their deadlines are forgotten, and another wheel may have them."""
        for items in self._buckets.values():
            for item in items:
                item.due, item._bucket = 0.0, -1
        self._buckets.clear()
        self._heap.clear()

    @property
    def next(self) -> float | None:
        """When `advance` should be called next, or None while nothing is waited for."""
        return (self._heap[0] + 1) * self._tick if self._heap else None

    def advance(self, now: float) -> None:
        """Wake all whose deadline has come."""
        current = int(now / self._tick)
        heap = self._heap
        while heap and heap[0] <= current:
            bucket = heappop(heap)
            items = iter(self._buckets.pop(bucket))
            try:
                for item in items:
                    if item._bucket != bucket:
                        continue  # it was put into an earlier one
                    item._bucket = -1
                    if item.due == 0.0:
                        continue
                    if item.due <= now:
                        item.due = 0.0
                        item.expire(now)
                    else:
                        self.add(item)
            finally:
                # Nothing is left, unless one has raised: then the others are woken by the next call.
                for item in items:
                    if item._bucket == bucket:
                        item._bucket = -1
                        if item.due != 0.0:
                            self.add(item)
            if bucket == current:
                break
