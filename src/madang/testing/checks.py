"""What every parser, wire generation and transport must keep: run them on a module of your own."""
# ruff: noqa: S101, PT017 (assertions are what this module is for)

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from madang.config import Config
from madang.core.session import OPEN_STATE
from madang.core.socket import Socket
from madang.errors import EncodeError, Reason, RemoteProtocolError
from madang.packet import (
    ACK,
    CLOSE,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    MESSAGE,
    NOOP,
    PING,
    Frame,
    Packet,
    restore_attachments,
)
from madang.parsers import Parser
from madang.testing.kit import EngineKit
from madang.transports import HttpTransport, LinkTransport, PollTransport, Request, StreamTransport, Transport
from madang.wire import Address, Open, Wire

__all__ = ["RAW_PACKETS", "check_parser", "check_transport", "check_wire", "socketio_packets"]

#: Bodies of packets that every parser has to carry without loss.
_VALUES: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    2**53,
    0.5,
    "",
    '마당 🎈 \x1e \0 \\ " \u2028',
    [],
    {},
    [[[]]],
    {"key": [1, {"": None}]},
    b"",
    bytes(range(256)),
    [b"one", {"two": b"2", "again": [b"3", "text"]}],
)
_GARBAGE_TEXT = (
    "",
    " ",
    "0",
    "4",
    "42",
    "4[",
    "2[",
    '2["a"',
    "[]",
    "{}",
    "null",
    "\x1e",
    "9",
    "한",
    "2" * 40,
    '51-["a"]',
)
_GARBAGE_BYTES = (b"", b"\0", b"\xff" * 9, b"4", bytes(range(64)))


def socketio_packets() -> list[Packet]:
    """Packets of every kind of Socket.IO, that parsers for it have to carry without loss."""
    packets = [
        Packet(CONNECT, {}),
        Packet(CONNECT, {"token": "x"}, "/chat"),
        Packet(CONNECT_ERROR, {"message": "no", "data": {"code": 1}}, "/chat"),
        Packet(DISCONNECT),
        Packet(DISCONNECT, namespace="/chat"),
        Packet(ACK, [], id=0),
        Packet(EVENT, ["e", *_VALUES], "/방", 7),
    ]
    for value in _VALUES:
        packets.append(Packet(EVENT, ["event", value]))
        packets.append(Packet(ACK, [value, "last"], "/chat", 12))
    return packets


def _is_sent(packet: Packet, wire: Wire, parser: Parser) -> bool:
    """Whether clients of a generation may send a packet, and it is the same at the other end."""
    if packet.kind in (CONNECT, CONNECT_ERROR):
        return not wire.implicit_root
    # Who has no word to answer asks for no answer, and who has none to leave a namespace comes to none.
    needed = [packet]
    if packet.id is not None:
        needed.append(Packet(ACK, [], id=packet.id))
    if packet.namespace != "/":
        needed.append(Packet(DISCONNECT, namespace=packet.namespace))
    if not all(wire.encode(one, parser) for one in needed):
        return False
    return wire.carries_bytes or not _has_bytes(packet.data)


def _has_bytes(data: Any) -> bool:
    if isinstance(data, dict):
        data = list(data.values())
    return isinstance(data, bytes) or (isinstance(data, list) and any(map(_has_bytes, data)))


def _copied(packets: Iterable[Packet]) -> list[Packet]:
    return [copy.deepcopy(packet) for packet in packets]


def check_parser(parser: Parser, packets: Iterable[Packet] | None = None) -> None:
    """Check what every parser must keep.

    It has a name and no state; it changes no packet; what it writes, it reads; what it can't write is an
    `EncodeError`, and what it can't read a `RemoteProtocolError`.

    Args:
        parser: the parser.
        packets: what it has to carry; without them, every kind of Socket.IO's packets.

    Raises:
        AssertionError: it doesn't.
    """
    assert isinstance(parser, Parser), f"{parser!r} is no Parser"
    _check_stateless(parser)
    limits = Config()
    for packet in socketio_packets() if packets is None else packets:
        before = copy.deepcopy(packet)
        for prefix in ("", "4", "prefix"):
            frames = parser.encode(packet, prefix)
            assert packet == before, f"{parser.name} changes {before} to {packet}"
            assert frames == parser.encode(packet, prefix), f"{parser.name} writes {packet} in two ways"
            first = frames[0]
            start = 0
            if isinstance(first, str):
                assert first.startswith(prefix), f"{parser.name} leaves out the prefix {prefix!r} in {first!r}"
                start = len(prefix)
            read = parser.decode(first, start, limits)
            attachments = [frame for frame in frames[1:] if isinstance(frame, bytes)]
            assert len(attachments) == len(frames) - 1, f"{parser.name} writes attachments that are not bytes"
            assert read.missing == len(attachments), f"{parser.name} announces {read.missing} of {len(attachments)}"
            if attachments:
                read.data = restore_attachments(read.data, attachments)
            assert read == packet, f"{parser.name} reads {read} where it wrote {packet}"
    for data in (["e", object()], ["e", lambda: None]):
        try:
            parser.encode(Packet(EVENT, data), "4")
        except EncodeError as error:
            assert str(error)
        else:
            raise AssertionError(f"{parser.name} writes {data}")
    for garbage in (*_GARBAGE_TEXT, *_GARBAGE_BYTES):
        try:
            assert isinstance(parser.decode(garbage, 0, limits), Packet)
        except RemoteProtocolError as error:
            assert error.rule, f"{parser.name} names no rule for {garbage!r}"
    _check_stateless(parser)


def check_wire(wire: Wire, parser: Parser, packets: Iterable[Packet] | None = None) -> None:
    """Check what every generation must keep, with a parser that carries Socket.IO's packets.

    It has a name and no state; frames that it writes, its decoder reads, one at a time; payloads that it joins, it
    splits; what it can't read is a `RemoteProtocolError`, whatever came before.

    Args:
        wire: the generation.
        parser: the parser.
        packets: what both sides of it write and read; without them, every kind of Socket.IO's packets that clients of
            this generation may send.

    Raises:
        AssertionError: it doesn't.
    """
    assert isinstance(wire, Wire), f"{wire!r} is no Wire"
    _check_stateless(wire)
    limits = Config()
    silent = Request("GET", "/socket.io/", "", ())
    assert wire.address(silent, "nowhere/at/all") is None, f"{wire.name} takes any path for one of its own"

    if packets is None:
        packets = [packet for packet in socketio_packets() if _is_sent(packet, wire, parser)]
    chosen = _copied(packets)
    written = [wire.encode(packet, parser) for packet in chosen]
    decoder = wire.decoder(parser, limits)
    for packet, frames in zip(chosen, written, strict=True):
        for frame in frames[:-1]:
            assert decoder.feed(frame) is None, f"{wire.name} finds {packet} whole too early"
        read = decoder.feed(frames[-1])
        assert read == packet, f"{wire.name} reads {read} where it wrote {packet}"

    everything = [frame for frames in written for frame in frames]
    for some in (everything, everything[:1], everything[-2:]):
        for payload in (wire.join(some), wire.pack(some)):
            assert wire.split(payload, limits) == some, f"{wire.name} splits {payload!r:.200} wrongly"
            assert len(payload.encode() if isinstance(payload, str) else payload) <= wire.payload_bytes(some) + 1
    for frame in everything:
        text = wire.as_text(frame)
        assert text == frame or not isinstance(frame, str), (
            f"{wire.name} changes the text {frame!r:.200} to {text!r:.200}"
        )
        assert wire.from_text(text) == frame, (
            f"{wire.name} reads {wire.from_text(text)!r:.200} where it wrote {frame!r}"
        )
    few = Config(max_packets_per_payload=3)
    assert wire.split(wire.join(everything[:3]), few) == everything[:3]
    _check_refused(lambda: wire.split(wire.join(everything[:4]), few), "max_packets_per_payload")

    greeting = Open("0123456789abcdefghij", ["websocket"], 25.0, 20.0, 1_000_000)
    if wire.probes:
        hello = wire.open(greeting)
        assert "0123456789abcdefghij" in str(hello), f"{wire.name} doesn't tell the client its id"
        assert wire.split(wire.join([hello]), limits) == [hello]
    else:
        response = wire.handshake(silent, greeting)
        assert response.status == 200
        assert b"0123456789abcdefghij" in response.body, f"{wire.name} doesn't tell the client its id"
    if wire.query:
        asked = Request("GET", "/socket.io/", urlencode({**wire.query, "transport": "polling", "sid": "S"}), ())
        assert wire.address(asked, "") == Address("polling", "S"), f"{wire.name} doesn't recognise its own clients"
        assert wire.greeted(hello) == greeting, f"{wire.name} reads {wire.greeted(hello)} where it wrote {greeting}"
        for frame in (*everything, *_GARBAGE_TEXT, *_GARBAGE_BYTES):
            _check_no_greeting(wire, frame)

    for garbage in (*_GARBAGE_TEXT, *_GARBAGE_BYTES):
        for before in ((), *(frames[:1] for frames in written)):
            decoder = wire.decoder(parser, limits)
            try:
                for frame in (*before, garbage, garbage):
                    decoder.feed(frame)
            except RemoteProtocolError as error:
                assert error.rule, f"{wire.name} names no rule for {garbage!r}"
        try:
            wire.split(garbage, limits)
        except RemoteProtocolError as error:
            assert error.rule, f"{wire.name} names no rule for {garbage!r}"
    _check_stateless(wire)


def check_transport(
    transport: Transport,
    *,
    pack: Callable[[str], tuple[Mapping[str, str], bytes]] = lambda payload: ({}, payload.encode()),
    unpack: Callable[[bytes], str] = bytes.decode,
    query: str = "EIO=4",
) -> None:
    """Check what every transport must keep, alone and in a whole server.

    Args:
        transport: the transport; a server must be able to load it by its name.
        pack: how a client puts a payload into the headers and the body of a POST.
        unpack: how a client takes a payload out of the body of a response, or out of the parts of a stream.
        query: what a client puts into its query, besides the transport and the session.

    Raises:
        AssertionError: it doesn't.
    """
    assert isinstance(transport, Transport), f"{transport!r} is no Transport"
    _check_stateless(transport)
    assert isinstance(transport.upgrades, tuple), f"{transport.name}: upgrades must be a tuple"
    assert transport.name not in transport.upgrades, f"{transport.name} is an upgrade of itself"
    kit = EngineKit(query=query, transports=[transport.name], allow_upgrades=False)
    if isinstance(transport, PollTransport):
        _check_poll_transport(transport, kit, pack, unpack)
    elif isinstance(transport, StreamTransport):
        _check_stream_transport(transport, kit, pack, unpack)
    else:
        assert isinstance(transport, LinkTransport), f"{transport.name} is neither for HTTP nor for links"
        _check_link_transport(transport, kit)
    _check_stateless(transport)


Pack = Callable[[str], tuple[Mapping[str, str], bytes]]
Unpack = Callable[[bytes], str]


def _check_posts(transport: HttpTransport, kit: EngineKit, payload: str, pack: Pack) -> None:
    more, body = pack(payload)
    request = kit.request("POST", f"transport={transport.name}", more)
    assert transport.unpack(request, body) == payload, f"{transport.name} reads {body!r:.100} wrongly"


def _check_garbage(transport: HttpTransport, kit: EngineKit) -> None:
    name = transport.name
    for garbage in (b"\xff\xfe", b"", b"d", b"d=\xff", bytes(range(256))):
        try:
            assert isinstance(transport.unpack(kit.request("POST", f"transport={name}"), garbage), str)
        except RemoteProtocolError as error:
            assert error.rule
    assert transport.accepted(kit.request("POST", f"transport={name}")).status == 200


class _Echoing:
    """A server that answers "echo", and remembers what it was told."""

    def __init__(self, kit: EngineKit, transport: HttpTransport, pack: Pack) -> None:
        self.kit = kit
        self.pack = pack
        self.seen: list[Any] = []
        self.ended: list[str] = []
        kit.io.on("echo", self.echo)
        kit.io.on("disconnect", self.gone)
        self.query = f"{kit._query}&transport={transport.name}&j=0"
        self.hello = kit.http("GET", self.query)
        [sid] = kit.engine.sessions
        self.session = kit.engine.sessions[sid]
        self.where = f"{self.query}&sid={sid}"

    def echo(self, socket: Socket, *args: Any) -> tuple[Any, ...]:
        self.seen.append(args)
        return args

    def gone(self, socket: Socket, reason: str) -> None:
        self.ended.append(reason)

    def said(self, packet: Packet) -> str:
        return self.session.wire.join(self.session.wire.encode(packet, self.session.parser))

    def say(self, packet: Packet) -> None:
        headers, body = self.pack(self.said(packet))
        assert self.kit.http("POST", self.where, body, headers).status == 200

    def expect_end(self) -> None:
        self.kit.engine.close(Reason.SHUTTING_DOWN)
        self.kit.turn()
        assert self.ended == [Reason.SHUTTING_DOWN]


def _check_poll_transport(transport: PollTransport, kit: EngineKit, pack: Pack, unpack: Unpack) -> None:
    name = transport.name
    for payload in ("4", "40\x1e2", '42["마당 🎈","\\u2028</script>\'\\\\"]', "x" * 100_000):
        response = transport.respond(kit.request("GET", f"transport={name}&j=0"), payload)
        headers = {key.lower(): value for key, value in response.headers}
        assert response.status == 200
        assert unpack(response.body) == payload, f"{name} answers {response.body!r:.100} for {payload!r:.100}"
        assert "content-type" in headers, f"{name} tells no content type"
        assert "content-length" not in headers, f"{name}: the length is the engine's to tell"
        assert "no-store" in headers.get("cache-control", ""), f"{name}: a response may be cached"
        if not transport.pages_only:
            assert transport.read(response.body) == payload, f"{name} reads {response.body!r:.100} wrongly"
        _check_posts(transport, kit, payload, pack)
    _check_garbage(transport, kit)

    # In a server: a handshake, an event and its answer, a broadcast to a poll that waits, the end.
    server = _Echoing(kit, transport, pack)
    assert server.hello.response is not None
    assert server.session.id in unpack(server.hello.response.body)
    server.say(Packet(CONNECT, {}))
    server.say(Packet(EVENT, ["echo", 1, b"two"], id=0))
    assert server.seen == [(1, b"two")], f"{name}: {server.seen} came"
    answer = kit.http("GET", server.where)
    kit.turn()
    assert answer.response is not None
    assert server.said(Packet(ACK, [1, b"two"], id=0)) in unpack(answer.response.body)
    if transport.waits:
        waiting = kit.http("GET", server.where)
        kit.turn()
        assert waiting.response is None, f"{name}: a poll does not wait"
        kit.io.emit("tick", 1)
        kit.turn()
        assert waiting.status == 200
        assert kit.http("GET", server.where).waits
        server.expect_end()
    else:
        kit.advance(kit.io.config.min_short_poll_seconds)
        empty = kit.http("GET", server.where)
        assert empty.response is not None, f"{name}: a poll waits"
        assert unpack(empty.response.body) == server.said(Packet(NOOP))
        server.expect_end()
        kit.advance(kit.io.config.min_short_poll_seconds)
        assert unpack(kit.http("GET", server.where).response.body) == server.said(Packet(CLOSE))  # type: ignore[union-attr]
    assert kit.engine.sessions == {}


def _check_stream_transport(transport: StreamTransport, kit: EngineKit, pack: Pack, unpack: Unpack) -> None:
    name = transport.name
    for payload in ("4", "40\x1e2", '42["마당 🎈","\\u2028</script>\'\\\\"]', "line\nline\r\nline", "x" * 100_000):
        assert unpack(transport.chunk(payload)) == payload, f"{name} sends {payload!r:.100} wrongly"
        assert transport.chunk(payload) == transport.chunk(payload), f"{name} writes {payload!r:.100} in two ways"
        _check_posts(transport, kit, payload, pack)
    _check_garbage(transport, kit)
    if not transport.pages_only:
        _check_decoder(transport, kit)

    # In a server: one response with all in it, and another one after that.
    server = _Echoing(kit, transport, pack)
    stream = server.hello
    headers = stream.headers
    assert stream.status == 200
    assert stream.streamer is not None, f"{name}: the response does not stay open"
    assert "content-type" in headers, f"{name} tells no content type"
    assert "no-store" in headers["cache-control"]
    assert headers["x-accel-buffering"] == "no"
    assert server.session.id in unpack(stream.take())
    server.say(Packet(CONNECT, {}))
    stream.take()
    server.say(Packet(EVENT, ["echo", 1, b"two"], id=0))
    assert server.seen == [(1, b"two")], f"{name}: {server.seen} came"
    assert unpack(stream.take()) == server.said(Packet(ACK, [1, b"two"], id=0))
    kit.io.emit("tick", 1)
    kit.io.emit("tick", 2)
    first, second = stream.parts
    assert unpack(first) == server.said(Packet(EVENT, ["tick", 1])), f"{name}: a packet is no part of its own"
    assert unpack(second) == server.said(Packet(EVENT, ["tick", 2]))
    stream.take()
    server.session._release_poll()
    assert unpack(stream.take()) == server.said(Packet(NOOP))
    assert stream.ended is True
    kit.io.emit("tick", 3)
    stream = kit.http("GET", server.where)
    assert unpack(stream.take()) == server.said(Packet(EVENT, ["tick", 3])), (
        f"{name}: something is lost between streams"
    )
    server.expect_end()
    assert unpack(stream.take()) == server.said(Packet(CLOSE))
    assert stream.ended is True
    assert kit.engine.sessions == {}


def _check_decoder(transport: StreamTransport, kit: EngineKit) -> None:
    """What `chunk` writes, `decoder` reads, in pieces of any size; one payload may not be too large."""
    request = kit.request("GET", f"transport={transport.name}")
    kind = next(value for name, value in transport.head(request) if name.lower() == "content-type")
    frames: list[Frame] = ["4", "40\x1e2", '42["마당 🎈","\\u2028"]', "\n", "a\r\n\rb", "\u2028 🎈", "x" * 10_000]
    if transport.binary:
        frames += [b"", b"\r\n\r\n", bytes(range(256)) * 10]
    stream = transport.prelude(request) + b"".join(map(transport.chunk, frames))
    for size in (1, 7, len(stream)):
        decoder = transport.decoder(kind, 100_000)
        read = [one for start in range(0, len(stream), size) for one in decoder.feed(stream[start : start + size])]
        assert read == frames, f"{transport.name} reads {read!r:.200} where it wrote {frames!r:.200}"
    for kind_of_another, most in (("text/html", 100_000), (kind, 1000)):
        try:
            transport.decoder(kind_of_another, most).feed(stream)
        except RemoteProtocolError as error:
            assert error.rule, f"{transport.name} names no rule"
        else:
            raise AssertionError(f"{transport.name} reads {kind_of_another!r}, and up to {most} bytes of anything")


def _check_link_transport(transport: LinkTransport, kit: EngineKit) -> None:
    ended: list[str] = []
    kit.io.on("echo", lambda socket, *args: args)
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    client = kit.websocket(transport=transport.name)
    session = client.session
    assert session.transport is transport
    assert session.id in str(client.hello)
    client.join()

    def written(packet: Packet) -> list[Frame]:
        frames = session.wire.encode(packet, session.parser)
        return [session.wire.as_text(frame) if transport.text_only else frame for frame in frames]

    client.say(*written(Packet(EVENT, ["echo", 1, b"two"], id=0)))
    assert client.heard() == written(Packet(ACK, [1, b"two"], id=0))
    if session.wire.server_pings:
        kit.advance(kit.io.config.ping_interval_seconds + 1)
        assert client.heard() == [*session.wire.encode(Packet(PING), session.parser)]
    client.duplex.lose()
    assert ended == [Reason.TRANSPORT_CLOSE]
    assert session.state != OPEN_STATE
    assert kit.engine.sessions == {}


def _check_stateless(one: Parser | Wire | Transport) -> None:
    assert isinstance(one.name, str), f"{one!r} has no name"
    assert one.name.isidentifier(), f"{one.name!r} can't be the name of a module"
    assert not getattr(one, "__dict__", None), f"{one.name} keeps {vars(one)}; one object serves all clients"


def _check_no_greeting(wire: Wire, frame: Frame) -> None:
    try:
        read = wire.greeted(frame)
    except RemoteProtocolError as error:
        assert error.rule, f"{wire.name} names no rule for {frame!r}"
    else:
        raise AssertionError(f"{wire.name} takes {frame!r} for a greeting: {read}")


def _check_refused(call: Callable[[], object], rule: str) -> None:
    try:
        call()
    except RemoteProtocolError as error:
        assert error.rule == rule, f"refused by {error.rule} instead of {rule}"
    else:
        raise AssertionError(f"{rule} is not kept")


#: What the parser "raw" carries.
RAW_PACKETS: Sequence[Packet] = (
    Packet(MESSAGE, ""),
    Packet(MESSAGE, "text 마당"),
    Packet(MESSAGE, b""),
    Packet(MESSAGE, b"\0\xff"),
)
