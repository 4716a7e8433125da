"""Modules and entry points by name."""

import importlib
import sys
from pathlib import Path

import pytest

from madang import parsers, registry, transports, wire
from madang.errors import ConfigError
from madang.transports import Transport
from madang.transports.polling import TRANSPORT, Polling


def test_our_own() -> None:
    assert registry.load("transports", "polling", "TRANSPORT", Transport) is TRANSPORT
    assert isinstance(transports.load("polling"), Polling)
    assert wire.load("eio4").name == "eio4"
    assert parsers.load("json").name == "json"


@pytest.mark.parametrize(
    "name", ["", "nothing", "__init__", "_private", "../polling", "polling.x", "os.path", "a b", "1"]
)
@pytest.mark.parametrize("kind", [transports, wire, parsers])
def test_unknown(kind: object, name: str) -> None:
    where = kind.__name__.partition(".")[2]  # type: ignore[attr-defined]
    with pytest.raises(ConfigError) as caught:
        kind.load(name)  # type: ignore[attr-defined]
    assert str(caught.value) == f"there is no {name!r} among the {where}; is its package installed?"


@pytest.fixture
def installed(tmp_path: Path) -> object:
    """A third party's package with entry points, on the path for the length of a test."""
    info = tmp_path / "carrier-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[madang.transports]\npigeon = carrier_pigeon:TRANSPORT\n"
        "rock = carrier_pigeon:ROCK\npolling = carrier_pigeon:ROCK\n"
    )
    (tmp_path / "carrier_pigeon.py").write_text(
        "from madang.transports import LinkTransport\n"
        "class Pigeon(LinkTransport):\n    name = 'pigeon'\n"
        "TRANSPORT = Pigeon()\nROCK = 'a rock'\n"
    )
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(tmp_path))
    sys.modules.pop("carrier_pigeon", None)


@pytest.mark.usefixtures("installed")
def test_entry_points() -> None:
    assert transports.load("pigeon").name == "pigeon"
    assert transports.load("polling") is TRANSPORT  # ours come first


@pytest.mark.usefixtures("installed")
def test_entry_point_of_something_else() -> None:
    with pytest.raises(ConfigError) as caught:
        transports.load("rock")
    assert str(caught.value) == "transports: 'rock' exports 'a rock', which is no Transport"
