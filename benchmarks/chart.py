"""The bars of a report as one picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.contestants import OURS
from benchmarks.report import Panel

_COLUMNS = 3


def save(panels: Sequence[Panel], path: Path) -> None:
    """Three panels a line; what is ours has a color of its own."""
    lines = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(5 * _COLUMNS, 2.8 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(panels, 1):
        draw(panel, figure.add_subplot(lines, _COLUMNS, number))
    figure.savefig(path, dpi=120)


def draw(panel: Panel, axes: Axes) -> None:
    names, spreads = list(panel.bars), list(panel.bars.values())
    axes.barh(
        names,
        [x.median for x in spreads],
        xerr=[[x.median - x.low for x in spreads], [x.high - x.median for x in spreads]],
        color=["tab:blue" if name.startswith(OURS) else "silver" for name in names],
        ecolor="dimgray",
    )
    axes.invert_yaxis()
    axes.set_title(panel.title, fontsize="medium", loc="right")
    axes.set_xlabel(panel.unit)
    axes.spines[["top", "right"]].set_visible(False)
