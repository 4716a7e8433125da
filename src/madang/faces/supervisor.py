"""Several processes that serve one application at one port: `madang serve --workers`.

    Supervisor   listens, starts the workers, and starts them anew when they die; the broker between them is its own
     └ Slot        the place of one worker, with the sockets at which it listens; they outlive it
        └ Process    one worker: `faces/worker.py`, a fresh interpreter

Each slot has sockets of its own, among which the kernel spreads new connections evenly (`SO_REUSEPORT`). The supervisor
holds them too, so that no connection is lost between a worker that ends and the one that takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Final

import uvicorn

from madang.cluster.broker import Broker
from madang.errors import ConfigError
from madang.faces.control import LISTEN, LISTENING, READY, STOP, Job, write_job
from madang.faces.health import check_path
from madang.faces.target import Target

__all__ = ["serve_workers"]

logger = logging.getLogger("madang")

#: Over how long the clients of a worker are sent away whose place another one has taken, where nobody says otherwise.
_ROLLING_DRAIN_SECONDS: Final = 5.0
#: How long a worker may take to end, beyond the time in which it sends its clients away.
_END_SECONDS: Final = 30.0
#: After how long it is told that a worker is still starting; and when SIGHUP ends it, to try another one (seconds).
_SLOW_SECONDS: Final = 30.0
_STUCK_SECONDS: Final = 4.0
#: A worker that has lived for less has failed, and the next one is not started at once.
_LIFE_SECONDS: Final = 5.0
#: How long it takes until it is: at first, each time twice as long, and at most.
_FIRST_DELAY_SECONDS: Final = 0.5
_MOST_DELAY_SECONDS: Final = 30.0
#: After so many failures, while no worker is there, it is given up.
_MOST_FAILURES: Final = 5
#: What uvicorn's own exit code is of an application that doesn't start.
_FAILURE: Final = 3


def serve_workers(
    target: Target,
    workers: int,
    *,
    host: str,
    port: int,
    drain_seconds: float | None = None,
    health_path: str | None = None,
    tune: bool = False,
    **options: Any,
) -> None:
    """Serve an application in several processes, until Ctrl-C or SIGTERM.

    SIGHUP replaces each worker by a new one, one after the other; SIGTTIN and SIGTTOU make one more or one less.

    Args:
        target: what names the application.
        workers: how many processes.
        host: the address to listen at.
        port: the TCP port; 0 for a free one.
        drain_seconds: over how long clients are sent away before a process ends; None: at once, and over 5 s where
            another worker takes the place of one.
        health_path: a path at which load balancers ask whether clients are taken.
        tune: whether to set the workers' memory for serving.
        options: uvicorn's other settings.

    Raises:
        ConfigError: it can't be done here, or not with these settings.
        SystemExit: the workers don't start; with the exit code of the last one.
    """
    if type(workers) is not int or workers < 1:
        raise ConfigError(f"workers must be a whole number of at least 1, not {workers!r}")
    if health_path is not None:
        check_path(health_path)
    if sys.platform == "win32":
        raise ConfigError("workers need a Unix: on Windows, run one process")
    supervisor = Supervisor(target, workers, host, port, drain_seconds, health_path, tune, options)
    with asyncio.Runner(loop_factory=supervisor.config.get_loop_factory()) as runner:
        code = runner.run(supervisor.run())
    if code:
        sys.exit(code)


class Process:
    """One worker.

    Args:
        process: its process.
        slot: its place.
        writer: the connection to it.

    Attributes:
        pid: its number.
        slot: as given.
        began: when it was started, in seconds of the monotonic clock.
        leaving: whether it was asked to end.
        ready: whether it has started and may listen; waits for that, or for its end.
        listening: whether it listens; the same.
        ended: its exit code, once it has ended.
    """

    def __init__(self, process: asyncio.subprocess.Process, slot: Slot, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.slot = slot
        self.began = time.monotonic()
        self.leaving = False
        self.ready: asyncio.Future[bool] = loop.create_future()
        self.listening: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._process = process
        self._writer = writer

    async def attend(self, reader: asyncio.StreamReader) -> int:
        """Hear what it says, until it has ended."""
        with contextlib.suppress(ConnectionError):
            while line := (await reader.readline()).strip():
                future = self.ready if line == READY else self.listening if line == LISTENING else None
                if future is not None and not future.done():
                    future.set_result(True)
        code = await self._process.wait()
        self._writer.close()
        for future in (self.ready, self.listening):
            if not future.done():
                future.set_result(False)
        self.ended.set_result(code)
        return code

    def listen(self) -> None:
        """Let it listen."""
        self._writer.write(LISTEN + b"\n")

    def stop(self, seconds: float, *, replaced: bool) -> None:
        """Ask it to end.

        Args:
            seconds: over how long it sends its clients away.
            replaced: whether others stand in for it.
        """
        self.leaving = True
        self._writer.write(b"%b %g %d\n" % (STOP, seconds, replaced))

    def kill(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


class Slot:
    """The place of one worker.

    Args:
        number: which.
        sockets: where its workers listen.

    Attributes:
        number: as given.
        sockets: as given.
        process: its worker, if there is one that listens.
        lock: held while a worker is started here.
        failures: how many have died soon, one after the other.
    """

    def __init__(self, number: int, sockets: list[socket.socket]) -> None:
        self.number = number
        self.sockets = sockets
        self.process: Process | None = None
        self.lock = asyncio.Lock()
        self.failures = 0


class Supervisor:
    """Starts the workers, and looks after them.

    Args:
        target: what names the application.
        workers: how many there are to be.
        host: the address to listen at.
        port: the TCP port.
        drain_seconds: over how long a worker sends its clients away.
        health_path: where load balancers ask.
        tune: whether to set the workers' memory for serving.
        options: uvicorn's other settings.

    Attributes:
        config: uvicorn's settings.
    """

    def __init__(
        self,
        target: Target,
        workers: int,
        host: str,
        port: int,
        drain_seconds: float | None,
        health_path: str | None,
        tune: bool,
        options: dict[str, Any],
    ) -> None:
        try:
            self.config = uvicorn.Config("madang", host=host, port=port, **options)
            self._listeners = Listeners(self.config)
        except TypeError as error:
            raise ConfigError(f"there is no such setting: {error}") from None
        self._target = target
        self._workers = workers
        self._drain_seconds = drain_seconds
        self._health_path = health_path
        self._tune = tune
        # Where it listens is for the supervisor to say.
        self._options = {name: value for name, value in options.items() if name not in ("uds", "fd")}
        self._directory = ""
        self._slots: list[Slot] = []
        self._processes: set[Process] = set()
        #: Those that are to take a place, and have not started yet.
        self._starting: set[Process] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._attending: set[asyncio.Task[Any]] = set()
        self._over: asyncio.Future[int]
        self._stopping = False
        self._is_rolling = False
        self._roll_again = False
        self._next_number = 1

    async def run(self) -> int:
        """Serve until a signal comes; returns the exit code."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        self._directory = tempfile.mkdtemp(prefix="madang-")
        broker = Broker(self._directory)
        broker.on_error = lambda error: logger.error("a worker says what makes no sense: %s", error)
        signals = {
            signal.SIGTERM: self._terminate,
            signal.SIGINT: self._terminate,
            signal.SIGHUP: self._roll_soon,
            signal.SIGTTIN: self._more,
            signal.SIGTTOU: self._less,
        }
        try:
            await broker.start()
            for number, function in signals.items():
                loop.add_signal_handler(number, function)
            self._start_task(self._begin())
            code = await self._over
            await self._end_all()
        finally:
            for process in self._processes:
                process.kill()
            for number in signals:
                loop.remove_signal_handler(number)
            await broker.close()
            shutil.rmtree(self._directory, ignore_errors=True)
            self._listeners.close()
        logger.info("all workers have ended")
        return code

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the supervisor has failed", exc_info=error)
            self._finish(1)

    def _finish(self, code: int) -> None:
        if not self._over.done():
            self._over.set_result(code)

    # Starting

    async def _begin(self) -> None:
        """Start all workers, and let them listen together, so that each gets its share of who comes."""
        for _ in range(self._workers):
            self._add_slot()
        async with contextlib.AsyncExitStack() as locks:
            for slot in self._slots:  # who wants to replace a worker waits until there is one
                await locks.enter_async_context(slot.lock)
            # The first one alone: what is wrong with the application is then told once.
            first, *others = self._slots
            processes = [await self._spawn(first)]
            if not await self._ready(processes[0]):
                self._give_up(processes[0])
                return
            processes += await asyncio.gather(*[self._spawn(slot) for slot in others])
            for process in processes:
                if await self._ready(process):
                    process.listen()
            for process in processes:
                await self._settle(process)
        if not self._stopping:
            count = len(self._slots)
            logger.info("Listening at %s with %d workers (Press CTRL+C to quit)", self._listeners.url, count)

    def _add_slot(self) -> Slot:
        slot = Slot(self._next_number, self._listeners.make())
        self._next_number += 1
        self._slots.append(slot)
        return slot

    async def _spawn(self, slot: Slot) -> Process:
        """Start a worker."""
        ours, theirs = socket.socketpair()
        descriptors = [one.fileno() for one in slot.sockets]
        job = Job(
            self._target,
            sys.path,
            f"{socket.gethostname()}:worker-{slot.number}",
            self._directory,
            descriptors,
            self._drain_seconds or 0.0,
            self._health_path,
            self._tune,
            self._options,
        )
        try:
            data = write_job(job)
        except Exception as error:
            raise ConfigError(f"workers: a setting can't be handed over to other processes: {error}") from None
        try:
            with theirs:
                child = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "madang.faces.worker",
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), *descriptors],
                )
        except BaseException:
            ours.close()  # if it has been started all the same, it ends
            raise
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        process = Process(child, slot, writer)
        self._processes.add(process)
        writer.write(data)
        task = asyncio.create_task(self._attend(process, reader))
        self._attending.add(task)
        task.add_done_callback(self._attending.discard)
        task.add_done_callback(self._task_ended)
        return process

    async def _attend(self, process: Process, reader: asyncio.StreamReader) -> None:
        code = await process.attend(reader)
        self._processes.discard(process)
        if process.slot.process is process and not process.leaving and not self._stopping:
            self._died(process, code)

    def _died(self, process: Process, code: int) -> None:
        """A worker has ended that was to go on."""
        slot = process.slot
        slot.process = None
        logger.warning("worker %d (process %d) has died: %s", slot.number, process.pid, _why(code))
        slot.failures = slot.failures + 1 if time.monotonic() - process.began < _LIFE_SECONDS else 0
        self._start_task(self._revive(slot))

    async def _ready(self, process: Process) -> bool:
        """Wait until a worker has started; returns whether it has."""
        while not process.ready.done():
            _, waits = await asyncio.wait([process.ready], timeout=_SLOW_SECONDS)
            if waits:
                seconds = time.monotonic() - process.began
                logger.warning(
                    "worker %d (process %d) is still starting, for %.0f s", process.slot.number, process.pid, seconds
                )
        return process.ready.result()

    async def _settle(self, process: Process) -> bool:
        """Wait until a worker listens, and give it its slot; returns whether it does."""
        slot = process.slot
        if not await process.listening:
            if not self._stopping and not process.leaving:
                logger.error("worker %d doesn't start: %s", slot.number, _why(process.ended.result()))
                slot.failures += 1
                if slot.process is None:
                    self._start_task(self._revive(slot))
            return False
        if slot not in self._slots:  # it was one too many meanwhile
            process.stop(0.0, replaced=True)
            return False
        slot.process = process
        if process.ended.done():
            self._died(process, process.ended.result())
            return False
        return True

    async def _replace(self, slot: Slot) -> bool:
        """Start a worker in a slot, whose lock is held. Returns whether it listens, in the place of any before it."""
        try:
            process = await self._spawn(slot)
        except OSError as error:  # as when there are too many processes: the others go on
            logger.error("worker %d can't be started: %s", slot.number, error)
            slot.failures += 1
            if slot.process is None:
                self._start_task(self._revive(slot))
            return False
        self._starting.add(process)
        try:
            if await self._ready(process):
                process.listen()
            if not await self._settle(process):
                return False
        finally:
            self._starting.discard(process)
        logger.info("worker %d is process %d now", slot.number, process.pid)
        return True

    async def _revive(self, slot: Slot) -> None:
        """Start a worker in the place of one that has died."""
        if slot.failures >= _MOST_FAILURES and not any(one.process for one in self._slots):
            logger.error("the workers don't live: giving up")
            self._finish(_FAILURE)
            return
        if slot.failures > 1:
            delay = min(_MOST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0 ** (slot.failures - 2))
            delay *= random.uniform(0.75, 1.25)  # noqa: S311  # no secret
            logger.warning("worker %d is started again in %.1f s", slot.number, delay)
            self._listeners.close_some(slot.sockets)  # who comes meanwhile gets to the others
            await asyncio.sleep(delay)
        async with slot.lock:
            if slot in self._slots and slot.process is None:
                if not slot.sockets:
                    slot.sockets = self._listeners.make()
                await self._replace(slot)

    def _give_up(self, process: Process) -> None:
        if not self._stopping:
            code = process.ended.result()
            logger.error("the application doesn't start: %s", _why(code))
            self._finish(code if code > 0 else 1)

    # Signals

    def _terminate(self) -> None:
        if self._stopping:
            logger.warning("ending without waiting")
            for process in self._processes:
                process.kill()
        self._stopping = True
        self._finish(0)

    def _roll_soon(self) -> None:
        if self._stopping:
            return
        now = time.monotonic()
        for process in self._starting:
            if now - process.began > _STUCK_SECONDS:
                logger.error("process %d doesn't start: it is killed", process.pid)
                process.kill()
        if self._is_rolling:
            self._roll_again = True  # what is new since then is in those that were replaced already
        else:
            self._start_task(self._roll())

    async def _roll(self) -> None:
        """Replace one worker after the other."""
        self._is_rolling = True
        try:
            while True:
                self._roll_again = False
                logger.info("replacing %d workers, one after the other", len(self._slots))
                failed = False
                for slot in list(self._slots):
                    async with slot.lock:
                        if slot not in self._slots:
                            continue
                        before = slot.process
                        failed = not await self._replace(slot) and slot in self._slots
                    if failed:
                        break
                    # Without the lock: if the new one dies meanwhile, its place must not wait for this.
                    if before is not None and before is not slot.process and not before.ended.done():
                        await self._stop(before)
                if failed and not self._roll_again:
                    logger.error("the new worker doesn't start: the others stay as they are")
                    return
                if not self._roll_again:
                    logger.info("all workers are replaced")
                    return
        finally:
            self._is_rolling = False

    def _more(self) -> None:
        if not self._stopping:
            slot = self._add_slot()
            logger.info("one worker more: %d", len(self._slots))
            self._start_task(self._fill(slot))

    async def _fill(self, slot: Slot) -> None:
        async with slot.lock:
            await self._replace(slot)

    def _less(self) -> None:
        if self._stopping:
            return
        if len(self._slots) == 1:
            logger.warning("this is the last worker: SIGTERM ends it")
            return
        slot = self._slots.pop()
        logger.info("one worker less: %d", len(self._slots))
        self._listeners.close_some(slot.sockets)
        if slot.process is not None:
            self._start_task(self._stop(slot.process))

    # Ending

    async def _stop(self, process: Process) -> None:
        """Ask a worker to end that others stand in for, and wait for it."""
        seconds = _ROLLING_DRAIN_SECONDS if self._drain_seconds is None else self._drain_seconds
        process.stop(seconds, replaced=True)
        await self._see_off([process], seconds)

    async def _end_all(self) -> None:
        """Ask all workers to end, and wait for them."""
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        seconds = self._drain_seconds or 0.0
        for process in self._processes:
            process.stop(seconds, replaced=False)
        # What is held here only would wait for nobody.
        self._listeners.close()
        await self._see_off(list(self._processes), seconds)

    async def _see_off(self, processes: list[Process], seconds: float) -> None:
        if processes:
            _, left = await asyncio.wait([one.ended for one in processes], timeout=seconds + _END_SECONDS)
            for process in processes:
                if process.ended in left:
                    logger.error("process %d doesn't end: it is killed", process.pid)
                    process.kill()
            if left:
                await asyncio.wait(left)


class Listeners:
    """The sockets at which workers listen.

    Args:
        config: uvicorn's settings.

    Attributes:
        url: where they are.

    Raises:
        ConfigError: they can't be had.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._shared: list[socket.socket] | None = None
        self._all: list[socket.socket] = []
        self._addresses: list[tuple[socket.AddressFamily, Any]] = []
        if config.uds or config.fd is not None:
            self._shared = self._all = [config.bind_socket()]
            self.url = config.uds or f"file descriptor {config.fd}"
            return
        try:
            port = self._probe(config.host, config.port)
        except OSError as error:
            self.close()
            raise ConfigError(f"can't listen at {config.host} port {config.port}: {error.strerror or error}") from None
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"{'https' if config.is_ssl else 'http'}://{host}:{port}"
        if not _BALANCED:
            self._shared = [self._bind(family, address) for family, address in self._addresses]

    def _probe(self, host: str, port: int) -> int:
        """Find the addresses, and a port that is free at all of them."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        probes: list[socket.socket] = []
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                # Without sharing: else we would take a part of the connections of somebody who listens here.
                probe = self._bind(family, (address[0], port, *address[2:]), share=False)
                probes.append(probe)
                port = probe.getsockname()[1]
                self._addresses.append((family, (address[0], port, *address[2:])))
        finally:
            self.close_some(probes)
        return port

    def _bind(self, family: socket.AddressFamily, address: Any, *, share: bool = True) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        self._all.append(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share and _BALANCED:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.setblocking(False)
        return made

    def make(self) -> list[socket.socket]:
        """The sockets for one slot."""
        if self._shared is not None:
            return list(self._shared)
        return [self._bind(family, address) for family, address in self._addresses]

    def close_some(self, sockets: list[socket.socket]) -> None:
        """A slot needs its sockets no more. Empties the list; those that all share stay open."""
        if self._shared is None:
            for one in sockets:
                one.close()
                self._all.remove(one)
            sockets.clear()

    def close(self) -> None:
        """Close them all."""
        _close(self._all)


#: Whether the kernel spreads connections among sockets with the same address.
_BALANCED: Final = sys.platform == "linux"


def _close(sockets: Iterable[socket.socket]) -> None:
    for one in sockets:
        one.close()


def _why(code: int) -> str:
    """Why a process has ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
