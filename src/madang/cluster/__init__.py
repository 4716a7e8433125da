"""Clusters: many servers that act as one. One file is one bus: how their messages get from one to the others.

    Membership   all logic; knows no bus by name
     └ Bus         the port: moves messages, and knows nothing of rooms but their names

A module of this folder that is a bus exports `BUS`, its class. Third parties add theirs through the entry-point group
`madang.cluster`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

from madang import registry
from madang.cluster.messages import Broadcast, Message
from madang.config import Cluster
from madang.errors import ConfigError

__all__ = ["Bus", "Ledger", "Listener", "open_bus"]

#: Which of our modules serves which scheme of a URL, whatever stands behind a "+".
_MODULES: Final = {
    "memory": "memory",
    "local": "local",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "redis-classic": "redis_classic",
    "rediss-classic": "redis_classic",
    "valkey-classic": "redis_classic",
    "valkeys-classic": "redis_classic",
    "redis-streams": "redis_streams",
    "rediss-streams": "redis_streams",
    "valkey-streams": "redis_streams",
    "valkeys-streams": "redis_streams",
    "postgres": "postgres",
    "postgresql": "postgres",
    "nats": "nats",
    "tls": "nats",
}


class Listener(ABC):
    """Port: who is told what a bus hears. All of it is called in the event loop, and raises nothing."""

    __slots__ = ()

    @abstractmethod
    def received(self, message: Message, offset: str | None = None) -> None:
        """A member has said something.

        Args:
            message: what; never one of our own, but for broadcasts where the bus keeps a ledger. Ours come back
                without an offset if they had to be thrown away: then no other member gets them.
            offset: its place in the ledger.
        """

    @abstractmethod
    def posted(self, data: bytes) -> None:
        """A member of ours has sent this to us alone."""

    def gone(self, uid: str) -> None:  # noqa: B027 (most buses never know)
        """A member's connection has ended: nothing comes from it any more, unless it connects again.

        Args:
            uid: who it was.
        """

    @abstractmethod
    def malformed(self, error: Exception) -> None:
        """Something came that is no message; it is left out."""

    @abstractmethod
    def up(self) -> None:
        """The bus is connected, and everything that is wanted is heard from now on."""

    @abstractmethod
    def down(self, error: BaseException) -> None:
        """The bus is connected no more, or could not be; it goes on trying."""

    @abstractmethod
    def lost(self, count: int | None, why: str) -> None:
        """Messages are lost for sure, or may be.

        Args:
            count: how many of ours were thrown away; None: it can't be known how many of the others' were missed.
            why: in words.
        """


class Bus(ABC):
    """Port: moves messages between the members of a cluster.

    Everything but `start` and `close` is an ordinary function that queues, and never waits for the engine behind it.

    Args:
        settings: those of the cluster; `settings.url` names the bus and where it is.

    Attributes:
        settings: as given.
        guest: whether we are no member: we say things, hear the answers that are for us in the namespaces that are
            open, and nothing else, and nobody counts us. Set before `start`.
    """

    #: Whether members that speak Socket.IO's own protocol tell in each namespace that they live, and are known by it.
    heartbeats_by_namespace: ClassVar[bool] = False
    #: Whether members that aren't ours can be among those who hear.
    shared: ClassVar[bool] = False
    #: Whether `open_room` and `shut_room` are to be told of clients' own rooms too, which their ids name.
    own_rooms: bool = False

    def __init__(self, settings: Cluster) -> None:
        self.settings = settings
        self.guest = False

    @abstractmethod
    async def start(self, uid: str, node: str, listener: Listener) -> None:
        """Connect, or go on trying in the background if that fails at first.

        Args:
            uid: who we are: 16 hexadecimal digits.
            node: with what the ids of our sessions begin: where `post` finds us.
            listener: is told what is heard.

        Raises:
            ConfigError: it never can work, as with a URL that makes no sense.
        """

    @abstractmethod
    async def close(self) -> None:
        """Send what is queued, as far as that is possible within a second, and disconnect."""

    @abstractmethod
    def open(self, namespace: str) -> None:
        """Hear what concerns a namespace from now on."""

    @abstractmethod
    def shut(self, namespace: str) -> None:
        """Hear it no more."""

    def open_room(self, namespace: str, room: str) -> None:  # noqa: B027 (most hear the whole namespace)
        """A room has its first member here. For buses that have channels for single rooms."""

    def shut_room(self, namespace: str, room: str) -> None:  # noqa: B027
        """A room has no member here any more."""

    @abstractmethod
    def publish(self, message: Message, to: str | None = None) -> None:
        """Say something to all others who hear the message's namespace.

        Args:
            message: what to say. The bus fills in nothing, and must not change it after this call.
            to: the `uid` of the one member that has to hear it; others may as well.

        Raises:
            EncodeError: it can't be written.
        """

    @abstractmethod
    def count(self, namespace: str, then: Callable[[int | None], None]) -> None:
        """Find out how many others hear a namespace.

        Args:
            namespace: which.
            then: is called, perhaps at once, with the number, which never has ourselves in it; with None where nobody
                knows but the members themselves, by their heartbeats.
        """

    @abstractmethod
    def post(self, node: str, data: bytes) -> None:
        """Send something to one member of ours.

        Args:
            node: with what the ids of its sessions begin.
            data: what; any bytes.
        """

    @property
    def buffered(self) -> tuple[int, int]:
        """How many messages, and how many bytes, wait to be sent, those among them that are on their way."""
        return (0, 0)

    async def drain(self) -> None:  # noqa: B027 (some send at once)
        """Wait until the engine has taken what was published, or all of it was thrown away."""

    @property
    def directory(self) -> str | None:
        """Where the members of one machine find each other, so that they can give each other connections."""
        return None

    @property
    def ledger(self) -> Ledger | None:
        """Where broadcasts are kept in one order for the whole cluster; None: they are not."""
        return None


class Ledger(ABC):
    """Port: the broadcasts of a cluster in one order, and the clients that were lost.

    A bus that has one delivers our own broadcasts too: `Listener.received` is told of each, in order, with its offset.
    """

    __slots__ = ()

    @abstractmethod
    async def since(self, offset: str, namespace: str, most: int) -> list[tuple[str, Broadcast]] | None:
        """What was broadcast in a namespace after an offset, oldest first.

        It ends exactly with what the listener has been told when this returns: what comes later, `received` tells. So
        whoever awaits this itself, in no task between, and then lets a client into its rooms at once, gives it
        everything once.

        Args:
            offset: behind which.
            namespace: which.
            most: how many entries are looked at.

        Returns:
            The entries with their offsets; None if the offset is not there any more, there are more than `most`, or the
            engine doesn't answer.
        """

    def newest(self, namespace: str) -> str | None:
        """An offset behind which nothing is that was broadcast in a namespace until now, as far as it was heard.

        A client that comes now, and goes before it has got an offset of its own, has missed what is behind this one.
        None where that is not known.
        """
        return None

    @abstractmethod
    def save(self, pid: str, record: bytes, seconds: float) -> None:
        """Keep what is known of a client under its secret id, for so long; what was kept under it before, goes."""

    @abstractmethod
    async def take(self, pid: str) -> bytes | None:
        """Give back what was kept, once."""


def open_bus(settings: Cluster) -> Bus:
    """Make the bus that a URL names.

    Raises:
        ConfigError: there is none of this name, or what it needs is not installed.

    Example:
        ```python
        bus = open_bus(Cluster("redis://localhost:6379"))
        ```
    """
    scheme, separator, _ = settings.url.partition("://")
    if not separator:
        raise ConfigError(f'cluster: write a URL, as "redis://localhost:6379", not {settings.url!r}')
    scheme = scheme.partition("+")[0]
    name = _MODULES.get(scheme, scheme)
    try:
        found = registry.load("cluster", name, "BUS", type)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("madang."):
            raise
        raise ConfigError(
            f"cluster: {scheme}:// needs the package {error.name!r}; install it with: pip install "
            f"'madang[{name.partition('_')[0]}]'"
        ) from None
    if not issubclass(found, Bus):
        raise ConfigError(f"cluster: {name!r} exports {found!r}, which is no Bus")
    return found(settings)
