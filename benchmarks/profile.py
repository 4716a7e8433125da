"""``python -m benchmarks.profile WORK``: where a server of Madang spends its processor time under a work.

The work runs twice. The first time nothing disturbs it: what an operation costs, and how much of that is the kernel's,
are of this run. The second time py-spy looks from outside, some hundred times a second, at what the server is doing.
Each look counts for the innermost thing that has a name here: a system call, uvloop, a library in C, a layer of Madang,
the application; what the interpreter itself does, it does for the function that it runs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import machine, report
from .compile import NotBuiltError, built
from .figures import DISTURBED
from .nodejs import UnavailableError
from .pages import put_into
from .peers import OUR_OWN, OURS, PEERS, SERVERS, SOURCE, Peer
from .runner import LOAD_SOURCE, StepFailedError, generate, running
from .works import WORKS, Work

#: What libc calls them; their time is the kernel's.
CALLS = {
    "write": "write",
    "writev": "write",
    "send": "write",
    "sendto": "write",
    "sendmsg": "write",
    "sendmmsg": "write",
    "read": "read",
    "recv": "read",
    "recvfrom": "read",
    "recvmsg": "read",
    "accept4": "accept",
    "accept": "accept",
    "close": "close",
}
WAITING = frozenset({"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "select"})
LIBRARIES = ("orjson", "msgspec", "ormsgpack", "httptools", "websockets", "uvicorn", "starlette", "click")
FRAME = re.compile(r"^(?P<name>.*) \((?P<path>[^()]*?)(?::\d+)?\)$")
RATE = 250  # looks per second
GC = "garbage collector"
OTHER = "the rest of Python"


def modules() -> dict[str, str]:
    """Each end of the dotted name of each compiled module, as names of functions have it: the layer that it is in."""
    listed: Any = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text())
    for key in ("tool", "hatch", "build", "targets", "wheel", "hooks", "custom", "modules"):
        listed = listed[key]
    found: dict[str, str] = {}
    for name in listed:
        parts = name.split(".")
        layer = parts[1] if len(parts) > 2 else "server"
        for start in range(len(parts)):
            found.setdefault(".".join(parts[start:]), layer)
    return found


def layer_of(path: str) -> str | None:
    """The layer of a file of Madang."""
    _, found, inside = path.rpartition("/madang/")
    if not found or not path.endswith(".py"):
        return None
    return inside.partition("/")[0] if "/" in inside else "server"


def compiled_layer(name: str, known: Mapping[str, str]) -> str | None:
    """The layer of a function of the compiled build, whose names are ``CPyDef_module___Class___method``."""
    _, found, rest = name.partition("CPyDef_")
    parts = rest.split("___")
    for length in (3, 2, 1):
        if found and ".".join(parts[:length]) in known:
            return known[".".join(parts[:length])]
    return None


def place(stack: str, known: Mapping[str, str]) -> str | None:
    """What a look counts for; None: the server waits.

    Args:
        stack: py-spy's, the innermost frame last.
        known: see `modules`.
    """
    frames = []
    for text in stack.split(";"):
        match = FRAME.match(text.strip())
        frames.append((match["name"], match["path"]) if match else (text, ""))
    for name, path in reversed(frames):
        if "libc" not in path:
            break
        # From glibc 2.41 on, functions of its own without a name stand between a call and the kernel.
        if name in WAITING:
            return None
        if name in CALLS:
            return f"kernel: {CALLS[name]}"
    if any("gc_collect" in one for one, _ in frames):
        return GC
    for name, path in reversed(frames):
        if found := layer_of(path) or compiled_layer(name, known):
            return f"Madang: {found}"
        if path.startswith(str(SERVERS)):
            return "the application"
        if "/uvloop/" in path or "libuv" in path:
            return "uvloop and libuv"
        for library in LIBRARIES:
            if f"/{library}/" in path or f"/{library}." in path:
                return library
        if path.endswith(".py"):
            return OTHER
    return OTHER


def looked(lines: Iterable[str], known: Mapping[str, str]) -> Counter[str]:
    """How many looks each place has, of py-spy's raw form: a stack and a count in each line."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        if stack and (where := place(stack, known)) is not None:
            found[where] += int(count)
    return found


@dataclass(frozen=True)
class Share:
    where: str
    us: float
    share: float


def shares(looks: Counter[str], cost: float, system: float) -> list[Share]:
    """What an operation costs, by place.

    Args:
        looks: of the second run.
        cost: processor time of an operation in microseconds, of the first run.
        system: the share of it that is the kernel's.

    The looks share out what is not the kernel's. Of the kernel's, reads and writes are as the looks have them; the rest
    is what remains: waiting for events, interrupts, and what a look can't see.
    """
    kernel = {where: count for where, count in looks.items() if where.startswith("kernel: ")}
    ours = sum(looks.values()) - sum(kernel.values())
    each = cost * (1 - system) / ours if ours else 0.0
    # The kernel's looks never make more than the kernel had.
    told = sum(kernel.values()) * each
    scale = min(1.0, cost * system / told) if told else 0.0
    found = {where: count * each * (scale if where in kernel else 1.0) for where, count in looks.items()}
    found["kernel: the rest (epoll and more)"] = max(0.0, cost * system - told * scale)
    rows = [Share(where, us, us / cost) for where, us in found.items() if us > 0]
    return sorted(rows, key=lambda row: -row.us)


# ---------------------------------------------------------------- the two runs


def times(pids: Iterable[int]) -> tuple[float, float]:
    """Processor time of processes: in user mode, and in the kernel."""
    user = system = 0.0
    for pid in pids:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        user, system = user + int(words[11]), system + int(words[12])
    ticks = os.sysconf("SC_CLK_TCK")
    return user / ticks, system / ticks


def under_load(
    peer: Peer, work: Work, seconds: float, look: Callable[[list[int]], None]
) -> tuple[dict[str, Any], float]:
    """Runs the work, and calls `look` when it is under way: the load generator's figures, and the kernel's share."""
    clients = work.options.get("clients", 100)
    delay = 1.0 + clients / 500  # until all are connected
    options = {"deadline": 60.0} | work.arguments(quick=False)
    options |= {"warmup": 1.0, "seconds": delay + seconds + 1.0}
    found: list[dict[str, Any] | StepFailedError] = []
    with running(peer, work.environment) as (port, pids, log):

        def load() -> None:
            try:
                found.append(generate(work.kind, options, port, pids, log))
            except StepFailedError as error:
                found.append(error)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            time.sleep(delay)
            before = times(pids)
            look(pids)
            after = times(pids)
        finally:
            thread.join()
    if isinstance(found[0], StepFailedError):
        raise found[0]
    user, system = after[0] - before[0], after[1] - before[1]
    if user + system == 0:
        raise StepFailedError("the server did nothing while it was looked at")
    return found[0], system / (user + system)


def py_spy() -> str:
    """The program.

    Raises:
        UnavailableError: it isn't there.
    """
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise UnavailableError("py-spy is needed: pip install --group bench")
    return found


def profiled(peer: Peer, work: Work, seconds: float) -> tuple[list[Share], dict[str, Any], int]:
    """The shares, the figures of the undisturbed run, and how many looks there were."""
    program = py_spy()
    figures, system = under_load(peer, work, seconds, lambda pids: time.sleep(seconds))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        raw = Path(folder) / "stacks"

        def look(pids: list[int]) -> None:
            command = [program, "record", "--pid", str(pids[0]), "--native", "--function", "--full-filenames"]
            command += ["--rate", str(RATE), "--duration", f"{seconds:.0f}", "--format", "raw", "--output", str(raw)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise StepFailedError(f"py-spy: {done.stderr.strip()[-500:]} (it may look into others only as root)")

        under_load(peer, work, seconds, look)
        looks = looked(raw.read_text().splitlines(), modules())
    return shares(looks, figures["cpu_us_per_operation"], system), figures, sum(looks.values())


def table(rows: Iterable[Share], operation: str) -> tuple[list[str], list[list[str]]]:
    lines = [[row.where, f"{row.us:.2f}", f"{row.share:.0%}"] for row in rows]
    return ["where", f"CPU µs per {operation}", "share"], lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__.partition("\n")[0])
    known = [name for name, work in WORKS.items() if work.kind != "idle"]
    parser.add_argument("works", nargs="+", choices=known, metavar="WORK", help=f"some of: {', '.join(known)}")
    parser.add_argument("--peer", choices=OUR_OWN, default=OURS, help=f"one of: {', '.join(OUR_OWN)}")
    parser.add_argument("--seconds", type=int, default=5, metavar="S", help="how long each is looked at (default 5)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the marks profile-WORK")
    options = parser.parse_args()
    peer = PEERS[options.peer]
    try:
        peer.prepare()
        built(LOAD_SOURCE)
        about = report.one_run(machine.about([options.peer], repeat=1, module="benchmarks.profile"), [])
        print("\n".join(about))
        for name in options.works:
            work = WORKS[name]
            rows, figures, looks = profiled(peer, work, options.seconds)
            title = f"{work.title} [{name}], {peer.title}: {figures['cpu_us_per_operation']:.1f} µs, {looks:,} looks"
            if figures.get("strangers_share", 0.0) > DISTURBED:
                title += ", disturbed by other processes"
            head, cells = table(rows, report.singular(name))
            print(f"\n{report.as_text(title, head, cells)}")
            if options.write:
                lines = "\n".join(f"- {line}" for line in about)
                put_into(options.write, f"profile-{name}", f"{report.as_markdown(title, head, cells)}\n\n{lines}")
    except (NotBuiltError, UnavailableError, StepFailedError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
