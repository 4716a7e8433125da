"""Connection state recovery: none lost, none twice, in order, within the limits; again and again."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from madang.config import Config, Recovery
from madang.core.recovery import Memory, Stay
from madang.core.socket import Socket
from madang.errors import ConfigError, ConnectionRefused, Disconnected, EncodeError, LimitError, Reason
from madang.testing import EngineKit, LinkClient, PollingClient, Waiting


class Person:
    """A client that does what the official one does with `pid` and `offset`, over raw frames.

    It reads only when it is told to, so that what is in flight can be lost.
    """

    def __init__(self, kit: EngineKit, namespace: str = "/", polling: bool = False) -> None:
        self.kit = kit
        self.namespace = namespace
        self.polling = polling
        self.pid: str | None = None
        self.offset: str | None = None
        self.got: list[Any] = []
        self.id = ""
        self.recovered = False
        self.link: LinkClient | PollingClient | None = None

    def connect(self, **auth: Any) -> Socket:
        self.ask(**auth)
        self.read()
        return self.socket

    def ask(self, **auth: Any) -> None:
        """Join, and read nothing yet."""
        self.link = self.kit.polling() if self.polling else self.kit.websocket()
        if self.pid is not None:
            auth = {"pid": self.pid, **({"offset": self.offset} if self.offset is not None else {}), **auth}
        place = "" if self.namespace == "/" else self.namespace + ","
        self.link.say(f"40{place}{json.dumps(auth)}")

    @property
    def socket(self) -> Socket:
        assert self.link is not None
        socket: Socket = self.link.session.sockets[self.namespace]
        return socket

    def read(self) -> list[Any]:
        """Take what has come, and return the events."""
        assert self.link is not None
        place = "" if self.namespace == "/" else self.namespace + ","
        events = []
        for frame in self.link.heard():
            assert isinstance(frame, str)
            if frame == "2":
                self.link.say("3")
            elif frame.startswith(f"40{place}"):
                body = json.loads(frame.removeprefix(f"40{place}"))
                self.recovered = self.pid is not None and body.get("pid") == self.pid
                self.pid = body.get("pid")
                self.id = body["sid"]
            elif frame.startswith(f"42{place}["):
                event = json.loads(frame.removeprefix(f"42{place}"))
                if self.pid and isinstance(event[-1], str):
                    self.offset = event[-1]
                events.append(event)
        self.got += events
        return events

    def drop(self, reason: str = Reason.TRANSPORT_CLOSE) -> None:
        """The connection breaks, and the server sees it; what was in flight is lost."""
        assert self.link is not None
        session, self.link = self.link.session, None
        session.close(reason, discard=True)

    def vanish(self) -> None:
        """The network is cut: the server sees nothing."""
        self.link = None

    @property
    def numbers(self) -> list[int]:
        return [event[1] for event in self.got]


def make(**limits: Any) -> EngineKit:
    return EngineKit(recovery=Recovery(**limits))


def memory_of(kit: EngineKit) -> Memory:
    memory = kit.hub.memory
    assert memory is not None
    return memory


@pytest.fixture
def kit() -> EngineKit:
    return make()


@pytest.fixture
def person(kit: EngineKit) -> Person:
    person = Person(kit)
    person.connect()
    return person


# ------------------------------------------------------------------------------------------------------- on the wire


def test_the_wire(kit: EngineKit) -> None:
    client = kit.websocket()
    client.say("40")
    [hello] = client.heard()
    assert isinstance(hello, str)
    body = json.loads(hello[2:])
    assert set(body) == {"sid", "pid"}
    assert body["sid"] != body["pid"]
    epoch = memory_of(kit).epoch
    assert body["pid"].startswith(f"{epoch}.")
    kit.io.emit("hello", {"a": 1}, b"\0")
    assert client.heard() == [f'451-["hello",{{"a":1}},{{"_placeholder":true,"num":0}},"{epoch}.1"]', b"\0"]
    kit.io.sockets[body["sid"]].emit("direct")
    assert client.heard() == [f'42["direct","{epoch}.2"]']
    client.duplex.lose()
    kit.io.emit("missed", 1)
    again = kit.websocket()
    again.say(f'40{{"pid":"{body["pid"]}","offset":"{epoch}.2","token":"t"}}')
    assert again.heard() == [hello, f'42["missed",1,"{epoch}.3"]']
    assert kit.io.sockets[body["sid"]].handshake.auth["token"] == "t"


def test_off_nothing_is_added() -> None:
    kit = EngineKit()
    client = kit.websocket()
    client.say('40{"pid":"x","offset":"y"}')
    [hello] = client.heard()
    assert isinstance(hello, str)
    assert set(json.loads(hello[2:])) == {"sid"}
    socket = client.session.sockets["/"]
    assert socket.recovered is False
    kit.io.emit("a")
    socket.emit("b")
    assert client.heard() == ['42["a"]', '42["b"]']
    assert kit.hub.memory is None


@pytest.mark.parametrize("value", [1, 1.5, True, None, [1], ["x"], {"a": "b"}])
def test_volatile_events_are_left_as_they_are(kit: EngineKit, person: Person, value: Any) -> None:
    kit.io.volatile.emit("tick", value)
    [event] = person.read()
    assert len(event) == 2
    assert len(memory_of(kit)) == 0


@pytest.mark.parametrize("args", [(), ("text",), (1, "text")])
def test_a_volatile_event_that_ends_with_text_is_not_taken_for_an_offset(
    kit: EngineKit, person: Person, args: tuple[Any, ...]
) -> None:
    kit.io.emit("first", 1)
    kit.io.volatile.emit("tick", *args)
    person.socket.volatile.emit("tick", *args)
    assert [event[:-1] for event in person.read()] == [["first", 1], ["tick", *args], ["tick", *args]]
    assert person.offset == f"{memory_of(kit).epoch}.1"
    person.drop()
    kit.io.volatile.emit("tick", "lost")
    kit.io.emit("second", 2)
    person.connect()
    assert person.recovered
    assert [event[0] for event in person.got] == ["first", "tick", "tick", "second"]


def test_what_asks_for_an_answer_has_no_offset_and_is_not_kept(kit: EngineKit, person: Person) -> None:
    asked = Waiting(person.socket.call("ready?"))
    assert person.link is not None
    assert person.link.heard() == ['421["ready?"]']
    person.drop()
    assert asked.done
    assert len(memory_of(kit)) == 0
    person.connect()
    assert person.recovered
    assert person.got == []


def test_an_argument_that_cant_be_sent_leaves_no_gap(kit: EngineKit, person: Person) -> None:
    for emit in (kit.io.emit, person.socket.emit):
        with pytest.raises(EncodeError):
            emit("bad", object())
    kit.io.emit("good", 1)
    assert person.read() == [["good", 1, f"{memory_of(kit).epoch}.1"]]


def test_what_is_changed_after_the_emit_comes_as_it_was(kit: EngineKit, person: Person) -> None:
    body = {"n": 1}
    person.drop()
    kit.io.emit("e", body)
    body["n"] = 2
    person.connect()
    assert person.got[0][1] == {"n": 1}


# ---------------------------------------------------------------------------------------------------- what comes back


def test_id_rooms_and_data(kit: EngineKit, person: Person) -> None:
    met: list[tuple[str, bool]] = []
    left: list[tuple[str, str]] = []
    kit.io.on("connection", lambda socket: met.append((socket.id, socket.recovered)))
    kit.io.on("disconnect", lambda socket, reason: left.append((socket.id, reason)))
    old = person.socket
    old.join("a", "b")
    old.leave("b")
    old.data["name"] = "Ada"
    person.drop()
    assert left == [(old.id, Reason.TRANSPORT_CLOSE)]
    assert old.rooms == frozenset()
    new = person.connect()
    assert person.recovered
    assert new is not old
    assert new.recovered
    assert not old.recovered
    assert new.id == old.id
    assert new.data is old.data
    assert new.rooms == {new.id, "a"}
    assert met == [(old.id, True)]
    assert set(kit.io.of("/").rooms) == {"a"}
    assert memory_of(kit).recovered == 1


def test_data_that_is_first_used_after_the_drop(kit: EngineKit, person: Person) -> None:
    old = person.socket
    person.drop()
    old.data["late"] = 1
    assert person.connect().data == {"late": 1}


@pytest.mark.parametrize("polling", [False, True])
def test_in_flight_and_missed(kit: EngineKit, polling: bool) -> None:
    person = Person(kit, polling=polling)
    socket = person.connect()
    socket.join("room")
    kit.io.emit("e", 1)
    person.read()
    kit.io.emit("e", 2)  # written, or in the outbox, and never read
    socket.emit("e", 3)
    person.drop()
    kit.io.to("room").emit("e", 4)
    kit.io.to(socket.id).emit("e", 5)
    socket.emit("e", 6)
    person.connect()
    kit.io.emit("e", 7)
    person.read()
    assert person.numbers == [1, 2, 3, 4, 5, 6, 7]


def test_again_and_again(kit: EngineKit, person: Person) -> None:
    for number in range(10):
        kit.io.emit("e", number)  # lost in flight each time
        person.drop()
        person.ask()
        person.drop()  # before it has read a word of it
        person.ask()
    person.read()
    assert person.recovered
    assert person.numbers == list(range(10))


def test_again_without_anything_new(kit: EngineKit, person: Person) -> None:
    kit.io.emit("e", 0)
    person.read()
    for _ in range(10):
        person.drop()
        kit.advance(100)
        person.connect()
        assert person.recovered
    assert person.numbers == [0]


def test_without_an_offset(kit: EngineKit) -> None:
    kit.io.emit("before", -1)
    other = Person(kit)
    other.connect()
    kit.io.emit("before", -2)
    person = Person(kit)
    person.connect()
    for number in range(3):
        kit.io.emit("e", number)
        person.drop()
        person.ask()
    person.read()
    assert person.recovered
    assert person.offset is not None
    assert person.numbers == [0, 1, 2]


def test_the_old_connection_still_seems_alive(kit: EngineKit, person: Person) -> None:
    ended: list[tuple[Socket, str]] = []
    kit.io.on("disconnect", lambda socket, reason: ended.append((socket, reason)))
    old = person.socket
    old.join("room")
    link = person.link
    assert isinstance(link, LinkClient)
    person.vanish()
    kit.io.to("room").emit("e", 1)
    new = person.connect()
    assert person.recovered
    assert person.numbers == [1]
    assert ended == [(old, Reason.TRANSPORT_CLOSE)]
    assert link.duplex.closed is not None
    assert not old.connected
    assert list(kit.io.sockets.values()) == [new]
    assert new.rooms == {new.id, "room"}
    kit.io.to("room").emit("e", 2)
    person.read()
    assert person.numbers == [1, 2]


def test_taking_over_ends_the_other_namespaces_of_the_old_connection(kit: EngineKit) -> None:
    kit.io.of("/chat")
    link = kit.websocket()
    main, chat = link.join(), link.join("/chat")
    assert main._stay is not None
    assert chat._stay is not None
    kit.io.of("/chat").emit("e", 1)
    again = kit.websocket()
    again.join("/", {"pid": main._stay.pid})
    assert not chat.connected
    kit.io.of("/chat").emit("e", 2)
    again.say(f'40/chat,{{"pid":"{chat._stay.pid}"}}')
    frames = again.heard()
    assert [str(frame).split('"')[1] for frame in frames] == ["sid", "e", "e"]
    assert again.session.sockets["/chat"].id == chat.id


def test_what_the_handler_of_its_room_says_when_nobody_else_is_there(kit: EngineKit, person: Person) -> None:
    person.socket.join("room")
    kit.io.on("disconnecting", lambda socket, reason: kit.io.emit("e", 1))
    kit.io.of("/").room_event("delete", lambda socket, room: kit.io.emit("e", 2))
    kit.io.on("disconnect", lambda socket, reason: kit.io.emit("e", 3))
    person.drop()
    person.connect()
    assert person.numbers == [1, 2, 3]


def test_what_the_disconnect_handler_says_comes_too(kit: EngineKit, person: Person) -> None:
    other = Person(kit)
    other.connect()

    def gone(socket: Socket, reason: str) -> None:
        kit.io.emit("gone", socket.id)
        socket.broadcast.emit("not to itself")

    kit.io.on("disconnect", gone)
    person.vanish()  # the take-over itself runs the handler
    person.connect()
    assert [event[0] for event in person.got] == ["gone"]
    assert [event[0] for event in other.read()] == ["gone", "not to itself"]


def test_a_room_left_before_its_event_arrived(kit: EngineKit, person: Person) -> None:
    socket = person.socket
    kit.io.to("a").emit("e", 0)
    socket.join("a")
    kit.io.to("a").emit("e", 1)
    socket.leave("a")
    kit.io.to("a").emit("e", 2)
    person.drop()
    kit.io.to("a").emit("e", 3)
    socket.join("a")
    kit.io.to("a").emit("e", 4)
    socket.leave("a")
    kit.io.to("a").emit("e", 5)
    new = person.connect()
    assert person.numbers == [1, 4]
    assert new.rooms == {new.id}


def test_except_and_sender_as_they_were(kit: EngineKit, person: Person) -> None:
    socket = person.socket
    kit.io.except_("a").emit("e", 1)
    socket.join("a")
    kit.io.except_("a").emit("e", 2)
    kit.io.except_(socket.id).emit("e", 3)
    socket.broadcast.emit("e", 4)
    socket.to("a").emit("e", 5)
    socket.leave("a")
    kit.io.except_("a").emit("e", 6)
    person.drop()
    socket.broadcast.emit("e", 7)
    kit.io.to("a", "b", socket.id, socket.id).emit("e", 8)
    person.connect()
    assert person.numbers == [1, 6, 8]


def test_what_goes_to_one_alone_is_not_for_a_room_of_its_name(kit: EngineKit, person: Person) -> None:
    """Rooms are often named by clients, and ids of others are no secret."""
    curious = Person(kit)
    curious.connect().join(person.id)
    person.socket.emit("e", 1)
    person.socket.compress(False).emit("e", 2)
    kit.io.to(person.id).emit("e", 3)  # this one is for the room
    assert [event[1] for event in curious.read()] == [3]
    curious.offset = None
    curious.drop()
    person.drop()
    for one in (curious, person):
        one.connect()
        assert one.recovered
    assert curious.numbers == [3, 3]
    assert person.numbers == [1, 2, 3]


def test_an_event_to_several_rooms_comes_once(kit: EngineKit, person: Person) -> None:
    person.socket.join("a", "b")
    person.drop()
    kit.io.to("a", "b").emit("e", 1)
    kit.io.to("b").to("a").emit("e", 2)
    person.connect()
    assert person.numbers == [1, 2]


# ------------------------------------------------------------------------------------------------------ the old object


def test_the_old_object_reaches_the_new_one(kit: EngineKit, person: Person) -> None:
    old = person.socket
    target, broadcast = old.compress(False), old.broadcast
    other = Person(kit)
    other.connect()
    person.drop()
    old.emit("e", 1)
    target.emit("e", 2)
    old.join("absent")
    old.leave("never")
    new = person.connect()
    assert "absent" in new.rooms
    old.emit("e", 3)
    target.emit("e", 4)
    old.join("late")
    old.leave("absent")
    assert new.rooms == {new.id, "late"}
    broadcast.emit("e", 5)
    old.broadcast.emit("e", 6)
    old.to(new.id).emit("e", 7)
    person.read()
    assert person.numbers == [1, 2, 3, 4]
    other.read()
    assert other.numbers == [5, 6]
    asked = Waiting(old.call("name?"))
    assert person.link is not None
    person.link.heard()
    person.link.say('431["Ada"]')
    assert asked.result == "Ada"
    old.disconnect()
    assert not new.connected


def test_who_listens_to_what_goes_out_hears_the_old_object_too(kit: EngineKit, person: Person) -> None:
    heard: list[tuple[Socket, Any]] = []
    kit.io.on_any_outgoing(lambda socket, event, *args: heard.append((socket, args[0])))
    old = person.socket
    person.drop()
    old.emit("e", 1)
    assert heard == [], "it goes nowhere yet"
    new = person.connect()
    old.emit("e", 2)
    old.compress(False).emit("e", 3)
    assert heard == [(new, 2), (new, 3)]


def test_the_old_object_of_one_that_never_comes_back(kit: EngineKit, person: Person) -> None:
    old = person.socket
    person.drop()
    kit.advance(121)
    kept = len(memory_of(kit))
    old.emit("e", 1)
    old.join("a")
    old.leave("a")
    old.disconnect()
    asked = Waiting(old.call("there?"))
    assert asked.done
    with pytest.raises(Disconnected):
        _ = asked.result
    assert len(memory_of(kit)) == kept
    person.connect()
    assert not person.recovered


def test_disconnect_while_it_is_away(kit: EngineKit, person: Person) -> None:
    old = person.socket
    person.drop()
    old.disconnect()
    person.connect()
    assert not person.recovered
    assert person.id != old.id


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_disconnect_while_it_is_away_with_all_its_namespaces(kit: EngineKit, many: bool, close: bool) -> None:
    """Who is thrown out while it happens to be away, is thrown out of as much as if it were here."""
    kit.io.of("/other")
    people = [(Person(kit), Person(kit, "/other")) for _ in range(2)]
    for main, other in people:
        main.connect()
        other.link = main.link
        other.link.say("40/other,")  # type: ignore[union-attr]
        other.read()
    [(main, other), (neighbour, _)] = people
    socket = main.socket
    socket.join("banned")
    for one, _ in people:
        one.drop()
    if many:
        kit.io.in_("banned").disconnect_sockets(close)
    else:
        socket.disconnect(close)
    for one in (main, other, neighbour):
        one.link = None
        one.connect()
    assert [one.recovered for one in (main, other, neighbour)] == [False, not close, True]


def test_what_is_done_to_many_is_done_to_the_absent_too() -> None:
    kit = EngineKit(recovery=True, max_rooms_per_socket=4)
    people = [Person(kit) for _ in range(4)]
    for person in people:
        person.connect().join("all")
    people[1].socket.join("x")
    ids = [person.id for person in people]
    sockets = [person.socket for person in people]
    for person in people:
        person.drop()
    kit.io.in_("all").sockets_join("y")
    kit.io.in_("x", ids[0]).except_("z", ids[3]).sockets_join("z")
    with pytest.raises(LimitError):
        kit.io.in_(ids[1]).sockets_join("too many")
    kit.io.in_("z").except_(ids[0]).sockets_leave("y", "never")
    sockets[2].broadcast.sockets_leave("all")
    kit.io.in_(ids[3]).disconnect_sockets()
    for person in people:
        person.connect()
    assert [person.recovered for person in people] == [True, True, True, False]
    assert [person.socket.rooms - {person.id} for person in people] == [
        {"y", "z"}, {"x", "z"}, {"all", "y"}, set(),
    ]  # fmt: skip


@pytest.mark.parametrize("event", ["disconnecting", "disconnect"])
def test_disconnect_in_a_handler_of_the_end(kit: EngineKit, person: Person, event: str) -> None:
    kit.io.on(event, lambda socket, reason: socket.disconnect())
    person.drop()
    person.connect()
    assert not person.recovered


def test_a_handler_of_the_end_ends_the_connection_that_takes_over(kit: EngineKit, person: Person) -> None:
    others = kit.io.of("/others")
    id_ = person.id
    ends = 1

    @kit.io.on("disconnect")
    def gone(socket: Socket, reason: str) -> None:
        nonlocal ends
        if ends:
            ends -= 1
            others.disconnect_sockets(close=True)

    person.vanish()
    link = kit.websocket()
    link.say("40/others,")
    link.say(f'40{{"pid":"{person.pid}"}}')
    assert not link.session.sockets["/others"]
    assert link.session.ended == Reason.SERVER_DISCONNECT
    assert not kit.io.sockets, "none that nobody is behind"
    kit.io.emit("e", 1)
    person.connect()
    assert person.recovered
    assert person.id == id_
    assert person.numbers == [1]


def test_auth_is_what_the_program_gave(kit: EngineKit, person: Person) -> None:
    class Token(msgspec.Struct, forbid_unknown_fields=True):
        token: str = ""

    seen: list[Any] = []

    @kit.io.on("connection")
    def connection(socket: Socket, *, auth: Token) -> None:
        seen.append((auth.token, socket.handshake.auth))

    kit.io.emit("e", 1)
    person.read()
    person.drop()
    person.connect(token="a")
    assert person.recovered
    person.drop()
    kit.advance(121)
    person.connect(token="b")
    assert not person.recovered
    assert seen == [("a", {"token": "a"}), ("b", {"token": "b"})]


def test_nothing_is_kept_for_one_that_cant_come_back(kit: EngineKit, person: Person) -> None:
    Person(kit).connect()
    socket = person.socket
    socket.disconnect()
    socket.emit("e", 1)
    socket.compress(False).emit("e", 1)
    socket.volatile.emit("e", 1)
    assert len(memory_of(kit)) == 0


@pytest.mark.parametrize("event", ["disconnecting", "disconnect"])
def test_a_handler_of_the_end_forbids_the_take_over(kit: EngineKit, person: Person, event: str) -> None:
    kit.io.on(event, lambda socket, reason: socket.disconnect())
    person.vanish()
    person.ask()
    assert person.link is not None
    assert person.link.session.ended == Reason.TRANSPORT_CLOSE
    person.connect()
    assert not person.recovered


# ------------------------------------------------------------------------------------------------------- who may not


@pytest.mark.parametrize(
    "reason",
    [
        Reason.TRANSPORT_CLOSE, Reason.TRANSPORT_ERROR, Reason.PING_TIMEOUT, Reason.FORCED_CLOSE,
        Reason.FORCED_SERVER_CLOSE, Reason.SHUTTING_DOWN,
    ],
)  # fmt: skip
def test_reasons_to_come_back(kit: EngineKit, person: Person, reason: str) -> None:
    person.drop(reason)
    person.connect()
    assert person.recovered


@pytest.mark.parametrize("end", ["client", "server", "server closes", Reason.PARSE_ERROR, Reason.SLOW_CONSUMER])
def test_ends_that_are_meant_are_ends(kit: EngineKit, person: Person, end: str) -> None:
    assert person.link is not None
    if end == "client":
        person.link.say("41")
    elif end == "server":
        person.socket.disconnect()
    elif end == "server closes":
        person.socket.disconnect(close=True)
    else:
        person.drop(end)
    assert memory_of(kit).stays == {}
    person.connect()
    assert not person.recovered


def test_a_secret_of_another_namespace(kit: EngineKit, person: Person) -> None:
    kit.io.of("/chat")
    chat = Person(kit, "/chat")
    chat.pid = person.pid
    person.drop()
    chat.connect()
    assert not chat.recovered
    assert memory_of(kit).failed == 1
    person.connect()
    assert person.recovered


@pytest.mark.parametrize("pid", [1, None, [], {}, True, "", "x" * 100_000, "\ud800", "0" * 20])
def test_secrets_that_are_none(kit: EngineKit, person: Person, pid: Any) -> None:
    person.drop()
    stranger = Person(kit)
    stranger.connect(pid=pid)
    assert stranger.id
    assert not stranger.recovered
    assert kit.violations == []


OFFSETS = st.one_of(
    st.text(), st.integers(), st.none(), st.booleans(), st.lists(st.text()),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("0123456789abcdefABCDEF+-_ x.").map(lambda digits: "000001." + digits),
)  # fmt: skip


@given(OFFSETS)
@settings(max_examples=300)
def test_offsets_that_are_none(offset: Any) -> None:
    kit = make()
    person = Person(kit)
    person.connect()
    kit.io.emit("e", 1)
    person.drop()
    person.connect(offset=offset)
    assert kit.violations == []
    if person.recovered:
        assert person.numbers in ([], [1])


@pytest.mark.parametrize(
    "offset", ["{}.2", "{}.ffffffffffffffffff", "{}.-1", "{}. 1", "{}.0_1", "{}.", "{}", "", "x", 7]
)
def test_offsets_that_were_never_given(kit: EngineKit, person: Person, offset: Any) -> None:
    kit.io.emit("e", 1)
    if isinstance(offset, str):
        offset = offset.format(memory_of(kit).epoch)
    person.drop()
    person.connect(offset=offset)
    assert not person.recovered
    assert person.numbers == []


def test_an_offset_of_an_earlier_life_means_nothing_was_got_in_this_one(kit: EngineKit, person: Person) -> None:
    person.offset = "AbC_-9.ffffff"
    kit.io.emit("e", 1)
    person.drop()
    person.connect()
    assert person.recovered
    assert person.numbers == [1]


def test_an_offset_of_an_earlier_session(kit: EngineKit, person: Person) -> None:
    kit.io.emit("e", 1)
    person.read()
    person.drop()
    kit.advance(121)
    kit.io.emit("e", 2)
    person.connect()
    assert not person.recovered
    kit.io.emit("e", 3)
    person.drop()
    person.connect()  # the client still has the offset of its first session
    assert person.recovered
    assert person.numbers == [1, 3]


def test_what_is_told_of_those_that_begin_anew(kit: EngineKit, person: Person) -> None:
    told: list[str] = []
    memory_of(kit).on_failed = lambda session, why: told.append(why)
    person.drop()
    person.connect(offset="x")
    Person(kit).connect()
    Person(kit).connect(pid="unknown")
    assert told == ["its offset is none of ours", "its session is not known, or not any more"]


# ------------------------------------------------------------------------------------------------------- middleware


def test_middleware_is_skipped(kit: EngineKit, person: Person) -> None:
    def nobody(socket: Socket) -> None:
        raise ConnectionRefused("nobody")

    kit.io.use(nobody)
    person.drop()
    person.connect()
    assert person.recovered


async def test_middleware_is_asked_if_it_shall_be() -> None:
    kit = make(skip_middleware=False)
    allowed = True

    def check(socket: Socket) -> None:
        if not allowed:
            raise ConnectionRefused("expired")
        socket.data["asked"] = socket.data.get("asked", 0) + 1
        socket.join(f"chosen {socket.data['asked']}")

    kit.io.use(check)
    person = Person(kit)
    socket = person.connect()
    socket.join("own")
    allowed = False
    person.vanish()
    refused = Person(kit)
    refused.pid = person.pid
    refused.ask()
    assert refused.link is not None
    assert refused.link.heard() == ['44{"message":"expired"}']
    assert socket.connected, "a refused client took over"
    kit.io.emit("e", 1)
    allowed = True
    new = person.connect()
    assert person.recovered
    assert person.numbers == [1]
    assert new.data == {"asked": 2}
    assert new.rooms == {new.id, "own", "chosen 1", "chosen 2"}


class Gate:
    """A middleware that waits until it is told to go on."""

    def __init__(self, kit: EngineKit) -> None:
        self.closed = False
        self.waiting: list[Any] = []
        self.kit = kit
        kit.io.use(self)

    async def __call__(self, socket: Socket) -> None:
        if self.closed:
            future = self.kit.hub.new_future()
            self.waiting.append(future)
            await future

    async def open(self, number: int = 0) -> None:
        import asyncio

        self.waiting[number].set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)


async def test_what_is_said_while_the_middleware_waits() -> None:
    kit = make(skip_middleware=False)
    gate = Gate(kit)
    person = Person(kit)
    person.connect()
    kit.io.emit("e", 1)
    person.drop()
    gate.closed = True
    kit.io.emit("e", 2)
    person.ask()
    kit.io.emit("e", 3)
    await gate.open()
    kit.io.emit("e", 4)
    person.read()
    assert person.recovered
    assert person.numbers == [1, 2, 3, 4]


async def test_the_time_runs_out_while_the_middleware_waits() -> None:
    kit = make(skip_middleware=False, max_disconnection_seconds=10)
    gate = Gate(kit)
    person = Person(kit)
    person.connect()
    person.drop()
    gate.closed = True
    person.ask()
    kit.advance(11)
    await gate.open()
    assert person.link is not None
    assert person.link.session.ended == Reason.TRANSPORT_CLOSE
    gate.closed = False
    person.connect()
    assert not person.recovered


@pytest.mark.parametrize("first", [0, 1])
async def test_two_connections_of_one_client_before_the_middleware(first: int) -> None:
    kit = make(skip_middleware=False)
    gate = Gate(kit)
    person = Person(kit)
    person.connect()
    person.vanish()
    gate.closed = True
    kit.io.emit("e", 1)
    person.ask()
    abandoned = person.link
    assert abandoned is not None
    person.ask()
    await gate.open(first)
    await gate.open(1 - first)
    assert abandoned.session.ended == Reason.TRANSPORT_CLOSE, "the later connection is the one that counts"
    person.read()
    assert person.recovered
    assert person.numbers == [1]
    assert list(kit.io.sockets) == [person.id]


# ------------------------------------------------------------------------------------------------------------ limits


def test_the_time_that_a_client_may_be_away(kit: EngineKit, person: Person) -> None:
    person.drop()
    kit.advance(119)
    person.connect()
    assert person.recovered
    person.drop()
    kit.advance(121)
    assert memory_of(kit).stays == {}
    assert kit.io.of("/")._log is not None
    assert not kit.io.of("/")._log.absent
    person.connect()
    assert not person.recovered


def test_events_are_forgotten_without_new_ones(kit: EngineKit, person: Person) -> None:
    memory = memory_of(kit)
    kit.io.emit("e", 1)
    kit.io.to("room").emit("e", 2)
    person.drop()
    assert len(memory) == 2
    kit.advance(1000)
    assert len(memory) == 0
    assert memory.bytes == 0
    kit.advance(1000)
    assert kit.io.of("/")._log is not None
    assert kit.io.of("/")._log.shelves == {}
    assert kit.engine.wheel.next is None


@pytest.mark.parametrize("limits", [{"max_events": 10}, {"max_bytes": 10 * 600}])
def test_too_much_for_all(limits: dict[str, int]) -> None:
    kit = make(**limits)
    person, quiet = Person(kit), Person(kit)
    person.connect().join("loud")
    quiet.connect()
    kit.io.to(quiet.id).emit("e", 0)
    quiet.read()
    person.drop()
    for number in range(30):
        kit.io.to("loud").emit("e", number)
        assert len(memory_of(kit)) <= 10
        assert memory_of(kit).bytes <= 10 * 600 or "max_bytes" not in limits
    person.connect()
    assert not person.recovered
    # What others have lost is no loss for who was not in their room.
    quiet.drop()
    quiet.connect()
    assert quiet.recovered
    assert quiet.numbers == [0]


@pytest.mark.parametrize("again", [False, True])
def test_what_is_lost_with_the_shelf_of_a_room(again: bool) -> None:
    kit = make(max_events=2)
    person = Person(kit)
    person.connect().join("room")
    kit.io.to("room").emit("e", 0)
    person.drop()
    for number in range(10):
        kit.io.to(f"other {number}").emit("e", number)
    log = kit.io.of("/")._log
    assert log is not None
    assert "room" not in log.shelves
    assert len(log.shelves) <= 5
    if again:
        kit.io.to("room").emit("e", 1)
    person.connect()
    assert not person.recovered


def test_one_event_that_is_too_large_for_all() -> None:
    kit = make(max_bytes=1000)
    person = Person(kit)
    person.connect()
    kit.io.emit("e", "x" * 10_000)
    assert len(memory_of(kit)) == 0
    assert memory_of(kit).bytes == 0
    person.drop()
    person.connect()
    assert not person.recovered


@pytest.mark.parametrize(("limits", "count"), [({"max_replay_events": 5}, 5), ({"max_replay_bytes": 100}, 5)])
def test_too_much_for_one(limits: dict[str, int], count: int) -> None:
    kit = make(**limits)
    for extra in (0, 1):
        person = Person(kit)
        person.connect()
        person.drop()
        for number in range(count + extra):
            kit.io.emit("e", number)
        person.connect()
        assert person.recovered == (extra == 0)
        person.drop()


def test_too_many_absent() -> None:
    kit = make(max_absent=2)
    people = [Person(kit) for _ in range(3)]
    for person in people:
        person.connect()
    for person in people:
        person.drop()
    assert len(memory_of(kit).stays) == 2
    for person in people:
        person.connect()
    assert [person.recovered for person in people] == [False, True, True]


def test_rooms_left_are_bounded() -> None:
    kit = make(max_rooms_left=5)
    person = Person(kit)
    socket = person.connect()
    for number in range(20):
        socket.join("room")
        kit.io.to("room").emit("e", number)
        socket.leave("room")
    assert socket._stay is not None
    assert len(socket._stay._left or ()) == 5
    person.drop()
    person.connect()
    assert not person.recovered, "it can't be known any more"


def test_rooms_left_are_forgotten_once_all_has_arrived(kit: EngineKit, person: Person) -> None:
    socket = person.socket
    for number in range(10):
        socket.join("room")
        kit.io.to("room").emit("e", number)
        socket.leave("room")
        kit.advance(kit.io.config.ping_interval_seconds + 1)
        person.read()
    assert socket._stay is not None
    assert len(socket._stay._left or ()) <= 2
    person.drop()
    person.connect()
    assert person.recovered
    assert person.numbers == list(range(10))


def test_what_it_was_excluded_from_in_a_room_that_is_forgotten(kit: EngineKit, person: Person) -> None:
    socket = person.socket
    kit.io.emit("e", 0)
    socket.join("muted", "other")
    kit.io.except_("muted").emit("e", 1)
    socket.leave("muted")
    kit.advance(kit.io.config.ping_interval_seconds + 1)
    person.read()
    kit.advance(1)
    kit.io.to("elsewhere").emit("e", 2)
    socket.leave("other")  # which forgets the rooms that were left before the ping
    assert socket._stay is not None
    assert len(socket._stay._left or ()) == 1
    person.drop()
    person.connect()
    assert person.recovered
    assert person.numbers == [0]


async def test_a_pong_confirms_no_more_than_its_own_ping() -> None:
    """Under back-pressure several pings may wait for their answers at once."""
    kit = EngineKit(recovery=True, max_handlers_per_client=2, ack_timeout_seconds=1000)
    gate = asyncio.Event()

    @kit.io.on("wait")
    async def wait(socket: Socket) -> None:
        await gate.wait()

    link = kit.websocket()
    link.join()
    session = link.session
    link.say('42["wait"]', '42["wait"]')
    [socket] = kit.io.sockets.values()
    socket.call("question")  # so that it is read all the same
    link.heard()
    start = session._engine.clock()
    kit.advance(26)
    kit.advance(26)
    second = session._engine.clock()
    assert link.heard() == ["2", "2"]
    link.say("3")
    assert start < session.confirmed < second
    kit.advance(26)
    assert link.heard() == ["2"]
    link.say("3")  # of the second ping, which nobody knows to be sent after the first
    assert start < session.confirmed < second
    link.say("3")
    assert start < session.confirmed < second
    kit.advance(26)
    assert link.heard() == ["2"]
    link.say("3")
    assert session.confirmed > second + 26
    gate.set()
    await asyncio.sleep(0)


def test_a_quiet_client_of_a_busy_server() -> None:
    """Its offset is hours old, and what it lacks since was never its own; pongs confirm the rest."""
    kit = make(max_events=10)
    person, other = Person(kit), Person(kit)
    person.connect()
    other.connect().join("busy")
    kit.io.emit("e", 0)
    for _ in range(100):
        kit.advance(20)
        for number in range(5):
            kit.io.to("busy").emit("busy", number)
        person.read()
        other.read()
    person.drop()
    kit.io.emit("e", 1)
    person.connect()
    assert person.recovered
    assert person.numbers == [0, 1]


def test_an_answered_ping_confirms_what_was_sent_before_it(kit: EngineKit) -> None:
    kit = make(max_events=3)
    person = Person(kit)
    person.connect().join("room")
    offset = person.offset
    kit.io.emit("e", 0)
    kit.advance(26)
    person.read()  # the event, and the ping
    person.offset = offset  # a client that has not counted it
    for number in range(5):
        kit.io.to("elsewhere").emit("x", number)
    kit.io.emit("e", 1)
    person.drop()
    person.connect()
    assert person.recovered
    assert person.numbers == [0, 1]


def test_a_ping_before_the_replay_confirms_nothing() -> None:
    """It was answered on the same connection, but before the client was given what it missed."""
    kit = make(max_events=5)
    kit.io.of("/late")
    person = Person(kit, "/late")
    person.connect()
    person.drop()
    kit.io.of("/late").emit("e", 1)
    kit.advance(1)
    link = kit.websocket()
    link.join()
    kit.advance(26)
    assert link.heard() == ["2"]
    link.say("3")
    link.say(f'40/late,{{"pid":"{person.pid}"}}')
    link.heard()  # the replay, which gets lost
    link.duplex.lose()
    for _ in range(5):
        kit.io.of("/late").emit("e", 2)
    person.connect()
    assert not person.recovered


def test_nobody_there_nothing_kept(kit: EngineKit) -> None:
    kit.io.emit("e", 1)
    assert len(memory_of(kit)) == 0


def test_a_server_that_stops_and_starts_again_in_its_loop(kit: EngineKit, person: Person) -> None:
    kit.io.disconnect_all()
    person.vanish()
    kit.engine.reopen()
    person.connect()
    assert person.recovered


def test_a_loop_that_is_gone_takes_everything_along(kit: EngineKit, person: Person) -> None:
    kit.io.emit("e", 1)
    person.drop()
    kit.engine.reset()
    kit.hub.reset()
    kit.clock.drive(kit.engine.wheel)
    memory = memory_of(kit)
    assert (len(memory), memory.stays, memory.bytes) == (0, {}, 0)
    person.connect()
    assert not person.recovered
    kit.io.emit("e", 2)
    person.drop()
    person.connect()
    assert person.recovered
    assert person.numbers == [2]


def test_a_slow_consumer_gets_nothing_behind_what_was_left_out() -> None:
    kit = EngineKit(max_buffered_bytes=1000, recovery=True)
    person = Person(kit)
    socket = person.connect()
    link = person.link
    assert isinstance(link, LinkClient)
    link.duplex.fill()
    kit.io.emit("e", "x" * 800)
    kit.io.emit("e", "x" * 800)  # left out
    kit.io.emit("e", "small")
    link.duplex.empty()
    assert [json.loads(str(frame)[2:])[1][:5] for frame in link.duplex.take()] == ["xxxxx"]
    kit.turn()
    assert socket._ended == Reason.SLOW_CONSUMER


# ---------------------------------------------------------------------------------------------------------- settings


def test_settings() -> None:
    assert Config().recovery is False
    assert Config(recovery=True).recovery == Recovery()
    small = Config(recovery=True, max_buffered_bytes=1000).recovery
    assert isinstance(small, Recovery)
    assert small.max_replay_bytes == 1000
    for wrong in (None, 1, "yes", {}):
        with pytest.raises(ConfigError, match="recovery must be True, False or a Recovery"):
            Config(recovery=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must not be greater than max_buffered_bytes"):
        Config(recovery=Recovery(max_replay_bytes=9_000_000))
    with pytest.raises(ConfigError, match="recovery: max_disconnection_seconds must be a positive number"):
        Recovery(max_disconnection_seconds=0)
    with pytest.raises(ConfigError, match="recovery: max_absent must be a whole number"):
        Recovery(max_absent=0)


# ---------------------------------------------------------------------------------------------------------- property

ROOMS = ("a", "b", "c")
WHO = st.integers(0, 2)
SOME_ROOMS = st.lists(st.sampled_from(ROOMS), max_size=2).map(tuple)
ACTIONS = st.one_of(
    st.tuples(st.just("emit"), SOME_ROOMS, SOME_ROOMS, st.one_of(st.none(), WHO)),
    st.tuples(st.just("volatile"), SOME_ROOMS, st.booleans()),
    st.tuples(st.just("direct"), WHO),
    st.tuples(st.just("to id"), WHO),
    st.tuples(st.just("join"), WHO, st.sampled_from(ROOMS)),
    st.tuples(st.just("leave"), WHO, st.sampled_from(ROOMS)),
    st.tuples(st.just("read"), WHO),
    st.tuples(st.just("drop"), WHO),
    st.tuples(st.just("vanish"), WHO),
    st.tuples(st.just("ask"), WHO),
    st.tuples(st.just("connect"), WHO),
    st.tuples(st.just("wait"), st.sampled_from((0.5, 5.0, 30.0))),
)


class Model:
    """Three clients, and the list of what each should have got in the end."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.kit = make(**limits)
        self.people = [Person(self.kit, polling=number == 2) for number in range(3)]
        self.kept: list[Socket] = [person.connect() for person in self.people]
        self.rooms: list[set[str]] = [set() for _ in self.people]
        self.expected: list[list[int]] = [[] for _ in self.people]
        self.since = [0, 0, 0]  # where in `got` the session that counts began
        self.next = 0

    def act(self, action: tuple[Any, ...]) -> None:
        getattr(self, action[0].replace(" ", "_"))(*action[1:])
        for person in self.people:  # what has ended by its own, as by a ping timeout
            if person.link is not None and person.link.session.state != 0:
                person.link = None

    def number(self) -> int:
        self.next += 1
        return self.next

    def emit(self, rooms: tuple[str, ...], excluded: tuple[str, ...], sender: int | None) -> None:
        number = self.number()
        target = self.kit.io if sender is None else self.kept[sender].broadcast
        target = target.to(*rooms) if rooms else target
        (target.except_(*excluded) if excluded else target).emit("e", number)
        for who, own in enumerate(self.rooms):
            if (not rooms or own & set(rooms)) and not own & set(excluded) and who != sender:
                self.expected[who].append(number)

    def volatile(self, rooms: tuple[str, ...], text: bool) -> None:
        target = self.kit.io.to(*rooms) if rooms else self.kit.io
        target.volatile.emit("v", "text" if text else 1)

    def direct(self, who: int) -> None:
        number = self.number()
        self.kept[who].emit("e", number)
        self.expected[who].append(number)

    def to_id(self, who: int) -> None:
        number = self.number()
        self.kit.io.to(self.kept[who].id).emit("e", number)
        self.expected[who].append(number)

    def join(self, who: int, room: str) -> None:
        self.kept[who].join(room)
        self.rooms[who].add(room)

    def leave(self, who: int, room: str) -> None:
        self.kept[who].leave(room)
        self.rooms[who].discard(room)

    def read(self, who: int) -> None:
        person = self.people[who]
        if person.link is not None:
            was = person.pid
            person.read()
            if person.pid != was:
                # A new session, rightly or not: it begins with nothing. That it may is looked at by the caller.
                self.fresh(who)

    def fresh(self, who: int) -> None:
        raise AssertionError(f"client {who} was not recovered")

    def drop(self, who: int) -> None:
        if self.people[who].link is not None:
            self.people[who].drop()

    def vanish(self, who: int) -> None:
        self.people[who].vanish()

    def ask(self, who: int) -> None:
        if self.people[who].link is None:
            self.people[who].ask()

    def connect(self, who: int) -> None:
        self.ask(who)
        self.read(who)

    def wait(self, seconds: float) -> None:
        self.kit.advance(seconds)

    def finish(self) -> None:
        for who, person in enumerate(self.people):
            for _ in range(2):  # a connection that has ended unseen is found by reading, and made again
                self.connect(who)
                if person.link is None or person.link.session.state != 0:
                    person.link = None
            self.connect(who)
            while self.poll(who):
                pass

    def poll(self, who: int) -> bool:
        before = len(self.people[who].got)
        self.read(who)
        return len(self.people[who].got) > before

    def check(self) -> None:
        for person, expected, rooms in zip(self.people, self.expected, self.rooms, strict=True):
            assert [event[1] for event in person.got if event[0] == "e"] == expected
            assert person.socket.rooms == {person.id, *rooms}
        live = {person.id for person in self.people}
        assert set(self.kit.io.sockets) == live
        assert len(memory_of(self.kit).stays) == 3
        assert memory_of(self.kit).bytes == sum(entry.cost for entry in memory_of(self.kit)._entries)


@given(st.lists(ACTIONS, max_size=60))
@settings(max_examples=400)
def test_none_lost_none_twice_in_order(actions: list[tuple[Any, ...]]) -> None:
    model = Model({"max_disconnection_seconds": 100_000})
    for action in actions:
        model.act(action)
    model.finish()
    model.check()


class Forgetful(Model):
    """With limits that are soon reached a client may begin anew, but if it was recovered, it has got everything."""

    def fresh(self, who: int) -> None:
        person = self.people[who]
        if self.kept[who] is not person.socket:  # else `ask` has seen it already, and it may have joined rooms since
            self.kept[who] = person.socket
            self.rooms[who] = set()
        # What it had got of the old session is a beginning of what it should have got. The new one has begun when the
        # CONNECT packet was answered, which was read with all that followed.
        self.started(who)

    def ask(self, who: int) -> None:
        person = self.people[who]
        if person.link is not None:
            return
        before = [event[1] for event in person.got if event[0] == "e"]
        failed = memory_of(self.kit).failed
        person.ask()
        if memory_of(self.kit).failed > failed:
            assert before == self.expected[who][: len(before)]
            self.expected[who] = before
            self.kept[who] = person.socket
            self.rooms[who] = set()

    def started(self, who: int) -> None:
        assert not self.people[who].recovered

    def check(self) -> None:
        for person, expected, rooms in zip(self.people, self.expected, self.rooms, strict=True):
            assert [event[1] for event in person.got if event[0] == "e"] == expected
            assert person.socket.rooms == {person.id, *rooms}


@given(
    actions=st.lists(ACTIONS, max_size=60),
    limits=st.sampled_from(
        (
            {"max_events": 3}, {"max_bytes": 3000}, {"max_replay_events": 2}, {"max_replay_bytes": 60},
            {"max_absent": 1}, {"max_rooms_left": 1}, {"max_disconnection_seconds": 20},
        )
    ),
)  # fmt: skip
@example(
    actions=[
        ("emit", (), (), None), ("direct", 0), ("direct", 0), ("direct", 0), ("drop", 0), ("ask", 0), ("join", 0, "a"),
    ],
    limits={"max_events": 3},
)  # fmt: skip
@settings(max_examples=400)
def test_within_the_limits_or_anew(actions: list[tuple[Any, ...]], limits: dict[str, int]) -> None:
    model = Forgetful(limits)
    for action in actions:
        model.act(action)
    model.finish()
    model.check()


def test_a_stay_knows_where_it_was(kit: EngineKit, person: Person) -> None:
    socket = person.socket
    stay = socket._stay
    assert isinstance(stay, Stay)
    kit.io.emit("e", 1)
    socket.join("a")
    kit.io.emit("e", 2)
    socket.leave("a")
    kit.io.emit("e", 3)
    assert [stay.was_in("a", number, stay.past()) for number in (1, 2, 3)] == [False, True, False]
    socket.join("a")
    socket.leave("a")  # nothing was said in between
    assert len(stay._left or ()) == 1


# ------------------------------------------------------------------------------ in namespaces that a pattern has made


def test_a_namespace_stays_while_somebody_may_come_back(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{id}")
    person = Person(kit, "/room-a")
    id_ = person.connect().id
    person.socket.join("vip")
    rooms.emit("e", 1)
    person.read()
    person.drop()
    assert list(rooms.children) == ["/room-a"]
    rooms.emit("e", 2)
    rooms.to("vip").emit("e", 3)
    kit.io.of("/room-a").emit("e", 4)
    rooms.to("vip").sockets_join("late")
    socket = person.connect()
    assert person.recovered
    assert socket.id == id_
    assert socket.namespace.params == {"id": "a"}
    assert socket.rooms == {id_, "vip", "late"}
    assert person.numbers == [1, 2, 3, 4]


@pytest.mark.parametrize("how", ["time", "server", "reset"])
def test_it_goes_when_nobody_can_come_back(kit: EngineKit, how: str) -> None:
    rooms = kit.io.of("/room-{id}")
    people = [Person(kit, "/room-a") for _ in range(2)]
    for person in people:
        person.connect()
        person.drop()
    assert list(rooms.children) == ["/room-a"]
    if how == "time":
        kit.advance(121)
    elif how == "server":
        rooms.disconnect_sockets()
    else:
        kit.hub.reset()
    assert rooms.children == {}
    assert "/room-a" not in kit.hub.namespaces
    assert kit.hub._children == 0
    people[0].connect()
    assert not people[0].recovered
    assert list(rooms.children) == ["/room-a"]
