"""Requests that never get whole, and heads that are too large: what uvicorn sets no limit to."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from faces.support.clients import PollingClient
from faces.support.http import Connection, request
from integration.conftest import bystander

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
House = Callable[..., Any]


async def drip(connection: Connection, data: bytes, gap: float) -> None:
    """Send byte by byte, until the other side has had enough."""
    for position in range(len(data)):
        if connection.writer.is_closing():
            return
        connection.write(data[position : position + 1])
        await asyncio.sleep(gap)


async def test_a_head_that_never_gets_whole(fast_house: House) -> None:
    async with fast_house(header_timeout_seconds=0.3) as house, bystander(house):
        async with Connection(house.port) as slow:
            head = f"GET {HANDSHAKE} HTTP/1.1\r\nHost: x\r\nX-Slow: ".encode() + b"x" * 1000
            dripping = asyncio.create_task(drip(slow, head, 0.05))
            assert (await slow.reply(4)).status == 408
            assert await slow.ended() == b""
            dripping.cancel()
        assert house.logged("127.0.0.1", "never got whole", "header_timeout_seconds is 0.3")


async def test_a_connection_that_sends_nothing(fast_house: House) -> None:
    async with fast_house(header_timeout_seconds=0.3) as house, Connection(house.port) as silent:
        assert await silent.ended(4) == b""
        assert house.logged("never got whole", "header_timeout_seconds")


async def test_a_connection_that_sends_empty_lines_after_an_answer(fast_house: House) -> None:
    """They are no request, and must not keep it open."""
    async with fast_house(timeout_keep_alive=1) as house, Connection(house.port) as connection:
        assert (await connection.ask("GET", HANDSHAKE)).status == 200
        dripping = asyncio.create_task(drip(connection, b"\r\n" * 500, 0.1))
        assert await connection.ended(4) == b""
        dripping.cancel()


async def test_the_next_head_on_a_connection(fast_house: House) -> None:
    async with fast_house(header_timeout_seconds=0.3) as house, Connection(house.port) as connection:
        assert (await connection.ask("GET", HANDSHAKE)).status == 200
        connection.write(b"GET /socket.io/?")
        assert (await connection.reply(4)).status == 408


async def test_a_body_that_never_gets_whole(house: House) -> None:
    async with house(request_timeout_seconds=0.3) as house, bystander(house), PollingClient(house.port) as client:
        await client.join()
        client.posts.send("POST", client.target(sid=client.sid), "42", {"Content-Length": "100"})
        assert (await client.posts.reply(4)).status == 408
        assert await house.reason(client.id) == "transport error"
        assert house.logged("never got whole", "request_timeout_seconds is 0.3")


async def test_a_body_without_end(house: House) -> None:
    """Chunked, without a length: it is cut off at the limit."""
    async with (
        house(max_payload_bytes=10_000, request_timeout_seconds=2) as house,
        bystander(house),
        PollingClient(house.port) as client,
    ):
        await client.join()
        client.posts.send("POST", client.target(sid=client.sid), headers={"Transfer-Encoding": "chunked"})

        async def endless() -> None:
            while not client.posts.writer.is_closing():
                client.posts.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                await client.posts.writer.drain()
                await asyncio.sleep(0.005)

        sending = asyncio.create_task(endless())
        assert (await client.posts.reply(4)).status == 413
        sending.cancel()
        await asyncio.wait([sending])
        await client.fresh_posts()
        assert await client.call("echo", "still here") == "still here"
        assert house.logged("Payload too large", "max_payload_bytes is 10000")


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_head_that_is_too_large(fast_house: House, pieces: int) -> None:
    """However it comes."""
    async with fast_house(max_header_bytes=2000) as house, bystander(house):
        async with Connection(house.port) as connection:
            head = f"GET {HANDSHAKE} HTTP/1.1\r\nHost: x\r\nX-Large: ".encode() + b"x" * 3000
            if pieces == 1:
                connection.write(head + b"\r\n\r\n")
            else:
                connection.write(head[:1900])
                async with Connection(house.port) as other:  # a turn for the server
                    assert (await other.ask("GET", "/")).status == 404
                connection.write(head[1900:])
            assert (await connection.reply()).status == 431
            assert await connection.ended() == b""
        assert house.logged("max_header_bytes is 2000")
        assert (await request(house.port, "GET", HANDSHAKE, headers={"X-Fine": "x" * 1500})).status == 200


async def test_a_later_head_that_is_too_large(fast_house: House) -> None:
    async with fast_house(max_header_bytes=2000) as house, Connection(house.port) as connection:
        assert (await connection.ask("GET", HANDSHAKE)).status == 200
        connection.send("GET", HANDSHAKE, headers={"X-Large": "x" * 5000})
        assert (await connection.reply()).status == 431


async def test_a_websocket_with_a_head_that_is_too_large(fast_house: House) -> None:
    async with fast_house(max_header_bytes=2000) as house, Connection(house.port) as connection:
        fields = {"Connection": "Upgrade", "Upgrade": "websocket", "X-Large": "x" * 5000}
        connection.send("GET", "/socket.io/?EIO=4&transport=websocket", headers=fields)
        assert (await connection.reply()).status == 431


async def test_what_is_no_http(fast_house: House) -> None:
    async with fast_house() as house, bystander(house):
        for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"\x00" * 100, b"GET / HTTP/9.9\r\n\r\n"):
            async with Connection(house.port) as connection:
                connection.write(nonsense)
                assert (await connection.reply()).status == 400
                assert await connection.ended() == b""


async def test_a_large_upload_is_told_in_time(house: House) -> None:
    """A client that sends much before it reads still gets the answer that says why."""
    async with house(max_payload_bytes=10_000) as house, PollingClient(house.port) as client:
        await client.join()
        for _ in range(5):
            async with Connection(house.port) as connection:
                connection.send("POST", client.target(sid=client.sid), b"x" * 5_000_000)
                reply = await connection.reply()
                assert (reply.status, reply.json()["message"]) == (413, "Payload too large")


async def test_pipelined_requests(house: House) -> None:
    """Their answers come in their order."""
    async with house() as house, Connection(house.port) as connection:
        sid = json.loads((await connection.ask("GET", HANDSHAKE)).text[1:])["sid"]
        target = f"{HANDSHAKE}&sid={sid}"
        connection.send("POST", target, "40")
        connection.send("GET", target)
        connection.send("POST", target, '421["echo",1]')
        connection.send("GET", target)
        replies = [await connection.reply() for _ in range(4)]
        assert [reply.status for reply in replies] == [200] * 4
        assert [reply.text[:2] for reply in replies] == ["ok", "40", "ok", "43"]
