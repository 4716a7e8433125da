"""The page about compatibility is what its script makes of what the tests have recorded, and nobody is missing."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "tests" / "generations" / "compatibility.json"


def script() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tests"))
    spec = importlib.util.spec_from_file_location("compatibility", ROOT / "scripts" / "compatibility.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_was_recorded() -> None:
    written = script().page(json.loads(RECORD.read_text()))
    assert (ROOT / "docs" / "reference" / "compatibility.md").read_text() == written, "run scripts/compatibility.py"


def test_nobody_is_missing() -> None:
    assert list(json.loads(RECORD.read_text())) == [guest.name for guest in script().GUESTS]
