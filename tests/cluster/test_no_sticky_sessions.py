"""Real clients before servers none of which they come to twice in a row."""

import asyncio
import contextlib
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from client.conftest import QUICK, WAYS, until
from cluster.support.buses import KINDS, Kind
from cluster.support.courtyard import FACES, Courtyard
from generations.support.guests import GUESTS, STEPS, Guest, invited
from generations.support.hosts import Host, Pages, Program, hold
from madang import Client
from support.chromium import chromium

pytestmark = pytest.mark.asyncio(loop_scope="module")

APP = "generations.support.meeting:app"
SETTINGS: dict[str, object] = {
    "generations": "all",
    "transports": "all",
    "origins": "*",
    "ping_interval_seconds": 2.0,
    "ping_timeout_seconds": 12.0,
    "poll_timeout_seconds": 3.0,
}
#: In pages: each transport of each generation.
PAGES = re.compile(
    "0.7.11, Chromium, jsonp|0.8.7, Chromium, htmlfile|0.9.17, Chromium, (polling|flash)|1.0.6, Chromium, base64|"
    "1.7.4, Chromium, upgrade|2.5.0, Chromium, jsonp|4.2.0, Chromium, jsonp|4.8.4, Chromium, upgrade|"
    "0.[78].*Node.*websocket"
)
#: Where an id stands in what is asked for.
SID = re.compile(r"sid=([\w-]{20})|/1/[a-z-]+/([\w-]{20})")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def courtyard() -> AsyncIterator[Courtyard]:
    async with Courtyard(SETTINGS, APP) as courtyard:
        yield courtyard
        assert not courtyard.tracebacks(), "\n".join(courtyard.tracebacks())


def check_that_nothing_stuck(courtyard: Courtyard) -> None:
    """No request was refused, and those of a session went to all servers."""
    asked: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for server, status, _, target in courtyard.requests():
        found = SID.search(target)
        if found is not None:
            asked[found[1] or found[2]].append((server, status))
    for sid, requests in asked.items():
        # 499: a client that leaves breaks off its poll. One more may be under way when its good-bye arrives.
        wrong = [status for _, status in requests[:-2] if status not in (200, 101, 499)]
        assert not wrong, f"{sid}: {wrong}\n{courtyard.log}"
    busy = [requests for requests in asked.values() if len(requests) >= 12]
    assert busy
    assert all(len({server for server, _ in requests}) == len(courtyard.servers) for requests in busy)


async def meet(courtyard: Courtyard, node: str, guests: list[Guest]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        hosts: list[Host] = []
        pages = [guest for guest in guests if guest.runtime == "Chromium"]
        if pages:
            browser = await stack.enter_async_context(chromium())
            hosts.append(await stack.enter_async_context(Pages(browser, courtyard.url, pages)))
        others = [guest for guest in guests if guest.runtime == "Node.js"]
        hosts.append(await stack.enter_async_context(Program([node, "meet.mjs"], courtyard.url, others)))
        found = await hold(courtyard, hosts, restart=False)
    failed = [
        f"{guest.name}: {step['step']}: {step['error']}"
        for guest in guests
        for step in found[guest.name]
        if step.get("ok") is False
    ]
    assert not failed, "\n".join([*failed, courtyard.log[-20_000:]])
    assert all({step["step"] for step in found[guest.name]} == {*STEPS} - {"reconnect"} for guest in guests)
    check_that_nothing_stuck(courtyard)


@pytest.mark.node
async def test_all_generations_meet(node: str, courtyard: Courtyard) -> None:
    # WebSockets of the drafts before RFC 6455 need `madang serve`, and one of the servers is behind another one.
    drafts = [("0.7.11", "websocket"), ("0.8.7", "websocket")]
    guests = [guest for guest in invited(None) if (guest.version, guest.transport) not in drafts]
    await meet(courtyard, node, [guest for guest in guests if guest.runtime == "Node.js"])


@pytest.mark.node
@pytest.mark.browser
@pytest.mark.exhaustive
async def test_pages_and_old_drafts(node: str) -> None:
    settings = {**SETTINGS, "ping_timeout_seconds": 60.0}  # a film takes long to open
    async with Courtyard(settings, APP, ["uvicorn-fast"] * 3) as courtyard:
        await meet(courtyard, node, [guest for guest in GUESTS if PAGES.search(guest.name)])
        assert not courtyard.tracebacks()


@pytest.mark.parametrize("way", ["polling", "shortpolling", "sse", "multipart", "upgrade", "sse upgrade"])
async def test_a_client_of_ours(courtyard: Courtyard, way: str) -> None:
    await talk(courtyard, way)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.fixture not in (None, "local_broker")], ids=str)
async def test_each_bus_carries_requests(request: pytest.FixtureRequest, prefix: str, kind: Kind) -> None:
    settings = kind.shared(request, prefix)
    async with Courtyard(SETTINGS, APP, FACES[:2], settings.url) as courtyard:
        for way in ("polling", "sse", "upgrade"):
            await talk(courtyard, way)
        assert not courtyard.tracebacks(), "\n".join(courtyard.tracebacks())


async def talk(courtyard: Courtyard, way: str) -> None:
    """Say and hear much and large things."""
    heard: list[Any] = []
    reasons: list[str] = []
    client = Client(courtyard.url, transports=WAYS[way], **QUICK)
    client.on("number", lambda number, text: heard.append(number))
    client.on("disconnect", reasons.append)
    async with client:
        if "upgrade" in way:
            await until(lambda: client.manager.transport == "websocket")
        large = "é" * 300_000  # more than may be under way at a time
        assert await client.call("echo", large, b"\x00\xff") == (large, b"\x00\xff")
        for number in range(200):
            client.emit("count", number, "x")
        client.emit("burst", 200)
        assert await client.call("counted") == list(range(200))
        await until(lambda: len(heard) == 200)
        assert heard == list(range(200))
        assert reasons == []


async def test_an_id_that_nobody_has(courtyard: Courtyard) -> None:
    async with httpx.AsyncClient(base_url=courtyard.url) as http:
        opened = await http.get("/socket.io/?EIO=4&transport=polling")
        sid = json.loads(opened.text[1:])["sid"]
        for unknown in ("x" * 20, sid[:4] + "x" * 16, sid[:4]):
            for _ in courtyard.servers:
                refused = await http.get(f"/socket.io/?EIO=4&transport=polling&sid={unknown}")
                assert (refused.status_code, refused.json()["message"]) == (400, "Session ID unknown")


async def test_a_server_that_dies_takes_only_its_own_clients_along(courtyard: Courtyard) -> None:
    *others, victim = courtyard.servers
    polls = {}
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for server in courtyard.servers:
            # Its session is where the first request goes; all that follow go to anybody.
            url = f"http://127.0.0.1:{server.port}"
            http = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
            opened = await http.get(f"{url}/socket.io/?EIO=4&transport=polling")
            assert opened.status_code == 200
            clients.append((server, http, json.loads(opened.text[1:])["sid"]))
        for server, http, sid in clients:
            query = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
            joined = await http.post(courtyard.url + query, content=b"40")
            assert joined.text == "ok"
            entrance = others[0] if server is not others[0] else others[1]
            await http.get(courtyard.url + query)
            polls[sid] = asyncio.create_task(http.get(f"http://127.0.0.1:{entrance.port}{query}"))
        await asyncio.sleep(0.2)  # they wait at the owners, or come a little later: both ends well
        await asyncio.to_thread(victim.kill)
        try:
            for server, http, sid in clients:
                query = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
                answered = await polls[sid]
                if server is victim:
                    assert (answered.status_code, answered.json()["message"]) == (400, "Session ID unknown")
                    again = await http.get(f"http://127.0.0.1:{others[0].port}{query}")
                    assert again.status_code == 400
                else:
                    assert answered.text in ("2", "6"), answered.text  # its ping, or the end of the poll
                    assert (await http.post(f"http://127.0.0.1:{others[1].port}{query}", content=b"3")).text == "ok"
        finally:
            await asyncio.to_thread(victim.start)


async def test_a_server_that_leaves_lets_go_the_clients_of_others(courtyard: Courtyard) -> None:
    owner, entrance = courtyard.servers[1], courtyard.servers[0]
    heard: list[Any] = []
    async with httpx.AsyncClient(timeout=30) as http:
        opened = await http.get(f"http://127.0.0.1:{owner.port}/socket.io/?EIO=4&transport=polling")
        query = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened.text[1:])['sid']}"
        await http.post(f"http://127.0.0.1:{owner.port}{query}", content=b"40")
        assert (await http.get(f"http://127.0.0.1:{entrance.port}{query}")).text.startswith("40")
        poll = asyncio.create_task(http.get(f"http://127.0.0.1:{entrance.port}{query}"))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(entrance.stop)
        try:
            heard.append((await poll).text)
            assert heard in (["6"], ["2"])
            said = await http.post(f"http://127.0.0.1:{owner.port}{query}", content=b'420["echo","still here"]')
            assert said.text == "ok"
            answer = await http.get(f"http://127.0.0.1:{owner.port}{query}")
            assert '430["still here"]' in answer.text
        finally:
            await asyncio.to_thread(entrance.start)
