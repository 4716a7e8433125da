"""Peer: python-socketio's AsyncServer on aiohttp. Port as the argument.

Settings, and why: those of ``python_socketio_app.py``; aiohttp runs on uvloop, access log off, and compresses
WebSocket messages only for clients that offer it, which the load generator does not.
"""

import sys

import socketio
import uvloop
from aiohttp import web

sio = socketio.AsyncServer(async_mode="aiohttp", http_compression=False)


@sio.event
async def echo(sid: str, value: str) -> str:
    return value


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


if __name__ == "__main__":
    app = web.Application()
    sio.attach(app)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), loop=loop, access_log=None, print=None, backlog=2048)
