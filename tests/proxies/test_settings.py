"""Settings of proxies, one at a time, that break something, or look as if they could."""

import asyncio
import json
import ssl
import zlib

import pytest

from faces.support.clients import CLIENTS, STREAMS, Client, StreamClient
from faces.support.http import DEADLINE, Connection, request
from proxies.support.real import ProxyProcess
from proxies.support.trials import carries

pytestmark = pytest.mark.proxies

HTTP = [name for name in CLIENTS if name != "websocket"]
#: What is held back comes never. This is how long we look.
LOOK_SECONDS = 1.5


# ---- buffering ----


async def test_nginx_that_ignores_our_header_buffers_streams(real_nginx: ProxyProcess) -> None:
    """`proxy_ignore_headers X-Accel-Buffering`: not even the first packet comes."""

    async def opens(name: str) -> bool:
        async with Connection(real_nginx["deaf"]) as connection:
            connection.send("GET", CLIENTS[name](real_nginx["deaf"]).target())
            try:
                async with asyncio.timeout(LOOK_SECONDS if name in STREAMS else DEADLINE):
                    await connection.reader.readuntil(b"maxPayload")
            except TimeoutError:
                return False
            return True

    found = await asyncio.gather(*[opens(name) for name in HTTP])
    assert dict(zip(HTTP, found, strict=True)) == {name: name not in STREAMS for name in HTTP}


async def test_haproxy_that_reads_requests_first(real_haproxy: ProxyProcess) -> None:
    """`option http-buffer-request` is about requests, and responses pass as before."""
    found = await carries(HTTP, real_haproxy["waiting"], tries=4)
    assert set(found) == set(HTTP)
    assert set(found.values()) <= {"yes", "0.2 s late"}


async def test_haproxy_that_closes_each_connection(real_haproxy: ProxyProcess) -> None:
    """`option httpclose`: slower, and nothing is lost."""
    found = await carries(CLIENTS, real_haproxy["closing"], tries=4)
    assert set(found) == set(CLIENTS)
    assert set(found.values()) <= {"yes", "0.2 s late"}


# ---- compression ----


class Unzipping:
    """Reads the chunks of a stream that is compressed on its way."""

    def __init__(self, client: StreamClient) -> None:
        self.client = client
        self.inflater = zlib.decompressobj(31)
        self.chunk = client.chunk

    async def __call__(self) -> bytes:
        while data := await self.chunk():
            if plain := self.inflater.decompress(data):
                return plain
        return b""


async def zipped(name: str, port: int) -> str | None:
    """A stream to somebody who takes gzip, each event of which comes before the next one is sent."""
    client = STREAMS[name](port, headers={"Accept-Encoding": "gzip"})
    begin, encodings = client._open_stream, []

    async def open_stream() -> None:
        await begin()
        encodings.append(client.handshake.header("content-encoding"))
        if encodings[-1] == "gzip":
            client.chunk = Unzipping(client)  # type: ignore[method-assign]

    client._open_stream = open_stream  # type: ignore[method-assign]
    async with client:
        client.headers = {}  # the answers to posts are of no interest
        await client.join()
        for number in range(3):
            await client.emit("echo back", number, "-" * 100)
            assert await client.event("echo back") == [number, "-" * 100]
    return encodings[0]


async def test_nginx_compresses_and_flushes(real_nginx: ProxyProcess) -> None:
    """Debian's `gzip on` is for HTML, so for iframes; `gzip_types *` is for all."""
    for site, compressed in (("default", {"iframe"}), ("gzip", set(STREAMS))):
        found = await asyncio.gather(*[zipped(name, real_nginx[site]) for name in STREAMS])
        assert {name for name, encoding in zip(STREAMS, found, strict=True) if encoding == "gzip"} == compressed


async def test_haproxy_leaves_what_must_not_be_transformed(real_haproxy: ProxyProcess) -> None:
    """`Cache-Control: no-transform` keeps it from compressing streams; polls it compresses."""
    found = await asyncio.gather(*[zipped(name, real_haproxy["compressing"]) for name in STREAMS])
    assert set(found) == {None}
    target = "/socket.io/?EIO=4&transport=polling"
    reply = await request(real_haproxy["compressing"], "GET", target, headers={"Accept-Encoding": "gzip"})
    assert json.loads(zlib.decompress(reply.body, 31)[1:])["sid"]


# ---- Host ----


async def test_host_without_its_port(real_nginx: ProxyProcess) -> None:
    """`$host`, as in Debian's proxy_params, is enough for pages at the port that their scheme has."""
    target = "/socket.io/?EIO=4&transport=polling"
    statuses = {}
    for host in ("example.org", "example.org:8443"):
        for scheme in ("http", "https"):
            headers = {"Host": host, "Origin": f"{scheme}://{host}"}
            statuses[f"{scheme}://{host}"] = (
                await request(real_nginx["params"], "GET", target, headers=headers)
            ).status
    assert statuses == {
        "http://example.org": 200,
        "https://example.org": 200,
        "http://example.org:8443": 403,
        "https://example.org:8443": 403,
    }


# ---- many at a time, over few connections to the server ----


async def test_requests_of_many_clients_share_connections(proxy: ProxyProcess, trusting: ssl.SSLContext) -> None:
    """Polls and posts of all cross over connections that are kept: nothing is lost, nothing changes places."""

    async def count(client: Client) -> None:
        async with client:
            await client.join()
            await client.emit("burst", 100)
            for number in range(50):
                await client.emit("count", number)
            assert [await client.event("burst") for _ in range(100)] == [[number] for number in range(100)]
            assert await client.call("counted") == list(range(50))

    async with asyncio.TaskGroup() as group:
        for name in CLIENTS:
            for _ in range(3):
                group.create_task(count(CLIENTS[name](proxy["documented"], tls=trusting)))
