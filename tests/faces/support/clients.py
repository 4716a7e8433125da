"""Two small clients that speak Engine.IO 4 and Socket.IO 5 frame by frame: over polling, and over a WebSocket.

Both have the same methods, so that one test can be run over both:

    async with PollingClient(port) as client:
        await client.join()
        client.say('42["hello"]')
        assert await client.hear() == '42["hello","you"]'
"""

import asyncio
import base64
import contextlib
import json
import os
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from faces.support.http import DEADLINE, Connection, Reply, cut

SEPARATOR = "\x1e"
Frame = str | bytes


def pack(frames: list[Frame]) -> str:
    """Frames as the body of a POST."""
    return SEPARATOR.join(
        frame if isinstance(frame, str) else "b" + base64.b64encode(frame).decode() for frame in frames
    )


def unpack(payload: str) -> list[Frame]:
    """The body of a poll as frames."""
    return [base64.b64decode(part[1:]) if part[:1] == "b" else part for part in payload.split(SEPARATOR)]


class Client:
    """What both clients share: the words of Socket.IO.

    Attributes:
        opened: the body of the handshake.
        id: the socket's id in the main namespace.
    """

    transport = ""

    def __init__(
        self,
        port: int,
        *,
        path: str = "/socket.io/",
        query: str = "",
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.port = port
        self.path = path
        self.query = query
        self.headers = dict(headers or {})
        self.tls = tls
        self.opened: dict[str, Any] = {}
        self.id = ""
        self.pongs = True  # answer the server's pings
        self.pings = 0
        self._questions = 0
        self._skipped: deque[Frame] = deque()

    @property
    def sid(self) -> str:
        return self.opened["sid"]

    def target(self, transport: str = "", *, sid: str = "") -> str:
        """Path and query of a request."""
        sid = f"&sid={sid}" if sid else ""
        return f"{self.path}?EIO=4&transport={transport or self.transport}{sid}{self.query}"

    async def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    async def say(self, *frames: Frame) -> None:
        raise NotImplementedError

    async def _frame(self) -> Frame:
        raise NotImplementedError

    async def hear(self, seconds: float = DEADLINE) -> Frame:
        """The next frame that is no ping."""
        if self._skipped:
            return self._skipped.popleft()
        async with asyncio.timeout(seconds):
            while True:
                frame = await self._frame()
                if frame != "2":
                    return frame
                self.pings += 1
                if self.pongs:
                    await self.say("3")

    async def join(self, namespace: str = "", auth: object = None) -> str:
        """Join a namespace, and return the socket's id there."""
        prefix = f"{namespace}," if namespace else ""
        await self.say(f"40{prefix}{json.dumps(auth) if auth is not None else ''}")
        frame = await self.hear()
        assert isinstance(frame, str)
        assert frame.startswith(f"40{prefix}{{"), frame
        id_ = json.loads(frame[2 + len(prefix) :])["sid"]
        if not namespace:
            self.id = id_
        return id_

    async def emit(self, *event: object) -> None:
        await self.say("42" + json.dumps(event, ensure_ascii=False, separators=(",", ":")))

    async def event(self, name: str, seconds: float = DEADLINE) -> list[Any]:
        """The arguments of the next event, which must have this name."""
        frame = await self.hear(seconds)
        assert isinstance(frame, str)
        assert frame.startswith(f'42["{name}"'), frame
        return json.loads(frame[2:])[1:]

    async def call(self, *event: object) -> Any:
        """Ask for an acknowledgement; other frames that come before it are kept for `hear`."""
        self._questions += 1
        number = self._questions
        await self.say(f"42{number}" + json.dumps(event, ensure_ascii=False, separators=(",", ":")))
        kept: list[Frame] = []
        while True:
            frame = await self.hear()
            if isinstance(frame, str) and frame.startswith(f"43{number}["):
                self._skipped.extend(kept)
                answer = json.loads(frame[2 + len(str(number)) :])
                return answer[0] if len(answer) == 1 else tuple(answer)
            kept.append(frame)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class PollingClient(Client):
    """One connection for polls and one for posts, as a browser has."""

    transport = "polling"

    async def start(self) -> None:
        self._frames: deque[Frame] = deque()
        self.polls = await Connection(self.port, tls=self.tls).__aenter__()
        self.posts = await Connection(self.port, tls=self.tls).__aenter__()
        self.handshake = await self.polls.ask("GET", self.target(), headers=self.headers)
        assert self.handshake.status == 200, self.handshake
        assert self.handshake.text[0] == "0", self.handshake.text
        self.opened = json.loads(self.handshake.text[1:])

    async def stop(self) -> None:
        await self.polls.close()
        await self.posts.close()

    def begin_poll(self) -> None:
        """Send a poll, and don't await its response."""
        self.polls.send("GET", self.target(sid=self.sid), headers=self.headers)

    async def end_poll(self) -> Reply:
        return await self.polls.reply()

    async def poll(self) -> Reply:
        self.begin_poll()
        return await self.end_poll()

    async def post(self, body: str | bytes, headers: Mapping[str, str] | None = None) -> Reply:
        target = self.target(sid=self.sid)
        reply = await self.posts.ask("POST", target, body, {**self.headers, **(headers or {})})
        if reply.header("connection") == "close":
            await self.fresh_posts()
        return reply

    async def fresh_posts(self) -> None:
        """A new connection for posts."""
        await self.posts.close()
        self.posts = await Connection(self.port, tls=self.tls).__aenter__()

    async def say(self, *frames: Frame) -> None:
        reply = await self.post(pack(list(frames)))
        assert (reply.status, reply.text) == (200, "ok"), reply

    async def _frame(self) -> Frame:
        while not self._frames:
            reply = await self.poll()
            assert reply.status == 200, reply
            self._frames.extend(unpack(reply.text))
        return self._frames.popleft()


class WebSocketClient(Client):
    """One WebSocket."""

    transport = "websocket"

    def __init__(self, port: int, *, sid: str = "", **options: Any) -> None:
        self._sid = sid
        self.compression = options.pop("compression", None)
        super().__init__(port, **options)

    async def start(self) -> None:
        self._dialled = dial(
            self.port, self.target(sid=self._sid), headers=self.headers, tls=self.tls, compression=self.compression
        )
        self.ws = await self._dialled.__aenter__()
        if self._sid:
            return
        hello = await self.hear()
        assert isinstance(hello, str)
        assert hello[0] == "0", hello
        self.opened = json.loads(hello[1:])

    async def stop(self) -> None:
        await self._dialled.__aexit__(None, None, None)

    async def say(self, *frames: Frame) -> None:
        for frame in frames:
            await self.ws.send(frame)

    async def _frame(self) -> Frame:
        return await self.ws.recv()

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        cut(self.ws.transport)

    async def closed(self, seconds: float = DEADLINE) -> int:
        """Await the end of the WebSocket; returns the close code."""
        async with asyncio.timeout(seconds):
            await self.ws.wait_closed()
        assert self.ws.close_code is not None
        return self.ws.close_code


@contextlib.asynccontextmanager
async def dial(
    port: int,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    compression: str | None = None,
    **options: Any,
) -> AsyncIterator[ClientConnection]:
    """A WebSocket that neither pings nor hurries to answer anything by itself; cut at the end."""
    scheme = "wss" if tls is not None else "ws"
    if tls is not None:
        options.update(ssl=tls, server_hostname="localhost")
    ws = await connect(
        f"{scheme}://127.0.0.1:{port}{target}",
        additional_headers=dict(headers or {}),
        compression=compression,
        ping_interval=None,
        max_size=None,
        close_timeout=5,
        proxy=None,
        **options,
    )
    try:
        yield ws
    finally:
        ws.transport.abort()
        await ws.wait_closed()


class RawWebSocket:
    """Frames as they are on the wire."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def open(self, offer: str = "") -> str | None:
        fields = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        if offer:
            fields["Sec-WebSocket-Extensions"] = offer
        self.connection.send("GET", "/socket.io/?EIO=4&transport=websocket", headers=fields)
        reply = await self.connection.reply(head=True)
        assert reply.status == 101, reply
        return reply.header("sec-websocket-extensions")

    async def hear(self) -> tuple[bool, bytes]:
        """The next frame: whether it is compressed, and its payload."""
        async with asyncio.timeout(5):
            first, size = await self.connection.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.connection.reader.readexactly(2))
            elif size == 127:
                size = int.from_bytes(await self.connection.reader.readexactly(8))
            return bool(first & 0x40), await self.connection.reader.readexactly(size)

    def say(self, text: str) -> None:
        payload = text.encode()
        assert len(payload) < 126
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.connection.write(bytes([0x81, 0x80 | len(payload)]) + mask + masked)


CLIENTS = {"polling": PollingClient, "websocket": WebSocketClient}
