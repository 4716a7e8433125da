"""The tree of exceptions, and what they say."""

import ast
import inspect

import pytest

from madang import errors
from madang.errors import (
    AckTimeout,
    ConnectionRefused,
    Disconnected,
    MadangError,
    Reason,
    RemoteProtocolError,
    RequestRefused,
)


def exceptions() -> list[type[BaseException]]:
    return [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, BaseException)]


def test_one_root() -> None:
    assert all(issubclass(one, MadangError) for one in exceptions())
    assert not issubclass(MadangError, ValueError | TypeError | RuntimeError | OSError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        name = next((word for word in line.replace("─", " ").split() if word.isidentifier()), "")
        if name in errors.__all__:
            column = line.index(name)
            while above and above[-1][0] >= column:
                above.pop()
            drawn[name] = above[-1][1] if above else ""
            above.append((column, name))
    real = {one.__name__: one.__bases__[0].__name__ for one in exceptions()}
    assert drawn == {**real, "MadangError": ""}


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.EncodeError, TypeError),
        (errors.WrongThreadError, RuntimeError),
        (errors.AckTimeout, TimeoutError),
    ],
)
def test_those_who_know_only_python_can_catch_them(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)


def test_imports_nothing() -> None:
    tree = ast.parse(inspect.getsource(errors))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"__future__", "collections.abc", "typing"}


def test_reasons_are_those_of_socketio() -> None:
    reasons = {value for name, value in vars(Reason).items() if name.isupper()}
    # Socket.IO server API, event "disconnect"
    assert reasons - {"slow consumer"} == {
        "transport close",
        "transport error",
        "ping timeout",
        "parse error",
        "forced close",
        "forced server close",
        "client namespace disconnect",
        "server namespace disconnect",
        "server shutting down",
        "io server disconnect",  # client API, the same event
        "io client disconnect",
    }


def test_remote_protocol_error() -> None:
    error = RemoteProtocolError("too long", rule="max_x")
    assert str(error) == "too long [max_x]"
    assert (error.rule, error.close_code, error.http_status) == ("max_x", 1002, 400)
    error = RemoteProtocolError("too long", rule="max_x", close_code=1009, http_status=413)
    assert (error.close_code, error.http_status) == (1009, 413)


@pytest.mark.parametrize(
    ("constant", "code", "message", "status"),
    [
        # Engine.IO protocol 4; the messages are looked at by clients
        (errors.UNKNOWN_TRANSPORT, 0, "Transport unknown", 400),
        (errors.UNKNOWN_SID, 1, "Session ID unknown", 400),
        (errors.BAD_METHOD, 2, "Bad handshake method", 400),
        (errors.BAD_REQUEST, 3, "Bad request", 400),
        (errors.FORBIDDEN, 4, "Forbidden", 403),
        (errors.UNSUPPORTED_VERSION, 5, "Unsupported protocol version", 400),
        (errors.SERVER_FULL, 4, "Server is full", 503),
        (errors.TOO_LARGE, 3, "Payload too large", 413),
    ],
)
def test_request_refused(constant: tuple[int, str, int], code: int, message: str, status: int) -> None:
    refusal = RequestRefused(*constant)
    assert (refusal.code, refusal.message, refusal.status, refusal.detail) == (code, message, status, "")
    assert str(refusal) == message
    detailed = RequestRefused(*constant, "sid 'x'")
    assert (detailed.message, detailed.detail) == (message, "sid 'x'")
    assert str(detailed) == f"{message} (sid 'x')"


def test_connection_refused() -> None:
    assert ConnectionRefused().payload == {"message": "Connection refused"}
    assert ConnectionRefused("no").payload == {"message": "no"}
    assert ConnectionRefused("no", {"code": 1}).payload == {"message": "no", "data": {"code": 1}}
    assert ConnectionRefused("no", 0).payload == {"message": "no", "data": 0}
    assert str(ConnectionRefused("no", {"code": 1})) == "no"


def test_disconnected() -> None:
    error = Disconnected(Reason.PING_TIMEOUT)
    assert error.reason == "ping timeout"
    assert str(error) == "the client is disconnected: ping timeout"


def test_ack_timeout() -> None:
    one = AckTimeout(5)
    assert (one.received, one.expected) == ([], 1)
    assert str(one) == "no acknowledgement came within 5 s"
    answers = ["a", None]
    many = AckTimeout(0.25, answers, 3)
    assert (many.received, many.expected) == (["a", None], 3)
    assert many.received is not answers
    assert str(many) == "2 of 3 acknowledgements came within 0.25 s"
