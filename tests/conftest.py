"""What holds for all tests."""

import gc
import signal

from hypothesis import settings

from support.ends import pytest_runtest_teardown as pytest_runtest_teardown
from support.ends import pytest_timeout_set_timer as pytest_timeout_set_timer

# Time is measured by benchmarks: a machine may be busy.
settings.register_profile("madang", deadline=None)
settings.load_profile("madang")

# A shell that runs tests in the background has them ignore Ctrl-C, and so would the programs that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Thousands of tests are in memory now, and stay: tests that look for garbage need not look through them."""
    gc.collect()
    gc.freeze()
