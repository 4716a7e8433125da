"""The manager: one connection for all namespaces of a client, and another one when it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from madang import parsers, wire
from madang.client.config import Address, ClientConfig
from madang.client.dial import Dialer
from madang.client.engine import Connection
from madang.client.handling import ClientHandler, Runner
from madang.client.retry import Backoff
from madang.errors import ConnectError, Disconnected, LocalProtocolError, Reason, WrongThreadError
from madang.packet import Encoded, Packet

if TYPE_CHECKING:
    from madang.client.socket import ClientSocket

__all__ = ["Manager"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

logger = logging.getLogger("madang.client")

#: What happens to the connection, and what a handler of it receives.
_EVENTS: Final = {
    "open": "nothing",
    "close": "the reason",
    "ping": "nothing",
    "reconnect_attempt": "the number of the try",
    "reconnect": "the number of tries",
    "reconnect_error": "the error",
    "reconnect_failed": "nothing",
}


class Manager:
    """The connection of a client: `client.manager`.

    Its events are not those of a namespace: "open" and "close" (reason) of the connection, "ping" when the server has
    sent one, "reconnect_attempt" (number), "reconnect" (number), "reconnect_error" (error), "reconnect_failed".

    Args:
        address: where the server is.
        config: the settings.
        dialer: how connections are made; without it, over the network.

    Attributes:
        config: the settings.
        address: where the server is.

    Example:
        ```python
        @client.manager.on("reconnect_attempt")
        def again(number: int) -> None:
            print("try", number)
        ```

    Source: socket.io-client 4.8, `Manager`.
    """

    def __init__(self, address: Address, config: ClientConfig, dialer: Dialer | None = None) -> None:
        self.config = config
        self.address = address
        self.sockets: dict[str, ClientSocket] = {}
        self.runner = Runner()
        self._wire = wire.load(config.generation)
        self._parser = parsers.load(config.parser)
        if dialer is None:
            from madang.client.net import NetDialer

            dialer = NetDialer(address, config)
        self._dialer = dialer
        self._handlers: dict[str, list[ClientHandler]] = {}
        self._backoff = Backoff(
            config.reconnection_delay_seconds,
            config.reconnection_delay_max_seconds,
            config.randomization_factor,
            random.random,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._connection: Connection | None = None
        self._leaving: set[Connection] = set()
        self._dialing: asyncio.Task[None] | None = None
        self._undone: set[asyncio.Task[None]] = set()  # dialing that was cancelled
        self._by: str | None = None  # what has worked: the next connection begins with it

    # Listening

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, handler: AnyFunction) -> AnyFunction: ...
    def on(self, event: str, handler: Any = None) -> Any:
        """Register a handler of an event of the connection, as a decorator or directly. There may be several.

        Raises:
            LocalProtocolError: there is no such event.
        """
        if handler is None:
            return lambda function: self.on(event, function)
        self.guard()
        if event not in _EVENTS:
            raise LocalProtocolError(
                f"the connection has the events {', '.join(_EVENTS)}, not {event!r}; those of the server are heard "
                "with client.on"
            )
        self._handlers.setdefault(event, []).append(ClientHandler(handler, f'"{event}" of the connection'))
        return handler

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Remove a handler of an event, or all of them."""
        self.guard()
        self._handlers[event] = [
            one for one in self._handlers.get(event, ()) if handler is not None and one.function != handler
        ]

    def _fire(self, event: str, *args: Any) -> None:
        for handler in tuple(self._handlers.get(event, ())):
            self.runner.run(handler, event, [*args])

    # Threads and loops

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that the client runs in, or None before it runs."""
        return self._loop

    def guard(self) -> None:
        """Refuse to be used from elsewhere than the event loop that the client runs in.

        Raises:
            WrongThreadError: this is another thread, or another event loop.
        """
        if self._loop is None or asyncio._get_running_loop() is self._loop:
            return
        if self._loop.is_closed() or (threading.get_ident() == self._thread and not self._loop.is_running()):
            raise WrongThreadError("the client's event loop doesn't run any more; close the client before it ends")
        raise WrongThreadError(
            f"the client was used from the thread {threading.current_thread().name!r}, outside of the event loop that "
            "it runs in; use BlockingClient in threads, or loop.call_soon_threadsafe(client.emit, ...)"
        )

    def bind(self) -> asyncio.AbstractEventLoop:
        """Belong to the running event loop from now on, until the client is closed.

        Raises:
            WrongThreadError: no event loop runs here, or the client runs in another one.
        """
        loop = asyncio._get_running_loop()
        if loop is None:
            raise WrongThreadError("no event loop runs here; connect in a coroutine, or use BlockingClient")
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                raise WrongThreadError("this client runs in another event loop; make a Client for each loop")
            self._loop = loop
            self._thread = threading.get_ident()
            self.runner.loop = loop
            self._connection = None
            self._leaving.clear()
            self._dialing = None
        return loop

    # The connection

    @property
    def connection(self) -> Connection | None:
        """The connection, while there is one."""
        return self._connection

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    @property
    def transport(self) -> str | None:
        """How the connection is carried now, as "polling" or "websocket"; None without one."""
        return self._connection.transport if self._connection is not None else None

    def encode(self, packet: Packet) -> Encoded:
        """Write a packet as frames."""
        return Encoded(self._wire.encode(packet, self._parser))

    def want(self, socket: ClientSocket) -> None:
        """A socket wants to join: now if there is a connection, else once there is one."""
        if self._connection is not None:
            socket.opened(self._connection)
        elif self._dialing is None:
            self._dial(again=False)

    def release(self) -> None:
        """A socket needs the connection no more; without any other it is closed."""
        if any(socket.active for socket in self.sockets.values()):
            return
        if self._dialing is not None:
            dialing, self._dialing = self._dialing, None
            dialing.cancel()
            self._undone.add(dialing)
            dialing.add_done_callback(self._undone.discard)
        connection, self._connection = self._connection, None
        if connection is not None:
            self._leaving.add(connection)
            connection.close()
            self._fire("close", Reason.IO_CLIENT_DISCONNECT)

    def _dial(self, again: bool) -> None:
        assert self._loop is not None  # bind comes first  # noqa: S101
        self._dialing = self._loop.create_task(self._connect(again))

    async def _connect(self, again: bool) -> None:
        config = self.config
        while True:
            if again:
                if config.reconnection_attempts is not None and self._backoff.attempts >= config.reconnection_attempts:
                    self._give_up(ConnectError(f"no connection after {self._backoff.attempts} tries"))
                    self._fire("reconnect_failed")
                    return
                await asyncio.sleep(self._backoff.next())
                self._fire("reconnect_attempt", self._backoff.attempts)
            connection = self._make()
            self._leaving = {one for one in self._leaving if not one.over}
            error = await self._try(connection)
            if error is None:
                break
            for socket in tuple(self.sockets.values()):
                socket.not_connected(error)
            if again:
                self._fire("reconnect_error", error)
            if self._dialing is not asyncio.current_task():
                return  # a handler has disconnected
            if not any(socket.active for socket in self.sockets.values()):
                self._dialing = None
                self._backoff.reset()
                return
            if not config.reconnection:
                self._give_up(error)
                return
            again = True
        self._dialing = None
        attempts = self._backoff.attempts
        self._backoff.reset()
        self._connection = connection
        self._fire("open")
        for socket in tuple(self.sockets.values()):
            if socket.active and self._connection is connection:
                socket.opened(connection)
        if again:
            self._fire("reconnect", attempts)

    def _make(self) -> Connection:
        def closed(reason: str, error: Exception | None) -> None:
            if connection is self._connection:
                self._closed(connection, reason, error)

        def packet(packet: Packet) -> None:
            if connection is self._connection:
                socket = self.sockets.get(packet.namespace)
                if socket is not None:
                    socket.receive(packet)

        def ping() -> None:
            if connection is self._connection:
                self._fire("ping")

        query: Mapping[str, str] = {**self.address.query, **self.config.query}
        connection = Connection(
            self._dialer,
            self.config,
            self._wire,
            self._parser,
            query,
            on_packet=packet,
            on_ping=ping,
            on_close=closed,
        )
        return connection

    async def _try(self, connection: Connection) -> ConnectError | None:
        transports = self.config.transports
        if self._by is not None:
            transports = (self._by, *(name for name in transports if name != self._by))
        seconds = self.config.connect_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                await connection.open(transports)
        except TimeoutError:
            self._by = None
            return ConnectError(f"no connection within {seconds:g} s")
        except ConnectError as error:
            self._by = None
            return error
        except Exception as error:
            logger.exception("the connection failed")
            failure = ConnectError(f"the connection failed: {error!r}")
            failure.__cause__ = error
            return failure
        if self.config.try_all_transports and connection.opened_with != self.config.transports[0]:
            self._by = connection.opened_with  # who reconnects need not find out again what doesn't work here
        return None

    def _closed(self, connection: Connection, reason: str, error: Exception | None) -> None:
        if self.config.remember_upgrade:
            self._by = connection.transport if connection.transport != self.config.transports[0] else None
        self._connection = None
        self._leaving.add(connection)  # its tasks are cancelled, and not over yet
        logger.info("the connection to %s is lost: %s%s", self.address.origin, reason, f" ({error})" if error else "")
        self._fire("close", reason)
        for socket in tuple(self.sockets.values()):
            socket.lost(reason)
        if self._connection is not None or self._dialing is not None:
            return  # a handler has connected again
        if any(socket.active for socket in self.sockets.values()):
            if self.config.reconnection:
                self._dial(again=True)
            else:
                self._give_up(ConnectError(f"the connection was lost: {reason}"))

    def _give_up(self, error: ConnectError) -> None:
        self._dialing = None
        self._backoff.reset()
        for socket in tuple(self.sockets.values()):
            socket.given_up(error)

    async def close(self) -> None:
        """Wait until connections that were closed have said goodbye, and handlers have ended."""
        if self._loop is None:
            return
        self.guard()
        try:
            async with asyncio.timeout(self.config.close_timeout_seconds * 2):
                for connection in tuple(self._leaving):
                    await connection.closed()
                if undone := self._undone - {asyncio.current_task()}:
                    await asyncio.wait(undone)
        except TimeoutError:
            logger.warning("the connection to %s did not end in time", self.address.origin)
        self._leaving.clear()
        await self.runner.close(self.config.close_timeout_seconds)
        await self._dialer.close()
        if not any(socket.active for socket in self.sockets.values()):
            self._loop = None
            self.runner.loop = None

    async def drain(self) -> None:
        """Wait until what was emitted has been handed on.

        Raises:
            Disconnected: there is no connection, or it ends meanwhile.
        """
        self.guard()
        if self._connection is None:
            raise Disconnected(Reason.TRANSPORT_CLOSE)
        await self._connection.drain()
