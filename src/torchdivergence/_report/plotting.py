"""Values on matplotlib's axes. It knows no states; matplotlib is imported when it is called for."""

import math
from typing import TYPE_CHECKING, Any

from torchdivergence._states.histogram import Distribution

if TYPE_CHECKING:
    from torchdivergence.report import Summary

_STYLES = {0.5: "dotted", 0.99: "dashed", 1.0: "solid"}
_NAMES = {0.5: "median", 0.99: "99 %", 1.0: "maximum"}


def plot_report(summary: "Summary", axes: Any = None, label: str | None = None) -> Any:
    """The histogram of divergences and their course along the sequence: the figure and its two axes."""
    axes = _axes(2) if axes is None else axes
    _histogram(axes[0], summary.distribution, "D(p‖q) of a row, nats", label)
    _course(axes[1], summary, label)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    if label is not None:
        _legend(axes)
    return axes[0].figure, axes


def plot_histogram(found: Distribution, name: str, unit: float, ax: Any = None, label: str | None = None) -> Any:
    """The histogram of the rows of any divergence: the figure and its axes."""
    ax = _axes(1) if ax is None else ax
    _histogram(ax, found, name, label, unit)
    ax.spines[["top", "right"]].set_visible(False)
    if label is not None:
        _legend([ax])
    return ax.figure, ax


def _axes(columns: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plot() needs matplotlib: pip install 'torchdivergence[plot]'.") from None
    return Figure(figsize=(5.5 * columns, 4), layout="constrained").subplots(1, columns)


def _legend(axes: Any) -> None:
    """One for all axes, where nothing lies under it, in place of the one of fewer plots."""
    figure = axes[0].figure
    for old in figure.legends:
        old.remove()
    lines = "lines: " + ", ".join(f"{_NAMES[q]} {style}" for q, style in _STYLES.items())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, title=lines, frameon=False)


def _histogram(ax: Any, found: Distribution, name: str, label: str | None, unit: float = 1.0) -> None:
    low, high, counts = found.histogram()
    low, high = ([x / unit for x in edges] for edges in (low, high))
    zeros = found.total - sum(counts) - found.infinite
    # bins are not of one width on a logarithmic axis
    shares = [100 * n / found.total / math.log2(end / start) for start, end, n in zip(low, high, counts, strict=True)]
    text = label if not zeros or label is None else f"{label} ({zeros / found.total:.1%} are 0)"
    patches = _bars(ax, low, high, shares, text)
    color = patches.get_facecolor()
    for q, style in _STYLES.items():
        place = found.quantile(q) / unit
        if 0 < place < float("inf"):
            ax.axvline(place, color=color[:3], linestyle=style, linewidth=1)
            if label is None:
                ax.annotate(
                    f" {_NAMES[q]} {place:.2g}", (place, 0.98), xycoords=("data", "axes fraction"), rotation=90,
                    va="top", ha="right", fontsize="small",
                )  # fmt: skip
    ax.set(xscale="log", xlabel=name, ylabel="rows, % in a factor of 2", title="How the divergences lie")


def _bars(ax: Any, low: list[float], high: list[float], shares: list[float], label: str | None) -> Any:
    """Bins that touch are drawn as one outline."""
    edges, heights = low[:1] or [1.0], []  # without bins there is still a patch, for the legend
    for start, end, share in zip(low, high, shares, strict=True):
        if start > edges[-1]:
            edges.append(start)
            heights.append(0.0)
        edges.append(end)
        heights.append(share)
    return ax.stairs(heights, edges, fill=True, alpha=0.5, label=label)


def _course(ax: Any, summary: "Summary", label: str | None) -> None:
    places = [(1 + stretch.first + 1 + stretch.last) / 2 for stretch in summary.positions]
    means = [stretch.mean for stretch in summary.positions]
    ax.plot(places, means, "o-", markersize=3, linewidth=1, label=label)
    ax.set(xscale="log", xlabel="place in the sequence", ylabel="mean D(p‖q), nats")
    if any(mean > 0 for mean in means):  # zeros alone have no logarithms
        ax.set_yscale("log")
    ax.set_title("Along the sequence" if places else "Along the sequence: no sequences")
