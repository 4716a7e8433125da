"""A server on a real port, in a thread of its own, for clients that are no Python: browsers, Node.js, others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from madang.faces.asgi import ASGIApplication
from madang.faces.uvicorn import serve_async
from madang.server import Server
from madang.testing.running import ErrorLog, failure_of

__all__ = ["serving"]

_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 20.0


@contextmanager
def serving(
    target: Server | ASGIApplication, *, host: str = "127.0.0.1", allow_errors: bool = False, **options: Any
) -> Iterator[str]:
    """Serve on a free port, in a thread with an event loop of its own; gives the URL.

    The server belongs to that thread: from the test, use it through `io.loop.call_soon_threadsafe`.

    Args:
        target: the server, or an ASGI application.
        host: the address to listen at.
        allow_errors: whether handlers may fail. Else an exception in a handler that no `on_error` has taken fails the
            test at the end.
        options: for uvicorn.

    Raises:
        AssertionError: at the end, a handler has failed; the exception is its cause.

    Example:
        ```python
        from madang import Server
        from madang.testing import serving

        io = Server()


        def test_node() -> None:
            with serving(io) as url:
                subprocess.run(["node", "client.js", url], check=True, timeout=30)
        ```
    """
    ready: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = concurrent.futures.Future()
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with serve_async(target, host=host, **options) as port:
            ready.set_result((asyncio.get_running_loop(), stop, port))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            (ended if ready.done() else ready).set_exception(error)
        else:
            ended.set_result(None)

    log = ErrorLog([])
    logger = logging.getLogger("madang")
    logger.addHandler(log)
    try:
        threading.Thread(target=run, name="madang serving", daemon=True).start()
        loop, stop, port = ready.result(_START_SECONDS)
        shown = f"[{host}]" if ":" in host else host
        try:
            yield f"http://{shown}:{port}"
        finally:
            loop.call_soon_threadsafe(stop.set)
            ended.result(_STOP_SECONDS)
    except Exception as error:
        for failed in () if allow_errors else log.errors:
            error.add_note(f"Before that, a handler of the server has failed: {failed!r}")
        raise
    finally:
        logger.removeHandler(log)
    if log.errors and not allow_errors:
        raise failure_of(log.errors)
