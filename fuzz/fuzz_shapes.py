"""Fuzz `madang.core.shapes` behind the JSON parser: text of packets, decoded into the types of handlers.

Checked besides "raises nothing but RemoteProtocolError": a parser that has shapes gives a packet where one without
gives a packet, and refuses what that refuses, but for values that a shape skips; what was decoded in one pass is what
the plain values convert to; what is not of its shape is told in few and short words.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from harness import run
from msgspec import Meta, Struct

from madang.config import Config
from madang.core.shapes import Arguments
from madang.errors import InvalidArguments, RemoteProtocolError
from madang.packet import EVENT
from madang.parsers.json import PARSER

LIMITS = Config()


class Said(Struct):
    room: Annotated[str, Meta(max_length=5)]
    text: str = ""


@dataclass
class Node:
    value: int | str
    children: "list[Node] | None" = None


class Movie(TypedDict, total=False):
    title: str
    year: int


SHAPES = {
    "say": Arguments((Said,), 1, None),
    "tree": Arguments((Node, float), 1, None),
    "any": Arguments((Any, int), 1, None),
    "many": Arguments((list[int], dict[str, Movie], Literal["a", 1]), 0, None),
    "rest": Arguments((str,), 1, int),
}
OFFERED = {name: shape for name, shape in SHAPES.items() if shape.one_pass}
SHAPED = PARSER.shaped({"/": OFFERED, "/chat": OFFERED})


def target(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        plain = PARSER.decode(text, 0, LIMITS)
    except RemoteProtocolError:
        plain = None
    packet = SHAPED.decode(text, 0, LIMITS)  # what it may raise, `run` knows
    if plain is None:
        assert packet.shape is not None, "the parser without shapes takes more"
        return
    assert (packet.kind, packet.namespace, packet.id) == (plain.kind, plain.namespace, plain.id)
    if packet.shape is not None:
        assert repr(packet.plain()) == repr(plain.data)
        assert isinstance(packet.shape, Arguments)
        converted = packet.shape.convert(packet.data[0], plain.data[1:])
        # Whole numbers over 64 bits are exact in one pass, and floats in plain values.
        assert repr(tuple(packet.data[1:])) == repr(tuple(converted)) or any(len(part) > 15 for part in text.split(","))
    elif plain.kind == EVENT and plain.data[0] in SHAPES:
        error = refusal(plain.data[0], plain.data[1:])
        if error is not None:
            assert 1 <= len(error.details) <= 10
            assert len(json.dumps(error.answer)) < 50_000
            assert str(error).isprintable()


def refusal(event: str, values: list[Any]) -> InvalidArguments | None:
    try:
        SHAPES[event].convert(event, values)
    except InvalidArguments as error:
        return error
    return None


if __name__ == "__main__":
    seeds = [
        b'2["say",{"room":"a","text":"hello"}]',
        b'2["say",{"room":"toolong"}]',
        b'212["say",{"room":"a","more":[1e9,{"b":null}]}]',
        b'2/chat,7["tree",{"value":1,"children":[{"value":"x"},{"value":2,"children":[]}]},1.5]',
        b'2["tree",{"value":1},3]',
        b'2["any",{"a":[1,2]},18446744073709551616]',
        b'2["many",[1,2],{"x":{"title":"y","year":1999}},"a"]',
        b'2["many"]',
        b'2["many",[1,"2"],{"x":{"year":"y"}},"b",5]',
        b'2["rest","a",1,2,3]',
        b'2["rest","a",1,"2"]',
        b'2["\\u0073ay",{"room":"\\ud800"}]',
        b'51-["say",{"room":{"_placeholder":true,"num":0}}]',
        b'3/chat,1["say"]',
    ]
    run(target, seeds, (RemoteProtocolError,))
