"""HTTP requests that are refused, and what pages of other origins may do."""

import json

import pytest

from faces.support.clients import PollingClient
from faces.support.http import Connection, request
from support.server import ServerProcess

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
FRIEND = "https://friend.example"
STRANGER = "https://stranger.example"

UNKNOWN_TRANSPORT = {"code": 0, "message": "Transport unknown"}
UNKNOWN_SID = {"code": 1, "message": "Session ID unknown"}
BAD_METHOD = {"code": 2, "message": "Bad handshake method"}
BAD_REQUEST = {"code": 3, "message": "Bad request"}
FORBIDDEN = {"code": 4, "message": "Forbidden"}
UNSUPPORTED = {"code": 5, "message": "Unsupported protocol version"}


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/socket.io/", UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4", UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4&transport=", UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4&transport=tesseract", UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4&transport=constructor", UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4&transport=%ED%A0%80", UNKNOWN_TRANSPORT),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=", UNKNOWN_SID),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=nobody", UNKNOWN_SID),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=%00%0d%0aX%3A+1", UNKNOWN_SID),
        ("POST", "/socket.io/?EIO=4&transport=polling&sid=nobody", UNKNOWN_SID),
        ("POST", HANDSHAKE, BAD_METHOD),
        ("PUT", HANDSHAKE, BAD_METHOD),
        ("DELETE", HANDSHAKE, BAD_METHOD),
        ("GET", "/socket.io/?transport=polling", UNSUPPORTED),
        ("GET", "/socket.io/?EIO=3&transport=polling", UNSUPPORTED),
        ("GET", "/socket.io/?EIO=5&transport=polling", UNSUPPORTED),
        ("GET", "/socket.io/?EIO=4&transport=websocket", BAD_REQUEST),
    ],
)
async def test_refused(server: ServerProcess, method: str, target: str, body: object) -> None:
    reply = await request(server.port, method, target, "" if method in ("POST", "PUT") else None)
    assert (reply.status, reply.json()) == (400, body)
    assert reply.header("content-type") == "application/json"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_of_a_session(server: ServerProcess, method: str) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        reply = await request(server.port, method, client.target(sid=client.sid), "42")
        assert (reply.status, reply.json()) == (400, BAD_REQUEST)
        assert await client.call("echo", "unharmed") == "unharmed"


async def test_head_has_no_body(server: ServerProcess) -> None:
    """RFC 9110, 9.3.2: or the next response on the connection is misread."""
    async with Connection(server.port) as connection:
        connection.send("HEAD", HANDSHAKE)
        reply = await connection.reply(head=True)
        assert reply.status == 400
        if reply.header("connection") == "close":
            assert await connection.ended() == b""
        else:
            assert (await connection.ask("GET", HANDSHAKE)).text[0] == "0"


async def test_other_paths_go_to_the_other_application(server: ServerProcess) -> None:
    assert "Madang" in (await request(server.port, "GET", "/")).text
    for path in ("/socket.iox/", "/socket.io/x", "/x/socket.io/", "/socket"):
        assert (await request(server.port, "GET", f"{path}?EIO=4&transport=polling")).status == 404


async def test_a_post_without_a_body(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        assert (await client.post("")).status in (200, 400)


async def test_a_payload_that_is_no_utf8(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        reply = await client.post(b"\xff\xfe")
        assert reply.status == 400
        assert reply.json()["code"] == 3
        assert (await client.poll()).json() == UNKNOWN_SID


async def test_binary_bodies_are_of_older_generations(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        reply = await client.post(b"\x00\x04\xff4x", {"Content-Type": "application/octet-stream"})
        assert reply.status == 400


@pytest.mark.parametrize("payload", ["bnot base64!", "b=", "4", "40{", "42[", '42{"a":1}', "42[]", "42[null]", "2"])
async def test_broken_payloads(server: ServerProcess, payload: str) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        await client.post(payload)
        assert (await client.poll()).json() == UNKNOWN_SID


# ---- CORS ----


async def test_a_page_of_our_own(server: ServerProcess) -> None:
    reply = await request(server.port, "GET", HANDSHAKE, headers={"Origin": f"http://127.0.0.1:{server.port}"})
    assert reply.status == 200


async def test_a_friends_page(server: ServerProcess) -> None:
    async with PollingClient(server.port, headers={"Origin": FRIEND}) as client:
        assert client.handshake.header("access-control-allow-origin") == FRIEND
        assert client.handshake.header("access-control-allow-credentials") is None
        assert "Origin" in (client.handshake.header("vary") or "")
        reply = await client.post("40")
        assert (reply.text, reply.header("access-control-allow-origin")) == ("ok", FRIEND)
        reply = await client.poll()
        assert reply.header("access-control-allow-origin") == FRIEND
        # errors too, or the page could not read them
        reply = await request(server.port, "GET", "/socket.io/?EIO=4&transport=x", headers={"Origin": FRIEND})
        assert (reply.status, reply.header("access-control-allow-origin")) == (400, FRIEND)


@pytest.mark.parametrize("origin", [STRANGER, "null", "nonsense", "https://friend.example.evil.example", ""])
async def test_a_strangers_page(server: ServerProcess, origin: str) -> None:
    reply = await request(server.port, "GET", HANDSHAKE, headers={"Origin": origin})
    assert (reply.status, reply.json()) == (403, FORBIDDEN)
    assert reply.header("access-control-allow-origin") is None


async def test_a_stranger_can_not_use_the_session_of_another(server: ServerProcess) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        reply = await client.post('42["count",1]', {"Origin": STRANGER})
        assert (reply.status, reply.json()) == (403, FORBIDDEN)
        assert await client.call("counted") == []


async def test_preflight(server: ServerProcess) -> None:
    asked = {
        "Origin": FRIEND,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-token",
    }
    async with Connection(server.port) as connection:
        connection.send("OPTIONS", HANDSHAKE, headers=asked)
        reply = await connection.reply()
        assert reply.status == 204
        assert reply.header("access-control-allow-origin") == FRIEND
        assert {"GET", "POST"} <= set((reply.header("access-control-allow-methods") or "").split(", "))
        assert reply.header("access-control-allow-headers") == "content-type, x-token"
        # and the connection goes on
        assert (await connection.ask("GET", HANDSHAKE, headers={"Origin": FRIEND})).text[0] == "0"


async def test_a_strangers_preflight(server: ServerProcess) -> None:
    reply = await request(
        server.port, "OPTIONS", HANDSHAKE, headers={"Origin": STRANGER, "Access-Control-Request-Method": "POST"}
    )
    assert reply.status == 403
    assert reply.header("access-control-allow-origin") is None


async def test_compression_of_polls(server: ServerProcess) -> None:
    """From 1,024 bytes, for clients that take it; never the handshake of one that does not."""
    import gzip

    async with PollingClient(server.port) as client:
        await client.join()
        text = "마당 " * 500
        client.headers["Accept-Encoding"] = "br;q=1.0, gzip;q=0.8"
        await client.emit("echo back", text)
        reply = await client.poll()
        assert reply.header("content-encoding") == "gzip"
        assert "Accept-Encoding" in (reply.header("vary") or "")
        assert len(reply.body) < 1000
        assert json.loads(gzip.decompress(reply.body)[2:]) == ["echo back", text]

        await client.emit("echo back", "short")
        reply = await client.poll()
        assert (reply.header("content-encoding"), reply.text) == (None, '42["echo back","short"]')

        for accepted in ("gzip;q=0", "identity", ""):
            client.headers["Accept-Encoding"] = accepted
            await client.emit("echo back", text)
            reply = await client.poll()
            assert reply.header("content-encoding") is None
            assert json.loads(reply.text[2:]) == ["echo back", text]
