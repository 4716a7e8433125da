"""One of our HTTP requests on the fast face, and its response: whole, or in parts as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from madang.transports import Exchange, Request, Response, Streamer

if TYPE_CHECKING:
    from madang.faces.connection import HttpProtocol

__all__ = ["Cycle"]

#: How much of a stream goes to the transport before the turn of the event loop ends, so that it can say it is full.
_CORK_BYTES: Final = 65_536
#: What the log shows of a request's target as it is.
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))


class Cycle(Exchange):
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
        "expects",
        "keep_alive",
        "more_body",
        "response_complete",
    )

    def __init__(
        self, protocol: HttpProtocol, request: Request, target: bytes, *, chunked: bool = True, keep_alive: bool = True
    ) -> None:
        self._protocol = protocol
        self._request = request
        self._target = target
        self._wanted = 0
        self._started = False
        # Of a response that stays open: whose it is, how its parts are told apart, what goes at the turn's end.
        self._streamer: Streamer | None = None
        self._chunked = chunked
        self._buffer: list[bytes] | None = None
        self._buffered = 0
        self._corked = False
        self.keep_alive = keep_alive
        self.expects = False  # whether the client wants to be told to send the body
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False

    @property
    def message_event(self) -> Cycle:
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
            if self.expects and self.more_body and not self.body:
                # Not before its turn has come: it would end up in the middle of the response before (RFC 9110, 15.2).
                self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.set()

    def serve(self, body: bytes | None) -> None:
        """Hand the engine a request that is whole.

        Args:
            body: its body, where it may have one.
        """
        self._started = True
        self.more_body = False
        self._protocol.face.io.engine.begin(self._request, self, body)

    def take(self, part: bytes) -> None:
        """A part of the body came."""
        if not self.body:
            self.body = part  # mostly all of it
        else:
            if not isinstance(self.body, bytearray):
                self.body = bytearray(self.body)
            self.body += part

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
            body, self.body = self.body, b""
            engine.finish(self._request, self, body)
        elif self._wanted or self.body:
            self.body = self.body if self._wanted else b""
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
        if protocol.face.io.engine.is_leaving:
            self.keep_alive = False  # what comes next may find a server that stays
        head = self._head(response)
        transport.write(head + response.body if self._request.method != "HEAD" else head)
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
        """Send a part, joined with others, at the end of this turn of the event loop."""
        if self.response_complete:
            return
        data = self._chunk(data)
        if self._buffer is None:
            self._buffer = [data]
            self._buffered = len(data)
        else:
            self._buffer.append(data)
            self._buffered += len(data)
        if self._buffered > _CORK_BYTES:
            self.flush()
        elif not self._corked:
            self._corked = True
            self._protocol.ground.cork.add(self)

    def flush(self) -> None:
        """Send what was joined."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._protocol.transport.write(b"".join(buffer))

    def uncork(self) -> None:
        """The turn of the event loop is over."""
        self._corked = False
        if not self._protocol.transport.is_closing():
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
        if protocol.config.access_log:
            request = self._request
            # As it came, since what was decoded may hold line breaks. The parser lets tabs and bytes over 127 pass.
            target = quote(self._target, safe=_VISIBLE)
            line = (request.address, request.method, target, response.status)
            protocol.access_logger.info('%s - "%s %s HTTP/1.1" %d', *line)
        last = b"" if self.keep_alive else b"Connection: close\r\n"
        return protocol.ground.head(response, protocol.server_state.default_headers, last)
