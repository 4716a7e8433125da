"""Builds the C programs on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

BUILD = Path(__file__).resolve().parent / ".build"


class NotBuiltError(Exception):
    """There is no compiler, or it refused."""


def compiler() -> str:
    found = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise NotBuiltError("no C compiler: neither gcc nor cc nor $CC")
    return found


def compiler_version() -> dict[str, str]:
    said = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    return {"compiled by": said.splitlines()[0]}


def built(source: Path) -> Path:
    """The program made from one C file; compiled when the source is newer."""
    program = BUILD / source.stem
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    BUILD.mkdir(exist_ok=True)
    fresh = BUILD / f"{source.stem}.{os.getpid()}"
    command = [compiler(), "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", str(fresh), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotBuiltError(f"{compiler()} refused {source.name}:\n{done.stderr.strip()[-2000:]}")
    fresh.replace(program)  # at once: another run may be using the old one
    return program
