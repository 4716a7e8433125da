"""Peer: python-socketio's AsyncServer on uvicorn.

Settings, and why: those of ``python_socketio_handlers.py``; uvicorn (see ``peers.py``) has uvloop, httptools,
``--ws auto``, one worker, access log and per-message deflate off.
"""

import socketio
from python_socketio_handlers import SETTINGS, attach

sio = socketio.AsyncServer(async_mode="asgi", **SETTINGS)
attach(sio)
app = socketio.ASGIApp(sio)
