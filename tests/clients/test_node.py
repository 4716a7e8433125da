"""The official client under Node.js: each scenario of `node/scenarios.mjs`, over each transport.

All scenarios and all faces with the newest client; on the default face the older clients too. Usually each face is
played over the way with an upgrade, and the default face over all ways; of the older clients, the first of each
protocol and the first that knows recovery go one way each.
"""

import json
import re
import subprocess
import threading

import pytest

from generations.support.guests import OFFICIAL_VERSIONS
from support.matrix import matrix
from support.npm import NODE
from support.server import DEFAULT_FACE, ServerProcess, selected_faces

pytestmark = pytest.mark.node

NEWEST = "socket.io-client"
OLDER = [f"socket.io-client-{version}" for version in ("3.1.3", "4.0.2", "4.4.1", "4.6.2", "4.7.5")]
#: Whose Flash film `tests/browser` plays.
FILM = "socket.io-client-0.9"
TRANSPORTS = ["polling", "websocket", "polling,websocket"]
USUAL_OF_OLDER = [(OLDER[0], "polling,websocket"), (OLDER[1], "polling"), (OLDER[3], "websocket")]
RUN_SECONDS = 150


def serve_request(server: ServerProcess, what: str) -> dict[str, object]:
    """Do to the server what a scenario asks for."""
    try:
        match what:
            case "restart":
                server.restart()
            case "interrupt":
                server.interrupt()
                server.start()
            case "kill":
                server.kill()
                server.start()
            case "freeze":
                server.freeze()
            case "thaw":
                server.thaw()
            case _:
                return {"error": f"unknown request {what!r}"}
    except (RuntimeError, TimeoutError) as error:
        if server.process is None:
            server.start()  # for the scenarios that follow
        return {"error": str(error)}
    return {"done": True}


def play(
    node: str, server: ServerProcess, transports: str, package: str, *options: str, script: str = "scenarios.mjs"
) -> None:
    """Run the scenarios, and fail with the details of those that failed."""
    command = [node, script, "--url", server.url, "--transports", transports, "--package", package]
    process = subprocess.Popen(
        [*command, *options],
        cwd=NODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    overdue = threading.Timer(RUN_SECONDS, process.kill)
    overdue.start()
    passed, failed, noise, finished = [], [], [], None
    try:
        for line in process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                noise.append(line)
                continue
            if "request" in said:
                process.stdin.write(json.dumps(serve_request(server, said["request"])) + "\n")
                process.stdin.flush()
            elif "finished" in said:
                finished = said["finished"]
            elif said["ok"]:
                passed.append(said["scenario"])
            else:
                failed.append(f"✗ {said['scenario']}\n{said.get('details')}")
        code = process.wait()
    finally:
        overdue.cancel()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    report = "\n".join([*failed, *noise])
    assert not failed, f"{len(failed)} scenarios failed, {len(passed)} passed:\n{report}"
    assert code == 0, f"node ended with {code} after {passed[-1:]}:\n{report}"
    assert finished == len(passed) > 0, f"{len(passed)} of {finished} scenarios ran:\n{report}"
    assert not server.tracebacks(), "the server logged:\n" + "\n".join(server.tracebacks())


@pytest.mark.parametrize(
    ("server", "transports"),
    matrix(
        selected_faces(),
        TRANSPORTS,
        usual=lambda face, transports: face == DEFAULT_FACE or transports == "polling,websocket",
    ),
    indirect=["server"],
)
def test_newest_client_on_every_face(node: str, server: ServerProcess, transports: str) -> None:
    if server.face == DEFAULT_FACE:
        play(node, server, transports, NEWEST)
        return
    # A server that is frozen or killed shows the client's own doings, the same on every face.
    without = ["freeze", "interrupt", "kill"]
    if server.face == "hypercorn":
        # Since Python 3.12 hypercorn waits for its WebSockets for ever before it tells the application that it ends.
        without += ["restart"]
    if server.face == "granian" and transports == "websocket":
        without += ["headers"]  # granian drops the headers that a WebSocket is accepted with
    # ASGI servers let requests that wait run out before they tell the application: it can't say farewell to them.
    brief = [] if transports == "websocket" else ["--brief"]  # the heartbeat is the engine's, not the face's
    play(node, server, transports, NEWEST, f"--without={','.join(without)}", "--abrupt", *brief)


@pytest.mark.parametrize(
    ("package", "transports"), matrix(OLDER, TRANSPORTS, usual=lambda *each: each in USUAL_OF_OLDER)
)
@pytest.mark.parametrize("server", selected_faces()[:1], indirect=True)
def test_older_clients(node: str, server: ServerProcess, package: str, transports: str) -> None:
    play(node, server, transports, package, "--without=freeze,interrupt,kill", "--brief")


def test_every_pinned_client_is_played() -> None:
    pinned = json.loads((NODE / "package.json").read_text())["dependencies"]
    met = {package for package, _, _ in OFFICIAL_VERSIONS.values()}  # tests/generations
    assert {name for name in pinned if name.startswith(NEWEST)} == {NEWEST, *OLDER, FILM, *met}
    for name, version in pinned.items():
        assert re.fullmatch(r"(npm:socket\.io(-client)?@)?\d+\.\d+\.\d+", version), f"{name} is not pinned"


def test_a_failing_scenario_is_told(node: str) -> None:
    """Against nothing at all, every scenario that needs a connection fails: the wrapper must say so."""
    nothing = ServerProcess(DEFAULT_FACE)  # never started
    with pytest.raises(AssertionError, match="2 scenarios failed, 0 passed"):
        play(node, nothing, "websocket", NEWEST, "--only=many clients at once,emitWithAck")
