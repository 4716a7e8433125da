"""Ids: long enough, fit for a URL, never the same, and not foreseen by who knows those before."""

import random
import re

from madang.core.ids import Ids


class Entropy:
    """Gives other bytes each time, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, count: int) -> bytes:
        self.asked += 1
        return random.Random(self.asked).randbytes(count)


def test_an_id() -> None:
    ids = Ids(bytes)
    assert ids.make() == "A" * 20
    ids = Ids(lambda count: b"\xff" * count)
    assert ids.make() == "_" * 20


def test_all_are_made_of_their_own_bytes() -> None:
    entropy = Entropy()
    ids = Ids(entropy)
    made = [ids.make() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", one) for one in made)
    assert entropy.asked < 100  # one look is for many


def test_what_is_at_hand_is_not_used_twice_by_two_processes() -> None:
    entropy = Entropy()
    ids = Ids(entropy)
    ids.make()
    ids.renew()
    ids.make()
    assert entropy.asked == 2
