"""What hangs in an event loop is ended within its test.

The signal of pytest-timeout raises where the main thread is. In uvloop this is always inside of a callback, and in
asyncio it may be: the loop logs what a callback raises, and waits on. So the loop's tasks are cancelled instead, and
the test fails where it waits. And where a test has failed, pytest-timeout forgets the time, for the sake of debuggers:
its fixtures get it anew for their ends.

Sources: `Handle._run` of asyncio (events.py) and of uvloop (cbhandles.pyx); `pytest_exception_interact` of
pytest_timeout.py.
"""

import asyncio
import signal
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import pytest

#: It rings again after so long; more often than once before the process is ended, see `faulthandler_timeout`.
AGAIN_SECONDS = 30.0


class Alarm:
    """Rings when a test's time is over, and while it hangs on."""

    def __init__(self, name: str, seconds: float, raises: Callable[[int, FrameType | None], Any]) -> None:
        self._why = f"{name} took longer than {seconds:g} s"
        self._seconds = seconds
        self._raises = raises
        self._rung = False
        self._told: asyncio.AbstractEventLoop | None = None

    def set(self) -> None:
        self._rung, self._told = False, None
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, min(self._seconds / 2, AGAIN_SECONDS))

    def _ring(self, number: int, frame: FrameType | None) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Later, it may be pytest itself that is at work: to raise there would end everything.
            if not self._rung:
                self._rung = True
                self._raises(number, frame)
            return
        self._rung = True
        if loop is self._told:
            # One callback may keep the loop: an exception ends that.
            self._told = None
            self._raises(number, frame)
        else:
            self._told = loop
            loop.call_soon_threadsafe(self._cancel, loop)

    def _cancel(self, loop: asyncio.AbstractEventLoop) -> None:
        for task in asyncio.all_tasks(loop):
            task.print_stack()
            task.cancel(self._why)


ALARM = pytest.StashKey[Alarm]()


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, object, object]:
    """Put our alarm in the place of pytest-timeout's, which has just been set."""
    result = yield
    raises = signal.getsignal(signal.SIGALRM)
    if settings.method == "signal" and callable(raises):
        item.stash[ALARM] = alarm = Alarm(item.nodeid, settings.timeout, raises)
        alarm.set()
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Set the alarm again where it isn't set any more. pytest-timeout ends it after the test."""
    alarm = item.stash.get(ALARM, None)
    if alarm is not None and not signal.getitimer(signal.ITIMER_REAL)[0]:
        alarm.set()
