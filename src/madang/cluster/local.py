"""The workers of one machine, with no engine beside them: `local:///path/of/a/directory`.

A `Broker` listens in the directory: `madang serve --workers` runs one. Behind a "?" may stand `ledger=1`: broadcasts
get one order for the whole machine and are kept, so that a client whose worker has died is recovered by another one.
`ledger_events`, `ledger_bytes` and `ledger_seconds` say how many, and for how long.
"""

from __future__ import annotations

import asyncio
import os.path
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from madang.cluster import Ledger
from madang.cluster.broker import (
    AGAIN,
    ANSWER,
    BINARY,
    FOUND,
    GONE,
    HEAD,
    HELLO,
    KEEP,
    LOST,
    MESSAGE,
    OPEN,
    POST,
    SAVE,
    SHUT,
    SINCE,
    TAKE,
    WELCOME,
    Cutter,
    Hello,
    Keeping,
    Welcome,
    frame,
    parts,
    socket_path,
)
from madang.cluster.link import LinkedBus, Outgoing
from madang.cluster.messages import Broadcast, Message, from_json, from_msgpack, holds_bytes, to_json, to_msgpack
from madang.config import Cluster
from madang.errors import ConfigError, RemoteProtocolError

__all__ = ["BUS", "LocalBus"]

#: Where the flags of a frame are.
_FLAGS_AT: Final = 5
#: How long the broker may take to answer a new connection.
_WELCOME_SECONDS: Final = 10.0


class LocalBus(LinkedBus):
    """Moves messages between the workers of one machine, through a `Broker`.

    Raises:
        ConfigError: the URL makes no sense.
    """

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        url = urlsplit(settings.url)
        if url.netloc or not url.path.strip("/"):
            raise ConfigError(
                f'cluster: write local:// and the path of a directory, as "local:///run/app", not {url.geturl()!r}'
            )
        self._path = socket_path(unquote(url.path))
        self._keeping = _keeping(url.query)
        self._ledger = None if self._keeping is None else LocalLedger(self)
        self._link: _Link | None = None
        self._namespaces: dict[str, None] = {}
        #: What the others hear, by their uid.
        self._members: dict[str, set[str]] = {}
        self._vanished: list[str] = []
        self.epoch = ""
        self.last = 0  # the number of the newest broadcast that was heard
        self._questions: dict[int, asyncio.Future[bytes | None]] = {}
        #: For each who asks the ledger: what the listener is told meanwhile.
        self.asking: dict[object, list[tuple[int, Message]]] = {}
        self._asked = 0

    # The link

    async def connect(self) -> None:  # noqa: D102
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(lambda: _Link(loop), self._path)
        self._link = link
        self._drop_wishes()
        hello = Hello(self.uid, self.node, self.settings.prefix, list(self._namespaces), self._keeping)
        link.write(frame(HELLO, content=msgspec.json.encode(hello)))
        async with asyncio.timeout(_WELCOME_SECONDS):
            welcome = await link.welcomed
        self.epoch, self.last = welcome.epoch, welcome.last
        self._vanished = list(self._members.keys() - welcome.members.keys())
        self._members = {uid: set(namespaces) for uid, namespaces in welcome.members.items()}

    def _drop_wishes(self) -> None:
        """What is wanted is told at once: what was queued of it is out of date."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            one = waiting.popleft()
            if one.data[4] in (OPEN, SHUT):
                self._bytes -= len(one.data)
            else:
                waiting.append(one)

    async def hear(self) -> None:  # noqa: D102
        link = self._link
        assert link is not None  # it is connected  # noqa: S101
        for uid in self._vanished:
            self.listener.gone(uid)
        link.take(self._heard)
        await link.ended

    async def send(self, batch: list[Outgoing]) -> None:  # noqa: D102
        link = self._link
        assert link is not None  # noqa: S101
        try:
            await link.send(batch[0].data if len(batch) == 1 else b"".join([one.data for one in batch]))
        except BaseException:
            for one in batch:  # perhaps the broker has got it: those who hear it twice are to know it
                data = one.data
                if data[4] == MESSAGE:
                    one.data = b"".join((data[:_FLAGS_AT], bytes((data[_FLAGS_AT] | AGAIN,)), data[_FLAGS_AT + 1 :]))
            raise

    async def disconnect(self) -> None:  # noqa: D102
        link, self._link = self._link, None
        if link is not None:
            link.abort()
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if not question.done():
                question.set_result(None)

    # What comes

    def _heard(self, data: bytes) -> None:
        kind, flags, first, second, content, number = parts(data)
        if kind == MESSAGE:
            try:
                message = _read(content, flags)
            except RemoteProtocolError as error:
                self.listener.malformed(error)
                return
            if number:
                self.last = number
                for told in self.asking.values():
                    told.append((number, message))
            self.listener.received(message, f"{self.epoch}.{number:x}" if number else None)
        elif kind == POST:
            self.listener.posted(content)
        elif kind == OPEN:
            self._members.setdefault(second.decode(), set()).add(first.decode())
        elif kind == SHUT:
            self._members.setdefault(second.decode(), set()).discard(first.decode())
        elif kind == GONE:
            uid = second.decode()
            self._members.pop(uid, None)
            self.listener.gone(uid)
        elif kind == LOST:
            self.listener.lost(None, f"this worker read too slowly: {number} messages for it were thrown away")
        elif kind == ANSWER:
            question = self._questions.pop(number, None)
            if question is not None and not question.done():
                question.set_result(content if flags & FOUND else None)

    # What is said

    def open(self, namespace: str) -> None:  # noqa: D102
        # What is for one alone, the broker gives to it, whatever it hears.
        if namespace not in self._namespaces and not self.guest:
            self._namespaces[namespace] = None
            self._wish(OPEN, namespace)

    def shut(self, namespace: str) -> None:  # noqa: D102
        if namespace in self._namespaces:
            del self._namespaces[namespace]
            self._wish(SHUT, namespace)

    def _wish(self, kind: int, namespace: str) -> None:
        if self.connected:
            self.queue(Outgoing("", frame(kind, namespace.encode())))

    def publish(self, message: Message, to: str | None = None) -> None:  # noqa: D102
        if holds_bytes(message):
            content, flags = to_msgpack(message), BINARY
        else:
            content, flags = to_json(message), 0
        if self._ledger is not None and type(message) is Broadcast and not message.data.requestId:
            flags |= KEEP
        self.queue(Outgoing("", frame(MESSAGE, message.nsp.encode(), (to or "").encode(), content, flags=flags)))

    def count(self, namespace: str, then: Callable[[int | None], None]) -> None:  # noqa: D102
        then(sum([namespace in namespaces for namespaces in self._members.values()]))

    def post(self, node: str, data: bytes) -> None:  # noqa: D102
        framed = frame(POST, node.encode(), content=data)
        # Somebody's answer waits for it. What gets lost with the link is noticed by whoever it was for.
        if self._waiting or not self.connected or self._link is None or not self._link.write_now(framed):
            self.queue(Outgoing("", framed))

    @property
    def directory(self) -> str | None:  # noqa: D102
        return os.path.dirname(self._path)

    def dropped(self, outgoing: Outgoing) -> None:  # noqa: D102
        _, kind, flags, _, _, _ = HEAD.unpack_from(outgoing.data)
        # What was on its way may have arrived, and comes back then.
        if kind == MESSAGE and flags & KEEP and not flags & AGAIN:
            self.listener.received(_read(parts(outgoing.data)[4], flags))

    @property
    def ledger(self) -> Ledger | None:  # noqa: D102
        return self._ledger

    async def ask(self, kind: int, name: bytes, content: bytes = b"") -> bytes | None:
        """Ask the broker, behind all that was said before; None: it has nothing, or the link has broken."""
        if not self.connected:
            return None
        self._asked += 1
        question: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._questions[self._asked] = question
        self.queue(Outgoing("", frame(kind, name, content=content, number=self._asked)))
        return await question


class LocalLedger(Ledger):
    """The broker's ledger, as a worker sees it."""

    __slots__ = ("_bus",)

    def __init__(self, bus: LocalBus) -> None:
        self._bus = bus

    async def since(self, offset: str, namespace: str, most: int) -> list[tuple[str, Broadcast]] | None:
        bus = self._bus
        epoch, _, digits = offset.partition(".")
        if epoch != bus.epoch or not (digits.isascii() and digits.isalnum()):
            return None
        try:
            after = int(digits[:16], 16)
        except ValueError:
            return None
        told: list[tuple[int, Message]] = []
        key = object()
        bus.asking[key] = told
        try:
            answer = await bus.ask(SINCE, namespace.encode(), b"%d,%d" % (after, most))
        finally:
            del bus.asking[key]
        if answer is None:
            return None
        found: list[tuple[str, Broadcast]] = []
        for one in Cutter().cut(answer):
            _, flags, _, _, content, number = parts(one)
            after = number
            message = _read(content, flags)
            if isinstance(message, Broadcast):
                found.append((f"{epoch}.{number:x}", message))
        # Frames behind the answer may have come with it, and were told before this goes on.
        found += [
            (f"{epoch}.{number:x}", message)
            for number, message in told
            if number > after and message.nsp == namespace and isinstance(message, Broadcast)
        ]
        return found

    def newest(self, namespace: str) -> str | None:
        bus = self._bus
        return f"{bus.epoch}.{bus.last:x}" if bus.epoch else None

    def save(self, pid: str, record: bytes, seconds: float) -> None:
        self._bus.queue(Outgoing("", frame(SAVE, pid.encode(), content=record, number=int(seconds * 1000))))

    async def take(self, pid: str) -> bytes | None:
        return await self._bus.ask(TAKE, pid.encode())


class _Link(asyncio.Protocol):
    """The connection to the broker.

    Attributes:
        welcomed: what the broker answers.
        ended: is done when the connection is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.welcomed: asyncio.Future[Welcome] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._cutter = Cutter()
        self._transport: Any = None
        self._early: list[bytes] = []
        self._take: Callable[[bytes], None] = self._begin
        self._writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=0)  # `send` returns when the kernel has it all

    def data_received(self, data: bytes) -> None:
        try:
            for one in self._cutter.cut(data):
                self._take(one)
        except (RemoteProtocolError, msgspec.MsgspecError) as error:
            self._end(error)
            self.abort()

    def _begin(self, data: bytes) -> None:
        """The first frame; those behind it wait until somebody listens."""
        kind, _, _, _, content, _ = parts(data)
        if kind != WELCOME:
            raise RemoteProtocolError("the broker doesn't say welcome", rule="frames between workers")
        welcome = msgspec.json.decode(content, type=Welcome)
        self._take = self._early.append
        if not self.welcomed.done():
            self.welcomed.set_result(welcome)

    def take(self, function: Callable[[bytes], None]) -> None:
        """Give each frame to a function from now on."""
        early, self._early = self._early, []
        self._take = function
        for one in early:
            function(one)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("the broker has ended the connection"))

    def _end(self, error: Exception) -> None:
        futures: tuple[asyncio.Future[Any] | None, ...] = (self.welcomed, self.ended, self._writable)
        for future in futures:
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # whoever waits hears of it; nobody has to

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def write_now(self, data: bytes) -> bool:
        """Write, if the kernel takes all that was written before; gives whether it was."""
        if self._writable is not None or self.ended.done():
            return False
        self._transport.write(data)
        return True

    async def send(self, data: bytes) -> None:
        if not self.ended.done():
            self._transport.write(data)
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self.ended.done():
            self.ended.result()

    def abort(self) -> None:
        self._transport.abort()


def _read(content: bytes, flags: int) -> Message:
    message = from_msgpack(content) if flags & BINARY else from_json(content)
    if flags & AGAIN:
        message.again = True
    return message


def _keeping(query: str) -> Keeping | None:
    """What a URL says of the ledger."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    wanted = options.pop("ledger", "0")
    try:
        numbers = {name.removeprefix("ledger_"): value for name, value in options.items() if name in _OPTIONS}
        keeping = msgspec.convert(numbers, Keeping, strict=False)
        if wanted not in ("0", "1") or len(numbers) < len(options):
            raise ValueError(f"unknown options in {query!r}")
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"cluster: local:// takes ledger=1, {', '.join(_OPTIONS)}, each a number: {error}") from None
    return keeping if wanted == "1" else None


_OPTIONS: Final = tuple(f"ledger_{name}" for name in Keeping.__struct_fields__)

BUS = LocalBus
