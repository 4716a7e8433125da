"""What the HTTP transports do with those who mean no good: a clear error, a bound, and nobody else is harmed."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from faces.support.clients import CLIENTS, DEFAULTS, KINDS, PollingClient, SSEClient, WebSocketClient
from faces.support.http import Connection, request
from support.server import ServerProcess, selected_faces

HTTP = [name for name in CLIENTS if name != "websocket"]
FACES = [face for face in selected_faces() if face in ("uvicorn-fast", "uvicorn-websockets")]
MOST_STREAMS = 400
SETTINGS = {
    "transports": "all",
    "max_payload_bytes": 20_000,
    "max_unanswered_polls": MOST_STREAMS,
    "request_timeout_seconds": 1,
    "connect_timeout_seconds": 60,
}


@pytest.fixture(scope="module", params=FACES)
def strict(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with ServerProcess(request.param, SETTINGS, "faces.support.app:app") as server:
        yield server
        assert not server.tracebacks(), "\n".join(server.tracebacks())


@pytest.fixture
async def bystander(strict: ServerProcess) -> AsyncIterator[WebSocketClient]:
    """Somebody else, who has to be served at the end as at the beginning."""
    async with WebSocketClient(strict.port) as client:
        await client.join()
        yield client
        assert await client.call("echo", "still here") == "still here"


def memory(server: ServerProcess) -> int:
    """What the server's process takes of the machine, in bytes."""
    assert server.process is not None
    with open(f"/proc/{server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", HTTP)
async def test_endless_bodies(strict: ServerProcess, bystander: WebSocketClient, name: str) -> None:
    """A body that never ends is cut at the limit, whether it has told its length or not."""
    async with CLIENTS[name](strict.port) as client:
        target = client.target(sid=client.sid)
        async with Connection(strict.port) as connection:
            connection.write(f"POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            sent = 0
            try:
                while sent < 50_000_000 and not connection.reader._buffer:  # type: ignore[attr-defined]
                    connection.write(b"4000\r\n" + b"d=" + b"x" * 0x3FFE + b"\r\n")
                    await connection.writer.drain()
                    await asyncio.sleep(0)  # `drain` alone doesn't let an answer in
                    sent += 0x4000
                reply = await connection.reply()
            except ConnectionError:
                pass  # it is cut while we still send
            else:
                assert (reply.status, reply.json()) == (413, {"code": 3, "message": "Payload too large"})
            assert sent < 10_000_000
        reply = await request(strict.port, "POST", target, headers={"Content-Length": "1000000000"})
        assert reply.status in (400, 413)


@pytest.mark.parametrize("name", HTTP)
async def test_bodies_that_never_get_whole(strict: ServerProcess, bystander: WebSocketClient, name: str) -> None:
    async with CLIENTS[name](strict.port) as client, Connection(strict.port) as connection:
        connection.send("POST", client.target(sid=client.sid), headers={"Content-Length": "100"})
        connection.write(b"d=")
        assert (await connection.reply()).status == 408


@pytest.mark.parametrize("name", HTTP)
async def test_bodies_of_another_kind(strict: ServerProcess, bystander: WebSocketClient, name: str) -> None:
    async with CLIENTS[name](strict.port) as client:
        assert isinstance(client, PollingClient)
        kind = "application/octet-stream" if name != "jsonp" else "multipart/form-data; boundary=x"
        reply = await client.post(b"\0\1\2", {"Content-Type": kind})
        assert (reply.status, reply.json()["message"]) == (400, "Bad request")
        reply = await client.post("40")
        assert reply.status == 400, "the session is over"


async def test_forms_are_larger_than_what_they_carry(strict: ServerProcess) -> None:
    """A payload of the greatest size may be posted in any transport; one byte more in none."""
    for name in ("polling", "jsonp"):
        async with CLIENTS[name](strict.port) as client:
            await client.join()
            await client.say('42["count","' + "한" * 6662 + '"]')
            assert await client.call("echo", 1) == 1
            with pytest.raises(AssertionError, match="413"):
                await client.say('42["count","' + "한" * 6663 + '"]')


async def test_a_thousand_streams(strict: ServerProcess, bystander: WebSocketClient) -> None:
    """Half-open streams: as many as may be, and not one more; each costs little, and leaves nothing behind."""
    head = b"GET /socket.io/?EIO=4&transport=sse HTTP/1.1\r\nHost: x\r\n\r\n"

    async def open_one() -> tuple[Connection, int]:
        connection = await Connection(strict.port).__aenter__()
        connection.write(head)
        return connection, (await connection.reply(head=True)).status

    before = memory(strict)
    opened = await asyncio.gather(*[open_one() for _ in range(MOST_STREAMS + 100)])
    statuses = [status for _, status in opened]
    assert (statuses.count(200), statuses.count(503)) == (MOST_STREAMS, 100)
    assert memory(strict) - before < MOST_STREAMS * 100_000
    assert await bystander.call("echo", 1) == 1
    for connection, _ in opened:
        connection.reset()
    async with asyncio.timeout(20):
        while True:
            async with Connection(strict.port) as connection:
                connection.write(head)
                if (await connection.reply(head=True)).status == 200:
                    break
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", ["sse", "multipart", "iframe"])
async def test_a_post_that_makes_no_sense(strict: ServerProcess, bystander: WebSocketClient, name: str) -> None:
    """It is answered with an error, and the stream hears of the end."""
    async with CLIENTS[name](strict.port) as client:
        await client.join()
        assert isinstance(client, PollingClient)
        assert (await client.post("nonsense")).status == 400
        assert await client.hear() == "1"


async def test_polls_of_a_session_of_another_kind(strict: ServerProcess) -> None:
    async with SSEClient(strict.port) as client:
        for name in (*DEFAULTS, *KINDS, "shortpolling", "jsonp"):
            if name == "sse":
                continue
            more = "&j=1" if name == "jsonp" else ""
            reply = await request(strict.port, "GET", f"/socket.io/?EIO=4&transport={name}&sid={client.sid}{more}")
            assert (reply.status, reply.json()) == (400, {"code": 3, "message": "Bad request"})
        await client.join()
