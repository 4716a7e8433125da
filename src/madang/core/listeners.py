"""Who wants to hear what: handlers by event, catch-all listeners and middleware, with their signatures settled.

A signature is looked at once, when a handler is registered, so that calling it costs one look-up.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from madang.compiling import mypyc_attr
from madang.core.injection import INJECTED, Auth, injecting
from madang.core.relay import check_server_side
from madang.core.shapes import Arguments, Later, missing, parameters_of, shape_of
from madang.errors import InvalidArguments, LocalProtocolError
from madang.parsers import Shape

__all__ = ["LIFE_CYCLE", "ROOM_EVENTS", "Handler", "Listeners"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

#: Events of a namespace's life, which clients can't send and several handlers may hear.
LIFE_CYCLE: Final = frozenset({"connection", "disconnecting", "disconnect"})
#: What happens to rooms.
ROOM_EVENTS: Final = ("create", "join", "leave", "delete")
#: As many arguments as there may be.
_ANY: Final = 1 << 62
#: The kinds of parameters that arguments of an event go to.
_TAKING: Final = frozenset(
    {
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    }
)
#: Names that mean the same.
_ALIASES: Final = {"connect": "connection"}


@mypyc_attr(allow_interpreted_subclasses=True)
class Handler:
    """A function that was registered, and how to call it.

    Attributes:
        function: the function.
        required: how many arguments it needs at least, the socket not counted.
        accepted: how many it takes at most.
        name: what to call it in messages.
        shape: what its annotations demand of the arguments; None where they demand nothing.
        auth: what it wants the client's auth to be; None where it doesn't ask.
        registered: the function that was registered, where `function` is one around it.
        ordered: whether it waits for the ordered handlers of its socket that began before it.
        thread: whether it runs in a worker thread.
        special: whether it is either.
    """

    __slots__ = (
        "_ordered",
        "accepted",
        "auth",
        "function",
        "name",
        "ordered",
        "registered",
        "required",
        "shape",
        "special",
        "thread",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        leading: int,
        what: str,
        typed: bool = False,
        injected: bool = False,
        ordered: bool | None = None,
        thread: bool = False,
    ) -> None:
        if not callable(function):
            raise LocalProtocolError(f"the handler of {what} must be a function, not {function!r}")
        self.function = self.registered = function
        self.auth: Auth | None = None
        self.name = getattr(function, "__qualname__", repr(function))
        if thread and (
            inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
        ):
            raise LocalProtocolError(
                f"{self.name} is `async def`, and thread=True is for a `def` that blocks: leave one of the two out"
            )
        self._ordered = ordered
        self.thread = thread
        self.arrange(False)
        parameters = parameters_of(function)
        self.shape: Arguments | Later | None = None
        if parameters is None:
            self.required, self.accepted = 0, _ANY  # written in C, without a signature: take it as it is
            return
        told = f"{self.name} can't handle {what}"
        if injected:
            self.function, self.auth, by_name = injecting(function, parameters, told)
            leading -= by_name
        self.required, self.accepted = _arity(parameters, leading, told, self.name, injected)
        if typed:
            taking = [one for one in parameters if one.kind in _TAKING]
            self.shape = shape_of(function, taking[leading:], told)

    def arrange(self, ordered: bool) -> None:
        """Be ordered, or not, if that was left to where it is registered."""
        self.ordered = ordered if self._ordered is None else self._ordered
        self.special = self.ordered or self.thread

    def fit(self, event: str, arguments: Sequence[Any]) -> Sequence[Any]:
        """Cut arguments that the function doesn't take, as JavaScript would.

        Raises:
            InvalidArguments: there are too few.
        """
        count = len(arguments)
        if count < self.required:
            raise InvalidArguments(event, missing(count, self.required))
        return arguments[: self.accepted]

    def settle(self) -> Arguments | None:
        """Resolve annotations that could not be resolved before, and give the shape.

        Raises:
            LocalProtocolError: they can't be resolved; the message tells what to do.
        """
        if isinstance(self.shape, Later):
            self.shape = self.shape.settle()
        if self.auth is not None:
            self.auth.settle()
        return self.shape


def _arity(parameters: list[inspect.Parameter], leading: int, told: str, name: str, injected: bool) -> tuple[int, int]:
    positional = required = 0
    variadic = False
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional += 1
            required += parameter.default is parameter.empty
        elif parameter.kind is parameter.VAR_POSITIONAL:
            variadic = True
        elif (
            parameter.kind is parameter.KEYWORD_ONLY
            and parameter.default is parameter.empty
            and not (injected and parameter.name in INJECTED)
        ):
            raise LocalProtocolError(f"{told}: its parameter {parameter.name!r} is keyword-only")
    if positional < leading and not variadic:
        wanted = {1: "the socket", 2: "the socket and the reason or event"}.get(leading, f"{leading} arguments")
        raise LocalProtocolError(f"{told}: it must take {wanted} first, as in `def {name.split('.')[-1]}(socket, ...)`")
    return max(0, required - leading), _ANY if variadic else max(0, positional - leading)


class Listeners:
    """What was registered in one place: for a namespace, or for one socket.

    Attributes:
        events: the handler of each event.
        life: the handlers of "connection", "disconnecting" and "disconnect".
        incoming: who hears every event that comes.
        outgoing: who hears every event that goes.
        middleware: what runs before: for a namespace before a client joins, for a socket before each event.
        passing: what passes a socket's middleware now, for whom the next event waits.
        rooms: the handlers of "create", "join", "leave" and "delete"; None while there are none.
        server_side: the handler of each event that other servers say; None while there are none.
        shapes: what parsers may decode the arguments of events into.
        declared: the events that the server sends, by name.
        auths: what handlers and middleware want the auth of clients to be.
        ordered: whether handlers are ordered that don't say.
    """

    __slots__ = (
        "auths",
        "declared",
        "events",
        "incoming",
        "life",
        "middleware",
        "ordered",
        "outgoing",
        "passing",
        "rooms",
        "server_side",
        "shapes",
    )

    def __init__(self, ordered: bool = False) -> None:
        self.ordered = ordered
        self.events: dict[str, Handler] = {}
        self.shapes: dict[str, Shape] = {}
        self.auths: list[Auth] = []
        self.declared: dict[str, Any] = {}
        self.life: dict[str, list[Handler]] = {}
        self.incoming: list[Handler] = []
        self.outgoing: list[Handler] = []
        self.middleware: list[Handler] = []
        self.passing: Any = None
        self.rooms: dict[str, list[Handler]] | None = None
        self.server_side: dict[str, Handler] | None = None

    def add(
        self, event: str, function: Callable[..., Any], *, ordered: bool | None = None, thread: bool = False
    ) -> None:
        """Register a handler.

        Raises:
            LocalProtocolError: the function can't take the arguments, or the event has a handler already.
        """
        name = _ALIASES.get(event, event)
        if name in LIFE_CYCLE:
            leading = 1 if name == "connection" else 2
            handler = Handler(
                function, leading=leading, what=f'"{name}"', injected=True, ordered=ordered, thread=thread
            )
            handler.required, handler.accepted = 0, _ANY  # it gets what it was just checked for
            if name != "disconnecting":
                handler.arrange(self.ordered)
            elif handler.special:
                raise LocalProtocolError(
                    '"disconnecting" runs while the client is still in its rooms, and can\'t wait for a turn or a '
                    'thread: use "disconnect" for that'
                )
            self.life.setdefault(name, []).append(handler)
        elif name in self.events:
            raise LocalProtocolError(
                f'the event "{name}" is handled by {self.events[name].name} already; remove that with off("{name}")'
            )
        else:
            handler = Handler(
                function, leading=1, what=f'"{name}"', typed=True, injected=True, ordered=ordered, thread=thread
            )
            handler.arrange(self.ordered)
            self.events[name] = handler
            self._offer(name)
        self.demand()

    def order(self, ordered: bool) -> None:
        """Let handlers be ordered that don't say, or not: those that are here, and those to come."""
        self.ordered = ordered
        for handler in self.events.values():
            handler.arrange(ordered)
        for name, handlers in self.life.items():
            for handler in handlers if name != "disconnecting" else ():
                handler.arrange(ordered)

    def settle(self) -> None:
        """Resolve the annotations that could not be resolved when their handlers were registered.

        Raises:
            LocalProtocolError: they can't be resolved; the message tells what to do.
        """
        for name, handler in self.events.items():
            handler.settle()
            self._offer(name)
        for auth in self.auths:
            auth.settle()

    def _offer(self, name: str) -> None:
        shape = self.events[name].shape
        # Parsers look for the name in the text, where an escaped one is written otherwise.
        if isinstance(shape, Arguments) and shape.one_pass and json.dumps(name, ensure_ascii=False) == f'"{name}"':
            self.shapes[name] = shape

    def add_middleware(self, function: Callable[..., Any]) -> None:
        """Register what runs before a client may join.

        Raises:
            LocalProtocolError: the function can't take the socket.
        """
        self.middleware.append(Handler(function, leading=1, what="connections", injected=True))
        self.demand()

    def demand(self) -> None:
        """See anew what handlers want the auth of clients to be; called after each change."""
        handlers = [*self.middleware, *self.events.values(), *self.incoming, *self.outgoing]
        handlers += [handler for several in self.life.values() for handler in several]
        self.auths = [handler.auth for handler in handlers if handler.auth is not None]

    def add_server_side(self, event: Any, function: Callable[..., Any]) -> None:
        """Register the handler of an event that other servers say.

        Raises:
            LocalProtocolError: the name is reserved, or the event has a handler already.
        """
        check_server_side(event)
        if self.server_side is None:
            self.server_side = {}
        if event in self.server_side:
            raise LocalProtocolError(
                f'the server-side event "{event}" is handled by {self.server_side[event].name} already'
            )
        self.server_side[event] = Handler(function, leading=0, what=f'the server-side event "{event}"', typed=True)

    def add_room(self, event: Any, function: Callable[..., Any]) -> None:
        """Register a handler of what happens to rooms.

        Raises:
            LocalProtocolError: there is no such event, or the function can't take the arguments.
        """
        if event not in ROOM_EVENTS:
            raise LocalProtocolError(f"what happens to rooms is one of {', '.join(ROOM_EVENTS)}, not {event!r}")
        if self.rooms is None:
            self.rooms = {}
        handler = Handler(function, leading=2, what=f'the room event "{event}"')
        handler.required, handler.accepted = 0, _ANY
        self.rooms.setdefault(event, []).append(handler)

    def remove(self, event: str, function: Callable[..., Any] | None) -> None:
        """Remove the handler of an event, or one of several."""
        name = _ALIASES.get(event, event)
        if name in LIFE_CYCLE:
            self.life[name] = [
                one for one in self.life.get(name, ()) if function is not None and one.registered != function
            ]
        elif function is None or (name in self.events and self.events[name].registered == function):
            self.events.pop(name, None)
            self.shapes.pop(name, None)
        self.demand()
