"""The events that are kept for clients that may come back, by room.

    Log      the events of one namespace
     └ Shelf    those of one room, or of one client
        └ Entry    one event, encoded, with its offset

What belongs to whom, and what is thrown away when, is `core/recovery`'s to say.

Source: Socket.IO, "Connection state recovery".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import attrgetter
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final

from madang.packet import EVENT, Encoded, Packet

if TYPE_CHECKING:
    from madang.core.prepared import Prepared
    from madang.core.recovery import Memory, Stay
    from madang.core.socket import Socket

__all__ = ["Entry", "Log", "Place", "Shelf"]

#: Where an event went: a room; or the id of one client in a tuple, for what only that one got and not whoever else is
#: in the room of this name; or None for everyone.
Place = str | tuple[str] | None

#: About what the objects around the frames of one entry take, and its place in one more room (bytes).
_ENTRY_BYTES: Final = 350
_PLACE_BYTES: Final = 300
#: What is never a string in a client: as the last argument it can't be mistaken for an offset.
_NO_TEXT: Final = (bool, int, float, list, tuple, dict, bytes, bytearray, memoryview, type(None))


class Entry:
    """An event that is kept.

    Attributes:
        sequence: its number.
        at: when it was emitted, in seconds of the engine's clock.
        encoded: its frames, with the offset.
        log: whose it is.
        rooms: the places where it went; empty: to everyone.
        excluded: the rooms that were left out.
        sender: the id of the socket that did not hear it, or None.
        cost: about how many bytes it takes.
    """

    __slots__ = ("at", "cost", "encoded", "excluded", "log", "rooms", "sender", "sequence")

    def __init__(
        self,
        sequence: int,
        at: float,
        encoded: Encoded,
        log: Log,
        rooms: tuple[Place, ...],
        excluded: tuple[str, ...],
        sender: str | None,
    ) -> None:
        self.sequence = sequence
        self.at = at
        self.encoded = encoded
        self.log = log
        self.rooms = rooms
        self.excluded = excluded
        self.sender = sender
        # Links keep the same bytes once more, framed.
        frames = encoded.frames
        size = getsizeof(frames[0]) if len(frames) == 1 else sum(map(getsizeof, frames))
        self.cost = _ENTRY_BYTES + _PLACE_BYTES * len(rooms) + 2 * size


_BY_SEQUENCE: Final = attrgetter("sequence")


class Shelf:
    """The entries of one room, oldest first.

    Attributes:
        log: whose it is.
        room: which place.
        floor: the number of the last entry that was thrown away.
        floor_at: when that was emitted.
        listed: whether it stands among the empty ones.
    """

    __slots__ = ("_entries", "_start", "floor", "floor_at", "listed", "log", "room")

    def __init__(self, log: Log, room: Place, floor: int, floor_at: float) -> None:
        self._entries: list[Entry | None] = []
        self._start = 0
        self.log = log
        self.room = room
        self.floor = floor
        self.floor_at = floor_at
        self.listed = False

    def __len__(self) -> int:
        return len(self._entries) - self._start

    def add(self, entry: Entry) -> None:
        """Keep an entry, the newest."""
        self._entries.append(entry)

    def drop(self, entry: Entry) -> None:
        """Throw away the oldest entry, which is this one."""
        entries = self._entries
        entries[self._start] = None  # so that it is freed at once
        self._start += 1
        if self._start * 2 >= len(entries):
            del entries[: self._start]
            self._start = 0
        self.floor = entry.sequence
        self.floor_at = entry.at

    def between(self, after: int, to: int | None) -> list[Entry]:
        """The entries with numbers above `after`, up to and with `to`."""
        entries: list[Any] = self._entries
        low = bisect_right(entries, after, self._start, key=_BY_SEQUENCE)
        if to is None:
            return entries[low:]
        return entries[low : bisect_right(entries, to, low, key=_BY_SEQUENCE)]


class Log:
    """The events of one namespace, by room.

    Attributes:
        memory: where all logs count together.
        namespace: the namespace's name.
        shelves: by place.
        stays: how many clients there are, here or absent.
        absent: the clients that may come back.
        deserted: slot: is told when there are none any more.
    """

    __slots__ = ("absent", "deserted", "memory", "namespace", "shelves", "stays")

    def __init__(self, memory: Memory, namespace: str, deserted: Callable[[], None] | None = None) -> None:
        self.memory = memory
        self.namespace = namespace
        self.shelves: dict[Place, Shelf] = {}
        self.stays = 0
        self.absent: dict[Stay, None] = {}
        self.deserted = deserted

    def keep(
        self,
        data: list[Any],
        rooms: tuple[Place, ...],
        excluded: tuple[str, ...] = (),
        sender: str | None = None,
        compress: bool = True,
    ) -> Encoded:
        """Number and keep an event.

        Args:
            data: its name and its arguments.
            rooms: to whom it goes; empty: to everyone.
            excluded: the rooms that are left out.
            sender: the id of the socket that doesn't hear it.
            compress: whether compression is worth trying.

        Returns:
            It with its offset, for all clients that know recovery.

        Raises:
            EncodeError: an argument can't be sent.
        """
        memory = self.memory
        encoded = self._encode(data, memory.sequence + 1, compress)
        memory.sequence += 1
        if len(rooms) > 1:
            rooms = tuple(dict.fromkeys(rooms))
        entry = Entry(memory.sequence, memory.engine.clock(), encoded, self, rooms, excluded, sender)
        for room in rooms or (None,):
            shelf = self.shelves.get(room)
            if shelf is None:
                shelf = self.shelves[room] = Shelf(self, room, memory.floor, memory.floor_at)
            shelf.add(entry)
        memory.add(entry)
        return encoded

    def number(
        self,
        prepared: Prepared,
        rooms: tuple[Place, ...],
        excluded: tuple[str, ...],
        sender: Socket | None,
        compress: bool,
        volatile: bool,
    ) -> None:
        """Give a broadcast its offset, and keep it unless it is volatile.

        Raises:
            EncodeError: an argument can't be sent.
        """
        memory = self.memory
        data = prepared.packet.data
        if not volatile:
            encoded = self.keep(data, rooms, excluded, sender.id if sender is not None else None, compress)
        elif isinstance(data[-1], _NO_TEXT):
            return
        else:
            # Clients take the last argument, if it is a string, for the offset. That of the newest event is true: who
            # hears this has heard all before it.
            encoded = self._encode(data, memory.sequence, compress)
        prepared.seed(memory.wire, memory.engine._parser, encoded)

    def _encode(self, data: list[Any], sequence: int, compress: bool) -> Encoded:
        memory = self.memory
        packet = Packet(EVENT, [*data, f"{memory.epoch}.{sequence:x}"], self.namespace)
        return Encoded(memory.wire.encode(packet, memory.engine._parser), compress)

    def select(self, rooms: tuple[str, ...], excluded: tuple[str, ...], sender: str | None) -> list[Stay]:
        """Who of the absent is in at least one of the rooms, and in none of the excluded ones."""
        return [
            stay
            for stay in self.absent
            if (not rooms or stay.is_in(rooms)) and not stay.is_in(excluded) and stay.id != sender
        ]

    def missed(self, stay: Stay, position: int) -> list[Entry] | None:
        """What a client has not got.

        Args:
            stay: the client.
            position: the number of the last event that it has seen.

        Returns:
            The entries, oldest first; None if something of it is not there any more, or it is too much.
        """
        memory = self.memory
        settings = memory.settings
        position = max(position, stay.start)
        confirmed = stay.confirmed_at()
        if stay.floor > position and stay.floor_at >= confirmed:
            return None
        found: list[Entry] = []
        sorted_ = True
        for room, since, to in stay.windows():
            low = max(position, since)
            if to is not None and to <= low:
                continue
            shelf = self.shelves.get(room)
            # What was thrown away is no loss where the client has it: the answer to a later ping says so.
            if shelf is None:
                if memory.floor > low and memory.floor_at >= confirmed:
                    return None
                continue
            if shelf.floor > low and shelf.floor_at >= confirmed:
                return None
            entries = shelf.between(low, to)
            if entries:
                if found:
                    sorted_ = False
                found += entries
                if len(found) > settings.max_replay_events:
                    return None
        if not sorted_:
            found = sorted({entry.sequence: entry for entry in found}.values(), key=_BY_SEQUENCE)
        found = [entry for entry in found if entry.sender != stay.id]
        if any(entry.excluded for entry in found):
            # Of what has arrived for sure, only what it was excluded from is behind its offset; the rooms that it was
            # in then may be forgotten.
            past = stay.past()
            found = [
                entry
                for entry in found
                if not entry.excluded
                or (
                    entry.at >= confirmed
                    and not any(stay.was_in(room, entry.sequence, past) for room in entry.excluded)
                )
            ]
        if sum(entry.encoded.size for entry in found) > settings.max_replay_bytes:
            return None
        return found
