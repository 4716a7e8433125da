"""What handlers are given besides the arguments: keyword-only parameters named `socket`, `io` and `auth`.

It is settled when a handler is registered: one that asks for nothing is called as it is. Who asks gets a function
around its own, which knows what to fetch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from madang.core.shapes import Checked, checked, frame_locals, resolve, unresolved
from madang.errors import ConnectionRefused, LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from madang.core.socket import Socket

__all__ = ["INJECTED", "Auth", "injecting"]

#: What may be asked for.
INJECTED: Final = ("socket", "io", "auth")


class Auth:
    """What a handler wants the client's `auth` to be. It is checked once for each client and type.

    Args:
        function: the handler.
        annotation: its parameter's.
        what: the handler and its event, for messages.

    Raises:
        LocalProtocolError: the annotation says what can't be checked.
    """

    __slots__ = ("_annotation", "_around", "_checked", "_function", "_what")

    def __init__(self, function: Callable[..., Any], annotation: Any, what: str) -> None:
        self._function = function
        self._annotation = annotation
        self._what = what
        self._around: dict[str, Any] = {}
        self._checked: Checked | None = None
        try:
            self._resolve()
        except NameError:
            self._around = frame_locals()

    def _resolve(self) -> Checked:
        kind = resolve(self._function, self._annotation, self._around)
        self._checked = checked(kind, self._what, "auth")
        return self._checked

    def settle(self) -> Checked:
        """What it has to be.

        Raises:
            LocalProtocolError: the annotation names what isn't there, or what can't be checked.
        """
        if self._checked is not None:
            return self._checked
        try:
            return self._resolve()
        except NameError as error:
            raise unresolved(self._what, error) from None

    def of(self, socket: Socket) -> Any:
        """A client's auth, as the handler wants it.

        Raises:
            RemoteProtocolError: it is something else, in spite of `refusal`: a handler of the socket's own wants it.
        """
        known = socket._checked_auth
        kind = self.settle()
        if known is None:
            known = socket._checked_auth = {}
        elif kind in known:
            return known[kind]
        try:
            value = kind.convert(socket._auth)
        except msgspec.ValidationError as error:
            told = "; ".join(fault["message"] for fault in kind.faults(socket._auth)[:3])
            raise RemoteProtocolError(f"the client's auth is not what is wanted: {told}", rule="auth") from error
        known[kind] = value
        return value

    def refusal(self, socket: Socket) -> ConnectionRefused | None:
        """Why a client can't be let in; None if it can."""
        try:
            self.of(socket)
        except RemoteProtocolError:
            details = self.settle().faults(socket._auth)
            return ConnectionRefused("Invalid auth", {"code": "invalid_auth", "details": details})
        return None


def injecting(
    function: Callable[..., Any], parameters: Sequence[inspect.Parameter], what: str
) -> tuple[Callable[..., Any], Auth | None, bool]:
    """What to call in place of a handler, with the socket first.

    Args:
        function: the handler.
        parameters: its parameters.
        what: the handler and its event, for messages.

    Returns:
        The function to call, what it wants as `auth`, and whether it takes the socket by name.

    Raises:
        LocalProtocolError: a keyword-only parameter without a default asks for what there isn't.
    """
    asked = {}
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.name in INJECTED:
                asked[parameter.name] = parameter
            elif parameter.default is parameter.empty:
                raise LocalProtocolError(
                    f"{what}: its parameter {parameter.name!r} is keyword-only; such are given the socket, the server "
                    "or the client's auth, by the names socket, io and auth; give others a default"
                )
    if not asked:
        return function, None, False
    auth = Auth(function, asked["auth"].annotation, what) if "auth" in asked else None
    by_name, wants_io = "socket" in asked, "io" in asked

    def call(socket: Socket, *args: Any) -> Any:
        given: dict[str, Any] = {}
        if wants_io:
            given["io"] = socket._owner
        if auth is not None:
            given["auth"] = auth.of(socket._itself)
        if by_name:
            return function(*args, socket=socket, **given)
        return function(socket, *args, **given)

    return call, auth, by_name
