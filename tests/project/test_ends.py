"""A test that hangs fails, and the others have their turn."""

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
# Each hangs where the exception of a signal is lost. One hangs while it is ended too, and so does its fixture.
HANGING = """
import asyncio
import pytest

@pytest.fixture
async def endless():
    yield
    await asyncio.Event().wait()

async def test_waits(endless):
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.Event().wait()

def turn():
    while True:
        pass

async def test_turns():
    asyncio.get_running_loop().call_soon(turn)
    await asyncio.Event().wait()

@pytest.mark.timeout(60)
async def test_another():
    pass
"""
LOOPS = """
import uvloop

def pytest_asyncio_loop_factories():
    return {"uvloop": uvloop.new_event_loop}
"""


def test_what_hangs_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(LOOPS)
    (tmp_path / "test_hanging.py").write_text(HANGING)
    settings = ["asyncio_mode=auto", "asyncio_default_fixture_loop_scope=function", "timeout=1"]
    options = ["-p", "support.ends", "-p", "no:cacheprovider", "--rootdir", ".", "-rA"]
    command = [sys.executable, "-m", "pytest", *options, *(f"-o{one}" for one in settings), "test_hanging.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), os.environ.get("PYTHONPATH", "")))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    ends = re.findall(r"^(PASSED|FAILED|ERROR) test_hanging.py::(\S+)", done.stdout, re.MULTILINE)
    assert sorted((name, end) for end, name in ends) == [
        ("test_another", "PASSED"),
        ("test_turns", "FAILED"),
        ("test_waits", "ERROR"),
        ("test_waits", "FAILED"),
    ], done.stdout + done.stderr
    assert "test_hanging.py::test_waits took longer than 1 s" in done.stdout
