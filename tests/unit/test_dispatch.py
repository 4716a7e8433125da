"""Order, limits and threads of handlers."""

import asyncio
import contextvars
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from madang import Namespace
from madang.core.socket import Socket
from madang.errors import AckTimeout, InvalidArguments, LocalProtocolError, Reason, WrongThreadError
from madang.testing import EngineKit, LinkClient, PollingClient
from madang.threadsafe import ThreadsafeSocket

Log = list[Any]


@pytest.fixture
async def kit() -> EngineKit:
    return EngineKit()


def arrive(kit: EngineKit, namespace: str = "/") -> tuple[LinkClient, Socket]:
    client = kit.websocket()
    return client, client.join(namespace)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(what: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.001)


class Gates:
    """An `async def` handler that waits to be let go, and what it saw."""

    def __init__(self) -> None:
        self.log: Log = []
        self._gates: dict[Any, asyncio.Future[Any]] = {}

    async def __call__(self, socket: Socket, name: Any) -> Any:
        self.log.append(("begin", name))
        self._gates[name] = asyncio.get_running_loop().create_future()
        try:
            return await self._gates[name]
        finally:
            self.log.append(("end", name))

    async def open(self, name: Any, value: Any = None) -> None:
        self._gates.pop(name).set_result(value if value is not None else name)
        await turns()

    async def fail(self, name: Any) -> None:
        self._gates.pop(name).set_exception(ValueError(name))
        await turns()


def begun(gates: Gates) -> list[Any]:
    return [entry[1] for entry in gates.log if isinstance(entry, tuple) and entry[0] == "begin"]


# ---------------------------------------------------------------------------------------------------------- order


async def test_an_ordered_handler_ends_before_the_next_begins(kit: EngineKit) -> None:
    gates = Gates()
    kit.io.on("e", gates, ordered=True)
    client, _ = arrive(kit)
    client.say('421["e","a"]', '422["e","b"]', '423["e","c"]')
    await turns()
    assert gates.log == [("begin", "a")]
    await gates.open("a")
    assert gates.log == [("begin", "a"), ("end", "a"), ("begin", "b")]
    assert client.heard() == ['431["a"]']
    await gates.open("b")
    await gates.open("c")
    assert client.heard() == ['432["b"]', '433["c"]']


async def test_all_ordered_handlers_of_a_socket_form_one_line(kit: EngineKit) -> None:
    gates = Gates()
    kit.io.on("slow", gates, ordered=True)
    kit.io.on("plain", lambda socket, name: gates.log.append(name), ordered=True)
    kit.io.on("free", lambda socket, name: gates.log.append(name))
    client, _ = arrive(kit)
    client.say('42["slow","a"]', '42["plain","b"]', '42["free","c"]', '42["plain","d"]')
    other, _ = arrive(kit)
    other.say('42["plain","of another client"]')
    assert gates.log == [("begin", "a"), "c", "of another client"]
    await gates.open("a")
    assert gates.log[3:] == [("end", "a"), "b", "d"]


async def test_colours_and_threads_keep_their_order(kit: EngineKit) -> None:
    log: Log = []

    @kit.io.on("plain", ordered=True)
    def plain(socket: Socket, number: int) -> None:
        log.append(number)

    @kit.io.on("quick", ordered=True)
    async def quick(socket: Socket, number: int) -> None:
        log.append(number)

    @kit.io.on("slow", ordered=True)
    async def slow(socket: Socket, number: int) -> None:
        await asyncio.sleep(0.002)
        log.append(number)

    @kit.io.on("thread", ordered=True, thread=True)
    def thread(socket: ThreadsafeSocket, number: int) -> None:
        time.sleep(0.002)
        log.append(number)

    client, _ = arrive(kit)
    names = ["plain", "quick", "slow", "thread", "thread", "plain", "slow", "quick"] * 5
    client.say(*(f'42["{name}",{number}]' for number, name in enumerate(names)))
    await until(lambda: len(log) == len(names))
    assert log == list(range(len(names)))


async def test_one_that_fails_holds_up_nobody(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    gates = Gates()
    kit.io.on("e", gates, ordered=True)
    kit.io.on("bad", lambda socket: 1 / 0, ordered=True)
    client, socket = arrive(kit)
    client.say('42["e","a"]', '42["bad"]', '42["e","b"]')
    await gates.fail("a")
    assert begun(gates) == ["a", "b"]
    await gates.open("b")
    assert socket._line is None
    assert "the handler of 'e'" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_what_a_client_had_sent_still_runs_when_it_goes(kit: EngineKit) -> None:
    gates = Gates()
    log: Log = gates.log
    kit.io.on("e", gates, ordered=True)
    kit.io.on("disconnect", lambda socket, reason: log.append(reason), ordered=True)
    client, _ = arrive(kit)
    client.say('42["e","a"]', '42["e","b"]', "41")
    await gates.open("a")
    await gates.open("b")
    assert log == [("begin", "a"), ("end", "a"), ("begin", "b"), ("end", "b"), Reason.CLIENT_DISCONNECT]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda kit, socket: socket.disconnect(), Reason.SERVER_DISCONNECT),
        (lambda kit, socket: socket.disconnect(close=True), Reason.SERVER_DISCONNECT),
        (lambda kit, socket: kit.io.disconnect_all(), Reason.SHUTTING_DOWN),
    ],
)
async def test_who_is_thrown_out_does_nothing_more(kit: EngineKit, end: Callable[..., None], reason: str) -> None:
    gates = Gates()
    log: Log = gates.log
    kit.io.on("e", gates, ordered=True)
    kit.io.on("disconnect", lambda socket, reason: log.append(reason), ordered=True)
    client, socket = arrive(kit)
    client.say('42["e","a"]', '42["e","b"]')
    end(kit, socket)
    await gates.open("a")
    assert log == [("begin", "a"), ("end", "a"), reason]
    assert client.session.load == 0


async def test_a_handler_that_throws_its_client_out_ends_first(kit: EngineKit) -> None:
    log: Log = []

    @kit.io.on("e", ordered=True)
    def e(socket: Socket) -> None:
        socket.disconnect()
        log.append("e")

    kit.io.on("disconnect", lambda socket, reason: log.append(reason), ordered=True)
    client, _ = arrive(kit)
    client.say('42["e"]')
    assert log == ["e", Reason.SERVER_DISCONNECT]


async def test_a_connection_that_is_prepared_before_the_first_event(kit: EngineKit) -> None:
    log: Log = []

    @kit.io.on("connection", ordered=True)
    async def connection(socket: Socket) -> None:
        await asyncio.sleep(0.001)
        socket.data["name"] = "Ada"

    kit.io.on("e", lambda socket: log.append(socket.data.get("name")), ordered=True)
    client, _ = arrive(kit)
    client.say('42["e"]')
    await until(lambda: bool(log))
    assert log == ["Ada"]


@pytest.mark.parametrize("options", [{"ordered": True}, {"thread": True}])
def test_disconnecting_waits_for_nobody(options: dict[str, bool]) -> None:
    with pytest.raises(LocalProtocolError, match='use "disconnect" for that'):
        EngineKit().io.on("disconnecting", lambda socket, reason: None, **options)


async def test_a_whole_server_in_order() -> None:
    kit = EngineKit(ordered_handlers=True)
    gates = Gates()
    kit.io.on("e", gates)
    kit.io.on("free", lambda socket: gates.log.append("free"), ordered=False)
    kit.io.on("disconnecting", lambda socket, reason: gates.log.append("disconnecting"))
    client, _ = arrive(kit)
    client.say('42["e",1]', '42["e",2]', '42["free"]', "41")
    assert gates.log == [("begin", 1), "free", "disconnecting"]
    await gates.open(1)
    assert begun(gates) == [1, 2]


async def test_namespaces_of_patterns_of_a_server_in_order() -> None:
    kit = EngineKit(ordered_handlers=True)
    gates = Gates()
    rooms = kit.io.of("/room-{id}")
    rooms.on("e", gates)
    assert rooms.ordered
    client, _ = arrive(kit, "/room-a")
    client.say('42/room-a,["e",1]', '42/room-a,["e",2]')
    assert begun(gates) == [1]
    await gates.open(1)
    assert begun(gates) == [1, 2]
    await gates.open(2)


async def test_a_namespace_in_order(kit: EngineKit) -> None:
    gates = Gates()
    chat = kit.io.of("/chat")
    chat.on("e", gates)
    assert not chat.ordered
    chat.ordered = True
    chat.on("f", gates)
    client, socket = arrive(kit, "/chat")
    socket.on("own", gates)
    client.say('42/chat,["e",1]', '42/chat,["f",2]', '42/chat,["own",3]')
    for number in (1, 2, 3):
        assert begun(gates)[-1] == number
        await gates.open(number)


async def test_a_namespace_as_a_class() -> None:
    log: Log = []

    class Chat(Namespace):
        async def on_slow(self, socket: Socket, number: int) -> None:
            await asyncio.sleep(0.001)
            log.append(number)

        @Namespace.handler(ordered=False)
        def on_free(self, socket: Socket, number: int) -> None:
            log.append(number)

        @Namespace.handler(thread=True)
        def on_thread(self, socket: ThreadsafeSocket, number: int) -> None:
            log.append((number, threading.current_thread() is threading.main_thread()))

    kit = EngineKit(ordered_handlers=False)
    kit.io.register(Chat("/chat", ordered=True))
    client, _ = arrive(kit, "/chat")
    client.say('42/chat,["slow",1]', '42/chat,["thread",2]', '42/chat,["free",3]')
    await until(lambda: len(log) == 3)
    assert log == [3, 1, (2, False)]


async def test_middleware_of_the_socket_and_ordered_handlers(kit: EngineKit) -> None:
    gates = Gates()
    kit.io.on("e", gates, ordered=True)
    client, socket = arrive(kit)

    @socket.use
    async def slowly(event: str, args: Log) -> None:
        await asyncio.sleep(0)

    client.say('42["e",1]', '42["e",2]')
    await turns(10)
    assert begun(gates) == [1]
    await gates.open(1)
    assert begun(gates) == [1, 2]


async def test_a_decorated_function_takes_its_options(kit: EngineKit) -> None:
    log: Log = []

    @kit.io.event(thread=True)
    def where(socket: ThreadsafeSocket) -> None:
        log.append(threading.current_thread().name)

    client, _ = arrive(kit)
    client.say('42["where"]')
    await until(lambda: bool(log))
    assert log[0].startswith("madang-worker-")


# ---------------------------------------------------------------------------------------------------- back-pressure


def test_the_default_is_enough_for_ordinary_bursts() -> None:
    assert EngineKit().io.config.max_handlers_per_client == 256


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_client_that_sends_faster_than_its_handlers_run(ordered: bool) -> None:
    kit = EngineKit(max_handlers_per_client=4)
    gates = Gates()
    kit.io.on("e", gates, ordered=ordered)
    client, _ = arrive(kit)
    other, _ = arrive(kit)
    for number in range(50):
        client.say(f'42["e",{number}]')
    assert begun(gates) == ([0] if ordered else [0, 1, 2, 3])
    assert client.session.load == 4
    assert client.duplex.unread is not None
    assert len(client.duplex.unread) == 46, "what comes is not read"
    other.say('42["e","of another"]')
    assert begun(gates)[-1] == "of another"
    for number in range(50):
        await gates.open(number)
        kit.turn()
        assert client.session.load <= 4
    assert [name for name in begun(gates) if name != "of another"] == list(range(50))
    assert client.session.load == 0
    assert client.duplex.unread is None


async def test_it_is_read_again_when_half_has_ended() -> None:
    kit = EngineKit(max_handlers_per_client=4)
    gates = Gates()
    kit.io.on("e", gates)
    client, _ = arrive(kit)
    client.say(*(f'42["e",{number}]' for number in range(6)))
    await gates.open(0)
    kit.turn()
    assert begun(gates) == [0, 1, 2, 3]
    await gates.open(1)
    kit.turn()
    assert begun(gates) == [0, 1, 2, 3, 4, 5]


async def test_a_chunk_that_was_read_already_waits_too() -> None:
    """A link can't stop in the middle of what it has read."""
    kit = EngineKit(max_handlers_per_client=2)
    gates = Gates()
    kit.io.on("e", gates)
    client, _ = arrive(kit)
    receiver = client.duplex.receiver
    assert receiver is not None
    for number in range(1000):
        receiver.receive(f'42["e",{number}]')
    assert begun(gates) == [0, 1]
    for number in range(1000):
        await gates.open(number)
        kit.turn()
        assert client.session.load <= 2
    assert begun(gates) == list(range(1000))


async def test_a_post_is_answered_when_its_events_are_taken() -> None:
    kit = EngineKit(max_handlers_per_client=3)
    gates = Gates()
    kit.io.on("e", gates)
    client = kit.polling()
    client.join()
    exchange = client.post(*(f'42["e",{number}]' for number in range(10)))
    assert exchange.waits
    for number in range(8):
        assert exchange.waits
        await gates.open(number)
        kit.turn()
    assert exchange.status == 200
    assert begun(gates) == list(range(10))
    await gates.open(8)
    await gates.open(9)
    client.say('42["e","next"]')
    assert begun(gates)[-1] == "next"


async def test_a_post_is_answered_when_the_client_ends_meanwhile() -> None:
    kit = EngineKit(max_handlers_per_client=1)
    gates = Gates()
    kit.io.on("e", gates)
    client = kit.polling()
    socket = client.join()
    exchange = client.post('42["e",1]', '42["e",2]')
    assert exchange.waits
    poll = client.poll()
    socket.disconnect(close=True)
    kit.turn()
    assert not exchange.waits
    assert poll.status == 200
    await gates.open(1)
    kit.turn()
    assert begun(gates) == [1]


@pytest.mark.parametrize("carrier", ["websocket", "polling"])
async def test_no_ping_timeout_while_we_do_not_read(carrier: str) -> None:
    kit = EngineKit(max_handlers_per_client=1)
    gates = Gates()
    kit.io.on("e", gates)
    client: LinkClient | PollingClient = getattr(kit, carrier)()
    client.join()
    if isinstance(client, PollingClient):
        client.post('42["e",1]', '42["e",2]')
    else:
        client.say('42["e",1]', '42["e",2]')
    pings = 0
    for _ in range(10):
        kit.advance(25.1)
        pings += client.heard().count("2")
    assert pings >= 9, "the client waits for them"
    assert client.session.ended is None
    for number in (1, 2):
        await gates.open(number)
        kit.turn()
    kit.advance(25.1)
    assert client.session.ended is None, "its pong has time"
    kit.advance(120)
    assert client.session.ended == Reason.PING_TIMEOUT


async def test_what_a_handler_asks_is_answered_behind_other_events() -> None:
    """The client had sent hundreds of events before it heard the first question."""
    kit = EngineKit(max_handlers_per_client=4)
    log: Log = []

    @kit.io.on("e")
    async def e(socket: Socket, number: int) -> None:
        await asyncio.sleep(0)  # so that the limit is reached before anything is asked
        log.append((number, await socket.call("ask", number)))

    client, _ = arrive(kit)
    client.say(*(f'42["e",{number}]' for number in range(200)))
    for _ in range(2000):
        await turns(2)
        for frame in client.heard():
            assert isinstance(frame, str)
            if frame.startswith("42"):
                head, _, number = frame.partition('["ask",')
                client.say(f"43{head[2:]}[{number.rstrip(']')}]")
        if len(log) == 200:
            break
    assert sorted(log) == [(number, number) for number in range(200)]
    await turns()
    assert client.session.load == 0


async def test_who_owes_an_answer_may_not_send_for_ever() -> None:
    kit = EngineKit(max_handlers_per_client=2, max_buffered_bytes=1000, max_payload_bytes=500)
    log: Log = []

    @kit.io.on("e")
    async def e(socket: Socket, text: str) -> None:
        try:
            await socket.call("ask", timeout=5)
        except AckTimeout:
            log.append("timeout")

    client, _ = arrive(kit)
    for _ in range(100):
        client.say('42["e","' + "x" * 90 + '"]')
    assert client.duplex.unread is not None
    assert len(client.duplex.unread) > 80
    for _ in range(60):
        kit.advance(5.1)
        await turns()
        kit.turn()
    assert log == ["timeout"] * 100


@pytest.mark.parametrize("kind", ["error", "invalid"])
async def test_a_client_cannot_pile_up_what_waits_about_its_mistakes(kind: str) -> None:
    kit = EngineKit(max_handlers_per_client=4)
    gates = Gates()

    @kit.io.on("e")
    def e(socket: Socket, number: int) -> None:
        raise ValueError(number)

    @kit.io.on_error
    async def failed(error: BaseException, socket: Socket, event: str, args: list[Any]) -> None:
        await gates(socket, args[0])

    @kit.io.on_invalid
    async def invalid(error: InvalidArguments, socket: Socket, event: str, args: list[Any]) -> None:
        await gates(socket, args[0])

    client, _ = arrive(kit)
    names = [number if kind == "error" else f"no number {number}" for number in range(10)]
    for name in names:
        client.say(f'42["e",{json.dumps(name)}]')
    assert begun(gates) == names[:4]
    for name in names:
        await gates.open(name)
        kit.turn()
        await turns()
    assert begun(gates) == names
    assert client.session.load == 0


async def test_small_events_of_who_owes_an_answer_count_for_what_they_take() -> None:
    kit = EngineKit(max_handlers_per_client=1, max_buffered_bytes=100_000, max_payload_bytes=100_000)
    kit.io.on("e", lambda socket: ask(socket))

    async def ask(socket: Socket) -> None:
        await socket.call("ask", timeout=5)

    client, _ = arrive(kit)
    for _ in range(1000):
        client.say('42["e"]')
    assert client.duplex.unread is not None
    assert 100 < 1000 - len(client.duplex.unread) < 300
    client.duplex.lose()


async def test_an_answer_is_read_as_soon_as_there_is_room_before_it() -> None:
    kit = EngineKit(max_handlers_per_client=2, max_buffered_bytes=2000, max_payload_bytes=2000)
    gates = Gates()
    log: Log = []
    kit.io.on("wait", gates)

    @kit.io.on("ask")
    async def ask(socket: Socket) -> None:
        log.append(await socket.call("ask"))

    client, _ = arrive(kit)
    client.say('42["ask"]', '42["wait",0]')
    [question] = client.heard()
    assert question == '421["ask"]'
    number = 0
    while client.duplex.unread is None:
        number += 1
        client.say(f'42["wait",{number}]')
    client.say('431["answer"]')
    await turns()
    assert log == []
    await gates.open(0)
    kit.turn()
    await turns()
    assert begun(gates)[:2] == [0, 1]
    assert log == ["answer"]
    client.duplex.lose()


async def test_a_good_bye_waits_for_what_was_said_before() -> None:
    kit = EngineKit(max_handlers_per_client=1)
    gates = Gates()
    kit.io.on("e", gates)
    kit.io.on("disconnect", lambda socket, reason: gates.log.append(reason))
    client, _ = arrive(kit)
    client.say('42["e",1]', '42["e",2]', "41")
    await gates.open(1)
    kit.turn()
    assert begun(gates) == [1, 2]
    await gates.open(2)
    kit.turn()
    assert gates.log[-1] == Reason.CLIENT_DISCONNECT


async def test_an_upgrade_of_a_client_that_is_held() -> None:
    kit = EngineKit(max_handlers_per_client=1)
    gates = Gates()
    kit.io.on("e", gates)
    client = kit.polling()
    client.join()
    exchange = client.post('42["e",1]', '42["e",2]')
    link = kit.upgrade(client)
    link.say("2probe", "5", '42["e",3]')
    assert link.unread == ['42["e",3]']
    assert begun(gates) == [1]
    for number in (1, 2, 3):
        await gates.open(number)
        kit.turn()
    assert begun(gates) == [1, 2, 3]
    assert exchange.status == 200
    assert link.unread is None


async def test_a_broken_rule_still_ends_a_client_that_is_held() -> None:
    kit = EngineKit(max_handlers_per_client=1)
    gates = Gates()
    kit.io.on("e", gates)
    client, _ = arrive(kit)
    receiver = client.duplex.receiver
    assert receiver is not None
    receiver.receive('42["e",1]')
    receiver.receive("9")
    assert client.session.ended == Reason.PARSE_ERROR
    await gates.open(1)
    kit.turn()


async def test_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "madang")
    kit = EngineKit(max_handlers_per_client=1)
    gates = Gates()
    kit.io.on("e", gates)
    client, _ = arrive(kit)
    client.say('42["e",1]')
    assert "max_handlers_per_client is 1" in caplog.text


# --------------------------------------------------------------------------------------------------------- threads


async def test_a_handler_in_a_thread(kit: EngineKit) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    @kit.io.on("e", thread=True)
    def e(socket: ThreadsafeSocket, number: int) -> Log:
        assert threading.current_thread() is not threading.main_thread()
        assert isinstance(socket, ThreadsafeSocket)
        socket.emit("progress", 1)
        socket.join("room")
        socket.emit("progress", 2)
        return [number, variable.get()]

    client, socket = arrive(kit)
    variable.set("carried along")
    client.say('427["e",5]')
    heard: Log = []
    await until(lambda: bool(heard.extend(client.heard())) or len(heard) == 3)
    assert heard == ['42["progress",1]', '42["progress",2]', '437[[5,"carried along"]]']
    assert "room" in socket.rooms


async def test_a_thread_asks_its_client(kit: EngineKit) -> None:
    @kit.io.on("e", thread=True)
    def e(socket: ThreadsafeSocket) -> str:
        name = socket.call("who are you?").result(5)
        return f"hello {name}"

    client, _ = arrive(kit)
    client.say('421["e"]')
    heard: Log = []
    await until(lambda: bool(heard.extend(client.heard())) or bool(heard))
    assert heard == ['421["who are you?"]']
    client.say('431["Ada"]')
    heard.clear()
    await until(lambda: bool(heard.extend(client.heard())) or bool(heard))
    assert heard == ['431["hello Ada"]']


async def test_what_a_thread_raises_is_told_in_the_event_loop(kit: EngineKit) -> None:
    told: Log = []

    @kit.io.on_error
    def failed(error: BaseException, socket: Socket, event: str, args: Log) -> str:
        told.append((error, threading.current_thread()))
        socket.emit("from the event loop")
        return "sorry"

    @kit.io.on("e", thread=True)
    def e(socket: ThreadsafeSocket) -> None:
        raise ValueError("no")

    @kit.io.on("coroutine", thread=True)
    def coroutine(socket: ThreadsafeSocket) -> Any:
        return asyncio.sleep(0)

    @kit.io.on("typed", thread=True)
    def typed(socket: ThreadsafeSocket, needed: int) -> None:
        told.append("never")

    client, _ = arrive(kit)
    client.say('421["e"]', '42["coroutine"]', '422["typed","text"]')
    await until(lambda: len(told) == 2)
    errors = {str(error) for error, _ in told}
    assert {thread for _, thread in told} == {threading.current_thread()}
    assert "no" in errors
    assert any("gave a coroutine" in text for text in errors)
    heard = client.heard()
    assert '431["sorry"]' in heard
    assert any(str(frame).startswith("432[{") for frame in heard), "what is wrong with its arguments"


async def test_a_thread_that_exits_is_not_the_end_of_the_server(
    kit: EngineKit, caplog: pytest.LogCaptureFixture
) -> None:
    kit.io.on("exit", lambda socket: sys.exit(3), thread=True)
    kit.io.on("ping", lambda socket: "pong", thread=True)
    await kit.io.start()
    client, _ = arrive(kit)
    client.say('421["exit"]')
    await until(lambda: "the handler of 'exit'" in caplog.text)
    assert "sys.exit" in caplog.text
    client.say('422["ping"]')
    await until(lambda: bool(client.duplex.frames))
    assert client.heard() == ['432["pong"]']
    await kit.io.close()


async def test_the_server_itself_is_loud_in_a_thread(kit: EngineKit) -> None:
    caught: Log = []

    @kit.io.on("e", thread=True)
    def e(socket: ThreadsafeSocket) -> None:
        for use in (lambda: kit.io.emit("x"), lambda: kit.io.to("room").emit("x"), lambda: real[0].emit("x")):
            with pytest.raises(WrongThreadError, match=r"use io\.threadsafe there") as raised:
                use()
            caught.append(raised.value)

    client, socket = arrive(kit)
    real = [socket]
    client.say('42["e"]')
    await until(lambda: len(caught) == 3)


@pytest.mark.parametrize("place", ["server", "namespace", "socket"])
async def test_a_coroutine_function_is_not_for_threads(kit: EngineKit, place: str) -> None:
    _, socket = arrive(kit)
    where = {"server": kit.io, "namespace": kit.io.of("/n"), "socket": socket}[place]

    class Waiting:
        async def __call__(self, socket: Socket) -> None: ...

    async def function(socket: Socket) -> None: ...

    for one in (function, Waiting()):
        with pytest.raises(LocalProtocolError, match="`async def`, and thread=True is for a `def` that blocks"):
            where.on("e", one, thread=True)


async def test_so_many_threads_and_each_client_in_its_turn() -> None:
    kit = EngineKit(max_worker_threads=2)
    running = most = 0
    log: Log = []
    lock = threading.Lock()
    gate = threading.Semaphore(0)

    @kit.io.on("e", thread=True)
    def e(socket: ThreadsafeSocket, name: str) -> None:
        nonlocal running, most
        with lock:
            log.append(name)
            running += 1
            most = max(most, running)
        gate.acquire(timeout=5)
        with lock:
            running -= 1

    greedy, _ = arrive(kit)
    modest, _ = arrive(kit)
    greedy.say(*(f'42["e","greedy {number}"]' for number in range(20)))
    modest.say('42["e","modest"]')
    await until(lambda: len(log) == 2)
    for count in range(1, 20):
        gate.release()
        await until(lambda: len(log) == 2 + count)  # noqa: B023
    gate.release()
    gate.release()
    await until(lambda: not kit.io._dispatcher.tasks)
    assert most == 2
    assert log.index("modest") <= 4, "it doesn't wait behind all that another client has asked for"


@pytest.mark.parametrize("thrown_out", [True, False])
async def test_who_is_thrown_out_gets_no_thread(thrown_out: bool) -> None:
    kit = EngineKit(max_worker_threads=1)
    gate = threading.Event()
    log: Log = []

    @kit.io.on("e", thread=True)
    def e(socket: ThreadsafeSocket, number: int) -> None:
        gate.wait(10)
        log.append(number)

    kit.io.on("disconnect", lambda socket, reason: log.append("disconnect"), thread=True)
    client, socket = arrive(kit)
    client.say('42["e",1]', '42["e",2]', '42["e",3]')
    await until(lambda: kit.io.busy_threads == 1)
    if thrown_out:
        socket.disconnect()
    else:
        client.duplex.lose()
    gate.set()
    await until(lambda: not kit.io._dispatcher.tasks)
    assert log == ([1, "disconnect"] if thrown_out else [1, 2, 3, "disconnect"])


async def test_a_shutdown_names_the_handler_that_blocks(caplog: pytest.LogCaptureFixture) -> None:
    kit = EngineKit(shutdown_timeout_seconds=0.05)
    gate = threading.Event()

    @kit.io.on("e", thread=True)
    def blocking_one(socket: ThreadsafeSocket) -> None:
        gate.wait(10)

    await kit.io.start()
    client, _ = arrive(kit)
    client.say('421["e"]')
    await turns()
    before = time.monotonic()
    await kit.io.close()
    assert time.monotonic() - before < 3
    assert "blocking_one of 'e' for Socket(" in caplog.text
    assert "still blocks its thread after 0.05 s" in caplog.text
    gate.set()


async def test_a_thread_that_blocked_through_a_shutdown_counts_no_more(caplog: pytest.LogCaptureFixture) -> None:
    kit = EngineKit(shutdown_timeout_seconds=0.05)
    gate, unblocked = threading.Event(), threading.Event()

    @kit.io.on("block", thread=True)
    def block(socket: ThreadsafeSocket) -> None:
        gate.wait(10)
        unblocked.set()

    kit.io.on("quick", lambda socket: 1, thread=True)
    await kit.io.start()
    client, _ = arrive(kit)
    client.say('42["block"]')
    await kit.io.close()
    await kit.io.start()
    gate.set()
    await asyncio.to_thread(unblocked.wait, 10)
    await asyncio.sleep(0.02)  # its end comes to a server that has begun anew
    assert kit.io.busy_threads == 0
    client, _ = arrive(kit)
    client.say('421["quick"]')
    await until(lambda: client.heard() == ["431[1]"])


async def test_a_shutdown_waits_for_threads(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    log: Log = []

    @kit.io.on("e", thread=True)
    def e(socket: ThreadsafeSocket) -> None:
        time.sleep(0.05)
        log.append("done")

    await kit.io.start()
    client, _ = arrive(kit)
    client.say('42["e"]')
    await turns()
    await kit.io.close()
    assert log == ["done"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_shutdown_lets_an_ordered_disconnect_run(kit: EngineKit) -> None:
    log: Log = []

    @kit.io.on("e", ordered=True)
    async def e(socket: Socket) -> None:
        await asyncio.sleep(0.02)
        log.append("e")

    @kit.io.on("disconnect", ordered=True)
    async def disconnect(socket: Socket, reason: str) -> None:
        await asyncio.sleep(0.02)
        log.append(reason)

    await kit.io.start()
    client, _ = arrive(kit)
    client.say('42["e"]')
    await kit.io.close()
    assert log == ["e", Reason.SHUTTING_DOWN]


async def test_life_in_a_thread(kit: EngineKit) -> None:
    log: Log = []
    kit.io.on("connection", lambda socket: log.append(type(socket).__name__), thread=True)
    kit.io.on("disconnect", lambda socket, reason: log.append(reason), thread=True)
    client, _ = arrive(kit)
    await until(lambda: len(log) == 1)
    client.duplex.lose()
    await until(lambda: len(log) == 2)
    assert log == ["ThreadsafeSocket", Reason.TRANSPORT_CLOSE]
