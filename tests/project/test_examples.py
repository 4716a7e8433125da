"""Every example starts, shows its page and lets a client in, both ways that its header names."""

import ast
import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

import pytest

from madang import Client
from madang.cluster.broker import Broker

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HELPERS = {"pages"}
CLIENTS = {"client", "client_blocking", "emit_news"}  # of another example
TESTS = {path.stem for path in EXAMPLES.glob("test_*.py")}  # run by tests/testing
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem not in HELPERS | CLIENTS | TESTS)
BIN = Path(sys.executable).parent
START_SECONDS = 30
# What `python examples/x.py` does, on a port of ours.
DIRECT = "import runpy, sys, madang; sys.path.insert(0, 'examples')\n"
DIRECT += "madang.serve(runpy.run_path('examples/{name}.py')['app'], port={port})"


@dataclass
class Running:
    port: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def get(self, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET" if body is None else "POST", path, body)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.get("/socket.io/")
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.log.seek(0)
                    pytest.fail(f"it did not start:\n{self.log.read().decode(errors='replace')}")
                time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(name: str, way: str, **more: str) -> Running:
    port = free_port()
    command = [str(BIN / "madang"), "serve", f"{name}:app", "--app-dir", "examples", "--port", str(port)]
    if way == "python":
        command = [sys.executable, "-c", DIRECT.format(name=name, port=port)]
    log = TemporaryFile()  # noqa: SIM115 (closed by the fixture)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **more}
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)
    return Running(port, process, log)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[tuple[str, str], Running]]:
    """All of them at once: most of the time is spent in starting."""
    ways = [*((name, "madang serve") for name in NAMES), ("hello", "python")]
    running = {(name, way): start(name, way) for name, way in ways}
    try:
        yield running
    finally:
        end(running.values())


def end(servers: Iterable[Running]) -> None:
    for server in servers:
        server.process.terminate()
    for server in servers:
        try:
            server.process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
        server.log.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_a_handshake_and_shows_its_page(servers: dict[tuple[str, str], Running], name: str) -> None:
    lets_a_client_in(servers[name, "madang serve"])


def test_it_runs_as_a_script(servers: dict[tuple[str, str], Running]) -> None:
    lets_a_client_in(servers["hello", "python"])


def lets_a_client_in(server: Running) -> None:
    server.wait()
    status, payload = server.get("/socket.io/?EIO=4&transport=polling")
    assert status == 200
    assert payload.startswith("0"), payload
    hello = json.loads(payload[1:])
    assert len(hello["sid"]) == 20
    assert hello["upgrades"] == ["websocket"]
    status, page = server.get("/")
    assert status == 200
    assert '<script src="/client/socket.io.min.js"' in page
    assert "//cdn." not in page
    session = f"/socket.io/?EIO=4&transport=polling&sid={hello['sid']}"
    assert server.get(session, "40") == (200, "ok")
    status, answer = server.get(session)  # let in, or turned away with a reason: never an error
    assert status == 200
    assert answer.startswith(("40{", "44{")), answer
    assert server.get(session, "1") == (200, "ok")


def test_clients_talk_to_hello(servers: dict[tuple[str, str], Running]) -> None:
    server = servers["hello", "madang serve"]
    server.wait()
    url = f"http://127.0.0.1:{server.port}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    listening = subprocess.Popen([sys.executable, str(EXAMPLES / "client.py"), url], **pipes)
    try:
        assert listening.stdout is not None
        assert listening.stdout.readline().startswith("delivered over ")
        command = [sys.executable, str(EXAMPLES / "client_blocking.py"), url]
        done = subprocess.run(
            command, input="good morning\n\n", capture_output=True, text=True, timeout=START_SECONDS, check=True
        )
        assert done.stdout == "delivered\n"
        assert done.stderr == ""
        assert listening.stdout.readline() == "somebody says: good morning\n"
        listening.send_signal(signal.SIGINT)
        assert listening.wait(START_SECONDS) == 0
    finally:
        listening.kill()
        listening.communicate()


async def test_several_machines_and_a_script_that_emits() -> None:
    with TemporaryDirectory(prefix="madang-") as folder:
        url = f"local://{folder}"
        async with Broker(folder), asyncio.timeout(3 * START_SECONDS):
            servers = [start("several_machines", "madang serve", CLUSTER_URL=url) for _ in range(2)]
            try:
                for server in servers:
                    await asyncio.to_thread(server.wait)
                clients = [Client(f"http://127.0.0.1:{server.port}") for server in servers]
                async with clients[0] as one, clients[1] as two:
                    async with asyncio.TaskGroup() as group:
                        heard = [group.create_task(until_told(client, "hello")) for client in clients]
                        said = await one.call("say", "hello")
                        assert said == f"said by process {servers[0].process.pid}"
                    assert all(task.done() for task in heard)
                    processes = [server.process.pid for server in servers]
                    while (found := await two.call("who"))["clients"] != {
                        client.id: process for client, process in zip(clients, processes, strict=True)
                    }:
                        await asyncio.sleep(0.05)
                    assert found["missing"] == []
                    async with asyncio.TaskGroup() as group:
                        for client in clients:
                            group.create_task(until_told(client, "Courtyard opens"))
                        script = await asyncio.create_subprocess_exec(
                            sys.executable,
                            str(EXAMPLES / "emit_news.py"),
                            "Courtyard opens",
                            env={**os.environ, "CLUSTER_URL": url},
                            stdout=subprocess.PIPE,
                        )
                        told, _ = await script.communicate()
                        assert told.decode() == "told 2 clients\n"
            finally:
                await asyncio.to_thread(end, servers)


async def until_told(client: Client, news: str) -> None:
    async for event in client.events("news"):
        if event.args == (news,):
            return


@pytest.mark.parametrize("name", NAMES)
def test_its_header_says_how_to_run_it(name: str) -> None:
    source = (EXAMPLES / f"{name}.py").read_text()
    header = source[: source.index("\n\n")]
    assert f"madang serve {name}:app --app-dir examples" in header
    assert f"python examples/{name}.py" in header
    assert "npm install --prefix examples" in header
    last = source.rstrip().rpartition("\n")
    assert last[0].endswith('if __name__ == "__main__":')
    assert last[2].startswith("    serve(app")


@pytest.mark.parametrize("name", [*NAMES, *sorted(HELPERS | CLIENTS | TESTS)])
def test_it_uses_the_public_api_alone(name: str) -> None:
    for node in ast.walk(ast.parse((EXAMPLES / f"{name}.py").read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith(("madang.", "socketio")), ast.unparse(node)
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.startswith("__"), ast.unparse(node)


def test_pages_load_nothing_from_elsewhere() -> None:
    for path in [*(EXAMPLES / "page").iterdir(), *EXAMPLES.glob("*.py")]:
        text = path.read_text()
        assert "https://" not in text, path.name
        assert 'src="http' not in text, path.name
