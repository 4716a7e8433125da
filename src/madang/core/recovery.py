"""Connection state recovery: what a client missed while it was away, its rooms and its data.

Every event that is not volatile and asks for no acknowledgement gets a number, its *offset*, as one more argument at
its end, and is kept, encoded, once for all who may need it. A client that comes back tells the last offset that it
has seen. What it gets then is what it would have heard: the log is searched by room, and a client's stay in each room
is known as an interval of numbers, so that joining, leaving, `except_` and the sender count as they were when the
event was emitted.

    Memory   all that is kept by one server, and its limits
     └ Log      the events of one namespace, by room: `core/log`
    Stay     one client in one namespace, over all its connections

Nothing here is queued for each client: an event to ten thousand costs the log one entry.

Source: Socket.IO, "Connection state recovery".
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from madang.config import Recovery
from madang.core.checks import check_limit
from madang.core.log import Entry, Log, Place, Shelf
from madang.core.presence import RECOVERABLE, Presence, Ticket
from madang.core.wheel import Timed
from madang.errors import ConfigError, Reason
from madang.packet import Encoded

if TYPE_CHECKING:
    from madang.core.engine import Engine
    from madang.core.session import Session
    from madang.core.socket import Socket

__all__ = ["Claim", "Memory", "Stay"]

#: An offset is six characters that tell the life of the server, a dot, and the number in hexadecimal digits.
_EPOCH: Final = 6
_LONGEST: Final = _EPOCH + 1 + 16


class Memory(Timed):
    """All that one server keeps for clients that may come back.

    Args:
        engine: the engine whose clients they are.
        settings: the limits.

    Raises:
        ConfigError: no generation that is served knows recovery.

    Attributes:
        wire: the generation of the clients that know recovery.
        epoch: what all offsets of this life of the server begin with.
        sequence: the number of the newest event.
        bytes: about how much the kept events take.
        floor: the number up to which rooms without a shelf may have lost something.
        floor_at: when that was emitted.
        stays: the clients, here or absent, by the secret id that they come back with.
        absent: those who may come back, in the order in which they were lost.
        recovered: how many clients have come back and got all.
        failed: how many came back too late, or had missed too much.
        on_failed: slot: is told of each of these, with the reason.
    """

    __slots__ = (
        "_empty",
        "_entries",
        "_epoch",
        "_retention",
        "absent",
        "bytes",
        "engine",
        "failed",
        "floor",
        "floor_at",
        "on_failed",
        "recovered",
        "sequence",
        "settings",
        "stays",
        "wire",
    )

    def __init__(self, engine: Engine, settings: Recovery) -> None:
        super().__init__()
        self.engine = engine
        self.settings = settings
        wire = next((wire for wire in engine.routes.generations if wire.recovers), None)
        if wire is None:
            raise ConfigError(
                f"recovery: clients of the generations {[one.name for one in engine.routes.generations]} don't know it"
            )
        self.wire = wire
        config = engine.config
        # A client may be gone for the time of two pings before it is noticed; what came before has arrived.
        self._retention = (
            settings.max_disconnection_seconds + config.ping_interval_seconds + 2 * config.ping_timeout_seconds
        )
        self.recovered = 0
        self.failed = 0
        self.on_failed: Callable[[Session, str], None] = lambda session, why: None
        self._start()

    def _start(self) -> None:
        self._epoch: str | None = None
        self.sequence = 0
        self.bytes = 0
        self.floor = 0
        self.floor_at = 0.0
        self.stays: dict[str, Stay] = {}
        self.absent: dict[Stay, None] = {}
        self._entries: deque[Entry] = deque()
        self._empty: deque[Shelf] = deque()

    def reset(self) -> None:
        """Forget everything: the event loop is gone, and with it all clients."""
        super().__init__()
        self._start()

    @property
    def epoch(self) -> str:  # noqa: D102
        if self._epoch is None:
            self._epoch = self.engine.new_id()[:_EPOCH]
        return self._epoch

    def __len__(self) -> int:
        return len(self._entries)

    # What is kept

    def add(self, entry: Entry) -> None:
        """Count an entry that a log has taken, and throw away what is too old or too much."""
        entries, settings = self._entries, self.settings
        entries.append(entry)
        self.bytes += entry.cost
        if (
            self.bytes > settings.max_bytes
            or len(entries) > settings.max_events
            or entries[0].at < entry.at - self._retention
        ):
            self._trim(entry.at)
        if self.due == 0.0:
            self._rearm(entry.at)

    def _trim(self, now: float) -> None:
        entries, settings = self._entries, self.settings
        horizon = now - self._retention
        while entries and (
            self.bytes > settings.max_bytes or len(entries) > settings.max_events or entries[0].at < horizon
        ):
            entry = entries.popleft()
            self.bytes -= entry.cost
            shelves = entry.log.shelves
            for room in entry.rooms or (None,):
                shelf = shelves[room]
                shelf.drop(entry)
                if not shelf and not shelf.listed:
                    shelf.listed = True
                    self._empty.append(shelf)
        self._sweep(horizon)

    def _sweep(self, horizon: float) -> None:
        """Throw away shelves that have been empty for long: they only know what they have lost."""
        empty, most = self._empty, self.settings.max_events
        while empty and (empty[0].floor_at < horizon or len(empty) > most):
            shelf = empty.popleft()
            shelf.listed = False
            if not shelf and shelf.log.shelves.get(shelf.room) is shelf:
                del shelf.log.shelves[shelf.room]
                self.floor = max(self.floor, shelf.floor)
                self.floor_at = max(self.floor_at, shelf.floor_at)

    def _rearm(self, now: float) -> None:
        oldest = self._entries[0].at if self._entries else self._empty[0].floor_at if self._empty else now
        self.due = max(oldest + self._retention, now) + 1.0  # a second more: what comes within it goes together
        self.engine.wheel.add(self)

    def expire(self, now: float) -> None:
        """Throw away what is too old, though nothing new comes."""
        self._trim(now)
        if self._entries or self._empty:
            self._rearm(now)

    # Who may come back

    def begin(self, log: Log, socket: Socket) -> Stay | None:
        """A client is new in a namespace.

        Returns:
            Its stay; None if it speaks a generation that doesn't know recovery.
        """
        session = socket.session
        if session.wire is not self.wire or session.parser is not self.engine._parser:
            return None
        # That offsets begin as the secret does, lets clients tell them from the program's own arguments.
        stay = Stay(log, f"{self.epoch}.{self.engine.new_id()}", socket)
        self.stays[stay.pid] = stay
        log.stays += 1
        return stay

    def claim(self, log: Log, session: Session, pid: str, offset: Any) -> Claim | None:
        """See what a client offers that comes back to a namespace.

        Args:
            log: of the namespace.
            session: the client's connection.
            pid: the secret id that came with the CONNECT packet.
            offset: what came as the offset of the last event that it has seen.

        Returns:
            What it may have; None: it begins anew.
        """
        stay = self.stays.get(pid)
        missed = None
        if stay is None or stay.log is not log:
            why = "its session is not known, or not any more"
        elif session.wire is not self.wire or session.parser is not self.engine._parser:
            why = "it has come back with another generation or parser"
        elif (position := self._position(offset)) is None:
            why = "its offset is none of ours"
        elif (missed := log.missed(stay, position)) is None:
            why = "what it has missed is not kept, or too much"
        if stay is None or missed is None:
            self._fail(session, why)
            return None
        stay.claims += 1
        return Claim(stay, missed, self.sequence, stay.claims)

    def _fail(self, session: Session, why: str) -> None:
        self.failed += 1
        self.on_failed(session, why)

    def _position(self, offset: Any) -> int | None:
        """The number of the last event that a client has seen; 0: it has seen none; None: it makes no sense."""
        if offset is None:
            return 0
        if type(offset) is not str or not _EPOCH + 1 < len(offset) <= _LONGEST or offset[_EPOCH] != ".":
            return None
        digits = offset[_EPOCH + 1 :]
        if not (digits.isascii() and digits.isalnum()):
            return None
        try:
            sequence = int(digits, 16)
        except ValueError:
            return None
        if offset[:_EPOCH] != self.epoch:
            # It was told by a server before this one. Clients keep the last offset until they get another one: in
            # this life it has got none.
            return 0
        return sequence if sequence <= self.sequence else None

    def lose(self, stay: Stay) -> None:
        """A client is gone, and may come back."""
        now = self.engine.clock()
        self.absent[stay] = stay.log.absent[stay] = None
        if len(self.absent) > self.settings.max_absent:
            next(iter(self.absent)).end()
        stay.due = now + self.settings.max_disconnection_seconds
        self.engine.wheel.add(stay)

    def dismiss(self, stays: Iterable[Stay], close: bool) -> None:
        """Clients may not come back any more.

        Args:
            stays: who.
            close: nor into the other namespaces that they were in over the same connection.
        """
        connections = set()
        for stay in list(stays):
            connections.add(stay.connection)
            stay.end()
        if close:
            for stay in [one for one in self.absent if one.connection in connections]:
                stay.end()


class Claim(Ticket):
    """What a client that comes back may have, until it is let in.

    Attributes:
        stay: its stay.
        missed: what it has missed until now.
        sequence: the number of the newest event then.
        number: the how manieth claim it is.
    """

    __slots__ = ("_stay", "missed", "number", "sequence")

    def __init__(self, stay: Stay, missed: list[Entry], sequence: int, number: int) -> None:
        self._stay = stay
        self.missed = missed
        self.sequence = sequence
        self.number = number

    @property
    def stay(self) -> Stay:  # noqa: D102
        return self._stay

    def redeem(self, socket: Socket) -> list[Encoded] | None:  # noqa: D102
        stay = self._stay
        old = stay.socket
        if self.number < stay.redeemed:
            return None  # a later connection of the same client was faster
        if old is not None:
            old.session.close(Reason.TRANSPORT_CLOSE, discard=True)
        log = stay.log
        if not stay.absent or socket._ended is not None:
            return None  # it has expired, or a handler of the old one's end has ended it, or the new one
        missed = self.missed
        if log.memory.sequence != self.sequence:
            more = log.missed(stay, self.sequence)
            if more is None:
                return None
            missed += more
        stay.redeemed = self.number
        stay.come_back(socket)
        log.memory.recovered += 1
        return [entry.encoded for entry in missed]

    def abandon(self, reason: str) -> None:
        """Nothing: the stay waits for the next one."""


class Stay(Presence, Timed):
    """One client in one namespace, over all its connections.

    Attributes:
        pid: the secret id that it comes back with.
        id: the id of its sockets.
        alone: the place of what goes to it alone.
        log: of the namespace.
        socket: its socket while it is connected.
        absent: whether it is gone and may come back.
        connection: the id of its last session, while it is absent.
        data: what the program keeps with it, while it is absent.
        start: the number of the newest event when it came.
        floor: the number up to which its own history is not known any more.
        floor_at: when that was.
        claims: how often somebody has asked to come back as this client.
        redeemed: the last such claim that was granted.
    """

    __slots__ = (
        "_confirmed",
        "_joined",
        "_left",
        "_since",
        "absent",
        "alone",
        "claims",
        "connection",
        "data",
        "floor",
        "floor_at",
        "id",
        "log",
        "pid",
        "redeemed",
        "socket",
        "start",
    )

    def __init__(self, log: Log, pid: str, socket: Socket) -> None:
        super().__init__()
        self.pid = pid
        self.id = socket.id
        self.alone: tuple[Place] = ((socket.id,),)
        self.log = log
        self.socket: Socket | None = socket
        self.absent = False
        self.connection: str | None = None
        self.data: dict[str, Any] | None = None
        self.start = log.memory.sequence
        self.floor = 0
        self.floor_at = 0.0
        self.claims = 0
        self.redeemed = 0
        self._confirmed = 0.0
        self._since = log.memory.engine.clock()
        self._joined: dict[str, int] = dict.fromkeys(socket._rooms or (), self.start)
        self._left: deque[tuple[str, int, int, float]] | None = None

    @property
    def awaited(self) -> bool:
        """Whether it is here, or may come back."""
        return self.socket is not None or self.absent

    # Where it is and was

    def is_in(self, rooms: tuple[str, ...]) -> bool:
        """Whether it is in one of these rooms."""
        return any(room in self._joined or room == self.id for room in rooms)

    def enter(self, room: str) -> None:
        """It enters a room."""
        self._joined.setdefault(room, self.log.memory.sequence)

    def join(self, *rooms: str) -> None:
        """Make it enter rooms while it is absent.

        Raises:
            LimitError: it would be in more than `max_rooms_per_socket`.
        """
        for room in rooms:
            if room not in self._joined and room != self.id:
                check_limit(self.id, len(self._joined), self.log.memory.engine.config.max_rooms_per_socket)
                self.enter(room)

    def leave(self, *rooms: str) -> None:
        """It leaves rooms. What was said there before may still be on its way."""
        for room in rooms:
            self._leave(room)

    def _leave(self, room: str) -> None:
        since = self._joined.pop(room, None)
        memory = self.log.memory
        if since is None or since == memory.sequence:
            return
        left = self._left
        if left is None:
            left = self._left = deque()
        left.append((room, since, memory.sequence, memory.engine.clock()))
        confirmed = self.confirmed_at()
        while left and left[0][3] < confirmed:
            left.popleft()
        if len(left) > memory.settings.max_rooms_left:
            _, _, self.floor, self.floor_at = left.popleft()

    def windows(self) -> list[tuple[Place, int, int | None]]:
        """The places that it was in, each from which number on, and to which; None: it is still."""
        windows: list[tuple[Place, int, int | None]] = [(None, 0, None), (self.id, 0, None), (self.alone[0], 0, None)]
        windows += [(room, since, None) for room, since in self._joined.items() if room != self.id]
        windows += [(room, since, to) for room, since, to, _ in self._left or ()]
        return windows

    def past(self) -> dict[str, tuple[list[int], list[int]]]:
        """The rooms that it has left: from which numbers on it was there, and to which."""
        past: dict[str, tuple[list[int], list[int]]] = {}
        for room, since, to, _ in self._left or ():
            begins, ends = past.setdefault(room, ([], []))
            begins.append(since)
            ends.append(to)
        return past

    def was_in(self, room: str, sequence: int, past: dict[str, tuple[list[int], list[int]]]) -> bool:
        """Whether it was in a room when the event of this number was emitted.

        Args:
            room: its name.
            sequence: the number of the event.
            past: what `past` has given.
        """
        if room == self.id:
            return True
        since = self._joined.get(room)
        if since is not None and since < sequence:
            return True
        if room not in past:
            return False
        begins, ends = past[room]
        index = bisect_left(begins, sequence) - 1
        return index >= 0 and sequence <= ends[index]

    def confirmed_at(self) -> float:
        """Until when all that was emitted has arrived: the client has answered a ping that was sent after it."""
        if self.socket is not None:
            confirmed = self.socket.session.confirmed
            if confirmed > self._since:  # else the ping was sent before what the client got when it came back
                self._confirmed = confirmed
        return self._confirmed

    # Talking to it

    def emit(self, data: list[Any]) -> None:
        """Send it an event, now or when it comes back."""
        if not self.awaited:
            return
        encoded = self.log.keep(data, self.alone)
        socket = self.socket
        if socket is not None:
            socket.session.push(encoded)
            if socket.namespace._eavesdroppers:
                socket._notify_outgoing(data)

    # Its life

    def lost(self, socket: Socket, reason: str) -> None:
        """Its socket has ended."""
        if socket is not self.socket:
            return
        self.confirmed_at()
        self.socket = None
        if reason not in RECOVERABLE:
            self.end()
            return
        self.data = socket.data
        self.connection = socket.session.id
        self.absent = True
        self.log.memory.lose(self)

    def dismiss(self, close: bool) -> None:
        """It may not come back any more."""
        self.log.memory.dismiss((self,), close)

    def come_back(self, socket: Socket) -> None:
        """It has a new socket."""
        self.due = 0.0
        self.absent = False
        self.data = None
        memory = self.log.memory
        memory.absent.pop(self, None)
        self.log.absent.pop(self, None)
        self.socket = socket
        self._since = memory.engine.clock()
        for room in socket._rooms or ():  # a middleware may have chosen some
            self.enter(room)
        socket._rooms = set(self._joined) or None

    def end(self) -> None:
        """It can't come back any more."""
        self.due = 0.0
        self.absent = False
        self.socket = None
        self.data = None
        memory = self.log.memory
        if memory.stays.pop(self.pid, None) is not None:
            self.log.stays -= 1
        memory.absent.pop(self, None)
        self.log.absent.pop(self, None)
        self._joined = {}
        self._left = None
        if self.log.deserted is not None and not self.log.absent:
            self.log.deserted()

    def expire(self, now: float) -> None:
        """It has not come back in time."""
        if self.absent:
            self.end()
