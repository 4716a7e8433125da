"""Servers of one cluster behind nginx, which sends each request to the next of them: nothing is sticky.

One of them is behind another ASGI server than the rest, so that requests pass from each face to the other.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from madang.cluster.broker import Broker
from proxies.support.real import ProxyProcess, nginx
from support.server import ServerProcess

__all__ = ["FACES", "Courtyard"]

FACES = ("uvicorn-fast", "uvicorn-websockets", "uvicorn-fast")

#: `least_conn` and the like would keep to one server while the others are busy. The old connections to a server that
#: has been restarted are of no use, so none is kept.
_SITE = """
    log_format courtyard "$status $request_method $request_uri $upstream_addr";
    upstream courtyard {{
        {servers}
    }}
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        "" "";
    }}
    server {{
        listen 127.0.0.1:PORT;
        access_log {folder}/requests.log courtyard;
        location / {{
            proxy_pass http://courtyard;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 75s;
            proxy_buffering off;
        }}
    }}"""


class Courtyard:
    """The servers, what connects them, and nginx before them. Like a `ServerProcess` to those who use it.

    Args:
        settings: of each server.
        target: the application.
        faces: what each is behind.
        cluster: the URL of what connects them; without it they do that themselves.
    """

    def __init__(
        self,
        settings: Mapping[str, object],
        target: str = "support.apps:app",
        faces: Sequence[str] = FACES,
        cluster: str | None = None,
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="madang-")))
        settings = {**settings, "cluster": cluster or f"local://{self._folder}"}
        self.servers = [ServerProcess(face, settings, target) for face in faces]
        self.proxy: ProxyProcess

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy['courtyard']}"

    @property
    def log(self) -> str:
        return "\n".join(f"== {server.face} at {server.port}\n{server.log}" for server in self.servers)

    def requests(self) -> list[tuple[str, int, str, str]]:
        """What went through nginx and is answered: to whom, with which status, by which method, and for what."""
        found = []
        for line in (self._folder / "requests.log").read_text().splitlines():
            status, method, target, servers = line.split(" ", 3)
            found.append((servers.split(", ")[-1], int(status), method, target))
        return found

    def tracebacks(self) -> list[str]:
        return [block for server in self.servers for block in server.tracebacks()]

    def restart(self) -> None:
        for server in self.servers:
            server.stop()
        for server in self.servers:
            server.start()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._broker = Broker(self._folder)
        await self._broker.start()
        try:
            for server in self.servers:
                self._stack.callback(server.close)
            await asyncio.gather(*[loop.run_in_executor(None, server.start) for server in self.servers])
            servers = "\n".join(f"server 127.0.0.1:{server.port} max_fails=0;" for server in self.servers)
            sites = {"courtyard": _SITE.format(servers=servers, folder=self._folder)}
            self.proxy = self._stack.enter_context(nginx(self._folder, sites))
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        await self._broker.close()
