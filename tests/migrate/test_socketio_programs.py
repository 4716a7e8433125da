"""Each program plays on python-socketio, and on ours under `madang serve` and plain uvicorn: nobody can tell which."""

from typing import Any

import pytest

from migrate.programs import PROGRAMS
from migrate.stage import OURS, Stage


async def played(name: str, stage_name: str) -> dict[str, Any]:
    async with Stage(stage_name) as stage:
        await PROGRAMS[name](stage)
        return stage.transcript()


@pytest.mark.parametrize("name", sorted(PROGRAMS))
async def test_it_plays_the_same(name: str) -> None:
    expected = await played(name, "python-socketio")
    assert any(expected.values()), "nothing was noted"
    for stage in OURS:
        assert await played(name, stage) == expected, stage
