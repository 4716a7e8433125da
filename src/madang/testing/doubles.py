"""Written doubles of the clock, of the two ports, and of the event loop."""
# ruff: noqa: S101 (assertions are what this module is for)

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Generator
from typing import Any

from madang.core.wheel import Wheel
from madang.errors import MadangError, Reason
from madang.packet import Encoded, Frame
from madang.transports import Duplex, Exchange, Receiver, Response, Streamer

__all__ = ["FakeClock", "RecordingDuplex", "RecordingExchange", "Waiter", "Waiting"]


class FakeClock:
    """A clock that one moves.

    Attributes:
        now: its time, in seconds.

    Example:
        >>> clock = FakeClock(100.0)
        >>> clock.advance(2.5)
        >>> clock()
        102.5
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._wheel: Wheel | None = None

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def drive(self, wheel: Wheel) -> None:
        """Advance this wheel from now on, at the moments that it asks for."""
        self._wheel = wheel

    def advance(self, seconds: float) -> None:
        """Move on; each deadline on the way finds its own time on the clock."""
        target = self.now + seconds
        wheel = self._wheel
        while wheel is not None and (due := wheel.next) is not None and due <= target:
            self.now = max(self.now, due)
            wheel.advance(self.now)
        self.now = target
        if wheel is not None:
            wheel.advance(target)


class RecordingExchange(Exchange):
    """An HTTP response that is kept instead of sent.

    Attributes:
        response: what was answered, or None while the request waits.
        parts: of a response that stays open, what was written to it since `take` was last called.
        streamer: of such a response, who is told how it goes.
        ended: whether such a response has ended; "cut" if the connection was broken for it.
    """

    __slots__ = ("ended", "parts", "response", "streamer")

    def __init__(self) -> None:
        self.response: Response | None = None
        self.parts: list[bytes] = []
        self.streamer: Streamer | None = None
        self.ended: bool | str = False

    def respond(self, response: Response) -> None:  # noqa: D102
        assert self.response is None, "a request was answered twice"
        self.response = response

    def stream(self, response: Response, streamer: Streamer) -> None:  # noqa: D102
        assert self.response is None, "a request was answered twice"
        self.response = response
        self.streamer = streamer

    def write(self, data: bytes) -> None:  # noqa: D102
        assert self.streamer is not None, "a part of a response that was not begun"
        assert not self.ended, "a part of a response that has ended"
        self.parts.append(data)

    def end(self, *, cut: bool = False) -> None:  # noqa: D102
        assert self.streamer is not None, "the end of a response that was not begun"
        assert not self.ended, "a response ended twice"
        self.ended = "cut" if cut else True

    def take(self) -> bytes:
        """What was written since the last time."""
        parts, self.parts = self.parts, []
        return b"".join(parts)

    @property
    def waits(self) -> bool:
        """Whether no answer has come yet."""
        return self.response is None

    @property
    def status(self) -> int:
        """The HTTP status."""
        assert self.response is not None, "the request still waits"
        return self.response.status

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; values of one that stands twice joined."""
        assert self.response is not None, "the request still waits"
        headers: dict[str, str] = {}
        for name, value in self.response.headers:
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    @property
    def body(self) -> bytes:
        """The body, unpacked."""
        assert self.response is not None, "the request still waits"
        body = self.response.body
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    @property
    def text(self) -> str:
        """The body, unpacked and decoded."""
        return self.body.decode()

    @property
    def payload(self) -> str | bytes:
        """The payload in the body: bytes where the response says so."""
        is_bytes = self.headers.get("content-type", "").startswith("application/octet-stream")
        return self.body if is_bytes else self.text

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class RecordingDuplex(Duplex):
    """A link that keeps what is written to it.

    Attributes:
        frames: what was written, since `take` was last called.
        encoded: the same as the engine gave it.
        closed: code and reason, once it is closed.
        receiver: whom it belongs to.
        room: how many packets it takes before it calls itself full; None: any number.
        unread: what the client has said while nobody reads, or None while somebody does.
    """

    __slots__ = ("_full", "closed", "encoded", "frames", "receiver", "room", "unread")

    def __init__(self, room: int | None = None) -> None:
        self.frames: list[Frame] = []
        self.encoded: list[Encoded] = []
        self.closed: tuple[int, str] | None = None
        self.receiver: Receiver | None = None
        self.room = room
        self.unread: list[Frame] | None = None
        self._full = False

    def bind(self, receiver: Receiver) -> None:  # noqa: D102
        self.receiver = receiver

    def write(self, encoded: Encoded) -> None:  # noqa: D102
        if self.closed is not None:
            return
        self.frames += encoded.frames
        self.encoded.append(encoded)
        if self.room is not None:
            self.room -= 1
            if self.room <= 0 and not self._full:
                self.fill()

    def close(self, code: int = 1000, reason: str = "") -> None:  # noqa: D102
        if self.closed is None:
            self.closed = (code, reason)
            self.receiver = None
            self.unread = None

    def pause_reading(self) -> None:  # noqa: D102
        if self.closed is None and self.unread is None:
            self.unread = []

    def resume_reading(self) -> None:  # noqa: D102
        unread, self.unread = self.unread, None
        self.say(*unread or ())

    def take(self) -> list[Frame]:
        """What was written since the last time."""
        frames, self.frames = self.frames, []
        self.encoded = []
        return frames

    def say(self, *frames: Frame) -> None:
        """Let frames come from the client."""
        for frame in frames:
            if self.unread is not None:
                self.unread.append(frame)
            elif self.receiver is not None:
                self.receiver.receive(frame)

    def fill(self) -> None:
        """Be full: the client reads too slowly."""
        self._full = True
        if self.receiver is not None:
            self.receiver.pause()

    def empty(self, room: int | None = None) -> None:
        """The client has read: there is room again, for any number of packets or for so many."""
        self._full = False
        self.room = room
        if self.receiver is not None:
            self.receiver.resume()

    def lose(self, reason: str = Reason.TRANSPORT_CLOSE) -> None:
        """Break, or be closed by the client."""
        receiver, self.receiver = self.receiver, None
        if self.closed is None:
            self.closed = (1006, reason)
        if receiver is not None:
            receiver.lost(self, reason)


class Waiting:
    """Something that is awaited by hand, without an event loop.

    Example:
        >>> from madang.testing import EngineKit
        >>> kit = EngineKit()
        >>> client = kit.websocket()
        >>> waiting = Waiting(client.join().call("ready?"))
        >>> waiting.done
        False
        >>> client.say("431[true]")
        >>> waiting.result
        True
    """

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._steps = awaitable.__await__()
        self._value: Any = None
        self._error: MadangError | None = None
        self._over = False
        self.done  # noqa: B018  # the first step

    @property
    def done(self) -> bool:
        """Whether the end is reached; goes on as far as possible."""
        if not self._over:
            try:
                waiter = next(self._steps)
            except StopIteration as stop:
                self._value = stop.value
                self._over = True
            except MadangError as error:
                self._error = error
                self._over = True
            else:
                assert isinstance(waiter, Waiter), "only Madang's own objects can be awaited by hand"
        return self._over

    @property
    def result(self) -> Any:
        """What came out; raises what was raised."""
        assert self.done, "it still waits"
        if self._error is not None:
            raise self._error
        return self._value


class Waiter:
    """A future without an event loop."""

    def __init__(self) -> None:
        self._done = False

    def done(self) -> bool:
        """Whether it has a result."""
        return self._done

    def set_result(self, value: object) -> None:
        """Let whoever waits go on."""
        assert not self._done, "set twice"
        self._done = True

    def __await__(self) -> Generator[Waiter, None, None]:
        while not self._done:
            yield self
