"""The works of `benchmarks` against real servers, for moments.

The load generator checks every answer itself, and fails if one is wrong.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import runner
from benchmarks.compile import built
from benchmarks.nodejs import UnavailableError
from benchmarks.peers import PEERS
from benchmarks.works import WORKS

MIDDLE = {"size-256", "size-1024", "size-4096", "size-16384"}
SMALL = {"clients": 12, "rooms": 3, "in-flight": 2, "churners": 4, "slow": 3, "concurrency": 5}
SHORT = {"warmup": 0.02, "seconds": 0.05, "settle": 0.02, "deadline": 30}

Server = tuple[str, int, list[int]]  # which peer it is, its port, its processes


@contextlib.contextmanager
def started(name: str, **environment: str) -> Iterator[Server]:
    try:
        PEERS[name].prepare()
    except UnavailableError as error:
        pytest.skip(str(error))
    with runner.running(PEERS[name], environment) as (port, pids, _):
        yield name, port, pids


@pytest.fixture(scope="module", params=["madang", "floor"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with started(request.param, BENCH_EIO3="1") as found:
        yield found


def load(server: Server, kind: str, **options: float) -> subprocess.CompletedProcess[str]:
    _, port, pids = server
    command = [str(built(runner.LOAD_SOURCE)), kind, "--port", str(port)]
    for pid in pids:
        command += ["--pid", str(pid)]
    for name, value in options.items():
        command += [f"--{name}", f"{value:g}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", [name for name in WORKS if WORKS[name].kind != "heartbeats" and name not in MIDDLE])
def test_a_work_is_done(server: Server, name: str) -> None:
    work = WORKS[name]
    if name in PEERS[server[0]].lacks:
        pytest.skip("it lacks this work")
    options = {key: min(value, SMALL.get(key, value)) for key, value in work.options.items()} | SHORT
    done = load(server, work.kind, **options)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["operations"] >= 1
    assert figures["cpu_seconds"] > 0
    if work.latency:
        assert 0 < figures["latency_us"]["p50"] <= figures["latency_us"]["p99"] <= figures["latency_us"]["max"]


@pytest.mark.parametrize("name", ["madang", "floor"])
def test_each_client_is_pinged(name: str) -> None:
    with started(name, BENCH_PING_INTERVAL_MS="400") as server:
        done = load(server, "heartbeats", **(SHORT | {"clients": 12, "seconds": 1.1}))
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["ping_interval_ms"] == 400
    assert figures["heartbeats"] >= 12
    assert figures["operations"] >= 13  # a client and a second


@pytest.mark.parametrize("server", ["floor"], indirect=True)
@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (
            "echo",
            {"object": 2, "clients": 2, "deadline": 0.3},
            "0 of 2 answers came",
        ),  # the floor doesn't know this event
        ("fanout", {"clients": 2, "rooms": 3}, "a room would be empty"),
        ("heartbeats", {"clients": 2, "seconds": 0.1, "settle": 0.01}, "too short for pings each 25000 ms"),
    ],
    ids=["no-answer", "empty-room", "no-ping"],
)
def test_it_fails_loudly(server: Server, kind: str, options: dict[str, float], told: str) -> None:
    done = load(server, kind, **options)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("server", ["floor"], indirect=True)
def test_an_answer_of_another_client_is_a_failure(server: Server) -> None:
    """Two publishers speak to the same room: each hears what the other one said."""
    both = [
        subprocess.Popen(
            [str(built(runner.LOAD_SOURCE)), "fanout", "--port", str(server[1]), "--clients", "20", "--seconds", "5"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] != [0, 0]
    assert any("was due" in text for text in said)
