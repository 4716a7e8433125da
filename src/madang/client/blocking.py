"""The client for threads and scripts: a `Client` in an event loop of its own thread, and a portal into it.

Nothing of the protocol is here. Each method hands its work to that thread and waits for the result, so that errors are
raised where the mistake was made. Handlers run in that thread too; what blocks there blocks the client, so the methods
that wait refuse to be called there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from madang.client.client import Client
from madang.client.config import ClientConfig
from madang.client.dial import Dialer
from madang.client.manager import Manager
from madang.client.socket import Auth, ClientSocket, Event, Events
from madang.errors import Disconnected, Reason, WrongThreadError

__all__ = ["BlockingClient", "BlockingEvents", "BlockingManager", "BlockingSocket", "BlockingVolatile", "Portal"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
T = TypeVar("T")

logger = logging.getLogger("madang.client")


class Portal:
    """The way into the client's thread, which is started when it is first needed.

    Args:
        name: what the thread is called.
    """

    def __init__(self, name: str = "madang-client") -> None:
        self._name = name
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def inside(self) -> bool:
        """Whether this is the client's own thread."""
        return self._thread is not None and threading.get_ident() == self._thread.ident

    def start(self) -> None:
        """Start the thread, unless it runs.

        Raises:
            WrongThreadError: it runs in the process that this one was forked from.
        """
        with self._lock:
            self._check()
            if self._thread is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        ended = False
        while not ended:
            try:
                loop.run_forever()
                ended = True
            except BaseException:  # as of sys.exit in a task: it can end neither the program nor the client from here
                logger.exception("a handler tried to end the client's thread")
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()  # else who waits for it would wait for ever
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    @property
    def ended(self) -> bool:
        """Whether the thread is gone though nobody has stopped it: because the process was forked."""
        return self._thread is not None and not self._thread.is_alive()

    def _check(self) -> None:
        if self.ended:
            raise WrongThreadError(
                "the client's thread doesn't run in this process, which was forked from the one where it does; make "
                "another BlockingClient here"
            )

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The thread's event loop; None: there is no thread."""
        return self._loop

    def leave(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """End the thread once it has run a coroutine function. Nobody waits for it."""
        loop, self._loop = self._loop, None
        thread, self._thread = self._thread, None
        if loop is not None and thread is not None and thread.is_alive():

            async def last() -> None:
                try:
                    await function()
                finally:
                    loop.stop()

            asyncio.run_coroutine_threadsafe(last(), loop)

    def stop(self) -> None:
        """End the thread."""
        with self._lock:
            ended = self.ended
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is not None and thread is not None and not ended:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function that does not wait, in the client's thread if there is one."""
        if self.inside:
            return function(*args)
        with self._lock:
            self._check()
            loop = self._loop
            if loop is None:
                return function(*args)
            done: concurrent.futures.Future[T] = concurrent.futures.Future()

            def step() -> None:
                try:
                    done.set_result(function(*args))
                except BaseException as error:
                    done.set_exception(error)

            loop.call_soon_threadsafe(step)
        return done.result()

    def wait(self, function: Callable[..., Coroutine[Any, Any, T]], *, start: bool = False) -> T:
        """Run a coroutine function in the client's thread, and wait for its result.

        Args:
            function: makes the coroutine.
            start: start the thread if there is none.

        Raises:
            WrongThreadError: this is the client's own thread, which would wait for itself, or another process has it.
            Disconnected: there is no thread, or the client is closed meanwhile.
        """
        if self.inside:
            raise WrongThreadError(
                "a handler of a BlockingClient runs in the client's own thread, which would wait for itself here; emit "
                "without waiting, write the handler for Client in asyncio, or wait in another thread"
            )
        with self._lock:
            if start:
                self.start()
            self._check()
            if self._loop is None:
                raise Disconnected(Reason.IO_CLIENT_DISCONNECT)
            future = asyncio.run_coroutine_threadsafe(function(), self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Disconnected(Reason.IO_CLIENT_DISCONNECT) from None
        except BaseException:
            future.cancel()
            raise


class BlockingEvents(Iterator[Event]):
    """The events that come from now on: iterate with `for`. Ends when the socket is disconnected for good."""

    def __init__(self, portal: Portal, events: Events, timeout: float | None) -> None:
        self._portal = portal
        self._events = events
        self._timeout = timeout

    def __next__(self) -> Event:
        try:
            event = self._portal.wait(self._next)
        except Disconnected:  # another thread has closed the client
            event = None
        if event is None:
            raise StopIteration
        return _BlockingEvent(self._portal, event)

    async def _next(self) -> Event | None:
        try:
            async with asyncio.timeout(self._timeout):
                return await anext(self._events)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise TimeoutError(f"no event came within {self._timeout:g} s") from None


class _BlockingEvent(Event):
    """An event whose acknowledgement goes through the portal."""

    __slots__ = ()

    def __init__(self, portal: Portal, event: Event) -> None:
        answer = (lambda args: portal.run(event.acknowledge, *args)) if event.wants_answer else None
        super().__init__(event.name, event.args, answer)


class BlockingVolatile:
    """Emits what may be lost: `socket.volatile`."""

    __slots__ = ("_portal", "_socket")

    def __init__(self, portal: Portal, socket: ClientSocket) -> None:
        self._portal = portal
        self._socket = socket

    def emit(self, event: str, *args: Any) -> None:
        """Send an event, unless there is no connection or it is busy: then the event is dropped."""
        self._portal.run(self._socket.volatile.emit, event, *args)

    def send(self, *args: Any) -> None:
        """Send the event "message" in the same way."""
        self._portal.run(self._socket.volatile.send, *args)


class BlockingManager:
    """The connection of a `BlockingClient`: what `Manager` is for a `Client`."""

    __slots__ = ("_manager", "_portal")

    def __init__(self, portal: Portal, manager: Manager) -> None:
        self._portal = portal
        self._manager = manager

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._manager.connected

    @property
    def transport(self) -> str | None:
        """How the connection is carried now, as "polling" or "websocket"; None without one."""
        return self._manager.transport

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def on(self, event: str, handler: Any = None) -> Any:
        """Register a handler of an event of the connection. See `Manager.on`."""
        if handler is None:
            return lambda function: self.on(event, function)
        return self._portal.run(self._manager.on, event, handler)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove a handler of an event, or all of them."""
        self._portal.run(self._manager.off, event, handler)


class BlockingSocket:
    """A client in one namespace, for threads. Made by `client.of(name)`. See `ClientSocket` for what each method does.

    Any thread may use it. Handlers run in the client's own thread and must not block for long.
    """

    def __init__(self, portal: Portal, socket: ClientSocket) -> None:
        self._portal = portal
        self._socket = socket

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.id if self.connected else 'not connected'}>"

    @property
    def name(self) -> str:
        """The namespace."""
        return self._socket.name

    @property
    def id(self) -> str | None:
        """The id that the server knows it by, while it is connected."""
        return self._socket.id

    @property
    def connected(self) -> bool:
        """Whether it is in the namespace now."""
        return self._socket.connected

    @property
    def active(self) -> bool:
        """Whether it is connected, or tries to be."""
        return self._socket.active

    @property
    def recovered(self) -> bool:
        """Whether the server has restored the state before the connection was lost."""
        return self._socket.recovered

    @property
    def auth(self) -> Auth:
        """What is sent at the next joining; may be set."""
        return self._socket.auth

    @auth.setter
    def auth(self, auth: Auth) -> None:
        self._socket.auth = auth

    @property
    def manager(self) -> BlockingManager:
        """The connection, and its events."""
        return BlockingManager(self._portal, self._socket.manager)

    # Listening

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def on(self, event: str, handler: Any = None) -> Any:
        """Register a handler of an event. See `ClientSocket.on`."""
        if handler is None and not callable(event):
            return lambda function: self.on(event, function)
        return self._portal.run(self._socket.on, event, handler)

    @overload
    def once(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def once(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def once(self, event: str, handler: Any = None) -> Any:
        """Register a handler that hears the event the next time only."""
        if handler is None:
            return lambda function: self.once(event, function)
        return self._portal.run(self._socket.once, event, handler)

    def event(self, handler: AnyFunction) -> AnyFunction:
        """Register a handler under its own name."""
        self._portal.run(self._socket.event, handler)
        return handler

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove the handler of an event, or one of several."""
        self._portal.run(self._socket.off, event, handler)

    def on_any(self, handler: AnyFunction) -> AnyFunction:
        """Hear every event that comes."""
        self._portal.run(self._socket.on_any, handler)
        return handler

    def off_any(self, handler: Callable[..., Any] | None = None) -> None:
        """Remove a function that `on_any` has registered, or all of them."""
        self._portal.run(self._socket.off_any, handler)

    def on_any_outgoing(self, handler: AnyFunction) -> AnyFunction:
        """Hear every event that goes."""
        self._portal.run(self._socket.on_any_outgoing, handler)
        return handler

    def off_any_outgoing(self, handler: Callable[..., Any] | None = None) -> None:
        """Remove a function that `on_any_outgoing` has registered, or all of them."""
        self._portal.run(self._socket.off_any_outgoing, handler)

    def on_error(self, handler: AnyFunction) -> AnyFunction:
        """Be told when a handler of the client fails: the exception, the event, its arguments."""
        self._portal.run(self._socket.on_error, handler)
        return handler

    def events(self, *names: str, timeout: float | None = None) -> BlockingEvents:
        """The events that come from now on, to iterate over with `for`; all of them, or those of some names.

        Args:
            names: the events; without them, all.
            timeout: how many seconds to wait for each; then `TimeoutError` is raised. None: for ever.

        Example:
            ```python
            for event in client.events("news", timeout=60):
                print(event.args)
            ```
        """
        self._portal.start()
        return BlockingEvents(self._portal, self._portal.run(self._socket.events, *names), timeout)

    # Talking

    def emit(self, event: str, *args: Any) -> None:
        """Send an event. Without a connection it waits for one. See `ClientSocket.emit`."""
        self._portal.run(self._socket.emit, event, *args)

    def send(self, *args: Any) -> None:
        """Send the event "message"."""
        self._portal.run(self._socket.send, *args)

    @property
    def volatile(self) -> BlockingVolatile:
        """Emit what may be lost."""
        return BlockingVolatile(self._portal, self._socket)

    def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event, and wait for the acknowledgement.

        Args:
            event: its name.
            args: its arguments.
            timeout: how many seconds to wait, for a connection too; `ack_timeout_seconds` of the settings if not given.

        Returns:
            None, the argument, or a tuple of the arguments.

        Raises:
            AckTimeout: the time is over.
            Disconnected: the client is not connected yet, or was closed; or the connection was lost after the event
                was sent.
            WrongThreadError: called in a handler.
        """

        async def ask() -> Any:
            return await self._socket.call(event, *args, timeout=timeout)

        return self._portal.wait(ask)

    def drain(self) -> None:
        """Wait until what was emitted has been handed on to the system."""
        self._portal.wait(self._socket.drain)

    # Life

    def connect(self, *, retry: bool = False) -> None:
        """Join the namespace, and wait for it. See `ClientSocket.connect`.

        Raises:
            ConnectError: the server refused, or could not be reached.
            WrongThreadError: called in a handler.
        """

        async def join() -> None:
            await self._socket.connect(retry=retry)

        self._portal.wait(join, start=True)

    def disconnect(self) -> None:
        """Leave the namespace, for good; without others the connection is closed."""
        self._portal.run(self._socket.disconnect)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()


class BlockingClient(BlockingSocket):
    """A Socket.IO client for threads and scripts: the same as `Client`, with methods that wait.

    Args:
        url: where the server is, as "https://example.org"; a path names the namespace to join.
        auth: as for `Client`.
        config: the settings; without it, the defaults.
        dialer: how connections are made; without it, over the network.
        settings: single settings by name, in place of `config`. See `ClientConfig`.

    Raises:
        ConfigError: the URL or a setting makes no sense.

    Example:
        ```python
        with BlockingClient("https://example.org", auth={"token": "secret"}) as client:
            client.emit("chat message", "hi")
            print(client.call("question", 42, timeout=5))
            for event in client.events(timeout=60):
                print(event.name, event.args)
        ```
    """

    def __init__(
        self,
        url: str,
        auth: Auth = None,
        *,
        config: ClientConfig | None = None,
        dialer: Dialer | None = None,
        **settings: Any,
    ) -> None:
        self._client = Client(url, auth, config=config, dialer=dialer, **settings)
        self._client.manager.runner.caught = (BaseException,)  # nothing that a handler raises ends the thread
        super().__init__(Portal(), self._client)

    def of(self, name: str, auth: Auth = None) -> BlockingSocket:
        """The socket of another namespace, over the same connection. It joins as soon as there is one."""
        return BlockingSocket(self._portal, self._portal.run(self._client.of, name, auth))

    def close(self) -> None:
        """Leave all namespaces, send what waits, close the connection, end the thread.

        Raises:
            WrongThreadError: called in a handler; `disconnect` can be.
        """
        try:
            if not self._portal.ended:
                self._portal.wait(self._client.close)
        except Disconnected:
            logger.debug("the client is closed already")
        finally:
            if not self._portal.inside:
                self._portal.stop()

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
