"""Proxies that spoil one kind of transport, as some between clients and servers do."""

import asyncio
from collections.abc import Callable

from client.support.cable import Cable


class Spoiler(Cable):
    """A TCP port that leads to another one, except for requests of some kind.

    Args:
        target: the port.
        spoils: whether a connection is to be spoiled, by the head of its first request.
        how: "refuse": HTTP 403; "swallow": it is taken, and nothing is ever answered; "buffer": the answer is kept
            until it ends; "deaf": the head of the answer comes through, and nothing behind it.
    """

    def __init__(self, target: int, spoils: Callable[[bytes], bool], how: str) -> None:
        super().__init__(target)
        self.spoils = spoils
        self.how = how
        self.spoilt = 0

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        if not self.spoils(head):
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
            far.write(head)
            await self._pump(reader, writer, far_reader, far)
            return
        self.spoilt += 1
        if self.how == "refuse":
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        elif self.how == "swallow":
            await reader.read()
        else:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target)
            far.write(head)
            passing = asyncio.ensure_future(self._pass(reader, far))
            try:
                if self.how == "deaf":
                    writer.write(await far_reader.readuntil(b"\r\n\r\n"))
                writer.write(await self._kept(far_reader))
                await writer.drain()
            finally:
                passing.cancel()
                far.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            far.write(data)
        far.transport.abort()

    async def _kept(self, far_reader: asyncio.StreamReader) -> bytes:
        kept = await far_reader.read()
        return b"" if self.how == "deaf" else kept


def websockets(head: bytes) -> bool:
    return b"transport=websocket" in head


def streams(head: bytes) -> bool:
    return head.startswith(b"GET") and b"transport=sse" in head
