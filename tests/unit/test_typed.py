"""Typed handlers in a server: what reaches them, what clients are told, and who sees what."""

import asyncio
import datetime
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import pytest

from madang.core.namespace import Namespace
from madang.core.shapes import Arguments
from madang.core.socket import Socket
from madang.errors import InvalidArguments, LocalProtocolError, RemoteProtocolError
from madang.packet import EVENT, Frame, Packet
from madang.parsers.json import JsonParser
from madang.server import Server
from madang.testing import EngineKit, LinkClient


class Person(msgspec.Struct):
    name: str
    age: int = 0


class Photo(msgspec.Struct):
    name: str
    data: bytes


@dataclass
class Other:
    name: object


class Counting(msgspec.Struct):
    """Counts how often one was made."""

    n: int

    made = 0

    def __post_init__(self) -> None:
        Counting.made += 1


@pytest.fixture
async def kit() -> EngineKit:
    return EngineKit()


def arrive(kit: EngineKit, namespace: str = "/") -> tuple[LinkClient, Socket]:
    client = kit.websocket()
    return client, client.join(namespace)


def ask(client: LinkClient, *event: Any, namespace: str = "") -> Any:
    """Send an event, and give the arguments of the acknowledgement."""
    body = orjson.dumps(event).decode()
    client.say(f"42{namespace}7{body}")
    [answer] = client.heard()
    assert isinstance(answer, str)
    head = f"43{namespace}7"
    assert answer.startswith(head), answer
    return orjson.loads(answer.removeprefix(head))


def fault(event: str, *path: Any, message: str) -> list[Any]:
    where = "arguments" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return [
        {
            "error": {
                "code": "invalid_arguments",
                "message": f"{where}: {message}",
                "event": event,
                "details": [{"path": list(path), "message": message}],
            }
        }
    ]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("namespace", ["/", "/a b", "/채팅"])
@pytest.mark.parametrize("colour", ["def", "async def"])
async def test_right_and_wrong(kit: EngineKit, namespace: str, colour: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def plain(socket: Socket, person: Person, count: int = 1) -> str:
        seen.append((person, count))
        return person.name

    async def coroutine(socket: Socket, person: Person, count: int = 1) -> str:
        return plain(socket, person, count)

    kit.io.on("sign up", plain if colour == "def" else coroutine, namespace=namespace)
    client, socket = arrive(kit, namespace)
    prefix = "" if namespace == "/" else f"{namespace},"
    assert ask(client, "sign up", {"name": "Ada", "age": 36}, namespace=prefix) == ["Ada"]
    assert ask(client, "sign up", {"name": "Ada"}, 3, "cut", namespace=prefix) == ["Ada"]
    assert seen == [(Person("Ada", 36), 1), (Person("Ada"), 3)]
    assert not caplog.records
    answer = ask(client, "sign up", {"name": "Ada", "age": "36"}, namespace=prefix)
    assert answer == fault("sign up", 0, "age", message="Expected `int`, got `str`")
    assert ask(client, "sign up", namespace=prefix) == fault("sign up", 0, message="The argument is missing")
    client.say(f'42{prefix}["sign up",5]')  # asks for no answer
    assert client.heard() == []
    assert len(seen) == 2
    assert len(warnings(caplog)) == 3
    assert warnings(caplog)[0].startswith(f"'sign up' of {socket}: arguments[0].age: Expected `int`, got `str`")
    assert client.session.violation is None


async def test_one_pass(kit: EngineKit) -> None:
    """The values are made once, and straight from the text."""
    kit.io.on("n", lambda_with(Counting, lambda socket, one: one.n))
    client, _ = arrive(kit)
    before = Counting.made
    assert ask(client, "n", {"n": 5}) == [5]
    assert Counting.made == before + 1


def lambda_with(kind: Any, function: Callable[[Any, Any], Any]) -> Any:
    def handler(socket: Any, a: Any) -> Any:
        return function(socket, a)

    handler.__annotations__["a"] = kind
    return handler


async def test_text_that_is_no_json_is_the_end_as_ever(kit: EngineKit) -> None:
    kit.io.on("n", lambda_with(int, lambda socket, n: n))
    for text in ('42["n",1', '42["n",1]x', '42["n",01]', '42["n",' + "[" * 500 + "]" * 500 + "]", '42["n' + "x" * 9):
        client, _ = arrive(kit)
        client.say(text)
        assert client.session.violation is not None, text


async def test_other_ways_to_write_the_same(kit: EngineKit) -> None:
    kit.io.on("n", lambda_with(list[str], lambda socket, n: n))
    client, _ = arrive(kit)
    for text in ('[ "n",["a"]]', '["\\u006e",["a"]]', '["n" , ["\\u0061"] ]'):
        client.say(f"421{text}")
        assert client.heard() == ['431[["a"]]']
    client.say('421["n",["\\ud800"]]')  # half of a pair of surrogates, as JavaScript sends it
    assert client.heard() == ['431[["\\ud800"]]']


async def test_attachments(kit: EngineKit) -> None:
    kit.io.on("photo", lambda_with(Photo, lambda socket, photo: photo.data.decode() + photo.name))
    client, _ = arrive(kit)
    client.say('451-3["photo",{"name":"x","data":{"_placeholder":true,"num":0}}]', b"png")
    assert client.heard() == ['433["pngx"]']
    client.say('451-3["photo",{"name":{"_placeholder":true,"num":0},"data":"aGk="}]', b"png")
    [answer] = client.heard()
    assert isinstance(answer, str)
    faults = orjson.loads(answer[3:])[0]["error"]["details"]
    assert faults == [{"path": [0, "name"], "message": "Expected `str`, got `bytes`"}]
    assert ask(client, "photo", {"name": "x", "data": "aGk="}) == fault(
        "photo", 0, "data", message="Expected `bytes`, got `str`"
    )


async def test_the_msgpack_parser() -> None:
    kit = EngineKit(parser="msgpack")
    kit.io.on("sign up", lambda_with(Person, lambda socket, one: one.name))
    kit.io.on("photo", lambda_with(Photo, lambda socket, photo: photo.data))
    kit.io.on("when", lambda_with(datetime.datetime, lambda socket, when: when.year))
    client, _ = arrive(kit)
    session = client.session

    def ask_packed(*event: Any) -> Any:
        client.say(*session.wire.encode(Packet(EVENT, list(event), id=7), session.parser))
        [frame] = client.heard()
        assert isinstance(frame, bytes)
        return session.parser.decode(frame, 0, kit.io.config).data

    assert ask_packed("sign up", {"name": "Ada"}) == ["Ada"]
    assert ask_packed("sign up", {"name": "Ada", "age": "36"}) == fault(
        "sign up", 0, "age", message="Expected `int`, got `str`"
    )
    assert ask_packed("photo", {"name": "x", "data": b"png"}) == [b"png"]
    assert ask_packed("photo", {"name": "x", "data": "aGk="}) == fault(
        "photo", 0, "data", message="Expected `bytes`, got `str`"
    )
    assert ask_packed("when", "2026-01-02T03:04:05Z") == [2026]


async def test_a_handler_of_the_socket_has_its_own_types(kit: EngineKit) -> None:
    kit.io.on("e", lambda_with(Person, lambda socket, one: repr(one)))
    client, socket = arrive(kit)
    stranger, _ = arrive(kit)
    socket.on("e", lambda_with(Other, lambda socket, one: repr(one)))
    value = {"name": "x"}
    assert ask(client, "e", value) == [repr(Other("x"))]
    assert ask(stranger, "e", value) == [repr(Person("x"))]
    assert ask(client, "e", {"name": 5}) == [repr(Other(5))]  # wrong for the namespace's
    assert ask(client, "e", 5) == fault("e", 0, message="Expected `object`, got `int`")
    socket.off("e")
    socket.on("e", lambda socket, *args: args)
    assert ask(client, "e", value, 5) == [value, 5]
    socket.off("e")
    assert ask(client, "e", value) == [repr(Person("x"))]


async def test_listeners_and_middleware_see_plain_values(kit: EngineKit) -> None:
    heard: list[Any] = []
    kit.io.on("e", lambda_with(Person, lambda socket, one: one.name))
    client, socket = arrive(kit)

    @kit.io.on_any
    def everything(socket: Socket, event: str, *args: int) -> None:
        heard.append((event, *args))

    assert ask(client, "e", {"name": "x"}) == ["x"]
    assert ask(client, "e", 5)[0]["error"]["event"] == "e"

    @socket.use
    async def examine(event: str, args: list[Any]) -> None:
        heard.append(args)
        args.clear()  # a list of its own

    assert ask(client, "e", {"name": "y"}) == ["y"]
    assert ask(client, "e", {"name": 5})[0]["error"]["event"] == "e"
    assert heard == [
        ("e", {"name": "x"}),
        ("e", 5),
        [],
        ("e", {"name": "y"}),
        [],
        ("e", {"name": 5}),
    ]


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ('{"name":"x","more":"\\ud83d\\ude00"}', False),
        ('{"name":"x","more":[1e999]}', True),
        ('{"name":"x","more":' + "9" * 5000 + "}", True),
        ('{"name":"x","more":-' + "9" * 400 + "}", True),
    ],
    ids=["escapes", "float", "long", "negative"],
)
async def test_listeners_where_the_parsers_differ(kit: EngineKit, text: str, ends: bool) -> None:
    """What one library skips, another refuses: those who want plain values are as strict as ever."""
    heard: list[Any] = []
    kit.io.on("e", lambda_with(Person, lambda socket, one: one.name))
    client, _ = arrive(kit)
    kit.io.on_any(lambda socket, event, *args: heard.append(args))
    client.say(f'421["e",{text}]')
    assert (client.session.violation is not None) == ends
    assert len(heard) == (not ends)


@pytest.mark.parametrize("thread", [True, False])
async def test_what_handlers_in_threads_ask_for(kit: EngineKit, thread: bool) -> None:
    got: list[Any] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    @kit.io.on("e", thread=thread)
    def handler(one: Person, *, socket: Any, io: Any, auth: Login) -> None:
        got.extend((one, socket.id, io, auth))
        loop.call_soon_threadsafe(done.set)

    client = kit.websocket()
    socket = client.join("/", {"token": "t"})
    client.say('42["e",{"name":"x"}]')
    async with asyncio.timeout(5):
        await done.wait()
    assert [*got[:2], got[3]] == [Person("x"), socket.id, Login("t")]
    assert type(got[2]) is type(kit.io.threadsafe if thread else kit.io)
    await kit.io.close()


async def test_on_invalid(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []
    kit.io.on("e", lambda_with(int, lambda socket, one: one))
    kit.io.on("raises", raising)

    @kit.io.on_invalid
    def invalid(error: InvalidArguments, socket: Socket, event: str, args: list[Any]) -> Any:
        told.append((error.event, event, args, error.details))
        return None if args[0] is None else {"sorry": args[0]}

    failed: list[Any] = []
    kit.io.on_error(lambda error, *rest: failed.append(error))
    client, _ = arrive(kit)
    assert ask(client, "e", "x", "y") == [{"sorry": "x"}]
    assert ask(client, "e", None) == fault("e", 0, message="Expected `int`, got `null`")
    assert told[0] == ("e", "e", ["x", "y"], [{"path": [0], "message": "Expected `int`, got `str`"}])
    assert ask(client, "raises", None) == fault("raises", 0, message="no such option")
    assert failed == []
    assert len(warnings(caplog)) == 3

    @kit.io.on_invalid
    async def later(error: InvalidArguments, socket: Socket, event: str, args: list[Any]) -> Any:
        return None if args[0] is None else "later"

    assert ask(client, "e", "x") == ["later"]
    assert ask(client, "e", None) == fault("e", 0, message="Expected `int`, got `null`")

    @kit.io.on_invalid
    async def broken_later(error: InvalidArguments, *rest: Any) -> Any:
        raise RuntimeError("broken")

    assert ask(client, "e", None) == fault("e", 0, message="Expected `int`, got `null`")
    assert caplog.records[-1].getMessage() == "the on_invalid handler failed"

    @kit.io.on_invalid
    def broken(error: InvalidArguments, *rest: Any) -> Any:
        raise RuntimeError("broken")

    assert ask(client, "e", None) == fault("e", 0, message="Expected `int`, got `null`")
    assert "the on_invalid handler failed" in [record.getMessage() for record in caplog.records]

    kit.io.on_invalid(lambda *args: object())
    client.say('421["e",null]')
    assert client.heard() == []
    assert caplog.records[-1].getMessage() == "the answer of the on_invalid handler can't be sent"


def raising(socket: Socket, a: Any) -> None:
    raise InvalidArguments("raises", [{"path": [0], "message": "no such option"}])


async def test_bugs_in_validators(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(msgspec.Struct):
        n: int

        def __post_init__(self) -> None:
            if self.n == 1:
                raise TypeError("secret")
            if self.n == 2:
                raise KeyError("bug")

    kit.io.on("e", lambda_with(Buggy, lambda socket, one: one.n))
    client, socket = arrive(kit)
    assert ask(client, "e", {"n": 1}) == fault("e", 0, message="The value is invalid")
    assert "TypeError('secret')" in warnings(caplog)[0]
    client.say('421["e",{"n":2}]')
    assert client.heard() == []
    assert caplog.records[-1].exc_info is not None
    assert socket.connected


async def test_a_client_can_not_write_lines_into_the_log(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    class Closed(msgspec.Struct, forbid_unknown_fields=True): ...

    kit.io.on("e", lambda_with(Closed, lambda socket, one: None))
    client, _ = arrive(kit)
    ask(client, "e", {"x\nERROR the house burns\x1b[31m" + "y" * 100_000: 1})
    [line] = warnings(caplog)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 1000


async def test_late_names_are_resolved_at_the_start(kit: EngineKit) -> None:
    io = Server()
    io.on("late", late)
    io.on("never", never)
    with pytest.raises(LocalProtocolError, match=r"never can't handle \"never\": name 'Nowhere' is not defined"):
        await io.start()
    io.off("never")
    await io.start()
    assert isinstance(io.listeners.events["late"].shape, Arguments)
    assert set(io.listeners.shapes) == {"late"}
    await io.close()
    # A server that is not started as it should resolves them with the first event.
    kit.io.on("late", late)
    kit.io.on("never", never)
    client, socket = arrive(kit)
    assert ask(client, "late", {"n": 1}) == [1]
    client.say('421["never",1]')
    assert client.heard() == []
    assert socket.connected


def late(socket: Socket, a: "Late") -> int:
    return a.n


def never(socket: Socket, a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


LATE_SERVER = Server()
LATE_SERVER.on("late", late)


class Late(msgspec.Struct):
    n: int


async def test_namespaces_written_as_classes(kit: EngineKit) -> None:
    class Chat(Namespace):
        def on_say(self, socket: Socket, text: str, *, loud: bool = False) -> str:
            return text.upper()

        async def on_count(self, socket: Socket, *numbers: int) -> int:
            return sum(numbers)

    kit.io.register(Chat("/chat"))
    client, _ = arrive(kit, "/chat")
    assert ask(client, "say", "x", namespace="/chat,") == ["X"]
    assert ask(client, "say", 5, namespace="/chat,") == fault("say", 0, message="Expected `str`, got `int`")
    assert ask(client, "count", 1, 2, 3, namespace="/chat,") == [6]
    assert ask(client, "count", 1, "2", namespace="/chat,") == fault("count", 1, message="Expected `int`, got `str`")


async def test_a_handler_that_takes_the_place_of_another(kit: EngineKit) -> None:
    kit.io.on("e", lambda_with(int, lambda socket, one: one))
    client, _ = arrive(kit)
    assert ask(client, "e", 1) == [1]
    kit.io.off("e")
    kit.io.on("e", lambda_with(str, lambda socket, one: one))
    assert ask(client, "e", "x") == ["x"]
    kit.io.off("e")
    kit.io.on("e", lambda socket, one: one)
    assert ask(client, "e", [1]) == [[1]]
    assert kit.io.listeners.shapes == {}


# ---- what handlers ask for ----


class Login(msgspec.Struct):
    token: str
    age: int = 0


class Login2(msgspec.Struct, rename={"secret": "token"}):
    secret: str


def refusal(kit: EngineKit, auth: Any) -> Any:
    client = kit.websocket()
    client.say(f"40{orjson.dumps(auth).decode()}")
    [answer] = client.heard()
    assert isinstance(answer, str)
    return orjson.loads(answer[2:]) if answer.startswith("44") else None


@pytest.mark.parametrize("colour", ["def", "async def"])
async def test_what_handlers_ask_for(kit: EngineKit, colour: str) -> None:
    got: list[Any] = []

    def everything(number: int, *rest: str, socket: Socket, io: Server, auth: Login, other: int = 9) -> str:
        got.append((number, rest, socket, io, auth, other))
        return "ok"

    async def everything_later(number: int, *rest: str, socket: Socket, io: Server, auth: Login, other: int = 9) -> str:
        return everything(number, *rest, socket=socket, io=io, auth=auth, other=other)

    kit.io.on("all", everything if colour == "def" else everything_later)
    kit.io.on("some", lambda socket, one, *, io: [socket.id, one, io is kit.io])
    kit.io.on("raw", lambda socket, *, auth: auth)
    client = kit.websocket()
    socket = client.join("/", {"token": "t", "more": 1})
    assert ask(client, "all", 1, "a", "b") == ["ok"]
    assert got == [(1, ("a", "b"), socket, kit.io, Login("t"), 9)]
    assert ask(client, "all", "x") == fault("all", 0, message="Expected `int`, got `str`")
    assert ask(client, "all") == fault("all", 0, message="The argument is missing")
    assert ask(client, "some", 5, 6) == [[socket.id, 5, True]]
    assert ask(client, "raw", 5, 6) == [{"token": "t", "more": 1}]


async def test_auth_is_checked_once_for_each_client_and_type(kit: EngineKit) -> None:
    class Secret(Counting): ...

    seen: list[Any] = []
    kit.io.on("a", lambda_asking(Secret, seen.append))
    kit.io.on("b", lambda_asking(Secret, seen.append))
    kit.io.on("connection", lambda_asking(Secret, seen.append))
    kit.io.on("disconnect", leaving)
    kit.io.use(lambda_asking(Secret, seen.append))
    kit.io.on_any(lambda_asking(Secret, seen.append, rest=True))
    before = Counting.made
    client = kit.websocket()
    client.join("/", {"n": 1})
    ask(client, "a")
    ask(client, "b")
    assert Counting.made == before + 1
    assert len(seen) == 6
    assert len({id(one) for one in seen}) == 1
    kit.websocket().join("/", {"n": 1})
    assert Counting.made == before + 2


def leaving(reason: str, *, socket: Socket) -> None:
    assert isinstance(socket, Socket)


def lambda_asking(kind: Any, function: Callable[[Any], Any], rest: bool = False) -> Any:
    def handler(socket: Any, *, auth: Any) -> Any:
        return function(auth)

    def more(socket: Any, event: Any, *rest: Any, auth: Any) -> Any:
        return function(auth)

    chosen = more if rest else handler
    chosen.__annotations__["auth"] = kind
    return chosen


@pytest.mark.parametrize("place", ["event", "life", "use", "any", "outgoing", "class"])
async def test_bad_auth_is_refused(kit: EngineKit, place: str, caplog: pytest.LogCaptureFixture) -> None:
    called: list[Any] = []
    handler = lambda_asking(Login, called.append, rest=place in ("any", "outgoing"))
    match place:
        case "event":
            kit.io.on("e", handler)
        case "life":
            kit.io.on("connection", handler)
        case "use":
            kit.io.use(handler)
        case "any":
            kit.io.on_any(handler)
        case "outgoing":
            kit.io.on_any_outgoing(handler)
        case _:

            class Main(Namespace):
                def on_e(self, socket: Socket, *, auth: Login) -> None: ...

            kit.io.register(Main("/"))
    assert refusal(kit, {"token": 5, "age": "x"}) == {
        "message": "Invalid auth",
        "data": {
            "code": "invalid_auth",
            "details": [{"path": ["token"], "message": "Expected `str`, got `int`"}],
        },
    }
    assert refusal(kit, {})["data"]["details"] == [{"path": [], "message": "Object missing required field `token`"}]
    assert called == []
    assert len(warnings(caplog)) == 2
    assert "its auth is invalid: Expected `str`, got `int`" in warnings(caplog)[0]
    assert refusal(kit, {"token": "t"}) is None
    if place == "event":
        kit.io.off("e")
        assert refusal(kit, {}) is None


async def test_a_bug_in_the_check_of_auth(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(msgspec.Struct):
        def __post_init__(self) -> None:
            raise KeyError("bug")

    kit.io.on("e", lambda_asking(Buggy, lambda auth: None))
    assert refusal(kit, {}) == {"message": "Internal server error"}
    assert caplog.records[-1].exc_info is not None


async def test_a_handler_of_the_socket_asks_for_other_auth(kit: EngineKit, caplog: pytest.LogCaptureFixture) -> None:
    client = kit.websocket()
    socket = client.join("/", {"token": "t"})
    socket.on("good", lambda_asking(Login2, lambda auth: auth.secret))
    socket.on("bad", lambda_asking(Counting, lambda auth: None))
    assert ask(client, "good") == ["t"]
    client.say('421["bad"]')
    assert client.heard() == []
    assert "the client's auth is not what is wanted: Object missing required field `n`" in warnings(caplog)[0]


async def test_asking_for_what_there_is_not() -> None:
    io = Server()

    def handler(socket: Socket, *, token: str) -> None: ...

    with pytest.raises(LocalProtocolError) as caught:
        io.on("e", handler)
    assert "its parameter 'token' is keyword-only; such are given the socket, the server or" in str(caught.value)

    def unclear(socket: Socket, *, auth: Server) -> None: ...

    with pytest.raises(LocalProtocolError, match="annotation of its parameter 'auth' can't be checked"):
        io.on("e", unclear)

    def never(socket: Socket, *, auth: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    io.on("e", never)
    with pytest.raises(LocalProtocolError, match="name 'Nowhere' is not defined, which an annotation names"):
        await io.start()
    io.off("e", never)
    await io.start()
    await io.close()


async def test_a_handler_that_asks_for_nothing_is_called_as_it_is() -> None:
    io = Server()

    def handler(socket: Socket, text: str) -> None: ...

    io.on("e", handler)
    assert io.listeners.events["e"].function is handler


def test_the_parser_gives_plain_values_again() -> None:
    shape = Arguments((Person,), 1, None)
    parser = JsonParser().shaped({"/": {"e": shape}})
    text = '42["e",{"name":"x"}]'
    packet = parser.decode(text, 1, Server().config)
    assert packet.shape is shape
    assert packet == Packet(EVENT, ("e", Person("x")))
    assert packet.plain() == ["e", {"name": "x"}]
    plain = JsonParser().decode(text, 1, Server().config)
    assert plain.shape is None
    assert plain.plain() is plain.data


async def test_a_parser_of_ones_own_is_used_beside_typed_handlers() -> None:
    class Shouting(JsonParser):
        name = "shouting"

        def encode(self, packet: Packet, prefix: str) -> tuple[Frame, ...]:
            return tuple(frame.upper() for frame in super().encode(packet, prefix) if isinstance(frame, str))

    kit = EngineKit(parser=Shouting())
    heard: list[Person] = []

    @kit.io.on("e")
    def handle(socket: Socket, person: Person) -> str:
        heard.append(person)
        return "thanks"

    client, _ = arrive(kit)
    client.say('427["e",{"name":"x"}]')
    assert heard == [Person("x")]
    assert client.heard() == ['437["THANKS"]']


@pytest.mark.parametrize(
    ("text", "shaped"),
    [
        ('42["e",1]', True),
        ('4212["e",1]', True),
        ('42123456789012345["e",1]', True),
        ('42/n,["e",1]', True),
        ('42/n?a=b,7["e",1]', True),
        ('42["f",1]', False),
        ('42/m,7["e",1]', False),
        ('42/n[0],["e",1]', False),
        ('42["e","1"]', False),
        ('42["e",1,2]', False),
        ('42["\\u0065",1]', False),
        ('42[ "e",1]', False),
    ],
)
def test_where_an_event_is_decoded_into_its_shape(text: str, shaped: bool) -> None:
    shape = Arguments((int,), 1, None)
    limits = Server().config
    packet = JsonParser().shaped({"/": {"e": shape}, "/n": {"e": shape}}).decode(text, 1, limits)
    plain = JsonParser().decode(text, 1, limits)
    assert packet.shape is (shape if shaped else None)
    assert (packet.kind, packet.namespace, packet.id, list(packet.data)) == (
        EVENT,
        plain.namespace,
        plain.id,
        plain.data,
    )


@pytest.mark.parametrize(
    "text",
    [
        "42",
        "4212",
        "42/n,",
        '42"e["',
        '42{"e":[1]}',
        '42/n["e",1]',
        '42/n7["e",1]',
        '42-1["e",1]',
        '421-["e",1]',
        '42 7["e",1]',
        '427_7["e",1]',
        '42\u0667["e",1]',
        '421234567890123456["e",1]',
        '42["e",1',
        '42["connect",1]',
    ],
)
def test_what_is_no_event_is_none_with_shapes_either(text: str) -> None:
    limits = Server().config
    told = []
    for parser in (JsonParser(), JsonParser().shaped({"/": {"e": Arguments((int,), 1, None)}})):
        with pytest.raises(RemoteProtocolError) as refused:
            parser.decode(text, 1, limits)
        told.append(str(refused.value))
    assert told[0] == told[1]
