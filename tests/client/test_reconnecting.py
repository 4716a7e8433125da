"""Connections that are lost: cables that are cut, servers that are killed and started again."""

import asyncio
import itertools
from typing import Any

import pytest

from client.conftest import OFFICIAL, QUICK, WAYS, until
from client.support.cable import Cable
from madang import AckTimeout, Client, ConnectError, Disconnected, LimitError, Reason
from support.matrix import matrix
from support.server import ServerProcess, free_port


def watched(client: Client) -> list[Any]:
    """What happens to a client, in order."""
    told: list[Any] = []
    client.on("connect", lambda: told.append("connect"))
    client.on("disconnect", lambda reason: told.append(("disconnect", reason)))
    client.on("connect_error", lambda error: told.append("connect_error"))
    for name in ("open", "close", "reconnect_attempt", "reconnect", "reconnect_error", "reconnect_failed"):
        client.manager.on(
            name, lambda *args, name=name: told.append((name, *args)[: 2 if name != "reconnect_error" else 1])
        )
    return told


async def test_a_cut_cable(place: Any, way: str) -> None:
    async with place() as here, Cable(here.port) as cable, Client(cable.url, transports=WAYS[way], **QUICK) as client:
        told = watched(client)
        if way == "upgrade":
            await until(lambda: client.manager.transport == "websocket")
        first = client.id
        for number in range(4):
            client.emit("count", number)
            await client.call("echo")
            cable.cut()
            await until(lambda: not client.connected)
            assert client.id is None
            assert client.active
            client.emit("count", number + 100)  # waits
            await until(lambda: client.connected)
        assert client.id not in (None, first)
        assert await client.call("counted") == [0, 100, 1, 101, 2, 102, 3, 103]
        reason = told[1][1]
        assert told[:6] == [
            ("close", reason),
            ("disconnect", reason),
            ("reconnect_attempt", 1),
            ("open",),
            ("reconnect", 1),
            "connect",
        ]
        assert reason in (Reason.TRANSPORT_CLOSE, Reason.TRANSPORT_ERROR)


async def test_questions_and_a_cut_cable(place: Any) -> None:
    async with (
        place() as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=["websocket"], **QUICK) as client,
    ):
        asked = client.call("slow", 30)
        await client.call("echo")
        cable.cut()
        with pytest.raises(Disconnected):
            await asked
        assert not client.connected
        waits = client.call("echo", "late")
        in_vain = client.call("echo", "never", timeout=0.01)
        with pytest.raises(AckTimeout):
            await in_vain
        assert await waits == "late"


async def test_no_server_at_first(place: Any, way: str) -> None:
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}", transports=WAYS[way], **QUICK)
    told = watched(client)
    with pytest.raises(ConnectError) as error:
        await client.connect()
    assert not error.value.refused
    assert told == ["connect_error"]
    assert not client.active
    await asyncio.sleep(0.3)
    assert told == ["connect_error"]
    joining = asyncio.create_task(client.connect(retry=True))
    await until(lambda: told.count(("reconnect_error",)) == 2)
    async with place() as here, Cable(here.port, port):
        await joining
        assert await client.call("echo", 5) == 5
        await client.close()


async def test_giving_up(place: Any) -> None:
    async with (
        place() as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=["websocket"], reconnection_attempts=2, **QUICK) as client,
    ):
        told = watched(client)
        events = client.events()
        cable.refusing = True
        cable.cut()
        await until(lambda: ("reconnect_failed",) in told)
        assert [one[0] for one in told if one[0].startswith("reconnect")] == [
            "reconnect_attempt",
            "reconnect_error",
            "reconnect_attempt",
            "reconnect_error",
            "reconnect_failed",
        ]
        assert not client.active
        assert [event async for event in events] == []
        cable.refusing = False
        await client.connect()
        assert await client.call("echo", 1) == 1


async def test_without_reconnection(place: Any) -> None:
    async with (
        place() as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=["websocket"], reconnection=False, **QUICK) as client,
    ):
        told = watched(client)
        cable.cut()
        await until(lambda: not client.active)
        await asyncio.sleep(0.2)
        assert [one[0] for one in told] == ["close", "disconnect"]


async def test_the_server_disconnects(place: Any, way: str) -> None:
    async with place() as here, here.client(way) as client:
        told = watched(client)
        client.emit("leave")
        await until(lambda: not client.active)
        await asyncio.sleep(0.3)
        assert ("disconnect", Reason.IO_SERVER_DISCONNECT) in told
        assert "connect" not in told


async def test_reconnection_that_is_refused_is_final(place: Any) -> None:
    async with place() as here, Cable(here.port) as cable:
        token = {"token": "secret"}
        async with Client(cable.url + "/private", lambda: token, transports=["websocket"], **QUICK) as client:
            errors: list[ConnectError] = []
            client.on("connect_error", errors.append)
            token = {"token": "expired"}
            cable.cut()
            await until(lambda: not client.active)
            assert [(error.message, error.refused) for error in errors] == [("not authorised", True)]
            token = {"token": "secret"}
            await client.connect()


async def test_an_auth_function_that_fails_for_a_while(place: Any) -> None:
    async with place() as here, Cable(here.port) as cable:
        fails = 0

        async def auth() -> dict[str, str]:
            nonlocal fails
            if fails:
                fails -= 1
                raise OSError("no tokens today")
            return {"token": "secret"}

        async with Client(cable.url + "/private", auth, transports=["websocket"], **QUICK) as client:
            fails = 2
            cable.cut()
            await until(lambda: not client.connected)
            await until(lambda: client.connected)
            assert fails == 0
            assert await client.call("echo", 1) == 1


async def test_all_namespaces_come_back(place: Any) -> None:
    async with (
        place() as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=["websocket"], **QUICK) as client,
    ):
        private = client.of("/private", {"token": "secret"})
        await private.connect()
        left = client.of("/nowhere")
        await until(lambda: not left.active)
        cable.cut()
        await until(lambda: not private.connected)
        assert await private.call("echo", 1) == 1
        assert await client.call("echo", 2) == 2
        assert not left.active


async def test_a_silent_server(place: Any, way: str) -> None:
    async with (
        place(ping_interval_seconds=0.2, ping_timeout_seconds=1.0) as here,
        Cable(here.port) as cable,
        Client(cable.url, transports=WAYS[way], **QUICK) as client,
    ):
        told = watched(client)
        pings: list[None] = []
        client.manager.on("ping", lambda: pings.append(None))
        await until(lambda: len(pings) > 4)
        assert client.connected
        cable.silent = True
        await until(lambda: not client.connected)
        # The server misses the pong when the client misses the ping, and breaks off a stream: the cable passes that on.
        reasons = {Reason.PING_TIMEOUT, Reason.TRANSPORT_ERROR} if way == "sse" else {Reason.PING_TIMEOUT}
        assert any(("disconnect", reason) in told for reason in reasons)
        cable.silent = False
        await until(lambda: client.connected)


async def test_no_answer_at_all() -> None:
    """A server that takes the connection and says nothing."""

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for transports in WAYS.values():
            client = Client(f"http://127.0.0.1:{port}", transports=transports, connect_timeout_seconds=0.2)
            with pytest.raises(ConnectError, match=r"no connection within 0\.2 s"):
                await client.connect()
            await client.close()


async def test_the_offline_buffer_is_bounded(place: Any) -> None:
    async with place() as here:
        client = Client(here.url, transports=["websocket"], max_buffered_packets=3)
        for number in range(3):
            client.emit("count", number)
        with pytest.raises(LimitError, match="3 packets wait for a connection already"):
            client.emit("count", 3)
        async with client:
            assert await client.call("counted") == [0, 1, 2]


async def test_closing_while_it_tries() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}", **QUICK)
    joining = asyncio.create_task(client.connect(retry=True))
    await asyncio.sleep(0.2)
    await client.close()
    with pytest.raises(ConnectError, match="disconnected by the client itself"):
        await joining
    joining = asyncio.create_task(client.connect())
    await asyncio.sleep(0)
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    await client.close()
    assert not client.active


@pytest.mark.parametrize(
    ("way", "retries"),
    matrix([*OFFICIAL, "sse"], [0, 50], usual=lambda way, retries: (retries == 50) == (way in ("polling", "upgrade"))),
)
async def test_killed_and_started_again(way: str, retries: int) -> None:
    """Numbered events over kills: in order, and with retries none is lost."""
    heard: list[int] = []
    total = 40
    with ServerProcess(target="client.support.counting:io") as server:
        settings: dict[str, Any] = {**QUICK, "retries": retries, "ack_timeout_seconds": 1.0}
        async with Client(server.url, transports=WAYS[way], **settings) as client:
            client.on("number", heard.append)
            for number in range(total):
                client.emit("number", number)
                if number % 20 == 10:
                    await asyncio.to_thread(server.kill)
                    await until(lambda: not client.connected)
                    await asyncio.to_thread(server.start)
                await asyncio.sleep(0.01)
            await until(lambda: client.connected, 10)
            await until(lambda: heard and heard[-1] == total - 1, 20)
    if retries:
        # At least once: an event whose acknowledgement was lost comes again.
        assert sorted(set(heard)) == list(range(total))
        assert all(after in (before, before + 1) for before, after in itertools.pairwise(heard))
    else:
        assert heard == sorted(set(heard))
