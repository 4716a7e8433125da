"""The servers that are measured. A new peer is one file in ``servers/`` and one entry in ``PEERS``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from .compile import NotBuiltError, built, compiler_version

HERE = Path(__file__).resolve().parent
SERVERS = HERE / "servers"
NODE = HERE / "node"


class UnavailableError(Exception):
    """This peer cannot run here; the text says why."""


@dataclass(frozen=True)
class Peer:
    """How to start one server, on 127.0.0.1 and a given port, and what to call it."""

    title: str
    command: Callable[[int], list[str]]
    versions: Callable[[], dict[str, str]]
    prepare: Callable[[], None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)
    # Just-in-time compilers need a longer warm-up before their figures are their own; times the usual length.
    warmup: float = 1.0
    lacks: frozenset[str] = frozenset()  # works that it cannot do


# ---------------------------------------------------------------- Python


def python_packages(*names: str) -> Callable[[], dict[str, str]]:
    def versions() -> dict[str, str]:
        python = ".".join(map(str, sys.version_info[:3]))
        return {"Python": python} | {name: metadata.version(name) for name in names}

    return versions


def need_modules(*statements: str) -> Callable[[], None]:
    """Checks in a process of its own, so that the harness imports no peer."""

    def prepare() -> None:
        check = subprocess.run(
            [sys.executable, "-c", "; ".join(statements)], capture_output=True, text=True, check=False
        )
        if check.returncode != 0:
            reason = check.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise UnavailableError(reason[0])

    return prepare


def madang_serve(port: int) -> list[str]:
    """What its user types. One worker, uvloop, Madang's own WebSocket protocol class."""
    script = Path(sys.executable).with_name("madang")
    return [
        *(str(script), "serve", "madang_app:io", "--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "warning"),
    ]


def python_socketio_on_uvicorn(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", "python_socketio_app:app"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--ws", "auto", "--ws-per-message-deflate", "false"),
        *("--no-access-log", "--log-level", "warning"),
    ]


# ---------------------------------------------------------------- Node.js


def node_prepare() -> None:
    """Installs what package-lock.json pins, when it is not there yet."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise UnavailableError("node and npm are not on the PATH")
    installed, lock = NODE / "node_modules" / ".package-lock.json", NODE / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    print("npm ci (first use) ...", file=sys.stderr)
    install = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=NODE, capture_output=True, text=True, check=False
    )
    if install.returncode != 0:
        raise UnavailableError("npm ci failed: " + install.stderr.strip()[-500:])
    installed.touch()


def node_packages(*names: str) -> Callable[[], dict[str, str]]:
    def versions() -> dict[str, str]:
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
        found = {"Node.js": node.stdout.strip().removeprefix("v")}
        for name in names:
            package = json.loads((NODE / "node_modules" / name / "package.json").read_text())
            found[name] = package["version"]
        return found

    return versions


# ---------------------------------------------------------------- C


def floor_prepare() -> None:
    try:
        built(SERVERS / "floor.c")
    except NotBuiltError as error:
        raise UnavailableError(str(error)) from error


# ---------------------------------------------------------------- the table

#: Handlers whose arguments are checked, beside those that take them as they come: Madang's own business.
TYPED = frozenset({"untyped-50", "typed-50"})

PEERS: dict[str, Peer] = {
    "madang": Peer(
        title="Madang",
        command=madang_serve,
        versions=python_packages("madang", "uvicorn", "uvloop", "websockets", "httptools", "orjson", "msgspec"),
        prepare=need_modules("import madang.cli", "import uvloop", "from madang import Server"),
    ),
    "node-ws": Peer(
        title="Node.js Socket.IO, ws",
        command=lambda port: ["node", str(SERVERS / "node_ws.js"), str(port)],
        versions=node_packages("socket.io", "engine.io", "ws", "bufferutil"),
        prepare=node_prepare,
        environment={"NODE_ENV": "production"},
        warmup=4.0,
        lacks=TYPED,
    ),
    "python-socketio": Peer(
        title="python-socketio, uvicorn",
        command=python_socketio_on_uvicorn,
        versions=python_packages("python-socketio", "python-engineio", "uvicorn", "uvloop", "websockets", "httptools"),
        prepare=need_modules("import socketio", "import uvicorn", "import uvloop"),
        lacks=TYPED,
    ),
    "python-socketio-aiohttp": Peer(
        title="python-socketio, aiohttp",
        command=lambda port: [sys.executable, str(SERVERS / "python_socketio_aiohttp.py"), str(port)],
        versions=python_packages("python-socketio", "python-engineio", "aiohttp", "uvloop"),
        prepare=need_modules("import socketio", "import aiohttp", "import uvloop"),
        lacks=TYPED,
    ),
    "floor": Peer(
        title="the floor (C, epoll)",
        command=lambda port: [str(built(SERVERS / "floor.c")), str(port)],
        versions=compiler_version,
        prepare=floor_prepare,
        lacks=TYPED | {"polling-echo"},
    ),
}
# What runs when --peers does not say otherwise; the others are there to be asked for.
DEFAULT_PEERS = ("madang", "node-ws", "python-socketio")
OURS = "madang"
