"""What encoders in C hand back is made one step simpler."""

import datetime
import decimal
from typing import Any

import msgspec
import pytest

from madang.values import fields_of


class Plain(msgspec.Struct):
    x: int
    inner: Any = None


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str
    last_name: str | msgspec.UnsetType = msgspec.UNSET


class Tagged(msgspec.Struct, tag="shape", tag_field="kind"):
    x: int = 1


class Row(msgspec.Struct, array_like=True, tag=True):
    x: int = 1
    y: str = ""


class Sparse(msgspec.Struct, omit_defaults=True):
    name: str
    count: int = 0
    flag: bool = False
    tags: list[str] = []
    more: dict[str, int] = msgspec.field(default_factory=dict)
    odd: list[int] = msgspec.field(default_factory=lambda: [1])


@pytest.mark.parametrize(
    "value",
    [
        Plain(1),
        Plain(1, [2]),
        Renamed("Mina"),
        Renamed("Mina", "Kim"),
        Tagged(),
        Row(2, "z"),
        Sparse("a"),
        Sparse("a", 1, True, ["t"], {"k": 1}, []),
        Sparse("a", odd=[1]),
        Sparse("a", count=False),  # equal to the default, but another value
        decimal.Decimal("1.50"),
        datetime.timedelta(days=1, seconds=30),
        frozenset({7}),
    ],
    ids=repr,
)
def test_values_are_as_msgspec_writes_them(value: Any) -> None:
    assert fields_of(value) == msgspec.to_builtins(value)


def test_what_is_in_a_struct_is_left_to_the_encoder() -> None:
    inner = Plain(2)
    assert fields_of(Plain(1, inner))["inner"] is inner
    assert fields_of(Plain(1, b"bytes"))["inner"] == b"bytes"


@pytest.mark.parametrize("value", [object(), 1j, Plain])
def test_what_has_no_meaning_elsewhere_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="turn it into"):
        fields_of(value)
