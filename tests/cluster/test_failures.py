"""What clients hear while an engine fails, or a worker dies: all of it, or it is told that something is missing.

`test_soak.py` has more of this, and takes longer.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.support.buses import Ear
from cluster.support.engines import Redis
from cluster.support.soak import Allowed, Participant, Story, check, notes_in, until
from cluster.support.soaked import Voice
from cluster.support.workers import Workers
from madang import Cluster, Server
from madang.cluster import open_bus
from madang.cluster.messages import Heartbeat, Member, ServerEventData, ServerSideEmit, body
from madang.faces.uvicorn import serve_async

SETTINGS = {"recovery": True, "ping_interval_seconds": 2.0, "ping_timeout_seconds": 3.0}
APP = f"""
import sys

sys.path.insert(0, {str(Path(__file__).parents[1])!r})

from cluster.support.soaked import from_environment

io = from_environment()
"""
TRANSPORTS = ("polling", "websocket")


@dataclass
class Pair:
    """Two servers, and at each a client that polls and one that doesn't."""

    voices: list[Voice]
    participants: list[Participant]
    notes: list[dict[str, Any]]

    async def hear_each_other(self, since: float) -> None:
        """Wait until everyone hears everyone."""
        names = [voice.name for voice in self.voices] + [one.story.name for one in self.participants]
        await until(lambda: all(one.hears(since, *names) for one in self.participants), "everyone hears everyone")

    async def hear_their_own(self, since: float) -> None:
        """Wait until everyone hears those who are at the same server, and has got an answer."""
        for index, voice in enumerate(self.voices):
            here = self.participants[2 * index : 2 * index + 2]
            names = [voice.name, *[one.story.name for one in here]]
            await until(lambda here=here, names=names: all(one.hears(since, *names) for one in here), "all here")

    async def noted(self, what: str, since: float) -> None:
        """Wait until both servers have noted this."""
        wanted = {voice.name for voice in self.voices}
        await until(
            lambda: wanted <= {note["who"] for note in self.notes if note["what"] == what and note["at"] >= since}, what
        )

    async def silence(self) -> None:
        """End, when all have heard the last of all."""
        for voice in self.voices:
            voice.silence()
        for one in self.participants:
            await one.silence()
        last = {voice.name: voice.count - 1 for voice in self.voices}
        last |= {one.story.name: one.story.confirmed - 1 for one in self.participants}
        await until(lambda: all(one.newest() == last for one in self.participants), f"all hear all of {last}")


@asynccontextmanager
async def pair(url: str, **settings: Any) -> AsyncIterator[Pair]:
    notes: list[dict[str, Any]] = []
    voices: list[Voice] = []
    participants: list[Participant] = []
    async with AsyncExitStack() as stack:
        ports = []
        for name in ("one", "two"):
            io = Server(cluster=Cluster(url, name=name, max_reconnect_delay_seconds=0.2), **settings)
            voices.append(Voice(io, name, notes.append, 0.02))
            ports.append(await stack.enter_async_context(serve_async(io)))
        for name, port in zip(("one", "two"), ports, strict=True):
            for transport in TRANSPORTS:
                one = Participant(f"{transport} at {name}", f"http://127.0.0.1:{port}", transport, pause_seconds=0.02)
                participants.append(await stack.enter_async_context(one))
        yield Pair(voices, participants, notes)


@pytest.mark.parametrize("bus", ["redis", pytest.param("redis-classic", marks=pytest.mark.exhaustive), "redis-streams"])
async def test_an_engine_pauses_and_dies(bus: str) -> None:
    keeps = bus == "redis-streams"
    with Redis(persistent=keeps) as redis:
        url = f"{redis.url.replace('redis', bus, 1)}?socket_timeout=0.5"
        async with pair(url, recovery=keeps) as both:
            await both.hear_each_other(time.time())

            since = time.time()
            redis.pause()
            await both.hear_their_own(since)
            await both.noted("down", since)
            assert not any(voice.io.cluster.health.connected for voice in both.voices)
            await both.hear_their_own(time.time())
            redis.resume()
            await both.noted("up", since)
            await both.hear_each_other(time.time())

            since = time.time()
            await asyncio.to_thread(redis.kill)
            await both.noted("down", since)
            await both.hear_their_own(time.time())
            assert all(voice.io.cluster.health.buffered_messages for voice in both.voices)
            await asyncio.to_thread(redis.start)
            await both.noted("up", since)
            if not keeps:
                await both.noted("gap", since)
            await both.hear_each_other(time.time())
            await both.silence()
            stories = [one.story for one in both.participants]
            found = check(stories, both.notes, Allowed(gaps=not keeps, told_late_seconds=2.0))
    print(found)
    assert not found.wrong, found


async def test_a_worker_is_killed_while_all_talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOAK", json.dumps({"folder": str(tmp_path), "pause_seconds": 0.02, "settings": SETTINGS}))
    async with Workers(tmp_path, "--workers", "2", app=APP) as server, AsyncExitStack() as stack:
        url = await server.listening()
        participants: list[Participant] = []
        while len(participants) < 4 or len({one.story.servers[-1][1] for one in participants}) < 2:
            one = Participant(f"client {len(participants)}", url, "polling", pause_seconds=0.02)
            participants.append(await stack.enter_async_context(one))
            await until(lambda one=one: one.story.servers, "its server is known")
        stories = [one.story for one in participants]

        def hears(since: float, *servers: str) -> bool:
            names = [*servers, *[story.name for story in stories]]
            return all(one.hears(since, *names) for one in participants)

        workers = {f"worker:{pid}" for pid in server.pids()}
        await until(lambda: hears(time.time() - 1, *workers), "everyone hears everyone")
        victim = stories[0].servers[-1][1]
        killed = time.time()
        os.kill(int(victim.partition(":")[2]), signal.SIGKILL)
        await server.said("is process")
        workers = {f"worker:{pid}" for pid in server.pids()} - {victim}
        assert len(workers) == 2
        since = time.time()
        await until(lambda: hears(since, *workers), "everyone hears everyone again")

        for one in participants:
            await one.silence()
        await participants[0].client.call("stop")
        await until(lambda: len(silent(tmp_path)) == 2, "both are silent")
        last = {note["who"]: note["count"] - 1 for note in silent(tmp_path)}
        last |= {story.name: story.confirmed - 1 for story in stories}
        await until(
            lambda: all(last.items() <= one.newest().items() for one in participants), f"all hear all of {last}"
        )
        found = check(stories, notes_in(tmp_path), Allowed(deaths={victim: killed}, recovers=True))
    print(found)
    assert not found.wrong, found
    assert found.counts["recovered"]
    # Of the dead one all have heard the same.
    assert len({tuple(number for _, who, number, _ in story.heard if who == victim)[-1:] for story in stories}) == 1


def silent(folder: Path) -> list[dict[str, Any]]:
    return [note for note in notes_in(folder) if note["what"] == "silent"]


@pytest.mark.parametrize(
    ("numbers", "turns", "words"),
    [
        ([*range(10), 8], [], "8 twice"),
        ([0, 1, 2, 3, 5, 4, 6, 7, 8, 9], [], "4 after 5"),
        ([0, 1, 2, 3, 5, 6, 7, 8, 9], [], "not heard one 4"),
        (range(9), [], "not heard one 9"),
        (range(10), [(1005.0, False)], "began anew"),
        (range(10), [(1005.0, True)], "disconnected"),
        (range(10), [], ""),
    ],
    ids=["twice", "late", "missed", "end", "anew", "lost", "right"],
)
def test_what_is_wrong_is_found(numbers: Sequence[int], turns: list[tuple[float, bool]], words: str) -> None:
    heard = [(1000.0 + number, "one", number, 1000.0 + number) for number in numbers]
    ends = [(at, "transport close") for at, _ in turns]
    story = Story("client", heard, [(990.0, False), *turns], ends=ends)
    note = {"at": 1010.0, "who": "one", "what": "silent", "count": 10}
    wrong = check([story], [note], Allowed()).wrong
    assert any(words in one for one in wrong) if words else not wrong
    # With an explanation it is right.
    gap = {"at": 1005.0, "who": "one", "what": "gap"}
    if "not heard" in words:
        assert check([story], [note, gap], Allowed()).wrong
        assert not check([story], [note, gap], Allowed(gaps=True)).wrong
        assert check([story], [note, {**gap, "at": 900.0}], Allowed(gaps=True)).wrong


async def test_who_is_silent_for_long_is_not_heard_twice(prefix: str) -> None:
    settings = Cluster(f"memory://{prefix}", heartbeat_interval_seconds=0.05, heartbeat_timeout_seconds=0.1)
    io = Server(cluster=settings)
    heard: list[Any] = []
    left = asyncio.Event()
    io.server_side_event("n", heard.append)
    await io.start()
    io.cluster.on("left", lambda peer, why: left.set())
    bus = open_bus(settings)
    uid = "0" * 16
    await bus.start(uid, "node", Ear(bus))

    def say(number: int, **more: Any) -> None:
        bus.publish(ServerSideEmit(uid=uid, nsp="/", seq=number, data=ServerEventData(body(["n", number])), **more))

    bus.publish(Heartbeat(uid=uid, nsp="/", seq=1, data=Member("other", "node", 0.05)))
    say(2)
    async with asyncio.timeout(20):
        await left.wait()
        say(2, again=True)
        say(3, again=True)
        bus.publish(Heartbeat(uid=uid, nsp="/", seq=4, data=Member("other", "node", 0.05)))
        say(3, again=True)
        say(5)
        while 5 not in heard:
            await asyncio.sleep(0.01)
    assert heard == [2, 3, 5]
    assert io.cluster.health.duplicates == 2
    await bus.close()
    await io.close()
