"""Plots of values, statistics and reports. matplotlib is imported when a plot is drawn."""

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

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


def plot_histogram(
    distribution: Distribution, name: str, unit: str, scale: float, ax: Any = None, label: str | None = None
) -> Any:
    """The histogram of a divergence over rows, whose values in nats are divided by a scale: the figure and its axes."""
    ax = _axes(1) if ax is None else ax
    _histogram(ax, distribution, with_unit(f"{name} of a row", unit), f"Distribution of {name}", label, scale)
    ax.spines[["top", "right"]].set_visible(False)
    if label is not None:
        _legend([ax])
    return ax.figure, ax


def plot_values(
    values: Tensor | float | Sequence[Tensor | float], name: str, ax: Any = None, label: str | None = None
) -> Any:
    """Values of several steps as a line, or one value, or those of many rows, as dots: the figure and its axes."""
    steps = isinstance(values, Sequence)
    numbers = _numbers(values)
    if ax is None:
        ax = _axes(1, pyplot=True)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.xaxis.set_visible(len(numbers) > 1)
    ax.plot(numbers, "o-" if steps else "o", markersize=3, linewidth=1, label=label)
    ax.set(xlabel="step" if steps else "row", ylabel=name)
    ax.spines[["top", "right"]].set_visible(False)
    if label is not None:
        ax.legend(frameon=False)
    return ax.figure, ax


def _numbers(values: Any) -> Tensor:
    """What is drawn: the values of steps, or those of rows."""
    if not isinstance(values, Sequence):
        return torch.as_tensor(values).detach().cpu().flatten()
    steps = [torch.as_tensor(x).detach().cpu() for x in values]
    if not steps or any(x.numel() != 1 for x in steps):
        raise ValueError(
            f"plot() takes a value, or a list of one value for each step, but the sizes in the list are "
            f"{[x.numel() for x in steps]}: pass the rows of reduction='none' as one tensor, such as torch.cat(values)."
        )
    return torch.stack([x.flatten()[0] for x in steps])


def with_unit(name: str, unit: str) -> str:
    """The label of an axis."""
    return f"{name}, {unit}" if unit else name


def _axes(columns: int, pyplot: bool = False) -> Any:
    """New axes. A figure of pyplot is shown by ``plt.show()``, as those of torchmetrics are."""
    module, name = ("matplotlib.pyplot", "figure") if pyplot else ("matplotlib.figure", "Figure")
    try:
        figure = getattr(import_module(module), name)
    except ImportError:
        raise ModuleNotFoundError("plot() needs matplotlib: pip install 'torchdivergence[plot]'.") from None
    return figure(figsize=(5.5 * columns, 4), layout="constrained").subplots(1, columns)


def _legend(axes: Any) -> None:
    """One legend for all axes, below them. It replaces the legend of fewer plots."""
    figure = axes[0].figure
    for old in figure.legends:
        old.remove()
    lines = "lines: " + ", ".join(f"{_NAMES[q]} {style}" for q, style in _STYLES.items())
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, title=lines, frameon=False)


def _histogram(
    ax: Any, distribution: Distribution, name: str, title: str, label: str | None, scale: float = 1.0
) -> None:
    low, high, counts = distribution.histogram()
    low, high = ([x / scale for x in edges] for edges in (low, high))
    total, zeros = distribution.total, distribution.total - sum(counts) - distribution.infinite
    # bins differ in width on a logarithmic axis
    shares = [100 * n / total / math.log2(end / start) for start, end, n in zip(low, high, counts, strict=True)]
    text = label if not zeros or label is None else f"{label} ({zeros / total:.1%} are 0)"
    patches = _bars(ax, low, high, shares, text)
    color = patches.get_facecolor()
    for q, style in _STYLES.items():
        place = distribution.quantile(q) / scale
        if 0 < place < float("inf"):
            mark = f"{_NAMES[q]}: {place:.2g}" if label is None else None
            ax.axvline(place, color=color[:3], linestyle=style, linewidth=1, label=mark)
    if label is None and ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left", frameon=False, fontsize="small")
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
    ax.xaxis.set_major_formatter("{x:g}")
    drawn = [y for line in ax.lines for y in line.get_ydata() if y > 0]
    if drawn and max(drawn) > 10 * min(drawn):
        ax.set_yscale("log")
        ax.autoscale(axis="y")  # another profile may have set limits for a linear axis
    else:
        ax.set_ylim(bottom=0)
    ax.set_title("Mean KL by position" if profile else "Mean KL by position: no sequences")


class ForestRow(NamedTuple):
    """A difference with its interval, and which of two is better."""

    name: str
    difference: float
    lower: float
    upper: float
    scale: float
    """Factor of the printed numbers: 100 for a percentage."""
    verdict: Literal["a", "b", "undecided"]
    better: Literal["higher", "lower"]


def plot_forest(labels: tuple[str, str], rows: Sequence[ForestRow], ax: Any = None) -> Any:
    """Differences with their intervals, one below the other: the figure and its axes."""
    ax = _axes(1) if ax is None else ax
    for place, row in enumerate(rows):
        size = max(abs(row.lower), abs(row.upper), abs(row.difference)) or 1.0
        low, middle, high = (x / size for x in (row.lower, row.difference, row.upper))
        ax.plot([low, high], [place, place], color=f"C{row.verdict != 'undecided':d}")
        ax.plot([middle], [place], "o", color=f"C{row.verdict != 'undecided':d}")
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(range(len(rows)), [row.name for row in rows])
    ax.invert_yaxis()
    ax.set_xlabel(f"{labels[1]} - {labels[0]}, relative to the largest bound")
    return ax.figure, ax
