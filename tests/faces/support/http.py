"""A small HTTP/1.1 client that sends exactly what it is told, over asyncio's streams.

reply = await request(server.port, "GET", "/socket.io/?EIO=4&transport=polling")
reply.status, reply.header("content-type"), reply.json()
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

DEADLINE = 30


@dataclass
class Reply:
    """One response."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The header of this name, in any case; of several, all in one line."""
        found = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(found) if found else None

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One TCP connection to the server."""

    def __init__(self, port: int, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            self.host, self.port, ssl=self.tls, server_hostname="localhost" if self.tls else None
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cut the connection, and await its end."""
        self.writer.transport.abort()
        async with asyncio.timeout(DEADLINE):
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    def send(
        self, method: str, target: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send one request."""
        if isinstance(body, str):
            body = body.encode()
        lines = [f"{method} {target} HTTP/1.1"]
        fields = {"Host": f"{self.host}:{self.port}"}
        if body is not None:
            fields["Content-Length"] = str(len(body))
            fields["Content-Type"] = "text/plain;charset=UTF-8"
        fields.update(headers or {})
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    async def reply(self, seconds: float = DEADLINE, *, head: bool = False) -> Reply:
        """The next response."""
        async with asyncio.timeout(seconds):
            block = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = block.decode("latin-1").split("\r\n")[:-2]
            pairs = [line.split(":", 1) for line in lines]
            reply = Reply(int(first.split(" ")[1]), [(name.lower(), value.strip()) for name, value in pairs])
            length = reply.header("content-length")
            if head or reply.status == 204:
                return reply
            if length is not None:
                reply.body = await self.reader.readexactly(int(length))
            elif (reply.header("transfer-encoding") or "").lower() == "chunked":
                while size := int(await self.reader.readline(), 16):
                    reply.body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readline()
            else:
                reply.body = await self.reader.read()
            return reply

    async def ask(
        self, method: str, target: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and await its response."""
        self.send(method, target, body, headers)
        return await self.reply()

    async def ended(self, seconds: float = DEADLINE) -> bytes:
        """What still comes until the server ends the connection."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        cut(self.writer.transport)


def cut(transport: asyncio.WriteTransport) -> None:
    """End a connection with a TCP reset, as when a process dies with data unread."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def request(
    port: int,
    method: str,
    target: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """One request on a connection of its own."""
    async with Connection(port, tls=tls) as connection:
        return await connection.ask(method, target, body, {"Connection": "close", **(headers or {})})
