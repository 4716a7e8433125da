"""One node of Madang in a cluster, served by ``madang serve``: uvicorn, uvloop, Madang's own WebSocket protocol class.

Settings: all defaults. The engine's URL is in ``BENCH_ENGINE``; with ``--workers`` there is none, they find each other.
"""

import asyncio
import os
import time
from collections import Counter

from madang import Server, Socket

PAYLOAD = 64

io = Server(cluster=os.environ.get("BENCH_ENGINE"))
emitted: Counter[str] = Counter()  # events of each room, since the last silence
publishing: set[asyncio.Task[None]] = set()


@io.event
def echo(socket: Socket, value: str) -> str:
    return value


@io.event
def join(socket: Socket, room: str) -> None:
    socket.join(room)


@io.event
async def publish(socket: Socket, rooms: int, burst: int, milliseconds: float) -> None:
    """Emit `burst` events each `milliseconds`, to the rooms in turn."""
    task = asyncio.create_task(run([f"bench-{number}" for number in range(rooms)], burst, milliseconds / 1000))
    publishing.add(task)


async def run(rooms: list[str], burst: int, seconds: float) -> None:
    turn, due = 0, time.monotonic()
    while True:
        for _ in range(burst):
            room = rooms[turn % len(rooms)]
            turn += 1
            io.to(room).emit("tick", emitted[room], f"{time.monotonic_ns()}-".ljust(PAYLOAD, "x"))
            emitted[room] += 1
        due += seconds
        await asyncio.sleep(due - time.monotonic())


@io.event
async def silence(socket: Socket) -> int:
    """Emit no more, and count from 0 again. Returns how many events were emitted."""
    for task in publishing:
        task.cancel()
    publishing.clear()
    count = emitted.total()
    emitted.clear()
    return count


@io.event
async def fetch(socket: Socket) -> dict[str, float]:
    """How many clients there are anywhere, and how long it took to find out."""
    began = time.monotonic_ns()
    found = await io.fetch_sockets()
    return {"found": len(found), "us": (time.monotonic_ns() - began) / 1000}
