"""What is set for a process that does nothing but serve. It is for good, so each test has a process of its own."""

import os
import subprocess
import sys

import pytest

LARGE = 3 << 20
#: Allocates much, frees it again, and tells whether it was done, and how much of it the process has kept.
ALLOCATOR = f"""
import ctypes
from madang.tuning import tune_allocator

names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()


class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]


library = ctypes.CDLL(None)
library.mallinfo2.restype = Info
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
done = tune_allocator()
for block in [library.malloc({LARGE}) for _ in range(20)]:
    library.free(block)
print(done, library.mallinfo2().keepcost)
"""
#: What a Python is that was built where there is no libffi.
WITHOUT_CTYPES = """
import sys

sys.modules["_ctypes"] = None
import madang.faces.uvicorn
from madang.tuning import tune_allocator

print(tune_allocator())
"""
COLLECTOR = """
import gc
from madang.tuning import tune_collector

before = gc.get_threshold()
tune_collector()
print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000, gc.get_threshold() == before)
"""


def said(program: str, **environment: str) -> list[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=plain | environment, capture_output=True, check=True, text=True).stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is for glibc")
def test_memory_is_kept() -> None:
    done, kept = said(ALLOCATOR)
    assert done == "True"
    assert int(kept) >= 20 * LARGE


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_nothing_is_done_where_somebody_has_decided(name: str) -> None:
    done, kept = said(ALLOCATOR, **{name: ""})
    assert done == "False"
    assert int(kept) < LARGE


def test_a_python_without_ctypes_serves_too() -> None:
    assert said(WITHOUT_CTYPES) == ["False"]


def test_what_is_there_at_the_start_is_left_alone() -> None:
    assert said(COLLECTOR) == ["True", "True", "True"]
