"""The npm package `madang-transports`: its own tests under Node.js, its types, and what would be published."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.server import ServerProcess, selected_faces

PACKAGE = Path(__file__).parents[2] / "browser" / "transports"

pytestmark = pytest.mark.node


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    if shutil.which("npm") is None:
        reason = "Node.js with npm is needed for the transports of browsers"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    if not (PACKAGE / "node_modules").exists() or not (PACKAGE / "dist").exists():
        pytest.fail("the transports for browsers are not built: run `make assets`")


def npm(*words: str, folder: Path = PACKAGE) -> str:
    command = ["npm", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_its_own_tests() -> None:
    told = npm("test", "--silent")
    assert "# fail 0" in told
    assert "# pass 0" not in told


def test_what_is_published(tmp_path: Path) -> None:
    """A program in TypeScript that has installed the package finds its code and its types."""
    # What is built is there: `make assets` has done it.
    (packed,) = json.loads(npm("pack", "--json", "--ignore-scripts", "--pack-destination", str(tmp_path)))
    names = {file["path"] for file in packed["files"]}
    assert {"package.json", "README.md", "LICENSE", "dist/transports.js", "dist/index.d.ts", "dist/types.d.ts"} <= names
    assert not [name for name in names if name.startswith(("src", "test", "node_modules", "build"))]

    modules = tmp_path / "node_modules"
    modules.mkdir()
    for inner in (PACKAGE / "node_modules").iterdir():
        (modules / inner.name).symlink_to(inner)
    shutil.unpack_archive(tmp_path / packed["filename"], tmp_path, filter="data")
    (tmp_path / "package").rename(modules / "madang-transports")
    program = (PACKAGE / "test" / "types.ts").read_text().replace("../src/index.ts", "madang-transports")
    (tmp_path / "program.ts").write_text(program)
    for resolution in (["--module", "nodenext"], ["--module", "esnext", "--moduleResolution", "bundler"]):
        strict = ["--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom", "--types", "node"]
        command = ["node", str(PACKAGE / "node_modules/typescript/bin/tsc"), *strict, *resolution, "program.ts"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout

    script = "import * as all from 'madang-transports'; console.log(Object.keys(all).sort().join())"
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "Iframe,JSONP,Multipart,SSE,ShortPolling", done.stderr


def test_in_nodejs() -> None:
    """Those that need no document run in Node.js too."""
    script = """
        import { io, NodeWebSocket } from "socket.io-client";
        import { Multipart, ShortPolling, SSE } from "./dist/transports.js";
        const told = [];
        for (const transport of [ShortPolling, Multipart, SSE]) {
            for (const transports of [[transport], [transport, NodeWebSocket]]) {
                const transportOptions = { shortpolling: { interval: 20 } };
                const options = { transports, transportOptions, reconnection: false, forceNew: true };
                const socket = io(process.argv[1], options);
                socket.on("connect_error", (error) => { throw error; });
                const [text, bytes] = await new Promise((done) =>
                    socket.emit("echo", "안녕", Buffer.from([0, 255]), (...answer) => done(answer)));
                if (transports.length > 1 && socket.io.engine.transport.name !== "websocket")
                    await new Promise((done) => socket.io.engine.once("upgrade", done));
                told.push([socket.io.engine.transport.name, text, Buffer.isBuffer(bytes), [...bytes]]);
                socket.disconnect();
            }
        }
        console.log(JSON.stringify(told));
    """
    names = ["shortpolling", "multipart", "sse"]
    settings = {"transports": [*names, "websocket"], "min_short_poll_seconds": 0.01}
    with ServerProcess(selected_faces()[0], settings) as server:
        command = ["node", "--input-type=module", "--eval", script, server.url]
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=60)
        assert not server.tracebacks(), server.log
    assert done.returncode == 0, done.stderr
    expected = [[name, "안녕", True, [0, 255]] for transport in names for name in (transport, "websocket")]
    assert json.loads(done.stdout) == expected
