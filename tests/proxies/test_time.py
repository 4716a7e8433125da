"""Silence, and the end of connections, as proxies see and hand on them."""

import asyncio
import ssl

import pytest
from websockets.exceptions import ConnectionClosed

from faces.support.clients import CLIENTS, STREAMS, WebSocketClient
from proxies.support.real import ProxyProcess

pytestmark = pytest.mark.proxies

#: Longer than the time-outs of the sites "patient" (3 s) and "impatient" (1 s).
SILENCE_MILLISECONDS = 4_000
POLLS = ("polling", "jsonp")


async def wait_long(name: str, port: int, tls: ssl.SSLContext, gate: asyncio.Semaphore) -> str:
    """Wait for something that comes late, and tell how that went. The gate keeps handshakes short on a busy machine."""
    client = CLIENTS[name](port, tls=tls)
    async with gate:
        await client.start()
    try:
        await client.join()
        try:
            assert await client.call("slow echo", SILENCE_MILLISECONDS, "at last") == "at last"
        except AssertionError as error:
            return str(error.args[0].status)
        except (EOFError, ValueError, ConnectionClosed):  # a chunk, the size of a chunk or a frame that doesn't come
            return "cut"
        return "answered after pings" if client.pings else "answered"
    finally:
        await client.stop()


async def test_silence(real_nginx: ProxyProcess, real_haproxy: ProxyProcess, trusting: ssl.SSLContext) -> None:
    """For 4 s nobody says anything but pings, if it is time for one."""
    sites = [(proxy, site) for proxy in (real_nginx, real_haproxy) for site in ("patient", "impatient")]
    cells = [(proxy, site, name) for proxy, site in sites for name in CLIENTS]
    gate = asyncio.Semaphore(3)
    found = await asyncio.gather(*[wait_long(name, proxy[site], trusting, gate) for proxy, site, name in cells])
    # The proxy waits for 3 s, the server pings each second.
    patient = dict.fromkeys(CLIENTS, "answered after pings")
    # The proxy waits for 1 s, the server pings each 25 s: only who asks often is left alone.
    impatient = dict.fromkeys(CLIENTS, "cut") | dict.fromkeys(POLLS, "504") | {"shortpolling": "answered"}
    for start, (proxy, site) in enumerate(sites):
        each = dict(zip(CLIENTS, found[start * len(CLIENTS) :], strict=False))
        assert each == (patient if site == "patient" else impatient), (proxy.command, site)


async def be_closed(name: str, port: int, tls: ssl.SSLContext) -> str:
    """Be disconnected by the server."""
    async with CLIENTS[name](port, tls=tls) as client:
        await client.join()
        await client.emit("server close")
        if isinstance(client, WebSocketClient):
            return str(await client.closed())
        assert await client.hear() == "1"
        if name in STREAMS:
            with pytest.raises(EOFError):  # it ends, and without the packet that says that it goes on
                await client.hear()
        return "1"


async def test_the_end_of_a_session_passes(proxy: ProxyProcess, trusting: ssl.SSLContext) -> None:
    found = await asyncio.gather(*[be_closed(name, proxy["documented"], trusting) for name in CLIENTS])
    assert dict(zip(CLIENTS, found, strict=True)) == dict.fromkeys(CLIENTS, "1") | {"websocket": "1000"}
