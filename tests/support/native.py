"""The native piece, built for this Python from its source, whether or not the package that is tested has it inside."""

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


@cache
def native() -> ModuleType:
    """`madang._many`, in `build/native/`.

    Raises:
        subprocess.CalledProcessError: it can't be built; what the compiler says is on stderr.
    """
    command = [sys.executable, str(ROOT / "native" / "build.py"), str(ROOT / "build" / "native")]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    spec = importlib.util.spec_from_file_location("madang._many", made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
