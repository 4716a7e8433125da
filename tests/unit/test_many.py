"""The native piece: what goes to many sockets in one call."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.native import native

Pairs = list[tuple[socket.socket, socket.socket]]


def send(numbers: list[int], data: bytes) -> list[tuple[int, int]]:
    """The same to all."""
    told: list[tuple[int, int]] = native().send_many(numbers, [data] * len(numbers))
    return told


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    with ExitStack() as stack:
        made = []
        for _ in range(5):
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)
            theirs.setblocking(False)
            made.append((ours, theirs))
        yield made


def test_all_get_the_same(pairs: Pairs) -> None:
    assert send([ours.fileno() for ours, _ in pairs], b"hello") == []
    assert [theirs.recv(100) for _, theirs in pairs] == [b"hello"] * 5


def test_each_gets_its_own(pairs: Pairs) -> None:
    numbers, buffers = [ours.fileno() for ours, _ in pairs], [b"%d" % one * (one + 1) for one in range(5)]
    assert native().send_many(numbers, buffers) == []
    assert [theirs.recv(100) for _, theirs in pairs] == buffers


def test_no_socket_and_no_bytes(pairs: Pairs) -> None:
    assert send([], b"hello") == []
    assert send([pairs[0][0].fileno()], b"") == []


def test_who_can_not_take_all_is_told_and_nobody_is_waited_for(pairs: Pairs) -> None:
    data = b"x" * 10_000_000
    slow = pairs[3][0]
    assert slow.getblocking(), "it is told to the call, not to the socket, that nothing waits"
    told = send([slow.fileno()], data)
    [(place, sent)] = told
    assert place == 0
    assert 0 < sent < len(data)
    assert send([ours.fileno() for ours, _ in pairs], b"more") == [(3, 0)]
    assert [theirs.recv(100) for _, theirs in pairs if theirs is not pairs[3][1]] == [b"more"] * 4
    got = 0
    while got < sent:
        got += len(pairs[3][1].recv(1_000_000))
    assert got == sent


def test_errors_are_no_bytes(pairs: Pairs) -> None:
    pairs[1][1].close()  # nobody reads there any more
    closed = os.dup(0)
    os.close(closed)
    numbers = [pairs[0][0].fileno(), pairs[1][0].fileno(), closed, pairs[2][0].fileno()]
    assert send(numbers, b"a") == [(1, 0), (2, 0)]
    assert pairs[0][1].recv(100) == pairs[2][1].recv(100) == b"a"


def test_more_sockets_than_have_room_on_the_stack(pairs: Pairs) -> None:
    assert send([ours.fileno() for ours, _ in pairs] * 150, b"a") == []
    assert [theirs.recv(1_000) for _, theirs in pairs] == [b"a" * 150] * 5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        (([],), TypeError),
        (((1,), [b""]), TypeError),
        (([1], b""), TypeError),
        (([1], []), TypeError),
        (([1], [bytearray(b"a")]), TypeError),
        ((["1"], [b"a"]), TypeError),
        (([-1], [b"a"]), ValueError),
        (([2**40], [b"a"]), ValueError),
        (([2**80], [b"a"]), OverflowError),
    ],
)
def test_what_it_does_not_take(arguments: tuple[object, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        native().send_many(*arguments)
