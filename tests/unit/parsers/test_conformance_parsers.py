"""What every parser must keep, over all files that exist."""

from pathlib import Path

import pytest

import madang.parsers
from madang.testing import RAW_PACKETS, check_parser

NAMES = sorted({path.stem for path in Path(madang.parsers.__file__).parent.glob("*.py")} - {"__init__"})


@pytest.mark.parametrize("name", NAMES)
def test_conformance(name: str) -> None:
    check_parser(madang.parsers.load(name), RAW_PACKETS if name == "raw" else None)
