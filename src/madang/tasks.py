"""Starts coroutines at once, so that a handler which never waits never costs a turn of the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

__all__ = ["start"]

if sys.version_info >= (3, 12):

    def start(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        """Run a coroutine up to its first wait, as a task. The task may be done when this returns.

        Args:
            coroutine: what to run.
            loop: the running loop.

        Source: Python 3.12, "eager tasks".
        """
        return asyncio.Task(coroutine, loop=loop, eager_start=True)

else:
    # Python 3.11 has no eager tasks. Its task written in Python, which will not change any more, asks the loop for its
    # first step while it is made: that step is caught, and run at once.
    from asyncio.tasks import _enter_task, _leave_task, _PyTask  # type: ignore[attr-defined]

    class _Catcher:
        """Stands in for the loop while a task is made."""

        __slots__ = ("step",)

        def call_soon(self, step: Any, context: Any = None) -> None:
            self.step = step

        def get_debug(self) -> bool:
            return False

    class _EagerTask(_PyTask):  # type: ignore[misc]
        def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
            catcher = _Catcher()
            super().__init__(coroutine, loop=catcher)
            self._loop = loop
            outer = asyncio.current_task(loop)
            if outer is not None:
                _leave_task(loop, outer)
            try:
                self._context.run(catcher.step)
            finally:
                if outer is not None:
                    _enter_task(loop, outer)

    def start(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
        """Run a coroutine up to its first wait, as a task. The task may be done when this returns."""
        task: asyncio.Task[Any] = _EagerTask(coroutine, loop)
        return task
