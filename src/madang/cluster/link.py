"""What buses over a net have in common: a link that breaks and comes back, and what waits for it meanwhile.

Messages are queued and sent in batches by one task, in order. What was being sent when the link broke is sent again:
it may arrive twice, which members of ours notice (`Message.seq`). What the others said while the link was down is lost
with an engine that keeps nothing, and that is told. What has waited is sent a moment after the link is back, when the
others' are too.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from madang.cluster import Bus, Listener
from madang.config import Cluster
from madang.errors import ConfigError

__all__ = ["EngineBusy", "LinkedBus", "Outgoing", "check_login"]

#: How many messages are sent together at most.
_BATCH: Final = 512
#: A link that has stood for less has failed once more: then the pauses go on to grow (seconds).
_STEADY_SECONDS: Final = 5.0
#: A message with which the link has broken so often, and for so long (seconds), is thrown away. Soon it is sent alone.
_TRIES: Final = 5
_TRIES_IN_COMPANY: Final = 2
_TRIES_SECONDS: Final = 3.0
#: Hosts with or without ports.
_HOSTS: Final = re.compile(r"((\[[^\]]*\]|[^,:\[\]]*)(:[0-9]+)?(,|$))*")
#: How long `close` may take to send what waits (seconds).
_FAREWELL_SECONDS: Final = 1.0


def check_login(url: str) -> None:
    """Refuse a URL that is read otherwise than it is meant, because of a character in its password.

    What is wrong with such a URL can't be told in other words of it: they would be those of the password.

    Raises:
        ConfigError: there is one.

    Example:
        >>> check_login("redis://user:a/b@localhost")
        Traceback (most recent call last):
        ...
        madang.errors.ConfigError: cluster: in the URL's user or password, write %2F for "/", %3F for "?"
    """
    rest, _, query = url.partition("://")[2].partition("?")
    place, _, path = rest.partition("/")
    hosts = place.rpartition("@")[2]
    names = [one.partition("=")[0] for one in query.split("&")]
    if "@" in path or any("@" in name for name in names) or ("@" in query and not _HOSTS.fullmatch(hosts)):
        raise ConfigError('cluster: in the URL\'s user or password, write %2F for "/", %3F for "?"')


class EngineBusy(ConnectionError):
    """The engine takes nothing now, whatever the message is, and will later."""


class Outgoing:
    """One message that waits to be sent.

    Attributes:
        where: the channel.
        data: the message as bytes.
        again: the same, marked as one that may have been sent before, or what makes it of the data; None: it needs no
            mark.
        then: what a bus keeps with it.
    """

    __slots__ = ("again", "data", "then", "where")

    def __init__(
        self, where: str, data: bytes, again: bytes | Callable[[bytes], bytes] | None = None, then: Any = None
    ) -> None:
        self.where = where
        self.data = data
        self.again = again
        self.then = then


class LinkedBus(Bus):
    """A bus over a link to an engine. What a bus of this kind has to do is to connect, hear, send, and name channels.

    Attributes:
        uid: who we are.
        node: where we get what is posted.
        listener: who is told what is heard.
        connected: whether the link stands.
    """

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        self.uid = ""
        self.node = ""
        self.listener: Listener
        self.connected = False
        self._waiting: deque[Outgoing] = deque()
        self._held: deque[Outgoing] = deque()
        self._bytes = 0
        self._underway = 0
        self._drained: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._up_since = 0.0
        self._down_since: float | None = None
        #: Since when the engine can't be reached, or the link breaks again soon.
        self._troubled_since: float | None = None
        self._hold_seconds = 0.0
        #: The message with which sending has failed last, how often, and since when.
        self._stuck: tuple[Outgoing | None, int, float] = (None, 0, 0.0)

    # What each bus does in its own way

    @abstractmethod
    async def connect(self) -> None:
        """Connect, and hear everything that is wanted, before anything is sent.

        Raises:
            ConfigError: it never can; `start` raises it too. Once it has worked it is tried again.
            Exception: it can't; it is tried again later.
        """

    @abstractmethod
    async def hear(self) -> None:
        """Tell the listener what comes, until the link breaks: then return, or raise."""

    @abstractmethod
    async def send(self, batch: list[Outgoing]) -> None:
        """Send messages in order. Returns when the engine has taken them all.

        Raises:
            EngineBusy: it takes nothing now; what is in the batch then is sent again, as often as it takes.
            Exception: the link is broken, or the engine refuses; what is in the batch then is sent again. So one that
                the engine surely has taken is better removed from the batch before, and one that it never takes is
                given to `refuse`. If nothing helps, the first one is thrown away.
        """

    @abstractmethod
    async def disconnect(self) -> None:
        """Give up the link, broken or not. Raises nothing that isn't a mistake of ours."""

    # The life of the link

    async def start(self, uid: str, node: str, listener: Listener) -> None:  # noqa: D102
        self.uid, self.node, self.listener = uid, node, listener
        self._wake = asyncio.Event()
        self._closing = False
        self._waiting.clear()
        self._held.clear()
        self._bytes = self._underway = 0
        self._drained = []
        self._down_since = self._troubled_since = None
        self._stuck = (None, 0, 0.0)
        tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(tried), name=f"cluster {type(self).__name__}")
        try:
            await tried
        except ConfigError:
            task, self._task = self._task, None
            await task  # it gives up what it had of a link
            raise

    async def close(self) -> None:  # noqa: D102
        task, self._task = self._task, None
        if task is None:
            return
        self._closing = True
        self._wake.set()
        if self.connected:
            await asyncio.wait([task], timeout=_FAREWELL_SECONDS)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _live(self, tried: asyncio.Future[None]) -> None:
        try:
            while True:
                error: BaseException
                try:
                    await self.connect()
                    self._came_up()
                    if not tried.done():
                        tried.set_result(None)
                    await self._run()
                    return  # `close` has let all be sent
                except Exception as failed:
                    if isinstance(failed, ConfigError) and not tried.done():
                        tried.set_exception(failed)
                        return
                    error = failed
                finally:
                    self.connected = False
                    await self.disconnect()
                now = time.monotonic()
                if self._down_since is None:
                    self._down_since = now
                if self._troubled_since is None or (self._up_since and now - self._up_since >= _STEADY_SECONDS):
                    self._troubled_since = now
                self._up_since = 0.0
                self.listener.down(error)
                if not tried.done():
                    tried.set_result(None)
                # All members have lost the engine at once, and are not to come back at once.
                delay = self._pause(now - self._troubled_since)
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
        finally:
            if not tried.done():
                tried.cancel()

    def _pause(self, down_seconds: float) -> float:
        """How long to wait before the engine is tried again, on average, after it was away so long."""
        return min(max(0.05, down_seconds / 10), self.settings.max_reconnect_delay_seconds)

    def _came_up(self) -> None:
        self.connected = True
        self._up_since = time.monotonic()
        self._hold_seconds = 0.0
        since, self._down_since = self._down_since, None
        self._waiting.extendleft(reversed(self._held))
        self._held.clear()
        self.listener.up()
        if since is not None and self.forgets:
            seconds = time.monotonic() - since
            # The others come back in these moments, and what is said before they do is lost to them.
            self._hold_seconds = 0.1 + 1.5 * self._pause(seconds)
            self.listener.lost(None, f"the link to the engine was down for {seconds:.1f} s")

    @property
    def forgets(self) -> bool:
        """Whether what is said while the link is down never arrives."""
        return True

    async def _run(self) -> None:
        """Hear and send until one of them fails."""
        hearing = asyncio.create_task(self.hear(), name="cluster hears")
        sending = asyncio.create_task(self._pump(), name="cluster sends")
        try:
            done, _ = await asyncio.wait((hearing, sending), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if hearing in done:
                raise ConnectionError("the engine has ended the connection")
        finally:
            for task in (hearing, sending):
                task.cancel()
            await asyncio.gather(hearing, sending, return_exceptions=True)

    async def _pump(self) -> None:
        waiting = self._waiting
        if self._hold_seconds and not self._closing:
            await asyncio.sleep(self._hold_seconds)
        while True:
            if not waiting:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            company = _BATCH if self._stuck[1] < _TRIES_IN_COMPANY else 1
            batch = [waiting.popleft() for _ in range(min(len(waiting), company))]
            self._underway = len(batch)
            size = sum(len(one.data) for one in batch)
            try:
                await self.send(batch)
                self._stuck = (None, 0, 0.0)
            except BaseException as error:
                if not isinstance(error, EngineBusy) and not self._closing:
                    self._failed(batch)
                for one in reversed(batch):
                    size -= len(one.data)
                    if one.again is not None:
                        self._bytes -= len(one.data)
                        one.data = one.again if isinstance(one.again, bytes) else one.again(one.data)
                        self._bytes += len(one.data)
                        one.again = None
                    waiting.appendleft(one)
                raise
            finally:
                self._bytes -= size  # of what was sent
                self._underway = 0
            if not waiting and not self._held and self._drained:
                drained, self._drained = self._drained, []
                for future in drained:
                    if not future.done():
                        future.set_result(None)

    def _failed(self, batch: list[Outgoing]) -> None:
        """The link has broken while these were sent: perhaps it does so with the first one whenever that is sent."""
        first = batch[0] if batch else None
        stuck, times, since = self._stuck
        now = time.monotonic()
        if first is None or first is not stuck:
            times, since = 0, now
        times += 1
        if first is not None and times >= _TRIES and now - since >= _TRIES_SECONDS:
            del batch[0]
            self.refuse([first], f"the link broke each of the {times} times that it was sent, {len(first.data)} bytes")
            first, times = None, 0
        self._stuck = (first, times, since)

    def refuse(self, refused: list[Outgoing], why: str) -> None:
        """Tell that messages were thrown away that the engine never takes. They must not be in the batch any more."""
        for one in refused:
            self.dropped(one)
        self.listener.lost(len(refused), why)

    # What waits

    def queue(self, outgoing: Outgoing) -> None:
        """Put a message behind those that wait, and throw away the oldest if they are too many."""
        settings = self.settings
        waiting = self._waiting
        waiting.append(outgoing)
        self._bytes += len(outgoing.data)
        held = self._held
        dropped = 0
        while len(waiting) + len(held) > settings.max_buffered_messages or (
            self._bytes > settings.max_buffered_bytes and len(waiting) + len(held) > 1
        ):
            one = (held or waiting).popleft()
            self._bytes -= len(one.data)
            self.dropped(one)
            dropped += 1
        if dropped:
            self.listener.lost(dropped, "more than max_buffered_messages or max_buffered_bytes waited for the engine")
        self._wake.set()

    def hold(self, held: list[Outgoing]) -> None:
        """Keep messages that can't be sent by this link until there is another one, while those behind them go on.

        `send` calls it, and leaves them in its batch no more.
        """
        self._held.extend(held)
        self._bytes += sum(len(one.data) for one in held)

    def dropped(self, outgoing: Outgoing) -> None:
        """A message was thrown away unsent."""

    @property
    def buffered(self) -> tuple[int, int]:  # noqa: D102
        return (len(self._waiting) + len(self._held) + self._underway, self._bytes)

    async def drain(self) -> None:  # noqa: D102
        if self._waiting or self._held or self._underway:
            drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._drained.append(drained)
            await drained
