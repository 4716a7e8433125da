"""A network without sockets: a client's requests and WebSockets go straight to a server in the same event loop.

The protocol is the true one: each packet is encoded by its sender and decoded by its receiver, each request is judged
by the server's engine, and what is sent arrives in order, in a later turn of the event loop, as over a real network.
What isn't there: TCP, HTTP and WebSocket framing, TLS, and compression of WebSockets.
"""

from __future__ import annotations

import asyncio
import gzip
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import unquote

from madang.client.dial import Dialer, Incoming, Reply
from madang.errors import ConnectError, Reason, RemoteProtocolError, RequestRefused
from madang.packet import Encoded, Frame
from madang.server import Server
from madang.testing.loops import Watch
from madang.transports import Duplex, Exchange, Receiver, Request, Response, Streamer
from madang.wire import error_body

__all__ = ["MemoryNetwork"]

#: How long the end that closes a WebSocket waits for the other one's answer.
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
_MESSAGE, _CLOSE, _END = range(3)
_HEAD, _PART, _WHOLE, _BROKEN = range(4)


class MemoryNetwork(Dialer):
    """The network between one client and a server in the same event loop: `client.network` of a `TestClient`.

    Args:
        io: the server.
        address: the client's address, as the server sees it.
        host: the server's name, for the `Host` header.
        secure: whether the server is told that the client came by TLS.
        max_response_bytes: how large a response or a message of the server may be.
        buffer_bytes: how much may be under way in a WebSocket or a stream before its sender is told to wait.

    Attributes:
        io: the server.
        delay_seconds: how long everything takes, each way. May be changed at any time.
        refusing: whether the server can't be reached: new requests and WebSockets fail. Those that are open stay; see
            `drop`.
        cookies: those that the server has set.

    Example:
        ```python
        async with connect(io, reconnection_delay_seconds=0.01) as client:
            client.network.drop()
            assert await client.wait_disconnect() == "transport close"
            await client.wait_connect()
        ```
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_buffer_bytes",
        "_down",
        "_host",
        "_links",
        "_most",
        "_roads",
        "_secure",
        "_silent",
        "_streams",
        "_trips",
        "_up",
        "cookies",
        "delay_seconds",
        "io",
        "refusing",
    )

    def __init__(
        self,
        io: Server,
        *,
        address: str = "127.0.0.1",
        host: str = "test",
        secure: bool = False,
        max_response_bytes: int = 100_000_000,
        buffer_bytes: int = 65_536,
    ) -> None:
        self.delay_seconds = 0.0
        self.refusing = False
        self.cookies: dict[str, str] = {}
        self.io = io
        self._address = address
        self._host = host
        self._secure = secure
        self._most = max_response_bytes
        self._buffer_bytes = buffer_bytes
        self._silent = False
        self._roads: weakref.WeakSet[_Road] = weakref.WeakSet()
        self._links: set[_End] = set()
        self._trips: set[_Trip] = set()
        self._streams: set[_Stream] = set()
        self._up = _Road(self, self._arrived)
        self._down = _Road(self, self._answered)

    # What can happen to a network

    def drop(self) -> None:
        """Break all that is open: WebSockets end, requests fail, at both ends. The client may connect again."""
        for end in tuple(self._links):
            end.broken()
        for stream in tuple(self._streams):
            stream.broken()
        trips, self._trips = self._trips, set()
        for trip in trips:
            trip.fail(ConnectError("the connection broke"))
            if trip.begun and trip.stream_of is None:
                asyncio.get_running_loop().call_soon(self.io.engine.abandon, trip.request, trip)
        self._up.clear()
        self._down.clear()

    def cut(self) -> None:
        """Go silent: nothing arrives any more, in either direction, and nobody is told. `mend` ends it."""
        self._silent = True

    def mend(self) -> None:
        """Work again after `cut`: what was sent meanwhile arrives, in order, as far as its sender still waits."""
        self._silent = False
        for road in tuple(self._roads):
            road.go()

    def lose_server(self) -> None:
        """Break all that is open as `drop` does, with a server that is told nothing, because it is no more."""
        for end in tuple(self._links):
            end.forget()
        for stream in self._streams:
            stream.forget()
        for trip in self._trips:
            trip.begun = False
        self.drop()

    # The port

    async def get(self, target: str, headers: Mapping[str, str]) -> Reply:  # noqa: D102
        return await self._request("GET", target, headers, None)

    async def stream(self, target: str, headers: Mapping[str, str]) -> Incoming:  # noqa: D102
        response = await self._travel("GET", target, headers, None)
        if isinstance(response, _Stream):
            return response
        assert isinstance(response, Response)  # no link was asked for  # noqa: S101
        return _Whole(response)

    async def post(self, target: str, headers: Mapping[str, str], body: bytes) -> Reply:  # noqa: D102
        own = {"Content-Type": "text/plain;charset=UTF-8", "Content-Length": str(len(body))}
        return await self._request("POST", target, {**own, **headers}, body)

    async def open(self, target: str, headers: Mapping[str, str]) -> Duplex:  # noqa: D102
        own = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        link = await self._travel("GET", target, {**own, **headers}, None, link=True)
        assert isinstance(link, _End)  # else it has raised  # noqa: S101
        return link

    async def close(self) -> None:  # noqa: D102
        self._up.clear()
        self._down.clear()

    # Requests

    async def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        response = await self._travel(method, target, {"Accept-Encoding": "gzip", **headers}, body)
        if isinstance(response, _Stream):
            return await response.whole(self._most)
        assert isinstance(response, Response)  # no link was asked for  # noqa: S101
        answer = _headers_of(response)
        packed = answer.get("content-encoding") == "gzip"
        content = gzip.decompress(response.body) if packed else response.body
        if len(content) > self._most:
            raise ConnectError(f"the server's answer has more than {self._most} bytes; max_payload_bytes")
        return Reply(response.status, content)

    async def _travel(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, *, link: bool = False
    ) -> Response | _End | _Stream:
        trip = _Trip(self, self._made(method, target, headers), body, link)
        self._trips.add(trip)
        self._up.put(trip)
        try:
            return await trip.future
        finally:
            self._trips.discard(trip)
            if trip.future.cancelled():
                trip.over = True
                self._up.put(trip)  # the client hangs up

    def _made(self, method: str, target: str, headers: Mapping[str, str]) -> Request:
        path, _, query = target.partition("?")
        sent = {"Host": self._host, "User-Agent": "madang", **headers}
        if self.cookies:
            kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            sent["Cookie"] = f"{sent['Cookie']}; {kept}" if "Cookie" in sent else kept
        return Request(
            method,
            unquote(path),
            query,
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()],
            address=self._address,
            secure=self._secure,
            received=time.time(),
        )

    def _arrived(self, trip: _Trip) -> None:
        """A request is at the server, or the news that its client has hung up."""
        io, request = self.io, trip.request
        if trip.over:
            if trip.stream_of is not None:
                trip.stream_of.gone()
            elif trip.begun:
                io.engine.abandon(request, trip)
            return
        # Who is known may still fetch its farewell from a server that has ended.
        if self.refusing or not (io.started or request.query.get("sid") in io.engine.sessions):
            error = ConnectError(f"no connection to {self._host}: the server can't be reached")
            asyncio.get_running_loop().call_soon(trip.fail, error)
            return
        io.bind()
        trip.begun = True
        if request.path.rstrip("/") != io.config.path.rstrip("/"):
            body = f"Nothing here. Socket.IO clients find this server at {io.config.path}\n".encode()
            text = [("Content-Type", "text/plain; charset=UTF-8")]
            trip.respond(Response(403, [], b"") if trip.link else Response(404, text, body))
        elif trip.link:
            self._open(trip)
        elif io.engine.begin(request, trip):
            io.engine.finish(request, trip, trip.body or b"")

    def _open(self, trip: _Trip) -> None:
        engine, request = self.io.engine, trip.request
        try:
            engine.admit(request)
        except RequestRefused as refusal:
            engine.refused(request, refusal)
            headers = engine.responses.dress(request, [("Content-Type", "application/json")])
            trip.respond(Response(refusal.status, headers, error_body(refusal)))
            return
        headers = engine.link_headers(request)
        client = _End(self, self._most, ours=True)
        server = _End(self, engine.config.max_payload_bytes, ours=False)
        client.join(server)
        server.join(client)
        self._links |= {client, server}
        trip.far = client
        trip.respond(Response(101, headers, b""))
        engine.link(request, server)

    def _answered(self, answer: tuple[_Trip, Response]) -> None:
        """A response is at the client, or the head of one that stays open."""
        trip, response = answer
        for name, value in response.headers:
            if name.lower() == "set-cookie":
                self._keep(value)
        if trip.future.done():
            if trip.far is not None:
                trip.far.close()
        elif trip.far is not None:
            trip.future.set_result(trip.far)
        elif trip.stream_of is not None:
            trip.future.set_result(trip.stream_of)
        elif trip.link:
            said = response.body[:200].decode("utf-8", "replace")
            trip.fail(ConnectError(f"{self._host} answered with status {response.status} {said}".rstrip()))
        else:
            trip.future.set_result(response)

    def _keep(self, cookie: str) -> None:
        for name, morsel in SimpleCookie(cookie).items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value

    def _forget(self, end: _End) -> None:
        self._links.discard(end)


class _Road:
    """One direction: what is put on it arrives in order, in a later turn of the event loop.

    Attributes:
        held: whether who is at its end doesn't read.
    """

    __slots__ = ("__weakref__", "_deliver", "_due", "_items", "_network", "held")

    def __init__(self, network: MemoryNetwork, deliver: Callable[[Any], None]) -> None:
        self._network = network
        self._deliver = deliver
        self._items: deque[tuple[float, Any]] = deque()
        self._due: asyncio.Handle | None = None
        self.held = False
        network._roads.add(self)

    def put(self, item: Any) -> None:
        loop = asyncio.get_running_loop()
        self._items.append((loop.time() + self._network.delay_seconds, item))
        self.go()

    def go(self) -> None:
        """See to it that what is on the road arrives."""
        if self._due is not None or not self._items or self._stopped():
            return
        loop = asyncio.get_running_loop()
        due = self._items[0][0]
        if due <= loop.time():
            self._due = loop.call_soon(self._arrive, 0)
        else:
            Watch.of_running().in_flight += 1
            self._due = loop.call_at(due, self._arrive, 1)

    def _arrive(self, late: int) -> None:
        self._due = None
        Watch.of_running().in_flight -= late
        if self._stopped():
            return
        items = self._items
        now = asyncio.get_running_loop().time() + 1e-6
        try:
            # What is put on the road meanwhile takes its own time.
            for _ in range(len(items)):
                if not items or items[0][0] > now or self._stopped():
                    break
                self._deliver(items.popleft()[1])
        finally:
            self.go()

    def _stopped(self) -> bool:
        return self.held or self._network._silent

    def clear(self) -> None:
        self._items.clear()


class _Trip(Exchange):
    """A request on its way, and the server's way to answer it."""

    __slots__ = ("begun", "body", "far", "future", "link", "network", "over", "request", "stream_of")

    def __init__(self, network: MemoryNetwork, request: Request, body: bytes | None, link: bool) -> None:
        self.network = network
        self.request = request
        self.body = body
        self.link = link  # whether a WebSocket is wanted
        self.far: _End | None = None  # the client's end of it
        self.stream_of: _Stream | None = None  # the response, if it stays open
        self.begun = False  # the server has it
        self.over = False  # the client has hung up
        self.future: asyncio.Future[Response | _End | _Stream] = asyncio.get_running_loop().create_future()

    def respond(self, response: Response) -> None:
        self.network._down.put((self, response))

    def stream(self, response: Response, streamer: Streamer) -> None:
        self.stream_of = _Stream(self.network, self, response, streamer)

    def write(self, data: bytes) -> None:
        if self.stream_of is not None:
            self.stream_of.write(data)

    def end(self, *, cut: bool = False) -> None:
        if self.stream_of is not None:
            self.stream_of.end(cut)

    def fail(self, error: ConnectError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Stream(Incoming):
    """A response that stays open: what the server writes arrives, until one of both ends it, or the network does."""

    __slots__ = (
        "__weakref__",
        "_came",
        "_error",
        "_full",
        "_network",
        "_over",
        "_road",
        "_streamer",
        "_trip",
        "_under_way",
        "_waiter",
        "content_type",
        "status",
    )

    def __init__(self, network: MemoryNetwork, trip: _Trip, response: Response, streamer: Streamer) -> None:
        self.status = response.status
        self.content_type = _headers_of(response).get("content-type", "")
        self._network = network
        self._trip = trip
        self._streamer: Streamer | None = streamer  # while the server has not ended it
        self._road = _Road(network, self._arrived)
        self._under_way = 0  # bytes that the client has not read
        self._full = False
        self._came: list[bytes] = []
        self._over = False  # at the client
        self._error: ConnectError | None = None
        self._waiter: asyncio.Future[None] | None = None
        network._streams.add(self)
        self._road.put((_HEAD, response))
        self.write(response.body)

    # The server's end

    def write(self, data: bytes) -> None:
        if not data or self._streamer is None:
            return
        self._under_way += len(data)
        self._road.put((_PART, data))
        if self._under_way > self._network._buffer_bytes and not self._full:
            self._full = True
            self._streamer.pause()

    def end(self, cut: bool) -> None:
        if self._streamer is not None:
            self._streamer = None
            self._road.put((_BROKEN if cut else _WHOLE, None))

    def gone(self) -> None:
        """The server learns that the client has hung up, or that the connection broke."""
        streamer, self._streamer = self._streamer, None
        self._network._streams.discard(self)
        if streamer is not None:
            streamer.gone()

    def forget(self) -> None:
        """The server is gone, and all that it knew."""
        self._streamer = None

    # The network

    def broken(self) -> None:
        """The connection breaks: nothing that is under way arrives."""
        self._road.clear()
        loop = asyncio.get_running_loop()
        loop.call_soon(self.gone)
        loop.call_soon(self._arrived, (_BROKEN, None))

    def _arrived(self, item: tuple[int, Any]) -> None:
        kind, value = item
        if kind == _HEAD:
            self._network._answered((self._trip, value))
        elif kind == _PART:
            self._came.append(value)
        else:
            self._over = True
            self._network._streams.discard(self)
            if kind == _BROKEN:
                self._error = ConnectError("the connection broke")
                self._trip.fail(self._error)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The client's end

    async def read(self) -> bytes:
        while not (self._came or self._over):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
        data = b"".join(self._came)
        self._came.clear()
        self._under_way -= len(data)
        if self._full and self._under_way <= self._network._buffer_bytes // 4:
            self._full = False
            if self._streamer is not None:
                self._streamer.resume()
        return data

    async def whole(self, most: int) -> Reply:
        """The response when it has ended, for who has not asked for a stream."""
        taken = b""
        try:
            while data := await self.read():
                taken += data
                if len(taken) > most:
                    raise ConnectError(f"the server's answer has more than {most} bytes; max_payload_bytes")
        finally:
            await self.close()
        return Reply(self.status, taken)

    async def close(self) -> None:
        if not self._over:
            self._over = True
            self._trip.over = True
            self._network._up.put(self._trip)  # the client hangs up


class _Whole(Incoming):
    """A whole response, for who has asked for a stream."""

    __slots__ = ("_body", "content_type", "status")

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.content_type = _headers_of(response).get("content-type", "")
        self._body = response.body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def close(self) -> None:
        """There is no connection to let go of."""


class _End(Duplex):
    """One end of a WebSocket.

    Closing goes as between our real links: who closes says so and waits a little for the answer; the server ends the
    connection. The server's end forgets its receiver when it closes, the client's tells it when all is over.
    """

    __slots__ = (
        "_closing",
        "_full",
        "_kept",
        "_most",
        "_network",
        "_other",
        "_ours",
        "_over",
        "_receiver",
        "_road",
        "_timer",
        "_under_way",
    )

    def __init__(self, network: MemoryNetwork, most: int, *, ours: bool) -> None:
        self._network = network
        self._most = most
        self._ours = ours  # the client's
        self._other: _End
        self._road: _Road
        self._receiver: Receiver | None = None
        self._kept: list[tuple[int, Any, int]] | None = [] if ours else None
        self._under_way = 0
        self._full = False
        self._closing = False
        self._over = False
        self._timer: asyncio.TimerHandle | None = None

    def join(self, other: _End) -> None:
        self._other = other
        self._road = _Road(self._network, other._arrived)

    # The port

    def bind(self, receiver: Receiver) -> None:
        self._receiver = receiver
        kept, self._kept = self._kept, None
        for item in kept or ():
            self._arrived(item)
        if kept is not None and self._over and self._receiver is receiver:  # it broke before
            asyncio.get_running_loop().call_soon(self._lost, receiver, Reason.TRANSPORT_CLOSE)

    def write(self, encoded: Encoded) -> None:
        if self._closing:
            return
        for frame in encoded.frames:
            size = len(frame.encode()) if isinstance(frame, str) else len(frame)
            self._under_way += size
            self._road.put((_MESSAGE, frame, size))
        if self._under_way > self._network._buffer_bytes and not self._full:
            self._full = True
            if self._receiver is not None:
                self._receiver.pause()

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closing:
            return
        self._closing = True
        if not self._ours:
            self._receiver = None
        self.resume_reading()  # else the other's answer would not be seen
        self._road.put((_CLOSE, code, 0))
        if self._kept is not None:  # nobody has ever owned it
            self._end()
        else:
            self._timer = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT_SECONDS, self._abort)

    def pause_reading(self) -> None:
        self._other._road.held = True

    def resume_reading(self) -> None:
        self._other._road.held = False
        self._other._road.go()

    # What comes

    def _arrived(self, item: tuple[int, Any, int]) -> None:
        kind, value, size = item
        if self._kept is not None and not self._over:
            self._kept.append(item)
            return
        if size:
            self._other._has_arrived(size)
        if kind == _MESSAGE:
            if not self._closing and self._receiver is not None:
                self._take(self._receiver, value, size)
        elif kind == _CLOSE:
            receiver = self._receiver
            self.close(value)
            self._end()
            self._lost(receiver, Reason.TRANSPORT_CLOSE)
        else:
            self._gone()

    def _take(self, receiver: Receiver, frame: Frame, size: int) -> None:
        if size <= self._most:
            receiver.receive(frame)
            return
        error = RemoteProtocolError(
            f"message of {size} bytes; max_payload_bytes is {self._most}", rule="RFC 6455 10.4", close_code=1009
        )
        receiver.fail(error, Reason.TRANSPORT_ERROR)
        self.close(error.close_code)

    def _has_arrived(self, size: int) -> None:
        self._under_way -= size
        if self._full and self._under_way <= self._network._buffer_bytes // 4:
            self._full = False
            if self._receiver is not None:
                self._receiver.resume()

    # The end of the connection

    def _end(self) -> None:
        """End the connection, once all that was sent has arrived."""
        if not self._over:
            self._over = True
            self._stop_timer()
            self._network._forget(self)
            self._road.put((_END, None, 0))

    def _abort(self) -> None:
        """The other end doesn't answer."""
        self._road.clear()
        self._end()
        self._lost(self._receiver, Reason.TRANSPORT_CLOSE)

    def _gone(self) -> None:
        self._closing = True
        self._over = True
        self._stop_timer()
        self._road.clear()
        self._network._forget(self)
        self._lost(self._receiver, Reason.TRANSPORT_CLOSE)

    def broken(self) -> None:
        """The connection breaks: nothing that is under way arrives."""
        self._road.clear()
        self._closing = True
        asyncio.get_running_loop().call_soon(self._gone)

    def forget(self) -> None:
        """The server is gone, and all that it knew."""
        if not self._ours:
            self._receiver = None

    def _lost(self, receiver: Receiver | None, reason: str) -> None:
        self._receiver = None
        if receiver is not None:
            receiver.lost(self, reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _headers_of(response: Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers}
