"""`madang lab --measure`, and the command's other options."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from madang import cli
from madang.apps.laboratory import protocol as p
from madang.apps.laboratory.measure import Measured, measurable, measure, table


@pytest.mark.parametrize("name", ["polling", "websocket"])
async def test_figures_of_a_transport(name: str) -> None:
    settings = p.Settings(rate=50, size=100, direction="both", delay_ms=10)
    told: list[Measured] = []
    report = await measure(settings, 0.6, [name], told.append)
    (one,) = report.measured
    assert told == [one]
    assert one.transport == name
    assert one.events_down > 0
    assert one.events_up > 0
    assert one.down_ms is not None
    assert 9.5 <= one.down_ms[0] <= one.down_ms[1]
    assert one.bytes_down_per_event > 50  # half of the events went the other way
    assert one.bytes_up_per_event > 50
    assert (one.requests_per_minute > 0) == (name == "polling")
    assert 0 < one.header_share < 1
    assert one.cpu_ms_per_event > 0
    assert one.lost == 0


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ["--transports", "websocket", "--seconds", "0.3", "--rate", "50", "--binary", "--json", str(file)]
    result = CliRunner().invoke(cli.main, ["lab", "--measure", *options])
    assert result.exit_code == 0, result.output
    head, row = result.output.splitlines()
    assert head == table([])
    assert row.split()[0] == "websocket"
    figures = json.loads(file.read_text())
    assert figures["settings"]["binary"] is True
    assert [one["transport"] for one in figures["measured"]] == ["websocket"]
    assert figures["measured"][0]["up_ms"] is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--measure", "--transports", "carrier pigeon"], f"there are {', '.join(measurable())}"),
        (["--measure", "--rate", "1000000"], "rate"),
        (["--measure", "--direction", "sideways"], "direction"),
        (["--lane-ports", "many"], "write it as 9001-9032"),
        (["--lane-ports", "9-1"], "write it as 9001-9032"),
        (["--lane-ports", "70000"], "write it as 9001-9032"),
    ],
    ids=range(6),
)
def test_what_the_command_refuses(options: list[str], error: str) -> None:
    result = CliRunner().invoke(cli.main, ["lab", *options])
    assert result.exit_code != 0
    assert error in " ".join(result.output.split())
    assert "Traceback" not in result.output
