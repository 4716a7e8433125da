"""All generations of clients in one room, each over each of its transports.

The guests are listed in `support/guests.py`; what each does is written in `tests/clients/node/meeting.mjs`. They all
come at the same time: each tries alone what it can, then all talk in one room, the server is restarted, all come back
and talk again, and leave.

`make test` holds a meeting with some of each version, `make exhaustive` one for each version.

For work on one of them, `MADANG_TEST_CLIENTS`, a regular expression, says who comes, as "0.9.17, Node"; and
`MADANG_TEST_COMMAND` says where, as "node tests/generations/oracles/server.mjs {port} socket.io-0.9".
"""

import contextlib
import os
import sys
from pathlib import Path

import pytest

from generations.support.guests import STEPS, VERSIONS, Guest, invited
from generations.support.hosts import Host, Pages, Program, hold
from generations.support.record import record
from support import pypi
from support.chromium import chromium
from support.server import ServerProcess, selected_faces

pytestmark = [pytest.mark.node, pytest.mark.browser]

#: The program for clients in Python.
PYTHON = Path(__file__).parents[1] / "clients" / "python" / "meet.py"
SETTINGS: dict[str, object] = {
    "generations": "all",
    "transports": "all",
    # Under Node.js, clients of 0.7 and 0.8 say that they are a page of www.example.com.
    "origins": "*",
    # 0.7 comes back when these have passed: it believes for so long in a connection that is lost.
    "ping_interval_seconds": 2.0,
    "ping_timeout_seconds": 12.0,
    "poll_timeout_seconds": 3.0,
}


#: A film takes long to open, and clients of 0.9 count from the handshake.
PATIENT = {**SETTINGS, "ping_timeout_seconds": 60.0}


@pytest.mark.parametrize(
    "version",
    [pytest.param(None, id="some of each"), *(pytest.param(one, marks=pytest.mark.exhaustive) for one in VERSIONS)],
)
async def test_all_generations_meet(node: str, version: str | None, subtests: pytest.Subtests) -> None:
    guests = invited(version)
    assert guests, "nobody is invited"
    places: dict[str, list[Guest]] = {}
    for guest in guests:
        places.setdefault(guest.source if guest.runtime == "Python" else guest.runtime, []).append(guest)
    async with contextlib.AsyncExitStack() as stack:
        server = ServerProcess(selected_faces()[0], PATIENT if version else SETTINGS, "generations.support.meeting:app")
        stack.enter_context(server)
        hosts: list[Host] = []
        for place, some in places.items():
            if place == "Chromium":
                browser = await stack.enter_async_context(chromium())
                hosts.append(await stack.enter_async_context(Pages(browser, server.url, some)))
            elif place in pypi.PACKAGES:
                command = [sys.executable, str(PYTHON)]
                hosts.append(await stack.enter_async_context(Program(command, server.url, some, pypi.installed(place))))
            else:
                hosts.append(await stack.enter_async_context(Program([node, "meet.mjs"], server.url, some)))
        found = await hold(server, hosts)
        for host in hosts:
            if isinstance(host, Program):
                print("\n".join(host.noise))
        print(server.log[-5000:])
        tracebacks = server.tracebacks()
    for guest in guests:
        steps = found[guest.name]
        with subtests.test(guest.name):
            failed = [f"{step['step']}: {step['error']}" for step in steps if step.get("ok") is False]
            assert not failed, "\n".join([guest.name, *failed])
            assert {step["step"] for step in steps} == set(STEPS)
            assert {step["step"] for step in steps if step.get("lacks")} == set(guest.lacks)
    if path := os.environ.get("MADANG_TEST_RECORD"):
        record(Path(path), found)
    assert not tracebacks, "\n".join(tracebacks)
