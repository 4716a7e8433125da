"""What `benchmarks` makes of the figures: ratios, bars, files that go on and are merged, tables, pages, plots."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from benchmarks import bars, machine, profile, report, scaling
from benchmarks.document import Document, merged
from benchmarks.figures import CPU, MEMORY, RATE, Results, Spread, ratio
from benchmarks.pages import put_into
from benchmarks.peers import PEERS, SERVERS
from benchmarks.works import WORKS


def steps(*costs: float, strangers: float = 0.0) -> list[dict[str, Any]]:
    """Repetitions of a server that does nothing else: what an operation costs is how many it can do."""
    return [
        {
            "cpu_us_per_operation": cost,
            "per_second": 1e6 / cost,
            "latency_us": {"p50": cost, "p95": cost, "p99": cost * 2, "max": cost * 3},
            "server_share": 1.0,
            "strangers_share": strangers,
            "load_share": 0.1,
            "run": 0,
            "repetition": number,
        }
        for number, cost in enumerate(costs, 1)
    ]


def sizes(*kib: float) -> list[dict[str, Any]]:
    return [
        {"bytes_per_client": size * 1024, "load_share": 0.1, "run": 0, "repetition": number}
        for number, size in enumerate(kib, 1)
    ]


RUN = {
    "date": "2026-01-01 00:00:00 +0000",
    "command": "python -m benchmarks",
    "commit": "abcdef0",
    "source": "1",
    "quick": False,
    "repetitions": 3,
    "machine": {
        "kernel": "Linux 6",
        "system": "Debian",
        "processor": "one",
        "cores": 2,
        "memory_gib": 8,
        "load_average": [0.0, 0.1, 0.2],
        "python": "Python 3.13.0, built with profile-guided optimisation",
    },
    "versions": {"madang": {"Python": "3.13.0"}},
    "problems": [],
}


def document(results: Results, **changes: Any) -> Document:
    return Document([{**RUN, **changes}], results)


# ---- ratios ----


def test_a_ratio_is_that_of_the_medians_and_its_spread_that_of_the_pairs() -> None:
    # Medians 20 and 30; pairs 40/10, 30/20, 20/40.
    found = ratio(CPU, steps(10, 20, 40), steps(40, 30, 20))
    assert found == Spread(1.5, 0.5, 4.0)


def test_more_is_better_where_more_is_done() -> None:
    found = ratio(RATE, steps(20), steps(30))
    assert found is not None
    assert found.median == pytest.approx(1.5)


def test_what_was_not_measured_together_makes_no_pair() -> None:
    later = [{**step, "repetition": step["repetition"] + 3} for step in steps(300)]
    assert ratio(CPU, steps(10, 20, 30), [*steps(40), *later]) == Spread(8.5, 4.0, 8.5)


def test_nothing_has_no_ratio() -> None:
    assert ratio(CPU, steps(10), sizes(1)) is None
    assert ratio(MEMORY, sizes(1), sizes(0)) is None


# ---- bars ----


def verdict(results: Results, peer: str, metric: str) -> bars.Verdict:
    (found,) = [one for one in bars.verdicts(results) if (one.peer, one.metric) == (peer, metric)]
    return found


@pytest.mark.parametrize(
    ("theirs", "outcome", "short_by"), [(15.0, "reached", 0.0), (14.9, "missed", 0.0067), (7.5, "missed", 0.5)]
)
def test_a_bar_is_reached_or_missed_by_so_much(theirs: float, outcome: str, short_by: float) -> None:
    found = verdict({"echo-50": {"madang": steps(10), "node-ws": steps(theirs)}}, "node-ws", "CPU per operation")
    assert (found.least, found.outcome) == (1.5, outcome)
    assert found.short_by == pytest.approx(short_by, abs=0.0001)


@pytest.mark.parametrize(("theirs", "outcome"), [(10.0, "reached"), (9.2, "equal"), (9.0, "missed")])
def test_no_worse_is_reached_by_who_is_equal(theirs: float, outcome: str) -> None:
    found = verdict({"echo-50": {"madang": steps(10), "node-uws": steps(theirs)}}, "node-uws", "CPU per operation")
    assert found.outcome == outcome


def test_bars_hold_for_the_works_that_they_are_about() -> None:
    both = {"madang": steps(10), "floor": steps(9), "python-socketio": steps(90)}
    found = bars.verdicts({"echo-50": both, "fanout": both, "connect": both})
    assert {(one.work, one.peer) for one in found} == {
        ("echo-50", "python-socketio"),
        ("fanout", "python-socketio"),
        ("fanout", "floor"),
    }
    assert all(one.outcome == "reached" for one in found)


def test_memory_has_bars_of_its_own() -> None:
    results = {"idle": {"madang": sizes(3), "node-ws": sizes(25), "node-uws": sizes(5)}}
    assert verdict(results, "node-ws", "Memory per client").outcome == "reached"
    found = verdict(results, "node-uws", "Memory per client")
    assert (found.least, found.outcome) == (2.0, "missed")


def test_each_build_is_judged_and_its_place_is_told() -> None:
    results = {
        "echo-50": {"madang": steps(50), "madang-compiled": steps(20), "node-ws": steps(40), "node-uws": steps(10)}
    }
    assert {one.ours for one in bars.verdicts(results)} == {"madang", "madang-compiled"}
    places = {(ours, metric): (place, of) for _, ours, metric, place, of in bars.places(results)}
    assert places["madang", "CPU per operation"] == (3, 3)
    assert places["madang-compiled", "CPU per operation"] == (2, 3)
    short = report.in_short(results)
    assert short[0].endswith(
        "the last of all peers in echo-50 (CPU per operation), echo-50 (Throughput), echo-50 (p99)"
    )
    assert short[1].endswith("no work")


def test_all_that_bars_name_is_known() -> None:
    for bar in bars.BARS:
        assert set(bar.peers) <= PEERS.keys()
        assert bar.kinds is None or bar.kinds <= {work.kind for work in WORKS.values()}


# ---- files ----


def test_a_run_that_was_cut_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "results" / "latest.json"
    began = document({})
    began.add("echo-50", "madang", 1, {"per_second": 1.0})
    began.save(path)
    found = Document.load(path)
    assert found == began
    assert found.has("echo-50", "madang", 1)
    assert not found.has("echo-50", "madang", 2)
    assert not found.has("fanout", "madang", 1)
    found.runs.append({**RUN, "problems": ["late"]})
    found.add("echo-50", "madang", 2, {"per_second": 2.0})
    assert [step["run"] for step in found.results["echo-50"]["madang"]] == [0, 1]
    assert found.problems == ["late"]


@pytest.mark.parametrize("text", ["", "[]", '{"results": {}}'])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="has no results of this suite"):
        Document.load(path)


def test_merged_files_have_each_work_from_the_last_one() -> None:
    first = document({"echo-50": {"madang": steps(10)}, "fanout": {"madang": steps(1)}}, commit="first")
    second = document({"echo-50": {"madang": steps(20)}}, commit="second", problems=["spoilt"])
    found = merged([first, second])
    assert found.results["echo-50"]["madang"][0]["cpu_us_per_operation"] == 20
    assert [found.runs[by_peer["madang"][0]["run"]]["commit"] for by_peer in found.results.values()] == [
        "second",
        "first",
    ]
    assert found.problems == ["spoilt"]
    assert first.results["echo-50"]["madang"][0]["run"] == 0


def test_runs_of_which_nothing_is_left_are_forgotten() -> None:
    found = merged(
        [
            document({"echo-50": {"madang": steps(10)}}, commit="old"),
            document({"echo-50": {}}),
            document({"echo-50": {"madang": steps(20)}}, commit="new"),
        ]
    )
    assert [run["commit"] for run in found.runs] == ["new"]


# ---- tables ----


def test_tables_tell_ratios_bars_and_figures() -> None:
    results = {
        "echo-50": {"madang": steps(10, 11, 12), "node-ws": steps(14, 14, 14)},
        "idle": {"madang": sizes(3), "node-ws": sizes(25)},
    }
    summary, beside, echo, idle = report.tables(results)
    assert summary[1:] == (
        ["work", "figure", "than Node.js, ws"],
        [
            ["echo-50", "CPU per operation", "1.27 (1.17-1.40)"],
            ["idle", "Memory per client", "8.33"],
        ],
    )
    assert beside[0].startswith("Beside Node.js, ws: at least 1.5 times in CPU per operation")
    assert beside[2][0][-1] == "CPU per operation 15% short of 1.5; Throughput 15% short of 1.5"
    assert beside[2][1][-1] == "reached"
    assert echo[2][0][:2] == ["Madang", "11.0 (10.0-12.0)"]
    assert idle[1:] == (["", "Memory per client KiB"], [["Madang", "3.00"], ["Node.js, ws", "25.0"]])


@pytest.mark.parametrize(("ours", "told"), [(10.0, "1.50"), (15.5, "equal 0.97"), (30.0, "worse 0.50")])
def test_a_ratio_is_told_in_words(ours: float, told: str) -> None:
    rows = report.ratios({"echo-50": {"madang": steps(ours), "node-ws": steps(15)}})
    assert rows[0]["told"] == told


def test_what_others_have_disturbed_is_doubtful() -> None:
    results = {"echo-50": {"madang": steps(10, strangers=0.2), "node-ws": steps(15)}}
    assert report.ratios(results)[0]["told"] == "1.50 ?"
    assert "echo-50 madang" in report.warnings(results)[0]


def test_the_report_says_what_it_ran_on() -> None:
    found = document({"echo-50": {"madang": steps(10), "node-ws": steps(15)}}, problems=["one thing"])
    text = report.text_report(found)
    assert "2026-01-01 00:00:00 +0000, commit abcdef0, source 1" in text
    assert "Python 3.13.0, built with profile-guided optimisation" in text
    assert "one run each" in text
    markdown = report.markdown_report(found, ["![a plot](plot.svg)"])
    assert markdown.index("How many times better") < markdown.index("a plot") < markdown.index("Beside Node.js")
    assert markdown.endswith("- one thing\n")


def test_merged_runs_say_which_works_are_theirs() -> None:
    parts = [document({"echo-50": {"madang": steps(10)}}), document({"fanout": {"madang": steps(1)}}, commit="fedcba9")]
    lines = report.circumstances(merged(parts))
    assert "2026-01-01 00:00:00 +0000, commit abcdef0, source 1, load average 0.00 0.10 0.20: echo-50" in lines
    assert "2026-01-01 00:00:00 +0000, commit fedcba9, source 1, load average 0.00 0.10 0.20: fanout" in lines
    assert sum("Debian" in line for line in lines) == 1


# ---- pages and plots ----


def test_a_report_goes_between_the_marks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nafter\n")
    put_into(page, "bench", "new\n")
    put_into(page, "bench", "newer\n")
    assert page.read_text() == "before\n<!-- bench: begin -->\n\nnewer\n\n<!-- bench: end -->\nafter\n"
    with pytest.raises(ValueError, match="has no place for it: <!-- cluster: begin -->"):
        put_into(page, "cluster", "new")


def test_plots_of_the_same_results_are_the_same_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots are drawn where the group `bench` is installed")
    from benchmarks import plots

    results = {
        "echo-50": {"madang": steps(10, 12), "node-ws": steps(15, 14)},
        "idle": {"madang": sizes(3), "node-ws": sizes(25)},
    }
    lines = plots.write(results, tmp_path / "one")
    assert lines == plots.write(json.loads(json.dumps(results)), tmp_path / "two")
    assert len(lines) == 4
    for line in lines:
        name = line.partition("](")[2].rstrip(")")
        text = (tmp_path / "one" / name).read_text()
        assert text == (tmp_path / "two" / name).read_text()
        assert "Node.js, ws" in text
        assert len(text) < 200_000


# ---- how costs grow ----


def test_lines_of_what_grows_have_a_point_for_each_number() -> None:
    quiet = [{"cpu_us_per_operation": 10.0, "bytes_per_client": 2048.0, "idle_us_per_client_second": 0.0, "run": 0}]
    results = {"clients-1000": {"madang": quiet}, "clients-10": {"madang": quiet}, "size-16": {"floor": steps(8)}}
    found = scaling.points(results, scaling.SERIES["memory"], "madang")
    assert found == [(10.0, Spread(2.0, 2.0, 2.0)), (1000.0, Spread(2.0, 2.0, 2.0))]
    tables = {title: (head, rows) for title, head, rows in scaling.tables(results)}
    assert tables[scaling.SERIES["size"].title] == (["bytes", "the floor (C, epoll)"], [["16", "8.00"]])
    assert tables[scaling.SERIES["idle"].title][1] == [["10", "0.00"], ["1,000", "0.00"]]
    assert scaling.SERIES["fanout"].title not in tables


@pytest.mark.parametrize(("most", "numbers"), [(50_000, [10, 100, 1_000, 10_000, 50_000]), (500, [10, 100, 500])])
def test_there_are_as_many_connections_as_there_can_be(most: int, numbers: list[int]) -> None:
    options = argparse.Namespace(repeat=1, works=["fanout"], most=most)
    assert scaling.planned(options, ["madang"]) == [(1, "fanout", number, "madang") for number in numbers]


# ---- where the time goes ----

LIBC = "(/usr/lib/libc.so.6)"
STREAM = "UVStream_write (/project/uvloop/loop.c:110074)"
FEED = "FrameReader.feed (/home/me/src/madang/rfc/ws.py:639)"


@pytest.mark.parametrize(
    ("stack", "where"),
    [
        (f"{FEED};{STREAM};write {LIBC}", "kernel: write"),
        (f"{FEED};{STREAM};write {LIBC};0x7f00 {LIBC};0x7f01 {LIBC}", "kernel: write"),
        (f"run (/project/uvloop/loop.c:1);epoll_pwait {LIBC}", None),
        (f"run (/project/uvloop/loop.c:1);epoll_pwait {LIBC};0x7f00 {LIBC}", None),
        (f"{FEED};Py_DECREF (/opt/include/object.h:944)", "Madang: rfc"),
        (f"{FEED};{STREAM};Py_DECREF (/opt/include/object.h:944);0x7f00 {LIBC}", "uvloop and libuv"),
        (f"{FEED};json_decode.part.0 (/home/me/msgspec/_core.cpython-313.so)", "msgspec"),
        (f"{FEED};gc_collect_main (/usr/lib/libpython3.13.so.1.0);visit (/usr/lib/libpython3.13.so.1.0)", profile.GC),
        (f"{FEED};echo ({SERVERS}/madang_app.py:33)", "the application"),
        ("Server.emit (/home/me/src/madang/server.py:2)", "Madang: server"),
        ("CPyDef_session___Session___receive (/home/me/build/madang__mypyc.so)", "Madang: core"),
        ("CPyDef_core___session___Session___receive (/home/me/build/madang__mypyc.so)", "Madang: core"),
        ("CPyDef_link___Link___write (/home/me/build/madang__mypyc.so)", "Madang: faces"),
        ("CPyDef_packet___Packet_____init__ (/home/me/build/madang__mypyc.so)", "Madang: server"),
        ("run (/usr/lib/python3.13/asyncio/runners.py:160)", profile.OTHER),
        ("0x7f00 (/usr/lib/unknown.so)", profile.OTHER),
    ],
)
def test_a_look_counts_for_the_innermost_thing_with_a_name(stack: str, where: str | None) -> None:
    assert profile.place(stack, profile.modules()) == where


def test_looks_share_out_what_an_operation_costs() -> None:
    lines = [f"{FEED} 30", f"{FEED};{STREAM} 10", f"{FEED};{STREAM};write {LIBC} 20", f"run (loop.c:1);poll {LIBC} 900"]
    rows = profile.shares(profile.looked(lines, {}), cost=80.0, system=0.5)
    assert {row.where: row.us for row in rows} == pytest.approx(
        {"Madang: rfc": 30, "uvloop and libuv": 10, "kernel: write": 20, "kernel: the rest (epoll and more)": 20}
    )
    assert sum(row.share for row in rows) == pytest.approx(1)


def test_the_kernel_has_no_more_than_it_had() -> None:
    lines = [f"{FEED} 10", f"{FEED};write {LIBC} 60", f"{FEED};read {LIBC} 30"]
    rows = profile.shares(profile.looked(lines, {}), cost=10.0, system=0.5)
    assert {row.where: row.us for row in rows} == pytest.approx(
        {"Madang: rfc": 5.0, "kernel: write": 10 / 3, "kernel: read": 5 / 3}
    )


def test_a_command_is_told_without_the_files_that_it_has_written() -> None:
    arguments = [
        "--repeat",
        "3",
        "--json",
        "a.json",
        "--resume",
        "--markdown=b.md",
        "--works",
        "idle",
        "--markdown",
        "c",
    ]
    assert machine.without_files(arguments) == ["--repeat", "3", "--works", "idle"]
