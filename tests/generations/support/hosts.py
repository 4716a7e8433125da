"""How a meeting is held: programs and pages with guests, led through its phases at the same time."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from playwright.async_api import Browser, Page, Route
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from generations.support.guests import Guest
from support.npm import NODE
from support.server import ServerProcess

__all__ = ["Host", "Pages", "Program", "hold"]

#: One step of a guest: {"step": name} and {"ok": bool, "note"?, "error"?} or {"lacks": True}.
Step = dict[str, Any]
#: For all guests of a host to end a phase. Each of their steps has a deadline of its own.
PHASE_SECONDS = 240
PACKAGES = NODE / "node_modules"


class Host(Protocol):
    """What has guests in it: a process, or a browser."""

    guests: Sequence[Guest]

    async def phase(self, name: str, **given: object) -> dict[str, list[Step]]:
        """Let all guests go through a phase; their steps, by their names."""
        ...


class Program:
    """A process that prints what its guests did, a line for each."""

    def __init__(self, command: Sequence[str], url: str, guests: Sequence[Guest], env: Mapping[str, str] | None = None):
        self.guests = guests
        self.noise: list[str] = []
        self._env = env
        self._command = [*command, json.dumps({"url": url, "guests": [guest.told() for guest in guests]})]

    async def __aenter__(self) -> Self:
        pipe, out = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=NODE, env=self._env, stdin=pipe, stdout=pipe, stderr=out, limit=1 << 20
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def phase(self, name: str, **given: object) -> dict[str, list[Step]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"phase": name, **given}).encode() + b"\n")
        found: dict[str, list[Step]] = {}
        try:
            async with asyncio.timeout(PHASE_SECONDS):
                while len(found) < len(self.guests):
                    line = await self._process.stdout.readline()
                    if not line:
                        break
                    if line.startswith(b'{"guest"'):
                        said = json.loads(line)
                        assert said["phase"] == name, f"{said} during {name}"
                        found[said["guest"]] = said["steps"]
                    else:
                        self.noise.append(line.decode(errors="replace").rstrip())
        except TimeoutError:
            pass  # those who have not answered are told below
        for guest in self.guests:
            why = "\n".join(["no answer of the program, which also said:", *self.noise[-20:]])
            found.setdefault(guest.name, [{"step": name, "ok": False, "error": why}])
        return found


#: Gives old clients what Internet Explorer had: a document apart from the page, here that of a hidden frame.
HTMLFILE = """
window.ActiveXObject = function (name) {
  if (name !== "htmlfile") throw new Error(name);
  const frame = document.createElement("iframe");
  frame.style.display = "none";
  document.body.append(frame);
  frame.contentDocument.parentWindow = frame.contentWindow;
  return frame.contentDocument;
};
window.CollectGarbage = () => {};
"""

#: See tests/browser/test_flash_film.py: what the player Ruffle needs of a page.
BEFORE_FLASH = """
window.NativeWebSocket = window.WebSocket;
window.WebSocket = undefined;
window.RufflePlayer = { config: {
  publicPath: "/flash/ruffle/", allowScriptAccess: true, autoplay: "on", unmuteOverlay: "hidden", splashScreen: false,
  logLevel: "warn", socketProxy: [{ host: "127.0.0.1", port: PORT, proxyUrl: "PROXY" }],
} };
window.WEB_SOCKET_SWF_LOCATION = "/flash/WebSocketMain.swf";
"""
AFTER_FLASH = """
const Film = window.WebSocket;
window.WebSocket = function (url, ...more) {
  return url.startsWith("PROXY") ? new NativeWebSocket(url, ...more) : new Film(url, ...more);
};
Object.assign(window.WebSocket, Film);
window.WebSocket.prototype = Film.prototype;
Film.prototype.__createMessageEvent = (type, data) => new MessageEvent(type, { data });
"""

TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".swf": "application/x-shockwave-flash"}


def _module(name: str) -> str:
    return "data:text/javascript;base64," + base64.b64encode((NODE / name).read_bytes()).decode()


@contextlib.asynccontextmanager
async def relay(port: int) -> AsyncIterator[str]:
    """Lets a page speak TCP to a port: the binary messages of a WebSocket are the bytes, both ways."""

    async def carry(ws: ServerConnection) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return  # the server is away

        async def back() -> None:
            with contextlib.suppress(ConnectionError, ConnectionClosed):
                while data := await reader.read(65_536):
                    await ws.send(data)
            await ws.close()

        answers = asyncio.create_task(back())
        try:
            async for message in ws:
                assert isinstance(message, bytes)
                writer.write(message)
                await writer.drain()
        except (ConnectionError, ConnectionClosed):
            pass  # one of both has gone without a farewell
        finally:
            writer.close()
            await answers

    async with serve(carry, "127.0.0.1", 0, max_size=None, compression=None) as listening:
        yield f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


class Pages:
    """A browser with a page for each guest.

    Each page is in a context of its own: a browser opens six connections at a time to a server, for all pages of one.
    """

    def __init__(self, browser: Browser, url: str, guests: Sequence[Guest]):
        self.guests = guests
        self.problems: dict[str, list[str]] = {guest.name: [] for guest in guests}
        self._browser = browser
        self._url = url
        self._pages: dict[str, Page] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        port = int(self._url.rpartition(":")[2])
        self._proxy = await self._stack.enter_async_context(relay(port))
        for guest in self.guests:
            await self._open(guest, port)
        return self

    async def __aexit__(self, *exception: object) -> None:
        for page in self._pages.values():
            await page.context.close()
        await self._stack.aclose()

    async def _open(self, guest: Guest, port: int) -> None:
        context = await self._browser.new_context()
        page = self._pages[guest.name] = await context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self.problems[guest.name].append(str(error)))
        if guest.transport == "flashsocket":
            film = Path(guest.source).parent / "WebSocketMain.swf"

            async def flash(route: Route) -> None:
                name = route.request.url.rpartition("/")[2].partition("?")[0]
                path = film if name == film.name else PACKAGES / "@ruffle-rs" / "ruffle" / name
                await route.fulfill(body=path.read_bytes(), content_type=TYPES[path.suffix])

            await page.route("**/flash/**", flash)
        await page.goto(self._url)

        async def script(text: str, **options: str) -> None:
            filled = text.replace("PORT", str(port)).replace("PROXY", self._proxy)
            await page.add_script_tag(content=filled, **options)

        modules = {"imports": {"awaiting": _module("awaiting.mjs")}}
        await page.add_script_tag(content=json.dumps(modules), type="importmap")
        if guest.transport == "htmlfile":
            await script(HTMLFILE)
        if guest.transport == "flashsocket":
            await script(BEFORE_FLASH)
            await page.add_script_tag(url="/flash/ruffle/ruffle.js")
        await page.add_script_tag(content=Path(guest.source).read_text())
        if guest.transport == "flashsocket":
            await script(AFTER_FLASH)
        meeting = (NODE / "meeting.mjs").read_text().replace('"./awaiting.mjs"', '"awaiting"')
        told = json.dumps({**guest.told(), "url": self._url})
        await page.add_script_tag(content=f"{meeting}\nwindow.guest = new Guest(window.io, {told});", type="module")
        await page.wait_for_function("() => window.guest")

    async def phase(self, name: str, **given: object) -> dict[str, list[Step]]:
        async def one(guest: Guest) -> list[Step]:
            page = self._pages[guest.name]
            async with asyncio.timeout(PHASE_SECONDS):
                return await page.evaluate("([name, given]) => guest.play(name, given)", [name, given])

        answers = await asyncio.gather(*(one(guest) for guest in self.guests), return_exceptions=True)
        found = {}
        for guest, answer in zip(self.guests, answers, strict=True):
            if isinstance(answer, BaseException):
                answer = [{"step": name, "ok": False, "error": repr(answer)}]
            for step in answer:
                if step.get("ok") is False and self.problems[guest.name]:
                    step["error"] += f"\nThe page said: {self.problems[guest.name][:5]}"
            found[guest.name] = answer
        return found


async def hold(server: ServerProcess, hosts: Sequence[Host], *, restart: bool = True) -> dict[str, list[Step]]:
    """Hold the meeting: each guest alone, all in one room, a restart of the server, and the farewells.

    Returns:
        The steps of each guest, by its name.
    """
    steps: dict[str, list[Step]] = {guest.name: [] for host in hosts for guest in host.guests}
    began = time.monotonic()

    async def phase(name: str, **given: object) -> None:
        for found in await asyncio.gather(*(host.phase(name, **given) for host in hosts)):
            for guest, done in found.items():
                steps[guest] += done
        print(f"{name}: {time.monotonic() - began:.1f} s")

    def present() -> list[str]:
        return [name for name, done in steps.items() if all(step.get("ok") is not False for step in done)]

    await phase("meet")
    speaking = [name for host in hosts for guest in host.guests if (name := guest.name) in present()]
    shows = [guest.name for host in hosts for guest in host.guests if "binary" not in guest.lacks]
    shower = next((name for name in reversed(shows) if name in speaking), "")
    await phase("talk", round=1, names=speaking, show=shower)
    if restart:
        await asyncio.to_thread(server.restart)
        await phase("comeback")
        await phase("talk", round=2, names=present())
    await phase("part")
    return steps
