"""What the page may ask over Socket.IO, and what it is told.

==================  ===========================================================================================
``hello``           the kinds of lanes that there are, and the limits of the settings
``clock``           the server's time
``open``            a lane: where it is
``set``, ``close``  change a lane's settings; end it
``trace``           ten times a second: what has travelled on a lane. Volatile
``stats``           twice a second: what the lane has cost
``lane-closed``     a lane has ended by itself
==================  ===========================================================================================

A viewer's lanes end with the viewer.
"""

import asyncio
from typing import Final

import madang
from madang import InvalidArguments, Namespace, Server, Socket
from madang.apps.laboratory import protocol as p
from madang.apps.laboratory.lanes import Lane, Lanes, why_not
from madang.apps.laboratory.observer import Travel

__all__ = ["Laboratory", "make_server"]

TRACE_SECONDS: Final = 0.1
TRACES_PER_STATS: Final = 5


class Viewer:
    """A page: its lanes, and the tasks that tell it of them."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.lanes: dict[str, Lane] = {}
        self.reports: dict[str, asyncio.Task[None]] = {}
        self.opening = 0
        self.gone = False


class Laboratory(Namespace):
    """The namespace that the page talks to."""

    def __init__(self, lanes: Lanes) -> None:
        super().__init__("/")
        self._lanes = lanes
        self._limits = p.LIMITS

        @self.emits
        def trace(lane: str, travels: list[Travel], first: int) -> None:
            """What has travelled on a lane since the last time. `first` had travelled before; a gap was dropped."""

        @self.emits
        def stats(lane: str, stats: p.Stats) -> None:
            """What a lane has cost since it was opened."""

        @self.emits(name="lane-closed")
        def lane_closed(lane: str, reason: str) -> None:
            """A lane has ended though nobody asked for it."""

        self._trace = trace
        self._stats = stats
        self._lane_closed = lane_closed

    # Coming and going

    def on_connection(self, socket: Socket) -> None:
        """A page was opened."""
        socket.data["viewer"] = Viewer(socket)

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        """It was closed: its lanes end too."""
        viewer: Viewer = socket.data["viewer"]
        viewer.gone = True
        await asyncio.gather(*(self._close(viewer, lane) for lane in tuple(viewer.lanes.values())))

    # What it asks

    def on_hello(self, socket: Socket) -> p.Hello:
        """Ask what there is."""
        reasons = {name: why_not(name) for name in p.LANES}
        transports = [p.TransportInfo(name, not why, why) for name, why in reasons.items()]
        return p.Hello(madang.__version__, transports, self._limits)

    def on_clock(self, socket: Socket) -> float:
        """Ask for the server's time, in milliseconds since the epoch."""
        return p.clock_ms()

    async def on_open(self, socket: Socket, name: str, settings: p.Settings) -> p.Opened | p.Refused:
        """Open a lane."""
        viewer: Viewer = socket.data["viewer"]
        most = self._limits.lanes_per_viewer
        if len(viewer.lanes) + viewer.opening >= most:
            return p.Refused(f"a page may have {most} lanes; close one first")
        viewer.opening += 1
        try:
            lane = await self._lanes.open(name, settings)
        except p.LaboratoryError as error:
            return p.Refused(str(error))
        finally:
            viewer.opening -= 1
        if viewer.gone:
            await self._lanes.close(lane)
            return p.Refused("the page is gone")
        viewer.lanes[lane.id] = lane
        viewer.reports[lane.id] = asyncio.create_task(self._report(viewer, lane))
        return p.Opened(lane.id, lane.port, lane.name, lane.certificate_hash)

    def on_set(self, socket: Socket, lane: str, settings: p.Change) -> p.Done | p.Refused:
        """Change a lane's settings."""
        viewer: Viewer = socket.data["viewer"]
        found = viewer.lanes.get(lane)
        if found is None:
            return p.Refused("this lane is closed")
        found.change(settings)
        return p.Done()

    async def on_close(self, socket: Socket, lane: str) -> p.Done:
        """Close a lane. It is no mistake if it is closed."""
        viewer: Viewer = socket.data["viewer"]
        found = viewer.lanes.get(lane)
        if found is not None:
            await self._close(viewer, found)
        return p.Done()

    # What it is told

    async def _report(self, viewer: Viewer, lane: Lane) -> None:
        """Tell of a lane until it ends."""
        turn = 0
        while lane.failure is None:
            await asyncio.sleep(TRACE_SECONDS)
            turn += 1
            travels, first = lane.take_trace()
            if travels:
                self._trace.emit(viewer.socket.volatile, lane.id, travels, first)
            if turn % TRACES_PER_STATS == 0:
                self._stats.emit(viewer.socket, lane.id, lane.stats())
        viewer.lanes.pop(lane.id, None)
        viewer.reports.pop(lane.id, None)
        self._lane_closed.emit(viewer.socket, lane.id, lane.failure)
        await self._lanes.close(lane)

    async def _close(self, viewer: Viewer, lane: Lane) -> None:
        viewer.lanes.pop(lane.id, None)
        report = viewer.reports.pop(lane.id, None)
        if report is not None:
            report.cancel()
        await self._lanes.close(lane)


def make_server(lanes: Lanes) -> Server:
    """The laboratory's own server, to which pages are connected while they measure others."""
    io = Server()
    io.register(Laboratory(lanes))
    io.on_stop(lanes.close_all)

    @io.on_invalid
    def invalid(error: InvalidArguments, socket: Socket, event: str, args: list[object]) -> p.Refused:
        return p.Refused(str(error))

    return io
