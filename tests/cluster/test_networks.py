"""Networks of several machines, as the tests make them."""

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.support.engines import Redis
from cluster.support.netns import Network, NetworkNode
from cluster.support.processes import awaited

pytestmark = pytest.mark.exhaustive

PORT = 8000
SERVE = [sys.executable, "-m", "http.server", str(PORT), "--directory", "/proc/self/ns"]
ASK = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])).close()
"""
SILENT_SECONDS = 0.5
DEADLINE = 20


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(3) as found:
        yield found


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, PORT, timeout=SILENT_SECONDS)
    try:
        connection.request("HEAD", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _reaches(node: NetworkNode, address: str, port: int, seconds: float = SILENT_SECONDS) -> bool:
    command = [*node.inside, sys.executable, "-c", ASK, address, str(port), str(seconds)]
    return subprocess.run(command, capture_output=True, timeout=DEADLINE).returncode == 0


def test_links_are_cut_and_healed(network: Network) -> None:
    one, two, three = network.nodes
    for node in network.nodes:
        node.start(SERVE, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        awaited(lambda node=node: _answers(node.address), "it answers")
    assert _reaches(one, two.address, PORT, DEADLINE)
    two.cut()
    assert not _answers(two.address)
    assert not _reaches(one, two.address, PORT)
    assert _reaches(one, three.address, PORT, DEADLINE)
    two.heal()
    awaited(lambda: _reaches(one, two.address, PORT), "they reach each other again")


def test_links_are_slow(network: Network) -> None:
    if not network.can_be_slow:
        pytest.skip("this system has no netem")
    node = network.nodes[0]
    node.start(SERVE, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    awaited(lambda: _answers(node.address), "it answers")
    node.slow(50)
    began = time.monotonic()
    assert _answers(node.address)
    assert time.monotonic() - began > 0.2  # there and back, once to connect and once to ask
    node.fast()
    assert _answers(node.address)


def test_an_engine_for_all_machines(network: Network) -> None:
    with Redis(host=network.address) as redis:
        assert all(_reaches(node, redis.host, redis.port, DEADLINE) for node in network.nodes)


def test_nothing_is_left(network: Network) -> None:
    keeper, links = network.nodes[0].keeper.pid, Path("/sys/class/net")
    process = network.nodes[0].start(["sleep", "infinity"])
    mine = {path.name for path in links.iterdir() if path.name.startswith("madang")}
    assert mine
    network.close()
    assert process.poll() is not None
    assert not Path("/proc", str(keeper)).exists()
    awaited(lambda: not any((links / name).exists() for name in mine), "its links are gone")
