"""The application of the benchmarks on python-socketio: the same for each server that it runs on.

- ``http_compression`` off, as for every server here;
- no logging by Engine.IO or Socket.IO (their default);
- ``async_handlers`` is left at its default (a task per event): without it ``call()`` is forbidden;
- ``json`` is left at its default, the standard library's;
- ``typed`` checks its argument with msgspec, the fastest way that we know of;
- some works have ``BENCH_PING_INTERVAL_MS`` change how often clients are pinged, for every server alike.
"""

import os
from typing import Any

import msgspec
import socketio

SETTINGS: dict[str, Any] = {
    "http_compression": False,
    "ping_interval": int(os.environ.get("BENCH_PING_INTERVAL_MS", "25000")) / 1000,
}


class Said(msgspec.Struct):
    room: str
    number: int
    tags: list[str]
    text: str


def attach(sio: socketio.AsyncServer) -> None:
    @sio.event
    async def echo(sid: str, value: str) -> str:
        return value

    @sio.event
    async def binary(sid: str, value: bytes) -> bytes:
        return value

    @sio.event
    async def untyped(sid: str, said: Any) -> str:
        text: str = said["text"]
        return text

    @sio.event
    async def typed(sid: str, said: Any) -> str:
        return msgspec.convert(said, Said).text

    @sio.event
    async def join(sid: str, room: str) -> None:
        await sio.enter_room(sid, room)

    @sio.event
    async def leave(sid: str, room: str) -> None:
        await sio.leave_room(sid, room)

    @sio.event
    async def broadcast(sid: str, room: str, payload: str, count: int) -> None:
        for index in range(count):
            await sio.emit("broadcast", (index, payload), room=room)
