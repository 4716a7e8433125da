"""Clients that come to the proxy by HTTP/2, as browsers do: everything over one connection."""

import asyncio
import ssl
from pathlib import Path

import pytest

from faces.support.clients import CLIENTS, PollingClient
from proxies.support.http2 import HTTP2, Lane, websocket
from proxies.support.real import ProxyProcess

pytestmark = pytest.mark.proxies

HTTP = [name for name in CLIENTS if name != "websocket"]


@pytest.fixture
def http2(proxy: ProxyProcess, certificate: tuple[Path, Path]) -> HTTP2:
    """A client's connection to the documented site."""
    tls = ssl.create_default_context(cafile=certificate[1])
    tls.set_alpn_protocols(["h2"])
    return HTTP2(proxy["documented"], tls)


async def test_all_over_one_connection(http2: HTTP2) -> None:
    async def lane() -> Lane:
        return Lane(http2)

    async def talk(name: str) -> None:
        client = CLIENTS[name](http2.port)
        assert isinstance(client, PollingClient)
        client.connection = lane  # type: ignore[method-assign]
        async with client:
            await client.join()
            for number in range(5):  # each comes before the next one is sent
                await client.emit("echo back", number)
                assert await client.event("echo back") == [number]
            await client.emit("burst", 100)
            assert [await client.event("burst") for _ in range(100)] == [[number] for number in range(100)]

    async with http2, asyncio.TaskGroup() as group:
        for name in HTTP:
            group.create_task(talk(name))


async def test_websocket(http2: HTTP2, proxy: ProxyProcess) -> None:
    """HAProxy takes WebSockets over HTTP/2; nginx doesn't offer them, so browsers use another connection."""
    async with http2:
        assert bool(http2.h2.remote_settings.enable_connect_protocol) == ("haproxy" in proxy.command[0])
        if "haproxy" in proxy.command[0]:
            frames = await websocket(http2, CLIENTS["websocket"](http2.port).target())
            hello = await frames.hear()
            assert isinstance(hello, str)
            assert hello.startswith('0{"sid"')
            frames.say("40")
            assert str(await frames.hear()).startswith('40{"sid"')
            for number in range(3):
                frames.say(f'42["echo back",{number}]')
                assert await frames.hear() == f'42["echo back",{number}]'
