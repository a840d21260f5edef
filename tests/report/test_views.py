"""A value of a report or of statistics speaks for its number; a comparison of a metric has no truth value."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchmetrics.metric import CompositionalMetric

from tests.support.definitions import near
from torchdivergence import (
    DivergenceCollection,
    DivergenceReport,
    DivergenceStatistics,
    JensenShannonDivergence,
    KLDivergence,
    TotalVariationDistance,
)

P, Q = near((6, 8, 20), 3.0, 0.3)


def views() -> list[Any]:
    report, statistics = DivergenceReport(), DivergenceStatistics(TotalVariationDistance(log_prob=True))
    report.update(P, Q)
    statistics.update(P, Q)
    return [report["kl_mean"], statistics["p99"]]


@pytest.mark.parametrize("view", views(), ids=["report", "statistics"])
def test_a_view_compares_and_formats_as_its_number(view: Any) -> None:
    assert "=" not in repr(view)  # not computed yet, and repr does not compute
    number = view.compute().item()
    assert float(view) == number
    assert f"{view:.3e}" == f"{number:.3e}" and f"{view}" == repr(view) == f"MetricView({view.name}={number:.6g})"
    for x in (number, torch.tensor(number, dtype=torch.float64)):
        assert (view < x, view <= x, view > x, view >= x) == (False, True, False, True)
        assert (view == x) is True and (view != x) is False
    assert (view < 1e9) is True and (view < 1e-12) is False and (view > 1e-12) is True


def test_views_of_a_report_compare_among_each_other() -> None:
    report = DivergenceReport()
    report.update(P, Q)
    least, largest = report["kl_min"], report["kl_max"]
    assert max([least, largest]) is largest and sorted([largest, least])[0] is least
    assert largest in list(report.values()) and (least == largest) is False


def test_arithmetic_on_views_is_a_metric_of_their_values() -> None:
    report = DivergenceReport()
    report.update(P, Q)
    ratio = report["kl_max"] / report["kl_mean"]
    assert isinstance(ratio, CompositionalMetric)
    assert ratio.compute() == report.compute()["kl_max"] / report.compute()["kl_mean"]
    assert (report["kl_max"] > report["kl_mean"]) is True


@pytest.mark.parametrize("compare", [lambda m: m < 1e-3, lambda m: m > 1e-3, lambda m: m <= m, lambda m: m < 1.0])
def test_a_comparison_of_a_metric_has_no_truth_value(compare: Callable[[Any], Any]) -> None:
    metric = KLDivergence(log_prob=True)
    metric.update(P, Q)
    comparison = compare(metric)
    with pytest.raises(TypeError, match=r"no truth value: compare the number, metric\.compute\(\) <"):
        bool(comparison)
    assert comparison.compute() == compare(metric.compute())


class Holder(torch.nn.Module):
    def __init__(self, metric: torch.nn.Module) -> None:
        super().__init__()
        self.metric, self.layer = metric, torch.nn.Linear(20, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@pytest.mark.filterwarnings("ignore:This property will:DeprecationWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: KLDivergence(),
        lambda: JensenShannonDivergence(reduction="none"),
        lambda: DivergenceStatistics(KLDivergence()),
        lambda: DivergenceReport(top_k=(1, 3), keep_sequences=True, worst=4),
        lambda: DivergenceCollection([KLDivergence(), TotalVariationDistance()]),
    ],
)
def test_a_module_that_holds_a_metric_can_be_scripted(make: Callable[[], torch.nn.Module]) -> None:
    module = Holder(make())
    assert torch.equal(torch.jit.script(module)(P), module(P))
