"""Responses: what each is sent with besides what it says. Headers for pages of other origins, a cookie, compression.

Source: Engine.IO protocol 4; Fetch standard (CORS); RFC 9110.
"""

from __future__ import annotations

import zlib
from typing import Final

from madang.config import Config
from madang.core import origins
from madang.core.events import EngineEvents, ResponseHeaders
from madang.core.files import File
from madang.transports import Exchange, Headers, Request, Response, Streamer, StreamTransport
from madang.wire import Wire

__all__ = ["Responses"]

#: What keeps proxies from collecting a response that stays open, and from changing it.
_UNBUFFERED: Final = (
    ("Cache-Control", "no-store, no-transform"),
    ("X-Accel-Buffering", "no"),
    ("X-Content-Type-Options", "nosniff"),
)
#: What a large response is sent with, and one that is compressed.
_VARIES: Final = ("Vary", "Accept-Encoding")
_PACKED: Final = ("Content-Encoding", "gzip")


class Responses:
    """Sends the responses of one server.

    Args:
        config: the settings.
        events: who wants to see and change the headers.
    """

    def __init__(self, config: Config, events: EngineEvents) -> None:
        self._config = config
        self._events = events

    def send(
        self,
        request: Request,
        exchange: Exchange,
        response: Response,
        generation: Wire | None,
        *,
        compress: bool = False,
        opens: str | None = None,
    ) -> None:
        """Send a whole response, compressed where it pays.

        Args:
            request: what is answered.
            exchange: where to.
            response: the answer.
            generation: what the client speaks, where that is known.
            compress: whether to try.
            opens: the id of the session of which it is the first response.
        """
        headers = self._headers(request, response.fields, generation, opens)
        body = response.body
        threshold = self._config.http_compression_threshold_bytes
        if compress and threshold is not None and len(body) >= threshold:
            headers = (*headers, _VARIES)
            if _accepts_gzip(request):
                # Level 1: most of the gain for little of the time, on a path that everybody waits for.
                packer = zlib.compressobj(1, zlib.DEFLATED, 31)
                body = packer.compress(body) + packer.flush()
                headers = (*headers, _PACKED)
        exchange.respond(Response(response.status, headers, body, sized=True))

    def send_file(self, request: Request, exchange: Exchange, file: File) -> None:
        """Send a file for pages."""
        response = file.answer(request, packed=_accepts_gzip(request))
        exchange.respond(Response(response.status, self._headers(request, response.headers, None, None), response.body))

    def send_preflight(self, request: Request, exchange: Exchange, generation: Wire | None) -> None:
        """Answer a browser that asks whether a page of another origin may ask."""
        headers = origins.preflight(self._config, request, generation)
        exchange.respond(Response(204, self.dress(request, headers), b""))

    def open(
        self,
        request: Request,
        exchange: Exchange,
        transport: StreamTransport,
        streamer: Streamer,
        generation: Wire,
        opens: str | None,
    ) -> None:
        """Send the head of a response that stays open."""
        headers = self._headers(request, [*transport.head(request), *_UNBUFFERED], generation, opens)
        prelude = transport.prelude(request)
        request.compact()  # it is kept for as long as the response stays open
        exchange.stream(Response(200, headers, prelude), streamer)

    def _headers(self, request: Request, own: Headers, generation: Wire | None, opens: str | None) -> Headers:
        """As `dress`; a tuple, unless they are for this response alone."""
        allowed = origins.cors(self._config, request, generation)
        headers = (*own, *allowed) if allowed or not isinstance(own, tuple) else own
        if opens is not None and self._config.cookie is not None:
            return self.dress(request, [*headers, ("Set-Cookie", self._config.cookie.header(opens))], initial=True)
        return self.dress(request, headers, initial=opens is not None)

    def dress(self, request: Request, headers: Headers = (), *, initial: bool = False) -> Headers:
        """What a response is sent with: these headers, as those who listen to "headers" leave them."""
        events = self._events
        if not (events.headers or (initial and events.initial_headers)):
            return headers
        dressed = ResponseHeaders(headers)
        if initial:
            events.tell("initial_headers", dressed, request)
        events.tell("headers", dressed, request)
        return dressed.pairs


def _accepts_gzip(request: Request) -> bool:
    for part in (request.header("accept-encoding") or "").lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
