"""What a packet and a broadcast may cost: encodings, framings, objects. Counted, not measured."""

import gc
import tracemalloc
from typing import Any, ClassVar

from madang.config import Config
from madang.core.session import Session
from madang.packet import Encoded, Frame, Packet
from madang.parsers import Parser
from madang.parsers.json import PARSER as JSON
from madang.parsers.msgpack import PARSER as MSGPACK
from madang.rfc import ws
from madang.testing import EngineKit, RecordingDuplex

MEMBERS = 1000


class CountingParser(Parser):
    """The JSON parser, and how often it was asked."""

    name: ClassVar[str] = "json"

    def __init__(self) -> None:
        self.encoded = 0
        self.decoded = 0

    def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:
        self.encoded += 1
        return JSON.encode(packet, prefix)

    def decode(self, content: Frame, start: int, limits: Config) -> Packet:
        self.decoded += 1
        return JSON.decode(content, start, limits)


class FramingDuplex(RecordingDuplex):
    """A link that frames for RFC 6455 as a face does: once for all links of its kind."""

    __slots__ = ()
    framed: ClassVar[int] = 0
    sent: ClassVar[list[bytes]] = []

    def write(self, encoded: Encoded) -> None:
        if encoded.link_bytes is None:
            FramingDuplex.framed += 1
            encoded.link_bytes = ws.joined_frames(encoded.frames)
        FramingDuplex.sent.append(encoded.link_bytes)


def crowd(parser: Parser, count: int = MEMBERS, **settings: Any) -> EngineKit:
    kit = EngineKit(**settings)
    kit.engine._parser = parser
    for _ in range(count):
        client = kit.websocket()
        socket = client.join()
        socket.join("room")
        link = FramingDuplex()
        session = client.session
        session._duplex = None
        session.attach(link)
    FramingDuplex.framed = 0
    FramingDuplex.sent.clear()
    return kit


def test_a_broadcast_is_encoded_and_framed_once() -> None:
    parser = CountingParser()
    kit = crowd(parser)
    for emit in (kit.io.emit, kit.io.to("room").emit, kit.io.except_("nobody").emit, kit.io.volatile.emit):
        parser.encoded = 0
        FramingDuplex.framed = 0
        FramingDuplex.sent.clear()
        emit("tick", {"price": 42}, b"chart")
        assert parser.encoded == 1
        assert FramingDuplex.framed == 1
        assert len(FramingDuplex.sent) == MEMBERS
        assert len({id(data) for data in FramingDuplex.sent}) == 1, "not the same bytes for all"


def test_a_broadcast_as_messagepack_too() -> None:
    kit = crowd(MSGPACK)
    FramingDuplex.framed = 0
    FramingDuplex.sent.clear()
    kit.io.emit("tick", {"price": 42}, b"chart")
    assert FramingDuplex.framed == 1
    assert len(FramingDuplex.sent) == MEMBERS
    assert len({id(data) for data in FramingDuplex.sent}) == 1, "not the same bytes for all"
    assert FramingDuplex.sent[0].endswith(b"\x81\xa5price\x2a\xc4\x05chart\xa3nsp\xa1/")


def test_a_broadcast_that_can_be_recovered_is_encoded_once() -> None:
    parser = CountingParser()
    kit = crowd(parser, recovery=True)
    for emit in (kit.io.emit, kit.io.to("room").emit, kit.io.except_("nobody").emit, kit.io.volatile.emit):
        parser.encoded = 0
        FramingDuplex.framed = 0
        FramingDuplex.sent.clear()
        emit("tick", {"price": 42}, b"chart")
        emit("tick", {"price": 42}, "text")
        assert parser.encoded == 2
        assert FramingDuplex.framed == 2
        assert len(FramingDuplex.sent) == 2 * MEMBERS
        assert len({id(data) for data in FramingDuplex.sent}) == 2, "not the same bytes for all"


def test_what_is_kept_is_what_was_sent_and_replayed_as_it_is() -> None:
    parser = CountingParser()
    kit = crowd(parser, 100, recovery=True)
    kit.io.emit("tick", 1)
    sent = FramingDuplex.sent[0]
    stays = [socket._stay for socket in kit.io.sockets.values()]
    sessions = list(kit.engine.sessions.values())
    for session in sessions:
        session.close("transport close", discard=True)
    parser.encoded = 0
    kit.io.emit("tick", 2)
    FramingDuplex.framed = 0
    FramingDuplex.sent.clear()
    for stay in stays:
        assert stay is not None
        client = kit.websocket()
        client.session._duplex = None
        client.session.attach(FramingDuplex())
        client.say(f'40{{"pid":"{stay.pid}"}}')
    ticks = [data for data in FramingDuplex.sent if b"tick" in data]
    assert len(ticks) == 200
    assert {id(data) for data in ticks[::2]} == {id(sent)}
    assert len({id(data) for data in ticks[1::2]}) == 1
    assert parser.encoded == 1 + 100, "the event, and the CONNECT packet of each"


def test_a_broadcast_from_a_socket_too() -> None:
    parser = CountingParser()
    kit = crowd(parser, 100)
    socket = next(iter(kit.io.sockets.values()))
    parser.encoded = 0
    socket.broadcast.emit("tick")
    assert parser.encoded == 1
    assert len(FramingDuplex.sent) == 99


def test_a_broadcast_that_asks_is_encoded_once() -> None:
    parser = CountingParser()
    kit = crowd(parser, 100)
    parser.encoded = 0
    kit.io.call("vote")
    assert parser.encoded == 1
    assert len(FramingDuplex.sent) == 100


def test_a_broadcast_to_nobody_is_not_encoded() -> None:
    parser = CountingParser()
    kit = crowd(parser, 1)
    parser.encoded = 0
    kit.io.to("empty").emit("tick")
    assert parser.encoded == 0


def test_pollers_share_the_encoding() -> None:
    parser = CountingParser()
    kit = EngineKit()
    kit.engine._parser = parser
    clients = [kit.polling() for _ in range(50)]
    for client in clients:
        client.join()
    parser.encoded = 0
    kit.io.emit("tick", 1)
    kit.turn()
    assert parser.encoded == 1
    assert [client.heard() for client in clients] == [['42["tick",1]']] * 50


def test_a_broadcast_makes_no_object_for_each_member() -> None:
    kit = crowd(JSON)
    target = kit.io.to("room")
    target.emit("tick", 1)
    FramingDuplex.sent.clear()
    gc.collect()
    tracemalloc.start()
    try:
        target.emit("tick", 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The list of the double itself grows by 8 bytes each; anything else would be 16 or more.
    assert peak < MEMBERS * 8 * 1.5 + 4000, f"{peak} bytes for {MEMBERS} members"


def test_an_event_is_decoded_once_and_answered_by_one_encoding() -> None:
    parser = CountingParser()
    kit = EngineKit()
    kit.engine._parser = parser
    kit.io.on("e", lambda socket, a: a)
    client = kit.websocket()
    client.join()
    parser.encoded = parser.decoded = 0
    client.say('421["e",1]')
    assert (parser.decoded, parser.encoded) == (1, 1)
    client.say('42["e",1]')
    assert (parser.decoded, parser.encoded) == (2, 1)


def test_packets_leave_nothing_behind() -> None:
    """No timer, no closure, no queue: after a thousand events a session takes what it took before."""
    kit = EngineKit()
    kit.io.on("e", lambda socket, a: a)
    client = kit.websocket()
    client.join()
    frames = [f'42{number}["e",{number}]' for number in range(10)]

    def thousand() -> None:
        for _ in range(100):
            client.duplex.say(*frames)
            client.duplex.take()

    thousand()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        thousand()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 2000


def test_an_idle_client_is_small() -> None:
    kit = EngineKit()
    kit.websocket().join()
    gc.collect()
    tracemalloc.start()
    links = [RecordingDuplex() for _ in range(200)]
    try:
        before = tracemalloc.get_traced_memory()[0]
        for link in links:
            kit.websocket(duplex=link).join()
        gc.collect()
        each = (tracemalloc.get_traced_memory()[0] - before) / len(links)
    finally:
        tracemalloc.stop()
    assert each < 2500, f"{each:.0f} bytes for each client"


def test_what_is_there_for_each_client_has_slots() -> None:
    kit = EngineKit()
    client = kit.websocket()
    socket = client.join()
    for one in (client.session, socket, client.session.request, client.session._decoder):
        # Compiled, one may have room for attributes that are not declared, but has none.
        assert not getattr(one, "__dict__", None), type(one)


def test_structures_are_made_when_they_are_needed() -> None:
    client = EngineKit().websocket()
    socket = client.join()
    session: Session = client.session
    assert session._outbox is None
    assert session._drained is None
    assert (socket._data, socket._rooms, socket._acks, socket._listeners) == (None, None, None, None)


def test_heartbeats_are_no_timers() -> None:
    """What the wheel holds does not grow with what is said, only with who is there."""
    kit = crowd(JSON, 100)
    before = sum(map(len, kit.engine.wheel._buckets.values()))
    for session in kit.engine.sessions.values():
        for _ in range(20):
            session.receive("3")
    assert sum(map(len, kit.engine.wheel._buckets.values())) == before
