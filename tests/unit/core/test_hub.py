"""The hub: who is in which namespace and room, who hears what, and acknowledgements both ways."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madang.core.namespace import Namespace
from madang.core.socket import Socket
from madang.errors import (
    AckTimeout,
    ConnectionRefused,
    Disconnected,
    EncodeError,
    LimitError,
    LocalProtocolError,
    Reason,
)
from madang.testing import EngineKit, LinkClient, Waiting


@pytest.fixture
def kit() -> EngineKit:
    return EngineKit()


def people(kit: EngineKit, count: int, namespace: str = "/") -> tuple[list[LinkClient], list[Socket]]:
    clients = [kit.websocket() for _ in range(count)]
    return clients, [client.join(namespace) for client in clients]


def hearing(clients: list[LinkClient]) -> list[int]:
    """The numbers of those who heard something, each just once."""
    heard = [client.heard() for client in clients]
    assert all(len(frames) <= 1 for frames in heard)
    return [number for number, frames in enumerate(heard) if frames]


def check_mirror(namespace: Namespace) -> None:
    """Rooms and sockets mirror each other, and hold nobody who is gone."""
    for room, members in namespace._rooms.items():
        assert members, f"the empty room {room!r} is kept"
        for socket in members:
            assert room in (socket._rooms or ())
            assert socket._ended is None
    for id_, socket in namespace._sockets.items():
        assert socket.connected
        assert socket.id == id_
        for room in socket._rooms or ():
            assert socket in namespace._rooms[room]


# -------------------------------------------------------------------------------------------- join and leave rooms


def test_rooms(kit: EngineKit) -> None:
    _, [socket, other] = people(kit, 2)
    assert socket.rooms == {socket.id}
    socket.join("a", "b")
    socket.join("b", "c")
    other.join("b")
    assert socket.rooms == {socket.id, "a", "b", "c"}
    assert {room: set(members) for room, members in kit.io.of("/").rooms.items()} == {
        "a": {socket}, "b": {socket, other}, "c": {socket},
    }  # fmt: skip
    socket.leave("a", "c", "unknown")
    assert socket.rooms == {socket.id, "b"}
    assert set(kit.io.of("/").rooms) == {"b"}
    check_mirror(kit.io.of("/"))


def test_joining_its_own_room_changes_nothing(kit: EngineKit) -> None:
    clients, [socket, _] = people(kit, 2)
    socket.join(socket.id)
    kit.io.to(socket.id).emit("e")
    assert hearing(clients) == [0]
    socket.leave(socket.id)
    assert socket.rooms == {socket.id}
    check_mirror(kit.io.of("/"))


def test_rooms_of_namespaces_are_apart(kit: EngineKit) -> None:
    kit.io.of("/chat")
    client = kit.websocket()
    main, chat = client.join(), client.join("/chat")
    main.join("room")
    chat.join("room")
    kit.io.of("/chat").to("room").emit("e")
    assert client.heard() == ['42/chat,["e"]']
    kit.io.to("room").emit("e")
    assert client.heard() == ['42["e"]']


@pytest.mark.parametrize("end", ["client", "server", "session", "link", "close"])
def test_whoever_is_gone_is_in_no_room(kit: EngineKit, end: str) -> None:
    [client, _], [socket, other] = people(kit, 2)
    for one in (socket, other):
        one.join("a", "b")
    socket.join("alone")
    if end == "client":
        client.say("41")
    elif end == "server":
        socket.disconnect()
    elif end == "close":
        socket.disconnect(close=True)
    elif end == "session":
        client.say("1")
    else:
        client.duplex.lose()
    assert not socket.connected
    assert socket.rooms == frozenset()
    assert {room: set(members) for room, members in kit.io.of("/").rooms.items()} == {"a": {other}, "b": {other}}
    check_mirror(kit.io.of("/"))
    socket.join("late")
    socket.leave("a")
    assert "late" not in kit.io.of("/").rooms
    kit.io.to(socket.id).emit("e")
    socket.emit("e")


def test_max_rooms_per_socket() -> None:
    kit = EngineKit(max_rooms_per_socket=2)
    _, [socket] = people(kit, 1)
    socket.join("a", "b")
    socket.join("a", "b")
    with pytest.raises(LimitError) as caught:
        socket.join("c")
    assert str(caught.value) == (
        f"socket {socket.id} is in 2 rooms, as many as the setting max_rooms_per_socket allows"
    )
    assert socket.rooms == {socket.id, "a", "b"}
    check_mirror(kit.io.of("/"))
    socket.leave("a")
    socket.join("c")


@pytest.mark.parametrize("wrong", [1, None, b"room", ("a",)])
def test_names_of_rooms(kit: EngineKit, wrong: Any) -> None:
    _, [socket] = people(kit, 1)
    for use in (socket.join, socket.leave, socket.to, kit.io.to, kit.io.except_, kit.io.in_):
        with pytest.raises(LocalProtocolError, match=r"a room's name must be a string, not"):
            use("fine", wrong)
    with pytest.raises(LocalProtocolError) as caught:
        kit.io.to(["a", "b"])  # type: ignore[arg-type]
    assert str(caught.value) == "a room's name must be a string, not ['a', 'b']; give rooms one by one: to(*rooms)"
    check_mirror(kit.io.of("/"))


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "gone", "left", "rejoin", "kick"]),
        st.integers(0, 3),
        st.lists(st.sampled_from("abc"), max_size=3),
    ),
    max_size=30,
)


@given(MOVES)
@settings(max_examples=80)
def test_rooms_and_sockets_always_mirror_each_other(moves: list[tuple[str, int, list[str]]]) -> None:
    kit = EngineKit()
    clients, sockets = people(kit, 4)
    expected: list[set[str]] = [set() for _ in clients]
    for move, who, rooms in moves:
        socket, client = sockets[who], clients[who]
        if move == "join" and socket.connected:
            socket.join(*rooms)
            expected[who] |= set(rooms)
        elif move == "leave":
            socket.leave(*rooms)
            expected[who] -= set(rooms)
        elif move == "gone":
            client.duplex.lose()
            expected[who] = set()
        elif move == "left" and socket.connected and client.duplex.closed is None:
            client.say("41")
            expected[who] = set()
        elif move == "kick":
            socket.disconnect()
            expected[who] = set()
        elif move == "rejoin" and not socket.connected and client.duplex.closed is None:
            sockets[who] = client.join()
        check_mirror(kit.io.of("/"))
        for one, known in zip(sockets, expected, strict=True):
            assert one.rooms == ({one.id, *known} if one.connected else frozenset())
    members = {room: {who for who, known in enumerate(expected) if room in known} for room in "abc"}
    for client in clients:
        client.heard()
    for room, known in members.items():
        kit.io.to(room).emit("e")
        assert set(hearing(clients)) == known


# ------------------------------------------------------------------------------------------------ whom to talk to


@pytest.mark.parametrize(
    ("target", "who"),
    [
        (lambda io, s: io, [0, 1, 2, 3, 4]),
        (lambda io, s: io.of("/"), [0, 1, 2, 3, 4]),
        (lambda io, s: io.to("a"), [0, 1]),
        (lambda io, s: io.in_("a"), [0, 1]),
        (lambda io, s: io.to("a", "b"), [0, 1, 2]),
        (lambda io, s: io.to("a").to("b"), [0, 1, 2]),
        (lambda io, s: io.to("a").in_("c"), [0, 1, 3]),
        (lambda io, s: io.to("nobody"), []),
        (lambda io, s: io.to(s[4].id), [4]),
        (lambda io, s: io.to(s[4].id, "a"), [0, 1, 4]),
        (lambda io, s: io.to(s[0].id, "a"), [0, 1]),
        (lambda io, s: io.except_("a"), [2, 3, 4]),
        (lambda io, s: io.except_("a", "c"), [2, 4]),
        (lambda io, s: io.except_("a").except_("c"), [2, 4]),
        (lambda io, s: io.except_(s[4].id), [0, 1, 2, 3]),
        (lambda io, s: io.to("a", "b").except_("b"), [0]),
        (lambda io, s: io.except_("b").to("a"), [0]),
        (lambda io, s: io.local.to("a"), [0, 1]),
        (lambda io, s: io.volatile.to("a"), [0, 1]),
        (lambda io, s: io.compress(False).timeout(3).to("a"), [0, 1]),
        (lambda io, s: s[1], [1]),
        (lambda io, s: s[1].broadcast, [0, 2, 3, 4]),
        (lambda io, s: s[1].to("a"), [0]),
        (lambda io, s: s[1].in_("a", "b"), [0, 2]),
        (lambda io, s: s[1].to(s[1].id), []),
        (lambda io, s: s[1].broadcast.to("c"), [3]),
        (lambda io, s: s[1].except_("c"), [0, 2, 4]),
        (lambda io, s: s[1].broadcast.except_("a"), [2, 3, 4]),
        (lambda io, s: s[1].to("a", "c").except_("c"), [0]),
        (lambda io, s: s[1].volatile, [1]),
        (lambda io, s: s[1].local, [0, 2, 3, 4]),
        (lambda io, s: s[1].compress(True), [1]),
        (lambda io, s: s[1].timeout(1), [1]),
        (lambda io, s: s[1].volatile.broadcast, [0, 2, 3, 4]),
        (lambda io, s: s[1].volatile.to("a"), [0]),
        (lambda io, s: s[1].compress(False).except_("a"), [2, 3, 4]),
    ],
)  # fmt: skip
def test_targets(kit: EngineKit, target: Any, who: list[int]) -> None:
    clients, sockets = people(kit, 5)
    sockets[0].join("a")
    sockets[1].join("a", "b")
    sockets[2].join("b")
    sockets[3].join("c")
    chosen = target(kit.io, sockets)
    for _ in range(2):  # a target can be kept
        chosen.emit("e", 1)
        assert hearing(clients) == who
    chosen.send("hi", 2)
    assert [clients[number].heard() for number in who] == [['42["message","hi",2]']] * len(who)


def test_no_room_is_not_everyone(kit: EngineKit) -> None:
    socket = kit.websocket().join()
    for sender in (kit.io, kit.io.of("/"), socket, kit.io.except_("a")):
        with pytest.raises(LocalProtocolError, match="without a room"):
            sender.to(*set[str]())


def test_targets_do_not_change(kit: EngineKit) -> None:
    clients, [a, b] = people(kit, 2)
    a.join("a")
    b.join("b")
    both = kit.io.to("a")
    both.to("b")
    both.except_("a")
    assert both.volatile is not both
    both.emit("e")
    assert hearing(clients) == [0]


def test_volatile_and_compress_reach_the_encoding(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    kit.io.compress(False).emit("e")
    kit.io.emit("e")
    socket.compress(False).emit("e")
    socket.emit("e")
    assert [one.compress for one in client.duplex.encoded] == [False, True, False, True]
    client.duplex.fill()
    socket.volatile.emit("lost")
    socket.broadcast.volatile.emit("lost")
    kit.io.to(socket.id).volatile.emit("lost")
    client.heard()
    client.duplex.empty()
    assert client.heard() == []


def test_a_broadcast_is_one_encoding(kit: EngineKit) -> None:
    clients, _ = people(kit, 10)
    kit.io.emit("e", b"x")
    assert len({id(client.duplex.encoded[0]) for client in clients}) == 1


def test_who_leaves_hears_nothing_more(kit: EngineKit) -> None:
    clients, sockets = people(kit, 2)
    sockets[0].disconnect()
    assert clients[0].heard() == ["41"]
    kit.io.emit("e")
    assert hearing(clients) == [1]


@pytest.mark.parametrize(
    "name", ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
)
def test_reserved_events(kit: EngineKit, name: str) -> None:
    clients, [socket] = people(kit, 1)
    for emitter in (kit.io, socket, socket.broadcast, kit.io.to("a")):
        with pytest.raises(LocalProtocolError) as caught:
            emitter.emit(name)
        assert str(caught.value) == f"the event name {name!r} is reserved for the libraries; choose another one"
    with pytest.raises(LocalProtocolError):
        socket.call(name)
    assert hearing(clients) == []


@pytest.mark.parametrize("name", [1, None, b"e", ["e"]])
def test_names_of_events(kit: EngineKit, name: Any) -> None:
    _, [socket] = people(kit, 1)
    for emitter in (kit.io, socket, kit.io.to("a")):
        with pytest.raises(LocalProtocolError) as caught:
            emitter.emit(name)
        assert str(caught.value) == f"an event's name must be a string, not {name!r}"


def test_what_cannot_be_sent_reaches_nobody(kit: EngineKit) -> None:
    clients, [socket, _] = people(kit, 2)
    for emitter in (kit.io, socket, socket.broadcast):
        with pytest.raises(EncodeError):
            emitter.emit("e", object())
    assert hearing(clients) == []
    with pytest.raises(EncodeError):
        kit.io.call("e", object())
    assert socket._acks is None


# ------------------------------------------------------------------------------------------------------ namespaces


def test_namespaces_over_one_connection(kit: EngineKit) -> None:
    kit.io.of("/chat")
    kit.io.of("news")
    client = kit.websocket()
    client.say("40", "40/chat,", '40/news,{"token":1}')
    sockets = {name: next(iter(kit.io.of(name).sockets.values())) for name in ("/", "/chat", "/news")}
    assert client.heard() == [
        f'40{{"sid":"{sockets["/"].id}"}}',
        f'40/chat,{{"sid":"{sockets["/chat"].id}"}}',
        f'40/news,{{"sid":"{sockets["/news"].id}"}}',
    ]
    assert len({socket.id for socket in sockets.values()} | {client.session.id}) == 4
    assert sockets["/news"].handshake.auth == {"token": 1}
    client.say("41/chat,")
    assert not sockets["/chat"].connected
    assert sockets["/"].connected
    kit.io.of("/news").emit("e")
    assert client.heard() == ['42/news,["e"]']


def test_unknown_namespace(kit: EngineKit) -> None:
    client = kit.websocket()
    client.say("40/nowhere,")
    assert client.heard() == ['44/nowhere,{"message":"Invalid namespace"}']
    client.join()
    assert client.session.sockets.keys() == {"/"}


def test_namespaces_that_were_left_do_not_count() -> None:
    kit = EngineKit(max_namespaces_per_client=3)
    for number in range(10):
        kit.io.of(f"/{number}")
    client = kit.websocket()
    client.join()
    kept = client.join("/0")
    for number in range(1, 10):
        left = client.join(f"/{number}")
        client.say(f"41/{number},")
        assert not left.connected
        client.say(f'42/{number},["on its way"]')  # no offence
        assert len(client.session.sockets) == 3
    assert kept.connected
    client.join("/9")
    client.heard()
    client.say("40/8,")
    assert client.heard() == ['44/8,{"message":"Too many namespaces; 3 are allowed"}']
    assert not kit.violations


def test_max_namespaces_per_client() -> None:
    kit = EngineKit(max_namespaces_per_client=2)
    for name in ("/a", "/b", "/c"):
        kit.io.of(name)
    client = kit.websocket()
    client.join("/a")
    client.join("/b")
    client.say("40/c,")
    assert client.heard() == ['44/c,{"message":"Too many namespaces; 2 are allowed"}']
    client.say("41/a,")
    client.join("/a")  # one that it knows already
    client.say("40/c,")
    assert client.heard() == ['44/c,{"message":"Too many namespaces; 2 are allowed"}']


@pytest.mark.parametrize("frame", ['42["e"]', "41", "431[]", '42/chat,["e"]', "41/chat,"])
def test_what_comes_before_connect(kit: EngineKit, frame: str) -> None:
    kit.io.of("/chat")
    client = kit.websocket()
    client.say(frame)
    assert client.duplex.closed == (1002, Reason.PARSE_ERROR)
    assert str(kit.violations[0]) == "the namespace was not joined [Socket.IO protocol 5, connection]"


@pytest.mark.parametrize("frame", ['42["e"]', "431[]", "41"])
def test_what_was_on_its_way_when_the_server_disconnected(kit: EngineKit, frame: str) -> None:
    [client], [socket] = people(kit, 1)
    came: list[Any] = []
    kit.io.on("e", lambda socket: came.append(1))
    socket.disconnect()
    client.say(frame)
    assert client.duplex.closed is None
    assert came == []


@pytest.mark.parametrize("frame", ['42["e"]', "431[]", "41"])
def test_what_was_on_its_way_when_the_client_was_refused(kit: EngineKit, frame: str) -> None:
    kit.hub.admit = lambda socket: socket.refuse(ConnectionRefused("no"))
    client = kit.websocket()
    client.say("40", frame)
    assert client.heard() == ['44{"message":"no"}']
    assert client.duplex.closed is None


def test_joined_twice(kit: EngineKit) -> None:
    [client], _ = people(kit, 1)
    client.say("40")
    assert client.duplex.closed == (1002, Reason.PARSE_ERROR)
    assert str(kit.violations[0]) == "CONNECT to a namespace that was joined [Socket.IO protocol 5]"


def test_joined_again_after_leaving(kit: EngineKit) -> None:
    [client], [first] = people(kit, 1)
    client.say("41")
    second = client.join()
    assert second is not first
    assert second.id != first.id
    assert list(kit.io.sockets) == [second.id]


def test_connect_error_is_the_servers_to_send(kit: EngineKit) -> None:
    [client], _ = people(kit, 1)
    client.say('44{"message":"x"}')
    assert client.duplex.closed is not None


@pytest.mark.parametrize(
    ("refusal", "body"),
    [
        (ConnectionRefused(), '{"message":"Connection refused"}'),
        (ConnectionRefused("no", {"code": 7}), '{"message":"no","data":{"code":7}}'),
    ],
)
def test_refuse(kit: EngineKit, refusal: ConnectionRefused, body: str) -> None:
    kit.io.of("/chat")
    kit.hub.admit = lambda socket: socket.refuse(refusal)
    client = kit.websocket()
    client.say("40/chat,")
    assert client.heard() == [f"44/chat,{body}"]
    assert kit.io.of("/chat").sockets == {}
    client.say("40/chat,")  # it may try again
    assert client.heard() == [f"44/chat,{body}"]


def test_a_refusal_that_cannot_be_sent(kit: EngineKit) -> None:
    refused: list[Socket] = []
    kit.hub.admit = refused.append
    client = kit.websocket()
    client.say("40")
    with pytest.raises(EncodeError):
        refused[0].refuse(ConnectionRefused("no", object()))
    assert client.heard() == ['44{"message":"no"}']


class Waitroom:
    """Middleware that takes its time."""

    def __init__(self, kit: EngineKit) -> None:
        self.waiting: list[Socket] = []
        self.life: list[tuple[str, tuple[Any, ...]]] = []
        kit.hub.admit = self.waiting.append
        kit.hub.life = lambda socket, event, args: self.life.append((event, args))


def test_accepted_later(kit: EngineKit) -> None:
    room = Waitroom(kit)
    client = kit.websocket()
    client.say("40")
    [socket] = room.waiting
    assert not socket.connected
    assert "joining" in repr(socket)
    assert kit.io.sockets == {}
    kit.io.emit("e")
    socket.emit("e")
    assert client.heard() == []
    socket.accept()
    assert socket.connected
    assert client.heard() == [f'40{{"sid":"{socket.id}"}}']
    assert room.life == [("connection", ())]


@pytest.mark.parametrize("frame", ['42["e"]', "41", "40", "431[]"])
def test_what_comes_before_the_answer(kit: EngineKit, frame: str) -> None:
    Waitroom(kit)
    client = kit.websocket()
    client.say("40", frame)
    assert client.duplex.closed == (1002, Reason.PARSE_ERROR)


@pytest.mark.parametrize("late", ["accept", "refuse"])
def test_gone_before_the_answer(kit: EngineKit, late: str) -> None:
    room = Waitroom(kit)
    client = kit.websocket()
    client.say("40")
    [socket] = room.waiting
    client.duplex.lose()
    if late == "accept":
        socket.accept()
    else:
        socket.refuse(ConnectionRefused())
    assert not socket.connected
    assert kit.io.sockets == {}
    assert room.life == []
    assert "transport close" in repr(socket)


def test_rooms_of_who_is_refused(kit: EngineKit) -> None:
    """A middleware brought it into a room, and the next one refuses it."""
    room = Waitroom(kit)
    clients = [kit.websocket(), kit.websocket()]
    for client in clients:
        client.say("40")
    refused, gone = room.waiting
    refused.join("team")
    gone.join("team", "other")
    refused.refuse(ConnectionRefused())
    clients[1].duplex.lose()
    assert kit.io.of("/").rooms == {}
    clients[0].heard()
    kit.io.to("team").emit("secret")
    assert clients[0].heard() == []


def test_rooms_of_who_is_accepted_later(kit: EngineKit) -> None:
    room = Waitroom(kit)
    client = kit.websocket()
    client.say("40")
    room.waiting[0].join("team", "left")
    room.waiting[0].leave("left")
    kit.io.to("team").emit("secret")  # it is no member yet
    assert client.heard() == []
    room.waiting[0].accept()
    client.heard()
    kit.io.to("team").emit("e")
    assert client.heard() == ['42["e"]']
    check_mirror(kit.io.of("/"))


# ------------------------------------------------------------------------------------------------- what it tells


def test_handshake(kit: EngineKit) -> None:
    client = kit.websocket({"Origin": "http://example.org", "Host": "example.org", "X-One": "1"}, token="a b")
    socket = client.join(auth={"name": "한"})
    shake = socket.handshake
    assert shake.auth == {"name": "한"}
    assert shake.query == {"EIO": "4", "transport": "websocket", "token": "a b"}
    assert shake.headers["x-one"] == "1"
    assert shake.cross_domain is True
    assert (shake.address, shake.secure, shake.time) == ("", False, 0.0)
    assert shake.url == "/socket.io/?EIO=4&transport=websocket&token=a+b"
    assert shake.generation == client.session.wire.name
    assert shake.request is client.session.request
    assert kit.websocket().join().handshake.cross_domain is False


def test_data_and_transport(kit: EngineKit) -> None:
    client = kit.polling()
    socket = client.join()
    socket.data["name"] = "Mina"
    assert socket.data == {"name": "Mina"}
    assert socket.transport == "polling"
    kit.upgrade(client).say("2probe", "5")
    assert socket.transport == "websocket"
    assert socket.handshake.transport == "polling"
    assert repr(socket) == f"Socket({socket.id}, /, websocket)"
    assert repr(socket.namespace) == "Namespace('/', 1 sockets)"


def test_sockets_and_rooms_can_be_looked_at(kit: EngineKit) -> None:
    _, sockets = people(kit, 3)
    assert isinstance(kit.io.sockets, Mapping)
    assert list(kit.io.sockets.values()) == sockets


# ------------------------------------------------------------------------------------------------------------ life


def noting(kit: EngineKit) -> list[Any]:
    log: list[Any] = []
    kit.io.on("connection", lambda socket: log.append(("connection", socket.connected, len(socket.rooms))))
    for event in ("disconnecting", "disconnect"):
        kit.io.on(event, lambda socket, reason, event=event: log.append((event, reason, len(socket.rooms))))
    return log


def test_order_of_life(kit: EngineKit) -> None:
    log = noting(kit)
    [client], [socket] = people(kit, 1)
    socket.join("a")
    client.say("41")
    assert log == [
        ("connection", True, 1),
        ("disconnecting", Reason.CLIENT_DISCONNECT, 2),
        ("disconnect", Reason.CLIENT_DISCONNECT, 0),
    ]
    client.say("1")
    assert len(log) == 3


def test_disconnecting_may_still_talk_to_the_rooms(kit: EngineKit) -> None:
    clients, [socket, other] = people(kit, 2)
    kit.io.on("disconnecting", lambda socket, reason: [socket.to(room).emit("bye") for room in socket.rooms])
    for one in (socket, other):
        one.join("a")
    clients[0].duplex.lose()
    assert clients[1].heard() == ['42["bye"]']


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("event", ["disconnecting", "disconnect"])
def test_to_disconnect_who_is_going(kit: EngineKit, event: str, close: bool) -> None:
    log = noting(kit)
    kit.io.on(event, lambda socket, reason: socket.disconnect(close))
    [client], _ = people(kit, 1)
    log.clear()
    client.say("41")
    assert [one[0] for one in log] == ["disconnecting", "disconnect"]
    assert client.heard() == []  # it has said good-bye itself
    check_mirror(kit.io.of("/"))


def test_rooms_joined_while_it_is_going(kit: EngineKit) -> None:
    kit.io.on("disconnecting", lambda socket, reason: socket.join("late"))
    [client], [socket] = people(kit, 1)
    client.say("1")
    assert kit.io.of("/").rooms == {}
    assert socket.rooms == frozenset()


def test_disconnect_in_connection(kit: EngineKit) -> None:
    kit.io.on("connection", lambda socket: socket.disconnect())
    client = kit.websocket()
    client.say("40")
    assert [frame[:2] for frame in client.heard()] == ["40", "41"]
    assert kit.io.sockets == {}


# ------------------------------------------------------------------------------------------ acknowledgements out


def test_call(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    waiting = Waiting(socket.call("question", 1))
    assert client.heard() == ['421["question",1]']
    assert not waiting.done
    client.say('431["answer"]')
    assert waiting.result == "answer"
    assert not socket._acks


@pytest.mark.parametrize(
    ("frames", "answer"),
    [
        (["431[]"], None),
        (["431[null]"], None),
        (["431[1,2]"], (1, 2)),
        (["431[[1,2]]"], [1, 2]),
        (['461-1[{"_placeholder":true,"num":0}]', b"bin"], b"bin"),
    ],
)
def test_answers(kit: EngineKit, frames: list[Any], answer: Any) -> None:
    [client], [socket] = people(kit, 1)
    ack = socket.call("e")
    client.say(*frames)
    assert ack.done
    assert Waiting(ack).result == answer
    assert Waiting(ack).result == answer  # as often as one likes


def test_ids_are_the_namespaces(kit: EngineKit) -> None:
    kit.io.of("/chat")
    client = kit.websocket()
    main, chat = client.join(), client.join("/chat")
    acks = [main.call("a"), chat.call("b"), main.call("c"), chat.call("d")]
    assert client.heard() == ['421["a"]', '42/chat,1["b"]', '422["c"]', '42/chat,2["d"]']
    client.say('432["C"]', '43/chat,2["D"]', '43/chat,1["B"]', '431["A"]')
    assert [Waiting(ack).result for ack in acks] == ["A", "B", "C", "D"]


@pytest.mark.parametrize("frame", ["430[]", "432[]", "43999999999999999[]", '431["again"]'])
def test_answers_that_nobody_asked_for(kit: EngineKit, frame: str) -> None:
    """Late, twice, or made up: no offence, because a timeout may have come between."""
    [client], [socket] = people(kit, 1)
    client.say(frame)
    ack = socket.call("e")
    client.say('431["first"]', frame)
    assert Waiting(ack).result == "first"
    assert client.duplex.closed is None


def test_timeout(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    waiting = Waiting(socket.call("e", timeout=5))
    kit.advance(4.9)
    assert not waiting.done
    kit.advance(0.2)
    with pytest.raises(AckTimeout) as caught:
        _ = waiting.result
    assert str(caught.value) == "no acknowledgement came within 5 s"
    assert caught.value.received == []
    assert not socket._acks
    client.say('431["late"]')
    assert client.duplex.closed is None


@pytest.mark.parametrize(
    ("call", "seconds"),
    [
        (lambda s: s.call("e"), 30),
        (lambda s: s.call("e", timeout=2), 2),
        (lambda s: s.timeout(3).call("e"), 3),
        (lambda s: s.timeout(3).call("e", timeout=2), 2),
        (lambda s: s.volatile.timeout(0.5).call("e"), 0.5),
    ],
)
def test_which_timeout(kit: EngineKit, call: Any, seconds: float) -> None:
    [client], [socket] = people(kit, 1)
    waiting = Waiting(call(socket))
    client.say("3")
    kit.advance(seconds - 0.1)
    assert not waiting.done
    kit.advance(0.2)
    assert waiting.done


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5"])
def test_wrong_timeouts(kit: EngineKit, seconds: Any) -> None:
    [client], [socket] = people(kit, 1)
    for call in (socket.call, kit.io.call, kit.io.to("a").call, kit.io.server_side_call):
        with pytest.raises(LocalProtocolError, match="a timeout must be a positive number of seconds, not"):
            call("e", timeout=seconds)
    assert client.heard() == []


def test_a_namespace_belongs_to_one_server(kit: EngineKit) -> None:
    for name in ("/", "/chat"):
        chat = Namespace(name)
        kit.io.register(chat)
        with pytest.raises(LocalProtocolError, match=f"the namespace '{name}' belongs to another server; make one of"):
            EngineKit().io.register(chat)
        assert chat.hub is kit.hub


@pytest.mark.parametrize(
    ("end", "reason"),
    [("41", Reason.CLIENT_DISCONNECT), ("1", Reason.TRANSPORT_CLOSE), ("9", Reason.PARSE_ERROR)],
)
def test_disconnected_while_waiting(kit: EngineKit, end: str, reason: str) -> None:
    [client], [socket] = people(kit, 1)
    waitings = [Waiting(socket.call("a")), Waiting(socket.call("b"))]
    client.say(end)
    for waiting in waitings:
        with pytest.raises(Disconnected) as caught:
            _ = waiting.result
        assert caught.value.reason == reason
    kit.advance(60)


def test_called_when_it_is_gone(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    client.say("41")
    ack = socket.call("e")
    assert ack.done
    with pytest.raises(Disconnected) as caught:
        _ = Waiting(ack).result
    assert caught.value.reason == Reason.CLIENT_DISCONNECT
    assert client.heard() == []


# Broadcast with acknowledgement


def test_broadcast_call(kit: EngineKit) -> None:
    clients, _ = people(kit, 3)
    waiting = Waiting(kit.io.call("vote"))
    assert [client.heard() for client in clients] == [['421["vote"]']] * 3
    clients[1].say('431["b"]')
    clients[0].say('431["a"]')
    assert not waiting.done
    clients[1].say('431["again"]')
    assert not waiting.done
    clients[2].say("431[1,2]")
    assert waiting.result == ["b", "a", (1, 2)]


def test_broadcast_call_of_one_member_gives_a_list(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    socket.join("a")
    waiting = Waiting(kit.io.to("a").call("vote"))
    client.say("431[]")
    assert waiting.result == [None]


def test_broadcast_timeout(kit: EngineKit) -> None:
    clients, _ = people(kit, 3)
    waiting = Waiting(kit.io.timeout(2).call("vote"))
    clients[0].say('431["a"]')
    kit.advance(2.1)
    with pytest.raises(AckTimeout) as caught:
        _ = waiting.result
    assert caught.value.received == ["a"]
    assert caught.value.expected == 3
    assert str(caught.value) == "1 of 3 acknowledgements came within 2 s"
    clients[1].say('431["b"]')
    with pytest.raises(AckTimeout) as caught:
        _ = waiting.result
    assert caught.value.received == ["a"]


def test_who_goes_does_not_end_a_broadcast_call(kit: EngineKit) -> None:
    clients, _ = people(kit, 2)
    waiting = Waiting(kit.io.timeout(2).call("vote"))
    clients[0].duplex.lose()
    clients[1].say('431["b"]')
    assert not waiting.done
    kit.advance(2.1)
    with pytest.raises(AckTimeout) as caught:
        _ = waiting.result
    assert caught.value.received == ["b"]


@pytest.mark.parametrize("target", [lambda io: io, lambda io: io.to("nobody"), lambda io: io.of("/empty")])
def test_call_on_nobody(kit: EngineKit, target: Any) -> None:
    ack = target(kit.io).call("vote")
    assert ack.done
    assert Waiting(ack).result == []


def test_several_wait_for_one_answer(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    ack = socket.call("e")
    waitings = [Waiting(ack), Waiting(ack)]
    client.say('431["x"]')
    assert [waiting.result for waiting in waitings] == ["x", "x"]


def test_acknowledgements_of_thousands_are_one_entry(kit: EngineKit) -> None:
    people(kit, 100)
    before = sum(map(len, kit.engine.wheel._buckets.values()))
    kit.io.call("vote")
    assert sum(map(len, kit.engine.wheel._buckets.values())) == before + 1


# ------------------------------------------------------------------------------------------- acknowledgements in


@pytest.mark.parametrize(
    ("returned", "frames"),
    [
        (None, ["437[]"]),
        ((), ["437[]"]),
        ("ok", ['437["ok"]']),
        ((1, 2), ["437[1,2]"]),
        ([1, 2], ["437[[1,2]]"]),
        ((None,), ["437[null]"]),
        (False, ["437[false]"]),
        ({"a": b"x"}, ['461-7[{"a":{"_placeholder":true,"num":0}}]', b"x"]),
    ],
)
def test_what_a_handler_returns(kit: EngineKit, returned: Any, frames: list[Any]) -> None:
    kit.io.on("e", lambda socket: returned)
    [client], _ = people(kit, 1)
    client.say('427["e"]', '42["e"]')
    assert client.heard() == frames


def test_an_answer_to_who_is_gone(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    socket.disconnect()
    socket.acknowledge(1, "late")
    assert client.heard() == ["41"]


# ------------------------------------------------------------------------------------------------------- drain


def test_drain(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    assert Waiting(socket.drain()).done
    client.duplex.fill()
    socket.emit("e")
    waiting = Waiting(socket.drain())
    assert not waiting.done
    client.duplex.empty()
    assert waiting.done
    assert waiting.result is None


def test_drain_of_who_goes(kit: EngineKit) -> None:
    [client], [socket] = people(kit, 1)
    client.duplex.fill()
    waiting = Waiting(socket.drain())
    client.duplex.lose()
    assert waiting.done
    assert Waiting(socket.drain()).done


# --------------------------------------------------------------------------------------------------- catch-all


def test_outgoing(kit: EngineKit) -> None:
    heard: list[Any] = []
    _, [first, second] = people(kit, 2)
    kit.io.on_any_outgoing(lambda socket, event, *args: heard.append(("all", socket, event, args)))
    first.on_any_outgoing(lambda socket, event, *args: heard.append(("own", socket, event, args)))
    first.emit("a", 1)
    assert heard == [("all", first, "a", (1,)), ("own", first, "a", (1,))]
    heard.clear()
    kit.io.emit("b")
    assert heard == [("all", first, "b", ()), ("own", first, "b", ()), ("all", second, "b", ())]
    heard.clear()
    first.broadcast.emit("c")
    assert heard == [("all", second, "c", ())]


def test_outgoing_listeners_are_counted(kit: EngineKit) -> None:
    """Without listeners a broadcast must not look at each member twice."""
    namespace = kit.io.of("/")
    [client, _], [first, _] = people(kit, 2)
    assert namespace._eavesdroppers == 0
    first.on_any_outgoing(lambda socket, event: None)
    first.on_any_outgoing(lambda socket, event: None)
    assert namespace._eavesdroppers == 1
    client.duplex.lose()
    assert namespace._eavesdroppers == 0
    first.on_any_outgoing(lambda socket, event: None)
    assert namespace._eavesdroppers == 0, "who is gone hears nothing"


def test_incoming(kit: EngineKit) -> None:
    heard: list[Any] = []
    [client], [socket] = people(kit, 1)
    kit.io.on_any(lambda socket, event, *args: heard.append(("all", event, args)))
    socket.on_any(lambda socket, event, *args: heard.append(("own", event, args)))
    kit.io.on("a", lambda socket, *args: heard.append(("handler", args)))
    client.say('42["a",1]', '42["nobody"]')
    assert heard == [
        ("all", "a", (1,)), ("own", "a", (1,)), ("handler", (1,)), ("all", "nobody", ()), ("own", "nobody", ()),
    ]  # fmt: skip


def test_a_sockets_own_handler_goes_first(kit: EngineKit) -> None:
    heard: list[str] = []
    clients, [first, _] = people(kit, 2)
    kit.io.on("e", lambda socket: heard.append("all"))
    first.on("e", lambda socket: heard.append("own"))
    for client in clients:
        client.say('42["e"]')
    assert heard == ["own", "all"]
    first.off("e")
    clients[0].say('42["e"]')
    assert heard == ["own", "all", "all"]


def test_events_whose_name_is_a_number(kit: EngineKit) -> None:
    """The protocol allows them; nobody can have a handler for one."""
    [client], _ = people(kit, 1)
    heard: list[Any] = []
    kit.io.on_any(lambda socket, event: heard.append(event))
    client.say("42[1]")
    assert heard == [1]
    assert client.duplex.closed is None


def test_life_events_cannot_be_sent_by_clients(kit: EngineKit) -> None:
    log = noting(kit)
    [client], _ = people(kit, 1)
    log.clear()
    client.say('42["connection"]')
    assert log == []


@pytest.mark.parametrize("name", ["on_any", "on_any_outgoing"])
def test_a_class_can_not_hear_everything_by_a_name(name: str) -> None:
    def hear(self: Namespace, socket: Socket, event: str, *args: object) -> None: ...

    with pytest.raises(LocalProtocolError, match=f"{name} registers who hears everything; give the method another"):
        type("Chat", (Namespace,), {name: hear})("/chat")


def test_those_who_were_asked_and_leave() -> None:
    """Of a broadcast the answers of the others count; the missing one shows at the timeout, as in the reference."""
    kit = EngineKit()
    clients, _ = people(kit, 3)
    for client in clients:
        client.heard()
    waiting = Waiting(kit.io.timeout(5).call("vote"))
    frames = [client.heard()[0] for client in clients]
    assert frames == ['421["vote"]'] * 3
    clients[0].say('431["yes"]')
    clients[1].duplex.lose()
    clients[2].say('431["no","maybe"]')
    assert not waiting.done
    kit.advance(5.1)
    with pytest.raises(AckTimeout) as caught:
        _ = waiting.result
    assert caught.value.received == ["yes", ("no", "maybe")]
    assert caught.value.expected == 3


def test_many_polls_are_answered_in_several_turns() -> None:
    kit = EngineKit(max_clients_per_turn=2)
    clients = [kit.polling() for _ in range(5)]
    for client in clients:
        client.join()
    kit.turn()
    polls = [client.poll() for client in clients]
    ends: list[Callable[[], None]] = []
    kit.engine.call_soon = ends.append
    kit.io.emit("a")
    kit.io.emit("b")
    answered = []
    while ends:
        ends.pop(0)()
        answered.append(sum(poll.response is not None for poll in polls))
    assert answered == [2, 4, 5], "two packets for a client count once"
    assert {poll.payload for poll in polls} == {'42["a"]\x1e42["b"]'}
