"""The two programs of `docs/how-to/nodejs-cluster.md` run as they stand there, and are one server."""

import asyncio
import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.support.engines import Redis
from cluster.support.node import DEADLINE, FOLDER
from madang import Client
from madang.faces.uvicorn import serve_async
from support.npm import installed
from support.server import free_port

pytestmark = pytest.mark.node

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "nodejs-cluster.md"


def program(language: str) -> str:
    """The first block of a language."""
    found = re.search(rf"^```{language}[^\n]*\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


async def test_both_programs(redis_server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_URL", redis_server.url)
    node = installed(FOLDER)
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    (tmp_path / "server.mjs").write_text(program("js"))
    port = free_port()
    names: dict[str, Any] = {}
    exec(program("python"), names)
    io = names["io"]
    command = [node, "server.mjs"]
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PORT": str(port)}) as process:
        try:
            async with asyncio.timeout(2 * DEADLINE), serve_async(io) as ours:
                theirs = Client(f"http://127.0.0.1:{port}")
                while not theirs.connected:
                    with contextlib.suppress(ConnectionError):
                        await theirs.connect()
                    await asyncio.sleep(0.05)
                async with theirs, Client(f"http://127.0.0.1:{ours}") as mine:
                    heard: list[list[str]] = [[], []]
                    for index, client in enumerate((mine, theirs)):
                        client.on("chat message", heard[index].append)
                    while await io.server_side_call("load?", timeout=DEADLINE) != [1]:
                        await asyncio.sleep(0.02)
                    assert len(await io.fetch_sockets()) == 2
                    assert await mine.call("chat message", "one", timeout=DEADLINE) == "delivered by Python"
                    assert await theirs.call("chat message", "two", timeout=DEADLINE) == "delivered by Node.js"
                    while any(len(one) < 2 for one in heard):
                        await asyncio.sleep(0.01)
                    assert [sorted(one) for one in heard] == [["one", "two"], ["one", "two"]]
        finally:
            process.kill()
