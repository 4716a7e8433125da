"""Events, acknowledgements, namespaces: a client and our own server over real sockets."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from client.conftest import OFFICIAL, QUICK, WAYS, Place, until
from madang import (
    AckTimeout,
    Client,
    ConnectError,
    Disconnected,
    EncodeError,
    Event,
    LimitError,
    LocalProtocolError,
    Reason,
    WrongThreadError,
)

VALUES: list[Any] = [None, True, 1, 2**60, 1.5, "마당 🙂", [], [1, [2]], {"a": {"b": None}}, b"", b"\x00\xff" * 500]


async def test_arguments_there_and_back(place: Any, way: str) -> None:
    async with place() as here, here.client(way) as client:
        assert client.connected
        assert client.id in here.io.sockets
        assert await client.call("echo", *VALUES) == tuple(VALUES)
        assert await client.call("echo") is None
        assert await client.call("echo", {"deep": [b"a", {"b": b"c"}]}) == {"deep": [b"a", {"b": b"c"}]}
        assert await client.call("echo", "x" * 300_000) == "x" * 300_000
    assert not client.connected
    assert client.id is None


async def test_the_upgrade(place: Any) -> None:
    async with place() as here, here.client("upgrade") as client:
        numbers = list(range(500))
        for number in numbers:
            client.emit("count", number)
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        await until(lambda: client.manager.transport == "websocket")
        assert await client.call("counted") == numbers
        [socket] = here.io.sockets.values()
        await until(lambda: socket.transport == "websocket")


async def test_events_in_order_while_upgrading(place: Any) -> None:
    async with place() as here:
        for _ in range(5):
            heard: list[int] = []
            client = Client(here.url, **QUICK)
            client.on("number", heard.append)
            async with client:
                for number in range(300):
                    here.io.emit("number", number)
                    if number % 7 == 0:
                        await asyncio.sleep(0)
                await until(lambda heard=heard: len(heard) == 300)
                assert heard == list(range(300))


async def test_no_upgrade(place: Any) -> None:
    async with place() as here, here.client("upgrade", upgrade=False) as client:
        await asyncio.sleep(0.2)
        assert client.manager.transport == "polling"


async def test_handlers_and_what_they_return(place: Any, way: str) -> None:
    async with place() as here, here.client(way) as client:
        heard: list[Any] = []

        @client.on("plain")
        def plain(a: int, b: int = 7) -> tuple[int, int]:
            heard.append((a, b))
            return a, b

        @client.event
        async def waits(a: int) -> int:
            await asyncio.sleep(0.01)
            return a * 2

        client.on("nothing", lambda: None)
        assert await client.call("ask me", "plain", 1, 2, 3) == (1, 2)
        assert await client.call("ask me", "plain", 1) == (1, 7)
        assert await client.call("ask me", "waits", 21) == 42
        assert await client.call("ask me", "nothing") is None
        assert heard == [(1, 2), (1, 7)]


async def test_handlers_that_fail(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with place() as here, here.client() as client:

        @client.on("fails")
        def fails(a: int) -> None:
            raise RuntimeError("deliberate")

        @client.on("fails later")
        async def fails_later() -> None:
            await asyncio.sleep(0)
            raise RuntimeError("deliberate, later")

        client.emit("say", "fails", 1)
        client.emit("say", "fails later")
        client.emit("say", "fails")  # too few arguments
        assert await client.call("echo", 1) == 1
        await until(lambda: len(caplog.records) == 3)
        assert "deliberate" in caplog.text
        assert "The argument is missing" in caplog.text
        told: list[Any] = []

        @client.on_error
        def on_error(error: BaseException, event: str, args: list[Any]) -> str:
            told.append((str(error), event, args))
            return "sorry"

        assert await client.call("ask me", "fails", 5) == "sorry"
        assert await client.call("ask me", "fails later") == "sorry"
        assert told == [("deliberate", "fails", [5]), ("deliberate, later", "fails later", [])]
        assert client.connected


@dataclass
class Headline:
    title: str
    rank: int = 0


async def test_typed_handlers(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with place() as here, here.client() as client:
        heard: list[Any] = []

        @client.on("headline")
        def headline(one: Headline, *others: Headline) -> str:
            heard.append((one, *others))
            return one.title

        assert await client.call("ask me", "headline", {"title": "a"}, {"title": "b", "rank": 2}) == "a"
        assert heard == [(Headline("a"), Headline("b", 2))]
        refused = await client.call("ask me", "headline", {"title": 5})
        assert "str" in json.dumps(refused)
        client.emit("say", "headline", "no headline")
        await client.call("echo")
        assert len(heard) == 1
        assert caplog.text.count("doesn't suit its handler") == 2


async def test_once_off_and_catch_all(place: Any) -> None:
    async with place() as here, here.client() as client:
        heard: list[Any] = []
        client.once("one", lambda *args: heard.append(("once", *args)))
        every = client.on_any(lambda event, *args: heard.append(("any", event, *args)))
        out = client.on_any_outgoing(lambda event, *args: heard.append(("out", event)))
        client.emit("say", "one", 1)
        client.emit("say", "one", 2)
        assert await client.call("echo") is None
        assert heard == [
            ("out", "say"),
            ("out", "say"),
            ("out", "echo"),
            ("any", "one", 1),
            ("once", 1),
            ("any", "one", 2),
        ]
        heard.clear()
        client.off_any(every)
        client.off_any_outgoing(out)
        client.on("one", heard.append)
        client.off("one")
        client.emit("say", "one", 3)
        assert await client.call("echo") is None
        assert heard == []


async def test_misuse_is_told(place: Any) -> None:
    async with place() as here, here.client() as client:
        client.on("x", lambda: None)
        with pytest.raises(LocalProtocolError, match="is handled by"):
            client.on("x", lambda: None)
        with pytest.raises(LocalProtocolError, match="reserved"):
            client.emit("disconnecting")
        with pytest.raises(LocalProtocolError, match="must be a string"):
            client.emit(5)
        with pytest.raises(LocalProtocolError, match=r'write @client.on\("name"\)'):
            client.on(lambda: None)
        with pytest.raises(EncodeError):
            client.emit("echo", object())
        with pytest.raises(EncodeError):
            client.call("echo", object())
        with pytest.raises(LocalProtocolError, match="timeout must be a positive number"):
            client.call("echo", timeout=0)
        with pytest.raises(LocalProtocolError, match="the connection has the events"):
            client.manager.on("nonsense", lambda: None)
        with pytest.raises(WrongThreadError, match="BlockingClient"):
            await asyncio.to_thread(client.emit, "echo")
        with pytest.raises(LimitError, match="the server takes 1000000"):
            client.emit("echo", "x" * 1_000_001)
        assert await client.call("echo", 1) == 1


async def test_an_answer_that_cannot_be_sent(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with place() as here, here.client() as client:
        client.on("large", lambda: "x" * 2_000_000)
        client.on("odd", lambda: object())
        client.on_error(lambda error, event, args: f"sorry: {type(error).__name__}")
        assert await client.call("ask me", "large") == "sorry: LimitError"
        assert await client.call("ask me", "odd") == "sorry: EncodeError"


async def test_asking_in_vain(place: Any, way: str) -> None:
    async with place() as here, here.client(way) as client:
        with pytest.raises(AckTimeout):
            await client.call("nobody hears", timeout=0.1)
        with pytest.raises(AckTimeout):
            await client.call("slow", 0.3, timeout=0.1)
        asked = client.call("slow", 30)
        cancelled = client.call("slow", 30)
        cancelled.cancel()
        client.emit("leave")
        with pytest.raises(Disconnected) as gone:
            await asked
        assert gone.value.reason == Reason.IO_SERVER_DISCONNECT
        assert not client.active


async def test_iteration(place: Any) -> None:
    async with place() as here, here.client() as client:
        every, some = client.events(), client.events("b")
        for name in "abc":
            client.emit("say", name, name * 2)
        asked = client.call("ask me", "question", 5)
        seen: list[Event] = []
        async for event in every:
            seen.append(event)
            if event.name == "question":
                assert event.wants_answer
                event.acknowledge(event.args[0] + 1, "!")
                event.acknowledge("again")
                break
        assert [(event.name, event.args) for event in seen] == [
            ("a", ("aa",)),
            ("b", ("bb",)),
            ("c", ("cc",)),
            ("question", (5,)),
        ]
        assert not seen[0].wants_answer
        assert await asked == (6, "!")
        client.emit("leave")
        assert [event.args async for event in some] == [("bb",)]
        assert [event async for event in client.events()] == []


async def test_iteration_that_is_too_slow(place: Any) -> None:
    async with place() as here, here.client(max_buffered_events=3) as client:
        events = client.events()
        for number in range(5):
            client.emit("say", "number", number)
        await client.call("echo")
        assert [(await anext(events)).args[0] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(LimitError, match="2 events were missed"):
            await anext(events)
        client.emit("say", "number", 5)
        assert (await anext(events)).args == (5,)


async def test_namespaces(place: Any, way: str) -> None:
    async with place() as here, here.client(way) as client:
        with pytest.raises(ConnectError) as refused:
            await client.of("/private").connect()
        assert (refused.value.message, refused.value.data) == ("not authorised", {"code": 401})
        assert refused.value.refused
        private = client.of("/private", auth={"token": "secret"})
        async with private:
            assert await private.call("echo", 1) == 1
            assert await private.call("auth") == {"token": "secret"}
            assert private.id != client.id
            assert client.of("/private") is private
        assert not private.connected
        assert await client.call("echo", 1) == 1
        with pytest.raises(ConnectError, match="Invalid namespace"):
            await client.of("/nowhere").connect()


async def test_a_refusal_that_nobody_awaits(place: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with place() as here, here.client() as client:
        told: list[ConnectError] = []
        client.of("/private")
        await until(lambda: "/private was not joined: not authorised" in caplog.text)
        other = client.of("/nowhere")
        other.on("connect_error", told.append)
        await until(lambda: told)
        assert told[0].refused


async def test_the_path_of_the_url_is_the_namespace(place: Any, way: str) -> None:
    async with place() as here:
        async with here.client(way, "/private", auth={"token": "secret"}) as client:
            assert client.name == "/private"
            assert await client.call("echo", 2) == 2
            assert not here.io.sockets
            root = client.of("/")
            assert await root.call("echo", 3) == 3
        with pytest.raises(ConnectError, match="not authorised"):
            async with here.client(way, "/private"):
                pytest.fail("let in")


async def test_auth_as_a_function(place: Any) -> None:
    async with place() as here:

        async def token() -> dict[str, str]:
            await asyncio.sleep(0.01)
            return {"token": "secret"}

        for auth in (token, lambda: {"token": "secret"}):
            async with here.client(rest="/private", auth=auth) as client:
                assert await client.call("auth") == {"token": "secret"}
        for auth, wrong in ((lambda: 1 / 0, "auth function failed"), (lambda: 5, "must give a dict")):
            with pytest.raises(ConnectError, match=wrong):
                async with here.client(rest="/private", auth=auth):
                    pytest.fail("let in")


async def test_headers_and_query(place: Any, way: str) -> None:
    async with place() as here:
        settings: dict[str, Any] = {"headers": {"X-Marker": "yes", "User-Agent": "me"}, "query": {"b": "2"}}
        async with here.client(way, "?a=1%202", **settings) as client:
            headers = (await client.call("who"))["headers"]
            assert (headers["x-marker"], headers["user-agent"]) == ("yes", "me")
            query = await client.call("query")
            assert (query["a"], query["b"], query["EIO"]) == ("1 2", "2", "4")


async def test_what_was_emitted_is_sent_before_the_end(place: Any, way: str) -> None:
    async with place() as here:
        async with here.client(way) as client:
            for number in range(50):
                client.emit("count", number)
        async with here.client() as other:
            assert await other.call("counted") == list(range(50))
        await until(lambda: not here.io.engine.sessions, 3)


async def test_the_server_hears_why(place: Any, way: str) -> None:
    async with place() as here:
        reasons: list[str] = []
        here.io.on("disconnect", lambda socket, reason: reasons.append(reason))
        async with here.client(way):
            pass
        await until(lambda: reasons)
        assert reasons == [Reason.CLIENT_DISCONNECT]


async def test_volatile(place: Any) -> None:
    async with place() as here:
        client = Client(here.url, transports=["websocket"], **QUICK)
        client.volatile.emit("count", "early")
        client.emit("count", 1)
        async with client:
            client.volatile.emit("count", 2)
            client.volatile.send("x")
            assert await client.call("counted") == [1, 2]


async def test_drain(place: Any, way: str) -> None:
    async with place() as here, here.client(way) as client:
        for _ in range(20):
            client.emit("count", "x" * 100_000)
            await client.drain()
        assert len(await client.call("counted")) == 20
    with pytest.raises(Disconnected):
        await client.drain()


async def test_too_much_for_a_server_that_does_not_read(place: Any, way: str) -> None:
    async with place() as here, here.client(way, max_buffered_bytes=300_000) as client:

        def flood() -> None:
            for _ in range(1000):
                client.emit("count", "x" * 100_000)

        with pytest.raises(LimitError, match="await drain"):
            flood()
        await client.drain()
        assert await client.call("echo", 1) == 1


async def test_leaving_and_joining_again(place: Any, way: str) -> None:
    async with place() as here, here.client(way) as client:
        reasons: list[str] = []
        client.on("disconnect", reasons.append)
        joined: list[None] = []
        client.on("connect", lambda: joined.append(None))
        for _ in range(3):
            client.disconnect()
            assert not client.connected
            await client.connect()
            assert await client.call("echo", 1) == 1
        assert reasons == [Reason.IO_CLIENT_DISCONNECT] * 3
        assert len(joined) == 3
        await client.connect()  # does nothing


async def test_two_loops() -> None:
    client = Client("http://127.0.0.1:1")
    with pytest.raises(ConnectError):
        await client.connect()
    with pytest.raises(WrongThreadError, match=r"another event loop|outside of the event loop"):
        await asyncio.to_thread(asyncio.run, client.connect())
    await client.close()


def test_without_a_loop() -> None:
    client = Client("http://127.0.0.1:1")
    client.emit("waits")
    with pytest.raises(WrongThreadError, match="no event loop runs here"):
        client.call("waits")


async def test_compression(place: Any, way: str) -> None:
    async with place(websocket_compression=True) as here, here.client(way, websocket_compression=True) as client:
        await until(lambda: client.manager.transport == WAYS[way][-1])
        for size in (10, 2000, 200_000):
            assert await client.call("echo", "ab" * size, b"cd" * size) == ("ab" * size, b"cd" * size)


@pytest.mark.parametrize("way", OFFICIAL)
async def test_many_clients_at_once(place: Any, way: str) -> None:
    async with place() as here:

        async def one(here: Place, number: int) -> None:
            async with here.client(way) as client:
                for _ in range(5):
                    assert await client.call("echo", number) == number

        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(one(here, number))
