"""Doubles and kits for tests: of programs that use Madang, of new transports, parsers and generations, and of ours.

* `connect`, `running`: real clients of a server in the same event loop, without sockets. `FakeTime`: time that passes
  at once. `settle`: until nothing happens any more.
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
from madang.testing.client import TestClient, TestSocket
from madang.testing.doubles import FakeClock, RecordingDuplex, RecordingExchange, Waiting
from madang.testing.kit import EngineKit, LinkClient, PollingClient, RawClient
from madang.testing.loops import FakeTime, settle
from madang.testing.network import MemoryNetwork
from madang.testing.running import Running, connect, running
from madang.testing.serving import serving

__all__ = [
    "RAW_PACKETS",
    "EngineKit",
    "FakeClock",
    "FakeTime",
    "LinkClient",
    "MemoryNetwork",
    "PollingClient",
    "RawClient",
    "RecordingDuplex",
    "RecordingExchange",
    "Running",
    "TestClient",
    "TestSocket",
    "Waiting",
    "check_parser",
    "check_transport",
    "check_wire",
    "connect",
    "running",
    "serving",
    "settle",
]
