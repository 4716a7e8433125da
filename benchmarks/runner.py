"""Starts a server, sets the load generator on it, and stops it again, whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .compile import built
from .peers import HERE, SERVERS, Peer
from .works import Pace, Work

LOAD_SOURCE = HERE / "load"
DESCRIPTORS = 120_000
START_SECONDS = 15.0
STOP_SECONDS = 0.5  # the figures are taken; a parked poll may keep a server from stopping in grace

NONE: Mapping[str, str] = MappingProxyType({})

_libc = ctypes.CDLL(None)


class StepFailedError(Exception):
    """A step gave no figures: a wrong answer, a server that does not start, no time left."""


def cores() -> tuple[int, int]:
    """The server's core and the load generator's; the same one if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]


def descriptors() -> int:
    """How many files, and so connections, a process may have; more than before if we may raise the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        with contextlib.suppress(ValueError, OSError):  # only some may
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, DESCRIPTORS))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def in_child(core: int) -> Callable[[], None]:
    """What a child does before it becomes the program: pinned, many descriptors, ends with its parent."""
    limit = descriptors()

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    return prepare


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def process_tree(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                found += process_tree(int(child))
    return found


def python_path(peer: Peer) -> str:
    """The peer's own folders first: else it could be another Madang that is measured."""
    return os.pathsep.join([str(SERVERS), *map(str, peer.path), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextlib.contextmanager
def running(peer: Peer, environment: Mapping[str, str] = NONE) -> Iterator[tuple[int, list[int], Path]]:
    """A server of this peer: its port, the processes it consists of, and the file with what it says.

    Args:
        peer: whose server.
        environment: what is added to the server's for this time.
    """
    port = free_port()
    with tempfile.NamedTemporaryFile("w", prefix="bench-", suffix=".log") as log:
        process = subprocess.Popen(
            peer.command(port),
            cwd=SERVERS,
            env=os.environ | {"PYTHONPATH": python_path(peer)} | dict(peer.environment) | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=in_child(cores()[0]),
            start_new_session=True,  # a group of its own, so that all of it can be ended by its id
        )
        try:
            wait_until_listening(process, port, Path(log.name))
            yield port, process_tree(process.pid), Path(log.name)
        finally:
            stop(process)


def wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise StepFailedError(f"the server ended with status {process.returncode}:\n{tail(log)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise StepFailedError(f"the server does not listen after {START_SECONDS:g} s:\n{tail(log)}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Whatever is left of the group that we made. Its id cannot be another's while one member lives.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join("    " + line for line in log.read_text(errors="replace").splitlines()[-lines:])


def run_step(peer: Peer, work: Work, pace: Pace, *, quick: bool) -> dict[str, Any]:
    """One work on one freshly started server. Returns the load generator's figures."""
    with running(peer, work.environment) as (port, pids, log):
        options: dict[str, float] = {
            "warmup": pace.warmup * peer.warmup,
            "seconds": pace.seconds,
            "settle": pace.settle,
            "deadline": pace.deadline,
        }
        return generate(work.kind, options | work.arguments(quick=quick), port, pids, log)


def generate(kind: str, options: Mapping[str, float], port: int, pids: Sequence[int], log: Path) -> dict[str, Any]:
    """Sets the load generator on a server that runs. Returns its figures.

    Raises:
        StepFailedError: it found something wrong, or did not end in time.
    """
    command = [str(built(LOAD_SOURCE)), kind, "--port", str(port), "--core", str(cores()[0])]
    for name, value in options.items():
        command += [f"--{name}", f"{value:g}"]
    for pid in pids:
        command += ["--pid", str(pid)]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=in_child(cores()[1]))
    try:
        output, errors = load.communicate(timeout=options["deadline"] + 10)
    except subprocess.TimeoutExpired:
        raise StepFailedError("the load generator did not end in time") from None
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
    said = tail(log)
    if load.returncode != 0:
        message = errors.decode(errors="replace").strip() or f"load ended with status {load.returncode}"
        raise StepFailedError(message + (f"\n  the server said:\n{said}" if said else ""))
    result: dict[str, Any] = json.loads(output)
    if said:
        result["server_said"] = said
    return result
