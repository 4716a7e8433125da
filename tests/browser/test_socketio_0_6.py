"""The client of Socket.IO 0.6.18, unchanged, in Chromium, over each of its transports.

Two of them need what no browser has any more: `htmlfile` a document apart from the page, as Internet Explorer had it,
and `xhr-multipart` a request that ends once for each part, as Firefox had it. The page gives it to them.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from madang import Client, Server, Socket
from madang.faces.uvicorn import serve_async
from support.npm import NODE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("node"),
]

CLIENT = NODE / "node_modules" / "socket.io-0.6.18" / "support" / "socket.io-client" / "socket.io.js"
#: What clients call a transport, and what we do.
TRANSPORTS = {
    "websocket": "websocket",
    "xhr-polling": "polling",
    "jsonp-polling": "jsonp",
    "htmlfile": "iframe",
    "xhr-multipart": "multipart",
}
POLLS = ("xhr-polling", "jsonp-polling")
#: Whose end clients see at once; of the others they take the silence for it, after 15 seconds.
NOTICED = ("websocket", *POLLS)
#: What clients can say, and what they can hear besides.
SAID: list[Any] = [
    "", "마당 🎈 é", "~m~3~m~x", "--socketio", "\u2028 </script><!-- \" ' \\n \\ %41+", "two\nlines",
    {"a": [None, True, -1.5, {"é": "🎈"}]}, {"event": "said"},
]  # fmt: skip
HEARD: list[Any] = [*SAID, "~h~1", "~j~1", None, 5, ["a", {"--socketio": "\ud83c"}], "\r\n"]

STAND_INS = r"""
window.attachEvent = () => {};
window.CollectGarbage = () => {};
window.ActiveXObject = function () {
  const frame = document.createElement("iframe");
  frame.style.display = "none";
  document.body.append(frame);
  frame.contentDocument.parentWindow = frame.contentWindow;
  return frame.contentDocument;
};

const Native = window.XMLHttpRequest;
window.XMLHttpRequest = class extends Native {
  get multipart() { return Boolean(this.parts); }
  set multipart(on) { this.parts = on ? new AbortController() : null; }
  get readyState() { return this.parts ? 4 : super.readyState; }
  get responseText() { return this.parts ? this.part : super.responseText; }
  open(method, url) { if (this.parts) this.url = url; else super.open(method, url); }
  abort() { if (this.parts) this.parts.abort(); else super.abort(); }
  send(body) { if (this.parts) this.read().catch(() => {}); else super.send(body); }
  async read() {
    const response = await fetch(this.url, { signal: this.parts.signal });
    const boundary = "--" + /boundary="(.*)"/.exec(response.headers.get("content-type"))[1] + "\n";
    let text = "";
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      const parts = (text + piece).split(boundary);
      text = parts.pop();
      for (const part of parts.filter((one) => one)) {
        this.part = part.slice(part.indexOf("\n\n") + 2, -1);
        this.onreadystatechange();
      }
    }
  }
};

window.heard = [];
window.start = (transport) => new Promise((resolve, reject) => {
  window.socket = new io.Socket(null, {
    transports: [transport], rememberTransport: false, reconnect: false, connectTimeout: 20000 });
  window.ended = new Promise((gone) => socket.on("disconnect", gone));
  socket.on("message", (message) => heard.push(message));
  socket.on("connect", () => resolve(socket.transport.type));
  socket.on("connect_failed", reject);
  socket.connect();
});
"""


class Program:
    """A server of today, which old clients come to."""

    def __init__(self) -> None:
        self.io = Server(generations="all", transports="all", ping_interval_seconds=0.3, ping_timeout_seconds=10)
        self.sockets: asyncio.Queue[Socket] = asyncio.Queue()
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self.io.on("connection", self.sockets.put_nowait)
        self.io.on("disconnect", lambda socket, reason: self.ends.put_nowait(reason))
        self.io.on("message", lambda socket, *args: socket.emit("message", *args))

        @self.io.on("enter")
        def enter(socket: Socket, room: str) -> None:
            socket.join(room)
            socket.to(room).emit("entered", room)
            socket.emit("inside", room)


@pytest_asyncio.fixture(loop_scope="module")
async def served() -> AsyncIterator[tuple[Program, str]]:
    program = Program()
    empty = HTMLResponse("<!DOCTYPE html><title>0.6</title><body><script></script>")
    app = Starlette(routes=[Route("/page", lambda request: empty)])
    async with serve_async(program.io.asgi(app)) as port:
        yield program, f"http://127.0.0.1:{port}/page"


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, served: tuple[Program, str]) -> AsyncIterator[Page]:
    """A page with the client; an uncaught error in it fails the test."""
    url = served[1]
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(20_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.goto(url)
    await page.add_script_tag(content=STAND_INS)
    await page.add_script_tag(path=CLIENT)
    yield page
    await context.close()
    assert problems == []


async def heard(page: Page, count: int) -> list[Any]:
    await page.wait_for_function("(count) => heard.length >= count", arg=count)
    found: list[Any] = await page.evaluate("() => heard.splice(0)")
    return found


async def polled(program: Program) -> None:
    """Wait until a poll waits."""
    async with asyncio.timeout(20):
        while not program.io.engine._parked:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", TRANSPORTS)
async def test_talk(page: Page, served: tuple[Program, str], name: str) -> None:
    program = served[0]
    assert await page.evaluate("(name) => start(name)", name) == name
    socket = await asyncio.wait_for(program.sockets.get(), 20)
    assert socket.handshake.generation == "sio0"
    assert socket.transport == TRANSPORTS[name]

    await page.evaluate("(values) => values.forEach((value) => socket.send(value))", SAID)
    assert await heard(page, len(SAID)) == SAID
    for value in HEARD:
        socket.emit("message", value)
    assert await heard(page, len(HEARD)) == HEARD

    await page.evaluate("() => socket.send({ event: 'enter', args: ['kitchen'] })")
    assert await heard(page, 1) == [{"event": "inside", "args": ["kitchen"]}]
    program.io.to("kitchen").emit("menu", "차", 2)
    program.io.emit("message", 5)
    assert await heard(page, 2) == [{"event": "menu", "args": ["차", 2]}, 5]

    for number in range(200):
        socket.emit("message", f"{number}")
    await page.evaluate("() => { for (let number = 200; number < 400; number++) socket.send(String(number)); }")
    assert await heard(page, 400) == [str(number) for number in range(400)]

    session = program.io.engine.sessions[await page.evaluate("() => socket.transport.sessionid")]
    if name not in POLLS:
        async with asyncio.timeout(20):
            while not session.confirmed:
                await asyncio.sleep(0.05)
    socket.disconnect()
    if name in NOTICED:
        await page.evaluate("() => ended")
    assert await asyncio.wait_for(program.ends.get(), 20) == "server namespace disconnect"


async def test_in_one_room_with_a_client_of_today(page: Page, served: tuple[Program, str]) -> None:
    program, url = served
    await page.evaluate("() => start('xhr-polling')")
    await asyncio.wait_for(program.sockets.get(), 20)
    async with Client(url.removesuffix("/page")) as client:
        new = await asyncio.wait_for(program.sockets.get(), 20)
        assert new.handshake.generation == "eio4"
        entered: asyncio.Queue[str] = asyncio.Queue()
        client.on("entered", entered.put_nowait)
        client.emit("enter", "garden")
        await page.evaluate("() => socket.send({ event: 'enter', args: ['garden'] })")
        assert await asyncio.wait_for(entered.get(), 20) == "garden"
        assert await heard(page, 1) == [{"event": "inside", "args": ["garden"]}]
        client.emit("enter", "garden")
        assert await heard(page, 1) == [{"event": "entered", "args": ["garden"]}]
    assert await asyncio.wait_for(program.ends.get(), 20) == "client namespace disconnect"
    await polled(program)
    await page.evaluate("() => { socket.disconnect(); return ended; }")
    assert await asyncio.wait_for(program.ends.get(), 20) == "transport error"


@pytest.mark.parametrize("name", ["websocket", "xhr-polling"])
async def test_a_client_that_leaves(page: Page, served: tuple[Program, str], name: str) -> None:
    program = served[0]
    await page.evaluate("(name) => start(name)", name)
    await asyncio.wait_for(program.sockets.get(), 20)
    if name in POLLS:
        await polled(program)
    await page.evaluate("() => { socket.disconnect(); return ended; }")
    expected = {"websocket": "transport close", "xhr-polling": "transport error"}
    assert await asyncio.wait_for(program.ends.get(), 20) == expected[name]
