"""Connection state recovery between our client and our server, over cables that are cut."""

import asyncio
import contextlib
import random
from typing import Any

import pytest

from client.conftest import OFFICIAL, QUICK, WAYS, until
from client.support.cable import Cable
from madang import Client, Recovery, Server, Socket


class Source:
    """Says numbers in all ways, and notes what each client should hear."""

    def __init__(self, io: Server) -> None:
        self.io = io
        self.number = 0
        self.kept: dict[str, Socket] = {}
        self.expected: dict[str, list[int]] = {}
        io.on("connection", self.met)

    def met(self, socket: Socket) -> None:
        if not socket.recovered:
            socket.join("room")
            self.kept[socket.id] = socket
            self.expected[socket.id] = []

    def next(self, *ids: str) -> int:
        self.number += 1
        for id_ in ids:
            self.expected[id_].append(self.number)
        return self.number

    def speak(self) -> None:
        ids = list(self.kept)
        self.io.emit("n", self.next(*ids))
        self.io.to("room").emit("n", self.next(*ids), b"\0\1")
        self.io.volatile.emit("volatile", "text")
        for id_, socket in self.kept.items():
            socket.emit("n", self.next(id_), "text at its end")
            others = [other for other in ids if other != id_]
            socket.broadcast.emit("n", self.next(*others))
            self.io.except_(id_).emit("n", self.next(*others))

    async def run(self) -> None:
        while True:
            self.speak()
            await asyncio.sleep(0.003)


@pytest.mark.parametrize("way", [*OFFICIAL, "shortpolling", "sse", "multipart upgrade"])
async def test_none_lost_none_twice_in_order(place: Any, way: str) -> None:
    dice = random.Random(7)
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(place(recovery=True))
        source = Source(here.io)
        cable = await stack.enter_async_context(Cable(here.port))
        heard: dict[str, list[int]] = {}
        clients: list[Client] = []
        for _ in range(3):
            client = Client(cable.url, transports=WAYS[way], **QUICK)
            numbers: list[int] = []

            def note(number: int, *args: object, numbers: list[int] = numbers) -> None:
                assert args in ((), (b"\0\1",), ("text at its end",)), "the offset is not the program's"
                numbers.append(number)

            client.on("n", note)
            client.on("volatile", lambda text: None)
            await stack.enter_async_context(client)
            assert client.id is not None
            heard[client.id] = numbers
            clients.append(client)
        ids = [client.id for client in clients]
        speaking = asyncio.create_task(source.run())
        for _ in range(10):
            await asyncio.sleep(dice.random() * 0.1)
            cable.cut()
            await until(lambda: all(client.connected for client in clients))
        await asyncio.sleep(0.05)
        await until(lambda: all(client.connected for client in clients))
        speaking.cancel()
        await until(lambda: all(heard[id_][-1:] == source.expected[id_][-1:] for id_ in heard))
        assert [client.id for client in clients] == ids
        # Between two short polls there is nothing to cut: a client may never have been lost.
        assert way == "shortpolling" or all(client.recovered for client in clients)
        assert heard == source.expected
        assert source.number > 100


async def test_a_client_that_got_nothing_yet_and_nothing_between(place: Any, way: str) -> None:
    async with (
        place(recovery=Recovery(max_disconnection_seconds=10)) as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=WAYS[way], **QUICK) as client,
    ):
        first = client.id
        for _ in range(5):
            await client.call("echo")
            while client.connected:
                cable.cut()
                await asyncio.sleep(0.01)
            await until(lambda: client.connected)
            assert client.id == first
            assert client.recovered


async def test_too_late(place: Any) -> None:
    async with (
        place(recovery=Recovery(max_disconnection_seconds=0.05)) as here,
        Cable(here.port) as cable,
        Client(
            cable.url, transports=["websocket"], reconnection_delay_seconds=0.5, reconnection_delay_max_seconds=0.5
        ) as client,
    ):
        first = client.id
        cable.cut()
        await until(lambda: not client.connected)
        await until(lambda: client.connected)
        assert client.id != first
        assert not client.recovered
