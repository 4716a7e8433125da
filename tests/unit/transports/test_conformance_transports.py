"""What every transport must keep, over all files that exist."""

from pathlib import Path

import pytest

import madang.transports
from madang.config import ALL_TRANSPORTS
from madang.testing import check_transport
from support.bodies import WAYS

NAMES = sorted({path.stem for path in Path(madang.transports.__file__).parent.glob("*.py")} - {"__init__"})


@pytest.mark.parametrize("name", NAMES)
def test_conformance(name: str) -> None:
    if name in WAYS:
        pack, unpack = WAYS[name]
        check_transport(madang.transports.load(name), pack=pack, unpack=unpack)
    else:
        check_transport(madang.transports.load(name))


def test_all_means_all() -> None:
    assert sorted(ALL_TRANSPORTS) == NAMES
