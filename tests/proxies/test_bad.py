"""Proxies that nobody can mend: what each transport does behind them, and that the upgrade never costs anything."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import madang
from faces.support.clients import CLIENTS, STREAMS, Client
from faces.support.http import Connection
from proxies.support.bad import BEHAVIOURS, CUT_SECONDS, BadProxy
from proxies.support.documented import unknown_proxies
from proxies.support.real import ProxyProcess
from support.npm import NODE
from support.server import ServerProcess

pytestmark = pytest.mark.proxies

#: What is held back comes never. This is how long we look.
LOOK_SECONDS = 1.5
LONG_MILLISECONDS = int(CUT_SECONDS * 1_500)
SETTLE_MILLISECONDS = 1_500
WHOLE_SECONDS = 60
#: How many numbers go each way while the upgrade is tried, as in `behind.mjs`.
NUMBERS = list(range(40))
#: The documented rows, in the order of `BEHAVIOURS`, and the transports of their cells.
COLUMNS = [{"polling", "jsonp"}, {"shortpolling"}, set(STREAMS), {"websocket"}]
STAYS = "stays on polling"


@contextlib.asynccontextmanager
async def bad_proxies(server: ServerProcess) -> AsyncIterator[dict[str, BadProxy]]:
    async with asyncio.timeout(WHOLE_SECONDS), contextlib.AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(BadProxy(server.port, name)) for name in BEHAVIOURS}


def documented(behaviour: str) -> list[str]:
    return list(unknown_proxies().values())[BEHAVIOURS.index(behaviour)]


# ---- each transport ----


async def opens(name: str, port: int) -> str:
    """Whether the first packet comes in time; what is held back comes never."""
    target = CLIENTS[name](port).target()
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    head = b""
    async with Connection(port) as connection:
        connection.send("GET", target, headers=upgrade if name == "websocket" else {})
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                head = await connection.reader.readuntil(b"\r\n\r\n")
                if head.split(b" ")[1] not in (b"101", b"200"):
                    return "refused"
                await connection.reader.readuntil(b"maxPayload")
        except TimeoutError:
            return "opens, and is silent" if head else "never opens"
    return "opens"


async def talks(client: Client) -> str:
    """Say something, and wait for long."""
    async with client:
        try:
            await client.join()
            for number in range(3):
                assert await client.call("echo", number) == number
            assert await client.call("slow echo", LONG_MILLISECONDS, "at last") == "at last"
        except (EOFError, ValueError, OSError, ConnectionClosed):  # a response or a frame that doesn't come whole
            return "cut"
        return "works"


async def tried(name: str, port: int) -> str:
    found = await opens(name, port)
    if found != "opens":
        return found
    found = await talks(CLIENTS[name](port))
    if found == "cut":
        assert await opens(name, port) == "opens"
        return "connects anew"
    return found


async def test_each_transport(calm: ServerProcess) -> None:
    async with bad_proxies(calm) as proxies:
        cells = [(behaviour, name) for behaviour in BEHAVIOURS for name in CLIENTS]
        found = await asyncio.gather(*[tried(name, proxies[behaviour].port) for behaviour, name in cells])
    for behaviour in BEHAVIOURS:
        words = [{found[cells.index((behaviour, name))] for name in column} for column in COLUMNS]
        singular = {"work": "works", "never open": "never opens", "connect anew": "connects anew"}
        assert words == [{singular.get(cell, cell)} for cell in documented(behaviour)[:4]], behaviour


# ---- the upgrade ----


async def official_client(node: str, urls: Mapping[str, str], certificate: Path | None = None, **told: Any) -> Any:
    """What became of the official client behind each proxy."""
    told = {"urls": urls, "settle": SETTLE_MILLISECONDS, **told}
    environment = {**os.environ, **({"NODE_EXTRA_CA_CERTS": str(certificate)} if certificate else {})}
    process = await asyncio.create_subprocess_exec(
        node,
        "behind.mjs",
        json.dumps(told),
        cwd=NODE,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WHOLE_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    return json.loads(output)


def lost_nothing(found: dict[str, Any]) -> bool:
    return found["heard"] == found["counted"] == NUMBERS and found["connections"] == 1 and not found["reasons"]


async def test_the_official_client_stays_on_polling(calm: ServerProcess, node: str) -> None:
    async with bad_proxies(calm) as proxies:
        urls = {name: f"http://127.0.0.1:{proxy.port}" for name, proxy in proxies.items()}
        cut = [name for name in BEHAVIOURS if documented(name)[4] != STAYS]
        found = await official_client(node, urls, transports=["polling", "websocket"], twice=cut)
        for name, proxy in proxies.items():
            assert proxy.upgrades >= 1, f"{name}: no upgrade was tried"
    for name in BEHAVIOURS:
        if documented(name)[4] == STAYS:
            assert found[name]["transport"] == "polling", (name, found[name])
            assert lost_nothing(found[name]), (name, found[name])
        else:
            assert documented(name)[4] == "connects anew"
            assert found[name]["connections"] >= 2, (name, found[name])


async def test_the_official_client_that_begins_with_websocket(calm: ServerProcess, node: str) -> None:
    """It tries its next transport if the first one fails, and never if nothing happens."""
    async with bad_proxies(calm) as proxies:
        names = ("refuse 400", "refuse 502", "swallow")
        urls = {name: f"http://127.0.0.1:{proxies[name].port}" for name in names}
        told = {"transports": ["websocket", "polling"], "options": {"tryAllTransports": True, "timeout": 700}}
        found = await official_client(node, urls, **told)
    for name in names[:2]:
        assert found[name]["transport"] == "polling", (name, found[name])
        assert lost_nothing(found[name]), (name, found[name])
    assert found["swallow"]["connections"] == 0
    assert set(found["swallow"]["errors"]) == {"timeout"}


async def test_our_client_stays_on_polling(calm: ServerProcess) -> None:
    async def stay(name: str, proxy: BadProxy) -> None:
        heard: list[int] = []
        async with madang.Client(f"http://127.0.0.1:{proxy.port}", proxy=None) as client:
            client.on("echo back", heard.append)
            for number in NUMBERS:
                client.emit("echo back", number)
                client.emit("count", number)
                await asyncio.sleep(SETTLE_MILLISECONDS / 1_000 / len(NUMBERS))
            assert await client.call("counted", timeout=10) == NUMBERS, name
            assert client.manager.transport == "polling", name
            assert heard == NUMBERS, name
        assert proxy.upgrades >= 1, f"{name}: no upgrade was tried"

    async with bad_proxies(calm) as proxies, asyncio.TaskGroup() as group:
        for name, proxy in proxies.items():
            if documented(name)[4] == STAYS:
                group.create_task(stay(name, proxy))


async def test_real_proxies_and_real_clients(
    real_nginx: ProxyProcess, real_haproxy: ProxyProcess, node: str, certificate: tuple[Path, Path]
) -> None:
    """As above, behind nginx and HAProxy: who can move moves, and who can't stays."""
    ports = {
        "nginx-default": real_nginx["default"],
        "nginx-documented": real_nginx["documented"],
        "haproxy-default": real_haproxy["default"],
        "haproxy-documented": real_haproxy["documented"],
    }
    urls = {
        name: f"{'https' if name.endswith('documented') else 'http'}://127.0.0.1:{port}" for name, port in ports.items()
    }
    found = await official_client(node, urls, certificate[1], transports=["polling", "websocket"])
    for name in ports:
        assert found[name]["transport"] == ("polling" if name == "nginx-default" else "websocket"), found[name]
        assert lost_nothing(found[name]), (name, found[name])
