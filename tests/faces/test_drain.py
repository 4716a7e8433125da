"""A server that is about to go sends its clients away bit by bit, and says to load balancers that it does."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from faces.support.clients import PollingClient, WebSocketClient, unpack
from faces.support.http import Connection, request
from madang import LocalProtocolError, Server, Socket
from madang.faces.uvicorn import serve_async

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


@pytest.fixture
async def io() -> Server:
    return Server(ping_interval_seconds=25)


@pytest.fixture
async def port(io: Server) -> AsyncIterator[int]:
    async with serve_async(io, health_path="/health") as port:
        yield port


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.005)


async def test_health_tells_of_readiness_and_clients(io: Server, port: int) -> None:
    reply = await request(port, "GET", "/health")
    assert (reply.status, reply.header("content-type"), reply.header("cache-control")) == (
        200,
        "application/json",
        "no-store",
    )
    alone = {"path": "/socket.io/", "ready": True, "clients": 0, "cluster": None}
    assert reply.json() == {"ready": True, "clients": 0, "servers": [alone]}
    async with WebSocketClient(port) as client:
        await client.join()
        assert (await request(port, "GET", "/health")).json()["clients"] == 1
    assert io.ready


async def test_clients_go_one_after_the_other_and_nobody_comes(io: Server, port: int) -> None:
    gone: list[tuple[str, float]] = []
    loop = asyncio.get_running_loop()

    @io.on("disconnect")
    def left(socket: Socket, reason: str) -> None:
        gone.append((reason, loop.time()))

    clients = [WebSocketClient(port) for _ in range(12)]
    for client in clients:
        await client.__aenter__()
        await client.join()
    draining = asyncio.create_task(io.drain(1.0))
    await until(lambda: gone)
    assert not io.ready

    refused = await request(port, "GET", HANDSHAKE)
    assert (refused.status, refused.header("retry-after"), refused.header("connection")) == (503, "1", "close")
    assert refused.json() == {"code": 4, "message": "Server is full", "retryAfterMs": 1000}
    async with Connection(port) as connection:
        answer = await connection.ask("GET", "/socket.io/?EIO=4&transport=websocket", headers=WEBSOCKET)
        assert (answer.status, answer.header("retry-after")) == (503, "1")
    assert (await request(port, "GET", "/health")).status == 503

    await io.drain(1.0)  # waits for the first
    await draining
    assert [reason for reason, _ in gone] == ["server shutting down"] * 12
    assert gone[-1][1] - gone[0][1] > 0.4
    for client in clients:
        assert await client.closed() == 1000  # no DISCONNECT: who is official comes back by itself
        await client.__aexit__(None, None, None)


async def test_who_polls_fetches_a_farewell(io: Server, port: int) -> None:
    async with PollingClient(port) as waiting, PollingClient(port) as between:
        await waiting.join()
        await between.join()
        waiting.begin_poll()
        await until(lambda: any(session._exchange for session in io.engine.sessions.values()))
        draining = asyncio.create_task(io.drain())
        assert unpack((await waiting.end_poll()).text) == ["1"]
        between.begin_poll()
        assert unpack((await between.end_poll()).text) == ["1"]
        await draining
        assert io.engine.clients_count == 0


async def test_a_server_that_does_not_run_can_not_drain() -> None:
    with pytest.raises(LocalProtocolError, match="running"):
        await Server().drain()


async def test_beside_other_applications_health_is_one_for_all() -> None:
    def page(request: object) -> PlainTextResponse:
        return PlainTextResponse("page")

    one, two = Server(), Server(path="/two/")
    app = one.asgi(two.asgi(Starlette(routes=[Route("/", page)])))
    async with serve_async(app, health_path="/health", root_path="/live") as port:
        assert (await request(port, "GET", "/")).text == "page"
        told = (await request(port, "GET", "/health")).json()
        assert [server["path"] for server in told["servers"]] == ["/socket.io/", "/two/"]
        await two.drain()
        reply = await request(port, "GET", "/health")
        assert reply.status == 503
        assert [server["ready"] for server in reply.json()["servers"]] == [True, False]


WEBSOCKET = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
