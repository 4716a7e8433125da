"""A session: one client, whatever carries it. Engine.IO calls it a socket.

The life of a session::

    OPEN ──close()──> CLOSING ──next poll, or a while──> CLOSED      (a poll has to fetch the farewell)
      └────────────────close() over a link─────────────> CLOSED

Frames come in through `receive`, one at a time, and go on as packets to the sink. Packets go out through `push`: at
once where a link can take them, else into the outbox, which the next poll or the next writable moment empties.

It is one long module because polls, links, upgrade, heartbeat and end all turn on the same few fields: what carries the
session now, and what waits for it. What can stand alone does: `Probe`, `Hold`, `Stream`, the decoder.

Source: Engine.IO protocol 4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, cast

from madang.core.hold import Hold
from madang.core.probe import Probe
from madang.core.stream import Stream
from madang.core.wheel import Timed
from madang.errors import BAD_REQUEST, TOO_MANY, UNKNOWN_SID, Reason, RemoteProtocolError, RequestRefused
from madang.packet import CLOSE, CONNECT_ERROR, DISCONNECT, MESSAGE, NOOP, PING, PONG, Encoded, Frame, Packet
from madang.transports import Duplex, Exchange, PollTransport, Request, StreamTransport, Transport
from madang.wire import Decoder

if TYPE_CHECKING:
    from madang.core.engine import Engine
    from madang.parsers import Parser
    from madang.wire import Wire

__all__ = ["CLOSED", "CLOSING", "OPEN_STATE", "UNDECIDED", "Session", "Sink"]

OPEN_STATE: Final = 0
CLOSING: Final = 1
CLOSED: Final = 2

#: How many packets of one payload are taken before other clients get their turn.
_FRAMES_PER_TURN: Final = 512
#: What an answer takes besides its text, while it waits: else the smallest ones would take a hundred times of what they
#: count.
_BYTES_PER_ANSWER: Final = 160
_CLOSE_PACKET: Final = Packet(CLOSE)
_DISCONNECT_PACKET: Final = Packet(DISCONNECT)
_NOOP_PACKET: Final = Packet(NOOP)
_PING_PACKET: Final = Packet(PING)
_PONG_PACKET: Final = Packet(PONG)


class _NoDecoder(Decoder):
    """Reads nothing: in place of the decoder of a session that is over, which may hold half a packet of megabytes."""

    __slots__ = ()

    def feed(self, frame: Frame) -> Packet | None:
        return None


_NO_DECODER: Final = _NoDecoder()


class _Undecided(Transport):
    """What carries a session between a handshake that names no transport and the first request that does: nothing."""

    name: ClassVar[str] = ""


UNDECIDED: Final = _Undecided()


class Sink(Protocol):
    """Slot: who takes a session's packets."""

    def opened(self, session: Session) -> None:
        """A session has begun."""

    def received(self, session: Session, packet: Packet) -> None:
        """A packet came."""

    def closed(self, session: Session, reason: str) -> None:
        """The session has ended."""


class Session(Timed):
    """One client of the engine.

    Attributes:
        id: 20 URL-safe characters.
        wire: the generation that it speaks.
        parser: how its packets are written.
        transport: what carries it now; changes with an upgrade.
        opened_with: the name of the transport that it began with; "" until a client has decided for one.
        request: the request that opened it.
        direct: the link, while it can be written to at once; read by broadcasts.
        sockets: what the hub keeps here: the client's sockets by namespace, None for one that was left.
        load: how many of the client's handlers wait, or wait for their turn.
        state: `OPEN_STATE`, `CLOSING` or `CLOSED`.
        confirmed: when the last ping was sent that the client has answered: all that was sent before it has arrived.
        violation: the rule that the client broke, if that was its end.
        ended: why it is over, one of `Reason`; None while it is open.
    """

    __slots__ = (
        "_buffered",
        "_connect_by",
        "_decoder",
        "_drained",
        "_duplex",
        "_engine",
        "_exchange",
        "_heard",
        "_hold",
        "_next_poll",
        "_outbox",
        "_ping_due",
        "_pinged",
        "_pings",
        "_pings_since",
        "_poll",
        "_posting",
        "_probe",
        "_release_by",
        "_upgrade_by",
        "confirmed",
        "direct",
        "ended",
        "id",
        "load",
        "opened_with",
        "overflowed",
        "parser",
        "request",
        "sockets",
        "state",
        "transport",
        "violation",
        "wire",
    )

    def __init__(
        self, engine: Engine, id_: str, wire: Wire, parser: Parser, transport: Transport, request: Request
    ) -> None:
        super().__init__()
        self.id = id_
        self.wire = wire
        self.parser = parser
        self.transport = transport
        self.opened_with = transport.name
        self.request = request
        self.direct: Duplex | None = None
        self.sockets: dict[str, Any] = {}
        self.state = OPEN_STATE
        self.overflowed = False
        self.violation: RemoteProtocolError | None = None
        self.ended: str | None = None
        self._posting = False
        self._engine = engine
        self._decoder: Decoder = wire.decoder(parser, engine.config, request)
        self._decoder.answers(self.answer)
        self._duplex: Duplex | None = None
        self._exchange: Exchange | None = None
        self._poll: Request | None = None
        self._probe: Probe | None = None
        self._outbox: deque[Encoded] | None = None
        self._buffered = 0
        self._drained: list[Any] | None = None
        self._heard = False
        self._hold: Hold | None = None
        self.load = 0
        self._pinged = 0.0  # when the ping was sent since which no pong has come
        self._pings = 0  # how many are not answered yet
        self._pings_since = 0.0  # when the first of them was sent
        self.confirmed = 0.0
        now = engine.clock()
        self._connect_by = now + engine.config.connect_timeout_seconds
        self._upgrade_by = 0.0
        self._release_by = 0.0  # when the response that is open ends, so that the client asks anew
        self._next_poll = 0.0  # when the next poll may come, if polls don't wait
        self._ping_due = 0.0
        self._await_heartbeat(self._connect_by if transport is UNDECIDED else now)

    def _await_heartbeat(self, since: float) -> None:
        """From now on the client is looked after."""
        self._ping_due = since + (self._ping_interval if self._is_pinged else self._patience())
        self._rearm()

    # Out

    def push(self, encoded: Encoded, volatile: bool = False) -> None:
        """Send a packet, now or when it becomes possible. Runs no code of the user and changes no room.

        Args:
            encoded: the packet, in this session's encoding.
            volatile: drop it rather than let it wait.
        """
        direct = self.direct
        if direct is not None:
            direct.write(encoded)
            return
        if self.state != OPEN_STATE or self.overflowed:
            return  # nothing may go out behind a packet that was left out
        if volatile and self._exchange is None:
            return
        size = self._buffered + encoded.size
        if self._outbox is None:
            self._outbox = deque()
        elif size > self._engine.config.max_buffered_bytes and self._outbox:
            # Closing runs the user's handlers, so it waits until the loop that pushes is over.
            if not self.overflowed:
                self.overflowed = True
                self._engine.defer(self)
            return
        self._buffered = size
        self._outbox.append(encoded)
        if self._exchange is not None and len(self._outbox) == 1:  # no poll waits with more, undeferred
            self._engine.defer(self)

    def send(self, packet: Packet) -> None:
        """Encode a packet for this session alone and push it, if its generation has a word for it.

        Raises:
            EncodeError: its data can't be sent.
        """
        frames = self.wire.encode(packet, self.parser)
        if frames:
            self.push(Encoded(frames))

    def answer(self, packet: Packet) -> None:
        """Send what the client has asked for by a packet, as it may any number of times and without reading any of it.

        Raises:
            EncodeError: its data can't be sent.
        """
        encoded = Encoded(self.wire.encode(packet, self.parser))
        if encoded.frames:
            encoded.size += _BYTES_PER_ANSWER
            self.push(encoded)

    def write_out(self) -> None:
        """Hand on now what would go at the end of this turn of the event loop, as far as the face can."""
        if self._duplex is not None:
            self._duplex.flush()
        elif self._exchange is not None and self._outbox and not self.overflowed:
            self._answer(self._take())

    def uncork(self) -> None:
        """Answer the waiting poll with what the outbox holds; called once per turn of the event loop."""
        if self.overflowed and self.state == OPEN_STATE:
            limit = self._engine.config.max_buffered_bytes
            self._engine.on_violation(
                self,
                RemoteProtocolError(
                    f"{self._buffered} bytes wait, and the next packet would pass {limit}", rule="max_buffered_bytes"
                ),
            )
            self.close(Reason.SLOW_CONSUMER, discard=True)
        elif self._exchange is not None and self._outbox:
            self._answer(self._take())

    def pause(self) -> None:
        """The link is full: what comes now waits in the outbox."""
        self.direct = None

    def resume(self) -> None:
        """The link can be written to again."""
        duplex = self._duplex
        if duplex is None or self.state != OPEN_STATE:
            return
        self.direct = duplex
        outbox = self._outbox
        while outbox and self.direct is duplex:  # until it is full again: then the link calls `pause`
            encoded = outbox.popleft()
            self._buffered -= encoded.size
            duplex.write(encoded)
        if self.direct is not duplex:
            return  # the last packet may have filled it: nothing is drained then
        self._outbox = None
        self._notify_drained()

    def when_drained(self, callback: Any) -> bool:
        """Ask to be called, without arguments, once nothing waits for this client.

        Returns:
            False where nothing waits now; then the callback is not kept.
        """
        if self.state != OPEN_STATE or not (self._outbox or (self._duplex is not None and self.direct is None)):
            return False
        if self._drained is None:
            self._drained = []
        self._drained.append(callback)
        return True

    def forget_drained(self, callback: Any) -> None:
        """Take back what `when_drained` has kept; nothing happens if it was called or never kept."""
        if self._drained is not None and callback in self._drained:
            self._drained.remove(callback)
            self._drained = self._drained or None

    def _notify_drained(self) -> None:
        callbacks, self._drained = self._drained, None
        for callback in callbacks or ():
            callback()

    # In

    def receive(self, frame: Frame) -> None:
        """A frame came over the session's transport. The one place where protocol errors become a reason."""
        self._heard = True
        try:
            packet = self._decoder.feed(frame)
        except RemoteProtocolError as error:
            self.fail(error)
            return
        if packet is None or self.state != OPEN_STATE:
            return
        if packet.kind <= CONNECT_ERROR:
            self._engine.sink.received(self, packet)
        else:
            self.take(packet)

    def take(self, packet: Packet) -> None:
        """A packet is whole."""
        kind = packet.kind
        if kind <= CONNECT_ERROR or kind == MESSAGE:
            self._engine.sink.received(self, packet)
        elif kind == PONG:
            if not self.wire.server_pings:
                self.fail(RemoteProtocolError("a pong that nobody asked for", rule="heartbeat"))
                return
            self._pinged = 0.0
            if self._pings:  # of several, it may be the answer to any: the first was sent before all of them
                self._pings -= 1
                self.confirmed = self._pings_since
            self._ping_due = self._engine.clock() + self._ping_interval
            self._rearm()
        elif kind == CLOSE:
            self.leave()
        elif kind == PING:
            if self.wire.server_pings:
                self.fail(RemoteProtocolError("pings are the server's to send", rule="heartbeat"))
            else:
                self.answer(_PONG_PACKET)
        # UPGRADE and NOOP mean nothing on the transport that is in use.

    def fail(self, error: RemoteProtocolError, reason: str = Reason.PARSE_ERROR) -> None:
        """The client broke a rule: tell the observer, and close."""
        if self.state == OPEN_STATE:
            # The session outlives its end for a while, and with the traceback would live the whole message.
            error.__cause__ = error.__context__ = None
            self.violation = error.with_traceback(None)
            self._engine.on_violation(self, error)
        self.close(reason, code=error.close_code, discard=True)

    # Back-pressure

    @property
    def overloaded(self) -> bool:
        """Whether as many handlers of this client wait as may."""
        return self.load >= self._engine.config.max_handlers_per_client

    @property
    def owes(self) -> bool:
        """Whether the client is asked for an acknowledgement that it hasn't given yet."""
        return any(socket is not None and socket._acks for socket in self.sockets.values())

    def occupy(self) -> None:
        """A handler of this client waits, or waits for its turn. With too many, the client isn't read for a while."""
        self.load += 1
        if self._hold is None and self.overloaded and self.state == OPEN_STATE:
            self._hold = self._decoder = Hold(self)
            self._hold.regulate()
            if not self.wire.server_pings:  # its pings may not be read now, so it has to hear of us without them
                self._ping_due = self._engine.clock()
                self._rearm()
            self._engine.on_held(self)

    def vacate(self) -> None:
        """A handler of this client has ended. With half of them gone, the client is read again."""
        self.load -= 1
        if self._hold is not None and self.load <= self._engine.config.max_handlers_per_client // 2:
            self._engine.call_soon(self._hold.catch_up)

    def asked(self) -> None:
        """The client was asked for an acknowledgement."""
        if self._hold is not None:
            self._hold.regulate()

    def end_hold(self) -> None:
        """What had to wait is taken."""
        hold, self._hold = self._hold, None
        assert hold is not None  # it is the one that calls  # noqa: S101
        self._decoder = hold.decoder
        self._heard = True  # its pong may be among what is read from now on
        hold.go_on()
        if not hold.reading and not self._is_paused and self._duplex is not None:
            self._duplex.resume_reading()

    @property
    def _is_paused(self) -> bool:
        return self._hold is not None and not self._hold.reading

    def joined(self) -> None:
        """The client has joined a namespace in time."""
        self._connect_by = 0.0

    def left(self, namespace: str) -> None:
        """The client is in a namespace no more."""
        # None, not absent: packets may still be on their way to this namespace, and are no offence. At the end, so
        # that those that were left first are forgotten first.
        self.sockets.pop(namespace, None)
        self.sockets[namespace] = None
        if namespace == "/" and self.wire.root_is_all:
            self.close(Reason.SERVER_DISCONNECT)  # clients say good-bye to all by `leave`

    def make_room(self, limit: int) -> bool:
        """Whether the client may join one more namespace, if it may be in so many.

        Those that were left don't count, but only so many of them are remembered.
        """
        if len(self.sockets) < limit:
            return True
        for namespace, socket in self.sockets.items():
            if socket is None:
                del self.sockets[namespace]
                return True
        return False

    # HTTP

    def poll(self, request: Request, exchange: Exchange) -> None:
        """A request asks for what there is, or waits, or stays open for all that comes.

        Raises:
            RequestRefused: another one is open already, or too many are in this process, or it comes too soon; or it
                is the one by which the client has come, and who was told of it has ended the session.
        """
        if self.state == CLOSED:
            raise RequestRefused(*UNKNOWN_SID)
        transport = self.transport
        if not self.wire.pings_polls:
            self._heard = True
        if isinstance(transport, StreamTransport):
            self._poll_stream(transport, request, exchange)
            return
        if self.state == CLOSING:
            if self._outbox:
                self._respond(request, exchange, self._take())
            else:
                self._forget()
                self._respond(request, exchange, list(self.wire.encode(_CLOSE_PACKET, self.parser)))
            return
        if self._exchange is not None and not self.wire.probes:
            self._release_poll()  # by another one of the same client
        elif self._exchange is not None:
            # Two at once would race for the messages: neither could keep their order.
            self._answer(list(self.wire.encode(_CLOSE_PACKET, self.parser)))
            self._end(Reason.TRANSPORT_ERROR)
            raise RequestRefused(*BAD_REQUEST, "overlapping polls")
        waits = cast("PollTransport", transport).waits
        if not waits:
            self._check_pace()
        if self._outbox:
            self._respond(request, exchange, self._take())
        elif not waits or (self._probe is not None and self._probe.answered):
            self._respond(request, exchange, list(self.wire.encode(_NOOP_PACKET, self.parser)))
        else:
            self._engine.park()
            self._exchange = exchange
            self._poll = request
            self._release_after(min(self._engine.config.poll_timeout_seconds, self.wire.max_poll_seconds))

    def _check_pace(self) -> None:
        """Refuse a poll that comes too soon. Networks make pairs of what was sent evenly: half the time will do."""
        floor = self._engine.config.min_short_poll_seconds
        now = self._engine.clock()
        if now < self._next_poll - floor / 2:
            detail = f"a poll may come each {floor:g} s (min_short_poll_seconds)"
            raise RequestRefused(
                *TOO_MANY, detail, {"name": "POLL_TOO_SOON"}, retry_after_seconds=self._next_poll - now
            )
        self._next_poll = max(now, self._next_poll) + floor

    def _poll_stream(self, transport: StreamTransport, request: Request, exchange: Exchange) -> None:
        if self._duplex is not None and not self.wire.probes:
            self._let_go()
        elif self._duplex is not None:
            self.close(Reason.TRANSPORT_ERROR, discard=True)
            raise RequestRefused(*BAD_REQUEST, "overlapping streams")
        stream = Stream(self._engine, self, transport, exchange)
        stream.open(request)
        if self.state == CLOSING:
            for encoded in self._outbox or ():
                stream.write(encoded)
            self._forget()
            stream.close()
        else:
            self._attach_stream(stream)
            if self._probe is not None and self._probe.answered:
                self.end_stream(stream)  # with what has waited: the client may have lost the answer to its probe

    def begin_stream(self, transport: StreamTransport, request: Request, exchange: Exchange, hello: Frame) -> None:
        """Send the first packet of a session as the first of a stream."""
        stream = Stream(self._engine, self, transport, exchange)
        stream.open(request, initial=True)
        stream.write(Encoded((hello,)))
        self._attach_stream(stream)

    def _attach_stream(self, stream: Stream) -> None:
        if stream.ends:
            self._release_after(self._engine.config.stream_timeout_seconds)
        self.attach(stream)

    def end_stream(self, stream: Stream) -> None:
        """End an open response, so that the client asks for the next one; what comes until then waits for it."""
        if stream is self._duplex:
            self._duplex = self.direct = None
            self._release_by = 0.0
            stream.suspend()

    def _release_after(self, seconds: float) -> None:
        self._release_by = self._engine.clock() + seconds
        if self._release_by < self.due:
            self._rearm()

    def abandon(self, exchange: Exchange) -> None:
        """The connection of a waiting poll broke."""
        if exchange is not self._exchange:
            return
        self._unpark()
        if not self.wire.mends_polls:
            self._end(Reason.TRANSPORT_ERROR)
        else:  # its good-bye may be on its way, or the next poll, which is what shows that it lives
            self._heard = False
            self._ping_due = self._engine.clock() + self._engine.config.ping_timeout_seconds
            self._rearm()

    def post(self, payload: str | bytes, done: Callable[[], None]) -> None:
        """Take a payload that came by POST.

        Args:
            payload: the payload.
            done: called when all its packets were taken, or the session has closed; `violation` tells why. A large
                payload is taken in parts, so that other clients get their turns.

        Raises:
            RemoteProtocolError: it is malformed.
            RequestRefused: an earlier one is not done yet, or the client has chosen no transport.
        """
        if self.transport is UNDECIDED:
            raise RequestRefused(*UNKNOWN_SID)
        frames = self.wire.split(payload, self._engine.config)
        if self._posting and frames == list(self.wire.encode(_PONG_PACKET, self.parser)):
            # Some clients answer a ping whatever else they send. Only that has no place in the order.
            self.receive(frames[0])
            done()
            return
        if self._posting:
            # Two at once would race: their packets could not keep their order.
            self.close(Reason.TRANSPORT_ERROR, discard=True)
            raise RequestRefused(*BAD_REQUEST, "overlapping posts")
        self._posting = True
        self._work(deque(frames), done)

    def _work(self, frames: deque[Frame], done: Callable[[], None]) -> None:
        for _ in range(min(len(frames), _FRAMES_PER_TURN)):
            self.receive(frames.popleft())
            if self.state != OPEN_STATE:
                frames.clear()
                break
            if self._hold is not None and self._is_paused:
                self._hold.work = partial(self._work, frames, done)
                return
        if frames:
            self._engine.call_soon(partial(self._work, frames, done))
        else:
            self._posting = False
            done()

    def _take(self) -> list[Frame]:
        """Take from the outbox what fits into one payload."""
        frames: list[Frame] = []
        room = self._engine.config.max_payload_bytes + 1  # the first packet has no separator before it
        outbox = self._outbox
        assert outbox is not None  # callers looked  # noqa: S101
        while outbox:
            encoded = outbox[0]
            room -= self.wire.payload_bytes(encoded.frames)
            if room < 0 and frames:
                break
            outbox.popleft()
            self._buffered -= encoded.size
            frames += encoded.frames
        if not outbox:
            self._outbox = None
            self._notify_drained()
        return frames

    def _answer(self, frames: list[Frame]) -> None:
        exchange, request = self._unpark()
        self._respond(request, exchange, frames)

    def _unpark(self) -> tuple[Exchange, Request]:
        exchange, request = self._exchange, self._poll
        assert exchange is not None  # noqa: S101
        assert request is not None  # noqa: S101
        self._exchange = self._poll = None
        self._release_by = 0.0
        self._engine.unpark()
        return exchange, request

    def _respond(self, request: Request, exchange: Exchange, frames: list[Frame]) -> None:
        transport = cast("PollTransport", self.transport)  # streams have no response that is whole
        response = transport.respond(request, self.payload(frames, transport, request))
        self._engine.responses.send(request, exchange, response, self.wire, compress=True)

    def payload(self, frames: list[Frame], transport: PollTransport, request: Request) -> str | bytes:
        """Pack frames into the payload for a poll: text for those who take nothing else."""
        text_only = transport.text_only or self.wire.text_only(request)
        return self.wire.join(frames) if text_only else self.wire.pack(frames)

    # Links

    def arrive(self, transport: Transport, duplex: Duplex | None = None) -> None:
        """The client comes by a transport, which takes the place of the one before, if that may be without a probe."""
        if self.wire.probes:
            return
        first = self.transport is UNDECIDED  # then it is open: nothing has to be fetched after its end
        if transport is not self.transport or duplex is not None:
            self._let_go()
            self.transport = transport
        if first:
            self.opened_with = transport.name
            self._await_heartbeat(self._engine.clock())
        if duplex is not None:
            self.attach(duplex)
        if first:
            self._engine.opened(self)

    def _let_go(self) -> None:
        """End what carries the session now, without a word: the client has come by something else."""
        duplex = self._duplex
        if duplex is None or isinstance(duplex, Stream):
            self._release_poll()
        else:
            self._duplex = self.direct = None
            duplex.close()

    def attach(self, duplex: Duplex) -> None:
        """Let a link carry this session."""
        self._duplex = duplex
        duplex.bind(self)
        if self._is_paused:
            duplex.pause_reading()
        self.resume()

    def lost(self, duplex: Duplex, reason: str) -> None:
        """The link is gone."""
        if duplex is self._duplex:
            self._duplex = self.direct = None
            self._end(reason)

    # Upgrade

    @property
    def upgrading(self) -> bool:
        """Whether a better transport is being tried."""
        return self._probe is not None

    def probe(self, transport: Transport, duplex: Duplex) -> None:
        """Try a better transport."""
        self._probe = Probe(self, transport, duplex)
        duplex.bind(self._probe)
        self._upgrade_by = self._engine.clock() + self._engine.config.upgrade_timeout_seconds
        self._rearm()

    def _release_poll(self) -> None:
        """End the poll that waits, or the open response, so that the client can move."""
        if self._exchange is not None:
            self._answer(list(self.wire.encode(_NOOP_PACKET, self.parser)))
        elif isinstance(self._duplex, Stream):
            self.end_stream(self._duplex)

    def release(self, exchange: Exchange) -> None:
        """End a poll that waits, or an open response, if it is this one: the client goes on with the next."""
        if exchange is self._exchange or (isinstance(self._duplex, Stream) and self._duplex.uses(exchange)):
            self._release_poll()

    def _upgraded(self, probe: Probe) -> None:
        self._end_probe()
        if self.state == CLOSING:
            for encoded in self._outbox or ():
                probe.duplex.write(encoded)
            self._forget()
            probe.duplex.close(1000, self.ended or "")
            return
        self._release_poll()
        self.transport = probe.transport
        self.attach(probe.duplex)
        events = self._engine.events
        if events.upgrade:
            events.tell("upgrade", self, probe.transport.name)

    def _end_probe(self) -> None:
        self._probe = None
        self._upgrade_by = 0.0

    def _drop_probe(self) -> None:
        if self._probe is not None:
            duplex = self._probe.duplex
            self._end_probe()
            duplex.close(1000)

    # Time

    def _rearm(self) -> None:
        due = self._ping_due
        if 0.0 < self._connect_by < due:
            due = self._connect_by
        if 0.0 < self._upgrade_by < due:
            due = self._upgrade_by
        if 0.0 < self._release_by < due:
            due = self._release_by
        self.due = due
        self._engine.wheel.add(self)

    @property
    def _is_pinged(self) -> bool:
        """Whether we send the pings, to a client that comes as this one does now."""
        wire = self.wire
        return wire.server_pings and (wire.pings_polls or not isinstance(self.transport, PollTransport))

    @property
    def _ping_interval(self) -> float:
        """How long after a pong the next ping comes, to a client of this generation."""
        return min(self._engine.config.ping_interval_seconds, self.wire.max_ping_interval_seconds)

    def _patience(self) -> float:
        """How long a client that gets no pings may be silent."""
        return self._ping_interval + self._engine.config.ping_timeout_seconds

    def _ping(self, now: float) -> None:
        self.send(_PING_PACKET)
        self._pinged = self._pinged or now
        if not self._pings:
            self._pings_since = now
        self._pings += 1

    def expire(self, now: float) -> None:
        """Send the ping that is due, or close for what didn't come in time."""
        if self.state == CLOSING:
            self._forget()
            return
        if self.state == CLOSED:
            return
        if self._connect_by and now >= self._connect_by:
            self.close(Reason.FORCED_SERVER_CLOSE)
            return
        if self._upgrade_by and now >= self._upgrade_by and self._probe is not None:
            probe = self._probe
            self._end_probe()
            probe.duplex.close(1000, "upgrade timeout")
        if self._release_by and now >= self._release_by:
            self._release_by = 0.0
            self._release_poll()
        if now >= self._ping_due and not self._is_pinged:
            if self._hold is not None and not self.wire.server_pings:
                # Any packet will do for the client, which has pinged and gets no pong.
                self.send(_NOOP_PACKET)
                self._ping_due = now + self._engine.config.ping_timeout_seconds / 2
                self._rearm()
                return
            # The client's pings are looked for once in the time that one may take: no clock is asked for each frame.
            if not self._heard and self._exchange is None:
                self.close(Reason.PING_TIMEOUT, discard=True)
                return
            self._heard = False
            self._ping_due = now + self._patience()
        elif now >= self._ping_due and self._hold is not None:
            # The client waits for pings. Its pongs may stand behind what isn't read: they are no sign of anything.
            self._ping(now)
            self._ping_due = now + self._ping_interval
        elif now >= self._ping_due:
            if self._pinged and not self._heard:
                self.close(Reason.PING_TIMEOUT, discard=True)
                return
            if not self._pinged:
                self._ping(now)
            # Anything that came since the ping shows that the client lives; a pong may wait behind a large upload.
            self._heard = False
            # A timer that is a little late must not add up; after a long stall the client gets its full time.
            late = now - self._ping_due
            self._ping_due = now - (late if late < 0.05 else 0.0) + self._engine.config.ping_timeout_seconds
        self._rearm()

    # End

    def close(self, reason: str, *, code: int = 1000, discard: bool = False) -> None:
        """End the session from our side.

        Args:
            reason: what handlers are told; one of `Reason`.
            code: the WebSocket close code, where there is one.
            discard: throw away what still waits for the client.
        """
        if self.state != OPEN_STATE:
            return
        if discard:
            self._outbox = None
        duplex = self._duplex
        if duplex is not None:
            self._duplex = self.direct = None
            for encoded in self._outbox or ():
                duplex.write(encoded)
            duplex.close(code, reason)
            self._end(reason)
        elif discard or self.transport is UNDECIDED or (self._exchange is not None and not self._outbox):
            self._end(reason)  # answers the poll that waits
        else:
            # The client has to come once more to fetch what it has not got. What waits and the farewell go in two
            # answers: of one, the official client would take the farewell before the packets.
            if self._exchange is not None:
                self._answer(self._take())
            self._end(reason, state=CLOSING)

    def leave(self, reason: str = Reason.TRANSPORT_CLOSE) -> None:
        """The client said good-bye."""
        if self.wire.root_is_all:  # it may have said so beside what carries the session
            self.send(_DISCONNECT_PACKET)
            self.write_out()
        self._release_poll()
        duplex = self._duplex
        if duplex is not None:
            self._duplex = self.direct = None
            duplex.close(1000)
        self._end(reason)

    def _end(self, reason: str, state: int = CLOSED) -> None:
        if self.state != OPEN_STATE:
            return
        self.state = state
        self.ended = reason
        self._decoder = _NO_DECODER
        hold, self._hold = self._hold, None
        if self._exchange is not None:
            self._answer(list(self.wire.encode(_CLOSE_PACKET, self.parser)))
        if state == CLOSING:
            if self._probe is not None and not self._probe.answered:
                self._drop_probe()  # else the client is on its way: what waits for it goes by that link, if it comes
            self.due = self._engine.clock() + self._engine.config.ping_timeout_seconds
            self._engine.wheel.add(self)
        else:
            self._forget()
        self._notify_drained()
        if self.transport is UNDECIDED:
            return  # nobody was told that it has come
        self._engine.sink.closed(self, reason)
        if hold is not None:
            hold.go_on()  # the POST is answered; nothing of it is taken any more
        events = self._engine.events
        if events.close:
            events.tell("close", self, reason)

    def _forget(self) -> None:
        self._drop_probe()
        self.state = CLOSED
        self.due = 0.0
        self._outbox = None
        self._engine.forget(self)

    def __repr__(self) -> str:
        return f"Session({self.id}, {self.transport.name}, {('open', 'closing', 'closed')[self.state]})"
