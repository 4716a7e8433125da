"""Namespaces that are made when the first client asks for them."""

import asyncio
import gc
import re
from collections.abc import Mapping
from typing import Any

import pytest

from madang import ConnectionRefused, LocalProtocolError, Namespace, Server, Socket
from madang.testing import EngineKit, Waiting

INVALID = '{"message":"Invalid namespace"}'


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def kit() -> EngineKit:
    return EngineKit()


def ask(kit: EngineKit, name: str, auth: str = "") -> str:
    """What a new client is told that asks for this namespace."""
    client = kit.websocket()
    client.say(f"40{name},{auth}")
    [answer] = client.heard()
    assert isinstance(answer, str)
    assert not kit.violations
    return answer


def test_a_child_is_made_by_its_first_client(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{id:int}")
    entered = []

    @rooms.on("connection")
    def enter(socket: Socket) -> None:
        entered.append((socket.namespace.name, socket.namespace.params["id"]))

    assert rooms.children == {}
    one, two, three = (kit.websocket().join(name) for name in ("/room-1", "/room-2", "/room-1"))
    assert entered == [("/room-1", 1), ("/room-2", 2), ("/room-1", 1)]
    assert one.namespace is three.namespace is kit.io.of("/room-1") is rooms.children["/room-1"]
    assert one.namespace is not two.namespace
    assert one.namespace.parent is rooms
    assert set(rooms.sockets.values()) == {one, two, three}
    assert set(one.namespace.sockets.values()) == {one, three}
    assert kit.io.of("room-{id:int}") is rooms
    assert ask(kit, "/room-x") == f"44/room-x,{INVALID}"
    assert ask(kit, "/room-01") == f"44/room-01,{INVALID}"
    assert rooms.params == kit.io.of("/").params == {}
    assert rooms.parent is None
    assert kit.io.of("/").children == {}


def test_handlers_registered_later_hold_for_all(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{id}")
    client = kit.websocket()
    socket = client.join("/room-a")
    rooms.on("late", lambda socket: "heard")
    client.say('42/room-a,1["late"]')
    assert client.heard() == ['43/room-a,1["heard"]']
    socket.namespace.on("later", lambda socket: socket.namespace.params["id"])  # on one of the children
    other = kit.websocket()
    other.join("/room-b")
    other.say('42/room-b,2["later"]')
    assert other.heard() == ['43/room-b,2["b"]']


async def test_middleware() -> None:
    kit = EngineKit()
    rooms = kit.io.of("/room-{id}")

    @rooms.use
    async def members_only(socket: Socket) -> None:
        await asyncio.sleep(0)
        if socket.handshake.auth.get("key") != socket.namespace.params["id"]:
            raise ConnectionRefused("no")

    wrong, right = kit.websocket(), kit.websocket()
    wrong.say('40/room-a,{"key":"b"}')
    right.say('40/room-a,{"key":"a"}')
    assert list(rooms.children) == ["/room-a"]
    await turns()
    assert wrong.heard() == ['44/room-a,{"message":"no"}']
    [accepted] = right.heard()
    assert str(accepted).startswith("40/room-a,")
    assert list(rooms.children) == ["/room-a"]


async def test_who_waits_for_the_middleware_while_all_others_leave() -> None:
    kit = EngineKit()
    rooms = kit.io.of("/room-{id}")
    may_go_on = asyncio.Event()

    @rooms.use
    async def wait(socket: Socket) -> None:
        if socket.handshake.auth.get("slow"):
            await may_go_on.wait()

    slow, quick = kit.websocket(), kit.websocket()
    slow.say('40/room-a,{"slow":true}')
    socket = quick.join("/room-a")
    quick.say("41/room-a,")
    assert rooms.children == {}
    may_go_on.set()
    await turns()
    assert str(slow.heard()[0]).startswith("40/room-a,")
    assert rooms.children == {"/room-a": socket.namespace} == {"/room-a": kit.io.of("/room-a")}
    assert len(socket.namespace.sockets) == 1


# ---- talking ----


def test_what_is_emitted_to_the_parent_reaches_all_children(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{id}")
    clients = [kit.websocket() for _ in range(4)]
    sockets = [client.join(name) for client, name in zip(clients, ("/room-a", "/room-a", "/room-b", "/"), strict=True)]
    rooms.emit("news", 1)
    assert [client.heard() for client in clients] == [
        ['42/room-a,["news",1]'], ['42/room-a,["news",1]'], ['42/room-b,["news",1]'], [],
    ]  # fmt: skip
    sockets[1].join("vip")
    sockets[2].join("vip")
    sockets[3].join("vip")
    rooms.to("vip").emit("secret")
    assert [client.heard() for client in clients] == [[], ['42/room-a,["secret"]'], ['42/room-b,["secret"]'], []]
    rooms.except_("vip").emit("open")
    assert [client.heard() for client in clients] == [['42/room-a,["open"]'], [], [], []]
    sockets[0].broadcast.emit("hi")  # a socket talks to its own namespace
    assert [client.heard() for client in clients] == [[], ['42/room-a,["hi"]'], [], []]
    assert {room: set(members) for room, members in rooms.rooms.items()} == {"vip": {sockets[1], sockets[2]}}


def test_asking_all_children(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{id}")
    clients = {name: kit.websocket() for name in ("/room-a", "/room-b")}
    sockets = [client.join(name) for name, client in clients.items()]
    own = Waiting(sockets[0].call("own"))
    waiting = Waiting(rooms.call("ask"))
    again = Waiting(sockets[1].namespace.call("again"))
    assert clients["/room-a"].heard() == ['42/room-a,1["own"]', '42/room-a,2["ask"]']
    assert clients["/room-b"].heard() == ['42/room-b,2["ask"]', '42/room-b,3["again"]']
    clients["/room-a"].say('43/room-a,2["a"]', "43/room-a,1[1]")
    clients["/room-b"].say('43/room-b,3["b2"]')
    assert not waiting.done
    clients["/room-b"].say('43/room-b,2["b"]')
    assert (own.result, waiting.result, again.result) == (1, ["a", "b"], ["b2"])
    assert Waiting(kit.io.of("/empty-{x}").call("ask")).result == []


def test_done_to_all_children(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{id}")
    sockets = [kit.websocket().join(name) for name in ("/room-a", "/room-b", "/")]
    rooms.sockets_join("x")
    assert ["x" in socket.rooms for socket in sockets] == [True, True, False]
    assert {one.id for one in Waiting(rooms.fetch_sockets()).result} == {socket.id for socket in sockets[:2]}
    rooms.in_("x").disconnect_sockets()
    assert [socket.connected for socket in sockets] == [False, False, True]
    assert rooms.children == {}


def test_catch_all_listeners(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{id}")
    client = kit.websocket()
    socket = client.join("/room-a")
    told: list[str] = []

    def hear(socket: Socket, event: str) -> None:
        told.append(f"{socket.namespace.name} {event}")

    rooms.on_any_outgoing(hear)
    rooms.emit("one")
    socket.emit("two")
    kit.websocket().join("/room-b").emit("three")
    assert told == ["/room-a one", "/room-a two", "/room-b three"]
    told.clear()
    socket.namespace.off_any_outgoing(hear)
    rooms.emit("four")
    assert told == []
    socket.on_any_outgoing(hear)
    rooms.emit("five")
    assert told == ["/room-a five"]
    socket.disconnect()
    assert rooms._eavesdroppers == kit.io.of("/room-a")._eavesdroppers == 0


def test_rooms_are_told(kit: EngineKit) -> None:
    told = []
    kit.io.of("/room-{id}").room_event("create", lambda socket, room: told.append((socket.namespace.name, room)))
    for name in ("/room-a", "/room-b"):
        kit.websocket().join(name).join("x")
    assert told == [("/room-a", "x"), ("/room-b", "x")]


# ---- which one ----


def test_names_go_before_patterns_and_patterns_in_their_order(kit: EngineKit) -> None:
    first = kit.io.of(re.compile(r"/room-[0-9]+"))
    second = kit.io.of("/room-{id}")
    static = kit.io.of("/room-fixed-7")
    assert static.parent is second, "a name that a pattern takes is the pattern's"
    kit = EngineKit()
    static = kit.io.of("/room-7")
    first, second = kit.io.of(re.compile(r"/room-[0-9]+")), kit.io.of("/room-{id}")
    assert kit.websocket().join("/room-7").namespace is static
    assert kit.websocket().join("/room-8").namespace.parent is first
    assert kit.websocket().join("/room-x").namespace.parent is second
    assert kit.io.of(re.compile(r"/room-[0-9]+")) is first


async def test_predicates() -> None:
    kit = EngineKit()
    asked: list[tuple[str, dict[str, Any]]] = []

    def plain(name: str, auth: dict[str, Any]) -> bool:
        asked.append((name, auth))
        return name == "/plain"

    async def later(name: str, auth: dict[str, Any]) -> Mapping[str, Any] | bool:
        await asyncio.sleep(0)
        return {"user": auth["user"]} if auth.get("user") else False

    by_plain, by_later = kit.io.of(plain), kit.io.of(later)
    by_template = kit.io.of("/t-{id}")
    assert kit.io.of(plain) is by_plain
    assert kit.websocket().join("/plain").namespace.parent is by_plain
    assert asked == [("/plain", {})]

    client = kit.websocket()
    client.say('40/other,{"user":"ada"}')
    assert client.heard() == []
    await turns()
    assert str(client.heard()[0]).startswith("40/other,")
    [child] = by_later.children.values()
    assert (child.name, child.params) == ("/other", {"user": "ada"})

    for name, expected in (("/t-1", "40/t-1,"), ("/none", f"44/none,{INVALID}")):
        client = kit.websocket()
        client.say(f"40{name},")
        await turns()
        assert str(client.heard()[0]).startswith(expected)
    assert list(by_template.children) == ["/t-1"]
    assert not kit.violations


async def test_one_that_a_predicate_has_made_is_found_again_while_it_rests() -> None:
    kit = EngineKit()
    plans = ["free", "paid"]
    tenants = kit.io.of(lambda name, auth: {"plan": plans.pop(0)})
    client = kit.websocket()
    child = client.join("/courtyard").namespace
    assert child.params == {"plan": "free"}
    client.say("41/courtyard,")
    assert not tenants.children
    assert kit.io.of("/courtyard") is child
    socket = kit.websocket().join("/courtyard")
    assert socket.namespace is child
    assert child.params == {"plan": "paid"}, "what the predicate has said last"
    assert child.parent is tenants


async def test_two_ask_for_the_same_name_at_once() -> None:
    kit = EngineKit()
    told: list[str] = []
    kit.io.on_new_namespace(lambda namespace: told.append(namespace.name))

    async def later(name: str, auth: dict[str, Any]) -> bool:
        await asyncio.sleep(0)
        return True

    parent = kit.io.of(later)
    clients = [kit.websocket() for _ in range(3)]
    for client in clients:
        client.say("40/same,")
    await turns()
    assert all(str(client.heard()[0]).startswith("40/same,") for client in clients)
    assert told == ["/same"]
    assert len(parent.children["/same"].sockets) == 3


async def test_who_goes_while_the_predicate_waits() -> None:
    kit = EngineKit()

    async def later(name: str, auth: dict[str, Any]) -> bool:
        await asyncio.sleep(0)
        return True

    parent = kit.io.of(later)
    client = kit.websocket()
    client.say("40/gone,")
    client.duplex.lose()
    await turns()
    assert parent.children == {}
    early = kit.websocket()
    early.say("40/early,", '42/early,["too early"]')
    assert early.duplex.closed is not None
    await turns()
    assert parent.children == {}


async def test_predicates_that_fail_or_refuse(caplog: pytest.LogCaptureFixture) -> None:
    kit = EngineKit()

    def failing(name: str, auth: dict[str, Any]) -> bool:
        if name == "/refused":
            raise ConnectionRefused("members only", {"code": 7})
        return auth["missing"]

    kit.io.of(failing)
    kit.io.of("/{anything}")
    assert ask(kit, "/a") == '44/a,{"message":"Internal server error"}'
    assert ask(kit, "/refused") == '44/refused,{"message":"members only","data":{"code":7}}'
    assert "a predicate of namespaces failed for '/a'; the client is refused" in caplog.text
    assert "members only" not in caplog.text


# ---- what strangers ask for ----


@pytest.mark.parametrize("name", ["/" + "x" * 200, "/a\nb", "/a\x00", "/a\u2028b", "/a\x1b[31m", "/a\u200bb"])
async def test_hostile_names_reach_no_pattern(name: str) -> None:
    kit = EngineKit()
    asked = []
    kit.io.of(lambda name, auth: asked.append(name) or True)
    kit.io.of("/{anything}")
    assert ask(kit, name) == f"44{name},{INVALID}"
    assert asked == []


def test_a_limit_for_all_children_of_all_patterns() -> None:
    kit = EngineKit(max_dynamic_namespaces=2)
    kit.io.of("/a-{id}")
    kit.io.of("/b-{id}")
    one, two = kit.websocket(), kit.websocket()
    one.join("/a-1")
    two.join("/b-1")
    assert ask(kit, "/a-2") == '44/a-2,{"message":"Too many namespaces"}'
    assert [refusal.detail for refusal in kit.refusals] == ["namespace '/a-2': max_dynamic_namespaces is 2"]
    kit.websocket().join("/a-1")
    two.say("41/b-1,")
    kit.websocket().join("/a-2")


def test_who_walks_through_names_leaves_nothing(kit: EngineKit) -> None:
    kit.io.of("/{id}")
    client = kit.websocket()
    for number in range(500):
        client.join(f"/{number}")
        client.say(f"41/{number},")
    assert set(kit.hub.namespaces) == set(kit.hub.shapes) == {"/"}
    assert len(client.session.sockets) <= kit.io.config.max_namespaces_per_client
    gc.collect()
    assert len(kit.hub._resting) == 0


def test_empty_ones_may_be_kept() -> None:
    kit = EngineKit(clean_up_empty_namespaces=False)
    rooms = kit.io.of("/room-{id}")
    kit.websocket().join("/room-a").disconnect()
    assert list(rooms.children) == ["/room-a"]
    assert "/room-a" in kit.hub.namespaces


def test_whoever_holds_an_empty_one_talks_to_those_who_come_later(kit: EngineKit) -> None:
    kit.io.of("/room-{id}")
    held = kit.io.of("/room-a")
    assert held.params == {"id": "a"}
    assert "/room-a" not in kit.hub.namespaces
    held.emit("nobody there")
    client = kit.websocket()
    for _ in range(3):
        socket = client.join("/room-a")
        client.heard()
        assert socket.namespace is held
        held.emit("e")
        assert client.heard() == ['42/room-a,["e"]']
        client.say("41/room-a,")
        gc.collect()


# ---- and the rest ----


def test_new_namespaces_are_told(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    @kit.io.on_new_namespace
    def fail(namespace: Namespace) -> None:
        raise ValueError("no")

    kit.io.on_new_namespace(lambda namespace: told.append(namespace.name))
    kit.io.of("/static")
    kit.io.of("/static")
    kit.io.of("/room-{id}")
    kit.io.of("/room-a")
    kit.io.register(Namespace("/registered"))
    assert told == ["/static", "/registered"]
    client = kit.websocket()
    client.join("/room-a")
    kit.websocket().join("/room-a")
    assert told[2:] == ["/room-a"]
    assert "a function of on_new_namespace failed" in caplog.text

    async def later(namespace: Namespace) -> None: ...

    with pytest.raises(LocalProtocolError, match="takes a plain function"):
        kit.io.on_new_namespace(later)


def test_as_a_class(kit: EngineKit) -> None:
    class Room(Namespace):
        def on_connection(self, socket: Socket) -> None:
            socket.namespace.emit("entered", socket.namespace.params["id"])

    kit.io.register(Room("/room-{id}"))
    client, other = kit.websocket(), kit.websocket()
    client.say("40/room-a,")
    assert client.heard()[1:] == ['42/room-a,["entered","a"]']
    other.join("/room-b")
    assert client.heard() == []
    with pytest.raises(LocalProtocolError, match=r"there is a namespace for the pattern '/room-\{id\}' already"):
        kit.io.register(Room("/room-{id}"))


def test_on_with_a_template(kit: EngineKit) -> None:
    kit.io.on("e", lambda socket: socket.namespace.params["id"], namespace="/room-{id}")
    client = kit.websocket()
    client.join("/room-a")
    client.say('42/room-a,1["e"]')
    assert client.heard() == ['43/room-a,1["a"]']


async def test_another_life_begins_without_children() -> None:
    io = Server()
    rooms = io.of("/room-{id}")
    kit = EngineKit(io)
    kit.websocket().join("/room-a")
    io.hub.reset()
    assert rooms.children == {}
    assert io.hub._children == 0
    assert set(io.hub.namespaces) == {"/"}


def test_typed_handlers(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{id}")
    got: list[object] = []

    @rooms.on("count")
    def count(socket: Socket, number: int) -> None:
        got.append(number)

    client = kit.websocket()
    client.join("/room-a")
    client.say('42/room-a,["count",5]', '42/room-a,["count","five"]')
    assert got == [5]
