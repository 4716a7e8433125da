"""Links that have something to send at the end of a turn: one after the other, joined, and never out of order.

All of it by transports, and by the native piece that sends past them.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from madang.faces.link import SendMany, Volley, WebSocketLink
from madang.packet import Encoded, Frame
from madang.rfc import ws
from madang.testing import EngineKit
from madang.transports import Duplex
from support.native import native

PER_TURN = 2


class Owner:
    """Whom a link belongs to: it answers what comes with the same."""

    def __init__(self, link: Duplex) -> None:
        self.link = link
        self.full = False
        self.ended = False
        link.bind(self)

    def receive(self, frame: Frame) -> None:
        self.link.write(Encoded((frame,)))

    def fail(self, error: Exception, reason: str) -> None: ...

    def pause(self) -> None:
        self.full = True

    def resume(self) -> None:
        self.full = False

    def lost(self, duplex: Duplex, reason: str) -> None:
        self.ended = True


class House:
    """Links on connections of TCP, whose volley waits for the test to end the turn."""

    def __init__(self, send_many: SendMany | None) -> None:
        self.soon: list[Callable[[], None]] = []
        self.volley = Volley(lambda call: self.soon.append(call), PER_TURN, send_many)
        self.links: list[WebSocketLink] = []
        self.owners: list[Owner] = []
        self.clients: list[socket.socket] = []

    async def open(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(count):
                client = socket.create_connection(listener.getsockname())
                client.setblocking(False)
                transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, listener.accept()[0])
                link = WebSocketLink(transport, loop, self.volley, EngineKit().engine, None, set(), lambda: None)
                transport.set_protocol(link)
                self.links.append(link)
                self.owners.append(Owner(link))
                self.clients.append(client)

    def broadcast(self, text: str) -> None:
        encoded = Encoded((text,))
        for link in self.links:
            link.write(encoded)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for one in soon:
            one()

    def arrived(self) -> list[str]:
        """What each client has got by now, as texts."""
        return [texts(received(client)) for client in self.clients]


def received(client: socket.socket) -> bytes:
    try:
        return client.recv(1_000_000)
    except BlockingIOError:
        return b""


def texts(data: bytes) -> str:
    """The messages in some frames, with spaces between them."""
    messages, position = [], 0
    while position < len(data):  # these are short and not masked
        end = position + 2 + data[position + 1]
        messages.append(data[position + 2 : end].decode())
        position = end
    return " ".join(messages)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(params=["transports", "native"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    made = House(native().send_many if request.param == "native" else None)
    yield made
    for link, client in zip(made.links, made.clients, strict=True):
        link._transport.abort()
        client.close()
    await asyncio.sleep(0.01)


async def test_many_are_written_to_in_several_turns(house: House) -> None:
    await house.open(5)
    house.broadcast("a")
    assert house.arrived() == [""] * 5
    house.turn()
    assert house.arrived() == ["a", "a", "", "", ""]
    house.broadcast("b")
    house.turn()
    # The first two have their next one behind the others; those who still waited have both, in order.
    assert house.arrived() == ["", "", "a b", "a b", ""]
    house.turn()
    assert house.arrived() == ["b", "", "", "", "a b"]
    house.turn()
    assert house.arrived() == ["", "b", "", "", ""]
    assert house.soon == []


async def test_what_is_too_large_to_wait_takes_nobodys_turn(house: House) -> None:
    await house.open(4)
    house.broadcast("x" * 70_000)
    assert all(received(client) for client in house.clients)
    assert house.soon == []
    house.broadcast("a")
    house.turn()
    assert [bool(received(client)) for client in house.clients] == [True, True, False, False]


async def test_several_broadcasts_and_what_only_some_are_told(house: House) -> None:
    await house.open(4)
    house.broadcast("a")
    house.links[1].write(Encoded(("alone",)))
    house.broadcast("b")
    house.broadcast("c")
    house.links[3].write(Encoded(("last",)))
    while house.soon:
        house.turn()
    assert house.arrived() == ["a b c", "a alone b c", "a b c", "a b c last"]


async def test_an_answer_to_who_still_waits_stands_behind_what_it_waits_for(house: House) -> None:
    await house.open(3)
    house.broadcast("a")
    house.clients[2].send(ws.frame_masked(ws.TEXT, b"?", key=b"1234"))
    got: list[str] = []

    def answered() -> bool:
        got.append(texts(received(house.clients[2])))
        return got[-1] != ""

    await until(answered)
    assert got[-1] == "a ?", "both, while no turn has ended"
    while house.soon:
        house.turn()
    assert house.arrived() == ["a", "a", ""]


async def test_who_goes_while_it_waits(house: House) -> None:
    await house.open(6)
    house.broadcast("a")
    house.links[2].close(1000)
    house.clients[3].close()
    await until(lambda: house.owners[3].ended)
    house.links[4]._transport.abort()
    await until(lambda: house.owners[4].ended)
    assert received(house.clients[2]) == ws.text_frame("a") + ws.frame(ws.CLOSE, ws.close_payload(1000, ""))
    while house.soon:
        house.turn()
    assert texts(received(house.clients[0])) == texts(received(house.clients[5])) == "a"
    house.broadcast("b")
    while house.soon:
        house.turn()
    assert texts(received(house.clients[0])) == "b"
    assert received(house.clients[4]) == b""


async def test_a_client_that_does_not_read_holds_up_no_other(house: House) -> None:
    await house.open(3)
    full = house.links[1]
    large = Encoded(("x" * 50_000,))
    sent = 0
    while not house.owners[1].full:
        full.write(large)
        sent += 1
        house.turn()
    assert not house.owners[0].full
    house.broadcast("a")
    full.write(Encoded(("b",)))
    while house.soon:
        house.turn()
    assert [texts(received(house.clients[one])) for one in (0, 2)] == ["a", "a"]
    whole = ws.text_frame("x" * 50_000) * sent + ws.text_frame("a") + ws.text_frame("b")
    got = bytearray()

    def all_read() -> bool:
        got.extend(received(house.clients[1]))
        return len(got) >= len(whole)

    await until(all_read)
    assert bytes(got) == whole
    assert not house.owners[1].full


async def test_what_a_transport_keeps_goes_first(house: House) -> None:
    await house.open(2)
    slow, client = house.links[0], house.clients[0]
    while not house.owners[0].full:
        slow.write(Encoded(("x" * 1_000_000,)))
        house.turn()
    while house.owners[0].full:  # until little of it is left
        received(client)
        await asyncio.sleep(0)
    left = slow._transport.get_write_buffer_size()
    house.broadcast("a")
    house.broadcast("b")
    while house.soon:
        house.turn()
    assert texts(received(house.clients[1])) == "a b"
    ends = ws.text_frame("a") + ws.text_frame("b")
    got = bytearray()

    def all_read() -> bool:
        got.extend(received(client))
        return got.endswith(ends)

    await until(all_read)
    assert len(got) >= left + len(ends)
    assert got.count(ends) == 1


async def test_many_that_can_not_take_all(house: House) -> None:
    await house.open(2)
    text = "x" * 10_000_000
    house.broadcast(text)
    house.broadcast("a")
    while house.soon:
        house.turn()
    assert [owner.full for owner in house.owners] == [True, True]
    whole = ws.text_frame(text) + ws.text_frame("a")
    got = [bytearray(), bytearray()]

    def all_read() -> bool:
        for one, client in zip(got, house.clients, strict=True):
            one.extend(received(client))
        return all(len(one) >= len(whole) for one in got)

    await until(all_read)
    assert got == [whole, whole]


async def test_a_client_that_has_gone_unnoticed(house: House) -> None:
    await house.open(2)
    gone = house.clients[1]
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()  # with a reset
    house.broadcast("a")  # before the event loop has seen it
    house.turn()
    assert texts(received(house.clients[0])) == "a"
    await until(lambda: house.owners[1].ended)
    house.broadcast("b")
    house.turn()
    assert texts(received(house.clients[0])) == "b"


async def test_a_broadcast_is_compressed_once_for_each_window(house: House) -> None:
    await house.open(3)
    for link, bits in zip(house.links, (15, 15, 9), strict=True):
        link._deflater = ws.Deflater(bits, context_takeover=False)
        link._plain = False
    packet = Encoded(("x" * 5_000,))
    for link in house.links:
        link.write(packet)
    first, second, third = (link._waiting for link in house.links)
    assert first is second, "the same bytes, not just equal ones"
    assert third is not first
    while house.soon:
        house.turn()
    for client, sent in zip(house.clients, (first, second, third), strict=True):
        assert received(client) == sent


class Refusing(asyncio.Transport):
    """A transport with a fault."""

    def __init__(self) -> None:
        super().__init__({"socket": None})

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise ZeroDivisionError

    def abort(self) -> None: ...


async def test_a_transport_with_a_fault_holds_up_no_other(house: House) -> None:
    house.volley._per_turn = None
    await house.open(3)
    whole, house.links[1]._transport = house.links[1]._transport, Refusing()
    house.broadcast("a")
    with pytest.raises(ZeroDivisionError):
        house.turn()
    while house.soon:
        house.turn()
    house.links[1]._transport = whole
    assert house.arrived() == ["a", "", "a"]
    house.broadcast("b")
    house.turn()
    assert house.arrived() == ["b", "b", "b"]
