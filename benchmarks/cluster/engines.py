"""Engines as processes of their own, with nothing on disk that has to survive."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import UnavailableError
from benchmarks.runner import free_port, in_child, process_tree, stop

START_SECONDS = 30.0
#: Where Debian keeps PostgreSQL's programs, newest first.
POSTGRES = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


@dataclass(frozen=True)
class Engine:
    """One that runs.

    Attributes:
        url: with which both Madang and Node.js find it, but for the scheme.
        pid: its first process.
        tally: how many commands it has taken, and how many bytes came in and went out; empty if it does not tell.
    """

    url: str
    pid: int
    tally: Callable[[], dict[str, int]]

    @property
    def pids(self) -> list[int]:
        return process_tree(self.pid)


def program(name: str, package: str) -> str:
    for path in (None, "/usr/sbin:/usr/local/sbin", ":".join(POSTGRES)):
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    raise UnavailableError(f"{name} is not installed (Debian: {package})")


@contextlib.contextmanager
def _running(command: list[str], folder: Path, core: int, ready: Callable[[], bool], **who: Any) -> Iterator[int]:
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=in_child(core),
            **who,
        )
    try:
        end = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                said = (folder / "output.log").read_text(errors="replace")[-2000:]
                raise UnavailableError(f"{command[0]} does not run:\n{said}")
            time.sleep(0.02)
        yield process.pid
    finally:
        stop(process)


def _first_word(port: int, said: bytes = b"") -> bytes:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(said)
        return connection.recv(64)
    return b""


class RedisTally:
    """Asks a Redis for its figures, over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._stream = self._connection.makefile("rb")

    def __call__(self) -> dict[str, int]:
        self._connection.sendall(b"INFO stats\r\n")
        length = int(self._stream.readline()[1:])
        lines = self._stream.read(length + 2).decode().splitlines()
        found = {name: int(value) for name, _, value in (line.partition(":") for line in lines) if value.isdecimal()}
        return {
            "commands": found["total_commands_processed"],
            "bytes_in": found["total_net_input_bytes"],
            "bytes_out": found["total_net_output_bytes"],
        }

    def close(self) -> None:
        self._stream.close()
        self._connection.close()


@contextlib.contextmanager
def redis(core: int) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        port = free_port()
        settings = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        command = [program("redis-server", "redis-server"), *settings]
        with (
            _running(command, Path(name), core, lambda: _first_word(port, b"PING\r\n").startswith(b"+PONG")) as pid,
            contextlib.closing(RedisTally(port)) as tally,
        ):
            yield Engine(f"redis://127.0.0.1:{port}", pid, tally)


@contextlib.contextmanager
def nats(core: int) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        port = free_port()
        command = [program("nats-server", "nats-server"), "-a", "127.0.0.1", "-p", str(port)]
        with _running(command, Path(name), core, lambda: _first_word(port).startswith(b"INFO ")) as pid:
            yield Engine(f"nats://127.0.0.1:{port}", pid, dict)


@contextlib.contextmanager
def postgres(core: int) -> Iterator[Engine]:
    """With the table that the official adapter needs for what is too long for a notification."""
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to be root's
        users = {user.pw_name for user in pwd.getpwall()}
        name = "postgres" if "postgres" in users else "nobody"
        who = {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
    with tempfile.TemporaryDirectory(prefix="bench-") as text:
        folder, port = Path(text), free_port()
        if who:
            shutil.chown(folder, who["user"])
        made = subprocess.run(
            [program("initdb", "postgresql"), "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            **who,
        )
        if made.returncode != 0:
            raise UnavailableError(f"initdb failed: {made.stderr[-1000:]}")
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
        settings |= {"autovacuum": "off", "dynamic_shared_memory_type": "mmap", "shared_buffers": "16MB"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [program("postgres", "postgresql"), "-D", str(folder / "data"), *words]
        table = (
            "CREATE TABLE IF NOT EXISTS socket_io_attachments "
            "(id bigserial UNIQUE, created_at timestamptz DEFAULT NOW(), payload bytea)"
        )
        psql = [
            program("psql", "postgresql-client"),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            "postgres",
            "-qc",
            table,
        ]

        def ready() -> bool:
            return subprocess.run(psql, cwd="/", capture_output=True, check=False).returncode == 0

        with _running(command, folder, core, ready, **who) as pid:
            yield Engine(f"postgresql://postgres@127.0.0.1:{port}/postgres", pid, dict)


@contextlib.contextmanager
def none(core: int) -> Iterator[Engine]:
    """Workers of one machine need none."""
    yield Engine("", 0, dict)
