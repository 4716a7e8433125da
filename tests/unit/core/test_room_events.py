"""What happens to rooms, told: create before join, leave before delete."""

from typing import Any

import pytest

from madang import LocalProtocolError, Namespace, Server, Socket
from madang.testing import EngineKit

ROOM_EVENTS = ("create", "join", "leave", "delete")


@pytest.fixture
def kit() -> EngineKit:
    return EngineKit()


def overheard(place: Server | Namespace) -> list[tuple[str, ...]]:
    """All that is told of rooms, and of a client's life."""
    told: list[tuple[str, ...]] = []
    for event in ROOM_EVENTS:
        place.room_event(event, lambda socket, room, event=event: told.append((event, room, socket.id)))
    place.on("connection", lambda socket: told.append(("connection",)))
    place.on("disconnecting", lambda socket, reason: told.append(("disconnecting", *sorted(socket.rooms))))
    place.on("disconnect", lambda socket, reason: told.append(("disconnect",)))
    return told


def test_the_order(kit: EngineKit) -> None:
    told = overheard(kit.io)
    one, two = kit.websocket().join(), kit.websocket().join()
    told.clear()
    one.join("a", "b")
    two.join("a", "a")
    one.join("a")
    assert told == [
        ("create", "a", one.id), ("join", "a", one.id), ("create", "b", one.id), ("join", "b", one.id),
        ("join", "a", two.id),
    ]  # fmt: skip
    told.clear()
    one.leave("a", "never", "b")
    two.leave("a")
    assert told == [
        ("leave", "a", one.id), ("leave", "b", one.id), ("delete", "b", one.id),
        ("leave", "a", two.id), ("delete", "a", two.id),
    ]  # fmt: skip


def test_when_a_client_goes(kit: EngineKit) -> None:
    told = overheard(kit.io)
    client = kit.websocket()
    socket, other = client.join(), kit.websocket().join()
    socket.join("alone", "both")
    other.join("both")
    told.clear()
    client.duplex.lose()
    assert told[0] == ("disconnecting", *sorted({socket.id, "alone", "both"}))
    assert set(told[1:-1]) == {
        ("leave", "alone", socket.id), ("delete", "alone", socket.id), ("leave", "both", socket.id),
    }  # fmt: skip
    assert told.index(("leave", "alone", socket.id)) < told.index(("delete", "alone", socket.id))
    assert told[-1] == ("disconnect",)


def test_rooms_that_a_middleware_has_chosen(kit: EngineKit) -> None:
    told = overheard(kit.io)
    socket = kit.websocket().join()
    namespace = kit.io.of("/")
    assert told == [("connection",)]
    told.clear()
    chosen = Socket(kit.hub, namespace, socket.session, {})  # as while a middleware runs
    chosen.join("chosen")
    assert told == []
    chosen.accept()
    assert told == [("create", "chosen", chosen.id), ("join", "chosen", chosen.id), ("connection",)]


def test_who_is_sent_away_before_connection_has_no_disconnect(kit: EngineKit) -> None:
    """What the one has set up, the other takes down."""
    told: list[str] = []
    for event in ("connection", "disconnecting", "disconnect"):
        kit.io.on(event, lambda socket, *args, event=event: told.append(event))
    kit.io.room_event("leave", lambda socket, room: told.append("leave"))
    kit.io.room_event("create", lambda socket, room: socket.disconnect())
    client = kit.websocket()
    chosen = Socket(kit.hub, kit.hub.of("/"), client.session, {})  # as while a middleware runs
    client.session.sockets["/"] = chosen
    chosen.join("full")
    chosen.accept()
    assert told == ["leave"]
    assert not kit.io.sockets


def test_the_client_is_let_in_before_handlers_talk_to_it(kit: EngineKit) -> None:
    kit.io.room_event("join", lambda socket, room: socket.emit("you are in", room))
    client = kit.websocket()
    client.join()
    refused = Socket(kit.hub, kit.io.of("/"), client.session, {})
    refused.join("a")
    client.heard()
    refused.accept()
    assert client.heard() == [f'40{{"sid":"{refused.id}"}}', '42["you are in","a"]']


def test_a_socket_s_own_room_is_none(kit: EngineKit) -> None:
    told = overheard(kit.io)
    socket = kit.websocket().join()
    socket.join(socket.id)
    socket.leave(socket.id)
    assert told == [("connection",)]
    assert not kit.io.of("/").rooms


def test_namespaces_are_apart(kit: EngineKit) -> None:
    told, elsewhere = overheard(kit.io), overheard(kit.io.of("/chat"))
    client = kit.websocket()
    main, chat = client.join(), client.join("/chat")
    main.join("a")
    assert told[1:] == [("create", "a", main.id), ("join", "a", main.id)]
    assert elsewhere == [("connection",)]
    chat.join("a")
    assert elsewhere[1:] == [("create", "a", chat.id), ("join", "a", chat.id)]
    assert len(told) == 3


@pytest.mark.parametrize("event", ROOM_EVENTS)
@pytest.mark.parametrize("deed", ["disconnect", "leave", "join", "fail"])
def test_handlers_that_change_what_they_are_told_of(kit: EngineKit, event: str, deed: str) -> None:
    """Whatever a handler does, rooms and sockets mirror each other afterwards."""
    sockets = [kit.websocket().join() for _ in range(3)]
    did: list[str] = []

    @kit.io.room_event(event)
    def meddle(socket: Socket, room: str) -> None:
        if len(did) > 5:
            return
        did.append(room)
        match deed:
            case "disconnect":
                socket.disconnect()
            case "leave":
                socket.leave("a", "b", "c")
            case "join":
                socket.join("c", "d")
                sockets[2].join("c")
            case "fail":
                raise ValueError("no")

    for socket in sockets[:2]:
        socket.join("a", "b")
    sockets[0].leave("a", "b", "c")
    sockets[1].disconnect()
    assert did
    namespace = kit.io.of("/")
    for room, members in namespace.rooms.items():
        assert members
        assert all(socket.connected and room in socket.rooms for socket in members), room
    for socket in namespace.sockets.values():
        assert all(socket in namespace.rooms[room] for room in socket.rooms - {socket.id})


def test_handlers_that_fail_are_logged(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    told = []

    @kit.io.room_event("join")
    def fail(socket: Socket, room: str) -> None:
        raise ValueError("no")

    kit.io.room_event("join", lambda socket, room: told.append(room))
    kit.websocket().join().join("a")
    assert told == ["a"]
    assert "the handler of 'room join' for Socket(" in caplog.text


async def test_handlers_that_wait() -> None:
    kit = EngineKit()
    told = []

    @kit.io.room_event("create")
    async def later(socket: Socket, room: str) -> None:
        told.append(room)

    kit.websocket().join().join("a")
    assert told == ["a"]


@pytest.mark.parametrize("wrong", ["joined", "", None, "delete "])
def test_events_that_there_are_not(kit: EngineKit, wrong: Any) -> None:
    with pytest.raises(LocalProtocolError, match="is one of create, join, leave, delete, not"):
        kit.io.room_event(wrong, lambda socket, room: None)


def test_what_can_not_be_a_handler(kit: EngineKit) -> None:
    with pytest.raises(LocalProtocolError, match='can\'t handle the room event "join"'):
        kit.io.room_event("join", lambda socket: None)


def test_nobody_listens_nobody_pays(kit: EngineKit) -> None:
    def told(*args: object) -> None:
        raise AssertionError("called though nobody listens")

    kit.hub.housed = told
    socket = kit.websocket().join()
    socket.join("a")
    socket.leave("a")
    assert kit.io.of("/").listeners.rooms is None
