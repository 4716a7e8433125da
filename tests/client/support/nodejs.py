"""The official server under Node.js, as a process."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from support.npm import NODE, installed


class NodeServer:
    """`tests/clients/node/server.mjs`, on a free port; may be killed and started again on the same one."""

    def __init__(self, **told: Any) -> None:
        self.told = told
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        told = json.dumps({**self.told, "port": self.port})
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        self._process = await asyncio.create_subprocess_exec(installed(), "server.mjs", told, cwd=NODE, **pipes)
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            self.port = json.loads(await self._process.stdout.readline())["port"]

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            async with asyncio.timeout(20):
                await self._process.communicate()
            self._process = None

    def tick(self, first: int, end: int) -> None:
        """Let it emit numbers to everyone."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"tick": [first, end]}).encode() + b"\n")

    async def alone(self) -> None:
        """Wait until it knows that no client is left."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b'{"alone": true}\n')
        async with asyncio.timeout(20):
            await self._process.stdout.readline()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
