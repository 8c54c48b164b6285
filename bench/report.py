"""The figures of a run in the documentation: a table of all promises, the other lines, and plots as SVG."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil

from bench.table import Line, render
from cli.environment import ROOT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCUMENT = ROOT / "docs" / "05-performance.md"
IMAGES = ROOT / "docs" / "images"
BEGIN, END = "<!-- figures of `python -m bench --write` -->", "<!-- end of the figures -->"
BLUE, GREY, ORANGE = "#2563eb", "#9ca3af", "#ea580c"


def write(by_part: Mapping[str, Sequence[Line]]) -> None:
    """Replace the figures of docs/05-performance.md and draw the plots anew."""
    promises = [line for lines in by_part.values() for line in lines if line.target is not None]
    count = sum(line.is_reached is True for line in promises)
    gigabytes = psutil.virtual_memory().total / 1e9
    sections = [
        f"Measured on {datetime.now(UTC):%d %B %Y} on {psutil.cpu_count()} processor cores and {gigabytes:.0f} GB of"
        f" memory, otherwise idle. {count} of {len(promises)} promises are reached.",
        render(promises),
        "Figures without a promise:",
        render([line for lines in by_part.values() for line in lines if line.target is None]),
    ]
    head, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n" + "\n\n".join(sections) + f"\n\n{END}{tail}")
    plot_promises(promises, IMAGES / "performance.svg")
    plot_curves(by_part.get("curves", ()), IMAGES / "performance-curves.svg")


def score(line: Line) -> float:
    """How far a promise is reached: 1 exactly, more is better, whatever the sign of the target."""
    assert line.target is not None
    value = median(line.ours if line.target.unit else line.ratios)
    return value / line.target.bound if line.target.sign == ">=" else line.target.bound / max(value, 1e-9)


def plot_promises(lines: Sequence[Line], file: Path) -> None:
    """A bar for each promise: its figure over its target."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.32 * len(lines) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    values = [min(score(line), 4.0) for line in lines]
    colours = [BLUE if line.is_reached else ORANGE for line in lines]
    axes.barh(names_of(lines), values, color=colours, height=0.7)
    axes.axvline(1.0, color=GREY, linewidth=1)
    axes.invert_yaxis()
    axes.set_xlim(0, 4.0)
    axes.set_xlabel("figure / promise; 1 or more is reached, bars end at 4")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, file)


def names_of(lines: Sequence[Line]) -> list[str]:
    """What is measured against what, for each line; a line without a name has that of the line before."""
    names: list[str] = []
    name = ""
    for line in lines:
        name = name if line.name in ("", "the same") else line.name
        names.append(f"{name} / {line.reference}")
    return names


def plot_curves(lines: Sequence[Line], file: Path) -> None:
    """Throughput by processes."""
    if not lines:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for place, (start, title) in enumerate((("accepted", "jobs accepted per second"), ("images", "images per second"))):
        group = [line for line in lines if line.name.startswith(start)]
        counts = [int(line.name.rpartition(" ")[2]) for line in group]
        axes = figure.add_subplot(1, 2, place + 1)
        axes.plot(counts, [median(line.ours) for line in group], marker="o", color=BLUE, label="Safelight")
        if start == "images":
            axes.plot(counts, [median(line.theirs) for line in group], color=GREY, label="the devices alone")
            axes.legend(frameon=False, fontsize=8)
        axes.set_xlabel("API processes" if start == "accepted" else "workers")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(counts)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, file)


def save(figure: "Figure", file: Path) -> None:
    """Write an SVG, the same bytes for the same figures."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "safelight", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
