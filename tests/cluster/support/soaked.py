"""The application of soaks: each server says numbers to all, and what clients want to be said.

Started by `madang serve`, it is told by the environment what to be; in the tests' own process it is `Voice`.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from madang import Cluster, Server, Socket

__all__ = ["Voice", "from_environment"]

ROOM = "courtyard"


class Voice:
    """A server that speaks. What happens to it is noted, as dictionaries with "at", "who" and "what".

    Args:
        io: the server.
        name: who it is; its process is told from others in the same place.
        note: is given what is to be remembered.
        pause_seconds: between two numbers.
    """

    def __init__(self, io: Server, name: str, note: Callable[[dict[str, Any]], None], pause_seconds: float) -> None:
        self.io = io
        self.name = name
        self.count = 0
        self._note = note
        self._pause_seconds = pause_seconds
        self._task: asyncio.Task[None] | None = None
        self._connected = True
        io.on_start(self.begin)
        io.on("connection", self._came)
        io.on("say", self._say)
        io.on("stop", self._stop)
        io.server_side_event("silence", self.silence)

    def begin(self) -> None:
        """The server has started, and is in a cluster by now."""
        cluster = self.io.cluster
        cluster.on("gap", lambda count, why: self.note("gap", count=count, why=why))
        cluster.on("down", lambda error: self.note("down", why=repr(error)))
        cluster.on("up", lambda: self.note("up"))
        cluster.on("joined", lambda peer: self.note("joined", peer=peer.name))
        cluster.on("left", lambda peer, why: self.note("left", peer=peer.name, why=why))
        cluster.on("malformed", lambda error: self.note("malformed", why=str(error)))
        self.note("start", pid=os.getpid())
        self._task = asyncio.create_task(self._speak())

    def note(self, what: str, **more: Any) -> None:
        self._note({"at": time.time(), "who": self.name, "what": what, **more})

    async def _speak(self) -> None:
        while True:
            self.say(self.name, self.count)
            self.count += 1
            connected = self.io.cluster.health.connected
            if connected is not self._connected:
                self._connected = connected
                self.note("health", connected=connected)
            await asyncio.sleep(self._pause_seconds)

    def say(self, who: str, number: int) -> None:
        self.io.to(ROOM).emit("n", who, number, time.time())

    def silence(self) -> None:
        """Say no more, and note how much was said."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self.note("silent", count=self.count)

    def _came(self, socket: Socket) -> None:
        if not socket.recovered:
            socket.join(ROOM)
        socket.emit("here", self.name)

    def _say(self, socket: Socket, who: str, number: int) -> str:
        self.say(who, number)
        return self.name

    def _stop(self, socket: Socket) -> None:
        self.silence()
        self.io.server_side_emit("silence")


def from_environment() -> Server:
    """The server of a process, as SOAK tells in JSON: cluster, pause_seconds, folder, and more settings."""
    told = json.loads(os.environ["SOAK"])
    name = f"{told.get('machine', 'worker')}:{os.getpid()}"
    notes = (Path(told["folder"]) / f"{name}.jsonl").open("a", buffering=1)

    def note(one: dict[str, Any]) -> None:
        notes.write(json.dumps(one) + "\n")

    settings = told.get("settings", {})
    if told.get("cluster"):
        settings["cluster"] = Cluster(told["cluster"], name=name, **told.get("cluster_settings", {}))
    io = Server(**settings)
    Voice(io, name, note, told["pause_seconds"])
    return io
