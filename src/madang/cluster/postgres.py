"""PostgreSQL between the servers of a cluster, by LISTEN and NOTIFY.

Node.js's servers with `@socket.io/postgres-adapter` 0.4 or newer are members like ours.

    postgresql://user:password@host:5432/database?sslmode=require&table=socket_io_attachments

The URL is asyncpg's, with options of ours among its own:

- `table`: where large and binary messages are kept while they are fetched, as Node.js's `tableName`. It is made if it
  is missing.
- `payload_threshold`: from how many bytes on a message counts as large; PostgreSQL takes less than 8000.
- `cleanup_interval`: after how many seconds what is kept there is deleted; 0: never, for when others see to it.

Each server has two connections, and a third one once there are large messages; a pooler in between has to leave them
whole (session mode). A namespace and the prefix share the 63 bytes of a channel's name: where they are longer a hash
takes their place, by which our servers find each other, and Node.js's, which can't use such namespaces, don't.

Nothing is kept: what is said while the link is down is lost, and told.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import itertools
import random
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlencode

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from madang.cluster import Listener
from madang.cluster.link import LinkedBus, Outgoing, check_login
from madang.cluster.messages import Message, from_json, from_msgpack, holds_bytes, sent_again, to_json, to_msgpack
from madang.config import Cluster
from madang.errors import ConfigError, RemoteProtocolError

__all__ = ["BUS", "PostgresBus"]

#: PostgreSQL's limits: a notification is shorter than this; a channel's name at most so long (bytes).
_PAYLOAD_BYTES: Final = 8000
_CHANNEL_BYTES: Final = 63
#: How often the server is asked whether it lives, and how long it may take to answer (seconds).
_PING_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 2.0
#: How long connecting may take, and sending (seconds). Sending ends sooner when the other connection is silent.
_CONNECT_SECONDS: Final = 5.0
_SEND_SECONDS: Final = 10.0
#: How many bytes go into one statement, and how many kept messages are fetched by one.
_STATEMENT_BYTES: Final = 4_000_000
_FETCHED: Final = 16
#: Blanks that JSON may end with.
_BLANKS: Final = " \t\n\r"
#: How what is posted begins: text, base64, a number in the table, or a greeting; then a number and ";".
_KINDS: Final = ("t", "b", "a", "h")
_RULE: Final = "postgres cluster"

#: What makes no sense to try again.
_NEVER: Final = (
    asyncpg.ClientConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedObjectError,
    asyncpg.CantChangeRuntimeParamError,
    ValueError,
)

_NOTIFY: Final = "SELECT count(*) FROM unnest($1::text[], $2::text[]) AS given (c, p), pg_notify(c, p)"
_TABLE: Final = """\
CREATE UNLOGGED TABLE IF NOT EXISTS {table} (
    id bigserial UNIQUE,
    created_at timestamptz DEFAULT now(),
    payload bytea
)"""
_KEEP: Final = """\
INSERT INTO {table} (payload)
SELECT b FROM unnest($1::bytea[]) WITH ORDINALITY AS given (b, n) ORDER BY n
RETURNING id"""
_FETCH: Final = "SELECT id, payload FROM {table} WHERE id = ANY($1::bigint[])"
_CLEAN: Final = """\
DELETE FROM {table} WHERE id IN (
    SELECT id FROM {table} WHERE created_at < now() - make_interval(secs => $1) FOR UPDATE SKIP LOCKED
)"""


class _Header(msgspec.Struct):
    """What is told of a message that is kept in the table."""

    uid: str = ""
    attachmentId: str | int | UnsetType | None = UNSET  # noqa: N815  # the wire's name


class _Arrival:
    """One notification, perhaps with what has to be fetched first.

    Attributes:
        namespace: whose channel it came by; None: it was posted to us.
        data: the message, where it is there.
        kept: under which number it is in the table; None: it is not.
    """

    __slots__ = ("data", "kept", "namespace")

    def __init__(self, namespace: str | None, data: str | bytes, kept: int | None) -> None:
        self.namespace = namespace
        self.data = data
        self.kept = kept


class PostgresBus(LinkedBus):
    """Moves messages as notifications of PostgreSQL.

    Raises:
        ConfigError: an option in the URL makes no sense.

    Source: @socket.io/postgres-adapter 0.5, `lib/adapter.ts` and `lib/util.ts`.
    """

    heartbeats_by_namespace: ClassVar[bool] = True
    shared: ClassVar[bool] = True

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        self._read_url()
        if len(settings.prefix.encode()) > _CHANNEL_BYTES - 33:
            raise ConfigError(f"cluster: PostgreSQL's channels have room for {_CHANNEL_BYTES - 33} bytes of prefix")
        # Of asyncpg's connections mypy knows nothing: None is where there is none.
        self._listening: Any = None
        self._sending: Any = None
        self._fetching: Any = None
        self._third = asyncio.Lock()
        self._wanted: dict[str, str | None] = {}
        self._heard: set[str] = set()
        self._settled = asyncio.Event()
        self._stir = asyncio.Event()
        self._failure: BaseException | None = None
        self._inbox: deque[_Arrival] = deque()
        self._arrived = asyncio.Event()
        self._own: int | None = None
        self._greeted: asyncio.Future[None]
        self._numbers = itertools.count(1)
        self._kept_at: float | None = None

    def _read_url(self) -> None:
        url, _, query = self.settings.url.partition("?")
        if url.partition("://")[0] not in ("postgres", "postgresql"):
            raise ConfigError(f"cluster: write postgres:// or postgresql://, not {url.partition('://')[0]}://")
        check_login(self.settings.url)
        options = dict(parse_qsl(query, keep_blank_values=True))
        self._table = options.pop("table", "socket_io_attachments")
        if not re.fullmatch(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)?", self._table, re.ASCII):
            raise ConfigError(f"cluster: table must be a name, or schema.name, not {self._table!r}")
        try:
            self._threshold = int(options.pop("payload_threshold", _PAYLOAD_BYTES))
            self._cleanup_seconds = float(options.pop("cleanup_interval", 30))
        except ValueError as error:
            raise ConfigError(f"cluster: payload_threshold and cleanup_interval are numbers: {error}") from None
        if not 0 < self._threshold <= _PAYLOAD_BYTES:
            raise ConfigError(f"cluster: payload_threshold must be between 1 and {_PAYLOAD_BYTES}")
        if not 0 <= self._cleanup_seconds < float("inf"):
            raise ConfigError("cluster: cleanup_interval must not be negative")
        options.setdefault("application_name", "madang")
        self._dsn = f"{url}?{urlencode(options)}"

    # The link

    async def start(self, uid: str, node: str, listener: Listener) -> None:  # noqa: D102
        self._wanted = {channel: name for channel, name in self._wanted.items() if name is not None}
        self._wanted[_channel("madang", node)] = None
        self._inbox.clear()
        self._settled, self._stir, self._arrived = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._third = asyncio.Lock()
        await super().start(uid, node, listener)

    async def connect(self) -> None:  # noqa: D102
        self._failure = self._own = None
        self._heard.clear()
        self._settled.clear()
        try:
            self._listening = await self._open()
            self._sending = await self._open()
            # Nobody needs a notification that survives the server.
            await self._sending.execute("SET synchronous_commit = off", timeout=_CONNECT_SECONDS)
            await self._find_table(self._sending)
        except _NEVER as error:
            raise ConfigError(
                str(error) if isinstance(error, ConfigError) else f"cluster: PostgreSQL: {error}"
            ) from error
        await self._tune()
        await self._greet(self._sending)

    async def _open(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(self._dsn, timeout=_CONNECT_SECONDS)
        connection.add_termination_listener(self._terminated)
        return connection

    def _terminated(self, _: Any) -> None:
        self._fail(ConnectionError("PostgreSQL has ended the connection"))

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._stir.set()

    async def _find_table(self, connection: asyncpg.Connection) -> None:
        if await connection.fetchval("SELECT to_regclass($1)", self._table, timeout=_CONNECT_SECONDS) is None:
            make = _TABLE.format(table=self._table)
            try:
                await connection.execute(make, timeout=_CONNECT_SECONDS)
            except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
                pass  # by another member, in the same instant
            except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
                raise ConfigError(
                    f"cluster: there is no table {self._table}, and we can't make it ({error}); make it once by hand: "
                    f"{make}"
                ) from None
        if self._cleanup_seconds:
            # Those who are gone may have left something.
            await self._clean(connection)

    async def _greet(self, connection: asyncpg.Connection) -> None:
        """See whether what is sent by one connection is heard by the other, and how its sender is called there."""
        self._greeted = asyncio.get_running_loop().create_future()
        hello = [f"h{next(self._numbers)};"]
        await connection.fetchval(_NOTIFY, [_channel("madang", self.node)], hello, timeout=_CONNECT_SECONDS)
        try:
            await asyncio.wait_for(self._greeted, _CONNECT_SECONDS)
        except TimeoutError:
            raise ConnectionError(
                "no notification comes back; a pooler between us and PostgreSQL must be in session mode"
            ) from None

    async def disconnect(self) -> None:  # noqa: D102
        connections = [one for one in (self._listening, self._sending, self._fetching) if one is not None]
        self._listening = self._sending = self._fetching = None
        for connection in connections:
            connection.remove_termination_listener(self._terminated)
        try:
            if self._closing and self._failure is None:
                leaving = [one.close(timeout=_PING_SECONDS) for one in connections]
                await asyncio.gather(*leaving, return_exceptions=True)
        finally:
            for connection in connections:
                connection.terminate()

    # Hearing

    def open(self, namespace: str) -> None:  # noqa: D102
        channel = self._channel_of(namespace)
        self._wanted[channel] = namespace
        if channel not in self._heard:
            self._settled.clear()
            self._stir.set()

    def shut(self, namespace: str) -> None:  # noqa: D102
        self._wanted.pop(self._channel_of(namespace), None)
        self._stir.set()

    def _channel_of(self, namespace: str) -> str:
        return _channel(self.settings.prefix, namespace)

    async def _tune(self) -> None:
        """Hear exactly what is wanted."""
        connection = self._listening
        for channel in [one for one in self._wanted if one not in self._heard]:
            await asyncio.wait_for(connection.add_listener(channel, self._notified), _PATIENCE_SECONDS)
            self._heard.add(channel)
        for channel in [one for one in self._heard if one not in self._wanted]:
            self._heard.discard(channel)
            await asyncio.wait_for(connection.remove_listener(channel, self._notified), _PATIENCE_SECONDS)
        if self._heard >= self._wanted.keys():
            self._settled.set()

    async def hear(self) -> None:  # noqa: D102
        connection = self._listening
        aside = [
            asyncio.create_task(self._fetch(), name="cluster fetches"),
            asyncio.create_task(self._sweep(), name="cluster sweeps"),
        ]
        self._arrived.set()  # something may have waited when the link broke
        try:
            while self._failure is None:
                self._stir.clear()
                await self._tune()
                try:
                    async with asyncio.timeout(_PING_SECONDS):
                        await self._stir.wait()
                except TimeoutError:
                    await self._ping(connection)
            raise self._failure
        finally:
            for task in aside:
                task.cancel()
            await asyncio.gather(*aside, return_exceptions=True)

    async def _ping(self, connection: asyncpg.Connection) -> None:
        try:
            await connection.fetchval("SELECT 1", timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            raise ConnectionError(f"PostgreSQL has given no answer for {_PATIENCE_SECONDS:g} s") from None

    def _notified(self, _: Any, pid: int, channel: str, payload: Any) -> None:
        namespace = self._wanted.get(channel)
        if pid == self._own and namespace is not None:
            return  # what we have said comes back
        kept: int | None = None
        data: str | bytes = payload
        try:
            if namespace is not None:
                if '"attachmentId"' in payload:
                    header = msgspec.json.decode(payload, type=_Header)
                    if header.attachmentId is not UNSET and header.attachmentId is not None:
                        if header.uid == self.uid:
                            return
                        kept = int(header.attachmentId)
            elif channel in self._wanted:
                kind, (_, separator, content) = payload[:1], payload.partition(";")
                if kind not in _KINDS or not separator:
                    raise ValueError("it is not of ours")
                if kind == "h":
                    self._own = pid
                    if not self._greeted.done():
                        self._greeted.set_result(None)
                    return
                if kind == "a":
                    kept = int(content)
                else:
                    data = base64.b64decode(content, validate=True) if kind == "b" else content.encode()
            else:
                return  # no longer wanted
        except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
            self._refuse(error, payload)
            return
        arrival = _Arrival(namespace, data, kept)
        if kept is None and not self._inbox:
            self._deliver(arrival)
        elif len(self._inbox) >= self.settings.max_buffered_messages:
            self.listener.lost(1, "more than max_buffered_messages came while one before them was fetched")
        else:
            self._inbox.append(arrival)
            self._arrived.set()

    def _refuse(self, error: Exception, payload: str) -> None:
        self.listener.malformed(RemoteProtocolError(f"this is no message: {error}: {payload[:200]!r}", rule=_RULE))

    def _deliver(self, arrival: _Arrival) -> None:
        data = arrival.data
        if arrival.namespace is None:
            self.listener.posted(data if isinstance(data, bytes) else data.encode())
            return
        try:
            message = from_msgpack(data) if isinstance(data, bytes) else from_json(data)
        except RemoteProtocolError as error:
            self.listener.malformed(error)
            return
        if message.uid != self.uid:
            if not message.nsp:  # emitters, and members older than 0.4: the channel tells
                message.nsp = arrival.namespace
            self.listener.received(message)

    # What is too large for a notification

    async def _fetch(self) -> None:
        """Deliver what waits for a message that has to be fetched, in order."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._inbox:
                    await self._fetch_some()
        except Exception as error:
            self._fail(error)

    async def _fetch_some(self) -> None:
        inbox = self._inbox
        found = (one.kept for one in inbox if one.kept is not None)
        numbers = set(itertools.islice(found, _FETCHED))
        async with self._third:
            connection = await self._third_connection()
            rows = await connection.fetch(_FETCH.format(table=self._table), list(numbers), timeout=_SEND_SECONDS)
        payloads = {row["id"]: row["payload"] for row in rows}
        while inbox and (inbox[0].kept is None or inbox[0].kept in numbers):
            arrival = inbox.popleft()
            if arrival.kept is not None:
                data = payloads.get(arrival.kept)
                if data is None:
                    why = f"a message was gone from the table {self._table} before it was fetched"
                    self.listener.lost(1, why)
                    continue
                arrival.data = data
            self._deliver(arrival)

    async def _third_connection(self) -> asyncpg.Connection:
        if self._fetching is None:
            self._fetching = await self._open()
        return self._fetching

    # Sending

    def publish(self, message: Message, to: str | None = None) -> None:  # noqa: D102
        channel = self._channel_of(message.nsp)
        again = sent_again if message.seq is not UNSET and message.again is UNSET else None
        if not holds_bytes(message):
            data = to_json(message)
            if len(data) < self._threshold:
                self.queue(Outgoing(channel, data, again))
                return
        data = to_msgpack(message)
        tag = message.__struct_config__.tag
        self.queue(Outgoing(channel, data, again, (f'{{"uid":"{message.uid}","type":{tag},"attachmentId":"', '"}')))

    def count(self, namespace: str, then: Callable[[int | None], None]) -> None:  # noqa: D102
        then(None)

    def post(self, node: str, data: bytes) -> None:  # noqa: D102
        channel = _channel("madang", node)
        number = next(self._numbers)
        kind, content = b"b", b""
        if len(data) < self._threshold:
            with contextlib.suppress(UnicodeDecodeError):
                data.decode()
                if b"\0" not in data:
                    kind, content = b"t", data
            if kind == b"b":
                content = base64.b64encode(data)
        whole = b"%b%d;%b" % (kind, number, content)
        if content and len(whole) < self._threshold:
            self.queue(Outgoing(channel, whole))
        else:
            self.queue(Outgoing(channel, data, None, (f"a{number};", "")))

    async def send(self, batch: list[Outgoing]) -> None:  # noqa: D102
        await self._settled.wait()  # what is said about a namespace is answered there
        while batch:
            count, size = 0, 0
            while count < len(batch) and (not count or size + len(batch[count].data) <= _STATEMENT_BYTES):
                size += len(batch[count].data)
                count += 1
            await self._send(batch[:count])
            del batch[:count]

    async def _send(self, part: list[Outgoing]) -> None:
        connection = self._sending
        large = [one.data for one in part if one.then is not None]
        numbers = iter(())
        if large:
            rows = await connection.fetch(_KEEP.format(table=self._table), large, timeout=_SEND_SECONDS)
            numbers = iter(sorted(row["id"] for row in rows))
            self._kept_at = time.monotonic()
        channels: list[str] = []
        payloads: list[str] = []
        said: dict[tuple[str, str], int] = {}
        for one in part:
            payload = one.data.decode() if one.then is None else f"{one.then[0]}{next(numbers)}{one.then[1]}"
            # Of equal notifications in one transaction PostgreSQL delivers the first alone.
            key = (one.where, payload)
            times = said[key] = said.get(key, -1) + 1
            if times:
                payload += _blanks(times)
                if len(payload.encode()) >= _PAYLOAD_BYTES:
                    await self._notify(connection, channels, payloads)
                    channels, payloads, said = [], [], {key: 0}
                    payload = key[1]
            channels.append(one.where)
            payloads.append(payload)
        await self._notify(connection, channels, payloads)

    async def _notify(self, connection: asyncpg.Connection, channels: list[str], payloads: list[str]) -> None:
        try:
            await connection.fetchval(_NOTIFY, channels, payloads, timeout=_SEND_SECONDS)
        except asyncpg.DataError as error:
            # One of them is refused, as for a letter that the database's encoding hasn't: the others are not.
            if len(channels) == 1:
                self.listener.lost(1, f"PostgreSQL refuses a message: {error}")
                return
            for channel, payload in zip(channels, payloads, strict=True):
                await self._notify(connection, [channel], [payload])

    async def _sweep(self) -> None:
        """Delete what was kept long ago, while some of it may be ours."""
        try:
            while self._cleanup_seconds:
                await asyncio.sleep(self._cleanup_seconds * random.uniform(0.8, 1.2))  # noqa: S311  # no secret
                kept_at = self._kept_at
                if kept_at is not None:
                    old = time.monotonic() - kept_at > self._cleanup_seconds
                    async with self._third:
                        await self._clean(await self._third_connection())
                    if old and self._kept_at == kept_at:
                        self._kept_at = None
        except Exception as error:
            self._fail(error)

    async def _clean(self, connection: asyncpg.Connection) -> None:
        await connection.execute(_CLEAN.format(table=self._table), self._cleanup_seconds, timeout=_SEND_SECONDS)


def _channel(prefix: str, name: str) -> str:
    whole = f"{prefix}#{name}"
    if len(whole.encode()) <= _CHANNEL_BYTES:
        return whole
    return f"{prefix}#{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _blanks(number: int) -> str:
    """A number in blanks."""
    found = ""
    while number:
        number, digit = divmod(number, len(_BLANKS))
        found += _BLANKS[digit]
    return found


BUS = PostgresBus
