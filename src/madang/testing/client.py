"""A client for tests: the real one, that keeps what comes, and tells what came instead when a test expects more."""
# ruff: noqa: S101 (assertions are what this module is for)

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from madang.client.client import Client
from madang.client.config import ClientConfig
from madang.client.dial import Dialer
from madang.client.socket import Auth, ClientSocket, Event, Events
from madang.core.socket import Socket
from madang.testing.loops import settle
from madang.testing.network import MemoryNetwork

if TYPE_CHECKING:
    from madang.testing.running import Running

__all__ = ["Expecting", "TestClient", "TestSocket"]

#: How many events a message shows at most.
_SHOWN: int = 10


class Expecting(ClientSocket):
    """What a client of a test can do beside all that a client can.

    Attributes:
        received: all events that came, in order, each as a tuple of its name and its arguments.
        disconnects: the reasons of all disconnections.
    """

    received: list[tuple[Any, ...]]
    disconnects: list[str]
    _network: MemoryNetwork | None

    def _keep_events(self) -> None:
        self.received = []
        self.disconnects = []
        self._reasons = 0  # how many were asked for
        self._kept: deque[Event] = deque()  # taken from the stream, but not by the test
        self._pulled = 0
        self._stream: Events = self.events()
        self._told: list[asyncio.Future[None]] = []
        self.on_any(lambda *event: self.received.append(event))
        self.on("connect", self._tell)
        self.on("disconnect", self._disconnected)

    def start(self) -> None:  # noqa: D102
        was_over = self._over
        super().start()
        if was_over:
            self._stream = self.events()

    # What comes

    async def next_event(self, name: str | None = None, *, timeout: float = 1.0) -> Event:  # noqa: ASYNC109
        """The next event that was not taken yet; await it if there is none.

        Args:
            name: take the next event of this name, and leave others for later; without it, the next one of any name.
            timeout: how many seconds to wait for it at most.

        Returns:
            The event, with its `name` and `args`; `event.acknowledge(...)` answers it.

        Raises:
            AssertionError: it does not come; the message tells what came instead.

        Example:
            ```python
            event = await client.next_event("question")
            event.acknowledge("yes")
            ```
        """
        for event in self._kept:
            if name is None or event.name == name:
                self._kept.remove(event)
                return event
        try:
            async with asyncio.timeout(timeout):
                while True:
                    event = await anext(self._stream)
                    self._pulled += 1
                    if name is None or event.name == name:
                        return event
                    self._kept.append(event)
        except TimeoutError:
            why = f"came within {timeout:g} s"
        except StopAsyncIteration:
            why = f"will come: the client is disconnected for good ({self._last_reason()})"
        what = "no event" if name is None else f'no event "{name}"'
        raise AssertionError(f"{what} {why}; {self._instead()}")

    async def expect(self, name: str, *args: Any, timeout: float = 1.0) -> Event:  # noqa: ASYNC109
        """Await the next event of a name, which must have exactly these arguments.

        Args:
            name: its name.
            args: its arguments.
            timeout: how many seconds to wait for it at most.

        Raises:
            AssertionError: it does not come, or with other arguments.

        Example:
            ```python
            await client.expect("news", "Courtyard opens")
            ```
        """
        event = await self.next_event(name, timeout=timeout)
        assert event.args == args, f"expected {_shown((name, *args))}, but {_shown((name, *event.args))} came"
        return event

    async def expect_nothing(self, name: str | None = None, *, seconds: float = 0.0) -> None:
        """Check that no event comes that was not taken yet: of all that is under way, and of what comes for a while.

        Args:
            name: only events of this name count.
            seconds: how long nothing may come. With 0 only what is under way now counts.

        Raises:
            AssertionError: there are such events; the message shows them.

        Example:
            ```python
            bystander.socket.emit("news", "for you alone")
            await client.expect_nothing("news")
            ```
        """
        if seconds:
            await asyncio.sleep(seconds)
        await settle()
        while self._pulled < len(self.received):
            self._kept.append(await anext(self._stream))
            self._pulled += 1
        left = [(event.name, *event.args) for event in self._kept if name is None or event.name == name]
        assert not left, f"nothing was expected, but this came: {_listed(left)}"

    # Coming and going

    async def wait_connect(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until the client is connected, as again after a lost connection.

        Args:
            timeout: how many seconds to wait at most.

        Raises:
            AssertionError: it isn't by then.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self.connected:
                    await self._news()
        except TimeoutError:
            raise AssertionError(f"the client is not connected after {timeout:g} s; {self._instead()}") from None

    async def wait_disconnect(self, timeout: float = 1.0) -> str:  # noqa: ASYNC109
        """Wait until the client is disconnected, or take the news that it was; each disconnection is told once.

        Args:
            timeout: how many seconds to wait at most.

        Returns:
            The reason.

        Raises:
            AssertionError: it still is connected by then.
        """
        try:
            async with asyncio.timeout(timeout):
                while self._reasons >= len(self.disconnects):
                    await self._news()
        except TimeoutError:
            raise AssertionError(f"the client was not disconnected within {timeout:g} s; {self._instead()}") from None
        self._reasons += 1
        return self.disconnects[self._reasons - 1]

    def _disconnected(self, reason: str) -> None:
        self.disconnects.append(reason)
        self._tell()

    def _tell(self) -> None:
        told, self._told = self._told, []
        for future in told:
            if not future.done():
                future.set_result(None)

    async def _news(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._told.append(future)
        await future

    # The other side

    @property
    def network(self) -> MemoryNetwork:
        """The network between this client and the server: it can break, be slow, or go silent.

        Raises:
            AssertionError: the client is connected over a real one.
        """
        assert self._network is not None, "this client is connected over a real network"
        return self._network

    @property
    def socket(self) -> Socket:
        """The server's side of this client: its rooms, its `data`, and `emit` to it alone.

        Raises:
            AssertionError: the client is not connected now, or over a real network.
        """
        assert self.id is not None, "the client is not connected"
        socket = self.network.io.of(self.name).sockets.get(self.id)
        assert socket is not None, "the server doesn't know the client any more"
        return socket

    def _last_reason(self) -> str:
        return self.disconnects[-1] if self.disconnects else "it never was connected"

    def _instead(self) -> str:
        """What there is to say when something did not come."""
        untaken = [(event.name, *event.args) for event in self._kept]
        waiting = len(self.received) - self._pulled
        untaken += self.received[len(self.received) - waiting :] if waiting > 0 else []
        said = f"what came instead: {_listed(untaken)}" if untaken else "nothing else came"
        if not self.connected:
            said += f"; the client is not connected ({self._last_reason()})"
        errors = self._server_errors()
        if errors:
            said += f"; handlers of the server failed: {', '.join(map(repr, errors))}"
        return said

    def _server_errors(self) -> list[BaseException]:
        return []


class TestSocket(Expecting):
    """A `TestClient` in another namespace: `client.of("/admin")`."""

    __test__ = False  # its name is no reason to collect it

    def __init__(self, client: TestClient, name: str, auth: Auth) -> None:
        super().__init__(client.manager, name, auth)
        self._client = client
        self._network = client._network
        self._keep_events()

    def _server_errors(self) -> list[BaseException]:
        return self._client._server_errors()


class TestClient(Expecting, Client):
    """A client for tests: a `Client`, with all that it can do, that keeps what comes. `connect` makes them.

    Over a real network it can be made like any `Client`: `TestClient("http://127.0.0.1:8000")`.

    Args:
        url: where the server is.
        auth: as for `Client`.
        config: the settings.
        dialer: how connections are made: a `MemoryNetwork`, or without it, over the network.
        server: the server that runs in the same event loop.
        settings: single settings by name, in place of `config`. See `ClientConfig`.

    Attributes:
        server: the server that runs in the same event loop, if it does.
    """

    __test__ = False  # its name is no reason to collect it

    def __init__(
        self,
        url: str,
        auth: Auth = None,
        *,
        config: ClientConfig | None = None,
        dialer: Dialer | None = None,
        server: Running | None = None,
        **settings: Any,
    ) -> None:
        self.server = server
        self._network = dialer if isinstance(dialer, MemoryNetwork) else None
        super().__init__(url, auth, config=config, dialer=dialer, **settings)
        self._keep_events()

    def of(self, name: str, auth: Auth = None) -> TestSocket:  # noqa: D102
        socket = self.manager.sockets.get(name)
        if socket is None:
            self.manager.guard()
            socket = TestSocket(self, name, auth)
            if self.manager.loop is not None:
                socket.start()
        elif auth is not None:
            socket.auth = auth
        assert isinstance(socket, TestSocket), f"{name} is the namespace of the client itself"
        return socket

    def _server_errors(self) -> list[BaseException]:
        return self.server.errors if self.server is not None else []


def _shown(event: tuple[Any, ...]) -> str:
    name, *args = event
    return f"{name}({', '.join(map(repr, args))})"


def _listed(events: list[tuple[Any, ...]]) -> str:
    more = f" and {len(events) - _SHOWN} more" if len(events) > _SHOWN else ""
    return ", ".join(map(_shown, events[:_SHOWN])) + more
