"""Clients of all generations in one room of a real server: a broadcast is encoded once for each generation."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATIONS = ("eio4", "eio3", "sio1")


def test_one_encoding_for_each_generation() -> None:
    """The benchmark counts them, and each delivery; with figures too few to say anything about time."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.mixed", "--members", "12", "--seconds", "0.05", "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rooms = {one["room"]: one for one in json.loads(done.stdout)}
    for one in rooms.values():
        assert one["broadcasts"] >= 1
        assert one["deliveries"] == one["broadcasts"] * 12
    assert {name: one["encodings_per_broadcast"] for name, one in rooms.items()} == {
        **{f"{name} by {how}": 1 for name in GENERATIONS for how in ("websocket", "polling")},
        "all three by websocket": 3,
        "all three by both": 3,
    }
