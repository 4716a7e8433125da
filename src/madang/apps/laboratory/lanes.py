"""A lane: one client under test, by its transport. A server and a thread of its own, behind a wire of its own.

The thread runs nothing else, so what it computes is what the server costs. What the rest of the laboratory wants to
know, the thread writes down four times a second, so that nobody has to wake it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import importlib
import logging
import secrets
import socket
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, structs

import madang
from madang import Config, ConfigError, ConnectionRefused, Server, Socket
from madang.apps.laboratory import protocol as p
from madang.apps.laboratory.datagrams import DatagramWire
from madang.apps.laboratory.observer import Totals, Travel
from madang.apps.laboratory.source import Arrivals, Schedule, late_after_ms, payload
from madang.apps.laboratory.wire import Wire, listen
from madang.faces.uvicorn import serve_async

__all__ = ["Lane", "Lanes", "available", "why_not"]

START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 10.0
NOTES_SECONDS: Final = 0.25
MAX_TRACE: Final = 500
"""So much of what travels is kept for the next report; what is more is counted and dropped."""
MAX_SAMPLES: Final = 400

WEBTRANSPORT: Final = "webtransport"

#: What all lanes have in common. Compression would make the sizes hard to compare.
_SETTINGS: Final[Mapping[str, Any]] = {
    "origins": "*",
    "max_connections": 16,
    "max_buffered_bytes": 2_000_000,
    "shutdown_timeout_seconds": 1.0,
    "http_compression_threshold_bytes": None,
}


class LaneAuth(Struct):
    """What a client under test gives as `auth`, or in its query where it knows no `auth`.

    Attributes:
        lane: the id that "open" has given.
    """

    lane: str


def why_not(name: str) -> str:
    """Why there can't be lanes of a kind; empty if there can."""
    if name not in p.LANES:
        return f"there is no transport {name[:40]!r}"
    return _why_not_here(name)


def _server(name: str) -> Server:
    """A server for lanes of a kind."""
    kind = p.LANES[name]
    generations: Any = "all" if kind.earlier else Config().generations
    return Server(transports=kind.transports, generations=generations, **_SETTINGS)


@functools.cache  # of the few that there are: visitors say what they like
def _why_not_here(name: str) -> str:
    if name == "flashsocket":
        return "needs the Flash player, which browsers have no more"
    try:
        _server(name)
        if name == WEBTRANSPORT:
            madang.WebTransport()
    except ConfigError as error:  # such as that aioquic isn't installed
        return str(error)
    return ""


def available() -> list[str]:
    """The kinds of which there can be lanes."""
    return [name for name in p.LANES if not why_not(name)]


@dataclass(slots=True)
class Notes:
    """What a lane's thread writes down for the others."""

    transport: str = ""
    messages_down: int = 0
    messages_up: int = 0
    cpu_ms: float = 0.0
    up_late: int = 0
    up_lost: int = 0


class Bench:
    """The server under test, and the thread that it runs in.

    Args:
        lane: the id that clients have to know.
        name: its kind, one of `protocol.LANES`.
        settings: what to send.
    """

    def __init__(self, lane: str, name: str, settings: p.Settings) -> None:
        self.name = name
        self.certificate_hash = ""
        self.notes = Notes()
        self.samples: deque[float] = deque(maxlen=MAX_SAMPLES)  # how long events took that came
        #: Set when the thread has ended: to the exception, if that was by mistake.
        self.ended: concurrent.futures.Future[BaseException | None] = concurrent.futures.Future()
        self._abandoned = False
        self._lane = lane
        self._settings = settings
        self._ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name=f"lane {name}", daemon=True)

    async def start(self) -> int:
        """Start the thread; return the server's port on the loopback interface."""
        self._thread.start()
        return await asyncio.wait_for(asyncio.wrap_future(self._ready), START_SECONDS)

    def change(self, settings: p.Settings) -> None:
        """Send something else from now on."""
        self._in_thread(self._change, settings)

    def abandon(self) -> None:
        """Let the server and its thread end as soon as they can."""
        self._abandoned = True
        self._in_thread(self._stop_if_abandoned)

    async def stop(self) -> None:
        """End the server and its thread."""
        self.abandon()
        if self._thread.ident is not None:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self.ended)), STOP_SECONDS)
            self._thread.join(STOP_SECONDS)

    def _in_thread(self, function: Callable[..., None], *args: Any) -> None:
        if not self.ended.done() and self._ready.done():
            try:
                self._loop.call_soon_threadsafe(function, *args)
            except RuntimeError:
                pass  # it has ended just now

    # In the thread

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            self.ended.set_result(error)
        else:
            self.ended.set_result(None)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._socket: Socket | None = None
        self._payload: str | bytes = ""
        self._schedule = Schedule(0, 0)
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._arrivals = Arrivals()
        io = self._make_server()
        async with AsyncExitStack() as stack:
            serving = serve_async(io, log_config=None, log_level=None, timeout_graceful_shutdown=1)
            port: int = await stack.enter_async_context(serving)
            if self.name == WEBTRANSPORT:
                listener = await stack.enter_async_context(madang.WebTransport(host="127.0.0.1", port=0).listen(io))
                port = listener.listening[0][1]
                self.certificate_hash = b64encode(listener.certificate_hash).decode()
            self._cpu = time.thread_time()
            self._note()
            self._ready.set_result(port)
            self._stop_if_abandoned()
            await self._stop.wait()
            self._set_timer(None)
            self._notes_timer.cancel()

    def _make_server(self) -> Server:
        io = _server(self.name)

        @io.emits
        def tick(seq: int, sent_ms: float, payload: object) -> None:
            """An event of the stream, down: its payload is text or bytes."""

        @io.use
        def admit(socket: Socket, *, auth: LaneAuth) -> None:
            if not secrets.compare_digest(auth.lane.encode("utf-8", "replace"), self._lane.encode()):
                raise ConnectionRefused("there is no such lane")

        @io.on("connection")
        def connection(socket: Socket) -> None:
            before, self._socket = self._socket, socket
            if before is not None:
                before.disconnect(close=True)
            self._arrivals.restart()
            self._change(self._settings)

        @io.on("disconnect")
        def disconnect(socket: Socket, reason: str) -> None:
            if socket is self._socket:
                self._socket = None
                self._change(self._settings)

        @io.on("tick")
        def came(socket: Socket, seq: Annotated[int, Meta(ge=0)], sent_ms: float, payload: object) -> None:
            if socket is self._socket:
                late = late_after_ms(self._settings.delay_ms)
                self._arrivals.arrived(seq, sent_ms, p.clock_ms(), late)

        self._tick = tick
        return io

    def _change(self, settings: p.Settings) -> None:
        self._settings = settings
        text = payload(settings.size)
        self._payload = text.encode() if settings.binary else text
        down = self._socket is not None and settings.direction != "up"
        self._schedule = Schedule(settings.rate if down else 0, self._loop.time())
        self._set_timer(self._schedule.next_at)

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None or at == float("inf") else self._loop.call_at(at, self._send)

    def _send(self) -> None:
        socket = self._socket
        if socket is None:
            return
        for _ in range(self._schedule.due(self._loop.time())):
            self._tick.emit(socket, self._sent, p.clock_ms(), self._payload)
            self._sent += 1
        self._set_timer(self._schedule.next_at)

    def _note(self) -> None:
        arrivals = self._arrivals
        arrivals.check(p.clock_ms())
        self.samples.extend(arrivals.samples())
        transport = "" if self._socket is None else self._socket.transport
        cpu = (time.thread_time() - self._cpu) * 1000
        self.notes = Notes(transport, self._sent, arrivals.received, cpu, arrivals.late, arrivals.lost)
        self._notes_timer = self._loop.call_later(NOTES_SECONDS, self._note)

    def _stop_if_abandoned(self) -> None:
        if self._abandoned:
            self._stop.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The event loop that `madang serve` uses too."""
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop
    return factory


class Lane:
    """A server under test and its wire.

    Args:
        name: its kind, one of `protocol.LANES`.
        settings: what it carries.

    Attributes:
        id: how it is called; only who knows it gets in.
        name: its kind.
        settings: as they are now.
        totals: what has travelled.
        port: where its wire listens.
    """

    def __init__(self, name: str, settings: p.Settings) -> None:
        self.id = secrets.token_hex(12)
        self.name = name
        self.settings = settings
        self.totals = Totals()
        self.port = 0
        self._bench = Bench(self.id, name, settings)
        self._wire: Wire | DatagramWire | None = None
        self._trace: list[Travel] = []
        self._seen = 0
        self._taken = 0

    async def open(self, host: str, ports: Sequence[int]) -> None:
        """Start the server, and listen.

        Args:
            host: where the wire listens.
            ports: where it may listen, in this order.

        Raises:
            LaboratoryError: no port is free.
        """
        datagrams = self.name == WEBTRANSPORT
        sockets = listen(host, ports, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)
        try:
            target = await self._bench.start()
            kind: type[Wire | DatagramWire] = DatagramWire if datagrams else Wire
            wire = self._wire = kind(target, self.settings.delay_ms, self._watch, self.totals)
            await wire.start(sockets)
        except BaseException:
            for one in sockets:
                one.close()
            raise
        self.port = wire.port

    @property
    def certificate_hash(self) -> str:
        """Base64 of the SHA-256 of its certificate; empty if it has none."""
        return self._bench.certificate_hash

    def change(self, change: p.Change) -> None:
        """Change some settings."""
        new = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not None}
        self.settings = structs.replace(self.settings, **new)
        if self._wire is not None:
            self._wire.delay_ms = self.settings.delay_ms
        self._bench.change(self.settings)

    @property
    def failure(self) -> str | None:
        """Why its server has ended by itself; None while it runs."""
        ended = self._bench.ended
        if not ended.done():
            return None
        error = ended.result()
        return "the lane's server has ended" if error is None else f"the lane's server has failed: {error!r}"

    def _watch(self, travels: list[Travel]) -> None:
        self._seen += len(travels)
        room = MAX_TRACE - len(self._trace)
        self._trace += travels if len(travels) <= room else travels[:room]

    def take_trace(self) -> tuple[list[Travel], int]:
        """What has travelled since the last call, and how much had travelled before it, dropped or not."""
        trace, self._trace = self._trace, []
        first = self._taken
        self._taken = self._seen
        return trace, first

    def stats(self) -> p.Stats:
        """What it has cost until now."""
        notes, totals, samples = self._bench.notes, self.totals, self._bench.samples
        return p.Stats(
            at_ms=p.clock_ms(),
            transport=notes.transport,
            requests=totals.requests,
            empty_responses=totals.empty_responses,
            bytes_up=totals.bytes_up,
            bytes_down=totals.bytes_down,
            header_bytes_up=totals.header_bytes_up,
            header_bytes_down=totals.header_bytes_down,
            messages_down=notes.messages_down,
            messages_up=notes.messages_up,
            cpu_ms=round(notes.cpu_ms, 3),
            up_latency_ms=[round(samples.popleft(), 2) for _ in range(len(samples))],
            up_late=notes.up_late,
            up_lost=notes.up_lost,
        )

    def abandon(self) -> None:
        """Let its thread end, without waiting for that."""
        self._bench.abandon()

    async def close(self) -> None:
        """End the connections, the server and its thread."""
        if self._wire is not None:
            await self._wire.close()
        await self._bench.stop()


def _matters(record: logging.LogRecord) -> bool:
    """Whether a line of the log is worth it: that a lane's server has started is not."""
    return record.levelno >= logging.WARNING or not (record.threadName or "").startswith("lane ")


class Lanes:
    """All lanes.

    Args:
        host: where their wires listen.
        ports: where they may listen; (0,) for any free ports.
        most: how many lanes there may be at a time.
    """

    def __init__(self, host: str = "127.0.0.1", ports: Sequence[int] = (0,), most: int = 32) -> None:
        self._host = host
        self._ports = ports
        self._most = most
        self._lanes: dict[str, Lane] = {}
        self._busy = 0  # those that are being opened or closed
        self._closing = False
        for name in ("uvicorn.error", "madang"):
            logging.getLogger(name).addFilter(_matters)

    def __len__(self) -> int:
        return len(self._lanes) + self._busy

    def get(self, lane: str) -> Lane:
        """The lane with this id.

        Raises:
            KeyError: it isn't open.
        """
        return self._lanes[lane]

    async def open(self, name: str, settings: p.Settings) -> Lane:
        """Open a lane.

        Raises:
            LaboratoryError: there are too many, or there is no such transport; the text says which.
        """
        reason = why_not(name)
        if reason:
            raise p.LaboratoryError(f"{name[:40]}: {reason}")
        if self._closing:
            raise p.LaboratoryError("the laboratory is closing")
        if len(self) >= self._most:
            raise p.LaboratoryError(f"all {self._most} lanes are in use; wait until somebody closes one")
        lane = Lane(name, settings)
        self._busy += 1
        try:
            await lane.open(self._host, self._ports)
        except p.LaboratoryError:
            raise
        except asyncio.CancelledError:
            lane.abandon()
            raise
        except Exception as error:
            await lane.close()
            raise p.LaboratoryError(f"{name}: the lane's server doesn't start: {error}") from error
        finally:
            self._busy -= 1
        self._lanes[lane.id] = lane
        return lane

    async def close(self, lane: Lane) -> None:
        """Close a lane, if it is open."""
        if self._lanes.pop(lane.id, None) is None:
            return
        self._busy += 1
        try:
            await lane.close()
        finally:
            self._busy -= 1

    async def close_all(self) -> None:
        """Close all, and open no more."""
        self._closing = True
        await asyncio.gather(*(self.close(lane) for lane in tuple(self._lanes.values())))
