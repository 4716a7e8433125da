"""What stands between the workers of one machine: it passes on what each says, and looks at no message's content.

Workers connect to a Unix socket. Whatever they say are frames: a head of fixed size that says to whom, and content that
is passed on as the same bytes. It runs in the process that has started the workers, `madang serve --workers`, and is
the one to know who is there: a connection that ends is a worker that is gone.

    Broker    the socket, and all who are connected
     └ Group    the servers that act as one: those with the same prefix; several may be in one application
        └ Keeper   the broadcasts in their order, and the clients that were lost, where that is wanted
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import struct
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from madang.cork import Cork
from madang.errors import ConfigError, EncodeError, RemoteProtocolError

__all__ = [
    "AGAIN",
    "ANSWER",
    "BINARY",
    "FOUND",
    "GONE",
    "HEAD",
    "HELLO",
    "KEEP",
    "LOST",
    "MAX_FRAME_BYTES",
    "MESSAGE",
    "OPEN",
    "POST",
    "SAVE",
    "SHUT",
    "SINCE",
    "TAKE",
    "WELCOME",
    "Broker",
    "Cutter",
    "Hello",
    "Keeper",
    "Keeping",
    "Welcome",
    "frame",
    "parts",
    "socket_path",
]

#: The name of the socket in its directory.
SOCKET: Final = "bus"
#: So long a path of a socket may be (unix(7), `sun_path`, less the end).
_LONGEST_PATH: Final = 107

# The head of a frame: its length with the head, its kind, flags, the lengths of two names, and a number.
HEAD: Final = struct.Struct("<IBBHHQ")
_LENGTH: Final = struct.Struct("<I")
_NUMBERED: Final = struct.Struct("<Q")
_NUMBER_AT: Final = HEAD.size - _NUMBERED.size
#: How long a frame may be.
MAX_FRAME_BYTES: Final = 256_000_000

# Kinds, with what the two names and the number are.
HELLO: Final = 1  # a `Hello`
WELCOME: Final = 2  # a `Welcome`
OPEN: Final = 3  # a namespace; from the broker: of this uid
SHUT: Final = 4
GONE: Final = 5  # -, a uid
MESSAGE: Final = 6  # a namespace, the uid of whom it is for or nothing; its number in the ledger
POST: Final = 7  # a node
LOST: Final = 8  # -, -, how many messages were thrown away
SINCE: Final = 9  # a namespace, a number in the ledger in digits and how many at most; the number of the request
SAVE: Final = 10  # a secret id, -, milliseconds
TAKE: Final = 11  # a secret id, -, the number of the request
ANSWER: Final = 12  # -, -, the number of the request

# Flags
BINARY: Final = 1  # a message is MessagePack, not JSON
KEEP: Final = 2  # a message is to be kept in the ledger
AGAIN: Final = 4  # a message may have been sent before
FOUND: Final = 1  # an answer tells something

#: How much may wait for a worker that doesn't read.
MAX_BUFFERED_BYTES: Final = 64_000_000
#: How often what is too old is looked for (seconds).
_SWEEP_SECONDS: Final = 5.0


class Keeping(msgspec.Struct, frozen=True):
    """How much of what was said is kept.

    Attributes:
        events: how many broadcasts at most.
        bytes: how many bytes they may have together; as many again are kept of clients that were lost.
        seconds: for how long.
    """

    events: int = 100_000
    bytes: int = 64_000_000
    seconds: float = 300.0


class Hello(msgspec.Struct):
    """What a worker begins with.

    Attributes:
        uid: who it is.
        node: where it gets what is posted.
        group: with whom it acts as one.
        namespaces: what it wants to hear.
        keeping: what is to be kept; None: nothing.
    """

    uid: str
    node: str
    group: str
    namespaces: list[str]
    keeping: Keeping | None = None


class Welcome(msgspec.Struct):
    """What the broker answers.

    Attributes:
        epoch: what all offsets of this life of the broker begin with.
        members: who else is there, and what they hear.
        last: the number of the newest broadcast.
    """

    epoch: str
    members: dict[str, list[str]]
    last: int = 0


def frame(
    kind: int, first: bytes = b"", second: bytes = b"", content: bytes = b"", number: int = 0, flags: int = 0
) -> bytes:
    """Write a frame.

    Args:
        kind: what it is.
        first: the first of its two names.
        second: the other one.
        content: what is passed on.
        number: what the kind wants.
        flags: as well.

    Raises:
        EncodeError: a name is longer than 65,535 bytes, or all of it than `MAX_FRAME_BYTES`.
    """
    length = HEAD.size + len(first) + len(second) + len(content)
    if length > MAX_FRAME_BYTES:
        raise EncodeError(f"a message of {length} bytes is too large for other workers; at most {MAX_FRAME_BYTES} go")
    try:
        head = HEAD.pack(length, kind, flags, len(first), len(second), number)
    except struct.error:
        raise EncodeError(
            f"the name of a namespace has {len(first)} bytes; at most 65535 go to other workers"
        ) from None
    return b"".join((head, first, second, content))


def parts(data: bytes) -> tuple[int, int, bytes, bytes, bytes, int]:
    """Read a whole frame: its kind, flags, both names, content and number.

    Raises:
        RemoteProtocolError: its names are longer than it is.
    """
    length, kind, flags, first, second, number = HEAD.unpack_from(data)
    middle = HEAD.size + first
    end = middle + second
    if end > length:
        raise RemoteProtocolError("the names of a frame are longer than it is", rule="frames between workers")
    return kind, flags, data[HEAD.size : middle], data[middle:end], data[end:], number


class Cutter:
    """Cuts what comes into frames."""

    __slots__ = ("_chunks", "_need", "_size")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._need = 0

    def cut(self, data: bytes) -> list[bytes]:
        """Take bytes, and give the frames that are whole now.

        Raises:
            RemoteProtocolError: this is no frame, or one that is too long.

        Example:
            >>> Cutter().cut(frame(GONE, second=b"one"))[0][-3:]
            b'one'
        """
        if self._chunks:
            self._chunks.append(data)
            self._size += len(data)
            if self._size < self._need:
                return []
            data = b"".join(self._chunks)
            self._chunks = []
        frames: list[bytes] = []
        start, end = 0, len(data)
        need = HEAD.size
        while end - start >= HEAD.size:
            (length,) = _LENGTH.unpack_from(data, start)
            if not HEAD.size <= length <= MAX_FRAME_BYTES:
                raise RemoteProtocolError(f"a frame of {length} bytes", rule="frames between workers")
            stop = start + length
            if stop > end:
                need = length
                break
            frames.append(data[start:stop])
            start = stop
        if start < end:
            self._chunks = [data[start:]]
            self._size = end - start
            self._need = need
        return frames


class Keeper:
    """The broadcasts of a group in their order, and its clients that were lost. Nothing of it outlives the broker.

    Args:
        clock: seconds of a clock that never goes back.

    Attributes:
        limits: how much is kept.
        last: the number of the newest broadcast.
        bytes: how many all that are kept have together.
    """

    __slots__ = ("_clock", "_entries", "_record_bytes", "_records", "bytes", "last", "limits")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.limits = Keeping(0, 0, 0)
        self.last = 0
        self.bytes = 0
        self._clock = clock
        self._entries: deque[tuple[bytes, bytes, float]] = deque()
        self._records: dict[bytes, tuple[float, bytes]] = {}
        self._record_bytes = 0

    def widen(self, wanted: Keeping) -> None:
        """Keep at least so much from now on."""
        limits = self.limits
        self.limits = Keeping(
            max(limits.events, wanted.events), max(limits.bytes, wanted.bytes), max(limits.seconds, wanted.seconds)
        )

    def keep(self, namespace: bytes, data: bytes) -> bytes:
        """Give a message its number, and keep it; returns the frame with the number in it."""
        self.last += 1
        data = b"".join((data[:_NUMBER_AT], _NUMBERED.pack(self.last), data[HEAD.size :]))
        self._entries.append((data, namespace, self._clock()))
        self.bytes += len(data)
        limits = self.limits
        while self.bytes > limits.bytes or len(self._entries) > limits.events:
            self._drop()
        return data

    def _drop(self) -> None:
        data, _, _ = self._entries.popleft()
        self.bytes -= len(data)

    def since(self, number: int, namespace: bytes, most: int) -> list[bytes] | None:
        """The frames of a namespace after a number; None: they are not kept any more, or there are too many."""
        count = self.last - number
        if not 0 <= count <= min(most, len(self._entries)):
            return None
        found = [data for data, its, _ in islice(reversed(self._entries), count) if its == namespace]
        found.reverse()
        return found

    def save(self, pid: bytes, record: bytes, seconds: float) -> None:
        """Keep what is known of a client."""
        records = self._records
        self.take(pid)
        if not record:
            return  # it is not to be found any more
        records[pid] = (self._clock() + seconds, record)
        self._record_bytes += len(pid) + len(record)
        while self._record_bytes > self.limits.bytes and len(records) > 1:
            self.take(next(iter(records)))

    def take(self, pid: bytes) -> bytes | None:
        """Give it back, once."""
        found = self._records.pop(pid, None)
        if found is None:
            return None
        until, record = found
        self._record_bytes -= len(pid) + len(record)
        return record if until > self._clock() else None

    def sweep(self) -> None:
        """Throw away what is too old."""
        now = self._clock()
        entries, records = self._entries, self._records
        while entries and entries[0][2] < now - self.limits.seconds:
            self._drop()
        # They mostly are saved for the same time: then the first ones end first.
        while records and records[pid := next(iter(records))][0] <= now:
            self.take(pid)


class Group:
    """Servers that act as one.

    Args:
        clock: seconds of a clock that never goes back.

    Attributes:
        members: who is connected, by uid.
        nodes: the same, by node.
        hearers: who hears a namespace.
        keeper: what was said, and who was lost.
    """

    __slots__ = ("hearers", "keeper", "members", "nodes")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.members: dict[bytes, Peer] = {}
        self.nodes: dict[bytes, Peer] = {}
        self.hearers: dict[bytes, dict[Peer, None]] = {}
        self.keeper = Keeper(clock)

    def enter(self, peer: Peer, hello: Hello) -> None:
        """A worker has said who it is."""
        before = self.members.get(peer.uid)
        if before is not None:  # its old connection has ended, and that was not heard of yet
            self.leave(before)
            before.cut()
        self.members[peer.uid] = peer
        self.nodes[peer.node] = peer
        if hello.keeping is not None:
            self.keeper.widen(hello.keeping)
        for namespace in hello.namespaces:
            self.open(peer, namespace.encode())

    def leave(self, peer: Peer) -> None:
        """Its connection has ended: all others are told at once."""
        if self.members.get(peer.uid) is not peer:
            return
        del self.members[peer.uid]
        if self.nodes.get(peer.node) is peer:
            del self.nodes[peer.node]
        for namespace in peer.namespaces:
            self._unhear(peer, namespace)
        self.tell(frame(GONE, second=peer.uid))

    def _unhear(self, peer: Peer, namespace: bytes) -> None:
        hearers = self.hearers[namespace]
        del hearers[peer]
        if not hearers:
            del self.hearers[namespace]

    def open(self, peer: Peer, namespace: bytes) -> None:
        """A worker wants to hear a namespace."""
        if namespace not in peer.namespaces:
            peer.namespaces.add(namespace)
            self.hearers.setdefault(namespace, {})[peer] = None
            self.tell(frame(OPEN, namespace, peer.uid), peer)

    def shut(self, peer: Peer, namespace: bytes) -> None:
        """A worker wants to hear it no more."""
        if namespace in peer.namespaces:
            peer.namespaces.discard(namespace)
            self._unhear(peer, namespace)
            self.tell(frame(SHUT, namespace, peer.uid), peer)

    def tell(self, data: bytes, but: Peer | None = None) -> None:
        """Tell all others of a change, even those that read too slowly."""
        for peer in self.members.values():
            if peer is not but:
                peer.tell(data)


class Peer(asyncio.Protocol):
    """One connection of a worker.

    Attributes:
        uid: who it is; empty until it has said so.
        node: where it gets what is posted.
        namespaces: what it hears.
        missed: how many messages were thrown away because it reads too slowly, of which it doesn't know yet.
    """

    def __init__(self, broker: Broker) -> None:
        self.uid = b""
        self.node = b""
        self.namespaces: set[bytes] = set()
        self.missed = 0
        self._broker = broker
        self._group: Group | None = None
        self._cutter = Cutter()
        self._transport: Any = None
        self._out: list[bytes] = []
        self._full = False
        self._kinds = {OPEN: self._open, SHUT: self._shut, SINCE: self._since, SAVE: self._save, TAKE: self._take}

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A worker has connected."""
        self._transport = transport
        bound = self._broker.max_buffered_bytes
        self._transport.set_write_buffer_limits(high=bound, low=bound // 2)
        self._broker.peers.add(self)

    def data_received(self, data: bytes) -> None:
        """Frames came, or parts of them."""
        try:
            for one in self._cutter.cut(data):
                self._handle(one)
        except (RemoteProtocolError, msgspec.MsgspecError, ValueError) as error:
            self._broker.on_error(error)
            self.cut()

    def connection_lost(self, error: Exception | None) -> None:
        """The worker is gone."""
        self._broker.peers.discard(self)
        self._transport = None
        self._out.clear()
        if self._group is not None:
            self._group.leave(self)

    def pause_writing(self) -> None:
        """It doesn't read: nobody waits for it."""
        self._full = True

    def resume_writing(self) -> None:
        """It has read half of what waited for it."""
        self._full = False
        missed, self.missed = self.missed, 0
        if missed:
            self.tell(frame(LOST, number=missed))

    # What it gets

    def push(self, data: bytes) -> None:
        """Send it a message, unless too much waits for it."""
        if self._full:
            self.missed += 1
        else:
            self.tell(data)

    def tell(self, data: bytes) -> None:
        """Send it a frame."""
        out = self._out
        if not out:
            self._broker.cork.add(self)
        out.append(data)

    def uncork(self) -> None:
        """Write what was pushed in this turn."""
        out, transport = self._out, self._transport
        if transport is not None and out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            transport.write(data)

    def cut(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    # What it says

    def _handle(self, data: bytes) -> None:
        group = self._group
        if group is None:
            self._hello(data)
            return
        # The two that are many are taken apart no further than they have to be.
        _, kind, flags, first, second, _ = HEAD.unpack_from(data)
        end = HEAD.size + first
        name = data[HEAD.size : end]
        if kind == MESSAGE:
            if flags & KEEP:
                data = group.keeper.keep(name, data)
                for peer in group.hearers.get(name, ()):
                    peer.push(data)
            elif second:
                target = group.members.get(data[end : end + second])
                if target is not None and target is not self:
                    target.push(data)
            else:
                for peer in group.hearers.get(name, ()):
                    if peer is not self:
                        peer.push(data)
        elif kind == POST:
            target = group.nodes.get(name)
            if target is not None:
                target.push(data)
        else:
            handle = self._kinds.get(kind)
            if handle is None:
                raise RemoteProtocolError(f"a frame of kind {kind}", rule="frames between workers")
            handle(group, *parts(data)[1:])

    def _hello(self, data: bytes) -> None:
        kind, _, _, _, content, _ = parts(data)
        if kind != HELLO:
            raise RemoteProtocolError("the first frame doesn't say who comes", rule="frames between workers")
        hello = msgspec.json.decode(content, type=Hello)
        self.uid, self.node = hello.uid.encode(), hello.node.encode()
        group = self._group = self._broker.group(hello.group)
        group.enter(self, hello)
        members = {
            peer.uid.decode(): [one.decode() for one in peer.namespaces]
            for peer in group.members.values()
            if peer is not self
        }
        self.tell(frame(WELCOME, content=msgspec.json.encode(Welcome(self._broker.epoch, members, group.keeper.last))))

    def _open(self, group: Group, flags: int, namespace: bytes, second: bytes, content: bytes, number: int) -> None:
        group.open(self, namespace)

    def _shut(self, group: Group, flags: int, namespace: bytes, second: bytes, content: bytes, number: int) -> None:
        group.shut(self, namespace)

    def _since(self, group: Group, flags: int, namespace: bytes, second: bytes, content: bytes, number: int) -> None:
        after, most = map(int, content.split(b","))
        self._answer(number, group.keeper.since(after, namespace, most))

    def _save(self, group: Group, flags: int, pid: bytes, second: bytes, content: bytes, number: int) -> None:
        group.keeper.save(pid, content, number / 1000)

    def _take(self, group: Group, flags: int, pid: bytes, second: bytes, content: bytes, number: int) -> None:
        record = group.keeper.take(pid)
        self._answer(number, None if record is None else (record,))

    def _answer(self, number: int, found: Iterable[bytes] | None) -> None:
        if found is None:
            self.tell(frame(ANSWER, number=number))
        else:
            self.tell(frame(ANSWER, content=b"".join(found), number=number, flags=FOUND))


class Broker:
    """Passes on what the workers of one machine say.

    Args:
        directory: where its socket is. Who may write there, may join.
        max_buffered_bytes: how much may wait for a worker that doesn't read. What is more is thrown away, and it is
            told so when it reads again; the others never wait for it.

    Attributes:
        epoch: what all offsets of this life begin with.
        peers: all connections.
        cork: joins what is written in one turn of the event loop.
        on_error: slot: is told of what a worker says that makes no sense; its connection ends then.

    Raises:
        ConfigError: the path is too long for a socket.

    Example:
        ```python
        async with Broker("/run/courtyard"):
            ...  # workers connect by Server(cluster="local:///run/courtyard")
        ```
    """

    def __init__(self, directory: str | os.PathLike[str], *, max_buffered_bytes: int = MAX_BUFFERED_BYTES) -> None:
        self.path = socket_path(os.fspath(directory))
        self.max_buffered_bytes = max_buffered_bytes
        self.epoch = secrets.token_hex(4)
        self.peers: set[Peer] = set()
        self.cork: Cork[Peer]
        self.on_error: Callable[[Exception], None] = lambda error: None
        self._groups: dict[str, Group] = {}
        self._server: asyncio.AbstractServer | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    def group(self, name: str) -> Group:
        """The group of this name."""
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(asyncio.get_running_loop().time)
        return group

    async def start(self) -> None:
        """Listen. A socket that an earlier life has left there is replaced.

        Raises:
            OSError: it can't.
        """
        loop = asyncio.get_running_loop()
        self.cork = Cork(loop.call_soon)
        self._remove()
        self._server = await loop.create_unix_server(lambda: Peer(self), self.path, backlog=1024)
        self._sweep()

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            Path(self.path).unlink()

    def _sweep(self) -> None:
        for group in self._groups.values():
            group.keeper.sweep()
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    async def close(self) -> None:
        """End all connections, and listen no more."""
        server, self._server = self._server, None
        if server is None:
            return
        if self._sweeper is not None:
            self._sweeper.cancel()
        server.close()
        for peer in list(self.peers):
            peer.cut()
        self._remove()
        await server.wait_closed()

    async def __aenter__(self) -> Broker:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def socket_path(directory: str) -> str:
    """Where the socket is.

    Raises:
        ConfigError: the path is too long for a socket.
    """
    path = os.path.join(directory, SOCKET)
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(f"cluster: the path {path!r} is too long for a socket: {_LONGEST_PATH} bytes are allowed")
    return path
