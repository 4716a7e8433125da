"""The official client's connection state recovery under real drops: each scenario of `node/recovery.mjs`.

Connections are closed, reset, cut so that only the client sees it, cut so that nobody sees it, and broken during an
upgrade; the server is killed. Every event is numbered: none may be lost, come twice, or out of order.
Usually it is broken some times, in the exhaustive runs many times.
"""

from collections.abc import Iterator

import pytest
from test_node import NEWEST, TRANSPORTS, play

from support.server import ServerProcess

pytestmark = pytest.mark.node

SETTINGS = {
    "ping_interval_seconds": 0.3,
    "ping_timeout_seconds": 0.7,
    "recovery": {"max_disconnection_seconds": 20},
}
FIRST = f"{NEWEST}-4.6.2"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(settings=SETTINGS, target="support.numbered:app") as server:
        yield server


@pytest.mark.parametrize(
    ("package", "transports"), [(NEWEST, "polling"), (NEWEST, "polling,websocket"), (FIRST, "websocket")]
)
def test_clients_that_know_recovery(node: str, server: ServerProcess, package: str, transports: str) -> None:
    play(node, server, transports, package, script="recovery.mjs")


@pytest.mark.exhaustive
@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize("package", [NEWEST, f"{NEWEST}-4.7.5", FIRST])
def test_many_drops(node: str, server: ServerProcess, package: str, transports: str) -> None:
    play(node, server, transports, package, "--drops=10", script="recovery.mjs")


@pytest.mark.parametrize("package", [f"{NEWEST}-4.4.1", f"{NEWEST}-3.1.3"])
def test_older_clients_go_on_as_before(node: str, server: ServerProcess, package: str) -> None:
    play(node, server, "websocket", package, script="recovery.mjs")


def test_with_the_msgpack_parser(node: str) -> None:
    with ServerProcess(settings={**SETTINGS, "parser": "msgpack"}, target="support.numbered:app") as server:
        play(node, server, "polling,websocket", NEWEST, "--parser", "socket.io-msgpack-parser", script="recovery.mjs")


def test_on_the_portable_face(node: str) -> None:
    with ServerProcess("uvicorn-websockets-sansio", SETTINGS, "support.numbered:app") as server:
        play(node, server, "polling,websocket", NEWEST, script="recovery.mjs")
