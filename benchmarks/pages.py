"""Pages of the documentation have parts that are made by a run, between two marks."""

from __future__ import annotations

from pathlib import Path


def put_into(page: Path, part: str, markdown: str) -> None:
    """Put what a run has found between the two marks of a page: ``<!-- part: begin -->`` and ``<!-- part: end -->``.

    Raises:
        ValueError: it doesn't have them.
    """
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, found_too, after = rest.partition(end)
    if not found or not found_too:
        raise ValueError(f"{page} has no place for it: {begin} ... {end}")
    page.write_text(f"{before}{begin}\n\n{markdown.strip()}\n\n{end}{after}")
