"""Servers by face: one process of each kind serves the whole suite."""

import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from faces.support.clients import KINDS, Client, WebSocketClient
from support.server import ServerProcess, selected_faces

TARGET = "faces.support.app:app"
FRIEND = "https://friend.example"
SETTINGS = {
    "transports": "all",
    "ping_interval_seconds": 25,
    "ping_timeout_seconds": 20,
    "max_payload_bytes": 100_000,
    "upgrade_timeout_seconds": 1,
    "origins": [FRIEND],
}
HASTY = {"transports": "all", "ping_interval_seconds": 0.3, "ping_timeout_seconds": 1.2, "connect_timeout_seconds": 1}


def _running(face: str, settings: dict[str, object]) -> Iterator[ServerProcess]:
    with ServerProcess(face, settings, TARGET) as server:
        yield server
        assert not server.tracebacks(), f"the server on {face} logged:\n" + "\n".join(server.tracebacks())


@pytest.fixture(scope="session", params=selected_faces())
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server on each face, with small limits and a calm heartbeat."""
    yield from _running(request.param, SETTINGS)


@pytest.fixture(scope="session", params=selected_faces())
def hasty(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server on each face, whose deadlines are short."""
    yield from _running(request.param, HASTY)


@pytest.fixture
async def watcher(server: ServerProcess) -> AsyncIterator[WebSocketClient]:
    """A client that is told how others go."""
    async with WebSocketClient(server.port) as client:
        await client.join()
        yield client


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, server: ServerProcess) -> AsyncIterator[Client]:
    """A client over each transport, in the main namespace."""
    async with KINDS[request.param](server.port) as client:
        await client.join()
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for name in ("server", "hasty"):
        server = getattr(item, "funcargs", {}).get(name)
        if report.failed and isinstance(server, ServerProcess):
            report.sections.append((f"log of the server on {server.face}", server.log[-8_000:]))
    return report
