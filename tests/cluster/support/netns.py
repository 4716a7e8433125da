"""A network of machines, each of which is a namespace of this one's: links are cut, mended and made slow.

    with Network(3) as network:
        one, two, three = network.nodes
        server = one.start(["madang", "serve", "app:app", "--host", one.address, "--port", "8000"])
        ... f"http://{one.address}:8000" ...
        two.cut()

A namespace lives as long as a process in it, and its interfaces as long as it. So nothing is left of it when the tests
are killed.
"""

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from cluster.support.processes import REAPER, awaited, program

__all__ = ["Network", "NetworkNode", "needs_network"]

STOP_SECONDS = 20
_numbers = itertools.count()


def needs_network() -> None:
    """Skip a test where it can't make a network: only root can."""
    if os.geteuid() != 0:
        pytest.skip("only root can make networks")
    program("ip", "iproute2")
    tried = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this system does not let root make networks: {tried.stderr}")


class _Namespace:
    """A namespace, and the process that keeps it."""

    def __init__(self) -> None:
        self.keeper = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], start_new_session=True)
        REAPER.watch(self.keeper.pid)
        ours = Path("/proc/self/ns/net").readlink()
        awaited(lambda: Path("/proc", str(self.keeper.pid), "ns", "net").readlink() != ours, "a namespace is there")

    @property
    def inside(self) -> list[str]:
        """What starts a program in it."""
        return ["nsenter", "--target", str(self.keeper.pid), "--net", "--"]

    def run(self, *command: str) -> str:
        """What a program prints in it."""
        return _run(*self.inside, *command)

    def close(self) -> None:
        self.keeper.kill()
        self.keeper.wait()
        REAPER.forget(self.keeper.pid)


class NetworkNode(_Namespace):
    """A machine with one link.

    Attributes:
        address: its own.
    """

    def __init__(self, hub: _Namespace, name: str, address: str) -> None:
        super().__init__()
        self.address = address
        self._hub = hub
        self._name = name  # of the other end of its link
        self._started: list[subprocess.Popen[Any]] = []
        hub.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(self.keeper.pid))
        hub.run("ip", "link", "set", name, "master", "bridge", "up")
        for command in ("link set lo up", f"address add {address}/24 dev eth0", "link set eth0 up"):
            self.run("ip", *command.split())

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program that ends with the network.

        Args:
            command: the program and its arguments.
            options: those of `subprocess.Popen`.
        """
        options = {"stdin": subprocess.DEVNULL, "start_new_session": True, **options}
        process = subprocess.Popen([*self.inside, *command], **options)
        REAPER.watch(process.pid)
        self._started.append(process)
        return process

    def cut(self) -> None:
        """Part it from all others: what is sent is lost, and nobody is told."""
        self._hub.run("ip", "link", "set", self._name, "down")

    def heal(self) -> None:
        self._hub.run("ip", "link", "set", self._name, "up")

    def slow(self, milliseconds: int, *, jitter: int = 0, loss_percent: float = 0) -> None:
        """Make its link slow, in each direction.

        Args:
            milliseconds: how long all takes.
            jitter: by how many milliseconds this differs.
            loss_percent: how much is lost, and sent again by TCP.
        """
        netem = f"netem delay {milliseconds}ms {jitter}ms loss {loss_percent}%".split()
        for namespace, device in ((self._hub, self._name), (self, "eth0")):
            namespace.run(program("tc", "iproute2"), "qdisc", "replace", "dev", device, "root", *netem)

    def fast(self) -> None:
        """Make it as it was."""
        for namespace, device in ((self._hub, self._name), (self, "eth0")):
            namespace.run(program("tc", "iproute2"), "qdisc", "del", "dev", device, "root")

    def close(self) -> None:
        """End what was started in it, and it."""
        for process in self._started:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._started:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            REAPER.forget(process.pid)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        super().close()


class Network:
    """Machines at a switch, where the tests themselves are too.

    Args:
        count: how many.

    Attributes:
        nodes: the machines.
        address: the tests' own in this network; an engine for all can listen there: `Redis(host=network.address)`.
    """

    def __init__(self, count: int = 3) -> None:
        needs_network()
        number = os.getpid() * 8 + next(_numbers)
        net = f"10.{200 + number // 250 % 50}.{number % 250}"
        self.address = f"{net}.1"
        self._hub = _Namespace()
        self.nodes: list[NetworkNode] = []
        try:
            self._hub.run("ip", "link", "add", "bridge", "type", "bridge", "stp_state", "0")
            self._hub.run("ip", "link", "set", "bridge", "up")
            # Of all this only one end of one link is seen outside.
            ours = f"madang{number % 1_000_000}"
            _run("ip", *f"link add {ours} type veth peer name tests netns {self._hub.keeper.pid}".split())
            self._hub.run("ip", "link", "set", "tests", "master", "bridge", "up")
            _run("ip", "address", "add", f"{self.address}/24", "dev", ours)
            _run("ip", "link", "set", ours, "up")
            for index in range(count):
                self.nodes.append(NetworkNode(self._hub, f"node{index}", f"{net}.{index + 11}"))
        except BaseException:
            self.close()
            raise

    @property
    def can_be_slow(self) -> bool:
        """Whether the system knows how to make a link slow."""
        if shutil.which("tc", path=f"{os.environ['PATH']}:/usr/sbin") is None:
            return False
        netem = ["tc", "qdisc", "replace", "dev", "lo", "root", "netem", "delay", "1ms"]
        return subprocess.run(["unshare", "--net", *netem], capture_output=True).returncode == 0

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        self._hub.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=STOP_SECONDS)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
