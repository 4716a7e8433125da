"""The threads that blocking handlers run in: so many at most, and a turn for each client.

Threads of our own, not those of `concurrent.futures`: those would keep the process alive for as long as a handler
blocks, and their one queue would let a client that asks for much hold up all others.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Hashable
from queue import SimpleQueue
from typing import Any

__all__ = ["Workers"]


class _Job:
    """One call, and what came of it."""

    __slots__ = ("args", "begun", "context", "error", "function", "future", "result", "wanted")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        wanted: Callable[[], bool],
        future: asyncio.Future[None],
    ) -> None:
        self.function = function
        self.args = args
        self.wanted = wanted
        self.future = future
        self.context = contextvars.copy_context()
        self.begun = False
        self.result: Any = None
        self.error: BaseException | None = None

    def do(self) -> None:
        """Make the call, in a thread."""
        try:
            self.result = self.context.run(self.function, *self.args)
        except BaseException as error:
            self.error = error


class Workers:
    """Runs functions in threads. All of it is used in the event loop.

    Args:
        count: how many threads there may be.
        post: calls a function in the event loop, from any thread; gives whether it will.

    Attributes:
        busy: how many functions run now.
    """

    def __init__(self, count: int, post: Callable[[Callable[[], None]], bool]) -> None:
        self._count = count
        self._post = post
        self._threads = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting: dict[Hashable, deque[_Job]] = {}
        self.busy = 0

    async def run(
        self,
        whose: Hashable,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        wanted: Callable[[], bool] = lambda: True,
    ) -> Any:
        """Run a function in a thread, with the context variables that are at hand, and await what it gives.

        Args:
            whose: those who wait have turns; the functions of one of them begin in order.
            function: what to run.
            args: its arguments.
            wanted: asked when it is its turn, if it had to wait: whether it still is to run. Else it gives None.

        Raises:
            CancelledError: the wait was cancelled. A function that has begun goes on all the same, unheard.
            RuntimeError: the function has called `sys.exit`.
        """
        job = _Job(function, args, wanted, asyncio.get_running_loop().create_future())
        if self.busy < self._count:
            self._begin(job)
        else:
            self._waiting.setdefault(whose, deque()).append(job)
        try:
            await job.future
        finally:
            if not job.begun and whose in self._waiting:  # cancelled before its turn came
                self._waiting[whose].remove(job)
                if not self._waiting[whose]:
                    del self._waiting[whose]
        if isinstance(job.error, SystemExit):
            # It is meant for the thread that it is raised in. In the event loop it would be the server's end.
            raise RuntimeError("the function has called sys.exit, which ends neither its thread nor the server")
        if job.error is not None:
            raise job.error
        return job.result

    def _begin(self, job: _Job) -> None:
        job.begun = True
        self.busy += 1
        if self._threads < self.busy:
            self._threads += 1
            name = f"madang-worker-{self._threads}"
            threading.Thread(target=self._work, args=(self._jobs,), name=name, daemon=True).start()
        self._jobs.put(job)

    def _work(self, jobs: SimpleQueue[_Job | None]) -> None:
        """What a thread does."""
        while (job := jobs.get()) is not None:
            job.do()
            if not self._post(lambda job=job: self._ended(job, jobs)):  # type: ignore[misc]
                return  # there is no event loop any more
            del job

    def _ended(self, job: _Job, jobs: SimpleQueue[_Job | None]) -> None:
        if jobs is self._jobs:  # else its thread was given up by `stop`, and counts no more
            self.busy -= 1
            while self._waiting and self.busy < self._count:
                self._take_turn()
        if not job.future.done():
            job.future.set_result(None)

    def _take_turn(self) -> None:
        whose = next(iter(self._waiting))
        waiting = self._waiting.pop(whose)
        job = waiting.popleft()
        if waiting:
            self._waiting[whose] = waiting  # behind the others
        if job.future.done():
            job.begun = True  # its wait was cancelled just now
        elif job.wanted():
            self._begin(job)
        else:
            job.begun = True
            job.future.set_result(None)

    def stop(self) -> None:
        """End the threads, each as soon as its function has ended."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = self.busy = 0
        self._jobs = SimpleQueue()
