"""A server that runs in the event loop of a test, and clients of it without sockets."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from madang.client.socket import Auth
from madang.core.socket import Socket
from madang.faces.asgi import ASGIApplication, ASGIFace
from madang.server import Server
from madang.testing.client import TestClient
from madang.testing.loops import Watch
from madang.testing.network import MemoryNetwork

__all__ = ["ErrorLog", "Running", "connect", "failure_of", "running"]

_HOST: Final = "test"
#: How long a client of a test waits for an answer if it isn't told.
_ACK_TIMEOUT_SECONDS: Final = 5.0
#: How long an application beside the server may take to start or to end.
_LIFESPAN_SECONDS: Final = 10.0

_all: weakref.WeakKeyDictionary[Server, Running] = weakref.WeakKeyDictionary()


class Running:
    """A server that runs in the event loop of a test: what `running` gives, and `client.server`.

    Attributes:
        io: the server.
        errors: what its handlers have raised so far, unless an `on_error` of the program has taken it. What is left in
            here at the end fails the test, so take out what you expect: `[error] = server.take_errors()`.
    """

    def __init__(self, io: Server) -> None:
        self.io = io
        self.errors: list[BaseException] = []
        self._networks: weakref.WeakSet[MemoryNetwork] = weakref.WeakSet()

    def client(
        self, namespace: str = "/", auth: Auth = None, *, address: str = "127.0.0.1", **settings: Any
    ) -> TestClient:
        """A client that is not connected yet: `connect` it, or use it in `async with`. See `connect`."""
        config = self.io.config
        settings = {
            "path": config.path,
            "parser": config.parser,
            "transports": ["websocket"],
            "ack_timeout_seconds": _ACK_TIMEOUT_SECONDS,
            "short_poll_interval_seconds": config.min_short_poll_seconds,
            **settings,
        }
        most = settings.get("max_payload_bytes", 100_000_000)
        network = MemoryNetwork(self.io, address=address, host=_HOST, max_response_bytes=most)
        self._networks.add(network)
        return TestClient(f"http://{_HOST}{namespace}", auth, dialer=network, server=self, **settings)

    def take_errors(self) -> list[BaseException]:
        """What handlers have raised since the last time; it fails the test no more."""
        errors, self.errors[:] = list(self.errors), []
        return errors

    def crash(self) -> None:
        """Be gone without a word, and forget all clients: connections break, and no handler of theirs hears of it.

        Until `recover`, nobody can connect. What the program itself keeps, it keeps.
        """
        engine, hub = self.io.engine, self.io.hub
        for network in self._networks:
            network.refusing = True
            network.lose_server()
        wake = engine.wheel.wake
        engine.reset()
        hub.reset()
        engine.wheel.wake = wake

    def recover(self) -> None:
        """Let clients connect again after `crash`."""
        for network in self._networks:
            network.refusing = False

    async def restart(self) -> None:
        """Stop in order, and start again: clients are told "server shutting down", and come back by themselves."""
        await self.io.close()
        await self.io.start()


class ErrorLog(logging.Handler):
    """Hears what servers log when a handler fails.

    Args:
        errors: where to put the exceptions.
        io: the server that is meant; without it, any.
    """

    def __init__(self, errors: list[BaseException], io: Server | None = None) -> None:
        super().__init__(logging.ERROR)
        self.errors = errors
        self._io = io

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception of a record, if it has one."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None or any(error is known for known in self.errors):
            return
        sockets = [one for one in record.args if isinstance(one, Socket)] if isinstance(record.args, tuple) else []
        if self._io is None or all(socket.namespace.hub is self._io.hub for socket in sockets):
            self.errors.append(error)


@asynccontextmanager
async def running(target: Server | ASGIFace, *, allow_errors: bool = False) -> AsyncIterator[Running]:
    """Start a server in the running event loop, without sockets, and close it at the end.

    Functions of `on_start` and `on_stop` run. Of an application beside it (`io.asgi(app)`) its lifespan runs too. A
    server that was started already is not closed, and one that is `running` already is just given again.

    Args:
        target: the server, or its ASGI application.
        allow_errors: whether handlers may fail. Else an exception in a handler that no `on_error` has taken fails the
            test at the end.

    Raises:
        AssertionError: at the end, a handler has failed; the exception is its cause.

    Example:
        ```python
        async with running(io) as server:
            async with server.client(), server.client():
                assert len(io.sockets) == 2
        ```
    """
    io = target.io if isinstance(target, ASGIFace) else target
    known = _all.get(io)
    if known is not None and io.loop is asyncio.get_running_loop():
        yield known
        return
    server = _all[io] = Running(io)
    Watch.of_running().servers.add(io)
    log = ErrorLog(server.errors, io)
    logging.getLogger("madang").addHandler(log)
    try:
        try:
            async with AsyncExitStack() as stack:
                if isinstance(target, ASGIFace) and target.other is not None:
                    await stack.enter_async_context(_lifespan(target))
                elif not io.started:
                    await stack.enter_async_context(io)
                yield server
        finally:
            logging.getLogger("madang").removeHandler(log)
            del _all[io]
    except Exception as error:
        if not allow_errors:
            for failed in server.take_errors():
                error.add_note(f"Before that, a handler of the server has failed: {failed!r}")
        raise
    if server.errors and not allow_errors:
        raise failure_of(server.take_errors())


def failure_of(errors: list[BaseException]) -> AssertionError:
    """What a test fails with when handlers have failed."""
    first, *others = errors
    failure = AssertionError(
        f"a handler of the server has failed: {first!r}; expect it with client.server.take_errors(), or give "
        "allow_errors=True"
    )
    failure.__cause__ = first
    for other in others:
        failure.add_note(f"So has another one: {other!r}")
    return failure


@asynccontextmanager
async def connect(
    target: Server | ASGIFace,
    namespace: str = "/",
    auth: Auth = None,
    *,
    address: str = "127.0.0.1",
    allow_errors: bool = False,
    **settings: Any,
) -> AsyncIterator[TestClient]:
    """Connect a client to a server in the same event loop, without sockets. The server is started if need be.

    The client is a real `Client` over a network in memory. It uses the transport "websocket" if it isn't told other
    ones, the parser and the path of the server, and waits five seconds for an answer at most. Else it has the
    settings of any client; reconnection is on.

    Args:
        target: the server, or its ASGI application.
        namespace: the namespace to join.
        auth: as for `Client`.
        address: the client's address, as the server sees it.
        allow_errors: as for `running`.
        settings: of the client, by name. See `ClientConfig`.

    Raises:
        ConnectError: the server has refused the client.
        AssertionError: at the end, a handler of the server has failed.

    Example:
        ```python
        from madang import Server, Socket
        from madang.testing import connect

        io = Server()


        @io.event
        def double(socket: Socket, number: int) -> int:
            socket.broadcast.emit("doubled", number)
            return 2 * number


        async def test_double() -> None:
            async with connect(io) as alice, connect(io) as bob:
                assert await alice.call("double", 21) == 42
                await bob.expect("doubled", 21)
                await alice.expect_nothing()
        ```
    """
    async with (
        running(target, allow_errors=allow_errors) as server,
        server.client(namespace, auth, address=address, **settings) as client,
    ):
        yield client


@asynccontextmanager
async def _lifespan(app: ASGIApplication) -> AsyncIterator[None]:
    """Run the lifespan of an ASGI application."""
    incoming: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    outgoing: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, incoming.get, outgoing.put))

    async def ask(what: str) -> None:
        incoming.put_nowait({"type": f"lifespan.{what}"})
        answer = asyncio.ensure_future(outgoing.get())
        await asyncio.wait((task, answer), timeout=_LIFESPAN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            if task.done():
                task.result()
            raise RuntimeError(f"the application did not answer to lifespan.{what}")
        message = answer.result()
        if message["type"] != f"lifespan.{what}.complete":
            raise RuntimeError(f"the application failed: {message['type']} {message.get('message', '')}".rstrip())

    try:
        await ask("startup")
        yield
        await ask("shutdown")
        await task
    finally:
        task.cancel()
        await asyncio.wait((task,))
