"""The server for other threads: of a WSGI application, of a pool of workers, of a handler that blocks.

A call from a thread is checked and encoded there, so that a mistake is raised where it was made and what is sent is
what was given, whatever happens to it later. Then it is put into one queue, in order, and the event loop is woken once
for all that it finds there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from madang.core.checks import check_event, check_rooms
from madang.core.crowd import RemoteSocket
from madang.core.hub import Hub
from madang.core.namespace import Namespace
from madang.core.prepared import Prepared
from madang.core.socket import Handshake, Socket
from madang.core.target import Target
from madang.errors import LimitError, LocalProtocolError, WrongThreadError
from madang.packet import EVENT, Packet
from madang.tasks import start

__all__ = ["Answer", "Mailbox", "ThreadsafeServer", "ThreadsafeSocket", "ThreadsafeTarget"]

Value = TypeVar("Value")

logger = logging.getLogger("madang")

#: How many calls are made before the event loop gets its turn.
_CALLS_PER_TURN: Final = 512

_FORKED: Final = (
    "this process was forked from the one that the server runs in, and has no connection to it: its clients can't be "
    "reached from here. Let this process be a client of the server (docs/how-to/threads.md), or let it tell the "
    "server's process by other means"
)


class Mailbox:
    """What other threads want to be done in the event loop, in order.

    Args:
        limit: how many calls may wait.

    Attributes:
        tasks: what they wait for.
        spawned: those of them that are the program's own coroutines, which nobody but it can end.
    """

    __slots__ = ("_awake", "_calls", "_limit", "_loop", "_open", "_pid", "spawned", "tasks")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._awake = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False
        self._pid = 0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.spawned: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve this event loop from now on; called in it."""
        if loop is not self._loop:
            self._calls.clear()
            self._awake = False
            self.tasks = set()
            self.spawned = set()
        self._loop = loop
        self._pid = os.getpid()
        self._open = True

    def close(self) -> None:
        """Make the calls that wait, and take no more."""
        self._open = False
        while self._calls:
            self._drain()

    @property
    def is_here(self) -> bool:
        """Whether this is the event loop itself, where things can be done at once."""
        return self._loop is not None and asyncio._get_running_loop() is self._loop

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that the server runs in."""
        return self._pid != 0 and self._pid != os.getpid()

    def check(self) -> None:
        """Tell whether the event loop can be reached.

        Raises:
            WrongThreadError: it can't; the message says why.
        """
        if self._loop is None:
            raise WrongThreadError(
                "the server doesn't run in this process, or not yet: io.threadsafe works once it has started. In "
                "another process, be a client of the server (docs/how-to/threads.md)"
            )
        if self.forked:
            raise WrongThreadError(_FORKED)
        if not self._open:
            raise WrongThreadError("the server has stopped")
        if not self._loop.is_running():
            raise WrongThreadError("the server's event loop doesn't run any more")

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Let the event loop call a function. Returns at once.

        Raises:
            WrongThreadError: there is no event loop to do it.
            LimitError: too many calls wait.
        """
        self.check()
        if len(self._calls) >= self._limit:
            raise LimitError(
                f"{self._limit} calls wait for the event loop, as many as the setting max_threadsafe_calls allows; "
                "wait for them with io.threadsafe.flush()"
            )
        if not self.put(function, *args):
            raise WrongThreadError("the server's event loop is closed")

    def put(self, function: Callable[..., object], *args: Any) -> bool:
        """The same without limit and error; gives whether the event loop will call it."""
        self._calls.append((function, args))
        # The event loop says that it is awake no more before it looks for calls: none is left lying.
        if not self._awake:
            self._awake = True
            assert self._loop is not None  # nobody knows this mailbox before  # noqa: S101
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                self._awake = False
                return False
        return True

    def _drain(self) -> None:
        self._awake = False
        calls = self._calls
        for _ in range(min(len(calls), _CALLS_PER_TURN)):
            function, args = calls.popleft()
            try:
                function(*args)
            except Exception:
                # Whoever has asked is elsewhere by now.
                logger.exception("a call from another thread failed")
        if calls and not self._awake and self._loop is not None and not self._loop.is_closed():
            self._awake = True
            self._loop.call_soon(self._drain)

    def ask(self, make: Callable[[], Awaitable[Value]], spawned: bool = False) -> Answer[Value]:
        """Let the event loop await something, and give what comes of it.

        Args:
            make: makes it, in the event loop.
            spawned: whether it is a coroutine of the program.

        Raises:
            WrongThreadError: there is no event loop to do it.
            LimitError: too many calls wait.
        """
        answer: Answer[Value] = Answer(self)
        if self.is_here:
            self._fulfil(answer, make, spawned)
        else:
            self.post(self._fulfil, answer, make, spawned)
        return answer

    def _fulfil(self, answer: Answer[Any], make: Callable[[], Awaitable[Any]], spawned: bool) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        assert self._loop is not None  # noqa: S101
        task = start(_await(make), self._loop)
        for tasks in (self.tasks, self.spawned) if spawned else (self.tasks,):
            if not task.done():
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        task.add_done_callback(answer.copy)


async def _await(make: Callable[[], Awaitable[Value]]) -> Value:
    return await make()


class Answer(concurrent.futures.Future[Value]):
    """What will come from the event loop: a `concurrent.futures.Future`.

    Example:
        ```python
        answer = io.threadsafe.to("jury").call("vote", timeout=10)
        votes = answer.result()
        ```
    """

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox

    def result(self, timeout: float | None = None) -> Value:
        """Wait for it.

        Args:
            timeout: how long, in seconds.

        Raises:
            TimeoutError: it did not come in time.
            WrongThreadError: called in the event loop that it has to come from.
            AckTimeout: not all clients have answered.
            Disconnected: the one client is gone.
        """
        self._check()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for it, and give the exception, if it is one. Raises what `result` does about the waiting itself."""
        self._check()
        return super().exception(timeout)

    def _check(self) -> None:
        if not self.done() and self._mailbox.is_here:
            raise WrongThreadError(
                "waiting here would wait for ever: what should come has to come from this event loop. In it, await "
                "the server's own methods, as in `await io.call(...)`"
            )

    def copy(self, task: asyncio.Task[Value]) -> None:
        """Take what came of a task."""
        if task.cancelled():
            self.set_exception(concurrent.futures.CancelledError("the server has stopped meanwhile"))
        elif (error := task.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(task.result())


class _ThreadsafeSender:
    """What can be said, and to whom, from any thread."""

    __slots__ = ("_hub", "_mailbox")

    def __init__(self, hub: Hub, mailbox: Mailbox) -> None:
        self._hub = hub
        self._mailbox = mailbox

    def _target(self) -> Target:
        raise LocalProtocolError("this object has no target")

    def _at(self, target: Target) -> ThreadsafeTarget:
        return ThreadsafeTarget(self._hub, self._mailbox, target)

    def to(self, *rooms: str) -> ThreadsafeTarget:
        """See `Target.to`."""
        return self._at(self._target().to(*rooms))

    def in_(self, *rooms: str) -> ThreadsafeTarget:
        """See `Target.in_`."""
        return self._at(self._target().to(*rooms))

    def except_(self, *rooms: str) -> ThreadsafeTarget:
        """See `Target.except_`."""
        return self._at(self._target().except_(*rooms))

    @property
    def volatile(self) -> ThreadsafeTarget:
        """See `Target.volatile`."""
        return self._at(self._target().volatile)

    @property
    def local(self) -> ThreadsafeTarget:
        """See `Target.local`."""
        return self._at(self._target().local)

    def compress(self, value: bool) -> ThreadsafeTarget:
        """See `Target.compress`."""
        return self._at(self._target().compress(value))

    def timeout(self, seconds: float) -> ThreadsafeTarget:
        """See `Target.timeout`."""
        return self._at(self._target().timeout(seconds))

    def emit(self, event: str, *args: Any) -> None:
        """Send an event, from any thread. Returns at once; what one thread sends keeps its order.

        Args:
            event: its name.
            args: its arguments. They are encoded now: what is changed later is not sent.

        Raises:
            EncodeError: an argument can't be sent.
            LocalProtocolError: the name is reserved.
            LimitError: more than `max_threadsafe_calls` wait for the event loop.
            WrongThreadError: the server doesn't run, or not in this process.
        """
        target = self._target()
        if self._mailbox.is_here:
            target.emit(event, *args)
            return
        prepared = self._prepare(target, event, args)
        if self._hub.memory is None and target._namespace._children is None:
            self._mailbox.post(target._say, prepared.packet.data, None, prepared)
        else:
            # It is encoded anew with what is only known in the event loop: its offset, or the names of the children.
            self._mailbox.post(target._say, copy.deepcopy(prepared.packet.data), None)

    def send(self, *args: Any) -> None:
        """Send the event "message"."""
        self.emit("message", *args)

    def _prepare(self, target: Target, event: str, args: tuple[Any, ...]) -> Prepared:
        check_event(event)
        self._mailbox.check()
        prepared = Prepared(Packet(EVENT, [event, *args], target._namespace.name), target._compress)
        self._hub.engine.prepare(prepared)
        return prepared

    def call(self, event: str, *args: Any, timeout: float | None = None) -> Answer[Any]:
        """Send an event and ask for an acknowledgement, or one from each client of the target.

        Args:
            event: its name.
            args: its arguments.
            timeout: how long the clients have, in seconds; without it the setting `ack_timeout_seconds`.

        Returns:
            Its `.result(timeout)` waits, and gives or raises what `await io.call(...)` would.

        Raises:
            EncodeError: an argument can't be sent.
            LocalProtocolError: the name is reserved.
            WrongThreadError: the server doesn't run, or not in this process.

        Example:
            ```python
            votes = io.threadsafe.to("jury").call("vote", timeout=10).result()
            ```
        """
        target = self._target()
        if not self._mailbox.is_here:
            self._prepare(target, event, args)  # raises what is wrong with it
            args = copy.deepcopy(args)  # the number of the question isn't known before it is sent
        return self._mailbox.ask(lambda: target.call(event, *args, timeout=timeout))

    def _do(self, function: Callable[..., object], *args: Any) -> None:
        if self._mailbox.is_here:
            function(*args)
        else:
            self._mailbox.post(function, *args)


class _ThreadsafeCrowd(_ThreadsafeSender):
    """What can be asked of many clients, or done to them, from any thread."""

    __slots__ = ()

    def fetch_sockets(self) -> Answer[list[RemoteSocket]]:
        """The clients themselves. Their methods belong to the event loop; see `ThreadsafeServer.socket`.

        Example:
            ```python
            names = [socket.data.get("name") for socket in io.threadsafe.in_("lobby").fetch_sockets().result(5)]
            ```
        """
        return self._mailbox.ask(self._target().fetch_sockets)

    def sockets_join(self, *rooms: str) -> None:
        """Make all of them enter rooms. What fails is logged."""
        check_rooms(rooms)
        self._do(self._target().sockets_join, *rooms)

    def sockets_leave(self, *rooms: str) -> None:
        """Make all of them leave rooms."""
        check_rooms(rooms)
        self._do(self._target().sockets_leave, *rooms)

    def disconnect_sockets(self, close: bool = False) -> None:
        """Make all of them leave the namespace, or end their connections."""
        self._do(self._target().disconnect_sockets, close)


class ThreadsafeTarget(_ThreadsafeCrowd):
    """Whom to talk to, from any thread: what `io.threadsafe.to(...)` gives."""

    __slots__ = ("_chosen",)

    def __init__(self, hub: Hub, mailbox: Mailbox, target: Target) -> None:
        super().__init__(hub, mailbox)
        self._chosen = target

    def _target(self) -> Target:
        return self._chosen

    @property
    def broadcast(self) -> ThreadsafeTarget:
        """Everyone but the socket itself."""
        return self._at(self._chosen.broadcast)


class ThreadsafeServer(_ThreadsafeCrowd):
    """A server as other threads may use it: `io.threadsafe`.

    What sends returns at once. What answers gives an `Answer`, whose `.result(timeout)` waits.

    Example:
        ```python
        def measure() -> None:  # in a thread
            io.threadsafe.emit("measured", 42)
            io.threadsafe.to("kitchen").emit("measured", 42)
        ```
    """

    __slots__ = ()

    def _target(self) -> Target:
        return Target(self._hub.namespaces["/"])

    def of(self, name: str) -> ThreadsafeTarget:
        """A namespace, which the program has made before: `io.of(name)`.

        It may be a template as "/room-{id}", or a name that one stands for: then the event loop is asked, and waited
        for.

        Raises:
            LocalProtocolError: it hasn't.
            WrongThreadError: the server has to be asked, and doesn't run.
        """
        hub = self._hub
        full = name if name.startswith("/") else "/" + name
        parents = tuple(hub.parents)
        namespace = hub.namespaces.get(full) or next((one for one in parents if one.name == full), None)
        if namespace is None and any(one._stands_for(full) for one in parents):

            async def find() -> Namespace:
                return hub.of(full)  # there, because namespaces of patterns come and go

            namespace = hub.of(full) if self._mailbox.is_here else self._mailbox.ask(find).result()
        if namespace is None:
            raise LocalProtocolError(f"there is no namespace {name!r}; make it where the server is: io.of({name!r})")
        return self._at(Target(namespace))

    def socket(self, socket: Socket) -> ThreadsafeSocket:
        """A client as other threads may use it. Handlers with `thread=True` receive this."""
        return ThreadsafeSocket(self._hub, self._mailbox, socket)

    def run(self, coroutine: Coroutine[Any, Any, Value]) -> Answer[Value]:
        """Run a coroutine in the server's event loop.

        Example:
            ```python
            async def kick(name: str) -> int: ...

            count = io.threadsafe.run(kick("troll")).result(5)
            ```
        """
        try:
            answer = self._mailbox.ask(lambda: coroutine, spawned=True)
        except LocalProtocolError:
            coroutine.close()
            raise
        answer.add_done_callback(lambda answer: coroutine.close() if answer.cancelled() else None)  # before it began
        return answer

    def flush(self, timeout: float | None = None) -> None:
        """Wait until the event loop has done all that threads have asked for by now.

        Args:
            timeout: how long, in seconds.

        Raises:
            TimeoutError: it hasn't, by then.
            WrongThreadError: called in the event loop itself.
        """
        answer: Answer[None] = Answer(self._mailbox)
        answer._check()
        self._mailbox.check()
        if not self._mailbox.put(answer.set_result, None):
            raise WrongThreadError("the server's event loop is closed")
        answer.result(timeout)


class ThreadsafeSocket(_ThreadsafeSender):
    """A client as other threads may use it: what handlers with `thread=True` receive.

    Example:
        ```python
        @io.on("report", thread=True)
        def report(socket: ThreadsafeSocket, number: int) -> str:
            socket.emit("progress", 0)
            rows = slow_query(number)
            name = socket.call("who are you?").result(5)
            return f"{name}: {len(rows)} rows"
        ```
    """

    __slots__ = ("_socket",)

    def __init__(self, hub: Hub, mailbox: Mailbox, socket: Socket) -> None:
        super().__init__(hub, mailbox)
        self._socket = socket

    def _target(self) -> Target:
        return self._socket._target()

    @property
    def _owner(self) -> ThreadsafeServer:
        return ThreadsafeServer(self._hub, self._mailbox)

    @property
    def _itself(self) -> Socket:
        return self._socket

    @property
    def id(self) -> str:
        """Its id; a room of this name reaches it."""
        return self._socket.id

    @property
    def namespace(self) -> ThreadsafeTarget:
        """Everyone in its namespace."""
        return self._at(Target(self._socket.namespace))

    @property
    def broadcast(self) -> ThreadsafeTarget:
        """Everyone in the namespace but this socket."""
        return self._at(self._socket.broadcast)

    @property
    def connected(self) -> bool:
        """Whether it is in its namespace now."""
        return self._socket.connected

    @property
    def handshake(self) -> Handshake:
        """How the client came."""
        return self._socket.handshake

    @property
    def data(self) -> dict[str, Any]:
        """The dict that the program keeps with this client: the same one, for all threads."""
        return self._socket.data

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in; what was just joined shows once the event loop has done it."""
        return self._socket.rooms

    @property
    def transport(self) -> str:
        """The name of the transport that carries it now."""
        return self._socket.transport

    def join(self, *rooms: str) -> None:
        """Enter rooms. What fails is logged."""
        check_rooms(rooms)
        self._do(self._socket.join, *rooms)

    def leave(self, *rooms: str) -> None:
        """Leave rooms."""
        check_rooms(rooms)
        self._do(self._socket.leave, *rooms)

    def disconnect(self, close: bool = False) -> None:
        """Make the client leave, or end its connection."""
        self._do(self._socket.disconnect, close)

    def drain(self) -> Answer[None]:
        """Its `.result(timeout)` waits until what was queued for this client has been handed on."""
        return self._mailbox.ask(self._socket.drain)

    def __repr__(self) -> str:
        return f"Threadsafe{self._socket!r}"
