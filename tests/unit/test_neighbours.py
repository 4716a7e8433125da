"""Servers of one process that talk to each other."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from madang import AckTimeout, EncodeError, LocalProtocolError, Server, WrongThreadError
from madang.core.relay import Relay


@pytest.fixture
async def servers() -> AsyncIterator[list[Server]]:
    """Three that are linked, and run."""
    made = [Server(ack_timeout_seconds=5) for _ in range(3)]
    made[0].link(made[1])
    made[1].link(made[2])
    for io in made:
        await io.start()
    yield made
    for io in made:
        await io.close()


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_all_others_hear_it(servers: list[Server]) -> None:
    heard: list[tuple[int, tuple[object, ...]]] = []
    for number, io in enumerate(servers):
        io.server_side_event("hello", lambda *args, number=number: heard.append((number, args)))
    servers[1].server_side_emit("hello", 1, {"two": b"\x00"})
    assert heard == [], "it comes in a later turn"
    await settled()
    assert heard == [(0, (1, {"two": b"\x00"})), (2, (1, {"two": b"\x00"}))]


async def test_answers(servers: list[Server]) -> None:
    servers[0].server_side_event("name", lambda: "zero")

    @servers[1].server_side_event("name")
    async def name() -> str:
        await asyncio.sleep(0.001)
        return "one"

    servers[2].server_side_event("name", lambda: pytest.fail("asked itself"))
    assert await servers[2].server_side_call("name") == ["zero", "one"]
    assert await servers[2].server_side_call("name", timeout=1) == ["zero", "one"]


async def test_an_answer_of_nothing_is_an_answer(servers: list[Server]) -> None:
    for io in servers:
        io.server_side_event("nothing", lambda: None)
    assert await servers[0].server_side_call("nothing") == [None, None]


@pytest.mark.parametrize("other", ["none", "fails", "unsendable", "late", "arguments", "types"])
async def test_partial_answers(servers: list[Server], other: str, caplog: pytest.LogCaptureFixture) -> None:
    servers[1].server_side_event("ask", lambda value: "here")

    async def answer(value: Any) -> Any:
        if other == "late":
            await asyncio.sleep(0.3)
        if other == "fails":
            raise ValueError("no")
        return object() if other == "unsendable" else "too late"

    def demanding(value: int, more: str) -> None: ...

    def typed(value: int) -> None: ...

    if other != "none":
        servers[2].server_side_event("ask", {"arguments": demanding, "types": typed}.get(other, answer))
    with pytest.raises(AckTimeout) as caught:
        await servers[0].server_side_call("ask", "x", timeout=0.1)
    assert caught.value.received == ["here"]
    assert caught.value.expected == 2
    assert ("the handler of the server-side event 'ask' failed" in caplog.text) == (other not in ("none", "late"))
    await asyncio.sleep(0.25 if other == "late" else 0)


async def test_alone() -> None:
    io = Server()
    await io.start()
    io.server_side_event("e", lambda: pytest.fail("said to itself"))
    io.server_side_emit("e")
    assert await io.server_side_call("e") == []
    io.link()
    assert await io.server_side_call("e") == []
    await io.close()


async def test_who_does_not_run_is_not_waited_for(servers: list[Server]) -> None:
    for io in servers:
        io.server_side_event("e", lambda: 1)
    servers[0].link(Server())
    assert await servers[0].server_side_call("e") == [1, 1]
    await servers[2].close()
    assert not servers[2].reachable
    assert await servers[0].server_side_call("e") == [1]
    await servers[2].start()
    assert await servers[0].server_side_call("e") == [1, 1]


async def test_namespaces(servers: list[Server]) -> None:
    heard: list[str] = []
    one, two, _ = servers
    two.server_side_event("e", lambda: heard.append("/"))
    two.of("/a").server_side_event("e", lambda: heard.append("/a"))
    two.of("/room-{id}").server_side_event("e", lambda: heard.append("pattern"))
    one.of("/a").server_side_emit("e")
    one.of("/unknown there").server_side_emit("e")
    one.of("/room-{id}").server_side_emit("e")
    one.of("/room-7").server_side_emit("e")
    await settled()
    assert heard == ["/a", "pattern", "pattern"]


async def test_values_are_copies(servers: list[Server]) -> None:
    @dataclass
    class Point:
        x: int

    got: list[Any] = []
    for io in servers[1:]:
        io.server_side_event("e", got.append)
    said = {"list": [1], "point": Point(2)}
    servers[0].server_side_emit("e", said)
    said["list"] = "changed later"
    await settled()
    assert got == [{"list": [1], "point": {"x": 2}}] * 2
    got[0]["list"].append(2)
    assert got[1]["list"] == [1]


async def test_a_handler_that_speaks_back_does_not_recurse(servers: list[Server]) -> None:
    count = 0

    def back(number: int, io: Server) -> None:
        nonlocal count
        count += 1
        if number < 500:
            io.server_side_emit("back", number + 1)

    for io in servers[:2]:
        io.server_side_event("back", lambda number, io=io: back(number, io))
    servers[0].server_side_emit("back", 0)
    while count < 500:
        await asyncio.sleep(0)


async def test_servers_in_other_threads() -> None:
    here, there = Server(), Server()
    here.link(there)
    ready, stop = threading.Event(), threading.Event()
    threads: list[object] = []

    async def run() -> None:
        await there.start()

        @there.server_side_event("where?")
        async def where() -> str:
            threads.append(threading.current_thread())
            [answer] = await there.server_side_call("and you?")
            return f"there, and {answer}"

        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.005)
        await there.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert await asyncio.to_thread(ready.wait, 5)
        await here.start()
        here.server_side_event("and you?", lambda: "here" if threading.current_thread() is not thread else "lost")
        assert await here.server_side_call("where?", timeout=5) == ["there, and here"]
        assert threads == [thread]
        with pytest.raises(WrongThreadError):
            there.server_side_emit("from the wrong thread")
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
    assert await here.server_side_call("where?") == [], "its event loop is closed"
    await here.close()


@pytest.mark.parametrize("name", ["connect", "connection", "new_namespace", "disconnect", "newListener"])
async def test_reserved_names(servers: list[Server], name: str) -> None:
    for use in (servers[0].server_side_emit, servers[0].server_side_call):
        with pytest.raises(LocalProtocolError, match="is reserved for the libraries"):
            use(name)
    with pytest.raises(LocalProtocolError, match="is reserved for the libraries"):
        servers[0].server_side_event(name, print)


async def test_misuse(servers: list[Server]) -> None:
    io = servers[0]
    for wrong in (1, None):
        with pytest.raises(LocalProtocolError, match="an event's name must be a string"):
            io.server_side_emit(wrong)  # type: ignore[arg-type]
    with pytest.raises(EncodeError):
        io.server_side_emit("e", object())
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(EncodeError, match="this can't be said to other servers"):
        io.server_side_emit("e", deep)
    with pytest.raises(LocalProtocolError, match="positive number of seconds"):
        io.server_side_call("e", timeout=0)
    io.server_side_event("once", print)
    with pytest.raises(LocalProtocolError, match='the server-side event "once" is handled by print already'):
        io.server_side_event("once", print)

    def keywords(*, a: int) -> None: ...

    with pytest.raises(LocalProtocolError, match="keyword-only"):
        io.server_side_event("e", keywords)


async def test_who_talks_in_another_way_can_not_be_linked(servers: list[Server]) -> None:
    class Other(Relay):
        def publish(self, namespace: str, data: Any, ack: Any) -> None:
            raise AssertionError("not asked")

    io = Server()
    io.hub.relay = Other()
    with pytest.raises(LocalProtocolError, match="talks to other servers over"):
        servers[0].link(io)
