"""What a server and its clients say to each other, as documents: AsyncAPI and TypeScript.

`read` looks at what is registered: the annotations of handlers say what comes, declarations (`@io.emits`) what goes.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from madang.core.listeners import Handler
from madang.core.namespace import Namespace
from madang.core.outgoing import Outgoing
from madang.core.shapes import Arguments, parameters_of, resolve, supported

if TYPE_CHECKING:
    from madang.server import Server

__all__ = ["NOTHING_SAID", "Answer", "Argument", "Contract", "Event", "Place", "read"]


class _NothingSaid:
    """The type of `NOTHING_SAID`."""


#: The answer of a handler without a return annotation.
NOTHING_SAID = _NothingSaid()


@dataclass(frozen=True)
class Argument:
    """One argument of an event.

    Attributes:
        name: the parameter.
        type: what it must be.
        required: whether it has to come.
        rest: whether any number of them may come.
    """

    name: str
    type: Any
    required: bool = True
    rest: bool = False


@dataclass(frozen=True)
class Answer:
    """What is acknowledged.

    Attributes:
        types: of its arguments.
        optional: whether there may be none, as where a handler may return None.
    """

    types: tuple[Any, ...]
    optional: bool = False


@dataclass(frozen=True)
class Event:
    """An event of one namespace, in one direction.

    Attributes:
        name: its name.
        arguments: what it carries.
        answer: what is acknowledged; None for nothing.
        checked: whether the server may answer that the arguments are invalid.
        description: the docstring.
    """

    name: str
    arguments: tuple[Argument, ...]
    answer: Answer | None
    checked: bool
    description: str


@dataclass
class Place:
    """A namespace.

    Attributes:
        name: its name, or the pattern of those that are made when clients come.
        incoming: what clients send.
        outgoing: what the server sends.
        auth: what clients must give as `auth`.
        description: the docstring, where it was written as a class.
    """

    name: str
    incoming: list[Event] = field(default_factory=list)
    outgoing: list[Event] = field(default_factory=list)
    auth: list[Any] = field(default_factory=list)
    description: str = ""


@dataclass
class Contract:
    """All that a server and its clients say to each other.

    Attributes:
        places: the namespaces that have something to say.
    """

    places: list[Place]

    def types(self) -> Iterator[Any]:
        """All types that are named, in their order, some of them more than once."""
        for place in self.places:
            yield from place.auth
            for event in (*place.incoming, *place.outgoing):
                for argument in event.arguments:
                    yield argument.type
                if event.answer is not None:
                    yield from event.answer.types


def read(server: Server) -> Contract:
    """See what a server and its clients say to each other.

    Args:
        server: a server whose handlers are registered; it need not run.

    Raises:
        LocalProtocolError: an annotation names what isn't there.
    """
    hub = server.hub
    hub.settle()
    namespaces = [one for one in hub.namespaces.values() if one.parent is None]
    places = [_place(namespace) for namespace in (*sorted(namespaces, key=lambda one: one.name), *hub.parents)]
    return Contract([place for place in places if place.incoming or place.outgoing or place.auth])


def _place(namespace: Namespace) -> Place:
    listeners = namespace.listeners
    auth: list[Any] = []
    for one in listeners.auths:
        kind = one.settle().type
        if kind is not Any and kind not in auth:
            auth.append(kind)
    kind = type(namespace)
    return Place(
        namespace.name,
        [_incoming(name, handler) for name, handler in sorted(listeners.events.items())],
        [_outgoing(outgoing) for _, outgoing in sorted(listeners.declared.items())],
        auth,
        "" if kind is Namespace else _description(kind),
    )


def _incoming(name: str, handler: Handler) -> Event:
    function = handler.registered
    parameters = parameters_of(function) or []
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    rest = next((one for one in parameters if one.kind is one.VAR_POSITIONAL), None)
    if not any(one.kind is one.KEYWORD_ONLY and one.name == "socket" for one in parameters):
        positional = positional[1:]
    arguments = _arguments(positional, rest, handler.settle())
    checked = handler.shape is not None or handler.required > 0
    return Event(name, arguments, _answer(function), checked, _description(function))


def _outgoing(outgoing: Outgoing[Any, Any]) -> Event:
    parameters = parameters_of(outgoing.function) or []
    positional = [one for one in parameters if one.kind is not one.VAR_POSITIONAL]
    rest = next((one for one in parameters if one.kind is one.VAR_POSITIONAL), None)
    arguments = _arguments(positional, rest, outgoing.shape())
    return Event(outgoing.event, arguments, _answer(outgoing.function), False, _description(outgoing.function))


def _arguments(
    positional: list[inspect.Parameter], rest: inspect.Parameter | None, shape: Arguments | None
) -> tuple[Argument, ...]:
    kinds = shape.types if shape is not None else (Any,) * len(positional)
    arguments = [
        Argument(one.name, kind, one.default is one.empty) for one, kind in zip(positional, kinds, strict=True)
    ]
    if rest is not None:
        arguments.append(Argument(rest.name, Any if shape is None else shape.rest, required=False, rest=True))
    return tuple(arguments)


def _answer(function: Any) -> Answer | None:
    """What a function acknowledges by its return value."""
    inner = inspect.unwrap(function)
    inner = getattr(inner, "func", inner)  # of functools.partial
    if not hasattr(inner, "__annotations__"):
        inner = type(inner).__call__
    annotation = getattr(inner, "__annotations__", {}).get("return", NOTHING_SAID)
    if annotation is NOTHING_SAID:
        return None
    try:
        kind = resolve(function, annotation)
    except NameError:
        return Answer((Any,), optional=True)
    if kind is None or kind is type(None) or kind in (typing.NoReturn, typing.Never):
        return None
    if typing.get_origin(kind) is tuple and Ellipsis not in typing.get_args(kind):
        return Answer(tuple(_sendable(one) for one in typing.get_args(kind)))
    options = typing.get_args(kind) if _is_union(kind) else ()
    if type(None) in options:
        others = tuple(one for one in options if one is not type(None))
        return Answer((_sendable(typing.Union[others]),), optional=True)  # noqa: UP007
    if kind is tuple or typing.get_origin(kind) is tuple:
        return Answer((Any,), optional=True)  # any number of arguments
    return Answer((_sendable(kind),), optional=kind is Any)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, type(int | str))


def _sendable(kind: Any) -> Any:
    """A type, or `Any` where there is no telling how it is written."""
    return kind if supported(kind) else Any


def _description(thing: Any) -> str:
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")
