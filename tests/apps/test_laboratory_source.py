"""When events are due, and what became of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madang.apps.laboratory.source import (
    LOST_AFTER_MS,
    MAX_MISSING,
    MAX_SAMPLES,
    Arrivals,
    Schedule,
    late_after_ms,
    payload,
)


@given(st.floats(0.5, 200), st.lists(st.floats(0.0001, 0.5), min_size=1, max_size=100))
def test_the_rate_is_exact_however_late_the_timer(rate: float, waits: list[float]) -> None:
    schedule = Schedule(rate, now=1000.0)
    now, sent = 1000.0, 0
    for wait in waits:
        now += wait
        sent += schedule.due(now)
        assert schedule.next_at > now - 1e-5
    assert abs(sent - (now - 1000.0) * rate) <= 1 + 1e-3
    assert schedule.skipped == 0


def test_a_timer_that_fires_just_in_time_finds_one_due() -> None:
    schedule = Schedule(3, now=17.3)
    for _ in range(1000):
        assert schedule.due(schedule.next_at) == 1
    assert schedule.due(schedule.next_at - 0.01) == 0


def test_what_could_not_be_sent_for_too_long_is_skipped() -> None:
    schedule = Schedule(100, now=0)
    assert schedule.due(5.0) == 100
    assert schedule.skipped == 400
    assert schedule.due(5.01) == 1


def test_without_a_rate_nothing_is_due() -> None:
    schedule = Schedule(0, now=0)
    assert (schedule.due(100), schedule.next_at) == (0, float("inf"))


@pytest.mark.parametrize("size", [0, 1, 52, 53, 54, 10_000])
def test_a_payload_has_its_size(size: int) -> None:
    assert len(payload(size)) == len(payload(size).encode()) == size


def arrive(arrivals: Arrivals, *numbers: int, now: float = 0.0) -> None:
    for number in numbers:
        arrivals.arrived(number, now - 10, now, late_after_ms(0))


def test_what_never_comes_is_lost_once_enough_time_has_passed() -> None:
    arrivals = Arrivals()
    arrive(arrivals, 0, 1, 4, 5)
    arrivals.check(LOST_AFTER_MS - 1)
    assert arrivals.lost == 0
    arrive(arrivals, 2)  # out of order, but there
    arrivals.check(LOST_AFTER_MS)
    arrivals.check(2 * LOST_AFTER_MS)
    assert (arrivals.received, arrivals.lost) == (5, 1)


def test_the_first_number_may_be_any_and_doubles_are_no_loss() -> None:
    arrivals = Arrivals()
    arrive(arrivals, 1000, 1001, 1001, 3)
    arrivals.check(1e9)
    assert arrivals.lost == 0


def test_another_client_begins_anew() -> None:
    arrivals = Arrivals()
    arrive(arrivals, 0, 5)
    arrivals.restart()
    arrive(arrivals, 0, 1, 2)
    arrivals.check(1e9)
    assert arrivals.lost == 4


def test_a_wild_number_costs_little() -> None:
    arrivals = Arrivals()
    arrive(arrivals, 0, 10**15, 10**15 + 10)
    assert len(arrivals._missing) <= MAX_MISSING
    arrivals.check(LOST_AFTER_MS)
    assert arrivals.lost == 10**15 - 1 + 9


def test_late_is_slower_than_a_second_and_two_round_trips() -> None:
    arrivals = Arrivals()
    for took in (10, 1199, 1200, 1201, 5000):
        arrivals.arrived(took, 0, took, late_after_ms(50))
    assert arrivals.late == 2


def test_of_many_samples_an_even_choice_is_kept() -> None:
    arrivals = Arrivals()
    for number in range(5000):
        arrivals.arrived(number, 0, number, 1e9)
    samples = arrivals.samples()
    assert MAX_SAMPLES / 2 <= len(samples) <= 2 * MAX_SAMPLES
    assert abs(sum(samples) / len(samples) - 2500) < 100
    assert arrivals.samples() == []
