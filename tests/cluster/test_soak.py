"""Three machines behind nginx, each with two workers, and clients that poll: in peace, and while much of it fails.

MADANG_TEST_SOAK_SECONDS says how long the peace lasts; a minute if it says nothing.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.support.engines import Nats, Postgres, Redis
from cluster.support.machines import Machines
from cluster.support.netns import Network
from cluster.support.processes import REAPER, Engine
from cluster.support.soak import Allowed, Findings, Participant, Story, check, until
from support.npm import NODE

pytestmark = [pytest.mark.exhaustive, pytest.mark.node, pytest.mark.timeout(900)]

SECONDS = float(os.environ.get("MADANG_TEST_SOAK_SECONDS", "60"))
SETTINGS: dict[str, Any] = {"ping_interval_seconds": 2.0, "ping_timeout_seconds": 4.0}
OURS, THEIRS = 5, 3
PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Way:
    """What connects the machines.

    Attributes:
        name: the bus.
        engine: makes the engine, at an address.
        url: where it is.
        keeps: whether it keeps what is said, so that nothing is lost.
    """

    name: str
    engine: Callable[[str], Engine]
    url: Callable[[Any], str]
    keeps: bool = False

    def __str__(self) -> str:
        return self.name


REDIS = Way("redis", lambda host: Redis(host=host), lambda engine: engine.url)
CLASSIC = Way(
    "redis-classic", lambda host: Redis(host=host), lambda engine: engine.url.replace("redis", "redis-classic", 1)
)
STREAMS = Way(
    "redis-streams",
    lambda host: Redis(host=host, persistent=True),
    lambda engine: engine.url.replace("redis", "redis-streams", 1),
    keeps=True,
)
FORGETFUL = Way(
    "redis-streams in memory",
    lambda host: Redis(host=host),
    lambda engine: engine.url.replace("redis", "redis-streams", 1),
)
NATS = Way("nats", lambda host: Nats(host=host), lambda engine: engine.url)
JETSTREAM = Way(
    "jetstream", lambda host: Nats(host=host, jetstream=True), lambda engine: f"{engine.url}?jetstream=1", keeps=True
)
POSTGRES = Way("postgres", lambda host: Postgres(host=host), lambda engine: engine.url)
WAYS = [REDIS, CLASSIC, STREAMS, NATS, JETSTREAM, POSTGRES]


class Soak:
    """All that runs, and what is done to it."""

    def __init__(self, way: Way, engine: Any, machines: Machines, participants: list[Participant], node: Any) -> None:
        self.way = way
        self.engine = engine
        self.machines = machines
        self.participants = participants
        self._node = node
        self.stories: list[Story] = []
        self.gone: set[str] = set()
        self.ended = 0.0

    def living(self) -> set[str]:
        return self.machines.workers() - self.gone

    async def all_hear_all(self, *, without: frozenset[str] = frozenset()) -> float:
        """Wait until everyone hears all who speak; how long that took, in seconds."""
        since = time.time()
        await until(lambda: self.hear(since, *(self.living() - without)), "everyone hears everyone")
        return time.time() - since

    def hear(self, since: float, *workers: str) -> bool:
        names = [*workers, *[one.story.name for one in self.participants]]
        return all(one.hears(since, *names) for one in self.participants)

    async def noted(self, what: str, since: float, who: set[str]) -> float:
        """Wait until these have noted something; when the last one has."""

        def times() -> dict[str, float]:
            found: dict[str, float] = {}
            for note in self.machines.notes:
                if note["what"] == what and note["at"] >= since:
                    found.setdefault(note["who"], note["at"])
            return found

        await until(lambda: who <= times().keys(), f"{what} at {who}")
        return max(times()[one] for one in who)

    async def kill(self, who: str) -> float:
        at = time.time()
        self.gone.add(who)
        os.kill(int(who.partition(":")[2]), signal.SIGKILL)
        return at

    async def silence(self) -> None:
        """Nobody says any more; all hear the last of it, and tell what they have seen."""
        for one in self.participants:
            await one.silence()
        self._node.stdin.write(b"silence\n")
        last = {name: count - 1 for name, count in json.loads(await self._node.stdout.readline()).items()}
        last |= {one.story.name: one.story.confirmed - 1 for one in self.participants}

        def silent() -> dict[str, int]:
            return {note["who"]: note["count"] - 1 for note in self.machines.notes if note["what"] == "silent"}

        async with asyncio.timeout(60):
            while not self.living() <= silent().keys():
                await self.participants[0].client.call("stop", timeout=10)
                await asyncio.sleep(0.2)
        last |= {who: count for who, count in silent().items() if who in self.living()}
        await until(lambda: all(last.items() <= one.newest().items() for one in self.participants), f"all hear {last}")
        await asyncio.sleep(1)  # those of Node.js don't tell how far they are
        self.ended = time.time()
        self._node.stdin.write(b"stories\n")
        theirs = [
            Story(**{**told, "doubtful": set(told["doubtful"])})
            for told in json.loads(await self._node.stdout.readline())
        ]
        self.stories = [*[one.story for one in self.participants], *theirs]

    def check(self, allowed: Allowed) -> Findings:
        found = check(self.stories, self.machines.notes, allowed)
        statuses = [status for _, _, _, status, _, _ in self.machines.requests()]
        found.counts["requests"] = len(statuses)
        for status in sorted(set(statuses) - {200}):
            found.counts[f"requests with {status}"] = statuses.count(status)
        print(f"\n{self.way}: {found}")
        assert "Traceback" not in self.machines.log
        return found


@contextmanager
def running(way: Way, folder: Path, **settings: Any) -> Iterator[tuple[Any, Machines]]:
    with ExitStack() as stack:
        network = stack.enter_context(Network(3))
        engine = stack.enter_context(way.engine(network.address))
        more = {"recovery": True} if way.keeps else {}
        machines = Machines(
            folder,
            way.url(engine),
            network,
            settings={**SETTINGS, **more, **settings},
            cluster_settings={"max_reconnect_delay_seconds": 1.0},
        )
        yield engine, stack.enter_context(machines)


@asynccontextmanager
async def soaking(way: Way, folder: Path, node: str, **settings: Any) -> AsyncIterator[Soak]:
    with running(way, folder, **settings) as (engine, machines):
        async with AsyncExitStack() as stack:
            program = await asyncio.create_subprocess_exec(
                *[node, str(NODE / "soak.mjs"), machines.url, f"{THEIRS}", f"{PAUSE_SECONDS * 1000}"],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 26,
                cwd=NODE,
            )
            REAPER.watch(program.pid)
            try:
                participants = []
                for number in range(OURS):
                    one = Participant(f"ours {number}", machines.url, "polling", pause_seconds=PAUSE_SECONDS)
                    participants.append(await stack.enter_async_context(one))
                soak = Soak(way, engine, machines, participants, program)
                await soak.all_hear_all()
                yield soak
            finally:
                if program.returncode is None:
                    program.kill()
                await program.wait()
                REAPER.forget(program.pid)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_peace(way: Way, tmp_path: Path, node: str) -> None:
    """No session error of any kind, and everyone hears all, once and in order."""
    async with soaking(way, tmp_path, node) as soak:
        await asyncio.sleep(SECONDS)
        await soak.silence()
        requests = [request for request in soak.machines.requests() if request[0] < soak.ended]
        assert {status for _, _, _, status, _, _ in requests} == {200}
        assert {upstream for _, upstream, _, _, _, _ in requests} == {
            f"{node.address}:8000" for node in soak.machines.network.nodes
        }
        assert not (found := soak.check(Allowed())).wrong, found


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_workers_are_killed(way: Way, tmp_path: Path, node: str) -> None:
    """One of each machine, one after the other, with kill -9: what they had to say in the last moment is lost."""
    async with soaking(way, tmp_path, node) as soak:
        deaths = {}
        for index in range(3):
            victim = random.choice(sorted(soak.machines.workers_of(index)))
            deaths[victim] = await soak.kill(victim)
            noticed = await soak.noted("left", deaths[victim], soak.living())
            print(f"left after {noticed - deaths[victim]:.1f} s", end="; ")
            await until(lambda count=index + 7: len(soak.machines.workers()) == count, "another takes its place")
            print(f"all hear all after {await soak.all_hear_all():.1f} s")
        await soak.silence()
        found = soak.check(Allowed(deaths=deaths, recovers=True, anew=not way.keeps))
        assert not found.wrong, found
        if way.keeps:  # of the dead all have heard the same
            for victim in deaths:
                assert (
                    len({max(number for _, who, number, _ in one.heard if who == victim) for one in soak.stories}) == 1
                )


@pytest.mark.parametrize("way", [*WAYS, FORGETFUL], ids=str)
async def test_the_engine_is_killed(way: Way, tmp_path: Path, node: str) -> None:
    """It comes back after two seconds."""
    async with soaking(way, tmp_path, node) as soak:
        since = time.time()
        await asyncio.to_thread(soak.engine.kill)
        down = await soak.noted("down", since, soak.living())
        await asyncio.sleep(2)
        began = time.time()
        await asyncio.to_thread(soak.engine.start)
        up = await soak.noted("up", since, soak.living())
        print(f"\ndown told after {down - since:.1f} s, up after {up - began:.1f} s", end=", ")
        print(f"all hear all after {await soak.all_hear_all():.1f} s")
        await soak.silence()
        found = soak.check(Allowed(gaps=not way.keeps, recovers=True, anew=True, repeats=way.keeps))
        assert not found.wrong, found
        if not way.keeps:
            assert {note["who"] for note in soak.machines.notes if note["what"] == "gap"} == soak.machines.workers()


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_the_engine_is_paused(way: Way, tmp_path: Path, node: str) -> None:
    """For five seconds. Who is at the same worker hears, and is answered, all the time."""
    async with soaking(way, tmp_path, node) as soak, AsyncExitStack() as stack:
        local = []
        for number, machine in enumerate(soak.machines.network.nodes):
            one = Participant(f"local {number}", f"http://{machine.address}:8000", "websocket", pause_seconds=0.1)
            local.append(await stack.enter_async_context(one))
        soak.participants += local
        await soak.all_hear_all()
        for one in local:
            one.slowest = 0.0
        since = time.time()
        soak.engine.pause()
        for second in range(1, 6):
            await asyncio.sleep(max(0.0, since + second - time.time()))
            for one in local:
                assert one.hears(time.time() - 1.5, one.story.name, one.story.servers[-1][1])
        print(f"\nslowest answer at the same worker: {max(one.slowest for one in local):.2f} s", end=", ")
        soak.engine.resume()
        up = await soak.noted("up", since, soak.living())
        print(f"up after {up - since - 5:.1f} s", end=", ")
        assert {note["who"] for note in soak.machines.notes if note["what"] == "health"} == soak.living()
        print(f"all hear all after {await soak.all_hear_all():.1f} s")
        await soak.silence()
        found = soak.check(Allowed(gaps=not way.keeps, recovers=True, anew=True, repeats=way.keeps))
        assert not found.wrong, found
        assert not any(one.story.ends for one in local)


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_machine_is_cut_off_and_comes_back(way: Way, tmp_path: Path, node: str) -> None:
    async with soaking(way, tmp_path, node) as soak:
        apart = soak.machines.workers_of(1)
        since = time.time()
        soak.machines.network.nodes[1].cut()
        left = await soak.noted("left", since, soak.living() - apart)
        print(f"\nleft after {left - since:.1f} s", end=", ")
        print(f"the others hear each other after {await soak.all_hear_all(without=frozenset(apart)):.1f} s", end=", ")
        soak.machines.network.nodes[1].heal()
        await soak.noted("up", since, apart)
        print(f"all hear all after {await soak.all_hear_all():.1f} s")
        await soak.silence()
        found = soak.check(Allowed(gaps=not way.keeps, recovers=True, anew=True, repeats=way.keeps))
        assert not found.wrong, found


@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_machine_is_gone_for_good(way: Way, tmp_path: Path, node: str) -> None:
    async with soaking(way, tmp_path, node) as soak:
        apart = soak.machines.workers_of(1)
        since = time.time()
        soak.machines.network.nodes[1].cut()
        soak.gone |= apart
        left = await soak.noted("left", since, soak.living())
        print(f"\nleft after {left - since:.1f} s", end=", ")
        print(f"the others hear each other after {await soak.all_hear_all():.1f} s")
        await soak.silence()
        deaths = dict.fromkeys(apart, since)
        found = soak.check(Allowed(deaths=deaths, recovers=True, anew=not way.keeps))
        assert not found.wrong, found
