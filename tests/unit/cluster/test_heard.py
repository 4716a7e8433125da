"""What another server has said, as it goes to our own clients."""

import msgspec
import pytest

from madang import parsers, wire
from madang.cluster.remote import Heard
from madang.config import Config
from madang.core.prepared import Prepared
from madang.packet import EVENT, Packet

VALUES = ["news", 1, {"a": ["b"]}]


@pytest.mark.parametrize("content", [VALUES, msgspec.Raw(msgspec.json.encode(VALUES))], ids=["values", "text"])
@pytest.mark.parametrize("namespace", ["/", "/chat"])
@pytest.mark.parametrize("generation", ["eio4", "eio3", "sio1", "sio0"])
def test_it_is_encoded_as_what_we_say_ourselves(generation: str, namespace: str, content: object) -> None:
    speaks, parser = wire.load(generation), parsers.load("json")
    said = Prepared(Packet(EVENT, VALUES, namespace)).encoded(speaks, parser)
    heard = Heard(content, namespace, True, Config()).encoded(speaks, parser)
    assert heard.frames == said.frames


def test_its_values_are_read_once() -> None:
    heard = Heard(msgspec.Raw(msgspec.json.encode(VALUES)), "/chat", True, Config())
    assert heard.packet == Packet(EVENT, VALUES, "/chat")
    assert heard.packet is heard.packet
