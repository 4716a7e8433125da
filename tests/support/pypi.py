"""Pinned Python packages that can't be in the environment of the tests, each in a folder of its own."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["PACKAGES", "installed"]

FOLDER = Path(__file__).parents[2] / ".cache" / "python"
#: What is in each folder. Their other needs are in the environment.
PACKAGES: dict[str, list[str]] = {
    "python-socketio-5": [],  # is in the environment
    "python-socketio-4": ["python-socketio-v4==4.6.1", "python-engineio-v3==3.14.2", "six==1.17.0"],
    "socketIO-client-0.7.2": ["socketIO-client==0.7.2", "six==1.17.0"],
    "socketIO-client-0.5.7.4": ["socketIO-client==0.5.7.4", "six==1.17.0"],
}


def installed(name: str) -> dict[str, str]:
    """The environment variables of a program that imports what is in a folder, after it was installed there.

    Without PyPI the tests are skipped on a developer's machine, and fail where `CI` is set.
    """
    folder = FOLDER / name
    if not PACKAGES[name]:
        return dict(os.environ)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one installation at a time
        ready = folder / ".ready"
        wanted = "\n".join(PACKAGES[name])
        if not ready.exists() or ready.read_text() != wanted:
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--upgrade",
                "--target",
                str(folder),
            ]
            done = subprocess.run([*command, *PACKAGES[name]], capture_output=True, text=True, timeout=300)
            if done.returncode:
                (pytest.fail if os.environ.get("CI") else pytest.skip)(
                    f"pip could not install {wanted}:\n{done.stderr}"
                )
            ready.write_text(wanted)
    return {**os.environ, "PYTHONPATH": str(folder)}
