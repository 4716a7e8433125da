"""Peer: python-socketio's AsyncServer on uvicorn.

Settings, and why:

- ``http_compression`` off, as for every server here; per-message deflate is switched off at uvicorn;
- no logging by Engine.IO or Socket.IO (their default);
- ``async_handlers`` is left at its default (a task per event): without it ``call()`` is forbidden;
- ``json`` is left at its default, the standard library's;
- uvicorn (see ``peers.py``): uvloop, httptools, ``--ws auto``, one worker, access log off.
"""

import socketio

sio = socketio.AsyncServer(async_mode="asgi", http_compression=False)
app = socketio.ASGIApp(sio)


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
