"""Real proxies in front of real servers: one process of each serves all tests of a worker."""

import ssl
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from proxies.support.real import ProxyProcess, haproxy, nginx
from proxies.support.sites import haproxy_sites, nginx_sites
from support.npm import installed
from support.server import ServerProcess

TARGET = "faces.support.app:app"
COMMON = {"transports": "all", "ping_timeout_seconds": 20, "max_payload_bytes": 4_000_000}
PROXIES = ("nginx", "haproxy")


def _running(settings: dict[str, object]) -> Iterator[ServerProcess]:
    with ServerProcess("uvicorn-fast", {**COMMON, **settings}, TARGET, ["--proxy", "127.0.0.1"]) as server:
        yield server
        assert not server.tracebacks(), "the server logged:\n" + "\n".join(server.tracebacks())


@pytest.fixture(scope="session")
def calm() -> Iterator[ServerProcess]:
    """A server that is silent for long."""
    yield from _running({"ping_interval_seconds": 25})


@pytest.fixture(scope="session")
def lively() -> Iterator[ServerProcess]:
    """A server that pings each second."""
    yield from _running({"ping_interval_seconds": 1})


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The key of a certificate for localhost, and the certificate with the key, as HAProxy wants it."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert), "-days", "2"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=30)
    both = folder / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    return key, both


@pytest.fixture(scope="session")
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[1])


@pytest.fixture(scope="session")
def real_nginx(
    calm: ServerProcess,
    lively: ServerProcess,
    certificate: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    sites = nginx_sites(calm.port, lively.port, certificate)
    with nginx(tmp_path_factory.mktemp("nginx"), sites) as process:
        yield process


@pytest.fixture(scope="session")
def real_haproxy(
    calm: ServerProcess,
    lively: ServerProcess,
    certificate: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    sites = haproxy_sites(calm.port, lively.port, certificate[1])
    with haproxy(tmp_path_factory.mktemp("haproxy"), sites) as process:
        yield process


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> ProxyProcess:
    """Each of the real proxies."""
    process: ProxyProcess = request.getfixturevalue(f"real_{request.param}")
    return process


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, with the pinned clients of `tests/clients/node` installed."""
    return installed()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs beside a failure."""
    report = yield
    for name, value in getattr(item, "funcargs", {}).items():
        if report.failed and isinstance(value, ServerProcess | ProxyProcess):
            report.sections.append((f"log of {name}", value.log[-8_000:]))
    return report
