"""Processes of the tests: they have a folder and a port, and may be stopped, killed, paused and started again."""

import pwd
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from cluster.support.reaper import Reaper, pause_family, signal_family

__all__ = ["REAPER", "Engine", "Group", "awaited", "program", "quiet_port"]

#: Engines answer within a second; a busy machine may need much longer.
START_SECONDS = 30
STOP_SECONDS = 20
LOG_CHARACTERS = 8_000
REAPER = Reaper()
_given: set[int] = set()


def program(name: str, package: str, folders: Sequence[str] = ()) -> str:
    """The path of an engine's program. Without it the test fails, and says which package of Debian's has it."""
    # Debian keeps some where not everybody looks.
    for path in (None, "/usr/sbin:/usr/local/sbin", ":".join(folders)):
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    pytest.fail(f"{name} is needed for the tests of clusters, and is not installed: apt-get install {package}")


def quiet_port() -> int:
    """A free port that the system gives to nobody by itself.

    Of those that it gives, one may become that of a client's connection while the engine is down; even that of the
    engine's own client, which then is connected with itself.
    """
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = 32768
    choices = range(10_000, first) if first > 11_000 else range(61_000, 65_536)
    while True:
        port = random.choice(choices)
        if port in _given:
            continue
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


class Engine:
    """A process that listens at a port, with a folder of its own.

    Its methods wait until what they do is done; with `await asyncio.to_thread(engine.restart)` a coroutine lets others
    go on meanwhile.

    Args:
        port: where to listen; without it, at a free one.
        host: the address where to listen.
    """

    #: How it is asked to end.
    farewell = signal.SIGTERM
    #: The user that runs it, if it must not be root.
    user: str | None = None

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1") -> None:
        self._chosen = port != 0
        self.port = port or quiet_port()
        self.host = host
        self.folder = Path(tempfile.mkdtemp(prefix="madang-"))
        REAPER.remove(self.folder)
        self.process: subprocess.Popen[bytes] | None = None
        self._prepared = False
        self._paused = False

    # What each engine says of itself

    def command(self) -> list[str]:
        """What starts it in the foreground."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Write what it needs, before the first start."""

    def greeted(self, connection: socket.socket) -> bool:
        """Whether a new connection shows that it is ready."""
        raise NotImplementedError

    # What all have

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def log(self) -> str:
        """All that the process has written so far, over all its starts."""
        path = self.folder / "output.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        assert self.process is None, "already started"
        if not self._prepared:
            self.prepare()
            self._prepared = True
        while True:
            with (self.folder / "output.log").open("ab") as log:
                self.process = subprocess.Popen(
                    self.command(),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **self._who(),
                )
            REAPER.watch(self.process.pid)
            deadline = time.monotonic() + START_SECONDS
            while not self.answers():
                code = self.process.poll()
                if code is not None and not self._chosen and "ddress already in use" in self.log:
                    self._end()
                    self.port = quiet_port()  # somebody was faster
                    break
                if code is not None or time.monotonic() > deadline:
                    what = f"ended with {code}" if code is not None else f"gave no answer in {START_SECONDS} s"
                    self.kill()
                    raise RuntimeError(f"{self.command()[0]} {what}; its log:\n{self.log[-LOG_CHARACTERS:]}")
                time.sleep(0.01)
            else:
                self._chosen = True
                return

    def answers(self, seconds: float = 1.0) -> bool:
        """Whether it is ready, and says so in time."""
        try:
            with socket.create_connection(self.address, timeout=seconds) as connection:
                return self.greeted(connection)
        except ssl.SSLCertVerificationError:
            raise  # that will not get better
        except OSError:
            return False

    def stop(self) -> None:
        """Ask it to end, as an operator would, and wait until it has."""
        assert self.process is not None, "not started"
        if self._paused:
            self.resume()
        self.process.send_signal(self.farewell)
        try:
            self.process.wait(STOP_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it, and all that it has started, at once; without effect when it has ended."""
        if self.process is not None:
            if self.process.poll() is None:
                signal_family(self.process.pid, signal.SIGKILL)
            self._end()

    def _who(self) -> dict[str, Any]:
        """Who runs its programs, for `subprocess`."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}

    def _end(self) -> None:
        assert self.process is not None
        self.process.wait()
        REAPER.forget(self.process.pid)
        self.process = None
        self._paused = False

    def restart(self) -> None:
        """Stop it, and start it again at the same port. What it keeps is what it has on disk."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it not run: connections stay, and nothing is answered."""
        assert self.process is not None, "not started"
        pause_family(self.process.pid)
        self._paused = True

    def resume(self) -> None:
        assert self.process is not None, "not started"
        signal_family(self.process.pid, signal.SIGCONT)
        self._paused = False

    def close(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Group:
    """Several engines that are one."""

    members: Sequence[Engine]

    def start(self) -> None:
        """Start all, and wait until they are one."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        return "\n".join(f"== port {engine.port}\n{engine.log}" for engine in self.members)

    def stop(self) -> None:
        for engine in self.members:
            engine.stop()

    def kill(self) -> None:
        for engine in self.members:
            engine.kill()

    def pause(self) -> None:
        for engine in self.members:
            engine.pause()

    def resume(self) -> None:
        for engine in self.members:
            engine.resume()

    def close(self) -> None:
        for engine in self.members:
            engine.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def awaited(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.05)
