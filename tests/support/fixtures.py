"""What `tests/clients` and `tests/browser` both take into their conftest."""

from collections.abc import Generator, Iterator

import pytest

from support.npm import installed
from support.server import ServerProcess, running, selected_faces


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, with the pinned clients of `tests/clients/node` installed."""
    return installed()


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server on the face that the test's parameter names, or the first; it serves all tests of a module in a row."""
    yield from running(getattr(request, "param", selected_faces()[0]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the server's log beside a failure."""
    report = yield
    server = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(server, ServerProcess):
        report.sections.append((f"log of the server on {server.face}", server.log[-20_000:]))
    return report
