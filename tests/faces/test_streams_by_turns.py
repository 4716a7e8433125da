"""The fast face: streams are written to at the ends of turns, as links are, and many of them in several."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from uvicorn.server import ServerState

import madang
from faces.support.wire import Wire, turns
from madang.faces.connection import HttpProtocol
from madang.faces.uvicorn import make_config

OPEN = b"GET /socket.io/?EIO=4&transport=sse HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def io() -> AsyncIterator[madang.Server]:
    io = madang.Server(transports="all", max_clients_per_turn=2)
    await io.start()
    yield io
    await io.close()


async def members(io: madang.Server, count: int) -> list[Wire]:
    """Clients over streams, in the main namespace, who have read all that they were told."""
    config, state = make_config(io, log_config=None), ServerState()
    config.load()
    protocol = config.http_protocol_class
    assert issubclass(protocol, HttpProtocol)
    wires = [Wire(protocol(config, state, {}, asyncio.get_running_loop())) for _ in range(count)]
    for wire in wires:
        wire.protocol.data_received(OPEN)
    await turns(10)
    for session in io.engine.sessions.values():
        session.receive("40")
    await turns(10)
    for wire in wires:
        assert wire.written.count(b"data:") == 2
        wire.written.clear()
    return wires


async def test_many_are_written_to_in_several_turns(io: madang.Server) -> None:
    wires = await members(io, 5)
    io.emit("a")
    io.emit("b")
    assert [wire.written.count(b"data:") for wire in wires] == [0] * 5
    told = []
    while not told or told[-1] < 5:
        await turns(1)
        told.append(sum(bool(wire.written) for wire in wires))
    assert told == [2, 4, 5]
    for wire in wires:
        assert wire.written.index(b'42["a"]') < wire.written.index(b'42["b"]')
        assert wire.written.count(b"data:") == 2


async def test_what_is_urgent_waits_for_nobody_and_stays_in_order(io: madang.Server) -> None:
    *others, wire = await members(io, 5)
    io.emit("a")
    last = list(io.sockets.values())[-1]
    last.immediate.emit("b")
    assert wire.written.index(b'42["a"]') < wire.written.index(b'42["b"]')
    assert not any(other.written for other in others)
    last.emit("c")
    await turns(5)
    assert [wire.written.count(b'42["%b"]' % name) for name in (b"a", b"b", b"c")] == [1, 1, 1]
    assert all(other.written.count(b'42["a"]') == 1 for other in others)


async def test_who_is_sent_away_while_it_waits_gets_all_before_its_farewell(io: madang.Server) -> None:
    *_, wire = await members(io, 5)
    io.emit("a")
    list(io.sockets.values())[-1].disconnect(close=True)
    assert wire.written.index(b'42["a"]') < wire.written.index(b"data: 1") < wire.written.index(b"\r\n0\r\n\r\n")
    written = bytes(wire.written)
    await turns(5)
    assert wire.written == written


async def test_much_waits_for_no_turn(io: madang.Server) -> None:
    wire, *_ = await members(io, 1)
    io.emit("a", "x" * 40_000)
    assert not wire.written
    io.emit("b", "x" * 40_000)
    assert wire.written.count(b"data:") == 2
