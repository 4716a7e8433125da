"""Doubles and kits for tests: of programs that use Madang, of new transports, parsers and generations, and of ours.

* `FakeClock`, `RecordingExchange`, `RecordingDuplex`: written doubles of the clock and of the two ports.
* `EngineKit`: a whole server without event loop and sockets, with clients that speak raw frames.
* `check_transport`, `check_parser`, `check_wire`: what every module of these kinds must keep. Each raises
  `AssertionError` with what is wrong.

One long module, because it is one import in a test, and each part is used with the others.

Example:
    >>> kit = EngineKit()
    >>> @kit.io.on("add")
    ... def add(socket, a, b):
    ...     return a + b
    >>> client = kit.websocket()
    >>> socket = client.join()
    >>> client.say('420["add",1,2]')
    >>> client.heard()
    ['430[3]']
"""
# ruff: noqa: S101, PT017 (assertions are what this module is for)

from __future__ import annotations

import asyncio
import copy
import gzip
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from madang.config import Config
from madang.core.engine import Engine
from madang.core.hub import Hub, Socket
from madang.core.session import OPEN_STATE, Session
from madang.core.wheel import Wheel
from madang.errors import EncodeError, MadangError, Reason, RemoteProtocolError, RequestRefused
from madang.packet import (
    ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    MESSAGE,
    PING,
    Encoded,
    Frame,
    Packet,
    restore_attachments,
)
from madang.parsers import Parser
from madang.server import Server
from madang.transports import Duplex, Exchange, HttpTransport, LinkTransport, Receiver, Request, Response, Transport
from madang.wire import Open, Wire

__all__ = [
    "Client",
    "EngineKit",
    "FakeClock",
    "LinkClient",
    "PollingClient",
    "RecordingDuplex",
    "RecordingExchange",
    "Waiting",
    "check_parser",
    "check_transport",
    "check_wire",
]


class FakeClock:
    """A clock that one moves.

    Attributes:
        now: its time, in seconds.

    Example:
        >>> clock = FakeClock(100.0)
        >>> clock.advance(2.5)
        >>> clock()
        102.5
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._wheel: Wheel | None = None

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def drive(self, wheel: Wheel) -> None:
        """Advance this wheel from now on, at the moments that it asks for."""
        self._wheel = wheel

    def advance(self, seconds: float) -> None:
        """Move on; each deadline on the way finds its own time on the clock."""
        target = self.now + seconds
        wheel = self._wheel
        while wheel is not None and (due := wheel.next) is not None and due <= target:
            self.now = max(self.now, due)
            wheel.advance(self.now)
        self.now = target
        if wheel is not None:
            wheel.advance(target)


class RecordingExchange(Exchange):
    """An HTTP response that is kept instead of sent.

    Attributes:
        response: what was answered, or None while the request waits.
    """

    __slots__ = ("response",)

    def __init__(self) -> None:
        self.response: Response | None = None

    def respond(self, response: Response) -> None:  # noqa: D102
        assert self.response is None, "a request was answered twice"
        self.response = response

    @property
    def waits(self) -> bool:
        """Whether no answer has come yet."""
        return self.response is None

    @property
    def status(self) -> int:
        """The HTTP status."""
        assert self.response is not None, "the request still waits"
        return self.response.status

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; values of one that stands twice joined."""
        assert self.response is not None, "the request still waits"
        headers: dict[str, str] = {}
        for name, value in self.response.headers:
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    @property
    def text(self) -> str:
        """The body, unpacked and decoded."""
        assert self.response is not None, "the request still waits"
        body = self.response.body
        return (gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body).decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class RecordingDuplex(Duplex):
    """A link that keeps what is written to it.

    Attributes:
        frames: what was written, since `take` was last called.
        encoded: the same as the engine gave it.
        closed: code and reason, once it is closed.
        receiver: whom it belongs to.
        room: how many packets it takes before it calls itself full; None: any number.
    """

    __slots__ = ("_full", "closed", "encoded", "frames", "receiver", "room")

    def __init__(self, room: int | None = None) -> None:
        self.frames: list[Frame] = []
        self.encoded: list[Encoded] = []
        self.closed: tuple[int, str] | None = None
        self.receiver: Receiver | None = None
        self.room = room
        self._full = False

    def bind(self, receiver: Receiver) -> None:  # noqa: D102
        self.receiver = receiver

    def write(self, encoded: Encoded) -> None:  # noqa: D102
        if self.closed is not None:
            return
        self.frames += encoded.frames
        self.encoded.append(encoded)
        if self.room is not None:
            self.room -= 1
            if self.room <= 0 and not self._full:
                self.fill()

    def close(self, code: int = 1000, reason: str = "") -> None:  # noqa: D102
        if self.closed is None:
            self.closed = (code, reason)
            self.receiver = None

    def take(self) -> list[Frame]:
        """What was written since the last time."""
        frames, self.frames = self.frames, []
        self.encoded = []
        return frames

    def say(self, *frames: Frame) -> None:
        """Let frames come from the client."""
        for frame in frames:
            if self.receiver is not None:
                self.receiver.receive(frame)

    def fill(self) -> None:
        """Be full: the client reads too slowly."""
        self._full = True
        if self.receiver is not None:
            self.receiver.pause()

    def empty(self, room: int | None = None) -> None:
        """The client has read: there is room again, for any number of packets or for so many."""
        self._full = False
        self.room = room
        if self.receiver is not None:
            self.receiver.resume()

    def lose(self, reason: str = Reason.TRANSPORT_CLOSE) -> None:
        """Break, or be closed by the client."""
        receiver, self.receiver = self.receiver, None
        if self.closed is None:
            self.closed = (1006, reason)
        if receiver is not None:
            receiver.lost(self, reason)


class Waiting:
    """Something that is awaited by hand, without an event loop.

    Example:
        >>> kit = EngineKit()
        >>> client = kit.websocket()
        >>> waiting = Waiting(client.join().call("ready?"))
        >>> waiting.done
        False
        >>> client.say("431[true]")
        >>> waiting.result
        True
    """

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._steps = awaitable.__await__()
        self._value: Any = None
        self._error: MadangError | None = None
        self._over = False
        self.done  # noqa: B018  # the first step

    @property
    def done(self) -> bool:
        """Whether the end is reached; goes on as far as possible."""
        if not self._over:
            try:
                waiter = next(self._steps)
            except StopIteration as stop:
                self._value = stop.value
                self._over = True
            except MadangError as error:
                self._error = error
                self._over = True
            else:
                assert isinstance(waiter, _Waiter), "only Madang's own objects can be awaited by hand"
        return self._over

    @property
    def result(self) -> Any:
        """What came out; raises what was raised."""
        assert self.done, "it still waits"
        if self._error is not None:
            raise self._error
        return self._value


class _Waiter:
    """A future without an event loop."""

    def __init__(self) -> None:
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, value: object) -> None:
        assert not self._done, "set twice"
        self._done = True

    def __await__(self) -> Generator[_Waiter, None, None]:
        while not self._done:
            yield self


class EngineKit:
    """A server without sockets: requests, links and time come from the test.

    Args:
        io: the server; without it, one is made of `settings`. Made while an event loop runs, handlers may be
            `async def`; else only what has no colour works, and waiting is done by `Waiting`.
        query: what a client of the generation puts into the query.
        settings: of the server.

    Attributes:
        io: the server.
        engine: its engine.
        hub: its hub.
        clock: the clock; `advance` moves it.
        violations: each protocol error of a client that the engine told of.
        refusals: each request that was answered with an error.
    """

    def __init__(self, io: Server | None = None, *, query: str = "EIO=4", **settings: Any) -> None:
        self.io = io if io is not None else Server(**settings)
        self.engine: Engine = self.io.engine
        self.hub: Hub = self.io.hub
        self.clock = FakeClock()
        self.violations: list[RemoteProtocolError] = []
        self.refusals: list[RequestRefused] = []
        self._query = query
        self._soon: list[Callable[[], None]] = []
        self._ids = 0
        if asyncio._get_running_loop() is not None:
            self.io.bind()
        else:
            self.hub.new_future = _Waiter
            self.hub.shield = lambda waiter: waiter
        engine = self.engine
        engine.clock = self.clock
        engine.call_soon = self._soon.append
        engine.new_id = self._new_id
        engine.wheel.wake = lambda when: None
        engine.on_violation = lambda session, error: self.violations.append(error)
        engine.on_refused = lambda request, refusal: self.refusals.append(refusal)
        self.clock.drive(engine.wheel)

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:020d}"

    def turn(self) -> None:
        """End the turn of the event loop: what was put off to its end happens."""
        while self._soon:
            self._soon.pop(0)()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.turn()

    # HTTP

    def request(self, method: str, query: str, headers: Mapping[str, str] | None = None, **more: Any) -> Request:
        """A request to the server's path."""
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
        return Request(method, self.io.config.path, query, pairs, **more)

    def http(
        self, method: str, query: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> RecordingExchange:
        """Make a request, with its body if it is wanted."""
        exchange = RecordingExchange()
        request = self.request(method, query, headers)
        if self.engine.begin(request, exchange):
            assert exchange.waits, "a body was wanted of a request that was answered"
            self.engine.finish(request, exchange, body or b"")
        return exchange

    # Clients

    def polling(
        self, headers: Mapping[str, str] | None = None, transport: str = "polling", **query: str
    ) -> PollingClient:
        """Open a session over HTTP."""
        fields = f"{self._query}&{urlencode({'transport': transport, **query})}"
        known = set(self.engine.sessions)
        exchange = self.http("GET", fields, headers=headers)
        assert exchange.status == 200, exchange.text
        [sid] = set(self.engine.sessions) - known
        return PollingClient(self, self.engine.sessions[sid], exchange, fields, headers)

    def websocket(
        self,
        headers: Mapping[str, str] | None = None,
        duplex: RecordingDuplex | None = None,
        transport: str = "websocket",
        **query: str,
    ) -> LinkClient:
        """Open a session over a link."""
        request = self.request("GET", f"{self._query}&{urlencode({'transport': transport, **query})}", headers)
        link = duplex if duplex is not None else RecordingDuplex()
        known = set(self.engine.sessions)
        self.engine.admit(request)
        self.engine.link(request, link)
        [sid] = set(self.engine.sessions) - known
        return LinkClient(self, self.engine.sessions[sid], link)

    def upgrade(self, client: Client, transport: str = "websocket") -> RecordingDuplex:
        """Open a link beside a session, as clients do to move to it; what is said over it is up to the caller."""
        query = f"{self._query}&{urlencode({'transport': transport, 'sid': client.session.id})}"
        request = self.request("GET", query)
        duplex = RecordingDuplex()
        self.engine.admit(request)
        self.engine.link(request, duplex)
        return duplex


class Client(ABC):
    """Somebody who speaks raw frames to an `EngineKit`.

    Attributes:
        session: the session at the server.
        hello: the first frame that was heard.
    """

    def __init__(self, kit: EngineKit, session: Session, hello: Frame) -> None:
        self.kit = kit
        self.session = session
        self.hello = hello

    @abstractmethod
    def say(self, *frames: Frame) -> None:
        """Send frames."""

    @abstractmethod
    def heard(self) -> list[Frame]:
        """The frames that came since the last time, at the end of the turn."""

    def join(self, namespace: str = "/", auth: dict[str, Any] | None = None) -> Socket:
        """Join a namespace, and hear the answer; what else came before it stays unheard for good."""
        session = self.session
        packet = Packet(CONNECT, auth or {}, namespace)
        self.say(*session.wire.encode(packet, session.parser))
        self.heard()
        socket: Socket | None = session.sockets.get(namespace)
        assert socket is not None, f"the client was refused in {namespace}"
        return socket


class PollingClient(Client):
    """A client over HTTP.

    Attributes:
        handshake: the response to its first request.
        query: what its requests have in their query.
    """

    def __init__(
        self,
        kit: EngineKit,
        session: Session,
        handshake: RecordingExchange,
        query: str,
        headers: Mapping[str, str] | None,
    ) -> None:
        self.handshake = handshake
        self.query = f"{query}&sid={session.id}"
        self.headers = headers
        self._poll: RecordingExchange | None = None
        super().__init__(kit, session, session.wire.split(handshake.text, kit.io.config)[0])

    def poll(self) -> RecordingExchange:
        """Ask for what there is; the answer may wait."""
        return self.kit.http("GET", self.query, headers=self.headers)

    def post(self, *frames: Frame) -> RecordingExchange:
        """Send frames in one payload."""
        return self.kit.http("POST", self.query, self.session.wire.join(frames).encode(), self.headers)

    def say(self, *frames: Frame) -> None:  # noqa: D102
        exchange = self.post(*frames)
        assert exchange.status == 200, exchange.text

    def heard(self) -> list[Frame]:
        """Poll once, or look at the poll that waits. Nothing heard means that the poll waits."""
        if self._poll is None:
            self._poll = self.poll()
        self.kit.turn()
        if self._poll.waits:
            return []
        answered, self._poll = self._poll, None
        return self.session.wire.split(answered.text, self.kit.io.config)


class LinkClient(Client):
    """A client over a link.

    Attributes:
        duplex: the link.
    """

    def __init__(self, kit: EngineKit, session: Session, duplex: RecordingDuplex) -> None:
        self.duplex = duplex
        super().__init__(kit, session, duplex.take()[0])

    def say(self, *frames: Frame) -> None:  # noqa: D102
        self.duplex.say(*frames)

    def heard(self) -> list[Frame]:  # noqa: D102
        self.kit.turn()
        return self.duplex.take()


# Conformance

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


def check_wire(wire: Wire, parser: Parser) -> None:
    """Check what every generation must keep, with a parser that carries Socket.IO's packets.

    It has a name and no state; frames that it writes, its decoder reads, one at a time; payloads that it joins, it
    splits; what it can't read is a `RemoteProtocolError`, whatever came before.

    Raises:
        AssertionError: it doesn't.
    """
    assert isinstance(wire, Wire), f"{wire!r} is no Wire"
    _check_stateless(wire)
    limits = Config()
    assert not wire.recognises({}), f"{wire.name} recognises a client that says nothing"

    packets = _copied(socketio_packets())
    written = [wire.encode(packet, parser) for packet in packets]
    decoder = wire.decoder(parser, limits)
    for packet, frames in zip(packets, written, strict=True):
        for frame in frames[:-1]:
            assert decoder.feed(frame) is None, f"{wire.name} finds {packet} whole too early"
        read = decoder.feed(frames[-1])
        assert read == packet, f"{wire.name} reads {read} where it wrote {packet}"

    everything = [frame for frames in written for frame in frames]
    for some in (everything, everything[:1], everything[-2:], [b"\0\1\2"]):
        payload = wire.join(some)
        assert wire.split(payload, limits) == some, f"{wire.name} splits {payload!r:.200} wrongly"
    few = Config(max_packets_per_payload=3)
    assert wire.split(wire.join(everything[:3]), few) == everything[:3]
    _check_refused(lambda: wire.split(wire.join(everything[:4]), few), "max_packets_per_payload")

    hello = wire.open(Open("0123456789abcdefghij", ["websocket"], 25.0, 20.0, 1_000_000))
    assert "0123456789abcdefghij" in str(hello), f"{wire.name} doesn't tell the client its id"
    assert wire.split(wire.join([hello]), limits) == [hello]

    for garbage in (*_GARBAGE_TEXT, *_GARBAGE_BYTES):
        for before in ((), *(frames[:1] for frames in written)):
            decoder = wire.decoder(parser, limits)
            try:
                for frame in (*before, garbage, garbage):
                    decoder.feed(frame)
            except RemoteProtocolError as error:
                assert error.rule, f"{wire.name} names no rule for {garbage!r}"
        if isinstance(garbage, str):
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
        unpack: how a client takes a payload out of the body of a response.
        query: what a client puts into its query, besides the transport and the session.

    Raises:
        AssertionError: it doesn't.
    """
    assert isinstance(transport, Transport), f"{transport!r} is no Transport"
    _check_stateless(transport)
    assert isinstance(transport.upgrades, tuple), f"{transport.name}: upgrades must be a tuple"
    assert transport.name not in transport.upgrades, f"{transport.name} is an upgrade of itself"
    kit = EngineKit(query=query, transports=[transport.name], allow_upgrades=False)
    if isinstance(transport, HttpTransport):
        _check_http_transport(transport, kit, pack, unpack)
    else:
        assert isinstance(transport, LinkTransport), f"{transport.name} is neither for HTTP nor for links"
        _check_link_transport(transport, kit)
    _check_stateless(transport)


def _check_http_transport(
    transport: HttpTransport,
    kit: EngineKit,
    pack: Callable[[str], tuple[Mapping[str, str], bytes]],
    unpack: Callable[[bytes], str],
) -> None:
    name = transport.name
    for payload in ("4", "40\x1e2", '42["마당 🎈","\\u2028</script>\'\\\\"]', "x" * 100_000):
        response = transport.respond(kit.request("GET", f"transport={name}&j=0"), payload)
        headers = {key.lower(): value for key, value in response.headers}
        assert response.status == 200
        assert unpack(response.body) == payload, f"{name} answers {response.body!r:.100} for {payload!r:.100}"
        assert "content-type" in headers, f"{name} tells no content type"
        assert "content-length" not in headers, f"{name}: the length is the engine's to tell"
        assert "no-store" in headers.get("cache-control", ""), f"{name}: a response may be cached"
        more, body = pack(payload)
        assert transport.unpack(kit.request("POST", f"transport={name}", more), body) == payload
    for garbage in (b"\xff\xfe", b"", b"d", b"d=\xff", bytes(range(256))):
        try:
            assert isinstance(transport.unpack(kit.request("POST", f"transport={name}"), garbage), str)
        except RemoteProtocolError as error:
            assert error.rule
    assert transport.accepted(kit.request("POST", f"transport={name}")).status == 200

    # In a server: a handshake, an event and its answer, a broadcast to a poll that waits, the end.
    seen: list[Any] = []
    ended: list[str] = []

    def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        seen.append(args)
        return args

    kit.io.on("echo", echo)
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    known = set(kit.engine.sessions)
    hello = kit.http("GET", f"{kit._query}&transport={name}&j=0")
    [sid] = set(kit.engine.sessions) - known
    session = kit.engine.sessions[sid]
    assert hello.response is not None
    assert sid in unpack(hello.response.body)
    where = f"{kit._query}&transport={name}&sid={sid}&j=0"

    def say(packet: Packet) -> None:
        headers, body = pack(session.wire.join(session.wire.encode(packet, session.parser)))
        assert kit.http("POST", where, body, headers).status == 200

    say(Packet(CONNECT, {}))
    say(Packet(EVENT, ["echo", 1, b"two"], id=0))
    assert seen == [(1, b"two")], f"{name}: {seen} came"
    answer = kit.http("GET", where)
    kit.turn()
    expected = session.wire.join(session.wire.encode(Packet(ACK, [1, b"two"], id=0), session.parser))
    assert answer.response is not None
    assert expected in unpack(answer.response.body)
    waiting = kit.http("GET", where)
    kit.turn()
    assert waiting.response is None, f"{name}: a poll does not wait"
    kit.io.emit("tick", 1)
    kit.turn()
    assert waiting.status == 200
    assert kit.http("GET", where).waits
    kit.engine.close(Reason.SHUTTING_DOWN)
    kit.turn()
    assert ended == [Reason.SHUTTING_DOWN]
    assert kit.engine.sessions == {}


def _check_link_transport(transport: LinkTransport, kit: EngineKit) -> None:
    ended: list[str] = []
    kit.io.on("echo", lambda socket, *args: args)
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    client = kit.websocket(transport=transport.name)
    session = client.session
    assert session.transport is transport
    assert session.id in str(client.hello)
    client.join()
    client.say(*session.wire.encode(Packet(EVENT, ["echo", 1, b"two"], id=0), session.parser))
    assert client.heard() == [*session.wire.encode(Packet(ACK, [1, b"two"], id=0), session.parser)]
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
