"""Clients of all generations against one server."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.fixtures import node, pytest_runtest_makereport

__all__ = ["node", "pytest_runtest_makereport"]
