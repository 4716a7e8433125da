"""Real clients: npm packages, server processes, and the server's log beside a failure."""

import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.npm import installed
from support.server import ServerProcess, running


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, with the pinned clients of `tests/clients/node` installed."""
    return installed()


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server on the face that the test's parameter names; it serves all tests of the module in a row."""
    yield from running(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, ServerProcess):
        report.sections.append((f"log of the server on {server.face}", server.log[-20_000:]))
    return report
