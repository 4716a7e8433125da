"""A small HTTP/2 client: one connection, on which each lane has a request at a time, as a browser's."""

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset

from faces.support.http import DEADLINE, Connection, Reply
from madang.rfc import ws


class HTTP2:
    """One connection."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self.port = port
        self.tls = tls
        self.lanes: dict[int, Lane] = {}
        self.settled = asyncio.Event()
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.tls, server_hostname="localhost"
        )
        assert self.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        self.h2.initiate_connection()
        self.flush()
        self._task = asyncio.create_task(self._read())
        async with asyncio.timeout(DEADLINE):
            await self.settled.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        async with asyncio.timeout(DEADLINE):
            await self._task

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def _read(self) -> None:
        while data := await self._received():
            for event in self.h2.receive_data(data):
                match event:
                    case RemoteSettingsChanged():
                        self.settled.set()
                    case ResponseReceived():
                        self.lanes[event.stream_id].heads.put_nowait(dict(event.headers))
                    case DataReceived():
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        self.lanes[event.stream_id].parts.put_nowait(event.data)
                    case StreamEnded() | StreamReset():
                        self.lanes[event.stream_id].parts.put_nowait(b"")
            self.flush()

    async def _received(self) -> bytes:
        try:
            return await self.reader.read(65_536)
        except ConnectionError:
            return b""


class Lane(Connection):
    """What the small clients take for a connection of their own."""

    def __init__(self, http2: HTTP2) -> None:
        self.http2 = http2
        self.reader = self  # type: ignore[assignment]

    def open(self, method: str, target: str, headers: Mapping[str, str], *, end: bool) -> None:
        """Send the head of a request."""
        h2 = self.http2.h2
        self.heads: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.parts: asyncio.Queue[bytes] = asyncio.Queue()
        self.stream = h2.get_next_available_stream_id()
        self.http2.lanes[self.stream] = self
        fields = {":method": method, ":scheme": "https", ":authority": f"localhost:{self.http2.port}", ":path": target}
        h2.send_headers(self.stream, [*fields.items(), *headers.items()], end_stream=end)
        self.http2.flush()

    def write(self, data: bytes, *, end: bool = False) -> None:
        """Send a part of the request's body, which must be small."""
        self.http2.h2.send_data(self.stream, data, end_stream=end)
        self.http2.flush()

    def send(
        self, method: str, target: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        data = body.encode() if isinstance(body, str) else body
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        if data is not None:
            fields.setdefault("content-type", "text/plain;charset=UTF-8")
        self.open(method, target, fields, end=data is None)
        if data is not None:
            self.write(data, end=True)

    async def reply(self, seconds: float = DEADLINE, *, head: bool = False) -> Reply:
        async with asyncio.timeout(seconds):
            fields = await self.heads.get()
            reply = Reply(int(fields[":status"]), list(fields.items()))
            while not head and (part := await self.parts.get()):
                reply.body += part
            return reply

    async def read(self, size: int) -> bytes:
        """The next part of the response; b"" at its end."""
        return await self.parts.get()

    async def close(self) -> None:
        """Nothing is left: the connection is the others', too."""


async def websocket(http2: HTTP2, target: str) -> "Frames":
    """A WebSocket on an HTTP/2 connection.

    Source: RFC 8441.
    """
    lane = Lane(http2)
    h2 = http2.h2
    lane.open("CONNECT", target, {":protocol": "websocket", "sec-websocket-version": "13"}, end=False)
    assert h2.remote_settings.enable_connect_protocol
    reply = await lane.reply(head=True)
    assert reply.status == 200, reply
    return Frames(lane)


class Frames:
    """The messages of such a WebSocket, short ones of text."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._messages: deque[str | bytes] = deque()
        self._frames = ws.FrameReader(self._messages.append, _ignore, masked=False, max_message_bytes=1_000_000)

    def say(self, text: str) -> None:
        payload = text.encode()
        assert len(payload) < 126
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.lane.write(bytes([0x81, 0x80 | len(payload)]) + mask + masked)

    async def hear(self) -> str | bytes:
        async with asyncio.timeout(DEADLINE):
            while not self._messages:
                part = await self.lane.read(65_536)
                assert part, "the WebSocket has ended"
                self._frames.feed(part)
        return self._messages.popleft()


def _ignore(opcode: int, payload: bytes) -> None:
    """Pings and the end are not looked at."""
