"""The network of the laboratory: delay, order, back-pressure, ends and breaks, for TCP and for UDP."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from madang.apps.laboratory.datagrams import DatagramWire
from madang.apps.laboratory.observer import Totals, Travel
from madang.apps.laboratory.protocol import LaboratoryError, clock_ms
from madang.apps.laboratory.wire import Wire, listen

WITHIN = 20.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Laid:
    """A wire to a server of the test."""

    def __init__(self, wire: Wire, seen: list[Travel]) -> None:
        self.wire = wire
        self.seen = seen

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.wire.port)

    def kinds(self) -> list[str]:
        return [one.kind for one in self.seen]


@asynccontextmanager
async def laid(serve: Serve, delay_ms: float = 0, **limits: int) -> AsyncIterator[Laid]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen: list[Travel] = []
    wire = Wire(server.sockets[0].getsockname()[1], delay_ms, seen.extend, Totals(), **limits)
    await wire.start(listen("127.0.0.1", [0]))
    try:
        async with asyncio.timeout(WITHIN):
            yield Laid(wire, seen)
    finally:
        await wire.close()
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def broken_off(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), WITHIN) == b""
    except ConnectionError:
        return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not condition():
            await asyncio.sleep(0.005)


async def test_all_bytes_come_through_in_order_and_are_counted() -> None:
    data = bytes(range(256)) * 8_000
    async with laid(echo, delay_ms=3) as there:
        reader, writer = await there.connect()
        writer.write(data)
        writer.write_eof()
        assert await reader.read(-1) == data
        assert (there.wire.totals.bytes_up, there.wire.totals.bytes_down) == (len(data), len(data))
        writer.close()
        await until(lambda: there.wire.connections == 0)
        assert there.wire.under_way == 0
        assert there.kinds() == ["open", "close"]


async def test_a_byte_takes_the_delay_each_way_and_a_connection_a_round_trip() -> None:
    async with laid(echo, delay_ms=40) as there:
        reader, writer = await there.connect()
        for first in (True, False):
            before = clock_ms()
            writer.write(b"x")
            await reader.readexactly(1)
            assert clock_ms() - before >= (160 if first else 80) - 2
        writer.close()


async def test_the_delay_may_change_and_the_order_stays() -> None:
    async with laid(echo, delay_ms=60) as there:
        reader, writer = await there.connect()
        writer.write(b"slow ")
        await until(lambda: there.wire.under_way == 5)
        there.wire.delay_ms = 0
        writer.write(b"fast")
        assert await reader.readexactly(9) == b"slow fast"
        writer.close()


async def test_a_slow_reader_holds_up_the_writer() -> None:
    go = asyncio.Event()
    got = bytearray()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        while data := await reader.read(65_536):
            got.extend(data)
        writer.close()

    data = bytes(8_000_000)
    most = 0
    async with laid(slow, max_pipe_bytes=200_000) as there:
        _, writer = await there.connect()
        for at in range(0, len(data), 100_000):
            writer.write(data[at : at + 100_000])
        writer.write_eof()
        await until(lambda: bool(there.wire.full))
        for _ in range(50):
            await asyncio.sleep(0)
            most = max(most, there.wire.under_way)
        assert most < 200_000 + 300_000  # what was being read when it got full
        go.set()
        await until(lambda: len(got) == len(data))
        assert not there.wire.full
        writer.close()


async def test_a_client_that_vanishes_while_its_pipe_is_full_is_forgotten() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(bytes(100_000))
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with laid(flood, max_pipe_bytes=100_000) as there:
        _, writer = await there.connect()
        await until(lambda: bool(there.wire.full))
        writer.transport.abort()
        await until(lambda: there.wire.connections == 0)
        assert (there.wire.under_way, there.wire.full) == (0, set())


async def test_an_end_goes_one_way_only() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(-1)
        writer.write(asked.upper())
        writer.close()

    async with laid(answer_at_the_end, delay_ms=20) as there:
        reader, writer = await there.connect()
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read(-1) == b"HELLO"
        writer.close()


@pytest.mark.parametrize("who", ["client", "server"])
async def test_a_break_is_passed_on(who: str) -> None:
    broken = asyncio.Event()

    def reset(writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        if who == "server":
            reset(writer)
            return
        writer.write(b"y")
        try:
            await reader.readexactly(1)
        except ConnectionResetError:
            broken.set()
        writer.close()

    async with laid(serve, delay_ms=5) as there:
        reader, writer = await there.connect()
        writer.write(b"x")
        if who == "server":
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()
        else:
            await reader.readexactly(1)
            reset(writer)
            await broken.wait()
        await until(lambda: there.wire.connections == 0)
        assert there.kinds() == ["open", "close"]
        assert there.seen[-1].direction == ("up" if who == "client" else "down")


async def test_nobody_at_the_other_end() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        wire = Wire(taken.getsockname()[1], 0, lambda _: None, Totals())
        await wire.start(listen("127.0.0.1", [0]))
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"hello")
        assert await broken_off(reader)
        writer.close()
        await until(lambda: wire.connections == 0)
        await wire.close()


async def test_one_connection_too_many() -> None:
    async with laid(echo, max_connections=1) as there:
        reader, writer = await there.connect()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        other, more = await there.connect()
        assert await broken_off(other)
        writer.write(b"z")
        assert await reader.readexactly(1) == b"z"
        writer.close()
        more.close()


async def test_closing_frees_the_port_whatever_is_open() -> None:
    async with laid(echo, delay_ms=500) as there:
        pairs = [await there.connect() for _ in range(5)]
        for _, writer in pairs:
            writer.write(b"x" * 1000)
        await until(lambda: there.wire.under_way == 5000)
        port = there.wire.port
        await there.wire.close()
        assert (there.wire.connections, there.wire.under_way) == (0, 0)
        for one in listen("127.0.0.1", [port]):
            one.close()
        for _, writer in pairs:
            writer.close()


# ---- ports


def test_the_first_free_port_is_taken() -> None:
    (first,) = listen("127.0.0.1", [0])
    taken = first.getsockname()[1]
    (free,) = listen("127.0.0.1", [0])
    port = free.getsockname()[1]
    free.close()
    (second,) = listen("127.0.0.1", [taken, port])
    assert second.getsockname()[1] == port
    with pytest.raises(LaboratoryError, match="--lane-ports"):
        listen("127.0.0.1", [taken, port])
    first.close()
    second.close()


def test_all_addresses_of_a_name_share_a_port() -> None:
    sockets = listen("localhost", [0])
    assert len({one.getsockname()[1] for one in sockets}) == 1
    for one in sockets:
        one.close()


def test_datagrams_to_localhost_arrive_whichever_address_it_has() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    sockets = listen("127.0.0.1", [0], socket.SOCK_DGRAM)
    assert {one.getsockname()[0] for one in sockets} == {"127.0.0.1", "::1"}
    assert len({one.getsockname()[1] for one in sockets}) == 1
    for one in sockets:
        one.close()


def test_a_host_that_is_not_ours() -> None:
    with pytest.raises(LaboratoryError, match="can't listen"):
        listen("192.0.2.1", [0])


# ---- datagrams


class Talker(asyncio.DatagramProtocol):
    def __init__(self, answer: bool = False) -> None:
        self.got: list[bytes] = []
        self._answer = answer

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        self.got.append(data)
        if self._answer:
            self.transport.sendto(data + b"!", address)  # type: ignore[arg-type]


async def test_datagrams_go_both_ways_delayed_and_counted() -> None:
    loop = asyncio.get_running_loop()
    there, server = await loop.create_datagram_endpoint(lambda: Talker(True), local_addr=("127.0.0.1", 0))
    seen: list[Travel] = []
    wire = DatagramWire(there.get_extra_info("sockname")[1], 30, seen.extend, Totals())
    await wire.start(listen("127.0.0.1", [0], socket.SOCK_DGRAM))
    talkers = []
    for _ in range(2):
        _, talker = await loop.create_datagram_endpoint(Talker, remote_addr=("127.0.0.1", wire.port))
        talkers.append(talker)
    before = clock_ms()
    for talker in talkers:
        talker.transport.sendto(b"\xc0" + b"h" * 99)
        talker.transport.sendto(b"\x40" + b"d" * 99)
        talker.transport.sendto(b"\x40ack")
    await until(lambda: all(len(talker.got) == 3 for talker in talkers))
    assert clock_ms() - before >= 58
    for talker in talkers:
        assert talker.got == [b"\xc0" + b"h" * 99 + b"!", b"\x40" + b"d" * 99 + b"!", b"\x40ack!"]
    assert (wire.totals.bytes_up, wire.totals.bytes_down) == (408, 414)
    assert len(server.got) == 6
    for number in (0, 1):
        mine = [one for one in seen if one.connection == number]
        assert [one.label for one in mine if one.direction == "up"] == ["", "handshake", "data", "small empty"]
        assert all(one.arrived_ms - one.sent_ms >= 29.9 for one in mine if one.kind == "datagram")
    port = wire.port
    await wire.close()
    assert [one.kind for one in seen][-2:] == ["close", "close"]
    for one in listen("127.0.0.1", [port], socket.SOCK_DGRAM):
        one.close()
    for talker in talkers:
        talker.transport.close()
    there.close()


async def test_of_too_many_clients_the_most_silent_is_forgotten() -> None:
    loop = asyncio.get_running_loop()
    there, _ = await loop.create_datagram_endpoint(lambda: Talker(True), local_addr=("127.0.0.1", 0))
    wire = DatagramWire(there.get_extra_info("sockname")[1], 0, lambda _: None, Totals(), max_clients=2)
    await wire.start(listen("127.0.0.1", [0], socket.SOCK_DGRAM))
    for _ in range(5):
        _, talker = await loop.create_datagram_endpoint(Talker, remote_addr=("127.0.0.1", wire.port))
        talker.transport.sendto(b"hello")
        await until(lambda talker=talker: talker.got == [b"hello!"])  # type: ignore[misc]
        assert len(wire.clients) <= 2
        talker.transport.close()
    await wire.close()
    there.close()
