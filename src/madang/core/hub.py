"""The hub: all namespaces, their sockets and rooms, and what is said between them.

`Socket` is what handlers receive, `Namespace` is what it is in. Rooms and sockets mirror each other, so that leaving
costs the socket's own rooms and nothing else.

Source: Socket.IO protocol 5; the names are those of Socket.IO's server API.
"""

from __future__ import annotations

import re
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from madang.core.ack import Ack, Drain
from madang.core.listeners import AnyFunction, Handler, Listeners, Listening
from madang.core.outgoing import Outgoing
from madang.core.patterns import Pattern, Predicate, is_pattern
from madang.core.recovery import Claim, Entry, Log, Memory, Stay
from madang.core.relay import Relay, check_server_side
from madang.core.session import OPEN_STATE, Session
from madang.core.shapes import Checked
from madang.core.target import Crowd, Sender, Target, check_event, check_limit, check_rooms
from madang.errors import (
    FORBIDDEN,
    ConnectionRefused,
    LocalProtocolError,
    Reason,
    RemoteProtocolError,
    RequestRefused,
)
from madang.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Encoded, Packet
from madang.parsers import Shape

if TYPE_CHECKING:
    from madang.core.engine import Engine
    from madang.transports import Request

__all__ = ["INVALID_NAMESPACE", "Handshake", "Hub", "Namespace", "Socket"]

#: What the reference tells a client that asks for a namespace that there isn't.
INVALID_NAMESPACE: Final = "Invalid namespace"

#: Where `Namespace.handler` writes down what it was told.
_OPTIONS: Final = "__madang_options__"

Answer = TypeVar("Answer")
P = ParamSpec("P")
R = TypeVar("R")


class Hub:
    """All namespaces of one server; the sink of its sessions.

    Attributes:
        namespaces: by name.
        parents: those that stand for a pattern, in the order in which they are tried.
        shapes: what the arguments of events are decoded into, by namespace and event.
        owner: slot: what handlers get that ask for `io`.
        engine: slot: the engine whose sessions these are.
        appeared: slot: is told of each new namespace.
        choose: slot: asks the patterns that have to be asked, then calls `enter` or `socket.refuse()`.
        admit: slot: runs a namespace's middleware for a socket, then calls `socket.accept()` or `.refuse()`.
        dispatch: slot: runs the handlers of an event.
        life: slot: runs the handlers of "connection", "disconnecting" or "disconnect".
        outgoing: slot: runs the listeners of outgoing events.
        housed: slot: runs the handlers of what happens to a room.
        answer: slot: runs the handler of what another server says, and gives what it returns to a function.
        relay: slot: carries what this server says to the others; None while there are none.
        guard: slot: raises `WrongThreadError` unless called where the server runs.
        memory: what is kept for clients that may come back; None: nothing.
        new_future: slot: makes something to wait on, with `set_result` and `__await__`.
        shield: slot: lets several wait on one such thing, and each be cancelled alone.
    """

    def __init__(self, ordered_handlers: bool = False) -> None:
        self._ordered = ordered_handlers
        self.engine: Engine
        self.memory: Memory | None = None
        self.owner: Any = None
        self.namespaces: dict[str, Namespace] = {}
        self.parents: list[Namespace] = []
        # Children that nobody is in. Whoever still holds one, talks through it to those who come later.
        self._resting: weakref.WeakValueDictionary[str, Namespace] = weakref.WeakValueDictionary()
        self._children = 0
        self.appeared: Callable[[Namespace], None] = lambda namespace: None
        self.choose: Callable[[Socket, list[Namespace]], None]
        self.shapes: dict[str, dict[str, Shape]] = {}
        self.admit: Callable[[Socket], None]
        self.dispatch: Callable[[Socket, Packet], None]
        self.life: Callable[[Socket, str, tuple[Any, ...]], None]
        self.outgoing: Callable[[Socket, list[Handler], list[Any]], None]
        self.housed: Callable[[Socket, list[Handler], str, str], None]
        self.answer: Callable[[Handler, Sequence[Any], Callable[[Any], None] | None], None]
        self.relay: Relay | None = None
        self.guard: Callable[[], None]
        self.new_future: Callable[[], Any]
        self.shield: Callable[[Any], Any]

    def of(self, name: str | re.Pattern[str] | Predicate) -> Namespace:
        """The namespace of this name, made if there is none yet; or the one that stands for this pattern."""
        if isinstance(name, str) and not name.startswith("/"):
            name = "/" + name
        if is_pattern(name):
            for parent in self.parents:
                if parent._pattern is not None and parent._pattern.source == name:
                    return parent
            namespace = Namespace(name)
            self.add(namespace)
            return namespace
        assert isinstance(name, str)  # or it were a pattern  # noqa: S101
        known = self.namespaces.get(name)
        if known is not None:
            return known
        for parent in self.parents:
            params = parent._pattern.match(name) if parent._pattern is not None else None
            if params is not None:
                return self._child(parent, name, params)  # it rests until a client comes
        namespace = Namespace(name)
        self.add(namespace)
        return namespace

    def add(self, namespace: Namespace) -> None:
        """Take in a namespace.

        Raises:
            LocalProtocolError: there is one of this name already.
        """
        if namespace._pattern is not None:
            if any(one._pattern and one._pattern.source == namespace._pattern.source for one in self.parents):
                raise LocalProtocolError(f"there is a namespace for the pattern {namespace.name!r} already")
            namespace._hub = self
            self.parents.append(namespace)
            return
        if namespace.name in self.namespaces:
            raise LocalProtocolError(f"there is a namespace {namespace.name!r} already; use io.of({namespace.name!r})")
        self._resting.pop(namespace.name, None)
        namespace._hub = self
        if self.memory is not None:
            namespace._log = Log(self.memory, namespace.name)
        if not namespace._ordered_is_set:
            namespace.listeners.order(self._ordered)
        self.namespaces[namespace.name] = namespace
        self.shapes[namespace.name] = namespace.listeners.shapes
        self.appeared(namespace)

    # Namespaces that patterns make

    def _child(self, parent: Namespace, name: str, params: Mapping[str, Any]) -> Namespace:
        """A namespace of this name, at rest."""
        child = self._resting.get(name)
        if child is None or child.parent is not parent:
            child = Namespace(name)
            child._hub = self
            child._parent = parent
            child._params = dict(params)
            child._listeners = parent._listeners  # shared: what is registered later holds for all of them
            self._resting[name] = child
        return child

    def _wake(self, child: Namespace) -> None:
        """A client comes into a namespace that rested."""
        name, parent = child.name, child._parent
        assert parent is not None  # noqa: S101
        assert parent._children is not None  # noqa: S101
        self._resting.pop(name, None)
        self._children += 1
        self.namespaces[name] = parent._children[name] = child
        self.shapes[name] = child._listeners.shapes
        child._eavesdroppers = min(1, len(child._listeners.outgoing))
        if self.memory is not None:
            child._log = Log(self.memory, name, child._check_empty)
        self.appeared(child)

    def _rest(self, child: Namespace) -> None:
        """The last client has left a namespace that a pattern has made."""
        name, parent = child.name, child._parent
        if parent is not None and parent._children is not None and self.namespaces.get(name) is child:
            self._children -= 1
            del self.namespaces[name], parent._children[name], self.shapes[name]
            child._log = None
            self._resting[name] = child

    def enter(self, socket: Socket, parent: Namespace, params: Mapping[str, Any]) -> None:
        """A pattern takes the name that a client asks for."""
        if socket._ended is not None:
            return
        name = socket.namespace.name
        namespace = self.namespaces.get(name)
        if namespace is None:
            limit = self.engine.config.max_dynamic_namespaces
            if self._children >= limit:
                detail = f"namespace {name!r}: max_dynamic_namespaces is {limit}"
                self.engine.on_refused(socket.request, RequestRefused(*FORBIDDEN, detail))
                socket.refuse(ConnectionRefused("Too many namespaces"))
                return
            namespace = self._child(parent, name, params)
            self._wake(namespace)
        socket.namespace = namespace
        self._examine(socket, namespace)

    def _find_pattern(self, socket: Socket) -> None:
        """Find the pattern for a name that no namespace has, and enter or refuse the socket."""
        name = socket.namespace.name
        for index, parent in enumerate(self.parents):
            assert parent._pattern is not None  # noqa: S101
            if parent._pattern.predicate is not None:
                self.choose(socket, self.parents[index:])
                return
            params = parent._pattern.match(name)
            if params is not None:
                self.enter(socket, parent, params)
                return
        socket.session.sockets.pop(name, None)  # it leaves no trace
        socket.session.send(Packet(CONNECT_ERROR, {"message": INVALID_NAMESPACE}, name))

    def settle(self) -> None:
        """Resolve the annotations that could not be resolved when their handlers were registered.

        Raises:
            LocalProtocolError: they can't be resolved; the message tells what to do.
        """
        for namespace in (*self.namespaces.values(), *self.parents):
            namespace.listeners.settle()

    def reset(self) -> None:
        """Forget all sockets without a word: their event loop is gone, and their connections with it."""
        if self.memory is not None:
            self.memory.reset()
        for namespace in list(self.namespaces.values()):
            if namespace._parent is not None:
                self._rest(namespace)
            elif self.memory is not None:
                namespace._log = Log(self.memory, namespace.name)
            namespace._sockets.clear()
            namespace._rooms.clear()
            namespace._eavesdroppers = min(1, len(namespace.listeners.outgoing))

    # Other servers

    def heard(self, name: str, data: Sequence[Any], answer: Callable[[Any], None] | None) -> None:
        """Another server has said something.

        Args:
            name: of the namespace.
            data: the event and its arguments.
            answer: takes the answer, if one is wanted. Who has no handler gives none.
        """
        namespace = self.namespaces.get(name)
        if namespace is None:
            namespace = next((one for one in self.parents if one._stands_for(name)), None)
        if namespace is not None:
            handler = (namespace._listeners.server_side or {}).get(data[0])
            if handler is not None:
                self.answer(handler, data, answer)

    # The sink of the sessions

    def opened(self, session: Session) -> None:
        """A session has begun; the client asks for its namespaces itself."""

    def received(self, session: Session, packet: Packet) -> None:
        """A packet came from a client."""
        socket: Socket | None = session.sockets.get(packet.namespace)
        kind = packet.kind
        if socket is not None and socket.connected:
            if kind == EVENT:
                try:
                    self.dispatch(socket, packet)
                except RemoteProtocolError as error:  # of plain values that could not be had; handlers raise nothing
                    session.fail(error)
            elif kind == ACK:
                socket._answered(packet)
            elif kind == DISCONNECT:
                socket._leave(Reason.CLIENT_DISCONNECT)
            else:
                session.fail(RemoteProtocolError("CONNECT to a namespace that was joined", rule="Socket.IO protocol 5"))
        elif kind == CONNECT and socket is None:
            self._connect(session, packet)
        elif packet.namespace not in session.sockets or socket is not None:
            session.fail(RemoteProtocolError("the namespace was not joined", rule="Socket.IO protocol 5, connection"))
        # Else the server has disconnected the client, and this was on its way.

    def _connect(self, session: Session, packet: Packet) -> None:
        name = packet.namespace
        namespace = self.namespaces.get(name)
        if namespace is None and not (
            # Patterns see no name that is long, or that would make a mess of a log.
            self.parents and len(name) <= self.engine.config.max_namespace_length and name.isprintable()
        ):
            session.send(Packet(CONNECT_ERROR, {"message": INVALID_NAMESPACE}, name))
            return
        limit = session._engine.config.max_namespaces_per_client
        if packet.namespace not in session.sockets and not session.make_room(limit):
            detail = f"namespace {packet.namespace[:200]!r}: max_namespaces_per_client is {limit}"
            self.engine.on_refused(session.request, RequestRefused(*FORBIDDEN, detail))
            body = {"message": f"Too many namespaces; {limit} are allowed"}
            session.send(Packet(CONNECT_ERROR, body, packet.namespace))
            return
        # Where there is none yet, one that nobody else knows stands in until a pattern is found.
        socket = Socket(self, namespace or Namespace(name), session, packet.data)
        session.sockets[name] = socket
        if namespace is not None:
            self._examine(socket, namespace)
        else:
            self._find_pattern(socket)

    def _examine(self, socket: Socket, namespace: Namespace) -> None:
        if self.memory is not None and namespace._log is not None:
            claim = self.memory.claim(namespace._log, socket.session, socket._auth)
            if claim is not None:
                socket._claims(claim)
                if self.memory.settings.skip_middleware:
                    socket.accept()
                    return
        self.admit(socket)

    def closed(self, session: Session, reason: str) -> None:
        """A session has ended, and with it all its sockets."""
        for socket in list(session.sockets.values()):
            if socket is not None:
                socket._leave(reason)


class Handshake:
    """How a client came: the request that opened its session, and what it said when it joined the namespace.

    Attributes:
        auth: the dict that the client gave as `auth`.
    """

    __slots__ = ("_request", "_session", "auth")

    def __init__(self, session: Session, auth: dict[str, Any]) -> None:
        self._session = session
        self._request = session.request
        self.auth = auth

    @property
    def query(self) -> dict[str, str]:
        """The fields of the URL's query."""
        return self._request.query

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers, names in lower case."""
        return self._request.headers

    @property
    def address(self) -> str:
        """The client's IP address; behind a proxy that the server trusts, the one that the proxy tells."""
        return self._request.address

    @property
    def secure(self) -> bool:
        """Whether the client used TLS."""
        return self._request.secure

    @property
    def url(self) -> str:
        """Path and query of the request."""
        return self._request.url

    @property
    def time(self) -> float:
        """When it came, in seconds since the epoch."""
        return self._request.received

    @property
    def cross_domain(self) -> bool:
        """Whether a web page opened the connection, so that an `Origin` was named."""
        return self._request.header("origin") is not None

    @property
    def transport(self) -> str:
        """The transport that the client came with; `socket.transport` tells what carries it now."""
        return self._session.opened_with

    @property
    def generation(self) -> str:
        """The protocol generation that the client speaks, as "eio4"."""
        return self._session.wire.name

    @property
    def request(self) -> Request:
        """The request itself."""
        return self._request


class Socket(Sender, Listening):
    """A client in one namespace: what handlers receive.

    Attributes:
        id: 20 URL-safe characters; a room of this name reaches it.
        namespace: the namespace that it has joined.
        connected: whether it is in it now.
        recovered: whether the client was lost and has come back, with its id, rooms and data.
        session: what carries it; several sockets of one client share it.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_auth",
        "_checked_auth",
        "_claim",
        "_data",
        "_ended",
        "_hub",
        "_line",
        "_listeners",
        "_rooms",
        "_stay",
        "connected",
        "id",
        "namespace",
        "recovered",
        "session",
    )

    def __init__(self, hub: Hub, namespace: Namespace, session: Session, auth: dict[str, Any]) -> None:
        self._hub = hub
        self.id: str = hub.engine.new_id()
        self.namespace = namespace
        self.session = session
        self.connected = False
        self._auth = auth
        self._checked_auth: dict[Checked, Any] | None = None
        self._data: dict[str, Any] | None = None
        self._rooms: set[str] | None = None
        self._acks: dict[int, Ack] | None = None
        self._listeners: Listeners | None = None
        self._line: deque[Any] | None = None  # what waits for an ordered handler to end
        self._ended: str | None = None
        self.recovered = False
        self._claim: Claim | None = None
        self._stay: Stay | None = None

    # Who it is

    @property
    def handshake(self) -> Handshake:
        """How the client came: auth, query, headers, address."""
        return Handshake(self.session, self._auth)

    @property
    def data(self) -> dict[str, Any]:
        """A dict for whatever the program wants to keep with this client."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in, its own id included; empty after it has left."""
        return frozenset((self.id, *(self._rooms or ()))) if self.connected else frozenset()

    @property
    def request(self) -> Request:
        """The HTTP request that opened its connection."""
        return self.session.request

    @property
    def transport(self) -> str:
        """The name of the transport that carries it now; changes with an upgrade."""
        return self.session.transport.name

    # What handlers are given by name; in a thread it is something else

    @property
    def _owner(self) -> Any:
        return self._hub.owner

    @property
    def _itself(self) -> Socket:
        return self

    # Talking to it

    def _target(self) -> Target:
        return Target(self.namespace, only=self)

    def _current(self) -> Socket:
        """The socket that the client has now: another one if it was lost and has come back."""
        stay = self._stay
        return self if self.connected or stay is None or stay.socket is None else stay.socket

    @property
    def broadcast(self) -> Target:
        """Everyone in the namespace but this socket."""
        return Target(self.namespace, sender=self)

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to this client. An ordinary function: it writes or queues, and returns.

        To a client that is gone nothing is sent, and nothing is raised: it may go at any moment. With the setting
        `recovery`, one that comes back in time gets it then.

        Args:
            event: its name.
            args: its arguments: JSON, with bytes anywhere in them.

        Raises:
            EncodeError: an argument can't be sent.
            WrongThreadError: not called where the server runs.
            LocalProtocolError: the name is reserved.

        Example:
            ```python
            socket.emit("photo", {"name": "courtyard.jpg"}, jpeg_bytes)
            ```
        """
        self._hub.guard()
        check_event(event)
        if self._stay is not None:
            data = [event, *args]
            self._stay.emit(data)
            if self.connected and self.namespace._eavesdroppers:
                self._notify_outgoing(data)
        elif self.connected:
            data = [event, *args]
            self.session.send(Packet(EVENT, data, self.namespace.name))
            if self.namespace._eavesdroppers:
                self._notify_outgoing(data)

    def send(self, *args: Any) -> None:
        """Send the event "message"."""
        self.emit("message", *args)

    @overload
    def call(self, event: str, *args: Any, timeout: float | None = None, returns: type[Answer]) -> Ack[Answer]: ...
    @overload
    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack: ...
    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack[Any]:
        """Send an event and await the client's acknowledgement.

        Args:
            event: its name.
            args: its arguments.
            timeout: how long to wait, in seconds; without it the setting `ack_timeout_seconds`.
            returns: the type that the answer must have, as `int` or `list[str]`; without it, it is taken as it comes.

        Returns:
            What can be awaited: None, the argument, or a tuple of the arguments of the acknowledgement.

        Raises:
            AckTimeout: when awaited: no answer came in time.
            Disconnected: when awaited: the client is gone.
            InvalidAnswer: when awaited: the answer is not what `returns` says.

        Example:
            ```python
            name = await socket.call("who are you?", timeout=5, returns=str)
            ```
        """
        return self._target().call(event, *args, timeout=timeout, returns=returns)

    def drain(self) -> Drain:
        """Await until what was queued for this client has been handed on, so that a producer can keep its pace.

        Like asyncio's `StreamWriter.drain`, it returns once the link's buffer is below its high-water mark; with
        polling, once a poll has taken all.

        Raises:
            Disconnected: when awaited: the client is gone, or goes meanwhile.

        Example:
            ```python
            for chunk in film:
                socket.emit("chunk", chunk)
                await socket.drain()
            ```
        """
        return Drain(self._hub, self)

    # Rooms

    def join(self, *rooms: str) -> None:
        """Enter rooms. Does nothing for those that it is in.

        Raises:
            LimitError: it would be in more than `max_rooms_per_socket`.
        """
        self._hub.guard()
        check_rooms(rooms)
        stay = self._stay
        if self._ended is not None:
            if stay is not None and self._current() is not self:
                self._current().join(*rooms)
            elif stay is not None and stay.absent:
                stay.join(*rooms)
            return
        own = self._rooms
        if own is None:
            own = self._rooms = set()
        for room in rooms:
            if room in own or room == self.id:
                continue
            check_limit(self.id, len(own), self._hub.engine.config.max_rooms_per_socket)
            own.add(room)
            if stay is not None:
                stay.enter(room)
            if self.connected:  # else it is no member before it is accepted
                created = self.namespace._add_member(room, self)
                if self.namespace._listeners.rooms is not None and not self._tell_joined(room, created):
                    return  # a handler has sent it away

    def leave(self, *rooms: str) -> None:
        """Leave rooms. Does nothing for those that it isn't in."""
        self._hub.guard()
        check_rooms(rooms)
        stay = self._stay
        if stay is not None and not self.connected:
            if self._current() is not self:
                self._current().leave(*rooms)
            elif stay.absent:
                stay.leave(*rooms)
        if self._rooms:
            for room in rooms:
                if room in self._rooms:
                    self._rooms.remove(room)
                    if stay is not None:
                        stay.leave(room)
                    if self.connected:
                        emptied = self.namespace._drop_member(room, self)
                        if self.namespace._listeners.rooms is not None and not self._tell_left(room, emptied):
                            return  # a handler has sent it away

    def _tell_joined(self, room: str, created: bool) -> bool:
        """Run the handlers of rooms; tells whether the socket still is there."""
        if created:
            self._tell_housed("create", room)
        self._tell_housed("join", room)
        return self._ended is None

    def _tell_left(self, room: str, emptied: bool) -> bool:
        """Run the handlers of rooms; tells whether the socket still is there."""
        self._tell_housed("leave", room)
        if emptied:
            self._tell_housed("delete", room)
        return self._ended is None

    def _tell_housed(self, event: str, room: str) -> None:
        handlers = (self.namespace._listeners.rooms or {}).get(event)
        if handlers:
            self._hub.housed(self, list(handlers), event, room)

    # Listening to it

    @property
    def listeners(self) -> Listeners:
        """The handlers of this client alone."""
        if self._listeners is None:
            self._listeners = Listeners(self.namespace.listeners.ordered)
        return self._listeners

    def use(self, middleware: AnyFunction) -> AnyFunction:
        """Run a function before each event of this client; what it raises keeps the event from its handler.

        Example:
            ```python
            @socket.use
            def only_members(event: str, args: list[object]) -> None:
                if event == "vote" and "member" not in socket.data:
                    raise PermissionError("members only")
            ```
        """
        self.listeners.middleware.append(Handler(middleware, leading=2, what="events"))
        return middleware

    def _listens_outgoing(self, more: int) -> None:
        if self.connected:
            self.namespace._eavesdroppers += more

    def _notify_outgoing(self, data: list[Any]) -> None:
        handlers = [*self.namespace.listeners.outgoing]
        if self._listeners is not None:
            handlers += self._listeners.outgoing
        if handlers:
            self._hub.outgoing(self, handlers, data)

    # Its life

    def _claims(self, claim: Claim) -> None:
        """The client was lost, and has come back: it is to be what it was."""
        stay = claim.stay
        self._claim = claim
        self.recovered = True
        self.id = stay.id
        self._data = stay.data if stay.socket is None else stay.socket.data

    def accept(self) -> None:
        """The middleware let it in: tell the client, and call the handlers of "connection"."""
        session = self.session
        if self._ended is not None or session.state != OPEN_STATE:
            return
        namespace = self.namespace
        if namespace._parent is not None and self._hub.namespaces.get(namespace.name) is not namespace:
            self._hub._wake(namespace)  # while this one waited, all others have left
        hello = {"sid": self.id}
        missed: list[Entry] | None = None
        if namespace._log is not None:
            if self._claim is not None:
                missed = self._claim.redeem(self)
                if missed is None:
                    # While the middleware was asked, it came too late. Another try of the client begins anew.
                    session.close(Reason.TRANSPORT_CLOSE, discard=True)
                    return
                self._stay, self._claim = self._claim.stay, None
            else:
                self._stay = namespace._log.memory.begin(namespace._log, self)
            if self._stay is not None:
                hello["pid"] = self._stay.pid
        self.connected = True
        namespace._sockets[self.id] = self
        if self._listeners is not None and self._listeners.outgoing:
            namespace._eavesdroppers += 1
        session.joined()
        entered = [(room, namespace._add_member(room, self)) for room in self._rooms or ()]  # a middleware chose them
        session.send(Packet(CONNECT, hello, self.namespace.name))
        # Behind the CONNECT packet: what comes before it, clients keep until it comes, and forget to count it if the
        # connection is lost again in between.
        for entry in missed or ():
            session.push(entry.encoded)
        if namespace._listeners.rooms is not None:
            for room, created in entered:
                if not self._tell_joined(room, created):
                    return  # a handler has sent it away
        self._hub.life(self, "connection", ())

    def refuse(self, refusal: ConnectionRefused) -> None:
        """The middleware turned it away: tell the client why.

        Raises:
            EncodeError: the refusal's data can't be sent; the client is refused without it.
        """
        if self._ended is not None:
            return
        self._abandon(Reason.SERVER_DISCONNECT)
        self.namespace._check_empty()
        try:
            self.session.send(Packet(CONNECT_ERROR, refusal.payload, self.namespace.name))
        except LocalProtocolError:
            self.session.send(Packet(CONNECT_ERROR, {"message": refusal.message}, self.namespace.name))
            raise

    def disconnect(self, close: bool = False) -> None:
        """Make the client leave.

        Args:
            close: end the whole connection, with all the client's other namespaces.
        """
        self._hub.guard()
        if self._ended is not None:
            current = self._current()
            if current is not self:
                current.disconnect(close)
            elif self._stay is not None:
                self._stay.end()
            return
        if close:  # each namespace is told, as the reference does: the client shall know that the server meant it
            for socket in list(self.session.sockets.values()):
                if socket is not None:
                    socket.disconnect()
            self.session.close(Reason.SERVER_DISCONNECT)
        else:
            self.session.send(Packet(DISCONNECT, namespace=self.namespace.name))
            self._leave(Reason.SERVER_DISCONNECT)

    def _leave(self, reason: str) -> None:
        """It is over, whoever wanted it."""
        if self._ended is not None:
            return
        if not self.connected:
            self._abandon(reason)
            self.namespace._check_empty()
            return
        self._ended = reason  # from here on nothing can end it again, nor bring it into a room
        self._hub.life(self, "disconnecting", (reason,))
        namespace = self.namespace
        namespace._sockets.pop(self.id, None)
        if self._listeners is not None and self._listeners.outgoing:
            namespace._eavesdroppers -= 1
        self._abandon(reason)
        if self._stay is not None:
            self._stay.lost(self, reason)
        self._hub.life(self, "disconnect", (reason,))
        namespace._check_empty()

    def _abandon(self, reason: str) -> None:
        rooms, self._rooms = self._rooms, None
        namespace = self.namespace
        left = [(room, namespace._drop_member(room, self)) for room in rooms or ()] if self.connected else ()
        self.connected = False
        self._ended = reason
        self.session.left(self.namespace.name)
        acks, self._acks = self._acks, None
        for ack in (acks or {}).values():
            ack.disconnected(reason)
        if namespace._listeners.rooms is not None:
            for room, emptied in left:
                self._tell_left(room, emptied)

    # Acknowledgements

    def acknowledge(self, id_: int, value: Any) -> None:
        """Answer an event of the client: what a handler returned."""
        if not self.connected:
            return
        arguments = list(value) if type(value) is tuple else [] if value is None else [value]
        session = self.session
        encoded = Encoded(session.wire.encode(Packet(ACK, arguments, self.namespace.name, id_), session.parser))
        direct = session.direct
        if direct is not None:
            direct.write(encoded)
        else:
            session.push(encoded)

    def _answered(self, packet: Packet) -> None:
        ack = self._acks.pop(packet.id, None) if self._acks and packet.id is not None else None
        if ack is not None:  # else it came too late, or twice
            ack.received(packet.data)

    def __repr__(self) -> str:
        state = self.transport if self.connected else self._ended or "joining"
        return f"Socket({self.id}, {self.namespace.name}, {state})"


class Namespace(Crowd, Listening):
    """A part of the server with its own handlers, rooms and clients, over the same connections.

    As an object: `chat = io.of("/chat")`. As a class, whose methods `on_<event>` are the handlers:

    Example:
        ```python
        class Chat(Namespace):
            def on_connection(self, socket: Socket) -> None:
                self.emit("joined", socket.id)

            async def on_message(self, socket: Socket, text: str) -> None:
                socket.broadcast.send(text)


        io.register(Chat("/chat"))
        ```

    One that is named by a pattern, as "/room-{id}", stands for all namespaces that match it. A child is made when the
    first client asks for it. Handlers and middleware are those of the pattern, whichever of the two they were
    registered on; what is emitted to the one for the pattern reaches all its children.
    """

    def __init__(self, name: str | re.Pattern[str] | Predicate = "/", *, ordered: bool | None = None) -> None:
        self._pattern: Pattern | None = None
        self._children: dict[str, Namespace] | None = None
        self._parent: Namespace | None = None
        self._params: dict[str, Any] = {}
        if isinstance(name, str) and not is_pattern(name):
            self.name = name if name.startswith("/") else "/" + name
        else:
            self._pattern = Pattern(name)
            self._children = {}
            self.name = self._pattern.name
        self._listeners = Listeners(bool(ordered))
        self._ordered_is_set = ordered is not None
        self._hub: Hub | None = None
        self._sockets: dict[str, Socket] = {}
        self._rooms: dict[str, dict[Socket, None]] = {}
        self._last_id = 0
        self._log: Log | None = None  # what is kept for clients that may come back
        self._eavesdroppers = 0  # at how many places somebody listens to outgoing events
        for attribute in dir(type(self)) if type(self) is not Namespace else ():
            if attribute == "on_error":
                raise LocalProtocolError("a namespace has no on_error; errors are told to the server's: @io.on_error")
            if attribute in ("on_any", "on_any_outgoing") and getattr(type(self), attribute) is not getattr(
                Namespace, attribute
            ):
                raise LocalProtocolError(
                    f"{attribute} registers who hears everything; give the method another name, and register it: "
                    f"self.{attribute}(self.hear)"
                )
            if attribute.startswith("on_") and not hasattr(Namespace, attribute):
                method = getattr(self, attribute)
                self._listeners.add(attribute[3:], method, **getattr(method, _OPTIONS, {}))

    @property
    def hub(self) -> Hub:
        """The hub that it belongs to.

        Raises:
            LocalProtocolError: it was not registered.
        """
        if self._hub is None:
            raise LocalProtocolError(f"register the namespace {self.name!r} first: io.register(namespace)")
        return self._hub

    @property
    def sockets(self) -> Mapping[str, Socket]:
        """The clients that are in it, by id. Copy it before you iterate and await."""
        if self._children is not None:
            return {socket.id: socket for child in self._children.values() for socket in child._sockets.values()}
        return self._sockets

    @property
    def rooms(self) -> Mapping[str, Iterable[Socket]]:
        """The rooms that somebody is in, and who. Each client's own id is a room too, not listed here."""
        if self._children is not None:
            rooms: dict[str, list[Socket]] = {}
            for child in self._children.values():
                for room, members in child._rooms.items():
                    rooms.setdefault(room, []).extend(members)
            return rooms
        return self._rooms

    # Patterns

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters of its name, where a pattern has made it; else empty.

        Example:
            ```python
            @io.of("/room-{id:int}").on("connection")
            def entered(socket: Socket) -> None:
                print("welcome to room", socket.namespace.params["id"])
            ```
        """
        return self._params

    @property
    def parent(self) -> Namespace | None:
        """The namespace of the pattern that has made it."""
        return self._parent

    @property
    def children(self) -> Mapping[str, Namespace]:
        """The namespaces that this pattern has made and that somebody is in, by name; empty where it is none."""
        return self._children or {}

    def _stands_for(self, name: str) -> bool:
        """Whether this is the one for a pattern that a name means, or takes it."""
        return self.name == name or (self._pattern is not None and self._pattern.match(name) is not None)

    def _check_empty(self) -> None:
        """Somebody has left, or was refused, or can't come back any more."""
        if self._parent is not None and not self._sockets and not (self._log is not None and self._log.absent):
            hub = self.hub
            if hub.engine.config.clean_up_empty_namespaces:
                hub._rest(self)

    # Listening

    @property
    def listeners(self) -> Listeners:
        """The handlers of this namespace."""
        return self._listeners

    @property
    def ordered(self) -> bool:
        """Whether handlers are ordered that don't say; may be set. Else the setting `ordered_handlers` decides.

        Example:
            ```python
            io.of("/game").ordered = True
            ```
        """
        return self._listeners.ordered

    @ordered.setter
    def ordered(self, value: bool) -> None:
        self._ordered_is_set = True
        self._listeners.order(value)

    @staticmethod
    def handler(*, ordered: bool | None = None, thread: bool = False) -> Callable[[AnyFunction], AnyFunction]:
        """Say of a method `on_<event>` what `on` takes as arguments.

        Example:
            ```python
            class Reports(Namespace):
                @Namespace.handler(thread=True)
                def on_report(self, socket: ThreadsafeSocket, number: int) -> str:
                    return slow_query(number)
            ```
        """

        def mark(method: AnyFunction) -> AnyFunction:
            setattr(method, _OPTIONS, {"ordered": ordered, "thread": thread})
            return method

        return mark

    def _listens_outgoing(self, more: int) -> None:
        if self._parent is not None:
            self._parent._listens_outgoing(more)
            return
        self._eavesdroppers += more
        for child in self.children.values():
            child._eavesdroppers += more

    @overload
    def room_event(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def room_event(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def room_event(self, event: str, handler: Any = None) -> Any:
        """Be told what happens to the rooms of this namespace, as a decorator or directly.

        The handler, `def` or `async def`, receives a socket and the room. "create": it is the first in the room, and
        "join" follows; "join": it has entered; "leave": it has left; "delete": it was the last there, after "leave".
        When a client goes, this comes between "disconnecting" and "disconnect". Each event may have several handlers.

        A client's own id, which acts as a room, is none here: "connection" and "disconnect" tell of that.

        Args:
            event: "create", "join", "leave" or "delete".
            handler: the function; without it, `room_event` is a decorator.

        Raises:
            LocalProtocolError: there is no such event, or the function can't take the arguments.

        Example:
            ```python
            @io.room_event("join")
            def joined(socket: Socket, room: str) -> None:
                socket.to(room).emit("joined", socket.id)
            ```
        """
        if handler is None:
            return lambda function: self.room_event(event, function)
        self._listeners.add_room(event, handler)
        return handler

    def _overheard(self) -> bool:
        """Whether somebody listens to what goes to one of the children."""
        return any(child._eavesdroppers for child in self.children.values())

    # Declaring

    @overload
    def emits(self, function: Callable[P, R], /) -> Outgoing[P, R]: ...
    @overload
    def emits(self, *, name: str | None = None) -> Callable[[Callable[P, R]], Outgoing[P, R]]: ...
    def emits(self, function: Any = None, *, name: str | None = None) -> Any:
        """Declare an event that the server sends here. The function is never called: it says what the event carries.

        Args:
            function: its parameters are those of the event, its return annotation is what clients acknowledge, its
                docstring says what it is about; without it, `emits` is a decorator.
            name: the event; without it, the function's name.

        Returns:
            The declaration, with `emit(target, ...)` and `call(target, ...)`, whose arguments mypy checks.

        Raises:
            LocalProtocolError: the name is reserved or declared already, or a parameter can't be sent.

        Example:
            ```python
            @io.emits
            def headline(title: str, at: datetime) -> None:
                "News for the front page."


            headline.emit(io.to("news"), "Courtyard opens", now)
            ```
        """
        if function is None:
            return lambda function: self._declare(Outgoing(function, name))
        return self._declare(Outgoing(function, name))

    def _declare(self, outgoing: Outgoing[Any, Any]) -> Outgoing[Any, Any]:
        declared = self.listeners.declared
        if outgoing.event in declared:
            raise LocalProtocolError(f'the event "{outgoing.event}" of {self.name} is declared already')
        declared[outgoing.event] = outgoing
        return outgoing

    # Talking

    def _target(self) -> Target:
        return Target(self)

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to everyone in the namespace. See `Target.emit`."""
        Target(self).emit(event, *args)

    def send(self, *args: Any) -> None:
        """Send the event "message" to everyone in the namespace."""
        Target(self).emit("message", *args)

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack:
        """Ask everyone in the namespace for an acknowledgement. See `Target.call`."""
        return Target(self).call(event, *args, timeout=timeout, returns=returns)

    # Other servers

    @overload
    def server_side_event(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def server_side_event(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def server_side_event(self, event: str, handler: Any = None) -> Any:
        """Register the handler of what other servers say to this namespace with `server_side_emit` and `_call`.

        The handler, `def` or `async def`, receives the arguments alone. What it returns is the answer.

        Args:
            event: its name.
            handler: the function; without it, `server_side_event` is a decorator.

        Raises:
            LocalProtocolError: the name is reserved, or the event has a handler already.

        Example:
            ```python
            @io.server_side_event("how many?")
            def how_many() -> int:
                return len(io.sockets)
            ```
        """
        if handler is None:
            return lambda function: self.server_side_event(event, function)
        self._listeners.add_server_side(event, handler)
        return handler

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Say an event to all other servers, and not to this one. Alone, it does nothing.

        Args:
            event: its name.
            args: its arguments: JSON, with bytes anywhere in them.

        Raises:
            EncodeError: an argument can't be sent.
            LocalProtocolError: the name is reserved.
            WrongThreadError: not called where the server runs.
        """
        self._say_to_servers([event, *args], None)

    def server_side_call(self, event: str, *args: Any, timeout: float | None = None) -> Ack:
        """Ask all other servers.

        Args:
            event: its name.
            args: its arguments.
            timeout: how long to wait, in seconds; without it the setting `ack_timeout_seconds`.

        Returns:
            What can be awaited: a list with the answer of each other server; alone, an empty one.

        Raises:
            AckTimeout: when awaited: not all have answered, as one without a handler, or with one that has failed;
                `received` has the answers that came.

        Example:
            ```python
            total = len(io.sockets) + sum(await io.server_side_call("how many?", timeout=2))
            ```
        """
        seconds = timeout if timeout is not None else self.hub.engine.config.ack_timeout_seconds
        if not seconds > 0:
            raise LocalProtocolError(f"a timeout must be a positive number of seconds, not {seconds!r}")
        ack = Ack(self.hub, seconds, 0)
        self._say_to_servers([event, *args], ack)
        return ack

    def _say_to_servers(self, data: list[Any], ack: Ack | None) -> None:
        hub = self.hub
        hub.guard()
        check_server_side(data[0])
        if hub.relay is not None:
            hub.relay.publish(self.name, data, ack)
        elif ack is not None:
            ack.expect_servers(0)

    # Members

    def _select(self, rooms: tuple[str, ...], excluded: tuple[str, ...], sender: Socket | None) -> Iterable[Socket]:
        if self._children is not None:
            chosen = [child._select(rooms, excluded, sender) for child in self._children.values()]
            return [socket for some in chosen for socket in some]
        if not rooms:
            members: Iterable[Socket] = self._sockets.values()
        elif len(rooms) == 1:
            members = self._members(rooms[0])
        else:
            members = {socket: None for room in rooms for socket in self._members(room)}
        if excluded:
            left_out = {socket for room in excluded for socket in self._members(room)}
            members = [socket for socket in members if socket not in left_out and socket is not sender]
        elif sender is not None:
            members = [socket for socket in members if socket is not sender]
        return members

    def _members(self, room: str) -> Iterable[Socket]:
        members: Iterable[Socket] | None = self._rooms.get(room)
        alone = self._sockets.get(room)
        if alone is None:
            return members or ()
        return {**dict.fromkeys(members or ()), alone: None}

    def _add_member(self, room: str, socket: Socket) -> bool:
        """Take a socket into a room; tells whether there was none of this name."""
        members = self._rooms.get(room)
        if members is None:
            self._rooms[room] = {socket: None}
            return True
        members[socket] = None
        return False

    def _drop_member(self, room: str, socket: Socket) -> bool:
        """Take a socket out of a room; tells whether it was the last one in it."""
        members = self._rooms[room]
        del members[socket]
        if members:
            return False
        del self._rooms[room]
        return True

    def _next_id(self) -> int:
        if self._parent is not None:  # which asks all its children under one number
            return self._parent._next_id()
        self._last_id += 1
        return self._last_id

    def __repr__(self) -> str:
        return f"Namespace({self.name!r}, {len(self._sockets)} sockets)"
