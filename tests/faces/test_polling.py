"""Long-polling, request by request."""

import asyncio
import json

from faces.support.clients import PollingClient, pack, unpack
from faces.support.http import Connection, request
from support.server import ServerProcess

ALL_BYTES = bytes(range(256))
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


async def test_handshake(server: ServerProcess) -> None:
    reply = await request(server.port, "GET", HANDSHAKE)
    assert reply.status == 200
    assert (reply.header("content-type") or "").lower() == "text/plain; charset=utf-8"
    assert reply.header("cache-control") == "no-store"
    assert reply.header("set-cookie") is None
    assert reply.text[0] == "0"
    opened = json.loads(reply.text[1:])
    assert len(opened.pop("sid")) == 20
    assert opened == {"upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 100_000}


async def test_ids_are_never_the_same_and_url_safe(server: ServerProcess) -> None:
    seen = set()
    for _ in range(20):
        async with PollingClient(server.port) as client:
            seen |= {client.sid, await client.join()}
    assert len(seen) == 40
    assert all(len(id_) == 20 and id_.replace("-", "").replace("_", "").isalnum() for id_ in seen)


async def test_roundtrip(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        await client.emit("echo back", "마당", {"a": [1, None, 2.5]})
        assert await client.event("echo back") == ["마당", {"a": [1, None, 2.5]}]
        assert await client.call("echo", 1, "둘") == (1, "둘")


async def test_path_without_its_last_slash(server: ServerProcess) -> None:
    async with PollingClient(server.port, path="/socket.io") as client:
        await client.join()
        assert await client.call("echo", "here") == "here"


async def test_a_poll_waits_for_an_event(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client, PollingClient(server.port) as other:
        await client.join()
        await other.join()
        client.begin_poll()
        await other.emit("broadcast", "news", 1)
        reply = await client.end_poll()
        assert reply.text == '42["news",1]'


async def test_a_turn_of_the_loop_makes_one_response(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        client.begin_poll()
        await client.emit("burst", 10)
        assert unpack((await client.end_poll()).text) == [f'42["burst",{number}]' for number in range(10)]


async def test_several_packets_in_one_post(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        await client.say(*(f'42["echo back",{number}]' for number in range(100)))
        assert [await client.event("echo back") for _ in range(100)] == [[number] for number in range(100)]


async def test_binary_both_ways(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        head = '["echo back",{"_placeholder":true,"num":0},"x",{"_placeholder":true,"num":1}]'
        await client.say(f"452-{head}", ALL_BYTES, b"")
        assert [await client.hear() for _ in range(3)] == [f"452-{head}", ALL_BYTES, b""]


async def test_binary_acknowledgement(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        await client.say('451-7["echo",{"_placeholder":true,"num":0}]', ALL_BYTES)
        assert [await client.hear() for _ in range(2)] == ['461-7[{"_placeholder":true,"num":0}]', ALL_BYTES]


async def test_attachments_in_later_posts(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        await client.say('452-["echo back",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]')
        await client.say(b"first")
        await client.say(b"second")
        assert [await client.hear() for _ in range(3)] == [
            '452-["echo back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
            b"second",
            b"first",
        ]


async def test_a_body_in_small_pieces(server: ServerProcess) -> None:
    """Whatever the pieces, also amid a character: the body is what counts."""
    async with PollingClient(server.port) as client:
        await client.join()
        body = '42["echo back","마당에 🎪"]'.encode()
        target = client.target(sid=client.sid)
        head = (
            f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        for position in range(len(head) + len(body)):
            client.posts.write((head + body)[position : position + 1])
            await client.posts.writer.drain()
        assert (await client.posts.reply()).text == "ok"
        assert await client.event("echo back") == ["마당에 🎪"]


async def test_a_chunked_body(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        client.posts.send("POST", client.target(sid=client.sid), headers={"Transfer-Encoding": "chunked"})
        for piece in ('42["echo ', 'back",', "1]"):
            client.posts.write(f"{len(piece):x}\r\n{piece}\r\n".encode())
        client.posts.write(b"0\r\n\r\n")
        assert (await client.posts.reply()).text == "ok"
        assert await client.event("echo back") == [1]


async def test_the_largest_payload_and_one_byte_more(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        largest = '42["count","' + "x" * (100_000 - 14) + '"]'
        assert len(largest) == 100_000
        assert (await client.post(largest)).status == 200
        reply = await client.post(largest + " ")
        assert reply.status == 413
        assert reply.json() == {"code": 3, "message": "Payload too large"}
        # the session is none the worse
        assert await client.call("echo", "still here") == "still here"


async def test_a_payload_too_large_without_a_length(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        client.posts.send("POST", client.target(sid=client.sid), headers={"Transfer-Encoding": "chunked"})
        for _ in range(11):
            client.posts.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        client.posts.write(b"0\r\n\r\n")
        assert (await client.posts.reply()).status == 413
        await client.fresh_posts()
        assert await client.call("echo", "still here") == "still here"


async def test_overlapping_polls_end_the_session(server: ServerProcess, watcher: object) -> None:
    async with PollingClient(server.port) as client, Connection(server.port) as second:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        client.begin_poll()
        await client.say('42["count",1]')  # answered after the poll was taken in
        reply = await second.ask("GET", client.target(sid=client.sid))
        assert (reply.status, reply.json()) == (400, {"code": 3, "message": "Bad request"})
        assert (await client.end_poll()).text == "1"
        assert (await watcher.event("gone"))[1] == "transport error"
        assert (await client.post("2")).json() == {"code": 1, "message": "Session ID unknown"}


async def test_many_clients_at_once(server: ServerProcess) -> None:
    async def one(number: int) -> None:
        async with PollingClient(server.port) as client:
            await client.join()
            assert await client.call("echo", number) == number

    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(one(number))


async def test_keep_alive(server: ServerProcess) -> None:
    """All of a session over one connection, one request after the other."""
    async with Connection(server.port) as connection:
        sid = json.loads((await connection.ask("GET", HANDSHAKE)).text[1:])["sid"]
        target = f"{HANDSHAKE}&sid={sid}"
        assert (await connection.ask("POST", target, "40")).text == "ok"
        assert (await connection.ask("GET", target)).text.startswith("40{")
        assert (await connection.ask("POST", target, pack(['42["echo back",1]', '42["echo back",2]']))).text == "ok"
        assert unpack((await connection.ask("GET", target)).text) == ['42["echo back",1]', '42["echo back",2]']
