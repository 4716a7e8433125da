"""The client by WebTransport: directly, and as an upgrade, against a server in the same event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from madang import Client, ConnectError, Server, Socket, WebTransport
from madang.faces.certificate import Certificate
from madang.faces.uvicorn import serve_async

SECONDS = 40
WAYS = [["webtransport"], ["polling", "webtransport"], ["polling", "websocket", "webtransport"]]


class House:
    """A server with WebTransport."""

    def __init__(self, io: Server, beside: WebTransport, port: int) -> None:
        self.io = io
        self.beside = beside
        self.url = f"http://127.0.0.1:{port}"
        self.reasons: list[str] = []
        io.on("disconnect", lambda socket, reason: self.reasons.append(reason))

    def client(self, transports: list[str], **settings: Any) -> Client:
        hashes = [self.beside.certificate_hash]
        return Client(self.url, **{"transports": transports, "certificate_hashes": hashes, **settings})


async def until(test: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not test():
            await asyncio.sleep(0.01)


def application() -> Server:
    io = Server(transports=["polling", "websocket", "webtransport"])
    io.on("echo", lambda socket, *args: args if len(args) != 1 else args[0])

    @io.on("leave")
    def leave(socket: Socket, count: int) -> None:
        for number in range(count):
            socket.emit("n", number, bytes(50_000))
        socket.disconnect(close=True)

    return io


@pytest.fixture
async def house() -> AsyncIterator[House]:
    io, beside = application(), WebTransport()
    async with serve_async(io, webtransport=beside) as port:
        yield House(io, beside, port)


@pytest.mark.parametrize("transports", WAYS, ids="+".join)
async def test_what_can_be_said(house: House, transports: list[str]) -> None:
    async with house.client(transports) as client:
        await until(lambda: client.manager.transport == "webtransport")
        values = [None, 0, "어서 오세요 🎪 \u2028", {"a": [{}]}, b"", b"\0\xff"]
        assert list(await client.call("echo", *values)) == values
        large = "x" * 300_000  # more than a window
        assert await client.call("echo", large) == large
        answers = await asyncio.gather(*(client.call("echo", number) for number in range(100)))
        assert answers == list(range(100))
    await until(lambda: house.reasons)
    await until(lambda: not house.beside.connections_count)


async def test_the_server_says_goodbye_behind_all_that_it_has_said(house: House) -> None:
    heard: list[int] = []
    async with house.client(["webtransport"], reconnection=False) as client:
        client.on("n", lambda number, body: heard.append(number))
        client.emit("leave", 10)
        await until(lambda: not client.connected)
    assert heard == list(range(10))


async def test_it_comes_back_after_the_server_did(house: House) -> None:
    async with house.client(["webtransport"], reconnection_delay_seconds=0.05) as client:
        first = client.id
        for session in list(house.io.engine.sessions.values()):
            session.close("transport close")
        await until(lambda: client.connected and client.id != first)
        assert await client.call("echo", 1) == 1


async def test_a_certificate_with_another_hash(house: House) -> None:
    with pytest.raises(ConnectError, match="none of the hashes"):
        async with house.client(["webtransport"], certificate_hashes=[bytes(32)]):
            pass


async def test_a_certificate_that_nobody_has_signed(house: House) -> None:
    with pytest.raises(ConnectError, match="no connection by QUIC"):
        async with house.client(["webtransport"], certificate_hashes=[]):
            pass


async def test_clients_that_reject_the_certificate_leave_nothing_behind() -> None:
    """The certificate is so large that it comes in several datagrams."""
    names = [f"host-{number}.example" for number in range(100)]
    beside = WebTransport(names=names, max_half_open_per_address=1, open_timeout_seconds=1000)
    async with serve_async(application(), webtransport=beside) as port:
        house = House(application(), beside, port)
        for hashes in ([bytes(32)], [], [bytes(32)]):
            with pytest.raises(ConnectError):
                async with house.client(["webtransport"], certificate_hashes=hashes):
                    pass
        async with house.client(["webtransport"]) as client:
            assert await client.call("echo", 1) == 1


async def test_a_certificate_that_is_trusted_by_its_file(tmp_path: Path) -> None:
    made = Certificate.make()
    certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"
    certfile.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    keyfile.write_bytes(made.key.private_bytes(serialization.Encoding.PEM, *kinds))
    beside = WebTransport(certfile=certfile, keyfile=keyfile)
    async with (
        serve_async(application(), webtransport=beside) as port,
        Client(f"http://127.0.0.1:{port}", transports=["webtransport"], ssl=certfile) as client,
    ):
        assert await client.call("echo", 1) == 1


async def test_never_past_a_proxy(house: House) -> None:
    with pytest.raises(ConnectError, match="through no HTTP proxy"):
        async with house.client(["webtransport"], proxy="http://127.0.0.1:9"):
            pass
    assert house.beside.connections_count == 0


async def test_the_wrong_path(house: House) -> None:
    with pytest.raises(ConnectError, match="status 404"):
        async with house.client(["webtransport"], path="/elsewhere/"):
            pass


async def test_nobody_listens(house: House) -> None:
    io = application()
    async with serve_async(io) as port:
        io.engine.listening.add("webtransport")
        ways = ["polling", "webtransport", "websocket"]
        async with Client(f"http://127.0.0.1:{port}", transports=ways, certificate_hashes=[bytes(32)]) as client:
            await until(lambda: client.manager.transport == "websocket")
            assert await client.call("echo", 1) == 1


async def test_nothing_is_lost_while_it_is_upgraded(house: House) -> None:
    came: list[int] = []
    house.io.on("m", lambda socket, number: came.append(number))
    heard: list[int] = []
    async with house.client(["polling", "webtransport"]) as client:
        client.on("n", heard.append)
        number = 0
        while client.manager.transport != "webtransport" or number < 300:
            client.emit("m", number)
            house.io.emit("n", number)
            number += 1
            await asyncio.sleep(0.001)
        await client.call("echo", 1)
        await until(lambda: len(heard) == number)
    assert came == heard == list(range(number))
