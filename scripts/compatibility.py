"""Write docs/reference/compatibility.md from what the tests of all generations have recorded.

`make compatibility` records anew, and writes.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from generations.support.guests import GUESTS, STEPS, Guest  # noqa: E402

RECORD = ROOT / "tests" / "generations" / "compatibility.json"
PAGE = ROOT / "docs" / "reference" / "compatibility.md"
TRANSPORTS = ["polling", "base64", "jsonp", "htmlfile", "websocket", "upgrade", "flashsocket"]
GENERATIONS = ["sio1", "eio3", "eio4"]

HEAD = """# Compatibility: real clients, each over each of its transports

```python run
io = Server(generations="all", transports="all")
```

`make compatibility` writes this page from the results of `tests/generations`. There, one server is joined by these
clients at the same time: each does alone what the last table lists, then all talk in one room, the server is
restarted, and all come back. How to let old clients in, and what that costs:
[clients of earlier generations](../how-to/old-clients.md).

✓: everything that the client can do went well. Otherwise the cell says what did not. Empty: the client has no such
transport there.

"base64" is polling by a client that takes no binary; "upgrade" is polling, then WebSocket; "htmlfile" is the `iframe`
of our `transports`. Chromium has no `ActiveXObject`, and no Flash: a stand-in for the one and the player Ruffle for the
other let the unchanged clients run.

A "not" is what was seen, not always our fault. python-socketio over polling takes a server's good-bye for final, and
does not come back by itself. Of `socketIO-client`, the program that drives it tries text, acknowledgements and their
order only, as yet. Clients in Java, Rust and Go were not tried, nor a client of 0.6 in the same room, which knows
messages only: it has tests of its own in `tests/browser`.
"""


def cell(guest: Guest, record: dict[str, dict[str, Any]]) -> str:
    """What is said of a client over one transport."""
    found = record.get(guest.name)
    if found is None:
        return "not tried"
    wrong = [step for step in STEPS if found.get(step, False) is False]
    return "✓" if not wrong else "does not connect" if wrong[0] == "connect" else f"not: {', '.join(wrong)}"


def summary(step: str, generation: str, record: dict[str, dict[str, Any]]) -> str:
    """What is said of a step in one generation."""
    guests = [guest for guest in GUESTS if guest.generation == generation and step in record.get(guest.name, {})]
    good = sum(record[guest.name][step] not in (False, None) for guest in guests)
    able = sum(step not in guest.lacks for guest in guests)
    reasons = sorted({guest.lacks[step] for guest in guests if step in guest.lacks})
    notes = sorted({note for guest in guests if isinstance(note := record[guest.name][step], str)})
    parts = [f"{good} of {able}"] if able else []
    parts += notes if step == "binary broadcast" else []
    return "; ".join([*parts, *reasons])


def page(record: dict[str, dict[str, Any]]) -> str:
    """The whole page."""
    lines = [HEAD]
    for runtime in ("Node.js", "Chromium", "Python"):
        some = [guest for guest in GUESTS if guest.runtime == runtime]
        columns = [name for name in TRANSPORTS if any(guest.transport == name for guest in some)]
        lines += [
            f"## {runtime}",
            "",
            f"| client | generation | {' | '.join(columns)} |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for package, version, generation in dict.fromkeys((one.package, one.version, one.generation) for one in some):
            own = {one.transport: one for one in some if (one.package, one.version) == (package, version)}
            cells = [cell(own[name], record) if name in own else "" for name in columns]
            lines.append(f"| {package} {version} | {generation} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## What each one does", "", "How many clients, times their transports, of those that can."]
    lines += ["", f"| | {' | '.join(GENERATIONS)} |", "|---" * (len(GENERATIONS) + 1) + "|"]
    for step, words in STEPS.items():
        lines.append(f"| {words} | {' | '.join(summary(step, name, record) for name in GENERATIONS)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RECORD.read_text())))
