"""Each limit of `Config`: what the client is told, what the log says, and that nobody else notices."""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from faces.support.clients import DEFAULTS, PollingClient, RawWebSocket, WebSocketClient, dial, pack
from faces.support.http import Connection, request
from integration.conftest import bystander

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
House = Callable[..., Any]
FULL = {"code": 4, "message": "Server is full"}


# ---- what one packet may be ----


@pytest.mark.parametrize("kind", DEFAULTS)
@pytest.mark.parametrize(
    ("setting", "limit", "fine", "too_much"),
    [
        ("max_event_args", 5, '42["echo",1,2,3,4,5]', '42["echo",1,2,3,4,5,6]'),
        ("max_json_depth", 4, '42["echo",[[[1]]]]', '42["echo",[[[[1]]]]]'),
        ("max_json_depth", 4, '42["echo",{"a":{"b":{"c":1}}}]', '42["echo",{"a":{"b":{"c":{}}}}]'),
        ("max_attachments", 2, "42" + '["echo",1]', '453-["echo",{"_placeholder":true,"num":0}]'),
    ],
)
async def test_packets(fast_house: House, kind: str, setting: str, limit: int, fine: str, too_much: str) -> None:
    async with fast_house(**{setting: limit}) as house, bystander(house), DEFAULTS[kind](house.port) as client:
        await client.join()
        await client.say(fine)
        assert await client.call("echo", "fine") == "fine"
        if isinstance(client, PollingClient):
            await client.post(too_much)
        else:
            await client.say(too_much)
            assert await client.closed() == 1002
        assert await house.reason(client.id) == "parse error"
        assert house.logged("127.0.0.1", "is closed", f"{limit} ", f"[{setting}]") or house.logged(f"[{setting}]")


async def test_a_deep_bomb_costs_nothing(fast_house: House) -> None:
    async with fast_house() as house, bystander(house):
        for bomb in ("[" * 900_000, '{"a":' * 190_000, "[" * 450_000 + "]" * 450_000):
            async with WebSocketClient(house.port) as client:
                await client.join()
                await client.say(f'42["echo",{bomb}')
                assert await client.closed() == 1002
                assert await house.reason(client.id) == "parse error"


async def test_the_reference_servers_end(fast_house: House) -> None:
    """60,000 arguments end the reference server's process."""
    async with fast_house() as house, bystander(house), WebSocketClient(house.port) as client:
        await client.join()
        await client.say('42["echo"' + ",1" * 60_000 + "]")
        assert await client.closed() == 1002
        assert house.logged("60000 arguments; 256 are allowed")


async def test_a_packet_with_all_its_attachments(fast_house: House) -> None:
    async with (
        fast_house(max_payload_bytes=1000, max_packet_bytes=2000) as house,
        bystander(house),
        WebSocketClient(house.port) as client,
    ):
        await client.join()
        await client.say('453-["echo",{"_placeholder":true,"num":0}]', b"x" * 900, b"x" * 900, b"x" * 900)
        assert await client.closed() == 1009
        assert await house.reason(client.id) == "parse error"
        assert house.logged("2000 bytes", "[max_packet_bytes]")


async def test_packets_per_payload(fast_house: House) -> None:
    async with fast_house(max_packets_per_payload=10) as house, bystander(house):
        async with PollingClient(house.port) as client:
            await client.join()
            assert (await client.post(pack(['42["echo",1]'] * 10))).status == 200
            reply = await client.post(pack(['42["echo",1]'] * 11))
            assert reply.status == 400
            assert await house.reason(client.id) == "parse error"
        assert house.logged("11 packets", "10 are allowed", "[max_packets_per_payload]")


async def test_fragments(fast_house: House) -> None:
    async with (
        fast_house(max_websocket_fragments=10) as house,
        bystander(house),
        WebSocketClient(house.port) as client,
    ):
        await client.join()
        await client.ws.send(["42", '["echo",', "1", "]"])
        assert await client.call("echo", "fine") == "fine"
        await client.ws.send(["4"] * 20)
        assert await client.closed() == 1008
        assert house.logged("fragments")


# ---- what one client may have ----


async def test_namespaces(fast_house: House) -> None:
    async with fast_house(max_namespaces_per_client=3) as house, WebSocketClient(house.port) as client:
        for name in ("/a", "/b", "/c", "/d"):
            house.io.of(name)
        for name in ("", "/a", "/b"):
            await client.join(name)
        await client.say("40/c,")
        frame = await client.hear()
        assert frame == '44/c,{"message":"Too many namespaces; 3 are allowed"}'
        assert await client.call("echo", "unharmed") == "unharmed"
        assert house.logged("max_namespaces_per_client")


async def test_namespaces_that_do_not_exist_leave_no_trace(fast_house: House) -> None:
    async with fast_house() as house, WebSocketClient(house.port) as client:
        await client.join()
        for number in range(1000):
            await client.say(f"40/nothing-{number},")
            assert await client.hear() == f'44/nothing-{number},{{"message":"Invalid namespace"}}'
        assert list(house.io.hub.namespaces) == ["/"]
        assert len(house.io.sockets[client.id].session.sockets) == 1


async def test_rooms(fast_house: House) -> None:
    async with fast_house(max_rooms_per_socket=3) as house, WebSocketClient(house.port) as client:

        @house.io.on("enter")
        def enter(socket: Any, *rooms: str) -> list[str]:
            socket.join(*rooms)
            return sorted(socket.rooms - {socket.id})

        await client.join()
        assert await client.call("enter", "a", "b", "c") == ["a", "b", "c"]
        await client.emit("enter", "d")
        assert await client.call("enter") == ["a", "b", "c"]
        assert house.logged("as many as the setting max_rooms_per_socket allows")


# ---- what all clients may have ----


async def test_connections(house: House) -> None:
    async with house(max_connections=3) as house, bystander(house), PollingClient(house.port) as polling:
        await polling.join()
        async with WebSocketClient(house.port) as third:
            await third.join()
            reply = await request(house.port, "GET", HANDSHAKE)
            assert (reply.status, reply.json()) == (503, FULL)
            with pytest.raises(InvalidStatus) as refused:
                async with dial(house.port, "/socket.io/?EIO=4&transport=websocket"):
                    pass
            assert refused.value.response.status_code == 503
            assert json.loads(refused.value.response.body) == FULL
            assert house.logged("max_connections is 3")
            # who is in may upgrade
            async with WebSocketClient(house.port, sid=polling.sid) as better:
                await better.say("2probe", "5")
                assert await better.hear() == "3probe"
                assert await better.call("echo", 1) == 1
                await third.say("1")
                await house.reason(third.id)
                async with WebSocketClient(house.port) as fourth:
                    await fourth.join()


async def test_unanswered_polls(house: House) -> None:
    async with (
        house(max_unanswered_polls=2) as house,
        bystander(house),
        PollingClient(house.port) as one,
        PollingClient(house.port) as two,
        PollingClient(house.port) as three,
    ):
        for client in (one, two, three):
            await client.join()
        for client in (one, two):
            client.begin_poll()
            assert (await client.post('42["echo",1]')).text == "ok"  # the poll came before it
        reply = await three.poll()
        assert (reply.status, reply.json()) == (503, FULL)
        assert house.logged("max_unanswered_polls is 2")
        # the third keeps its session, and a freed place is given again
        house.io.to(one.id).emit("news")
        assert (await one.end_poll()).text == '42["news"]'
        three.begin_poll()
        assert (await three.post('42["echo",1]')).text == "ok"
        house.io.to(three.id).emit("news")
        assert (await three.end_poll()).text == '42["news"]'
        # as is that of a poll whose connection breaks
        two.polls.reset()
        assert await house.reason(two.id) == "transport error"
        one.begin_poll()
        three.begin_poll()
        await one.post('42["echo",1]')
        await three.post('42["echo",1]')
        house.io.emit("last")
        assert [(await client.end_poll()).text for client in (one, three)] == ['42["last"]'] * 2


# ---- who reads slowly ----

MEGABYTE = "x" * 1_000_000


@pytest.mark.parametrize("size", [1_000, 1_000_000])
async def test_a_client_that_does_not_read(house: House, size: int) -> None:
    """20 MB are emitted: it is disconnected, and a client beside it gets everything."""
    count = 20_000_000 // size
    text = "x" * size
    async with house() as house, bystander(house) as quick, WebSocketClient(house.port) as slow:
        await slow.join()
        house.io.to(quick.id).emit("nothing")
        slow.ws.transport.pause_reading()
        heard = asyncio.create_task(count_events(house, count))
        await asyncio.sleep(0)
        while not heard.done() and len(house.io.sockets) < 3:
            await asyncio.sleep(0.005)
        for number in range(count):
            house.io.except_(quick.id).emit("flood", number, text)
            # as a program that emits in turns of the loop; the fast client keeps up with it
            if number * size % 200_000 == 0:
                await asyncio.sleep(0.002)
        assert await house.reason(slow.id) == "slow consumer"
        assert await heard == list(range(count))
        assert house.logged(slow.sid, "bytes wait", "[max_buffered_bytes]")
        # its connection is cut, whether it reads or not
        async with asyncio.timeout(5):
            while slow.sid in house.io.engine.sessions:
                await asyncio.sleep(0.01)


async def count_events(house: Any, count: int) -> list[int]:
    async with WebSocketClient(house.port) as client:
        await client.join()
        return [(await client.event("flood"))[0] for _ in range(count)]


async def test_the_connection_of_a_slow_consumer_is_cut(fast_house: House) -> None:
    async with fast_house(max_buffered_bytes=1_000_000) as house, WebSocketClient(house.port) as slow:
        await slow.join()
        slow.ws.transport.pause_reading()
        while slow.id not in house.reasons:
            house.io.emit("flood", MEGABYTE)
            await asyncio.sleep(0)
        both_ends = len(os.listdir("/proc/self/fd"))
        async with asyncio.timeout(5):
            while len(os.listdir("/proc/self/fd")) >= both_ends:
                await asyncio.sleep(0.02)


async def test_the_application_leaves_a_slow_consumer_to_the_asgi_server(house: House) -> None:
    """What still has to be sent can't be: nothing of ours may wait for it."""

    def waiting() -> bool:
        return any(name in repr(task) for task in asyncio.all_tasks() for name in ("ASGIFace._read", "_Link.pump"))

    async with house(max_buffered_bytes=1_000_000) as house, WebSocketClient(house.port) as slow:
        await slow.join()
        slow.ws.transport.pause_reading()
        while slow.id not in house.reasons:
            house.io.emit("flood", MEGABYTE)
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while waiting():
                await asyncio.sleep(0.02)


async def test_volatile_events_are_dropped(house: House) -> None:
    async with house() as house, bystander(house), WebSocketClient(house.port) as slow:
        await slow.join()
        slow.ws.transport.pause_reading()
        member = house.io.sockets[slow.id]
        while member.session.direct is not None:
            member.emit("fill", MEGABYTE)
            await asyncio.sleep(0)
        for number in range(50):
            member.volatile.emit("picture", number, MEGABYTE)
        member.emit("end")
        await asyncio.sleep(0)
        assert slow.id not in house.reasons
        slow.ws.transport.resume_reading()
        names = []
        while names[-1:] != ["end"]:
            frame = await slow.hear()
            names.append(json.loads(frame[2:])[0])
        assert "picture" not in names
        member.volatile.emit("picture", 50)
        assert await slow.event("picture") == [50]


async def test_drain_keeps_the_pace(house: House) -> None:
    async with house() as house, WebSocketClient(house.port) as client:
        await client.join()
        member = house.io.sockets[client.id]

        async def film() -> None:
            for number in range(30):
                member.emit("chunk", number, MEGABYTE)
                await asyncio.wait_for(member.drain(), 5)

        filming = asyncio.create_task(film())
        for number in range(30):
            assert (await client.event("chunk"))[0] == number
        await filming
        assert client.id not in house.reasons


async def test_a_polling_client_that_never_polls(house: House) -> None:
    async with house(max_buffered_bytes=1_000_000) as house, bystander(house) as quick:
        async with PollingClient(house.port) as slow:
            await slow.join()
            for number in range(200):
                house.io.except_(quick.id).emit("flood", number, "x" * 10_000)
            assert await house.reason(slow.id) == "slow consumer"
            assert (await slow.poll()).json() == {"code": 1, "message": "Session ID unknown"}
        assert house.logged("bytes wait", "[max_buffered_bytes]")


async def test_volatile_events_wait_for_no_poll(house: House) -> None:
    async with house(max_buffered_bytes=1_000_000) as house, PollingClient(house.port) as client:
        await client.join()
        member = house.io.sockets[client.id]
        for number in range(200):
            member.volatile.emit("picture", number, "x" * 10_000)
        member.emit("end")
        assert (await client.poll()).text == '42["end"]'
        client.begin_poll()
        assert (await client.post('42["echo"]')).text == "ok"
        member.volatile.emit("picture", 1)
        assert (await client.end_poll()).text == '42["picture",1]'


# ---- floods ----


async def test_a_flood_of_pings(house: House) -> None:
    """Who pings and doesn't read: nothing piles up, and nobody waits."""
    async with house() as house, bystander(house), Connection(house.port) as connection:
        ws = RawWebSocket(connection)
        await ws.open()
        await ws.hear()
        connection.writer.transport.pause_reading()
        ping = b"\x89\x80" + b"\x01\x02\x03\x04"
        for _ in range(100):
            connection.write(ping * 300)
            await asyncio.sleep(0)
        connection.writer.transport.resume_reading()
        ws.say("40")
        pongs = 0
        while (await ws.hear())[1] == b"":
            pongs += 1
        # some were answered, or the rest could not be told from a dead connection
        assert 0 < pongs <= 30_000


async def test_a_flood_of_events(house: House) -> None:
    async with house() as house, bystander(house), WebSocketClient(house.port) as client:
        await client.join()
        for number in range(20_000):
            await client.ws.send(f'42["echo",{number}]')
        assert await client.call("echo", "here") == "here"


async def test_a_flood_of_handshakes(fast_house: House) -> None:
    async with fast_house(connect_timeout_seconds=0.5, ping_timeout_seconds=1) as house, bystander(house):
        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(request(house.port, "GET", HANDSHAKE))
        assert len(house.io.engine.sessions) == 201
        async with asyncio.timeout(30):
            while len(house.io.engine.sessions) > 1:
                await asyncio.sleep(0.05)


async def test_garbage_after_an_error_is_not_logged_again(fast_house: House) -> None:
    async with fast_house() as house, bystander(house), WebSocketClient(house.port) as client:
        await client.join()
        with contextlib.suppress(RuntimeError):  # the client has ended its half
            for _ in range(50):
                client.ws.transport.write(b"\xff" * 1000)
                await asyncio.sleep(0)
        await client.closed()
        assert len([line for line in house.lines() if f"client {client.sid} at" in line]) == 1
