"""What was proved at a meeting, as JSON: kept in `tests/generations/compatibility.json`, for the page of the docs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from generations.support.guests import GUESTS, STEPS

__all__ = ["record"]


def record(path: Path, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the steps of those who came into the file; what it says of others stays.

    For each guest and step: true, false where it failed, null where the client can't, or a text that says more.
    """
    known: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for name, steps in found.items():
        told: dict[str, Any] = {}
        for step in steps:
            result = None if step.get("lacks") else step["ok"] and step.get("note", True)
            told[step["step"]] = told.get(step["step"], True) and result
        known[name] = {step: told[step] for step in STEPS if step in told}
    ordered = {guest.name: known[guest.name] for guest in GUESTS if guest.name in known}
    path.write_text(json.dumps(ordered, ensure_ascii=False, indent=1) + "\n")
