"""A server that says what a test wants it to say, without a network."""

import asyncio
from collections.abc import Mapping, Sequence

from madang.client.dial import Dialer, Incoming, Reply
from madang.packet import Encoded, Frame
from madang.transports import Duplex, Receiver

OPEN = '0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
JOINED = '40{"sid":"id"}'


class ScriptedLink(Duplex):
    """Says its first frame once it is bound, the others after the first write; keeps what is written to it."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.written: list[Frame] = []
        self.receiver: Receiver | None = None
        self.closed = False

    def bind(self, receiver: Receiver) -> None:
        first = self.receiver is None
        self.receiver = receiver
        if first:
            self.say(*self.frames[:1])

    def say(self, *frames: Frame) -> None:
        """Let frames come from the server, as long as somebody listens."""
        for frame in frames:
            if self.receiver is not None and not self.closed:
                self.receiver.receive(frame)

    def write(self, encoded: Encoded) -> None:
        if not self.written:
            asyncio.get_running_loop().call_soon(self.say, *self.frames[1:])
        self.written += encoded.frames

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """The same."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = True
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            asyncio.get_running_loop().call_soon(receiver.lost, self, "transport close")


class ScriptedStream(Incoming):
    """A response that says all it has to say, and ends."""

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.content_type = "text/event-stream"
        self.body = reply.body

    async def read(self) -> bytes:
        body, self.body = self.body, b""
        return body

    async def close(self) -> None:
        pass


class Scripted(Dialer):
    """Answers polls with these bodies, one after the other, then lets them wait; gives links that say these frames."""

    def __init__(self, polls: Sequence[bytes | Reply] = (), frames: Sequence[Frame] = ()) -> None:
        self.polls: asyncio.Queue[bytes | Reply] = asyncio.Queue()
        for poll in polls:
            self.polls.put_nowait(poll)
        self.frames = frames
        self.posts: list[bytes] = []
        self.targets: list[str] = []
        self.links: list[ScriptedLink] = []

    async def get(self, target: str, headers: Mapping[str, str]) -> Reply:
        self.targets.append(target)
        answer = await self.polls.get()
        return answer if isinstance(answer, Reply) else Reply(200, answer)

    async def stream(self, target: str, headers: Mapping[str, str]) -> Incoming:
        return ScriptedStream(await self.get(target, headers))

    async def post(self, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self.posts.append(body)
        return Reply(200, b"ok")

    async def open(self, target: str, headers: Mapping[str, str]) -> Duplex:
        self.targets.append(target)
        self.links.append(ScriptedLink(self.frames))
        return self.links[-1]

    async def close(self) -> None:
        pass
