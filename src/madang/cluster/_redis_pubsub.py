"""What the two buses over Redis's publish/subscribe have in common: channels that are heard, and messages that pass.

One link carries everything, so what is said and what is heard keep their order. In a Redis Cluster there is a link to
each of its servers, and if one of them breaks all are made anew. A server that can't be reached keeps nobody from
talking by the others; what goes by it alone waits, and from time to time it is looked whether it is back, or replaced.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, ClassVar, Final

from redis.exceptions import RedisError, ResponseError

from madang.cluster import Listener
from madang.cluster._redis import Address, Engine, Link, command, passes, shuffled
from madang.cluster.link import EngineBusy, LinkedBus, Outgoing
from madang.config import Cluster
from madang.errors import ConfigError

__all__ = ["PubSubBus"]

#: How often it is looked what has become of servers of a Redis Cluster that can't be reached, and whether the Sentinels
#: name another master (seconds).
_LOOK_SECONDS: Final = 2.0


class PubSubBus(LinkedBus):
    """A bus over channels of a Redis.

    Attributes:
        engine: where it is.
        box: the channel of what is posted to us alone.
    """

    shared = True
    #: The commands, and the options behind a URL's "?".
    SUBSCRIBE: ClassVar[str]
    PUBLISH: ClassVar[str]
    COUNT: ClassVar[str]
    #: Whether what is said goes by one server of a Redis Cluster alone.
    BY_SLOT: ClassVar[bool]
    OPTIONS: ClassVar[Mapping[str, Callable[[str], Any]]] = {}

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        self.engine = Engine(settings.url, self.OPTIONS)
        # By command and name, how often it is wanted: two rooms can have channels of the same name.
        self._heard: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}
        self._namespaces: set[str] = set()
        self._links: list[Link] = []
        self._ready = False
        self.box = b""
        self._verb = b"*3\r\n" + command(self.PUBLISH).partition(b"\r\n")[2]
        self._known: list[Address] = []
        #: Those in charge of slots that can't be reached, and why.
        self._absent: dict[Address, BaseException] = {}
        self._primaries: set[Address] = set()
        self._primary: Address = ("", 0)

    # What the two do in their own way

    @abstractmethod
    async def find(self) -> None:
        """Open links with `link_to`, and find out which is for what."""

    @abstractmethod
    def link_of(self, channel: str) -> Link | None:
        """The link that a channel belongs to; None: it can't be reached."""

    @abstractmethod
    def heard(self, channel: bytes, data: bytes, pattern: bytes) -> None:
        """Something was published on a channel that is heard; by a pattern, if there is one."""

    @abstractmethod
    def counted(self, namespace: str) -> tuple[str, Iterable[Link]]:
        """The channel whose listeners are the members in a namespace, and all links on which they are to be counted."""

    # The life of the link

    async def start(self, uid: str, node: str, listener: Listener) -> None:
        opened = list(self._namespaces)
        for namespace in opened:
            self.shut(namespace)
        self.uid, self.node = uid, node
        for namespace in opened:
            self.open(namespace)
        if not self.guest:
            self.hear_channel(self._post_box(node))
        self.box = self._post_box(node).encode(errors="surrogatepass")
        await super().start(uid, node, listener)

    async def close(self) -> None:
        await super().close()
        self._heard.clear()
        self._namespaces.clear()

    async def connect(self) -> None:
        self._absent.clear()
        await self.find()
        self._ready = True
        done: list[asyncio.Future[Any]] = []
        # What is wanted from here on is asked for at once by `hear_channel`.
        for link, how, names in self._by_link(self._heard):
            last = link.subscribe(how, names)
            if last is not None:
                done.append(last)
        if done:
            await asyncio.gather(*done)

    async def link_to(self, address: Address) -> Link:
        """Open a link; it is closed with the bus's connection.

        Raises:
            ConfigError: we are not let in.
            Exception: it can't be reached.
        """
        link = await self.engine.link(address, self._pushed)
        self._links.append(link)
        return link

    async def primary(self) -> Link:
        """Open the one link that there is, to what is no Redis Cluster.

        Raises:
            ConfigError: we are not let in.
            Exception: it can't be reached.
        """
        self._primary = await self.engine.primary()
        link = await self.link_to(self._primary)
        if self.engine.kind == "sentinel" and (role := await link.call("ROLE"))[0] != b"master":
            raise ConnectionError(f"the Sentinels name a Redis that is no master but a {role[0].decode()}")
        return link

    async def members(self) -> tuple[list[list[Any]], dict[Address, Link]]:
        """Ask a Redis Cluster for its members.

        Returns:
            What `CLUSTER SLOTS` answers, with addresses in place of the members; and the link that was asked.

        Raises:
            ConfigError: it is no Redis Cluster, or does not let us in.
            ConnectionError: none of those in the URL answers.
        """
        errors = []
        for address in dict.fromkeys((*shuffled(self._known), *shuffled(self.engine.addresses))):
            try:
                link = await self.link_to(address)
            except (OSError, RedisError) as error:
                errors.append(f"{address[0]}:{address[1]}: {error}")
                continue
            try:
                ranges = await link.call("CLUSTER", "SLOTS")
            except (OSError, RedisError) as error:
                if isinstance(error, ResponseError) and "cluster support disabled" in str(error):
                    raise ConfigError(f"cluster: {address[0]}:{address[1]} is no part of a Redis Cluster") from None
                errors.append(f"{address[0]}:{address[1]}: {error}")
                self._links.remove(link)
                await link.close()
                continue
            found = [
                [first, last, *(self._address_of(one, address) for one in members)] for first, last, *members in ranges
            ]
            self._known = list({member: None for _, _, *members in found for member in members})
            return found, {address: link}
        raise ConnectionError(f"no member of the Redis Cluster answers: {'; '.join(errors)}")

    async def primaries(self, ranges: list[list[Any]], links: dict[Address, Link]) -> dict[Address, Link]:
        """Open links to all members of a Redis Cluster that are in charge of slots, as far as they can be reached.

        Args:
            ranges: what `members` gives.
            links: those that are open.

        Raises:
            ConnectionError: none can be reached.
        """
        self._primaries = {primary for _, _, primary, *_ in ranges}
        missing = [address for address in self._primaries if address not in links]
        opened = await asyncio.gather(*map(self.link_to, missing), return_exceptions=True)
        for address, link in zip(missing, opened, strict=True):
            if isinstance(link, BaseException):
                self._absent[address] = link
            else:
                links[address] = link
        found = {address: link for address, link in links.items() if address in self._primaries}
        if not found:
            raise ConnectionError(f"no member of the Redis Cluster that has slots answers: {self._whom()}")
        return found

    def _whom(self) -> str:
        return "; ".join(f"{host}:{port}: {error}" for (host, port), error in self._absent.items())

    async def hear(self) -> None:
        if self._absent and self.BY_SLOT:
            why = f"members of the Redis Cluster can't be reached, nor what others say by them be heard: {self._whom()}"
            self.listener.lost(None, why)
        sentinels = self.engine.kind == "sentinel"
        looks = _LOOK_SECONDS if self._absent or sentinels else None
        while True:
            links = [link.broken for link in self._links]
            await asyncio.wait(links, timeout=looks, return_when=asyncio.FIRST_COMPLETED)
            for broken in links:
                if broken.done():
                    raise broken.result()
            await (self._look_for_master() if sentinels else self._look_for_members())

    async def _look_for_members(self) -> None:
        """See whether a Redis Cluster has changed, some of which could not be reached.

        Raises:
            ConnectionError: it has: all links are to be made anew.
        """
        ranges = await self._links[0].call("CLUSTER", "SLOTS")
        named = {self._address_of(one, ("", 0)) for _, _, one, *_ in ranges}
        if not self._absent.keys() <= named:
            raise ConnectionError("slots of the Redis Cluster have gone to other members")
        for address in self._absent:
            try:
                link = await self.engine.link(address)
            except (OSError, RedisError, ConfigError):
                continue
            await link.close()
            raise ConnectionError(f"the member {address[0]}:{address[1]} of the Redis Cluster is back")

    async def _look_for_master(self) -> None:
        """See whether the Sentinels name another master: the one that we have may live on, and be heard by nobody.

        Raises:
            ConnectionError: they do.
        """
        try:
            host, port = await self.engine.primary()
        except (OSError, RedisError, ConfigError):
            return  # none of them answers now
        if (host, port) != self._primary:
            raise ConnectionError(f"the Sentinels name another master, {host}:{port}")

    @staticmethod
    def _address_of(member: list[Any], asked: Address) -> Address:
        """The address that `CLUSTER SLOTS` gives; a member that knows no name of its own is the one that was asked."""
        return member[0].decode() if member[0] else asked[0], int(member[1])

    async def send(self, batch: list[Outgoing]) -> None:
        by_link: dict[Link, list[Outgoing]] = {}
        held: list[Outgoing] = []
        for one in batch:
            link = self.link_of(one.where)
            if link is None:
                held.append(one)
            else:
                by_link.setdefault(link, []).append(one)
        if held:
            self.hold(held)
            batch[:] = chain.from_iterable(by_link.values())
        answers: list[list[Any]] = []
        asked = []
        for link, messages in by_link.items():
            answers.append([])
            written = b"".join([self._written(one) for one in messages])
            asked.append(link.ask(len(messages), written, answers[-1].append))
        try:
            results = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            busy = self._sort_out(batch, by_link.values(), answers)
        if busy is not None:
            raise EngineBusy(f"Redis takes nothing now: {busy}")
        for result in results:
            if isinstance(result, OSError):
                raise result

    def _sort_out(
        self, batch: list[Outgoing], sent: Iterable[list[Outgoing]], answers: Iterable[list[Any]]
    ) -> ResponseError | None:
        """Leave in a batch what has to be sent again: what has its answer has arrived, or is refused for good.

        Returns:
            With what some of it was refused that may be taken later.
        """
        settled: set[int] = set()
        refused: dict[str, list[Outgoing]] = {}
        busy: ResponseError | None = None
        for messages, answered in zip(sent, answers, strict=True):
            for one, answer in zip(messages, answered, strict=False):
                if isinstance(answer, ResponseError):
                    if passes(answer):
                        busy = answer
                        continue
                    refused.setdefault(str(answer), []).append(one)
                settled.add(id(one))
        batch[:] = [one for one in batch if id(one) not in settled]
        for why, some in refused.items():
            self.refuse(some, f"Redis refuses it: {why}")
        return busy

    def _written(self, one: Outgoing) -> bytes:
        """What publishes a message: as `command` writes it, in one step."""
        channel = one.where.encode(errors="surrogatepass")
        return self._verb + b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(channel), channel, len(one.data), one.data)

    async def disconnect(self) -> None:
        self._ready = False
        links, self._links = self._links, []
        for link in links:
            link.abort()  # even if somebody has no patience for what follows
        await asyncio.gather(*(link.close() for link in links))

    # What is heard

    @abstractmethod
    def channels(self, namespace: str) -> Iterable[tuple[str, str]]:
        """What to hear for a namespace: commands and names."""

    def open(self, namespace: str) -> None:
        if namespace not in self._namespaces:
            self._namespaces.add(namespace)
            for how, channel in self.channels(namespace):
                self.hear_channel(channel, how)

    def shut(self, namespace: str) -> None:
        if namespace in self._namespaces:
            self._namespaces.remove(namespace)
            self._counts.pop(namespace, None)
            for how, channel in self.channels(namespace):
                self.leave_channel(channel, how)

    def hear_channel(self, channel: str, how: str = "") -> None:
        """Hear a channel from now on."""
        key = (how or self.SUBSCRIBE, channel)
        times = self._heard.get(key, 0)
        self._heard[key] = times + 1
        if not times and self._ready:
            self._ask(*key)

    def leave_channel(self, channel: str, how: str = "") -> None:
        """Hear it no more, unless somebody else wants it."""
        key = (how or self.SUBSCRIBE, channel)
        times = self._heard.get(key, 0)
        if times > 1:
            self._heard[key] = times - 1
        elif times:
            del self._heard[key]
            if self._ready:
                self._ask(key[0].replace("SUBSCRIBE", "UNSUBSCRIBE"), channel)

    def _ask(self, how: str, channel: str) -> None:
        link = self.link_of(channel)
        if link is not None:
            link.subscribe(how, (channel,))

    def _by_link(self, keys: Iterable[tuple[str, str]]) -> list[tuple[Link, str, list[str]]]:
        found: dict[tuple[Link, str], list[str]] = {}
        for how, channel in keys:
            link = self.link_of(channel)
            if link is not None:
                found.setdefault((link, how), []).append(channel)
        return [(link, how, names) for (link, how), names in found.items()]

    def _pushed(self, push: list[Any]) -> None:
        try:
            if len(push) == 4:
                _, pattern, channel, data = push
                self.heard(channel, data, pattern)
            else:
                _, channel, data = push
                self.heard(channel, data, b"")
        except Exception as error:
            # Whatever anybody publishes, what comes after it is read.
            self.listener.malformed(error)

    def count(self, namespace: str, then: Callable[[int | None], None]) -> None:
        channel, links = self.counted(namespace) if self._ready else ("", ())
        own = int((self.SUBSCRIBE, channel) in self._heard)
        left = [link.ask(1, command("PUBSUB", self.COUNT, channel)) for link in links]
        if not left:
            then(self._counts.get(namespace, 0))
            return
        asked = asyncio.gather(*left)

        def answered(_: object) -> None:
            if not asked.cancelled() and asked.exception() is None:
                self._counts[namespace] = max(0, sum(int(number) for _, number in asked.result()) - own)
            then(self._counts.get(namespace, 0))

        asked.add_done_callback(answered)

    def _post_box(self, node: str) -> str:
        return f"madang:{self.settings.prefix}:{node}"

    def post(self, node: str, data: bytes) -> None:
        self.queue(Outgoing(self._post_box(node), data))
