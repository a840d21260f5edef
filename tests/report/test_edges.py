"""Reports and statistics at the ends of their range, and of what they are handed."""

import math
from typing import Any

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchdivergence import ChiSquaredDivergence, DivergenceReport, DivergenceStatistics, KLDivergence

GENERATOR = torch.Generator().manual_seed(0)
P, Q = 3 * torch.randn(2, 12, 20, 8, generator=GENERATOR)
LENGTHS = torch.randint(1, 21, (12,), generator=GENERATOR)


def statistics(**settings: Any) -> DivergenceStatistics:
    return DivergenceStatistics(KLDivergence(log_prob=True), **settings)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_padding_changes_no_bit(side: str, size: int) -> None:
    whole, padded = DivergenceReport(), DivergenceReport()
    for k in range(12):
        whole.update(P[k : k + 1, : LENGTHS[k]], Q[k : k + 1, : LENGTHS[k]])
    for texts in torch.arange(12).split(size):
        longest = int(LENGTHS[texts].max())
        places = torch.arange(longest)
        shift = (longest - LENGTHS[texts])[:, None] * (side == "left")
        kept = (places >= shift) & (places < shift + LENGTHS[texts][:, None])
        index = (places - shift).clamp(0, 19)[..., None].expand(-1, -1, 8)
        padded.update(P[texts].gather(1, index), Q[texts].gather(1, index), weights=kept)
    expected = whole.to_dict()
    assert padded.to_dict() == expected
    if side == "right":
        assert padded._summary.positions == whole._summary.positions


def test_squares_past_the_ends_of_float64_leave_the_error_unknown() -> None:
    p = torch.zeros(1000, 2, dtype=torch.float64)
    q = torch.zeros(1000, 2, dtype=torch.float64)
    for far in (356.0, 360.0, 400.0):
        p[0], q[0] = torch.tensor([0.0, -far]), torch.tensor([-far, 0.0])
        metric = DivergenceStatistics(ChiSquaredDivergence(log_prob=True))
        metric.update(p, q)
        found = metric.to_dict()
        assert found["mean"] == pytest.approx(math.exp(far) / 1000)
        assert not found["standard_error"] < found["mean"] / 2


@pytest.mark.parametrize("size", [1e160, 1e-170])
def test_weights_past_the_ends_leave_the_error_unknown(size: float) -> None:
    metric = statistics()
    metric.update(P[0], Q[0], torch.full((20,), size, dtype=torch.float64))
    assert math.isnan(metric.to_dict()["standard_error"])


@pytest.mark.parametrize("loss", [400.0, 800.0])
def test_a_perplexity_past_the_largest_float_is_infinite_and_the_rest_stays(loss: float) -> None:
    p, q = torch.tensor([[0.0, loss], [0.0, loss + 1]]), torch.tensor([[1.0, loss], [0.0, loss - 1]])
    report = DivergenceReport()
    report.update(p, q, torch.tensor([0, 0]))
    found = report.to_dict()
    assert found["kl_mean"] == KLDivergence(log_prob=True)(p, q)
    assert found["perplexity_p"] == (pytest.approx(math.exp(loss + 0.5)) if loss < 700 else math.inf)
    assert found["log_perplexity_ratio"] == pytest.approx(-1.5)
    str(report)


def test_texts_without_tokens_add_nothing() -> None:
    report = DivergenceReport()
    report.update(P, Q)
    before = report.to_dict()
    report.update(P[:, :0], Q[:, :0], torch.zeros(12, 0, dtype=torch.long))
    report.update(P[:0], Q[:0])
    assert report.to_dict() == before


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_targets_may_be_any_integers(dtype: torch.dtype) -> None:
    target = torch.randint(0, 8, (12, 20), generator=GENERATOR)
    report, expected = DivergenceReport(), DivergenceReport()
    report.update(P, Q, target.to(dtype))
    expected.update(P, Q, target)
    assert report.to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    "settings", [{"num_classes": 0}, {"num_classes": -1}, {"num_classes": True}, {"num_classes": 2.5}]
)
def test_a_number_of_classes_is_a_whole_one(settings: dict) -> None:
    with pytest.raises((ValueError, TypeError), match="num_classes must be"):
        DivergenceReport(**settings)


def test_with_a_number_of_classes_too_what_is_no_tensor_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match="p must be a tensor, but got list"):
        DivergenceReport(num_classes=2).update([[0.0, 1.0]], P)  # type: ignore[arg-type]


def test_quantiles_that_would_have_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in their first ten digits"):
        statistics(quantiles=[0.12345678901, 0.12345678902])


def test_one_quantile_and_one_k_need_no_list() -> None:
    assert list(statistics(quantiles=0.9).quantiles) == ["p90"]
    assert DivergenceReport(top_k=3).top_k == (3,)


def test_a_value_takes_no_rows() -> None:
    report = DivergenceReport()
    values = MetricCollection({"a": report["kl_mean"], "b": report["kl_p99"]})
    for call in (values.update, values, (report["kl_max"] / report["kl_mean"]).update):
        with pytest.raises(TorchMetricsUserError, match="is one of the values of a DivergenceReport"):
            call(P, Q)
    with pytest.raises(TorchMetricsUserError, match="merge into that"):
        report["kl_mean"].merge_state(report["kl_p99"])
    report.update(P, Q)
    assert (report["kl_max"] / report["kl_mean"]).compute() == report.compute()["kl_max"] / report.compute()["kl_mean"]


def test_values_that_would_each_meet_those_of_other_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="compute_with_cache must be True"):
        DivergenceReport(compute_with_cache=False)


def test_it_is_a_mapping() -> None:
    report = DivergenceReport()
    report.update(P, Q)
    assert list(report) == list(report.keys()) == list(report.compute())
    assert len(report) == len(report.to_dict())
    assert "kl_mean" in report
    assert "perplexity_p" not in report
    assert dict(report)["kl_mean"].compute() == report.compute()["kl_mean"]


def test_statistics_of_a_member_of_a_collection_leave_the_collection_behind() -> None:
    from torchdivergence import DivergenceCollection

    collection = DivergenceCollection([KLDivergence(log_prob=True), ChiSquaredDivergence(log_prob=True)])
    metric = DivergenceStatistics(collection["KLDivergence"])
    assert metric.metric._companions is None
    collection.update(P, Q)
    metric.update(P, Q)
    assert metric.compute()["mean"] == collection.compute()["KLDivergence"]
