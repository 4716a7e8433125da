"""Links of the old drafts on both event loops: what is joined, kept for others, and said at the end."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from madang.errors import RemoteProtocolError
from madang.faces.link import HixieLink, Volley
from madang.packet import Encoded, Frame
from madang.testing import EngineKit
from madang.transports import Duplex


class Owner:
    """Whom the link belongs to."""

    def __init__(self, duplex: Duplex) -> None:
        self.duplex = duplex
        self.got: list[Frame] = []
        self.errors: list[RemoteProtocolError] = []
        self.ended: list[str] = []
        duplex.bind(self)

    def receive(self, frame: Frame) -> None:
        self.got.append(frame)
        if frame == "twice":
            self.duplex.write(Encoded(("one",)))
            self.duplex.write(Encoded(("two",)))

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        self.errors.append(error)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def lost(self, duplex: Duplex, reason: str) -> None:
        self.ended.append(reason)


Three = tuple[HixieLink, Owner, socket.socket]


@pytest.fixture
async def three() -> AsyncIterator[Three]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
    link = HixieLink(
        transport, loop, Volley(loop.call_soon), EngineKit(max_payload_bytes=100).engine, set(), lambda: None
    )
    transport.set_protocol(link)
    yield link, Owner(link), theirs
    transport.abort()
    theirs.close()
    await asyncio.sleep(0.01)


async def read(client: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1000), 10)


async def test_answers_to_what_came_are_joined(three: Three) -> None:
    _, owner, client = three
    client.send(b"\x00twice\xff\x00twice\xff")
    assert await read(client) == b"\x00one\xff\x00two\xff" * 2
    assert owner.got == ["twice", "twice"]


async def test_bytes_are_framed_once_for_all_such_links(three: Three) -> None:
    link, _, client = three
    encoded = Encoded(("마당", "bAA=="))
    encoded.link_bytes = b"of another kind of link"
    link.write(encoded)
    data = "\x00마당".encode() + b"\xff\x00bAA==\xff"
    assert await read(client) == data
    link.write(encoded)
    assert await read(client) == data
    assert encoded.link_bytes == b"of another kind of link"


async def test_our_good_bye_and_theirs(three: Three) -> None:
    link, owner, client = three
    link.write(Encoded(("last",)))
    link.close(1000, "over")
    link.write(Encoded(("too late",)))
    assert await read(client) == b"\x00last\xff\xff\x00"
    client.send(b"\xff\x00")
    assert await read(client) == b""
    assert owner.ended == []


async def test_their_good_bye_and_ours(three: Three) -> None:
    _, owner, client = three
    client.send(b"\x00hi\xff\xff\x00")
    assert await read(client) == b"\xff\x00"
    assert await read(client) == b""
    assert (owner.got, owner.ended) == (["hi"], ["transport close"])


async def test_a_rule_that_was_broken(three: Three) -> None:
    _, owner, client = three
    client.send(b"\x00" + b"x" * 101)
    assert await read(client) == b"\xff\x00"
    assert [error.close_code for error in owner.errors] == [1009]
