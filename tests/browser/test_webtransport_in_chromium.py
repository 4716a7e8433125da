"""WebTransport: the official client's browser build in headless Chromium, against a server in this event loop.

The page comes by plain HTTP from the loopback address, which browsers count as secure; it accepts the server's
certificate by its hash. No flag is needed.
"""

import asyncio
import json
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Error, Page

from madang import Client, Server, Socket, WebTransport, quic
from madang.faces import webtransport
from madang.faces.uvicorn import serve_async
from support.server import FACES, STOP_SECONDS, ServerProcess

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),  # one browser for all, with its event loop
    pytest.mark.usefixtures("node"),  # the client comes from npm
]

CLIENT = Path(__file__).parents[1] / "clients" / "node" / "node_modules" / "socket.io-client" / "dist"
SECONDS = 40
WAYS = [["webtransport"], ["polling", "webtransport"]]
PAGE = b"<!doctype html><meta charset=utf-8><title>Test</title>"

HELPERS = """
window.within = (promise, what) => Promise.race([
  promise,
  new Promise((_, reject) => setTimeout(() => reject(new Error(`not in time: ${what}`)), 30000)),
]);
window.begin = async (transports, hash, options = {}) => {
  const value = Uint8Array.from(atob(hash), (c) => c.charCodeAt(0));
  const serverCertificateHashes = [{ algorithm: "sha-256", value }];
  window.heard = [];
  window.socket = io({
    transports, reconnection: false, forceNew: true, transportOptions: { webtransport: { serverCertificateHashes } },
    ...options,
  });
  socket.on("n", (number, body) => heard.push([number, body.byteLength ?? body]));
  socket.on("disconnect", (reason) => { window.reason = reason; });
  await within(new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", (error) => reject(new Error(`${error.message}: ${error.description}`)));
  }), "connection");
};
window.moved = async () => {
  if (socket.io.engine.transport.name !== "webtransport") {
    await within(new Promise((resolve) => socket.io.engine.once("upgrade", resolve)), "upgrade");
  }
  return socket.io.engine.transport.name;
};
window.ask = (event, ...args) => within(
  new Promise((resolve) => socket.emit(event, ...args, (...reply) => resolve(reply))), `ack of ${event}`);
window.until = (test, what) => within((async () => {
  while (!test()) await new Promise((resolve) => setTimeout(resolve, 10));
})(), what);
"""


async def page_app(scope: Any, receive: Any, send: Any) -> None:
    """The page that is tested, and the client's bundle."""
    if scope["type"] != "http":
        return
    body, kind = PAGE, b"text/html"
    if scope["path"] == "/socket.io.js":
        body, kind = (CLIENT / "socket.io.min.js").read_bytes(), b"text/javascript"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


class World:
    """A server with WebTransport, and pages that know it."""

    def __init__(self, io: Server, beside: WebTransport, port: int, browser: Browser) -> None:
        self.io = io
        self.beside = beside
        self.port = port
        self.reasons: list[str] = []
        self._browser = browser
        io.on("disconnect", lambda socket, reason: self.reasons.append(reason))

    async def page(self) -> Page:
        context = await self._browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(SECONDS * 1000)
        await page.goto(f"http://127.0.0.1:{self.port}/")
        await page.add_script_tag(url="/socket.io.js")
        await page.add_script_tag(content=HELPERS)
        return page

    async def begin(self, page: Page, transports: list[str], **options: Any) -> None:

        hash_ = b64encode(self.beside.certificate_hash).decode()
        await page.evaluate(
            "([transports, hash, options]) => begin(transports, hash, options)", [transports, hash_, options]
        )

    async def until(self, test: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not test():
                await asyncio.sleep(0.01)


def application(**settings: Any) -> Server:
    io = Server(**{"transports": ["polling", "websocket", "webtransport"], **settings})
    io.on("echo", lambda socket, *args: args)

    @io.on("who")
    def who(socket: Socket) -> list[Any]:
        request = socket.handshake
        return [socket.transport, request.headers.get("origin"), request.query.get("transport"), request.auth]

    @io.on("ask me")
    async def ask_me(socket: Socket, value: Any) -> Any:
        return await socket.call("question", value)

    @io.on("leave")
    def leave(socket: Socket, count: int) -> None:
        for number in range(count):
            socket.emit("n", number, bytes(50_000))
        socket.disconnect(close=True)

    return io


@pytest.fixture(scope="module")
def process() -> Iterator[ServerProcess]:
    """The command, with its own page and the client that it serves."""
    settings = {"transports": ["polling", "websocket", "webtransport"]}
    with ServerProcess("uvicorn-fast", settings, options=["--webtransport"]) as server:
        yield server
        assert not server.tracebacks(), "\n".join(server.tracebacks())


@pytest.mark.skipif("uvicorn-fast" not in FACES, reason="the command is asked for")
async def test_the_command(browser: Browser, process: ServerProcess) -> None:
    """A page and a client in Python, by what the log says."""
    async with asyncio.timeout(SECONDS):  # it answers over TCP a moment before it listens for UDP
        while not (said := re.search(r"pages need (transportOptions: .*atob\('([^']+)'\).*)\n", process.log)):
            await asyncio.sleep(0.05)
    options, hash_ = said.groups()
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    await page.goto(process.url)
    await page.add_script_tag(url="/socket.io/socket.io.min.js")
    await page.add_script_tag(content=HELPERS)
    await page.evaluate(f"() => {{ window.socket = io({{ transports: ['polling', 'webtransport'], {options} }}); }}")
    assert await page.evaluate("() => until(() => socket.connected, 'connection').then(moved)") == "webtransport"
    assert await page.evaluate("() => ask('echo', '마당')") == ["마당"]
    hashes = [b64decode(hash_)]
    async with Client(process.url, transports=["webtransport"], certificate_hashes=hashes) as client:
        assert await client.call("echo", "마당") == "마당"
        assert process.stop() < STOP_SECONDS
    await page.evaluate("() => until(() => !socket.connected, 'goodbye')")
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def world(browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    io, beside = application(**getattr(request, "param", {})), WebTransport()
    async with serve_async(io.asgi(page_app), webtransport=beside) as port:
        yield World(io, beside, port, browser)
        for context in browser.contexts:
            for page in context.pages:
                await page.evaluate("() => { socket.disconnect(); }")  # else the server waits for it at its end
            await context.close()


@pytest.mark.parametrize("transports", WAYS, ids="+".join)
async def test_what_can_be_said(world: World, transports: list[str]) -> None:
    page = await world.page()
    await world.begin(page, transports, auth={"nick": "길동"})
    assert await page.evaluate("() => moved()") == "webtransport"
    first = None if transports == ["webtransport"] else "polling"
    origin = f"http://127.0.0.1:{world.port}" if first is None else None
    assert await page.evaluate("() => ask('who')") == [["webtransport", origin, first, {"nick": "길동"}]]

    values = [None, True, 0, -1.5, "", "어서 오세요 🎪 \u2028\u2029\n", [], {"a": [{}]}]
    assert await page.evaluate("(values) => ask('echo', ...values)", values) == values
    script = """async (size) => {
        const text = "가나다".repeat(size / 9), bytes = new Uint8Array(size - 1000).map((_, i) => i * 7);
        const said = [text.slice(0, -300), bytes, new Uint8Array(0), [new Uint8Array([0, 255])]];
        const [a, b, c, d] = await ask("echo", ...said);
        const same = a === said[0] && new Uint8Array(b).every((value, i) => value === bytes[i]);
        return [same, b.byteLength, c.byteLength, ...new Uint8Array(d[0])];
    }"""
    size = 999_000 if first is None else 300_000  # as much as a message may have, and more than a window
    assert await page.evaluate(script, size) == [True, size - 1000, 0, 0, 255]
    await page.evaluate("() => { socket.on('question', (value, reply) => reply([value, 'answer'])); }")
    assert await page.evaluate("() => ask('ask me', '질문')") == [["질문", "answer"]]
    script = """async () => {
        const asked = [];
        for (let i = 0; i < 300; i++) asked.push(ask("echo", i));
        return (await Promise.all(asked)).every(([value], i) => value === i);
    }"""
    assert await page.evaluate(script)
    assert world.reasons == []


async def test_nothing_is_lost_while_it_is_upgraded(world: World) -> None:
    """Numbered events go both ways, all the while."""
    page = await world.page()
    came: list[int] = []
    speaking = True

    async def speak(socket: Socket) -> None:
        number = 0
        while speaking:
            socket.emit("n", number, b"x" if number % 3 else "text")
            number += 1
            await asyncio.sleep(0.002)
        socket.emit("n", -1, number)

    world.io.on("connection", lambda socket: world.io.spawn(speak(socket)) and None)
    world.io.on("m", lambda socket, number: came.append(number))
    await world.begin(page, ["polling", "webtransport"])
    await page.evaluate("() => { let m = 0; window.talk = setInterval(() => socket.emit('m', m++), 2); }")
    assert await page.evaluate("() => moved()") == "webtransport"
    before = len(came)
    await world.until(lambda: len(came) > before + 50)
    await page.evaluate("() => clearInterval(talk)")
    speaking = False
    await page.evaluate("() => until(() => heard.at(-1)?.[0] === -1, 'the last')")
    heard = await page.evaluate("() => heard")
    assert [number for number, _ in heard[:-1]] == list(range(heard[-1][1]))
    assert came == list(range(len(came)))


@pytest.mark.parametrize("transports", WAYS, ids="+".join)
async def test_the_server_says_goodbye_behind_all_that_it_has_said(world: World, transports: list[str]) -> None:
    page = await world.page()
    await world.begin(page, transports)
    await page.evaluate("() => moved()")
    await page.evaluate("() => { socket.emit('leave', 8); }")
    await page.evaluate("() => until(() => window.reason, 'disconnect')")
    assert await page.evaluate("() => [reason, heard.length]") == ["io server disconnect", 8]
    await world.until(lambda: world.reasons == ["server namespace disconnect"])
    await world.until(lambda: not world.beside.connections_count)


async def test_the_client_goes(world: World) -> None:
    page = await world.page()
    await world.begin(page, ["webtransport"])
    await page.evaluate("() => { socket.disconnect(); }")
    # Its last packet and the end of the session race: browsers send the latter at once.
    await world.until(lambda: world.reasons)
    assert world.reasons[0] in ("client namespace disconnect", "transport close")
    await world.until(lambda: not world.beside.connections_count)


async def test_the_page_goes(world: World) -> None:
    page = await world.page()
    await world.begin(page, ["webtransport"])
    await page.close()
    await world.until(lambda: world.reasons == ["transport close"])
    await world.until(lambda: not world.beside.connections_count)


async def test_a_refused_origin(browser: Browser) -> None:
    io, beside = application(origins=["https://elsewhere.example"]), WebTransport()
    refusals: list[str] = []
    io.engine.on("connection_error", lambda error, request: refusals.append(error.message))
    async with serve_async(application().asgi(page_app)) as port, serve_async(io, webtransport=beside) as other:
        world = World(io, beside, port, browser)
        page = await world.page()
        hash_ = json.dumps(list(beside.certificate_hash))
        script = f"""() => within(new Promise((resolve, reject) => {{
            const serverCertificateHashes = [{{ algorithm: "sha-256", value: new Uint8Array({hash_}) }}];
            const socket = io("http://127.0.0.1:{other}", {{ transports: ["webtransport"], reconnection: false,
                transportOptions: {{ webtransport: {{ serverCertificateHashes }} }} }});
            socket.on("connect", resolve);
            socket.on("connect_error", reject);
        }}), "refusal")"""
        with pytest.raises(Error, match="webtransport error"):
            await page.evaluate(script)
        await page.context.close()
    assert refusals == ["Forbidden"]


async def test_where_udp_does_not_get_through(browser: Browser) -> None:
    """It is announced, but nobody answers: the client stays on what works, and loses nothing."""
    io, beside = application(), WebTransport()
    async with serve_async(io.asgi(page_app)) as port:
        io.engine.listening.add("webtransport")
        world = World(io, beside, port, browser)
        page = await world.page()
        await world.begin(page, ["polling", "webtransport", "websocket"])
        await page.evaluate("() => until(() => socket.io.engine.transport.name === 'websocket', 'upgrade')")
        assert await page.evaluate("() => ask('echo', 1)") == [1]
        only = await world.page()
        await world.begin(only, ["polling", "webtransport"])
        assert await only.evaluate("() => ask('echo', 2)") == [2]
        assert await only.evaluate("() => socket.io.engine.transport.name") == "polling"
        for one in (page, only):
            await one.context.close()


@pytest.mark.parametrize(
    "world", [{"ping_interval_seconds": 0.3, "ping_timeout_seconds": 20.0}], indirect=True, ids=["quick"]
)
async def test_heartbeat(world: World) -> None:
    page = await world.page()
    await world.begin(page, ["webtransport"])
    await page.evaluate("() => { window.pings = 0; socket.io.on('ping', () => pings++); }")
    await page.evaluate("() => until(() => pings === 2, 'two pings')")
    assert world.reasons == []


async def test_the_server_ends(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    # A browser that had no time for as long as the server waits would see a connection that is lost.
    monkeypatch.setattr(quic, "_CLOSE_TIMEOUT_SECONDS", SECONDS)
    monkeypatch.setattr(webtransport, "_CLOSE_SECONDS", SECONDS)
    io, beside = application(), WebTransport()
    async with serve_async(io.asgi(page_app), webtransport=beside) as port:
        world = World(io, beside, port, browser)
        page = await world.page()
        await world.begin(page, ["webtransport"])
    assert world.reasons == ["server shutting down"]
    await page.evaluate("() => until(() => window.reason, 'disconnect')")
    assert await page.evaluate("() => reason") in ("io server disconnect", "transport close")
    assert (beside.listening, io.engine.listening) == ([], set())
    await page.context.close()
