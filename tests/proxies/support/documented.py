"""What `docs/how-to/proxies.md` says: the configurations that we recommend, and the table of what works.

The tests use what they read there, so the page can't be wrong.
"""

import re
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "proxies.md"
#: The columns of the table: a proxy and one of its sites.
COLUMNS = [(proxy, site) for proxy in ("nginx", "haproxy") for site in ("default", "documented")]
IDS = ["-".join(column) for column in COLUMNS]


def documented(language: str) -> str:
    """The configuration that stands in the documentation."""
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{PAGE.name} has no {language}"
    return found[1]


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """A text with changes, each of which must have something to change."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the documented configuration"
        text = text.replace(old, new)
    return text


def table() -> dict[str, dict[tuple[str, str], str]]:
    """The table: a row for each matter, with a cell for each column."""
    rows = {}
    for matter, rest in re.findall(r"^\| ([^|]*[^| ]) \|(.*)\|$", PAGE.read_text(), re.MULTILINE):
        cells = [cell.strip() for cell in rest.split("|")]
        if len(cells) == len(COLUMNS):
            rows[matter] = dict(zip(COLUMNS, cells, strict=True))
    return rows
