"""Every public thing says what it is, and the examples that can run do."""

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import madang

ROOT = Path(madang.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if "static" not in path.parts]
Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return ".".join(("madang", *(part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__")))


def public(tree: ast.Module) -> Iterator[tuple[str, Documented, list[str]]]:
    """Public classes, functions and methods, with the names of the bases of the class that a method is in."""
    for node in tree.body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield node.name, node, []
            if isinstance(node, ast.ClassDef):
                for child in node.body:
                    if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
                        yield f"{node.name}.{child.name}", child, [ast.unparse(base) for base in node.bases]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module says nothing"
    silent = []
    for name, node, bases in public(tree):
        decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
        # A method that fills a port or overrides another is described there.
        inherited = bool(set(bases) - {"Protocol", "ABC"})
        if not ast.get_docstring(node) and not decorators & {"overload", "setter"} and not inherited:
            silent.append(f"{name} (line {node.lineno})")
    assert silent == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_sentences(path: Path) -> None:
    """A docstring starts with a sentence: a capital letter, and a mark at its end."""
    tree = ast.parse(path.read_text())
    texts = [
        (path.stem, ast.get_docstring(tree) or ""),
        *((n, ast.get_docstring(node) or "") for n, node, _ in public(tree)),
    ]
    wrong = []
    for name, text in texts:
        first = " ".join(text.partition("\n\n")[0].split())
        opening = first[:1].islower() and not first.startswith(("uvicorn", "def"))
        if first and (opening or first[-1] not in ".:!?"):
            wrong.append(f"{name}: {first}")
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in FILES if ">>> " in path.read_text()], ids=name_of)
def test_examples_run(path: Path) -> None:
    """Read from the source: of compiled modules doctest finds nothing."""
    module = importlib.import_module(name_of(path))
    tree = ast.parse(path.read_text())
    runner = doctest.DocTestRunner()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text, name = ast.get_docstring(node) or "", getattr(node, "name", path.stem)
            runner.run(doctest.DocTestParser().get_doctest(text, dict(vars(module)), name, str(path), 0))
    assert runner.tries > 0
    assert runner.failures == 0


def test_examples_compile() -> None:
    """Examples between ``` fences are Python."""
    count = 0
    for path in FILES:
        for _, node, _ in public(ast.parse(path.read_text())):
            text = ast.get_docstring(node) or ""
            for block in text.split("```python")[1:]:
                lines = block.partition("```")[0].splitlines()
                indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
                source = "\n".join(line[indent:] for line in lines)
                # Many use `await` as the body of a handler would.
                compile(source, f"{path.name}: {node.name}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                count += 1
    assert count > 10
