"""What each module says that it exports, it exports; and `import madang` costs nothing."""

import ast
import importlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import madang

ROOT = Path(madang.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if "static" not in path.parts and path.name != "__main__.py"]
MODULES = [
    ".".join(("madang", *(part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__")))
    for path in FILES
]
#: Packages that only hold others together.
EMPTY = {"madang.rfc", "madang.core", "madang.client", "madang.faces", "madang.apps", "madang.migrate"}
#: Whose names are used behind the module's, as in `ws.text_frame`.
NAMESPACES = {"madang.rfc.ws"}
#: Applications are no libraries.
LIBRARY = [module for module in MODULES if module not in EMPTY | NAMESPACES and not module.startswith("madang.apps.")]
#: What a file of each kind must export, and nothing of it may be missing from the folder.
KINDS = {"transports": "TRANSPORT", "wire": "WIRE", "parsers": "PARSER"}


def fresh(program: str) -> object:
    """Run a program in a Python of its own, and read the JSON that it prints."""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@cache
def defined_in(module: str) -> set[str]:
    """The public classes and functions that a module defines."""
    tree = ast.parse(FILES[MODULES.index(module)].read_text())
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")}


@pytest.mark.parametrize("module", LIBRARY)
def test_all(module: str) -> None:
    names = importlib.import_module(module).__all__
    assert isinstance(names, list)
    assert sorted(set(names)) == sorted(names), "a name stands there twice"
    for name in names:
        assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize("module", sorted(EMPTY))
def test_empty_packages_hold_no_code(module: str) -> None:
    tree = ast.parse(FILES[MODULES.index(module)].read_text())
    assert [type(node) for node in tree.body] == [ast.Expr]


def test_names_that_others_import_are_exported() -> None:
    """What a module takes from another one by name is in that one's `__all__`, or a name that only it shares."""
    missing = []
    for path, module in zip(FILES, MODULES, strict=True):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in MODULES and node.module != "madang":
                exported = getattr(importlib.import_module(node.module), "__all__", [])
                for alias in node.names:
                    if alias.name.startswith("_"):
                        missing.append(f"{module} takes the private {node.module}.{alias.name}")
                    elif (
                        node.module in LIBRARY and alias.name in defined_in(node.module) and alias.name not in exported
                    ):
                        missing.append(f"{module} takes {node.module}.{alias.name}")
    # What sockets, namespaces, targets and the server share is no class that a program writes.
    assert [one for one in missing if one != "madang.server takes madang.core.hub.Sender"] == []


def test_the_front_door() -> None:
    for name in madang.__all__:
        value = getattr(madang, name)
        if name not in ("__version__", "serve"):
            home = importlib.import_module(value.__module__)
            assert name in home.__all__
            assert getattr(home, name) is value
    assert dir(madang) == madang.__all__


def test_front_door_and_its_annotations_agree() -> None:
    """The names that type checkers see are those that exist."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(madang.__all__)


def test_every_public_error_is_at_the_front_door() -> None:
    assert set(importlib.import_module("madang.errors").__all__) <= set(madang.__all__)


@pytest.mark.parametrize("name", ["nothing", "_private", "server_", "__path_of_nothing__"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'madang' has no attribute '{name}'"):
        getattr(madang, name)


def test_import_madang_costs_nothing() -> None:
    program = (
        "import sys, json; before = set(sys.modules); import madang;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = fresh(program)
    assert isinstance(loaded, list)
    assert "madang" in loaded
    assert [name for name in loaded if name.startswith("madang.")] == []
    heavy = {"asyncio", "uvicorn", "orjson", "msgspec", "starlette", "click", "ssl", "logging", "httptools"}
    assert heavy & set(loaded) == set()


def test_names_come_when_they_are_asked_for() -> None:
    program = (
        "import sys, json, madang; madang.ConnectionRefused; madang.Reason;"
        "print(json.dumps(sorted(name for name in sys.modules if name.startswith('madang.'))))"
    )
    assert fresh(program) == ["madang.errors"]


def test_a_client_without_polling_needs_no_http_library() -> None:
    program = (
        "import sys, json, madang; madang.Client('http://localhost', transports=['websocket']);"
        "print(json.dumps([name for name in ('httpx', 'uvicorn', 'madang.server') if name in sys.modules]))"
    )
    assert fresh(program) == []


def test_the_server_needs_no_face() -> None:
    program = (
        "import sys, json, madang; madang.Server();"
        "print(json.dumps([name for name in ('uvicorn', 'starlette', 'madang.faces.asgi') if name in sys.modules]))"
    )
    assert fresh(program) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_one_file_is_one_kind(kind: str) -> None:
    """Each file of a kind's folder exports the kind's object, under the name that the settings use."""
    package = importlib.import_module(f"madang.{kind}")
    for path in (ROOT / kind).glob("*.py"):
        if path.stem != "__init__":
            module = importlib.import_module(f"madang.{kind}.{path.stem}")
            assert KINDS[kind] in module.__all__
            assert getattr(module, KINDS[kind]) is package.load(path.stem)
            assert package.load(path.stem).name == path.stem


def test_typed() -> None:
    assert (ROOT / "py.typed").exists()


def test_version() -> None:
    import importlib.metadata

    assert importlib.metadata.version("madang") == madang.__version__
