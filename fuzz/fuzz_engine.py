"""Fuzz the core: any sequence of requests, frames, moves of the clock and of the program, against one engine.

An input is a program for clients, links, clock and server (see `Play.steps`). Limits are small, so that each is
reached. Checked after every step: no exception comes out; the table of sessions holds those that live; every request
is answered or belongs to a session that will answer it; the count of waiting polls is right; rooms and sockets mirror
each other; what a session believes to have buffered, it has. At the end all is closed, and nothing may be left.
"""

import logging
from collections.abc import Callable
from typing import Any

from harness import run

from madang.core.listeners import Handler, Listeners
from madang.core.session import CLOSED, CLOSING, OPEN_STATE, Session
from madang.core.socket import Socket
from madang.errors import ConnectionRefused, LimitError, Reason, RequestRefused
from madang.packet import Frame
from madang.testing import EngineKit, RecordingDuplex, RecordingExchange

FRAMES: list[Frame] = [
    "40", "41", "40/a,", "41/a,", "40/b,", "40/later,", "40/refused,", "40/nowhere,", "1", "2", "2probe", "3", "5", "6",
    '42["echo",1]', '421["echo",2]', '422["enter","r1"]', '42["enter","r2"]', '42["exit","r1"]', '42["kick"]',
    '42["close"]', '42["shout","r1"]', '42["boom"]', '423["boom"]', '42["ask"]', '42/a,["enter","r3"]', '42/a,["kick"]',
    "431[]", "432[1]", "43/a,1[]", '451-["echo",{"_placeholder":true,"num":0}]', b"\1\2", b"",
    '452-4["echo",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]', "4", "", "9", "0{}",
    '42["disconnect"]',
    '42["enter","r4","r5","r6","r7","r8"]', '42["mute"]', "42[7]",
]  # fmt: skip
QUERIES = [
    "", "EIO=4", "EIO=4&transport=polling", "EIO=4&transport=websocket", "EIO=3&transport=polling",
    "EIO=4&transport=polling&sid=x", "EIO=4&transport=websocket&sid=x", "transport=%ff&sid=&&=", "EIO=4&transport=x",
]  # fmt: skip
METHODS = ["GET", "POST", "OPTIONS", "PUT", "HEAD", "DELETE"]
HEADERS: list[dict[str, str]] = [
    {}, {"Origin": "http://evil.org", "Host": "a.org"}, {"Origin": "http://a.org", "Host": "a.org:80"},
    {"Accept-Encoding": "gzip"}, {"Content-Length": "999999999"}, {"Content-Type": "application/octet-stream"},
    {"Origin": "null"}, {"Origin": "http://[", "Host": "["},
]  # fmt: skip


class Play:
    """One input, played."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.kit = EngineKit(
            max_connections=6,
            max_unanswered_polls=3,
            max_namespaces_per_client=3,
            max_rooms_per_socket=4,
            max_buffered_bytes=300,
            max_payload_bytes=200,
            max_packet_bytes=250,
            max_attachments=2,
            ping_interval_seconds=5,
            ping_timeout_seconds=4,
            upgrade_timeout_seconds=3,
            connect_timeout_seconds=12,
            http_compression_threshold_bytes=50,
            max_packets_per_payload=40,
        )
        self.sessions: list[Session] = []
        self.links: list[RecordingDuplex] = []
        self.exchanges: list[RecordingExchange] = []
        self.pending: list[Socket] = []
        self.sockets: list[Socket] = []
        self.program()
        self.steps: list[Callable[[], None]] = [
            self.open_polling, self.open_link, self.poll, self.poll, self.post, self.post, self.frame, self.frame,
            self.raw_frame, self.raw_post, self.upgrade, self.lose, self.abandon, self.abort, self.fill, self.empty,
            self.advance, self.advance, self.turn, self.emit, self.rooms, self.disconnect, self.call, self.decide,
            self.request, self.shut, self.leap,
        ]  # fmt: skip

    def program(self) -> None:
        io = self.kit.io
        self.kit.hub.admit = self.admit
        for name in ("/", "/a", "/b", "/later", "/refused"):
            listeners = io.of(name).listeners
            listeners.events = LISTENERS.events
            listeners.life = {**LISTENERS.life, "connection": [Handler(self.sockets.append, leading=1, what="")]}

    def admit(self, socket: Socket) -> None:
        if socket.namespace.name == "/later":
            socket.join("waiting")
            self.pending.append(socket)
        elif socket.namespace.name == "/refused":
            socket.join("refused")
            socket.refuse(ConnectionRefused("no", {"code": 1}))
        else:
            socket.accept()

    # The tape

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def one_of(self, some: list[Any]) -> Any:
        return some[self.byte() % len(some)] if some else None

    def piece(self) -> bytes:
        size = self.byte() % 64
        self.at += size
        return self.data[self.at - size : self.at]

    # Steps

    def play(self) -> None:
        while self.at < len(self.data):
            self.steps[self.byte() % len(self.steps)]()
            self.check()
        self.end()

    def note(self, exchange: RecordingExchange) -> None:
        self.exchanges.append(exchange)
        for session in self.kit.engine.sessions.values():
            if session not in self.sessions:
                self.sessions.append(session)

    def query(self, session: Session, transport: str = "polling") -> str:
        return f"EIO=4&transport={transport}&sid={session.id}"

    def open_polling(self) -> None:
        self.note(self.kit.http("GET", "EIO=4&transport=polling", headers=self.one_of(HEADERS)))

    def link(self, query: str) -> None:
        request = self.kit.request("GET", query)
        try:
            self.kit.engine.admit(request)
        except RequestRefused:
            return
        duplex = RecordingDuplex(room=self.one_of([None, None, 0, 1, 3]))
        self.links.append(duplex)
        self.kit.engine.link(request, duplex)
        self.note(RecordingExchange())
        self.exchanges.pop()

    def open_link(self) -> None:
        self.link("EIO=4&transport=websocket")

    def upgrade(self) -> None:
        session = self.one_of(self.sessions)
        if session is not None:
            self.link(self.query(session, "websocket"))

    def poll(self) -> None:
        session = self.one_of(self.sessions)
        if session is not None:
            self.note(self.kit.http("GET", self.query(session), headers=self.one_of(HEADERS)))

    def post(self) -> None:
        session = self.one_of(self.sessions)
        if session is not None:
            frames = [self.one_of(FRAMES) for _ in range(1 + self.byte() % 4)]
            self.note(self.kit.http("POST", self.query(session), session.wire.join(frames).encode()))

    def raw_post(self) -> None:
        session = self.one_of(self.sessions)
        if session is not None:
            self.note(self.kit.http("POST", self.query(session), self.piece(), self.one_of(HEADERS)))

    def frame(self) -> None:
        link = self.one_of(self.links)
        if link is not None:
            link.say(self.one_of(FRAMES))

    def raw_frame(self) -> None:
        link = self.one_of(self.links)
        if link is not None:
            piece = self.piece()
            link.say(piece if self.byte() & 1 else piece.decode("utf-8", "replace"))

    def lose(self) -> None:
        link = self.one_of(self.links)
        if link is not None:
            link.lose(self.one_of([Reason.TRANSPORT_CLOSE, Reason.TRANSPORT_ERROR]))

    def fill(self) -> None:
        link = self.one_of(self.links)
        if link is not None:
            link.fill()

    def empty(self) -> None:
        link = self.one_of(self.links)
        if link is not None:
            link.empty(self.one_of([None, 1, 2, 5]))

    def abandon(self) -> None:
        session, exchange = self.one_of(self.sessions), self.one_of(self.exchanges)
        if session is not None and exchange is not None:
            self.kit.engine.abandon(self.kit.request("GET", self.query(session)), exchange)
            if exchange.waits and not any(one._exchange is exchange for one in self.sessions):
                self.exchanges.remove(exchange)  # its connection is gone

    def abort(self) -> None:
        session = self.one_of(self.sessions)
        if session is not None:
            self.kit.engine.abort(self.kit.request("POST", self.query(session)))

    def advance(self) -> None:
        self.kit.advance(self.byte() / 50)

    def leap(self) -> None:
        self.kit.clock.now += self.byte() / 10  # the face's timer is late
        self.kit.engine.wheel.advance(self.kit.clock.now)

    def turn(self) -> None:
        self.kit.turn()

    def emit(self) -> None:
        io, socket = self.kit.io, self.one_of(self.sockets)
        room = self.one_of(["r1", "r2", "r3", "waiting", "refused", socket.id if socket else "none"])
        targets: list[Any] = [io, io.to(room), io.except_(room), io.volatile, io.of("/a"), io.to(room, "r1").volatile]
        if socket is not None:
            targets += [socket, socket.broadcast, socket.to(room), socket.volatile, socket.except_(room)]
        self.one_of(targets).emit("tick", self.one_of([1, "x" * 60, b"bytes", None]))

    def rooms(self) -> None:
        socket = self.one_of(self.sockets)
        if socket is not None:
            try:
                (socket.join if self.byte() & 1 else socket.leave)(self.one_of(["r1", "r2", "r3", "r4", "r5", "r6"]))
            except LimitError:
                assert len(socket.rooms) == 5

    def disconnect(self) -> None:
        socket = self.one_of(self.sockets)
        if socket is not None:
            socket.disconnect(close=bool(self.byte() & 1))

    def call(self) -> None:
        socket = self.one_of(self.sockets)
        target = self.one_of([self.kit.io, self.kit.io.to("r1"), *([socket] if socket else [])])
        target.call("question", timeout=1 + self.byte() % 5)

    def decide(self) -> None:
        if self.pending:
            socket = self.pending.pop(self.byte() % len(self.pending))
            if self.byte() & 1:
                socket.accept()
            else:
                socket.refuse(ConnectionRefused())

    def request(self) -> None:
        query = self.one_of(QUERIES) or self.piece().decode("latin-1")
        self.note(self.kit.http(self.one_of(METHODS), query, self.piece(), self.one_of(HEADERS)))

    def shut(self) -> None:
        if self.byte() % 8 == 0:
            self.kit.engine.close(Reason.SHUTTING_DOWN)
            self.kit.engine.reopen()

    # What must be true

    def check(self) -> None:
        engine = self.kit.engine
        waiting = [session for session in self.sessions if session._exchange is not None]
        assert engine._parked == len(waiting), f"{engine._parked} polls are counted, {len(waiting)} wait"
        for id_, session in engine.sessions.items():
            assert session.id == id_
            assert session.state != CLOSED, f"{session} is kept"
        held = {id(session._exchange) for session in waiting}
        for exchange in self.exchanges:
            if exchange.waits:
                assert id(exchange) in held, "a request hangs"
        self.exchanges = [exchange for exchange in self.exchanges if exchange.waits]
        for session in self.sessions:
            self.check_session(session)
        for namespace in self.kit.hub.namespaces.values():
            for room, members in namespace._rooms.items():
                assert members, f"the empty room {room} is kept"
                for socket in members:
                    assert room in (socket._rooms or ()), f"{socket} is in {room} and does not know"
            for id_, socket in namespace._sockets.items():
                assert socket.connected
                assert socket.id == id_
                assert socket.session.state == OPEN_STATE
                assert socket.session.sockets[namespace.name] is socket
                for room in socket._rooms or ():
                    assert socket in namespace._rooms[room]

    def check_session(self, session: Session) -> None:
        alive = self.kit.engine.sessions.get(session.id) is session
        assert alive == (session.state != CLOSED), f"{session} is lost"
        if session.state != OPEN_STATE:
            assert session._exchange is None
            assert session._duplex is None
            probe = session._probe  # a client that is on its way gets the farewell there
            assert probe is None or (session.state == CLOSING and probe.answered)
            assert all(socket is None or not socket.connected for socket in session.sockets.values())
        else:
            assert session._buffered == sum(encoded.size for encoded in session._outbox or ())
            assert len(session.sockets) <= 3
        assert session.direct is None or session.direct is session._duplex
        if session._duplex is not None:
            assert isinstance(session._duplex, RecordingDuplex)
            assert session._exchange is None
            assert session.transport.name == "websocket"
            assert session._duplex.receiver is session

    def end(self) -> None:
        engine = self.kit.engine
        engine.close(Reason.SHUTTING_DOWN)
        self.check()
        self.kit.advance(100)
        self.check()
        assert engine.sessions == {}
        assert engine._parked == 0
        assert self.exchanges == []
        for namespace in self.kit.hub.namespaces.values():
            assert namespace._sockets == {}
            assert namespace._rooms == {}, f"{namespace._rooms} is left"
            assert namespace._eavesdroppers == 0
        for link in self.links:
            assert link.closed is not None, "a link is left open"
        assert engine.wheel.next is None, "somebody is waited for"


def boom(socket: Socket) -> None:
    raise LookupError("a handler fails")


def registered() -> Listeners:
    """The handlers of all namespaces, registered once: that takes longer than most inputs."""
    home = Listeners()
    home.add("echo", lambda socket, *args: args)
    home.add("enter", lambda socket, *rooms: socket.join(*map(str, rooms)))
    home.add("exit", lambda socket, *rooms: socket.leave(*map(str, rooms)))
    home.add("kick", lambda socket: socket.disconnect())
    home.add("close", lambda socket: socket.disconnect(close=True))
    home.add("shout", lambda socket, room: socket.to(str(room)).emit("said", "x" * 30))
    home.add("ask", lambda socket: socket.call("asked", timeout=1) and None)
    home.add("mute", lambda socket: socket.on("disconnecting", lambda socket, reason: socket.disconnect(True)) and None)
    home.add("boom", boom)
    home.add("disconnecting", lambda socket, reason: [socket.to(room).emit("bye") for room in socket.rooms])
    home.add("disconnect", lambda socket, reason: socket.namespace.emit("gone", socket.id))
    return home


LISTENERS = registered()


def target(data: bytes) -> None:
    Play(data).play()


def seeds() -> list[bytes]:
    """Programs by the numbers of their steps."""
    step = {name: number for number, name in reversed(list(enumerate(STEPS)))}
    index = {frame: number for number, frame in enumerate(FRAMES)}

    def post(session: int, *frames: Frame) -> list[int]:
        return [step["post"], session, len(frames) - 1, *(index[frame] for frame in frames)]

    def frame(link: int, *frames: Frame) -> list[int]:
        return [number for one in frames for number in (step["frame"], link, index[one])]

    polling = [step["open_polling"], 0, *post(0, "40"), step["poll"], 0, 0]
    link = [step["open_link"], 0, *frame(0, "40")]
    upgrade = [step["upgrade"], 0, 0]
    echo = '421["echo",2]'
    programs = [
        polling,
        link,
        [*polling, *upgrade, *frame(0, "2probe", "5", echo)],
        [*polling, step["poll"], 0, 0, *upgrade, *frame(0, "2probe"), step["poll"], 0, 0, *frame(0, "5")],
        [*link, *frame(0, '422["enter","r1"]', "40/a,", '42/a,["enter","r3"]', "41"), step["emit"], 0, 0, 0, 0],
        [*link, step["fill"], 0, *[step["emit"], 0, 0, 0, 1] * 9, step["turn"], step["empty"], 0, 0],
        [*polling, *[step["emit"], 0, 0, 0, 1] * 9, step["turn"], step["poll"], 0, 0],
        [*link, *frame(0, "40/later,"), step["decide"], 0, 1, *frame(0, "40/refused,", "40/nowhere,")],
        [*link, step["call"], 2, 1, *frame(0, "431[]"), step["call"], 0, 0, step["advance"], 200],
        [*link, *frame(0, '42["mute"]', '42["close"]')],
        [*polling, step["poll"], 0, 0, step["poll"], 0, 0],
        [*polling, step["poll"], 0, 0, step["abandon"], 0, 0],
        [*polling, step["disconnect"], 0, 1, step["poll"], 0, 0, step["poll"], 0, 0],
        [*link, *[step["advance"], 255, *frame(0, "3")] * 4, step["leap"], 255, step["advance"], 255],
        [*link, *frame(0, '451-["echo",{"_placeholder":true,"num":0}]', b"\1\2", b"\1\2")],
        [*link, step["shut"], 0, *link],
        [number for _ in range(8) for number in (step["open_link"], 0, step["open_polling"], 0)],
        [step["request"], 7, 9, *b"EIO=4&a=b", 1, 3, *b"abc", 4],
    ]
    return [bytes(program) for program in programs]


STEPS = [step.__name__ for step in Play(b"").steps]

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # handlers fail here on purpose
    run(target, seeds())
