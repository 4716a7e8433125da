"""A client in one namespace: what handlers receive, and how it came.

A socket and its namespace's rooms mirror each other, so that leaving costs the socket's own rooms and nothing else.

Source: Socket.IO protocol 5; the names are those of Socket.IO's server API.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from madang.core.ack import Ack, Drain
from madang.core.checks import check_event, check_limit, check_rooms
from madang.core.crowd import Sender
from madang.core.listeners import AnyFunction, Handler, Listeners
from madang.core.listening import Listening
from madang.core.presence import Presence, Ticket
from madang.core.session import OPEN_STATE, Session
from madang.core.shapes import Checked
from madang.core.target import Target
from madang.errors import ConnectionRefused, LocalProtocolError, Reason
from madang.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Encoded, Packet

if TYPE_CHECKING:
    from madang.core.hub import Hub
    from madang.core.namespace import Namespace
    from madang.transports import Request

__all__ = ["Handshake", "Socket"]

Answer = TypeVar("Answer")


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
        "_welcomed",
        "connected",
        "id",
        "namespace",
        "recovered",
        "session",
    )

    def __init__(self, hub: Hub, namespace: Namespace, session: Session, auth: dict[str, Any]) -> None:
        self._hub = hub
        self.id: str = session.wire.socket_id(session.id, namespace.name) or hub.engine.new_id()
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
        self._welcomed = False  # whether the handlers of "connection" were called
        self.recovered = False
        self._claim: Ticket | None = None
        self._stay: Presence | None = None

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
            self._stay.emit([event, *args])
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
            if self._hub.recollection is not None and self.connected:
                self._hub.recollection.moves(self, enters=room)
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
                    if self._hub.recollection is not None and self.connected:
                        self._hub.recollection.moves(self, leaves=room)
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

    def _claims(self, claim: Ticket) -> None:
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
        missed: Sequence[Encoded] | None = None
        if self._claim is not None:
            missed = self._claim.redeem(self)
            if missed is None:
                # While the middleware was asked, it came too late. Another try of the client begins anew.
                session.close(Reason.TRANSPORT_CLOSE, discard=True)
                return
            self._stay, self._claim = self._claim.stay, None
        elif namespace._log is not None:
            self._stay = namespace._log.memory.begin(namespace._log, self)
        elif self._hub.recollection is not None:
            self._stay = self._hub.recollection.begin(self)
        if self._stay is not None:
            hello["pid"] = self._stay.pid
        self.connected = True
        namespace._sockets[self.id] = self
        peers = self._hub.peers
        if peers is not None and peers.own_rooms:
            peers.open_room(namespace.name, self.id)
        if self._listeners is not None and self._listeners.outgoing:
            namespace._eavesdroppers += 1
        session.joined()
        entered = [(room, namespace._add_member(room, self)) for room in self._rooms or ()]  # a middleware chose them
        session.send(Packet(CONNECT, hello, self.namespace.name))
        # Behind the CONNECT packet: what comes before it, clients keep until it comes, and forget to count it if the
        # connection is lost again in between.
        for encoded in missed or ():
            session.push(encoded)
        if namespace._listeners.rooms is not None:
            for room, created in entered:
                if not self._tell_joined(room, created):
                    return  # a handler has sent it away
        self._welcomed = True
        self._hub.life(self, "connection", ())
        if session.wire.impatient:
            self._hub.let_speak(self)

    def refuse(self, refusal: ConnectionRefused) -> None:
        """The middleware turned it away: tell the client why.

        Raises:
            EncodeError: the refusal's data can't be sent; the client is refused without it.
        """
        if self._ended is not None:
            return
        try:
            self.session.send(Packet(CONNECT_ERROR, refusal.payload, self.namespace.name))
        except LocalProtocolError:
            self.session.send(Packet(CONNECT_ERROR, {"message": refusal.message}, self.namespace.name))
            raise
        finally:  # behind the packet, because to be in no namespace may be the session's end
            self._abandon(Reason.SERVER_DISCONNECT)
            self.namespace._check_empty()

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
                self._stay.dismiss(close)
            return
        if close:  # each namespace is told, as the reference does: the client shall know that the server meant it
            for socket in list(self.session.sockets.values()):
                if socket is not None:
                    socket.disconnect()
            self.session.close(Reason.SERVER_DISCONNECT)
        else:
            if self._hub.recollection is not None and self.connected:
                self._hub.recollection.moves(self)
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
        if self._welcomed:  # else a handler of the rooms that a middleware has chosen has sent it away
            self._hub.life(self, "disconnecting", (reason,))
        namespace = self.namespace
        namespace._sockets.pop(self.id, None)
        peers = self._hub.peers
        if peers is not None and peers.own_rooms:
            peers.shut_room(namespace.name, self.id)
        if self._listeners is not None and self._listeners.outgoing:
            namespace._eavesdroppers -= 1
        self._abandon(reason)
        if self._stay is not None:
            self._stay.lost(self, reason)
        if self._welcomed:
            self._hub.life(self, "disconnect", (reason,))
        namespace._check_empty()

    def _abandon(self, reason: str) -> None:
        rooms, self._rooms = self._rooms, None
        namespace = self.namespace
        left = [(room, namespace._drop_member(room, self)) for room in rooms or ()] if self.connected else ()
        self.connected = False
        self._ended = reason
        if self._claim is not None:
            claim, self._claim = self._claim, None
            claim.abandon(reason)
        self.session.left(self.namespace.name)
        if self.session.wire.impatient:
            self._hub.let_speak(self)
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
