"""The contract as TypeScript: the interfaces that `socket.io-client` takes for typed events.

    const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();

Each namespace has two interfaces, for either direction; classes become interfaces and types of their names.
Acknowledgements are the last argument of an event. Dates, UUIDs and decimals are strings, as JSON has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from madang.contract import Answer, Argument, Contract, Event
from madang.contract.schemas import REF, Schemas

__all__ = ["declarations"]

_HEADER: Final = """\
// Written by `madang types`. Changes here are lost when it runs again.
"""
_INVALID: Final = """\
/** What an event answers whose arguments are not what the server expects. */
export interface InvalidArguments {
  error: {
    code: "invalid_arguments";
    message: string;
    event: string;
    /** A path begins with the number of the argument. */
    details: { path: (string | number)[]; message: string }[];
  };
}
"""
_BINARY: Final = """\
/** Bytes: a browser receives an ArrayBuffer, Node.js a Buffer, which is a Uint8Array; either may be sent. */
export type Binary = ArrayBuffer | Uint8Array;
"""
#: Words that can't be names of parameters or types, and types that everyone has.
_WORDS: Final = """
abstract any arguments as async await boolean break case catch class const continue debugger declare default
delete do else enum eval export extends false finally for from function get if implements import in instanceof
interface is keyof let module namespace never new null number object of package private protected public
readonly require return set static string super switch symbol this throw true try type typeof undefined unique
unknown var void while with yield bigint answer Array ArrayBuffer Uint8Array Record Binary InvalidArguments
"""
_RESERVED: Final = frozenset(_WORDS.split())


def declarations(contract: Contract) -> str:
    """Write the interfaces of a contract's events, and of all types in them.

    Args:
        contract: what `read` found.

    Returns:
        The text of a module.

    Example:
        ```python
        Path("events.ts").write_text(declarations(read(io)))
        ```
    """
    return _Module(contract).write()


class _Module:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._schemas = Schemas(contract.types())
        self._taken = set(_RESERVED)
        self._binary = False
        # The interfaces that programs import have their names whatever the classes are called.
        self._prefixes = self._name_places()
        self._names = {name: self._claim(_identifier(name)) for name in self._schemas.named}

    def _name_places(self) -> list[str]:
        prefixes: list[str] = []
        for place in self._contract.places:
            words = re.findall(r"\w+", place.name)
            prefix = "".join(word[:1].upper() + word[1:] for word in words)
            prefix = f"_{prefix}" if prefix[:1].isdigit() else prefix
            number, found = 1, prefix
            while found in prefixes:
                number += 1
                found = f"{prefix}{number}"
            prefixes.append(found)
            self._taken |= {f"{found}{kind}" for kind in ("ServerToClientEvents", "ClientToServerEvents", "Auth")}
        return prefixes

    def _claim(self, name: str) -> str:
        number, found = 1, name
        while found in self._taken:
            number += 1
            found = f"{name}{number}"
        self._taken.add(found)
        return found

    def write(self) -> str:
        parts: list[str] = []
        for place, prefix in zip(self._contract.places, self._prefixes, strict=True):
            where = f"the namespace {place.name}" if prefix else "the main namespace"
            if place.auth:
                auth = " & ".join(self._type(self._schemas.of(kind), inside=True) for kind in place.auth)
                parts.append(f"/** What clients of {where} give as `auth`. */\nexport type {prefix}Auth = {auth};\n")
            for kind, events in (("ServerToClient", place.outgoing), ("ClientToServer", place.incoming)):
                who = "the server sends to clients" if kind == "ServerToClient" else "clients send to the server"
                lines = [f"/** What {who} in {where}. */", f"export interface {prefix}{kind}Events {{"]
                for event in events:
                    lines += _comment(event.description, "  ")
                    lines.append(f"  {_property(event.name)}: {self._event(event)};")
                lines.append("}\n")
                parts.append("\n".join(lines))
        named = [self._named(name, schema) for name, schema in self._schemas.named.items()]
        checked = any(event.checked and event.answer for place in self._contract.places for event in place.incoming)
        shared = [_INVALID] if checked else []
        if self._binary:
            shared.append(_BINARY)
        return "\n".join([_HEADER, *parts, *named, *shared])

    # Events

    def _event(self, event: Event) -> str:
        """A function type. Where an acknowledgement follows what may be left out, each number of arguments is told."""
        arguments = event.arguments
        if event.answer is None:
            return f"({', '.join(self._parameters(arguments))}) => void"
        answer = self._answer(event.answer, event.checked)
        optional = [one for one in arguments if not one.required and not one.rest]
        rest = any(one.rest for one in arguments)
        if not optional and not rest:
            return f"({', '.join([*self._parameters(arguments), f'answer: {answer}'])}) => void"
        several = [one for one in arguments if not one.rest]
        shapes = []
        for count in range(len(several) - len(optional), len(several) + 1):
            taken = [Argument(one.name, one.type) for one in several[:count]]
            if rest and count == len(several):
                taken.append(arguments[-1])
            shapes.append(f"[{', '.join([*self._parameters(taken), f'answer: {answer}'])}]")
        return f"(...args: {' | '.join(shapes)}) => void"

    def _parameters(self, arguments: Sequence[Argument]) -> list[str]:
        written: list[str] = []
        names: set[str] = set()
        for one in arguments:
            name = _identifier(one.name)
            while name in names or name in _RESERVED:
                name += "_"
            names.add(name)
            kind = self._type(self._schemas.of(one.type), inside=one.rest)
            if one.rest:
                written.append(f"...{name}: {kind}[]")
            else:
                written.append(f"{name}{'' if one.required else '?'}: {kind}")
        return written

    def _answer(self, answer: Answer, checked: bool) -> str:
        kinds = [self._type(self._schemas.of(kind)) for kind in answer.types]
        if len(kinds) == 1:
            kind = f"{kinds[0]} | InvalidArguments" if checked and kinds[0] != "unknown" else kinds[0]
            return f"(answer{'?' if answer.optional else ''}: {kind}) => void"
        plain = f"[{', '.join(kinds)}]"
        return f"(...answer: {plain} | [InvalidArguments]) => void" if checked else f"(...answer: {plain}) => void"

    # Types

    def _named(self, name: str, schema: dict[str, Any]) -> str:
        comment = _comment(schema.get("description", ""))
        if schema.get("type") == "object" and "properties" in schema:
            body = self._fields(schema, "")
            return "\n".join([*comment, f"export interface {self._names[name]} {body}", ""])
        return "\n".join([*comment, f"export type {self._names[name]} = {self._type(schema)};", ""])

    def _type(self, schema: Any, inside: bool = False, indent: str = "") -> str:
        """What a value of a schema is; `inside` something that binds tighter than a union."""
        options = self._options(schema, indent)
        if len(options) == 1:
            return options[0]
        joined = " | ".join(options)
        return f"({joined})" if inside else joined

    def _options(self, schema: Any, indent: str) -> list[str]:
        if not isinstance(schema, dict):
            return ["never" if schema is False else "unknown"]
        if "$ref" in schema:
            return [self._names[schema["$ref"].removeprefix(REF)]]
        if "const" in schema:
            return [json.dumps(schema["const"], ensure_ascii=False)]
        if "enum" in schema:
            return [json.dumps(value, ensure_ascii=False) for value in schema["enum"]] or ["never"]
        for word in ("anyOf", "oneOf"):
            if word in schema:
                found = [option for one in schema[word] for option in self._options(one, indent)]
                return ["unknown"] if "unknown" in found else list(dict.fromkeys(found))
        if "allOf" in schema:
            return [" & ".join(self._type(one, True, indent) for one in schema["allOf"])]
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return [option for kind in kinds for option in self._options({**schema, "type": kind}, indent)]
        return [self._simple(kinds, schema, indent)]

    def _simple(self, kind: str | None, schema: dict[str, Any], indent: str) -> str:
        match kind:
            case "string":
                if schema.get("format") == "binary":
                    self._binary = True
                    return "Binary"
                return "string"
            case "integer" | "number":
                return "number"
            case "boolean" | "null":
                return kind
            case "array":
                return self._array(schema, indent)
            case "object":
                if "properties" in schema:
                    return self._fields(schema, indent)
                values = schema.get("additionalProperties", True)
                return f"Record<string, {self._type(values, indent=indent)}>"
        return "unknown"

    def _array(self, schema: dict[str, Any], indent: str) -> str:
        items = schema.get("items", True)
        first = schema.get("prefixItems")
        if first is None:
            return "[]" if schema.get("maxItems") == 0 else f"{self._type(items, True, indent)}[]"
        required = schema.get("minItems", 0)
        written = [
            self._type(one, index >= required, indent) + ("" if index < required else "?")
            for index, one in enumerate(first)
        ]
        if "items" in schema and items is not False:
            written.append(f"...{self._type(items, True, indent)}[]")
        return f"[{', '.join(written)}]"

    def _fields(self, schema: dict[str, Any], indent: str) -> str:
        deeper = indent + "  "
        required = schema.get("required", ())
        lines = ["{"]
        for name, one in schema["properties"].items():
            lines += _comment(one.get("description", "") if isinstance(one, dict) else "", deeper)
            lines.append(
                f"{deeper}{_property(name)}{'' if name in required else '?'}: {self._type(one, False, deeper)};"
            )
        lines.append(indent + "}")
        return "{}" if len(lines) == 2 else "\n".join(lines)


def _is_name(text: str) -> bool:
    """Whether a text is an identifier; Python's are those of JavaScript, which has the dollar sign besides."""
    return text.replace("$", "_").isidentifier()


def _identifier(name: str) -> str:
    words = re.sub(r"[^\w$]+", "_", name) or "_"
    # Of what `\w` means, some can't be in a name, as "½"; and some can't begin one, as a digit.
    found = "".join(letter if _is_name(f"_{letter}") else "_" for letter in words)
    return found if _is_name(found) else f"_{found}"


def _property(name: str) -> str:
    return name if _is_name(name) else json.dumps(name, ensure_ascii=False)


def _comment(text: str, indent: str = "") -> Iterable[str]:
    lines = [line.rstrip() for line in text.replace("*/", "*\\/").strip().split("\n")]
    if lines == [""]:
        return []
    if len(lines) == 1:
        return [f"{indent}/** {lines[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]
