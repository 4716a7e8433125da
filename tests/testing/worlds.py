"""Two worlds for one scenario: a network in memory, and real sockets behind a proxy that fails in the same ways."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from madang import Server
from madang.faces.uvicorn import serve_async
from madang.testing import Running, TestClient, running


class World:
    """A server, and a way to it.

    Attributes:
        io: the server.
        log: what the scenario has to tell.
    """

    def __init__(self, io: Server) -> None:
        self.io = io
        self.log: list[Any] = []

    def client(self, namespace: str = "/", auth: Any = None, **settings: Any) -> TestClient:
        raise NotImplementedError

    def way_of(self, client: TestClient) -> Any:
        """What can drop, cut and mend this client's connections, and refuse new ones."""
        raise NotImplementedError


class MemoryWorld(World):
    def __init__(self, io: Server, server: Running) -> None:
        super().__init__(io)
        self._server = server

    def client(self, namespace: str = "/", auth: Any = None, **settings: Any) -> TestClient:
        return self._server.client(namespace, auth, **settings)

    def way_of(self, client: TestClient) -> Any:
        return client.network


class RealWorld(World):
    def __init__(self, io: Server, port: int) -> None:
        super().__init__(io)
        self._port = port
        self._proxies: dict[TestClient, Proxy] = {}
        self._opened: list[Proxy] = []

    def client(self, namespace: str = "/", auth: Any = None, **settings: Any) -> TestClient:
        proxy = Proxy(self._port)
        self._opened.append(proxy)
        settings = {"path": self.io.config.path, "parser": self.io.config.parser, "proxy": None, **settings}
        client = TestClient(f"http://127.0.0.1:{proxy.port}{namespace}", auth, **settings)
        self._proxies[client] = proxy
        return client

    def way_of(self, client: TestClient) -> Any:
        return self._proxies[client]

    async def close(self) -> None:
        for proxy in self._opened:
            await proxy.close()


class Proxy:
    """Passes the bytes of TCP connections on, as long as it is asked to."""

    def __init__(self, to: int) -> None:
        import socket

        self._to = to
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.refusing = False
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._start = asyncio.ensure_future(asyncio.start_server(self._accept, sock=self._socket))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, there_writer}
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.ensure_future(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
            await self._open.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has gone, and so do we
        finally:
            sink.close()

    def drop(self) -> None:
        writers, self._writers = self._writers, set()
        for writer in writers:
            writer.close()

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    async def close(self) -> None:
        server = await self._start
        server.close()
        self.mend()
        self.drop()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))


@contextlib.asynccontextmanager
async def memory_world(io: Server) -> AsyncIterator[World]:
    async with running(io, allow_errors=True) as server:
        yield MemoryWorld(io, server)


@contextlib.asynccontextmanager
async def real_world(io: Server) -> AsyncIterator[World]:
    async with serve_async(io) as port:
        world = RealWorld(io, port)
        try:
            yield world
        finally:
            await world.close()


WORLDS = {"memory": memory_world, "real": real_world}
