"""Delays between tries."""

import random

import pytest

from madang.client.retry import Backoff


def test_it_doubles_up_to_a_bound() -> None:
    backoff = Backoff(1.0, 5.0, 0.0, random.random)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 5, 5, 5]
    assert backoff.attempts == 6
    backoff.reset()
    assert backoff.attempts == 0
    assert backoff.next() == 1


@pytest.mark.parametrize(("entropy", "expected"), [(0.0, [0.5, 1.0, 2.0, 2.5]), (1.0, [1.5, 3.0, 5.0, 5.0])])
def test_chance_moves_it_both_ways(entropy: float, expected: list[float]) -> None:
    backoff = Backoff(1.0, 5.0, 0.5, lambda: entropy)
    assert [backoff.next() for _ in range(4)] == expected


def test_any_number_of_tries() -> None:
    backoff = Backoff(0.001, 5.0, 1.0, random.random)
    for _ in range(5000):
        assert 0 <= backoff.next() <= 5.0
