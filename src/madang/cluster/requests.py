"""Requests for sessions of other servers: any server of a cluster takes any request of any client.

How an id begins tells whose session it is. The server that a request reaches, the *entrance*, hands it to the *owner*
of the session, and does with the answer what the owner would have done: one exchange of messages for a poll or a POST,
some more for a stream or a link, which both ends keep until it is over::

    entrance                            owner
    Ask, Open     a request, a link  -> Taken, at once; then Answer, or Begin, Part..., End, or Frames..., Close
    Said          a client's frames  ->
    Read          so much was read  <-> Heard: so much was taken. Who is too far ahead of this waits.
    Given         answers were sent  ->  later, with what else is said: else they may be lost with the entrance
    Gone, Failed  the client left    ->
    Abort         a POST got lost    ->
    Release       the entrance goes  -> the poll is answered, so that the client comes by another way
    Lost          a gap was seen    <-> all that was under way between the two is given up

What is said to one server in a turn of the event loop goes in one parcel, in order. Parcels are numbered, so that one
that is missing is noticed, and one that comes twice is taken once. What goes to several links or streams alike is in a
parcel once.

What is said is in `parcels`, what it is said about in `ends`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from madang.cluster.ends import HttpVisit, LinkVisit, RemoteDuplex, RemoteExchange, RemoteTextDuplex
from madang.cluster.parcels import (
    NODE_LENGTH,
    Abort,
    Answer,
    Ask,
    Begin,
    Close,
    End,
    Failed,
    Frames,
    Given,
    Gone,
    Head,
    Heard,
    Lost,
    Open,
    Part,
    Read,
    Release,
    Said,
    Taken,
    read,
    write,
)
from madang.core.elsewhere import Elsewhere
from madang.core.engine import Engine
from madang.core.wheel import Alarm
from madang.errors import BAD_REQUEST, UNKNOWN_SID, Reason, RemoteProtocolError, RequestRefused
from madang.packet import Encoded, Frame
from madang.transports import Duplex, Exchange, Request, Response

__all__ = ["Requests"]

#: After how much a parcel goes before the turn of the event loop is over.
_PARCEL_BYTES: Final = 262_144
_WAY: Final = "it can't be handed over"
#: How long a server waits at most until it is told that an answer was given.
_GIVEN_SECONDS: Final = 0.2


class Requests(Elsewhere):
    """Hands requests for sessions of other servers to them, and takes theirs. All of it runs in the event loop.

    Args:
        engine: whose sessions others ask for, and whose faces ask for theirs. Its `node` and `elsewhere` are set.
        node: with what the ids of our sessions begin: four characters of those that may stand in an id.
        post: sends bytes to a server: its node, the bytes. They have to arrive in order; whether they do is checked.
        timeout_seconds: how long a server may take until it shows that it has a request.
        last_number: that of the life before, in which parcels were sent from the same node.

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
        "_given",
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
        "_teller",
        "_unconfirmed",
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
        self,
        engine: Engine,
        node: str,
        post: Callable[[str, bytes], None],
        *,
        timeout_seconds: float = 2.0,
        last_number: int = 0,
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
        self._floor = last_number  # no parcel to a server that is new to us has a number below this
        self._heard: dict[str, int] = {}  # of the last parcel from each server
        self._given: dict[str, list[int]] = {}  # answers that were given to clients, which is to be told
        self._unconfirmed: dict[str, dict[int, str]] = {}  # whose answers may not have been given to them yet
        self._teller = Alarm(self._say_given)
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

    @property
    def last_number(self) -> int:
        """No parcel that was sent has a higher number."""
        return max(self._floor, *self._numbers.values(), 0)

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
        self._say_given()
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
        self._bytes.pop(node, None)

    def _drop(self, node: str) -> None:
        # What it has not given to its clients for sure may be lost, though they come by another way and don't notice,
        # as behind a proxy that asks again: they have to begin anew, or to recover.
        for sid in self._unconfirmed.pop(node, {}).values():
            session = self._engine.sessions.get(sid)
            if session is not None:
                session.close(Reason.TRANSPORT_CLOSE, discard=True)
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
        given = self._given.pop(node, None)
        if given is not None:
            messages.append(Given(given))
        del self._bytes[node]
        number = self._numbers.get(node, self._floor) + 1
        self._numbers[node] = number
        self._post(node, write(self._node, number, messages))

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
            if visit.request.method == "GET" and message.status == 200:
                self._tell_given(node, message.number)

    def _tell_given(self, node: str, number: int) -> None:
        """An answer was given to its client: its server is told with what else it is told, and soon in any case."""
        self._given.setdefault(node, []).append(number)
        if self._leaving:
            self._say_given()
        elif self._teller.due == 0.0:
            self._teller.due = self._engine.clock() + _GIVEN_SECONDS
            self._engine.wheel.add(self._teller)

    def _say_given(self) -> None:
        self._teller.due = 0.0
        for node in list(self._given):
            self.say(node, Given(self._given.pop(node)))

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

    def answered(self, node: str, number: int, request: Request) -> None:
        """A poll that came from elsewhere is answered. Whether the client gets that, its entrance tells."""
        sid = self._engine.routes.sid(request)
        if sid is not None:
            self._unconfirmed.setdefault(node, {})[number] = sid

    def _on_given(self, node: str, message: Given) -> None:
        unconfirmed = self._unconfirmed.get(node)
        if unconfirmed is not None:
            for number in message.numbers:
                unconfirmed.pop(number, None)

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
    Given: Requests._on_given,
}


def _can_go(request: Request) -> bool:
    """Whether a request can be written down: a face may have left halves of characters in it."""
    try:
        f"{request.path}{request.query_string}{request.address}{request.root_path}".encode()
    except UnicodeEncodeError:
        return False
    return True
