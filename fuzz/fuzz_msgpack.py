"""Fuzz `madang.parsers.msgpack`: bytes in, with default and with tight limits.

The first byte of an input chooses. Checked besides "raises nothing but RemoteProtocolError": the limit of depth is that
of a plain recursive look; what was read can be written and is read the same again, in both ways of writing; buffers
in the spelling of Node.js are found wherever they stand, by a reader of our own here that is slow and simple.
"""

import datetime
import math
import struct
from typing import Any

from harness import run

from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.packet import EVENT, NOTHING, Packet
from madang.parsers.msgpack import PARSER

TIGHT, BODY, ARGUMENTS = 0x01, 0x02, 0x04
DEFAULT = Config()
SMALL = Config(max_event_args=3, max_json_depth=4)
WIDE = Config(max_event_args=100_000, max_json_depth=900)
HEAD = b"\x83\xa4type\2\xa3nsp\xa1/\xa4data"
TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
BINARIES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
LISTS = {0xDC: 2, 0xDD: 4}
MAPS = {0xDE: 2, 0xDF: 4}
NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h",
           0xD2: ">i", 0xD3: ">q"}  # fmt: skip


def target(data: bytes) -> None:
    options, frame = (data[0], data[1:]) if data else (0, b"")
    limits = SMALL if options & TIGHT else DEFAULT
    if options & ARGUMENTS:
        frame = HEAD + b"\xdc\0\2\xa1e" + frame
    elif options & BODY:
        frame = HEAD + frame
    try:
        packet = PARSER.decode(frame, 0, limits)
    except RemoteProtocolError as error:
        if error.rule == "max_json_depth" and options & (BODY | ARGUMENTS):
            try:
                value = slow(frame[len(HEAD) :])
            except (IndexError, ValueError, KeyError, struct.error, RecursionError):
                raise error from None  # what is wrong twice may be refused for either
            assert depth(value) > limits.max_json_depth, f"depth {depth(value)} was refused"
        raise
    assert depth(packet.data) <= limits.max_json_depth
    if options & (BODY | ARGUMENTS):
        assert same(packet.data, slow(frame[len(HEAD) :])), f"read {packet.data}"
    again(packet)


def again(packet: Packet) -> None:
    frame = PARSER.encode(packet, "")[0]
    read = PARSER.decode(frame, 0, WIDE)
    assert (read.kind, read.namespace, read.id) == (packet.kind, packet.namespace, packet.id)
    assert same(read.data, packet.data), f"read {read.data} where {packet.data} was written"
    if packet.kind == EVENT:
        thorough = PARSER.encode(Packet(EVENT, [*packet.data, 2**70]), "")[0]
        read = PARSER.decode(thorough, 0, WIDE)
        assert same(read.data[:-1], packet.data), f"read {read.data} where {packet.data} was written"


def depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 0


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, datetime.datetime) and isinstance(other, datetime.datetime):
        return one == other.replace(microsecond=other.microsecond // 1000 * 1000)  # JavaScript has no more
    if type(other) is Moment:
        return not isinstance(one, bytes | list)
    return one is other is NOTHING or (type(one) is type(other) and bool(one == other))


class Moment:
    """A date, whose value is left to the unit tests."""


def slow(content: bytes) -> Any:
    """The value that stands first in the bytes."""
    return value_at(content, 0)[0]


def value_at(content: bytes, at: int) -> tuple[Any, int]:
    first = content[at]
    at += 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 256, at
    if first < 0x90:
        return map_at(content, at, first - 0x80)
    if first < 0xA0:
        return list_at(content, at, first - 0x90)
    if first < 0xC0:
        return content[at : at + first - 0xA0].decode(), at + first - 0xA0
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first in NUMBERS:
        layout = struct.Struct(NUMBERS[first])
        return layout.unpack_from(content, at)[0], at + layout.size
    if 0xD4 <= first <= 0xD8:
        size, spelled = 1 << (first - 0xD4), False
    else:
        width = {**TEXTS, **BINARIES, **EXTENSIONS, **LISTS, **MAPS}[first]
        size, spelled = int.from_bytes(content[at : at + width]), first == 0xC7
        at += width
    if first in LISTS:
        return list_at(content, at, size)
    if first in MAPS:
        return map_at(content, at, size)
    if first in TEXTS:
        return content[at : at + size].decode(), at + size
    if first in BINARIES:
        return content[at : at + size], at + size
    code = struct.unpack_from("b", content, at)[0]
    return extension(code, content[at + 1 : at + 1 + size], spelled), at + 1 + size


def extension(code: int, data: bytes, spelled: bool) -> Any:
    if code == 0:
        if not spelled and len(data) == 1:
            return None
        return Moment() if not spelled and len(data) == 8 else data
    return Moment() if code == -1 and len(data) in (4, 8, 12) else [code, data]


def list_at(content: bytes, at: int, size: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(size):
        item, at = value_at(content, at)
        items.append(item)
    return items, at


def map_at(content: bytes, at: int, size: int) -> tuple[dict[str, Any], int]:
    items: dict[str, Any] = {}
    for _ in range(size):
        key, at = value_at(content, at)
        items[key], at = value_at(content, at)
    return items, at


def seeds() -> list[bytes]:
    packets = [
        "82a47479706500a36e7370a12f", "83a47479706500a36e7370a62f61646d696ea46461746181a5746f6b656ea3313233",
        "82a47479706501a36e7370a12f", "84a47479706502a46461746191a568656c6c6fa269640ca36e7370a12f",
        "84a47479706503a46461746191a26f6ba269640ca36e7370a12f", "83a47479706504a464617461a16ea36e7370a12f",
        "83a47479706500a464617461d40000a36e7370a12f", "85a47479706502a46461746191a165a269640ca36e7370a22f61a178c0",
    ]  # fmt: skip
    values = [
        b"\1", b"\xff", b"\xc0", b"\xc3", b"\xcd\1\0", b"\xd3" + b"\x80" * 8, b"\xcb" + b"\x3f" * 8,
        b"\xca\x7f\xc0\0\0",
        b"\xa2hi", b"\xd9\2hi", b"\xda\0\2hi", b"\xc4\2hi", b"\xc5\0\2hi", b"\xd4\0\0",
        b"\xd7\0\0\0\0\xdf\xb7\x62\x9c\0",
        b"\xc7\1\0x", b"\xc7\x08\0abcdefgh", b"\xc8\0\1\0x", b"\xc7\2\0hi", b"\xd5\0hi", b"\xd4\5x",
        b"\xd6\xff\0\0\0\1",
        b"\xc7\x0c\xff\0\0\0\0\0\0\0\0\0\0\0\1", b"\x93\1\xc7\1\0x\2", b"\x82\xa1a\xc7\1\0x\xa1b\x90", b"\x81\1\1",
        b"\xdc\0\2\1\2", b"\xdd\0\0\0\1\1", b"\xde\0\1\xa0\x80", b"\xdf\0\0\0\1\xa1k\xc0", b"\xdd\xff\xff\xff\xff\1",
        b"\x91" * 80 + b"\1", b"\x81\xa1k" * 5 + b"\1", b"\x92\xc5\1\x2c" + b"\xc7\1\0" * 100 + b"\xc7\1\0x",
        b"\x92\xd9\x2c" + b"text" * 11 + b"\xc7\x08\0abcdefgh", b"\xc1", b"\xa1\xff", b"\xd7\0\x7f" + b"\xff" * 7,
    ]  # fmt: skip
    result = [bytes((options,)) + bytes.fromhex(packet) for packet in packets for options in (0, TIGHT)]
    result += [bytes((ARGUMENTS | options,)) + value for value in values for options in (0, TIGHT)]
    result += [bytes((BODY,)) + b"\x93\xa1e" + value + b"\xc7\1\0x" for value in values]
    return result


if __name__ == "__main__":
    run(target, seeds(), (RemoteProtocolError,))
