"""What a test has to know about its event loop: when nothing happens any more. And a time that passes at once."""

from __future__ import annotations

import asyncio
import selectors
import time
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    from madang.server import Server

__all__ = ["FakeTime", "Watch", "settle"]

#: How far time may run by itself while a test waits for something: then it never comes.
_PATIENCE_SECONDS: Final = 86_400.0
#: How long `settle` waits for work in threads, in real seconds.
_THREADS_SECONDS: Final = 1.0
#: Turns of an event loop that can't be watched after which nothing happens any more, most likely.
_QUIET_TURNS: Final = 50

_watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = weakref.WeakKeyDictionary()


class Watch:
    """Watches an event loop, and tells when it has nothing to do. There is one for each loop: `Watch.of_running()`.

    Attributes:
        in_flight: how many messages of memory networks are under way and will arrive by themselves.
        servers: the servers that tests run in the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.in_flight = 0
        self.servers: weakref.WeakSet[Server] = weakref.WeakSet()
        self._working = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._patience = 0.0
        self._time: FakeTime | None = None
        selector = getattr(loop, "_selector", None)
        #: Whether the loop says when it is idle. uvloop's and Windows' proactor loop don't.
        self.sees = False
        if isinstance(selector, selectors.BaseSelector):
            self.sees = True
            loop._selector = _WatchedSelector(selector, self)  # type: ignore[attr-defined]
            self._count_threads(loop)

    @classmethod
    def of_running(cls) -> Watch:
        """The watch of the running event loop."""
        loop = asyncio.get_running_loop()
        watch = _watches.get(loop)
        if watch is None:
            watch = _watches[loop] = cls(loop)
        return watch

    def _count_threads(self, loop: asyncio.AbstractEventLoop) -> None:
        run = loop.run_in_executor

        def run_in_executor(executor: Any, function: Any, *args: Any) -> Any:
            future = run(executor, function, *args)
            self._working += 1
            future.add_done_callback(self._worked)
            return future

        loop.run_in_executor = run_in_executor  # type: ignore[method-assign,assignment]

    def _worked(self, future: object) -> None:
        self._working -= 1

    def select(
        self, selector: selectors.BaseSelector, timeout: float | None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """The event loop wants to sleep until something happens, at most for so long."""
        if timeout is not None and timeout <= 0:
            return selector.select(timeout)
        events = selector.select(0)
        if events:
            return events
        if self._waiting and not self.in_flight and not self._busy():
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
            return []
        working = self._threads() > 0
        if self._waiting and working:
            timeout = 0.05 if timeout is None else min(timeout, 0.05)
            return selector.select(timeout)
        if self._time is not None:
            return self._time._idle(selector, timeout, outside=working)
        return selector.select(timeout)

    def _threads(self) -> int:
        """How many threads work for the loop."""
        return self._working + sum(io.busy_threads for io in self.servers)

    def _busy(self) -> bool:
        return self._threads() > 0 and time.monotonic() < self._patience

    async def settle(self) -> None:
        """Wait until nothing happens any more: see the function of this name."""
        loop = asyncio.get_running_loop()
        if self.sees:
            self._patience = time.monotonic() + _THREADS_SECONDS
            future = loop.create_future()
            self._waiting.append(future)
            await future
            return
        quiet = 0
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0.001 if self.in_flight else 0)
            quiet = 0 if self.in_flight else quiet + 1


class _WatchedSelector(selectors.BaseSelector):
    """Stands between an event loop and its selector."""

    def __init__(self, selector: selectors.BaseSelector, watch: Watch) -> None:
        self._selector = selector
        self._watch = watch

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._watch.select(self._selector, timeout)

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def close(self) -> None:
        self._selector.close()

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._selector.get_key(fileobj)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._selector.get_map()


async def settle() -> None:
    """Wait until all that is under way has arrived and was handled, without waiting for time to pass.

    It returns once the event loop has nothing to do but to wait: for a timer, for the network, for the test. What is
    held up by `MemoryNetwork.cut` is not waited for; what is slow by `delay_seconds` is, and so is work in threads of
    the loop's executors, for at most a second.

    Under uvloop, which doesn't tell when it is idle, it lets some turns of the loop pass instead.

    Example:
        ```python
        client.emit("join", "news")
        await settle()
        assert client.socket.rooms == {client.id, "news"}
        ```
    """
    await Watch.of_running().settle()


class FakeTime:
    """Time that passes at once, for the whole event loop: servers, clients, and `asyncio.sleep` in your handlers.

    While something happens, time stands still. When all wait, it jumps to the moment for which the first one waits. So
    a heartbeat, an acknowledgement that never comes, a minute of reconnection cost no time, and their order is the
    same each time. `advance` lets a certain time pass.

    The loop must be one of asyncio's own on selectors, as it is by default on Linux and macOS. Only the loop's time is
    meant: `time.time()` and `datetime.now()` go on as ever. While a thread works for the loop or a real socket is open
    in it, time does not jump by itself but flows as in reality, because nobody can know when these will have something
    to say. When it has jumped over a day and the test still waits, `RuntimeError` ends the wait.

    Attributes:
        running: whether the loop has this time now.

    Example:
        ```python
        from madang import Server, Socket
        from madang.testing import FakeTime, connect

        io = Server()


        @io.event
        async def remind(socket: Socket, seconds: float) -> None:
            await asyncio.sleep(seconds)
            socket.emit("reminder")


        async def test_a_day_later() -> None:
            async with FakeTime() as time, connect(io) as client:
                client.emit("remind", 86_400)
                await time.advance(86_399)
                await client.expect_nothing()
                await time.advance(1)
                await client.expect("reminder")
        ```
    """

    def __init__(self) -> None:
        self.running = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = 0.0
        self._now = 0.0
        self._until = 0.0
        self._advancing = 0

    @property
    def now(self) -> float:
        """How many seconds have passed since it began, rounded to microseconds."""
        return round(self._now - self._began, 6)

    def start(self) -> None:
        """Take over the time of the running event loop. Done by `async with`, and by the first `advance`.

        Raises:
            RuntimeError: the event loop is none of asyncio's on selectors, or has a fake time already.
        """
        if self.running:
            return
        loop = asyncio.get_running_loop()
        watch = Watch.of_running()
        if not watch.sees:
            raise RuntimeError(f"FakeTime needs asyncio's own selector event loop, not {type(loop).__name__}")
        if watch._time is not None:
            raise RuntimeError("this event loop has a FakeTime already")
        self._loop = loop
        self._began = self._now = loop.time()
        self._until = self._now + _PATIENCE_SECONDS
        watch._time = self
        loop.time = self._read  # type: ignore[method-assign]
        self.running = True
        for io in watch.servers:
            io.engine.clock = loop.time

    def stop(self) -> None:
        """Give the loop its own time back. What waits in it by then waits for longer."""
        loop = self._loop
        if loop is None or not self.running:
            return
        self.running = False
        watch = _watches[loop]
        watch._time = None
        del loop.time
        for io in watch.servers:
            io.engine.clock = loop.time

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _read(self) -> float:
        return self._now

    async def advance(self, seconds: float) -> None:
        """Let time pass, and all that is due by then happen, each thing at its own moment.

        Args:
            seconds: how long.

        Raises:
            ValueError: time doesn't go back.
        """
        if not seconds >= 0:
            raise ValueError(f"time can't advance by {seconds!r} seconds")
        self.start()
        loop = asyncio.get_running_loop()
        watch = Watch.of_running()
        target = self._now + seconds
        self._until = max(self._until, target + _PATIENCE_SECONDS)
        future: asyncio.Future[None] = loop.create_future()
        handle = loop.call_at(target, _wake, future)
        self._advancing += 1
        try:
            await watch.settle()
            await future
            # Servers look at their deadlines some times a second; what is due now shall not wait for the next one.
            for io in list(watch.servers):
                if io.loop is loop:
                    io.engine.wheel.advance(self._now)
            await watch.settle()
        finally:
            self._advancing -= 1
            handle.cancel()

    async def settle(self) -> None:
        """Let all that is under way arrive, while time stands still. The same as `madang.testing.settle`."""
        await settle()

    def _idle(
        self, selector: selectors.BaseSelector, timeout: float | None, *, outside: bool
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """The loop has nothing to do until then."""
        if timeout is None:
            return selector.select(None)
        # Each loop has one descriptor of its own, by which it is woken.
        if outside or (not self._advancing and len(selector.get_map()) > 1):
            began = time.monotonic()
            events = selector.select(timeout)
            self._now += time.monotonic() - began
            return events
        if self._now + timeout > self._until:
            self._until = self._now + _PATIENCE_SECONDS  # for the loop's end
            raise RuntimeError("a day of fake time has passed, and the test still waits for something that never comes")
        self._now += timeout
        return []


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
