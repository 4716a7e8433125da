"""The arithmetic of `benchmarks.cluster`, and its tables."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks.cluster import report
from benchmarks.cluster.figures import Reading, Window, fetching, idling, percentile, publishing
from benchmarks.cluster.works import BACKENDS, WORKS


def window(**changes: object) -> Window:
    told = {"commands": 120, "bytes_in": 12_000, "bytes_out": 24_000}
    fields = {"seconds": 2.0, "nodes": (0.01, 0.05, 0.07), "engine": 0.002, "load": 0.4, "idle": 3.0, "tally": told}
    return Window(**(fields | changes))  # type: ignore[arg-type]


def test_a_window_is_what_happened_between_two_readings() -> None:
    before = Reading(10.0, (1.0, 2.0), 0.5, 0.25, 100.0, {"commands": 7})
    after = Reading(12.0, (1.5, 2.125), 0.75, 0.5, 102.0, {"commands": 19})
    found = Window.between(before, after)
    assert found == Window(2.0, (0.5, 0.125), 0.25, 0.25, 2.0, {"commands": 12})
    # Of 4 s on two cores 2 were idle, and 1.125 are known.
    assert found.strangers(2) == pytest.approx(0.875 / 4)
    assert found.common(2)["load_share"] == 0.125


def test_strangers_are_never_fewer_than_none() -> None:
    assert window(idle=4.5).strangers(2) == 0.0


def test_an_event_costs_its_publisher_and_each_delivery_a_receiver() -> None:
    found = publishing(window(), [6_000, 6_000], 120, apart=True)
    assert found["messages"] == 100
    assert found["messages_per_second"] == 50
    assert found["publisher_us_per_message"] == pytest.approx(100)
    assert found["receivers_us_per_delivery"] == pytest.approx(10)
    assert found["nodes_us_per_delivery"] == pytest.approx(130_000 / 12_000)
    assert found["engine_us_per_message"] == pytest.approx(20)
    assert found["busiest_node_share"] == pytest.approx(0.035)
    assert (found["commands_per_message"], found["bytes_in_per_message"]) == (1.2, 120)


def test_where_the_publisher_has_clients_too_there_is_one_sum() -> None:
    found = publishing(window(nodes=(0.12,), tally={}), [12_000], 120, apart=False)
    assert found["nodes_us_per_delivery"] == pytest.approx(10)
    assert "publisher_us_per_message" not in found
    assert "commands_per_message" not in found


def test_nothing_came() -> None:
    found = publishing(window(), [0, 0], 1, apart=True)
    assert found["messages"] == 0
    assert found["receivers_us_per_delivery"] == 0


def test_fetches() -> None:
    found = fetching(window(), [100.0, 300.0, 200.0, 400.0])
    assert found["fetches"] == 4
    assert found["latency_us"] == {"p50": 200.0, "p95": 400.0}
    assert found["asker_us_per_fetch"] == pytest.approx(2_500)
    assert found["others_us_per_fetch"] == pytest.approx(30_000)
    assert found["bytes_in_per_fetch"] == 3_000


def test_idle_nodes() -> None:
    found = idling(window())
    assert found["cpu_us_per_node_second"] == pytest.approx(130_000 / 6)
    assert found["commands_per_node_second"] == 20


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.95, 3.0), (0.01, 1.0), (1.0, 3.0)])
def test_percentiles_are_values_that_were_there(share: float, value: float) -> None:
    assert percentile([3.0, 1.0, 2.0], share) == value


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 0.5) == 0.0


def results(ours: float, theirs: float, strangers: float = 0.0) -> report.Results:
    def one(cost: float) -> dict[str, object]:
        return {"publisher_us_per_message": cost, "strangers_share": strangers, "load_share": 0.1}

    told = {"madang": [one(ours), one(ours * 3), one(ours / 3)], "node": [one(theirs)]}
    return {("redis", 2, "burst"): told}


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [(20.0, 30.0, "1.50x BETTER"), (30.0, 20.0, "1.50x WORSE"), (20.0, 21.0, "equal (1.05x)")],
)
def test_medians_are_compared(ours: float, theirs: float, words: str) -> None:
    (row,) = report.ratios(results(ours, theirs))
    assert (row["engine"], row["nodes"], row["work"], row["words"]) == ("redis", 2, "burst", words)


def test_what_others_have_disturbed_is_doubtful() -> None:
    found = results(20.0, 30.0, strangers=0.2)
    assert report.ratios(found)[0]["words"] == "1.50x BETTER ?"
    assert "burst redis 2 madang" in report.warnings(found)[0]


def test_tables_have_what_was_measured() -> None:
    table, compared = report.tables(results(20.0, 30.0))
    assert table[1] == ["engine", "nodes", "", "publisher, CPU µs per message", "strangers %"]
    assert table[2][0] == ["Redis, sharded", "2", "Madang", "20.0 (6.67-60.0)", "0"]
    assert compared[2] == [["burst", "Redis, sharded", "2", "publisher, CPU µs per message", "1.50x BETTER"]]


def test_all_that_is_planned_is_known() -> None:
    for backend in BACKENDS.values():
        for works in backend.plan.values():
            assert set(works) <= WORKS.keys()
    assert report.COLUMNS.keys() == report.COMPARED.keys() == WORKS.keys()
