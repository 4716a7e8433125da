"""The load generator as many clients that are there, and hear what servers say by themselves."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Sequence
from typing import Any

from .compile import built
from .runner import LOAD_SOURCE, StepFailedError, cores, in_child


class Listeners:
    """The load generator as clients that only listen."""

    def __init__(self, ports: Sequence[int], clients: int, rooms: int) -> None:
        command = [str(built(LOAD_SOURCE)), "listen", "--clients", str(clients), "--rooms", str(rooms)]
        command += ["--deadline", "600"]
        for port in ports:
            command += ["--port", str(port)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=in_child(cores()[1]),
        )
        self.pid = self._process.pid
        self._line()  # all have joined

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            raise StepFailedError(self._process.stderr.read().strip() or "the load generator has ended")
        told: dict[str, Any] = json.loads(line)
        return told

    def mark(self) -> dict[str, Any]:
        """What they have heard since the last mark."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it died of is read below
            self._process.stdin.write("mark\n")
            self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
