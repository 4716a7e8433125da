"""Registration: signatures, names, duplicates, removal, namespaces written as classes."""

import functools
from typing import Any

import pytest

from madang.core.listeners import LIFE_CYCLE, Handler
from madang.core.namespace import Namespace
from madang.core.socket import Socket
from madang.errors import InvalidArguments, LocalProtocolError
from madang.testing import EngineKit


def handler(function: Any, leading: int = 1) -> Handler:
    return Handler(function, leading=leading, what='"e"')


class Callable:
    def __call__(self, socket: object, a: object, b: object = 1) -> None: ...


class AsyncCallable:
    async def __call__(self, socket: object) -> None: ...


class Methods:
    def method(self, socket: object, a: object) -> None: ...

    async def coroutine(self, socket: object) -> None: ...

    @staticmethod
    def static(socket: object, a: object) -> None: ...

    @classmethod
    def of_class(cls, socket: object, a: object) -> None: ...


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


async def coroutine(socket: object, a: object) -> None: ...


MANY = 1 << 62


@pytest.mark.parametrize(
    ("function", "required", "accepted"),
    [
        (lambda socket: None, 0, 0),
        (lambda socket, a: None, 1, 1),
        (lambda socket, a, b=1: None, 1, 2),
        (lambda socket, /, a, *, b=1: None, 1, 1),
        (lambda socket, *args: None, 0, MANY),
        (lambda *args: None, 0, MANY),
        (lambda socket, a, *args, **more: None, 1, MANY),
        (lambda socket=None, a=1: None, 0, 1),
        (Callable(), 1, 2),
        (Methods().method, 1, 1),
        (Methods.static, 1, 1),
        (Methods.of_class, 1, 1),
        (functools.partial(lambda a, socket, b: None, 1), 1, 1),
        (functools.partial(lambda socket, b: None, b=2), 0, 0),
        (wrapped(lambda socket, a: None), 1, 1),
        (coroutine, 1, 1),
        (print, 0, MANY),
    ],
)
def test_arity(function: Any, required: int, accepted: int) -> None:
    one = handler(function)
    assert (one.required, one.accepted) == (required, accepted)
    assert one.function is function


def test_functions_in_c_without_signature() -> None:
    assert (handler(dict.update).required, handler(max).accepted) == (0, MANY)


@pytest.mark.parametrize(
    ("given", "taken"), [([1], [1]), ([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([None, b"x", {}, []], [None, b"x"])]
)
def test_fit_cuts_what_is_too_much(given: list[Any], taken: list[Any]) -> None:
    assert handler(lambda socket, a, b=0: None).fit("e", given) == taken


@pytest.mark.parametrize(("given", "missing"), [([1], [1]), ([], [0, 1])])
def test_fit_tells_what_is_missing(given: list[Any], missing: list[int]) -> None:
    with pytest.raises(InvalidArguments) as caught:
        handler(lambda socket, a, b: None).fit("e", given)
    assert caught.value.event == "e"
    assert caught.value.details == [{"path": [index], "message": "The argument is missing"} for index in missing]
    assert str(caught.value).startswith(f"arguments[{missing[0]}]: The argument is missing")


def named(socket: object, a: object, b: object) -> None: ...


def single(socket: object, a: object) -> None: ...


def nothing() -> None: ...


def keyword(socket: object, *, token: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "leading", "message"),
    [
        (nothing, 1, 'nothing can\'t handle "e": it must take the socket first, as in `def nothing(socket, ...)`'),
        (
            lambda socket: None,
            2,
            "it must take the socket and the reason or event first, as in `def <lambda>(socket, ...)`",
        ),
        (Methods.static, 3, 'Methods.static can\'t handle "e": it must take 3 arguments first, as in `def static'),
        (keyword, 1, "keyword can't handle \"e\": its parameter 'token' is keyword-only"),
    ],
)
def test_what_cannot_be_a_handler(function: Any, leading: int, message: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        handler(function, leading)
    assert message in str(caught.value)


@pytest.mark.parametrize("thing", [None, 1, "name", [], object()])
def test_what_is_no_function(thing: Any) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        handler(thing)
    assert str(caught.value) == f'the handler of "e" must be a function, not {thing!r}'


# Registration, over everything that one can register with


def places() -> list[Any]:
    kit = EngineKit()
    return [kit.io, kit.io.of("/chat"), kit.websocket().join()]


@pytest.mark.parametrize("place", places(), ids=lambda one: type(one).__name__)
class TestRegistration:
    def test_decorator_and_direct(self, place: Any) -> None:
        @place.on("one")
        def first(socket: object) -> None: ...

        assert place.on("two", first) is first
        assert place.listeners.events["one"].function is first
        assert place.listeners.events["two"].function is first
        place.off("one")
        place.off("two")

    def test_by_its_own_name(self, place: Any) -> None:
        @place.event
        def typing(socket: object) -> None: ...

        assert place.listeners.events["typing"].function is typing
        place.off("typing")

    def test_duplicates(self, place: Any) -> None:
        place.on("e", named)
        with pytest.raises(LocalProtocolError) as caught:
            place.on("e", single)
        assert str(caught.value) == 'the event "e" is handled by named already; remove that with off("e")'
        place.off("e", single)  # another one
        assert place.listeners.events["e"].function is named
        place.off("e", named)
        place.on("e", single)
        place.off("e")
        place.off("e")
        assert "e" not in place.listeners.events

    def test_life_may_have_several(self, place: Any) -> None:
        def one(socket: object, *args: object) -> None: ...
        def two(socket: object, *args: object) -> None: ...

        for event in sorted(LIFE_CYCLE):
            place.on(event, one)
            place.on(event, two)
            assert [known.function for known in place.listeners.life[event]] == [one, two]
            place.off(event, one)
            assert [known.function for known in place.listeners.life[event]] == [two]
            place.off(event)
            assert place.listeners.life[event] == []

    def test_connect_is_connection(self, place: Any) -> None:
        def arrived(socket: object) -> None: ...

        place.on("connect", arrived)
        assert [known.function for known in place.listeners.life["connection"]] == [arrived]
        place.off("connect", arrived)
        assert place.listeners.life["connection"] == []
        assert "connect" not in place.listeners.events

    def test_what_life_is_told(self, place: Any) -> None:
        for event in ("disconnect", "disconnecting"):
            with pytest.raises(LocalProtocolError, match="it must take the socket and the reason or event first"):
                place.on(event, lambda socket: None)

    def test_forgotten_name(self, place: Any) -> None:
        with pytest.raises(LocalProtocolError) as caught:
            place.on(named)
        assert str(caught.value) == 'write @io.on("name"), or @io.event to take the function\'s own name'

    def test_catch_all(self, place: Any) -> None:
        assert place.on_any(single) is single
        assert place.on_any_outgoing(single) is single
        with pytest.raises(LocalProtocolError, match="nothing can't handle every event"):
            place.on_any(nothing)
        with pytest.raises(LocalProtocolError, match="nothing can't handle every outgoing event"):
            place.on_any_outgoing(nothing)

    def test_middleware(self, place: Any) -> None:
        assert place.use(named) is named
        with pytest.raises(LocalProtocolError, match="nothing can't handle"):
            place.use(nothing)


def test_what_a_sockets_middleware_takes() -> None:
    socket = EngineKit().websocket().join()
    with pytest.raises(LocalProtocolError, match="single_parameter can't handle events"):

        @socket.use
        def single_parameter(event: str) -> None: ...


def test_a_handler_in_another_namespace() -> None:
    kit = EngineKit()

    @kit.io.on("e", namespace="/chat")
    def first(socket: object) -> None: ...

    kit.io.on("f", single, namespace="chat")
    assert set(kit.io.of("/chat").listeners.events) == {"e", "f"}
    assert kit.io.listeners.events == {}


# Namespaces as classes


class Chat(Namespace):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.heard: list[Any] = []

    def on_connection(self, socket: Any) -> None:
        self.heard.append(("connection", socket.id))

    def on_message(self, socket: Any, text: str) -> str:
        self.heard.append(("message", text))
        return "thanks"

    def on_disconnect(self, socket: Any, reason: str) -> None:
        self.heard.append(("disconnect", reason))

    def helper(self) -> None:
        raise AssertionError("no handler")


class MoreChat(Chat):
    def on_message(self, socket: Any, text: str) -> str:
        return super().on_message(socket, text.upper())

    def on_more(self, socket: Any) -> None: ...


def test_a_class() -> None:
    kit = EngineKit()
    chat = kit.io.register(MoreChat("chat"))
    assert chat is kit.io.of("/chat")
    assert set(chat.listeners.events) == {"message", "more"}
    assert set(chat.listeners.life) == {"connection", "disconnect"}
    client = kit.websocket()
    socket = client.join("/chat")
    client.say('42/chat,1["message","hi"]', "41/chat,")
    assert client.heard() == ['43/chat,1["thanks"]']
    assert chat.heard == [  # type: ignore[attr-defined]
        ("connection", socket.id), ("message", "HI"), ("disconnect", "client namespace disconnect"),
    ]  # fmt: skip


def test_the_names_of_listening_are_no_events() -> None:
    assert Namespace("/x").listeners.events == {}
    assert Namespace("/x").listeners.incoming == []


def test_a_class_with_a_wrong_method() -> None:
    class Wrong(Namespace):
        def on_message(self) -> None: ...

    with pytest.raises(LocalProtocolError, match=r"on_message can't handle \"message\": it must take the socket first"):
        Wrong("/x")


def test_a_namespace_that_was_not_registered() -> None:
    chat = Chat("/chat")
    with pytest.raises(LocalProtocolError) as caught:
        chat.emit("e")
    assert str(caught.value) == "register the namespace '/chat' first: io.register(namespace)"


def test_registered_twice() -> None:
    kit = EngineKit()
    kit.io.register(Chat("/chat"))
    with pytest.raises(LocalProtocolError) as caught:
        kit.io.register(Chat("/chat"))
    assert str(caught.value) == "there is a namespace '/chat' already; use io.of('/chat')"


def test_a_class_for_the_main_namespace() -> None:
    kit = EngineKit()
    main = kit.io.register(Chat("/"))
    assert kit.io.of("/") is main
    kit.io.on("later", single)
    assert "later" in main.listeners.events
    client = kit.websocket()
    client.join()
    kit.io.emit("e")
    assert client.heard() == ['42["e"]']
    with pytest.raises(LocalProtocolError):
        kit.io.register(Chat("/"))


@pytest.mark.parametrize("how", ["on", "use", "on_any", "on_any_outgoing", "life"])
def test_a_class_for_the_main_namespace_that_comes_too_late(how: str) -> None:
    """Handlers must not be lost without a word."""
    kit = EngineKit()
    if how == "on":
        kit.io.on("e", single)
    elif how == "life":
        kit.io.on("connect", single)
    else:
        getattr(kit.io, how)(single)
    with pytest.raises(LocalProtocolError) as caught:
        kit.io.register(Chat("/"))
    assert str(caught.value) == "the main namespace has handlers already; register its class before them"


def test_off_any() -> None:
    kit = EngineKit()
    client = kit.websocket()
    socket = client.join()
    heard: list[str] = []

    def one(socket: Socket, event: str) -> None:
        heard.append(f"one {event}")

    def two(socket: Socket, event: str) -> None:
        heard.append(f"two {event}")

    for place in (kit.io, socket):
        for use, remove, act in (
            (place.on_any, place.off_any, lambda: client.say('42["e"]')),
            (place.on_any_outgoing, place.off_any_outgoing, lambda: kit.io.emit("e")),
        ):
            remove()  # nobody listens: nothing happens
            use(one)
            use(two)
            act()
            assert heard == ["one e", "two e"]
            heard.clear()
            remove(one)
            remove(one)
            act()
            assert heard == ["two e"]
            heard.clear()
            use(one)
            remove()
            act()
            assert heard == []
    assert kit.io.of("/")._eavesdroppers == 0
