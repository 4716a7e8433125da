"""The bus between the workers of one machine: what it can that other buses can't, and what happens to those who lag."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from madang.cluster import Listener, open_bus
from madang.cluster.broker import Broker
from madang.cluster.local import LocalBus
from madang.cluster.messages import (
    Broadcast,
    BroadcastData,
    EventPacket,
    Message,
    ServerEventData,
    ServerSideEmit,
    body,
    values_of,
)
from madang.config import Cluster, Config
from madang.errors import ConfigError, EncodeError

LIMITS = Config()


class Heard(Listener):
    """Notes all that a bus tells."""

    def __init__(self) -> None:
        self.messages: list[tuple[Message, str | None]] = []
        self.posts: list[bytes] = []
        self.members_gone: list[str] = []
        self.losses: list[str] = []
        self.links: list[str] = []

    def received(self, message: Message, offset: str | None = None) -> None:
        self.messages.append((message, offset))

    def posted(self, data: bytes) -> None:
        self.posts.append(data)

    def gone(self, uid: str) -> None:
        self.members_gone.append(uid)

    def malformed(self, error: Exception) -> None:
        raise error

    def up(self) -> None:
        self.links.append("up")

    def down(self, error: BaseException) -> None:
        self.links.append("down")

    def lost(self, count: int | None, why: str) -> None:
        if count is None:  # of others'
            self.losses.append(why)

    @property
    def said(self) -> list[Any]:
        return [
            values_of(one.data.packet.data if isinstance(one, Broadcast) else one.data.packet, LIMITS)
            for one, _ in self.messages
            if isinstance(one, Broadcast | ServerSideEmit)
        ]

    @property
    def offsets(self) -> list[str | None]:
        return [offset for _, offset in self.messages]


def event(*values: Any, uid: str = "", nsp: str = "/") -> Broadcast:
    return Broadcast(uid=uid, nsp=nsp, data=BroadcastData(EventPacket(body(list(values)))))


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.002)


@pytest.fixture
def directory() -> Iterator[str]:
    made = tempfile.mkdtemp(prefix="madang-")  # pytest's own are too long for a socket
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def broker(directory: str) -> AsyncIterator[Broker]:
    async with Broker(directory) as made:
        yield made


@contextlib.asynccontextmanager
async def member(
    directory: str, name: str, options: str = "", **settings: Any
) -> AsyncIterator[tuple[LocalBus, Heard]]:
    settings = {"max_reconnect_delay_seconds": 0.05, **settings}
    bus = open_bus(Cluster(f"local://{directory}{options}", **settings))
    assert isinstance(bus, LocalBus)
    heard = Heard()
    bus.open("/")
    await bus.start(f"{name:0>16}", f"n{name}", heard)
    try:
        yield bus, heard
    finally:
        await bus.close()


async def test_those_who_hear_are_known_and_counted_at_once(broker: Broker, directory: str):
    counts: list[int | None] = []
    async with member(directory, "a") as (one, _), member(directory, "b") as (two, _), member(directory, "c"):
        await until(lambda: len(one._members) == 2)
        one.count("/", counts.append)
        one.count("/news", counts.append)
        two.open("/news")
        await until(lambda: any("/news" in names for names in one._members.values()))
        one.count("/news", counts.append)
        two.shut("/news")
        await until(lambda: not any("/news" in names for names in one._members.values()))
        one.count("/news", counts.append)
    assert counts == [2, 0, 1, 0]


async def test_a_worker_that_ends_is_gone_at_once(broker: Broker, directory: str):
    async with member(directory, "a") as (one, heard):
        async with member(directory, "b"):
            await until(lambda: one._members)
            assert heard.members_gone == []
        await until(lambda: heard.members_gone)
        assert heard.members_gone == [f"{'b':0>16}"]
        assert one._members == {}


async def test_groups_hear_nothing_of_each_other(broker: Broker, directory: str):
    async with (
        member(directory, "a", prefix="/one/") as (one, _),
        member(directory, "b", prefix="/one/") as (_, near),
        member(directory, "c", prefix="/two/") as (other, far),
    ):
        one.publish(event("near"))
        other.publish(event("far"))
        one.post("nc", b"far")
        one.post("nb", b"near")
        await until(lambda: near.posts)
        assert (near.said, near.posts, far.said, far.posts) == ([["near"]], [b"near"], [], [])


async def test_all_hear_broadcasts_in_one_order_where_they_are_kept(broker: Broker, directory: str):
    async with (
        member(directory, "a", "?ledger=1") as (one, first),
        member(directory, "b", "?ledger=1") as (two, second),
    ):
        await until(lambda: one._members and two._members)
        for number in range(50):
            one.publish(event("one", number))
            two.publish(event("two", number, b"\x00"))
        await until(lambda: len(first.messages) == len(second.messages) == 100)
        assert first.said == second.said
        assert first.offsets == second.offsets
        assert None not in first.offsets
        assert len(set(first.offsets)) == 100
        # What is no broadcast to all is told to the others alone, and not kept.
        asked = event("ask")
        asked.data.requestId = "r"
        one.publish(asked)
        one.publish(ServerSideEmit(nsp="/", data=ServerEventData(body(["hi"]))))
        await until(lambda: len(second.messages) == 102)
        assert second.offsets[100:] == [None, None]
        assert len(first.messages) == 100


async def test_the_ledger_tells_what_was_missed(broker: Broker, directory: str):
    async with member(directory, "a", "?ledger=1") as (one, heard):
        for number in range(5):
            one.publish(event("tick", number))
            one.publish(event("elsewhere", nsp="/other"))
        await until(lambda: len(heard.messages) == 5)
        seen = heard.offsets[1]
        assert seen is not None
    # Another worker, which has heard nothing of it.
    async with member(directory, "b", "?ledger=1") as (two, _):
        ledger = two.ledger
        assert ledger is not None
        missed = await ledger.since(seen, "/", 100)
        assert missed is not None
        assert [values_of(message.data.packet.data, LIMITS) for _, message in missed] == [
            ["tick", n] for n in (2, 3, 4)
        ]
        assert [offset for offset, _ in missed] == heard.offsets[2:]
        assert await ledger.since(missed[-1][0], "/", 100) == []
        assert await ledger.since(seen, "/", 2) is None
        for offset in ("00000000.1", f"{broker.epoch}.ffff", f"{broker.epoch}.", "nonsense", f"{broker.epoch}.-1"):
            assert await ledger.since(offset, "/", 100) is None


async def test_what_the_ledger_tells_ends_where_the_listener_is(broker: Broker, directory: str):
    async with (
        member(directory, "a", "?ledger=1") as (one, _),
        member(directory, "b", "?ledger=1") as (two, other),
    ):
        two.open("/other")
        ledger = two.ledger
        assert ledger is not None
        one.publish(event("first"))
        await until(lambda: other.messages)
        start = other.offsets[0]
        assert start is not None

        async def talk() -> None:
            for number in range(2000):
                one.publish(event("tick", number, nsp="/other" if number % 3 else "/"))
                if number % 50 == 0:
                    await asyncio.sleep(0)

        talking = asyncio.create_task(talk())
        between = 0
        while len(other.messages) < 2001:
            told = await ledger.since(start, "/", 5000)
            here = [offset for message, offset in other.messages if message.nsp == "/"]
            assert told is not None
            assert [offset for offset, _ in told] == here[1:]
            between += 0 < len(here) < 667
        assert between > 0
        await talking


async def test_what_is_known_of_a_client_is_taken_once_by_another_worker(broker: Broker, directory: str):
    async with (
        member(directory, "a", "?ledger=1") as (one, _),
        member(directory, "b", "?ledger=1") as (two, _),
    ):
        assert one.ledger is not None
        assert two.ledger is not None
        one.ledger.save("pid", b"old", 60)
        one.ledger.save("pid", b"new", 60)
        assert await one.ledger.take("other") is None  # the answer comes behind what was saved
        assert await two.ledger.take("pid") == b"new"
        assert await one.ledger.take("pid") is None


async def test_without_being_asked_for_there_is_no_ledger(broker: Broker, directory: str):
    async with member(directory, "a") as (one, heard), member(directory, "b") as (_, other):
        assert one.ledger is None
        one.publish(event("tick"))
        await until(lambda: other.messages)
        assert other.offsets == [None]
        assert heard.messages == []


async def test_a_worker_that_does_not_read_loses_messages_and_is_told_and_nobody_waits(directory: str):
    async with Broker(directory, max_buffered_bytes=200_000):
        stalled = subprocess.Popen(
            [sys.executable, "-c", STALLED, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert stalled.stdin is not None
        assert stalled.stdout is not None
        try:
            async with member(directory, "a") as (one, _), member(directory, "b") as (_, good):
                await until(lambda: len(one._members) == 2)
                os.kill(stalled.pid, signal.SIGSTOP)
                for number in range(100):  # 2 MB
                    one.publish(event(number, "x" * 20_000))
                    await until(lambda number=number: len(good.messages) > number)
                assert good.losses == []
                os.kill(stalled.pid, signal.SIGCONT)
                lines = asyncio.to_thread(lambda: list(iter(stalled.stdout.readline, "lost\n")))
                async with asyncio.timeout(30):
                    heard = [int(line) for line in await lines]
                why = stalled.stdout.readline()
                assert 0 < len(heard) < 100
                assert heard == list(range(len(heard)))
                assert why == f"this worker read too slowly: {100 - len(heard)} messages for it were thrown away\n"
                one.publish(event("on"))
                assert await asyncio.to_thread(stalled.stdout.readline) == "on\n"
        finally:
            stalled.kill()
            stalled.communicate()


STALLED = """
import asyncio, sys
from madang.cluster import Listener, open_bus
from madang.cluster.messages import values_of
from madang.config import Cluster, Config

class Told(Listener):
    def received(self, message, offset=None):
        print(values_of(message.data.packet.data, Config())[0], flush=True)
    def lost(self, count, why):
        print("lost", why, sep="\\n", flush=True)
    def posted(self, data): pass
    def malformed(self, error): raise error
    def up(self): pass
    def down(self, error): pass

async def main():
    bus = open_bus(Cluster("local://" + sys.argv[1]))
    bus.open("/")
    await bus.start("stalled", "node", Told())
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_new_broker_is_found_and_what_waited_is_said_in_order(directory: str):
    first = Broker(directory)
    await first.start()
    async with member(directory, "a") as (one, heard), member(directory, "b") as (two, other):
        await until(lambda: one._members and two._members)
        await first.close()
        await until(lambda: heard.links[-1] == "down" and other.links[-1] == "down")
        two.open("/late")
        for number in range(3):
            one.publish(event(number))
        assert one.buffered[0] == 3
        async with Broker(directory):
            await until(lambda: heard.links[-1] == other.links[-1] == "up")
            await until(lambda: len(one._members) == 1 and len(two._members) == 1)
            one.publish(event("late", nsp="/late"))
            await until(lambda: ["late"] in other.said)
            # Who came back first has said what waited to whoever was there.
            assert [one for one in other.said if one != ["late"]] in ([], [[0], [1], [2]])
            assert len(heard.losses) == len(other.losses) == 1


async def test_broadcasts_that_are_thrown_away_come_back_without_an_offset(directory: str):
    broker = Broker(directory)
    await broker.start()
    async with member(directory, "a", "?ledger=1", max_buffered_messages=3) as (one, heard):
        await broker.close()
        await until(lambda: heard.links[-1] == "down")
        for number in range(5):
            one.publish(event(number))
        assert (heard.said, heard.offsets) == ([[0], [1]], [None, None])
        async with Broker(directory):
            await until(lambda: len(heard.messages) == 5)
            assert heard.said == [[0], [1], [2], [3], [4]]
            assert None not in heard.offsets[2:]


async def test_a_worker_that_makes_no_sense_is_cut_off_alone(broker: Broker, directory: str):
    errors: list[Exception] = []
    broker.on_error = errors.append
    async with member(directory, "a") as (one, _), member(directory, "b") as (_, other):
        reader, writer = await asyncio.open_unix_connection(broker.path)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert len(errors) == 1
        one.publish(event("on"))
        await until(lambda: other.said == [["on"]])


async def test_large_messages_go_through(broker: Broker, directory: str):
    async with member(directory, "a") as (one, _), member(directory, "b") as (_, other):
        one.publish(event("large", b"\x00" * 3_000_000))
        one.publish(event("small"))
        await until(lambda: len(other.messages) == 2)
        assert [len(values[1]) for values in other.said[:1]] == [3_000_000]
        with pytest.raises(EncodeError, match="at most 65535"):
            one.publish(event("x", nsp="/" + "x" * 70_000))


@pytest.mark.parametrize(
    "url",
    ["local://run/app", "local:///", "local:///x?ledger=yes", "local:///x?legder=1", "local:///" + "x" * 120],
    ids=["host", "root", "value", "option", "long"],
)
def test_a_url_that_makes_no_sense_says_what_does(url: str):
    with pytest.raises(ConfigError, match="cluster: "):
        open_bus(Cluster(url))


async def test_the_socket_goes_with_the_broker(directory: str):
    async with Broker(directory):
        assert [one.name for one in Path(directory).iterdir()] == ["bus"]
    assert list(Path(directory).iterdir()) == []
