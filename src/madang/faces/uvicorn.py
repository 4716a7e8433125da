"""The fast face: uvicorn, with no ASGI between its connections and the engine.

uvicorn accepts, parses HTTP, does TLS and signals, and hosts whatever ASGI application stands beside us. Its HTTP
protocol class is extended: a request at our path, for a WebSocket or not, goes to the engine straight away; a request
that never gets whole is ended; and at the shutdown our clients are disconnected first.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, unquote

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from madang.errors import BAD_REQUEST, ConfigError, RemoteProtocolError, RequestRefused
from madang.faces.asgi import ASGIApplication, ASGIFace
from madang.faces.flash import POLICY_REQUEST, HixieOpening, PolicyExchange, PolicyServer, policy
from madang.faces.link import Cork, HixieLink, WebSocketLink
from madang.rfc import hixie, ws
from madang.server import Server
from madang.transports import Exchange, Request, Response, Streamer

if TYPE_CHECKING:
    from madang.faces.webtransport import WebTransport

__all__ = ["face_of", "make_config", "serve", "serve_async"]

logger = logging.getLogger("madang")

#: How often requests are looked at that aren't whole yet.
_SWEEP_SECONDS: Final = 1.0
#: How long a client may read nothing of what is written, before its connection is cut at a shutdown.
_SHUTDOWN_PATIENCE_SECONDS: Final = 2.0
#: How much of a stream goes to the transport before the turn of the event loop ends, so that it can say it is full.
_CORK_BYTES: Final = 65_536
#: With what a request for the Flash policy file begins, and no request of HTTP does.
_POLICY_BYTE: Final = POLICY_REQUEST[0]
#: The transports that may be asked for in the drafts before RFC 6455: old browsers and clients call theirs "websocket".
_OLDER: Final = ("flashsocket", "websocket")
#: What the log shows of a request's target as it is.
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))


class _Ground:
    """What the connections of one event loop share.

    Args:
        face: the application whose path is ours.
        config: uvicorn's settings.
        loop: the running event loop.
    """

    def __init__(self, face: ASGIFace, config: uvicorn.Config, loop: asyncio.AbstractEventLoop) -> None:
        self.face = face
        self.io = face.io
        self.loop = loop
        self.cork = Cork(loop)
        self.path = config.root_path + self.io.config.path
        settings = self.io.config
        self.deflate = (
            ws.Deflate(
                level=settings.websocket_compression_level,
                threshold_bytes=settings.websocket_compression_threshold_bytes,
            )
            if settings.websocket_compression
            else None
        )
        #: Whether Flash films are served: the drafts before RFC 6455, and the policy file.
        self.flash = "flashsocket" in settings.transports
        self._proxy: Any = (
            ProxyHeadersMiddleware(_keep, trusted_hosts=config.forwarded_allow_ips) if config.proxy_headers else None
        )
        #: Connections whose request isn't whole yet, or that wait for their next one, or for the client to read.
        self.waiting: set[HttpProtocol] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._common_pairs: list[tuple[bytes, bytes]] | None = None
        self._common = b""

    def client_of(
        self, client: tuple[str, int] | None, scheme: str | None, headers: list[tuple[bytes, bytes]]
    ) -> tuple[str, bool]:
        """The client's address and whether it used TLS, as trusted proxies tell."""
        names = [name for name, _ in headers]
        if self._proxy is not None and (b"x-forwarded-for" in names or b"x-forwarded-proto" in names):
            scope: dict[str, Any] = {"type": "http", "client": client, "scheme": scheme, "headers": headers}
            # The middleware waits for nothing but the application inside it, which is ours and returns at once.
            with contextlib.suppress(StopIteration):
                self._proxy(scope, None, None).send(None)
            client, scheme = scope["client"], scope["scheme"]
        return client[0] if client else "", scheme == "https"

    def common_headers(self, pairs: list[tuple[bytes, bytes]]) -> bytes:
        """The headers that uvicorn gives every response; it makes a new list of them each second."""
        if pairs is not self._common_pairs:
            self._common_pairs = pairs
            self._common = b"".join([b"%s: %s\r\n" % pair for pair in pairs])
        return self._common

    def watch(self, protocol: HttpProtocol) -> None:
        """A connection waits for something."""
        self.waiting.add(protocol)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.loop.time()
        for protocol in list(self.waiting):
            protocol.check_time(now)
        if self.waiting:
            self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)


async def _keep(scope: Any, receive: Any, send: Any) -> None:
    """The application inside the proxy middleware: it only wants the scope as the middleware left it."""


def _http_protocol(face: ASGIFace) -> type[HttpProtocol]:
    """uvicorn's HTTP protocol for an application of ours."""
    return type("HttpProtocol", (HttpProtocol,), {"face": face, "grounds": {}})


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, made ours for one face.

    Attributes:
        face: the application.
        grounds: what the connections of an event loop share, by loop.
    """

    face: ASGIFace
    grounds: dict[asyncio.AbstractEventLoop, _Ground]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ground = self.grounds.get(self.loop)
        if ground is None:
            self.grounds.clear()
            ground = self.grounds[self.loop] = _Ground(self.face, self.config, self.loop)
        self._ground = ground
        self._since = 0.0  # when it began to wait
        self._idle = False  # whether it waits for a next request that nobody has to send
        self._chunk_bytes = 0
        self._head_bytes = 0
        self._head_done = False
        self._completed = False  # whether a request got whole within the bytes at hand
        self._active: Any = None  # the cycle that was started last, of all that wait
        self._next_is_due = False  # whether the next pipelined request has its turn soon
        self._chunk = b""  # the bytes at hand
        self._refused_upgrade = False  # whether all that still comes is meant for a WebSocket that there won't be
        self._unread = 0  # how many bytes of written responses the client has left when it was looked at
        self._unread_since = 0.0
        # As long as the heartbeat has it.
        self._patience = ground.io.config.ping_interval_seconds + ground.io.config.ping_timeout_seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection came; its first request may take only so long."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._ground.waiting.discard(self)
        self.pipeline.clear()
        super().connection_lost(exc)
        # uvicorn tells only the cycle that came last.
        active, self._active = self._active, None
        if active is not None and active is not self.cycle and not active.response_complete:
            active.disconnected = True
            active.message_event.set()

    def pause_writing(self) -> None:
        """The client reads too slowly: it gets no more requests started, and its stream has to wait."""
        super().pause_writing()
        if isinstance(self._active, _Cycle):
            self._active.fill(True)

    def resume_writing(self) -> None:
        """The client has read enough of our responses: go on with its stream, or its requests."""
        super().resume_writing()
        if self.transport.is_closing():
            return
        if isinstance(self._active, _Cycle):
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
        self._ground.watch(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._refused_upgrade:
            return
        if data[0] == _POLICY_BYTE and not self._head_done and not self._head_bytes and self._ground.flash:
            self._answer_policy(data)
            return
        self._chunk = data
        self._chunk_bytes = len(data)
        self._completed = False
        super().data_received(data)
        self._chunk = b""
        if not self._head_done:
            # Behind the end of another request only a part of the bytes is this head: what was parsed of it by now.
            self._head_bytes += self._parsed_head_bytes() if self._completed else len(data)
            if self._head_bytes > self._ground.io.config.max_header_bytes and not self.transport.is_closing():
                self._refuse_head()

    def _parsed_head_bytes(self) -> int:
        return len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._idle or self not in self._ground.waiting:
            self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request is whole: if it is ours, the engine gets it now."""
        if self._completed and self.transport.is_closing():
            return  # what comes behind the last request of a connection isn't handled (RFC 9112, 9.6)
        limit = self._ground.io.config.max_header_bytes
        # A part of the bytes may be the body.
        if self._head_bytes + self._chunk_bytes > limit and self._parsed_head_bytes() > limit:
            self._refuse_head()
            return
        self._head_done = True
        request = None if self.parser.should_upgrade() and self._should_upgrade() else self._own_request()
        if request is None:
            super().on_headers_complete()
            # Only our own requests have a limit for the rest: others' uploads may take their time.
            self._ground.waiting.discard(self)
            return
        if self.expect_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1"
        before, cycle = self.cycle, _Cycle(self, request, keep_alive)
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
            if not (isinstance(cycle, _Cycle) and cycle.more_body):
                self._ground.waiting.discard(self)
        if not self.pipeline:
            self.flow.resume_reading()
        self._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active = cycle
        if isinstance(cycle, _Cycle):
            cycle.begin()
        else:
            super()._start_asgi_task(cycle, app)

    def _own_request(self) -> Request | None:
        """The request that is at hand, if its path is ours."""
        raw_path, _, query = self.url.decode("latin-1").partition("?")
        path = self.root_path + (unquote(raw_path) if "%" in raw_path else raw_path)
        ground = self._ground
        if path != ground.path and not self.face.owns(
            {"path": path, "root_path": self.root_path, "query_string": query.encode("latin-1")}
        ):
            return None
        if ground.io.loop is not self.loop:
            ground.io.bind()
        address, secure = ground.client_of(self.client, self.scheme, self.headers)
        return Request(
            self.parser.get_method().decode("ascii"),
            path,
            query,
            self.headers,
            address=address,
            secure=secure,
            received=time.time(),
            root_path=self.root_path,
        )

    def on_body(self, body: bytes) -> None:
        """A part of the body came."""
        if self._head_done:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._completed = True
        if not self._head_done:
            return
        if not self._idle:
            if self.flow.write_paused and not self._is_answering:
                self._await_request()
            else:
                self._ground.waiting.discard(self)
        super().on_message_complete()

    def answered(self) -> None:
        """One of our responses was sent: go on with the next request, or wait for it.

        uvicorn sets a timer for each response; we look at all waiting connections together.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._ground.watch(self)
            return
        if self.pipeline:
            self._next_soon()
            return
        if self.flow.write_paused:
            # Who doesn't read our responses gets no more of them piled up.
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()
        if self._head_done:  # else the next request has begun, and has its own deadline
            self._await_request()

    def _await_request(self) -> None:
        self._since = self.loop.time()
        self._idle = True
        self._ground.watch(self)

    def on_response_complete(self) -> None:
        """A response of another application was sent."""
        if self.pipeline and not self.transport.is_closing():
            self.server_state.total_requests += 1
            self._next_soon()
        else:
            super().on_response_complete()
            if self.transport.is_closing():
                self._ground.watch(self)

    def check_time(self, now: float) -> None:
        """End what takes too long."""
        config = self._ground.io.config
        waited = now - self._since
        closing = self.transport.is_closing()
        if (closing or not self._is_answering) and self._is_unread(now):
            self._ground.waiting.discard(self)
            self.transport.abort()
        elif closing:
            if not self._unread:
                self._ground.waiting.discard(self)
        elif self._idle:
            if waited > self.timeout_keep_alive and not self._unread and not self.pipeline:
                self.transport.close()
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
        limit = self._ground.io.config.max_header_bytes
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
        self._ground.io.disconnect_all()
        self._patience = min(self._patience, _SHUTDOWN_PATIENCE_SECONDS)
        if self in self._ground.waiting:
            self.transport.close()
        else:
            super().shutdown()
            if self.transport.is_closing():
                self._ground.watch(self)

    # WebSocket

    def handle_websocket_upgrade(self) -> None:
        """A request for a WebSocket: take it if it is ours, else leave it to uvicorn's own implementation."""
        self._ground.waiting.discard(self)
        if not self._head_done:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # Pipelined behind a request whose response is still to come, which would end up inside the WebSocket:
            # the connection ends after that response instead.
            self._refused_upgrade = True
            self.cycle.keep_alive = False
            return
        request = self._own_request()
        if request is None:
            super().handle_websocket_upgrade()
        else:
            self._upgrade(self._ground, request)

    def _upgrade(self, ground: _Ground, request: Request) -> None:
        engine = ground.io.engine
        transport = self.transport
        headers_in = request.headers
        agreed = None
        try:
            handshake: ws.Handshake | hixie.Handshake
            if ground.flash and request.query.get("transport") in _OLDER and hixie.speaks(headers_in):
                handshake = hixie.check_handshake(request.method, self.scope["http_version"], headers_in)
            else:
                handshake = ws.check_handshake(request.method, self.scope["http_version"], headers_in)
                if ground.deflate is not None:
                    agreed = ws.negotiate(handshake.extensions, ground.deflate)
            engine.admit(request)
        except RemoteProtocolError as error:
            context = {"name": "TRANSPORT_HANDSHAKE_ERROR"}
            engine.refused(request, RequestRefused(*BAD_REQUEST[:2], error.http_status, str(error), context))
            extra = [ws.VERSION_HEADER] if error.http_status == 426 else []
            self._refuse(error.http_status, [*engine.dress(request), *extra], str(error).encode())
            return
        except RequestRefused as refusal:
            engine.refused(request, refusal)
            headers = engine.dress(request, [("Content-Type", "application/json")])
            self._refuse(refusal.status, headers, engine.error_body(refusal))
            return
        self.connections.discard(self)
        if isinstance(handshake, hixie.Handshake):
            self._open_older(ground, request, handshake)
            return
        link = WebSocketLink(
            transport,
            self.loop,
            ground.cork,
            engine,
            agreed[1:] if agreed is not None else None,
            self.connections,
            ground.io.disconnect_all,
        )
        extensions = agreed[0] if agreed is not None else None
        headers = engine.link_headers(request)
        transport.write(ws.handshake_response(handshake.key, extensions=extensions, headers=headers))
        transport.set_protocol(link)
        engine.link(request, link)

    def _open_older(self, ground: _Ground, request: Request, handshake: hixie.Handshake) -> None:
        """Open a WebSocket of a draft before RFC 6455, once the eight bytes have come that belong to its handshake."""
        engine = ground.io.engine
        transport, loop, connections = self.transport, self.loop, self.connections
        # uvicorn calls us while it handles what its parser has raised, which tells where the head has ended.
        ended = sys.exception()
        behind = self._chunk[ended.args[0] :] if ended is not None else b""

        def opened(rest: bytes) -> None:
            link = HixieLink(transport, loop, ground.cork, engine, connections, ground.io.disconnect_all)
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
        config = self._ground.io.config
        self._ground.waiting.discard(self)
        self.connections.discard(self)
        port = self.server[1] if self.server is not None else 0  # behind a Unix socket there is no port to tell
        content = policy(config.origins, port or 0)
        exchange = PolicyExchange(lambda: content, config.header_timeout_seconds, self.connections)
        self.transport.set_protocol(exchange)
        exchange.connection_made(self.transport)
        exchange.data_received(data)

    def _refuse(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        lines = [f"HTTP/1.1 {status} ", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self.transport.close()


class _Cycle(Exchange):
    """One of our HTTP requests and its response, in the place where uvicorn keeps those of ASGI applications.

    uvicorn's protocol fills `body`, clears `more_body`, sets `disconnected`, and tells of each by setting
    `message_event`, which here is the cycle itself.
    """

    __slots__ = (
        "_buffer",
        "_buffered",
        "_chunked",
        "_corked",
        "_protocol",
        "_request",
        "_started",
        "_streamer",
        "_target",
        "_wanted",
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
    )

    def __init__(self, protocol: HttpProtocol, request: Request, keep_alive: bool) -> None:
        self._protocol = protocol
        self._request = request
        self._target = protocol.url
        self._wanted = 0
        self._started = False
        # Of a response that stays open: whose it is, how its parts are told apart, what goes at the turn's end.
        self._streamer: Streamer | None = None
        self._chunked = protocol.parser.get_http_version() == "1.1"
        self._buffer: list[bytes] | None = None
        self._buffered = 0
        self._corked = False
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_complete = False

    @property
    def message_event(self) -> _Cycle:
        """Where uvicorn tells that something has changed."""
        return self

    @property
    def response_started(self) -> bool:
        """Whether a part of the response was sent, and not all of it."""
        return self._streamer is not None

    def begin(self) -> None:
        """Ask the engine what to do with the request."""
        self._started = True
        if self.disconnected:
            return
        self._wanted = self._protocol.face.io.engine.begin(self._request, self)
        if self._wanted:
            self.set()

    def set(self) -> None:
        """Something has changed: a part of the body came, or all of it, or the connection is lost."""
        if self.response_complete or not self._started:
            return
        engine = self._protocol.face.io.engine
        if self.disconnected:
            self.response_complete = True
            if self._streamer is not None:
                self._buffer = None
                self._streamer.gone()
            elif self._wanted:
                engine.abort(self._request)
            else:
                engine.abandon(self._request, self)
        elif self._wanted and (not self.more_body or len(self.body) > self._wanted):
            self._wanted = 0
            engine.finish(self._request, self, self.body)
        elif self._wanted or self.body:
            self.body = self.body if self._wanted else bytearray()
            self._protocol.flow.resume_reading()

    # The port of the engine

    def respond(self, response: Response) -> None:
        """Send the whole response."""
        if self.response_complete:
            return
        self.response_complete = True
        protocol = self._protocol
        transport = protocol.transport
        if transport.is_closing():
            return
        if self.more_body and self._request.method not in ("GET", "OPTIONS"):
            # What is left of the body is not worth reading.
            self.keep_alive = False
        body = response.body if self._request.method != "HEAD" else b""
        transport.write(self._head(response) + body)
        if not self.keep_alive:
            transport.close()
        protocol.answered()

    def stream(self, response: Response, streamer: Streamer) -> None:
        """Begin a response that stays open."""
        self._streamer = streamer
        protocol = self._protocol
        if self.response_complete or protocol.transport.is_closing():
            return  # `set` tells, or has told, that the client is gone
        if self._chunked:
            more = ("Transfer-Encoding", "chunked")
            response = Response(response.status, [*response.headers, more], response.body)
        else:
            self.keep_alive = False  # the end of the connection is the end of the response (RFC 9112, 6.3)
        protocol.transport.write(self._head(response) + self._chunk(response.body))

    def write(self, data: bytes) -> None:
        """Send a part: the first one in a turn of the event loop now, later ones joined at its end."""
        if self.response_complete:
            return
        data = self._chunk(data)
        if self._corked:
            if self._buffer is None:
                self._buffer = [data]
                self._buffered = len(data)
            else:
                self._buffer.append(data)
                self._buffered += len(data)
            if self._buffered > _CORK_BYTES:
                self.flush()
        else:
            self._corked = True
            self._protocol._ground.cork.add(self)
            self._protocol.transport.write(data)

    def flush(self) -> None:
        """Send what was joined."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._protocol.transport.write(b"".join(buffer))

    def uncork(self) -> None:
        """The turn of the event loop is over."""
        self._corked = False
        self.flush()

    def end(self, *, cut: bool = False) -> None:
        """End a response that stayed open."""
        if self.response_complete:
            return
        self.flush()
        self.response_complete = True
        protocol = self._protocol
        transport = protocol.transport
        if cut:
            transport.abort()
            return
        if self._chunked:
            transport.write(b"0\r\n\r\n")
        if not self.keep_alive:
            transport.close()
        protocol.answered()

    def fill(self, full: bool) -> None:
        """The connection is full, or can be written to again."""
        if self._streamer is not None and not self.response_complete:
            if full:
                self._streamer.pause()
            else:
                self._streamer.resume()

    def _chunk(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data

    def _head(self, response: Response) -> bytes:
        protocol = self._protocol
        lines = [f"{name}: {value}\r\n" for name, value in response.headers]
        if not self.keep_alive:
            lines.append("Connection: close\r\n")
        lines.append("\r\n")
        if protocol.config.access_log:
            request = self._request
            # As it came, since what was decoded may hold line breaks. The parser lets tabs and bytes over 127 pass.
            target = quote(self._target, safe=_VISIBLE)
            line = (request.address, request.method, target, response.status)
            protocol.access_logger.info('%s - "%s %s HTTP/1.1" %d', *line)
        common = protocol._ground.common_headers(protocol.server_state.default_headers)
        return STATUS_LINE[response.status] + common + "".join(lines).encode("latin-1")


def face_of(app: Server | ASGIApplication) -> ASGIFace | None:
    """The face of ours that an application is, if it is one."""
    if isinstance(app, Server):
        return app.asgi()
    return app if isinstance(app, ASGIFace) else None


def make_config(app: Server | ASGIApplication, **options: Any) -> uvicorn.Config:
    """Settings for uvicorn under which our WebSockets are served without ASGI.

    Args:
        app: a `Server`, what `Server.asgi` gave, or any ASGI application. The last works too, but its WebSockets
            take the way through ASGI.
        options: uvicorn's own settings, as `host`, `port`, `ssl_keyfile`.
    """
    face = face_of(app)
    options.setdefault("access_log", False)
    options.setdefault("server_header", False)
    if face is None:
        logger.info("this application is no Server and not made by io.asgi(app): its WebSockets go through ASGI")
        return uvicorn.Config(app, **options)  # type: ignore[arg-type]
    options.setdefault("lifespan", "on")
    return uvicorn.Config(face, http=_http_protocol(face), **options)


class _UvicornServer(uvicorn.Server):
    """uvicorn's server, which disconnects our clients before it waits for connections to end.

    Args:
        config: uvicorn's settings.
        flash_policy_port: where the Flash policy file is served, or None.
        webtransport: what listens for WebTransport, or None.

    Raises:
        ConfigError: there is no application of ours that Flash films could want.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        flash_policy_port: int | None = None,
        webtransport: WebTransport | None = None,
    ) -> None:
        super().__init__(config)
        self._webtransport = webtransport
        self._flash_port = flash_policy_port
        self._flash: PolicyServer | None = None
        if flash_policy_port is not None:
            face = face_of_config(config)
            if face is None or "flashsocket" not in face.io.config.transports:
                raise ConfigError('flash_policy_port needs a Server whose `transports` have "flashsocket"')
            self._flash = PolicyServer(face.io.config, self._main_port)

    def _main_port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port

    async def startup(self, sockets: Any = None) -> None:
        """Take the port of the policy file first, since without it nothing is to be started."""
        if self._flash is None or self._flash_port is None:
            await self._start_all(sockets)
            return
        await self._flash.bind(self.config.host, self._flash_port)
        try:
            await self._start_all(sockets)
            await self._flash.start()
        except BaseException:
            self._flash.stop()
            raise

    async def _start_all(self, sockets: Any) -> None:
        """Listen, and for WebTransport too if that is wanted."""
        webtransport = self._webtransport
        if webtransport is None:
            await super().startup(sockets)
            return
        from madang.faces.webtransport import beside, pair

        made: list[socket.socket] = []
        if sockets is None and self.config.port == 0 and webtransport.port is None and webtransport.host is None:
            # What is free for TCP may not be free for UDP.
            listening, udp = pair(self.config.host, self.config.backlog)
            sockets, made = [listening], [udp]
        await super().startup(sockets)
        if not self.started:
            return
        if made:
            self._log_started_message(sockets)
        self.started = False
        try:
            if not made:
                listeners = [one for server in self.servers for one in server.sockets]
                made = beside(listeners, webtransport.host, webtransport.port)
            takers = [io for io in _servers(self.config) if "webtransport" in io.config.transports]
            await webtransport._start(takers, made, self.config.root_path)
        except BaseException:
            for server in self.servers:
                server.close()
            await self.lifespan.shutdown()
            raise
        self.started = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Disconnect our clients, then do as uvicorn does."""
        if self._flash is not None:
            self._flash.stop()
        if face_of_config(self.config) is not None:
            for server in self.servers:
                server.close()
            for io in _servers(self.config):
                io.disconnect_all()
        if self._webtransport is not None:
            await self._webtransport._stop()
        await super().shutdown(sockets)


def _servers(config: uvicorn.Config) -> list[Server]:
    """All servers of ours in an application: they may stand beside each other."""
    found: list[Server] = []
    face: Any = face_of_config(config)
    while isinstance(face, ASGIFace):
        found.append(face.io)
        face = face.other
    return found


def face_of_config(config: uvicorn.Config) -> ASGIFace | None:
    """The face that a configuration made by `make_config` serves."""
    return config.app if isinstance(config.app, ASGIFace) else None


def _beside(
    webtransport: bool | WebTransport, app: Server | ASGIApplication, options: Mapping[str, Any]
) -> WebTransport | None:
    """What listens for WebTransport, if that is wanted.

    Raises:
        ConfigError: it can't be.
    """
    if not webtransport:
        return None
    from madang.faces.webtransport import WebTransport, check_transports

    face = face_of(app)
    if face is None:
        raise ConfigError("webtransport needs a Server, or what io.asgi(app) gives, not any ASGI application")
    check_transports(face.io)
    made = webtransport if isinstance(webtransport, WebTransport) else WebTransport()
    certfile = options.get("ssl_certfile")
    if made.certfile is None and certfile is not None:
        made.use_certificate(certfile, options.get("ssl_keyfile"), options.get("ssl_keyfile_password"))
    return made


def serve(
    app: Server | ASGIApplication,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    webtransport: bool | WebTransport = False,
    flash_policy_port: int | None = None,
    **options: Any,
) -> None:
    """Serve until Ctrl-C.

    Args:
        app: a `Server`, what `Server.asgi` gave, or any ASGI application.
        host: the address to listen at; "0.0.0.0" for all of the machine's.
        port: the TCP port; 0 for a free one.
        webtransport: whether to listen for WebTransport too, at the UDP port of the same number; or its settings.
        flash_policy_port: a TCP port at which Flash films find the policy file, for the transport "flashsocket"; 0 for
            a free one, None for no such port. At `port` they find it in any case.
        options: uvicorn's other settings.

    Raises:
        ConfigError: what is wanted is not among the server's transports, or can't listen.

    Example:
        ```python
        import madang

        io = madang.Server()
        madang.serve(io, port=8000)
        ```
    """
    options.setdefault("log_config", _log_config(options.get("log_level", "info")))
    beside = _beside(webtransport, app, options)
    server = _UvicornServer(make_config(app, host=host, port=port, **options), flash_policy_port, beside)
    # uvicorn ends with the signal that stopped it, once all is done: Ctrl-C is no error here.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()


def _log_config(level: str | int) -> dict[str, Any]:
    """uvicorn's own settings for logs, under which our lines are shown like its own."""
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    ours = {"handlers": ["default"], "level": level.upper() if isinstance(level, str) else level, "propagate": False}
    config["loggers"]["madang"] = ours
    return config


@contextlib.asynccontextmanager
async def serve_async(
    app: Server | ASGIApplication,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    webtransport: bool | WebTransport = False,
    flash_policy_port: int | None = None,
    **options: Any,
) -> Any:
    """Serve inside a running event loop, as in tests; gives the port. The arguments are those of `serve`.

    Example:
        ```python
        async with serve_async(io) as port:
            ...
        ```
    """
    options.setdefault("log_level", "warning")
    beside = _beside(webtransport, app, options)
    server = _UvicornServer(make_config(app, host=host, port=port, **options), flash_policy_port, beside)
    with _quiet_signals(server):
        task = asyncio.create_task(server.serve())
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the server ended before it had started")
            await asyncio.sleep(0.005)
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True
            await task


@contextlib.contextmanager
def _quiet_signals(server: uvicorn.Server) -> Iterator[None]:
    """Leave the signals to whoever runs the event loop."""
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    yield
