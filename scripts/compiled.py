"""The compiled build: the modules that pyproject.toml lists, compiled by mypyc, and the native piece.

As a build hook of hatchling, off by default, it puts them into the wheel::

    HATCH_BUILD_HOOK_ENABLE_CUSTOM=true python -m build --wheel

As a script it leaves them in a folder that can stand first on PYTHONPATH::

    python scripts/compiled.py build/compiled
    python scripts/compiled.py build/unoptimised 0

The second is C without optimisation, made in two thirds of the time, with the assertions of the C that mypyc brings.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "compiled"
#: The shared library of all compiled modules, which themselves are no more than its doors.
GROUP = "madang"
#: What is in a folder that this has filled, or begun to: all of it goes when it is filled again.
OURS = ("madang", f"{GROUP}__mypyc*", ".ready", "c", "o", "build", ".mypy_cache")
LISTED = ("tool", "hatch", "build", "targets", "wheel", "hooks", "custom", "modules")


def listed() -> list[str]:
    """The paths of the modules that are compiled, below `src`."""
    found: Any = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for key in LISTED:
        found = found[key]
    return [f"{name.replace('.', '/')}.py" for name in found]


def compile_into(folder: Path, optimisation: str = "3") -> None:
    """Copy the package into a folder, and compile what is listed there, at a level of the C compiler."""
    from mypyc.build import mypycify
    from setuptools import setup

    known = {path for pattern in OURS for path in folder.glob(pattern)}
    others = sorted(path.name for path in folder.glob("*") if path not in known)
    if others or folder.is_relative_to(ROOT / "src"):
        what = ", ".join(others[:5]) or "the source"
        sys.exit(f"{folder} would be emptied, and holds what is not of a compiled build: {what}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "src", folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    subprocess.run([sys.executable, str(ROOT / "native" / "build.py"), str(folder / "madang")], check=True)  # noqa: S603
    config = f"--config-file={ROOT / 'pyproject.toml'}"
    os.chdir(folder)  # modules are named by their paths from here, and so they are in tracebacks
    # What isn't compiled is checked by `make types`; here it only tells what its types are.
    extensions = mypycify(
        [config, "--explicit-package-bases", "--follow-imports=silent", *listed()],
        only_compile_paths=listed(),
        group_name=GROUP,
        target_dir=str(folder / "c"),
        opt_level=optimisation,
        debug_level="0",
    )
    setup(
        name=GROUP,
        packages=[],
        ext_modules=extensions,
        script_args=["--quiet", "build_ext", "--build-lib", str(folder), "--build-temp", str(folder / "o")],
    )
    shutil.rmtree(folder / "c")
    shutil.rmtree(folder / "o")


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]  # hatchling has no types
    """Adds the compiled modules to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile them, in a process of its own, and say what has become of the wheel."""
        subprocess.run([sys.executable, __file__, str(FOLDER)], check=True)  # noqa: S603  # this file itself
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for suffix in ("so", "pyd"):
            for library in sorted(FOLDER.rglob(f"*.{suffix}")):
                build_data["force_include"][str(library)] = str(library.relative_to(FOLDER))


if __name__ == "__main__":
    compile_into(Path(sys.argv[1]).resolve(), *sys.argv[2:])
