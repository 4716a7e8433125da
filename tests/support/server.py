"""A real server process on a free loopback port, for tests with real clients.

    with ServerProcess("uvicorn-fast") as server:
        ... server.url ...

A *face* is where the engine runs: our own uvicorn protocol class, or the portable ASGI face under some ASGI
server. Environment variables:

- `MADANG_TEST_FACES`: the faces to test, separated by commas, instead of all.
- `MADANG_TEST_COMMAND`: test this command's server instead, as the face `command`; `{port}` is replaced.
  This is how the suites prove themselves against another implementation of the same application.
"""

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

TESTS = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
START_SECONDS = 40
STOP_SECONDS = 30
# Short, so that a scenario can await a heartbeat, and yet long enough for a busy machine.
SETTINGS: dict[str, object] = {"ping_interval_seconds": 1.0, "ping_timeout_seconds": 3.0}
# The application's own event "fail" raises this on purpose; any other traceback in a log is a bug.
DELIBERATE = "deliberate"
# From the headline to the first line that is not indented: the error itself.
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t|+].*\n|\n)*\S.*")


def _madang(port: int, target: str) -> list[str]:
    return [str(BIN / "madang"), "serve", target, "--host", "127.0.0.1", "--port", str(port)]


def _uvicorn(ws: str) -> Callable[[int, str], list[str]]:
    def command(port: int, target: str) -> list[str]:
        address = ["--host", "127.0.0.1", "--port", str(port)]
        return [str(BIN / "uvicorn"), target, *address, "--ws", ws, "--lifespan", "on"]

    return command


def _hypercorn(port: int, target: str) -> list[str]:
    return [str(BIN / "hypercorn"), target, "--bind", f"127.0.0.1:{port}"]


def _granian(port: int, target: str) -> list[str]:
    address = ["--host", "127.0.0.1", "--port", str(port)]
    return [str(BIN / "granian"), "--interface", "asgi", *address, "--workers", "1", target]


def _given(port: int, target: str) -> list[str]:
    return shlex.split(os.environ["MADANG_TEST_COMMAND"].replace("{port}", str(port)))


FACES: dict[str, Callable[[int, str], list[str]]] = {
    "uvicorn-fast": _madang,
    "uvicorn-websockets": _uvicorn("websockets"),
    "uvicorn-websockets-sansio": _uvicorn("websockets-sansio"),
    "uvicorn-wsproto": _uvicorn("wsproto"),
    "hypercorn": _hypercorn,
    "granian": _granian,
}
if os.environ.get("MADANG_TEST_COMMAND"):
    FACES = {"command": _given}
DEFAULT_FACE = next(iter(FACES))


def selected_faces() -> list[str]:
    """The faces to test: all, or those of `MADANG_TEST_FACES`."""
    chosen = os.environ.get("MADANG_TEST_FACES", "")
    if not chosen or "command" in FACES:
        return list(FACES)
    names = [name.strip() for name in chosen.split(",")]
    unknown = [name for name in names if name not in FACES]
    if unknown:
        raise ValueError(f"MADANG_TEST_FACES names {unknown}; there are {list(FACES)}")
    return names


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """One server process, that may be stopped, killed, frozen and started again on the same port."""

    def __init__(
        self,
        face: str = DEFAULT_FACE,
        settings: Mapping[str, object] | None = None,
        target: str = "support.apps:app",
        options: Sequence[str] = (),
    ) -> None:
        self.face = face
        self.options = options
        self.target = target
        self.settings = {**SETTINGS, **(settings or {})}
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that the process has written so far, over all its starts."""
        if self._log is None:
            return ""
        end = self._log.seek(0, os.SEEK_END)
        return os.pread(self._log.fileno(), end, 0).decode(errors="replace")

    def start(self) -> None:
        """Start, and wait until an HTTP request is answered."""
        assert self.process is None, "already started"
        if self._log is None:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            "MADANG_TEST_CONFIG": json.dumps(self.settings),
        }
        self.process = subprocess.Popen(
            [*FACES[self.face](self.port, self.target), *self.options],
            cwd=TESTS.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own group, so that its workers can be ended with it
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                what = f"ended with {code}" if code is not None else f"gave no answer in {START_SECONDS} s"
                self.kill()
                raise RuntimeError(f"the server on {self.face} {what}; its log:\n{self.log}")
            time.sleep(0.03)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask the process to end, as an operator would, and return the seconds that it took."""
        assert self.process is not None, "not started"
        began = time.monotonic()
        self.process.send_signal(number)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            late = f"the server on {self.face} did not end {STOP_SECONDS} s after {number.name}"
            raise TimeoutError(f"{late}; its log:\n{self.log}") from None
        finally:
            self.kill()
        return time.monotonic() - began

    def interrupt(self) -> float:
        """Ctrl-C."""
        return self.stop(signal.SIGINT)

    def kill(self) -> None:
        """End the process, and what it started, at once; without effect when it has ended."""
        process, self.process = self.process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # the whole group has ended
        process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the process from running, as if the network had gone silent."""
        assert self.process is not None, "not started"
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None, "not started"
        os.killpg(self.process.pid, signal.SIGCONT)

    def tracebacks(self) -> list[str]:
        """The tracebacks in the log that nobody asked for."""
        return [block for block in TRACEBACK.findall(self.log) if DELIBERATE not in block]

    def close(self) -> None:
        """End the process, and forget its log."""
        self.kill()
        if self._log is not None:
            self._log.close()
            self._log = None

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

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/socket.io/")  # without a transport: refused, but answered
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True


def running(face: str, settings: Mapping[str, object] | None = None) -> Iterator[ServerProcess]:
    """For a fixture: a server. An unexpected traceback in its log fails the last test that used it."""
    with ServerProcess(face, settings) as server:
        yield server
        if server.process is not None:
            server.stop()
        assert not server.tracebacks(), f"the server on {face} logged:\n" + "\n".join(server.tracebacks())
