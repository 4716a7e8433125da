"""How handlers are found and called: by python-socketio's rules, with as many arguments as they take."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from madang.errors import RemoteProtocolError

if TYPE_CHECKING:
    from madang.migrate.socketio.namespace import AsyncNamespace

__all__ = ["Handlers", "called", "fitted"]

_ANY: Final = 1 << 62
#: Events that no catch-all handler hears.
_LIFE: Final = ("connect", "disconnect")


def fitted(function: Callable[..., Any], args: Sequence[Any], leading: int) -> Sequence[Any]:
    """The arguments that a function takes: what is too much is cut.

    Args:
        function: the function.
        args: all that there are.
        leading: how many of them don't come from the client.

    Raises:
        RemoteProtocolError: there are too few; the client has sent less than the function needs.
    """
    try:
        required, accepted = _arity(function)
    except TypeError:  # not hashable
        required, accepted = _arity.__wrapped__(function)
    if len(args) < required:
        name = getattr(function, "__qualname__", repr(function))
        raise RemoteProtocolError(
            f"{name} needs {required} arguments, but got {len(args)}, of which the client sent "
            f"{max(0, len(args) - leading)}; give the parameters defaults if clients may leave them out",
            rule="arguments of the event",
        )
    return args[:accepted]


@lru_cache(maxsize=4096)
def _arity(function: Callable[..., Any]) -> tuple[int, int]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0, _ANY  # written in C, without a signature
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = sum(one.default is one.empty for one in positional)
    variadic = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    return required, _ANY if variadic else len(positional)


async def called(function: Callable[..., Any], args: Sequence[Any], leading: int) -> Any:
    """Call a function, plain or `async def`, with the arguments that it takes. See `fitted`."""
    result = function(*fitted(function, args, leading))
    return await result if isinstance(result, Awaitable) else result


class Handlers:
    """Who handles what: functions by namespace and event, and classes by namespace; "*" stands for all.

    Attributes:
        functions: the functions, by namespace and event.
        classes: the classes' objects, by namespace.
    """

    __slots__ = ("classes", "functions")

    def __init__(self) -> None:
        self.functions: dict[str, dict[str, Callable[..., Any]]] = {}
        self.classes: dict[str, AsyncNamespace] = {}

    def knows(self, namespace: str) -> bool:
        """Whether anything was registered for a namespace by its name."""
        return namespace in self.functions or namespace in self.classes

    def find(self, event: str, namespace: str) -> tuple[Callable[..., Any], tuple[str, ...]] | None:
        """Who handles an event, and what it is given before the sid.

        Functions go before classes, a namespace before "*", an event before "*".
        """
        for home, tail in ((namespace, ()), ("*", (namespace,))):
            functions = self.functions.get(home)
            if functions is not None:
                function = functions.get(event) if event != "*" else None
                if function is not None:
                    return function, tail
                function = functions.get("*")
                if function is not None and event not in _LIFE:
                    return function, (event, *tail)
        for home, tail in ((namespace, ()), ("*", (namespace,))):
            found = self.classes.get(home)
            if found is not None:
                return found.trigger_event, (event, *tail)
        return None
