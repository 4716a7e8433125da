"""Redis Streams: what is broadcast is kept in a stream that all members read, so that nothing is lost with a link.

Members that run @socket.io/redis-streams-adapter 0.3 belong to the same cluster. Broadcasts, and what tells clients to
join, leave or go, stand in the stream, in one order for all; questions between servers and their answers go by
PUB/SUB. A member remembers what it has read last, and goes on there when its link is back.

It is one long module because one bus is one file: what is written into the stream, how it is read, and what is kept for
those who come back, agree on the same entries.

Source: @socket.io/redis-streams-adapter 0.3.1, `lib/adapter.ts` and `lib/util.ts`.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from itertools import chain
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Raw
from redis.exceptions import RedisError, ResponseError

from madang.cluster import Ledger
from madang.cluster._redis import Address, Engine, Link, command, passes, slot_of, whole, yes_no
from madang.cluster.link import EngineBusy, LinkedBus, Outgoing
from madang.cluster.messages import (
    AdapterClose,
    Broadcast,
    BroadcastData,
    DisconnectData,
    DisconnectSockets,
    FetchData,
    FetchSockets,
    Heartbeat,
    InitialHeartbeat,
    Message,
    RoomsData,
    ServerEventData,
    ServerSideEmit,
    SocketsJoin,
    SocketsLeave,
    decode,
    from_msgpack,
    holds_bytes,
    sent_again,
    to_json,
    to_msgpack,
)
from madang.config import Cluster
from madang.errors import ConfigError, EncodeError, RemoteProtocolError

__all__ = ["BUS", "RedisStreamsBus"]

#: What stands in the stream is one of these. Responses and heartbeats stood there before version 0.3 of the adapter.
_KINDS: Final[Mapping[bytes, tuple[type[Any], msgspec.json.Decoder[Any]]]] = {
    b"3": (Broadcast, msgspec.json.Decoder(BroadcastData)),
    b"4": (SocketsJoin, msgspec.json.Decoder(RoomsData)),
    b"5": (SocketsLeave, msgspec.json.Decoder(RoomsData)),
    b"6": (DisconnectSockets, msgspec.json.Decoder(DisconnectData)),
    b"7": (FetchSockets, msgspec.json.Decoder(FetchData)),
    b"9": (ServerSideEmit, msgspec.json.Decoder(ServerEventData)),
}
_STREAMED: Final = {Broadcast: b"3", SocketsJoin: b"4", SocketsLeave: b"5", DisconnectSockets: b"6"}
_HEARTBEATS: Final = (InitialHeartbeat, Heartbeat, AdapterClose)
_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}", re.ASCII)
_START: Final = b"0-0"
#: How many bytes are written before their answers are waited for.
_PIECE: Final = 1 << 20
#: How many entries are read at a time for a client that comes back.
_PAGE: Final = 200
#: Secret ids of clients have 20 characters; longer ones than this are made up.
_LONGEST_PID: Final = 100
#: How often it is looked for members whom our requests would crash (seconds).
_LOOK_SECONDS: Final = 2.0
#: What part of the time after which a silent engine counts as gone one XREAD may wait.
_BLOCK_SHARE: Final = 0.4


def hash_code(name: str) -> int:
    """The hash that Node.js spreads namespaces over streams by: that of strings in Java.

    Example:
        >>> hash_code("/"), hash_code("/notifications")
        (47, -1014064871)
    """
    value = 0
    units = name.encode("utf-16-le", "surrogatepass")
    for at in range(0, len(units), 2):
        value = (value * 31 + units[at] + (units[at + 1] << 8)) & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _number(offset: bytes | str) -> tuple[int, int]:
    """An id of an entry, as what can be compared."""
    text = offset.decode() if isinstance(offset, bytes) else offset
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence)


def _after(offset: bytes) -> bytes:
    """The least id behind one: Redis 6.0 has no other way to leave one out."""
    milliseconds, sequence = _number(offset)
    return b"%d-%d" % (milliseconds, sequence + 1)


def _bulk(*words: str | bytes) -> bytes:
    """Words of a command, without how many there are."""
    return command(*words).partition(b"\r\n")[2]


def _fields(entry: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(entry[::2], entry[1::2], strict=False))


def read_entry(fields: Mapping[bytes, bytes]) -> Message | None:
    """The message that an entry of a stream is.

    Args:
        fields: `uid`, `nsp`, `type`, `data`, and those that are ours alone, `seq` and `again`.

    Returns:
        The message; None for one of those that are not looked at there.

    Raises:
        RemoteProtocolError: it is none.
    """
    kind = fields.get(b"type", b"")
    known = _KINDS.get(kind)
    if known is None:
        return None
    data = fields.get(b"data", b"")
    try:
        uid, namespace = fields.get(b"uid", b"").decode(), fields[b"nsp"].decode()
        if data[:1] == b"{":
            message: Message = known[0](uid=uid, nsp=namespace, data=known[1].decode(data))
        else:
            packed = Raw(base64.b64decode(data, validate=True))
            whole_message = {"type": int(kind), "uid": uid, "nsp": namespace, "data": packed}
            message = from_msgpack(msgspec.msgpack.encode(whole_message))
        if b"seq" in fields:
            message.seq = int(fields[b"seq"])
            if b"again" in fields:
                message.again = True
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(
            f"this is no entry of a stream: {error}: {data[:200]!r}", rule="cluster messages"
        ) from None
    return message


def write_data(message: Message) -> bytes:
    """The field `data` of the entry for a message: JSON, or MessagePack in base64 where there are bytes in it.

    Raises:
        EncodeError: a name in it is no Unicode text, or an integer beside bytes is too large.
    """
    data: Any = message.data  # type: ignore[attr-defined]  # those that stand in streams have it
    try:
        if not holds_bytes(message):
            return msgspec.json.encode(data)
        return base64.b64encode(msgspec.msgpack.encode(data))
    except (OverflowError, UnicodeEncodeError) as error:
        raise EncodeError(f"this can't be sent: {error}") from None


class _Entry:
    """What is to be added to a stream."""

    __slots__ = ("kind", "namespace", "sent", "seq", "uid")

    def __init__(self, message: Message, kind: bytes) -> None:
        self.uid = message.uid
        self.namespace = message.nsp
        self.kind = kind
        self.seq = b"" if message.seq is UNSET else b"%d" % message.seq
        #: Whether it has been on its way before.
        self.sent = False

    def message(self, data: bytes) -> Message | None:
        fields = {b"uid": self.uid.encode(), b"nsp": self.namespace.encode(), b"type": self.kind, b"data": data}
        return read_entry(fields | ({b"seq": self.seq} if self.seq else {}))


class _Said:
    """What is to be published on a channel."""

    __slots__ = ("namespace",)

    def __init__(self, namespace: str | None) -> None:
        #: In which namespace others than ours may hear it too; None: none of them does.
        self.namespace = namespace


class _Record:
    """What is to be kept under a key for some milliseconds."""

    __slots__ = ("milliseconds",)

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds


class _Piece:
    """Commands that are written together.

    Attributes:
        parts: those for each server.
        owners: what each of them sends; None: a copy.
        streams: to which streams they add.
        entries: how many add to a stream.
        size: how many bytes they have.
    """

    __slots__ = ("entries", "owners", "parts", "size", "streams")

    def __init__(self) -> None:
        self.parts: dict[Address, list[bytes]] = {}
        self.owners: dict[Address, list[Outgoing | None]] = {}
        self.streams: set[str] = set()
        self.entries = 0
        self.size = 0

    def put(self, address: Address, words: bytes, owner: Outgoing | None) -> None:
        self.parts.setdefault(address, []).append(words)
        self.owners.setdefault(address, []).append(owner)
        self.size += len(words)


class _Stream:
    """A stream, and how far it is read."""

    __slots__ = ("attended", "last", "link", "name", "placed", "tails", "target", "unverified", "waiting", "written")

    def __init__(self, name: str) -> None:
        self.name = name
        #: Whether it is being read.
        self.attended = False
        #: The id of the entry that was read last; None: it is not known yet where to begin.
        self.last: bytes | None = None
        #: Behind which id something may have been trimmed away before it was read.
        self.unverified: bytes | None = None
        #: How far has to be read before it is known what has arrived of what was on its way as the link broke.
        self.target = (0, 0)
        self.link: Link | None = None
        self.placed = asyncio.Event()
        #: What we have added at last: of our last two writes.
        self.written: deque[tuple[int, int]] = deque(maxlen=2)
        self.waiting: list[tuple[tuple[int, int], asyncio.Future[None]]] = []
        #: Who collects what is read meanwhile.
        self.tails: dict[object, list[tuple[bytes, Broadcast]]] = {}

    def advance(self, last: bytes) -> None:
        self.last = last
        if self.waiting:
            at = _number(last)
            for target, done in self.waiting:
                if target <= at and not done.done():
                    done.set_result(None)
            self.waiting = [one for one in self.waiting if not one[1].done()]

    async def reach(self, target: tuple[int, int]) -> None:
        """Wait until everything up to an entry is read."""
        if self.last is not None and _number(self.last) >= target:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((target, done))
        await done


class RedisStreamsBus(LinkedBus):
    """Moves messages by streams of a Redis, and keeps the broadcasts there for clients that come back.

    `redis-streams://host:6379/0`, by TLS `rediss-streams://`, with `+sentinel` or `+cluster` as for `redis://`.
    Options behind the "?", which all members need alike, but for `read_count` and `block_ms`:

    - `stream_name`: the stream, "socket.io".
    - `stream_count`: how many streams the namespaces are spread over, 1; with more of them their names end in "-0",
      "-1" and so on. Node.js members write a namespace whose hash is negative, as "/notifications", into a stream that
      none of them reads. We read it, and give them copies of what we write there where they read them: there they hear
      us, and we hear them, but they don't hear one another.
    - `max_len`: about how many entries a stream keeps, 10000. What is trimmed away unread is told as lost.
    - `read_count`: how many entries are read at a time at most, 100.
    - `block_ms`: how long one XREAD waits at most, 5000; never longer than 0.4 of `socket_timeout`.
    - `session_key_prefix`: with what the keys of lost clients begin, "sio:session:".
    - `sharded_pubsub`: whether questions and answers go by sharded PUB/SUB (Redis 7), false.
    - `only_plaintext`: whether events hold no bytes, false; then those that do are refused.

    Servers with the classic adapter of Node.js on the same Redis and with the same prefix crash at what others ask by
    PUB/SUB that is not sharded. Where there are some, `start` fails; if they come later, nothing is asked or answered
    while they are there, which is told as lost.

    Args:
        settings: those of the cluster.

    Raises:
        ConfigError: the URL makes no sense.
    """

    shared: ClassVar[bool] = True

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        self._engine = Engine(
            settings.url,
            {
                "stream_name": _a_name,
                "stream_count": whole,
                "max_len": whole,
                "read_count": whole,
                "block_ms": whole,
                "session_key_prefix": str,
                "sharded_pubsub": yes_no,
                "only_plaintext": yes_no,
            },
        )
        options = self._engine.options
        self._name: str = options.get("stream_name", "socket.io")
        self._count: int = options.get("stream_count", 1)
        self._session_prefix: str = options.get("session_key_prefix", "sio:session:")
        self._sharded: bool = options.get("sharded_pubsub", False)
        self._only_plaintext: bool = options.get("only_plaintext", False)
        self._read_count: int = options.get("read_count", 100)
        self._block = min(options.get("block_ms", 5000), max(1, int(self._engine.timeout * 1000 * _BLOCK_SHARE)))
        #: About how many entries a stream keeps.
        self.max_len: int = options.get("max_len", 10_000)
        self._stride = max(1, self.max_len // 4)
        self._trim = _bulk("MAXLEN", "~", str(self.max_len), "*")
        self._members = f"madang:{settings.prefix}#{self._name}"
        self._ledger = _StreamLedger(self)
        self._namespaces: dict[str, str] = {}
        self._clear()

    def _clear(self) -> None:
        self._streams: dict[str, _Stream] = {}
        self._heads: dict[tuple[str, str, str, bytes], bytes] = {}
        self._worked = False
        #: How many others there were in a namespace when they were counted last.
        self._counts: dict[str, int] = {}
        self._hazard = False
        self._losses: list[str] = []
        #: The numbers of those of our messages that are on their way, and those of them that were read in a stream.
        self._way: set[bytes] = set()
        self._seen: set[bytes] = set()
        self._reset()

    def _reset(self) -> None:
        """Forget the link."""
        self._links: dict[Address, Link] = {}
        self._readers: list[Link] = []
        self._slots: list[tuple[int, int, Address]] = []
        self._main: Address = ("", 0)
        self._jobs: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] | None = None
        #: The channels that are wanted, and when each is heard.
        self._heard: dict[str, asyncio.Future[Any]] = {}
        #: For which namespaces it is known whether members are there whom our requests would crash.
        self._looked: set[str] = set()

    @property
    def ledger(self) -> Ledger:  # noqa: D102
        return self._ledger

    @property
    def forgets(self) -> bool:
        """Never: what is said meanwhile stands in the streams; what is trimmed away is told."""
        return False

    async def start(self, uid: str, node: str, listener: Any) -> None:  # noqa: D102
        self._clear()
        self._inbox = f"madang:{self.settings.prefix}:{node}"
        await super().start(uid, node, listener)

    # Names

    def stream_of(self, namespace: str) -> str:
        """The stream that a namespace's entries stand in."""
        if self._count == 1:
            return self._name
        value = hash_code(namespace)
        rest = abs(value) % self._count  # with the sign of the value: JavaScript's
        return f"{self._name}-{-rest if value < 0 else rest}"

    def _copy_of(self, stream: str) -> str:
        """The stream in which members with Node.js read what stands in one that they don't read; else ""."""
        number = stream[len(self._name) + 1 :]
        return f"{self._name}{number}" if number.startswith("-") else ""

    def _channels(self, namespace: str) -> tuple[str, str]:
        public = f"{self.settings.prefix}#{namespace}#"
        return public, f"{public}{self.uid}#"

    def _wanted(self, namespace: str) -> tuple[str, ...]:
        """The channels that are to be heard."""
        return self._channels(namespace)[1:] if self.guest else self._channels(namespace)

    # The link

    async def connect(self) -> None:  # noqa: D102
        self._reset()
        self._broken = asyncio.get_running_loop().create_future()
        if self._engine.kind == "cluster":
            await self._find_nodes()
        else:
            self._main = await self._engine.primary()
        if not self._sharded:
            await self._check_members(first=not self._worked)
        ours = () if self.guest else (self._inbox, self._members)
        await self._subscribe(*ours, *chain.from_iterable(map(self._wanted, self._namespaces)))
        await asyncio.gather(*self._heard.values())
        if self.guest:  # it reads no streams
            self._worked = True
            return
        names = {self.stream_of(namespace) for namespace in self._namespaces}
        names |= {f"{self._name}-{i}" for i in range(self._count)} if self._count > 1 else {self._name}
        for name in sorted(names):
            await self._place(self._stream(name))
        self._worked = True

    async def hear(self) -> None:  # noqa: D102
        losses, self._losses = self._losses, []
        for why in losses:
            self.listener.lost(None, why)
        for stream in self._streams.values():
            if stream.link is not None:
                self._attend(stream)
        for name in () if self.guest else self._namespaces.values():  # opened while we connected
            self._attend(self._stream(name))
        if not self._sharded:
            self._go(self._look_around())
        assert self._broken is not None  # noqa: S101  # `connect` has made it
        await self._broken

    async def disconnect(self) -> None:  # noqa: D102
        jobs, links = list(self._jobs), [*self._links.values(), *self._readers]
        broken = self._broken
        self._reset()
        if broken is not None and not broken.cancel() and not broken.cancelled():
            broken.exception()  # told already, or to be told by what failed
        for stream in self._streams.values():
            stream.link = None
            stream.attended = False
            stream.written.clear()
            stream.placed.clear()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in links))

    def _go(self, job: Coroutine[Any, Any, None]) -> None:
        """Do something that breaks the link if it fails."""
        task = asyncio.create_task(job, name="redis streams")
        self._jobs.add(task)
        broken = self._broken

        def ended(task: asyncio.Task[None]) -> None:
            self._jobs.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _fail(broken, error)

        task.add_done_callback(ended)

    async def _open_link(self, address: Address, pushed: Callable[[list[Any]], None] | None = None) -> Link:
        link = await self._engine.link(address, pushed)
        broken = self._broken
        link.broken.add_done_callback(lambda done: _fail(broken, done.result()))
        return link

    async def _link_to(self, address: Address) -> Link:
        link = self._links.get(address)
        if link is None:
            link = await self._open_link(address, self._pushed)
            if address in self._links:  # another was faster
                await link.close()
                return self._links[address]
            self._links[address] = link
        return link

    def _address_of(self, name: str) -> Address:
        """Where a key is, or a sharded channel."""
        if not self._slots:
            return self._main
        slot = slot_of(name)
        for first, last, address in self._slots:
            if first <= slot <= last:
                return address
        raise ConnectionError(f"no node of the Redis Cluster has slot {slot}")

    async def _link_of(self, name: str) -> Link:
        return await self._link_to(self._address_of(name))

    async def _find_nodes(self) -> None:
        """Ask the Redis Cluster who has which slots."""
        errors: list[str] = []
        for address in tuple(self._engine.addresses):
            try:
                link = await self._engine.link(address)
            except (OSError, RedisError) as error:
                errors.append(f"{address[0]}:{address[1]}: {error}")
                continue
            try:
                slots = await link.call("CLUSTER", "SLOTS")
            finally:
                await link.close()
            # A node that doesn't know its own name leaves it out.
            self._slots = [
                (first, last, ((node[0] or address[0].encode()).decode(), node[1])) for first, last, node, *_ in slots
            ]
            if not self._slots:
                raise ConnectionError("no node of the Redis Cluster has any slots yet")
            # All speak to the same one by PUB/SUB that is not sharded, if they can; every node passes it on to all.
            self._main = self._slots[0][2]
            return
        raise ConnectionError(f"no node of the Redis Cluster answers: {'; '.join(errors)}")

    # PUB/SUB

    async def _subscribe(self, *channels: str) -> None:
        for channel in channels:
            link = await (self._link_of(channel) if self._sharded else self._link_to(self._main))
            done = link.subscribe("SSUBSCRIBE" if self._sharded else "SUBSCRIBE", [channel])
            if done is not None:
                self._heard[channel] = done

    async def _subscribe_to(self, namespace: str) -> None:
        await self._subscribe(*self._wanted(namespace))
        if namespace not in self._namespaces:
            self._unsubscribe(namespace)

    def _unsubscribe(self, namespace: str) -> None:
        for channel in self._wanted(namespace):
            if self._heard.pop(channel, None) is not None:
                link = self._links[self._address_of(channel) if self._sharded else self._main]
                link.subscribe("SUNSUBSCRIBE" if self._sharded else "UNSUBSCRIBE", [channel])

    def _pushed(self, push: list[Any]) -> None:
        self._said(push[-2].decode(), push[-1])

    def _said(self, channel: str, data: bytes) -> None:
        if channel == self._inbox:
            self.listener.posted(data)
            return
        try:
            message = decode(data)
        except RemoteProtocolError as error:
            self.listener.malformed(error)
            return
        if message.uid == self.uid:
            return
        if isinstance(message, _HEARTBEATS) or message.nsp in self._namespaces:
            self.listener.received(message)

    async def _check_members(self, *more: str, first: bool = False) -> None:
        """Look for members whom our requests would crash."""
        self._looked = {*self._namespaces, *more} or {"/"}
        channels = [f"{self.settings.prefix}-request#{namespace}#" for namespace in self._looked]
        found = 0
        for address in {address for _, _, address in self._slots} or {self._main}:
            numbers = await (await self._link_to(address)).call("PUBSUB", "NUMSUB", *channels)
            found += sum(numbers[1::2])
        self._hazard = found > 0
        if found and first:
            raise ConfigError(
                f"cluster: servers with the classic Redis adapter use the prefix {self.settings.prefix!r} on this "
                "Redis, and would crash at what we ask; give these servers another prefix, or sharded_pubsub=true"
            )

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._check_members()

    # Reading

    def _stream(self, name: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream(name)
        return stream

    async def _place(self, stream: _Stream) -> None:
        """Find out where to go on, and whether something is missing there."""
        link = await self._open_link(self._address_of(stream.name))
        self._readers.append(link)
        name = stream.name
        ends: list[Any] = []
        try:
            await link.ask(
                3,
                command("XLEN", name)
                + command("XRANGE", name, "-", "+", "COUNT", "1")
                + command("XREVRANGE", name, "+", "-", "COUNT", "1"),
                ends.append,
            )
        except Exception as error:
            if str(error).startswith(("WRONGTYPE", "NOPERM")):
                raise ConfigError(f"cluster: the stream {name!r} can't be read: {error}") from None
            raise
        length, oldest, newest = ends
        first, last = (one[0][0] if one else _START for one in (oldest, newest))
        stream.target = _number(last)
        stream.unverified = None
        if stream.last is None:
            stream.advance(last)
        else:
            at = _number(stream.last)
            if stream.target < at:
                # It was emptied, or Redis came back without what was added last.
                self._losses.append(f"Redis has lost the end of the stream {name!r}")
                stream.advance(last)
            elif _number(first) > at and (at > (0, 0) or length >= self.max_len):
                self._losses.append(f"the stream {name!r} was trimmed behind what we had read: raise max_len")
        stream.link = link
        stream.placed.set()

    def _attend(self, stream: _Stream) -> None:
        if not stream.attended:
            stream.attended = True
            self._go(self._follow(stream))

    async def _follow(self, stream: _Stream) -> None:
        """Read a stream as long as the link stands."""
        if stream.link is None:
            await self._place(stream)
        link = stream.link
        assert link is not None  # noqa: S101  # `_place` has made it
        oldest = command("XRANGE", stream.name, "-", "+", "COUNT", "1")
        head = b"*8\r\n" + _bulk("XREAD", "COUNT", str(self._read_count), "BLOCK", str(self._block))
        head += _bulk("STREAMS", stream.name)
        while True:
            before = stream.last
            assert before is not None  # noqa: S101
            read = head + b"$%d\r\n%b\r\n" % (len(before), before)
            if stream.unverified is None:
                found = await link.ask(1, read)
            else:
                # We are behind: has what we had not read yet been trimmed away?
                answers: list[Any] = []
                found = await link.ask(2, oldest + read, answers.append)
                if answers[0] and _number(answers[0][0][0]) > _number(stream.unverified):
                    self.listener.lost(None, f"the stream {stream.name!r} was trimmed before we had read it")
                stream.unverified = None
            if found is None:
                continue
            entries = next(iter(found.values()))
            for offset, entry in entries:
                self._read(stream, offset, entry)
            if len(entries) >= self._read_count and before != _START:  # nothing stood before the start
                stream.unverified = before
            stream.advance(entries[-1][0])

    def _read(self, stream: _Stream, offset: bytes, entry: list[bytes]) -> None:
        fields = _fields(entry)
        namespace = fields.get(b"nsp", b"")
        own = fields.get(b"uid", b"") == self._uid
        if b"copy" in fields:  # for those who don't read the stream where it stands
            return
        if own and self._way and (seq := fields.get(b"seq")) in self._way:
            self._seen.add(seq)
        if namespace.decode(errors="replace") not in self._namespaces or (own and fields.get(b"type") != b"3"):
            return
        try:
            message = read_entry(fields)
        except RemoteProtocolError as error:
            self.listener.malformed(error)
            return
        if message is None:
            return
        if not isinstance(message, Broadcast) or message.data.requestId is not UNSET:
            if not own:
                self.listener.received(message)
            return
        for tail in stream.tails.values():
            tail.append((offset, message))
        self.listener.received(message, offset.decode())

    # What LinkedBus and the port ask for

    def open(self, namespace: str) -> None:  # noqa: D102
        if namespace in self._namespaces:
            return
        stream = self._namespaces[namespace] = self.stream_of(namespace)
        if self._heard or (self.guest and self.connected):  # else they are yet to come
            self._go(self._subscribe_to(namespace))
            if self.connected and not self.guest:
                self._attend(self._stream(stream))

    def shut(self, namespace: str) -> None:  # noqa: D102
        if self._namespaces.pop(namespace, None) is not None:
            self._counts.pop(namespace, None)
            self._unsubscribe(namespace)

    def publish(self, message: Message, to: str | None = None) -> None:  # noqa: D102
        kind = _STREAMED.get(type(message))
        if kind is not None and not (isinstance(message, Broadcast) and message.data.requestId is not UNSET):
            if self._only_plaintext and holds_bytes(message):
                raise EncodeError("the cluster's URL says only_plaintext, and there are bytes in this")
            data = write_data(message)
            stream = self._namespaces.get(message.nsp) or self.stream_of(message.nsp)
            self.queue(Outgoing(stream, data, then=_Entry(message, kind)))
        elif isinstance(message, _HEARTBEATS):
            if self.connected or not isinstance(message, Heartbeat):  # an old one says nothing
                self.queue(Outgoing(self._members, to_json(message), then=_Said(None)))
        else:
            channel = f"{self.settings.prefix}#{message.nsp}#"
            if to is not None:
                channel = f"{channel}{to}#"
            again = None if message.seq is UNSET else sent_again
            self.queue(Outgoing(channel, to_msgpack(message), again, _Said(message.nsp)))

    def post(self, node: str, data: bytes) -> None:  # noqa: D102
        self.queue(Outgoing(f"madang:{self.settings.prefix}:{node}", data, then=_Said(None)))

    def count(self, namespace: str, then: Callable[[int | None], None]) -> None:  # noqa: D102
        if not self.connected:
            then(self._counts.get(namespace, 0))
            return
        self._go(self._ask_count(namespace, then))

    async def _ask_count(self, namespace: str, then: Callable[[int | None], None]) -> None:
        try:
            channel = self._channels(namespace)[0]
            heard = self._heard.get(channel)
            if heard is not None:
                await asyncio.shield(heard)
            elif namespace in self._namespaces and not self.guest:
                return  # a moment too early to know whether we are counted
            if self._sharded:
                addresses = {self._address_of(channel)}
            else:
                addresses = {address for _, _, address in self._slots} or {self._main}
            word = "SHARDNUMSUB" if self._sharded else "NUMSUB"
            total = 0
            for address in addresses:
                total += (await (await self._link_to(address)).call("PUBSUB", word, channel))[1]
            self._counts[namespace] = max(0, total - (heard is not None))
        except (OSError, RedisError):  # that the link is broken is told elsewhere
            pass
        finally:
            then(self._counts.get(namespace, 0))

    # Sending

    async def send(self, batch: list[Outgoing]) -> None:  # noqa: D102
        if self._way:
            await self._sort_out()
        # They stand there until the next batch went well: what was on its way as the link broke is looked for.
        self._way.update(one.then.seq for one in batch if isinstance(one.then, _Entry) and one.then.seq)
        withheld = 0
        piece = _Piece()
        for one in list(batch):
            then = one.then
            if isinstance(then, _Entry):
                if then.sent and then.seq in self._seen:
                    continue
                stream = self._streams.get(one.where)
                if stream is None or not stream.placed.is_set():
                    await self._placed(one.where)
                piece.put(self._address_of(one.where), self._entry(one.where, then, one.data), one)
                piece.streams.add(one.where)
                piece.entries += 1
                copy = self._copy_of(one.where)
                if copy:
                    piece.put(self._address_of(copy), self._entry(copy, then, one.data, copy=True), None)
                then.sent = True
            elif isinstance(then, _Said):
                if then.namespace is not None:
                    if then.namespace not in self._looked and not self._sharded:
                        await self._check_members(then.namespace)
                    if self._hazard:
                        withheld += 1
                        continue
                words = command("SPUBLISH" if self._sharded else "PUBLISH", one.where, one.data)
                piece.put(self._address_of(one.where) if self._sharded else self._main, words, one)
            else:
                key, milliseconds = one.where, str(then.milliseconds)
                piece.put(self._address_of(key), command("SET", key, one.data, "PX", milliseconds), one)
            if piece.size > _PIECE or piece.entries >= self._stride:
                await self._write(piece, batch)
                piece = _Piece()
        await self._write(piece, batch)
        self._way.clear()
        self._seen.clear()
        if withheld:
            self.listener.lost(
                withheld,
                f"servers with the classic Redis adapter use the prefix {self.settings.prefix!r} on this Redis, and "
                "would crash at what we ask: give them another one",
            )

    async def _write(self, piece: _Piece, batch: list[Outgoing]) -> None:
        """Write commands, and take out of the batch what is settled by their answers."""
        for name in piece.streams:
            stream = self._streams.get(name)
            if stream is not None and stream.link is not None:
                await self._keep_pace(stream)
        answers: dict[Address, list[Any]] = {}
        asked = []
        for address, parts in piece.parts.items():
            link = await self._link_to(address)
            found = answers[address] = []
            asked.append(link.ask(len(parts), b"".join(parts), found.append))
        try:
            results = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            busy = self._settle(piece, answers, batch)
        if busy is not None:
            raise EngineBusy(f"Redis takes nothing now: {busy}")
        for result in results:
            if isinstance(result, OSError):
                raise result

    def _settle(
        self, piece: _Piece, answers: Mapping[Address, list[Any]], batch: list[Outgoing]
    ) -> ResponseError | None:
        settled: set[int] = set()
        refused: dict[str, list[Outgoing]] = {}
        busy: ResponseError | None = None
        written: dict[str, bytes] = {}
        for address, answered in answers.items():
            for one, answer in zip(piece.owners[address], answered, strict=False):
                if isinstance(answer, ResponseError):
                    if passes(answer):
                        busy = answer
                    elif one is not None:
                        settled.add(id(one))
                        refused.setdefault(str(answer), []).append(one)
                    else:
                        self.listener.lost(1, f"Redis refuses it for members in Node.js: {answer}")
                elif one is not None:
                    settled.add(id(one))
                    if isinstance(one.then, _Entry):
                        written[one.where] = answer
        for name, offset in written.items():
            self._stream(name).written.append(_number(offset))
        batch[:] = [one for one in batch if id(one) not in settled]
        for why, some in refused.items():
            for one in some:
                if isinstance(one.then, _Entry):
                    one.then.sent = False  # it surely is not there
            self.refuse(some, f"Redis refuses it: {why}")
        return busy

    async def _keep_pace(self, stream: _Stream) -> None:
        """Add no more than we read ourselves: else what we add would be trimmed away before we have read it."""
        if len(stream.written) > 1:
            try:
                async with asyncio.timeout(self._engine.timeout):
                    await stream.reach(stream.written[0])
            except TimeoutError:  # somebody has deleted it
                stream.written.clear()

    async def _sort_out(self) -> None:
        """Read what was added before the link broke: what of ours stands there needs no sending again."""
        for stream in list(self._streams.values()):
            if stream.link is not None:
                await stream.reach(stream.target)

    async def _placed(self, name: str) -> None:
        """Wait until a stream is read from here on: what is added to it before would not come back to us."""
        if name in self._namespaces.values() and not self.guest:  # else nobody here hears it
            await self._stream(name).placed.wait()

    def _entry(self, stream: str, then: _Entry, data: bytes, copy: bool = False) -> bytes:
        key = (stream, then.uid, then.namespace, then.kind)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= 1024:
                self._heads.clear()
            head = self._heads[key] = (
                _bulk("XADD", stream)
                + self._trim
                + _bulk("uid", then.uid, "nsp", then.namespace, "type", then.kind, "data")
            )
        words, rest = 14, b""
        if then.seq:
            words, rest = 16, b"$3\r\nseq\r\n$%d\r\n%b\r\n" % (len(then.seq), then.seq)
            if then.sent:
                words, rest = 18, rest + b"$5\r\nagain\r\n$1\r\n1\r\n"
        if copy:
            words, rest = words + 2, rest + b"$4\r\ncopy\r\n$1\r\n1\r\n"
        return b"*%d\r\n%b$%d\r\n%b\r\n%b" % (words, head, len(data), data, rest)

    def dropped(self, outgoing: Outgoing) -> None:  # noqa: D102
        then = outgoing.then
        # What was on its way may have arrived, and comes back then.
        if isinstance(then, _Entry) and then.kind == b"3" and not then.sent and then.namespace in self._namespaces:
            message = then.message(outgoing.data)
            if message is not None:
                self.listener.received(message)

    @property
    def _uid(self) -> bytes:
        return self.uid.encode()


class _StreamLedger(Ledger):
    """The streams as what clients that come back have missed."""

    __slots__ = ("_bus",)

    def __init__(self, bus: RedisStreamsBus) -> None:
        self._bus = bus

    async def since(self, offset: str, namespace: str, most: int) -> list[tuple[str, Broadcast]] | None:
        bus = self._bus
        if _ID.fullmatch(offset) is None or max(_number(offset)) >= 1 << 64:
            return None
        stream = bus._streams.get(bus.stream_of(namespace))
        if stream is None or not bus.connected:
            return None
        key = object()
        tail: list[tuple[bytes, Broadcast]] = []
        try:
            async with asyncio.timeout(bus._engine.timeout):
                if stream.last is None or _number(stream.last) < _number(offset):
                    # The client comes from a member that was further than we are, or makes it up.
                    if not await (await bus._link_of(stream.name)).call("XRANGE", stream.name, offset, offset):
                        return None
                    await stream.reach(_number(offset))
                stream.tails[key] = tail
                found = await self._pages(stream, offset.encode(), namespace, most)
                known = set() if found is None else await self._known(stream, offset.encode(), [*found, *tail])
        except (OSError, RedisError, TimeoutError):
            return None
        finally:
            stream.tails.pop(key, None)
        if found is None:
            return None
        found += [one for one in tail if one[1].nsp == namespace]
        missed: list[tuple[str, Broadcast]] = []
        for place, message in found:
            if message.seq is not UNSET:
                if message.again is True and (message.uid, message.seq) in known:
                    continue
                known.add((message.uid, message.seq))
            missed.append((place.decode(), message))
        return missed if len(missed) <= most else None

    async def _pages(
        self, stream: _Stream, offset: bytes, namespace: str, most: int
    ) -> list[tuple[bytes, Broadcast]] | None:
        """What stands behind an offset, up to what is read by now."""
        name, upto, start = stream.name, stream.last, offset
        assert upto is not None  # noqa: S101  # it is at the offset, or behind it
        bus = self._bus
        link = await bus._link_of(name)
        oldest = command("XRANGE", name, "-", "+", "COUNT", "1")
        wanted = namespace.encode()
        found: list[tuple[bytes, Broadcast]] = []
        last = offset
        left = most + 1  # with the one at the offset itself
        while True:
            size = min(_PAGE, left + 1)
            answers: list[Any] = []
            await link.ask(2, command("XRANGE", name, start, upto, "COUNT", str(size)) + oldest, answers.append)
            page, first = answers
            if start == _START:
                if await link.call("XLEN", name) >= bus.max_len:  # else nothing was ever trimmed
                    return None
            elif start == offset:
                if not page or page[0][0] != offset:
                    return None
            elif not first or _number(first[0][0]) > _number(last):
                return None  # trimmed meanwhile
            left -= len(page)
            if left < 0:
                return None
            for place, entry in page:
                fields = _fields(entry)
                if fields.get(b"nsp") != wanted or fields.get(b"type") != b"3" or b"copy" in fields or place == offset:
                    continue
                try:
                    message = read_entry(fields)
                except RemoteProtocolError:  # told when it was read first
                    continue
                if isinstance(message, Broadcast) and message.data.requestId is UNSET:
                    found.append((place, message))
            if len(page) < size:
                return found
            last = page[-1][0]
            start = _after(last)

    async def _known(
        self, stream: _Stream, offset: bytes, found: list[tuple[bytes, Broadcast]]
    ) -> set[tuple[str, int]]:
        """Which messages the client has got of those that were sent again behind its offset."""
        if not any(message.again is True for _, message in found):
            return set()
        link = await self._bus._link_of(stream.name)
        before = await link.call("XREVRANGE", stream.name, offset, "-", "COUNT", str(_PAGE * 5))
        known: set[tuple[str, int]] = set()
        for _, entry in before:
            fields = _fields(entry)
            if fields.get(b"seq", b"").isdigit():
                known.add((fields.get(b"uid", b"").decode(errors="replace"), int(fields[b"seq"])))
        return known

    def newest(self, namespace: str) -> str | None:
        stream = self._bus._streams.get(self._bus.stream_of(namespace))
        return None if stream is None or stream.last is None else stream.last.decode()

    def save(self, pid: str, record: bytes, seconds: float) -> None:
        key = self._bus._session_prefix + pid
        self._bus.queue(Outgoing(key, record, then=_Record(max(1, round(seconds * 1000)))))

    async def take(self, pid: str) -> bytes | None:
        bus = self._bus
        if not bus.connected or len(pid) > _LONGEST_PID:
            return None
        key = bus._session_prefix + pid
        words = command("MULTI") + command("GET", key) + command("DEL", key) + command("EXEC")
        try:
            async with asyncio.timeout(bus._engine.timeout):
                answer = await (await bus._link_of(key)).ask(4, words)
        except (OSError, RedisError, TimeoutError):
            return None
        record = answer[0]
        return record if isinstance(record, bytes) else None


def _a_name(text: str) -> str:
    if not text:
        raise ValueError("the name of a stream")
    return text


def _fail(broken: asyncio.Future[None] | None, error: BaseException) -> None:
    if broken is not None and not broken.done():
        broken.set_exception(error)


BUS = RedisStreamsBus
