"""The fast face: many connections that come at once, each of which asks for something, and what one costs in writes."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

import madang
from faces.support.http import Connection
from madang.faces.connection import HttpProtocol
from madang.faces.uvicorn import make_config, serve_async

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
HANDSHAKE = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"
#: More than are served in one turn.
MANY = 150


class Wire(asyncio.Transport):
    """A connection without a network: what comes does so when the test says so, and each write is kept."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.protocol: asyncio.Protocol = protocol
        self.writes: list[bytes] = []
        self.closed = self.cut = False
        self.unread = 0
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.cut = True

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def get_write_buffer_size(self) -> int:
        return self.unread

    def come(self, data: bytes) -> None:
        self.protocol.data_received(data)


class Listener:
    """What uvicorn would make connections of."""

    def __init__(self, io: madang.Server) -> None:
        self.config = make_config(io, log_config=None)
        self.config.load()
        self.state = ServerState()

    def connect(self, state: ServerState | None = None) -> Wire:
        protocol_class = self.config.http_protocol_class
        assert issubclass(protocol_class, HttpProtocol)
        return Wire(protocol_class(self.config, state or self.state, {}, asyncio.get_running_loop()))


@pytest.fixture
async def io() -> AsyncIterator[madang.Server]:
    io = madang.Server()
    async with io:
        yield io


async def until_all_are_served(wires: list[Wire]) -> int:
    """Let the event loop turn; gives how often it had to."""
    turns = 0
    while not all(wire.writes for wire in wires):
        turns += 1
        assert turns < MANY
        await asyncio.sleep(0)
    return turns


async def test_the_answer_to_the_handshake_and_the_first_packet_are_one_write(io: madang.Server) -> None:
    wire = Listener(io).connect()
    wire.come(UPGRADE)
    assert len(wire.writes) == 1
    head, _, rest = wire.writes[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert rest[2:10] == b'0{"sid":'


@pytest.mark.parametrize("request_", [UPGRADE, HANDSHAKE], ids=["websocket", "polling"])
async def test_many_at_once_are_served_in_turns_and_in_their_order(io: madang.Server, request_: bytes) -> None:
    listener = Listener(io)
    wires = [listener.connect() for _ in range(MANY)]
    for wire in wires:
        wire.come(request_)
    served = [bool(wire.writes) for wire in wires]
    assert 0 < sum(served) < MANY / 2
    assert served == sorted(served, reverse=True)
    assert await until_all_are_served(wires) > 1
    assert len(io.engine.sessions) == MANY


async def test_nobody_overtakes_those_who_wait(io: madang.Server) -> None:
    listener = Listener(io)
    wires = [listener.connect() for _ in range(MANY)]
    for wire in wires:
        wire.come(HANDSHAKE)
    late = listener.connect()
    await asyncio.sleep(0)
    late.come(HANDSHAKE)
    while not late.writes:
        await asyncio.sleep(0)
    assert all(wire.writes for wire in wires)


async def test_a_request_in_pieces_waits_as_a_whole(io: madang.Server) -> None:
    listener = Listener(io)
    others = [listener.connect() for _ in range(MANY)]
    for other in others:
        other.come(HANDSHAKE)
    wire = listener.connect()
    for start in range(0, len(UPGRADE), 50):
        wire.come(UPGRADE[start : start + 50])
    assert not wire.writes
    await until_all_are_served([*others, wire])
    assert wire.writes[0].startswith(b"HTTP/1.1 101 ")


async def test_who_goes_before_its_turn_gets_no_session(io: madang.Server) -> None:
    listener = Listener(io)
    wires = [listener.connect() for _ in range(MANY)]
    for wire in wires:
        wire.come(UPGRADE)
    wires[-1].closed = True
    wires[-1].protocol.connection_lost(None)
    await until_all_are_served(wires[:-1])
    await asyncio.sleep(0)
    assert not wires[-1].writes
    assert len(io.engine.sessions) == MANY - 1


async def test_who_has_said_all_that_it_will_is_answered_before_its_connection_ends(io: madang.Server) -> None:
    listener = Listener(io)
    wires = [listener.connect() for _ in range(MANY)]
    for wire in wires:
        wire.come(HANDSHAKE)
    assert not wires[-1].writes
    wires[-1].protocol.eof_received()
    assert wires[-1].writes
    await until_all_are_served(wires)
    await asyncio.sleep(0)
    assert len(wires[-1].writes) == 1


async def test_what_waits_is_bounded(io: madang.Server) -> None:
    listener = Listener(io)
    wires = [listener.connect() for _ in range(MANY)]
    for wire in wires:
        wire.come(HANDSHAKE)
    wires[-1].come(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * io.config.max_header_bytes)
    assert wires[-1].writes  # it was looked at, and has got its answers


async def test_a_newcomer_that_had_to_wait_and_fails_is_cut_off(io: madang.Server) -> None:
    listener = Listener(io)
    wires = [listener.connect() for _ in range(MANY)]
    for wire in wires:
        wire.come(HANDSHAKE)
    failing = wires[-2]
    assert not failing.writes

    def fail(data: bytes) -> None:
        raise RuntimeError("as a bug would")

    failing.protocol.data_received = fail  # type: ignore[method-assign]
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    await until_all_are_served([*wires[:-2], wires[-1]])
    assert failing.cut
    assert [str(one["exception"]) for one in told] == ["as a bug would"]


@pytest.mark.parametrize("kind", ["refused", "ended"])
async def test_what_is_closed_and_not_read_is_looked_after(io: madang.Server, kind: str) -> None:
    wire = Listener(io).connect()
    assert isinstance(wire.protocol, HttpProtocol)
    waiting = wire.protocol.ground.waiting
    if kind == "refused":
        wire.come(UPGRADE.replace(b"Version: 13", b"Version: 12"))
        assert wire.closed
    else:
        wire.come(HANDSHAKE)
        sid = json.loads(wire.writes[0].partition(b"\r\n\r\n")[2][1:])["sid"]
        wire.come(HANDSHAKE.replace(b"polling", b"polling&sid=" + sid.encode()))
        assert wire.protocol not in waiting
        wire.protocol.eof_received()
        wire.close()
    assert wire.protocol in waiting
    wire.unread = 100
    now = asyncio.get_running_loop().time()
    wire.protocol.check_time(now)
    assert not wire.cut
    wire.protocol.check_time(now + wire.protocol.ground.patience + 1)
    assert wire.cut
    assert wire.protocol not in waiting


async def test_connections_of_two_servers_keep_apart(io: madang.Server) -> None:
    """uvicorn may serve one configuration twice in an event loop, with another state."""
    listener = Listener(io)
    other = ServerState()
    first, second, third, fourth = (listener.connect(state) for state in (None, other, None, other))
    assert first.protocol in listener.state.connections
    assert third.protocol in listener.state.connections
    assert {second.protocol, fourth.protocol} == other.connections
    for wire in (first, second, third, fourth):
        wire.come(HANDSHAKE)
        assert wire.writes[0].startswith(b"HTTP/1.1 200 ")


async def test_what_another_uvicorn_gives_each_connection_is_shared_by_none(
    io: madang.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_today = HttpToolsProtocol.__init__

    def of_tomorrow(self: HttpToolsProtocol, *args: Any, **kwargs: Any) -> None:
        of_today(self, *args, **kwargs)
        self.notes: list[str] = []  # type: ignore[attr-defined]

    monkeypatch.setattr(HttpToolsProtocol, "__init__", of_tomorrow)
    listener = Listener(io)
    wires = [listener.connect() for _ in range(3)]
    assert len({id(vars(wire.protocol)["notes"]) for wire in wires}) == len(wires)
    for wire in wires:
        wire.come(HANDSHAKE)
        assert wire.writes[0].startswith(b"HTTP/1.1 200 ")


async def test_what_all_connections_have_alike_is_kept_once() -> None:
    async with (
        serve_async(madang.Server(), log_config=None) as port,
        Connection(port),
        Connection(port) as last,
    ):
        await last.ask("GET", "/")
        ours = [
            one
            for one in gc.get_objects()
            if issubclass(type(one), HttpProtocol) and one.client == last.writer.get_extra_info("sockname")
        ]
        assert len(ours) == 1
        assert not vars(ours[0]).keys() & {"app_state", "config", "connections", "loop", "server_state", "tasks"}
