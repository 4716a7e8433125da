"""A short, repeatable run of each fuzz target. Long runs are made by hand: see fuzz/harness.py."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
TARGETS = sorted(FUZZ.glob("fuzz_*.py"))


@pytest.mark.parametrize("path", TARGETS, ids=lambda path: path.stem)
def test_fuzz(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path), "--seconds", "1", "--seed", "7"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    inputs = int(done.stdout.split()[0])
    assert inputs >= 64
    assert "nothing found" in done.stdout


def test_a_finding_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "fuzz_wrong.py").write_text(
        f"import sys; sys.path.insert(0, {str(FUZZ)!r})\n"
        "from harness import run\n"
        "def target(data):\n    assert b'42' not in data\n"
        "run(target, [b'40', b'41[2]'], (ValueError,))\n"
    )
    done = subprocess.run(
        [sys.executable, str(tmp_path / "fuzz_wrong.py"), "--seconds", "20"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "FINDING --input" in done.stdout


def test_every_decoder_has_a_target() -> None:
    """Whoever adds a generation or a parser adds a target, or the target of its kind names it."""
    text = "".join(path.read_text() for path in TARGETS)
    source = FUZZ.parent / "src" / "madang"
    for kind in ("wire", "parsers"):
        for path in (source / kind).glob("*.py"):
            if path.stem not in ("__init__", "raw"):
                assert f"madang.{kind}.{path.stem} import" in text
    assert "from madang.rfc import ws" in text
    assert "from madang.cluster.parcels import" in text
