"""The official client with other parsers: `socket.io-msgpack-parser`, and the one that the documentation shows."""

import json
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_node import NEWEST, TRANSPORTS, play

from support.matrix import some
from support.npm import NODE
from support.server import DEFAULT_FACE, ServerProcess, running, selected_faces

pytestmark = pytest.mark.node

MSGPACK = "socket.io-msgpack-parser"
GOLDEN = Path(__file__).parents[1] / "unit" / "parsers" / "msgpack-golden.json"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "custom-parser.md"
OTHER_FACE = "uvicorn-websockets"


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server whose clients speak MessagePack."""
    yield from running(request.param, {"parser": "msgpack"})


@pytest.mark.parametrize("transports", some(TRANSPORTS, usual=["polling,websocket"]))
@pytest.mark.parametrize("server", selected_faces()[:1], indirect=True)
def test_msgpack(node: str, server: ServerProcess, transports: str) -> None:
    play(node, server, transports, NEWEST, "--parser", MSGPACK, "--without=freeze,interrupt,kill,restart")


@pytest.mark.skipif(OTHER_FACE not in selected_faces(), reason="not among the faces to test")
@pytest.mark.parametrize("server", [OTHER_FACE], indirect=True)
def test_msgpack_under_asgi(node: str, server: ServerProcess) -> None:
    without = "--without=freeze,interrupt,kill,restart"
    play(node, server, "polling,websocket", NEWEST, "--parser", MSGPACK, without, "--abrupt", "--brief")


def test_msgpack_with_the_oldest_client_of_its_protocol(node: str) -> None:
    with ServerProcess(DEFAULT_FACE, {"parser": "msgpack"}) as server:
        without = "--without=freeze,interrupt,kill,restart"
        play(node, server, "polling,websocket", f"{NEWEST}-3.1.3", "--parser", MSGPACK, without, "--brief")


def test_the_golden_packets_are_what_the_npm_package_writes(node: str) -> None:
    written = subprocess.run([node, "msgpack-golden.mjs"], cwd=NODE, capture_output=True, text=True, check=True)
    assert json.loads(written.stdout) == json.loads(GOLDEN.read_text())


def code(language: str) -> list[str]:
    """The page's blocks of a language."""
    found = re.findall(rf"^```{language}[^\n]*\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


@pytest.mark.parametrize("transports", some(TRANSPORTS, usual=["polling,websocket"]))
def test_the_parser_of_the_documentation(node: str, tmp_path: Path, transports: str) -> None:
    """Both halves of the page, put into files as a reader would."""
    (tmp_path / "one_object.py").write_text(code("python")[1])
    (tmp_path / "app.py").write_text(code("python")[2])
    parser, client = code("js")
    library = (NODE / "node_modules" / "socket.io-client" / "build" / "esm-debug" / "index.js").as_uri()
    emitter = (NODE / "node_modules" / "@socket.io" / "component-emitter" / "lib" / "esm" / "index.js").as_uri()
    (tmp_path / "one-object.mjs").write_text(parser.replace("@socket.io/component-emitter", emitter))
    client = client.replace('"socket.io-client"', f'"{library}"').replace('"./one-object.js"', '"./one-object.mjs"')
    options = ["--app-dir", str(tmp_path)]
    with ServerProcess("uvicorn-fast", target="app:io", options=options) as server:
        client = client.replace("https://example.org", server.url)
        client = client.replace("{ parser }", json.dumps({"transports": transports.split(",")})[:-1] + ", parser }")
        (tmp_path / "client.mjs").write_text(client + "\nprocess.exit(0);\n")
        done = subprocess.run([node, "client.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr + server.log
        assert done.stdout.split() == ["png", "4", "137,80,78,71"]
        assert not server.tracebacks()
