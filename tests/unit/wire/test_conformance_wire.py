"""What every generation must keep, over all files that exist and every parser for Socket.IO."""

from pathlib import Path

import pytest

import madang.parsers
import madang.wire
from madang.testing import check_wire


def names(package: str) -> list[str]:
    return sorted({path.stem for path in Path(package).parent.glob("*.py")} - {"__init__"})


@pytest.mark.parametrize("parser", [name for name in names(madang.parsers.__file__) if name != "raw"])
@pytest.mark.parametrize("wire", names(madang.wire.__file__))
def test_conformance(wire: str, parser: str) -> None:
    check_wire(madang.wire.load(wire), madang.parsers.load(parser))
