"""What waits to be sent: packets, in order, until a link or the next POST takes them."""

from __future__ import annotations

from collections import deque

from madang.packet import Encoded, Frame

__all__ = ["Outbox", "frame_size", "polled_size"]


class Outbox:
    """The packets of a connection that wait.

    Attributes:
        size: how many bytes wait.
        pong: the answer to a ping, if one waits. There is one at most, however many pings a server sends that reads
            nothing.
    """

    __slots__ = ("_packets", "pong", "size")

    def __init__(self) -> None:
        self._packets: deque[Encoded] = deque()
        self.size = 0
        self.pong: Encoded | None = None

    def __bool__(self) -> bool:
        return bool(self._packets)

    def put(self, encoded: Encoded) -> None:
        """Let a packet wait."""
        self._packets.append(encoded)
        self.size += encoded.size

    def take(self) -> Encoded:
        """The next packet."""
        encoded = self._packets.popleft()
        self.size -= encoded.size
        self.sent(encoded)
        return encoded

    def sent(self, encoded: Encoded) -> None:
        """A packet is on its way."""
        if encoded is self.pong:
            self.pong = None

    def batch(self, most: int) -> tuple[list[Frame], int]:
        """As many packets as fit into one payload; at least one, with all of its attachments that fit.

        Args:
            most: how many bytes a payload may have.

        Returns:
            The frames, and how many bytes of what has waited they were.
        """
        frames: list[Frame] = []
        size = 0
        before = self.size
        while self._packets:
            encoded = self._packets[0]
            added = sum(map(polled_size, encoded.frames))
            if frames and size + added > most:
                break
            if added > most and len(encoded.frames) > 1:
                # Alone it is too large for one payload, but none of its frames is: they go one by one.
                self._packets.popleft()
                self._packets.extendleft(Encoded((frame,)) for frame in reversed(encoded.frames))
                continue
            self.take()
            frames += encoded.frames
            size += added
        return frames, before - self.size

    def clear(self) -> None:
        """Forget all that waits."""
        self._packets.clear()
        self.size = 0
        self.pong = None


def frame_size(frame: Frame) -> int:
    """The size of a frame, in bytes."""
    return len(frame.encode("utf-8", "surrogatepass")) if isinstance(frame, str) else len(frame)


def polled_size(frame: Frame) -> int:
    """The size of a frame in a payload: with its separator, and bytes in base64."""
    return frame_size(frame) + 1 if isinstance(frame, str) else (len(frame) + 2) // 3 * 4 + 2
