"""Plots of reports and statistics."""

import math
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

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
