"""A server of whose events documents are written: one of each kind of type and of each kind of event."""

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import pydantic
from msgspec import Meta, Struct, field

from madang import Namespace, Server, Socket

io = Server()


class Colour(enum.Enum):
    """A colour of the flag."""

    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass
class Person:
    """Somebody.

    With friends, and a comment that must not end here: */
    """

    name: Annotated[str, Meta(min_length=1, description="As others see it.")]
    age: int = 0
    friends: "list[Person] | None" = None


class Movie(TypedDict, total=False):
    title: str
    year: int


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Photo(Struct):
    name: str
    data: bytes
    colour: Colour = Colour.RED
    odd: int = field(default=0, name="odd name")


class Cat(Struct, tag="cat"):
    lives: int


class Dog(Struct, tag="dog"):
    name: str


class Model(pydantic.BaseModel):
    """A model of pydantic."""

    n: int = pydantic.Field(ge=0, description="How many.")
    colour: Colour
    inner: "list[Model]" = []
    either: int | str | None = None


class Login(Struct):
    token: str
    language: Literal["en", "ko"] = "en"


class InvalidArguments(Struct):
    """A class that has the name of one of ours."""

    reason: str


class Record(Struct):
    """A class that has the name of one of TypeScript's."""

    kept: bool


class Buggy:
    """Nothing that can be described."""


@io.on("sign up")
async def sign_up(socket: Socket, person: Person, newsletter: bool = False, *, auth: Login) -> str:
    """Become a member.

    The acknowledgement is a greeting.
    """
    return f"Welcome, {person.name}"


@io.event
def photo(socket: Socket, photo: Photo, *tags: str) -> None: ...


@io.event
def both(socket: Socket, model: Model, when: datetime.datetime, number: uuid.UUID) -> tuple[int, Person]:
    return model.n, Person("Ada")


@io.event
def maybe(
    socket: Socket, scores: dict[str, int | None], pair: tuple[int, str], word: Literal["a", 1] = "a"
) -> Person | None:
    return None


@io.event
def add(socket: Socket, *numbers: float) -> float:
    return sum(numbers)


@io.event
def pets(socket: Socket, pet: Cat | Dog, size: Size, sizes: set[Size], price: decimal.Decimal) -> list[Point]:
    return []


@io.event
def names(
    socket: Socket, invalid: InvalidArguments, record: Record, default: int, *, io: Server, other: int = 1
) -> dict[str, Any]:
    return {}


@io.event
def untyped(socket, one, two=1):  # type: ignore[no-untyped-def]
    return one


@io.event
def untold(socket: Socket, what: Any) -> Buggy:
    return Buggy()


@io.on("채팅 메시지")
def korean(socket: Socket, text: str) -> bool:
    return True


@io.emits
def headline(title: str, at: datetime.datetime | None = None) -> None:
    """News for the front page."""


@io.emits(name="your vote?")
def vote(options: list[str]) -> Literal[0, 1]:
    raise NotImplementedError


@io.emits
def picture(photo: Photo, movie: Movie, *points: Point) -> None: ...


class Admin(Namespace):
    """For those who look after the house."""

    def on_kick(self, socket: Socket, who: str, *, auth: Login) -> bool:
        return True


io.register(Admin("/admin"))
silent = io.of("/silent")  # nothing is said there
broken = Server()


@broken.event
def unresolved(socket: Socket, what: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
