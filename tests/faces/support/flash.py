"""A client that sends, byte by byte, what the Flash film of web-socket-js sends."""

import asyncio
import base64
import hashlib
import json
import os
import random
from typing import Any

from faces.support.clients import Client, Frame
from faces.support.http import DEADLINE, Connection, Reply

POLICY_REQUEST = b"<policy-file-request/>\0"
KEYS = "18x 6]8vM;54 *(5:  {   U1]8  z [  8", "1_ tx7X d  <  nw  334J702) 7]o}` 0"
CHALLENGE = b"Tm[K T2u"
PROOF = b"fQJ,fN/4F4!~K~MH"


def fresh_key(rng: random.Random) -> tuple[str, int]:
    """A key as the film makes it, and its number."""
    spaces = rng.randint(1, 12)
    number = rng.randint(0, 0xFFFFFFFF // spaces)
    key = str(number * spaces)
    noise = [*range(0x21, 0x30), *range(0x3A, 0x7F)]
    for _ in range(rng.randint(1, 12)):
        at = rng.randint(0, len(key))
        key = key[:at] + chr(rng.choice(noise)) + key[at:]
    for _ in range(spaces):
        at = rng.randint(1, len(key) - 1) if len(key) > 1 else 1
        key = key[:at] + " " + (key[at:] or "x")
    return key, number


def head(port: int, target: str, keys: tuple[str, str] | None = KEYS, origin: str = "", more: str = "") -> bytes:
    """A request in the film's order; without keys, one of draft 75."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Upgrade: WebSocket",
        "Connection: Upgrade",
        f"Host: 127.0.0.1:{port}",
        f"Origin: {origin or f'http://127.0.0.1:{port}'}",
        "Cookie: ",
    ]
    if more:
        lines.append(more)
    if keys is not None:
        lines += [f"Sec-WebSocket-Key1: {keys[0]}", f"Sec-WebSocket-Key2: {keys[1]}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def checked(reply: Reply, origin: str) -> None:
    """Look at a response as strictly as the film does."""
    assert reply.status == 101, reply
    for name, expected in (("upgrade", "websocket"), ("connection", "upgrade")):
        assert [value.lower() for key, value in reply.headers if key == name] == [expected]
    assert [value for key, value in reply.headers if key == "sec-websocket-origin"] == [origin.lower()]


class FlashClient(Client):
    """One WebSocket of draft 76, as text only.

    Attributes:
        proof: what has proved that the server has read the handshake.
        location: what the server has called its address.
    """

    transport = "flashsocket"

    def __init__(self, port: int, *, sid: str = "", seed: int = 1, draft: int = 76, **options: Any) -> None:
        self._sid = sid
        self._rng = random.Random(seed)
        self._draft = draft
        self._closed = False
        super().__init__(port, **options)

    async def start(self) -> None:
        self.connection = await Connection(self.port, tls=self.tls).__aenter__()
        keys, challenge = None, b""
        if self._draft == 76:
            (first, one), (second, two) = fresh_key(self._rng), fresh_key(self._rng)
            keys, challenge = (first, second), self._rng.randbytes(8)
        origin = f"http://127.0.0.1:{self.port}"
        self.connection.write(head(self.port, self.target(sid=self._sid), keys, origin) + challenge)
        block = await self.connection.reply(head=True)
        if keys is not None:
            checked(block, origin)
            proof = await self.connection.reader.readexactly(16)
            assert proof == hashlib.md5(one.to_bytes(4, "big") + two.to_bytes(4, "big") + challenge).digest()
        self.location = block.header("sec-websocket-location") or block.header("websocket-location")
        if not self._sid:
            hello = await self.hear()
            assert isinstance(hello, str)
            assert hello[0] == "0", hello
            self.opened = json.loads(hello[1:])

    async def stop(self) -> None:
        await self.connection.close()

    async def say(self, *frames: Frame) -> None:
        for frame in frames:
            text = frame if isinstance(frame, str) else "b" + base64.b64encode(frame).decode()
            self.connection.write(b"\x00" + text.encode() + b"\xff")

    async def text(self) -> str:
        """The next message as it is on the wire."""
        kind = await self.connection.reader.readexactly(1)
        if kind == b"\xff":
            assert await self.connection.reader.readexactly(1) == b"\x00"
            self._closed = True
            raise EOFError
        assert kind == b"\x00"
        reader = self.connection.reader
        parts = []
        while True:
            try:
                parts.append(await reader.readuntil(b"\xff"))
            except asyncio.LimitOverrunError as error:
                parts.append(await reader.readexactly(error.consumed))
            else:
                return b"".join(parts)[:-1].decode()

    async def _frame(self) -> Frame:
        text = await self.text()
        return base64.b64decode(text[1:], validate=True) if text[:1] == "b" else text

    async def closed(self, seconds: float = DEADLINE) -> bool:
        """Await the end of the connection; tells whether the server has said good-bye, which is answered."""
        async with asyncio.timeout(seconds):
            try:
                while True:
                    await self.text()
            except EOFError:
                self.connection.write(b"\xff\x00")
                assert await self.connection.reader.read() == b""
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
        return self._closed

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        self.connection.reset()


def some_bytes(size: int) -> bytes:
    """Bytes of all values, not the same each time."""
    return os.urandom(size)
