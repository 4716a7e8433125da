"""The plug-in for pytest: fixtures for tests of programs that use Madang. pytest finds it by itself.

It imports nothing of the library until a fixture is asked for, and works with pytest-asyncio, in both of its modes, and
with anyio's plug-in: the fixtures themselves are ordinary ones, and what they open is closed at the end of the test
function, in its event loop.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from madang.client.socket import Auth
    from madang.faces.asgi import ASGIApplication, ASGIFace
    from madang.server import Server
    from madang.testing import FakeTime, TestClient

__all__ = ["Connect", "Serve", "madang_clock", "madang_connect", "madang_server", "pytest_configure"]

_MARKER = "madang_allow_errors: handlers of Madang's servers may fail in this test without failing it"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


class Connect(Protocol):
    """The type of the fixture `madang_connect`."""

    async def __call__(
        self, target: Server | ASGIFace, namespace: str = "/", auth: Auth = None, **settings: Any
    ) -> TestClient:
        """Connect a client."""


class Serve(Protocol):
    """The type of the fixture `madang_server`."""

    def __call__(self, target: Server | ASGIApplication, **options: Any) -> str:
        """Serve, and tell the URL."""


class _Stage:
    """What a test has opened: the test function is wrapped, so that it is closed in the test's own event loop."""

    def __init__(self, item: pytest.Function) -> None:
        self.clock: FakeTime | None = None
        self.stack = AsyncExitStack()
        self._item = item
        self._function: Callable[..., Any] = item.obj
        function = self._function
        if hasattr(function, "hypothesis"):
            pytest.fail("Madang's fixtures are made for one run; with @given use madang.testing.connect", pytrace=False)
        if not inspect.iscoroutinefunction(function):
            pytest.fail("madang_connect and madang_clock need a test that is async def", pytrace=False)

        @functools.wraps(function)
        async def staged(*args: Any, **kwargs: Any) -> Any:
            if self.clock is not None:
                await self.stack.enter_async_context(self.clock)
            async with self.stack:
                return await function(*args, **kwargs)

        item.obj = staged

    def end(self) -> None:
        self._item.obj = self._function


@pytest.fixture
def _madang_stage(request: pytest.FixtureRequest) -> Iterator[_Stage]:
    stage = _Stage(request.node)
    yield stage
    stage.end()


def _allows_errors(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("madang_allow_errors") is not None


@pytest.fixture
def madang_connect(request: pytest.FixtureRequest, _madang_stage: _Stage) -> Connect:
    """Clients of a server in the test's event loop, without sockets.

    `client = await madang_connect(io, ...)` takes what `madang.testing.connect` takes. Clients and servers are closed
    at the test's end.
    """
    from madang.testing import connect

    allow_errors = _allows_errors(request)

    async def madang_connect(
        target: Server | ASGIFace, namespace: str = "/", auth: Auth = None, **settings: Any
    ) -> TestClient:
        if _madang_stage.clock is not None:
            _madang_stage.clock.start()  # in case that a fixture is the first to connect
        settings = {"allow_errors": allow_errors, **settings}
        return await _madang_stage.stack.enter_async_context(connect(target, namespace, auth, **settings))

    return madang_connect


@pytest.fixture
def madang_clock(_madang_stage: _Stage) -> FakeTime:
    """Time that passes at once, in the test's event loop: `await madang_clock.advance(30)`. A `FakeTime`."""
    from madang.testing import FakeTime

    _madang_stage.clock = clock = FakeTime()
    return clock


@pytest.fixture
def madang_server(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Servers on real ports, in threads of their own; also for tests that are not async.

    `url = madang_server(io)` takes what `madang.testing.serving` takes. Servers are stopped at the test's end.
    """
    from madang.testing import serving

    with ExitStack() as stack:

        def madang_server(target: Server | ASGIApplication, **options: Any) -> str:
            options = {"allow_errors": _allows_errors(request), **options}
            return stack.enter_context(serving(target, **options))

        yield madang_server
