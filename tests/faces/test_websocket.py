"""WebSockets from the handshake to the close."""

import asyncio
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from faces.support.clients import PollingClient, WebSocketClient, dial
from faces.support.http import Connection, request
from support.server import ServerProcess

ALL_BYTES = bytes(range(256))
TARGET = "/socket.io/?EIO=4&transport=websocket"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_handshake(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        opened = dict(client.opened)
        assert len(opened.pop("sid")) == 20
        assert opened == {"upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 100_000}


async def test_the_answer_to_the_samples_key(server: ServerProcess) -> None:
    """RFC 6455, 1.3."""
    async with Connection(server.port) as connection:
        connection.send("GET", TARGET, headers=UPGRADE)
        reply = await connection.reply(head=True)
        assert reply.status == 101
        assert reply.header("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (reply.header("upgrade") or "").lower() == "websocket"
        assert (reply.header("connection") or "").lower() == "upgrade"
        assert reply.header("sec-websocket-extensions") is None
        assert reply.header("sec-websocket-protocol") is None


async def test_roundtrip(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        await client.emit("echo back", "마당", {"a": [1, None, 2.5]})
        assert await client.event("echo back") == ["마당", {"a": [1, None, 2.5]}]
        assert await client.call("echo", 1, "둘") == (1, "둘")


async def test_path_without_its_last_slash(server: ServerProcess) -> None:
    async with WebSocketClient(server.port, path="/socket.io") as client:
        await client.join()
        assert await client.call("echo", "here") == "here"


async def test_binary_both_ways(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        head = '["echo back",{"_placeholder":true,"num":0},"x",{"_placeholder":true,"num":1}]'
        await client.say(f"452-{head}", ALL_BYTES, b"")
        assert [await client.hear() for _ in range(3)] == [f"452-{head}", ALL_BYTES, b""]


async def test_binary_acknowledgement(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        await client.say('451-7["echo",{"_placeholder":true,"num":0}]', ALL_BYTES)
        assert [await client.hear() for _ in range(2)] == ['461-7[{"_placeholder":true,"num":0}]', ALL_BYTES]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 99_980])
async def test_messages_of_every_length_form(server: ServerProcess, size: int) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        assert await client.call("echo", "x" * size) == "x" * size


async def test_fragments(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        await client.ws.send(['42["echo ', 'back","가', '나"]'])
        assert await client.event("echo back") == ["가나"]


async def test_events_of_one_client_keep_their_order(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        for number in range(500):
            await client.emit("echo back", number)
        assert [await client.event("echo back") for _ in range(500)] == [[number] for number in range(500)]


async def test_a_ping_of_the_websocket_itself(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        async with asyncio.timeout(5):
            await (await client.ws.ping(b"are you there?"))


async def test_a_message_too_large(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        largest = '42["count","' + "x" * (100_000 - 14) + '"]'
        await client.say(largest)
        assert await client.call("echo", "still here") == "still here"
        await client.say(largest + " ")
        assert await client.closed(1.5) == 1009  # at once, although what follows can't be read any more
        assert (await watcher.event("gone"))[1] == "transport error"


async def test_a_binary_message_too_large(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        await client.say('451-["count",{"_placeholder":true,"num":0}]', b"x" * 100_001)
        assert await client.closed() == 1009


async def test_a_message_too_large_in_bytes_not_in_characters(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        await client.say('42["count","' + "가" * 40_000 + '"]')
        assert await client.closed() == 1009


async def test_what_is_no_packet(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        await client.say("9 is no packet")
        assert await client.closed() == 1002
        assert (await watcher.event("gone"))[1] == "parse error"


async def test_text_that_is_no_utf8(server: ServerProcess, watcher: WebSocketClient) -> None:
    if server.face == "uvicorn-websockets-sansio":
        pytest.skip("its protocol class fails with a traceback")
    async with WebSocketClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        await client.ws.send(b"\xff\xfe", text=True)
        code = await client.closed()
        if server.face == "uvicorn-fast":  # the others' own doing: some just cut the connection
            assert code == 1007
        assert (await watcher.event("gone"))[1] in ("transport error", "transport close")


async def test_several_clients_hear_a_broadcast(server: ServerProcess) -> None:
    async with (
        WebSocketClient(server.port) as one,
        WebSocketClient(server.port) as two,
        PollingClient(server.port) as three,
    ):
        for client in (one, two, three):
            await client.join()
            await client.call("join", "broadcast test")
        await one.emit("to room", "broadcast test", "news", "가", 1)
        assert await two.event("news") == ["가", 1]
        assert await three.event("news") == ["가", 1]
        assert await one.call("echo", "nothing for me") == "nothing for me"
        assert not one._skipped


# ---- refusals ----


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/socket.io/?EIO=4&transport=carrier-pigeon", 400, {"code": 0, "message": "Transport unknown"}),
        ("/socket.io/?EIO=4", 400, {"code": 0, "message": "Transport unknown"}),
        ("/socket.io/?EIO=4&transport=websocket&sid=nobody", 400, {"code": 1, "message": "Session ID unknown"}),
        ("/socket.io/?transport=websocket", 400, {"code": 5, "message": "Unsupported protocol version"}),
        ("/socket.io/?EIO=3&transport=websocket", 400, {"code": 5, "message": "Unsupported protocol version"}),
    ],
)
async def test_refused(server: ServerProcess, target: str, status: int, body: object) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with dial(server.port, target):
            pass
    response = refused.value.response
    assert (response.status_code, json.loads(response.body)) == (status, body)


async def test_refused_for_its_origin(server: ServerProcess) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with dial(server.port, TARGET, headers={"Origin": "https://stranger.example"}):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["https://friend.example", "HTTPS://Friend.Example"])
async def test_taken_for_its_origin(server: ServerProcess, origin: str) -> None:
    async with WebSocketClient(server.port, headers={"Origin": origin}) as client:
        await client.join()
        assert await client.call("echo", "hello") == "hello"


async def test_a_page_of_our_own(server: ServerProcess) -> None:
    async with WebSocketClient(server.port, headers={"Origin": f"http://127.0.0.1:{server.port}"}) as client:
        await client.join()
        assert await client.call("echo", "hello") == "hello"


async def test_the_transport_needs_an_upgrade(server: ServerProcess) -> None:
    reply = await request(server.port, "GET", TARGET)
    assert (reply.status, reply.json()) == (400, {"code": 3, "message": "Bad request"})


@pytest.mark.parametrize("version", ["12", "nonsense"])
async def test_another_version_of_websockets(server: ServerProcess, version: str) -> None:
    async with Connection(server.port) as connection:
        connection.send("GET", TARGET, headers={**UPGRADE, "Sec-WebSocket-Version": version})
        assert (await connection.reply()).status in (400, 426)


async def test_upgraded_sockets_cannot_be_upgraded(server: ServerProcess) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        async with dial(server.port, client.target(sid=client.sid)) as second:
            with pytest.raises(ConnectionClosed):
                await second.recv()
            assert await client.call("echo", "unharmed") == "unharmed"
