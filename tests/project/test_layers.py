"""Who may import whom: the table of the architecture, kept by `ast`.

    5  borders    cli  apps  faces  client  migrate  testing   asyncio, sockets, clocks, logging
               quic  _many  tuning  the buses of cluster/
    4  app        server  dispatch  tasks  neighbours          coroutines, no sockets
               threadsafe  workers  browser  emitter
    3  core       core <- cluster                              no runtime at all
    2  codecs     transports <- wire -> parsers -> values      bytes and str only
               http  lengths  rfc
    1  leaves     packet  config  errors  registry  cork       nothing
                  compiling

Arrows point down. A module of the package that stands in no row fails the test: it has to be given its place.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import madang

ROOT = Path(madang.__file__).parent

LEVELS = {
    "packet": 1,
    "config": 1,
    "errors": 1,
    "registry": 1,
    "compiling": 1,
    "cork": 1,
    "http": 2,
    "transports": 2,
    "wire": 2,
    "parsers": 2,
    "values": 2,
    "rfc": 2,
    "lengths": 2,
    "core": 3,
    "cluster": 3,
    "browser": 4,
    "server": 4,
    "dispatch": 4,
    "contract": 4,
    "neighbours": 4,
    "tasks": 4,
    "threadsafe": 4,
    "workers": 4,
    "emitter": 4,
    "cli": 5,
    "__main__": 5,
    "apps": 5,
    "faces": 5,
    "migrate": 5,
    "client": 5,
    "buses": 5,
    "quic": 5,
    "_many": 5,
    "tuning": 5,
    "testing": 5,
    "pytest_plugin": 5,
}
#: What a part of a row may import of its own row; a part may always import itself.
BESIDE = {
    # The leaves know one another only where the vocabulary is shared: an error.
    "packet": {"compiling", "errors"},
    "compiling": {"packet"},
    "config": {"errors"},
    "registry": {"errors"},
    "errors": set(),
    "http": set(),
    "transports": {"http"},
    "parsers": {"values"},
    "values": set(),
    "wire": {"lengths", "parsers", "transports"},
    "lengths": set(),
    "rfc": set(),
    "browser": set(),
    "cluster": {"core"},
    "buses": set(),
    "server": {"browser", "tasks", "dispatch", "threadsafe", "workers", "neighbours"},
    "dispatch": {"tasks", "workers"},
    "threadsafe": {"tasks"},
    "workers": set(),
    "neighbours": set(),
    "tasks": set(),
    "contract": {"server"},
    "emitter": set(),
    "cli": {"faces", "apps", "client"},
    "__main__": {"cli"},
    "apps": {"faces"},
    "faces": {"quic", "tuning", "_many"},
    "client": {"quic"},
    "cork": set(),
    "quic": set(),
    "_many": set(),
    "tuning": set(),
    "migrate": {"faces"},
    "testing": {"client", "faces"},
    "pytest_plugin": {"testing", "client", "faces"},
}
#: Upward, for annotations only, and for the two functions of `Server` that make a face when they are called.
ANNOTATIONS_ONLY = {("server", "faces"), ("neighbours", "server"), ("config", "parsers")}

RUNTIME = {"asyncio", "socket", "ssl", "threading", "time", "logging", "random", "secrets", "os"}
#: The runtime under other names.
RUNTIME_ALIASES = {"select", "selectors", "signal", "subprocess", "multiprocessing", "concurrent", "queue"}
#: The unmasking in C: a function of bytes.
PURE = {"websockets.speedups"}
NETWORK = {"socket", "ssl", "selectors", "uvicorn", "httptools", "uvloop", "starlette", "websockets", "httpx"}


@dataclass(frozen=True)
class Import:
    module: str  # "madang.core.hub"
    part: str  # "core"
    target: str  # what is imported, as "madang.errors" or "asyncio"
    typing: bool  # under TYPE_CHECKING
    inner: bool  # inside a function
    line: int

    @property
    def target_part(self) -> str:
        return self.target.split(".")[1] if "." in self.target else ""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def sources() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if "static" not in path.parts]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("madang", *(part for part in parts if part != "__init__")))


#: The modules of `cluster/` that are no bus.
CLUSTER_LOGIC = {
    "",
    "ends",
    "guest",
    "membership",
    "messages",
    "parcels",
    "peers",
    "questions",
    "recollection",
    "remote",
    "requests",
}


def part_of(module: str) -> str:
    if module.startswith("madang.cluster.") and module.split(".")[2] not in CLUSTER_LOGIC:
        return "buses"
    return module.split(".")[1] if "." in module else ""


def imports_in(module: str, tree: ast.AST) -> Iterator[Import]:
    def visit(node: ast.AST, typing: bool, inner: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(module, part_of(module), alias.name, typing, inner, child.lineno)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}:{child.lineno} imports relatively"
                assert child.module is not None
                targets = [child.module]
                if child.module == "madang":  # `from madang import wire`: a name of the package is a module
                    targets = [f"madang.{alias.name}" for alias in child.names]
                for target in targets:
                    yield Import(module, part_of(module), target, typing, inner, child.lineno)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for statement in child.body:
                    yield from visit(ast.Module([statement], []), True, inner)
                for statement in child.orelse:
                    yield from visit(ast.Module([statement], []), typing, inner)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from visit(child, typing, inner or function)

    yield from visit(tree, False, False)


def all_imports() -> list[Import]:
    found: list[Import] = []
    for path in sources():
        module = name_of(path)
        found += imports_in(module, parsed(path))
    return found


def verdict(one: Import) -> str | None:
    """What is wrong with an import, or None."""
    if not one.part:  # the package itself
        return (
            None if one.typing or not one.target.startswith("madang") else f"{one}, which would cost at `import madang`"
        )
    level = LEVELS[one.part]
    if not one.target.startswith("madang"):
        top = one.target.partition(".")[0]
        if level <= 3 and top in RUNTIME | RUNTIME_ALIASES:
            return f"{one}: levels 1 to 3 have no runtime"
        if level <= 4 and top in NETWORK and one.target not in PURE:
            return f"{one}: levels 1 to 4 have no network"
        return None
    if one.target == "madang":
        # Only what is written with the package may go through its front door.
        return None if level == 5 else f"{one}: levels 1 to 4 name the module they need"
    other = one.target_part
    if other == one.part:
        return None
    if other not in LEVELS:
        # `from madang import Server`: the front door again
        return None if level == 5 and other in madang.__all__ else f"{one}, which stands in no row of the table"
    if (one.part, other) in ANNOTATIONS_ONLY:
        return None if one.typing or one.inner else f"{one}: for annotations only"
    if LEVELS[other] > level:
        return f"{one}, which is above it"
    if LEVELS[other] == level and other not in BESIDE[one.part]:
        return f"{one}, which stands beside it"
    return None


def test_every_module_has_a_row() -> None:
    assert {part_of(name_of(path)) for path in sources()} - {""} <= set(LEVELS)


def test_arrows_point_down() -> None:
    assert [wrong for one in all_imports() if (wrong := verdict(one))] == []


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("madang.core.hub", "import asyncio", True),
        ("madang.core.hub", "def f():\n    import time", True),
        ("madang.core.hub", "from os.path import join", True),
        ("madang.core.hub", "from madang.server import Server", True),
        ("madang.core.hub", "if TYPE_CHECKING:\n    from madang.server import Server", True),
        ("madang.core.hub", "if TYPE_CHECKING:\n    from madang.core.engine import Engine", False),
        ("madang.core.hub", "from madang import server", True),
        ("madang.transports.polling", "from madang.wire import Wire", True),
        ("madang.wire.eio4", "from madang.transports import Request", False),
        ("madang.wire.eio4", "from madang.parsers import Parser", False),
        ("madang.parsers.json", "from madang.wire import Wire", True),
        ("madang.errors", "from madang.packet import Packet", True),
        ("madang.server", "import asyncio", False),
        ("madang.server", "import ssl", True),
        ("madang.server", "from madang.faces.asgi import ASGIFace", True),
        ("madang.server", "def f():\n    from madang.faces.asgi import ASGIFace", False),
        ("madang.server", "if TYPE_CHECKING:\n    from madang.faces.asgi import ASGIFace", False),
        ("madang.apps.chat.app", "from madang import Server", False),
        ("madang.faces.asgi", "from madang.apps import chat", True),
        ("madang", "from madang.server import Server", True),
        ("madang.core.hub", "from madang.novelty import x", True),
    ],
)
def test_the_test_sees(module: str, source: str, wrong: bool) -> None:
    [one] = imports_in(module, ast.parse(source))
    assert (verdict(one) is not None) == wrong


# Generations


def generations() -> set[str]:
    return {path.stem for path in (ROOT / "wire").glob("*.py")} - {"__init__"}


def strings_of(module: str, tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Where a string of the code, no docstring, is the name of a generation."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in names and id(node) not in docstrings:
            yield f"{module}:{node.lineno} names {node.value!r}"
        elif isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                target = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
                if any(f"madang.wire.{name}" in target for name in names):
                    yield f"{module}:{node.lineno} imports {target}"


def test_no_code_outside_wire_asks_for_the_generation() -> None:
    found = []
    for path in sources():
        module = name_of(path)
        if part_of(module) != "wire":
            found += [where.split(":")[0] for where in strings_of(module, parsed(path), generations())]
    # The default of the setting `generations`, and nothing else.
    assert found == ["madang.config"]


@pytest.mark.parametrize(
    "source", ['if wire.name == "eio4": pass', "x = {'eio4': 1}", "from madang.wire.eio4 import WIRE"]
)
def test_the_test_sees_generations(source: str) -> None:
    assert len(list(strings_of("madang.core.hub", ast.parse(source), {"eio4"}))) == 1


def test_no_code_outside_wire_reads_the_name_of_a_generation_in_a_condition() -> None:
    found = []
    for path in sources():
        module = name_of(path)
        if part_of(module) == "wire":
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Compare | ast.Match) and ".wire.name" in ast.unparse(node):
                found.append(f"{module}:{node.lineno}")
    assert found == []
