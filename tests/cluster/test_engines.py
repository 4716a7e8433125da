"""The ground of all tests of clusters: engines that are real, and do what the tests think that they do with them."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import nats
import nats.errors
import pytest
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cluster.support.engines import Nats, Postgres, Redis, RedisCluster, RedisSentinel
from cluster.support.processes import program

TESTS = Path(__file__).parents[1]
DEADLINE = 20
#: Within it no engine that is paused answers.
SILENT_SECONDS = 0.2

Ask = Callable[..., Awaitable[object]]
REFUSALS: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    redis.exceptions.RedisError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    nats.errors.Error,
)


async def _ask_redis(engine: Redis, url: str | None = None, *, trust: bool = True) -> object:
    tls: dict[str, Any] = {"ssl_ca_certs": str(engine.ca)} if engine.tls and trust else {}
    client = redis.asyncio.Redis.from_url(url or engine.url, retry=Retry(NoBackoff(), 0), **tls)
    async with client:
        return await client.ping()


async def _ask_postgres(engine: Postgres, url: str | None = None, *, trust: bool = True) -> object:
    tls: dict[str, Any] = {"ssl": engine.trusting() if trust else "verify-full"} if engine.tls else {"ssl": False}
    connection = await asyncpg.connect(url or engine.url, **tls)
    try:
        return await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()


async def _ask_nats(engine: Nats, url: str | None = None, *, trust: bool = True) -> object:
    tls: dict[str, Any] = {"tls": engine.trusting()} if engine.tls and trust else {}
    client = await nats.connect(url or engine.url, **ONCE, **tls)
    try:
        await client.flush()
        return client.connected_url is not None
    finally:
        await client.close()


async def _ignore(error: Exception) -> None:
    """The library tells it as an exception, too."""


#: With reconnection its client tries for two minutes to connect at all.
ONCE: dict[str, Any] = {
    "allow_reconnect": False,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0,
    "connect_timeout": DEADLINE,
    "error_cb": _ignore,
}

SINGLE: dict[str, tuple[Callable[..., Any], Ask]] = {
    "redis": (Redis, _ask_redis),
    "postgres": (Postgres, _ask_postgres),
    "nats": (Nats, _ask_nats),
}


@pytest.mark.parametrize("name", SINGLE)
async def test_an_engine_is_paused_killed_and_started_again(name: str) -> None:
    kind, ask = SINGLE[name]
    with kind() as engine:
        url, process = engine.url, engine.process
        assert await ask(engine)
        engine.pause()
        assert not engine.answers(SILENT_SECONDS)
        engine.resume()
        assert await ask(engine)
        engine.kill()
        assert process.returncode == -signal.SIGKILL
        assert not engine.answers()
        engine.start()
        assert await ask(engine)
        engine.restart()
        assert await ask(engine)
        assert engine.url == url
        folder = engine.folder
    assert engine.process is None
    assert not folder.exists()


@pytest.mark.parametrize("name", SINGLE)
async def test_an_engine_wants_its_password_over_tls(name: str) -> None:
    kind, ask = SINGLE[name]
    with kind(password="secret", tls=True) as engine:
        assert await ask(engine)
        with pytest.raises(REFUSALS):
            await ask(engine, engine.url.replace("secret", "guess"))
        with pytest.raises(REFUSALS):
            await ask(engine, trust=False)
        engine.restart()
        assert await ask(engine)


async def test_what_is_on_disk_survives_a_kill() -> None:
    with (
        Redis() as forgetful,
        Redis(persistent=True) as redis_,
        Postgres() as postgres,
        Nats(jetstream=True) as jetstream,
    ):
        for engine in (forgetful, redis_):
            engine.ask("SET", "key", "마당")
        postgres.psql("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('마당')")
        client = await nats.connect(jetstream.url)
        stream = client.jetstream()
        await stream.add_stream(name="kept", subjects=["kept"])
        await stream.publish("kept", "마당".encode())
        await client.close()
        for engine in (forgetful, redis_, postgres, jetstream):
            engine.kill()
            engine.start()
        assert forgetful.ask("GET", "key") is None
        assert redis_.ask("GET", "key") == "마당"
        assert postgres.psql("SELECT word FROM kept") == "마당"
        client = await nats.connect(jetstream.url)
        assert (await client.jetstream().get_msg("kept", 1)).data.decode() == "마당"
        await client.close()


async def test_databases_of_tests_do_not_hear_each_other(postgres_server: Postgres, database: str) -> None:
    other = postgres_server.create()
    assert len({database, other, postgres_server.url}) == 3
    heard: list[str] = []
    listener, near, far = [await asyncpg.connect(url, ssl=False) for url in (database, database, other)]
    told = asyncio.Event()
    await listener.add_listener("news", lambda _c, _pid, _channel, payload: (heard.append(payload), told.set()))
    await far.execute("NOTIFY news, 'far'")
    await near.execute("NOTIFY news, 'near'")
    async with asyncio.timeout(DEADLINE):
        await told.wait()
    assert heard == ["near"]
    for connection in (listener, near, far):
        await connection.close()


async def test_a_redis_cluster_is_three_that_are_one(redis_cluster: RedisCluster, prefix: str) -> None:
    client = redis.asyncio.cluster.RedisCluster.from_url(redis_cluster.url, decode_responses=True)
    async with client:
        owners = set()
        for number in range(12):
            key = f"{prefix}{number}"
            await client.set(key, number)
            owners.add(redis_cluster.owner(key).port)
            # The others know whose it is.
            assert redis_cluster.owner(key).ask("GET", key) == str(number)
        assert owners == {port for _, port in redis_cluster.addresses}
        subscriber = client.pubsub()
        await subscriber.ssubscribe(f"{prefix}#/#")
        assert (await _message(subscriber))["type"] == "ssubscribe"
        assert redis_cluster.owner(f"{prefix}#/#").ask("PUBSUB", "SHARDNUMSUB", f"{prefix}#/#")[1] == 1
        await client.spublish(f"{prefix}#/#", "hello")
        assert (await _message(subscriber))["data"] == "hello"
        await subscriber.aclose()


async def _message(subscriber: Any) -> Any:
    async with asyncio.timeout(DEADLINE):
        while (message := await subscriber.get_sharded_message(timeout=1)) is None:
            await asyncio.sleep(0)
    return message


@pytest.mark.slow
async def test_a_redis_cluster_has_password_and_tls_and_comes_back() -> None:
    with RedisCluster(password="secret", tls=True) as cluster:
        tls = {"ssl_ca_certs": str(cluster.members[0].ca)}
        async with redis.asyncio.cluster.RedisCluster.from_url(cluster.url, **tls) as client:
            assert await client.set("key", 1)
            lost = cluster.owner("key")
            lost.kill()
            assert not lost.answers()
            await asyncio.to_thread(cluster.start)
            assert await client.set("key", 2)


@pytest.mark.slow
async def test_sentinels_make_the_replica_the_master() -> None:
    with RedisSentinel(password="secret") as group:
        assert group.current() == group.master.address
        async with contextlib.AsyncExitStack() as stack:
            sentinel = redis.asyncio.sentinel.Sentinel(group.addresses)
            for each in sentinel.sentinels:
                stack.push_async_callback(each.aclose)
            assert await sentinel.discover_slaves(group.name) == [group.replica.address]
            group.master.kill()
            async with asyncio.timeout(DEADLINE):
                while group.current() != group.replica.address or not await _found(sentinel, group.name):
                    await asyncio.sleep(0.05)
            async with sentinel.master_for(group.name, password="secret") as master:
                assert await master.set("key", 1)
        assert group.replica.ask("GET", "key") == "1"


async def _found(sentinel: redis.asyncio.sentinel.Sentinel, name: str) -> bool:
    """Whether it tells of a master that it holds for alive."""
    with contextlib.suppress(redis.asyncio.sentinel.MasterNotFoundError):
        await sentinel.discover_master(name)
        return True
    return False


def test_a_missing_engine_is_told() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"no-such-engine is needed .* apt-get install some-package"):
        program("no-such-engine", "some-package")


def test_an_engine_that_can_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="no-such-setting"), Redis(options={"no-such-setting": "1"}):
        pass


START_ALL = """
import sys
sys.path.insert(0, sys.argv[1])
from cluster.support.engines import Nats, Postgres, Redis
for engine in (Redis(), Postgres(), Nats()):
    engine.start()
    print(engine.process.pid, engine.folder, flush=True)
engine.pause()
print("ready", flush=True)
sys.stdin.read()
"""


def test_engines_end_with_tests_that_are_killed() -> None:
    command = [sys.executable, "-c", START_ALL, str(TESTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        lines = [tests.stdout.readline() for _ in range(4)]
        tests.kill()
    assert lines.pop() == "ready\n", lines
    deadline = time.monotonic() + DEADLINE
    for line in lines:
        pid, folder = line.split()
        while _runs(int(pid)) or Path(folder).exists():
            assert time.monotonic() < deadline, f"{line} is still there"
            time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether it does. One that has ended may wait for whoever started it to take note."""
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
