"""Links that carry text only: bytes go and come as text, encoded once for all of them."""

import pytest

from madang.errors import Reason
from madang.packet import Encoded
from madang.testing import EngineKit, RecordingDuplex

ALL = ["polling", "websocket", "flashsocket"]
HEAD = '451-["news",{"_placeholder":true,"num":0}]'


class TextDuplex(RecordingDuplex):
    """A link that can't carry bytes."""

    __slots__ = ()

    text_only = True


@pytest.fixture
def kit() -> EngineKit:
    return EngineKit(transports=ALL)


def test_bytes_go_as_text_by_the_transport_or_by_the_link(kit: EngineKit) -> None:
    flash, old, new = kit.websocket(transport="flashsocket"), kit.websocket(duplex=TextDuplex()), kit.websocket()
    for client in (flash, old, new):
        client.join()
        client.heard()
    kit.io.emit("news", b"\0\xff")
    assert flash.heard() == old.heard() == [HEAD, "bAP8="]
    assert new.heard() == [HEAD, b"\0\xff"]


def test_once_for_all(kit: EngineKit) -> None:
    clients = [kit.websocket(transport="flashsocket") for _ in range(3)]
    for client in clients:
        client.join()
        client.heard()
    kit.io.emit("text")
    kit.io.emit("news", b"\0\xff")
    kit.turn()
    for index in (-1, -2):
        assert len({id(client.duplex.encoded[index]) for client in clients}) == 1
    assert all(isinstance(one, Encoded) for one in clients[0].duplex.encoded)


def test_bytes_come_as_text(kit: EngineKit) -> None:
    got: list[object] = []
    kit.io.on("news", lambda socket, data: got.append(data))
    client = kit.websocket(transport="flashsocket")
    client.join()
    client.say(HEAD, "bAP8=")
    client.say(HEAD, b"\0\1")  # nobody is hurt by bytes that did get through
    assert got == [b"\0\xff", b"\0\1"]


def test_what_is_not_base64_breaks_a_rule(kit: EngineKit) -> None:
    ended: list[str] = []
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    client = kit.websocket(transport="flashsocket")
    client.join()
    client.say("b!")
    assert ended == [Reason.PARSE_ERROR]
    assert client.duplex.closed is not None
    assert len(kit.violations) == 1


def test_what_is_no_text_breaks_a_probe_only(kit: EngineKit) -> None:
    client = kit.polling()
    client.join()
    duplex = kit.upgrade(client, "flashsocket")
    duplex.say("b!")
    assert duplex.closed is not None
    client.say('42["still","here"]')


def test_full_and_empty_again(kit: EngineKit) -> None:
    client = kit.websocket(transport="flashsocket", duplex=RecordingDuplex(room=4))
    client.join()
    for number in range(6):
        kit.io.emit("news", number)
    heard = client.heard()
    assert client.session.direct is None
    client.duplex.empty()
    heard += client.heard()
    assert [frame for frame in heard if str(frame).startswith("42")] == [f'42["news",{number}]' for number in range(6)]


def test_an_upgrade_that_is_known_and_not_told(kit: EngineKit) -> None:
    client = kit.polling()
    assert '"upgrades":["websocket"]' in str(client.hello)
    client.join()
    duplex = kit.upgrade(client, "flashsocket")
    duplex.say("2probe")
    assert duplex.take() == ["3probe"]
    kit.io.emit("news", b"\0\xff")
    duplex.say("5")
    kit.turn()
    assert client.session.transport.name == "flashsocket"
    assert duplex.take() == [HEAD, "bAP8="]
    duplex.lose()
    assert kit.engine.sessions == {}


def test_the_end_of_a_link(kit: EngineKit) -> None:
    client = kit.websocket(transport="flashsocket")
    socket = client.join()
    socket.disconnect(close=True)
    assert client.duplex.closed is not None
    assert client.heard()[-1] == "41"
