"""Events that the server sends, declared: what they carry, so that it is written in one place and checked by mypy.

A declaration costs nothing when it is used: `emit` is that of the target. What it says goes into the documents that
`madang schema` and `madang types` write, and the answers of clients are checked by its return annotation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from madang.core.ack import Ack
from madang.core.checks import check_event
from madang.core.shapes import Arguments, Checked, Later, checked, parameters_of, resolve, shape_of, unresolved
from madang.errors import LocalProtocolError

if TYPE_CHECKING:
    from madang.core.socket import Socket

__all__ = ["Emitting", "Outgoing"]

P = ParamSpec("P")
R = TypeVar("R")


class Emitting(Protocol):
    """Whom one can emit to: a socket, a namespace, the server, and what `to(...)` and its like give."""

    def emit(self, event: str, *args: Any) -> Any:
        """Send an event."""

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack:
        """Send an event and ask for an acknowledgement."""


class Outgoing(Generic[P, R]):
    """An event that the server sends. Made by `@io.emits`.

    Args:
        function: tells by its parameters what the event carries, by its return annotation what is answered, and by
            its docstring what it is about. It is never called.
        name: the event; without it, the function's own name.

    Attributes:
        event: the event.
        function: what was declared.

    Raises:
        LocalProtocolError: the name is reserved, or a parameter can't be sent.

    Example:
        ```python
        @io.emits
        def headline(title: str, at: datetime) -> None:
            \"\"\"News for the front page.\"\"\"


        headline.emit(io.to("news"), "Courtyard opens", now)
        ```
    """

    __slots__ = ("_returns", "_seconds", "_shape", "_signature", "event", "function")

    def __init__(self, function: Callable[P, R], name: str | None = None) -> None:
        self.function = function
        self.event = getattr(function, "__name__", "") if name is None else name
        check_event(self.event)
        self._seconds: float | None = None
        self._returns: Checked | None = None
        parameters = parameters_of(function) or []
        for parameter in parameters:
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
                raise LocalProtocolError(
                    f"{self._what}: an event has no names for its arguments, but {parameter.name!r} is keyword-only"
                )
        self._signature = inspect.Signature([one.replace(annotation=one.empty) for one in parameters])
        self._shape: Arguments | Later | None = shape_of(function, parameters, self._what)

    @property
    def _what(self) -> str:
        return f'the declaration of "{self.event}"'

    def shape(self) -> Arguments | None:
        """What its arguments are; None where they may be anything.

        Raises:
            LocalProtocolError: an annotation names what isn't there.
        """
        if isinstance(self._shape, Later):
            self._shape = self._shape.settle()
        return self._shape

    def returns(self) -> Checked:
        """What is answered.

        Raises:
            LocalProtocolError: the annotation names what isn't there, or what can't be checked.
        """
        if self._returns is None:
            annotation = (getattr(self.function, "__annotations__", None) or {}).get("return", inspect.Parameter.empty)
            try:
                kind = resolve(self.function, annotation)
            except NameError as error:
                raise unresolved(self._what, error) from None
            self._returns = checked(kind, self._what, "return")
        return self._returns

    def timeout(self, seconds: float) -> Outgoing[P, R]:
        """The same event, for whose acknowledgement `call` waits so long, in seconds."""
        copy: Outgoing[P, R] = Outgoing.__new__(Outgoing)
        copy.function, copy.event = self.function, self.event
        copy._shape, copy._signature, copy._returns = self._shape, self._signature, self._returns
        copy._seconds = seconds
        return copy

    def emit(self, target: Emitting, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Send it.

        Args:
            target: a socket, a namespace, the server, or what `to(...)` and its like give.
            args: its arguments.
            kwargs: the same by name.

        Raises:
            EncodeError: an argument can't be sent.
        """
        target.emit(self.event, *(self._positional(args, kwargs) if kwargs else args))

    @overload
    def call(self, target: Socket, /, *args: P.args, **kwargs: P.kwargs) -> Ack[R]: ...
    @overload
    def call(self, target: Emitting, /, *args: P.args, **kwargs: P.kwargs) -> Ack[list[R]]: ...
    def call(self, target: Emitting, /, *args: P.args, **kwargs: P.kwargs) -> Ack[Any]:
        """Send it and ask for an acknowledgement, which is checked by the return annotation.

        Args:
            target: a socket, or several: then the answers are a list.
            args: its arguments.
            kwargs: the same by name.

        Raises:
            AckTimeout: when awaited: not all have answered.
            Disconnected: when awaited: the one client is gone.
            InvalidAnswer: when awaited: an answer is something else.
        """
        given = self._positional(args, kwargs) if kwargs else args
        return target.call(self.event, *given, timeout=self._seconds, returns=self.returns().type)

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        bound = self._signature.bind(*args, **kwargs)
        if bound.kwargs:  # one before them was left out: its default stands in its place
            bound.apply_defaults()
        return bound.args

    def __repr__(self) -> str:
        return f"Outgoing({self.event!r})"
