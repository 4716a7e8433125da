"""Names of namespaces that are made when the first client asks for them: templates, regular expressions, predicates.

A template is text with parameters, as "/room-{id}" or "/user/{id:int}/{tab}". What a parameter takes is its type:
`str` (the default) anything but a slash, `int` a whole number without leading zeros, `uuid` a UUID in lower case,
`path` anything at all.
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

    __slots__ = ("_expression", "_types", "name", "predicate", "source")

    def __init__(self, source: str | re.Pattern[str] | Predicate) -> None:
        self.source = source
        self.predicate: Predicate | None = None
        self._expression: re.Pattern[str] | None = None
        self._types: dict[str, Callable[[str], Any]] = {}
        if isinstance(source, str):
            self.source = self.name = source if source.startswith("/") else "/" + source
            self._expression = self._compiled(self.name)
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

    def _compiled(self, template: str) -> re.Pattern[str]:
        expression = ""
        end = 0
        for found in _PARAMETER.finditer(template):
            name, colon, kind = found[1].partition(":")
            if not name.isidentifier() or name in self._types or (kind or "str") not in _TYPES or (colon and not kind):
                raise LocalProtocolError(
                    f"{found[0]} in {template!r}: a parameter is written {{name}} or {{name:type}}, each name once, "
                    f"with one of the types {', '.join(_TYPES)}"
                )
            pattern, self._types[name] = _TYPES[kind or "str"]
            expression += _literal(template, end, found.start()) + f"(?P<{name}>{pattern})"
            end = found.end()
        return re.compile(expression + _literal(template, end, len(template)), re.DOTALL)

    def match(self, name: str) -> dict[str, Any] | None:
        """The parameters in a name, or None if it doesn't match or only the predicate knows."""
        if self._expression is None:
            return None
        found = self._expression.fullmatch(name)
        if found is None:
            return None
        types = self._types
        return {key: types[key](value) if key in types else value for key, value in found.groupdict().items()}

    def __repr__(self) -> str:
        return f"Pattern({self.name!r})"


def _literal(template: str, start: int, end: int) -> str:
    text = template[start:end]
    if "{" in text or "}" in text:
        raise LocalProtocolError(f"a brace in {template!r} has no other half, as in '/room-{{id}}'")
    return re.escape(text)
