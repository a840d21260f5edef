"""Plots of reports and statistics."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.stats
import torch

from tests.support.definitions import near
from tests.support.helpers import profile_of
from tests.support.reports import spread_pair, texts
from torchdivergence import DivergenceReport, DivergenceStatistics, KLDivergence
from torchdivergence._report.plotting import ForestRow, plot_forest, plot_report
from torchdivergence._states.moments import Estimate
from torchdivergence._states.profile import PositionBin
from torchdivergence.functional import kl_divergence


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def drawn_tail(ax: Any, curve: int = 0) -> list[tuple[float, float]]:
    """The points of one of the curves; its marks are lines, too."""
    line = [line for line in ax.lines if line.get_drawstyle() == "steps-pre"][curve]
    return list(zip(*line.get_data(), strict=True))


def drawn_marks(ax: Any) -> dict[float, float]:
    """The shares at the marked values."""
    marks = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    return {line.get_xdata()[0]: line.get_ydata()[0] for line in marks}


def report_on(*rows: torch.Tensor) -> DivergenceReport:
    report = DivergenceReport()
    report.update(*rows)
    return report


def test_the_tail_has_the_share_of_tokens_that_reach_each_value_and_ends_at_the_maximum() -> None:
    p, q, _ = texts()
    report = report_on(p, q)
    figure, (tail, profile) = report.plot()
    rows = kl_divergence(p, q, log_prob=True, reduction="none").numpy()
    points = drawn_tail(tail)
    assert all(share == np.mean(rows >= x) for x, share in points)
    assert points[-1] == (rows.max(), 1 / rows.size)
    assert points[0][1] == pytest.approx(0.99, abs=2 / rows.size)
    values = report.to_dict()
    assert drawn_marks(tail) == {values["kl_median"]: 0.5, values["kl_p99"]: 0.01, values["kl_max"]: 1 / rows.size}
    assert len(profile.lines[0].get_xdata()) == len(profile_of(report))
    figure.draw_without_rendering()
    assert {"10 %", "100 %"} <= {text.get_text() for text in tail.get_yticklabels()}


def test_the_tail_of_statistics_is_in_the_unit_of_the_metric_and_names_its_marks() -> None:
    p, q = spread_pair()
    metric = DivergenceStatistics(KLDivergence(log_prob=True, base=2))
    metric.update(p, q)
    figure, ax = metric.plot()
    rows = kl_divergence(p, q, log_prob=True, reduction="none", base=2).numpy()
    points = drawn_tail(ax)
    assert all(share == pytest.approx(np.mean(rows >= x * (1 - 1e-15))) for x, share in points)
    assert points[-1][0] == pytest.approx(rows.max())
    values = metric.to_dict()  # 77 rows: fewer than one is beyond the 99 % quantile
    assert [text.get_text() for text in ax.texts] == [
        f"median: {values['median']:.2g}",
        f"maximum: {values['max']:.2g}",
    ]
    assert ax.get_xlabel() == "KLDivergence of a row, bits"
    assert not figure.legends
    metric.plot(ax, label="again")
    figure.draw_without_rendering()


def test_several_reports_have_one_legend_below_the_curves() -> None:
    axes: Any = None
    for noise in 0.1, 0.3, 1.0:
        figure, axes = report_on(*texts(noise)[:2]).plot(axes, label=f"noise {noise}")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["noise 0.1", "noise 0.3", "noise 1.0"]
    figure.draw_without_rendering()
    lowest = min(ax.get_tightbbox().y0 for ax in axes)
    assert legend.get_window_extent().y1 <= lowest
    assert not axes[0].texts and len({line.get_color() for line in axes[1].lines}) == 3


def test_the_numbers_of_zero_and_of_infinite_divergences_are_in_the_legend() -> None:
    p, q, _ = texts()
    q[:, :10] = p[:, :10]
    q[0, 20, p[0, 20].argmax()] = q[1, 30, p[1, 30].argmax()] = -math.inf
    figure, (tail, profile) = report_on(p, q).plot(label="masked")
    (entry,) = figure.legends[0].get_texts()
    assert entry.get_text() == "masked (60 of 240 are 0, 2 of 240 are infinite)"
    assert drawn_tail(tail)[-1][1] == 2 / 240
    assert profile.get_xlabel().endswith("(no dot where the mean is infinite)")
    figure.draw_without_rendering()


def test_equal_models_have_an_empty_tail_and_a_profile_of_zeros() -> None:
    p, _, _ = texts()
    figure, (tail, profile) = report_on(p, p).plot()
    assert not drawn_tail(tail) and not drawn_marks(tail)
    assert figure.legends[0].get_texts()[0].get_text() == "tokens (240 of 240 are 0)"
    assert not any(profile.lines[0].get_ydata()) and profile.get_ylim()[0] == 0
    figure.draw_without_rendering()


@pytest.mark.parametrize("tokens", [1, 3, 9, 40, 1000])
@pytest.mark.parametrize("noise", [1e-9, 1.0])
def test_the_labels_of_an_axis_do_not_overlap_and_there_are_two_at_least(tokens: int, noise: float) -> None:
    p, q = near((4, tokens, 3), 3.0, noise)
    figure, axes = report_on(p, q).plot()
    figure.draw_without_rendering()
    for ax in axes:
        shown = [label for label in ax.get_xticklabels(which="both") if label.get_text()]
        low, high = ax.get_xlim()
        boxes = [label.get_window_extent() for label in shown if low <= label.get_position()[0] <= high]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert len(boxes) >= (1 if tokens == 1 and ax is axes[1] else 2)


def test_rows_without_positions_have_no_profile_and_the_title_tells_so() -> None:
    p, q, _ = texts()
    figure, (_, profile) = report_on(p[:, 0], q[:, 0]).plot()
    assert profile.get_title() == "Mean KL by position: no positions"
    figure.draw_without_rendering()


def with_band(*bins: tuple[float, float, float]) -> tuple[Any, Any]:
    """A figure and the axes of a profile with these means, clustered errors and numbers of sequences."""
    profile = [
        PositionBin(i, i, Estimate(mean, math.nan, error), sequences, 100)
        for i, (mean, error, sequences) in enumerate(bins)
    ]
    report = report_on(*texts()[:2])
    report.compute()
    figure, (_, ax) = plot_report(report._results["kl"], profile, 0.9)
    figure.draw_without_rendering()
    return figure, ax


def test_the_band_of_the_profile_is_the_confidence_interval_of_each_mean() -> None:
    bins = (0.02, 0.004, 8.0), (0.03, 0.002, 7.5), (0.025, math.nan, 1.0), (0.01, 0.001, 6.0)
    _, ax = with_band(*bins)
    corners = {tuple(x) for band in ax.collections for path in band.get_paths() for x in path.vertices.tolist()}
    for position, (mean, error, sequences) in enumerate(bins, 1):
        t = scipy.stats.t.ppf(0.95, sequences - 1)
        bounds = [mean * math.exp(sign * t * error / mean) for sign in (-1, 1)]
        at = sorted({y for x, y in corners if x == position and math.isfinite(y)})
        assert at == pytest.approx(bounds, rel=1e-6) if math.isfinite(t * error) else not at
    assert ax.get_title() == "Mean KL by position with 90 % intervals"


def test_a_wide_band_does_not_hide_the_means_and_a_mean_of_zero_is_told() -> None:
    _, ax = with_band((0.1, 0.2, 2.0), (0.11, 0.01, 9.0))
    assert 0.11 < ax.get_ylim()[1] < 0.5
    _, ax = with_band((0.1, 0.2, 2.0), (0.001, 0.0001, 9.0), (0.0, 0.0, 9.0))
    assert ax.get_yscale() == "log" and ax.get_ylim()[0] > 1e-4
    assert ax.get_xlabel().endswith("(no dot where the mean is 0)")


FOREST = [
    ForestRow("KL mean, nats", -0.002, -0.003, -0.001, 1, "b", "lower"),
    ForestRow("Accuracy, %", -0.004, -0.006, -0.002, 100, "a", "higher"),
    ForestRow("Agreement, %", 0.001, -0.001, 0.003, 100, "undecided", "higher"),
    ForestRow("far", 1.0, 0.99, 1.01, 1, "a", "lower"),
    ForestRow("of one text", 0.5, math.nan, math.nan, 1, "undecided", "higher"),
    ForestRow("equal", 0.0, 0.0, 0.0, 1, "undecided", "higher"),
]


def test_a_forest_plot_has_each_difference_in_margins_of_error_on_the_side_of_the_better_candidate() -> None:
    figure, ax = plot_forest(("small", "large"), FOREST)
    figure.draw_without_rendering()
    dots = {line.get_ydata()[0]: line for line in ax.lines if len(line.get_xdata()) == 1}
    assert {FOREST[y].name: line.get_xdata()[0] for y, line in dots.items()} == {
        "KL mean, nats": pytest.approx(2),
        "Accuracy, %": pytest.approx(-2),
        "Agreement, %": pytest.approx(0.5),
        "far": -4,
        "equal": 0,
    }
    assert {FOREST[y].name: line.get_marker() for y, line in dots.items() if line.get_marker() != "o"} == {"far": "<"}
    ends = {line.get_ydata()[0]: sorted(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 2}
    assert ends == {0: pytest.approx([1, 3]), 1: pytest.approx([-3, -1]), 2: pytest.approx([-0.5, 1.5]), 5: [0, 0]}
    assert [label.get_text() for label in ax.get_yticklabels()] == [row.name for row in FOREST]


def test_a_forest_plot_names_both_sides_and_prints_the_numbers_in_the_color_of_the_better_candidate() -> None:
    _, ax = plot_forest(("small", "large"), FOREST)
    colors = {text.get_text(): text.get_color() for text in ax.texts}
    a, b = colors["small\n← is better"], colors["large\nis better →"]
    assert a != b
    assert colors["-0.002 [-0.003, -0.001]"] == b and colors["-0.4 [-0.6, -0.2]"] == colors["+1 [+0.99, +1.01]"] == a
    assert colors["+0.1 [-0.1, +0.3]"] == colors["+0.5 (no interval)"] == colors["0 [0, 0]"] not in (a, b)


@pytest.mark.parametrize("length", [5, 30, 60, 120])
@pytest.mark.parametrize("letters", ["Q4_K_M", "some/path-to_a model."])
def test_no_text_of_a_forest_plot_overlaps_another_or_is_cut_off(length: int, letters: str) -> None:
    a, b = ((start + letters * length)[:length] for start in "ab")
    figure, ax = plot_forest((a, b), FOREST)
    figure.draw_without_rendering()
    headers = ax.texts[-3:]
    boxes = [text.get_window_extent() for text in (*headers, ax.xaxis.label)]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    for text, name in zip(headers, (a, b), strict=False):
        assert text.get_text().replace("\n", "").replace(" ", "").startswith(name.replace(" ", ""))


@pytest.mark.parametrize(("ratio", "scale"), [(5, "linear"), (20, "log")])
def test_the_profile_has_a_logarithmic_axis_if_a_mean_is_ten_times_another(ratio: float, scale: str) -> None:
    p = torch.zeros(2, 8, 4)
    q = p.clone()
    q[:, :4, 0], q[:, 4:, 0] = 0.01, 0.01 * ratio**0.5  # a small divergence is the square of this, up to a factor
    report = DivergenceReport()
    report.update(p, q)
    _, (_, profile) = report.plot()
    assert profile.get_yscale() == scale


def test_profiles_of_different_sizes_on_the_same_axes_are_all_in_view() -> None:
    axes: Any = None
    for noise in 0.1, 0.001, 1.0:
        p, q, _ = texts(noise)
        report = DivergenceReport()
        report.update(p, q)
        _, axes = report.plot(axes, label=f"{noise}")
    profile = axes[1]
    low, high = profile.get_ylim()
    assert len(profile.lines) == 3
    assert all(low < y < high for line in profile.lines for y in line.get_ydata())
