"""The fast face: uvicorn, with no ASGI between its connections and the engine.

uvicorn accepts, parses HTTP, does TLS and signals, and hosts whatever ASGI application stands beside us. Its HTTP
protocol class is extended (`faces.connection`), and at the shutdown our clients are disconnected first.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.server import ServerState

from madang.errors import ConfigError
from madang.faces.asgi import ASGIApplication, ASGIFace
from madang.faces.connection import http_protocol
from madang.faces.flash import PolicyServer
from madang.faces.health import Health
from madang.faces.target import Target, load
from madang.server import Server
from madang.tuning import tune_allocator, tune_collector

if TYPE_CHECKING:
    from madang.faces.webtransport import WebTransport

__all__ = ["UvicornServer", "face_of", "make_config", "serve", "serve_async"]

logger = logging.getLogger("madang")

#: How much longer than its time it may take to send all clients away: those who poll come once more.
_FAREWELL_SECONDS: Final = 3.0
#: How long connections are left for those who poll at any other end. Others need no time for their farewell.
_LAST_POLL_SECONDS: Final = 0.25
_LAST_POLL_LOOKS: Final = 25
#: How many connections are taken from a listening socket in one turn of uvloop.
_ACCEPTED_PER_TURN: Final = 8


def face_of(app: Server | ASGIApplication) -> ASGIFace | None:
    """The face of ours that an application is, if it is one."""
    if isinstance(app, Server):
        return app.asgi()
    return app if isinstance(app, ASGIFace) else None


def make_config(app: Server | ASGIApplication, health_path: str | None = None, **options: Any) -> uvicorn.Config:
    """Settings for uvicorn under which our WebSockets are served without ASGI.

    Args:
        app: a `Server`, what `Server.asgi` gave, or any ASGI application. The last works too, but its WebSockets
            take the way through ASGI.
        health_path: a path at which load balancers ask whether clients are taken; None: there is none.
        options: uvicorn's own settings, as `host`, `port`, `ssl_keyfile`.

    Raises:
        ConfigError: `health_path` makes no sense.
    """
    face = face_of(app)
    served: Any = app if face is None else face
    if health_path is not None:
        served = Health(served, _chain(face), health_path)
    options.setdefault("access_log", False)
    options.setdefault("server_header", False)
    if face is None:
        logger.info("this application is no Server and not made by io.asgi(app): its WebSockets go through ASGI")
        return uvicorn.Config(served, **options)
    options.setdefault("lifespan", "on")
    return uvicorn.Config(served, http=http_protocol(face), **options)


class _State(ServerState):
    """What uvicorn's connections share. The date in their headers is made when one asks for it, not each second.

    Args:
        config: uvicorn's settings.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._config = config
        self._second = -1
        self._headers: list[tuple[bytes, bytes]] = []
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every response: another list for each second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = [(b"date", formatdate(second, usegmt=True).encode())] if self._config.date_header else []
            self._headers = date + self._config.encoded_headers
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """uvicorn sets them each second, where it counts seconds."""


class UvicornServer(uvicorn.Server):
    """uvicorn's server, which sends our clients away before it waits for connections to end.

    While nothing happens it sleeps: uvicorn's own wakes ten times a second, to see whether it is to end and to write
    the date into headers. It still does where it has to count requests or to call a function of yours in between.

    Args:
        config: uvicorn's settings.
        flash_policy_port: where the Flash policy file is served, or None.
        webtransport: what listens for WebTransport, or None.
        drain_seconds: over how long clients are sent away at the shutdown.
        tune: whether to set the garbage collector for a process that does nothing else, once all has started.

    Attributes:
        drain_seconds: as given.
        hands_over: whether somebody else listens at the same address, so that this one need not while it drains.

    Raises:
        ConfigError: there is no application of ours that Flash films could want.
    """

    hands_over = False

    def __init__(
        self,
        config: uvicorn.Config,
        flash_policy_port: int | None = None,
        webtransport: WebTransport | None = None,
        drain_seconds: float = 0.0,
        tune: bool = False,
    ) -> None:
        self._tune = tune
        self._should_exit = False
        self._wake: Callable[[], object] | None = None
        super().__init__(config)
        self.server_state = _State(config)
        self.drain_seconds = drain_seconds
        self._webtransport = webtransport
        self._flash_port = flash_policy_port
        self._flash: PolicyServer | None = None
        if flash_policy_port is not None:
            face = face_of_config(config)
            if face is None or "flashsocket" not in face.io.config.transports:
                raise ConfigError('flash_policy_port needs a Server whose `transports` have "flashsocket"')
            self._flash = PolicyServer(face.io.config, self._main_port)

    @property
    def should_exit(self) -> bool:
        """Whether it is to end; may be set in any thread, and in the handler of a signal."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        wake = self._wake
        if value and wake is not None:
            wake()

    async def main_loop(self) -> None:
        """Wait until it is to end."""
        if self.config.callback_notify is not None or self.limit_max_requests is not None:
            await super().main_loop()
            return
        loop, ends = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(ends.set)
        try:
            if not self._should_exit:
                await ends.wait()
        finally:
            self._wake = None

    def _main_port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port

    async def startup(self, sockets: Any = None) -> None:
        """Take the port of the policy file first, since without it nothing is to be started."""
        if self._flash is None or self._flash_port is None:
            await self._start_all(sockets)
        else:
            await self._flash.bind(self.config.host, self._flash_port)
            try:
                await self._start_all(sockets)
                await self._flash.start()
            except BaseException:
                self._flash.stop()
                raise
        if self.started:
            await self._watch_more()
        if self._tune:
            tune_collector()

    async def _watch_more(self) -> None:
        """Let uvloop watch each listening socket several times, so that it takes several connections in a turn.

        libuv takes one from a socket that it watches, and then does all else that is due: of a thousand clients that
        dial at once each would have a turn of the event loop to itself. asyncio's own loop takes all that wait.
        """
        loop, config = asyncio.get_running_loop(), self.config
        if not type(loop).__module__.startswith("uvloop"):
            return
        protocol: Any = config.http_protocol_class
        make = partial(
            protocol,
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        # Under `create_server` the path of a Unix socket is left to the first watcher, if that has made it.
        listening = [one for server in self.servers for one in server.sockets]
        for one in listening * (_ACCEPTED_PER_TURN - 1):
            try:
                again = socket.socket(fileno=os.dup(one.fileno()))
            except OSError as error:
                logger.warning("fewer connections are accepted in a turn, for want of files: %s", error)
                return
            self.servers.append(await loop.create_server(make, sock=again, ssl=config.ssl, backlog=config.backlog))

    async def _start_all(self, sockets: Any) -> None:
        """Listen, and for WebTransport too if that is wanted."""
        webtransport = self._webtransport
        if webtransport is None:
            await super().startup(sockets)
            return
        from madang.faces.webtransport import beside, pair

        made: list[socket.socket] = []
        if sockets is None and self.config.port == 0 and webtransport.port is None and webtransport.host is None:
            # What is free for TCP may not be free for UDP.
            listening, udp = pair(self.config.host, self.config.backlog)
            sockets, made = [listening], [udp]
        await super().startup(sockets)
        if not self.started:
            return
        if made:
            self._log_started_message(sockets)
        self.started = False
        try:
            if not made:
                listeners = [one for server in self.servers for one in server.sockets]
                made = beside(listeners, webtransport.host, webtransport.port)
            takers = [io for io in _servers(self.config) if "webtransport" in io.config.transports]
            await webtransport._start(takers, made, self.config.root_path)
        except BaseException:
            for server in self.servers:
                server.close()
            await self.lifespan.shutdown()
            raise
        self.started = True

    async def shutdown(self, sockets: Any = None) -> None:
        """Send our clients away, then do as uvicorn does."""
        if self.hands_over:
            for server in self.servers:
                server.close()
        if isinstance(self.config.app, Health):
            self.config.app.leaving = True
        if self.drain_seconds > 0:
            await self._drain()
        if self._flash is not None:
            self._flash.stop()
        if face_of_config(self.config) is not None:
            await self._send_away()
            for server in self.servers:
                server.close()
        if self._webtransport is not None:
            await self._webtransport._stop()
        await super().shutdown(sockets)

    async def _send_away(self) -> None:
        """Disconnect all clients. Who polls, and was between two polls, finds the farewell with the next one."""
        servers = _servers(self.config)
        for io in servers:
            io.disconnect_all()
        for _ in range(_LAST_POLL_LOOKS):
            if self.force_exit or not any(io.engine.sessions for io in servers):
                break
            await asyncio.sleep(_LAST_POLL_SECONDS / _LAST_POLL_LOOKS)

    async def _drain(self) -> None:
        """Send our clients away bit by bit, unless somebody loses patience."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        drains = [loop.create_task(io.drain(self.drain_seconds)) for io in _servers(self.config) if io.started]
        # It may be told meanwhile to be faster.
        while drains and not self.force_exit and began + self.drain_seconds + _FAREWELL_SECONDS > loop.time():
            done, _ = await asyncio.wait(drains, timeout=0.1)
            for one in done:
                one.result()
                drains.remove(one)


def _servers(config: uvicorn.Config) -> list[Server]:
    """All servers of ours in an application: they may stand beside each other."""
    return _chain(face_of_config(config))


def _chain(face: Any) -> list[Server]:
    found: list[Server] = []
    while isinstance(face, ASGIFace):
        found.append(face.io)
        face = face.other
    return found


def face_of_config(config: uvicorn.Config) -> ASGIFace | None:
    """The face that a configuration made by `make_config` serves."""
    app: Any = config.app.app if isinstance(config.app, Health) else config.app
    return app if isinstance(app, ASGIFace) else None


def _beside(
    webtransport: bool | WebTransport, app: Server | ASGIApplication, options: Mapping[str, Any]
) -> WebTransport | None:
    """What listens for WebTransport, if that is wanted.

    Raises:
        ConfigError: it can't be.
    """
    if not webtransport:
        return None
    from madang.faces.webtransport import WebTransport, check_transports

    face = face_of(app)
    if face is None:
        raise ConfigError("webtransport needs a Server, or what io.asgi(app) gives, not any ASGI application")
    check_transports(face.io)
    made = webtransport if isinstance(webtransport, WebTransport) else WebTransport()
    certfile = options.get("ssl_certfile")
    if made.certfile is None and certfile is not None:
        made.use_certificate(certfile, options.get("ssl_keyfile"), options.get("ssl_keyfile_password"))
    return made


def serve(
    app: Server | ASGIApplication | Target,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    workers: int = 1,
    drain_seconds: float | None = None,
    health_path: str | None = None,
    webtransport: bool | WebTransport = False,
    flash_policy_port: int | None = None,
    tune: bool = False,
    **options: Any,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        app: a `Server`, what `Server.asgi` gave, or any ASGI application; or "MODULE:APP", which names one.
        host: the address to listen at; "0.0.0.0" for all of the machine's.
        port: the TCP port; 0 for a free one.
        workers: how many processes share the port. More than one need the name of the application, since each imports
            it; its servers act as one then, over a bus of their own where they have no `cluster`.
        drain_seconds: over how long clients are sent away before a process ends; None: at once, and over 5 s where
            another worker takes the place of one.
        health_path: a path at which load balancers ask whether clients are taken, as "/health"; None: there is none.
        webtransport: whether to listen for WebTransport too, at the UDP port of the same number; or its settings.
        flash_policy_port: a TCP port at which Flash films find the policy file, for the transport "flashsocket"; 0 for
            a free one, None for no such port. At `port` they find it in any case.
        tune: whether the process does nothing but serve, so that its memory may be set for that: with glibc, what
            large messages need for a moment is kept; the garbage collector leaves alone what was there at the start.
            `madang serve` does it.
        options: uvicorn's other settings.

    Raises:
        ConfigError: what is wanted is not among the server's transports, or can't listen, or can't be had with workers.

    Example:
        ```python
        import madang

        io = madang.Server()
        madang.serve(io, port=8000)
        ```
    """
    if drain_seconds is not None and not 0 <= drain_seconds < 1e9:
        raise ConfigError(f"drain_seconds must be a number of seconds, not {drain_seconds!r}")
    options.setdefault("log_config", _log_config(options.get("log_level", "info")))
    if workers != 1:
        from madang.faces.supervisor import serve_workers

        if not isinstance(app, str | tuple):
            raise ConfigError('workers: each imports the application; give its name, as madang.serve("chat:io", ...)')
        if webtransport or flash_policy_port is not None:
            raise ConfigError("workers: WebTransport and a port for the Flash policy file need a single process")
        serve_workers(
            app,
            workers,
            host=host,
            port=port,
            drain_seconds=drain_seconds,
            health_path=health_path,
            tune=tune,
            **options,
        )
        return
    if tune:
        tune_allocator()
    if isinstance(app, str | tuple):
        app = load(app)
    beside = _beside(webtransport, app, options)
    config = make_config(app, health_path, host=host, port=port, **options)
    server = UvicornServer(config, flash_policy_port, beside, drain_seconds or 0.0, tune)
    # uvicorn ends with the signal that stopped it, once all is done: Ctrl-C is no error here.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()


def _log_config(level: str | int) -> dict[str, Any]:
    """uvicorn's own settings for logs, under which our lines are shown like its own."""
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    ours = {"handlers": ["default"], "level": level.upper() if isinstance(level, str) else level, "propagate": False}
    config["loggers"]["madang"] = ours
    return config


@contextlib.asynccontextmanager
async def serve_async(
    app: Server | ASGIApplication,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    health_path: str | None = None,
    webtransport: bool | WebTransport = False,
    flash_policy_port: int | None = None,
    **options: Any,
) -> Any:
    """Serve inside a running event loop, as in tests; gives the port. The arguments are those of `serve`.

    Example:
        ```python
        async with serve_async(io) as port:
            ...
        ```
    """
    options.setdefault("log_level", "warning")
    beside = _beside(webtransport, app, options)
    config = make_config(app, health_path, host=host, port=port, **options)
    server = UvicornServer(config, flash_policy_port, beside)
    with _quiet_signals(server):
        task = asyncio.create_task(server.serve())
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the server ended before it had started")
            await asyncio.sleep(0.005)
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True
            await task


@contextlib.contextmanager
def _quiet_signals(server: uvicorn.Server) -> Iterator[None]:
    """Leave the signals to whoever runs the event loop."""
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    yield
