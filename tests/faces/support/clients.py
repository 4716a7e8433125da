"""Small clients that speak Engine.IO 4 and Socket.IO 5 frame by frame, one for each transport.

All have the same methods, so that one test can be run over all of them:

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
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from faces.support.http import DEADLINE, Connection, Reply, cut
from support import bodies

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
        self.began = 0.0  # when a test has begun to connect
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

    async def connection(self) -> Connection:
        """A new connection to the server."""
        return await Connection(self.port, tls=self.tls).__aenter__()

    async def start(self) -> None:
        self._frames: deque[Frame] = deque()
        self.polls = await self.connection()
        self.posts = await self.connection()
        self.handshake = await self.polls.ask("GET", self.target(), headers=self.headers)
        assert self.handshake.status == 200, self.handshake
        assert self._unpacked(self.handshake)[0] == "0", self.handshake.text
        if self.handshake.header("connection") == "close":
            await self.fresh_polls()
        self.opened = json.loads(self._unpacked(self.handshake)[1:])

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
        self.posts = await self.connection()

    async def fresh_polls(self) -> None:
        """A new connection for polls."""
        await self.polls.close()
        self.polls = await self.connection()

    async def say(self, *frames: Frame) -> None:
        reply = await self.post(pack(list(frames)))
        assert (reply.status, reply.text) == (200, "ok"), reply

    async def _frame(self) -> Frame:
        while not self._frames:
            reply = await self.poll()
            assert reply.status == 200, reply
            if reply.header("connection") == "close":
                await self.fresh_polls()
            self._frames.extend(unpack(self._unpacked(reply)))
        return self._frames.popleft()

    def _unpacked(self, reply: Reply) -> str:
        return reply.text


class ShortPollingClient(PollingClient):
    """Polls that never wait, some time apart."""

    transport = "shortpolling"

    async def _frame(self) -> Frame:
        while True:
            if not self._frames:
                await asyncio.sleep(0.1)
            frame = await super()._frame()
            if frame != "6":
                return frame


class JSONPClient(PollingClient):
    """Scripts and forms."""

    transport = "polling"

    def target(self, transport: str = "", *, sid: str = "") -> str:
        return super().target(transport, sid=sid) + "&j=5"

    async def start(self) -> None:
        await super().start()
        assert self.handshake.text.startswith("___eio[5](")

    def _unpacked(self, reply: Reply) -> str:
        return bodies.jsonp_unpack(reply.body)

    async def say(self, *frames: Frame) -> None:
        headers, body = bodies.jsonp_pack(pack(list(frames)))
        reply = await self.post(body, headers)
        assert (reply.status, reply.text) == (200, "ok"), reply


class StreamClient(PollingClient):
    """One connection for a response that stays open, and one for posts."""

    async def start(self) -> None:
        self._frames = deque()
        self._rest = b""
        self.streams = 0
        self.posts = await self.connection()
        self.polls = await self.connection()
        await self._open_stream()
        hello = await self._frame()
        assert isinstance(hello, str)
        assert hello[0] == "0", hello
        self.opened = json.loads(hello[1:])

    async def _open_stream(self) -> None:
        self.begin_poll()
        self.handshake = await self.polls.reply(head=True)
        assert self.handshake.status == 200, self.handshake
        self.streams += 1

    def begin_poll(self) -> None:
        self.polls.send("GET", self.target(sid=self.opened.get("sid", "")), headers=self.headers)

    def _take(self, data: bytes) -> tuple[list[Frame], bytes]:
        """The frames that are whole, and what is left of the bytes."""
        raise NotImplementedError

    async def chunk(self) -> bytes:
        """The next chunk of the response; b"" at its end."""
        reader = self.polls.reader
        if (self.handshake.header("transfer-encoding") or "").lower() != "chunked":
            return await reader.read(65_536)
        size = int(await reader.readline(), 16)
        return (await reader.readexactly(size + 2))[:-2]

    async def _frame(self) -> Frame:
        while True:
            while not self._frames:
                data = await self.chunk()
                frames, self._rest = self._take(self._rest + data)
                self._frames.extend(frames)
                if not data:
                    raise EOFError("the stream has ended without saying so")
            frame = self._frames.popleft()
            if frame != "6":
                return frame
            assert await self.chunk() == b"", "nothing comes behind the packet that ends a stream"
            if (self.handshake.header("transfer-encoding") or "").lower() != "chunked":
                await self.polls.close()
                self.polls = await self.connection()
            await self._open_stream()


class SSEClient(StreamClient):
    """Server-Sent Events."""

    transport = "sse"

    def _take(self, data: bytes) -> tuple[list[Frame], bytes]:
        whole, _, rest = data.rpartition(b"\n\n")
        payload = bodies.sse_unpack(whole + b"\n\n") if whole else ""
        return unpack(payload) if payload else [], rest


class MultipartClient(StreamClient):
    """Parts that tell their length."""

    transport = "multipart"

    def _take(self, data: bytes) -> tuple[list[Frame], bytes]:
        data = data.removeprefix(b"--madang\r\n")
        frames: list[Frame] = []
        while True:
            head, found, body = data.partition(b"\r\n\r\n")
            if not found:
                return frames, data
            end = int(re.search(rb"Content-Length: (\d+)", head)[1]) + len(b"\r\n--madang\r\n")  # type: ignore[index]
            if len(body) < end:
                return frames, data
            frames += bodies.multipart_frames(head + found + body[:end])
            data = body[end:]


class IframeClient(StreamClient):
    """Script elements."""

    transport = "iframe"

    def target(self, transport: str = "", *, sid: str = "") -> str:
        return super().target(transport, sid=sid) + "&j=5"

    def _take(self, data: bytes) -> tuple[list[Frame], bytes]:
        whole, found, rest = data.rpartition(b"</script>\n")
        payload = bodies.iframe_unpack(whole + found)
        return unpack(payload) if payload else [], rest


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
        async with asyncio.timeout(DEADLINE):
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


CLIENTS: dict[str, type[Client]] = {
    "polling": PollingClient,
    "shortpolling": ShortPollingClient,
    "jsonp": JSONPClient,
    "sse": SSEClient,
    "multipart": MultipartClient,
    "iframe": IframeClient,
    "websocket": WebSocketClient,
}
STREAMS = {name: kind for name, kind in CLIENTS.items() if issubclass(kind, StreamClient)}
#: One of each kind: where nothing depends on how a transport writes.
KINDS = {name: CLIENTS[name] for name in ("polling", "sse", "websocket")}
#: Those of every server.
DEFAULTS = {name: CLIENTS[name] for name in ("polling", "websocket")}
