"""Builds `madang._many` for the Python that runs this: `python native/build.py FOLDER`.

The package is whole without it; the compiled wheel has it inside.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).with_name("many.c")


def build(folder: Path) -> Path:
    """Compile the extension into a folder, unless it is there and no older than its source.

    Args:
        folder: where it goes; made if there is none.

    Returns:
        The shared library, with the name by which `madang._many` is found in a package.

    Raises:
        OSError: there is no C compiler.
        subprocess.CalledProcessError: it has failed; what it says is on stderr.
    """
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"_many{sysconfig.get_config_var('EXT_SUFFIX')}"
    if library.exists() and library.stat().st_mtime >= SOURCE.stat().st_mtime:
        return library
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[:1]
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    include = f"-I{sysconfig.get_paths()['include']}"
    # Built beside it, then put in place: others may be building it too.
    made = library.with_suffix(f".{os.getpid()}")
    command = [*compiler, "-O2", "-fPIC", "-Wall", "-Wextra", *link, include, str(SOURCE), "-o", str(made)]
    subprocess.run(command, check=True)
    return made.replace(library)


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
