"""The official client with our plug-ins, in Chromium, on pages from behind a proxy: TLS, HTTP/2, `origins="same"`."""

import pytest

from proxies.support.real import ProxyProcess
from support.chromium import chromium

pytestmark = [pytest.mark.proxies, pytest.mark.browser]

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
MILLISECONDS = 40_000
#: All at the same time. Each number comes back before the next one goes.
TALK = f"""async (lists) => {{
    const client = await import("/socket.io/socket.io.esm.min.js");
    const ours = await import("/socket.io/transports.js");
    const late = (what) => new Promise((_, reject) => setTimeout(() => reject(new Error(what)), {MILLISECONDS}));
    const within = (promise, what) => Promise.race([promise, late(what)]);
    const talk = async (kinds) => {{
        const transports = kinds.map((kind) => ours[kind] ?? client[kind]);
        const socket = client.io({{ transports, reconnection: false, forceNew: true }});
        await within(new Promise((resolve, reject) => {{
            socket.once("connect", resolve);
            socket.once("connect_error", reject);
        }}), `connection by ${{kinds}}`);
        const {{ engine }} = socket.io;
        const path = [engine.transport.name];
        if (kinds.length > 1) {{
            const upgraded = new Promise((resolve) => engine.once("upgrade", resolve));
            if (engine.transport.name !== "websocket") await within(upgraded, "upgrade");
            path.push(engine.transport.name);
        }}
        const heard = [];
        for (let number = 0; number < 5; number++) {{
            const next = new Promise((resolve) => socket.once("echo back", resolve));
            socket.emit("echo back", number);
            heard.push(await within(next, `event ${{number}} by ${{kinds}}`));
        }}
        const text = "abc".repeat(100_000);
        const back = await within(socket.emitWithAck("echo", text), `a large one by ${{kinds}}`);
        socket.disconnect();
        return {{ path, heard, same: back === text }};
    }};
    const protocol = performance.getEntriesByType("navigation")[0].nextHopProtocol;
    return [protocol, await Promise.all(lists.map(talk))];
}}"""


async def test_all_plug_ins(proxy: ProxyProcess) -> None:
    lists = [*[[kind] for kind in TRANSPORTS.values()], ["SSE", "WebSocket"]]
    async with chromium() as browser:
        page = await (await browser.new_context(ignore_https_errors=True)).new_page()
        await page.goto(f"https://127.0.0.1:{proxy['documented']}/")
        protocol, found = await page.evaluate(TALK, lists)
    assert protocol == "h2"
    for path, each in zip([*[[name] for name in TRANSPORTS], ["sse", "websocket"]], found, strict=True):
        assert each == {"path": path, "heard": [0, 1, 2, 3, 4], "same": True}
