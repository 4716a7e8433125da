"""What a run ran on: machine, versions, the commit and the source that were measured."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .peers import HERE, PEERS


def machine() -> dict[str, Any]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "python": python(),
        "load_average": list(os.getloadavg()),
    }


def python() -> str:
    """The Python of this process, and how it was built: that alone is worth a third."""
    told = str(sysconfig.get_config_var("CONFIG_ARGS"))
    # Debian's rules call the compiler for it themselves, without the option.
    debian = sys.base_prefix == "/usr" and platform.freedesktop_os_release().get("ID") in ("debian", "ubuntu")
    optimised = "with" if debian or "--enable-optimizations" in told else "without"
    version = ".".join(map(str, sys.version_info[:3]))
    return f"Python {version}, built {optimised} profile-guided optimisation"


def commit() -> str:
    """The commit of the working tree; with a plus sign when src/ has changes that are not committed."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(HERE.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "src") else "")


def fingerprint() -> str:
    """Of Madang's source, the same wherever it lies: at the end of a run it must be what it was at its beginning."""
    digest = hashlib.sha256()
    root = HERE.parent
    for path in sorted([*(root / "src").rglob("*.py"), *(root / "native").glob("*.c")]):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def without_files(arguments: Sequence[str]) -> list[str]:
    """A command's arguments but for where it has kept its results, which changes none of them."""
    kept = []
    skips = False
    for argument in arguments:
        if skips:
            skips = False
        elif argument in ("--json", "--markdown"):
            skips = True
        elif argument != "--resume" and not argument.startswith(("--json=", "--markdown=")):
            kept.append(argument)
    return kept


def about(peers: Iterable[str], *, repeat: int, quick: bool = False, module: str = "benchmarks") -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": shlex.join(["python", "-m", module, *without_files(sys.argv[1:])]),
        "commit": commit(),
        "source": fingerprint(),
        "quick": quick,
        "repetitions": repeat,
        "machine": machine(),
        "versions": {peer: PEERS[peer].versions() for peer in peers},
    }
