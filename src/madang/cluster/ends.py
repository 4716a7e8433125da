"""Both ends of a request that was handed over: what the entrance's face talks to, and what the owner's engine does.

entrance    HttpVisit    LinkVisit      have the face's `Exchange` and `Duplex`
owner       RemoteExchange    RemoteDuplex      are the engine's
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, Final

from madang.cluster.parcels import (
    NODE_LENGTH,
    Answer,
    Begin,
    Close,
    End,
    Failed,
    Frames,
    Gone,
    Heard,
    Part,
    Read,
    Release,
    Said,
)
from madang.core.wheel import Timed
from madang.errors import Reason, RemoteProtocolError
from madang.packet import Encoded, Frame
from madang.transports import Duplex, Exchange, Receiver, Request, Response, Streamer

if TYPE_CHECKING:
    from madang.cluster.requests import Requests

__all__ = ["HttpVisit", "LinkVisit", "RemoteDuplex", "RemoteExchange", "RemoteTextDuplex"]

#: How far a stream or a link may be ahead of what the other end has confirmed.
_WINDOW_BYTES: Final = 262_144
#: After how much the other end confirms.
_CONFIRM_BYTES: Final = 65_536
#: What a frame takes besides its text: else the smallest ones would take many times of what they count.
_BYTES_PER_FRAME: Final = 32
_GOING_AWAY: Final = 1001


class _Ahead:
    """How far one end is ahead of what the other has confirmed.

    Args:
        full: is called when it is too far.
        free: is called when it may go on.
    """

    __slots__ = ("_bytes", "_free", "_full", "_is_full")

    def __init__(self, full: Callable[[], None], free: Callable[[], None]) -> None:
        self._full = full
        self._free = free
        self._bytes = 0
        self._is_full = False

    def went(self, size: int) -> None:
        """So much more is on its way."""
        self._bytes += size
        if self._bytes > _WINDOW_BYTES and not self._is_full:
            self._is_full = True
            self._full()

    def confirmed(self, size: int) -> None:
        """So much has arrived."""
        self._bytes -= size
        if self._is_full and self._bytes <= _WINDOW_BYTES // 2:
            self._is_full = False
            self._free()


class _Visit(Timed):
    """Something at the entrance that another server answers."""

    __slots__ = ("_full", "_requests", "_unconfirmed", "node", "number", "request", "sid")

    def __init__(self, requests: Requests, sid: str, number: int, request: Request) -> None:
        super().__init__()
        self._requests = requests
        self._full = False
        self._unconfirmed = 0
        self.sid = sid
        self.node = sid[:NODE_LENGTH]
        self.number = number
        self.request = request

    def pause(self) -> None:
        """The connection is full: the owner gets nothing more confirmed."""
        self._full = True

    def resume(self) -> None:
        """The connection can be written to again."""
        self._full = False
        self._passed(0)

    def _passed(self, size: int) -> None:
        """So much was given to the connection."""
        self._unconfirmed += size
        if self._unconfirmed >= _CONFIRM_BYTES and not self._full:
            self._requests.say(self.node, Read(self.number, self._unconfirmed))
            self._unconfirmed = 0


class HttpVisit(_Visit):
    """A request at the entrance."""

    __slots__ = ("begun", "exchange")

    def __init__(self, requests: Requests, sid: str, number: int, request: Request, exchange: Exchange) -> None:
        super().__init__(requests, sid, number, request)
        self.exchange = exchange
        self.begun = False

    def begin(self, response: Response) -> None:
        """The owner begins a response that stays open."""
        if not self.begun:
            self.begun = True
            self.request.compact()
            self.exchange.stream(response, self)

    def part(self, data: bytes) -> None:
        """The owner sends a part."""
        if self.begun:
            self.exchange.write(data)
            self._passed(len(data))

    def gone(self) -> None:
        """The connection broke."""
        if self._requests.forget(self):
            self._requests.say(self.node, Gone(self.number, Reason.TRANSPORT_CLOSE))

    def expire(self, now: float) -> None:
        """The owner has not even said that it has the request."""
        self.refuse(f"the server {self.node!r} doesn't answer")

    def refuse(self, why: str) -> None:
        """There will be no answer."""
        if not self._requests.forget(self):
            return
        self._requests.refused += 1
        self._requests.say(self.node, Gone(self.number, Reason.TRANSPORT_CLOSE))
        if self.begun:
            self.exchange.end(cut=True)
        else:
            self._requests.refuse(self.request, self.exchange, self.sid, why)

    def release(self) -> None:
        """We are about to go."""
        self._requests.say(self.node, Release(self.number))


class LinkVisit(_Visit):
    """A link at the entrance."""

    __slots__ = ("ahead", "duplex")

    def __init__(self, requests: Requests, sid: str, number: int, request: Request, duplex: Duplex) -> None:
        super().__init__(requests, sid, number, request)
        self.duplex = duplex
        self.ahead = _Ahead(duplex.pause_reading, duplex.resume_reading)
        request.compact()

    def write(self, encoded: Encoded) -> None:
        """The owner sends a packet."""
        self.duplex.write(encoded)
        self._passed(_size_of(encoded.frames))

    # The link's receiver

    def receive(self, frame: Frame) -> None:
        """A frame came."""
        requests = self._requests
        size = len(frame) + _BYTES_PER_FRAME
        last = requests.last_to(self.node)
        if isinstance(last, Said) and last.number == self.number:
            last.frames.append(frame)
            requests.grew(self.node, size)
        else:
            requests.say(self.node, Said(self.number, [frame]), size)
        self.ahead.went(size)

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule of the link, which the face closes."""
        if self._requests.forget(self):
            text, status = str(error.args[0]), error.http_status
            self._requests.say(self.node, Failed(self.number, text, error.rule, error.close_code, status, reason))

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone."""
        if self._requests.forget(self):
            self._requests.say(self.node, Gone(self.number, reason))

    def expire(self, now: float) -> None:
        """The owner has not even said that it has the link."""
        self.refuse(f"the server {self.node!r} doesn't answer")

    def refuse(self, why: str) -> None:
        """Nobody has the link."""
        if self._leave():
            self._requests.refused += 1
            self.duplex.close(1008, self._requests.refuse_link(self.request, self.sid, why))

    def release(self) -> None:
        """We are about to go, and can't take the link along."""
        if self._leave():
            self.duplex.close(_GOING_AWAY, Reason.SHUTTING_DOWN)

    def _leave(self) -> bool:
        if not self._requests.forget(self):
            return False
        self._requests.say(self.node, Gone(self.number, Reason.TRANSPORT_CLOSE))
        return True


class RemoteExchange(Exchange):
    """The response to a request that came from elsewhere.

    Args:
        requests: who hands it over.
        node: the entrance.
        number: the entrance's number for it.
        request: the request.

    Attributes:
        request: the request.
        silent: whether nothing of an answer was said yet.
        ahead: how far the parts of a response that stays open are ahead; None where there is none.
    """

    __slots__ = ("_node", "_number", "_requests", "_streamer", "ahead", "request", "silent")

    def __init__(self, requests: Requests, node: str, number: int, request: Request) -> None:
        self._requests = requests
        self._node = node
        self._number = number
        self._streamer: Streamer | None = None
        self.request = request
        self.silent = True
        self.ahead: _Ahead | None = None

    def respond(self, response: Response) -> None:
        """Send a whole response."""
        self.silent = False
        if self._requests.over(self._node, self._number):
            answer = Answer(self._number, response.status, list(response.headers), response.body)
            self._requests.say(self._node, answer, len(response.body))
            if self.request.method == "GET" and response.status == 200:
                self._requests.answered(self._node, self._number, self.request)

    def stream(self, response: Response, streamer: Streamer) -> None:
        """Begin a response that stays open."""
        self.silent = False
        self._streamer = streamer
        self.ahead = _Ahead(self._pause, self._resume)
        begin = Begin(self._number, response.status, list(response.headers), response.body)
        self._requests.say(self._node, begin, len(response.body))

    def write(self, data: bytes) -> None:
        """Send a part. What goes to many at a time goes once."""
        if self._streamer is None or self.ahead is None:
            return
        last = self._requests.last_to(self._node)
        if isinstance(last, Part) and last.data is data:
            last.numbers.append(self._number)
        else:
            self._requests.say(self._node, Part([self._number], data), len(data))
        self.ahead.went(len(data))

    def flush(self) -> None:
        """Send now what waits for the end of the turn."""
        self._requests.send(self._node)

    def end(self, *, cut: bool = False) -> None:
        """End the response."""
        self.silent = False
        self._streamer = None
        if self._requests.over(self._node, self._number):
            self._requests.say(self._node, End(self._number, cut))

    def gone(self, reason: str) -> None:
        """The client is gone, or the entrance."""
        if not self._requests.over(self._node, self._number):
            return
        streamer, self._streamer = self._streamer, None
        if streamer is not None:
            streamer.gone()
        else:
            self._requests.abandon_remote(self)

    def _pause(self) -> None:
        if self._streamer is not None:
            self._streamer.pause()

    def _resume(self) -> None:
        if self._streamer is not None:
            self._streamer.resume()


class RemoteDuplex(Duplex):
    """A link that is open elsewhere.

    Args:
        requests: who hands it over.
        node: the entrance.
        number: the entrance's number for it.

    Attributes:
        ahead: how far what we send is ahead.
    """

    __slots__ = ("_node", "_number", "_open", "_paused", "_receiver", "_requests", "_unconfirmed", "ahead")

    def __init__(self, requests: Requests, node: str, number: int) -> None:
        self._requests = requests
        self._node = node
        self._number = number
        self._receiver: Receiver | None = None
        self._open = True
        self._paused = False
        self._unconfirmed = 0
        self.ahead = _Ahead(self._pause, self._resume)

    # The port

    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on."""
        self._receiver = receiver

    def write(self, encoded: Encoded) -> None:
        """Send the frames of a packet. What goes to many at a time goes once."""
        if not self._open:
            return
        size = _size_of(encoded.frames)
        last = self._requests.last_to(self._node)
        if isinstance(last, Frames) and last.frames is encoded.frames:
            last.numbers.append(self._number)
        else:
            self._requests.say(self._node, Frames([self._number], encoded.frames, encoded.compress), size)
        self.ahead.went(size)

    def flush(self) -> None:
        """Send now what waits for the end of the turn."""
        self._requests.send(self._node)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send what was written, then close."""
        self._open = False
        self._receiver = None
        if self._requests.over(self._node, self._number):
            self._requests.say(self._node, Close(self._number, code, reason))

    def pause_reading(self) -> None:
        """The entrance gets nothing more confirmed, and soon reads nothing more."""
        self._paused = True

    def resume_reading(self) -> None:
        """Read again."""
        self._paused = False
        self._confirm()

    # From the entrance

    def receive(self, frames: Iterable[Frame]) -> None:
        """The client has sent these."""
        self._unconfirmed += _size_of(frames)
        for frame in frames:
            if self._receiver is not None:
                self._receiver.receive(frame)
        self._confirm()

    def _confirm(self) -> None:
        if self._unconfirmed >= _CONFIRM_BYTES and not self._paused and self._open:
            self._requests.say(self._node, Heard(self._number, self._unconfirmed))
            self._unconfirmed = 0

    def fail(self, error: RemoteProtocolError, reason: str) -> None:
        """The client broke a rule of the link."""
        if self._requests.over(self._node, self._number):
            self._open = False
            receiver, self._receiver = self._receiver, None
            if receiver is not None:
                receiver.fail(error, reason)

    def gone(self, reason: str) -> None:
        """The client is gone, or the entrance."""
        if self._requests.over(self._node, self._number):
            self._open = False
            receiver, self._receiver = self._receiver, None
            if receiver is not None:
                receiver.lost(self, reason)

    def _pause(self) -> None:
        if self._receiver is not None:
            self._receiver.pause()

    def _resume(self) -> None:
        if self._receiver is not None:
            self._receiver.resume()


class RemoteTextDuplex(RemoteDuplex):
    """A link that is open elsewhere and carries text only."""

    __slots__ = ()

    text_only: ClassVar[bool] = True


def _size_of(frames: Iterable[Frame]) -> int:
    return sum([len(frame) + _BYTES_PER_FRAME for frame in frames])
