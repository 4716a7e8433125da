"""Packets in a text, each behind its length in UTF-16 units: how JavaScript counts, and how payloads did before 3.0.

Clients in other languages count characters instead. So what doesn't fit in units is read in characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import AnyStr, Final

from madang.errors import RemoteProtocolError

__all__ = ["Lengths"]

#: What counts as two units, and halves of it.
_BEYOND: Final = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")
_MAX_DIGITS: Final = 10


class Lengths:
    """One way to write lengths.

    Args:
        before: what stands before the digits of a length.
        behind: what stands behind them.

    Example:
        >>> colons = Lengths("", ":")
        >>> colons.join(["2", "4🎈"])
        '1:23:4🎈'
        >>> colons.cut("1:23:4🎈", most=10)
        ['2', '4🎈']
    """

    def __init__(self, before: str, behind: str) -> None:
        self._before = before
        self._behind = behind
        digits = f"([0-9]{{1,{_MAX_DIGITS}}})"
        self._head = re.compile(re.escape(before) + digits + re.escape(behind), re.ASCII)
        wide = [re.escape(mark.encode("utf-16-le")) for mark in (before, behind)]
        self._wide_head = re.compile(wide[0] + b"((?:[0-9]\0){1,%d})" % _MAX_DIGITS + wide[1])

    def join(self, texts: Iterable[str]) -> str:
        """Write texts, each behind its length."""
        return "".join([f"{self._before}{_units(text)}{self._behind}{text}" for text in texts])

    def cut(self, payload: str, most: int) -> list[str] | None:
        """Read what `join` has written, or another language has.

        Args:
            payload: the whole text.
            most: how many texts there may be in it.

        Returns:
            The texts; None where the lengths are wrong.

        Raises:
            RemoteProtocolError: there are more.
        """
        pieces = self.cut_units(payload, most)
        if pieces is None and _BEYOND.search(payload) is not None:
            pieces = self._cut(payload, self._head, 1, most)
        return pieces

    def cut_units(self, payload: str, most: int) -> list[str] | None:
        """The same, but only where the lengths count units."""
        if payload.isascii() or _BEYOND.search(payload) is None:
            return self._cut(payload, self._head, 1, most)
        wide = self._cut(payload.encode("utf-16-le", "surrogatepass"), self._wide_head, 2, most)
        try:
            return None if wide is None else [piece.decode("utf-16-le") for piece in wide]
        except UnicodeDecodeError:
            return None  # one ends in the middle of a character

    @staticmethod
    def _cut(data: AnyStr, head: re.Pattern[AnyStr], width: int, most: int) -> list[AnyStr] | None:
        pieces: list[AnyStr] = []
        position, end = 0, len(data)
        while position < end:
            match = head.match(data, position)
            if match is None:
                return None
            digits = match[1]
            start = match.end()
            position = start + width * int(digits.replace(b"\0", b"") if isinstance(digits, bytes) else digits)
            if position > end:
                return None
            # Those without anything in them count too: each is as much work as any.
            if len(pieces) >= most:
                raise RemoteProtocolError(
                    f"a payload of more than {most} packets, which is how many are allowed",
                    rule="max_packets_per_payload",
                )
            pieces.append(data[start:position])
        return pieces


def _units(text: str) -> int:
    if text.isascii() or _BEYOND.search(text) is None:
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
