"""``python -m benchmarks.mixed``: what a room costs whose members are clients of several generations.

The same number of members in rooms of one generation and in a mixed one, over WebSocket and long-polling. What is
shown: the server's processor time for each delivery, and, counted by the server itself, how many encodings a broadcast
took: one for each generation in the room, however many members it has. Anything else is a failure, as is a delivery
that is missing or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import connect

from . import runner
from .peers import SERVERS, Peer

#: Comes once in each delivery, and is ASCII, so that it looks alike in all generations.
MARK = "tick-7f3a"
PAYLOAD = MARK + " 마당 " + "x" * 48
DEADLINE = 60.0


class LostError(Exception):
    """A delivery is missing, or there was one too many."""


class Member(asyncio.Protocol):
    """One connection that counts what it hears."""

    def __init__(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._buffer = b""
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._again = b""  # the request to repeat as soon as it is answered
        self._is_http = True
        self.transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._is_http and b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 101"):
                self._is_http, length = False, 0
            else:
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            if self._again:
                self.transport.write(self._again)
                self._heard(rest[:length].count(MARK.encode()))
            else:
                self._answers.put_nowait(rest[:length])
        if not self._is_http:
            if count := self._buffer.count(MARK.encode()):
                self._heard(count)
                self._buffer = self._buffer[self._buffer.rindex(MARK.encode()) + len(MARK) :]
            self._buffer = self._buffer[-len(MARK) :] if len(self._buffer) > len(MARK) else self._buffer

    async def ask(self, target: str, body: str | None = None, more: str = "") -> str:
        """Make a request; gives the body of the answer."""
        self.transport.write(_request(target, body, more))
        async with asyncio.timeout(DEADLINE):
            return (await self._answers.get()).decode()

    def listen(self, target: str) -> None:
        """Poll from now on."""
        self._again = _request(target)
        self.transport.write(self._again)

    async def upgrade(self, target: str) -> None:
        """Open a WebSocket."""
        fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        await self.ask(target, more=fields + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")

    def say(self, text: str) -> None:
        """Send a short message over the WebSocket."""
        data = text.encode()
        self.transport.write(bytes((0x81, 0x80 | len(data), 0, 0, 0, 0)) + data)


def _request(target: str, body: str | None = None, more: str = "") -> bytes:
    head = f"{'GET' if body is None else 'POST'} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}"
    if body is not None:
        head += f"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body or ''}".encode()


# ---------------------------------------------------------------- how each kind comes

ENGINE = "/socket.io/?EIO={}&transport={}&{}"


async def eio4(member: Member, transport: str, query: str) -> None:
    target = ENGINE.format(4, transport, query)
    if transport == "websocket":
        await member.upgrade(target)
        member.say("40")
        return
    target += "&sid=" + json.loads((await member.ask(target))[1:])["sid"]
    await member.ask(target, "40")
    member.listen(target)


async def eio3(member: Member, transport: str, query: str) -> None:
    target = ENGINE.format(3, transport, query) + "&b64=1"
    if transport == "websocket":
        await member.upgrade(target)
        return
    hello = await member.ask(target)
    member.listen(f"{target}&sid={json.loads(hello[hello.index('{') :])['sid']}")


async def sio1(member: Member, transport: str, query: str) -> None:
    sid = (await member.ask(f"/socket.io/1/?{query}")).partition(":")[0]
    if transport == "websocket":
        await member.upgrade(f"/socket.io/1/websocket/{sid}")
    else:
        target = f"/socket.io/1/xhr-polling/{sid}"
        await member.ask(target)
        member.listen(target)


COMES = {"eio4": eio4, "eio3": eio3, "sio1": sio1}


@dataclass(frozen=True)
class Room:
    """Who is in it: pairs of a generation and a transport, as many of each."""

    title: str
    kinds: tuple[tuple[str, str], ...]

    @property
    def generations(self) -> int:
        return len({generation for generation, _ in self.kinds})


ROOMS = [
    *(Room(f"{name} by {how}", ((name, how),)) for how in ("websocket", "polling") for name in COMES),
    Room("all three by websocket", tuple((name, "websocket") for name in COMES)),
    Room("all three by both", tuple((name, how) for how in ("websocket", "polling") for name in COMES)),
]


def serve(port: int) -> list[str]:
    script = Path(sys.executable).with_name("madang")
    listen = ("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning")
    return [str(script), "serve", "madang_mixed:io", *listen]


#: Madang's own path stays, where it isn't the installed one that is measured.
_PATH = os.pathsep.join(filter(None, (str(SERVERS), os.environ.get("PYTHONPATH"))))
PEER = Peer("Madang", serve, dict, environment={"PYTHONPATH": _PATH})


def cpu_seconds(pids: list[int]) -> float:
    """The processor time of processes: Linux has a clock for each."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


async def measure(port: int, pids: list[int], room: Room, members: int, seconds: float) -> dict[str, Any]:
    """Fill a room, and let broadcasts follow each other: the next one when all have heard the last one."""
    count, missing, done = members // len(room.kinds) * len(room.kinds), 0, asyncio.Event()

    def heard(times: int) -> None:
        nonlocal missing
        missing -= times
        if missing <= 0:
            done.set()

    loop = asyncio.get_running_loop()
    crowd = []
    for index in range(count):
        generation, transport = room.kinds[index % len(room.kinds)]
        _, member = await loop.create_connection(lambda: Member(heard), "127.0.0.1", port)
        await COMES[generation](member, transport, f"room={quote(room.title)}")
        crowd.append(member)
    async with (
        asyncio.timeout(DEADLINE + seconds),
        connect(f"ws://127.0.0.1:{port}{ENGINE.format(4, 'websocket', '')}", compression=None) as publisher,
    ):
        await publisher.send("40")
        await publisher.recv()
        await publisher.recv()

        async def ask(event: str, *arguments: Any) -> Any:
            await publisher.send(f"420{json.dumps([event, *arguments])}")
            return (json.loads(str(await publisher.recv())[3:]) or [None])[0]

        async def say() -> None:
            nonlocal missing
            missing += count
            done.clear()
            await ask("broadcast", room.title, PAYLOAD)
            await done.wait()

        for _ in range(3):
            await say()
        before, began, cpu = await ask("tally"), time.perf_counter(), cpu_seconds(pids)
        while time.perf_counter() < began + seconds:
            await say()
        cpu = cpu_seconds(pids) - cpu
        took = time.perf_counter() - began
        after = await ask("tally")
    for member in crowd:
        member.transport.abort()
    told = {name: after[name] - before[name] for name in after}
    if missing or told["deliveries"] != told["broadcasts"] * count:
        raise LostError(f"{room.title}: {missing} deliveries are missing; the server counts {told} for {count} members")
    if told["encodings"] != told["broadcasts"] * room.generations:
        raise LostError(f"{room.title}: {told} is not one encoding for each of {room.generations} generations")
    return {
        "room": room.title,
        "members": count,
        **told,
        "encodings_per_broadcast": told["encodings"] / told["broadcasts"],
        "cpu_us_per_delivery": cpu / told["deliveries"] * 1e6,
        "deliveries_per_second": told["deliveries"] / took,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed", description=__doc__)
    parser.add_argument("--members", type=int, default=600, metavar="N", help="in each room (default 600)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="how long each room is measured")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if options.members < max(len(room.kinds) for room in ROOMS):
        parser.error("fewer members than kinds")
    os.sched_setaffinity(0, {runner.cores()[1]})
    results = []
    with runner.running(PEER) as (port, pids, log):
        for room in ROOMS:
            try:
                one = asyncio.run(measure(port, pids, room, options.members, options.seconds))
            except (LostError, TimeoutError, OSError) as error:
                print(f"{room.title} FAILED: {error!r}\n{runner.tail(log)}", file=sys.stderr)
                return 1
            results.append(one)
            if not options.json:
                print(
                    f"{one['room']:24}{one['members']:5} members{one['encodings_per_broadcast']:3g} encodings each"
                    f"{one['cpu_us_per_delivery']:8.2f} µs CPU a delivery",
                    flush=True,
                )
    if options.json:
        print(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
