"""What the targets of frame readers share: however the bytes are cut, a reader says the same."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from madang.errors import RemoteProtocolError

Result = TypeVar("Result")
Told = TypeVar("Told")


class Reader(Protocol):
    """A reader of frames."""

    @property
    def stopped(self) -> bool:
        """Whether it has raised."""

    def feed(self, data: bytes) -> Any:
        """Read some bytes."""


def feed(
    reader: Reader, chunks: list[bytes], got: list[Any], tell: Callable[[RemoteProtocolError], Told]
) -> Told | None:
    """Feed a reader all chunks; it may raise once, and deliver nothing afterwards.

    Args:
        reader: what is fed.
        chunks: the bytes.
        got: where the reader delivers to.
        tell: what of the error is to be the same, however the bytes are cut.

    Returns:
        What `tell` made of the error, None if there was none.
    """
    error: Told | None = None
    for chunk in chunks:
        before = len(got)
        try:
            reader.feed(chunk)
        except RemoteProtocolError as raised:
            assert error is None, "raised twice"
            assert reader.stopped
            error = tell(raised)
        else:
            assert error is None or len(got) == before, "delivered after an error"
    return error


def however_cut(receive: Callable[[list[bytes]], Result], data: bytes) -> Result:
    """Return what `receive` makes of all bytes at once: the same as of single bytes, and of uneven pieces."""
    whole = receive([data])
    assert receive([data[i : i + 1] for i in range(len(data))]) == whole
    uneven = []
    position = 0
    while position < len(data):
        size = 1 + (data[position] * 7 + position) % 40
        uneven.append(data[position : position + size])
        position += size
    assert receive(uneven) == whole
    return whole
