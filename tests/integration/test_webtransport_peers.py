"""WebTransport with clients by hand, over aioquic's own: pieces, wrong first packets, floods, vanishing."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset
from aioquic.quic.logger import QuicLogger
from aioquic.quic.packet import QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.tls import Epoch
from cryptography.hazmat.primitives import hashes

from madang import ConfigError, Server, Socket, WebTransport
from madang.faces.certificate import Certificate
from madang.faces.uvicorn import serve_async
from madang.transports.webtransport import FrameReader, frame

SECONDS = 20


async def until(test: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not test():
            await asyncio.sleep(0.005)


class Nowhere(asyncio.DatagramTransport):
    """Where what is sent is lost."""

    def sendto(self, data: object, addr: object = None) -> None:
        return


class Peer(QuicConnectionProtocol):
    """A client that does as it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.h3 = H3Connection(self._quic, enable_webtransport=True)
        self.status: dict[int, str] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.frames: list[str | bytes] = []
        self.terminated: ConnectionTerminated | None = None
        self.reader = FrameReader(self.frames.append, max_payload_bytes=10_000_000)
        self.stream = -1
        self.answers = True  # whether it ends a session that the server ends

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.terminated = event
        if isinstance(event, StreamReset):
            self.ended.add(event.stream_id)
        if isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
            self.reader.feed(event.data)
            return
        for one in self.h3.handle_event(event):
            self.told(one)

    def told(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self.status[event.stream_id] = dict(event.headers)[b":status"].decode()
        elif isinstance(event, WebTransportStreamDataReceived):
            self.reader.feed(event.data)
            if event.stream_ended:
                self.ended.add(event.stream_id)
        elif isinstance(event, DataReceived):
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            if event.stream_ended:
                self.ended.add(event.stream_id)
                if self.answers and self._quic._streams[event.stream_id].sender._buffer_fin is None:
                    self.h3.send_data(event.stream_id, b"", end_stream=True)
                    self.transmit()

    async def request(self, path: str = "/socket.io/", **headers: str) -> int:
        """Ask for a session; gives its stream."""
        stream = self._quic.get_next_available_stream_id()
        pairs = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": "127.0.0.1:1",
            ":path": path,
            ":protocol": "webtransport",
            **{name.replace("_", ":", 1) if name[0] == "_" else name: value for name, value in headers.items()},
        }
        pairs = {name: value for name, value in pairs.items() if value}
        self.h3.send_headers(stream, [(name.encode(), value.encode()) for name, value in pairs.items()])
        self.transmit()
        await until(lambda: stream in self.status)
        return stream

    async def begin(self) -> int:
        session = await self.request()
        assert self.status[session] == "200"
        self.stream = self.h3.create_webtransport_stream(session)
        return session

    def say(self, data: bytes, stream: int | None = None, end: bool = False) -> None:
        self._quic.send_stream_data(self.stream if stream is None else stream, data, end)
        self.transmit()

    async def join(self) -> None:
        await self.begin()
        self.say(frame("0") + frame("40"))
        await until(lambda: len(self.frames) == 2)
        assert str(self.frames[0])[:7] == '0{"sid"'

    async def until_over(self) -> None:
        await until(lambda: self.terminated)

    def vanish(self) -> None:
        """Neither send nor receive anything from now on; its own timers go on, and end it."""
        self._transport.abort()
        self._transport = Nowhere()


class House:
    """A server, and the way to it."""

    def __init__(self, io: Server, beside: WebTransport, port: int) -> None:
        self.io = io
        self.beside = beside
        self.port = port
        self.reasons: list[str] = []
        self.refusals: list[str] = []
        io.on("disconnect", lambda socket, reason: self.reasons.append(reason))
        io.on("echo", lambda socket, *args: args)
        io.engine.on("connection_error", lambda error, request: self.refusals.append(error.detail or error.message))

    @asynccontextmanager
    async def peer(self, **more: Any) -> AsyncIterator[Peer]:
        settings = QuicConfiguration(
            alpn_protocols=H3_ALPN,
            max_datagram_frame_size=65_536,
            verify_mode=ssl.CERT_NONE,
            server_name="localhost",
            **more,
        )
        way = connect("127.0.0.1", self.port, configuration=settings, create_protocol=Peer)
        # To come and to go have a limit each: aioquic awaits both for as long as they take.
        async with asyncio.timeout(SECONDS) as limit, way as peer:
            limit.reschedule(None)
            try:
                assert isinstance(peer, Peer)
                yield peer
            finally:
                limit.reschedule(asyncio.get_running_loop().time() + SECONDS)

    async def until_empty(self) -> None:
        await until(lambda: not self.beside.connections_count)

    async def is_well(self) -> None:
        """Whether somebody else is served."""
        async with self.peer() as other:
            await other.join()
            other.say(frame('420["echo","well"]'))
            await until(lambda: other.frames[-1] == '430["well"]')


@asynccontextmanager
async def running(beside: WebTransport | None = None, **settings: Any) -> AsyncIterator[House]:
    io = Server(**{"transports": ["polling", "webtransport"], "upgrade_timeout_seconds": 2, **settings})
    beside = beside if beside is not None else WebTransport()
    async with serve_async(io, webtransport=beside) as port:
        yield House(io, beside, port)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with running() as house:
        yield house


# ---- the session ----


async def test_frames_in_pieces(house: House) -> None:
    async with house.peer() as peer:
        await peer.begin()
        said = [frame("0"), frame("40"), frame('420["echo","' + "마당" * 100 + '"]'), frame('421["echo",2]')]
        for byte in b"".join(said):
            peer.say(bytes((byte,)))
            await asyncio.sleep(0)
        await until(lambda: len(peer.frames) == 4)
        assert peer.frames[2:] == ['430["' + "마당" * 100 + '"]', "431[2]"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (frame("1"), "doesn't say who comes"),
        (frame("40"), "doesn't say who comes"),
        (frame(b"0"), "doesn't say who comes"),
        (frame('0{"sid":"unknown"}'), "sid 'unknown'"),
        (b"\0", "text without content"),
        (b"\x02\xff\xff", "not UTF-8"),
        (bytes.fromhex("ff00000000000f4241"), "max_payload_bytes is 1000000"),
    ],
    ids=["close", "connect", "bytes", "unknown", "empty", "garbage", "large"],
)
async def test_wrong_first_packets(house: House, said: bytes, why: str) -> None:
    async with house.peer() as peer:
        session = await peer.begin()
        peer.say(said)
        await until(lambda: session in peer.ended)
        assert peer.frames == []
        await peer.until_over()
    assert why in house.refusals[0]
    await house.until_empty()


@pytest.mark.parametrize("answers", [True, False], ids=["polite", "silent"])
async def test_nobody_knocks(answers: bool) -> None:
    async with running(upgrade_timeout_seconds=0.5) as house:
        async with house.peer() as peer:
            peer.answers = answers
            await peer.request()
            await peer.until_over()
        assert "upgrade_timeout_seconds is 0.5" in house.refusals[0]
        await house.until_empty()


async def test_a_frame_that_is_too_large(house: House) -> None:
    async with house.peer() as peer:
        session = await peer.begin()
        peer.say(frame("0") + frame("40"))
        await until(lambda: len(peer.frames) == 2)
        peer.say(bytes.fromhex("7f00000000000f4241"))
        await until(lambda: session in peer.ended)
        assert peer.bodies[session][:3] == b"\x68\x43" + peer.bodies[session][2:3]
        assert int.from_bytes(peer.bodies[session][3:7], "big") == 1009
    assert house.reasons == ["transport error"]


@pytest.mark.parametrize("way", ["stream", "reset", "stop", "session", "capsule", "connection", "vanishes"])
async def test_the_client_ends(way: str) -> None:
    heartbeat = {"ping_interval_seconds": 0.2, "ping_timeout_seconds": 0.3} if way == "vanishes" else {}
    # One that has vanished is waited for until it notices it.
    idle = {"idle_timeout": 1.0} if way == "vanishes" else {}
    async with running(**heartbeat) as house, house.peer(**idle) as peer:
        session = await peer.begin()
        peer.say(frame("0") + frame("40"))
        await until(lambda: len(peer.frames) >= 2)
        if way == "stream":
            peer.say(b"", end=True)
        elif way == "reset":
            peer._quic.reset_stream(peer.stream, 0)
            peer.transmit()
        elif way == "stop":
            peer._quic.stop_stream(peer.stream, 0)
            peer.transmit()
        elif way == "session":
            peer.h3.send_data(session, b"", end_stream=True)
            peer.transmit()
        elif way == "capsule":
            peer.h3.send_data(session, bytes.fromhex("40ff0161" + "684304" + "00000000"), end_stream=False)
            peer.transmit()
        elif way == "connection":
            peer.close()
        else:
            peer.vanish()
        await until(lambda: house.reasons)
        assert house.reasons == ["ping timeout" if way == "vanishes" else "transport close"]
        await house.until_empty()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"path": "/elsewhere/"}, "404"),
        ({"_method": "GET", "_protocol": ""}, "404"),
        ({"_protocol": "websocket"}, "404"),
        ({"origin": "https://evil.example"}, "403"),
        ({"x-large": "x" * 2000}, "431"),
        ({"path": "/socket.io/?some=query"}, "200"),
        ({"path": "/socket.io"}, "200"),
    ],
    ids=["path", "GET", "protocol", "origin", "large", "query", "slash"],
)
async def test_requests(headers: dict[str, str], status: str) -> None:
    async with running(max_header_bytes=1000) as house, house.peer() as peer:
        stream = await peer.request(**headers)
        assert peer.status[stream] == status


async def test_the_server_is_full() -> None:
    async with running(max_connections=1) as house, house.peer() as first, house.peer() as second:
        await first.join()
        session = await second.begin()
        second.say(frame("0"))
        await until(lambda: session in second.ended)
        assert house.refusals == ["max_connections is 1"]
        first.say(frame('420["echo"]'))
        await until(lambda: first.frames[-1] == "430[]")


# ---- floods ----


async def test_further_streams_sessions_and_datagrams_are_refused(house: House) -> None:
    async with house.peer() as peer:
        session = await peer.begin()
        peer.say(frame("0") + frame("40"))
        for number in range(200):
            stream = peer.h3.create_webtransport_stream(session, is_unidirectional=bool(number % 2))
            peer.say(frame("0") * 10, stream)
            peer.h3.send_datagram(session, bytes(500))
        await until(lambda: len(peer.frames) == 2)
        other = peer._quic._local_next_stream_id_bidi
        assert other > 400
        peer.say(frame('420["echo",1]'))
        await until(lambda: peer.frames[-1] == "430[1]")
        assert len(house.io.engine.sessions) == 1
        # What was opened beyond the limit is still in the client.
        assert peer._quic._remote_max_streams_bidi == peer._quic._remote_max_streams_uni == 16
        assert peer._quic._streams_blocked_bidi
        assert peer._quic._streams_blocked_uni
    assert house.refusals == []


async def test_a_second_session(house: House) -> None:
    async with house.peer() as peer:
        await peer.join()
        stream = await peer.request()
        assert peer.status[stream] == "429"
        peer.say(frame('420["echo",1]'))
        await until(lambda: peer.frames[-1] == "430[1]")


async def test_holes_do_not_fill_the_memory(house: House) -> None:
    """Bytes far ahead of a hole would have to be kept; so nobody may send far ahead."""
    async with house.peer() as peer:
        await peer.join()
        [link] = house.beside._listener.links if house.beside._listener is not None else []
        stream = peer._quic._streams[peer.stream]
        assert stream.max_stream_data_remote <= 2 * house.beside.window_bytes
        stream.max_stream_data_remote = peer._quic._remote_max_data = 1 << 40
        stream.sender._buffer_start = stream.sender._buffer_stop = stream.sender.highest_offset = 1 << 30
        peer.say(b"x")
        await peer.until_over()
        assert peer.terminated is not None
        assert peer.terminated.reason_phrase == "Over stream data limit"
        assert sum(len(one.receiver._buffer) for one in link._quic._streams.values()) == 0
    await until(lambda: house.reasons == ["transport close"])
    await house.is_well()


def crumbs(builder: QuicPacketBuilder, offset: int, stream: int | None = None) -> int:
    """Fill a packet with single bytes, none beside another, of a stream or the handshake; gives the next offset."""
    while builder.remaining_flight_space > 24:
        buffer = builder.start_frame(0x0E if stream is not None else QuicFrameType.CRYPTO, capacity=24)
        if stream is not None:
            buffer.push_uint_var(stream)
        buffer.push_uint_var(offset)
        buffer.push_uint_var(1)
        buffer.push_bytes(b"x")
        offset += 2
    return offset


async def test_a_handshake_in_crumbs(house: House) -> None:
    """Each piece that waits for another is looked at whenever one comes: thousands of them would cost minutes."""
    theirs, number, offset = bytes(range(8)), 0, 2
    crypto = CryptoPair()
    crypto.setup_initial(theirs, is_client=True, version=1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", house.port))
        for _ in range(30):
            builder = QuicPacketBuilder(
                host_cid=bytes(8),
                peer_cid=theirs,
                version=1,
                is_client=True,
                packet_number=number,
                max_datagram_size=1200,
            )
            builder.start_packet(QuicPacketType.INITIAL, crypto)
            offset = crumbs(builder, offset)
            for datagram in builder.flush()[0]:
                sender.send(datagram)
            number = builder.packet_number
        await house.is_well()
    listener = house.beside._listener
    assert listener is not None
    for link in listener.links:
        assert link._quic.is_over
        assert all(len(one.receiver._ranges) < 300 for one in link._quic._crypto_streams.values())
    assert not listener._half_open


async def test_a_stream_in_crumbs(house: House) -> None:
    async with house.peer() as peer:
        await peer.join()
        quic, offset = peer._quic, 10_000
        for _ in range(10):
            builder = QuicPacketBuilder(
                host_cid=quic.host_cid,
                peer_cid=quic._peer_cid.cid,
                version=1,
                is_client=True,
                packet_number=quic._packet_number,
                max_datagram_size=1200,
            )
            builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[Epoch.ONE_RTT])
            offset = crumbs(builder, offset, peer.stream)
            for datagram in builder.flush()[0]:
                peer._transport.sendto(datagram, quic._network_paths[0].addr)
            quic._packet_number = builder.packet_number
        await peer.until_over()
        assert peer.terminated is not None
        assert peer.terminated.reason_phrase == "a stream in too many pieces"
    await until(lambda: house.reasons == ["transport close"])
    await house.is_well()


async def test_what_came_before_the_end_is_taken_by_who_is_busy() -> None:
    """The client ends the session while its handlers are all at work, and the rest of what it has said waits."""
    async with running(max_handlers_per_client=4) as house, house.peer() as peer:
        gate, taken = asyncio.Event(), []

        async def slow(socket: Socket, number: int, body: str) -> None:
            await gate.wait()
            taken.append(number)

        house.io.on("slow", slow)
        session = await peer.begin()
        peer.say(frame("0") + frame("40"))
        await until(lambda: len(peer.frames) == 2)
        for number in range(20):
            peer.say(frame(f'42["slow",{number},"{"x" * 5000}"]'))
        await until(lambda: not peer._quic._streams[peer.stream].sender._buffer)
        peer.say(b"", end=True)
        peer.h3.send_data(session, b"", end_stream=True)
        peer.transmit()
        await until(lambda: session in peer.ended or peer._quic._streams[session].sender.is_finished)
        await asyncio.sleep(0.1)
        assert (house.reasons, taken) == ([], [])
        gate.set()
        await until(lambda: house.reasons == ["transport close"])
        await until(lambda: len(taken) >= 16)  # of what the session itself lets wait, nothing is told any more


async def test_a_server_that_is_busy_is_not_sent_more() -> None:
    """A client that is sent to wait by its handlers can send no more than the window."""
    async with running(max_handlers_per_client=4) as house, house.peer() as peer:
        gate = asyncio.Event()

        async def slow(socket: Socket, body: bytes) -> None:
            await gate.wait()

        house.io.on("slow", slow)
        await peer.join()
        event = frame('451-["slow",{"_placeholder":true,"num":0}]') + frame(bytes(50_000))
        count = 60
        for _ in range(count):
            peer.say(event)
        window = house.beside.window_bytes
        await until(lambda: peer._quic._streams[peer.stream].sender.highest_offset > window)
        await asyncio.sleep(0.5)
        sent = peer._quic._streams[peer.stream].sender.highest_offset
        assert sent < 4 * 51_000 + 2 * window, "it could send on"
        gate.set()
        peer.say(frame('420["echo","last"]'))
        await until(lambda: peer.frames[-1] == '430["last"]')


async def test_a_client_that_does_not_read() -> None:
    """It fills what its window and ours hold, then its session's buffer, and then it is disconnected."""
    async with running(max_buffered_bytes=500_000) as house, house.peer() as peer:
        await peer.join()
        peer._quic._write_stream_limits = lambda **more: None
        peer._quic._write_connection_limits = lambda **more: None
        async with asyncio.timeout(SECONDS):
            while not house.reasons:
                house.io.emit("news", bytes(100_000))
                await asyncio.sleep(0.002)
        assert house.reasons == ["slow consumer"]
        await house.until_empty()
        await house.is_well()


async def test_half_open_connections_are_counted() -> None:
    beside = WebTransport(max_half_open_per_address=3, open_timeout_seconds=1000)
    async with running(beside, upgrade_timeout_seconds=1000) as house, house.peer() as well:
        await well.join()
        async with house.peer() as first, house.peer(), house.peer() as third:
            await first.begin()
            await third.request()
            before = beside.connections_count
            fourth = asyncio.create_task(house.is_well())
            await asyncio.sleep(0.2)
            assert (beside.connections_count, fourth.done()) == (before, False)
            first.close()
            await fourth
        well.say(frame('420["echo",1]'))
        await until(lambda: well.frames[-1] == "430[1]")


async def test_half_open_connections_end() -> None:
    async with running(WebTransport(open_timeout_seconds=2)) as house, house.peer() as peer:
        await peer.until_over()
        await house.is_well()


async def test_the_oldest_half_open_connection_makes_room() -> None:
    beside = WebTransport(max_half_open=2)
    async with running(beside) as house, house.peer() as first, house.peer() as second, house.peer() as third:
        await third.join()
        assert beside.connections_count == 2
        await second.join()
        assert first.terminated is None  # nobody has told it


async def test_addresses_are_validated_when_there_are_many() -> None:
    logger = QuicLogger()
    beside = WebTransport(retry_half_open=1)
    async with running(beside) as house, house.peer(), house.peer(quic_logger=logger) as peer:
        await peer.join()
    names = [event["data"].get("header", {}).get("packet_type") for event in logger.to_dict()["traces"][0]["events"]]
    assert "retry" in names


async def test_addresses_that_many_begin_with_are_validated() -> None:
    """Else somebody who sends in their name could keep those out who are there."""
    logger = QuicLogger()
    beside = WebTransport(max_half_open_per_address=4)
    async with (
        running(beside) as house,
        house.peer(),
        house.peer(),
        house.peer(quic_logger=logger) as peer,
    ):
        await peer.join()
    names = [event["data"].get("header", {}).get("packet_type") for event in logger.to_dict()["traces"][0]["events"]]
    assert "retry" in names


async def test_heartbeats_that_are_rarer_than_quic_bears() -> None:
    """A client's QUIC gives up after a silence of its own choice: nothing has to be said for it to stay."""
    async with running(ping_interval_seconds=60) as house, house.peer(idle_timeout=0.6) as peer:
        await peer.join()
        await asyncio.sleep(1.5)
        assert peer.terminated is None
        peer.say(frame('420["echo",1]'))
        await until(lambda: peer.frames[-1] == "430[1]")
        assert house.reasons == []


async def test_handshakes_are_bounded() -> None:
    """Those that come too fast wait for their next try."""
    beside = WebTransport(max_handshakes_per_second=5)
    async with running(beside) as house:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(house.is_well() for _ in range(7)))
        assert asyncio.get_running_loop().time() - began >= 0.35


async def test_garbage(house: House) -> None:
    async with house.peer() as peer:
        await peer.join()
        known = peer._quic._peer_cid.cid
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(("127.0.0.1", house.port))
            for size in (0, 1, 7, 8, 9, 100, 1200, 1400):
                for first in (0x00, 0x40, 0x80, 0xC0, 0xD0, 0xE0, 0xF0, 0xFF):
                    for version in (b"\0\0\0\0", b"\0\0\0\1", b"k3C\xcf", b"\xfa\xfa\xfa\xfa"):
                        sender.send((bytes((first,)) + version + b"\x08" + known + bytes(1400))[:size])
                        sender.send((bytes((first,)) + known + version * 300)[:size])
                await asyncio.sleep(0.01)
        peer.say(frame('420["echo",1]'))
        await until(lambda: peer.frames[-1] == "430[1]")
        await house.is_well()


# ---- running ----


async def test_it_has_to_be_among_the_transports() -> None:
    with pytest.raises(ConfigError, match=r'transports=\["polling", "websocket", "webtransport"\]'):
        async with serve_async(Server(), webtransport=True):
            pass


@pytest.mark.parametrize("found", ["raise ModuleNotFoundError(__name__)", ""], ids=["missing", "old"])
def test_without_aioquic(found: str, tmp_path: Path) -> None:
    """The command says what to install."""
    (tmp_path / "aioquic").mkdir()
    (tmp_path / "aioquic" / "__init__.py").write_text(found)
    (tmp_path / "app.py").write_text("import madang\nio = madang.Server(transports=['polling', 'webtransport'])\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "madang", "serve", "app:io", "--port", "0", "--webtransport"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: WebTransport needs aioquic ")
    assert 'pip install "madang[webtransport]"' in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_port_that_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        beside = WebTransport(port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match="can't be had"):
            async with serve_async(Server(transports=["webtransport"]), webtransport=beside):
                pass


async def test_beside_another_asgi_server() -> None:
    io = Server(transports=["webtransport"])
    beside = WebTransport(port=0)
    async with io, beside.listen(io):
        [(host, port)] = beside.listening
        assert host == "127.0.0.1"
        house = House(io, beside, port)
        async with house.peer() as peer:
            await peer.join()
            assert io.engine.listening == {"webtransport"}
    assert (io.engine.listening, beside.listening, house.reasons) == (set(), [], ["transport close"])
    with pytest.raises(ConfigError, match="name the port"):
        async with WebTransport().listen(io):
            pass


@pytest.mark.parametrize("others", [0, 1], ids=["first", "later"])
async def test_who_is_there_at_the_end_hears_all(others: int) -> None:
    """Also when there was nobody in between."""
    async with contextlib.AsyncExitStack() as stack:
        async with running() as house:
            for _ in range(others):
                await house.is_well()
                await house.until_empty()
            peer = await stack.enter_async_context(house.peer())
            await peer.join()
            for _ in range(10):
                house.io.emit("news", "x" * 20_000)
        await peer.until_over()
        said = [one for one in peer.frames if isinstance(one, str) and one.startswith('42["news"')]
        assert len(said) == 10
    assert house.reasons[-1] == "server shutting down"


async def test_nothing_is_kept_of_who_has_left() -> None:
    async with running(upgrade_timeout_seconds=1000) as house:
        assert house.beside._listener is not None
        async with house.peer() as peer:
            await peer.join()
            [seen] = [weakref.ref(link._quic) for link in house.beside._listener.links]
        await house.until_empty()

        def is_gone() -> bool:
            gc.collect()
            return seen() is None

        await until(is_gone)


async def test_the_certificate_is_renewed(house: House) -> None:
    """Who comes on its last day gets a new one, and nobody who is there notices it."""
    async with house.peer() as early:
        await early.join()
        house.beside._made = old = Certificate.make(days=1)
        assert old.is_ageing
        async with house.peer() as late:
            await late.join()
            shown = late._quic.tls._peer_certificate
            assert shown.fingerprint(hashes.SHA256()) == house.beside.certificate_hash != old.hash
            assert house.beside._made is not old
            assert not house.beside._made.is_ageing
        early.say(frame('420["echo",1]'))
        await until(lambda: early.frames[-1] == "430[1]")
