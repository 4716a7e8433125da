"""The plug-in, in a pytest of its own: with pytest-asyncio in both modes, with anyio, and without any of them."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
INSTALLED = any(
    entry.value == "madang.pytest_plugin" for entry in importlib.metadata.entry_points(group="pytest11", name="madang")
)
#: In an environment that was made before the plug-in was, it is not found by itself.
PLUGIN = () if INSTALLED else ("-p", "madang.pytest_plugin")
QUICK = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faker", "-W", "error")
ASYNCIO = ("-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function")
STRICT = (*ASYNCIO, "-o", "asyncio_mode=strict")
AUTO = (*ASYNCIO, "-o", "asyncio_mode=auto")
ANYIO = ("-p", "no:asyncio")
WAYS = {"strict": (STRICT, "asyncio"), "auto": (AUTO, ""), "anyio": (ANYIO, "anyio")}

APP = """
import asyncio
import pytest
from madang import Server

io = Server(ping_interval_seconds=25)
left = []
io.on("disconnect", lambda socket, reason: left.append(reason))
io.on_stop(lambda: left.append("stopped"))


@io.event
async def remind(socket, seconds):
    await asyncio.sleep(seconds)
    socket.emit("reminder")


@io.event
def fail(socket):
    raise ValueError("broken")


@pytest.fixture
def anyio_backend():
    return "asyncio"

"""


def play(pytester: pytest.Pytester, way: str, tests: str, *more: str) -> pytest.RunResult:
    options, marker = WAYS[way]
    if marker:
        tests = re.sub(r"^( *)(async def test_)", rf"\1@pytest.mark.{marker}\n\1\2", tests, flags=re.MULTILINE)
    pytester.makepyfile(APP + tests)
    return pytester.runpytest_subprocess(*PLUGIN, *options, *QUICK, "--strict-markers", *more)


@pytest.mark.parametrize("way", WAYS)
def test_fixtures(pytester: pytest.Pytester, way: str) -> None:
    result = play(
        pytester,
        way,
        """
async def test_clients(madang_connect):
    alice = await madang_connect(io)
    bob = await madang_connect(io, "/", {"token": 1}, address="10.0.0.7")
    assert len(io.sockets) == 2
    assert bob.socket.handshake.address == "10.0.0.7"
    io.emit("news", 1)
    await alice.expect("news", 1)


def test_they_were_closed():
    assert left == ["client namespace disconnect"] * 2 + ["stopped"]
    assert not io.sockets


async def test_clock(madang_clock, madang_connect):
    client = await madang_connect(io)
    client.emit("remind", 3600)
    await madang_clock.advance(3599)
    await client.expect_nothing()
    await madang_clock.advance(1)
    await client.expect("reminder")
    assert madang_clock.now == 3600


async def test_clock_alone(madang_clock):
    await asyncio.sleep(600)
    assert madang_clock.now == 600


class TestInAClass:
    async def test_method(self, madang_connect):
        assert (await madang_connect(io)).connected


async def test_unnoticed(madang_connect):
    client = await madang_connect(io)
    client.emit("fail")


async def test_taken(madang_connect):
    client = await madang_connect(io)
    client.emit("fail")
    await client.expect_nothing()
    [error] = client.server.take_errors()
    assert isinstance(error, ValueError)


@pytest.mark.madang_allow_errors
async def test_allowed(madang_connect):
    client = await madang_connect(io)
    client.emit("fail")
""",
    )
    result.assert_outcomes(passed=7, failed=1)
    result.stdout.fnmatch_lines(["*a handler of the server has failed: ValueError('broken')*"])


def test_from_another_fixture_and_misused(pytester: pytest.Pytester) -> None:
    result = play(
        pytester,
        "auto",
        """
from hypothesis import given, strategies


@pytest.fixture
async def client(madang_connect):
    return await madang_connect(io)


async def test_it(client, madang_clock):
    client.emit("remind", 60)
    await madang_clock.advance(60)
    await client.expect("reminder")


def test_not_async(madang_connect):
    pass


@given(number=strategies.integers())
async def test_hypothesis(number, madang_connect):
    pass
""",
    )
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*need a test that is async def*"])
    result.stdout.fnmatch_lines(["*with @given use madang.testing.connect*"])


def test_a_real_server(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        APP
        + """
import json
import urllib.request


def get(url):
    with urllib.request.urlopen(url) as response:
        return response.read().decode()


def test_it(madang_server):
    url = madang_server(io)
    assert get(url + "/socket.io/?EIO=4&transport=polling").startswith('0{"sid"')


def test_an_application(madang_server):
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("beside"))])
    url = madang_server(io.asgi(app))
    assert get(url) == "beside"
    assert get(url + "/socket.io/?EIO=4&transport=polling").startswith('0{"sid"')


def fails(url):
    def post(query, body):
        request = urllib.request.Request(f"{url}/socket.io/?EIO=4&transport=polling&sid={sid}", body)
        with urllib.request.urlopen(request) as response:
            assert response.read() == b"ok"

    sid = json.loads(get(url + "/socket.io/?EIO=4&transport=polling")[1:])["sid"]
    post(sid, b"40")
    post(sid, b'42["fail"]')


def test_failing(madang_server):
    fails(madang_server(io))


@pytest.mark.madang_allow_errors
def test_allowed(madang_server):
    fails(madang_server(io))
"""
    )
    result = pytester.runpytest_subprocess(*PLUGIN, *QUICK, "-p", "no:asyncio", "-p", "no:anyio")
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["*a handler of the server has failed: ValueError('broken')*"])


def test_it_costs_nothing_when_it_is_not_used() -> None:
    program = (
        "import sys, pytest; known = set(sys.modules); import madang.pytest_plugin; "
        "print(sorted(name for name in set(sys.modules) - known if name.startswith('madang') or 'asyncio' in name))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['madang', 'madang.pytest_plugin']"


def test_pytest_finds_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"madang": "madang.pytest_plugin"}
