"""What lies between a client and a server, and goes wrong."""

import asyncio
import base64
import re
import ssl
from contextlib import suppress
from types import TracebackType
from typing import Self


class Cable:
    """A TCP port that leads to another one, until it is cut."""

    def __init__(self, target: int, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.tls = tls
        self.port = port
        self.opened = 0
        self.refusing = False
        self.silent = False
        self.heard = bytearray()  # what clients have sent
        self.added = b""  # headers that each answer is given on its way
        self.unanswered = 0  # HTTP requests on their way
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all connections."""
        self.unanswered = 0
        for writer in tuple(self._ends):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._ends.add(writer)
        self.opened += 1
        try:
            if not self.refusing:
                await self._join(reader, writer)
        except OSError:
            pass
        finally:
            self._ends.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pump(reader, writer, *await asyncio.open_connection("127.0.0.1", self.target))

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far: asyncio.StreamWriter,
    ) -> None:
        self._ends.add(far)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65_536):
                    if source is reader:
                        self.heard += data
                        self.unanswered += len(re.findall(rb"(?:GET|POST) /\S* HTTP/1\.1\r\n", data))
                    elif data.startswith(b"HTTP/1.1 "):
                        self.unanswered -= 1
                    if self.added and data.startswith(b"HTTP/1.1 "):
                        first, end, rest = data.partition(b"\r\n")
                        data = first + end + self.added + rest
                    if not self.silent:
                        sink.write(data)
                        await sink.drain()
            with suppress(OSError):
                sink.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, far))
                group.create_task(copy(far_reader, writer))
        finally:
            self._ends.discard(far)
            far.transport.abort()


class HttpProxy(Cable):
    """An HTTP proxy: tunnels by CONNECT, and passes on requests for whole URLs. May ask for a password.

    `said` is what it sends behind its answer to CONNECT.
    """

    def __init__(self, user: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(0, tls=tls)
        self.user = user
        self.said = b""
        self.seen: list[str] = []

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        self.seen.append(first)
        if self.user is not None:
            token = base64.b64encode(self.user.encode()).decode()
            if not any(line.lower() == f"proxy-authorization: basic {token}".lower() for line in lines):
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
        method, target, _ = first.split(" ")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            far = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n" + self.said)
            await self._pump(reader, writer, *far)
            return
        authority, _, path = target.removeprefix("http://").partition("/")
        host, _, port = authority.partition(":")
        far_reader, far = await asyncio.open_connection(host, int(port or 80))
        kept = [line for line in lines if line and not line.lower().startswith(("proxy-", "connection:"))]
        far.write(("\r\n".join([f"{method} /{path} HTTP/1.1", *kept, "Connection: close"]) + "\r\n\r\n").encode())
        await self._pump(reader, writer, far_reader, far)
