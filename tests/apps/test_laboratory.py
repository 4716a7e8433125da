"""The laboratory over real sockets: pages that ask for lanes, clients under test, and what is told of them."""

import asyncio
import re
import socket
import subprocess
import sys
import threading
import tracemalloc
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from madang import Client, ConnectError, cli
from madang.apps.laboratory import AssetsMissingError, create_app
from madang.apps.laboratory import protocol as p
from madang.apps.laboratory.app import page_policy
from madang.apps.laboratory.events import make_server
from madang.apps.laboratory.lanes import Lanes, available
from madang.apps.laboratory.measure import measurable
from madang.apps.laboratory.wire import listen
from madang.faces.uvicorn import serve_async

WITHIN = 20.0
Visit = Callable[[], Awaitable["Viewer"]]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WITHIN):
        while not condition():
            await asyncio.sleep(0.01)


def lane_threads() -> int:
    return sum(thread.name.startswith("lane ") for thread in threading.enumerate())


class Viewer:
    """A page: what it asks, and what it was told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.travels: dict[str, list[list[Any]]] = {}
        self.firsts: dict[str, list[tuple[int, int]]] = {}
        self.stats: dict[str, dict[str, Any]] = {}
        self.samples: dict[str, list[float]] = {}
        self.closed: list[tuple[str, str]] = []
        client.on("trace", self._trace)
        client.on("stats", self._stats)
        client.on("lane-closed", lambda lane, reason: self.closed.append((lane, reason)))

    def _trace(self, lane: str, travels: list[list[Any]], first: int) -> None:
        self.travels.setdefault(lane, []).extend(travels)
        self.firsts.setdefault(lane, []).append((first, len(travels)))

    def _stats(self, lane: str, stats: dict[str, Any]) -> None:
        self.stats[lane] = stats
        self.samples.setdefault(lane, []).extend(stats["upLatencyMs"])

    async def ask(self, event: str, *args: Any) -> Any:
        return await self.client.call(event, *args, timeout=WITHIN)

    async def open(self, name: str, **settings: Any) -> dict[str, Any]:
        opened: dict[str, Any] = await self.ask("open", name, settings)
        assert opened["outcome"] == "opened", opened
        return opened

    async def settled(self, lane: str) -> dict[str, Any]:
        """The statistics, once nothing travels any more."""
        last: dict[str, Any] = {}
        async with asyncio.timeout(WITHIN):
            while True:
                now = self.stats.get(lane, {})
                if now and last and now["atMs"] != last["atMs"]:
                    if {**now, "atMs": 0, "cpuMs": 0} == {**last, "atMs": 0, "cpuMs": 0}:
                        return now
                    last = now
                last = last or now
                await asyncio.sleep(0.05)


class Probe:
    """A client under test."""

    def __init__(self, lane: dict[str, Any], **settings: Any) -> None:
        url = f"http://127.0.0.1:{lane['port']}"
        self.client = Client(url, auth={"lane": lane["lane"]}, transports=[lane["name"]], **settings)
        self.ticks: list[tuple[int, float, Any]] = []
        self.latencies: list[float] = []
        self.client.on("tick", self._tick)

    def _tick(self, seq: int, sent_ms: float, payload: Any) -> None:
        self.ticks.append((seq, sent_ms, payload))
        self.latencies.append(p.clock_ms() - sent_ms)

    async def __aenter__(self) -> "Probe":
        await self.client.connect()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.client.close()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>Laboratory</title>")
    (tmp_path / "assets" / "app-1.js").write_text("'use strict'")
    return tmp_path


@pytest.fixture
async def port(page: Path) -> AsyncIterator[int]:
    before = lane_threads()
    async with serve_async(create_app(static=page)) as port:
        yield port
    assert lane_threads() == before


@pytest.fixture
async def visit(port: int) -> AsyncIterator[Visit]:
    clients = []

    async def arrive() -> Viewer:
        client = Client(f"http://127.0.0.1:{port}", transports=["websocket"])
        clients.append(client)
        await client.connect()
        return Viewer(client)

    yield arrive
    for client in clients:
        await client.close()


@pytest.fixture
async def viewer(visit: Visit) -> Viewer:
    return await visit()


# ---- what there is


async def test_hello_says_what_there_is(viewer: Viewer) -> None:
    hello = await viewer.ask("hello")
    found = {one["name"]: one for one in hello["transports"]}
    assert tuple(found) == tuple(p.LANES)
    assert tuple(found)[: len(p.TRANSPORTS)] == p.TRANSPORTS
    assert {name for name, one in found.items() if one["available"]} == set(available())
    assert {"polling", "websocket"} <= set(available())
    assert all(one["why"] for one in found.values() if not one["available"])
    assert hello["limits"]["rate"] == [0, 200]
    assert hello["limits"]["lanesPerViewer"] == p.LIMITS.lanes_per_viewer


async def test_the_clock_is_that_of_the_ticks(viewer: Viewer) -> None:
    before = p.clock_ms()
    told = await viewer.ask("clock")
    assert before <= told <= p.clock_ms()


@pytest.mark.parametrize(
    ("event", "args", "error"),
    [
        ("open", ("carrier pigeon", {}), "there is no transport"),
        ("open", ("websocket", {"rate": 100_000}), "rate"),
        ("open", ("websocket", {"size": -1}), "size"),
        ("open", ("websocket", {"delayMs": 1e9}), "delayMs"),
        ("open", ("websocket", {"direction": "sideways"}), "direction"),
        ("set", ("no such lane", {"rate": 1}), "closed"),
    ],
    ids=range(6),
)
async def test_what_is_refused(viewer: Viewer, event: str, args: tuple[Any, ...], error: str) -> None:
    answer = await viewer.ask(event, *args)
    assert answer["outcome"] == "refused"
    assert error in answer["error"]


async def test_names_that_nobody_knows_are_neither_kept_nor_repeated(viewer: Viewer) -> None:
    tracemalloc.start()
    try:
        for number in range(20):
            refused = await viewer.ask("open", f"{number}" + "x" * 300_000, {})
            assert refused["outcome"] == "refused"
            assert len(refused["error"]) < 200
        assert tracemalloc.get_traced_memory()[0] < 3_000_000  # all of them are 6 MB
    finally:
        tracemalloc.stop()


async def test_earlier_clients_name_their_lane_in_the_query(viewer: Viewer) -> None:
    opened = await viewer.open("v1-upgrade")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{opened['port']}") as http:
        for lane, answer in ((opened["lane"], "40"), ("somebody else's", "44")):
            query = {"EIO": "3", "transport": "polling", "b64": "1", "lane": lane}
            hello = await http.get("/socket.io/", params=query)
            sid = re.findall('"sid":"([^"]+)"', hello.text)[0]
            told = hello.text
            while answer not in re.findall(r":(4[04])", told):
                told += (await http.get("/socket.io/", params={**query, "sid": sid})).text
    opened = await viewer.open("v0-polling")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{opened['port']}") as http:
        hello = await http.get("/socket.io/1/", params={"lane": opened["lane"]})
        sid, _, _, transports = hello.text.split(":")
        assert transports == "xhr-polling"
        assert (await http.get(f"/socket.io/1/xhr-polling/{sid}")).text == "1::"
        refused = await http.get("/socket.io/?EIO=4&transport=polling&sid=x")
        assert refused.status_code == 400


async def test_closing_what_is_closed_is_no_mistake(viewer: Viewer) -> None:
    assert await viewer.ask("close", "no such lane") == {"outcome": "done"}


# ---- lanes


@pytest.mark.parametrize("name", measurable())
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
async def test_events_both_ways(viewer: Viewer, name: str, binary: bool) -> None:
    lane = await viewer.open(name, rate=50, size=120, direction="both", delayMs=20, binary=binary)
    async with Probe(lane) as probe:
        for seq in range(10):
            probe.client.emit("tick", seq, p.clock_ms(), b"up" if binary else "up")
        await until(lambda: len(probe.ticks) >= 10)
        await until(lambda: viewer.stats.get(lane["lane"], {}).get("messagesUp") == 10)
        await until(lambda: viewer.stats[lane["lane"]]["messagesDown"] >= 10)
    payloads = {payload for _, _, payload in probe.ticks}
    (payload,) = payloads
    assert type(payload) is (bytes if binary else str)
    assert len(payload) == 120
    assert [seq for seq, _, _ in probe.ticks] == list(range(len(probe.ticks)))
    assert min(probe.latencies) >= 19.5
    assert len(viewer.samples[lane["lane"]]) == 10
    assert min(viewer.samples[lane["lane"]]) >= 19.5
    stats = viewer.stats[lane["lane"]]
    assert stats["transport"] in (name, "")
    assert stats["upLost"] == 0
    assert stats["cpuMs"] > 0
    assert stats["messagesDown"] >= 10
    travelled = [one for one in viewer.travels[lane["lane"]] if one[0] in ("request", "response", "frame")]
    assert travelled
    assert all(arrived - sent >= 19.9 for _, _, sent, arrived, *_ in travelled)


async def test_the_time_line_of_long_polling_and_of_a_websocket(viewer: Viewer) -> None:
    labels = {}
    for name in ("polling", "websocket"):
        lane = await viewer.open(name, rate=50, size=10)
        async with Probe(lane) as probe:
            await until(lambda probe=probe: len(probe.ticks) >= 5)  # type: ignore[misc]
        await until(lambda lane=lane: any(one[0] == "close" for one in viewer.travels[lane["lane"]]))  # type: ignore[misc]
        labels[name] = [(one[0], one[1], one[5]) for one in viewer.travels[lane["lane"]]]
    assert {
        ("open", "up", ""),
        ("request", "up", "GET handshake"),
        ("response", "down", "200 open empty"),
        ("request", "up", "GET poll"),
        ("request", "up", "POST send connect empty"),
        ("response", "down", "200 ok empty"),
        ("response", "down", "200"),
        ("close", "up", ""),
    } <= set(labels["polling"])
    assert labels["websocket"][:5] == [
        ("open", "up", ""),
        ("request", "up", "GET upgrade"),
        ("response", "down", "101"),
        ("frame", "down", "text open empty"),
        ("frame", "up", "text connect empty"),
    ]
    assert labels["websocket"].count(("frame", "down", "text")) >= 5


async def test_settings_change_while_it_runs(viewer: Viewer) -> None:
    lane = await viewer.open("websocket", rate=0)
    async with Probe(lane) as probe:
        await asyncio.sleep(0.1)
        assert probe.ticks == []
        assert await viewer.ask("set", lane["lane"], {"rate": 100, "size": 7}) == {"outcome": "done"}
        await until(lambda: len(probe.ticks) >= 3)
        assert len(probe.ticks[0][2]) == 7
        await viewer.ask("set", lane["lane"], {"delayMs": 300, "binary": True})
        await until(lambda: isinstance(probe.ticks[-1][2], bytes) and probe.latencies[-1] >= 299)
        await viewer.ask("set", lane["lane"], {"direction": "up", "delayMs": 0})
        await asyncio.sleep(0.5)  # longer than what was still under way
        count = len(probe.ticks)
        await asyncio.sleep(0.1)
        assert len(probe.ticks) == count
    assert [seq for seq, _, _ in probe.ticks] == list(range(count))


async def test_a_thousand_events_in_order_through_a_delayed_wire() -> None:
    lanes = Lanes()
    lane = await lanes.open("websocket", p.Settings(rate=200, size=50, direction="both", delay_ms=30))
    async with Probe({"lane": lane.id, "port": lane.port, "name": lane.name}) as probe:
        for seq in range(1000):
            probe.client.emit("tick", seq, p.clock_ms(), "x" * 50)
        await until(lambda: lane.stats().messages_up == 1000)
        await until(lambda: len(probe.ticks) >= 100)
    assert [seq for seq, _, _ in probe.ticks] == list(range(len(probe.ticks)))
    assert lane.stats().up_lost == 0
    await lanes.close_all()
    assert len(lanes) == 0


async def test_what_comes_late_is_counted(viewer: Viewer) -> None:
    lane = await viewer.open("websocket", rate=0)
    async with Probe(lane) as probe:
        probe.client.emit("tick", 0, p.clock_ms(), "")
        probe.client.emit("tick", 1, p.clock_ms() - 1500, "")
        await until(lambda: viewer.stats.get(lane["lane"], {}).get("messagesUp") == 2)
    assert viewer.stats[lane["lane"]]["upLate"] == 1


# ---- bytes


async def exchange(port: int, *requests: bytes) -> tuple[int, bytes]:
    """Say each request on one connection, wait for its response; return how many bytes went up, and what came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length is not None
        got += head + await reader.readexactly(int(length[1]))
    writer.close()
    await writer.wait_closed()
    return sum(map(len, requests)), got


def get(name: str, more: str = "") -> bytes:
    return f"GET /socket.io/?EIO=4&transport={name}{more} HTTP/1.1\r\nHost: lane\r\n\r\n".encode()


def post(name: str, sid: str, body: bytes) -> bytes:
    head = f"POST /socket.io/?EIO=4&transport={name}&sid={sid} HTTP/1.1\r\nHost: lane\r\nContent-Type: text/plain\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def test_bytes_are_those_of_a_raw_client(viewer: Viewer) -> None:
    lane = await viewer.open("polling", rate=0, delayMs=5)
    up, got = await exchange(lane["port"], get("polling"))
    found = re.search(rb'"sid":"([^"]+)"', got)
    assert found is not None
    sid = found[1].decode()
    join = post("polling", sid, b'40{"lane":"%b"}' % lane["lane"].encode())
    more, rest = await exchange(lane["port"], join, get("polling", f"&sid={sid}"))
    assert b"40{" in rest
    stats = await viewer.settled(lane["lane"])
    assert (stats["bytesUp"], stats["bytesDown"], stats["requests"]) == (up + more, len(got) + len(rest), 3)
    bodies = sum(int(size) for size in re.findall(rb"(?i)content-length: (\d+)", got + rest))
    assert stats["headerBytesDown"] == stats["bytesDown"] - bodies
    assert stats["emptyResponses"] == 1
    assert sum(one[4] for one in viewer.travels[lane["lane"]]) == stats["bytesUp"] + stats["bytesDown"]


STREAMS = [name for name in ("sse", "multipart", "iframe") if name in available()]


@pytest.mark.parametrize("name", STREAMS)
async def test_each_event_of_a_stream_is_a_chunk(viewer: Viewer, name: str) -> None:
    lane = await viewer.open(name, rate=50, size=10, delayMs=5)
    reader, writer = await asyncio.open_connection("127.0.0.1", lane["port"])
    writer.write(get(name, "&j=0"))
    got = b""
    async with asyncio.timeout(WITHIN):
        while (found := re.search(rb'sid\\?":\\?"([\w-]+)', got)) is None:
            got += await reader.read(65_536)
        await exchange(lane["port"], post(name, found[1].decode(), b'40{"lane":"%b"}' % lane["lane"].encode()))
        while got.count(b"Madang is ") < 5:
            got += await reader.read(65_536)
        labels = [one[5] for one in viewer.travels[lane["lane"]] if one[0] == "chunk"]
        while labels.count("event") < 5:
            await asyncio.sleep(0.05)
            labels = [one[5] for one in viewer.travels[lane["lane"]] if one[0] == "chunk"]
    assert any("open" in label for label in labels)
    assert any("connect" in label for label in labels)
    requests = [one[5] for one in viewer.travels[lane["lane"]] if one[0] == "request"]
    assert requests == ["GET stream", "POST send connect empty"]
    writer.close()


@pytest.mark.skipif("webtransport" not in available(), reason="aioquic isn't installed")
async def test_a_lane_of_webtransport_is_reached_by_udp(viewer: Viewer) -> None:
    lane = await viewer.open("webtransport", delayMs=5)
    assert len(b64decode(lane["certificateHash"])) == 32
    # A version of QUIC that nobody speaks: the server answers with those that it does.
    strange = b"\xc0\x1a\x2a\x3a\x4a" + b"\x08" + b"d" * 8 + b"\x08" + b"s" * 8
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", lane["port"]))
        client.send(strange.ljust(1200, b"\0"))
        async with asyncio.timeout(WITHIN):
            answer = await asyncio.get_running_loop().sock_recv(client, 2000)
    assert answer[5:23] == b"\x08" + b"s" * 8 + b"\x08" + b"d" * 8
    stats = await viewer.settled(lane["lane"])
    assert (stats["bytesUp"], stats["bytesDown"], stats["requests"]) == (1200, len(answer), 0)
    seen = [(one[0], one[1], one[4], one[5]) for one in viewer.travels[lane["lane"]]]
    assert seen == [
        ("open", "up", 0, ""),
        ("datagram", "up", 1200, "handshake"),
        ("datagram", "down", len(answer), "handshake"),
    ]


# ---- who gets in, and how it ends


async def test_only_who_knows_the_lane_gets_in(viewer: Viewer) -> None:
    lane = await viewer.open("websocket", rate=0)
    for wrong in ({"lane": "x" * 24}, {"lane": "ä"}, {}, {"lane": None}):
        client = Client(f"http://127.0.0.1:{lane['port']}", auth=wrong, transports=["websocket"])
        with pytest.raises(ConnectError):
            await client.connect()
        await client.close()
    async with Probe(lane):
        pass


async def test_of_two_clients_the_newer_stays_and_numbers_go_on(viewer: Viewer) -> None:
    lane = await viewer.open("websocket", rate=100)
    async with Probe(lane, reconnection=False) as first, Probe(lane) as second:
        await until(lambda: not first.client.connected)
        count = len(first.ticks)
        await until(lambda: len(second.ticks) >= 5)
        assert second.ticks[0][0] >= count
        assert len(first.ticks) == count


async def test_closing_a_lane_frees_its_thread_and_its_port(viewer: Viewer) -> None:
    before = lane_threads()
    lane = await viewer.open("polling", rate=100)
    async with Probe(lane, reconnection=False) as probe:
        await until(lambda: probe.ticks)
        assert lane_threads() == before + 1
        assert await viewer.ask("close", lane["lane"]) == {"outcome": "done"}
        assert lane_threads() == before
        for one in listen("127.0.0.1", [lane["port"]]):
            one.close()
        await until(lambda: not probe.client.connected)
    assert viewer.closed == []


async def test_lanes_end_with_their_viewer(visit: Visit) -> None:
    gone, other = await visit(), await visit()
    before = lane_threads()
    lanes = [await gone.open("websocket"), await gone.open("polling")]
    kept = await other.open("websocket", rate=50)
    assert lane_threads() == before + 3
    answer = await other.ask("set", lanes[0]["lane"], {"rate": 1})
    assert answer["outcome"] == "refused"  # it is not theirs
    await gone.client.close()
    await until(lambda: lane_threads() == before + 1)
    async with Probe(kept) as probe:
        await until(lambda: probe.ticks)


async def test_a_lane_that_ends_by_itself_is_told() -> None:
    lanes = Lanes()
    async with serve_async(make_server(lanes)) as port:
        client = Client(f"http://127.0.0.1:{port}", transports=["websocket"])
        await client.connect()
        viewer = Viewer(client)
        opened = await viewer.open("websocket", rate=50)
        async with Probe(opened, reconnection=False) as probe:
            await until(lambda: probe.ticks)
            lanes.get(opened["lane"]).abandon()
            await until(lambda: viewer.closed)
        assert viewer.closed == [(opened["lane"], "the lane's server has ended")]
        await until(lambda: len(lanes) == 0)
        answer = await viewer.ask("set", opened["lane"], {"rate": 1})
        assert answer["outcome"] == "refused"
        await client.close()


async def test_a_viewer_that_goes_while_a_lane_is_opened(visit: Visit) -> None:
    viewer = await visit()
    before = lane_threads()
    for _ in range(5):
        viewer.client.emit("open", "websocket", {})
    await viewer.client.drain()
    await viewer.client.close()
    await until(lambda: lane_threads() == before)


async def test_how_many_lanes_there_may_be(page: Path) -> None:
    async with serve_async(create_app(static=page, max_lanes=p.LIMITS.lanes_per_viewer + 1)) as port:
        one, two = [Viewer(Client(f"http://127.0.0.1:{port}", transports=["websocket"])) for _ in range(2)]
        await asyncio.gather(one.client.connect(), two.client.connect())
        settings: dict[str, Any] = {"rate": 0}
        most = p.LIMITS.lanes_per_viewer
        answers = await asyncio.gather(*(one.ask("open", "websocket", settings) for _ in range(most + 1)))
        refused = [answer["error"] for answer in answers if answer["outcome"] == "refused"]
        assert refused == [f"a page may have {most} lanes; close one first"]
        await two.open("websocket")
        answer = await two.ask("open", "websocket", settings)
        assert answer["error"] == f"all {most + 1} lanes are in use; wait until somebody closes one"
        opened = next(answer for answer in answers if answer["outcome"] == "opened")
        await one.ask("close", opened["lane"])
        await two.open("websocket")
        await one.client.close()
        await two.client.close()


async def test_lane_ports(page: Path) -> None:
    sockets = [listen("127.0.0.1", [0])[0] for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    sockets[1].close()
    lanes = Lanes(ports=ports)
    lane = await lanes.open("websocket", p.Settings())
    assert lane.port == ports[1]
    with pytest.raises(p.LaboratoryError, match="--lane-ports"):
        await lanes.open("websocket", p.Settings())
    assert len(lanes) == 1
    await lanes.close_all()
    with pytest.raises(p.LaboratoryError, match="closing"):
        await lanes.open("websocket", p.Settings())
    sockets[0].close()


async def test_what_is_too_much_to_tell_is_dropped_and_the_gap_shows() -> None:
    lanes = Lanes()
    lane = await lanes.open("websocket", p.Settings(rate=0))
    async with Probe({"lane": lane.id, "port": lane.port, "name": lane.name}) as probe:
        for seq in range(600):
            probe.client.emit("tick", seq, p.clock_ms(), "")
        await until(lambda: lane.stats().messages_up == 600)
        travels, first = lane.take_trace()
        assert (len(travels), first) == (500, 0)
        probe.client.emit("tick", 600, p.clock_ms(), "")
        await until(lambda: lane.stats().messages_up == 601)
        travels, first = lane.take_trace()
        assert (len(travels), travels[0].label) == (1, "text")
        assert first > 600
    await lanes.close_all()


# ---- the page


def test_the_types_of_the_page_are_those_of_the_handlers() -> None:
    file = Path(__file__).parents[2] / "browser" / "laboratory" / "src" / "events.ts"
    command = ["types", "madang.apps.laboratory.contract:io", "--output", str(file), "--check"]
    result = CliRunner().invoke(cli.main, command)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("application", ["lab", "chat"])
def test_a_port_that_is_taken(application: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        data = ["--data", str(tmp_path)] if application == "chat" else []
        command = [sys.executable, "-m", "madang", application, "--port", port, *data]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"port {port} is taken" in ended.stderr


async def test_the_page_and_its_headers(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        page = await http.get("/")
        script = await http.get("/assets/app-1.js")
    assert "Laboratory" in page.text
    assert page.headers["cache-control"] == "no-cache"
    assert "immutable" in script.headers["cache-control"]
    assert page.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert "connect-src 'self' http://127.0.0.1:* ws://127.0.0.1:* https://127.0.0.1:*;" in policy
    assert "unsafe" not in policy


def test_the_policy_names_no_host_that_it_cant() -> None:
    for host in ("[::1]:8000", "", "a b", "evil;script-src *", "x\r\ny"):
        assert "script-src 'self' http:;" in page_policy(host)
    assert "script-src 'self' http://lab.local:*;" in page_policy("lab.local")


def test_without_the_page_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissingError, match="make assets"):
        create_app(static=tmp_path)
