"""A packet that goes to many: encoded once for each generation and parser, when it is first needed."""

from collections.abc import Sequence
from typing import ClassVar

import pytest

from madang.config import Config
from madang.core.prepared import Prepared
from madang.errors import EncodeError
from madang.packet import EVENT, Frame, Packet
from madang.parsers import Parser
from madang.transports import Request
from madang.wire import Address, Decoder, Open, Wire


class CountingParser(Parser):
    name: ClassVar[str] = "counting"

    def __init__(self, name: str = "counting") -> None:
        self.name = name  # type: ignore[misc]
        self.written = 0

    def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:
        self.written += 1
        return (f"{prefix}{self.name}:{packet.data}",)

    def decode(self, content: Frame, start: int, limits: Config) -> Packet:
        raise NotImplementedError


class CountingWire(Wire):
    name: ClassVar[str] = "counting"
    server_pings: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]
        self.written = 0

    def address(self, request: Request, below: str) -> Address | None:
        raise NotImplementedError

    def decoder(self, parser: Parser, limits: Config, request: Request | None = None) -> Decoder:
        raise NotImplementedError

    def encode(self, packet: Packet, parser: Parser) -> tuple[Frame, ...]:
        self.written += 1
        return parser.encode(packet, self.name)

    def open(self, hello: Open) -> Frame:
        raise NotImplementedError

    def greeted(self, frame: Frame) -> Open:
        raise NotImplementedError

    def join(self, frames: Sequence[Frame]) -> str:
        raise NotImplementedError

    def split(self, payload: str, limits: Config) -> list[Frame]:
        raise NotImplementedError

    def as_text(self, frame: Frame) -> str:
        raise NotImplementedError

    def from_text(self, text: str) -> Frame:
        raise NotImplementedError


def test_nothing_is_encoded_before_somebody_needs_it() -> None:
    parser = CountingParser()
    Prepared(Packet(EVENT, ["e"]))
    assert parser.written == 0


def test_once_for_all_who_speak_alike() -> None:
    wire, parser = CountingWire("w"), CountingParser()
    prepared = Prepared(Packet(EVENT, ["e"]))
    encodings = [prepared.encoded(wire, parser) for _ in range(1000)]
    assert (wire.written, parser.written) == (1, 1)
    assert all(one is encodings[0] for one in encodings)
    assert encodings[0].frames == ("wcounting:['e']",)


def test_once_for_each_generation_and_parser_in_any_order() -> None:
    wires = [CountingWire("a"), CountingWire("b")]
    parsers = [CountingParser("x"), CountingParser("y")]
    prepared = Prepared(Packet(EVENT, ["e"]))
    for _ in range(5):
        for wire in wires:
            for parser in parsers:
                assert prepared.encoded(wire, parser).frames == (f"{wire.name}{parser.name}:['e']",)
    assert [wire.written for wire in wires] == [2, 2]
    assert [parser.written for parser in parsers] == [2, 2]


@pytest.mark.parametrize("compress", [True, False])
def test_compression_is_the_packets_choice(compress: bool) -> None:
    prepared = Prepared(Packet(EVENT, ["e"]), compress)
    assert prepared.encoded(CountingWire("w"), CountingParser()).compress is compress


def test_what_cannot_be_sent() -> None:
    from madang import parsers, wire

    prepared = Prepared(Packet(EVENT, ["e", object()]))
    for _ in range(2):
        with pytest.raises(EncodeError):
            prepared.encoded(wire.load("eio4"), parsers.load("json"))
