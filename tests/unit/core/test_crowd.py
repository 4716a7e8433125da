"""What can be done to many clients at once: fetched, brought into rooms, taken out of them, sent away."""

from collections.abc import Callable
from typing import Any

import pytest

from madang import LimitError, LocalProtocolError, RemoteSocket
from madang.core.crowd import Crowd
from madang.core.socket import Socket
from madang.testing import EngineKit, LinkClient, Waiting


@pytest.fixture
def kit() -> EngineKit:
    return EngineKit()


@pytest.fixture
def people(kit: EngineKit) -> tuple[list[LinkClient], list[Socket]]:
    """Four clients: 0 and 1 are in "a", 1 and 2 in "b"."""
    clients = [kit.websocket() for _ in range(4)]
    sockets = [client.join() for client in clients]
    sockets[0].join("a")
    sockets[1].join("a", "b")
    sockets[2].join("b")
    return clients, sockets


def choices(kit: EngineKit, sockets: list[Socket]) -> dict[str, tuple[Crowd, set[int]]]:
    io, root = kit.io, kit.io.of("/")
    return {
        "server": (io, {0, 1, 2, 3}),
        "namespace": (root, {0, 1, 2, 3}),
        "room": (io.in_("a"), {0, 1}),
        "two rooms": (root.to("a", "b"), {0, 1, 2}),
        "its own": (io.to(sockets[3].id), {3}),
        "except": (io.except_("b"), {0, 3}),
        "room, except": (io.to("a").except_("b"), {0}),
        "from a socket": (sockets[0].to("a"), {1}),
        "broadcast": (sockets[0].broadcast, {1, 2, 3}),
        "a socket, volatile": (sockets[2].volatile, {2}),
        "local": (io.local, {0, 1, 2, 3}),
        "nobody": (io.to("nowhere"), set()),
    }


@pytest.mark.parametrize("name", choices(EngineKit(), [EngineKit().websocket().join()] * 4))
def test_who_is_meant(kit: EngineKit, people: tuple[list[LinkClient], list[Socket]], name: str) -> None:
    clients, sockets = people
    crowd, expected = choices(kit, sockets)[name]

    fetched: list[RemoteSocket] = Waiting(crowd.fetch_sockets()).result
    assert {sockets.index(one) for one in fetched if isinstance(one, Socket)} == expected
    assert len(fetched) == len(expected)

    crowd.sockets_join("x", "y")
    assert {number for number, socket in enumerate(sockets) if {"x", "y"} <= socket.rooms} == expected
    kit.io.in_("x", "y").sockets_leave("x", "never")
    assert {number for number, socket in enumerate(sockets) if "y" in socket.rooms} == expected
    assert not any("x" in socket.rooms for socket in sockets)

    for client in clients:
        client.heard()
    crowd.disconnect_sockets()
    assert {number for number, socket in enumerate(sockets) if not socket.connected} == expected
    assert {number for number, client in enumerate(clients) if client.heard() == ["41"]} == expected
    assert not any(client.duplex.closed for client in clients)


def test_what_is_fetched_can_be_used(kit: EngineKit, people: tuple[list[LinkClient], list[Socket]]) -> None:
    clients, sockets = people
    sockets[0].data["name"] = "Ada"
    [one] = [one for one in Waiting(kit.io.in_("a").fetch_sockets()).result if one.data.get("name") == "Ada"]
    assert one.id == sockets[0].id
    assert one.rooms == {one.id, "a"}
    assert one.handshake.query["EIO"] == "4"
    clients[0].heard()
    one.emit("hello", 1)
    assert clients[0].heard() == ['42["hello",1]']
    one.join("c")
    one.leave("a")
    assert sockets[0].rooms == {one.id, "c"}
    one.disconnect()
    assert not sockets[0].connected


def test_disconnecting_the_whole_connections(kit: EngineKit) -> None:
    kit.io.of("/chat")
    clients = [kit.websocket() for _ in range(3)]
    sockets = [(client.join(), client.join("/chat")) for client in clients]
    sockets[0][0].join("banned")
    sockets[1][0].join("banned")
    kit.io.in_("banned").disconnect_sockets(close=True)
    assert [chat.connected for _, chat in sockets] == [False, False, True]
    assert [client.duplex.closed is not None for client in clients] == [True, True, False]


def test_handlers_that_change_the_crowd(kit: EngineKit, people: tuple[list[LinkClient], list[Socket]]) -> None:
    _, sockets = people

    @kit.io.on("disconnect")
    def take_the_others_along(socket: Socket, reason: str) -> None:
        kit.io.disconnect_sockets()

    kit.io.in_("a").disconnect_sockets()
    assert not any(socket.connected for socket in sockets)
    assert not kit.io.sockets


def test_a_socket_that_is_in_too_many_rooms() -> None:
    kit = EngineKit(max_rooms_per_socket=2)
    sockets = [kit.websocket().join() for _ in range(3)]
    sockets[1].join("a", "b")
    with pytest.raises(LimitError, match=sockets[1].id):
        kit.io.sockets_join("late")
    assert [("late" in socket.rooms) for socket in sockets] == [True, False, True]


@pytest.mark.parametrize("use", ["sockets_join", "sockets_leave"])
def test_names_of_rooms(kit: EngineKit, use: str) -> None:
    call: Callable[..., Any] = getattr(kit.io, use)
    with pytest.raises(LocalProtocolError, match="a room's name must be a string, not 7"):
        call("fine", 7)


def test_a_socket_itself_is_no_crowd(kit: EngineKit) -> None:
    """As in the reference: what is done to one is `join`, `leave` and `disconnect`."""
    socket = kit.websocket().join()
    assert not isinstance(socket, Crowd)
    assert isinstance(socket.broadcast, Crowd)
