"""The documentation says what is true: links, code, settings, names, commands."""

import ast
import asyncio
import inspect
import itertools
import re
import sys
import textwrap
import tomllib
import types
from collections.abc import Awaitable, Callable
from dataclasses import MISSING, fields
from html import unescape
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner

import madang
from madang import ClientConfig, Cluster, Config, Cookie, MadangError, Reason, Recovery, WebTransport, cli, errors
from madang.cluster.membership import Health, Peer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
READMES = [ROOT / "README.md", ROOT / "README.ko.md"]
PAGES = [*READMES, ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")), ROOT / "benchmarks" / "README.md"]
PAGES += [ROOT / "examples" / "README.md"]
REFERENCE = DOCS / "reference"
FRAMEWORKS = DOCS / "how-to" / "frameworks.md"

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| *`([^`|]+)` *\|(.*)\|$", re.MULTILINE)


def title(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", path.read_text())


def blocks(path: Path, language: str) -> list[tuple[str, str]]:
    """The code blocks of a language: the rest of their info string, and the code."""
    found = []
    for match in FENCE.finditer(path.read_text()):
        first, _, rest = match["info"].strip().partition(" ")
        if first == language:
            found.append((rest, textwrap.dedent(match["body"]).rstrip("\n")))
    return found


def section(page: str, heading: str) -> str:
    """The part of a page of the reference under a heading, up to the next one of the same level."""
    text = (REFERENCE / page).read_text()
    match = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |^# |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"{page} has no section {heading!r}"
    return match[2]


def cells(rest: str) -> list[str]:
    return [cell.strip() for cell in rest.split("|")]


# ---- links, paths, words ----


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=title)
def test_every_relative_link_resolves(path: Path) -> None:
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = unescape(link).partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{link} leads nowhere"
        assert file.is_relative_to(ROOT), link
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{link}: no such heading"


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        links = [link.partition("#")[0] for link in LINK.findall(prose(path)) if not re.match(r"[a-z]+:", link)]
        waiting += [(path.parent / link).resolve() for link in links if link]
    missing = set(DOCS.rglob("*.md")) - seen
    assert not missing, sorted(map(title, missing))


EXAMPLES = sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "examples" / "page").iterdir()])


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=title)
def test_no_paths_of_one_machine(path: Path) -> None:
    text = path.read_text()
    for word in (*(f"/{folder}/" for folder in ("root", "home", "Users", "work", "tmp")), str(ROOT)):
        assert word not in text, f"{title(path)} names {word}"


def test_every_example_is_listed() -> None:
    listed = set(LINK.findall(prose(ROOT / "examples" / "README.md")))
    assert {path.name for path in (ROOT / "examples").glob("*.py")} <= listed


def test_both_readmes_say_the_same() -> None:
    english, korean = (path.read_text() for path in READMES)

    def shape(text: str) -> list[str]:
        return re.findall(r"^(#+) ", FENCE.sub("", text), re.MULTILINE)

    assert shape(english) == shape(korean)
    assert [match[0] for match in FENCE.finditer(english)] == [match[0] for match in FENCE.finditer(korean)]
    own = {"README.md", "README.ko.md"}
    assert set(LINK.findall(english)) - own == set(LINK.findall(korean)) - own
    rows = [[line.count("|") for line in text.splitlines() if line.startswith("|")] for text in (english, korean)]
    assert rows[0] == rows[1]


def test_the_first_screen_has_both_commands() -> None:
    for path in READMES:
        consoles = [code for _, code in blocks(path, "console")]
        assert "$ make chat\n$ make test" in consoles
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for path in PAGES:
        for command in re.findall(r"(?:^\$ |`)make ([a-z-]+)", path.read_text(), re.MULTILINE):
            assert command in targets, f"{title(path)}: there is no `make {command}`"


# ---- code ----

PYTHON = [(path, index, info, code) for path in PAGES for index, (info, code) in enumerate(blocks(path, "python"))]


@pytest.mark.parametrize(
    ("path", "index", "info", "code"), PYTHON, ids=[f"{title(path)}-{index}" for path, index, *_ in PYTHON]
)
def test_every_block_of_python_compiles_and_those_marked_run(
    path: Path, index: int, info: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marked by the word "run" behind "python". They may use `io` and all public names without importing them."""
    assert info in ("", "run", "pytest"), info  # tests for pytest are run by tests/testing
    name = f"{title(path)}[{index}]"
    compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if info != "run" or path == FRAMEWORKS:
        return  # the blocks of that page are run by another test
    (tmp_path / "public").mkdir()
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType(f"block_{index}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__dict__.update({public: getattr(madang, public) for public in madang.__all__})
    module.__dict__.update(io=madang.Server(), asyncio=asyncio)
    result = eval(compiled, module.__dict__)
    if inspect.iscoroutine(result):
        asyncio.run(asyncio.wait_for(result, 10))
    for attribute, value in list(module.__dict__.items()):
        if attribute.startswith("test_") and inspect.iscoroutinefunction(value):
            asyncio.run(asyncio.wait_for(value(), 10))


@pytest.mark.parametrize("path", READMES, ids=title)
async def test_the_readme_example_lets_a_client_in(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (_, code), *_ = blocks(path, "python")
    ((_, page),) = blocks(path, "html")
    assert len([line for line in code.splitlines() if line.strip()]) <= 14
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text(page)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    await handshakes(names["app"])
    async with client_of(names["app"]) as client:
        assert (await client.get("/")).text == page
        [script] = re.findall(r'<script src="(.+)"', page)
        assert (await client.get(script)).status_code == 200


@pytest.mark.parametrize("path", READMES, ids=title)
async def test_the_readme_tests_its_own_example(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, madang_connect: Callable[..., Awaitable[Any]]
) -> None:
    """The server, the typed handler and the test of it, one after the other."""
    (_, server), (_, typed), (_, client), (_, test) = blocks(path, "python")
    assert "Client(" in client
    (tmp_path / "public").mkdir()
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for code in (server, typed, test):
        exec(code, module.__dict__)
    await module.test_an_order(madang_connect)
    alice = await madang_connect(module.io)
    answer = await alice.call("order", {"dish": 1})
    assert answer["error"]["code"] == "invalid_arguments"


def client_of(app: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")  # type: ignore[arg-type]


async def handshakes(app: object) -> None:
    async with client_of(app) as client:
        answer = await client.get("/socket.io/?EIO=4&transport=polling")
        assert answer.status_code == 200, answer.text
        assert answer.text.startswith('0{"sid":"'), answer.text


BESIDE = [code for info, code in blocks(FRAMEWORKS, "python") if info == "run" and "def hello(" in code]


@pytest.mark.parametrize("code", BESIDE, ids=[str(index) for index in range(len(BESIDE))])
async def test_applications_beside_frameworks_let_a_client_in(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("framework")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # Django finds its URLs there
    exec(code, module.__dict__)
    async with client_of(module.app) as client:
        answer = await client.get("/hello")
        assert answer.status_code == 200, answer.text
        assert "hello" in answer.text
    await handshakes(module.app)


# ---- the reference ----


def test_every_setting_is_described_with_its_default() -> None:
    described: dict[str, str] = {}
    for heading in ("Where to listen, and to whom", "Handlers", "Time", "Limits", "Compression"):
        for name, rest in ROW.findall(section("settings.md", heading)):
            assert name not in described, name
            default, meaning = cells(rest)
            assert len(meaning) > 10, name
            described[name] = default
    check_defaults(Config, described)


def test_every_field_of_the_cookie_is_described_with_its_default() -> None:
    rows = ROW.findall(section("settings.md", "Cookie"))
    check_defaults(Cookie, {name: cells(rest)[0] for name, rest in rows})


def test_every_field_of_the_recovery_is_described_with_its_default() -> None:
    rows = ROW.findall(section("settings.md", "Recovery"))
    check_defaults(Recovery, {name: cells(rest)[0] for name, rest in rows})


def test_every_field_of_the_cluster_is_described_with_its_default() -> None:
    rows = ROW.findall(section("settings.md", "Cluster"))
    check_defaults(Cluster, {name: cells(rest)[0] for name, rest in rows})


def test_every_field_of_the_webtransport_is_described_with_its_default() -> None:
    rows = ROW.findall(section("settings.md", "WebTransport"))
    check_defaults(WebTransport, {name: cells(rest)[0] for name, rest in rows})


def check_defaults(kind: type, described: dict[str, str]) -> None:
    actual = {
        field.name: field.default_factory() if field.default_factory is not MISSING else field.default
        for field in fields(kind)
    }
    assert set(described) == set(actual)
    for name, default in actual.items():
        if default is MISSING:
            assert described[name] == "", f"{name} has to be given"
            continue
        written = ast.literal_eval(described[name].strip("`"))
        assert written == default, name
        assert type(written) is type(default), name


def test_every_setting_of_the_client_is_described_with_its_default() -> None:
    rows = ROW.findall(section("settings.md", "Client"))
    assert len(rows) == len(dict(rows))
    assert all(len(cells(rest)[1]) > 10 for _, rest in rows)
    check_defaults(ClientConfig, {name: cells(rest)[0] for name, rest in rows})


@pytest.mark.parametrize("kind", [Config, ClientConfig])
def test_every_setting_is_in_the_docstring(kind: type) -> None:
    for field in fields(kind):
        assert re.search(rf"^ *{field.name}: ", kind.__doc__ or "", re.MULTILINE), field.name


def test_every_limit_is_explained() -> None:
    text = (DOCS / "explanation" / "limits.md").read_text()
    for field in (*fields(Config), *fields(ClientConfig)):
        if field.name.startswith("max_"):
            assert f"`{field.name}`" in text, field.name


def test_settings_that_pages_name_exist() -> None:
    known = {
        field.name
        for kind in (Config, Cluster, Cookie, Recovery, WebTransport, ClientConfig, Health)
        for field in fields(kind)
    }
    # Those of the engines' URLs: `test_cluster_docs`.
    known |= set(re.findall(r"^\| `(\w+)`", (DOCS / "how-to" / "cluster.md").read_text(), re.MULTILINE))
    pattern = re.compile(r"`((?:max|min)_[a-z_]+|[a-z_]+_(?:seconds|bytes))\b")
    for path in PAGES:
        for name in pattern.findall(path.read_text()):
            assert name in known, f"{title(path)} names the setting {name}, which does not exist"


def test_every_reason_is_described() -> None:
    rows = dict(ROW.findall(section("events.md", "Reasons")))
    written = {name: cells(rest)[0].strip("`") for name, rest in rows.items()}
    assert written == {name: value for name, value in vars(Reason).items() if name.isupper()}


def test_every_exception_is_described() -> None:
    rows = dict(ROW.findall(section("errors.md", "Exceptions")))
    kinds = {name: getattr(errors, name) for name in errors.__all__ if name != "Reason"}
    assert set(rows) == set(kinds)
    for name, kind in kinds.items():
        assert issubclass(kind, MadangError)
        parents = [base.__name__ for base in kind.__bases__ if base is not MadangError]
        assert re.findall(r"`(\w+)`", cells(rows[name])[0]) == parents, name


def test_every_refusal_is_described() -> None:
    rows = dict(ROW.findall(section("errors.md", "Refused HTTP requests")))
    kinds = {name: value for name, value in vars(errors).items() if name.isupper() and isinstance(value, tuple)}
    assert {name: tuple(cells(rest)[:3]) for name, rest in rows.items()} == {
        name: (str(code), message, str(status)) for name, (code, message, status) in kinds.items()
    }


CLASSES = ["Server", "Namespace", "Socket", "Target", "Ack", "Outgoing", "Handshake", "Client", "ClientSocket", "Event"]
CLASSES += ["Emitter"]
SHARED = "Choosing whom to talk to"
# Of `Ack` the awaiting is the whole interface; what the hub calls on it is no one else's business.
_TOLD = {"start", "opened", "not_connected", "lost", "given_up", "receive"}
INTERNAL = {
    "Ack": {
        "ask",
        "disconnected",
        "due",
        "expect",
        "expect_more",
        "expect_servers",
        "expire",
        "hold",
        "missing",
        "received",
        "release",
        "seconds",
        "wait",
    },
    "Client": _TOLD,  # what the manager calls, too
    "ClientSocket": _TOLD,
}
# Set when an object is made, so that the class doesn't show them.
_STATE = {"name", "id", "connected", "recovered", "active", "auth", "manager"}
INSTANCE = {
    "Server": {"config", "engine", "hub"},
    "Namespace": {"name", "listeners"},
    "Client": _STATE,
    "ClientSocket": _STATE,
}


@pytest.mark.parametrize("name", CLASSES)
def test_the_whole_api_is_described(name: str) -> None:
    kind = getattr(madang, name)
    public = {member for member in dir(kind) if not member.startswith("_")}
    public |= INSTANCE.get(name, set())
    public -= INTERNAL.get(name, set())
    described = dict(signature(row) for row, _ in ROW.findall(section("api.md", name)))
    shared = dict(signature(row) for row, _ in ROW.findall(section("api.md", SHARED)))
    if "to" in public:
        described |= shared
    if name == "Client":
        described |= dict(signature(row) for row, _ in ROW.findall(section("api.md", "ClientSocket")))
    assert set(described) == public
    for member, parameters in described.items():
        function = inspect.getattr_static(kind, member, None)
        if not inspect.isfunction(function):
            assert parameters is None, f"{name}.{member} is no function"
            continue
        assert parameters is not None, f"{name}.{member} is a function: write its parameters"
        actual = list(inspect.signature(function).parameters.values())[1:]
        written = [part for part in parameters if part != "*"]
        assert written == [("*" if one.kind is one.VAR_POSITIONAL else "") + one.name for one in actual], member


#: What buses and the library call.
_TOLD_BY_BUSES = {"received", "posted", "gone", "malformed", "up", "down", "lost", "moved", "recollection", "requests"}
_PEERS = {
    "broadcast",
    "ask",
    "fetch",
    "join",
    "leave",
    "disconnect",
    "open",
    "shut",
    "open_room",
    "shut_room",
    "publish",
}
_PARTS = {"bus", "events", "on_failed", "on_answer_failed", "own_rooms", "start", "close"}


def test_what_a_server_has_of_its_cluster_is_described() -> None:
    rows = ROW.findall(section("api.md", "Health"))
    names = re.findall(r"^\| (`[^|]+) \|", section("api.md", "Health"), re.MULTILINE)
    assert len(rows) < len(names)  # some are two
    assert re.findall(r"`(\w+)`", " ".join(names)) == [field.name for field in fields(Health)]
    io = madang.Server(cluster="memory://docs")
    for heading, one in (("Membership", io.cluster), ("Peer", Peer("a"))):
        names = re.findall(r"^\| (`[^|]+) \|", section("api.md", heading), re.MULTILINE)
        described = set(re.findall(r"`(\w+)[`(]", " ".join(names)))
        assert described == {name for name in dir(one) if not name.startswith("_")} - _TOLD_BY_BUSES - _PEERS - _PARTS


def signature(row: str) -> tuple[str, list[str] | None]:
    name, bracket, inside = row.partition("(")
    return name, [part for part in inside.rstrip(")").split(", ") if part] if bracket else None


def test_every_public_name_is_mentioned() -> None:
    text = "".join((REFERENCE / page).read_text() for page in ("api.md", "errors.md", "settings.md", "events.md"))
    for name in madang.__all__:
        if name != "__version__":
            assert re.search(rf"\b{name}\b", text), name


def test_the_command_line_is_described() -> None:
    commands = cli.main.commands
    headings = re.findall(r"^## madang (\w+)$", (REFERENCE / "command-line.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(commands)
    for name, command in commands.items():
        rows = dict(ROW.findall(section("command-line.md", f"madang {name}")))
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert set(rows) == {option.opts[0] for option in options}
        printed = " ".join(CliRunner().invoke(cli.main, [name, "--help"]).output.split())
        for option in options:
            default, meaning = cells(rows[option.opts[0]])
            assert meaning == option.help, option.name
            assert option.help is not None
            assert option.help in printed
            if option.show_default:
                actual = str(option.default).replace(str(Path.home()), "~")
                assert default.strip("`") == actual, option.name
            else:
                assert default == "", option.name


def test_the_main_command_is_described() -> None:
    printed = CliRunner().invoke(cli.main, ["--help"]).output
    text = (REFERENCE / "command-line.md").read_text()
    for option in re.findall(r"--[a-z]+", printed):
        assert f"`{option}`" in text, option
    assert "Show the version and exit." in printed


# ---- what the explanation says about the house ----


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = (DOCS / "explanation" / "dependencies.md").read_text()
    named = dict(ROW.findall(text))
    wanted = [
        *project["project"]["dependencies"],
        *itertools.chain(*project["dependency-groups"].values()),
        *project["build-system"]["requires"],
        *itertools.chain(*project["project"]["optional-dependencies"].values()),
    ]
    # "redis[hiredis]>=6.4" are two.
    named_by = [re.split(r"[^]A-Za-z0-9[-]", requirement)[0] for requirement in wanted]
    names = {name for requirement in named_by for name in requirement.strip("]").split("[")}
    assert set(named) == names
    assert all(len(cells(reason)[-1]) > 5 for reason in named.values())


def test_module_names_that_the_explanation_gives_exist() -> None:
    source = ROOT / "src" / "madang"
    for path in [*DOCS.rglob("*.md")]:
        for name in re.findall(
            r"`((?:core|cluster|wire|parsers|transports|rfc|faces|client|apps)/[a-z0-9_/]+(?:\.py)?)`", path.read_text()
        ):
            assert (source / name).exists() or (source / f"{name}.py").exists(), f"{title(path)}: {name}"
