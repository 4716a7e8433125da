"""Every exception that Madang raises, and the tables of reasons. Imports nothing.

The tree is split by who must act::

    MadangError
    ├── ConfigError            whoever wrote the settings
    ├── LocalProtocolError     you: the program asked for something that can't be done
    │   ├── EncodeError        ... a value that can't be put on the wire
    │   ├── WrongThreadError   ... a call from a thread or an event loop that doesn't own the server
    │   └── LimitError         ... more rooms than a socket may join
    ├── RemoteProtocolError    the peer: it broke a rule of the protocol or a limit
    │   ├── InvalidArguments   ... an event whose arguments are not what its handler declares
    │   └── InvalidAnswer      ... an acknowledgement that is not what was asked for
    ├── RequestRefused         the peer: its HTTP request is answered with an error
    ├── ConnectionRefused      raised by your middleware to turn a client away
    ├── ConnectError           a client's connection was refused, or could not be made
    ├── Disconnected           nobody: the other side is gone
    ├── AckTimeout             nobody: the acknowledgement did not come in time
    ├── ClusterError           nobody: other servers of the cluster did not answer in time
    └── NotSent                nobody: what an emitter has said did not get to the engine

Slow consumers, ping timeouts and lost transports are no exceptions: they are a `Reason`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = [
    "AckTimeout",
    "ClusterError",
    "ConfigError",
    "ConnectError",
    "ConnectionRefused",
    "Disconnected",
    "EncodeError",
    "InvalidAnswer",
    "InvalidArguments",
    "LimitError",
    "LocalProtocolError",
    "MadangError",
    "NotSent",
    "Reason",
    "RemoteProtocolError",
    "RequestRefused",
    "WrongThreadError",
]


class Reason:
    """Why a client left: the strings that a `disconnect` handler receives.

    The first group are Socket.IO's own (server API, event "disconnect"); the second group is what a `Client` is told
    besides (client API, the same event); the third is ours, for ends that the reference server doesn't know.
    """

    TRANSPORT_CLOSE: Final = "transport close"  #: the connection was closed by the client
    TRANSPORT_ERROR: Final = "transport error"  #: the connection broke
    PING_TIMEOUT: Final = "ping timeout"  #: no pong came within `ping_timeout_seconds`
    PARSE_ERROR: Final = "parse error"  #: the client broke a rule of the protocol or a limit
    FORCED_CLOSE: Final = "forced close"  #: the connection was closed by the server
    FORCED_SERVER_CLOSE: Final = "forced server close"  #: no namespace was joined in time
    CLIENT_DISCONNECT: Final = "client namespace disconnect"  #: the client left the namespace
    SERVER_DISCONNECT: Final = "server namespace disconnect"  #: `socket.disconnect()`
    SHUTTING_DOWN: Final = "server shutting down"  #: `await io.close()`

    IO_SERVER_DISCONNECT: Final = "io server disconnect"  #: the server made the client leave
    IO_CLIENT_DISCONNECT: Final = "io client disconnect"  #: `client.disconnect()` or `client.close()`

    SLOW_CONSUMER: Final = "slow consumer"  #: more than `max_buffered_bytes` waited for this client


class MadangError(Exception):
    """The root of all exceptions of this package."""


class ConfigError(MadangError, ValueError):
    """A setting has a value that makes no sense. The message names the setting, the value and what is allowed."""


class LocalProtocolError(MadangError):
    """The program asked for something that can't be done. The message says what to do instead."""


class EncodeError(LocalProtocolError, TypeError):
    """A value that was emitted or acknowledged can't be put on the wire.

    Allowed are None, bool, int, float, str, bytes, lists, tuples, sets, dicts, dataclasses, enums, dates, durations,
    `Decimal`, UUIDs, `msgspec.Struct` and pydantic models.
    """


class WrongThreadError(LocalProtocolError, RuntimeError):
    """The server was used from a thread or event loop other than the one that it runs in."""


class LimitError(LocalProtocolError):
    """A limit of the settings would be passed, as by a socket that joins too many rooms."""


class RemoteProtocolError(MadangError):
    """The peer broke a rule of the protocol, or a limit.

    Attributes:
        rule: the paragraph or the setting that was broken, as "RFC 6455 5.1" or "max_event_args".
        close_code: the WebSocket close code that tells the peer (RFC 6455, 7.4.1).
        http_status: the HTTP status that tells the peer, where there is a response to send.
    """

    def __init__(self, message: str, *, rule: str, close_code: int = 1002, http_status: int = 400) -> None:
        super().__init__(message)
        self.rule = rule
        self.close_code = close_code
        self.http_status = http_status

    def __str__(self) -> str:
        return f"{self.args[0]} [{self.rule}]"


class InvalidArguments(RemoteProtocolError):
    """The arguments of an event are not what its handler declares; the handler did not see them.

    Handlers may raise it too, where a rule can't be written as a type: the client is answered in the same way.

    Args:
        event: the event.
        details: what is wrong, each a dict of "path", which begins with the number of the argument, and "message".

    Attributes:
        event: the event.
        details: what is wrong; a bounded number of short texts.

    Example:
        ```python
        @io.event
        def vote(socket: Socket, option: int) -> None:
            if option not in socket.data["options"]:
                raise InvalidArguments("vote", [{"path": [0], "message": "There is no such option"}])
        ```
    """

    def __init__(self, event: str, details: Sequence[Mapping[str, Any]]) -> None:
        self.event = event
        self.details = [dict(detail) for detail in details]
        super().__init__("; ".join(map(_fault, self.details[:3])), rule="arguments of the event")

    @property
    def answer(self) -> dict[str, Any]:
        """What the sender gets as its acknowledgement, if it asked for one."""
        more = f" (and {len(self.details) - 1} more)" if len(self.details) > 1 else ""
        return {
            "error": {
                "code": "invalid_arguments",
                "message": (_fault(self.details[0]) if self.details else "The arguments are invalid") + more,
                "event": self.event,
                "details": self.details,
            }
        }


class InvalidAnswer(RemoteProtocolError):
    """What a client has acknowledged is not what `call(..., returns=...)` asked for.

    Attributes:
        details: what is wrong, each a dict of "path" and "message"; for a broadcast, paths begin with the number of
            the answer.
        answers: what came: one answer, or for a broadcast a list of all.
    """

    def __init__(self, details: Sequence[Mapping[str, Any]], answers: Any) -> None:
        self.details = [dict(detail) for detail in details]
        self.answers = answers
        super().__init__("; ".join(_fault(detail, "answer") for detail in self.details[:3]), rule="returns")


def _fault(detail: Mapping[str, Any], what: str = "arguments") -> str:
    """One detail in words: "arguments[0].age: Expected `int`, got `str`"."""
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in detail["path"])
    return f"{what}{where}: {detail['message']}"


class RequestRefused(MadangError):
    """An HTTP request that is answered with an error.

    The table of Engine.IO's codes is in its protocol document, revision 4 ("error codes"). Use the named
    constructors of the codes, as in `raise RequestRefused(*UNKNOWN_SID)`.

    Attributes:
        code: Engine.IO's error code, 0 to 5.
        message: Engine.IO's words for the code, which clients may look at.
        status: the HTTP status.
        detail: what exactly was wrong, for the log.
        context: the same for programs, as `{"sid": ...}`. What the client said in it is cut short.
        retry_after_seconds: when the request may come again; None where that would not help. Clients are told it.
    """

    def __init__(
        self,
        code: int,
        message: str,
        status: int = 400,
        detail: str = "",
        context: Mapping[str, Any] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{message} ({detail})" if detail else message)
        self.code = code
        self.message = message
        self.status = status
        self.detail = detail
        self.context = dict(context or ())
        self.retry_after_seconds = retry_after_seconds


UNKNOWN_TRANSPORT: Final = (0, "Transport unknown", 400)
UNKNOWN_SID: Final = (1, "Session ID unknown", 400)
BAD_METHOD: Final = (2, "Bad handshake method", 400)
BAD_REQUEST: Final = (3, "Bad request", 400)
FORBIDDEN: Final = (4, "Forbidden", 403)
UNSUPPORTED_VERSION: Final = (5, "Unsupported protocol version", 400)
# Not in the protocol's table, which has no word for them: the nearest code, the right HTTP status.
SERVER_FULL: Final = (4, "Server is full", 503)
TOO_LARGE: Final = (3, "Payload too large", 413)
TOO_MANY: Final = (3, "Too many requests", 429)


class ConnectionRefused(MadangError):
    """Raised in a middleware to turn a client away; it receives `connect_error`.

    Args:
        message: what the client finds in `error.message`.
        data: what it finds in `error.data`: anything that can be put into JSON.

    Example:
        ```python
        @io.use
        def authenticate(socket: Socket) -> None:
            if socket.handshake.auth.get("token") != "secret":
                raise ConnectionRefused("not authorised", {"code": 401})
        ```

    Source: Socket.IO protocol 5, CONNECT_ERROR.
    """

    def __init__(self, message: str = "Connection refused", data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    @property
    def payload(self) -> dict[str, Any]:
        """The body of the CONNECT_ERROR packet."""
        if self.data is None:
            return {"message": self.message}
        return {"message": self.message, "data": self.data}


class ConnectError(MadangError, ConnectionError):
    """A client could not connect: the server refused it, or there was no way to the server.

    Attributes:
        message: what was wrong; of a refusal, the message that the server's middleware gave.
        data: of a refusal, the data that it gave with it.
        refused: whether the server refused. Then the client does not try again by itself.

    Source: Socket.IO protocol 5, CONNECT_ERROR; client API, event "connect_error".
    """

    def __init__(self, message: str, data: Any = None, *, refused: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        self.refused = refused


class Disconnected(MadangError):
    """The other side is gone, or went while something was awaited from it.

    Attributes:
        reason: one of the strings of `Reason`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the client is disconnected: {reason}")
        self.reason = reason


class AckTimeout(MadangError, TimeoutError):
    """The acknowledgement did not come in time.

    Attributes:
        received: for a broadcast, the answers that did come; else empty.
        expected: how many answers were expected.
        missing: the names of the servers that have not answered, as far as they are known.
    """

    def __init__(
        self, seconds: float, received: Sequence[Any] = (), expected: int = 1, missing: Sequence[str] = ()
    ) -> None:
        got = f"{len(received)} of {expected} acknowledgements" if expected != 1 else "no acknowledgement"
        without = f"; servers that did not answer: {', '.join(missing)}" if missing else ""
        super().__init__(f"{got} came within {seconds:g} s{without}")
        self.received = list(received)
        self.expected = expected
        self.missing = list(missing)


class ClusterError(MadangError, TimeoutError):
    """Other servers of the cluster did not answer in time.

    Attributes:
        received: what did come, of this server and of others.
        answered: how many of the other servers have answered.
        missing: the names of those that have not, as far as they are known.
    """

    def __init__(
        self, what: str, seconds: float, received: Sequence[Any], answered: int, missing: Sequence[str]
    ) -> None:
        super().__init__(
            f"{what}: {answered} of {answered + len(missing)} other servers answered within {seconds:g} s; missing: "
            f"{', '.join(missing)}"
        )
        self.received = list(received)
        self.answered = answered
        self.missing = list(missing)


class NotSent(MadangError, ConnectionError):
    """What an emitter has said did not get to the engine of the cluster, or not yet.

    Attributes:
        waiting: how many messages still wait for the engine.
        lost: how many were thrown away since the last time that this was asked.
    """

    def __init__(self, waiting: int, lost: int, why: str) -> None:
        parts = [f"{waiting} wait for the engine"] if waiting else []
        if lost:
            parts.append(f"{lost} were thrown away")
        super().__init__(f"messages were not sent: {', '.join(parts)}: {why}")
        self.waiting = waiting
        self.lost = lost
