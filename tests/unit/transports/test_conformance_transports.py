"""What every transport must keep, over all files that exist."""

from pathlib import Path

import pytest

import madang.transports
from madang.testing import check_transport

NAMES = sorted({path.stem for path in Path(madang.transports.__file__).parent.glob("*.py")} - {"__init__"})


@pytest.mark.parametrize("name", NAMES)
def test_conformance(name: str) -> None:
    check_transport(madang.transports.load(name))
