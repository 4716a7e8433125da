"""The built wheel, installed alone into an empty environment without Node.js, gives a working chat."""

import asyncio
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
import socketio

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/madang/apps/chat/static"
SERVED = ROOT / "src/madang/browser/static"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (STATIC / "index.html").exists() or not (SERVED / "transports.js").exists():
        pytest.fail("what browsers get is not built: run `make assets`")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python")]
    install = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-compile", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return folder


def test_carries_page_types_and_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "madang/py.typed" in names
    for app in ("chat", "laboratory"):
        assert f"madang/apps/{app}/static/index.html" in names
        assert any(re.fullmatch(rf"madang/apps/{app}/static/.*\.js", name) for name in names)
    served = {"transports.js", "socket.io.js", "socket.io.esm.min.js", "LICENSES.txt"}
    assert {f"madang/browser/static/{name}" for name in served} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if "node_modules" in name or name.startswith("tests/")]


async def test_chat_works_without_node(environment: Path, tmp_path: Path) -> None:
    # Only the environment's own programs: no Node.js, no compiler.
    process = await asyncio.create_subprocess_exec(
        str(environment / "bin/madang"),
        *("chat", "--port", "0", "--data", str(tmp_path / "data")),
        env={"PATH": str(environment / "bin"), "HOME": str(tmp_path), "LANG": os.environ.get("LANG", "C.UTF-8")},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        address = await asyncio.wait_for(_address(process), 30)
        async with httpx.AsyncClient(base_url=address) as client:
            page = await client.get("/")
            assert page.status_code == 200
            assert "<html" in page.text
            scripts = re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', page.text)
            assert scripts
            for script in scripts:
                answer = await client.get(script)
                assert answer.status_code == 200
                assert len(answer.content) > 500
            assert (await client.get("/api/rooms")).status_code == 200
        for transport in ("polling", "websocket"):
            chatter = socketio.AsyncClient()
            auth = {"nick": "wheel", "token": "0123456789abcdefghijklmnop"}
            await chatter.connect(address, transports=[transport], auth=auth, wait_timeout=10)
            assert chatter.transport() == transport
            assert (await chatter.call("hello", {"rooms": {}}))["me"]["nick"] == "wheel"
            await chatter.disconnect()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    seen = ""
    while line := (await process.stdout.readline()).decode():
        seen += line
        found = re.search(r"running on (http://\S+)", line)
        if found:
            return found[1]
    raise AssertionError(f"the chat ended before it listened:\n{seen}")
