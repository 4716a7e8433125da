"""All generations of clients in one room, each over each of its transports.

The guests are listed in `support/guests.py`; what each does is written in `tests/clients/node/meeting.mjs`. They all
come at the same time: each tries alone what it can, then all talk in one room, the server is restarted, all come back
and talk again, and leave.

`make test` holds a small meeting, `make exhaustive` the whole one. For work on one of them: `MADANG_TEST_CLIENTS`,
a regular expression, says who comes, as `MADANG_TEST_CLIENTS="0.9.17, Node"`; `MADANG_TEST_COMMAND` says where, as
`"node tests/generations/oracles/server.mjs {port} socket.io-0.9"`.
"""

import contextlib
import os
from pathlib import Path

import pytest

from generations.support.guests import STEPS, Guest, invited
from generations.support.hosts import Host, Pages, Program, hold
from generations.support.record import record
from support.chromium import chromium
from support.server import ServerProcess, selected_faces

pytestmark = [pytest.mark.node, pytest.mark.browser]

SETTINGS: dict[str, object] = {
    "generations": "all",
    "transports": "all",
    # Under Node.js, clients of 0.7 and 0.8 say that they are a page of www.example.com.
    "origins": "*",
    # A film takes long to open, and clients of 0.9 count from the handshake.
    "ping_interval_seconds": 5.0,
    "ping_timeout_seconds": 30.0,
}


@pytest.mark.parametrize(
    "everyone", [pytest.param(False, id="some"), pytest.param(True, id="all", marks=pytest.mark.exhaustive)]
)
async def test_all_generations_meet(node: str, everyone: bool, subtests: pytest.Subtests) -> None:
    guests = invited(everyone)
    assert guests, "nobody is invited"
    places: dict[str, list[Guest]] = {}
    for guest in guests:
        places.setdefault(guest.runtime, []).append(guest)
    async with contextlib.AsyncExitStack() as stack:
        server = ServerProcess(selected_faces()[0], SETTINGS, "generations.support.meeting:app")
        stack.enter_context(server)
        hosts: list[Host] = []
        for runtime, some in places.items():
            if runtime == "Chromium":
                browser = await stack.enter_async_context(chromium())
                hosts.append(await stack.enter_async_context(Pages(browser, server.url, some)))
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
