"""Annotations as decoders: what the arguments of an event must be, and what exactly is wrong with those that aren't.

`msgspec` does the work. JSON text is decoded and checked in one pass (`Arguments.decode`); values that another parser
has decoded, or that hold attachments, are converted (`Arguments.convert`). Both keep the same rules: types are
strict, so that "1" is no number; a whole number may stand for a float; bytes come as bytes, and as base64 only from
clients that have nothing else.

A list of types is compiled once, whatever number of handlers has it. Annotations whose names can't be resolved yet,
because they are defined further down, are resolved when the server starts, or with the first event.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Literal, Optional, Union, get_args, get_origin

import msgspec
from msgspec.structs import astuple

from madang.errors import InvalidArguments, LocalProtocolError
from madang.parsers import Shape

__all__ = [
    "Arguments",
    "Checked",
    "Fault",
    "Later",
    "checked",
    "frame_locals",
    "missing",
    "nodes",
    "parameters_of",
    "resolve",
    "shape_of",
    "supported",
    "unresolved",
]

#: What is wrong with a value: where, and what.
Fault = dict[str, Any]

#: How much is told about bad arguments, which cost the server no more however bad they are.
_MAX_FAULTS: Final = 10
_MAX_LISTED: Final = 100
_MAX_MESSAGE: Final = 200
_MAX_PATH: Final = 16

_BINARY: Final = (bytes, bytearray, memoryview)
#: An argument that did not come.
_ABSENT: Final[Any] = type("_Absent", (), {"__slots__": (), "__repr__": lambda self: "ABSENT"})()
#: "Expected `int`, got `str` - at `$[0].age`", or "at `key` in `$[0]`" for the key of a dict.
_PLACE = re.compile(r"(?P<message>.*) - at `(?:key` in `)?\$(?P<path>[^`]*)`", re.DOTALL)
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.([^.\[]+)")
_INSPECTED: Final = (msgspec.inspect.Type, msgspec.inspect.Field)


class Checked:
    """One value of one type.

    Attributes:
        type: what it must be.
    """

    __slots__ = ("_row", "type")

    def __init__(self, kind: Any) -> None:
        self.type = kind
        # `convert` compiles each type anew, but remembers a struct's.
        self._row = msgspec.defstruct("Row", [("value", kind)], array_like=True)

    def convert(self, value: Any, *, base64: bool = False) -> Any:
        """Check a value.

        Args:
            value: the value.
            base64: whether bytes come as base64.

        Raises:
            msgspec.ValidationError: it is something else.
        """
        return _convert((value,), self._row, base64).value

    def faults(self, value: Any, where: tuple[int | str, ...] = (), *, base64: bool = False) -> list[Fault]:
        """Find out what is wrong with a value; nothing if it is right.

        Args:
            value: the value.
            where: where it stands, to begin the paths with.
            base64: whether bytes come as base64.
        """
        try:
            self.convert(value, base64=base64)
        except msgspec.ValidationError as error:
            return _faults(error, where)
        return []


class Arguments(Shape):
    """The types of an event's arguments.

    Attributes:
        types: of the arguments by position.
        required: how many there must be.
        rest: the type of those that follow, None where none do.
        one_pass: whether JSON can be decoded straight into them.
    """

    __slots__ = ("_each", "_rest", "_row", "one_pass", "required", "rest", "types")

    def __init__(self, kinds: tuple[Any, ...], required: int, rest: Any) -> None:
        self.types = kinds
        self.required = required
        self.rest = rest
        self._each = [Checked(kind) for kind in kinds]
        self._rest = None if rest is None else Checked(types.GenericAlias(list, (rest,)))
        fields = [(f"a{index}", kind) for index, kind in enumerate(kinds[:required])]
        optional = [(f"a{index}", kind, _ABSENT) for index, kind in enumerate(kinds[required:], required)]
        self._row = msgspec.defstruct("Row", [*fields, *optional], array_like=True)
        binary = _check((*kinds, *([] if rest is None else [rest])))
        # A JSON string for bytes would be taken as base64; a struct can't end in any number of values.
        self.one_pass = rest is None and not binary
        whole: Any
        if optional:
            whole = msgspec.defstruct(
                "Event", [("event", str), *fields, *optional], array_like=True, forbid_unknown_fields=True
            )
        else:
            whole = types.GenericAlias(tuple, (str, *kinds))
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(whole, dec_hook=_foreign)
        super().__init__((lambda text: _present(decoder.decode(text))) if optional else decoder.decode)

    def convert(self, event: str, values: Sequence[Any], *, base64: bool = False) -> Sequence[Any]:
        """Check arguments that were decoded before.

        Args:
            event: the event, for the error.
            values: plain values, of which those that nobody takes are cut.
            base64: whether bytes come as base64.

        Raises:
            InvalidArguments: they are something else.
        """
        count = len(self.types)
        if len(values) < self.required:
            raise InvalidArguments(event, self._faults(values, 0, base64))
        try:
            taken = _present(_convert(values[:count], self._row, base64))
        except msgspec.ValidationError as error:
            # The first that is wrong is known, those before it are right, and those behind it are looked at now.
            first = _first_step(error)
            faults = [] if first is None else _faults(error, (first,))
            faults += self._faults(values, 0 if first is None else first + 1, base64)
            raise InvalidArguments(event, faults[:_MAX_FAULTS]) from error
        if self._rest is None or len(values) <= count:
            return taken
        try:
            return (*taken, *self._rest.convert(values[count:], base64=base64))
        except msgspec.ValidationError as error:
            raise InvalidArguments(event, self._faults(values, count, base64)) from error

    def _faults(self, values: Sequence[Any], start: int, base64: bool) -> list[Fault]:
        """What is wrong with the arguments from number `start` on."""
        faults: list[Fault] = []
        for index, (checked, value) in enumerate(zip(self._each[start:], values[start:], strict=False), start):
            faults += checked.faults(value, (index,), base64=base64)
        if self._rest is not None:
            count = len(self.types)
            for fault in self._rest.faults(values[count:], base64=base64):
                first, *others = fault["path"] or [0]
                place = first + count if isinstance(first, int) else count
                faults.append({**fault, "path": [place, *others]})
        faults += missing(len(values), self.required)
        return faults[:_MAX_FAULTS]


class Later:
    """The arguments of a handler some of whose annotations could not be resolved yet."""

    __slots__ = ("_settle",)

    def __init__(self, settle: Callable[[], Arguments | None]) -> None:
        self._settle = settle

    def settle(self) -> Arguments | None:
        """Resolve them now.

        Raises:
            LocalProtocolError: they can't be resolved; the message tells what to do.
        """
        return self._settle()


def missing(count: int, required: int) -> list[Fault]:
    """The faults of arguments of which there are too few."""
    return [
        {"path": [index], "message": "The argument is missing"}
        for index in range(count, min(required, count + _MAX_FAULTS))
    ]


def _present(row: Any) -> tuple[Any, ...]:
    values: tuple[Any, ...] = astuple(row)
    while values and values[-1] is _ABSENT:
        values = values[:-1]
    return values


def _convert(value: Any, kind: Any, base64: bool = False) -> Any:
    native = None if base64 else _BINARY
    return msgspec.convert(value, kind, builtin_types=native, str_keys=True, dec_hook=_foreign)


def _foreign(kind: Any, value: Any) -> Any:
    """A value of a class that `msgspec` doesn't know: a model of pydantic checks itself."""
    if kind is object:
        return value
    try:
        return kind.model_validate(value)
    except ValueError as error:
        # Its text has lines for each of a hundred thousand faults; nobody is to write them down.
        raise _ModelRefused(error) from None


class _ModelRefused(ValueError):
    """A model of pydantic does not take a value; `args` has its error."""

    def __str__(self) -> str:
        return "The value is invalid"


# What is wrong


def _first_step(error: msgspec.ValidationError) -> int | None:
    """The number of the argument that an error is about."""
    found = _PLACE.fullmatch(str(error))
    step = _STEP.match(found["path"]) if found else None
    return int(step[1]) if step is not None and step[1] and step[1].isdigit() else None


def _faults(error: msgspec.ValidationError, where: tuple[int | str, ...]) -> list[Fault]:
    found = _PLACE.fullmatch(str(error))
    message, path = (found["message"], found["path"]) if found else (str(error), "")
    # Rows are lists of one value, whose place is that of the value.
    steps: list[int | str] = [
        "*" if index == "..." else int(index) if index else name for index, name in _STEP.findall(path)
    ][1:]
    place = [*where, *steps]
    cause = error.__cause__
    if isinstance(cause, TypeError):
        # A mistake in a validator, whose words are not for the client; the log has them.
        return [_fault(place, "The value is invalid")]
    if isinstance(cause, _ModelRefused):
        refusal: Any = cause.args[0]
        if not hasattr(refusal, "error_count"):
            return [_fault(place, str(refusal))]
        if refusal.error_count() > _MAX_LISTED:  # the list can't be had in parts
            return [_fault(place, f"The value is invalid in {refusal.error_count()} places")]
        details = refusal.errors(include_url=False, include_context=False, include_input=False)
        return [_fault([*place, *detail["loc"]], detail["msg"]) for detail in details[:_MAX_FAULTS]]
    return [_fault(place, message)]


def _fault(path: Sequence[int | str], message: str) -> Fault:
    return {"path": [_clean(step) for step in path[:_MAX_PATH]], "message": _clean(message)}


def _clean(text: Any) -> Any:
    """Texts can hold what the client said: cut, and on one line."""
    if not isinstance(text, str):
        return text
    cut = text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)


# From a signature to a shape


def shape_of(
    function: Callable[..., Any], parameters: Sequence[inspect.Parameter], what: str
) -> Arguments | Later | None:
    """What the annotations of a handler's parameters demand.

    Args:
        function: the handler.
        parameters: those that the event's arguments go to.
        what: the handler and its event, for messages.

    Returns:
        None where nothing is demanded: without annotations, or with `Any` and `object` alone.

    Raises:
        LocalProtocolError: an annotation says what can't be decoded; the message tells what to do.
    """
    if getattr(function, "__no_type_check__", False) or all(one.annotation is one.empty for one in parameters):
        return None
    try:
        return _shape(function, parameters, what, {})
    except NameError:
        around = frame_locals()
    try:
        return _shape(function, parameters, what, around)
    except NameError:
        return Later(functools.partial(_settled, function, parameters, what, around))


def _settled(
    function: Callable[..., Any], parameters: Sequence[inspect.Parameter], what: str, around: dict[str, Any]
) -> Arguments | None:
    try:
        return _shape(function, parameters, what, around)
    except NameError as error:
        raise unresolved(what, error) from None


def unresolved(what: str, error: NameError) -> LocalProtocolError:
    """What to say of an annotation that names what isn't there."""
    return LocalProtocolError(
        f"{what}: {error}, which an annotation names; import or define it where the module runs, not under "
        "TYPE_CHECKING, or switch the checks of this handler off with @typing.no_type_check"
    )


def _shape(
    function: Callable[..., Any], parameters: Sequence[inspect.Parameter], what: str, around: dict[str, Any]
) -> Arguments | None:
    kinds: list[Any] = []
    required = 0
    rest: Any = None
    for parameter in parameters:
        kind = resolve(function, parameter.annotation, around)
        if parameter.default is None:
            kind = Any if kind is Any else Optional[kind]  # noqa: UP045  # kinds are values here
        _check_alone(kind, what, parameter.name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = kind
        else:
            kinds.append(kind)
            required += parameter.default is parameter.empty
    if all(kind is Any for kind in (*kinds, *([] if rest is None else [rest]))):
        return None
    try:
        return _compiled(tuple(kinds), required, rest)
    except TypeError:  # an annotation that has no hash
        return Arguments(tuple(kinds), required, rest)


@functools.lru_cache(4096)
def _compiled(kinds: tuple[Any, ...], required: int, rest: Any) -> Arguments:
    return Arguments(kinds, required, rest)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of a function; None where it is written in C and doesn't tell."""
    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            signature = inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
        else:
            signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    return list(signature.parameters.values())


def resolve(function: Callable[..., Any], annotation: Any, around: dict[str, Any] | None = None) -> Any:
    """What an annotation of a function means.

    Raises:
        NameError: it names what isn't there, or isn't there yet.
    """
    if annotation is inspect.Parameter.empty:
        return Any
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    inner = getattr(inner, "__func__", inner)
    if not hasattr(inner, "__globals__"):
        inner = getattr(type(inner).__call__, "__func__", type(inner).__call__)
    names = getattr(inner, "__globals__", {})
    near = dict(around or {})
    code = getattr(inner, "__code__", None)
    for name, cell in zip(code.co_freevars if code else (), getattr(inner, "__closure__", None) or (), strict=False):
        try:
            near[name] = cell.cell_contents
        except ValueError:
            pass  # not bound yet
    home = types.SimpleNamespace(__annotations__={"value": annotation})
    hints = typing.get_type_hints(home, globalns=names, localns=near, include_extras=True)
    return _known(hints["value"])


def _known(kind: Any) -> Any:
    """An annotation in which `object` means the same as `Any`."""
    if kind is object:
        return Any
    if kind is type(None):
        return None
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None or origin is Literal or not arguments:
        return kind
    if origin is Annotated:
        return Annotated[(_known(arguments[0]), *arguments[1:])]
    inner = tuple(_known(one) for one in arguments)
    if inner == arguments:
        return kind
    if origin is Union or origin is types.UnionType:
        return Union[inner]  # noqa: UP007
    return origin[inner]


def frame_locals() -> dict[str, Any]:
    """The names around the program's own line that registers a handler."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("madang."):
        frame = frame.f_back
    return {} if frame is None or frame.f_locals is frame.f_globals else dict(frame.f_locals)


def checked(kind: Any, what: str, name: str) -> Checked:
    """One value of one type, of which there is one object for each type.

    Raises:
        LocalProtocolError: it can't be checked; the message begins with `what` and names the parameter.
    """
    _check_alone(kind, what, name)
    try:
        return _checked(kind)
    except TypeError:  # an annotation that has no hash
        return Checked(kind)


@functools.lru_cache(4096)
def _checked(kind: Any) -> Checked:
    return Checked(kind)


def supported(kind: Any) -> bool:
    """Whether a type can be checked."""
    try:
        _check((kind,))
        msgspec.json.Decoder(kind, dec_hook=_foreign)
    except (TypeError, NameError):
        return False
    return True


def _check_alone(kind: Any, what: str, name: str) -> None:
    """Refuse what can't be decoded, and name the parameter.

    Raises:
        LocalProtocolError: it can't.
    """
    try:
        _check((kind,))
        msgspec.json.Decoder(kind, dec_hook=_foreign)
    except TypeError as error:
        told = str(error).split("\n")[0]
        raise LocalProtocolError(
            f"{what}: the annotation of its parameter {name!r} can't be checked ({told}); use built-in types, "
            "dataclasses, TypedDicts, enums, msgspec Structs or pydantic models, or Any to take it as it comes"
        ) from None


def _check(kinds: tuple[Any, ...]) -> bool:
    """Refuse classes that can't be decoded; tell whether there are bytes in types.

    Raises:
        TypeError: there is such a class.
    """
    binary = False
    for node in nodes(kinds):
        if isinstance(node, msgspec.inspect.CustomType):
            if node.cls is not object and not hasattr(node.cls, "model_validate"):
                raise TypeError(f"{node.cls.__qualname__} is an ordinary class")
        elif isinstance(node, msgspec.inspect.DataclassType) and hasattr(node.cls, "__pydantic_validator__"):
            raise TypeError(f"{node.cls.__qualname__} is a dataclass of pydantic; make it a BaseModel")
        elif isinstance(
            node, msgspec.inspect.BytesType | msgspec.inspect.ByteArrayType | msgspec.inspect.MemoryViewType
        ):
            binary = True
    return binary


def nodes(kinds: tuple[Any, ...]) -> Iterator[msgspec.inspect.Type]:
    """All types that types are made of, each once."""
    waiting: list[Any] = list(msgspec.inspect.multi_type_info(kinds))
    seen: set[int] = set()
    keep: list[Any] = []
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        keep.append(node)  # an id is another's once its object is gone
        if isinstance(node, msgspec.inspect.Type):
            yield node
        for name in node.__struct_fields__:
            value = getattr(node, name)
            several = value if isinstance(value, tuple) else (value,)
            waiting += [one for one in several if isinstance(one, _INSPECTED)]
