"""Servers inside the test's event loop, which is uvloop's as in `madang serve`."""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from faces.support.clients import WebSocketClient
from faces.support.inside import SERVING
from madang import Server, Socket


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class House:
    """A server with a few handlers, what its disconnect handlers heard, and what it logged."""

    def __init__(self, serving: Any, log: pytest.LogCaptureFixture, settings: dict[str, Any]) -> None:
        self._serving = serving
        self._log = log
        self.port = 0
        self.reasons: dict[str, str] = {}
        self._gone = asyncio.Event()
        names = ("timeout_keep_alive",)
        self._options = {name: settings.pop(name) for name in names if name in settings}
        self.io = Server(**{"shutdown_timeout_seconds": 1, **settings})
        self.io.on("echo", lambda socket, *args: args)
        self.io.on("disconnect", self._left)

    def _left(self, socket: Socket, reason: str) -> None:
        self.reasons[socket.id] = reason
        self._gone.set()

    async def reason(self, id_: str, seconds: float = 5) -> str:
        """Await the end of a client, and tell its reason."""
        async with asyncio.timeout(seconds):
            while id_ not in self.reasons:
                self._gone.clear()
                await self._gone.wait()
        return self.reasons[id_]

    def logged(self, *words: str) -> bool:
        """Whether a line of our log has all these words."""
        return any(all(word in line for word in words) for line in self.lines())

    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._log.records if record.name == "madang"]

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["House"]:
        self._log.set_level(logging.INFO, "madang")
        async with self._serving(self.io, **self._options) as self.port:
            yield self


@pytest.fixture(params=SERVING)
def serving(request: pytest.FixtureRequest) -> Any:
    return SERVING[request.param]


@pytest.fixture
def house(serving: Any, caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """Serve with these settings, on the fast face and on the portable one."""
    return lambda **settings: House(serving, caplog, settings).open()


@pytest.fixture
def fast_house(caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """Serve with these settings, on the fast face."""
    return lambda **settings: House(SERVING["fast"], caplog, settings).open()


@contextlib.asynccontextmanager
async def bystander(house: House) -> AsyncIterator[WebSocketClient]:
    """A client that must be unharmed at the end, and answered all the while."""
    async with WebSocketClient(house.port) as client:
        id_ = await client.join()
        stop = asyncio.Event()
        slowest = hardest = 0.0

        async def ask() -> None:
            nonlocal slowest, hardest
            while not stop.is_set():
                began = time.monotonic(), time.process_time()
                assert await client.call("echo", "alive?") == "alive?"
                slowest = max(slowest, time.monotonic() - began[0])
                hardest = max(hardest, time.process_time() - began[1])
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.02)

        task = asyncio.create_task(ask())
        try:
            yield client
        finally:
            stop.set()
            await task
        assert id_ not in house.reasons
        # what this process, clients and all, worked in between tells more than the clock of a busy machine
        assert hardest < 1.0, f"others had to wait for {hardest:.2f} s of work"
        assert slowest < 20.0, f"others had to wait {slowest:.2f} s"
