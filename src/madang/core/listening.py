"""How programs register handlers, with servers, namespaces and sockets alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, overload

from madang.core.listeners import AnyFunction, Handler, Listeners
from madang.errors import LocalProtocolError

__all__ = ["Listening"]


def _forget(handlers: list[Handler], function: Callable[..., Any] | None) -> None:
    handlers[:] = [one for one in handlers if function is not None and one.registered != function]


class Listening(ABC):
    """What servers, namespaces and sockets share: registration of handlers."""

    __slots__ = ()

    @property
    @abstractmethod
    def listeners(self) -> Listeners:
        """What was registered here."""

    @overload
    def on(
        self, event: str, *, ordered: bool | None = None, thread: bool = False
    ) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(
        self, event: str, handler: AnyFunction, *, ordered: bool | None = None, thread: bool = False
    ) -> AnyFunction: ...
    def on(self, event: str, handler: Any = None, *, ordered: bool | None = None, thread: bool = False) -> Any:
        """Register a handler of an event, as a decorator or directly.

        The handler, `def` or `async def`, receives the socket and the event's arguments. What it returns is the
        acknowledgement, if the client asked for one: a tuple is several arguments, None is none.

        A handler may ask for more, by keyword-only parameters named `io`, the server, and `auth`, the client's auth,
        checked by its annotation; with one named `socket` it takes the socket there and the arguments alone by
        position.

        Events of one socket start in the order in which they came. A `def` handler runs to its end at once and must
        not block; an `async def` handler runs to its first wait at once, and others go on while it waits.

        With `ordered=True` it doesn't: all ordered handlers of one socket form one line, in the order in which their
        events came, and each ends before the next begins. Others are not held up.

        With `thread=True` a `def` handler runs in a worker thread and may block. It receives a `ThreadsafeSocket`.

        Three events tell of a client's life: "connection" (socket) once it has joined, "disconnecting"
        (socket, reason) while it still is in its rooms, "disconnect" (socket, reason) after it has left them. They
        may have several handlers; any other event has one. A socket's own handler goes before its namespace's.

        Args:
            event: its name.
            handler: the function; without it, `on` is a decorator.
            ordered: whether it waits for its turn; without it, as the namespace or the setting
                `ordered_handlers` says.
            thread: whether it runs in a worker thread.

        Raises:
            LocalProtocolError: the function can't take the arguments, or the event has a handler already; or it is
                `async def` and for a thread.

        Example:
            ```python
            @io.on("chat message")
            async def chat_message(socket: Socket, text: str) -> str:
                socket.broadcast.emit("chat message", text)
                return "delivered"
            ```
        """
        if handler is None:
            if callable(event):
                raise LocalProtocolError('write @io.on("name"), or @io.event to take the function\'s own name')
            return lambda function: self.on(event, function, ordered=ordered, thread=thread)
        self.listeners.add(event, handler, ordered=ordered, thread=thread)
        return handler

    @overload
    def event(self, handler: AnyFunction) -> AnyFunction: ...
    @overload
    def event(self, *, ordered: bool | None = None, thread: bool = False) -> Callable[[AnyFunction], AnyFunction]: ...
    def event(self, handler: Any = None, *, ordered: bool | None = None, thread: bool = False) -> Any:
        """Register a handler under its own name. The rest is as with `on`.

        Example:
            ```python
            @io.event
            def typing(socket: Socket, room: str) -> None:
                socket.to(room).volatile.emit("typing", socket.id)
            ```
        """
        if handler is None:
            return lambda function: self.on(function.__name__, function, ordered=ordered, thread=thread)
        self.listeners.add(handler.__name__, handler, ordered=ordered, thread=thread)
        return handler

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove the handler of an event, or one of several. Does nothing where there is none."""
        self.listeners.remove(event, handler)

    def on_any(self, handler: AnyFunction) -> AnyFunction:
        """Hear every event that comes: the handler receives the socket, the event and its arguments.

        Example:
            ```python
            @io.on_any
            def log(socket: Socket, event: str, *args: object) -> None:
                print(socket.id, event, args)
            ```
        """
        self.listeners.incoming.append(Handler(handler, leading=1, what="every event", injected=True))
        self.listeners.demand()
        return handler

    def off_any(self, handler: Callable[..., Any] | None = None) -> None:
        """Remove a function that `on_any` has registered, or all of them. Does nothing where there is none."""
        _forget(self.listeners.incoming, handler)
        self.listeners.demand()

    def on_any_outgoing(self, handler: AnyFunction) -> AnyFunction:
        """Hear every event that goes to a client, broadcasts too: the socket, the event and its arguments."""
        outgoing = self.listeners.outgoing
        outgoing.append(Handler(handler, leading=1, what="every outgoing event", injected=True))
        self.listeners.demand()
        if len(outgoing) == 1:
            self._listens_outgoing(1)
        return handler

    def off_any_outgoing(self, handler: Callable[..., Any] | None = None) -> None:
        """Remove a function that `on_any_outgoing` has registered, or all of them."""
        outgoing = self.listeners.outgoing
        listened = bool(outgoing)
        _forget(outgoing, handler)
        self.listeners.demand()
        if listened and not outgoing:
            self._listens_outgoing(-1)

    @abstractmethod
    def _listens_outgoing(self, more: int) -> None:
        """Here somebody hears what goes (1), so that it has to be looked at, or nobody any more (-1)."""

    def use(self, middleware: AnyFunction) -> AnyFunction:
        """Run a function before a client may join. It raises `ConnectionRefused` to turn the client away.

        Functions run in the order in which they were registered, `def` or `async def`. Any other exception refuses
        the client too, with the message "Internal server error", and is logged.

        Example:
            ```python
            @io.use
            async def authenticate(socket: Socket) -> None:
                if not await token_is_valid(socket.handshake.auth.get("token")):
                    raise ConnectionRefused("not authorised", {"code": 401})
            ```
        """
        self.listeners.add_middleware(middleware)
        return middleware
