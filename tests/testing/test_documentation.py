"""The tests that the documentation shows, and those of the examples, pass."""

import re
import shutil
from pathlib import Path

import pytest
from test_plugin import AUTO, PLUGIN, QUICK

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python pytest\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_what_the_documentation_shows(pytester: pytest.Pytester) -> None:
    written = 0
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for index, code in enumerate(BLOCK.findall(page.read_text())):
            name = f"test_{page.stem}_{index}".replace("-", "_")
            pytester.makepyfile(**{name: code})
            written += code.count("def test_")
    unwanted = shutil.ignore_patterns("node_modules", "__pycache__")
    shutil.copytree(ROOT / "examples", pytester.path / "examples", ignore=unwanted)
    written += (ROOT / "examples" / "test_rooms.py").read_text().count("def test_")
    assert written > 15
    result = pytester.runpytest_subprocess(*PLUGIN, *AUTO, *QUICK)
    result.assert_outcomes(passed=written)
