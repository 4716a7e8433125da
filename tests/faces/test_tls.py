"""TLS, with us or at a proxy before us."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from faces.support.clients import DEFAULTS, PollingClient, WebSocketClient
from faces.support.flash import FlashClient
from faces.support.inside import SERVING
from faces.test_mounting import make
from madang import Server
from madang.faces.link import Volley, WebSocketLink
from madang.faces.uvicorn import serve_async
from madang.packet import Encoded
from madang.rfc import ws
from madang.testing import EngineKit
from support.native import native


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert), "-days", "2"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=30)
    return key, cert


@pytest.fixture
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[1])


@pytest.fixture(params=SERVING)
def serving(request: pytest.FixtureRequest) -> Any:
    return SERVING[request.param]


async def test_tls(serving: Any, certificate: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    files = {"ssl_keyfile": str(certificate[0]), "ssl_certfile": str(certificate[1])}
    async with serving(make(), **files) as port:
        for kind in DEFAULTS.values():
            async with kind(port, tls=trusting) as client:
                await client.join()
                who = await client.call("who")
                assert (who["secure"], who["address"]) == (True, "127.0.0.1")
        async with WebSocketClient(port, tls=trusting) as client:
            await client.join()
            await client.say("1")
            assert await client.closed() == 1000


async def test_old_drafts_over_tls(certificate: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    io = Server(transports=["flashsocket"])
    io.on("secure", lambda socket: socket.handshake.secure)
    files = {"ssl_keyfile": str(certificate[0]), "ssl_certfile": str(certificate[1])}
    async with serve_async(io, **files) as port, FlashClient(port, tls=trusting) as client:
        assert client.location == f"wss://127.0.0.1:{port}/socket.io/?EIO=4&transport=flashsocket"
        await client.join()
        assert await client.call("secure") is True


async def test_large_messages_over_tls(serving: Any, certificate: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    files = {"ssl_keyfile": str(certificate[0]), "ssl_certfile": str(certificate[1])}
    io = make()
    io.on("echo", lambda socket, *args: args)
    async with serving(io, **files) as port:
        for kind in DEFAULTS.values():
            async with kind(port, tls=trusting) as client:
                await client.join()
                text = "마당" * 100_000
                assert await client.call("echo", text) == text


@contextlib.asynccontextmanager
async def proxy(port: int, certificate: tuple[Path, Path], added: str) -> AsyncIterator[int]:
    """Takes off TLS, and adds headers to each request that begins a connection."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate[1], certificate[0])

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        behind_reader, behind = await asyncio.open_connection("127.0.0.1", port)
        try:
            first = await reader.readline()
            behind.write(first + added.encode())
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, behind))
                group.create_task(copy(behind_reader, writer))
        except* OSError:
            pass
        finally:
            for end in (behind, writer):
                end.transport.abort()

    server = await asyncio.start_server(pump, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


FORWARDED = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.7\r\n"


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        ("127.0.0.1", ("203.0.113.7", True)),
        ("*", ("203.0.113.7", True)),
        ("10.0.0.1", ("127.0.0.1", False)),
        ("", ("127.0.0.1", False)),
    ],
)
async def test_a_proxy(
    serving: Any,
    certificate: tuple[Path, Path],
    trusting: ssl.SSLContext,
    trusted: str,
    expected: tuple[str, bool],
) -> None:
    """The address and TLS that a proxy tells are believed if the proxy is."""
    async with (
        serving(make(), forwarded_allow_ips=trusted) as port,
        proxy(port, certificate, FORWARDED) as public,
    ):
        for kind in (PollingClient, WebSocketClient):
            # the page is of the proxy's host, which it passes on
            headers = {"Host": f"localhost:{public}", "Origin": f"https://localhost:{public}"}
            async with kind(public, tls=trusting, headers=headers if kind is PollingClient else {}) as client:
                await client.join()
                who = await client.call("who")
                assert (who["address"], who["secure"]) == expected


async def test_a_chain_of_proxies(serving: Any) -> None:
    async with serving(make(), forwarded_allow_ips="127.0.0.1,10.0.0.0/8") as port:
        for kind in DEFAULTS.values():
            headers = {"X-Forwarded-For": "1.2.3.4, 203.0.113.7, 10.1.1.1", "X-Forwarded-Proto": "https"}
            async with kind(port, headers=headers) as client:
                await client.join()
                # the first address could be anyone's invention
                assert (await client.call("who"))["address"] == "203.0.113.7"


async def test_what_is_sent_past_transports_is_never_sent_past_tls(
    certificate: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate[1], certificate[0])
    loop = asyncio.get_running_loop()
    ends: list[Any] = []
    volley = Volley(lambda end: ends.append(end), None, native().send_many)
    accepted: asyncio.Queue[asyncio.Transport] = asyncio.Queue()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            accepted.put_nowait(transport)

    server = await loop.create_server(Accepting, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    engine = EngineKit().engine
    links, clients = [], []
    for _ in range(2):
        clients.append(await asyncio.open_connection("127.0.0.1", port, ssl=trusting))
        transport = await asyncio.wait_for(accepted.get(), 10)
        links.append(WebSocketLink(transport, loop, volley, engine, None, set(), lambda: None))
        transport.set_protocol(links[-1])
    packet = Encoded(("secret",))
    for link in links:
        link.write(packet)
    ends.pop()()
    for reader, writer in clients:
        assert await asyncio.wait_for(reader.readexactly(8), 10) == ws.text_frame("secret")
        writer.close()
    server.close()
    for link in links:
        link._transport.abort()
    await asyncio.sleep(0.01)
