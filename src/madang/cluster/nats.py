"""NATS between the servers of a cluster.

    nats://user:password@host:4222,other:4222
    tls://token@host:4222?jetstream=1&max_age=600

All members are ours. The options of the URL:

- `creds`, `nkey`: files with what NATS's own authentication needs; for these install `nkeys`.
- `tls_ca`, `tls_cert`, `tls_key`: files with the authority that is trusted, and with our own certificate.
- `jetstream`: with 1 all but answers and heartbeats goes through a stream. Then nothing of it is lost while the stream
  holds it, and clients that were lost come back on any server.
- `max_msgs`, `max_bytes`, `max_age` (seconds), `storage` ("file" or "memory"), `replicas`: the limits of the stream,
  and of what is kept of lost clients, when the first member makes them. Later NATS's own tools change them.

NATS takes a megabyte at once; what is larger goes in pieces. Without JetStream nothing is kept: what is said while the
link is down is lost, and told.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import re
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import nats
from msgspec import UNSET
from nats.aio.client import Client
from nats.aio.msg import Msg

from madang.cluster import Ledger, Listener
from madang.cluster._jetstream import LIMITS, Kept, NatsLedger, is_kept, stream_options, token
from madang.cluster.link import LinkedBus, Outgoing, check_login
from madang.cluster.messages import EMITTER, Message, decode, encode, is_response, sent_again
from madang.config import Cluster
from madang.errors import ConfigError, RemoteProtocolError

__all__ = ["BUS", "NatsBus"]

#: How often the server is asked whether it lives, and how long it may take to answer (seconds).
_PING_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 3.0
#: How long the server may take to accept what was sent, while it answers otherwise (seconds).
_SEND_SECONDS: Final = 10.0
#: How much is sent before the server is asked whether it has it (bytes).
_SENT_BYTES: Final = 4_000_000
#: After so long pieces are thrown away whose others don't come (seconds).
_PIECES_SECONDS: Final = 30.0
#: How much of a message may be its subject and head (bytes).
_OVERHEAD_BYTES: Final = 1_000
_RULE: Final = "nats cluster"

#: A piece: the mark, who sends it, which message it is of, which piece of how many.
_PIECE: Final = struct.Struct(">c8sIII")
_PIECE_MARK: Final = b"\x01"
#: What a post begins with that is whole.
_WHOLE: Final = b"\x00"


class _Pieces:
    """Puts messages together that came in pieces by one subject."""

    def __init__(self, most: int, lost: Callable[[int | None, str], None]) -> None:
        self._most = most
        self._lost = lost
        self._open: dict[bytes, tuple[int, float, list[bytes]]] = {}

    def add(self, piece: bytes) -> bytes | None:
        """Take a piece. Returns the message when this was the last one.

        Raises:
            RemoteProtocolError: it is none.
        """
        if len(piece) < _PIECE.size:
            raise RemoteProtocolError(f"this is no piece of a message: {piece[:40]!r}", rule=_RULE)
        _, sender, number, index, count = _PIECE.unpack_from(piece)
        now = time.monotonic()
        for other in [key for key, (_, since, _) in self._open.items() if now - since > _PIECES_SECONDS]:
            del self._open[other]
            self._lost(1, "the rest of a message did not come")
        found = self._open.pop(sender, None)
        if index == 0:
            if found is not None:
                self._lost(1, "the rest of a message did not come")
            found = (number, now, [])
        if found is None or found[0] != number or len(found[2]) != index:
            return None  # its beginning was not heard; that the link was down then has been told
        parts = found[2]
        parts.append(piece[_PIECE.size :])
        if index + 1 >= count:
            return b"".join(parts)
        if sum(map(len, parts)) > self._most:
            self._lost(1, "a message was larger than max_buffered_bytes")
            return None
        self._open[sender] = (number, now, parts)
        return None


class NatsBus(LinkedBus):
    """Moves messages through NATS.

    Raises:
        ConfigError: the URL makes no sense.
    """

    #: Only who hears a namespace answers what is asked there, and the server doesn't tell who that is.
    heartbeats_by_namespace: ClassVar[bool] = True

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        self._options: dict[str, Any] = {}
        self._servers: list[str] = []
        found = self._read_url()
        prefix = settings.prefix
        if not all(prefix.split(".")) or not prefix.isprintable() or re.search(r"[\s*>]", prefix):
            raise ConfigError(f"cluster: NATS's subjects can't begin with the prefix {prefix!r}")
        self.client: Client | None = None
        self._lock = asyncio.Lock()
        self._stir = asyncio.Event()
        self._failure: BaseException | None = None
        self._wanted: set[str] = set()
        self._subscriptions: dict[str, Any] = {}
        self._sender = os.urandom(8)
        self._numbers = itertools.count(1)
        self._ledger = NatsLedger(self, found) if found is not None else None

    def _read_url(self) -> dict[str, Any] | None:
        """Take the URL apart. Returns the stream's options, if there is to be one."""
        url, _, query = self.settings.url.partition("?")
        scheme, _, rest = url.partition("://")
        check_login(f"{scheme}://?{query}")
        if scheme not in ("nats", "tls"):
            raise ConfigError(f"cluster: write nats:// or tls://, not {scheme}://")
        secret, at, hosts = rest.rstrip("/").rpartition("@")
        self._servers = [f"{scheme}://{host.strip()}" for host in hosts.split(",")]
        if not all(host.strip() for host in hosts.split(",")) or "/" in hosts:
            raise ConfigError(f"cluster: write {scheme}://host:4222, or more hosts with commas between")
        if at:
            user, colon, password = secret.partition(":")
            if colon:
                self._options |= {"user": unquote(user), "password": unquote(password)}
            else:
                self._options["token"] = unquote(user)
        try:
            for server in self._servers:
                _ = urlsplit(server).port
        except ValueError as error:
            raise ConfigError(f"cluster: {error}; write {scheme}://host:4222") from None
        given = dict(parse_qsl(query, keep_blank_values=True))
        if "creds" in given:
            self._options["user_credentials"] = given.pop("creds")
        if "nkey" in given:
            self._options["nkeys_seed"] = given.pop("nkey")
        self._trust(scheme, given)
        jetstream = given.pop("jetstream", "0").lower()
        if jetstream not in ("0", "1", "no", "yes", "false", "true"):
            raise ConfigError(f"cluster: jetstream is 0 or 1, not {jetstream!r}")
        wanted = jetstream in ("1", "yes", "true")
        stream = stream_options(given) if wanted else None
        if given:
            hint = "" if wanted or not given.keys() & LIMITS.keys() else "; those of streams need jetstream=1"
            raise ConfigError(f"cluster: {scheme}:// has no option {next(iter(given))!r}{hint}")
        return stream

    def _trust(self, scheme: str, given: dict[str, str]) -> None:
        ca, cert, key = (given.pop(name, None) for name in ("tls_ca", "tls_cert", "tls_key"))
        if scheme == "tls" or ca or cert:
            try:
                context = ssl.create_default_context(cafile=ca)
                if cert:
                    context.load_cert_chain(cert, key)
            except OSError as error:
                raise ConfigError(f"cluster: tls_ca, tls_cert or tls_key can't be read: {error}") from None
            self._options["tls"] = context

    # The link

    async def start(self, uid: str, node: str, listener: Listener) -> None:  # noqa: D102
        self._lock, self._stir = asyncio.Lock(), asyncio.Event()
        if self._ledger is not None:
            self._ledger.begin()
        await super().start(uid, node, listener)

    async def connect(self) -> None:  # noqa: D102
        self._failure = None
        self._subscriptions.clear()
        self.client = await self._connect_somewhere()
        limit = self.settings.max_buffered_bytes
        said, posted = _Pieces(limit, self.listener.lost), _Pieces(limit, self.listener.lost)

        async def hear_answer(message: Msg) -> None:
            self._said(said, message.data)

        async def hear_post(message: Msg) -> None:
            self._posted(posted, message.data)

        await self.client.subscribe(self._subject("to", self.uid), cb=hear_answer)
        await self.client.subscribe(self._subject("node", self.node), cb=hear_post)
        await self._tune()
        await self.flush(_CONNECT_SECONDS)
        await self.flush(_CONNECT_SECONDS)
        if self._failure is not None:  # as when there is no permission for one of them
            raise ConfigError(f"cluster: NATS: {self._failure}")
        if self._ledger is not None:
            await self._ledger.connect(self.client)

    async def _connect_somewhere(self) -> Client:
        """Connect to any of the servers."""
        problem: Exception = ConnectionError("there is no NATS server")
        for server in random.sample(self._servers, len(self._servers)):
            client = Client()
            try:
                await client.connect(
                    [server],
                    name=self.settings.name or "madang",
                    # What is sent, kept and told when the link breaks is ours to say.
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=_CONNECT_SECONDS,  # type: ignore[arg-type]  # any number does
                    ping_interval=3600,
                    no_echo=True,
                    # Sending never waits: then it can't miss that it is told to stop.
                    pending_size=0,
                    error_cb=self._troubled,
                    disconnected_cb=self._disconnected,
                    **self._options,
                )
            except ModuleNotFoundError as error:
                raise ConfigError(f"cluster: creds and nkey need the package {error.name!r}") from None
            except Exception as error:
                await self._leave(client)
                if "authorization violation" in str(error).lower():
                    raise ConfigError(f"cluster: NATS does not let us in: {error}") from None
                if not isinstance(error, OSError | TimeoutError | nats.errors.Error):
                    raise
                problem = error if not isinstance(error, nats.errors.NoServersError) else self._failure or error  # type: ignore[assignment]
            else:
                self._failure = None
                return client
        self._failure = None
        raise problem

    async def _troubled(self, error: Exception) -> None:
        """The driver tells of something that went wrong."""
        if self.connected and not self._closing and isinstance(error, nats.errors.SlowConsumerError):
            if self._ledger is not None and self._ledger.reads(error.sub):
                self.fail(error)  # it is read again from there
            else:
                self.listener.lost(None, "messages came faster than they were taken")
        elif self.connected and not self._closing and "permissions violation" in str(error).lower():
            self.listener.lost(None, f"NATS does not allow it: {error}")
        elif self._failure is None:
            self._failure = error
            self._stir.set()

    async def _disconnected(self) -> None:
        self.fail(ConnectionError("NATS has ended the connection"))

    def fail(self, error: BaseException) -> None:
        """The link is of no use any more."""
        if self._failure is None:
            self._failure = error
        self._stir.set()

    async def disconnect(self) -> None:  # noqa: D102
        client, self.client = self.client, None
        if client is not None:
            await self._leave(client)

    async def _leave(self, client: Client) -> None:
        with contextlib.suppress(TimeoutError, OSError, nats.errors.Error):
            await asyncio.wait_for(client.close(), _PING_SECONDS)

    # Hearing

    def _subject(self, kind: str, name: str) -> str:
        return f"{self.settings.prefix}.{kind}.{token(name)}"

    def open(self, namespace: str) -> None:  # noqa: D102
        if not self.guest:  # what is for one alone has a subject of its own
            self._wanted.add(namespace)
            self._stir.set()

    def shut(self, namespace: str) -> None:  # noqa: D102
        self._wanted.discard(namespace)
        self._stir.set()

    def hears(self, namespace: str) -> bool:
        """Whether a namespace is open."""
        return namespace in self._wanted

    async def _tune(self) -> None:
        """Hear exactly what is wanted."""
        if self._wanted == self._subscriptions.keys():
            return
        async with self._lock:
            client = self.client
            if client is None:
                return
            for namespace in self._wanted - self._subscriptions.keys():
                pieces = _Pieces(self.settings.max_buffered_bytes, self.listener.lost)

                async def hear(message: Msg, pieces: _Pieces = pieces) -> None:
                    self._said(pieces, message.data)

                self._subscriptions[namespace] = await client.subscribe(self._subject("ns", namespace), cb=hear)
            for namespace in self._subscriptions.keys() - self._wanted:
                await self._subscriptions.pop(namespace).unsubscribe()

    async def hear(self) -> None:  # noqa: D102
        while self._failure is None:
            self._stir.clear()
            await self._tune()
            try:
                async with asyncio.timeout(_PING_SECONDS):
                    await self._stir.wait()
            except TimeoutError:
                await self._ping()
        raise self._failure

    async def _ping(self) -> None:
        try:
            await self.flush(_PATIENCE_SECONDS)
        except TimeoutError:
            raise ConnectionError(f"NATS has given no answer for {_PATIENCE_SECONDS:g} s") from None
        if self._ledger is not None:
            self._ledger.check()

    async def flush(self, seconds: float) -> None:
        """Ask the server for an answer.

        The driver writes this before what else waits to be written: only a second one is behind that.

        Raises:
            TimeoutError: there is none in time.
        """
        client = self.client
        if client is None or client.is_closed:
            raise ConnectionError("NATS has ended the connection")
        await client.flush(seconds)  # type: ignore[arg-type]  # any number does

    def _said(self, pieces: _Pieces, data: bytes) -> None:
        try:
            whole: bytes | None = data
            if data[:1] == _PIECE_MARK:
                whole = pieces.add(data)
            if whole is not None:
                message = decode(whole)
                if message.uid != self.uid:
                    self.listener.received(message)
        except RemoteProtocolError as error:
            self.listener.malformed(error)

    def _posted(self, pieces: _Pieces, data: bytes) -> None:
        try:
            if data[:1] == _WHOLE:
                self.listener.posted(data[1:])
            elif data[:1] == _PIECE_MARK:
                whole = pieces.add(data)
                if whole is not None:
                    self.listener.posted(whole)
            else:
                raise RemoteProtocolError(f"this is no post: {data[:40]!r}", rule=_RULE)
        except RemoteProtocolError as error:
            self.listener.malformed(error)

    # Sending

    def publish(self, message: Message, to: str | None = None) -> None:  # noqa: D102
        data = encode(message)
        again = sent_again if message.seq is not UNSET and message.again is UNSET else None
        if self._ledger is not None and is_kept(message):
            kept = Kept(f"{self.uid}-{self._sender.hex()}-{next(self._numbers)}")
            self.queue(Outgoing(self._ledger.subject(message.nsp), data, again, kept))
            return
        if to is not None and (is_response(message) or to.endswith(EMITTER)):  # guests hear nothing else
            where = self._subject("to", to)
        else:
            where = self._subject("ns", message.nsp)
        self.queue(Outgoing(where, data, again))

    def count(self, namespace: str, then: Callable[[int | None], None]) -> None:  # noqa: D102
        then(None)

    def post(self, node: str, data: bytes) -> None:  # noqa: D102
        if node == self.node:  # the server does not send us what we send
            asyncio.get_running_loop().call_soon(self.listener.posted, data)
            return
        self.queue(Outgoing(self._subject("node", node), data, None, _WHOLE))

    async def send(self, batch: list[Outgoing]) -> None:  # noqa: D102
        await self._tune()  # what is said about a namespace is answered there
        while batch:
            count, size = 0, 0
            while count < len(batch) and (not count or size + len(batch[count].data) <= _SENT_BYTES):
                size += len(batch[count].data)
                count += 1
            await self._send(batch[:count])
            del batch[:count]

    async def _send(self, part: list[Outgoing]) -> None:
        client = self.client
        if client is None:
            raise ConnectionError("NATS has ended the connection")
        room = client.max_payload - _OVERHEAD_BYTES
        ledger = self._ledger
        answered = True
        for one in part:
            if ledger is not None and isinstance(one.then, Kept):
                await ledger.send(client, one, room)
                answered = True
                continue
            answered = False
            data = one.data
            if len(data) < room:
                await client.publish(one.where, data if one.then is None else one.then + data)
                continue
            number = next(self._numbers) & 0xFFFFFFFF
            pieces = [data[start : start + room] for start in range(0, len(data), room)]
            for index, piece in enumerate(pieces):
                head = _PIECE.pack(_PIECE_MARK, self._sender, number, index, len(pieces))
                await client.publish(one.where, head + piece)
        if not answered:
            await self.flush(_SEND_SECONDS)
            await self.flush(_SEND_SECONDS)
        if ledger is not None:
            await ledger.acknowledged()

    # What is kept

    @property
    def ledger(self) -> Ledger | None:  # noqa: D102
        return self._ledger

    @property
    def forgets(self) -> bool:  # noqa: D102
        return self._ledger is None

    def dropped(self, outgoing: Outgoing) -> None:  # noqa: D102
        if isinstance(outgoing.then, Kept) and self._ledger is not None:
            self._ledger.dropped(outgoing)


BUS = NatsBus
