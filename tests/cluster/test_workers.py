"""Several workers at one port, as clients see them, and what happens when some of them die."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import madang
from cluster.support.workers import Workers, until


class Talker:
    """A client that notes what it hears, and comes back by itself."""

    def __init__(self, url: str, transport: str) -> None:
        self.heard: list[str] = []
        self.client = madang.Client(
            url,
            transports=[transport],
            reconnection_delay_seconds=0.05,
            reconnection_delay_max_seconds=0.5,
        )
        self.client.on("said", self.heard.append)

    async def pid(self) -> int:
        pid: int = await self.client.call("pid")
        return pid


@contextlib.asynccontextmanager
async def talkers(url: str, workers: int) -> AsyncIterator[list[Talker]]:
    """As many clients as it takes until each of the workers has one at least, and two more."""
    made: list[Talker] = []
    try:
        async with asyncio.timeout(60):
            met: set[int] = set()
            while len(met) < workers or len(made) < workers + 2:
                # Every other one polls: what of it comes to another worker is handed over.
                made.append(Talker(url, "websocket" if len(made) % 2 else "polling"))
                await made[-1].client.connect()
                met.add(await made[-1].pid())
        yield made
    finally:
        for one in made:
            await one.client.close()


class Counter:
    """Says numbers, one after the other, each until it is confirmed.

    Attributes:
        count: how many there are by now.
        doubtful: those that had to be said again.
    """

    def __init__(self, talker: Talker) -> None:
        self.talker = talker
        self.count = 0
        self.doubtful: set[str] = set()
        self._task = asyncio.create_task(self._say())

    async def _say(self) -> None:
        while True:
            text = f"{self.count}"
            try:
                await self.talker.client.call("say", text, timeout=10)
            except (madang.MadangError, TimeoutError):
                self.doubtful.add(text)
                await asyncio.sleep(0.02)
                continue
            self.count += 1
            await asyncio.sleep(0.03)

    async def goes_on(self, everyone: list[Talker]) -> None:
        """Wait until all hear what is said from now on."""
        first = self.count + 1
        await until(lambda: all(any(int(text) >= first for text in one.heard) for one in everyone))

    async def check(self, everyone: list[Talker]) -> None:
        """All have heard all, in order, and nothing twice but what was said twice."""
        self._task.cancel()
        last = f"{self.count - 1}"
        await until(lambda: all(last in one.heard for one in everyone))
        for one in everyone:
            numbers = [text for text in dict.fromkeys(one.heard) if int(text) < self.count]
            assert numbers == [f"{number}" for number in range(self.count)]
            assert {text for text in one.heard if one.heard.count(text) > 1} <= self.doubtful


def alive(pids: set[int]) -> set[int]:
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                found.add(pid)
    return found


async def test_nobody_misses_anything_while_workers_die_and_are_replaced(tmp_path: Path):
    options = ("--workers", "3", "--health-path", "/health", "--drain-seconds", "0.2")
    async with Workers(tmp_path, *options) as server:
        url = await server.listening()
        async with talkers(url, 3) as everyone:
            counter = Counter(everyone[0])
            await counter.goes_on(everyone)
            status, told = await server.health()
            assert (status, told["ready"], told["servers"][0]["path"]) == (200, True, "/socket.io/")
            assert told["servers"][0]["cluster"]["members"] == 2

            # One dies: the others go on, its clients come back, another one takes its place.
            spared = await everyone[0].pid()
            victim = next(iter({await one.pid() for one in everyone} - {spared}))
            os.kill(victim, signal.SIGKILL)
            await server.said("has died: signal SIGKILL")
            await counter.goes_on(everyone)
            assert victim not in {await one.pid() for one in everyone}
            await server.said("is process")

            # All are replaced, one after the other.
            before = alive(server.pids())
            assert len(before) == 3
            server.signal(signal.SIGHUP)
            await server.said("all workers are replaced")
            await counter.goes_on(everyone)
            assert not before & {await one.pid() for one in everyone}
            assert not alive(before)

            # One more, and one less.
            server.signal(signal.SIGTTIN)
            await server.said("worker 4 is process")
            assert len(alive(server.pids())) == 4
            server.signal(signal.SIGTTOU)
            await until(lambda: len(alive(server.pids())) == 3)
            await counter.goes_on(everyone)
            await counter.check(everyone)
            assert all(one.client.recovered for one in everyone)

        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert not alive(server.pids())
        assert "Traceback" not in server.log
        assert "ERROR" not in server.log


async def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path):
    async with Workers(tmp_path, "--workers", "2") as server:
        url = await server.listening()
        async with talkers(url, 2) as everyone:
            assert len(alive(server.pids())) == 2
            assert len(server.directories()) == 1
            for one in everyone:
                one.client.on("disconnect", lambda reason, one=one: one.heard.append(reason))
            server.signal(signal.SIGKILL)
            await until(lambda: not alive(server.pids()))
            assert server.directories() == set()
            await until(lambda: all("transport close" in one.heard for one in everyone))


@pytest.mark.parametrize("workers", [1, 2])
async def test_at_the_end_who_asks_is_told_until_the_clients_are_gone(tmp_path: Path, workers: int):
    options = ("--workers", f"{workers}", "--health-path", "/health", "--drain-seconds", "1.5")
    async with Workers(tmp_path, *options) as server:
        url = await server.listening()
        async with talkers(url, workers) as everyone:
            assert (await server.health())[0] == 200
            for one in everyone:
                one.client.on("disconnect", lambda reason, one=one: one.heard.append(reason))
            server.signal(signal.SIGTERM)
            await until(lambda: any(one.heard for one in everyone))
            status, told = await server.health()
            assert (status, told["ready"]) == (503, False)
            await until(lambda: all(one.heard for one in everyone))
            assert {reason for one in everyone for reason in one.heard} == {"transport close"}
        assert await server.ended() == (-signal.SIGTERM if workers == 1 else 0)


@pytest.mark.parametrize(
    ("app", "why", "code"),
    [
        ("io = 3", "it must be a Server or an ASGI application", 1),
        (
            "import madang\nio = madang.Server()\n@io.on_start\ndef start():\n    raise RuntimeError('no database')",
            "RuntimeError: no database",
            3,
        ),
    ],
    ids=["no application", "start"],
)
async def test_an_application_that_does_not_start_ends_all(tmp_path: Path, app: str, why: str, code: int):
    async with Workers(tmp_path, "--workers", "2", "--drain-seconds", "0", app=app) as server:
        assert await server.ended() == code
        assert server.log.count(why) == 1
        assert "the application doesn't start: " in server.log


@pytest.mark.exhaustive
async def test_workers_that_die_again_and_again_are_given_up(tmp_path: Path):
    app = """
        import os, pathlib, madang
        io = madang.Server()

        @io.event
        def die(socket):
            pathlib.Path("broken").touch()
            os._exit(7)

        if pathlib.Path("broken").exists():
            os._exit(8)
    """
    async with Workers(tmp_path, "--workers", "2", "--drain-seconds", "0", app=app) as server:
        url = await server.listening()
        while server.code is None and "the workers don't live: giving up" not in server.log:
            with contextlib.suppress(OSError, madang.MadangError, asyncio.TimeoutError):
                client = madang.Client(url, transports=["websocket"], reconnection=False, connect_timeout_seconds=1)
                async with client:
                    client.emit("die")
                    await asyncio.sleep(0.1)
        assert await server.ended() == 3
        assert "has died: exit code 7" in server.log
        assert "doesn't start: exit code 8" in server.log


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"webtransport": True}, "need a single process"),
        ({"flash_policy_port": 0}, "need a single process"),
        ({"health_path": "health"}, 'must start with "/"'),
        ({"workers": 0}, "at least 1"),
        ({"drain_seconds": -1}, "drain_seconds"),
        ({"no_such": 1}, "no such setting"),
        ({"host": "192.0.2.1"}, "can't listen at 192.0.2.1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_can_not_be_had_is_an_error(options: dict[str, Any], words: str):
    with pytest.raises(madang.ConfigError, match=words):
        madang.serve("app:io", **{"workers": 2, "port": 0, **options})


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_a_port_that_is_taken_is_not_shared(shared: bool):
    with socket.socket() as taken:
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(madang.ConfigError, match=f"can't listen at 127.0.0.1 port {port}"):
            madang.serve("app:io", workers=2, port=port)


def test_objects_can_not_be_given_to_workers():
    with pytest.raises(madang.ConfigError, match="give its name"):
        madang.serve(madang.Server(), workers=2)


async def test_workers_that_are_replaced_while_they_start_do_not_stay(tmp_path: Path):
    async with Workers(tmp_path, "--workers", "2") as server:
        await server.said("Started server process")
        server.signal(signal.SIGHUP)
        await server.listening()
        await server.said("all workers are replaced")
        await until(lambda: len(server.pids()) >= 4 and len(alive(server.pids())) == 2)
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
        assert not alive(server.pids())


async def test_a_worker_that_hangs_as_it_starts_is_given_up_for_another_one(tmp_path: Path):
    app = """
        import pathlib, sys, time
        from madang import Server

        io = Server()
        while pathlib.Path("hang").exists():
            print("it hangs", file=sys.stderr, flush=True)
            time.sleep(1000)
    """
    async with Workers(tmp_path, "--workers", "2", "--drain-seconds", "0", app=app) as server:
        await server.listening()
        (tmp_path / "hang").touch()
        server.signal(signal.SIGHUP)
        await server.said("it hangs")
        (tmp_path / "hang").unlink()
        async with asyncio.timeout(60):
            while "it is killed" not in server.log:
                server.signal(signal.SIGHUP)  # it takes some seconds until it counts as stuck
                await asyncio.sleep(0.5)
        await server.said("all workers are replaced")
        await until(lambda: len(alive(server.pids())) == 2)
