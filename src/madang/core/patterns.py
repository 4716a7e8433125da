"""Names of namespaces that are made when the first client asks for them: templates, regular expressions, predicates.

A template is text with parameters, as "/room-{id}" or "/user/{id:int}/{tab}". What a parameter takes is its type:
`str` (the default) anything but a slash, `int` a whole number without leading zeros, `uuid` a UUID in lower case,
`path` anything at all.

Names come from clients. Where a regular expression would try one way after the other to share out a name among several
parameters, each place of the name is looked at once for each part of the template instead.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from uuid import UUID

from madang.errors import LocalProtocolError

__all__ = ["Pattern", "Predicate", "is_pattern"]

#: Asked with the name and the client's `auth` while there is no such namespace: true makes it, a mapping is its
#: parameters too.
Predicate = Callable[[str, dict[str, Any]], Mapping[str, Any] | bool | Awaitable[Mapping[str, Any] | bool]]

# Each takes one way only to write a value, so that no two names mean the same.
_TYPES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "str": ("[^/]+", str),
    "int": ("0|-?[1-9][0-9]*", int),
    "uuid": ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", UUID),
    "path": (".+", str),
}
_PARAMETER: Final = re.compile(r"\{([^{}]*)\}")
_UUID: Final = re.compile(_TYPES["uuid"][0])
_DIGITS: Final = frozenset("0123456789")


def is_pattern(name: object) -> bool:
    """Whether this stands for many namespaces, and not for the one of this name."""
    return not isinstance(name, str) or "{" in name or "}" in name


class Pattern:
    """Which namespaces are meant.

    Args:
        source: a template, a compiled regular expression that has to match the whole name, or a predicate.

    Attributes:
        source: what it was made from.
        name: what to call it.
        predicate: the function to ask, or None where `match` knows.

    Raises:
        LocalProtocolError: the template is malformed, or it is nothing of the three.

    Example:
        >>> Pattern("/room-{id:int}").match("/room-7")
        {'id': 7}
    """

    __slots__ = ("_expression", "_parts", "_types", "name", "predicate", "source")

    def __init__(self, source: str | re.Pattern[str] | Predicate) -> None:
        self.source = source
        self.predicate: Predicate | None = None
        self._expression: re.Pattern[str] | None = None
        self._types: dict[str, Callable[[str], Any]] = {}
        self._parts: list[tuple[str, str]] | None = None
        if isinstance(source, str):
            self.source = self.name = source if source.startswith("/") else "/" + source
            self._compile(self.name)
        elif isinstance(source, re.Pattern):
            if not isinstance(source.pattern, str):
                raise LocalProtocolError(f"names of namespaces are text: write {source.pattern!r} without the b")
            self.name = source.pattern
            self._expression = source
        elif callable(source):
            self.name = getattr(source, "__qualname__", repr(source))
            self.predicate = source
        else:
            raise LocalProtocolError(
                "a namespace is named by a string, a template as '/room-{id}', a compiled regular expression or a "
                f"function of the name and auth, not by {source!r:.80}"
            )

    def _compile(self, template: str) -> None:
        expression = ""
        parts: list[tuple[str, str]] = []  # a type and a name, or "" and what stands there as it is
        end = 0
        for found in _PARAMETER.finditer(template):
            name, colon, kind = found[1].partition(":")
            if not name.isidentifier() or name in self._types or (kind or "str") not in _TYPES or (colon and not kind):
                raise LocalProtocolError(
                    f"{found[0]} in {template!r}: a parameter is written {{name}} or {{name:type}}, each name once, "
                    f"with one of the types {', '.join(_TYPES)}"
                )
            pattern, self._types[name] = _TYPES[kind or "str"]
            text = _literal(template, end, found.start())
            expression += re.escape(text) + f"(?P<{name}>{pattern})"
            parts += [("", text), (kind or "str", name)]
            end = found.end()
        text = _literal(template, end, len(template))
        parts.append(("", text))
        if len(self._types) == 1 or _is_plain(parts):
            self._expression = re.compile(expression + re.escape(text), re.DOTALL)
        else:
            self._parts = parts

    def match(self, name: str) -> dict[str, Any] | None:
        """The parameters in a name, or None if it doesn't match or only the predicate knows."""
        if self._parts is not None:
            values = _share_out(name, self._parts)
        elif self._expression is not None:
            found = self._expression.fullmatch(name)
            values = None if found is None else found.groupdict()
        else:
            return None
        if values is None:
            return None
        types = self._types
        return {key: types[key](value) if key in types else value for key, value in values.items()}

    def __repr__(self) -> str:
        return f"Pattern({self.name!r})"


def _literal(template: str, start: int, end: int) -> str:
    text = template[start:end]
    if "{" in text or "}" in text:
        raise LocalProtocolError(f"a brace in {template!r} has no other half, as in '/room-{{id}}'")
    return text


def _is_plain(parts: list[tuple[str, str]]) -> bool:
    """Whether it is plain where each parameter ends, so that there is one way only to share out a name."""
    for index in range(1, len(parts), 2):
        kind, text = parts[index][0], parts[index + 1][1]
        ends_the_name = not text and index + 2 == len(parts)
        if not (ends_the_name or kind == "uuid" or (kind != "path" and text.startswith("/"))):
            return False
    return True


def _share_out(name: str, parts: list[tuple[str, str]]) -> dict[str, Any] | None:
    """Share out a name among the parameters of a template. The first ones take as much as they can.

    From the last part to the first it is found out, for each place where a part may begin, where it has to end so that
    all parts behind it have their share. The time is that of the name's length for each part.
    """
    fits = [False] * len(name) + [True]  # whether the parts behind this one can begin here
    ends: list[list[int]] = []
    for kind, text in reversed(parts):
        ends.append(_literal_ends(name, text, fits) if not kind else _ENDS[kind](name, fits))
        fits = [end >= 0 for end in ends[-1]]
    values: dict[str, Any] = {}
    place = 0
    for (kind, text), end in zip(parts, reversed(ends), strict=True):
        if end[place] < 0:
            return None
        if kind:
            values[text] = name[place : end[place]]
        place = end[place]
    return values


def _literal_ends(name: str, text: str, fits: list[bool]) -> list[int]:
    size, most = len(text), len(name) - len(text)
    return [
        place + size if place <= most and fits[place + size] and name.startswith(text, place) else -1
        for place in range(len(fits))
    ]


def _run_ends(name: str, fits: list[bool], takes: Callable[[str], bool]) -> list[int]:
    ends = [-1] * len(fits)
    farthest = -1
    for place in range(len(name) - 1, -1, -1):
        if not takes(name[place]):
            farthest = -1
            continue
        if farthest < 0 and fits[place + 1]:
            farthest = place + 1
        ends[place] = farthest
    return ends


def _int_ends(name: str, fits: list[bool]) -> list[int]:
    runs = _run_ends(name, fits, _DIGITS.__contains__)
    ends = [-1] * len(fits)
    for place, character in enumerate(name):
        if character == "0":
            ends[place] = place + 1 if fits[place + 1] else -1
        elif character in _DIGITS:
            ends[place] = runs[place]
        elif character == "-" and name[place + 1 : place + 2] != "0":
            ends[place] = runs[place + 1]
    return ends


def _uuid_ends(name: str, fits: list[bool]) -> list[int]:
    ends = [-1] * len(fits)
    for place in range(len(name) - 35):
        if fits[place + 36] and _UUID.match(name, place) is not None:
            ends[place] = place + 36
    return ends


#: Where a parameter of a type ends, for each place where it may begin; -1: it can't begin there.
_ENDS: Final[dict[str, Callable[[str, list[bool]], list[int]]]] = {
    "str": lambda name, fits: _run_ends(name, fits, "/".__ne__),
    "int": _int_ends,
    "uuid": _uuid_ends,
    "path": lambda name, fits: _run_ends(name, fits, lambda character: True),
}
