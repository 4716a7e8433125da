"""Peer: python-socketio's AsyncServer on aiohttp. Port as the argument.

Settings, and why: those of ``python_socketio_handlers.py``; aiohttp runs on uvloop, access log off, and compresses
WebSocket messages only for clients that offer it, which the load generator does not.
"""

import sys

import socketio
import uvloop
from aiohttp import web
from python_socketio_handlers import SETTINGS, attach

if __name__ == "__main__":
    sio = socketio.AsyncServer(async_mode="aiohttp", **SETTINGS)
    attach(sio)
    app = web.Application()
    sio.attach(app)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), loop=loop, access_log=None, print=None, backlog=2048)
