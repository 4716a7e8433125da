"""A client in one namespace: what it emits, asks, hears, and what waits while it is not connected.

One long module, because all of it is about one thing: whether the namespace is joined now, and what to do if not.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from madang.client.engine import Connection
from madang.client.handling import ClientHandler
from madang.client.recovery import Trail
from madang.core.checks import check_event
from madang.errors import (
    AckTimeout,
    ConfigError,
    ConnectError,
    Disconnected,
    EncodeError,
    LimitError,
    LocalProtocolError,
    MadangError,
    Reason,
    RemoteProtocolError,
)
from madang.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, NOTHING, Encoded, Packet

if TYPE_CHECKING:
    from madang.client.manager import Manager

__all__ = ["Auth", "ClientSocket", "Event", "Events", "Volatile"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
#: What is sent when a namespace is joined: a dict, or a function that makes one, `def` or `async def`.
Auth = Mapping[str, Any] | Callable[[], Any] | None
#: What happens to a call: an error, or the answer.
Settle = Callable[[Exception | None, Any], None]

logger = logging.getLogger("madang.client")

#: Events of the socket's life, which several handlers may hear.
_LIFE: Final = frozenset({"connect", "connect_error", "disconnect"})


class Event:
    """An event that came, as `events()` gives it.

    Attributes:
        name: its name.
        args: its arguments.
        wants_answer: whether the server waits for an acknowledgement.

    Example:
        ```python
        async for event in client.events():
            print(event.name, event.args)
            if event.wants_answer:
                event.acknowledge("seen")
        ```
    """

    __slots__ = ("_answer", "args", "name")

    def __init__(self, name: str, args: tuple[Any, ...], answer: Callable[[Any], None] | None) -> None:
        self.name = name
        self.args = args
        self._answer = answer

    @property
    def wants_answer(self) -> bool:
        """Whether the server waits for an acknowledgement."""
        return self._answer is not None

    def acknowledge(self, *args: Any) -> None:
        """Send the acknowledgement. Does nothing where none is wanted, or one was sent, as by a handler."""
        if self._answer is not None:
            self._answer(args)

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {self.args!r})"


class Events(AsyncIterator[Event]):
    """The events that come from now on: iterate with `async for`. Ends when the socket is disconnected for good."""

    def __init__(self, names: frozenset[str], most: int, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._names = names
        self._most = most
        self._loop = loop
        self._waiting: deque[Event] = deque()
        self._missed = 0
        self._over = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: Event) -> None:
        """An event came."""
        if self._names and event.name not in self._names:
            return
        if len(self._waiting) >= self._most:
            self._missed += 1
        else:
            self._waiting.append(event)
            self._wake()

    def end(self) -> None:
        """No more will come."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._missed:
                missed, self._missed = self._missed, 0
                raise LimitError(
                    f"{missed} events were missed, because {self._most} waited already: iterate faster, or raise "
                    "max_buffered_events"
                )
            if self._over:
                raise StopAsyncIteration
            if self._waiter is not None and not self._waiter.done():
                raise LocalProtocolError("two tasks iterate over the same events; call events() in each of them")
            self._waiter = self._loop().create_future()
            await self._waiter
        return self._waiting.popleft()


class _Call:
    """A question whose answer is awaited: what to do then, and when to give up."""

    __slots__ = ("settle", "timer")

    def __init__(self, settle: Settle, timer: asyncio.TimerHandle | None) -> None:
        self.settle = settle
        self.timer = timer


class _Waiting:
    """A packet that waits for a connection."""

    __slots__ = ("args", "encoded", "event", "id")

    def __init__(self, encoded: Encoded, event: str, args: tuple[Any, ...], id_: int | None) -> None:
        self.encoded = encoded
        self.event = event
        self.args = args
        self.id = id_


class _Retried:
    """An event that is sent until it is acknowledged."""

    __slots__ = ("args", "event", "pending", "settle", "timeout", "tries")

    def __init__(self, event: str, args: tuple[Any, ...], timeout: float, settle: Settle | None) -> None:
        self.event = event
        self.args = args
        self.timeout = timeout
        self.settle = settle
        self.pending = False
        self.tries = 0


class Volatile:
    """Emits what may be lost: `socket.volatile`."""

    __slots__ = ("_socket",)

    def __init__(self, socket: ClientSocket) -> None:
        self._socket = socket

    def emit(self, event: str, *args: Any) -> None:
        """Send an event, unless there is no connection or it is busy: then the event is dropped."""
        self._socket._emit_volatile(event, args)

    def send(self, *args: Any) -> None:
        """Send the event "message" in the same way."""
        self._socket._emit_volatile("message", args)


class ClientSocket:
    """A client in one namespace. Made by `client.of(name)`; the `Client` itself is the one of its URL.

    Attributes:
        name: the namespace.
        id: the id that the server knows it by, while it is connected; else None.
        connected: whether it is in the namespace now.
        recovered: whether the server has restored the state of the connection before: id, rooms, and missed events.
        active: whether it is connected, or tries to be.
        auth: what is sent when the namespace is joined, each time anew: a dict, or a function without parameters,
            `def` or `async def`, that gives one.
        manager: the connection that it shares with other namespaces.

    Source: socket.io-client 4.8, `Socket`.
    """

    def __init__(self, manager: Manager, name: str, auth: Auth = None) -> None:
        if not isinstance(name, str) or not name.startswith("/") or "," in name:
            raise ConfigError(f'a namespace starts with "/" and has no comma, as "/admin", not {name!r}')
        _check_auth(auth)
        self.manager = manager
        self.name = name
        self.auth = auth
        self.id: str | None = None
        self.connected = False
        self.recovered = False
        self.active = False
        self._config = manager.config
        self._runner = manager.runner
        self._trail = Trail()
        self._connection: Connection | None = None  # over which it has asked to join
        self._wanted = False  # joins when the client connects
        self._persistent = False  # goes on trying when there is no connection
        self._over = False
        self._waiters: list[asyncio.Future[None]] = []
        self._join_timer: asyncio.TimerHandle | None = None
        self._early: list[Packet] = []  # events that came before the answer to CONNECT
        self._ids = 0
        self._calls: dict[int, _Call] = {}
        self._offline: deque[_Waiting] = deque()
        self._queue: deque[_Retried] = deque()
        self._handlers: dict[str, ClientHandler] = {}
        self._once: set[str] = set()
        self._life: dict[str, list[ClientHandler]] = {}
        self._incoming: list[ClientHandler] = []
        self._outgoing: list[ClientHandler] = []
        self._streams: weakref.WeakSet[Events] = weakref.WeakSet()
        manager.sockets[name] = self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.id if self.connected else 'not connected'}>"

    # Listening

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def on(self, event: str, handler: Any = None) -> Any:
        """Register a handler of an event, as a decorator or directly.

        The handler, `def` or `async def`, receives the event's arguments; those that it doesn't take are cut. Its
        annotations decode and check them, as on the server: what doesn't suit goes to `on_error` or the log, not to the
        handler. What it returns is the acknowledgement, if the server asked for one: a tuple is several arguments, None
        is none.

        Three events tell of the socket's life: "connect" (), "disconnect" (reason) and "connect_error" (error). They
        may have several handlers; any other event has one.

        Raises:
            LocalProtocolError: the function can't take the arguments, or the event has a handler already.

        Example:
            ```python
            @client.on("news")
            async def news(text: str) -> str:
                return "read"
            ```
        """
        if handler is None:
            if callable(event):
                raise LocalProtocolError('write @client.on("name"), or @client.event to take the function\'s own name')
            return lambda function: self.on(event, function)
        self._add(event, handler, once=False)
        return handler

    @overload
    def once(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def once(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def once(self, event: str, handler: Any = None) -> Any:
        """Register a handler that hears the event the next time only."""
        if handler is None:
            return lambda function: self.once(event, function)
        self._add(event, handler, once=True)
        return handler

    def event(self, handler: AnyFunction) -> AnyFunction:
        """Register a handler under its own name.

        Example:
            ```python
            @client.event
            def typing(who: str) -> None:
                print(who, "is typing")
            ```
        """
        self._add(handler.__name__, handler, once=False)
        return handler

    def _add(self, event: str, function: Callable[..., Any], *, once: bool) -> None:
        self.manager.guard()
        if event in _LIFE:
            if once:
                function = _Once(function, lambda one: self.off(event, one))
            self._life.setdefault(event, []).append(ClientHandler(function, f'"{event}"'))
            return
        check_event(event)
        if event in self._handlers:
            raise LocalProtocolError(
                f'the event "{event}" is handled by {self._handlers[event].name} already; remove that with '
                f'off("{event}")'
            )
        self._handlers[event] = ClientHandler(function, f'"{event}"', typed=True)
        if once:
            self._once.add(event)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove the handler of an event, or one of several. Does nothing where there is none."""
        self.manager.guard()
        if event in _LIFE:
            self._life[event] = [
                one for one in self._life.get(event, ()) if handler is not None and one.function != handler
            ]
        elif handler is None or (event in self._handlers and self._handlers[event].function == handler):
            self._handlers.pop(event, None)
            self._once.discard(event)

    def on_any(self, handler: AnyFunction) -> AnyFunction:
        """Hear every event that comes: the handler receives the event's name and its arguments."""
        self.manager.guard()
        self._incoming.append(ClientHandler(handler, "every event"))
        return handler

    def on_any_outgoing(self, handler: AnyFunction) -> AnyFunction:
        """Hear every event that goes: the handler receives the event's name and its arguments."""
        self.manager.guard()
        self._outgoing.append(ClientHandler(handler, "every outgoing event"))
        return handler

    def off_any(self, handler: Callable[..., Any] | None = None) -> None:
        """Remove a function that `on_any` has registered, or all of them. Does nothing where there is none."""
        self.manager.guard()
        self._incoming = [one for one in self._incoming if handler is not None and one.function != handler]

    def off_any_outgoing(self, handler: Callable[..., Any] | None = None) -> None:
        """Remove a function that `on_any_outgoing` has registered, or all of them."""
        self.manager.guard()
        self._outgoing = [one for one in self._outgoing if handler is not None and one.function != handler]

    def on_error(self, handler: AnyFunction) -> AnyFunction:
        """Be told when a handler of the client fails: the exception, the event, its arguments. One for all namespaces.

        What it returns, unless None, is sent as the acknowledgement. Without it the exception is logged.
        """
        self.manager.guard()
        self._runner.on_error = handler
        return handler

    def events(self, *names: str) -> Events:
        """The events that come from now on, to iterate over with `async for`; all of them, or those of some names.

        Handlers hear them too. The iteration goes on over reconnections, and ends when the socket is disconnected for
        good. Up to `max_buffered_events` wait for it; when more came, it raises `LimitError` once it has given those.

        Example:
            ```python
            async for event in client.events("news"):
                print(event.args)
            ```
        """
        self.manager.guard()
        stream = Events(frozenset(names), self._config.max_buffered_events, self.manager.bind)
        if self._over:
            stream.end()
        else:
            self._streams.add(stream)
        return stream

    # Talking

    def emit(self, event: str, *args: Any) -> None:
        """Send an event. Without a connection it waits for one, in order.

        With the setting `retries` it is sent until the server acknowledges it.

        Args:
            event: its name.
            args: anything that can be put into JSON, with bytes anywhere in it.

        Raises:
            EncodeError: an argument can't be sent.
            LimitError: too much waits already.
            WrongThreadError: not called in the event loop that the client runs in.
        """
        self.manager.guard()
        check_event(event)
        if self._config.retries:
            self._enqueue(event, args, self._config.ack_timeout_seconds, None)
        else:
            self._send(event, args, None, 0.0)

    def send(self, *args: Any) -> None:
        """Send the event "message"."""
        self.emit("message", *args)

    @property
    def volatile(self) -> Volatile:
        """Emit what may be lost: `client.volatile.emit(...)` drops the event if it can't go at once."""
        return Volatile(self)

    def _emit_volatile(self, event: str, args: tuple[Any, ...]) -> None:
        self.manager.guard()
        check_event(event)
        connection = self._connection
        if self.connected and connection is not None and connection.writable:
            self._send(event, args, None, 0.0)

    def call(self, event: str, *args: Any, timeout: float | None = None) -> asyncio.Future[Any]:
        """Send an event and ask for the acknowledgement: await it.

        Args:
            event: its name.
            args: its arguments.
            timeout: how many seconds to wait, for a connection too; `ack_timeout_seconds` of the settings if not given.

        Returns:
            A future of None, the argument, or a tuple of the arguments. It raises `AckTimeout` when the time is over,
            and `Disconnected` when the connection is lost after the event was sent.

        Raises:
            EncodeError: an argument can't be sent.
            LimitError: too much waits already.
            WrongThreadError: not called in a running event loop, or not in the client's.

        Example:
            ```python
            answer = await client.call("question", 42, timeout=5)
            ```
        """
        self.manager.guard()
        check_event(event)
        seconds = self._config.ack_timeout_seconds if timeout is None else timeout
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise LocalProtocolError(f"timeout must be a positive number of seconds, not {timeout!r}")
        future: asyncio.Future[Any] = self.manager.bind().create_future()

        def settle(error: Exception | None, answer: Any) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(answer)

        if self._config.retries:
            entry = self._enqueue(event, args, seconds, settle)
            future.add_done_callback(lambda future: self._forget_retried(entry) if future.cancelled() else None)
        else:
            id_ = self._send(event, args, settle, seconds)
            future.add_done_callback(lambda future: self._forget(id_) if future.cancelled() else None)
        return future

    async def drain(self) -> None:
        """Wait until what was emitted has been handed on to the system.

        Raises:
            Disconnected: there is no connection, or it ends meanwhile.
        """
        await self.manager.drain()

    def _send(self, event: str, args: tuple[Any, ...], settle: Settle | None, seconds: float) -> int:
        id_ = self._ids if settle is not None else None
        encoded = self.manager.encode(Packet(EVENT, [event, *args], self.name, id_))
        if self.connected:
            assert self._connection is not None  # both are set together  # noqa: S101
            self._connection.write(encoded)
            self._eavesdrop(event, args)
        elif len(self._offline) >= self._config.max_buffered_packets:
            raise LimitError(
                f"{len(self._offline)} packets wait for a connection already; emit less while client.connected is "
                "false, use client.volatile, or raise max_buffered_packets"
            )
        else:
            self._offline.append(_Waiting(encoded, event, args, id_))
        if settle is None or id_ is None:
            return -1
        self._ids += 1
        loop = self.manager.bind()
        self._calls[id_] = _Call(settle, loop.call_later(seconds, self._expire, id_, seconds))
        return id_

    def _eavesdrop(self, event: str, args: tuple[Any, ...]) -> None:
        for handler in tuple(self._outgoing):
            self._runner.run(handler, event, [event, *args])

    def _expire(self, id_: int, seconds: float) -> None:
        call = self._calls.get(id_)
        if call is not None:
            self._forget(id_)
            call.settle(AckTimeout(seconds), None)

    def _forget(self, id_: int) -> None:
        """The answer to a question matters no more; one that was not sent yet need not be."""
        call = self._calls.pop(id_, None)
        if call is not None and call.timer is not None:
            call.timer.cancel()
        for waiting in self._offline:
            if waiting.id == id_:
                self._offline.remove(waiting)
                break

    # Retries: one event in flight, sent until it is acknowledged

    def _enqueue(self, event: str, args: tuple[Any, ...], seconds: float, settle: Settle | None) -> _Retried:
        if len(self._queue) >= self._config.max_buffered_packets:
            raise LimitError(
                f"{len(self._queue)} events wait for their acknowledgement already; emit less, or raise "
                "max_buffered_packets"
            )
        self.manager.encode(Packet(EVENT, [event, *args], self.name))  # complains now
        entry = _Retried(event, args, seconds, settle)
        self._queue.append(entry)
        if self.connected:
            self._drain_queue()
        return entry

    def _drain_queue(self) -> None:
        while self.connected and self._queue and not self._queue[0].pending:
            entry = self._queue[0]
            entry.pending = True
            entry.tries += 1

            def settle(error: Exception | None, answer: Any, entry: _Retried = entry) -> None:
                self._settled(entry, error, answer)

            try:
                self._send(entry.event, entry.args, settle, entry.timeout)
            except (LimitError, EncodeError) as error:
                entry.tries = self._config.retries + 1
                self._conclude(entry, error, None)

    def _settled(self, entry: _Retried, error: Exception | None, answer: Any) -> None:
        self._conclude(entry, error, answer)
        self._drain_queue()

    def _conclude(self, entry: _Retried, error: Exception | None, answer: Any) -> None:
        if not self._queue or self._queue[0] is not entry:
            return
        entry.pending = False
        if error is None or entry.tries > self._config.retries:
            self._queue.popleft()
            if entry.settle is not None:
                entry.settle(error, answer)
            elif error is not None:
                logger.warning("the event %r is given up after %d tries: %s", entry.event, entry.tries, error)

    def _forget_retried(self, entry: _Retried) -> None:
        if entry in self._queue:
            first = self._queue[0] is entry
            self._queue.remove(entry)
            if first:
                self._drain_queue()

    # Life

    async def connect(self, *, retry: bool = False) -> None:
        """Join the namespace, over the connection that is there or a new one. Does nothing when it is joined.

        Args:
            retry: whether to go on trying, as after a lost connection, when the server can't be reached at first. A
                refusal by the server is final in any case.

        Raises:
            ConnectError: the server refused, or could not be reached.
            WrongThreadError: not called in a coroutine, or the client runs in another event loop.
        """
        loop = self.manager.bind()
        if self.connected:
            return
        self._persistent = self._persistent or retry
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        self.start()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if not self._waiters and not self.connected and not self._persistent:
                self.disconnect()
            raise

    def start(self) -> None:
        """Begin to join, without waiting for it. For the library; `of` and `connect` call it."""
        self._over = False
        self._wanted = True
        if not self.active:
            self.active = True
            self.manager.want(self)

    def disconnect(self) -> None:
        """Leave the namespace, for good; without others the connection is closed. `connect` joins again."""
        self.manager.guard()
        self._wanted = False
        was_connected = self.connected
        if was_connected and self._connection is not None:
            self._leave(self._connection)
        self._inactive(ConnectError("disconnected by the client itself"))
        if was_connected:
            self._down(Reason.IO_CLIENT_DISCONNECT)
        self._finish(Reason.IO_CLIENT_DISCONNECT)
        self.manager.release()

    def _leave(self, connection: Connection) -> None:
        if connection.is_open:
            connection.push(self.manager.encode(Packet(DISCONNECT, NOTHING, self.name)))

    def _inactive(self, error: ConnectError) -> None:
        self.active = False
        self._persistent = False
        self._stop_joining()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def _stop_joining(self) -> None:
        self._early.clear()
        if self._join_timer is not None:
            self._join_timer.cancel()
            self._join_timer = None

    def _finish(self, reason: str) -> None:
        """It is disconnected for good."""
        self._over = True
        for stream in tuple(self._streams):
            stream.end()
        self._streams.clear()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if call.timer is not None:
                call.timer.cancel()
            call.settle(Disconnected(reason), None)
        queue, self._queue = self._queue, deque()
        for entry in queue:
            if entry.settle is not None:
                entry.settle(Disconnected(reason), None)
        if queue or self._offline:
            logger.warning(
                "%d packets for %s were never sent: the client is disconnected for good (%s)",
                len(queue) + len(self._offline),
                self.name,
                reason,
            )
        self._offline.clear()

    # What the manager tells

    def opened(self, connection: Connection) -> None:
        """There is a connection: join."""
        if self._connection is connection:
            # It has asked already, and left before the answer: that one will do.
            if not self.connected:
                self._await_answer(connection)
            return
        self._connection = connection
        if callable(self.auth):
            self._runner.launch(self._ask_auth(connection, self.auth), "auth")
        else:
            self._join(connection, self.auth)

    async def _ask_auth(self, connection: Connection, function: Callable[[], Any]) -> None:
        while self._wants(connection):
            try:
                async with asyncio.timeout(self._config.connect_timeout_seconds):
                    auth = function()
                    if inspect.isawaitable(auth):
                        auth = await auth
            except Exception as error:
                logger.exception("the auth function of %s failed", self.name)
                failure = ConnectError(f"the auth function failed: {error!r}")
                failure.__cause__ = error
                if not self._wants(connection) or not self._survives(failure):
                    return
                # What it needs, such as a server of tokens, may be out of reach as ours was.
                await asyncio.sleep(self._config.reconnection_delay_max_seconds)
            else:
                if self._wants(connection):
                    self._join(connection, auth)
                return

    def _wants(self, connection: Connection) -> bool:
        """Whether it still wants to join over this connection, for which it has not asked yet."""
        if self._connection is connection and not self.active:
            self._connection = None
        return self._connection is connection

    def _survives(self, error: ConnectError) -> bool:
        """Joining has failed; tell whether it may be tried again: who was connected before does not give up."""
        if self._persistent and self._config.reconnection:
            logger.warning("%s was not joined yet: %s", self.name, error)
            self._fire("connect_error", error)
            return True
        self._failed(error)
        return False

    def _join(self, connection: Connection, auth: Any) -> None:
        try:
            _check_auth(auth, made=True)
            data = self._trail.auth(dict(auth or {}))
            connection.write(self.manager.encode(Packet(CONNECT, data or NOTHING, self.name)), bounded=False)
        except MadangError as error:
            failure = ConnectError(f"auth can't be sent: {error}")
            failure.__cause__ = error
            self._failed(failure)
        else:
            self._await_answer(connection)

    def _await_answer(self, connection: Connection) -> None:
        seconds = self._config.connect_timeout_seconds
        if self._join_timer is not None:
            self._join_timer.cancel()
        self._join_timer = self.manager.bind().call_later(seconds, self._join_expired, connection, seconds)

    def _join_expired(self, connection: Connection, seconds: float) -> None:
        self._join_timer = None
        if self._connection is connection and not self.connected:
            error = ConnectError(f"the server did not answer to joining {self.name} within {seconds:g} s")
            if self._survives(error):
                self._await_answer(connection)

    def _failed(self, error: ConnectError) -> None:
        """Joining has failed for good."""
        heard = bool(self._waiters or self._life.get("connect_error"))
        self._connection = None
        self._inactive(error)
        self._fire("connect_error", error)
        if not heard:
            logger.warning("%s was not joined: %s", self.name, error)
        if not self.active:
            self._finish(Reason.TRANSPORT_ERROR if not error.refused else Reason.IO_SERVER_DISCONNECT)
            self.manager.release()

    def not_connected(self, error: ConnectError) -> None:
        """There is no connection; another one may be tried."""
        if self.active:
            self._not_connected(error)

    def _not_connected(self, error: ConnectError) -> None:
        self._stop_joining()
        if not self._persistent and self._waiters:
            self._inactive(error)
        self._fire("connect_error", error)
        if not self.active:
            self._finish(Reason.TRANSPORT_ERROR)

    def lost(self, reason: str) -> None:
        """The connection is gone."""
        if self._connection is None and not self.active:
            return
        self._connection = None
        if self.connected:
            self._down(reason)
        else:
            self.not_connected(ConnectError(f"the connection was lost: {reason}"))

    def given_up(self, error: ConnectError) -> None:
        """There will be no other connection."""
        if self.active:
            self._inactive(error)
            self._finish(Reason.TRANSPORT_ERROR)

    def _down(self, reason: str) -> None:
        self.connected = False
        self.id = None
        self._connection = None
        self._stop_joining()
        unsent = {waiting.id for waiting in self._offline}
        lost = [self._calls.pop(id_) for id_ in list(self._calls) if id_ not in unsent]
        self._fire("disconnect", reason)
        for call in lost:
            if call.timer is not None:
                call.timer.cancel()
            call.settle(Disconnected(reason), None)

    def _fire(self, event: str, *args: Any) -> None:
        for handler in tuple(self._life.get(event, ())):
            self._runner.run(handler, event, [*args])

    # What comes

    def receive(self, packet: Packet) -> None:
        """A packet for this namespace came.

        Raises:
            RemoteProtocolError: it makes no sense.
        """
        if self._connection is None:
            return
        kind = packet.kind
        if not self.active:
            self._unwanted(kind, self._connection)
        elif kind == EVENT:
            if self.connected:
                self._event(packet)
            elif len(self._early) >= self._config.max_buffered_packets:
                raise RemoteProtocolError("too many events before the namespace is joined", rule="max_buffered_packets")
            else:
                self._early.append(packet)
        elif kind == ACK:
            self._answered(packet)
        elif kind == CONNECT:
            self._joined(packet.data)
        elif kind == CONNECT_ERROR:
            if not self.connected:
                self._refused(packet.data)
        elif kind == DISCONNECT and self.connected:
            self._put_out()

    def _put_out(self) -> None:
        self._inactive(ConnectError("disconnected by the server"))
        self._down(Reason.IO_SERVER_DISCONNECT)
        if not self.active:  # no handler has connected again
            self._finish(Reason.IO_SERVER_DISCONNECT)
            self.manager.release()

    def _unwanted(self, kind: int, connection: Connection) -> None:
        """A packet came though it has left before the server had let it in."""
        if kind == CONNECT:
            self._leave(connection)
        if kind in (CONNECT, CONNECT_ERROR):
            self._connection = None

    def _joined(self, data: Any) -> None:
        if self.connected:
            return
        sid = data.get("sid") if isinstance(data, dict) else None
        if not isinstance(sid, str) or not sid:
            self._failed(ConnectError("the server answered without an id: it speaks the protocol of Socket.IO 2.x"))
            return
        pid = data.get("pid")
        self.recovered = self._trail.joined(pid if isinstance(pid, str) else None)
        self.id = sid
        self.connected = True
        self._persistent = True
        early, self._early = self._early, []
        self._stop_joining()
        connection = self._connection
        # Missed events first, as the server has sent them before its answer; then what has waited here.
        for packet in early:
            self._event(packet)
        self._send_offline(connection)
        if self._connection is not connection or not self.connected:
            return  # a handler has disconnected
        self._drain_queue()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._fire("connect")

    def _send_offline(self, connection: Connection | None) -> None:
        while self._offline and self.connected and connection is self._connection and connection is not None:
            waiting = self._offline.popleft()
            try:
                connection.write(waiting.encoded, bounded=False)
            except LimitError as error:
                call = self._calls.get(waiting.id) if waiting.id is not None else None
                if call is None or waiting.id is None:
                    logger.error("the event %r is lost: %s", waiting.event, error)
                else:
                    self._forget(waiting.id)
                    call.settle(error, None)
                continue
            self._eavesdrop(waiting.event, waiting.args)

    def _refused(self, data: Any) -> None:
        if isinstance(data, str):
            self._failed(ConnectError(data, refused=True))
            return
        message = data.get("message") if isinstance(data, dict) else None
        detail = data.get("data") if isinstance(data, dict) else None
        self._failed(ConnectError(message if isinstance(message, str) else "refused", detail, refused=True))

    def _event(self, packet: Packet) -> None:
        data = packet.data
        answer = None
        if packet.id is not None:
            answer = self._answer_to(packet.id)
        else:
            data = self._trail.take(data, time.time())
        name = data[0]
        for listener in tuple(self._incoming):
            self._runner.run(listener, name, [*data])
        if self._streams:
            event = Event(name, tuple(data[1:]), answer)
            for stream in tuple(self._streams):
                stream.put(event)
        handler = self._handlers.get(name)
        if handler is None:
            if not self._streams and not self._incoming:
                logger.debug("nobody handles %r of %s", name, self.name)
            return
        if name in self._once:
            self.off(name)
        self._runner.run(handler, name, data[1:], answer)

    def _answer_to(self, id_: int) -> Callable[[Any], None]:
        connection = self._connection
        sent = False

        def answer(value: Any) -> None:
            nonlocal sent
            # Another connection knows nothing of the question, or of another one with this number.
            if sent or not self.connected or self._connection is not connection or connection is None:
                return
            data = [] if value is None else list(value) if isinstance(value, tuple) else [value]
            encoded = self.manager.encode(Packet(ACK, data, self.name, id_))
            connection.write(encoded)
            sent = True

        return answer

    def _answered(self, packet: Packet) -> None:
        call = self._calls.pop(packet.id, None) if packet.id is not None else None
        if call is None:
            logger.debug("an answer to no question came: %r", packet.id)
            return
        if call.timer is not None:
            call.timer.cancel()
        args = packet.data
        call.settle(None, args[0] if len(args) == 1 else tuple(args) if args else None)

    # With

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()


class _Once:
    """A handler of the socket's life that removes itself before it runs."""

    def __init__(self, function: Callable[..., Any], remove: Callable[[Any], None]) -> None:
        self._function = function
        self._remove = remove

    def __call__(self, *args: Any) -> Any:
        self._remove(self)
        handler = ClientHandler(self._function, "the event")
        return self._function(*handler.fit("", args))

    def __eq__(self, other: object) -> bool:
        return other is self or other == self._function

    __hash__ = None  # type: ignore[assignment]  # it equals the function


def _check_auth(auth: Any, *, made: bool = False) -> None:
    if auth is None or isinstance(auth, Mapping) or (callable(auth) and not made):
        return
    wanted = "the auth function must give a dict" if made else "auth must be a dict, or a function that gives one"
    raise ConfigError(f"{wanted}, not {auth!r:.80}")
