"""Declared events: what is sent, and what is made of the answers."""

import datetime
from typing import Any, TypedDict

import msgspec
import orjson
import pydantic
import pytest

from madang.core.outgoing import Outgoing
from madang.core.shapes import Arguments
from madang.core.socket import Socket
from madang.errors import AckTimeout, InvalidAnswer, LocalProtocolError
from madang.testing import EngineKit, LinkClient


class Choice(msgspec.Struct):
    option: int
    why: str = ""


class Model(pydantic.BaseModel):
    n: int


@pytest.fixture
async def kit() -> EngineKit:
    return EngineKit()


def arrive(kit: EngineKit, namespace: str = "/") -> tuple[LinkClient, Socket]:
    client = kit.websocket()
    return client, client.join(namespace)


def headline(title: str, at: datetime.date | None = None, *tags: str) -> None:
    """News."""
    raise AssertionError("a declaration is never called")


def vote(question: str) -> Choice: ...


async def test_what_is_sent(kit: EngineKit) -> None:
    declared = kit.io.emits(headline)
    assert isinstance(declared, Outgoing)
    assert (declared.event, declared.function) == ("headline", headline)
    client, socket = arrive(kit)
    other, _ = arrive(kit)
    declared.emit(socket, "A")
    declared.emit(socket.broadcast, "B", datetime.date(2026, 1, 2), "x", "y")
    declared.emit(kit.io, at=None, title="C")
    declared.emit(kit.io.to(socket.id).volatile, title="D")
    assert client.heard() == ['42["headline","A"]', '42["headline","C",null]', '42["headline","D"]']
    assert other.heard() == ['42["headline","B","2026-01-02","x","y"]', '42["headline","C",null]']


async def test_arguments_by_name_alone(kit: EngineKit) -> None:
    def many(a: int, b: int = 2, c: int = 3) -> None: ...

    client, socket = arrive(kit)
    declared = kit.io.emits(many)
    declared.emit(socket, 1, c=5)
    declared.emit(socket, c=5, b=4, a=3)
    assert client.heard() == ['42["many",1,2,5]', '42["many",3,4,5]']
    with pytest.raises(TypeError):
        declared.emit(socket, 1, d=5)  # type: ignore[call-arg]


async def test_names_and_namespaces(kit: EngineKit) -> None:
    one = kit.io.emits(name="top story", namespace="/news")(headline)
    other = kit.io.of("/news").emits(headline)
    client, _ = arrive(kit, "/news")
    one.emit(kit.io.of("/news"), "x")
    other.emit(kit.io.of("/news"), "y")
    assert client.heard() == ['42/news,["top story","x"]', '42/news,["headline","y"]']
    assert set(kit.io.of("/news").listeners.declared) == {"top story", "headline"}
    assert kit.io.listeners.declared == {}


async def test_declarations_that_make_no_sense(kit: EngineKit) -> None:
    kit.io.emits(headline)
    with pytest.raises(LocalProtocolError, match='the event "headline" of / is declared already'):
        kit.io.emits(headline)
    with pytest.raises(LocalProtocolError, match="'disconnect' is reserved"):
        kit.io.emits(name="disconnect")(headline)

    def keyword(a: int, *, b: int) -> None: ...

    with pytest.raises(LocalProtocolError, match="no names for its arguments, but 'b' is keyword-only"):
        kit.io.emits(keyword)

    def ordinary(a: EngineKit) -> None: ...

    with pytest.raises(LocalProtocolError, match="of \"ordinary\": the annotation of its parameter 'a'"):
        kit.io.emits(ordinary)

    def answers(a: int) -> EngineKit: ...

    with pytest.raises(LocalProtocolError, match=r"annotation of its parameter 'return' can't be checked"):
        kit.io.emits(answers).returns()

    def never(a: "Nowhere") -> "Nowhere": ...  # type: ignore[name-defined]  # noqa: F821

    declared = kit.io.emits(never)
    with pytest.raises(LocalProtocolError, match="name 'Nowhere' is not defined"):
        declared.shape()
    with pytest.raises(LocalProtocolError, match="name 'Nowhere' is not defined"):
        declared.returns()


async def test_what_is_known_of_the_arguments(kit: EngineKit) -> None:
    shape = kit.io.emits(headline).shape()
    assert isinstance(shape, Arguments)
    assert shape.types == (str, datetime.date | None)
    assert (shape.required, shape.rest) == (1, str)


def answer(client: LinkClient, *arguments: Any) -> None:
    """Acknowledge what was heard last."""
    question = client.heard()[-1]
    assert isinstance(question, str)
    number = question[2 : question.index("[")]
    client.say(f"43{number}{orjson.dumps(arguments).decode()}")


async def test_answers_are_checked(kit: EngineKit) -> None:
    declared = kit.io.emits(vote)
    client, socket = arrive(kit)
    ack = declared.call(socket, "?")
    answer(client, {"option": 1})
    assert await ack == Choice(1)
    ack = declared.timeout(3).call(socket, question="?")
    answer(client, {"option": "1"})
    with pytest.raises(InvalidAnswer) as caught:
        await ack
    assert caught.value.details == [{"path": ["option"], "message": "Expected `int`, got `str`"}]
    assert caught.value.answers == {"option": "1"}
    assert str(caught.value) == "answer.option: Expected `int`, got `str` [returns]"
    ack = declared.call(socket, "?")
    answer(client)
    with pytest.raises(InvalidAnswer, match="answer: Expected `object`, got `null`"):
        await ack


async def test_answers_of_many(kit: EngineKit) -> None:
    declared = kit.io.emits(vote)
    clients = [arrive(kit)[0] for _ in range(3)]
    ack = declared.call(kit.io, "?")
    for index, client in enumerate(clients):
        answer(client, {"option": index})
    assert await ack == [Choice(0), Choice(1), Choice(2)]
    ack = kit.io.call("vote", "?", returns=Choice)
    for index, client in enumerate(clients):
        answer(client, {"option": index if index != 1 else "x"})
    with pytest.raises(InvalidAnswer) as caught:
        await ack
    assert caught.value.details == [{"path": [1, "option"], "message": "Expected `int`, got `str`"}]
    assert len(caught.value.answers) == 3


class Movie(TypedDict):
    title: str


@pytest.mark.parametrize(
    ("returns", "arguments", "result"),
    [
        (int, [3], 3),
        (None, [object], "as it comes"),
        (type(None), [], None),
        (int | None, [], None),
        (tuple[int, str], [1, "x"], (1, "x")),
        (list[Model], [[{"n": 1}]], [Model(n=1)]),
        (Movie, [{"title": "x"}], {"title": "x"}),
        (Any, [{"a": 1}], {"a": 1}),
    ],
    ids=str,
)
async def test_types_of_answers(kit: EngineKit, returns: Any, arguments: list[Any], result: Any) -> None:
    client, socket = arrive(kit)
    ack = socket.call("q", returns=returns)
    if result == "as it comes":
        answer(client, 1, "x")
        assert await ack == (1, "x")
    else:
        answer(client, *arguments)
        assert await ack == result


async def test_types_of_answers_that_can_not_be_checked(kit: EngineKit) -> None:
    _, socket = arrive(kit)
    with pytest.raises(LocalProtocolError, match="the call of \"q\": the annotation of its parameter 'returns'"):
        socket.call("q", returns=EngineKit)


async def test_no_answer_is_still_no_answer(kit: EngineKit) -> None:
    declared = kit.io.emits(vote)
    client, socket = arrive(kit)
    ack = declared.timeout(1).call(socket, "?")
    client.heard()
    kit.advance(2)
    with pytest.raises(AckTimeout):
        await ack
