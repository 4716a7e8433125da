"""The wheel: everything wakes in its time, once, and not before."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from madang.core.wheel import Timed, Wheel
from madang.testing import FakeClock

TICK = 0.05


class Sleeper(Timed):
    def __init__(self, name: object = "") -> None:
        super().__init__()
        self.name = name
        self.woken: list[float] = []

    def expire(self, now: float) -> None:
        self.woken.append(now)


class Repeater(Sleeper):
    """Wakes every so often, as a session does."""

    def __init__(self, wheel: Wheel, every: float) -> None:
        super().__init__()
        self.wheel = wheel
        self.every = every

    def expire(self, now: float) -> None:
        super().expire(now)
        self.due = now + self.every
        self.wheel.add(self)


def sleeper(wheel: Wheel, due: float) -> Sleeper:
    one = Sleeper()
    one.due = due
    wheel.add(one)
    return one


def test_wakes_when_it_is_due() -> None:
    wheel = Wheel(TICK)
    one = sleeper(wheel, 10.0)
    wheel.advance(9.99)
    assert one.woken == []
    wheel.advance(10.0)
    assert one.woken == [10.0]
    assert one.due == 0.0
    wheel.advance(100.0)
    assert one.woken == [10.0]
    assert wheel.next is None


def test_not_before_it_is_due_even_in_the_right_bucket() -> None:
    wheel = Wheel(1.0)
    one = sleeper(wheel, 10.9)
    wheel.advance(10.1)
    assert one.woken == []
    wheel.advance(10.95)
    assert one.woken == [10.95]


def test_a_jump_over_many_buckets_wakes_all() -> None:
    wheel = Wheel(TICK)
    sleepers = [sleeper(wheel, 1 + i * 0.37) for i in range(50)]
    wheel.advance(1000.0)
    assert [one.woken for one in sleepers] == [[1000.0]] * 50


def test_in_the_order_of_their_buckets() -> None:
    wheel = Wheel(1.0)
    order: list[float] = []

    class Noting(Timed):
        def expire(self, now: float) -> None:
            order.append(when[self])

    when: dict[Noting, float] = {}
    for due in (5.5, 3.5, 9.5, 1.5):
        one = Noting()
        when[one] = one.due = due
        wheel.add(one)
    wheel.advance(20.0)
    assert order == [1.5, 3.5, 5.5, 9.5]


def test_later_costs_one_assignment() -> None:
    wheel = Wheel(TICK)
    one = sleeper(wheel, 1.0)
    one.due = 2.0  # without `add`
    wheel.advance(1.5)
    assert one.woken == []
    wheel.advance(2.0)
    assert one.woken == [2.0]


def test_adding_again_without_change_keeps_one_place() -> None:
    wheel = Wheel(TICK)
    one = sleeper(wheel, 1.0)
    for _ in range(1000):
        one.due += 0.001
        wheel.add(one)
    assert sum(map(len, wheel._buckets.values())) == 1


def test_earlier_needs_add() -> None:
    wheel = Wheel(TICK)
    one = sleeper(wheel, 10.0)
    one.due = 1.0
    wheel.add(one)
    wheel.advance(1.0)
    assert one.woken == [1.0]
    wheel.advance(20.0)
    assert one.woken == [1.0]


def test_never() -> None:
    wheel = Wheel(TICK)
    one = sleeper(wheel, 1.0)
    one.due = 0.0
    wheel.advance(5.0)
    assert one.woken == []
    one.due = 6.0
    wheel.add(one)
    wheel.advance(6.0)
    assert one.woken == [6.0]


def test_what_is_past_wakes_at_the_next_advance() -> None:
    wheel = Wheel(TICK)
    wheel.advance(100.0)
    one = sleeper(wheel, 3.0)
    assert wheel.next is not None
    assert wheel.next <= 100.0
    wheel.advance(100.0)
    assert one.woken == [100.0]


def test_added_while_it_advances() -> None:
    wheel = Wheel(TICK)
    late = Sleeper()

    class Adding(Sleeper):
        def expire(self, now: float) -> None:
            super().expire(now)
            late.due = now + 1
            wheel.add(late)

    one = Adding()
    one.due = 1.0
    wheel.add(one)
    wheel.advance(1.0)
    assert late.woken == []
    wheel.advance(2.0)
    assert late.woken == [2.0]


def test_an_object_that_is_due_at_once_again_does_not_keep_the_wheel() -> None:
    wheel = Wheel(TICK)
    one = Repeater(wheel, 0.0)
    one.due = 1.0
    wheel.add(one)
    wheel.advance(1.0)
    assert len(one.woken) == 1
    wheel.advance(1.0)
    assert len(one.woken) == 2


def test_two_that_wake_one_another_earlier() -> None:
    """One that wakes moves another forward, which is in a later bucket."""
    wheel = Wheel(TICK)
    other = sleeper(wheel, 50.0)

    class Hurrying(Sleeper):
        def expire(self, now: float) -> None:
            other.due = now + 0.5
            wheel.add(other)

    one = Hurrying()
    one.due = 1.0
    wheel.add(one)
    clock = FakeClock(0.0)
    clock.drive(wheel)
    clock.advance(100.0)
    assert len(other.woken) == 1
    assert 1.5 <= other.woken[0] <= 1.5 + 2 * TICK


def test_wake_tells_of_earlier_buckets_only() -> None:
    wheel = Wheel(1.0)
    told: list[float] = []
    wheel.wake = told.append
    sleeper(wheel, 10.5)
    sleeper(wheel, 10.7)
    sleeper(wheel, 20.5)
    assert told == [11.0]
    sleeper(wheel, 5.5)
    assert told == [11.0, 6.0]
    assert wheel.next == 6.0


@pytest.mark.parametrize("tick", [0.001, 0.02, 0.05])
def test_how_late_it_may_be(tick: float) -> None:
    """A timer that follows `next` is late by one bucket at most."""
    wheel = Wheel(tick)
    clock = FakeClock(0.0)
    clock.drive(wheel)
    dues = [1.0 + i * 0.0137 for i in range(100)]
    sleepers = [sleeper(wheel, due) for due in dues]
    clock.advance(10.0)
    for one, due in zip(sleepers, dues, strict=True):
        [woken] = one.woken
        assert due <= woken <= due + tick * 1.001


def test_ten_thousand_need_few_buckets() -> None:
    wheel = Wheel(TICK)
    for i in range(10_000):
        sleeper(wheel, 25.0 + i / 10_000)
    assert len(wheel._heap) <= 22


class Failing(Sleeper):
    def expire(self, now: float) -> None:
        super().expire(now)
        raise ValueError("on purpose")


def test_one_that_raises_does_not_cost_the_others() -> None:
    wheel = Wheel(1.0)
    first = sleeper(wheel, 10.1)
    failing = Failing()
    failing.due = 10.2
    wheel.add(failing)
    second, third, never = sleeper(wheel, 10.3), sleeper(wheel, 10.4), sleeper(wheel, 10.5)
    third.due = 30.0
    never.due = 0.0
    with pytest.raises(ValueError, match="on purpose"):
        wheel.advance(12.0)
    assert wheel.next == 11.0
    wheel.advance(12.0)
    wheel.advance(31.0)
    assert [one.woken for one in (first, failing, second, third, never)] == [[12.0], [12.0], [12.0], [31.0], []]
    assert wheel.next is None


@dataclass(eq=False)
class Model:
    due: float = 0.0
    expected: list[float] = field(default_factory=list)


class WheelAgainstModel(RuleBasedStateMachine):
    """The wheel against a model that looks at everyone at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel = Wheel(0.25)
        self.now = 0.0
        self.pairs: list[tuple[Sleeper, Model]] = []

    @rule(seconds=st.floats(0.01, 20))
    def new(self, seconds: float) -> None:
        one, model = Sleeper(len(self.pairs)), Model()
        one.due = model.due = self.now + seconds
        self.wheel.add(one)
        self.pairs.append((one, model))

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), seconds=st.floats(0.0, 20))
    def set(self, data: st.DataObject, seconds: float) -> None:
        one, model = data.draw(st.sampled_from(self.pairs))
        one.due = model.due = self.now + seconds + 0.01
        self.wheel.add(one)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        one, model = data.draw(st.sampled_from(self.pairs))
        one.due = model.due = 0.0

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), seconds=st.floats(0.0, 10))
    def postpone(self, data: st.DataObject, seconds: float) -> None:
        one, model = data.draw(st.sampled_from(self.pairs))
        if model.due:
            one.due = model.due = model.due + seconds

    @rule(seconds=st.floats(0.0, 8.0) | st.floats(0.0, 0.3))
    def advance(self, seconds: float) -> None:
        self.now += seconds
        for _, model in self.pairs:
            if 0.0 < model.due <= self.now:
                model.expected.append(self.now)
                model.due = 0.0
        self.wheel.advance(self.now)

    @invariant()
    def same(self) -> None:
        for one, model in self.pairs:
            assert one.woken == model.expected
            assert one.due == model.due

    @invariant()
    def the_timer_is_in_time(self) -> None:
        waiting = [model.due for _, model in self.pairs if model.due]
        if waiting:
            assert self.wheel.next is not None
            assert self.wheel.next <= min(waiting) + 0.25 + 1e-9


TestWheelAgainstModel = WheelAgainstModel.TestCase
TestWheelAgainstModel.settings = settings(max_examples=60, stateful_step_count=30)


@given(st.lists(st.floats(0.01, 100), max_size=30), st.floats(0.001, 10))
def test_one_wake_for_each(dues: list[float], tick: float) -> None:
    wheel = Wheel(tick)
    sleepers = [sleeper(wheel, due) for due in dues]
    clock = FakeClock(0.0)
    clock.drive(wheel)
    clock.advance(200.0)
    assert [len(one.woken) for one in sleepers] == [1] * len(dues)
    assert wheel._heap == []
    assert wheel._buckets == {}
