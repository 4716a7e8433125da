"""Values of a program, in the types that every codec knows: what may be sent, whatever the parser.

Encoders in C know nearly everything themselves. What they hand back, because no codec has it or this one has not,
comes here.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec
import orjson

__all__ = ["TOO_DEEP", "fields_of", "key_text", "simple", "text_of"]

#: The words for a value that no encoder can follow to its end.
TOO_DEEP: Final = "this value is nested too deeply to be sent, or contains itself"


def fields_of(value: Any) -> Any:
    """A value of a type that no codec knows, one step simpler.

    Raises:
        TypeError: it can't be sent; the message names it and says what to do.

    Example:
        >>> class Point(msgspec.Struct):
        ...     x: int
        >>> fields_of(Point(1))
        {'x': 1}
    """
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return msgspec.to_builtins(value)
    if hasattr(value, "model_dump"):  # pydantic, which need not be installed
        return value.model_dump()
    raise TypeError(
        f"{type(value).__name__} can't be sent ({value!r:.80}); turn it into a dict, list, str, number or bytes first"
    )


def _struct(value: msgspec.Struct) -> Any:
    """A Struct, one step simpler, as `msgspec` itself would write it: with its names for fields, and its tag."""
    settings = value.__struct_config__
    names = value.__struct_fields__
    required = len(names) - len(value.__struct_defaults__)
    if settings.array_like:
        items = [getattr(value, name) for name in names]
        return items if settings.tag is None else [settings.tag, *items]
    fields: dict[str, Any] = {} if settings.tag_field is None else {settings.tag_field: settings.tag}
    for index, (name, encoded) in enumerate(zip(names, value.__struct_encode_fields__, strict=True)):
        item = getattr(value, name)
        if item is msgspec.UNSET:
            continue
        if (
            settings.omit_defaults
            and index >= required
            and _is_default(item, value.__struct_defaults__[index - required])
        ):
            continue
        fields[encoded] = item
    return fields


def _is_default(item: Any, default: Any) -> bool:
    """Whether a field of a Struct has its default; of those that are made anew, `msgspec` looks at empty ones only."""
    factory = getattr(default, "factory", None)
    if factory is None:
        return item is default or (type(item) is type(default) and item == default)
    return type(item) is factory and not item


def key_text(key: Any) -> str:
    """The key of a dict as JavaScript has it: text.

    Raises:
        TypeError: it can't be a key.

    Example:
        >>> [key_text(key) for key in ("a", 1, True, None)]
        ['a', '1', 'true', 'null']
    """
    if isinstance(key, enum.Enum):
        return key_text(key.value)
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return int.__repr__(key)  # of any size
    keys: dict[str, None] = orjson.loads(orjson.dumps({key: None}, option=orjson.OPT_NON_STR_KEYS))
    return next(iter(keys))


def simple(value: Any, leaf: Callable[[Any], Any], key: Callable[[Any], str] = key_text) -> Any:
    """A value as lists, dicts with text as keys, and leaves, with the same meaning as `orjson` gives it.

    Args:
        value: what to send.
        leaf: turns what is no list, tuple, dict, enum or dataclass into what the codec takes.
        key: turns the key of a dict into text.

    Raises:
        RecursionError: it is too deep, or contains itself.
        TypeError: from `leaf` or `key`.

    Example:
        >>> simple({1: (True, None)}, str)
        {'1': [True, None]}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list | tuple):
        return [simple(item, leaf, key) for item in value]
    if isinstance(value, dict):
        return {key(name): simple(item, leaf, key) for name, item in value.items()}
    if isinstance(value, enum.Enum):
        return simple(value.value, leaf, key)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: simple(getattr(value, name), leaf, key) for name in names if not name.startswith("_")}
    return leaf(value)


def text_of(value: datetime.date | datetime.time | uuid.UUID) -> str:
    """A date, time or UUID as text: ISO 8601, or five groups of hexadecimal digits.

    Example:
        >>> text_of(datetime.date(2026, 11, 22))
        '2026-11-22'
    """
    return orjson.dumps(value)[1:-1].decode()
