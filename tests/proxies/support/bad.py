"""Proxies as nobody wants them and many have them: each does one thing wrong.

    async with BadProxy(server.port, "buffer") as port:
        ...

They take one request per connection, which keeps them small, and is one more thing that clients must bear.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

#: What each does to upgrades and to responses.
BEHAVIOURS = ("swallow", "refuse 400", "refuse 502", "mute", "buffer", "cut")
CUT_SECONDS = 2.0
#: For all connections to end once they are cut.
END_SECONDS = 10


class BadProxy:
    """A proxy on a free port.

    Args:
        behind: the port of the server.
        behaviour: what it does wrong, one of `BEHAVIOURS`. "swallow": a request for an upgrade gets no answer.
            "refuse 400", "refuse 502": it gets this one. "mute": it passes, and nothing after it. "buffer": each
            response is passed on when it has ended. "cut": each is cut after `CUT_SECONDS`, ended or not.
    """

    def __init__(self, behind: int, behaviour: str) -> None:
        assert behaviour in BEHAVIOURS
        self.behind = behind
        self.behaviour = behaviour
        self.upgrades = 0  # how many were asked for
        self._serving: set[asyncio.WriteTransport] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        async with asyncio.timeout(END_SECONDS):
            while self._serving:
                # Cut from both sides, each ends by itself; those that are only now accepted come in the next round.
                for transport in list(self._serving):
                    transport.abort()
                await asyncio.sleep(0.01)
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._held(writer):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._pass_on(head, reader, writer)
            except (asyncio.IncompleteReadError, OSError):
                pass  # one of both has gone, as they may

    @contextlib.asynccontextmanager
    async def _held(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        """Close a connection at the end, or cut it when the proxy ends."""
        self._serving.add(writer.transport)
        try:
            yield
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._serving.discard(writer.transport)

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upgrade = re.search(rb"\r\nupgrade:", head, re.IGNORECASE) is not None
        self.upgrades += upgrade
        if upgrade and self.behaviour in ("swallow", "buffer"):
            await reader.read()  # until the client has enough of it
            return
        if upgrade and self.behaviour.startswith("refuse"):
            status = self.behaviour.partition(" ")[2]
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        if not upgrade:
            head = re.sub(rb"\r\nconnection:[^\r]*", b"", head, flags=re.IGNORECASE)
            head = head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"
        there, here = await asyncio.open_connection("127.0.0.1", self.behind)
        async with self._held(here):
            here.write(head)
            if upgrade and self.behaviour == "mute":
                writer.write(await there.readuntil(b"\r\n\r\n"))
                await reader.read()
                return
            up = asyncio.create_task(_pump(reader, here))
            down = asyncio.create_task(_pump(there, writer, whole=self.behaviour == "buffer"))
            try:
                # When one side ends, so does the other.
                seconds = CUT_SECONDS if self.behaviour == "cut" else None
                await asyncio.wait([up, down], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (up, down):
                    task.cancel()
                await asyncio.wait([up, down])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, whole: bool = False) -> None:
    """Pass on bytes until they end, as they come or all at once."""
    with contextlib.suppress(ConnectionError):
        if whole:
            writer.write(await reader.read())
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        await writer.drain()
