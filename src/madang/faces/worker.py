"""One worker: a process that a supervisor has started. It listens where it is told, and ends when it is told.

When the supervisor is gone, whatever has ended it, the worker ends too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

import uvicorn

from madang.config import Cluster, Recovery
from madang.errors import ConfigError
from madang.faces.control import LISTEN, LISTENING, READY, STOP, Job, read_job
from madang.faces.target import load
from madang.faces.uvicorn import UvicornServer, make_config
from madang.server import Server
from madang.tuning import tune_allocator

__all__ = ["main"]

#: How long a worker without a supervisor may take to end, before it is cut short.
_ORPHAN_SECONDS: Final = 15.0


class _Supervisor:
    """The supervisor, as its worker sees it. A thread listens to it, which nothing keeps from noticing that it is gone.

    Args:
        control: the connection.

    Attributes:
        server: what it is the supervisor of, once there is an event loop.
    """

    def __init__(self, control: socket.socket) -> None:
        self.server: _Worker | None = None
        self._control = control

    def say(self, line: bytes) -> None:
        """Tell it something."""
        with contextlib.suppress(OSError):  # that it is gone, is noticed by who reads
            self._control.sendall(line + b"\n")

    def watch(self, directory: str) -> None:
        """Do what it says, until it is gone; then do what it would have done, and end."""
        with contextlib.suppress(OSError), self._control.makefile("rb") as lines:
            for line in lines:
                word, _, value = line.strip().partition(b" ")
                if word == LISTEN and self.server is not None:
                    self.server.soon(self.server.listen)
                elif word == STOP:
                    seconds, replaced = value.split()
                    self._stop(float(seconds), replaced == b"1")
        shutil.rmtree(directory, ignore_errors=True)
        self._stop(0.0, False)
        time.sleep(_ORPHAN_SECONDS)
        os._exit(1)

    def _stop(self, seconds: float, replaced: bool) -> None:
        server = self.server
        if server is None:
            os._exit(0)  # nobody is served yet
        server.drain_seconds, server.hands_over = seconds, replaced
        server.soon(server.end)


class _Worker(UvicornServer):
    """The server of a worker.

    Args:
        config: uvicorn's settings.
        supervisor: who says when to listen.
        drain_seconds: over how long clients are sent away at a signal.
        tune: whether to set the garbage collector for serving.
    """

    def __init__(self, config: uvicorn.Config, supervisor: _Supervisor, drain_seconds: float, tune: bool) -> None:
        super().__init__(config, drain_seconds=drain_seconds, tune=tune)
        self._supervisor = supervisor
        self._loop: asyncio.AbstractEventLoop
        self._may_listen = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        """Start the application, and listen when it is time."""
        self._supervisor.server = self
        self.lifespan: Any = _Gate(self.lifespan, self._wait)
        await super().startup(sockets)
        if self.started:
            self._supervisor.say(LISTENING)

    async def _wait(self) -> None:
        self._supervisor.say(READY)
        await self._may_listen.wait()

    def soon(self, function: Callable[[], None]) -> None:
        """Call a function in the event loop, if that still runs."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def listen(self) -> None:
        """It is time to listen."""
        self._may_listen.set()

    def end(self) -> None:
        """It is time to end."""
        self.should_exit = True
        self._may_listen.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End with SIGTERM; what a terminal sends to all of its processes is for the supervisor alone."""
        # A handler of a signal runs between two steps of the loop, which may be about to wait: it has to be woken.
        self._loop = asyncio.get_running_loop()
        before = signal.signal(signal.SIGTERM, lambda number, frame: self.soon(self.end))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


class _Gate:
    """The application's lifespan, whose start ends when it is time to listen.

    Args:
        lifespan: uvicorn's.
        wait: what to wait for.
    """

    def __init__(self, lifespan: Any, wait: Callable[[], Awaitable[None]]) -> None:
        self._lifespan = lifespan
        self._wait = wait

    async def startup(self) -> None:
        """Start the application."""
        await self._lifespan.startup()
        if not self._lifespan.should_exit:
            await self._wait()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lifespan, name)


class _Bus:
    """Gives each server that has no cluster of its own the bus between the workers."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._counts: dict[str, int] = {}

    def __call__(self, io: Server) -> Cluster:
        # Each server is one with the same server of the other workers; they start in the same order everywhere.
        path = io.config.path
        count = self._counts[path] = self._counts.get(path, 0) + 1
        url = f"local://{quote(self._job.directory)}"
        recovery = io.config.recovery
        if isinstance(recovery, Recovery):
            seconds = recovery.max_disconnection_seconds + io.config.ping_interval_seconds
            seconds += 2 * io.config.ping_timeout_seconds
            url += f"?ledger=1&ledger_events={recovery.max_events}&ledger_bytes={recovery.max_bytes}"
            url += f"&ledger_seconds={seconds:g}"
        return Cluster(url, prefix=path if count == 1 else f"{path}#{count}", name=self._job.name)


def main(descriptor: int) -> None:
    """Be a worker.

    Args:
        descriptor: the file descriptor of the connection to the supervisor.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    try:
        job = read_job(control)
    except ConnectionError:
        return
    if job.tune:
        tune_allocator()
    sys.path[:] = job.path
    Server.default_cluster = staticmethod(_Bus(job))
    supervisor = _Supervisor(control)
    threading.Thread(target=supervisor.watch, args=(job.directory,), name="madang supervisor", daemon=True).start()
    try:
        config = make_config(load(job.target), job.health_path, **job.options)
    except ConfigError as error:
        sys.exit(f"Error: {error}")
    _Worker(config, supervisor, job.drain_seconds, job.tune).run([socket.socket(fileno=one) for one in job.sockets])


if __name__ == "__main__":
    main(int(sys.argv[1]))
