"""The emitter: to publish into a cluster from any process, without being a server."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, overload

from madang.cluster import Bus, open_bus
from madang.cluster.guest import Guest
from madang.cluster.membership import CLUSTER_EVENTS
from madang.cluster.peers import Health
from madang.config import Cluster, Config
from madang.core.ack import Ack
from madang.core.crowd import Crowd
from madang.core.engine import Engine
from madang.core.events import Events
from madang.core.hub import Hub
from madang.core.listeners import AnyFunction
from madang.core.namespace import Namespace
from madang.core.patterns import is_pattern
from madang.core.target import Target
from madang.errors import ConfigError, ConnectError, LocalProtocolError, NotSent, WrongThreadError

__all__ = ["Emitter", "EmitterNamespace", "EmitterTarget"]

logger = logging.getLogger("madang.emitter")

#: What only servers have to be told.
_EVENTS: Final = {name: CLUSTER_EVENTS[name] for name in ("up", "down", "gap", "malformed")}


class EmitterTarget(Target):
    """Whom to talk to, and how: what `emitter.to(...)` gives. See `Target`."""

    __slots__ = ()

    @property
    def local(self) -> Target:
        """An emitter has no clients of its own.

        Raises:
            LocalProtocolError: always.
        """
        raise LocalProtocolError("an emitter has no clients of its own, whom `local` would mean; leave it out")


class EmitterNamespace(Crowd):
    """A namespace, as an emitter sees it: `emitter.of("/chat")`."""

    __slots__ = ("_namespace",)

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    @property
    def name(self) -> str:
        """The namespace."""
        return self._namespace.name

    def _target(self) -> EmitterTarget:
        return EmitterTarget(self._namespace)

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to everyone in the namespace, whatever server they are at. It is queued, and goes at once.

        Args:
            event: its name.
            args: its arguments: JSON, with bytes anywhere in them.

        Raises:
            EncodeError: an argument can't be sent.
            LocalProtocolError: the name is reserved.
            WrongThreadError: the emitter is not connected, or in another event loop.

        Example:
            ```python
            emitter.emit("tick", 42)
            emitter.to("news").emit("headline", "Courtyard opens")
            ```
        """
        self._target().emit(event, *args)

    def send(self, *args: Any) -> None:
        """Send the event "message" to everyone in the namespace."""
        self._target().emit("message", *args)

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack:
        """Ask everyone in the namespace for an acknowledgement. See `Target.call`.

        Example:
            ```python
            votes = await emitter.to("jury").call("vote", timeout=10)
            ```
        """
        return self._target().call(event, *args, timeout=timeout, returns=returns)

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Say an event to all servers. See `Namespace.server_side_event`."""
        self._namespace.server_side_emit(event, *args)

    def server_side_call(self, event: str, *args: Any, timeout: float | None = None) -> Ack:
        """Ask all servers; awaited, it gives the list of their answers. See `Namespace.server_side_call`."""
        return self._namespace.server_side_call(event, *args, timeout=timeout)


class Emitter(EmitterNamespace):
    """Publishes into a cluster from any process of asyncio, without being a server. For others: `BlockingEmitter`.

    It is the main namespace; `of` gives others. It needs a connection to the engine of the cluster alone, and hears
    nothing of it but the answers to what it asks.

    Args:
        cluster: the engine, as the setting `cluster` of the servers: a URL or a `Cluster`. `prefix` has to be theirs.
        connect_timeout: how many seconds `connect` tries to reach the engine.
        ack_timeout: how many seconds `call` and `server_side_call` wait when they aren't told.

    Raises:
        ConfigError: the URL makes no sense, or what it needs is not installed.

    Example:
        ```python
        async with Emitter("redis://localhost:6379") as emitter:
            emitter.to("news").emit("headline", "Courtyard opens")
            votes = await emitter.of("/jury").call("vote", timeout=10)
        ```
    """

    __slots__ = (
        "__weakref__",
        "_bus",
        "_connect_timeout",
        "_error",
        "_events",
        "_guest",
        "_hub",
        "_loop",
        "_lost",
        "_starting",
        "_timer",
        "_waiting",
        "settings",
    )

    def __init__(self, cluster: Cluster | str, *, connect_timeout: float = 5.0, ack_timeout: float = 30.0) -> None:
        self.settings = Cluster(cluster) if isinstance(cluster, str) else cluster
        self._connect_timeout = connect_timeout
        self._hub = hub = Hub()
        engine = hub.engine = Engine(Config(ack_timeout_seconds=ack_timeout), hub)
        engine.wheel.wake = self._wake
        hub.owner = self
        hub.guard = self._check
        hub.shield = asyncio.shield
        self._bus: Bus | None = open_bus(self.settings)  # tells at once what is wrong with the URL
        self._guest: Guest | None = None
        self._starting: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._error: BaseException | None = None
        self._lost = 0
        self._events = Events("the emitter's", _EVENTS)
        self._events.on_failure = self._log_failure
        super().__init__(hub.of("/"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'connected' if self.connected else 'not connected'}>"

    def of(self, name: str) -> EmitterNamespace:
        """Another namespace, by its name, as "/chat".

        Raises:
            LocalProtocolError: it is no name, but a pattern of names.
        """
        if is_pattern(name):
            raise LocalProtocolError(f"an emitter speaks to one namespace at a time, and {name!r} stands for many")
        return EmitterNamespace(self._hub.of(name))

    # What happens to it

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, function: AnyFunction) -> AnyFunction: ...
    def on(self, event: str, function: Any = None) -> Any:
        """Hear of what happens to the connection: a plain function, registered directly or as a decorator.

        "up" (): the engine is reached; "down" (error): it is reached no more, and tried again. "gap" (count, why):
        so many messages were thrown away; None: answers may have been missed. "malformed" (error): an answer could
        not be read.

        Raises:
            LocalProtocolError: there is no such event, or the function can't take the arguments, or is `async def`.
        """
        return self._events.on(event) if function is None else self._events.on(event, function)

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Remove a function of `on`, or all of an event.

        Raises:
            LocalProtocolError: there is no such event.
        """
        self._events.off(event, function)

    @property
    def connected(self) -> bool:
        """Whether the engine can be reached now."""
        return self._guest is not None and self._guest.connected

    @property
    def health(self) -> Health | None:
        """How it is now; None while it has never been connected. Of the members, it knows only who answers."""
        return None if self._guest is None else self._guest.health

    # Its life

    async def connect(self) -> None:
        """Connect to the engine, or wait until it is reached again. `async with` does it.

        Raises:
            ConnectError: it can't be reached within `connect_timeout`. It is tried again until `close` is called.
            ConfigError: it never can, as with a wrong password.
            WrongThreadError: the emitter is connected in another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._starting is None:
            self._start(loop)
        self._guard(self._loop)
        assert self._starting is not None  # `_start` has begun it  # noqa: S101
        try:
            async with asyncio.timeout(self._connect_timeout):
                await asyncio.shield(self._starting)
                while not self.connected:
                    reached = loop.create_future()
                    self._waiting.append(reached)
                    await reached
        except TimeoutError:
            why = self._error or "it doesn't answer"
            raise ConnectError(
                f"the engine of the cluster can't be reached within {self._connect_timeout:g} s: {why}"
            ) from self._error
        except ConfigError:
            await self._end()  # the next time, it may be another one
            raise

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        hub, engine = self._hub, self._hub.engine
        self._loop = loop
        engine.reset()
        engine.wheel.wake = self._wake
        engine.clock = loop.time
        engine.call_soon = loop.call_soon
        hub.new_future = loop.create_future
        name = self.settings.name or f"{platform.node()}:{os.getpid()}"
        bus, self._bus = self._bus or open_bus(self.settings), None
        guest = self._guest = Guest(hub, self.settings, bus, secrets.token_hex(8), secrets.token_urlsafe(3), name)
        guest.events.on_failure = self._log_failure
        guest.on("up", self._up)
        guest.on("down", self._down)
        guest.on("gap", self._gap)
        guest.on("malformed", self._malformed)
        self._starting = loop.create_task(guest.start(), name="emitter")

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # it tells more than TimeoutError
        """Wait until the engine has taken all that was said.

        Args:
            timeout: how many seconds; None: for as long as it takes.

        Raises:
            NotSent: it hasn't by then, or something was thrown away since the last time, because too much waited.
        """
        guest = self._guest
        if guest is None:
            return
        self._guard(self._loop)
        waiting = 0
        try:
            async with asyncio.timeout(timeout):
                await guest.bus.drain()
        except TimeoutError:
            waiting = max(1, guest.bus.buffered[0])
        lost, self._lost = self._lost, 0
        if waiting or lost:
            if waiting:
                why = f"it has not taken them within {timeout:g} s"
                if not self.connected:
                    why += f", and can't be reached: {self._error}"
            else:
                why = "more than max_buffered_messages or max_buffered_bytes waited, or they can't be sent at all"
            raise NotSent(waiting, lost, why)

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109
        """Send what waits, and disconnect. It may be connected again.

        Args:
            timeout: how many seconds sending may take.

        Raises:
            NotSent: not all was sent by then. What was not is lost.
        """
        guest = self._guest
        if guest is None:
            return
        self._guard(self._loop)
        try:
            await self.drain(timeout)
        finally:
            await self._end()

    async def _end(self) -> None:
        guest, self._guest = self._guest, None
        starting, self._starting = self._starting, None
        if guest is not None and starting is not None:
            starting.cancel()
            await asyncio.wait([starting])
            await guest.close()
            self._forget()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop = self._guest = self._starting = None
        self._hub.peers = self._hub.relay = None
        self._lost = 0

    def _abandon(self) -> object:
        """Begin anew in a process that was forked: the connection is the other one's.

        Returns:
            What has to be kept for good, because its end would touch the other's connection.
        """
        left = (self._guest, self._bus, self._loop, self._starting, self._timer, self._waiting, self._hub.engine.wheel)
        self._timer = None
        self._forget()
        self._bus = None
        self._waiting = []
        return left

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close(0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except NotSent as unsent:
            if error is None:
                raise
            logger.error("%s", unsent)  # the other error is the one to tell

    # What it needs

    def _check(self) -> None:
        if self._hub.peers is None:
            self._guard(None)
        self._guard(self._loop)

    def _guard(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is None:
            raise WrongThreadError(
                "the emitter is not connected: use it in `async with Emitter(...) as emitter`, or `await "
                "emitter.connect()` first; without asyncio, use BlockingEmitter"
            )
        if asyncio._get_running_loop() is not loop:
            raise WrongThreadError(
                "the emitter was used from another thread or event loop than the one that it is connected in; in "
                "threads, use BlockingEmitter"
            )

    def _wake(self, when: float) -> None:
        assert self._loop is not None  # it is connected  # noqa: S101
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        assert self._loop is not None  # noqa: S101
        self._timer = None
        wheel = self._hub.engine.wheel
        try:
            wheel.advance(self._loop.time())
        finally:
            when = wheel.next
            if when is not None and self._timer is None:
                self._wake(when)

    # What happens

    def _up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        self._events.tell("up")

    def _down(self, error: BaseException) -> None:
        self._error = error
        logger.warning("the cluster's engine can't be reached, it is tried again: %s", error or repr(error))
        self._events.tell("down", error)

    def _gap(self, count: int | None, why: str) -> None:
        if count is not None:
            self._lost += count
            logger.error("%d messages are lost: %s", count, why)
        self._events.tell("gap", count, why)

    def _malformed(self, error: Exception) -> None:
        logger.warning("an answer of a server is left out: %s", error)
        self._events.tell("malformed", error)

    def _log_failure(self, event: str, error: BaseException) -> None:
        logger.error("the function for the emitter's %r failed", event, exc_info=error)
