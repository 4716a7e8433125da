"""Who is here: people, each with any number of tabs, and how much each may ask for.

With several servers, each keeps its own people, and a copy of what the others tell of theirs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from madang import Socket
from madang.apps.chat.protocol import ChatError, Who


@dataclass(slots=True)
class Budget:
    """A token bucket: `burst` at once, then `rate` a second."""

    rate: float
    burst: float
    used: float = 0.0
    at: float = 0.0

    def spend(self, now: float) -> None:
        """Take one token, or raise a `ChatError` that says when there will be one."""
        self.used = max(0.0, self.used - (now - self.at) * self.rate)
        self.at = now
        if self.used + 1 > self.burst:
            wait = round((self.used + 1 - self.burst) / self.rate, 2)
            raise ChatError("slow_down", f"Too fast: try again in {wait} s.", status=429, retry_after=wait)
        self.used += 1


@dataclass(slots=True, eq=False)
class Person:
    """Somebody who is connected, with one or several tabs, all of them in the same rooms."""

    id: str
    nick: str
    tabs: dict[str, Socket] = field(default_factory=dict)
    rooms: set[str] = field(default_factory=set)
    saying: Budget = field(default_factory=lambda: Budget(rate=4, burst=20))
    asking: Budget = field(default_factory=lambda: Budget(rate=60, burst=240))
    creating: Budget = field(default_factory=lambda: Budget(rate=1 / 120, burst=5))

    @property
    def who(self) -> Who:
        """The person as others see them."""
        return Who(self.id, self.nick)


def person_id(token: str) -> str:
    """Return the public id of the owner of a secret token."""
    return blake2b(token.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Somebody at another server of the cluster, as that one tells."""

    id: str
    nick: str
    rooms: frozenset[str]


class People:
    """Everybody who is connected, to this server and to the others of its cluster."""

    def __init__(self) -> None:
        self._by_id: dict[str, Person] = {}
        self._elsewhere: dict[str, dict[str, Elsewhere]] = {}

    # --- here ---------------------------------------------------------------------------------------------

    def check_nick(self, nick: str, person: str) -> None:
        """Raise `ChatError` if somebody else who is here has this nickname."""
        wanted = nick.casefold()
        if any(one.nick.casefold() == wanted for one in self._all() if one.id != person):
            raise ChatError("nick_taken", f"Somebody here is called {nick} already.", status=409)

    def get(self, person: str) -> Person | None:
        """Somebody who has a tab at this server."""
        return self._by_id.get(person)

    def arrive(self, socket: Socket, person: str, nick: str) -> Person:
        """Add a tab to its person."""
        found = self._by_id.setdefault(person, Person(person, nick))
        found.tabs[socket.id] = socket
        return found

    def depart(self, socket: Socket, person: Person) -> bool:
        """Take a tab from its person; true if it was the last one at this server."""
        person.tabs.pop(socket.id, None)
        if person.tabs or self._by_id.get(person.id) is not person:
            return False
        del self._by_id[person.id]
        return True

    # --- at other servers ---------------------------------------------------------------------------------

    def told(self, server: str, person: Elsewhere) -> None:
        """Another server has somebody, who may have changed."""
        self._elsewhere.setdefault(server, {})[person.id] = person

    def told_all(self, server: str, people: Iterable[Elsewhere]) -> list[Elsewhere]:
        """Another server has these, and nobody else; return who was there before, and is nowhere any more."""
        before = self._elsewhere.get(server, {})
        now = self._elsewhere[server] = {one.id: one for one in people}
        lost = [one for id_, one in before.items() if id_ not in now]
        return [one for one in lost if one.id not in self._by_id and not self.is_elsewhere(one.id)]

    def told_gone(self, server: str, person: str) -> None:
        """Another server has somebody no more."""
        self._elsewhere.get(server, {}).pop(person, None)

    def server_gone(self, server: str) -> list[Elsewhere]:
        """Another server is gone; return who was there, and is nowhere else."""
        lost = self._elsewhere.pop(server, {})
        return [one for one in lost.values() if one.id not in self._by_id and not self.is_elsewhere(one.id)]

    def is_elsewhere(self, person: str, room: str | None = None) -> bool:
        """Whether another server has somebody, in a certain room if one is named."""
        return any(
            person in there and (room is None or room in there[person].rooms) for there in self._elsewhere.values()
        )

    def table(self) -> list[tuple[str, str, list[str]]]:
        """Everybody who has a tab at this server, as other servers are told."""
        return [(person.id, person.nick, sorted(person.rooms)) for person in self._by_id.values()]

    # --- all ----------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[Person | Elsewhere]:
        yield from self._by_id.values()
        for there in self._elsewhere.values():
            yield from there.values()

    def here(self, room: str) -> list[Who]:
        """Return everybody who is in a room, by nickname."""
        found = {one.id: Who(one.id, one.nick) for one in self._all() if room in one.rooms}
        return sorted(found.values(), key=lambda who: who.nick.casefold())

    def counts(self) -> dict[str, int]:
        """Return how many people are in each room that is not empty."""
        members: dict[str, set[str]] = {}
        for one in self._all():
            for room in one.rooms:
                members.setdefault(room, set()).add(one.id)
        return {room: len(ids) for room, ids in members.items()}
