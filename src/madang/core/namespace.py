"""A namespace: handlers, rooms and clients that stand apart from others, over the same connections.

One that stands for a pattern is the parent of those that clients make by joining; it has no clients itself.

Source: Socket.IO protocol 5; the names are those of Socket.IO's server API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from madang.core.ack import Ack
from madang.core.checks import check_timeout
from madang.core.crowd import Crowd
from madang.core.listeners import AnyFunction, Listeners
from madang.core.listening import Listening
from madang.core.log import Log
from madang.core.outgoing import Outgoing
from madang.core.patterns import Pattern, Predicate, is_pattern
from madang.core.relay import check_server_side
from madang.core.socket import Socket
from madang.core.target import Target
from madang.errors import LocalProtocolError

if TYPE_CHECKING:
    from madang.core.hub import Hub

__all__ = ["Namespace"]

#: Where `Namespace.handler` writes down what it was told.
_OPTIONS: Final = "__madang_options__"

Answer = TypeVar("Answer")
P = ParamSpec("P")
R = TypeVar("R")


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
        check_timeout(seconds)
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
            if self._hub is not None and self._hub.peers is not None:
                self._hub.peers.open_room(self.name, room)
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
        if self._hub is not None and self._hub.peers is not None:
            self._hub.peers.shut_room(self.name, room)
        return True

    def _next_id(self) -> int:
        if self._parent is not None:  # which asks all its children under one number
            return self._parent._next_id()
        self._last_id += 1
        return self._last_id

    def __repr__(self) -> str:
        return f"Namespace({self.name!r}, {len(self._sockets)} sockets)"
