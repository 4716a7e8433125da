"""Links on which clients knock: the first packet says who comes."""

from typing import Any

import pytest

from madang import RequestRefused
from madang.core.session import Session
from madang.errors import RemoteProtocolError
from madang.testing.doubles import RecordingDuplex
from madang.testing.kit import EngineKit

ALL = ("polling", "websocket", "webtransport")


def make(**settings: Any) -> EngineKit:
    kit = EngineKit(**{"transports": ALL, **settings})
    kit.engine.listening.add("webtransport")
    return kit


def knock(kit: EngineKit, *frames: str | bytes, headers: dict[str, str] | None = None) -> RecordingDuplex:
    request = kit.request("CONNECT", "", headers)
    duplex = RecordingDuplex()
    kit.engine.admit_knock(request)
    kit.engine.greet(request, "webtransport", duplex)
    duplex.say(*frames)
    return duplex


def test_a_new_session() -> None:
    kit = make()
    client = kit.websocket(transport="webtransport")
    assert client.session.opened_with == "webtransport"
    assert client.hello == (
        f'0{{"sid":"{client.session.id}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}'
    )
    socket = client.join()
    assert (socket.handshake.query, socket.handshake.headers) == ({}, {})
    kit.io.emit("tick", 1)
    assert client.heard() == ['42["tick",1]']


def test_an_upgrade() -> None:
    kit = make()
    client = kit.polling()
    assert '"upgrades":["websocket","webtransport"]' in str(client.hello)
    client.join()
    duplex = kit.upgrade(client, "webtransport")
    assert duplex.take() == []
    duplex.say("2probe")
    assert duplex.take() == ["3probe"]
    duplex.say("5")
    assert client.session.transport.name == "webtransport"
    kit.io.emit("tick", 1)
    kit.turn()
    assert duplex.take() == ['42["tick",1]']


@pytest.mark.parametrize("listens", [True, False])
def test_it_is_offered_while_somebody_listens(listens: bool) -> None:
    kit = EngineKit(transports=ALL)
    if listens:
        kit.engine.listening.add("webtransport")
    assert ('"webtransport"' in str(kit.polling().hello)) == listens


def test_it_is_not_offered_where_it_is_no_transport() -> None:
    kit = EngineKit()
    kit.engine.listening.add("webtransport")
    assert "webtransport" not in str(kit.polling().hello)


@pytest.mark.parametrize(
    ("frames", "detail"),
    [
        (["1"], "the first packet doesn't say who comes"),
        (["0{}"], "the first packet doesn't say who comes"),
        (['0{"sid":1}'], "the first packet doesn't say who comes"),
        (['0{"sid":""}'], "the first packet doesn't say who comes"),
        (['0["x"]'], "the first packet doesn't say who comes"),
        (["0{"], "the first packet doesn't say who comes"),
        (['0{"sid":"' + "x" * 5000 + '"}'], "the first packet doesn't say who comes"),
        (["40"], "the first packet doesn't say who comes"),
        (["2probe"], "the first packet doesn't say who comes"),
        ([b"0"], "the first packet doesn't say who comes"),
        (['0{"sid":"unknown"}'], "sid 'unknown'"),
    ],
)
def test_wrong_first_packets(frames: list[str | bytes], detail: str) -> None:
    kit = make()
    duplex = knock(kit, *frames)
    assert duplex.closed is not None
    assert duplex.take() == []
    [refusal] = kit.refusals
    assert detail in refusal.detail
    assert kit.engine.sessions == {}


def test_nobody_knocks() -> None:
    kit = make(upgrade_timeout_seconds=5)
    duplex = knock(kit)
    kit.advance(4.8)
    assert duplex.closed is None
    kit.advance(0.5)
    assert duplex.closed == (1008, "Bad request")
    [refusal] = kit.refusals
    assert "upgrade_timeout_seconds is 5" in refusal.detail
    duplex.say("0")
    assert kit.engine.sessions == {}


def test_who_has_knocked_is_not_waited_for_any_longer() -> None:
    kit = make(upgrade_timeout_seconds=5)
    duplex = knock(kit, "0")
    kit.advance(20)
    assert duplex.closed is None


def test_who_goes_before_is_forgotten() -> None:
    kit = make()
    duplex = knock(kit)
    duplex.lose()
    kit.advance(60)
    assert (kit.refusals, kit.engine.sessions) == ([], {})


def test_who_breaks_the_framing_before() -> None:
    kit = make()
    duplex = knock(kit)
    assert duplex.receiver is not None
    duplex.receiver.fail(RemoteProtocolError("too large", rule="x", close_code=1009), "transport error")
    assert duplex.closed == (1009, "Bad request")
    assert [refusal.detail for refusal in kit.refusals] == ["too large [x]"]
    kit.advance(60)
    assert len(kit.refusals) == 1


def test_a_session_that_is_upgraded_already() -> None:
    kit = make()
    client = kit.websocket()
    duplex = kit.upgrade(client, "webtransport")
    assert duplex.closed is not None
    assert client.duplex.closed is None
    polling = kit.polling()
    kit.upgrade(polling, "websocket")
    assert kit.upgrade(polling, "webtransport").closed is not None


def test_upgrades_that_are_off() -> None:
    kit = make(allow_upgrades=False)
    client = kit.polling()
    assert '"upgrades":[]' in str(client.hello)
    assert kit.upgrade(client, "webtransport").closed is not None
    assert kit.websocket(transport="webtransport").session.id in kit.engine.sessions


def test_limits_hold_for_new_sessions_and_not_for_upgrades() -> None:
    kit = make(max_connections=1)
    client = kit.polling()
    assert knock(kit, "0").closed == (1008, "Server is full")
    assert kit.upgrade(client, "webtransport").closed is None


def test_allow_request_is_asked_for_new_sessions() -> None:
    asked = []

    def allow(request: Any) -> bool:
        asked.append(request.header("origin"))
        return len(asked) > 1

    kit = make(allow_request=allow, origins="*")
    assert knock(kit, "0", headers={"origin": "https://a.example"}).closed == (1008, "Forbidden")
    client = kit.polling()
    assert kit.upgrade(client, "webtransport").closed is None
    assert asked == ["https://a.example", None]


def test_origins_are_checked_before_the_handshake() -> None:
    kit = make()
    request = kit.request("CONNECT", "", {"origin": "https://evil.example", "host": "good.example"})
    with pytest.raises(RequestRefused, match="may not connect"):
        kit.engine.admit_knock(request)
    kit.engine.admit_knock(
        kit.request("CONNECT", "", {"origin": "http://good.example:8000", "host": "good.example:8000"})
    )


def test_a_server_that_shuts_down() -> None:
    kit = make()
    waiting = knock(kit)
    kit.engine.close("server shutting down")
    with pytest.raises(RequestRefused, match="shutting down"):
        knock(kit)
    waiting.say("0")
    assert waiting.closed == (1008, "Server is full")


def test_another_request_can_not_pose_as_it() -> None:
    """Its clients come through a listener of their own: no WebSocket and no poll may use the name."""
    kit = make()
    answer = kit.http("GET", "EIO=4&transport=webtransport")
    assert (answer.status, answer.json) == (400, {"code": 0, "message": "Transport unknown"})
    with pytest.raises(RequestRefused, match="Transport unknown"):
        kit.engine.admit(kit.request("GET", "EIO=4&transport=webtransport"))
    duplex = RecordingDuplex()
    kit.engine.greet(kit.request("CONNECT", ""), "websocket", duplex)
    assert duplex.closed is not None


def test_events_of_the_connection() -> None:
    seen: list[str] = []
    kit = make()

    def connection(session: Session) -> None:
        seen.append(session.transport.name)

    kit.engine.on("connection", connection)
    kit.io.on("connection", lambda socket: seen.append("connection"))
    kit.websocket(transport="webtransport").join()
    assert seen == ["webtransport", "connection"]
