"""What the bus over NATS keeps in JetStream: a stream of what is said to clients, and the clients that were lost."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import re
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeGuard
from urllib.parse import quote

import msgspec
import nats
from msgspec import UNSET
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import (
    APIError,
    BadRequestError,
    KeyNotFoundError,
    NotFoundError,
    ServiceUnavailableError,
)

from madang.cluster import Ledger
from madang.cluster.link import Outgoing
from madang.cluster.messages import (
    Broadcast,
    BroadcastAck,
    BroadcastClientCount,
    FetchSocketsResponse,
    Heartbeat,
    InitialHeartbeat,
    Message,
    ServerSideEmitResponse,
    decode,
)
from madang.errors import ConfigError, RemoteProtocolError

if TYPE_CHECKING:
    from madang.cluster.nats import NatsBus

__all__ = ["LIMITS", "Kept", "NatsLedger", "is_kept", "stream_options", "token"]

_CONNECT_SECONDS: Final = 3.0
_SEND_SECONDS: Final = 10.0
#: How long the engine may take to tell what a client has missed (seconds).
_PATIENCE_SECONDS: Final = 2.0
#: How a stream tells that it lives, and after how much silence it is read anew (seconds).
_HEARTBEAT_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 8.0
#: How much of what the stream has told lately is remembered (bytes), and how many entries are asked for at once.
_RECENT_BYTES: Final = 8_000_000
_FETCHED: Final = 500
#: How many ask the engine at the same time for what they have missed.
_READERS: Final = 8
#: How many bytes of pieces wait for the last ones; what is thrown away is fetched when it is needed.
_PIECES_BYTES: Final = 64_000_000
#: A longer name in a subject is a hash.
_NAME_CHARACTERS: Final = 200
_DUPLICATE_SECONDS: Final = 120.0

_ID_HEADER: Final = "Nats-Msg-Id"
_PIECES_HEADER: Final = "Madang-Pieces"
_STATUS_HEADER: Final = "Status"
_STALLED_HEADER: Final = "Nats-Consumer-Stalled"
_LAST_HEADER: Final = "Nats-Last-Consumer"
_EXPIRY: Final = struct.Struct(">d")
_OFFSET: Final = re.compile(r"([0-9]{1,18})-([0-9a-z]{1,16})")
#: NATS's numbers of errors: the stream or the key is there already, as somebody else wants it.
_EXISTS: Final = 10058
_RULE: Final = "nats cluster"

#: What is of use at once, or never.
_PASSING: Final = (
    InitialHeartbeat,
    Heartbeat,
    FetchSocketsResponse,
    ServerSideEmitResponse,
    BroadcastClientCount,
    BroadcastAck,
)
#: The options of a stream in the URL, and their defaults.
LIMITS: Final[dict[str, Any]] = {
    "max_msgs": 100_000,
    "max_bytes": 256_000_000,
    "max_age": 300.0,
    "storage": "file",
    "replicas": 1,
}


class Kept:
    """What is to be put into a stream.

    Attributes:
        id: by which NATS knows one that is sent again.
        key: the client's, where it is what is known of a client.
    """

    __slots__ = ("id", "key")

    def __init__(self, id: str, key: str | None = None) -> None:  # noqa: A002
        self.id = id
        self.key = key


class _Ack(msgspec.Struct):
    """What the server answers when something was put into a stream."""

    seq: int = 0
    error: dict[str, Any] | None = None


def stream_options(given: dict[str, str]) -> dict[str, Any]:
    """Take the options of a stream out of those of a URL.

    Raises:
        ConfigError: one makes no sense.
    """
    found = dict(LIMITS)
    for name, default in LIMITS.items():
        if name in given:
            text = given.pop(name)
            try:
                found[name] = type(default)(text)
            except ValueError:
                raise ConfigError(f"cluster: {name} is a number, not {text!r}") from None
    if found["storage"] not in ("file", "memory"):
        raise ConfigError(f'cluster: storage is "file" or "memory", not {found["storage"]!r}')
    for name in ("max_msgs", "max_bytes", "max_age", "replicas"):
        if not 0 < found[name] < 1e15:
            raise ConfigError(f"cluster: {name} must be positive")
    return found


def is_kept(message: Message) -> bool:
    """Whether a message goes into the stream.

    All do but answers and heartbeats, so that requests stay behind what they are about.
    """
    return not isinstance(message, _PASSING)


def _is_numbered(message: Message) -> TypeGuard[Broadcast]:
    """Whether clients that were lost get it later."""
    return isinstance(message, Broadcast) and message.data.requestId is UNSET


@functools.lru_cache(4096)
def token(name: str) -> str:
    """A name as one part of a subject.

    Example:
        >>> token("/chat.eu")
        '%2Fchat%2Eeu'
    """
    safe = quote(name, safe="").replace(".", "%2E")
    return safe if len(safe) <= _NAME_CHARACTERS else "~" + hashlib.sha256(name.encode()).hexdigest()


def _name(prefix: str) -> str:
    """The name of a stream: prefixes that differ have names that do."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", prefix)
    return f"madang-{safe}" if safe == prefix else f"madang-{safe}-{hashlib.sha256(prefix.encode()).hexdigest()[:8]}"


class NatsLedger(Ledger):
    """A stream of JetStream, which is read from where it was read last, and a bucket of clients that were lost.

    Args:
        bus: whose it is.
        options: the limits of the stream.
    """

    def __init__(self, bus: NatsBus, options: dict[str, Any]) -> None:
        self._bus = bus
        self._options = options
        prefix = bus.settings.prefix
        self._subjects = f"{prefix}.kept"
        self._stream = _name(prefix)
        self._bucket = f"{self._stream}-clients"
        self._js: JetStreamContext | None = None
        self._client: Client | None = None
        self._numbers = itertools.count(1)
        # What was sent, and is not acknowledged yet
        self._inbox = ""
        self._unacknowledged: dict[str, Outgoing] = {}
        self._all_acknowledged = asyncio.Event()
        self._problem: Exception | None = None
        self._unsaved: dict[str, tuple[str, asyncio.Event]] = {}
        # Where the stream is read
        self._epoch = ""
        self._sequence = 0
        self._consumed = 0
        self._alive_at = 0.0
        self._delivery: Any = None
        self._pieces: dict[str, bytes] = {}
        self._pieces_bytes = 0
        # What it has told lately: all behind `_recent_from`
        self._recent: deque[tuple[int, str, bytes]] = deque()
        self._recent_bytes = 0
        self._recent_from = 0
        self._readers = asyncio.Semaphore(_READERS)

    def begin(self) -> None:
        """Forget all: a new life begins."""
        self._all_acknowledged = asyncio.Event()
        self._readers = asyncio.Semaphore(_READERS)
        self._epoch = ""
        self._unsaved.clear()

    def subject(self, namespace: str) -> str:
        """Where what concerns a namespace is kept."""
        return f"{self._subjects}.ns.{token(namespace)}"

    # The link

    async def connect(self, client: Client) -> None:
        """Find the stream and the bucket, or make them, and read on."""
        self._client, self._problem = client, None
        self._unacknowledged.clear()
        js = self._js = client.jetstream(timeout=_CONNECT_SECONDS)
        guest = self._bus.guest  # it only adds
        try:
            info = await self._find(js)
            if not guest:
                await self._find_bucket(js)
        except (ServiceUnavailableError, BadRequestError, nats.errors.NoRespondersError) as error:
            raise ConfigError(f"cluster: NATS: {error}; is JetStream on (nats-server -js)?") from None
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._acknowledge)
        self._find_place(info)
        if not self._bus.guest:
            await self._read_on(client, js)

    async def _find(self, js: JetStreamContext) -> api.StreamInfo:
        try:
            return await js.stream_info(self._stream)
        except NotFoundError:
            pass
        options = self._options
        config = api.StreamConfig(
            name=self._stream,
            subjects=[f"{self._subjects}.>"],
            max_msgs=options["max_msgs"],
            max_bytes=options["max_bytes"],
            max_age=options["max_age"],
            storage=api.StorageType(options["storage"]),
            num_replicas=options["replicas"],
            duplicate_window=min(_DUPLICATE_SECONDS, options["max_age"]),
        )
        try:
            await js.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _EXISTS:
                raise
            # Another member has made it in the same instant.
        return await js.stream_info(self._stream)

    async def _find_bucket(self, js: JetStreamContext) -> None:
        options = self._options
        try:
            await js.create_key_value(
                api.KeyValueConfig(
                    bucket=self._bucket,
                    ttl=options["max_age"],
                    max_bytes=options["max_bytes"],
                    storage=api.StorageType(options["storage"]),
                    replicas=options["replicas"],
                )
            )
        except BadRequestError as error:
            if error.err_code != _EXISTS:
                raise

    def _find_place(self, info: api.StreamInfo) -> None:
        """Where to read on, and what was missed."""
        made = f"{int(info.created.timestamp() * 1000):x}" if info.created is not None else "0"
        state = info.state
        why = None
        if not self._epoch:
            self._sequence = state.last_seq
        elif made != self._epoch:
            why = "the stream was made anew"
            self._sequence = 0
        elif state.last_seq < self._sequence:
            why = "the stream has lost its end"
            self._sequence = state.last_seq
        elif state.first_seq > self._sequence + 1:
            why = f"{state.first_seq - self._sequence - 1} messages were gone from the stream before we came back"
            self._sequence = state.first_seq - 1
        if why is not None or not self._epoch:
            self._epoch = made
            self._recent.clear()
            self._recent_bytes = 0
            self._recent_from = self._sequence
        if why is not None:
            self._bus.listener.lost(None, why)

    async def _read_on(self, client: Client, js: JetStreamContext) -> None:
        self._consumed = 0
        self._alive_at = time.monotonic()
        inbox = client.new_inbox()
        self._delivery = await client.subscribe(inbox, cb=self._streamed)
        await js.add_consumer(
            self._stream,
            api.ConsumerConfig(
                deliver_subject=inbox,
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._sequence + 1,
                ack_policy=api.AckPolicy.NONE,
                flow_control=True,
                idle_heartbeat=_HEARTBEAT_SECONDS,
                mem_storage=True,
                num_replicas=1,
            ),
        )

    def reads(self, subscription: Any) -> bool:
        """Whether the stream comes by this subscription."""
        return subscription is self._delivery

    def check(self) -> None:
        """Give up the link if the stream is silent."""
        if not self._bus.guest and time.monotonic() - self._alive_at > _SILENCE_SECONDS:
            self._bus.fail(ConnectionError("NATS does not tell any more what is in the stream"))

    # Hearing

    async def _streamed(self, message: Msg) -> None:
        client = self._client
        if client is None or message._client is not client:
            return
        self._alive_at = time.monotonic()
        headers = message.headers or {}
        if headers.get(_STATUS_HEADER) == "100":
            reply = message.reply or headers.get(_STALLED_HEADER)
            if reply:
                await client.publish(reply)
            last = headers.get(_LAST_HEADER)
            if last is not None and int(last) != self._consumed:
                self._bus.fail(ConnectionError("messages of the stream are missing"))
                self._client = None
            return
        sequence, consumed = _numbers_of(message.reply)
        if consumed != self._consumed + 1:
            self._bus.fail(ConnectionError("messages of the stream are missing"))
            self._client = None  # nothing more from there; it is read again from the last one
            return
        if sequence > self._sequence + 1:
            count = sequence - self._sequence - 1
            self._bus.listener.lost(None, f"{count} messages were trimmed from the stream before they were read")
        data = message.data
        try:
            if message.subject.startswith(f"{self._subjects}.piece."):
                self._keep_piece(message.subject, data)
            else:
                if _PIECES_HEADER in headers:
                    data = await self._join(headers[_PIECES_HEADER], data)
                self._deliver(sequence, data)
        except RemoteProtocolError as error:
            self._bus.listener.malformed(error)
        except (TimeoutError, nats.errors.Error) as error:
            self._bus.fail(error)
            self._client = None
            return
        self._consumed = consumed
        self._sequence = max(self._sequence, sequence)

    def _deliver(self, sequence: int, data: bytes) -> None:
        self._sequence = sequence
        message = decode(data)
        offset = None
        if _is_numbered(message):
            self._remember(sequence, message.nsp, data)
            offset = self._offset(sequence)
        elif message.uid == self._bus.uid:
            return
        if self._bus.hears(message.nsp):
            self._bus.listener.received(message, offset)

    def _offset(self, sequence: int) -> str:
        return f"{sequence}-{self._epoch}"

    def _remember(self, sequence: int, namespace: str, data: bytes) -> None:
        self._recent.append((sequence, namespace, data))
        self._recent_bytes += len(data) + 100
        while self._recent_bytes > _RECENT_BYTES:
            self._recent_from, _, old = self._recent.popleft()
            self._recent_bytes -= len(old) + 100

    def _keep_piece(self, subject: str, data: bytes) -> None:
        self._pieces[subject] = data
        self._pieces_bytes += len(data)
        while self._pieces_bytes > _PIECES_BYTES:
            self._pieces_bytes -= len(self._pieces.pop(next(iter(self._pieces))))

    async def _join(self, header: str, last: bytes) -> bytes:
        """A message of its pieces, which came before or are fetched."""
        name, _, count = header.rpartition(" ")
        if not count.isdecimal() or len(count) > 6:
            raise RemoteProtocolError(f"this tells no number of pieces: {header!r}", rule=_RULE)
        found: list[bytes] = []
        for index in range(int(count)):
            subject = f"{self._subjects}.piece.{token(name)}.{index}"
            piece = self._pieces.pop(subject, None)
            if piece is not None:
                self._pieces_bytes -= len(piece)
            elif self._js is not None:
                try:
                    piece = (await self._js.get_last_msg(self._stream, subject)).data
                except NotFoundError:
                    piece = None
            if piece is None:
                raise RemoteProtocolError("a piece of this message is gone from the stream", rule=_RULE)
            found.append(piece)
        return b"".join((*found, last))

    # Sending

    async def send(self, client: Client, one: Outgoing, room: int) -> None:
        """Put something into a stream; `acknowledged` waits until it is there."""
        kept: Kept = one.then
        data = one.data
        headers = {_ID_HEADER: kept.id}
        if len(data) >= room:
            if kept.key is not None:
                self._bus.listener.lost(1, "what is known of a lost client is larger than a message of NATS")
                self._saved(kept)
                return
            pieces = [data[start : start + room] for start in range(0, len(data), room)]
            data = pieces.pop()
            for index, piece in enumerate(pieces):
                where = f"{self._subjects}.piece.{token(kept.id)}.{index}"
                await self._put(client, one, where, piece, {_ID_HEADER: f"{kept.id}-{index}"})
            headers[_PIECES_HEADER] = f"{kept.id} {len(pieces)}"
        await self._put(client, one, one.where, data, headers)

    async def _put(self, client: Client, one: Outgoing, where: str, data: bytes, headers: dict[str, str]) -> None:
        number = str(next(self._numbers))
        self._unacknowledged[number] = one
        await client.publish(where, data, reply=f"{self._inbox}.{number}", headers=headers)

    async def acknowledged(self) -> None:
        """Wait until all that was sent is in the stream.

        Raises:
            ConnectionError: the engine can't take it now.
            TimeoutError: it doesn't answer.
        """
        while self._unacknowledged and self._problem is None:
            self._all_acknowledged.clear()
            await asyncio.wait_for(self._all_acknowledged.wait(), _SEND_SECONDS)
        if self._problem is not None:
            raise self._problem

    async def _acknowledge(self, message: Msg) -> None:
        one = self._unacknowledged.pop(message.subject.rpartition(".")[2], None)
        if one is not None:
            if message.headers and message.headers.get(_STATUS_HEADER):
                self._problem = ConnectionError("the stream is gone")
            else:
                self._take_ack(one, message.data)
        if not self._unacknowledged or self._problem is not None:
            self._all_acknowledged.set()

    def _take_ack(self, one: Outgoing, data: bytes) -> None:
        error = msgspec.json.decode(data, type=_Ack).error
        kept: Kept = one.then
        if error is None:
            self._saved(kept)
        elif error.get("code") == 400:
            # It is this message that is refused; others are not.
            self._bus.listener.lost(1, f"NATS refuses a message: {error.get('description')}")
            self.dropped(one)
        else:
            self._problem = ConnectionError(f"NATS can't keep a message: {error.get('description')}")

    def _saved(self, kept: Kept) -> None:
        if kept.key is not None:
            waits = self._unsaved.get(kept.key)
            if waits is not None and waits[0] == kept.id:
                waits[1].set()
                del self._unsaved[kept.key]

    def dropped(self, one: Outgoing) -> None:
        """Something will never be in the stream. Our own clients get it all the same."""
        kept: Kept = one.then
        if kept.key is not None:
            self._saved(kept)
            return
        message = decode(one.data)
        if _is_numbered(message):
            asyncio.get_running_loop().call_soon(self._bus.listener.received, message)

    # What was missed

    async def since(self, offset: str, namespace: str, most: int) -> list[tuple[str, Broadcast]] | None:
        found = _OFFSET.fullmatch(offset)
        if found is None or found[2] != self._epoch:
            return None
        after = int(found[1])
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._sequence < after:  # another member was faster than we are
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.01)
        entries: list[tuple[int, bytes]] = []
        if after < self._recent_from:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS), self._readers:
                    older = await self._older(after, namespace, most)
            except (TimeoutError, OSError, nats.errors.Error):
                return None
            if older is None or found[2] != self._epoch:
                return None
            # The listener hasn't been told yet of the last ones, perhaps.
            entries, after = [one for one in older[0] if one[0] <= self._sequence], older[1]
        looked_at = len(entries)
        for sequence, where, data in self._recent:
            if sequence > after:
                looked_at += 1
                if where == namespace:
                    entries.append((sequence, data))
        if looked_at > most:
            return None
        messages = ((self._offset(sequence), decode(data)) for sequence, data in entries)
        return [(where, message) for where, message in messages if _is_numbered(message)]

    def newest(self, namespace: str) -> str | None:
        return self._offset(self._sequence) if self._epoch else None

    async def _older(self, after: int, namespace: str, most: int) -> tuple[list[tuple[int, bytes]], int] | None:
        """What the stream has of a namespace, at least as far as to where memory begins, and how far it was read."""
        js = self._js
        if js is None:
            return None
        state = (await js.stream_info(self._stream)).state
        if state.first_seq > after + 1:
            return None
        subscription = await js.pull_subscribe(
            self.subject(namespace),
            stream=self._stream,
            config=api.ConsumerConfig(
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=after + 1,
                ack_policy=api.AckPolicy.NONE,
                inactive_threshold=30,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        entries: list[tuple[int, bytes]] = []
        try:
            while True:
                # When nothing is left there everything up to here has been read.
                told = self._sequence
                pending = (await subscription.consumer_info()).num_pending or 0
                if len(entries) + pending > most:
                    return None
                while pending > 0:
                    for one in await subscription.fetch(min(pending, _FETCHED), timeout=_PATIENCE_SECONDS):
                        pending -= 1
                        data = one.data
                        if one.headers and _PIECES_HEADER in one.headers:
                            data = await self._join(one.headers[_PIECES_HEADER], data)
                        entries.append((_numbers_of(one.reply)[0], data))
                read_to = max(told, entries[-1][0]) if entries else told
                if self._recent_from <= read_to:
                    return entries, read_to
        except RemoteProtocolError:
            return None
        finally:
            await subscription.unsubscribe()

    # Lost clients

    def save(self, pid: str, record: bytes, seconds: float) -> None:
        key = _key(pid)
        content = _EXPIRY.pack(time.time() + seconds) + record
        kept = Kept(f"{self._bus.uid}-{self._epoch}-{key[:16]}-{next(self._numbers)}", key)
        self._unsaved[key] = (kept.id, asyncio.Event())
        self._bus.queue(Outgoing(f"$KV.{self._bucket}.{key}", content, None, kept))

    async def take(self, pid: str) -> bytes | None:
        key = _key(pid)
        js = self._js
        if js is None:
            return None
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                if key in self._unsaved:
                    await self._unsaved[key][1].wait()
                bucket = await js.key_value(self._bucket)
                entry = await bucket.get(key)
                # Of those who ask at the same time one deletes it.
                await bucket.delete(key, last=entry.revision)
        except (KeyNotFoundError, APIError, TimeoutError, OSError, nats.errors.Error):
            return None
        content = entry.value or b""
        if len(content) < _EXPIRY.size or _EXPIRY.unpack_from(content)[0] < time.time():
            return None
        return content[_EXPIRY.size :]


def _numbers_of(reply: str) -> tuple[int, int]:
    """The places in the stream, and in what is read of it, that a message tells."""
    parts = reply.split(".")
    first = 5 if len(parts) == 9 else 7
    return int(parts[first]), int(parts[first + 1])


def _key(pid: str) -> str:
    # It is the client's secret, and comes from clients: neither is for the eyes, or the rules, of the engine.
    return hashlib.sha256(pid.encode()).hexdigest()
