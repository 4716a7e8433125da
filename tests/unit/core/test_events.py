"""What the engine tells of connections: headers, refused requests, sessions."""

from typing import Any

import pytest

from madang import LocalProtocolError, Request, RequestRefused, ResponseHeaders
from madang.core.events import ENGINE_EVENTS
from madang.core.session import Session
from madang.testing import EngineKit

HANDSHAKE = "EIO=4&transport=polling"


@pytest.fixture
def kit() -> EngineKit:
    return EngineKit()


# ---- the headers themselves ----


def test_headers_are_a_mapping_whatever_their_case() -> None:
    headers = ResponseHeaders([("Content-Type", "text/plain"), ("Vary", "Origin"), ("vary", "Accept")])
    assert headers["content-TYPE"] == "text/plain"
    assert headers["Vary"] == "Origin, Accept"
    assert "VARY" in headers
    assert "x" not in headers
    assert len(headers) == 2
    assert [name.lower() for name in headers] == ["content-type", "vary"]
    headers["VARY"] = "Cookie"
    assert headers.pairs == [("Content-Type", "text/plain"), ("VARY", "Cookie")]
    headers.add("Set-Cookie", "a=1")
    headers.add("Set-Cookie", "b=2")
    assert headers.pairs[2:] == [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    del headers["set-cookie"]
    assert "Set-Cookie" not in headers
    with pytest.raises(KeyError):
        del headers["set-cookie"]
    with pytest.raises(KeyError):
        headers["set-cookie"]
    headers.update({"X-A": "1"})
    assert headers.get("x-a") == "1"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é", 1, None, b"x"])
def test_names_that_can_not_be(name: Any) -> None:
    headers = ResponseHeaders()
    for use in (headers.add, headers.__setitem__):
        with pytest.raises(LocalProtocolError, match="can't be the name of a header"):
            use(name, "fine")
    assert not headers.pairs


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "\0", "\x7f", "한글"])
def test_values_that_can_not_be(value: str) -> None:
    headers = ResponseHeaders([("X", "kept")])
    for use in (headers.add, headers.__setitem__):
        with pytest.raises(LocalProtocolError, match="has a line break, a control character or one outside Latin-1"):
            use("X", value)
    assert headers.pairs == [("X", "kept")]


def test_values_that_are_no_text() -> None:
    with pytest.raises(LocalProtocolError, match="the value of the header 'X' must be a string, not 1"):
        ResponseHeaders()["X"] = 1  # type: ignore[assignment]


@pytest.mark.parametrize(
    "name", ["Content-Length", "content-encoding", "Connection", "Upgrade", "Transfer-Encoding", "Sec-WebSocket-Accept"]
)
def test_headers_that_are_the_library_s(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="is set by the library alone"):
        ResponseHeaders()[name] = "x"


# ---- responses ----


def counting(kit: EngineKit) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []

    @kit.engine.on("initial_headers")
    def first(headers: ResponseHeaders, request: Request) -> None:
        told.append(("initial", request.method))
        headers["X-First"] = "yes"

    @kit.engine.on("headers")
    def each(headers: ResponseHeaders, request: Request) -> None:
        told.append(("each", request.method))
        headers["X-Each"] = "yes"

    return told


def test_responses_to_polls_and_posts(kit: EngineKit) -> None:
    told = counting(kit)
    client = kit.polling()
    assert told == [("initial", "GET"), ("each", "GET")]
    assert client.handshake.headers["x-first"] == client.handshake.headers["x-each"] == "yes"
    client.join()
    answers = [client.post('42["e"]'), client.poll()]
    kit.turn()
    assert [answer.headers.get("x-each") for answer in answers if not answer.waits] == ["yes"]
    assert [answer.headers.get("x-first") for answer in answers if not answer.waits] == [None]
    assert ("initial", "POST") not in told
    assert told.count(("initial", "GET")) == 1


def test_errors_and_preflights_have_them_too(kit: EngineKit) -> None:
    told = counting(kit)
    assert kit.http("GET", "EIO=4&transport=nothing").headers["x-each"] == "yes"
    assert kit.http("OPTIONS", HANDSHAKE).headers["x-each"] == "yes"
    assert told == [("each", "GET"), ("each", "OPTIONS")]


def test_what_opens_a_link(kit: EngineKit) -> None:
    told = counting(kit)
    request = kit.request("GET", "EIO=4&transport=websocket")
    assert kit.engine.link_headers(request) == [("X-First", "yes"), ("X-Each", "yes")]
    request = kit.request("GET", "EIO=4&transport=websocket&sid=x")
    assert kit.engine.link_headers(request) == [("X-Each", "yes")]
    assert told == [("initial", "GET"), ("each", "GET"), ("each", "GET")]


def test_headers_may_be_changed_and_removed(kit: EngineKit) -> None:
    @kit.engine.on("headers")
    def change(headers: ResponseHeaders, request: Request) -> None:
        assert headers["content-type"] == "text/plain; charset=UTF-8"
        headers["cache-control"] = "private"
        del headers["Content-Type"]

    answer = kit.http("GET", HANDSHAKE)
    assert answer.headers == {"cache-control": "private", "content-length": str(len(answer.text))}


def test_the_cookie_is_seen_by_those_who_listen() -> None:
    from madang import Cookie

    kit = EngineKit(cookie=Cookie())
    seen = []
    kit.engine.on("initial_headers", lambda headers, request: seen.append(headers["Set-Cookie"]))
    client = kit.polling()
    assert seen == [f"io={client.session.id}; Path=/; HttpOnly; SameSite=Lax"]


def test_a_function_that_fails_costs_only_what_it_would_have_added(
    kit: EngineKit, caplog: pytest.LogCaptureFixture
) -> None:
    @kit.engine.on("headers")
    def fail(headers: ResponseHeaders, request: Request) -> None:
        headers["X-Before"] = "1"
        headers["X-User"] = request.query.get("name", "")

    kit.engine.on("headers", lambda headers, request: headers.add("X-After", "1"))
    answer = kit.http("GET", HANDSHAKE + "&name=a%0d%0aX-Evil:%201")
    assert answer.status == 200
    assert "x-evil" not in answer.headers
    assert "x-user" not in answer.headers
    assert answer.headers["x-before"] == answer.headers["x-after"] == "1"
    assert "the function for the engine's 'headers' failed" in caplog.text


# ---- refused requests ----

REFUSALS = [
    ("GET", "EIO=4&transport=tincan", 0, "Transport unknown", {"transport": "tincan"}),
    ("GET", "EIO=4&transport=polling&sid=nobody", 1, "Session ID unknown", {"sid": "nobody"}),
    ("POST", HANDSHAKE, 2, "Bad handshake method", {"method": "POST"}),
    (
        "GET", "EIO=4&transport=websocket", 3, "Bad request",
        {"name": "TRANSPORT_HANDSHAKE_ERROR", "transport": "websocket"},
    ),
    ("GET", "EIO=3&transport=polling", 5, "Unsupported protocol version", {"protocol": "3"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "query", "code", "message", "context"), REFUSALS)
def test_refused_requests(
    kit: EngineKit, method: str, query: str, code: int, message: str, context: dict[str, str]
) -> None:
    told: list[tuple[RequestRefused, Request]] = []
    kit.engine.on("connection_error", lambda error, request: told.append((error, request)))
    assert kit.http(method, query).json == {"code": code, "message": message}
    [(error, request)] = told
    assert (error.code, error.message, error.context) == (code, message, context)
    assert request.method == method
    assert request.query["transport"] == context.get("transport", "polling")


def test_a_page_of_another_origin(kit: EngineKit) -> None:
    told = []
    kit.engine.on("connection_error", lambda error, request: told.append((error.code, error.context)))
    kit.http("GET", HANDSHAKE, headers={"Origin": "https://evil.example", "Host": "here"})
    assert told == [(4, {"name": "ORIGIN_NOT_ALLOWED", "origin": "https://evil.example"})]


def test_another_transport_than_that_of_the_session(kit: EngineKit) -> None:
    client = kit.websocket()
    told = []
    kit.engine.on("connection_error", lambda error, request: told.append(error.context))
    kit.http("GET", f"{HANDSHAKE}&sid={client.session.id}")
    assert told == [{"name": "TRANSPORT_MISMATCH", "transport": "polling", "previousTransport": "websocket"}]


def test_what_strangers_say_is_cut(kit: EngineKit) -> None:
    told = []
    kit.engine.on("connection_error", lambda error, request: told.append(error.context))
    for part in ("transport=" + "x" * 5000, "transport=polling&sid=" + "x" * 5000):
        kit.http("GET", "EIO=4&" + part)
    kit.http("GET", "transport=polling&EIO=" + "4" * 5000)
    assert [len(value) for context in told for value in context.values()] == [40, 40, 10]


# ---- sessions ----


def test_the_life_of_a_session(kit: EngineKit) -> None:
    told: list[tuple[object, ...]] = []
    kit.engine.on("connection", lambda session: told.append(("connection", session)))
    kit.engine.on("upgrade", lambda session, transport: told.append((transport, session)))
    kit.engine.on("close", lambda session, reason: told.append((reason, session)))
    client = kit.polling()
    session: Session = client.session
    assert told == [("connection", session)]
    assert kit.engine.clients_count == 1
    duplex = kit.upgrade(client)
    duplex.say("2probe")
    assert len(told) == 1
    duplex.say("5")
    assert told[1:] == [("websocket", session)]
    duplex.lose()
    assert told[2:] == [("transport close", session)]
    assert kit.engine.clients_count == 0


# ---- registration ----


def test_off(kit: EngineKit) -> None:
    told = []

    def one(session: Session) -> None:
        told.append(1)

    kit.engine.on("connection", one)
    kit.engine.on("connection", lambda session: told.append(2))
    kit.engine.off("connection", one)
    kit.engine.off("connection", one)
    kit.websocket()
    kit.engine.off("connection")
    kit.websocket()
    assert told == [2]


@pytest.mark.parametrize("event", ["header", "", "initialHeaders", None])
def test_events_that_there_are_not(kit: EngineKit, event: Any) -> None:
    for use in (kit.engine.on, kit.engine.off):
        with pytest.raises(LocalProtocolError, match="the engine's events are initial_headers, headers, connection_e"):
            use(event, lambda *args: None)


@pytest.mark.parametrize("event", ENGINE_EVENTS)
def test_functions_that_can_not_be(kit: EngineKit, event: str) -> None:
    async def later(*args: object) -> None: ...

    def nothing() -> None: ...

    with pytest.raises(LocalProtocolError, match="must be a plain function"):
        kit.engine.on(event, later)
    with pytest.raises(LocalProtocolError, match=r"it must take \("):
        kit.engine.on(event, nothing)
    assert kit.engine.on(event)(print) is print
