"""Each transport by each thing that it has to carry and survive: the official client with our plug-ins, in Chromium."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from madang import Client
from support.matrix import some
from support.server import ServerProcess, running

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

#: By name; the class in the client's own module, or in ours.
TRANSPORTS = {
    "polling": "XHR",
    "shortpolling": "ShortPolling",
    "jsonp": "JSONP",
    "multipart": "Multipart",
    "iframe": "Iframe",
    "sse": "SSE",
    "websocket": "WebSocket",
}
ALL = pytest.mark.parametrize("name", TRANSPORTS)
#: One of each kind is usual: requests, a stream, and a WebSocket.
KINDS = pytest.mark.parametrize("name", some(list(TRANSPORTS), usual=["polling", "sse", "websocket"]))
#: Those of the official client: `test_transport_classes` sees the same of the others.
OFFICIAL = pytest.mark.parametrize("name", some(list(TRANSPORTS), usual=["polling", "websocket"]))
CALM = {
    "transports": "all",
    "max_payload_bytes": 4_000_000,
    "ping_interval_seconds": 25,
    "ping_timeout_seconds": 20,
}
HASTY = {**CALM, "ping_interval_seconds": 0.4, "ping_timeout_seconds": 0.6}

HELPERS = """
window.within = (promise, what, ms = 40000) => Promise.race([
  promise, new Promise((_, reject) => setTimeout(() => reject(new Error(`not in time: ${what}`)), ms))]);
window.next = (emitter, event) => within(
  new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), `event ${event}`);
window.ask = (...event) => within(
  new Promise((resolve) => socket.emit(...event, (...reply) => resolve(reply))), `ack of ${event[0]}`);
window.start = async (url, names, options = {}) => {
  const client = await import("/socket.io/socket.io.esm.min.js");
  const ours = await import("/socket.io/transports.js");
  window.socket = client.io(url, {
    transports: names.map((name) => ours[name] ?? client[name]), reconnection: false, forceNew: true,
    transportOptions: { shortpolling: { interval: 100 } }, ...options });
  window.ended = new Promise((resolve) => socket.once("disconnect", (reason) => resolve(reason)));
  await within(new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  }), "connection");
  return [socket.id, socket.io.engine.transport.name];
};
window.bytes = (value) => [...new Uint8Array(value)];
"""


@pytest.fixture(scope="module")
def calm() -> Iterator[ServerProcess]:
    yield from running("uvicorn-fast", CALM)


@pytest.fixture(scope="module")
def portable() -> Iterator[ServerProcess]:
    yield from running("uvicorn-websockets", CALM)


@pytest.fixture(scope="module")
def hasty() -> Iterator[ServerProcess]:
    yield from running("uvicorn-fast", HASTY)


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page; an uncaught error in it fails the test."""
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(20_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    await context.close()
    assert problems == []


async def start(page: Page, server: ServerProcess, name: str, **options: Any) -> str:
    await page.goto(server.url)
    await page.add_script_tag(content=HELPERS)
    id_, transport = await page.evaluate(
        "([url, names, options]) => start(url, names, options)", [server.url, [TRANSPORTS[name]], options]
    )
    assert transport == name
    return id_


async def check_talk(page: Page) -> None:
    tricky = ["", "마당 🎪 \u2028\u2029 </script><!-- \" ' \\n \\ \n \r \x1e \0", {"a": [None, True, -1.5, {}]}, []]
    assert await page.evaluate("(values) => ask('echo', ...values)", tricky) == tricky

    # bytes, both ways
    script = """async () => {
        const sent = Uint8Array.from({ length: 256 }, (_, index) => index);
        const [answer, rest] = await ask('echo', sent, { inner: [sent.buffer] });
        return [bytes(answer), bytes(rest.inner[0])];
    }"""
    assert await page.evaluate(script) == [list(range(256))] * 2

    # acknowledgements, both ways
    await page.evaluate("() => { socket.on('question', (a, b, reply) => reply(b, a)); }")
    assert await page.evaluate("() => ask('call me', 'question', 1, '둘')") == [{"several": ["둘", 1]}]

    # a large message
    script = """async () => {
        const text = 'ab한'.repeat(200_000), [answer] = await ask('echo', text);
        const data = new Uint8Array(1_000_000).map((_, index) => index * 7), [back] = await ask('echo', data);
        const same = bytes(back).every((byte, index) => byte === data[index]);
        return [answer === text, same, back.byteLength];
    }"""
    assert await page.evaluate(script) == [True, True, 1_000_000]

    # order: down, and up
    script = """async () => {
        const down = [];
        socket.on('flood', (number) => down.push(number));
        for (let number = 0; number < 1000; number++) socket.emit('count', number);
        const [total] = await ask('flood', 1000);
        while (down.length < total) await next(socket, 'flood');
        const [up] = await ask('counted');
        const inOrder = (list) => list.length === 1000 && list.every((number, index) => number === index);
        return [inOrder(down), inOrder(up)];
    }"""
    assert await page.evaluate(script) == [True, True]


@ALL
async def test_what_it_carries(calm: ServerProcess, page: Page, name: str) -> None:
    await start(page, calm, name)
    await check_talk(page)
    assert await page.evaluate("() => [socket.connected, socket.io.engine.transport.name]") == [True, name]


@pytest.mark.parametrize("name", some(["jsonp", "iframe", "sse"], usual=["sse"]))
async def test_what_it_carries_by_asgi(portable: ServerProcess, page: Page, name: str) -> None:
    await start(page, portable, name)
    await check_talk(page)


@pytest.mark.parametrize("name", [name for name in TRANSPORTS if name != "websocket"])
async def test_upgrade_while_events_come(calm: ServerProcess, page: Page, name: str) -> None:
    """Numbers go both ways from before the upgrade until after it: none is lost, and none comes twice."""
    await page.goto(calm.url)
    await page.add_script_tag(content=HELPERS)
    script = """async ([url, names]) => {
        const down = [];
        let sent = 0, upgraded = false;
        await start(url, names);
        socket.on('flood', (number) => down.push(number));
        const flood = ask('flood', 600);
        const timer = setInterval(() => socket.emit('count', sent++), 1);
        if (socket.io.engine.transport.name !== 'websocket') await next(socket.io.engine, 'upgrade');
        const [total] = await flood;
        while (down.length < total) await next(socket, 'flood');
        clearInterval(timer);
        const [up] = await ask('counted');
        const inOrder = (list, length) => list.length === length && list.every((number, index) => number === index);
        return [inOrder(down, total), inOrder(up, sent), sent > 0, socket.io.engine.transport.name];
    }"""
    found = await page.evaluate(script, [calm.url, [TRANSPORTS[name], "WebSocket"]])
    assert found == [True, True, True, "websocket"]


@OFFICIAL
async def test_the_server_disconnects(calm: ServerProcess, page: Page, name: str) -> None:
    await start(page, calm, name)
    await page.evaluate("() => { socket.emit('disconnect me', true); }")
    assert await page.evaluate("() => within(ended, 'the end')") == "io server disconnect"


@ALL
async def test_the_client_says_good_bye(calm: ServerProcess, page: Page, name: str) -> None:
    id_ = await start(page, calm, name)
    async with watching(calm, id_) as gone:
        await page.evaluate("() => { socket.disconnect(); }")
        assert await gone() in ("client namespace disconnect", "transport close")
    left = "() => [document.querySelectorAll('iframe, script[src*=transport], form').length, '___eio' in window]"
    for _ in range(100):
        if await page.evaluate(left) == [0, False]:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail(f"elements are left: {await page.evaluate(left)}")


@ALL
async def test_the_client_vanishes(hasty: ServerProcess, page: Page, name: str) -> None:
    id_ = await start(page, hasty, name)
    async with watching(hasty, id_) as gone:
        await page.goto("about:blank")
        assert await gone() in ("transport close", "transport error", "ping timeout")


@KINDS
async def test_the_client_freezes(hasty: ServerProcess, page: Page, name: str) -> None:
    """The page does nothing for a while: the server gives it up, and the page finds out when it wakes."""
    id_ = await start(page, hasty, name)
    async with watching(hasty, id_) as gone:
        freezing = asyncio.ensure_future(
            page.evaluate("() => { const until = Date.now() + 2500; while (Date.now() < until); }")
        )
        assert await gone() == "ping timeout"
        await freezing
    assert await page.evaluate("() => within(ended, 'the end')") in (
        "transport close",
        "transport error",
        "ping timeout",
    )


@KINDS
async def test_the_server_freezes(page: Page, name: str, frozen: ServerProcess) -> None:
    await start(page, frozen, name)
    frozen.freeze()
    try:
        assert await page.evaluate("() => within(ended, 'the end')") in ("ping timeout", "transport error")
    finally:
        frozen.thaw()


@pytest.fixture(scope="module")
def frozen() -> Iterator[ServerProcess]:
    """A server of its own, since whoever else is connected would be given up too."""
    yield from running("uvicorn-fast", HASTY)


class watching:  # noqa: N801 (used as a function is)
    """Hear of the end of a client; gives a function that awaits the reason."""

    def __init__(self, server: ServerProcess, id_: str) -> None:
        self._client = Client(server.url, transports=["websocket"])
        self._id = id_
        self._reasons: asyncio.Queue[str] = asyncio.Queue()

    async def __aenter__(self) -> Any:
        self._client.on("gone", lambda id_, reason, rooms: self._reasons.put_nowait(reason))
        await self._client.connect()
        assert await self._client.call("watch", self._id) is True

        async def gone() -> str:
            async with asyncio.timeout(15):
                return await self._reasons.get()

        return gone

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()
