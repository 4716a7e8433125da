"""Types as JSON Schema, of which AsyncAPI documents and TypeScript are made.

`msgspec` describes its own types, pydantic its models; here both come under one roof of names. The dialect is
2020-12. Bytes are strings of the format "binary": they travel as attachments.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from madang.contract import Answer, Argument

__all__ = ["INVALID_ARGUMENTS", "REF", "Schemas", "each"]

#: Where named schemas stand in a document.
REF: Final = "#/components/schemas/"
_PYDANTIC: Final = "#/pydantic/"

#: What a client gets whose arguments are invalid.
INVALID_ARGUMENTS: Final[dict[str, Any]] = {
    "title": "InvalidArguments",
    "description": "The arguments were not what the handler declares; it did not see them.",
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {"const": "invalid_arguments"},
                "message": {"type": "string"},
                "event": {"type": "string"},
                "details": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "path": {"type": "array", "items": {"type": ["integer", "string"]}},
                            "message": {"type": "string"},
                        },
                        "required": ["path", "message"],
                    },
                },
            },
            "required": ["code", "message", "event", "details"],
        }
    },
    "required": ["error"],
}


class Schemas:
    """The schemas of types.

    Args:
        kinds: all types that will be asked for.

    Attributes:
        named: the schemas that have names: classes.
    """

    def __init__(self, kinds: Iterable[Any]) -> None:
        kinds = list(kinds)
        models: dict[str, Any] = {}

        def foreign(kind: Any) -> dict[str, Any]:
            if kind is object:
                return {}
            key = f"{kind.__module__}.{kind.__qualname__}"
            models[key] = kind
            return {"$ref": _PYDANTIC + key}

        schemas, named = msgspec.json.schema_components(kinds, schema_hook=foreign, ref_template=REF + "{name}")
        self.named: dict[str, Any] = {name: _adapted(schema) for name, schema in named.items()}
        for schema in self.named.values():
            if "description" in schema:  # a docstring, which Python takes the indentation off only since 3.13
                schema["description"] = inspect.cleandoc(schema["description"])
        homes = self._take_in(models) if models else {}
        self._schemas: list[dict[str, Any]] = [_moved(_adapted(schema), homes) for schema in schemas]
        self.named = {name: _moved(schema, homes) for name, schema in self.named.items()}
        self._kinds = kinds

    def _take_in(self, models: dict[str, Any]) -> dict[str, str]:
        """Add the definitions of pydantic's models; give where each of its references leads."""
        pydantic: Any = sys.modules["pydantic.json_schema"]
        wanted = [(model, "validation") for model in models.values()]
        found, document = pydantic.models_json_schema(wanted, ref_template=_PYDANTIC + "{model}")
        definitions = {name: _adapted(schema) for name, schema in document.get("$defs", {}).items()}
        homes: dict[str, str] = {}
        for name, schema in definitions.items():
            home = name
            number = 1
            while home in self.named and not _alike(self.named[home], schema):
                number += 1
                home = f"{name}{number}"
            homes[_PYDANTIC + name] = REF + home
            self.named.setdefault(home, schema)
        for key, model in models.items():
            homes[_PYDANTIC + key] = homes[found[model, "validation"]["$ref"]]
        return homes

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of one of the types."""
        # Types can be equal and yet differ, as Literal[1] and Literal[True] do; so the same object is looked for first.
        for index, one in enumerate(self._kinds):
            if one is kind:
                return self._schemas[index]
        return self._schemas[self._kinds.index(kind)]

    def arguments(self, arguments: Iterable[Argument]) -> dict[str, Any]:
        """The schema of an event's arguments: an array. More of them than are named are no error."""
        several = [one for one in arguments if not one.rest]
        rest = [one for one in arguments if one.rest]
        schema: dict[str, Any] = {"type": "array", "minItems": sum(one.required for one in several)}
        if several:
            schema["prefixItems"] = [{**self.of(one.type), "title": one.name} for one in several]
        if rest:
            schema["items"] = self.of(rest[0].type)
        return schema

    def answer(self, answer: Answer) -> dict[str, Any]:
        """The schema of an acknowledgement's arguments: an array."""
        schema: dict[str, Any] = {"type": "array", "minItems": 0 if answer.optional else len(answer.types)}
        if answer.types:
            schema["prefixItems"] = [self.of(kind) for kind in answer.types]
        return schema


def each(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A schema with all schemas in it changed, from the inside out."""
    if isinstance(schema, list):
        return [each(one, change) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "patternProperties") and isinstance(value, dict):
            inner[key] = {name: each(one, change) for name, one in value.items()}
        elif key in ("enum", "const", "default", "examples", "required"):
            inner[key] = value
        else:
            inner[key] = each(value, change)
    return change(inner)


def _adapted(schema: Any) -> Any:
    """A schema as things are on the wire, and as they are taken."""

    def change(one: dict[str, Any]) -> dict[str, Any]:
        if one.get("contentEncoding") == "base64":
            one = {key: value for key, value in one.items() if key not in ("contentEncoding", "pattern")}
            one["format"] = "binary"
        one.pop("uniqueItems", None)  # of what becomes a set, copies are taken
        one.pop("discriminator", None)  # OpenAPI's; the tags themselves say it
        return one

    return each(schema, change)


def _moved(schema: Any, homes: dict[str, str]) -> Any:
    def change(one: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in one:
            one["$ref"] = homes.get(one["$ref"], one["$ref"])
        return one

    return each(schema, change)


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two schemas of the same name say the same: an enum that both libraries have described."""
    enums = one.get("enum"), other.get("enum")
    return None not in enums and sorted(map(repr, enums[0])) == sorted(map(repr, enums[1]))  # type: ignore[arg-type]
