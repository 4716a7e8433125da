"""Recovery over a whole cluster: a client that was lost comes back to any server, and gets what it has missed.

Broadcasts are kept, in one order for all, by the bus's `Ledger`, which numbers them. Our own clients get our own
broadcasts when they come back from there, so that everyone hears everything in that order. What is known of each
client is saved when it comes, when its rooms change, and when it goes: a server that dies takes nothing along.

The engine may fail all the same: then our clients get our broadcasts at once, without a number. One that is lost
before the next number comes may get some of these twice.

Source: Socket.IO, "Connection state recovery"; @socket.io/redis-streams-adapter 0.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from madang.cluster import Ledger
from madang.cluster.messages import Broadcast, Options, SessionRecord, pack_session, unpack_session
from madang.cluster.remote import Heard
from madang.core.presence import RECOVERABLE, Presence, Recollecting, Ticket
from madang.core.target import Target
from madang.core.wheel import Timed
from madang.errors import ConfigError, EncodeError, Reason, RemoteProtocolError
from madang.packet import EVENT, Encoded, Packet

if TYPE_CHECKING:
    from madang.config import Recovery
    from madang.core.hub import Hub
    from madang.core.prepared import Prepared
    from madang.core.socket import Socket

__all__ = ["Recollection", "Visit"]

#: How long our clients wait for our broadcasts to come back from the engine (seconds).
_PATIENCE: Final = 1.0
#: What the secret ids of clients look like, ours and those of Node.js: nothing else is looked for.
_PID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: No offset of any engine is as long.
_LONGEST_OFFSET: Final = 64
#: How many of our broadcasts, which our clients have already, are remembered until they come back.
_MOST_GIVEN: Final = 200_000


class _Sent:
    """A broadcast of ours that has not come back yet.

    Attributes:
        at: when it was said.
        target: to whom.
        prepared: what.
        decided: the ids of those clients whose rooms have changed since, so that it is for them no more, or would be:
            they have it already, if they were meant.
    """

    __slots__ = ("at", "decided", "prepared", "target")

    def __init__(self, at: float, target: Target, prepared: Prepared) -> None:
        self.at = at
        self.target = target
        self.prepared = prepared
        self.decided: set[str] | None = None

    def give(self) -> None:
        """Our clients get it now."""
        target = self.target
        if self.decided is not None:
            target = target._copy()
            target._except = (*target._except, *self.decided)
        target._give(None, None, self.prepared)

    def give_to(self, socket: Socket) -> None:
        """One of them gets it now."""
        alone = Target(socket.namespace, None, socket)
        alone._volatile = self.target._volatile
        alone._give(None, None, self.prepared)

    def names(self, room: str) -> bool:
        """Whether it matters who is in a room."""
        return room in self.target._rooms or room in self.target._except

    def means(self, socket: Socket, rooms: set[str]) -> bool:
        """Whether it is for a client of its namespace that is in these rooms."""
        target = self.target
        chosen = target._rooms
        return (
            (not chosen or not rooms.isdisjoint(chosen))
            and rooms.isdisjoint(target._except)
            and target._sender is not socket
        )


class Recollection(Recollecting, Timed):
    """What a cluster keeps for clients that may come back, as one server sees it.

    Args:
        hub: the server's namespaces.
        ledger: where it is kept.
        settings: the limits.
        spawn: runs a coroutine beside the handlers.
        moved: tells the other servers that a client is here now.

    Raises:
        ConfigError: no generation that is served knows recovery.

    Attributes:
        hub: as given.
        ledger: as given.
        settings: as given.
        wire: the generation of the clients that know recovery.
        recovered: how many clients have come back and got all.
        failed: how many came back too late, or had missed too much.
        on_failed: slot: is told of each client that begins anew, and why.
    """

    __slots__ = (
        "_concerned",
        "_dirty",
        "_given",
        "_moved",
        "_pending",
        "_returning",
        "_spawn",
        "failed",
        "hub",
        "ledger",
        "on_failed",
        "recovered",
        "seconds",
        "settings",
        "wire",
    )

    def __init__(
        self,
        hub: Hub,
        ledger: Ledger,
        settings: Recovery,
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
        moved: Callable[[str, str, int], None],
    ) -> None:
        super().__init__()
        engine = hub.engine
        wire = next((wire for wire in engine.routes.generations if wire.recovers), None)
        if wire is None:
            raise ConfigError(
                f"recovery: clients of the generations {[one.name for one in engine.routes.generations]} don't know it"
            )
        self.hub = hub
        self.ledger = ledger
        self.settings = settings
        self.wire = wire
        config = engine.config
        #: How long a record is kept of a client that is here: half of it passes before it is saved anew, and with the
        #: other half it may be away.
        self.seconds = 2 * (
            settings.max_disconnection_seconds + config.ping_interval_seconds + config.ping_timeout_seconds
        )
        self.recovered = 0
        self.failed = 0
        self.on_failed: Callable[[Socket, str], None] = lambda socket, why: None
        self._spawn = spawn
        self._moved = moved
        self.reset()

    def reset(self) -> None:
        """Forget what was under way: a new life begins."""
        self.due = 0.0
        # Our broadcasts that have not come back yet, by their numbers, and those that our clients have got already.
        self._pending: dict[int, _Sent] = {}
        self._given: dict[int, None] = {}
        # Those of them that a change of one room may concern, until there are others: many clients change at a time.
        self._concerned: tuple[str | None, list[_Sent]] | None = None
        self._dirty: dict[Visit, None] = {}
        self._returning: dict[Return, None] = {}

    @property
    def waiting(self) -> int:
        """For how many clients that are coming back what is said is collected."""
        return len(self._returning)

    # Our own broadcasts

    def sent(self, sequence: int, target: Target, prepared: Prepared, connected: bool) -> bool:
        """A broadcast of ours is on its way.

        Returns:
            Whether it comes back; else our clients are to get it now.
        """
        if not connected:
            self._give_early(sequence)
            return False
        now = self.hub.engine.clock()
        self._pending[sequence] = _Sent(now, target, prepared)
        self._concerned = None
        if self.due == 0.0:
            self.due = now + _PATIENCE
            self.hub.engine.wheel.add(self)
        return True

    def returned(self, message: Broadcast, offset: str | None) -> None:
        """A broadcast of ours has come back; without an offset, it could not be kept."""
        sequence = message.seq
        if sequence is UNSET:
            return
        if sequence in self._given:
            del self._given[sequence]
            if offset is not None:
                self._offer_heard(message, offset)
            return
        pending = self._pending.pop(sequence, None)
        self._concerned = None
        if pending is not None:
            target, prepared = pending.target, pending.prepared
            if offset is not None:
                self.number(prepared, target._namespace.name, offset, target._volatile, target._compress)
                self._offer(message, prepared)
            pending.give()

    def release(self, before: float | None = None) -> None:
        """Give our clients what does not come back: all of it, or what was said before some time."""
        for sequence, sent in list(self._pending.items()):
            if before is not None and sent.at > before:
                break
            if self._pending.pop(sequence, None) is not None:  # who hears of one may have changed the others
                self._concerned = None
                self._give_early(sequence)
                sent.give()

    def _give_early(self, sequence: int) -> None:
        """Our clients get it without its number. An engine that dies may have lost it: then it never comes back."""
        self._given[sequence] = None
        if len(self._given) > _MOST_GIVEN:
            del self._given[next(iter(self._given))]

    def expire(self, now: float) -> None:
        """Look for what the engine has had for too long."""
        self.release(now - _PATIENCE)
        self.due = 0.0
        if self._pending:
            self.due = next(iter(self._pending.values())).at + _PATIENCE
            self.hub.engine.wheel.add(self)

    def moves(self, socket: Socket, enters: str | None = None, leaves: str | None = None) -> None:  # noqa: D102
        if not self._pending:
            return
        room = enters if enters is not None else leaves
        if self._concerned is None or self._concerned[0] != room:
            found = [sent for sent in self._pending.values() if room is None or sent.names(room)]
            self._concerned = (room, found)
        concerned = [sent for sent in self._concerned[1] if sent.target._namespace is socket.namespace]
        if not concerned:
            return
        before = {socket.id, *(socket._rooms or ())}
        after = before | {enters} if enters is not None else before - {leaves}
        for sent in concerned:
            if sent.decided is not None and socket.id in sent.decided:
                continue
            meant = sent.means(socket, before)
            if meant is not (room is not None and sent.means(socket, after)):
                if sent.decided is None:
                    sent.decided = set()
                sent.decided.add(socket.id)
                if meant:
                    sent.give_to(socket)

    # All broadcasts

    def heard(self, message: Broadcast, prepared: Prepared, target: Target, offset: str) -> None:
        """A broadcast of another server is about to be given to our clients."""
        self.number(prepared, message.nsp, offset, target._volatile, target._compress)
        self._offer(message, prepared)

    def number(self, prepared: Prepared, namespace: str, offset: str, volatile: bool, compress: bool) -> None:
        """Put the offset behind the arguments of an event, for the clients that know recovery."""
        text = prepared.text
        # Clients take the last argument, if it is a string, for the offset: so a volatile event has none else.
        if volatile and not (text.endswith('"]') if text is not None else isinstance(prepared.packet.data[-1], str)):
            return
        parser = self.hub.engine._parser
        frames = self.wire.wrap(namespace, f'{text[:-1]},"{offset}"]', parser) if text is not None else None
        if frames is None:
            packet = Packet(EVENT, [*prepared.packet.data, offset], namespace)
            frames = self.wire.encode(packet, parser)
        prepared.seed(self.wire, parser, Encoded(frames, compress))

    def _offer(self, message: Broadcast, prepared: Prepared) -> None:
        """Keep an event for the clients that are just coming back."""
        for one in self._returning:
            if one.visit.namespace == message.nsp and concerns(message.data.opts, one.visit.rooms):
                one.missed.append(prepared.encoded(self.wire, self.hub.engine._parser))

    def _offer_heard(self, message: Broadcast, offset: str) -> None:
        if self._returning:
            prepared = Heard(message.data.packet.data, message.nsp, True, self.hub.engine.config)
            self.number(prepared, message.nsp, offset, False, True)
            self._offer(message, prepared)

    # Clients

    def begin(self, socket: Socket) -> Visit | None:  # noqa: D102
        session, engine = socket.session, self.hub.engine
        if session.wire is not self.wire or session.parser is not engine._parser:
            return None
        visit = Visit(self, engine.new_id(), socket.id, socket.namespace.name, {socket.id, *(socket._rooms or ())})
        visit.socket = socket
        visit.since = self.ledger.newest(visit.namespace)
        visit.change()
        return visit

    def claim(self, socket: Socket, pid: str, offset: Any) -> None:  # noqa: D102
        self._spawn(self._claim(socket, pid, offset))

    async def _claim(self, socket: Socket, pid: str, offset: Any) -> None:
        why: str | None = "what is kept of it makes no sense"
        try:
            why = await self._restore(socket, pid, offset)
        finally:  # whatever happens, it is let in
            if why is not None:
                self.failed += 1
                self.on_failed(socket, why)
                if socket._ended is None:
                    self.hub.admit(socket)

    async def _restore(self, socket: Socket, pid: str, offset: Any) -> str | None:
        """Let a client in that comes back; or tell why it can't have what it wants."""
        session, engine, name = socket.session, self.hub.engine, socket.namespace.name
        if session.wire is not self.wire or session.parser is not engine._parser:
            return "it has come back with another generation or parser"
        packed = await self.ledger.take(pid) if _PID.fullmatch(pid) is not None else None
        if not packed:
            return "its session is not known, or not any more"
        try:
            record = unpack_session(packed)
        except RemoteProtocolError as error:
            return str(error)
        if record.pid != pid or record.nsp not in (UNSET, name):
            return "its session is that of another namespace"
        if type(offset) is not str:
            offset = record.offset if record.offset is not UNSET else None
        if offset is None:
            return "it has no offset"
        if len(offset) > _LONGEST_OFFSET:
            return "its offset is none"
        visit = Visit(self, pid, record.sid, name, {record.sid, *map(str, record.rooms)})
        visit.data = record.data if isinstance(record.data, dict) else {}
        visit.moves = 1 if record.moves is UNSET else record.moves + 1
        entries = await self.ledger.since(offset, name, self.settings.max_replay_events)
        # From here on nothing is awaited until the client counts as one that returns: what is said now, it hears.
        if entries is None:
            return "what it has missed is not kept, or too much"
        if socket._ended is not None:
            visit.keep()
            return "it has gone again"
        missed = self._replay(entries, visit)
        if missed is None:
            return "what it has missed is more than max_replay_bytes"
        visit.since = offset
        ticket = Return(visit, missed)
        socket._claims(ticket)
        if self.settings.skip_middleware:
            socket.accept()
        else:
            self._returning[ticket] = None
            self.hub.admit(socket)
        return None

    def _replay(self, entries: list[tuple[str, Broadcast]], visit: Visit) -> list[Encoded] | None:
        engine = self.hub.engine
        missed: list[Encoded] = []
        size = 0
        for offset, message in entries:
            options = message.data.opts
            flags = options.flags
            if (flags is not None and flags.volatile is True) or not concerns(options, visit.rooms):
                continue
            try:
                heard = Heard.of(message, True, engine.config)
                self.number(heard, visit.namespace, offset, False, True)
            except RemoteProtocolError:
                continue  # what makes no sense, nobody has got
            encoded = heard.encoded(self.wire, engine._parser)
            size += encoded.size
            if size > self.settings.max_replay_bytes:
                return None
            missed.append(encoded)
        return missed

    def back(self, ticket: Return, socket: Socket) -> None:
        """A client is here again: its old socket, here or elsewhere, is none any more."""
        self._returning.pop(ticket, None)
        old = socket.namespace.sockets.get(socket.id)
        if old is not None and isinstance(old._stay, Visit):
            old._stay.give_up()
            old.session.close(Reason.TRANSPORT_CLOSE, discard=True)
        self._moved(socket.namespace.name, socket.id, ticket.visit.moves)
        self.recovered += 1

    def abandoned(self, ticket: Return, reason: str) -> None:
        """A client that came back is not let in, or has gone again: then it may come back once more."""
        self._returning.pop(ticket, None)
        if reason in RECOVERABLE:
            ticket.visit.keep()

    def save_soon(self, visit: Visit) -> None:
        """Save what is known of a client at the end of this turn: it may change more than once."""
        if not self._dirty:
            self.hub.engine.call_soon(self._save_all)
        self._dirty[visit] = None

    def _save_all(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for visit in dirty:
            visit.save()


def concerns(options: Options, rooms: set[str]) -> bool:
    """Whether a broadcast is for a client in these rooms."""
    chosen = options.chosen
    return (not chosen or not rooms.isdisjoint(chosen)) and rooms.isdisjoint(options.excluded)


class Visit(Presence, Timed):
    """One client in one namespace, over all its connections to the servers of a cluster.

    Attributes:
        pid: the secret id that it comes back with.
        id: the id of its sockets.
        namespace: the namespace's name.
        rooms: the rooms that it is in, that of its id among them.
        socket: its socket while it is connected here.
        absent: never: who is gone may come back to another server.
        data: what the program kept with it, until it has a socket.
        since: the newest offset when it came.
        away: whether it has left this server, and may come back to any.
        moves: how often it has come back.
    """

    __slots__ = (
        "_recollection",
        "absent",
        "away",
        "data",
        "id",
        "moves",
        "namespace",
        "pid",
        "rooms",
        "since",
        "socket",
    )

    def __init__(self, recollection: Recollection, pid: str, id_: str, namespace: str, rooms: set[str]) -> None:
        super().__init__()
        self._recollection = recollection
        self.pid = pid
        self.id = id_
        self.namespace = namespace
        self.rooms = rooms
        self.socket: Socket | None = None
        self.absent = False
        self.data: dict[str, Any] | None = None
        self.since: str | None = None
        self.away = False
        self.moves = 0

    def emit(self, data: list[Any]) -> None:  # noqa: D102
        namespace = self._recollection.hub.namespaces.get(self.namespace)
        if (self.socket is not None or self.away) and namespace is not None:
            Target(namespace).to(self.id)._say(data, None)

    def enter(self, room: str) -> None:  # noqa: D102
        self.rooms.add(room)
        self.change()

    def join(self, *rooms: str) -> None:
        """Nothing: it is never absent here."""

    def leave(self, *rooms: str) -> None:  # noqa: D102
        self.rooms.difference_update(rooms)
        self.rooms.add(self.id)
        self.change()

    def lost(self, socket: Socket, reason: str) -> None:  # noqa: D102
        if socket is not self.socket:
            return
        self.data = socket.data
        self.socket = None
        self.due = 0.0
        if reason in RECOVERABLE:
            self.away = True
            self.keep()
        else:
            self.dismiss(False)
        self.data = None  # the wheel holds on to this for some time

    def keep(self) -> None:
        """Save it for as long as it may be away."""
        self._save(self._recollection.settings.max_disconnection_seconds)

    def dismiss(self, close: bool) -> None:  # noqa: D102
        self._recollection.ledger.save(self.pid, b"", 1.0)

    def give_up(self) -> None:
        """Another socket, perhaps of another server, is the client now."""
        self.socket = None
        self.due = 0.0

    def change(self) -> None:
        """Something about it has changed that is to be saved."""
        self._recollection.save_soon(self)

    def save(self) -> None:
        """Save it while it is here, and again before what was saved is thrown away."""
        if self.socket is not None:
            recollection = self._recollection
            self._save(recollection.seconds)
            self.due = recollection.hub.engine.clock() + recollection.seconds / 2
            recollection.hub.engine.wheel.add(self)

    def expire(self, now: float) -> None:  # noqa: D102
        self.save()

    def _save(self, seconds: float) -> None:
        data = self.socket._data if self.socket is not None else self.data
        record = SessionRecord(self.id, self.pid, sorted(self.rooms), data, self.namespace, moves=self.moves)
        if self.since is not None:
            record.offset = self.since
        try:
            packed = pack_session(record)
        except EncodeError as error:
            if self.socket is not None:
                self._recollection.on_failed(self.socket, f"its data can't be saved: {error}")
            return
        self._recollection.ledger.save(self.pid, packed, seconds)


class Return(Ticket):
    """What a client that comes back may have, until it is let in.

    Attributes:
        visit: who it is.
        missed: what it has missed, and what is said until it is in.
    """

    __slots__ = ("missed", "visit")

    def __init__(self, visit: Visit, missed: list[Encoded]) -> None:
        self.visit = visit
        self.missed = missed

    @property
    def stay(self) -> Visit:
        return self.visit

    def abandon(self, reason: str) -> None:
        self.visit._recollection.abandoned(self, reason)

    def redeem(self, socket: Socket) -> list[Encoded] | None:
        visit = self.visit
        if socket._ended is not None:
            return None
        visit._recollection.back(self, socket)
        visit.socket = socket
        visit.data = None
        visit.rooms |= socket._rooms or set()  # a middleware may have chosen some
        socket._rooms = visit.rooms - {visit.id} or None
        visit.change()
        return self.missed
