"""The exceptions under the names that programs written for python-socketio catch and raise.

Source: python-socketio 5.18, `socketio.exceptions`.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BadNamespaceError",
    "ConnectionError",
    "ConnectionRefusedError",
    "DisconnectedError",
    "SocketIOError",
    "TimeoutError",
]


class SocketIOError(Exception):
    """The root of these exceptions."""


class ConnectionError(SocketIOError):  # noqa: A001  # the name that programs use
    """A connection failed. On a server, only as the parent of `ConnectionRefusedError`."""


class ConnectionRefusedError(ConnectionError):  # noqa: A001
    """Raised by a `connect` handler to turn a client away.

    Args:
        args: the message that the client receives, and then the data: one value, or several as a list.

    Attributes:
        error_args: what the client receives.

    Example:
        ```python
        @sio.event
        async def connect(sid, environ, auth):
            if not auth:
                raise socketio.exceptions.ConnectionRefusedError("who are you?", {"code": 401})
        ```
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        message = str(args[0]) if args else "Connection rejected by server"
        self.error_args: dict[str, Any] = {"message": message}
        if len(args) > 1:
            self.error_args["data"] = args[1] if len(args) == 2 else args[1:]


class TimeoutError(SocketIOError):  # noqa: A001
    """A client has not answered a `call`, or is gone."""


class BadNamespaceError(SocketIOError):
    """Raised by python-socketio's clients only; here so that programs can name it."""


class DisconnectedError(SocketIOError):
    """Raised by python-socketio's clients only; here so that programs can name it."""
