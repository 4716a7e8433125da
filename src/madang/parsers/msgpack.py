"""Packets as MessagePack, one binary frame each, with bytes in their place: what `socket.io-msgpack-parser` speaks.

A packet is a map `{"type", "nsp", "data"?, "id"?}`. Values follow the dialect of its library, notepack.io 2:
`undefined` is an extension of type 0 with one byte, a `Date` one with eight (milliseconds since 1970), an
`ArrayBuffer` of Node.js one of any size. Browsers write an `ArrayBuffer` as plain binary, which everyone reads.

Two libraries stand behind it. `msgspec` reads the map, and steps over the body without building it, so that every
length in there has been kept when `ormsgpack` builds it. `ormsgpack` refuses keys that are no text, lets us write
dates as JavaScript reads them, and otherwise takes the values that `orjson` takes. What it refuses is made simple
first, as for JSON.

Source: socket.io-msgpack-parser 3, notepack.io 2.2, the MessagePack specification.
"""

from __future__ import annotations

import datetime
import re
import struct
import uuid
from typing import Any, ClassVar, Final

import msgspec
import ormsgpack

from madang.config import Config
from madang.errors import EncodeError, RemoteProtocolError
from madang.packet import DISCONNECT, NOTHING, Frame, Packet
from madang.parsers import Parser, check_packet, namespace_of
from madang.values import TOO_DEEP, fields_of, key_text, simple, text_of

__all__ = ["PARSER", "MsgpackParser"]

_RULE: Final = "socket.io-msgpack-parser 3"
_HIGHEST_KIND: Final = 4
#: Ids as the JSON parser takes them: up to 15 digits, which JavaScript counts exactly.
_HIGHEST_ID: Final = 999_999_999_999_999

_OPTIONS: Final = ormsgpack.OPT_PASSTHROUGH_DATETIME | ormsgpack.OPT_PASSTHROUGH_BIG_INT
#: How both of its errors begin.
_RECURSION: Final = "Recursion limit"
_UNDEFINED: Final = b"\xd4\0\0"
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)
_INTEGERS: Final = range(-(2**63), 2**64)
_EIGHT: Final = struct.Struct(">q")
_TIMESTAMPS: Final = {4: b"\xd6\xff", 8: b"\xd7\xff", 12: b"\xc7\x0c\xff"}


class _Head(msgspec.Struct, gc=False):
    """A packet whose body has not been looked at."""

    type: int
    nsp: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: int | msgspec.msgpack.Ext | msgspec.UnsetType = msgspec.UNSET


_HEAD: Final = msgspec.msgpack.Decoder(_Head)


class MsgpackParser(Parser):
    """MessagePack, as `socket.io-msgpack-parser` writes it. Both sides must use it; nothing negotiates."""

    name: ClassVar[str] = "msgpack"

    def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:  # noqa: D102
        content: dict[str, Any] = {"type": packet.kind}
        if packet.data is not NOTHING:
            content["data"] = packet.data
        if packet.id is not None:
            content["id"] = packet.id
        content["nsp"] = packet.namespace
        try:
            return (ormsgpack.packb(content, _fields, _OPTIONS),)
        except TypeError as refused:
            if str(refused).startswith(_RECURSION):
                raise EncodeError(TOO_DEEP) from None
        return (_dump_thoroughly(content),)

    def decode(self, content: Frame, start: int, limits: Config) -> Packet:  # noqa: D102
        if isinstance(content, str):
            raise RemoteProtocolError("a text frame came, where packets are MessagePack", rule=_RULE)
        try:
            head = _HEAD.decode(content)
        except msgspec.ValidationError as error:
            raise RemoteProtocolError(f"a packet's head is wrong: {error!s:.200}", rule=_RULE) from None
        except (msgspec.MsgspecError, ValueError):
            raise RemoteProtocolError("a packet is not MessagePack", rule=_RULE) from None
        except RecursionError:
            raise _too_deep(limits) from None
        kind, namespace = head.type, head.nsp
        if not 0 <= kind <= _HIGHEST_KIND:
            raise RemoteProtocolError(f"unknown packet type {kind}", rule=_RULE)
        if namespace[:1] != "/":
            raise RemoteProtocolError(f'a namespace starts with "/", not {namespace!r:.80}', rule=_RULE)
        data = NOTHING
        if head.data is not msgspec.UNSET:
            body = memoryview(head.data)
            if kind != DISCONNECT or bytes(body) != _UNDEFINED:
                data = _load(body, content, limits)
        packet = Packet(kind, data, namespace if namespace == "/" else namespace_of(namespace), _id(head.id))
        check_packet(packet, limits)
        return packet


def _id(value: int | msgspec.msgpack.Ext | msgspec.UnsetType) -> int | None:
    if type(value) is int and 0 <= value <= _HIGHEST_ID:
        return value
    if value is msgspec.UNSET:
        return None
    if isinstance(value, msgspec.msgpack.Ext) and value.code == 0 and len(bytes(value.data)) == 1:
        return None  # undefined
    shown = "an extension" if isinstance(value, msgspec.msgpack.Ext) else value
    raise RemoteProtocolError(f"an id is a whole number of at most 15 digits, not {shown}", rule=_RULE)


# Reading


def _load(body: memoryview, content: bytes, limits: Config) -> Any:
    extensions = _Extensions()
    try:
        data = ormsgpack.unpackb(body, ext_hook=extensions)
        if extensions.short and (b"\xc7\x01\0" in content or b"\xc7\x08\0" in content):
            extensions = _Extensions()
            data = ormsgpack.unpackb(_short_buffers_as_binary(bytes(body)), ext_hook=extensions)
    except ValueError as error:
        if str(error).startswith(_RECURSION):
            raise _too_deep(limits) from None
        raise RemoteProtocolError(f"a packet's body can't be read: {error}", rule=_RULE) from None
    if extensions.far:
        raise RemoteProtocolError("a date is beyond the years 1 to 9999, which Python can't hold", rule=_RULE)
    # Each level takes a byte at least, so short messages need no look.
    if len(body) > limits.max_json_depth and _deeper_than(data, limits.max_json_depth):
        raise _too_deep(limits)
    return data


def _too_deep(limits: Config) -> RemoteProtocolError:
    return RemoteProtocolError(f"a packet is nested deeper than {limits.max_json_depth} levels", rule="max_json_depth")


def _deeper_than(data: Any, depth: int) -> bool:
    """Tell whether lists and dicts are nested deeper than a limit, level by level."""
    level: list[Any] = [data] if type(data) is list or type(data) is dict else []
    for _ in range(depth):
        level = [
            item
            for outer in level
            for item in (outer if type(outer) is list else outer.values())
            if type(item) is list or type(item) is dict
        ]
        if not level:
            return False
    return bool(level)


class _Extensions:
    """Makes values of one body's extensions, as notepack understands them; of standard timestamps too.

    Attributes:
        short: there was one of type 0 with 1 or 8 bytes, which may have been a buffer.
        far: there was a date beyond those of Python. The library would hide what is raised here.
    """

    __slots__ = ("far", "short")

    def __init__(self) -> None:
        self.short = False
        self.far = False

    def __call__(self, code: int, data: bytes) -> Any:
        size = len(data)
        try:
            if code == 0:
                if size == 1:
                    self.short = True
                    return None  # undefined
                if size == 8:
                    self.short = True
                    return _EPOCH + _EIGHT.unpack(data)[0] * _MILLISECOND
                return data
            if code == -1 and size in _TIMESTAMPS:
                return msgspec.msgpack.decode(_TIMESTAMPS[size] + data)
        except (OverflowError, msgspec.MsgspecError):
            self.far = True
            return None
        return [code, data]


def _small(sizes: range, before: bytes = b"") -> bytes:
    return b"(?:" + b"|".join(re.escape(bytes((size,))) + before + b".{%d}" % size for size in sizes) + b")"


# Values that need no look: all of fixed size, and texts, binaries and extensions under 32 bytes. Where an extension of
# 1 or 8 bytes is written with its length it isn't among them.
_PLAIN: Final = re.compile(
    rb"(?:[\x00-\xa0\xc0\xc2\xc3\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1\xdc\xde].{2}|[\xca\xce\xd2\xdd\xdf].{4}"
    rb"|[\xcb\xcf\xd3].{8}|\xd4.{2}|\xd5.{3}|\xd6.{5}|\xd7.{9}|\xd8.{17}|"
    + b"|".join(b"%c.{%d}" % (0xA0 + size, size) for size in range(1, 32))
    + rb"|(?:[\xc4\xd9]|[\xc5\xda]\x00|[\xc6\xdb]\x00\x00\x00)"
    + _small(range(32))
    + rb"|(?:\xc7(?!\x01|\x08)|\xc8\x00|\xc9\x00\x00\x00)"
    + _small(range(32), b".")
    + rb")++",
    re.DOTALL,
)
#: First byte -> bytes of the length that follows it, bytes of the extension's type.
_LONG: Final = {
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1),
    0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip


def _short_buffers_as_binary(body: bytes) -> bytes:
    """The same value, with each `ArrayBuffer` of 1 or 8 bytes that Node.js wrote as an extension written as binary.

    `c7 01 00` and `d4 00` are the same extension of the same length in another spelling, but mean a buffer and
    `undefined`; with 8 bytes, a buffer and a `Date`. No library tells the spelling. Longer ones (`c8 00 01 00`) are
    written by nobody, and left alone.
    """
    pieces = []
    at = done = 0
    while at < len(body):
        plain = _PLAIN.match(body, at)
        if plain is not None:
            at = plain.end()
            continue
        length_bytes, type_bytes = _LONG[body[at]]
        value = at + 1 + length_bytes + type_bytes
        size = int.from_bytes(body[at + 1 : at + 1 + length_bytes])
        if body[at] == 0xC7 and size in (1, 8) and body[value - 1] == 0:
            pieces += [body[done:at], b"\xc4", bytes((size,))]
            done = value
        at = value + size
    return b"".join((*pieces, body[done:]))


# Writing


def _fields(value: Any) -> Any:
    """What the library leaves to us."""
    if isinstance(value, datetime.date | datetime.time):
        return _date(value)
    return fields_of(value)


def _date(value: datetime.date | datetime.time) -> Any:
    """A moment as a `Date` of JavaScript; what is none (no zone, no date or no time) as text, as in JSON."""
    if isinstance(value, datetime.datetime) and value.utcoffset() is not None:
        return ormsgpack.Ext(0, _EIGHT.pack((value - _EPOCH) // _MILLISECOND))
    return text_of(value)


def _dump_thoroughly(content: dict[str, Any]) -> bytes:
    """Encode what the fast path refused: big numbers, halves of surrogate pairs, keys that are no text."""
    try:
        return ormsgpack.packb(simple(content, _leaf, _key))
    except RecursionError:
        raise EncodeError(TOO_DEEP) from None
    except (TypeError, ValueError, OverflowError) as refused:
        if str(refused).startswith(_RECURSION):
            raise EncodeError(TOO_DEEP) from None
        raise EncodeError(f"this value can't be sent: {refused}") from None


def _leaf(value: Any) -> Any:
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, int):
        return value if value in _INTEGERS else float(value)
    if isinstance(value, float | bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, datetime.date | datetime.time):
        return _date(value)
    if isinstance(value, uuid.UUID):
        return text_of(value)
    return simple(fields_of(value), _leaf, _key)


def _key(key: Any) -> str:
    return _whole(key_text(key))


def _whole(text: str) -> str:
    """Text as UTF-8 can hold it: half of a surrogate pair becomes U+FFFD, as when JavaScript writes UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


PARSER: Final = MsgpackParser()
