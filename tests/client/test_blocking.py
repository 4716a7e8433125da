"""The client for threads, against a server process."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from client.conftest import OFFICIAL, QUICK, WAYS
from madang import (
    AckTimeout,
    BlockingClient,
    ConnectError,
    Disconnected,
    EncodeError,
    LocalProtocolError,
    Reason,
    WrongThreadError,
)
from madang.client.blocking import Portal
from support.server import ServerProcess, free_port, running


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    yield from running("uvicorn-fast")


def client_of(server: ServerProcess, way: str = "websocket", path: str = "", **settings: Any) -> BlockingClient:
    return BlockingClient(server.url + path, **{"transports": WAYS[way], **QUICK, **settings})


def wait_until(condition: Any, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("way", OFFICIAL)
def test_talking(server: ServerProcess, way: str) -> None:
    with client_of(server, way) as client:
        assert client.connected
        assert client.active
        assert client.id is not None
        assert client.manager.connected
        assert client.call("echo", 1, b"2", timeout=5) == (1, b"2")
        heard: list[Any] = []
        threads: set[str] = set()

        @client.on("echo back")
        def back(*args: Any) -> None:
            threads.add(threading.current_thread().name)
            heard.append(args)

        @client.event
        async def question(number: int) -> int:
            return number + 1

        client.emit("echo back", 1)
        assert client.call("call me", "question", 41) == {"one": 42}
        assert heard == [(1,)]
        assert threads == {"madang-client"}
        client.drain()
        client.volatile.emit("echo back", 2)
        client.send("x")
        client.call("echo")
    assert not client.connected
    assert heard == [(1,), (2,)]
    assert all(thread.name != "madang-client" for thread in threading.enumerate())
    assert repr(client) == "<BlockingClient / not connected>"


def test_iteration(server: ServerProcess) -> None:
    with client_of(server) as client:
        events = client.events("echo back", timeout=5)
        for number in range(3):
            client.emit("echo back", number)
        assert [next(events).args for _ in range(3)] == [(0,), (1,), (2,)]
        with pytest.raises(TimeoutError, match=r"no event came within 0\.05 s"):
            next(client.events(timeout=0.05))
        asked: list[Any] = []
        asking = threading.Thread(target=lambda: asked.append(client.call("call me", "unheard", 5)))
        waiting = client.events("unheard")
        asking.start()
        event = next(waiting)
        assert event.wants_answer
        event.acknowledge("from a thread")
        asking.join()
        assert asked == [{"one": "from a thread"}]
        client.disconnect()
        assert list(events) == []


def test_many_threads(server: ServerProcess) -> None:
    with client_of(server) as client:
        answers: dict[int, Any] = {}

        def ask(number: int) -> None:
            for _ in range(20):
                answers[number] = client.call("echo", number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {number: number for number in range(8)}


def test_namespaces_and_refusals(server: ServerProcess) -> None:
    with client_of(server) as client:
        with pytest.raises(ConnectError) as refused:
            client.of("/private").connect()
        assert refused.value.data == {"code": 401, "hint": "토큰"}
        with client.of("/private", {"token": "열려라 참깨"}) as private:
            assert private.call("who am i")["namespace"] == "/private"
            assert private.name == "/private"
        assert not private.connected
        private.auth = None
        with pytest.raises(ConnectError):
            private.connect()
        assert private.auth is None
    with pytest.raises(ConnectError), client_of(server, path="/private"):
        pytest.fail("let in")
    assert all(thread.name != "madang-client" for thread in threading.enumerate())


def test_errors_are_raised_where_they_are_made(server: ServerProcess) -> None:
    with client_of(server) as client:
        with pytest.raises(EncodeError):
            client.emit("echo", object())
        with pytest.raises(LocalProtocolError, match="reserved"):
            client.call("connect")
        with pytest.raises(LocalProtocolError, match=r"write @client\.on"):
            client.on(print)
        with pytest.raises(AckTimeout):
            client.call("slow echo", 5000, 1, timeout=0.05)
        with pytest.raises(Disconnected) as gone:
            client.call("disconnect me", True)
        assert gone.value.reason == Reason.IO_SERVER_DISCONNECT


def test_waiting_in_a_handler_is_refused(server: ServerProcess) -> None:
    with client_of(server) as client:
        errors: list[str] = []

        @client.on("echo back")
        def back(what: str) -> None:
            waits = {
                "call": lambda: client.call("echo"),
                "close": client.close,
                "connect": client.connect,
                "drain": client.drain,
                "events": lambda: next(client.events()),
            }
            try:
                waits[what]()
            except WrongThreadError as error:
                errors.append(str(error))
            client.emit("echo")  # does not wait

        for what in ("call", "close", "connect", "drain", "events"):
            client.emit("echo back", what)
        assert client.call("echo", 1) == 1
        assert len(errors) == 5
        assert "would wait for itself" in errors[0]


def test_before_and_after(server: ServerProcess) -> None:
    client = client_of(server)
    heard: list[Any] = []
    client.once("echo back", lambda *args: heard.append(args))
    any_ = client.on_any(lambda event, *args: heard.append(event))
    out = client.on_any_outgoing(lambda event, *args: heard.append(f"out {event}"))
    client.on_error(lambda error, event, args: None)
    opened: list[None] = []
    client.manager.on("open")(lambda: opened.append(None))
    client.emit("echo back", 1)
    client.connect()
    client.call("echo")
    assert heard[0] == "out echo back"
    heard.remove("out echo")  # its place among the others is that of another thread
    assert heard[1:] == ["echo back", (1,)]
    assert len(opened) == 1
    client.off_any(any_)
    client.off_any_outgoing(out)
    client.off("echo back")
    client.manager.off("open")
    client.close()
    client.connect()
    assert client.call("echo", 2) == 2
    assert client.manager.transport == "websocket"
    assert not client.recovered
    client.close()
    client.close()
    assert len(opened) == 1


def test_a_server_that_comes_later() -> None:
    server = ServerProcess()
    client = client_of(server)
    with pytest.raises(ConnectError):
        client.connect()
    starting = threading.Timer(0.3, server.start)
    starting.start()
    try:
        client.connect(retry=True)
        assert client.call("echo", 1) == 1
        starting.join()  # it may not have seen yet that the server listens
        lost = threading.Event()
        client.on("disconnect", lambda: lost.set())
        server.kill()
        assert lost.wait(5)
        server.start()
        assert client.call("echo", 2, timeout=10) == 2
        client.close()
    finally:
        starting.join()
        server.close()


def test_no_server() -> None:
    with pytest.raises(ConnectError), BlockingClient(f"http://127.0.0.1:{free_port()}", **QUICK):
        pytest.fail("connected")


def test_closing_while_others_wait(server: ServerProcess) -> None:
    """Whatever another thread waits for, it is told."""
    client = client_of(server)
    client.connect()
    told: list[str] = []

    def ask() -> None:
        try:
            while True:
                client.call("echo", 1, timeout=1)
        except (Disconnected, AckTimeout) as error:
            told.append(type(error).__name__)

    def hear() -> None:
        told.append(f"{len(list(client.events()))} events")

    threads = [threading.Thread(target=target, daemon=True) for target in (ask, ask, ask, hear)]
    for thread in threads:
        thread.start()
    closing = [threading.Thread(target=client.close, daemon=True) for _ in range(3)]
    for thread in closing:
        thread.start()
    for thread in closing + threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in closing + threads)
    assert len(told) == 4
    client.close()


def test_a_portal_that_is_stopped_while_somebody_waits() -> None:
    portal = Portal()
    portal.start()
    begun = threading.Event()
    told: list[BaseException] = []

    async def for_ever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def wait() -> None:
        try:
            portal.wait(for_ever)
        except Disconnected as error:
            told.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert begun.wait(5)
    portal.stop()
    waiting.join(5)
    assert len(told) == 1


def test_a_handler_that_would_end_the_thread(server: ServerProcess, caplog: pytest.LogCaptureFixture) -> None:
    """It can't end the program from there, so it ends nothing but itself."""
    with client_of(server) as client:

        @client.on("echo back")
        async def leave(after: float) -> None:
            if after:
                await asyncio.sleep(after)
            sys.exit(1)

        client.on("leave", lambda: sys.exit(2))
        client.emit("echo back", 0)
        client.emit("echo back", 0.01)
        assert client.call("call me in vain", "leave") is not None
        assert client.call("echo", 1) == 1
        wait_until(lambda: "SystemExit: 1" in caplog.text and "SystemExit: 2" in caplog.text)
        time.sleep(0.05)
        assert client.call("echo", 2, timeout=5) == 2
        assert client.connected


FORK = """
import os, sys, warnings
from madang import BlockingClient, WrongThreadError
warnings.simplefilter("ignore")
client = BlockingClient(sys.argv[1], transports=["websocket"])
client.connect()
child = os.fork()
if not child:
    for use in (lambda: client.emit("echo"), lambda: client.call("echo")):
        try:
            use()
        except WrongThreadError:
            continue
        os._exit(1)
    client.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert client.call("echo", 1, timeout=5) == 1
client.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_fork(server: ServerProcess) -> None:
    """The child has no thread of the client: that is said, and the parent goes on."""
    done = subprocess.run([sys.executable, "-c", FORK, server.url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_end_of_a_program_that_closes_nothing(server: ServerProcess) -> None:
    program = (
        "import sys; from madang import BlockingClient; client = BlockingClient(sys.argv[1]); client.connect(); "
        "print(client.call('echo', 1))"
    )
    done = subprocess.run([sys.executable, "-c", program, server.url], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
