"""The end of a WebSocket whose client reads slowly: what waits for it is written, but not for ever."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from madang.errors import Reason
from madang.faces import link as module
from madang.faces.link import Volley, WebSocketLink
from madang.packet import Encoded
from madang.rfc import ws
from madang.testing import EngineKit

BYTES = 3_000_000


async def pair() -> tuple[WebSocketLink, socket.socket]:
    """A link, and the client's end of its connection."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
    loop = asyncio.get_running_loop()
    engine = EngineKit().engine
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
    made = WebSocketLink(transport, loop, Volley(loop.call_soon), engine, None, set(), lambda: None)
    transport.set_protocol(made)
    return made, theirs


@pytest.fixture
async def link_and_client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[WebSocketLink, socket.socket]]:
    monkeypatch.setattr(module, "_CLOSE_TIMEOUT_SECONDS", 0.1)
    made, client = await pair()
    yield made, client
    if made._reader is not module._OVER:  # else it is gone already
        made._transport.abort()
    client.close()
    await asyncio.sleep(0.01)


async def read_all(client: socket.socket) -> bytes:
    """Read until the connection ends."""
    loop = asyncio.get_running_loop()
    parts = []
    try:
        while part := await asyncio.wait_for(loop.sock_recv(client, 1_000_000), 5):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


Pair = tuple[WebSocketLink, socket.socket]


@pytest.mark.parametrize("pause", [0.0, 0.4])
async def test_all_that_waits_is_written_however_long_it_takes(link_and_client: Pair, pause: float) -> None:
    link, client = link_and_client
    link.write(Encoded((b"x" * BYTES,)))
    link.close(1000, "over")
    await asyncio.sleep(pause)  # longer than the time for the close frame
    loop = asyncio.get_running_loop()
    began = loop.time()
    data = await read_all(client)
    assert data == ws.binary_frame(b"x" * BYTES) + ws.frame(ws.CLOSE, ws.close_payload(1000, "over"))
    assert loop.time() - began >= 0.09, "the client had its time to answer after the last byte"


async def test_it_is_cut_in_the_end(link_and_client: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLOSE_FLUSH_SECONDS", 0.3)
    link, client = link_and_client
    link.write(Encoded((b"x" * BYTES,)))
    link.close()
    await asyncio.sleep(0.2)
    assert not link._transport.is_closing()
    await asyncio.sleep(0.3)
    assert link._transport.is_closing()
    assert len(await read_all(client)) < BYTES


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1002, "a rule"), (1000, Reason.SLOW_CONSUMER), (1000, Reason.PING_TIMEOUT), (1000, Reason.SHUTTING_DOWN)],
)
async def test_who_gets_no_more_time(link_and_client: Pair, code: int, reason: str) -> None:
    link, client = link_and_client
    link.write(Encoded((b"x" * BYTES,)))
    link.close(code, reason)
    await asyncio.sleep(0.25)
    assert link._transport.is_closing()
    assert len(await read_all(client)) < BYTES


async def test_without_anything_that_waits(link_and_client: Pair) -> None:
    link, client = link_and_client
    link.close(1001)
    assert await read_all(client) == ws.frame(ws.CLOSE, ws.close_payload(1001, ""))
    assert link._transport.is_closing()


GOOD_BYE = ws.frame_masked(ws.CLOSE, ws.close_payload(1000), key=b"1234")


async def test_a_client_says_good_bye(link_and_client: Pair) -> None:
    link, client = link_and_client
    client.sendall(GOOD_BYE)
    assert await read_all(client) == ws.frame(ws.CLOSE, ws.close_payload(1000))
    assert link._timer is None, "nothing is left to wait for"


async def test_a_client_says_good_bye_and_reads_the_rest(link_and_client: Pair) -> None:
    link, client = link_and_client
    link.write(Encoded((b"x" * BYTES,)))
    client.sendall(GOOD_BYE)
    await asyncio.sleep(0.2)
    assert len(await read_all(client)) == len(ws.binary_frame(b"x" * BYTES) + ws.frame(ws.CLOSE, b"\x03\xe8"))


async def test_a_client_that_says_good_bye_and_reads_nothing_is_cut(
    link_and_client: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CLOSE_FLUSH_SECONDS", 0.3)
    link, client = link_and_client
    link.write(Encoded((b"x" * BYTES,)))
    client.sendall(GOOD_BYE)
    await asyncio.sleep(0.6)
    assert len(await read_all(client)) < BYTES
