"""Who is here: people, each with any number of tabs, and how much each may ask for."""

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


class People:
    """Everybody who is connected."""

    def __init__(self) -> None:
        self._by_id: dict[str, Person] = {}

    def check_nick(self, nick: str, person: str) -> None:
        """Raise `ChatError` if somebody else who is here has this nickname."""
        wanted = nick.casefold()
        if any(p.nick.casefold() == wanted for p in self._by_id.values() if p.id != person):
            raise ChatError("nick_taken", f"Somebody here is called {nick} already.", status=409)

    def arrive(self, socket: Socket, person: str, nick: str) -> Person:
        """Add a tab to its person."""
        found = self._by_id.setdefault(person, Person(person, nick))
        found.tabs[socket.id] = socket
        return found

    def depart(self, socket: Socket, person: Person) -> bool:
        """Take a tab from its person; true if it was the last and the person is gone."""
        person.tabs.pop(socket.id, None)
        if person.tabs or self._by_id.get(person.id) is not person:
            return False
        del self._by_id[person.id]
        return True

    def here(self, room: str) -> list[Who]:
        """Return everybody who is in a room, by nickname."""
        return sorted((p.who for p in self._by_id.values() if room in p.rooms), key=lambda who: who.nick.casefold())

    def counts(self) -> dict[str, int]:
        """Return how many people are in each room that is not empty."""
        counts: dict[str, int] = {}
        for person in self._by_id.values():
            for room in person.rooms:
                counts[room] = counts.get(room, 0) + 1
        return counts
