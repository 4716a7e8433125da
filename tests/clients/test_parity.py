"""The table of names beside the reference's own type declarations, and beside our code."""

import dataclasses
import re
from pathlib import Path

import pytest

import madang
from madang.core.engine import Engine
from support.npm import NODE

pytestmark = pytest.mark.node

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "parity.md"
DECLARED = {
    "Server": "index",
    "Namespace": "namespace",
    "Socket": "socket",
    "BroadcastOperator": "broadcast-operator",
    "RemoteSocket": "broadcast-operator",
}
#: What the classes have from Node's EventEmitter, of which the table names the most used.
INHERITED = {"on", "once", "off", "emit"}
#: Set when an object is made, so that the class doesn't show them.
INSTANCE = {
    "Server": {"engine", "config"},
    "Socket": {"id", "namespace", "session", "connected", "recovered"},
    "Namespace": {"name"},
}
#: Options of Engine.IO and of HTTP servers, which aren't declared where those of Socket.IO are.
OPTIONS = {
    "path", "serveClient", "adapter", "parser", "connectTimeout", "connectionStateRecovery",
    "cleanupEmptyChildNamespaces",
}  # fmt: skip


def declared(kind: str) -> set[str]:
    """The public members of a class of the reference."""
    text = (NODE / "node_modules" / "socket.io" / "dist" / f"{DECLARED[kind]}.d.ts").read_text()
    found = re.search(rf"^export declare class {kind}\b.*?\{{\n(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
    assert found is not None, kind
    body = re.sub(r"/\*\*.*?\*/", lambda note: "@private" if "@private" in note[0] else "", found[1], flags=re.DOTALL)
    members = re.findall(r"^    (?:readonly |get |set )*(\w+)(?:<[^(]*)?[(:?;]", body, re.MULTILINE)
    hidden = set(re.findall(r"@private\s+(?:readonly |get )*(\w+)", body))
    return {name for name in members if not name.startswith("_")} - hidden - {"constructor", "private"}


def rows(heading: str) -> list[tuple[list[str], str]]:
    """The reference's names in a table of the page, and what stands beside them."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    lines = [line.split("|")[1:3] for line in found[1].splitlines() if line.startswith("| `")]
    return [(re.findall(r"`(\w+)`", left), right.strip()) for left, right in lines]


@pytest.mark.parametrize("kind", DECLARED)
def test_every_name_of_the_reference_is_in_the_table(node: str, kind: str) -> None:
    told = [name for names, _ in rows(kind) for name in names]
    assert len(told) == len(set(told)), "a name stands twice"
    assert set(told) - INHERITED == declared(kind) - INHERITED


def test_every_option_of_the_reference_is_in_the_table(node: str) -> None:
    text = (NODE / "node_modules" / "socket.io" / "dist" / "index.d.ts").read_text()
    found = re.search(r"interface ServerOptions .*?\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert set(re.findall(r"^    (\w+)\??:", found[1], re.MULTILINE)) == OPTIONS
    told = {name for names, _ in rows("Options") for name in names}
    assert told >= OPTIONS
    engine = (NODE / "node_modules" / "engine.io" / "build" / "server.d.ts").read_text()
    for name in told - OPTIONS:
        assert re.search(rf"^    {name}\?:", engine, re.MULTILINE), name


@pytest.mark.parametrize("heading", [*DECLARED, "The engine", "Options"])
def test_every_name_of_ours_exists(heading: str) -> None:
    kinds = {name: getattr(madang, name) for name in ("Server", "Namespace", "Socket", "Target", "RemoteSocket")}
    kinds["Engine"] = Engine
    settings = {field.name for field in dataclasses.fields(madang.Config)}
    count = 0
    for names, ours in rows(heading):
        if ours.startswith("none"):
            continue
        found = re.findall(r"`(\w+)\.(\w+)`", ours)
        assert found, f"{names}: {ours!r} names nothing"
        for kind, name in found:
            count += 1
            if kind == "Config":
                assert name in settings, name
            else:
                owner = kind[0].upper() + kind[1:]
                assert hasattr(kinds[owner], name) or name in INSTANCE.get(owner, ()), f"{kind}.{name}"
    assert count
