"""Plots of results, as SVG for pages of the documentation. They need matplotlib, which the group `bench` has.

The same results give the same file. Nothing is drawn behind the plots, and their colours can be read on light and on
dark. matplotlib is imported where it draws: not everybody who runs the suite has it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bars import compared_metrics
from .figures import CPU, MEMORY, P99, RATE, Metric, Results, Spread, ratio, spread
from .peers import OURS, PEERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path("images") / "benchmarks"
GREY = "#808b96"
#: Each peer has its colour and its mark in all plots.
STYLES = {
    "madang": ("#2f81f7", "o"),
    "madang-compiled": ("#1f6feb", "D"),
    "madang-asgi": ("#79b8ff", "s"),
    "node-ws": ("#3fa34d", "^"),
    "node-uws": ("#d29922", "v"),
    "python-socketio": ("#e5534b", "<"),
    "python-socketio-aiohttp": ("#c06c9c", ">"),
    "socketioxide": ("#b87333", "P"),
    "floor": ("#808b96", "X"),
}
COMPARED = {"cpu": CPU, "throughput": RATE, "latency": P99}
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "svg.hashsalt": "madang",  # names inside the file don't change from run to run
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def write(results: Results, docs: Path) -> list[str]:
    """Draws what these results can show. Returns lines of Markdown with the pictures.

    Args:
        results: of the suite.
        docs: the folder of the page; the files go to ``images/benchmarks`` in it.
    """
    lines = []
    for name, metric in COMPARED.items():
        rows = relative(results, metric)
        if rows:
            title = f"{metric.name}: how many times better Madang is"
            if metric is P99:
                title = "p99 of the latency: how many times shorter Madang's is"
            draw_ratios(docs / FOLDER / f"{name}.svg", title, rows)
            lines.append(f"![{title}]({FOLDER / name}.svg)")
    sizes = {peer: found for peer, steps in results.get("idle", {}).items() if (found := spread(MEMORY, steps))}
    if sizes:
        title = "Memory of an idle client, KiB"
        draw_bars(docs / FOLDER / "memory.svg", title, sizes)
        lines.append(f"![{title}]({FOLDER / 'memory'}.svg)")
    return lines


def relative(results: Results, metric: Metric) -> dict[str, dict[str, Spread]]:
    """Work, peer: how many times better Madang is in one figure."""
    rows: dict[str, dict[str, Spread]] = {}
    for work, by_peer in results.items():
        if OURS not in by_peer or metric not in compared_metrics(work):
            continue
        for peer in (name for name in by_peer if name != OURS):
            found = ratio(metric, by_peer[OURS], by_peer[peer])
            if found is not None:
                rows.setdefault(work, {})[peer] = found
    return rows


def draw_ratios(path: Path, title: str, rows: Mapping[str, Mapping[str, Spread]]) -> None:
    """One line for each work, one mark for each peer; right of 1 Madang is better."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 1.3 + 0.34 * len(rows)), layout="constrained")
        axes = figure.subplots()
        peers = [peer for peer in STYLES if any(peer in found for found in rows.values())]
        for number, peer in enumerate(peers):
            color, mark = STYLES[peer]
            shift = (number - (len(peers) - 1) / 2) * 0.09  # so that marks on one spot are seen
            points = [(at + shift, rows[work][peer]) for at, work in enumerate(rows) if peer in rows[work]]
            middles = [found.median for _, found in points]
            axes.errorbar(
                middles,
                [at for at, _ in points],
                xerr=[
                    [found.median - found.low for _, found in points],
                    [found.high - found.median for _, found in points],
                ],
                fmt=mark,
                markersize=5,
                color=color,
                elinewidth=1,
                label=PEERS[peer].title,
            )
        axes.axvline(1, color=GREY, linewidth=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.invert_yaxis()
        plain_numbers(axes, "x")
        axes.set_title(title, fontsize=10, loc="left")
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
        save(figure, path)


def draw_bars(path: Path, title: str, sizes: Mapping[str, Spread]) -> None:
    """One bar for each peer."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 0.8 + 0.3 * len(sizes)), layout="constrained")
        axes = figure.subplots()
        bars = axes.barh(
            [PEERS[peer].title for peer in sizes],
            [found.median for found in sizes.values()],
            color=[STYLES[peer][0] for peer in sizes],
        )
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=10, loc="left")
        save(figure, path)


def draw_lines(
    path: Path,
    title: str,
    across: str,
    lines: Mapping[str, Sequence[tuple[float, Spread]]],
) -> None:
    """One line for each peer over a growing number, both axes logarithmic."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = figure.subplots()
        for peer, points in lines.items():
            color, mark = STYLES[peer]
            middles = [found.median for _, found in points]
            spans = [
                [found.median - found.low for _, found in points],
                [found.high - found.median for _, found in points],
            ]
            at = [value for value, _ in points]
            axes.errorbar(
                at, middles, yerr=spans, marker=mark, markersize=4, color=color, linewidth=1.4, label=PEERS[peer].title
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(
            *round_limits([edge for points in lines.values() for _, one in points for edge in (one.low, one.high)])
        )
        plain_numbers(axes, "x")
        plain_numbers(axes, "y")
        axes.set_xlabel(across)
        axes.set_title(title, fontsize=10, loc="left")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
        save(figure, path)


def round_limits(values: Sequence[float]) -> tuple[float, float]:
    """The next smaller and larger of ..., 0.5, 1, 2, 5, 10, ...: so that there are numbers at both ends."""
    steps = [digit * 10.0**power for power in range(-6, 10) for digit in (1, 2, 5)]
    return max(step for step in steps if step <= min(values)), min(step for step in steps if step > max(values))


def plain_numbers(axes: Axes, which: str) -> None:
    """0.5, 1, 2, 20 and 10,000 in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def save(figure: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})  # type: ignore[attr-defined]
