"""Engines that most tests share: one process of each in each worker, started by the first test that wants it.

A test that stops, kills or pauses an engine starts its own: `with Redis() as redis: ...`
"""

import asyncio
import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from cluster.support.engines import Nats, Postgres, Redis, RedisCluster, RedisSentinel
from cluster.support.node import NodeHost
from madang.cluster.broker import Broker
from support.fixtures import node

__all__ = ["node"]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    with Redis() as engine:
        yield engine


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as engines:
        yield engines


@pytest.fixture(scope="session")
def redis_sentinel() -> Iterator[RedisSentinel]:
    with RedisSentinel() as engines:
        yield engines


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with Postgres() as engine:
        yield engine


@pytest.fixture(scope="session")
def nats_server() -> Iterator[Nats]:
    with Nats() as engine:
        yield engine


@pytest.fixture(scope="session")
def jetstream_server() -> Iterator[Nats]:
    with Nats(jetstream=True) as engine:
        yield engine


@pytest.fixture(scope="session")
def _hosts() -> Iterator[list[NodeHost]]:
    hosts: list[NodeHost] = []
    yield hosts
    for host in hosts:
        host.close()


@pytest.fixture
def host(_hosts: list[NodeHost]) -> NodeHost:
    """A process of Node.js for members that share it; another one, when the last has crashed."""
    if not _hosts or not _hosts[-1].alive:
        _hosts.append(NodeHost())
    return _hosts[-1]


@pytest.fixture(scope="session")
def local_broker() -> Iterator[str]:
    """The directory of a broker, which runs in a thread."""
    with tempfile.TemporaryDirectory(prefix="madang-test-") as directory:  # pytest's own are too long for a socket
        broker = Broker(directory)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        asyncio.run_coroutine_threadsafe(broker.start(), loop).result()
        yield directory
        asyncio.run_coroutine_threadsafe(broker.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def prefix() -> str:
    """What the names of a test's channels, streams and keys begin with, so that tests can share an engine."""
    return f"test{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def database(postgres_server: Postgres) -> str:
    """The URL of a new database, in which notifications of others are not heard."""
    return postgres_server.create()
