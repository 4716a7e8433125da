"""The servers that are measured. A new peer is one file in ``servers/`` and one entry in ``PEERS``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from .compile import NotBuiltError, built, built_by_cargo, compiler_version, crate_versions
from .nodejs import UnavailableError, node, node_packages, prepare_uws, prepare_ws, uws, uws_versions

HERE = Path(__file__).resolve().parent
SERVERS = HERE / "servers"
SOURCE = HERE.parent / "src"
#: Where the compiled build of the same source is, as a folder with `madang/` in it.
COMPILED = Path(os.environ.get("MADANG_COMPILED", HERE.parent / "build" / "compiled"))


@dataclass(frozen=True)
class Peer:
    """How to start one server, on 127.0.0.1 and a given port, and what to call it.

    Attributes:
        title: what tables and plots call it.
        command: the program and its arguments, for a port.
        versions: what it consists of.
        prepare: installs or checks what is needed; raises `UnavailableError` with the reason.
        environment: what is added to the environment.
        path: folders in front of all others on the module search path, of a peer in Python.
        warmup: just-in-time compilers need a longer warm-up before their figures are their own; times the usual length.
        lacks: works that it cannot do.
    """

    title: str
    command: Callable[[int], list[str]]
    versions: Callable[[], dict[str, str]]
    prepare: Callable[[], None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)
    path: tuple[Path, ...] = ()
    warmup: float = 1.0
    lacks: frozenset[str] = frozenset()


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
    return [
        *(sys.executable, "-m", "madang", "serve", "madang_app:io", "--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "warning"),
    ]


def uvicorn(application: str) -> Callable[[int], list[str]]:
    """An ASGI application on uvicorn, with its own choice of a WebSocket protocol class."""

    def command(port: int) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", application, "--host", "127.0.0.1", "--port", str(port)),
            *("--loop", "uvloop", "--http", "httptools", "--ws", "auto", "--ws-per-message-deflate", "false"),
            *("--no-access-log", "--log-level", "warning"),
        ]

    return command


def need_compiled() -> None:
    """The compiled build is there, and is of the source as it is now."""
    if not any(COMPILED.glob("madang__mypyc.*")):
        raise UnavailableError(f"there is no compiled build in {COMPILED}; `make compiled` makes it")
    for path in (SOURCE / "madang").rglob("*.py"):
        copy = COMPILED / path.relative_to(SOURCE)
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            raise UnavailableError(
                f"the compiled build in {COMPILED} is of another source; `make compiled` makes it anew"
            )


# ---------------------------------------------------------------- C and Rust


def floor_prepare() -> None:
    try:
        built(SERVERS / "floor.c")
    except NotBuiltError as error:
        raise UnavailableError(str(error)) from error


def socketioxide_prepare() -> None:
    try:
        built_by_cargo(SERVERS / "socketioxide")
    except NotBuiltError as error:
        raise UnavailableError(str(error)) from error


# ---------------------------------------------------------------- the table

#: Works that need more than bytes that are moved.
MORE_THAN_BYTES = frozenset({"untyped-50", "typed-50", "connect-upgrade"})

MADANG_PACKAGES = ("madang", "uvicorn", "uvloop", "websockets", "httptools", "orjson", "msgspec")
PYTHON_SOCKETIO = ("python-socketio", "python-engineio", "uvicorn", "uvloop", "websockets", "httptools")

PEERS: dict[str, Peer] = {
    "madang": Peer(
        title="Madang",
        command=madang_serve,
        versions=python_packages(*MADANG_PACKAGES),
        prepare=need_modules("import madang.cli, uvloop"),
        path=(SOURCE,),
    ),
    "madang-compiled": Peer(
        title="Madang, compiled",
        command=madang_serve,
        versions=python_packages(*MADANG_PACKAGES),
        prepare=need_compiled,
        path=(COMPILED,),
    ),
    "madang-asgi": Peer(
        title="Madang, ASGI on uvicorn",
        command=uvicorn("madang_asgi:app"),
        versions=python_packages(*MADANG_PACKAGES),
        prepare=need_modules("import madang.cli, uvloop"),
        path=(SOURCE,),
    ),
    "node-ws": Peer(
        title="Node.js, ws",
        command=lambda port: [node(), str(SERVERS / "node_ws.js"), str(port)],
        versions=node_packages("socket.io", "engine.io", "ws", "bufferutil"),
        prepare=prepare_ws,
        environment={"NODE_ENV": "production"},
        warmup=4.0,
    ),
    "node-uws": Peer(
        title="Node.js, uWebSockets.js",
        command=lambda port: [node(), str(SERVERS / "node_uws.js"), str(port), uws()],
        versions=uws_versions,
        prepare=prepare_uws,
        environment={"NODE_ENV": "production"},
        warmup=4.0,
    ),
    "python-socketio": Peer(
        title="python-socketio, uvicorn",
        command=uvicorn("python_socketio_app:app"),
        versions=python_packages(*PYTHON_SOCKETIO),
        prepare=need_modules("import socketio, uvicorn, uvloop"),
        lacks=frozenset({"mixed"}),  # it speaks Engine.IO 4 alone
    ),
    "python-socketio-aiohttp": Peer(
        title="python-socketio, aiohttp",
        command=lambda port: [sys.executable, str(SERVERS / "python_socketio_aiohttp.py"), str(port)],
        versions=python_packages("python-socketio", "python-engineio", "aiohttp", "uvloop"),
        prepare=need_modules("import socketio, aiohttp, uvloop"),
        lacks=frozenset({"mixed"}),  # it speaks Engine.IO 4 alone
    ),
    "socketioxide": Peer(
        title="socketioxide (Rust)",
        command=lambda port: [str(built_by_cargo(SERVERS / "socketioxide")), str(port)],
        versions=lambda: crate_versions(SERVERS / "socketioxide", "socketioxide", "hyper", "tokio"),
        prepare=socketioxide_prepare,
    ),
    "floor": Peer(
        title="the floor (C, epoll)",
        command=lambda port: [str(built(SERVERS / "floor.c")), str(port)],
        versions=compiler_version,
        prepare=floor_prepare,
        lacks=MORE_THAN_BYTES,
    ),
}
#: The builds of Madang, which are judged, and all that is Madang; `OURS` is what a user gets who installs it.
OURS = "madang"
BUILDS = ("madang", "madang-compiled")
OUR_OWN = (*BUILDS, "madang-asgi")
#: What runs when --peers does not say otherwise: all; who can't run here is left out, and it is said why.
DEFAULT_PEERS = tuple(PEERS)
QUICK_PEERS = ("madang", "node-ws", "node-uws", "python-socketio")
