"""The transports of `madang-transports` in the official client, in headless Chromium: what belongs to the classes."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, Route

from madang import Server, WebTransport
from madang.faces.uvicorn import serve_async
from support.matrix import some
from support.server import ServerProcess, selected_faces

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),  # one browser for all, with its event loop
]

Open = Callable[..., Awaitable[Page]]
CLASSES = {"ShortPolling": "shortpolling", "JSONP": "jsonp", "Multipart": "multipart", "Iframe": "iframe", "SSE": "sse"}
NAMES = [*CLASSES.values(), "polling", "websocket"]
BY_FETCH = {"ShortPolling", "Multipart"}
DEADLINE = 10_000

HELPERS = """
window.within = (promise, what) => Promise.race([
  promise,
  new Promise((_, reject) => setTimeout(() => reject(new Error(`not in time: ${what}`)), 8000)),
]);
window.next = (emitter, event) => within(
  new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), `event ${event}`);
window.ask = (socket, event, ...args) => within(
  new Promise((resolve) => socket.emit(event, ...args, (...reply) => resolve(reply))), `ack of ${event}`);
window.until = async (test, what) => {
  for (let turn = 0; !test(); turn++) {
    if (turn > 400) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};
window.start = (url, names, options = {}) => {
  const { transportOptions, ...rest } = options;
  window.socket = client.io(url, {
    transports: names.map((name) => client[name]),
    transportOptions: { shortpolling: { interval: 30 }, ...transportOptions },
    reconnection: false,
    forceNew: true,
    ...rest,
  });
  return within(new Promise((resolve, reject) => {
    socket.once("connect", () => resolve(socket.id));
    socket.once("connect_error", (error) =>
      reject(new Error(`${error.message} / ${error.description?.message ?? error.description}`)));
  }), "connection");
};
window.bytes = (value) => value instanceof ArrayBuffer ? [...new Uint8Array(value)] : value;
window.elements = () => [...document.querySelectorAll("*")].map((element) => element.localName).join();
window.leftovers = () => ({
  elements: elements() === before.elements ? "" : elements(),
  globals: Object.keys(window).filter((name) => ![...before.globals, "socket", "client", "seen"].includes(name)),
  history: history.length - before.history,
});
window.before = null;
window.before = { elements: elements(), globals: Object.keys(window), history: history.length };
"""

TRANSPORTS_SERVER = {
    "transports": NAMES,
    "min_short_poll_seconds": 0.01,
    "ping_interval_seconds": 5,
    "ping_timeout_seconds": 5,
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(selected_faces()[0], TRANSPORTS_SERVER) as server:
        yield server
        assert not server.tracebacks(), server.log


@pytest.fixture(scope="module")
def small() -> Iterator[ServerProcess]:
    """A server whose limits are met soon."""
    limits = {"max_stream_bytes": 3_000, "max_payload_bytes": 20_000, "min_short_poll_seconds": 0.15}
    with ServerProcess(selected_faces()[0], TRANSPORTS_SERVER | limits) as server:
        yield server
        assert not server.tracebacks(), server.log


@pytest.fixture(scope="module")
def friendly() -> Iterator[ServerProcess]:
    """A server that lets in pages of one other origin, and of no more transports than it has to."""
    server = ServerProcess(selected_faces()[0], TRANSPORTS_SERVER)
    server.settings.update(origins=[other_origin(server)], cors_credentials=True, transports=list(CLASSES.values()))
    with server:
        yield server
        assert not server.tracebacks(), server.log


@pytest_asyncio.fixture(loop_scope="module")
async def inside() -> AsyncIterator[tuple[Server, str, str]]:
    """A server in this event loop, its address, and the hash of its certificate for WebTransport."""
    io = Server(transports=[*CLASSES.values(), "webtransport"], min_short_poll_seconds=0.01)
    io.on("back", lambda socket, number: socket.emit("back", number))
    beside = WebTransport()
    async with serve_async(io.asgi(blank_page), webtransport=beside) as port:
        yield io, f"http://127.0.0.1:{port}", b64encode(beside.certificate_hash).decode()


async def blank_page(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<!doctype html><title>Test</title><body></body>"})


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser) -> AsyncIterator[Open]:
    """Opens pages that have the client and the transports from the server; an uncaught error fails the test."""
    problems: list[str] = []

    async def open_page(url: str, source: str | None = None, *, classic: bool = False) -> Page:
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(DEADLINE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(url)
        if classic:
            await page.add_script_tag(url=f"{source or url}/socket.io/socket.io.min.js")
        script = """async ([source, classic]) => {
            const official = classic ? { io } : await import(`${source}/socket.io/socket.io.esm.min.js`);
            const ours = await import(`${source}/socket.io/transports.js`);
            window.client = { ...official, ...ours };
        }"""
        await page.evaluate(script, [source or url, classic])
        await page.evaluate(HELPERS)
        return page

    yield open_page
    for context in browser.contexts:
        await context.close()
    assert problems == []


async def start(page: Page, url: str, *names: str, **options: Any) -> str:
    return await page.evaluate("([url, names, options]) => start(url, names, options)", [url, list(names), options])


def watch(page: Page) -> list[Request]:
    """The requests of transports that a page sends from now on."""
    seen: list[Request] = []
    page.on("request", lambda request: seen.append(request) if "EIO=4" in request.url else None)
    return seen


def query(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


def other_origin(server: ServerProcess) -> str:
    """The same server under another name: for a browser, another origin."""
    return f"http://localhost:{server.port}"


# ---- talking ----


@pytest.mark.parametrize("name", CLASSES)
async def test_talks_and_leaves_nothing_behind(server: ServerProcess, visit: Open, name: str) -> None:
    page = await visit(server.url)
    requests = watch(page)
    await start(page, server.url, name, auth={"nick": "길동"}, query={"place": "마당 & 뜰"}, timestampParam="stamp")
    (who,) = await page.evaluate("() => ask(socket, 'who am i')")
    assert (who["transport"], who["first"]) == (CLASSES[name], CLASSES[name])
    assert (who["auth"], who["query"]["place"]) == ({"nick": "길동"}, "마당 & 뜰")

    values = [
        None,
        True,
        -1.5,
        "",
        "어서 오세요 🎪 \u2028\u2029\r\n\\n</script><!-- \x00'\"",
        [],
        {"a": [{}]},
        "x" * 70_000,
    ]
    assert await page.evaluate("(values) => ask(socket, 'echo', ...values)", values) == values
    await page.evaluate("() => { socket.on('question', (a, b, reply) => reply(b, a)); }")
    assert await page.evaluate("() => ask(socket, 'call me', 'question', 1, '둘')") == [{"several": ["둘", 1]}]
    binary = """async () => {
        const every = new Uint8Array([...Array(256).keys()]);
        const [a, b, c] = await ask(socket, "echo", every, new Blob(["글"]), new ArrayBuffer(0));
        return [a, b, c].map(bytes);
    }"""
    assert await page.evaluate(binary) == [list(range(256)), list("글".encode()), []]
    assert await page.evaluate(
        "async () => { const all = []; socket.on('flood', (n) => all.push(n));"
        " await ask(socket, 'flood', 200); await until(() => all.length >= 200, 'flood'); return all }"
    ) == list(range(200))

    away = "async () => { const left = next(socket, 'disconnect'); socket.disconnect(); return (await left)[0]; }"
    assert await page.evaluate(away) == "io client disconnect"
    tidy = """async () => {
        await until(() => leftovers().elements === "" && !leftovers().globals.length, JSON.stringify(leftovers()));
        return leftovers();
    }"""
    assert await page.evaluate(tidy) == {"elements": "", "globals": [], "history": 0}
    assert len({query(request)["stamp"] for request in requests}) == len(requests)
    assert {query(request)["transport"] for request in requests} == {CLASSES[name]}
    assert {query(request)["place"] for request in requests} == {"마당 & 뜰"}
    kinds = {request.resource_type for request in requests if request.method == "GET"}
    assert kinds == {{"JSONP": "script", "Iframe": "document", "SSE": "eventsource"}.get(name, "fetch")}


@pytest.mark.parametrize("name", some(list(CLASSES), usual=["Multipart"]))  # `test_every_transport` has all
async def test_moves_to_websocket_under_traffic(server: ServerProcess, visit: Open, name: str) -> None:
    page = await visit(server.url)
    script = """async ([url, name]) => {
        const connected = start(url, [name, "WebSocket"]);
        const sent = [], back = [];
        let upgraded = false;
        socket.io.engine.on("upgrade", () => (upgraded = true));
        socket.on("echo back", (number) => back.push(number));
        await connected;
        for (let number = 0, after = 0; after < 20; number++) {
            if (upgraded) after++;
            sent.push(number);
            socket.emit("echo back", number);
            if (number % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
        }
        await until(() => back.length >= sent.length, "all of it");
        const [who] = await ask(socket, "who am i");
        return [socket.io.engine.transport.name, who.first, who.transport, back.length === sent.length
            && back.every((number, index) => number === index), leftovers()];
    }"""
    nothing = {"elements": "", "globals": [], "history": 0}
    told = await page.evaluate(script, [server.url, name])
    assert told == ["websocket", CLASSES[name], "websocket", True, nothing]


@pytest.mark.parametrize("name", CLASSES)
async def test_the_server_disconnects(server: ServerProcess, visit: Open, name: str) -> None:
    page = await visit(server.url)
    await start(page, server.url, name)
    left = """async () => {
        const left = next(socket, "disconnect");
        socket.emit("disconnect me", true);
        const [reason] = await left;
        await until(() => leftovers().elements === "", "removal");
        return [reason, leftovers().globals];
    }"""
    assert await page.evaluate(left) == ["io server disconnect", []]


# ---- streams that end, polls that come too soon, payloads that are too large ----


@pytest.mark.parametrize("name", ["Multipart", "Iframe", "SSE"])
async def test_a_stream_that_the_server_ends_goes_on(small: ServerProcess, visit: Open, name: str) -> None:
    page = await visit(small.url)
    requests = watch(page)
    await start(page, small.url, name)
    script = """async () => {
        const all = [];
        socket.on("flood", (number) => all.push(number));
        await ask(socket, "flood", 1000);
        await until(() => all.length >= 1000, "flood");
        return [all.every((number, index) => number === index), socket.connected];
    }"""
    assert await page.evaluate(script) == [True, True]
    assert len([request for request in requests if request.method == "GET"]) > 3


async def test_sse_by_fetch(small: ServerProcess, visit: Open) -> None:
    """With headers of its own, over streams that end."""
    page = await visit(small.url)
    requests = watch(page)
    await start(page, small.url, "SSE", extraHeaders={"X-Marker": "seen"})
    assert (await page.evaluate("() => ask(socket, 'who am i')"))[0]["marker"] == "seen"
    text = "줄\r\n🎪" * 1000
    for _ in range(3):
        assert await page.evaluate("(text) => ask(socket, 'echo', text)", text) == [text]
    assert {request.resource_type for request in requests} == {"fetch"}
    assert len([request for request in requests if request.method == "GET"]) >= 3


async def test_polls_as_often_as_the_server_lets_it(small: ServerProcess, visit: Open) -> None:
    page = await visit(small.url)
    refused: list[str] = []
    page.on("response", lambda response: refused.append(response.url) if response.status == 429 else None)
    await start(page, small.url, "ShortPolling", transportOptions={"shortpolling": {"interval": 1}})
    for number in range(6):
        assert await page.evaluate("(number) => ask(socket, 'echo', number)", number) == [number]
    assert 1 <= len(refused) <= 2  # once it was told, it waits


@pytest.mark.parametrize("interval", [-1, "soon"])
async def test_an_interval_that_makes_no_sense(server: ServerProcess, visit: Open, interval: object) -> None:
    page = await visit(server.url)
    with pytest.raises(Exception, match="interval must be a number of milliseconds"):
        await start(page, server.url, "ShortPolling", transportOptions={"shortpolling": {"interval": interval}})


@pytest.mark.parametrize("name", some(list(CLASSES), usual=["JSONP", "SSE"]))
async def test_batches_as_large_as_the_server_takes(small: ServerProcess, visit: Open, name: str) -> None:
    page = await visit(small.url)
    requests = watch(page)
    await start(page, small.url, name)
    script = """async () => {
        const texts = Array.from({ length: 30 }, (_, index) => `${index}` + "마당".repeat(300));
        const answers = await Promise.all(texts.map((text) => ask(socket, "echo", text)));
        return answers.every(([text], index) => text === texts[index]);
    }"""
    assert await page.evaluate(script) is True
    posts = [request for request in requests if request.method == "POST"]
    bodies = [request.post_data_buffer or b"" for request in posts]
    if name == "JSONP":  # what a form makes of it doesn't count
        bodies = [parse_qs(body)[b"d"][0] for body in bodies]
    assert all(len(body) <= 20_000 for body in bodies)
    assert len(posts) < 25  # joined where they fit
    too_large = """async () => {
        const left = next(socket, "disconnect");
        socket.emit("echo", "x".repeat(20_001));
        const [reason, details] = await left;
        return [reason, details.message];
    }"""
    reason, message = await page.evaluate(too_large)
    assert reason == "transport error"
    assert message.startswith(f"{CLASSES[name]} post error: a packet of ")
    assert "the server takes 20000" in message


# ---- what fails ----


async def test_the_server_goes_and_comes_back(visit: Open) -> None:
    # What becomes of a document that breaks off Chromium doesn't tell the page around it: there the heartbeat does.
    heartbeat = {"ping_interval_seconds": 1, "ping_timeout_seconds": 1}
    with ServerProcess(selected_faces()[0], TRANSPORTS_SERVER | heartbeat) as server:
        page = await visit(server.url)
        script = """async ([url, names]) => {
            const options = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 };
            window.seen = [];
            for (const name of names) {
                await start(url, [name], options);
                const one = socket;
                one.on("disconnect", (reason) => seen.push([name, reason]));
                one.on("connect", () => one.emit("echo", name, (back) => seen.push([back, "again"])));
            }
        }"""
        await page.evaluate(script, [server.url, list(CLASSES)])
        await asyncio.to_thread(server.kill)
        await page.wait_for_function("() => seen.length === 5", timeout=DEADLINE)
        told = dict(await page.evaluate("() => seen.splice(0)"))
        assert set(told) == set(CLASSES)
        assert set(told.values()) <= {"transport error", "transport close", "ping timeout"}
        await asyncio.to_thread(server.start)
        await page.wait_for_function(
            "() => seen.filter(([, what]) => what === 'again').length >= 5", timeout=2 * DEADLINE
        )


@pytest.mark.parametrize("name", CLASSES)
async def test_pages_of_other_origins(server: ServerProcess, friendly: ServerProcess, visit: Open, name: str) -> None:
    page = await visit(other_origin(server))
    with pytest.raises(Exception, match=f"{CLASSES[name]} open error: "):
        await start(page, server.url, name)
    assert await page.evaluate("() => leftovers()") == {"elements": "", "globals": [], "history": 0}

    page = await visit(other_origin(friendly))
    await start(page, friendly.url, name, withCredentials=True)
    big = "마당" * 1000
    assert await page.evaluate("(text) => ask(socket, 'echo', text)", big) == [big]


@pytest.mark.parametrize("name", some(list(CLASSES), usual=["JSONP", "Multipart", "Iframe"]))
async def test_pages_that_do_not_say_where_requests_come_from(friendly: ServerProcess, visit: Open, name: str) -> None:
    for url in (friendly.url, other_origin(friendly)):
        page = await visit(url, friendly.url)
        await page.evaluate("""() => {
            const rule = document.createElement("meta");
            [rule.name, rule.content] = ["referrer", "no-referrer"];
            document.head.append(rule);
        }""")
        await start(page, friendly.url, name)
        assert await page.evaluate("() => ask(socket, 'echo', '마당')") == ["마당"]
        await page.evaluate("() => socket.disconnect()")


async def test_says_what_the_server_says(friendly: ServerProcess, visit: Open) -> None:
    page = await visit(friendly.url)
    script = """async (url) => {
        class Unknown extends client.Multipart {
            get name() { return "unknown"; }
        }
        const socket = client.io(url, { transports: [Unknown], reconnection: false });
        const [told] = await next(socket.io, "error");
        return [told.message, told.description, told.context.code, told.type];
    }"""
    message = "unknown open error: HTTP 400 Transport unknown"
    assert await page.evaluate(script, friendly.url) == [message, 400, 0, "TransportError"]


async def test_headers_that_cannot_be_sent(server: ServerProcess, visit: Open) -> None:
    page = await visit(server.url)
    lines: list[str] = []
    page.on("console", lambda line: lines.append(line.text) if line.type == "error" else None)
    for name in CLASSES:
        await start(page, server.url, name, extraHeaders={"X-Marker": "seen"})
        (who,) = await page.evaluate("() => ask(socket, 'who am i')")
        assert who["marker"] == (None if name in ("JSONP", "Iframe") else "seen")
        await page.evaluate("() => socket.disconnect()")
    assert lines == [
        "madang-transports: jsonp can't send extraHeaders with anything: X-Marker",
        "madang-transports: iframe can't send extraHeaders with its stream: X-Marker",
    ]


# ---- one after the other ----


@pytest.mark.parametrize("how", ["refused", "silent", "another answer"])
async def test_the_next_one_where_one_is_blocked(server: ServerProcess, visit: Open, how: str) -> None:
    page = await visit(server.url)
    blocked: list[str] = []

    async def block(route: Route) -> None:
        blocked.append(query(route.request)["transport"])
        if how == "refused":
            await route.abort()
        elif how == "another answer":
            await route.fulfill(status=200, content_type="text/html", body="/* Please log in. */")

    for transport in ("shortpolling", "jsonp", "multipart", "iframe", "sse"):
        await page.route(f"**/socket.io/*transport={transport}*", block)
    waiting = {transport: {"openTimeout": 300} for transport in CLASSES.values()}
    options = {"tryAllTransports": True, "transportOptions": waiting}
    await start(page, server.url, *CLASSES, "XHR", **options)
    assert blocked == list(CLASSES.values())
    assert (await page.evaluate("() => ask(socket, 'who am i')"))[0]["transport"] == "polling"
    if how == "silent":
        await page.unroute_all(behavior="ignoreErrors")
    else:
        await page.evaluate("async () => until(() => leftovers().elements === '', leftovers().elements)")
        assert await page.evaluate("() => leftovers().globals") == []


async def test_every_way_to_name_them(server: ServerProcess, visit: Open) -> None:
    page = await visit(server.url)
    script = """async (url) => {
        const { io, SSE, WebSocket, XHR, Multipart } = client;
        const first = async (options) => {
            const socket = io(url, { forceNew: true, reconnection: false, upgrade: false, ...options });
            await next(socket, "connect");
            const name = socket.io.engine.transport.name;
            socket.disconnect();
            return name;
        };
        return [
            await first({ transports: [SSE, WebSocket] }),
            await first({ transports: [WebSocket, SSE] }),
            await first({ transportImplementations: [Multipart, XHR] }),
            await first({ transports: [XHR, Multipart] }),
        ];
    }"""
    assert await page.evaluate(script, server.url) == ["sse", "websocket", "multipart", "polling"]


@pytest.mark.parametrize("name", ["SSE", "JSONP"])
async def test_with_the_classic_script(server: ServerProcess, visit: Open, name: str) -> None:
    page = await visit(server.url, classic=True)
    await start(page, server.url, name)
    assert await page.evaluate("() => ask(socket, 'echo', '안녕')") == ["안녕"]


# ---- closing at odd moments ----


@pytest.mark.parametrize("name", CLASSES)
async def test_closed_while_it_opens(inside: tuple[Server, str, str], visit: Open, name: str) -> None:
    """A poll's handshake can't be taken back: as soon as the session is known, it is closed."""
    io, url, _ = inside
    page = await visit(url)
    opened: list[object] = []
    io.engine.on("connection", opened.append)
    script = """async ([url, name]) => {
        start(url, [name]).catch(() => {});
        if (name === "Iframe" || name === "SSE") await new Promise((resolve) => setTimeout(resolve, 5));
        socket.disconnect();
        await until(() => leftovers().elements === "" && !leftovers().globals.length, "removal");
        return leftovers();
    }"""
    assert await page.evaluate(script, [url, name]) == {"elements": "", "globals": [], "history": 0}
    async with asyncio.timeout(DEADLINE / 1000):
        while io.engine.clients_count or (name in ("ShortPolling", "JSONP") and not opened):
            await asyncio.sleep(0.01)
    io.engine.off("connection", opened.append)


async def test_moves_to_webtransport_under_traffic(inside: tuple[Server, str, str], visit: Open) -> None:
    _, url, certificate_hash = inside
    page = await visit(url)
    script = """async ([url, name, hash]) => {
        const value = Uint8Array.from(atob(hash), (letter) => letter.charCodeAt(0));
        const transportOptions = { webtransport: { serverCertificateHashes: [{ algorithm: "sha-256", value }] } };
        const connected = start(url, [name, "WebTransport"], { transportOptions });
        const sent = [], back = [];
        let upgraded = false;
        socket.io.engine.on("upgrade", () => (upgraded = true));
        socket.on("back", (number) => back.push(number));
        await connected;
        for (let number = 0, after = 0; after < 20; number++) {
            if (upgraded) after++;
            sent.push(number);
            socket.emit("back", number);
            if (number % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 3));
        }
        await until(() => back.length >= sent.length, "all of it");
        const inOrder = back.length === sent.length && back.every((number, index) => number === index);
        return [socket.io.engine.transport.name, inOrder, leftovers().elements];
    }"""
    for name in CLASSES:
        told = await page.evaluate(script, [url, name, certificate_hash])
        assert told == ["webtransport", True, ""], name


async def test_a_late_script_does_no_harm(server: ServerProcess, visit: Open) -> None:
    page = await visit(server.url)
    held: list[Route] = []

    async def hold(route: Route) -> None:
        if "sid=" in route.request.url and route.request.method == "GET":
            held.append(route)
        else:
            await route.continue_()

    await page.route("**/socket.io/*transport=jsonp*", hold)
    await page.evaluate("([url]) => { start(url, ['JSONP']).catch(() => {}); }", [server.url])
    while not held:
        await asyncio.sleep(0.02)
    assert await page.evaluate("() => typeof ___eio[0]") == "function"
    await page.evaluate("() => socket.disconnect()")
    await page.evaluate("async () => until(() => leftovers().elements === '', leftovers().elements)")
    assert await page.evaluate("() => typeof ___eio[0]") == "function"  # the script will find it
    body = "___eio[0]({});".format(json.dumps('42["late"]'))
    await held[0].fulfill(status=200, content_type="text/javascript", body=body)
    await page.evaluate("async () => until(() => !('___eio' in window), 'removal')")


async def test_callbacks_of_another_program_stay(server: ServerProcess, visit: Open) -> None:
    """Official clients of 3.x keep theirs in the same global."""
    page = await visit(server.url)
    await page.evaluate("() => { window.___eio = [() => { throw new Error('not mine'); }]; }")
    await start(page, server.url, "JSONP")
    assert await page.evaluate("() => ask(socket, 'echo', 1)") == [1]
    await page.evaluate("() => socket.disconnect()")
    await page.evaluate("async () => until(() => Object.keys(___eio).length === 1, 'removal')")
    assert await page.evaluate("() => typeof ___eio[0]") == "function"


async def test_messages_of_others_are_no_packets(server: ServerProcess, visit: Open) -> None:
    """Any window that has a handle of the page may post messages to it: only the frame's own count."""
    page = await visit(server.url)
    await start(page, server.url, "Iframe")
    forge = """async () => {
        const id = new URL(document.querySelector("iframe").src).searchParams.get("j");
        let forged = false;
        socket.on("forged", () => (forged = true));
        for (const madang of [id, Number(id)]) postMessage({ madang, payload: '42["forged"]' }, "*");
        const stranger = document.createElement("iframe");
        stranger.srcdoc = `<script>parent.postMessage({ madang: ${id}, payload: '42["forged"]' }, "*")</script>`;
        document.body.append(stranger);
        await new Promise((resolve) => stranger.addEventListener("load", resolve));
        document.querySelector("iframe").contentWindow.postMessage("not for you", "*");
        await ask(socket, "echo", 1);
        stranger.remove();
        return forged;
    }"""
    assert await page.evaluate(forge) is False


async def test_an_iframe_does_not_hold_up_the_page(server: ServerProcess, browser: Browser) -> None:
    """The page's load event comes although it connects while it loads."""
    context = await browser.new_context()
    page = await context.new_page()
    html = """<!doctype html><body><script type="module">
        import { io } from "/socket.io/socket.io.esm.min.js";
        import { Iframe } from "/socket.io/transports.js";
        window.states = [];
        addEventListener("load", () => states.push("loaded"));
        window.socket = io({ transports: [Iframe] });
        socket.on("connect", () => states.push("connected"));
    </script>"""
    await page.clock.install()
    await page.route("**/page.html", lambda route: route.fulfill(content_type="text/html", body=html))
    await page.goto(f"{server.url}/page.html", wait_until="load", timeout=DEADLINE)
    await page.wait_for_function("() => states.length === 2", timeout=DEADLINE)
    assert await page.evaluate("() => states") == ["loaded", "connected"]
    frame = await page.evaluate("() => document.querySelector('iframe').src")
    await page.clock.run_for(6_000)  # nothing of what it waited with is left
    assert await page.evaluate("() => document.querySelector('iframe').src") == frame
    await context.close()
