"""The official client and the transports, as servers give them to pages."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

import madang
from faces.support.clients import PollingClient
from faces.support.http import Connection, request
from faces.support.inside import SERVING
from madang import Server
from support.server import ServerProcess

STATIC = Path(madang.__file__).parent / "browser" / "static"
FRIEND = "https://friend.example"
STRANGER = "https://stranger.example"
NAMES = ["transports.js", "transports.min.js", "transports.js.map", "socket.io.js", "socket.io.min.js"]
NAMES += ["socket.io.esm.min.js", "socket.io.msgpack.min.js", "socket.io.esm.min.js.map"]


@pytest.fixture(autouse=True, scope="module")
def built() -> None:
    if not (STATIC / "transports.js").exists():
        pytest.fail("the files for pages are not built: run `make assets`")


@pytest.mark.parametrize("name", NAMES)
async def test_files_as_they_are(server: ServerProcess, name: str) -> None:
    content = (STATIC / name).read_bytes()
    reply = await request(server.port, "GET", f"/socket.io/{name}")
    assert (reply.status, reply.body) == (200, content)
    kind = "application/json" if name.endswith(".map") else "text/javascript; charset=UTF-8"
    assert reply.header("content-type") == kind
    assert reply.header("content-length") == str(len(content))
    assert reply.header("x-content-type-options") == "nosniff"
    assert reply.header("content-encoding") is None


async def test_compressed(server: ServerProcess) -> None:
    reply = await request(server.port, "GET", "/socket.io/socket.io.js", headers={"Accept-Encoding": "br, gzip"})
    assert reply.header("content-encoding") == "gzip"
    assert gzip.decompress(reply.body) == (STATIC / "socket.io.js").read_bytes()
    assert "Accept-Encoding" in (reply.header("vary") or "")


async def test_what_a_page_has_already(server: ServerProcess) -> None:
    target = "/socket.io/transports.js?v=1"
    first = await request(server.port, "GET", target)
    tag = first.header("etag")
    assert tag is not None
    assert first.header("cache-control") == "no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = await request(server.port, "GET", target, headers={"If-None-Match": known})
        assert (again.status, again.body, again.header("etag")) == (304, b"", tag)
    other = await request(server.port, "GET", target, headers={"If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, first.body)


async def test_head(server: ServerProcess) -> None:
    async with Connection(server.port) as connection:
        connection.send("HEAD", "/socket.io/transports.js")
        reply = await connection.reply(head=True)
        assert reply.status == 200
        assert reply.header("etag") is not None
        if reply.header("connection") == "close":
            assert await connection.ended() == b""
        else:
            again = await connection.ask("GET", "/socket.io/transports.js")
            assert again.header("etag") == reply.header("etag")


async def test_pages_of_other_origins(server: ServerProcess) -> None:
    """Modules of other origins need the permission that the settings give; plain scripts say no origin."""
    friend = await request(server.port, "GET", "/socket.io/transports.js", headers={"Origin": FRIEND})
    assert (friend.status, friend.header("access-control-allow-origin")) == (200, FRIEND)
    stranger = await request(server.port, "GET", "/socket.io/transports.js", headers={"Origin": STRANGER})
    assert (stranger.status, stranger.header("access-control-allow-origin")) == (403, None)
    unsaid = await request(server.port, "GET", "/socket.io/transports.js")
    assert "Origin" in (unsaid.header("vary") or "")  # it may stand in a cache when the friend asks


@pytest.mark.parametrize(
    "path", ["/socket.io/other.js", "/transports.js", "/socket.io/../transports.js", "/socket.io/a/transports.js"]
)
async def test_other_names(server: ServerProcess, path: str) -> None:
    reply = await request(server.port, "GET", path)
    assert reply.status == 404
    assert reply.header("etag") is None


async def test_a_post_is_no_request_for_a_file(server: ServerProcess) -> None:
    reply = await request(server.port, "POST", "/socket.io/transports.js", "x")
    assert (reply.status, reply.json()["code"]) == (400, 0)


async def test_every_file_is_named_by_its_map_and_its_licence() -> None:
    assert "socket.io-client" in (STATIC / "LICENSES.txt").read_text()
    for script in STATIC.glob("*.js"):
        named = re.search(r"^//# sourceMappingURL=(\S+)\s*\Z", script.read_text(), re.MULTILINE)
        assert named is not None
        assert "sources" in json.loads((STATIC / named[1]).read_text())


@pytest.fixture(params=SERVING)
def serving(request: pytest.FixtureRequest) -> Any:
    return SERVING[request.param]


async def other(scope: Any, receive: Any, send: Any) -> None:
    """Another application, which answers everything."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"other"})


async def test_beside_another_application(serving: Any) -> None:
    async with serving(Server(path="/live").asgi(other)) as port:
        reply = await request(port, "GET", "/live/transports.js")
        assert reply.body == (STATIC / "transports.js").read_bytes()
        for target in ("/transports.js", "/socket.io/transports.js", "/live/else.js"):
            assert (await request(port, "GET", target)).body == b"other"


async def test_turned_off(serving: Any) -> None:
    async with serving(Server(serve_client=False).asgi(other)) as port:
        assert (await request(port, "GET", "/socket.io/socket.io.js")).body == b"other"
        async with PollingClient(port) as client:
            await client.join()


async def test_mounted(serving: Any) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = Starlette(routes=[Mount("/socket.io", Server().asgi()), Mount("/live", Server().asgi())])
    async with serving(app) as port:
        for target in ("/socket.io/transports.js", "/live/transports.js", "/live/socket.io/transports.js"):
            reply = await request(port, "GET", target)
            assert reply.body == (STATIC / "transports.js").read_bytes(), target
        assert (await request(port, "GET", "/live/else/transports.js")).status == 404
