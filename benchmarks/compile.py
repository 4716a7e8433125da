"""Builds the programs in C and in Rust on first use."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

#: Apart for each C library: a folder may be seen by several systems.
BUILD = Path(__file__).resolve().parent / ".build" / str(os.confstr("CS_GNU_LIBC_VERSION") or "libc").replace(" ", "-")


class NotBuiltError(Exception):
    """There is no compiler, or it refused."""


def compiler() -> str:
    found = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise NotBuiltError("no C compiler: neither gcc nor cc nor $CC")
    return found


def first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def compiler_version() -> dict[str, str]:
    return {"compiled by": first_line(compiler(), "--version")}


def built(source: Path, folder: Path = BUILD) -> Path:
    """The program made from one C file, or from all those of a folder; compiled when one of them is newer."""
    files = sorted(source.glob("*.c")) if source.is_dir() else [source]
    program = folder / source.stem
    newest = max(file.stat().st_mtime for file in (*files, *(source.glob("*.h") if source.is_dir() else ())))
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{source.stem}.{os.getpid()}"
    command = [compiler(), "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", str(fresh), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotBuiltError(f"{compiler()} refused {source.name}:\n{done.stderr.strip()[-2000:]}")
    fresh.replace(program)  # at once: another run may be using the old one
    return program


def built_by_cargo(project: Path) -> Path:
    """The program of a Cargo project whose package has the folder's name behind `madang-benchmark-`.

    Cargo itself knows what is newer. It fetches the crates on first use.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        raise NotBuiltError("no cargo on the PATH")
    target = BUILD / "cargo"
    command = [cargo, "build", "--release", "--quiet", "--target-dir", str(target)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise NotBuiltError(f"cargo did not build {project.name}: {said[0]} ... {said[-1]}")
    return target / "release" / f"madang-benchmark-{project.name}"


def crate_versions(project: Path, *names: str) -> dict[str, str]:
    """The versions of Rust and of crates."""
    return {"Rust": first_line("rustc", "--version").split()[1]} | locked_crates(project, *names)


def locked_crates(project: Path, *names: str) -> dict[str, str]:
    """The versions of crates, as the project's lock file has them."""
    packages = tomllib.loads((project / "Cargo.lock").read_text())["package"]
    return {package["name"]: package["version"] for package in packages if package["name"] in names}
