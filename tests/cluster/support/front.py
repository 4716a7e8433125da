"""What stands before servers: each connection goes where it is told."""

import asyncio
import contextlib
from collections.abc import Callable

__all__ = ["Front"]


class Front:
    """A balancer that knows nothing of HTTP, and sends each connection to one of some ports.

    async with Front(lambda: next(ports)) as front:
        client = Client(front.url)
    """

    def __init__(self, choose: Callable[[], int]) -> None:
        #: Gives the port for the next connection.
        self.choose = choose
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server
        self.url = ""

    async def __aenter__(self) -> "Front":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for writer in list(self._connections):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            there = await asyncio.open_connection("127.0.0.1", self.choose())
        except OSError:
            writer.transport.abort()
            self._connections.discard(writer)
            return
        self._connections.add(there[1])
        try:
            await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))
        finally:
            self._connections -= {writer, there[1]}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()
