"""The server: what a program is written with. Registration, middleware, the running of handlers, life and death.

It is one long module because it is one class, and most of it docstrings: a method hands on to those who do the work,
`Dispatcher`, `Hub`, `Engine`, `Membership`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import platform
import random
import re
import secrets
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, ParamSpec, Self, TypeVar, overload

from madang import browser
from madang.cluster import open_bus
from madang.cluster.membership import GONE, Membership
from madang.cluster.peers import Peer
from madang.cluster.recollection import Recollection
from madang.config import Cluster, Config, Recovery
from madang.core.ack import Ack
from madang.core.crowd import Crowd
from madang.core.engine import Engine
from madang.core.hub import Hub
from madang.core.ids import Ids
from madang.core.listeners import AnyFunction, Listeners
from madang.core.listening import Listening
from madang.core.namespace import Namespace
from madang.core.outgoing import Outgoing
from madang.core.patterns import Predicate
from madang.core.recovery import Memory
from madang.core.session import Session
from madang.core.socket import Socket
from madang.core.target import Target
from madang.dispatch import Dispatcher, logger
from madang.errors import (
    FORBIDDEN,
    ConfigError,
    LocalProtocolError,
    Reason,
    RemoteProtocolError,
    RequestRefused,
    WrongThreadError,
)
from madang.neighbours import link
from madang.tasks import start
from madang.threadsafe import Mailbox, ThreadsafeServer
from madang.transports import Request
from madang.workers import Workers

if TYPE_CHECKING:
    from madang.faces.asgi import ASGIApplication, ASGIFace

__all__ = ["Server"]

#: How long after some clients the next ones are sent away, on average.
_BATCH_SECONDS: Final = 0.05
#: How long those who poll may take to fetch their farewell.
_FAREWELL_SECONDS: Final = 2.0

P = ParamSpec("P")
R = TypeVar("R")


class Server(Crowd, Listening):
    """A Socket.IO server.

    Args:
        config: the settings; without it, the defaults.
        settings: single settings by name, in place of those of `config`. See `Config`.

    Raises:
        ConfigError: a setting that doesn't exist, or makes no sense.

    Attributes:
        config: the settings.
        engine: all connections. For faces and observers.
        hub: all namespaces. For faces and observers.

    Example:
        ```python
        from madang import Server, Socket

        io = Server()


        @io.on("chat message")
        def chat_message(socket: Socket, text: str) -> str:
            socket.broadcast.emit("chat message", text)
            return "delivered"
        ```

        Run it with `madang serve module:io`, or put it beside an ASGI application: `app = io.asgi(fastapi_app)`.
    """

    #: Slot: the cluster of a server that has none of its own, asked for when it starts. Filled by who runs one program
    #: in several processes, for all servers in each.
    default_cluster: ClassVar[Callable[[Server], Cluster | None]] = staticmethod(lambda server: None)

    def __init__(self, config: Config | None = None, **settings: Any) -> None:
        if config is not None and settings:
            raise ConfigError("give either a Config or single settings, not both")
        try:
            self.config = config or Config(**settings)
        except TypeError as error:
            raise ConfigError(f"there is no such setting: {error}") from None
        self.hub = Hub(self.config.ordered_handlers)
        self.engine = Engine(self.config, self.hub, self.hub.shapes)
        if isinstance(self.config.recovery, Recovery):
            self.hub.memory = Memory(self.engine, self.config.recovery)
            self.hub.memory.on_failed = self._log_unrecovered
        self._root = self.hub.of("/")
        self._on_start: list[Callable[[], Any]] = []
        self._on_stop: list[Callable[[], Any]] = []
        self._on_new_namespace: list[Callable[[Namespace], Any]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._timer: asyncio.TimerHandle | None = None
        self._spawned: set[asyncio.Task[Any]] = set()
        self._started = False
        self._starting = False  # `start` was called
        self._start_lock = asyncio.Lock()
        self._starter: asyncio.Task[Any] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._dispatcher = Dispatcher()
        self._mailbox = Mailbox(self.config.max_threadsafe_calls)
        self._threadsafe = ThreadsafeServer(self.hub, self._mailbox)
        self._cluster: Membership | None = None
        self._ids = Ids(secrets.token_bytes)
        self._fill_slots()
        if isinstance(self.config.cluster, Cluster):
            self.join_cluster(self.config.cluster)
        if self.config.serve_client:
            self.engine.files = browser.files()

    def _fill_slots(self) -> None:
        engine, hub, dispatcher = self.engine, self.hub, self._dispatcher
        hub.engine = engine
        hub.owner = self
        hub.admit = dispatcher.admit
        hub.choose = dispatcher.choose
        hub.appeared = self._appeared
        hub.dispatch = dispatcher.dispatch
        hub.life = dispatcher.live
        hub.outgoing = dispatcher.overhear
        hub.housed = dispatcher.housed
        hub.answer = dispatcher.answer
        hub.guard = self._guard
        hub.shield = asyncio.shield
        engine.new_id = self._ids.make
        engine.on_violation = self._log_violation
        engine.on_refused = self._log_refusal
        engine.events.on_failure = self._log_engine_failure
        engine.on_held = self._log_hold
        dispatcher.spawn = self.spawn
        dispatcher.view = self._threadsafe.socket

    # Listening: the main namespace's handlers, and the server's own

    @property
    def listeners(self) -> Listeners:
        """The handlers of the main namespace."""
        return self._root.listeners

    @overload
    def on(
        self, event: str, *, namespace: str = "/", ordered: bool | None = None, thread: bool = False
    ) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(
        self,
        event: str,
        handler: AnyFunction,
        *,
        namespace: str = "/",
        ordered: bool | None = None,
        thread: bool = False,
    ) -> AnyFunction: ...
    def on(
        self,
        event: str,
        handler: Any = None,
        *,
        namespace: str = "/",
        ordered: bool | None = None,
        thread: bool = False,
    ) -> Any:
        """Register a handler of an event, as a decorator or directly. See `Namespace.on`.

        Args:
            event: its name.
            handler: the function; without it, `on` is a decorator.
            namespace: where; `io.of(namespace).on(...)` is the same.
            ordered: whether it waits for its turn.
            thread: whether it runs in a worker thread.

        Raises:
            LocalProtocolError: the function can't take the arguments, or the event has a handler already.
        """
        home = self.hub.of(namespace)
        if handler is None:
            return home.on(event, ordered=ordered, thread=thread)
        return home.on(event, handler, ordered=ordered, thread=thread)

    def _listens_outgoing(self, more: int) -> None:
        self._root._listens_outgoing(more)

    @overload
    def room_event(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def room_event(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def room_event(self, event: str, handler: Any = None) -> Any:
        """Be told what happens to the rooms of the main namespace. See `Namespace.room_event`."""
        return self._root.room_event(event) if handler is None else self._root.room_event(event, handler)

    # Other servers

    def link(self, *others: Server) -> None:
        """Let this server and others of the same process hear each other's server-side events.

        Those that were linked before belong to it too. Each may run in an event loop of its own. Clients, rooms and
        what is emitted to them stay apart: it carries `server_side_emit` and `server_side_call` alone.

        Args:
            others: the servers.

        Raises:
            LocalProtocolError: one of them talks to others in another way.

        Example:
            ```python
            public, staff = Server(), Server(path="/staff/")
            public.link(staff)


            @public.server_side_event("announce")
            def announce(text: str) -> None:
                public.emit("announcement", text)


            @staff.on("announce")
            def announced(socket: Socket, text: str) -> None:
                staff.server_side_emit("announce", text)
            ```
        """
        link([self, *others])

    @property
    def cluster(self) -> Membership:
        """The part that this server has in its cluster: its health, the other members, who wants to hear of them.

        Raises:
            LocalProtocolError: it is in none.

        Example:
            ```python
            io = Server(cluster="redis://localhost:6379")


            @io.cluster.on("down")
            def down(error: BaseException) -> None:
                alarm(f"Redis can't be reached: {error}")
            ```
        """
        if self._cluster is None:
            raise LocalProtocolError('this server is in no cluster; make it with Server(cluster="redis://...")')
        return self._cluster

    @property
    def is_clustered(self) -> bool:
        """Whether it has been given a cluster."""
        return self._cluster is not None

    def join_cluster(self, cluster: Cluster | str) -> Membership:
        """Give the server a cluster, before it starts. The same as the setting `cluster`.

        Raises:
            ConfigError: the URL makes no sense, or what it needs is not installed.
            LocalProtocolError: it has one already, or runs, or is linked with others.

        Example:
            ```python
            io.join_cluster("redis://localhost:6379")
            ```
        """
        if self._cluster is not None:
            raise LocalProtocolError("this server is in a cluster already")
        if self._started or self.hub.relay is not None:
            raise LocalProtocolError("join the cluster before the server starts, and instead of io.link")
        settings = Cluster(cluster) if isinstance(cluster, str) else cluster
        name = settings.name or f"{platform.node()}:{os.getpid()}"
        uid, node = secrets.token_hex(8), secrets.token_urlsafe(3)
        membership = Membership(self.hub, settings, open_bus(settings), uid, node, name)
        membership.events.on_failure = self._log_cluster_failure
        membership.on_failed = self._log_message_failure
        membership.on_answer_failed = self._log_answer
        membership.on("up", self._log_up)
        membership.on("down", self._log_down)
        membership.on("gap", self._log_gap)
        membership.on("joined", self._log_joined)
        membership.on("left", self._log_left)
        membership.on("malformed", self._log_malformed)
        self._cluster = membership
        recovery, ledger = self.config.recovery, membership.bus.ledger
        if isinstance(recovery, Recovery) and ledger is not None:
            recollection = Recollection(self.hub, ledger, recovery, self.spawn, membership.moved)
            recollection.on_failed = self._log_begun_anew
            membership.recollection = self.hub.recollection = recollection
            # In place of what this server would keep alone.
            self.hub.memory = None
            for namespace in self.hub.namespaces.values():
                namespace._log = None
        return membership

    @property
    def reachable(self) -> bool:
        """Whether it runs, so that linked servers can say something to it."""
        return self._loop is not None and not self._loop.is_closed() and self._closing is None

    @overload
    def server_side_event(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def server_side_event(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def server_side_event(self, event: str, handler: Any = None) -> Any:
        """Register the handler of what other servers say. See `Namespace.server_side_event`."""
        return self._root.server_side_event(event) if handler is None else self._root.server_side_event(event, handler)

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Say an event to all other servers, and not to this one. See `Namespace.server_side_emit`."""
        self._root.server_side_emit(event, *args)

    def server_side_call(self, event: str, *args: Any, timeout: float | None = None) -> Ack:
        """Ask all other servers. See `Namespace.server_side_call`."""
        return self._root.server_side_call(event, *args, timeout=timeout)

    @overload
    def emits(self, function: Callable[P, R], /) -> Outgoing[P, R]: ...
    @overload
    def emits(self, *, name: str | None = None, namespace: str = "/") -> Callable[[Callable[P, R]], Outgoing[P, R]]: ...
    def emits(self, function: Any = None, *, name: str | None = None, namespace: str = "/") -> Any:
        """Declare an event that the server sends. See `Namespace.emits`.

        Args:
            function: says what the event carries; without it, `emits` is a decorator.
            name: the event; without it, the function's name.
            namespace: where; `io.of(namespace).emits(...)` is the same.

        Raises:
            LocalProtocolError: the name is reserved or declared already, or a parameter can't be sent.
        """
        home = self.hub.of(namespace)
        return home.emits(name=name) if function is None else home.emits(function)

    def on_error(self, handler: AnyFunction) -> AnyFunction:
        """Be told when a handler fails: the exception, the socket, the event and its arguments. `def` or `async def`.

        What it returns, unless None, is sent as the acknowledgement. Without it the exception is logged, and the
        client gets no acknowledgement.

        Example:
            ```python
            @io.on_error
            def failed(error: BaseException, socket: Socket, event: str, args: list[object]) -> dict[str, str]:
                report(error)
                return {"error": "something went wrong"}
            ```
        """
        self._dispatcher.on_error = handler
        return handler

    def on_invalid(self, handler: AnyFunction) -> AnyFunction:
        """Be told of events whose arguments are not what their handler declares, which the handler doesn't see.

        The function, `def` or `async def`, receives the exception, the socket, the event and its arguments as they
        came. What it returns, unless None, is sent as the acknowledgement in place of the error's own `answer`. With
        or without it, the log gets a line, of which clients can't make many.

        Example:
            ```python
            @io.on_invalid
            def invalid(error: InvalidArguments, socket: Socket, event: str, args: list[object]) -> dict[str, str]:
                socket.data["mistakes"] = socket.data.get("mistakes", 0) + 1
                return {"error": str(error)}
            ```
        """
        self._dispatcher.on_invalid = handler
        return handler

    def on_start(self, function: AnyFunction) -> AnyFunction:
        """Run a function, `def` or `async def` without parameters, when the server starts."""
        self._on_start.append(function)
        return function

    def on_stop(self, function: AnyFunction) -> AnyFunction:
        """Run a function when the server stops: after the clients have left and their handlers have ended."""
        self._on_stop.append(function)
        return function

    # Namespaces and rooms

    def of(self, name: str | re.Pattern[str] | Predicate) -> Namespace:
        """The namespace of this name, made if there is none yet; or one that stands for all that match a pattern.

        A pattern makes a namespace when the first client asks for it, which then is the `namespace` of the client's
        socket, with the `params` of its name. What is registered on the one for the pattern holds for all of them.
        A namespace of just this name goes before patterns, and patterns go in the order of their registration.

        Args:
            name: a name; or a template with parameters, as "/room-{id}" or "/user/{id:int}", with the types `str`,
                `int`, `uuid` and `path`; or a compiled regular expression that has to match the whole name; or a
                function, `def` or `async def`, of the name and the client's `auth`, which gives True, or the
                parameters as a dict, or False. What it raises refuses the client. It is asked while there is no such
                namespace; who may enter is for a middleware to say.

        Raises:
            LocalProtocolError: the template is malformed.

        Example:
            ```python
            rooms = io.of("/room-{id:int}")


            @rooms.on("say")
            def say(socket: Socket, text: str) -> None:
                socket.namespace.emit("said", socket.namespace.params["id"], text)
            ```
        """
        return self.hub.of(name)

    def on_new_namespace(self, function: AnyFunction) -> AnyFunction:
        """Be told of each new namespace: a plain function of the `Namespace`.

        It is called when `of` or `register` makes one, and when a client comes into one that a pattern makes.

        Raises:
            LocalProtocolError: the function is `async def`.
        """
        if inspect.iscoroutinefunction(function):
            raise LocalProtocolError("on_new_namespace takes a plain function; start what waits with io.spawn")
        self._on_new_namespace.append(function)
        return function

    def _appeared(self, namespace: Namespace) -> None:
        for function in self._on_new_namespace:
            try:
                function(namespace)
            except Exception:
                logger.exception("a function of on_new_namespace failed")

    def register(self, namespace: Namespace) -> Namespace:
        """Take in a namespace that was written as a class.

        Raises:
            LocalProtocolError: there is one of this name already, register before anything calls `of(name)`; or it
                belongs to another server.
        """
        if namespace._hub is not None and namespace._hub is not self.hub:
            raise LocalProtocolError(
                f"the namespace {namespace.name!r} belongs to another server; make one of its class for each"
            )
        if namespace.name == "/" and not self._root.sockets:
            # The main namespace always exists; a class for it takes its place before anyone has come.
            known = self._root.listeners
            handlers = (known.events, known.life, known.middleware, known.incoming, known.outgoing)
            if any(handlers) or known.rooms or known.server_side or known.declared:
                raise LocalProtocolError("the main namespace has handlers already; register its class before them")
            del self.hub.namespaces["/"]
            self._root = namespace
        self.hub.add(namespace)
        return namespace

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The clients of the main namespace, by id."""
        return self._root.sockets

    def _target(self) -> Target:
        return Target(self._root)

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to everyone in the main namespace. See `Target.emit`.

        Example:
            ```python
            io.emit("tick", 42)
            io.to("news").emit("headline", "Courtyard opens")
            ```
        """
        Target(self._root).emit(event, *args)

    def send(self, *args: Any) -> None:
        """Send the event "message" to everyone in the main namespace."""
        Target(self._root).emit("message", *args)

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack:
        """Ask everyone in the main namespace for an acknowledgement. See `Target.call`."""
        return Target(self._root).call(event, *args, timeout=timeout, returns=returns)

    # Running

    def asgi(self, other: ASGIApplication | None = None) -> ASGIFace:
        """The server as an ASGI application.

        Args:
            other: an application to stand beside: it gets every request that isn't ours, and the lifespan events.

        Example:
            ```python
            app = io.asgi(FastAPI())               # beside: ours is /socket.io/
            fastapi_app.mount("/socket.io", io.asgi())  # or under it
            ```

        Source: ASGI 3.0.
        """
        from madang.faces.asgi import ASGIFace

        return ASGIFace(self, other)

    @property
    def threadsafe(self) -> ThreadsafeServer:
        """The server for other threads.

        Example:
            ```python
            io.threadsafe.emit("tick", 42)  # in any thread
            ```
        """
        return self._threadsafe

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the server runs in, or None before it runs.

        Example:
            ```python
            asyncio.run_coroutine_threadsafe(report(), io.loop)  # or io.threadsafe.run(report())
            ```
        """
        return self._loop

    def bind(self) -> None:
        """Belong to the running event loop from now on. Called by faces.

        Raises:
            WrongThreadError: the server runs in another event loop, which is still open.
        """
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and not self._loop.is_closed() and self.engine.sessions:
            raise WrongThreadError("this server runs in another event loop already; make a Server for each loop")
        engine = self.engine
        if self._loop is not None:
            engine.reset()
            self.hub.reset()
            self._dispatcher.workers.stop()
            self._started = self._starting = False
            self._closing = self._draining = None
        self._loop = loop
        self._thread = threading.get_ident()
        self._ids.renew()
        self._dispatcher.loop = loop
        self._dispatcher.tasks = {}
        self._dispatcher.workers = Workers(self.config.max_worker_threads, self._mailbox.put)
        self._mailbox.open(loop)
        self._spawned = set()
        self._timer = None
        engine.clock = loop.time
        engine.call_soon = loop.call_soon
        engine.wheel.wake = self._wake
        self.hub.new_future = loop.create_future
        self._start_lock = asyncio.Lock()
        if self._cluster is not None:
            loop.call_soon(self._look_for_start)

    def _look_for_start(self) -> None:
        if not self._starting:
            logger.error(
                "this server serves clients, but it was not started, so it is in no cluster: let the ASGI server run "
                "the lifespan events, or await io.start()"
            )

    def _wake(self, when: float) -> None:
        assert self._loop is not None  # bind comes first  # noqa: S101
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        assert self._loop is not None  # noqa: S101
        self._timer = None
        wheel = self.engine.wheel
        try:
            wheel.advance(self._loop.time())
        finally:
            when = wheel.next
            if when is not None and self._timer is None:
                self._wake(when)

    def _guard(self) -> None:
        if self._loop is not None and asyncio._get_running_loop() is not self._loop:
            self._complain()

    def _complain(self) -> None:
        if self._mailbox.forked:
            self._mailbox.check()
        if threading.get_ident() == self._thread:
            if self._loop is not None and not self._loop.is_running():
                raise WrongThreadError("the server's event loop doesn't run any more")
            raise WrongThreadError("the server was used from another event loop than the one that it runs in")
        raise WrongThreadError(
            f"the server was used from the thread {threading.current_thread().name!r}, but it runs in the event loop "
            "of another thread; use io.threadsafe there, as in io.threadsafe.emit(event, ...)"
        )

    @property
    def started(self) -> bool:
        """Whether `start` was called, and `close` not yet."""
        return self._started

    @property
    def busy_threads(self) -> int:
        """How many handlers with `thread=True` run now."""
        return self._dispatcher.workers.busy if self._loop is not None else 0

    async def start(self) -> None:
        """Start: belong to the running event loop, and run the functions of `on_start`. A second call does nothing."""
        self.bind()
        if self._closing is not None and self._closing is not asyncio.current_task():
            await asyncio.wait([self._closing])
        async with self._start_lock:
            if not self._started:
                self._starter = asyncio.current_task()
                try:
                    await self._start()
                finally:
                    self._starter = None

    async def _start(self) -> None:
        self._closing = self._draining = None
        if self._cluster is None and self.hub.relay is None:
            given = Server.default_cluster(self)
            if given is not None:
                self.join_cluster(given)
        self.hub.settle()
        self.engine.reopen()
        self._mailbox.open(asyncio.get_running_loop())
        when = self.engine.wheel.next
        if when is not None and self._timer is None:  # deadlines of an earlier life are still in the wheel
            self._wake(when)
        self._starting = True
        try:
            if self._cluster is not None:
                await self._cluster.start()
                if self.hub.memory is not None:
                    logger.warning(
                        "recovery: %s keeps nothing, so a client gets what it has missed only if it comes back to the "
                        "same server; redis-streams:// and nats://...?jetstream=1 do",
                        type(self._cluster.bus).__name__,
                    )
            for function in self._on_start:
                result = function()
                if isinstance(result, Awaitable):
                    await result
        except BaseException:
            if self._cluster is not None:
                await self._cluster.close()
            raise
        self._started = True
        if self._was_closed():  # by one of these functions, or meanwhile
            await self._stop()

    def _was_closed(self) -> bool:
        return self._closing is not None and self._closing.done()

    def disconnect_all(self) -> None:
        """Take no new clients, and disconnect all with the reason "server shutting down".

        Raises:
            WrongThreadError: not called where the server runs.
        """
        self._guard()
        self.engine.close(Reason.SHUTTING_DOWN)

    @property
    def ready(self) -> bool:
        """Whether it runs and takes clients: it has started, and neither drains nor closes.

        A cluster's engine that can't be reached changes nothing of it: all servers would be without it at once, and
        none would be left.

        Example:
            ```python
            @app.get("/ready")
            def readiness() -> Response:
                return Response(status_code=200 if io.ready else 503)
            ```
        """
        return self._started and self._closing is None and not self.engine.is_leaving

    async def drain(self, seconds: float = 0.0) -> None:
        """Send all clients away over some time, so that others can take them, and take no new ones.

        Those who ask to come get HTTP 503 with `Retry-After`. Those who are here are disconnected, a few at a time and
        in no order, with the reason "server shutting down". Their connections end as if they had broken: clients come
        back by themselves, to whoever listens then, and their connections can be recovered there. Handlers go on: it
        is for `close` to wait for them. A second call waits for the first.

        Args:
            seconds: over how long; 0: all at once.

        Raises:
            LocalProtocolError: the server doesn't run.

        Example:
            ```python
            await io.drain(seconds=20)
            await io.close()
            ```
        """
        if self._loop is None or not self._started:
            raise LocalProtocolError("drain needs a running server")
        self._guard()
        if self._draining is None or self._draining.done():
            self.engine.turn_away()
            self._draining = self._loop.create_task(self._drain(seconds))
        await asyncio.shield(self._draining)

    async def _drain(self, seconds: float) -> None:
        assert self._loop is not None  # it runs  # noqa: S101
        clock = self._loop.time
        sessions = list(self.engine.sessions.values())
        random.shuffle(sessions)
        count, begin = len(sessions), clock()
        while sessions and self._closing is None:
            share = min(1.0, (clock() - begin) / seconds) if seconds > 0 else 1.0
            while len(sessions) > round(count * (1.0 - share)):
                sessions.pop().close(Reason.SHUTTING_DOWN)
            # Uneven, so that those who leave many servers at once don't come back in step.
            await asyncio.sleep(_BATCH_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
        # Those who poll come once more, for their farewell.
        end = clock() + _FAREWELL_SECONDS
        while self.engine.sessions and clock() < end:  # noqa: ASYNC110  # an event would cost each end of a session
            await asyncio.sleep(_BATCH_SECONDS)

    async def close(self) -> None:
        """Stop: disconnect all clients, let their handlers end, run the functions of `on_stop`.

        Handlers that still run after `shutdown_timeout_seconds` are cancelled. A second call waits for the first; but
        in a handler, in what was spawned and in a function of `on_stop`, for which the first waits, it returns at once.
        """
        caller = asyncio.current_task()
        if self._closing is None:
            if self._loop is None:
                return
            self._closing = self._loop.create_task(self._close(caller))
        elif caller is self._closing or caller in self._awaited():
            return  # each would wait for the other
        await asyncio.shield(self._closing)

    def _awaited(self) -> set[asyncio.Task[Any]]:
        """What has to end before the server can."""
        return {*self._dispatcher.tasks, *self._spawned, *self._mailbox.tasks}

    async def _close(self, caller: asyncio.Task[Any] | None) -> None:
        self.disconnect_all()
        if caller is None or caller is not self._starter:
            with contextlib.suppress(TimeoutError):  # `start` sees then that it is closed
                async with asyncio.timeout(self.config.shutdown_timeout_seconds), self._start_lock:
                    pass
        for task in (self._spawned | self._mailbox.spawned) - {caller}:
            task.cancel()
        # A second time for those that had to wait for one that was cancelled.
        for seconds in (self.config.shutdown_timeout_seconds, 1.0):
            await self._end_handlers(caller, seconds)
        self._dispatcher.workers.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._started:
            await self._stop()
        else:
            self._mailbox.close()

    async def _stop(self) -> None:
        self._started = False
        try:
            await self._run_all(self._on_stop)
        finally:
            self._mailbox.close()
            if self._cluster is not None:
                await self._cluster.close()

    async def _end_handlers(self, caller: asyncio.Task[Any] | None, seconds: float) -> None:
        """Let the handlers end that wait, and those behind them; after this time, cancel them."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        handlers = self._dispatcher.tasks
        # A handler that closes the server is not waited for: it waits for this.
        while tasks := self._awaited() - {caller}:
            _, running = await asyncio.wait(tasks, timeout=max(0.0, end - loop.time()))
            for task in running:
                handler, event, socket = handlers.get(task, (None, "", None))
                if handler is not None and handler.thread:
                    logger.error(
                        "the thread=True handler %s of %r for %s still blocks its thread after %g s; nothing can stop "
                        "it, and what it gives will not be heard",
                        handler.name,
                        event,
                        socket,
                        seconds,
                    )
                elif socket is not None:
                    logger.warning("the handler of %r for %s still ran at the end and was cancelled", event, socket)
                else:
                    logger.warning("%s still ran at the end and was cancelled", task.get_name())
                task.cancel()
            if running:
                await asyncio.wait(running, timeout=1.0)
                return

    async def _run_all(self, functions: list[Callable[[], Any]]) -> None:
        """Run functions of `on_stop`: one that fails keeps no other from what it has to save."""
        errors = []
        for function in functions:
            try:
                result = function()
                if isinstance(result, Awaitable):
                    await result
            except Exception as error:
                logger.exception("a function of on_stop failed")
                errors.append(error)
        if errors:
            raise errors[0]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine beside the handlers. An error is logged; `close` cancels it once the clients have left.

        Returns:
            The task, which need not be kept.

        Raises:
            WrongThreadError: not called where the server runs.
        """
        if self._loop is None:
            coroutine.close()
            raise WrongThreadError("spawn needs a running server; call it in on_start or in a handler")
        self._guard()
        task = start(coroutine, self._loop)

        def ended(task: asyncio.Task[Any]) -> None:
            self._spawned.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("a spawned task failed", exc_info=error)

        if task.done():
            ended(task)
        else:
            self._spawned.add(task)
            task.add_done_callback(ended)
        return task

    # What happens to the cluster

    def _log_up(self) -> None:
        assert self._cluster is not None  # it tells  # noqa: S101
        logger.info("the cluster is reached as %s", self._cluster.name)

    def _log_down(self, error: BaseException) -> None:
        logger.warning("the cluster's engine can't be reached, it is tried again: %s", error or repr(error))

    def _log_gap(self, count: int | None, why: str) -> None:
        if count is None:
            logger.error("messages of other servers may be lost: %s", why)
        else:
            logger.error("%d messages for other servers are lost: %s", count, why)

    def _log_joined(self, peer: Peer) -> None:
        assert self._cluster is not None  # it tells  # noqa: S101
        # Workers of one machine are started by a supervisor, which tells enough of them.
        tell = logger.debug if self._cluster.bus.directory is not None else logger.info
        tell("the server %s has joined the cluster", peer.name)

    def _log_left(self, peer: Peer, why: str) -> None:
        assert self._cluster is not None  # noqa: S101
        local = self._cluster.bus.directory is not None
        tell = logger.debug if local else logger.info if why == GONE else logger.warning
        tell("the server %s has left the cluster: %s", peer.name, why)

    def _log_malformed(self, error: Exception) -> None:
        self._dispatcher.clients.warn("a message of another server is left out: %s", error)

    def _log_message_failure(self, error: Exception) -> None:
        logger.error("a message of another server could not be dealt with", exc_info=error)

    def _log_answer(self, error: Exception) -> None:
        self._dispatcher.clients.warn("another server has asked for something that can't be done: %s", error)

    def _log_cluster_failure(self, event: str, error: BaseException) -> None:
        logger.error("the function for the cluster's %r failed", event, exc_info=error)

    # What clients do wrong

    def _log_hold(self, session: Session) -> None:
        self._dispatcher.clients.inform(
            "client %s at %s has to wait: max_handlers_per_client is %d, and so many of its handlers haven't ended",
            session.id,
            session.request.address or "unknown",
            self.config.max_handlers_per_client,
        )

    def _log_violation(self, session: Session, error: RemoteProtocolError) -> None:
        self._dispatcher.clients.warn(
            "client %s at %s is closed: %s", session.id, session.request.address or "unknown", error
        )

    def _log_engine_failure(self, event: str, error: BaseException) -> None:
        logger.error("the function for the engine's %r failed", event, exc_info=error)

    def _log_unrecovered(self, session: Session, why: str) -> None:
        logger.debug("client %s at %s begins anew: %s", session.id, session.request.address or "unknown", why)

    def _log_begun_anew(self, client: Socket, why: str) -> None:
        self._log_unrecovered(client.session, why)

    def _log_refusal(self, request: Request, refusal: RequestRefused) -> None:
        # Strangers' mistakes are no news; an origin that is turned away mostly is a setting that is missing.
        tell = self._dispatcher.clients.warn if refusal.code == FORBIDDEN[0] else self._dispatcher.clients.inform
        tell("%s %r from %s: %s", request.method, request.path, request.address or "unknown", refusal)
