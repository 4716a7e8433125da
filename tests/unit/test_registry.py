"""Modules and entry points by name."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from madang import parsers, registry, transports, wire
from madang.config import Config
from madang.errors import ConfigError
from madang.packet import CONNECT, Frame, Packet
from madang.server import Server
from madang.testing import EngineKit
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
        "letters = carrier_pigeon:LETTERS\nrock = carrier_pigeon:ROCK\npolling = carrier_pigeon:ROCK\n"
    )
    (tmp_path / "carrier_pigeon.py").write_text(
        "from madang.transports import LinkTransport\n"
        "class Pigeon(LinkTransport):\n    name = 'pigeon'\n"
        "TRANSPORT = Pigeon()\nROCK = 'a rock'\n"
        "from dataclasses import dataclass\nfrom madang.transports.polling import Polling\n"
        "@dataclass\nclass Letters(Polling):\n    name = 'letters'\n    stamp: str = 'heron'\n"
        "LETTERS = Letters()\n"
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


@pytest.mark.usefixtures("installed")
def test_a_transport_may_be_of_a_dataclass() -> None:
    kit = EngineKit(transports=["letters", "pigeon", "websocket"])
    client = kit.polling(transport="letters")
    client.join()
    kit.io.emit("back", 1)
    assert client.heard() == ['42["back",1]']


class Mine(parsers.Parser):
    name = "mine"

    def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:
        return (f"{prefix}{packet.kind}{packet.data}",)

    def decode(self, content: Frame, start: int, limits: Config) -> Packet:
        kind = int(content[start : start + 1])
        return Packet(kind, {} if kind == CONNECT else ["said", content[start + 1 :]])


class Nameless(Mine):
    name = ""


def test_a_parser_may_be_an_object() -> None:
    mine = Mine()
    assert parsers.load(mine) is mine
    kit = EngineKit(parser=mine)
    heard: list[str] = []
    kit.io.on("said", lambda socket, text: heard.append(text))
    client = kit.websocket()
    client.join()
    client.say("42hello")
    assert heard == ["hello"]
    kit.io.emit("back", 1)
    assert client.heard() == ["42['back', 1]"]


@pytest.mark.parametrize(
    ("parser", "message"),
    [
        (5, "parser must be a name or an object of a subclass of Parser, not 5"),
        (None, "parser must be a name or an object of a subclass of Parser, not None"),
        (
            Mine,
            f"parser must be a name or an object of a subclass of Parser, not {Mine!r}; give an object, not the class",
        ),
    ],
)
def test_what_is_no_parser(parser: Any, message: str) -> None:
    for use in (parsers.load, lambda parser: Server(parser=parser)):
        with pytest.raises(ConfigError) as caught:
            use(parser)
        assert str(caught.value) == message


def test_a_parser_without_a_name() -> None:
    with pytest.raises(ConfigError, match=r"has no name: give its class one, as name = \"mine\""):
        Server(parser=Nameless())
