"""The server: handlers of both colours, middleware, errors, threads and loops, life and death.

Sessions are those of the testing kit: its clock, no sockets; the event loop is real.
"""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from madang import tasks
from madang.config import Config
from madang.core.socket import Socket
from madang.errors import (
    AckTimeout,
    ConfigError,
    ConnectionRefused,
    Disconnected,
    EncodeError,
    LocalProtocolError,
    Reason,
    RemoteProtocolError,
    WrongThreadError,
)
from madang.server import Server
from madang.testing import EngineKit, LinkClient

Log = list[Any]


@pytest.fixture
async def kit() -> EngineKit:
    return EngineKit()


def arrive(kit: EngineKit, namespace: str = "/") -> tuple[LinkClient, Socket]:
    client = kit.websocket()
    return client, client.join(namespace)


async def turns(count: int = 5) -> None:
    """Let the event loop go on."""
    for _ in range(count):
        await asyncio.sleep(0)


class Gate:
    """What handlers wait at, each time anew."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[Any]] = []

    async def wait(self) -> Any:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]

    def open(self, number: int = 0, value: Any = None) -> None:
        self.waiting[number].set_result(value)


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# ------------------------------------------------------------------------------------------------------- settings


def test_settings() -> None:
    assert Server(ping_interval_seconds=3).config.ping_interval_seconds == 3
    config = Config(path="/x/")
    assert Server(config).config is config
    assert Server().config == Config()


def test_settings_that_do_not_exist() -> None:
    with pytest.raises(ConfigError, match=r"there is no such setting: .*'ping_intervall'"):
        Server(ping_intervall=3)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="ping_interval_seconds must be a positive number of seconds, not '3'"):
        Server(ping_interval_seconds="3")


def test_both_kinds_of_settings() -> None:
    with pytest.raises(ConfigError, match="give either a Config or single settings, not both"):
        Server(Config(), path="/x/")


def test_ids() -> None:
    io = Server()
    ids = {io.engine.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(id_) == 20 and id_.replace("-", "").replace("_", "").isalnum() and id_.isascii() for id_ in ids)


# ------------------------------------------------------------------------------------------------------- handlers


async def test_both_colours(kit: EngineKit) -> None:
    @kit.io.on("plain")
    def plain(socket: Socket, a: int) -> int:
        return a + 1

    @kit.io.on("quick")
    async def quick(socket: Socket, a: int) -> int:
        return a + 2

    @kit.io.on("slow")
    async def slow(socket: Socket, a: int) -> int:
        await asyncio.sleep(0)
        return a + 3

    client, _ = arrive(kit)
    client.say('421["plain",1]', '422["quick",1]', '423["slow",1]')
    assert client.heard() == ["431[2]", "432[3]"]  # without a turn of the event loop
    await turns()
    assert client.heard() == ["433[4]"]


@pytest.mark.parametrize("colour", ["def", "async", "later"])
@pytest.mark.parametrize(
    ("returned", "frame"),
    [(None, "435[]"), ((1, 2), "435[1,2]"), ([1], "435[[1]]"), ("x", '435["x"]'), ((), "435[]")],
)
async def test_what_is_returned_is_the_acknowledgement(kit: EngineKit, colour: str, returned: Any, frame: str) -> None:
    async def handler(socket: Socket) -> Any:
        if colour == "later":
            await asyncio.sleep(0)
        return returned

    kit.io.on("e", (lambda socket: returned) if colour == "def" else handler)
    client, _ = arrive(kit)
    client.say('425["e"]', '42["e"]')
    await turns()
    assert client.heard() == [frame]


async def test_arguments(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    got: Log = []
    kit.io.on("two", lambda socket, a, b=0: got.append((a, b)))
    client, socket = arrive(kit)
    client.say('42["two",1]', '42["two",1,2]', '42["two",1,2,3]')
    assert got == [(1, 0), (1, 2), (1, 2)]
    client.say('421["two"]')
    # The client's fault: a line, no traceback.
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    message = record.getMessage()
    assert message == f"'two' of {socket}: arguments[0]: The argument is missing [arguments of the event]"
    assert client.duplex.closed is None
    [answer] = client.heard()
    assert answer.startswith('431[{"error":{"code":"invalid_arguments",')  # type: ignore[arg-type]


async def test_a_client_cannot_fill_the_log(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    kit.io.on("two", lambda socket, a: None)
    client, _ = arrive(kit)
    for _ in range(5):
        client.say(*['42["two"]'] * 200)
    assert 100 <= len(caplog.records) <= 210  # 100 a second, and the loop may pass into the next one


async def test_handlers_that_are_cancelled_harm_nobody(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    def cancelled(socket: Socket, *args: Any) -> None:
        raise asyncio.CancelledError

    kit.io.on("e", cancelled)
    kit.io.on("disconnect", cancelled)
    client, socket = arrive(kit)
    client.say('42["e"]')
    socket.disconnect()
    assert len(errors_in(caplog)) == 2


async def test_heartbeats_go_on_after_a_restart() -> None:
    """In real time, for some hundredths of a second."""
    from madang.testing import RecordingDuplex
    from madang.transports import Request

    io = Server(ping_interval_seconds=0.02, ping_timeout_seconds=10)
    for _ in range(2):
        async with io:
            duplex = RecordingDuplex()
            io.engine.link(Request("GET", "/socket.io/", "EIO=4&transport=websocket", []), duplex)
            duplex.take()
            for _ in range(100):
                await asyncio.sleep(0.01)
                if pings := duplex.take():
                    break
            assert pings == ["2"]


async def test_a_start_that_fails_is_no_start() -> None:
    io = Server()
    tries: list[int] = []

    @io.on_start
    def fails_once() -> None:
        tries.append(len(tries))
        if len(tries) == 1:
            raise LookupError("not yet")

    with pytest.raises(LookupError):
        await io.start()
    assert not io.started
    await io.start()
    assert io.started
    await io.close()


async def test_every_function_of_on_stop_runs(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()
    log: Log = []

    @io.on_stop
    def fails() -> None:
        raise LookupError("disk full")

    io.on_stop(lambda: log.append("saved"))
    await io.start()
    with pytest.raises(LookupError):
        await io.close()
    assert log == ["saved"]


async def test_events_that_nobody_handles(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = arrive(kit)
    with caplog.at_level(logging.DEBUG, "madang"):
        client.say('421["nobody",1]')
    assert client.heard() == []
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


async def test_methods_and_callable_objects(kit: EngineKit) -> None:
    class Room:
        async def talk(self, socket: Socket, text: str) -> str:
            return text.upper()

        def __call__(self, socket: Socket, text: str) -> str:
            return text.title()

    kit.io.on("method", Room().talk)
    kit.io.on("object", Room())
    client, _ = arrive(kit)
    client.say('421["method","hi"]', '422["object","hi"]')
    assert client.heard() == ['431["HI"]', '432["Hi"]']


async def test_handlers_start_in_the_order_of_their_events(kit: EngineKit) -> None:
    started: Log = []
    ended: Log = []
    gate = Gate()

    @kit.io.on("slow")
    async def slow(socket: Socket, number: int) -> None:
        started.append(number)
        await gate.wait()
        ended.append(number)

    kit.io.on("quick", lambda socket, number: started.append(number))
    client, _ = arrive(kit)
    client.say('42["slow",1]', '42["quick",2]', '42["slow",3]', '42["quick",4]')
    assert started == [1, 2, 3, 4]
    gate.open(1)
    await turns()
    gate.open(0)
    await turns()
    assert ended == [3, 1]


async def test_a_handler_may_call_its_own_client(kit: EngineKit) -> None:
    @kit.io.on("ask")
    async def ask(socket: Socket) -> Any:
        return await socket.call("question")

    client, _ = arrive(kit)
    client.say('427["ask"]')
    assert client.heard() == ['421["question"]']
    client.say('431["answer"]')
    await turns()
    assert client.heard() == ['437["answer"]']


async def test_the_current_task_and_context_of_handlers(kit: EngineKit) -> None:
    name = contextvars.ContextVar("name", default="nobody")
    seen: Log = []

    @kit.io.on("e")
    async def handler(socket: Socket, who: str) -> None:
        task = asyncio.current_task()
        name.set(who)
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        seen.append((name.get(), task))

    client, _ = arrive(kit)
    client.say('42["e","a"]', '42["e","b"]')
    await turns()
    assert [who for who, _ in seen] == ["a", "b"]
    assert len({task for _, task in seen}) == 2
    assert name.get() == "nobody"


async def test_timeouts_inside_of_handlers(kit: EngineKit) -> None:
    @kit.io.on("e")
    async def handler(socket: Socket) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timeout"
        return "never"

    client, _ = arrive(kit)
    client.say('421["e"]')
    await asyncio.wait(kit.io._dispatcher.tasks)
    assert client.heard() == ['431["timeout"]']


# --------------------------------------------------------------------------------------------------------- errors


def failing(colour: str, error: BaseException) -> Callable[..., Any]:
    def plain(socket: Socket, *args: Any) -> None:
        raise error

    async def quick(socket: Socket, *args: Any) -> None:
        raise error

    async def slow(socket: Socket, *args: Any) -> None:
        await asyncio.sleep(0)
        raise error

    return {"def": plain, "quick": quick, "slow": slow}[colour]


COLOURS = ["def", "quick", "slow"]


@pytest.mark.parametrize("colour", COLOURS)
async def test_exceptions_are_logged_and_end_nothing(
    kit: EngineKit, caplog: pytest.LogCaptureFixture, colour: str
) -> None:
    kit.io.on("e", failing(colour, LookupError("lost")))
    kit.io.on("f", lambda socket: "fine")
    client, socket = arrive(kit)
    client.say('421["e"]', '422["f"]')
    await turns()
    assert client.heard() == ['432["fine"]']
    assert errors_in(caplog) == [f"the handler of 'e' for {socket} failed"]
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError
    assert not kit.io._dispatcher.tasks


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("answer", [None, {"error": "sorry"}])
async def test_on_error(kit: EngineKit, caplog: pytest.LogCaptureFixture, colour: str, answer: Any) -> None:
    told: Log = []
    error = LookupError("lost")
    kit.io.on("e", failing(colour, error))

    @kit.io.on_error
    def failed(*args: Any) -> Any:
        told.append(args)
        return answer

    client, socket = arrive(kit)
    client.say('421["e",1,2]', '42["e"]')
    await turns()
    assert told == [(error, socket, "e", [1, 2]), (error, socket, "e", [])]
    assert errors_in(caplog) == []
    assert client.heard() == ([] if answer is None else ['431[{"error":"sorry"}]'])


@pytest.mark.parametrize("fails", [False, True])
async def test_on_error_as_a_coroutine(kit: EngineKit, caplog: pytest.LogCaptureFixture, fails: bool) -> None:
    kit.io.on("e", failing("def", LookupError("lost")))

    @kit.io.on_error
    async def failed(*args: Any) -> str:
        await asyncio.sleep(0)
        if fails:
            raise RuntimeError("no answer")
        return "sorry"

    client, _ = arrive(kit)
    client.say('421["e"]')
    await turns()
    assert client.heard() == ([] if fails else ['431["sorry"]'])
    told = [text.partition(" for ")[0] for text in errors_in(caplog)]
    assert told == (["the on_error handler failed", "the handler of 'e'"] if fails else [])


async def test_on_error_that_fails(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    kit.io.on("e", failing("def", LookupError("lost")))
    kit.io.on_error(lambda *args: 1 / 0)
    client, socket = arrive(kit)
    client.say('42["e"]')
    assert errors_in(caplog) == ["the on_error handler failed", f"the handler of 'e' for {socket} failed"]


@pytest.mark.parametrize("colour", COLOURS)
async def test_an_acknowledgement_that_cannot_be_sent(
    kit: EngineKit, caplog: pytest.LogCaptureFixture, colour: str
) -> None:
    async def slow(socket: Socket) -> object:
        if colour == "slow":
            await asyncio.sleep(0)
        return object()

    kit.io.on("e", (lambda socket: object()) if colour == "def" else slow)
    client, socket = arrive(kit)
    client.say('421["e"]')
    await turns()
    [message] = errors_in(caplog)
    assert message.startswith(f"the handler of 'e' for {socket}: this value can't be sent: object can't be sent")
    assert client.heard() == []
    assert client.duplex.closed is None


@pytest.mark.parametrize("event", ["connection", "disconnecting", "disconnect"])
@pytest.mark.parametrize("colour", COLOURS)
async def test_life_goes_on_when_its_handlers_fail(
    kit: EngineKit, caplog: pytest.LogCaptureFixture, event: str, colour: str
) -> None:
    log: Log = []
    kit.io.on(event, failing(colour, LookupError("lost")))
    for name in ("connection", "disconnecting", "disconnect"):
        kit.io.on(name, lambda socket, *args, name=name: log.append(name))
    client, _ = arrive(kit)
    client.say("41")
    await turns()
    assert log == ["connection", "disconnecting", "disconnect"]
    assert len(errors_in(caplog)) == 1
    assert kit.io.sockets == {}


async def test_a_handler_that_is_cancelled(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(socket: Socket) -> None:
        await asyncio.get_running_loop().create_future()

    kit.io.on("e", handler)
    client, socket = arrive(kit)
    client.say('421["e"]')
    [task] = kit.io._dispatcher.tasks
    with caplog.at_level(logging.INFO, "madang"):
        task.cancel()
        await turns()
    assert [record.getMessage() for record in caplog.records] == [f"the handler of 'e' for {socket} was cancelled"]
    assert not kit.io._dispatcher.tasks


async def test_catch_all_handlers_that_fail(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    kit.io.on_any(failing("def", LookupError("lost")))
    kit.io.on_any_outgoing(failing("slow", LookupError("lost")))
    kit.io.on("e", lambda socket: "fine")
    client, socket = arrive(kit)
    client.say('421["e"]')
    socket.emit("out")
    await turns()
    assert client.heard() == ['431["fine"]', '42["out"]']
    assert len(errors_in(caplog)) == 2


# ----------------------------------------------------------------------------------------------------- middleware


@pytest.mark.parametrize("colour", ["def", "quick", "slow"])
async def test_middleware(kit: EngineKit, colour: str) -> None:
    log: Log = []

    def plain(socket: Socket) -> None:
        log.append(("use", socket.handshake.auth, socket.connected))

    async def waiting(socket: Socket) -> None:
        if colour == "slow":
            await asyncio.sleep(0)
        plain(socket)

    kit.io.use(plain if colour == "def" else waiting)
    kit.io.on("connection", lambda socket: log.append("connection"))
    client = kit.websocket()
    client.say('40{"token":"x"}')
    await turns()
    assert log == [("use", {"token": "x"}, False), "connection"]
    assert [frame[:2] for frame in client.heard()] == ["40"]


async def test_order_of_middleware(kit: EngineKit) -> None:
    log: Log = []

    async def slow(socket: Socket) -> None:
        await asyncio.sleep(0)
        log.append("slow")

    kit.io.use(slow)
    kit.io.use(lambda socket: log.append("plain"))
    kit.io.of("/chat").use(lambda socket: log.append("chat"))
    client = kit.websocket()
    client.say("40")
    await turns()
    assert log == ["slow", "plain"]
    client.say("40/chat,")
    await turns()
    assert log == ["slow", "plain", "chat"]


@pytest.mark.parametrize("colour", COLOURS)
async def test_refused(kit: EngineKit, caplog: pytest.LogCaptureFixture, colour: str) -> None:
    log: Log = []
    kit.io.use(failing(colour, ConnectionRefused("no", {"code": 401})))
    kit.io.use(lambda socket: log.append("never"))
    kit.io.on("connection", lambda socket: log.append("never"))
    client = kit.websocket()
    client.say("40")
    await turns()
    assert client.heard() == ['44{"message":"no","data":{"code":401}}']
    assert log == []
    assert errors_in(caplog) == []
    assert kit.io.sockets == {}


@pytest.mark.parametrize("colour", COLOURS)
async def test_middleware_that_fails(kit: EngineKit, caplog: pytest.LogCaptureFixture, colour: str) -> None:
    kit.io.use(failing(colour, LookupError("secret")))
    client = kit.websocket()
    client.say("40")
    await turns()
    assert client.heard() == ['44{"message":"Internal server error"}']
    [message] = errors_in(caplog)
    assert message.endswith("failed; the client is refused")
    assert client.duplex.closed is None


async def test_a_refusal_that_cannot_be_sent(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    kit.io.use(failing("def", ConnectionRefused("no", object())))
    client = kit.websocket()
    client.say("40")
    await turns()
    assert client.heard() == ['44{"message":"no"}']
    assert "can't be sent" in errors_in(caplog)[0]


async def test_gone_while_the_middleware_waits(kit: EngineKit) -> None:
    log: Log = []
    gate = Gate()

    async def wait(socket: Socket) -> None:
        await gate.wait()

    kit.io.use(wait)
    kit.io.on("connection", lambda socket: log.append("never"))
    kit.io.on("disconnect", lambda socket, reason: log.append("never"))
    client = kit.websocket()
    client.say("40")
    client.duplex.lose()
    gate.open()
    await turns()
    assert log == []
    assert kit.io.sockets == {}


async def test_a_client_may_wait_long_for_its_middleware_and_no_longer(kit: EngineKit) -> None:
    gate = Gate()

    async def wait(socket: Socket) -> None:
        await gate.wait()

    kit.io.use(wait)
    client = kit.websocket()
    client.say("40")
    kit.advance(25.1)
    client.say("3")
    kit.advance(21)
    assert client.duplex.closed == (1000, Reason.FORCED_SERVER_CLOSE)
    gate.open()
    await turns()
    assert kit.io.sockets == {}


# A socket's own


async def test_middleware_of_a_socket(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    log: Log = []

    @kit.io.on("connection")
    def connection(socket: Socket) -> None:
        @socket.use
        def first(event: str, args: list[Any]) -> None:
            log.append(("use", event, args))
            if event == "forbidden":
                raise PermissionError("members only")

        @socket.use
        async def second(event: str, args: list[Any]) -> None:
            await asyncio.sleep(0)
            log.append("second")

    kit.io.on("e", lambda socket, a: log.append(a) or "done")
    kit.io.on("forbidden", lambda socket: log.append("never"))
    client, socket = arrive(kit)
    client.say('421["e",1]')
    await turns()
    assert log == [("use", "e", [1]), "second", 1]
    assert client.heard() == ['431["done"]']
    log.clear()
    client.say('42["forbidden"]')
    await turns()
    assert log == [("use", "forbidden", [])]
    assert errors_in(caplog) == [f"the handler of 'forbidden' for {socket} failed"]


@pytest.mark.parametrize("place", ["middleware", "on_any", "both"])
async def test_who_is_thrown_out_before_the_handler_is_not_handled(kit: EngineKit, place: str) -> None:
    """Neither the event at which it happens, nor those that wait behind it for the middleware."""
    log: Log = []

    @kit.io.on("connection")
    def connection(socket: Socket) -> None:
        if place != "on_any":

            @socket.use
            async def throw_out(event: str, args: list[Any]) -> None:
                log.append(("asked", args[0]))
                await asyncio.sleep(0)
                if place == "middleware" and args[0] == 1:
                    socket.disconnect()

    @kit.io.on_any
    def hear(socket: Socket, event: str, number: int) -> None:
        if place != "middleware" and number == 1:
            socket.disconnect()

    kit.io.on("e", lambda socket, number: log.append(number))
    client, _ = arrive(kit)
    client.say('42["e",0]', '42["e",1]', '42["e",2]')
    await turns(10)
    assert log == ([0] if place == "on_any" else [("asked", 0), 0, ("asked", 1)])


async def test_what_a_client_had_sent_passes_the_middleware_after_its_end(kit: EngineKit) -> None:
    log: Log = []

    @kit.io.on("connection")
    def connection(socket: Socket) -> None:
        @socket.use
        async def wait(event: str, args: list[Any]) -> None:
            await asyncio.sleep(0)

    kit.io.on("e", lambda socket, number: log.append(number))
    client, _ = arrive(kit)
    client.say('42["e",0]', '42["e",1]')
    client.duplex.lose()
    await turns(10)
    assert log == [0, 1]


async def test_a_long_name_of_an_event_is_cut_in_the_log(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    @kit.io.on("connection")
    def connection(socket: Socket) -> None:
        @socket.use
        def refuse(event: str, args: list[Any]) -> None:
            raise PermissionError("members only") if args else RemoteProtocolError("no arguments")

    client, socket = arrive(kit)
    name = "e" * 100_000
    client.say(f'42["{name}",1]', f'42["{name}"]')
    socket.listeners.middleware.clear()
    client.say(f'42["{name}"]')
    assert len(caplog.records) >= 3
    assert max(len(record.getMessage()) for record in caplog.records) < 400


async def test_what_a_sockets_middleware_raises_may_be_answered(kit: EngineKit) -> None:
    """As by the reference's clients: the acknowledgement tells of the error."""
    kit.io.on("connection", lambda socket: socket.use(failing("def", PermissionError("members only"))))
    kit.io.on_error(lambda error, socket, event, args: {"error": str(error)})
    kit.io.on("e", lambda socket: "never")
    client, _ = arrive(kit)
    client.say('421["e"]')
    await turns()
    assert client.heard() == ['431[{"error":"members only"}]']


async def test_events_of_a_socket_with_middleware_start_in_their_order(kit: EngineKit) -> None:
    """The first one takes longer in the middleware than the second."""
    log: Log = []
    gate = Gate()

    @kit.io.on("connection")
    def connection(socket: Socket) -> None:
        @socket.use
        async def wait(event: str, args: list[Any]) -> None:
            if args == [1]:
                await gate.wait()

    kit.io.on("e", lambda socket, number: log.append(number))
    client, _ = arrive(kit)
    client.say('42["e",1]', '42["e",2]')
    await turns()
    gate.open()
    await turns()
    assert log == [1, 2]


# ----------------------------------------------------------------------------------------------------- catch-alls


async def test_catch_alls_of_both_colours(kit: EngineKit) -> None:
    log: Log = []

    @kit.io.on_any
    async def incoming(socket: Socket, event: str, *args: Any) -> str:
        await asyncio.sleep(0)
        log.append(("in", event, args))
        return "no acknowledgement"

    @kit.io.on_any_outgoing
    def outgoing(socket: Socket, event: str, *args: Any) -> None:
        log.append(("out", event, args))

    client, socket = arrive(kit)
    client.say('421["e",1]')
    socket.emit("f", 2)
    await turns()
    assert log == [("out", "f", (2,)), ("in", "e", (1,))]
    assert client.heard() == ['42["f",2]']


async def test_only_the_event(kit: EngineKit) -> None:
    log: Log = []
    kit.io.on_any(lambda socket, event: log.append(event))
    kit.io.on_any(lambda socket: log.append("bare"))
    client, _ = arrive(kit)
    client.say('42["e",1,2]')
    assert log == ["e", "bare"]


# ----------------------------------------------------------------------------------------------------------- life


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda client, socket: client.say("41"), Reason.CLIENT_DISCONNECT),
        (lambda client, socket: client.say("1"), Reason.TRANSPORT_CLOSE),
        (lambda client, socket: client.say("9"), Reason.PARSE_ERROR),
        (lambda client, socket: client.duplex.lose(), Reason.TRANSPORT_CLOSE),
        (lambda client, socket: client.duplex.lose(Reason.TRANSPORT_ERROR), Reason.TRANSPORT_ERROR),
        (lambda client, socket: socket.disconnect(), Reason.SERVER_DISCONNECT),
        (lambda client, socket: socket.disconnect(close=True), Reason.SERVER_DISCONNECT),
        (lambda client, socket: client.kit.io.disconnect_all(), Reason.SHUTTING_DOWN),
        (lambda client, socket: client.kit.advance(60), Reason.PING_TIMEOUT),
    ],
)
async def test_life(kit: EngineKit, end: Callable[[LinkClient, Socket], None], reason: str) -> None:
    log: Log = []
    kit.io.on("connect", lambda socket: log.append(("connection", socket.connected)))
    kit.io.on("disconnecting", lambda socket, why: log.append(("disconnecting", why, "a" in socket.rooms)))
    kit.io.on("disconnect", lambda socket, why: log.append(("disconnect", why, "a" in socket.rooms)))
    client, socket = arrive(kit)
    socket.join("a")
    end(client, socket)
    assert log == [("connection", True), ("disconnecting", reason, True), ("disconnect", reason, False)]
    assert kit.io.sockets == {}
    assert kit.io.of("/").rooms == {}


async def test_life_of_both_colours_and_of_a_socket(kit: EngineKit) -> None:
    log: Log = []

    @kit.io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.on("disconnect", lambda socket, reason: log.append("own"))
        await asyncio.sleep(0)
        log.append("connection")

    @kit.io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await asyncio.sleep(0)
        log.append("disconnect")

    client, _ = arrive(kit)
    client.say("1")
    await turns()
    assert log == ["own", "connection", "disconnect"]


async def test_events_that_come_with_connect(kit: EngineKit) -> None:
    """The handlers of "connection" have begun before the first event is looked at."""
    log: Log = []

    @kit.io.on("connection")
    def connection(socket: Socket) -> None:
        socket.on("e", lambda socket: log.append("own"))

    client = kit.websocket()
    client.say("40", '42["e"]')
    assert log == ["own"]


# -------------------------------------------------------------------------------------------------------- waiting


async def test_call(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    task = asyncio.ensure_future(_await(socket.call("e")))
    await turns()
    assert not task.done()
    client.say('431["x"]')
    assert await task == "x"


async def _await(awaitable: Any) -> Any:
    return await awaitable


async def test_call_that_times_out(kit: EngineKit) -> None:
    _, socket = arrive(kit)
    task = asyncio.ensure_future(_await(socket.call("e", timeout=2)))
    await turns()
    kit.advance(2.1)
    with pytest.raises(AckTimeout):
        await task


async def test_call_of_who_goes(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    task = asyncio.ensure_future(_await(socket.call("e")))
    await turns()
    client.duplex.lose()
    with pytest.raises(Disconnected) as caught:
        await task
    assert caught.value.reason == Reason.TRANSPORT_CLOSE


async def test_several_wait_and_one_is_cancelled(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    ack = socket.call("e")
    waiting = [asyncio.ensure_future(_await(ack)) for _ in range(3)]
    await turns()
    waiting[0].cancel()
    await turns()
    client.say('431["x"]')
    assert await asyncio.gather(*waiting[1:]) == ["x", "x"]
    assert waiting[0].cancelled()


async def test_drain(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    await socket.drain()
    client.duplex.fill()
    socket.emit("e")
    task = asyncio.ensure_future(_await(socket.drain()))
    await turns()
    assert not task.done()
    client.duplex.empty()
    await task


async def test_a_drain_that_is_cancelled(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    client.duplex.fill()
    task = asyncio.ensure_future(_await(socket.drain()))
    await turns()
    task.cancel()
    await turns()
    client.duplex.empty()  # must not trip over what was cancelled
    assert task.cancelled()


# ----------------------------------------------------------------------------------------------- threads and loops


async def test_another_thread(kit: EngineKit) -> None:
    client, socket = arrive(kit)
    caught: Log = []
    uses = [
        lambda: kit.io.emit("e"),
        lambda: kit.io.call("e"),
        lambda: kit.io.to("a").send("x"),
        lambda: socket.emit("e"),
        lambda: socket.send("x"),
        lambda: socket.call("e"),
        lambda: socket.join("a"),
        lambda: socket.leave("a"),
        lambda: socket.disconnect(),
    ]

    def use() -> None:
        for one in uses:
            try:
                one()
            except WrongThreadError as error:
                caught.append(str(error))

    thread = threading.Thread(target=use, name="worker-7")
    thread.start()
    thread.join()
    assert caught == [
        "the server was used from the thread 'worker-7', but it runs in the event loop of another thread; "
        "use io.threadsafe there, as in io.threadsafe.emit(event, ...)"
    ] * len(uses)
    assert client.heard() == []
    assert socket.rooms == {socket.id}


async def test_the_way_from_another_thread(kit: EngineKit) -> None:
    client, _ = arrive(kit)
    loop = kit.io.loop
    assert loop is asyncio.get_running_loop()
    await asyncio.to_thread(loop.call_soon_threadsafe, kit.io.emit, "e", 1)
    await turns()
    assert client.heard() == ['42["e",1]']


async def test_an_event_loop_in_another_thread(kit: EngineKit) -> None:
    arrive(kit)

    async def use() -> None:
        kit.io.emit("e")

    with pytest.raises(WrongThreadError, match="was used from the thread"):
        await asyncio.to_thread(asyncio.run, use())


def test_another_loop_of_the_same_thread() -> None:
    kits: list[EngineKit] = []

    async def first() -> None:
        kits.append(EngineKit())
        kits[0].websocket().join()

    async def second() -> None:
        kits[0].io.emit("e")

    with asyncio.Runner() as one, asyncio.Runner() as two:
        one.run(first())
        with pytest.raises(WrongThreadError, match="the server's event loop doesn't run any more"):
            two.run(second())
        with pytest.raises(WrongThreadError, match="runs in another event loop already; make a Server for each loop"):
            two.run(kits[0].io.start())


def test_before_it_runs() -> None:
    io = Server()
    assert io.loop is None
    assert io.started is False
    io.emit("nobody hears this")
    asyncio.run(io.close())


def test_spawn_before_it_runs() -> None:
    async def work() -> None: ...

    with pytest.raises(WrongThreadError, match="spawn needs a running server; call it in on_start or in a handler"):
        Server().spawn(work())


def test_one_server_after_the_other_loop_is_closed() -> None:
    """As in tests, each of which has an event loop of its own: nothing of the last one is left."""
    io = Server()
    ended: Log = []
    io.on("disconnect", lambda socket, reason: ended.append(reason))

    async def once() -> None:
        kit = EngineKit(io)
        assert io.sockets == {}
        assert io.of("/").rooms == {}
        assert kit.engine.sessions == {}
        assert kit.engine._parked == 0
        client = kit.polling()
        socket = client.join()
        socket.join("room")
        poll = client.poll()
        io.to("room").emit("e")
        kit.turn()
        assert poll.text == '42["e"]'
        assert client.poll().waits
        io.emit("never flushed")
        assert len(kit._soon) == 1
        # and the loop ends without a word

    for _ in range(3):
        asyncio.run(once())


# --------------------------------------------------------------------------------------------- start, stop, spawn


async def test_start_and_stop() -> None:
    log: Log = []
    io = Server()

    @io.on_start
    def first() -> None:
        log.append("first")

    @io.on_start
    async def second() -> None:
        await asyncio.sleep(0)
        log.append("second")

    @io.on_stop
    async def third() -> None:
        await asyncio.sleep(0)
        log.append("third")

    @io.on_stop
    def fourth() -> None:
        log.append("fourth")

    await io.start()
    await io.start()
    assert io.started
    assert log == ["first", "second"]
    await io.close()
    await io.close()
    assert not io.started
    assert log == ["first", "second", "third", "fourth"]
    async with io:
        assert log[4:] == ["first", "second"]
    assert log[6:] == ["third", "fourth"]


async def test_closing_tells_everyone(kit: EngineKit) -> None:
    ended: Log = []
    kit.io.on("disconnect", lambda socket, reason: ended.append(reason))
    await kit.io.start()
    links = [arrive(kit)[0] for _ in range(3)]
    poller = kit.polling()
    poller.join()
    poll = poller.poll()
    await kit.io.close()
    assert ended == [Reason.SHUTTING_DOWN] * 4
    assert [client.duplex.closed for client in links] == [(1000, Reason.SHUTTING_DOWN)] * 3
    assert poll.text == "1"
    assert kit.http("GET", "EIO=4&transport=polling").status == 503


async def test_closing_lets_handlers_end(kit: EngineKit) -> None:
    log: Log = []
    gate = Gate()

    @kit.io.on("e")
    async def handler(socket: Socket) -> None:
        await gate.wait()
        log.append("handler")

    kit.io.on_stop(lambda: log.append("stop"))
    await kit.io.start()
    client, _ = arrive(kit)
    client.say('42["e"]')
    closing = asyncio.ensure_future(kit.io.close())
    again = asyncio.ensure_future(kit.io.close())
    await turns()
    assert log == []
    gate.open()
    await closing
    await again
    assert log == ["handler", "stop"]


async def test_closing_cancels_what_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    kit = EngineKit(shutdown_timeout_seconds=0.01)
    log: Log = []

    async def forever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            log.append("cancelled")

    kit.io.on("endless", lambda socket: forever())
    await kit.io.start()
    client = kit.websocket()
    client.join()
    client.say('42["endless"]')
    await kit.io.close()
    assert log == ["cancelled"]
    assert any("still ran at the end and was cancelled" in record.getMessage() for record in caplog.records)


async def test_closing_ends_what_was_spawned_at_once(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    await kit.io.start()
    task = kit.io.spawn(asyncio.Event().wait())
    await asyncio.wait_for(kit.io.close(), 1)
    assert task.cancelled()
    assert not caplog.records


async def test_closing_in_a_handler(kit: EngineKit) -> None:
    """A handler that closes the server must not wait for itself."""
    log: Log = []

    @kit.io.on("stop")
    async def stop(socket: Socket) -> None:
        kit.io.spawn(kit.io.close())
        log.append("handler")

    kit.io.on_stop(lambda: log.append("stop"))
    await kit.io.start()
    client, _ = arrive(kit)
    client.say('42["stop"]')
    await kit.io.close()
    assert log == ["handler", "stop"]


@pytest.mark.parametrize("place", ["disconnect", "event", "on_stop", "spawned"])
async def test_closing_in_what_the_end_waits_for(place: str, caplog: pytest.LogCaptureFixture) -> None:
    """A second call that waited for the first would hold it up."""
    kit = EngineKit(shutdown_timeout_seconds=60)
    log: Log = []

    async def again(*_: Any) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            await kit.io.close()
            log.append(place)

    if place in ("disconnect", "event"):
        kit.io.on(place, again)
    elif place == "on_stop":
        kit.io.on_stop(again)
    await kit.io.start()
    client, _ = arrive(kit)
    client.say('42["event"]')
    if place == "spawned":
        kit.io.spawn(again())
    await asyncio.wait_for(kit.io.close(), 5)
    assert log == [place]
    assert not caplog.records


async def test_a_close_that_is_cancelled_goes_on(kit: EngineKit) -> None:
    gate = Gate()
    log: Log = []
    kit.io.on_stop(lambda: log.append("stop"))
    kit.io.on("wait", lambda socket: gate.wait())
    await kit.io.start()
    client = kit.websocket()
    client.join()
    client.say('42["wait"]')
    closing = asyncio.ensure_future(kit.io.close())
    await turns()
    closing.cancel()
    await turns()
    gate.open()
    await kit.io.close()
    assert log == ["stop"]


async def test_spawn(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    log: Log = []
    gate = Gate()

    async def work(name: str) -> str:
        log.append(name)
        await gate.wait()
        return name

    task = kit.io.spawn(work("a"))
    assert log == ["a"]  # at once
    gate.open()
    assert await task == "a"

    async def fails() -> None:
        raise LookupError("lost")

    kit.io.spawn(fails())
    assert errors_in(caplog) == ["a spawned task failed"]


# ----------------------------------------------------------------------------------------------------------- time


async def test_the_timer_follows_the_wheel() -> None:
    """The one test that waits for real time, for a few milliseconds."""
    io = Server(ping_interval_seconds=0.02, ping_timeout_seconds=10)
    io.bind()
    from madang.testing import RecordingDuplex
    from madang.transports import Request

    duplex = RecordingDuplex()
    request = Request("GET", "/socket.io/", "EIO=4&transport=websocket", [])
    io.engine.admit(request)
    io.engine.link(request, duplex)
    duplex.say("40")
    duplex.take()
    async with asyncio.timeout(5):
        while "2" not in duplex.frames:
            await asyncio.sleep(0.002)
    await io.close()
    assert io._timer is None


# ------------------------------------------------------------------------------------------- the way of a packet


class Counting:
    """Counts the tasks that are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = 0
        original = tasks.start

        def start(*args: Any) -> Any:
            self.started += 1
            return original(*args)

        monkeypatch.setattr("madang.dispatch.start", start)


async def test_a_plain_handler_makes_no_task(kit: EngineKit, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(monkeypatch)
    loop_tasks = len(asyncio.all_tasks())
    kit.io.on("e", lambda socket, a: a)
    kit.io.on("connection", lambda socket: None)
    client, _ = arrive(kit)
    for _ in range(100):
        client.say('421["e",1]')
    assert counting.started == 0
    assert len(asyncio.all_tasks()) == loop_tasks
    assert not kit.io._dispatcher.tasks

    async def handler(socket: Socket) -> None: ...

    kit.io.on("f", handler)
    client.say('42["f"]')
    assert counting.started == 1
    assert len(asyncio.all_tasks()) == loop_tasks
    assert not kit.io._dispatcher.tasks  # it never waited


async def test_encode_errors_of_emits_in_handlers(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    def handler(socket: Socket) -> None:
        socket.emit("f", object())

    kit.io.on("e", handler)
    client, _ = arrive(kit)
    client.say('42["e"]')
    assert "object can't be sent" in errors_in(caplog)[0]
    assert client.duplex.closed is None


def test_public_errors_of_emits() -> None:
    io = Server()
    with pytest.raises(LocalProtocolError):
        io.emit("disconnect")
    kit = EngineKit()
    kit.websocket().join()
    with pytest.raises(EncodeError):
        kit.io.emit("e", object())


# ------------------------------------------------------------------------------------------------------------ log


def logging_kit(**settings: Any) -> EngineKit:
    """A kit whose engine tells the log, as without a kit."""
    io = Server(**settings)
    violation, refused = io.engine.on_violation, io.engine.on_refused
    kit = EngineKit(io)
    kit.engine.on_violation, kit.engine.on_refused = violation, refused
    return kit


def test_violations_are_logged_with_the_client(caplog: pytest.LogCaptureFixture) -> None:
    client = logging_kit(max_event_args=1).websocket()
    client.join()
    client.say('42["e",1,2]')
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"client {client.session.id} at unknown is closed: an event with 2 arguments; 1 are allowed [max_event_args]"
    )


@pytest.mark.parametrize(
    ("query", "headers", "level", "message"),
    [
        ("EIO=4&transport=x", {}, "INFO", "Transport unknown (transport 'x')"),
        ("EIO=4&transport=polling&sid=x\n", {}, "INFO", "Session ID unknown (sid 'x\\n')"),
        ("EIO=4&transport=polling", {"Origin": "http://evil.org", "Host": "a.org"}, "WARNING", "Forbidden ("),
    ],
)
def test_refusals_are_logged(
    caplog: pytest.LogCaptureFixture, query: str, headers: dict[str, str], level: str, message: str
) -> None:
    """Strangers' mistakes are no news; a page that is turned away mostly is a setting that is missing."""
    with caplog.at_level(logging.INFO, "madang"):
        logging_kit().http("GET", query, headers=headers)
    [record] = caplog.records
    assert record.levelname == level
    assert record.getMessage().startswith(f"GET '/socket.io/' from unknown: {message}")
    assert "\n" not in record.getMessage()


async def test_a_server_that_is_closed_while_it_starts_does_not_run() -> None:
    io = Server(cluster="memory://closed while it starts")
    log: Log = []
    go_on = asyncio.Event()

    @io.on_start
    async def slow() -> None:
        log.append("starts")
        await go_on.wait()
        log.append("started")

    io.on_stop(lambda: log.append("stopped"))
    starting = asyncio.ensure_future(io.start())
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(io.close())
    await asyncio.sleep(0.01)
    go_on.set()
    await asyncio.gather(starting, closing)
    assert log == ["starts", "started", "stopped"]
    assert not io.started
    assert not io.cluster.connected
    await io.start()
    assert io.ready
    assert io.cluster.connected
    await io.close()


async def test_a_server_that_closes_itself_when_it_starts_does_not_run() -> None:
    io = Server(cluster="memory://closes itself")
    io.on_start(io.close)
    await asyncio.wait_for(io.start(), 10)
    assert not io.started
    assert not io.cluster.connected


async def test_a_server_that_is_started_while_it_closes_runs() -> None:
    io = Server(cluster="memory://started while it closes")
    await io.start()
    stops = asyncio.Event()
    go_on = asyncio.Event()

    @io.on_stop
    async def slow() -> None:
        stops.set()
        await go_on.wait()

    closing = asyncio.ensure_future(io.close())
    await stops.wait()
    starting = asyncio.ensure_future(io.start())
    await asyncio.sleep(0.01)
    go_on.set()
    await asyncio.gather(starting, closing)
    assert io.ready
    assert io.cluster.connected
    await io.close()


async def test_a_start_that_is_given_up_leaves_no_member_behind() -> None:
    io = Server(cluster="redis://127.0.0.1:1")
    starting = asyncio.ensure_future(io.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("cluster")] == []
