"""Does the works with a cluster, one after the other, and gives their figures."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.cluster.engines import Engine
from benchmarks.cluster.figures import Window, fetching, idling, publishing
from benchmarks.cluster.nodes import Control, Nodes, Peer, cores, reading, running
from benchmarks.cluster.works import FETCHED, IDLE_SECONDS, PASSING, POLLING, WORKS, Backend, Pace, Work
from benchmarks.compile import built
from benchmarks.counters import resident_bytes
from benchmarks.listeners import Listeners
from benchmarks.runner import LOAD_SOURCE, StepFailedError, in_child

__all__ = ["Session", "session"]


@dataclass
class Session:
    """One running cluster."""

    backend: Backend
    count: int
    nodes: Nodes
    engine: Engine
    pace: Pace
    warmup: float
    relays: bool

    def do(self, name: str) -> dict[str, Any]:
        """One work.

        Raises:
            StepFailedError: it gave no figures, or an event was lost.
        """
        special: dict[str, Callable[[], dict[str, Any]]] = {
            "fetch": self._fetch,
            "idle": self._idle,
            "relay": self._relay,
        }
        try:
            return special[name]() if name in special else self._publish(WORKS[name])
        except (StepFailedError, TimeoutError, OSError) as error:
            raise StepFailedError(f"{error!r}\n  the servers said:\n{self.nodes.said}") from None

    @contextlib.contextmanager
    def _window(self, load: int | None, found: list[Window]) -> Iterator[None]:
        pids = self.engine.pids if self.engine.pid else []
        before = reading(self.nodes, self.engine, pids, load)
        yield
        found.append(Window.between(before, reading(self.nodes, self.engine, pids, load)))

    def _common(self, window: Window) -> dict[str, Any]:
        return window.common(len({cores()[0], *cores()[1]}))

    def _publish(self, work: Work) -> dict[str, Any]:
        apart = self.count > 1 and not self.backend.is_local
        ports = self.nodes.ports[1:] if apart else self.nodes.ports
        clients = work.clients * (self.count if self.backend.is_local else len(ports))
        rooms = work.rooms or clients
        burst = max(1, work.burst // self.backend.slower)
        windows: list[Window] = []
        with (
            contextlib.closing(Control(self.nodes.ports[0])) as control,
            contextlib.closing(Listeners(ports, clients, rooms)) as listeners,
        ):
            time.sleep(self.pace.settle)
            control.ask("publish", rooms, burst, work.milliseconds)
            time.sleep(self.warmup)
            early = listeners.mark()
            with self._window(listeners.pid, windows):
                time.sleep(self.pace.seconds)
            heard = listeners.mark()
            emitted = control.ask("silence")
            time.sleep(self.pace.settle)
            late = listeners.mark()
        due = emitted * clients // rooms
        came = sum(sum(one["received"]) for one in (early, heard, late))
        if came != due:
            raise StepFailedError(f"{came} of {due} deliveries came")
        disordered = sum(one["disordered"] for one in (early, heard, late))
        window = windows[0]
        figures = publishing(window, heard["received"], clients // rooms, apart)
        return (
            figures
            | {"latency_us": heard["latency_us"], "clients": clients, "disordered_share": disordered / due}
            | self._common(window)
        )

    def _fetch(self) -> dict[str, Any]:
        windows: list[Window] = []
        pids = [pid for group in self.nodes.pids for pid in group]
        with contextlib.closing(Control(self.nodes.ports[0])) as control:
            Listeners(self.nodes.ports, PASSING, 1).close()
            time.sleep(self.pace.settle)
            before = resident_bytes(pids)
            with contextlib.closing(Listeners(self.nodes.ports, FETCHED, 1)) as listeners:
                time.sleep(self.pace.settle)
                after = resident_bytes(pids)
                end = time.monotonic() + self.warmup
                while time.monotonic() < end:
                    control.ask("fetch")
                told = []
                with self._window(listeners.pid, windows):
                    end = time.monotonic() + self.pace.seconds
                    while time.monotonic() < end:
                        told.append(control.ask("fetch"))
        if any(one["found"] != FETCHED + 1 for one in told):
            raise StepFailedError(f"fetch found {sorted({one['found'] for one in told})}, not {FETCHED + 1}")
        window = windows[0]
        memory = {"clients": FETCHED, "bytes_per_client": (after - before) / FETCHED}
        return fetching(window, [one["us"] for one in told]) | memory | self._common(window)

    def _idle(self) -> dict[str, Any]:
        windows: list[Window] = []
        time.sleep(self.pace.settle)
        with self._window(None, windows):
            time.sleep(max(IDLE_SECONDS, self.pace.seconds))
        return idling(windows[0]) | self._common(windows[0])

    def _relay(self) -> dict[str, Any]:
        found: dict[str, Any] = {"strangers_share": 0.0}
        ports = self.nodes.ports[:2]
        for name, used in (("direct", ports[:1]), ("relayed", ports)):
            if name == "relayed" and not self.relays:
                continue
            one = self._polling(used)
            found[name] = one
            found["strangers_share"] = max(found["strangers_share"], one.get("strangers_share", 0.0))
        if "relayed" in found:
            # What it costs more than to have asked the right node.
            extra = found["relayed"]["cpu_us_per_operation"] - found["direct"]["cpu_us_per_operation"]
            found["extra_us_per_operation"] = extra
        return found

    def _polling(self, ports: list[int]) -> dict[str, Any]:
        command = [str(built(LOAD_SOURCE)), "polling-echo", "--clients", str(POLLING)]
        command += ["--warmup", f"{self.warmup:g}", "--seconds", f"{self.pace.seconds:g}"]
        command += ["--deadline", f"{self.pace.deadline:g}"]
        for port in ports:
            command += ["--port", str(port)]
        if len(cores()[1]) == 1:
            command += ["--core", str(cores()[1][0])]
        for pid in (pid for group in self.nodes.pids for pid in group):
            command += ["--pid", str(pid)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=self.pace.deadline + 10,
            check=False,
            preexec_fn=in_child(cores()[0]),
        )
        if done.returncode != 0:
            raise StepFailedError(done.stderr.strip() or f"load ended with status {done.returncode}")
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures


@contextlib.contextmanager
def session(peer: Peer, backend: Backend, count: int, pace: Pace, *, warmup: float, relays: bool) -> Iterator[Session]:
    """An engine and its nodes, as long as it is needed.

    Raises:
        UnavailableError: the engine can't be started here.
        StepFailedError: a node can't be started.
    """
    with backend.start(cores()[0]) as engine, running(peer, backend, engine, count) as nodes:
        time.sleep(pace.meet)
        yield Session(backend, count, nodes, engine, pace, warmup, relays)
