"""`io.threadsafe`: order, errors, waiting, limits, and every way to misuse it."""

import asyncio
import concurrent.futures
import inspect
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from madang import Server
from madang.core.socket import Socket
from madang.errors import (
    AckTimeout,
    Disconnected,
    EncodeError,
    LimitError,
    LocalProtocolError,
    WrongThreadError,
)
from madang.testing import EngineKit, LinkClient
from madang.threadsafe import Answer

Log = list[Any]


@pytest.fixture
async def kit() -> AsyncIterator[EngineKit]:
    kit = EngineKit()
    await kit.io.start()
    yield kit
    await kit.io.close()


def arrive(kit: EngineKit, namespace: str = "/") -> tuple[LinkClient, Socket]:
    client = kit.websocket()
    return client, client.join(namespace)


async def elsewhere(function: Callable[[], Any]) -> Any:
    """Run a function in a thread, then let the event loop do what it has asked for."""
    result = await asyncio.to_thread(function)
    for _ in range(5):
        await asyncio.sleep(0)
    return result


# --------------------------------------------------------------------------------------------------------- talking


async def test_namespaces_of_patterns(kit: EngineKit) -> None:
    rooms = kit.io.of("/room-{number:int}")
    there = kit.io.threadsafe
    await elsewhere(lambda: there.of("/room-1").emit("to nobody"))
    assert rooms.children == {}
    clients = [kit.websocket() for _ in range(2)]
    held = await asyncio.to_thread(lambda: there.of("/room-2"))
    for number, client in enumerate(clients, 1):
        client.join(f"/room-{number}")
    await elsewhere(lambda: there.of("room-{number:int}").emit("all"))
    await elsewhere(lambda: there.of("/room-1").emit("one"))
    await elsewhere(lambda: held.emit("two"))
    there.of("/room-1").emit("here")
    assert [client.heard() for client in clients] == [
        ['42/room-1,["all"]', '42/room-1,["one"]', '42/room-1,["here"]'], ['42/room-2,["all"]', '42/room-2,["two"]'],
    ]  # fmt: skip
    with pytest.raises(LocalProtocolError, match="there is no namespace '/room-x'"):
        await asyncio.to_thread(lambda: there.of("/room-x"))


async def test_whom_to_talk_to(kit: EngineKit) -> None:
    one, socket_one = arrive(kit)
    two, socket_two = arrive(kit)
    three, _ = arrive(kit)
    socket_one.join("a")
    socket_two.join("a", "b")
    io = kit.io.threadsafe

    def talk() -> None:
        io.emit("all", 1)
        io.send("text")
        io.to("a").emit("a")
        io.in_("a").except_("b").emit("a not b")
        io.volatile.emit("volatile")
        io.local.compress(False).emit("local")
        io.of("/").to("b").emit("b")
        io.of("").emit("root")
        io.socket(socket_one).emit("only one")
        io.socket(socket_one).broadcast.emit("not one")
        io.socket(socket_one).to("a").emit("a but one")
        io.socket(socket_one).namespace.emit("namespace")

    await elsewhere(talk)
    common = ["all", "message"]

    def events(client: LinkClient) -> Log:
        return [str(frame).split('"')[1] for frame in client.heard()]

    later = ["volatile", "local"]
    assert events(one) == [*common, "a", "a not b", *later, "root", "only one", "namespace"]
    assert events(two) == [*common, "a", *later, "b", "root", "not one", "a but one", "namespace"]
    assert events(three) == [*common, *later, "root", "not one", "namespace"]


async def test_what_is_sent_is_what_was_given(kit: EngineKit) -> None:
    client, _ = arrive(kit)
    shared = {"number": 1}

    def talk() -> None:
        kit.io.threadsafe.emit("e", shared)
        shared["number"] = 2
        kit.io.threadsafe.emit("e", shared)
        shared["number"] = 3

    talk_thread = threading.Thread(target=talk)
    talk_thread.start()
    talk_thread.join()  # the event loop has had no turn
    await asyncio.sleep(0)
    assert client.heard() == ['42["e",{"number":1}]', '42["e",{"number":2}]']


async def test_with_recovery_too() -> None:
    kit = EngineKit(recovery=True)
    client, _ = arrive(kit)
    shared = [1]

    def talk() -> None:
        kit.io.threadsafe.emit("e", shared)
        shared.append(2)

    talk_thread = threading.Thread(target=talk)
    talk_thread.start()
    talk_thread.join()
    await asyncio.sleep(0)
    [frame] = client.heard()
    assert str(frame).startswith('42["e",[1],"')


async def test_namespaces_of_a_pattern(kit: EngineKit) -> None:
    kit.io.of("/room-{number}")
    client, _ = arrive(kit, "/room-1")
    await elsewhere(lambda: kit.io.threadsafe.of("/room-1").emit("e", 1))
    assert client.heard() == ['42/room-1,["e",1]']
    with pytest.raises(LocalProtocolError, match=r"there is no namespace '/nowhere'; make it where the server is"):
        await asyncio.to_thread(lambda: kit.io.threadsafe.of("/nowhere"))


async def test_rooms_and_clients(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    other, _ = arrive(kit)
    io = kit.io.threadsafe

    def work() -> Log:
        one = io.socket(socket)
        one.join("a", "b")
        one.leave("b")
        io.to("a").sockets_join("c")
        io.to("a").sockets_leave("a")
        found = io.in_("c").fetch_sockets().result(5)
        one.drain().result(5)
        return [found, one.id, one.connected, one.rooms, one.transport, one.data, one.handshake.auth, repr(one)]

    found, *rest = await asyncio.wait_for(asyncio.to_thread(work), 5)
    assert found == [socket]
    rooms = frozenset({socket.id, "c"})
    assert rest == [socket.id, True, rooms, "websocket", {}, {}, f"ThreadsafeSocket({socket.id}, /, websocket)"]
    await elsewhere(lambda: io.in_("c").disconnect_sockets())
    assert not socket.connected
    assert client.duplex.closed is None
    await elsewhere(lambda: io.socket(next(iter(kit.io.sockets.values()))).disconnect(close=True))
    assert other.duplex.closed is not None


async def test_in_the_event_loop_itself_it_is_the_server(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    kit.io.threadsafe.emit("e", 1)
    kit.io.emit("e", 2)
    kit.io.threadsafe.socket(socket).join("room")
    assert client.heard() == ['42["e",1]', '42["e",2]']
    assert "room" in socket.rooms
    with pytest.raises(EncodeError):
        kit.io.threadsafe.emit("e", object())


# ------------------------------------------------------------------------------------------------------------ order


async def test_twenty_threads(kit: EngineKit) -> None:
    """All arrive, and those of each thread in order."""
    client, _ = arrive(kit)
    threads, count = 20, 1000
    start = threading.Barrier(threads)

    def talk(thread: int) -> None:
        start.wait()
        for number in range(count):
            kit.io.threadsafe.emit("e", thread, number)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        await asyncio.gather(*(asyncio.wrap_future(pool.submit(talk, thread)) for thread in range(threads)))
        await asyncio.to_thread(kit.io.threadsafe.flush, 10)
    told: dict[int, list[int]] = {thread: [] for thread in range(threads)}
    for frame in client.heard():
        _, thread, number = json.loads(str(frame)[2:])
        told[thread].append(number)
    assert told == {thread: list(range(count)) for thread in range(threads)}


async def test_the_event_loop_is_woken_once(kit: EngineKit) -> None:
    """Not once for each call."""
    client, _ = arrive(kit)
    turns = 0
    running = True

    def count() -> None:
        nonlocal turns
        turns += 1
        if running and len(client.duplex.frames) < 400:
            loop.call_soon(count)

    loop = asyncio.get_running_loop()

    def talk() -> None:
        for number in range(400):
            kit.io.threadsafe.emit("e", number)

    thread = threading.Thread(target=talk)
    thread.start()
    thread.join()
    loop.call_soon(count)
    await asyncio.sleep(0)
    running = False
    assert turns == 1
    assert len(client.heard()) == 400


async def test_others_have_their_turn(kit: EngineKit) -> None:
    """However much has come, it is done in parts."""
    client, _ = arrive(kit)

    def talk() -> None:
        for number in range(5000):
            kit.io.threadsafe.emit("e", number)

    thread = threading.Thread(target=talk)
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    assert 0 < len(client.duplex.frames) < 1000
    await asyncio.to_thread(kit.io.threadsafe.flush)
    assert len(client.heard()) == 5000


# ---------------------------------------------------------------------------------------------------------- waiting


async def answering(client: LinkClient, answer: str, stop: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not stop():
            for frame in client.heard():
                if '["q"' in str(frame):
                    number = str(frame)[2:].partition("[")[0]
                    client.say(f"43{number}[{answer}]")
            await asyncio.sleep(0.001)


async def test_asking(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    io = kit.io.threadsafe
    asked = asyncio.ensure_future(
        asyncio.to_thread(
            lambda: (
                io.call("q").result(5),
                io.socket(socket).call("q", timeout=3).result(),
                io.to(socket.id).call("q"),
            )
        )
    )
    await answering(client, "7", asked.done)
    many, one, answer = await asked
    assert (many, one) == ([7], 7)
    assert isinstance(answer, Answer)
    await answering(client, "7", answer.done)


async def test_what_asking_raises(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    one = kit.io.threadsafe.socket(socket)
    asked = asyncio.ensure_future(asyncio.to_thread(lambda: one.call("q", timeout=3).exception(5)))
    while not client.heard():  # else there is nothing yet that could be late
        await asyncio.sleep(0.001)
    kit.advance(4)
    assert isinstance(await asked, AckTimeout)

    asked = asyncio.ensure_future(asyncio.to_thread(lambda: one.call("q").exception(5)))
    while not client.heard():
        await asyncio.sleep(0.001)
    client.duplex.lose()
    assert isinstance(await asked, Disconnected)
    assert isinstance(await asyncio.to_thread(lambda: one.call("q").exception(5)), Disconnected)

    for call, error in (
        (lambda: one.call("q", object()), EncodeError),
        (lambda: one.call("connect"), LocalProtocolError),
        (lambda: one.call("q", timeout=-1).result(5), LocalProtocolError),
        (lambda: one.timeout(0).call("q").result(5), LocalProtocolError),
    ):
        with pytest.raises(error):
            await asyncio.to_thread(call)


async def test_an_answer_that_does_not_come_in_time(kit: EngineKit) -> None:
    _, socket = arrive(kit)
    answer = kit.io.threadsafe.socket(socket).call("q")

    def wait() -> None:
        with pytest.raises(TimeoutError):
            answer.result(0.01)

    await asyncio.to_thread(wait)
    assert not answer.done()


async def test_running_a_coroutine(kit: EngineKit) -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        kit.io.emit("e", number)
        if number == 2:
            raise ValueError("two")
        return number

    client, _ = arrive(kit)
    assert await asyncio.to_thread(lambda: kit.io.threadsafe.run(work(1)).result(5)) == 1
    error = await asyncio.to_thread(lambda: kit.io.threadsafe.run(work(2)).exception(5))
    assert isinstance(error, ValueError)
    assert client.heard() == ['42["e",1]', '42["e",2]']


async def test_a_coroutine_that_is_called_off_before_it_begins(kit: EngineKit) -> None:
    begun: Log = []

    async def coroutine() -> None:
        begun.append(1)

    made = coroutine()

    def call_off() -> None:
        assert kit.io.threadsafe.run(made).cancel()

    thread = threading.Thread(target=call_off)
    thread.start()
    thread.join()  # the event loop has no turn before that
    await asyncio.sleep(0.01)
    assert begun == []
    assert inspect.getcoroutinestate(made) == inspect.CORO_CLOSED


async def test_waiting_from_another_event_loop(kit: EngineKit) -> None:
    arrive(kit)

    async def ask() -> int:
        return len(await asyncio.wrap_future(kit.io.threadsafe.fetch_sockets()))

    assert await asyncio.to_thread(lambda: asyncio.run(ask())) == 1


async def test_what_was_asked_for_ends_with_the_server() -> None:
    kit = EngineKit(shutdown_timeout_seconds=1)
    await kit.io.start()
    _, socket = arrive(kit)
    question = kit.io.threadsafe.socket(socket).call("q")
    forever = kit.io.threadsafe.run(asyncio.sleep(1000))
    await kit.io.close()
    assert isinstance(question.exception(1), Disconnected)
    assert isinstance(forever.exception(1), concurrent.futures.CancelledError)


# ----------------------------------------------------------------------------------------------------------- misuse


@dataclass
class Odd:
    value: object


async def test_mistakes_are_raised_where_they_are_made(kit: EngineKit) -> None:
    arrive(kit)
    io = kit.io.threadsafe
    for call, error in (
        (lambda: io.emit("e", object()), EncodeError),
        (lambda: io.emit("e", Odd(object())), EncodeError),
        (lambda: io.emit("disconnect"), LocalProtocolError),
        (lambda: io.emit(7), LocalProtocolError),
        (lambda: io.to(), LocalProtocolError),
        (lambda: io.to(["a"]), LocalProtocolError),
        (lambda: io.sockets_join(7), LocalProtocolError),
        (lambda: io.sockets_leave(7), LocalProtocolError),
    ):
        with pytest.raises(error):
            await asyncio.to_thread(call)


async def test_what_goes_wrong_later_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    kit = EngineKit(max_rooms_per_socket=1)
    _, socket = arrive(kit)
    await elsewhere(lambda: kit.io.threadsafe.socket(socket).join("a", "b"))
    assert "a call from another thread failed" in caplog.text
    assert "max_rooms_per_socket" in caplog.text


async def test_waiting_in_the_event_loop_is_refused(kit: EngineKit) -> None:
    _, socket = arrive(kit)
    answer = kit.io.threadsafe.socket(socket).call("q")
    for wait in (answer.result, answer.exception, kit.io.threadsafe.flush):
        with pytest.raises(WrongThreadError, match=r"would wait for ever.*`await io\.call\(\.\.\.\)`"):
            wait()


async def test_more_than_the_event_loop_can_follow() -> None:
    kit = EngineKit(max_threadsafe_calls=100)
    client, _ = arrive(kit)
    io = kit.io.threadsafe

    def talk() -> None:
        for _ in range(100):
            io.emit("e")
        with pytest.raises(LimitError, match=r"max_threadsafe_calls allows.*io\.threadsafe\.flush\(\)") as raised:
            io.emit("e")
        told.append(raised.value)

    told: Log = []
    thread = threading.Thread(target=talk)
    thread.start()
    thread.join()
    assert len(told) == 1
    await asyncio.to_thread(io.flush, 5)
    await elsewhere(lambda: io.emit("e"))
    assert len(client.heard()) == 101


def test_before_the_server_runs() -> None:
    io = Server()
    for call in (
        lambda: io.threadsafe.emit("e"),
        lambda: io.threadsafe.call("q"),
        lambda: io.threadsafe.fetch_sockets(),
        lambda: io.threadsafe.run(asyncio.sleep(0)),
        lambda: io.threadsafe.flush(),
        lambda: io.threadsafe.sockets_join("a"),
    ):
        with pytest.raises(WrongThreadError, match="doesn't run in this process, or not yet"):
            call()


async def test_after_the_server_has_stopped(kit: EngineKit) -> None:
    await kit.io.close()
    with pytest.raises(WrongThreadError, match="the server has stopped"):
        await asyncio.to_thread(lambda: kit.io.threadsafe.emit("e"))
    await kit.io.start()
    client, _ = arrive(kit)
    await elsewhere(lambda: kit.io.threadsafe.emit("e"))
    assert client.heard() == ['42["e"]']


def test_after_the_event_loop_has_ended() -> None:
    io = Server()

    async def begin() -> None:
        io.bind()

    asyncio.run(begin())
    with pytest.raises(WrongThreadError, match="event loop doesn't run any more"):
        io.threadsafe.emit("e")

    async def again() -> str:
        kit = EngineKit(io)
        client, _ = arrive(kit)
        await elsewhere(lambda: io.threadsafe.emit("e"))
        return str(client.heard())

    assert asyncio.run(again()) == "['42[\"e\"]']"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_fork_is_told_that_it_is_one(kit: EngineKit) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover (another process)
        told = []
        for call in (lambda: kit.io.threadsafe.emit("e"), lambda: kit.io.emit("e")):
            try:
                call()
            except WrongThreadError as error:
                told.append(str(error)[:50])
            except BaseException as error:
                told.append(repr(error))
        os.write(writer, "|".join(told).encode())
        os._exit(0)
    os.close(writer)
    told = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(child, 0)
    assert told.split("|") == ["this process was forked from the one that the serv"] * 2


async def test_nothing_is_lost_at_a_shutdown(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    """What was asked for before is still done."""
    log: Log = []

    @kit.io.on_stop
    def stop() -> None:
        thread = threading.Thread(target=lambda: log.append(kit.io.threadsafe.run(late())))
        thread.start()
        thread.join()

    async def late() -> None:
        log.append("late")

    await kit.io.close()
    assert "late" in log
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
