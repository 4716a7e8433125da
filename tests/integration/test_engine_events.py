"""Headers and refused requests over real connections, on both faces."""

from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from faces.support.clients import PollingClient, WebSocketClient
from faces.support.http import request
from madang import Request, RequestRefused, ResponseHeaders

House = Callable[..., Any]


def marked(io: Any) -> list[str]:
    told: list[str] = []

    @io.engine.on("initial_headers")
    def first(headers: ResponseHeaders, request: Request) -> None:
        told.append(f"initial {request.query['transport']}")
        headers["X-First"] = request.address
        headers.add("Set-Cookie", "a=1; Path=/")
        headers.add("Set-Cookie", "b=2; Path=/")

    @io.engine.on("headers")
    def each(headers: ResponseHeaders, request: Request) -> None:
        headers["X-Each"] = request.method

    return told


async def test_headers_over_polling(house: House) -> None:
    async with house(origins=["https://friend.example"]) as house:
        told = marked(house.io)
        target = "/socket.io/?EIO=4&transport=polling"
        hello = await request(house.port, "GET", target, headers={"Origin": "https://friend.example"})
        assert hello.status == 200
        assert hello.header("X-First") == "127.0.0.1"
        assert hello.header("X-Each") == "GET"
        assert [value for name, value in hello.headers if name == "set-cookie"] == ["a=1; Path=/", "b=2; Path=/"]
        preflight = await request(house.port, "OPTIONS", target, headers={"Origin": "https://friend.example"})
        assert (preflight.status, preflight.header("X-Each")) == (204, "OPTIONS")
        refused = await request(house.port, "GET", target + "&sid=nobody")
        assert (refused.status, refused.header("X-Each"), refused.header("X-First")) == (400, "GET", None)
        assert told == ["initial polling"]
        async with PollingClient(house.port) as client:
            await client.join()
            reply = await client.post('42["echo"]')
            assert (reply.header("X-Each"), reply.header("X-First")) == ("POST", None)


async def test_headers_of_a_websocket_s_handshake(house: House) -> None:
    async with house() as house:
        told = marked(house.io)
        async with WebSocketClient(house.port) as client:
            headers = client.ws.response.headers
            assert headers["X-First"] == "127.0.0.1"
            assert headers["X-Each"] == "GET"
            assert headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2; Path=/"]
            await client.join()
            assert await client.call("echo", "works") == "works"
        async with PollingClient(house.port) as polling, WebSocketClient(house.port, sid=polling.sid) as upgrade:
            assert upgrade.ws.response.headers["X-Each"] == "GET"
            assert "X-First" not in upgrade.ws.response.headers
        assert told == ["initial websocket", "initial polling"]


async def test_no_header_is_smuggled_in(house: House) -> None:
    async with house() as house:

        @house.io.engine.on("headers")
        def repeat(headers: ResponseHeaders, request: Request) -> None:
            headers["X-Name"] = request.query.get("name", "nobody")

        evil = "&name=a%0d%0aX-Evil:%201"
        reply = await request(house.port, "GET", f"/socket.io/?EIO=4&transport=polling{evil}")
        assert (reply.status, reply.header("X-Evil"), reply.header("X-Name")) == (200, None, None)
        async with WebSocketClient(house.port, query=evil) as client:
            assert "X-Evil" not in client.ws.response.headers
            await client.join()
        assert house.logged("the function for the engine's 'headers' failed")


async def test_connection_error(house: House) -> None:
    async with house() as house:
        told: list[tuple[Any, ...]] = []

        @house.io.engine.on("connection_error")
        def refused(error: RequestRefused, request: Request) -> None:
            told.append((error.code, error.message, error.context, request.query.get("transport"), request.address))

        await request(house.port, "GET", "/socket.io/?EIO=4&transport=polling&sid=nobody")
        with pytest.raises(InvalidStatus):
            async with WebSocketClient(house.port, headers={"Origin": "https://evil.example"}):
                pass
        with pytest.raises(InvalidStatus):
            async with WebSocketClient(house.port, sid="nobody"):
                pass
        assert told[0] == (1, "Session ID unknown", {"sid": "nobody"}, "polling", "127.0.0.1")
        assert told[1][:3] == (4, "Forbidden", {"name": "ORIGIN_NOT_ALLOWED", "origin": "https://evil.example"})
        assert told[2] == (1, "Session ID unknown", {"sid": "nobody"}, "websocket", "127.0.0.1")


async def test_a_handshake_that_is_none(fast_house: House) -> None:
    """Under an ASGI server such a request never reaches us."""
    async with fast_house() as house:
        told: list[Any] = []
        house.io.engine.on("connection_error", lambda error, request: told.append(error))
        marked(house.io)
        target = "/socket.io/?EIO=4&transport=websocket"
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        reply = await request(house.port, "GET", target, headers=headers)
        assert reply.status == 400
        assert reply.header("X-Each") == "GET"
        assert [(error.code, error.status, error.context) for error in told] == [
            (3, 400, {"name": "TRANSPORT_HANDSHAKE_ERROR"})
        ]
