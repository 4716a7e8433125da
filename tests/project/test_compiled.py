"""What the compiled build rests on. These run on both builds."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import madang
from madang.cli import main

ROOT = Path(__file__).parents[2]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
MODULES = WHEEL["hooks"]["custom"]["modules"]


def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / "src" / f"{name.replace('.', '/')}.py").read_text())


@pytest.mark.parametrize("name", MODULES)
def test_all_that_is_listed_is_of_one_build(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    assert file.endswith(".py") is not madang.is_compiled()


@pytest.mark.parametrize("name", MODULES)
def test_no_listed_class_is_abstract_by_its_metaclass(name: str) -> None:
    """Compiled classes have no table of subclasses of their own, so `isinstance` with one would be wrong at random."""
    bases = [
        ast.unparse(base)
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.ClassDef)
        for base in (*node.bases, *(keyword.value for keyword in node.keywords))
    ]
    assert not {"ABC", "abc.ABC", "ABCMeta", "abc.ABCMeta"} & set(bases)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_depends_on_the_type_checker_but_imports(name: str) -> None:
    """The compiler takes `TYPE_CHECKING` for true, and leaves out what stands in its `else`."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            assert not node.orelse


def test_it_can_be_told() -> None:
    build = "compiled" if madang.is_compiled() else "pure Python"
    assert CliRunner().invoke(main, ["--version"]).output == f"madang, version {madang.__version__} ({build})\n"


def test_the_wheel_is_pure_unless_it_is_asked_for() -> None:
    assert WHEEL["hooks"]["custom"]["enable-by-default"] is False


@pytest.mark.parametrize("among", [(), ("madang",)], ids=["alone", "beside"])
def test_a_folder_with_something_else_in_it_is_not_emptied(tmp_path: Path, among: tuple[str, ...]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for name in among:
        (tmp_path / name).mkdir()
    command = [sys.executable, str(ROOT / "scripts" / "compiled.py"), str(tmp_path)]
    made = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60)
    assert made.returncode == 1
    assert "holds what is not of a compiled build: thesis.txt" in made.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
