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
    """What works: a row for each matter, with a cell for each column."""
    rows = _rows("What works")
    return {matter: dict(zip(COLUMNS, cells, strict=True)) for matter, cells in rows.items()}


def unknown_proxies() -> dict[str, list[str]]:
    """What proxies do that nobody can mend, and what comes of it."""
    return _rows("Proxies that you don't know")


def _rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading, by the first cells of its rows."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]*[^| ]) \|(.*)\|$", section, re.MULTILINE)
    return {first: [cell.strip() for cell in rest.split("|")] for first, rest in rows[1:]}
