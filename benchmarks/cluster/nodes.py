"""Servers that are a cluster, the one load generator in front of them, and what drives both."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from benchmarks.cluster.engines import Engine
from benchmarks.cluster.figures import Reading
from benchmarks.cluster.works import Backend
from benchmarks.counters import cpu_seconds
from benchmarks.nodejs import node, node_packages, prepare_ws
from benchmarks.peers import SERVERS, SOURCE, need_modules, python_packages
from benchmarks.runner import (
    StepFailedError,
    free_port,
    in_child,
    process_tree,
    tail,
    wait_until_listening,
)

_PATH = os.pathsep.join(filter(None, (str(SERVERS), str(SOURCE), os.environ.get("PYTHONPATH"))))
STOP_SECONDS = 2.0


def _madang_command(port: int, backend: Backend, engine: Engine, nodes: int) -> list[str]:
    listen = ("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning")
    more = ("--workers", str(nodes)) if backend.is_local else ()
    return [sys.executable, "-m", "madang", "serve", "madang_cluster:io", *listen, *more]


def _madang_environment(backend: Backend, engine: Engine) -> dict[str, str]:
    if backend.is_local:
        return {"PYTHONPATH": _PATH}
    return {"PYTHONPATH": _PATH, "BENCH_ENGINE": f"{backend.scheme}://{engine.url.partition('://')[2]}"}


def _node_command(port: int, backend: Backend, engine: Engine, nodes: int) -> list[str]:
    where = str(nodes) if backend.is_local else engine.url
    return [node(), str(SERVERS / "node_cluster.js"), str(port), str(backend.adapter), where]


@dataclass(frozen=True)
class Peer:
    """How to start one node."""

    title: str
    command: Callable[[int, Backend, Engine, int], list[str]]
    environment: Callable[[Backend, Engine], dict[str, str]]
    versions: Callable[[], dict[str, str]]
    prepare: Callable[[], None]


NODE_PACKAGES = (
    *("socket.io", "ws", "@socket.io/redis-adapter", "@socket.io/redis-streams-adapter"),
    *("@socket.io/postgres-adapter", "@socket.io/cluster-adapter", "redis", "pg"),
)
PEERS = {
    "madang": Peer(
        "Madang",
        _madang_command,
        _madang_environment,
        python_packages("madang", "uvicorn", "uvloop", "msgspec", "redis", "hiredis", "asyncpg", "nats-py"),
        need_modules("import madang.cli, uvloop, redis, hiredis, asyncpg, nats"),
    ),
    "node": Peer(
        "Node.js",
        _node_command,
        lambda backend, engine: {"NODE_ENV": "production"},
        node_packages(*NODE_PACKAGES),
        prepare_ws,
    ),
}


def cores() -> tuple[int, list[int]]:
    """That of the engine and the load generator, and those of the nodes; the same if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1:] or usable


class Nodes:
    """Running servers.

    Attributes:
        ports: of each; one alone where they are workers.
        pids: the processes of each.
    """

    def __init__(self, ports: list[int], pids: list[list[int]], logs: list[Path]) -> None:
        self.ports = ports
        self.pids = pids
        self._logs = logs

    @property
    def said(self) -> str:
        return "\n".join(filter(None, map(tail, self._logs)))


@contextlib.contextmanager
def running(peer: Peer, backend: Backend, engine: Engine, nodes: int) -> Iterator[Nodes]:
    """Nodes of one peer, started at once."""
    count = 1 if backend.is_local else nodes
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        ports = [free_port() for _ in range(count)]
        logs = [Path(name) / f"{port}.log" for port in ports]
        try:
            for number, (port, log) in enumerate(zip(ports, logs, strict=True)):
                with log.open("wb") as output:
                    processes.append(
                        subprocess.Popen(
                            peer.command(port, backend, engine, nodes),
                            cwd=SERVERS,
                            env=os.environ | peer.environment(backend, engine),
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=output,
                            preexec_fn=in_child(cores()[1][number % len(cores()[1])]),
                            start_new_session=True,
                        )
                    )
            for process, port, log in zip(processes, ports, logs, strict=True):
                wait_until_listening(process, port, log)
            if backend.is_local:
                time.sleep(1.0)  # the others come up too
            yield Nodes(ports, [process_tree(process.pid) for process in processes], logs)
        finally:
            stop_all(processes)


def stop_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + STOP_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        # Whatever is left of the group that we made.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Control:
    """A client of one node, which tells it what to do."""

    def __init__(self, port: int) -> None:
        self._connection = connect(
            f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket", compression=None, ping_interval=None
        )
        self._next()
        self._connection.send("40")
        self._next()

    def _next(self) -> str:
        while True:
            text = str(self._connection.recv(timeout=30))
            if text != "2":
                return text
            self._connection.send("3")

    def ask(self, event: str, *arguments: Any) -> Any:
        self._connection.send(f"420{json.dumps([event, *arguments])}")
        answer = self._next()
        if not answer.startswith("430"):
            raise StepFailedError(f"answer to {event}: {answer}")
        return (json.loads(answer[3:]) or [None])[0]

    def close(self) -> None:
        self._connection.close()


def idle_seconds() -> float:
    """For how long the cores have been idle, all together."""
    ticks = 0
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    for line in Path("/proc/stat").read_text().splitlines():
        words = line.split()
        if words and words[0] in names:
            ticks += int(words[4]) + int(words[5])
    return ticks / os.sysconf("SC_CLK_TCK")


def reading(nodes: Nodes, engine: Engine, engine_pids: Sequence[int], load: int | None) -> Reading:
    """All counters now."""
    return Reading(
        time.monotonic(),
        tuple(cpu_seconds(pids) for pids in nodes.pids),
        cpu_seconds(engine_pids),
        cpu_seconds([load]) if load is not None else 0.0,
        idle_seconds(),
        engine.tally(),
    )
