"""Plots of reports and statistics."""

import math
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tests.support.helpers import profile_of
from tests.support.reports import spread_pair, texts
from torchdivergence import DivergenceReport, DivergenceStatistics, KLDivergence
from torchdivergence.functional import kl_divergence


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def test_the_plot_of_a_report_has_a_histogram_with_marks_and_a_profile() -> None:
    p, q, _ = texts()
    report = DivergenceReport()
    report.update(p, q)
    figure, (histogram, profile) = report.plot()
    (patch,) = histogram.patches
    heights, edges = patch.get_data()[:2]
    assert sum(h * math.log2(b / a) for h, a, b in zip(heights, edges[:-1], edges[1:], strict=True)) == pytest.approx(
        100
    )
    marks = {line.get_xdata()[0] for line in histogram.lines}
    assert marks == {report.to_dict()[name] for name in ("kl_median", "kl_p99", "kl_max")}
    assert len(profile.lines[0].get_xdata()) == len(profile_of(report))
    figure.canvas.draw()


def test_the_plot_of_statistics_has_a_histogram_in_the_unit_of_the_metric() -> None:
    p, q = spread_pair()
    metric = DivergenceStatistics(KLDivergence(log_prob=True, base=2))
    metric.update(p, q)
    figure, ax = metric.plot()
    heights, edges, _ = ax.patches[0].get_data()
    shares = heights * np.log2(edges[1:] / edges[:-1])
    rows = kl_divergence(p, q, log_prob=True, reduction="none", base=2).numpy()
    assert sum(shares) == pytest.approx(100)
    assert shares[: len(shares) // 2].sum() == pytest.approx(100 * (rows < edges[len(shares) // 2]).mean())
    metric.plot(ax, label="again")
    figure.canvas.draw()


def test_a_histogram_without_a_label_has_the_marks_with_their_values_in_its_legend() -> None:
    metric = DivergenceStatistics(KLDivergence(log_prob=True, base=2))
    metric.update(*spread_pair())
    figure, ax = metric.plot()
    values = metric.to_dict()
    marks = {"median": values["median"], "99 %": values["p99"], "maximum": values["max"]}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [f"{k}: {v:.2g}" for k, v in marks.items()]
    assert ax.get_xlabel() == "KLDivergence of a row, bits"
    figure.canvas.draw()


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
