"""Servers inside the test's own event loop, so that a test can look at both ends."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from madang import Server
from madang.faces.uvicorn import serve_async


@contextlib.asynccontextmanager
async def serve_portable(app: Any, *, ws: str = "websockets-sansio", **options: Any) -> AsyncIterator[int]:
    """The portable face on an unchanged uvicorn; gives the port."""
    if isinstance(app, Server):
        app = app.asgi()
    options = {"log_level": "warning", "lifespan": "on", "timeout_graceful_shutdown": 2, **options}
    server = uvicorn.Server(uvicorn.Config(app, ws=ws, **options))
    server.capture_signals = contextlib.nullcontext
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(10):
            while not server.started:
                assert not task.done(), task.exception()
                await asyncio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            async with asyncio.timeout(30):
                await task


SERVING = {"fast": serve_async, "portable": serve_portable}
