"""Origins, the cookie, `allow_request`, and compression of WebSockets."""

import json
import os
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from faces.support.clients import DEFAULTS, PollingClient, RawWebSocket, WebSocketClient, dial
from faces.support.http import Connection, request
from madang import ConfigError, Cookie, Server

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
TARGET = "/socket.io/?EIO=4&transport=websocket"
House = Callable[..., Any]
PAGE = "https://example.org"


# ---- origins ----


@pytest.mark.parametrize("origin", [PAGE, "null", "http://127.0.0.1", "http://127.0.0.1:1"])
async def test_pages_of_other_origins_may_not_by_default(house: House, origin: str) -> None:
    async with house() as house:
        reply = await request(house.port, "GET", HANDSHAKE, headers={"Origin": origin})
        assert reply.status == 403
        assert reply.header("access-control-allow-origin") is None
        with pytest.raises(InvalidStatus) as refused:
            async with dial(house.port, TARGET, headers={"Origin": origin}):
                pass
        assert refused.value.response.status_code == 403
        assert len([line for line in house.lines() if repr(origin) in line and "`origins`" in line]) == 2
        assert not house.io.engine.sessions


@pytest.mark.parametrize("kind", DEFAULTS)
@pytest.mark.parametrize("origins", [[PAGE], [PAGE.upper() + "/"], ["https://a.example", PAGE], "*"])
async def test_pages_that_are_listed_may(house: House, kind: str, origins: Any) -> None:
    async with house(origins=origins) as house, DEFAULTS[kind](house.port, headers={"Origin": PAGE}) as client:
        await client.join()
        assert await client.call("echo", "hello") == "hello"
        if isinstance(client, PollingClient):
            allowed = "*" if origins == "*" else PAGE
            assert client.handshake.header("access-control-allow-origin") == allowed


@pytest.mark.parametrize("kind", DEFAULTS)
async def test_pages_of_our_own_and_no_pages_may(house: House, kind: str) -> None:
    async with house() as house:
        for headers in (
            {},
            {"Origin": f"http://127.0.0.1:{house.port}"},
            {"Origin": f"https://127.0.0.1:{house.port}"},
        ):
            async with DEFAULTS[kind](house.port, headers=headers) as client:
                await client.join()


async def test_pages_with_cookies(house: House) -> None:
    async with house(origins=[PAGE], cors_credentials=True) as house:
        reply = await request(house.port, "GET", HANDSHAKE, headers={"Origin": PAGE})
        assert reply.header("access-control-allow-origin") == PAGE
        assert reply.header("access-control-allow-credentials") == "true"


# ---- the cookie ----


async def test_cookie(house: House) -> None:
    cookie = Cookie("node", path="/live", same_site="none", secure=True, max_age_seconds=60)
    async with house(cookie=cookie) as house, PollingClient(house.port) as client:
        expected = f"node={client.sid}; Path=/live; Max-Age=60; HttpOnly; Secure; SameSite=None"
        assert client.handshake.header("set-cookie") == expected
        assert (await client.post("40")).header("set-cookie") is None


# ---- allow_request ----


async def test_allow_request(house: House) -> None:
    seen: list[str] = []

    def allow(request: Any) -> bool:
        seen.append(request.query["transport"])
        return request.headers.get("x-key") == "sesame"

    async with house(allow_request=allow) as house:
        reply = await request(house.port, "GET", HANDSHAKE)
        assert (reply.status, reply.json()) == (403, {"code": 4, "message": "Forbidden"})
        with pytest.raises(InvalidStatus) as refused:
            async with dial(house.port, TARGET):
                pass
        assert refused.value.response.status_code == 403
        assert house.logged("allow_request said no")
        assert seen == ["polling", "websocket"]
        seen.clear()
        for kind in DEFAULTS.values():
            async with kind(house.port, headers={"X-Key": "sesame"}) as client:
                await client.join()
                assert await client.call("echo", 1) == 1
        assert seen == ["polling", "websocket"]  # once for each client


async def test_allow_request_that_fails(house: House) -> None:
    """It lets nobody in, and its error is in the log."""

    def allow(request: Any) -> bool:
        raise KeyError("x-key")

    async with house(allow_request=allow) as house:
        assert (await request(house.port, "GET", HANDSHAKE)).status in (403, 500)
        with pytest.raises(InvalidStatus) as refused:
            async with dial(house.port, TARGET):
                pass
        assert refused.value.response.status_code in (403, 500)
        assert not house.io.engine.sessions
        assert house.logged("allow_request failed")


def test_allow_request_that_is_a_coroutine_function() -> None:
    """What it returns would be true whatever it thinks."""

    async def allow(request: Any) -> bool:
        return False

    with pytest.raises(ConfigError, match="allow_request"):
        Server(allow_request=allow)


# ---- permessage-deflate ----


async def test_compression_is_off_by_default(fast_house: House) -> None:
    async with fast_house() as house, Connection(house.port) as connection:
        assert await RawWebSocket(connection).open("permessage-deflate; client_max_window_bits") is None
        async with WebSocketClient(house.port, compression="deflate") as client:
            assert client.ws.protocol.extensions == []
            await client.join()
            assert await client.call("echo", "x" * 5000) == "x" * 5000


async def test_large_messages_are_compressed(fast_house: House) -> None:
    async with (
        fast_house(websocket_compression=True, websocket_compression_threshold_bytes=500) as house,
        Connection(house.port) as connection,
    ):
        ws = RawWebSocket(connection)
        assert (await ws.open("permessage-deflate; client_max_window_bits") or "").startswith("permessage-deflate")
        assert (await ws.hear())[0] is False  # the handshake is short
        ws.say("40")
        assert (await ws.hear())[0] is False
        text = "마당" * 200
        for target, expected in ((house.io, True), (house.io.compress(False), False)):
            target.emit("news", text)
            compressed, payload = await ws.hear()
            assert compressed is expected
            if compressed:
                assert len(payload) < 200
                payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            assert json.loads(payload[2:]) == ["news", text]
        house.io.emit("news", "x" * 480)
        assert (await ws.hear())[0] is False


async def test_who_offers_no_compression_gets_none(fast_house: House) -> None:
    async with fast_house(websocket_compression=True) as house, Connection(house.port) as connection:
        ws = RawWebSocket(connection)
        assert await ws.open("") is None
        await ws.hear()
        ws.say("40")
        await ws.hear()
        house.io.emit("news", "x" * 5000)
        assert (await ws.hear())[0] is False


async def test_compression_with_a_real_client(fast_house: House) -> None:
    async with (
        fast_house(websocket_compression=True) as house,
        WebSocketClient(house.port, compression="deflate") as client,
        WebSocketClient(house.port) as plain,
    ):
        assert [extension.name for extension in client.ws.protocol.extensions] == ["permessage-deflate"]
        for either in (client, plain):
            await either.join()
            for text in ("short", "마당 " * 1000, "x" * 100_000):
                assert await either.call("echo", text) == text
        data = os.urandom(50_000)
        await client.say('451-1["echo",{"_placeholder":true,"num":0}]', data)
        assert [await client.hear(), await client.hear()] == ['461-1[{"_placeholder":true,"num":0}]', data]
        house.io.emit("news", "y" * 10_000)
        for either in (client, plain):
            assert await either.event("news") == ["y" * 10_000]


async def test_a_bomb(fast_house: House) -> None:
    """What a few bytes inflate to counts."""
    async with (
        fast_house(websocket_compression=True) as house,
        WebSocketClient(house.port, compression="deflate") as client,
    ):
        await client.join()
        await client.say('42["echo","' + "x" * 50_000_000 + '"]')
        assert await client.closed() == 1009
        assert await house.reason(client.id) == "transport error"
