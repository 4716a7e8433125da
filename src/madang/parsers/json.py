"""The default parser: packets as text with a JSON body, bytes as attachments in frames of their own.

A packet is `<kind>[<attachments>-][<namespace>,][<acknowledgement id>][<JSON>]`.

Two JSON libraries stand behind it. `orjson` does nearly all the work, straight from and to UTF-8. What it refuses
and JavaScript clients accept (integers over 64 bits, lone surrogates, keys that are no strings) goes to the
standard library.

Source: Socket.IO protocol 5, "packet encoding".
"""

from __future__ import annotations

import datetime
import json
import math
import re
import uuid
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, ClassVar, Final

import orjson

from madang.compiling import mypyc_attr
from madang.config import Config
from madang.errors import EncodeError, RemoteProtocolError
from madang.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, NOTHING, Frame, Packet
from madang.parsers import Parser, Shape, Shapes, check_event, check_packet, namespace_of
from madang.values import TOO_DEEP, fields_of, simple, text_of

__all__ = ["PARSER", "JsonParser", "dump", "load"]

# orjson's words for it.
_RECURSION: Final = ("Recursion limit reached", "default serializer exceeds recursion limit")
_RULE = "Socket.IO protocol 5, packet encoding"
_DIGITS: Final = ("0", "1", "2", "3", "4")
_BINARY_EVENT: Final = "5"
_BINARY_ACK: Final = "6"
_KINDS: Final = {
    "0": CONNECT,
    "1": DISCONNECT,
    "2": EVENT,
    "3": ACK,
    "4": CONNECT_ERROR,
    "5": EVENT,
    "6": ACK,
}

# ASCII digits only: `str.isdigit` knows many more. Ids are bounded so that `int` stays cheap.
_HEAD = re.compile(r"(?:(?P<count>[0-9]{1,9})-)?(?:(?P<namespace>/[^,]*)(?:,|$))?(?P<id>[0-9]{1,15})?", re.ASCII)
_NO_MARKS: Final = bytes(set(range(256)) - set(b'[]{}"'))
_ROUND: Final = bytes.maketrans(b"{}", b"[]")
_STEP: Final = {91: 1, 93: -1}
_NO_SHAPES: Final[Shapes] = {}


@mypyc_attr(allow_interpreted_subclasses=True)
class JsonParser(Parser):
    """JSON text and binary attachments, as `socket.io-parser` writes them."""

    name: ClassVar[str] = "json"
    escapes: ClassVar[bool] = True
    #: What the arguments of events are decoded into, in one pass with the JSON.
    _shapes: Shapes = _NO_SHAPES

    def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:  # noqa: D102
        kind, data, namespace, id_ = packet.kind, packet.data, packet.namespace, packet.id
        digit = _DIGITS[kind]
        head = "" if namespace == "/" else namespace + ","
        if id_ is not None:
            head = f"{head}{id_}"
        if data is NOTHING:
            return (f"{prefix}{digit}{head}",)
        try:
            return (f"{prefix}{digit}{head}{orjson.dumps(data).decode()}",)
        except TypeError:
            attachments: list[bytes] = []
            body = _dump_with_attachments(data, attachments)
        if not attachments:
            return (f"{prefix}{digit}{head}{body}",)
        if kind not in (EVENT, ACK):
            raise EncodeError("bytes can be sent with events and acknowledgements only, not in a CONNECT packet")
        digit = _BINARY_EVENT if kind == EVENT else _BINARY_ACK
        return (f"{prefix}{digit}{len(attachments)}-{head}{body}", *attachments)

    def wrap(self, namespace: str, text: str, prefix: str) -> tuple[Frame, ...]:  # noqa: D102
        return (f"{prefix}2{text}" if namespace == "/" else f"{prefix}2{namespace},{text}",)

    def decode(self, content: Frame, start: int, limits: Config) -> Packet:  # noqa: D102
        if isinstance(content, bytes):
            raise RemoteProtocolError("a binary frame came where none was announced", rule=_RULE)
        body = content.find("[", start)
        if body <= start or content[start] != "2":
            return _decode_any(content, start, limits)
        # By far the most common packet: an event, mostly of the main namespace, perhaps with a number.
        id_: int | None = None
        namespace = "/"
        head = content[start + 1 : body]
        if head:
            if len(head) < 16 and head.isdecimal() and head.isascii():
                id_ = int(head)
            else:
                match = _HEAD.match(content, start + 1)
                assert match is not None  # every part of the pattern may be empty  # noqa: S101
                count, name, digits = match.groups()
                if count is not None or match.end() != body:
                    return _decode_any(content, start, limits)
                namespace, id_ = namespace_of(name or ""), None if digits is None else int(digits)
        text = content[body:]
        if len(text) > 2 * limits.max_json_depth:
            _check_depth(text, limits)
        shapes = self._shapes.get(namespace)
        if shapes:
            # Names that JSON has to escape have no shape here.
            shape = shapes.get(content[body + 2 : content.find('"', body + 2)])
            if shape is not None:
                try:
                    return _ShapedPacket(shape, text, shape.decode(text), namespace, id_)
                except Exception:  # noqa: S110  # validators of the user run in there
                    pass  # decoded again below, to find out what is wrong
        data = _parse(text)
        check_event(data, limits)
        return Packet(EVENT, data, namespace, id_, 0)

    def shaped(self, shapes: Shapes) -> Parser:  # noqa: D102
        if type(self) is not JsonParser:
            return self  # somebody's own, which reads and writes as it likes
        parser = JsonParser()
        parser._shapes = shapes
        return parser


class _ShapedPacket(Packet):
    """An event whose arguments were decoded into a shape. `data` is a tuple."""

    __slots__ = ("_text",)

    def __init__(self, shape: Shape, text: str, data: Sequence[Any], namespace: str, id_: int | None) -> None:
        self.kind = EVENT
        self.data = data
        self.namespace = namespace
        self.id = id_
        self.missing = 0
        self.shape = shape
        self._text = text

    def plain(self) -> Sequence[Any]:
        """Decode the text once more, for those who are not the handler."""
        return _parse(self._text)  # type: ignore[no-any-return]


def _decode_any(content: str, start: int, limits: Config) -> Packet:
    kind = _KINDS.get(content[start : start + 1])
    if kind is None:
        raise RemoteProtocolError(f"unknown packet type {content[start : start + 1]!r}", rule=_RULE)
    head = _HEAD.match(content, start + 1)
    assert head is not None  # every part of the pattern may be empty  # noqa: S101
    count, namespace, id_ = head.groups()
    missing = 0
    if content[start] in "56":
        if count is None:
            raise RemoteProtocolError("a binary packet does not tell how many attachments it has", rule=_RULE)
        missing = int(count)
        if missing > limits.max_attachments:
            raise RemoteProtocolError(
                f"a packet with {missing} attachments; {limits.max_attachments} are allowed", rule="max_attachments"
            )
    elif count is not None:
        raise RemoteProtocolError("only binary packets have attachments", rule=_RULE)
    text = content[head.end() :]
    data = load(text, limits) if text else NOTHING
    packet = Packet(kind, data, namespace_of(namespace or ""), None if id_ is None else int(id_), missing)
    check_packet(packet, limits)
    return packet


def _check_depth(text: str, limits: Config) -> None:
    """Refuse what is nested too deeply. To nest n levels takes 2n characters, so shorter text needs no look."""
    depth = limits.max_json_depth
    if _opens_more_than(text, depth) and _deeper_than(text, depth):
        raise RemoteProtocolError(f"JSON is nested deeper than {depth} levels", rule="max_json_depth")


def load(text: str, limits: Config, rule: str = _RULE) -> Any:
    """Read JSON text that a client has sent.

    Args:
        text: the text.
        limits: the bounds to keep: `max_json_depth`.
        rule: what is broken by text that is no JSON.

    Raises:
        RemoteProtocolError: it is not JSON, or nested too deeply.
    """
    if len(text) > 2 * limits.max_json_depth:
        _check_depth(text, limits)
    return _parse(text, rule)


def _parse(text: str, rule: str = _RULE) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as first:
        if "surrogate" not in str(first):
            raise RemoteProtocolError("a packet's body is not JSON", rule=rule) from None
    # JavaScript escapes half of a surrogate pair, as of text that was cut, and so can our users' users.
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("a packet's body is not JSON", rule=rule) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _opens_more_than(text: str, most: int) -> bool:
    """Tell whether there are more brackets than so many, wherever they stand. To find a few is faster than to count."""
    for bracket in "[{":
        at = text.find(bracket)
        while at >= 0:
            if most == 0:
                return True
            most -= 1
            at = text.find(bracket, at + 1)
    return False


def _deeper_than(text: str, depth: int) -> bool:
    """Tell whether JSON text is nested deeper than a limit, without building anything."""
    # Without escaped backslashes and quotes, every second piece between quotes stands outside of strings.
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    marks = text.encode("utf-8", "surrogatepass").translate(_ROUND, _NO_MARKS).replace(b'""', b"")
    if b'"' in marks:
        marks = b"".join(marks.split(b'"')[::2])
    left = marks
    for _ in range(depth):  # what is innermost is taken away, as long as that is much
        shorter = left.replace(b"[]", b"")
        if not shorter:
            return False
        if 8 * len(shorter) > 7 * len(left):
            break
        left = shorter
    return max(accumulate(map(_STEP.__getitem__, marks)), default=0) > depth


def dump(data: Any, put: Callable[[bytes], Any]) -> str:
    """Write a value of the program as JSON text.

    Args:
        data: the value.
        put: makes of bytes what stands for them.

    Raises:
        EncodeError: there is something in it that can't be sent.

    Example:
        >>> dump(["photo", b"png"], lambda data: data.hex())
        '["photo","706e67"]'
    """
    try:
        return orjson.dumps(data).decode()
    except TypeError:
        return _dump_thoroughly(data, put)


def _dump_with_attachments(data: Any, attachments: list[bytes]) -> str:
    def attach(value: bytes) -> Any:
        attachments.append(value)
        return {"_placeholder": True, "num": len(attachments) - 1}

    return _dump_thoroughly(data, attach, attachments.clear)


def _dump_thoroughly(data: Any, put: Callable[[bytes], Any], anew: Callable[[], object] | None = None) -> str:
    """Encode what the fast path refused: bytes become what `put` makes of them, our own types become JSON."""

    def known(value: Any) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            return put(bytes(value))
        return fields_of(value)

    def leaf(value: Any) -> Any:
        if isinstance(value, str | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, datetime.date | datetime.time | uuid.UUID):
            return text_of(value)
        return simple(known(value), leaf)

    try:
        return orjson.dumps(data, known, orjson.OPT_NON_STR_KEYS).decode()
    except TypeError as refused:
        cause = refused.__cause__ or refused
        if isinstance(cause, RecursionError) or str(refused) in _RECURSION:
            raise EncodeError(TOO_DEEP) from None
    if anew is not None:
        anew()
    try:
        return json.dumps(simple(data, leaf), allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise EncodeError(TOO_DEEP) from None
    except (TypeError, ValueError) as refused:
        raise EncodeError(f"this value can't be sent: {refused}") from None


PARSER: Final = JsonParser()
