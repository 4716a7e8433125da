"""Machines of a network, each with `madang serve --workers`, behind nginx, which sends each request to the next one.

with Machines(folder, "redis://10.200.0.1:6379", network) as machines:
    client = Client(machines.url, transports=["polling"])
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.support.netns import Network, NetworkNode
from cluster.support.processes import awaited
from cluster.support.soak import notes_in
from proxies.support.real import ProxyProcess, nginx

__all__ = ["Machines"]

PORT = 8000
APP = """
from cluster.support.soaked import from_environment

io = from_environment()
"""
#: Nothing of it is about Socket.IO, but that the connections behind it are kept. A machine that can't be reached is
#: left out for a while, as ever.
_SITE = """
    log_format machines "$msec $upstream_addr $upstream_status $status $request_time $request_method $request_uri";
    upstream machines {{
        {servers}
        keepalive 32;
    }}
    server {{
        listen 127.0.0.1:PORT;
        access_log {folder}/requests.log machines;
        location / {{
            proxy_pass http://machines;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
            proxy_connect_timeout 1s;
            proxy_read_timeout 8s;
            proxy_buffering off;
        }}
    }}"""


class Machines:
    """They start together, and end together.

    Args:
        folder: where their notes are.
        cluster: the URL of what connects them.
        network: with the machines.
        workers: how many each has.
        settings: of the servers.
        pause_seconds: between two numbers of a worker.
        cluster_settings: more of those of the cluster.
    """

    def __init__(
        self,
        folder: Path,
        cluster: str,
        network: Network,
        *,
        workers: int = 2,
        settings: dict[str, Any],
        pause_seconds: float = 0.4,
        cluster_settings: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.network = network
        self._cluster = cluster
        self._workers = workers
        self._settings = settings
        self._pause_seconds = pause_seconds
        self._cluster_settings = cluster_settings or {}
        self._stack = contextlib.ExitStack()
        self.proxy: ProxyProcess

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy['machines']}"

    @property
    def notes(self) -> list[dict[str, Any]]:
        return notes_in(self.folder)

    def workers(self) -> set[str]:
        """All that have ever started: their machines and process ids."""
        return {note["who"] for note in self.notes if note["what"] == "start"}

    def workers_of(self, index: int) -> set[str]:
        return {who for who in self.workers() if who.startswith(f"{index}:")}

    @property
    def log(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("machine-*.log")))

    def requests(self) -> list[tuple[float, str, str, int, str, str]]:
        """What went through nginx: when, to whom, with which statuses, by which method, and for what."""
        found = []
        for line in (self.folder / "requests.log").read_text().splitlines():
            words = line.replace(", ", ",").split(" ")
            found.append((float(words[0]), words[1], words[2], int(words[3]), words[5], words[6]))
        return found

    def _start(self, index: int, node: NetworkNode) -> None:
        told = {
            "machine": f"{index}",
            "folder": str(self.folder),
            "cluster": self._cluster,
            "cluster_settings": self._cluster_settings,
            "settings": self._settings,
            "pause_seconds": self._pause_seconds,
        }
        temporary = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="madang-test-"))
        environment = {**os.environ, "SOAK": json.dumps(told), "TMPDIR": temporary}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        command = [sys.executable, "-m", "madang", "serve", "app:io", "--host", node.address, "--port", f"{PORT}"]
        with (self.folder / f"machine-{index}.log").open("ab") as log:
            node.start(
                [*command, "--workers", f"{self._workers}"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        try:
            (self.folder / "app.py").write_text(APP)
            for index, node in enumerate(self.network.nodes):
                self._start(index, node)
            count = len(self.network.nodes)
            awaited(lambda: self.log.count("Listening at") == count, "all machines listen", 60)
            servers = "\n".join(f"server {node.address}:{PORT};" for node in self.network.nodes)
            sites = {"machines": _SITE.format(servers=servers, folder=self.folder)}
            self.proxy = self._stack.enter_context(nginx(self.folder, sites))
        except BaseException:
            print(self.log[-8_000:])
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if error is not None:
            print(self.log[-20_000:])
