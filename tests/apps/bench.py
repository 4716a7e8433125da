"""Help for tests of the laboratory's page: the laboratory as a process of its own."""

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self

import pytest

import madang.apps.laboratory.app as laboratory_app
from support.server import free_port


class Bench:
    """`madang lab` as its users run it."""

    def __init__(self, folder: Path) -> None:
        if not (laboratory_app.STATIC / "index.html").is_file():
            pytest.fail("the laboratory's page was not built: run `make assets`")
        self.log = folder / "lab.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "madang", "lab", "--port", self.url.rpartition(":")[2]]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the laboratory did not start:\n{self.log.read_text()}")
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __exit__(self, *problem: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
