"""The official client's browser build in headless Chromium."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from support.matrix import matrix, some
from support.server import ServerProcess, selected_faces

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),  # one browser for all, with its event loop
    pytest.mark.usefixtures("node"),  # the client comes from npm
]

Open = Callable[..., Awaitable[Page]]
TRANSPORTS = ["polling", "websocket", "polling,websocket"]
DEADLINE = 10_000

# What the tests call in a page. `open(url, transports, options)` connects, and awaits the upgrade where there is one.
HELPERS = """
window.within = (promise, what) => Promise.race([
  promise,
  new Promise((_, reject) => setTimeout(() => reject(new Error(`not in time: ${what}`)), 8000)),
]);
window.next = (emitter, event) => within(
  new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), `event ${event}`);
window.ask = (socket, event, ...args) => within(
  new Promise((resolve) => socket.emit(event, ...args, (...reply) => resolve(reply))), `ack of ${event}`);
window.settled = async (socket, transport) => {
  if (socket.io.engine.transport.name !== transport) await next(socket.io.engine, "upgrade");
  return socket.io.engine.transport.name;
};
window.open_ = async (url, transports, options = {}) => {
  window.socket = io(url, { transports, reconnection: false, forceNew: true, ...options });
  await within(new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  }), "connection");
  const last = transports.at(-1);
  await settled(socket, typeof last === "string" ? last : expected);
  return socket.id;
};
window.plain = (value) => {
  if (value instanceof ArrayBuffer) return { bytes: [...new Uint8Array(value)] };
  if (ArrayBuffer.isView(value)) {
    return plain(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength));
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
};
"""


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser) -> AsyncIterator[Open]:
    """Opens pages, each with the client's bundle; an uncaught error of a page fails the test."""
    problems: list[str] = []

    async def open_page(url: str, bundle: str = "socket.io.min.js") -> Page:
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(DEADLINE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(url)
        await page.add_script_tag(content=HELPERS)
        if bundle.endswith(".esm.min.js"):
            await page.evaluate("async (bundle) => Object.assign(window, await import(bundle))", f"/client/{bundle}")
        else:
            await page.add_script_tag(url=f"/client/{bundle}")
        return page

    yield open_page
    for context in browser.contexts:
        await context.close()
    assert problems == []


async def open_socket(page: Page, url: str, transports: str, **options: Any) -> str:
    script = "([url, transports, options]) => open_(url, transports, options)"
    return await page.evaluate(script, [url, transports.split(","), options])


# ---- transports ----


@pytest.mark.parametrize(
    ("bundle", "transports"),
    matrix(
        ["socket.io.min.js", "socket.io.esm.min.js"],
        TRANSPORTS,
        usual=lambda bundle, transports: (bundle == "socket.io.min.js") == (transports != "polling"),
    ),
)
async def test_events_and_acknowledgements(server: ServerProcess, visit: Open, transports: str, bundle: str) -> None:
    page = await visit(server.url, bundle)
    sid = await open_socket(page, server.url, transports, auth={"nick": "길동"}, query={"place": "마당"})
    (who,) = await page.evaluate("() => ask(socket, 'who am i')")
    assert who["id"] == sid
    assert who["transport"] == transports.split(",")[-1]
    assert who["first"] == transports.split(",")[0]
    assert who["auth"] == {"nick": "길동"}
    assert who["query"]["place"] == "마당"

    values = [None, True, 0, -1.5, "", "어서 오세요 🎪 \u2028", [], {"a": [{}]}]
    assert await page.evaluate("(values) => ask(socket, 'echo', ...values)", values) == values
    await page.evaluate("() => { socket.on('question', (a, b, reply) => reply(b, a)); }")
    assert await page.evaluate("() => ask(socket, 'call me', 'question', 1, '둘')") == [{"several": ["둘", 1]}]


@pytest.mark.parametrize(
    ("classes", "kinds", "transport"),
    [
        (["XHR"], {"xhr"}, "polling"),
        (["Fetch"], {"fetch"}, "polling"),
        (["WebSocket"], set(), "websocket"),
        (["Fetch", "WebSocket"], {"fetch"}, "websocket"),
        (["XHR", "WebSocket"], {"xhr"}, "websocket"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
async def test_transport_classes(
    server: ServerProcess, visit: Open, classes: list[str], kinds: set[str], transport: str
) -> None:
    page = await visit(server.url, "socket.io.esm.min.js")
    seen: set[str] = set()
    page.on("request", lambda request: seen.add(request.resource_type) if "/socket.io/" in request.url else None)
    # `WebSocket` is the page's own class before the bundle's takes its name
    script = """async ([bundle, url, classes, transport]) => {
        const client = await import(bundle);
        window.expected = transport;
        await open_(url, classes.map((name) => client[name]));
        return [socket.io.engine.transport.name, await ask(socket, 'echo', '안녕')];
    }"""
    arguments = ["/client/socket.io.esm.min.js", server.url, classes, transport]
    assert await page.evaluate(script, arguments) == [transport, ["안녕"]]
    assert seen - {"websocket"} == kinds


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_binary(server: ServerProcess, visit: Open, transports: str) -> None:
    page = await visit(server.url)
    await open_socket(page, server.url, transports)
    script = """async () => {
        const bytes = new Uint8Array([...Array(256).keys()]);
        const values = [
            bytes, bytes.buffer, new Blob([bytes]), new File([bytes], "name.bin"), new Uint8Array(0), new Blob([]),
            { deep: [new Blob(["글"]), new Uint16Array([1, 2])] },
        ];
        const told = await Promise.all(values.map(async (value) => (await ask(socket, "echo", value))[0]));
        const back = next(socket, "echo back");
        socket.emit("echo back", ...values.slice(0, 3));
        return [told.map((one) => one instanceof ArrayBuffer), plain(told), plain(await back)];
    }"""
    kinds, told, back = await page.evaluate(script)
    every, empty = {"bytes": list(range(256))}, {"bytes": []}
    deep = {"deep": [{"bytes": list("글".encode())}, {"bytes": [1, 0, 2, 0]}]}
    assert told == [every, every, every, every, empty, empty, deep]
    assert kinds == [True] * 6 + [False]
    assert back == [every, every, every]


@pytest.mark.parametrize("transports", some(TRANSPORTS, usual=["polling", "websocket"]))
async def test_large_binary(server: ServerProcess, visit: Open, transports: str) -> None:
    page = await visit(server.url)
    await open_socket(page, server.url, transports)
    script = """async () => {
        const sent = new Uint8Array(500000).map((_, index) => index * 31);
        const [came] = await ask(socket, "echo", new Blob([sent]));
        const got = new Uint8Array(came);
        return got.length === sent.length && got.every((byte, index) => byte === sent[index]);
    }"""
    assert await page.evaluate(script) is True


async def test_two_pages_in_a_room(server: ServerProcess, visit: Open) -> None:
    one, two = await visit(server.url), await visit(server.url)
    sid = await open_socket(one, server.url, "polling")
    await open_socket(two, server.url, "websocket")
    for page in (one, two):
        await page.evaluate("(room) => ask(socket, 'join', room)", sid)
    await two.evaluate("() => { window.heard = next(socket, 'news'); }")
    await one.evaluate("(room) => ask(socket, 'to room', room, 'news', '소식')", sid)
    assert await two.evaluate("() => heard") == ["소식"]


# ---- origins ----


def other_origin(server: ServerProcess) -> str:
    """The same server under another name: for a browser, another origin."""
    return f"http://localhost:{server.port}"


@pytest.mark.parametrize("transports", ["polling", "websocket"])
async def test_a_page_of_another_origin_is_refused(server: ServerProcess, visit: Open, transports: str) -> None:
    page = await visit(other_origin(server))
    script = """async ([url, transports]) => {
        const socket = io(url, { transports, reconnection: false });
        return within(new Promise((resolve) => {
            socket.on("connect", () => resolve("connected"));
            socket.on("connect_error", (error) => resolve(error.message));
        }), "refusal");
    }"""
    message = {"polling": "xhr poll error", "websocket": "websocket error"}[transports]
    assert await page.evaluate(script, [server.url, [transports]]) == message
    # the very same page may talk with its own origin
    await open_socket(page, other_origin(server), transports)


@pytest.fixture
def open_server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server that lets pages of another origin in."""
    server = ServerProcess(selected_faces()[0])
    server.settings["origins"] = [other_origin(server)] if request.param == "listed" else "*"
    with server:
        yield server
        assert not server.tracebacks(), server.log


@pytest.mark.parametrize(
    ("open_server", "transports"),
    matrix(["listed", "any"], TRANSPORTS, usual=lambda who, transports: (who == "any") == (transports == "polling")),
    indirect=["open_server"],
)
async def test_a_page_of_another_origin_is_allowed(open_server: ServerProcess, visit: Open, transports: str) -> None:
    page = await visit(other_origin(open_server))
    await open_socket(page, open_server.url, transports)
    big = "마당" * 1000
    assert await page.evaluate("(text) => ask(socket, 'echo', text)", big) == [big]
    back = """async () => {
        const heard = next(socket, "echo back");
        socket.emit("echo back", new Uint8Array([1]));
        return plain(await heard);
    }"""
    assert await page.evaluate(back) == [{"bytes": [1]}]


@pytest.mark.parametrize("open_server", ["listed", "any"], indirect=True)
async def test_another_origin_with_a_header_of_its_own(open_server: ServerProcess, visit: Open) -> None:
    """A header makes the browser ask first, with OPTIONS."""
    page = await visit(other_origin(open_server))
    await open_socket(page, open_server.url, "polling", extraHeaders={"X-Marker": "seen"})
    (who,) = await page.evaluate("() => ask(socket, 'who am i')")
    assert who["marker"] == "seen"


@pytest.mark.parametrize("open_server", ["listed"], indirect=True)
async def test_a_listed_origin_with_credentials(open_server: ServerProcess, visit: Open) -> None:
    page = await visit(other_origin(open_server))
    with pytest.raises(Exception, match="xhr poll error"):
        await open_socket(page, open_server.url, "polling", withCredentials=True)
    open_server.stop()
    open_server.settings["cors_credentials"] = True
    open_server.start()
    await open_socket(page, open_server.url, "polling", withCredentials=True)
    assert await page.evaluate("() => ask(socket, 'echo', 1)") == [1]


@pytest.mark.parametrize("open_server", ["listed"], indirect=True)
async def test_an_origin_that_is_not_listed(open_server: ServerProcess, visit: Open) -> None:
    open_server.stop()
    open_server.settings["origins"] = ["https://example.org"]
    open_server.start()
    page = await visit(other_origin(open_server))
    for transports in ("polling", "websocket"):
        with pytest.raises(Exception, match=r"xhr poll error|websocket error"):
            await open_socket(page, open_server.url, transports)


# ---- coming and going ----


@pytest.mark.parametrize(
    ("transports", "how"),
    matrix(TRANSPORTS, ["restart", "kill"], usual=lambda transports, how: (how == "kill") == (transports == "polling")),
)
async def test_reconnects_after_the_servers(server: ServerProcess, visit: Open, transports: str, how: str) -> None:
    page = await visit(server.url)
    options = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 200}
    sid = await open_socket(page, server.url, transports, **options)
    await page.evaluate("() => { window.left = next(socket, 'disconnect'); window.back = next(socket, 'connect'); }")
    if how == "kill":
        server.kill()
        await asyncio.to_thread(server.start)
    else:
        await asyncio.to_thread(server.restart)
    reason = (await page.evaluate("() => left"))[0]
    assert reason in ({"transport close", "transport error"} if how == "kill" else {"transport close"})
    await page.evaluate("() => back")
    last = transports.split(",")[-1]
    assert await page.evaluate("(last) => settled(socket, last)", last) == last
    assert await page.evaluate("() => socket.id") != sid
    assert await page.evaluate("() => ask(socket, 'echo', '다시')") == ["다시"]


@pytest.mark.parametrize(
    ("transports", "how"),
    matrix(
        TRANSPORTS,
        ["page closed", "page left"],
        usual=lambda transports, how: (how == "page left") == (transports == "polling"),
    ),
)
async def test_a_page_goes(server: ServerProcess, visit: Open, transports: str, how: str) -> None:
    reason = "transport error" if transports == "polling" else "transport close"  # its poll is cut off
    page, observer = await visit(server.url), await visit(server.url)
    sid = await open_socket(page, server.url, transports)
    await open_socket(observer, server.url, "websocket")
    assert await observer.evaluate("(id) => ask(socket, 'watch', id)", sid) == [True]
    await observer.evaluate("() => { window.gone = next(socket, 'gone'); }")
    if how == "page closed":
        await page.close()
    else:
        await page.goto("about:blank")
    assert (await observer.evaluate("() => gone"))[:2] == [sid, reason]


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_the_client_disconnects(server: ServerProcess, visit: Open, transports: str) -> None:
    page, observer = await visit(server.url), await visit(server.url)
    sid = await open_socket(page, server.url, transports)
    await open_socket(observer, server.url, "websocket")
    assert await observer.evaluate("(id) => ask(socket, 'watch', id)", sid) == [True]
    await observer.evaluate("() => { window.gone = next(socket, 'gone'); }")
    left = "async () => { const left = next(socket, 'disconnect'); socket.disconnect(); return (await left)[0]; }"
    assert await page.evaluate(left) == "io client disconnect"
    assert (await observer.evaluate("() => gone"))[:2] == [sid, "client namespace disconnect"]
