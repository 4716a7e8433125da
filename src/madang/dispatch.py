"""Runs what the program has registered: handlers, catch-all listeners and middleware.

Everything that a client can make run goes through here: an event's handler is found by one look-up, a coroutine is
started at once and becomes a task only if it waits, what is returned becomes the acknowledgement, and what is raised
is told to `on_error` or to the log, and is the end of nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import CoroutineType
from typing import Any, Final

from madang.core.hub import INVALID_NAMESPACE
from madang.core.injection import Auth
from madang.core.listeners import LIFE_CYCLE, Handler, Listeners
from madang.core.namespace import Namespace
from madang.core.socket import Socket
from madang.errors import ConnectionRefused, InvalidArguments, LocalProtocolError, Reason, RemoteProtocolError
from madang.packet import Packet
from madang.tasks import start
from madang.workers import Workers

__all__ = ["ClientLog", "Dispatcher", "ErrorHandler", "InvalidHandler", "logger"]

ErrorHandler = Callable[[BaseException, Socket, str, list[Any]], Any]
InvalidHandler = Callable[[InvalidArguments, Socket, str, list[Any]], Any]

#: The name of an event: a string. The protocol allows numbers too, which catch-all listeners hear.
Event = Any

logger = logging.getLogger("madang")

#: How many lines a second the log takes about what clients do wrong; it tells how many it left out.
_CLIENT_LINES_PER_SECOND: Final = 100
#: Ends after which an event that had to wait, for an ordered handler, a thread or a middleware, still is handled: the
#: client had sent it before it went. After the server's own ends it isn't: who is thrown out shall do nothing more.
_CLIENTS_OWN_ENDS: Final = frozenset(
    {Reason.TRANSPORT_CLOSE, Reason.TRANSPORT_ERROR, Reason.PING_TIMEOUT, Reason.CLIENT_DISCONNECT}
)


class Dispatcher:
    """Runs handlers.

    Attributes:
        clients: the log of what clients do wrong.
        loop: where the server runs, once it does.
        on_error: who is told of an exception in a handler; without it, the log.
        on_invalid: who is told of arguments that are not what a handler declares.
        spawn: slot: runs a coroutine beside the handlers.
        tasks: the handlers that wait, with their events and sockets; middleware is None there.
        view: slot: what a handler in a thread receives in place of the socket.
        workers: the threads of `thread=True` handlers.
    """

    def __init__(self) -> None:
        self.clients = ClientLog()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.on_error: ErrorHandler | None = None
        self.on_invalid: InvalidHandler | None = None
        self.spawn: Callable[[Coroutine[Any, Any, Any]], object]
        self.tasks: dict[asyncio.Task[Any], tuple[Handler | None, str, Socket]] = {}
        self.view: Callable[[Socket], Any]
        self.workers: Workers

    # Events

    def dispatch(self, socket: Socket, packet: Packet) -> None:
        """An event came: find its handler, and run it."""
        data = packet.data
        id_ = packet.id
        listeners = socket.namespace._listeners
        own = socket._listeners
        event = data[0]
        if own is not None and own.middleware:
            data = packet.plain()
            self._launch(self._dispatch_guarded(socket, own, data, id_), socket, event, data, None)
            return
        if listeners.incoming or (own is not None and own.incoming):
            self.overhear(socket, [*listeners.incoming, *(own.incoming if own is not None else ())], packet.plain())
            if _is_thrown_out(socket, event):
                return
        handler = own.events.get(event) if own is not None else None
        if handler is None:
            handler = listeners.events.get(event)
            if handler is None:
                logger.debug("nobody handles %.200r of %s", event, socket)
                return
        if packet.shape is not handler.shape:
            self._check(handler, socket, event, packet.plain(), id_)
        elif handler.special:
            self._arrange(handler, socket, event, data, id_)
        else:
            self._run(handler, socket, event, data, id_)

    def _check(self, handler: Handler, socket: Socket, event: Event, data: Sequence[Any], id_: int | None) -> None:
        """Run a handler with arguments that have not been checked yet."""
        checked = data
        try:
            shape = handler.settle()
            if shape is not None:
                base64 = not socket.session.wire.carries_bytes
                checked = (event, *shape.convert(event, data[1:], base64=base64))
        except Exception as error:
            self._failed(error, socket, event, data, id_)
        else:
            if handler.special:
                self._arrange(handler, socket, event, checked, id_)
            else:
                self._run(handler, socket, event, checked, id_)

    def _arrange(self, handler: Handler, socket: Socket, event: Event, data: Sequence[Any], id_: int | None) -> None:
        """Run a handler that is ordered, or for a thread, when its time has come."""
        if not handler.ordered:
            self._start(handler, socket, event, data, id_)
        elif socket._line is not None:
            socket._line.append((handler, socket.session, event, data, id_))
            socket.session.occupy()
        else:
            socket._line = deque()
            if not self._start(handler, socket, event, data, id_):
                self._advance(socket)

    def _advance(self, socket: Socket) -> None:
        """An ordered handler has ended: the next one begins."""
        line = socket._line
        while line:
            handler, session, event, data, id_ = line.popleft()
            session.vacate()
            if event not in LIFE_CYCLE and _is_thrown_out(socket, event):
                continue
            if self._start(handler, socket, event, data, id_):
                return
        socket._line = None

    def _start(self, handler: Handler, socket: Socket, event: Event, data: Sequence[Any], id_: int | None) -> bool:
        """Run a handler where it is to run. Gives whether it goes on."""
        if handler.thread:
            return self._launch(self._run_in_thread(handler, socket, data), socket, event, data, id_, handler)
        return self._run(handler, socket, event, data, id_)

    async def _run_in_thread(self, handler: Handler, socket: Socket, data: Sequence[Any]) -> Any:
        args = data[1:]
        if not handler.required <= len(args) <= handler.accepted:
            args = handler.fit(data[0], args)
        event = data[0]
        result = await self.workers.run(
            socket.session,
            handler.function,
            (self.view(socket), *args),
            lambda: event in LIFE_CYCLE or not _is_thrown_out(socket, event),
        )
        if result.__class__ is CoroutineType:
            result.close()
            raise LocalProtocolError(f"{handler.name} gave a coroutine; thread=True is for a `def` that blocks")
        return result

    def _run(self, handler: Handler, socket: Socket, event: Event, data: Sequence[Any], id_: int | None) -> bool:
        """Call a handler. Gives whether it goes on."""
        try:
            count = len(data) - 1
            if not handler.required <= count <= handler.accepted:
                args = handler.fit(event, data[1:])
                result = handler.function(socket, *args)
            elif count == 1:  # as most often: a call that needs no tuple
                result = handler.function(socket, data[1])
            else:
                result = handler.function(socket, *data[1:])
            if result.__class__ is CoroutineType:
                return self._launch(result, socket, event, data, id_, handler)
            if id_ is not None:
                socket.acknowledge(id_, result)
        except (Exception, asyncio.CancelledError) as error:
            self._failed(error, socket, event, data, id_)
        return False

    def _launch(
        self,
        coroutine: Coroutine[Any, Any, Any],
        socket: Socket,
        event: Event,
        data: Sequence[Any],
        id_: int | None,
        handler: Handler | None = None,
    ) -> bool:
        """Run a handler's coroutine up to its first wait, and see to its end. Gives whether it waits."""
        assert self.loop is not None  # packets come in a running loop only  # noqa: S101
        task = start(coroutine, self.loop)
        if task.done():
            self._settle(task, socket, event, data, id_)
            return False
        session = socket.session  # the socket may get another one

        def ended(task: asyncio.Task[Any]) -> None:
            self.tasks.pop(task, None)
            self._settle(task, socket, event, data, id_)
            session.vacate()
            if handler is not None and handler.ordered:
                self._advance(socket)

        self.tasks[task] = (handler, event, socket)
        task.add_done_callback(ended)
        session.occupy()
        return True

    def _settle(
        self, task: asyncio.Task[Any], socket: Socket, event: Event, data: Sequence[Any], id_: int | None
    ) -> None:
        try:
            result = task.result()
            if id_ is not None:
                socket.acknowledge(id_, result)
        except asyncio.CancelledError:
            logger.info("the handler of %r for %s was cancelled", event, socket)
        except Exception as error:
            self._failed(error, socket, event, data, id_)

    async def _dispatch_guarded(self, socket: Socket, own: Listeners, data: Sequence[Any], id_: int | None) -> None:
        """An event of a socket that has middleware of its own."""
        before, own.passing = own.passing, asyncio.current_task()
        if before is not None and not before.done():  # events start in the order in which they came
            await asyncio.wait((before,))
        try:
            for handler in tuple(own.middleware):
                if _is_thrown_out(socket, data[0]):
                    return
                result = handler.function(data[0], list(data[1:]))
                if isinstance(result, Awaitable):
                    await result
        except Exception as error:
            self._failed(error, socket, data[0], data, id_)
            return
        if _is_thrown_out(socket, data[0]):
            return
        listeners = socket.namespace.listeners
        self.overhear(socket, [*listeners.incoming, *own.incoming], data)
        if _is_thrown_out(socket, data[0]):
            return
        found = own.events.get(data[0]) or listeners.events.get(data[0])
        if found is not None:
            self._check(found, socket, data[0], data, id_)

    def _failed(self, error: BaseException, socket: Socket, event: Event, data: Sequence[Any], id_: int | None) -> None:
        """A handler has failed: never silent, and never the end of anything else."""
        if isinstance(error, InvalidArguments):
            self._invalid(error, socket, event, data, id_)
            return
        if self.on_error is not None:
            try:
                answer = self.on_error(error, socket, event, list(data[1:]))
                if answer.__class__ is CoroutineType:
                    told = self._answer_error(answer, error, socket, event, id_)
                    self._launch(told, socket, event, data, None)
                elif answer is not None and id_ is not None:
                    socket.acknowledge(id_, answer)
                return
            except Exception:
                logger.exception("the on_error handler failed")
        self._log(error, socket, event)

    def _log(self, error: BaseException, socket: Socket, event: Event) -> None:
        if isinstance(error, RemoteProtocolError):
            # The client's fault, which it could repeat a thousand times a second: a line, not a traceback.
            self.clients.warn("%.200r of %s: %s", event, socket, error)
        elif isinstance(error, LocalProtocolError):
            logger.error("the handler of %.200r for %s: %s", event, socket, error, exc_info=error)
        else:
            logger.error("the handler of %.200r for %s failed", event, socket, exc_info=error)

    def _invalid(
        self, error: InvalidArguments, socket: Socket, event: Event, data: Sequence[Any], id_: int | None
    ) -> None:
        """A client has sent what the handler doesn't take: a line in the log, and an answer that tells what it was."""
        cause = error.__cause__.__cause__ if error.__cause__ is not None else None
        because = f" ({cause!r:.200})" if isinstance(cause, TypeError) else ""
        self.clients.warn("%.200r of %s: %s%s", event, socket, error, because)
        answer: Any = error.answer
        if self.on_invalid is not None:
            try:
                other = self.on_invalid(error, socket, event, list(data[1:]))
                if other.__class__ is CoroutineType:
                    told = self._answer_invalid(other, answer, socket, id_)
                    self._launch(told, socket, event, data, None)
                    return
                answer = answer if other is None else other
            except Exception:
                logger.exception("the on_invalid handler failed")
        self._refuse(answer, socket, id_)

    # A client may make as many of these wait as of its handlers, and no more.

    async def _answer_error(
        self, coroutine: Coroutine[Any, Any, Any], error: BaseException, socket: Socket, event: Event, id_: int | None
    ) -> None:
        try:
            answer = await coroutine
            if answer is not None and id_ is not None:
                socket.acknowledge(id_, answer)
        except Exception:
            logger.exception("the on_error handler failed")
            self._log(error, socket, event)

    async def _answer_invalid(
        self, coroutine: Coroutine[Any, Any, Any], answer: Any, socket: Socket, id_: int | None
    ) -> None:
        try:
            other = await coroutine
            answer = answer if other is None else other
        except Exception:
            logger.exception("the on_invalid handler failed")
        self._refuse(answer, socket, id_)

    def _refuse(self, answer: Any, socket: Socket, id_: int | None) -> None:
        if id_ is not None:
            try:
                socket.acknowledge(id_, answer)
            except LocalProtocolError:
                logger.exception("the answer of the on_invalid handler can't be sent")

    def overhear(self, socket: Socket, handlers: list[Handler], data: Sequence[Any]) -> None:
        """Run catch-all listeners."""
        for handler in handlers:
            self._run(handler, socket, data[0], [None, *data], None)

    def housed(self, socket: Socket, handlers: list[Handler], event: Event, room: str) -> None:
        """Run the handlers of what happens to a room."""
        for handler in handlers:
            self._run(handler, socket, f"room {event}", [event, room], None)

    def live(self, socket: Socket, event: Event, args: tuple[Any, ...]) -> None:
        """Run the handlers of a client's life."""
        found = socket.namespace._listeners.life.get(event, ())
        own = socket._listeners
        if own is None and not found:
            return
        handlers = list(found)
        if own is not None:
            handlers += own.life.get(event, ())
        for handler in handlers:
            if handler.special:
                self._arrange(handler, socket, event, [event, *args], None)
            else:
                self._run(handler, socket, event, [event, *args], None)

    # What other servers say

    def answer(self, handler: Handler, data: Sequence[Any], answer: Callable[[Any], None] | None) -> None:
        """Run the handler of a server-side event, and give what it returns to `answer`."""
        self.spawn(self._answer(handler, data, answer))

    async def _answer(self, handler: Handler, data: Sequence[Any], answer: Callable[[Any], None] | None) -> None:
        event, args = data[0], data[1:]
        try:
            shape = handler.settle()
            if shape is not None:
                args = shape.convert(event, args)
            if not handler.required <= len(args) <= handler.accepted:
                args = handler.fit(event, args)
            result = handler.function(*args)
            if isinstance(result, Awaitable):
                result = await result
            if answer is not None:
                answer(result)
        except Exception:
            logger.exception("the handler of the server-side event %r failed", event)

    # Namespaces that patterns make

    def choose(self, socket: Socket, parents: list[Namespace]) -> None:
        """Ask the patterns of these namespaces, in their order, which of them takes the name that a client wants."""
        self._launch(self._choose(socket, parents), socket, "connection", ["connection"], None)

    async def _choose(self, socket: Socket, parents: list[Namespace]) -> None:
        name = socket.namespace.name
        try:
            for parent in parents:
                pattern = parent._pattern
                assert pattern is not None  # noqa: S101
                if pattern.predicate is None:
                    answer: Any = pattern.match(name)
                    taken = answer is not None
                else:
                    answer = pattern.predicate(name, socket.handshake.auth)
                    if isinstance(answer, Awaitable):
                        answer = await answer
                    taken = bool(answer) or isinstance(answer, Mapping)
                if taken:
                    socket._hub.enter(socket, parent, answer if isinstance(answer, Mapping) else {})
                    return
        except ConnectionRefused as refusal:
            socket.refuse(refusal)
        except Exception:
            logger.exception("a predicate of namespaces failed for %r; the client is refused", name)
            socket.refuse(ConnectionRefused("Internal server error"))
        else:
            socket.refuse(ConnectionRefused(INVALID_NAMESPACE))

    # Middleware

    def admit(self, socket: Socket) -> None:
        """Let a client's socket pass its namespace's middleware, then accept or refuse it."""
        listeners = socket.namespace.listeners
        if listeners.auths:
            refusal = self._refusal(socket, listeners.auths)
            if refusal is not None:
                socket.refuse(refusal)
                return
        middleware = listeners.middleware
        if middleware:
            self._launch(self._examine(socket, tuple(middleware)), socket, "connection", ["connection"], None)
        else:
            socket.accept()

    def _refusal(self, socket: Socket, auths: list[Auth]) -> ConnectionRefused | None:
        """Check that a client's auth is what handlers want."""
        try:
            for auth in tuple(auths):
                refusal = auth.refusal(socket)
                if refusal is not None:
                    faults = [fault["message"] for fault in refusal.data["details"][:3]]
                    self.clients.warn("%s is refused, its auth is invalid: %s", socket, "; ".join(faults))
                    return refusal
        except Exception:
            logger.exception("the auth of %s could not be checked; the client is refused", socket)
            return ConnectionRefused("Internal server error")
        return None

    async def _examine(self, socket: Socket, middleware: tuple[Handler, ...]) -> None:
        try:
            for handler in middleware:
                result = handler.function(socket)
                if isinstance(result, Awaitable):
                    await result
        except ConnectionRefused as refusal:
            socket.refuse(refusal)
        except Exception:
            logger.exception("the middleware of %s failed; the client is refused", socket)
            socket.refuse(ConnectionRefused("Internal server error"))
        else:
            socket.accept()


def _is_thrown_out(socket: Socket, event: Event) -> bool:
    """Whether the server has disconnected a client, whose event is left out then."""
    if socket._ended is None or socket._ended in _CLIENTS_OWN_ENDS:
        return False
    logger.debug("%.200r of %s is left out: the server has disconnected it", event, socket)
    return True


class ClientLog:
    """The log of what clients do wrong: some lines a second, so that no client can fill the disk."""

    __slots__ = ("_count", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._count = 0

    def warn(self, message: str, *args: object) -> None:
        """Log a warning, if there is room."""
        self._log(logging.WARNING, message, args)

    def inform(self, message: str, *args: object) -> None:
        """Log an information, if there is room."""
        self._log(logging.INFO, message, args)

    def _log(self, level: int, message: str, args: tuple[object, ...]) -> None:
        second = int(time.monotonic())
        if second != self._second:
            if self._count > _CLIENT_LINES_PER_SECOND:
                logger.warning("%d more lines about clients were left out", self._count - _CLIENT_LINES_PER_SECOND)
            self._second, self._count = second, 0
        self._count += 1
        if self._count <= _CLIENT_LINES_PER_SECOND:
            logger.log(level, message, *args)
