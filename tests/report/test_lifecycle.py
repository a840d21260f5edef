"""Reports and statistics as metrics: copies, casts, collections, and the report as a mapping of values."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from tests.support.helpers import COPIES
from tests.support.reports import (
    MAKE,
    ROUNDING,
    after_texts,
    all_values,
    arguments,
    short_texts,
    spread_pair,
    statistics,
)
from torchdivergence import (
    ChiSquaredDivergence,
    DivergenceCollection,
    DivergenceReport,
    DivergenceStatistics,
    HellingerDistance,
    KLDivergence,
)

P, Q, _ = short_texts()


def reloaded(metric: Any) -> Any:
    """A new metric that loaded the saved state."""
    metric.persistent(True)
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    again: Any = DivergenceReport(**metric.settings) if isinstance(metric, DivergenceReport) else statistics()
    again.persistent(True)
    again.load_state_dict(torch.load(file))
    return again


ALL_COPIES = COPIES | {"state_dict": reloaded}


@pytest.mark.parametrize("duplicate", ALL_COPIES.values(), ids=ALL_COPIES.keys())
@pytest.mark.parametrize("name", MAKE)
def test_a_copied_report_accumulates_independently(name: str, duplicate: Callable[[Any], Any]) -> None:
    p, q, target = short_texts()
    metric = after_texts(name, (p[:3], q[:3], target[:3]))
    before = all_values(metric)
    other = duplicate(metric)
    assert all_values(other) == before
    other.update(*arguments(name, (p[3:], q[3:], target[3:])))
    whole = all_values(after_texts(name, (p, q, target)))
    assert all_values(other) == whole
    assert all_values(metric) == before
    key = next(iter(whole))
    assert other[key].compute().item() == whole[key]
    assert metric[key].compute().item() == before[key]


@pytest.mark.parametrize("name", MAKE)
def test_a_report_keeps_its_state_in_casts_and_starts_empty_after_a_reset(name: str) -> None:
    metric = after_texts(name, short_texts())
    before = all_values(metric)
    torch.nn.ModuleDict({"metric": metric}).to(torch.bfloat16)
    metric._computed = None
    assert all_values(metric) == before
    metric[next(iter(before))].reset()
    metric.update(*arguments(name, short_texts()))
    assert all_values(metric) == before


def test_a_value_of_a_report_is_read_only() -> None:
    report = DivergenceReport()
    values = MetricCollection({"a": report["kl_mean"], "b": report["kl_p99"]})
    for call in (values.update, values, (report["kl_max"] / report["kl_mean"]).update):
        with pytest.raises(TorchMetricsUserError, match="is a read-only view of DivergenceReport"):
            call(P, Q)
    with pytest.raises(TorchMetricsUserError, match=r"merge_state\(\) on the DivergenceReport"):
        report["kl_mean"].merge_state(report["kl_p99"])
    report.update(P, Q)
    assert (report["kl_max"] / report["kl_mean"]).compute() == report.compute()["kl_max"] / report.compute()["kl_mean"]


def test_a_report_is_a_mapping() -> None:
    report = DivergenceReport()
    report.update(P, Q)
    assert list(report) == list(report.keys()) == list(report.compute())
    assert len(report) == len(report.to_dict())
    assert "kl_mean" in report
    assert "perplexity_p" not in report
    assert dict(report)["kl_mean"].compute() == report.compute()["kl_mean"]


def test_a_single_quantile_or_k_needs_no_list() -> None:
    assert list(statistics(quantiles=0.9).quantiles) == ["p90"]
    assert DivergenceReport(top_k=3).top_k == (3,)  # type: ignore[arg-type]


def test_statistics_of_a_metric_in_a_collection_are_independent_of_the_collection() -> None:
    collection = DivergenceCollection([KLDivergence(log_prob=True), ChiSquaredDivergence(log_prob=True)])
    kl: Any = collection["KLDivergence"]
    metric = DivergenceStatistics(kl)
    collection.update(P, Q)
    metric.update(P, Q)
    value = collection.compute()["KLDivergence"].item()
    assert metric.to_dict()["mean"] == pytest.approx(value, rel=ROUNDING)


def test_equal_statistics_share_their_state_in_a_plain_collection() -> None:
    p, q = spread_pair()
    metrics_by_name: dict[str, Any] = {
        "kl": DivergenceStatistics(KLDivergence(log_prob=True), quantiles=[0.5]),
        "tails": DivergenceStatistics(KLDivergence(log_prob=True), quantiles=[0.01, 0.99]),
        "hellinger": DivergenceStatistics(HellingerDistance(log_prob=True), quantiles=[0.5]),
    }
    collection: Any = MetricCollection({name: metric.clone() for name, metric in metrics_by_name.items()})
    for metric in (collection, *metrics_by_name.values()):
        metric.update(p, p)
        metric.update(p, q)
    assert sorted(map(sorted, collection.compute_groups.values())) == [["hellinger"], ["kl", "tails"]]
    for name, metric in collection.items():
        assert metric.to_dict() == metrics_by_name[name].to_dict()
