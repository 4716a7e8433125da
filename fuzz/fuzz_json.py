"""Fuzz `madang.parsers.json`: text in, with default and with tight limits; values out.

The first byte of an input chooses. Checked besides "raises nothing but RemoteProtocolError", and EncodeError for
values: the limit of depth is that of a plain recursive look; what was read can be written and is read the same again,
through both JSON libraries; text that the standard library reads is read with the same meaning.
"""

import json
import math
from typing import Any

from harness import run

from madang.config import Config
from madang.errors import EncodeError, RemoteProtocolError
from madang.packet import EVENT, Packet, restore_attachments
from madang.parsers.json import PARSER

TIGHT, VALUES, SURROGATES = 0x01, 0x02, 0x04
DEFAULT = Config()
SMALL = Config(max_attachments=2, max_event_args=3, max_json_depth=4)
WIDE = Config(max_attachments=100_000, max_event_args=100_000, max_json_depth=900)


def target(data: bytes) -> None:
    options, stream = (data[0], data[1:]) if data else (0, b"")
    if options & VALUES:
        values(stream)
        return
    text = stream.decode("utf-8", "replace")
    if options & SURROGATES:
        text = text.replace("\ufffd", "\ud800")
    limits = SMALL if options & TIGHT else DEFAULT
    try:
        packet = PARSER.decode(text, 0, limits)
    except RemoteProtocolError as error:
        compare_depth(text, limits, error.rule)
        raise
    assert PARSER.decode("4" + text, 1, limits) == packet
    compare_depth(text, limits, "")
    again(packet)
    # Through the other library, which lone surrogates call in.
    if packet.kind == EVENT and not packet.missing:
        again(Packet(EVENT, [*packet.data, "\udc00", 2**70], packet.namespace, packet.id), exact=False)


def again(packet: Packet, exact: bool = True) -> None:
    frames = PARSER.encode(Packet(packet.kind, packet.data, packet.namespace, packet.id), "")
    assert len(frames) == 1
    read = PARSER.decode(frames[0], 0, WIDE)
    if not exact:
        assert math.isclose(read.data[-1], 2**70)
        read.data, packet.data = read.data[:-1], packet.data[:-1]
    assert (read.kind, read.data, read.namespace, read.id) == (packet.kind, packet.data, packet.namespace, packet.id)


def depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 0


def compare_depth(text: str, limits: Config, rule: str) -> None:
    """The quick look at the depth against the value that the standard library makes of the body."""
    start = text.find("[")
    if text[:1] != "2" or start < 0 or not (text[1:start] == "" or text[1:start].isdecimal()):
        return
    try:
        value = json.loads(text[start:], parse_constant=lambda name: 1 / 0)
        json.dumps(value).encode()
    except (ValueError, RecursionError, ZeroDivisionError):
        return
    if depth(value) > limits.max_json_depth:
        assert rule, f"depth {depth(value)} was let through"
    elif rule == "max_json_depth":
        # It may be refused twice over only if a key stands there twice, so that the deep one was lost.
        assert text.count('"') >= 4, f"depth {depth(value)} was refused"


def values(stream: bytes) -> None:
    """A value out of the bytes, by a small stack machine; then out, and in again."""
    stack: list[Any] = [[]]
    for byte in stream[:400]:
        kind, small = byte & 0x0F, byte >> 4
        simple: list[Any] = [None, True, small, -small / 3, "텍스트"[:small], "\ud800" * (small % 2), 2 ** (small * 8)]
        if kind < len(simple):
            put(stack, simple[kind])
        elif kind in (7, 8):
            put(stack, (bytes, bytearray)[kind - 7](small))
        elif kind == 9:
            put(stack, (1, "two", (small,)))
        elif kind in (10, 11) and len(stack) < 50:
            inner: Any = [] if kind == 10 else {}
            put(stack, inner)
            stack.append(inner)
        elif kind in (12, 13) and len(stack) > 1:
            stack.pop()
        elif kind == 14:
            put(stack, math.nan)
        elif kind == 15 and small == 15:
            put(stack, object())
    data = ["e", *stack[0]]
    try:
        text, *attachments = PARSER.encode(Packet(EVENT, data), "")
    except EncodeError:
        assert "object object" in repr(data), "refused without need"
        return
    assert isinstance(text, str)
    text.encode()
    packet = PARSER.decode(text, 0, WIDE)
    assert packet.missing == len(attachments)
    restored = restore_attachments(packet.data, [frame for frame in attachments if isinstance(frame, bytes)])
    assert same(restored, data), f"{restored} was {data}"


def put(stack: list[Any], value: Any) -> None:
    top = stack[-1]
    if isinstance(top, dict):
        top[f"k{len(top)}"] = value
    else:
        top.append(value)


def same(read: Any, sent: Any) -> bool:
    if isinstance(sent, list | tuple):
        return isinstance(read, list) and len(read) == len(sent) and all(map(same, read, sent))
    if isinstance(sent, dict):
        return isinstance(read, dict) and read.keys() == sent.keys() and all(same(read[k], sent[k]) for k in sent)
    if isinstance(sent, float) and math.isnan(sent):
        return read is None
    if isinstance(sent, int) and abs(sent) >= 2**63:
        return math.isclose(read, sent)
    return bool(read == sent)


def seeds() -> list[bytes]:
    texts = [
        '2["e"]', '212["e",1]', '2/n,3["e",{"a":[true,null]}]', "0", '0{"a":1}', "0/n,", "1", "1/n,", "31[]",
        '3/n,1["x"]', '4{"message":"x"}', '4"x"', '51-["e",{"_placeholder":true,"num":0}]', "61-1[[]]",
        '50-["e",{"_placeholder":true,"num":7}]', '2["\\"[[[",["\\\\"]]', '2["e",[[[[]]]]]', '2["e",{"a":{"b":{}}}]',
        '2["한🎈\\ud83c\\udf88\\u0000"]', '2["\\ud800","\\udc00x"]', '2["e",18446744073709551616,-0,1e5,0.1]',
        '2["disconnect"]', "2[1]", '2["e",NaN]', '2 [ "e" , 1 ] ', "2" + "[" * 80, '2["e",' + '{"a":' * 70,
        '2["e",{"a":1,"a":[[[[[]]]]]}]',
    ]  # fmt: skip
    result = [bytes((options,)) + text.encode() for text in texts for options in (0, TIGHT)]
    result += [bytes((SURROGATES,)) + b'2["\xff",{"\xff":1}]']
    result += [
        bytes((VALUES,)) + stream
        for stream in (
            bytes(range(256)), b"\x0a\x07\x0c\x0b\x17\x1a\x08", b"\x15\x0b\x76\x0c", b"\xff", b"\x0a" * 60,
            b"\x0e\xf6", b"\x09\x0b\x09\x27",
        )
    ]  # fmt: skip
    return result


if __name__ == "__main__":
    run(target, seeds(), (RemoteProtocolError,))
