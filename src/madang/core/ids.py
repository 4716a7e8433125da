"""Ids of sessions and sockets: nobody can guess one, and none comes twice."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

__all__ = ["Ids"]

#: Characters of an id, and the bytes of entropy that they stand for.
_LENGTH: Final = 20
_BYTES: Final = 15
#: How many ids one look at the source of entropy is for: for a single one, that is most of its cost.
_AT_ONCE: Final = 64


class Ids:
    """Makes ids of 20 URL-safe characters.

    Args:
        entropy: gives so many random bytes that nobody can foresee.

    Example:
        ```python
        ids = Ids(secrets.token_bytes)
        ids.make()  # "lv_VI97HAXpY6yYWAAAC"
        ```
    """

    __slots__ = ("_at", "_entropy", "_text")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._text = ""  # what ids are cut from
        self._at = 0

    def make(self) -> str:
        """A fresh id."""
        at = self._at
        if at == len(self._text):
            self._text = urlsafe_b64encode(self._entropy(_BYTES * _AT_ONCE)).decode()
            at = 0
        self._at = end = at + _LENGTH
        return self._text[at:end]

    def renew(self) -> None:
        """Forget what is at hand: a process that was forked off this one would make the same ids of it."""
        self._text = ""
        self._at = 0
