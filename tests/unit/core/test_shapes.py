"""Annotations as decoders: what is taken, what is refused, how it is told, in one pass and in two."""

import datetime
import decimal
import enum
import functools
import inspect
import json
import math
import time
import typing
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from madang.core.listeners import Handler, Listeners
from madang.core.shapes import Arguments, Checked, Later
from madang.errors import InvalidArguments, LocalProtocolError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    S = 1
    L = 2


@dataclass
class Person:
    name: str
    age: int = 0
    friends: list["Person"] = field(default_factory=list)


class Movie(TypedDict, total=False):
    title: typing.Required[str]
    year: int


class Say(msgspec.Struct, forbid_unknown_fields=True):
    room: Annotated[str, Meta(min_length=1, max_length=5)]
    text: str = ""


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    name: str


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Photo(msgspec.Struct):
    name: str
    data: bytes


class Login(pydantic.BaseModel):
    user: str
    age: int = pydantic.Field(ge=0, default=0)


class Even(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        if self.n % 2:
            raise ValueError("must be even")
        if self.n > 100:
            raise TypeError("secret of the house")
        if self.n < 0:
            raise KeyError("a bug")


UserId = NewType("UserId", int)


def shape(*kinds: Any, required: int | None = None, rest: Any = None) -> Arguments:
    return Arguments(kinds, len(kinds) if required is None else required, rest)


def of(function: Any) -> Arguments | Later | None:
    return Handler(function, leading=1, what='"e"', typed=True).shape


def both(one: Arguments, *values: Any) -> tuple[Any, ...]:
    """What both ways make of the arguments; they have to agree."""
    converted = one.convert("e", list(values))
    if one.one_pass and len(values) <= len(one.types):
        decoded = one.decode(json.dumps(["e", *values]))
        assert decoded[0] == "e"
        assert tuple(decoded[1:]) == tuple(converted)
    return tuple(converted)


def refused(one: Arguments, *values: Any) -> list[dict[str, Any]]:
    """The faults that are told; the one pass doesn't take the arguments either."""
    with pytest.raises(InvalidArguments) as caught:
        one.convert("e", list(values))
    if one.one_pass:
        with pytest.raises((msgspec.DecodeError, ValueError, KeyError)):
            one.decode(json.dumps(["e", *values]))
    assert caught.value.event == "e"
    assert caught.value.details
    return caught.value.details


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        (str, "x", "x"),
        (int, 3, 3),
        (int, 2**53, 2**53),
        (float, 3, 3.0),
        (float, 1.5, 1.5),
        (bool, True, True),
        (None, None, None),
        (list, [1, "a"], [1, "a"]),
        (dict, {"a": [1]}, {"a": [1]}),
        (list[int], [1, 2], [1, 2]),
        (set[str], ["a", "a"], {"a"}),
        (frozenset[int], [1], frozenset([1])),
        (tuple[int, str], [1, "x"], (1, "x")),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (dict[str, list[float]], {"a": [1, 2.5]}, {"a": [1.0, 2.5]}),
        (dict[int, str], {"1": "x"}, {1: "x"}),
        (Optional[int], None, None),  # noqa: UP045
        (int | None, 4, 4),
        (int | str, "x", "x"),
        (Literal["a", 3], 3, 3),
        (Colour, "red", Colour.RED),
        (Size, 2, Size.L),
        (UserId, 7, 7),
        (Annotated[int, Meta(ge=3)], 3, 3),
        (Person, {"name": "Ada"}, Person("Ada")),
        (Person, {"name": "A", "age": 1, "friends": [{"name": "B"}], "more": 1}, Person("A", 1, [Person("B")])),
        (Movie, {"title": "M"}, {"title": "M"}),
        (Say, {"room": "abc"}, Say("abc")),
        (Cat | Dog, {"type": "dog", "name": "Rex"}, Dog("Rex")),
        (Point, [1, 2], Point(1.0, 2.0)),
        (list[Person | None], [None, {"name": "x"}], [None, Person("x")]),
        (datetime.datetime, "2026-01-02T03:04:05Z", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (datetime.date, "2026-01-02", datetime.date(2026, 1, 2)),
        (datetime.timedelta, "PT90S", datetime.timedelta(seconds=90)),
        (uuid.UUID, "12345678123456781234567812345678", uuid.UUID("12345678123456781234567812345678")),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (Login, {"user": "u", "age": 3}, Login(user="u", age=3)),
        (list[Login], [{"user": "u"}], [Login(user="u")]),
        (Login | None, None, None),
        (dict[str, object], {"a": 1}, {"a": 1}),
        (list[Any], [1, {"b": None}], [1, {"b": None}]),
    ],
    ids=str,
)
def test_values_that_are_taken(kind: Any, value: Any, result: Any) -> None:
    assert both(shape(kind), value) == (result,)
    assert Checked(kind).convert(value) == result
    assert Checked(kind).faults(value) == []


@pytest.mark.parametrize(
    ("kind", "value", "path", "message"),
    [
        (int, "1", [], "Expected `int`, got `str`"),
        (int, 1.5, [], "Expected `int`, got `float`"),
        (int, True, [], "Expected `int`, got `bool`"),
        (float, "1", [], "Expected `float`, got `str`"),
        (bool, 1, [], "Expected `bool`, got `int`"),
        (str, None, [], "Expected `str`, got `null`"),
        (str, 1, [], "Expected `str`, got `int`"),
        (bytes, "aGk=", [], "Expected `bytes`, got `str`"),
        (list[int], [1, "x"], [1], "Expected `int`, got `str`"),
        (dict[str, dict[str, list[int]]], {"a": {"b": [1, 2, "x"]}}, ["*", "*", 2], "Expected `int`, got `str`"),
        (dict[int, str], {"x": "y"}, [], "Expected `int`, got `str`"),
        (Literal["a", "b"], "c", [], "Invalid enum value 'c'"),
        (Colour, "green", [], "Invalid enum value 'green'"),
        (Annotated[int, Meta(ge=3)], 2, [], "Expected `int` >= 3"),
        (Person, {"age": 1}, [], "Object missing required field `name`"),
        (Person, {"name": "x", "friends": [{"name": 1}]}, ["friends", 0, "name"], "Expected `str`, got `int`"),
        (Movie, {"title": "x", "year": "y"}, ["year"], "Expected `int`, got `str`"),
        (Say, {"room": "toolong"}, ["room"], "Expected `str` of length <= 5"),
        (Say, {"room": "a", "rom": 1}, [], "Object contains unknown field `rom`"),
        (Cat | Dog, {"type": "cow"}, ["type"], "Invalid value 'cow'"),
        (datetime.datetime, "yesterday", [], "Invalid RFC3339 encoded datetime"),
        (datetime.datetime, 5, [], "Expected `datetime`, got `int`"),
        (uuid.UUID, "x", [], "Invalid UUID"),
        (Login, {"age": 1}, ["user"], "Field required"),
        (list[Login], [{"user": "a"}, {"user": "u", "age": -1}], [1, "age"], "Input should be greater than"),
        (Login, 5, [], "Input should be a valid dictionary"),
        (Even, {"n": 3}, [], "must be even"),
        (list[Even], [{"n": 2}, {"n": 102}], [1], "The value is invalid"),
    ],
    ids=str,
)
def test_values_that_are_refused(kind: Any, value: Any, path: list[Any], message: str) -> None:
    [fault] = refused(shape(Any, kind), "first", value)
    assert fault["path"] == [1, *path]
    assert fault["message"].startswith(message)
    # What is wrong with one is told beside what is wrong with the others.
    faults = refused(shape(int, kind, str), "x", value, 3)
    assert [one["path"][0] for one in faults] == [0, 1, 2]
    # A value alone has paths of its own.
    [fault] = Checked(kind).faults(value, ("auth",))
    assert fault["path"] == ["auth", *path]


def test_every_fault_of_a_model_is_told() -> None:
    assert [one["path"] for one in refused(shape(Login), {"user": 1, "age": "x"})] == [[0, "user"], [0, "age"]]


def test_bugs_in_validators_are_no_faults_of_clients() -> None:
    with pytest.raises(KeyError):
        shape(Even).convert("e", [{"n": -2}])
    with pytest.raises(InvalidArguments) as caught:
        shape(Even).convert("e", [{"n": 102}])
    assert "secret" not in json.dumps(caught.value.answer)


def test_bytes_come_as_bytes() -> None:
    one = shape(str, Photo)
    assert not one.one_pass
    assert both(one, "x", {"name": "n", "data": b"png"}) == ("x", Photo("n", b"png"))
    assert not shape(list[dict[str, bytearray | None]]).one_pass
    assert not shape(Person, memoryview).one_pass
    assert both(shape(memoryview), b"x") == (b"x",)


# ---- how many ----


def test_too_few_and_too_many() -> None:
    one = shape(int, str, required=1)
    assert both(one, 1) == (1,)
    assert both(one, 1, "x") == (1, "x")
    assert one.convert("e", [1, "x", object()]) == (1, "x")
    with pytest.raises(msgspec.ValidationError):
        one.decode('["e",1,"x",3]')  # decoded again, and cut
    assert refused(one) == [{"path": [0], "message": "The argument is missing"}]
    assert refused(one, 1, None) == [{"path": [1], "message": "Expected `str`, got `null`"}]
    assert refused(shape(int, int, int), "x") == [
        {"path": [0], "message": "Expected `int`, got `str`"},
        {"path": [1], "message": "The argument is missing"},
        {"path": [2], "message": "The argument is missing"},
    ]


def test_any_number() -> None:
    one = shape(str, rest=int)
    assert not one.one_pass
    assert both(one, "x") == ("x",)
    assert both(one, "x", 1, 2) == ("x", 1, 2)
    assert refused(one, "x", 1, "y") == [{"path": [2], "message": "Expected `int`, got `str`"}]
    assert refused(one) == [{"path": [0], "message": "The argument is missing"}]
    assert refused(shape(rest=Person), {"name": 1}) == [{"path": [0, "name"], "message": "Expected `str`, got `int`"}]


def test_what_is_told_is_bounded() -> None:
    faults = refused(shape(*[int] * 40), *["x"] * 40)
    assert len(faults) == 10
    assert len(refused(shape(*[int] * 40))) == 10
    [fault] = refused(shape(Literal["a"]), "x\n" * 10_000)
    assert len(fault["message"]) == 200
    assert "\n" not in fault["message"]

    class Deep(pydantic.BaseModel):
        of: dict[str, "Deep"] | int

    value: Any = "x"
    for _ in range(40):
        value = {"of": {"k\n" * 500: value}}
    [*faults] = refused(shape(Deep), value)
    assert len(faults) <= 10
    assert all(len(one["path"]) <= 16 and len(json.dumps(one)) < 16 * 1500 for one in faults)
    assert all(len(step) <= 200 and "\n" not in step for one in faults for step in one["path"] if isinstance(step, str))


def test_a_model_with_very_many_faults_is_cheap() -> None:
    class Many(pydantic.BaseModel):
        numbers: list[int]

    text = json.dumps(["e", {"numbers": ["x"] * 50_000}])
    one = shape(Many)
    began = time.process_time()
    [fault] = refused(one, *json.loads(text)[1:])
    assert fault == {"path": [0], "message": "The value is invalid in 50000 places"}
    # to write all its lines down takes ten times as long
    assert time.process_time() - began < 1.0


# ---- from a signature ----


def test_nothing_is_demanded() -> None:
    for function in (
        lambda socket: None,
        lambda socket, a, b=1, *c: None,
        typing.no_type_check(wanting_the_impossible),
        anything,
        print,
    ):
        assert of(function) is None


def anything(socket: Any, a: Any, b: object = None, *c: "object") -> None: ...


def wanting_the_impossible(socket: Any, a: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
    ...


def strings(socket: "Handler", person: "Person", tags: "list[str] | None" = None) -> None: ...


def nones(socket: Any, text: str = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013


class Methods:
    def method(self, socket: Any, a: int) -> None: ...

    async def coroutine(self, socket: Any, a: int) -> None: ...

    def __call__(self, socket: Any, a: int) -> None: ...

    @staticmethod
    def static(socket: Any, a: int) -> None: ...

    @classmethod
    def of_class(cls, socket: Any, a: "int") -> None: ...


def keyword(socket: Any, a: int, b: str, *, c: int = 1) -> None: ...


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        Methods().method,
        Methods().coroutine,
        Methods(),
        Methods.static,
        Methods.of_class,
        functools.partial(keyword, b="x"),
        wrapped(Methods().method),
        lambda: None,
    ],
)
def test_kinds_of_functions(function: Any) -> None:
    if inspect.isfunction(function) and function.__name__ == "<lambda>":

        def local(socket: Any, a: int) -> None: ...

        function = local
    one = of(function)
    assert isinstance(one, Arguments)
    assert one.types[0] is int
    assert both(one, 1) == (1,)


def test_strings_and_defaults() -> None:
    one = of(strings)
    assert isinstance(one, Arguments)
    assert both(one, {"name": "x"}, ["a"]) == (Person("x"), ["a"])
    assert one.required == 1
    again = of(nones)
    assert isinstance(again, Arguments)
    assert both(again, None) == (None,)


def test_names_of_the_function_around() -> None:
    class Local(msgspec.Struct):
        n: int

    def handler(socket: Any, a: "Local", b: "list[Local]") -> None: ...

    one = Handler(handler, leading=1, what='"e"', typed=True).shape
    assert isinstance(one, Arguments)
    assert both(one, {"n": 1}, []) == (Local(1), [])


def before(socket: Any, a: "list[Defined]") -> None: ...


HANDLER = Handler(before, leading=1, what='"e"', typed=True)


class Defined(msgspec.Struct):
    n: int


def test_names_that_come_later() -> None:
    assert isinstance(HANDLER.shape, Later)
    one = HANDLER.settle()
    assert one is HANDLER.shape is HANDLER.settle()
    assert isinstance(one, Arguments)
    assert both(one, [{"n": 1}]) == ([Defined(1)],)


def test_names_that_never_come() -> None:
    handler = Handler(lambda socket, a: None, leading=1, what='"e"', typed=True)
    assert handler.shape is None

    def wanting(socket: Any, a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    handler = Handler(wanting, leading=1, what='"e"', typed=True)
    with pytest.raises(LocalProtocolError, match=r"wanting can't handle \"e\": name 'Nowhere' is not defined, which"):
        handler.settle()


class Ordinary: ...


@pydantic.dataclasses.dataclass
class Confused:
    a: int


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Ordinary, "Ordinary is an ordinary class"),
        (list[dict[str, Ordinary]], "Ordinary is an ordinary class"),
        (Confused, "Confused is a dataclass of pydantic; make it a BaseModel"),
        (Login | int, "Type unions containing a custom type"),
        (Person | Say, "Type unions may not contain more than one"),
        (Callable[[], int], "an ordinary class"),
        (complex, "complex is an ordinary class"),
        (dict[tuple[int, int], list[Ordinary]], ""),
    ],
    ids=str,
)
def test_annotations_that_can_not_be_checked(kind: Any, told: str) -> None:
    def handler(socket: Any, good: int, bad: Any) -> None: ...

    handler.__annotations__["bad"] = kind
    with pytest.raises(LocalProtocolError) as caught:
        of(handler)
    message = str(caught.value)
    assert "handler can't handle \"e\": the annotation of its parameter 'bad' can't be checked (" in message
    assert told in message
    assert "or Any to take it as it comes" in message


def test_the_same_types_are_compiled_once() -> None:
    def one(socket: Any, a: int, b: list[str]) -> None: ...

    def other(socket: Any, c: int, d: "list[str]") -> None: ...

    assert of(one) is of(other)
    assert of(one) is not None


def test_which_shapes_parsers_are_offered() -> None:
    listeners = Listeners()
    listeners.add("plain", lambda socket, a: None)
    for name in ("typed", "채팅", 'quo"te', "back\\slash"):
        listeners.add(name, Methods().method)
    listeners.add("binary", lambda_with(bytes))
    assert set(listeners.shapes) == {"typed", "채팅"}
    listeners.remove("typed", None)
    assert set(listeners.shapes) == {"채팅"}


def lambda_with(kind: Any) -> Any:
    def handler(socket: Any, a: Any) -> None: ...

    handler.__annotations__["a"] = kind
    return handler


# ---- properties ----

SCALARS = st.sampled_from([str, int, float, bool, None, Any, Colour, Size, Literal["a", 1], Annotated[int, Meta(ge=0)]])


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        inner.map(lambda kind: list[kind]),
        inner.map(lambda kind: dict[str, kind]),
        inner.map(lambda kind: Optional[kind]),  # noqa: UP045
        st.tuples(inner, inner).map(lambda kinds: tuple[kinds]),
        st.tuples(inner, inner).map(
            lambda kinds: msgspec.defstruct("Made", [("first", kinds[0]), ("second", kinds[1], None)])
        ),
    )


KINDS = st.recursive(SCALARS | st.sampled_from([Person, Movie, Say, Point, Login]), containers, max_leaves=4)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "red", "", "x\ny", "한"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "age", "title", "room", "user", "first", "second", "x"]), inner)
    ),
    max_leaves=6,
)


def check_details(error: InvalidArguments, count: int) -> None:
    assert error.details
    for detail in error.details:
        assert detail["path"][0] in range(count)
        assert detail["message"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # many machines are busy
@given(st.lists(KINDS, min_size=1, max_size=3), st.lists(JSON, max_size=4), st.integers(0, 3))
def test_one_pass_and_two_agree(kinds: list[Any], values: list[Any], required: int) -> None:
    one = Arguments(tuple(kinds), min(required, len(kinds)), None)
    try:
        converted = tuple(one.convert("e", values))
    except InvalidArguments as error:
        check_details(error, max(len(values), one.required))
        with pytest.raises(ValueError):  # noqa: PT011  # msgspec.ValidationError is one
            one.decode(json.dumps(["e", *values]))
    else:
        decoded = one.decode(json.dumps(["e", *values[: len(kinds)]]))
        assert tuple(decoded[1:]) == converted
        assert list(map(repr, decoded[1:])) == list(map(repr, converted))
        assert not any(isinstance(value, float) and math.isnan(value) for value in converted)
