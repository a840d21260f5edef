"""Plots of reports and statistics. matplotlib is imported when a plot is drawn."""

import math
from collections.abc import Sequence
from typing import Any

from torchdivergence._states.histogram import Distribution
from torchdivergence._states.profile import PositionBin

_STYLES = {0.5: "dotted", 0.99: "dashed", 1.0: "solid"}
_NAMES = {0.5: "median", 0.99: "99 %", 1.0: "maximum"}


def plot_report(
    distribution: Distribution, profile: Sequence[PositionBin], axes: Any = None, label: str | None = None
) -> Any:
    """The histogram of divergences, and their mean by position: the figure and its two axes."""
    axes = _axes(2) if axes is None else axes
    _histogram(axes[0], distribution, "KL(p‖q) of a token, nats", "Distribution of per-token KL", label)
    _profile(axes[1], profile, label)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    if label is not None:
        _legend(axes)
    return axes[0].figure, axes


def plot_histogram(distribution: Distribution, name: str, unit: float, ax: Any = None, label: str | None = None) -> Any:
    """The histogram of a divergence over rows: the figure and its axes."""
    ax = _axes(1) if ax is None else ax
    _histogram(ax, distribution, f"{name} of a row", f"Distribution of {name}", label, unit)
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
    """One legend for all axes, below them. It replaces the legend of fewer plots."""
    figure = axes[0].figure
    for old in figure.legends:
        old.remove()
    lines = "lines: " + ", ".join(f"{_NAMES[q]} {style}" for q, style in _STYLES.items())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, title=lines, frameon=False)


def _histogram(
    ax: Any, distribution: Distribution, name: str, title: str, label: str | None, unit: float = 1.0
) -> None:
    low, high, counts = distribution.histogram()
    low, high = ([x / unit for x in edges] for edges in (low, high))
    total, zeros = distribution.total, distribution.total - sum(counts) - distribution.infinite
    # bins differ in width on a logarithmic axis
    shares = [100 * n / total / math.log2(end / start) for start, end, n in zip(low, high, counts, strict=True)]
    text = label if not zeros or label is None else f"{label} ({zeros / total:.1%} are 0)"
    patches = _bars(ax, low, high, shares, text)
    color = patches.get_facecolor()
    for q, style in _STYLES.items():
        place = distribution.quantile(q) / unit
        if 0 < place < float("inf"):
            ax.axvline(place, color=color[:3], linestyle=style, linewidth=1)
            if label is None:
                ax.annotate(
                    f" {_NAMES[q]} {place:.2g}", (place, 0.98), xycoords=("data", "axes fraction"), rotation=90,
                    va="top", ha="right", fontsize="small",
                )  # fmt: skip
    ax.set(xscale="log", xlabel=name, ylabel="% of rows per factor of 2", title=title)


def _bars(ax: Any, low: list[float], high: list[float], shares: list[float], label: str | None) -> Any:
    """Adjacent bins are drawn with one outline."""
    edges, heights = low[:1] or [1.0], []  # without bins the legend still needs a patch
    for start, end, share in zip(low, high, shares, strict=True):
        if start > edges[-1]:
            edges.append(start)
            heights.append(0.0)
        edges.append(end)
        heights.append(share)
    return ax.stairs(heights, edges, fill=True, alpha=0.5, label=label)


def _profile(ax: Any, profile: Sequence[PositionBin], label: str | None) -> None:
    positions = [(1 + x.first + 1 + x.last) / 2 for x in profile]
    means = [x.mean for x in profile]
    ax.plot(positions, means, "o-", markersize=3, linewidth=1, label=label)
    ax.set(xscale="log", xlabel="position in the sequence", ylabel="mean KL(p‖q), nats")
    if any(mean > 0 for mean in means):  # a logarithmic axis needs a positive number
        ax.set_yscale("log")
    ax.set_title("Mean KL by position" if profile else "Mean KL by position: no sequences")
