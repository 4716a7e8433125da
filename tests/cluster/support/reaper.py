"""Ends what tests have started, when they have ended in whatever way, kill -9 included.

It is a process of its own that reads orders from a pipe. Only the tests hold the other end, so it closes with them.
(The system's own means, PR_SET_PDEATHSIG, asks for the end of the *thread* that started a process, and programs that
change their user lose it.)
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

__all__ = ["Reaper", "family", "pause_family", "signal_family"]


def family(pid: int) -> list[int]:
    """A process and all that it has started: PostgreSQL's children have process groups of their own."""
    children = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue  # it has just ended
            # The name, in parentheses, may hold anything.
            children[int(stat.rpartition(")")[2].split()[1])].append(int(entry))
    found = [pid]
    for each in found:
        found += children[each]
    return found


def signal_family(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all that it has started."""
    for each in family(pid):
        try:
            os.kill(each, number)
        except ProcessLookupError:
            pass  # it has ended


def pause_family(pid: int) -> None:
    """Stop a process and all that it has started, and wait until no thread of theirs runs.

    The signal takes effect when one of the threads has seen it; on a busy machine others may go on meanwhile.
    """
    signal_family(pid, signal.SIGSTOP)
    for each in family(pid):
        while not _stopped(each):
            time.sleep(0.005)


def _stopped(pid: int) -> bool:
    try:
        states = [
            path.read_text().rpartition(")")[2].split()[0] for path in Path("/proc", str(pid)).glob("task/*/stat")
        ]
    except OSError:
        return False  # a thread has just ended: look again
    return all(state in "TtXZ" for state in states)


class Reaper:
    """The tests' end of the pipe. The process is started with the first order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, pid: int) -> None:
        """End this process, and what it has started, when the tests have ended."""
        self._order("watch", str(pid))

    def forget(self, pid: int) -> None:
        """This process has ended."""
        self._order("forget", str(pid))

    def remove(self, folder: Path) -> None:
        """Remove this folder when the tests have ended."""
        self._order("remove", str(folder))

    def _order(self, order: str, what: str) -> None:
        with self._lock:
            if self._process is None:
                command = [sys.executable, "-I", "-S", __file__]
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd="/")
                atexit.register(self._end)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{order} {what}\n".encode())
            self._process.stdin.flush()

    def _end(self) -> None:
        assert self._process is not None
        self._process.communicate()


def main() -> None:
    watched: set[int] = set()
    folders: set[str] = set()
    for line in sys.stdin:
        order, _, what = line.rstrip("\n").partition(" ")
        if order == "watch":
            watched.add(int(what))
        elif order == "forget":
            watched.discard(int(what))
        else:
            folders.add(what)
    for pid in watched:
        signal_family(pid, signal.SIGKILL)
    for folder in folders:
        for _ in range(3):  # those that end may write a last file
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
