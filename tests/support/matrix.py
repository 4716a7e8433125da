"""Matrices of parameters, of which `make test` plays some and `make exhaustive` the rest."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest


def matrix(*axes: Sequence[object], usual: Callable[..., bool]) -> list[Any]:
    """All combinations, as `parametrize` takes them; those that are not usual are marked as exhaustive."""
    marks: dict[bool, Sequence[pytest.MarkDecorator]] = {True: (), False: (pytest.mark.exhaustive,)}
    return [pytest.param(*each, marks=marks[usual(*each)]) for each in itertools.product(*axes)]


def some(values: Sequence[object], *, usual: Sequence[object]) -> list[Any]:
    """The same for one parameter: its usual values are listed."""
    return matrix(values, usual=lambda value: value in usual)
