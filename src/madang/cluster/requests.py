"""Requests for sessions of other servers: any server of a cluster takes any request of any client.

How an id begins tells whose session it is. The server that a request reaches, the *entrance*, hands it to the *owner*
of the session, and does with the answer what the owner would have done: one exchange of messages for a poll or a POST,
some more for a stream or a link, which both ends keep until it is over::

    entrance                            owner
    Ask, Open     a request, a link  -> Taken, at once; then Answer, or Begin, Part..., End, or Frames..., Close
    Said          a client's frames  ->
    Read          so much was read  <-> Heard: so much was taken. Who is too far ahead of this waits.
    Gone, Failed  the client left    ->
    Abort         a POST got lost    ->
    Release       the entrance goes  -> the poll is answered, so that the client comes by another way
    Lost          a gap was seen    <-> all that was under way between the two is given up

What is said to one server in a turn of the event loop goes in one parcel, in order. Parcels are numbered, so that one
that is missing is noticed, and one that comes twice is taken once. What goes to several links or streams alike is in a
parcel once.

Source: MessagePack, through msgspec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

import msgspec

from madang.core.elsewhere import Elsewhere
from madang.core.engine import Engine
from madang.core.wheel import Timed
from madang.errors import BAD_REQUEST, UNKNOWN_SID, Reason, RemoteProtocolError, RequestRefused
from madang.packet import Encoded, Frame
from madang.transports import Duplex, Exchange, Receiver, Request, Response, Streamer

__all__ = ["NODE_LENGTH", "Requests", "read"]

#: With so many characters of a session's id its server is told.
NODE_LENGTH: Final = 4
#: How the parcels are written. Whoever changes the messages changes this.
_VERSION: Final = 1
_RULE: Final = "cluster requests"
#: How far a stream or a link may be ahead of what the other end has confirmed.
_WINDOW_BYTES: Final = 262_144
#: After how much the other end confirms.
_CONFIRM_BYTES: Final = 65_536
#: What a frame takes besides its text: else the smallest ones would take many times of what they count.
_BYTES_PER_FRAME: Final = 32
#: After how much a parcel goes before the turn of the event loop is over.
_PARCEL_BYTES: Final = 262_144
_GOING_AWAY: Final = 1001
_WAY: Final = "it can't be handed over"


class Head(msgspec.Struct, array_like=True):
    """The head of a request, as the entrance has seen it."""

    method: str
    path: str
    query: str
    block: bytes
    address: str
    secure: bool
    received: float
    root: str

    @classmethod
    def of(cls, request: Request) -> Head:
        """The head of a request."""
        return cls(
            request.method,
            request.path,
            request.query_string,
            request.block,
            request.address,
            request.secure,
            request.received,
            request.root_path,
        )

    def request(self) -> Request:
        """The request of this head."""
        return Request(
            self.method,
            self.path,
            self.query,
            self.block,
            address=self.address,
            secure=self.secure,
            received=self.received,
            root_path=self.root,
        )


class _Message(msgspec.Struct, array_like=True):
    """What all have: the number that the entrance has given to what it is about."""

    number: int


class Ask(_Message, tag=1):
    """A request, with the body of a POST."""

    head: Head
    body: bytes | None


class Open(_Message, tag=2):
    """A link is open. `knocks` is its transport, if its clients say in their first frame who they are."""

    head: Head
    text_only: bool
    knocks: str


class Abort(_Message, tag=3):
    """The connection of a POST broke before the body was whole."""

    head: Head


class Said(_Message, tag=4):
    """The client has sent these over its link."""

    frames: list[Any]  # text and bytes, which `read` looks at


class Read(_Message, tag=5):
    """The client's connection has taken so much more."""

    size: int


class Gone(_Message, tag=6):
    """The client's connection is gone."""

    reason: str


class Failed(_Message, tag=7):
    """The client broke a rule of the link."""

    text: str
    rule: str
    code: int
    status: int
    reason: str


class Release(_Message, tag=8):
    """The entrance is about to go."""


class Taken(_Message, tag=9):
    """The owner has it; its answer may take a while."""


class Answer(_Message, tag=10):
    """A whole response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Begin(_Message, tag=11):
    """A response that stays open."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Part(msgspec.Struct, array_like=True, tag=12):
    """A part of such responses."""

    numbers: list[int]
    data: bytes


class End(_Message, tag=13):
    """The end of one."""

    cut: bool


class Frames(msgspec.Struct, array_like=True, tag=14):
    """A packet for links."""

    numbers: list[int]
    frames: tuple[Any, ...]
    compress: bool


class Close(_Message, tag=15):
    """The end of a link."""

    code: int
    reason: str


class Heard(_Message, tag=16):
    """The owner has taken so much more of what the client says."""

    size: int


class Lost(msgspec.Struct, array_like=True, tag=17):
    """Something is missing: all that is under way between the two is given up."""


_Any = (
    Ask
    | Open
    | Abort
    | Said
    | Read
    | Gone
    | Failed
    | Release
    | Taken
    | Answer
    | Begin
    | Part
    | End
    | Frames
    | Close
    | Heard
    | Lost
)


class _Parcel(msgspec.Struct, array_like=True):
    """What is said to one server at a time."""

    version: int
    node: str
    number: int
    messages: list[_Any]


_DECODER: Final = msgspec.msgpack.Decoder(_Parcel)
_ENCODER: Final = msgspec.msgpack.Encoder()


def read(data: bytes) -> _Parcel:
    """Read a parcel.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        parcel = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"this is no parcel: {error}: {data[:100]!r}", rule=_RULE) from None
    if parcel.version != _VERSION:
        raise RemoteProtocolError(f"a parcel of version {parcel.version}, and not {_VERSION}", rule=_RULE)
    if len(parcel.node) != NODE_LENGTH:
        raise RemoteProtocolError(f"a parcel from {parcel.node[:40]!r}", rule=_RULE)
    for message in parcel.messages:
        if isinstance(message, Ask | Open | Abort):
            block = message.head.block
            if not (block.startswith(b"\r\n") and block.endswith(b"\r\n")):
                raise RemoteProtocolError(f"headers that are none: {block[:100]!r}", rule=_RULE)
        elif isinstance(message, Said | Frames):
            for frame in message.frames:
                if not isinstance(frame, str | bytes):
                    raise RemoteProtocolError(f"a frame of {type(frame).__name__}", rule=_RULE)
    return parcel


class Requests(Elsewhere):
    """Hands requests for sessions of other servers to them, and takes theirs. All of it runs in the event loop.

    Args:
        engine: whose sessions others ask for, and whose faces ask for theirs. Its `node` and `elsewhere` are set.
        node: with what the ids of our sessions begin: four characters of those that may stand in an id.
        post: sends bytes to a server: its node, the bytes. They have to arrive in order; whether they do is checked.
        timeout_seconds: how long a server may take until it shows that it has a request.

    Attributes:
        knows: slot: whether a server is there. Requests for one that isn't are refused at once.
        on_malformed: slot: is told of what came that is no parcel.
        on_failed: slot: is told what a request has raised that came from elsewhere.
        on_gap: slot: is told of the server from which something is missing.
        handed_over: how many requests and links were given to other servers.
        taken_over: how many came from them.
        refused: how many of ours got no answer in time, or lost their server.

    Example:
        ```python
        requests = Requests(io.engine, "a1B2", bus.post)
        requests.knows = lambda node: node in members
        requests.posted(data)    # what the bus brings
        requests.lost("c3D4")    # who is there no more
        ```
    """

    __slots__ = (
        "_bytes",
        "_engine",
        "_floor",
        "_heard",
        "_last",
        "_leaving",
        "_node",
        "_numbers",
        "_of_exchanges",
        "_pending",
        "_post",
        "_remotes",
        "_seconds",
        "_visits",
        "handed_over",
        "knows",
        "on_failed",
        "on_gap",
        "on_malformed",
        "refused",
        "taken_over",
    )

    def __init__(
        self, engine: Engine, node: str, post: Callable[[str, bytes], None], *, timeout_seconds: float = 2.0
    ) -> None:
        self._engine = engine
        self._node = node
        self._post = post
        self._seconds = timeout_seconds
        self._last = 0  # the number that was given last
        self._leaving = False
        self._visits: dict[int, HttpVisit | LinkVisit] = {}
        self._of_exchanges: dict[Exchange, HttpVisit] = {}
        self._remotes: dict[tuple[str, int], RemoteExchange | RemoteDuplex] = {}
        self._pending: dict[str, list[Any]] = {}
        self._bytes: dict[str, int] = {}
        self._numbers: dict[str, int] = {}  # of the last parcel to each server
        self._floor = 0  # no parcel to a server that is new to us has a number below this
        self._heard: dict[str, int] = {}  # of the last parcel from each server
        self.knows: Callable[[str], bool] = lambda node: True
        self.on_malformed: Callable[[RemoteProtocolError], None] = lambda error: None
        self.on_failed: Callable[[Exception], None] = lambda error: None
        self.on_gap: Callable[[str], None] = lambda node: None
        self.handed_over = self.taken_over = self.refused = 0
        engine.node = node
        engine.elsewhere = self

    @property
    def open_here(self) -> int:
        """How many requests and links are open here that belong to others."""
        return len(self._visits)

    @property
    def open_elsewhere(self) -> int:
        """How many of ours are open at others."""
        return len(self._remotes)

    # The engine's port

    def has(self, sid: str) -> bool:
        """Whether an id is that of a session that another server may have, one that is there."""
        node = sid[:NODE_LENGTH]
        return len(sid) > NODE_LENGTH and node != self._node and self.knows(node)

    def ask(self, sid: str, request: Request, exchange: Exchange, body: bytes | None = None) -> None:
        """Hand over a request. What its server answers comes out of the exchange."""
        if isinstance(exchange, RemoteExchange) or not _can_go(request):
            self.refuse(request, exchange, sid, _WAY)
            return
        visit = HttpVisit(self, sid, self._number(), request, exchange)
        self._of_exchanges[exchange] = visit
        self._enter(visit, Ask(visit.number, Head.of(request), body), len(body or b""))
        if self._leaving:
            self.say(visit.node, Release(visit.number))

    def open(self, sid: str, request: Request, duplex: Duplex, *, knocks: str = "", frame: Frame | None = None) -> None:
        """Hand over a link that is open."""
        if isinstance(duplex, RemoteDuplex) or self._leaving or not _can_go(request):
            duplex.close(1008, self.refuse_link(request, sid, _WAY))
            return
        visit = LinkVisit(self, sid, self._number(), request, duplex)
        self._enter(visit, Open(visit.number, Head.of(request), duplex.text_only, knocks))
        duplex.bind(visit)
        if frame is not None:
            visit.receive(frame)

    def abandon(self, exchange: Exchange) -> None:
        """The connection of a request that was handed over broke."""
        visit = self._of_exchanges.get(exchange)
        if visit is not None:
            visit.gone()

    def abort(self, sid: str, request: Request) -> None:
        """The connection of a POST for one of these sessions broke before its body was whole."""
        if _can_go(request):
            self.say(sid[:NODE_LENGTH], Abort(0, Head.of(request)))

    def reset(self) -> None:
        """Forget all without a word: the event loop is gone, and the connections with it."""
        for table in (self._visits, self._of_exchanges, self._remotes, self._pending, self._bytes):
            table.clear()

    def leave(self) -> None:
        """We are about to go: polls and streams end, so that their clients ask anew; links are closed."""
        if self._leaving:
            return
        self._leaving = True
        for visit in list(self._visits.values()):
            visit.release()

    def stay(self) -> None:
        """We don't go after all."""
        self._leaving = False

    # The bus

    def posted(self, data: bytes) -> None:
        """A server of the cluster has sent this. Raises nothing."""
        try:
            parcel = read(data)
        except RemoteProtocolError as error:
            self.on_malformed(error)
            return
        node, number = parcel.node, parcel.number
        last = self._heard.get(node)
        if last is not None and number <= last:
            return  # it was sent twice
        self._heard[node] = number
        if last is not None and number != last + 1:
            self.on_gap(node)
            self._drop(node)
            self.say(node, Lost())
        for message in parcel.messages:
            try:
                _HANDLERS[type(message)](self, node, message)
            except Exception as error:
                self.on_failed(error)

    def lost(self, node: str) -> None:
        """A server is there no more: its clients here ask anew, and ours that came through it are gone."""
        self._heard.pop(node, None)
        self._pending.pop(node, None)
        self._bytes.pop(node, None)
        self._floor = max(self._floor, self._numbers.pop(node, 0))
        self._drop(node)
        self._pending.pop(node, None)

    def _drop(self, node: str) -> None:
        for visit in [visit for visit in self._visits.values() if visit.node == node]:
            visit.refuse(f"the server {node!r} is gone, or something of what it said")
        for remote in [remote for (whose, _), remote in self._remotes.items() if whose == node]:
            remote.gone(Reason.TRANSPORT_CLOSE)

    # Saying

    def say(self, node: str, message: Any, size: int = 0) -> None:
        """Say something to a server at the end of this turn of the event loop."""
        pending = self._pending
        if not pending:
            self._engine.call_soon(self.flush)
        messages = pending.get(node)
        if messages is None:
            pending[node] = [message]
            self._bytes[node] = size
            return
        messages.append(message)
        self.grew(node, size)

    def grew(self, node: str, size: int) -> None:
        """What waits for the end of the turn has become larger."""
        self._bytes[node] += size
        if self._bytes[node] > _PARCEL_BYTES:
            self.send(node)

    def last_to(self, node: str) -> Any:
        """What was said last to a server in this turn."""
        messages = self._pending.get(node)
        return messages[-1] if messages else None

    def flush(self) -> None:
        """Say now what waits for the end of the turn."""
        for node in list(self._pending):
            self.send(node)

    def send(self, node: str) -> None:
        """Say now what waits for one server."""
        messages = self._pending.pop(node, None)
        if messages is None:
            return
        number = self._numbers.get(node, self._floor) + 1
        self._numbers[node] = number
        self._post(node, _ENCODER.encode(_Parcel(_VERSION, self._node, number, messages)))

    # The entrance

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _enter(self, visit: HttpVisit | LinkVisit, message: Ask | Open, size: int = 0) -> None:
        self.handed_over += 1
        self._visits[visit.number] = visit
        visit.due = self._engine.clock() + self._seconds
        self._engine.wheel.add(visit)
        self.say(visit.node, message, size)

    def forget(self, visit: HttpVisit | LinkVisit) -> bool:
        """A visit is over; gives whether it was not before."""
        visit.due = 0.0
        if isinstance(visit, HttpVisit):
            self._of_exchanges.pop(visit.exchange, None)
        return self._visits.pop(visit.number, None) is not None

    def refuse(self, request: Request, exchange: Exchange, sid: str, why: str) -> None:
        """Answer that there is no such session, so that the client makes a new one."""
        self._engine.refuse(request, exchange, RequestRefused(*UNKNOWN_SID, why, {"sid": sid[:40]}))

    def refuse_link(self, request: Request, sid: str, why: str) -> str:
        """Tell the engine of a link that nobody takes; gives what its client is told."""
        refusal = RequestRefused(*UNKNOWN_SID, why, {"sid": sid[:40]})
        self._engine.refused(request, refusal)
        return refusal.message

    def _http(self, node: str, number: int) -> HttpVisit | None:
        visit = self._visits.get(number)
        if not isinstance(visit, HttpVisit) or visit.node != node:
            return None
        visit.due = 0.0
        return visit

    def _link(self, node: str, number: int) -> LinkVisit | None:
        visit = self._visits.get(number)
        if not isinstance(visit, LinkVisit) or visit.node != node:
            return None
        visit.due = 0.0
        return visit

    def _on_taken(self, node: str, message: Taken) -> None:
        self._http(node, message.number) or self._link(node, message.number)

    def _on_answer(self, node: str, message: Answer) -> None:
        visit = self._http(node, message.number)
        if visit is not None and self.forget(visit):
            visit.exchange.respond(Response(message.status, message.headers, message.body))

    def _on_begin(self, node: str, message: Begin) -> None:
        visit = self._http(node, message.number)
        if visit is not None:
            visit.begin(Response(message.status, message.headers, message.body))

    def _on_part(self, node: str, message: Part) -> None:
        for number in message.numbers:
            visit = self._http(node, number)
            if visit is not None:
                visit.part(message.data)

    def _on_end(self, node: str, message: End) -> None:
        visit = self._http(node, message.number)
        if visit is not None and self.forget(visit):
            if visit.begun:
                visit.exchange.end(cut=message.cut)
            else:
                self.refuse(visit.request, visit.exchange, visit.sid, "its server could not answer")

    def _on_frames(self, node: str, message: Frames) -> None:
        encoded = Encoded(message.frames, message.compress)  # one for all, so that it is framed once
        for number in message.numbers:
            visit = self._link(node, number)
            if visit is not None:
                visit.write(encoded)

    def _on_close(self, node: str, message: Close) -> None:
        visit = self._link(node, message.number)
        if visit is not None and self.forget(visit):
            visit.duplex.close(message.code, message.reason)

    def _on_heard(self, node: str, message: Heard) -> None:
        visit = self._link(node, message.number)
        if visit is not None:
            visit.ahead.confirmed(message.size)

    # The owner

    def over(self, node: str, number: int) -> bool:
        """What another server has handed over is done with; gives whether it was not before."""
        return self._remotes.pop((node, number), None) is not None

    def _on_ask(self, node: str, message: Ask) -> None:
        key = (node, message.number)
        if key in self._remotes:
            return
        self.taken_over += 1
        engine, request = self._engine, message.head.request()
        remote = self._remotes[key] = RemoteExchange(self, node, message.number, request)
        try:
            if engine.begin(request, remote):
                if message.body is None:
                    engine.refuse(request, remote, RequestRefused(*BAD_REQUEST, "no body was handed over"))
                else:
                    engine.finish(request, remote, message.body)
        except Exception:
            remote.end(cut=True)
            raise
        if remote.silent:
            self.say(node, Taken(message.number))

    def _on_open(self, node: str, message: Open) -> None:
        key = (node, message.number)
        if key in self._remotes:
            return
        self.taken_over += 1
        engine, request = self._engine, message.head.request()
        kind = RemoteTextDuplex if message.text_only else RemoteDuplex
        remote = self._remotes[key] = kind(self, node, message.number)
        self.say(node, Taken(message.number))
        try:
            if message.knocks:
                engine.greet(request, message.knocks, remote)
            else:
                engine.link(request, remote)
        except Exception:
            remote.close(1011)
            raise

    def _on_abort(self, node: str, message: Abort) -> None:
        self._engine.abort(message.head.request())

    def _on_said(self, node: str, message: Said) -> None:
        remote = self._remotes.get((node, message.number))
        if isinstance(remote, RemoteDuplex):
            remote.receive(message.frames)

    def _on_read(self, node: str, message: Read) -> None:
        remote = self._remotes.get((node, message.number))
        if remote is not None and remote.ahead is not None:
            remote.ahead.confirmed(message.size)

    def _on_gone(self, node: str, message: Gone) -> None:
        remote = self._remotes.get((node, message.number))
        if remote is not None:
            remote.gone(message.reason)

    def _on_failed(self, node: str, message: Failed) -> None:
        remote = self._remotes.get((node, message.number))
        if isinstance(remote, RemoteDuplex):
            error = RemoteProtocolError(
                message.text, rule=message.rule, close_code=message.code, http_status=message.status
            )
            remote.fail(error, message.reason)

    def _on_release(self, node: str, message: Release) -> None:
        remote = self._remotes.get((node, message.number))
        if isinstance(remote, RemoteExchange):
            self._engine.release(remote.request, remote)

    def _on_lost(self, node: str, message: Lost) -> None:
        self._drop(node)

    def abandon_remote(self, remote: RemoteExchange) -> None:
        """The client of a request that came from elsewhere is gone."""
        self._engine.abandon(remote.request, remote)


_HANDLERS: Final[dict[type, Callable[[Requests, str, Any], None]]] = {
    Ask: Requests._on_ask,
    Open: Requests._on_open,
    Abort: Requests._on_abort,
    Said: Requests._on_said,
    Read: Requests._on_read,
    Gone: Requests._on_gone,
    Failed: Requests._on_failed,
    Release: Requests._on_release,
    Taken: Requests._on_taken,
    Answer: Requests._on_answer,
    Begin: Requests._on_begin,
    Part: Requests._on_part,
    End: Requests._on_end,
    Frames: Requests._on_frames,
    Close: Requests._on_close,
    Heard: Requests._on_heard,
    Lost: Requests._on_lost,
}


class _Ahead:
    """How far one end is ahead of what the other has confirmed.

    Args:
        full: is called when it is too far.
        free: is called when it may go on.
    """

    __slots__ = ("_bytes", "_free", "_full", "_is_full")

    def __init__(self, full: Callable[[], None], free: Callable[[], None]) -> None:
        self._full = full
        self._free = free
        self._bytes = 0
        self._is_full = False

    def went(self, size: int) -> None:
        """So much more is on its way."""
        self._bytes += size
        if self._bytes > _WINDOW_BYTES and not self._is_full:
            self._is_full = True
            self._full()

    def confirmed(self, size: int) -> None:
        """So much has arrived."""
        self._bytes -= size
        if self._is_full and self._bytes <= _WINDOW_BYTES // 2:
            self._is_full = False
            self._free()


class _Visit(Timed):
    """Something at the entrance that another server answers."""

    __slots__ = ("_full", "_requests", "_unconfirmed", "node", "number", "request", "sid")

    def __init__(self, requests: Requests, sid: str, number: int, request: Request) -> None:
        super().__init__()
        self._requests = requests
        self._full = False
        self._unconfirmed = 0
        self.sid = sid
        self.node = sid[:NODE_LENGTH]
        self.number = number
        self.request = request

    def pause(self) -> None:
        """The connection is full: the owner gets nothing more confirmed."""
        self._full = True

    def resume(self) -> None:
        """The connection can be written to again."""
        self._full = False
        self._passed(0)

    def _passed(self, size: int) -> None:
        """So much was given to the connection."""
        self._unconfirmed += size
        if self._unconfirmed >= _CONFIRM_BYTES and not self._full:
            self._requests.say(self.node, Read(self.number, self._unconfirmed))
            self._unconfirmed = 0


class HttpVisit(_Visit):
    """A request at the entrance."""

    __slots__ = ("begun", "exchange")

    def __init__(self, requests: Requests, sid: str, number: int, request: Request, exchange: Exchange) -> None:
        super().__init__(requests, sid, number, request)
        self.exchange = exchange
        self.begun = False

    def begin(self, response: Response) -> None:
        """The owner begins a response that stays open."""
        if not self.begun:
            self.begun = True
            self.request.compact()
            self.exchange.stream(response, self)

    def part(self, data: bytes) -> None:
        """The owner sends a part."""
        if self.begun:
            self.exchange.write(data)
            self._passed(len(data))

    def gone(self) -> None:
        """The connection broke."""
        if self._requests.forget(self):
            self._requests.say(self.node, Gone(self.number, Reason.TRANSPORT_CLOSE))

    def expire(self, now: float) -> None:
        """The owner has not even said that it has the request."""
        self.refuse(f"the server {self.node!r} doesn't answer")

    def refuse(self, why: str) -> None:
        """There will be no answer."""
        if not self._requests.forget(self):
            return
        self._requests.refused += 1
        self._requests.say(self.node, Gone(self.number, Reason.TRANSPORT_CLOSE))
        if self.begun:
            self.exchange.end(cut=True)
        else:
            self._requests.refuse(self.request, self.exchange, self.sid, why)

    def release(self) -> None:
        """We are about to go."""
        self._requests.say(self.node, Release(self.number))


class LinkVisit(_Visit):
    """A link at the entrance."""

    __slots__ = ("ahead", "duplex")

    def __init__(self, requests: Requests, sid: str, number: int, request: Request, duplex: Duplex) -> None:
        super().__init__(requests, sid, number, request)
        self.duplex = duplex
        self.ahead = _Ahead(duplex.pause_reading, duplex.resume_reading)
        request.compact()

    def write(self, encoded: Encoded) -> None:
        """The owner sends a packet."""
        self.duplex.write(encoded)
        self._passed(_size_of(encoded.frames))

    # The link's receiver

    def receive(self, frame: Frame) -> None:
        """A frame came."""
        requests = self._requests
        size = len(frame) + _BYTES_PER_FRAME
        last = requests.last_to(self.node)
        if isinstance(last, Said) and last.number == self.number:
            last.frames.append(frame)
            requests.grew(self.node, size)
        else:
            requests.say(self.node, Said(self.number, [frame]), size)
        self.ahead.went(size)

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule of the link, which the face closes."""
        if self._requests.forget(self):
            text, status = str(error.args[0]), error.http_status
            self._requests.say(self.node, Failed(self.number, text, error.rule, error.close_code, status, reason))

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone."""
        if self._requests.forget(self):
            self._requests.say(self.node, Gone(self.number, reason))

    def expire(self, now: float) -> None:
        """The owner has not even said that it has the link."""
        self.refuse(f"the server {self.node!r} doesn't answer")

    def refuse(self, why: str) -> None:
        """Nobody has the link."""
        if self._leave():
            self._requests.refused += 1
            self.duplex.close(1008, self._requests.refuse_link(self.request, self.sid, why))

    def release(self) -> None:
        """We are about to go, and can't take the link along."""
        if self._leave():
            self.duplex.close(_GOING_AWAY, Reason.SHUTTING_DOWN)

    def _leave(self) -> bool:
        if not self._requests.forget(self):
            return False
        self._requests.say(self.node, Gone(self.number, Reason.TRANSPORT_CLOSE))
        return True


class RemoteExchange(Exchange):
    """The response to a request that came from elsewhere.

    Args:
        requests: who hands it over.
        node: the entrance.
        number: the entrance's number for it.
        request: the request.

    Attributes:
        request: the request.
        silent: whether nothing of an answer was said yet.
        ahead: how far the parts of a response that stays open are ahead; None where there is none.
    """

    __slots__ = ("_node", "_number", "_requests", "_streamer", "ahead", "request", "silent")

    def __init__(self, requests: Requests, node: str, number: int, request: Request) -> None:
        self._requests = requests
        self._node = node
        self._number = number
        self._streamer: Streamer | None = None
        self.request = request
        self.silent = True
        self.ahead: _Ahead | None = None

    def respond(self, response: Response) -> None:
        """Send a whole response."""
        self.silent = False
        if self._requests.over(self._node, self._number):
            answer = Answer(self._number, response.status, list(response.headers), response.body)
            self._requests.say(self._node, answer, len(response.body))

    def stream(self, response: Response, streamer: Streamer) -> None:
        """Begin a response that stays open."""
        self.silent = False
        self._streamer = streamer
        self.ahead = _Ahead(self._pause, self._resume)
        begin = Begin(self._number, response.status, list(response.headers), response.body)
        self._requests.say(self._node, begin, len(response.body))

    def write(self, data: bytes) -> None:
        """Send a part. What goes to many at a time goes once."""
        if self._streamer is None or self.ahead is None:
            return
        last = self._requests.last_to(self._node)
        if isinstance(last, Part) and last.data is data:
            last.numbers.append(self._number)
        else:
            self._requests.say(self._node, Part([self._number], data), len(data))
        self.ahead.went(len(data))

    def flush(self) -> None:
        """Send now what waits for the end of the turn."""
        self._requests.send(self._node)

    def end(self, *, cut: bool = False) -> None:
        """End the response."""
        self.silent = False
        self._streamer = None
        if self._requests.over(self._node, self._number):
            self._requests.say(self._node, End(self._number, cut))

    def gone(self, reason: str) -> None:
        """The client is gone, or the entrance."""
        if not self._requests.over(self._node, self._number):
            return
        streamer, self._streamer = self._streamer, None
        if streamer is not None:
            streamer.gone()
        else:
            self._requests.abandon_remote(self)

    def _pause(self) -> None:
        if self._streamer is not None:
            self._streamer.pause()

    def _resume(self) -> None:
        if self._streamer is not None:
            self._streamer.resume()


class RemoteDuplex(Duplex):
    """A link that is open elsewhere.

    Args:
        requests: who hands it over.
        node: the entrance.
        number: the entrance's number for it.

    Attributes:
        ahead: how far what we send is ahead.
    """

    __slots__ = ("_node", "_number", "_open", "_paused", "_receiver", "_requests", "_unconfirmed", "ahead")

    def __init__(self, requests: Requests, node: str, number: int) -> None:
        self._requests = requests
        self._node = node
        self._number = number
        self._receiver: Receiver | None = None
        self._open = True
        self._paused = False
        self._unconfirmed = 0
        self.ahead = _Ahead(self._pause, self._resume)

    # The port

    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on."""
        self._receiver = receiver

    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet. What goes to many at a time goes once."""
        if not self._open:
            return
        size = _size_of(encoded.frames)
        last = self._requests.last_to(self._node)
        if isinstance(last, Frames) and last.frames is encoded.frames:
            last.numbers.append(self._number)
        else:
            self._requests.say(self._node, Frames([self._number], encoded.frames, encoded.compress), size)
        self.ahead.went(size)

    def flush(self) -> None:
        """Send now what waits for the end of the turn."""
        self._requests.send(self._node)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then close."""
        self._open = False
        self._receiver = None
        if self._requests.over(self._node, self._number):
            self._requests.say(self._node, Close(self._number, code, reason))

    def pause_reading(self) -> None:
        """The entrance gets nothing more confirmed, and soon reads nothing more."""
        self._paused = True

    def resume_reading(self) -> None:
        """Read again."""
        self._paused = False
        self._confirm()

    # From the entrance

    def receive(self, frames: Iterable[Frame]) -> None:
        """The client has sent these."""
        self._unconfirmed += _size_of(frames)
        for frame in frames:
            if self._receiver is not None:
                self._receiver.receive(frame)
        self._confirm()

    def _confirm(self) -> None:
        if self._unconfirmed >= _CONFIRM_BYTES and not self._paused and self._open:
            self._requests.say(self._node, Heard(self._number, self._unconfirmed))
            self._unconfirmed = 0

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule of the link."""
        if self._requests.over(self._node, self._number):
            self._open = False
            receiver, self._receiver = self._receiver, None
            if receiver is not None:
                receiver.fail(error, reason)

    def gone(self, reason: str) -> None:
        """The client is gone, or the entrance."""
        if self._requests.over(self._node, self._number):
            self._open = False
            receiver, self._receiver = self._receiver, None
            if receiver is not None:
                receiver.lost(self, reason)

    def _pause(self) -> None:
        if self._receiver is not None:
            self._receiver.pause()

    def _resume(self) -> None:
        if self._receiver is not None:
            self._receiver.resume()


class RemoteTextDuplex(RemoteDuplex):
    """A link that is open elsewhere and carries text only."""

    __slots__ = ()

    text_only: ClassVar[bool] = True


def _size_of(frames: Iterable[Frame]) -> int:
    return sum([len(frame) + _BYTES_PER_FRAME for frame in frames])


def _can_go(request: Request) -> bool:
    """Whether a request can be written down: a face may have left halves of characters in it."""
    try:
        f"{request.path}{request.query_string}{request.address}{request.root_path}".encode()
    except UnicodeEncodeError:
        return False
    return True
