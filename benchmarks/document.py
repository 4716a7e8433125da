"""What runs of the suite found: one file, written after each step, so that a run that was cut can go on.

A document has `runs`, each with what it ran on, and `results`: work, peer, one step per repetition. Each step names
its run and its repetition.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .figures import Results

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass
class Document:
    """All that is known of one or more runs.

    Attributes:
        runs: what each ran on: date, command, commit, machine, versions (see `report.about`), and its `problems`.
        results: the steps.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    results: Results = field(default_factory=dict)

    def add(self, work: str, peer: str, repetition: int, step: dict[str, Any]) -> None:
        """Adds a step of the last run."""
        told = {**step, "run": len(self.runs) - 1, "repetition": repetition}
        self.results.setdefault(work, {}).setdefault(peer, []).append(told)

    def has(self, work: str, peer: str, repetition: int) -> bool:
        return any(step["repetition"] == repetition for step in self.results.get(work, {}).get(peer, ()))

    @property
    def problems(self) -> list[str]:
        """Of all runs, each once."""
        return list(dict.fromkeys(problem for run in self.runs for problem in run.get("problems", ())))

    def save(self, path: Path, found: Mapping[str, Any] = NOTHING) -> None:
        """Writes all of it to a file.

        Args:
            path: the file.
            found: what was made of it, for those who read the file; `load` does without.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".fresh")
        fresh.write_text(
            json.dumps({"runs": self.runs, "results": self.results, **found}, indent=1, ensure_ascii=False) + "\n"
        )
        fresh.replace(path)  # at once: what was there before is never lost

    @classmethod
    def load(cls, path: Path) -> Document:
        """Reads a file that `save` has written.

        Raises:
            ValueError: it is another file.
        """
        try:
            told = json.loads(path.read_text())
            return cls(told["runs"], told["results"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} has no results of this suite: {error!r}") from error


def merged(documents: Iterable[Document]) -> Document:
    """One document with the works of all; of a work that several have, with that of the last one."""
    found = Document()
    for document in documents:
        first = len(found.runs)
        found.runs += document.runs
        for work, by_peer in document.results.items():
            found.results[work] = {
                peer: [{**step, "run": step["run"] + first} for step in steps] for peer, steps in by_peer.items()
            }
    used = sorted({step["run"] for by_peer in found.results.values() for steps in by_peer.values() for step in steps})
    for by_peer in found.results.values():
        for steps in by_peer.values():
            for step in steps:
                step["run"] = used.index(step["run"])
    found.runs = [found.runs[run] for run in used]
    return found
