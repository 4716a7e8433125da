"""Transports: what carries it. One file is one transport, without state.

A transport puts a payload into an HTTP body, or a frame into a message of a link, and says how its kind of response
behaves. It knows nothing of packets. A transport module exports `TRANSPORT`; third parties use the entry-point
group `madang.transports`.

The kinds::

    LinkTransport       frames are messages of a link                           websocket
    HttpTransport       what the client says comes by POST
      PollTransport     each GET brings one payload                             polling shortpolling jsonp
      StreamTransport   one GET stays open, and each packet is a part of it     sse multipart iframe

The two ports through which the world is reached are here too: `Exchange`, one live HTTP response, and `Duplex`, one
live message link. A face implements them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import ClassVar, Final, Protocol

from madang import registry
from madang.errors import ConfigError, RemoteProtocolError
from madang.http import Headers, Request, Response, header_block
from madang.packet import Encoded, Frame

__all__ = [
    "Duplex",
    "Exchange",
    "Headers",
    "HttpTransport",
    "LinkTransport",
    "PollTransport",
    "Receiver",
    "Request",
    "Response",
    "StreamDecoder",
    "StreamTransport",
    "Streamer",
    "Transport",
    "header_block",
    "load",
    "script_string",
]

_POST_RULE: Final = "Engine.IO protocol 4, HTTP long-polling"
_PAYLOAD_RULE: Final = "Engine.IO protocol 4, packet encoding"

#: What ends a script element, or has ended a string.
_IN_SCRIPTS: Final = {ord("<"): r"\u003c", 0x2028: r"\u2028", 0x2029: r"\u2029"}

_ACCEPTED: Final = Response(200, (("Content-Type", "text/html"), ("Cache-Control", "no-store")), b"ok")


class Streamer(Protocol):
    """Whom a response belongs to that stays open."""

    def pause(self) -> None:
        """The client reads too slowly: the connection is full."""

    def resume(self) -> None:
        """The connection can be written to again."""

    def gone(self) -> None:
        """The connection broke before the response has ended."""


class Exchange(ABC):
    """Port: one live HTTP response, implemented by a face.

    Either `respond` is called, or `stream`, then `write` any number of times, then `end`; each but `write` at most
    once. When the client is gone, all do nothing.
    """

    __slots__ = ()

    @abstractmethod
    def respond(self, response: Response) -> None:
        """Send a whole response."""

    @abstractmethod
    def stream(self, response: Response, streamer: Streamer) -> None:
        """Begin a response that stays open: send status, headers and the first part, at once and without buffering.

        Args:
            response: the head, and in `body` the first part.
            streamer: who is told how it goes, until the response has ended.
        """

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send a part, now or at the end of this turn of the event loop, as a chunk of its own."""

    def flush(self) -> None:  # noqa: B027 (some faces put nothing off)
        """Send now what was put off to the end of this turn of the event loop; nothing, where that can't be."""

    @abstractmethod
    def end(self, *, cut: bool = False) -> None:
        """Send what was written, and end the response in good order.

        Args:
            cut: break the connection instead, because its client doesn't read.
        """


class Receiver(Protocol):
    """Whom a link belongs to: a session, or an upgrade on trial."""

    def receive(self, frame: Frame) -> None:
        """A frame came."""

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule of the link, which ends for one of the reasons in `Reason`."""

    def pause(self) -> None:
        """The link is full. Told amid the writes of many: not the time to write to another, or close one."""

    def resume(self) -> None:
        """The link can be written to again."""

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone, for one of the reasons in `Reason`."""


class Duplex(ABC):
    """Port: one live message link, such as a WebSocket, implemented by a face."""

    __slots__ = ()

    #: Whether it carries text only: then it is given no frames of bytes.
    text_only: ClassVar[bool] = False

    @abstractmethod
    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on."""

    @abstractmethod
    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet, now or at the end of this turn of the event loop."""

    def flush(self) -> None:  # noqa: B027 (most links put nothing off)
        """Send now what was put off to the end of this turn of the event loop; nothing, where that can't be."""

    @abstractmethod
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then close. Does nothing when it is closed."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Read nothing more from the client, so that it has to wait. What was read already still comes."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Read again."""


class Transport(ABC):
    """A way to carry payloads."""

    #: The name in the query: `?transport=...`.
    name: ClassVar[str]
    #: Better transports that a client may move to.
    upgrades: ClassVar[tuple[str, ...]] = ()
    #: Whether it carries text only, or its clients know nothing else: bytes are sent in the wire's form for text.
    text_only: ClassVar[bool] = False


class LinkTransport(Transport):
    """A transport whose frames are messages of a `Duplex`."""

    #: Whether clients say in their first frame who they are, because the request that opens the link can't. Such links
    #: come to a listener of their own: the transport is only offered while there is one (`Engine.listening`).
    knocks: ClassVar[bool] = False


class HttpTransport(Transport):
    """A transport of HTTP requests: what the client says comes by POST, a payload in the body of each."""

    #: What can carry more than HTTP requests can, nearly everywhere.
    upgrades: ClassVar[tuple[str, ...]] = ("websocket", "webtransport", "flashsocket")
    #: Another transport's name, and a field of the query: requests for that transport that have the field come here.
    variant_of: ClassVar[tuple[str, str] | None] = None
    #: Whether it is of use in browsers only: elsewhere another transport does the same with less.
    pages_only: ClassVar[bool] = False

    def check(self, request: Request) -> None:
        """Look whether a GET has all that its response needs. Asked before anything else is done with it.

        Raises:
            RequestRefused: it has not.
        """

    def body_limit(self, max_payload_bytes: int) -> int:
        """How many bytes the body of a POST may have whose payload is as large as it may be."""
        return max_payload_bytes

    def unpack(self, request: Request, body: bytes) -> str | bytes:
        """Take the payload out of the body that a client has posted.

        Raises:
            RemoteProtocolError: it isn't one.
        """
        if (request.header("content-type") or "").startswith("application/octet-stream"):
            return body
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("a payload is not UTF-8", rule=_POST_RULE) from None

    def accepted(self, request: Request) -> Response:
        """The answer to a POST whose payload was taken."""
        return _ACCEPTED

    def reader(self, request: Request) -> str | None:
        """The origin of the page that can read the response to a GET though browsers would let any page read it.

        Browsers keep what they fetch for a script from pages of other origins, unless these are allowed (CORS). They
        don't keep scripts and frames from them, so a transport that sends such has to tell whom it sends them to.

        Returns:
            An origin; "" for a page that can't be told; None where browsers protect the response, or no browser asks.
        """
        return None


class PollTransport(HttpTransport):
    """A transport whose payloads for the client are bodies of responses, one for each GET."""

    #: Whether a GET waits for something to say; else it is answered at once, and may not come too often.
    waits: ClassVar[bool] = True

    @abstractmethod
    def respond(self, request: Request, payload: str | bytes) -> Response:
        """Put a payload for the client into the response to its poll, which `check` has found good.

        Args:
            request: the poll.
            payload: the payload; text, where the transport is `text_only`.
        """

    def read(self, body: bytes) -> str:
        """Take the payload out of the response to a poll: the client's half of `respond`.

        Raises:
            RemoteProtocolError: it isn't one.
        """
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("a payload is not UTF-8", rule=_PAYLOAD_RULE) from None


class StreamDecoder(ABC):
    """Reads one stream, in pieces of any size: the client's half of `StreamTransport.chunk`."""

    __slots__ = ()

    @abstractmethod
    def feed(self, data: bytes) -> list[Frame]:
        """Take what came, and give the payloads, or where the transport is binary the frames, that are whole now.

        Raises:
            RemoteProtocolError: it is no stream of the transport, or one payload is too large.
        """


class StreamTransport(HttpTransport):
    """A transport whose response to a GET stays open, and carries packets as they come."""

    #: Whether frames of bytes can be sent as they are; else they come as text, in a payload with their packet.
    binary: ClassVar[bool] = False
    #: Whether clients ask for the next response when one ends in good order. Else it stays open as long as the session.
    resumes: ClassVar[bool] = True

    @abstractmethod
    def head(self, request: Request) -> Headers:
        """The headers that say what kind of stream it is. `check` has found the request good."""

    @abstractmethod
    def prelude(self, request: Request) -> bytes:
        """What comes before the first packet: it makes browsers and proxies begin to hand on what comes."""

    @abstractmethod
    def chunk(self, frame: Frame) -> bytes:
        """One payload, or where `binary` is true one frame, as a part of the stream. The same for all clients."""

    def decoder(self, content_type: str, max_bytes: int) -> StreamDecoder:
        """Read a stream: the client's half.

        Args:
            content_type: the response's header.
            max_bytes: how large one payload may be, as it is sent.

        Raises:
            RemoteProtocolError: the response is no stream of this transport.
            ConfigError: only pages in browsers can read it.
        """
        raise ConfigError(f"the transport {self.name} can be read by pages in browsers only")


def script_string(text: str) -> str:
    r"""A text as a JavaScript string that may stand in a script, and in a script element of a document.

    Example:
        >>> script_string("</script>")
        '"\\u003c/script>"'

    Source: JSON superset (ECMAScript 2019), before which U+2028 and U+2029 ended a string; HTML standard, 4.12.1.3.
    """
    return json.dumps(text, ensure_ascii=False).translate(_IN_SCRIPTS)


def load(name: str) -> Transport:
    """Find a transport by its name.

    Raises:
        ConfigError: there is none.
    """
    return registry.load("transports", name, "TRANSPORT", Transport)
