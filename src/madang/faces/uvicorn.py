"""The fast face: uvicorn, with WebSockets of ours that ASGI doesn't stand between.

uvicorn accepts, parses HTTP, does TLS and signals, and hosts whatever ASGI application stands beside us. Its HTTP
protocol class is extended in three places: a request for a WebSocket at our path is taken over, a request that never
gets whole is ended, and at the shutdown our clients are disconnected first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, cast
from urllib.parse import unquote

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from madang.core.engine import Engine
from madang.errors import Reason, RemoteProtocolError, RequestRefused
from madang.faces.asgi import ASGIApplication, ASGIFace
from madang.packet import Encoded
from madang.rfc import ws
from madang.server import Server
from madang.transports import Duplex, Receiver, Request

__all__ = ["WebSocketLink", "face_of", "make_config", "serve", "serve_async"]

logger = logging.getLogger("madang")

#: How many corked bytes go to the transport before the turn of the event loop ends, so that it can say it is full.
_CORK_BYTES: Final = 65_536
#: How long we wait for the client's close frame before we cut the connection.
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
#: How often requests are looked at that aren't whole yet.
_SWEEP_SECONDS: Final = 1.0


class _Cork:
    """Collects the links that were written to in this turn of the event loop, and flushes them at its end."""

    __slots__ = ("_links", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._links: list[WebSocketLink] = []

    def add(self, link: WebSocketLink) -> None:
        if not self._links:
            self._loop.call_soon(self._flush)
        self._links.append(link)

    def _flush(self) -> None:
        links, self._links = self._links, []
        for link in links:
            link.uncork()


class WebSocketLink(asyncio.Protocol, Duplex):
    """One WebSocket: the protocol of its connection once the HTTP request is answered, and a link of the engine.

    While messages that came are handled, what is written is joined, and goes when they all are. Of other writes the
    first one in a turn of the event loop goes straight to the transport, and later ones are joined at its end.
    """

    __slots__ = (
        "_buffer",
        "_buffered",
        "_closing",
        "_connections",
        "_cork",
        "_corked",
        "_deflater",
        "_full",
        "_loop",
        "_on_shutdown",
        "_reader",
        "_receiver",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        cork: _Cork,
        engine: Engine,
        compression: tuple[ws.Inflater, ws.Deflater] | None,
        connections: set[Any],
        on_shutdown: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._cork = cork
        self._corked = False
        self._buffer: list[bytes] | None = None
        self._buffered = 0
        self._closing = False
        self._full = False
        self._timer: asyncio.TimerHandle | None = None
        self._receiver: Receiver | None = None
        self._deflater = compression[1] if compression is not None else None
        self._reader = ws.FrameReader(
            _ignore,
            self._control,
            max_message_bytes=engine.config.max_payload_bytes,
            inflater=compression[0] if compression is not None else None,
            max_fragments=engine.config.max_websocket_fragments,
        )
        self._connections = connections
        self._on_shutdown = on_shutdown
        connections.add(self)

    # The port of the engine

    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on."""
        self._receiver = receiver
        self._reader.on_message = receiver.receive

    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet, now or at the end of this turn of the event loop."""
        if self._closing:
            return
        data = encoded.link_bytes
        if self._deflater is not None:
            data = self._deflated(encoded, self._deflater)
        elif data is None:
            frames = encoded.frames
            if len(frames) == 1 and isinstance(frames[0], str):
                encoded.link_bytes = data = ws.text_frame(frames[0])
            else:
                encoded.link_bytes = data = _framed(encoded)
        if self._corked:
            if self._buffer is None:
                self._buffer = [data]
                self._buffered = len(data)
            else:
                self._buffer.append(data)
                self._buffered += len(data)
            if self._buffered > _CORK_BYTES:
                self._flush()
        else:
            self._corked = True
            self._cork.add(self)
            self._transport.write(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then a close frame, and wait a little for the client's."""
        if self._closing:
            return
        self._closing = True
        self._receiver = None
        self._reader.on_message = _ignore
        self._flush()
        if not self._transport.is_closing():
            self._transport.write(ws.frame(ws.CLOSE, ws.close_payload(code, reason)))
            self._timer = self._loop.call_later(_CLOSE_TIMEOUT_SECONDS, self._transport.abort)

    # The protocol of the connection

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        corked = self._corked
        self._corked = True
        try:
            self._reader.feed(data)
        except RemoteProtocolError as error:
            self._violated(error)
        finally:
            if not corked:
                self._corked = False
                if self._buffer is not None:
                    self._flush()

    def _violated(self, error: RemoteProtocolError) -> None:
        logger.info("a WebSocket is closed: %s", error)
        receiver = self._receiver
        self.close(error.close_code, str(error))
        if receiver is not None:
            receiver.lost(self, Reason.TRANSPORT_ERROR)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == ws.PING:
            # Who pings and doesn't read gets no pongs piled up for it.
            if not self._full and not self._closing:
                self._flush()
                self._transport.write(ws.frame(ws.PONG, payload))
        elif opcode == ws.CLOSE:
            if self._closing:
                self._transport.close()
                return
            code, _ = ws.parse_close(payload)
            receiver = self._receiver
            self.close(code if code != ws.NO_STATUS else 1000)
            self._transport.close()
            if receiver is not None:
                receiver.lost(self, Reason.TRANSPORT_CLOSE)

    def uncork(self) -> None:
        """The turn of the event loop is over."""
        self._corked = False
        if self._buffer is not None:
            self._flush()

    def _flush(self) -> None:
        buffer = self._buffer
        if buffer is not None:
            self._buffer = None
            self._buffered = 0
            self._transport.write(buffer[0] if len(buffer) == 1 else b"".join(buffer))

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._full = True
        if self._receiver is not None:
            self._receiver.pause()

    def resume_writing(self) -> None:
        """It is empty enough again."""
        self._full = False
        if self._receiver is not None:
            self._receiver.resume()

    def eof_received(self) -> None:
        """The client has ended its half; the transport closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._closing = True
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reader.stop()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self, Reason.TRANSPORT_CLOSE)

    def shutdown(self) -> None:
        """uvicorn ends: so do all clients."""
        self._on_shutdown()

    def _deflated(self, encoded: Encoded, deflater: ws.Deflater) -> bytes:
        if not encoded.compress or encoded.size < deflater.threshold_bytes:
            if encoded.link_bytes is None:
                encoded.link_bytes = _framed(encoded)
            return encoded.link_bytes
        # Our deflaters forget between messages, so one compression serves all links that agreed on the same window.
        known = encoded.link_deflated
        if known is None:
            known = encoded.link_deflated = {}
        data = known.get(deflater.key)
        if data is None:
            parts = []
            for frame in encoded.frames:
                opcode, payload = (ws.TEXT, frame.encode()) if isinstance(frame, str) else (ws.BINARY, frame)
                if len(payload) < deflater.threshold_bytes:
                    parts.append(ws.frame(opcode, payload))
                else:
                    parts.append(ws.frame(opcode, deflater.compress(payload), rsv1=True))
            data = known[deflater.key] = b"".join(parts)
        return data


def _ignore(message: str | bytes) -> None:
    """What comes after the end means nothing."""


def _framed(encoded: Encoded) -> bytes:
    return b"".join(
        [ws.text_frame(frame) if isinstance(frame, str) else ws.binary_frame(frame) for frame in encoded.frames]
    )


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
        self.cork = _Cork(loop)
        settings = self.io.config
        self.deflate = (
            ws.Deflate(
                level=settings.websocket_compression_level,
                threshold_bytes=settings.websocket_compression_threshold_bytes,
            )
            if settings.websocket_compression
            else None
        )
        self._proxy: Any = (
            ProxyHeadersMiddleware(_keep, trusted_hosts=config.forwarded_allow_ips) if config.proxy_headers else None
        )
        #: Requests that aren't whole yet.
        self.unfinished: set[HttpProtocol] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def client_of(self, scope: dict[str, Any]) -> tuple[str, bool]:
        """The client's address and whether it used TLS, as trusted proxies tell."""
        if self._proxy is not None:
            # The middleware waits for nothing but the application inside it, which is ours and returns at once.
            with contextlib.suppress(StopIteration):
                self._proxy(scope, None, None).send(None)
        client = scope["client"]
        return client[0] if client else "", scope["scheme"] in ("https", "wss")

    def watch(self, protocol: HttpProtocol) -> None:
        """A request has begun to come."""
        self.unfinished.add(protocol)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.loop.time()
        for protocol in list(self.unfinished):
            protocol.check_time(now)
        if self.unfinished:
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
        self._begun = 0.0
        self._head_bytes = 0
        self._head_done = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection came; its first request may take only so long."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._ground.unfinished.discard(self)
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._begun = self.loop.time()
        self._head_bytes = 0
        self._head_done = False
        self._ground.watch(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if not self._head_done:
            self._head_bytes += len(data)
        super().data_received(data)
        limit = self._ground.io.config.max_header_bytes
        if not self._head_done and self._head_bytes > limit and not self.transport.is_closing():
            self._give_up(431, "Request Header Fields Too Large", f"max_header_bytes is {limit}")

    def on_message_begin(self) -> None:
        """A request begins."""
        if self not in self._ground.unfinished:
            self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole. Only our own requests have a limit for the rest: others' uploads may take their time."""
        self._head_done = True
        super().on_headers_complete()
        scope = cast("dict[str, Any]", self.scope)
        if "path" not in scope or not self.face.owns(scope):
            self._ground.unfinished.discard(self)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._ground.unfinished.discard(self)
        super().on_message_complete()

    def check_time(self, now: float) -> None:
        """End a request that takes too long."""
        config = self._ground.io.config
        if self.transport.is_closing():
            self._ground.unfinished.discard(self)
        elif not self._head_done and now - self._begun > config.header_timeout_seconds:
            self._give_up(408, "Request Timeout", f"header_timeout_seconds is {config.header_timeout_seconds:g}")
        elif now - self._begun > config.request_timeout_seconds:
            self._give_up(408, "Request Timeout", f"request_timeout_seconds is {config.request_timeout_seconds:g}")

    def _give_up(self, status: int, phrase: str, detail: str) -> None:
        self._ground.unfinished.discard(self)
        logger.info("a request from %s never got whole: %s", self.client[0] if self.client else "unknown", detail)
        if self._head_bytes:
            head = f"HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            self.transport.write(head.encode())
        self.transport.close()

    def shutdown(self) -> None:
        """uvicorn ends: answer the polls that wait, then do as it does."""
        self._ground.io.disconnect_all()
        super().shutdown()

    # WebSocket

    def handle_websocket_upgrade(self) -> None:
        """A request for a WebSocket: take it if it is ours, else leave it to uvicorn's own implementation."""
        self._ground.unfinished.discard(self)
        raw_path, _, query = self.url.decode("latin-1").partition("?")
        path = self.root_path + (unquote(raw_path) if "%" in raw_path else raw_path)
        if not self.face.owns({"path": path, "root_path": self.root_path, "query_string": query.encode("latin-1")}):
            super().handle_websocket_upgrade()
            return
        ground = self._ground
        ground.io.bind()
        scope: dict[str, Any] = {
            "type": "websocket",
            "client": self.client,
            "scheme": self.scheme,
            "headers": self.headers,
        }
        address, secure = ground.client_of(scope)
        # One block of lines takes a fraction of the memory that a list of pairs would for as long as the client stays.
        block = b"\r\n".join([name + b":" + value for name, value in self.headers])
        request = Request(
            self.scope["method"],
            path,
            query,
            block,
            address=address,
            secure=secure,
            received=time.time(),
            root_path=self.root_path,
        )
        self._upgrade(ground, request)

    def _upgrade(self, ground: _Ground, request: Request) -> None:
        engine = ground.io.engine
        transport = self.transport
        try:
            handshake = ws.check_handshake(request.method, self.scope["http_version"], request.headers)
            engine.admit(request)
        except RemoteProtocolError as error:
            logger.info("a WebSocket from %s is refused: %s", request.address, error)
            extra = [ws.VERSION_HEADER] if error.http_status == 426 else []
            self._refuse(error.http_status, extra, str(error).encode())
            return
        except RequestRefused as refusal:
            engine.on_refused(request, refusal)
            self._refuse(refusal.status, [("Content-Type", "application/json")], engine.error_body(refusal))
            return
        agreed = ws.negotiate(handshake.extensions, ground.deflate) if ground.deflate is not None else None
        self.connections.discard(self)
        link = WebSocketLink(
            transport,
            self.loop,
            ground.cork,
            engine,
            agreed[1:] if agreed is not None else None,
            self.connections,
            ground.io.disconnect_all,
        )
        transport.write(ws.handshake_response(handshake.key, extensions=agreed[0] if agreed is not None else None))
        transport.set_protocol(link)
        engine.link(request, link)

    def _refuse(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        lines = [f"HTTP/1.1 {status} ", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self.transport.close()


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
    """uvicorn's server, which disconnects our clients before it waits for connections to end."""

    async def shutdown(self, sockets: Any = None) -> None:
        face = face_of_config(self.config)
        if face is not None:
            for server in self.servers:
                server.close()
            face.io.disconnect_all()
        await super().shutdown(sockets)


def face_of_config(config: uvicorn.Config) -> ASGIFace | None:
    """The face that a configuration made by `make_config` serves."""
    return config.app if isinstance(config.app, ASGIFace) else None


def serve(app: Server | ASGIApplication, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
    """Serve until Ctrl-C.

    Args:
        app: a `Server`, what `Server.asgi` gave, or any ASGI application.
        host: the address to listen at; "0.0.0.0" for all of the machine's.
        port: the TCP port; 0 for a free one.
        options: uvicorn's other settings.

    Example:
        ```python
        import madang

        io = madang.Server()
        madang.serve(io, port=8000)
        ```
    """
    server = _UvicornServer(make_config(app, host=host, port=port, **options))
    # uvicorn ends with the signal that stopped it, once all is done: Ctrl-C is no error here.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()


@contextlib.asynccontextmanager
async def serve_async(app: Server | ASGIApplication, host: str = "127.0.0.1", port: int = 0, **options: Any) -> Any:
    """Serve inside a running event loop, as in tests; gives the port.

    Example:
        ```python
        async with serve_async(io) as port:
            ...
        ```
    """
    options.setdefault("log_level", "warning")
    server = _UvicornServer(make_config(app, host=host, port=port, **options))
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
