"""What the engine tells of connections, below all namespaces: headers, refused requests, sessions and upgrades.

The functions run in the middle of a response, so they are plain functions: nothing here can wait. One that fails is
told to a slot, and costs the response only what it would have added.

Source: Engine.IO server API, events "initial_headers", "headers", "connection_error".
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final, overload

from madang.core.listeners import AnyFunction
from madang.errors import LocalProtocolError

__all__ = ["ENGINE_EVENTS", "EngineEvents", "Events", "ResponseHeaders"]

#: The events, and what their functions receive.
ENGINE_EVENTS: Final = {
    "initial_headers": ("headers", "request"),
    "headers": ("headers", "request"),
    "connection_error": ("error", "request"),
    "connection": ("session",),
    "upgrade": ("session", "transport"),
    "close": ("session", "reason"),
}
#: A header's name (RFC 9110, 5.1), and what its value may not have in it (5.5).
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
#: What says how the message is framed: ours alone.
_FRAMING: Final = frozenset(
    {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding", "upgrade"}
)


class ResponseHeaders(MutableMapping[str, str]):
    """The headers of a response that is about to be sent. Names are found whatever their case.

    Raises:
        LocalProtocolError: a name or value can't be in a header, as one with a line break; or the header is one that
            the library has to set itself, as `Content-Length`.

    Example:
        ```python
        @io.engine.on("headers")
        def add_headers(headers: ResponseHeaders, request: Request) -> None:
            headers["X-Served-By"] = "courtyard-1"
            headers.add("Set-Cookie", "seen=1; Path=/; HttpOnly")
        ```
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = list(pairs)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All headers as they will be sent."""
        return self._pairs

    def add(self, name: str, value: str) -> None:
        """Set a header beside those of the same name, as `Set-Cookie` needs it."""
        _check(name, value)
        self._pairs.append((name, value))

    def __getitem__(self, name: str) -> str:
        """The value; of a header that is there twice, the values joined (RFC 9110, 5.3)."""
        wanted = name.lower()
        values = [value for one, value in self._pairs if one.lower() == wanted]
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        """Set a header in place of those of the same name."""
        _check(name, value)
        self._remove(name)
        self._pairs.append((name, value))

    def __delitem__(self, name: str) -> None:
        """Remove a header."""
        if not self._remove(name):
            raise KeyError(name)

    def _remove(self, name: str) -> bool:
        unwanted = name.lower()
        count = len(self._pairs)
        self._pairs[:] = [pair for pair in self._pairs if pair[0].lower() != unwanted]
        return len(self._pairs) < count

    def __iter__(self) -> Iterator[str]:
        """The names, each once."""
        return iter({name.lower(): name for name, _ in self._pairs}.values())

    def __len__(self) -> int:
        """How many names there are."""
        return len({name.lower() for name, _ in self._pairs})

    def __repr__(self) -> str:
        return f"ResponseHeaders({self._pairs!r})"


def _check(name: object, value: object) -> None:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise LocalProtocolError(f"{name!r:.80} can't be the name of a header: letters, digits and hyphens")
    lower = name.lower()
    if lower in _FRAMING or lower.startswith("sec-websocket-"):
        raise LocalProtocolError(f"the header {name!r} says how the response is sent, and is set by the library alone")
    if not isinstance(value, str):
        raise LocalProtocolError(f"the value of the header {name!r} must be a string, not {value!r:.80}")
    if _NOT_IN_VALUE.search(value) is not None:
        raise LocalProtocolError(
            f"the value of the header {name!r} has a line break, a control character or one outside Latin-1: "
            f"{value!r:.80}"
        )


class Events:
    """Who wants to hear of what happens, in plain functions that nothing waits for.

    Args:
        whose: whose events they are, for error messages.
        known: their names, and what their functions receive.

    Attributes:
        on_failure: slot: is told of the event and the exception of a function that failed.
    """

    __slots__ = ("_functions", "_known", "_whose", "on_failure")

    def __init__(self, whose: str, known: Mapping[str, tuple[str, ...]]) -> None:
        self._whose = whose
        self._known = known
        self._functions: dict[str, list[Callable[..., Any]]] = {event: [] for event in known}
        self.on_failure: Callable[[str, BaseException], None] = lambda event, error: None

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, function: AnyFunction) -> AnyFunction: ...
    def on(self, event: str, function: Any = None) -> Any:
        """Register a function, directly or as a decorator.

        Raises:
            LocalProtocolError: there is no such event, or the function can't take the arguments, or is `async def`.
        """
        functions = self._of(event)
        if function is None:
            return lambda given: self.on(event, given)
        parameters = self._known[event]
        name = getattr(function, "__qualname__", repr(function))
        if inspect.iscoroutinefunction(function):
            raise LocalProtocolError(
                f'{name} can\'t handle {self._whose} "{event}": it must be a plain function, because nothing waits '
                "for it; start what waits with io.spawn"
            )
        try:
            inspect.signature(function).bind(*parameters)
        except TypeError:
            wanted = ", ".join(parameters)
            raise LocalProtocolError(f'{name} can\'t handle {self._whose} "{event}": it must take ({wanted})') from None
        except ValueError:
            pass  # written in C, without a signature: take it as it is
        functions.append(function)
        return function

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Remove a function, or all of an event.

        Raises:
            LocalProtocolError: there is no such event.
        """
        functions = self._of(event)
        functions[:] = [one for one in functions if function is not None and one != function]

    def _of(self, event: str) -> list[Callable[..., Any]]:
        if event not in self._known:
            raise LocalProtocolError(f"{self._whose} events are {', '.join(self._known)}, not {event!r}")
        return self._functions[event]

    def tell(self, event: str, *args: Any) -> None:
        """Run the functions of an event."""
        for function in tuple(self._of(event)):
            try:
                function(*args)
            except Exception as error:
                self.on_failure(event, error)


class EngineEvents(Events):
    """Who wants to hear of connections.

    Attributes:
        initial_headers: the functions that see the headers of a session's first response.
        headers: those that see the headers of every response.
        connection_error: those that hear of refused requests.
        connection: those that hear of new sessions.
        upgrade: those that hear of a session's move to another transport.
        close: those that hear of a session's end.
    """

    # Lists that can be looked at without a call: most are empty.
    __slots__ = tuple(ENGINE_EVENTS)

    def __init__(self) -> None:
        super().__init__("the engine's", ENGINE_EVENTS)
        functions = self._functions
        self.initial_headers = functions["initial_headers"]
        self.headers = functions["headers"]
        self.connection_error = functions["connection_error"]
        self.connection = functions["connection"]
        self.upgrade = functions["upgrade"]
        self.close = functions["close"]
