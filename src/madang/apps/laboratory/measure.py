"""The laboratory without a page: one lane after the other, with Madang's own client at the near end of the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

import madang
from madang import Client, ClientConfig, ConfigError
from madang.apps.laboratory import protocol as p
from madang.apps.laboratory.lanes import Lane, Lanes, available
from madang.apps.laboratory.source import Schedule, late_after_ms, payload

__all__ = ["Measured", "Report", "measurable", "measure", "table"]

WARM_UP_SECONDS: Final = 1.0
"""Connecting, and whatever comes with it, is not measured."""


class Measured(Struct, kw_only=True):
    """What a transport has cost.

    Attributes:
        transport: its name.
        seconds: how long was measured.
        events_down: events that the client has received.
        events_up: events that it has sent.
        requests_per_minute: HTTP requests.
        empty_per_minute: of these, polls that were answered without an event.
        bytes_up_per_event: what the client has sent for each event, in whichever direction, with all headers; of
            TCP's payload.
        bytes_down_per_event: what it has received.
        header_share: how much of both was headers, 0 to 1.
        down_ms: latency of events from the server: the median, and what 95 of 100 stay below. None without events.
        up_ms: the same to the server.
        cpu_ms_per_event: what the server has computed. Even an idle one computes a little.
        late: events that took longer than a second and two round trips.
        lost: events that never came.
    """

    transport: str
    seconds: float
    events_down: int
    events_up: int
    requests_per_minute: float
    empty_per_minute: float
    bytes_up_per_event: float
    bytes_down_per_event: float
    header_share: float
    down_ms: tuple[float, float] | None
    up_ms: tuple[float, float] | None
    cpu_ms_per_event: float
    late: int
    lost: int


class Report(Struct):
    """All that was measured, and how.

    Attributes:
        version: Madang's.
        settings: what the lanes carried.
        measured: the transports, in the order of the laboratory.
    """

    version: str
    settings: p.Settings
    measured: list[Measured]


def measurable() -> list[str]:
    """The transports that both Madang's server and its client speak."""
    return [name for name in available() if _spoken(name)]


def _spoken(name: str) -> bool:
    try:
        ClientConfig(transports=[name])
    except ConfigError:
        return False
    return name != "webtransport"  # its certificate is of no authority


async def measure(
    settings: p.Settings,
    seconds: float = 10.0,
    names: Sequence[str] | None = None,
    tell: Callable[[Measured], None] = lambda measured: None,
) -> Report:
    """Measure transports, one after the other, so that none disturbs another.

    Args:
        settings: what the lanes carry.
        seconds: how long each of them is measured.
        names: the transports; None for all that can be.
        tell: is told of each as soon as it is measured.

    Raises:
        LaboratoryError: there is no such transport, or it can't be measured so.
        ConnectError: the client can't connect.
    """
    known = measurable()
    for name in names or ():
        if name not in known:
            raise p.LaboratoryError(f"can't measure {name!r} without a browser; there are {', '.join(known)}")
    report = Report(madang.__version__, settings, [])
    lanes = Lanes()
    try:
        for name in p.TRANSPORTS:
            if name in (names or known):
                lane = await lanes.open(name, settings)
                report.measured.append(await _measure(lane, seconds))
                await lanes.close(lane)
                tell(report.measured[-1])
    finally:
        await lanes.close_all()
    return report


async def _measure(lane: Lane, seconds: float) -> Measured:
    settings = lane.settings
    latencies: list[float] = []
    expected = 0
    lost = 0
    sent = 0
    client = Client(f"http://127.0.0.1:{lane.port}", auth={"lane": lane.id}, transports=[lane.name], proxy=None)

    @client.on("tick")
    def tick(seq: int, sent_ms: float, content: object) -> None:
        nonlocal expected, lost
        latencies.append(p.clock_ms() - sent_ms)
        lost += seq - expected  # order is kept, so a gap is a loss
        expected = seq + 1

    async def speak() -> None:
        nonlocal sent
        text = payload(settings.size)
        content: Any = text.encode() if settings.binary else text
        loop = asyncio.get_running_loop()
        schedule = Schedule(settings.rate, loop.time())
        while True:
            await asyncio.sleep(schedule.next_at - loop.time())
            for _ in range(schedule.due(loop.time())):
                client.emit("tick", sent, p.clock_ms(), content)
                sent += 1

    async with client:
        speaking = asyncio.create_task(speak()) if settings.rate and settings.direction != "down" else None
        await asyncio.sleep(WARM_UP_SECONDS + 4 * settings.delay_ms / 1000)
        began, before = p.clock_ms(), lane.stats()
        latencies.clear()
        spoken = sent
        await asyncio.sleep(seconds)
        after, took = lane.stats(), (p.clock_ms() - began) / 1000
        down, up = list(latencies), sent - spoken
        if speaking is not None:
            speaking.cancel()
    events = max(1, len(down) + up)
    # The server's own count goes with its CPU time: both were noted down at the same moment.
    noted = max(1, after.messages_down + after.messages_up - before.messages_down - before.messages_up)
    bytes_up, bytes_down = after.bytes_up - before.bytes_up, after.bytes_down - before.bytes_down
    headers = after.header_bytes_up + after.header_bytes_down - before.header_bytes_up - before.header_bytes_down
    limit = late_after_ms(settings.delay_ms)
    return Measured(
        transport=lane.name,
        seconds=round(took, 3),
        events_down=len(down),
        events_up=up,
        requests_per_minute=round((after.requests - before.requests) * 60 / took, 1),
        empty_per_minute=round((after.empty_responses - before.empty_responses) * 60 / took, 1),
        bytes_up_per_event=round(bytes_up / events, 1),
        bytes_down_per_event=round(bytes_down / events, 1),
        header_share=round(headers / max(1, bytes_up + bytes_down), 3),
        down_ms=_quantiles(down),
        up_ms=_quantiles(after.up_latency_ms),
        cpu_ms_per_event=round((after.cpu_ms - before.cpu_ms) / noted, 4),
        late=sum(one > limit for one in down) + after.up_late - before.up_late,
        lost=lost + after.up_lost,
    )


def _quantiles(samples: list[float]) -> tuple[float, float] | None:
    if not samples:
        return None
    ordered = sorted(samples)
    return tuple(round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 1) for part in (0.5, 0.95))  # type: ignore[return-value]


_COLUMNS: Final = (
    "transport   ",
    "requests/min",
    "empty/min",
    "bytes up",
    "bytes down",
    "down p50",
    "   p95",
    "up p50",
    "   p95",
    "CPU ms",
    "late",
    "lost",
)


def table(measured: Sequence[Measured], *, head: bool = True) -> str:
    """The figures as lines of text: bytes and CPU time for each event, latencies in milliseconds.

    Args:
        measured: a line each.
        head: whether to begin with the names of the columns.
    """
    widths = [len(name) for name in _COLUMNS]
    rows: list[tuple[str, ...]] = [_COLUMNS] if head else []
    rows += [_row(one) for one in measured]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _row(one: Measured) -> tuple[str, ...]:
    def pair(values: tuple[float, float] | None) -> tuple[str, str]:
        return ("-", "-") if values is None else (f"{values[0]:.1f}", f"{values[1]:.1f}")

    return (
        one.transport,
        f"{one.requests_per_minute:.0f}",
        f"{one.empty_per_minute:.0f}",
        f"{one.bytes_up_per_event:.0f}",
        f"{one.bytes_down_per_event:.0f}",
        *pair(one.down_ms),
        *pair(one.up_ms),
        f"{one.cpu_ms_per_event:.2f}",
        str(one.late),
        str(one.lost),
    )
