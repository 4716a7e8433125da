"""The engine: handshakes, every error with its status and body, origins and CORS, cookie, compression, limits."""

import json
from typing import Any

import pytest

from madang.config import Cookie
from madang.core.engine import Engine
from madang.core.session import Session
from madang.errors import FORBIDDEN, ConfigError, Reason, RequestRefused
from madang.packet import Packet
from madang.testing import EngineKit, RecordingDuplex, RecordingExchange
from madang.transports import Request
from madang.wire import error_body

HANDSHAKE = "EIO=4&transport=polling"


@pytest.fixture
def kit() -> EngineKit:
    return EngineKit()


def outcome(exchange: RecordingExchange) -> tuple[int, int, str]:
    """Status, Engine.IO's code and message of an error; checks how it looks."""
    body = exchange.json
    assert list(body) == ["code", "message"]
    assert exchange.headers["content-type"] == "application/json"
    assert exchange.headers["cache-control"] == "no-store"
    assert exchange.headers["content-length"] == str(len(exchange.text))
    return exchange.status, body["code"], body["message"]


def refusal(kit: EngineKit, query: str, headers: dict[str, str] | None = None) -> tuple[int, int, str]:
    """How a WebSocket is refused before its handshake."""
    with pytest.raises(RequestRefused) as caught:
        kit.engine.admit(kit.request("GET", query, headers))
    refused = caught.value
    body = json.loads(error_body(refused))
    return refused.status, body["code"], body["message"]


# --------------------------------------------------------------------------------------------- handshake, errors


def test_handshake_response(kit: EngineKit) -> None:
    exchange = kit.http("GET", HANDSHAKE)
    assert exchange.status == 200
    assert exchange.headers == {
        "content-type": "text/plain; charset=UTF-8",
        "cache-control": "no-store",
        "content-length": str(len(exchange.text)),
    }
    [sid] = kit.engine.sessions
    assert json.loads(exchange.text[1:]) == {
        "sid": sid,
        "upgrades": ["websocket"],
        "pingInterval": 25000,
        "pingTimeout": 20000,
        "maxPayload": 1_000_000,
    }


@pytest.mark.parametrize(
    ("settings", "upgrades"),
    [
        ({}, ["websocket"]),
        ({"allow_upgrades": False}, []),
        ({"transports": ["polling"]}, []),
        ({"transports": ["websocket", "polling"]}, ["websocket"]),
    ],
)
def test_upgrades_that_are_offered(settings: dict[str, Any], upgrades: list[str]) -> None:
    assert EngineKit(**settings).http("GET", HANDSHAKE).text.count("websocket") == len(upgrades)


UNKNOWN_SID = (400, 1, "Session ID unknown")
BAD_REQUEST = (400, 3, "Bad request")
UNSUPPORTED = (400, 5, "Unsupported protocol version")
UNKNOWN_TRANSPORT = (400, 0, "Transport unknown")
BAD_METHOD = (400, 2, "Bad handshake method")
OLD = " is eio3 (socket.io-client 1.x and 2.x), which the setting `generations` does not let in"


@pytest.mark.parametrize(
    ("method", "query", "expected", "detail"),
    [
        ("GET", "", UNKNOWN_TRANSPORT, "transport ''"),
        ("GET", "EIO=4", UNKNOWN_TRANSPORT, "transport ''"),
        ("GET", "EIO=4&transport=pigeon", UNKNOWN_TRANSPORT, "transport 'pigeon'"),
        ("GET", "EIO=4&transport=" + "x" * 100, UNKNOWN_TRANSPORT, "transport '" + "x" * 40 + "'"),
        ("GET", "EIO=4&transport=__proto__", UNKNOWN_TRANSPORT, "transport '__proto__'"),
        ("POST", "EIO=4&transport=pigeon", UNKNOWN_TRANSPORT, "transport 'pigeon'"),
        ("GET", "EIO=4&transport=websocket", BAD_REQUEST, "websocket needs an upgrade of the connection"),
        ("GET", "EIO=4&transport=polling&sid=x", UNKNOWN_SID, "sid 'x'"),
        ("POST", "EIO=4&transport=polling&sid=x", UNKNOWN_SID, "sid 'x'"),
        ("GET", "EIO=4&transport=polling&sid=", UNKNOWN_SID, "sid ''"),
        ("PUT", "EIO=4&transport=polling&sid=x", UNKNOWN_SID, "sid 'x'"),
        ("POST", HANDSHAKE, BAD_METHOD, "method POST"),
        ("PUT", HANDSHAKE, BAD_METHOD, "method PUT"),
        ("HEAD", HANDSHAKE, BAD_METHOD, "method HEAD"),
        ("DELETE", HANDSHAKE, BAD_METHOD, "method DELETE"),
        ("GET", "transport=polling", UNSUPPORTED, "EIO ''" + OLD),
        ("GET", "EIO=3&transport=polling", UNSUPPORTED, "EIO '3'" + OLD),
        ("GET", "EIO=abc&transport=polling", UNSUPPORTED, "EIO 'abc'"),
    ],
)
def test_errors(kit: EngineKit, method: str, query: str, expected: tuple[int, int, str], detail: str) -> None:
    assert outcome(kit.http(method, query)) == expected
    assert kit.engine.sessions == {}
    [refused] = kit.refusals
    assert refused.detail == detail


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "PATCH", "TRACE"])
def test_other_methods_in_a_session(kit: EngineKit, method: str) -> None:
    client = kit.polling()
    client.join()
    assert outcome(kit.http(method, client.query)) == BAD_REQUEST
    assert client.poll().waits  # the session goes on


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("EIO=4", UNKNOWN_TRANSPORT),
        ("EIO=4&transport=pigeon", UNKNOWN_TRANSPORT),
        ("EIO=4&transport=polling", UNKNOWN_TRANSPORT),
        ("EIO=4&transport=websocket&sid=x", UNKNOWN_SID),
        ("transport=websocket", UNSUPPORTED),
        ("EIO=3&transport=websocket", UNSUPPORTED),
    ],
)
def test_errors_of_websockets(kit: EngineKit, query: str, expected: tuple[int, int, str]) -> None:
    assert refusal(kit, query) == expected
    duplex = RecordingDuplex()
    kit.engine.link(kit.request("GET", query), duplex)
    assert duplex.closed == (1008, expected[2])
    assert duplex.frames == []
    assert kit.engine.sessions == {}
    assert len(kit.refusals) == 1


def test_a_transport_that_is_off() -> None:
    kit = EngineKit(transports=["websocket"])
    assert outcome(kit.http("GET", HANDSHAKE)) == UNKNOWN_TRANSPORT
    assert kit.websocket().session
    kit = EngineKit(transports=["polling"])
    assert refusal(kit, "EIO=4&transport=websocket") == UNKNOWN_TRANSPORT


def test_upgrades_that_are_off() -> None:
    kit = EngineKit(allow_upgrades=False)
    client = kit.polling()
    assert refusal(kit, f"EIO=4&transport=websocket&sid={client.session.id}") == BAD_REQUEST
    assert kit.websocket().session


@pytest.mark.parametrize("setting", [{"transports": ["pigeon"]}, {"generations": ["eio9"]}, {"parser": "xml"}])
def test_modules_that_do_not_exist(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is its package installed"):
        EngineKit(**setting)


def test_an_engine_without_face_says_so() -> None:
    from madang.config import Config

    class Nobody:
        def opened(self, session: Session) -> None: ...
        def received(self, session: Session, packet: Packet) -> None: ...
        def closed(self, session: Session, reason: str) -> None: ...

    engine = Engine(Config(), Nobody())
    with pytest.raises(RuntimeError, match="the engine is not running: no face has filled its slots"):
        engine.begin(Request("GET", "/", HANDSHAKE, []), RecordingExchange())
    for slot in (engine.clock, engine.new_id, lambda: engine.call_soon(lambda: None)):
        with pytest.raises(RuntimeError):
            slot()


# --------------------------------------------------------------------------------------------------------- POST


def test_post(kit: EngineKit) -> None:
    client = kit.polling()
    exchange = client.post("40")
    assert (exchange.status, exchange.text) == (200, "ok")
    assert exchange.headers["content-type"] == "text/html"
    assert exchange.headers["content-length"] == "2"


@pytest.mark.parametrize("body", [b"", b"\x1e", b"4\xff", b"b!", b"7", b"0", b"42[", b"40\x1e\x1e", b"2"])
def test_posts_that_break_a_rule(kit: EngineKit, body: bytes) -> None:
    client = kit.polling()
    poll = client.poll()
    exchange = kit.http("POST", client.query, body)
    assert outcome(exchange) == BAD_REQUEST
    assert len(kit.violations) == 1
    assert kit.engine.sessions == {}
    assert poll.text == "1"
    assert outcome(client.poll()) == UNKNOWN_SID
    assert kit.engine._parked == 0


def test_bytes_by_octet_stream(kit: EngineKit) -> None:
    client = kit.polling()
    exchange = kit.http("POST", client.query, b"40", {"Content-Type": "application/octet-stream"})
    assert outcome(exchange) == BAD_REQUEST


def test_a_post_that_announces_too_much() -> None:
    kit = EngineKit(max_payload_bytes=100)
    client = kit.polling()
    client.join()
    for length in ("101", "1000000", "9" * 30):
        exchange = RecordingExchange()
        assert kit.engine.begin(kit.request("POST", client.query, {"Content-Length": length}), exchange) == 0
        assert outcome(exchange) == (413, 3, "Payload too large")
    assert "max_payload_bytes is 100" in str(kit.refusals[0])
    assert client.poll().waits  # the session goes on


@pytest.mark.parametrize("length", ["100", "0", "", "abc", "-5", "1e9", "\u00b2"])
def test_posts_whose_length_may_be_right(length: str) -> None:
    kit = EngineKit(max_payload_bytes=100)
    client = kit.polling()
    exchange = RecordingExchange()
    request = kit.request("POST", client.query, {"Content-Length": length})
    assert kit.engine.begin(request, exchange) == 100
    assert exchange.waits
    kit.engine.finish(request, exchange, b"40")
    assert exchange.status == 200


def test_a_post_that_is_larger_than_announced() -> None:
    kit = EngineKit(max_payload_bytes=100)
    client = kit.polling()
    assert outcome(kit.http("POST", client.query, b"4" * 101)) == (413, 3, "Payload too large")
    assert kit.http("POST", client.query, b"40{}" + b" " * 96).status == 200


def test_too_many_packets_in_a_post() -> None:
    kit = EngineKit(max_packets_per_payload=3)
    client = kit.polling()
    assert client.post("3", "3", "3").status == 200
    assert outcome(client.post("3", "3", "3", "3")) == BAD_REQUEST
    assert kit.violations[0].rule == "max_packets_per_payload"


def test_a_packet_that_grows_too_large_over_http() -> None:
    kit = EngineKit(max_payload_bytes=100, max_packet_bytes=100)
    client = kit.polling()
    client.say("40")
    client.say('452-["e",{"_placeholder":true,"num":0}]')
    exchange = client.post(b"x" * 70)
    assert outcome(exchange) == (413, 3, "Bad request")


def test_a_session_that_ends_before_its_body_is_whole(kit: EngineKit) -> None:
    client = kit.polling()
    exchange = RecordingExchange()
    request = kit.request("POST", client.query)
    assert kit.engine.begin(request, exchange)
    client.session.close(Reason.FORCED_CLOSE, discard=True)
    kit.engine.finish(request, exchange, b"40")
    assert outcome(exchange) == UNKNOWN_SID


def test_a_session_that_moves_before_its_body_is_whole(kit: EngineKit) -> None:
    client = kit.polling()
    exchange = RecordingExchange()
    request = kit.request("POST", client.query)
    assert kit.engine.begin(request, exchange)
    kit.upgrade(client).say("2probe", "5")
    kit.engine.finish(request, exchange, b"40")
    assert outcome(exchange) == BAD_REQUEST
    assert client.session in kit.engine.sessions.values()


def test_a_post_whose_connection_breaks(kit: EngineKit) -> None:
    ended: list[str] = []
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    client = kit.polling()
    client.join()
    kit.engine.abort(kit.request("POST", client.query))
    assert ended == [Reason.TRANSPORT_ERROR]
    kit.engine.abort(kit.request("POST", client.query))
    kit.engine.abort(kit.request("POST", "EIO=4&transport=polling"))


def test_a_post_whose_connection_breaks_after_an_upgrade(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    link = kit.upgrade(client)
    link.say("2probe", "5")
    kit.engine.abort(kit.request("POST", client.query))
    assert link.closed is None


# ------------------------------------------------------------------------------------------------------- limits


def test_max_connections() -> None:
    kit = EngineKit(max_connections=2)
    first = kit.polling()
    kit.websocket()
    assert outcome(kit.http("GET", HANDSHAKE)) == (503, 4, "Server is full")
    assert refusal(kit, "EIO=4&transport=websocket") == (503, 4, "Server is full")
    assert "max_connections is 2" in str(kit.refusals[0])
    # who is in stays in, and may upgrade
    link = kit.upgrade(first)
    link.say("2probe", "5")
    assert link.take() == ["3probe"]
    link.lose()
    assert kit.polling()


def test_full_between_admission_and_handshake() -> None:
    kit = EngineKit(max_connections=1)
    request = kit.request("GET", "EIO=4&transport=websocket")
    kit.engine.admit(request)
    kit.polling()
    duplex = RecordingDuplex()
    kit.engine.link(request, duplex)
    assert duplex.closed == (1008, "Server is full")


def test_max_unanswered_polls() -> None:
    kit = EngineKit(max_unanswered_polls=2)
    clients = [kit.polling() for _ in range(3)]
    for client in clients:
        client.join()
    assert clients[0].poll().waits
    second = clients[1].poll()
    assert outcome(clients[2].poll()) == (503, 4, "Server is full")
    assert "max_unanswered_polls is 2" in str(kit.refusals[0])
    kit.io.emit("e")
    kit.turn()
    assert second.text == '42["e"]'
    assert clients[2].poll().text == '42["e"]'
    assert clients[1].poll().waits
    assert clients[2].poll().waits


def test_the_count_of_polls_returns_to_zero_whatever_ends_them() -> None:
    kit = EngineKit()

    def parked() -> Any:
        client = kit.polling()
        client.join()
        assert client.poll().waits
        return client

    by_answer, by_close, by_goodbye, by_garbage, by_timeout, by_upgrade = (parked() for _ in range(6))
    assert kit.engine._parked == 6
    next(iter(by_answer.session.sockets.values())).emit("e")
    kit.turn()
    by_close.session.close(Reason.FORCED_CLOSE)
    by_goodbye.post("1")
    by_garbage.post("9")
    kit.upgrade(by_upgrade).say("2probe")
    assert kit.engine._parked == 1
    kit.advance(100)
    assert by_timeout.session not in kit.engine.sessions.values()
    assert kit.engine._parked == 0


@pytest.mark.parametrize("answer", [True, False])
def test_allow_request(answer: bool) -> None:
    asked: list[Request] = []

    def allow(request: Request) -> bool:
        asked.append(request)
        return answer

    kit = EngineKit(allow_request=allow)
    exchange = kit.http("GET", HANDSHAKE + "&token=x")
    assert asked[0].query["token"] == "x"
    if answer:
        assert exchange.status == 200
    else:
        assert outcome(exchange) == (403, 4, "Forbidden")
        assert kit.refusals[0].detail == "allow_request said no"
        assert refusal(kit, "EIO=4&transport=websocket") == (403, 4, "Forbidden")


def test_allow_request_is_asked_once_for_each_handshake() -> None:
    asked: list[str] = []

    def allow(request: Request) -> bool:
        asked.append(request.query["transport"])
        return True

    kit = EngineKit(allow_request=allow)
    client = kit.polling()
    client.join()
    assert asked == ["polling"]
    kit.upgrade(client).say("2probe", "5")
    assert asked == ["polling"]
    kit.websocket()
    assert asked == ["polling", "websocket"]


def test_closed_and_opened_again(kit: EngineKit) -> None:
    client = kit.websocket()
    kit.engine.close(Reason.SHUTTING_DOWN)
    assert client.duplex.closed == (1000, Reason.SHUTTING_DOWN)
    refused = kit.http("GET", HANDSHAKE)
    assert refused.status == 503
    assert refused.json == {"code": 4, "message": "Server is full", "retryAfterMs": 1000}
    assert refused.headers["retry-after"] == "1"
    kit.engine.reopen()
    assert kit.http("GET", HANDSHAKE).status == 200


def test_who_comes_is_turned_away_and_who_is_here_stays(kit: EngineKit) -> None:
    client = kit.websocket()
    assert not kit.engine.is_leaving
    kit.engine.turn_away()
    assert kit.engine.is_leaving
    assert kit.http("GET", HANDSHAKE).status == 503
    assert client.duplex.closed is None
    kit.engine.reopen()
    assert kit.http("GET", HANDSHAKE).status == 200


# ------------------------------------------------------------------------------------------------------ origins

HOST = "example.org"
LISTED = ["https://friend.org", "http://localhost:5173"]


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://example.org", "example.org", True),
        ("https://example.org", "example.org", True),
        ("HTTPS://EXAMPLE.org", "example.ORG", True),
        # default ports
        ("http://example.org", "example.org:80", True),
        ("http://example.org:80", "example.org", True),
        ("https://example.org", "example.org:443", True),
        ("https://example.org:443", "example.org", True),
        ("http://example.org:8000", "example.org:8000", True),
        ("http://example.org:8000", "example.org", False),
        ("http://example.org", "example.org:8000", False),
        ("http://example.org:443", "example.org", False),
        ("https://example.org:80", "example.org", False),
        # IPv6
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://[::1]", "[::1]:80", True),
        ("http://[::1]", "[::1]", True),
        ("http://[::2]", "[::1]", False),
        ("http://[::1", "[::1", False),
        # others
        ("http://evil.org", "example.org", False),
        ("http://example.org.evil.org", "example.org", False),
        ("http://evilexample.org", "example.org", False),
        ("http://sub.example.org", "example.org", False),
        ("null", "example.org", False),
        ("null", "null", False),
        ("", "", False),
        ("http://", "", False),
        ("file://", "", False),
        # programs that name no scheme
        ("example.org", "example.org", True),
        ("Example.org:8000", "example.org:8000", True),
        ("evil.org", "example.org", False),
        ("example.org", "", False),
        ("ftp://example.org", "example.org", False),
        ("chrome-extension://example.org", "example.org", False),
        ("http://user@example.org", "example.org", False),
        ("http://example.org", "", False),
        ("http://example.org, http://evil.org", "example.org", False),
    ],
)
@pytest.mark.parametrize("origins", ["same", LISTED], ids=["same", "listed"])
def test_same_origin(origins: Any, origin: str, host: str, same: bool) -> None:
    kit = EngineKit(origins=origins)
    headers = {"Origin": origin, "Host": host}
    exchange = kit.http("GET", HANDSHAKE, headers=headers)
    if same:
        assert exchange.status == 200
        kit.engine.admit(kit.request("GET", "EIO=4&transport=websocket", headers))
    else:
        assert outcome(exchange) == (403, 4, "Forbidden")
        assert refusal(kit, "EIO=4&transport=websocket", headers) == (403, 4, "Forbidden")
        assert kit.refusals[0].detail == (
            f"pages of {origin!r} may not connect to {host!r}: "
            "add it to the setting `origins`, or let the proxy pass on the Host header"
        )
        assert kit.engine.sessions == {}
    assert "access-control-allow-origin" not in exchange.headers


def test_no_origin_is_no_browser() -> None:
    for origins in ("same", "*", [], LISTED):
        kit = EngineKit(origins=origins)
        assert kit.polling().handshake.status == 200
        assert kit.websocket().session


@pytest.mark.parametrize("origins", ["*", ["https://friend.org"], ["null"]], ids=str)
@pytest.mark.parametrize("origin", ["https://friend.org", "https://FRIEND.org", "null", "https://evil.org"])
def test_listed_origins(origins: Any, origin: str) -> None:
    kit = EngineKit(origins=origins)
    exchange = kit.http("GET", HANDSHAKE, headers={"Origin": origin, "Host": HOST})
    allowed = origins == "*" or origin.lower() in origins
    assert exchange.status == (200 if allowed else 403)


@pytest.mark.parametrize(
    ("origins", "credentials", "origin", "headers"),
    [
        ("same", False, None, {}),
        ("same", False, "https://example.org", {}),
        ("*", False, None, {}),
        ("*", False, "https://example.org", {"access-control-allow-origin": "*"}),
        ("*", False, "https://evil.org", {"access-control-allow-origin": "*"}),
        (LISTED, False, None, {}),
        (LISTED, False, "https://example.org", {"vary": "Origin"}),
        (LISTED, False, "https://evil.org", {"vary": "Origin"}),
        (LISTED, False, "https://friend.org", {
            "access-control-allow-origin": "https://friend.org", "vary": "Origin",
        }),
        (LISTED, True, "https://friend.org", {
            "access-control-allow-origin": "https://friend.org",
            "vary": "Origin",
            "access-control-allow-credentials": "true",
        }),
        (LISTED, True, "https://evil.org", {"vary": "Origin"}),
    ],
)  # fmt: skip
def test_cors(origins: Any, credentials: bool, origin: str | None, headers: dict[str, str]) -> None:
    """The same headers on every kind of response: handshake, poll, POST, error."""
    kit = EngineKit(origins=origins, cors_credentials=credentials)
    sent = {"Host": HOST} if origin is None else {"Host": HOST, "Origin": origin}

    def cors(exchange: RecordingExchange) -> dict[str, str]:
        return {
            name: value
            for name, value in exchange.headers.items()
            if name.startswith("access-control") or name == "vary"
        }

    client = kit.polling()
    handshake = kit.http("GET", HANDSHAKE, headers=sent)
    assert cors(handshake) == headers
    if handshake.status == 200:
        assert cors(kit.http("POST", client.query, b"40", sent)) == headers
        assert cors(kit.http("GET", client.query, headers=sent)) == headers
        assert cors(kit.http("GET", HANDSHAKE + "&sid=x", headers=sent)) == headers


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ("*", "https://evil.org", "*"),
        (LISTED, "https://friend.org", "https://friend.org"),
        (LISTED, "http://localhost:5173", "http://localhost:5173"),
    ],
)
def test_preflight(origins: Any, origin: str, allowed: str) -> None:
    kit = EngineKit(origins=origins)
    exchange = kit.http(
        "OPTIONS", HANDSHAKE, headers={
            "Origin": origin, "Host": HOST, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-one, content-type",
        },
    )  # fmt: skip
    assert (exchange.status, exchange.text) == (204, "")
    headers = {name: value for name, value in exchange.headers.items() if name.startswith("access-control")}
    assert headers == {
        "access-control-allow-origin": allowed,
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": "x-one, content-type",
        "access-control-max-age": "600",
    }
    assert "content-length" not in exchange.headers  # RFC 9110, 8.6: not in a 204
    assert kit.engine.sessions == {}


def test_preflight_of_our_own_pages_needs_no_headers() -> None:
    kit = EngineKit()
    for headers in ({}, {"Origin": "https://example.org", "Host": HOST}):
        exchange = kit.http("OPTIONS", HANDSHAKE, headers=headers)
        assert (exchange.status, exchange.headers) == (204, {})


@pytest.mark.parametrize("origins", ["same", LISTED])
def test_preflight_of_strangers(origins: Any) -> None:
    kit = EngineKit(origins=origins)
    exchange = kit.http("OPTIONS", HANDSHAKE, headers={"Origin": "https://evil.org", "Host": HOST})
    assert outcome(exchange) == (403, 4, "Forbidden")
    assert "access-control-allow-methods" not in exchange.headers


def test_a_page_must_not_take_over_a_session_of_another(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    evil = {"Origin": "https://evil.org", "Host": HOST}
    for exchange in (kit.http("GET", client.query, headers=evil), kit.http("POST", client.query, b"1", evil)):
        assert outcome(exchange) == (403, 4, FORBIDDEN[1])
    assert client.poll().waits
    query = client.query.replace("polling", "websocket")
    assert refusal(kit, query, evil) == (403, 4, "Forbidden")


# ------------------------------------------------------------------------------------------- cookie, compression


def test_cookie() -> None:
    kit = EngineKit(cookie=Cookie("route", secure=True))
    client = kit.polling()
    assert client.handshake.headers["set-cookie"] == (
        f"route={client.session.id}; Path=/; HttpOnly; Secure; SameSite=Lax"
    )
    assert "set-cookie" not in client.post("40").headers
    assert "set-cookie" not in client.poll().headers


def test_no_cookie_by_default(kit: EngineKit) -> None:
    assert "set-cookie" not in kit.polling().handshake.headers


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("deflate;q=0.5, GZIP;q=0.8", True),
        ("br,gzip;q=1.0", True),
        ("gzip ; q=0.1", True),
        (None, False),
        ("", False),
        ("br", False),
        ("identity", False),
        ("x-gzip2", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0, deflate", False),
    ],
)
def test_gzip(accepts: str | None, packed: bool) -> None:
    kit = EngineKit()
    client = kit.polling(headers=None if accepts is None else {"Accept-Encoding": accepts})
    client.join()
    kit.io.emit("e", "x" * 5000)
    exchange = client.poll()
    assert exchange.text == '42["e","' + "x" * 5000 + '"]'
    assert exchange.headers["vary"] == "Accept-Encoding"
    assert ("content-encoding" in exchange.headers) is packed
    assert exchange.response is not None
    assert exchange.headers["content-length"] == str(len(exchange.response.body))
    assert (len(exchange.response.body) < 200) is packed


@pytest.mark.parametrize(("threshold", "packed"), [(1024, False), (1023, True), (1, True), (None, False)])
def test_from_which_size_responses_are_compressed(threshold: int | None, packed: bool) -> None:
    kit = EngineKit(http_compression_threshold_bytes=threshold)
    client = kit.polling(headers={"Accept-Encoding": "gzip"})
    client.join()
    assert "content-encoding" not in client.handshake.headers
    text = "x" * (1023 - len('42["e",""]'))
    kit.io.emit("e", text)
    exchange = client.poll()
    assert len(exchange.text) == 1023
    assert ("content-encoding" in exchange.headers) is packed
    if not packed:
        assert "vary" not in exchange.headers


# --------------------------------------------------------------------------------------------------------- turns


def test_one_callback_for_all_polls_of_a_turn(kit: EngineKit) -> None:
    clients = [kit.polling() for _ in range(5)]
    for client in clients:
        client.join()
    polls = [client.poll() for client in clients]
    for _ in range(3):
        kit.io.emit("e")
    assert len(kit._soon) == 1
    kit.turn()
    assert [poll.text for poll in polls] == ["\x1e".join(['42["e"]'] * 3)] * 5
    kit.io.emit("e")
    assert kit._soon == []  # nobody waits


def test_ids_come_from_the_slot(kit: EngineKit) -> None:
    sids = [kit.polling().session.id, kit.websocket().session.id]
    assert all(len(sid) == 20 for sid in sids)
    assert list(kit.engine.sessions) == sids


def test_requests_drive_the_wheel(kit: EngineKit) -> None:
    """What is due happens, even where a face's timer is late."""
    client, silent = kit.polling(), kit.polling()
    client.join()
    poll = silent.poll()
    kit.clock.now += 46
    assert client.poll().text == "2"
    assert poll.text == "1"  # never joined a namespace


def test_the_wheel_is_as_fine_as_the_heartbeat() -> None:
    for interval, timeout in ((25, 20), (1, 0.5), (0.3, 0.2), (0.01, 5)):
        kit = EngineKit(ping_interval_seconds=interval, ping_timeout_seconds=timeout)
        client = kit.websocket()
        client.join()
        pinged: list[float] = []
        start = kit.clock.now
        for _ in range(int(interval * 2000)):
            kit.advance(0.001)
            if client.heard() == ["2"]:
                pinged.append(kit.clock.now - start)
                break
        assert interval <= pinged[0] <= interval + max(0.003, min(interval, timeout) / 20)


# ------------------------------------------------------------------------------------ allow_request that awaits


class AsyncCall:
    """An object whose call is a coroutine: no inspection of the object itself shows it."""

    async def __call__(self, request: Request) -> bool:
        return False


class Awaitable:
    """Something else that can be awaited."""

    def __await__(self) -> Any:
        yield from ()


async def _no(request: Request) -> bool:
    return False


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "allow", [lambda request: _no(request), AsyncCall(), lambda request: Awaitable()], ids=["lambda", "call", "other"]
)
def test_allow_request_that_must_be_awaited_lets_nobody_in(allow: Any) -> None:
    kit = EngineKit(allow_request=allow)
    assert kit.http("GET", HANDSHAKE).status == 403
    assert refusal(kit, "EIO=4&transport=websocket")[0] == 403
    assert kit.engine.sessions == {}
    assert "plain function" in str(kit.refusals[0].detail)


@pytest.mark.parametrize(("answer", "status"), [(True, 200), (1, 200), ("yes", 200), (False, 403), (None, 403)])
def test_allow_request_may_say_yes_in_its_own_words(answer: Any, status: int) -> None:
    assert EngineKit(allow_request=lambda request: answer).http("GET", HANDSHAKE).status == status


# ----------------------------------------------------------------------------------------------- closing again


class Counting(dict[str, Session]):
    """Counts who asks for all."""

    asked = 0

    def values(self) -> Any:
        self.asked += 1
        return super().values()


def test_closing_again_looks_at_nobody_again() -> None:
    """At a shutdown, each connection asks for it."""
    kit = EngineKit()
    for _ in range(3):
        kit.polling().join()
    kit.engine.sessions = sessions = Counting(kit.engine.sessions)
    for _ in range(10):
        kit.engine.close(Reason.SHUTTING_DOWN)
    assert sessions.asked == 1
    assert all(session.ended == Reason.SHUTTING_DOWN for session in sessions.values())


def test_closing_again_after_somebody_came() -> None:
    kit = EngineKit()
    kit.engine.close(Reason.SHUTTING_DOWN)
    kit.engine.reopen()
    client = kit.websocket()
    kit.engine.close(Reason.SHUTTING_DOWN)
    assert client.session.ended == Reason.SHUTTING_DOWN


def test_who_comes_while_all_are_closed_is_closed_by_the_next_call() -> None:
    """A handshake asks the program, which may close the server meanwhile."""

    def allow(request: Request) -> bool:
        kit.engine.close(Reason.SHUTTING_DOWN)
        return True

    kit = EngineKit(allow_request=allow)
    client = kit.polling()
    assert client.session.ended is None
    kit.engine.close(Reason.SHUTTING_DOWN)
    assert client.session.ended == Reason.SHUTTING_DOWN
