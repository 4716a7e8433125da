"""The Flash film of Socket.IO 0.9, played by Ruffle, carries today's official client.

The film, `WebSocketMain.swf`, and the script that drives it, web-socket-js, are those of the npm package
socket.io-client 0.9.17, unchanged. The script gives the page a class `WebSocket` whose sockets the film opens; the
official client's own WebSocket transport runs on that, under the name "flashsocket".

What is ours here stands in for the player: Ruffle can't open TCP connections, so a relay does that for it, byte by
byte; and browsers of today don't take null for the ports of a message, so one method of the script is replaced.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from support.server import FACES, ServerProcess

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("node"),
    pytest.mark.skipif("uvicorn-fast" not in FACES, reason="the fast face alone speaks the film's draft"),
]

BEFORE = """
window.NativeWebSocket = window.WebSocket;
window.WebSocket = undefined;
window.RufflePlayer = { config: {
  publicPath: "/ruffle/", allowScriptAccess: true, autoplay: "on", unmuteOverlay: "hidden", splashScreen: false,
  logLevel: "warn", socketProxy: [{ host: "127.0.0.1", port: PORT, proxyUrl: "PROXY" }],
} };
window.WEB_SOCKET_SWF_LOCATION = "/old/WebSocketMain.swf";
"""

AFTER = """
const Film = window.WebSocket;
window.WebSocket = function (url, ...more) {
  return url.startsWith("PROXY") ? new NativeWebSocket(url, ...more) : new Film(url, ...more);
};
Object.assign(window.WebSocket, Film);
window.WebSocket.prototype = Film.prototype;
Film.prototype.__createMessageEvent = (type, data) => new MessageEvent(type, { data });
window.opened = [];
window.WebSocket.__initialize();
const { io, WebSocket: Base } = await import("/client/socket.io.esm.min.js");
class FlashSocket extends Base {
  constructor(options) { super(options); this.supportsBinary = false; }
  get name() { return "flashsocket"; }
  createSocket(uri) { const one = new Film(uri); opened.push(one); return one; }
}
window.open_ = (url) => new Promise((resolve, reject) => {
  window.socket = io(url, { transports: [FlashSocket], reconnection: false, forceNew: true, timeout: 60000 });
  socket.once("connect", () => resolve(socket.id));
  socket.once("connect_error", reject);
});
window.next = (event) => new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
window.ask = (event, ...args) => new Promise((resolve) => socket.emit(event, ...args, (...reply) => resolve(reply)));
window.ready = true;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """The fast face, with FlashSocket."""
    with ServerProcess("uvicorn-fast", {"transports": ["polling", "flashsocket"]}, "support.film:app") as server:
        yield server
        assert not server.tracebacks(), "\n".join(server.tracebacks())


@contextlib.asynccontextmanager
async def relay(port: int) -> AsyncIterator[str]:
    """Lets a page speak TCP to a port: the binary messages of a WebSocket are the bytes, both ways."""

    async def carry(ws: ServerConnection) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def back() -> None:
            while data := await reader.read(65_536):
                await ws.send(data)
            await ws.close()

        answers = asyncio.create_task(back())
        try:
            async for message in ws:
                assert isinstance(message, bytes)
                writer.write(message)
                await writer.drain()
        except ConnectionError:
            pass  # the server has ended first
        finally:
            writer.close()
            with contextlib.suppress(ConnectionClosed, ConnectionError):
                await answers

    async with serve(carry, "127.0.0.1", 0, max_size=None, compression=None) as listening:
        yield f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def film(browser: Browser, server: ServerProcess) -> AsyncIterator[Page]:
    """A page in which the film plays."""
    problems: list[str] = []
    lines: list[str] = []

    async with relay(server.port) as proxy:
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: lines.append(message.text))
        await page.goto(server.url)

        def filled(script: str) -> str:
            return script.replace("PORT", str(server.port)).replace("PROXY", proxy)

        await page.add_script_tag(content=filled(BEFORE))
        await page.add_script_tag(url="/ruffle/ruffle.js")
        await page.add_script_tag(url="/old/socket.io.js")
        await page.add_script_tag(content=filled(AFTER), type="module")
        try:
            await page.wait_for_function("() => window.ready")
            yield page
        finally:
            print("\n".join(lines))
            await context.close()
    assert problems == []


@pytest_asyncio.fixture(loop_scope="module")
async def page(film: Page, server: ServerProcess) -> Page:
    """The page, with a client that has connected through the film."""
    await film.evaluate("(url) => open_(url)", server.url)
    return film


async def test_the_film_carries_the_official_client(server: ServerProcess, page: Page) -> None:
    (who,) = await page.evaluate("() => ask('who am i')")
    assert (who["id"], who["transport"], who["first"]) == (
        await page.evaluate("() => socket.id"), "flashsocket", "flashsocket",
    )  # fmt: skip
    assert await page.evaluate("() => opened.at(-1).readyState") == 1, "it is the film's socket, and no other"

    values: list[Any] = [None, True, 0, -1.5, "", "어서 오세요 🎪 \u2028\uffff", [], {"a": [{}]}]
    assert await page.evaluate("(values) => ask('echo', ...values)", values) == values
    await page.evaluate("() => { socket.on('question', (a, b, reply) => reply(b, a)); }")
    assert await page.evaluate("() => ask('call me', 'question', 1, '둘')") == [{"several": ["둘", 1]}]

    # Bytes both ways: in an event, an acknowledgement, and all values of them.
    script = """async () => {
      const back = next('echo back');
      socket.emit('echo back', 'x', { data: Uint8Array.from({ length: 256 }, (_, index) => index).buffer });
      const [name, { data }] = await back;
      return [name, data instanceof ArrayBuffer, [...new Uint8Array(data)]];
    }"""
    assert await page.evaluate(script) == ["x", True, list(range(256))]

    # Many, in order, both ways.
    script = "async () => { for (let n = 0; n < 1000; n++) socket.emit('count', n); return (await ask('counted'))[0]; }"
    assert await page.evaluate(script) == list(range(1000))
    script = """() => new Promise((resolve) => {
      const got = [];
      socket.on('burst', (number) => { got.push(number); if (got.length === 1000) resolve(got); });
      socket.emit('burst', 1000);
    })"""
    assert await page.evaluate(script) == list(range(1000))

    # A large one, and heartbeats: the server of this test pings each second.
    text = "마당" * 50_000
    assert await page.evaluate("async (text) => (await ask('echo', text))[0] === text", text)
    await page.evaluate("() => new Promise((resolve) => socket.io.on('ping', resolve))")

    # The end. web-socket-js hands on the last message and the end in one go, while the official client looks
    # at messages a moment later, so it can't tell which of both was first.
    await page.evaluate("() => { window.left = next('disconnect'); socket.emit('disconnect me', true); }")
    assert (await page.evaluate("() => left"))[0] in ("io server disconnect", "transport close")
    assert f"gone {who['id']} server namespace disconnect" in server.log


async def test_the_client_says_good_bye(server: ServerProcess, page: Page) -> None:
    sid = await page.evaluate("() => socket.id")
    await page.evaluate("() => { socket.disconnect(); }")
    async with asyncio.timeout(20):
        while f"gone {sid} client namespace disconnect" not in server.log:
            await asyncio.sleep(0.05)
