"""Short polling: the client asks at an interval of its own, and is answered at once with what there is.

Nothing is held open, so it works where nothing else does, and a server of one process needs the least for each client.
What happens between two polls waits for the second one, and most answers are empty.
"""

from __future__ import annotations

from typing import ClassVar, Final

from madang.transports.polling import Polling

__all__ = ["TRANSPORT", "ShortPolling"]


class ShortPolling(Polling):
    """Polling that never waits."""

    name: ClassVar[str] = "shortpolling"
    waits: ClassVar[bool] = False


TRANSPORT: Final = ShortPolling()
