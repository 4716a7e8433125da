"""The portable face: the engine as an ASGI application, beside or under any other, on any ASGI server.

Source: ASGI 3.0, HTTP and WebSocket message format 2.3 to 2.5, lifespan 2.0.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from madang.errors import Reason, RemoteProtocolError, RequestRefused
from madang.packet import Encoded, Frame
from madang.transports import Duplex, Exchange, Receiver, Request, Response, Streamer
from madang.wire import error_body, error_headers

if TYPE_CHECKING:
    from madang.server import Server

__all__ = ["ASGIApplication", "ASGIFace"]

logger = logging.getLogger("madang")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

#: How many bytes may wait in a link before it calls itself full; asyncio's own high-water mark.
_HIGH_WATER: Final = 65_536
#: How long a link that we close may take to send what was written, before we leave the connection to the server.
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
#: How long a client may take to read the rest of a stream that has ended, before we do so.
_LAST_PARTS_SECONDS: Final = 20.0


class ASGIFace:
    """A server as an ASGI application. Made by `Server.asgi`.

    Args:
        io: the server.
        other: the application that gets all requests that aren't ours.

    Attributes:
        io: the server.
        other: the other application, or None.
    """

    def __init__(self, io: Server, other: ASGIApplication | None = None) -> None:
        self.io = io
        self.other = other
        self._path = io.config.path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind in ("http", "websocket") and self.owns(scope):
            self.io.bind()
            if kind == "http":
                await self._http(scope, receive, send)
            else:
                await self._websocket(scope, receive, send)
        elif self.other is not None:
            await self.other(scope, receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif kind == "http":
            body = f"Nothing here. Socket.IO clients find this server at {self._path}\n".encode()
            await _answer(send, Response(404, [("Content-Type", "text/plain; charset=UTF-8")], body))

    def owns(self, scope: Scope) -> bool:
        """Whether a request is for us: its path is ours, or we are mounted there and nobody else is asked."""
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        inner = path[len(root) :] if root and path.startswith(root) else path
        routes = self.io.engine.routes
        if _closed(inner) == self._path:
            return True
        if inner.startswith(self._path) and routes.owns(inner[len(self._path) :].strip("/")):
            return True
        folder, _, name = inner.rpartition("/")
        if name in self.io.engine.files:  # for pages
            below = self.other is None and root != "" and (folder == "" or path.endswith(self._path + name))
            return folder + "/" == self._path or below
        if self.other is not None:
            return False
        # Mounted under another application. Frameworks differ in what they leave of the path.
        mounted = root != "" or b"transport=" in scope.get("query_string", b"")
        if not mounted:
            return False
        rest = routes.below(path)
        return (
            inner in ("", "/")
            or (rest is not None and routes.owns(rest))
            or (root != "" and routes.owns(inner.strip("/")))
        )

    # HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        engine = self.io.engine
        request = _request(scope, scope["method"])
        exchange = _Exchange()
        wanted = engine.begin(request, exchange)
        if wanted:
            try:
                body = await self._body(receive, wanted)
            except TimeoutError:
                limit = f"request_timeout_seconds is {self.io.config.request_timeout_seconds:g}"
                logger.info("a request from %s never got whole: %s", request.address or "unknown", limit)
                engine.abort(request)
                await _answer(send, Response(408, [("Content-Length", "0"), ("Connection", "close")], b""))
                return
            if body is None:
                engine.abort(request)
                return
            engine.finish(request, exchange, body)
        if exchange.response is None and exchange.streamer is None:
            await self._hold(request, exchange, receive)
        if exchange.streamer is not None:
            await self._stream(exchange, receive, send)
        elif exchange.response is not None:
            await _answer(send, exchange.response)

    async def _stream(self, exchange: _Exchange, receive: Receive, send: Send) -> None:
        """Send the parts of a response that stays open, until it ends or its connection breaks."""
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()
        ended = exchange.ended = loop.create_future()
        if exchange.over:
            ended.set_result(None)
        watch = loop.create_task(_until_disconnect(receive, gone))
        pump = loop.create_task(exchange.pump(send))
        try:
            await asyncio.wait([gone, pump, ended], return_when=asyncio.FIRST_COMPLETED)
            if exchange.over:
                # What was written last may still be on its way out; but who doesn't read it may not hold the task.
                hopeless = exchange.cut or gone.done()
                await asyncio.wait([pump], timeout=_CLOSE_TIMEOUT_SECONDS if hopeless else _LAST_PARTS_SECONDS)
        finally:
            watch.cancel()
            pump.cancel()
            exchange.break_off()
        if pump.done() and not pump.cancelled() and (error := pump.exception()) and not _is_gone(error):
            raise error

    async def _body(self, receive: Receive, wanted: int) -> bytearray | None:
        """The body, or more than is wanted; None where the connection broke.

        Raises:
            TimeoutError: it did not get whole in time.
        """
        body = bytearray()
        async with asyncio.timeout(self.io.config.request_timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > wanted or not message.get("more_body", False):
                    return body

    async def _hold(self, request: Request, exchange: _Exchange, receive: Receive) -> None:
        """Wait until a poll is answered, or a stream begun by another server, or its connection breaks."""
        loop = asyncio.get_running_loop()
        exchange.waiter = loop.create_future()
        watch = loop.create_task(_until_disconnect(receive, exchange.waiter))
        try:
            await exchange.waiter
        finally:
            watch.cancel()
            if exchange.response is None:
                self.io.engine.abandon(request, exchange)

    # WebSocket

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        engine = self.io.engine
        request = _request(scope, "GET")
        try:
            engine.admit(request)
        except RequestRefused as refusal:
            engine.refused(request, refusal)
            headers = engine.responses.dress(request, error_headers(refusal))
            await _deny(scope, send, Response(refusal.status, headers, error_body(refusal)))
            return
        await send({"type": "websocket.accept", "headers": _encoded(engine.link_headers(request))})
        loop = asyncio.get_running_loop()
        link = _Link(loop)
        link.writer = writer = loop.create_task(link.pump(send))
        try:
            engine.link(request, link)
            link.reader = loop.create_task(self._read(receive, link))
            await asyncio.wait([link.reader])
        finally:
            link.end()
            await asyncio.wait([writer], timeout=_CLOSE_TIMEOUT_SECONDS)
            link.give_up()
        if not link.reader.cancelled():
            link.reader.result()
        if writer.done() and not writer.cancelled() and (error := writer.exception()) and not _is_gone(error):
            raise error

    async def _read(self, receive: Receive, link: _Link) -> None:
        limit = self.io.config.max_payload_bytes
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            text: str | None = message.get("text")
            frame: Frame = text if text is not None else message["bytes"]
            if len(frame) > limit or (text is not None and len(text) * 4 > limit and len(text.encode()) > limit):
                link.fail(
                    RemoteProtocolError(
                        f"message of {len(frame)} bytes or more; max_payload_bytes is {limit}",
                        rule="RFC 6455 10.4",
                        close_code=1009,
                    )
                )
                return
            link.receive(frame)
            if link.paused:
                await link.until_resumed()

    # Lifespan

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start with the application beside us, before it, and end after our clients have left, before it."""
        if self.other is None:
            await self._own_lifespan(receive, send)
            return

        answered = False
        failed = False

        async def receive_for_other() -> Message:
            nonlocal failed
            message = await receive()
            if message["type"] == "lifespan.startup":
                failed = True
                await self.io.start()
                failed = False
            elif message["type"] == "lifespan.shutdown":
                await self.io.close()
            return message

        async def send_for_other(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] == "lifespan.startup.failed":
                await self.io.close()
            await send(message)

        try:
            await self.other(scope, receive_for_other, send_for_other)
        except Exception:
            if answered or failed:
                raise
        if answered:
            return
        # The other application knows no lifespan; ASGI lets it show that by raising, and some just return.
        if self.io.started:
            await send({"type": "lifespan.startup.complete"})
        await self._own_lifespan(receive, send)

    async def _own_lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.io.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.io.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _Exchange(Exchange):
    """Keeps the response, or the parts of one that stays open, until the task of the request sends them."""

    __slots__ = ("_full", "_parts", "_size", "_waiter", "cut", "ended", "over", "response", "streamer", "waiter")

    def __init__(self) -> None:
        self.response: Response | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.streamer: Streamer | None = None
        #: Whether nothing more is written.
        self.over = False
        self.cut = False
        self.ended: asyncio.Future[None] | None = None
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._full = False
        self._waiter: asyncio.Future[None] | None = None

    # The port

    def respond(self, response: Response) -> None:
        self.response = response
        self._answered()

    def stream(self, response: Response, streamer: Streamer) -> None:
        self.response = response
        self.streamer = streamer
        self._answered()

    def _answered(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def write(self, data: bytes) -> None:
        if self.over:
            return
        self._parts.append(data)
        self._size += len(data)
        self._wake()
        if self._size > _HIGH_WATER and not self._full and self.streamer is not None:
            self._full = True
            self.streamer.pause()

    def end(self, *, cut: bool = False) -> None:
        self.over = True
        self.cut = cut
        if cut:
            self._parts.clear()
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)
        self._wake()

    # The connection

    def break_off(self) -> None:
        """Nothing more can be sent."""
        if not self.over:
            self.over = True
            if self.streamer is not None:
                self.streamer.gone()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def pump(self, send: Send) -> None:
        """Send what is written, until the response ends."""
        response, streamer = self.response, self.streamer
        assert response is not None  # it was begun  # noqa: S101
        assert streamer is not None  # noqa: S101
        await send({"type": "http.response.start", "status": response.status, "headers": _encoded(response.headers)})
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        while True:
            while self._parts:
                data = self._parts.popleft()
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self._size -= len(data)
            if self._full and not self.over:
                self._full = False
                streamer.resume()
            elif self.over:
                break
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        await send({"type": "http.response.body", "body": b""})


class _Link(Duplex):
    """A WebSocket of the ASGI server. Writing is queued, because ASGI's `send` has to be awaited."""

    __slots__ = (
        "_closing",
        "_full",
        "_loop",
        "_queue",
        "_receiver",
        "_resumed",
        "_size",
        "_timer",
        "_waiter",
        "paused",
        "reader",
        "writer",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        #: The tasks that serve it.
        self.reader: asyncio.Task[None] | None = None
        self.writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = loop
        self._receiver: Receiver | None = None
        self._queue: deque[Encoded] = deque()
        self._size = 0
        self._full = False
        self._closing: tuple[int, str] | None = None
        self._waiter: asyncio.Future[None] | None = None
        #: Whether the client has to wait: its messages are not received.
        self.paused = False
        self._resumed: asyncio.Future[None] | None = None

    # The port

    def bind(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def write(self, encoded: Encoded) -> None:
        if self._closing is not None:
            return
        self._queue.append(encoded)
        self._size += encoded.size
        self._wake()
        if self._size > _HIGH_WATER and not self._full:
            self._full = True
            if self._receiver is not None:
                self._receiver.pause()

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closing is None:
            self._closing = (code, reason)
            self._receiver = None
            self.resume_reading()
            self._timer = self._loop.call_later(_CLOSE_TIMEOUT_SECONDS, self.give_up)
            self._wake()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    # The connection

    async def until_resumed(self) -> None:
        while self.paused:
            self._resumed = self._loop.create_future()
            await self._resumed

    def receive(self, frame: Frame) -> None:
        if self._receiver is not None:
            self._receiver.receive(frame)

    def fail(self, error: RemoteProtocolError) -> None:
        """The client broke a rule."""
        if self._receiver is not None:
            self._receiver.fail(error, Reason.TRANSPORT_ERROR)
        self.close(error.close_code)

    def lost(self, reason: str) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self, reason)

    def end(self) -> None:
        """The client is gone: nothing more can be sent."""
        self.lost(Reason.TRANSPORT_CLOSE)
        if self._closing is None:
            self._queue.clear()
            self._closing = (0, "")
        self._wake()

    def give_up(self) -> None:
        """End the tasks: what isn't sent by now never will be."""
        if self._timer is not None:
            self._timer.cancel()
        for task in (self.reader, self.writer):
            if task is not None:
                task.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def pump(self, send: Send) -> None:
        """Send what is written, until the link closes."""
        queue = self._queue
        try:
            while True:
                while queue:
                    encoded = queue.popleft()
                    for frame in encoded.frames:
                        key = "text" if isinstance(frame, str) else "bytes"
                        await send({"type": "websocket.send", key: frame})
                    self._size -= encoded.size
                if self._full:
                    self._full = False
                    if self._receiver is not None:
                        self._receiver.resume()
                    continue
                if self._closing is not None:
                    break
                self._waiter = self._loop.create_future()
                await self._waiter
            code, reason = self._closing
            if code:
                if self.reader is not None and not self.reader.done():
                    # granian sends no close while somebody still receives.
                    self.reader.cancel()
                    await asyncio.wait([self.reader])
                await send({"type": "websocket.close", "code": code, "reason": reason})
        finally:
            # A send that failed means that the connection is gone.
            self._queue.clear()
            self.lost(Reason.TRANSPORT_CLOSE)
            self._closing = self._closing or (0, "")


async def _until_disconnect(receive: Receive, waiter: asyncio.Future[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not waiter.done():
        waiter.set_result(None)


async def _answer(send: Send, response: Response) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": _encoded(response.headers)})
    await send({"type": "http.response.body", "body": response.body})


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def _deny(scope: Scope, send: Send, response: Response) -> None:
    """Refuse a WebSocket with its status and body where the ASGI server can, else by closing, which is a 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = _encoded([*response.headers, ("Content-Length", str(len(response.body)))])
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body})


def _request(scope: Scope, method: str) -> Request:
    client = scope.get("client")
    return Request(
        method,
        scope["path"],
        scope.get("query_string", b"").decode("latin-1"),
        scope["headers"],
        address=client[0] if client else "",
        secure=scope.get("scheme") in ("https", "wss"),
        received=time.time(),
        root_path=scope.get("root_path", ""),
    )


def _closed(path: str) -> str:
    return path if path.endswith("/") else path + "/"


def _is_gone(error: BaseException) -> bool:
    """Whether an ASGI server's exception says that the client is gone: OSError in ASGI 2.4, else its own."""
    if isinstance(error, AttributeError) and "transfer_data_task" in str(error):
        return True  # uvicorn with the old half of websockets, where the client left before the handshake was done
    return isinstance(error, OSError) or type(error).__name__ in (
        "ClientDisconnected",
        "ConnectionClosed",
        "ConnectionClosedOK",
        "ConnectionClosedError",
        "LocalProtocolError",
        "RuntimeError",
    )
