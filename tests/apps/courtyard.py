"""Help for tests of the chat: somebody who talks to it, and the chat as a process of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest
import socketio

import madang.apps.chat.app as chat_app

WITHIN = 5.0


class Person:
    """Somebody at a tab of theirs: what they ask, and what they were told unasked."""

    def __init__(self, client: socketio.AsyncClient) -> None:
        self.client = client
        self.welcome: dict[str, Any] = {}
        self.heard: list[tuple[str, Any]] = []
        client.on("*", lambda event, *args: self.heard.append((event, *args)))

    async def ask(self, event: str, **question: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.client.call(event, question, timeout=WITHIN)
        return answer

    async def say(self, room: str, text: str, key: str, file: str | None = None) -> dict[str, Any]:
        answer = await self.ask("say", room=room, text=text, key=key, file=file)
        return answer.get("message", answer)

    def told(self, event: str) -> list[Any]:
        return [news for name, news in self.heard if name == event]

    async def hears(self, event: str, count: int = 1) -> list[Any]:
        """Wait until an event was heard so many times."""
        async with asyncio.timeout(WITHIN):
            while len(self.told(event)) < count:
                await asyncio.sleep(0.005)
        return self.told(event)


class Courtyard:
    """`madang chat` as its users run it: started, stopped with Ctrl-C, killed, started again on the same port."""

    def __init__(self, data: Path, *options: str) -> None:
        if not (chat_app.STATIC / "index.html").is_file():
            pytest.fail("the chat's page was not built: run `make assets`")
        self.data = data
        self.options = options
        self.log = data.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "madang", "chat", "--port", str(self.port), "--data", str(self.data)]
        command += self.options
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the chat did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ctrl-C, unless told otherwise."""
        assert self._process is not None
        process, self._process = self._process, None
        os.kill(process.pid, how)
        process.wait(15)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/rooms", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        if self._process is not None:
            self.stop(signal.SIGTERM)
