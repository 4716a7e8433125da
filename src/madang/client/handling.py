"""How handlers run: their signatures, their first step at once, and what they raise to the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from types import CoroutineType
from typing import Any

from madang.core.listeners import Handler
from madang.errors import InvalidArguments
from madang.tasks import start

__all__ = ["ClientHandler", "Runner"]

logger = logging.getLogger("madang.client")

#: What to do with what a handler returns.
Answer = Callable[[Any], None]


class ClientHandler(Handler):
    """A function that a client has registered: it receives the arguments, and nothing before them.

    Args:
        function: the function.
        what: what it handles, for messages.
        typed: whether its annotations decode the arguments, as on the server.
    """

    __slots__ = ()

    def __init__(self, function: Callable[..., Any], what: str, *, typed: bool = False) -> None:
        super().__init__(function, leading=0, what=what, typed=typed)


class Runner:
    """Runs the handlers of a client.

    A `def` handler runs to its end at once; an `async def` one to its first wait, and goes on as a task. What one
    raises goes to `on_error` and to the log; it ends nothing.

    Attributes:
        loop: the event loop of the client, while it runs.
        caught: what a handler may raise without ending more than itself.
        on_error: told of what a handler raises: the exception, the event and its arguments.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.on_error: Callable[[BaseException, str, list[Any]], Any] | None = None
        self.caught: tuple[type[BaseException], ...] = (Exception, asyncio.CancelledError)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._own: set[asyncio.Task[Any]] = set()

    def run(self, handler: Handler, event: str, args: list[Any], answer: Answer | None = None) -> None:
        """Run a handler.

        Args:
            handler: the function.
            event: the event's name, for messages.
            args: what to call it with; what it doesn't take is cut.
            answer: is given what it returns.
        """
        try:
            given: Sequence[Any] = args
            shape = handler.settle()
            if shape is not None:
                given = shape.convert(event, args)
            elif not handler.required <= len(args) <= handler.accepted:
                given = handler.fit(event, args)
            result = handler.function(*given)
            if result.__class__ is CoroutineType:
                self._launch(result, handler.name, event, args, answer)
            elif answer is not None:
                answer(result)
        except self.caught as error:
            self._failed(error, event, args, answer)

    def launch(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        """Run a coroutine of the library's own beside the handlers; it is cancelled at the end."""
        task = self._launch(coroutine, name, name, [], None)
        if not task.done():
            self._own.add(task)
            task.add_done_callback(self._own.discard)

    def _launch(
        self, coroutine: Coroutine[Any, Any, Any], name: str, event: str, args: list[Any], answer: Answer | None
    ) -> asyncio.Task[Any]:
        assert self.loop is not None  # packets come in a running loop only  # noqa: S101
        task = start(coroutine, self.loop)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            try:
                result = task.result()
                if answer is not None:
                    answer(result)
            except asyncio.CancelledError:
                logger.info("the handler %s of %r was cancelled", name, event)
            except self.caught as error:
                self._failed(error, event, args, answer)

        if task.done():
            ended(task)
        else:
            self._tasks.add(task)
            task.add_done_callback(ended)
        return task

    def _failed(self, error: BaseException, event: str, args: list[Any], answer: Answer | None) -> None:
        if self.on_error is None:
            if isinstance(error, InvalidArguments):
                logger.warning("an event doesn't suit its handler: %s", error)
                if answer is not None:
                    answer(error.answer)
            else:
                logger.error("the handler of %r failed", event, exc_info=error)
            return
        try:
            result = self.on_error(error, event, args)
            if result.__class__ is CoroutineType:
                self._launch(_logged(result), "on_error", event, args, _unless_none(answer))
            elif answer is not None and result is not None:
                answer(result)
        except Exception:
            logger.exception("on_error failed")

    async def close(self, seconds: float) -> None:
        """Let handlers end; those that still run after some seconds are cancelled."""
        current = asyncio.current_task()
        for task in self._own - {current}:
            task.cancel()
        tasks = {task for task in self._tasks if task is not current}
        if not tasks:
            return
        _, running = await asyncio.wait(tasks, timeout=seconds)
        for task in running:
            logger.warning("a handler still ran when the client was closed, and was cancelled")
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1.0)


async def _logged(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except Exception:
        logger.exception("on_error failed")


def _unless_none(answer: Answer | None) -> Answer | None:
    if answer is None:
        return None

    def answered(value: Any) -> None:
        if value is not None:
            answer(value)

    return answered
