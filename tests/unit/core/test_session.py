"""A session: heartbeat, polls, upgrade, what waits for slow clients, and each way to end."""

import gc
from typing import Any

import pytest

from madang.core.session import CLOSED, CLOSING, OPEN_STATE
from madang.errors import EncodeError, Reason
from madang.packet import EVENT, MESSAGE, Encoded, Packet
from madang.testing import EngineKit, LinkClient, PollingClient, RawClient, RecordingDuplex

CARRIERS = ["polling", "websocket"]


class Ends:
    """Notes the reasons with which sockets leave."""

    def __init__(self, kit: EngineKit) -> None:
        self.reasons: list[str] = []
        kit.io.on("disconnect", self.note)

    def note(self, socket: object, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture
def kit() -> EngineKit:
    return EngineKit()


@pytest.fixture
def ends(kit: EngineKit) -> Ends:
    return Ends(kit)


def arrive(kit: EngineKit, carrier: str) -> RawClient:
    return kit.polling() if carrier == "polling" else kit.websocket()


def echoing(kit: EngineKit) -> list[Any]:
    """Note the events "e" that come."""
    came: list[Any] = []
    kit.io.on("e", lambda socket, *args: came.append(args[0] if len(args) == 1 else args))
    return came


def offend(client: RawClient, *frames: Any) -> None:
    """Say what breaks a rule."""
    if isinstance(client, PollingClient):
        exchange = client.post(*frames)
        assert (exchange.status, exchange.json) == (400, {"code": 3, "message": "Bad request"})
    else:
        client.say(*frames)


def everything(client: PollingClient) -> list[Any]:
    """Poll until nothing comes."""
    frames: list[Any] = []
    while got := client.heard():
        frames += got
    return frames


# ---------------------------------------------------------------------------------------------------- handshake


@pytest.mark.parametrize("carrier", CARRIERS)
def test_handshake(kit: EngineKit, carrier: str) -> None:
    client = arrive(kit, carrier)
    upgrades = '["websocket"]' if carrier == "polling" else "[]"
    assert client.hello == (
        f'0{{"sid":"{client.session.id}","upgrades":{upgrades},'
        '"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
    )
    assert kit.engine.sessions == {client.session.id: client.session}
    assert client.session.state == OPEN_STATE
    assert client.session.transport.name == carrier
    assert repr(client.session) == f"Session({client.session.id}, {carrier}, open)"


@pytest.mark.parametrize("carrier", CARRIERS)
def test_connect_and_answer(kit: EngineKit, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.say("40")
    [socket] = kit.io.sockets.values()
    assert client.heard() == [f'40{{"sid":"{socket.id}"}}']


@pytest.mark.parametrize("carrier", CARRIERS)
def test_who_joins_no_namespace_is_closed(kit: EngineKit, carrier: str) -> None:
    client = arrive(kit, carrier)
    kit.advance(24)
    client.say("3")
    kit.advance(20)
    assert client.session.state == OPEN_STATE
    kit.advance(1.1)
    assert client.session.state != OPEN_STATE
    assert kit.violations == []


@pytest.mark.parametrize("carrier", CARRIERS)
def test_who_joined_in_time_stays(kit: EngineKit, ends: Ends, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    for _ in range(10):
        kit.advance(20)
        client.heard()
        client.say("3")
    assert client.session.state == OPEN_STATE
    assert ends.reasons == []


def test_one_namespace_is_enough(kit: EngineKit) -> None:
    kit.io.of("/other")
    client = kit.websocket()
    client.join("/other")
    kit.advance(30)
    client.say("3")
    kit.advance(20)
    assert client.session.state == OPEN_STATE


# ---------------------------------------------------------------------------------------------------- heartbeat


@pytest.mark.parametrize("carrier", CARRIERS)
def test_heartbeat(kit: EngineKit, ends: Ends, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    for _ in range(5):
        kit.advance(24.9)
        assert client.heard() == []
        kit.advance(0.2)
        assert client.heard() == ["2"]
        assert client.heard() == []
        client.say("3")
    assert ends.reasons == []


@pytest.mark.parametrize("carrier", CARRIERS)
def test_ping_timeout(kit: EngineKit, ends: Ends, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    kit.advance(25.1)
    assert client.heard() == ["2"]
    kit.advance(19.8)
    assert ends.reasons == []
    kit.advance(0.3)
    assert ends.reasons == [Reason.PING_TIMEOUT]
    assert client.session.state == CLOSED
    assert kit.engine.sessions == {}
    if isinstance(client, LinkClient):
        assert client.duplex.closed == (1000, "ping timeout")
        assert client.heard() == []


def test_a_poll_that_waits_is_answered_at_a_ping_timeout(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    kit.advance(25.1)
    assert client.heard() == ["2"]
    poll = client.poll()
    kit.advance(21)
    assert poll.text == "1"
    assert ends.reasons == [Reason.PING_TIMEOUT]
    assert kit.engine._parked == 0


def test_whatever_comes_after_a_ping_shows_life(kit: EngineKit, ends: Ends) -> None:
    """A pong may wait behind a large upload."""
    client = kit.websocket()
    client.join()
    kit.advance(25.1)
    for _ in range(6):
        client.say('42["e"]')
        kit.advance(19.9)
        assert ends.reasons == []
    kit.advance(21)
    assert ends.reasons == [Reason.PING_TIMEOUT]
    assert client.heard() == ["2"]  # one ping, not one for each wait


def test_what_came_before_the_ping_does_not_count(kit: EngineKit, ends: Ends) -> None:
    client = kit.websocket()
    client.join()
    kit.advance(24.9)
    client.say('42["e"]')
    kit.advance(0.2)
    assert client.heard() == ["2"]
    kit.advance(20.1)
    assert ends.reasons == [Reason.PING_TIMEOUT]


def test_a_pong_puts_off_the_next_ping(kit: EngineKit) -> None:
    client = kit.websocket()
    client.join()
    kit.advance(25.1)
    assert client.heard() == ["2"]
    kit.advance(10)
    client.say("3")
    kit.advance(24.8)
    assert client.heard() == []
    kit.advance(0.3)
    assert client.heard() == ["2"]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_pings_are_the_servers_to_send(kit: EngineKit, ends: Ends, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    offend(client, "2")
    assert ends.reasons == [Reason.PARSE_ERROR]
    assert [str(one) for one in kit.violations] == ["pings are the server's to send [heartbeat]"]


@pytest.mark.parametrize("frame", ["5", "6", "6x"])
def test_packets_without_meaning_here(kit: EngineKit, ends: Ends, frame: str) -> None:
    client = kit.websocket()
    client.join()
    client.say(frame)
    assert ends.reasons == []
    assert client.heard() == []


def test_timers_are_one_wheel() -> None:
    """A thousand clients that talk cost no entry more than a thousand that don't."""
    kit = EngineKit()
    clients = [kit.websocket() for _ in range(1000)]
    for client in clients:
        client.join()
    before = sum(map(len, kit.engine.wheel._buckets.values()))
    for client in clients:
        for _ in range(5):
            client.say('42["e"]', "3")
    assert sum(map(len, kit.engine.wheel._buckets.values())) == before


# -------------------------------------------------------------------------------------------------------- polls


def test_a_poll_waits_until_there_is_something(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    poll = client.poll()
    assert poll.waits
    kit.io.emit("e", 1)
    assert poll.waits  # until the end of the turn
    kit.turn()
    assert poll.text == '42["e",1]'


def test_ten_emits_make_one_response(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    poll = client.poll()
    for number in range(10):
        kit.io.emit("e", number)
    assert len(kit._soon) == 1
    kit.turn()
    assert poll.text == "\x1e".join(f'42["e",{number}]' for number in range(10))


def test_what_came_between_polls_waits(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    kit.io.emit("e", 1)
    kit.io.emit("e", b"\1\2")
    kit.turn()
    assert client.poll().text == '42["e",1]\x1e451-["e",{"_placeholder":true,"num":0}]\x1ebAQI='
    assert client.poll().waits


def test_a_response_holds_no_more_than_a_payload() -> None:
    kit = EngineKit(max_payload_bytes=100, max_packet_bytes=1000)
    client = kit.polling()
    client.join()
    for number in range(10):
        kit.io.emit("e", number, "x" * 30)
    got = [client.heard() for _ in range(5)]
    assert [len(frames) for frames in got] == [2, 2, 2, 2, 2]
    assert [frame[7] for frames in got for frame in frames] == [*"0123456789"]
    kit.io.emit("e", "y" * 300)  # one packet is never cut
    assert len(client.heard()) == 1


def test_overlapping_polls(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    first = client.poll()
    second = client.poll()
    assert first.text == "1"
    assert (second.status, second.json) == (400, {"code": 3, "message": "Bad request"})
    assert ends.reasons == [Reason.TRANSPORT_ERROR]
    assert client.poll().json == {"code": 1, "message": "Session ID unknown"}
    assert kit.engine._parked == 0


def test_a_poll_whose_connection_breaks(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    poll = client.poll()
    kit.engine.abandon(kit.request("GET", client.query), poll)
    assert ends.reasons == [Reason.TRANSPORT_ERROR]
    assert poll.waits
    assert kit.engine._parked == 0
    kit.engine.abandon(kit.request("GET", client.query), poll)  # no session any more


def test_an_answered_poll_whose_connection_breaks(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    old = client.poll()
    kit.io.emit("e")
    kit.turn()
    client.session.abandon(old)
    assert ends.reasons == []
    assert client.poll().waits


def test_a_payload_of_several_packets(kit: EngineKit) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    client.say('42["e",1]', '451-["e",{"_placeholder":true,"num":0}]', b"bin", "3", '42["e",3]')
    assert came == [1, b"bin", 3]


def test_attachments_over_several_posts(kit: EngineKit) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    client.say('452-["e",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]')
    client.say(b"one")
    client.say("3", b"two")
    assert came == [(b"two", b"one")]


def test_what_stands_behind_a_close_is_not_read(kit: EngineKit, ends: Ends) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    client.say('42["e",1]', "1", '42["e",2]', "garbage")
    assert came == [1]
    assert ends.reasons == [Reason.TRANSPORT_CLOSE]
    assert kit.violations == []


def test_what_stands_behind_garbage_is_not_read(kit: EngineKit, ends: Ends) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    offend(client, '42["e",1]', "9", '42["e",2]')
    assert came == [1]
    assert ends.reasons == [Reason.PARSE_ERROR]
    assert len(kit.violations) == 1


def test_a_large_payload_is_taken_in_parts(kit: EngineKit) -> None:
    """No client makes another wait."""
    came = echoing(kit)
    client = kit.polling()
    client.join()
    exchange = client.post(*(f'42["e",{number}]' for number in range(2000)))
    assert 0 < len(came) < 1000
    assert exchange.waits
    kit.turn()
    assert came == list(range(2000))
    assert exchange.status == 200


def test_a_large_payload_with_garbage_behind(kit: EngineKit, ends: Ends) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    exchange = client.post(*(f'42["e",{number}]' for number in range(1000)), "9", '42["e",0]')
    kit.turn()
    assert came == list(range(1000))
    assert exchange.status == 400
    assert ends.reasons == [Reason.PARSE_ERROR]


def test_a_session_that_ends_while_a_large_payload_is_taken(kit: EngineKit, ends: Ends) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    exchange = client.post(*(f'42["e",{number}]' for number in range(2000)))
    before = len(came)
    client.session.close(Reason.FORCED_CLOSE, discard=True)
    kit.turn()
    assert len(came) == before
    assert exchange.status == 200
    assert ends.reasons == [Reason.FORCED_CLOSE]
    assert kit.violations == []


def test_overlapping_posts(kit: EngineKit, ends: Ends) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    first = client.post(*(f'42["e",{number}]' for number in range(2000)))
    second = client.post('42["e","early"]')
    assert (second.status, second.json) == (400, {"code": 3, "message": "Bad request"})
    assert kit.refusals[-1].detail == "overlapping posts"
    assert ends.reasons == [Reason.TRANSPORT_ERROR]
    kit.turn()
    assert not first.waits
    assert "early" not in came


# ------------------------------------------------------------------------------------------------------ upgrade


def test_upgrade(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    poll = client.poll()
    link = kit.upgrade(client)
    assert client.session.upgrading
    assert link.take() == []
    link.say("2probe")
    assert link.take() == ["3probe"]
    assert poll.text == "6"  # lets the client finish its poll
    assert client.session.transport.name == "polling"
    link.say("5")
    assert client.session.transport.name == "websocket"
    assert not client.session.upgrading
    kit.io.emit("e", 1)
    assert link.take() == ['42["e",1]']
    link.say("3")
    assert client.poll().json == {"code": 3, "message": "Bad request"}
    assert client.post("3").json == {"code": 3, "message": "Bad request"}
    assert kit.refusals[-1].detail == "the session uses websocket now"
    assert ends.reasons == []
    assert kit.engine._parked == 0


@pytest.mark.parametrize("emit_at", range(8))
@pytest.mark.parametrize("poll_at", range(7))
def test_upgrade_loses_and_doubles_nothing(emit_at: int, poll_at: int) -> None:
    """Whatever happens between whichever steps of an upgrade: each packet arrives once, in order."""
    kit = EngineKit()
    came = echoing(kit)
    client = kit.polling()
    client.join()
    heard: list[Any] = []
    polls: list[Any] = []
    link = RecordingDuplex()
    sent = 0

    def between(step: int) -> None:
        nonlocal sent
        if step == poll_at and client.session.transport.name == "polling" and all(not one.waits for one in polls):
            polls.append(client.poll())
        if step in (emit_at, emit_at + 1):
            for _ in range(2):
                kit.io.emit("e", sent)
                sent += 1
        if step % 2:
            kit.turn()

    def probe() -> None:
        nonlocal link
        link = kit.upgrade(client)

    steps = [
        lambda: client.say('42["e",0]'),
        probe,
        lambda: client.say('42["e",1]'),
        lambda: link.say("2probe"),
        lambda: client.say('42["e",2]'),
        lambda: link.say("5"),
        lambda: link.say('42["e",3]'),
    ]
    for number, step in enumerate(steps):
        between(number)
        step()
    between(len(steps))
    kit.turn()
    for poll in polls:
        assert not poll.waits, "a poll hangs after the upgrade"
        heard += client.session.wire.split(poll.text, kit.io.config)
    heard += link.take()
    events = [frame for frame in heard if frame not in ("6", "3probe")]
    assert events == [f'42["e",{number}]' for number in range(sent)]
    assert came == [0, 1, 2, 3]
    assert kit.engine._parked == 0


def test_polls_during_a_probe_are_let_go(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    link = kit.upgrade(client)
    waiting = client.poll()
    assert waiting.waits
    link.say("2probe")
    assert waiting.text == "6"
    assert client.poll().text == "6"
    kit.io.emit("e", 1)
    assert client.poll().text == '42["e",1]'
    assert client.poll().text == "6"


def test_packets_before_the_upgrade_go_by_polling(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    link = kit.upgrade(client)
    kit.io.emit("e", 1)
    kit.turn()
    link.say("2probe")
    assert client.poll().text == '42["e",1]'
    kit.io.emit("e", 2)
    link.say("5")
    assert link.take() == ["3probe", '42["e",2]']


def test_attachments_across_an_upgrade(kit: EngineKit) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    client.say('451-["e",{"_placeholder":true,"num":0}]')
    link = kit.upgrade(client)
    link.say("2probe", "5", b"bin")
    assert came == [b"bin"]


@pytest.mark.parametrize(
    "frames",
    [["2"], ["2other"], ["3probe"], ["40"], ['42["e"]'], ["1"], ["6"], [b"x"], [""], ["9"], ["2probe", "2"],
     ["2probe", "40"], ["2probe", b""]],
)  # fmt: skip
def test_a_failing_probe_leaves_the_session_alone(kit: EngineKit, ends: Ends, frames: list[Any]) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    link = kit.upgrade(client)
    link.say(*frames)
    assert link.closed == (1002, "bad probe")
    assert client.session.state == OPEN_STATE
    assert not client.session.upgrading
    assert ends.reasons == []
    client.say('42["e",1]')
    kit.io.emit("e", 2)
    assert came == [1]
    assert everything(client)[-1] == '42["e",2]'
    # and another try succeeds
    link = kit.upgrade(client)
    link.say("2probe", "5")
    assert client.session.transport.name == "websocket"


def test_a_lost_probe_leaves_the_session_alone(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    link = kit.upgrade(client)
    link.say("2probe")
    link.lose()
    assert ends.reasons == []
    assert not client.session.upgrading
    assert client.poll().waits
    kit.io.emit("e")
    kit.turn()
    kit.advance(11)
    assert client.session.state == OPEN_STATE


def test_upgrade_timeout(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    link = kit.upgrade(client)
    link.say("2probe")
    kit.advance(9.9)
    assert link.closed is None
    kit.advance(0.2)
    assert link.closed == (1000, "upgrade timeout")
    assert not client.session.upgrading
    assert ends.reasons == []
    assert client.poll().waits


def test_after_an_upgrade_its_timeout_means_nothing(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    link = kit.upgrade(client)
    link.say("2probe", "5")
    kit.advance(24)
    assert link.closed is None
    assert ends.reasons == []


def test_an_upgrade_without_probe(kit: EngineKit) -> None:
    """As in the reference, the probe's ping is a courtesy."""
    client = kit.polling()
    client.join()
    poll = client.poll()
    link = kit.upgrade(client)
    link.say("5")
    assert poll.text == "6"
    assert client.session.transport.name == "websocket"


def test_one_upgrade_at_a_time(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    first = kit.upgrade(client)
    second = kit.upgrade(client)
    assert second.closed == (1008, "Bad request")
    assert kit.refusals[-1].detail == "the session can't be upgraded now"
    first.say("2probe", "5")
    third = kit.upgrade(client)
    assert third.closed == (1008, "Bad request")
    kit.io.emit("e")
    assert first.take() == ["3probe", '42["e"]']


def test_a_session_that_began_on_a_link_has_nowhere_to_go(kit: EngineKit) -> None:
    client = kit.websocket()
    assert kit.upgrade(client).closed == (1008, "Bad request")
    assert client.duplex.closed is None


def test_a_session_that_ends_takes_its_probe_along(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    socket = client.join()
    link = kit.upgrade(client)
    socket.disconnect(close=True)
    assert link.closed == (1000, "")
    link.say("5")
    assert client.session.transport.name == "polling"
    kit.advance(60)
    assert ends.reasons == [Reason.SERVER_DISCONNECT]


def test_who_is_on_the_way_to_a_link_as_the_session_ends_finds_the_rest_there(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    socket = client.join()
    link = kit.upgrade(client)
    link.say("2probe")
    socket.emit("farewell")
    socket.disconnect(close=True)
    assert link.closed is None
    assert ends.reasons == [Reason.SERVER_DISCONNECT]
    link.say("5")
    assert link.take() == ["3probe", '42["farewell"]', "41"]
    assert link.closed == (1000, Reason.SERVER_DISCONNECT)
    assert kit.engine.sessions == {}
    link.say('42["e"]')
    kit.advance(60)
    assert ends.reasons == [Reason.SERVER_DISCONNECT]


@pytest.mark.parametrize("comes", [False, True])
def test_who_does_not_go_on_to_the_link_as_the_session_ends_finds_the_rest_by_a_poll(
    kit: EngineKit, ends: Ends, comes: bool
) -> None:
    client = kit.polling()
    socket = client.join()
    link = kit.upgrade(client)
    link.say("2probe")
    socket.disconnect(close=True)
    if comes:
        assert client.poll().text == "41"
        assert client.poll().text == "1"
    else:
        kit.advance(60)
    assert link.closed == (1000, "")
    link.say("5")
    assert link.take() == ["3probe"]
    assert client.session.transport.name == "polling"
    assert kit.engine.sessions == {}
    assert ends.reasons == [Reason.SERVER_DISCONNECT]


def test_heartbeat_goes_on_over_an_upgrade(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    kit.advance(20)
    link = kit.upgrade(client)
    link.say("2probe", "5")
    link.take()
    kit.advance(5.1)
    assert link.take() == ["2"]
    link.say("3")
    kit.advance(25.1)
    assert link.take() == ["2"]
    kit.advance(20.1)
    assert ends.reasons == [Reason.PING_TIMEOUT]


# --------------------------------------------------------------------------------------------------------- ends


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_client_says_goodbye(kit: EngineKit, ends: Ends, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    poll = client.poll() if isinstance(client, PollingClient) else None
    client.say("1")
    assert ends.reasons == [Reason.TRANSPORT_CLOSE]
    assert client.session.state == CLOSED
    assert kit.engine.sessions == {}
    if poll is not None:
        assert poll.text == "6"
    if isinstance(client, LinkClient):
        assert client.duplex.closed == (1000, "")


@pytest.mark.parametrize("reason", [Reason.TRANSPORT_CLOSE, Reason.TRANSPORT_ERROR])
def test_the_link_is_gone(kit: EngineKit, ends: Ends, reason: str) -> None:
    client = kit.websocket()
    client.join()
    client.duplex.lose(reason)
    assert ends.reasons == [reason]
    assert client.session.state == CLOSED
    assert client.session.direct is None
    kit.io.emit("e")
    assert client.heard() == []


def test_another_link_that_is_gone(kit: EngineKit, ends: Ends) -> None:
    client = kit.websocket()
    client.join()
    client.session.lost(RecordingDuplex(), Reason.TRANSPORT_ERROR)
    assert ends.reasons == []


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    ("frame", "rule", "code"),
    [
        ("9", "Engine.IO protocol 4, packet encoding", 1002),
        ("4", "Socket.IO protocol 5, packet encoding", 1002),
        ('42["e"', "Socket.IO protocol 5, packet encoding", 1002),
        (b"x", "Socket.IO protocol 5, packet encoding", 1002),
        ("42" + "[" * 200, "max_json_depth", 1002),
        ('42["disconnect"]', "Socket.IO protocol 5, packet encoding", 1002),
        ('42/unknown,["e"]', "Socket.IO protocol 5, connection", 1002),
        ("40", "Socket.IO protocol 5", 1002),
    ],
)
def test_rules(kit: EngineKit, ends: Ends, carrier: str, frame: Any, rule: str, code: int) -> None:
    client = arrive(kit, carrier)
    client.join()
    offend(client, frame)
    assert ends.reasons == [Reason.PARSE_ERROR]
    assert [one.rule for one in kit.violations] == [rule]
    assert kit.engine.sessions == {}
    if isinstance(client, LinkClient):
        assert client.duplex.closed == (code, Reason.PARSE_ERROR)


def test_a_packet_that_grows_too_large() -> None:
    kit = EngineKit(max_payload_bytes=100, max_packet_bytes=100)
    client = kit.websocket()
    client.join()
    client.say('452-["e",{"_placeholder":true,"num":0}]', b"x" * 100)
    assert client.duplex.closed == (1009, Reason.PARSE_ERROR)


def test_nothing_is_sent_to_who_is_gone(kit: EngineKit) -> None:
    client = kit.websocket()
    socket = client.join()
    client.say("1")
    socket.emit("e", 1)
    client.session.push(Encoded(("42",)))
    assert client.heard() == []
    assert client.session._outbox is None


@pytest.mark.parametrize("carrier", CARRIERS)
def test_closed_by_the_server(kit: EngineKit, ends: Ends, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    poll = client.poll() if isinstance(client, PollingClient) else None
    client.session.close(Reason.FORCED_CLOSE)
    client.session.close(Reason.SHUTTING_DOWN)  # over already
    assert ends.reasons == [Reason.FORCED_CLOSE]
    assert client.session.state == CLOSED
    if poll is not None:
        assert poll.text == "1"
    if isinstance(client, LinkClient):
        assert client.duplex.closed == (1000, Reason.FORCED_CLOSE)


def test_what_waits_behind_a_full_link_goes_before_the_close(kit: EngineKit) -> None:
    client = kit.websocket()
    client.join()
    client.duplex.fill()
    kit.io.emit("e", 1)
    kit.io.emit("e", 2)
    assert client.heard() == []
    client.session.close(Reason.FORCED_CLOSE)
    assert client.heard() == ['42["e",1]', '42["e",2]']
    assert client.duplex.closed == (1000, Reason.FORCED_CLOSE)


def test_a_poller_comes_once_more_for_its_farewell(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    kit.io.emit("e", 1)
    client.session.close(Reason.FORCED_CLOSE)
    assert ends.reasons == [Reason.FORCED_CLOSE]
    assert client.session.state == CLOSING
    assert "closing" in repr(client.session)
    assert kit.engine.sessions == {client.session.id: client.session}
    kit.io.emit("e", 2)  # too late
    # What waits and the farewell go in two answers: of one, the official client takes the farewell first.
    assert client.poll().text == '42["e",1]'
    assert client.poll().text == "1"
    assert client.session.state == CLOSED
    assert client.poll().json == {"code": 1, "message": "Session ID unknown"}
    assert ends.reasons == [Reason.FORCED_CLOSE]


def test_a_poll_that_waits_takes_what_is_there_and_then_the_farewell(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    poll = client.poll()
    kit.io.emit("e", 1)
    client.session.close(Reason.FORCED_CLOSE)
    kit.turn()
    assert poll.text == '42["e",1]'
    assert client.poll().text == "1"
    assert kit.engine.sessions == {}
    assert kit.engine._parked == 0


def test_a_poller_that_never_comes_back_is_forgotten(kit: EngineKit, ends: Ends) -> None:
    client = kit.polling()
    client.join()
    client.session.close(Reason.FORCED_CLOSE)
    kit.advance(19.9)
    assert client.session.state == CLOSING
    kit.advance(0.2)
    assert client.session.state == CLOSED
    assert kit.engine.sessions == {}
    assert ends.reasons == [Reason.FORCED_CLOSE]


def test_a_closing_session_takes_nothing(kit: EngineKit) -> None:
    came = echoing(kit)
    client = kit.polling()
    client.join()
    client.session.close(Reason.FORCED_CLOSE)
    # Accepted and dropped: an error would make the client believe that the connection broke.
    answer = client.post('42["e",1]')
    assert (answer.status, answer.text) == (200, "ok")
    assert kit.http("GET", client.query.replace("polling", "websocket")).status == 400
    assert came == []


def test_disconnect_close_tells_each_namespace(kit: EngineKit, ends: Ends) -> None:
    kit.io.of("/other")
    client = kit.websocket()
    socket = client.join()
    client.join("/other")
    socket.disconnect(close=True)
    assert client.heard() == ["41", "41/other,"]
    assert client.duplex.closed == (1000, Reason.SERVER_DISCONNECT)
    assert ends.reasons == [Reason.SERVER_DISCONNECT]


# ----------------------------------------------------------------------------------------------- slow consumers


def test_pause_and_resume(kit: EngineKit) -> None:
    client = kit.websocket()
    client.join()
    client.duplex.fill()
    for number in range(4):
        kit.io.emit("e", number)
    assert client.heard() == []
    client.duplex.empty(room=2)  # full again after two
    assert client.heard() == ['42["e",0]', '42["e",1]']
    kit.io.emit("e", 4)
    assert client.heard() == []
    client.duplex.empty()
    assert client.heard() == ['42["e",2]', '42["e",3]', '42["e",4]']
    kit.io.emit("e", 5)
    assert client.heard() == ['42["e",5]']
    assert client.session._buffered == 0


def test_a_link_that_fills_itself_keeps_the_order(kit: EngineKit) -> None:
    client = kit.websocket(duplex=RecordingDuplex(room=4))
    client.join()
    for number in range(20):
        kit.io.emit("e", number)
    heard = client.heard()
    while client.session._outbox:
        client.duplex.empty(room=3)
        got = client.heard()
        assert len(got) <= 3
        heard += got
    assert heard == [f'42["e",{number}]' for number in range(20)]


def test_resume_of_a_session_that_ended(kit: EngineKit) -> None:
    client = kit.websocket()
    client.join()
    client.duplex.fill()
    receiver = client.duplex.receiver
    client.session.close(Reason.FORCED_CLOSE)
    assert receiver is client.session
    client.session.resume()
    assert client.session.direct is None


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_slow_consumer_is_closed_after_the_loop(carrier: str) -> None:
    kit = EngineKit(max_buffered_bytes=100)
    ends = Ends(kit)
    slow, other = arrive(kit, carrier), kit.websocket()
    slow.join()
    other.join()
    if isinstance(slow, LinkClient):
        slow.duplex.fill()
    for _ in range(10):
        kit.io.emit("e", "x" * 20)
    assert ends.reasons == []  # no handler runs inside of an emit
    assert slow.session.state == OPEN_STATE
    kit.turn()
    assert ends.reasons == [Reason.SLOW_CONSUMER]
    [violation] = kit.violations
    assert str(violation) == "90 bytes wait, and the next packet would pass 100 [max_buffered_bytes]"
    assert len(other.heard()) == 10
    assert slow.session.state == CLOSED
    assert slow.session._outbox is None
    if isinstance(slow, LinkClient):
        assert slow.duplex.closed == (1000, Reason.SLOW_CONSUMER)


def test_one_packet_may_be_larger_than_the_buffer() -> None:
    kit = EngineKit(max_buffered_bytes=10)
    client = kit.polling()
    client.join()
    kit.io.emit("e", "x" * 100)
    assert len(client.heard()) == 1
    assert kit.violations == []


def test_what_was_taken_makes_room() -> None:
    kit = EngineKit(max_buffered_bytes=100)
    client = kit.polling()
    client.join()
    for _ in range(20):
        kit.io.emit("e", "x" * 50)
        assert len(client.heard()) == 1
    assert kit.violations == []


@pytest.mark.parametrize("carrier", CARRIERS)
def test_volatile(kit: EngineKit, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    if isinstance(client, LinkClient):
        client.duplex.fill()
    kit.io.volatile.emit("e", 1)
    kit.io.emit("e", 2)
    if isinstance(client, LinkClient):
        client.duplex.empty()
    assert client.heard() == ['42["e",2]']
    if isinstance(client, PollingClient):
        client.heard()  # a poll waits now
    kit.io.volatile.emit("e", 3)
    assert client.heard() == ['42["e",3]']


def test_volatile_never_makes_a_slow_consumer() -> None:
    kit = EngineKit(max_buffered_bytes=100)
    client = kit.websocket()
    client.join()
    client.duplex.fill()
    for _ in range(100):
        kit.io.volatile.emit("e", "x" * 20)
    kit.turn()
    assert client.session.state == OPEN_STATE
    assert client.session._buffered == 0


# --------------------------------------------------------------------------------------- clients that ping


@pytest.mark.parametrize("carrier", CARRIERS)
def test_who_should_ping_and_is_silent_is_closed(carrier: str) -> None:
    kit = EngineKit(query="EIO=3", generations=["eio3"])
    ends = Ends(kit)
    client = arrive(kit, carrier)
    assert client.heard() == ["40"]
    for _ in range(5):
        kit.advance(29)
        assert client.heard() == [], "pings are the client's to send"
        client.say("2")
        assert client.heard() == ["3"]
    assert ends.reasons == []
    kit.advance(44)
    assert ends.reasons == []
    kit.advance(2 * 45)
    assert ends.reasons == [Reason.PING_TIMEOUT]


# ---------------------------------------------------------------------------------------------- full payloads


@pytest.mark.parametrize(
    "data", ["x" * 90, "한" * 90, "🎈" * 90, b"x" * 90, b"y" * 91, ["é", b"1", b"22"]], ids=lambda data: str(data)[:4]
)
def test_payloads_are_as_large_as_was_announced(data: object) -> None:
    kit = EngineKit(max_payload_bytes=2000, max_packet_bytes=10_000)
    client = kit.polling()
    client.join()
    for _ in range(40):
        kit.io.emit("e", data)
    frames = client.session.wire.encode(Packet(EVENT, ["e", data]), client.session.parser)
    one = len(client.session.wire.join(frames).encode())
    packets = []
    while sum(packets) < 40:
        size = len(client.poll().text.encode())
        assert size <= 2000
        packets.append((size + 1) // (one + 1))
        assert size == packets[-1] * (one + 1) - 1
    assert packets[0] == 2001 // (one + 1), "as many as fit"


# --------------------------------------------------------------------------------- what is kept after the end


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_was_half_received_goes_with_the_client(kit: EngineKit, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    client.say('452-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"half of it")
    session = client.session
    assert any(isinstance(one, list) and one == [b"half of it"] for one in gc.get_referents(session._decoder))
    session.close(Reason.FORCED_CLOSE)
    assert gc.get_referents(session._decoder) in ([], [type(session._decoder)])
    session.receive(b"the other half")
    session.receive("no packet")
    assert kit.violations == []


def test_a_violation_keeps_no_message(kit: EngineKit) -> None:
    client = kit.websocket()
    client.join()
    client.say("9" * 1000)
    violation = client.session.violation
    assert violation is not None
    assert (violation.__traceback__, violation.__context__, violation.__cause__) == (None, None, None)
    assert client.session.ended == Reason.PARSE_ERROR


# -------------------------------------------------------------------------------------------------------- drain


def test_nothing_to_drain(kit: EngineKit) -> None:
    for client in (kit.polling(), kit.websocket()):
        client.join()
        assert not client.session.when_drained(lambda: pytest.fail("called"))


def test_drained_by_a_poll(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    kit.io.emit("e")
    called: list[int] = []
    assert client.session.when_drained(lambda: called.append(1))
    assert client.session.when_drained(lambda: called.append(2))
    assert called == []
    client.heard()
    assert called == [1, 2]
    client.heard()
    kit.io.emit("e")
    kit.turn()
    assert called == [1, 2]


def test_drained_by_a_link(kit: EngineKit) -> None:
    client = kit.websocket()
    client.join()
    client.duplex.fill()
    called: list[int] = []
    assert client.session.when_drained(lambda: called.append(1))  # full, though nothing waits in the outbox
    kit.io.emit("e", 1)
    kit.io.emit("e", 2)
    client.duplex.empty(room=1)
    assert called == []
    client.duplex.empty(room=1)
    assert called == [], "the last packet has made the link full again"
    client.duplex.empty()
    assert called == [1]
    assert client.heard() == ['42["e",1]', '42["e",2]']


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_end_drains(kit: EngineKit, carrier: str) -> None:
    client = arrive(kit, carrier)
    client.join()
    if isinstance(client, LinkClient):
        client.duplex.fill()
    kit.io.emit("e")
    called: list[int] = []
    assert client.session.when_drained(lambda: called.append(1))
    client.session.close(Reason.FORCED_CLOSE, discard=True)
    assert called == [1]
    assert not client.session.when_drained(lambda: called.append(2))


# ------------------------------------------------------------------------------------------ without Socket.IO


class Hearing:
    """A sink of messages, to use the engine without Socket.IO."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def opened(self, session: Any) -> None:
        self.log.append("opened")

    def received(self, session: Any, packet: Packet) -> None:
        assert packet.kind == MESSAGE
        self.log.append(packet.data)
        session.send(Packet(MESSAGE, packet.data))

    def closed(self, session: Any, reason: str) -> None:
        self.log.append(reason)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_raw_messages(carrier: str) -> None:
    kit = EngineKit(parser="raw")
    sink = Hearing()
    kit.engine.sink = sink
    client = arrive(kit, carrier)
    client.say("4hello", b"\1\2", "4")
    assert client.heard() == ["4hello", b"\1\2", "4"]
    client.say("1")
    assert sink.log == ["opened", "hello", b"\1\2", "", Reason.TRANSPORT_CLOSE]


def test_what_cannot_be_sent_is_not_half_sent(kit: EngineKit) -> None:
    client = kit.websocket()
    client.join()
    with pytest.raises(EncodeError):
        client.session.send(Packet(EVENT, ["e", object()]))
    assert client.heard() == []
