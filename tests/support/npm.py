"""Node.js and the pinned npm packages of `tests/clients/node`, or of another folder."""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = Path(__file__).parents[1] / "clients" / "node"


def _complete(folder: Path) -> bool:
    """Whether what the lock file names is installed (npm keeps a copy of what it installed)."""
    mirror = folder / "node_modules" / ".package-lock.json"
    if not mirror.exists():
        return False
    wanted = json.loads((folder / "package-lock.json").read_text())["packages"]
    found = json.loads(mirror.read_text())["packages"]
    # Optional packages are those of other systems; npm installs one of them.
    needed = [path for path, package in wanted.items() if path and not package.get("optional")]
    return all(path in found and found[path]["version"] == wanted[path]["version"] for path in needed)


def installed(folder: Path = NODE) -> str:
    """The path of `node`, after `npm ci` where it was needed.

    Without npm the tests are skipped on a developer's machine, and fail where `CI` is set.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        reason = "Node.js and npm are needed for the real clients, and are not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one installation at a time
        if not _complete(folder):
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
            if done.returncode:
                pytest.fail(f"npm ci failed:\n{done.stdout}\n{done.stderr}")
    return node
