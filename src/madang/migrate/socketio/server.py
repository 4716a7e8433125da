"""`AsyncServer`: python-socketio's server API, on a `Server` of ours.

It keeps who handles what, and finds handlers by python-socketio's rules; all else is the server's beneath, `sio.io`,
whose own handlers, rooms and sockets may be used beside it. Handlers know clients by their sid, so a small record is
kept for each: what it is before it is let in, and while its `disconnect` handler still runs. The module is long because
the API is wide: each method is a few lines over the server beneath.

Source: python-socketio 5.18, its documentation and behaviour.
"""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NoReturn

from madang.core.namespace import Namespace
from madang.core.socket import Socket
from madang.errors import (
    AckTimeout,
    ConfigError,
    ConnectionRefused,
    Disconnected,
    LocalProtocolError,
    Reason,
)
from madang.migrate.socketio import exceptions
from madang.migrate.socketio.environ import environ_of
from madang.migrate.socketio.handlers import Handlers, called, fitted
from madang.migrate.socketio.manager import AsyncManager
from madang.migrate.socketio.namespace import AsyncNamespace
from madang.migrate.socketio.settings import log_of, settings_of
from madang.packet import Packet
from madang.server import Server

__all__ = ["AsyncServer"]

#: The key of the session in `Socket.data`.
_SESSION: Final = "session"
#: How long a callback may be waited for; python-socketio has no limit but the connection's end.
_FOREVER: Final = 86_400.0 * 365
#: The event under which a namespace's one handler here stands.
_EVERY: Final = "*"


class _Reasons:
    """Why a client left, in python-socketio's words."""

    SERVER_DISCONNECT: Final = "server disconnect"
    CLIENT_DISCONNECT: Final = "client disconnect"
    PING_TIMEOUT: Final = "ping timeout"
    TRANSPORT_CLOSE: Final = "transport close"
    TRANSPORT_ERROR: Final = "transport error"


_REASONS: Final = {
    Reason.CLIENT_DISCONNECT: _Reasons.CLIENT_DISCONNECT,
    Reason.PING_TIMEOUT: _Reasons.PING_TIMEOUT,
    Reason.TRANSPORT_CLOSE: _Reasons.TRANSPORT_CLOSE,
    Reason.TRANSPORT_ERROR: _Reasons.TRANSPORT_ERROR,
    Reason.PARSE_ERROR: _Reasons.TRANSPORT_ERROR,
}


class _Refused(ConnectionRefused):
    """A refusal whose body is as python-socketio writes it."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body["message"])
        self._body = body

    @property
    def payload(self) -> dict[str, Any]:
        return self._body


class _Client:
    """What is known of a client in a namespace."""

    __slots__ = ("environ", "farewell", "held", "names", "refused", "rooms", "socket", "turn")

    def __init__(self, socket: Socket, environ: dict[str, Any]) -> None:
        self.socket = socket
        self.environ = environ
        #: Until it is let in: the events for it, and the callback of each.
        self.held: list[tuple[str, Sequence[Any], Callable[..., Any] | None]] | None = []
        #: Before and after the socket is in its rooms: which they are.
        self.rooms: set[str] = set()
        #: What the program calls rooms that it doesn't name by strings.
        self.names: dict[str, Any] | None = None
        #: Whether it was turned away: by its `connect` handler after it was let in, or by `disconnect` before.
        self.refused = False
        #: Held by a `connect` handler that the client's events wait for.
        self.turn: asyncio.Lock | None = None
        #: Set when it leaves; done when its `disconnect` handler is.
        self.farewell: asyncio.Future[None] | None = None


class AsyncServer:
    """A Socket.IO server with python-socketio's methods. Those that python-socketio awaits are awaited here too.

    Args:
        client_manager: None or an `AsyncManager`; a cluster is the setting `cluster`.
        logger: True to have lines about events in the log, or a `logging.Logger` for them.
        json: None, or one of the usual JSON modules, which isn't needed: Madang has its own.
        async_handlers: False to let a client's events wait until the handler of the one before has ended.
        namespaces: the namespaces that clients may join beside those with handlers; "*" for all, within the setting
            `max_dynamic_namespaces`. Without it, "/".
        always_connect: let clients in before their `connect` handler runs, and disconnect those that it refuses.
        engineio_logger: the same as `logger`.
        options: python-socketio's other settings: `async_mode` ("asgi"), `serializer`, `ping_interval`,
            `ping_timeout`, `max_http_buffer_size`, `allow_upgrades`, `http_compression`, `compression_threshold`,
            `cookie`, `cors_allowed_origins`, `cors_credentials`, `transports`; and those of `Config`.

    Raises:
        ConfigError: a value makes no sense, or can't be had here; the message says what to do instead.

    Attributes:
        async_mode: "asgi".
        manager: who is there.
        logger: the log.
        reason: the reasons that a `disconnect` handler may receive.

    Example:
        ```python
        sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins=["https://example.org"])
        ```
    """

    reason = _Reasons
    async_mode = "asgi"

    def __init__(
        self,
        client_manager: Any = None,
        logger: Any = False,
        json: Any = None,
        async_handlers: bool = True,
        namespaces: str | Iterable[str] | None = None,
        *,
        always_connect: bool = False,
        engineio_logger: Any = False,
        **options: Any,
    ) -> None:
        if client_manager is not None and not isinstance(client_manager, AsyncManager):
            raise ConfigError(
                f"client_manager={client_manager!r:.60}: a cluster is a setting here; write "
                'AsyncServer(cluster="redis://localhost:6379") instead'
            )
        if not async_handlers:
            options.setdefault("ordered_handlers", True)
        self._config = settings_of({"json": json, **options})
        self._io: Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handlers = Handlers()
        accepted = [namespaces] if isinstance(namespaces, str) else namespaces
        self._accepted = frozenset(accepted or ("/",))
        self._opened: set[str] = set()
        self._clients: dict[str, dict[str, _Client]] = {}
        self._joining: dict[str, dict[str, _Client]] = {}
        self.async_handlers = async_handlers
        self.always_connect = always_connect
        self.logger = log_of(logger or engineio_logger)
        self.manager: AsyncManager = client_manager or AsyncManager()
        self.manager.set_server(self)

    def is_asyncio_based(self) -> bool:
        """Whether it is an asyncio server: always."""
        return True

    # The server beneath

    @property
    def io(self) -> Server:
        """The `madang.Server` beneath, for all that python-socketio doesn't have."""
        return self.build()

    def build(self, path: str | None = None) -> Server:
        """Make the server beneath, if there is none yet. Called by `ASGIApp`.

        Args:
            path: where clients find it; None leaves that open.

        Raises:
            ConfigError: it has another path already.
        """
        if self._io is None:
            config = self._config if path is None else dataclasses.replace(self._config, path=path)
            self._io = io = Server(config)
            self._serve = io.hub.dispatch
            io.hub.dispatch = self._dispatch
            for name in {"/", *self._accepted, *self._handlers.functions, *self._handlers.classes} - {"*"}:
                self._open(name)
            if "*" in self._accepted:
                self._hear(io.of(lambda name, auth: True))
        elif path is not None and path != self._io.config.path:
            raise ConfigError(f"the server is at {self._io.config.path!r} already, and can't be at {path!r} too")
        return self._io

    def _open(self, namespace: str) -> None:
        """Let clients ask for a namespace."""
        if self._io is not None and namespace != "*" and namespace not in self._opened:
            self._opened.add(namespace)
            home = self._io.hub.namespaces.get(namespace)
            if home is None:
                # Not `of`: where "*" takes all names it would give one that belongs to "*".
                home = self._io.register(Namespace(namespace))
            if home.parent is None:
                self._hear(home)

    def _hear(self, home: Namespace) -> None:
        home.use(self._admit)
        home.on("connection", self._joined)
        home.on("disconnecting", self._left)
        home.on(_EVERY, self._event, ordered=None if self.async_handlers else True)

    def attach(self, app: Any, socketio_path: str = "socket.io") -> NoReturn:
        """Not here: there is ASGI only.

        Raises:
            LocalProtocolError: always; it says what to do.
        """
        raise LocalProtocolError(
            f"attach({type(app).__module__.partition('.')[0]}): it runs on ASGI only. Write app = socketio.ASGIApp("
            "sio, other_asgi_app) and start it with `madang serve module:app` or another ASGI server"
        )

    def instrument(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not here yet: the Admin UI.

        Raises:
            LocalProtocolError: always.
        """
        raise LocalProtocolError("instrument: there is no support for the Socket.IO Admin UI yet; leave the call out")

    # Registration

    @property
    def handlers(self) -> dict[str, dict[str, Callable[..., Any]]]:
        """The functions, by namespace and event."""
        return self._handlers.functions

    @property
    def namespace_handlers(self) -> dict[str, AsyncNamespace]:
        """The namespaces that were written as classes, by name."""
        return self._handlers.classes

    def on(self, event: str, handler: Callable[..., Any] | None = None, namespace: str | None = None) -> Any:
        """Register a handler, as a decorator or directly. A later one takes the place of an earlier one.

        "connect" receives the sid, the environ and, if it takes three arguments, what the client gave as `auth`;
        False turns the client away. "disconnect" receives the sid and, if it takes two, the reason. All others
        receive the sid and the event's arguments, and return the acknowledgement. What is too much for a handler is
        cut. The event "*" stands for all others, the namespace "*" for all others: their names come first.

        Args:
            event: its name.
            handler: the function, plain or `async def`; without it, `on` is a decorator.
            namespace: where; without it "/".
        """
        home = _name(namespace)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._handlers.functions.setdefault(home, {})[event] = function
            self._open(home)
            return function

        return register if handler is None else register(handler)

    def event(self, *args: Any, **kwargs: Any) -> Any:
        """Register a function under its own name: `@sio.event`, or `@sio.event(namespace="/chat")`."""
        if len(args) == 1 and not kwargs and callable(args[0]):
            return self.on(args[0].__name__, args[0])
        return lambda function: self.on(function.__name__, *args, **kwargs)(function)

    def register_namespace(self, namespace_handler: AsyncNamespace) -> None:
        """Take in a namespace that was written as a class.

        Raises:
            ValueError: it is no `AsyncNamespace`.
        """
        if not isinstance(namespace_handler, AsyncNamespace):
            raise ValueError(
                "not a namespace: it must be an object of a class made from madang.migrate.socketio.AsyncNamespace"
            )
        namespace_handler.server = self
        namespace_handler.namespace = home = _name(namespace_handler.namespace)
        self._handlers.classes[home] = namespace_handler
        self._open(home)

    # Talking

    async def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: str | Iterable[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Send an event. It is written or queued when this is awaited, and nothing waits.

        Args:
            event: its name.
            data: a tuple is several arguments, None is none, all else is one.
            to: a sid, a room, or a list of them; None: everyone in the namespace.
            room: the same.
            skip_sid: a sid, or several, to leave out.
            namespace: where; without it "/".
            callback: called with the arguments of the acknowledgement, once for each client that answers.
            ignore_queue: without a meaning here.

        Raises:
            EncodeError: the data can't be sent.
            WrongThreadError: not called in the event loop that the server runs in.
        """
        rooms = to or room
        home = _name(namespace)
        self.logger.info('emitting event "%s" to %s [%s]', event, rooms or "all", home)
        self._emit(event, _arguments(data), rooms, _sids(skip_sid), home, callback)

    async def send(
        self,
        data: Any,
        to: Any = None,
        room: Any = None,
        skip_sid: str | Iterable[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Send the event "message". See `emit`."""
        await self.emit("message", data, to, room, skip_sid, namespace, callback, ignore_queue=ignore_queue)

    def _emit(
        self,
        event: str,
        args: Sequence[Any],
        rooms: Any,
        skipped: Collection[str],
        namespace: str,
        callback: Callable[..., Any] | None,
    ) -> None:
        home = self.io.hub.namespaces.get(namespace)
        if home is None:
            return
        names = _room_names(rooms)
        if callback is not None:
            for socket in self.members(namespace, rooms):
                if socket.id not in skipped:
                    self._ask(socket, event, args, callback)
        elif names is None or names:
            clients = self._clients.get(namespace, {})
            target = home.to(*names) if names else home.except_()
            if skipped:
                target = target.except_(*(sid for sid in skipped if sid in clients))
            target.emit(event, *args)
        # Who is about to be let in belongs to it already, and hears it right after.
        for sid, client in self._joining.get(namespace, {}).items():
            if (names is None or sid in names or not client.rooms.isdisjoint(names)) and sid not in skipped:
                assert client.held is not None  # only those that were let in hold nothing  # noqa: S101
                client.held.append((event, args, callback))

    def _ask(self, socket: Socket, event: str, args: Sequence[Any], callback: Callable[..., Any]) -> None:
        ack = socket.call(event, *args, timeout=_FOREVER)

        async def answered() -> None:
            try:
                answer = await ack
            except (AckTimeout, Disconnected):
                return
            # Whether it was `null` or nothing doesn't show: the function's parameters decide.
            values = answer if type(answer) is tuple else (answer,)
            if answer is None and not _takes_one(callback):
                values = ()
            result = callback(*values)
            if inspect.isawaitable(result):
                await result

        self.io.spawn(answered())

    async def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float | None = 60,  # noqa: ASYNC109  # python-socketio's signature
        ignore_queue: bool = False,
    ) -> Any:
        """Send an event to a client and wait for its answer.

        Args:
            event: its name.
            data: see `emit`.
            to: the client's sid.
            sid: the same.
            namespace: where; without it "/".
            timeout: how long to wait, in seconds; None: as long as the client is there.
            ignore_queue: without a meaning here.

        Returns:
            None, the argument, or a tuple of the arguments of the acknowledgement.

        Raises:
            ValueError: no client was named.
            TimeoutError: of `exceptions`: no answer came in time, or the client is gone.
        """
        target = to or sid
        if target is None:
            raise ValueError("call() asks one client: give it a sid with to=")
        home = _name(namespace)
        self.logger.info('emitting event "%s" to %s [%s]', event, target, home)
        args = _arguments(data)
        sockets = self.members(home, target)
        if len(sockets) == 1:
            try:
                return await sockets[0].call(event, *args, timeout=_FOREVER if timeout is None else max(timeout, 1e-3))
            except (AckTimeout, Disconnected) as error:
                raise exceptions.TimeoutError(str(error)) from None
        if not sockets and target not in self._joining.get(home, ()):
            raise exceptions.TimeoutError(f"no client {target!r} is in the namespace {home!r}")
        first: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

        def answered(*values: Any) -> None:
            if not first.done():
                first.set_result(values)

        self._emit(event, args, target, (), home, answered)
        try:
            values = await asyncio.wait_for(first, timeout)
        except builtins.TimeoutError:
            raise exceptions.TimeoutError(f"no acknowledgement came within {timeout} s") from None
        return values if len(values) > 1 else values[0] if values else None

    # Rooms

    async def enter_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Put a client into a room.

        Args:
            sid: the client.
            room: the room's name: a string, or a number or another value that can be a key.
            namespace: where; without it "/".

        Raises:
            ValueError: the client isn't in the namespace, or the room is another client's own.
            LimitError: it would be in more than `max_rooms_per_socket`.
        """
        home = _name(namespace)
        self.logger.info("%s is entering room %s [%s]", sid, room, home)
        client = self._client(sid, home)
        if client is None:
            raise ValueError("sid is not connected to requested namespace")
        if room != sid and isinstance(room, str) and self._client(room, home) is not None:
            raise ValueError("cannot enter a sid room")
        name = _room_name(room)
        client.socket.join(name)
        client.rooms.add(name)
        if not isinstance(room, str):
            if client.names is None:
                client.names = {}
            client.names[name] = room

    async def leave_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Take a client out of a room. Does nothing where it isn't in it."""
        home = _name(namespace)
        self.logger.info("%s is leaving room %s [%s]", sid, room, home)
        client = self._client(sid, home)
        if client is not None:
            name = _room_name(room)
            client.socket.leave(name)
            client.rooms.discard(name)
            if client.names is not None:
                client.names.pop(name, None)

    async def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Take everyone out of a room.

        Raises:
            ValueError: it is a client's own.
        """
        home = _name(namespace)
        self.logger.info("room %s is closing [%s]", room, home)
        if isinstance(room, str) and self._client(room, home) is not None:
            raise ValueError("cannot close a sid room")
        members = [socket.id for socket in self.members(home, room)]
        members += [sid for sid, client in self._joining.get(home, {}).items() if _room_name(room) in client.rooms]
        for sid in members:
            await self.leave_room(sid, room, home)

    def rooms(self, sid: str, namespace: str | None = None) -> list[Any]:
        """The rooms that a client is in, its own included; of a client that isn't there, none."""
        client = self._client(sid, _name(namespace))
        if client is None:
            return []
        names = client.socket.rooms or {sid, *client.rooms}
        return [client.names.get(name, name) for name in names] if client.names else list(names)

    # Clients

    def members(self, namespace: str, room: Any = None) -> list[Socket]:
        """The sockets in a room, or in one of several; None: in the namespace."""
        home = self.io.hub.namespaces.get(namespace)
        if home is None:
            return []
        names = _room_names(room)
        if names is None:
            return list(home.sockets.values())
        return list({socket: None for name in names for socket in _in_room(home, name)})

    def has(self, sid: str, namespace: str) -> bool:
        """Whether a client was let into a namespace, and has not begun to leave."""
        client = self._clients.get(namespace, {}).get(sid)
        return client is not None and client.farewell is None

    async def get_session(self, sid: str, namespace: str | None = None) -> Any:
        """What the program keeps with a client: a dict, or what `save_session` was given.

        Raises:
            KeyError: the client isn't there.
        """
        return self._present(sid, namespace).socket.data.setdefault(_SESSION, {})

    async def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        """Keep something with a client, in place of what was kept.

        Raises:
            KeyError: the client isn't there.
        """
        self._present(sid, namespace).socket.data[_SESSION] = session

    def session(self, sid: str, namespace: str | None = None) -> AbstractAsyncContextManager[Any]:
        """What the program keeps with a client, as a context manager that saves it at its end.

        Example:
            ```python
            async with sio.session(sid) as session:
                session["name"] = name
            ```
        """

        @asynccontextmanager
        async def kept() -> AsyncIterator[Any]:
            session = await self.get_session(sid, namespace)
            try:
                yield session
            finally:
                client = self._client(sid, _name(namespace))
                if client is not None:  # it may have left meanwhile
                    client.socket.data[_SESSION] = session

        return kept()

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None:
        """The request that a client came with, as its `connect` handler received it; None if it isn't there."""
        client = self._client(sid, _name(namespace))
        return client.environ if client is not None else None

    def transport(self, sid: str, namespace: str | None = None) -> str:
        """The name of the transport that carries a client now, as "polling" or "websocket".

        Raises:
            KeyError: the client isn't there.
        """
        return self._present(sid, namespace).socket.transport

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Make a client leave a namespace, and wait for its `disconnect` handler. Its other namespaces stay.

        A client whose `connect` handler hasn't ended yet is turned away at its end.
        """
        home = _name(namespace)
        joining = self._joining.get(home, {}).get(sid)
        if joining is not None:
            joining.refused = True
        if not self.has(sid, home):
            return
        self.logger.info("disconnecting %s [%s]", sid, home)
        client = self._clients[home][sid]
        client.socket.disconnect()
        if client.farewell is not None:
            await asyncio.shield(client.farewell)

    def _client(self, sid: str, namespace: str) -> _Client | None:
        client = self._clients.get(namespace, {}).get(sid)
        return client if client is not None else self._joining.get(namespace, {}).get(sid)

    def _present(self, sid: str, namespace: str | None) -> _Client:
        client = self._client(sid, _name(namespace))
        if client is None:
            raise KeyError(f"no client {sid!r} is in the namespace {_name(namespace)!r}")
        return client

    # Running

    async def shutdown(self) -> None:
        """Stop: disconnect all clients and end the background tasks."""
        self.logger.info("shutting down")
        await self.io.close()

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Run an `async def` function beside the handlers. An error is logged; `shutdown` cancels it.

        Args:
            target: the function.
            args: its arguments.
            kwargs: its keywords.
        """
        coroutine: Any = target(*args, **kwargs)
        if not inspect.iscoroutine(coroutine):
            raise TypeError(f"start_background_task needs an `async def` function, not {target!r}")

        async def later() -> Any:
            await asyncio.sleep(0)  # as everywhere in asyncio: not before whoever starts it goes on
            return await coroutine

        self.io.bind()
        return self.io.spawn(later())

    async def sleep(self, seconds: float = 0) -> None:
        """Wait, in seconds."""
        await asyncio.sleep(seconds)

    def __getattr__(self, name: str) -> Any:
        if name in ("eio", "environ", "handle_request", "packet_class"):
            raise AttributeError(
                f"AsyncServer has no {name!r} here, which belongs to python-socketio's inside; the server beneath is "
                "sio.io, clients are found by sio.manager, their request by sio.get_environ(sid)"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # A client's life

    async def _admit(self, socket: Socket) -> None:
        """A client asks for a namespace."""
        home = socket.namespace.name
        if not (self._handlers.knows(home) or home in self._accepted or "*" in self._accepted):
            raise ConnectionRefused("Unable to connect")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the server has moved to another event loop, and has forgotten its clients
            self._loop = loop
            self._clients.clear()
            self._joining.clear()
        client = _Client(socket, self._environ(socket))
        self._joining.setdefault(home, {})[socket.id] = client
        try:
            if not self.always_connect:
                await self._greet(client)
        finally:
            # By then it was let in, and stands elsewhere; or it was turned away, or is gone.
            loop.call_soon(_drop, self._joining, home, socket.id)

    def _environ(self, socket: Socket) -> dict[str, Any]:
        """The environ of a client's connection, which its namespaces share."""
        for other in socket.session.sockets.values():
            if other is not None and other is not socket:
                client = self._client(other.id, other.namespace.name)
                if client is not None:
                    return client.environ
        return environ_of(socket.handshake.request)

    async def _greet(self, client: _Client) -> None:
        """Run the `connect` handler.

        Raises:
            _Refused: it turns the client away.
        """
        socket = client.socket
        try:
            args = (socket.id, client.environ, socket.handshake.auth or None)
            welcome = await self._trigger("connect", socket.namespace.name, args)
        except exceptions.ConnectionRefusedError as error:
            raise _Refused(error.error_args) from None
        except builtins.ConnectionRefusedError:
            raise _Refused({"message": "Connection refused by server"}) from None
        if welcome is False or client.refused:
            raise _Refused(exceptions.ConnectionRefusedError().error_args)

    def _joined(self, socket: Socket) -> Coroutine[Any, Any, None] | None:
        """A client was let in."""
        home = socket.namespace.name
        client = _drop(self._joining, home, socket.id)
        if client is None:  # another middleware has let it wait
            client = _Client(socket, self._environ(socket))
        self._clients.setdefault(home, {})[socket.id] = client
        held, client.held = client.held, None
        for event, args, callback in held or ():
            if callback is not None:
                self._ask(socket, event, args, callback)
            else:
                socket.emit(event, *args)
        if not self.always_connect:
            return None
        client.turn = asyncio.Lock()
        return self._greet_late(client, client.turn)

    async def _greet_late(self, client: _Client, turn: asyncio.Lock) -> None:
        async with turn:  # the client's events wait for it
            try:
                await self._greet(client)
            except _Refused:
                client.refused = True
                client.socket.disconnect()

    async def _left(self, socket: Socket, reason: str) -> None:
        """A client leaves; it still is in its rooms until the first wait."""
        home = socket.namespace.name
        client = self._clients.get(home, {}).get(socket.id)
        if client is None:
            return
        client.rooms = {*socket.rooms}
        client.farewell = asyncio.get_running_loop().create_future()
        try:
            if not client.refused:
                said = _REASONS.get(reason, _Reasons.SERVER_DISCONNECT)
                await self._trigger("disconnect", home, (socket.id, said))
        finally:
            _drop(self._clients, home, socket.id)
            client.farewell.set_result(None)

    async def _trigger(self, event: str, namespace: str, args: tuple[Any, ...]) -> Any:
        found = self._handlers.find(event, namespace)
        if found is None:
            return None
        function, before = found
        return await called(function, (*before, *args), len(before) + len(args))

    # A client's events

    def _dispatch(self, socket: Socket, packet: Packet) -> None:
        """An event came. Whose handler isn't one of the server's own gets it under one name."""
        home = socket.namespace
        event = packet.data[0]
        self.logger.info('received event "%s" from %s [%s]', event, socket.id, home.name)
        own = home.listeners.events
        if (event == _EVERY or event not in own) and _EVERY in own and self._handlers.find(event, home.name):
            packet.data = [_EVERY, *packet.data]
        elif event == _EVERY and _EVERY in own:
            return  # nobody's, though it has the name of our own handler
        self._serve(socket, packet)

    def _event(self, socket: Socket, *data: Any) -> Any:
        """An event that python-socketio's rules find a handler for. What is returned may be a coroutine."""
        home = socket.namespace.name
        event, *args = data
        client = self._clients.get(home, {}).get(socket.id)
        found = self._handlers.find(event, home)
        if client is None or found is None:
            return None
        function, before = found
        given = fitted(function, (*before, socket.id, *args), len(before) + 1)
        if client.turn is not None:
            return self._in_turn(client.turn, function, given)
        result = function(*given)
        return result if inspect.iscoroutine(result) or not inspect.isawaitable(result) else _awaited(result)

    async def _in_turn(self, turn: asyncio.Lock, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        async with turn:
            pass
        result = function(*args)
        return await result if inspect.isawaitable(result) else result


def _drop(clients: dict[str, dict[str, _Client]], namespace: str, sid: str) -> _Client | None:
    """Forget a client, and the namespace with its last one: their names may be the clients' choice."""
    there = clients.get(namespace)
    if there is None:
        return None
    client = there.pop(sid, None)
    if not there:
        del clients[namespace]
    return client


def _name(namespace: str | None) -> str:
    """A namespace's name with its slash."""
    if not namespace:
        return "/"
    return namespace if namespace.startswith("/") or namespace == "*" else f"/{namespace}"


def _arguments(data: Any) -> Sequence[Any]:
    return data if isinstance(data, tuple) else () if data is None else (data,)


def _sids(skipped: str | Iterable[str] | None) -> Collection[str]:
    return () if skipped is None else (skipped,) if isinstance(skipped, str) else [sid for sid in skipped if sid]


def _room_name(room: Any) -> str:
    """A room's name as a string: ours are, and python-socketio's may be numbers and other values."""
    if isinstance(room, str):
        return room
    hash(room)  # else it could be no room there either
    return f"\0{type(room).__qualname__}:{room!r}"


def _room_names(rooms: Any) -> list[str] | None:
    """The names of one room, or of several; None for everyone."""
    if rooms is None:
        return None
    if isinstance(rooms, list | tuple | set | frozenset):
        return [_room_name(room) for room in rooms]
    return [_room_name(rooms)]


def _in_room(home: Namespace, name: str) -> Iterable[Socket]:
    alone = home.sockets.get(name)
    return (*home.rooms.get(name, ()), alone) if alone is not None else home.rooms.get(name, ())


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _takes_one(function: Callable[..., Any]) -> bool:
    """Whether a function needs an argument."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:
        return False
    return False
