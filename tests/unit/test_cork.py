"""What is collected in a turn of the event loop, and let go at its end: how many at a time, and in which order."""

from collections.abc import Callable

import pytest

from madang.cork import Cork


class Loop:
    """The ends of turns, one after the other."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for one in soon:
            one()


class Writer:
    def __init__(self, name: str, out: list[str], then: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.out = out
        self.then = then

    def uncork(self) -> None:
        self.out.append(self.name)
        self.then()


def test_all_go_at_the_end_of_the_turn_in_order() -> None:
    loop, out = Loop(), list[str]()
    cork = Cork[Writer](lambda call: loop.soon.append(call))
    for name in "abc":
        cork.add(Writer(name, out))
    assert out == []
    assert len(loop.soon) == 1, "asked for once"
    loop.turn()
    assert out == ["a", "b", "c"]
    assert loop.soon == []


def test_many_go_in_several_turns_and_who_comes_meanwhile_goes_behind_them() -> None:
    loop, out = Loop(), list[str]()
    cork = Cork[Writer](lambda call: loop.soon.append(call), 2)
    for name in "abcde":
        cork.add(Writer(name, out))
    loop.turn()
    assert out == ["a", "b"]
    assert len(loop.soon) == 1
    cork.add(Writer("f", out))
    assert len(loop.soon) == 1, "the next turn is asked for already"
    loop.turn()
    assert out == ["a", "b", "c", "d"]
    loop.turn()
    assert out == ["a", "b", "c", "d", "e", "f"]
    assert loop.soon == []


def test_who_is_added_while_others_go_waits_for_the_next_turn() -> None:
    loop, out = Loop(), list[str]()
    cork = Cork[Writer](lambda call: loop.soon.append(call))
    cork.add(Writer("first", out, lambda: cork.add(Writer("late", out))))
    cork.add(Writer("second", out))
    loop.turn()
    assert out == ["first", "second"]
    loop.turn()
    assert out == ["first", "second", "late"]
    assert loop.soon == []


@pytest.mark.parametrize("per_turn", [None, 2, 3])
def test_one_that_raises_holds_up_no_other(per_turn: int | None) -> None:
    loop, out = Loop(), list[str]()

    def fail() -> None:
        raise ZeroDivisionError

    cork = Cork[Writer](lambda call: loop.soon.append(call), per_turn)
    for name in "abcd":
        cork.add(Writer(name, out, fail if name == "b" else lambda: None))
    with pytest.raises(ZeroDivisionError):
        loop.turn()
    while loop.soon:
        loop.turn()
    assert sorted(out) == ["a", "b", "c", "d"], "each of them once"
