"""What is waited for: an acknowledgement, and the moment when a client has taken what was queued for it.

Waiting things are objects with `__await__`; what they wait on comes through a slot, so that nothing here knows an
event loop.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, cast

import msgspec

from madang.core.wheel import Alarm
from madang.errors import AckTimeout, Disconnected, InvalidAnswer, Reason

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from madang.core.shapes import Checked

    Answer = TypeVar("Answer", default=Any)
else:
    from typing import TypeVar

    Answer = TypeVar("Answer")

if TYPE_CHECKING:
    from madang.core.hub import Hub
    from madang.core.socket import Socket

__all__ = ["Ack", "Drain", "Inquiry"]


class Inquiry(Protocol):
    """What other servers were asked for an `Ack`."""

    @property
    def missing(self) -> Sequence[str]:
        """The names of those that have not answered."""

    def end(self) -> None:
        """Nothing is waited for any more."""

    def expire(self) -> None:
        """Time is up."""


class Ack(Generic[Answer]):
    """An answer that is waited for: await it.

    Made by `call`. For one socket it gives None, the argument, or a tuple of the arguments; for a broadcast a list
    of these.
    """

    __slots__ = (
        "_answers",
        "_asked",
        "_deadline",
        "_elsewhere",
        "_error",
        "_expected",
        "_future",
        "_holds",
        "_hub",
        "_id",
        "_inquiries",
        "_many",
        "_returns",
        "_seconds",
        "done",
    )

    def __init__(self, hub: Hub, seconds: float, many: int | None, returns: Checked | None = None) -> None:
        self._hub = hub
        self._returns = returns
        self._seconds = seconds
        self._many = many is not None
        self._expected = 1 if many is None else many
        self._answers: list[Any] = []
        self._error: Exception | None = None
        self._future: Any = None
        self._deadline: Alarm | None = None
        self._id = 0
        self._elsewhere = 0  # how many clients of other servers were asked
        self._holds = 0  # how many may still tell that there are more answers to come
        self._asked: Sequence[Socket] = ()
        self._inquiries: list[Inquiry] | None = None  # what other servers were asked for this
        #: Whether the answer, or an error, is there.
        self.done = False

    def expect(self, id_: int, asked: Sequence[Socket], ended: str | None = None) -> None:
        """The question was sent under this number to these sockets; to none, if the one had `ended` before."""
        for socket in asked:
            if socket._acks is None:
                socket._acks = {}
            socket._acks[id_] = self
            socket.session.asked()
        self._id = id_
        self._asked = asked
        if asked or self._holds:
            self._arm()
            return
        if self.done:  # nobody else was asked either
            return
        if not self._many:
            self._error = Disconnected(ended or Reason.TRANSPORT_CLOSE)
        self._finish()

    def expect_servers(self, count: int) -> None:
        """The question was sent to so many other servers."""
        self._expected = count
        if count > len(self._answers):
            if self._deadline is None:
                self._arm()
        elif not self.done:
            self._finish()

    @property
    def seconds(self) -> float:
        """How long the answers are waited for."""
        return self._seconds

    def wait(self) -> None:
        """Wait, though it is not known yet for how many answers."""
        self._expected = -1
        self._arm()

    def ask(self, inquiry: Inquiry) -> None:
        """Other servers are asked too. That ends when this is done."""
        if self._inquiries is None:
            self._inquiries = []
        self._inquiries.append(inquiry)

    def hold(self) -> None:
        """There may be more answers to come, which is not known yet."""
        self._holds += 1

    def expect_more(self, count: int) -> None:
        """So many more clients were asked."""
        if self._many:
            self._expected += count
        self._elsewhere += count

    def release(self) -> None:
        """What was held back is known now."""
        self._holds -= 1
        if self._holds or self.done:
            return
        if len(self._answers) >= self._expected:
            self._finish()
        elif not (self._many or self._asked or self._elsewhere):
            self._error = Disconnected(Reason.TRANSPORT_CLOSE)
            self._finish()

    def _arm(self) -> None:
        engine = self._hub.engine
        self._deadline = Alarm(self.expire, engine.clock() + self._seconds)
        engine.wheel.add(self._deadline)

    def received(self, arguments: list[Any]) -> None:
        """A client has answered."""
        if self.done:
            return
        self._answers.append(arguments[0] if len(arguments) == 1 else tuple(arguments) if arguments else None)
        # Of one, the answer is enough, even if not all servers have told that they know no such client.
        if len(self._answers) == self._expected and not (self._many and self._holds):
            self._finish()

    def disconnected(self, reason: str) -> None:
        """A client is gone without an answer."""
        # Of a broadcast, the answers of the others still count; the missing one shows at the timeout.
        if not self._many and not self.done:
            self._error = Disconnected(reason)
            self._finish()

    def expire(self) -> None:
        """The time is over."""
        if not self.done:
            inquiries = self._inquiries or ()
            missing = list(dict.fromkeys([name for one in inquiries for name in one.missing]))
            for inquiry in inquiries:
                inquiry.expire()
            self._error = AckTimeout(self._seconds, self._answers if self._many else (), self._expected, missing)
            self._finish()

    def _finish(self) -> None:
        self.done = True
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()
        for socket in self._asked:
            if socket._acks:
                socket._acks.pop(self._id, None)
        self._asked = ()
        inquiries, self._inquiries = self._inquiries, None
        for inquiry in inquiries or ():
            inquiry.end()
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def __await__(self) -> Generator[Any, Any, Answer]:
        if not self.done:
            if self._future is None:
                self._future = self._hub.new_future()
            # Several may await the same answer, and one of them may be cancelled.
            yield from self._hub.shield(self._future).__await__()
        if self._error is not None:
            raise self._error
        if self._returns is not None:
            return cast("Answer", self._check(self._returns))
        answers: Any = list(self._answers) if self._many else self._answers[0]
        return cast("Answer", answers)

    def _check(self, returns: Checked) -> Any:
        try:
            answers = [returns.convert(answer) for answer in self._answers]
        except msgspec.ValidationError as error:
            faults = [
                fault
                for index, answer in enumerate(self._answers)
                for fault in returns.faults(answer, (index,) if self._many else ())
            ]
            raise InvalidAnswer(faults[:10], self._answers if self._many else self._answers[0]) from error
        return answers if self._many else answers[0]


class Drain:
    """What `Socket.drain` gives: await it.

    Raises `Disconnected` when the client has left its namespace, or leaves meanwhile.
    """

    __slots__ = ("_hub", "_socket")

    def __init__(self, hub: Hub, socket: Socket) -> None:
        self._hub = hub
        self._socket = socket

    def __await__(self) -> Generator[Any, Any, None]:
        session = self._socket.session
        # Without an error, a loop that emits and drains would go on for ever, and let nobody else run.
        self._check()
        future = self._hub.new_future()

        def drained() -> None:
            if not future.done():
                future.set_result(None)

        if session.when_drained(drained):
            try:
                yield from future.__await__()
            finally:
                session.forget_drained(drained)  # the wait may have been cancelled
            self._check()

    def _check(self) -> None:
        ended = self._socket._ended or self._socket.session.ended
        if ended is not None:
            raise Disconnected(ended)
