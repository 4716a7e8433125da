"""Real clients before servers none of which they come to twice in a row."""

import re
from collections import defaultdict

import pytest

from cluster.support.courtyard import Courtyard
from generations.support.guests import STEPS, invited
from generations.support.hosts import Program, hold

SETTINGS: dict[str, object] = {
    "generations": "all",
    "transports": "all",
    "origins": "*",
    "ping_interval_seconds": 2.0,
    "ping_timeout_seconds": 12.0,
    "poll_timeout_seconds": 3.0,
}

#: Where an id stands in what is asked for.
SID = re.compile(r"sid=([\w-]{20})|/1/[a-z-]+/([\w-]{20})")


def check_that_nothing_stuck(courtyard: Courtyard) -> None:
    """No request was refused, and those of a session went to all servers."""
    asked: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for server, status, method, target in courtyard.requests():
        found = SID.search(target)
        if found is not None:
            asked[found[1] or found[2]].append((server, status))
        else:
            assert status in (200, 101), f"{status} for {method} {target}\n{courtyard.log}"
    for sid, requests in asked.items():
        # 499: a client that leaves breaks off its poll. One more may be under way when its good-bye arrives.
        wrong = [status for _, status in requests[:-2] if status not in (200, 101, 499)]
        assert not wrong, f"{sid}: {wrong}\n{courtyard.log}"
    busy = [requests for requests in asked.values() if len(requests) >= 12]
    assert busy
    assert all(len({server for server, _ in requests}) == len(courtyard.servers) for requests in busy)


@pytest.mark.node
async def test_all_generations_meet(node: str) -> None:
    # WebSockets of the drafts before RFC 6455 need `madang serve`, and one of the servers is behind another one.
    drafts = [("0.7.11", "websocket"), ("0.8.7", "websocket")]
    guests = [
        guest
        for guest in invited(None)
        if guest.runtime == "Node.js" and (guest.version, guest.transport) not in drafts
    ]
    async with Courtyard(SETTINGS, "generations.support.meeting:app") as courtyard:
        async with Program([node, "meet.mjs"], courtyard.url, guests) as program:
            found = await hold(courtyard, [program], restart=False)
            print("\n".join(program.noise))
        tracebacks = courtyard.tracebacks()
        print(courtyard.log[-20_000:])
        failed = [
            f"{guest.name}: {step['step']}: {step['error']}"
            for guest in guests
            for step in found[guest.name]
            if step.get("ok") is False
        ]
        assert not failed, "\n".join(failed)
        assert all({step["step"] for step in found[guest.name]} == {*STEPS} - {"reconnect"} for guest in guests)
        check_that_nothing_stuck(courtyard)
    assert not tracebacks, "\n".join(tracebacks)
