"""One HTTP connection of the fast face: uvicorn's own protocol, made ours.

A request at our path, for a WebSocket or not, goes to the engine straight away; one that never gets whole is ended, and
so is a client that reads nothing of what it is sent. All else is uvicorn's.

It is one long module because a connection changes hands: between the engine, uvicorn's application and a WebSocket,
with one parser, one flow control and one set of time limits for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final, cast
from urllib.parse import unquote

import uvicorn
from httptools import HttpRequestParser
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, is_ssl
from uvicorn.server import ServerState

from madang.cork import Cork
from madang.errors import BAD_REQUEST, RemoteProtocolError, RequestRefused
from madang.faces.asgi import ASGIFace
from madang.faces.cycle import Cycle
from madang.faces.flash import POLICY_REQUEST, HixieOpening, PolicyExchange, policy
from madang.faces.handover import Handover
from madang.faces.heads import Heads, is_forwarded
from madang.faces.link import HixieLink, Volley, WebSocketLink
from madang.rfc import hixie, ws
from madang.transports import Headers, Request, Response
from madang.wire import error_body, error_headers

__all__ = ["HttpProtocol", "http_protocol"]

logger = logging.getLogger("madang")

#: How often requests are looked at that aren't whole yet.
_SWEEP_SECONDS: Final = 1.0
#: How long a client may read nothing of what is written, before its connection is cut at a shutdown.
_SHUTDOWN_PATIENCE_SECONDS: Final = 2.0
#: How many new connections are served before others get their turn: what comes at once may be thousands.
_NEWCOMERS_PER_TURN: Final = 32
#: What stands in most requests is kept once, and not for as long as each of their clients stays.
_METHODS: Final = {name.encode(): name for name in ("GET", "POST", "OPTIONS")}
_QUERIES: Final = {query: query for query in ("EIO=4&transport=websocket", "EIO=3&transport=websocket")}
#: Of how many different sets of headers the bytes are kept.
_MAX_WRITTEN: Final = 256
#: With what a request for the Flash policy file begins, and no request of HTTP does.
_POLICY_BYTE: Final = POLICY_REQUEST[0]


class Ground:
    """What the connections of one event loop share.

    Args:
        face: the application whose path is ours.
        config: uvicorn's settings.
        loop: the running event loop.
        server_state: what the connections of uvicorn's server share.
    """

    def __init__(
        self, face: ASGIFace, config: uvicorn.Config, loop: asyncio.AbstractEventLoop, server_state: ServerState
    ) -> None:
        self.face = face
        self.server_state = server_state
        #: Whether this uvicorn sets nothing in a connection, beside its parser, that another one has not the same.
        self.alike = False
        self.io = face.io
        self.loop = loop
        settings = self.io.config
        self.cork: Cork[Cycle] = Cork(loop.call_soon, settings.max_clients_per_turn)
        self.volley = Volley(loop.call_soon, settings.max_clients_per_turn)
        self.path = config.root_path + settings.path
        self.deflate = (
            ws.Deflate(
                level=settings.websocket_compression_level,
                threshold_bytes=settings.websocket_compression_threshold_bytes,
            )
            if settings.websocket_compression
            else None
        )
        #: Whether Flash films are served, with the policy file.
        self.flash = "flashsocket" in settings.transports
        self._proxy: Any = (
            ProxyHeadersMiddleware(_keep, trusted_hosts=config.forwarded_allow_ips) if config.proxy_headers else None
        )
        #: Connections whose request isn't whole yet, or that wait for their next one, or for the client to read.
        self.waiting: set[HttpProtocol] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        # New connections that have said something and wait for their turn, and how many had theirs in this one.
        self._newcomers: deque[HttpProtocol] = deque()
        self._served = 0
        #: What gives connections to other servers of this machine.
        self.handover: Handover | None = None
        #: What links call at the shutdown: the same object for all of them.
        self.on_shutdown = self.io.disconnect_all
        #: How long a client may read nothing of its responses: as long as the heartbeat has it.
        self.patience = settings.ping_interval_seconds + settings.ping_timeout_seconds
        self._common_pairs: list[tuple[bytes, bytes]] | None = None
        self._common = b""
        self._written: dict[Headers, bytes] = {}
        self.heads = Heads(self.io.config.path, self.io.config.max_header_bytes)

    def client_of(
        self, client: tuple[str, int] | None, scheme: str | None, headers: list[tuple[bytes, bytes]]
    ) -> tuple[str, bool]:
        """The client's address and whether it used TLS, as trusted proxies tell.

        Args:
            client: who has connected.
            scheme: "https" or "http".
            headers: those of the request.
        """
        if self._proxy is not None:
            scope: dict[str, Any] = {"type": "http", "client": client, "scheme": scheme, "headers": headers}
            # The middleware waits for nothing but the application inside it, which is ours and returns at once.
            with contextlib.suppress(StopIteration):
                self._proxy(scope, None, None).send(None)
            client, scheme = scope["client"], scope["scheme"]
        return client[0] if client else "", scheme == "https"

    def hand_over(self, make: Callable[[], HttpProtocol]) -> None:
        """Take connections of other servers of this machine, and give them theirs, if there can be any.

        Args:
            make: makes the protocol of a connection.
        """
        directory = self.io.cluster.bus.directory if self.io.is_clustered else None
        if directory is None:
            return

        def take(connection: socket.socket, data: bytes) -> None:
            protocol = make()
            protocol.given = data
            self.io.spawn(self.loop.connect_accepted_socket(lambda: protocol, connection))

        handover = Handover(directory, self.io.cluster.node, self.loop, take)
        try:
            handover.open()
        except OSError as error:
            logger.warning("connections can't be handed over in %s: %s", directory, error)
            return
        self.handover = handover
        self.io.on_stop(handover.close)

    def head(self, response: Response, pairs: list[tuple[bytes, bytes]], last: bytes) -> bytes:
        """The head of a response.

        Args:
            response: the response.
            pairs: the headers that uvicorn gives every response; it makes a new list of them each second.
            last: what stands behind all other headers.
        """
        if pairs is not self._common_pairs:
            self._common_pairs = pairs
            self._common = b"".join([b"%s: %s\r\n" % pair for pair in pairs])
        fields = response.fields
        written = self._written.get(fields) if type(fields) is tuple else _written(fields)
        if written is None:
            if len(self._written) >= _MAX_WRITTEN:
                self._written.clear()
            written = self._written[fields] = _written(fields)
        status = STATUS_LINE[response.status]
        if response.sized:
            return b"%b%b%bContent-Length: %d\r\n%b\r\n" % (status, self._common, written, len(response.body), last)
        return b"%b%b%b%b\r\n" % (status, self._common, written, last)

    def watch(self, protocol: HttpProtocol) -> None:
        """A connection waits for something."""
        self.waiting.add(protocol)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def serves(self, newcomer: HttpProtocol) -> bool:
        """Whether a new connection is served now. Else it is told when its turn has come."""
        if self._served == _NEWCOMERS_PER_TURN or self._newcomers:
            self._newcomers.append(newcomer)
            return False
        if not self._served:
            self.loop.call_soon(self._turn)
        self._served += 1
        return True

    def _turn(self) -> None:
        newcomers = self._newcomers
        self._served = min(len(newcomers), _NEWCOMERS_PER_TURN)
        if newcomers:
            self.loop.call_soon(self._turn)
        for _ in range(self._served):
            newcomer = newcomers.popleft()
            try:
                newcomer.begin()
            except BaseException:
                newcomer.transport.abort()  # as a transport does where its protocol fails
                raise

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.loop.time()
        for protocol in list(self.waiting):
            protocol.check_time(now)
        if self.waiting:
            self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)


def _written(fields: Headers) -> bytes:
    return "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")


async def _keep(scope: Any, receive: Any, send: Any) -> None:
    """The application inside the proxy middleware: it only wants the scope as the middleware left it."""


def http_protocol(face: ASGIFace) -> type[HttpProtocol]:
    """uvicorn's HTTP protocol for an application of ours."""
    return type("HttpProtocol", (HttpProtocol,), {"face": face, "grounds": {}})


class _Flow(FlowControl):
    """uvicorn's, without the event that few wait for until one does."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False

    @cached_property
    def _is_writable_event(self) -> asyncio.Event:  # type: ignore[override]
        event = asyncio.Event()
        if not self.write_paused:
            event.set()
        return event


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, made ours for one face.

    Attributes:
        face: the application.
        grounds: what the connections of an event loop share, by loop.
    """

    face: ASGIFace
    grounds: dict[asyncio.AbstractEventLoop, Ground]

    parser: Any = None
    # As each connection begins: an attribute of the class takes nothing of a connection.
    _since = 0.0  # when it began to wait
    _idle = False  # whether it waits for a next request that nobody has to send
    _chunk_bytes = 0
    _head_bytes = 0
    _head_done = False
    _completed = False  # whether a request got whole within the bytes at hand
    _between = True  # whether the parser has no request that isn't whole
    _first = False  # whether the request that is parsed is the first one of the bytes at hand
    _asker = "", False  # the client's address and whether it used TLS, unless a proxy tells of another one
    _active: Any = None  # the cycle that was started last, of all that wait
    _next_is_due = False  # whether the next pipelined request has its turn soon
    _chunk = b""  # the bytes at hand
    _upgrades = False  # whether the request at hand is for a WebSocket
    _leads = False  # whether the bytes at hand begin with the request at hand
    _refused_upgrade = False  # whether all that still comes is meant for a protocol that there won't be
    _unread = 0  # how many bytes of written responses the client has left when it was looked at
    _unread_since = 0.0
    _is_new = True  # whether it has said nothing yet
    _early: bytes | None = None  # what a new connection has said before its turn came
    #: What another server has read of the connection before it has handed it over.
    given = b""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # uvicorn itself gives no loop: it is the one that runs.
        ground = self.grounds.get(_loop or asyncio.get_running_loop())
        if ground is not None and ground.alike and ground.server_state is server_state:
            # What else uvicorn sets here, all connections of a server have alike: it stands in the class.
            self.pipeline = deque()
        else:
            super().__init__(config, server_state, app_state, _loop)
            ground = self.grounds.get(self.loop) or self._break_ground()
        self.ground = ground
        self._patience = ground.patience

    def _break_ground(self) -> Ground:
        """Make the ground of an event loop, with its first connection."""
        made = partial(
            type(self),
            config=self.config,
            server_state=self.server_state,
            app_state=self.app_state,
            _loop=self.loop,
        )
        self.grounds.clear()
        ground = self.grounds[self.loop] = Ground(self.face, self.config, self.loop, self.server_state)
        second = vars(HttpToolsProtocol(self.config, self.server_state, self.app_state, self.loop))
        own = {name for name, value in vars(self).items() if name not in second or second[name] is not value}
        ground.alike = own <= {"parser", "pipeline"}
        if ground.alike:
            for name, value in vars(self).items():
                if name != "pipeline":
                    setattr(type(self), name, None if name == "parser" else value)
        ground.hand_over(made)
        return ground

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection came; its first request may take only so long."""
        # As uvicorn does it, but for the addresses: it asks a socket that is made for that, and costs several calls of
        # the system. Our own is told to applications beside us only, and looked up then.
        self.connections.add(self)
        self.transport = transport
        self.flow = _Flow(transport)
        client = transport.get_extra_info("peername")
        self.client = (str(client[0]), int(client[1])) if isinstance(client, tuple) else None
        self.scheme = "https" if is_ssl(transport) else "http"
        if self.logger.level <= TRACE_LOG_LEVEL:
            prefix = "{}:{} - ".format(*self.client) if self.client else ""
            self.logger.log(TRACE_LOG_LEVEL, "%sHTTP connection made", prefix)
        self._asker = self.client[0] if self.client else "", self.scheme == "https"
        self._await_head()
        if self.given:
            given, self.given = self.given, b""
            self.data_received(given)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.ground.waiting.discard(self)
        self._early = None
        self.pipeline.clear()
        super().connection_lost(exc)
        # uvicorn tells only the cycle that came last.
        active, self._active = self._active, None
        if active is not None and active is not self.cycle and not active.response_complete:
            active.disconnected = True
            active.message_event.set()
        # It holds on to us, as the parser does, which uvicorn drops: nothing is left for the garbage collector.
        self.cycle = None  # type: ignore[assignment]

    def pause_writing(self) -> None:
        """The client reads too slowly: it gets no more requests started, and its stream has to wait."""
        super().pause_writing()
        if isinstance(self._active, Cycle):
            self._active.fill(True)

    def resume_writing(self) -> None:
        """The client has read enough of our responses: go on with its stream, or its requests."""
        super().resume_writing()
        if self.transport.is_closing():
            return
        if isinstance(self._active, Cycle):
            self._active.fill(False)
        if self.pipeline:
            self._next_soon()
        elif self.cycle is None or self.cycle.response_complete:
            self.flow.resume_reading()

    def _await_head(self) -> None:
        self._since = self.loop.time()
        self._idle = False
        self._head_bytes = 0
        self._head_done = False
        self.ground.watch(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._is_new:
            self._is_new = False
            if not self.ground.serves(self):
                self._early = data
                return
        elif self._early is not None:
            self._early += data
            if len(self._early) > self.ground.io.config.max_header_bytes:
                self.begin()
            return
        if self._refused_upgrade or (self._between and self._serve_seen(data)):
            return
        if data[0] == _POLICY_BYTE and not self._head_done and not self._head_bytes and self.ground.flash:
            self._answer_policy(data)
            return
        if self.parser is None:  # most WebSockets need none
            self.parser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._chunk = data
        self._chunk_bytes = len(data)
        self._first = self._between
        self._completed = False
        super().data_received(data)
        self._chunk = b""
        if not self._head_done:
            # Behind the end of another request only a part of the bytes is this head: what was parsed of it by now.
            self._head_bytes += self._parsed_head_bytes() if self._completed else len(data)
            if self._head_bytes > self.ground.io.config.max_header_bytes and not self.transport.is_closing():
                self._refuse_head()

    def begin(self) -> None:
        """The turn of a new connection has come."""
        early, self._early = self._early, None
        if early is not None and not self.transport.is_closing():
            self.data_received(early)

    def eof_received(self) -> None:
        """The client has said all that it will: answer what waits for its turn, before the transport closes."""
        self.begin()
        if self.transport.get_protocol() is self:
            self.ground.watch(self)  # it closes only once the client has read what is written

    def _serve_seen(self, data: bytes) -> bool:
        """Serve a request that came in one piece and has a head that was seen before; gives whether it was one."""
        before = self.cycle
        if (before is not None and not before.response_complete) or self.pipeline or self.flow.write_paused:
            return False
        ground = self.ground
        seen = ground.heads.find(data)
        if seen is None or self.transport.is_closing():
            return False
        method, query, head, own, body = seen
        handshake = head.handshake
        if handshake is not None and own is not None:
            # What is wrong with it is for the long way to tell; and what is another server's, to hand over.
            if not ws.is_key(own[1]) or (ground.handover is not None and "sid=" in query):
                return False
            handshake = ws.Handshake(own[1], handshake.subprotocols, handshake.extensions)
        if self.timeout_keep_alive_task is not None:  # of a response of another application, before
            self._unset_keepalive_if_required()
        ground.waiting.discard(self)
        self._idle = False
        self._head_done = True
        told = head.forwarded
        address, secure = self._asker if told is None else ground.client_of(self.client, self.scheme, told)
        request = Request(
            method,
            ground.path,
            query,
            head.block,
            address=address,
            secure=secure,
            received=time.time(),
            root_path=self.root_path,
            own=own,
            known=head.known,
        )
        if ground.io.loop is not self.loop:
            ground.io.bind()
        if handshake is not None:
            self._open(ground, request, handshake)
            self._let_go()
            return True
        # Only the log shows what was asked for as it came.
        target = data.split(b" ", 2)[1] if self.config.access_log else b""
        cycle: Any = Cycle(self, request, target)
        self.cycle = self._active = cycle
        cycle.serve(body)
        return True

    def _parsed_head_bytes(self) -> int:
        return len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])

    def on_message_begin(self) -> None:
        """A request begins."""
        self._between = False
        if self._idle or self not in self.ground.waiting:
            self._await_head()
        # As uvicorn does it, but for the scope, which our own requests don't need.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._upgrades = False

    def _begin_foreign(self) -> None:
        """The request at hand isn't ours: do what uvicorn does as it begins, and when its head is whole."""
        if self.server is None:
            self.server = get_local_addr(self.transport)
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the scope has this list
        super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        """Whether the request at hand is for a WebSocket. uvicorn asks several times."""
        return self._upgrades

    def on_headers_complete(self) -> None:
        """The head of a request is whole: if it is ours, the engine gets it now."""
        if self._completed and self.transport.is_closing():
            return  # what comes behind the last request of a connection isn't handled (RFC 9112, 9.6)
        limit = self.ground.io.config.max_header_bytes
        # A part of the bytes may be the body.
        if self._head_bytes + self._chunk_bytes > limit and self._parsed_head_bytes() > limit:
            self._refuse_head()
            return
        self._head_done = True
        self._leads = self._first and not self._completed
        if self.parser.should_upgrade() and super()._should_upgrade():
            self._upgrades = True
            self.ground.waiting.discard(self)
            return
        request = self._own_request()
        if request is None:
            self._begin_foreign()
            # Only our own requests have a limit for the rest: others' uploads may take their time.
            self.ground.waiting.discard(self)
            return
        is_today = self.parser.get_http_version() == "1.1"
        keep_alive = is_today and self.parser.should_keep_alive()
        if keep_alive and self._leads:
            self.ground.heads.keep(self._chunk, self.headers)
        before, cycle = self.cycle, Cycle(self, request, self.url, chunked=is_today, keep_alive=keep_alive)
        cycle.expects = self.expect_100_continue
        self.cycle = cast("Any", cycle)
        if before is not None and not before.response_complete:
            # Pipelined: its turn comes when the response before it is sent.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, cast("Any", None)))
        elif self._completed or self.flow.write_paused:
            # Pipelined, and the response before it is written already. A chunk of bytes holds hundreds of requests:
            # one of them for each turn of the event loop, so that others are served between them.
            self.pipeline.appendleft((self.cycle, cast("Any", None)))
            self._next_soon()
        else:
            self._active = cycle
            cycle.begin()

    def _next_soon(self) -> None:
        """Start the next pipelined request in a turn of its own, as soon as the client reads our responses."""
        self.flow.pause_reading()
        if self.flow.write_paused:
            self._await_request()
        elif not self._next_is_due:
            self._next_is_due = True
            self.loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        self._next_is_due = False
        if not self.pipeline or self.flow.write_paused or self.transport.is_closing():
            return
        if self._active is not None and not self._active.response_complete:
            return
        cycle, app = cast("Any", self.pipeline.pop())
        if self._idle:
            self._idle = False
            self._since = self.loop.time()
            if not (isinstance(cycle, Cycle) and cycle.more_body):
                self.ground.waiting.discard(self)
        if not self.pipeline:
            self.flow.resume_reading()
        self._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active = cycle
        if isinstance(cycle, Cycle):
            cycle.begin()
        else:
            super()._start_asgi_task(cycle, app)

    def _own_request(self, headers: list[tuple[bytes, bytes]] | None = None) -> Request | None:
        """The request that is at hand, if its path is ours; with other headers, where such are given."""
        headers = self.headers if headers is None else headers
        raw_path, _, query = self.url.decode("latin-1").partition("?")
        path = self.root_path + (unquote(raw_path) if "%" in raw_path else raw_path)
        ground = self.ground
        if path == ground.path:
            path = ground.path
        elif not self.face.owns({"path": path, "root_path": self.root_path, "query_string": query.encode("latin-1")}):
            return None
        if ground.io.loop is not self.loop:
            ground.io.bind()
        address, secure = ground.client_of(self.client, self.scheme, headers) if is_forwarded(headers) else self._asker
        method = self.parser.get_method()
        return Request(
            _METHODS.get(method) or method.decode("ascii"),
            path,
            _QUERIES.get(query, query),
            headers,
            address=address,
            secure=secure,
            received=time.time(),
            root_path=self.root_path,
        )

    def on_body(self, body: bytes) -> None:
        """A part of the body came."""
        if not self._head_done:
            return
        cycle: Any = self.cycle
        if not isinstance(cycle, Cycle):
            super().on_body(body)
        elif not cycle.response_complete and not (self.parser.should_upgrade() and self._should_upgrade()):
            cycle.take(body)
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.set()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._completed = self._between = True
        if not self._head_done or self._upgrades:
            return
        if not self._idle:
            if self.flow.write_paused and not self._is_answering:
                self._await_request()
            else:
                self.ground.waiting.discard(self)
        super().on_message_complete()

    def answered(self) -> None:
        """One of our responses was sent: go on with the next request, or wait for it.

        uvicorn sets a timer for each response; we look at all waiting connections together.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self.ground.watch(self)
            return
        if self.pipeline:
            self._next_soon()
            return
        if self.flow.write_paused:
            # Who doesn't read our responses gets no more of them piled up.
            self.flow.pause_reading()
        elif self.flow.read_paused:
            self.flow.resume_reading()
        if self._head_done:  # else the next request has begun, and has its own deadline
            self._await_request()

    def _await_request(self) -> None:
        self._since = self.loop.time()
        self._idle = True
        self.ground.watch(self)

    def on_response_complete(self) -> None:
        """A response of another application was sent."""
        if self.pipeline and not self.transport.is_closing():
            self.server_state.total_requests += 1
            self._next_soon()
        else:
            super().on_response_complete()
            if self.transport.is_closing():
                self.ground.watch(self)

    def check_time(self, now: float) -> None:
        """End what takes too long."""
        config = self.ground.io.config
        waited = now - self._since
        closing = self.transport.is_closing()
        if (closing or not self._is_answering) and self._is_unread(now):
            self.ground.waiting.discard(self)
            self.transport.abort()
        elif closing:
            if not self._unread:
                self.ground.waiting.discard(self)
        elif self._idle:
            if waited > self.timeout_keep_alive and not self._unread and not self.pipeline:
                self.transport.close()
        elif self._early is not None:
            pass  # it is we who let it wait
        elif not self._head_done and waited > config.header_timeout_seconds:
            self._give_up(408, "Request Timeout", f"header_timeout_seconds is {config.header_timeout_seconds:g}")
        elif waited > config.request_timeout_seconds:
            self._give_up(408, "Request Timeout", f"request_timeout_seconds is {config.request_timeout_seconds:g}")

    @property
    def _is_answering(self) -> bool:
        """Whether a response is to come, or under way: then it is for others to say how long it may take."""
        return self._active is not None and not self._active.response_complete

    def _is_unread(self, now: float) -> bool:
        """Whether the client has long read nothing of what is written. Its connection, closed or not, would stay."""
        unread = self.transport.get_write_buffer_size()
        if unread != self._unread:
            self._unread = unread
            self._unread_since = now
        return unread > 0 and now - self._unread_since > self._patience

    def _refuse_head(self) -> None:
        limit = self.ground.io.config.max_header_bytes
        self._give_up(431, "Request Header Fields Too Large", f"max_header_bytes is {limit}")

    def _give_up(self, status: int, phrase: str, detail: str) -> None:
        logger.info("a request from %s never got whole: %s", self.client[0] if self.client else "unknown", detail)
        # Else it has asked for nothing, or the answer would stand in the middle of another one.
        answering = self._is_answering and self._active.response_started
        if (self._head_bytes or self._chunk_bytes) and not answering:
            head = f"HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode())
        self.transport.close()

    def shutdown(self) -> None:
        """uvicorn ends: answer the polls that wait, leave requests that aren't whole, then do as it does."""
        self.ground.io.disconnect_all()
        self._patience = min(self._patience, _SHUTDOWN_PATIENCE_SECONDS)
        if self in self.ground.waiting:
            self.transport.close()
        else:
            super().shutdown()
            if self.transport.is_closing():
                self.ground.watch(self)

    # WebSocket

    def _unsupported_upgrade_warning(self) -> None:
        """A request for a protocol that we don't speak is answered as if it hadn't asked."""
        super()._unsupported_upgrade_warning()
        # The parser has skipped its body, and uvicorn skips what else came with it: what comes next may begin within a
        # request, and whoever has sent the body would decide with which (RFC 9112, 11.2).
        told = any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        )
        if told or self._behind():
            self._end_after_response()

    def _end_after_response(self) -> None:
        """Read no request behind the one at hand."""
        self._refused_upgrade = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.close()
        else:
            cycle.keep_alive = False

    def handle_websocket_upgrade(self) -> None:
        """A request for a WebSocket: take it if it is ours, else leave it to uvicorn's own implementation."""
        self.ground.waiting.discard(self)
        if not self._head_done:
            return
        if self.flow.write_paused or (self.cycle is not None and not self.cycle.response_complete):
            # Pipelined behind a request whose response is still to come, which would end up inside the WebSocket, or
            # still to be read, so that the link would not be told that it is full: the connection ends after that.
            self._end_after_response()
            if self.transport.is_closing():
                self.ground.watch(self)
            return
        request = self._own_request()
        if request is None:
            self._begin_foreign()
            super().handle_websocket_upgrade()
        else:
            self._upgrade(self.ground, request)
        self._let_go()

    def _let_go(self) -> None:
        """Once the connection is another protocol's, do as at its end."""
        if self.transport.get_protocol() is not self:
            self.parser = None

    def _upgrade(self, ground: Ground, request: Request) -> None:
        engine = ground.io.engine
        if ground.handover is not None and self._give_away(ground.handover, request):
            return
        headers_in, version = request.headers, self.parser.get_http_version()
        drafts = headers_in.get("sec-websocket-version") != ws.VERSION_HEADER[1] and engine.routes.takes_drafts(request)
        if drafts and "origin" not in headers_in:
            request = self._with_origin() or request
        handshake: ws.Handshake | hixie.Handshake
        try:
            if drafts and hixie.speaks(headers_in):
                handshake = hixie.check_handshake(request.method, version, headers_in)
            else:
                handshake = ws.check_handshake(request.method, version, headers_in, drafts=drafts)
        except RemoteProtocolError as error:
            self._refuse_handshake(request, error)
            return
        if self._leads and not drafts and isinstance(handshake, ws.Handshake):
            ground.heads.keep(self._chunk, self.headers, handshake)
        self._open(ground, request, handshake)

    def _open(self, ground: Ground, request: Request, handshake: ws.Handshake | hixie.Handshake) -> None:
        """Open a WebSocket, if the engine lets it."""
        engine = ground.io.engine
        agreed = None
        try:
            if ground.deflate is not None and isinstance(handshake, ws.Handshake):
                agreed = ws.negotiate(handshake.extensions, ground.deflate)
            engine.admit(request)
        except RemoteProtocolError as error:
            self._refuse_handshake(request, error)
            return
        except RequestRefused as refusal:
            engine.refused(request, refusal)
            headers = engine.responses.dress(request, error_headers(refusal))
            self._refuse(refusal.status, headers, error_body(refusal))
            return
        self.connections.discard(self)
        if isinstance(handshake, hixie.Handshake):
            self._open_older(ground, request, handshake)
            return
        link = WebSocketLink(
            self.transport,
            self.loop,
            ground.volley,
            engine,
            agreed[1:] if agreed is not None else None,
            self.connections,
            ground.on_shutdown,
        )
        extensions = agreed[0] if agreed is not None else None
        headers = engine.link_headers(request)
        self.transport.set_protocol(link)
        link.open(engine, request, ws.handshake_response(handshake.key, extensions=extensions, headers=headers))

    def _refuse_handshake(self, request: Request, error: RemoteProtocolError) -> None:
        """Answer what can't open a WebSocket."""
        engine = self.ground.io.engine
        context = {"name": "TRANSPORT_HANDSHAKE_ERROR"}
        engine.refused(request, RequestRefused(*BAD_REQUEST[:2], error.http_status, str(error), context))
        extra = [ws.VERSION_HEADER] if error.http_status == 426 else []
        self._refuse(error.http_status, [*engine.responses.dress(request), *extra], str(error).encode())

    def _behind(self) -> bytes:
        """What came behind the head of a request for a WebSocket."""
        # uvicorn calls us while it handles what its parser has raised, which tells where the head has ended.
        ended = sys.exception()
        return self._chunk[ended.args[0] :] if ended is not None else b""

    def _give_away(self, handover: Handover, request: Request) -> bool:
        """Give the connection to the server that has the session; gives whether it could be."""
        engine = self.ground.io.engine
        sid = engine.routes.sid(request)
        elsewhere = engine.elsewhere
        if sid is None or elsewhere is None or sid in engine.sessions or not elsewhere.has(sid):
            return False
        head = [b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        head += [b"%s: %s\r\n" % pair for pair in self.headers]
        return handover.give(sid[: len(engine.node)], self.transport, b"".join([*head, b"\r\n", self._behind()]))

    def _with_origin(self) -> Request | None:
        """The request, with the origin of the page where requests have it today."""
        return self._own_request(
            [(b"origin" if name == b"sec-websocket-origin" else name, value) for name, value in self.headers]
        )

    def _open_older(self, ground: Ground, request: Request, handshake: hixie.Handshake) -> None:
        """Open a WebSocket of a draft before RFC 6455, once the eight bytes have come that belong to its handshake."""
        engine = ground.io.engine
        transport, loop, connections = self.transport, self.loop, self.connections
        behind = self._behind()

        def opened(rest: bytes) -> None:
            link = HixieLink(transport, loop, ground.volley, engine, connections, ground.on_shutdown)
            transport.set_protocol(link)
            engine.link(request, link)
            if rest:
                link.data_received(rest)

        target = self.url.decode("latin-1")
        headers = engine.link_headers(request)
        transport.write(hixie.handshake_response(handshake, target, secure=request.secure, headers=headers))
        if handshake.numbers is None:
            opened(behind)
        else:
            seconds = ground.io.config.header_timeout_seconds
            opening = HixieOpening(transport, handshake, seconds, connections, opened)
            transport.set_protocol(opening)
            opening.data_received(behind)

    # Flash

    def _answer_policy(self, data: bytes) -> None:
        """A connection that begins like a film's request for the policy file, and like no request of HTTP."""
        config = self.ground.io.config
        self.ground.waiting.discard(self)
        self.connections.discard(self)
        server = get_local_addr(self.transport)
        port = server[1] if server is not None else 0  # behind a Unix socket there is no port to tell
        content = policy(config.origins, port or 0)
        exchange = PolicyExchange(lambda: content, config.header_timeout_seconds, self.connections)
        self.transport.set_protocol(exchange)
        exchange.connection_made(self.transport)
        exchange.data_received(data)

    def _refuse(self, status: int, headers: Headers, body: bytes) -> None:
        lines = [f"HTTP/1.1 {status} ", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self.transport.close()
        self.ground.watch(self)
