"""Doubles and kits for tests: of programs that use Madang, of new transports, parsers and generations, and of ours.

* `FakeClock`, `RecordingExchange`, `RecordingDuplex`: written doubles of the clock and of the two ports.
* `EngineKit`: a whole server without event loop and sockets, with clients that speak raw frames.
* `check_transport`, `check_parser`, `check_wire`: what every module of these kinds must keep. Each raises
  `AssertionError` with what is wrong.

Example:
    >>> kit = EngineKit()
    >>> @kit.io.on("add")
    ... def add(socket, a, b):
    ...     return a + b
    >>> client = kit.websocket()
    >>> socket = client.join()
    >>> client.say('420["add",1,2]')
    >>> client.heard()
    ['430[3]']
"""

from __future__ import annotations

from madang.testing.checks import RAW_PACKETS, check_parser, check_transport, check_wire
from madang.testing.doubles import FakeClock, RecordingDuplex, RecordingExchange, Waiting
from madang.testing.kit import EngineKit, LinkClient, PollingClient, RawClient

__all__ = [
    "RAW_PACKETS",
    "EngineKit",
    "FakeClock",
    "LinkClient",
    "PollingClient",
    "RawClient",
    "RecordingDuplex",
    "RecordingExchange",
    "Waiting",
    "check_parser",
    "check_transport",
    "check_wire",
]
