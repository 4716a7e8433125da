"""The emitter for threads and scripts: an `Emitter` in an event loop of its own thread, made when it is first needed.

What is said is checked and encoded in the thread that says it, and put into one queue, in order. What is asked is
waited for. In a process that was forked everything begins anew, so that an emitter may be a global of a module.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

from madang.client.blocking import Portal
from madang.cluster.guest import Guest
from madang.cluster.messages import Message
from madang.cluster.peers import Health
from madang.config import Cluster
from madang.core.checks import check_event, check_rooms
from madang.core.crowd import RemoteHandshake, RemoteSocket
from madang.core.relay import check_server_side
from madang.core.target import Target
from madang.emitter import Emitter, EmitterNamespace
from madang.errors import NotSent, WrongThreadError
from madang.threadsafe import Mailbox

__all__ = ["BlockingEmitter", "BlockingEmitterNamespace", "BlockingEmitterTarget", "BlockingRemoteSocket"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
T = TypeVar("T")

logger = logging.getLogger("madang.emitter")

#: How many messages may wait for the engine before whoever emits has to wait too; and from how many bytes on one is
#: large, and handed over before the next one is taken.
_MOST_WAITING: Final = 1000
_LARGE_BYTES: Final = 16_384


class BlockingEmitterTarget:
    """Whom to talk to, and how: what `emitter.to(...)` gives. Any thread may use it. See `Target`."""

    __slots__ = ("_chosen", "_emitter")

    def __init__(self, emitter: BlockingEmitter, chosen: Target) -> None:
        self._emitter = emitter
        self._chosen = chosen

    def _at(self, chosen: Target) -> BlockingEmitterTarget:
        return BlockingEmitterTarget(self._emitter, chosen)

    def to(self, *rooms: str) -> BlockingEmitterTarget:
        """Everyone in at least one of the rooms (a client's id is a room too).

        Raises:
            LocalProtocolError: there is no room, or its name is no string.
        """
        return self._at(self._chosen.to(*rooms))

    def in_(self, *rooms: str) -> BlockingEmitterTarget:
        """The same as `to`."""
        return self._at(self._chosen.to(*rooms))

    def except_(self, *rooms: str) -> BlockingEmitterTarget:
        """Leave out who is in one of these rooms."""
        return self._at(self._chosen.except_(*rooms))

    @property
    def volatile(self) -> BlockingEmitterTarget:
        """Drop the packet for clients that can't take it at once."""
        return self._at(self._chosen.volatile)

    def compress(self, value: bool) -> BlockingEmitterTarget:
        """Whether compression is tried, where it is switched on."""
        return self._at(self._chosen.compress(value))

    def timeout(self, seconds: float) -> BlockingEmitterTarget:
        """How long `call` waits, in seconds."""
        return self._at(self._chosen.timeout(seconds))

    def emit(self, event: str, *args: Any) -> None:
        """Send an event, whatever server its clients are at. Returns as soon as it is queued for the engine.

        Without a connection one is made first, and waited for; so it is while very much waits for the engine.

        Args:
            event: its name.
            args: its arguments: JSON, with bytes anywhere in them. What is changed later is not sent.

        Raises:
            EncodeError: an argument can't be sent.
            LocalProtocolError: the name is reserved.
            ConnectError: the engine can't be reached within `connect_timeout`. The event is not queued.
            NotSent: too much waits for the engine, which doesn't take it. The event is not queued.
        """
        check_event(event)
        self._emitter._tell(*Guest.event(self._chosen, [event, *args]))

    def send(self, *args: Any) -> None:
        """Send the event "message"."""
        self.emit("message", *args)

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Any:
        """Send an event, and wait for the acknowledgements.

        Args:
            event: its name.
            args: its arguments.
            timeout: how long to wait, in seconds; without it `timeout(...)` or `ack_timeout`.
            returns: the type that each answer must have.

        Returns:
            A list of the answers.

        Raises:
            AckTimeout: not all have answered; `received` has the answers that came.
            InvalidAnswer: an answer is not what `returns` says.
            ConnectError: the engine can't be reached.
            WrongThreadError: called in a function of `on`.

        Example:
            ```python
            votes = emitter.to("jury").call("vote", timeout=10)
            ```
        """
        return self._emitter._ask(lambda: self._chosen.call(event, *args, timeout=timeout, returns=returns))

    def fetch_sockets(self) -> list[BlockingRemoteSocket]:
        """The clients themselves: their ids, rooms and data.

        Raises:
            ClusterError: not all servers have answered in time; `received` has the clients that are known.
            ConnectError: the engine can't be reached.
        """
        found: list[RemoteSocket] = self._emitter._ask(self._chosen.fetch_sockets)
        return [BlockingRemoteSocket(self._emitter, self._chosen._namespace.name, one) for one in found]

    def sockets_join(self, *rooms: str) -> None:
        """Make all of them enter rooms."""
        check_rooms(rooms)
        self._emitter._do(Guest.join, self._chosen, rooms)

    def sockets_leave(self, *rooms: str) -> None:
        """Make all of them leave rooms."""
        check_rooms(rooms)
        self._emitter._do(Guest.leave, self._chosen, rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Make all of them leave the namespace, or end their connections."""
        self._emitter._do(Guest.disconnect, self._chosen, close)


class BlockingRemoteSocket:
    """A client of a server, as it was when it was fetched.

    Attributes:
        id: its id; a room of this name reaches it.
        handshake: how it came.
        rooms: the rooms that it was in.
        data: a copy of what its server keeps with it.
    """

    __slots__ = ("_target", "data", "handshake", "id", "rooms")

    def __init__(self, emitter: BlockingEmitter, namespace: str, found: RemoteSocket) -> None:
        self._target = emitter.of(namespace).to(found.id)
        self._target._chosen._single = True
        self.id = found.id
        self.handshake: RemoteHandshake = found.handshake
        self.rooms = found.rooms
        self.data = found.data

    def emit(self, event: str, *args: Any) -> None:
        """Send it an event."""
        self._target.emit(event, *args)

    def send(self, *args: Any) -> None:
        """Send it the event "message"."""
        self._target.send(*args)

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Any:
        """Send it an event, and wait for its answer."""
        return self._target.call(event, *args, timeout=timeout, returns=returns)

    def join(self, *rooms: str) -> None:
        """Make it enter rooms."""
        self._target.sockets_join(*rooms)

    def leave(self, *rooms: str) -> None:
        """Make it leave rooms."""
        self._target.sockets_leave(*rooms)

    def disconnect(self, close: bool = False) -> None:
        """Make it leave the namespace, or end its connection."""
        self._target.disconnect_sockets(close)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id})"


class BlockingEmitterNamespace(BlockingEmitterTarget):
    """A namespace, as a `BlockingEmitter` sees it: `emitter.of("/chat")`."""

    __slots__ = ("_place",)

    def __init__(self, emitter: BlockingEmitter, place: EmitterNamespace) -> None:
        super().__init__(emitter, place._target())
        self._place = place

    @property
    def name(self) -> str:
        """The namespace."""
        return self._place.name

    def server_side_emit(self, event: str, *args: Any) -> None:
        """Say an event to all servers. See `Namespace.server_side_event`; for what it raises, `emit`."""
        check_server_side(event)
        self._emitter._tell(*Guest.server_event(self.name, [event, *args]))

    def server_side_call(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Ask all servers, and wait for the list of their answers.

        Raises:
            AckTimeout: not all have answered; `received` has the answers that came.
            ConnectError: the engine can't be reached.
        """
        answers: list[Any] = self._emitter._ask(lambda: self._place.server_side_call(event, *args, timeout=timeout))
        return answers


class BlockingEmitter(BlockingEmitterNamespace):
    """Publishes into a cluster from any process, without being a server: for Django, Celery, scripts, cron.

    Any thread may use it. It connects when it is first used, in each process anew, so that it may be a global of a
    module that is imported before processes are forked. At the end of a process what waits is sent.

    Args:
        cluster: the engine, as the setting `cluster` of the servers: a URL or a `Cluster`. `prefix` has to be theirs.
        connect_timeout: how many seconds whoever emits waits for the engine, if it can't be reached.
        ack_timeout: how many seconds `call` and `server_side_call` wait when they aren't told.

    Raises:
        ConfigError: the URL makes no sense, or what it needs is not installed.

    Example:
        ```python
        emitter = BlockingEmitter("redis://localhost:6379")


        @shared_task
        def render(report: int) -> None:
            emitter.to(f"report-{report}").emit("progress", 0)
        ```
    """

    __slots__ = ("__weakref__", "_async", "_lock", "_mailbox", "_portal")

    def __init__(self, cluster: Cluster | str, *, connect_timeout: float = 5.0, ack_timeout: float = 30.0) -> None:
        self._async = Emitter(cluster, connect_timeout=connect_timeout, ack_timeout=ack_timeout)
        self._begin()
        super().__init__(self, self._async)
        _emitters.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._portal = Portal("madang-emitter")
        self._mailbox = Mailbox(1_000_000)

    def _begin_anew(self) -> None:
        """Begin anew in a process that was forked from the one to which the connection belongs."""
        _left.append((self._portal, self._mailbox, self._async._abandon()))
        self._begin()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'connected' if self.connected else 'not connected'}>"

    def __del__(self) -> None:
        portal = getattr(self, "_portal", None)
        if portal is not None and portal.loop is not None:
            portal.leave(partial(_close_forgotten, self._async))

    def of(self, name: str) -> BlockingEmitterNamespace:
        """Another namespace, by its name, as "/chat".

        Raises:
            LocalProtocolError: it is no name, but a pattern of names.
        """
        with self._lock:
            return BlockingEmitterNamespace(self, self._async.of(name))

    # What happens to it

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, function: AnyFunction) -> AnyFunction: ...
    def on(self, event: str, function: Any = None) -> Any:
        """Hear of what happens to the connection, in the emitter's own thread. See `Emitter.on`."""
        return self._async.on(event) if function is None else self._async.on(event, function)

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Remove a function of `on`, or all of an event."""
        self._async.off(event, function)

    @property
    def connected(self) -> bool:
        """Whether the engine can be reached now."""
        return self._async.connected

    @property
    def health(self) -> Health | None:
        """How it is now; None while it has never been connected."""
        return self._async.health

    # Talking

    def _tell(self, message: Message, size: int) -> None:
        self._do(Guest.tell, message)
        if size >= _LARGE_BYTES and not self._portal.inside:
            self._mailbox.ask(_nothing).result()  # now it counts among what waits

    def _do(self, function: Callable[..., object], *args: Any) -> None:
        """Let the emitter's thread call a function of the connection."""
        guest = self._reach()
        if self._portal.inside:
            function(guest, *args)
            return
        while not self._mailbox.put(self._make, guest, function, args):
            guest = self._connect()  # it was closed meanwhile

    def _make(self, guest: Guest, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self._async._guest is guest:
            function(guest, *args)
        else:
            logger.error("something was said while another thread closed the emitter, and is lost")

    def _ask(self, make: Callable[[], Awaitable[T]]) -> T:
        self._reach()
        return self._mailbox.ask(make).result()

    def _reach(self) -> Guest:
        """The connection; made if there is none, and waited for if it can't take more."""
        guest = self._async._guest
        if guest is None or not guest.connected:
            guest = self._connect()
        settings = guest.settings
        messages, size = guest.bus.buffered
        if (
            messages + len(self._mailbox) >= min(_MOST_WAITING, settings.max_buffered_messages // 2)
            or size > settings.max_buffered_bytes // 2
        ) and not self._portal.inside:
            self.drain(self._async._connect_timeout)
        return guest

    def _connect(self) -> Guest:
        self._stand_outside()
        with self._lock:
            self._portal.start()
            loop = self._portal.loop
            assert loop is not None  # it runs now  # noqa: S101
            self._mailbox.open(loop)
            _close_at_exit()
        self._portal.wait(self._async.connect)
        guest = self._async._guest
        assert guest is not None  # it is connected  # noqa: S101
        return guest

    def _stand_outside(self) -> None:
        if self._portal.inside:
            raise WrongThreadError(
                "a function of `on` runs in the emitter's own thread, which would wait for itself here; there, emit "
                "while the engine is reached"
            )

    # Its life

    def connect(self) -> None:
        """Connect now, or wait until the engine is reached again. `with` does it; else the first `emit` does.

        Raises:
            ConnectError: it can't be reached within `connect_timeout`.
            ConfigError: it never can, as with a wrong password.
            WrongThreadError: called in a function of `on`.
        """
        self._connect()

    def drain(self, timeout: float | None = None) -> None:
        """Wait until the engine has taken all that was said.

        Args:
            timeout: how many seconds; None: for as long as it takes.

        Raises:
            NotSent: it hasn't by then, or something was thrown away since the last time.
            WrongThreadError: called in a function of `on`.
        """
        if self._portal.loop is not None:
            self._mailbox.ask(lambda: self._async.drain(timeout)).result()

    def close(self, timeout: float = 5.0) -> None:
        """Send what waits, disconnect, end the thread. Who uses it once more connects again.

        Args:
            timeout: how many seconds sending may take.

        Raises:
            NotSent: not all was sent by then. What was not is lost.
            WrongThreadError: called in a function of `on`.
        """
        self._stand_outside()
        with self._lock:
            if self._portal.loop is None:
                return
            answer = self._mailbox.ask(lambda: self._async.close(timeout))
        try:
            answer.result()
        finally:
            self._mailbox.close()
            self._portal.stop()

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.close(0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except NotSent as unsent:
            if error is None:
                raise
            logger.error("%s", unsent)  # the other error is the one to tell


_emitters: weakref.WeakSet[BlockingEmitter] = weakref.WeakSet()
#: What belongs to the process that this one was forked from: if it ended, it would touch the other's connections.
_left: list[object] = []


#: The processes that are known to close all at their end.
_known: set[int] = set()


async def _nothing() -> None:
    """All that was asked for before is done."""


async def _close_forgotten(emitter: Emitter) -> None:
    try:
        await emitter.close()
    except NotSent as unsent:
        logger.error("of an emitter that was not closed, %s", unsent)


def _close_all() -> None:
    for emitter in list(_emitters):
        try:
            emitter.close()
        except NotSent as unsent:
            logger.error("at the end of the process, %s", unsent)


def _close_at_exit() -> None:
    """Let what waits be sent when this process ends: those that such a module has started leave without `atexit`."""
    pid = os.getpid()
    if pid not in _known:
        _known.add(pid)
        for name in ("multiprocessing.util", "billiard.util"):
            module = sys.modules.get(name)
            if module is not None:
                module.Finalize(None, _close_all, exitpriority=0)


def _forked() -> None:
    for emitter in list(_emitters):
        emitter._begin_anew()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
