"""The engine: all sessions, and the rules of HTTP around them.

A face asks in this order:

* an HTTP request: `begin(request, exchange)`, and with the body that this wants, `finish(request, exchange, body)`;
* a WebSocket: `admit(request)` before the handshake, `link(request, duplex)` after it;
* a link on which clients knock, as WebTransport: `admit_knock(request)` before the handshake, `greet` after it.

It is one long module because the ways in, by requests, links and knocks, end in the same few steps: find the session,
check that its transport fits, open or refuse. What can stand alone does: `Routes`, `Responses`, `origins`, `Session`.

Source: Engine.IO protocol 4.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, overload

from madang import parsers
from madang.config import Config
from madang.core import origins
from madang.core.elsewhere import Elsewhere
from madang.core.events import EngineEvents
from madang.core.files import File
from madang.core.knock import Knock
from madang.core.listeners import AnyFunction
from madang.core.prepared import Prepared
from madang.core.responses import Responses
from madang.core.routes import Routes
from madang.core.session import CLOSING, UNDECIDED, Session, Sink
from madang.core.textual import PayloadLink, TextualLink
from madang.core.wheel import Wheel
from madang.cork import Cork
from madang.errors import (
    BAD_METHOD,
    BAD_REQUEST,
    FORBIDDEN,
    SERVER_FULL,
    TOO_LARGE,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    Reason,
    RemoteProtocolError,
    RequestRefused,
)
from madang.packet import Encoded, Frame
from madang.parsers import Shapes
from madang.transports import (
    Duplex,
    Exchange,
    Headers,
    HttpTransport,
    LinkTransport,
    PollTransport,
    Request,
    Response,
    StreamTransport,
    Transport,
)
from madang.wire import Address, Open, Wire, error_response

__all__ = ["Engine"]

#: When clients may come again that were turned away because the server is about to end.
_RETRY_SECONDS: Final = 1.0
_EMPTY_HEADERS: Final = (("Content-Type", "text/plain; charset=UTF-8"), ("Cache-Control", "no-store"))


def _unfilled() -> float:
    raise RuntimeError("the engine is not running: no face has filled its slots")


class Engine:
    """All sessions of one server.

    Args:
        config: the settings.
        sink: who takes the sessions' packets.

    Attributes:
        sessions: by id.
        wheel: all their deadlines; a face drives it.
        events: who wants to hear of connections; `on` registers them.
        files: files for pages, by name: they are served under the path.
        routes: what requests are for.
        responses: what they are answered with.
        node: with what the ids of our sessions begin, so that other servers know whose they are; empty: nothing.
        elsewhere: those other servers; None: there are none.
        listening: the transports that need a listener of their own and have one now; filled by the faces that listen.
        clock: slot: seconds of a clock that never goes back.
        new_id: slot: makes a fresh id of 20 URL-safe characters.
        call_soon: slot: calls a function at the end of this turn of the event loop.
        on_violation: slot: is told of each protocol error of a client.
        on_refused: slot: is told of each request that was answered with an error.
        on_held: slot: is told when a client isn't read because `max_handlers_per_client` of its handlers wait.
    """

    def __init__(self, config: Config, sink: Sink, shapes: Shapes | None = None) -> None:
        self.config = config
        self.sink = sink
        self.sessions: dict[str, Session] = {}
        self.wheel = self._new_wheel()
        self.events = EngineEvents()
        self.files: Mapping[str, File] = {}
        self.node = ""
        self.elsewhere: Elsewhere | None = None
        self.listening: set[str] = set()
        self.clock: Callable[[], float] = _unfilled
        self.new_id: Callable[[], str] = lambda: str(_unfilled())
        self.call_soon: Callable[[Callable[[], None]], object] = lambda callback: _unfilled()
        self.on_violation: Callable[[Session, RemoteProtocolError], None] = lambda session, error: None
        self.on_refused: Callable[[Request, RequestRefused], None] = lambda request, refusal: None
        self.on_held: Callable[[Session], None] = lambda session: None

        self.routes = Routes(config)
        self.responses = Responses(config, self.events)
        parser = parsers.load(config.parser)
        for generation in self.routes.generations:
            generation.check(parser)
        self._parser = parser if shapes is None else parser.shaped(shapes)
        self._cork = self._new_cork()
        self._parked = 0
        self._full = False
        self._all_closed = False

    def _new_cork(self) -> Cork[Session]:
        return Cork(lambda callback: self.call_soon(callback), self.config.max_clients_per_turn)

    def _new_wheel(self) -> Wheel:
        # Late by at most a fiftieth of the shortest heartbeat time, and never by more than 50 ms.
        tick = min(self.config.ping_interval_seconds, self.config.ping_timeout_seconds) / 50
        return Wheel(min(0.05, max(0.001, tick)))

    def reset(self) -> None:
        """Forget all sessions without a word: their event loop is gone, and their connections with it."""
        self.sessions.clear()
        self.wheel.clear()  # what outlives the loop may be put into the new one
        self.wheel = self._new_wheel()
        self._cork = self._new_cork()
        self._parked = 0
        self._full = False
        if self.elsewhere is not None:
            self.elsewhere.reset()

    @property
    def clients_count(self) -> int:
        """How many sessions there are."""
        return len(self.sessions)

    # Who wants to hear of connections

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, function: AnyFunction) -> AnyFunction: ...
    def on(self, event: Any, function: Any = None) -> Any:
        """Hear of connections, below all namespaces: a plain function, registered directly or as a decorator.

        "initial_headers" (headers, request): the first response of a session is about to be sent; "headers": so is
        any response, the answer to a WebSocket's handshake too. `headers` is a `ResponseHeaders`, to be changed.
        "connection_error" (error, request): a request was refused; `error` is a `RequestRefused`.
        "connection" (session), "upgrade" (session, transport), "close" (session, reason): its life.

        What a function raises is logged, and ends nothing.

        Args:
            event: its name.
            function: the function; without it, `on` is a decorator.

        Raises:
            LocalProtocolError: there is no such event, or the function can't take the arguments, or is `async def`.

        Example:
            ```python
            @io.engine.on("connection_error")
            def refused(error: RequestRefused, request: Request) -> None:
                print(error.code, error.message, error.context, request.address)
            ```
        """
        return self.events.on(event) if function is None else self.events.on(event, function)

    @overload
    def off(self, event: str) -> None: ...
    @overload
    def off(self, event: str, function: Callable[..., Any]) -> None: ...
    def off(self, event: Any, function: Callable[..., Any] | None = None) -> None:
        """Remove a function of `on`, or all of an event.

        Raises:
            LocalProtocolError: there is no such event.
        """
        self.events.off(event, function)

    # HTTP

    def begin(self, request: Request, exchange: Exchange, body: bytes | None = None) -> int:
        """Answer what the head of a request allows to answer, or park it.

        Args:
            request: the head.
            exchange: where the answer goes.
            body: the whole body, where it has come together with the head: then there is nothing to `finish`.

        Returns:
            How many bytes of body are wanted at most; then call `finish`. With 0 the request is dealt with, and the
            body, if any, is of no interest.
        """
        self.wheel.advance(self.clock())
        generation: Wire | None = None
        try:
            origins.check(self.config, request)
            if request.method == "OPTIONS":
                self.responses.send_preflight(request, exchange, self.routes.speaker(request))
                return 0
            if not request.path.endswith("/") and self._give(request, exchange):
                return 0
            generation, address = self.routes.read(request)
            if self._is_elsewhere(address.sid):
                return self._hand_over(request, exchange, generation, address, body)
            if address.leaves:
                self._dismiss(request, exchange, generation, address)
                return 0
            if not generation.probes and not address.transport and address.sid is None:
                self._shake_hands(request, exchange, generation)
                return 0
            transport, session = self._http_target(request, generation, address)
            if session is None:
                self._handshake(request, exchange, generation, transport)
            elif request.method == "GET":
                session.arrive(transport)
                session.poll(request, exchange)
            elif request.method == "POST":
                if body is None:
                    return self._body_limit(request, transport)
                self._receive(request, exchange, session, transport, body)
            else:
                raise RequestRefused(*BAD_REQUEST, f"method {request.method}", {"method": request.method})
        except RequestRefused as refusal:
            self.refuse(request, exchange, refusal, generation)
        return 0

    def _body_limit(self, request: Request, transport: HttpTransport) -> int:
        """How many bytes the body of a POST may have."""
        length = request.length
        limit = transport.body_limit(self.config.max_payload_bytes)
        if length is not None and length > limit:
            raise self._too_large(f"{length} bytes")
        return limit

    def _is_elsewhere(self, sid: str | None) -> bool:
        """Whether another server has to be asked for a session."""
        return self.elsewhere is not None and sid is not None and sid not in self.sessions and self.elsewhere.has(sid)

    def _hand_over(
        self,
        request: Request,
        exchange: Exchange,
        generation: Wire,
        address: Address,
        body: bytes | bytearray | None = None,
    ) -> int:
        """Let another server answer, which checks all that is not about the size. As for `begin`."""
        assert self.elsewhere is not None  # callers looked  # noqa: S101
        assert address.sid is not None  # noqa: S101
        if request.method == "POST" and not address.leaves:
            limit = self._body_limit(request, self.routes.http(generation, address.transport, request))
            if body is None:
                return limit
            if len(body) > limit:
                raise self._too_large("more than announced")
        self.elsewhere.ask(address.sid, request, exchange, None if body is None else bytes(body))
        return 0

    def _give(self, request: Request, exchange: Exchange) -> bool:
        """Answer with a file for pages, if it is one that is asked for."""
        file = self.files.get(request.path.rpartition("/")[2])
        if file is None or request.method not in ("GET", "HEAD"):
            return False
        self.responses.send_file(request, exchange, file)
        return True

    def finish(self, request: Request, exchange: Exchange, body: bytes | bytearray) -> None:
        """Take the body of a POST."""
        generation: Wire | None = None
        try:
            generation, address = self.routes.read(request)
            if self._is_elsewhere(address.sid):
                self._hand_over(request, exchange, generation, address, body)
                return
            transport, session = self._http_target(request, generation, address)
            if session is None:
                raise RequestRefused(*UNKNOWN_SID)
            self._receive(request, exchange, session, transport, bytes(body))
        except RequestRefused as refusal:
            self.refuse(request, exchange, refusal, generation)

    def _receive(
        self, request: Request, exchange: Exchange, session: Session, transport: HttpTransport, body: bytes
    ) -> None:
        """Give what was posted to its session."""
        most = self.config.max_payload_bytes
        size = len(body)
        if size > transport.body_limit(most):
            raise self._too_large(f"{size} bytes or more")
        try:
            payload = transport.unpack(request, body)
            if size > most and len(payload) * 4 > most and _bytes_of(payload) > most:
                raise self._too_large("more in the form")
            session.post(payload, partial(self._posted, request, exchange, session, transport))
        except RemoteProtocolError as error:
            session.fail(error)
            self._posted(request, exchange, session, transport)

    def _posted(self, request: Request, exchange: Exchange, session: Session, transport: HttpTransport) -> None:
        """The packets of a POST were taken."""
        error = session.violation
        if error is None:
            self.responses.send(request, exchange, transport.accepted(request), session.wire)
        else:
            refusal = RequestRefused(BAD_REQUEST[0], BAD_REQUEST[1], error.http_status, str(error))
            self.refuse(request, exchange, refusal, session.wire)

    def _too_large(self, what: str) -> RequestRefused:
        return RequestRefused(*TOO_LARGE, f"{what}; max_payload_bytes is {self.config.max_payload_bytes}")

    def _http_target(
        self, request: Request, generation: Wire, address: Address
    ) -> tuple[HttpTransport, Session | None]:
        """The transport that a request names, and the session that it belongs to, or None for a handshake."""
        transport = self.routes.http(generation, address.transport, request)
        if request.method == "GET":
            reader = transport.reader(request)
            if reader is not None:
                origins.check_page(self.config, request, reader)
            transport.check(request)
        if address.sid is None:
            return transport, None
        session = self._known(generation, address.sid)
        if session.transport is not transport and generation.probes:
            previous = session.transport.name
            context = {"name": "TRANSPORT_MISMATCH", "transport": transport.name, "previousTransport": previous}
            raise RequestRefused(*BAD_REQUEST, f"the session uses {previous} now", context)
        return transport, session

    def _known(self, generation: Wire, sid: str) -> Session:
        """The session of an id, which speaks a generation."""
        session = self.sessions.get(sid)
        if session is None:
            raise RequestRefused(*UNKNOWN_SID, f"sid {sid[:40]!r}", {"sid": sid[:40]})
        if session.wire is not generation:
            detail = f"the session speaks {session.wire.name}, the request {generation.name}"
            raise RequestRefused(*BAD_REQUEST, detail, {"name": "GENERATION_MISMATCH"})
        return session

    def _dismiss(self, request: Request, exchange: Exchange, generation: Wire, address: Address) -> None:
        """A client says good-bye by a request of its own."""
        if address.sid is None:
            raise RequestRefused(*UNKNOWN_SID)
        self._known(generation, address.sid).leave()
        self.responses.send(request, exchange, Response(200, _EMPTY_HEADERS, b""), generation)

    def _shake_hands(self, request: Request, exchange: Exchange, generation: Wire) -> None:
        """Answer a handshake that leaves open by which transport the client will come."""
        reader = generation.reader(request)
        if reader is not None:
            origins.check_page(self.config, request, reader)
        self._check_room()
        self._check_allowed(request)
        session = self._open(request, UNDECIDED, generation)
        known = [name for name, transport in self.routes.of(generation).items() if self._is_offered(transport)]
        response = generation.handshake(request, self._hello(session, known))
        self.responses.send(request, exchange, response, generation, opens=session.id)

    def _handshake(self, request: Request, exchange: Exchange, generation: Wire, transport: HttpTransport) -> None:
        if request.method != "GET":
            raise RequestRefused(*BAD_METHOD, f"method {request.method}", {"method": request.method})
        self._check_room()
        self._check_allowed(request)
        if isinstance(transport, StreamTransport):
            self._check_parked()
            session = self._open(request, transport, generation)
            session.begin_stream(transport, request, exchange, self._greeting(session))
        else:
            assert isinstance(transport, PollTransport)  # there are no others  # noqa: S101
            session = self._open(request, transport, generation)
            payload = session.payload([self._greeting(session)], transport, request)
            response = transport.respond(request, payload)
            self.responses.send(request, exchange, response, generation, opens=session.id)
        self.opened(session)

    def _open(self, request: Request, transport: Transport, generation: Wire) -> Session:
        """Make a session for a client that may have one."""
        id_ = self.new_id()
        if self.node:
            id_ = self.node + id_[len(self.node) :]
        request.compact()
        session = Session(self, id_, generation, self._parser, transport, request)
        self.sessions[id_] = session
        self._all_closed = False
        return session

    def _greeting(self, session: Session) -> Frame:
        """The first frame of a session."""
        known, untold = self.routes.of(session.wire), session.wire.untold
        better = session.transport.upgrades if self.config.allow_upgrades else ()
        upgrades = [name for name in better if name in known and name not in untold and self._is_offered(known[name])]
        return session.wire.open(self._hello(session, upgrades))

    def _hello(self, session: Session, transports: Sequence[str]) -> Open:
        config = self.config
        interval, timeout = config.ping_interval_seconds, config.ping_timeout_seconds
        return Open(session.id, transports, interval, timeout, config.max_payload_bytes, config.poll_timeout_seconds)

    def _is_offered(self, transport: Transport) -> bool:
        """Whether clients can come by this transport now."""
        return not isinstance(transport, LinkTransport) or not transport.knocks or transport.name in self.listening

    def _check_room(self) -> None:
        if self._full:
            raise RequestRefused(*SERVER_FULL, "the server is shutting down", retry_after_seconds=_RETRY_SECONDS)
        if len(self.sessions) >= self.config.max_connections:
            raise RequestRefused(*SERVER_FULL, f"max_connections is {self.config.max_connections}")

    def _check_allowed(self, request: Request) -> None:
        allow: Callable[[Request], object] | None = self.config.allow_request  # who knows what it gives
        if allow is None:
            return
        try:
            allowed = allow(request)
        except Exception as error:
            raise RequestRefused(*FORBIDDEN, f"allow_request failed: {error!r}", {"name": "NOT_ALLOWED"}) from error
        if allowed is True:
            return
        if not allowed:
            raise RequestRefused(*FORBIDDEN, "allow_request said no", {"name": "NOT_ALLOWED"})
        if inspect.isawaitable(allowed):
            # It counts as true, whatever it would say: it would let everyone in.
            if inspect.iscoroutine(allowed):
                allowed.close()
            raise RequestRefused(
                *FORBIDDEN,
                "allow_request gave something to await: it must be a plain function; to ask a database, use a "
                "middleware: io.use",
            )

    @property
    def is_leaving(self) -> bool:
        """Whether no new client is taken any more."""
        return self._full

    def turn_away(self) -> None:
        """Take no new client; those that are there stay."""
        self._full = True

    def close(self, reason: str) -> None:
        """Take no new client, and end all that are there."""
        self._full = True
        if self.elsewhere is not None:
            self.elsewhere.leave()
        if self._all_closed:
            return  # at a shutdown, each connection asks for this, and those that still poll for a farewell are many
        self._all_closed = True
        try:
            for session in list(self.sessions.values()):
                session.close(reason)
        except BaseException:
            self._all_closed = False
            raise

    def reopen(self) -> None:
        """Take clients again, as after a restart in the same process."""
        self._full = False
        if self.elsewhere is not None:
            self.elsewhere.stay()

    # Links

    def admit(self, request: Request) -> None:
        """Tell whether a WebSocket may be opened.

        Raises:
            RequestRefused: it may not; answer with its status, and `error_body`.
        """
        origins.check(self.config, request)
        generation, address = self.routes.read(request)
        try:
            if self._is_elsewhere(address.sid):
                self.routes.link(generation, address.transport)
                return  # what its server has against it is told over the link
            _, session = self._link_target(generation, address)
        except RequestRefused as refusal:
            if generation.link_refusal(refusal) is None:
                raise
            return  # it is told over the link, which `link` closes then
        if session is None:
            self._check_allowed(request)

    def link(self, request: Request, duplex: Duplex) -> None:
        """Give an open link to the session that its request names, or to a new one. Closes it if neither can be."""
        told: Frame | None = None
        try:
            generation, address = self.routes.read(request)
            if address.sid is not None and self._opens_elsewhere(address.sid, request, duplex):
                return
            try:
                transport, session = self._link_target(generation, address)
            except RequestRefused as refusal:
                told = generation.link_refusal(refusal)
                raise
            if session is not None:
                link = self._textual(request, transport, generation, duplex)
                if not generation.probes:
                    session.arrive(transport, link)
                    return
                if session.upgrading or transport.name not in session.transport.upgrades:
                    # The handshake has to succeed all the same: clients take its failure for a broken network.
                    raise RequestRefused(*BAD_REQUEST, "the session can't be upgraded now")
                session.probe(transport, link)
                return
        except RequestRefused as refusal:
            self.refused(request, refusal)
            if told is not None:
                duplex.write(Encoded((told,)))
            duplex.close(1008, refusal.message)
            return
        # `admit` has asked whether it may; what else there is to check was checked just now.
        self._begin_link(request, transport, generation, duplex)

    def _opens_elsewhere(self, sid: str | None, request: Request, duplex: Duplex, **knock: Any) -> bool:
        """Hand a link over to the server that has the session; gives whether there is one."""
        if sid is None or self.elsewhere is None or not self._is_elsewhere(sid):
            return False
        self.elsewhere.open(sid, request, duplex, **knock)
        return True

    def opened(self, session: Session) -> None:
        """A client has come."""
        self.sink.opened(session)
        session.request.compact()  # some have their auth in its query
        if self.events.connection:
            self.events.tell("connection", session)

    def _link_target(self, generation: Wire, address: Address) -> tuple[LinkTransport, Session | None]:
        """The transport and, where it names one, the session of a link's request."""
        transport = self.routes.link(generation, address.transport)
        if address.sid is None:
            self._check_room()
            return transport, None
        return transport, self._movable(generation, address.sid)

    def _movable(self, generation: Wire, sid: str) -> Session:
        """The session that wants to move to a link."""
        session = self._known(generation, sid)
        if session.state == CLOSING:
            raise RequestRefused(*UNKNOWN_SID, f"sid {sid[:40]!r}", {"sid": sid[:40]})
        if not self.config.allow_upgrades and generation.probes:
            raise RequestRefused(*BAD_REQUEST, "allow_upgrades is off")
        return session

    def _textual(self, request: Request, transport: LinkTransport, generation: Wire, duplex: Duplex) -> Duplex:
        """The link as a session may use it: frames are what they have to be for it and its client, on the way."""
        if generation.link_payloads:
            return PayloadLink(duplex, generation, self.config)
        text_only = transport.text_only or duplex.text_only or generation.text_only(request)
        return TextualLink(duplex, generation) if text_only else duplex

    # Links on which clients knock

    def admit_knock(self, request: Request) -> None:
        """Tell whether a link may be opened whose client says in its first packet who it is.

        Raises:
            RequestRefused: it may not; answer with its status, and `error_body`.
        """
        origins.check(self.config, request)
        if self._full:
            self._check_room()

    def greet(self, request: Request, name: str, duplex: Duplex) -> None:
        """Take an open link on which a client is about to knock. Closes it if nobody does in time.

        Args:
            request: what has opened it.
            name: the transport, which must be one of those whose clients knock.
            duplex: the link.
        """
        transport = self.routes.enabled.get(name)
        if isinstance(transport, LinkTransport) and transport.knocks:
            Knock(self, request, transport, duplex)
            return
        self.refused(request, RequestRefused(*UNKNOWN_TRANSPORT, f"transport {name[:40]!r}"))
        duplex.close(1008, UNKNOWN_TRANSPORT[1])

    def let_in(self, request: Request, transport: LinkTransport, duplex: Duplex, frame: Frame) -> None:
        """A client has knocked: give the link to the session that it names, or to a new one, or close it."""
        try:
            generation, sid = self._knocked(frame)
            if self._opens_elsewhere(sid, request, duplex, knocks=transport.name, frame=frame):
                return
            if sid:
                session = self._movable(generation, sid)
                if session.upgrading or transport.name not in session.transport.upgrades:
                    raise RequestRefused(*BAD_REQUEST, "the session can't be upgraded now")
                session.probe(transport, duplex)
                return
            self._check_room()
            self._check_allowed(request)
        except RequestRefused as refusal:
            self.refused(request, refusal)
            duplex.close(1008, refusal.message)
            return
        self._begin_link(request, transport, generation, duplex)

    def _knocked(self, frame: Frame) -> tuple[Wire, str]:
        for candidate in self.routes.generations:
            sid = candidate.knocked(frame)
            if sid is not None:
                return candidate, sid
        raise RequestRefused(*BAD_REQUEST, f"the first packet doesn't say who comes: {frame[:40]!r}")

    def _begin_link(self, request: Request, transport: LinkTransport, generation: Wire, duplex: Duplex) -> None:
        session = self._open(request, transport, generation)
        session.attach(self._textual(request, transport, generation, duplex))
        session.push(Encoded((self._greeting(session),)))
        self.opened(session)

    # Responses

    def prepare(self, prepared: Prepared) -> None:
        """Encode a packet for all that clients may speak, ahead of time. May be called in any thread.

        Raises:
            EncodeError: its data can't be sent.
        """
        for generation in self.routes.generations:
            prepared.encoded(generation, self._parser)

    def link_headers(self, request: Request) -> Headers:
        """What the answer that opens a link is sent with, beside what its protocol needs."""
        return self.responses.dress(request, initial=self.routes.sid(request) is None)

    def refused(self, request: Request, refusal: RequestRefused) -> None:
        """A request is refused: tell the observer, and those who listen to "connection_error"."""
        self.on_refused(request, refusal)
        if self.events.connection_error:
            self.events.tell("connection_error", refusal, request)

    def refuse(
        self, request: Request, exchange: Exchange, refusal: RequestRefused, generation: Wire | None = None
    ) -> None:
        """Answer with an error."""
        self.refused(request, refusal)
        if generation is None:  # it was refused before it was looked at, or can't be read
            generation = self.routes.speaker(request)
        response = error_response(refusal) if generation is None else generation.refusal(request, refusal)
        self.responses.send(request, exchange, response, generation)

    # For sessions

    def defer(self, session: Session) -> None:
        """Flush a session at the end of this turn of the event loop, so that ten emits make one response."""
        self._cork.add(session)

    def park(self) -> None:
        """A poll starts to wait, or a stream to stay open.

        Raises:
            RequestRefused: too many do.
        """
        self._check_parked()
        self._parked += 1

    def _check_parked(self) -> None:
        if self._parked >= self.config.max_unanswered_polls:
            raise RequestRefused(*SERVER_FULL, f"max_unanswered_polls is {self.config.max_unanswered_polls}")

    def unpark(self) -> None:
        """A poll waits no longer, or a stream has ended."""
        self._parked -= 1

    def forget(self, session: Session) -> None:
        """A session is over."""
        self.sessions.pop(session.id, None)

    def abandon(self, request: Request, exchange: Exchange) -> None:
        """The connection of a poll that waited broke."""
        session = self._session_of(request)
        if session is not None:
            session.abandon(exchange)
        elif self.elsewhere is not None:
            self.elsewhere.abandon(exchange)

    def release(self, request: Request, exchange: Exchange) -> None:
        """The server that holds a waiting poll or a stream for us is about to go: the client is to ask anew."""
        session = self._session_of(request)
        if session is not None:
            session.release(exchange)

    def abort(self, request: Request) -> None:
        """The connection of a POST broke before its body was whole."""
        sid = self.routes.sid(request)
        session = self.sessions.get(sid) if sid is not None else None
        if session is not None and isinstance(session.transport, HttpTransport):
            session.close(Reason.TRANSPORT_ERROR, discard=True)
        elif self.elsewhere is not None and sid is not None and self._is_elsewhere(sid):
            self.elsewhere.abort(sid, request)

    def _session_of(self, request: Request) -> Session | None:
        """The session that a request has named, while there is one."""
        sid = self.routes.sid(request)
        return self.sessions.get(sid) if sid is not None else None


def _bytes_of(payload: str | bytes) -> int:
    return len(payload) if isinstance(payload, bytes) else len(payload.encode())
