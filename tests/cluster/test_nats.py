"""The bus over NATS, with real ones, with and without JetStream."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nats
import pytest

from cluster.support.engines import Nats
from cluster.support.recorder import Cable, Member, emit, until
from madang.cluster import Ledger, open_bus
from madang.cluster.messages import (
    Broadcast,
    DisconnectData,
    DisconnectSockets,
    FetchData,
    FetchSockets,
    FetchSocketsResponse,
    Heartbeat,
    InitialHeartbeat,
    Options,
    RoomsData,
    SocketsData,
    SocketsJoin,
    to_json,
    values_of,
)
from madang.config import Cluster, Config
from madang.errors import ConfigError, RemoteProtocolError

_numbers = itertools.count(1)


@pytest.fixture
def prefix() -> str:
    return f"yard{next(_numbers)}"


def moved(url: str, engine: Nats, cable: Cable) -> str:
    """The URL of an engine by way of a cable."""
    return url.replace(f":{engine.port}", f":{cable.port}")


async def test_members_hear_each_other_in_order(nats_server: Nats, prefix: str) -> None:
    async with Member(nats_server.url, "a", prefix=prefix) as a, Member(nats_server.url, "b", prefix=prefix) as b:
        for number in range(300):
            a.emit("n", number, *([b"x" * number] if number % 7 == 0 else []))
        a.emit("large", "x" * 3_000_000)
        a.emit("larger", b"x" * 3_000_000)
        a.emit("last")
        await until(lambda: len(b.heard.messages) == 303)
        assert [event[1] for event in b.heard.events[:300]] == list(range(300))
        assert b.heard.events[300:] == [["large", "x" * 3_000_000], ["larger", b"x" * 3_000_000], ["last"]]
        assert a.heard.messages == []


async def test_who_has_asked_alone_is_answered(nats_server: Nats, prefix: str) -> None:
    async with (
        Member(nats_server.url, "a", prefix=prefix) as a,
        Member(nats_server.url, "b", prefix=prefix) as b,
        Member(nats_server.url, "c", prefix=prefix) as c,
    ):
        b.bus.publish(FetchSocketsResponse(uid=b.uid, nsp="/", data=SocketsData("r", [])), a.uid)
        b.bus.publish(Heartbeat(uid=b.uid, nsp="/"), a.uid)
        await until(lambda: len(a.heard.messages) == 2 and len(c.heard.messages) == 1)
        assert {type(one) for one in a.heard.messages} == {FetchSocketsResponse, Heartbeat}
        assert isinstance(c.heard.messages[0], Heartbeat)


async def test_members_are_posted_to(nats_server: Nats, prefix: str) -> None:
    async with Member(nats_server.url, "a", prefix=prefix) as a, Member(nats_server.url, "b", prefix=prefix) as b:
        sent = [b"", b"text", b"\0", b"\x01", bytes(range(256)), b"x" * 1_048_576, b"y" * 5_000_000, b"last"]
        for data in sent:
            a.bus.post(b.node, data)
        a.bus.post(a.node, b"to myself")
        await until(lambda: len(b.heard.posts) == len(sent) and bool(a.heard.posts))
        assert b.heard.posts == sent
        assert a.heard.posts == [b"to myself"]


@pytest.mark.parametrize("namespace", ["/", "/a.b", "/a b", "/*", "/>", "/마당", "/" + "x" * 2000, "/\r\nPUB x 1\r\n"])
async def test_any_namespace_has_a_subject(nats_server: Nats, prefix: str, namespace: str) -> None:
    async with (
        Member(nats_server.url, "a", namespace, prefix=prefix) as a,
        Member(nats_server.url, "b", namespace, "/other", prefix=prefix) as b,
    ):
        a.emit("hi", nsp=namespace)
        await until(lambda: b.heard.events == [["hi"]])
        b.bus.shut(namespace)
        b.bus.publish(InitialHeartbeat(uid=b.uid, nsp=namespace))
        await until(lambda: len(a.heard.messages) == 1)
        a.emit("never", nsp=namespace)
        a.emit("last", nsp="/other")
        await until(lambda: b.heard.events == [["hi"], ["last"]])


async def test_what_is_no_message_is_told_and_left_out(nats_server: Nats, prefix: str) -> None:
    client = await nats.connect(nats_server.url)
    async with Member(nats_server.url, "a", prefix=prefix) as a:
        bad = [b"", b"nonsense", b"\xc1", b"{}", b"\x01short", b'{"type":99,"uid":"b","nsp":"/"}']
        for data in bad:
            await client.publish(f"{prefix}.ns.%2F", data)
        posts = [b"", b"x", b"\x01short"]
        for data in posts:
            await client.publish(f"{prefix}.node.{a.node}", data)
        await client.publish(f"{prefix}.node.{a.node}", b"\0end")
        await client.publish(f"{prefix}.ns.%2F", to_json(Heartbeat(uid="b", nsp="/")))
        await until(lambda: bool(a.heard.messages) and a.heard.posts == [b"end"])
        assert all(isinstance(error, RemoteProtocolError) for error in a.heard.malformations)
        assert len(a.heard.malformations) == len(bad) + len(posts)
        assert not a.heard.downs
    await client.close()


async def test_pieces_that_do_not_fit_are_left_out(nats_server: Nats, prefix: str) -> None:
    def piece(sender: bytes, number: int, index: int, count: int, data: bytes) -> bytes:
        return b"\x01" + sender + b"".join(one.to_bytes(4, "big") for one in (number, index, count)) + data

    client = await nats.connect(nats_server.url)
    async with Member(nats_server.url, "a", prefix=prefix, max_buffered_bytes=1000) as a:
        subject = f"{prefix}.node.{a.node}"
        one, two = b"1" * 8, b"2" * 8
        for data in [
            piece(one, 1, 1, 2, b"its beginning was not heard"),
            piece(one, 2, 0, 3, b"its end does not come"),
            piece(one, 3, 0, 2, b"a"),
            piece(two, 3, 0, 2, b"c"),
            piece(one, 3, 1, 2, b"b"),
            piece(two, 3, 1, 2, b"d"),
            piece(one, 4, 0, 3, b"x" * 800),
            piece(one, 4, 1, 3, b"x" * 800),
            piece(one, 4, 2, 3, b"x" * 800),
            b"\0end",
        ]:
            await client.publish(subject, data)
        await until(lambda: b"end" in a.heard.posts)
        assert a.heard.posts == [b"ab", b"cd", b"end"]
        assert [count for count, _ in a.heard.losses] == [1, 1]
    await client.close()


async def test_passwords_tokens_and_certificates(tmp_path: Path) -> None:
    with Nats(password="a/b@c", tls=True) as engine:
        token = quote("a/b@c", safe="")
        url = f"tls://{token}@localhost:{engine.port}?tls_ca={engine.ca}"
        async with Member(url, "a") as a, Member(url, "b") as b:
            a.emit("hi")
            await until(lambda: bool(b.heard.messages))
        wrong = Member(f"tls://wrong@localhost:{engine.port}?tls_ca={engine.ca}", "a")
        with pytest.raises(ConfigError, match="does not let us in"):
            await wrong.bus.start(wrong.uid, wrong.node, wrong.heard)
        # Whoever is not trusted is told nothing.
        async with Member(f"tls://{token}@localhost:{engine.port}", "a") as a:
            await until(lambda: bool(a.heard.downs))
            assert "certificate" in str(a.heard.downs[0]).lower()


async def test_what_can_never_work(nats_server: Nats) -> None:
    for url, why in {
        "nats://": "write nats://host:4222",
        "nats://host/path": "write nats://host:4222",
        "nats://one,,two": "write nats://host:4222",
        "nats+x://host": "write nats:// or tls://",
        "nats://host?colour=red": "no option 'colour'",
        "nats://host?max_age=1": "need jetstream=1",
        "nats://host?jetstream=perhaps": "jetstream is 0 or 1",
        "nats://host?jetstream=1&max_age=long": "max_age is a number",
        "nats://host?jetstream=1&max_msgs=0": "must be positive",
        "nats://host?jetstream=1&storage=paper": 'storage is "file" or "memory"',
        "tls://host?tls_ca=/nowhere": "can't be read",
    }.items():
        with pytest.raises(ConfigError, match=why):
            open_bus(Cluster(url))
    for prefix in ("a b", "a..b", "a.*", ""):
        with pytest.raises(ConfigError, match="prefix"):
            open_bus(Cluster("nats://host", prefix=prefix))
    without = Member(f"{nats_server.url}?jetstream=1", "a")
    with pytest.raises(ConfigError, match="is JetStream on"):
        await without.bus.start(without.uid, without.node, without.heard)


async def test_what_is_not_allowed_is_told(tmp_path: Path) -> None:
    with Nats() as engine:
        rules = engine.folder / "rules.conf"
        rules.write_text(
            'authorization { users: [ { user: a, password: b, permissions: { subscribe: "_INBOX.>" } } ] }'
        )
        # Started by hand: the permissions are in a file.
        await asyncio.to_thread(engine.stop)
        plain = engine.command
        engine.command = lambda: [*plain(), "-c", str(rules)]  # type: ignore[method-assign]
        await asyncio.to_thread(engine.start)
        member = Member(f"nats://a:b@{engine.host}:{engine.port}", "a")
        with pytest.raises(ConfigError, match=r"(?i)permissions violation"):
            await member.bus.start(member.uid, member.node, member.heard)


async def test_one_of_several_servers_is_enough(nats_server: Nats, prefix: str) -> None:
    with Nats() as other:
        other.kill()
        both = f"nats://{other.host}:{other.port},{nats_server.host}:{nats_server.port}"
        async with Member(both, "a", prefix=prefix) as a, Member(nats_server.url, "b", prefix=prefix) as b:
            a.emit("hi")
            await until(lambda: bool(b.heard.messages))


async def test_a_link_that_breaks_and_comes_back(nats_server: Nats, prefix: str) -> None:
    url = nats_server.url
    async with (
        Cable(nats_server.address) as cable,
        Member(moved(url, nats_server, cable), "a", prefix=prefix) as a,
        Member(url, "b", "/", "/late", prefix=prefix) as b,
    ):
        a.emit("n", 0, seq=1)
        await until(lambda: len(b.heard.messages) == 1)
        await a.bus.drain()
        await cable.cut()
        await until(lambda: bool(a.heard.downs))
        for number in range(1, 100):
            a.emit("n", number, seq=number + 1)
        assert a.bus.buffered[0] == 99
        a.bus.post(b.node, b"posted")
        a.bus.open("/late")
        b.emit("missed")
        await cable.mend()
        await until(lambda: len(b.heard.messages) == 100 and bool(b.heard.posts))
        assert [event[1] for event in b.heard.events] == list(range(100))
        await until(lambda: a.bus.buffered == (0, 0))
        assert (a.heard.ups, [count for count, _ in a.heard.losses]) == (2, [None])
        assert (b.heard.ups, b.heard.losses) == (1, [])
        b.emit("late", nsp="/late")
        await until(lambda: a.heard.events == [["late"]])


@pytest.mark.exhaustive
async def test_a_server_that_is_paused_or_killed() -> None:
    with Nats() as engine:
        async with Member(engine.url, "a") as a, Member(engine.url, "b") as b:
            await asyncio.to_thread(engine.pause)
            for number in range(1000):
                a.emit("n", number, "x" * 1000, seq=number)
            await until(lambda: bool(a.heard.downs) and bool(b.heard.downs))
            assert "no answer" in str(a.heard.downs[0])
            await asyncio.to_thread(engine.kill)
            await asyncio.to_thread(engine.start)
            await until(lambda: a.heard.ups == b.heard.ups == 2 and a.bus.buffered == (0, 0))
            a.emit("n", 1000)
            await until(lambda: bool(b.heard.messages) and b.heard.events[-1][1] == 1000)
            assert [count for count, _ in b.heard.losses] == [None]
            heard = [event[1] for event in b.heard.events]
            assert heard == sorted(set(heard))


# JetStream


def ledger_of(member: Member) -> Ledger:
    found = member.bus.ledger
    assert found is not None
    return found


async def missed(member: Member, offset: str | None, most: int = 10_000, namespace: str = "/") -> list[Any] | None:
    """The numbers of the events that a client has missed."""
    assert offset is not None
    found = await ledger_of(member).since(offset, namespace, most)
    if found is None:
        return None
    told = dict(zip(member.heard.offsets, member.heard.events, strict=True))
    return [told[where][1] for where, _ in found]


@pytest.fixture
async def streams(jetstream_server: Nats, prefix: str) -> AsyncIterator[str]:
    """The URL of a JetStream; what the test makes there goes with it."""
    yield f"{jetstream_server.url}?jetstream=1&storage=memory"
    client = await nats.connect(jetstream_server.url)
    js = client.jetstream()
    for name in (f"madang-{prefix}", f"KV_madang-{prefix}-clients"):
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await js.delete_stream(name)
    await client.close()


async def test_all_hear_the_stream_in_its_order(streams: str, prefix: str) -> None:
    async with Member(streams, "a", prefix=prefix) as a, Member(streams, "b", prefix=prefix) as b:
        for number in range(200):
            (a, b)[number % 2].emit("n", number, *([b"x"] if number % 7 == 0 else []))
        a.emit("large", b"x" * 3_000_000)
        await until(lambda: len(a.heard.messages) == len(b.heard.messages) == 201)
        assert a.heard.events == b.heard.events
        assert a.heard.offsets == b.heard.offsets
        assert len(set(a.heard.offsets)) == 201
        for parity in (0, 1):
            assert [event[1] for event in a.heard.events[:-1] if event[1] % 2 == parity] == list(range(parity, 200, 2))
        # What else changes something is kept too, and our own does not come back.
        a.bus.publish(SocketsJoin(uid=a.uid, nsp="/", data=RoomsData(Options(), ["x"])))
        b.emit("last")
        await until(lambda: len(a.heard.messages) == 202)
        assert isinstance(b.heard.messages[201], SocketsJoin)
        assert b.heard.offsets[201] is None


async def test_requests_stay_behind_what_they_are_about(streams: str, prefix: str) -> None:
    async with Member(streams, "a", prefix=prefix) as a, Member(streams, "b", prefix=prefix) as b:
        for number in range(50):
            a.emit("n", number)
            a.bus.publish(SocketsJoin(uid=a.uid, nsp="/", data=RoomsData(Options(), ["x"])))
            a.bus.publish(FetchSockets(uid=a.uid, nsp="/", data=FetchData(Options(), "r")))
            asked = emit(a.uid, "asked", number)
            asked.data.requestId = "r"
            a.bus.publish(asked)
        await until(lambda: len(a.heard.messages) == 50 and len(b.heard.messages) == 200)
        assert [type(one) for one in b.heard.messages] == [Broadcast, SocketsJoin, FetchSockets, Broadcast] * 50
        assert [offset is None for offset in b.heard.offsets] == [False, True, True, True] * 50
        assert a.heard.events == [["n", number] for number in range(50)]
        found = await ledger_of(b).since(str(a.heard.offsets[0]), "/", 1000)
        assert found is not None
        assert [offset for offset, _ in found] == a.heard.offsets[1:]
        async with Member(streams, "c", prefix=prefix) as c:
            found = await ledger_of(c).since(str(a.heard.offsets[0]), "/", 1000)
            assert found is not None
            assert [offset for offset, _ in found] == a.heard.offsets[1:]


async def test_what_a_client_has_missed(streams: str, prefix: str) -> None:
    async with Member(streams, "a", "/", "/other", prefix=prefix) as a:
        for number in range(50):
            a.emit("n", number, nsp="/other" if number % 5 == 0 else "/")
        a.bus.publish(DisconnectSockets(uid=a.uid, nsp="/", data=DisconnectData(Options(["nobody"]))))
        await until(lambda: len(a.heard.messages) == 50)
        offsets = a.heard.offsets
        of_main = [number for number in range(50) if number % 5]
        assert await missed(a, offsets[10]) == [number for number in of_main if number > 10]
        assert await missed(a, offsets[10], namespace="/other") == [15, 20, 25, 30, 35, 40, 45]
        assert await missed(a, offsets[49]) == []
        assert await missed(a, offsets[10], most=39) == [number for number in of_main if number > 10]
        assert await missed(a, offsets[10], most=38) is None
        for nonsense in (
            "",
            "x",
            "1",
            "1-0",
            f"-{offsets[3]}",
            "9" * 30,
            f"{'9' * 17}-{str(offsets[3]).partition('-')[2]}",
        ):
            assert await missed(a, nonsense) is None
        # A member that was not there then reads it from the stream.
        async with Member(streams, "b", "/", "/other", prefix=prefix) as b:
            b.heard.offsets, b.heard.messages = list(offsets), list(a.heard.messages)
            assert await missed(b, offsets[10]) == [number for number in of_main if number > 10]
            assert await missed(b, offsets[10], namespace="/other") == [15, 20, 25, 30, 35, 40, 45]
            assert await missed(b, offsets[10], most=33) == [number for number in of_main if number > 10]
            assert await missed(b, offsets[10], most=32) is None
            a.emit("large", 50, b"x" * 2_500_000)
            a.emit("n", 51)
            await until(lambda: len(b.heard.messages) == 52)
            assert await missed(b, offsets[40]) == [41, 42, 43, 44, 46, 47, 48, 49, 50, 51]
        async with Member(streams, "c", prefix=prefix) as c:
            found = await ledger_of(c).since(str(offsets[48]), "/", 100)
            assert found is not None
            assert [values_of(one.data.packet.data, Config())[1] for _, one in found] == [49, 50, 51]


async def test_what_a_client_has_missed_ends_where_the_listener_is(streams: str, prefix: str) -> None:
    """Whoever comes back while others talk gets everything once."""
    async with Member(streams, "a", prefix=prefix) as a:
        a.emit("n", 0)
        await until(lambda: len(a.heard.messages) == 1)
        async with Member(streams, "b", prefix=prefix) as b:

            async def talk() -> None:
                for number in range(1, 2000):
                    a.emit("n", number)
                    if number % 20 == 0:
                        await asyncio.sleep(0)

            talking = asyncio.create_task(talk())
            for _ in range(10):
                found = await ledger_of(b).since(str(a.heard.offsets[0]), "/", 10_000)
                told = [event[1] for event in b.heard.events]
                assert found is not None
                numbers = range(1, len(found) + 1)
                assert [int(where.partition("-")[0]) for where, _ in found] == [number + 1 for number in numbers]
                assert len(found) == (told[-1] if told else 0)
                await asyncio.sleep(0.002)
            await talking
            await until(lambda: len(b.heard.messages) == 1999)
            assert [event[1] for event in b.heard.events] == list(range(1, 2000))


async def test_what_is_trimmed_cannot_be_missed(streams: str, prefix: str) -> None:
    url = f"{streams}&max_msgs=10"
    async with Member(url, "a", prefix=prefix) as a:
        for number in range(30):
            a.emit("n", number)
            await until(lambda: len(a.heard.messages) > number)  # noqa: B023
        async with Member(url, "b", prefix=prefix) as b:
            offsets = a.heard.offsets
            assert await ledger_of(b).since(str(offsets[10]), "/", 100) is None
            found = await ledger_of(b).since(str(offsets[20]), "/", 100)
            assert found is not None
            assert [where for where, _ in found] == offsets[21:]


async def test_lost_clients_are_found_once(streams: str, prefix: str) -> None:
    async with Member(streams, "a", prefix=prefix) as a, Member(streams, "b", prefix=prefix) as b:
        first, second = ledger_of(a), ledger_of(b)
        first.save("a pid, of * any > letters.", b"old", 60)
        first.save("a pid, of * any > letters.", b"\x00record", 60)
        first.save("gone", b"x", -1)
        assert await first.take("a pid, of * any > letters.") == b"\x00record"
        assert await first.take("a pid, of * any > letters.") is None
        assert await second.take("never") is None
        assert await first.take("gone") is None
        for number in range(5):
            first.save(f"p{number}", b"%d" % number, 60)
            await until(lambda: a.bus.buffered == (0, 0))
            found = await asyncio.gather(first.take(f"p{number}"), second.take(f"p{number}"))
            assert sorted(found, key=str) == [None, b"%d" % number] or sorted(found, key=str) == [b"%d" % number, None]


async def test_nothing_of_the_stream_is_lost_with_the_link(streams: str, jetstream_server: Nats, prefix: str) -> None:
    async with (
        Cable(jetstream_server.address) as cable,
        Member(moved(streams, jetstream_server, cable), "a", prefix=prefix) as a,
        Member(streams, "b", prefix=prefix) as b,
    ):
        a.emit("n", 0)
        await until(lambda: len(a.heard.messages) == len(b.heard.messages) == 1)
        for number in range(1, 300):
            a.emit("n", number, seq=number)
            if number == 100:
                await until(lambda: len(b.heard.messages) > 20)
                await cable.cut()
        await until(lambda: bool(a.heard.downs))
        for number in range(300, 400):
            b.emit("n", number)
        await until(lambda: b.heard.events[-1] == ["n", 399])
        await cable.mend()
        await until(lambda: len(a.heard.messages) == len(b.heard.messages) == 400)
        assert a.heard.events == b.heard.events
        assert a.heard.offsets == b.heard.offsets
        assert sorted(event[1] for event in a.heard.events) == list(range(400))
        assert a.heard.losses == b.heard.losses == []


async def test_a_server_with_streams_that_is_killed() -> None:
    with Nats(jetstream=True) as engine:
        url = f"{engine.url}?jetstream=1"
        async with Member(url, "a") as a, Member(url, "b") as b:
            for number in range(200):
                a.emit("n", number)
            await until(lambda: len(b.heard.messages) > 10)
            await asyncio.to_thread(engine.kill)
            for number in range(200, 300):
                a.emit("n", number)
            await until(lambda: bool(a.heard.downs) and bool(b.heard.downs))
            await asyncio.to_thread(engine.start)
            await until(lambda: len(a.heard.messages) == len(b.heard.messages) == 300)
            assert a.heard.events == b.heard.events == [["n", number] for number in range(300)]
            assert a.heard.losses == b.heard.losses == []


async def test_a_stream_that_is_gone_is_told() -> None:
    with Nats(jetstream=True) as engine:
        url = f"{engine.url}?jetstream=1&storage=memory"
        async with Member(url, "a") as a:
            a.emit("n", 0)
            await until(lambda: len(a.heard.messages) == 1)
            await asyncio.to_thread(engine.restart)
            await until(lambda: a.heard.ups == 2)
            assert a.heard.losses == [(None, "the stream was made anew")]
            a.emit("n", 1)
            await until(lambda: len(a.heard.messages) == 2)
            assert await ledger_of(a).since(str(a.heard.offsets[0]), "/", 10) is None


async def test_our_own_that_are_thrown_away_come_back_without_an_offset() -> None:
    with Nats(jetstream=True) as engine:
        async with Member(f"{engine.url}?jetstream=1", "a", max_buffered_messages=10) as a:
            await asyncio.to_thread(engine.kill)
            await until(lambda: bool(a.heard.downs))
            for number in range(15):
                a.emit("n", number)
            await asyncio.to_thread(engine.start)
            await until(lambda: len(a.heard.messages) == 15)
            assert [event[1] for event in a.heard.events] == list(range(15))
            assert [offset is None for offset in a.heard.offsets] == [True] * 5 + [False] * 10
            assert sum(count or 0 for count, _ in a.heard.losses) == 5
