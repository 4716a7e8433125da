"""`madang serve --workers` as a process, with what it logs."""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.support.processes import REAPER

__all__ = ["Workers", "until"]

SECONDS = 60
#: Of several workers, and of one alone.
LISTENING = re.compile(r"(?:Listening at|Uvicorn running on) (\S+)")

APP = """
import os
from madang import Server, Socket

io = Server(recovery=True)


@io.event
def pid(socket: Socket) -> int:
    return os.getpid()


@io.event
def say(socket: Socket, text: str) -> None:
    io.to("talkers").emit("said", text)


@io.on("connection")
def connected(socket: Socket) -> None:
    socket.join("talkers")
"""


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not done():
            await asyncio.sleep(0.01)


class Workers:
    """A supervisor with its workers.

    Attributes:
        url: where they listen, once `listening` was awaited.
        lines: what they have logged.
        code: the exit code, once `ended` was awaited.
    """

    def __init__(self, folder: Path, *options: str, app: str = APP) -> None:
        (folder / "app.py").write_text(textwrap.dedent(app))
        self._folder = folder
        # A path of a socket may not be long, and pytest's are.
        self._temporary = tempfile.TemporaryDirectory(prefix="madang-test-")
        self._options = options
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]
        self.url = ""
        self.lines: list[str] = []
        self.code: int | None = None

    async def __aenter__(self) -> Self:
        command = [sys.executable, "-m", "madang", "serve", "app:io", "--port", "0", *self._options]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self._folder,
            env={**os.environ, "TMPDIR": self._temporary.name},
            stderr=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
        )
        REAPER.watch(self.pid)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        await self.ended()
        REAPER.forget(self.pid)
        self._temporary.cleanup()
        if error is not None:
            print(self.log)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _read(self) -> None:
        """Until the last of them has ended: all have the same pipe."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode().rstrip())

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def pids(self) -> set[int]:
        """All workers that were ever told of."""
        return {int(found) for found in re.findall(r"Started server process \[(\d+)\]", self.log)}

    async def said(self, words: str, count: int = 1) -> None:
        await until(lambda: self.log.count(words) >= count or self._reading.done())
        assert self.log.count(words) >= count, self.log

    async def listening(self) -> str:
        await until(lambda: LISTENING.search(self.log) or self._reading.done())
        found = LISTENING.search(self.log)
        assert found is not None, self.log
        self.url = found[1]
        return self.url

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(SECONDS):
            self.code = await self._process.wait()
            await self._reading
        return self.code

    def directories(self) -> set[str]:
        """Those of brokers."""
        return set(os.listdir(self._temporary.name))

    async def health(self, path: str = "/health") -> tuple[int, Any]:
        return await asyncio.to_thread(ask, self.url + path)


def ask(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
