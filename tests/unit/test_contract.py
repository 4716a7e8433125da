"""Documents of what is said: read from a server, kept by its decoders, written by commands."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, TypedDict

import jsonschema
import msgspec
import pydantic
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta

sys.path.insert(0, str(Path(__file__).parents[1]))

from madang import Server, Socket, cli
from madang.contract import Argument, read
from madang.contract.asyncapi import document
from madang.contract.schemas import REF, Schemas
from madang.contract.typescript import declarations
from madang.core.shapes import Arguments
from madang.errors import InvalidArguments
from support import contract as example

TESTS = Path(__file__).parents[1]


# ---- reading ----


def test_what_is_read() -> None:
    places = {place.name: place for place in read(example.io).places}
    assert set(places) == {"/", "/admin"}
    main = {event.name: event for event in places["/"].incoming}
    assert main["sign up"].arguments == (
        Argument("person", example.Person),
        Argument("newsletter", bool, required=False),
    )
    assert main["sign up"].description.startswith("Become a member.\n\nThe acknowledgement")
    assert main["sign up"].answer is not None
    assert main["sign up"].answer.types == (str,)
    assert main["photo"].answer is None
    assert main["photo"].arguments[1] == Argument("tags", str, required=False, rest=True)
    assert [one.type for one in main["untyped"].arguments] == [Any, Any]
    assert main["untyped"].checked  # there can be too few
    assert main["both"].answer is not None
    assert main["both"].answer.types == (int, example.Person)
    assert main["maybe"].answer is not None
    assert main["maybe"].answer.optional
    assert main["untold"].answer is not None
    assert main["untold"].answer.types == (Any,)
    assert [event.name for event in places["/"].outgoing] == ["headline", "picture", "your vote?"]
    assert places["/"].auth == [example.Login]
    assert places["/admin"].description == "For those who look after the house."


def test_dynamic_namespaces_are_described_by_their_pattern() -> None:
    io = Server()
    rooms = io.of("/rooms/{room}")

    @rooms.event
    def say(socket: Socket, text: str) -> None: ...

    [place] = read(io).places
    assert place.name == "/rooms/{room}"
    assert "interface RoomsRoomClientToServerEvents {" in declarations(read(io))
    assert document(read(io))["channels"]["rooms_room_"]["address"] == "/rooms/{room}"


# ---- schemas ----


class Leaf(msgspec.Struct):
    n: int
    tag: Literal["a", "b"] = "a"


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    leaf: Leaf | None = None


class Movie(TypedDict):
    title: str


class Model(pydantic.BaseModel):
    model_config = {"strict": True}
    n: int
    more: list[str] = []


SCALARS = st.sampled_from(
    [
        str,
        int,
        float,
        bool,
        None,
        Any,
        example.Colour,
        example.Size,
        Literal["a", 1],
        Annotated[int, Meta(ge=0, lt=10)],
        Annotated[str, Meta(min_length=1, max_length=3)],
        Leaf,
        Closed,
        Movie,
        Model,
        example.Point,
    ]
)
KINDS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),
        inner.map(lambda kind: dict[str, kind]),
        inner.map(lambda kind: Optional[kind]),  # noqa: UP045
        st.tuples(inner, inner).map(lambda kinds: tuple[kinds]),
    ),
    max_leaves=3,
)
# Whole numbers are written as such, as JavaScript does: a schema takes 1.0 for one, a decoder does not.
NUMBERS = st.integers(-3, 12) | st.floats(-5, 5).filter(lambda number: not number.is_integer())
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.sampled_from(["a", "red", "", "long"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["n", "tag", "leaf", "title", "more", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # many machines are busy
@given(st.lists(KINDS, min_size=1, max_size=2), st.lists(JSON, max_size=3), st.integers(0, 2))
def test_schemas_and_decoders_take_the_same(kinds: list[Any], values: list[Any], required: int) -> None:
    required = min(required, len(kinds))
    arguments = [Argument(f"a{index}", kind, index < required) for index, kind in enumerate(kinds)]
    schemas = Schemas(kinds)
    schema = {**schemas.arguments(arguments), "components": {"schemas": schemas.named}}
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema).is_valid(values)
    shape = Arguments(tuple(kinds), required, None)
    try:
        shape.convert("e", values)
    except InvalidArguments:
        taken = False
    else:
        taken = True
    assert taken == valid


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # many machines are busy
@given(KINDS)
def test_each_type_has_a_schema_and_a_word_in_typescript(kind: Any) -> None:
    io = Server()

    def handler(socket: Any, value: Any) -> None: ...

    handler.__annotations__["value"] = kind
    io.on("e", handler)
    text = declarations(read(io))
    assert "  e: (value: " in text
    assert "undefined" not in text
    json.dumps(document(read(io)))


def test_names_that_two_libraries_give() -> None:
    class Colour(pydantic.BaseModel):
        shade: int

    class Holder(pydantic.BaseModel):
        colour: example.Colour
        other: Colour

    schemas = Schemas([example.Colour, Holder, Colour])
    assert set(schemas.named) == {"Colour", "Holder", "Colour2"} or len(schemas.named) == 4
    assert schemas.of(example.Colour) == {"$ref": REF + "Colour"}
    own = schemas.named[schemas.of(Colour)["$ref"].removeprefix(REF)]
    assert own["properties"]["shade"]["type"] == "integer"
    holder = schemas.named[schemas.of(Holder)["$ref"].removeprefix(REF)]
    chosen = schemas.named[holder["properties"]["colour"]["$ref"].removeprefix(REF)]
    assert sorted(chosen["enum"]) == ["blue", "red"]


def test_bytes_are_binary() -> None:
    schemas = Schemas([bytes, example.Photo, list[memoryview]])
    assert schemas.of(bytes) == {"type": "string", "format": "binary"}
    assert schemas.named["Photo"]["properties"]["data"] == {"type": "string", "format": "binary"}


# ---- documents ----


def test_every_reference_leads_somewhere() -> None:
    found = document(read(example.io), "Example", "2.0.0")
    assert found["info"]["title"] == "Example"
    seen = 0

    def follow(value: Any) -> None:
        nonlocal seen
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                target: Any = found
                for step in value["$ref"].removeprefix("#/").split("/"):
                    target = target[step]
                seen += 1
            for one in value.values():
                follow(one)
        elif isinstance(value, list):
            for one in value:
                follow(one)

    follow(found)
    assert seen > 50


def test_operations() -> None:
    found = document(read(example.io))
    operations = found["operations"]
    assert operations["main.receive.sign_up"]["action"] == "receive"
    assert operations["main.receive.sign_up"]["summary"] == "Become a member."
    assert [one["$ref"] for one in operations["main.receive.sign_up"]["reply"]["messages"]] == [
        "#/channels/main/messages/receive.sign_up.answer",
        "#/channels/main/messages/invalid_arguments",
    ]
    assert operations["main.send.headline"]["action"] == "send"
    assert "reply" not in operations["main.send.headline"]
    assert found["components"]["messages"]["main.connect"]["payload"] == {"$ref": REF + "Login"}
    assert "MadangInvalidArguments" in found["components"]["schemas"]  # the example has a class of that name
    payload = found["components"]["messages"]["main.receive.sign_up"]["payload"]
    jsonschema.Draft7Validator.check_schema(payload)
    valid = jsonschema.Draft7Validator({**payload, "components": found["components"]})
    assert valid.is_valid([{"name": "Ada"}, True])
    assert not valid.is_valid([{"name": 5}])
    assert not valid.is_valid([])


def test_typescript_of_the_example() -> None:
    text = declarations(read(example.io))
    for line in (
        "export type Auth = Login;",
        "  headline: (title: string, at?: string | null) => void;",
        '  "your vote?": (options: string[], answer: (answer: 0 | 1) => void) => void;',
        "  photo: (photo: Photo, ...tags: string[]) => void;",
        "  untyped: (one: unknown, two?: unknown) => void;",
        "  채팅 메시지".replace("  ", '  "')
        + '": (text: string, answer: (answer: boolean | InvalidArguments) => void) => void;',
        'export type Colour = "blue" | "red";',
        "  /** As others see it. */",
        '  "odd name"?: number;',
        "export interface InvalidArguments2 {",
        "export interface Record2 {",
        "export type Point = [number, number?];",
        "export interface AdminClientToServerEvents {",
    ):
        assert line in text.splitlines(), line
    assert "must not end here: */" not in text
    assert declarations(read(example.io)) == text


def test_odd_names_in_typescript() -> None:
    io = Server()
    odd = TypedDict("odd", {"²": int, "ünï": int, "a-b": int, "$x": int, "1x": int})
    named = msgspec.defstruct("Half½", [("x", int)])

    def handler(socket: Socket, first: Any, second: Any) -> None: ...

    handler.__annotations__ |= {"first": odd, "second": named}
    for event in ("²x", "a\nb", "constructor", "日本", "__proto__"):
        io.on(event, handler)
    text = declarations(read(io))
    for line in ('  "²": number;', "  ünï: number;", '  "a-b": number;', "  $x: number;", '  "1x": number;'):
        assert line in text.splitlines()
    for event in ('"²x"', r'"a\nb"', "constructor", "日本", "__proto__"):
        assert f"  {event}: (first: odd, second: Half_) => void;" in text.splitlines()
    assert "export interface Half_ {" in text


def test_a_server_that_says_nothing() -> None:
    assert declarations(read(Server())).startswith("// Written by")
    assert document(read(Server()))["channels"] == {}


# ---- commands ----


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.main, arguments)


@pytest.mark.parametrize("command", ["schema", "types"])
def test_commands(command: str, tmp_path: Path) -> None:
    target = "support.contract:io"
    options = (target, "--app-dir", str(TESTS))
    printed = run(command, *options)
    assert printed.exit_code == 0, printed.output
    path = tmp_path / "made" / "events"
    checking = ("--output", str(path), "--check")
    missing = run(command, *options, *checking)
    assert missing.exit_code == 1
    assert "is not up to date; write it again without --check" in missing.output
    assert run(command, *options, "--output", str(path)).output == ""
    assert path.read_text() == printed.output
    assert run(command, *options, *checking).exit_code == 0
    path.write_text(printed.output + " ")
    assert run(command, *options, *checking).exit_code == 1
    assert path.read_text() == printed.output + " "
    assert "--check needs --output" in run(command, *options, "--check").output
    assert "name the Server that has the handlers" in run(command, "support.contract:Person", *options[1:]).output
    assert "name 'Nowhere' is not defined" in run(command, "support.contract:broken", *options[1:]).output


def test_options_of_the_schema() -> None:
    printed = run("schema", "support.contract:io", "--app-dir", str(TESTS), "--title", "마당", "--release", "3.1.4")
    assert json.loads(printed.output)["info"]["title"] == "마당"
    assert json.loads(printed.output)["info"]["version"] == "3.1.4"
