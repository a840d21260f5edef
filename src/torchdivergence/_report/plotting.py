"""Plots of values, statistics and reports. matplotlib is imported when a plot is drawn."""

import math
import textwrap
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from torchdivergence._report.intervals import Intervals
from torchdivergence._states.histogram import Distribution
from torchdivergence._states.profile import PositionBin

_GRID, _UNDECIDED = "0.8", "0.45"
_BETTER = {"a": "#0072B2", "b": "#D55E00"}  # blue and vermilion, which color-blind people tell apart
_WIDEST = 4.0  # margins of error: rows of a forest plot beyond them are drawn at the edge
_NAME_WIDTH = 22  # characters in a line of a name above a forest plot, so that two names fit beside each other
_SHORT = 15.0  # the last number of an axis over the first one, below which it needs labels between powers of ten
_NUMBERS = 1.03  # where the numbers of a forest plot stand, in widths of its axes


class ForestRow(NamedTuple):
    """The difference of one mean between two candidates, with its confidence interval."""

    name: str
    difference: float
    """That of b minus that of a."""
    lower: float
    upper: float
    scale: float
    """Factor of the printed numbers: 100 for a percentage."""
    verdict: Literal["a", "b", "undecided"]
    """Which candidate is better."""
    better: Literal["higher", "lower"]
    """Which means are better."""


def plot_report(
    distribution: Distribution,
    profile: Sequence[PositionBin],
    confidence: float,
    axes: Any = None,
    label: str | None = None,
) -> Any:
    """The tail of the divergences, and their mean by position with a confidence band: the figure and its two axes."""
    axes = _axes(2, 4.6) if axes is None else axes
    _tail(axes[0], distribution, "tokens", label)
    axes[0].set(title="Tail of the per-token KL", xlabel="KL(p‖q) of a token, nats")
    axes[0].set_ylabel("share of tokens with this KL or more")
    _profile(axes[1], profile, confidence, label)
    _finish(axes)
    return axes[0].figure, axes


def plot_tail(
    distribution: Distribution, name: str, unit: str, scale: float, ax: Any = None, label: str | None = None
) -> Any:
    """The tail of a divergence over rows, whose values in nats are divided by a scale: the figure and its axes."""
    ax = _axes(1, 5.5) if ax is None else ax
    _tail(ax, distribution, "rows", label, scale)
    ax.set(title=f"Tail of {name}", xlabel=with_unit(f"{name} of a row", unit))
    ax.set_ylabel("share of rows with this value or more")
    _finish([ax])
    return ax.figure, ax


def plot_values(
    values: Tensor | float | Sequence[Tensor | float], name: str, ax: Any = None, label: str | None = None
) -> Any:
    """Values of several steps as a line, or one value, or those of many rows, as dots: the figure and its axes."""
    steps = isinstance(values, Sequence)
    numbers = _numbers(values)
    if ax is None:
        ax = _axes(1, 5.5, pyplot=True)
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


def plot_forest(labels: tuple[str, str], rows: Sequence[ForestRow], ax: Any = None) -> Any:
    """The differences of several means between candidates a and b, with their intervals: the figure and its axes.

    The means have different units, so each difference is drawn in units of its margin of error, half the width of its
    interval. Zero is in the middle, and b is better on the right, whether a higher or a lower mean is better.

    Args:
        labels: Names of a and b; long ones are wrapped.
        rows: One line each, from top to bottom.
        ax: Matplotlib axes to draw on.
    """
    a, b = (textwrap.fill(label, _NAME_WIDTH) for label in labels)
    lines = 1 + max(a.count("\n"), b.count("\n"))
    ax = _axes(1, 7.5, 1.1 + 0.2 * lines + 0.32 * len(rows)) if ax is None else ax
    for place, row in enumerate(rows):
        _forest_row(ax, place, row)
    ax.axvline(0, color="black", linewidth=1)
    ax.set(xlim=(-_WIDEST - 1, _WIDEST + 1), ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)))
    ax.set_yticklabels([row.name for row in rows])
    ax.set_xlabel("difference / margin of error")
    for x, side, text, color in (
        (0.0, "left", f"{a}\n← is better", _BETTER["a"]),
        (1.0, "right", f"{b}\nis better →", _BETTER["b"]),
        (_NUMBERS, "left", "difference\n[interval]", "black"),
    ):
        ax.text(x, 1.02, text, color=color, ha=side, va="bottom", transform=ax.transAxes)
    ax.tick_params(left=False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax.figure, ax


def _forest_row(ax: Any, place: int, row: ForestRow) -> None:
    margin, color = (row.upper - row.lower) / 2, _BETTER.get(row.verdict, _UNDECIDED)
    numbers = [_signed(row.scale * x) for x in (row.difference, row.lower, row.upper)]
    text = "{} [{}, {}]".format(*numbers) if math.isfinite(margin) else f"{numbers[0]} (no interval)"
    ax.text(_NUMBERS, place, text, color=color, va="center", transform=ax.get_yaxis_transform())
    ax.axhline(place, color=_GRID, linewidth=0.8, zorder=0)
    if not math.isfinite(margin):
        return
    sign = 1 if row.better == "higher" else -1
    center, *ends = (sign * x / margin if margin else sign * x * math.inf if x else 0.0 for x in row[1:4])
    if abs(center) <= _WIDEST:
        ax.plot(ends, [place, place], color=color, linewidth=2)
        ax.plot([center], [place], "o", color=color, markersize=6)
    else:
        ax.plot([math.copysign(_WIDEST, center)], [place], ">" if center > 0 else "<", color=color)


def _signed(x: float) -> str:
    return f"{x:+.3g}" if x else "0"


def _tail(ax: Any, distribution: Distribution, rows: str, label: str | None, scale: float = 1.0) -> None:
    """The tail without the smallest 1 % of the rows, with marks at the median, the 99 % quantile and the maximum."""
    ax.set(xscale="log", yscale="log")
    start, (numbers, shares) = distribution.quantile(0.01), distribution.tail()
    left_out = sum(x < start for x in numbers)
    (line,) = ax.plot(
        [x / scale for x in numbers[left_out:]],
        shares[left_out:],
        drawstyle="steps-pre",
        linewidth=1.5,
        label=_label(distribution, rows, label),
    )
    for name, q, share in (
        ("median", 0.5, 0.5),
        ("99 %", 0.99, 0.01),
        ("maximum", 1.0, 1 / max(1, distribution.total)),
    ):
        place = distribution.quantile(q) / scale
        if 0 < place < math.inf and share * distribution.total >= 1:
            ax.plot([place], [share], "o", color=line.get_color(), markersize=5)
            if label is None:
                style = {"ha": "right", "va": "top", "textcoords": "offset points", "fontsize": "small"}
                ax.annotate(f"{name}: {f'{place:#.2g}'.rstrip('.')}", (place, share), (-7, -1), **style)
    ax.autoscale(axis="y")
    ax.set_ylim(top=1.5)
    ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    ax.yaxis.set_minor_formatter("")
    _label_ticks(ax.xaxis)
    ax.grid(color=_GRID, linewidth=0.8)


def _label_ticks(axis: Any, formatter: Any = None) -> None:
    """Label the powers of ten of a logarithmic axis; if there are one or two of them, numbers between them instead."""
    ticker, (low, high) = import_module("matplotlib.ticker"), axis.get_view_interval()
    is_short = high < _SHORT * low
    on_log_scale = ticker.LogLocator(subs=(1, 2, 3, 5, 7) if is_short else (1,), numticks=8)
    axis.set_major_locator(ticker.MaxNLocator(3) if high < 2 * low else on_log_scale)
    axis.set_major_formatter(formatter or ("{x:g}" if is_short else ticker.LogFormatterSciNotation()))
    axis.set_minor_formatter("")


def _label(distribution: Distribution, rows: str, label: str | None) -> str | None:
    """The label, with the numbers of rows that have no place on a logarithmic axis."""
    missing = {"0": distribution.zeros, "infinite": distribution.infinite}
    counts = [f"{count:,} of {distribution.total:,} are {what}" for what, count in missing.items() if count]
    return f"{label or rows} ({', '.join(counts)})" if counts else label


def _profile(ax: Any, profile: Sequence[PositionBin], confidence: float, label: str | None) -> None:
    """The means by position, each with its confidence interval."""
    positions = [(1 + x.first + 1 + x.last) / 2 for x in profile]
    (line,) = ax.plot(positions, [x.mean.value for x in profile], "o-", markersize=3, linewidth=1, label=label)
    bounds = [Intervals(confidence, x.sequences, x.rows).bounds(x.mean, "log") for x in profile]
    known = [all(map(math.isfinite, pair)) for pair in bounds]
    if any(known):
        band = zip(*bounds, strict=True)
        ax.fill_between(positions, *band, where=known, color=line.get_color(), alpha=0.2, linewidth=0)
    what = f" with {100 * confidence:.10g} % intervals" if any(known) else "" if profile else ": no positions"
    ax.set(xscale="log", ylabel="mean KL(p‖q), nats", title=f"Mean KL by position{what}")
    _label_ticks(ax.xaxis, lambda position, _: f"{position:g}" if position == round(position) else "")
    means = [y for line in ax.lines for y in line.get_ydata()]
    hidden = _limit_means(ax, means)
    ax.set_xlabel("position in the sequence" + (f"\n(no dot where the mean is {hidden})" if hidden else ""))
    ax.grid(color=_GRID, linewidth=0.8)


def _limit_means(ax: Any, means: Sequence[float]) -> str:
    """Wide bands do not hide the means. Returns which means are not on the axis."""
    inner = [y for y in means if 0 < y < math.inf]
    is_log = bool(inner) and max(inner) > 10 * min(inner)
    ax.set_yscale(**{"value": "log", "nonpositive": "mask"} if is_log else {"value": "linear"})
    ax.autoscale(axis="y")  # another profile may have set limits
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, min(inner) / 4) if is_log else 0, min(high, 4 * max(inner)) if inner else high)
    return " or ".join(
        what for what, value in (("0", 0.0), ("infinite", math.inf)) if value in means and (value or is_log)
    )


def _axes(columns: int, width: float, height: float = 4.0, pyplot: bool = False) -> Any:
    """New axes. A figure of pyplot is shown by ``plt.show()``, as those of torchmetrics are."""
    module, name = ("matplotlib.pyplot", "figure") if pyplot else ("matplotlib.figure", "Figure")
    try:
        figure = getattr(import_module(module), name)
    except ImportError:
        raise ModuleNotFoundError("plot() needs matplotlib: pip install 'torchdivergence[plot]'.") from None
    return figure(figsize=(width * columns, height), layout="constrained").subplots(1, columns)


def _finish(axes: Sequence[Any]) -> None:
    """One legend for all axes, below them. It replaces the legend of fewer plots."""
    figure = axes[0].figure
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    for old in figure.legends:
        old.remove()
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        title = "dots: median, 99 % and maximum"
        figure.legend(handles, labels, loc="outside lower center", ncols=3, title=title, frameon=False)
