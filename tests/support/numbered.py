"""An application that numbers all it says, for tests of connection state recovery.

To everyone, to a room that each client is in, and to each client alone goes a stream of its own; an event carries its
number in the stream, and one over all streams. A client that gets the streams without a gap, a repetition or a swap has
lost nothing. The settings come as for `apps.py`.
"""

import asyncio
import json
import os

from madang import Recovery, Server, Socket

SETTINGS = json.loads(os.environ.get("MADANG_TEST_CONFIG", "{}"))
LIMITS = SETTINGS.pop("recovery", {})

io = Server(**SETTINGS, recovery=Recovery(**LIMITS))
app = io.asgi()


class Source:
    """What speaks, while somebody wants it to."""

    def __init__(self) -> None:
        self.total = 0
        self.counts: dict[str, int] = {}
        self.listeners: dict[str, Socket] = {}  # kept from the first connection on

    def next(self, stream: str) -> tuple[str, int, int]:
        self.total += 1
        self.counts[stream] = self.counts.get(stream, 0) + 1
        return stream, self.counts[stream], self.total

    def speak(self) -> None:
        io.emit("n", *self.next("all"))
        io.to("room").emit("n", *self.next("room"))
        io.to("room", "elsewhere").except_("nobody").emit("n", *self.next("room"), b"\0\xff")
        io.to("elsewhere").emit("n", "elsewhere", 0, 0)
        io.volatile.emit("volatile", "text")
        for id_, socket in self.listeners.items():
            socket.emit("n", *self.next(id_))
            io.to(id_).emit("n", *self.next(id_), "가" * 100)
            socket.broadcast.to("nobody").emit("n", "nobody", 0, 0)

    async def run(self) -> None:
        while True:
            if self.listeners:
                self.speak()
            await asyncio.sleep(0.01)


source = Source()


@io.on_start
def start() -> None:
    io.spawn(source.run())


@io.on("connection")
def connection(socket: Socket) -> None:
    if not socket.recovered:
        socket.join("room")
        socket.data["times"] = 0
    socket.data["times"] += 1


@io.on("begin")
def begin(socket: Socket) -> dict[str, int]:
    """Speak to this client; tells what it must have heard before the first event."""
    source.listeners[socket.id] = socket
    return {"all": source.counts.get("all", 0), "room": source.counts.get("room", 0), socket.id: 0}


@io.on("end")
def end(socket: Socket) -> dict[str, int]:
    """Speak to it no more; tells how far the streams have come."""
    source.listeners.pop(socket.id, None)
    counts = {name: source.counts.get(name, 0) for name in ("all", "room", socket.id)}
    source.speak()  # so that something comes behind
    return counts


@io.on("times")
def times(socket: Socket) -> int:
    """How often it has come."""
    return socket.data["times"]


@io.on("say once")
def say_once(socket: Socket) -> None:
    socket.emit("once")
