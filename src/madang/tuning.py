"""Settings of a process that does nothing but serve: for glibc's allocator, and for Python's garbage collector.

`madang serve` makes them, each worker for itself. Programs that contain a server decide themselves.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Final

__all__ = ["tune_allocator", "tune_collector"]

#: `mallopt`'s numbers, and bytes: how much may lie free at the heap's end, how much more is asked for when it grows,
#: from where on an allocation is one of the kernel's own.
_SETTINGS: Final = {-1: 256 << 20, -2: 64 << 20, -3: 4 << 20}
#: With these in the environment somebody has decided already.
_DECIDED: Final = ("MALLOC_", "GLIBC_TUNABLES")


def tune_allocator() -> bool:
    """Let glibc keep the memory that large messages need for a moment.

    It would give the end of the heap back to the kernel after each one, and ask for it again with the next one, empty
    page by empty page. What is kept is at most what was in use at once, or 256 MiB of it.

    Returns:
        Whether it was done: there is glibc, a Python that can call it, and no `MALLOC_...` or `GLIBC_TUNABLES` in the
        environment.

    Source: mallopt(3).
    """
    if sys.platform != "linux" or any(name.startswith(_DECIDED) for name in os.environ):
        return False
    try:
        import ctypes

        library = ctypes.CDLL(None)
    except (ImportError, OSError):  # Python was built without libffi, or without shared libraries
        return False
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return all(library.mallopt(number, size) for number, size in _SETTINGS.items())


def tune_collector() -> None:
    """Let the garbage collector look no more at what there is now: modules, functions, what an application begins with.

    It lives as long as the process, and is most of what a full collection looks through while all clients wait.

    Source: `gc.freeze` in Python's documentation.
    """
    gc.collect()
    gc.freeze()
