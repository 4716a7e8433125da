"""Our client against the official server from npm."""

import asyncio
from typing import Any

import pytest

from client.conftest import OFFICIAL, QUICK, WAYS, until
from client.support.cable import Cable
from client.support.nodejs import NodeServer
from madang import AckTimeout, Client, ConnectError, Disconnected, Reason
from support.matrix import matrix

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("node")]

VALUES: list[Any] = [None, True, 1, -5, 1.5, "마당 🙂", [], [1, [2]], {"a": {"b": None}}, b"", b"\x00\xff" * 500]


PARSERS = matrix(
    OFFICIAL, ["json", "msgpack"], usual=lambda way, parser: (parser == "json") == (way in ("polling", "upgrade"))
)


@pytest.fixture(params=OFFICIAL)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client_of(server: NodeServer | Cable, way: str, path: str = "", **settings: Any) -> Client:
    return Client(server.url + path, **{"transports": WAYS[way], **QUICK, **settings})


@pytest.mark.parametrize(("way", "parser"), PARSERS)
async def test_arguments_there_and_back(way: str, parser: str) -> None:
    async with NodeServer(parser=parser) as server, client_of(server, way, parser=parser) as client:
        assert await client.call("echo", *VALUES) == tuple(VALUES)
        assert await client.call("echo", {"deep": [b"a", {"b": b"c"}]}) == {"deep": [b"a", {"b": b"c"}]}
        events = client.events("echo back")
        client.emit("echo back", *VALUES)
        assert (await anext(events)).args == tuple(VALUES)
        client.on("double", lambda value: value * 2)
        client.on("many", lambda value: (value, b"x"))
        assert await client.call("ask me", "double", 21) == [42]
        assert await client.call("ask me", "many", 1) == [1, b"x"]
        if way == "upgrade":
            await until(lambda: client.manager.transport == "websocket")
            assert await client.call("transport") == "websocket"
        assert await client.call("echo", "x" * 500_000) == "x" * 500_000


async def test_namespaces_and_refusals(way: str) -> None:
    async with NodeServer() as server:
        with pytest.raises(ConnectError) as refused:
            async with client_of(server, way, auth={"refuse": [1]}):
                pytest.fail("let in")
        assert (refused.value.message, refused.value.data) == ("refused", {"why": [1]})
        async with client_of(server, way, auth=lambda: {"me": 1}) as client:
            assert await client.call("auth") == {"me": 1}
            private = client.of("/private", {"token": "secret"})
            assert await private.call("echo", b"1") == b"1"
            with pytest.raises(ConnectError, match="Invalid namespace"):
                await client.of("/nowhere").connect()
            private.disconnect()
            assert await client.call("echo", 1) == 1
            with pytest.raises(AckTimeout):
                await client.call("nobody", timeout=0.1)


@pytest.mark.parametrize(
    ("way", "event"),
    matrix(OFFICIAL, ["leave", "close", "kill"], usual=lambda way, event: way == "upgrade" or event == "leave"),
)
async def test_reasons(way: str, event: str) -> None:
    reason = Reason.TRANSPORT_CLOSE if event == "kill" else Reason.IO_SERVER_DISCONNECT
    async with NodeServer() as server, client_of(server, way) as client:
        reasons: list[str] = []
        client.on("disconnect", reasons.append)
        if way == "upgrade":
            await until(lambda: client.manager.transport == "websocket")
        asked = client.call("nobody")
        client.emit(event)
        with pytest.raises(Disconnected):
            await asked
        assert reasons == [reason]
        if event == "kill":
            await until(lambda: client.connected)
        else:
            await asyncio.sleep(0.2)
            assert not client.active


async def test_heartbeats(way: str) -> None:
    async with (
        NodeServer(options={"pingInterval": 100, "pingTimeout": 4000}) as server,
        client_of(server, way) as client,
    ):
        pings: list[None] = []
        client.manager.on("ping", lambda: pings.append(None))
        lost: list[str] = []
        client.on("disconnect", lost.append)
        await until(lambda: len(pings) > 10)
        assert not lost


async def test_the_server_knows_a_limit(way: str) -> None:
    async with NodeServer(options={"maxHttpBufferSize": 5000}) as server, client_of(server, way) as client:
        for number in range(100):
            client.emit("count", number)
            client.emit("echo back", "x" * 1000)
        assert await client.call("counted") == list(range(100))


@pytest.mark.parametrize(("way", "parser"), PARSERS)
async def test_recovery(way: str, parser: str) -> None:
    """Cut again and again, by numbers: none is lost, none comes twice, all in order."""
    heard: list[int] = []
    extra: list[Any] = []
    async with (
        NodeServer(recovery=True, parser=parser, options={"pingInterval": 500, "pingTimeout": 2500}) as server,
        Cable(server.port) as cable,
        client_of(cable, way, parser=parser) as client,
    ):
        client.on("number", lambda *args: (heard.append(args[0]), extra.append(args[1:])))
        recovered: list[bool] = []
        client.on("connect", lambda: recovered.append(client.recovered))
        rooms = await client.call("join", "room")
        await client.call("tick", "room", 0, 3)
        first = client.id
        for start in range(3, 103, 20):
            # The server restores only whom it knows to be gone. It sees that by the poll that waits; if the cut comes
            # between two polls, by its heartbeat, which takes longer.
            await until(lambda: way != "polling" or cable.unanswered == 1, 20)
            await asyncio.sleep(0.1)
            cable.refusing = True
            cable.cut()
            await until(lambda: not client.connected)
            await server.alone()
            server.tick(start, start + 20)
            cable.refusing = False
            await until(lambda: client.connected)
            assert client.id == first
        await until(lambda: len(heard) >= 103)
        assert heard == list(range(103))
        assert recovered == [True] * 5
        assert await client.call("rooms") == rooms
        # the offset that the server appends is no argument of the program's
        assert set(extra) == {()}


async def test_recovery_is_not_misled_by_volatile_events() -> None:
    """Volatile events have no offset: a text at their end is theirs, and must not be taken for one."""
    async with (
        NodeServer(recovery=True) as server,
        Cable(server.port) as cable,
        client_of(cable, "websocket") as client,
    ):
        events = client.events()
        await client.call("tick", client.id, 0, 1)
        client.emit("volatile", 1, "a text")
        await client.call("echo")
        assert (await anext(events)).args == (0,)
        assert (await anext(events)).args == (1, "a text")
        cable.cut()
        await until(lambda: not client.connected)
        server.tick(1, 2)
        assert (await anext(events)).args == (1,)
        assert client.recovered


async def test_a_session_that_is_forgotten(way: str) -> None:
    async with NodeServer(recovery=True) as server, client_of(server, way) as client:
        await client.call("tick", client.id, 0, 1)
        first = client.id
        await server.kill()
        await until(lambda: not client.connected)
        await server.start()
        await until(lambda: client.connected)
        assert not client.recovered
        assert client.id != first
        assert await client.call("echo", 1) == 1


async def test_retries_over_kills(way: str) -> None:
    """The server is killed in the midst: each number arrives, in order."""
    async with NodeServer() as server, client_of(server, way, retries=100, ack_timeout_seconds=1.0) as client:
        answers = [client.call("count", number) for number in range(100)]
        for _ in range(2):
            await asyncio.sleep(0.05)
            await server.kill()
            await until(lambda: not client.connected)
            await server.start()
        assert await asyncio.wait_for(asyncio.gather(*answers), 20) == list(range(100))
        counted = await client.call("counted")
        assert counted == list(range(100 - len(counted), 100))


async def test_retries_are_given_up() -> None:
    async with NodeServer() as server, client_of(server, "websocket", retries=2, ack_timeout_seconds=0.05) as client:
        sent: list[Any] = []
        client.on_any_outgoing(lambda event, *args: sent.append((event, *args)))
        vain, after = client.call("nobody", 1), client.call("count", 2)
        with pytest.raises(AckTimeout):
            await vain
        assert await after == 2
        assert sent == [("nobody", 1)] * 3 + [("count", 2)]
