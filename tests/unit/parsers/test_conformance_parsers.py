"""What every parser must keep, over all files that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import madang.parsers
from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.testing import RAW_PACKETS, check_parser

NAMES = sorted({path.stem for path in Path(madang.parsers.__file__).parent.glob("*.py")} - {"__init__"})


@pytest.mark.parametrize("name", NAMES)
def test_conformance(name: str) -> None:
    check_parser(madang.parsers.load(name), RAW_PACKETS if name == "raw" else None)


def documented() -> str:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "custom-parser.md"
    blocks = re.findall(r"^```python run\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    [source] = [block for block in blocks if "class OneObject(Parser)" in block]
    return source


def test_the_parser_of_the_documentation() -> None:
    names: dict[str, Any] = {}
    exec(documented(), names)
    check_parser(names["OneObject"]())


@given(st.text(alphabet='{}[]":,0123456789 tynspdaie$byte/=A', max_size=60) | st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.just("AAAA"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "nsp", "data", "id", "$bytes"]), inner, max_size=5),
).map(json.dumps))  # fmt: skip
@settings(max_examples=200)
def test_the_parser_of_the_documentation_takes_anything(text: str) -> None:
    names: dict[str, Any] = {}
    exec(documented(), names)
    try:
        packet = names["OneObject"]().decode(text, 0, Config())
    except RemoteProtocolError:
        pass
    else:
        assert packet.namespace is not None
