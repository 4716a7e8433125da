"""What clients of tests expect, and what they say when it does not come."""

import asyncio
from dataclasses import dataclass

import pytest

from madang import AckTimeout, ConnectError, ConnectionRefused, Server, Socket
from madang.testing import TestClient, connect, running, settle


async def test_events_are_taken_by_name_and_others_are_left() -> None:
    io = Server()
    async with connect(io) as client:
        io.emit("a", 1)
        io.emit("b", 2)
        io.emit("a", 3)
        await client.expect("b", 2)
        await client.expect("a", 1)
        event = await client.next_event()
        assert (event.name, event.args) == ("a", (3,))
        await client.expect_nothing()
        assert client.received == [("a", 1), ("b", 2), ("a", 3)]


async def test_handlers_hear_them_too() -> None:
    io = Server()
    heard = []
    async with connect(io) as client:
        client.on("a", heard.append)
        io.emit("a", 1)
        await client.expect("a", 1)
        assert heard == [1]


async def test_questions_are_answered_by_hand() -> None:
    io = Server()
    async with connect(io) as client:
        asked = asyncio.ensure_future(_ask(client.socket))
        event = await client.next_event("question")
        event.acknowledge("yes")
        assert await asked == "yes"


async def _ask(socket: Socket) -> object:
    return await socket.call("question", timeout=5)


async def test_messages_tell_what_came_instead() -> None:
    io = Server()
    async with connect(io) as client:
        with pytest.raises(AssertionError, match=r'no event "x" came within 0.01 s; nothing else came$'):
            await client.next_event("x", timeout=0.01)
        io.emit("other", 1, "two")
        with pytest.raises(AssertionError, match=r"what came instead: other\(1, 'two'\)$"):
            await client.expect("x", timeout=0.01)
        with pytest.raises(AssertionError, match=r"expected other\(2\), but other\(1, 'two'\) came"):
            await client.expect("other", 2)
        for number in range(12):
            io.emit("many", number)
        with pytest.raises(AssertionError, match=r"this came: many\(0\), .* and 2 more"):
            await client.expect_nothing()
        with pytest.raises(AssertionError, match=r"many\(0\)"):
            await client.expect_nothing("many")
        await client.expect_nothing("x", seconds=0.01)
        with pytest.raises(AssertionError, match=r"the client was not disconnected within 0.01 s"):
            await client.wait_disconnect(timeout=0.01)
        client.disconnect()
        assert await client.wait_disconnect() == "io client disconnect"
        with pytest.raises(AssertionError, match=r"is disconnected for good \(io client disconnect\); what came"):
            await client.next_event("x")
        with pytest.raises(AssertionError, match=r"the client is not connected after 0.01 s; .*io client disconnect"):
            await client.wait_connect(timeout=0.01)
        with pytest.raises(AssertionError, match="the client is not connected"):
            _ = client.socket
        await client.connect()
        io.emit("x")
        await client.expect("x")


async def test_other_namespaces() -> None:
    io = Server()
    io.of("/admin").on("echo", lambda socket, text: text)
    async with connect(io, "/admin", {"token": 1}, address="10.0.0.7") as client:
        assert client.socket.namespace.name == "/admin"
        assert client.socket.handshake.auth == {"token": 1}
        assert client.socket.handshake.address == "10.0.0.7"
        root = client.of("/")
        await root.connect()
        root.socket.emit("hello")
        await root.expect("hello")
        assert client.of("/") is root
        await client.expect_nothing()
        assert await client.call("echo", "x") == "x"


async def test_refused() -> None:
    io = Server()

    @io.use
    def nobody(socket: Socket) -> None:
        raise ConnectionRefused("closed today")

    with pytest.raises(ConnectError, match="closed today"):
        async with connect(io):
            pass  # never reached
    async with running(io) as server:
        client = server.client()
        with pytest.raises(ConnectError, match="closed today"):
            await client.connect()
        await client.close()


async def test_a_server_lives_as_long_as_its_clients() -> None:
    io = Server()
    told = []
    io.on_start(lambda: told.append("start"))
    io.on_stop(lambda: told.append("stop"))
    async with connect(io):
        async with connect(io):
            assert told == ["start"]
        assert told == ["start"]
    assert told == ["start", "stop"]
    async with io, connect(io):
        pass
    assert told == ["start", "stop"] * 2


async def test_a_failing_handler_fails_the_test() -> None:
    io = Server()
    failure = ValueError("broken")

    @io.event
    async def fail(socket: Socket) -> None:
        await asyncio.sleep(0)
        raise failure

    async def play(**settings: object) -> TestClient:
        async with connect(io, **settings) as client:  # type: ignore[arg-type]
            client.emit("fail")
            await settle()
        return client

    with pytest.raises(AssertionError, match=r"a handler of the server has failed: ValueError\('broken'\)") as caught:
        await play()
    assert caught.value.__cause__ is failure
    await play(allow_errors=True)
    async with connect(io) as client:
        client.emit("fail")
        await settle()
        assert client.server is not None
        assert client.server.take_errors() == [failure]


async def test_a_failing_handler_is_named_where_a_test_fails_for_it() -> None:
    io = Server()

    @io.event
    def fail(socket: Socket) -> None:
        raise ValueError("broken")

    with pytest.raises(AckTimeout) as caught:
        async with connect(io) as client:
            await client.call("fail", timeout=0.05)
    assert caught.value.__notes__ == ["Before that, a handler of the server has failed: ValueError('broken')"]
    async with connect(io, allow_errors=True) as client:
        client.emit("fail")
        with pytest.raises(AssertionError, match=r"handlers of the server failed: ValueError\('broken'\)"):
            await client.next_event(timeout=0.05)


async def test_who_takes_errors_has_dealt_with_them() -> None:
    io = Server()
    io.on("fail", lambda socket: 1 / 0)
    io.on_error(lambda error, socket, event, args: {"error": str(error)})
    async with connect(io) as client:
        assert await client.call("fail") == {"error": "division by zero"}


async def test_errors_of_another_server_do_not_count() -> None:
    one, other = Server(), Server()
    one.on("fail", lambda socket: 1 / 0)
    async with running(other) as second:
        async with connect(one, allow_errors=True) as client:
            client.emit("fail")
            await settle()
            assert client.server is not None
            assert len(client.server.errors) == 1
        assert second.errors == []


async def test_crash_and_recovery() -> None:
    io = Server()
    left = []
    io.on("disconnect", lambda socket, reason: left.append(reason))
    io.on("echo", lambda socket, text: text)
    settings = {"reconnection_delay_seconds": 0.01}
    async with running(io) as server, server.client(**settings) as client, server.client(**settings) as other:
        first = client.id
        server.crash()
        assert await client.wait_disconnect() == "transport close"
        assert await other.wait_disconnect() == "transport close"
        await asyncio.sleep(0.05)
        assert not io.sockets
        assert not client.connected
        assert left == []  # nobody is there to hear it
        server.recover()
        await client.wait_connect()
        assert client.id != first
        assert await client.call("echo", "back") == "back"


async def test_a_polling_client_and_a_crash() -> None:
    io = Server()
    async with connect(io, transports=["polling"], reconnection_delay_seconds=0.01) as client:
        await settle()
        assert client.server is not None
        client.server.crash()
        assert await client.wait_disconnect() == "transport error"
        client.server.recover()
        await client.wait_connect()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_restart(transports: list[str]) -> None:
    io = Server()
    left = []
    io.on("disconnect", lambda socket, reason: left.append(reason))
    async with connect(io, transports=transports, reconnection_delay_seconds=0.01) as client:
        await settle()
        io.emit("last words")
        assert client.server is not None
        await client.server.restart()
        await client.expect("last words")
        await client.wait_disconnect()
        assert left == ["server shutting down"]
        await client.wait_connect()
        io.emit("again")
        await client.expect("again")


async def test_back_pressure() -> None:
    io = Server(max_buffered_bytes=10_000_000)
    async with connect(io) as client:
        for _ in range(100):
            client.socket.emit("chunk", b"x" * 10_000)
        drained = asyncio.ensure_future(_drain(client.socket))
        await asyncio.sleep(0)
        assert not drained.done()
        await drained
        await settle()
        assert len(client.received) == 100


async def _drain(socket: Socket) -> None:
    await socket.drain()


async def test_an_application_beside() -> None:
    io = Server()
    told = []

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        assert scope["type"] == "lifespan"
        assert (await receive())["type"] == "lifespan.startup"  # type: ignore[operator]
        told.append("up")
        await send({"type": "lifespan.startup.complete"})  # type: ignore[operator]
        await receive()  # type: ignore[operator]
        told.append("down")
        await send({"type": "lifespan.shutdown.complete"})  # type: ignore[operator]

    async with connect(io.asgi(app)) as client:  # type: ignore[arg-type]
        assert client.connected
        assert told == ["up"]
    assert told == ["up", "down"]


async def test_an_application_beside_that_fails_to_start() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        await receive()  # type: ignore[operator]
        await send({"type": "lifespan.startup.failed", "message": "no database"})  # type: ignore[operator]

    with pytest.raises(RuntimeError, match="no database"):
        async with connect(Server().asgi(app)):  # type: ignore[arg-type]
            pass  # never reached


async def test_many_clients() -> None:
    io = Server()

    @dataclass
    class Note:
        text: str

    async with running(io) as server:
        clients = [server.client() for _ in range(300)]
        await asyncio.gather(*(client.connect() for client in clients))
        assert len(io.sockets) == 300
        io.emit("note", Note("to all"))
        await settle()
        assert all(client.received == [("note", {"text": "to all"})] for client in clients)
        await asyncio.gather(*(client.close() for client in clients))
        assert not io.sockets


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_the_parser_of_the_server(parser: str) -> None:
    io = Server(parser=parser, path="/elsewhere")
    io.on("echo", lambda socket, *args: args)
    async with connect(io) as client:
        assert await client.call("echo", b"\0", 1.5) == (b"\0", 1.5)
